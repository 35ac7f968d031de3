package metric

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// The engine loses late samples after a kill -9 in two ways, though they are in
// its log of late samples.
//
// It is killed while it compacts them: at the start of a compaction their chunks
// go to a file through a buffer of the process, and the next late sample of the
// series writes a marker to the log: "all before this is in that file". After the
// kill the marker is there and the buffer is not, and the replay believes the
// marker. A marker names no file position in this case (it is 0), or one that a
// later chunk has taken after a second kill.
//
// Or the kill tears the main log: its repair ends the replay before the log of
// late samples is read at all, and the next compaction of late samples cuts that
// log.
//
// So after an unclean end the samples of the log are read, and those that the
// store does not find are appended again.

// lateSample is one from the log of late samples.
type lateSample struct {
	t  int64
	v  float64
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

type lateSamples map[chunks.HeadSeriesRef][]lateSample

// uncleanEnd reports whether the last process to hold dir did not close it.
func uncleanEnd(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "lock"))
	return err == nil
}

// readLate reads the late samples from the log in dir, and the labels of their
// series. It only reads, and must run before the engine opens dir. A torn tail
// ends it: the engine repairs that.
func readLate(dir string, log *slog.Logger) (lateSamples, map[chunks.HeadSeriesRef]labels.Labels, error) {
	late := lateSamples{}
	dec := record.NewDecoder(nil, log)
	var floats []record.RefSample
	var ints []record.RefHistogramSample
	var fhs []record.RefFloatHistogramSample
	err := eachRecord(filepath.Join(dir, wlog.WblDirName), -1, func(rec []byte) (err error) {
		switch dec.Type(rec) {
		case record.Samples, record.SamplesV2:
			floats, err = dec.Samples(rec, floats[:0])
			for _, s := range floats {
				late[s.Ref] = append(late[s.Ref], lateSample{t: s.T, v: s.V})
			}
		case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
			ints, err = dec.HistogramSamples(rec, ints[:0])
			for _, s := range ints {
				late[s.Ref] = append(late[s.Ref], lateSample{t: s.T, h: s.H})
			}
		case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
			fhs, err = dec.FloatHistogramSamples(rec, fhs[:0])
			for _, s := range fhs {
				late[s.Ref] = append(late[s.Ref], lateSample{t: s.T, fh: s.FH})
			}
		}
		return err
	})
	if err != nil || len(late) == 0 {
		return nil, nil, err
	}
	names := make(map[chunks.HeadSeriesRef]labels.Labels, len(late))
	wal := filepath.Join(dir, "wal")
	series := func(rec []byte) error {
		if dec.Type(rec) != record.Series {
			return nil
		}
		ss, err := dec.Series(rec, nil)
		for _, s := range ss {
			if late[s.Ref] != nil {
				names[s.Ref] = s.Labels
			}
		}
		return err
	}
	checkpoint, last, err := wlog.LastCheckpoint(wal)
	switch {
	case errors.Is(err, record.ErrNotFound):
		last = -1
	case err != nil:
		return nil, nil, err
	default:
		if err := eachRecord(checkpoint, -1, series); err != nil {
			return nil, nil, err
		}
	}
	return late, names, eachRecord(wal, last+1, series)
}

// eachRecord calls f with every record of the log in dir from a segment on, to
// the end or to where it is torn. No such directory has no records.
func eachRecord(dir string, from int, f func([]byte) error) error {
	rc, err := wlog.NewSegmentsRangeReader(wlog.SegmentRange{Dir: dir, First: from, Last: -1})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer rc.Close()
	r := wlog.NewReader(rc)
	for r.Next() {
		if err := f(r.Record()); err != nil {
			return err
		}
	}
	return nil
}

// restoreLate appends the samples that the store does not hold and returns how
// many there were.
func (s *Store) restoreLate(cfg Config, late lateSamples, names map[chunks.HeadSeriesRef]labels.Labels) (int, error) {
	oldest := int64(math.MaxInt64)
	for ref, ss := range late {
		ls, known := names[ref]
		if !known {
			delete(late, ref) // the series has gone with all its samples
			continue
		}
		missing, err := s.notHeld(ls, ss)
		if err != nil {
			return 0, err
		}
		if late[ref] = missing; len(missing) == 0 {
			delete(late, ref)
		}
		for _, p := range missing {
			oldest = min(oldest, p.t)
		}
	}
	if len(late) == 0 {
		return 0, nil
	}
	// They were in time when they came; the newest sample may have moved on.
	wide := cfg
	wide.OutOfOrder = max(cfg.OutOfOrder, millis(s.db.Head().MaxTime()-oldest+1))
	if err := s.apply(wide); err != nil {
		return 0, err
	}
	app, n := s.db.Appender(context.Background()), 0
	var errs []error
	for ref, ss := range late {
		for _, p := range ss {
			var err error
			if p.h != nil || p.fh != nil {
				_, err = app.AppendHistogram(0, names[ref], p.t, p.h, p.fh)
			} else {
				_, err = app.Append(0, names[ref], p.t, p.v)
			}
			if err == nil {
				n++
			} else if !errors.Is(err, storage.ErrDuplicateSampleForTimestamp) {
				errs = append(errs, fmt.Errorf("series %s: %w", names[ref], err))
			}
		}
	}
	errs = append(errs, app.Commit(), s.apply(cfg))
	return n, errors.Join(errs...)
}

// notHeld returns those samples of a series at whose time the store has none.
func (s *Store) notHeld(ls labels.Labels, ss []lateSample) ([]lateSample, error) {
	mint, maxt := ss[0].t, ss[0].t
	for _, p := range ss {
		mint, maxt = min(mint, p.t), max(maxt, p.t)
	}
	q, err := s.db.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	var ms []*labels.Matcher
	ls.Range(func(l labels.Label) {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value))
	})
	held := map[int64]bool{}
	set := q.Select(context.Background(), false, nil, ms...)
	for set.Next() {
		if !labels.Equal(set.At().Labels(), ls) {
			continue
		}
		it := set.At().Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			held[it.AtT()] = true
		}
		if it.Err() != nil {
			return nil, it.Err()
		}
	}
	var out []lateSample
	for _, p := range ss {
		if !held[p.t] {
			held[p.t] = true
			out = append(out, p)
		}
	}
	return out, set.Err()
}
