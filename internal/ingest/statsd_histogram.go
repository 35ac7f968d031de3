package ingest

import (
	"math"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
)

// statsdHist counts the values of one timer since the series began, in the
// buckets of a native histogram. Its zero value is not ready; see newStatsdHist.
type statsdHist struct {
	schema   int32
	count    uint64
	zero     uint64
	sum      float64
	carry    float64 // the share of an event that sample rates still owe; below 1
	pos, neg []statsdBucket
}

// statsdBucket is a bucket with something in it; they are held in the order of
// their indexes.
type statsdBucket struct {
	index int32
	n     uint64
}

const (
	statsdSchema = 3 // a bucket is 9 % wider than the one before
	// statsdMinSchema has buckets that grow by 65,536: never more than 264.
	statsdMinSchema = -4
	// statsdMaxBuckets are held at the finer schemas; one more halves the resolution.
	statsdMaxBuckets = 160
	// statsdZero is the threshold of the zero bucket, 2^-128 as in Prometheus' own clients.
	statsdZero = 1.0 / (1 << 64) / (1 << 64)
)

// statsdBounds are the upper bounds of the eight buckets between 0.5 and 1.
var statsdBounds = func() (b [1 << statsdSchema]float64) {
	for i := range b {
		b[i] = math.Exp2(float64(i)/float64(len(b)) - 1)
	}
	return b
}()

func newStatsdHist() *statsdHist { return &statsdHist{schema: statsdSchema} }

// add counts v, which was seen 1/rate times. A native histogram counts in whole
// numbers, so what is left of a fraction is kept for the next value.
func (h *statsdHist) add(v, rate float64) *statsdFault {
	n, carry := uint64(1), h.carry
	if rate < 1 {
		w := 1/rate + carry
		n = uint64(w + 1e-9) // 1/rate of 0.1 and the like is not exact
		carry = max(w-float64(n), 0)
	}
	sum := h.sum + v*float64(n)
	if math.IsInf(sum, 0) {
		return statsdOverflow
	}
	h.count += n
	h.sum, h.carry = sum, carry
	switch {
	case math.Abs(v) <= statsdZero:
		h.zero += n
		return nil
	case v > 0:
		h.pos = h.into(h.pos, v, n)
	default:
		h.neg = h.into(h.neg, -v, n)
	}
	for len(h.pos)+len(h.neg) > statsdMaxBuckets && h.schema > statsdMinSchema {
		h.schema--
		h.pos, h.neg = statsdCoarser(h.pos), statsdCoarser(h.neg)
	}
	return nil
}

func (h *statsdHist) into(side []statsdBucket, v float64, n uint64) []statsdBucket {
	frac, exp := math.Frexp(v)
	index := int32(sort.SearchFloat64s(statsdBounds[:], frac) + (exp-1)*len(statsdBounds))
	index = (index-1)>>(statsdSchema-h.schema) + 1
	at, ok := slices.BinarySearchFunc(side, index, func(b statsdBucket, i int32) int { return int(b.index) - int(i) })
	if ok {
		side[at].n += n
		return side
	}
	return slices.Insert(side, at, statsdBucket{index, n})
}

// statsdCoarser joins two buckets each, in place.
func statsdCoarser(side []statsdBucket) []statsdBucket {
	out := side[:0]
	for _, b := range side {
		b.index = (b.index-1)>>1 + 1
		if last := len(out) - 1; last >= 0 && out[last].index == b.index {
			out[last].n += b.n
		} else {
			out = append(out, b)
		}
	}
	return out
}

// native is the histogram as the store takes it; nothing of h is shared.
func (h *statsdHist) native() *histogram.Histogram {
	out := &histogram.Histogram{Schema: h.schema, ZeroThreshold: statsdZero, ZeroCount: h.zero, Count: h.count, Sum: h.sum}
	out.PositiveSpans, out.PositiveBuckets = statsdSpans(h.pos)
	out.NegativeSpans, out.NegativeBuckets = statsdSpans(h.neg)
	return out
}

// statsdSpans writes buckets as spans and differences. A gap of one or two empty
// buckets costs less than a new span.
func statsdSpans(side []statsdBucket) (spans []histogram.Span, deltas []int64) {
	if len(side) == 0 {
		return nil, nil
	}
	deltas = make([]int64, 0, len(side)+len(side)/4)
	var next int32
	var last int64
	for i, b := range side {
		gap := b.index - next
		if i == 0 || gap > 2 {
			spans = append(spans, histogram.Span{Offset: gap})
			gap = 0
		}
		s := &spans[len(spans)-1]
		for ; gap > 0; gap-- {
			deltas = append(deltas, -last)
			last = 0
			s.Length++
		}
		deltas = append(deltas, int64(b.n)-last)
		last = int64(b.n)
		s.Length++
		next = b.index + 1
	}
	return spans, deltas
}
