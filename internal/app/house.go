package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/web"
)

// house holds the open tenants. A tenant with work of its own (targets, rules,
// checks) is always open; any other is opened by the first request for it and
// closed after a while without.
type house struct {
	env surroundings

	mu      sync.Mutex
	plan    *plan
	open    map[record.Tenant]*tenant
	opening map[record.Tenant]chan struct{}
	closed  bool
}

// idleAfter is how long a tenant without work of its own stays open.
const idleAfter = 15 * time.Minute

func newHouse(env surroundings, p *plan) *house {
	return &house{env: env, plan: p, open: map[record.Tenant]*tenant{}, opening: map[record.Tenant]chan struct{}{}}
}

// works reports whether a tenant has something to do without being asked.
func (t *tenantPlan) works() bool {
	return t.watch || len(t.checks) > 0 || len(t.conf.Pull) > 0 || len(t.conf.Locations) > 0 || len(t.ruleFiles) > 0 || len(t.prometheus.ScrapeConfigs) > 0 || len(t.prometheus.ScrapeConfigFiles) > 0
}

// openWorking opens every tenant that has work of its own.
func (h *house) openWorking(ctx context.Context) error {
	h.mu.Lock()
	p := h.plan
	h.mu.Unlock()
	for name, tp := range p.tenants {
		if !tp.works() && !hasState(h.env.data, name) {
			continue
		}
		_, release, err := h.Use(ctx, name)
		if err != nil {
			return fmt.Errorf("open tenant %s: %w", name, err)
		}
		release()
	}
	return nil
}

// hasState reports whether a tenant has run before: it may hold notifications
// that were decided and not sent.
func hasState(data string, name record.Tenant) bool {
	_, err := os.Stat(filepath.Join(data, string(name), "state.db"))
	return err == nil
}

// Use implements web.Tenants.
func (h *house) Use(ctx context.Context, name record.Tenant) (*web.Tenant, func(), error) {
	for {
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			return nil, nil, record.Errorf(record.Unavailable, "Vedette is stopping")
		}
		tp := h.plan.tenants[name]
		if tp == nil {
			h.mu.Unlock()
			return nil, nil, record.Errorf(record.NotFound, "there is no tenant %q; tenants: in vedette.yml names them", string(name))
		}
		if t := h.open[name]; t != nil {
			t.users++
			h.mu.Unlock()
			return t.view, func() { h.release(t) }, nil
		}
		if wait := h.opening[name]; wait != nil {
			h.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		}
		done := make(chan struct{})
		h.opening[name] = done
		h.mu.Unlock()

		t, err := openTenant(name, tp, h.env)

		h.mu.Lock()
		delete(h.opening, name)
		close(done)
		if err != nil {
			h.mu.Unlock()
			return nil, nil, err
		}
		if h.closed {
			// The server stopped meanwhile and looked only at what was open.
			h.mu.Unlock()
			return nil, nil, errors.Join(record.Errorf(record.Unavailable, "Vedette is stopping"), t.close())
		}
		h.open[name] = t
		t.users++
		now := h.plan.tenants[name]
		h.mu.Unlock()
		if now != nil && now != tp {
			// A reload came meanwhile and did not see this tenant.
			if err := t.apply(now); err != nil {
				h.release(t)
				return nil, nil, fmt.Errorf("apply the configuration of tenant %s: %w", name, err)
			}
		}
		return t.view, func() { h.release(t) }, nil
	}
}

func (h *house) release(t *tenant) {
	h.mu.Lock()
	t.users--
	t.lastUsed = time.Now()
	h.mu.Unlock()
}

// Names implements web.Tenants.
func (h *house) Names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]string, 0, len(h.plan.tenants))
	for n := range h.plan.tenants {
		out = append(out, string(n))
	}
	slices.Sort(out)
	return out
}

// Open implements web.Tenants.
func (h *house) Open(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open[record.Tenant(name)] != nil
}

// healEvery is how often a store whose log has failed is looked at.
const healEvery = 2 * time.Second

// roomToHeal is the free space with which a failed log is opened anew.
const roomToHeal = 32 << 20

// heal opens tenants anew whose metric store can no longer write its log, once
// the disk has room, until ctx ends. The repair at the opening cuts the torn
// record; nothing was acknowledged behind it.
func (h *house) heal(ctx context.Context) {
	tick := time.NewTicker(healEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.mu.Lock()
		var broken []*tenant
		for _, t := range h.open {
			if t.store.Broken() {
				broken = append(broken, t)
			}
		}
		h.mu.Unlock()
		for _, t := range broken {
			if free, _, err := ingest.DiskUsage(t.dir); err == nil && free >= roomToHeal {
				h.reopen(ctx, t)
			}
		}
	}
}

// reopen closes a tenant when the requests under way have ended, and opens it
// again; new requests wait meanwhile.
func (h *house) reopen(ctx context.Context, t *tenant) {
	h.mu.Lock()
	if h.closed || h.open[t.name] != t {
		h.mu.Unlock()
		return
	}
	delete(h.open, t.name)
	done := make(chan struct{})
	h.opening[t.name] = done
	h.mu.Unlock()
	h.env.log.Warn("the disk failed under a tenant's log; opening it anew", "tenant", string(t.name))
	for range 300 { // half a minute, then requests are cut
		h.mu.Lock()
		users := t.users
		h.mu.Unlock()
		if users == 0 || ctx.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := t.close(); err != nil {
		h.env.log.Error("close the tenant whose log has failed", "tenant", string(t.name), "err", err)
	}
	h.mu.Lock()
	delete(h.opening, t.name)
	close(done)
	h.mu.Unlock()
	_, release, err := h.Use(ctx, t.name)
	if err != nil {
		// The next request for the tenant, or the next reload, tries again.
		h.env.log.Error("open the tenant anew", "tenant", string(t.name), "err", err)
		return
	}
	release()
	h.env.log.Info("the tenant is open again and stores", "tenant", string(t.name))
}

// closeIdle closes tenants without work that nobody has used for a while, until
// ctx ends.
func (h *house) closeIdle(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.closeIdleAt(now)
		}
	}
}

func (h *house) closeIdleAt(now time.Time) {
	h.mu.Lock()
	var idle []*tenant
	for name, t := range h.open {
		tp := h.plan.tenants[name]
		gone := tp == nil
		if t.users == 0 && (gone || !tp.works() && now.Sub(t.lastUsed) > idleAfter && !t.busy()) {
			idle = append(idle, t)
			delete(h.open, name)
			h.opening[name] = make(chan struct{})
		}
	}
	h.mu.Unlock()
	for _, t := range idle {
		if err := t.close(); err != nil {
			h.env.log.Error("close an idle tenant", "tenant", string(t.name), "err", err)
		}
		h.mu.Lock()
		close(h.opening[t.name])
		delete(h.opening, t.name)
		h.mu.Unlock()
	}
}

// busy reports notifications that wait to be sent.
func (t *tenant) busy() bool {
	st, err := t.notifier.OutboxStats(context.Background())
	return err != nil || st.Pending > 0
}

// apply puts a new plan in force in every open tenant and opens those that now
// have work.
func (h *house) apply(ctx context.Context, p *plan) error {
	h.mu.Lock()
	h.plan = p
	open := make([]*tenant, 0, len(h.open))
	for _, t := range h.open {
		open = append(open, t)
	}
	h.mu.Unlock()
	var errs []error
	for _, t := range open {
		if tp := p.tenants[t.name]; tp != nil {
			if err := t.apply(tp); err != nil {
				errs = append(errs, fmt.Errorf("tenant %s: %w", t.name, err))
			}
		}
	}
	h.closeIdleAt(time.Now())
	errs = append(errs, h.openWorking(ctx))
	return errors.Join(errs...)
}

// close closes all tenants; no request may be under way.
func (h *house) close() error {
	h.mu.Lock()
	h.closed = true
	open := h.open
	h.open = map[record.Tenant]*tenant{}
	h.mu.Unlock()
	var errs []error
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, t := range open {
		wg.Go(func() {
			if err := t.close(); err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("close tenant %s: %w", t.name, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
