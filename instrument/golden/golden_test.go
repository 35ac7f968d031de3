package golden_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vedette-sre/vedette/instrument"
)

// registry is one that is closed with the test.
func registry(t testing.TB) *instrument.Registry {
	m := instrument.New(instrument.Config{})
	t.Cleanup(m.Close)
	return m
}

// values are the values of all series of a metric (of a distribution its count),
// by "key=value" pairs with commas between, in the order of the keys.
func values(m *instrument.Registry, name string) map[string]float64 {
	out := map[string]float64{}
	s := m.Snapshot()
	i := slices.IndexFunc(s.Metrics, func(x instrument.Metric) bool { return x.Name == name })
	if i < 0 {
		return out
	}
	for _, series := range s.Metrics[i].Series {
		var tags []string
		for _, t := range series.Tags {
			tags = append(tags, t.Key+"="+t.Value)
		}
		out[strings.Join(tags, ",")] = series.Value
	}
	return out
}

// short makes the tags of a request short: "GET /path 200 canceled".
func short(m *instrument.Registry, name string) map[string]float64 {
	out := map[string]float64{}
	s := m.Snapshot()
	for _, x := range s.Metrics {
		if x.Name != name {
			continue
		}
		for _, series := range x.Series {
			var parts []string
			for _, k := range []string{"session.kind", "http.request.method", "http.route", "url.template", "http.response.status_code", "error.type"} {
				if v := series.Tag(k); v != "" {
					parts = append(parts, v)
				}
			}
			out[strings.Join(parts, " ")] += series.Value
		}
	}
	return out
}

// distribution is that of the only series of a metric, or of the one with a tag.
func distribution(t *testing.T, m *instrument.Registry, name string, tag ...string) instrument.Distribution {
	t.Helper()
	for _, x := range m.Snapshot().Metrics {
		if x.Name != name {
			continue
		}
		for _, s := range x.Series {
			if len(tag) == 0 || s.Tag(tag[0]) == tag[1] {
				return *s.Distribution
			}
		}
	}
	t.Fatalf("no series of %s %v", name, tag)
	return instrument.Distribution{}
}
