package ingest_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// BenchmarkRemoteWrite writes requests of 2,000 samples of 20,000 known series
// into a real store. One op is one sample.
func BenchmarkRemoteWrite(b *testing.B) {
	const series, batch = 20_000, 2_000
	s := openStore(b, b.TempDir(), metric.Config{})
	h := ingest.RemoteWrite(ingest.NewSink(s, ingest.SinkConfig{IsLimit: metric.IsLimit, MaxFuture: 1e6 * time.Hour}, ingest.NewCounts(instrument.New(instrument.Config{}))), ingest.RemoteWriteConfig{}, quietLog())
	reqs := make([]prompb.WriteRequest, series/batch)
	for i := range series {
		ls := []prompb.Label{{Name: "__name__", Value: "http_request_duration_seconds_bucket"}, {Name: "handler", Value: "/api/cart"},
			{Name: "instance", Value: fmt.Sprintf("10.0.%d.%d:8080", i/250%250, i%250)}, {Name: "job", Value: fmt.Sprintf("job-%02d", i%20)}, {Name: "le", Value: fmt.Sprint(i % 12)}}
		r := &reqs[i/batch]
		r.Timeseries = append(r.Timeseries, prompb.TimeSeries{Labels: ls, Samples: make([]prompb.Sample, 1)})
	}
	now := time.Now().UnixMilli()
	var bodies [][]byte
	step := func(n int) {
		bodies = bodies[:0]
		for i := range reqs {
			for k := range reqs[i].Timeseries {
				reqs[i].Timeseries[k].Samples[0] = prompb.Sample{Timestamp: now + int64(n)*30_000, Value: float64(n * k)}
			}
			raw, err := reqs[i].Marshal()
			if err != nil {
				b.Fatal(err)
			}
			body, err := compression.Encode(compression.Snappy, raw, nil)
			if err != nil {
				b.Fatal(err)
			}
			bodies = append(bodies, body)
		}
	}
	send := func(body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusNoContent {
			b.Fatal(w.Code, w.Body)
		}
	}
	step(0)
	for _, body := range bodies {
		send(body)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n, at := 0, 0; n < b.N; n += batch {
		if n%series == 0 {
			b.StopTimer()
			at++
			step(at)
			b.StartTimer()
		}
		send(bodies[n/batch%len(bodies)])
	}
}

// BenchmarkNewSeries writes series that nobody has seen, 2,000 a request. One op
// is one series.
func BenchmarkNewSeries(b *testing.B) {
	const batch = 2_000
	s := openStore(b, b.TempDir(), metric.Config{})
	sink := ingest.NewSink(s, ingest.SinkConfig{IsLimit: metric.IsLimit}, ingest.NewCounts(instrument.New(instrument.Config{})))
	now := time.Now().UnixMilli()
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		bt := sink.Batch("bench")
		for i := range batch {
			bt.Begin("http_request_duration_seconds_bucket")
			bt.Label("instance", fmt.Sprint(n+i))
			bt.Label("job", "some-job")
			bt.Label("le", "0.5")
			bt.Point(0, now, 1)
		}
		if _, err := bt.Commit(b.Context()); err != nil {
			b.Fatal(err)
		}
		bt.Free()
	}
}
