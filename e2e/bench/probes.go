package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// contenders are the sub-benchmarks of BenchmarkCold in internal/probe.
var contenders = []struct{ name, said string }{
	{"raw", "raw dial, literal request"},
	{"vedette", "Vedette"},
	{"net-http", "net/http"},
	{"net-http-trace", "net/http with httptrace"},
	{"blackbox", "blackbox_exporter ProbeHTTP"},
	{"foreign", "cloudprober http"},
}

var benchLine = regexp.MustCompile(`(?m)^BenchmarkCold/(https?)/\S+\s.* ([0-9.]+) cpu-us/op`)

// probes measures the CPU time of a cold probe of each contender, http and
// https, each in a process of its own. The rounds go in turns, so that a slow
// minute of the machine meets all; the median of each counts.
func probes(ctx context.Context, o options) error {
	costs := map[string][]float64{} // scheme/contender -> microseconds
	for range o.rounds {
		for _, c := range contenders {
			cmd := exec.CommandContext(ctx, o.probes, "-test.run", "^$", "-test.bench", "BenchmarkCold/https?$/"+c.name+"$", "-test.benchtime", "2s")
			if c.name == "foreign" {
				if o.cloudprober == "" {
					continue
				}
				path, err := filepath.Abs(o.cloudprober)
				if err != nil {
					return err
				}
				cmd.Env = append(os.Environ(), "VEDETTE_PROBE_BENCH_FOREIGN="+path)
				cmd.Args[len(cmd.Args)-1] = "1x" // it measures itself
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", c.name, err, out)
			}
			for _, m := range benchLine.FindAllSubmatch(out, -1) {
				us, err := strconv.ParseFloat(string(m[2]), 64)
				if err != nil {
					return err
				}
				key := string(m[1]) + "/" + c.name
				costs[key] = append(costs[key], us)
			}
		}
	}
	median := func(key string) float64 {
		all := costs[key]
		if len(all) == 0 {
			return 0
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	for _, scheme := range []string{"http", "https"} {
		raw := median(scheme + "/raw")
		fmt.Printf("\n%-32s %14s %16s %14s\n", "cold "+scheme+", median of "+strconv.Itoa(o.rounds), "CPU us/probe", "probes/s/core", "ratio to raw")
		for _, c := range contenders {
			if us := median(scheme + "/" + c.name); us > 0 && raw > 0 {
				fmt.Printf("%-32s %14.0f %16.0f %14.2f\n", c.said, us, 1e6/us, us/raw)
			}
		}
	}
	return nil
}
