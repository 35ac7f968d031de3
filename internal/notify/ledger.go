package notify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// schema makes the tables. Times are Unix nanoseconds, 0 for none.
const schema = `
CREATE TABLE IF NOT EXISTS notify_alert (
	fingerprint INTEGER PRIMARY KEY,
	body        BLOB    NOT NULL,
	ends_at     INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS notify_log (
	key        TEXT PRIMARY KEY,
	body       BLOB    NOT NULL,
	expires_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS notify_silence (
	id         TEXT PRIMARY KEY,
	body       BLOB    NOT NULL,
	expires_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS notify_outbox (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	receiver    TEXT    NOT NULL,
	integration TEXT    NOT NULL,
	group_key   TEXT    NOT NULL,
	status      TEXT    NOT NULL,
	dedup_key   TEXT    NOT NULL,
	sets        TEXT    NOT NULL,
	fresh       INTEGER NOT NULL,
	logged      INTEGER NOT NULL,
	firing      INTEGER NOT NULL,
	resolved    INTEGER NOT NULL,
	tries       INTEGER NOT NULL,
	decided_at  INTEGER NOT NULL,
	retry_until INTEGER NOT NULL,
	next_at     INTEGER NOT NULL,
	finished_at INTEGER NOT NULL,
	body        BLOB    NOT NULL
);
CREATE INDEX IF NOT EXISTS notify_outbox_group ON notify_outbox (receiver, integration, group_key, id);
CREATE INDEX IF NOT EXISTS notify_outbox_status ON notify_outbox (status, id);
CREATE INDEX IF NOT EXISTS notify_outbox_finished ON notify_outbox (finished_at) WHERE finished_at > 0;
CREATE TABLE IF NOT EXISTS notify_attempt (
	outbox_id INTEGER NOT NULL,
	at        INTEGER NOT NULL,
	took      INTEGER NOT NULL,
	error     TEXT    NOT NULL
);
CREATE INDEX IF NOT EXISTS notify_attempt_row ON notify_attempt (outbox_id, at);
CREATE TABLE IF NOT EXISTS notify_thread (
	receiver    TEXT NOT NULL,
	integration TEXT NOT NULL,
	group_key   TEXT NOT NULL,
	body        BLOB NOT NULL,
	at          INTEGER NOT NULL,
	PRIMARY KEY (receiver, integration, group_key)
);`

var errLedgerClosed = record.Errorf(record.Unavailable, "the notifier has stopped")

// ledger writes to the database. Writes that come together share one
// transaction and one fsync; they are applied in the order in which they came.
type ledger struct {
	db *sql.DB

	mu     sync.Mutex
	queue  []*entry
	busy   bool // a goroutine is draining the queue
	closed bool
	idle   chan struct{} // closed when closed && !busy
}

type entry struct {
	write func(context.Context, *sql.Conn) error
	done  func(error)
}

func openLedger(ctx context.Context, db *sql.DB) (*ledger, error) {
	var sync int
	if err := db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&sync); err != nil {
		return nil, fmt.Errorf("read the database's synchronous setting: %w", err)
	}
	if sync < 2 {
		return nil, fmt.Errorf("open the outbox: the database has synchronous=%d, want FULL (2)", sync)
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("create the tables of the outbox: %w", err)
	}
	return &ledger{db: db, idle: make(chan struct{})}, nil
}

// do returns when write is on disk or refused. write may be run twice and must
// not keep anything from a run that was rolled back.
func (l *ledger) do(write func(context.Context, *sql.Conn) error) error {
	c := make(chan error, 1)
	l.post(write, func(err error) { c <- err })
	return <-c
}

// post is do without waiting. done is called from the draining goroutine.
func (l *ledger) post(write func(context.Context, *sql.Conn) error, done func(error)) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		done(errLedgerClosed)
		return
	}
	l.queue = append(l.queue, &entry{write, done})
	start := !l.busy
	l.busy = true
	l.mu.Unlock()
	if start {
		go l.drain()
	}
}

// close refuses what comes from now on and returns when all earlier writes are
// on disk.
func (l *ledger) close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		if !l.busy {
			close(l.idle)
		}
	}
	l.mu.Unlock()
	<-l.idle
}

// batchMax bounds a transaction so that the first in it does not wait long.
const batchMax = 256

func (l *ledger) drain() {
	for {
		l.mu.Lock()
		n := min(len(l.queue), batchMax)
		batch := l.queue[:n:n]
		l.queue = l.queue[n:]
		if n == 0 {
			l.queue, l.busy = nil, false
			if l.closed {
				close(l.idle)
			}
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()

		errs, err := l.commit(batch)
		for i, e := range batch {
			if err != nil {
				e.done(err)
			} else {
				e.done(errs[i])
			}
		}
	}
}

// commit applies the batch in one transaction. An entry that fails is undone
// alone and has its error in errs; err is for all.
func (l *ledger) commit(batch []*entry) (errs []error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("get a connection to the outbox: %w", err)
	}
	defer conn.Close()
	if err := begin(ctx, conn); err != nil {
		return nil, fmt.Errorf("begin writing to the outbox: %w", err)
	}
	defer func() {
		if err != nil {
			// A failed ROLLBACK means that SQLite has rolled back by itself.
			_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		}
	}()
	errs = make([]error, len(batch))
	for i, e := range batch {
		if _, err := conn.ExecContext(ctx, "SAVEPOINT entry"); err != nil {
			return nil, fmt.Errorf("write to the outbox: %w", err)
		}
		end := "RELEASE entry"
		if errs[i] = e.write(ctx, conn); errs[i] != nil {
			end = "ROLLBACK TO entry; RELEASE entry"
		}
		if _, err := conn.ExecContext(ctx, end); err != nil {
			return nil, errors.Join(fmt.Errorf("write to the outbox: %w", err), errs[i])
		}
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		return nil, fmt.Errorf("commit to the outbox: %w", err)
	}
	return errs, nil
}

// begin takes the write lock, waiting for other users of the file.
func begin(ctx context.Context, conn *sql.Conn) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
		if err == nil || !isBusy(err) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// isBusy tells whether another connection holds the write lock.
func isBusy(err error) bool {
	var coded interface{ Code() int }
	return errors.As(err, &coded) && coded.Code()&0xff == 5 // SQLITE_BUSY
}
