package instrument

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Vec is a metric whose tags are known and whose values come at run time. With
// takes no lock and allocates nothing for values that it has seen. Safe for
// concurrent use. Get one from a Registry.
type Vec[T any] struct {
	r    *Registry
	kind Kind
	name string
	keys []string
	mk   func() *T
	seed maphash.Seed

	table atomic.Pointer[vecTable[T]]
	mu    sync.Mutex // of those who change the table
	full  atomic.Pointer[T]
	fam   *family
}

// The vectors of each kind of instrument.
type (
	CounterVec   = Vec[Counter]
	GaugeVec     = Vec[Gauge]
	MeterVec     = Vec[Meter]
	HistogramVec = Vec[Histogram]
	TimerVec     = Vec[Timer]
)

// CounterVec returns a vector of counters with these keys of tags.
func (r *Registry) CounterVec(name string, keys ...string) *CounterVec {
	return newVec(r, KindCounter, name, keys, func() *Counter { return new(Counter) })
}

// GaugeVec returns a vector of gauges.
func (r *Registry) GaugeVec(name string, keys ...string) *GaugeVec {
	return newVec(r, KindGauge, name, keys, func() *Gauge { return new(Gauge) })
}

// MeterVec returns a vector of meters.
func (r *Registry) MeterVec(name string, keys ...string) *MeterVec {
	return newVec(r, KindMeter, name, keys, newMeter)
}

// HistogramVec returns a vector of histograms.
func (r *Registry) HistogramVec(name string, keys ...string) *HistogramVec {
	return newVec(r, KindHistogram, name, keys, func() *Histogram { return new(Histogram) })
}

// TimerVec returns a vector of timers.
func (r *Registry) TimerVec(name string, keys ...string) *TimerVec {
	return newVec(r, KindTimer, name, keys, newTimer)
}

// vecTable is an open-addressed hash table that readers walk without a lock:
// entries are only added, and a larger table replaces it whole.
type vecTable[T any] struct {
	slots []atomic.Pointer[vecEntry[T]] // a power of two of them
	n     int
}

type vecEntry[T any] struct {
	hash   uint64
	values []string
	item   *T
}

func newVec[T any](r *Registry, kind Kind, name string, keys []string, mk func() *T) *Vec[T] {
	v := &Vec[T]{r: r, kind: kind, name: name, keys: slices.Clone(keys), mk: mk, seed: maphash.MakeSeed()}
	v.table.Store(&vecTable[T]{slots: make([]atomic.Pointer[vecEntry[T]], 8)})
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.families[name]
	if f == nil {
		f = &family{name: name, kind: kind, series: map[string]*series{}}
		r.families[name] = f
	}
	if f.kind == 0 {
		f.kind = kind
	}
	v.fam = f
	return v
}

// With returns the instrument of these values, in the order of the keys. A
// missing value is "missing", one too many is left out. When the metric is full,
// it is the overflow series.
func (v *Vec[T]) With(values ...string) *T {
	h := v.hash(values)
	if item := v.table.Load().find(h, values); item != nil {
		return item
	}
	if v.fam.full.Load() {
		if item := v.full.Load(); item != nil {
			return item
		}
	}
	return v.add(h, values)
}

func (v *Vec[T]) hash(values []string) uint64 {
	var h uint64
	for _, s := range values {
		h = (h ^ maphash.String(v.seed, s)) * 0x9e3779b97f4a7c15
	}
	return h ^ h>>32
}

func (t *vecTable[T]) find(h uint64, values []string) *T {
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		e := t.slots[i].Load()
		if e == nil {
			return nil
		}
		if e.hash == h && slices.Equal(e.values, values) {
			return e.item
		}
	}
}

func (t *vecTable[T]) put(e *vecEntry[T]) {
	mask := uint64(len(t.slots) - 1)
	i := e.hash & mask
	for t.slots[i].Load() != nil {
		i = (i + 1) & mask
	}
	t.slots[i].Store(e)
	t.n++
}

func (v *Vec[T]) add(h uint64, values []string) *T {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.table.Load()
	if item := t.find(h, values); item != nil {
		return item
	}
	kept := make([]string, len(values))
	for i, s := range values {
		kept[i] = strings.Clone(s)
	}
	tags := v.tags(kept)
	item := get(v.r, v.kind, v.name, tags, v.mk)
	if v.isOverflow(tags) {
		v.full.Store(item)
		return item
	}
	if (t.n+1)*2 > len(t.slots) {
		bigger := &vecTable[T]{slots: make([]atomic.Pointer[vecEntry[T]], 2*len(t.slots))}
		for i := range t.slots {
			if e := t.slots[i].Load(); e != nil {
				bigger.put(e)
			}
		}
		t = bigger
	}
	t.put(&vecEntry[T]{h, kept, item})
	v.table.Store(t)
	return item
}

// isOverflow reports whether the registry has no series of these tags, because
// the metric is full.
func (v *Vec[T]) isOverflow(tags []Tag) bool {
	v.r.mu.RLock()
	defer v.r.mu.RUnlock()
	return v.fam.full.Load() && v.fam.series[tagsKey(tags)] == nil
}

func (v *Vec[T]) tags(values []string) []Tag {
	kv := make([]string, 0, 2*len(v.keys))
	for i, k := range v.keys {
		val := "missing"
		if i < len(values) {
			val = values[i]
		}
		kv = append(kv, k, val)
	}
	return pairs(kv)
}

// Delete ends the series of these values, such as those of a customer that has
// left. Who still holds the instrument counts into the void.
func (v *Vec[T]) Delete(values ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	h, old := v.hash(values), v.table.Load()
	t := &vecTable[T]{slots: make([]atomic.Pointer[vecEntry[T]], len(old.slots))}
	for i := range old.slots {
		if e := old.slots[i].Load(); e != nil && !(e.hash == h && slices.Equal(e.values, values)) {
			t.put(e)
		}
	}
	v.table.Store(t)
	v.r.mu.Lock()
	v.r.remove(v.name, v.tags(values))
	v.r.mu.Unlock()
}
