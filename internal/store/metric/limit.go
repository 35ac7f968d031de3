package metric

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// Limits bound what one tenant's store takes. Zero means the default, a
// negative number no limit.
type Limits struct {
	MaxSeries     int `yaml:"max_series"`            // series in memory; default 2,000,000
	MaxLabels     int `yaml:"max_labels"`            // labels of a series, name included; default 64
	MaxLabelName  int `yaml:"max_label_name_bytes"`  // default 1,024
	MaxLabelValue int `yaml:"max_label_value_bytes"` // default 4,096
}

func (l Limits) withDefaults() Limits {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&l.MaxSeries, 2_000_000)
	def(&l.MaxLabels, 64)
	def(&l.MaxLabelName, 1024)
	def(&l.MaxLabelValue, 4096)
	return l
}

// The limits' names, as in metrics and config.
const (
	LimitSeries     = "max_series"
	LimitLabels     = "max_labels"
	LimitLabelName  = "max_label_name_bytes"
	LimitLabelValue = "max_label_value_bytes"
)

var limitNames = []string{LimitSeries, LimitLabels, LimitLabelName, LimitLabelValue}

// LimitError refuses a sample; it says which setting to raise.
type LimitError struct {
	Limit string
	Value int
	What  string // what was over the limit
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: over the limit %s = %d; send less or raise limits.%s", e.What, e.Limit, e.Value, e.Limit)
}

// IsLimit reports whether err comes from a limit.
func IsLimit(err error) bool {
	var e *LimitError
	return errors.As(err, &e)
}

// check refuses a series that is over a limit. ref is 0 for one that the caller
// has not written before; lookup tells whether the store knows it.
func (s *Store) check(ref storage.SeriesRef, ls labels.Labels, lookup storage.GetRef) error {
	if s.logs.known.Load() {
		return errBroken
	}
	l := s.limits.Load()
	if ref == 0 {
		if n := ls.Len(); l.MaxLabels > 0 && n > l.MaxLabels {
			return s.refuse(LimitLabels, l.MaxLabels, fmt.Sprintf("series %s has %d labels", short(ls), n))
		}
		var err error
		ls.Range(func(lb labels.Label) {
			if err != nil {
				return
			}
			if l.MaxLabelName > 0 && len(lb.Name) > l.MaxLabelName {
				err = s.refuse(LimitLabelName, l.MaxLabelName, fmt.Sprintf("series %s: a label name of %d bytes", short(ls), len(lb.Name)))
			} else if l.MaxLabelValue > 0 && len(lb.Value) > l.MaxLabelValue {
				err = s.refuse(LimitLabelValue, l.MaxLabelValue, fmt.Sprintf("series %s: label %s with a value of %d bytes", short(ls), lb.Name[:min(len(lb.Name), 64)], len(lb.Value)))
			}
		})
		if err != nil {
			return err
		}
	}
	// A reference may be of a series that has gone meanwhile (a scrape keeps
	// them), so that at the limit only the labels tell what is known.
	if l.MaxSeries > 0 && s.db.Head().NumSeries() >= uint64(l.MaxSeries) {
		if known, _ := lookup.GetRef(ls, ls.Hash()); known == 0 {
			return s.refuse(LimitSeries, l.MaxSeries, fmt.Sprintf("new series %s", short(ls)))
		}
	}
	return nil
}

func (s *Store) refuse(limit string, value int, what string) error {
	s.hits.With(limit).Inc()
	return &LimitError{Limit: limit, Value: value, What: what}
}

// short renders a series for an error text.
func short(ls labels.Labels) string {
	t := ls.String()
	if len(t) > 200 {
		t = t[:200] + "…"
	}
	return t
}

// Appender returns a transaction within the limits. A refused sample is an
// error of its Append; the others of the transaction go on.
func (s *Store) Appender(ctx context.Context) storage.Appender {
	a := s.db.Appender(ctx)
	return &appender{Appender: a, s: s, known: a.(storage.GetRef)}
}

// AppenderV2 is Appender in the engine's newer form.
func (s *Store) AppenderV2(ctx context.Context) storage.AppenderV2 {
	a := s.db.AppenderV2(ctx)
	return &appenderV2{AppenderV2: a, s: s, known: a.(storage.GetRef)}
}

type appender struct {
	storage.Appender
	s     *Store
	known storage.GetRef
	taken
}

func (a *appender) GetRef(ls labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	return a.known.GetRef(ls, hash)
}

func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	if err := a.s.check(ref, ls, a.known); err != nil {
		return 0, err
	}
	a.took(t)
	return a.Appender.Append(ref, ls, t, v)
}

func (a *appender) AppendHistogram(ref storage.SeriesRef, ls labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	if err := a.s.check(ref, ls, a.known); err != nil {
		return 0, err
	}
	a.took(t)
	return a.Appender.AppendHistogram(ref, ls, t, h, fh)
}

type appenderV2 struct {
	storage.AppenderV2
	s     *Store
	known storage.GetRef
	taken
}

func (a *appenderV2) GetRef(ls labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	return a.known.GetRef(ls, hash)
}

func (a *appenderV2) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AppendV2Options) (storage.SeriesRef, error) {
	if err := a.s.check(ref, ls, a.known); err != nil {
		return 0, err
	}
	a.took(t)
	return a.AppenderV2.Append(ref, ls, st, t, v, h, fh, o)
}

// taken is what a transaction has handed to the engine.
type taken struct {
	n        int
	earliest int64 // when n > 0
}

func (k *taken) took(t int64) {
	if k.n == 0 || t < k.earliest {
		k.earliest = t
	}
	k.n++
}
