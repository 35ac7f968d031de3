package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// exchangeHTTP2 sends the request over a connection on which the server chose
// h2. The framing is net/http's; the connection and its phases are ours.
func (r *run) exchangeHTTP2(conn *tls.Conn, hop *record.Hop, q request) (*reply, *failure) {
	used := false
	t := &http.Transport{
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHead,
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			if used {
				return nil, errors.New("the server closed the connection before the request was sent")
			}
			used = true
			return conn, nil
		},
	}
	defer t.CloseIdleConnections()

	// The transport's own goroutine calls these.
	var mu sync.Mutex
	start, first := time.Now(), time.Time{}
	ctx := httptrace.WithClientTrace(r.ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() {
			mu.Lock()
			defer mu.Unlock()
			first = time.Now()
		},
	})
	req := r.build(q).WithContext(ctx)
	req.Close = false
	head, err := t.RoundTrip(req)
	mu.Lock()
	began := first
	mu.Unlock()
	if err != nil {
		end(hop, record.Processing, start, true)
		return nil, r.silenceFailure(hop, err)
	}
	defer head.Body.Close()
	if began.Before(start) {
		began = time.Now() // an early reply, or a transport that does not say
	}
	hop.Phases[record.Processing] = record.PhaseTime{State: record.Done, Duration: began.Sub(start)}
	return r.take(hop, head, began)
}
