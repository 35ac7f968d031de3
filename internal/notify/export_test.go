package notify

import (
	"context"
	"maps"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/vedette-sre/vedette/internal/record"
)

// Crash makes the notifier end as a killed process does: from now on nothing
// reaches the disk. What runs may then be stopped in any order.
func (n *Notifier) Crash() {
	n.led.mu.Lock()
	queue := n.led.queue
	n.led.queue = nil
	if !n.led.closed {
		n.led.closed = true
		if !n.led.busy {
			close(n.led.idle)
		}
	}
	n.led.mu.Unlock()
	for _, e := range queue {
		e.done(errLedgerClosed)
	}
}

// Hold keeps the workers from an integration.
func (n *Notifier) Hold(receiver, integration string) {
	n.out.mu.Lock()
	defer n.out.mu.Unlock()
	l := lane{receiver, integration}
	if n.out.lanes[l] == nil {
		n.out.lanes[l] = &laneQueue{}
	}
	n.out.lanes[l].busy = true
}

// Free lets the workers have it again.
func (n *Notifier) Free(receiver, integration string) {
	n.out.release(lane{receiver, integration}, false, false)
}

// Replace puts f in the place of an integration's notifier.
func (n *Notifier) Replace(receiver, integration string, f func(context.Context, string) (bool, error)) {
	n.out.mu.Lock()
	defer n.out.mu.Unlock()
	old := *n.out.real[lane{receiver, integration}]
	old.notify = func(ctx context.Context, _ ...*alert.Alert) (bool, error) {
		return f(ctx, ctx.Value(stampKey{}).(stamp).dedupKey)
	}
	// A copy: the pipeline reads the map without this lock.
	real := maps.Clone(n.out.real)
	real[lane{receiver, integration}] = &old
	n.out.real = real
}

// Compact does the maintenance of the notification log and the silences.
func (n *Notifier) Compact() error {
	_, err := n.journal.compactSent()
	if err != nil {
		return err
	}
	_, err = n.journal.compactSilences()
	return err
}

// DecodeRow reads an outbox row's body and writes it again.
func DecodeRow(b []byte) ([]byte, error) {
	l, err := decodeLetter(b)
	if err != nil {
		return nil, err
	}
	l.open(context.Background(), "receiver", "group")
	return l.encode()
}

// DecodeStored reads what the other tables hold.
func DecodeStored(b []byte) {
	_, _ = decodeStoredAlert(b)
	_, _ = sentWrite(b)
	_, _ = silenceWrite(b)
	_ = splitDelimited(b, func([]byte) error { return nil })
	openThread(b)
}

// Clean removes secrets of the configuration from s.
func (c *Config) Clean(s string) string { return collectSecrets(c.conf).clean(s) }

// Stale tells whether a restart would go wrong if the disk had stored and memory
// has a, at the time now.
func Stale(stored, a record.Alert, now time.Time) bool {
	conv := func(r record.Alert) *alert.Alert {
		return &alert.Alert{Alert: model.Alert{Labels: toLabelSet(r.Labels), Annotations: toLabelSet(r.Annotations),
			StartsAt: r.StartsAt, EndsAt: r.EndsAt, GeneratorURL: r.GeneratorURL}}
	}
	s := conv(stored)
	return diskAlert{s.StartsAt, s.EndsAt, digest(s)}.stale(conv(a), now)
}

// Backoff is the wait after the given number of tries.
func Backoff(least, most time.Duration, tries int) time.Duration {
	return (&outbox{retryMin: least, retryMax: most}).backoff(tries)
}

// Lanes plays the scheduler without workers: rows are queued, taken and
// released by hand.
type Lanes struct{ o *outbox }

// NewLanes has no rows.
func NewLanes() Lanes {
	return Lanes{&outbox{retryMin: time.Second, retryMax: time.Minute, lanes: make(map[lane]*laneQueue), wake: make(chan struct{}, 1)}}
}

// Queue makes a row known.
func (l Lanes) Queue(receiver string, id int64, next time.Time) {
	l.o.queue(lane{receiver, ""}, id, next)
}

// Next takes a row; id is 0 when none is due, and wait tells for how long.
func (l Lanes) Next() (receiver string, id int64, wait time.Duration) {
	ln, id, wait := l.o.next(time.Now())
	return ln.receiver, id, wait
}

// Release ends an attempt.
func (l Lanes) Release(receiver string, failed bool) { l.o.release(lane{receiver, ""}, true, failed) }

// Unpause is what a retry by hand does.
func (l Lanes) Unpause(receiver string) { l.o.unpause(lane{receiver, ""}) }
