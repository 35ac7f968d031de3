package ingest

import (
	"context"
	"errors"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// CountedV2 counts what is appended through it under a protocol's name: one
// request for each commit.
func CountedV2(to storage.AppendableV2, protocol string, c *Counts) storage.AppendableV2 {
	return countedV2{to, protocol, c}
}

type countedV2 struct {
	to       storage.AppendableV2
	protocol string
	counts   *Counts
}

func (c countedV2) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &countedAppender{AppenderV2: c.to.AppenderV2(ctx), c: c, ctx: ctx}
}

type countedAppender struct {
	storage.AppenderV2
	c        countedV2
	ctx      context.Context // of the transaction
	job      string          // of its first series
	stored   int
	firsts   int
	rejected map[string]int
}

func (a *countedAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AppendV2Options) (storage.SeriesRef, error) {
	if a.stored == 0 && a.rejected == nil {
		a.job = ls.Get(model.JobLabel)
	}
	got, err := a.AppenderV2.Append(ref, ls, st, t, v, h, fh, o)
	var partial *storage.AppendPartialError
	if err == nil || errors.As(err, &partial) {
		a.stored++
		if ref == 0 {
			a.firsts++
		}
		return got, err
	}
	if a.rejected == nil {
		a.rejected = map[string]int{}
	}
	a.rejected[appendReason(err)]++
	return got, err
}

func (a *countedAppender) Commit() error {
	err := a.AppenderV2.Commit()
	if err != nil {
		a.c.counts.AddFrom(a.ctx, a.c.protocol, a.job, 0, 0, map[string]int{"fault": a.stored})
		return err
	}
	a.c.counts.AddFrom(a.ctx, a.c.protocol, a.job, a.stored, a.firsts, a.rejected)
	return nil
}

func (a *countedAppender) Rollback() error {
	if a.stored > 0 || len(a.rejected) > 0 {
		r := map[string]int{"rolled_back": a.stored}
		for k, n := range a.rejected {
			r[k] += n
		}
		a.c.counts.AddFrom(a.ctx, a.c.protocol, a.job, 0, 0, r)
	}
	return a.AppenderV2.Rollback()
}

// appendReason names why the engine refused a sample.
func appendReason(err error) string {
	var herr histogram.Error
	switch {
	case errors.Is(err, storage.ErrTooOldSample):
		return "too_old"
	case errors.Is(err, storage.ErrOutOfOrderSample):
		return "out_of_order"
	case errors.Is(err, storage.ErrOutOfBounds):
		return "out_of_bounds"
	case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
		return "duplicate"
	case errors.Is(err, storage.ErrNativeHistogramsDisabled), errors.As(err, &herr):
		return "invalid_histogram"
	}
	return "refused_by_store"
}
