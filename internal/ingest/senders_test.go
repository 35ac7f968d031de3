package ingest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/record"
)

func TestSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := ingest.NewCounts(instrument.New(instrument.Config{}))
		a := ingest.WithSender(context.Background(), "10.0.0.7")
		time.Sleep(30 * time.Second) // into a minute
		for range 4 {
			c.AddFrom(a, "influx", "", 600, 60, map[string]int{"limit": 5})
			time.Sleep(30 * time.Second)
		}
		c.AddFrom(context.Background(), "scrape", "node", 10, 10, nil)
		c.AddFrom(context.Background(), "statsd", "", 1, 0, nil)
		c.AddFrom(context.Background(), "statsd", "", 0, 0, nil) // nothing came
		got := c.Senders(time.Now())
		if len(got) != 3 || got[0].Sender != "10.0.0.7" || got[1].Sender != "job node" || got[2].Sender != "listener statsd" {
			t.Fatalf("got %+v", got)
		}
		s := got[0]
		if s.Samples != 2400 || s.NewSeries != 240 || s.Rejected != 20 {
			t.Errorf("got %+v, want 2400 samples, 240 new series, 20 rejected", s)
		}
		// The last whole minute had two batches.
		if s.PerSecond != 20 || s.NewPerMin != 120 {
			t.Errorf("got %v samples/s and %v new series/min, want 20 and 120", s.PerSecond, s.NewPerMin)
		}
		time.Sleep(5 * time.Minute)
		if s := c.Senders(time.Now())[0]; s.PerSecond != 0 {
			t.Errorf("a silent sender sends %v samples/s", s.PerSecond)
		}
	})
}

// TestSendersAreBounded has one large sender among thousands that come once: it
// keeps its row, and the table its size.
func TestSendersAreBounded(t *testing.T) {
	c := ingest.NewCounts(instrument.New(instrument.Config{}))
	large := ingest.WithSender(context.Background(), "large")
	for i := range 5000 {
		c.AddFrom(large, "influx", "", 100, 0, nil)
		c.AddFrom(ingest.WithSender(context.Background(), fmt.Sprint("small-", i)), "influx", "", 1, 1, nil)
	}
	got := c.Senders(time.Now())
	if len(got) != 256 || got[0].Sender != "large" || got[0].Samples != 500_000 || got[0].Over != 0 {
		t.Errorf("got %d rows, the first %+v; want 256 and large with 500,000 samples", len(got), got[0])
	}
}

// TestRequestSender writes through the door of requests, as two tokens do.
func TestRequestSender(t *testing.T) {
	c := ingest.NewCounts(instrument.New(instrument.Config{}))
	h := ingest.NewThrottle(1, c).Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c.AddFrom(r.Context(), "remote_write_v1", "", 1, 1, nil)
	}))
	f := func(name, want string) {
		t.Helper()
		r := httptest.NewRequest("POST", "/api/v1/write", nil)
		r.RemoteAddr = "192.0.2.1:51234"
		if name != "" {
			r = r.WithContext(record.WithCaller(r.Context(), record.Caller{Name: name}))
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		for _, s := range c.Senders(time.Now()) {
			if s.Sender == want {
				return
			}
		}
		t.Errorf("no row of %q in %+v", want, c.Senders(time.Now()))
	}
	f("shop", "shop from 192.0.2.1")
	f("", "192.0.2.1")
}

func BenchmarkAddFrom(b *testing.B) {
	c := ingest.NewCounts(instrument.New(instrument.Config{}))
	ctx := ingest.WithSender(context.Background(), "10.0.0.7")
	b.ReportAllocs()
	for b.Loop() {
		c.AddFrom(ctx, "influx", "", 100, 0, nil)
	}
}
