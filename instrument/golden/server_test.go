package golden_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/golden"
)

// serve serves a measured mux. wait returns when all handlers have.
func serve(t *testing.T, m *instrument.Registry, mux http.Handler, h2 bool, opts ...golden.Option) (srv *httptest.Server, wait func()) {
	t.Helper()
	measured := golden.Handler(m, mux, opts...)
	var wg sync.WaitGroup
	srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wg.Add(1)
		defer wg.Done()
		measured.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of panics that are meant
	if h2 {
		srv.EnableHTTP2 = true
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv, wg.Wait
}

func get(t *testing.T, c *http.Client, method, url, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if body != "" {
		r, err = http.NewRequest(method, url, strings.NewReader(body))
	}
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body) // what it holds is what matters
	return resp, string(b)
}

func wantSeries(t *testing.T, m *instrument.Registry, name string, want map[string]float64) {
	t.Helper()
	if got := short(m, name); !maps.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

func testMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.PathValue("id")) })
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) })
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("meant") })
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/late-panic", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		panic("meant")
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</x.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("/nothing", func(http.ResponseWriter, *http.Request) {})
	return mux
}

func TestHandler(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", h2), func(t *testing.T) {
			m := registry(t)
			srv, wait := serve(t, m, testMux(), h2)
			c := srv.Client()
			for i := range 3 {
				if resp, body := get(t, c, "GET", fmt.Sprintf("%s/users/%d", srv.URL, i), ""); resp == nil || body != fmt.Sprint(i) {
					t.Fatalf("got %v %q", resp, body)
				}
			}
			if resp, _ := get(t, c, "GET", srv.URL+"/users/1", ""); (resp.ProtoMajor == 2) != h2 {
				t.Fatalf("the test speaks %s", resp.Proto)
			}
			get(t, c, "HEAD", srv.URL+"/users/123456", "")
			get(t, c, "POST", srv.URL+"/echo", "hello")
			get(t, c, "GET", srv.URL+"/broken", "")
			// POST: the client would try a GET again that was not answered.
			get(t, c, "POST", srv.URL+"/panic", "x")
			get(t, c, "POST", srv.URL+"/abort", "x")
			get(t, c, "POST", srv.URL+"/late-panic", "x")
			get(t, c, "GET", srv.URL+"/nowhere/17", "")
			get(t, c, "BREW", srv.URL+"/nothing", "")
			if resp, _ := get(t, c, "GET", srv.URL+"/early", ""); resp == nil || resp.StatusCode != http.StatusCreated {
				t.Errorf("/early: got %v", resp)
			}
			wait()
			want := map[string]float64{
				"GET /users/{id} 200":        4,
				"HEAD /users/{id} 200":       1,
				"POST /echo 200":             1,
				"GET /broken 502 502":        1,
				"POST /panic 500 panic":      1,
				"POST /abort 500 aborted":    1,
				"POST /late-panic 500 panic": 1,
				"GET 404":                    1, // no route
				"_OTHER /nothing 200":        1,
				"GET /early 201":             1,
			}
			wantSeries(t, m, "http.server.request.duration", want)
			wantSeries(t, m, "http.server.response.body.size", want)
			wantSeries(t, m, "http.server.active_requests", map[string]float64{"GET": 0, "HEAD": 0, "POST": 0, "_OTHER": 0})
			in := distribution(t, m, "http.server.request.body.size", "http.route", "/echo")
			out := distribution(t, m, "http.server.response.body.size", "http.route", "/echo")
			if in.Sum != 5 || out.Sum != 5 {
				t.Errorf("bodies of the echo: got %v in, %v out, want 5 each", in.Sum, out.Sum)
			}
			if d := distribution(t, m, "http.server.response.body.size", "http.request.method", "HEAD"); d.Sum != 0 {
				t.Errorf("the body of HEAD: got %v bytes, want 0", d.Sum)
			}
			scheme := "http"
			if h2 {
				scheme = "https"
			}
			for tags := range values(m, "http.server.active_requests") {
				if !strings.Contains(tags, "url.scheme="+scheme) {
					t.Errorf("got %s, want url.scheme=%s", tags, scheme)
				}
			}
		})
	}
}

func TestHandlerChunkedBody(t *testing.T) {
	m := registry(t)
	srv, wait := serve(t, m, testMux(), false)
	resp, err := srv.Client().Post(srv.URL+"/echo", "text/plain", io.MultiReader(strings.NewReader("abc"), strings.NewReader("def")))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	wait()
	if d := distribution(t, m, "http.server.request.body.size"); d.Sum != 6 {
		t.Errorf("got %v bytes, want 6", d.Sum)
	}
}

func TestHandlerClientLeaves(t *testing.T) {
	for i := range 4 {
		begun, h2 := i&1 != 0, i&2 != 0
		m := registry(t)
		entered := make(chan struct{})
		srv, wait := serve(t, m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if begun {
				w.WriteHeader(http.StatusAccepted)
				_ = http.NewResponseController(w).Flush()
			}
			close(entered)
			<-r.Context().Done()
		}), h2)
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if resp, err := srv.Client().Do(r); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}()
		<-entered
		wantSeries(t, m, "http.server.active_requests", map[string]float64{"GET": 1})
		cancel()
		<-done
		wait()
		want := "GET 499 canceled"
		if begun {
			want = "GET 202 canceled"
		}
		wantSeries(t, m, "http.server.request.duration", map[string]float64{want: 1})
		wantSeries(t, m, "http.server.active_requests", map[string]float64{"GET": 0})
	}
}

func TestHandlerEventStream(t *testing.T) {
	m := registry(t)
	stop := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-stop
		fmt.Fprint(w, "data: 2\n\n")
	})
	srv, wait := serve(t, m, mux, false)
	resp, err := srv.Client().Get(srv.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, _ := bufio.NewReader(resp.Body).ReadString('\n'); line != "data: 1\n" {
		t.Errorf("got %q", line)
	}
	// The stream goes on; its request is over.
	wantSeries(t, m, "http.server.active_sessions", map[string]float64{"event-stream": 1})
	wantSeries(t, m, "http.server.active_requests", map[string]float64{"GET": 0})
	wantSeries(t, m, "http.server.request.duration", map[string]float64{"GET /events 200": 1})
	close(stop)
	wait()
	wantSeries(t, m, "http.server.active_sessions", map[string]float64{"event-stream": 0})
	wantSeries(t, m, "http.server.session.duration", map[string]float64{"event-stream /events": 1})
	if d := distribution(t, m, "http.server.response.body.size"); d.Sum != 18 {
		t.Errorf("got %v bytes, want 18", d.Sum)
	}
}

func TestHandlerHijack(t *testing.T) {
	f := func(header, kind, request string) {
		t.Helper()
		m := registry(t)
		srv, wait := serve(t, m, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			c, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nready\n")
			rw.Flush()
			line, _ := rw.ReadString('\n')
			fmt.Fprint(rw, line)
			rw.Flush()
		}), false)
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: x\r\n%s\r\n", header)
		br := bufio.NewReader(c)
		for line := ""; line != "ready\n"; {
			if line, err = br.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		wantSeries(t, m, "http.server.active_sessions", map[string]float64{kind: 1})
		wantSeries(t, m, "http.server.active_requests", map[string]float64{"GET": 0})
		wantSeries(t, m, "http.server.request.duration", map[string]float64{request: 1})
		fmt.Fprint(c, "bye\n")
		if line, _ := br.ReadString('\n'); line != "bye\n" {
			t.Errorf("got %q", line)
		}
		wait()
		wantSeries(t, m, "http.server.active_sessions", map[string]float64{kind: 0})
		wantSeries(t, m, "http.server.session.duration", map[string]float64{kind: 1})
	}
	f("Upgrade: x\r\nConnection: Upgrade\r\n", "upgrade", "GET 101")
	f("", "hijack", "GET")
}

func TestHandlerWriter(t *testing.T) {
	// What the writer below can do, the one above can, and no more.
	m := registry(t)
	check := func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusTeapot)
		if _, ok := w.(io.ReaderFrom); ok {
			t.Error("a recorder has no ReadFrom")
		}
		if _, ok := w.(http.Hijacker); ok {
			t.Error("a recorder has no Hijack")
		}
		if _, ok := w.(http.Flusher); !ok {
			t.Error("a recorder has Flush")
		}
	}
	golden.Handler(m, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { check(w) })).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))

	big := bytes.Repeat([]byte("x"), 1<<20)
	srv, wait := serve(t, m, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, err := w.(io.ReaderFrom).ReadFrom(bytes.NewReader(big))
		if n != 1<<20 || err != nil {
			t.Errorf("ReadFrom: got %d, %v", n, err)
		}
	}), false)
	if _, body := get(t, srv.Client(), "GET", srv.URL, ""); len(body) != 1<<20 {
		t.Errorf("got %d bytes", len(body))
	}
	wait()
	wantSeries(t, m, "http.server.request.duration", map[string]float64{"GET 418": 1, "GET 200": 1})
	if d := distribution(t, m, "http.server.response.body.size", "http.response.status_code", "200"); d.Sum != 1<<20 {
		t.Errorf("got %v bytes", d.Sum)
	}
}

func TestHandlerOptions(t *testing.T) {
	m := registry(t)
	in, out := make(chan struct{}), make(chan struct{})
	h := golden.Handler(m, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { in <- struct{}{}; <-out }),
		golden.MaxInFlight(4), golden.Tags("port", "public"),
		golden.Route(func(r *http.Request) string { return "/" + strings.Split(r.URL.Path, "/")[1] }))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/a/b", nil)) })
		<-in
	}
	if got := values(m, "http.server.saturation")["port=public"]; got != 0.75 {
		t.Errorf("saturation: got %v, want 0.75", got)
	}
	if got := values(m, "http.server.active_requests.limit")["port=public"]; got != 4 {
		t.Errorf("limit: got %v, want 4", got)
	}
	close(out)
	wg.Wait()
	wantSeries(t, m, "http.server.request.duration", map[string]float64{"GET /a 200": 3})
	if got := values(m, "http.server.saturation")["port=public"]; got != 0 {
		t.Errorf("saturation: got %v, want 0", got)
	}
}

// The paths that are asked for make no series.
func TestHandlerIsBounded(t *testing.T) {
	m := registry(t)
	h := golden.Handler(m, testMux())
	for i := range 3000 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(fmt.Sprintf("M%d", i), fmt.Sprintf("/x/%d", i), nil))
	}
	wantSeries(t, m, "http.server.request.duration", map[string]float64{"_OTHER 404": 3000})
}

// With many requests at once, of a measured client to a measured server, nothing
// is lost and nothing is left over.
func TestConcurrent(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		m := registry(t)
		srv, wait := serve(t, m, testMux(), h2)
		c := &http.Client{Transport: golden.Transport(m, srv.Client().Transport)}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range 50 {
					get(t, c, "POST", srv.URL+"/echo", "hello")
					get(t, c, "GET", srv.URL+fmt.Sprintf("/users/%d", i), "")
					get(t, c, "GET", srv.URL+"/broken", "")
				}
			})
		}
		wg.Wait()
		wait()
		wantSeries(t, m, "http.server.request.duration", map[string]float64{"POST /echo 200": 400, "GET /users/{id} 200": 400, "GET /broken 502 502": 400})
		wantSeries(t, m, "http.client.request.duration", map[string]float64{"POST 200": 400, "GET 200": 400, "GET 502 502": 400})
		for _, name := range []string{"http.server.active_requests", "http.client.active_requests"} {
			wantSeries(t, m, name, map[string]float64{"GET": 0, "POST": 0})
		}
	}
}
