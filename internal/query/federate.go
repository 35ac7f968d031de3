package query

import (
	"cmp"
	"log/slog"
	"net/http"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"google.golang.org/protobuf/proto"
)

// Federate answers /federate: the newest sample of every series that one of the
// match[] selectors selects, in an exposition format, with the external labels
// added where a series has none of that name. Native histograms need a protobuf
// format and are left out of the others, as the formats cannot carry them.
func Federate(q storage.Queryable, p parser.Parser, lookback time.Duration, cfg func() config.Config, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, "parse form: "+err.Error(), http.StatusBadRequest)
			return
		}
		sel, err := p.ParseMetricSelectors(r.Form["match[]"])
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		now := time.Now()
		points, err := newest(r, q, sel, now.Add(-lookback).UnixMilli(), now.UnixMilli())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		format := expfmt.Negotiate(r.Header)
		w.Header().Set("Content-Type", string(format))
		enc := expfmt.NewEncoder(w, format)
		for _, mf := range families(points, cfg().GlobalConfig.ExternalLabels, format.FormatType() == expfmt.TypeProtoDelim) {
			if err := enc.Encode(mf); err != nil {
				log.Debug("federation ended early", "err", err)
				return
			}
		}
	})
}

type federated struct {
	labels labels.Labels
	t      int64
	v      float64
	h      *histogram.FloatHistogram
}

func newest(r *http.Request, q storage.Queryable, sel [][]*labels.Matcher, mint, maxt int64) ([]federated, error) {
	qr, err := q.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	defer qr.Close()
	hints := &storage.SelectHints{Start: mint, End: maxt}
	sets := make([]storage.SeriesSet, 0, len(sel))
	for _, m := range sel {
		sets = append(sets, qr.Select(r.Context(), true, hints, m...))
	}
	set := storage.NewMergeSeriesSet(sets, 0, storage.ChainedSeriesMerge)
	var out []federated
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		it = s.Iterator(it)
		f := federated{labels: s.Labels(), t: -1}
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			if vt == chunkenc.ValFloat {
				f.t, f.v = it.At()
				f.h = nil
			} else {
				f.t, f.h = it.AtFloatHistogram(nil)
			}
		}
		if it.Err() != nil {
			return nil, it.Err()
		}
		if f.t < 0 || f.labels.Get(labels.MetricName) == "" ||
			(f.h == nil && value.IsStaleNaN(f.v)) || (f.h != nil && value.IsStaleNaN(f.h.Sum)) {
			continue
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b federated) int {
		return cmp.Compare(a.labels.Get(labels.MetricName), b.labels.Get(labels.MetricName))
	})
	return out, set.Err()
}

// kindOf tells the type under which a sample is exposed; samples of one name
// with different types make separate families.
func kindOf(f federated) dto.MetricType {
	switch {
	case f.h == nil:
		return dto.MetricType_UNTYPED
	case f.h.CounterResetHint == histogram.GaugeType:
		return dto.MetricType_GAUGE_HISTOGRAM
	}
	return dto.MetricType_HISTOGRAM
}

func families(points []federated, external labels.Labels, protobuf bool) []*dto.MetricFamily {
	var out []*dto.MetricFamily
	var cur *dto.MetricFamily
	for _, f := range points {
		if f.h != nil && !protobuf && !f.h.UsesCustomBuckets() {
			continue
		}
		name, kind := f.labels.Get(labels.MetricName), kindOf(f)
		if cur == nil || cur.GetName() != name || cur.GetType() != kind {
			cur = &dto.MetricFamily{Name: proto.String(name), Type: kind.Enum()}
			out = append(out, cur)
		}
		m := &dto.Metric{TimestampMs: proto.Int64(f.t)}
		add := func(l labels.Label) {
			if l.Name != labels.MetricName && l.Value != "" {
				m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(l.Name), Value: proto.String(l.Value)})
			}
		}
		f.labels.Range(add)
		external.Range(func(l labels.Label) {
			if !f.labels.Has(l.Name) {
				add(l)
			}
		})
		if !f.labels.Has("instance") && !external.Has("instance") {
			// An empty instance keeps the scraping side from adding its own.
			m.Label = append(m.Label, &dto.LabelPair{Name: proto.String("instance"), Value: proto.String("")})
		}
		switch {
		case f.h == nil:
			m.Untyped = &dto.Untyped{Value: proto.Float64(f.v)}
		case f.h.UsesCustomBuckets():
			m.Histogram = classic(f.h)
		default:
			m.Histogram = native(f.h)
		}
		cur.Metric = append(cur.Metric, m)
	}
	return out
}

func classic(h *histogram.FloatHistogram) *dto.Histogram {
	out := &dto.Histogram{SampleCountFloat: proto.Float64(h.Count), SampleSum: proto.Float64(h.Sum)}
	it, total := h.PositiveBucketIterator(), 0.0
	for it.Next() {
		b := it.At()
		total += b.Count
		out.Bucket = append(out.Bucket, &dto.Bucket{CumulativeCountFloat: proto.Float64(total), UpperBound: proto.Float64(b.Upper)})
	}
	return out
}

func native(h *histogram.FloatHistogram) *dto.Histogram {
	out := &dto.Histogram{
		SampleCountFloat: proto.Float64(h.Count), SampleSum: proto.Float64(h.Sum),
		Schema: proto.Int32(h.Schema), ZeroThreshold: proto.Float64(h.ZeroThreshold), ZeroCountFloat: proto.Float64(h.ZeroCount),
		PositiveCount: h.PositiveBuckets, NegativeCount: h.NegativeBuckets,
	}
	spans := func(in []histogram.Span) (out []*dto.BucketSpan) {
		for _, s := range in {
			out = append(out, &dto.BucketSpan{Offset: proto.Int32(s.Offset), Length: proto.Uint32(s.Length)})
		}
		return out
	}
	out.PositiveSpan, out.NegativeSpan = spans(h.PositiveSpans), spans(h.NegativeSpans)
	if len(out.PositiveSpan)+len(out.NegativeSpan) == 0 {
		// An empty span is how the format marks a histogram without buckets as native.
		out.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
	}
	return out
}
