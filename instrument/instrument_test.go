package instrument_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vedette-sre/vedette/instrument"
)

// text renders a snapshot, a line a series.
func text(s *instrument.Snapshot) string {
	var b strings.Builder
	for _, m := range s.Metrics {
		for _, x := range m.Series {
			fmt.Fprintf(&b, "%s %s", m.Kind, m.Name)
			for _, t := range x.Tags {
				fmt.Fprintf(&b, " %s=%s", t.Key, t.Value)
			}
			fmt.Fprintf(&b, " %v\n", x.Value)
		}
	}
	return b.String()
}

func TestSnapshot(t *testing.T) {
	m := instrument.New(instrument.Config{Service: "shop", Node: "a", Version: "1.2", Tags: map[string]string{"team": "pay", "": "x", "gone": ""}})
	defer m.Close()
	m.Counter("c").Inc()
	m.Counter("c").Add(2)
	m.Counter("c", "z", "1", "a", "2").Inc()
	m.Counter("c", "a", "2", "z", "1").Inc() // the same series
	m.Counter("c", "service", "mine", "odd").Inc()
	m.Gauge("g").Set(1.5)
	m.Gauge("g").Add(-0.5)
	m.Gauge("g").Inc()
	m.Gauge("g").Dec()
	m.GaugeFunc("f", func() float64 { return 7 })
	m.GaugeFunc("f", func() float64 { return 8 })
	m.CounterFunc("cf", func() float64 { return 9 }, "k", "v")
	m.Meter("m").Mark(4)
	m.Histogram("h").Observe(10)
	m.Timer("t").Record(time.Second)
	m.Describe("h", "bytes", "sizes of things")
	m.Describe("nothing", "1", "has no series")
	m.Counter("gone").Inc()
	m.Remove("gone")
	s := m.Snapshot()
	want := `counter c node=a odd=missing service=mine team=pay version=1.2 1
counter c a=2 node=a service=shop team=pay version=1.2 z=1 2
counter c node=a service=shop team=pay version=1.2 3
counter cf k=v node=a service=shop team=pay version=1.2 9
gauge f node=a service=shop team=pay version=1.2 8
gauge g node=a service=shop team=pay version=1.2 1
histogram h node=a service=shop team=pay version=1.2 1
meter m node=a service=shop team=pay version=1.2 4
timer t node=a service=shop team=pay version=1.2 1
`
	lines := func(s string) []string { l := strings.Split(s, "\n"); sort.Strings(l); return l }
	if got := text(s); !slices.Equal(lines(got), lines(want)) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, x := range s.Metrics {
		switch x.Name {
		case "h":
			if x.Unit != "bytes" || x.Help != "sizes of things" {
				t.Errorf("h is described as %q, %q", x.Unit, x.Help)
			}
		case "t":
			if x.Unit != "seconds" || x.Series[0].Distribution.Sum != 1 {
				t.Errorf("the timer: %q, %+v", x.Unit, x.Series[0].Distribution)
			}
		}
	}
}

func TestConflict(t *testing.T) {
	m := instrument.New(instrument.Config{})
	m.Counter("x").Inc()
	m.Gauge("x").Set(5) // works, and goes nowhere
	m.GaugeFunc("x", func() float64 { return 1 })
	m.GaugeVec("x", "k").With("v").Set(1)
	m.GaugeFunc("f", func() float64 { return 1 })
	m.Gauge("f").Set(2)
	if m.Conflicts() != 4 {
		t.Errorf("%d conflicts, want 4", m.Conflicts())
	}
	if got, want := text(m.Snapshot()), "gauge f 1\ncounter instrument.conflicts 4\ncounter x 1\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOverflow(t *testing.T) {
	m := instrument.New(instrument.Config{MaxSeries: 2})
	v := m.CounterVec("v", "customer")
	for i := range 10 {
		v.With(fmt.Sprint("c", i)).Inc()
		v.With(fmt.Sprint("c", i)).Inc()
		m.Counter("v", "customer", fmt.Sprint("c", i)).Inc()
	}
	if got, want := text(m.Snapshot()), "counter v customer=c0 3\ncounter v customer=c1 3\ncounter v overflow=true 24\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	v.Delete("c0")
	v.With("c9").Inc()
	v.With("c8").Inc()
	if got, want := text(m.Snapshot()), "counter v customer=c1 3\ncounter v customer=c9 1\ncounter v overflow=true 25\n"; got != want {
		t.Errorf("after one left: got\n%s\nwant\n%s", got, want)
	}
}

func TestVec(t *testing.T) {
	m := instrument.New(instrument.Config{MaxSeries: 5000})
	v := m.CounterVec("v", "a", "b")
	v.With("1", "2").Inc()
	v.With("1").Inc()
	v.With("1", "2", "3").Inc()
	v.With("12", "").Inc()
	v.With("", "12").Inc()
	m.Counter("v", "b", "2", "a", "1").Inc()
	want := "counter v a= b=12 1\ncounter v a=1 b=2 3\ncounter v a=1 b=missing 1\ncounter v a=12 b= 1\n"
	if got := text(m.Snapshot()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for i := range 3000 {
		v.With("n", fmt.Sprint(i)).Inc()
	}
	for i := range 3000 {
		if n := v.With("n", fmt.Sprint(i)).Value(); n != 1 {
			t.Fatalf("%d is %d", i, n)
		}
	}
	m.TimerVec("t", "k").With("v").Record(1)
	m.MeterVec("m", "k").With("v").Mark(1)
	m.HistogramVec("h", "k").With("v").Observe(1)
	m.GaugeVec("g", "k").With("v").Set(1)
}

func TestConcurrent(t *testing.T) {
	m := instrument.New(instrument.Config{})
	defer m.Close()
	v, h, tm, g := m.CounterVec("v", "k"), m.Histogram("h"), m.Timer("t"), m.Gauge("g")
	const workers, rounds = 8, 2000
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range rounds {
				v.With(fmt.Sprint(i % 50)).Inc()
				h.Observe(float64(r.IntN(2000) - 1000))
				tm.Record(time.Duration(r.IntN(1e9)))
				g.Add(1)
				if i%500 == 0 {
					m.Snapshot()
				}
			}
		})
	}
	wg.Wait()
	var sum uint64
	for i := range 50 {
		sum += v.With(fmt.Sprint(i)).Value()
	}
	d, td := h.Distribution(), tm.Distribution()
	if sum != workers*rounds || d.Count != sum || td.Count != sum || g.Value() != float64(sum) {
		t.Errorf("counter %d, histogram %d, timer %d, gauge %v; want %d", sum, d.Count, td.Count, g.Value(), workers*rounds)
	}
}

func TestDistribution(t *testing.T) {
	f := func(name string, next func(*rand.Rand) float64) {
		t.Helper()
		r := rand.New(rand.NewPCG(7, 7))
		var h instrument.Histogram
		vs := make([]float64, 20000)
		var sum float64
		for i := range vs {
			vs[i] = next(r)
			sum += vs[i]
			h.Observe(vs[i])
		}
		slices.Sort(vs)
		d := h.Distribution()
		if d.Count != uint64(len(vs)) || d.Sum != sum || d.Min != vs[0] || d.Max != vs[len(vs)-1] || d.Mean() != sum/float64(len(vs)) {
			t.Errorf("%s: count %d sum %v (%v) min %v (%v) max %v (%v)", name, d.Count, d.Sum, sum, d.Min, vs[0], d.Max, vs[len(vs)-1])
		}
		for _, q := range []float64{0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1} {
			want := vs[max(int(math.Ceil(q*float64(len(vs))))-1, 0)]
			if got := d.Quantile(q); math.Abs(got-want) > math.Abs(want)*instrument.RelativeError+1e-12 {
				t.Errorf("%s: quantile %v is %v, want %v", name, q, got, want)
			}
		}
	}
	f("uniform", func(r *rand.Rand) float64 { return r.Float64() })
	f("latencies", func(r *rand.Rand) float64 { return math.Exp(r.NormFloat64() - 5) })
	f("both sides", func(r *rand.Rand) float64 { return r.NormFloat64() * 1e6 })
	f("nothing but zero", func(*rand.Rand) float64 { return 0 })
	f("one value", func(*rand.Rand) float64 { return 42.42 })
	f("whole numbers", func(r *rand.Rand) float64 { return float64(r.IntN(100)) })
	f("tiny", func(r *rand.Rand) float64 { return r.Float64() * 1e-9 })
	f("huge", func(r *rand.Rand) float64 { return r.Float64() * 1e18 })

	var h instrument.Histogram
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		h.Observe(v)
	}
	if d := h.Distribution(); d.Count != 0 || d.Min != 0 || d.Quantile(0.5) != 0 || d.Mean() != 0 || h.Invalid() != 3 {
		t.Errorf("of nothing valid: %+v, %d invalid", d, h.Invalid())
	}
	h.Observe(math.MaxFloat64)
	h.Observe(math.SmallestNonzeroFloat64)
	if d := h.Distribution(); d.Count != 2 || d.Min != math.SmallestNonzeroFloat64 || d.Max != math.MaxFloat64 || d.Zero != 1 {
		t.Errorf("the extremes of floats: %+v", d)
	}
}

func TestMergeAndSince(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	var a, b, both instrument.Histogram
	for range 5000 {
		x, y := r.NormFloat64()*100, r.ExpFloat64()
		a.Observe(x)
		b.Observe(y)
	}
	before := a.Distribution()
	merged := a.Distribution()
	bd := b.Distribution()
	merged.Merge(&bd)
	r = rand.New(rand.NewPCG(3, 3))
	for range 5000 {
		both.Observe(r.NormFloat64() * 100)
		both.Observe(r.ExpFloat64())
	}
	want := both.Distribution()
	if merged.Count != want.Count || merged.Min != want.Min || merged.Max != want.Max || !slices.Equal(merged.Positive, want.Positive) || !slices.Equal(merged.Negative, want.Negative) {
		t.Error("the merge of two is not the one of both")
	}
	var empty instrument.Distribution
	empty.Merge(&want)
	if empty.Min != want.Min || empty.Count != want.Count {
		t.Error("merged into nothing")
	}
	a.Observe(3)
	a.Observe(5)
	after := a.Distribution()
	d := after.Since(&before)
	if d.Count != 2 || math.Abs(d.Sum-8) > 1e-6 || d.Min > 3 || d.Max < 5 || d.Max > 5.1 || d.Min < 2.9 {
		t.Errorf("since: %+v", d)
	}
}

func TestBuckets(t *testing.T) {
	var h instrument.Histogram
	for _, v := range []float64{-2, 0, 0.5, 1, 1.5, 3, 100} {
		h.Observe(v)
	}
	d := h.Distribution()
	if got, want := fmt.Sprint(d.AtMost([]float64{-3, -1, 0, 0.6, 2, 1000})), "[0 1 2 3 5 7]"; got != want {
		t.Errorf("at most: %s, want %s", got, want)
	}
	for scale := -4; scale <= 5; scale++ {
		zero, pos, neg := d.Exponential(scale)
		sum := zero
		base := math.Pow(2, math.Pow(2, float64(-scale)))
		for i, n := range pos.Counts {
			lo := math.Pow(base, float64(int(pos.Offset)+i))
			if n > 0 && d.AtMost([]float64{lo * 0.96})[0] == d.AtMost([]float64{lo * base * 1.04})[0] {
				t.Errorf("scale %d: %d observations in (%v, %v], where there are none", scale, n, lo, lo*base)
			}
			sum += n
		}
		for _, n := range neg.Counts {
			sum += n
		}
		if sum != d.Count {
			t.Errorf("scale %d: %d of %d observations", scale, sum, d.Count)
		}
	}
}

// The rates are those of the load average: after a minute of 10 a second from
// rest they are there at once, and a minute after the end about a third is left.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := instrument.New(instrument.Config{})
		defer m.Close()
		mt, tm := m.Meter("m"), m.Timer("t")
		for range 600 {
			mt.Mark(1)
			tm.Record(time.Millisecond)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Millisecond)
		near := func(what string, got, want float64) {
			t.Helper()
			if math.Abs(got-want) > want*0.02 {
				t.Errorf("%s is %v, want %v", what, got, want)
			}
		}
		r := mt.Rates()
		near("one minute", r.M1, 10)
		near("five minutes", r.M5, 10)
		near("fifteen minutes", r.M15, 10)
		near("mean", r.Mean, 10)
		near("of the timer", tm.Rates().M1, 10)
		time.Sleep(time.Minute)
		r = mt.Rates()
		near("one minute later", r.M1, 10*math.Exp(-1))
		near("five minutes later", r.M5, 10*math.Exp(-0.2))
		near("mean later", r.Mean, 5)
		m.Close()
		time.Sleep(time.Minute)
		near("after the close", mt.Rates().M1, 10*math.Exp(-1))
	})
}

func TestStopwatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := instrument.New(instrument.Config{})
		defer m.Close()
		tm := m.Timer("t")
		func() {
			defer tm.Start().Stop()
			time.Sleep(3 * time.Second)
		}()
		begin := time.Now()
		time.Sleep(time.Second)
		tm.Since(begin)
		tm.Record(-time.Second)
		if d := tm.Distribution(); d.Count != 3 || d.Sum != 4 || d.Max != 3 || d.Min != 0 {
			t.Errorf("%+v", d)
		}
	})
}

// TestNoAllocation holds the hot path to its promise.
func TestNoAllocation(t *testing.T) {
	m := instrument.New(instrument.Config{MaxSeries: 2})
	defer m.Close()
	c, g, mt, h, tm, v := m.Counter("c"), m.Gauge("g"), m.Meter("m"), m.Histogram("h"), m.Timer("t"), m.CounterVec("v", "method", "code")
	v.With("GET", "200")
	v.With("PUT", "200")
	v.With("too", "many")
	h.Observe(1.5)
	tm.Record(time.Millisecond)
	f := func(name string, run func()) {
		t.Helper()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	method, code := string([]byte("GET")), string([]byte("200"))
	f("Counter.Inc", c.Inc)
	f("Gauge.Set", func() { g.Set(1) })
	f("Gauge.Add", func() { g.Add(1) })
	f("Meter.Mark", func() { mt.Mark(1) })
	f("Histogram.Observe", func() { h.Observe(1.5) })
	f("Timer.Record", func() { tm.Record(time.Millisecond) })
	f("Timer.Start", func() { tm.Start().Stop() })
	f("Vec.With", func() { v.With(method, code).Inc() })
	f("Vec.With of an overflow", func() { v.With(code, method).Inc() })
}

func FuzzHistogram(f *testing.F) {
	f.Add(1.0, -1.0, 0.5)
	f.Add(math.NaN(), math.Inf(1), 5e-324)
	f.Fuzz(func(t *testing.T, a, b, q float64) {
		var h instrument.Histogram
		h.Observe(a)
		h.Observe(b)
		d := h.Distribution()
		if d.Count+h.Invalid() != 2 {
			t.Fatalf("%d and %d invalid of 2", d.Count, h.Invalid())
		}
		if got := d.Quantile(q); d.Count > 0 && (got < d.Min || got > d.Max) {
			t.Fatalf("quantile %v of %v and %v is %v", q, a, b, got)
		}
		d.Exponential(4)
		d.AtMost([]float64{a, b})
	})
}

func Example() {
	m := instrument.New(instrument.Config{Service: "checkout"})
	defer m.Close()
	m.Counter("orders.placed", "country", "de").Inc()

	requests := m.TimerVec("http.request", "route")
	requests.With("/pay").Record(20 * time.Millisecond)
	requests.With("/pay").Record(40 * time.Millisecond)

	for _, metric := range m.Snapshot().Metrics {
		for _, s := range metric.Series {
			fmt.Println(metric.Name, s.Tags, s.Value)
		}
	}
	// Output:
	// http.request [{route /pay} {service checkout}] 2
	// orders.placed [{country de} {service checkout}] 1
}
