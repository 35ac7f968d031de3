package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
)

// The load of churn: a fleet whose pods are replaced, a tenth of them an hour.
const (
	churnSeries = 200_000
	churnHours  = 4 // more than the three after which the head is compacted
)

// churn writes hours of data of 200,000 active series, a tenth of which are
// replaced by new ones in an hour, as fast as it is taken, and prints what that
// takes of memory and how long a write of 2,000 samples waited, compaction
// included.
func churn(ctx context.Context, o options) error {
	starts := []func() (*server, error){func() (*server, error) { return startVedette(ctx, o, "") }}
	if o.victoriametrics != "" {
		starts = append(starts, func() (*server, error) { return startVictoriaMetrics(ctx, o) })
	}
	fmt.Printf("\n%d active series, a tenth replaced an hour, %d h at 30 s\n%-46s", churnSeries, churnHours, "")
	var figures [6][]float64
	names := [6]string{"CPU s / M samples", "peak resident MB", "resident MB afterwards", "a write of 2,000 samples, ms: median", "  99 %", "  slowest"}
	for _, start := range starts {
		s, err := start()
		if err != nil {
			return err
		}
		fmt.Printf(" %15s", s.name)
		f, err := churnOne(ctx, s)
		s.stop()
		if err != nil {
			return err
		}
		for i := range f {
			figures[i] = append(figures[i], f[i])
		}
	}
	fmt.Printf(" %12s\n", "to the best")
	for i, f := range figures {
		many(names[i], f, true)
	}
	return nil
}

func churnOne(ctx context.Context, s *server) (f [6]float64, err error) {
	if err := s.settle(ctx); err != nil {
		return f, err
	}
	const batch, steps = 2000, churnHours * 120
	begin := time.Now().Add(-churnHours * time.Hour).Truncate(30 * time.Second)
	part := make([]prompb.TimeSeries, batch)
	for i := range part {
		part[i].Labels = []prompb.Label{{Name: "__name__"}, {Name: "code"}, {Name: "instance"}, {Name: "job"}, {Name: "pod"}}
		part[i].Samples = make([]prompb.Sample, 1)
	}
	var waits []time.Duration
	var raw, packed []byte
	cpu := s.cpu()
	for step := range steps {
		t := begin.Add(time.Duration(step) * 30 * time.Second).UnixMilli()
		for lo := 0; lo < churnSeries; lo += batch {
			for i := range part {
				k := lo + i
				// 1,000 pods of 200 series each. A pod lives for ten hours, which
				// are over at another moment for each.
				pod := k / 200
				life := (step + pod*1200/1000) / 1200
				ls := part[i].Labels
				ls[0].Value = fmt.Sprintf("metric_%d_total", k%40)
				ls[1].Value = [5]string{"200", "201", "400", "404", "500"}[k%200/40]
				ls[2].Value = fmt.Sprintf("10.0.%d.%d:8080", pod/250, pod%250)
				ls[3].Value = fmt.Sprintf("job-%02d", pod%20)
				ls[4].Value = fmt.Sprintf("job-%02d-%08x", pod%20, uint32(pod*7919+life*104729))
				part[i].Samples[0] = prompb.Sample{Timestamp: t, Value: float64(step*(k%17) + k%5)}
			}
			req := prompb.WriteRequest{Timeseries: part}
			n := req.Size()
			raw = slices.Grow(raw[:0], n)[:n]
			if _, err := req.MarshalToSizedBuffer(raw); err != nil {
				return f, err
			}
			packed = snappy.Encode(packed[:cap(packed)], raw)
			from := time.Now()
			if err := s.post(ctx, "/api/v1/write", packed, map[string]string{
				"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0",
			}); err != nil {
				return f, err
			}
			waits = append(waits, time.Since(from))
		}
	}
	slices.Sort(waits)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	f = [6]float64{(s.cpu() - cpu) / (churnSeries * steps) * 1e6, s.peak() / 1e6, s.rss() / 1e6,
		ms(waits[len(waits)/2]), ms(waits[len(waits)*99/100]), ms(waits[len(waits)-1])}
	return f, nil
}
