package ingest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // senders compress with it
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vedette-sre/vedette/internal/record"
)

// otlpMethod is the one call that is answered.
const otlpMethod = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

// NewOTLPServer makes the gRPC door of OTLP metrics, for all tenants; it starts
// nothing. The caller owns the listener, calls Serve, and stops the server.
//
// resolve finds the tenant's OTLP by the metadata of a call, before its message
// is read; release, which may be nil, is called after the call. Its error is
// answered by its kind: record.Unauthenticated, record.Limited and so on.
// maxBytes is how large a message may be, compressed and decompressed.
//
// Faults of ours, and record.Limited, come with a RetryInfo, so that senders
// keep their data; a message that is too large comes without.
func NewOTLPServer(resolve func(ctx context.Context, md metadata.MD) (o *OTLP, release func(), err error), maxBytes int, log *slog.Logger) *grpc.Server {
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	d := &otlpDoor{resolve, log}
	return grpc.NewServer(
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.UnknownServiceHandler(d.handle),
		grpc.MaxRecvMsgSize(maxBytes),
		// Of this server alone: a registered one would be of the whole process.
		grpc.RPCDecompressor(zstdMessages{maxBytes}), //nolint:staticcheck // deprecated in favour of the registry
		grpc.MaxConcurrentStreams(128),
		grpc.ConnectionTimeout(20*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 15 * time.Minute}),
		// Clients of OTLP may send pings; the default is to close on them.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
}

type otlpDoor struct {
	resolve func(ctx context.Context, md metadata.MD) (*OTLP, func(), error)
	log     *slog.Logger
}

func (d *otlpDoor) handle(_ any, stream grpc.ServerStream) (err error) {
	// As net/http does: one request must not end the program.
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("a call of OTLP panicked", "panic", p)
			err = status.Error(codes.Internal, "a fault in the server")
		}
	}()
	ctx := stream.Context()
	if method, _ := grpc.MethodFromServerStream(stream); method != otlpMethod {
		return status.Errorf(codes.Unimplemented, "%s is not taken; only metrics are, by %s", method, otlpMethod)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	o, release, err := d.resolve(ctx, md)
	if err != nil {
		return grpcError(err)
	}
	if release != nil {
		defer release()
	}
	var data mem.BufferSlice
	if err := stream.RecvMsg(&data); err != nil {
		return err // by grpc, with a code
	}
	defer data.Free()
	if n := data.Len(); int64(n) > o.cfg.MaxBytes {
		o.sink.counts.Add(otlpProtocol, 0, map[string]int{"too_large": 1})
		return grpcError(record.Errorf(record.TooLarge, "the request takes %d bytes, over the limit of %d; send fewer data points at once", n, o.cfg.MaxBytes))
	}
	body := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer body.Free()
	partial, err := o.Export(ctx, body.ReadOnlyData())
	if err != nil {
		if _, _, retry := otlpCode(err); retry {
			d.log.Error("a call of OTLP was not stored", "err", err)
		}
		return grpcError(err)
	}
	return stream.SendMsg(otlpResponse(partial, false))
}

// zstdMessages decompresses messages in zstd; gzip is grpc's own.
type zstdMessages struct{ most int }

// Type implements grpc.Decompressor.
func (zstdMessages) Type() string { return "zstd" }

// Do implements grpc.Decompressor. It gives one byte over the limit at most, which
// grpc then refuses.
func (z zstdMessages) Do(r io.Reader) ([]byte, error) {
	pool := decompressors["zstd"]
	d := pool.Get().(unzstd)
	defer func() {
		_ = d.reset(nil) // lets go of the message
		pool.Put(d)
	}()
	if err := d.reset(r); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(d, int64(z.most)+1))
}

// grpcError is err with the code of its kind.
func grpcError(err error) error {
	code, _, retry := otlpCode(err)
	st := status.New(code, validUTF8(err.Error()))
	if retry {
		with, derr := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(otlpRetrySeconds * time.Second)})
		if derr == nil {
			st = with
		}
	}
	return st.Err()
}

// rawCodec hands messages over as they are on the wire: a *mem.BufferSlice is
// received, a []byte sent.
type rawCodec struct{}

// Name implements encoding.CodecV2.
func (rawCodec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	p, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("BUG: a message of type %T", v)
	}
	if len(p) > math.MaxInt32 {
		return nil, fmt.Errorf("a message of %d bytes is too large", len(p))
	}
	return mem.BufferSlice{mem.SliceBuffer(p)}, nil
}

// Unmarshal implements encoding.CodecV2. The receiver frees the buffers.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	to, ok := v.(*mem.BufferSlice)
	if !ok {
		return fmt.Errorf("BUG: a message of type %T", v)
	}
	data.Ref()
	*to = data
	return nil
}
