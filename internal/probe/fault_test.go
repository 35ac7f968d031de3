package probe_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

const ok200 = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nopen"

// TestFaults plants one fault each and wants stage, reason and how far the five
// phases came: d done, f failed, - not reached, s skipped, in the order
// resolve connect tls processing transfer.
func TestFaults(t *testing.T) {
	ca := newAuthority(t)
	resolver := serveDNS(t, map[string][]string{
		"up.shop.test.": {"127.0.0.1"}, "six.shop.test.": {"::1"}, "both.shop.test.": {"127.0.0.1", "::1"}, "empty.shop.test.": nil})
	good := ca.issue(t, 24*time.Hour, "127.0.0.1", "up.shop.test")
	cert := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	plain := serveTCP(t, say(ok200))

	f := func(name string, c probe.Check, stage, reason, phases string, says ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			c.Name = name
			if c.Timeout == 0 {
				c.Timeout = 5 * time.Second
			}
			r := probe.Once(context.Background(), c)
			if r.Stage != stage || r.Reason != reason || r.Success != (reason == "") {
				t.Errorf("got success %v, stage %q, reason %q, want %q, %q; message: %s", r.Success, r.Stage, r.Reason, stage, reason, r.Message)
			}
			if got := states(r); got != phases {
				t.Errorf("phases: got %q, want %q", got, phases)
			}
			for _, s := range says {
				if !strings.Contains(r.Message, s) {
					t.Errorf("message %q does not say %q", r.Message, s)
				}
			}
			for _, h := range r.Hops {
				for ph, p := range h.Phases {
					timed := p.State == record.Done || p.State == record.Failed
					if timed != (p.Duration > 0) {
						t.Errorf("phase %s is %s and took %s", record.Phase(ph), p.State, p.Duration)
					}
				}
			}
			if len(r.Hops) > 0 && r.Duration <= 0 || r.Duration > c.Timeout+2*time.Second {
				t.Errorf("duration: got %s", r.Duration)
			}
		})
	}
	slow := 300 * time.Millisecond

	f("ok", probe.Check{URL: "http://" + plain}, "", "", "sdsdd")
	f("ok by name", probe.Check{URL: "http://up.shop.test:" + portOnly(plain), Resolver: resolver}, "", "", "ddsdd")
	f("ok https", probe.Check{URL: "https://" + serveTLS(t, cert(good), say(ok200)), TLS: probe.TLS{CAFile: ca.file}}, "", "", "sdddd")

	f("name unknown", probe.Check{URL: "http://gone.shop.test/", Resolver: resolver}, "resolve", "dns_nxdomain", "f----", "does not exist", resolver)
	f("name without address", probe.Check{URL: "http://empty.shop.test/", Resolver: resolver}, "resolve", "dns_nxdomain", "f----")
	f("name without IPv6", probe.Check{URL: "http://up.shop.test/", Resolver: resolver, IPVersion: "6"}, "resolve", "dns_nxdomain", "f----", "no IPv6 address")
	f("DNS silent", probe.Check{URL: "http://slow.shop.test/", Resolver: resolver, Timeout: slow}, "resolve", "dns_timeout", "f----")
	f("DNS broken", probe.Check{URL: "http://broken.shop.test/", Resolver: resolver}, "resolve", "dns_error", "f----")

	f("refused", probe.Check{URL: "http://" + closedPort(t)}, "connect", "refused", "sf---", "nothing listens")
	f("refused by name", probe.Check{URL: "http://up.shop.test:" + portOnly(closedPort(t)), Resolver: resolver}, "connect", "refused", "df---")
	f("connect hangs", probe.Check{URL: "http://" + full(t), Timeout: slow}, "connect", "connect_timeout", "sf---", "did not take the connection")

	f("TLS hangs", probe.Check{URL: "https://" + serveTCP(t, hang), Timeout: slow}, "tls", "tls_timeout", "sdf--", "the connection stands")
	f("TLS cut", probe.Check{URL: "https://" + serveTCP(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)); reset(c) })}, "tls", "reset", "sdf--")
	f("TLS closed", probe.Check{URL: "https://" + serveTCP(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) })}, "tls", "reset", "sdf--")
	f("TLS to a plain port", probe.Check{URL: "https://" + serveTCP(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		hang(c)
	})}, "tls", "tls_error", "sdf--", "does not speak TLS")
	f("certificate expired", probe.Check{URL: "https://" + serveTLS(t, cert(ca.issue(t, -time.Hour, "127.0.0.1")), say(ok200)), TLS: probe.TLS{CAFile: ca.file}},
		"tls", "tls_expired", "sdf--", "expired on")
	f("certificate for another", probe.Check{URL: "https://" + serveTLS(t, cert(ca.issue(t, time.Hour, "other.shop.test")), say(ok200)), TLS: probe.TLS{CAFile: ca.file}},
		"tls", "tls_name", "sdf--", "other.shop.test")
	f("authority unknown", probe.Check{URL: "https://" + serveTLS(t, cert(good), say(ok200))}, "tls", "tls_unknown_ca", "sdf--", "test authority")
	f("old TLS", probe.Check{URL: "https://" + serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, say(ok200)), TLS: probe.TLS{CAFile: ca.file}},
		"tls", "tls_protocol", "sdf--", "TLS 1.1")
	for v, name := range map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"} {
		f("client certificate wanted, TLS "+name, probe.Check{URL: "https://" + serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: v}, say(ok200)), TLS: probe.TLS{CAFile: ca.file}},
			"tls", "tls_client_cert", "sdf--", "tls.cert_file")
	}

	f("no reply", probe.Check{URL: "http://" + serveTCP(t, hang), Timeout: slow}, "processing", "no_response", "sdsf-", "no reply came within")
	f("no reply over TLS", probe.Check{URL: "https://" + serveTLS(t, cert(good), hang), Timeout: slow, TLS: probe.TLS{CAFile: ca.file}}, "processing", "no_response", "sddf-")
	f("only interim replies", probe.Check{URL: "http://" + serveTCP(t, func(c net.Conn) {
		say("HTTP/1.1 103 Early Hints\r\n\r\n")(c)
		hang(c)
	}), Timeout: slow}, "processing", "no_response", "sdsf-")
	f("half closed", probe.Check{URL: "http://" + serveTCP(t, func(c net.Conn) {
		readHead(c)
		_ = c.(*net.TCPConn).CloseWrite()
		hang(c)
	})}, "processing", "no_response", "sdsf-", "closed the connection without an answer")
	f("reset", probe.Check{URL: "http://" + serveTCP(t, func(c net.Conn) { readHead(c); reset(c) })}, "processing", "reset", "sdsf-")
	f("not HTTP", probe.Check{URL: "http://" + serveTCP(t, func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.9\r\n")); hang(c) })},
		"processing", "bad_reply", "sdsf-", "not HTTP")
	f("not HTTP, cut", probe.Check{URL: "http://" + serveTCP(t, say("220 mail"))}, "processing", "bad_reply", "sdsf-")
	f("endless interim replies", probe.Check{URL: "http://" + serveTCP(t, say(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50)))}, "processing", "bad_reply", "sdsf-", "interim")

	f("head hangs", probe.Check{URL: "http://" + serveTCP(t, func(c net.Conn) { say("HTTP/1.1 200 OK\r\nContent-")(c); hang(c) }), Timeout: slow},
		"transfer", "slow_body", "sdsdf", "headers did not end")
	f("head cut", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 200 OK\r\nContent-"))}, "transfer", "cut_body", "sdsdf", "middle of the reply's headers")
	f("head endless", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Fill: 0123456789\r\n", 20000)))}, "transfer", "too_large", "sdsdf")
	f("body drips", probe.Check{URL: "http://" + serveTCP(t, drip), Timeout: slow}, "transfer", "slow_body", "sdsdf", "of 1000 bytes came")
	f("body cut", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"))}, "transfer", "cut_body", "sdsdf", "4 of 1000 bytes")
	f("body reset", probe.Check{URL: "http://" + serveTCP(t, func(c net.Conn) {
		readHead(c)
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"))
		time.Sleep(20 * time.Millisecond) // the client must take the bytes before the reset discards them
		reset(c)
	})}, "transfer", "reset", "sdsdf")
	f("body too large", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("x", 5000))), MaxBodyBytes: 4096}, "transfer", "too_large", "sdsdf", "4096")
	f("body just fits", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("x", 4096))), MaxBodyBytes: 4096}, "", "", "sdsdd")
	f("gzip that is none", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nopen"))}, "body", "bad_reply", "sdsdd")

	loop := serveTCP(t, say("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"))
	f("redirects in a circle", probe.Check{URL: "http://" + loop, MaxRedirects: 2}, "redirect", "redirect_loop", "sdsdd sdsdd sdsdd", "circle")
	f("redirect to nowhere", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 302 Found\r\nLocation: gopher://old\r\nContent-Length: 0\r\n\r\n"))}, "redirect", "bad_redirect", "sdsdd")
	f("redirect to a refusing host", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 302 Found\r\nLocation: http://"+closedPort(t)+"/\r\nContent-Length: 0\r\n\r\n"))},
		"connect", "refused", "sdsdd sf---")
	no := false
	f("redirect not followed", probe.Check{URL: "http://" + loop, FollowRedirects: &no}, "status", "status", "sdsdd", "follow_redirects is false")
	f("redirect wanted", probe.Check{URL: "http://" + loop, FollowRedirects: &no, Expect: probe.Expect{Status: probe.Statuses{"302"}}}, "", "", "sdsdd")

	f("status", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"))}, "status", "status", "sdsdd", "503 Service Unavailable; want 2xx")
	f("header differs", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 200 OK\r\nX-Version: 1\r\nContent-Length: 0\r\n\r\n")), Expect: probe.Expect{Headers: map[string]string{"X-Version": "2"}}},
		"header", "header", "sdsdd", `X-Version is "1"`)
	f("header missing", probe.Check{URL: "http://" + plain, Expect: probe.Expect{Headers: map[string]string{"X-Version": ".*"}}}, "header", "header", "sdsdd", "no header X-Version")
	f("body lacks", probe.Check{URL: "http://" + plain, Expect: probe.Expect{BodyContains: "closed"}}, "body", "body", "sdsdd", "does not contain")
	f("body has", probe.Check{URL: "http://" + plain, Expect: probe.Expect{BodyNotContains: "open"}}, "body", "body", "sdsdd", "should not")
	f("body unlike", probe.Check{URL: "http://" + plain, Expect: probe.Expect{BodyRegex: "^shut"}}, "body", "body", "sdsdd", "does not match")
	f("slow", probe.Check{URL: "http://" + plain, Expect: probe.Expect{MaxSeconds: 1e-9}}, "assertion", "slow", "sdsdd")
	f("certificate ends soon", probe.Check{URL: "https://" + serveTLS(t, cert(good), say(ok200)), TLS: probe.TLS{CAFile: ca.file}, Expect: probe.Expect{CertificateDays: 7}},
		"assertion", "certificate", "sdddd", "7 days or more")

	f("all that was wanted", probe.Check{URL: "http://" + plain, Expect: probe.Expect{
		Status: probe.Statuses{"200", "4xx"}, BodyContains: "pe", BodyNotContains: "closed", BodyRegex: "^open$", Headers: map[string]string{"content-length": `\d`}, MaxSeconds: 5}}, "", "", "sdsdd")
	f("no such file", probe.Check{URL: "https://" + plain, TLS: probe.TLS{CAFile: "/does/not/exist"}}, "resolve", "own_fault", "")
	if six, err := net.Listen("tcp", "[::1]:0"); err == nil {
		six.Close()
		f("refused on both addresses", probe.Check{URL: "http://both.shop.test:" + portOnly(closedPort(t)), Resolver: resolver}, "connect", "refused", "df---", "127.0.0.1", "the other address", "[::1]")
	}
}

// states renders the phases of all hops.
func states(r record.CheckResult) string {
	var hops []string
	for _, h := range r.Hops {
		var b strings.Builder
		for _, p := range h.Phases {
			b.WriteByte("-dfs"[p.State])
		}
		hops = append(hops, b.String())
	}
	return strings.Join(hops, " ")
}

// drip sends a byte now and then.
func drip(c net.Conn) {
	say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")(c)
	for {
		if _, err := c.Write([]byte("x")); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// full is a listening address whose backlog takes no more: a SYN to it gets no
// answer.
func full(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("this system takes connections beyond the backlog")
	return ""
}

// TestGivenUp: a run that was cut off from outside blames nobody.
func TestGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	addr := serveTCP(t, func(c net.Conn) { readHead(c); cancel(); hang(c) })
	r := probe.Once(ctx, probe.Check{Name: "x", URL: "http://" + addr})
	if r.Reason != "own_fault" || r.Success {
		t.Errorf("got reason %q (%s), want own_fault", r.Reason, r.Message)
	}
}

// TestHTTP2: h2 when both sides want it, HTTP/1.1 otherwise.
func TestHTTP2(t *testing.T) {
	ca := newAuthority(t)
	crt := ca.issue(t, time.Hour, "127.0.0.1")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{crt}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/hang":
				<-r.Context().Done()
			case "/abort":
				panic(http.ErrAbortHandler)
			case "/cut":
				w.Header().Set("Content-Length", "100")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			case "/large":
				w.Header().Set("X-Large", strings.Repeat("x", 300<<10))
			case "/drip":
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
			fmt.Fprint(w, r.Proto)
		}),
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() { srv.Close(); <-ended })
	f := func(path string, h2 bool, proto, reason, phases string) {
		t.Helper()
		r := probe.Once(context.Background(), probe.Check{Name: "x", URL: "https://" + ln.Addr().String() + path, HTTP2: h2, Timeout: 500 * time.Millisecond, TLS: probe.TLS{CAFile: ca.file}})
		if got := states(r); got != phases || r.Reason != reason {
			t.Fatalf("%s: got phases %q, reason %q (%s), want %q, %q", path, got, r.Reason, r.Message, phases, reason)
		}
		if r.Hops[0].Proto != proto {
			t.Errorf("%s: got %q, want %q", path, r.Hops[0].Proto, proto)
		}
	}
	f("/", true, "HTTP/2.0", "", "sdddd")
	f("/", false, "HTTP/1.1", "", "sdddd")
	f("/hang", true, "", "no_response", "sddf-")
	f("/drip", true, "HTTP/2.0", "slow_body", "sdddf")
	f("/abort", true, "", "reset", "sddf-")
	f("/cut", true, "HTTP/2.0", "cut_body", "sdddf")
	f("/large", true, "", "no_response", "sddf-")
}
