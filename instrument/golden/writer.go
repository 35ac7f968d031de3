package golden

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vedette-sre/vedette/instrument"
)

// writer is the response writer that a handler gets, dressed in what the one
// below can do. As with any response writer, one goroutine uses it at a time.
type writer struct {
	http.ResponseWriter
	s      *server
	r      *http.Request
	key    activeKey
	active *instrument.Gauge
	start  time.Time
	body   bodyCount    // of a request whose length is not known
	read   atomic.Int64 // of it

	code     int  // 0 until the header went out
	gone     bool // the client had left by then
	returned bool // the handler has
	written  int64
	series   *serverSeries

	session      *sessionSeries // nil of a plain request
	sessionStart time.Time
}

// bodyCount counts the bytes read from a body. A proxy may read it in another
// goroutine.
type bodyCount struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *bodyCount) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// What the writer below may be able to do, in the sets that net/http has (HTTP/2
// push is left out: browsers have given it up). Each is one pointer, which an
// interface holds without allocating.
type (
	flusher  struct{ *writer }
	hijacker struct{ flusher }
	http1    struct{ hijacker }
)

// dress returns w with the methods that the writer below has. Hijack and Flush
// may be further down, where http.ResponseController finds them.
func (w *writer) dress() http.ResponseWriter {
	var flush, hijack bool
	for below := w.ResponseWriter; below != nil && !(flush && hijack); {
		_, f := below.(http.Flusher)
		_, fe := below.(interface{ FlushError() error })
		_, h := below.(http.Hijacker)
		flush, hijack = flush || f || fe, hijack || h
		u, ok := below.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		below = u.Unwrap()
	}
	switch {
	case !flush:
		return w
	case hijack:
		if _, ok := w.ResponseWriter.(io.ReaderFrom); ok {
			return http1{hijacker{flusher{w}}}
		}
		return hijacker{flusher{w}}
	default:
		return flusher{w}
	}
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the first final code. 1xx are not final, but for 101.
func (w *writer) WriteHeader(code int) {
	w.ResponseWriter.WriteHeader(code)
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.sent(code)
	}
}

// sent notes that the header goes out.
func (w *writer) sent(code int) {
	if w.code != 0 || w.session != nil {
		return
	}
	w.code = code
	w.gone = errors.Is(w.r.Context().Err(), context.Canceled)
	switch {
	case code == http.StatusSwitchingProtocols:
		w.begin("upgrade")
	case code < 300 && w.r.Method == http.MethodConnect:
		w.begin("tunnel")
	case strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream"):
		w.begin("event-stream")
	}
}

func (w *writer) Write(p []byte) (int, error) {
	w.sent(http.StatusOK)
	n, err := w.ResponseWriter.Write(p)
	w.written += int64(n)
	return n, err
}

// WriteString spares the writer below a copy, if it can be spared.
func (w *writer) WriteString(s string) (int, error) {
	w.sent(http.StatusOK)
	n, err := io.WriteString(w.ResponseWriter, s)
	w.written += int64(n)
	return n, err
}

func (w flusher) Flush() { _ = w.FlushError() } // Flush has no way to tell

// FlushError is Flush for http.ResponseController.
func (w flusher) FlushError() error {
	w.sent(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack makes the request a session, which ends when the handler returns.
func (w hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, b, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil || w.session != nil {
		return c, b, err
	}
	kind := "hijack" // whatever it answers does not pass here: it has no code
	if w.code == 0 && w.r.Header.Get("Upgrade") != "" {
		kind, w.code = "upgrade", http.StatusSwitchingProtocols
	}
	w.begin(kind)
	return c, b, nil
}

// ReadFrom lets the writer below use sendfile.
func (w http1) ReadFrom(src io.Reader) (int64, error) {
	from, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		panic("BUG: dress gave ReadFrom to a writer that has none below")
	}
	// Noted first: the copy may take long, and the client may leave in it.
	gone := errors.Is(w.r.Context().Err(), context.Canceled)
	n, err := from.ReadFrom(src)
	if n > 0 && w.code == 0 {
		w.sent(http.StatusOK)
		w.gone = gone
	}
	w.written += n
	return n, err
}
