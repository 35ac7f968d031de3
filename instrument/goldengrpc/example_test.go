package goldengrpc_test

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/goldengrpc"
)

// docs/instrument.md shows parts of this function; golden's TestGuide holds it to
// that.
func Example() {
	m := instrument.New(instrument.Config{})
	defer m.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	target, creds := ln.Addr().String(), insecure.NewCredentials()

	srv := grpc.NewServer(grpc.StatsHandler(goldengrpc.Server(m)))
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds),
		grpc.WithStatsHandler(goldengrpc.Client(m, goldengrpc.Tags("server.address", "orders"))))

	if err != nil {
		fmt.Println(err)
		return
	}
	pb.RegisterTestServiceServer(srv, &service{})
	go srv.Serve(ln)
	if _, err := pb.NewTestServiceClient(conn).EmptyCall(context.Background(), &pb.Empty{}); err != nil {
		fmt.Println(err)
	}
	conn.Close()
	srv.GracefulStop()
	for _, x := range m.Snapshot().Metrics {
		if x.Name == "rpc.client.call.duration" || x.Name == "rpc.server.call.duration" {
			s := x.Series[0]
			fmt.Println(x.Name, s.Value, s.Tag("rpc.method"), s.Tag("rpc.response.status_code"))
		}
	}
	// Output:
	// rpc.client.call.duration 1 grpc.testing.TestService/EmptyCall OK
	// rpc.server.call.duration 1 grpc.testing.TestService/EmptyCall OK
}
