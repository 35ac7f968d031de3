package ingest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
)

// BenchmarkStatsD takes packets of 10 lines of 10,000 known series. One op is one
// line.
func BenchmarkStatsD(b *testing.B) {
	for _, kind := range []string{"c|@0.1", "g", "ms", "s"} {
		b.Run(kind[:1], func(b *testing.B) {
			counts := ingest.NewCounts(instrument.New(instrument.Config{}))
			s := ingest.NewStatsD(ingest.NewSink(&samples{}, ingest.SinkConfig{}, counts), ingest.StatsDConfig{}, counts, quietLog())
			packets := make([][]byte, 1000)
			for i := range packets {
				for k := range 10 {
					packets[i] = fmt.Appendf(packets[i], "http.request.duration:%d|%s|#service:cart,route:/api/%d,pod:p-%d\n", 10+k, kind, k, i)
				}
				s.ServePacket(b.Context(), packets[i])
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if i%10 == 0 {
						s.ServePacket(b.Context(), packets[i/10%len(packets)])
					}
				}
			})
		})
	}
}

// BenchmarkStatsDFlush flushes 10,000 counters and 10,000 timers. One op is one
// flush.
func BenchmarkStatsDFlush(b *testing.B) {
	counts := ingest.NewCounts(instrument.New(instrument.Config{}))
	s := ingest.NewStatsD(ingest.NewSink(&nothing{}, ingest.SinkConfig{MaxFuture: 1e18}, counts), ingest.StatsDConfig{Expire: 1e18}, counts, quietLog())
	for i := range 10_000 {
		for v := range 20 {
			s.ServePacket(b.Context(), fmt.Appendf(nil, "c:1|c|#i:%d\nt:%d|ms|#i:%d", i, v*v, i))
		}
	}
	b.ReportAllocs()
	at := time.Now()
	for b.Loop() {
		at = at.Add(10 * time.Second)
		if err := s.Flush(b.Context(), at); err != nil {
			b.Fatal(err)
		}
	}
}
