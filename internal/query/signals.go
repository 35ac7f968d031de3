package query

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/vedette-sre/vedette/internal/record"
)

// Present is how recent a sample must be for its sender to count as reporting.
const Present = 15 * time.Minute

// EntityKind is what kind of thing reports.
type EntityKind string

// The kinds, in the order in which a list shows them.
const (
	KindService  EntityKind = "service"
	KindEndpoint EntityKind = "endpoint" // a route or backend of a proxy
	KindHost     EntityKind = "host"
	KindQueue    EntityKind = "queue"
	KindDatabase EntityKind = "database"
)

// EntityKinds lists the kinds in their order.
var EntityKinds = []EntityKind{KindService, KindEndpoint, KindHost, KindQueue, KindDatabase}

// Entity is one thing that reports under names that the table of recognisers
// knows.
type Entity struct {
	Kind EntityKind
	// Name is for people: the values of the labels that tell it apart.
	Name string
	// Labels select its series; they are its identity.
	Labels map[string]string
	// Sources are the naming habits that it was recognised by.
	Sources []string
	// Interval is the mean distance of its samples, zero when only one was seen.
	Interval time.Duration

	by []*recogniser
}

// Signal is one of the four golden signals, or detail.
type Signal string

// The signals, in the order in which a page shows them.
const (
	Latency    Signal = "latency"
	Traffic    Signal = "traffic"
	Errors     Signal = "errors"
	Saturation Signal = "saturation"
	Detail     Signal = "detail"
)

// Panel is one chart: what it shows and the PromQL that fills it.
type Panel struct {
	Title string `json:"title"`
	// Unit of the values: s, ms, bytes, bytes/s, /s, ratio, days, cores, s/s or ""
	// for a count.
	Unit   string `json:"unit"`
	Signal Signal `json:"signal"`
	// Kind is lines or heatmap. The first query of a heat map gives bucket rates
	// (by le, or one native histogram), the others lines over it.
	Kind   string  `json:"kind"`
	PromQL []Query `json:"promql"`
	// Empty says what it means when there is nothing to draw.
	Empty string `json:"empty,omitempty"`
}

// Query is one PromQL expression. Legend names its line; with {{label}} in it,
// one line per value of the label.
type Query struct {
	Legend string `json:"legend"`
	Expr   string `json:"expr"`
}

// Column is a figure that the list of entities shows.
type Column string

// The columns. Rates are per second, latencies in seconds, ratios from 0 to 1,
// depths a number of messages; Up is 1 or 0.
const (
	ColRate       Column = "rate"
	ColErrors     Column = "errors"
	ColP99        Column = "p99"
	ColSaturation Column = "saturation"
	ColDepth      Column = "depth"
	ColUp         Column = "up"
)

// Figure asks for one column of many entities at once.
type Figure struct {
	Kind   EntityKind
	Column Column
	Expr   string
	// By are the labels of the answer, those that identify the entity.
	By []string
	// Scale turns a value into the column's unit.
	Scale float64
	// What names the value among several of one column: CPU, memory.
	What string
	// Rank tells alternatives apart: for one entity the lowest that answers
	// counts, and of several of one rank the largest value.
	Rank int
}

// Entities finds what has reported within Present before now, by kind and name.
// It looks only at the few series that a recogniser names as evidence, and reads
// samples of one of them per entity.
func Entities(ctx context.Context, q storage.Queryable, now time.Time) ([]Entity, error) {
	recs := recognisers()
	byName := map[string][]*recogniser{}
	for _, r := range recs {
		for _, n := range r.evidence {
			byName[n] = append(byName[n], r)
		}
	}
	return find(ctx, q, now, byName, nil)
}

// EntityOf finds one entity by its identity; record.NotFound when nothing of the
// kind has reported under these labels within Present, record.Invalid for a kind
// or label that identifies nothing.
func EntityOf(ctx context.Context, q storage.Queryable, now time.Time, kind EntityKind, id map[string]string) (Entity, error) {
	if !slices.Contains(EntityKinds, kind) {
		return Entity{}, record.Errorf(record.Invalid, "there is no kind %q; want one of %v", kind, EntityKinds)
	}
	byName := map[string][]*recogniser{}
	known := map[string]bool{}
	for _, r := range recognisers() {
		if r.kind != kind {
			continue
		}
		for _, n := range r.evidence {
			byName[n] = append(byName[n], r)
		}
		for _, ls := range r.identity {
			for _, l := range ls {
				known[l] = true
			}
		}
	}
	for _, l := range scope {
		known[l] = true
	}
	ms := make([]*labels.Matcher, 0, len(id)+1)
	for l, v := range id {
		if !known[l] {
			return Entity{}, record.Errorf(record.Invalid, "%s: does not identify a %s; want of %v", l, kind, slices.Sorted(maps.Keys(known)))
		}
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, l, v))
	}
	if len(id) == 0 {
		return Entity{}, record.Errorf(record.Invalid, "want the labels that identify the %s, of %v", kind, slices.Sorted(maps.Keys(known)))
	}
	es, err := find(ctx, q, now, byName, ms)
	if err != nil {
		return Entity{}, err
	}
	for _, e := range es {
		if maps.Equal(e.Labels, id) {
			return e, nil
		}
	}
	return Entity{}, record.Errorf(record.NotFound, "no %s with %s reported in the %v before %s; ask for a time at which it did", kind, labels.FromMap(id), Present, now.UTC().Format(time.RFC3339))
}

// find groups the evidence by identity.
func find(ctx context.Context, q storage.Queryable, now time.Time, byName map[string][]*recogniser, ms []*labels.Matcher) ([]Entity, error) {
	mint, maxt := now.Add(-Present).UnixMilli(), now.UnixMilli()
	qr, err := q.Querier(mint, maxt)
	if err != nil {
		return nil, fmt.Errorf("open the series of the last %v: %w", Present, err)
	}
	defer qr.Close()
	ms = append(slices.Clone(ms), anyName(slices.Sorted(maps.Keys(byName))))
	set := qr.Select(ctx, false, &storage.SelectHints{Start: mint, End: maxt}, ms...)
	found := map[string]*Entity{}
	var it chunkenc.Iterator
	var key []byte
	for set.Next() {
		s := set.At()
		ls := s.Labels()
		var seen *recent // of this series; read at most once
		for _, r := range byName[ls.Get(labels.MetricName)] {
			ids := r.identify(ls)
			if ids == nil {
				continue
			}
			key = append(key[:0], r.kind...)
			for _, l := range ids {
				key = append(append(append(append(key, 0), l...), 0), ls.Get(l)...)
			}
			e := found[string(key)]
			if e != nil && slices.Contains(e.by, r) {
				continue
			}
			if seen == nil {
				it = s.Iterator(it)
				x, err := readRecent(it, mint)
				if err != nil {
					return nil, fmt.Errorf("read %s: %w", ls, err)
				}
				seen = &x
			}
			if !seen.fresh {
				continue
			}
			if e == nil {
				e = newEntity(r, ls, ids)
				found[string(key)] = e
			}
			e.by, e.Interval = append(e.by, r), max(e.Interval, seen.interval)
		}
	}
	if err := set.Err(); err != nil {
		return nil, fmt.Errorf("select what reports: %w", err)
	}
	out := make([]Entity, 0, len(found))
	for _, e := range found {
		slices.SortFunc(e.by, func(a, b *recogniser) int { return cmp.Compare(a.rank, b.rank) })
		for _, r := range e.by {
			if !slices.Contains(e.Sources, r.source) {
				e.Sources = append(e.Sources, r.source)
			}
		}
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b Entity) int {
		return cmp.Or(cmp.Compare(slices.Index(EntityKinds, a.Kind), slices.Index(EntityKinds, b.Kind)), strings.Compare(a.Name, b.Name),
			strings.Compare(fmt.Sprint(a.Labels), fmt.Sprint(b.Labels)))
	})
	return out, nil
}

func newEntity(r *recogniser, ls labels.Labels, ids []string) *Entity {
	e := &Entity{Kind: r.kind, Labels: make(map[string]string, len(ids))}
	var names []string
	for _, l := range ids {
		e.Labels[l] = ls.Get(l)
		names = append(names, ls.Get(l))
	}
	e.Name = strings.Join(names, " · ")
	return e
}

func anyName(names []string) *labels.Matcher {
	for i, n := range names {
		names[i] = regexp.QuoteMeta(n)
	}
	return labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, strings.Join(names, "|"))
}

// recent is what the samples of a series since a time tell.
type recent struct {
	fresh     bool // the last one is no end mark
	histogram bool // they are native histograms
	interval  time.Duration
}

func readRecent(it chunkenc.Iterator, since int64) (recent, error) {
	var r recent
	var first, last int64
	n := 0
	for vt := it.Seek(since); vt != chunkenc.ValNone; vt = it.Next() {
		if vt == chunkenc.ValFloat {
			t, v := it.At()
			last, r.fresh, r.histogram = t, !value.IsStaleNaN(v), false
		} else {
			t, h := it.AtFloatHistogram(nil)
			last, r.fresh, r.histogram = t, !value.IsStaleNaN(h.Sum), true
		}
		if n == 0 {
			first = last
		}
		n++
	}
	if n > 1 {
		r.interval = time.Duration((last-first)/int64(n-1)) * time.Millisecond
	}
	return r, it.Err()
}

// Window is the range that a rate of the entity is taken over: four of its
// samples, at least a minute and at least step, rounded up to what people read
// with ease.
func (e Entity) Window(step time.Duration) time.Duration {
	w := max(time.Minute, step, 4*e.Interval)
	for _, r := range []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour} {
		// The mean distance is a little more than the true one when a sample is late.
		if w <= r+r/20 {
			return r
		}
	}
	return w.Truncate(time.Minute)
}

// Panels are the entity's charts whose series have reported within Present, for
// points step apart: the four golden signals first, then what is particular to
// the kind.
func (e Entity) Panels(ctx context.Context, q storage.Queryable, now time.Time, step time.Duration) ([]Panel, error) {
	look, err := newLookup(ctx, q, now, e.Labels)
	if err != nil {
		return nil, err
	}
	defer look.q.Close()
	write := writing{of: e.Labels, window: e.Window(step)}
	var out []Panel
	filled := map[string]bool{}
	add := func(templates []panel) {
		for _, t := range templates {
			if t.slot != "" && filled[t.slot] {
				continue
			}
			p := Panel{Title: t.title, Unit: t.unit, Signal: t.signal, Kind: "lines", Empty: t.empty}
			if t.heat {
				p.Kind = "heatmap"
			}
			for i, l := range t.lines {
				if look.has(t, l.expr) {
					p.PromQL = append(p.PromQL, Query{l.legend, write.expr(l.expr)})
				} else if i == 0 && t.heat {
					break
				}
			}
			if len(p.PromQL) > 0 {
				filled[t.slot] = true
				out = append(out, p)
			}
		}
	}
	for _, r := range e.by {
		add(r.panels)
	}
	add(companions(e.Kind))
	slices.SortStableFunc(out, func(a, b Panel) int { return cmp.Compare(a.Signal.rank(), b.Signal.rank()) })
	return out, look.err
}

func (s Signal) rank() int {
	return slices.Index([]Signal{Latency, Traffic, Errors, Saturation, Detail}, s)
}

// lookup tells which names and labels an entity reports now; the first error is
// kept.
type lookup struct {
	ctx        context.Context
	q          storage.Querier
	mint, maxt int64
	of         map[string]string
	recent     map[string]recent   // by selector without matchers of its own
	labels     map[string][]string // values of labels, by the same and the label
	err        error
}

func newLookup(ctx context.Context, q storage.Queryable, now time.Time, of map[string]string) (*lookup, error) {
	k := &lookup{ctx: ctx, mint: now.Add(-Present).UnixMilli(), maxt: now.UnixMilli(), of: of, recent: map[string]recent{}, labels: map[string][]string{}}
	var err error
	if k.q, err = q.Querier(k.mint, k.maxt); err != nil {
		return nil, fmt.Errorf("open the series of the last %v: %w", Present, err)
	}
	return k, nil
}

// has reports whether every series that the expression selects is there in the
// shape that its panel needs.
func (k *lookup) has(p panel, expr string) bool {
	for _, s := range selectors(expr) {
		r := k.series(s)
		if !r.fresh || r.histogram != p.native {
			return false
		}
		if p.label != "" && !slices.ContainsFunc(k.values(s, p.label), func(v string) bool { return p.like == nil || p.like.MatchString(v) }) {
			return false
		}
	}
	return true
}

func (k *lookup) series(s selector) recent {
	key := s.name + "@" + strings.Join(s.only, ",")
	if r, ok := k.recent[key]; ok {
		return r
	}
	var best recent
	set := k.q.Select(k.ctx, false, &storage.SelectHints{Start: k.mint, End: k.maxt}, s.matchers(k.of)...)
	var it chunkenc.Iterator
	for !best.fresh && set.Next() {
		it = set.At().Iterator(it)
		r, err := readRecent(it, k.mint)
		k.err = cmp.Or(k.err, err)
		best = r
	}
	k.err = cmp.Or(k.err, set.Err())
	k.recent[key] = best
	return best
}

func (k *lookup) values(s selector, label string) []string {
	key := s.name + "@" + strings.Join(s.only, ",") + "@" + label
	if vs, ok := k.labels[key]; ok {
		return vs
	}
	vs, _, err := k.q.LabelValues(k.ctx, label, nil, s.matchers(k.of)...)
	k.err = cmp.Or(k.err, err)
	k.labels[key] = vs
	return vs
}

// Overview gives the queries that fill a list of entities: one for each column of
// each naming habit in use, whatever the number of entities.
func Overview(ctx context.Context, q storage.Queryable, now time.Time, es []Entity) ([]Figure, error) {
	look, err := newLookup(ctx, q, now, nil)
	if err != nil {
		return nil, err
	}
	defer look.q.Close()
	type group struct {
		kind   EntityKind
		by     []string
		window time.Duration
		recs   []*recogniser
	}
	groups := map[string]*group{}
	for _, e := range es {
		by := slices.Sorted(maps.Keys(e.Labels))
		key := string(e.Kind) + "\x00" + strings.Join(by, "\x00")
		g := groups[key]
		if g == nil {
			g = &group{kind: e.Kind, by: by}
			groups[key] = g
		}
		// One slow reporter does not make the figures of all others slow.
		g.window = max(g.window, min(e.Window(0), 5*time.Minute))
		for _, r := range e.by {
			if !slices.Contains(g.recs, r) {
				g.recs = append(g.recs, r)
			}
		}
	}
	var out []Figure
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		g := groups[k]
		slices.SortFunc(g.recs, func(a, b *recogniser) int { return cmp.Compare(a.rank, b.rank) })
		out = append(out, look.figures(g.kind, g.recs, writing{by: g.by, window: g.window})...)
	}
	return out, look.err
}

// Figures gives the queries of the entity's own columns; By is nil.
func (e Entity) Figures(ctx context.Context, q storage.Queryable, now time.Time) ([]Figure, error) {
	look, err := newLookup(ctx, q, now, e.Labels)
	if err != nil {
		return nil, err
	}
	defer look.q.Close()
	return look.figures(e.Kind, e.by, writing{of: e.Labels, window: e.Window(0)}), look.err
}

func (k *lookup) figures(kind EntityKind, recs []*recogniser, write writing) []Figure {
	var out []Figure
	rank := 0
	add := func(templates []panel) {
		for _, t := range templates {
			for _, l := range t.lines {
				if l.col != "" && k.has(t, l.expr) {
					out = append(out, Figure{Kind: kind, Column: l.col, Expr: write.expr(l.expr), By: write.by, Scale: cmp.Or(l.scale, 1), What: l.legend, Rank: rank})
				}
			}
			rank++
		}
	}
	for _, r := range recs {
		add(r.panels)
	}
	add(companions(kind))
	return out
}

// selector is <name@only matchers> of a template.
type selector struct {
	name string
	only []string // the labels of the identity that select; nil for all
	own  string   // matchers of its own, as PromQL
}

// A selector begins with a letter right after the bracket: a comparison has a
// space there.
var selectorRE = regexp.MustCompile(`<([A-Za-z_][\w.:]*)(?:@([\w,]+))?(?: ([^>]*))?>`)

func selectors(expr string) []selector {
	var out []selector
	for _, m := range selectorRE.FindAllStringSubmatch(expr, -1) {
		out = append(out, newSelector(m))
	}
	return out
}

func newSelector(m []string) selector {
	s := selector{name: m[1], own: m[3]}
	if m[2] != "" {
		s.only = strings.Split(m[2], ",")
	}
	return s
}

func (s selector) matchers(of map[string]string) []*labels.Matcher {
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, s.name)}
	for l, v := range of {
		if s.only == nil || slices.Contains(s.only, l) {
			ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, l, v))
		}
	}
	return ms
}

// writing turns templates into PromQL, of one entity or of all that have the
// labels by.
type writing struct {
	of     map[string]string
	by     []string
	window time.Duration
}

// expr fills in a template: <name matchers> becomes a selector, $by and $, the
// labels to group by, $w the window of a rate.
func (w writing) expr(t string) string {
	t = selectorRE.ReplaceAllStringFunc(t, func(m string) string {
		return w.selector(newSelector(selectorRE.FindStringSubmatch(m)))
	})
	by, more := "", ""
	if len(w.by) > 0 {
		quoted := make([]string, len(w.by))
		for i, l := range w.by {
			quoted[i] = quoteName(l)
		}
		list := strings.Join(quoted, ", ")
		by, more = " by ("+list+") ", ", "+list
	}
	return strings.NewReplacer(" $by", by, "$,", more, "$w", model.Duration(w.window).String()).Replace(t)
}

func (w writing) selector(s selector) string {
	var ms []string
	plain := model.LegacyValidation.IsValidMetricName(s.name)
	if !plain {
		ms = append(ms, fmt.Sprintf("%q", s.name))
	}
	for _, l := range slices.Sorted(maps.Keys(w.of)) {
		if s.only == nil || slices.Contains(s.only, l) {
			ms = append(ms, fmt.Sprintf("%s=%q", quoteName(l), w.of[l]))
		}
	}
	for _, l := range w.by {
		ms = append(ms, quoteName(l)+`!=""`)
	}
	if s.own != "" {
		ms = append(ms, s.own)
	}
	in := "{" + strings.Join(ms, ", ") + "}"
	if plain {
		return s.name + in
	}
	return in
}

func quoteName(l string) string {
	if model.LegacyValidation.IsValidLabelName(l) {
		return l
	}
	return fmt.Sprintf("%q", l)
}
