package golden

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/internal/memo"
)

// ClientClosed is the code that a request is counted under when its client left
// before the answer began. It is never sent; nginx uses the same number.
const ClientClosed = 499

type server struct {
	options
	m    *instrument.Registry
	next http.Handler

	inFlight atomic.Int64
	active   memo.Memo[activeKey, *instrument.Gauge]
	series   memo.Memo[serverKey, *serverSeries]
	sessions memo.Memo[sessionKey, *sessionSeries]
}

type activeKey struct{ method, scheme string }

type serverKey struct {
	method, scheme, route string
	code                  int
	failure               string // error.type
}

type serverSeries struct {
	duration *instrument.Timer
	in, out  *instrument.Histogram
}

type sessionKey struct{ kind, route string }

type sessionSeries struct {
	duration *instrument.Timer
	active   *instrument.Gauge
}

// Handler measures next:
//
//   - http.server.request.duration, a timer, http.server.request.body.size and
//     http.server.response.body.size, histograms of bytes, by
//     http.request.method, url.scheme, http.route, http.response.status_code and
//     error.type;
//   - http.server.active_requests, a gauge, by method and scheme;
//   - http.server.session.duration and http.server.active_sessions by
//     session.kind (and the former by http.route).
//
// The route is the pattern of the ServeMux that served the request, without its
// method. next may be the mux or be registered in one. A middleware between the
// two that copies the request (as Request.WithContext does) hides the pattern:
// put Handler within it.
//
// error.type is the code from 500 on; "panic" of a handler that panicked, which
// counts as 500, and the panic goes on; "aborted" of http.ErrAbortHandler; and
// "canceled" when the client left. If it left before the answer began, the code
// is ClientClosed.
//
// What is long by its nature is a session: an upgraded connection such as a
// websocket, one that was hijacked, a tunnel (CONNECT) and an event stream. Its
// request ends when the session begins, so that it does not look like a slow
// request; the session ends when the handler returns.
//
// With MaxInFlight there are http.server.active_requests.limit and
// http.server.saturation, too.
//
// The response writer that next gets has Flush, Hijack and ReadFrom as far as the
// one below has them, and Unwrap for http.ResponseController.
func Handler(m *instrument.Registry, next http.Handler, opts ...Option) http.Handler {
	s := &server{options: makeOptions(pattern, opts), m: m, next: next}
	m.Describe("http.server.request.duration", "seconds", "Time to serve a request.")
	m.Describe("http.server.request.body.size", "bytes", "Size of the bodies of requests.")
	m.Describe("http.server.response.body.size", "bytes", "Size of the bodies of responses.")
	m.Describe("http.server.active_requests", "1", "Requests in work.")
	m.Describe("http.server.session.duration", "seconds", "Time that sessions (upgraded connections, tunnels, event streams) were open.")
	m.Describe("http.server.active_sessions", "1", "Sessions that are open.")
	s.active.New = func(k activeKey) (activeKey, *instrument.Gauge) {
		return k, m.Gauge("http.server.active_requests", tagged(s.tags, "http.request.method", k.method, "url.scheme", k.scheme)...)
	}
	s.series.New = s.newSeries
	s.sessions.New = func(k sessionKey) (sessionKey, *sessionSeries) {
		k.route = strings.Clone(k.route)
		return k, &sessionSeries{
			duration: m.Timer("http.server.session.duration", tagged(s.tags, "session.kind", k.kind, "http.route", k.route)...),
			active:   m.Gauge("http.server.active_sessions", tagged(s.tags, "session.kind", k.kind)...),
		}
	}
	s.saturation(m, "http.server", &s.inFlight)
	return s
}

func (s *server) newSeries(k serverKey) (serverKey, *serverSeries) {
	k.route = strings.Clone(k.route)
	tags := tagged(s.tags, "http.request.method", k.method, "url.scheme", k.scheme, "http.route", k.route,
		"http.response.status_code", codeTag(k.code), "error.type", k.failure)
	return k, &serverSeries{
		duration: s.m.Timer("http.server.request.duration", tags...),
		in:       s.m.Histogram("http.server.request.body.size", tags...),
		out:      s.m.Histogram("http.server.response.body.size", tags...),
	}
}

// pattern is the pattern that matched, without its method: that is a tag too.
func pattern(r *http.Request) string {
	if i := strings.IndexAny(r.Pattern, " \t"); i >= 0 {
		return strings.TrimLeft(r.Pattern[i:], " \t")
	}
	return r.Pattern
}

func (s *server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	k := activeKey{methodTag(r.Method), "http"}
	if r.TLS != nil {
		k.scheme = "https"
	}
	// Not from a pool: a handler may, wrongly, write after it returned, and must
	// not meet another's request.
	w := &writer{ResponseWriter: rw, s: s, r: r, key: k, active: s.active.Get(k), start: time.Now()}
	if r.ContentLength < 0 && r.Body != nil {
		w.body = bodyCount{r.Body, &w.read}
		r.Body = &w.body
	}
	s.inFlight.Add(1)
	w.active.Inc()
	defer w.end()
	s.next.ServeHTTP(w.dress(), r)
	w.returned = true
}

// end counts what the handler did, and lets a panic go on.
func (w *writer) end() {
	thrown := recover()
	switch {
	case w.session != nil:
		w.session.active.Dec()
		w.session.duration.Since(w.sessionStart)
		w.sizes()
	default:
		w.record(thrown)
		w.sizes()
		w.leave()
	}
	if thrown != nil {
		panic(thrown)
	}
}

// leave ends what is in work.
func (w *writer) leave() {
	w.s.inFlight.Add(-1)
	w.active.Dec()
}

// record counts the request under its code and failure.
func (w *writer) record(thrown any) {
	code, failure := w.code, ""
	gone := w.gone || errors.Is(w.r.Context().Err(), context.Canceled)
	switch {
	case thrown != nil && thrown != http.ErrAbortHandler:
		code, failure = http.StatusInternalServerError, "panic"
	case gone:
		// A code that went out before the client left is what the client saw.
		if failure = "canceled"; code == 0 || w.gone {
			code = ClientClosed
		}
	case !w.returned && w.session == nil: // aborted, or runtime.Goexit
		code, failure = http.StatusInternalServerError, "aborted"
	case code == 0 && w.session == nil:
		code = http.StatusOK
	}
	if failure == "" && code >= 500 {
		failure = codeTag(code)
	}
	k := serverKey{method: w.key.method, scheme: w.key.scheme, route: w.s.route(w.r), code: code, failure: failure}
	w.series = w.s.series.Get(k)
	w.series.duration.Since(w.start)
}

// sizes counts the bodies, of which a session's are known at its end.
func (w *writer) sizes() {
	in := w.r.ContentLength
	if in < 0 {
		in = w.read.Load()
	}
	w.series.in.Observe(float64(in))
	out := w.written
	if w.r.Method == http.MethodHead {
		out = 0 // it is not sent
	}
	w.series.out.Observe(float64(out))
}

// begin makes the request a session: the request is over.
func (w *writer) begin(kind string) {
	if w.session != nil {
		return
	}
	w.sessionStart = time.Now()
	w.session = w.s.sessions.Get(sessionKey{kind, w.s.route(w.r)})
	w.session.active.Inc()
	w.record(nil)
	w.leave()
}
