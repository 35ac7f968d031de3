package golden

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/vedette-sre/vedette/instrument"
)

// Pool measures workers of a fixed number, or anything that so many can use at
// once. It is a pool itself, by Do:
//
//	p := golden.NewPool(m, "thumbnails", 8)
//	err := p.Do(ctx, func(ctx context.Context) error { return resize(ctx, img) })
//
// or measures one that there is, by the calls that Do makes:
//
//	t := p.Wait()      // where the task is handed in
//	t = t.Work()       // where a worker has it
//	t.Done(err)        // where it is done
//
// It exports, with the tag pool:
//
//   - the gauges pool.size, pool.active, pool.waiting, and pool.saturation: tasks
//     in work and waiting as a part of the size. At 1 all workers are busy, at 2
//     as many tasks wait again;
//   - pool.wait.duration and pool.work.duration, timers;
//   - pool.errors, a counter by error.type: "timeout", "canceled", "panic" or
//     "other".
//
// Safe for concurrent use.
type Pool struct {
	m               *instrument.Registry
	tags            []string
	places          chan struct{}
	waiting, active atomic.Int64
	wait, work      *instrument.Timer
}

// Task is a task of a Pool.
type Task struct {
	p     *Pool
	since time.Time // it waits or, of one in work, is worked on
	works bool
}

// NewPool makes the instruments of a pool of size workers, which is 1 at least.
// Each pool of a registry needs a name of its own, or other tags.
func NewPool(m *instrument.Registry, name string, size int, tags ...string) *Pool {
	size = max(size, 1)
	tags = tagged(tags, "pool", name)
	m.Describe("pool.size", "1", "Workers of the pool.")
	m.Describe("pool.active", "1", "Tasks in work.")
	m.Describe("pool.waiting", "1", "Tasks that wait for a worker.")
	m.Describe("pool.saturation", "1", "Tasks in work and waiting as a part of the size.")
	m.Describe("pool.wait.duration", "seconds", "Time that tasks waited for a worker.")
	m.Describe("pool.work.duration", "seconds", "Time that tasks were worked on.")
	m.Describe("pool.errors", "1", "Tasks that failed.")
	p := &Pool{
		m: m, tags: tags,
		places: make(chan struct{}, size),
		wait:   m.Timer("pool.wait.duration", tags...),
		work:   m.Timer("pool.work.duration", tags...),
	}
	m.Gauge("pool.size", tags...).Set(float64(size))
	m.GaugeFunc("pool.active", func() float64 { return float64(p.active.Load()) }, tags...)
	m.GaugeFunc("pool.waiting", func() float64 { return float64(p.waiting.Load()) }, tags...)
	m.GaugeFunc("pool.saturation", func() float64 {
		return float64(p.active.Load()+p.waiting.Load()) / float64(size)
	}, tags...)
	return p
}

// Do waits for a free worker and runs f, on the caller's goroutine. It returns
// what f does, or the error of ctx when that ended first.
func (p *Pool) Do(ctx context.Context, f func(context.Context) error) error {
	t := p.Wait()
	select {
	case p.places <- struct{}{}:
	case <-ctx.Done():
		t.Done(ctx.Err())
		return ctx.Err()
	}
	t = t.Work()
	err := errPanic // until f has returned
	defer func() {
		<-p.places
		t.Done(err)
	}()
	err = f(ctx)
	return err
}

// errPanic stands for what a task that panicked, or ended its goroutine, did not
// return.
var errPanic = errors.New("panic")

// Wait begins a task: it waits for a worker.
func (p *Pool) Wait() Task {
	p.waiting.Add(1)
	return Task{p: p, since: time.Now()}
}

// Work says that a worker has the task.
func (t Task) Work() Task {
	now := time.Now()
	t.p.wait.Record(now.Sub(t.since))
	t.p.active.Add(1)
	t.p.waiting.Add(-1)
	return Task{t.p, now, true}
}

// Done ends the task, which may still wait; err is why it failed, or nil. Call it
// once, on what Work returned or, of one that was given up, on what Wait did.
func (t Task) Done(err error) {
	p := t.p
	if t.works {
		p.work.Since(t.since)
		p.active.Add(-1)
	} else {
		p.wait.Since(t.since)
		p.waiting.Add(-1)
	}
	if err == nil {
		return
	}
	kind := "other"
	switch {
	case errors.Is(err, errPanic):
		kind = "panic"
	case errors.Is(err, context.Canceled):
		kind = "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		kind = "timeout"
	}
	p.m.Counter("pool.errors", tagged(p.tags, "error.type", kind)...).Inc()
}
