package probe

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http/httptrace"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/vedette-sre/vedette/internal/record"
)

// exchangeHTTP2 sends the request over a connection on which the server chose
// h2. The framing is golang.org/x/net's; the connection and its phases are ours.
func (r *run) exchangeHTTP2(conn *tls.Conn, hop *record.Hop, q request) (*reply, *failure) {
	start, first := time.Now(), time.Time{}
	t := &http2.Transport{DisableCompression: true, MaxHeaderListSize: maxHead}
	cc, err := t.NewClientConn(conn) // writes the preface
	if err != nil {
		end(hop, record.Processing, start, true)
		return nil, r.silenceFailure(hop, err)
	}
	defer cc.Close()

	// The connection's own goroutine calls this.
	var mu sync.Mutex
	ctx := httptrace.WithClientTrace(r.ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() {
			mu.Lock()
			defer mu.Unlock()
			first = time.Now()
		},
	})
	req := r.build(q).WithContext(ctx)
	req.Close = false
	head, err := cc.RoundTrip(req)
	mu.Lock()
	began := first
	mu.Unlock()
	if err != nil {
		end(hop, record.Processing, start, true)
		var stream http2.StreamError
		var away http2.GoAwayError
		switch {
		case errors.As(err, &stream):
			return nil, &failure{"processing", "reset", "the server ended the request's stream instead of answering: " + stream.Code.String()}
		case errors.As(err, &away):
			return nil, &failure{"processing", "reset", "the server sent the request away instead of answering: " + away.ErrCode.String()}
		}
		return nil, r.silenceFailure(hop, err)
	}
	defer func(body io.Closer) { body.Close() }(head.Body)
	if began.Before(start) {
		began = time.Now() // an early reply, or a transport that does not say
	}
	hop.Phases[record.Processing] = record.PhaseTime{State: record.Done, Duration: began.Sub(start)}
	return r.take(hop, head, began)
}
