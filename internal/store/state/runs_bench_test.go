package state_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// BenchmarkRunsWrite writes the successes of 10,000 checks in groups of 500,
// counted by day, into a table that is at its limit and is pruned.
func BenchmarkRunsWrite(b *testing.B) {
	for _, full := range []int{0, 2_000_000} {
		b.Run(fmt.Sprintf("rows=%d", full), func(b *testing.B) { benchmarkWrite(b, full) })
	}
}

func benchmarkWrite(b *testing.B, full int) {
	db, err := state.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	days, err := state.NewDays(db)
	if err != nil {
		b.Fatal(err)
	}
	runs, err := state.NewRuns(db, state.RunsConfig{Days: days})
	if err != nil {
		b.Fatal(err)
	}
	ctx, n := context.Background(), 0
	// 1,000 runs a second: each of 10,000 checks every ten seconds.
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	next := func() (record.CheckResult, time.Time) {
		r := httpsRun(n % 10_000)
		r.Start = start.Add(time.Duration(n) * time.Millisecond)
		n++
		return r, r.Start
	}
	write := func(count int) {
		batch := make([]record.CheckResult, 0, 500)
		for range count {
			r, at := next()
			batch = append(batch, r)
			if len(batch) == cap(batch) {
				if err := runs.AddDurably(ctx, batch); err != nil {
					b.Fatal(err)
				}
				batch = batch[:0]
			}
			if n%60_000 == 0 { // a minute
				if err := runs.Prune(ctx, at); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := runs.AddDurably(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	write(full)
	b.ResetTimer()
	write(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
	b.StopTimer()
	var pages, size int64
	if err := db.QueryRow(`SELECT page_count, page_size FROM pragma_page_count, pragma_page_size`).Scan(&pages, &size); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(pages*size)/1e6, "MB")
}

func BenchmarkDecodeRun(b *testing.B) {
	stored, err := state.EncodeRun(httpsRun(1))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := state.DecodeRun(stored.([]byte)); err != nil {
			b.Fatal(err)
		}
	}
}
