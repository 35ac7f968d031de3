package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
)

// generator makes a shop's metrics: request counters, latency histograms and
// gauges of 20 jobs. The values do not depend on the clock: two servers get the
// same.
type generator struct {
	series []prompb.TimeSeries
	rate   []float64 // per second; 0 for a gauge
	phase  []float64
}

var bounds = []string{"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"}

func newGenerator(n int) *generator {
	g := &generator{}
	r := rand.New(rand.NewPCG(1, 2))
	add := func(rate float64, ls ...string) {
		var ts prompb.TimeSeries
		for i := 0; i < len(ls); i += 2 {
			ts.Labels = append(ts.Labels, prompb.Label{Name: ls[i], Value: ls[i+1]})
		}
		ts.Samples = make([]prompb.Sample, 1)
		g.series = append(g.series, ts)
		g.rate = append(g.rate, rate)
		g.phase = append(g.phase, r.Float64())
	}
	pairs := max(n/50, 1) // 50 series for each instance
	for i := range pairs {
		job, inst := fmt.Sprintf("job-%02d", i%20), fmt.Sprintf("10.0.%d.%d:8080", i/250, i%250)
		for _, h := range []string{"/api/cart", "/api/order", "/api/price"} {
			for _, c := range []struct {
				code string
				rate float64
			}{{"200", 20}, {"404", 0.5}, {"500", 0.1}} {
				add(c.rate*(0.5+r.Float64()), "__name__", "http_requests_total", "code", c.code, "handler", h, "instance", inst, "job", job)
			}
			total := 0.0
			for b, le := range bounds {
				total += 20 * []float64{.05, .1, .2, .2, .15, .1, .08, .05, .03, .02, .01, .01}[b]
				add(total, "__name__", "http_request_duration_seconds_bucket", "handler", h, "instance", inst, "job", job, "le", le)
			}
		}
		for _, name := range []string{"process_resident_memory_bytes", "go_goroutines", "queue_depth", "workers_busy", "cache_entries"} {
			add(0, "__name__", name, "instance", inst, "job", job)
		}
	}
	return g
}

type usage struct {
	cpu, wall float64
	samples   int
}

// write sends steps from..to of all series in requests of 2,000 samples.
func (g *generator) write(ctx context.Context, s *server, start time.Time, from, to int) (usage, error) {
	u := usage{}
	cpu, wall := s.cpu(), time.Now()
	const batch = 2000
	var buf []byte
	for step := from; step < to; step++ {
		t := start.Add(time.Duration(step) * 30 * time.Second).UnixMilli()
		for lo := 0; lo < len(g.series); lo += batch {
			part := g.series[lo:min(lo+batch, len(g.series))]
			for i := range part {
				k := lo + i
				part[i].Samples[0] = prompb.Sample{Timestamp: t, Value: g.value(k, step)}
			}
			req := prompb.WriteRequest{Timeseries: part}
			b, err := req.Marshal()
			if err != nil {
				return u, err
			}
			buf = snappy.Encode(buf[:cap(buf)], b)
			if err := s.post(ctx, "/api/v1/write", buf, map[string]string{
				"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0",
			}); err != nil {
				return u, err
			}
			u.samples += len(part)
		}
	}
	u.cpu, u.wall = s.cpu()-cpu, time.Since(wall).Seconds()
	return u, nil
}

// value is of a series at a step, a whole number. Counters grow by half to one
// and a half of their rate, as real ones do: even steps would compress to nothing.
func (g *generator) value(k, step int) float64 {
	if g.rate[k] == 0 {
		return float64(int64(100 + 50*g.phase[k] + float64((step*7919+k*31)%97)))
	}
	x := uint64(k)<<32 | uint64(step)
	x = (x ^ x>>31) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float64(int64(g.rate[k] * 30 * (float64(step) + 0.5*float64(x>>11)/(1<<53))))
}
