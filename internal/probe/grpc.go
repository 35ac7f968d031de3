package probe

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vedette-sre/vedette/internal/record"
)

// GRPC holds the settings of checks of the kind grpc: the gRPC health checking
// protocol, grpc.health.v1.
type GRPC struct {
	Service   string            `yaml:"service,omitempty"`   // default "": the server as a whole
	Authority string            `yaml:"authority,omitempty"` // default the URL's host
	Metadata  map[string]string `yaml:"metadata,omitempty"`  // sent along; hidden like headers
}

var grpcKind = kind{
	schemes: []string{"grpc", "grpcs"}, example: "grpc://orders.example.org:9090", port: portNeeded,
	section: func(c *Check) bool { return c.GRPC != nil },
	validate: func(c *Check) error {
		if c.GRPC == nil {
			c.GRPC = &GRPC{}
		}
		for name := range c.GRPC.Metadata {
			if !token.MatchString(name) {
				return fmt.Errorf("grpc.metadata: name %q: want letters, digits and dashes", name)
			}
		}
		if e := c.Expect; e.BodyContains != "" || e.BodyNotContains != "" || e.BodyRegex != "" || e.BodyNotRegex != "" {
			return fmt.Errorf("expect.body_regex: the health of a gRPC service is a status and no text")
		}
		return nil
	},
	run: runGRPC,
}

func runGRPC(r *run) {
	g := r.GRPC
	host, port := r.hostPort()
	hop := r.addHop(r.URL)
	conn, f := r.open(hop, host, port)
	if f != nil {
		r.fail(f, nil)
		return
	}
	defer conn.Close()
	stream := conn
	if r.url.Scheme == "grpcs" {
		cfg := r.own.Clone()
		cfg.NextProtos = []string{"h2"}
		tc, f := r.secure(conn, hop, cfg, host)
		if f != nil {
			r.fail(f, nil)
			return
		}
		stream = tc
	} else {
		hop.Phases[record.TLS].State = record.Skipped
	}
	for name, v := range g.Metadata {
		if sensitive(name) {
			r.hidden = r.hidden.with(v)
		}
	}
	authority := g.Authority
	if authority == "" {
		authority = net.JoinHostPort(host, port)
	}
	start := time.Now()
	// The connection is ours, with its phases; the library only frames.
	dialled := make(chan struct{}, 1)
	dialled <- struct{}{}
	cc, err := grpc.NewClient("passthrough:///"+authority, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority(authority), grpc.WithDisableRetry(), grpc.WithUserAgent("Vedette"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<10)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			select {
			case <-dialled:
				return stream, nil
			default: // a second attempt would be another run
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}))
	if err != nil {
		end(hop, record.Processing, start, true)
		r.fail(&failure{"processing", "own_fault", fmt.Sprintf("the call cannot be made: %v", err)}, nil)
		return
	}
	defer cc.Close()
	ctx := metadata.AppendToOutgoingContext(r.ctx, "traceparent", "00-"+r.res.TraceID+"-"+randomHex(8)+"-01")
	for name, v := range g.Metadata {
		ctx = metadata.AppendToOutgoingContext(ctx, name, v)
	}
	reply, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: g.Service})
	code := status.Code(err)
	failed := err != nil && (code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled || code == codes.Internal)
	end(hop, record.Processing, start, failed)
	hop.Phases[record.Transfer].State = record.Skipped
	hop.Proto = "HTTP/2"
	total := r.res.Total()
	for name, ph := range map[string]record.Phase{"resolve": record.Resolve, "connect": record.Connect, "tls": record.TLS, "check": record.Processing} {
		r.value("probe_grpc_duration_seconds", total[ph].Duration.Seconds(), "phase", name)
	}
	r.value("probe_grpc_ssl", map[bool]float64{true: 1}[hop.TLS != nil])
	if !failed {
		r.value("probe_grpc_status_code", float64(code))
	}
	health := reply.GetStatus()
	if err == nil {
		for n, name := range grpc_health_v1.HealthCheckResponse_ServingStatus_name {
			r.value("probe_grpc_healthcheck_response", map[bool]float64{true: 1}[health == grpc_health_v1.HealthCheckResponse_ServingStatus(n)], "serving_status", name)
		}
		r.fact("serving status", health.String())
	}
	who := "the server"
	if g.Service != "" {
		who = "the service " + g.Service
	}
	switch {
	case failed && (code == codes.DeadlineExceeded || r.ctx.Err() != nil || strings.Contains(err.Error(), "i/o timeout")): // the library keeps only the text
		f = &failure{"processing", "no_response", fmt.Sprintf("the connection stands, but no answer to the health question came within %s", short(r.limit))}
	case failed && code == codes.Unavailable:
		f = &failure{"processing", "reset", fmt.Sprintf("the server ended the call instead of answering: %s", status.Convert(err).Message())}
	case failed:
		f = &failure{"processing", "bad_reply", fmt.Sprintf("the answer is no gRPC: %s", status.Convert(err).Message())}
	case code == codes.Unimplemented:
		f = &failure{"status", "status", "the server does not know the health checking protocol (grpc.health.v1.Health); register the health service"}
	case code == codes.NotFound:
		f = &failure{"status", "status", fmt.Sprintf("the server knows nothing of the health of %s (NOT_FOUND)", who)}
	case err != nil:
		f = &failure{"status", "status", fmt.Sprintf("the health question was answered with %s: %s", code, status.Convert(err).Message())}
	case health != grpc_health_v1.HealthCheckResponse_SERVING:
		f = &failure{"status", "status", fmt.Sprintf("%s says %s; want SERVING", who, health)}
	default:
		f = r.timeVerdict(time.Now())
	}
	if f != nil {
		r.fail(f, nil)
		return
	}
	r.succeed()
}
