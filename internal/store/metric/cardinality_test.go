package metric_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// write stores one sample of each series and returns how many were refused.
func write(t testing.TB, s *metric.Store, at int64, series ...labels.Labels) (refused int) {
	t.Helper()
	app := s.Appender(context.Background())
	for _, ls := range series {
		if _, err := app.Append(0, ls, at, 1); metric.IsLimit(err) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	return refused
}

// shop is 1,200 series: 1,000 requests that have an id, 200 of another metric.
func shop() (out []labels.Labels) {
	for i := range 1000 {
		out = append(out, name("requests_total", "job", "web", "zone", fmt.Sprint("z", i%4), "request_id", fmt.Sprintf("%08x-1111-4222-8333-%012x", i*7919, i)))
	}
	for i := range 200 {
		out = append(out, name("depth", "job", "queue", "queue", fmt.Sprint("q", i)))
	}
	return out
}

func TestCardinality(t *testing.T) {
	s := open(t, t.TempDir(), metric.Config{})
	write(t, s, time.Now().UnixMilli(), shop()...)
	ask := func(q metric.CardinalityQuery) *metric.Cardinality {
		t.Helper()
		c, err := s.Cardinality(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	web := [][]*labels.Matcher{{labels.MustNewMatcher(labels.MatchEqual, "job", "web")}}
	// A filter that lets everything through takes the other way to the same numbers.
	every := [][]*labels.Matcher{{labels.MustNewMatcher(labels.MatchRegexp, "job", ".+")}}
	for _, match := range [][][]*labels.Matcher{nil, every} {
		c := ask(metric.CardinalityQuery{TopN: 2, Match: match, Focus: "zone"})
		if c.Series != 1200 || c.Matched != 1200 || c.Names != 2 || c.Partial {
			t.Errorf("got %d series, %d matched, %d names, partial %v; want 1200, 1200, 2, false", c.Series, c.Matched, c.Names, c.Partial)
		}
		f := func(what, want string, got any) {
			t.Helper()
			if fmt.Sprint(got) != want {
				t.Errorf("match %v: %s: got %v, want %s", match, what, got, want)
			}
		}
		f("metrics", "[{requests_total 1000} {depth 200}]", c.Metrics)
		f("labels", "[{request_id 1000 1000} {queue 200 200}]", c.Labels)
		f("pairs", "[{job web 1000} {zone z0 250}]", c.Pairs)
		f("focus", "{{zone 4 1000} [{zone z0 250} {zone z1 250}]}", *c.Focus)
		if len(c.Hints) != 1 {
			t.Fatalf("got hints %v, want one", c.Hints)
		}
		h := c.Hints[0]
		f("hint", "label request_id has 1000 values that look like UUIDs", h.Text)
		f("rule", "- source_labels: [__name__]\n  regex: 'requests_total'\n  target_label: 'request_id'\n  replacement: ''\n", h.Rule)
	}
	if c := ask(metric.CardinalityQuery{Match: web}); c.Matched != 1000 || c.Series != 1200 || len(c.Metrics) != 1 {
		t.Errorf("under job=web: got %d of %d series, metrics %v", c.Matched, c.Series, c.Metrics)
	}
	// The same question within 30 s is not counted again, another is.
	first := ask(metric.CardinalityQuery{})
	write(t, s, time.Now().UnixMilli(), name("more"))
	if again := ask(metric.CardinalityQuery{}); again != first {
		t.Error("the answer was not kept")
	}
	if c := ask(metric.CardinalityQuery{TopN: 3}); c.Names != 3 {
		t.Errorf("got %d metrics, want 3", c.Names)
	}
	if _, err := s.Cardinality(context.Background(), metric.CardinalityQuery{TopN: 1001}); record.KindOf(err) != record.Invalid {
		t.Errorf("topN over the limit: got %v, want Invalid", err)
	}
}

func TestHintKinds(t *testing.T) {
	f := func(want string, value func(i int) string) {
		t.Helper()
		s := open(t, t.TempDir(), metric.Config{})
		var all []labels.Labels
		for i := range 120 {
			all = append(all, name("m", "x", value(i)))
		}
		write(t, s, time.Now().UnixMilli(), all...)
		c, err := s.Cardinality(context.Background(), metric.CardinalityQuery{})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(c.Hints) > 0 {
			got = c.Hints[0].Kind
		}
		if got != want {
			t.Errorf("values like %q: got %q, want %q", value(7), got, want)
		}
	}
	f("number", func(i int) string { return fmt.Sprint(i + 1) })
	f("timestamp", func(i int) string { return fmt.Sprint(1_790_000_000 + i) })
	f("timestamp", func(i int) string { return fmt.Sprint(1_790_000_000_000 + i) })
	f("timestamp", func(i int) string { return time.Unix(int64(i), 0).UTC().Format(time.RFC3339) })
	f("hex", func(i int) string { return fmt.Sprintf("%016x", uint64(i+1)*0x9e3779b97f4a7c15) })
	f("", func(i int) string { return fmt.Sprintf("pod-%d", i) })
	f("", func(i int) string {
		if i%2 == 0 {
			return fmt.Sprint(i)
		}
		return fmt.Sprint("word", i)
	})
}

// TestCensus keeps the count by metric over a restart, which replays the log,
// and tells the metrics with most series.
func TestCensus(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, metric.Config{})
	write(t, s, time.Now().UnixMilli(), shop()...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	// The replay brings back what is over a limit by now.
	s, err := metric.Open(dir, metric.Config{Limits: metric.Limits{MaxSeries: 10}}, instrument.New(instrument.Config{}), reg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := `# HELP vedette_metric_series Series in memory of the metrics that have most of them.
# TYPE vedette_metric_series gauge
vedette_metric_series{metric="depth"} 200
vedette_metric_series{metric="requests_total"} 1000
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "vedette_metric_series"); err != nil {
		t.Error(err)
	}
}

// TestTwiceTheLimit sends twice the series that may be: the first half goes on,
// the other is refused with the setting and the present count, and costs nothing.
func TestTwiceTheLimit(t *testing.T) {
	const limit = 5000
	s := open(t, t.TempDir(), metric.Config{Limits: metric.Limits{MaxSeries: limit, MaxPerMetric: 4000}})
	now := time.Now().UnixMilli()
	var all []labels.Labels
	for i := range 2 * limit {
		m := "wide"
		if i%5 == 4 {
			m = "narrow"
		}
		all = append(all, name(m, "i", fmt.Sprint(i)))
	}
	if got := write(t, s, now, all...); got != limit {
		t.Fatalf("got %d refused, want %d", got, limit)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range int64(20) {
		if got := write(t, s, now+1+i, all...); got != limit {
			t.Fatalf("round %d: got %d refused, want %d: the known series go on", i, got, limit)
		}
	}
	if grown := int64(heap()) - int64(before); grown > 8<<20 {
		t.Errorf("20 rounds of refusals took %d bytes of heap", grown)
	}
	if u := s.Usage(); u.Series != limit || u.Appended != 21*limit {
		t.Errorf("got %d series and %d samples, want %d and %d", u.Series, u.Appended, limit, 21*limit)
	}
	rs := s.Refusals()
	if len(rs) != 2 {
		t.Fatalf("got refusals %v, want of two metrics", rs)
	}
	if rs[0].Metric != "wide" || rs[0].Limit != metric.LimitSeries || rs[0].Count != 21*4000 {
		t.Errorf("got %+v", rs[0])
	}
	if want := "beside 5000 in memory: over the limit max_series = 5000; send less or raise limits.max_series"; !strings.HasSuffix(rs[0].Text, want) {
		t.Errorf("got %q, want it to end with %q", rs[0].Text, want)
	}
}

func TestMaxSeriesPerMetric(t *testing.T) {
	s := open(t, t.TempDir(), metric.Config{Limits: metric.Limits{MaxPerMetric: 2}})
	now := time.Now().UnixMilli()
	a, b, c, other := name("m", "i", "a"), name("m", "i", "b"), name("m", "i", "c"), name("other")
	if got := write(t, s, now, a, b, c, other); got != 1 {
		t.Errorf("got %d refused, want the third of the metric", got)
	}
	if got := write(t, s, now+1, a, b); got != 0 {
		t.Error("a known series of a full metric was refused")
	}
	_, err := s.Appender(context.Background()).Append(0, c, now, 1)
	if want := `new series {__name__="m", i="c"} beside 2 of metric m: over the limit max_series_per_metric = 2; send less or raise limits.max_series_per_metric`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if n := s.LimitHits()[metric.LimitPerMetric]; n != 2 {
		t.Errorf("got %d hits, want 2", n)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	s := open(t, t.TempDir(), metric.Config{Limits: metric.Limits{MaxSeries: 1}})
	now := time.Now().UnixMilli()
	write(t, s, now, name("first"))
	for i := range 500 {
		write(t, s, now, name(fmt.Sprint("m", i)))
	}
	rs := s.Refusals()
	var sum int64
	for _, r := range rs {
		sum += r.Count
	}
	if len(rs) > 101 || sum != 500 {
		t.Errorf("got %d rows of %d refusals, want at most 101 of 500", len(rs), sum)
	}
}

func TestForecastDisk(t *testing.T) {
	const gb = 1e9
	day := 24 * time.Hour
	f := func(what string, d metric.DiskState, wantDays float64, wantBy string) {
		t.Helper()
		got := metric.ForecastDisk(d)
		days := got.FullIn.Hours() / 24
		if got.FullIn == metric.Never {
			days = math.Inf(1)
		}
		if math.Abs(days-wantDays) > 0.01 || math.IsNaN(days) || got.HeldBy != wantBy {
			t.Errorf("%s: got %v days held by %q, want %v by %q", what, days, got.HeldBy, wantDays, wantBy)
		}
	}
	never := math.Inf(1)
	f("nothing known", metric.DiskState{Free: 100 * gb, Retention: 15 * day}, never, "")
	f("only the disk's trend", metric.DiskState{Free: 100 * gb, TrendPerDay: 10 * gb, Retention: 15 * day}, 10, "")
	f("space becomes free", metric.DiskState{Free: 100 * gb, TrendPerDay: -gb, Retention: 15 * day}, never, "")
	f("age holds first", metric.DiskState{Free: 100 * gb, OwnPerDay: gb, BlocksBytes: 5 * gb, Retention: 15 * day}, never, "retention.metrics")
	f("age comes too late", metric.DiskState{Free: 8 * gb, OwnPerDay: gb, BlocksBytes: 5 * gb, Retention: 15 * day}, 8, "")
	f("size holds before age", metric.DiskState{Free: 8 * gb, OwnPerDay: gb, BlocksBytes: 5 * gb, Retention: 15 * day, MaxBytes: 7 * gb}, never, "retention.size")
	f("over its size already", metric.DiskState{Free: 8 * gb, OwnPerDay: gb, BlocksBytes: 9 * gb, Retention: 15 * day, MaxBytes: 7 * gb}, never, "retention.size")
	// 10 days at 2 GB a day until the store is full grown, then 80 GB at 1 GB a day.
	f("others go on after ours held", metric.DiskState{Free: 100 * gb, OwnPerDay: gb, TrendPerDay: 2 * gb, BlocksBytes: 5 * gb, Retention: 15 * day}, 90, "retention.metrics")
	f("no space at all", metric.DiskState{OwnPerDay: gb, Retention: 15 * day}, 0, "")
	f("beyond ten years", metric.DiskState{Free: 1e15, TrendPerDay: gb}, never, "")
}

func BenchmarkCardinality(b *testing.B) {
	s := open(b, b.TempDir(), metric.Config{})
	now := time.Now().UnixMilli()
	app := s.Appender(context.Background())
	for i := range 200_000 {
		var ref storage.SeriesRef
		if _, err := app.Append(ref, name(fmt.Sprint("metric_", i%500), "job", fmt.Sprint("j", i%20), "instance", fmt.Sprint("i", i%1000), "id", fmt.Sprint(i)), now, 1); err != nil {
			b.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		b.Fatal(err)
	}
	f := func(what string, q metric.CardinalityQuery) {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.ForgetCardinality()
				if _, err := s.Cardinality(context.Background(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	f("all", metric.CardinalityQuery{})
	f("filter of all", metric.CardinalityQuery{Match: [][]*labels.Matcher{{labels.MustNewMatcher(labels.MatchRegexp, "job", ".+")}}})
	f("one metric", metric.CardinalityQuery{Match: [][]*labels.Matcher{{labels.MustNewMatcher(labels.MatchEqual, "__name__", "metric_7")}}})
}
