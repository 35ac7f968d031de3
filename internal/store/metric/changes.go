package metric

import (
	"math"
	"slices"
	"sync"
	"time"
)

// changes tells from which time on the samples have changed since a moment, so
// that what was computed of older ones may be kept. Safe for concurrent use.
type changes struct {
	mu  sync.Mutex
	seq uint64
	// log has, for growing seq, the earliest time that this change or a later one
	// touched, in whole minutes: it grows too, or the entry would say nothing.
	log []change
	// forgotten is the newest seq that the log does not tell of any more.
	forgotten uint64
}

type change struct {
	seq    uint64
	minute int64
}

// keptChanges bounds the log: minutes of ordinary writing.
const keptChanges = 48 * 60

// note says that samples from t on, Unix milliseconds, have changed. The change
// must be visible to readers already.
func (c *changes) note(t int64) {
	minute := floorMinute(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	n := len(c.log)
	for n > 0 && c.log[n-1].minute >= minute {
		n--
	}
	c.log = append(c.log[:n], change{c.seq, minute})
	if len(c.log) > keptChanges {
		c.forgotten = c.log[len(c.log)-keptChanges/2-1].seq
		c.log = slices.Clone(c.log[len(c.log)-keptChanges/2:])
	}
}

func floorMinute(ms int64) int64 {
	m := ms / time.Minute.Milliseconds()
	if ms%time.Minute.Milliseconds() < 0 {
		m--
	}
	return m
}

// Moment returns the present moment for ChangedSince. What is read after it was
// returned holds every change before it.
func (s *Store) Moment() uint64 {
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	return s.changes.seq
}

// ChangedSince returns the time, Unix milliseconds, before which no sample was
// written or deleted since the moment; math.MaxInt64 when nothing was at all and
// math.MinInt64 when it is not known.
func (s *Store) ChangedSince(moment uint64) int64 {
	c := &s.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	if moment < c.forgotten {
		return math.MinInt64
	}
	i, _ := slices.BinarySearchFunc(c.log, moment+1, func(x change, seq uint64) int {
		switch {
		case x.seq < seq:
			return -1
		case x.seq > seq:
			return 1
		}
		return 0
	})
	if i == len(c.log) {
		return math.MaxInt64
	}
	return c.log[i].minute * time.Minute.Milliseconds()
}
