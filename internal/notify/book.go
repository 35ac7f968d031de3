package notify

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/common/model"
)

// book is Alertmanager's provider of alerts with a disk below it: Put returns
// when a restart would know of the alerts.
//
// A firing alert is sent again and again only to move its end. Such an update is
// written when the end on disk has come half as near as the new one, so an alert
// resent each minute with four minutes to live costs one write in three.
type book struct {
	*mem.Alerts
	led     *ledger
	log     *slog.Logger
	changed func()

	mu sync.Mutex
	// disk is what the table holds, in short.
	disk map[model.Fingerprint]diskAlert
	shut bool
}

type diskAlert struct {
	startsAt, endsAt time.Time
	digest           uint64 // of annotations and generator URL
}

// graceMax bounds how long an alert that was firing when the process ended is
// taken to be firing still.
const graceMax = 5 * time.Minute

func digest(a *alert.Alert) uint64 {
	b, _ := json.Marshal([]any{a.Annotations, a.GeneratorURL}) // strings and maps of strings always encode
	return xxhash.Sum64(b)
}

// stale tells whether a restart would go wrong with what is on disk.
func (d diskAlert) stale(a *alert.Alert, now time.Time) bool {
	if !d.startsAt.Equal(a.StartsAt) || d.digest != digest(a) {
		return true
	}
	if a.ResolvedAt(now) {
		return !d.endsAt.Equal(a.EndsAt)
	}
	want, have := a.EndsAt.Sub(now), d.endsAt.Sub(now)
	return have < want/2 || have > 2*want
}

// merged is the alert that memory will hold after a is put.
func (b *book) merged(a *alert.Alert) *alert.Alert {
	old, err := b.Alerts.Get(a.Fingerprint())
	if err != nil {
		return a
	}
	endsInside := a.EndsAt.After(old.StartsAt) && a.EndsAt.Before(old.EndsAt)
	startsInside := a.StartsAt.After(old.StartsAt) && a.StartsAt.Before(old.EndsAt)
	if endsInside || startsInside {
		return old.Merge(a)
	}
	return a
}

// Put stores the alerts on disk, then in memory, where the dispatcher and the
// inhibitor get them.
func (b *book) Put(ctx context.Context, alerts ...*alert.Alert) error {
	now := time.Now()
	var write []*alert.Alert
	if b.closed() {
		return errLedgerClosed
	}
	b.mu.Lock()
	for _, a := range alerts {
		m := b.merged(a)
		if d, ok := b.disk[m.Fingerprint()]; !ok || d.stale(m, now) {
			write = append(write, m)
		}
	}
	b.mu.Unlock()
	if err := b.write(write); err != nil {
		return fmt.Errorf("store %d alerts: %w", len(write), err)
	}
	if err := b.Alerts.Put(ctx, alerts...); err != nil {
		return err
	}
	if len(write) > 0 {
		b.changed()
	}
	return nil
}

func (b *book) write(alerts []*alert.Alert) error {
	if len(alerts) == 0 {
		return nil
	}
	bodies := make([][]byte, len(alerts))
	for i, a := range alerts {
		var err error
		if bodies[i], err = json.Marshal(storeAlert(a)); err != nil {
			return err
		}
	}
	err := b.led.do(func(ctx context.Context, tx *sql.Conn) error {
		for i, a := range alerts {
			if _, err := tx.ExecContext(ctx, `INSERT INTO notify_alert (fingerprint, body, ends_at) VALUES (?, ?, ?)
				ON CONFLICT (fingerprint) DO UPDATE SET body = excluded.body, ends_at = excluded.ends_at`,
				int64(a.Fingerprint()), bodies[i], nanos(a.EndsAt)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range alerts {
		b.disk[a.Fingerprint()] = diskAlert{a.StartsAt, a.EndsAt, digest(a)}
	}
	return nil
}

// close refuses alerts from now on.
func (b *book) close() {
	b.mu.Lock()
	b.shut = true
	b.mu.Unlock()
}

func (b *book) closed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shut
}

// load puts the alerts on disk into memory. An alert that was firing when it
// was last heard of, and whose end has passed while the process was away, gets
// time to be sent again: a restart must not read as a recovery.
func (b *book) load(ctx context.Context, db *sql.DB) error {
	alive, err := lastAlive(ctx, db)
	if err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, "SELECT fingerprint, body FROM notify_alert")
	if err != nil {
		return fmt.Errorf("read the stored alerts: %w", err)
	}
	defer rows.Close()
	now := time.Now()
	var alerts, extended []*alert.Alert
	for rows.Next() {
		var fp int64
		var body []byte
		if err := rows.Scan(&fp, &body); err != nil {
			return fmt.Errorf("read the stored alerts: %w", err)
		}
		s, err := decodeStoredAlert(body)
		if err != nil {
			b.log.Error("stored alert cannot be read", "fingerprint", model.Fingerprint(fp), "error", err)
			continue
		}
		a := s.alert()
		b.disk[a.Fingerprint()] = diskAlert{a.StartsAt, a.EndsAt, digest(a)}
		if life := s.EndsAt.Sub(s.UpdatedAt); life > 0 && s.EndsAt.After(alive) {
			if end := now.Add(min(life, graceMax)); end.After(a.EndsAt) {
				a.EndsAt = end
				extended = append(extended, a)
			}
		}
		alerts = append(alerts, a)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the stored alerts: %w", err)
	}
	rows.Close()
	// On disk too, or the next crash would read as the end of them.
	if err := b.write(extended); err != nil {
		return fmt.Errorf("extend %d firing alerts: %w", len(extended), err)
	}
	return b.Alerts.Put(ctx, alerts...)
}

// lastAlive is a time at which the process was certainly alive: the latest that
// the tables mention. An alert whose end lies before it ended under our eyes.
func lastAlive(ctx context.Context, db *sql.DB) (time.Time, error) {
	var at int64
	err := db.QueryRowContext(ctx, `SELECT max(
		(SELECT coalesce(max(decided_at), 0) FROM notify_outbox),
		(SELECT coalesce(max(finished_at), 0) FROM notify_outbox),
		(SELECT coalesce(max(at), 0) FROM notify_attempt))`).Scan(&at)
	if err != nil {
		return time.Time{}, fmt.Errorf("read when the outbox was last written: %w", err)
	}
	return time.Unix(0, at), nil
}

// prune forgets alerts that ended before the given time.
func (b *book) prune(before time.Time) error {
	err := b.led.do(func(ctx context.Context, tx *sql.Conn) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM notify_alert WHERE ends_at < ?", nanos(before))
		return err
	})
	if err != nil {
		return fmt.Errorf("prune ended alerts: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.disk, func(_ model.Fingerprint, d diskAlert) bool { return d.endsAt.Before(before) })
	return nil
}

// settle notes on disk that alerts ended: those that nobody resolved but whose
// end came would otherwise be taken for firing after a crash.
func (b *book) settle(a *alert.Alert) {
	s := storeAlert(a)
	if !s.EndsAt.After(s.UpdatedAt) {
		return
	}
	s.UpdatedAt = s.EndsAt
	body, err := json.Marshal(s)
	if err != nil {
		b.log.Error("ended alert cannot be stored", "error", err)
		return
	}
	b.led.post(func(ctx context.Context, tx *sql.Conn) error {
		_, err := tx.ExecContext(ctx, "UPDATE notify_alert SET body = ?1, ends_at = ?2 WHERE fingerprint = ?3 AND ends_at <= ?2",
			body, nanos(a.EndsAt), int64(a.Fingerprint()))
		return err
	}, func(err error) {
		if err != nil && err != errLedgerClosed {
			b.log.Error("ended alert cannot be stored", "error", err)
		}
	})
}

// bookCallback hears of the alerts that the provider forgets.
type bookCallback struct {
	*silence.Silencer
	ended func(*alert.Alert)
}

// PostDelete is called for every ended alert that leaves memory.
func (c bookCallback) PostDelete(a *alert.Alert) {
	c.Silencer.PostDelete(a)
	c.ended(a)
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
