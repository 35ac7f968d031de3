package metric

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/index"

	"github.com/vedette-sre/vedette/internal/record"
)

// CardinalityQuery says what to count of the series in memory.
type CardinalityQuery struct {
	TopN int // rows of each table; 0 means 20, at most 1,000
	// Match are selectors of which a series must match one; none means all series.
	Match [][]*labels.Matcher
	Focus string // a label whose values are listed; "" for none
}

// Cardinality is what makes the series in memory so many. Lists are in falling
// order.
type Cardinality struct {
	At      time.Time      `json:"at"` // when it was counted; an answer is kept for 30 s
	Series  int            `json:"series"`
	Matched int            `json:"matched"` // series under the filter
	Names   int            `json:"names"`   // metrics under the filter
	Metrics []MetricSeries `json:"metrics"`
	// Labels has every label's name up to TopN, by its number of values.
	Labels []LabelValues `json:"labels"`
	Pairs  []PairSeries  `json:"pairs"`
	Focus  *FocusLabel   `json:"focus"`
	Hints  []Hint        `json:"hints"`
	// Partial says that a filter matched more than is looked at: counts are at
	// least these.
	Partial bool `json:"partial"`
}

// MetricSeries is a metric and its series.
type MetricSeries struct {
	Name   string `json:"name"`
	Series int    `json:"series"`
}

// LabelValues is a label, its distinct values and the series that have it.
type LabelValues struct {
	Name   string `json:"name"`
	Values int    `json:"values"`
	Series int    `json:"series"`
}

// PairSeries is a label's value and the series that have it.
type PairSeries struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Series int    `json:"series"`
}

// FocusLabel is the label that was asked for and its values with most series.
type FocusLabel struct {
	LabelValues
	Top []PairSeries `json:"top"`
}

const (
	defaultTopN = 20
	maxTopN     = 1000
	// cardinalityAge is how long an answer serves those who ask the same.
	cardinalityAge = 30 * time.Second
	// keptCardinalities bounds the memory of the answers kept.
	keptCardinalities = 16
	// maxWalked and maxPairs bound the work and the memory of a filter; without a
	// filter only the lengths of postings are read.
	maxWalked = 2_000_000
	maxPairs  = 500_000
)

// counted are the answers kept. The lock is held while one is counted: a second
// question waits and mostly finds its answer.
type counted struct {
	mu   sync.Mutex
	kept map[string]*Cardinality
}

// Cardinality counts the series in memory. The answer may be 30 s old and must
// not be changed.
func (s *Store) Cardinality(ctx context.Context, q CardinalityQuery) (*Cardinality, error) {
	if q.TopN == 0 {
		q.TopN = defaultTopN
	}
	if q.TopN < 0 || q.TopN > maxTopN {
		return nil, record.Errorf(record.Invalid, "topN = %d; give 1 to %d", q.TopN, maxTopN)
	}
	key := fmt.Sprintf("%d %q %q", q.TopN, q.Focus, q.Match)
	c := &s.counted
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if a := c.kept[key]; a != nil && now.Sub(a.At) < cardinalityAge {
		return a, nil
	}
	a, err := s.countSeries(ctx, q)
	if err != nil {
		return nil, err
	}
	for k, old := range c.kept {
		if now.Sub(old.At) >= cardinalityAge {
			delete(c.kept, k)
		}
	}
	if c.kept == nil || len(c.kept) >= keptCardinalities {
		c.kept = map[string]*Cardinality{}
	}
	a.At = now.UTC()
	c.kept[key] = a
	return a, nil
}

func (s *Store) countSeries(ctx context.Context, q CardinalityQuery) (*Cardinality, error) {
	ix, err := s.db.Head().Index()
	if err != nil {
		return nil, fmt.Errorf("open the index of the series in memory: %w", err)
	}
	defer ix.Close()
	t := newTally(q)
	if len(q.Match) == 0 {
		err = t.all(ctx, ix)
	} else {
		err = t.matching(ctx, ix, q.Match)
	}
	if err != nil {
		return nil, fmt.Errorf("count series: %w", err)
	}
	a := t.answer()
	a.Series = int(s.db.Head().NumSeries())
	if len(q.Match) == 0 {
		a.Matched = a.Series
	}
	return a, nil
}

// tally gathers the tables of one question, a label at a time.
type tally struct {
	q       CardinalityQuery
	matched int
	names   int
	partial bool
	metrics *top[MetricSeries]
	labels  *top[LabelValues]
	pairs   *top[PairSeries]
	values  *top[PairSeries] // of the label in focus
	focus   *FocusLabel
	hints   []Hint
}

func newTally(q CardinalityQuery) *tally {
	pairs := func(a, b PairSeries) int {
		return cmp.Or(cmp.Compare(b.Series, a.Series), strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
	}
	return &tally{
		q: q,
		metrics: newTop(q.TopN, func(a, b MetricSeries) int {
			return cmp.Or(cmp.Compare(b.Series, a.Series), strings.Compare(a.Name, b.Name))
		}),
		labels: newTop(q.TopN, func(a, b LabelValues) int {
			return cmp.Or(cmp.Compare(b.Values, a.Values), cmp.Compare(b.Series, a.Series), strings.Compare(a.Name, b.Name))
		}),
		pairs: newTop(q.TopN, pairs), values: newTop(q.TopN, pairs),
	}
}

// label adds a label with its values; series tells how many have a value, and
// metric names that of one of them.
func (t *tally) label(name string, values []string, series func(value string) int, metric func(value string) string) {
	of := LabelValues{Name: name}
	for _, v := range values {
		n := series(v)
		if n == 0 {
			continue // gone meanwhile
		}
		of.Values++
		of.Series += n
		p := PairSeries{name, v, n}
		if name == labels.MetricName {
			t.metrics.add(MetricSeries{v, n})
		} else {
			t.pairs.add(p)
		}
		if name == t.q.Focus {
			t.values.add(p)
		}
	}
	if of.Values == 0 {
		return
	}
	if name == t.q.Focus {
		t.focus = &FocusLabel{LabelValues: of}
	}
	if name == labels.MetricName {
		t.names, t.matched = of.Values, of.Series
		return
	}
	t.labels.add(of)
	if h, is := hintFor(of, values, metric); is {
		t.hints = append(t.hints, h)
	}
}

// all counts every series by the lengths of the postings, without looking at one.
func (t *tally) all(ctx context.Context, ix tsdb.IndexReader) error {
	names, err := ix.LabelNames(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		values, err := ix.LabelValues(ctx, name, nil)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		t.label(name, values, func(v string) int {
			p, err := ix.Postings(ctx, name, v)
			if err != nil {
				return 0
			}
			return length(p)
		}, func(v string) string {
			p, err := ix.Postings(ctx, name, v)
			if err != nil || !p.Next() {
				return ""
			}
			var b labels.ScratchBuilder
			if ix.Series(p.At(), &b, nil) != nil {
				return ""
			}
			return b.Labels().Get(labels.MetricName)
		})
	}
	return nil
}

// length counts postings; a list in memory knows its length.
func length(p index.Postings) int {
	if l, ok := p.(interface{ Len() int }); ok {
		return l.Len()
	}
	n := 0
	for p.Next() {
		n++
	}
	return n
}

// matching counts the series that match one of the selectors by looking at each.
func (t *tally) matching(ctx context.Context, ix tsdb.IndexReader, selectors [][]*labels.Matcher) error {
	var of []index.Postings
	for _, ms := range selectors {
		p, err := tsdb.PostingsForMatchers(ctx, ix, ms...)
		if err != nil {
			return err
		}
		of = append(of, p)
	}
	type value struct {
		series int
		metric string
	}
	found, pairs, walked := map[string]map[string]*value{}, 0, 0
	var b labels.ScratchBuilder
	p := index.Merge(ctx, of...)
	for p.Next() {
		if walked++; walked > maxWalked {
			t.partial = true
			break
		}
		if walked%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if ix.Series(p.At(), &b, nil) != nil {
			continue // gone meanwhile
		}
		ls := b.Labels()
		metric := ls.Get(labels.MetricName)
		ls.Range(func(l labels.Label) {
			vs := found[l.Name]
			if vs == nil {
				vs = map[string]*value{}
				found[l.Name] = vs
			}
			v := vs[l.Value]
			if v == nil {
				if pairs >= maxPairs {
					t.partial = true
					return
				}
				pairs++
				v = &value{metric: metric}
				vs[l.Value] = v
			}
			v.series++
		})
	}
	if err := p.Err(); err != nil {
		return err
	}
	for name, vs := range found {
		values := make([]string, 0, len(vs))
		for v := range vs {
			values = append(values, v)
		}
		t.label(name, values, func(v string) int { return vs[v].series }, func(v string) string { return vs[v].metric })
	}
	return nil
}

// answer copies the strings, which lie in the memory of series that may go.
func (t *tally) answer() *Cardinality {
	a := &Cardinality{
		Matched: t.matched, Names: t.names, Partial: t.partial, Focus: t.focus, Hints: t.hints,
		Metrics: t.metrics.sorted(), Labels: t.labels.sorted(), Pairs: t.pairs.sorted(),
	}
	own := func(ps []PairSeries) []PairSeries {
		out := make([]PairSeries, len(ps))
		for i, p := range ps {
			out[i] = PairSeries{strings.Clone(p.Name), strings.Clone(p.Value), p.Series}
		}
		return out
	}
	metrics, names := make([]MetricSeries, len(a.Metrics)), make([]LabelValues, len(a.Labels))
	for i, m := range a.Metrics {
		metrics[i] = MetricSeries{strings.Clone(m.Name), m.Series}
	}
	for i, l := range a.Labels {
		names[i] = LabelValues{strings.Clone(l.Name), l.Values, l.Series}
	}
	a.Metrics, a.Labels, a.Pairs = metrics, names, own(a.Pairs)
	if a.Focus != nil {
		a.Focus.Name = strings.Clone(a.Focus.Name)
		a.Focus.Top = own(t.values.sorted())
	}
	a.Hints = worstHints(a.Hints)
	return a
}
