// Command bench runs Vedette and a real Prometheus as whole processes over the
// same data in the same run, and prints what each cost and the ratio. CPU time is
// the process's own (user + system, from /proc), so that a noisy machine moves it
// little; wall time is shown and not to be relied on. Everything is on loopback
// and ends by itself.
//
//	bench -vedette bin/vedette -prometheus e2e/peer/bin/prometheus [engines churn ingest queries rules fault probes]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"time"
)

type options struct {
	vedette, prometheus, blackbox, alertmanager string
	victoriametrics                             string
	probes, cloudprober                         string
	series, hours, faults, rounds               int
	dir                                         string
	// forget switches the memory of range queries off: the same query is asked
	// again to measure it.
	forget bool
}

func main() {
	var o options
	flag.StringVar(&o.vedette, "vedette", "bin/vedette", "the program")
	flag.StringVar(&o.prometheus, "prometheus", "e2e/peer/bin/prometheus", "its peer")
	flag.StringVar(&o.victoriametrics, "victoriametrics", "e2e/vmpeer/bin/victoria-metrics", "its other peer; empty: left out")
	flag.StringVar(&o.blackbox, "blackbox", "prometheus-blackbox-exporter", "for the fault race")
	flag.StringVar(&o.alertmanager, "alertmanager", "prometheus-alertmanager", "for the fault race")
	flag.StringVar(&o.probes, "probes", "bin/probe.test", "the test program of internal/probe")
	flag.StringVar(&o.cloudprober, "cloudprober", "e2e/cloudpeer/bin/cloudpeer", "its http probe as a program; empty: left out")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of the race of probes")
	flag.IntVar(&o.series, "series", 10_000, "series to write and query")
	flag.IntVar(&o.hours, "hours", 6, "hours of data at 30 s")
	flag.IntVar(&o.faults, "faults", 10, "faults of the fault race")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 40*time.Minute)
	defer cancel()
	if err := run(ctx, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, parts []string) error {
	if len(parts) == 0 {
		parts = []string{"engines", "ingest", "queries", "rules"}
	}
	base, err := os.MkdirTemp("", "vedette-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	fmt.Printf("%s/%s, %d cores, %s, %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), time.Now().UTC().Format(time.DateOnly))
	for _, p := range []struct {
		names []string
		run   func(context.Context, options) error
	}{
		{[]string{"engines"}, engines},
		{[]string{"churn"}, churn},
		{[]string{"ingest", "queries", "rules"}, func(ctx context.Context, o options) error { return peers(ctx, o, parts) }},
		{[]string{"probes"}, probes},
		{[]string{"fault"}, faultRace},
	} {
		if !slices.ContainsFunc(p.names, func(n string) bool { return slices.Contains(parts, n) }) {
			continue
		}
		if o.dir, err = os.MkdirTemp(base, p.names[0]+"-*"); err != nil { // no part finds the data of another
			return err
		}
		if err := p.run(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// peers writes the same data into both, asks both the same, and has both
// evaluate the same rules.
func peers(ctx context.Context, o options, parts []string) error {
	o.forget = true
	v, err := startVedette(ctx, o, "")
	if err != nil {
		return err
	}
	defer v.stop()
	p, err := startPrometheus(ctx, o, "")
	if err != nil {
		return err
	}
	defer p.stop()
	both := []*server{v, p}

	idle := map[*server]float64{}
	for _, s := range both {
		if err := s.settle(ctx); err != nil {
			return err
		}
	}
	before := map[*server]float64{v: v.cpu(), p: p.cpu()}
	if err := sleep(ctx, 15*time.Second); err != nil {
		return err
	}
	for _, s := range both {
		idle[s] = (s.cpu() - before[s]) / 15
	}
	fmt.Printf("\n%-44s %12s %12s %8s\n", "", "Vedette", "Prometheus", "ratio")
	row("idle, % of a core", 100*idle[v], 100*idle[p])
	row("idle, resident MB", v.rss()/1e6, p.rss()/1e6)

	g := newGenerator(o.series)
	steps := o.hours * 3600 / 30
	start := time.Now().Add(-time.Duration(o.hours) * time.Hour).Truncate(30 * time.Second)
	cost := map[*server]usage{}
	// In turns of a tenth, so that a slow minute of the machine meets both.
	for part := range 10 {
		for _, s := range both {
			u, err := g.write(ctx, s, start, steps*part/10, steps*(part+1)/10)
			if err != nil {
				return err
			}
			c := cost[s]
			c.cpu += u.cpu
			c.wall += u.wall
			c.samples += u.samples
			cost[s] = c
		}
	}
	per := func(s *server) float64 { return (cost[s].cpu - idle[s]*cost[s].wall) / float64(cost[s].samples) * 1e6 }
	if slices.Contains(parts, "ingest") {
		row(fmt.Sprintf("remote write, CPU s / M samples (%.1f M, %d series)", float64(cost[v].samples)/1e6, o.series), per(v), per(p))
		row("after the load, resident MB", v.rss()/1e6, p.rss()/1e6)
		row("peak, resident MB", v.peak()/1e6, p.peak()/1e6)
	}
	if slices.Contains(parts, "queries") {
		if err := queries(ctx, v, p, start, steps); err != nil {
			return err
		}
	}
	if slices.Contains(parts, "rules") {
		return rules(ctx, g, start, steps, v, p)
	}
	return nil
}

func row(what string, v, p float64) {
	ratio := "-"
	if p != 0 {
		ratio = fmt.Sprintf("%.2f", v/p)
	}
	fmt.Printf("%-44s %12.3g %12.3g %8s\n", what, v, p, ratio)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
