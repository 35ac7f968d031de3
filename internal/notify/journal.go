package notify

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/silence/silencepb"
	"google.golang.org/protobuf/encoding/protodelim"
)

// journal keeps the notification log and the silences on disk, entry by entry.
// Both offer each changed entry to a cluster; here the disk is the cluster.
type journal struct {
	led      *ledger
	log      *slog.Logger
	sent     *nflog.Log
	silences *silence.Silences
	// These are set when a write failed: memory knows more than the disk, and
	// the next maintenance writes everything.
	sentBehind, silencesBehind atomic.Bool
	// silenceErr is the failure of the last write of a silence, nil after a
	// write that succeeded.
	silenceErr atomic.Pointer[error]
	changed    func()
}

// load gives both what the disk holds and listens from then on. An entry that
// cannot be read is logged and left out.
func (j *journal) load(ctx context.Context, db *sql.DB) error {
	each := func(query, what string, merge func([]byte) error) error {
		rows, err := db.QueryContext(ctx, query)
		if err != nil {
			return fmt.Errorf("read the stored %s: %w", what, err)
		}
		defer rows.Close()
		for rows.Next() {
			var key string
			var body []byte
			if err := rows.Scan(&key, &body); err != nil {
				return fmt.Errorf("read the stored %s: %w", what, err)
			}
			if err := merge(body); err != nil {
				j.log.Error("stored entry cannot be read", "of", what, "key", key, "error", err)
			}
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read the stored %s: %w", what, err)
		}
		return nil
	}
	err := errors.Join(
		each("SELECT key, body FROM notify_log", "notification log", j.sent.Merge),
		each("SELECT id, body FROM notify_silence", "silences", j.silences.Merge))
	if err != nil {
		return err
	}
	j.sent.SetBroadcast(j.noteSent)
	j.silences.SetBroadcast(j.noteSilence)
	return nil
}

// noteSent is called by the log, under its lock, with one encoded entry. It
// need not wait for the disk: if the entry is lost with the process, the same
// decision comes again and the outbox recognises it by logged = 0.
func (j *journal) noteSent(b []byte) {
	write, err := sentWrite(b)
	if err != nil {
		j.log.Error("entry of the notification log cannot be stored", "error", err)
		return
	}
	j.led.post(write, j.written)
}

func (j *journal) written(err error) {
	if err != nil && !errors.Is(err, errLedgerClosed) {
		j.sentBehind.Store(true)
		j.log.Error("entry of the notification log cannot be stored", "error", err)
	}
}

func sentWrite(b []byte) (func(context.Context, *sql.Conn) error, error) {
	var e nflogpb.MeshEntry
	if err := protodelim.UnmarshalFrom(bufio.NewReader(bytes.NewReader(b)), &e); err != nil {
		return nil, err
	}
	r := e.GetEntry().GetReceiver()
	if r == nil {
		return nil, errors.New("the entry has no receiver")
	}
	group := string(e.Entry.GroupKey)
	integration := fmt.Sprintf("%s[%d]", r.Integration, r.Idx)
	return func(ctx context.Context, tx *sql.Conn) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO notify_log (key, body, expires_at) VALUES (?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET body = excluded.body, expires_at = excluded.expires_at`,
			group+"\x00"+r.GroupName+"\x00"+integration, b, e.ExpiresAt.AsTime().UnixNano()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE notify_outbox SET logged = 1
			WHERE receiver = ? AND integration = ? AND group_key = ? AND logged = 0`, r.GroupName, integration, group)
		return err
	}, nil
}

// noteSilence is called by the silences, under their lock. The API waits for
// the disk with sync after the lock is released.
func (j *journal) noteSilence(b []byte) {
	write, err := silenceWrite(b)
	if err != nil {
		j.silenceErr.Store(&err)
		return
	}
	j.led.post(write, func(err error) {
		if err == nil {
			j.silenceErr.Store(nil)
			return
		}
		j.silencesBehind.Store(true)
		j.silenceErr.Store(&err)
	})
	j.changed()
}

func silenceWrite(b []byte) (func(context.Context, *sql.Conn) error, error) {
	var e silencepb.MeshSilence
	if err := protodelim.UnmarshalFrom(bufio.NewReader(bytes.NewReader(b)), &e); err != nil {
		return nil, err
	}
	if e.Silence == nil {
		return nil, errors.New("the entry has no silence")
	}
	return func(ctx context.Context, tx *sql.Conn) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO notify_silence (id, body, expires_at) VALUES (?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET body = excluded.body, expires_at = excluded.expires_at`,
			e.Silence.Id, b, e.ExpiresAt.AsTime().UnixNano())
		return err
	}, nil
}

// sync returns when all silences set so far are on disk.
func (j *journal) sync() error {
	err := j.led.do(func(context.Context, *sql.Conn) error { return nil })
	if p := j.silenceErr.Load(); p != nil && err == nil {
		err = *p
	}
	if err != nil {
		return fmt.Errorf("store the silence: %w", err)
	}
	return nil
}

// compact drops what has expired and writes everything again after a failure.
// Its result is the size of all entries, for the library's metric.
func (j *journal) compact(behind *atomic.Bool, gc func() (int, error), marshal func() ([]byte, error), table string,
	write func([]byte) (func(context.Context, *sql.Conn) error, error)) (int64, error) {
	if _, err := gc(); err != nil {
		return 0, err
	}
	b, err := marshal()
	if err != nil {
		return 0, err
	}
	var writes []func(context.Context, *sql.Conn) error
	wasBehind := behind.Swap(false)
	if wasBehind {
		err := splitDelimited(b, func(one []byte) error {
			w, err := write(one)
			writes = append(writes, w)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	now := time.Now().UnixNano()
	err = j.led.do(func(ctx context.Context, tx *sql.Conn) error {
		for _, w := range writes {
			if err := w(ctx, tx); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE expires_at < ?", now)
		return err
	})
	if err != nil && wasBehind {
		behind.Store(true)
	}
	return int64(len(b)), err
}

func (j *journal) compactSent() (int64, error) {
	return j.compact(&j.sentBehind, j.sent.GC, j.sent.MarshalBinary, "notify_log", sentWrite)
}

func (j *journal) compactSilences() (int64, error) {
	n, err := j.compact(&j.silencesBehind, j.silences.GC, j.silences.MarshalBinary, "notify_silence", silenceWrite)
	if err == nil {
		j.silenceErr.Store(nil)
	}
	return n, err
}

// splitDelimited calls f with each length-prefixed message of b.
func splitDelimited(b []byte, f func([]byte) error) error {
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return io.ErrUnexpectedEOF
		}
		end := n + int(size)
		if err := f(b[:end]); err != nil {
			return err
		}
		b = b[end:]
	}
	return nil
}
