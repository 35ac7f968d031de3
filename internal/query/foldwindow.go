package query

import (
	"math"

	"github.com/prometheus/prometheus/util/kahansum"
)

// window is the samples of a series in (from, to]: those from index lo to before
// hi, at least one and none of them stale.
type window struct {
	*samples
	from, to int64 // Unix milliseconds
	lo, hi   int
	reset    int     // the index in resets of the first behind lo
	per      float64 // what growth is divided by

	last stretched
}

// overWindow are the functions of a window by their PromQL names; they tell
// whether the window has a value.
var overWindow = map[string]func(*window) (float64, bool){
	"rate":              (*window).increase,
	"increase":          (*window).increase,
	"delta":             (*window).delta,
	"irate":             func(w *window) (float64, bool) { return w.lastTwo(true) },
	"idelta":            func(w *window) (float64, bool) { return w.lastTwo(false) },
	"count_over_time":   func(w *window) (float64, bool) { return float64(w.hi - w.lo), true },
	"present_over_time": func(*window) (float64, bool) { return 1, true },
	"last_over_time":    func(w *window) (float64, bool) { return w.vs[w.hi-1], true },
	"max_over_time":     (*window).max,
	"min_over_time":     (*window).min,
	"sum_over_time":     (*window).sum,
	"avg_over_time":     (*window).mean,
	"changes":           (*window).changes,
	"resets": func(w *window) (float64, bool) {
		n := w.reset
		for n < len(w.resets) && int(w.resets[n]) < w.hi {
			n++
		}
		return float64(n - w.reset), true
	},
}

func (w *window) delta() (float64, bool) {
	if w.hi-w.lo < 2 {
		return 0, false
	}
	return (w.vs[w.hi-1] - w.vs[w.lo]) * w.stretch().factor, true
}

// increase is the growth of a counter: what fell was reset.
func (w *window) increase() (float64, bool) {
	if w.hi-w.lo < 2 {
		return 0, false
	}
	first := w.vs[w.lo]
	growth := w.vs[w.hi-1] - first
	for i := w.reset; i < len(w.resets) && int(w.resets[i]) < w.hi; i++ {
		growth += w.vs[w.resets[i]-1]
	}
	st := w.stretch()
	// A counter was not below zero: growth is not stretched beyond where it was 0.
	// With more than one step between, that is possible only below its own growth.
	if growth > 0 && first >= 0 && (first < growth || st.n == 1) {
		if zero := st.sampled * (first / growth); zero < st.toStart {
			return growth * ((st.sampled + zero + st.toEnd) / st.sampled / w.per), true
		}
	}
	return growth * st.factor, true
}

// stretched is how growth between samples is carried to the ends of the window.
type stretched struct {
	before, after, between int64 // the window's beginning to the first sample; the last one to its end; first to last
	n                      int   // steps between

	sampled, toStart, toEnd, factor float64
}

// stretch makes it, or takes that of the last window: with samples at a steady
// distance all are the same.
func (w *window) stretch() *stretched {
	st := &w.last
	first, last, n := w.ts[w.lo], w.ts[w.hi-1], w.hi-w.lo-1
	before, after, between := first-w.from, w.to-last, last-first
	if st.before == before && st.after == after && st.between == between && st.n == n {
		return st
	}
	st.before, st.after, st.between, st.n = before, after, between, n
	st.toStart, st.toEnd = float64(before)/1000, float64(after)/1000
	st.sampled = float64(between) / 1000
	mean := st.sampled / float64(n)
	// Up to 10 % more than the distance of samples is the jitter of a series that
	// goes on; more is its beginning or end, half a distance away.
	far := mean * 1.1
	if st.toStart >= far {
		st.toStart = mean / 2
	}
	if st.toEnd >= far {
		st.toEnd = mean / 2
	}
	st.factor = (st.sampled + st.toStart + st.toEnd) / st.sampled / w.per
	return st
}

func (w *window) lastTwo(rate bool) (float64, bool) {
	n := w.hi - 1
	if n == w.lo {
		return 0, false
	}
	v, between := w.vs[n], w.ts[n]-w.ts[n-1]
	if !rate || !(v < w.vs[n-1]) {
		v -= w.vs[n-1]
	}
	if rate {
		v /= float64(between) / 1000
	}
	return v, true
}

func (w *window) max() (float64, bool) {
	m := w.vs[w.lo]
	for _, v := range w.vs[w.lo:w.hi] {
		if v > m || math.IsNaN(m) {
			m = v
		}
	}
	return m, true
}

func (w *window) min() (float64, bool) {
	m := w.vs[w.lo]
	for _, v := range w.vs[w.lo:w.hi] {
		if v < m || math.IsNaN(m) {
			m = v
		}
	}
	return m, true
}

func (w *window) sum() (float64, bool) {
	var sum, c float64
	for _, v := range w.vs[w.lo:w.hi] {
		sum, c = kahansum.Inc(v, sum, c)
	}
	if math.IsInf(sum, 0) {
		return sum, true
	}
	return sum + c, true
}

func (w *window) mean() (float64, bool) {
	var a average
	for _, v := range w.vs[w.lo:w.hi] {
		a.add(v)
	}
	return a.value(), true
}

func (w *window) changes() (float64, bool) {
	n := 0
	for i := w.lo + 1; i < w.hi; i++ {
		if v, p := w.vs[i], w.vs[i-1]; v != p && !(math.IsNaN(v) && math.IsNaN(p)) {
			n++
		}
	}
	return float64(n), true
}

// average is the mean of numbers, which holds also where their sum would be too
// large. The zero value is of none.
type average struct {
	n, sum, c float64 // c is what the sum has lost to rounding
	large     bool    // sum is the mean
}

func (a *average) add(f float64) {
	a.n++
	if a.n == 1 {
		a.sum = f
		return
	}
	if !a.large {
		sum, c := kahansum.Inc(f, a.sum, a.c)
		if !math.IsInf(sum, 0) {
			a.sum, a.c = sum, c
			return
		}
		a.large = true
		a.sum /= a.n - 1
		a.c /= a.n - 1
	}
	q := (a.n - 1) / a.n
	a.sum, a.c = kahansum.Inc(f/a.n, q*a.sum, q*a.c)
}

func (a *average) value() float64 {
	if a.large {
		return a.sum + a.c
	}
	return a.sum/a.n + a.c/a.n
}
