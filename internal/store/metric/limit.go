package metric

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// Limits bound what one tenant's store takes. Zero means the default, a
// negative number no limit.
type Limits struct {
	MaxSeries     int `yaml:"max_series"`            // series in memory; default 2,000,000
	MaxPerMetric  int `yaml:"max_series_per_metric"` // of them, of one metric; default 1,000,000
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
	def(&l.MaxPerMetric, 1_000_000)
	def(&l.MaxLabels, 64)
	def(&l.MaxLabelName, 1024)
	def(&l.MaxLabelValue, 4096)
	return l
}

// The limits' names, as in metrics and config.
const (
	LimitSeries     = "max_series"
	LimitPerMetric  = "max_series_per_metric"
	LimitLabels     = "max_labels"
	LimitLabelName  = "max_label_name_bytes"
	LimitLabelValue = "max_label_value_bytes"
)

var limitNames = []string{LimitSeries, LimitPerMetric, LimitLabels, LimitLabelName, LimitLabelValue}

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

// check refuses a series whose labels are over a limit. ref is 0 for one that the
// caller has not written before. How many series there may be is asked by admit,
// when one would be made.
func (s *Store) check(ref storage.SeriesRef, ls labels.Labels) error {
	if s.logs.known.Load() {
		return errBroken
	}
	if ref != 0 {
		return nil
	}
	l := s.limits.Load()
	if n := ls.Len(); l.MaxLabels > 0 && n > l.MaxLabels {
		return s.refuse(LimitLabels, l.MaxLabels, ls, fmt.Sprintf("series %s has %d labels", short(ls), n))
	}
	var err error
	ls.Range(func(lb labels.Label) {
		if err != nil {
			return
		}
		if l.MaxLabelName > 0 && len(lb.Name) > l.MaxLabelName {
			err = s.refuse(LimitLabelName, l.MaxLabelName, ls, fmt.Sprintf("series %s: a label name of %d bytes", short(ls), len(lb.Name)))
		} else if l.MaxLabelValue > 0 && len(lb.Value) > l.MaxLabelValue {
			err = s.refuse(LimitLabelValue, l.MaxLabelValue, ls, fmt.Sprintf("series %s: label %s with a value of %d bytes", short(ls), lb.Name[:min(len(lb.Name), 64)], len(lb.Value)))
		}
	})
	return err
}

// admit refuses a series that would be one too many, beside the n of its metric.
func (s *Store) admit(ls labels.Labels, metric string, n int) error {
	l := s.limits.Load()
	if all := s.db.Head().NumSeries(); l.MaxSeries > 0 && all >= uint64(l.MaxSeries) {
		return s.refuse(LimitSeries, l.MaxSeries, ls, fmt.Sprintf("new series %s beside %d in memory", short(ls), all))
	}
	if l.MaxPerMetric > 0 && n >= l.MaxPerMetric {
		return s.refuse(LimitPerMetric, l.MaxPerMetric, ls, fmt.Sprintf("new series %s beside %d of metric %s", short(ls), n, metric[:min(len(metric), 64)]))
	}
	return nil
}

func (s *Store) refuse(limit string, value int, ls labels.Labels, what string) error {
	s.hits.With(limit).Inc()
	err := &LimitError{Limit: limit, Value: value, What: what}
	s.refusals.note(limit, ls.Get(labels.MetricName), err)
	return err
}

// Refusal is what a limit has refused of one metric since Open.
type Refusal struct {
	Limit  string    `json:"limit"`
	Metric string    `json:"metric"` // "" for all that the list has no room for
	Count  int64     `json:"count"`  // samples
	Last   time.Time `json:"last"`
	Text   string    `json:"text"` // the last refusal as its sender was told it
}

// keptRefusals bounds the list; metrics refused after it is full share one row
// for each limit.
const keptRefusals = 100

// refusals are safe for concurrent use; the zero value is empty.
type refusals struct {
	mu sync.Mutex
	m  map[[2]string]*refusal
}

type refusal struct {
	count int64
	last  time.Time
	err   *LimitError
}

func (r *refusals) note(limit, metric string, err *LimitError) {
	metric = metric[:min(len(metric), 200)]
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = map[[2]string]*refusal{}
	}
	e := r.m[[2]string{limit, metric}]
	if e == nil {
		if len(r.m) >= keptRefusals {
			metric = ""
			e = r.m[[2]string{limit, ""}]
		}
		if e == nil {
			e = &refusal{}
			r.m[[2]string{limit, strings.Clone(metric)}] = e
		}
	}
	e.count++
	e.last, e.err = time.Now(), err
}

// Refusals lists what limits have refused since Open, the most refused first.
func (s *Store) Refusals() []Refusal {
	r := &s.refusals
	r.mu.Lock()
	out := make([]Refusal, 0, len(r.m))
	for k, e := range r.m {
		out = append(out, Refusal{k[0], k[1], e.count, e.last.UTC(), e.err.Error()})
	}
	r.mu.Unlock()
	slices.SortFunc(out, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Limit, b.Limit), strings.Compare(a.Metric, b.Metric))
	})
	return out
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
	if err := a.s.check(ref, ls); err != nil {
		return 0, err
	}
	got, err := a.Appender.Append(ref, ls, t, v)
	a.took(t, err)
	return got, err
}

func (a *appender) AppendHistogram(ref storage.SeriesRef, ls labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	if err := a.s.check(ref, ls); err != nil {
		return 0, err
	}
	got, err := a.Appender.AppendHistogram(ref, ls, t, h, fh)
	a.took(t, err)
	return got, err
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
	if err := a.s.check(ref, ls); err != nil {
		return 0, err
	}
	got, err := a.AppenderV2.Append(ref, ls, st, t, v, h, fh, o)
	a.took(t, err)
	return got, err
}

// taken is what a transaction has handed to the engine.
type taken struct {
	n        int
	earliest int64 // when n > 0
}

// took counts a sample and the engine's answer to it: one that a limit refused
// was not taken.
func (k *taken) took(t int64, err error) {
	if err != nil && IsLimit(err) {
		return
	}
	if k.n == 0 || t < k.earliest {
		k.earliest = t
	}
	k.n++
}
