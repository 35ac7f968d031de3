// Package export sends what an instrument.Registry holds to where it is wanted:
// Prometheus scrapes it, and OpenTSDB, Graphite, InfluxDB, StatsD and OTLP
// receivers, Vedette among them, are sent it at an interval. It imports the
// standard library alone.
//
//	http.Handle("/metrics", export.Prometheus(m))
//	go export.Run(ctx, m, 10*time.Second, &export.OpenTSDB{Address: "tsd:4242"}, log)
//
// The figures of a distribution have the names that exporters of go-metrics gave
// them: count, sum, min, max, mean, p50, p75, p95, p99, p999; the rates of meters
// and timers are m1_rate, m5_rate, m15_rate and mean_rate, per second.
package export

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/instrument"
)

// Source is what is exported. An *instrument.Registry is one.
type Source interface{ Snapshot() *instrument.Snapshot }

// Exporter sends one snapshot. It is used by one goroutine at a time.
type Exporter interface {
	Export(ctx context.Context, s *instrument.Snapshot) error
}

// Run exports at each multiple of every until ctx ends, and once more then. One
// snapshot is under way at a time: a receiver that is slow or away costs samples,
// never memory, and because counters are cumulative the next one that arrives
// holds what was counted meanwhile. A failure is logged when it begins and when
// it ends.
func Run(ctx context.Context, src Source, every time.Duration, e Exporter, log *slog.Logger) {
	failing := false
	once := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, max(every, time.Second))
		defer cancel()
		err := e.Export(ctx, src.Snapshot())
		switch {
		case err != nil && !failing:
			log.Warn("metrics are not exported", "err", err)
		case err == nil && failing:
			log.Info("metrics are exported again")
		}
		failing = err != nil
	}
	for {
		now := time.Now()
		t := time.NewTimer(now.Truncate(every).Add(every).Sub(now))
		select {
		case <-ctx.Done():
			t.Stop()
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			once(last)
			return
		case <-t.C:
			once(ctx)
		}
	}
}

// quantiles are those of exporters that cannot carry a distribution.
var quantiles = []struct {
	name string
	q    float64
}{{"p50", 0.5}, {"p75", 0.75}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}}

// figures calls f with each figure of a series: one named "" for what has one
// value.
func figures(kind instrument.Kind, s *instrument.Series, f func(name string, v float64)) {
	switch kind {
	case instrument.KindCounter, instrument.KindGauge:
		f("", s.Value)
		return
	case instrument.KindMeter, instrument.KindTimer:
		f("count", s.Value)
		f("m1_rate", s.Rates.M1)
		f("m5_rate", s.Rates.M5)
		f("m15_rate", s.Rates.M15)
		f("mean_rate", s.Rates.Mean)
	case instrument.KindHistogram:
		f("count", s.Value)
	}
	if d := s.Distribution; d != nil {
		f("sum", d.Sum)
		if d.Count > 0 {
			f("min", d.Min)
			f("max", d.Max)
			f("mean", d.Mean())
			for _, q := range quantiles {
				f(q.name, d.Quantile(q.q))
			}
		}
	}
}

// finite reports whether a line protocol can carry v.
func finite(v float64) bool { return v-v == 0 }

// number renders a value: whole numbers without an exponent, as old servers want.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// clean replaces what ok does not allow by an underscore; an empty text becomes
// one too. It is cut at 255 bytes.
func clean(s string, ok func(rune) bool) string {
	if s == "" {
		return "_"
	}
	if len(s) > 255 {
		s = strings.ToValidUTF8(s[:255], "")
	}
	return strings.Map(func(r rune) rune {
		if ok(r) {
			return r
		}
		return '_'
	}, s)
}

// conn is a connection that is made when it is needed and made anew after an
// error.
type conn struct{ net.Conn }

func (c *conn) dial(ctx context.Context, network, address string) error {
	if c.Conn != nil {
		return nil
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return fmt.Errorf("reach %s to export metrics: %w", address, err)
	}
	c.Conn = nc
	return nil
}

func (c *conn) drop() {
	if c.Conn != nil {
		_ = c.Conn.Close()
		c.Conn = nil
	}
}

// write sends b within five seconds, or until ctx ends.
func (c *conn) write(ctx context.Context, b []byte) error {
	deadline := time.Now().Add(5 * time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = c.SetWriteDeadline(deadline) // fails only on a closed connection, as Write will
	if _, err := c.Write(b); err != nil {
		c.drop()
		return fmt.Errorf("export metrics: %w", err)
	}
	return nil
}
