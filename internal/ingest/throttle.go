package ingest

import (
	"fmt"
	"net/http"
	"time"
)

// DefaultConcurrentWrites is how many requests are written at once.
const DefaultConcurrentWrites = 32

// Throttle bounds how many requests of all protocols are written at once. Safe for
// concurrent use.
type Throttle struct {
	slots  chan struct{}
	counts *Counts
}

// NewThrottle makes a Throttle of n requests; 0 means the default.
func NewThrottle(n int, counts *Counts) *Throttle {
	if n == 0 {
		n = DefaultConcurrentWrites
	}
	return &Throttle{make(chan struct{}, n), counts}
}

// Wrap lets requests through to next when there is room. One that waits for more
// than a second is told 503 with Retry-After.
func (t *Throttle) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case t.slots <- struct{}{}:
		default:
			patience := time.NewTimer(time.Second)
			defer patience.Stop()
			select {
			case t.slots <- struct{}{}:
			case <-r.Context().Done():
				// Nobody may be there to read it; an empty answer would be a 200.
				http.Error(w, "the request ended before its turn", http.StatusServiceUnavailable)
				return
			case <-patience.C:
				t.counts.throttle()
				w.Header().Set("Retry-After", "1")
				http.Error(w, fmt.Sprintf("%d requests are being written already; retry, or raise limits.max_concurrent_writes", cap(t.slots)), http.StatusServiceUnavailable)
				return
			}
		}
		defer func() { <-t.slots }()
		next.ServeHTTP(w, r.WithContext(WithSender(r.Context(), requestSender(r))))
	})
}
