package probe

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/record"
)

const (
	defaultWorkers  = 64
	defaultLocation = "hub"
)

// Config is what a Prober is told. Zero means the default.
type Config struct {
	Checks   []Check
	Workers  int    // runs at once; default 64
	Location string // default "hub"
}

// Prober runs checks on their intervals. Safe for concurrent use. It is a
// prometheus.Collector of its own figures.
type Prober struct {
	location string
	sink     func(context.Context, Check, record.CheckResult)
	log      *slog.Logger
	act      func(*prepared, context.Context, string) record.CheckResult // (*prepared).run, or a test's
	wake     chan struct{}
	runs     sync.WaitGroup
	groups   *chainGroups

	mu       sync.Mutex
	s        *schedule
	ctx      context.Context // of Run; nil before it
	running  int
	ok, bad  int64
	lag      time.Duration // of the last run
	told     int64         // skipped runs that the log knows of
	toldWhen time.Time
}

// New makes a prober; nothing runs before Run. The sink gets every result, one
// at a time for a check; results of different checks may come at once. A sink
// that blocks holds a worker.
func New(cfg Config, sink func(context.Context, Check, record.CheckResult), log *slog.Logger) (*Prober, error) {
	if cfg.Workers < 0 {
		return nil, record.Errorf(record.Invalid, "workers: %d: want a number above 0", cfg.Workers)
	}
	if cfg.Workers == 0 {
		cfg.Workers = defaultWorkers
	}
	if cfg.Location == "" {
		cfg.Location = defaultLocation
	}
	p := &Prober{location: cfg.Location, sink: sink, log: log, act: (*prepared).run, wake: make(chan struct{}, 1), groups: newChainGroups(), s: newSchedule(cfg.Location, cfg.Workers)}
	return p, p.Apply(cfg.Checks)
}

// Apply makes checks the ones that run, all or none of them. Those that did not
// change keep their schedule; new and changed ones run soon. An error is
// record.Invalid and names the check.
func (p *Prober) Apply(checks []Check) error {
	fresh := make([]*prepared, 0, len(checks))
	names := make(map[string]string, len(checks))
	for _, c := range checks {
		if err := c.Validate(); err != nil {
			return record.Errorf(record.Invalid, "check %q: %w", c.Name, err)
		}
		if other, dup := names[c.ID]; dup {
			return record.Errorf(record.Invalid, "check %q: id: %q is the id of check %q as well; want ids that differ", c.Name, c.ID, other)
		}
		names[c.ID] = c.Name
		pc, err := prepare(c)
		if err != nil {
			return record.Errorf(record.Invalid, "check %q: %w", c.Name, err)
		}
		pc.groups = p.groups
		fresh = append(fresh, pc)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.apply(fresh, time.Now())
	p.nudge()
	return nil
}

func (p *Prober) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run schedules until ctx ends and waits for the runs under way; their results
// are dropped, because a run that was cut off says nothing about its target. It
// is called once.
func (p *Prober) Run(ctx context.Context) error {
	defer p.runs.Wait()
	p.mu.Lock()
	p.ctx = ctx
	p.s.restart(time.Now()) // the time since New was not ours
	p.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			p.ctx = nil // no run starts from here on
			p.mu.Unlock()
			return nil
		case <-timer.C:
		case <-p.wake:
		}
		p.mu.Lock()
		now := time.Now()
		p.s.tick(now)
		p.dispatch()
		p.tell(now)
		wait := time.Hour
		if at, ok := p.s.next(); ok {
			wait = time.Until(at)
		}
		p.mu.Unlock()
		timer.Reset(wait)
	}
}

// dispatch starts what may start; p.mu is held.
func (p *Prober) dispatch() {
	p.s.grant()
	if p.ctx == nil || p.ctx.Err() != nil {
		return
	}
	ctx := p.ctx
	for _, it := range p.s.take() {
		pc, want := it.p, it.want
		p.running++
		p.runs.Go(func() { p.perform(ctx, it, pc, want) })
	}
}

// perform makes one run, hands its result on and gives the worker back.
func (p *Prober) perform(ctx context.Context, it *item, pc *prepared, want time.Time) record.CheckResult {
	res := p.act(pc, ctx, p.location)
	if !want.IsZero() {
		res.Lag = max(res.Start.Sub(want), 0)
	} else {
		res.Extra = true
	}
	p.mu.Lock()
	gone := it.gone
	p.mu.Unlock()
	if ctx.Err() == nil && !gone {
		p.sink(ctx, pc.Check, res)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	if res.Success {
		p.ok++
	} else {
		p.bad++
	}
	if !want.IsZero() {
		p.lag = res.Lag
	}
	p.s.done(it)
	p.dispatch()
	return res
}

// tell logs skipped runs, at most once a minute; p.mu is held.
func (p *Prober) tell(now time.Time) {
	all := p.s.allSkipped()
	if all == p.told || now.Sub(p.toldWhen) < time.Minute {
		return
	}
	p.log.Warn("runs of checks were skipped", "runs", all-p.told, "busy", p.s.skipped[skipBusy], "workers", p.s.skipped[skipWorkers],
		"late", p.s.skipped[skipLate], "waiting", len(p.s.ready), "running", p.running)
	p.told, p.toldWhen = all, now
}

// RunNow runs a check once beside its schedule, a paused one as well. It waits
// for a run of the check that is under way and for a worker. The result goes to
// the sink too. An unknown id is record.NotFound; when ctx ends the run is given
// up and its error returned.
func (p *Prober) RunNow(ctx context.Context, id string) (record.CheckResult, error) {
	p.mu.Lock()
	it := p.s.items[id]
	if it == nil {
		p.mu.Unlock()
		return record.CheckResult{}, record.Errorf(record.NotFound, "there is no check %q; GET /api/v1/checks lists them", id)
	}
	c := &call{it: it, granted: make(chan struct{})}
	p.s.calls = append(p.s.calls, c)
	p.dispatch()
	p.mu.Unlock()
	select {
	case <-c.granted:
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := slices.Index(p.s.calls, c); i >= 0 {
			p.s.calls = slices.Delete(p.s.calls, i, i+1)
		} else { // granted in the meantime
			p.s.done(it)
			p.dispatch()
		}
		return record.CheckResult{}, ctx.Err()
	}
	p.mu.Lock()
	p.running++
	pc := it.p
	p.mu.Unlock()
	res := p.perform(ctx, it, pc, time.Time{})
	if err := ctx.Err(); err != nil {
		return record.CheckResult{}, err
	}
	return res, nil
}

// Checks lists the checks in the order of their configuration, with all
// defaults filled in.
func (p *Prober) Checks() []Check {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Check, 0, len(p.s.order))
	for _, id := range p.s.order {
		out = append(out, p.s.items[id].p.Check)
	}
	return out
}

// Stats tells how the scheduler fares.
type Stats struct {
	Running int64
	Waiting int64         // due and without a worker
	Skipped int64         // runs that did not start, since the start
	Lag     time.Duration // of the last run, or of the one that waits longest
}

// Stats returns the present figures.
func (p *Prober) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Stats{Running: int64(p.running), Skipped: p.s.allSkipped(), Lag: p.lag}
	now := time.Now()
	for _, it := range p.s.ready {
		if it.waiting {
			st.Waiting++
			st.Lag = max(st.Lag, now.Sub(it.want))
		}
	}
	return st
}

// Tell has m tell how the scheduler fares.
func (p *Prober) Tell(m *instrument.Registry) {
	locked := func(f func() float64) func() float64 {
		return func() float64 {
			p.mu.Lock()
			defer p.mu.Unlock()
			return f()
		}
	}
	m.Describe("vedette_check_runs", "", "Runs of checks that ended, by outcome.")
	m.CounterFunc("vedette_check_runs", locked(func() float64 { return float64(p.ok) }), "outcome", "ok")
	m.CounterFunc("vedette_check_runs", locked(func() float64 { return float64(p.bad) }), "outcome", "failed")
	m.Describe("vedette_check_runs_skipped", "", "Runs of checks that did not start: the last one still went (busy), no worker was free (workers), or this process stood still (late).")
	for i, reason := range skipNames {
		m.CounterFunc("vedette_check_runs_skipped", locked(func() float64 { return float64(p.s.skipped[i]) }), "reason", reason)
	}
	m.Describe("vedette_checks_running", "", "Runs of checks under way.")
	m.GaugeFunc("vedette_checks_running", func() float64 { return float64(p.Stats().Running) })
	m.Describe("vedette_checks_waiting", "", "Checks that are due and wait for a worker.")
	m.GaugeFunc("vedette_checks_waiting", func() float64 { return float64(p.Stats().Waiting) })
	m.Describe("vedette_check_schedule_lag", "seconds", "How late the last run started, or how long the longest waiting one waits.")
	m.GaugeFunc("vedette_check_schedule_lag", func() float64 { return p.Stats().Lag.Seconds() })
}
