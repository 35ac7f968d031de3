package instrument

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a registry is told. The zero value works.
type Config struct {
	// Service, Node and Version become the tags service, node and version of
	// every series, when they are not empty.
	Service, Node, Version string
	// Tags are further tags of every series.
	Tags map[string]string
	// MaxSeries is how many series a metric may have; default 1,000.
	MaxSeries int
}

// Kind is what an instrument measures.
type Kind uint8

// The kinds of instruments.
const (
	KindCounter Kind = iota + 1
	KindGauge
	KindMeter
	KindHistogram
	KindTimer
)

var kindNames = [...]string{"", "counter", "gauge", "meter", "histogram", "timer"}

// String is the kind's name in lower case.
func (k Kind) String() string { return kindNames[k] }

// Tag is one tag of a series.
type Tag struct{ Key, Value string }

// Registry holds the instruments of a process or of a part of it. Safe for
// concurrent use.
type Registry struct {
	tags      []Tag // of every series, by key
	maxSeries int
	begun     time.Time
	conflicts Counter

	mu       sync.RWMutex
	families map[string]*family
	clock    *time.Timer // moves rates; nil until there is one to move
	moved    time.Time
	moving   []ticker
	closed   bool
}

type ticker interface{ tick(seconds float64) }

// family is all series of one name.
type family struct {
	name, unit, help string
	kind             Kind
	series           map[string]*series // by the tags' key
	full             atomic.Bool
	overflow         *series
}

// series is one instrument with its tags.
type series struct {
	tags []Tag
	item any // *Counter, *Gauge, *Meter, *Histogram, *Timer or func() float64
}

// The overflow series of a metric has this tag and no other of its own.
const (
	OverflowKey   = "overflow"
	OverflowValue = "true"
)

// New makes a registry.
func New(c Config) *Registry {
	r := &Registry{maxSeries: cmp.Or(c.MaxSeries, 1000), begun: time.Now(), families: map[string]*family{}}
	all := map[string]string{"service": c.Service, "node": c.Node, "version": c.Version}
	for k, v := range c.Tags {
		all[k] = v
	}
	for k, v := range all {
		if k != "" && v != "" {
			r.tags = append(r.tags, Tag{k, v})
		}
	}
	sortTags(r.tags)
	return r
}

// Close stops the clock of the rates. The instruments go on to count.
func (r *Registry) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.clock != nil {
		r.clock.Stop()
	}
}

// Describe says what a metric is: its unit, such as "seconds", "bytes" or "1",
// and a sentence of help. Exporters that can carry it do.
func (r *Registry) Describe(name, unit, help string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.families[name]
	if f == nil {
		f = &family{name: name, series: map[string]*series{}}
		r.families[name] = f
	}
	f.unit, f.help = unit, help
}

// Counter returns the counter of this name and these tags, which are keys and
// values in turn. The same name and tags give the same counter.
func (r *Registry) Counter(name string, tags ...string) *Counter {
	return get(r, KindCounter, name, pairs(tags), func() *Counter { return new(Counter) })
}

// Gauge returns the gauge of this name and these tags.
func (r *Registry) Gauge(name string, tags ...string) *Gauge {
	return get(r, KindGauge, name, pairs(tags), func() *Gauge { return new(Gauge) })
}

// Meter returns the meter of this name and these tags.
func (r *Registry) Meter(name string, tags ...string) *Meter {
	return get(r, KindMeter, name, pairs(tags), newMeter)
}

// Histogram returns the histogram of this name and these tags.
func (r *Registry) Histogram(name string, tags ...string) *Histogram {
	return get(r, KindHistogram, name, pairs(tags), func() *Histogram { return new(Histogram) })
}

// Timer returns the timer of this name and these tags.
func (r *Registry) Timer(name string, tags ...string) *Timer {
	return get(r, KindTimer, name, pairs(tags), newTimer)
}

func newMeter() *Meter { return &Meter{rates: rates{begun: time.Now()}} }
func newTimer() *Timer { return &Timer{rates: rates{begun: time.Now()}} }

// GaugeFunc has f asked for the value of a gauge at each snapshot. f must be
// safe for concurrent use. A second call with the same name and tags replaces f.
func (r *Registry) GaugeFunc(name string, f func() float64, tags ...string) {
	r.setFunc(KindGauge, name, f, tags)
}

// CounterFunc has f asked for the value of a counter at each snapshot. What it
// returns must not fall.
func (r *Registry) CounterFunc(name string, f func() float64, tags ...string) {
	r.setFunc(KindCounter, name, f, tags)
}

func (r *Registry) setFunc(kind Kind, name string, f func() float64, tags []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, _ := r.find(kind, name, pairs(tags)); s != nil {
		s.item = f
	}
}

// Remove ends the series of this name and these tags; it is not exported any
// more. Vectors forget theirs with Delete.
func (r *Registry) Remove(name string, tags ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(name, pairs(tags))
}

func (r *Registry) remove(name string, tags []Tag) {
	f := r.families[name]
	if f == nil {
		return
	}
	key := tagsKey(tags)
	s := f.series[key]
	if s == nil {
		return
	}
	if t, ok := s.item.(ticker); ok {
		r.moving = slices.DeleteFunc(r.moving, func(m ticker) bool { return m == t })
	}
	delete(f.series, key)
	f.full.Store(len(f.series) >= r.maxSeries)
}

// Conflicts is how often a name was asked for as another kind than it is.
func (r *Registry) Conflicts() uint64 { return r.conflicts.Value() }

// pairs makes tags of keys and values in turn, by key; of two with one key the
// last counts. A key without a value has the value "missing".
func pairs(kv []string) []Tag {
	out := make([]Tag, 0, (len(kv)+1)/2)
	for i := 0; i < len(kv); i += 2 {
		v := "missing"
		if i+1 < len(kv) {
			v = kv[i+1]
		}
		if at := slices.IndexFunc(out, func(t Tag) bool { return t.Key == kv[i] }); at >= 0 {
			out[at].Value = v
		} else if kv[i] != "" {
			out = append(out, Tag{strings.Clone(kv[i]), strings.Clone(v)})
		}
	}
	sortTags(out)
	return out
}

func sortTags(tags []Tag) {
	slices.SortFunc(tags, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
}

func tagsKey(tags []Tag) string {
	var b strings.Builder
	for _, t := range tags {
		b.WriteString(t.Key)
		b.WriteByte(0)
		b.WriteString(t.Value)
		b.WriteByte(0)
	}
	return b.String()
}

// find returns the series, new ones with no item yet, or nil when the name is of
// another kind. full says that it is the overflow series. r.mu must be held.
func (r *Registry) find(kind Kind, name string, tags []Tag) (s *series, full bool) {
	f := r.families[name]
	switch {
	case f == nil:
		f = &family{name: name, kind: kind, series: map[string]*series{}}
		r.families[name] = f
	case f.kind == 0:
		f.kind = kind
	case f.kind != kind:
		r.conflicts.Inc()
		return nil, false
	}
	key := tagsKey(tags)
	if s := f.series[key]; s != nil {
		return s, false
	}
	if len(f.series) >= r.maxSeries {
		f.full.Store(true)
		if f.overflow == nil {
			f.overflow = &series{tags: []Tag{{OverflowKey, OverflowValue}}}
		}
		return f.overflow, true
	}
	s = &series{tags: tags}
	f.series[key] = s
	return s, false
}

// get finds or makes an instrument.
func get[T any](r *Registry, kind Kind, name string, tags []Tag, mk func() *T) *T {
	r.mu.RLock()
	if f := r.families[name]; f != nil && f.kind == kind {
		if s := f.series[tagsKey(tags)]; s != nil {
			if item, ok := s.item.(*T); ok {
				r.mu.RUnlock()
				return item
			}
		}
	}
	r.mu.RUnlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	s, _ := r.find(kind, name, tags)
	if s == nil {
		return mk() // works, and is not exported
	}
	if item, ok := s.item.(*T); ok {
		return item
	}
	if s.item != nil { // a function has this place
		r.conflicts.Inc()
		return mk()
	}
	item := mk()
	s.item = item
	if t, ok := s.item.(ticker); ok {
		r.move(t)
	}
	return item
}

// move has the clock move t. r.mu must be held.
func (r *Registry) move(t ticker) {
	r.moving = append(r.moving, t)
	if r.clock == nil && !r.closed {
		r.moved = time.Now()
		r.clock = time.AfterFunc(tickEvery, r.tick)
	}
}

func (r *Registry) tick() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	now := time.Now()
	seconds := now.Sub(r.moved).Seconds()
	r.moved = now
	// Under the lock, or the same rates could be moved twice at once.
	for _, t := range r.moving {
		t.tick(seconds)
	}
	r.clock.Reset(tickEvery)
	r.mu.Unlock()
}
