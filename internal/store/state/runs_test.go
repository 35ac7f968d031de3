package state_test

import (
	"context"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

func TestRunsSurviveReopenAndPrune(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	open := func() (*state.Runs, func()) {
		t.Helper()
		db, err := state.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		r, err := state.NewRuns(db, state.RunsConfig{})
		if err != nil {
			t.Fatal(err)
		}
		return r, func() { db.Close() }
	}
	r, closeDB := open()
	for i := range 10 {
		res := record.CheckResult{Check: "a", Kind: "http", Location: "hub", Start: now.Add(-time.Duration(i) * 5 * time.Hour), Success: i%2 == 0, Duration: 1500 * time.Millisecond}
		res.Hops = []record.Hop{{URL: "http://x/", Phases: record.Phases{record.Connect: {State: record.Done, Duration: time.Millisecond}}}}
		if !res.Success {
			res.Stage, res.Reason = "connect", "refused"
		}
		r.Add(res)
	}
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	closeDB()

	r, closeDB = open()
	defer closeDB()
	list := func(f state.RunsFilter) []record.CheckResult {
		t.Helper()
		f.Check = "a"
		got, err := r.List(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	all := list(state.RunsFilter{})
	if len(all) != 10 {
		t.Fatalf("got %d runs, want 10", len(all))
	}
	if got := all[0]; !got.Start.Equal(now) || got.Duration != 1500*time.Millisecond || got.Hops[0].Phases[record.Connect].State != record.Done {
		t.Errorf("first run came back as %+v", got)
	}
	if got := list(state.RunsFilter{Failed: true}); len(got) != 5 || got[0].Reason != "refused" {
		t.Errorf("got %d failed runs, want 5: %+v", len(got), got)
	}
	if got := list(state.RunsFilter{Before: now.Add(-20 * time.Hour), Limit: 2}); len(got) != 2 || !got[0].Start.Equal(now.Add(-25*time.Hour)) {
		t.Errorf("page before -20h: %+v", got)
	}
	if err := r.Prune(ctx, now); err != nil {
		t.Fatal(err)
	}
	// Successes older than a day go (i = 6, 8), failures stay for 30 days.
	if got := list(state.RunsFilter{}); len(got) != 8 {
		t.Errorf("after prune got %d runs, want 8", len(got))
	}
}
