package state_test

import (
	"context"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

func TestBoard(t *testing.T) {
	db, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	days, err := state.NewDays(db)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := state.NewRuns(db, state.RunsConfig{Days: days})
	if err != nil {
		t.Fatal(err)
	}
	a := state.Place{Check: "a", Location: "hub"}
	ctx, t0 := context.Background(), time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	b := state.NewBoard(runs, days)
	if s := b.Get(ctx, a, t0); s.State != "unknown" || s.Recent == nil {
		t.Errorf("before any run: %+v", s)
	}
	add := func(b *state.Board, i int, ok bool) bool {
		r := record.CheckResult{Check: "a", Location: "hub", Start: t0.Add(time.Duration(i) * time.Minute), Success: ok}
		runs.Add(r)
		return b.Add(r)
	}
	flips := 0
	for i := range 100 {
		if add(b, i, i < 70 || i > 90) {
			flips++
		}
	}
	if flips != 3 { // unknown to up, down, up
		t.Errorf("got %d changes of state, want 3", flips)
	}
	now := t0.Add(100 * time.Minute)
	check := func(when string, b *state.Board) {
		t.Helper()
		s := b.Get(ctx, a, now)
		if s.State != "up" || s.Consecutive != 9 || !s.Since.Equal(t0.Add(91*time.Minute)) || len(s.Recent) != state.BoardRuns || s.Recent[0].At != t0.Add(40*time.Minute).Unix() {
			t.Errorf("%s: got %s for %d runs since %s, %d recent from %d", when, s.State, s.Consecutive, s.Since, len(s.Recent), s.Recent[0].At)
		}
		if s.Last == nil || !s.Last.Start.Equal(t0.Add(99*time.Minute)) {
			t.Errorf("%s: got last %+v", when, s.Last)
		}
		if err := runs.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if s = b.Get(ctx, a, now.Add(time.Minute)); s.Runs24h != 100 || s.Uptime24h != 0.79 {
			t.Errorf("%s: got %v of %d runs, want 0.79 of 100", when, s.Uptime24h, s.Runs24h)
		}
	}
	check("live", b)
	again := state.NewBoard(runs, days)
	if rs, err := again.Restore(ctx, []state.Place{a, {Check: "none", Location: "hub"}}); err != nil || len(rs) != state.BoardRuns {
		t.Fatal(len(rs), err)
	}
	check("restored", again)
	// A state that is older than what the board remembers.
	for i := range 90 {
		add(b, 100+i, true)
	}
	long := state.NewBoard(runs, days)
	if _, err := long.Restore(ctx, []state.Place{a}); err != nil {
		t.Fatal(err)
	}
	if s := long.Get(ctx, a, now); s.Consecutive != 99 || !s.Since.Equal(t0.Add(91*time.Minute)) {
		t.Errorf("restored: up for %d runs since %s, want 99 since %s", s.Consecutive, s.Since, t0.Add(91*time.Minute))
	}
	again.Keep(map[state.Place]bool{{Check: "b", Location: "hub"}: true})
	if s := again.Get(ctx, a, now); s.State != "unknown" {
		t.Errorf("a check that is gone: %+v", s)
	}
}

func TestBackup(t *testing.T) {
	dir, dst := t.TempDir(), t.TempDir()
	db, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE x (a); INSERT INTO x VALUES (7)`); err != nil {
		t.Fatal(err)
	}
	if err := state.Backup(db, dst+"/"+state.FileName); err != nil {
		t.Fatal(err)
	}
	if err := state.Backup(db, dst+"/"+state.FileName); err == nil {
		t.Error("a backup was written over another")
	}
	copied, err := state.Open(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	var n int
	if err := copied.QueryRow(`SELECT a FROM x`).Scan(&n); err != nil || n != 7 {
		t.Errorf("got %d, %v, want 7", n, err)
	}
}
