package ingest

import (
	"cmp"
	"math"
	"slices"

	"github.com/VictoriaMetrics/easyproto"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
)

// otlpHist is a histogram with explicit bounds.
type otlpHist struct {
	count  uint64
	sum    float64
	hasSum bool
	counts []uint64 // of each bucket
	bounds []float64
}

// histogram adds a HistogramDataPoint.
func (w *otlpWork) histogram(src []byte) (err error) {
	h := &w.hist
	*h = otlpHist{counts: h.counts[:0], bounds: h.bounds[:0]}
	var fc easyproto.FieldContext
	var start, t, flags uint64
	for len(src) > 0 {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		ok := true
		switch fc.FieldNum {
		case otlpHistogramStart:
			start, ok = fc.Fixed64()
		case otlpHistogramTime:
			t, ok = fc.Fixed64()
		case otlpHistogramCount:
			h.count, ok = fc.Fixed64()
		case otlpHistogramSum:
			h.sum, ok = fc.Double()
			h.hasSum = true
		case otlpHistogramBuckets:
			if w.fits(&fc, len(h.counts), 8) {
				h.counts, ok = fc.UnpackFixed64s(h.counts)
			}
		case otlpHistogramBounds:
			if w.fits(&fc, len(h.bounds), 8) {
				h.bounds, ok = fc.UnpackDoubles(h.bounds)
			}
		case otlpHistogramAttributes:
			ok = w.attribute(&fc)
		case otlpHistogramExemplars:
			ok = w.exemplar(&fc)
		case otlpHistogramFlags:
			flags, ok = fc.Uint64()
		}
		if !ok {
			return errWire
		}
	}
	if bad := w.check(t); bad != nil {
		return bad
	}
	ms, stale := otlpMillis(t), flags&otlpNoRecordedValue != 0
	custom := w.names.cfg.ConvertHistogramsToNHCB
	hint := histogram.UnknownCounterReset
	if w.adding {
		if hint, err = w.addHistogram(start, t, h, stale, custom); err != nil {
			return err
		}
	}
	if custom {
		return w.customBuckets(h, ms, stale, hint)
	}
	return w.classic(h, ms, stale)
}

// fits notes when a repeated field of numbers, each of size bytes or more, would
// be longer than we take. have is how many there are already.
func (w *otlpWork) fits(fc *easyproto.FieldContext, have, size int) bool {
	n := 1
	if p, packed := fc.MessageData(); packed {
		n = len(p) / size
		if size == 1 { // varints: each ends with a byte below 128
			n = 0
			for _, c := range p {
				if c < 0x80 {
					n++
				}
			}
		}
	}
	if n += have; n > w.o.cfg.MaxBuckets && w.pointBad == nil {
		w.pointBad = refuseOTLP("too_many_buckets", "a histogram has %d buckets; at most %d are taken", n, w.o.cfg.MaxBuckets)
	}
	return n <= w.o.cfg.MaxBuckets
}

// classic adds a histogram as the series _sum, _count and _bucket.
func (w *otlpWork) classic(h *otlpHist, ms int64, stale bool) error {
	v := func(v float64) float64 {
		if stale {
			return staleNaN
		}
		return v
	}
	if h.hasSum {
		if err := w.add(otlpSumOf, 0, ms, v(h.sum)); err != nil {
			return err
		}
	}
	if err := w.add(otlpCountOf, 0, ms, v(float64(h.count))); err != nil {
		return err
	}
	var exemplars []exemplar.Exemplar
	if !stale {
		for _, p := range w.exemplars {
			e, ok, err := w.parseExemplar(p)
			if err != nil {
				return err
			}
			if ok {
				exemplars = append(exemplars, e)
			} else {
				w.b.Skip("exemplar")
			}
		}
		slices.SortStableFunc(exemplars, func(a, b exemplar.Exemplar) int { return cmp.Compare(a.Value, b.Value) })
	}
	var below uint64
	for i := range min(len(h.bounds), len(h.counts)) {
		below += h.counts[i]
		if err := w.add(otlpBucketOf, h.bounds[i], ms, v(float64(below))); err != nil {
			return err
		}
		for len(exemplars) > 0 && exemplars[0].Value <= h.bounds[i] {
			w.b.Exemplar(exemplars[0])
			exemplars = exemplars[1:]
		}
	}
	// The last bucket has all, whatever the buckets say.
	if err := w.add(otlpBucketOf, math.Inf(1), ms, v(float64(h.count))); err != nil {
		return err
	}
	for _, e := range exemplars {
		w.b.Exemplar(e)
	}
	return nil
}

// customBuckets adds a histogram as a native one with its own bounds.
func (w *otlpWork) customBuckets(h *otlpHist, ms int64, stale bool, hint histogram.CounterResetHint) error {
	n := &histogram.Histogram{
		CounterResetHint: hint,
		Schema:           histogram.CustomBucketsSchema,
		Count:            h.count,
		Sum:              h.sum,
		CustomValues:     slices.Clone(h.bounds),
	}
	if !stale {
		n.PositiveSpans, n.PositiveBuckets = otlpLayout(h.counts, 0, 0)
	}
	return w.native(n, ms, stale)
}

// native adds a native histogram as the series of the data point.
func (w *otlpWork) native(h *histogram.Histogram, ms int64, stale bool) error {
	if stale {
		h.Sum, h.Count = staleNaN, value.StaleNaN
	}
	if err := w.begin(otlpWhole, 0); err != nil {
		return err
	}
	w.b.Histogram(0, ms, h, nil)
	if stale {
		return nil
	}
	for _, p := range w.exemplars {
		if err := w.addExemplar(p); err != nil {
			return err
		}
	}
	return nil
}

// otlpExp is an exponential histogram.
type otlpExp struct {
	count, zero        uint64
	sum                float64
	scale              int32
	positive, negative otlpSide
}

type otlpSide struct {
	offset int32
	counts []uint64
}

// exponential adds an ExponentialHistogramDataPoint.
func (w *otlpWork) exponential(src []byte) (err error) {
	x := &w.exp
	*x = otlpExp{positive: otlpSide{counts: x.positive.counts[:0]}, negative: otlpSide{counts: x.negative.counts[:0]}}
	var fc easyproto.FieldContext
	var start, t, flags uint64
	for len(src) > 0 {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		ok := true
		switch fc.FieldNum {
		case otlpExpAttributes:
			ok = w.attribute(&fc)
		case otlpExpStart:
			start, ok = fc.Fixed64()
		case otlpExpTime:
			t, ok = fc.Fixed64()
		case otlpExpCount:
			x.count, ok = fc.Fixed64()
		case otlpExpSum:
			x.sum, ok = fc.Double()
		case otlpExpScale:
			x.scale, ok = fc.Sint32()
		case otlpExpZeroCount:
			x.zero, ok = fc.Fixed64()
		case otlpExpPositive:
			ok, err = w.side(&fc, &x.positive)
		case otlpExpNegative:
			ok, err = w.side(&fc, &x.negative)
		case otlpExpFlags:
			flags, ok = fc.Uint64()
		case otlpExpExemplars:
			ok = w.exemplar(&fc)
		}
		if err != nil {
			return err
		}
		if !ok {
			return errWire
		}
	}
	if bad := w.check(t); bad != nil {
		return bad
	}
	if x.scale < histogram.ExponentialSchemaMin {
		return refuseOTLP("scale", "an exponential histogram has the scale %d; at least %d is taken", x.scale, histogram.ExponentialSchemaMin)
	}
	stale := flags&otlpNoRecordedValue != 0
	h, bad := x.native()
	if bad != nil {
		return bad
	}
	if w.adding {
		if h, err = w.addExponential(start, t, h, stale); err != nil {
			return err
		}
	}
	return w.native(h, otlpMillis(t), stale)
}

// side reads the Buckets in fc. It may come in parts, which are one message.
func (w *otlpWork) side(fc *easyproto.FieldContext, s *otlpSide) (ok bool, err error) {
	src, ok := fc.MessageData()
	if !ok {
		return false, nil
	}
	var field easyproto.FieldContext
	for len(src) > 0 {
		if src, err = otlpNext(&field, src); err != nil {
			return false, err
		}
		ok := true
		switch field.FieldNum {
		case otlpBucketsOffset:
			s.offset, ok = field.Sint32()
		case otlpBucketsCounts:
			if w.fits(&field, len(s.counts), 1) {
				s.counts, ok = field.UnpackUint64s(s.counts)
			}
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// otlpZeroThreshold is the width of the bucket for zero, as Prometheus sets it
// for all exponential histograms.
const otlpZeroThreshold = 1e-128

// native makes a native histogram of x. Its resolution is at most the finest of
// native histograms.
func (x *otlpExp) native() (*histogram.Histogram, *otlpRefusal) {
	// 2^32 makes one bucket of all that offsets can say.
	down := min(max(0, x.scale-histogram.ExponentialSchemaMax), 32)
	h := &histogram.Histogram{
		Schema:        min(x.scale, histogram.ExponentialSchemaMax),
		ZeroThreshold: otlpZeroThreshold,
		ZeroCount:     x.zero,
		Count:         x.count,
		Sum:           x.sum,
	}
	for _, s := range []*otlpSide{&x.positive, &x.negative} {
		// One more, for native buckets are named by their upper bounds.
		first, last := int64(s.offset)>>down+1, (int64(s.offset)+int64(len(s.counts)))>>down+1
		if first < -maxBucket || last > maxBucket {
			return nil, refuseOTLP("invalid_histogram", "the offset %d of an exponential histogram is out of range", s.offset)
		}
	}
	h.PositiveSpans, h.PositiveBuckets = otlpLayout(x.positive.counts, int64(x.positive.offset)+1<<down, down)
	h.NegativeSpans, h.NegativeBuckets = otlpLayout(x.negative.counts, int64(x.negative.offset)+1<<down, down)
	return h, nil
}

// otlpLayout lays the counts of buckets, of which the first has the index first,
// out as native histograms have them: 2^down of them make one, and empty ones
// are left out, unless there are but a few between others.
func otlpLayout(counts []uint64, first int64, down int32) (spans []histogram.Span, deltas []int64) {
	const few = 2
	var next, before int64 // the index after the last bucket, and the count of that
	put := func(count int64) {
		spans[len(spans)-1].Length++
		deltas = append(deltas, count-before)
		before = count
	}
	for i := 0; i < len(counts); {
		at := (first + int64(i)) >> down
		count := uint64(0)
		for i < len(counts) && (first+int64(i))>>down == at {
			count += counts[i]
			i++
		}
		if count == 0 {
			continue
		}
		switch gap := at - next; {
		case len(spans) == 0:
			spans = append(spans, histogram.Span{Offset: int32(at)})
			deltas = make([]int64, 0, min(len(counts), 1+(len(counts)-i)>>min(down, 32)+1))
		case gap > few:
			spans = append(spans, histogram.Span{Offset: int32(gap)})
		default:
			for range gap {
				put(0)
			}
		}
		put(int64(count))
		next = at + 1
	}
	return spans, deltas
}
