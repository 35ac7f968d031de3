package instrument

import (
	"math"
	"sync/atomic"
	"time"
)

// Rates are events per second, as the load averages of Unix are: exponentially
// weighted over 1, 5 and 15 minutes, and the mean since the meter was made.
type Rates struct {
	M1, M5, M15, Mean float64
}

// Meter counts events and tells their rate. Safe for concurrent use. Get one
// from a Registry, whose clock moves the rates every five seconds.
type Meter struct {
	n atomic.Uint64
	_ line
	rates
}

// Mark counts n events.
func (m *Meter) Mark(n uint64) { m.n.Add(n) }

// Count is how many events there were.
func (m *Meter) Count() uint64 { return m.n.Load() }

// Rates are the present rates.
func (m *Meter) Rates() Rates { return m.at(m.n.Load(), time.Now()) }

func (m *Meter) tick(seconds float64) { m.move(m.n.Load(), seconds) }

// tickEvery is how often the rates move.
const tickEvery = 5 * time.Second

// rates are moved by the registry's clock alone and read by anyone.
type rates struct {
	begun   time.Time
	last    uint64
	started bool
	avg     [3]atomic.Uint64 // float bits of the rates over spans
}

var spans = [3]float64{60, 300, 900} // seconds

// move takes in the events since the last move.
func (r *rates) move(count uint64, seconds float64) {
	if seconds <= 0 {
		return
	}
	now := float64(count-r.last) / seconds
	r.last = count
	for i, span := range spans {
		if !r.started {
			r.avg[i].Store(math.Float64bits(now))
			continue
		}
		old := math.Float64frombits(r.avg[i].Load())
		r.avg[i].Store(math.Float64bits(old + (1-math.Exp(-seconds/span))*(now-old)))
	}
	r.started = true
}

func (r *rates) at(count uint64, now time.Time) Rates {
	out := Rates{
		M1:  math.Float64frombits(r.avg[0].Load()),
		M5:  math.Float64frombits(r.avg[1].Load()),
		M15: math.Float64frombits(r.avg[2].Load()),
	}
	if d := now.Sub(r.begun).Seconds(); d > 0 && !r.begun.IsZero() {
		out.Mean = float64(count) / d
	}
	return out
}
