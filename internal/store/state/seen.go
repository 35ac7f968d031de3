package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Seen remembers how far the results of other places have come home, so that
// one that is sent again is not taken twice. Safe for concurrent use.
type Seen struct{ db *sql.DB }

// NewSeen creates the table if it is missing.
func NewSeen(db *sql.DB) (*Seen, error) {
	if _, err := db.Exec(`CREATE TABLE IF NOT EXISTS fleet_seen (
			location TEXT NOT NULL,
			spool TEXT NOT NULL,
			seq INTEGER NOT NULL,
			PRIMARY KEY (location, spool)
		) WITHOUT ROWID`); err != nil {
		return nil, fmt.Errorf("create table fleet_seen: %w", err)
	}
	return &Seen{db}, nil
}

// Get returns the number of the last result taken, 0 when none was.
func (s *Seen) Get(ctx context.Context, location, spool string) (uint64, error) {
	var n int64
	err := s.db.QueryRowContext(ctx, `SELECT seq FROM fleet_seen WHERE location = ? AND spool = ?`, location, spool).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("how far the results of %s have come: %w", location, err)
	}
	return uint64(n), nil
}

// Set notes the number of the last result taken, durably.
func (s *Seen) Set(ctx context.Context, location, spool string, seq uint64) error {
	if _, err := s.db.ExecContext(ctx, `INSERT INTO fleet_seen (location, spool, seq) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET seq = excluded.seq`, location, spool, int64(seq)); err != nil {
		return fmt.Errorf("note how far the results of %s have come: %w", location, err)
	}
	return nil
}
