package ingest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/internal/record"
)

// Writer stores samples made inside the process: of itself, the host, the
// checks. Samples come in groups; a series that a group no longer has gets a
// stale marker, so that queries stop showing it at once. Safe for concurrent
// use.
type Writer struct {
	app    storage.Appendable
	counts *Counts

	mu     sync.Mutex
	groups map[string]map[uint64]labels.Labels
}

// NewWriter makes a Writer to app.
func NewWriter(app storage.Appendable, counts *Counts) *Writer {
	return &Writer{app: app, counts: counts, groups: map[string]map[uint64]labels.Labels{}}
}

// Put stores one round of the group. All samples get the time at. A sample that
// the store refuses is counted under protocol; the others are stored.
func (w *Writer) Put(ctx context.Context, protocol, group string, at time.Time, samples []record.Sample) error {
	t := at.UnixMilli()
	app := w.app.Appender(ctx)
	now := make(map[uint64]labels.Labels, len(samples))
	b := labels.NewScratchBuilder(16)
	stored, rejected := 0, 0
	for _, s := range samples {
		b.Reset()
		b.Add(labels.MetricName, s.Name)
		for i := 0; i+1 < len(s.Labels); i += 2 {
			if s.Labels[i+1] != "" {
				b.Add(s.Labels[i], s.Labels[i+1])
			}
		}
		b.Sort()
		ls := b.Labels()
		if _, err := app.Append(0, ls, t, s.Value); err != nil {
			rejected++
			continue
		}
		stored++
		now[ls.Hash()] = ls
	}
	w.mu.Lock()
	before := w.groups[group]
	w.groups[group] = now
	w.mu.Unlock()
	for h, ls := range before {
		if _, still := now[h]; !still {
			_, _ = app.Append(0, ls, t, math.Float64frombits(value.StaleNaN)) // at worst the series lingers for the lookback
		}
	}
	if err := app.Commit(); err != nil {
		w.counts.Add(protocol, 0, map[string]int{"fault": stored, "refused_by_store": rejected})
		owed := maps.Clone(now) // stale markers of the earlier series too
		maps.Copy(owed, before)
		w.mu.Lock()
		w.groups[group] = owed
		w.mu.Unlock()
		return fmt.Errorf("store %d samples of %s: %w", stored, group, err)
	}
	var why map[string]int
	if rejected > 0 {
		why = map[string]int{"refused_by_store": rejected}
	}
	w.counts.Add(protocol, stored, why)
	return nil
}

// Forget ends a group: its series get stale markers.
func (w *Writer) Forget(ctx context.Context, protocol, group string, at time.Time) error {
	err := w.Put(ctx, protocol, group, at, nil)
	w.mu.Lock()
	delete(w.groups, group)
	w.mu.Unlock()
	return err
}

// sameBits reports whether two values are the same, NaN payloads included.
func sameBits(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }
