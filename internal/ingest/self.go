package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/vedette-sre/vedette/internal/record"
)

// Collect stores what a gatherer says every interval until ctx ends, with the
// extra labels (name, value pairs). It is a scrape without HTTP: Vedette's own
// process and host are watched this way.
func Collect(ctx context.Context, w *Writer, g prometheus.Gatherer, group string, extra []string, interval time.Duration, log *slog.Logger) {
	round := func(now time.Time) {
		mfs, err := g.Gather()
		if err != nil {
			// Gather returns what it could; the rest is named here.
			log.Warn("own metrics are incomplete", "group", group, "err", err)
		}
		samples := append(Families(mfs, extra), record.Sample{Name: "up", Labels: extra, Value: 1})
		if err := w.Put(ctx, "self", group, now, samples); err != nil && ctx.Err() == nil {
			log.Error("own metrics were not stored", "group", group, "err", err)
		}
	}
	round(time.Now())
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			round(now)
		}
	}
}

// Families turns metric families into samples as the text format would:
// histograms and summaries as their _bucket, _sum and _count series.
func Families(mfs []*dto.MetricFamily, extra []string) []record.Sample {
	var out []record.Sample
	for _, mf := range mfs {
		name := mf.GetName()
		for _, m := range mf.GetMetric() {
			ls := make([]string, 0, len(extra)+2*len(m.GetLabel())+2)
			ls = append(ls, extra...)
			for _, l := range m.GetLabel() {
				ls = append(ls, l.GetName(), l.GetValue())
			}
			ls = ls[:len(ls):len(ls)]
			add := func(suffix string, v float64, more ...string) {
				out = append(out, record.Sample{Name: name + suffix, Labels: append(ls, more...), Value: v})
			}
			switch {
			case m.Counter != nil:
				add("", m.Counter.GetValue())
			case m.Gauge != nil:
				add("", m.Gauge.GetValue())
			case m.Untyped != nil:
				add("", m.Untyped.GetValue())
			case m.Summary != nil:
				for _, q := range m.Summary.GetQuantile() {
					add("", q.GetValue(), "quantile", float(q.GetQuantile()))
				}
				add("_sum", m.Summary.GetSampleSum())
				add("_count", float64(m.Summary.GetSampleCount()))
			case m.Histogram != nil:
				inf := false
				for _, b := range m.Histogram.GetBucket() {
					le := float(b.GetUpperBound())
					inf = inf || le == "+Inf"
					add("_bucket", float64(b.GetCumulativeCount()), "le", le)
				}
				if !inf {
					add("_bucket", float64(m.Histogram.GetSampleCount()), "le", "+Inf")
				}
				add("_sum", m.Histogram.GetSampleSum())
				add("_count", float64(m.Histogram.GetSampleCount()))
			}
		}
	}
	return out
}

func float(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if f == float64(int64(f)) && len(s) < 16 && s != "+Inf" && s != "-Inf" && s != "NaN" {
		return fmt.Sprintf("%.1f", f)
	}
	return s
}
