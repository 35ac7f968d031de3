package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Live tells open pages that something changed, at most once a second each.
// Safe for concurrent use.
type Live struct {
	mu   sync.Mutex
	subs map[*subscriber]bool
	end  chan struct{}
	once sync.Once
}

type subscriber struct {
	tenant record.Tenant
	topics map[string]bool // what changed since the last message
	wake   chan struct{}
}

// NewLive makes one without subscribers.
func NewLive() *Live { return &Live{subs: map[*subscriber]bool{}, end: make(chan struct{})} }

// Close ends all streams: a server that stops does not wait for open pages.
func (l *Live) Close() { l.once.Do(func() { close(l.end) }) }

// Changed marks a topic ("now", "checks", "alerts", "outbox") of a tenant. It
// never blocks.
func (l *Live) Changed(t record.Tenant, topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.subs {
		if s.tenant == t {
			s.topics[topic] = true
			select {
			case s.wake <- struct{}{}:
			default:
			}
		}
	}
}

func (l *Live) subscribe(t record.Tenant) *subscriber {
	s := &subscriber{tenant: t, topics: map[string]bool{}, wake: make(chan struct{}, 1)}
	l.mu.Lock()
	l.subs[s] = true
	l.mu.Unlock()
	return s
}

func (l *Live) unsubscribe(s *subscriber) {
	l.mu.Lock()
	delete(l.subs, s)
	l.mu.Unlock()
}

// take returns and clears what changed.
func (l *Live) take(s *subscriber) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]string, 0, len(s.topics))
	for t := range s.topics {
		out = append(out, t)
	}
	clear(s.topics)
	sort.Strings(out)
	return out
}

// livePath is the one route that lasts as long as a page is open.
const livePath = "/api/v1/live"

// serveLive is an event stream (text/event-stream of the HTML standard).
func (s *Server) serveLive(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	sub := s.live.subscribe(t.Name)
	defer s.live.unsubscribe(sub)
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	send := func(format string, a ...any) bool {
		_ = rc.SetWriteDeadline(time.Now().Add(30 * time.Second)) // a page that reads no more
		if _, err := fmt.Fprintf(w, format, a...); err != nil {
			return false
		}
		return rc.Flush() == nil
	}
	if !send("retry: 2000\n: hello\n\n") {
		return nil
	}
	beat := time.NewTicker(15 * time.Second)
	defer beat.Stop()
	// "now" moves with every second of data; five seconds is what a person sees.
	now := time.NewTicker(5 * time.Second)
	defer now.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-s.live.end:
			return nil
		case <-beat.C:
			if !send(": beat\n\n") {
				return nil
			}
		case <-now.C:
			s.live.Changed(t.Name, "now")
		case <-sub.wake:
			select {
			case <-pause.C:
			case <-r.Context().Done():
				return nil
			case <-s.live.end:
				return nil
			}
			data, err := json.Marshal(map[string][]string{"topics": s.live.take(sub)})
			if err != nil {
				return err
			}
			if !send("event: change\ndata: %s\n\n", data) {
				return nil
			}
			pause.Reset(time.Second)
		}
	}
}
