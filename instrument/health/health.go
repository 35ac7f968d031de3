// Package health tells how a process is: GOOD, DEGRADED or BAD, with a sentence
// for each of its components, over HTTP in the forms that Kubernetes asks for and
// over a text socket that a person reads with nc.
//
//	h := health.New(health.Config{Name: "checkout", Registry: m})
//	db := h.Component("database", health.Critical(), health.Expire(30*time.Second))
//	go h.ListenAndServe(ctx, "127.0.0.1:10001")
//	db.Good("42 connections")
//	h.Started()
package health

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/instrument"
)

// State is how something is.
type State int

// The states, from best to worst.
const (
	Good State = iota
	Degraded
	Bad
)

// String is the state as the socket prints it.
func (s State) String() string { return [...]string{"GOOD", "DEGRADED", "BAD"}[s] }

// MarshalText is String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *State) UnmarshalText(b []byte) error {
	for _, x := range []State{Good, Degraded, Bad} {
		if x.String() == string(b) {
			*s = x
			return nil
		}
	}
	return fmt.Errorf("the state %q is none of GOOD, DEGRADED, BAD", b)
}

// Config is what a process says of itself. What is empty is taken from the
// binary (debug.ReadBuildInfo) and from the system.
type Config struct {
	Name, Version, Revision, BuildTime string
	// Registry gets the gauge health.state{component} (0 GOOD, 1 DEGRADED, 2 BAD)
	// and the counter health.changes{component}; nil for none.
	Registry *instrument.Registry
	// AllowRemote lets ListenAndServe listen beyond the loopback addresses. What it
	// shows has no password: a firewall or a network policy must guard it.
	AllowRemote bool
	// MaxClients is how many clients of the socket are served at once; default 64.
	MaxClients int
}

// Health is the health of one process. Safe for concurrent use.
type Health struct {
	cfg      Config
	build    Build
	begun    time.Time
	mu       sync.Mutex
	parts    []*Component
	queues   []queue
	checks   []check
	started  bool
	notReady string // why, while it is not
	stopping bool
}

// Build is what the binary knows of itself.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Time     string `json:"build_time"`
	Go       string `json:"go"`
}

// ReadBuild reads the build information of the running binary; what it does not
// hold is "unknown".
func ReadBuild() Build {
	b := Build{}
	if bi, ok := debug.ReadBuildInfo(); ok {
		b.Version, b.Go = bi.Main.Version, bi.GoVersion
		dirty := false
		for _, s := range bi.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				dirty = s.Value == "true"
			}
		}
		if dirty && b.Revision != "" {
			b.Revision += " (modified)"
		}
	}
	for _, p := range []*string{&b.Version, &b.Revision, &b.Time, &b.Go} {
		*p = cmp.Or(*p, "unknown")
	}
	return b
}

// New makes the health of a process that is starting: it is GOOD, and neither
// started nor ready until Started is called.
func New(cfg Config) *Health {
	h := &Health{cfg: cfg, build: ReadBuild(), begun: time.Now()}
	h.build.Version = cmp.Or(cfg.Version, h.build.Version)
	h.build.Revision = cmp.Or(cfg.Revision, h.build.Revision)
	h.build.Time = cmp.Or(cfg.BuildTime, h.build.Time)
	if cfg.Name == "" {
		h.cfg.Name = "unknown"
		if exe, err := os.Executable(); err == nil {
			h.cfg.Name = exe[strings.LastIndexByte(exe, '/')+1:]
		}
	}
	if h.cfg.MaxClients == 0 {
		h.cfg.MaxClients = 64
	}
	return h
}

// Component is a part of the process, or something that it needs, which reports
// how it is. Safe for concurrent use.
type Component struct {
	h        *Health
	name     string
	critical bool
	live     bool
	expire   time.Duration
	gauge    *instrument.Gauge
	changes  *instrument.Counter

	// Guarded by h.mu.
	state  State
	text   string
	at     time.Time // of the last report; the zero time for none
	told   State     // as the changes were counted
	exists bool      // reported at least once
}

// Option is a property of a component.
type Option func(*Component)

// Critical makes a component one without which the process cannot work: while it
// is BAD, the process is BAD and not ready.
func Critical() Option { return func(c *Component) { c.critical = true } }

// Live makes a component a part of liveness: while it is BAD, Kubernetes may kill
// the process. It is for what only a restart mends, such as a main loop that has
// stopped, and never for something that the process depends on: a restart does
// not mend a database.
func Live() Option { return func(c *Component) { c.live = true } }

// Expire says how often a component reports. Without a report for that long it is
// BAD.
func Expire(d time.Duration) Option { return func(c *Component) { c.expire = d } }

// Component adds a component; it is GOOD until it reports, or expires. A name
// that exists gives the component that has it.
func (h *Health) Component(name string, opts ...Option) *Component {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.parts {
		if c.name == name {
			return c
		}
	}
	c := &Component{h: h, name: name, text: "no report yet", at: time.Now()}
	for _, o := range opts {
		o(c)
	}
	if m := h.cfg.Registry; m != nil {
		c.gauge, c.changes = m.Gauge("health.state", "component", name), m.Counter("health.changes", "component", name)
	}
	h.parts = append(h.parts, c)
	return c
}

// Report says how the component is, with a sentence for people.
func (c *Component) Report(s State, sentence string) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.state, c.text, c.at, c.exists = min(max(s, Good), Bad), oneLine(sentence), time.Now(), true
	c.count(c.state)
}

// Good reports GOOD.
func (c *Component) Good(sentence string) { c.Report(Good, sentence) }

// Degraded reports that it works, and not well.
func (c *Component) Degraded(sentence string) { c.Report(Degraded, sentence) }

// Bad reports that it does not work.
func (c *Component) Bad(sentence string) { c.Report(Bad, sentence) }

// count tells the registry. h.mu must be held.
func (c *Component) count(s State) {
	if c.gauge == nil {
		return
	}
	c.gauge.Set(float64(s))
	if s != c.told {
		c.changes.Inc()
		c.told = s
	}
}

// oneLine keeps a sentence from looking like more than one line of the socket.
func oneLine(s string) string {
	const limit = 500
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// now is the state of a component at a time. h.mu must be held.
func (c *Component) now(at time.Time) (State, string) {
	if age := at.Sub(c.at); c.expire > 0 && age > c.expire {
		return Bad, fmt.Sprintf("no report for %s (expected every %s)", age.Round(time.Second), c.expire)
	}
	return c.state, c.text
}

type queue struct {
	name string
	f    func() (depth, capacity int, oldest time.Duration)
}

// Queue has f asked for a queue's state at each report: how much waits, how much
// can (0 for no limit), and how old the oldest is (0 for unknown).
func (h *Health) Queue(name string, f func() (depth, capacity int, oldest time.Duration)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queues = append(h.queues, queue{name, f})
}

type check struct {
	c              *Component
	every, timeout time.Duration
	f              func(context.Context) error
}

// Check has Run call f at an interval: an error is BAD. Without an answer within
// three intervals and the timeout the component is BAD, too.
func (h *Health) Check(name string, every, timeout time.Duration, f func(context.Context) error, opts ...Option) *Component {
	c := h.Component(name, append([]Option{Expire(3*every + timeout)}, opts...)...)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, check{c, every, timeout, f})
	return c
}

// Run makes the checks until ctx ends.
func (h *Health) Run(ctx context.Context) error {
	h.mu.Lock()
	checks := slices.Clone(h.checks)
	h.mu.Unlock()
	var all sync.WaitGroup
	for _, k := range checks {
		all.Go(func() {
			tick := time.NewTicker(k.every)
			defer tick.Stop()
			for {
				start := time.Now()
				one, cancel := context.WithTimeout(ctx, k.timeout)
				err := k.f(one)
				cancel()
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					k.c.Bad(err.Error())
				default:
					k.c.Good(fmt.Sprintf("answered in %s", time.Since(start).Round(10*time.Microsecond)))
				}
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	all.Wait()
	return nil
}

// Started says that the start is over: the startup probe passes from here on.
func (h *Health) Started() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started = true
}

// Unready keeps readiness away with a reason, such as a cache that is being
// filled; an empty one lets it come back.
func (h *Health) Unready(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notReady = oneLine(why)
}

// Stopping says that the process ends: it is not ready any more, and still live.
func (h *Health) Stopping() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

// Report is the health at one time.
type Report struct {
	State      State     `json:"state"`
	Name       string    `json:"name"`
	Build      Build     `json:"build"`
	Host       string    `json:"host"`
	PID        int       `json:"pid"`
	Begun      time.Time `json:"begun"`
	Uptime     float64   `json:"uptime_seconds"`
	Started    bool      `json:"started"`
	Ready      bool      `json:"ready"`
	Live       bool      `json:"live"`
	Why        string    `json:"why,omitempty"` // it is not ready
	Components []Part    `json:"components"`
	Queues     []Queue   `json:"queues"`
}

// Part is a component in a Report.
type Part struct {
	Name     string  `json:"name"`
	State    State   `json:"state"`
	Text     string  `json:"text"`
	Age      float64 `json:"age_seconds"` // of the report
	Critical bool    `json:"critical"`
	live     bool
}

// Queue is a queue in a Report.
type Queue struct {
	Name     string  `json:"name"`
	Depth    int     `json:"depth"`
	Capacity int     `json:"capacity"` // 0 for no limit
	Oldest   float64 `json:"oldest_seconds"`
}

// Report tells how the process is. It is BAD while a critical component is, and
// DEGRADED while any component is not GOOD.
func (h *Health) Report() Report {
	now := time.Now()
	h.mu.Lock()
	r := Report{
		Name: h.cfg.Name, Build: h.build, PID: os.Getpid(), Begun: h.begun.UTC(), Uptime: now.Sub(h.begun).Seconds(),
		Started: h.started, Ready: h.started && !h.stopping && h.notReady == "", Live: true, Why: h.notReady,
		Components: []Part{}, Queues: []Queue{},
	}
	switch {
	case h.stopping:
		r.Why = "the process is stopping"
	case !h.started:
		r.Why = "the process is starting"
	}
	for _, c := range h.parts {
		s, text := c.now(now)
		c.count(s)
		r.Components = append(r.Components, Part{c.name, s, text, now.Sub(c.at).Seconds(), c.critical, c.live})
		if s == Bad && c.critical {
			r.State = Bad
			if r.Ready {
				r.Ready, r.Why = false, c.name+": "+text
			}
		}
		if s != Good {
			r.State = max(r.State, Degraded)
		}
		if s == Bad && c.live {
			r.Live = false
			r.State = Bad
		}
	}
	queues := slices.Clone(h.queues)
	h.mu.Unlock()
	r.Host, _ = os.Hostname() // an empty name says that it is not known
	for _, q := range queues {
		depth, capacity, oldest := q.f()
		r.Queues = append(r.Queues, Queue{q.name, depth, capacity, oldest.Seconds()})
	}
	return r
}

// Text is the report as the socket prints it: the state alone on the first line,
// then "name value" lines.
func (r Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nname %s\nversion %s\nrevision %s\nbuild %s\ngo %s\nhost %s\npid %d\nuptime %s\nready %v\n",
		r.State, r.Name, r.Build.Version, r.Build.Revision, r.Build.Time, r.Build.Go, cmp.Or(r.Host, "unknown"), r.PID,
		time.Duration(r.Uptime*float64(time.Second)).Round(time.Second), r.Ready)
	if r.Why != "" {
		fmt.Fprintf(&b, "not ready: %s\n", r.Why)
	}
	for _, c := range r.Components {
		fmt.Fprintf(&b, "component %s %s %s\n", strings.ReplaceAll(c.Name, " ", "_"), c.State, c.Text)
	}
	for _, q := range r.Queues {
		fmt.Fprintf(&b, "queue %s %d/", strings.ReplaceAll(q.Name, " ", "_"), q.Depth)
		if q.Capacity > 0 {
			fmt.Fprint(&b, q.Capacity)
		} else {
			b.WriteByte('-')
		}
		if q.Oldest > 0 {
			fmt.Fprintf(&b, " oldest %s", time.Duration(q.Oldest*float64(time.Second)).Round(time.Millisecond))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
