package notify

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the outbox's own; Alertmanager's packages register theirs.
type metrics struct {
	delivered, attempts, failures, superseded *prometheus.CounterVec
	delay                                     *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	lane := []string{"receiver", "integration"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append(labels, lane...))
	}
	m := &metrics{
		delivered: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_outbox_delivered_total",
			Help: "Notifications that their receiver took."}, lane),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_outbox_attempts_total",
			Help: "Attempts at delivering notifications."}, []string{"receiver", "integration", "outcome"}),
		failures: counter("vedette_outbox_failures_total", "Notifications that were given up."),
		superseded: counter("vedette_outbox_superseded_total",
			"Notifications not delivered because a newer one of their group took their place."),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vedette_outbox_delivery_seconds",
			Help:                        "Time from the decision to notify to the delivery.",
			Buckets:                     []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}, lane),
	}
	for _, c := range []prometheus.Collector{m.delivered, m.attempts, m.failures, m.superseded, m.delay} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// backlog collects what the outbox holds at the moment of the scrape.
type backlog struct {
	stats                   func(context.Context) (OutboxStats, error)
	log                     *slog.Logger
	pending, failed, oldest *prometheus.Desc
}

func newBacklog(stats func(context.Context) (OutboxStats, error), log *slog.Logger) *backlog {
	return &backlog{stats: stats, log: log,
		pending: prometheus.NewDesc("vedette_outbox_pending", "Notifications that wait or are being sent.", nil, nil),
		failed:  prometheus.NewDesc("vedette_outbox_failed", "Notifications that were given up and can be tried again by hand.", nil, nil),
		oldest:  prometheus.NewDesc("vedette_outbox_oldest_pending_seconds", "How long the oldest undelivered notification waits.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (b *backlog) Describe(ch chan<- *prometheus.Desc) {
	ch <- b.pending
	ch <- b.failed
	ch <- b.oldest
}

// Collect implements prometheus.Collector.
func (b *backlog) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := b.stats(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(b.pending, err)
		return
	}
	ch <- prometheus.MustNewConstMetric(b.pending, prometheus.GaugeValue, float64(s.Pending))
	ch <- prometheus.MustNewConstMetric(b.failed, prometheus.GaugeValue, float64(s.Failed))
	ch <- prometheus.MustNewConstMetric(b.oldest, prometheus.GaugeValue, s.OldestPending.Seconds())
}
