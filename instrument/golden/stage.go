package golden

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/internal/memo"
)

// Stage measures a stage of a pipeline that serves many customers:
//
//	s := golden.NewStage(m, "enrich", 20)
//	p := s.In(msg.Customer)
//	if err := enrich(msg); err != nil {
//		p.Fail("lookup")
//	} else {
//		p.Out()
//	}
//
// Of the whole stage it exports, with the tag stage:
//
//   - stage.in, stage.out and stage.failed (by reason), counters of messages;
//   - stage.duration, a timer: how long a pass took, whatever its end;
//   - stage.active, a gauge: the passes under way.
//
// Of the customers it exports the same split up: stage.customer.in, .out, .failed
// and .duration, with the tag customer in addition. Each message is counted in one
// series of these: that of its customer, when that one has some, and that of the
// customer "other" if not. So rates and increases, summed over the customers, are
// those of the stage. Of the values themselves the sum lacks series that have
// ended; the exact one is that of the stage.
//
// # Who has series
//
// The k customers with most messages and, beside these, the k with most failures:
// a small one that fails is seen. What is recent weighs more: weights halve in
// five minutes. While there are places, a customer gets one at its first message,
// or at its first failure; later at a review, every ten seconds, which takes 0.1 to
// 0.2 ms for k = 20. Of the messages by that weight, a customer with a part of more than
// 1.5/k has series after the next review, however the others are spread (likewise
// one with that part of the failures of those who are not among the largest). Who
// has series keeps them until another is a quarter heavier.
//
// # The bound
//
// At most 4k customers and "other" have series at once: 2k as above, and up to 2k
// that lost their place less than ten minutes ago, whose series stand still so
// that every exporter has had their last value. While those 2k are taken, nobody
// is replaced. Reasons beyond the first 16 are "_OTHER". The metrics of all stages
// of a registry share its cap (Config.MaxSeries): with five stages and k = 20 they
// need 405 series, and at most 17 times as many of stage.customer.failed.
//
// Safe for concurrent use.
type Stage struct {
	m    *instrument.Registry
	tags []string

	in, out  *instrument.Counter
	duration *instrument.Timer
	active   atomic.Int64
	failed   reasons
	names    memo.Memo[string, string] // reasons, at most maxReasons of them, and "_OTHER"
	reasons  int                       // in names, which guards it

	customers *customers
}

// Pass is a message, or several of one customer, on the way through a Stage. End
// it once, with Out, OutN or Fail.
type Pass struct {
	s     *Stage
	c     *customer
	name  string // of the customer
	n     uint64
	start time.Time
}

// NewStage makes the instruments of a stage that shows 2k customers. Each stage of
// a registry needs a name of its own, or other tags.
func NewStage(m *instrument.Registry, name string, k int, tags ...string) *Stage {
	m.Describe("stage.in", "1", "Messages that came in.")
	m.Describe("stage.out", "1", "Messages that went out.")
	m.Describe("stage.failed", "1", "Messages that failed.")
	m.Describe("stage.duration", "seconds", "Time through the stage.")
	m.Describe("stage.active", "1", "Passes under way.")
	m.Describe("stage.customer.in", "1", "Messages that came in, by customer.")
	m.Describe("stage.customer.out", "1", "Messages that went out, by customer.")
	m.Describe("stage.customer.failed", "1", "Messages that failed, by customer.")
	m.Describe("stage.customer.duration", "seconds", "Time through the stage, by customer.")
	tags = tagged(tags, "stage", name)
	s := &Stage{
		m: m, tags: tags,
		in:       m.Counter("stage.in", tags...),
		out:      m.Counter("stage.out", tags...),
		duration: m.Timer("stage.duration", tags...),
	}
	s.failed.New = countReasons(m, "stage.failed", tags)
	s.names.New = func(reason string) (string, string) {
		reason = strings.Clone(reason)
		if s.reasons == maxReasons {
			return reason, other
		}
		s.reasons++
		return reason, reason
	}
	s.customers = newCustomers(s, max(k, 1))
	m.GaugeFunc("stage.active", func() float64 {
		s.customers.reviewIfDue(time.Now()) // also where nothing passes
		return float64(s.active.Load())
	}, tags...)
	return s
}

// In counts a message of a customer in; "" is one without, which counts to
// "other".
func (s *Stage) In(customer string) Pass { return s.InN(customer, 1) }

// InN counts n messages of a customer in, which pass together.
func (s *Stage) InN(customer string, n uint64) Pass {
	now := time.Now()
	s.in.Add(n)
	s.active.Add(1)
	c := s.customers.of(customer, n, now)
	c.in.Add(n)
	return Pass{s, c, customer, n, now}
}

// Out ends the pass: its messages went on.
func (p Pass) Out() { p.OutN(p.n) }

// OutN ends the pass: n messages went on in place of those that came in, such as
// 0 of a filter or many of a splitter.
func (p Pass) OutN(n uint64) {
	c := p.c.orOther()
	p.s.out.Add(n)
	c.out.Add(n)
	p.end(c)
}

// Fail ends the pass: its messages failed. The reason must come from a bounded
// set: never the text of an error.
func (p Pass) Fail(reason string) {
	reason = p.s.names.Get(reason)
	c := p.s.customers.fails(p.c.orOther(), p.name, p.n)
	p.s.failed.Get(reason).Add(p.n)
	c.failed.Get(reason).Add(p.n)
	p.end(c)
}

func (p Pass) end(c *customer) {
	took := time.Since(p.start)
	p.s.duration.Record(took)
	c.duration.Record(took)
	p.s.active.Add(-1)
}

// maxReasons bounds the reasons of a stage.
const maxReasons = 16

// reasons are counters by reason, made when they are first needed.
type reasons = memo.Memo[string, *instrument.Counter]

func countReasons(m *instrument.Registry, name string, tags []string) func(string) (string, *instrument.Counter) {
	return func(reason string) (string, *instrument.Counter) {
		return reason, m.Counter(name, tagged(tags, "reason", reason)...)
	}
}
