package probe_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

var quiet = slog.New(slog.DiscardHandler)

// bench runs a prober in a synctest bubble and notes what its sink gets.
type bench struct {
	*probe.Prober
	mu   sync.Mutex
	runs map[string][]record.CheckResult
	stop func()
}

func start(t *testing.T, cfg probe.Config, act func(context.Context, probe.Check) record.CheckResult) *bench {
	t.Helper()
	b := &bench{runs: map[string][]record.CheckResult{}}
	p, err := probe.New(cfg, func(_ context.Context, c probe.Check, r record.CheckResult) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.runs[c.ID] = append(b.runs[c.ID], r)
	}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	p.SetAct(act)
	b.Prober = p
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	return b
}

// of returns the runs of a check so far.
func (b *bench) of(id string) []record.CheckResult {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]record.CheckResult(nil), b.runs[id]...)
}

// all returns the runs of every check so far.
func (b *bench) all() map[string][]record.CheckResult {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string][]record.CheckResult, len(b.runs))
	for id, runs := range b.runs {
		out[id] = append([]record.CheckResult(nil), runs...)
	}
	return out
}

// takes is a run that goes on for d, or until its context ends.
func takes(d time.Duration) func(context.Context, probe.Check) record.CheckResult {
	return func(ctx context.Context, _ probe.Check) record.CheckResult {
		r := record.CheckResult{Start: time.Now(), Success: true}
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		r.Duration = time.Since(r.Start)
		return r
	}
}

func many(n int, interval time.Duration) []probe.Check {
	checks := make([]probe.Check, n)
	for i := range checks {
		checks[i] = probe.Check{Name: fmt.Sprintf("check %d", i), URL: "http://127.0.0.1:1", Interval: interval}
	}
	return checks
}

// TestSpread: 10,000 checks all start within one interval, evenly, and again in
// each interval after.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, interval = 10_000, 30 * time.Second
		begin := time.Now()
		b := start(t, probe.Config{Checks: many(n, interval)}, takes(time.Millisecond))
		time.Sleep(2 * interval)
		time.Sleep(2 * time.Millisecond) // for the runs that began last
		b.stop()
		var perSecond [60]int
		for id, runs := range b.all() {
			if n := len(runs); n != 2 && n != 3 { // 3: at both ends
				t.Fatalf("%s ran %d times in two intervals", id, n)
			}
			if gap := runs[1].Start.Sub(runs[0].Start) - runs[1].Lag + runs[0].Lag; gap != interval {
				t.Fatalf("%s: got a gap of %s", id, gap)
			}
			for _, r := range runs {
				perSecond[min(r.Start.Sub(begin)/time.Second, 59)]++
				if r.Lag > 100*time.Millisecond {
					t.Fatalf("%s started %s late", id, r.Lag)
				}
			}
		}
		if len(b.all()) != n {
			t.Fatalf("got runs of %d checks, want %d", len(b.all()), n)
		}
		for s, got := range perSecond {
			if mean := n / 30; got < mean/2 || got > mean*3/2 {
				t.Errorf("second %d: %d runs, the mean is %d", s, got, mean)
			}
		}
		if st := b.Stats(); st.Skipped != 0 || st.Waiting != 0 {
			t.Errorf("got %+v", st)
		}
	})
}

// TestFirstRun: a few checks with long intervals run at once, and find to their
// own places after.
func TestFirstRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 10 * time.Minute
		begin := time.Now()
		b := start(t, probe.Config{Checks: many(20, interval)}, takes(time.Millisecond))
		defer b.stop()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(b.all()) != 20 {
			t.Fatalf("after a second %d of 20 checks have run", len(b.all()))
		}
		time.Sleep(3 * interval)
		synctest.Wait()
		for id, runs := range b.all() {
			if n := len(runs); n != 3 && n != 4 {
				t.Errorf("%s: got %d runs", id, n)
			}
			for _, r := range runs[1:] {
				if got, want := r.Start.Add(-r.Lag), probe.NextDue(r.Start.Add(-interval/2), probe.Phase(id, "hub", interval), interval); !got.Equal(want) {
					t.Errorf("%s ran at %s, want %s", id, got.Sub(begin), want.Sub(begin))
				}
			}
			if gap := runs[1].Start.Sub(runs[0].Start); gap < interval/2 || gap > interval*3/2 {
				t.Errorf("%s: the first gap is %s", id, gap)
			}
		}
	})
}

// TestHangingTargets: three targets that never answer delay none of the others
// and run at most once at a time.
func TestHangingTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checks := many(50, 5*time.Second)
		hang := map[string]bool{checks[0].Name: true, checks[1].Name: true, checks[2].Name: true}
		var mu sync.Mutex
		going := map[string]int{}
		b := start(t, probe.Config{Checks: checks, Workers: 8}, func(ctx context.Context, c probe.Check) record.CheckResult {
			mu.Lock()
			if going[c.ID]++; going[c.ID] > 1 {
				t.Errorf("%s runs twice at once", c.ID)
			}
			mu.Unlock()
			d := 10 * time.Millisecond
			if hang[c.Name] {
				d = probe.Deadline(c)
			}
			r := takes(d)(ctx, c)
			mu.Lock()
			going[c.ID]--
			mu.Unlock()
			return r
		})
		defer b.stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		for id, runs := range b.all() {
			if len(runs) < 11 {
				t.Errorf("%s: %d runs in twelve intervals", id, len(runs))
			}
			for _, r := range runs {
				if r.Lag > 200*time.Millisecond {
					t.Errorf("%s started %s late", id, r.Lag)
				}
			}
		}
		if st := b.Stats(); st.Skipped != 0 {
			t.Errorf("got %d skipped runs", st.Skipped)
		}
	})
}

// TestOverload: with too few workers every check still runs in its turn, and
// what did not run is counted.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, interval, minutes = 20, 10 * time.Second, 5
		b := start(t, probe.Config{Checks: many(n, interval), Workers: 2}, takes(2*time.Second)) // 1 run/s of 2 wanted
		defer b.stop()
		time.Sleep(minutes * time.Minute)
		synctest.Wait()
		all := 0
		for id, runs := range b.all() {
			all += len(runs)
			if len(runs) < 10 {
				t.Errorf("%s ran %d times: starved", id, len(runs))
			}
		}
		st := b.Stats()
		due := int64(n * minutes * 6)
		if got := int64(all) + st.Running + st.Waiting + st.Skipped; got < due-n || got > due+2*n {
			t.Errorf("runs %d + running %d + waiting %d + skipped %d = %d, want about %d", all, st.Running, st.Waiting, st.Skipped, got, due)
		}
		if st.Skipped < 200 || st.Lag < 5*time.Second {
			t.Errorf("overload is not visible: %+v", st)
		}
	})
}

// TestApply: unchanged checks keep their times, changed ones run soon, removed
// and paused ones no more.
func TestApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checks := many(4, time.Minute)
		b := start(t, probe.Config{Checks: checks}, takes(time.Millisecond))
		defer b.stop()
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		keep := b.of("check-0")
		next := keep[len(keep)-1].Start.Add(time.Minute)

		changed := append([]probe.Check(nil), checks[:3]...)
		changed[1].Body = "new"
		changed[2].Paused = true
		at := time.Now()
		if err := b.Apply(changed); err != nil {
			t.Fatal(err)
		}
		n1, n2, n3 := len(b.of("check-1")), len(b.of("check-2")), len(b.of("check-3"))
		time.Sleep(time.Second + 2*time.Millisecond)
		synctest.Wait()
		if got := b.of("check-1"); len(got) != n1+1 || got[n1].Start.Sub(at) > time.Second {
			t.Errorf("a changed check did not run soon")
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := b.of("check-0")[len(keep)].Start; !got.Equal(next) {
			t.Errorf("an unchanged check ran at %s, want %s", got, next)
		}
		if len(b.of("check-2")) != n2 || len(b.of("check-3")) != n3 {
			t.Errorf("a paused or removed check ran")
		}
		if got := len(b.Checks()); got != 3 {
			t.Errorf("got %d checks", got)
		}
		if _, err := b.RunNow(t.Context(), "check-2"); err != nil || len(b.of("check-2")) != n2+1 {
			t.Errorf("a paused check cannot be run by hand: %v", err)
		}

		// Nothing changes when one check is wrong.
		bad := append(changed[:2:2], probe.Check{Name: "bad", URL: "ftp://x"})
		if err := b.Apply(bad); record.KindOf(err) != record.Invalid || len(b.Checks()) != 3 {
			t.Errorf("got error %v and %d checks", err, len(b.Checks()))
		}
		if err := b.Apply([]probe.Check{checks[0], checks[0]}); record.KindOf(err) != record.Invalid {
			t.Errorf("two checks of one id: got error %v", err)
		}
	})
}

// TestRunNow: a run by hand waits for the one under way, reaches the sink, and
// does not cost a scheduled one.
func TestRunNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, probe.Config{Checks: many(1, 10*time.Second)}, takes(2*time.Second))
		defer b.stop()
		for len(b.of("check-0")) == 0 { // the first, early one
			time.Sleep(time.Millisecond)
		}
		next := probe.NextDue(time.Now().Add(5*time.Second), probe.Phase("check-0", "hub", 10*time.Second), 10*time.Second)
		for !time.Now().After(next.Add(time.Second)) {
			time.Sleep(100 * time.Millisecond)
		}
		if st := b.Stats(); st.Running != 1 {
			t.Fatalf("got %+v, want a run under way", st)
		}
		r, err := b.RunNow(t.Context(), "check-0")
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Start.Sub(next); got != 2*time.Second {
			t.Errorf("it began %s after the scheduled run, want 2s", got)
		}
		runs := b.of("check-0")
		if last := runs[len(runs)-1]; !last.Start.Equal(r.Start) {
			t.Errorf("the sink did not get the run")
		}

		// A scheduled run that comes due meanwhile begins right after.
		time.Sleep(time.Until(next.Add(9 * time.Second)))
		if _, err := b.RunNow(t.Context(), "check-0"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		runs = b.of("check-0")
		if last := runs[len(runs)-1]; last.Lag != time.Second || b.Stats().Skipped != 0 {
			t.Errorf("got lag %s, %d skipped; want 1s, 0", last.Lag, b.Stats().Skipped)
		}

		if _, err := b.RunNow(t.Context(), "none"); record.KindOf(err) != record.NotFound {
			t.Errorf("an unknown check: got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := len(b.of("check-0"))
		if _, err := b.RunNow(ctx, "check-0"); err == nil || len(b.of("check-0")) != n {
			t.Errorf("a run given up: got error %v and %d runs more", err, len(b.of("check-0"))-n)
		}
	})
}

// TestRunNowGivenUpWaiting: one who waits no longer takes no worker.
func TestRunNowGivenUpWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, probe.Config{Checks: many(2, time.Hour), Workers: 1}, takes(10*time.Second))
		defer b.stop()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.RunNow(ctx, "check-0"); err == nil {
			t.Error("got no error, want the context's")
		}
		time.Sleep(30 * time.Second)
		if r, err := b.RunNow(t.Context(), "check-1"); err != nil || !r.Success {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

// TestStandstill: runs that a stopped process missed are counted.
func TestStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		p, err := probe.New(probe.Config{Checks: many(1, time.Second), Workers: 1}, func(context.Context, probe.Check, record.CheckResult) {
			if first {
				first = false
				time.Sleep(time.Minute) // the sink blocks
			}
		}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		p.SetAct(takes(time.Millisecond))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(50 * time.Second)
		if got := p.Stats().Skipped; got < 45 || got > 51 {
			t.Errorf("got %d skipped runs, want about 49", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
