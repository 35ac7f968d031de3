package goldengrpc_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/goldengrpc"
)

// service answers as the test asks it to.
type service struct {
	pb.UnimplementedTestServiceServer
	entered chan struct{}
}

func (s *service) EmptyCall(context.Context, *pb.Empty) (*pb.Empty, error) { return &pb.Empty{}, nil }

// UnaryCall answers with the code of the request.
func (s *service) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	c := codes.Code(r.GetResponseStatus().GetCode())
	if c == codes.DeadlineExceeded {
		<-ctx.Done() // for its deadline, or because the client gave up first
	}
	if c != codes.OK {
		return nil, status.Error(c, "as asked")
	}
	return &pb.SimpleResponse{Payload: r.Payload}, nil
}

// FullDuplexCall answers each message with two.
func (s *service) FullDuplexCall(stream grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	if s.entered != nil {
		close(s.entered)
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for range 2 {
			if err := stream.Send(&pb.StreamingOutputCallResponse{Payload: r.Payload}); err != nil {
				return err
			}
		}
	}
}

type pair struct {
	server, client *instrument.Registry
	stub           pb.TestServiceClient
	conn           *grpc.ClientConn
	stop           func() // returns when all calls have ended
}

// start runs a server and a client, both measured.
func start(t testing.TB, s *service, opts ...grpc.ServerOption) *pair {
	t.Helper()
	p := &pair{server: instrument.New(instrument.Config{}), client: instrument.New(instrument.Config{})}
	t.Cleanup(p.server.Close)
	t.Cleanup(p.client.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if len(opts) == 0 {
		opts = []grpc.ServerOption{grpc.StatsHandler(goldengrpc.Server(p.server))}
	}
	srv := grpc.NewServer(opts...)
	pb.RegisterTestServiceServer(srv, s)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	p.conn, err = grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(goldengrpc.Client(p.client, goldengrpc.Tags("server.address", "orders"))))
	if err != nil {
		t.Fatal(err)
	}
	p.stub = pb.NewTestServiceClient(p.conn)
	p.stop = func() {
		p.conn.Close()
		srv.GracefulStop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		p.stop = func() {}
	}
	t.Cleanup(func() { p.stop() })
	return p
}

// short are the values of a metric by method, code and error.type.
func short(m *instrument.Registry, name string) map[string]float64 {
	out := map[string]float64{}
	for _, x := range m.Snapshot().Metrics {
		if x.Name != name {
			continue
		}
		for _, s := range x.Series {
			parts := []string{strings.TrimPrefix(s.Tag("rpc.method"), "grpc.testing.TestService/")}
			for _, k := range []string{"rpc.response.status_code", "error.type"} {
				if v := s.Tag(k); v != "" {
					parts = append(parts, v)
				}
			}
			out[strings.Join(parts, " ")] = s.Value
		}
	}
	return out
}

func want(t *testing.T, m *instrument.Registry, name string, want map[string]float64) {
	t.Helper()
	if got := short(m, name); !maps.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

func (p *pair) unary(t *testing.T, ctx context.Context, c codes.Code) {
	t.Helper()
	r := &pb.SimpleRequest{Payload: &pb.Payload{Body: make([]byte, 100)}, ResponseStatus: &pb.EchoStatus{Code: int32(c)}}
	if _, err := p.stub.UnaryCall(ctx, r); status.Code(err) != c {
		t.Errorf("got %v, want %v", err, c)
	}
}

func TestUnary(t *testing.T) {
	p := start(t, &service{})
	ctx := t.Context()
	for range 3 {
		if _, err := p.stub.EmptyCall(ctx, &pb.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
	p.unary(t, ctx, codes.OK)
	p.unary(t, ctx, codes.NotFound)
	p.unary(t, ctx, codes.Internal)
	p.unary(t, ctx, codes.Code(77)) // no such code
	p.unary(t, ctx, codes.Code(78))
	soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	p.unary(t, soon, codes.DeadlineExceeded)
	// A method that the service has and does not serve, and two that it has not.
	if _, err := p.stub.UnimplementedCall(ctx, &pb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"/grpc.testing.TestService/Guessed", "/guessed.Service/Method"} {
		if err := p.conn.Invoke(ctx, name, &pb.Empty{}, &pb.Empty{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v", err)
		}
	}
	p.stop()
	want(t, p.server, "rpc.server.call.duration", map[string]float64{
		"EmptyCall OK":                3,
		"UnaryCall OK":                1,
		"UnaryCall NOT_FOUND":         1, // the caller's fault
		"UnaryCall INTERNAL INTERNAL": 1,
		"UnaryCall _OTHER":            2,
		"UnaryCall DEADLINE_EXCEEDED DEADLINE_EXCEEDED": 1,
		"UnimplementedCall UNIMPLEMENTED UNIMPLEMENTED": 1,
		"_OTHER UNIMPLEMENTED UNIMPLEMENTED":            2,
	})
	want(t, p.client, "rpc.client.call.duration", map[string]float64{
		"EmptyCall OK":                                       3,
		"UnaryCall OK":                                       1,
		"UnaryCall NOT_FOUND NOT_FOUND":                      1,
		"UnaryCall INTERNAL INTERNAL":                        1,
		"UnaryCall _OTHER _OTHER":                            2,
		"UnaryCall DEADLINE_EXCEEDED DEADLINE_EXCEEDED":      1,
		"UnimplementedCall UNIMPLEMENTED UNIMPLEMENTED":      1,
		"Guessed UNIMPLEMENTED UNIMPLEMENTED":                1,
		"guessed.Service/Method UNIMPLEMENTED UNIMPLEMENTED": 1,
	})
	want(t, p.server, "rpc.server.active_calls", map[string]float64{"EmptyCall": 0, "UnaryCall": 0, "UnimplementedCall": 0, "_OTHER": 0})
	for _, s := range p.client.Snapshot().Metrics[0].Series {
		if s.Tag("server.address") != "orders" || s.Tag("rpc.system.name") != "grpc" {
			t.Errorf("got the tags %v", s.Tags)
		}
	}
}

func TestStream(t *testing.T) {
	s := &service{entered: make(chan struct{})}
	p := start(t, s)
	stream, err := p.stub.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	<-s.entered
	want(t, p.server, "rpc.server.active_calls", map[string]float64{"FullDuplexCall": 1})
	want(t, p.client, "rpc.client.active_calls", map[string]float64{"FullDuplexCall": 1})
	for range 3 {
		if err := stream.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: make([]byte, 50)}}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want(t, p.server, "rpc.server.call.duration", map[string]float64{}) // it goes on
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v", err)
	}
	p.stop()
	for side, m := range map[string]*instrument.Registry{"server": p.server, "client": p.client} {
		want(t, m, "rpc."+side+".call.duration", map[string]float64{"FullDuplexCall OK": 1})
		want(t, m, "rpc."+side+".active_calls", map[string]float64{"FullDuplexCall": 0})
	}
	const frame = 5 // bytes of gRPC's own before each message
	bytesIn, bytesOut := 3*float64(frame+54), 6*float64(frame+54)
	for name, v := range map[string]float64{"messages.received": 3, "messages.sent": 6} {
		want(t, p.server, "rpc.server."+name, map[string]float64{"FullDuplexCall": v})
	}
	for name, v := range map[string]float64{"messages.received": 6, "messages.sent": 3} {
		want(t, p.client, "rpc.client."+name, map[string]float64{"FullDuplexCall": v})
	}
	got := []float64{
		short(p.server, "rpc.server.bytes.received")["FullDuplexCall"], short(p.server, "rpc.server.bytes.sent")["FullDuplexCall"],
		short(p.client, "rpc.client.bytes.sent")["FullDuplexCall"], short(p.client, "rpc.client.bytes.received")["FullDuplexCall"],
	}
	for i, v := range []float64{bytesIn, bytesOut, bytesIn, bytesOut} {
		if got[i] != v {
			t.Errorf("bytes: got %v, want %v and %v on both sides", got, bytesIn, bytesOut)
			break
		}
	}
}

func TestStreamCanceled(t *testing.T) {
	s := &service{entered: make(chan struct{})}
	p := start(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := p.stub.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	<-s.entered
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	p.stop()
	want(t, p.server, "rpc.server.call.duration", map[string]float64{"FullDuplexCall CANCELLED": 1})
	want(t, p.client, "rpc.client.call.duration", map[string]float64{"FullDuplexCall CANCELLED CANCELLED": 1})
	want(t, p.server, "rpc.server.active_calls", map[string]float64{"FullDuplexCall": 0})
	want(t, p.client, "rpc.client.active_calls", map[string]float64{"FullDuplexCall": 0})
}

// A proxy takes any method, and two handlers do not meet.
func TestUnknownServiceHandler(t *testing.T) {
	one, two := instrument.New(instrument.Config{}), instrument.New(instrument.Config{})
	defer one.Close()
	defer two.Close()
	p := start(t, &service{},
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return status.Error(codes.Unavailable, "away") }),
		grpc.StatsHandler(goldengrpc.Server(one, goldengrpc.Methods(func(m string) bool { return m == "/known.Service/Method" }))),
		grpc.StatsHandler(goldengrpc.Server(two)))
	for _, name := range []string{"/known.Service/Method", "/guessed.Service/A", "/guessed.Service/B"} {
		if err := p.conn.Invoke(t.Context(), name, &pb.Empty{}, &pb.Empty{}); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
	}
	p.stop()
	want(t, one, "rpc.server.call.duration", map[string]float64{"known.Service/Method UNAVAILABLE UNAVAILABLE": 1, "_OTHER UNAVAILABLE UNAVAILABLE": 2})
	want(t, two, "rpc.server.call.duration", map[string]float64{
		"known.Service/Method UNAVAILABLE UNAVAILABLE": 1, "guessed.Service/A UNAVAILABLE UNAVAILABLE": 1, "guessed.Service/B UNAVAILABLE UNAVAILABLE": 1,
	})
}

// A server that is away is an error of the client's calls.
func TestServerAway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	m := instrument.New(instrument.Config{})
	defer m.Close()
	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(goldengrpc.Client(m)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := pb.NewTestServiceClient(conn).EmptyCall(t.Context(), &pb.Empty{}); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	want(t, m, "rpc.client.call.duration", map[string]float64{"EmptyCall UNAVAILABLE UNAVAILABLE": 1})
	want(t, m, "rpc.client.active_calls", map[string]float64{"EmptyCall": 0})
}

// What the handler does in a unary call, without the call.
func BenchmarkServer(b *testing.B) {
	m := instrument.New(instrument.Config{})
	defer m.Close()
	h := goldengrpc.Server(m)
	ctx := context.Background()
	tag := &stats.RPCTagInfo{FullMethodName: "/grpc.testing.TestService/UnaryCall"}
	begin, in, out, end := &stats.Begin{}, &stats.InPayload{WireLength: 100}, &stats.OutPayload{WireLength: 100}, &stats.End{}
	b.ReportAllocs()
	for b.Loop() {
		ctx := h.TagRPC(ctx, tag)
		h.HandleRPC(ctx, begin)
		h.HandleRPC(ctx, in)
		h.HandleRPC(ctx, out)
		h.HandleRPC(ctx, end)
	}
}
