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

	"github.com/vedette-sre/vedette/instrument"
)

// Counts tells what each protocol has brought since the start. Safe for
// concurrent use.
type Counts struct {
	requests, samples, rejected *instrument.CounterVec
	throttled                   *instrument.Counter

	senders senders

	mu     sync.Mutex
	protos map[string]*protocol
}

type protocol struct {
	requests, samples *instrument.Counter
	mu                sync.Mutex
	rejected          map[string]*instrument.Counter // by reason
}

// NewCounts makes the counters in m.
func NewCounts(m *instrument.Registry) *Counts {
	m.Describe("vedette_ingest_requests", "", "Requests or rounds of collection, by protocol.")
	m.Describe("vedette_ingest_samples", "", "Samples stored, by protocol.")
	m.Describe("vedette_ingest_rejected_samples", "", "Samples refused, by protocol and reason.")
	m.Describe("vedette_ingest_throttled_requests", "", "Requests told to come again because max_concurrent_writes others were being written.")
	return &Counts{
		requests:  m.CounterVec("vedette_ingest_requests", "protocol"),
		samples:   m.CounterVec("vedette_ingest_samples", "protocol"),
		rejected:  m.CounterVec("vedette_ingest_rejected_samples", "protocol", "reason"),
		throttled: m.Counter("vedette_ingest_throttled_requests"),
		protos:    map[string]*protocol{},
	}
}

// Throttled is how many requests were told to come again.
func (c *Counts) Throttled() int64 { return int64(c.throttled.Value()) }

func (c *Counts) throttle() { c.throttled.Inc() }

func (c *Counts) protocol(name string) *protocol {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.protos[name]
	if p == nil {
		p = &protocol{requests: c.requests.With(name), samples: c.samples.With(name), rejected: map[string]*instrument.Counter{}}
		c.protos[name] = p
	}
	return p
}

// Add counts one request of a protocol: n samples stored, and rejected samples
// by reason (may be nil).
func (c *Counts) Add(name string, n int, rejected map[string]int) {
	p := c.protocol(name)
	p.requests.Inc()
	p.samples.Add(uint64(n))
	if len(rejected) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for reason, k := range rejected {
		if k == 0 {
			continue
		}
		r := p.rejected[reason]
		if r == nil {
			r = c.rejected.With(name, reason)
			p.rejected[reason] = r
		}
		r.Add(uint64(k))
	}
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
		pc := ProtocolCount{Protocol: n, Requests: int64(p.requests.Value()), Samples: int64(p.samples.Value()), Rejected: []RejectedCount{}}
		p.mu.Lock()
		for reason, k := range p.rejected {
			pc.Rejected = append(pc.Rejected, RejectedCount{reason, int64(k.Value())})
		}
		p.mu.Unlock()
		sort.Slice(pc.Rejected, func(i, j int) bool { return pc.Rejected[i].Count > pc.Rejected[j].Count })
		out = append(out, pc)
	}
	return out
}
