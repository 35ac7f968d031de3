package instrument

import (
	"math"
	"sync/atomic"
)

// line keeps an instrument on a cache line of its own: two hot counters on one
// line would slow each other down.
type line [56]byte

// Counter counts what only grows. Safe for concurrent use; the zero value is
// ready.
type Counter struct {
	n atomic.Uint64
	_ line
}

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Value is the sum so far.
func (c *Counter) Value() uint64 { return c.n.Load() }

// Gauge is a value that goes up and down. Safe for concurrent use; the zero
// value is ready and is 0.
type Gauge struct {
	bits atomic.Uint64
	_    line
}

// Set makes v the value.
func (g *Gauge) Set(v float64) { g.bits.Store(math.Float64bits(v)) }

// Add adds v, which may be negative.
func (g *Gauge) Add(v float64) { addFloat(&g.bits, v) }

// Inc adds one.
func (g *Gauge) Inc() { g.Add(1) }

// Dec takes one away.
func (g *Gauge) Dec() { g.Add(-1) }

// Value is the present value.
func (g *Gauge) Value() float64 { return math.Float64frombits(g.bits.Load()) }

func addFloat(bits *atomic.Uint64, v float64) {
	for {
		old := bits.Load()
		if bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}
