// Package query answers PromQL. It hides the engine (Prometheus's own), its
// limits, and the Prometheus HTTP API that every client already speaks.
package query

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/vedette-sre/vedette/instrument"
)

// Config bounds queries. Zero means the default.
type Config struct {
	MaxSamples    int           `yaml:"max_samples"`    // samples one query may hold in memory; default 50,000,000
	Timeout       time.Duration `yaml:"timeout"`        // default 2 min
	MaxConcurrent int           `yaml:"max_concurrent"` // queries of users at once; default 20
	Lookback      time.Duration `yaml:"lookback"`       // how old a sample may be to count as current; default 5 min
	// MemoryBytes is how much the answers of range queries may take that are
	// remembered for the next refresh; default 128 MiB, negative for none.
	MemoryBytes int64 `yaml:"memory_bytes"`
}

func (c Config) withDefaults() Config {
	if c.MaxSamples == 0 {
		c.MaxSamples = 50_000_000
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Minute
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = 20
	}
	if c.Lookback == 0 {
		c.Lookback = 5 * time.Minute
	}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = 128 << 20
	}
	return c
}

// Engines are the two that a tenant has: users cannot starve the rules.
type Engines struct {
	Users, Rules promql.QueryEngine
	Parser       parser.Parser
	Config       Config
	slots        *slots
	counted      *counted
	memory       *memory
	folding      *folding
	close        []func() error
}

// NewEngines makes the engines. What they say of themselves goes to m, what
// Prometheus's engine says to reg.
func NewEngines(cfg Config, m *instrument.Registry, reg prometheus.Registerer, log *slog.Logger) *Engines {
	cfg = cfg.withDefaults()
	p := parser.NewParser(parser.Options{})
	m.Describe("vedette_query_waited", "", "Queries that waited because max_concurrent others were running.")
	s := &slots{free: make(chan struct{}, cfg.MaxConcurrent), waited: m.Counter("vedette_query_waited")}
	mk := func(name string, t promql.QueryTracker) *promql.Engine {
		return promql.NewEngine(promql.EngineOpts{
			Logger: log, Reg: prometheus.WrapRegistererWith(prometheus.Labels{"engine": name}, reg),
			MaxSamples: cfg.MaxSamples, Timeout: cfg.Timeout, LookbackDelta: cfg.Lookback,
			EnableAtModifier: true, EnableNegativeOffset: true, EnablePerStepStats: true,
			ActiveQueryTracker:       t,
			NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
			Parser:                   p,
		})
	}
	users, own := mk("users", s), mk("rules", nil)
	fold := func(e promql.QueryEngine) *folding {
		return &folding{QueryEngine: e, parser: p, lookback: cfg.Lookback, maxSamples: cfg.MaxSamples}
	}
	f := fold(users)
	mem := newMemory(f, p, cfg.Lookback, cfg.MemoryBytes, m)
	c := newCounted(mem, m)
	m.Describe("vedette_query_folded", "", "Queries of users with aggregations that were computed series by series.")
	m.CounterFunc("vedette_query_folded", func() float64 { return float64(f.folded.Load()) })
	return &Engines{Users: c, memory: mem, folding: f, Rules: fold(own), Parser: p, Config: cfg, slots: s, counted: c, close: []func() error{users.Close, own.Close}}
}

// Remember has the answers of the users' range queries remembered, as long as h
// tells that their samples have not changed. Every sample that a query may see
// must be in h: with remote_read there is no such history, and nil ends it.
func (e *Engines) Remember(h History) { e.memory.watch(h) }

// Remembered is how many steps of range queries were answered from memory, and
// how many were computed.
func (e *Engines) Remembered() (known, computed int64) {
	return int64(e.memory.reused.Value()), int64(e.memory.worked.Value())
}

// Folded is how many queries of users had aggregations that were computed series by
// series.
func (e *Engines) Folded() int64 { return e.folding.folded.Load() }

// MemoryBytes is about what remembered answers take.
func (e *Engines) MemoryBytes() int64 { return e.memory.size() }

// Close ends both engines; running queries are cancelled.
func (e *Engines) Close() {
	for _, f := range e.close {
		_ = f() // only the tracker can fail, and ours does not
	}
}

// TooMany is how many queries held more than max_samples.
func (e *Engines) TooMany() int64 { return int64(e.counted.tooMany.Value()) }

// TooSlow is how many queries took longer than the timeout.
func (e *Engines) TooSlow() int64 { return int64(e.counted.tooSlow.Value()) }

// Waited is how many queries had to wait for a slot.
func (e *Engines) Waited() int64 { return int64(e.slots.waited.Value()) }

// slots bounds how many queries run at once; the others wait for as long as
// their context lasts.
type slots struct {
	free   chan struct{}
	waited *instrument.Counter
}

func (s *slots) GetMaxConcurrent() int { return cap(s.free) }

func (s *slots) Insert(ctx context.Context, _ string) (int, error) {
	select {
	case s.free <- struct{}{}:
		return 0, nil
	default:
	}
	s.waited.Inc()
	select {
	case s.free <- struct{}{}:
		return 0, nil
	case <-ctx.Done():
		// The engine hands this on as it is, and the API knows only its own words:
		// 503 for these two, 422 (do not try again) for any other.
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return 0, promql.ErrQueryTimeout("query queue")
		}
		return 0, promql.ErrQueryCanceled("query queue")
	}
}

func (s *slots) Delete(int) { <-s.free }

func (s *slots) Close() error { return nil }
