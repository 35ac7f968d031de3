package query

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/stats"
)

// folding is an engine that computes aggregations such as
//
//	sum by (job) (rate(http_requests_total[5m]))
//
// series by series instead of step by step: each series is read
// once, its value at every step is computed in one pass, and the values are added
// to those of its group. What is around the aggregation is left to the engine
// below, which sees the aggregation as series that have a sample at each step.
//
// Both make the same computation in the same order. What is not computed here,
// native histograms among others, is asked of the engine below as a whole.
type folding struct {
	promql.QueryEngine
	parser     parser.Parser
	lookback   time.Duration
	maxSamples int
	folded     atomic.Int64 // queries
}

// placeholder begins the names that stand for aggregations in the expression that
// the engine below sees. It is short, because a name must fit where the
// aggregation stood, and nobody begins a name so.
const placeholder = "_:"

func (f *folding) NewRangeQuery(ctx context.Context, q storage.Queryable, o promql.QueryOpts, expr string, start, end time.Time, step time.Duration) (promql.Query, error) {
	whole, err := f.QueryEngine.NewRangeQuery(ctx, q, o, expr, start, end, step)
	if err != nil {
		return nil, err
	}
	s := span{start.UnixMilli(), end.UnixMilli(), step.Milliseconds()}
	return f.fold(whole, q, o, expr, s, func(run *foldRun, rest string) (promql.Query, error) {
		return f.QueryEngine.NewRangeQuery(ctx, run, o, rest, start, end, step)
	}), nil
}

func (f *folding) NewInstantQuery(ctx context.Context, q storage.Queryable, o promql.QueryOpts, expr string, ts time.Time) (promql.Query, error) {
	whole, err := f.QueryEngine.NewInstantQuery(ctx, q, o, expr, ts)
	if err != nil {
		return nil, err
	}
	s := span{ts.UnixMilli(), ts.UnixMilli(), 1}
	return f.fold(whole, q, o, expr, s, func(run *foldRun, rest string) (promql.Query, error) {
		return f.QueryEngine.NewInstantQuery(ctx, run, o, rest, ts)
	}), nil
}

// fold is the query with its aggregations folded, or whole. rest makes the query
// of what is around them.
func (f *folding) fold(whole promql.Query, q storage.Queryable, o promql.QueryOpts, expr string, s span, rest func(run *foldRun, expr string) (promql.Query, error)) promql.Query {
	chunks, ok := q.(storage.ChunkQueryable)
	if !ok || s.step <= 0 || s.to < s.from || o != nil && o.EnablePerStepStats() {
		return whole
	}
	lookback := f.lookback
	if o != nil && o.LookbackDelta() > 0 {
		lookback = o.LookbackDelta()
	}
	around, folds := f.split(expr)
	if len(folds) == 0 {
		return whole
	}
	run := &foldRun{Queryable: q, chunks: chunks, folds: folds, span: s, lookback: lookback.Milliseconds(), maxSamples: f.maxSamples}
	folded, err := rest(run, around)
	if err != nil {
		return whole // an aggregation stood where a name may not
	}
	return &foldQuery{Query: whole, folded: folded, run: run, count: &f.folded}
}

// split puts a name in the place of each aggregation of expr that can be folded.
// The rest of the expression keeps its positions, which messages tell.
func (f *folding) split(expr string) (rest string, folds []*fold) {
	parsed, err := f.parser.ParseExpr(expr)
	if err != nil || strings.Contains(expr, placeholder) {
		return "", nil
	}
	text := []byte(expr)
	var visit func(n parser.Node)
	visit = func(n parser.Node) {
		switch n := n.(type) {
		case *parser.SubqueryExpr:
			return // asks at other steps
		case *parser.Call:
			if n.Func.Name == "info" {
				return // asks for the metrics that its argument names
			}
		case *parser.AggregateExpr:
			if fo := newFold(n); fo != nil {
				fo.name = placeholder + strconv.Itoa(len(folds))
				at := n.PositionRange()
				if int(at.End-at.Start) < len(fo.name) {
					return
				}
				for i := int(at.Start); i < int(at.End); i++ {
					if text[i] != '\n' {
						text[i] = ' '
					}
				}
				copy(text[at.Start:], fo.name)
				folds = append(folds, fo)
				return
			}
		}
		for c := range parser.ChildrenIter(n) {
			visit(c)
		}
	}
	visit(parsed)
	return string(text), folds
}

// span is the steps of a query, Unix milliseconds; an instant query has one. from <= to, step > 0.
type span struct{ from, to, step int64 }

func (s span) steps() int { return int((s.to-s.from)/s.step) + 1 }

// fold is an aggregation over one selector.
type fold struct {
	name     string
	op       parser.ItemType
	without  bool
	grouping []string // sorted
	matchers []*labels.Matcher
	metric   string
	offset   int64 // milliseconds
	// over is the function of a window, and window its length in milliseconds;
	// nil and 0 where the newest sample is meant.
	over    func(*window) (float64, bool)
	window  int64
	per     float64 // seconds that the function's value is divided by
	counter bool    // over is meant for counters
	at      parser.Expr
}

// newFold is nil when a cannot be folded.
func newFold(a *parser.AggregateExpr) *fold {
	switch a.Op {
	case parser.SUM, parser.AVG, parser.MIN, parser.MAX, parser.COUNT, parser.GROUP:
	default:
		return nil
	}
	if a.Param != nil || slices.Contains(a.Grouping, labels.MetricName) {
		return nil
	}
	f := &fold{op: a.Op, without: a.Without, grouping: slices.Sorted(slices.Values(a.Grouping))}
	var selector parser.Expr
	switch e := unwrap(a.Expr).(type) {
	case *parser.VectorSelector:
		selector = e
	case *parser.Call:
		over, ok := overWindow[e.Func.Name]
		if !ok || len(e.Args) != 1 {
			return nil
		}
		m, ok := unwrap(e.Args[0]).(*parser.MatrixSelector)
		if !ok || m.RangeExpr != nil || m.Range <= 0 {
			return nil
		}
		selector, f.over, f.window, f.at = m.VectorSelector, over, m.Range.Milliseconds(), e.Args[0]
		if f.per = 1; e.Func.Name == "rate" {
			f.per = m.Range.Seconds()
		}
		f.counter = e.Func.Name == "rate" || e.Func.Name == "increase"
	}
	// A selector that names its metric: two series cannot become one when they
	// lose their name, which the engine refuses.
	v, ok := selector.(*parser.VectorSelector)
	if !ok || v.Timestamp != nil || v.StartOrEnd != 0 || v.OriginalOffsetExpr != nil || v.Anchored || v.Smoothed {
		return nil
	}
	if f.metric = metricOf(v); f.metric == "" {
		return nil
	}
	f.matchers, f.offset = v.LabelMatchers, v.OriginalOffset.Milliseconds()
	return f
}

func unwrap(e parser.Expr) parser.Expr {
	for {
		p, ok := e.(*parser.ParenExpr)
		if !ok {
			return e
		}
		e = p.Expr
	}
}

// foldQuery is a query whose aggregations are folded, and the query as a whole
// for when they cannot be.
type foldQuery struct {
	promql.Query // as a whole
	folded       promql.Query
	run          *foldRun
	gaveUp       atomic.Bool
	count        *atomic.Int64
}

func (q *foldQuery) Exec(ctx context.Context) *promql.Result {
	r := q.folded.Exec(ctx)
	if !q.run.gaveUp.Load() {
		q.count.Add(1)
		return r
	}
	q.gaveUp.Store(true)
	return q.Query.Exec(ctx)
}

func (q *foldQuery) Cancel() {
	q.folded.Cancel()
	q.Query.Cancel()
}

func (q *foldQuery) Close() {
	q.folded.Close()
	q.Query.Close()
}

func (q *foldQuery) Stats() *stats.Statistics {
	if q.gaveUp.Load() {
		return q.Query.Stats()
	}
	return q.folded.Stats()
}

// foldRun is the storage that the engine below asks: of the aggregations' names
// it gives what they fold to.
type foldRun struct {
	storage.Queryable
	chunks     storage.ChunkQueryable // the same
	span       span
	lookback   int64
	maxSamples int
	folds      []*fold
	gaveUp     atomic.Bool
}

// errFold ends an evaluation that is to be made anew without folding.
type errFold struct{}

func (errFold) Error() string { return "this aggregation cannot be folded" }

func (r *foldRun) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := r.Queryable.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return foldQuerier{q, r}, nil
}

type foldQuerier struct {
	storage.Querier
	run *foldRun
}

func (q foldQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if len(ms) == 1 && ms[0].Type == labels.MatchEqual && ms[0].Name == labels.MetricName && strings.HasPrefix(ms[0].Value, placeholder) {
		for _, f := range q.run.folds {
			if f.name == ms[0].Value {
				return &foldedSet{ctx: ctx, run: q.run, fold: f}
			}
		}
	}
	return q.Querier.Select(ctx, sorted, hints, ms...)
}

// foldedSet computes when it is first asked.
type foldedSet struct {
	ctx    context.Context
	run    *foldRun
	fold   *fold
	done   bool
	groups []*group
	notes  annotations.Annotations
	err    error
	at     foldedSeries
}

func (s *foldedSet) Next() bool {
	if !s.done {
		s.done = true
		if s.groups, s.notes, s.err = s.run.evaluate(s.ctx, s.fold); s.err != nil {
			if s.ctx.Err() == nil {
				s.run.gaveUp.Store(true) // the engine tells of the error in its own words
			}
			return false
		}
		s.at = foldedSeries{span: s.run.span}
	} else if len(s.groups) > 0 {
		s.groups = s.groups[1:]
	}
	if len(s.groups) == 0 {
		return false
	}
	s.at.group = s.groups[0]
	return true
}

func (s *foldedSet) At() storage.Series                { at := s.at; return &at }
func (s *foldedSet) Err() error                        { return s.err }
func (s *foldedSet) Warnings() annotations.Annotations { return s.notes }

// foldedSeries has a sample at each step, a stale marker where the group has no
// value.
type foldedSeries struct {
	span  span
	group *group
}

func (s *foldedSeries) Labels() labels.Labels { return s.group.labels }

func (s *foldedSeries) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	return &foldedIterator{foldedSeries: *s, k: -1}
}

type foldedIterator struct {
	foldedSeries
	k int
}

func (i *foldedIterator) Next() chunkenc.ValueType {
	i.k++
	return i.here()
}

func (i *foldedIterator) here() chunkenc.ValueType {
	if i.k >= len(i.group.n) {
		i.k = len(i.group.n)
		return chunkenc.ValNone
	}
	return chunkenc.ValFloat
}

func (i *foldedIterator) Seek(t timestamp) chunkenc.ValueType {
	if t > i.span.from {
		i.k = max(i.k, int((t-i.span.from+i.span.step-1)/i.span.step))
	}
	i.k = max(i.k, 0)
	return i.here()
}

// timestamp is an int64 by a name that go vet does not take for io.Seeker's.
type timestamp = int64

func (i *foldedIterator) AtT() int64 { return i.span.from + int64(i.k)*i.span.step }

func (i *foldedIterator) At() (int64, float64) {
	if i.group.n[i.k] == 0 {
		return i.AtT(), math.Float64frombits(value.StaleNaN)
	}
	return i.AtT(), i.group.v[i.k]
}

// AtHistogram and AtFloatHistogram are never called: all samples are floats.
func (i *foldedIterator) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) {
	panic("BUG: a folded series has no histograms")
}

func (i *foldedIterator) AtFloatHistogram(*histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	panic("BUG: a folded series has no histograms")
}

func (i *foldedIterator) AtST() int64 { return 0 }
func (i *foldedIterator) Err() error  { return nil }
