package ingest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// deltas sums up series of delta temporality: each point is added to what came
// before and stored as a cumulative one that began when the series was first
// seen. A point that is not newer than the last one is refused, because its part
// of the sum is stored already. A series that is silent for an hour, or that a
// restart forgot, begins anew, which readers see as the reset of a counter.
type deltas struct {
	max int

	mu     sync.Mutex
	series map[string]*deltaSeries
	swept  time.Time
}

// deltaExpire is when a silent series is forgotten.
const deltaExpire = time.Hour

// deltaSeries is what a series has come to. Of the three points the one of the
// metric's kind is set.
type deltaSeries struct {
	begun, last pcommon.Timestamp
	heard       time.Time
	number      pmetric.NumberDataPoint
	hist        pmetric.HistogramDataPoint
	exp         pmetric.ExponentialHistogramDataPoint
}

// deltaRound is one request: what it adds counts once it is stored.
type deltaRound struct {
	d     *deltas
	b     *Batch
	fresh map[string]*deltaSeries
	now   time.Time
}

func newDeltas(max int) *deltas { return &deltas{max: max, series: map[string]*deltaSeries{}} }

// begin waits for its turn; end ends it.
func (d *deltas) begin(b *Batch) *deltaRound {
	d.mu.Lock()
	now := time.Now()
	if now.Sub(d.swept) > time.Minute {
		d.swept = now
		for k, s := range d.series {
			if now.Sub(s.heard) > deltaExpire {
				delete(d.series, k)
			}
		}
	}
	return &deltaRound{d, b, map[string]*deltaSeries{}, now}
}

func (r *deltaRound) end() { r.d.mu.Unlock() }

// commit makes the sums of the round those in force.
func (r *deltaRound) commit() {
	for k, s := range r.fresh {
		r.d.series[k] = s
	}
}

// sum replaces the deltas of md by cumulative points; what cannot be added is
// taken out and refused.
func (r *deltaRound) sum(md pmetric.Metrics) {
	const whole = pmetric.AggregationTemporalityCumulative
	eachMetric(md, func(of string, m pmetric.Metric) {
		if temporality(m) != pmetric.AggregationTemporalityDelta {
			return
		}
		switch m.Type() {
		case pmetric.MetricTypeSum:
			m.Sum().SetAggregationTemporality(whole)
			m.Sum().DataPoints().RemoveIf(func(p pmetric.NumberDataPoint) bool {
				return r.point(of, m, p, p.Flags(), func(s *deltaSeries, first bool) {
					if !first {
						addNumber(p, s.number)
					}
					s.number = pmetric.NewNumberDataPoint()
					p.CopyTo(s.number)
				})
			})
		case pmetric.MetricTypeHistogram:
			m.Histogram().SetAggregationTemporality(whole)
			m.Histogram().DataPoints().RemoveIf(func(p pmetric.HistogramDataPoint) bool {
				return r.point(of, m, p, p.Flags(), func(s *deltaSeries, first bool) {
					if !first && !addHistogram(p, s.hist) {
						s.begun = p.StartTimestamp() // other buckets: another series of counts
					}
					s.hist = pmetric.NewHistogramDataPoint()
					p.CopyTo(s.hist)
				})
			})
		case pmetric.MetricTypeExponentialHistogram:
			m.ExponentialHistogram().SetAggregationTemporality(whole)
			m.ExponentialHistogram().DataPoints().RemoveIf(func(p pmetric.ExponentialHistogramDataPoint) bool {
				if err := sane(p); err != nil {
					r.b.Refuse(0, "invalid_histogram", fmt.Errorf("metric %s: %w", m.Name(), err))
					return true
				}
				return r.point(of, m, p, p.Flags(), func(s *deltaSeries, first bool) {
					if !first {
						addExponential(p, s.exp)
					}
					s.exp = pmetric.NewExponentialHistogramDataPoint()
					p.CopyTo(s.exp)
				})
			})
		}
	})
	// A metric whose points were all refused is not one without points.
	for i := range md.ResourceMetrics().Len() {
		sms := md.ResourceMetrics().At(i).ScopeMetrics()
		for j := range sms.Len() {
			sms.At(j).Metrics().RemoveIf(func(m pmetric.Metric) bool {
				switch m.Type() {
				case pmetric.MetricTypeSum:
					return m.Sum().DataPoints().Len() == 0
				case pmetric.MetricTypeHistogram:
					return m.Histogram().DataPoints().Len() == 0
				case pmetric.MetricTypeExponentialHistogram:
					return m.ExponentialHistogram().DataPoints().Len() == 0
				}
				return false
			})
		}
	}
}

// dataPoint is what the points of all kinds have.
type dataPoint interface {
	Attributes() pcommon.Map
	StartTimestamp() pcommon.Timestamp
	SetStartTimestamp(pcommon.Timestamp)
	Timestamp() pcommon.Timestamp
}

// point adds one point and reports whether it is to be taken out. add makes the
// point the sum of what came before and of itself, and keeps a copy.
func (r *deltaRound) point(of string, m pmetric.Metric, p dataPoint, f pmetric.DataPointFlags, add func(s *deltaSeries, first bool)) (out bool) {
	if f.NoRecordedValue() {
		return false
	}
	key := of + "\x00" + m.Name() + "\x00" + m.Type().String() + "\x00" + keyOf(p.Attributes())
	was := r.fresh[key]
	if was == nil {
		was = r.d.series[key]
	}
	s := &deltaSeries{begun: p.StartTimestamp(), last: p.Timestamp(), heard: r.now}
	switch {
	case was == nil && len(r.d.series)+len(r.fresh) >= r.d.max:
		r.b.Refuse(0, "max_delta_series", fmt.Errorf("metric %s: %d series of delta temporality are summed up already; send cumulative ones", m.Name(), r.d.max))
		return true
	case was != nil && p.Timestamp() <= was.last:
		r.b.Refuse(0, "out_of_order_delta", fmt.Errorf("metric %s: a delta of %s comes after one of %s", m.Name(), clock(p.Timestamp().AsTime().UnixMilli()), clock(was.last.AsTime().UnixMilli())))
		return true
	case was != nil:
		s.begun, s.number, s.hist, s.exp = was.begun, was.number, was.hist, was.exp
	case s.begun == 0:
		s.begun = p.Timestamp()
	}
	add(s, was == nil)
	p.SetStartTimestamp(s.begun)
	r.fresh[key] = s
	return false
}

func addNumber(p, was pmetric.NumberDataPoint) {
	if p.ValueType() == pmetric.NumberDataPointValueTypeInt && was.ValueType() == pmetric.NumberDataPointValueTypeInt {
		p.SetIntValue(p.IntValue() + was.IntValue())
		return
	}
	value := func(p pmetric.NumberDataPoint) float64 {
		if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
			return float64(p.IntValue())
		}
		return p.DoubleValue()
	}
	p.SetDoubleValue(value(p) + value(was))
}

// addHistogram reports whether both have the same buckets; else p is left alone.
func addHistogram(p, was pmetric.HistogramDataPoint) bool {
	if !slices.Equal(p.ExplicitBounds().AsRaw(), was.ExplicitBounds().AsRaw()) || p.BucketCounts().Len() != was.BucketCounts().Len() {
		return false
	}
	for i := range p.BucketCounts().Len() {
		p.BucketCounts().SetAt(i, p.BucketCounts().At(i)+was.BucketCounts().At(i))
	}
	p.SetCount(p.Count() + was.Count())
	if p.HasSum() && was.HasSum() {
		p.SetSum(p.Sum() + was.Sum())
	}
	p.RemoveMin() // those of one interval say nothing of all
	p.RemoveMax()
	return true
}

// maxExponentialBuckets is how many buckets a side of a sum has; a wider one is
// kept at a coarser scale.
const maxExponentialBuckets = 320

func addExponential(p, was pmetric.ExponentialHistogramDataPoint) {
	pos := [2]expBuckets{bucketsOf(p.Positive(), p.Scale()), bucketsOf(was.Positive(), was.Scale())}
	neg := [2]expBuckets{bucketsOf(p.Negative(), p.Scale()), bucketsOf(was.Negative(), was.Scale())}
	scale := min(p.Scale(), was.Scale())
	sumPos, sumNeg := sumBuckets(pos, scale), sumBuckets(neg, scale)
	for len(sumPos.counts) > maxExponentialBuckets || len(sumNeg.counts) > maxExponentialBuckets {
		scale--
		sumPos, sumNeg = sumPos.to(scale), sumNeg.to(scale)
	}
	p.SetScale(scale)
	sumPos.into(p.Positive())
	sumNeg.into(p.Negative())
	p.SetZeroCount(p.ZeroCount() + was.ZeroCount())
	p.SetZeroThreshold(max(p.ZeroThreshold(), was.ZeroThreshold()))
	p.SetCount(p.Count() + was.Count())
	if p.HasSum() && was.HasSum() {
		p.SetSum(p.Sum() + was.Sum())
	}
	p.RemoveMin()
	p.RemoveMax()
}

// sane refuses bucket numbers that the arithmetic here does not hold. At the
// finest scale a float64 has no bucket beyond 2^30.
func sane(p pmetric.ExponentialHistogramDataPoint) error {
	for _, b := range []pmetric.ExponentialHistogramDataPointBuckets{p.Positive(), p.Negative()} {
		if o, n := b.Offset(), b.BucketCounts().Len(); o < -maxBucket || o > maxBucket-1<<20 || n > 1<<20 {
			return fmt.Errorf("%d buckets from number %d on; want at most %d, with numbers below 2^30", n, o, 1<<20)
		}
	}
	if s := p.Scale(); s < -10 || s > 20 {
		return fmt.Errorf("the scale %d; want -10 to 20", s)
	}
	return nil
}

// expBuckets are the counts of one side, from offset on.
type expBuckets struct {
	scale, offset int32
	counts        []uint64
}

func bucketsOf(b pmetric.ExponentialHistogramDataPointBuckets, scale int32) expBuckets {
	return expBuckets{scale, b.Offset(), b.BucketCounts().AsRaw()}
}

func (e expBuckets) into(b pmetric.ExponentialHistogramDataPointBuckets) {
	b.SetOffset(e.offset)
	b.BucketCounts().FromRaw(e.counts)
}

// to lowers the scale: each bucket goes whole into the coarser one around it.
func (e expBuckets) to(scale int32) expBuckets {
	shift := uint(e.scale - scale)
	if shift == 0 || len(e.counts) == 0 {
		e.scale = scale
		return e
	}
	shift = min(shift, 31)
	first, last := e.offset>>shift, (e.offset+int32(len(e.counts))-1)>>shift
	out := expBuckets{scale, first, make([]uint64, last-first+1)}
	for i, n := range e.counts {
		out.counts[(e.offset+int32(i))>>shift-first] += n
	}
	return out
}

// sumBuckets adds two sides at a scale, or at a coarser one if they lie far
// apart.
func sumBuckets(b [2]expBuckets, scale int32) expBuckets {
	for {
		x, y := b[0].to(scale), b[1].to(scale)
		switch {
		case len(x.counts) == 0:
			return y
		case len(y.counts) == 0:
			return x
		}
		first := min(x.offset, y.offset)
		end := max(int64(x.offset)+int64(len(x.counts)), int64(y.offset)+int64(len(y.counts)))
		if end-int64(first) > 64*maxExponentialBuckets {
			scale--
			continue
		}
		out := expBuckets{scale, first, make([]uint64, end-int64(first))}
		for _, e := range []expBuckets{x, y} {
			for i, n := range e.counts {
				out.counts[e.offset-first+int32(i)] += n
			}
		}
		return out
	}
}

// eachMetric calls f with each metric and the key of its resource and scope.
func eachMetric(md pmetric.Metrics, f func(of string, m pmetric.Metric)) {
	for i := range md.ResourceMetrics().Len() {
		rm := md.ResourceMetrics().At(i)
		resource := keyOf(rm.Resource().Attributes())
		for j := range rm.ScopeMetrics().Len() {
			sm := rm.ScopeMetrics().At(j)
			of := resource + "\x00" + sm.Scope().Name() + "\x00" + sm.Scope().Version() + "\x00" + keyOf(sm.Scope().Attributes())
			for k := range sm.Metrics().Len() {
				f(of, sm.Metrics().At(k))
			}
		}
	}
}

// keyOf is the same for the same attributes in any order.
func keyOf(m pcommon.Map) string {
	kv := make([]string, 0, m.Len())
	for k, v := range m.All() {
		kv = append(kv, k+"\x01"+v.AsString())
	}
	slices.Sort(kv)
	return strings.Join(kv, "\x02")
}
