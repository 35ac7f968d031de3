// Package state keeps what a tenant must remember besides metrics and events:
// the outbox, alerts, silences, check runs. It hides the SQL engine (SQLite, one
// file per tenant); other rooms get a standard *sql.DB and own their tables.
package state

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// FileName is the name of the state file in a tenant's directory.
const FileName = "state.db"

// Open opens or creates the state file in dir. A commit is on disk when it
// returns (write-ahead log, synchronous=FULL). The pool is safe for concurrent
// use; writers wait for one another up to ten seconds.
func Open(dir string) (*sql.DB, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	path := filepath.Join(dir, FileName)
	q := url.Values{}
	for _, p := range []string{
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)",
		"foreign_keys(ON)", "cache_size(-2000)", "journal_size_limit(16777216)",
	} {
		q.Add("_pragma", p)
	}
	q.Set("_txlock", "immediate")
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(2)
	if err := db.Ping(); err != nil {
		db.Close()
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	return db, nil
}

// Backup writes a consistent copy of the state to path, which must not exist.
func Backup(db *sql.DB, path string) error {
	if _, err := db.Exec(`VACUUM INTO ?`, path); err != nil {
		return fmt.Errorf("copy state to %s: %w", path, err)
	}
	return nil
}
