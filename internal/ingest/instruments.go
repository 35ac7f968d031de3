package ingest

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vedette-sre/vedette/instrument"
)

// Instruments shows what a registry of instrument holds to a Prometheus registry,
// under the names that package export gives: with the unit, and "_total" for
// counters. Names and tags must be legal in Prometheus, and no meters.
type Instruments struct{ *instrument.Registry }

// Describe is empty: what a registry holds is known only when it is read.
func (Instruments) Describe(chan<- *prometheus.Desc) {}

// Collect reads the instruments.
func (i Instruments) Collect(ch chan<- prometheus.Metric) {
	for _, m := range i.Snapshot().Metrics {
		name := m.Name
		if m.Unit != "" && m.Unit != "1" && !strings.HasSuffix(name, "_"+m.Unit) {
			name += "_" + m.Unit
		}
		if m.Kind == instrument.KindCounter {
			name += "_total"
		}
		for _, s := range m.Series {
			keys, values := make([]string, len(s.Tags)), make([]string, len(s.Tags))
			for k, t := range s.Tags {
				keys[k], values[k] = t.Key, t.Value
			}
			d := prometheus.NewDesc(name, m.Help, keys, nil)
			switch {
			case s.Distribution != nil:
				counts := s.Distribution.AtMost(secondBounds)
				buckets := make(map[float64]uint64, len(counts))
				for k, b := range secondBounds {
					buckets[b] = counts[k]
				}
				ch <- prometheus.MustNewConstHistogram(d, s.Distribution.Count, s.Distribution.Sum, buckets, values...)
			case m.Kind == instrument.KindCounter:
				ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, s.Value, values...)
			default:
				ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, s.Value, values...)
			}
		}
	}
}

// secondBounds are from the fastest answer to a delivery that waited for a day.
var secondBounds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400}
