package judge

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

var t0 = time.Date(2026, 11, 2, 3, 0, 0, 0, time.UTC)

// sim runs checks from places against a world that the test describes: the
// schedule, the runs that are asked for, ticks, and what people are told.
type sim struct {
	v     *verdicts
	now   time.Time
	queue simQueue
	seq   int
	// world decides how a run ends: "" for well, else "stage/reason".
	world   func(check, location string, at time.Time) string
	took    func(check, location string, at time.Time) time.Duration
	cut     map[string]bool // locations that are cut off from the hub
	late    []record.CheckResult
	changes []record.Change
	asks    int
	told    map[string]bool // by alertname and check
	pages   []string        // alerts told, in order
}

type simEvent struct {
	at              time.Time
	seq             int
	check, location string
	extra           bool
	every           time.Duration
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

func subject(id string, places ...string) Subject {
	s := Subject{ID: id, Name: id, Kind: "http", Target: "http://" + id, Interval: 30 * time.Second, Timeout: 5 * time.Second, Places: places}
	if err := s.Policy.Validate(); err != nil {
		panic(err)
	}
	return s
}

func newSim(windows []Window, subjects ...Subject) *sim {
	s := &sim{v: newVerdicts(0.1), now: t0, told: map[string]bool{}, cut: map[string]bool{},
		world: func(string, string, time.Time) string { return "" },
		took:  func(string, string, time.Time) time.Duration { return 50 * time.Millisecond }}
	s.take(s.v.apply(subjects, windows, t0))
	n := 0
	for _, sub := range subjects {
		for _, l := range sub.Places {
			n++
			s.push(simEvent{at: t0.Add(time.Duration(n) * 1700 * time.Millisecond % sub.Interval), check: sub.ID, location: l, every: sub.Interval})
		}
	}
	return s
}

func (s *sim) push(e simEvent) {
	s.seq++
	e.seq = s.seq
	heap.Push(&s.queue, e)
}

func (s *sim) take(o outcome) {
	s.changes = append(s.changes, o.changes...)
	for _, a := range o.asks {
		s.asks++
		s.push(simEvent{at: s.now.Add(a.After), check: a.Check, location: a.Location, extra: true})
	}
	if !o.alerts {
		return
	}
	now := map[string]bool{}
	for _, a := range s.v.alerts("http://v", s.now) {
		k := strings.TrimSpace(a.Labels["alertname"] + " " + a.Labels["check"] + a.Labels["location"] + a.Labels["group"])
		now[k] = true
		if !s.told[k] {
			s.pages = append(s.pages, k)
		}
	}
	s.told = now
}

// result is a run as the world has it.
func (s *sim) result(e simEvent) record.CheckResult {
	r := record.CheckResult{Check: e.check, Location: e.location, Start: s.now, Extra: e.extra, Success: true, Duration: s.took(e.check, e.location, s.now)}
	r.Hops = []record.Hop{{Address: "10.0.0.1:80"}}
	for ph := range record.NumPhases {
		r.Hops[0].Phases[ph] = record.PhaseTime{State: record.Done, Duration: r.Duration / 5}
	}
	if w := s.world(e.check, e.location, s.now); w != "" {
		r.Success = false
		r.Stage, r.Reason, _ = strings.Cut(w, "/")
		r.Message = "it went wrong"
	}
	return r
}

// until lets time pass.
func (s *sim) until(end time.Time) {
	nextTick := s.now.Add(checkTick)
	for {
		at := end
		if nextTick.Before(at) {
			at = nextTick
		}
		if len(s.queue) > 0 && s.queue[0].at.Before(at) {
			e := heap.Pop(&s.queue).(simEvent)
			s.now = maxTime(s.now, e.at)
			if e.every > 0 {
				next := e
				next.at = e.at.Add(e.every)
				s.push(next)
			}
			r := s.result(e)
			if s.cut[e.location] {
				if !e.extra {
					s.late = append(s.late, r)
				}
				continue
			}
			s.take(s.v.observe(r, s.now))
			continue
		}
		s.now = at
		if !at.Before(end) {
			return
		}
		s.take(s.v.tick(s.now))
		nextTick = s.now.Add(checkTick)
		s.take(outcome{alerts: true})
	}
}

func (s *sim) pass(d time.Duration) { s.until(s.now.Add(d)) }

func (s *sim) state(id string) record.State { return s.v.checks[id].verdict.State }

func wantState(t *testing.T, s *sim, id string, want record.State) {
	t.Helper()
	if got := s.state(id); got != want {
		nv, _ := s.v.get(id, s.now)
		t.Errorf("at +%s %s is %s (%s), want %s", s.now.Sub(t0), id, got, nv.Text, want)
	}
}

func wantPages(t *testing.T, s *sim, want ...string) {
	t.Helper()
	if got := strings.Join(s.pages, "; "); got != strings.Join(want, "; ") {
		t.Errorf("at +%s told %q, want %q", s.now.Sub(t0), got, strings.Join(want, "; "))
	}
}

func TestOnePlaceDownIsConfirmedWithinSeconds(t *testing.T) {
	s := newSim(nil, subject("shop", "hub"))
	s.pass(2 * time.Minute)
	wantState(t, s, "shop", record.StateUp)
	fault := s.now
	s.world = func(string, string, time.Time) string { return "connect/refused" }
	s.pass(40 * time.Second)
	wantState(t, s, "shop", record.StateDown)
	wantPages(t, s, "CheckDown shop")
	var seen, failed time.Time
	for _, c := range s.changes {
		switch c.To {
		case record.StateDegraded:
			failed = c.At
		case record.StateDown:
			seen = c.At
		}
	}
	if d := seen.Sub(failed); d > 7*time.Second {
		t.Errorf("down %s after the first failure, want within 7s", d)
	}
	if since := s.v.checks["shop"].verdict.Since; since.Sub(fault) > 30*time.Second || since.After(failed) {
		t.Errorf("since %s, want the first failed run, %s", since, failed)
	}
	s.world = func(string, string, time.Time) string { return "" }
	s.pass(time.Minute)
	wantState(t, s, "shop", record.StateUp)
	if len(s.told) != 0 {
		t.Errorf("still told: %v", s.told)
	}
}

func TestOneFailedRunIsNotToldAndNotLost(t *testing.T) {
	s := newSim(nil, subject("shop", "hub"))
	once := true
	s.pass(time.Minute)
	s.world = func(string, string, time.Time) string {
		if once {
			once = false
			return "connect/connect_timeout"
		}
		return ""
	}
	s.pass(time.Minute)
	wantState(t, s, "shop", record.StateUp)
	wantPages(t, s)
	degraded := false
	for _, c := range s.changes {
		degraded = degraded || c.To == record.StateDegraded
	}
	if !degraded {
		t.Error("the failure left no trace in the history")
	}
}

func TestQuorum(t *testing.T) {
	sub := subject("shop", "hub", "eu", "ap")
	sub.Policy.Quorum = "2 of 3"
	s := newSim(nil, sub)
	s.pass(2 * time.Minute)
	s.world = func(_, l string, _ time.Time) string {
		if l == "ap" {
			return "tls/tls_timeout"
		}
		return ""
	}
	s.pass(5 * time.Minute)
	wantState(t, s, "shop", record.StateDegraded)
	wantPages(t, s)
	nv, _ := s.v.get("shop", s.now)
	for _, want := range []string{"1 of 3 places (ap)", "2 needed to call it down", "TLS fails", "up from hub, eu"} {
		if !strings.Contains(nv.Text, want) {
			t.Errorf("the sentence %q lacks %q", nv.Text, want)
		}
	}
	s.pass(6 * time.Minute)
	wantPages(t, s, "CheckFailsFromSomePlaces shop")
	s.world = func(_, l string, _ time.Time) string {
		if l != "hub" {
			return "tls/tls_timeout"
		}
		return ""
	}
	s.pass(time.Minute)
	wantState(t, s, "shop", record.StateDown)
	wantPages(t, s, "CheckFailsFromSomePlaces shop", "CheckDown shop")
}

// Two places and the hub; one is cut off from the hub for a minute and from the
// target for as long: nothing is told, and its runs vote no more when they come.
func TestCutOffPlace(t *testing.T) {
	sub := subject("shop", "hub", "eu", "ap")
	sub.Policy.Quorum = "2 of 3"
	s := newSim(nil, sub)
	s.pass(2 * time.Minute)
	s.cut["ap"] = true
	s.world = func(_, l string, _ time.Time) string {
		if l == "ap" {
			return "connect/connect_timeout"
		}
		return ""
	}
	s.pass(10 * time.Second)
	s.take(s.v.location("ap", true, s.now))
	s.pass(50 * time.Second)
	wantState(t, s, "shop", record.StateUp)
	s.cut["ap"] = false
	s.world = func(string, string, time.Time) string { return "" }
	for _, r := range s.late {
		r.Late = true
		s.take(s.v.observe(r, s.now))
	}
	s.take(s.v.location("ap", false, s.now))
	if len(s.late) == 0 {
		t.Fatal("the cut-off place made no runs")
	}
	s.pass(2 * time.Minute)
	wantState(t, s, "shop", record.StateUp)
	wantPages(t, s, "LocationSilent ap")

	// While one place is away, one of the two that are left is still no quorum.
	s.take(s.v.location("ap", true, s.now))
	s.world = func(_, l string, _ time.Time) string {
		if l == "eu" {
			return "connect/refused"
		}
		return ""
	}
	s.pass(3 * time.Minute)
	wantState(t, s, "shop", record.StateDegraded)
	s.take(s.v.location("eu", true, s.now))
	wantState(t, s, "shop", record.StateUnknown)
}

func TestAllPlacesSilent(t *testing.T) {
	s := newSim(nil, subject("shop", "eu", "ap"))
	s.world = func(string, string, time.Time) string { return "connect/refused" }
	s.pass(time.Minute)
	wantState(t, s, "shop", record.StateDown)
	s.take(s.v.location("eu", true, s.now))
	s.take(s.v.location("ap", true, s.now))
	wantState(t, s, "shop", record.StateDown) // silence does not end an alert
	if !s.told["CheckDown shop"] {
		t.Errorf("the alert ended by silence: %v", s.told)
	}
	fresh := newSim(nil, subject("shop", "eu", "ap"))
	fresh.take(fresh.v.location("eu", true, fresh.now))
	fresh.take(fresh.v.location("ap", true, fresh.now))
	fresh.pass(time.Minute)
	wantState(t, fresh, "shop", record.StateUnknown)
}

func TestOwnFaultsDoNotVote(t *testing.T) {
	s := newSim(nil, subject("shop", "hub", "eu", "ap"))
	s.pass(time.Minute)
	s.world = func(_, l string, _ time.Time) string {
		if l != "hub" {
			return "connect/own_fault"
		}
		return ""
	}
	s.pass(5 * time.Minute)
	wantPages(t, s)
	wantState(t, s, "shop", record.StateUnknown) // two of three places say nothing
}

// Every second request fails: one bad node behind a balancer.
func TestFlapping(t *testing.T) {
	s := newSim(nil, subject("shop", "hub"))
	s.pass(15 * time.Minute)
	start, n, runs := s.now, 0, 0
	s.world = func(string, string, time.Time) string {
		n++
		if n%2 == 0 {
			return "status/status"
		}
		return ""
	}
	// The confirming runs take every other turn as well: count the schedule's.
	for s.state("shop") != record.StateFlapping && runs < 60 {
		s.pass(30 * time.Second)
		runs++
	}
	if runs > 21 {
		t.Errorf("flapping after %d runs (%s), want within 21", runs, s.now.Sub(start))
	}
	s.pass(2 * time.Hour)
	wantState(t, s, "shop", record.StateFlapping)
	wantPages(t, s, "CheckFlapping shop")
	s.world = func(string, string, time.Time) string { return "connect/refused" }
	s.pass(5 * time.Minute)
	wantState(t, s, "shop", record.StateDown)
	s.world = func(string, string, time.Time) string { return "" }
	s.pass(15 * time.Minute)
	wantState(t, s, "shop", record.StateUp)
	wantPages(t, s, "CheckFlapping shop", "CheckDown shop")
}

// A gateway and forty checks behind it: one notice that names them.
func TestDependencies(t *testing.T) {
	subjects := []Subject{subject("gateway", "hub")}
	for i := range 40 {
		c := subject(fmt.Sprintf("child-%02d", i), "hub")
		c.DependsOn = []string{"gateway"}
		subjects = append(subjects, c)
	}
	s := newSim(nil, subjects...)
	s.pass(5 * time.Minute)
	s.world = func(string, string, time.Time) string { return "connect/connect_timeout" }
	s.pass(3 * time.Minute)
	wantPages(t, s, "CheckDown gateway")
	wantState(t, s, "gateway", record.StateDown)
	wantState(t, s, "child-17", record.StateUnreachable)
	for _, a := range s.v.alerts("http://v", s.now) {
		if !strings.HasPrefix(a.Annotations["explains"], "40 that depend on it: child-00, ") {
			t.Errorf("the alert explains %q", a.Annotations["explains"])
		}
	}
	// The gateway comes back, one child does not.
	s.world = func(c, _ string, _ time.Time) string {
		if c == "child-17" {
			return "status/status"
		}
		return ""
	}
	s.pass(4 * time.Minute)
	wantState(t, s, "gateway", record.StateUp)
	wantState(t, s, "child-16", record.StateUp)
	wantState(t, s, "child-17", record.StateDown)
	wantPages(t, s, "CheckDown gateway", "CheckDown child-17")
}

func TestChildAloneIsToldSoon(t *testing.T) {
	child := subject("child", "hub")
	child.DependsOn = []string{"gateway"}
	s := newSim(nil, subject("gateway", "hub"), child)
	s.pass(5 * time.Minute)
	s.world = func(c, _ string, _ time.Time) string {
		if c == "child" {
			return "status/status"
		}
		return ""
	}
	s.pass(time.Minute)
	wantPages(t, s, "CheckDown child")
}

func TestMaintenance(t *testing.T) {
	w := Window{ID: "w", Name: "new disks", Labels: map[string]string{"team": "shop"}, Start: t0.Add(10 * time.Minute), End: t0.Add(20 * time.Minute)}
	if err := w.Validate(); err != nil {
		t.Fatal(err)
	}
	sub := subject("shop", "hub")
	sub.Labels = map[string]string{"team": "shop"}
	s := newSim([]Window{w}, sub, subject("other", "hub"))
	s.pass(11 * time.Minute)
	wantState(t, s, "shop", record.StateMaintenance)
	wantState(t, s, "other", record.StateUp)
	s.world = func(c, _ string, _ time.Time) string {
		if c == "shop" {
			return "connect/refused"
		}
		return ""
	}
	s.pass(8 * time.Minute)
	wantPages(t, s)
	asked := s.asks
	if asked != 0 {
		t.Errorf("%d confirming runs within the window, want none", asked)
	}
	s.until(w.End.Add(checkTick))
	wantState(t, s, "shop", record.StateDegraded)
	wantPages(t, s)
	s.pass(40 * time.Second)
	wantState(t, s, "shop", record.StateDown)
	wantPages(t, s, "CheckDown shop")
}

func TestReadinessIsAWarningAndStartupWaits(t *testing.T) {
	ready, start := subject("ready", "hub"), subject("start", "hub")
	ready.Role, start.Role, start.StartupFor = "readiness", "startup", 5*time.Minute
	s := newSim(nil, ready, start)
	s.world = func(string, string, time.Time) string { return "status/status" }
	s.pass(4 * time.Minute)
	wantState(t, s, "ready", record.StateDegraded)
	wantState(t, s, "start", record.StateUnknown)
	wantPages(t, s, "CheckNotReady ready")
	s.pass(3 * time.Minute)
	wantState(t, s, "start", record.StateDown)
}

func TestSlowness(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	s := newSim(nil, subject("shop", "hub", "eu", "ap"))
	slow := false
	s.took = func(_, l string, _ time.Time) time.Duration {
		d := time.Duration(float64(100*time.Millisecond) * (1 + 0.3*rnd.ExpFloat64()))
		if slow && l == "ap" {
			d += 400 * time.Millisecond
		}
		return d
	}
	s.pass(24 * time.Hour)
	wantPages(t, s)
	slow = true
	s.pass(8 * time.Minute)
	wantPages(t, s, "CheckSlow shop")
	wantState(t, s, "shop", record.StateUp)
	nv, _ := s.v.get("shop", s.now)
	if !strings.Contains(nv.Text, "slow from ap (") || !strings.Contains(nv.Text, "normal from the 2 other places") {
		t.Errorf("the sentence is %q", nv.Text)
	}
	slow = false
	s.pass(30 * time.Minute)
	if len(s.told) != 0 {
		t.Errorf("still told: %v", s.told)
	}
}

func TestLocationProblem(t *testing.T) {
	var subjects []Subject
	for i := range 5 {
		subjects = append(subjects, subject(fmt.Sprint("c", i), "hub", "eu", "ap"))
	}
	s := newSim(nil, subjects...)
	s.pass(2 * time.Minute)
	s.world = func(_, l string, _ time.Time) string {
		if l == "ap" {
			return "resolve/dns_timeout"
		}
		return ""
	}
	s.pass(20 * time.Minute)
	if !s.told["LocationProblem ap"] {
		t.Errorf("told %v, want LocationProblem ap", s.told)
	}
	for k := range s.told {
		if strings.HasPrefix(k, AlertDown) {
			t.Errorf("told %s", k)
		}
	}
}

func TestChainHaltIsOneAlert(t *testing.T) {
	var subjects []Subject
	for i := range 4 {
		c := subject(fmt.Sprint("node", i), "hub")
		c.Kind, c.Group = "evm", "eth-mainnet"
		subjects = append(subjects, c)
	}
	s := newSim(nil, subjects...)
	s.pass(2 * time.Minute)
	s.world = func(string, string, time.Time) string { return "assertion/chain_halt" }
	s.pass(2 * time.Minute)
	wantPages(t, s, "ChainHalt eth-mainnet")
}

func TestRestart(t *testing.T) {
	s := newSim(nil, subject("shop", "hub"))
	s.world = func(string, string, time.Time) string { return "connect/refused" }
	s.pass(time.Minute)
	wantState(t, s, "shop", record.StateDown)
	last := s.changes[len(s.changes)-1]

	again := newSim(nil, subject("shop", "hub"))
	again.now = s.now.Add(5 * time.Second)
	again.v.restore(last)
	for i := range 3 {
		r := record.CheckResult{Check: "shop", Location: "hub", Start: s.now.Add(time.Duration(i-3) * 10 * time.Second), Stage: "connect", Reason: "refused"}
		again.v.replay(r)
	}
	again.world = s.world
	again.take(outcome{alerts: true})
	wantPages(t, again, "CheckDown shop")
	again.pass(time.Minute)
	wantState(t, again, "shop", record.StateDown)
	if !again.v.checks["shop"].verdict.Since.Equal(last.At) {
		t.Errorf("since %s, want %s as before the restart", again.v.checks["shop"].verdict.Since, last.At)
	}
	wantPages(t, again, "CheckDown shop")
}

// A day of one per cent of random loss on 20 checks from three places, and from
// one place, and a flapping target: how often people are called. The bound: a
// place votes after three failures in a row, so with independent loss p a check
// seen from one place is called down p³ of its runs, and from three places with
// a quorum of two 3p⁶.
func TestFalseAlarmsOfADay(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates three days")
	}
	day := func(seed uint64, loss float64, n int, places ...string) *sim {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var subjects []Subject
		for i := range n {
			subjects = append(subjects, subject(fmt.Sprint("c", i), places...))
		}
		s := newSim(nil, subjects...)
		s.world = func(string, string, time.Time) string {
			if rnd.Float64() < loss {
				return "connect/connect_timeout"
			}
			return ""
		}
		s.pass(24 * time.Hour)
		return s
	}
	three := day(1, 0.01, 20, "hub", "eu", "ap")
	t.Logf("1 %% loss, 20 checks, 3 places, quorum of 2: %d pages in 24 h, %d confirming runs", len(three.pages), three.asks)
	if len(three.pages) != 0 {
		t.Errorf("told %v", three.pages)
	}
	pages, days := 0, 10
	for seed := range days {
		pages += len(day(uint64(100+seed), 0.01, 20, "hub").pages)
	}
	bound := float64(days) * 20 * 2880 * 0.01 * 0.01 * 0.01
	t.Logf("1 %% loss, 20 checks, 1 place: %d pages in %d days, %.2f expected by the rule; a page for each failed run would have been about %.0f", pages, days, bound, float64(days)*20*2880*0.01)
	if float64(pages) > bound+4 {
		t.Errorf("told %d pages, the rule expects %.2f", pages, bound)
	}

	n := 0
	flap := newSim(nil, subject("flappy", "hub"))
	flap.world = func(string, string, time.Time) string {
		if n++; n%2 == 0 {
			return "status/status"
		}
		return ""
	}
	flap.pass(24 * time.Hour)
	t.Logf("every second request fails for 24 h: %d pages (%v)", len(flap.pages), flap.pages)
	wantPages(t, flap, "CheckFlapping flappy")
}
