package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// engines writes the same data into Vedette, Prometheus and VictoriaMetrics, by
// remote write and as Influx lines, and opens the same dashboard on them.
func engines(ctx context.Context, o options) error {
	starts := []func() (*server, error){
		func() (*server, error) { return startVedette(ctx, o, "") },
		func() (*server, error) { return startPrometheus(ctx, o, "") },
	}
	if o.victoriametrics != "" {
		starts = append(starts, func() (*server, error) { return startVictoriaMetrics(ctx, o) })
	}
	var all []*server
	for _, f := range starts {
		s, err := f()
		if err != nil {
			return err
		}
		defer s.stop()
		if err := s.settle(ctx); err != nil {
			return err
		}
		all = append(all, s)
	}
	fmt.Printf("\n%-46s", "")
	for _, s := range all {
		fmt.Printf(" %15s", s.name)
	}
	fmt.Printf(" %12s\n", "to the best")

	g := newGenerator(o.series)
	steps := o.hours * 3600 / 30
	// A third of the time is left for the Influx lines, which come after.
	begin := time.Now().Add(-time.Duration(o.hours) * time.Hour * 3 / 2).Truncate(30 * time.Second)
	if err := sleep(ctx, 3*time.Second); err != nil { // what a start costs is over
		return err
	}

	cost := make([]usage, len(all))
	for _, s := range all { // the first step makes the series
		if _, err := g.write(ctx, s, begin, 0, 1); err != nil {
			return err
		}
	}
	// In turns of a tenth, so that a slow minute of the machine meets all.
	for part := range 10 {
		for i, s := range all {
			u, err := g.write(ctx, s, begin, 1+(steps-1)*part/10, 1+(steps-1)*(part+1)/10)
			if err != nil {
				return err
			}
			cost[i].cpu += u.cpu
			cost[i].samples += u.samples
		}
	}
	million := func(u []usage) []float64 {
		out := make([]float64, len(u))
		for i := range u {
			if u[i].samples > 0 {
				out[i] = u[i].cpu / float64(u[i].samples) * 1e6
			}
		}
		return out
	}
	many(fmt.Sprintf("remote write, CPU s / M samples (%.1f M)", float64(cost[0].samples)/1e6), million(cost), true)
	figure := func(f func(*server) float64) []float64 {
		out := make([]float64, len(all))
		for i, s := range all {
			out[i] = f(s)
		}
		return out
	}
	many("  resident MB afterwards", figure(func(s *server) float64 { return s.rss() / 1e6 }), true)
	many("  peak MB", figure(func(s *server) float64 { return s.peak() / 1e6 }), true)
	if err := sleep(ctx, 5*time.Second); err != nil { // what is compacting ends
		return err
	}
	disk := make([]float64, len(all))
	for i, s := range all {
		var err error
		if disk[i], err = perSample(ctx, o, s, cost[i].samples); err != nil {
			return err
		}
	}
	many("  disk after compaction, bytes / sample", disk, true)

	if err := dashboard(ctx, all, begin, steps); err != nil {
		return err
	}

	// Influx lines go to those that take them: the same values under other names.
	lines := make([]usage, len(all))
	for part := range 5 {
		for i, s := range all {
			if s.name == "prometheus" {
				continue
			}
			u, err := g.writeInflux(ctx, s, begin, steps+steps/2*part/5, steps+steps/2*(part+1)/5)
			if err != nil {
				return err
			}
			lines[i].cpu += u.cpu
			lines[i].samples += u.samples
		}
	}
	// Series that nobody has seen: the same generator under other names.
	fresh := newGenerator(100_000)
	for i := range fresh.series {
		fresh.series[i].Labels[0].Value = "fresh_" + fresh.series[i].Labels[0].Value
	}
	made := make([]float64, len(all))
	for i, s := range all {
		u, err := fresh.write(ctx, s, begin, steps*3/2, steps*3/2+1)
		if err != nil {
			return err
		}
		made[i] = float64(u.samples) / u.cpu
	}
	many("new series / CPU s (100,000)", made, false)
	many(fmt.Sprintf("Influx lines, CPU s / M samples (%.1f M)", float64(lines[0].samples)/1e6), million(lines), true)
	return nil
}

// many prints a figure of each server and the ratio of the first to the best of
// the others; a figure of 0 is of a server that does not do this.
func many(what string, f []float64, less bool) {
	fmt.Printf("%-46s", what)
	best := 0.0
	for i, x := range f {
		if x == 0 {
			fmt.Printf(" %15s", "-")
			continue
		}
		fmt.Printf(" %15.4g", x)
		if i > 0 && (best == 0 || less == (x < best)) {
			best = x
		}
	}
	if best > 0 {
		fmt.Printf(" %12.2f", f[0]/best)
	}
	fmt.Println()
}

// perSample is what a sample takes on disk in blocks, or in merged parts.
func perSample(ctx context.Context, o options, s *server, samples int) (float64, error) {
	if s.name == "victoriametrics" {
		if _, err := s.get(ctx, "/internal/force_flush"); err != nil {
			return 0, err
		}
		if _, err := s.get(ctx, "/internal/force_merge"); err != nil {
			return 0, err
		}
		if err := sleep(ctx, 10*time.Second); err != nil {
			return 0, err
		}
		return float64(size(filepath.Join(o.dir, s.name))) / float64(samples), nil
	}
	dir := filepath.Join(o.dir, s.name)
	if s.name == "vedette" {
		dir = filepath.Join(dir, "default", "metrics")
	}
	metas, err := filepath.Glob(filepath.Join(dir, "*", "meta.json"))
	if err != nil {
		return 0, err
	}
	bytes, n := int64(0), 0
	for _, m := range metas {
		b, err := os.ReadFile(m)
		if err != nil {
			continue // a block that was replaced meanwhile
		}
		var meta struct{ Stats struct{ NumSamples int } }
		if err := json.Unmarshal(b, &meta); err != nil {
			return 0, err
		}
		bytes += size(filepath.Dir(m))
		n += meta.Stats.NumSamples
	}
	if n == 0 {
		return 0, nil
	}
	return float64(bytes) / float64(n), nil
}

func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if fi, err := d.Info(); err == nil {
				n += fi.Size()
			}
		}
		return nil
	})
	return n
}

// panels are a dashboard of 20 panels: what a team looks at all day.
var panels = []string{
	`sum by (job) (rate(http_requests_total[5m]))`,
	`sum by (code) (rate(http_requests_total[5m]))`,
	`sum by (handler) (rate(http_requests_total[5m]))`,
	`sum(rate(http_requests_total{code="500"}[5m]))`,
	`sum by (job) (rate(http_requests_total{code="500"}[5m])) / sum by (job) (rate(http_requests_total[5m]))`,
	`histogram_quantile(0.99, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))`,
	`histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))`,
	`histogram_quantile(0.95, sum by (handler, le) (rate(http_request_duration_seconds_bucket[5m])))`,
	`topk(5, sum by (instance) (rate(http_requests_total[5m])))`,
	`sum by (job) (process_resident_memory_bytes)`,
	`sum by (job) (go_goroutines)`,
	`max by (job) (queue_depth)`,
	`avg by (job) (workers_busy)`,
	`sum(cache_entries)`,
	`max by (job) (max_over_time(queue_depth[5m]))`,
	`count by (job) (go_goroutines)`,
	`sum by (job) (increase(http_requests_total[10m]))`,
	`go_goroutines{job="job-00"}`,
	`sum by (instance) (rate(http_requests_total{job="job-01"}[5m]))`,
	`absent(http_requests_total{job="none"})`,
}

// dashboard opens the panels over all hours but ten minutes, and refreshes them
// eight times as the clock moves on by a step.
func dashboard(ctx context.Context, all []*server, begin time.Time, steps int) error {
	const refreshes = 8
	first, again := make([]float64, len(all)), make([]float64, len(all))
	load := func(s *server, from, to time.Time) (float64, error) {
		before := s.cpu()
		for _, p := range panels {
			if _, err := s.get(ctx, "/api/v1/query_range?"+url.Values{"query": {p}, "step": {"30"},
				"start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)}}.Encode()); err != nil {
				return 0, err
			}
		}
		return 1000 * (s.cpu() - before), nil
	}
	end := begin.Add(time.Duration(steps-20) * 30 * time.Second)
	for n := range refreshes + 1 {
		for i, s := range all {
			ms, err := load(s, begin.Add(time.Duration(n)*30*time.Second), end.Add(time.Duration(n)*30*time.Second))
			if err != nil {
				return err
			}
			if n == 0 {
				first[i] = ms
			} else {
				again[i] += ms / refreshes
			}
		}
	}
	many("dashboard of 20 panels: first load, CPU ms", first, true)
	many("  refresh, CPU ms", again, true)
	return nil
}

// writeInflux sends steps from..to of all series as Influx lines, 2,000 values a
// request: one line for each series, as agents send them.
func (g *generator) writeInflux(ctx context.Context, s *server, start time.Time, from, to int) (usage, error) {
	u := usage{}
	heads := make([]string, len(g.series))
	for i, ts := range g.series {
		var b strings.Builder
		name := ""
		for _, l := range ts.Labels {
			if l.Name == "__name__" {
				name = "influx_" + l.Value
			}
		}
		b.WriteString(name)
		for _, l := range ts.Labels {
			if l.Name != "__name__" {
				fmt.Fprintf(&b, ",%s=%s", l.Name, l.Value)
			}
		}
		b.WriteString(" v=")
		heads[i] = b.String()
	}
	const batch = 2000
	var body bytes.Buffer
	cpu := s.cpu()
	for step := from; step < to; step++ {
		t := start.Add(time.Duration(step) * 30 * time.Second).UnixNano()
		for lo := 0; lo < len(heads); lo += batch {
			body.Reset()
			for k := lo; k < min(lo+batch, len(heads)); k++ {
				body.WriteString(heads[k])
				body.Write(strconv.AppendInt(body.AvailableBuffer(), int64(g.value(k, step)), 10))
				body.WriteByte(' ')
				body.Write(strconv.AppendInt(body.AvailableBuffer(), t, 10))
				body.WriteByte('\n')
				u.samples++
			}
			if err := s.post(ctx, "/write", body.Bytes(), nil); err != nil {
				return u, err
			}
		}
	}
	u.cpu = s.cpu() - cpu
	return u, nil
}
