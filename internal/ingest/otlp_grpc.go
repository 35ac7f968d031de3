package ingest

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // clients compress with it
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// ResolveOTLP finds whose door a call is for from its metadata: its
// authorization and x-vedette-tenant. release gives it back.
type ResolveOTLP func(ctx context.Context, md metadata.MD) (o *OTLP, release func(), err error)

// NewOTLPServer makes a gRPC server of OTLP metrics. A request of more than
// maxBytes is refused. The caller serves it on a listener and stops it.
func NewOTLPServer(resolve ResolveOTLP, maxBytes int, log *slog.Logger) *grpc.Server {
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(maxBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}))
	pmetricotlp.RegisterGRPCServer(s, &otlpGRPC{resolve: resolve, log: log})
	return s
}

type otlpGRPC struct {
	pmetricotlp.UnimplementedGRPCServer
	resolve ResolveOTLP
	log     *slog.Logger
}

// Export implements the MetricsService of OTLP.
func (g *otlpGRPC) Export(ctx context.Context, req pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	o, release, err := g.resolve(ctx, md)
	if err != nil {
		return pmetricotlp.NewExportResponse(), retryable(kindOfOTLP(err), err)
	}
	defer release()
	resp, err := o.Export(ctx, "otlp_grpc", req)
	if err != nil {
		g.log.Error("metrics of OTLP were not stored", "err", err)
		return resp, retryable(codes.Unavailable, err)
	}
	return resp, nil
}

// retryable makes a status; a client is told when to try again where that helps.
func retryable(c codes.Code, err error) error {
	s := status.New(c, err.Error())
	if c == codes.Unavailable {
		if with, derr := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(5 * time.Second)}); derr == nil {
			s = with
		}
	}
	return s.Err()
}
