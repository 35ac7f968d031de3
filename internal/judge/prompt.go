package judge

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/rules"
)

// prompter has rule groups evaluated the moment they matter, besides on their
// interval. Between two ticks, a group whose rules read checks is evaluated when
// a check changes its state and when a pending alert's `for` ends. With an
// interval of 5 s that takes up to 10 s off the way from a fault to a person; a
// quiet system evaluates exactly as often as before.
//
// It waits inside the group's own iteration, so that a group is never evaluated
// twice at once.
type prompter struct {
	stopped atomic.Bool // while rule files are being replaced nothing may wait

	mu      sync.Mutex
	flipped chan struct{} // closed and replaced at each change of a check
	release chan struct{} // closed and replaced when all must return
}

func newPrompter() *prompter {
	return &prompter{flipped: make(chan struct{}), release: make(chan struct{})}
}

// channels returns those to wait on.
func (p *prompter) channels() (flipped, release chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flipped, p.release
}

// flip wakes the groups that read checks.
func (p *prompter) flip() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.flipped)
	p.flipped = make(chan struct{})
}

// hold makes every waiting group return and keeps others from waiting until the
// returned function is called: the rule manager waits for its groups when it
// replaces them.
func (p *prompter) hold() (resume func()) {
	p.stopped.Store(true)
	p.mu.Lock()
	close(p.release)
	p.release = make(chan struct{})
	p.mu.Unlock()
	return func() { p.stopped.Store(false) }
}

// margin is how long before the next tick the group must be free again.
const margin = 100 * time.Millisecond

// iterate is the group's turn at a tick.
func (p *prompter) iterate(ctx context.Context, g *rules.Group, ts time.Time) {
	// Taken before the evaluation: a check that flips during it counts.
	flipped, release := p.channels()
	rules.DefaultEvalIterationFunc(ctx, g, ts)
	if !readsChecks(g) {
		return
	}
	// Nothing may be evaluated at or after the next tick's timestamp: samples
	// of that tick would then be out of order.
	last := ts.Add(g.Interval() - margin)
	end := time.NewTimer(time.Until(last))
	defer end.Stop()
	for !p.stopped.Load() && time.Now().Before(last) {
		wait := time.Hour
		if due, ok := nextDue(g); ok {
			wait = time.Until(due)
		}
		due := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-release:
		case <-end.C:
		case <-flipped:
			due.Stop()
			flipped, _ = p.channels()
			evaluateBefore(ctx, g, last)
			continue
		case <-due.C:
			evaluateBefore(ctx, g, last)
			continue
		}
		due.Stop()
		return
	}
}

// evaluateBefore evaluates a group now, unless it is too late for that: a select
// with several channels ready takes any of them.
func evaluateBefore(ctx context.Context, g *rules.Group, last time.Time) {
	if now := time.Now(); now.Before(last) {
		rules.DefaultEvalIterationFunc(ctx, g, now)
	}
}

// readsChecks reports whether a group's alerts look at the series of checks.
// Before the state of `for` is restored after a start, nothing is hurried.
func readsChecks(g *rules.Group) bool {
	reads := false
	for _, r := range g.Rules() {
		ar, ok := r.(*rules.AlertingRule)
		if !ok {
			continue
		}
		if !ar.Restored() {
			return false
		}
		reads = reads || strings.Contains(ar.Query().String(), "probe_")
	}
	return reads
}

// nextDue is when the first pending alert has been pending for long enough.
func nextDue(g *rules.Group) (at time.Time, ok bool) {
	for _, r := range g.Rules() {
		ar, isAlert := r.(*rules.AlertingRule)
		if !isAlert {
			continue
		}
		for _, a := range ar.ActiveAlerts() {
			if a.State != rules.StatePending {
				continue
			}
			if t := a.ActiveAt.Add(ar.HoldDuration()); !ok || t.Before(at) {
				at, ok = t, true
			}
		}
	}
	return at, ok
}
