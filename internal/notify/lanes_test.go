package notify_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/record"
)

func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := notify.NewLanes()
		next := func(wantReceiver string, wantID int64, wantWait time.Duration) {
			t.Helper()
			receiver, id, wait := l.Next()
			if receiver != wantReceiver || id != wantID || id == 0 && wait != wantWait {
				t.Errorf("next: got %q %d %v want %q %d %v", receiver, id, wait, wantReceiver, wantID, wantWait)
			}
		}
		now := time.Now()
		next("", 0, time.Hour)
		l.Queue("a", 3, now)
		l.Queue("a", 1, now)
		l.Queue("a", 2, now.Add(-time.Second))
		l.Queue("b", 4, now.Add(10*time.Second))
		next("a", 2, 0) // due longest
		next("", 0, 10*time.Second)
		l.Release("a", false)
		next("a", 1, 0) // the older of two that are due alike
		l.Release("a", false)
		time.Sleep(10 * time.Second)
		next("a", 3, 0)
		next("b", 4, 0) // beside a
		next("", 0, time.Hour)
		l.Release("a", false)
		l.Release("b", false)
	})
}

// A receiver that is down rests as a whole, a success or a human wakes it.
func TestLaneRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := notify.NewLanes()
		for id := range int64(10) {
			l.Queue("a", id+1, time.Now())
		}
		fail := func() {
			t.Helper()
			if _, id, wait := l.Next(); id == 0 {
				t.Fatalf("nothing is due for %v", wait)
			}
			l.Release("a", true)
		}
		rests := func() time.Duration {
			t.Helper()
			_, id, wait := l.Next()
			if id != 0 {
				t.Fatalf("row %d is due, want a rest", id)
			}
			return wait
		}
		fail()
		fail()
		fail()
		for range 4 {
			if wait := rests(); wait > 30*time.Second {
				t.Errorf("rest: got %v want at most 30s", wait)
			}
			time.Sleep(rests())
			fail()
		}
		rests()
		l.Unpause("a")
		if _, id, _ := l.Next(); id == 0 {
			t.Error("the lane rests after a retry by hand")
		}
		l.Release("a", false)
		if _, id, _ := l.Next(); id == 0 {
			t.Error("the lane rests after a success")
		}
	})
}

func TestBackoff(t *testing.T) {
	for tries := 1; tries < 100; tries++ {
		limit := 5 * time.Minute
		if tries < 8 {
			limit = 2 * time.Second << (tries - 1)
		}
		for range 50 {
			if got := notify.Backoff(2*time.Second, 5*time.Minute, tries); got < time.Second || got > limit {
				t.Fatalf("after %d tries: got %v want 1s to %v", tries, got, limit)
			}
		}
	}
}

// When a resent alert is written again.
func TestStale(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(end time.Duration) record.Alert {
		return record.Alert{Labels: map[string]string{"alertname": "Down"}, Annotations: map[string]string{"a": "b"},
			StartsAt: now.Add(-time.Hour), EndsAt: now.Add(end), GeneratorURL: "http://localhost"}
	}
	f := func(what string, stored, a record.Alert, want bool) {
		t.Helper()
		if got := notify.Stale(stored, a, now); got != want {
			t.Errorf("%s: got %t want %t", what, got, want)
		}
	}
	f("same", at(4*time.Minute), at(4*time.Minute), false)
	f("a minute later", at(3*time.Minute), at(4*time.Minute), false)
	f("half gone", at(119*time.Second), at(4*time.Minute), true)
	f("end on disk passed", at(-time.Second), at(4*time.Minute), true)
	f("much shorter", at(4*time.Hour), at(4*time.Minute), true)
	f("resolved", at(4*time.Minute), at(0), true)
	f("resolved again", at(-time.Minute), at(-time.Minute), false)
	f("resolved earlier", at(-time.Minute), at(-2*time.Minute), true)
	other := at(4 * time.Minute)
	other.Annotations = map[string]string{"a": "c"}
	f("annotation", at(4*time.Minute), other, true)
	other = at(4 * time.Minute)
	other.GeneratorURL = "http://elsewhere"
	f("generator", at(4*time.Minute), other, true)
	other = at(4 * time.Minute)
	other.StartsAt = now
	f("start", at(4*time.Minute), other, true)
}
