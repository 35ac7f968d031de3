package metric

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// census counts the series in memory by metric. The engine tells it of each
// series that is made or goes, so that a count costs nothing to read, an append
// to a known series never comes here, and a limit on new series is asked exactly
// when one would be made. Safe for concurrent use.
type census struct {
	// admit says why a series may not be made beside the n of its metric; nil
	// while the log is replayed, which must bring back everything.
	admit atomic.Pointer[func(ls labels.Labels, metric string, n int) error]

	mu     sync.Mutex
	series map[string]int
}

func newCensus() *census { return &census{series: map[string]int{}} }

// PreCreation implements tsdb.SeriesLifecycleCallback.
func (c *census) PreCreation(ls labels.Labels) error {
	admit := c.admit.Load()
	if admit == nil {
		return nil
	}
	name := ls.Get(labels.MetricName)
	c.mu.Lock()
	n := c.series[name]
	c.mu.Unlock()
	return (*admit)(ls, name, n)
}

// PostCreation implements tsdb.SeriesLifecycleCallback.
func (c *census) PostCreation(ls labels.Labels) {
	name := ls.Get(labels.MetricName)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.series[name]; !known {
		name = strings.Clone(name) // or the labels of the first series would stay with it
	}
	c.series[name]++
}

// PostDeletion implements tsdb.SeriesLifecycleCallback.
func (c *census) PostDeletion(gone map[chunks.HeadSeriesRef]labels.Labels) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ls := range gone {
		name := ls.Get(labels.MetricName)
		if c.series[name]--; c.series[name] <= 0 {
			delete(c.series, name)
		}
	}
}

// top lists the n metrics with most series, and how many metrics there are.
func (c *census) top(n int) ([]MetricSeries, int) {
	t := newTop(n, func(a, b MetricSeries) int {
		return cmp.Or(cmp.Compare(b.Series, a.Series), strings.Compare(a.Name, b.Name))
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, k := range c.series {
		t.add(MetricSeries{name, k})
	}
	return t.sorted(), len(c.series)
}

// rememberedMetrics bounds the history of growth: each is one series of ours.
const rememberedMetrics = 50

var metricSeriesDesc = prometheus.NewDesc("vedette_metric_series",
	"Series in memory of the metrics that have most of them.", []string{"metric"}, nil)

// Describe implements prometheus.Collector.
func (c *census) Describe(ch chan<- *prometheus.Desc) { ch <- metricSeriesDesc }

// Collect implements prometheus.Collector.
func (c *census) Collect(ch chan<- prometheus.Metric) {
	ms, _ := c.top(rememberedMetrics)
	for _, m := range ms {
		ch <- prometheus.MustNewConstMetric(metricSeriesDesc, prometheus.GaugeValue, float64(m.Series), strings.ToValidUTF8(m.Name, "�"))
	}
}

// top keeps the first n of what is added, in an order.
type top[T any] struct {
	n     int
	order func(a, b T) int
	kept  []T
}

func newTop[T any](n int, order func(a, b T) int) *top[T] { return &top[T]{n: n, order: order} }

// add holds up to twice n, so that a sort is paid once in n.
func (t *top[T]) add(x T) {
	if t.kept = append(t.kept, x); len(t.kept) >= 2*t.n {
		t.cut()
	}
}

func (t *top[T]) cut() {
	slices.SortFunc(t.kept, t.order)
	t.kept = t.kept[:min(t.n, len(t.kept))]
}

func (t *top[T]) sorted() []T {
	t.cut()
	return t.kept
}
