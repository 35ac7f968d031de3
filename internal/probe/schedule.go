package probe

import (
	"container/heap"
	"context"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Config is what a Prober is told. Zero means the default.
type Config struct {
	Checks   []Check
	Workers  int    // runs at once; default 64
	Location string // default "hub"
}

// Prober runs checks on their intervals. Safe for concurrent use.
type Prober struct {
	cfg  Config
	sink func(context.Context, Check, record.CheckResult)
	log  *slog.Logger

	slots   chan struct{}
	wake    chan struct{}
	runs    sync.WaitGroup
	running atomic.Int64
	skipped atomic.Int64
	lag     atomic.Int64 // of the last run, nanoseconds

	mu    sync.Mutex
	items map[string]*item
	order []string // ids as configured
	queue timers
}

// item is a check with its schedule.
type item struct {
	p     *prepared
	due   time.Time
	busy  bool // concurrency 1: a run that is still going is not run again
	gone  bool
	index int // in the heap
}

// New makes a prober; nothing runs before Run.
func New(cfg Config, sink func(context.Context, Check, record.CheckResult), log *slog.Logger) (*Prober, error) {
	if cfg.Workers == 0 {
		cfg.Workers = 64
	}
	if cfg.Location == "" {
		cfg.Location = "hub"
	}
	p := &Prober{cfg: cfg, sink: sink, log: log, slots: make(chan struct{}, cfg.Workers), wake: make(chan struct{}, 1), items: map[string]*item{}}
	return p, p.Apply(cfg.Checks)
}

// Apply makes checks the ones that run. Those that did not change keep their
// schedule.
func (p *Prober) Apply(checks []Check) error {
	fresh := make(map[string]*prepared, len(checks))
	order := make([]string, 0, len(checks))
	for _, c := range checks {
		if err := c.Validate(); err != nil {
			return record.Errorf(record.Invalid, "check %q: %w", c.Name, err)
		}
		pc, err := prepare(c)
		if err != nil {
			return record.Errorf(record.Invalid, "check %q: %w", c.Name, err)
		}
		fresh[c.ID] = pc
		order = append(order, c.ID)
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, it := range p.items {
		if fresh[id] == nil {
			p.remove(it)
			delete(p.items, id)
		}
	}
	for _, id := range order {
		pc, old := fresh[id], p.items[id]
		if old != nil && old.p.Interval == pc.Interval && old.p.Paused == pc.Paused {
			old.p = pc
			continue
		}
		if old != nil {
			p.remove(old)
		}
		it := &item{p: pc, index: -1}
		p.items[id] = it
		if !pc.Paused {
			it.due = firstDue(id, p.cfg.Location, pc.Interval, now)
			heap.Push(&p.queue, it)
		}
	}
	p.order = order
	p.nudge()
	return nil
}

func (p *Prober) remove(it *item) {
	it.gone = true
	if it.index >= 0 {
		heap.Remove(&p.queue, it.index)
	}
}

func (p *Prober) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// firstDue spreads checks over their interval by a hash, so that a thousand
// checks never start together; a check with a long interval runs the first time
// within ten seconds.
func firstDue(id, location string, interval time.Duration, now time.Time) time.Time {
	h := fnv.New64a()
	h.Write([]byte(id + "\x00" + location)) // a hash never fails
	span := min(interval, 10*time.Second)
	return now.Add(time.Duration(mix(h.Sum64()) % uint64(span)))
}

// mix spreads FNV's low bits (the finaliser of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return h
}

// Run schedules until ctx ends and waits for the runs under way.
func (p *Prober) Run(ctx context.Context) error {
	defer p.runs.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		p.mu.Lock()
		for len(p.queue) > 0 && !p.queue[0].due.After(now) {
			p.launch(ctx, p.queue[0], now)
		}
		wait := time.Hour
		if len(p.queue) > 0 {
			wait = p.queue[0].due.Sub(now)
		}
		p.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-p.wake:
		}
	}
}

// launch starts a run that is due and plans the next; p.mu is held. When every
// worker is taken or the last run still goes, the run is counted as skipped.
func (p *Prober) launch(ctx context.Context, it *item, now time.Time) {
	due := it.due
	it.due = due.Add(it.p.Interval)
	if it.due.Before(now) { // the machine slept, or the clock jumped
		it.due = now.Add(it.p.Interval)
	}
	heap.Fix(&p.queue, it.index)
	if it.busy {
		p.skip(it, "the last run still goes")
		return
	}
	select {
	case p.slots <- struct{}{}:
	default:
		p.skip(it, "all workers are taken")
		return
	}
	it.busy = true
	pc := it.p
	p.running.Add(1)
	p.runs.Go(func() {
		res := pc.run(ctx, p.cfg.Location)
		res.Lag = max(res.Start.Sub(due), 0)
		p.lag.Store(int64(res.Lag))
		<-p.slots
		p.running.Add(-1)
		p.mu.Lock()
		it.busy = false
		gone := it.gone
		p.mu.Unlock()
		if ctx.Err() == nil && !gone {
			p.sink(ctx, pc.Check, res)
		}
	})
}

func (p *Prober) skip(it *item, why string) {
	p.skipped.Add(1)
	p.log.Warn("a run of a check was skipped", "check", it.p.Name, "reason", why)
}

// RunNow runs a check once beside its schedule. The result goes to the sink as
// well. An unknown id is record.NotFound.
func (p *Prober) RunNow(ctx context.Context, id string) (record.CheckResult, error) {
	p.mu.Lock()
	it := p.items[id]
	p.mu.Unlock()
	if it == nil {
		return record.CheckResult{}, record.Errorf(record.NotFound, "there is no check %q; GET /api/v1/checks lists them", id)
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return record.CheckResult{}, ctx.Err()
	}
	res := it.p.run(ctx, p.cfg.Location)
	<-p.slots
	if err := ctx.Err(); err != nil {
		return record.CheckResult{}, err
	}
	p.sink(ctx, it.p.Check, res)
	return res, nil
}

// Checks lists the checks in the order of their configuration.
func (p *Prober) Checks() []Check {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Check, 0, len(p.order))
	for _, id := range p.order {
		out = append(out, p.items[id].p.Check)
	}
	return out
}

// Stats tells how the scheduler fares.
type Stats struct {
	Running int64
	Skipped int64 // runs that did not start, since the start
	Lag     time.Duration
}

// Stats returns the present figures.
func (p *Prober) Stats() Stats {
	return Stats{p.running.Load(), p.skipped.Load(), time.Duration(p.lag.Load())}
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
