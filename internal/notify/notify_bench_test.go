package notify_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/record"
)

// BenchmarkFire is an alert of its own group from Put to the receiver.
func BenchmarkFire(b *testing.B) {
	r := open(b, filepath.Join(b.TempDir(), "state.db"), strings.Replace(webhookConfig("http://127.0.0.1:1"), "group_interval: 20ms", "group_interval: 1h", 1))
	var told atomic.Int64
	done := make(chan struct{})
	r.Replace("hook", "webhook[0]", func(context.Context, string) (bool, error) {
		if told.Add(1) == int64(b.N) {
			close(done)
		}
		return false, nil
	})
	r.run()
	alerts := make([]record.Alert, b.N)
	for i := range alerts {
		alerts[i] = firing("alertname", fmt.Sprint("Down", i))
		alerts[i].EndsAt = time.Now().Add(time.Hour)
	}
	b.ResetTimer()
	r.put(alerts...)
	for r.outbox().Counts[notify.Pending]+int(told.Load()) < b.N {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "us/decided")
	<-done
}

// BenchmarkResend is an evaluation's resending of 1,000 firing alerts.
func BenchmarkResend(b *testing.B) {
	r := open(b, filepath.Join(b.TempDir(), "state.db"), "").run()
	alerts := make([]record.Alert, 1000)
	for i := range alerts {
		alerts[i] = firing("alertname", fmt.Sprint("Down", i))
	}
	r.put(alerts...)
	b.ReportAllocs()
	for b.Loop() {
		end := time.Now().Add(time.Minute)
		for i := range alerts {
			alerts[i].EndsAt = end
		}
		r.put(alerts...)
	}
}
