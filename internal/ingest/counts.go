// Package ingest lets data in: it scrapes targets, takes remote write, and
// writes what the program itself, the host and the checks say. It hides the
// protocols; what leaves it are samples in a storage.Appendable.
//
// Each protocol counts what it took and what it refused, with the reason:
// accepted = stored + rejected.
package ingest

import (
	"sort"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Counts tells what each protocol has brought since the start. Safe for
// concurrent use.
type Counts struct {
	requests       *prometheus.CounterVec
	samples        *prometheus.CounterVec
	rejected       *prometheus.CounterVec
	throttledTotal prometheus.Counter
	throttled      atomic.Int64

	senders senders

	mu     sync.Mutex
	protos map[string]*protocol
}

type protocol struct {
	requests, samples atomic.Int64
	mu                sync.Mutex
	rejected          map[string]int64
}

// NewCounts registers the counters with reg.
func NewCounts(reg prometheus.Registerer) *Counts {
	c := &Counts{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_ingest_requests_total", Help: "Requests or rounds of collection, by protocol."}, []string{"protocol"}),
		samples: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_ingest_samples_total", Help: "Samples stored, by protocol."}, []string{"protocol"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_ingest_rejected_samples_total", Help: "Samples refused, by protocol and reason."}, []string{"protocol", "reason"}),
		throttledTotal: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vedette_ingest_throttled_requests_total", Help: "Requests told to come again because max_concurrent_writes others were being written."}),
		protos: map[string]*protocol{},
	}
	reg.MustRegister(c.requests, c.samples, c.rejected, c.throttledTotal)
	return c
}

// Throttled is how many requests were told to come again.
func (c *Counts) Throttled() int64 { return c.throttled.Load() }

func (c *Counts) throttle() {
	c.throttledTotal.Inc()
	c.throttled.Add(1)
}

func (c *Counts) protocol(name string) *protocol {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.protos[name]
	if p == nil {
		p = &protocol{rejected: map[string]int64{}}
		c.protos[name] = p
	}
	return p
}

// Add counts one request of a protocol: n samples stored, and rejected samples
// by reason (may be nil).
func (c *Counts) Add(name string, n int, rejected map[string]int) {
	p := c.protocol(name)
	p.requests.Add(1)
	p.samples.Add(int64(n))
	c.requests.WithLabelValues(name).Inc()
	c.samples.WithLabelValues(name).Add(float64(n))
	if len(rejected) == 0 {
		return
	}
	p.mu.Lock()
	for reason, k := range rejected {
		if k == 0 {
			continue
		}
		p.rejected[reason] += int64(k)
		c.rejected.WithLabelValues(name, reason).Add(float64(k))
	}
	p.mu.Unlock()
}

// ProtocolCount is what one protocol has brought.
type ProtocolCount struct {
	Protocol string          `json:"protocol"`
	Requests int64           `json:"requests"`
	Samples  int64           `json:"samples"`
	Rejected []RejectedCount `json:"rejected"`
}

// RejectedCount is how many samples were refused for a reason.
type RejectedCount struct {
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

// Snapshot lists the protocols by name.
func (c *Counts) Snapshot() []ProtocolCount {
	c.mu.Lock()
	names := make([]string, 0, len(c.protos))
	for n := range c.protos {
		names = append(names, n)
	}
	c.mu.Unlock()
	sort.Strings(names)
	out := make([]ProtocolCount, 0, len(names))
	for _, n := range names {
		p := c.protocol(n)
		pc := ProtocolCount{Protocol: n, Requests: p.requests.Load(), Samples: p.samples.Load(), Rejected: []RejectedCount{}}
		p.mu.Lock()
		for reason, k := range p.rejected {
			pc.Rejected = append(pc.Rejected, RejectedCount{reason, k})
		}
		p.mu.Unlock()
		sort.Slice(pc.Rejected, func(i, j int) bool { return pc.Rejected[i].Count > pc.Rejected[j].Count })
		out = append(out, pc)
	}
	return out
}
