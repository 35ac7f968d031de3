package ingest

import (
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
)

// otlpDeltas are the running sums of the series whose data points come with
// delta temporality. They are kept in shards by job and instance, so that the
// requests of different senders do not wait for each other.
type otlpDeltas struct {
	shards [otlpDeltaShards]otlpDeltaShard
	n      atomic.Int64 // states in all shards
	swept  atomic.Int64 // when idle ones were last looked for, in Unix seconds
}

const (
	otlpDeltaShards = 64
	// otlpDeltaIdle is how long a state is kept after its last data point.
	otlpDeltaIdle  = time.Hour
	otlpDeltaSweep = time.Minute
	// otlpDeltaBuckets is how many buckets the sum of exponential histograms may
	// have; beyond, its resolution is lowered.
	otlpDeltaBuckets = 320
)

type otlpDeltaShard struct {
	mu sync.Mutex
	m  map[otlpSeriesKey]*otlpDelta
}

// otlpSeriesKey names a series by the labels that the store has. A histogram in
// classic form goes by its _count.
type otlpSeriesKey struct {
	form   otlpForm
	series string
}

type otlpForm uint8

const (
	otlpNumberForm otlpForm = iota
	otlpBucketForm
	otlpNativeForm
)

type otlpDeltaKey struct {
	shard uint8
	otlpSeriesKey
}

// otlpDelta is what a series has come to. One that is in a shard is not changed;
// a request puts another in its place.
type otlpDelta struct {
	end  uint64    // of the last data point, in Unix nanoseconds
	seen time.Time // by our clock
	gone bool      // the series has ended: there is nothing to go on from

	v    float64
	hist otlpHist
	exp  *histogram.FloatHistogram
}

// otlpDeferred is a metric of delta temporality that waits for the locks.
type otlpDeferred struct {
	resource, scope []byte
	schemaURL       string
	metric          otlpMetric
}

// lock locks the shards of which the bit is set, and returns what unlocks them.
func (d *otlpDeltas) lock(shards uint64, now time.Time) (unlock func()) {
	d.sweep(now)
	// In order of their numbers, so that no two requests wait for each other.
	for left := shards; left != 0; left &= left - 1 {
		d.shards[bits.TrailingZeros64(left)].mu.Lock()
	}
	return func() {
		for left := shards; left != 0; left &= left - 1 {
			d.shards[bits.TrailingZeros64(left)].mu.Unlock()
		}
	}
}

// sweep forgets the states of series that nobody writes any more.
func (d *otlpDeltas) sweep(now time.Time) {
	last := d.swept.Load()
	if now.Unix() < last+int64(otlpDeltaSweep/time.Second) || !d.swept.CompareAndSwap(last, now.Unix()) {
		return
	}
	for i := range d.shards {
		sh := &d.shards[i]
		sh.mu.Lock()
		for k, s := range sh.m {
			if now.Sub(s.seen) >= otlpDeltaIdle {
				delete(sh.m, k)
				d.n.Add(-1)
			}
		}
		sh.mu.Unlock()
	}
}

// addDeltas walks the metrics that waited. The shards are locked.
func (w *otlpWork) addDeltas() error {
	w.adding = true
	for i := range w.deferred {
		d := &w.deferred[i]
		if err := w.beginResource(d.resource); err != nil {
			return err
		}
		if err := w.beginScope(d.scope, d.schemaURL); err != nil {
			return err
		}
		w.metric, w.metricBad = d.metric, nil
		if err := w.dataPoints(); err != nil {
			return err
		}
	}
	return nil
}

// settle puts the states as the request leaves them in the place of the old
// ones. It is called with the shards locked, once the request is stored.
func (w *otlpWork) settle() {
	d := &w.o.delta
	for k, s := range w.pending {
		sh := &d.shards[k.shard]
		_, known := sh.m[k.otlpSeriesKey]
		switch {
		case s.gone && known:
			delete(sh.m, k.otlpSeriesKey)
			d.n.Add(-1)
		case s.gone:
		default:
			if sh.m == nil {
				sh.m = map[otlpSeriesKey]*otlpDelta{}
			}
			sh.m[k.otlpSeriesKey] = s
			if !known {
				d.n.Add(1)
			}
		}
	}
}

// otlpStep is how a data point goes on from the state of its series.
type otlpStep struct {
	key  otlpDeltaKey
	old  *otlpDelta // nil when the point begins anew
	end  uint64
	now  time.Time
	zero int64 // where the counter stood at zero again, in Unix milliseconds; 0 for not known
}

// step finds the state of the series begun, and says why a data point from start
// to end cannot go on from it.
//
// The data model of OpenTelemetry ("Sums: Delta-to-Cumulative") wants a data
// point that does not begin where the last one ended to begin a new counter. The
// new one is at zero until then, which is what zero is for: its first data point
// may well be more than the old counter had, and nobody would see the reset.
func (w *otlpWork) step(form otlpForm, start, end uint64) (otlpStep, error) {
	st := otlpStep{end: end, now: w.now}
	b := w.b
	if newest := b.now.Add(b.s.cfg.MaxFuture).UnixMilli(); otlpMillis(end) > newest {
		// The store would refuse it, too; but the state would be in the future.
		return st, refuseOTLP("future", "data point at %s is more than %s ahead of this clock", clock(otlpMillis(end)), b.s.cfg.MaxFuture)
	}
	if b.Check() != nil {
		return st, &otlpRefusal{b.curCause, b.curErr}
	}
	st.key = otlpDeltaKey{w.shard, otlpSeriesKey{form, b.series[b.cur].key}}
	old, ok := w.pending[st.key]
	if !ok {
		old = w.o.delta.shards[w.shard].m[st.key.otlpSeriesKey]
		if old == nil {
			if w.o.delta.n.Load()+int64(w.fresh) >= int64(w.o.cfg.MaxDeltaSeries) {
				return st, refuseOTLP("delta_limit", "%d series of delta temporality are added up already; send cumulative temporality, or raise the limit", w.o.cfg.MaxDeltaSeries)
			}
		}
	}
	switch {
	case old == nil || old.gone:
		return st, nil
	case end <= old.end:
		return st, refuseOTLP("out_of_order_delta", "data point at %s is not after the last one, at %s; a delta cannot be added late", clock(otlpMillis(end)), clock(otlpMillis(old.end)))
	case start == 0 || start == old.end: // without a start, it is not known to leave a gap
		st.old = old
		return st, nil
	}
	if zero := otlpMillis(max(start, old.end)) + 1; zero < otlpMillis(end) {
		st.zero = zero
	}
	return st, nil
}

// keep makes s the state that the series goes on from, once the request is
// stored.
func (w *otlpWork) keep(st otlpStep, s *otlpDelta) {
	if w.pending == nil {
		w.pending = map[otlpDeltaKey]*otlpDelta{}
	}
	if _, again := w.pending[st.key]; !again && w.o.delta.shards[w.shard].m[st.key.otlpSeriesKey] == nil {
		w.fresh++
	}
	s.end, s.seen = st.end, st.now
	w.pending[st.key] = s
}

// addNumber returns what the series begun has come to with v.
func (w *otlpWork) addNumber(start, end uint64, v float64, stale bool) (float64, error) {
	st, err := w.step(otlpNumberForm, start, end)
	if err != nil {
		return 0, err
	}
	if stale {
		w.keep(st, &otlpDelta{gone: true})
		return 0, nil
	}
	if math.IsNaN(v) || math.IsInf(v, 0) || w.metric.monotonic && v < 0 {
		return 0, refuseOTLP("invalid_delta", "%v cannot be added to a sum", v)
	}
	if st.old != nil {
		v += st.old.v
	} else if st.zero != 0 && w.metric.monotonic {
		w.b.Point(0, st.zero, 0)
	}
	w.keep(st, &otlpDelta{v: v})
	return v, nil
}

// addHistogram makes h what its series has come to with it. The hint says of a
// native histogram that it begins anew.
func (w *otlpWork) addHistogram(start, end uint64, h *otlpHist, stale, custom bool) (histogram.CounterResetHint, error) {
	form, part := otlpBucketForm, otlpCountOf
	if custom {
		form, part = otlpNativeForm, otlpWhole
	}
	if err := w.begin(part, 0); err != nil {
		return 0, err
	}
	st, err := w.step(form, start, end)
	if err != nil {
		return 0, err
	}
	if stale {
		w.keep(st, &otlpDelta{gone: true})
		return histogram.UnknownCounterReset, nil
	}
	if math.IsNaN(h.sum) || math.IsInf(h.sum, 0) {
		return 0, refuseOTLP("invalid_delta", "%v cannot be added to the sum of a histogram", h.sum)
	}
	hint := histogram.UnknownCounterReset
	switch old := st.old; {
	case old != nil && slices.Equal(old.hist.bounds, h.bounds) && len(old.hist.counts) == len(h.counts):
		h.count += old.hist.count
		for i := range h.counts {
			h.counts[i] += old.hist.counts[i]
		}
		h.hasSum = h.hasSum && old.hist.hasSum
		h.sum += old.hist.sum
	case custom && (old != nil || st.zero != 0):
		hint = histogram.CounterReset
	case st.zero != 0:
		exemplars := w.exemplars
		w.exemplars = nil // they belong to the data point
		none := otlpHist{hasSum: h.hasSum, counts: make([]uint64, len(h.counts)), bounds: h.bounds}
		err := w.classic(&none, st.zero, false)
		w.exemplars = exemplars
		if err != nil {
			return 0, err
		}
	}
	kept := *h
	kept.counts, kept.bounds = slices.Clone(h.counts), slices.Clone(h.bounds)
	w.keep(st, &otlpDelta{hist: kept})
	return hint, nil
}

// addExponential returns what the series of h has come to with it.
func (w *otlpWork) addExponential(start, end uint64, h *histogram.Histogram, stale bool) (*histogram.Histogram, error) {
	if err := w.begin(otlpWhole, 0); err != nil {
		return nil, err
	}
	st, err := w.step(otlpNativeForm, start, end)
	if err != nil {
		return nil, err
	}
	if stale {
		w.keep(st, &otlpDelta{gone: true})
		return h, nil
	}
	if math.IsNaN(h.Sum) || math.IsInf(h.Sum, 0) {
		return nil, refuseOTLP("invalid_delta", "%v cannot be added to the sum of a histogram", h.Sum)
	}
	if err := h.Validate(); err != nil {
		return nil, refuseOTLP("invalid_histogram", "%w", err)
	}
	sum := h.ToFloat(nil)
	hint := histogram.UnknownCounterReset
	switch old := st.old; {
	case old != nil && old.exp != nil:
		// A buffer of its own, for what is in a shard stays as it is.
		total, _, _, err := old.exp.Copy().Add(sum)
		if err != nil {
			return nil, refuseOTLP("invalid_histogram", "%w", err)
		}
		sum = total
	case old != nil || st.zero != 0:
		hint = histogram.CounterReset
	}
	for len(sum.PositiveBuckets)+len(sum.NegativeBuckets) > otlpDeltaBuckets && sum.Schema > histogram.ExponentialSchemaMin {
		if err := sum.ReduceResolution(sum.Schema - 1); err != nil {
			return nil, refuseOTLP("invalid_histogram", "%w", err)
		}
	}
	w.keep(st, &otlpDelta{exp: sum})
	whole := wholeHistogram(sum)
	whole.CounterResetHint = hint
	return whole, nil
}

// wholeHistogram is a histogram of whole counts in integers.
func wholeHistogram(f *histogram.FloatHistogram) *histogram.Histogram {
	side := func(counts []float64) []int64 {
		deltas := make([]int64, len(counts))
		var before int64
		for i, c := range counts {
			deltas[i] = int64(c) - before
			before = int64(c)
		}
		return deltas
	}
	return &histogram.Histogram{
		Schema:          f.Schema,
		ZeroThreshold:   f.ZeroThreshold,
		ZeroCount:       uint64(f.ZeroCount),
		Count:           uint64(f.Count),
		Sum:             f.Sum,
		PositiveSpans:   slices.Clone(f.PositiveSpans),
		PositiveBuckets: side(f.PositiveBuckets),
		NegativeSpans:   slices.Clone(f.NegativeSpans),
		NegativeBuckets: side(f.NegativeBuckets),
	}
}
