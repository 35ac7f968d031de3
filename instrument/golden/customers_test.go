package golden

import (
	"fmt"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/instrument"
)

// A review holds up who has no series; here all places and sketches are full.
func BenchmarkStageReview(b *testing.B) {
	for _, k := range []int{20, 200} {
		b.Run(fmt.Sprintf("k=%d", k), func(b *testing.B) {
			m := instrument.New(instrument.Config{})
			defer m.Close()
			s := NewStage(m, "s", k)
			for i := range 20 * k {
				s.In(fmt.Sprint(i)).Fail("schema")
			}
			cs := s.customers
			b.ReportAllocs()
			for b.Loop() {
				cs.mu.Lock()
				cs.review(time.Now())
				cs.mu.Unlock()
			}
		})
	}
}
