package query

import (
	"container/list"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/stats"

	"github.com/vedette-sre/vedette/instrument"
)

// History tells the memory what of the past has changed. A Store of package
// metric is one.
type History interface {
	// Moment is the present moment: what is read later holds every change before.
	Moment() uint64
	// ChangedSince is the time, Unix milliseconds, before which nothing has changed
	// since a moment.
	ChangedSince(moment uint64) int64
	// StartTime is the time of the oldest sample: it grows when old ones go.
	StartTime() (int64, error)
}

// memory is an engine that remembers the answers of range queries by aligned
// window: a dashboard that is refreshed computes only the steps that are new, or
// whose samples have changed meanwhile. Answers are the same with and without it.
// Safe for concurrent use.
type memory struct {
	promql.QueryEngine
	parser   parser.Parser
	lookback time.Duration
	maxBytes int64

	mu      sync.Mutex
	history History
	entries map[memoryKey]*list.Element // of *remembered
	byUse   *list.List                  // newest use first
	bytes   int64

	// Steps: remembered, computed, and of expressions that cannot be remembered.
	reused, worked, unfit *instrument.Counter
}

// memoryKey is what a remembered answer belongs to: steps fall on the same
// instants.
type memoryKey struct {
	expr        string
	step, phase int64 // milliseconds
	lookback    time.Duration
}

// remembered is the answer to an expression from one step to another.
type remembered struct {
	key memoryKey

	mu       sync.Mutex // of all below
	from, to int64      // the first and the last step; from > to for none
	moment   uint64     // when the oldest part was read
	start    int64      // the oldest sample then
	series   map[uint64][]*rememberedSeries
	notes    annotations.Annotations
	bytes    int64 // guarded by memory.mu
}

type rememberedSeries struct {
	labels labels.Labels
	drop   bool
	floats []promql.FPoint
	hists  []promql.HPoint
}

// maxRememberedSteps is how long an answer is kept: as long as the longest that
// the HTTP API gives.
const maxRememberedSteps = 11_000

func newMemory(e promql.QueryEngine, p parser.Parser, lookback time.Duration, maxBytes int64, in *instrument.Registry) *memory {
	const steps = "vedette_query_steps"
	in.Describe(steps, "", "Steps of range queries, by whether they were remembered, computed, or of an expression that cannot be remembered.")
	m := &memory{QueryEngine: e, parser: p, lookback: lookback, maxBytes: maxBytes, entries: map[memoryKey]*list.Element{}, byUse: list.New(),
		reused: in.Counter(steps, "how", "remembered"), worked: in.Counter(steps, "how", "computed"), unfit: in.Counter(steps, "how", "not_rememberable")}
	in.Describe("vedette_query_memory", "bytes", "About what remembered answers take.")
	in.GaugeFunc("vedette_query_memory", func() float64 { return float64(m.size()) })
	return m
}

func (m *memory) size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

// watch gives the memory the history of the samples that are asked for. Before
// that it remembers nothing.
func (m *memory) watch(h History) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history = h
}

func (m *memory) NewRangeQuery(ctx context.Context, q storage.Queryable, o promql.QueryOpts, expr string, start, end time.Time, step time.Duration) (promql.Query, error) {
	whole, err := m.QueryEngine.NewRangeQuery(ctx, q, o, expr, start, end, step)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	h := m.history
	m.mu.Unlock()
	s, from, to := step.Milliseconds(), start.UnixMilli(), end.UnixMilli()
	steps := int64(1)
	if s > 0 && to >= from {
		steps += (to - from) / s
	}
	if h == nil || m.maxBytes <= 0 || s <= 0 || to <= from || steps > maxRememberedSteps || o != nil && o.EnablePerStepStats() {
		return whole, nil
	}
	parsed, err := m.parser.ParseExpr(expr)
	if err != nil || !rememberable(parsed) {
		m.unfit.Add(uint64(steps))
		return whole, nil
	}
	lookback := m.lookback
	if o != nil && o.LookbackDelta() > 0 {
		lookback = o.LookbackDelta()
	}
	phase := from % s
	if phase < 0 {
		phase += s
	}
	return &windowQuery{
		Query: whole, m: m, h: h, from: from, to: from + (to-from)/s*s, step: s,
		key: memoryKey{expr, s, phase, lookback},
		part: func(ctx context.Context, from, to int64) (promql.Query, error) {
			return m.QueryEngine.NewRangeQuery(ctx, q, o, expr, time.UnixMilli(from), time.UnixMilli(to), step)
		},
	}, nil
}

// windowQuery answers from the memory what it can.
type windowQuery struct {
	promql.Query // of the whole range
	m            *memory
	h            History
	key          memoryKey
	from, to     int64 // the first and the last step
	step         int64
	part         func(ctx context.Context, from, to int64) (promql.Query, error)

	mu     sync.Mutex
	cancel context.CancelFunc
	stats  *stats.Statistics
}

// Cancel ends the query.
func (q *windowQuery) Cancel() {
	q.Query.Cancel()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.cancel != nil {
		q.cancel()
	}
}

// Stats are those of the part that was computed last.
func (q *windowQuery) Stats() *stats.Statistics {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stats != nil {
		return q.stats
	}
	return q.Query.Stats()
}

func (q *windowQuery) Exec(ctx context.Context) *promql.Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q.mu.Lock()
	q.cancel = cancel
	q.mu.Unlock()
	e := q.m.entry(q.key)
	if !e.mu.TryLock() {
		return q.Query.Exec(ctx) // the same is being computed: do not wait for it
	}
	defer e.mu.Unlock()

	// Before anything is read: what changes from here on is seen the next time.
	moment := q.h.Moment()
	start, err := q.h.StartTime()
	if err != nil {
		return q.Query.Exec(ctx)
	}
	e.forgetChanged(q.h.ChangedSince(e.moment), start, q.step)

	// The remembered steps that the query asks for, and what is missing on
	// either side of them.
	lo, hi := max(e.from, q.from), min(e.to, q.to)
	whole := lo > hi
	var left, right *promql.Result
	if whole {
		left = q.Query.Exec(ctx)
		if left.Err != nil {
			return left
		}
		e.clear()
		lo, hi = q.to+q.step, q.to
	} else {
		for _, side := range []struct {
			res      **promql.Result
			from, to int64
		}{{&left, q.from, lo - q.step}, {&right, hi + q.step, q.to}} {
			if side.from > side.to {
				continue
			}
			pq, err := q.part(ctx, side.from, side.to)
			if err != nil {
				return &promql.Result{Err: err}
			}
			defer pq.Close()
			res := pq.Exec(ctx)
			if res.Err != nil {
				return res
			}
			q.mu.Lock()
			q.stats = pq.Stats()
			q.mu.Unlock()
			*side.res = res
		}
	}
	n := float64((q.to-q.from)/q.step + 1)
	known := max(float64((hi-lo)/q.step+1), 0)
	q.m.reused.Add(uint64(known))
	q.m.worked.Add(uint64(n - known))

	for _, res := range []*promql.Result{left, right} {
		if res == nil {
			continue
		}
		mat, ok := res.Value.(promql.Matrix)
		if !ok {
			// Not what a range query gives; nothing can be joined to it.
			e.clear()
			return q.Query.Exec(ctx)
		}
		e.add(mat, res == left)
		e.notes.Merge(res.Warnings)
	}
	e.from, e.to = min(e.from, q.from), max(e.to, q.to)
	e.moment, e.start = moment, start
	out := &promql.Result{Value: e.matrix(q.from, q.to), Warnings: annotations.New().Merge(e.notes)}
	e.trim(q.step)
	q.m.settle(e)
	return out
}

// entry finds or makes what is remembered under a key.
func (m *memory) entry(k memoryKey) *remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	if el := m.entries[k]; el != nil {
		m.byUse.MoveToFront(el)
		return el.Value.(*remembered)
	}
	e := &remembered{key: k}
	e.clear()
	m.entries[k] = m.byUse.PushFront(e)
	return e
}

// settle counts what an entry takes and forgets the ones that were not used for
// longest. An answer that takes more than a quarter of the memory is not kept.
func (m *memory) settle(e *remembered) {
	size := e.size()
	if size > m.maxBytes/4 {
		e.clear()
		size = e.size()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if el := m.entries[e.key]; el == nil || el.Value != e {
		return // forgotten while it was used
	}
	m.bytes += size - e.bytes
	e.bytes = size
	for m.bytes > m.maxBytes && m.byUse.Len() > 0 {
		el := m.byUse.Back()
		old := el.Value.(*remembered)
		m.byUse.Remove(el)
		delete(m.entries, old.key)
		m.bytes -= old.bytes
	}
}

func (e *remembered) clear() {
	e.from, e.to = math.MaxInt64, math.MinInt64
	e.series, e.notes = map[uint64][]*rememberedSeries{}, annotations.Annotations{}
}

// forgetChanged drops the steps that changed samples may have had a part in:
// those from changed on.
func (e *remembered) forgetChanged(changed, start, step int64) {
	if e.from > e.to {
		return
	}
	if start > e.start || changed <= e.from {
		e.clear() // old samples went, or all is touched
		return
	}
	if changed > e.to {
		return
	}
	e.to = e.from + (changed-1-e.from)/step*step
	for h, list := range e.series {
		list = slices.DeleteFunc(list, func(s *rememberedSeries) bool {
			s.floats = s.floats[:countUntil(s.floats, e.to, fTime)]
			s.hists = s.hists[:countUntil(s.hists, e.to, hTime)]
			return len(s.floats)+len(s.hists) == 0
		})
		if len(list) == 0 {
			delete(e.series, h)
		} else {
			e.series[h] = list
		}
	}
}

func fTime(p promql.FPoint) int64 { return p.T }
func hTime(p promql.HPoint) int64 { return p.T }

// countUntil is how many points have a time of at most t.
func countUntil[P any](ps []P, t int64, at func(P) int64) int {
	n, _ := slices.BinarySearchFunc(ps, t, func(p P, t int64) int {
		if at(p) <= t {
			return -1
		}
		return 1
	})
	return n
}

// add takes in computed steps, which come before the remembered ones or after
// them. The points are copied: the engine uses its own again.
func (e *remembered) add(mat promql.Matrix, before bool) {
	for _, x := range mat {
		s := e.find(x.Metric, x.DropName)
		floats := slices.Clone(x.Floats)
		hists := make([]promql.HPoint, len(x.Histograms))
		for i, p := range x.Histograms {
			hists[i] = promql.HPoint{T: p.T, H: p.H.Copy()}
		}
		if before {
			s.floats, s.hists = append(floats, s.floats...), append(hists, s.hists...)
		} else {
			s.floats, s.hists = append(s.floats, floats...), append(s.hists, hists...)
		}
	}
}

func (e *remembered) find(ls labels.Labels, drop bool) *rememberedSeries {
	h := ls.Hash()
	for _, s := range e.series[h] {
		if labels.Equal(s.labels, ls) && s.drop == drop {
			return s
		}
	}
	s := &rememberedSeries{labels: ls, drop: drop}
	e.series[h] = append(e.series[h], s)
	return s
}

// matrix is the answer from one step to another, in the order of the engine. It
// shares nothing that will be written again.
func (e *remembered) matrix(from, to int64) promql.Matrix {
	out := make(promql.Matrix, 0, len(e.series))
	for _, list := range e.series {
		for _, s := range list {
			f := s.floats[countUntil(s.floats, from-1, fTime):countUntil(s.floats, to, fTime)]
			h := s.hists[countUntil(s.hists, from-1, hTime):countUntil(s.hists, to, hTime)]
			if len(f)+len(h) == 0 {
				continue
			}
			x := promql.Series{Metric: s.labels, DropName: s.drop}
			if len(f) > 0 {
				x.Floats = slices.Clone(f)
			}
			for _, p := range h {
				x.Histograms = append(x.Histograms, promql.HPoint{T: p.T, H: p.H.Copy()})
			}
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
	return out
}

// trim drops the oldest steps beyond what is kept.
func (e *remembered) trim(step int64) {
	if (e.to-e.from)/step < maxRememberedSteps {
		return
	}
	e.from = e.to - (maxRememberedSteps-1)*step
	for h, list := range e.series {
		list = slices.DeleteFunc(list, func(s *rememberedSeries) bool {
			s.floats = slices.Clone(s.floats[countUntil(s.floats, e.from-1, fTime):])
			s.hists = slices.Clone(s.hists[countUntil(s.hists, e.from-1, hTime):])
			return len(s.floats)+len(s.hists) == 0
		})
		if len(list) == 0 {
			delete(e.series, h)
		} else {
			e.series[h] = list
		}
	}
}

// size is about what an entry takes in memory.
func (e *remembered) size() int64 {
	n := int64(len(e.key.expr)) + 300
	for _, list := range e.series {
		for _, s := range list {
			n += 200 + int64(cap(s.floats))*16 + int64(cap(s.hists))*16
			for _, p := range s.hists {
				n += 100 + int64(len(p.H.PositiveBuckets)+len(p.H.NegativeBuckets))*8
			}
		}
	}
	return n
}
