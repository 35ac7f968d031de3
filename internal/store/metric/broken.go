package metric

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/vedette-sre/vedette/internal/record"
)

// errBroken refuses samples after a write to a log has failed. What the engine
// would log behind the torn record is cut away by the repair at the next start,
// so nothing more may be acknowledged before the logs are opened anew.
var errBroken = record.Errorf(record.Unavailable, "a write to the metric store's log has failed (is the disk full?); nothing more is stored until the log is opened anew, which happens when there is room")

// Broken reports that a write to a log has failed since Open. The store answers
// queries and refuses samples; closing it and opening it again repairs the log.
func (s *Store) Broken() bool { return s.logs.broken() }

// logWatch learns of failed writes to the engine's logs from the counters that
// the engine registers: they move under the log's own lock, before another
// transaction can write, and they count failures that the engine only logs (those
// of the late samples' log).
type logWatch struct {
	prometheus.Registerer
	known atomic.Bool

	mu       sync.Mutex
	counters []prometheus.Collector
}

func (w *logWatch) Register(c prometheus.Collector) error {
	w.note(c)
	return w.Registerer.Register(c)
}

func (w *logWatch) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		w.note(c)
	}
	w.Registerer.MustRegister(cs...)
}

// note keeps the counters of failed writes.
func (w *logWatch) note(c prometheus.Collector) {
	ch := make(chan *prometheus.Desc, 64)
	go func() { c.Describe(ch); close(ch) }()
	for d := range ch {
		if strings.Contains(d.String(), `writes_failed_total"`) {
			w.mu.Lock()
			w.counters = append(w.counters, c)
			w.mu.Unlock()
		}
	}
}

func (w *logWatch) broken() bool {
	if w.known.Load() {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.counters {
		ch := make(chan prometheus.Metric, 1)
		c.Collect(ch)
		var m dto.Metric
		if (<-ch).Write(&m) == nil && m.GetCounter().GetValue() > 0 {
			w.known.Store(true)
			return true
		}
	}
	return false
}

// commit ends a transaction; an error means that it is not safe on disk.
func (s *Store) commit(app interface {
	Commit() error
	Rollback() error
}) error {
	if s.Broken() {
		_ = app.Rollback() // nothing was written
		return errBroken
	}
	if err := app.Commit(); err != nil {
		return err
	}
	// Another transaction may have torn the log while this one was on its way.
	if s.Broken() {
		return errBroken
	}
	return nil
}

func (a *appender) Commit() error {
	if a.n > 0 {
		a.s.took(a.n)
		defer a.s.changes.note(a.earliest)
	}
	return a.s.commit(a.Appender)
}

func (a *appenderV2) Commit() error {
	if a.n > 0 {
		a.s.took(a.n)
		defer a.s.changes.note(a.earliest)
	}
	return a.s.commit(a.AppenderV2)
}

// took counts what a transaction has handed to the engine.
func (s *Store) took(n int) {
	s.appended.Add(uint64(n))
	s.count.Add(int64(n))
}
