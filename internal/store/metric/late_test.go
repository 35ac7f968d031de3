package metric

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/vedette-sre/vedette/instrument"
)

// copyKilled copies a store's files as a kill -9 would leave them: what is in
// buffers of the process is not there.
func copyKilled(t *testing.T, s *Store) string {
	t.Helper()
	dst := t.TempDir()
	if err := os.CopyFS(dst, os.DirFS(s.Dir())); err != nil {
		t.Fatal(err)
	}
	return dst
}

// contents renders all samples, one a line, in order of series and time.
func contents(t *testing.T, s *Store) string {
	t.Helper()
	q, err := s.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var b strings.Builder
	set := q.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+"))
	for set.Next() {
		it := set.At().Iterator(nil)
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			if vt == chunkenc.ValFloat {
				ts, v := it.At()
				fmt.Fprintln(&b, set.At().Labels(), ts, v)
			} else {
				ts, h := it.AtFloatHistogram(nil)
				fmt.Fprintln(&b, set.At().Labels(), ts, h)
			}
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return b.String()
}

// A kill between the two halves of a compaction of late samples used to lose
// those which were acknowledged before it.
func TestLateSamplesSurviveKillInCompaction(t *testing.T) {
	cfg := Config{OutOfOrder: 10 * time.Minute}
	open := func(dir string) *Store {
		t.Helper()
		s, err := Open(dir, cfg, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	now := time.Now().UnixMilli()
	s := open(t.TempDir())
	put := func(at int64, n int64) {
		t.Helper()
		app := s.Appender(context.Background())
		h := &histogram.Histogram{Schema: 1, Count: uint64(2*n + 1), Sum: float64(n), PositiveSpans: []histogram.Span{{Offset: 1, Length: 2}}, PositiveBuckets: []int64{n, 1}}
		_, err := app.Append(0, labels.FromStrings(labels.MetricName, "f"), at, float64(n))
		if err == nil {
			_, err = app.AppendHistogram(0, labels.FromStrings(labels.MetricName, "h"), at, h, nil)
		}
		if err == nil {
			_, err = app.AppendHistogram(0, labels.FromStrings(labels.MetricName, "fh"), at, nil, h.ToFloat(nil))
		}
		if err == nil {
			err = app.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(now, 1)
	put(now-5*60_000, 2)
	put(now-4*60_000, 3)
	// The first half: chunks of late samples go to a file's buffer.
	if _, err := tsdb.NewOOOCompactionHead(context.Background(), s.db.Head()); err != nil {
		t.Fatal(err)
	}
	put(now-3*60_000, 4) // writes the marker that the replay believes
	put(now+20*60_000, 5)
	want := contents(t, s)
	if n := strings.Count(want, "\n"); n != 15 {
		t.Fatalf("the store holds %d samples, want 15", n)
	}
	dir := copyKilled(t, s)
	for _, when := range []string{"kill", "second kill"} {
		again := open(dir)
		if got := contents(t, again); got != want {
			t.Fatalf("after the %s got\n%swant\n%s", when, got, want)
		}
		if got := again.Usage().OutOfOrder; got != cfg.OutOfOrder {
			t.Errorf("after the %s the window is %s, want %s", when, got, cfg.OutOfOrder)
		}
		app := again.Appender(context.Background())
		if _, err := app.Append(0, labels.FromStrings(labels.MetricName, "f"), now+1, 0); err == nil {
			t.Errorf("after the %s a sample older than the window is taken", when)
		}
		_ = app.Rollback()
		dir = copyKilled(t, again)
	}
}

// A kill that tears the main log used to lose late samples: the engine mends that
// log and does not read the other one.
func TestLateSamplesSurviveTornLog(t *testing.T) {
	open := func(dir string) *Store {
		t.Helper()
		s, err := Open(dir, Config{OutOfOrder: 10 * time.Minute}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	now := time.Now().UnixMilli()
	s := open(t.TempDir())
	for i, at := range []int64{now, now - 60_000, now - 120_000} {
		app := s.Appender(context.Background())
		if _, err := app.Append(0, labels.FromStrings(labels.MetricName, "f"), at, float64(i)); err != nil {
			t.Fatal(err)
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	want := contents(t, s)
	if n := strings.Count(want, "\n"); n != 3 {
		t.Fatalf("the store holds %d samples, want 3", n)
	}
	dir := copyKilled(t, s)
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "0*"))
	if err != nil || len(segments) == 0 {
		t.Fatal("no segments", err)
	}
	f, err := os.OpenFile(segments[len(segments)-1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The head of a record of 64 bytes, and not all of it.
	if _, err := f.Write([]byte{1, 0, 64, 1, 2, 3, 4, 5, 6, 7, 8, 9}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, open(dir)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
