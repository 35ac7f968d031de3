package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/instrument/health"
)

// newHealth makes the health of this process, as its socket tells it.
func newHealth(s *Server) *health.Health {
	h := health.New(health.Config{Name: "vedette", Version: s.version.Version, Revision: s.version.Revision, BuildTime: s.version.BuildTime})
	h.Queue("notifications", func() (depth, capacity int, oldest time.Duration) {
		s.house.each(func(t *tenant) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if st, err := t.notifier.OutboxStats(ctx); err == nil {
				depth += st.Pending
				oldest = max(oldest, st.OldestPending)
			}
		})
		return depth, 0, oldest
	})
	return h
}

// watchHealth reports the components until ctx ends.
func (s *Server) watchHealth(ctx context.Context) {
	config := s.health.Component("config")
	storage := s.health.Component("storage", health.Critical(), health.Expire(time.Minute))
	receivers := s.health.Component("receivers")
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		if st := s.configState(); st.OK {
			config.Good("in force since " + st.LoadedAt.Format(time.RFC3339))
		} else {
			config.Degraded("the newest configuration was refused: " + st.Error)
		}
		var broken, failing []string
		n := 0
		s.house.each(func(t *tenant) {
			n++
			if t.store.Broken() {
				broken = append(broken, string(t.name))
			}
			one, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if st, err := t.notifier.OutboxStats(one); err == nil && st.Failed > 0 {
				failing = append(failing, string(t.name))
			}
		})
		slices.Sort(broken)
		slices.Sort(failing)
		switch {
		case len(broken) > 0:
			storage.Bad("the disk failed under the log of " + strings.Join(broken, ", "))
		default:
			storage.Good(fmt.Sprintf("%d tenants store", n))
		}
		switch {
		case len(failing) > 0:
			receivers.Degraded("notifications of " + strings.Join(failing, ", ") + " could not be delivered; see the outbox")
		default:
			receivers.Good("no notification is given up")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// each calls f with every open tenant.
func (h *house) each(f func(*tenant)) {
	h.mu.Lock()
	open := make([]*tenant, 0, len(h.open))
	for _, t := range h.open {
		t.users++
		open = append(open, t)
	}
	h.mu.Unlock()
	for _, t := range open {
		f(t)
		h.mu.Lock()
		t.users-- // its last use is not touched: a look keeps nothing open
		h.mu.Unlock()
	}
}
