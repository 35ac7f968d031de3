package notify

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// lane is one integration of one receiver: what is told there goes in turn.
type lane struct{ receiver, integration string }

// laneQueue orders the waiting rows of a lane. A row may be in it twice or not
// be pending any more; the claim in the database decides.
type laneQueue struct {
	rows  waiting
	busy  bool
	fails int       // attempts that failed since the last success
	pause time.Time // no attempt before: the receiver as a whole is down
}

type waitingRow struct {
	id   int64
	next time.Time
}

type waiting []waitingRow

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	if w[i].next.Equal(w[j].next) {
		return w[i].id < w[j].id
	}
	return w[i].next.Before(w[j].next)
}
func (w waiting) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)   { *w = append(*w, x.(waitingRow)) }
func (w *waiting) Pop() any {
	old := *w
	x := old[len(old)-1]
	*w = old[:len(old)-1]
	return x
}

// queue makes the row known to the workers.
func (o *outbox) queue(l lane, id int64, next time.Time) {
	o.mu.Lock()
	q := o.lanes[l]
	if q == nil {
		q = &laneQueue{}
		o.lanes[l] = q
	}
	heap.Push(&q.rows, waitingRow{id, next})
	o.mu.Unlock()
	o.poke()
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// next takes the row that is due longest from the lanes that are free and marks
// its lane busy. Without one it returns id 0 and how long nothing will be due.
func (o *outbox) next(now time.Time) (l lane, id int64, wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	wait = time.Hour
	var best *laneQueue
	for key, q := range o.lanes {
		if q.busy || len(q.rows) == 0 {
			continue
		}
		due := q.rows[0].next
		if q.pause.After(due) {
			due = q.pause
		}
		if d := due.Sub(now); d > 0 {
			wait = min(wait, d)
			continue
		}
		if best == nil || q.rows[0].next.Before(best.rows[0].next) {
			best, l = q, key
		}
	}
	if best == nil {
		return lane{}, 0, wait
	}
	best.busy = true
	return l, heap.Pop(&best.rows).(waitingRow).id, 0
}

// release frees the lane after an attempt. After a few failures in a row the
// receiver is taken to be down, and the whole lane waits: a thousand groups must
// not knock one after another on a closed door.
func (o *outbox) release(l lane, tried, failed bool) {
	o.mu.Lock()
	q := o.lanes[l]
	q.busy = false
	switch {
	case tried && failed:
		if q.fails++; q.fails >= 3 {
			q.pause = time.Now().Add(min(o.backoff(q.fails-2), 30*time.Second))
		}
	case tried:
		q.fails, q.pause = 0, time.Time{}
	}
	o.mu.Unlock()
	o.poke()
}

// backoff is the wait after the given number of tries: exponential, with full
// jitter above half the least wait.
func (o *outbox) backoff(tries int) time.Duration {
	limit := o.retryMax
	if shift := tries - 1; shift < 30 {
		limit = min(limit, o.retryMin<<shift)
	}
	low := min(o.retryMin/2, limit)
	return low + rand.N(limit-low+1)
}

// unpause lets the lane be tried at once.
func (o *outbox) unpause(l lane) {
	o.mu.Lock()
	o.lanes[l].pause = time.Time{}
	o.mu.Unlock()
	o.poke()
}
