package query_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

func engines(t *testing.T, cfg query.Config) *query.Engines {
	t.Helper()
	e := query.NewEngines(cfg, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	t.Cleanup(e.Close)
	return e
}

func ask(ctx context.Context, e promql.QueryEngine, q storage.Queryable, expr string) error {
	qr, err := e.NewInstantQuery(ctx, q, nil, expr, time.Now())
	if err != nil {
		return err
	}
	defer qr.Close()
	return qr.Exec(ctx).Err
}

// held is a store whose selections wait.
func held(in chan<- struct{}, out <-chan struct{}) storage.Queryable {
	return storage.QueryableFunc(func(int64, int64) (storage.Querier, error) {
		in <- struct{}{}
		<-out
		return storage.NoopQuerier(), nil
	})
}

func TestUsersWaitForASlotAndRulesDoNot(t *testing.T) {
	e := engines(t, query.Config{MaxConcurrent: 1})
	in, out := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() { first <- ask(context.Background(), e.Users, held(in, out), "up") }()
	<-in
	ctx, cancel := context.WithCancel(context.Background())
	second := make(chan error, 1)
	go func() { second <- ask(ctx, e.Users, storage.QueryableFunc(nil), "up") }()
	for e.Waited() == 0 { // it waits now
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-second; !errors.As(err, new(promql.ErrQueryCanceled)) {
		t.Errorf("a query that was cancelled while it waited: got %v", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := ask(ctx, e.Users, storage.QueryableFunc(nil), "up"); !errors.As(err, new(promql.ErrQueryTimeout)) {
		t.Errorf("a query whose time ended while it waited: got %v", err)
	}
	empty := storage.QueryableFunc(func(int64, int64) (storage.Querier, error) { return storage.NoopQuerier(), nil })
	if err := ask(context.Background(), e.Rules, empty, "up"); err != nil {
		t.Errorf("a rule while users hold every slot: got %v", err)
	}
	close(out)
	if err := <-first; err != nil {
		t.Errorf("the first: %v", err)
	}
	if err := ask(context.Background(), e.Users, empty, "up"); err != nil {
		t.Errorf("the slot did not come back: %v", err)
	}
}

func openStore(t *testing.T) *metric.Store {
	t.Helper()
	s, err := metric.Open(t.TempDir(), metric.Config{}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestLimits(t *testing.T) {
	s := openStore(t)
	app := s.Appender(context.Background())
	for i := range 100 {
		if _, err := app.Append(0, labels.FromStrings(labels.MetricName, "m", "i", fmt.Sprint(i)), time.Now().UnixMilli()-1000, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	e := engines(t, query.Config{MaxSamples: 50, Timeout: 50 * time.Millisecond})
	if err := ask(context.Background(), e.Users, s, "m"); !errors.As(err, new(promql.ErrTooManySamples)) {
		t.Errorf("over max_samples: got %v", err)
	}
	if err := ask(context.Background(), e.Users, s, `m{i="1"}`); err != nil {
		t.Errorf("within: got %v", err)
	}
	slow := storage.QueryableFunc(func(int64, int64) (storage.Querier, error) {
		time.Sleep(100 * time.Millisecond)
		return storage.NoopQuerier(), nil
	})
	if err := ask(context.Background(), e.Users, slow, "sum(up)"); !errors.As(err, new(promql.ErrQueryTimeout)) {
		t.Errorf("over timeout: got %v", err)
	}
}

func TestFederateKinds(t *testing.T) {
	s := openStore(t)
	now := time.Now().UnixMilli()
	app := s.Appender(context.Background())
	one := func(name string, t0 int64, v float64) {
		t.Helper()
		if _, err := app.Append(0, labels.FromStrings(labels.MetricName, name, "instance", "i"), t0, v); err != nil {
			t.Fatal(err)
		}
	}
	hist := func(name string, h *histogram.Histogram) {
		t.Helper()
		if _, err := app.AppendHistogram(0, labels.FromStrings(labels.MetricName, name, "instance", "i"), now, h, nil); err != nil {
			t.Fatal(err)
		}
	}
	one("f_gone", now-2000, 1)
	one("f_gone", now-1000, math.Float64frombits(value.StaleNaN))
	one("f_old", now-6*60_000, 1) // older than the lookback
	one("f_nan", now, math.NaN())
	hist("f_custom", &histogram.Histogram{Schema: histogram.CustomBucketsSchema, Count: 6, Sum: 9, PositiveSpans: []histogram.Span{{Length: 3}}, PositiveBuckets: []int64{1, 1, 1}, CustomValues: []float64{1, 2}})
	hist("f_gauge", &histogram.Histogram{CounterResetHint: histogram.GaugeType, Count: 1, Sum: 1, PositiveSpans: []histogram.Span{{Length: 1}}, PositiveBuckets: []int64{1}})
	hist("f_empty", &histogram.Histogram{})
	hist("f_stale", &histogram.Histogram{Sum: math.Float64frombits(value.StaleNaN)})
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	e := engines(t, query.Config{})
	h := query.Federate(s, e.Parser, e.Config.Lookback, func() config.Config { return config.Config{} }, slog.New(slog.DiscardHandler))
	get := func(accept string) (string, map[string]*dto.MetricFamily) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/federate?"+url.Values{"match[]": {`{__name__=~"f_.+"}`, `{__name__="f_nan"}`}}.Encode(), nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("got %d: %s", w.Code, w.Body)
		}
		text, out := w.Body.String(), map[string]*dto.MetricFamily{}
		dec := expfmt.NewDecoder(strings.NewReader(text), expfmt.ResponseFormat(w.Header()))
		for {
			var mf dto.MetricFamily
			if err := dec.Decode(&mf); err != nil {
				return text, out
			}
			out[mf.GetName()] = &mf
		}
	}
	names := func(m map[string]*dto.MetricFamily) []string {
		var out []string
		for n := range m {
			out = append(out, n)
		}
		slices.Sort(out)
		return out
	}
	text, mfs := get("text/plain;version=0.0.4")
	if got := names(mfs); !slices.Equal(got, []string{"f_custom", "f_nan"}) {
		t.Errorf("text: got %q", got)
	}
	for _, l := range []string{`f_custom_bucket{instance="i",le="1"} 1 `, `f_custom_bucket{instance="i",le="2"} 3 `, `f_custom_bucket{instance="i",le="+Inf"} 6 `, `f_custom_count{instance="i"} 6 `, `f_nan{instance="i"} NaN `} {
		if !strings.Contains(text, l) {
			t.Errorf("text does not hold %q:\n%s", l, text)
		}
	}
	if n := strings.Count(text, "\nf_nan{"); n != 1 {
		t.Errorf("two selectors of one series gave %d lines", n)
	}
	_, mfs = get("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	if got := names(mfs); !slices.Equal(got, []string{"f_custom", "f_empty", "f_gauge", "f_nan"}) {
		t.Errorf("protobuf: got %q", got)
	}
	if mfs["f_gauge"].GetType() != dto.MetricType_GAUGE_HISTOGRAM {
		t.Errorf("got %v", mfs["f_gauge"])
	}
	if e := mfs["f_empty"].GetMetric()[0].GetHistogram(); len(e.GetPositiveSpan()) != 1 {
		t.Errorf("an empty native histogram reads as a classic one: %v", e)
	}
}
