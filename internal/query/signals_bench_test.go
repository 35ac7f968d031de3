package query_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// BenchmarkSignals measures recognition among 100,000 series: 50 services of 1,000
// request series each, half of the store, and as many that tell of nothing.
func BenchmarkSignals(b *testing.B) {
	r := newRig(b, metric.Config{}, -1)
	app := r.store.Appender(context.Background())
	const x = "http_server_request_duration_seconds"
	var all []labels.Labels
	for s := range 50 {
		job := fmt.Sprintf("service-%02d", s)
		for route := range 20 {
			for _, code := range []string{"200", "404", "500", "503", "301"} {
				id := []string{"job", job, "http_route", fmt.Sprintf("/r%02d", route), "http_response_status_code", code}
				for _, le := range []string{"0.01", "0.05", "0.1", "0.5", "1", "2", "5", "+Inf"} {
					all = append(all, ls(append([]string{"__name__", x + "_bucket", "le", le}, id...)...))
				}
				all = append(all, ls(append([]string{"__name__", x + "_count"}, id...)...), ls(append([]string{"__name__", x + "_sum"}, id...)...))
			}
		}
	}
	for i := range 50_000 {
		all = append(all, ls("__name__", fmt.Sprintf("other_%d", i%100), "job", "other", "n", fmt.Sprint(i)))
	}
	for i := range 20 {
		at := signalsEnd.Add(-time.Duration(19-i) * 15 * time.Second)
		for _, l := range all {
			if _, err := app.Append(0, l, at.UnixMilli(), float64(i)); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := app.Commit(); err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	es := r.entities()
	if len(es) != 50 {
		b.Fatalf("found %d, want 50", len(es))
	}
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			if _, err := query.Entities(ctx, r.store, signalsEnd); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("overview", func(b *testing.B) {
		for b.Loop() {
			if _, err := query.Overview(ctx, r.store, signalsEnd, es); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("figures", func(b *testing.B) {
		fs, err := query.Overview(ctx, r.store, signalsEnd, es)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			for _, f := range fs {
				if len(r.value(f.Expr)) == 0 {
					b.Fatalf("no data for %s", f.Expr)
				}
			}
		}
	})
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			e, err := query.EntityOf(ctx, r.store, signalsEnd, query.KindService, map[string]string{"job": "service-07"})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := e.Panels(ctx, r.store, signalsEnd, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}
