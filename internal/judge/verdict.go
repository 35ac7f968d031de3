package judge

import (
	"slices"
	"sort"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Subject is a check as it is judged.
type Subject struct {
	ID, Name, Kind, Target string
	Labels                 map[string]string
	Interval, Timeout      time.Duration
	Policy                 record.Policy
	DependsOn              []string
	Paused                 bool
	Group                  string // of nodes of one chain, "" elsewhere
	// Role is "startup", "readiness" or "liveness" as Kubernetes has them, ""
	// for a check that is simply up or down.
	Role string
	// StartupFor is how long the failures of a startup check count for nothing.
	StartupFor time.Duration
	// Places are the locations that run it.
	Places []string
}

// verdicts judges checks. It is pure: it starts nothing, holds no clock, and
// the caller holds a lock. What it wants done it puts into an outcome.
type verdicts struct {
	checks  map[string]*standing
	order   []string
	silent  map[string]time.Time // locations that are not heard, since when
	windows []Window
	open    []open  // the windows that are open, as of the last tick
	looks   float64 // at paces, a day
	budget  float64 // false alarms of slowness a day
}

// standing is one check with what is known of it.
type standing struct {
	Subject
	seats    map[string]*seat
	verdict  record.Verdict
	startup  bool      // has succeeded once, or had its time
	first    time.Time // first run heard
	held     time.Time // waits for its parents' word until then; zero: does not wait
	freed    time.Time // when its parents recovered; zero: they have not, or nothing hung on them
	children []string
	asked    map[string]time.Time // locations asked to confirm, when the run is due
	// Alerting says that people are told of it, and of what.
	alerting record.State
	alertAt  time.Time
	partial  time.Time // since when some places, too few for the quorum, see it down
}

// open is a window that is open, until end.
type open struct {
	*Window
	end time.Time
}

// Ask is a run that is wanted outside the schedule.
type Ask struct {
	Check, Location string
	After           time.Duration
}

// outcome is what an input led to.
type outcome struct {
	changes []record.Change
	asks    []Ask
	alerts  bool // the alerts are to be sent again
}

func newVerdicts(budget float64) *verdicts {
	return &verdicts{checks: map[string]*standing{}, silent: map[string]time.Time{}, budget: budget}
}

// apply makes subjects the checks that are judged. What is known of one that
// stays is kept.
func (v *verdicts) apply(subjects []Subject, windows []Window, now time.Time) (out outcome) {
	v.windows = windows
	keep := make(map[string]*standing, len(subjects))
	v.order = v.order[:0:0]
	v.looks = 0
	for _, s := range subjects {
		st := v.checks[s.ID]
		if st == nil {
			st = &standing{seats: map[string]*seat{}, asked: map[string]time.Time{}}
			st.verdict = record.Verdict{Check: s.ID, State: record.StateUnknown}
		}
		st.Subject, st.children = s, nil
		for l := range st.seats {
			if !slices.Contains(s.Places, l) {
				delete(st.seats, l)
			}
		}
		keep[s.ID] = st
		v.order = append(v.order, s.ID)
		if !s.Paused && s.Interval > 0 {
			v.looks += float64(len(s.Places)) * 3 * float64(24*time.Hour) / float64(s.Interval) // some three phases that move
		}
	}
	v.checks = keep
	for _, id := range v.order {
		for _, p := range v.checks[id].DependsOn {
			if parent := v.checks[p]; parent != nil {
				parent.children = append(parent.children, id)
			}
		}
	}
	out.add(v.tick(now))
	out.alerts = true
	return out
}

func (o *outcome) add(more outcome) {
	o.changes = append(o.changes, more.changes...)
	o.asks = append(o.asks, more.asks...)
	o.alerts = o.alerts || more.alerts
}

// restore takes a check's last known state over a restart.
func (v *verdicts) restore(c record.Change) {
	st := v.checks[c.Check]
	if st == nil {
		return
	}
	st.verdict.State, st.verdict.Since, st.verdict.Stage, st.verdict.Reason = c.To, c.At, c.Stage, c.Reason
	st.verdict.Failing = c.Locations
	st.verdict.Text = c.Text
	if c.To == record.StateDown || c.To == record.StateFlapping {
		st.alerting, st.alertAt = c.To, c.At
	}
}

// counts reports whether a run says something about its target now.
func counts(r record.CheckResult) bool { return !r.Late && r.Reason != "own_fault" }

// replay feeds a run from before a restart: it votes and changes nothing.
func (v *verdicts) replay(r record.CheckResult) {
	if st := v.checks[r.Check]; st != nil && counts(r) {
		st.seat(r.Location).vote(st.Policy, r)
		st.startup = st.startup || r.Success
	}
}

func (st *standing) seat(location string) *seat {
	s := st.seats[location]
	if s == nil {
		s = &seat{location: location}
		st.seats[location] = s
	}
	return s
}

// observe takes a run.
func (v *verdicts) observe(r record.CheckResult, now time.Time) (out outcome) {
	st := v.checks[r.Check]
	if st == nil || !slices.Contains(st.Places, r.Location) {
		return out
	}
	delete(st.asked, r.Location)
	if !counts(r) {
		return v.settle(st, now)
	}
	if st.first.IsZero() {
		st.first = r.Start
	}
	if st.Role == "startup" && !st.startup {
		if !r.Success && r.Start.Sub(st.first) < st.StartupFor {
			return out
		}
		st.startup = true
	}
	s := st.seat(r.Location)
	s.vote(st.Policy, r)
	if r.Success && st.slowWatched() {
		if s.judgePace(r, slowLimit(v.looks, v.budget)) {
			out.alerts = true
		}
	}
	if st.Policy.Confirm == nil || *st.Policy.Confirm {
		out.asks = append(out.asks, v.confirm(st, s, r, now)...)
	}
	out.add(v.settle(st, now))
	// A parent's word frees or explains its children.
	for _, id := range st.children {
		out.add(v.settle(v.checks[id], now))
	}
	return out
}

func (st *standing) slowWatched() bool { return st.Policy.Slow == nil || *st.Policy.Slow }

// firstConfirm is how soon a failure is looked at again, and moreConfirm how
// long after that once more: far enough apart that a hiccup of the network is
// over, near enough that a person is told within seconds.
const (
	firstConfirm = 2 * time.Second
	moreConfirm  = 4 * time.Second
)

// confirm asks for runs that settle what a run left open: the same place again,
// and, at the first failure, every other place at once.
func (v *verdicts) confirm(st *standing, s *seat, r record.CheckResult, now time.Time) (asks []Ask) {
	ask := func(location string, after time.Duration) {
		after = min(after, st.Interval/2)
		if due, waits := st.asked[location]; waits && now.Before(due.Add(st.Timeout+10*time.Second)) {
			return
		}
		if _, silent := v.silent[location]; silent {
			return
		}
		st.asked[location] = now.Add(after)
		asks = append(asks, Ask{st.ID, location, after})
	}
	if _, inWindow := v.window(st); inWindow || st.Paused {
		return nil
	}
	switch {
	case s.flaps:
	case !r.Success && !s.down:
		wait := firstConfirm
		if s.failing > 1 {
			wait = moreConfirm
		}
		ask(s.location, wait)
		if s.failing == 1 {
			for _, other := range st.Places {
				if o := st.seats[other]; other != s.location && (o == nil || o.failing == 0 && now.Sub(o.heard) > firstConfirm) {
					ask(other, 0)
				}
			}
		}
	case r.Success && s.down:
		ask(s.location, moreConfirm)
	}
	return asks
}

// window finds the maintenance window that a check is in.
func (v *verdicts) window(st *standing) (w open, ok bool) {
	for _, o := range v.open {
		if o.Covers(st.ID, st.Labels) && o.end.After(w.end) {
			w, ok = o, true
		}
	}
	return w, ok
}

// quiet reports whether a location has not been heard for so long that it does
// not vote.
func (st *standing) quiet(s *seat, now time.Time) bool {
	return s == nil || s.heard.IsZero() || now.Sub(s.heard) > st.Interval*5/2+st.Timeout+10*time.Second
}

// poll is the count of votes.
type poll struct {
	heard, silent, failing, down, flapping []string
	need                                   int
}

func (v *verdicts) poll(st *standing, now time.Time) (p poll) {
	for _, l := range st.Places {
		s := st.seats[l]
		if _, silent := v.silent[l]; silent || st.quiet(s, now) {
			p.silent = append(p.silent, l)
			continue
		}
		p.heard = append(p.heard, l)
		if s.failing > 0 || s.down {
			p.failing = append(p.failing, l)
		}
		if s.down && !s.flaps {
			p.down = append(p.down, l)
		}
		if s.flaps {
			p.flapping = append(p.flapping, l)
		}
	}
	p.need = min(st.Policy.NeedOf(max(len(p.heard), 1)), len(st.Places))
	return p
}

// state is what the votes alone say.
func (p poll) state(places int) record.State {
	switch {
	case len(p.heard) == 0 || 2*len(p.heard) < places:
		return record.StateUnknown
	case len(p.down) >= p.need:
		return record.StateDown
	case len(p.flapping) >= p.need:
		return record.StateFlapping
	case len(p.failing) > 0:
		return record.StateDegraded
	}
	return record.StateUp
}

// settle decides how a check stands now.
func (v *verdicts) settle(st *standing, now time.Time) (out outcome) {
	p := v.poll(st, now)
	was := st.verdict
	nv := record.Verdict{Check: st.ID, Heard: p.heard, Silent: p.silent, Failing: p.failing, Need: p.need, Children: nil}
	to := p.state(len(st.Places))
	for _, s := range st.seats {
		nv.FlapShare = max(nv.FlapShare, s.recent.flapShare())
		nv.Slow = append(nv.Slow, s.slowPhases()...)
	}
	sort.Slice(nv.Slow, func(i, j int) bool { return nv.Slow[i].Location < nv.Slow[j].Location })
	nv.Stage, nv.Reason = st.commonCause(p)

	if to == record.StateDown && st.Role == "readiness" {
		to = record.StateDegraded // not ready is not down
	}
	if to == record.StateDown && was.State != record.StateDown {
		to = v.explain(st, &nv, now, &out)
	} else {
		st.held, st.freed = time.Time{}, time.Time{}
	}
	if st.Paused {
		to = record.StatePaused
	} else if w, ok := v.window(st); ok {
		to, nv.Window = record.StateMaintenance, w.ID
	} else if was.State == record.StateMaintenance {
		// What fails when a window ends has to fail twice more.
		for _, s := range st.seats {
			s.forgive(st.Policy)
		}
		if to == record.StateDown || to == record.StateFlapping || to == record.StateUnreachable {
			to = record.StateDegraded
		}
	}
	// Silence says nothing: what was down before is not taken for up.
	if to == record.StateUnknown && (was.State == record.StateDown || was.State == record.StateFlapping) && len(p.heard) == 0 && len(st.Places) > 0 {
		to, nv.Stage, nv.Reason, nv.Failing = was.State, was.Stage, was.Reason, was.Failing
	}
	nv.State, nv.Since = to, was.Since
	if to != was.State || nv.Since.IsZero() {
		nv.Since = v.began(st, p, to, now)
	}
	if len(p.down) > 0 && to == record.StateDegraded {
		if st.partial.IsZero() {
			st.partial = now
		}
	} else {
		st.partial = time.Time{}
	}
	for _, id := range st.children {
		if c := v.checks[id]; c.verdict.State == record.StateUnreachable && (to == record.StateDown || to == record.StateUnreachable) {
			nv.Children = append(nv.Children, id)
		}
	}
	nv.Text = was.Text
	st.verdict = nv
	st.alert(&out)
	if to != was.State {
		st.verdict.Text = v.sentence(st, p)
		out.changes = append(out.changes, record.Change{
			Check: st.ID, At: now, From: was.State, To: to, Stage: nv.Stage, Reason: nv.Reason, Locations: nv.Failing, Text: st.verdict.Text,
		})
		out.alerts = true
		if to == record.StateDown || was.State == record.StateDown {
			for _, id := range st.children {
				out.add(v.settle(v.checks[id], now))
			}
		}
	}
	if len(was.Slow) != len(nv.Slow) || len(was.Children) != len(nv.Children) || was.Stage != nv.Stage || !slices.Equal(was.Failing, nv.Failing) {
		out.alerts = true
	}
	return out
}

// began is since when a new state has been true: for failures since the first
// one of the places that decided.
func (v *verdicts) began(st *standing, p poll, to record.State, now time.Time) time.Time {
	var from []string
	switch to {
	case record.StateDown, record.StateUnreachable:
		from = p.down
	case record.StateDegraded:
		from = p.failing
	default:
		return now
	}
	at := now
	for _, l := range from {
		if s := st.seats[l]; s.failing > 0 && s.since.Before(at) {
			at = s.since
		}
	}
	return at
}

// commonCause is the stage and reason that most failing places name.
func (st *standing) commonCause(p poll) (stage, reason string) {
	type cause struct{ stage, reason string }
	n := map[cause]int{}
	best := 0
	for _, l := range p.failing {
		s := st.seats[l]
		c := cause{s.last.stage, s.last.reason}
		if n[c]++; n[c] > best {
			best, stage, reason = n[c], c.stage, c.reason
		}
	}
	return stage, reason
}

// parentWait is how long a check that has failed waits for the word of what it
// depends on, beside that one's own timeout.
const parentWait = 3 * time.Second

// explain asks whether what the check depends on is down as well: then it is
// unreachable, and nobody is told. What people were told of stays down. A parent that was not looked at since the failure began is looked
// at first.
func (v *verdicts) explain(st *standing, nv *record.Verdict, now time.Time, out *outcome) record.State {
	var failedAt time.Time
	for _, s := range st.seats {
		if s.failing > 0 && (failedAt.IsZero() || s.since.Before(failedAt)) {
			failedAt = s.since
		}
	}
	wait := time.Duration(0)
	for _, id := range st.DependsOn {
		parent := v.checks[id]
		if parent == nil || parent.Paused {
			continue
		}
		switch {
		case parent.verdict.State == record.StateDown, parent.verdict.State == record.StateUnreachable:
			nv.Parents = append(nv.Parents, id)
			continue
		case parent.verdict.State == record.StateMaintenance:
			if parent.poll(v, now) == record.StateDown {
				nv.Parents = append(nv.Parents, id)
				continue
			}
		}
		undecided := parent.verdict.State == record.StateDegraded
		for _, l := range parent.Places {
			s := parent.seats[l]
			if _, silent := v.silent[l]; silent || s != nil && !s.heard.Before(failedAt) {
				continue
			}
			undecided = true
			if due, waits := parent.asked[l]; !waits || now.After(due.Add(parent.Timeout+10*time.Second)) {
				parent.asked[l] = now
				out.asks = append(out.asks, Ask{id, l, 0})
			}
		}
		if undecided {
			// Its own failures and the runs that confirm them.
			wait = max(wait, min(parent.Timeout, 10*time.Second)+parentWait+firstConfirm+moreConfirm)
		}
	}
	if len(nv.Parents) > 0 {
		st.held, st.freed = time.Time{}, time.Time{}
		return record.StateUnreachable
	}
	switch {
	case st.verdict.State == record.StateUnreachable:
		// The parent is back: the check gets two intervals to follow.
		if st.freed.IsZero() {
			st.freed = now
		}
		if now.Sub(st.freed) < 2*st.Interval {
			return record.StateUnreachable
		}
		return record.StateDown
	case wait > 0:
		if st.held.IsZero() {
			st.held = now.Add(wait)
		}
		if now.Before(st.held) {
			return record.StateDegraded
		}
	}
	return record.StateDown
}

func (st *standing) poll(v *verdicts, now time.Time) record.State {
	return v.poll(st, now).state(len(st.Places))
}

// tick lets time pass: places fall silent, windows open and close, waiting ends.
func (v *verdicts) tick(now time.Time) (out outcome) {
	v.open = v.open[:0]
	for i := range v.windows {
		if _, end, active, _ := v.windows[i].At(now); active {
			v.open = append(v.open, open{&v.windows[i], end})
		}
	}
	for _, id := range v.order {
		out.add(v.settle(v.checks[id], now))
	}
	return out
}

// get returns a check's verdict with its sentence as of now.
func (v *verdicts) get(id string, now time.Time) (record.Verdict, bool) {
	st := v.checks[id]
	if st == nil {
		return record.Verdict{}, false
	}
	nv := st.verdict
	nv.Text = v.sentence(st, v.poll(st, now))
	return nv, true
}

// location notes that a place is heard or not.
func (v *verdicts) location(name string, silent bool, now time.Time) (out outcome) {
	if _, was := v.silent[name]; was == silent {
		return out
	}
	if silent {
		v.silent[name] = now
	} else {
		delete(v.silent, name)
	}
	out = v.tick(now)
	out.alerts = true
	return out
}
