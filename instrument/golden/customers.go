package golden

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vedette-sre/vedette/instrument"
)

const (
	rest        = "other"          // the customer of those without series
	reviewEvery = 10 * time.Second // who has series
	halfLife    = 5 * time.Minute  // of the weights
	standStill  = 10 * time.Minute // of series whose customer lost its place
	incumbent   = 1.25             // how much heavier another must be
	roomFactor  = 8                // names in a sketch for each place
)

// customers decides which customers of a Stage have series. Its rules stand there.
type customers struct {
	s     *Stage
	k     int
	other *customer
	begun time.Time
	due   atomic.Int64 // the next review, in nanoseconds after begun

	// live are those with series, by name. A map that is in it does not change.
	live atomic.Pointer[map[string]*customer]

	mu sync.Mutex // of all below, and of who changes live
	// had are those who lost their place, by name: their series stand still.
	had              map[string]*customer
	largest, failing int     // places taken
	volume, failures *sketch // of those without a place
	reviewed         time.Time
}

// place is why a customer has series.
type place uint8

const (
	isLargest place = iota + 1
	isFailing
)

// customer is the series of one customer.
type customer struct {
	s         *Stage
	name      string
	in, out   *instrument.Counter
	duration  *instrument.Timer
	failed    reasons
	ins       atomic.Uint64 // messages in and failures: in and failed may be shared
	fails     atomic.Uint64 // with others, when the registry is full
	isRemoved atomic.Bool   // what ends now counts to "other"

	// Of customers.mu.
	place                      place
	volume, failures           float64 // weights at the last review
	insReviewed, failsReviewed uint64
	lostAt                     time.Time
}

func newCustomers(s *Stage, k int) *customers {
	cs := &customers{
		s: s, k: k, begun: time.Now(), reviewed: time.Now(),
		had:    map[string]*customer{},
		volume: newSketch(roomFactor * k), failures: newSketch(roomFactor * k),
	}
	cs.other = cs.make(rest)
	cs.live.Store(&map[string]*customer{})
	cs.due.Store(int64(reviewEvery))
	return cs
}

func (cs *customers) make(name string) *customer {
	name = strings.Clone(name)
	m, tags := cs.s.m, cs.tags(name)
	c := &customer{
		s: cs.s, name: name,
		in:       m.Counter("stage.customer.in", tags...),
		out:      m.Counter("stage.customer.out", tags...),
		duration: m.Timer("stage.customer.duration", tags...),
	}
	c.failed.New = countReasons(m, "stage.customer.failed", tags)
	return c
}

func (cs *customers) tags(name string) []string { return tagged(cs.s.tags, "customer", name) }

// remove ends the series.
func (cs *customers) remove(c *customer) {
	c.isRemoved.Store(true)
	m, tags := cs.s.m, cs.tags(c.name)
	m.Remove("stage.customer.in", tags...)
	m.Remove("stage.customer.out", tags...)
	m.Remove("stage.customer.duration", tags...)
	c.failed.Each(func(reason string, _ *instrument.Counter) {
		m.Remove("stage.customer.failed", tagged(tags, "reason", reason)...)
	})
}

// orOther is c, or "other" when c's series have been removed.
func (c *customer) orOther() *customer {
	if c.isRemoved.Load() {
		return c.s.customers.other
	}
	return c
}

// of returns the series to which n messages of a customer count that come in.
func (cs *customers) of(name string, n uint64, now time.Time) *customer {
	cs.reviewIfDue(now)
	c := (*cs.live.Load())[name]
	if c == nil {
		c = cs.without(name, float64(n), &cs.largest, isLargest, cs.volume)
	}
	c.ins.Add(n)
	return c
}

// fails returns the series to which n failures count, c being those that the
// messages counted to.
func (cs *customers) fails(c *customer, name string, n uint64) *customer {
	if c == cs.other { // it may have a place by now
		if c = (*cs.live.Load())[name]; c == nil {
			c = cs.without(name, float64(n), &cs.failing, isFailing, cs.failures)
		}
	}
	c.fails.Add(n)
	return c
}

// without gives a place to one that has none, if any is left, and weighs it if not.
func (cs *customers) without(name string, weight float64, taken *int, why place, s *sketch) *customer {
	if name == "" || name == rest {
		return cs.other
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	live := *cs.live.Load()
	if c := live[name]; c != nil {
		return c
	}
	if *taken == cs.k {
		s.add(name, weight)
		return cs.other
	}
	*taken++
	next := maps.Clone(live)
	c := cs.admit(name)
	c.place = why
	next[c.name] = c
	cs.live.Store(&next)
	return c
}

// admit makes the customer one with series again, or for the first time.
func (cs *customers) admit(name string) *customer {
	c := cs.had[name]
	if c == nil {
		c = cs.make(name)
	} else {
		delete(cs.had, name)
	}
	c.insReviewed, c.failsReviewed = c.ins.Load(), c.fails.Load()
	c.volume, c.failures = cs.volume.take(name), cs.failures.take(name)
	return c
}

func (cs *customers) reviewIfDue(now time.Time) {
	due := func() bool { return int64(now.Sub(cs.begun)) >= cs.due.Load() }
	if !due() || !cs.mu.TryLock() {
		return
	}
	defer cs.mu.Unlock()
	if due() {
		cs.due.Store(int64(now.Sub(cs.begun) + reviewEvery))
		cs.review(now)
	}
}

// candidate is a customer at a review. The scores are its weights, more of who has
// the place.
type candidate struct {
	name             string
	c                *customer // nil without series
	volume, failures float64
	place            place
}

// review gives the places anew. mu must be held.
func (cs *customers) review(now time.Time) {
	fade := math.Exp2(-float64(now.Sub(cs.reviewed)) / float64(halfLife))
	cs.reviewed = now
	cs.volume.fade(fade)
	cs.failures.fade(fade)
	for name, c := range cs.had {
		if now.Sub(c.lostAt) >= standStill {
			cs.remove(c)
			delete(cs.had, name)
		}
	}
	live := *cs.live.Load()
	for _, c := range live {
		ins, fails := c.ins.Load(), c.fails.Load()
		c.volume = c.volume*fade + float64(ins-c.insReviewed)
		c.failures = c.failures*fade + float64(fails-c.failsReviewed)
		c.insReviewed, c.failsReviewed = ins, fails
	}

	all := cs.candidates(live)
	cs.choose(all)
	losing := 0
	for _, n := range all {
		if n.c != nil && n.place == 0 {
			losing++
		}
	}
	if len(cs.had)+losing > 2*cs.k {
		return // the bound on series: who has a place keeps it for now
	}
	next := make(map[string]*customer, 2*cs.k)
	cs.largest, cs.failing = 0, 0
	for _, n := range all { // first who goes: who comes may take their room in the sketches
		if n.c != nil && n.place == 0 {
			n.c.place, n.c.lostAt = 0, now
			cs.had[n.name] = n.c
			cs.volume.add(n.name, n.c.volume)
			if n.c.failures > 0 {
				cs.failures.add(n.name, n.c.failures)
			}
		}
	}
	for _, n := range all {
		switch n.place {
		case 0:
			continue
		case isLargest:
			cs.largest++
		case isFailing:
			cs.failing++
		}
		if n.c == nil {
			n.c = cs.admit(n.name)
		}
		n.c.place = n.place
		next[n.c.name] = n.c
	}
	cs.live.Store(&next)
}

// candidates are all who may have a place, with their scores.
func (cs *customers) candidates(live map[string]*customer) []*candidate {
	byName := make(map[string]*candidate, len(live)+len(cs.volume.light)+len(cs.failures.light))
	for name, c := range live {
		n := &candidate{name: name, c: c, volume: c.volume, failures: c.failures}
		switch c.place {
		case isLargest:
			n.volume *= incumbent
		case isFailing:
			n.failures *= incumbent
		}
		byName[name] = n
	}
	of := func(name string) *candidate {
		if byName[name] == nil {
			byName[name] = &candidate{name: name}
		}
		return byName[name]
	}
	for _, h := range cs.volume.light {
		of(h.name).volume = h.least()
	}
	for _, h := range cs.failures.light {
		of(h.name).failures = h.least()
	}
	return slices.Collect(maps.Values(byName))
}

// choose gives places: k to the largest, then k to those of the others that fail
// most. Who has one loses it to a heavier one alone.
func (cs *customers) choose(all []*candidate) {
	pick := func(why place, score func(*candidate) float64) {
		has := func(n *candidate) bool { return n.c != nil && n.c.place == why }
		slices.SortFunc(all, func(a, b *candidate) int {
			if c := cmp.Compare(score(b), score(a)); c != 0 || has(a) == has(b) {
				return cmp.Or(c, strings.Compare(a.name, b.name))
			}
			if has(a) {
				return -1
			}
			return 1
		})
		left := cs.k
		for _, n := range all {
			if left > 0 && n.place == 0 && (score(n) > 0 || has(n)) {
				n.place = why
				left--
			}
		}
	}
	pick(isLargest, func(n *candidate) float64 { return n.volume })
	pick(isFailing, func(n *candidate) float64 { return n.failures })
}
