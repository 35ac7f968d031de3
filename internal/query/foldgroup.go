package query

import (
	"context"
	"math"
	"reflect"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/kahansum"
)

// evaluate folds the series of f. An error is the storage's, the context's, or
// errFold.
func (r *foldRun) evaluate(ctx context.Context, f *fold) ([]*group, annotations.Annotations, error) {
	reach := f.window
	if f.over == nil {
		reach = r.lookback
	}
	// The samples of a window are younger than its beginning, which is left out.
	mint, maxt := r.span.from-f.offset-reach+1, r.span.to-f.offset
	q, err := r.chunks.ChunkQuerier(mint, maxt)
	if err != nil {
		return nil, nil, err
	}
	defer q.Close()
	hints := &storage.SelectHints{Start: mint, End: maxt, Step: r.span.step, Range: f.window, By: !f.without, Grouping: f.grouping, Func: f.op.String(),
		DisableTrimming: true} // cutting a chunk means to encode it anew
	set := q.Select(ctx, false, hints, f.matchers...)

	steps := r.span.steps()
	g := &grouper{fold: f, steps: steps, most: max(1, r.maxSamples/steps), groups: map[string]*group{}}
	var in samples
	values, has := make([]float64, steps), make([]bool, steps)
	var it chunks.Iterator
	for set.Next() {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		series := set.At()
		it = series.Iterator(it)
		if err := in.read(it, mint, maxt, f.over != nil); err != nil {
			return nil, nil, err
		}
		if len(in.ts) > r.maxSamples {
			return nil, nil, errFold{}
		}
		var any bool
		if f.over != nil {
			any = in.windows(r.span, f, values, has)
		} else {
			any = in.newest(r.span, f.offset, r.lookback, values, has)
		}
		if !any {
			continue
		}
		to, err := g.group(series.Labels())
		if err != nil {
			return nil, nil, err
		}
		to.add(f.op, values, has)
	}
	if err := set.Err(); err != nil {
		return nil, nil, err
	}
	notes := set.Warnings()
	for _, to := range g.order {
		to.end(f.op)
	}
	if f.counter && len(g.order) > 0 && !countsBySuffix(f.metric) {
		notes.Add(annotations.NewPossibleNonCounterInfo(f.metric, f.at.PositionRange()))
	}
	return g.order, notes, nil
}

// countsBySuffix reports whether a metric's name says that it is a counter.
func countsBySuffix(name string) bool {
	for _, s := range []string{"_total", "_sum", "_count", "_bucket"} {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// samples are those of one series, in order.
type samples struct {
	ts     []int64
	vs     []float64
	resets []int32 // where a value is smaller than the one before

	scratch  []byte
	iterator chunkenc.Iterator
}

// read takes the samples of chunks from mint to maxt; without stale markers if
// live.
func (s *samples) read(it chunks.Iterator, mint, maxt int64, live bool) error {
	s.ts, s.vs, s.resets = s.ts[:0], s.vs[:0], s.resets[:0]
	for it.Next() {
		begun := len(s.ts)
		if err := s.appendChunk(it.At().Chunk); err != nil {
			return err
		}
		if begun > 0 && begun < len(s.ts) && s.ts[begun] <= s.ts[begun-1] {
			return errFold{} // chunks that overlap
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	lo, hi := 0, len(s.ts)
	for lo < hi && s.ts[lo] < mint {
		lo++
	}
	for hi > lo && s.ts[hi-1] > maxt {
		hi--
	}
	s.keep(lo, hi, live)
	return nil
}

// keep keeps the samples from lo to before hi, and of them, if live, those that
// are no stale markers, and finds the resets.
func (s *samples) keep(lo, hi int, live bool) {
	n, last := 0, math.Inf(-1)
	for i := lo; i < hi; i++ {
		v := s.vs[i]
		if !(v >= last) {
			if live && value.IsStaleNaN(v) {
				continue
			}
			if v < last {
				s.resets = append(s.resets, int32(n))
			}
		}
		last = v
		if n < i {
			s.ts[n], s.vs[n] = s.ts[i], v
		}
		n++
	}
	s.ts, s.vs = s.ts[:n], s.vs[:n]
}

// xorIterator is what reads all of a chunk. A chunk of which some samples are not
// committed yet has another.
var xorIterator = reflect.TypeOf(chunkenc.NewXORChunk().Iterator(nil))

func (s *samples) appendChunk(c chunkenc.Chunk) (err error) {
	s.iterator = c.Iterator(s.iterator)
	if c.Encoding() == chunkenc.EncXOR && reflect.TypeOf(s.iterator) == xorIterator {
		s.ts, s.vs, err = appendXOR(c.Bytes(), s.ts, s.vs, &s.scratch)
		return err
	}
	for {
		switch s.iterator.Next() {
		case chunkenc.ValFloat:
			t, v := s.iterator.At()
			s.ts, s.vs = append(s.ts, t), append(s.vs, v)
		case chunkenc.ValNone:
			return s.iterator.Err()
		default:
			return errFold{}
		}
	}
}

// newest puts the newest sample at each step into out, and tells whether there
// was any.
func (s *samples) newest(sp span, offset, lookback int64, out []float64, has []bool) (some bool) {
	next := 0 // the first sample that is newer than the step
	for k := range out {
		at := sp.from + int64(k)*sp.step - offset
		for next < len(s.ts) && s.ts[next] <= at {
			next++
		}
		has[k] = next > 0 && s.ts[next-1] > at-lookback && !value.IsStaleNaN(s.vs[next-1])
		if has[k] {
			out[k], some = s.vs[next-1], true
		}
	}
	return some
}

// windows puts the function of the window at each step into out.
func (s *samples) windows(sp span, f *fold, out []float64, has []bool) (some bool) {
	w := window{samples: s, per: f.per}
	for k := range out {
		w.to = sp.from + int64(k)*sp.step - f.offset
		w.from = w.to - f.window
		for w.hi < len(s.ts) && s.ts[w.hi] <= w.to {
			w.hi++
		}
		for w.lo < w.hi && s.ts[w.lo] <= w.from {
			w.lo++
		}
		if w.lo == w.hi {
			has[k] = false
			continue
		}
		for w.reset < len(s.resets) && int(s.resets[w.reset]) <= w.lo {
			w.reset++
		}
		if out[k], has[k] = f.over(&w); has[k] {
			some = true
		}
	}
	return some
}

// grouper finds the group of a series.
type grouper struct {
	fold   *fold
	steps  int
	most   int // groups
	groups map[string]*group
	order  []*group // as they appeared
	key    []byte
	build  labels.Builder
}

func (g *grouper) group(ls labels.Labels) (*group, error) {
	f := g.fold
	if ls.Has("__type__") || ls.Has("__unit__") {
		return nil, errFold{} // goes with the name, and two series may become one
	}
	if f.without {
		g.key = ls.BytesWithoutLabels(g.key, f.grouping...)
	} else {
		g.key = ls.BytesWithLabels(g.key, f.grouping...)
	}
	if to := g.groups[string(g.key)]; to != nil {
		return to, nil
	}
	if len(g.order) == g.most {
		return nil, errFold{}
	}
	g.build.Reset(ls)
	if f.without {
		g.build.Del(f.grouping...).Del(labels.MetricName)
	} else {
		g.build.Keep(f.grouping...)
	}
	to := &group{labels: g.build.Labels(), n: make([]uint32, g.steps), v: make([]float64, g.steps)}
	switch f.op {
	case parser.SUM:
		to.c = make([]float64, g.steps)
	case parser.AVG:
		to.averages = make([]average, g.steps)
	}
	g.groups[string(g.key)] = to
	g.order = append(g.order, to)
	return to, nil
}

// group is a group's value at each step.
type group struct {
	labels   labels.Labels
	n        []uint32  // values so far
	v        []float64 // their sum, smallest or largest
	c        []float64 // what the sum has lost to rounding
	averages []average // instead, if that is asked for
}

func (g *group) add(op parser.ItemType, values []float64, has []bool) {
	for k, ok := range has {
		if !ok {
			continue
		}
		f := values[k]
		g.n[k]++
		if op == parser.AVG {
			g.averages[k].add(f)
			continue
		}
		if g.n[k] == 1 {
			g.v[k] = f
			continue
		}
		switch op {
		case parser.SUM:
			g.v[k], g.c[k] = kahansum.Inc(f, g.v[k], g.c[k])
		case parser.MAX:
			if g.v[k] < f || math.IsNaN(g.v[k]) {
				g.v[k] = f
			}
		case parser.MIN:
			if g.v[k] > f || math.IsNaN(g.v[k]) {
				g.v[k] = f
			}
		}
	}
}

// end makes the values of what was added up.
func (g *group) end(op parser.ItemType) {
	for k, n := range g.n {
		switch {
		case n == 0:
		case op == parser.SUM:
			g.v[k] += g.c[k]
		case op == parser.AVG:
			g.v[k] = g.averages[k].value()
		case op == parser.COUNT:
			g.v[k] = float64(n)
		case op == parser.GROUP:
			g.v[k] = 1
		}
	}
	g.c, g.averages = nil, nil
}
