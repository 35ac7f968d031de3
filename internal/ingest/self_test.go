package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

func TestFamilies(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "c_total"}, []string{"k"})
	c.WithLabelValues("v").Add(3)
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"})
	g.Set(math.Inf(-1))
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Buckets: []float64{0.5, 1, 2.5}})
	for _, v := range []float64{0.1, 1, 9} {
		h.Observe(v)
	}
	s := prometheus.NewSummary(prometheus.SummaryOpts{Name: "s", Objectives: map[float64]float64{0.5: 0.1, 1: 0}})
	s.Observe(2)
	u := prometheus.NewUntypedFunc(prometheus.UntypedOpts{Name: "u"}, func() float64 { return 1 })
	reg.MustRegister(c, g, h, s, u)
	mfs, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range ingest.Families(mfs, []string{"job", "x"}) {
		got = append(got, fmt.Sprintf("%s%v %v", s.Name, s.Labels, s.Value))
	}
	slices.Sort(got)
	want := []string{
		"c_total[job x k v] 3", "g[job x] -Inf",
		"h_bucket[job x le +Inf] 3", "h_bucket[job x le 0.5] 1", "h_bucket[job x le 1.0] 2", "h_bucket[job x le 2.5] 2", "h_count[job x] 3", "h_sum[job x] 10.1",
		"s[job x quantile 0.5] 2", "s[job x quantile 1.0] 2", "s_count[job x] 1", "s_sum[job x] 2", "u[job x] 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func rec(name string, v float64, ls ...string) record.Sample {
	return record.Sample{Name: name, Value: v, Labels: ls}
}

func TestWriterMarksStale(t *testing.T) {
	store := openStore(t, t.TempDir(), metric.Config{Limits: metric.Limits{MaxSeries: 3}})
	counts := ingest.NewCounts(instrument.New(instrument.Config{}))
	w := ingest.NewWriter(store, counts)
	ctx, t0 := context.Background(), time.UnixMilli(1_750_000_000_000)
	put := func(group string, s int, samples ...record.Sample) {
		t.Helper()
		if err := w.Put(ctx, "self", group, t0.Add(time.Duration(s)*time.Second), samples); err != nil {
			t.Fatal(err)
		}
	}
	put("one", 0, rec("a", 1, "x", "1", "empty", ""), rec("b", 1))
	put("two", 0, rec("c", 1))
	put("one", 10, rec("a", 2, "x", "1"), rec("over the limit", 1))
	put("one", 20, rec("a", 3, "x", "1"))
	if err := w.Forget(ctx, "self", "two", t0.Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	put("two", 40)

	got := map[string]map[int64]string{}
	if err := dump(store, math.MinInt64, math.MaxInt64, collect(got)); err != nil {
		t.Fatal(err)
	}
	stale := floatText(math.Float64frombits(value.StaleNaN))
	want := map[string]map[int64]string{
		`{__name__="a", x="1"}`: {0: floatText(1), 10: floatText(2), 20: floatText(3)},
		`{__name__="b"}`:        {0: floatText(1), 10: stale},
		`{__name__="c"}`:        {0: floatText(1), 30: stale},
	}
	for name, m := range want {
		for s, v := range m {
			if g := got[name][t0.UnixMilli()+s*1000]; g != v {
				t.Errorf("%s at %d s: got %q, want %q", name, s, g, v)
			}
		}
		if len(got[name]) != len(m) {
			t.Errorf("%s has %d samples, want %d", name, len(got[name]), len(m))
		}
	}
	c := counts.Snapshot()
	if len(c) != 1 || c[0].Samples != 5 || len(c[0].Rejected) != 1 || c[0].Rejected[0].Count != 1 {
		t.Errorf("got counts %+v, want 5 stored and 1 rejected", c)
	}
}

// What the store did not take must be counted, and a stale marker that was not
// stored is still owed.
func TestWriterFault(t *testing.T) {
	store := openStore(t, t.TempDir(), metric.Config{})
	counts := ingest.NewCounts(instrument.New(instrument.Config{}))
	f := &faulty{Appendable: store}
	w := ingest.NewWriter(f, counts)
	t0 := time.UnixMilli(1_750_000_000_000)
	put := func(s int, samples ...record.Sample) error {
		return w.Put(context.Background(), "self", "g", t0.Add(time.Duration(s)*time.Second), samples)
	}
	if err := put(0, rec("a", 1), rec("b", 1)); err != nil {
		t.Fatal(err)
	}
	f.commitErr = errors.New("no space left")
	if err := put(10, rec("b", 2)); err == nil {
		t.Error("a failed commit is no error")
	}
	f.commitErr = nil
	if err := put(20, rec("b", 3)); err != nil {
		t.Fatal(err)
	}
	c := counts.Snapshot()
	if len(c) != 1 || c[0].Samples != 3 || len(c[0].Rejected) != 1 || c[0].Rejected[0] != (ingest.RejectedCount{Reason: "fault", Count: 1}) {
		t.Errorf("got counts %+v, want 3 stored and 1 rejected by a fault", c)
	}
	got := map[string]map[int64]string{}
	if err := dump(store, math.MinInt64, math.MaxInt64, collect(got)); err != nil {
		t.Fatal(err)
	}
	if v := got[`{__name__="a"}`][t0.UnixMilli()+20_000]; v != floatText(math.Float64frombits(value.StaleNaN)) {
		t.Errorf("the marker that is owed: got %q", v)
	}
}

func TestCollect(t *testing.T) {
	store := &recording{}
	reg := prometheus.NewRegistry()
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"})
	reg.MustRegister(g)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		w := ingest.NewWriter(store, ingest.NewCounts(instrument.New(instrument.Config{})))
		go func() {
			defer close(ended)
			ingest.Collect(ctx, w, reg, "self", []string{"job", "vedette"}, 10*time.Second, quietLog())
		}()
		time.Sleep(25 * time.Second) // of the bubble: at once, and two ticks
		cancel()
		<-ended
	})
	if want := 3 * 2; len(store.got) != want { // g and up
		t.Errorf("got %d samples, want %d: %v", len(store.got), want, store.got)
	}
}

// recording is a store that remembers series names.
type recording struct{ got []string }

func (r *recording) Appender(context.Context) storage.Appender { return recorder{r: r} }

type recorder struct {
	storage.Appender
	r *recording
}

func (recorder) Commit() error { return nil }

func (a recorder) Append(_ storage.SeriesRef, ls labels.Labels, _ int64, _ float64) (storage.SeriesRef, error) {
	a.r.got = append(a.r.got, ls.String())
	return 1, nil
}

func TestCountsLint(t *testing.T) {
	reg, own := prometheus.NewPedanticRegistry(), instrument.New(instrument.Config{})
	reg.MustRegister(ingest.Instruments{Registry: own})
	c := ingest.NewCounts(own)
	c.Add("x", 3, map[string]int{"late": 2, "early": 5})
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("got %v, %v", problems, err)
	}
	got := c.Snapshot()
	if len(got) != 1 || got[0].Requests != 1 || got[0].Samples != 3 || fmt.Sprint(got[0].Rejected) != "[{early 5} {late 2}]" {
		t.Errorf("got %+v", got)
	}
}
