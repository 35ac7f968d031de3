package state

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// BoardRuns is how many runs of a check the board remembers.
const BoardRuns = 60

// Board is the present state of every check: what the screen of checks shows.
// It lives in memory and is filled from Runs after a restart. Safe for
// concurrent use.
type Board struct {
	runs *Runs

	mu     sync.Mutex
	checks map[string]*Standing
}

// Standing is how a check stands.
type Standing struct {
	State       string    // "up", "down" or "unknown"
	Since       time.Time // of this state; zero when unknown
	Consecutive int       // runs of this outcome in a row
	Last        *record.CheckResult
	Recent      []Brief // oldest first
	Uptime24h   float64 // share of runs that succeeded
	Runs24h     int     // 0: no share

	counted time.Time // when the share was computed
}

// Brief is one run as a cell of the screen.
type Brief struct {
	At    int64                     `json:"t"` // Unix seconds
	OK    bool                      `json:"ok"`
	Stage string                    `json:"stage"`
	MS    [record.NumPhases]float64 `json:"ms"`
}

// NewBoard makes an empty board.
func NewBoard(runs *Runs) *Board { return &Board{runs: runs, checks: map[string]*Standing{}} }

// Restore fills the board with the newest runs of the checks.
func (b *Board) Restore(ctx context.Context, checks []string) error {
	for _, id := range checks {
		rs, err := b.runs.List(ctx, RunsFilter{Check: id, Limit: BoardRuns})
		if err != nil {
			return fmt.Errorf("restore check %s: %w", id, err)
		}
		for i := len(rs) - 1; i >= 0; i-- {
			b.Add(rs[i])
		}
		b.mu.Lock()
		s := b.checks[id]
		whole := s != nil && s.Consecutive == len(rs)
		up := whole && s.State == "up"
		b.mu.Unlock()
		if !whole {
			continue
		}
		// The state may be older than the runs that the board remembers.
		since, n, err := b.runs.since(ctx, id, up)
		if err != nil {
			return fmt.Errorf("restore check %s: %w", id, err)
		}
		b.mu.Lock()
		s.Since, s.Consecutive = since, n
		b.mu.Unlock()
	}
	return nil
}

// Add takes a run and returns whether the check's state changed by it.
func (b *Board) Add(r record.CheckResult) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.checks[r.Check]
	if s == nil {
		s = &Standing{State: "unknown"}
		b.checks[r.Check] = s
	}
	state := "down"
	if r.Success {
		state = "up"
	}
	if s.State != state {
		s.State, s.Since, s.Consecutive = state, r.Start, 0
		changed = true
	}
	s.Consecutive++
	s.Last = &r
	br := Brief{At: r.Start.Unix(), OK: r.Success, Stage: r.Stage}
	for i, p := range r.Total() {
		br.MS[i] = float64(p.Duration.Microseconds()) / 1000
	}
	s.Recent = append(s.Recent, br)
	if n := len(s.Recent) - BoardRuns; n > 0 {
		s.Recent = append(s.Recent[:0:0], s.Recent[n:]...)
	}
	return changed
}

// Get returns a copy of a check's standing, "unknown" for one without runs.
func (b *Board) Get(ctx context.Context, id string, now time.Time) Standing {
	b.mu.Lock()
	s := b.checks[id]
	if s == nil {
		b.mu.Unlock()
		return Standing{State: "unknown", Recent: []Brief{}}
	}
	stale := now.Sub(s.counted) > 30*time.Second
	if stale {
		s.counted = now
	}
	out := *s
	out.Recent = append([]Brief{}, s.Recent...)
	b.mu.Unlock()
	if stale {
		if ok, all, err := b.runs.count(ctx, id, now.Add(-24*time.Hour)); err == nil && all > 0 {
			out.Uptime24h, out.Runs24h = float64(ok)/float64(all), all
			b.mu.Lock()
			s.Uptime24h, s.Runs24h = out.Uptime24h, out.Runs24h
			b.mu.Unlock()
		}
	}
	return out
}

// Keep drops checks that are no longer configured.
func (b *Board) Keep(ids map[string]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.checks {
		if !ids[id] {
			delete(b.checks, id)
		}
	}
}

// count returns how many runs since a time succeeded, and all of them.
func (r *Runs) count(ctx context.Context, check string, since time.Time) (ok, all int, err error) {
	err = r.db.QueryRowContext(ctx, `SELECT coalesce(sum(ok), 0), count(*) FROM check_runs WHERE check_id = ? AND started >= ?`,
		check, since.UnixNano()).Scan(&ok, &all)
	return ok, all, err
}

// since returns when a check's present outcome began, as far back as runs are
// kept, and how many runs it has lasted.
func (r *Runs) since(ctx context.Context, check string, ok bool) (time.Time, int, error) {
	var started int64
	var n int
	err := r.db.QueryRowContext(ctx, `SELECT coalesce(min(started), 0), count(*) FROM check_runs WHERE check_id = ?1
		AND started > coalesce((SELECT max(started) FROM check_runs WHERE check_id = ?1 AND ok <> ?2), 0)`, check, ok).Scan(&started, &n)
	return time.Unix(0, started).UTC(), n, err
}
