package judge

import (
	"math"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// pace learns how long one phase takes at one location and notices when it takes
// longer for good. It asks of each run one yes-or-no question, "slower than the
// slowest twentieth of the past?", and adds the answers up as a CUSUM: no shape
// of the distribution is assumed, one slow run in twenty is normal by
// definition, and the bound on false alarms holds for any history that stays
// the same.
//
// The past is a histogram with buckets 19 % apart that forgets slowly. While a
// phase looks slow it is not learned from, for a day at most: then what is slow
// is the new normal.
type pace struct {
	counts [paceBuckets]uint16
	total  int
	score  float64
	slow   bool
	since  time.Time // of the first run of the present row of slow ones
	now    float64   // seconds, smoothed over the slow runs
}

const (
	paceBuckets = 72
	paceFirst   = 0.0001   // seconds; the upper bound of bucket 0
	paceLearn   = 100      // runs before anything is judged
	paceForget  = 4000     // runs after which old ones weigh half
	paceFloor   = 0.020    // seconds above usual that nobody minds
	paceQuant   = 0.95     // the share of runs that is not called slow
	paceP0      = 1 - 0.95 // of slow runs while all is well
	paceP1      = 0.6      // of slow runs once it is slow
	paceRelearn = 24 * time.Hour
)

var (
	paceUp   = math.Log(paceP1 / paceP0)
	paceDown = math.Log((1 - paceP1) / (1 - paceP0))
	paceStep = math.Log(1.19)
)

func paceBucket(sec float64) int {
	if sec <= paceFirst {
		return 0
	}
	return min(paceBuckets-1, 1+int(math.Log(sec/paceFirst)/paceStep))
}

func paceBound(i int) float64 { return paceFirst * math.Exp(float64(i)*paceStep) }

// quantile is the upper bound of the bucket that holds it.
func (p *pace) quantile(q float64) float64 {
	want, n := q*float64(p.total), 0
	for i, c := range p.counts {
		n += int(c)
		if float64(n) >= want {
			return paceBound(i)
		}
	}
	return paceBound(paceBuckets - 1)
}

// learn adds a duration to the past.
func (p *pace) learn(sec float64) {
	p.counts[paceBucket(sec)]++
	p.total++
	if p.total >= paceForget {
		p.total = 0
		for i := range p.counts {
			p.counts[i] /= 2
			p.total += int(p.counts[i])
		}
	}
}

// observe judges a duration against the past and learns it. limit is the score
// at which the phase counts as slow; see slowLimit. It returns whether the phase
// turned slow or normal by this run.
func (p *pace) observe(sec float64, at time.Time, limit float64) (changed bool) {
	if p.total < paceLearn {
		p.learn(sec)
		return false
	}
	usual, bound := p.quantile(0.5), p.quantile(paceQuant)
	exceeds := sec > bound*1.1 && sec > usual+paceFloor
	if exceeds {
		if p.score == 0 {
			p.since, p.now = at, sec
		}
		p.score = min(p.score+paceUp, limit+4*paceUp) // so that its end is noticed soon
		p.now += (sec - p.now) * 0.3
	} else {
		p.score = max(0, p.score+paceDown)
	}
	was := p.slow
	switch {
	case p.score > limit:
		p.slow = true
	case p.score < limit/4:
		p.slow = false
	}
	if p.score < limit/2 || at.Sub(p.since) > paceRelearn {
		p.learn(sec)
	}
	return p.slow != was
}

// slowLimit is the score at which a phase counts as slow so that all of them
// together raise at most budget false alarms a day: ln(looks a day / budget).
func slowLimit(looksPerDay, budget float64) float64 {
	return math.Log(max(looksPerDay/budget, math.E))
}

// phaseName names an index of seat.slow.
func phaseName(i int) string {
	if i == int(record.NumPhases) {
		return "total"
	}
	return record.Phase(i).String()
}

// judgePace lets a successful run of a location pass by the paces of its
// phases.
func (s *seat) judgePace(r record.CheckResult, limit float64) (changed bool) {
	total := r.Total()
	for i := range s.slow {
		sec := r.Duration.Seconds()
		if i < int(record.NumPhases) {
			if total[i].State != record.Done {
				continue
			}
			sec = total[i].Duration.Seconds()
		}
		if s.slow[i].observe(sec, r.Start, limit) {
			changed = true
		}
	}
	return changed
}

// slowPhases lists the phases that are slow now; the total only when no phase
// explains it.
func (s *seat) slowPhases() (out []record.Slow) {
	for i := range s.slow {
		p := &s.slow[i]
		if !p.slow || i == int(record.NumPhases) && len(out) > 0 {
			continue
		}
		out = append(out, record.Slow{Location: s.location, Phase: phaseName(i), Now: seconds(p.now), Usual: seconds(p.quantile(0.5)), Since: p.since})
	}
	return out
}

func seconds(f float64) record.Seconds { return record.Seconds(f * float64(time.Second)) }
