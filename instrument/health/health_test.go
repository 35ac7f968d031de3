package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/health"
)

func get(h http.Handler, target string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
	return w.Code, w.Body.String()
}

func TestProbes(t *testing.T) {
	h := health.New(health.Config{Name: "shop"})
	db := h.Component("db", health.Critical())
	cache := h.Component("cache")
	loop := h.Component("loop", health.Live())
	f := func(what, path string, code int, says ...string) {
		t.Helper()
		got, body := get(h.Handler(), path)
		if got != code {
			t.Errorf("%s: %s is %d, want %d: %s", what, path, got, code, body)
		}
		for _, s := range says {
			if !strings.Contains(body, s) {
				t.Errorf("%s: %s says %q, want %q", what, path, body, s)
			}
		}
	}
	f("starting", "/startupz", 503, "starting")
	f("starting", "/readyz", 503, "starting")
	f("starting", "/livez", 200, "ok")
	h.Started()
	f("started", "/startupz", 200)
	f("started", "/readyz", 200, "ok")
	f("started", "/readyz?verbose", 200, "[+]db ok", "readiness check passed")
	cache.Bad("no route")
	f("cache down", "/readyz?verbose", 200, "[-]cache failed: no route")
	f("cache down", "/health", 200, "DEGRADED\n", "component cache BAD no route")
	db.Bad("refused")
	f("database down", "/readyz", 503, "[-]db failed: refused", "readiness check failed: db: refused")
	f("database down", "/healthz", 503)
	f("database down", "/livez", 200)
	f("database excluded", "/readyz?exclude=db", 200)
	f("database down", "/health", 200, "BAD\n")
	db.Degraded("slow")
	f("database slow", "/readyz?verbose", 200, "[!]db degraded: slow")
	loop.Bad("stuck")
	f("deadlock", "/livez", 503, "[-]loop failed: stuck")
	loop.Good("turns")
	h.Unready("the cache is being filled")
	f("unready", "/readyz", 503, "being filled")
	h.Unready("")
	f("ready again", "/readyz", 200)
	h.Stopping()
	f("stopping", "/readyz", 503, "stopping")
	f("stopping", "/livez", 200)
	f("build", "/debug/build", 200, `"go":"go1.`)
	f("profiles", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile")
	code, body := get(h.Debug(func(*http.Request) bool { return false }), "/debug/pprof/")
	if code != 403 {
		t.Errorf("guarded profiles: %d %s", code, body)
	}
	_, body = get(h.Handler(), "/readyz?format=json")
	var r health.Report
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.Name != "shop" || len(r.Components) != 3 || r.Components[0].State != health.Degraded {
		t.Errorf("JSON: %v %+v", err, r)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := instrument.New(instrument.Config{})
		defer m.Close()
		h := health.New(health.Config{Registry: m})
		h.Started()
		c := h.Component("feed", health.Expire(30*time.Second), health.Critical())
		c.Good("fine\nand\tdandy")
		time.Sleep(30 * time.Second)
		if r := h.Report(); r.State != health.Good || r.Components[0].Text != "fine and dandy" {
			t.Errorf("in time: %+v", r)
		}
		time.Sleep(12 * time.Second)
		r := h.Report()
		if r.State != health.Bad || r.Ready || r.Components[0].Text != "no report for 42s (expected every 30s)" {
			t.Errorf("late: %+v", r)
		}
		if n := m.Gauge("health.state", "component", "feed").Value(); n != 2 {
			t.Errorf("the gauge is %v", n)
		}
		c.Good("again")
		if n := m.Counter("health.changes", "component", "feed").Value(); n != 2 {
			t.Errorf("%d changes, want 2", n)
		}
	})
}

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := health.New(health.Config{})
		h.Started()
		var loading atomic.Bool
		h.Check("redis", 10*time.Second, time.Second, func(ctx context.Context) error {
			if loading.Load() {
				return errors.New("LOADING")
			}
			return nil
		})
		h.Check("hangs", 10*time.Second, time.Second, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		time.Sleep(2 * time.Second)
		if r := h.Report(); r.Components[0].State != health.Good || r.Components[1].Text != "context deadline exceeded" || r.State != health.Degraded {
			t.Errorf("%+v", r)
		}
		loading.Store(true)
		time.Sleep(10 * time.Second)
		if r := h.Report(); r.Components[0].State != health.Bad || r.Components[0].Text != "LOADING" {
			t.Errorf("%+v", r)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestSocket(t *testing.T) {
	h := health.New(health.Config{Name: "shop", Version: "1.2", Revision: "abc", BuildTime: "today", MaxClients: 4})
	h.Started()
	h.Component("db").Good("42 connections")
	h.Queue("mail", func() (int, int, time.Duration) { return 7, 100, 1500 * time.Millisecond })
	h.Queue("no limit", func() (int, int, time.Duration) { return 1, 0, 0 })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.ServeSocket(ctx, ln) }()
	addr := ln.Addr().String()

	say := func(what string) string {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, what)
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, what := range []string{"", "hello\n", "x"} {
		got := say(what)
		for _, want := range []string{"GOOD\nname shop\nversion 1.2\nrevision abc\nbuild today\ngo go1.", "\nuptime ", "\ncomponent db GOOD 42 connections\n", "\nqueue mail 7/100 oldest 1.5s\n", "\nqueue no_limit 1/-\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("asked %q, it says\n%s\nwant %q", what, got, want)
			}
		}
	}
	r, err := health.Query(ctx, addr)
	if err != nil || r.State != health.Good || r.Queues[0].Depth != 7 || r.Components[0].Text != "42 connections" {
		t.Errorf("query: %v %+v", err, r)
	}
	resp, err := http.Get("http://" + addr + "/readyz")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("HTTP on the same port: %v %v", resp, err)
	}
	resp.Body.Close()
	// Those who hold the door open do not keep it for ever.
	var held []net.Conn
	for range 6 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	time.Sleep(300 * time.Millisecond)
	if !strings.HasPrefix(say(""), "GOOD") {
		t.Error("silent clients keep others out")
	}
	for _, c := range held {
		c.Close()
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the socket does not end")
	}
	if _, err := health.Query(context.Background(), addr); err == nil {
		t.Error("it answers after its end")
	}
	if err := h.ListenAndServe(context.Background(), "0.0.0.0:0"); err == nil || !strings.Contains(err.Error(), "AllowRemote") {
		t.Errorf("open to all: %v", err)
	}
	if err := h.ListenAndServe(context.Background(), "nonsense"); err == nil {
		t.Error("a wrong address is taken")
	}
}

func Example() {
	h := health.New(health.Config{Name: "checkout"})
	db := h.Component("database", health.Critical(), health.Expire(30*time.Second))
	h.Started()

	db.Good("42 connections")
	fmt.Println(h.Report().State, h.Report().Ready)
	db.Bad("connection refused")
	fmt.Println(h.Report().State, h.Report().Ready, h.Report().Why)
	// Output:
	// GOOD true
	// BAD false database: connection refused
}
