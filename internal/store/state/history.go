package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// KeepHistory is how long changes of states are kept.
const KeepHistory = KeepDays * 24 * time.Hour

// History keeps the changes of the checks' states, and when somebody took note
// of a failure. Safe for concurrent use.
type History struct{ db *sql.DB }

// NewHistory creates the tables if they are missing.
func NewHistory(db *sql.DB) (*History, error) {
	_, err := db.Exec(`
		CREATE TABLE IF NOT EXISTS check_changes (
			id INTEGER PRIMARY KEY,
			check_id TEXT NOT NULL,
			at INTEGER NOT NULL, -- Unix nanoseconds
			states TEXT NOT NULL, -- from and to
			change TEXT NOT NULL  -- JSON of record.Change
		);
		CREATE INDEX IF NOT EXISTS check_changes_by_check ON check_changes (check_id, at);
		CREATE INDEX IF NOT EXISTS check_changes_by_age ON check_changes (at);
		CREATE TABLE IF NOT EXISTS check_acks (
			check_id TEXT NOT NULL,
			at INTEGER NOT NULL,
			who TEXT NOT NULL,
			PRIMARY KEY (check_id, at)
		) WITHOUT ROWID;`)
	if err != nil {
		return nil, fmt.Errorf("create table check_changes: %w", err)
	}
	return &History{db: db}, nil
}

// Add keeps a change; it is on disk when Add returns. The same change given
// again is passed over.
func (h *History) Add(ctx context.Context, c record.Change) error {
	js, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if _, err := h.db.ExecContext(ctx, `INSERT INTO check_changes (check_id, at, states, change) SELECT ?1, ?2, ?3, ?4
		WHERE NOT EXISTS (SELECT 1 FROM check_changes WHERE check_id = ?1 AND at = ?2 AND states = ?3)`,
		c.Check, c.At.UnixNano(), string(c.From)+" "+string(c.To), string(js)); err != nil {
		return fmt.Errorf("keep a change of check %s: %w", c.Check, err)
	}
	return nil
}

// Acknowledge notes that who took note of the failure of a check: an
// acknowledgement or a silence. The first within an incident counts.
func (h *History) Acknowledge(ctx context.Context, check string, at time.Time, who string) error {
	if _, err := h.db.ExecContext(ctx, `INSERT OR IGNORE INTO check_acks (check_id, at, who) VALUES (?, ?, ?)`, check, at.UnixNano(), who); err != nil {
		return fmt.Errorf("keep an acknowledgement of check %s: %w", check, err)
	}
	return nil
}

// HistoryFilter selects changes, newest first.
type HistoryFilter struct {
	Check  string    // "": every check
	Before time.Time // zero: now
	Limit  int       // zero: 100
}

// List returns the changes that the filter selects.
func (h *History) List(ctx context.Context, f HistoryFilter) ([]record.Change, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	before := int64(1<<63 - 1)
	if !f.Before.IsZero() {
		before = f.Before.UnixNano()
	}
	q, args := `SELECT change FROM check_changes WHERE at < ?`, []any{before}
	if f.Check != "" {
		q += ` AND check_id = ?`
		args = append(args, f.Check)
	}
	rows, err := h.db.QueryContext(ctx, q+` ORDER BY at DESC, id DESC LIMIT ?`, append(args, f.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("list changes of checks: %w", err)
	}
	defer rows.Close()
	out := []record.Change{}
	for rows.Next() {
		c, err := scanChange(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, rows.Err()
}

func scanChange(rows *sql.Rows) (record.Change, error) {
	var js sql.RawBytes
	var c record.Change
	if err := rows.Scan(&js); err != nil {
		return c, err
	}
	if err := json.Unmarshal(js, &c); err != nil {
		return c, fmt.Errorf("read a change of a check: %w", err)
	}
	return c, nil
}

// Span is what became of a check within a time.
type Span struct {
	// State is the state at the beginning, Since when it began: StateUnknown and
	// zero when nothing is known from before.
	State record.State
	Since time.Time
	// Last is the change that led to State, nil when nothing is known.
	Last    *record.Change
	Changes []record.Change // oldest first
	Acks    []Ack           // oldest first; those since Since and within the time
}

// Ack is one acknowledgement.
type Ack struct {
	At  time.Time
	Who string
}

// Between returns what became of a check from from to just before to.
func (h *History) Between(ctx context.Context, check string, from, to time.Time) (Span, error) {
	m, err := h.Spans(ctx, []string{check}, from, to)
	if err != nil {
		return Span{}, err
	}
	if s, ok := m[check]; ok {
		return s, nil
	}
	return Span{State: record.StateUnknown}, nil
}

// Spans is Between for several checks; nil means all that have a history. A
// check without any is not in the map.
func (h *History) Spans(ctx context.Context, checks []string, from, to time.Time) (map[string]Span, error) {
	out := map[string]Span{}
	// Every check with a history, by skipping from one to the next in the index.
	ids, only, args := `SELECT min(check_id) FROM check_changes
		UNION ALL SELECT (SELECT min(check_id) FROM check_changes WHERE check_id > ids.id) FROM ids WHERE ids.id IS NOT NULL`, ``, []any{}
	if checks != nil {
		js, err := json.Marshal(checks)
		if err != nil {
			return nil, err
		}
		ids, only, args = `SELECT value FROM json_each(?2)`, ` AND check_id IN (SELECT value FROM json_each(?3))`, []any{string(js)}
	}
	get := func(q string, each func(*sql.Rows) error, a ...any) error {
		rows, err := h.db.QueryContext(ctx, q, append(a, args...)...)
		if err != nil {
			return fmt.Errorf("read changes of checks: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows); err != nil {
				return fmt.Errorf("read changes of checks: %w", err)
			}
		}
		return rows.Err()
	}
	err := get(`WITH RECURSIVE ids(id) AS (`+ids+`), last(change) AS (
		SELECT (SELECT change FROM check_changes WHERE check_id = ids.id AND at <= ?1 ORDER BY at DESC, id DESC LIMIT 1) FROM ids)
		SELECT change FROM last WHERE change IS NOT NULL`,
		func(rows *sql.Rows) error {
			c, err := scanChange(rows)
			out[c.Check] = Span{State: c.To, Since: c.At, Last: &c}
			return err
		}, from.UnixNano())
	if err != nil {
		return nil, err
	}
	err = get(`SELECT change FROM check_changes WHERE at > ?1 AND at < ?2`+only+` ORDER BY check_id, at, id`,
		func(rows *sql.Rows) error {
			c, err := scanChange(rows)
			s, known := out[c.Check]
			if !known {
				// Its history was pruned, or it is new and From says unknown.
				s.State = c.From
				if s.State == "" {
					s.State = record.StateUnknown
				}
			}
			s.Changes = append(s.Changes, c)
			out[c.Check] = s
			return err
		}, from.UnixNano(), to.UnixNano())
	if err != nil {
		return nil, err
	}
	err = get(`SELECT check_id, at, who FROM check_acks WHERE at >= ?1 AND at < ?2`+only+` ORDER BY check_id, at`,
		func(rows *sql.Rows) error {
			var check, who string
			var at int64
			if err := rows.Scan(&check, &at, &who); err != nil {
				return err
			}
			s, ok := out[check]
			a := Ack{time.Unix(0, at).UTC(), who}
			if ok && !a.At.Before(s.Since) && (!s.Since.IsZero() || !a.At.Before(from)) {
				s.Acks = append(s.Acks, a)
				out[check] = s
			}
			return nil
		}, from.Add(-KeepHistory).UnixNano(), to.UnixNano())
	return out, err
}

// Prune deletes what is older than KeepHistory, and keeps of each check the
// change that led to the state it had then.
func (h *History) Prune(ctx context.Context, now time.Time) error {
	old := now.Add(-KeepHistory).UnixNano()
	_, err := h.db.ExecContext(ctx, `DELETE FROM check_changes AS c WHERE at < ?1
		AND EXISTS (SELECT 1 FROM check_changes WHERE check_id = c.check_id AND at > c.at AND at <= ?1)`, old)
	if err == nil {
		_, err = h.db.ExecContext(ctx, `DELETE FROM check_acks WHERE at < ?`, old)
	}
	if err != nil {
		return fmt.Errorf("prune changes of checks: %w", err)
	}
	return nil
}
