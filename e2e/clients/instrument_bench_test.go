package clients

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	gometrics "github.com/rcrowley/go-metrics"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/vedette-sre/vedette/instrument"
)

// Each benchmark does the same with four libraries: ours, rcrowley/go-metrics,
// prometheus/client_golang and OpenTelemetry's SDK. Compare lines of one run.

// each runs f on one goroutine and on all processors.
func each(b *testing.B, name string, f func()) {
	b.Run(name+"/one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
	})
	b.Run(name+"/parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				f()
			}
		})
	})
}

func otelMeter() metric.Meter {
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())).Meter("bench")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func BenchmarkCounter(b *testing.B) {
	ours := instrument.New(instrument.Config{}).Counter("c", "k", "v")
	theirs := gometrics.NewCounter()
	prom := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "c"}, []string{"k"}).WithLabelValues("v")
	otel := must(otelMeter().Int64Counter("c"))
	set := metric.WithAttributeSet(attribute.NewSet(attribute.String("k", "v")))
	ctx := context.Background()
	each(b, "vedette", ours.Inc)
	each(b, "go-metrics", func() { theirs.Inc(1) })
	each(b, "client_golang", prom.Inc)
	each(b, "otel", func() { otel.Add(ctx, 1, set) })
}

// The values of the tags come with each event.
func BenchmarkCounterWithTags(b *testing.B) {
	ours := instrument.New(instrument.Config{}).CounterVec("c", "method", "code")
	prom := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "c"}, []string{"method", "code"})
	otel := must(otelMeter().Int64Counter("c"))
	theirs := gometrics.NewRegistry()
	ctx := context.Background()
	each(b, "vedette", func() { ours.With("GET", "200").Inc() })
	each(b, "go-metrics", func() { gometrics.GetOrRegisterCounter("c.GET.200", theirs).Inc(1) }) // it has no tags: the name holds them
	each(b, "client_golang", func() { prom.WithLabelValues("GET", "200").Inc() })
	each(b, "otel", func() {
		otel.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(attribute.String("method", "GET"), attribute.String("code", "200"))))
	})
}

func BenchmarkTimer(b *testing.B) {
	ours := instrument.New(instrument.Config{}).Timer("t")
	theirs := gometrics.NewTimer()
	classic := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "t"})
	native := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "n", NativeHistogramBucketFactor: 1.02, NativeHistogramMaxBucketNumber: 1000})
	otel := must(otelMeter().Float64Histogram("t"))
	set := metric.WithAttributeSet(attribute.NewSet())
	ctx := context.Background()
	i := 0
	next := func() time.Duration { i++; return time.Duration(i%1000) * 100 * time.Microsecond }
	each(b, "vedette", func() { ours.Record(next()) })
	each(b, "go-metrics", func() { theirs.Update(next()) })
	each(b, "client_golang-classic", func() { classic.Observe(next().Seconds()) })
	each(b, "client_golang-native", func() { native.Observe(next().Seconds()) })
	each(b, "otel", func() { otel.Record(ctx, next().Seconds(), set) })
}

func BenchmarkMeter(b *testing.B) {
	ours := instrument.New(instrument.Config{}).Meter("m")
	theirs := gometrics.NewMeter()
	each(b, "vedette", func() { ours.Mark(1) })
	each(b, "go-metrics", func() { theirs.Mark(1) })
}

func BenchmarkSnapshot(b *testing.B) {
	m := instrument.New(instrument.Config{})
	reg := prometheus.NewRegistry()
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "t"}, []string{"k"})
	reg.MustRegister(v)
	for i := range 1000 {
		k := fmt.Sprint(i)
		for j := range 100 {
			d := time.Duration(j) * time.Millisecond
			m.Timer("t", "k", k).Record(d)
			v.WithLabelValues(k).Observe(d.Seconds())
		}
	}
	b.Run("vedette", func(b *testing.B) {
		for b.Loop() {
			m.Snapshot()
		}
	})
	b.Run("client_golang", func(b *testing.B) {
		for b.Loop() {
			_, _ = reg.Gather()
		}
	})
}
