package metric_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

func open(t testing.TB, dir string, cfg metric.Config) *metric.Store {
	t.Helper()
	s, err := metric.Open(dir, cfg, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func name(n string, more ...string) labels.Labels {
	return labels.FromStrings(append([]string{labels.MetricName, n}, more...)...)
}

// appendFunc appends one float sample in a transaction of either version.
type appendFunc func(ref storage.SeriesRef, ls labels.Labels, t int64, v float64) (storage.SeriesRef, error)

func txV1(s *metric.Store) (appendFunc, func() error) {
	a := s.Appender(context.Background())
	return a.Append, a.Commit
}

func txV2(s *metric.Store) (appendFunc, func() error) {
	a := s.AppenderV2(context.Background())
	return func(ref storage.SeriesRef, ls labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
		return a.Append(ref, ls, 0, t, v, nil, nil, storage.AOptions{})
	}, a.Commit
}

// samples renders all that a store holds, one sample a line.
func samples(t *testing.T, s *metric.Store) string {
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

func TestLimits(t *testing.T) {
	for version, tx := range map[string]func(*metric.Store) (appendFunc, func() error){"v1": txV1, "v2": txV2} {
		t.Run(version, func(t *testing.T) {
			s := open(t, t.TempDir(), metric.Config{Limits: metric.Limits{MaxSeries: 4, MaxLabels: 3, MaxLabelName: 8, MaxLabelValue: 10}})
			now := time.Now().UnixMilli()
			do, commit := tx(s)
			ok := func(ls labels.Labels, at int64) storage.SeriesRef {
				t.Helper()
				ref, err := do(0, ls, at, 1)
				if err != nil {
					t.Errorf("%s: %v", ls, err)
				}
				return ref
			}
			no := func(limit string, ls labels.Labels) {
				t.Helper()
				_, err := do(0, ls, now, 1)
				var le *metric.LimitError
				if !errors.As(err, &le) || le.Limit != limit || !metric.IsLimit(fmt.Errorf("wrapped: %w", err)) {
					t.Errorf("%s: got %v, want a LimitError of %s", ls, err, limit)
				} else if !strings.Contains(err.Error(), "limits."+limit) {
					t.Errorf("the error %q does not name the setting", err)
				}
			}
			a := ok(name("a"), now)
			no(metric.LimitLabels, name("a", "b", "1", "c", "2", "d", "3"))
			no(metric.LimitLabelName, name("a", strings.Repeat("n", 9), "1"))
			no(metric.LimitLabelValue, name("a", "b", strings.Repeat("v", 11)))
			no(metric.LimitLabelValue, name("a", "b", strings.Repeat("v", 1<<20)))
			ok(name("b"), now)
			ok(name("c", "x", "1", "y", "2"), now)
			ok(name("d"), now)
			no(metric.LimitSeries, name("e"))
			ok(name("b"), now+1) // known, without its reference, in the transaction that made it
			if _, err := do(a, name("a"), now+1, 2); err != nil {
				t.Errorf("known by reference: %v", err)
			}
			if err := commit(); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(samples(t, s), "\n"); n != 6 {
				t.Errorf("got %d samples stored, want the 6 within limits", n)
			}
			do, commit = tx(s)
			ok(name("d"), now+2)
			no(metric.LimitSeries, name("e"))
			// A reference that is stale or invented is only a hint.
			if _, err := do(9999, name("f"), now+2, 1); !metric.IsLimit(err) {
				t.Errorf("a new series by an invented reference: got %v, want a LimitError", err)
			}
			if err := commit(); err != nil {
				t.Fatal(err)
			}
			want := map[string]int64{metric.LimitSeries: 3, metric.LimitPerMetric: 0, metric.LimitLabels: 1, metric.LimitLabelName: 1, metric.LimitLabelValue: 2}
			if got := s.LimitHits(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got hits %v, want %v", got, want)
			}
			if u := s.Usage(); u.Appended != 7 || u.Series != 4 {
				t.Errorf("got %d samples of %d series, want 7 of 4", u.Appended, u.Series)
			}
		})
	}
}

func TestApply(t *testing.T) {
	s := open(t, t.TempDir(), metric.Config{OutOfOrder: -1, Limits: metric.Limits{MaxSeries: 1}})
	now := time.Now().UnixMilli()
	put := func(ls labels.Labels, at int64) error {
		t.Helper()
		app := s.Appender(context.Background())
		_, err := app.Append(0, ls, at, 1)
		if cerr := app.Commit(); cerr != nil {
			t.Fatal(cerr)
		}
		return err
	}
	if err := put(name("a"), now); err != nil {
		t.Fatal(err)
	}
	if err := put(name("a"), now-60_000); !errors.Is(err, storage.ErrOutOfOrderSample) {
		t.Errorf("a late sample without a window: got %v", err)
	}
	if err := put(name("b"), now); !metric.IsLimit(err) {
		t.Errorf("over the limit: got %v", err)
	}
	if err := s.Apply(metric.Config{Retention: time.Hour, MaxBytes: 1 << 30, OutOfOrder: 10 * time.Minute, Limits: metric.Limits{MaxSeries: 2}}); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{now - 60_000, now - 9*60_000} {
		if err := put(name("a"), at); err != nil {
			t.Errorf("late by %d ms within the window: %v", now-at, err)
		}
	}
	if err := put(name("a"), now-11*60_000); !errors.Is(err, storage.ErrTooOldSample) {
		t.Errorf("later than the window: got %v", err)
	}
	if err := put(name("b"), now); err != nil {
		t.Errorf("within the new limit: %v", err)
	}
	if u := s.Usage(); u.Retention != time.Hour || u.MaxBytes != 1<<30 || u.OutOfOrder != 10*time.Minute || u.Limits.MaxSeries != 2 {
		t.Errorf("usage tells of old settings: %+v", u)
	}
}

// fill writes series every step up to now.
func fill(t *testing.T, s *metric.Store, from, to time.Time, step time.Duration, series int) {
	t.Helper()
	for at := from; at.Before(to); at = at.Add(step) {
		app := s.Appender(context.Background())
		for i := range series {
			// Values that do not compress, so that a block has a size.
			if _, err := app.Append(0, name("m", "i", fmt.Sprint(i)), at.UnixMilli(), math.Sqrt(float64(at.UnixNano()+int64(i)))); err != nil {
				t.Fatal(err)
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRetention(t *testing.T) {
	// Blocks of ten minutes: a day of minutes makes many.
	base := metric.Config{BlockDuration: 10 * time.Minute, Retention: 30 * 24 * time.Hour}
	dir := t.TempDir()
	now := time.Now()
	s := open(t, dir, base)
	fill(t, s, now.Add(-6*time.Hour), now, time.Minute, 50)
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	all := s.Usage()
	if all.Blocks < 4 || now.Sub(all.Oldest) < 5*time.Hour {
		t.Fatalf("got %d blocks from %s on, want several from six hours ago", all.Blocks, all.Oldest)
	}
	t.Run("size", func(t *testing.T) {
		cfg := base
		cfg.MaxBytes = all.BlocksBytes/2 + all.WALBytes
		if err := s.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		fill(t, s, now, now.Add(20*time.Minute), time.Minute, 50)
		now = now.Add(20 * time.Minute)
		if err := s.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
		u := s.Usage()
		// How many blocks the ranges make depends on the time of day.
		if u.Blocks == 0 || u.BlocksBytes >= all.BlocksBytes || !u.Oldest.After(all.Oldest) {
			t.Errorf("got %d blocks of %d bytes from %s on, want less than the %d bytes from %s on before", u.Blocks, u.BlocksBytes, u.Oldest, all.BlocksBytes, all.Oldest)
		}
		if u.BlocksBytes > cfg.MaxBytes {
			t.Errorf("got %d bytes in blocks, want at most %d", u.BlocksBytes, cfg.MaxBytes)
		}
	})
	t.Run("age", func(t *testing.T) {
		cfg := base
		cfg.Retention = time.Hour
		if err := s.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		fill(t, s, now, now.Add(20*time.Minute), time.Minute, 50)
		now = now.Add(20 * time.Minute)
		if err := s.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
		// Whole blocks go: what remains may reach one block further back.
		if u := s.Usage(); now.Sub(u.Oldest) > 2*time.Hour {
			t.Errorf("the oldest sample is of %s ago, want about an hour", now.Sub(u.Oldest))
		}
	})
}

func TestSnapshot(t *testing.T) {
	s := open(t, t.TempDir(), metric.Config{BlockDuration: 10 * time.Minute, OutOfOrder: 20 * time.Minute})
	now := time.Now().Truncate(time.Second)
	fill(t, s, now.Add(-90*time.Minute), now, 15*time.Second, 5)
	app := s.Appender(context.Background())
	h := &histogram.Histogram{Schema: 1, Count: 3, Sum: 2, PositiveSpans: []histogram.Span{{Length: 2}}, PositiveBuckets: []int64{1, 1}}
	for i := range int64(10) { // late ones, still in memory
		if _, err := app.Append(0, name("m", "i", "1"), now.UnixMilli()-i*60_000-7, float64(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := app.AppendHistogram(0, name("h"), now.UnixMilli()-i*1000, h, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	want := samples(t, s)
	dst := t.TempDir() + "/copy"
	if err := s.Snapshot(dst, true); err != nil {
		t.Fatal(err)
	}
	if got := samples(t, s); got != want {
		t.Error("the original has changed by its snapshot")
	}
	again := open(t, dst, metric.Config{})
	if got := samples(t, again); got != want {
		t.Errorf("the snapshot holds %d samples, the original %d", strings.Count(got, "\n"), strings.Count(want, "\n"))
	}
	app = again.Appender(context.Background())
	if _, err := app.Append(0, name("m", "i", "1"), now.Add(time.Minute).UnixMilli(), 1); err != nil {
		t.Errorf("append to the restored store: %v", err)
	}
	if err := app.Commit(); err != nil {
		t.Error(err)
	}
}

func TestSnapshotOfNothing(t *testing.T) {
	s := open(t, t.TempDir(), metric.Config{})
	dst := t.TempDir() + "/copy"
	if err := s.Snapshot(dst, true); err != nil {
		t.Fatal(err)
	}
	if got := samples(t, open(t, dst, metric.Config{})); got != "" {
		t.Errorf("the snapshot of nothing holds %s", got)
	}
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, metric.Config{})
	if _, err := metric.Open(dir, metric.Config{}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory in use was opened again")
	}
}
