package metric_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// TestPromQLCorpus runs Prometheus's own acceptance tests of PromQL on a Store.
// They load each series in order from time 0, so the window of appending is a
// day, as in their own storage.
func TestPromQLCorpus(t *testing.T) {
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	promqltest.RunBuiltinTestsWithStorage(t, engine, func(t testing.TB) storage.Storage {
		s, err := metric.Open(t.TempDir(), metric.Config{BlockDuration: 24 * time.Hour, OutOfOrder: -1, MaxExemplars: 100_000, StartTimes: true}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
