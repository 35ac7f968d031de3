package notify

import (
	"context"

	"github.com/prometheus/alertmanager/alert"
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
	n.out.real[lane{receiver, integration}] = &old
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
