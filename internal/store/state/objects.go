package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// The kinds of objects that people make through the API.
const (
	KindCheck       = "check"
	KindMaintenance = "maintenance"
	KindMarker      = "marker"
	KindNote        = "incident-note" // a word to the readers of the status page
)

// MaxObjectBytes bounds the text of an object.
const MaxObjectBytes = 1 << 20

// Object is something that people made through the API, as the text they gave.
type Object struct {
	Kind, ID string
	Body     string // JSON or YAML
	Updated  time.Time
	Who      string // who wrote it last
	// Revision is the number of the change that wrote it; see Objects.Revision.
	Revision int64
}

// Objects keeps what people make through the API. Safe for concurrent use.
type Objects struct{ db *sql.DB }

// NewObjects creates the tables if they are missing.
func NewObjects(db *sql.DB) (*Objects, error) {
	_, err := db.Exec(`
		CREATE TABLE IF NOT EXISTS objects (
			kind TEXT NOT NULL,
			id TEXT NOT NULL,
			body TEXT NOT NULL,
			updated INTEGER NOT NULL, -- Unix nanoseconds
			who TEXT NOT NULL,
			revision INTEGER NOT NULL,
			PRIMARY KEY (kind, id)
		) WITHOUT ROWID;
		CREATE TABLE IF NOT EXISTS objects_revision (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL);
		INSERT OR IGNORE INTO objects_revision (one, n) VALUES (1, 0)`)
	if err != nil {
		return nil, fmt.Errorf("create table objects: %w", err)
	}
	return &Objects{db: db}, nil
}

// Create keeps a new object and returns its revision; Conflict when there is one
// of the kind and id. Updated is set by the caller, Revision is ignored.
func (o *Objects) Create(ctx context.Context, x Object) (int64, error) {
	return o.put(ctx, x, func(tx *sql.Tx) error {
		old, err := revisionOf(ctx, tx, x.Kind, x.ID)
		if err == nil && old > 0 {
			return record.Errorf(record.Conflict, "there is a %s %q already", x.Kind, x.ID)
		}
		return err
	})
}

// Put keeps an object in place of any of its kind and id, and returns its
// revision. With x.Revision above 0 it replaces only that revision: Conflict
// when somebody else changed or deleted the object since it was read.
func (o *Objects) Put(ctx context.Context, x Object) (int64, error) {
	return o.put(ctx, x, func(tx *sql.Tx) error {
		if x.Revision <= 0 {
			return nil
		}
		old, err := revisionOf(ctx, tx, x.Kind, x.ID)
		if err == nil && old != x.Revision {
			return record.Errorf(record.Conflict, "the %s %q was changed in the meantime; read it again", x.Kind, x.ID)
		}
		return err
	})
}

func (o *Objects) put(ctx context.Context, x Object, allow func(*sql.Tx) error) (int64, error) {
	switch {
	case x.Kind == "" || x.ID == "":
		return 0, record.Errorf(record.Invalid, "id: %q: want a kind and an id (kind is %q)", x.ID, x.Kind)
	case len(x.Body) > MaxObjectBytes:
		return 0, record.Errorf(record.TooLarge, "the %s %q has %d bytes, want at most %d", x.Kind, x.ID, len(x.Body), MaxObjectBytes)
	}
	n, err := o.change(ctx, func(tx *sql.Tx, n int64) error {
		if err := allow(tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO objects (kind, id, body, updated, who, revision) VALUES (?, ?, ?, ?, ?, ?)`,
			x.Kind, x.ID, x.Body, x.Updated.UnixNano(), x.Who, n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("keep %s %q: %w", x.Kind, x.ID, err)
	}
	return n, nil
}

// change runs one change of the objects in a transaction under its number.
func (o *Objects) change(ctx context.Context, do func(tx *sql.Tx, n int64) error) (int64, error) {
	tx, err := o.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	var n int64
	if err := tx.QueryRowContext(ctx, `UPDATE objects_revision SET n = n + 1 RETURNING n`).Scan(&n); err != nil {
		return 0, err
	}
	if err := do(tx, n); err != nil {
		return 0, err
	}
	return n, tx.Commit()
}

// revisionOf is 0 when there is no such object.
func revisionOf(ctx context.Context, tx *sql.Tx, kind, id string) (int64, error) {
	var n int64
	err := tx.QueryRowContext(ctx, `SELECT coalesce((SELECT revision FROM objects WHERE kind = ? AND id = ?), 0)`, kind, id).Scan(&n)
	return n, err
}

const objectColumns = `kind, id, body, updated, who, revision`

func scanObject(row interface{ Scan(...any) error }) (Object, error) {
	var x Object
	var updated int64
	err := row.Scan(&x.Kind, &x.ID, &x.Body, &updated, &x.Who, &x.Revision)
	x.Updated = time.Unix(0, updated).UTC()
	return x, err
}

// Get returns an object; NotFound when there is none.
func (o *Objects) Get(ctx context.Context, kind, id string) (Object, error) {
	x, err := scanObject(o.db.QueryRowContext(ctx, `SELECT `+objectColumns+` FROM objects WHERE kind = ? AND id = ?`, kind, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Object{}, record.Errorf(record.NotFound, "there is no %s %q", kind, id)
	}
	if err != nil {
		return Object{}, fmt.Errorf("read %s %q: %w", kind, id, err)
	}
	return x, nil
}

// List returns the objects of a kind by id.
func (o *Objects) List(ctx context.Context, kind string) ([]Object, error) {
	rows, err := o.db.QueryContext(ctx, `SELECT `+objectColumns+` FROM objects WHERE kind = ? ORDER BY id`, kind)
	if err != nil {
		return nil, fmt.Errorf("list objects of kind %s: %w", kind, err)
	}
	defer rows.Close()
	out := []Object{}
	for rows.Next() {
		x, err := scanObject(rows)
		if err != nil {
			return nil, fmt.Errorf("list objects of kind %s: %w", kind, err)
		}
		out = append(out, x)
	}
	return out, rows.Err()
}

// Delete removes an object; NotFound when there is none.
func (o *Objects) Delete(ctx context.Context, kind, id string) error {
	_, err := o.change(ctx, func(tx *sql.Tx, _ int64) error {
		done, err := tx.ExecContext(ctx, `DELETE FROM objects WHERE kind = ? AND id = ?`, kind, id)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			if err != nil {
				return err
			}
			return record.Errorf(record.NotFound, "there is no %s %q", kind, id)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete %s %q: %w", kind, id, err)
	}
	return nil
}

// Revision is the number of changes made to objects so far, deletions included:
// it grows with each and never falls.
func (o *Objects) Revision(ctx context.Context) (int64, error) {
	var n int64
	if err := o.db.QueryRowContext(ctx, `SELECT n FROM objects_revision`).Scan(&n); err != nil {
		return 0, fmt.Errorf("read the revision of objects: %w", err)
	}
	return n, nil
}
