package browser

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Opens opens addresses one after the other in one browser and returns what was
// wrong with each; nil where nothing was.
func Opens(ctx context.Context, times []time.Duration, addresses []string) ([]*Failure, *Failure) {
	path, err := find("")
	if err != nil {
		return nil, ownFault(err.Error())
	}
	s := &Script{Width: 800, Height: 600, MaxBytes: 1 << 20}
	proc, err := start(path, s)
	if err != nil {
		return nil, ownFault(err.Error())
	}
	t := &tab{script: s, changed: make(chan struct{}), asked: map[string]bool{}}
	t.net.own = t.own
	c, wait := dial(proc.in, proc.out, t.event)
	defer func() { _ = proc.stop(); wait() }()
	if err := openTab(ctx, c, t); err != nil {
		return nil, proc.stillborn(ctx, err)
	}
	var out []*Failure
	for i, a := range addresses {
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, times[i])
		f := t.open(limited, a, began)
		cancel()
		out = append(out, f)
	}
	return out, nil
}

// Explain puts a network error into the words of checks.
var Explain = explain

// Descendants are the processes below one.
var Descendants = descendants

// State is the letter of a process that ps shows.
var State = state

// Hops renders requests of a page: n of them, each a ms longer than the one
// before; those at the places in bad failed.
func Hops(n int, bad map[int]bool) (hops []record.Hop, left int) {
	var l ledger
	for i := range n {
		x := &exchange{url: "http://h/" + string(rune('a'+i%26)), kind: "image", sent: float64(i), wall: float64(i), ended: float64(i) + float64(i)/1000, answered: true, status: 200}
		if bad[i] {
			x.status = 404
		}
		l.count++
		l.all = append(l.all, x)
	}
	return l.hops(time.Unix(0, 0), float64(n))
}

// Hear gives a page what a browser would have sent, and returns what was made of
// it. The page's session is "s", its target "t".
func Hear(sent []byte) *Outcome {
	u := &url.URL{Scheme: "http", Host: "h"}
	t := &tab{script: &Script{MaxBytes: 1 << 20, Origins: []*url.URL{u}, TraceID: "1", User: "u"}, target: "t", changed: make(chan struct{}), asked: map[string]bool{}}
	t.net.own = t.own
	t.mu.Lock()
	c, wait := dial(bytes.NewReader(sent), io.Discard, t.event)
	t.browser, t.page = session{conn: c}, session{conn: c, id: "s"}
	t.mu.Unlock()
	wait()
	out := &Outcome{Facts: map[string]string{}, Failure: &Failure{"status", "status", ""}}
	t.account(context.Background(), out)
	return out
}
