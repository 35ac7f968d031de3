package judge

import (
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// seat is one location's view of one check: the vote that counts towards the
// quorum, and how steady it is.
type seat struct {
	location string
	heard    time.Time // when its last run that counts began; zero: never
	failing  int       // runs in a row that failed
	passing  int       // runs in a row that succeeded
	down     bool      // its vote
	since    time.Time // of the first run of the present outcome
	last     brief     // of the last failure
	recent   bits      // the last runs, confirmations included
	flaps    bool
	slow     [record.NumPhases + 1]pace
}

// brief is what is kept of a failed run for the words of a verdict.
type brief struct{ stage, reason, message, address string }

// flapRuns is over how many runs changes are counted, confirming ones included:
// with one bad node of two behind a balancer it may always be the confirmation
// that succeeds. The share
// of changes at which flapping begins and ends are those of Nagios.
const (
	flapRuns  = 21
	flapEnter = 0.5
	flapLeave = 0.25
)

// vote takes a run into account. A run that says nothing about the target leaves
// the seat as it was; the caller has sorted those out.
func (s *seat) vote(p record.Policy, r record.CheckResult) {
	s.heard = maxTime(s.heard, r.Start)
	s.recent.push(r.Success)
	failed, of, _ := p.FailedShare() // was validated
	often := of > 0 && s.recent.failed(of) >= failed
	if r.Success {
		if s.passing == 0 {
			s.since = r.Start
		}
		s.passing, s.failing = s.passing+1, 0
		if s.down && s.passing >= p.Recoveries && !often {
			s.down = false
		}
	} else {
		if s.failing == 0 {
			s.since = r.Start
		}
		s.failing, s.passing = s.failing+1, 0
		s.last = brief{stage: r.Stage, reason: r.Reason, message: r.Message}
		if n := len(r.Hops); n > 0 {
			s.last.address = r.Hops[n-1].Address
		}
		if s.failing >= p.Failures || often {
			s.down = true
		}
	}
	if s.flaps && s.failing >= max(2*p.Failures, 5) {
		// It fails for good now: what was before no longer counts as flapping.
		s.flaps, s.recent = false, bits{v: 1, n: 1}
	}
	share := s.recent.flapShare()
	switch {
	case share >= flapEnter:
		s.flaps = true
	case share <= flapLeave:
		s.flaps = false
	}
}

// forgive makes a failing seat wait for two more failures before it votes the
// check down: at the end of a maintenance window.
func (s *seat) forgive(p record.Policy) {
	s.failing, s.down, s.flaps = max(0, min(s.failing, p.Failures-2)), false, false
	s.recent = bits{}
}

// bits are the last outcomes of a seat, at most 64.
type bits struct {
	v uint64 // the newest is bit 0; 1 is a failure
	n int
}

func (b *bits) push(ok bool) {
	b.v <<= 1
	if !ok {
		b.v |= 1
	}
	b.n = min(b.n+1, 64)
}

// failed counts the failures among the last n.
func (b bits) failed(n int) (k int) {
	for i := range min(n, b.n) {
		k += int(b.v >> i & 1)
	}
	return k
}

// flapShare is the weighted share of changes among the last flapRuns runs, from
// 0 to 1: the newest change weighs 1.2, the oldest 0.8. Runs that are not there
// yet count as unchanged.
func (b bits) flapShare() float64 {
	const changes = flapRuns - 1
	var sum float64
	for i := range min(changes, b.n-1) {
		if b.v>>i&1 != b.v>>(i+1)&1 {
			sum += 1.2 - 0.4*float64(i)/(changes-1)
		}
	}
	return sum / changes
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
