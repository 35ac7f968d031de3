package query_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// rig is a store with two engines: one that remembers and one that does not.
type rig struct {
	t        testing.TB
	store    *metric.Store
	with, no *query.Engines
}

func newRig(t testing.TB, cfg metric.Config, bytes int64) *rig {
	t.Helper()
	s, err := metric.Open(t.TempDir(), cfg, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: s}
	r.with = query.NewEngines(query.Config{MemoryBytes: bytes}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	r.no = query.NewEngines(query.Config{MemoryBytes: -1}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	r.with.Remember(s)
	r.no.Remember(s)
	t.Cleanup(func() { r.with.Close(); r.no.Close(); s.Close() })
	return r
}

func askRange(t testing.TB, e *query.Engines, s *metric.Store, expr string, from, to time.Time, step time.Duration) string {
	t.Helper()
	q, err := e.Users.NewRangeQuery(context.Background(), s, nil, expr, from, to, step)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	defer q.Close()
	res := q.Exec(context.Background())
	if res.Err != nil {
		return "error: " + res.Err.Error()
	}
	return exact(res.Value.(promql.Matrix))
}

// bitsOf renders the bits of a float. Which NaN a computation gives is up to the
// compiler; a stale marker is one of its own.
func bitsOf(f float64) string {
	if math.IsNaN(f) && !value.IsStaleNaN(f) {
		return "NaN"
	}
	return fmt.Sprintf("%016x", math.Float64bits(f))
}

// exact renders a matrix with the bits of its floats.
func exact(m promql.Matrix) string {
	var b strings.Builder
	for _, s := range m {
		fmt.Fprintln(&b, s.Metric)
		for _, p := range s.Floats {
			fmt.Fprintf(&b, " %d:%s", p.T, bitsOf(p.F))
		}
		for _, p := range s.Histograms {
			fmt.Fprintf(&b, " %d:%s", p.T, p.H)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var remembered = []string{
	`m`, `m{job="a"}`, `g + 1`, `-1 * m`, `rate(m[2m])`, `increase(m[90s])`, `sum by (job) (rate(m[2m]))`, `sum(g)`, `avg by (job) (g)`,
	`max_over_time(g[3m])`, `quantile_over_time(0.9, g[3m])`, `topk(2, g)`, `bottomk by (job) (1, rate(m[1m]))`, `absent(m{job="z"})`, `absent(g)`,
	`m offset 1m`, `rate(m[1m]) / on (job, n) rate(g[1m])`, `m > 20`, `g unless m`, `g or m`, `count_values("v", floor(g / 10))`,
	`histogram_quantile(0.9, rate(h[2m]))`, `sum(h)`, `h`, `changes(g[2m])`, `resets(m[2m])`, `deriv(g[2m])`, `predict_linear(g[2m], 60)`, `time()`, `vector(1)`,
	`timestamp(m)`, `stddev by (job) (g)`, `abs(g or m)`, `count(m) by (n)`, `last_over_time(g[2m])`, `present_over_time(m[1m])`, `g * 0 == bool 0`, `scalar(sum(g))`,
	`histogram_count(h)`, `irate(m[2m])`, `delta(g[2m])`, `group(m)`, `sum(rate(m[2m])) by (job) / ignoring(x) group_left sum(rate(m[2m])) by (job)`,
}

var notRemembered = []string{
	`m @ end()`, `m @ 1000`, `m offset -1m`, `{job="a"}`, `label_replace(m, "x", "$1", "job", "(.*)")`, `max_over_time(rate(m[1m])[5m:30s])`, `-m`, `rate({__name__=~"m|g"}[2m])`,
}

// The answers are the same with and without memory, whatever is written, late or
// deleted between the refreshes.
func TestMemoryChangesNothing(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { memoryRound(t, rand.New(rand.NewPCG(seed, 11))) })
	}
}

func memoryRound(t *testing.T, r *rand.Rand) {
	rig := newRig(t, metric.Config{OutOfOrder: 2 * time.Hour}, 1<<22)
	base := time.Unix(1_790_000_000, 0)
	now := base
	counters := map[string]float64{}
	write := func(at time.Time) {
		app := rig.store.Appender(context.Background())
		for _, name := range []string{"m", "g", "h"} {
			for i := range 6 {
				if r.IntN(5) == 0 {
					continue // a scrape that failed
				}
				ls := labels.FromStrings("__name__", name, "job", string(rune('a'+i%3)), "n", fmt.Sprint(i))
				ms := at.UnixMilli() + int64(r.IntN(900))
				k := name + fmt.Sprint(i)
				switch {
				case name == "h":
					counters[k] += float64(r.IntN(10))
					n := uint64(counters[k])
					h := &histogram.Histogram{Schema: 2, ZeroThreshold: 1e-9, Count: 3 * n, Sum: counters[k], PositiveSpans: []histogram.Span{{Offset: int32(i), Length: 2}}, PositiveBuckets: []int64{int64(n), int64(n)}}
					_, _ = app.AppendHistogram(0, ls, ms, h, nil)
				case r.IntN(40) == 0:
					_, _ = app.Append(0, ls, ms, math.Float64frombits(value.StaleNaN))
				case name == "m":
					if r.IntN(30) == 0 {
						counters[k] = 0 // a restart
					}
					counters[k] += float64(r.IntN(20))
					_, _ = app.Append(0, ls, ms, counters[k])
				default:
					_, _ = app.Append(0, ls, ms, math.Floor(r.Float64()*100)/3)
				}
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	forward := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); now = now.Add(15 * time.Second) {
			write(now)
		}
	}
	forward(30 * time.Minute)
	known := int64(0)
	for n := range 25 {
		switch r.IntN(7) {
		case 0: // late samples
			at := now.Add(-time.Duration(r.IntN(40)) * time.Minute)
			for range 3 {
				write(at)
				at = at.Add(15 * time.Second)
			}
		case 1:
			from := now.Add(-time.Duration(r.IntN(30)) * time.Minute)
			ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "job", string(rune('a'+r.IntN(3))))}
			if err := rig.store.Delete(context.Background(), from.UnixMilli(), from.Add(4*time.Minute).UnixMilli(), ms...); err != nil {
				t.Fatal(err)
			}
		case 2:
			if err := rig.store.CleanTombstones(); err != nil {
				t.Fatal(err)
			}
		default:
			forward(time.Duration(r.IntN(3)) * 30 * time.Second)
		}
		step := []time.Duration{15 * time.Second, 30 * time.Second, time.Minute}[r.IntN(3)]
		if n%2 == 0 {
			step = 30 * time.Second
		}
		span := []time.Duration{5 * time.Minute, 20 * time.Minute, time.Hour}[r.IntN(3)]
		to := now.Add(time.Duration(r.IntN(3)-1) * time.Minute).Truncate(step)
		if r.IntN(6) == 0 {
			to = to.Add(7 * time.Second) // another phase
		}
		exprs := remembered
		if n%5 == 4 {
			exprs = notRemembered
		}
		for range 12 {
			expr := exprs[r.IntN(len(exprs))]
			want := askRange(t, rig.no, rig.store, expr, to.Add(-span), to, step)
			if got := askRange(t, rig.with, rig.store, expr, to.Add(-span), to, step); got != want {
				t.Fatalf("%s from %s to %s by %s, round %d:\nremembered\n%s\ncomputed\n%s", expr, to.Add(-span), to, step, n, got, want)
			}
		}
	}
	known, _ = rig.with.Remembered()
	if known < 500 {
		t.Errorf("%d steps were remembered; the test has tried little", known)
	}
	if n, _ := rig.no.Remembered(); n != 0 {
		t.Errorf("the engine without memory remembers %d steps", n)
	}
}

// A refresh computes the steps that are new and those of the last minute, whose
// samples have changed.
func TestMemoryComputesWhatIsNew(t *testing.T) {
	r := newRig(t, metric.Config{}, 0)
	now := time.Now().Truncate(time.Minute)
	put := func(at time.Time) {
		t.Helper()
		app := r.store.Appender(context.Background())
		if _, err := app.Append(0, labels.FromStrings("__name__", "m"), at.UnixMilli(), float64(at.Unix())); err != nil {
			t.Fatal(err)
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	for at := now.Add(-time.Hour); !at.After(now); at = at.Add(30 * time.Second) {
		put(at)
	}
	computed := func(to time.Time) int64 {
		_, before := r.with.Remembered()
		askRange(t, r.with, r.store, "m", to.Add(-50*time.Minute), to, 30*time.Second)
		_, after := r.with.Remembered()
		return after - before
	}
	f := func(what string, to time.Time, want int64) {
		t.Helper()
		if got := computed(to); got != want {
			t.Errorf("%s: computed %d steps, want %d", what, got, want)
		}
	}
	f("the first time", now, 101)
	f("again", now, 0)
	put(now.Add(30 * time.Second))
	f("a step later", now.Add(30*time.Second), 2)
	put(now.Add(60 * time.Second))
	f("a minute later", now.Add(60*time.Second), 1)
	f("an hour back", now.Add(-10*time.Minute), 20)
	put(now.Add(-5*time.Minute + time.Second))
	f("after a late sample", now.Add(60*time.Second), 13)
	if err := r.store.Delete(context.Background(), now.Add(-20*time.Minute).UnixMilli(), now.Add(-19*time.Minute).UnixMilli(), labels.MustNewMatcher(labels.MatchEqual, "__name__", "m")); err != nil {
		t.Fatal(err)
	}
	f("after a deletion", now.Add(60*time.Second), 43)
	r.with.Remember(nil)
	f("with no history", now.Add(60*time.Second), 0)
}

// The memory is bounded: what was not used for longest goes.
func TestMemoryBound(t *testing.T) {
	r := newRig(t, metric.Config{}, 64<<10)
	now := time.Now().Truncate(time.Minute)
	app := r.store.Appender(context.Background())
	for i := range 20 {
		if _, err := app.Append(0, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), now.UnixMilli(), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		askRange(t, r.with, r.store, fmt.Sprintf(`m{i="%d"}`, i%20), now.Add(-time.Hour), now.Add(time.Hour), 15*time.Second)
	}
	askRange(t, r.with, r.store, `m`, now.Add(-time.Hour), now.Add(time.Hour), 15*time.Second) // too large alone
	if n := r.with.MemoryBytes(); n <= 0 || n > 64<<10 {
		t.Errorf("%d bytes are remembered, at most %d may be", n, 64<<10)
	}
}

func TestMemoryConcurrent(t *testing.T) {
	r := newRig(t, metric.Config{}, 1<<20)
	now := time.Now().Truncate(time.Minute)
	done := make(chan struct{})
	for w := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range 60 {
				if w == 0 {
					app := r.store.Appender(context.Background())
					_, _ = app.Append(0, labels.FromStrings("__name__", "m"), now.Add(time.Duration(i)*time.Second).UnixMilli(), float64(i))
					_ = app.Commit()
					continue
				}
				askRange(t, r.with, r.store, "m", now.Add(-time.Hour), now.Add(time.Minute), time.Second)
			}
		}()
	}
	for range 4 {
		<-done
	}
	want := askRange(t, r.no, r.store, "m", now.Add(-time.Hour), now.Add(time.Minute), time.Second)
	if got := askRange(t, r.with, r.store, "m", now.Add(-time.Hour), now.Add(time.Minute), time.Second); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
