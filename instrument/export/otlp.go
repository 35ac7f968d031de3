package export

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/vedette-sre/vedette/instrument"
)

// OTLP sends to an OpenTelemetry receiver over HTTP with protobuf: cumulative
// sums, gauges and exponential histograms. The tags service, node and version
// that all series share become the resource's service.name, service.instance.id
// and service.version.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
type OTLP struct {
	URL    string // of the receiver, such as http://collector:4318; /v1/metrics is added when it has no path
	Header http.Header
	Client *http.Client
	// Scale is of the exponential histograms, -4 to 5; 0 means 4, buckets of 4.4 %.
	Scale int
}

// Vedette sends to a Vedette. token and tenant may be empty.
func Vedette(url, token, tenant string) *OTLP {
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	if tenant != "" {
		h.Set("X-Vedette-Tenant", tenant)
	}
	return &OTLP{URL: url, Header: h}
}

// resourceTags are the tags that describe the process.
var resourceTags = []struct{ tag, attribute string }{
	{"service", "service.name"}, {"node", "service.instance.id"}, {"version", "service.version"},
}

// shared returns the value of a tag that all series have, or "".
func shared(s *instrument.Snapshot, key string) string {
	value := ""
	for i := range s.Metrics {
		for k := range s.Metrics[i].Series {
			v := s.Metrics[i].Series[k].Tag(key)
			if v == "" || value != "" && v != value {
				return ""
			}
			value = v
		}
	}
	return value
}

func attribute(w *wire, field int, key, value string) {
	w.message(field, func(w *wire) {
		w.text(1, strings.ToValidUTF8(key, "\uFFFD"))
		w.message(2, func(w *wire) { w.text(1, strings.ToValidUTF8(value, "\uFFFD")) })
	})
}

var otlpUnits = map[string]string{"seconds": "s", "bytes": "By"}

// Export sends a snapshot.
func (o *OTLP) Export(ctx context.Context, s *instrument.Snapshot) error {
	target := strings.TrimSuffix(o.URL, "/")
	if _, rest, _ := strings.Cut(target, "://"); !strings.Contains(rest, "/") {
		target += "/v1/metrics"
	}
	return post(ctx, o.Client, target, "application/x-protobuf", o.encode(s), o.Header)
}

func (o *OTLP) encode(s *instrument.Snapshot) []byte {
	var own []string // tags that the resource has
	var out wire
	out.message(1, func(w *wire) {
		w.message(1, func(w *wire) {
			for _, t := range resourceTags {
				if v := shared(s, t.tag); v != "" {
					own = append(own, t.tag)
					attribute(w, 1, t.attribute, v)
				}
			}
		})
		w.message(2, func(w *wire) {
			w.message(1, func(w *wire) { w.text(1, "github.com/vedette-sre/vedette/instrument") })
			for i := range s.Metrics {
				o.metric(w, s, &s.Metrics[i], own)
			}
		})
	})
	return out
}

// The temporality of a sum since the start.
const cumulative = 2

func (o *OTLP) metric(w *wire, s *instrument.Snapshot, m *instrument.Metric, own []string) {
	start, at := uint64(s.Begun.UnixNano()), uint64(s.At.UnixNano())
	head := func(w *wire, name, unit string) {
		w.text(1, strings.ToValidUTF8(name, "\uFFFD"))
		if m.Help != "" {
			w.text(2, strings.ToValidUTF8(m.Help, "\uFFFD"))
		}
		w.text(3, cmp.Or(otlpUnits[unit], unit))
	}
	tags := func(w *wire, field int, x *instrument.Series, more ...string) {
		for _, t := range x.Tags {
			if !slices.Contains(own, t.Key) {
				attribute(w, field, t.Key, t.Value)
			}
		}
		for i := 0; i < len(more); i += 2 {
			attribute(w, field, more[i], more[i+1])
		}
	}
	number := func(w *wire, x *instrument.Series, v float64, more ...string) {
		w.message(1, func(w *wire) {
			w.fixed(2, start)
			w.fixed(3, at)
			w.double(4, v)
			tags(w, 7, x, more...)
		})
	}
	switch m.Kind {
	case instrument.KindCounter, instrument.KindMeter:
		w.message(2, func(w *wire) {
			head(w, m.Name, m.Unit)
			w.message(7, func(w *wire) {
				for i := range m.Series {
					number(w, &m.Series[i], m.Series[i].Value)
				}
				w.uint(2, cumulative)
				w.uint(3, 1)
			})
		})
		if m.Kind == instrument.KindMeter {
			w.message(2, func(w *wire) {
				head(w, m.Name+".rate", "1/s")
				w.message(5, func(w *wire) {
					for i := range m.Series {
						x := &m.Series[i]
						for _, r := range windows(x.Rates) {
							number(w, x, r.v, "window", r.window)
						}
					}
				})
			})
		}
	case instrument.KindGauge:
		w.message(2, func(w *wire) {
			head(w, m.Name, m.Unit)
			w.message(5, func(w *wire) {
				for i := range m.Series {
					number(w, &m.Series[i], m.Series[i].Value)
				}
			})
		})
	case instrument.KindHistogram, instrument.KindTimer:
		scale := cmp.Or(o.Scale, 4)
		w.message(2, func(w *wire) {
			head(w, m.Name, m.Unit)
			w.message(10, func(w *wire) {
				for i := range m.Series {
					x := &m.Series[i]
					d := x.Distribution
					zero, pos, neg := d.Exponential(scale)
					w.message(1, func(w *wire) {
						tags(w, 1, x)
						w.fixed(2, start)
						w.fixed(3, at)
						w.fixed(4, d.Count)
						w.double(5, d.Sum)
						w.sint(6, int64(min(max(scale, -4), 5)))
						w.fixed(7, zero)
						for field, side := range map[int]instrument.Exponential{8: pos, 9: neg} {
							if len(side.Counts) > 0 {
								w.message(field, func(w *wire) {
									w.sint(1, int64(side.Offset))
									w.packed(2, side.Counts)
								})
							}
						}
						if d.Count > 0 {
							w.double(12, d.Min)
							w.double(13, d.Max)
						}
					})
				}
				w.uint(2, cumulative)
			})
		})
	}
}

type window struct {
	window string
	v      float64
}

func windows(r instrument.Rates) []window {
	return []window{{"1m", r.M1}, {"5m", r.M5}, {"15m", r.M15}, {"mean", r.Mean}}
}
