package ingest_test

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// samples is a store that keeps samples as text.
type samples struct{ got []string }

func (s *samples) Appender(context.Context) storage.Appender { return samplesAppender{s: s} }

func (s *samples) sorted() []string {
	sort.Strings(s.got)
	return s.got
}

func join(lines []string) string { return strings.Join(lines, "\n") }

type samplesAppender struct {
	storage.Appender
	s *samples
}

func (samplesAppender) Commit() error   { return nil }
func (samplesAppender) Rollback() error { return nil }

func (a samplesAppender) Append(_ storage.SeriesRef, ls labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	a.s.got = append(a.s.got, fmt.Sprintf("%s %d %v", ls, t, v))
	return 1, nil
}

func (a samplesAppender) AppendHistogram(_ storage.SeriesRef, ls labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	if h != nil {
		if err := h.Validate(); err != nil {
			return 0, err
		}
		fh = h.ToFloat(nil)
	}
	if err := fh.Validate(); err != nil {
		return 0, err
	}
	a.s.got = append(a.s.got, fmt.Sprintf("%s %d %s", ls, t, fh))
	return 1, nil
}

// nothing is a store that takes everything and keeps nothing.
type nothing struct{}

func (nothing) Appender(context.Context) storage.Appender { return nothingAppender{} }

type nothingAppender struct{ storage.Appender }

func (nothingAppender) Commit() error   { return nil }
func (nothingAppender) Rollback() error { return nil }

func (nothingAppender) Append(storage.SeriesRef, labels.Labels, int64, float64) (storage.SeriesRef, error) {
	return 1, nil
}

func (nothingAppender) AppendHistogram(storage.SeriesRef, labels.Labels, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 1, nil
}
