package state

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// BoardRuns is how many runs of a check from a location the board remembers.
const BoardRuns = 60

// Board is the present state of every check at every location: what the screen
// of checks shows. It lives in memory and is filled from Runs after a restart.
// Safe for concurrent use.
type Board struct {
	runs *Runs
	days *Days

	mu     sync.Mutex
	places map[Place]*Standing

	sharing  sync.Mutex // held while shares are counted
	shares   map[Place]Hour
	sharesAt time.Time
}

// Standing is how a check stands as one location sees it.
type Standing struct {
	State       string    // "up", "down" or "unknown"
	Since       time.Time // of this state; zero when unknown
	Consecutive int       // runs of this outcome in a row
	Last        *record.CheckResult
	Recent      []Brief // oldest first
	Uptime24h   float64 // share of runs that succeeded
	Runs24h     int     // 0: no share
}

// Brief is one run as a cell of the screen.
type Brief struct {
	At    int64                     `json:"t"` // Unix seconds
	OK    bool                      `json:"ok"`
	Stage string                    `json:"stage"`
	MS    [record.NumPhases]float64 `json:"ms"`
}

// NewBoard makes an empty board.
func NewBoard(runs *Runs, days *Days) *Board {
	return &Board{runs: runs, days: days, places: map[Place]*Standing{}}
}

// restoreRuns bounds how many runs are read at a start: with very many checks
// fewer of each.
const restoreRuns = 60_000

// Restore fills the board with the newest runs of the places and returns these
// runs, oldest first for each place.
func (b *Board) Restore(ctx context.Context, places []Place) ([]record.CheckResult, error) {
	n := BoardRuns
	if len(places) > 0 {
		n = max(4, min(n, restoreRuns/len(places)))
	}
	var all []record.CheckResult
	for _, p := range places {
		rs, err := b.runs.List(ctx, RunsFilter{Check: p.Check, Location: p.Location, Limit: n})
		if err != nil {
			return nil, fmt.Errorf("restore check %s: %w", p.Check, err)
		}
		for i := len(rs) - 1; i >= 0; i-- {
			b.Add(rs[i])
			all = append(all, rs[i])
		}
		b.mu.Lock()
		s := b.places[p]
		whole := s != nil && s.Consecutive == len(rs)
		up := whole && s.State == "up"
		b.mu.Unlock()
		if !whole || n < BoardRuns {
			continue
		}
		// The state may be older than the runs that the board remembers.
		since, n, err := b.runs.since(ctx, p, up)
		if err != nil {
			return nil, fmt.Errorf("restore check %s: %w", p.Check, err)
		}
		b.mu.Lock()
		s.Since, s.Consecutive = since, max(n, s.Consecutive)
		b.mu.Unlock()
	}
	return all, nil
}

// Add takes a run and returns whether the outcome at its place changed by it. A
// run older than the newest known changes nothing.
func (b *Board) Add(r record.CheckResult) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := Place{r.Check, r.Location}
	s := b.places[p]
	if s == nil {
		s = &Standing{State: "unknown"}
		b.places[p] = s
	}
	if s.Last != nil && r.Start.Before(s.Last.Start) {
		return false
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
	r.Screenshot = nil // kept beside the run
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

// shareEvery is how old the figures of the last 24 h may be.
const shareEvery = 30 * time.Second

// Get returns a copy of how a check stands at a place, "unknown" for one without
// runs.
func (b *Board) Get(ctx context.Context, p Place, now time.Time) Standing {
	share := b.share(ctx, p, now)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.places[p]
	if s == nil {
		return Standing{State: "unknown", Recent: []Brief{}}
	}
	out := *s
	out.Recent = append([]Brief{}, s.Recent...)
	if share.Runs > 0 {
		out.Uptime24h, out.Runs24h = 1-float64(share.Failed)/float64(share.Runs), share.Runs
	}
	return out
}

// share is what became of the runs of the last 24 hours.
func (b *Board) share(ctx context.Context, p Place, now time.Time) Hour {
	b.sharing.Lock()
	defer b.sharing.Unlock()
	if now.Sub(b.sharesAt) > shareEvery {
		// A store that does not answer shows the figures of before.
		if m, err := b.days.Shares(ctx, now.Add(-24*time.Hour), now); err == nil {
			b.shares, b.sharesAt = m, now
		}
	}
	return b.shares[p]
}

// Keep drops places that are no longer configured.
func (b *Board) Keep(places map[Place]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p := range b.places {
		if !places[p] {
			delete(b.places, p)
		}
	}
}

// since returns when the present outcome at a place began, as far back as runs
// are kept, and how many runs it has lasted.
func (r *Runs) since(ctx context.Context, p Place, ok bool) (time.Time, int, error) {
	var started int64
	var n int
	err := r.db.QueryRowContext(ctx, `SELECT coalesce(min(started), 0), count(*) FROM check_runs WHERE check_id = ?1 AND location = ?3
		AND started > coalesce((SELECT max(started) FROM check_runs WHERE check_id = ?1 AND location = ?3 AND ok <> ?2), 0)`, p.Check, ok, p.Location).Scan(&started, &n)
	return time.Unix(0, started).UTC(), n, err
}
