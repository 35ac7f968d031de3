package instrument

import (
	"math"
	"sync/atomic"
	"time"
)

// page is the counts of one octave.
type page [subBuckets]atomic.Uint64

// side is the buckets of the positive or of the negative values. A page is made
// when its octave is first seen.
type side [octaves]atomic.Pointer[page]

func (s *side) inc(v float64) {
	octave, sub := bucketOf(v)
	p := s[octave].Load()
	if p == nil {
		p = new(page)
		if !s[octave].CompareAndSwap(nil, p) {
			p = s[octave].Load()
		}
	}
	p[sub].Add(1)
}

func (s *side) buckets(out []Bucket) ([]Bucket, uint64) {
	var total uint64
	for o := range s {
		p := s[o].Load()
		if p == nil {
			continue
		}
		for i := range p {
			if n := p[i].Load(); n > 0 {
				out = append(out, Bucket{int32(o<<subBits | i), n})
				total += n
			}
		}
	}
	return out, total
}

func (s *side) count() (total uint64) {
	for o := range s {
		if p := s[o].Load(); p != nil {
			for i := range p {
				total += p[i].Load()
			}
		}
	}
	return total
}

// Histogram keeps the distribution of values, such as sizes. Safe for concurrent
// use; the zero value is ready.
type Histogram struct {
	sum      atomic.Uint64 // float bits
	min, max atomic.Uint64 // float bits, of values shifted by seen
	seen     atomic.Bool
	zero     atomic.Uint64
	invalid  atomic.Uint64
	positive side
	negative atomic.Pointer[side] // few have one
}

// Observe takes in a value. NaN and the infinities are counted as invalid and
// are not part of the distribution.
func (h *Histogram) Observe(v float64) {
	if v-v != 0 { // NaN or infinite
		h.invalid.Add(1)
		return
	}
	h.bucket(v)
	addFloat(&h.sum, v)
}

// bucket counts v and moves the extremes.
func (h *Histogram) bucket(v float64) {
	if !h.seen.Load() {
		// The first value: both extremes start beyond all values.
		h.min.CompareAndSwap(0, math.Float64bits(math.Inf(1)))
		h.max.CompareAndSwap(0, math.Float64bits(math.Inf(-1)))
		h.seen.Store(true)
	}
	for old := h.min.Load(); v < math.Float64frombits(old) && !h.min.CompareAndSwap(old, minBits(v)); {
		old = h.min.Load()
	}
	for old := h.max.Load(); v > math.Float64frombits(old) && !h.max.CompareAndSwap(old, minBits(v)); {
		old = h.max.Load()
	}
	switch {
	case v >= smallest:
		h.positive.inc(v)
	case v > -smallest:
		h.zero.Add(1)
	default:
		n := h.negative.Load()
		if n == nil {
			n = new(side)
			if !h.negative.CompareAndSwap(nil, n) {
				n = h.negative.Load()
			}
		}
		n.inc(-v)
	}
}

// minBits are the bits of v; those of 0 mean "nothing yet", so that zero is kept
// as minus zero, which compares the same.
func minBits(v float64) uint64 {
	if v == 0 {
		v = math.Copysign(0, -1)
	}
	return math.Float64bits(v)
}

// Distribution is what was observed so far. Observations that come meanwhile may
// be in its sum and not in its buckets, or the other way round.
func (h *Histogram) Distribution() Distribution {
	d := Distribution{Sum: math.Float64frombits(h.sum.Load()), Zero: h.zero.Load()}
	h.fill(&d)
	return d
}

func (h *Histogram) fill(d *Distribution) {
	var n uint64
	d.Positive, d.Count = h.positive.buckets(nil)
	if neg := h.negative.Load(); neg != nil {
		d.Negative, n = neg.buckets(nil)
	}
	d.Count += n + d.Zero
	if d.Count > 0 {
		// Plus zero takes the sign off a minus zero.
		d.Min, d.Max = math.Float64frombits(h.min.Load())+0, math.Float64frombits(h.max.Load())+0
	}
}

// Invalid is how many values were NaN or infinite.
func (h *Histogram) Invalid() uint64 { return h.invalid.Load() }

func (h *Histogram) count() uint64 {
	n := h.zero.Load() + h.positive.count()
	if neg := h.negative.Load(); neg != nil {
		n += neg.count()
	}
	return n
}

// Timer keeps the distribution of durations and their rate. Its unit in a
// Snapshot is the second. Safe for concurrent use. Get one from a Registry, whose
// clock moves the rates.
type Timer struct {
	nanos atomic.Int64 // the sum: an integer needs no loop
	h     Histogram
	rates
}

// Record takes in a duration; one below zero, which a clock that was set back
// makes, counts as zero.
func (t *Timer) Record(d time.Duration) {
	d = max(d, 0)
	t.h.bucket(float64(d) / 1e9)
	t.nanos.Add(int64(d))
}

// Since records the time since start.
func (t *Timer) Since(start time.Time) { t.Record(time.Since(start)) }

// Start begins a measurement that Stop ends:
//
//	defer t.Start().Stop()
func (t *Timer) Start() Stopwatch { return Stopwatch{t, time.Now()} }

// Stopwatch is a measurement under way.
type Stopwatch struct {
	t     *Timer
	start time.Time
}

// Stop records the time since Start and returns it.
func (s Stopwatch) Stop() time.Duration {
	d := time.Since(s.start)
	s.t.Record(d)
	return d
}

// Distribution is what was recorded so far, in seconds.
func (t *Timer) Distribution() Distribution {
	d := Distribution{Sum: float64(t.nanos.Load()) / 1e9, Zero: t.h.zero.Load()}
	t.h.fill(&d)
	return d
}

// Count is how many durations were recorded.
func (t *Timer) Count() uint64 { return t.h.count() }

// Rates are how many were recorded per second.
func (t *Timer) Rates() Rates { return t.at(t.h.count(), time.Now()) }

func (t *Timer) tick(seconds float64) { t.move(t.h.count(), seconds) }
