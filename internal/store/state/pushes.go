package state

import (
	"context"
	"database/sql"
	"fmt"
)

// Pushes keeps the groups of metrics that batch jobs have pushed, by key. Safe
// for concurrent use.
type Pushes struct{ db *sql.DB }

// NewPushes creates the table if it is missing.
func NewPushes(db *sql.DB) (*Pushes, error) {
	if _, err := db.Exec(`CREATE TABLE IF NOT EXISTS pushes (key TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID`); err != nil {
		return nil, fmt.Errorf("create table pushes: %w", err)
	}
	return &Pushes{db}, nil
}

// Put keeps a group, durably.
func (p *Pushes) Put(ctx context.Context, key string, blob []byte) error {
	if _, err := p.db.ExecContext(ctx, `INSERT INTO pushes (key, content) VALUES (?, ?) ON CONFLICT DO UPDATE SET content = excluded.content`, key, blob); err != nil {
		return fmt.Errorf("keep a pushed group: %w", err)
	}
	return nil
}

// Delete forgets a group; one that is not known is no error.
func (p *Pushes) Delete(ctx context.Context, key string) error {
	if _, err := p.db.ExecContext(ctx, `DELETE FROM pushes WHERE key = ?`, key); err != nil {
		return fmt.Errorf("forget a pushed group: %w", err)
	}
	return nil
}

// All calls f with each group until f returns an error, which is returned.
func (p *Pushes) All(ctx context.Context, f func(key string, blob []byte) error) error {
	rows, err := p.db.QueryContext(ctx, `SELECT key, content FROM pushes ORDER BY key`)
	if err != nil {
		return fmt.Errorf("read the pushed groups: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var blob []byte
		if err := rows.Scan(&key, &blob); err != nil {
			return fmt.Errorf("read a pushed group: %w", err)
		}
		if err := f(key, blob); err != nil {
			return err
		}
	}
	return rows.Err()
}
