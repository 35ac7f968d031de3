package probe_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

// pipe copies both ways until one side ends.
func pipe(a net.Conn, fromA io.Reader, b net.Conn) {
	go func() { _, _ = io.Copy(b, fromA); b.Close() }()
	_, _ = io.Copy(a, b)
	a.Close()
}

// httpProxy is an HTTP proxy that wants user:password when login is not "".
func httpProxy(login string) func(net.Conn) {
	return func(c net.Conn) {
		br := bufio.NewReader(c)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if login != "" && req.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(login)) {
			fmt.Fprint(c, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 8\r\n\r\nno entry")
			return
		}
		to, err := net.Dial("tcp", req.Host)
		if err != nil {
			fmt.Fprint(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
			return
		}
		if req.Method == http.MethodConnect {
			fmt.Fprint(c, "HTTP/1.1 200 Connection established\r\n\r\n")
			pipe(c, br, to)
			return
		}
		req.Header.Del("Proxy-Authorization")
		_ = req.Write(to)
		_, _ = io.Copy(c, to)
		to.Close()
	}
}

// socksProxy is a SOCKS5 proxy; names all lead to 127.0.0.1. code is what it
// answers in place of a connection when it is not 0.
func socksProxy(login string, code byte) func(net.Conn) {
	return func(c net.Conn) {
		read := func(n int) []byte {
			b := make([]byte, n)
			_, _ = io.ReadFull(c, b)
			return b
		}
		methods := read(int(read(2)[1]))
		if login == "" {
			_, _ = c.Write([]byte{5, 0})
		} else {
			if !strings.Contains(string(methods), "\x02") {
				_, _ = c.Write([]byte{5, 0xff})
				return
			}
			_, _ = c.Write([]byte{5, 2})
			user := read(int(read(2)[1]))
			pass := read(int(read(1)[0]))
			if string(user)+":"+string(pass) != login {
				_, _ = c.Write([]byte{1, 1})
				return
			}
			_, _ = c.Write([]byte{1, 0})
		}
		head, host := read(4), "127.0.0.1"
		switch head[3] {
		case 1:
			host = net.IP(read(4)).String()
		case 3:
			read(int(read(1)[0]))
		case 4:
			host = net.IP(read(16)).String()
		}
		port := read(2)
		if code != 0 {
			_, _ = c.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		to, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(int(port[0])<<8|int(port[1]))))
		if err != nil {
			_, _ = c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		_, _ = c.Write([]byte{5, 0, 0, 3, 4, 'h', 'o', 's', 't', 0, 0})
		pipe(c, c, to)
	}
}

func TestProxy(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue(t, time.Hour, "127.0.0.1", "shop.test")
	plain := serveTCP(t, say(ok200))
	secure := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}}, say(ok200))
	slow := 300 * time.Millisecond
	f := func(name, target string, x probe.Proxy, timeout time.Duration, stage, reason, phases, says string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			r := once(t, probe.Check{URL: target, Proxy: &x, Timeout: timeout, TLS: probe.TLS{CAFile: ca.file}})
			if r.Stage != stage || r.Reason != reason || !strings.Contains(r.Message, says) {
				t.Errorf("got %q, %q: %s; want %q, %q, %q", r.Stage, r.Reason, r.Message, stage, reason, says)
			}
			if got := states(r); got != phases {
				t.Errorf("got phases %q, want %q", got, phases)
			}
			if all := r.Message + r.Reply + fmt.Sprint(r.Facts, r.Hops); strings.Contains(all, "hunter2") || strings.Contains(all, base64.StdEncoding.EncodeToString([]byte("u:hunter2"))) {
				t.Errorf("it shows a secret: %s", all)
			}
		})
	}
	open, login := serveTCP(t, httpProxy("")), serveTCP(t, httpProxy("u:hunter2"))
	overTLS := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}}, httpProxy("u:hunter2"))
	socks, socksLogin := serveTCP(t, socksProxy("", 0)), serveTCP(t, socksProxy("u:hunter2", 0))
	whole := 5 * time.Second

	f("http", "http://"+plain, probe.Proxy{URL: "http://" + open}, whole, "", "", "sdsdd", "")
	f("https", "https://"+secure, probe.Proxy{URL: "http://" + open}, whole, "", "", "sdddd", "")
	f("http with login", "http://"+plain, probe.Proxy{URL: "http://u:hunter2@" + login}, whole, "", "", "sdsdd", "")
	f("https with login", "https://"+secure, probe.Proxy{URL: "http://" + login, Username: "u", Password: "hunter2"}, whole, "", "", "sdddd", "")
	f("http over TLS", "http://"+plain, probe.Proxy{URL: "https://u:hunter2@" + overTLS}, whole, "", "", "sdsdd", "")
	f("https over TLS", "https://"+secure, probe.Proxy{URL: "https://u:hunter2@" + overTLS}, whole, "", "", "sdddd", "")
	f("socks", "http://"+plain, probe.Proxy{URL: "socks5://" + socks}, whole, "", "", "sdsdd", "")
	f("socks resolves", "https://shop.test:"+portOnly(secure), probe.Proxy{URL: "socks5://" + socks}, whole, "", "", "sdddd", "")
	f("socks with login", "http://"+plain, probe.Proxy{URL: "socks5://u:hunter2@" + socksLogin}, whole, "", "", "sdsdd", "")
	f("not for this one", "http://"+plain, probe.Proxy{URL: "http://" + closedPort(t), NoProxy: []string{"127.0.0.0/8"}}, whole, "", "", "sdsdd", "")

	f("refuses", "http://"+plain, probe.Proxy{URL: "http://" + closedPort(t)}, whole, "connect", "proxy", "sf---", "nothing listens")
	f("unknown", "http://"+plain, probe.Proxy{URL: "http://localhost.invalid:3128"}, whole, "resolve", "dns_nxdomain", "f----", "the proxy http://localhost.invalid:3128")
	f("407", "https://"+secure, probe.Proxy{URL: "http://" + login}, whole, "connect", "proxy", "sf---", "it wants a user and password")
	f("407, wrong", "https://"+secure, probe.Proxy{URL: "http://u:hunter222@" + login}, whole, "connect", "proxy", "sf---", "does not take the user u")
	f("407, http", "http://"+plain, probe.Proxy{URL: "http://" + login}, whole, "connect", "proxy", "sdsdd", "it wants a user and password")
	f("502", "https://"+closedPort(t), probe.Proxy{URL: "http://" + open}, whole, "connect", "proxy", "sf---", "answered 502 Bad Gateway to CONNECT")
	f("hangs", "https://"+secure, probe.Proxy{URL: "http://" + serveTCP(t, hang)}, slow, "connect", "proxy", "sf---", "did not answer")
	f("hangs, TLS", "https://"+secure, probe.Proxy{URL: "https://" + serveTCP(t, hang)}, slow, "connect", "proxy", "sf---", "TLS handshake")
	f("hangs, socks", "https://"+secure, probe.Proxy{URL: "socks5://" + serveTCP(t, hang)}, slow, "connect", "proxy", "sf---", "did not answer")
	f("cuts", "https://"+secure, probe.Proxy{URL: "http://" + serveTCP(t, func(c net.Conn) { readHead(c) })}, whole, "connect", "proxy", "sf---", "cut the connection")
	f("no HTTP", "https://"+secure, probe.Proxy{URL: "http://" + serveTCP(t, say("SSH-2.0-x\r\n"))}, whole, "connect", "proxy", "sf---", "no usable answer")
	f("endless", "https://"+secure, probe.Proxy{URL: "http://" + serveTCP(t, say("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Fill: 0123456789\r\n", 20000)))}, whole, "connect", "proxy", "sf---", "larger than")
	f("talks first", "https://"+secure, probe.Proxy{URL: "http://" + serveTCP(t, say("HTTP/1.1 200 OK\r\n\r\nhello"))}, whole, "connect", "proxy", "sf---", "5 bytes after its answer")
	f("bad certificate", "https://"+secure, probe.Proxy{URL: "https://" + serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, time.Hour, "other.test")}}, httpProxy(""))}, whole,
		"connect", "proxy", "sf---", "not for 127.0.0.1")
	f("socks wants login", "http://"+plain, probe.Proxy{URL: "socks5://" + socksLogin}, whole, "connect", "proxy", "sf---", "wants a user and password")
	f("socks wrong login", "http://"+plain, probe.Proxy{URL: "socks5://u:hunter222@" + socksLogin}, whole, "connect", "proxy", "sf---", "does not take the user u")
	f("socks target refuses", "http://"+closedPort(t), probe.Proxy{URL: "socks5://" + socks}, whole, "connect", "proxy", "sf---", "the target refused")
	f("socks forbids", "http://"+plain, probe.Proxy{URL: "socks5://" + serveTCP(t, socksProxy("", 2))}, whole, "connect", "proxy", "sf---", "its rules forbid it")
	f("socks odd", "http://"+plain, probe.Proxy{URL: "socks5://" + serveTCP(t, socksProxy("", 77))}, whole, "connect", "proxy", "sf---", "answer 77")
	f("no socks", "http://"+plain, probe.Proxy{URL: "socks5://" + serveTCP(t, func(c net.Conn) { _, _ = c.Write([]byte("HTTP")); hang(c) })}, whole, "connect", "proxy", "sf---", "does not speak SOCKS5")
	f("target hangs", "https://"+serveTCP(t, hang), probe.Proxy{URL: "http://" + open}, slow, "tls", "tls_timeout", "sdf--", "")
}

func TestNoProxy(t *testing.T) {
	f := func(host, port string, want bool, list ...string) {
		t.Helper()
		if got := probe.Bypasses(list, host, port); got != want {
			t.Errorf("%v, %s:%s: got %v, want %v", list, host, port, got, want)
		}
	}
	f("shop.test", "80", false)
	f("shop.test", "80", true, "*")
	f("shop.test", "80", true, "other.test", "Shop.Test")
	f("a.shop.test", "80", true, "shop.test")
	f("a.shop.test", "80", true, ".shop.test")
	f("a.shop.test", "80", true, "*.shop.test")
	f("workshop.test", "80", false, "shop.test")
	f("shop.test", "80", true, "shop.test:80")
	f("shop.test", "81", false, "shop.test:80")
	f("10.1.2.3", "80", true, "10.0.0.0/8")
	f("11.1.2.3", "80", false, "10.0.0.0/8")
	f("10.1.2.3", "80", true, "10.1.2.3")
	f("110.1.2.3", "80", false, "0.1.2.3")
	f("fe80::1", "80", true, "fe80::/10")
	f("::1", "80", true, "[::1]")
	f("10.shop.test", "80", false, "10.0.0.0/8")
}

// TestBoth: a target must answer over each family.
func TestBoth(t *testing.T) {
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("left out: this machine has no IPv6: %v", err)
	}
	port := portOnly(six.Addr().String())
	four, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Skipf("left out: %v", err)
	}
	status := map[net.Listener]string{four: "200 OK", six: "200 OK"}
	for ln := range status {
		defer ln.Close()
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					if req := readHead(c); req != nil {
						code := "200 OK"
						if strings.HasSuffix(req.URL.Path, map[bool]string{true: "bad6", false: "bad4"}[ln == six]) || req.URL.Path == "/none" {
							code = "503 Service Unavailable"
						}
						fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", code)
					}
				}()
			}
		}()
	}
	resolver := serveDNS(t, map[string][]string{"both.test.": {"127.0.0.1", "::1"}, "four.test.": {"127.0.0.1"}})
	f := func(url, stage, reason, says string, hops int) {
		t.Helper()
		c := probe.Check{URL: url, IPVersion: "both", Resolver: resolver, Timeout: 10 * time.Second}
		r := once(t, c)
		if r.Stage != stage || r.Reason != reason || !strings.Contains(r.Message, says) || len(r.Hops) != hops {
			t.Errorf("%s: got %q, %q, %q, %d hops; want %q, %q, %q, %d", url, r.Stage, r.Reason, r.Message, len(r.Hops), stage, reason, says, hops)
		}
		for i, h := range r.Hops {
			if want := []string{"IPv4", "IPv6"}[i]; h.Step != want {
				t.Errorf("hop %d: got step %q, want %q", i, h.Step, want)
			}
		}
		if got := sample(t, c, r, "probe_http_redirects"); got != 0 {
			t.Errorf("got %g redirects", got)
		}
	}
	f("http://both.test:"+port, "", "", "", 2)
	f("http://both.test:"+port+"/bad6", "status", "status", "over IPv6: the reply was 503 Service Unavailable; want 2xx; IPv4 is well", 2)
	f("http://both.test:"+port+"/bad4", "status", "status", "over IPv4: the reply was 503 Service Unavailable; want 2xx; IPv6 is well", 2)
	f("http://both.test:"+port+"/none", "status", "status", "; over IPv6: the reply", 2)
	f("http://four.test:"+port, "resolve", "dns_nxdomain", "over IPv6:", 2)
	c := probe.Check{Name: "x", URL: "http://127.0.0.1", IPVersion: "both"}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "a name in the url") {
		t.Errorf("got %v", err)
	}
}

// sample is the value of a series of a run, without regard to labels.
func sample(t *testing.T, c probe.Check, r record.CheckResult, name string) float64 {
	t.Helper()
	for _, s := range probe.Samples(c, r) {
		if s.Name == name {
			return s.Value
		}
	}
	t.Errorf("there is no %s", name)
	return -1
}

func FuzzProxyAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\n\r\n", false)
	f.Add("HTTP/1.1 407 No\r\n\r\nx", false)
	f.Add("\x05\x02\x01\x00\x05\x00\x00\x03\x04host\x00\x00", true)
	f.Add("\x05\x00\x05\x00\x00\x04", true)
	said := make(chan string, 1)
	addr := serveTCP(f, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 512))
		_, _ = c.Write([]byte(<-said))
	})
	f.Fuzz(func(t *testing.T, answer string, socks bool) {
		said <- answer
		url := "http://u:hunter2hunter2@" + addr
		if socks {
			url = "socks5://u:hunter2hunter2@" + addr
		}
		r := probe.Once(t.Context(), probe.Check{Name: "x", URL: "https://shop.test", Timeout: time.Second, Proxy: &probe.Proxy{URL: url}})
		if r.Success || r.Reason == "own_fault" || strings.Contains(r.Message+r.Reply, "hunter2hunter2") {
			t.Errorf("got %v, %q: %s", r.Success, r.Reason, r.Message)
		}
	})
}
