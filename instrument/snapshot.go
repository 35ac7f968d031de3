package instrument

import (
	"slices"
	"strings"
	"time"
)

// Snapshot is what a registry holds at one time. It belongs to who asked for it.
type Snapshot struct {
	At      time.Time
	Begun   time.Time // when the registry was made: the start of all counters
	Metrics []Metric  // by name; each with one series at least
}

// Metric is all series of one name.
type Metric struct {
	Name, Unit, Help string
	Kind             Kind
	Series           []Series // by tags
}

// Series is one instrument's state. What is set depends on the kind.
type Series struct {
	Tags         []Tag         // by key, the registry's own among them
	Value        float64       // counter, gauge; of a meter and a timer the count
	Rates        Rates         // meter, timer
	Distribution *Distribution // histogram (in Unit), timer (in seconds)
}

// Tag returns the value of a tag, or "".
func (s *Series) Tag(key string) string {
	for _, t := range s.Tags {
		if t.Key == key {
			return t.Value
		}
	}
	return ""
}

// Snapshot reads all instruments. Each is read once; they are not stopped.
func (r *Registry) Snapshot() *Snapshot {
	type one struct {
		tags []Tag
		item any
	}
	type many struct {
		Metric
		items []one
	}
	r.mu.RLock()
	all := make([]many, 0, len(r.families)+1)
	for _, f := range r.families {
		m := many{Metric: Metric{Name: f.name, Unit: f.unit, Help: f.help, Kind: f.kind}}
		for _, s := range f.series {
			m.items = append(m.items, one{s.tags, s.item})
		}
		if f.overflow != nil {
			m.items = append(m.items, one{f.overflow.tags, f.overflow.item})
		}
		if len(m.items) > 0 {
			all = append(all, m)
		}
	}
	r.mu.RUnlock()
	if n := r.conflicts.Value(); n > 0 {
		all = append(all, many{
			Metric: Metric{Name: "instrument.conflicts", Unit: "1", Kind: KindCounter, Help: "Metrics asked for as another kind than their name has."},
			items:  []one{{nil, &r.conflicts}},
		})
	}
	// Without the lock: a function may use the registry.
	out := &Snapshot{At: time.Now(), Begun: r.begun}
	for _, m := range all {
		if m.Kind == KindTimer {
			m.Unit = "seconds"
		}
		for _, it := range m.items {
			s := Series{Tags: r.join(it.tags)}
			switch x := it.item.(type) {
			case *Counter:
				s.Value = float64(x.Value())
			case *Gauge:
				s.Value = x.Value()
			case func() float64:
				s.Value = x()
			case *Meter:
				s.Value = float64(x.Count())
				s.Rates = x.at(x.Count(), out.At)
			case *Histogram:
				d := x.Distribution()
				s.Distribution, s.Value = &d, float64(d.Count)
			case *Timer:
				d := x.Distribution()
				s.Distribution, s.Value = &d, float64(d.Count)
				s.Rates = x.at(d.Count, out.At)
			default:
				continue // found and not made yet
			}
			m.Series = append(m.Series, s)
		}
		if len(m.Series) > 0 {
			slices.SortFunc(m.Series, func(a, b Series) int { return strings.Compare(tagsKey(a.Tags), tagsKey(b.Tags)) })
			out.Metrics = append(out.Metrics, m.Metric)
		}
	}
	slices.SortFunc(out.Metrics, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// join adds the registry's own tags; a series' own go before them.
func (r *Registry) join(own []Tag) []Tag {
	out := slices.Clone(own)
	for _, t := range r.tags {
		if !slices.ContainsFunc(own, func(o Tag) bool { return o.Key == t.Key }) {
			out = append(out, t)
		}
	}
	sortTags(out)
	return out
}
