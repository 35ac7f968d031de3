package probe_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

func serveHTTP(t testing.TB, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s
}

func once(t *testing.T, c probe.Check) record.CheckResult {
	t.Helper()
	c.Name = "x"
	return probe.Once(context.Background(), c)
}

func TestRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	})
	r := once(t, probe.Check{URL: s.URL + "/a?b=c#d", Method: "post", Body: "ping", Headers: map[string]string{"host": "shop.test", "X-A": "1", "User-Agent": "mine"},
		BasicAuth: probe.BasicAuth{Username: "u", Password: "p"}})
	if !r.Success {
		t.Fatal(r.Message)
	}
	user, pass, _ := got.BasicAuth()
	if got.Method != "POST" || got.RequestURI != "/a?b=c" || got.Host != "shop.test" || got.Header.Get("X-A") != "1" || got.UserAgent() != "mine" || user != "u" || pass != "p" || string(body) != "ping" || !got.Close {
		t.Errorf("got %+v, body %q", got, body)
	}
	m := regexp.MustCompile(`^00-([0-9a-f]{32})-[0-9a-f]{16}-01$`).FindStringSubmatch(got.Header.Get("Traceparent"))
	if m == nil || m[1] != r.TraceID {
		t.Errorf("got traceparent %q, want one of trace %s", got.Header.Get("Traceparent"), r.TraceID)
	}
	if got.Header.Get("Accept-Encoding") != "" {
		t.Errorf("it asks for %q", got.Header.Get("Accept-Encoding"))
	}
	if r.Hops[0].Address != s.Listener.Addr().String() || r.Kind != "http" || r.Location != "hub" || r.Check != "x" {
		t.Errorf("got %+v", r)
	}
}

// TestRedirects: what goes along from hop to hop, and what does not.
func TestRedirects(t *testing.T) {
	var foreign, own *http.Request
	other := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) { foreign = r })
	var s *httptest.Server
	s = serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/login":
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: "sessionvalue"})
			http.Redirect(w, r, "/home", http.StatusSeeOther)
		case "/home":
			own = r
			http.Redirect(w, r, other.URL+"/out", http.StatusTemporaryRedirect)
		}
	})
	r := once(t, probe.Check{URL: s.URL + "/login", Method: "POST", Body: "user=x", BearerToken: "tokentoken",
		Headers: map[string]string{"X-Api-Key": "keykey", "X-Plain": "yes", "Content-Type": "text/plain", "Host": "shop.test"}})
	if !r.Success || len(r.Hops) != 3 {
		t.Fatalf("got %+v", r)
	}
	if c, err := own.Cookie("sid"); own.Method != "GET" || err != nil || c.Value != "sessionvalue" || own.Header.Get("Authorization") != "Bearer tokentoken" ||
		own.Header.Get("X-Api-Key") != "keykey" || own.Header.Get("Content-Type") != "" || own.ContentLength != 0 || own.Host != "shop.test" {
		t.Errorf("to its own host: got %+v", own)
	}
	if foreign.Header.Get("Authorization") != "" || foreign.Header.Get("X-Api-Key") != "" ||
		foreign.Header.Get("X-Plain") != "yes" || foreign.Host != strings.TrimPrefix(other.URL, "http://") {
		t.Errorf("to another host: got %+v", foreign)
	}
	if got, want := r.Hops[0].Location, "/home"; got != want {
		t.Errorf("location: got %q, want %q", got, want)
	}
	if r.Hops[1].URL != s.URL+"/home" || r.Hops[2].URL != other.URL+"/out" || r.Hops[2].Location != "" {
		t.Errorf("got hops %+v", r.Hops)
	}

	// A 307 keeps method and body.
	var kept string
	s307 := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/x", http.StatusTemporaryRedirect)
			return
		}
		b, _ := io.ReadAll(r.Body)
		kept = r.Method + " " + string(b)
	})
	if r := once(t, probe.Check{URL: s307.URL, Method: "PUT", Body: "data"}); !r.Success || kept != "PUT data" {
		t.Errorf("got %q, %s", kept, r.Message)
	}
}

// TestDowngrade: a redirect from https to http on the same host gets no
// credentials.
func TestDowngrade(t *testing.T) {
	ca := newAuthority(t)
	auth := make(chan string, 1)
	plain := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) { auth <- r.Header.Get("Authorization") })
	addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, time.Hour, "127.0.0.1")}},
		say("HTTP/1.1 302 Found\r\nLocation: "+plain.URL+"\r\nContent-Length: 0\r\n\r\n"))
	r := once(t, probe.Check{URL: "https://" + addr, BearerToken: "tokentoken", TLS: probe.TLS{CAFile: ca.file}})
	if !r.Success {
		t.Fatal(r.Message)
	}
	if got := <-auth; got != "" {
		t.Errorf("the plain hop got %q", got)
	}
}

// TestRedaction: no secret of the check or of the reply is in the result.
func TestRedaction(t *testing.T) {
	const password, token, cookie = "pa ss/wörd", "tok-tok-tok", "cookievalue1"
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: cookie})
			http.Redirect(w, r, "/echo?token="+token+"&page=2", http.StatusFound)
			return
		}
		w.Header().Set("X-Auth-Token", "another-secret")
		w.Header().Set("Www-Authenticate", `Basic realm="shop"`)
		w.Header().Set("X-Echo", r.Header.Get("X-Api-Key"))
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "you sent %v and %q", r.Header, password)
	})
	r := once(t, probe.Check{URL: s.URL + "?secret_key=hidden1", BasicAuth: probe.BasicAuth{Username: "u", Password: password}, Headers: map[string]string{"X-Api-Key": token}})
	text := fmt.Sprintf("%+v %s", r, probe.Text(r))
	for _, sec := range []string{password, "dTpwYSBzcy93w7ZyZA==", token, cookie, "another-secret", "hidden1"} {
		if strings.Contains(text, sec) {
			t.Errorf("%q is shown in %s", sec, text)
		}
	}
	for _, keep := range []string{"401 Unauthorized", `realm="shop"`, "you sent", "page=2"} {
		if !strings.Contains(text, keep) {
			t.Errorf("%q is missing in %s", keep, text)
		}
	}
}

func TestReplyIsShort(t *testing.T) {
	const secret = "a-secret-that-lies-across-the-cut"
	s := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		for i := range 400 {
			fmt.Fprintf(w, "%d %s ", i, secret)
		}
		_, _ = w.Write([]byte("\xff\x00"))
	})
	r := once(t, probe.Check{URL: s.URL, BearerToken: secret})
	if len(r.Reply) > 4096 || len(r.Reply) < 2000 {
		t.Errorf("got %d bytes", len(r.Reply))
	}
	for i := 8; i < len(secret); i++ {
		if strings.Contains(r.Reply, secret[:i]) {
			t.Fatalf("a part of the secret is shown: %s", r.Reply[len(r.Reply)-100:])
		}
	}
}

func TestGzip(t *testing.T) {
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	fmt.Fprint(zw, strings.Repeat("open ", 1000))
	zw.Close()
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		if r.Method != "HEAD" {
			_, _ = w.Write(z.Bytes())
		}
	})
	r := once(t, probe.Check{URL: s.URL, Expect: probe.Expect{BodyRegex: "^(open ){1000}$"}})
	if !r.Success || r.Hops[0].Bytes != int64(z.Len()) {
		t.Errorf("got %d bytes of %d, %s", r.Hops[0].Bytes, z.Len(), r.Message)
	}
	if r := once(t, probe.Check{URL: s.URL, Method: "HEAD"}); !r.Success {
		t.Error(r.Message)
	}
	if r := once(t, probe.Check{URL: s.URL, MaxBodyBytes: 1000}); r.Reason != "too_large" {
		t.Errorf("a small gzip of a large body: got %q", r.Reason)
	}
}

func TestAddressFamilies(t *testing.T) {
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6")
	}
	s := &httptest.Server{Listener: six, Config: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}}
	s.Start()
	t.Cleanup(s.Close)
	resolver := serveDNS(t, map[string][]string{"both.shop.test.": {"127.0.0.1", "::1"}})
	f := func(version, reason string) {
		t.Helper()
		r := once(t, probe.Check{URL: "http://both.shop.test:" + portOnly(six.Addr().String()), Resolver: resolver, IPVersion: version})
		if r.Reason != reason {
			t.Errorf("%s: got reason %q (%s), want %q", version, r.Reason, r.Message, reason)
		}
		if reason == "" && r.Hops[0].Address != six.Addr().String() {
			t.Errorf("%s: got %s", version, r.Hops[0].Address)
		}
	}
	f("any", "") // refused on IPv4, then IPv6
	f("6", "")
	f("prefer6", "")
	f("4", "refused")
}

// TestServerName: SNI and verification take tls.server_name, else the Host
// header, else the URL's host.
func TestServerName(t *testing.T) {
	ca := newAuthority(t)
	crt := ca.issue(t, time.Hour, "shop.test")
	addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{crt}}, say(ok200))
	f := func(c probe.Check, reason string) {
		t.Helper()
		c.URL, c.TLS.CAFile = "https://"+addr, ca.file
		if r := once(t, c); r.Reason != reason {
			t.Errorf("got %q (%s), want %q", r.Reason, r.Message, reason)
		}
	}
	f(probe.Check{TLS: probe.TLS{ServerName: "shop.test"}}, "")
	f(probe.Check{Headers: map[string]string{"Host": "shop.test:443"}}, "")
	f(probe.Check{}, "tls_name")
	f(probe.Check{TLS: probe.TLS{InsecureSkipVerify: true}}, "")
}

// TestRenewedFiles: certificates and tokens are read again when they change.
func TestRenewedFiles(t *testing.T) {
	var got string
	s := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") })
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	p, err := probe.New(probe.Config{Checks: []probe.Check{{Name: "x", URL: s.URL, BearerFile: file}}}, func(context.Context, probe.Check, record.CheckResult) {}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string) {
		t.Helper()
		if _, err := p.RunNow(t.Context(), "x"); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	f("Bearer first")
	write("the second")
	f("Bearer the second")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	r, err := p.RunNow(t.Context(), "x")
	if err != nil || r.Reason != "own_fault" || !strings.Contains(r.Message, "bearer_token_file") {
		t.Errorf("got %v, %q: %s", err, r.Reason, r.Message)
	}
}

// TestClientCertificate: it is shown to the check's own host only.
func TestClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	server := ca.issue(t, time.Hour, "127.0.0.1")
	seen := make(chan int, 1)
	foreign := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert}, func(c net.Conn) {
		seen <- len(c.(*tls.Conn).ConnectionState().PeerCertificates)
		say(ok200)(c)
	})
	own := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert},
		say("HTTP/1.1 302 Found\r\nLocation: https://"+foreign+"/\r\nContent-Length: 0\r\n\r\n"))
	cert, key := clientFiles(t, ca)
	r := once(t, probe.Check{URL: "https://" + own, TLS: probe.TLS{CAFile: ca.file, CertFile: cert, KeyFile: key}})
	if !r.Success {
		t.Fatal(r.Message)
	}
	if n := <-seen; n != 0 {
		t.Errorf("the other host got %d certificates", n)
	}
}
