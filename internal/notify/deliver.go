package notify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
)

// integration is one way of reaching a receiver.
type integration struct {
	name         string // "webhook"
	index        int
	sendResolved bool
	notify       func(context.Context, ...*alert.Alert) (retry bool, err error)
}

// SendResolved is asked by the pipeline.
func (in *integration) SendResolved() bool { return in.sendResolved }

// stamp is what an integration may tell its receiver to recognise repeats.
type stamp struct{ id, dedupKey string }

type stampKey struct{}

// outbox delivers rows. A lane has one attempt in flight; lanes run side by
// side, at most workers of them.
type outbox struct {
	led                *ledger
	log                *slog.Logger
	metrics            *metrics
	changed            func()
	retryFor           time.Duration
	retryMin, retryMax time.Duration
	attemptMax         time.Duration // deadline of one attempt
	graceful           time.Duration // time that attempts in flight get at the end
	workers            int

	mu      sync.Mutex
	real    map[lane]*integration
	secrets *secrets
	lanes   map[lane]*laneQueue
	wake    chan struct{} // capacity 1
}

// load queues what the last process left. What it was sending when it ended may
// have arrived: it is sent again with the same key.
func (o *outbox) load(ctx context.Context) error {
	now := time.Now().UnixNano()
	err := o.led.do(func(ctx context.Context, tx *sql.Conn) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO notify_attempt (outbox_id, at, took, error)
			SELECT id, ?, 0, 'the process ended during the attempt: it may have arrived' FROM notify_outbox WHERE status = ?`, now, Sending); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE notify_outbox SET status = ?, next_at = ? WHERE status = ?", Pending, now, Sending)
		return err
	})
	if err != nil {
		return fmt.Errorf("take up what was being sent: %w", err)
	}
	rows, err := o.led.db.QueryContext(ctx, "SELECT id, receiver, integration, next_at FROM notify_outbox WHERE status = ?", Pending)
	if err != nil {
		return fmt.Errorf("read the waiting notifications: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, next int64
		var l lane
		if err := rows.Scan(&id, &l.receiver, &l.integration, &next); err != nil {
			return fmt.Errorf("read the waiting notifications: %w", err)
		}
		o.queue(l, id, fromNanos(next))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the waiting notifications: %w", err)
	}
	return nil
}

// swap takes the integrations of a new configuration.
func (o *outbox) swap(real map[lane]*integration, k *secrets) {
	o.mu.Lock()
	o.real, o.secrets = real, k
	o.mu.Unlock()
}

func (o *outbox) knownSecrets() *secrets {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.secrets
}

// failRemoved ends the rows that wait for an integration which is no longer
// configured.
func (o *outbox) failRemoved(ctx context.Context) error {
	rows, err := o.led.db.QueryContext(ctx, "SELECT DISTINCT receiver, integration FROM notify_outbox WHERE status = ?", Pending)
	if err != nil {
		return fmt.Errorf("look for removed receivers: %w", err)
	}
	defer rows.Close()
	var gone []lane
	for rows.Next() {
		var l lane
		if err := rows.Scan(&l.receiver, &l.integration); err != nil {
			return fmt.Errorf("look for removed receivers: %w", err)
		}
		o.mu.Lock()
		if o.real[l] == nil {
			gone = append(gone, l)
		}
		o.mu.Unlock()
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for removed receivers: %w", err)
	}
	rows.Close()
	for _, l := range gone {
		now := time.Now().UnixNano()
		var failed int64
		err := o.led.do(func(ctx context.Context, tx *sql.Conn) error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO notify_attempt (outbox_id, at, took, error)
				SELECT id, ?, 0, ? FROM notify_outbox WHERE status = ? AND receiver = ? AND integration = ?`,
				now, errRemoved(l).Error(), Pending, l.receiver, l.integration); err != nil {
				return err
			}
			res, err := tx.ExecContext(ctx, "UPDATE notify_outbox SET status = ?, finished_at = ? WHERE status = ? AND receiver = ? AND integration = ?",
				Failed, now, Pending, l.receiver, l.integration)
			if err != nil {
				return err
			}
			failed, err = res.RowsAffected()
			return err
		})
		if err != nil {
			return fmt.Errorf("end the notifications of removed receiver %q: %w", l.receiver, err)
		}
		o.log.Error("notifications failed: their receiver is no longer configured", "receiver", l.receiver, "integration", l.integration, "count", failed)
		o.changed()
	}
	return nil
}

func errRemoved(l lane) error {
	return fmt.Errorf("%s of receiver %q is no longer in the configuration", l.integration, l.receiver)
}

// run delivers until ctx ends, then gives the attempts in flight some time.
func (o *outbox) run(ctx context.Context) {
	// Attempts outlive ctx by the grace period.
	attempts, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var wg sync.WaitGroup
	free := make(chan struct{}, o.workers)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		l, id, wait := o.next(time.Now())
		if id == 0 {
			timer.Reset(wait)
			select {
			case <-o.wake:
			case <-timer.C:
			case <-ctx.Done():
			}
			continue
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		wg.Go(func() {
			defer func() { <-free }()
			o.attempt(attempts, l, id)
		})
	}
	end := time.AfterFunc(o.graceful, cut)
	defer end.Stop()
	wg.Wait()
}

// row is a claimed row.
type row struct {
	id         int64
	lane       lane
	group      string
	dedupKey   string
	fresh      bool
	tries      int
	decidedAt  time.Time
	retryUntil time.Time
	body       []byte
	thread     []byte
}

// attempt claims the row, calls the integration and notes the outcome.
func (o *outbox) attempt(ctx context.Context, l lane, id int64) {
	r, err := o.claim(l, id)
	if err != nil {
		if !errors.Is(err, errLedgerClosed) {
			o.log.Error("notification cannot be claimed", "id", id, "error", err)
			o.queue(l, id, time.Now().Add(o.retryMin))
		}
		o.release(l, false, false)
		return
	}
	if r == nil {
		o.release(l, false, false) // superseded, or tried already
		return
	}
	o.changed()
	started := time.Now()
	retry, thread, err := o.deliver(ctx, r)
	took := time.Since(started)
	o.metrics.attempts.With(l.receiver, l.integration, outcome(err)).Inc()
	o.conclude(ctx, r, started, took, retry, thread, err)
	o.release(l, true, err != nil && retry)
	o.changed()
}

func outcome(err error) string {
	if err != nil {
		return "error"
	}
	return "success"
}

// claim marks the row as being sent, on disk, so that a crash during the attempt
// is known afterwards. It returns nil if the row is not pending any more.
func (o *outbox) claim(l lane, id int64) (*row, error) {
	var out *row
	err := o.led.do(func(ctx context.Context, tx *sql.Conn) error {
		out = nil
		r := row{id: id, lane: l}
		var decided, until int64
		err := tx.QueryRowContext(ctx, `UPDATE notify_outbox SET status = ?, tries = tries + 1 WHERE id = ? AND status = ?
			RETURNING group_key, dedup_key, fresh, tries, decided_at, retry_until, body`, Sending, id, Pending).
			Scan(&r.group, &r.dedupKey, &r.fresh, &r.tries, &decided, &until, &r.body)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		r.decidedAt, r.retryUntil = fromNanos(decided), fromNanos(until)
		if !r.fresh {
			err = tx.QueryRowContext(ctx, "SELECT body FROM notify_thread WHERE receiver = ? AND integration = ? AND group_key = ?",
				l.receiver, l.integration, r.group).Scan(&r.thread)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		out = &r
		return nil
	})
	return out, err
}

// deliver calls the integration once. thread is what the integration wants to
// know when it is called for the group again.
func (o *outbox) deliver(ctx context.Context, r *row) (retry bool, thread []byte, err error) {
	o.mu.Lock()
	in := o.real[r.lane]
	o.mu.Unlock()
	if in == nil {
		return false, nil, errRemoved(r.lane)
	}
	msg, err := decodeLetter(r.body)
	if err != nil {
		return false, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.attemptMax, fmt.Errorf("no answer within %s", o.attemptMax))
	defer cancel()
	notifyCtx, alerts := msg.open(ctx, r.lane.receiver, r.group)
	store := openThread(r.thread)
	notifyCtx = notify.WithNflogStore(notifyCtx, store)
	notifyCtx = context.WithValue(notifyCtx, stampKey{}, stamp{strconv.FormatInt(r.id, 10), r.dedupKey})

	type result struct {
		retry bool
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var res result
		defer func() {
			if p := recover(); p != nil {
				o.log.Error("integration panicked", "receiver", r.lane.receiver, "integration", r.lane.integration,
					"panic", o.knownSecrets().clean(fmt.Sprint(p)), "stack", string(debug.Stack()))
				res = result{true, fmt.Errorf("the integration panicked: %v", p)}
			}
			done <- res
		}()
		res.retry, res.err = in.notify(notifyCtx, alerts...)
	}()
	select {
	case res := <-done:
		if res.err == nil {
			return false, closeThread(store), nil
		}
		return res.retry, nil, res.err
	case <-ctx.Done():
	}
	// Some integrations do not watch the context while they read from the
	// network. They get a moment to return, then the attempt is given up.
	select {
	case res := <-done:
		if res.err == nil {
			return false, closeThread(store), nil
		}
		return res.retry || ctx.Err() != nil, nil, res.err
	case <-time.After(time.Second):
		return true, nil, context.Cause(ctx)
	}
}

// conclude notes the outcome on disk. While the disk refuses, it tries again
// rather than let the row be sent twice, until ctx ends.
func (o *outbox) conclude(ctx context.Context, r *row, started time.Time, took time.Duration, retry bool, thread []byte, cause error) {
	text := ""
	if cause != nil {
		text = o.knownSecrets().errorText(cause)
		if ctx.Err() != nil {
			retry, text = true, "interrupted by the end of the process: "+text
		}
	}
	var status Status
	var next time.Time
	write := func(wctx context.Context, tx *sql.Conn) error {
		var newer int64
		err := tx.QueryRowContext(wctx, `SELECT coalesce(max(id), 0) FROM notify_outbox
			WHERE receiver = ? AND integration = ? AND group_key = ? AND id > ?`, r.lane.receiver, r.lane.integration, r.group, r.id).Scan(&newer)
		if err != nil {
			return err
		}
		now := time.Now()
		next = time.Time{}
		switch {
		case cause == nil:
			status = Delivered
		case newer != 0 && retry:
			status = Superseded
		case !retry || !now.Before(r.retryUntil):
			status = Failed
		default:
			status, next = Pending, now.Add(o.backoff(r.tries))
			if ctx.Err() != nil {
				next = now
			}
		}
		finished := nanos(now)
		if status == Pending {
			finished = 0
		}
		if _, err := tx.ExecContext(wctx, "INSERT INTO notify_attempt (outbox_id, at, took, error) VALUES (?, ?, ?, ?)",
			r.id, nanos(started), int64(took), text); err != nil {
			return err
		}
		if _, err := tx.ExecContext(wctx, `DELETE FROM notify_attempt WHERE outbox_id = ?1 AND rowid NOT IN
			(SELECT rowid FROM notify_attempt WHERE outbox_id = ?1 ORDER BY at DESC LIMIT ?2)`, r.id, attemptsKept); err != nil {
			return err
		}
		if _, err := tx.ExecContext(wctx, "UPDATE notify_outbox SET status = ?, next_at = ?, finished_at = ? WHERE id = ?",
			status, nanos(next), finished, r.id); err != nil {
			return err
		}
		if status == Superseded && r.fresh {
			if _, err := tx.ExecContext(wctx, "UPDATE notify_outbox SET fresh = 1 WHERE id = ?", newer); err != nil {
				return err
			}
		}
		if status == Delivered {
			// Nobody needs to send by hand what this one has made old.
			if _, err := tx.ExecContext(wctx, `UPDATE notify_outbox SET status = ?
				WHERE receiver = ? AND integration = ? AND group_key = ? AND id < ? AND status = ?`,
				Superseded, r.lane.receiver, r.lane.integration, r.group, r.id, Failed); err != nil {
				return err
			}
		}
		if thread == nil {
			return nil
		}
		_, err = tx.ExecContext(wctx, `INSERT INTO notify_thread (receiver, integration, group_key, body, at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (receiver, integration, group_key) DO UPDATE SET body = excluded.body, at = excluded.at`,
			r.lane.receiver, r.lane.integration, r.group, thread, nanos(now))
		return err
	}
	for {
		err := o.led.do(write)
		if err == nil {
			break
		}
		if errors.Is(err, errLedgerClosed) {
			return
		}
		o.log.Error("outcome of a notification cannot be stored", "id", r.id, "error", err)
		select {
		case <-time.After(o.retryMin):
			continue
		case <-ctx.Done():
		}
		return
	}
	o.tell(r, status, next, text)
}

// tell counts and logs the outcome.
func (o *outbox) tell(r *row, status Status, next time.Time, text string) {
	log := o.log.With("id", r.id, "receiver", r.lane.receiver, "integration", r.lane.integration, "group", r.group, "attempt", r.tries)
	switch status {
	case Delivered:
		o.metrics.delivered.With(r.lane.receiver, r.lane.integration).Inc()
		o.metrics.delay.With(r.lane.receiver, r.lane.integration).Since(r.decidedAt)
		if r.tries > 1 {
			log.Info("notification delivered")
		}
	case Superseded:
		o.metrics.superseded.With(r.lane.receiver, r.lane.integration).Inc()
		log.Warn("notification not delivered, a newer one takes its place", "error", text)
	case Failed:
		o.metrics.failures.With(r.lane.receiver, r.lane.integration).Inc()
		log.Error("notification failed", "error", text)
	case Pending:
		o.queue(r.lane, r.id, next)
		if r.tries == 1 {
			log.Warn("notification not delivered, will try again", "error", text)
		}
	}
}
