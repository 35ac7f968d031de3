// Package goldengrpc measures the golden signals of gRPC servers and clients. It
// is beside package golden because it brings google.golang.org/grpc with it.
//
//	srv := grpc.NewServer(grpc.StatsHandler(goldengrpc.Server(m)))
//	conn, err := grpc.NewClient(target, grpc.WithStatsHandler(goldengrpc.Client(m)))
//
// The names and tags are those of the OpenTelemetry semantic conventions for RPC
// (https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/), version 1.45, as
// far as these have one. SIDE is server or client:
//
//   - rpc.SIDE.call.duration, a timer, by rpc.system.name ("grpc"), rpc.method,
//     rpc.response.status_code ("OK", "NOT_FOUND") and error.type. A stream lasts
//     until its end;
//   - rpc.SIDE.active_calls, a gauge, by rpc.method;
//   - rpc.SIDE.messages.received and .sent, counters, and
//     rpc.SIDE.bytes.received and .sent, counters of bytes as they go over the
//     wire, compressed and with the frame of the message; by rpc.method.
//
// error.type is the code of a call that failed: on a client every code but OK, on
// a server those that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED,
// UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS.
package goldengrpc

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/internal/memo"
)

// other is the method of a call of none that the server has, and a code that gRPC
// does not know.
const other = "_OTHER"

// Option is a property of a handler.
type Option func(*handler)

// Tags are further tags of all series, keys and values in turn. gRPC does not tell
// a stats.Handler what its connection was made for; a client that calls several
// servers tells them apart by a handler each:
//
//	goldengrpc.Client(m, goldengrpc.Tags("server.address", "orders.internal"))
func Tags(kv ...string) Option { return func(h *handler) { h.tags = append(h.tags, kv...) } }

// Methods has f say which full methods ("/package.Service/Method") get a tag of
// their own; the others are "_OTHER". A server knows its methods without it, but
// for one with grpc.UnknownServiceHandler, such as a proxy, which takes any.
func Methods(f func(fullMethod string) bool) Option { return func(h *handler) { h.known = f } }

// Server measures a server. A call of a method that it does not have counts to the
// method "_OTHER" with UNIMPLEMENTED.
func Server(m *instrument.Registry, opts ...Option) stats.Handler {
	return newHandler(m, "server", opts)
}

// Client measures the connections of a client. What gRPC tries again by a retry
// policy counts as a call each time.
func Client(m *instrument.Registry, opts ...Option) stats.Handler {
	return newHandler(m, "client", opts)
}

type handler struct {
	m       *instrument.Registry
	side    string // "server" or "client"
	tags    []string
	known   func(fullMethod string) bool
	methods memo.Memo[string, *method]
}

// method is the series of one method.
type method struct {
	active                  *instrument.Gauge
	messagesIn, messagesOut *instrument.Counter
	bytesIn, bytesOut       *instrument.Counter
	duration                memo.Memo[codes.Code, *instrument.Timer]
}

// call is a call under way. A stream is sent to and received from at once.
type call struct {
	fullMethod string
	method     *method // nil until it is known to exist
	start      time.Time
}

func newHandler(m *instrument.Registry, side string, opts []Option) *handler {
	h := &handler{m: m, side: side, tags: []string{"rpc.system.name", "grpc"}}
	for _, o := range opts {
		o(h)
	}
	h.methods.New = h.newMethod
	m.Describe(h.name("call.duration"), "seconds", "Time from the begin of a call to its end.")
	m.Describe(h.name("active_calls"), "1", "Calls under way.")
	m.Describe(h.name("messages.received"), "1", "Messages received.")
	m.Describe(h.name("messages.sent"), "1", "Messages sent.")
	m.Describe(h.name("bytes.received"), "bytes", "Bytes of messages received, as on the wire.")
	m.Describe(h.name("bytes.sent"), "bytes", "Bytes of messages sent, as on the wire.")
	return h
}

func (h *handler) name(what string) string { return "rpc." + h.side + "." + what }

func (h *handler) newMethod(fullMethod string) (string, *method) {
	fullMethod = strings.Clone(fullMethod)
	tags := append(h.tags[:len(h.tags):len(h.tags)], "rpc.method", strings.TrimPrefix(fullMethod, "/"))
	x := &method{
		active:      h.m.Gauge(h.name("active_calls"), tags...),
		messagesIn:  h.m.Counter(h.name("messages.received"), tags...),
		messagesOut: h.m.Counter(h.name("messages.sent"), tags...),
		bytesIn:     h.m.Counter(h.name("bytes.received"), tags...),
		bytesOut:    h.m.Counter(h.name("bytes.sent"), tags...),
	}
	x.duration.New = func(c codes.Code) (codes.Code, *instrument.Timer) {
		code := codeName(c)
		t := append(tags[:len(tags):len(tags)], "rpc.response.status_code", code)
		if h.failed(c) {
			t = append(t, "error.type", code)
		}
		return c, h.m.Timer(h.name("call.duration"), t...)
	}
	return fullMethod, x
}

// method returns the series of a method that the server, or the client's stub, has.
func (h *handler) method(fullMethod string) *method {
	if h.known != nil && !h.known(fullMethod) {
		fullMethod = other
	}
	return h.methods.Get(fullMethod)
}

// failed reports whether a call with this code is an error of this side.
func (h *handler) failed(c codes.Code) bool {
	if h.side == "client" {
		return c != codes.OK
	}
	switch c {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	}
	return false
}

// TagRPC begins a call.
func (h *handler) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	// The key is the handler: a server may have several, and its calls make others.
	return context.WithValue(ctx, h, &call{fullMethod: info.FullMethodName, start: time.Now()})
}

// HandleRPC counts what happens in a call.
func (h *handler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	c, ok := ctx.Value(h).(*call)
	if !ok {
		return // not tagged by this handler
	}
	switch s := s.(type) {
	case *stats.Begin: // of a server: it has the method
		c.method = h.method(c.fullMethod)
		c.method.active.Inc()
	case *stats.InPayload:
		c.method.messagesIn.Inc()
		c.method.bytesIn.Add(uint64(s.WireLength))
	case *stats.OutPayload:
		c.method.messagesOut.Inc()
		c.method.bytesOut.Add(uint64(s.WireLength))
	case *stats.OutTrailer:
		// A server that has no such method answers without Begin and End.
		if !s.Client && c.method == nil {
			h.methods.Get(other).duration.Get(codes.Unimplemented).Since(c.start)
		}
	case *stats.End:
		c.method.active.Dec()
		c.method.duration.Get(min(status.Code(s.Error), codes.Code(len(codeNames)))).Since(c.start)
	}
}

// TagConn does nothing: connections are not measured.
func (h *handler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing.
func (h *handler) HandleConn(context.Context, stats.ConnStats) {}

// codeNames are the codes as the protocol spells them.
// https://grpc.io/docs/guides/status-codes/
var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
	"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// codeName is the name of a code. A peer may send any number.
func codeName(c codes.Code) string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return other
}
