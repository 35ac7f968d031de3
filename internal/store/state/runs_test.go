package state_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newRuns(t *testing.T, db *sql.DB, cfg state.RunsConfig) *state.Runs {
	t.Helper()
	r, err := state.NewRuns(db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func run(check, location string, at time.Time, ok bool) record.CheckResult {
	r := record.CheckResult{Check: check, Kind: "http", Location: location, Start: at, Success: ok, Duration: 20 * time.Millisecond, Hops: []record.Hop{}}
	if !ok {
		r.Stage, r.Reason, r.Message = "connect", "refused", "192.0.2.1:80 refused the connection"
	}
	return r
}

func list(t *testing.T, r *state.Runs, f state.RunsFilter) []record.CheckResult {
	t.Helper()
	if f.Limit == 0 {
		f.Limit = 100_000
	}
	got, err := r.List(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunsSurviveReopenAndPrune(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	db := open(t, dir)
	r := newRuns(t, db, state.RunsConfig{})
	for i := range 10 {
		res := run("a", "hub", noon.Add(-time.Duration(i)*5*time.Hour), i%2 == 0)
		res.Duration = 1500 * time.Millisecond
		res.Hops = []record.Hop{{URL: "http://x/", Phases: record.Phases{record.Connect: {State: record.Done, Duration: time.Millisecond}}}}
		r.Add(res)
		// A minute later in the same hour.
		res.Start = res.Start.Add(time.Minute)
		r.Add(res)
	}
	must(t, r.Flush(ctx))
	db.Close()

	r = newRuns(t, open(t, dir), state.RunsConfig{})
	all := list(t, r, state.RunsFilter{Check: "a"})
	if len(all) != 20 {
		t.Fatalf("got %d runs, want 20", len(all))
	}
	if got := all[1]; !got.Start.Equal(noon) || got.Duration != 1500*time.Millisecond || got.Hops[0].Phases[record.Connect].State != record.Done {
		t.Errorf("the run at noon came back as %+v", got)
	}
	if got := list(t, r, state.RunsFilter{Check: "a", Failed: true}); len(got) != 10 || got[0].Reason != "refused" {
		t.Errorf("got %d failed runs, want 10: %+v", len(got), got)
	}
	if got := list(t, r, state.RunsFilter{Check: "a", Before: noon.Add(-20 * time.Hour), Limit: 2}); len(got) != 2 || !got[1].Start.Equal(noon.Add(-25*time.Hour)) {
		t.Errorf("page before -20h: %+v", got)
	}
	// Successes older than a day stay one an hour (two hours of them, i = 6 and
	// 8), failures stay for 30 days.
	must(t, r.Prune(ctx, noon))
	got := list(t, r, state.RunsFilter{Check: "a"})
	if len(got) != 18 {
		t.Errorf("after prune got %d runs, want 18", len(got))
	}
	for _, g := range got {
		if g.Success && g.Start.Before(noon.Add(-24*time.Hour)) && g.Start.Minute() != 0 {
			t.Errorf("the success of %s was kept, want only the first of its hour", g.Start)
		}
	}
	must(t, r.Prune(ctx, noon.Add(40*24*time.Hour)))
	if got := list(t, r, state.RunsFilter{Check: "a"}); len(got) != 1 || got[0].Success {
		t.Errorf("after 40 days got %+v, want the newest row alone", got)
	}
}

func TestRunsOnce(t *testing.T) {
	ctx := context.Background()
	r := newRuns(t, open(t, t.TempDir()), state.RunsConfig{})
	batch := []record.CheckResult{run("a", "eu", noon, true), run("a", "us", noon, true), run("b", "eu", noon, false)}
	for range 3 {
		must(t, r.AddDurably(ctx, batch))
		r.Add(batch[0])
	}
	if got := list(t, r, state.RunsFilter{Check: "a"}); len(got) != 2 {
		t.Errorf("got %d runs of a, want 2", len(got))
	}
	if got := list(t, r, state.RunsFilter{Check: "a", Location: "us"}); len(got) != 1 || got[0].Location != "us" {
		t.Errorf("from us: %+v", got)
	}
	if got := list(t, r, state.RunsFilter{Check: "b", Failed: true, Location: "us"}); len(got) != 0 {
		t.Errorf("failed from us: %+v", got)
	}
	must(t, r.AddDurably(ctx, nil))
}

func TestAddDurablyIsOnDisk(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	r := newRuns(t, open(t, dir), state.RunsConfig{})
	must(t, r.AddDurably(ctx, []record.CheckResult{run("a", "eu", noon, true)}))
	// As a second process would find it: nothing is in memory.
	other := open(t, dir)
	var n int
	must(t, other.QueryRow(`SELECT count(*) FROM check_runs`).Scan(&n))
	if n != 1 {
		t.Errorf("got %d rows, want 1", n)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := r.AddDurably(gone, []record.CheckResult{run("a", "eu", noon.Add(1), true)}); err == nil {
		t.Error("no error although nothing was written")
	}
}

func TestOneSuccessAnHour(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	db := open(t, dir)
	r := newRuns(t, db, state.RunsConfig{})
	day := noon.Add(-10 * 24 * time.Hour)
	add := func(r *state.Runs, minute int, location string) {
		t.Helper()
		must(t, r.AddDurably(ctx, []record.CheckResult{run("a", location, day.Add(time.Duration(minute)*time.Minute), true)}))
	}
	var two []record.CheckResult
	for m := range 120 {
		two = append(two, run("a", "eu", day.Add(time.Duration(m)*time.Minute), true))
	}
	must(t, r.AddDurably(ctx, two[:30]))
	must(t, r.AddDurably(ctx, two[30:]))
	add(r, 125, "eu")
	add(r, 30, "us") // late, from elsewhere
	// Late runs of hours that are past, also after a restart.
	r = newRuns(t, open(t, dir), state.RunsConfig{})
	for _, m := range []int{61, 130, 15, 126, 200} {
		must(t, r.AddDurably(ctx, []record.CheckResult{run("a", "eu", day.Add(time.Duration(m)*time.Minute+time.Second), true)}))
	}
	must(t, r.Prune(ctx, noon))
	got := map[string]int{}
	for _, g := range list(t, r, state.RunsFilter{Check: "a"}) {
		got[fmt.Sprint(g.Location, " ", g.Start.Hour())]++
	}
	if want := fmt.Sprint(map[string]int{"eu 12": 1, "eu 13": 1, "eu 14": 1, "eu 15": 1, "us 12": 1}); fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMaxRunsThinsOldestSuccesses(t *testing.T) {
	ctx := context.Background()
	r := newRuns(t, open(t, t.TempDir()), state.RunsConfig{MaxRuns: 400})
	batch := []record.CheckResult{}
	// Ten hours, a run a minute: 600 successes (10 of them hourly), 100 failures.
	for m := range 600 {
		batch = append(batch, run("a", "hub", noon.Add(time.Duration(m)*time.Minute), true))
		if m%6 == 0 {
			batch = append(batch, run("b", "hub", noon.Add(time.Duration(m)*time.Minute), false))
		}
	}
	must(t, r.AddDurably(ctx, batch))
	now := noon.Add(10 * time.Hour)
	must(t, r.Prune(ctx, now))
	a := list(t, r, state.RunsFilter{Check: "a"})
	if b := list(t, r, state.RunsFilter{Check: "b"}); len(a) != 300 || len(b) != 100 {
		t.Errorf("got %d successes and %d failures, want 300 and 100", len(a), len(b))
	}
	// The newest stay: 290 plain ones and ten hourly, of which five are among
	// those minutes.
	if !a[0].Start.Equal(noon.Add(599*time.Minute)) || !a[290].Start.Before(noon.Add(310*time.Minute)) || !a[len(a)-1].Start.Equal(noon) {
		t.Errorf("got runs from %s to %s", a[len(a)-1].Start, a[0].Start)
	}
	if c := r.Counts(); c.Thinned != 300 || c.ThinnedFailures != 0 || c.Rows != 400 {
		t.Errorf("got %+v, want 300 thinned of 700", c)
	}
	// A flood of failures leaves a quarter of the room to the newest successes.
	batch = batch[:0]
	for m := range 1000 {
		batch = append(batch, run("c", "hub", now.Add(time.Duration(m)*time.Second), false))
	}
	must(t, r.AddDurably(ctx, batch))
	must(t, r.Prune(ctx, now))
	a = list(t, r, state.RunsFilter{Check: "a"})
	c := list(t, r, state.RunsFilter{Check: "c"})
	if len(a) != 110 || len(c) != 290 || !c[289].Start.Equal(now.Add(710*time.Second)) {
		t.Errorf("got %d successes and %d failures, want 110 and 290", len(a), len(c))
	}
	if c := r.Counts(); c.Thinned != 490 || c.ThinnedFailures != 810 || c.Rows != 400 {
		t.Errorf("got %+v", c)
	}
}

func TestScreenshots(t *testing.T) {
	ctx := context.Background()
	r := newRuns(t, open(t, t.TempDir()), state.RunsConfig{MaxScreenshotBytes: 2500})
	for i := range 3 {
		res := run("a", "eu", noon.Add(time.Duration(i)), false)
		res.Screenshot = bytes.Repeat([]byte{byte('0' + i)}, 1000)
		r.Add(res)
	}
	plain := run("a", "us", noon, false)
	plain.HasScreenshot = true // says so, and brought none
	r.Add(plain)
	for _, got := range list(t, r, state.RunsFilter{Check: "a"}) {
		if got.Screenshot != nil || got.HasScreenshot != (got.Location == "eu") {
			t.Errorf("%s: got %d bytes, has_screenshot %v", got.Location, len(got.Screenshot), got.HasScreenshot)
		}
	}
	get := func(location string, n int) string {
		b, err := r.Screenshot(ctx, "a", location, noon.UnixNano()+int64(n))
		if err != nil {
			if record.KindOf(err) != record.NotFound {
				t.Errorf("got %v, want not found", err)
			}
			return "none"
		}
		return string(b[:1])
	}
	if got := get("eu", 0) + get("eu", 2) + get("us", 0) + get("eu", 7); got != "02nonenone" {
		t.Errorf("got %s", got)
	}
	must(t, r.Prune(ctx, noon))
	if got := get("eu", 0) + get("eu", 1) + get("eu", 2); got != "none12" {
		t.Errorf("after prune got %s, want the oldest to be gone", got)
	}
	for _, got := range list(t, r, state.RunsFilter{Check: "a", Location: "eu"}) {
		if want := !got.Start.Equal(noon); got.HasScreenshot != want {
			t.Errorf("the run of %s says has_screenshot %v, want %v", got.Start, got.HasScreenshot, want)
		}
	}
}

// TestOldDatabase opens a file as version 0.1 wrote it.
func TestOldDatabase(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, state.FileName))
	must(t, err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`PRAGMA synchronous = OFF`)
	must(t, err)
	schema, err := os.ReadFile("testdata/runs-0.1.sql")
	must(t, err)
	_, err = db.Exec(string(schema))
	must(t, err)
	put := func(r record.CheckResult) {
		js, err := json.Marshal(r)
		must(t, err)
		_, err = db.Exec(`INSERT INTO check_runs (check_id, location, started, ok, result) VALUES (?, ?, ?, ?, ?)`, r.Check, r.Location, r.Start.UnixNano(), r.Success, string(js))
		must(t, err)
	}
	for m := range 180 {
		put(run("a", "hub", noon.Add(time.Duration(m)*time.Minute), m%10 != 0))
	}
	put(run("a", "hub", noon, false)) // twice
	must(t, db.Close())

	db = open(t, dir)
	days, err := state.NewDays(db)
	must(t, err)
	r := newRuns(t, db, state.RunsConfig{Days: days})
	if got := list(t, r, state.RunsFilter{Check: "a"}); len(got) != 180 || got[0].Success != true || got[179].Success || got[179].Reason != "refused" {
		t.Fatalf("got %d runs, want 180", len(got))
	}
	must(t, r.AddDurably(ctx, []record.CheckResult{run("a", "hub", noon, false), run("a", "hub", noon.Add(time.Second), true)}))
	must(t, r.Prune(ctx, noon.Add(48*time.Hour)))
	if got := list(t, r, state.RunsFilter{Check: "a"}); len(got) != 18+3+1 { // the last: the newest row
		t.Errorf("after prune got %d runs, want 18 failures and 3 successes", len(got))
	}
	// Days begin with this version.
	got, err := days.List(ctx, nil, noon.Add(-48*time.Hour), noon.Add(48*time.Hour))
	must(t, err)
	if len(got["a"]) != 1 || got["a"][0].Runs != 1 {
		t.Errorf("got days %+v, want one run", got)
	}
	newRuns(t, db, state.RunsConfig{}) // and again
}

func TestFlushKeepsWhatTheDiskRefused(t *testing.T) {
	ctx := context.Background()
	r := newRuns(t, open(t, t.TempDir()), state.RunsConfig{MaxPending: 100})
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for i := range 110 {
		r.Add(run("a", "hub", noon.Add(time.Duration(i)), false))
	}
	if err := r.Flush(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if c := r.Counts(); c.Dropped != 10 {
		t.Errorf("dropped %d runs, want 10", c.Dropped)
	}
	got := list(t, r, state.RunsFilter{Check: "a", Limit: 200})
	if len(got) != 100 || !got[len(got)-1].Start.Equal(noon.Add(10)) {
		t.Errorf("got %d runs", len(got))
	}
}
