// Command cloudpeer runs the http probe of cloudprober, as a library, against
// one URL, and prints the CPU time of a probe in microseconds: the user and
// system time of this process over the probes that succeeded. It is a module of
// its own, so that the product's go.mod does not see cloudprober.
//
//	cloudpeer CA-FILE URL
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/cloudprober/cloudprober/metrics"
	"github.com/cloudprober/cloudprober/probes/http"
	"github.com/cloudprober/cloudprober/probes/options"
	configpb "github.com/cloudprober/cloudprober/probes/proto"
	"google.golang.org/protobuf/encoding/prototext"
)

// Its interval may not be below its timeout, so that one target alone would leave
// this process idle: ten requests go every 100 ms, each on its own connection.
const probeConfig = `
name: "bench" type: HTTP interval_msec: 100 timeout_msec: 100 stats_export_interval_msec: 6000
targets { host_names: %q }
http_probe { scheme: %s port: %s requests_per_probe: 10 keep_alive: false tls_config { ca_cert_file: %q } }
`

func main() {
	if len(os.Args) != 3 {
		fatal(fmt.Errorf("want a CA file and a URL"))
	}
	u, err := url.Parse(os.Args[2])
	fatal(err)
	scheme := map[string]string{"http": "HTTP", "https": "HTTPS"}[u.Scheme]
	def := &configpb.ProbeDef{}
	fatal(prototext.Unmarshal(fmt.Appendf(nil, probeConfig, u.Hostname(), scheme, u.Port(), os.Args[1]), def))
	opts, err := options.BuildProbeOptions(def, nil, nil, nil)
	fatal(err)
	opts.ProbeConf = def.GetHttpProbe()
	p := &http.Probe{}
	fatal(p.Init("bench", opts))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	said := make(chan *metrics.EventMetrics, 16)
	go p.Start(ctx, said)
	// From the first export on, when all is warm, to the second.
	probes, used := export(ctx, said), cpu()
	probes, used = export(ctx, said)-probes, cpu()-used
	if probes <= 0 {
		fatal(fmt.Errorf("no probe succeeded"))
	}
	fmt.Printf("%.1f\n", float64(used.Microseconds())/float64(probes))
}

// export waits for the probe's figures and returns how many succeeded so far.
func export(ctx context.Context, said <-chan *metrics.EventMetrics) int64 {
	for {
		select {
		case em := <-said:
			if n, ok := em.Metric("success").(*metrics.Int); ok {
				return n.Int64()
			}
		case <-ctx.Done():
			fatal(ctx.Err())
		}
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	fatal(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cloudpeer:", err)
		os.Exit(1)
	}
}
