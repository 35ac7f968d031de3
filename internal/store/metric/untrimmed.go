package metric

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// The engine cuts the chunks at the ends of a query's range by adding the rest of
// time to the series' deleted intervals. Where a series has two of those, the
// cut at the newer end panics (tombstones.Intervals.Add, at the version pinned
// here). So once something was deleted, the engine is told not to cut, and the
// samples beyond the range are left out here.

// hasDeletions reports whether any series has deleted intervals.
func (s *Store) hasDeletions() bool {
	if tr, err := s.db.Head().Tombstones(); err != nil || tr.Total() > 0 {
		return true
	}
	for _, b := range s.db.Blocks() {
		if b.Meta().Stats.NumTombstones > 0 {
			return true
		}
	}
	return false
}

// whole returns hints by which chunks are not cut.
func whole(hints *storage.SelectHints, mint, maxt int64) *storage.SelectHints {
	h := storage.SelectHints{Start: mint, End: maxt}
	if hints != nil {
		h = *hints
	}
	h.DisableTrimming = true
	return &h
}

type untrimmed struct {
	storage.Querier
	mint, maxt int64
}

func (q untrimmed) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	h := whole(hints, q.mint, q.maxt)
	return trimmedSet{q.Querier.Select(ctx, sorted, h, ms...), h.Start, h.End}
}

type untrimmedChunks struct {
	storage.ChunkQuerier
	mint, maxt int64
}

// Select gives chunks that may reach beyond the range, as remote read allows.
func (q untrimmedChunks) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.ChunkSeriesSet {
	return q.ChunkQuerier.Select(ctx, sorted, whole(hints, q.mint, q.maxt), ms...)
}

// trimmedSet leaves out the samples beyond mint and maxt.
type trimmedSet struct {
	storage.SeriesSet
	mint, maxt int64
}

func (s trimmedSet) At() storage.Series { return trimmedSeries{s.SeriesSet.At(), s.mint, s.maxt} }

type trimmedSeries struct {
	storage.Series
	mint, maxt int64
}

func (s trimmedSeries) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	t, ok := it.(*trimmedIterator)
	if !ok {
		t = &trimmedIterator{}
	}
	t.Iterator, t.mint, t.maxt = s.Series.Iterator(t.Iterator), s.mint, s.maxt
	return t
}

type trimmedIterator struct {
	chunkenc.Iterator
	mint, maxt int64
}

func (t *trimmedIterator) Next() chunkenc.ValueType {
	v := t.Iterator.Next()
	if v != chunkenc.ValNone && t.AtT() < t.mint {
		v = t.Iterator.Seek(t.mint)
	}
	return t.upTo(v)
}

// timestamp is an int64 by a name that go vet does not take for io.Seeker's.
type timestamp = int64

func (t *trimmedIterator) Seek(at timestamp) chunkenc.ValueType {
	return t.upTo(t.Iterator.Seek(max(at, t.mint)))
}

func (t *trimmedIterator) upTo(v chunkenc.ValueType) chunkenc.ValueType {
	if v != chunkenc.ValNone && t.AtT() > t.maxt {
		return chunkenc.ValNone
	}
	return v
}
