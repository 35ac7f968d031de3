package query_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// BenchmarkFold asks 2,000 series over an hour or six at a step of 30 s, which is
// also the distance of their samples: folded, and of the engine below.
func BenchmarkFold(b *testing.B) {
	s, err := metric.Open(b.TempDir(), metric.Config{}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	base := time.Unix(1_790_000_000, 0)
	for k := range 720 {
		app := s.Appender(context.Background())
		for i := range 2000 {
			ls := labels.FromStrings("__name__", "http_requests_total", "code", fmt.Sprint(200+i%5), "handler", fmt.Sprint("/api/", i%10), "instance", fmt.Sprint("10.0.0.", i/100, ":8080"), "job", fmt.Sprint("job-", i%20), "n", fmt.Sprint(i))
			if _, err := app.Append(0, ls, base.Add(time.Duration(k)*30*time.Second).UnixMilli(), float64(k*(i%17)+k/5)); err != nil {
				b.Fatal(err)
			}
		}
		if err := app.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	end := base.Add(6*time.Hour - 30*time.Second)
	bare := promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})
	defer bare.Close()
	e := query.NewEngines(query.Config{MemoryBytes: -1}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	defer e.Close()
	for _, expr := range []string{`sum by (job) (rate(http_requests_total[5m]))`, `sum(http_requests_total)`, `max by (job) (max_over_time(http_requests_total[5m]))`} {
		for _, span := range []time.Duration{30 * time.Second, time.Hour, 6 * time.Hour} {
			for _, of := range []struct {
				name string
				e    promql.QueryEngine
			}{{"folded", e.Users}, {"engine", bare}} {
				b.Run(fmt.Sprintf("%s/%v/%s", expr, span, of.name), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						q, err := of.e.NewRangeQuery(context.Background(), s, nil, expr, end.Add(-span), end, 30*time.Second)
						if err != nil {
							b.Fatal(err)
						}
						if r := q.Exec(context.Background()); r.Err != nil {
							b.Fatal(r.Err)
						}
						q.Close()
					}
				})
			}
		}
	}
}
