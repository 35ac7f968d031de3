package ingest

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// SenderCount is what one sender has brought by one protocol.
type SenderCount struct {
	Protocol string `json:"protocol"`
	// Sender is a user or token, an address, a job, or a listener where nothing
	// more is known.
	Sender  string `json:"sender"`
	Samples int64  `json:"samples"` // stored
	// NewSeries are those that this process stored first from here. After a start
	// all are new.
	NewSeries int64     `json:"new_series"`
	Rejected  int64     `json:"rejected"` // samples
	PerSecond float64   `json:"samples_per_second"`
	NewPerMin float64   `json:"new_series_per_minute"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	// Over is how many of the samples may be of senders that had this row before:
	// the table keeps those that send most.
	Over int64 `json:"over"`
}

// keptSenders bounds the table of senders.
const keptSenders = 256

// senders is the table of those who send most, with a bounded number of rows: a
// new sender takes the row of the one that sent least, and its count, as in the
// Space-Saving algorithm (Metwally, Agrawal, El Abbadi 2005). It is touched once
// a batch. Safe for concurrent use; the zero value is empty.
type senders struct {
	mu   sync.Mutex
	rows map[senderKey]*sender
}

type senderKey struct{ protocol, sender string }

type sender struct {
	weight              int64 // samples stored and rejected, with those inherited
	over                int64
	samples             int64
	rejected, newSeries int64
	first, last         time.Time
	minute              int64 // of the counts below, since 1970
	now, before         senderMinute
}

type senderMinute struct{ samples, newSeries int64 }

func (s *senders) add(k senderKey, stored, newSeries, rejected int64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.rows[k]
	if e == nil {
		e = &sender{first: at, minute: at.Unix() / 60}
		if len(s.rows) >= keptSenders {
			least := s.least()
			e.weight, e.over = s.rows[least].weight, s.rows[least].weight
			delete(s.rows, least)
		}
		if s.rows == nil {
			s.rows = map[senderKey]*sender{}
		}
		s.rows[senderKey{k.protocol, strings.Clone(k.sender)}] = e
	}
	e.turn(at)
	e.weight += stored + rejected
	e.samples += stored
	e.rejected += rejected
	e.newSeries += newSeries
	e.now.samples += stored
	e.now.newSeries += newSeries
	e.last = at
}

// turn begins a new minute when it is time.
func (e *sender) turn(at time.Time) {
	m := at.Unix() / 60
	switch {
	case m == e.minute:
		return
	case m == e.minute+1:
		e.before = e.now
	default:
		e.before = senderMinute{}
	}
	e.minute, e.now = m, senderMinute{}
}

// least is the row of the lowest weight.
func (s *senders) least() (k senderKey) {
	var of *sender
	for key, e := range s.rows {
		if of == nil || e.weight < of.weight || e.weight == of.weight && e.last.Before(of.last) {
			k, of = key, e
		}
	}
	return k
}

// Senders lists who sent most since the start, in falling order of their samples.
// Rates are of the last whole minute, or of all there was within the first two.
func (c *Counts) Senders(now time.Time) []SenderCount {
	s := &c.senders
	s.mu.Lock()
	out := make([]SenderCount, 0, len(s.rows))
	for k, e := range s.rows {
		e.turn(now)
		of, over := e.before, time.Minute
		if now.Sub(e.first) < 2*time.Minute {
			of = senderMinute{e.before.samples + e.now.samples, e.before.newSeries + e.now.newSeries}
			over = max(now.Sub(e.first), time.Minute)
		}
		out = append(out, SenderCount{
			Protocol: k.protocol, Sender: k.sender, Samples: e.samples, NewSeries: e.newSeries, Rejected: e.rejected,
			PerSecond: float64(of.samples) / over.Seconds(), NewPerMin: float64(of.newSeries) / over.Minutes(),
			First: e.first.UTC(), Last: e.last.UTC(), Over: e.over,
		})
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b SenderCount) int {
		return cmp.Or(cmp.Compare(b.Samples, a.Samples), strings.Compare(a.Protocol, b.Protocol), strings.Compare(a.Sender, b.Sender))
	})
	return out
}

// AddFrom is Add for a batch whose sender is known: it is the one of ctx, or else
// the job given. newSeries of the samples were first in their series.
func (c *Counts) AddFrom(ctx context.Context, protocol, job string, stored, newSeries int, rejected map[string]int) {
	c.Add(protocol, stored, rejected)
	who, _ := ctx.Value(senderKeyIn{}).(string)
	if who == "" && job != "" {
		who = "job " + job
	}
	if who == "" {
		who = "listener " + protocol
	}
	no := 0
	for _, k := range rejected {
		no += k
	}
	if stored+no > 0 {
		c.senders.add(senderKey{protocol, who}, int64(stored), int64(newSeries), int64(no), time.Now())
	}
}

type senderKeyIn struct{}

// WithSender says on whose behalf ctx writes.
func WithSender(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, senderKeyIn{}, who)
}

// requestSender names who sent a request: the user or token that signed it and
// the address it came from.
func requestSender(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = "unknown"
	}
	if c, ok := record.CallerFrom(r.Context()); ok && c.Name != "" {
		return c.Name + " from " + host
	}
	return host
}

// HostOf is an address without its port, which changes from one connection to the
// next; "" for a socket that has no address.
func HostOf(a net.Addr) string {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP.String()
	case *net.UDPAddr:
		return a.IP.String()
	}
	return ""
}
