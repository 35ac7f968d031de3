package probe_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

// TestFlowsAtOnce acts 1,000 flows out at the same time: each sees its own
// cookies and values, and none leaves a connection or goroutine behind.
func TestFlowsAtOnce(t *testing.T) {
	flows := 1000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 3000 {
		flows = 200 // both ends of a connection are in this process
	}
	var open, signed atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/in":
			http.SetCookie(w, &http.Cookie{Name: "who", Value: r.FormValue("who")})
			fmt.Fprintf(w, `{"token":"token-%s"}`, r.FormValue("who"))
		case "/work":
			c, err := r.Cookie("who")
			if err != nil || r.Header.Get("X-Token") != "token-"+c.Value {
				http.Error(w, "somebody else", http.StatusForbidden)
			}
		case "/out":
			signed.Add(1)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := flowCheck(t, s.URL, `
  steps:
    - {name: in, request: {url: $BASE/in, form: {who: "${uuid}"}}, extract: [{name: token, jsonpath: $.token}]}
    - {name: breathe, wait: 20ms}
    - {name: work, loop: {times: 3, every: 5ms}, request: {url: /work, headers: {X-Token: "${token}"}}}
    - {name: out, always: true, request: {url: /out, method: POST}}
timeout: 60s
`)
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	var failed atomic.Int64
	for range flows {
		wg.Go(func() {
			if r := probe.Once(context.Background(), c); !r.Success || len(r.Hops) != 5 {
				if failed.Add(1) == 1 {
					t.Errorf("%s/%s: %s", r.Stage, r.Reason, r.Message)
				}
			}
		})
	}
	wg.Wait()
	if failed.Load() > 0 || signed.Load() != int64(flows) {
		t.Errorf("%d of %d flows failed, %d signed out", failed.Load(), flows, signed.Load())
	}
	// The server's side ends a moment after ours.
	for end := time.Now().Add(30 * time.Second); open.Load() > 0 || runtime.NumGoroutine() > before+5; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d connections and %d goroutines are left, %d at the begin", open.Load(), runtime.NumGoroutine(), before)
		}
	}
}

// TestFlowTLS: the phases of each request are its own, and the certificate of
// any of them counts.
func TestFlowTLS(t *testing.T) {
	ca := newAuthority(t)
	addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, 3*24*time.Hour, "127.0.0.1")}}, func(c net.Conn) {
		if readHead(c) != nil {
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"))
		}
	})
	plain := serveTCP(t, say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"))
	const steps = "  steps: [{name: a, request: {url: $BASE/}}, {name: b, request: {url: $BASE/}}, {name: c, request: {url: 'http://$PLAIN/'}}]\n"
	text := strings.ReplaceAll(steps, "$PLAIN", plain) + "tls: {ca_file: " + ca.file + "}\n"
	r := runFlow(t, "https://"+addr, text+"expect: {certificate_days: 1}")
	if !r.Success {
		t.Fatal(r.Message)
	}
	for i, want := range []string{"skipped done done done done", "skipped done done done done", "skipped done skipped done done"} {
		var got []string
		for _, p := range r.Hops[i].Phases {
			got = append(got, p.State.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("hop %d: got %s, want %s", i, got, want)
		}
	}
	r = runFlow(t, "https://"+addr, text+"expect: {certificate_days: 30}")
	if r.Reason != "certificate" || !strings.HasPrefix(r.Message, "step a: the certificate ends in ") {
		t.Errorf("got %s: %s", r.Reason, r.Message)
	}
	r = runFlow(t, "https://"+addr, strings.ReplaceAll(steps, "$PLAIN", plain))
	if r.Stage != "tls" || r.Reason != "tls_unknown_ca" || !strings.HasPrefix(r.Message, "step 1 of 3, a: ") {
		t.Errorf("got %s/%s: %s", r.Stage, r.Reason, r.Message)
	}
}

// BenchmarkFlow compares a flow of five requests, each with a variable, an
// expectation and an extraction, with a plain check that makes one of them.
func BenchmarkFlow(b *testing.B) {
	plain, _ := serveBench(b, newAuthority(b))
	text := "  variables: {base: $BASE}\n  steps:\n"
	for i := range 5 {
		text += fmt.Sprintf("    - {name: s%d, request: {url: '${base}/?n=${random}'}, expect: {body_contains: xxx}, extract: [{name: v%d, regex: '(x{10})'}]}\n", i, i)
	}
	for _, bench := range []struct {
		name     string
		check    probe.Check
		requests float64
	}{
		{"flow", flowCheck(b, "http://"+plain, text), 5},
		{"http", probe.Check{Name: "buy a book", URL: "http://" + plain + "/?n=1", Expect: probe.Expect{BodyContains: "xxx"}}, 1},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p, err := probe.New(probe.Config{Checks: []probe.Check{bench.check}}, func(context.Context, probe.Check, record.CheckResult) {}, quiet)
			if err != nil {
				b.Fatal(err)
			}
			before := cpu(b)
			measure(b, func() {
				if r, err := p.RunNow(b.Context(), "buy-a-book"); err != nil || !r.Success {
					b.Fatal(err, r.Message)
				}
			})
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N)/bench.requests, "cpu-us/request")
		})
	}
}
