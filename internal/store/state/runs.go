package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// RunsConfig bounds what Runs keeps.
type RunsConfig struct {
	// KeepSuccess is how long every run that succeeded is kept, KeepFailure one
	// that failed, and of the successes the first of each check, location and
	// hour. Zero means 24 h and 30 days.
	KeepSuccess, KeepFailure time.Duration
	// FlushEvery is how long a run may wait for the disk; zero means 500 ms.
	FlushEvery time.Duration
	// MaxRuns bounds the table; zero means 2,000,000 runs. Above it the oldest
	// go before their time; see Prune.
	MaxRuns int
	// MaxScreenshotBytes bounds all screenshots together; zero means 512 MiB. The
	// oldest go first, their runs stay.
	MaxScreenshotBytes int64
	// MaxPending is how many runs may wait for a disk that takes none; zero means
	// 100,000. The oldest of more are dropped.
	MaxPending int
	// Days counts the runs, if it is not nil. Runs has it written and pruned.
	Days *Days
}

// RunsCounts tell what became of runs since the process started.
type RunsCounts struct {
	Rows int64 // in the table now; 0 until the first Prune
	// Thinned counts successes, ThinnedFailures failures that MaxRuns made go
	// before their time.
	Thinned, ThinnedFailures int64
	// Dropped counts runs that waited for a disk that took none, until there were
	// too many of them.
	Dropped int64
}

// Why a run is kept, and so for how long: the column keep.
const (
	keepPlain   = 0 // a success: KeepSuccess
	keepHourly  = 1 // the first success of its hour: KeepFailure
	keepFailure = 2 // KeepFailure
	keepClasses = 3
)

const (
	thinChunk    = 2000 // rows deleted in one transaction: about 50 ms in which no run is written
	flushDays    = time.Minute
	pruneEvery   = time.Minute
	hourNanos    = int64(time.Hour)
	insertRun    = `INSERT INTO check_runs (check_id, location, started, ok, keep, result, screenshot) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`
	hasHourlyRun = `SELECT EXISTS (SELECT 1 FROM check_runs INDEXED BY check_runs_once WHERE check_id = ? AND started >= ? AND started < ? AND location = ? AND keep = 1)`
)

// Runs keeps check runs with their evidence: failures long, successes for a
// day and then one an hour. A run is known by check, location and start: the
// same one given again is not kept twice. Runs are written in groups, so that a
// thousand checks cost a few commits a second. Safe for concurrent use.
type Runs struct {
	db  *sql.DB
	cfg RunsConfig

	mu      sync.Mutex
	pending []record.CheckResult
	counts  RunsCounts

	// writing is held by whoever changes the table.
	writing sync.Mutex
	hourly  map[Place]int64     // the hour of the last run kept as keepHourly
	rows    *[keepClasses]int64 // rows by class; nil until counted
}

// NewRuns creates the table if it is missing, and brings one of an earlier
// version to the present form.
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
	if cfg.MaxRuns == 0 {
		cfg.MaxRuns = 2_000_000
	}
	if cfg.MaxScreenshotBytes == 0 {
		cfg.MaxScreenshotBytes = 512 << 20
	}
	if cfg.MaxPending == 0 {
		cfg.MaxPending = 100_000
	}
	r := &Runs{db: db, cfg: cfg, hourly: map[Place]int64{}}
	if err := r.createTable(); err != nil {
		return nil, fmt.Errorf("create table check_runs: %w", err)
	}
	if cfg.Days != nil {
		if err := cfg.Days.resume(context.Background()); err != nil {
			return nil, fmt.Errorf("count the newest check runs: %w", err)
		}
	}
	return r, nil
}

func (r *Runs) createTable() error {
	tx, err := r.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var columns, kept int
	if err := tx.QueryRow(`SELECT count(*), coalesce(sum(name = 'keep'), 0) FROM pragma_table_info('check_runs')`).Scan(&columns, &kept); err != nil {
		return err
	}
	if columns == 0 {
		_, err = tx.Exec(`CREATE TABLE check_runs (
			id INTEGER PRIMARY KEY,
			check_id TEXT NOT NULL,
			location TEXT NOT NULL,
			started INTEGER NOT NULL, -- Unix nanoseconds
			ok INTEGER NOT NULL,
			result TEXT NOT NULL,     -- a record.CheckResult: see compact.go
			keep INTEGER NOT NULL DEFAULT 0,
			screenshot BLOB           -- last: who reads the rest does not read it
		)`)
	} else if kept == 0 {
		err = r.migrate(tx)
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(`
		CREATE UNIQUE INDEX IF NOT EXISTS check_runs_once ON check_runs (check_id, started, location);
		CREATE INDEX IF NOT EXISTS check_runs_failed ON check_runs (check_id, started) WHERE ok = 0;
		CREATE INDEX IF NOT EXISTS check_runs_by_class ON check_runs (keep, started);
		CREATE INDEX IF NOT EXISTS check_runs_pictured ON check_runs (started) WHERE screenshot IS NOT NULL`)
	if err != nil {
		return err
	}
	return tx.Commit()
}

// migrate brings the table of version 0.1, which had neither classes nor
// screenshots and did not refuse a run given twice, to the present form.
func (r *Runs) migrate(tx *sql.Tx) error {
	if _, err := tx.Exec(`DELETE FROM check_runs WHERE ok = 1 AND id <= (SELECT max(id) FROM check_runs) - ?`, r.cfg.MaxRuns); err != nil {
		return err
	}
	_, err := tx.Exec(`
		DROP INDEX IF EXISTS check_runs_by_check;
		DROP INDEX IF EXISTS check_runs_by_age;
		ALTER TABLE check_runs ADD COLUMN keep INTEGER NOT NULL DEFAULT 0;
		ALTER TABLE check_runs ADD COLUMN screenshot BLOB;
		DELETE FROM check_runs WHERE id NOT IN (SELECT min(id) FROM check_runs GROUP BY check_id, started, location);
		UPDATE check_runs SET keep = 2 WHERE ok = 0;
		UPDATE check_runs SET keep = 1 WHERE id IN (
			SELECT min(id) FROM check_runs WHERE ok = 1 GROUP BY check_id, location, started / 3600000000000)`)
	return err
}

// Add takes a run; it is on disk after the next flush.
func (r *Runs) Add(res record.CheckResult) {
	r.mu.Lock()
	r.pending = append(r.pending, res)
	r.mu.Unlock()
}

// AddDurably takes runs and returns when they are on disk. One that is there
// already is passed over: a batch may be delivered again.
func (r *Runs) AddDurably(ctx context.Context, batch []record.CheckResult) error {
	if len(batch) == 0 {
		return nil
	}
	if err := r.write(ctx, batch); err != nil {
		return fmt.Errorf("write %d check runs: %w", len(batch), err)
	}
	return nil
}

// Counts tells what became of runs.
func (r *Runs) Counts() RunsCounts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// Run flushes and prunes until ctx ends; what is pending then is written.
func (r *Runs) Run(ctx context.Context, onError func(error)) {
	flush := time.NewTicker(r.cfg.FlushEvery)
	defer flush.Stop()
	days := time.NewTicker(flushDays)
	defer days.Stop()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	report := func(err error) {
		if err != nil {
			onError(err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			last := context.WithoutCancel(ctx)
			report(r.Flush(last))
			report(r.flushDays(last))
			return
		case <-flush.C:
			report(r.Flush(ctx))
		case <-days.C:
			report(r.flushDays(ctx))
		case now := <-prune.C:
			report(r.Prune(ctx, now))
		}
	}
}

func (r *Runs) flushDays(ctx context.Context) error {
	if r.cfg.Days == nil {
		return nil
	}
	return r.cfg.Days.Flush(ctx)
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
		r.pending = append(batch, r.pending...)
		if n := len(r.pending) - r.cfg.MaxPending; n > 0 {
			r.pending = append(r.pending[:0:0], r.pending[n:]...)
			r.counts.Dropped += int64(n)
		}
		r.mu.Unlock()
		return fmt.Errorf("write %d check runs: %w", len(batch), err)
	}
	return nil
}

func (r *Runs) write(ctx context.Context, batch []record.CheckResult) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	put, err := tx.PrepareContext(ctx, insertRun)
	if err != nil {
		return err
	}
	defer put.Close()
	known, err := tx.PrepareContext(ctx, hasHourlyRun)
	if err != nil {
		return err
	}
	defer known.Close()
	var last int64
	var fresh []record.CheckResult // those that were not there
	var classes [keepClasses]int64
	hourly := map[Place]int64{} // of this transaction, which may fail
	for _, res := range batch {
		res.HasScreenshot = len(res.Screenshot) > 0
		stored, err := encodeRun(res)
		if err != nil {
			return err
		}
		p, started, keep := Place{res.Check, res.Location}, res.Start.UnixNano(), keepFailure
		if res.Success {
			keep = keepPlain
			hour := floorDiv(started, hourNanos)
			of, ok := hourly[p]
			if !ok {
				of, ok = r.hourly[p]
			}
			if !ok || of != hour {
				// Another hour, or one that a late run or an earlier process knew.
				var there bool
				if err := known.QueryRowContext(ctx, res.Check, hour*hourNanos, (hour+1)*hourNanos, res.Location).Scan(&there); err != nil {
					return err
				}
				if !there {
					keep = keepHourly
				}
				hourly[p] = hour
			}
		}
		var picture any // nil is NULL
		if res.HasScreenshot {
			picture = res.Screenshot
		}
		done, err := put.ExecContext(ctx, res.Check, res.Location, started, res.Success, keep, stored, picture)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			if err != nil {
				return err
			}
			continue
		}
		if last, err = done.LastInsertId(); err != nil {
			return err
		}
		fresh = append(fresh, res)
		classes[keep]++
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for p, hour := range hourly {
		r.hourly[p] = hour
	}
	if r.rows != nil {
		for i, n := range classes {
			r.rows[i] += n
		}
	}
	if r.cfg.Days != nil && len(fresh) > 0 {
		r.cfg.Days.add(fresh, last)
	}
	return nil
}

// Prune deletes runs that are older than their class is kept. When the table
// then still holds more than MaxRuns, the oldest plain successes go, down to a
// quarter of MaxRuns; then the oldest hourly successes, down to a quarter; then
// the oldest failures. So a few days of everything survive whatever fills the
// table.
func (r *Runs) Prune(ctx context.Context, now time.Time) error {
	// Days counts what is deleted here from the disk after a crash.
	if err := r.flushDays(ctx); err != nil {
		return err
	}
	if err := r.prune(ctx, now); err != nil {
		return fmt.Errorf("prune check runs: %w", err)
	}
	if r.cfg.Days == nil {
		return nil
	}
	return r.cfg.Days.Prune(ctx, now)
}

func (r *Runs) prune(ctx context.Context, now time.Time) error {
	if err := r.countRows(ctx); err != nil {
		return err
	}
	old := now.Add(-r.cfg.KeepFailure).UnixNano()
	for class, before := range [keepClasses]int64{keepPlain: now.Add(-r.cfg.KeepSuccess).UnixNano(), keepHourly: old, keepFailure: old} {
		for {
			n, err := r.delete(ctx, class, thinChunk, `AND started < ?`, before)
			if err != nil {
				return err
			}
			if n < thinChunk {
				break
			}
		}
	}
	limit := int64(r.cfg.MaxRuns)
	for class, least := range [keepClasses]int64{keepPlain: limit / 4, keepHourly: limit / 4, keepFailure: 0} {
		for {
			rows := r.rowCounts()
			excess := min(rows[0]+rows[1]+rows[2]-limit, rows[class]-least)
			if excess <= 0 {
				break
			}
			n, err := r.delete(ctx, class, min(excess, thinChunk), ``)
			if err != nil {
				return err
			}
			r.mu.Lock()
			if class == keepFailure {
				r.counts.ThinnedFailures += n
			} else {
				r.counts.Thinned += n
			}
			r.mu.Unlock()
			if n == 0 {
				break
			}
		}
	}
	rows := r.rowCounts()
	r.mu.Lock()
	r.counts.Rows = rows[0] + rows[1] + rows[2]
	r.mu.Unlock()
	return r.pruneScreenshots(ctx)
}

// countRows counts the table once; afterwards writes and deletions keep count.
func (r *Runs) countRows(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	if r.rows != nil {
		return nil
	}
	rows, err := r.db.QueryContext(ctx, `SELECT keep, count(*) FROM check_runs GROUP BY keep`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var counts [keepClasses]int64
	for rows.Next() {
		var class, n int64
		if err := rows.Scan(&class, &n); err != nil {
			return err
		}
		if class < 0 || class >= keepClasses {
			return fmt.Errorf("a run has the class %d, want 0 to %d", class, keepClasses-1)
		}
		counts[class] = n
	}
	if err := rows.Err(); err != nil {
		return err
	}
	r.rows = &counts
	return nil
}

func (r *Runs) rowCounts() [keepClasses]int64 {
	r.writing.Lock()
	defer r.writing.Unlock()
	return *r.rows
}

// delete removes up to n of the oldest runs of a class, and never the newest row
// of the table: the numbers of rows keep growing, on which Days relies.
func (r *Runs) delete(ctx context.Context, class int, n int64, where string, args ...any) (int64, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	args = append(append([]any{class}, args...), n)
	done, err := r.db.ExecContext(ctx, `DELETE FROM check_runs WHERE id IN (
		SELECT id FROM check_runs WHERE keep = ? `+where+` ORDER BY started LIMIT ?) AND id < (SELECT max(id) FROM check_runs)`, args...)
	if err != nil {
		return 0, err
	}
	gone, err := done.RowsAffected()
	r.rows[class] -= gone
	return gone, err
}

func (r *Runs) pruneScreenshots(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	_, err := r.db.ExecContext(ctx, `UPDATE check_runs SET screenshot = NULL WHERE id IN (
		SELECT id FROM (SELECT id, sum(length(screenshot)) OVER (ORDER BY started DESC, id DESC) AS newer FROM check_runs WHERE screenshot IS NOT NULL)
		WHERE newer > ?)`, r.cfg.MaxScreenshotBytes)
	return err
}

// RunsFilter selects runs of one check, newest first.
type RunsFilter struct {
	Check    string
	Location string    // "": every location
	Before   time.Time // zero: now
	Failed   bool      // only failures
	Limit    int       // zero: 100
}

// List returns the runs that the filter selects, pending ones included, without
// their screenshots.
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
	q, args := `SELECT result, screenshot IS NOT NULL FROM check_runs WHERE check_id = ? AND started < ?`, []any{f.Check, before}
	if f.Failed {
		q += ` AND ok = 0`
	}
	if f.Location != "" {
		q += ` AND location = ?`
		args = append(args, f.Location)
	}
	rows, err := r.db.QueryContext(ctx, q+` ORDER BY started DESC LIMIT ?`, append(args, f.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("list runs of check %s: %w", f.Check, err)
	}
	defer rows.Close()
	out := []record.CheckResult{}
	for rows.Next() {
		var b sql.RawBytes
		var pictured bool
		if err := rows.Scan(&b, &pictured); err != nil {
			return nil, err
		}
		res, err := decodeRun(b)
		if err != nil {
			return nil, fmt.Errorf("read a run of check %s: %w", f.Check, err)
		}
		res.HasScreenshot = pictured // it may have been pruned
		out = append(out, res)
	}
	return out, rows.Err()
}

// Screenshot returns the picture kept with a run; startNanos is the run's start
// in Unix nanoseconds. NotFound when there is no such run or no picture.
func (r *Runs) Screenshot(ctx context.Context, check, location string, startNanos int64) ([]byte, error) {
	if err := r.Flush(ctx); err != nil {
		return nil, err
	}
	var b []byte
	err := r.db.QueryRowContext(ctx, `SELECT screenshot FROM check_runs WHERE check_id = ? AND started = ? AND location = ?`, check, startNanos, location).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) || err == nil && len(b) == 0 {
		return nil, record.Errorf(record.NotFound, "no screenshot is kept of this run of check %s", check)
	}
	if err != nil {
		return nil, fmt.Errorf("read a screenshot of check %s: %w", check, err)
	}
	return b, nil
}
