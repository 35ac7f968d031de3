package pull

import (
	"testing"
	"time"
)

func TestHeadLogBehind(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	log := func(points ...[2]int) headLog { // second, offset
		var h headLog
		for _, p := range points {
			h = h.see(at(p[0]), int64(p[1]))
		}
		return h
	}
	f := func(h headLog, offset int64, now int, want float64) {
		t.Helper()
		got, ok := h.behind(offset, at(now))
		if !ok {
			got = -time.Second
		}
		if got.Seconds() != want {
			t.Errorf("offset %d at %d: %v s behind; want %v", offset, now, got.Seconds(), want)
		}
	}
	const unknown = -1
	f(nil, 5, 0, unknown)
	f(log([2]int{0, 100}), 100, 60, 0)      // all is read
	f(log([2]int{0, 100}), 110, 60, 0)      // a commit that came after the head was asked
	f(log([2]int{0, 100}), 50, 60, unknown) // left before the log began, and the log is one point

	steady := log([2]int{0, 0}, [2]int{10, 100}, [2]int{20, 200}, [2]int{30, 300})
	f(steady, 300, 30, 0)
	f(steady, 250, 30, 5)
	f(steady, 200, 30, 10)
	f(steady, 1, 30, 29.9)
	f(log([2]int{10, 100}, [2]int{20, 200}), 50, 30, 20) // at least: older than the log

	// The head stood at 100 until 50, then moved: who has 100 is behind since 50.
	idle := log([2]int{0, 0}, [2]int{10, 100}, [2]int{20, 100}, [2]int{30, 100}, [2]int{50, 100}, [2]int{60, 200})
	f(idle, 100, 60, 10)
	f(idle, 150, 60, 5)
	f(idle, 50, 60, 55)
	if len(idle) != 4 {
		t.Errorf("a head that stands still takes %d points; want 2 of 4", len(idle))
	}

	again := log([2]int{0, 500}, [2]int{10, 600}, [2]int{20, 3}) // the topic was made anew
	f(again, 3, 30, 0)
	f(again, 1, 30, unknown)
	f(log([2]int{10, 1}, [2]int{5, 9}), 1, 10, 0) // the clock was set back: not seen
}

// Over a day of rounds the log stays small, is right near the head, and close to
// right at any age.
func TestHeadLogThins(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	var h headLog
	end := 0
	for s := 0; s <= 24*3600; s += 15 {
		h = h.see(start.Add(time.Duration(s)*time.Second), int64(s)*10)
		end = s
		if len(h) > headPoints {
			t.Fatalf("%d points", len(h))
		}
	}
	now := start.Add(time.Duration(end) * time.Second)
	for _, age := range []int{1, 15, 100, 1000, 10_000, 80_000, 86_400} {
		got, ok := h.behind(int64(end-age)*10, now)
		if diff := got.Seconds() - float64(age); !ok || diff < -0.001 || diff > 0.001 {
			t.Errorf("%d s behind is told as %v", age, got)
		}
	}
}
