package ingest_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// BenchmarkInflux writes requests of 1,000 lines as Telegraf's cpu plugin sends
// them, with 4 tags and 10 fields, of 10,000 known series; to a store that drops
// all, for the cost of the protocol, and to a real one. One op is one sample.
func BenchmarkInflux(b *testing.B) {
	b.Run("discard", func(b *testing.B) { benchmarkInflux(b, &keptSamples{discard: true}) })
	b.Run("store", func(b *testing.B) { benchmarkInflux(b, openStore(b, b.TempDir(), metric.Config{})) })
}

func benchmarkInflux(b *testing.B, app storage.Appendable) {
	const lines, fields = 1000, 10
	i := ingest.NewInflux(ingest.NewSink(app, ingest.SinkConfig{IsLimit: metric.IsLimit, MaxFuture: 1e6 * time.Hour}, ingest.NewCounts(instrument.New(instrument.Config{}))), ingest.InfluxConfig{}, quietLog())
	var body []byte
	var stamps []int // where each line's timestamp is
	for k := range lines {
		body = fmt.Appendf(body, "cpu,cpu=cpu%d,dc=eu-west-%d,env=production,host=web-%03d.example.com ", k%16, k%3, k/16)
		for f, name := range []string{"usage_guest", "usage_guest_nice", "usage_idle", "usage_iowait", "usage_irq", "usage_nice", "usage_softirq", "usage_steal", "usage_system", "usage_user"} {
			if f > 0 {
				body = append(body, ',')
			}
			body = append(append(body, name...), '=')
			v := 0.0
			if f%3 == 2 { // Telegraf writes what the division gives, with all its digits
				v = float64(k*7+f) * 100 / 1377
			}
			body = strconv.AppendFloat(body, v, 'f', -1, 64)
		}
		body = append(body, ' ')
		stamps = append(stamps, len(body))
		body = append(body, "1700000000000000000\n"...)
	}
	now := time.Now().Unix()
	send := func(n int) {
		stamp := strconv.AppendInt(nil, now+int64(n)*10, 10)
		for _, at := range stamps {
			copy(body[at:], stamp)
		}
		w := httptest.NewRecorder()
		i.Write(w, httptest.NewRequest(http.MethodPost, "/write?db=telegraf", bytes.NewReader(body)))
		if w.Code != http.StatusNoContent {
			b.Fatal(w.Code, w.Body)
		}
	}
	send(0)
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for at := 0; at < b.N; at += lines * fields {
		n++
		send(n)
	}
	b.SetBytes(int64(len(body) / lines / fields))
}
