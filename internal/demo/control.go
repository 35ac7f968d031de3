package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// control is the process that holds the switches. Its state is kept in a file,
// so that it is the same after a crash of the process.
type control struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	list    faultList
	changed chan struct{} // closed and replaced at each switch
}

func runControl(ctx context.Context, sh shell) error {
	c := &control{path: filepath.Join(sh.dir, faultFile), log: sh.log, changed: make(chan struct{})}
	c.load()
	return serveHTTP(ctx, address(sh.ports.Control), c.handler())
}

// holdLimit is how long the control endpoint holds an answer back when nothing
// was switched.
const holdLimit = 20 * time.Second

// faultFile holds the switches; Start removes it, so that a shop opens healthy.
const faultFile = "faults.json"

func (c *control) load() {
	c.list.Version = time.Now().UnixMilli() // above that of an earlier process
	for _, f := range Faults() {
		c.list.Faults = append(c.list.Faults, FaultState{FaultInfo: f})
	}
	b, err := os.ReadFile(c.path)
	if err != nil {
		return
	}
	var old faultList
	if err := json.Unmarshal(b, &old); err != nil {
		c.log.Warn("switches not read, all are off", "file", c.path, "error", err)
		return
	}
	for _, o := range old.Faults {
		for i, f := range c.list.Faults {
			if f.Name == o.Name {
				c.list.Faults[i].On, c.list.Faults[i].OnAt, c.list.Faults[i].OffAt = o.On, o.OnAt, o.OffAt
			}
		}
	}
}

func (c *control) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, 200, map[string]string{"status": "ok"}) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, r *http.Request) {
		after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
		writeJSON(w, 200, c.wait(r.Context(), after, holdLimit))
	})
	mux.HandleFunc("POST /faults/{name}/{action}", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(demoHeader) == "" {
			http.Error(w, "switches want the header "+demoHeader, http.StatusForbidden)
			return
		}
		l, err := c.flip(r.PathValue("name"), r.PathValue("action"), time.Now())
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		writeJSON(w, 200, l)
	})
	return mux
}

// wait returns the switches as soon as their version differs from after, or
// when limit has passed.
func (c *control) wait(ctx context.Context, after int64, limit time.Duration) faultList {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		c.mu.Lock()
		l := faultList{Version: c.list.Version, Faults: append([]FaultState(nil), c.list.Faults...)}
		changed := c.changed
		c.mu.Unlock()
		if l.Version != after {
			return l
		}
		select {
		case <-changed:
		case <-timer.C:
			return l
		case <-ctx.Done():
			return l
		}
	}
}

// flip switches one fault or all, and returns those it was asked about.
func (c *control) flip(name, action string, now time.Time) (faultList, error) {
	if action != "on" && action != "off" {
		return faultList{}, fmt.Errorf("action %q: want on or off", action)
	}
	if name != "all" && !knownFault(name) {
		return faultList{}, fmt.Errorf("no fault %q", name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out faultList
	for i := range c.list.Faults {
		f := &c.list.Faults[i]
		if name != "all" && f.Name != name {
			continue
		}
		switch on := action == "on"; {
		case on && !f.On:
			f.On, f.OnAt = true, now.UTC()
			c.log.Info("fault on", "fault", f.Name)
		case !on && f.On:
			f.On, f.OffAt = false, now.UTC()
			c.log.Info("fault off", "fault", f.Name)
		}
		out.Faults = append(out.Faults, *f)
	}
	c.list.Version++
	out.Version = c.list.Version
	close(c.changed)
	c.changed = make(chan struct{})
	if err := c.save(); err != nil {
		c.log.Warn("switches not kept", "file", c.path, "error", err)
	}
	return out, nil
}

func (c *control) save() error {
	b, err := json.MarshalIndent(c.list, "", "  ")
	if err != nil {
		return err
	}
	temp := c.path + ".new"
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, c.path)
}

// switches is a process's view of the control endpoint. It is safe for
// concurrent use.
type switches struct {
	states atomic.Pointer[map[string]FaultState]
}

// on reports whether the fault is on. While the control endpoint is away the
// last known state holds.
func (s *switches) on(fault string) bool { return s.state(fault).On }

func (s *switches) state(fault string) FaultState {
	m := s.states.Load()
	if m == nil {
		return FaultState{}
	}
	return (*m)[fault]
}

func (s *switches) all() []FaultState {
	var list []FaultState
	for _, f := range Faults() {
		st := s.state(f.Name)
		st.FaultInfo = f
		list = append(list, st)
	}
	return list
}

func (s *switches) set(states []FaultState) {
	m := make(map[string]FaultState, len(states))
	for _, f := range states {
		m[f.Name] = f
	}
	s.states.Store(&m)
}

// follow keeps s equal to the control endpoint until ctx ends, and calls
// changed (when not nil) after each change.
func (s *switches) follow(ctx context.Context, p ports, changed func()) {
	var version int64
	for ctx.Err() == nil {
		// A control process that hangs is asked anew.
		limited, cancel := context.WithTimeout(ctx, holdLimit+5*time.Second)
		l, err := fetchFaults(limited, p, version)
		cancel()
		if err != nil {
			rest(ctx, 300*time.Millisecond)
			continue
		}
		if l.Version == version {
			continue
		}
		version = l.Version
		s.set(l.Faults)
		if changed != nil {
			changed()
		}
	}
}

// rest waits for d or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
