package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/klauspost/compress/snappy"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/vedette-sre/vedette/internal/record"
)

// pushSeries is one series of a group as it is written each time.
type pushSeries struct {
	key string // its labels, sorted, as Batch.key has them
	v   float64
	h   *histogram.Histogram
	fh  *histogram.FloatHistogram
}

// pushBody reads the families of a request: text, or delimited protobuf when
// the content type says so, plain or compressed.
func pushBody(r *http.Request, maxBytes int64) (map[string]*dto.MetricFamily, error) {
	var src io.Reader = r.Body
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "identity":
	case "gzip":
		gz, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, pushReadError(err)
		}
		src = gz
	case "snappy":
		src = snappy.NewReader(r.Body)
	default:
		return nil, record.Errorf(record.Invalid, "the encoding %q is not taken; send gzip, snappy or none", enc)
	}
	body, err := io.ReadAll(io.LimitReader(src, maxBytes+1))
	if err != nil {
		return nil, pushReadError(err)
	}
	if int64(len(body)) > maxBytes {
		return nil, record.Errorf(record.TooLarge, "the metrics take more than %d bytes decompressed; push fewer to a group", maxBytes)
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && media == "application/vnd.google.protobuf" && params["encoding"] == "delimited" && params["proto"] == "io.prometheus.client.MetricFamily" {
		return pushProtobuf(body)
	}
	return pushPlain(body)
}

// pushPlain reads the text format.
func pushPlain(body []byte) (families map[string]*dto.MetricFamily, err error) {
	defer func() {
		// The parser of common v0.70 falls over braces without a metric name. What a
		// stranger sent must not look like a fault of ours.
		if recover() != nil {
			families, err = nil, record.Errorf(record.Invalid, "the text cannot be parsed; see that each sample has a metric name")
		}
	}()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if families, err = parser.TextToMetricFamilies(bytes.NewReader(body)); err != nil {
		return nil, record.Errorf(record.Invalid, "%w", err) // says the line
	}
	return families, nil
}

func pushReadError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return record.Errorf(record.TooLarge, "%w; push fewer metrics to a group", err)
	}
	return record.Errorf(record.Invalid, "read the metrics: %w", err)
}

// pushProtobuf reads families, each with its length before it.
func pushProtobuf(body []byte) (map[string]*dto.MetricFamily, error) {
	out := map[string]*dto.MetricFamily{}
	for n := 1; len(body) > 0; n++ {
		msg, used := protowire.ConsumeBytes(body)
		if used < 0 {
			return nil, record.Errorf(record.Invalid, "metric family %d: %w", n, protowire.ParseError(used))
		}
		mf := &dto.MetricFamily{}
		if err := proto.Unmarshal(msg, mf); err != nil {
			return nil, record.Errorf(record.Invalid, "metric family %d: %w", n, err)
		}
		if out[mf.GetName()] != nil {
			return nil, record.Errorf(record.Invalid, "metric family %d: %q came before; send its metrics together", n, mf.GetName())
		}
		out[mf.GetName()] = mf
		body = body[used:]
	}
	return out, nil
}

// pushBuilder makes the series of a group's families.
type pushBuilder struct {
	group  []pushLabel
	room   int // series that may be added
	bytes  int // bytes that may be added: labels of series, and families as sent
	series []pushSeries
	seen   map[string]bool
	pairs  []pushLabel // of the metric at hand
	key    []byte
	sorted []pushLabel
}

// errPushRoom is what a builder without room says.
var errPushRoom = errors.New("too many series")

// family adds the series of mf.
func (b *pushBuilder) family(mf *dto.MetricFamily) error {
	name := mf.GetName()
	if !model.UTF8Validation.IsValidMetricName(name) {
		return record.Errorf(record.Invalid, "%q is not a metric name", name)
	}
	if b.bytes -= proto.Size(mf); b.bytes < 0 {
		return errPushRoom
	}
	for _, m := range mf.GetMetric() {
		if m.TimestampMs != nil {
			return record.Errorf(record.Invalid, "metric %q has a timestamp; pushed metrics must not have timestamps", name)
		}
		if err := b.labels(m, mf); err != nil {
			return err
		}
		if err := b.metric(m, mf); err != nil {
			if errors.Is(err, errPushRoom) {
				return err
			}
			return record.Errorf(record.Invalid, "metric %q: %w", name, err)
		}
	}
	return nil
}

// labels puts the labels of a metric in b.pairs: those of the group go first.
func (b *pushBuilder) labels(m *dto.Metric, mf *dto.MetricFamily) error {
	b.pairs = b.pairs[:0]
	for _, l := range m.GetLabel() {
		n, v := l.GetName(), l.GetValue()
		made := n == labels.BucketLabel && isPushHistogram(mf) || n == model.QuantileLabel && mf.GetType() == dto.MetricType_SUMMARY
		switch {
		case n == labels.MetricName || !model.UTF8Validation.IsValidLabelName(n):
			return record.Errorf(record.Invalid, "metric %q: %q is not a label name", mf.GetName(), n)
		case made:
			return record.Errorf(record.Invalid, "metric %q: the label %q is the one that its type gives its series; call it something else", mf.GetName(), n)
		case !model.LabelValue(v).IsValid():
			return record.Errorf(record.Invalid, "metric %q: the value of label %q is not UTF-8", mf.GetName(), n)
		case slices.ContainsFunc(b.pairs, func(o pushLabel) bool { return o.name == n }):
			return record.Errorf(record.Invalid, "metric %q has the label %q twice", mf.GetName(), n)
		}
		b.pairs = append(b.pairs, pushLabel{n, v})
	}
	b.pairs = slices.DeleteFunc(b.pairs, func(l pushLabel) bool {
		return slices.ContainsFunc(b.group, func(g pushLabel) bool { return g.name == l.name })
	})
	b.pairs = append(b.pairs, b.group...)
	return nil
}

func isPushHistogram(mf *dto.MetricFamily) bool {
	return mf.GetType() == dto.MetricType_HISTOGRAM || mf.GetType() == dto.MetricType_GAUGE_HISTOGRAM
}

var errPushType = errors.New("the value is not of the type that its family says")

func (b *pushBuilder) metric(m *dto.Metric, mf *dto.MetricFamily) error {
	name := mf.GetName()
	switch mf.GetType() {
	case dto.MetricType_COUNTER:
		if m.Counter == nil {
			return errPushType
		}
		return b.add(pushSeries{v: m.Counter.GetValue()}, name)
	case dto.MetricType_GAUGE:
		if m.Gauge == nil {
			return errPushType
		}
		return b.add(pushSeries{v: m.Gauge.GetValue()}, name)
	case dto.MetricType_UNTYPED:
		if m.Untyped == nil {
			return errPushType
		}
		return b.add(pushSeries{v: m.Untyped.GetValue()}, name)
	case dto.MetricType_SUMMARY:
		s := m.Summary
		if s == nil {
			return errPushType
		}
		for _, q := range s.GetQuantile() {
			if err := b.add(pushSeries{v: q.GetValue()}, name, model.QuantileLabel, labels.FormatOpenMetricsFloat(q.GetQuantile())); err != nil {
				return err
			}
		}
		return b.totals(name, float64(s.GetSampleCount()), s.GetSampleSum())
	case dto.MetricType_HISTOGRAM, dto.MetricType_GAUGE_HISTOGRAM:
		if m.Histogram == nil {
			return errPushType
		}
		return b.histogram(m.Histogram, mf)
	}
	return errPushType
}

// histogram adds a native histogram, or the series of a classic one. One that is
// both is native, as for a scrape.
func (b *pushBuilder) histogram(h *dto.Histogram, mf *dto.MetricFamily) error {
	name := mf.GetName()
	if isPushNative(h) {
		s, err := pushNative(h, mf.GetType() == dto.MetricType_GAUGE_HISTOGRAM)
		if err != nil {
			return err
		}
		return b.add(s, name)
	}
	count := float64(h.GetSampleCount())
	if h.GetSampleCountFloat() > 0 {
		count = h.GetSampleCountFloat()
	}
	toInf := false
	for _, k := range h.GetBucket() {
		v := float64(k.GetCumulativeCount())
		if k.GetCumulativeCountFloat() > 0 {
			v = k.GetCumulativeCountFloat()
		}
		toInf = toInf || math.IsInf(k.GetUpperBound(), 1)
		if err := b.add(pushSeries{v: v}, name+"_bucket", labels.BucketLabel, labels.FormatOpenMetricsFloat(k.GetUpperBound())); err != nil {
			return err
		}
	}
	if !toInf {
		if err := b.add(pushSeries{v: count}, name+"_bucket", labels.BucketLabel, "+Inf"); err != nil {
			return err
		}
	}
	return b.totals(name, count, h.GetSampleSum())
}

func (b *pushBuilder) totals(name string, count, sum float64) error {
	if err := b.add(pushSeries{v: count}, name+"_count"); err != nil {
		return err
	}
	return b.add(pushSeries{v: sum}, name+"_sum")
}

// isPushNative tells a native histogram by what a classic one has not: spans, or
// a zero bucket. A client marks an empty native one by a span of no buckets.
func isPushNative(h *dto.Histogram) bool {
	return len(h.GetPositiveSpan())+len(h.GetNegativeSpan()) > 0 || h.GetZeroThreshold() > 0 || h.GetZeroCount() > 0 || h.GetZeroCountFloat() > 0
}

// pushNative makes a histogram that shares nothing with h.
func pushNative(h *dto.Histogram, gauge bool) (s pushSeries, err error) {
	hint := histogram.UnknownCounterReset
	if gauge {
		hint = histogram.GaugeType
	}
	if h.GetSampleCountFloat() > 0 || h.GetZeroCountFloat() > 0 {
		s.fh = &histogram.FloatHistogram{
			CounterResetHint: hint, Schema: h.GetSchema(), ZeroThreshold: h.GetZeroThreshold(), ZeroCount: h.GetZeroCountFloat(),
			Count: h.GetSampleCountFloat(), Sum: h.GetSampleSum(),
			PositiveSpans: pushSpans(h.GetPositiveSpan()), PositiveBuckets: slices.Clone(h.GetPositiveCount()),
			NegativeSpans: pushSpans(h.GetNegativeSpan()), NegativeBuckets: slices.Clone(h.GetNegativeCount()),
		}
		if err = s.fh.Validate(); err == nil {
			err = fit(&sinkHistogram{fh: s.fh})
		}
		return s, err
	}
	s.h = &histogram.Histogram{
		CounterResetHint: hint, Schema: h.GetSchema(), ZeroThreshold: h.GetZeroThreshold(), ZeroCount: h.GetZeroCount(),
		Count: h.GetSampleCount(), Sum: h.GetSampleSum(),
		PositiveSpans: pushSpans(h.GetPositiveSpan()), PositiveBuckets: slices.Clone(h.GetPositiveDelta()),
		NegativeSpans: pushSpans(h.GetNegativeSpan()), NegativeBuckets: slices.Clone(h.GetNegativeDelta()),
	}
	if err = s.h.Validate(); err == nil {
		err = fit(&sinkHistogram{h: s.h})
	}
	return s, err
}

// pushSpans leaves out a span at zero without buckets, which only marks.
func pushSpans(in []*dto.BucketSpan) (out []histogram.Span) {
	for _, s := range in {
		if s.GetOffset() != 0 || s.GetLength() != 0 {
			out = append(out, histogram.Span{Offset: s.GetOffset(), Length: s.GetLength()})
		}
	}
	return out
}

// add adds a series with the labels of the metric at hand and extra ones.
func (b *pushBuilder) add(s pushSeries, name string, extra ...string) error {
	b.sorted = append(append(b.sorted[:0], b.pairs...), pushLabel{labels.MetricName, name})
	for i := 0; i+1 < len(extra); i += 2 {
		b.sorted = append(b.sorted, pushLabel{extra[i], extra[i+1]})
	}
	slices.SortStableFunc(b.sorted, func(x, y pushLabel) int { return strings.Compare(x.name, y.name) })
	b.key = b.key[:0]
	for i, l := range b.sorted {
		if i > 0 && b.sorted[i-1].name == l.name {
			return record.Errorf(record.Invalid, "the group has the label %q, which its type gives its series", l.name)
		}
		if l.value == "" {
			continue
		}
		if len(b.key)+len(l.name)+len(l.value) > maxSeriesLabelBytes {
			return record.Errorf(record.Invalid, "the labels take more than %d bytes", maxSeriesLabelBytes)
		}
		b.key = appendSized(appendSized(b.key, l.name), l.value)
	}
	if b.seen[string(b.key)] {
		return errors.New("collected before with the same name and label values")
	}
	if b.room--; b.room < 0 {
		return errPushRoom
	}
	if b.bytes -= len(b.key); b.bytes < 0 {
		return errPushRoom
	}
	s.key = string(b.key)
	b.seen[s.key] = true
	b.series = append(b.series, s)
	return nil
}
