package probe_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

// reasons is the closed list of the package's documentation.
var reasons = strings.Fields(`dns_nxdomain dns_timeout dns_error refused unreachable connect_timeout reset tls_expired tls_name tls_unknown_ca
	tls_protocol tls_timeout tls_client_cert tls_error no_response bad_reply slow_body cut_body too_large redirect_loop bad_redirect status header body
	slow certificate assertion proxy oauth2 own_fault`)

// FuzzReply lets a server say anything. The run must end, with a reason of the
// list or none, phases in order, and a text that can be stored and shown.
func FuzzReply(f *testing.F) {
	for _, s := range []string{
		ok200, "", "HTTP/1.1 200 OK", "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", "HTTP/1.1 302 Found\r\nLocation: http://%zz\r\n\r\n", "HTTP/1.1 302 Found\r\nLocation: //[::1\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + ok200, "HTTP/1.1 101 Switching Protocols\r\n\r\nx", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nopen\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "HTTP/1.1 500 \xff\r\nSet-Cookie: a=hunter2hunter2\r\n\r\nhunter2hunter2 \x00\xff",
		"SSH-2.0-OpenSSH_9.9\r\n", "HTTP/9.9 999 Odd\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\nabc",
	} {
		f.Add(s)
	}
	said := make(chan string, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if readHead(c) != nil {
				select {
				case s := <-said:
					_, _ = c.Write([]byte(s))
				default: // the hop after a redirect
				}
			}
			c.Close()
		}
	}()
	const secret = "hunter2hunter2"
	f.Fuzz(func(t *testing.T, reply string) {
		if strings.Contains(strings.ToLower(reply), "location") && strings.Contains(reply, "//") {
			t.Skip("it could lead off this machine")
		}
		select {
		case <-said:
		default:
		}
		said <- reply
		c := probe.Check{Name: "x", URL: "http://" + ln.Addr().String(), Timeout: time.Second, MaxRedirects: 1, BearerToken: secret, MaxBodyBytes: 1 << 16,
			Expect: probe.Expect{BodyContains: "open", Headers: map[string]string{"Content-Length": ".*"}}}
		r := probe.Once(context.Background(), c)
		if r.Success == (r.Reason != "") || r.Reason != "" && (!slices.Contains(reasons, r.Reason) || r.Stage == "" || r.Message == "") {
			t.Errorf("got success %v, stage %q, reason %q, message %q", r.Success, r.Stage, r.Reason, r.Message)
		}
		if r.Reason == "own_fault" {
			t.Errorf("the prober failed: %s", r.Message)
		}
		for _, h := range r.Hops {
			over := false
			for ph, p := range h.Phases {
				if over && p.State != record.NotReached {
					t.Errorf("phase %s is %s after one that was not done: %v", record.Phase(ph), p.State, h.Phases)
				}
				over = over || p.State == record.Failed || p.State == record.NotReached
			}
		}
		for _, s := range []string{r.Message, r.Reply, probe.Text(r)} {
			if !utf8.ValidString(s) || strings.Contains(s, secret) || strings.ContainsAny(s, "\x1b") && s != r.Reply {
				t.Errorf("not fit to be kept: %q", s)
			}
		}
		if len(r.Reply) > 4096 || len(r.Message) > 1000 {
			t.Errorf("too long: %d, %d", len(r.Reply), len(r.Message))
		}
		probe.Samples(c, r)
	})
}

func FuzzClean(f *testing.F) {
	f.Add("Authorization: Bearer abcdef", "abcdef")
	f.Add("a ok b okay", "ok")
	f.Add("http://u:p@h/?token=x", "p%2F/")
	f.Add("\xff\xfe", "\xfe")
	f.Fuzz(func(t *testing.T, text, secret string) {
		got := probe.Clean(text, secret)
		// What stands for a secret may hold it by chance.
		if s := strings.TrimSpace(secret); len(s) >= 4 && !strings.Contains("(removed)(removed)", s) {
			if rest := strings.ReplaceAll(got, "(removed)", "\x00"); strings.Contains(rest, s) && !strings.Contains(s, "\x00") {
				t.Errorf("%q is left in %q", s, got)
			}
		}
	})
}

func FuzzStatuses(f *testing.F) {
	f.Add("200", 200)
	f.Add("2xx", 204)
	f.Add("+20", 20)
	f.Fuzz(func(t *testing.T, want string, code int) {
		c := probe.Check{Name: "x", URL: "http://h", Expect: probe.Expect{Status: probe.Statuses{want}}}
		valid := c.Validate() == nil
		has := c.Expect.Status.Has(code)
		if has && (!valid || code < 100 || code > 599) {
			t.Errorf("%q has %d", want, code)
		}
		if !has && valid && len(want) == 3 && want[1] != 'x' && want[1] != 'X' {
			if strings.HasPrefix(want, "-") || strings.HasPrefix(want, "+") {
				t.Errorf("%q is valid", want)
			}
		}
	})
}

func FuzzReadBody(f *testing.F) {
	f.Add("open", "", int64(10))
	f.Add("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00", "gzip", int64(10))
	f.Add("\x0b\x02\x80hello\x03", "br", int64(10))
	f.Add("\x28\xb5\x2f\xfd\x04\x00\x29\x00\x00hello\xda\x01\x02\x03", "zstd", int64(10))
	f.Add("\x1b\x03", "gzip, br, zstd", int64(10))
	f.Fuzz(func(t *testing.T, text, encoding string, limit int64) {
		limit = min(max(limit, 1), 1<<20)
		body, n, tooLarge, err := probe.ReadBody(text, encoding, limit)
		if int64(len(body)) > limit || n > int64(len(text)) || tooLarge && err != nil {
			t.Errorf("got %d bytes of %d read, too large %v, %v", len(body), n, tooLarge, err)
		}
		if !strings.ContainsAny(encoding, "gGbBzZ") && (err != nil || !strings.HasPrefix(text, string(body))) {
			t.Errorf("got %q, %v", body, err)
		}
	})
}
