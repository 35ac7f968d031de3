package probe

import (
	"container/heap"
	"hash/fnv"
	"reflect"
	"slices"
	"time"
)

// schedule decides which check runs when. It is pure: it starts nothing, holds
// no clock, and the caller holds a lock.
//
// A check is due at the instants that equal its phase modulo its interval; the
// phase is a hash of its id and the location, so that checks spread over the
// interval and keep their places over restarts. A new or changed check runs a
// first time soon, at firstRuns a second.
type schedule struct {
	location string
	free     int // workers without a run
	items    map[string]*item
	order    []string // ids as configured
	queue    timers   // by due time
	ready    []*item  // due and waiting for a worker, the longest waiting first
	calls    []*call  // runs asked for by hand
	skipped  [numSkips]int64
}

// skip is why a run did not start.
type skip int

const (
	skipBusy    skip = iota // the check's last run still goes
	skipWorkers             // no worker came free for a whole interval
	skipLate                // this process stood still over the due time
	numSkips
)

var skipNames = [numSkips]string{"busy", "workers", "late"}

// firstRuns is how many new checks a second begin.
const firstRuns = 100

// item is a check with its place in the schedule.
type item struct {
	p       *prepared
	index   int // in queue, -1 when paused
	due     time.Time
	aligned bool // due is of the check's phase
	want    time.Time
	waiting bool // in ready, since want
	running bool // one run at a time
	byHand  bool // the run was asked for by hand
	gone    bool // no longer configured
}

// call is a run asked for by hand; granted is closed when it may start.
type call struct {
	it      *item
	granted chan struct{}
}

func newSchedule(location string, workers int) *schedule {
	return &schedule{location: location, free: workers, items: map[string]*item{}}
}

// apply makes checks the ones that are scheduled. A check that did not change
// keeps its place; one that changed runs soon.
func (s *schedule) apply(checks []*prepared, now time.Time) {
	fresh := make(map[string]bool, len(checks))
	s.order = s.order[:0:0]
	var begin []*item
	for _, p := range checks {
		fresh[p.ID] = true
		s.order = append(s.order, p.ID)
		it := s.items[p.ID]
		if it == nil {
			it = &item{index: -1}
			s.items[p.ID] = it
		}
		old := it.p
		it.p = p
		switch {
		case p.Paused:
			s.unqueue(it)
		case it.index < 0 || !reflect.DeepEqual(old.Check, p.Check):
			begin = append(begin, it)
		}
	}
	for id, it := range s.items {
		if !fresh[id] {
			it.gone = true
			s.unqueue(it)
			delete(s.items, id)
		}
	}
	pace := time.Duration(len(begin)) * time.Second / firstRuns
	for _, it := range begin {
		s.begin(it, pace, now)
	}
}

// restart plans every check afresh.
func (s *schedule) restart(now time.Time) {
	pace := time.Duration(len(s.queue)) * time.Second / firstRuns
	for _, it := range slices.Clone(s.queue) {
		s.begin(it, pace, now)
	}
}

// allSkipped counts the runs that did not start.
func (s *schedule) allSkipped() (n int64) {
	for _, k := range s.skipped {
		n += k
	}
	return n
}

// begin plans the first run of a check.
func (s *schedule) begin(it *item, pace time.Duration, now time.Time) {
	every := it.p.Interval
	if pace < time.Second {
		pace = min(time.Second, every)
	}
	ph := phase(it.p.ID, s.location, every)
	it.due, it.aligned = nextDue(now, ph, every), true
	if pace < every {
		it.due, it.aligned = now.Add(time.Duration(float64(ph)/float64(every)*float64(pace))), false
	}
	if it.index < 0 {
		heap.Push(&s.queue, it)
		return
	}
	heap.Fix(&s.queue, it.index)
}

func (s *schedule) unqueue(it *item) {
	it.waiting = false // its entry in ready is dropped by take
	if it.index >= 0 {
		heap.Remove(&s.queue, it.index)
	}
}

// next returns when tick has work; ok is false when no check is scheduled.
func (s *schedule) next() (at time.Time, ok bool) {
	if len(s.queue) == 0 {
		return time.Time{}, false
	}
	return s.queue[0].due, true
}

// tick makes what is due ready to run and plans the runs after. A run that
// cannot start is counted, never forgotten.
func (s *schedule) tick(now time.Time) {
	for len(s.queue) > 0 && !s.queue[0].due.After(now) {
		it := s.queue[0]
		every := it.p.Interval
		missed := now.Sub(it.due) / every
		want := it.due.Add(missed * every)
		s.skipped[skipLate] += int64(missed)
		if it.aligned {
			it.due = want.Add(every)
		} else {
			// From the early first run to the check's own place: half an
			// interval at least, one and a half at most.
			it.due, it.aligned = nextDue(want.Add(every/2), phase(it.p.ID, s.location, every), every), true
		}
		heap.Fix(&s.queue, it.index)
		switch {
		case it.waiting:
			s.skipped[skipWorkers]++
		case it.running && !it.byHand:
			s.skipped[skipBusy]++
		default:
			it.waiting, it.want = true, want
			s.ready = append(s.ready, it)
		}
	}
}

// take hands out the runs that may start now; each holds a worker until done.
func (s *schedule) take() (start []*item) {
	keep := s.ready[:0]
	for i, it := range s.ready {
		if s.free == 0 {
			keep = append(keep, s.ready[i:]...)
			break
		}
		switch {
		case !it.waiting:
		case it.running:
			keep = append(keep, it)
		default:
			s.free--
			it.waiting, it.running = false, true
			start = append(start, it)
		}
	}
	clear(s.ready[len(keep):])
	s.ready = keep
	return start
}

// grant lets runs asked for by hand start: before the schedule's own, and one
// run of a check at a time all the same.
func (s *schedule) grant() {
	s.calls = slices.DeleteFunc(s.calls, func(c *call) bool {
		if s.free == 0 || c.it.running {
			return false
		}
		s.free--
		c.it.running, c.it.byHand = true, true
		close(c.granted)
		return true
	})
}

// done gives the worker of a run back.
func (s *schedule) done(it *item) {
	s.free++
	it.running, it.byHand = false, false
}

// phase is a check's place in its interval.
func phase(id, location string, every time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id + "\x00" + location)) // a hash never fails
	return time.Duration(mix(h.Sum64()) % uint64(every))
}

// nextDue is the first instant from t on that equals ph modulo every.
func nextDue(t time.Time, ph, every time.Duration) time.Time {
	since := (time.Duration(t.UnixNano()) - ph) % every
	if since < 0 {
		since += every
	}
	if since == 0 {
		return t
	}
	return t.Add(every - since)
}

// mix spreads FNV's low bits (the finaliser of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}

// timers is a heap by due time.
type timers []*item

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}
func (t *timers) Push(x any) {
	it := x.(*item)
	it.index = len(*t)
	*t = append(*t, it)
}
func (t *timers) Pop() any {
	old := *t
	it := old[len(old)-1]
	it.index = -1
	*t = slices.Delete(old, len(old)-1, len(old))
	return it
}
