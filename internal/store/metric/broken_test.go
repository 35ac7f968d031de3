package metric

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/vedette-sre/vedette/instrument"
)

// TestBrokenLogRefuses moves the engine's own counters of failed log writes and
// looks that the store stops acknowledging, and that opening it anew heals it.
func TestBrokenLogRefuses(t *testing.T) {
	for _, log := range []string{"prometheus_tsdb_wal_writes_failed_total", "prometheus_tsdb_out_of_order_wbl_writes_failed_total"} {
		t.Run(log, func(t *testing.T) {
			dir := t.TempDir()
			reg := prometheus.NewRegistry()
			s, err := Open(dir, Config{}, instrument.New(instrument.Config{}), reg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			put := func(s *Store, v float64) error {
				app := s.Appender(t.Context())
				if _, err := app.Append(0, labels.FromStrings("__name__", "x"), time.Now().UnixMilli(), v); err != nil {
					_ = app.Rollback()
					return err
				}
				return app.Commit()
			}
			if err := put(s, 1); err != nil {
				t.Fatal(err)
			}
			if len(s.logs.counters) != 2 {
				t.Fatalf("found %d counters of failed writes, want that of each log", len(s.logs.counters))
			}
			// A transaction under way when another tears the log.
			app := s.Appender(t.Context())
			if _, err := app.Append(0, labels.FromStrings("__name__", "y"), time.Now().UnixMilli(), 1); err != nil {
				t.Fatal(err)
			}
			fail(t, s, log)
			if err := app.Commit(); err == nil {
				t.Error("a transaction committed behind a torn record")
			}
			if err := put(s, 2); err == nil || !s.Broken() {
				t.Errorf("after a failed write: error %v, broken %v; want an error and true", err, s.Broken())
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = Open(dir, Config{}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := put(s, 3); err != nil || s.Broken() {
				t.Errorf("opened anew: error %v, broken %v; want none", err, s.Broken())
			}
		})
	}
}

// fail counts one failed write where the engine would.
func fail(t *testing.T, s *Store, name string) {
	t.Helper()
	for i, c := range s.logs.counters {
		ch := make(chan prometheus.Metric, 1)
		c.Collect(ch)
		if m := <-ch; !strings.Contains(m.Desc().String(), `"`+name+`"`) {
			continue
		}
		broken := prometheus.NewCounter(prometheus.CounterOpts{Name: name})
		broken.Inc()
		s.logs.counters[i] = broken
		return
	}
	t.Fatalf("the engine registers no counter %s", name)
}
