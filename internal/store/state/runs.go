package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// RunsConfig bounds what Runs keeps.
type RunsConfig struct {
	// KeepSuccess is how long a run that succeeded is kept whole, KeepFailure
	// one that failed. Zero means 24 h and 30 days.
	KeepSuccess, KeepFailure time.Duration
	// FlushEvery is how long a run may wait for the disk; zero means 500 ms.
	FlushEvery time.Duration
}

// Runs keeps check runs with their evidence: failures long, successes for a
// day. Runs are written in groups, so that a thousand checks cost a few commits
// a second. Safe for concurrent use.
type Runs struct {
	db  *sql.DB
	cfg RunsConfig

	mu      sync.Mutex
	pending []record.CheckResult
}

// NewRuns creates the table if it is missing.
func NewRuns(db *sql.DB, cfg RunsConfig) (*Runs, error) {
	if cfg.KeepSuccess == 0 {
		cfg.KeepSuccess = 24 * time.Hour
	}
	if cfg.KeepFailure == 0 {
		cfg.KeepFailure = 30 * 24 * time.Hour
	}
	if cfg.FlushEvery == 0 {
		cfg.FlushEvery = 500 * time.Millisecond
	}
	_, err := db.Exec(`
		CREATE TABLE IF NOT EXISTS check_runs (
			id INTEGER PRIMARY KEY,
			check_id TEXT NOT NULL,
			location TEXT NOT NULL,
			started INTEGER NOT NULL, -- Unix nanoseconds
			ok INTEGER NOT NULL,
			result TEXT NOT NULL      -- JSON of record.CheckResult
		);
		CREATE INDEX IF NOT EXISTS check_runs_by_check ON check_runs (check_id, started);
		CREATE INDEX IF NOT EXISTS check_runs_failed ON check_runs (check_id, started) WHERE ok = 0;
		CREATE INDEX IF NOT EXISTS check_runs_by_age ON check_runs (ok, started);`)
	if err != nil {
		return nil, fmt.Errorf("create table check_runs: %w", err)
	}
	return &Runs{db: db, cfg: cfg}, nil
}

// Add takes a run; it is on disk after the next flush.
func (r *Runs) Add(res record.CheckResult) {
	r.mu.Lock()
	r.pending = append(r.pending, res)
	r.mu.Unlock()
}

// Run flushes and prunes until ctx ends; what is pending then is written.
func (r *Runs) Run(ctx context.Context, onError func(error)) {
	flush := time.NewTicker(r.cfg.FlushEvery)
	defer flush.Stop()
	prune := time.NewTicker(10 * time.Minute)
	defer prune.Stop()
	report := func(err error) {
		if err != nil {
			onError(err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			report(r.Flush(context.WithoutCancel(ctx)))
			return
		case <-flush.C:
			report(r.Flush(ctx))
		case now := <-prune.C:
			report(r.Prune(ctx, now))
		}
	}
}

// Flush writes what is pending. On an error the runs stay pending.
func (r *Runs) Flush(ctx context.Context) error {
	r.mu.Lock()
	batch := r.pending
	r.pending = nil
	r.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := r.write(ctx, batch)
	if err != nil {
		r.mu.Lock()
		if len(r.pending)+len(batch) < 100_000 {
			r.pending = append(batch, r.pending...)
		}
		r.mu.Unlock()
		return fmt.Errorf("write %d check runs: %w", len(batch), err)
	}
	return nil
}

func (r *Runs) write(ctx context.Context, batch []record.CheckResult) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	st, err := tx.PrepareContext(ctx, `INSERT INTO check_runs (check_id, location, started, ok, result) VALUES (?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer st.Close()
	for _, res := range batch {
		js, err := json.Marshal(res)
		if err != nil {
			return err
		}
		if _, err := st.ExecContext(ctx, res.Check, res.Location, res.Start.UnixNano(), res.Success, string(js)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Prune deletes runs that are older than their class is kept.
func (r *Runs) Prune(ctx context.Context, now time.Time) error {
	_, err := r.db.ExecContext(ctx, `DELETE FROM check_runs WHERE (ok = 1 AND started < ?) OR (ok = 0 AND started < ?)`,
		now.Add(-r.cfg.KeepSuccess).UnixNano(), now.Add(-r.cfg.KeepFailure).UnixNano())
	if err != nil {
		return fmt.Errorf("prune check runs: %w", err)
	}
	return nil
}

// RunsFilter selects runs of one check, newest first.
type RunsFilter struct {
	Check  string
	Before time.Time // zero: now
	Failed bool      // only failures
	Limit  int       // zero: 100
}

// List returns the runs that the filter selects, pending ones included.
func (r *Runs) List(ctx context.Context, f RunsFilter) ([]record.CheckResult, error) {
	if err := r.Flush(ctx); err != nil {
		return nil, err
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	before := int64(1<<63 - 1)
	if !f.Before.IsZero() {
		before = f.Before.UnixNano()
	}
	q := `SELECT result FROM check_runs WHERE check_id = ? AND started < ?`
	if f.Failed {
		q += ` AND ok = 0`
	}
	rows, err := r.db.QueryContext(ctx, q+` ORDER BY started DESC LIMIT ?`, f.Check, before, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list runs of check %s: %w", f.Check, err)
	}
	defer rows.Close()
	out := []record.CheckResult{}
	for rows.Next() {
		var js string
		if err := rows.Scan(&js); err != nil {
			return nil, err
		}
		var res record.CheckResult
		if err := json.Unmarshal([]byte(js), &res); err != nil {
			return nil, fmt.Errorf("read a run of check %s: %w", f.Check, err)
		}
		out = append(out, res)
	}
	return out, rows.Err()
}
