package notify

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"

	"github.com/vedette-sre/vedette/internal/record"
)

// Status is where a notification stands.
type Status string

// The statuses. Delivered, Failed and Superseded are ends, but Failed can be
// tried again by hand.
const (
	Pending    Status = "pending"
	Sending    Status = "sending"
	Delivered  Status = "delivered"
	Failed     Status = "failed"
	Superseded Status = "superseded" // a newer notification of the group took its place
)

var statuses = []Status{Pending, Sending, Delivered, Failed, Superseded}

// decide stores a decision of the pipeline and returns when it is on disk.
//
// If the newest row of the group has the same alerts in the same states and the
// notification log never heard of it, the process died between the row and the
// log: this is that decision again, and the row stands for it.
func (o *outbox) decide(ctx context.Context, l lane, alerts []*alert.Alert) error {
	group, ok := notify.GroupKey(ctx)
	if !ok {
		return errors.New("the decision has no group key")
	}
	msg := writeLetter(ctx, alerts)
	body, err := msg.encode()
	if err != nil {
		return fmt.Errorf("encode the notification: %w", err)
	}
	var firing, resolved int
	now := time.Now()
	for _, a := range msg.Alerts {
		if a.resolvedAt(now) {
			resolved++
		} else {
			firing++
		}
	}
	sets := msg.sets()
	first := msg.reason() == notify.ReasonFirstNotification
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s\x00%d", l.receiver, l.integration, group, sets, now.UnixNano()))
	key := hex.EncodeToString(sum[:16])

	var id int64
	var gone []int64
	err = o.led.do(func(ctx context.Context, tx *sql.Conn) error {
		id, gone = 0, nil
		var newestSets string
		var logged bool
		var decidedAt int64
		err := tx.QueryRowContext(ctx, `SELECT sets, logged, decided_at FROM notify_outbox
			WHERE receiver = ? AND integration = ? AND group_key = ? ORDER BY id DESC LIMIT 1`,
			l.receiver, l.integration, group).Scan(&newestSets, &logged, &decidedAt)
		switch {
		case err == nil && !logged && newestSets == sets && now.Sub(fromNanos(decidedAt)) < msg.RepeatInterval:
			return nil
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return err
		}
		fresh := first
		rows, err := tx.QueryContext(ctx, `UPDATE notify_outbox SET status = ?, finished_at = ?
			WHERE receiver = ? AND integration = ? AND group_key = ? AND status = ? RETURNING id, fresh`,
			Superseded, now.UnixNano(), l.receiver, l.integration, group, Pending)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var old int64
			var oldFresh bool
			if err := rows.Scan(&old, &oldFresh); err != nil {
				return err
			}
			gone = append(gone, old)
			fresh = fresh || oldFresh
		}
		if err := rows.Err(); err != nil {
			return err
		}
		rows.Close()
		res, err := tx.ExecContext(ctx, `INSERT INTO notify_outbox (receiver, integration, group_key, status, dedup_key, sets, fresh, logged,
			firing, resolved, tries, decided_at, retry_until, next_at, finished_at, body) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, 0, ?, ?, ?, 0, ?)`,
			l.receiver, l.integration, group, Pending, key, sets, fresh, firing, resolved,
			now.UnixNano(), now.Add(o.retryFor).UnixNano(), now.UnixNano(), body)
		if err != nil {
			return err
		}
		id, err = res.LastInsertId()
		return err
	})
	if err != nil {
		return fmt.Errorf("write the notification to the outbox: %w", err)
	}
	if id == 0 {
		return nil
	}
	o.metrics.superseded.With(l.receiver, l.integration).Add(uint64(len(gone)))
	o.queue(l, id, now)
	o.changed()
	return nil
}

// sets identifies which alerts fire and which are resolved.
func (l letter) sets() string {
	h := sha256.New()
	for _, v := range l.Firing {
		fmt.Fprintf(h, "f%x;", v)
	}
	for _, v := range l.Resolved {
		fmt.Fprintf(h, "r%x;", v)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// OutboxFilter chooses notifications.
type OutboxFilter struct {
	Status Status // "" for all
	Limit  int    // at most 1000; 0 for 200
	// Before is the id of the last notification of the previous page, "" for
	// the first page.
	Before string
}

// OutboxPage is a list of notifications, the newest first.
type OutboxPage struct {
	Notifications []Notification `json:"notifications"`
	// Counts has every status, over the whole outbox.
	Counts map[Status]int `json:"counts"`
}

// Notification is one message to one integration of a receiver.
type Notification struct {
	ID            string            `json:"id"`
	Receiver      string            `json:"receiver"`
	Integration   string            `json:"integration"` // "webhook[0]"
	Status        Status            `json:"status"`
	GroupKey      string            `json:"group_key"`
	GroupLabels   map[string]string `json:"group_labels"`
	DedupKey      string            `json:"dedup_key"`
	Reason        string            `json:"reason,omitempty"` // why it was decided: "first notification"
	Firing        int               `json:"firing"`
	Resolved      int               `json:"resolved"`
	Alerts        []NotifiedAlert   `json:"alerts"`
	DecidedAt     time.Time         `json:"decided_at"`
	NextAttemptAt *time.Time        `json:"next_attempt_at"`
	FinishedAt    *time.Time        `json:"finished_at"`
	// Attempts are the last attempts, the oldest first.
	Attempts []Attempt `json:"attempts"`
}

// NotifiedAlert is an alert as it was when the notification was decided.
type NotifiedAlert struct {
	Status      string            `json:"status"` // "firing" or "resolved"
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"starts_at"`
	EndsAt      *time.Time        `json:"ends_at"`
}

// Attempt is one call of the integration.
type Attempt struct {
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error"` // "" when it was delivered
}

// attemptsKept bounds the attempts that a row keeps.
const attemptsKept = 50

// Outbox lists notifications.
func (n *Notifier) Outbox(ctx context.Context, f OutboxFilter) (OutboxPage, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 200
	}
	before := int64(1<<63 - 1)
	if f.Before != "" {
		var err error
		if before, err = strconv.ParseInt(f.Before, 10, 64); err != nil {
			return OutboxPage{}, record.Errorf(record.Invalid, "before=%q: want the id of a notification", f.Before)
		}
	}
	counts, err := n.out.counts(ctx)
	if err != nil {
		return OutboxPage{}, err
	}
	if _, ok := counts[f.Status]; f.Status != "" && !ok {
		return OutboxPage{}, record.Errorf(record.Invalid, "status=%q: want pending, sending, delivered, failed or superseded", f.Status)
	}
	page := OutboxPage{Notifications: []Notification{}, Counts: counts}
	where, args := "id < ?", []any{before}
	if f.Status != "" {
		where, args = where+" AND status = ?", append(args, f.Status)
	}
	rows, err := n.out.led.db.QueryContext(ctx, `SELECT id, receiver, integration, status, group_key, dedup_key, firing, resolved,
		decided_at, next_at, finished_at, body FROM notify_outbox WHERE `+where+` ORDER BY id DESC LIMIT ?`, append(args, min(limit, 1000))...)
	if err != nil {
		return OutboxPage{}, fmt.Errorf("list the outbox: %w", err)
	}
	defer rows.Close()
	index := make(map[int64]int)
	for rows.Next() {
		var id, decided, next, finished int64
		var body []byte
		var m Notification
		if err := rows.Scan(&id, &m.Receiver, &m.Integration, &m.Status, &m.GroupKey, &m.DedupKey, &m.Firing, &m.Resolved,
			&decided, &next, &finished, &body); err != nil {
			return OutboxPage{}, fmt.Errorf("list the outbox: %w", err)
		}
		m.ID, m.DecidedAt, m.Attempts = strconv.FormatInt(id, 10), fromNanos(decided), []Attempt{}
		m.GroupLabels, m.Alerts = map[string]string{}, []NotifiedAlert{}
		if m.Status == Pending {
			m.NextAttemptAt = timeOrNil(next)
		}
		m.FinishedAt = timeOrNil(finished)
		if l, err := decodeLetter(body); err == nil {
			m.fill(l)
		}
		index[id] = len(page.Notifications)
		page.Notifications = append(page.Notifications, m)
	}
	if err := rows.Err(); err != nil {
		return OutboxPage{}, fmt.Errorf("list the outbox: %w", err)
	}
	rows.Close() // the caller may allow only one connection
	return page, n.out.addAttempts(ctx, page.Notifications, index)
}

func timeOrNil(n int64) *time.Time {
	if n == 0 {
		return nil
	}
	t := fromNanos(n)
	return &t
}

func (m *Notification) fill(l letter) {
	m.Reason = l.Reason
	if l.GroupLabels != nil {
		m.GroupLabels = l.GroupLabels
	}
	for _, a := range l.Alerts {
		v := NotifiedAlert{Status: "firing", Labels: a.Labels, Annotations: a.Annotations, StartsAt: a.StartsAt.UTC()}
		if v.Annotations == nil {
			v.Annotations = map[string]string{}
		}
		if a.resolvedAt(m.DecidedAt) {
			v.Status = "resolved"
		}
		if !a.EndsAt.IsZero() {
			t := a.EndsAt.UTC()
			v.EndsAt = &t
		}
		m.Alerts = append(m.Alerts, v)
	}
}

// addAttempts fills in the attempts of the listed rows.
func (o *outbox) addAttempts(ctx context.Context, list []Notification, index map[int64]int) error {
	ids := make([]int64, 0, len(index))
	for id := range index {
		ids = append(ids, id)
	}
	arg, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	rows, err := o.led.db.QueryContext(ctx, `SELECT outbox_id, at, took, error FROM notify_attempt
		WHERE outbox_id IN (SELECT value FROM json_each(?)) ORDER BY outbox_id, at`, string(arg))
	if err != nil {
		return fmt.Errorf("list the attempts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, at, took int64
		var a Attempt
		if err := rows.Scan(&id, &at, &took, &a.Error); err != nil {
			return fmt.Errorf("list the attempts: %w", err)
		}
		a.At, a.Seconds = fromNanos(at), time.Duration(took).Seconds()
		m := &list[index[id]]
		m.Attempts = append(m.Attempts, a)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list the attempts: %w", err)
	}
	return nil
}

func (o *outbox) counts(ctx context.Context) (map[Status]int, error) {
	out := make(map[Status]int, len(statuses))
	for _, s := range statuses {
		out[s] = 0
	}
	rows, err := o.led.db.QueryContext(ctx, "SELECT status, count(*) FROM notify_outbox GROUP BY status")
	if err != nil {
		return nil, fmt.Errorf("count the outbox: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s Status
		var n int
		if err := rows.Scan(&s, &n); err != nil {
			return nil, fmt.Errorf("count the outbox: %w", err)
		}
		out[s] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("count the outbox: %w", err)
	}
	return out, nil
}

// OutboxStats are the numbers by which the outbox's health is judged.
type OutboxStats struct {
	Pending int // waiting or being sent
	Failed  int
	// OldestPending is how long the oldest undelivered notification waits, 0
	// when there is none.
	OldestPending time.Duration
}

// OutboxStats counts what is undelivered.
func (n *Notifier) OutboxStats(ctx context.Context) (OutboxStats, error) { return n.out.stats(ctx) }

func (o *outbox) stats(ctx context.Context) (OutboxStats, error) {
	var s OutboxStats
	var oldest int64
	err := o.led.db.QueryRowContext(ctx, `SELECT
		(SELECT count(*) FROM notify_outbox WHERE status IN ('pending', 'sending')),
		(SELECT count(*) FROM notify_outbox WHERE status = 'failed'),
		(SELECT coalesce(min(decided_at), 0) FROM notify_outbox WHERE status IN ('pending', 'sending'))`).
		Scan(&s.Pending, &s.Failed, &oldest)
	if err != nil {
		return s, fmt.Errorf("count the outbox: %w", err)
	}
	if oldest > 0 {
		s.OldestPending = max(0, time.Since(fromNanos(oldest)))
	}
	return s, nil
}

// Retry makes a failed notification pending again with a new time to live, and
// a waiting one due at once. It is a NotFound error if there is no such
// notification and a Conflict if it is being sent, was delivered, or a newer
// one of its group exists.
func (n *Notifier) Retry(ctx context.Context, id string) error { return n.out.retry(id) }

func (o *outbox) retry(id string) error {
	num, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return record.Errorf(record.NotFound, "there is no notification %q", id)
	}
	now := time.Now()
	var l lane
	err = o.led.do(func(ctx context.Context, tx *sql.Conn) error {
		var status Status
		var newer int64
		err := tx.QueryRowContext(ctx, `SELECT receiver, integration, status, coalesce((SELECT max(n.id) FROM notify_outbox n
			WHERE n.receiver = o.receiver AND n.integration = o.integration AND n.group_key = o.group_key AND n.id > o.id), 0)
			FROM notify_outbox o WHERE id = ?`, num).Scan(&l.receiver, &l.integration, &status, &newer)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return record.Errorf(record.NotFound, "there is no notification %s", id)
		case err != nil:
			return err
		case newer != 0:
			return record.Errorf(record.Conflict, "notification %s has a successor for the same group: %d", id, newer)
		case status != Failed && status != Pending:
			return record.Errorf(record.Conflict, "notification %s is %s: only one that failed or waits can be tried again", id, status)
		}
		set := "next_at = ?1"
		if status == Failed {
			set = "next_at = ?1, status = 'pending', finished_at = 0, tries = 0, retry_until = ?2"
		}
		_, err = tx.ExecContext(ctx, "UPDATE notify_outbox SET "+set+" WHERE id = ?3",
			now.UnixNano(), now.Add(o.retryFor).UnixNano(), num)
		return err
	})
	if err != nil {
		return err
	}
	o.queue(l, num, now)
	o.unpause(l)
	o.changed()
	return nil
}

// prune forgets what ended before the given time.
func (o *outbox) prune(before time.Time) error {
	err := o.led.do(func(ctx context.Context, tx *sql.Conn) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM notify_outbox WHERE finished_at > 0 AND finished_at < ?", before.UnixNano()); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM notify_attempt WHERE outbox_id NOT IN (SELECT id FROM notify_outbox)"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM notify_thread WHERE at < ?", before.UnixNano())
		return err
	})
	if err != nil {
		return fmt.Errorf("prune the outbox: %w", err)
	}
	return nil
}
