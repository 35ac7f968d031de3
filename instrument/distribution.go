package instrument

import "math"

// The layout of buckets is that of HDR histograms on the bits of a float64: an
// octave, from one power of two to the next, has 64 buckets of the same width.
const (
	subBits     = 6
	subBuckets  = 1 << subBits
	minExponent = -40 // 2^-40 is 0.9e-12: less counts as zero
	maxExponent = 63  // 2^64 is 1.8e19: more counts in the last bucket
	octaves     = maxExponent - minExponent + 1
)

// RelativeError bounds how far a quantile of a Distribution is from the value
// that was observed, as a part of that value.
const RelativeError = 1.0 / (2 * subBuckets)

// bucketOf returns the octave and the bucket in it of a value that is at least
// 2^minExponent.
func bucketOf(v float64) (octave, sub int) {
	bits := math.Float64bits(v)
	octave = int(bits>>52) - 1023 - minExponent
	if octave >= octaves {
		return octaves - 1, subBuckets - 1
	}
	return octave, int(bits >> (52 - subBits) & (subBuckets - 1))
}

// smallest is the least value that has a bucket.
var smallest = math.Ldexp(1, minExponent)

// Bucket is the count of observations between two bounds.
type Bucket struct {
	Index int32 // see Bounds
	Count uint64
}

// Bounds are the bounds of the bucket: lo is in it, hi is in the next.
func (b Bucket) Bounds() (lo, hi float64) {
	exp := int(b.Index>>subBits) + minExponent
	sub := float64(b.Index & (subBuckets - 1))
	return math.Ldexp(1+sub/subBuckets, exp), math.Ldexp(1+(sub+1)/subBuckets, exp)
}

// Distribution is what a Histogram has seen. Count, Sum, Min and Max are exact;
// the buckets hold each observation to RelativeError. The zero value is empty.
type Distribution struct {
	Count    uint64
	Sum      float64
	Min, Max float64  // 0 when Count is 0
	Zero     uint64   // observations nearer to zero than 2^-40
	Positive []Bucket // by index, none empty
	Negative []Bucket // of the absolute values, by index
}

// Mean is the exact mean, or 0 of nothing.
func (d *Distribution) Mean() float64 {
	if d.Count == 0 {
		return 0
	}
	return d.Sum / float64(d.Count)
}

// Quantile returns the value that a part q (0 to 1) of the observations do not
// exceed, to RelativeError, and 0 of nothing. Quantile(0) and Quantile(1) are
// Min and Max.
func (d *Distribution) Quantile(q float64) float64 {
	switch {
	case d.Count == 0:
		return 0
	case q <= 0:
		return d.Min
	case q >= 1:
		return d.Max
	}
	rank := uint64(math.Ceil(q * float64(d.Count)))
	var found float64
	d.Each(func(lo, hi float64, n uint64) bool {
		if n >= rank {
			found = lo + (hi-lo)/2
			return false
		}
		rank -= n
		found = hi
		return true
	})
	return min(max(found, d.Min), d.Max)
}

// Each calls f with each bucket that is not empty, in ascending order, until f
// returns false. The bucket of zero has equal bounds.
func (d *Distribution) Each(f func(lo, hi float64, n uint64) bool) {
	for i := len(d.Negative) - 1; i >= 0; i-- {
		lo, hi := d.Negative[i].Bounds()
		if !f(-hi, -lo, d.Negative[i].Count) {
			return
		}
	}
	if d.Zero > 0 && !f(0, 0, d.Zero) {
		return
	}
	for _, b := range d.Positive {
		lo, hi := b.Bounds()
		if !f(lo, hi, b.Count) {
			return
		}
	}
}

// Merge adds the observations of o.
func (d *Distribution) Merge(o *Distribution) {
	if o.Count == 0 {
		return
	}
	if d.Count == 0 {
		d.Min, d.Max = o.Min, o.Max
	} else {
		d.Min, d.Max = min(d.Min, o.Min), max(d.Max, o.Max)
	}
	d.Count += o.Count
	d.Sum += o.Sum
	d.Zero += o.Zero
	d.Positive = mergeBuckets(d.Positive, o.Positive, func(a, b uint64) uint64 { return a + b })
	d.Negative = mergeBuckets(d.Negative, o.Negative, func(a, b uint64) uint64 { return a + b })
}

// Since returns the observations that d has and the earlier state o of the same
// histogram has not. Its Min and Max are those of its buckets, because the exact
// ones of an interval are not known.
func (d *Distribution) Since(o *Distribution) Distribution {
	less := func(a, b uint64) uint64 { return a - min(a, b) }
	out := Distribution{
		Sum: d.Sum - o.Sum, Zero: less(d.Zero, o.Zero),
		Positive: mergeBuckets(d.Positive, o.Positive, less), Negative: mergeBuckets(d.Negative, o.Negative, less),
	}
	first := true
	out.Each(func(lo, hi float64, n uint64) bool {
		if first {
			out.Min, first = max(lo, d.Min), false
		}
		out.Max = min(hi, d.Max)
		out.Count += n
		return true
	})
	return out
}

func mergeBuckets(a, b []Bucket, join func(a, b uint64) uint64) []Bucket {
	out := make([]Bucket, 0, max(len(a), len(b)))
	add := func(i int32, x, y uint64) {
		if n := join(x, y); n > 0 {
			out = append(out, Bucket{i, n})
		}
	}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Index < b[0].Index:
			add(a[0].Index, a[0].Count, 0)
			a = a[1:]
		case len(a) == 0 || b[0].Index < a[0].Index:
			add(b[0].Index, 0, b[0].Count)
			b = b[1:]
		default:
			add(a[0].Index, a[0].Count, b[0].Count)
			a, b = a[1:], b[1:]
		}
	}
	return out
}

// Exponential is one side of a distribution in the buckets of Prometheus native
// histograms and of OpenTelemetry exponential histograms: Counts[i] lies in
// (base^(Offset+i), base^(Offset+i+1)] with base = 2^(2^-scale).
type Exponential struct {
	Offset int32
	Counts []uint64
}

// Exponential lays the observations into exponential buckets of a scale from -4
// to 5. Each bucket of d goes whole to where its middle lies.
func (d *Distribution) Exponential(scale int) (zero uint64, positive, negative Exponential) {
	scale = min(max(scale, -4), 5)
	side := func(bs []Bucket) (e Exponential) {
		at := int32(math.MinInt32)
		for _, b := range bs {
			lo, hi := b.Bounds()
			i := int32(math.Ceil(math.Ldexp(math.Log2(lo+(hi-lo)/2), scale))) - 1
			if len(e.Counts) == 0 {
				e.Offset, at = i, i-1
			}
			for ; at < i; at++ {
				e.Counts = append(e.Counts, 0)
			}
			e.Counts[len(e.Counts)-1] += b.Count
		}
		return e
	}
	return d.Zero, side(d.Positive), side(d.Negative)
}

// AtMost counts, for each of the bounds in ascending order, the observations
// that do not exceed it, to RelativeError: the buckets of a classic Prometheus
// histogram.
func (d *Distribution) AtMost(bounds []float64) []uint64 {
	out := make([]uint64, len(bounds))
	i, sum := 0, uint64(0)
	d.Each(func(lo, hi float64, n uint64) bool {
		for i < len(bounds) && bounds[i] < lo+(hi-lo)/2 {
			out[i] = sum
			i++
		}
		sum += n
		return true
	})
	for ; i < len(bounds); i++ {
		out[i] = sum
	}
	for i, b := range bounds {
		switch { // what the extremes tell is exact
		case b >= d.Max:
			out[i] = d.Count
		case b < d.Min:
			out[i] = 0
		}
	}
	return out
}
