package golden_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/instrument/golden"
)

func TestTransport(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", h2), func(t *testing.T) {
			srv := httptest.NewUnstartedServer(testMux())
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			if srv.EnableHTTP2 = h2; h2 {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			m := registry(t)
			c := &http.Client{Transport: golden.Transport(m, srv.Client().Transport)}
			get(t, c, "GET", srv.URL+"/users/1", "")
			get(t, c, "GET", srv.URL+"/users/22", "")
			get(t, c, "HEAD", srv.URL+"/users/1", "")
			get(t, c, "", srv.URL+"/nowhere", "")
			get(t, c, "GET", srv.URL+"/broken", "")
			get(t, c, "GET", srv.URL+"/early", "")
			// A body of unknown length.
			r, err := http.NewRequest("POST", srv.URL+"/echo", io.MultiReader(strings.NewReader("abc"), strings.NewReader("d")))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); string(body) != "abcd" || err != nil {
				t.Errorf("got %q, %v", body, err)
			}
			resp.Body.Close()
			resp.Body.Close() // twice is allowed and counts once
			want := map[string]float64{
				"GET 200": 2, "HEAD 200": 1, "GET 404 404": 1, "GET 502 502": 1, "GET 201": 1, "POST 200": 1,
			}
			wantSeries(t, m, "http.client.request.duration", want)
			wantSeries(t, m, "http.client.response.body.size", want)
			wantSeries(t, m, "http.client.active_requests", map[string]float64{"GET": 0, "HEAD": 0, "POST": 0})
			wantSeries(t, m, "http.client.response.body.failures", map[string]float64{})
			in := distribution(t, m, "http.client.response.body.size", "http.request.method", "POST")
			out := distribution(t, m, "http.client.request.body.size", "http.request.method", "POST")
			if in.Sum != 4 || out.Sum != 4 {
				t.Errorf("bodies: got %v in, %v out, want 4 each", in.Sum, out.Sum)
			}
			u, _ := url.Parse(srv.URL)
			key := fmt.Sprintf("http.request.method=POST,server.address=127.0.0.1,server.port=%s", u.Port())
			if _, ok := values(m, "http.client.active_requests")[key]; !ok {
				t.Errorf("got %v, want %s", values(m, "http.client.active_requests"), key)
			}
		})
	}
}

func TestTransportActive(t *testing.T) {
	m := registry(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "abc") }))
	defer srv.Close()
	c := &http.Client{Transport: golden.Transport(m, nil, golden.MaxInFlight(2),
		golden.Route(func(*http.Request) string { return "/x/{y}" }))}
	resp, err := c.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	wantSeries(t, m, "http.client.request.duration", map[string]float64{"GET /x/{y} 200": 1})
	wantSeries(t, m, "http.client.active_requests", map[string]float64{"GET": 1}) // its body is open
	if got := values(m, "http.client.saturation")[""]; got != 0.5 {
		t.Errorf("saturation: got %v, want 0.5", got)
	}
	resp.Body.Close()
	wantSeries(t, m, "http.client.active_requests", map[string]float64{"GET": 0})
}

func TestTransportUpgrade(t *testing.T) {
	m := registry(t)
	srv, _ := serve(t, registry(t), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprint(rw, line)
		rw.Flush()
	}), false)
	c := &http.Client{Transport: golden.Transport(m, nil)}
	r, _ := http.NewRequest("GET", srv.URL, nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "x")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	conn, ok := resp.Body.(io.ReadWriter)
	if !ok {
		t.Fatalf("the body is a %T, which cannot be written", resp.Body)
	}
	fmt.Fprint(conn, "hi\n")
	if b, _ := io.ReadAll(conn); string(b) != "hi\n" {
		t.Errorf("got %q", b)
	}
	wantSeries(t, m, "http.client.request.duration", map[string]float64{"GET 101": 1})
	wantSeries(t, m, "http.client.active_requests", map[string]float64{"GET": 0})
}

// raw answers each connection with the bytes of an answer.
func raw(t *testing.T, answer string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096)) // the request
			fmt.Fprint(c, answer)
			c.Close()
		}
	}()
	return ln.Addr().String()
}

func TestTransportErrors(t *testing.T) {
	f := func(url string, tr *http.Transport, ctx context.Context, want string) {
		t.Helper()
		m := registry(t)
		defer tr.CloseIdleConnections()
		r, err := http.NewRequestWithContext(ctx, "POST", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: golden.Transport(m, tr)}).Do(r)
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: no error", url)
		}
		wantSeries(t, m, "http.client.request.duration", map[string]float64{want: 1})
		wantSeries(t, m, "http.client.active_requests", map[string]float64{"POST": 0})
		wantSeries(t, m, "http.client.response.body.size", map[string]float64{}) // there was no response
	}
	slow, _ := serve(t, registry(t), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), false)
	secret := httptest.NewUnstartedServer(testMux())
	secret.Config.ErrorLog = log.New(io.Discard, "", 0)
	secret.StartTLS()
	defer secret.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	failingWith := func(err error) *http.Transport {
		return &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, err }}
	}

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	f(slow.URL, &http.Transport{}, canceled, "POST canceled")
	f(slow.URL, &http.Transport{}, soon, "POST timeout")
	f(slow.URL, &http.Transport{ResponseHeaderTimeout: time.Millisecond}, t.Context(), "POST timeout")
	f("http://"+gone.Addr().String(), &http.Transport{}, t.Context(), "POST refused")
	f("http://"+raw(t, ""), &http.Transport{}, t.Context(), "POST reset")
	f("http://"+raw(t, "HTTP/1.1 200 OK\r\nA: b\r\n"), &http.Transport{}, t.Context(), "POST reset")
	f("http://"+raw(t, "hello\r\n\r\n"), &http.Transport{}, t.Context(), "POST other")
	f(secret.URL, &http.Transport{}, t.Context(), "POST tls")                                   // its certificate is not known
	f("https://"+raw(t, "HTTP/1.1 400 no\r\n\r\n"), &http.Transport{}, t.Context(), "POST tls") // it does not speak TLS
	f("http://nowhere.invalid", failingWith(&net.DNSError{Err: "no such host", IsNotFound: true}), t.Context(), "POST dns")
	f("http://x.invalid", failingWith(errors.New("odd")), t.Context(), "POST other")
}

// A response that breaks off had its header in time; the failure is counted apart.
func TestTransportBrokenBody(t *testing.T) {
	m := registry(t)
	c := &http.Client{Transport: golden.Transport(m, &http.Transport{DisableKeepAlives: true})}
	_, body := get(t, c, "GET", "http://"+raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "")
	if body != "abc" {
		t.Errorf("got %q", body)
	}
	wantSeries(t, m, "http.client.request.duration", map[string]float64{"GET 200": 1})
	wantSeries(t, m, "http.client.response.body.failures", map[string]float64{"GET 200 reset": 1})
	wantSeries(t, m, "http.client.active_requests", map[string]float64{"GET": 0})
	if d := distribution(t, m, "http.client.response.body.size"); d.Sum != 3 {
		t.Errorf("got %v bytes, want 3", d.Sum)
	}
}
