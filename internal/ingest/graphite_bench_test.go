package ingest_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// memoryConn is a connection whose bytes are all here already.
type memoryConn struct {
	net.Conn
	*strings.Reader
	out strings.Builder
}

func (c *memoryConn) Read(p []byte) (int, error)       { return c.Reader.Read(p) }
func (c *memoryConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *memoryConn) Close() error                     { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

// benchmarkLines sends b.N lines over one connection, which name 10,000 series.
// One op is one line.
func benchmarkLines(b *testing.B, line func(dst []byte, series int, seconds int64) []byte, serve func(*ingest.Sink) func(context.Context, net.Conn)) {
	const series = 10_000
	run := func(b *testing.B, sink *ingest.Sink) {
		serve := serve(sink)
		now := time.Now().Unix()
		round := func(at, n int) string {
			var text []byte
			for i := range n {
				text = line(text, i, now+int64(at))
			}
			return string(text)
		}
		serve(b.Context(), &memoryConn{Reader: strings.NewReader(round(0, series))})
		b.ReportAllocs()
		b.ResetTimer()
		for n, at := 0, 1; n < b.N; n, at = n+series, at+1 {
			b.StopTimer()
			text := round(at*10, min(series, b.N-n))
			b.SetBytes(int64(len(text) / min(series, b.N-n)))
			b.StartTimer()
			c := &memoryConn{Reader: strings.NewReader(text)}
			serve(b.Context(), c)
			if c.out.Len() > 0 {
				b.Fatal(c.out.String())
			}
		}
	}
	cfg := ingest.SinkConfig{IsLimit: metric.IsLimit, MaxFuture: 1e6 * time.Hour}
	b.Run("nostore", func(b *testing.B) {
		run(b, ingest.NewSink(&taken{quiet: true}, cfg, ingest.NewCounts(instrument.New(instrument.Config{}))))
	})
	b.Run("store", func(b *testing.B) {
		run(b, ingest.NewSink(openStore(b, b.TempDir(), metric.Config{}), cfg, ingest.NewCounts(instrument.New(instrument.Config{}))))
	})
}

func BenchmarkGraphite(b *testing.B) {
	plain := func(dst []byte, i int, t int64) []byte {
		return fmt.Appendf(dst, "servers.web-%03d.cpu-%d.cpu-usage_idle %d.25 %d\n", i/10, i%10, i%100, t)
	}
	tagged := func(dst []byte, i int, t int64) []byte {
		return fmt.Appendf(dst, "cpu.usage_idle;cpu=cpu%d;datacenter=fra1;host=web-%03d %d.25 %d\n", i%10, i/10, i%100, t)
	}
	serve := func(cfg ingest.GraphiteConfig) func(*ingest.Sink) func(context.Context, net.Conn) {
		return func(sink *ingest.Sink) func(context.Context, net.Conn) {
			g, err := ingest.NewGraphite(sink, cfg, quietLog())
			if err != nil {
				b.Fatal(err)
			}
			return g.ServeConn
		}
	}
	b.Run("plain", func(b *testing.B) { benchmarkLines(b, plain, serve(ingest.GraphiteConfig{})) })
	b.Run("tagged", func(b *testing.B) { benchmarkLines(b, tagged, serve(ingest.GraphiteConfig{})) })
	b.Run("templates", func(b *testing.B) {
		benchmarkLines(b, plain, serve(ingest.GraphiteConfig{Templates: []string{"servers.* .host.measurement*", "stats.* measurement*"}}))
	})
}

func BenchmarkOpenTSDB(b *testing.B) {
	put := func(dst []byte, i int, t int64) []byte {
		return fmt.Appendf(dst, "put cpu.usage_idle %d %d.25 cpu=cpu%d datacenter=fra1 host=web-%03d\n", t, i%100, i%10, i/10)
	}
	benchmarkLines(b, put, func(sink *ingest.Sink) func(context.Context, net.Conn) {
		return ingest.NewOpenTSDB(sink, ingest.OpenTSDBConfig{}, quietLog()).ServeConn
	})
}
