package ingest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// SinkConfig bounds what a Sink takes. Zero means the default.
type SinkConfig struct {
	// MaxFuture is how far ahead of this clock a sample may be; default 10 min.
	MaxFuture time.Duration
	// IsLimit says whether an append was refused by a limit of the store, which
	// is the sender's to mend, not a fault of ours.
	IsLimit func(error) bool
	// CacheSeries is how many series are remembered; default 1,000,000. More
	// cost only a look-up each.
	CacheSeries int
	// MaxNewSeries is how many series that are not remembered a request may name;
	// default 500,000. All its samples are in memory until they are stored.
	MaxNewSeries int
}

// Sink is where pushed samples of every protocol go. It remembers the series
// that were written, by the bytes in which a sender names them, so that a known
// series costs one hash and no allocation. Safe for concurrent use.
type Sink struct {
	app     storage.Appendable
	cfg     SinkConfig
	counts  *Counts
	started time.Time
	shards  [sinkShards]sinkShard
	batches sync.Pool
}

const (
	sinkShards = 64
	// sinkEpoch is the age at which a series that nobody writes may be forgotten.
	sinkEpoch = 10 * time.Minute
)

type sinkShard struct {
	mu sync.RWMutex
	m  map[uint64]*sinkSeries
}

// sinkSeries is a series under one of the names that senders have for it.
type sinkSeries struct {
	key    string // as sent; see Batch.key
	space  uint64 // whose form key has: 0 for Batch.key; see Batch.beginRaw
	head   int    // of a key with two parts, the length of the first
	hash   uint64 // of key
	next   *sinkSeries
	labels labels.Labels
	// same is the series under its sorted name, which is itself for most senders:
	// two orders of the same labels are one series.
	same *sinkSeries
	// ref is a hint for the store: a stale one costs a look-up.
	ref   atomic.Uint64
	epoch atomic.Uint32
	// succ came after this one when it was last written. Senders keep their order,
	// so that the next series is mostly found by one comparison.
	succ atomic.Pointer[sinkSeries]
}

// NewSink makes a Sink to app.
func NewSink(app storage.Appendable, cfg SinkConfig, counts *Counts) *Sink {
	if cfg.MaxFuture == 0 {
		cfg.MaxFuture = 10 * time.Minute
	}
	if cfg.IsLimit == nil {
		cfg.IsLimit = func(error) bool { return false }
	}
	if cfg.CacheSeries == 0 {
		cfg.CacheSeries = 1_000_000
	}
	if cfg.MaxNewSeries == 0 {
		cfg.MaxNewSeries = 500_000
	}
	s := &Sink{app: app, cfg: cfg, counts: counts, started: time.Now()}
	for i := range s.shards {
		s.shards[i].m = map[uint64]*sinkSeries{}
	}
	return s
}

// Batch is the samples of one request. It is not safe for concurrent use.
//
// For each series: Begin, Label for each label, then Point or Histogram for each
// sample. At the end Commit stores all that can be stored, in one transaction,
// and tells what was refused. Strings that are handed in are copied where they
// are kept, so they may lie in a buffer that is used again after Commit.
type Batch struct {
	s        *Sink
	protocol string
	epoch    uint32
	now      time.Time

	prev     *sinkSeries // the series resolved last
	rawKey   []byte      // what the series begun is to be known by, too
	rawSpace uint64
	rawHead  int
	key      []byte // of the series begun: names and values with their lengths, as labels.Labels has them
	tooBig   int    // bytes of its labels, when they are over the limit
	budget   int    // bytes of labels that new series may still take
	room     int    // new series that may still come
	cur      int32  // its index in series; or one of the two below
	curErr   error
	curCause string

	series    []*sinkSeries
	last      []int64 // the newest time of each series
	index     seriesIndex
	fresh     map[string]*sinkSeries // by key: those that only this batch knows
	points    []sinkPoint
	hists     []sinkHistogram
	exemplars []sinkExemplar
	disorder  bool
	firsts    int // series stored that this process had not stored before
	builder   labels.ScratchBuilder
	out       Outcome
}

const (
	notLooked = -1
	refused   = -2
)

type sinkPoint struct {
	series int32
	line   int32
	hist   int32 // 1 + its index in hists; 0 for a float
	t      int64
	v      float64
}

type sinkHistogram struct {
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

type sinkExemplar struct {
	series int32
	e      exemplar.Exemplar
}

// Outcome is what became of a request: accepted = stored + refused.
type Outcome struct {
	Samples    int // floats stored
	Histograms int // native histograms stored
	Exemplars  int
	RefusedN   int // samples or lines refused
	// Refused are the first ten that were refused, in the order of their lines.
	Refused  []Refusal
	ByReason map[string]int
}

// Stored is how many samples were stored.
func (o *Outcome) Stored() int { return o.Samples + o.Histograms }

// Refusal says why a line, or a sample, was not stored.
type Refusal struct {
	Line   int // from 1; 0 when the protocol has no lines
	Reason string
	Err    error
}

// Error lists the first reasons, a line each.
func (o *Outcome) Error() string {
	var b strings.Builder
	for i, r := range o.Refused {
		if i > 0 {
			b.WriteByte('\n')
		}
		if r.Line > 0 {
			fmt.Fprintf(&b, "line %d: ", r.Line)
		}
		b.WriteString(r.Err.Error())
	}
	if more := o.RefusedN - len(o.Refused); more > 0 {
		fmt.Fprintf(&b, "\n… and %d more", more)
	}
	return b.String()
}

const keptRefusals = 10

// Batch begins a request of a protocol; Free gives it back.
func (s *Sink) Batch(protocol string) *Batch {
	b, _ := s.batches.Get().(*Batch)
	if b == nil {
		b = &Batch{s: s, fresh: map[string]*sinkSeries{}, builder: labels.NewScratchBuilder(16)}
	}
	b.now = time.Now()
	b.protocol, b.epoch, b.cur = protocol, uint32(b.now.Sub(s.started)/sinkEpoch), notLooked
	b.budget, b.room = maxRequestLabelBytes, s.cfg.MaxNewSeries
	return b
}

// Free gives the batch's memory back; it must not be used any more.
func (b *Batch) Free() {
	const keep = 1 << 20
	if cap(b.points) > keep || cap(b.series) > keep {
		return // one giant request must not be remembered for ever
	}
	b.index.reset()
	clear(b.fresh)
	clear(b.series)
	clear(b.hists)
	clear(b.exemplars)
	b.series, b.last, b.points, b.hists, b.exemplars = b.series[:0], b.last[:0], b.points[:0], b.hists[:0], b.exemplars[:0]
	b.key, b.rawKey, b.prev, b.disorder, b.firsts, b.curErr, b.out = b.key[:0], nil, nil, false, 0, nil, Outcome{}
	b.s.batches.Put(b)
}

// Begin begins a series; name is its metric name.
func (b *Batch) Begin(name string) {
	b.BeginBare()
	b.Label(labels.MetricName, name)
}

// BeginBare begins a series whose metric name comes as the label __name__.
func (b *Batch) BeginBare() {
	b.key, b.rawKey, b.tooBig, b.cur = b.key[:0], nil, 0, notLooked
}

// A protocol may know a series by bytes of its own as well, in a space of its own:
// a number that is not 0. Known bytes are not decoded.

// beginRaw begins the series that was written before under these bytes, and
// reports whether there is one. If not, the caller says what the labels are, with
// BeginBare or Begin and Label, and then knownAs.
func (b *Batch) beginRaw(space uint64, raw []byte) bool {
	if e := b.s.known(xxhash.Sum64(raw), raw, space); e != nil {
		b.use(e)
		return true
	}
	if e := b.fresh[string(raw)]; e != nil && e.space == space {
		b.use(e)
		return true
	}
	return false
}

// after returns the series that came after e the last time, nil for none. The
// caller compares its key and hands it to use.
func after(e *sinkSeries, space uint64) *sinkSeries {
	if e == nil {
		return nil
	}
	if e = e.succ.Load(); e == nil || e.space != space {
		return nil
	}
	return e
}

// knownAs gives the series begun a further name, by which beginRaw finds it. head
// is how many of the bytes it shares with others.
func (b *Batch) knownAs(space uint64, raw []byte, head int) {
	b.rawSpace, b.rawKey, b.rawHead = space, raw, head
}

// Label adds a label to the series begun. Labels may come in any order; one
// without a value is no label.
func (b *Batch) Label(name, value string) {
	if n := len(b.key) + len(name) + len(value); n > maxSeriesLabelBytes || b.tooBig > 0 {
		b.tooBig = max(b.tooBig, len(b.key)) + len(name) + len(value)
		b.cur = notLooked
		return
	}
	b.key = appendSized(appendSized(b.key, name), value)
	b.cur = notLooked
}

// Rename gives the series that was begun with Begin another metric name and
// keeps its labels: for protocols with several values under the same labels.
// Only the head of the key changes. A series that was too large stays so.
func (b *Batch) Rename(name string) {
	b.rawKey, b.cur = nil, notLooked
	if b.tooBig > 0 {
		return // its labels were not kept
	}
	const at = 1 + len(labels.MetricName) // of the name in the key
	tail := b.key[at+sized(b.key[at:]):]
	size := 1 + len(name)
	if len(name) >= 255 {
		size += 3
	}
	n := at + size + len(tail)
	if n > maxSeriesLabelBytes {
		b.tooBig = n
		return
	}
	b.key = slices.Grow(b.key, size)
	copy(b.key[at+size:n], tail)
	b.key = b.key[:n]
	appendSized(b.key[:at], name)
}

// appendSized encodes as labels.Labels does: a byte of length, or 255 and three
// bytes, little-endian.
func appendSized(dst []byte, s string) []byte {
	if n := len(s); n < 255 {
		dst = append(dst, byte(n))
	} else {
		dst = append(dst, 255, byte(n), byte(n>>8), byte(n>>16))
	}
	return append(dst, s...)
}

// sized is how many bytes the string encoded at the start of key takes.
func sized(key []byte) int {
	if n := int(key[0]); n < 255 {
		return 1 + n
	}
	return 4 + (int(key[1]) | int(key[2])<<8 | int(key[3])<<16)
}

// The labels of one series, and those of all new series of a request, may take
// this many bytes: a request of remote write 2.0 names a label by a number, so
// that a small one could ask for any amount of memory.
const (
	maxSeriesLabelBytes  = 1 << 20
	maxRequestLabelBytes = 128 << 20
)

// eachSized calls f with each pair of a key.
func eachSized(key []byte, f func(name, value string)) {
	next := func() string {
		n, head := int(key[0]), 1
		if n == 255 {
			n, head = int(key[1])|int(key[2])<<8|int(key[3])<<16, 4
		}
		s := unsafe.String(unsafe.SliceData(key[head:]), n)
		key = key[head+n:]
		return s
	}
	for len(key) > 0 {
		name := next()
		f(name, next())
	}
}

// Point adds a sample to the series begun; t is in Unix milliseconds. line is
// where it stands in the request, for the refusal; 0 for nowhere.
func (b *Batch) Point(line int, t int64, v float64) {
	b.add(line, sinkPoint{t: t, v: v})
}

// Histogram adds a native histogram; exactly one of h and fh is set. It belongs
// to the batch from here on.
func (b *Batch) Histogram(line int, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) {
	b.hists = append(b.hists, sinkHistogram{h, fh})
	b.add(line, sinkPoint{t: t, hist: int32(len(b.hists))})
}

func (b *Batch) add(line int, p sinkPoint) {
	if b.cur == notLooked {
		b.resolve()
	}
	if b.cur == refused {
		b.Refuse(line, b.curCause, b.curErr)
		return
	}
	p.series, p.line = b.cur, int32(line)
	if p.t <= b.last[b.cur] {
		b.disorder = true
	} else {
		b.last[b.cur] = p.t
	}
	b.points = append(b.points, p)
}

// Exemplar adds an exemplar to the series begun. It is a best effort: one that
// does not fit costs only itself, and is counted.
func (b *Batch) Exemplar(e exemplar.Exemplar) {
	if b.cur == notLooked {
		b.resolve()
	}
	if b.cur == refused {
		b.count("exemplar")
		return
	}
	b.exemplars = append(b.exemplars, sinkExemplar{b.cur, e})
}

// Check finds the series begun without adding to it, and says why it is none.
func (b *Batch) Check() error {
	if b.cur == notLooked {
		b.resolve()
	}
	if b.cur == refused {
		return b.curErr
	}
	return nil
}

// Refuse notes that a line, or a sample, is not taken.
func (b *Batch) Refuse(line int, reason string, err error) {
	b.count(reason)
	b.out.RefusedN++
	b.out.keep(Refusal{line, reason, err})
}

// Skip counts what is left out without making the request a bad one.
func (b *Batch) Skip(reason string) { b.count(reason) }

func (b *Batch) count(reason string) {
	if b.out.ByReason == nil {
		b.out.ByReason = map[string]int{}
	}
	b.out.ByReason[reason]++
}

// keep holds the first refusals by line.
func (o *Outcome) keep(r Refusal) {
	if len(o.Refused) == keptRefusals && (r.Line == 0 || r.Line >= o.Refused[keptRefusals-1].Line) {
		return
	}
	at := len(o.Refused)
	for r.Line > 0 && at > 0 && o.Refused[at-1].Line > r.Line {
		at--
	}
	o.Refused = slices.Insert(o.Refused, at, r)
	if len(o.Refused) > keptRefusals {
		o.Refused = o.Refused[:keptRefusals]
	}
}

// resolve finds or makes the series begun.
func (b *Batch) resolve() {
	if b.prev != nil && b.tooBig == 0 && b.rawKey == nil {
		if e := after(b.prev, 0); e != nil && e.key == string(b.key) {
			b.use(e)
			return
		}
	}
	e, cause, err := b.s.series(b)
	if err != nil {
		b.cur, b.curCause, b.curErr = refused, cause, err
		return
	}
	if b.rawKey != nil {
		e = b.keep(string(b.rawKey), xxhash.Sum64(b.rawKey), b.rawSpace, e.labels, e.same)
		e.head = b.rawHead
	}
	b.use(e)
}

// use makes e the series that samples are added to.
func (b *Batch) use(e *sinkSeries) {
	if e.epoch.Load() != b.epoch {
		e.epoch.Store(b.epoch)
	}
	if e.same != e && e.same.epoch.Load() != b.epoch {
		e.same.epoch.Store(b.epoch)
	}
	if b.prev != nil && b.prev.succ.Load() != e {
		b.prev.succ.Store(e)
	}
	b.prev = e
	at, isNew := b.index.of(e.same)
	if isNew {
		b.series = append(b.series, e.same)
		b.last = append(b.last, math.MinInt64)
	}
	b.cur = at
}

func (s *Sink) series(b *Batch) (*sinkSeries, string, error) {
	if b.tooBig > 0 {
		return nil, "invalid_labels", fmt.Errorf("a series has labels of %d bytes; at most %d are taken", b.tooBig, maxSeriesLabelBytes)
	}
	hash := xxhash.Sum64(b.key)
	if e := s.known(hash, b.key, 0); e != nil {
		return e, "", nil
	}
	if e := b.fresh[string(b.key)]; e != nil && e.space == 0 {
		return e, "", nil
	}
	ls, cause, err := b.labels()
	if err != nil {
		return nil, cause, err
	}
	sorted := ls.Bytes(nil)
	name := shareBytes(ls, sorted)
	if name == string(b.key) {
		return b.keep(name, hash, 0, ls, nil), "", nil
	}
	// Another order, or empty labels: the name as the store has it is the series.
	sortedHash := xxhash.Sum64(sorted)
	first := s.known(sortedHash, sorted, 0)
	if first == nil {
		if e := b.fresh[name]; e != nil && e.space == 0 {
			first = e
		}
	}
	if first == nil {
		first = b.keep(name, sortedHash, 0, ls, nil)
	}
	return b.keep(string(b.key), hash, 0, first.labels, first), "", nil
}

func (s *Sink) known(hash uint64, key []byte, space uint64) *sinkSeries {
	sh := &s.shards[hash%sinkShards]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for e := sh.m[hash]; e != nil; e = e.next {
		if e.space == space && e.key == string(key) {
			return e
		}
	}
	return nil
}

// shareBytes returns the bytes of ls as a string without a copy where labels are
// one string, which they are in the default build.
func shareBytes(ls labels.Labels, copied []byte) string {
	if labels.ImplementationName == "stringlabels" && unsafe.Sizeof(ls) == unsafe.Sizeof("") {
		return *(*string)(unsafe.Pointer(&ls))
	}
	return string(copied)
}

// keep remembers a series for this batch; remember does for all, once the store
// has it.
func (b *Batch) keep(key string, hash uint64, space uint64, ls labels.Labels, same *sinkSeries) *sinkSeries {
	e := &sinkSeries{key: key, hash: hash, space: space, labels: ls, same: same}
	if same == nil {
		e.same = e
	}
	b.fresh[key] = e
	return e
}

// remember keeps a series for all batches, unless another was faster.
func (s *Sink) remember(e *sinkSeries, epoch uint32) {
	sh := &s.shards[e.hash%sinkShards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for o := sh.m[e.hash]; o != nil; o = o.next {
		if o.space == e.space && o.key == e.key {
			return
		}
	}
	if room := max(s.cfg.CacheSeries/sinkShards, 1); len(sh.m) >= room {
		sh.forget(epoch, room)
	}
	e.epoch.Store(epoch)
	e.next = sh.m[e.hash]
	sh.m[e.hash] = e
}

// forget drops the series that were not written in this epoch and the one
// before; when that leaves too many, all.
func (sh *sinkShard) forget(epoch uint32, room int) {
	for h, e := range sh.m {
		if e.epoch.Load()+1 < epoch {
			e.succ.Store(nil)
			delete(sh.m, h)
		}
	}
	if len(sh.m) > room-room/8 {
		clear(sh.m)
	}
}

// labels builds and checks the labels of the series begun.
func (b *Batch) labels() (labels.Labels, string, error) {
	b.builder.Reset()
	name := ""
	eachSized(b.key, func(k, v string) {
		if v == "" {
			return // as the store will
		}
		if k == labels.MetricName {
			name = v
		}
		b.builder.Add(k, v)
	})
	if b.room--; b.room < 0 {
		return labels.EmptyLabels(), "max_series_per_request", fmt.Errorf("this request names more than limits.max_series_per_request = %d series that were not written lately; send fewer series at once", b.s.cfg.MaxNewSeries)
	}
	if b.budget -= len(b.key); b.budget < 0 {
		return labels.EmptyLabels(), "invalid_labels", fmt.Errorf("the labels of this request's new series take more than %d bytes; send fewer series at once", maxRequestLabelBytes)
	}
	b.builder.Sort()
	ls := b.builder.Labels()
	switch {
	case name == "":
		return ls, "invalid_labels", fmt.Errorf("series %s has no metric name", ls)
	case !ls.IsValid(model.UTF8Validation):
		return ls, "invalid_labels", fmt.Errorf("series %s has an invalid metric or label name, or a label value that is not UTF-8", ls)
	}
	if dup, is := ls.HasDuplicateLabelNames(); is {
		return ls, "invalid_labels", fmt.Errorf("series %s has the label %q twice", ls, dup)
	}
	return ls, "", nil
}

// Commit stores the samples in one transaction and counts them. An error is a
// fault of ours: nothing was stored, and the sender should try again.
func (b *Batch) Commit(ctx context.Context) (Outcome, error) {
	err := b.commit(ctx)
	if err != nil {
		b.s.counts.AddFrom(ctx, b.protocol, "", 0, 0, map[string]int{"fault": len(b.points)})
		b.out = Outcome{}
		return b.out, err
	}
	b.s.counts.AddFrom(ctx, b.protocol, "", b.out.Stored(), b.firsts, b.out.ByReason)
	return b.out, nil
}

func (b *Batch) commit(ctx context.Context) (err error) {
	if len(b.points) == 0 && len(b.exemplars) == 0 {
		return nil
	}
	if b.disorder {
		// In order of time, or the engine would take an early sample that follows a
		// late one for out of order.
		slices.SortStableFunc(b.points, func(p, q sinkPoint) int {
			return cmp.Or(cmp.Compare(p.series, q.series), cmp.Compare(p.t, q.t))
		})
	}
	app := b.s.app.Appender(ctx)
	defer func() {
		if err != nil {
			_ = app.Rollback() // the error that led here is the one to tell
		}
	}()
	newest := b.now.Add(b.s.cfg.MaxFuture).UnixMilli()
	var prev *sinkPoint // the last one appended
	for i := range b.points {
		p := &b.points[i]
		s := b.series[p.series]
		if p.t > newest {
			b.Refuse(int(p.line), "future", fmt.Errorf("series %s: sample at %s is more than %s ahead of this clock", s.labels, clock(p.t), b.s.cfg.MaxFuture))
			continue
		}
		// The engine checks a sample against what is committed. Within one
		// transaction a new series has nothing yet, so that a second value for a
		// timestamp would pass Append and vanish in Commit: caught here instead.
		if b.disorder && prev != nil && prev.series == p.series && prev.t == p.t {
			if b.same(prev, p) {
				b.stored(p)
				continue // the same sample twice: nothing to store
			}
			b.Refuse(int(p.line), "duplicate", fmt.Errorf("series %s: two values for %s", s.labels, clock(p.t)))
			continue
		}
		ref := storage.SeriesRef(s.ref.Load())
		var got storage.SeriesRef
		var aerr error
		if p.hist > 0 {
			h := &b.hists[p.hist-1]
			if aerr = fit(h); aerr == nil {
				got, aerr = app.AppendHistogram(ref, s.labels, p.t, h.h, h.fh)
			}
		} else {
			got, aerr = app.Append(ref, s.labels, p.t, p.v)
		}
		if aerr == nil {
			if got != ref {
				s.ref.Store(uint64(got))
				if ref == 0 {
					b.firsts++
				}
			}
			prev = p
			b.stored(p)
			continue
		}
		reason, theirs := b.s.reason(aerr)
		if !theirs {
			return fmt.Errorf("append to series %s: %w", s.labels, aerr)
		}
		b.Refuse(int(p.line), reason, fmt.Errorf("series %s: sample at %s: %w", s.labels, clock(p.t), aerr))
	}
	slices.SortStableFunc(b.exemplars, func(x, y sinkExemplar) int {
		return cmp.Or(cmp.Compare(x.series, y.series), cmp.Compare(x.e.Ts, y.e.Ts))
	})
	for _, x := range b.exemplars {
		s := b.series[x.series]
		if ref := storage.SeriesRef(s.ref.Load()); ref != 0 && x.e.Ts <= newest && x.e.Labels.IsValid(model.UTF8Validation) {
			if _, err := app.AppendExemplar(ref, s.labels, x.e); err == nil {
				b.out.Exemplars++
				continue
			}
		}
		b.count("exemplar")
	}
	if err := app.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for _, e := range b.fresh {
		if e.same.ref.Load() != 0 {
			b.s.remember(e, b.epoch)
		}
	}
	return nil
}

func (b *Batch) stored(p *sinkPoint) {
	if p.hist > 0 {
		b.out.Histograms++
	} else {
		b.out.Samples++
	}
}

// same reports whether two points of a series at one time say the same.
func (b *Batch) same(p, q *sinkPoint) bool {
	if p.hist == 0 || q.hist == 0 {
		return p.hist == q.hist && sameBits(p.v, q.v)
	}
	x, y := &b.hists[p.hist-1], &b.hists[q.hist-1]
	switch {
	case x.h != nil && y.h != nil:
		return x.h.Equals(y.h)
	case x.fh != nil && y.fh != nil:
		return x.fh.Equals(y.fh)
	}
	return false
}

// seriesIndex numbers the series of a batch. It is a hash table on pointers with
// a generation, so that a reset costs nothing.
type seriesIndex struct {
	slots []indexSlot // a power of two
	n     int32
	gen   uint32
}

type indexSlot struct {
	s   *sinkSeries
	at  int32
	gen uint32
}

func (x *seriesIndex) reset() {
	x.n = 0
	x.gen++
	if x.gen == 0 || len(x.slots) > 1<<20 {
		x.slots, x.gen = nil, 0
	}
}

// of returns the number of s, and whether it is new.
func (x *seriesIndex) of(s *sinkSeries) (at int32, isNew bool) {
	if int(x.n)*2 >= len(x.slots) {
		old := x.slots
		x.slots = make([]indexSlot, max(1024, 2*len(old)))
		for _, o := range old {
			if o.s != nil && o.gen == x.gen {
				*x.slot(o.s) = o
			}
		}
	}
	p := x.slot(s)
	if p.s == s && p.gen == x.gen {
		return p.at, false
	}
	*p = indexSlot{s, x.n, x.gen}
	x.n++
	return p.at, true
}

// slot is where s stands, or is to stand.
func (x *seriesIndex) slot(s *sinkSeries) *indexSlot {
	mask := uint64(len(x.slots) - 1)
	i := s.hash & mask
	for {
		p := &x.slots[i]
		if p.s == nil || p.gen != x.gen || p.s == s {
			return p
		}
		i = (i + 1) & mask
	}
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }

// fit lowers a histogram's resolution to what the engine keeps, and refuses
// bucket indexes that its arithmetic does not hold; the rest it checks itself.
func fit(p *sinkHistogram) error {
	var schema int32
	var sides [2][]histogram.Span
	if p.h != nil {
		schema, sides = p.h.Schema, [2][]histogram.Span{p.h.PositiveSpans, p.h.NegativeSpans}
	} else {
		schema, sides = p.fh.Schema, [2][]histogram.Span{p.fh.PositiveSpans, p.fh.NegativeSpans}
	}
	for _, spans := range sides {
		var at int64
		for _, s := range spans {
			at += int64(s.Offset)
			if at < -maxBucket || at+int64(s.Length) > maxBucket {
				return errBucketIndex
			}
			at += int64(s.Length)
		}
	}
	if !histogram.IsExponentialSchemaReserved(schema) || schema <= histogram.ExponentialSchemaMax {
		return nil
	}
	if p.h != nil {
		return p.h.ReduceResolution(histogram.ExponentialSchemaMax)
	}
	return p.fh.ReduceResolution(histogram.ExponentialSchemaMax)
}

// maxBucket keeps the distance of two buckets within an int32. At the finest
// schema that the engine keeps, a float64 has no bucket beyond 2^18.
const maxBucket = 1<<30 - 1

var errBucketIndex = fmt.Errorf("a bucket's index is beyond %d: %w", maxBucket, histogram.ErrHistogramSpansBucketsMismatch)

// reason names why the engine refused a sample; theirs is false for a fault of
// ours, which must be retried.
func (s *Sink) reason(err error) (reason string, theirs bool) {
	if s.cfg.IsLimit(err) {
		return "limit", true
	}
	reason = appendReason(err)
	return reason, reason != "refused_by_store"
}
