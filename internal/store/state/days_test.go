package state_test

import (
	"context"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

func TestDays(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	db := open(t, dir)
	days, err := state.NewDays(db)
	must(t, err)
	r := newRuns(t, db, state.RunsConfig{Days: days})
	midnight := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	with := func(r record.CheckResult, change func(*record.CheckResult)) record.CheckResult {
		change(&r)
		return r
	}
	batch := []record.CheckResult{
		run("a", "hub", midnight.Add(-time.Minute), true),
		run("a", "hub", midnight, false),
		run("a", "hub", midnight.Add(time.Minute), true),
		run("a", "eu", midnight.Add(14*time.Hour), true),
		with(run("a", "hub", midnight.Add(2*time.Minute), false), func(r *record.CheckResult) { r.Extra = true }),
		with(run("a", "hub", midnight.Add(3*time.Minute), false), func(r *record.CheckResult) { r.Reason = "own_fault" }),
		with(run("a", "hub", midnight.Add(4*time.Minute), false), func(r *record.CheckResult) { r.Maintenance = true }),
		with(run("a", "hub", midnight.Add(5*time.Minute), true), func(r *record.CheckResult) { r.Maintenance = true }),
		with(run("a", "hub", midnight.Add(61*time.Minute), true), func(r *record.CheckResult) { r.Duration = time.Second }),
		run("b", "hub", midnight.Add(25*time.Hour), true),
	}
	must(t, r.AddDurably(ctx, batch))
	must(t, r.AddDurably(ctx, batch)) // an agent that did not hear the answer
	get := func(d *state.Days, checks []string, from, to time.Time) map[string][]state.Day {
		t.Helper()
		got, err := d.List(ctx, checks, from, to)
		must(t, err)
		return got
	}
	check := func(when string, d *state.Days) {
		t.Helper()
		got := get(d, nil, midnight.Add(-24*time.Hour), midnight.Add(48*time.Hour))
		if len(got) != 2 || len(got["a"]) != 3 || len(got["b"]) != 1 {
			t.Fatalf("%s: got %+v", when, got)
		}
		eu, hub := got["a"][1], got["a"][2]
		if d := got["a"][0]; !d.Day.Equal(midnight.Add(-24*time.Hour)) || d.Runs != 1 || d.Hours[23] != (state.Hour{Runs: 1}) {
			t.Errorf("%s: the day before: %+v", when, d)
		}
		if eu.Location != "eu" || eu.Runs != 1 || eu.Hours[14].Runs != 1 {
			t.Errorf("%s: eu: %+v", when, eu)
		}
		if hub.Runs != 3 || hub.Failed != 1 || hub.Maintained != 2 || hub.MaintainedFailed != 1 || hub.Hours[0] != (state.Hour{Runs: 2, Failed: 1}) || hub.Hours[1] != (state.Hour{Runs: 1}) {
			t.Errorf("%s: hub: %+v", when, hub)
		}
		if hub.Sum != 1020*time.Millisecond || hub.Max != time.Second || hub.Latency.Count() != 2 {
			t.Errorf("%s: hub: sum %s, max %s, %d durations", when, hub.Sum, hub.Max, hub.Latency.Count())
		}
	}
	check("written", days)

	// After a crash: runs are on disk, the counters were not written. The same
	// run delivered once more is not counted again.
	late := run("a", "hub", midnight.Add(-30*time.Hour), true)
	must(t, r.AddDurably(ctx, []record.CheckResult{late}))
	db2 := open(t, dir)
	days2, err := state.NewDays(db2)
	must(t, err)
	r2 := newRuns(t, db2, state.RunsConfig{Days: days2})
	must(t, r2.AddDurably(ctx, append(batch, late)))
	check("after a crash", days2)
	if got := get(days2, []string{"a"}, midnight.Add(-48*time.Hour), midnight.Add(-24*time.Hour)); len(got["a"]) != 1 || got["a"][0].Runs != 1 {
		t.Errorf("a late run: %+v", got)
	}

	// A choice gives what the whole gives.
	all := get(days2, nil, midnight, midnight.Add(24*time.Hour))
	one := get(days2, []string{"a", "none"}, midnight, midnight.Add(24*time.Hour))
	if !reflect.DeepEqual(all, one) {
		t.Errorf("got %+v for a, want %+v", one, all)
	}

	shares, err := days2.Shares(ctx, midnight.Add(30*time.Minute), midnight.Add(24*time.Hour))
	must(t, err)
	if got := shares[state.Place{Check: "a", Location: "hub"}]; got != (state.Hour{Runs: 3, Failed: 1}) {
		t.Errorf("got %+v in the last day", got)
	}
	if got := shares[state.Place{Check: "b", Location: "hub"}]; got.Runs != 0 {
		t.Errorf("got %+v, from after the time", got)
	}

	must(t, days2.Prune(ctx, midnight.Add((state.KeepDays-1)*24*time.Hour)))
	if got := get(days2, nil, midnight.Add(-72*time.Hour), midnight.Add(72*time.Hour)); len(got["a"]) != 3 {
		t.Errorf("after prune: %+v", got)
	}
}

// TestHistogram holds the stated error of a quantile, and that merging parts
// gives what counting the whole gives.
func TestHistogram(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	var whole, a, b state.Histogram
	for i := range 20_000 {
		d := time.Duration(math.Exp(rnd.NormFloat64()*1.5+11) * 1e3) // around 60 ms
		all = append(all, d)
		whole.Add(d)
		if i%3 == 0 {
			a.Add(d)
		} else {
			b.Add(d)
		}
	}
	a.Merge(b)
	if !reflect.DeepEqual(a, whole) || a.Count() != 20_000 {
		t.Error("the parts do not merge to the whole")
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.95, 0.99, 1} {
		want := all[int(math.Ceil(q*float64(len(all))))-1]
		if got := whole.Quantile(q); math.Abs(float64(got)/float64(want)-1) > 0.05 {
			t.Errorf("quantile %v: got %s, want %s within 5 %%", q, got, want)
		}
	}
	var h state.Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for _, d := range []time.Duration{-time.Second, 0, time.Nanosecond, 1000 * time.Hour} {
		h.Add(d) // must not panic
	}
}
