package query_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// foldable are expressions with every aggregation and function that is folded,
// and with what may stand around them.
func foldable() []string {
	var out []string
	for _, op := range []string{"sum", "avg", "min", "max", "count", "group"} {
		for _, by := range []string{"", " by (job)", " by (job, n, none)", " without (n)", " without (job, n)"} {
			for _, of := range []string{"c_total", "g", `c_total{job=~"a|b"} offset 90s`, "h"} {
				out = append(out, fmt.Sprintf("%s%s (%s)", op, by, of))
			}
		}
	}
	for _, f := range []string{"rate", "increase", "delta", "irate", "idelta", "count_over_time", "present_over_time", "last_over_time",
		"max_over_time", "min_over_time", "sum_over_time", "avg_over_time", "changes", "resets"} {
		for _, of := range []string{"c_total[2m]", "g[45s]", "g[100ms]", "c_total[4m] offset 1m", "g[1m] offset -1m", "mixed[3m]"} {
			out = append(out, fmt.Sprintf("sum by (job) (%s(%s))", f, of), fmt.Sprintf("avg(%s(%s))", f, of))
		}
	}
	return append(out,
		`sum(rate(c_total[2m])) by (job) / sum(rate(c_total[2m])) by (job) > 0`, `topk(2, sum by (job, n) (g))`, `-sum(g)`, `sum(g) or vector(7)`,
		`histogram_quantile(0.9, sum by (le, job) (rate(b_bucket[2m])))`, `histogram_quantile(0.9, sum(rate(h[2m])))`, `absent(sum(nothing))`, `absent(sum(g))`,
		`timestamp(sum by (job) (g))`, `scalar(sum(g))`, `max_over_time(sum(g)[3m:30s])`, `sum(max by (job) (g))`, `sum(sum_over_time(g[1m:10s]))`,
		"sum by (job)\n  (rate(\n\tc_total[2m])) # the rate\n* 2", `sum(g) by (job) + on (job) group_left count(g) by (job, n)`, `label_replace(sum by (job) (g), "x", "$1", "job", "(.*)")`,
		`sum(g @ end())`, `sum(g @ 1790000100)`, `sum({__name__=~"g|c_total"})`, `sum by (__name__) (g)`, `sum((((g))))`, `sum(rate((c_total[1m])))`, `count_values("v", sum by (job) (floor(g)))`,
		`sum(a) + sum(a)`, `sum by (job) (m1 or m2)`, `quantile(0.5, g)`, `sort_desc(sum by (job) (g))`, `sum(big)`, `avg(big)`, `avg by (job) (avg_over_time(big[2m]))`, `sum(odd)`, `avg(odd)`, `max(odd)`, `min by (job) (max_over_time(odd[1m]))`,
		`sum(typed)`, `sum(rate(typed[1m]))`, `sum(g) == bool sum(g)`, `{__name__="_:0"}`, `sum(rate({__name__="c_total"}[1m]))`, `sum by (job) ({"g"})`)
}

// What is folded has the bits of what Prometheus's engine computes, its messages
// and its errors, over counters that reset, gaps, stale series, native
// histograms, infinities and late samples.
func TestFoldIsTheEngine(t *testing.T) {
	rounds := uint64(4)
	if testing.Short() {
		rounds = 1
	}
	for seed := range rounds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			s, end := odd(t, r)
			bare := promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
				NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() }, Parser: parser.NewParser(parser.Options{})})
			t.Cleanup(func() { bare.Close() })
			e := query.NewEngines(query.Config{MemoryBytes: -1}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
			t.Cleanup(e.Close)
			values := 0
			for _, expr := range foldable() {
				step := []time.Duration{15 * time.Second, 30 * time.Second, 7 * time.Second, 10 * time.Minute}[r.IntN(4)]
				from := end.Add(-time.Duration(r.IntN(40)) * time.Minute)
				got, want := answer(t, e.Users, s, expr, from, end, step), answer(t, bare, s, expr, from, end, step)
				if got != want {
					t.Fatalf("%s from %v at %v:\nfolded: %s\nengine: %s", expr, from, step, got, want)
				}
				values += strings.Count(want, ":")
				got, want = answer(t, e.Rules, s, expr, from, from, 0), answer(t, bare, s, expr, from, from, 0)
				if got != want {
					t.Fatalf("%s at %v:\nfolded: %s\nengine: %s", expr, from, got, want)
				}
				values += strings.Count(want, ":")
			}
			if values < 10_000 {
				t.Errorf("only %d values were compared", values)
			}
			if n := e.Folded(); n < 200 {
				t.Errorf("only %d expressions were folded", n)
			}
		})
	}
}

func answer(t *testing.T, e promql.QueryEngine, s storage.Queryable, expr string, from, to time.Time, step time.Duration) string {
	t.Helper()
	var q promql.Query
	var err error
	if step == 0 {
		q, err = e.NewInstantQuery(context.Background(), s, nil, expr, to)
	} else {
		q, err = e.NewRangeQuery(context.Background(), s, nil, expr, from, to, step)
	}
	if err != nil {
		return "refused: " + err.Error()
	}
	defer q.Close()
	res := q.Exec(context.Background())
	if q.String() != expr {
		t.Errorf("the query of %q says that it is %q", expr, q.String())
	}
	warnings, infos := res.Warnings.AsStrings(expr, 0, 0)
	slices.Sort(warnings)
	slices.Sort(infos)
	notes := fmt.Sprintf("%q %q\n", warnings, infos)
	if res.Err != nil {
		return notes + "error: " + res.Err.Error()
	}
	if m, ok := res.Value.(promql.Matrix); ok {
		return notes + exact(m)
	}
	v, ok := res.Value.(promql.Vector)
	if !ok {
		return notes + res.Value.String()
	}
	var lines []string
	for _, s := range v {
		lines = append(lines, fmt.Sprintf("%s %d:%s %v", s.Metric, s.T, bitsOf(s.F), s.H))
	}
	if !strings.HasPrefix(expr, "sort") {
		slices.Sort(lines) // histogram_quantile has no order of its own
	}
	return notes + strings.Join(lines, "\n")
}

// odd is a store with half an hour of all that is unusual in series.
func odd(t *testing.T, r *rand.Rand) (*metric.Store, time.Time) {
	t.Helper()
	s, err := metric.Open(t.TempDir(), metric.Config{OutOfOrder: 2 * time.Hour}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	base := time.Unix(1_790_000_000, 0)
	sum := map[string]float64{}
	for k := range 120 {
		app := s.Appender(context.Background())
		at := base.Add(time.Duration(k) * 15 * time.Second).UnixMilli()
		for i := range 9 {
			if r.IntN(12) == 0 {
				continue
			}
			ms := at + int64(r.IntN(3000))
			if r.IntN(30) == 0 {
				ms -= 60_000
			}
			put := func(name string, v float64, more ...string) {
				ls := labels.FromStrings(append([]string{"__name__", name, "job", string(rune('a' + i%3)), "n", fmt.Sprint(i)}, more...)...)
				_, _ = app.Append(0, ls, ms, v)
			}
			grow := func(name string) float64 {
				id := name + fmt.Sprint(i)
				if sum[id] += r.ExpFloat64() * 10; r.IntN(40) == 0 {
					sum[id] = r.Float64()
				}
				return sum[id]
			}
			put("c_total", grow("c"))
			g := r.NormFloat64()
			switch r.IntN(25) {
			case 0:
				g = math.Float64frombits(value.StaleNaN)
			case 1:
				g = math.NaN()
			}
			put("g", g)
			put("a", float64(k))
			put("b_bucket", grow("b"), "le", "1")
			put("b_bucket", grow("b"), "le", "+Inf")
			put("big", math.MaxFloat64*r.Float64())
			put("odd", []float64{math.Inf(1), math.Inf(-1), math.NaN(), 0, math.Copysign(0, -1), 5e-324}[r.IntN(6)])
			if i < 3 {
				put("typed", float64(k), "__type__", "counter")
				put("typed", float64(k), "__type__", "gauge")
			}
			n := uint64(k)
			h := &histogram.Histogram{Schema: 2, ZeroThreshold: 1e-9, Count: 3 * n, Sum: float64(n), PositiveSpans: []histogram.Span{{Offset: int32(i), Length: 2}}, PositiveBuckets: []int64{int64(n), int64(n)}}
			_, _ = app.AppendHistogram(0, labels.FromStrings("__name__", "h", "job", "a", "n", fmt.Sprint(i)), ms, h, nil)
			if k > 60 {
				_, _ = app.AppendHistogram(0, labels.FromStrings("__name__", "mixed", "job", "a", "n", fmt.Sprint(i)), ms, h, nil)
			} else {
				put("mixed", float64(k))
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return s, base.Add(30 * time.Minute)
}
