package golden

import (
	"sync"
	"time"

	"github.com/vedette-sre/vedette/instrument"
)

// Queue measures a queue of any kind: a channel, a list, a table. What waits holds
// a Ticket:
//
//	q := golden.NewQueue(m, "orders", cap(orders))
//	orders <- item{order, q.Put()}
//	it := <-orders
//	it.ticket.Take()
//
// It exports, with the tag queue:
//
//   - queue.in, a meter: what came in;
//   - queue.wait.duration, a timer: how long what was taken had waited; its rate
//     is that of what goes out;
//   - queue.dropped, a counter: what left without being taken (Ticket.Drop), or
//     was not let in (Reject);
//   - the gauges queue.depth, queue.oldest.age in seconds, and, of a queue with a
//     capacity, queue.capacity and queue.saturation (depth as a part of capacity).
//
// Depth and age are exact at any time, in whatever order tickets are taken. Safe
// for concurrent use. It keeps 32 bytes for each ticket of the largest depth that it
// has seen.
type Queue struct {
	capacity int
	begun    time.Time
	in       *instrument.Meter
	wait     *instrument.Timer
	dropped  *instrument.Counter

	mu    sync.Mutex
	depth int
	// oldest and newest are the ends of the list of what waits, by age: tickets get
	// their time under mu, so that a new one is the youngest.
	oldest, newest *waiting
	free           *waiting // a list by younger
}

// waiting is one that waits. It belongs to Queue.mu.
type waiting struct {
	since          time.Duration // after Queue.begun
	older, younger *waiting
	turn           uint64 // counts the tickets that had this place
}

// Ticket is the place of one item in a Queue. The zero Ticket does nothing.
type Ticket struct {
	q    *Queue
	w    *waiting
	turn uint64
}

// NewQueue makes the instruments of a queue; a capacity of 0 is none. Each queue
// of a registry needs a name of its own, or other tags.
func NewQueue(m *instrument.Registry, name string, capacity int, tags ...string) *Queue {
	tags = tagged(tags, "queue", name)
	m.Describe("queue.in", "1", "What came into the queue.")
	m.Describe("queue.wait.duration", "seconds", "Time in the queue of what was taken out.")
	m.Describe("queue.dropped", "1", "What left the queue without being taken, or was not let in.")
	m.Describe("queue.depth", "1", "How much waits in the queue.")
	m.Describe("queue.oldest.age", "seconds", "How long the oldest has waited.")
	q := &Queue{
		capacity: capacity,
		begun:    time.Now(),
		in:       m.Meter("queue.in", tags...),
		wait:     m.Timer("queue.wait.duration", tags...),
		dropped:  m.Counter("queue.dropped", tags...),
	}
	m.GaugeFunc("queue.depth", func() float64 { depth, _, _ := q.State(); return float64(depth) }, tags...)
	m.GaugeFunc("queue.oldest.age", func() float64 { _, _, age := q.State(); return age.Seconds() }, tags...)
	if capacity > 0 {
		m.Describe("queue.capacity", "1", "How much can wait in the queue.")
		m.Describe("queue.saturation", "1", "How much waits as a part of the capacity.")
		m.Gauge("queue.capacity", tags...).Set(float64(capacity))
		m.GaugeFunc("queue.saturation", func() float64 {
			depth, _, _ := q.State()
			return float64(depth) / float64(capacity)
		}, tags...)
	}
	return q
}

// Put counts an item in. Call it before the item can be taken; one that waits to be
// let in then counts to the depth, which may exceed the capacity.
func (q *Queue) Put() Ticket {
	q.in.Mark(1)
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.free
	if w == nil {
		w = q.grow()
	}
	q.free = w.younger
	w.since, w.older, w.younger = time.Since(q.begun), q.newest, nil
	if q.newest == nil {
		q.oldest = w
	} else {
		q.newest.younger = w
	}
	q.newest = w
	q.depth++
	return Ticket{q, w, w.turn}
}

// grow makes a list of free places, several at once. mu must be held.
func (q *Queue) grow() *waiting {
	places := make([]waiting, 64)
	for i := range places[1:] {
		places[i].younger = &places[i+1]
	}
	return &places[0]
}

// Take counts the item out, to be worked on. Only the first Take or Drop of a
// ticket counts.
func (t Ticket) Take() {
	if waited, ok := t.leave(); ok {
		t.q.wait.Record(waited)
	}
}

// Drop counts the item out without its being worked on: it expired, or there was
// no room for it after all. It does not count in the time in the queue.
func (t Ticket) Drop() {
	if _, ok := t.leave(); ok {
		t.q.dropped.Inc()
	}
}

// leave takes the ticket off the list, if it is on it.
func (t Ticket) leave() (waited time.Duration, ok bool) {
	if t.q == nil {
		return 0, false
	}
	q, w := t.q, t.w
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.turn != t.turn {
		return 0, false // it has left
	}
	w.turn++
	if w.older == nil {
		q.oldest = w.younger
	} else {
		w.older.younger = w.younger
	}
	if w.younger == nil {
		q.newest = w.older
	} else {
		w.younger.older = w.older
	}
	w.older, w.younger = nil, q.free
	q.free = w
	q.depth--
	return time.Since(q.begun) - w.since, true
}

// Reject counts an item that was not let in, because the queue was full.
func (q *Queue) Reject() { q.dropped.Inc() }

// State is how much waits, how much can (0: no limit) and how long the oldest has
// waited (0 of an empty queue): what health.Health.Queue asks for.
func (q *Queue) State() (depth, capacity int, oldest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.oldest != nil {
		oldest = time.Since(q.begun) - q.oldest.since
	}
	return q.depth, q.capacity, oldest
}
