package notify

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/instrument"
)

// metrics are the outbox's own; Alertmanager's packages register theirs.
type metrics struct {
	delivered, attempts, failures, superseded *instrument.CounterVec
	delay                                     *instrument.TimerVec
}

func newMetrics(m *instrument.Registry) *metrics {
	m.Describe("vedette_outbox_delivered", "", "Notifications that their receiver took.")
	m.Describe("vedette_outbox_attempts", "", "Attempts at delivering notifications.")
	m.Describe("vedette_outbox_failures", "", "Notifications that were given up.")
	m.Describe("vedette_outbox_superseded", "", "Notifications not delivered because a newer one of their group took their place.")
	m.Describe("vedette_outbox_delivery", "seconds", "Time from the decision to notify to the delivery.")
	return &metrics{
		delivered:  m.CounterVec("vedette_outbox_delivered", "receiver", "integration"),
		attempts:   m.CounterVec("vedette_outbox_attempts", "receiver", "integration", "outcome"),
		failures:   m.CounterVec("vedette_outbox_failures", "receiver", "integration"),
		superseded: m.CounterVec("vedette_outbox_superseded", "receiver", "integration"),
		delay:      m.TimerVec("vedette_outbox_delivery", "receiver", "integration"),
	}
}

// tellBacklog has m tell what the outbox holds at the moment of a snapshot.
func tellBacklog(m *instrument.Registry, stats func(context.Context) (OutboxStats, error), log *slog.Logger) {
	var mu sync.Mutex
	var last OutboxStats
	var at time.Time
	gauge := func(name, unit, help string, of func(OutboxStats) float64) {
		m.Describe(name, unit, help)
		m.GaugeFunc(name, func() float64 {
			mu.Lock()
			defer mu.Unlock()
			if time.Since(at) > time.Second { // the three are asked in a row
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				var err error
				if last, err = stats(ctx); err != nil {
					log.Warn("the outbox was not counted", "err", err)
					return math.NaN()
				}
				at = time.Now()
			}
			return of(last)
		})
	}
	gauge("vedette_outbox_pending", "", "Notifications that wait or are being sent.", func(s OutboxStats) float64 { return float64(s.Pending) })
	gauge("vedette_outbox_failed", "", "Notifications that were given up and can be tried again by hand.", func(s OutboxStats) float64 { return float64(s.Failed) })
	gauge("vedette_outbox_oldest_pending", "seconds", "How long the oldest undelivered notification waits.", func(s OutboxStats) float64 { return s.OldestPending.Seconds() })
}
