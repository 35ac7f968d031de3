package query_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	api "github.com/prometheus/prometheus/web/api/v1"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// noOTLP stands where the API wants one.
type noOTLP struct{ storage.AppendableV2 }

// BenchmarkRefresh asks the HTTP API for six hours of 2,000 series, moved on by a
// step each time, as a dashboard does.
func BenchmarkRefresh(b *testing.B) {
	s, err := metric.Open(b.TempDir(), metric.Config{}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const steps = 720 + 40
	base := time.Unix(1_790_000_000, 0)
	for k := range steps {
		app := s.Appender(context.Background())
		for i := range 2000 {
			ls := labels.FromStrings("__name__", "http_requests_total", "code", fmt.Sprint(200+i%5), "handler", fmt.Sprint("/api/", i%10), "instance", fmt.Sprint("10.0.0.", i/10, ":8080"), "job", fmt.Sprint("job-", i%20), "n", fmt.Sprint(i))
			if _, err := app.Append(0, ls, base.Add(time.Duration(k)*30*time.Second).UnixMilli(), float64(k*(i%17)+k/5)); err != nil {
				b.Fatal(err)
			}
		}
		if err := app.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	u, _ := url.Parse("http://127.0.0.1:7575/")
	for _, expr := range []string{`sum by (job) (rate(http_requests_total[5m]))`, `sum by (instance) (rate(http_requests_total[5m]))`} {
		b.Run(expr, func(b *testing.B) {
			b.ReportAllocs()
			var e *query.Engines
			var h http.Handler
			ask := func(n int) {
				from := base.Add(time.Duration(n) * 30 * time.Second)
				r := httptest.NewRequest(http.MethodGet, "/api/v1/query_range?"+url.Values{"query": {expr}, "step": {"30"},
					"start": {fmt.Sprint(from.Unix())}, "end": {fmt.Sprint(from.Add(6 * time.Hour).Unix())}}.Encode(), nil)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
			for n := 0; b.Loop(); n++ {
				if n%39 == 0 {
					b.StopTimer()
					if e != nil {
						e.Close()
					}
					e = query.NewEngines(query.Config{}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
					e.Remember(s)
					h = query.NewAPI("/api/v1", query.APIOptions{Engines: e, Queryable: s, Append: s, OTLP: noOTLP{}, Store: s, Config: func() config.Config { return config.Config{} },
						Runtime: func() (api.RuntimeInfo, error) { return api.RuntimeInfo{}, nil }, Registry: prometheus.NewRegistry(), URL: u, Log: slog.New(slog.DiscardHandler)})
					ask(0)
					b.StartTimer()
				}
				ask(1 + n%39)
			}
			e.Close()
		})
	}
}
