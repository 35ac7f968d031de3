package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// asked are the range queries of a dashboard, each over one and six hours.
var asked = []struct{ name, expr string }{
	{"rate by job", `sum by (job) (rate(http_requests_total[5m]))`},
	{"histogram_quantile by job", `histogram_quantile(0.99, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))`},
	{"sum over 1,800 series", `sum(rate(http_requests_total[5m]))`},
	{"error ratio", `sum by (job) (rate(http_requests_total{code="500"}[5m])) / sum by (job) (rate(http_requests_total[5m]))`},
	{"topk", `topk(5, sum by (instance) (rate(http_requests_total[5m])))`},
	{"sum of gauges", `sum by (job) (process_resident_memory_bytes)`},
	{"raw, 20 series", `go_goroutines{instance=~"10.0.0.(1|2).*",job=~"job-0.*"}`},
	{"max_over_time", `max by (job) (max_over_time(queue_depth[5m]))`},
	{"absent", `absent(http_requests_total{job="none"})`},
}

func queries(ctx context.Context, v, p *server, start time.Time, steps int) error {
	end := start.Add(time.Duration(steps-1) * 30 * time.Second)
	fmt.Printf("\nrange queries at a step of 30 s, CPU ms each (median of 5)\n")
	for _, span := range []time.Duration{time.Hour, 6 * time.Hour} {
		for _, q := range asked {
			path := "/api/v1/query_range?" + url.Values{"query": {q.expr}, "step": {"30"},
				"start": {strconv.FormatInt(end.Add(-span).Unix(), 10)}, "end": {strconv.FormatInt(end.Unix(), 10)}}.Encode()
			var cost [2][]float64
			var answers [2][]byte
			for range 5 {
				for i, s := range []*server{v, p} {
					const n = 3 // the clock of /proc ticks in 10 ms
					before := s.cpu()
					for range n {
						b, err := s.get(ctx, path)
						if err != nil {
							return err
						}
						answers[i] = b
					}
					cost[i] = append(cost[i], 1000*(s.cpu()-before)/n)
				}
			}
			if err := sameAnswer(answers[0], answers[1]); err != nil {
				return fmt.Errorf("%s over %s: the answers differ: %w", q.name, span, err)
			}
			row(fmt.Sprintf("%s, %s", q.name, strings.TrimSuffix(span.String(), "0m0s")), median(cost[0]), median(cost[1]))
		}
	}
	return nil
}

func median(f []float64) float64 {
	slices.Sort(f)
	return f[len(f)/2]
}

type matrix struct {
	Data struct {
		Result []struct {
			Metric map[string]string
			Values [][2]any
		}
	}
}

// sameAnswer compares two answers value by value.
func sameAnswer(a, b []byte) error {
	var ma, mb matrix
	if err := json.Unmarshal(a, &ma); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &mb); err != nil {
		return err
	}
	key := func(m map[string]string) string { j, _ := json.Marshal(m); return string(j) }
	index := map[string][][2]any{}
	for _, r := range mb.Data.Result {
		index[key(r.Metric)] = r.Values
	}
	if len(ma.Data.Result) != len(mb.Data.Result) {
		return fmt.Errorf("%d series against %d", len(ma.Data.Result), len(mb.Data.Result))
	}
	for _, r := range ma.Data.Result {
		w, ok := index[key(r.Metric)]
		if !ok || len(w) != len(r.Values) {
			return fmt.Errorf("series %v: %d points against %d", r.Metric, len(r.Values), len(w))
		}
		for i := range w {
			x, _ := strconv.ParseFloat(r.Values[i][1].(string), 64)
			y, _ := strconv.ParseFloat(w[i][1].(string), 64)
			if r.Values[i][0] != w[i][0] || math.Abs(x-y) > 1e-9*math.Max(math.Abs(x), math.Abs(y)) {
				return fmt.Errorf("series %v at %v: %v against %v", r.Metric, w[i][0], r.Values[i][1], w[i][1])
			}
		}
	}
	return nil
}

// rules has both evaluate 1,000 alert rules in 100 groups at 5 s.
func rules(ctx context.Context, g *generator, start time.Time, steps int, v, p *server) error {
	var b strings.Builder
	b.WriteString("groups:\n")
	for n := range 100 {
		fmt.Fprintf(&b, "- name: g%d\n  interval: 5s\n  rules:\n", n)
		for r := range 10 {
			fmt.Fprintf(&b, "  - {alert: A%d_%d, expr: 'sum by (job) (rate(http_requests_total{job=\"job-%02d\"}[5m])) > 1e9'}\n", n, r, (n*10+r)%20)
		}
	}
	const seconds = 30
	var cost [2]float64
	for i, s := range []*server{v, p} {
		// Both look at a full five minutes: what came in since is written first.
		if _, err := g.write(ctx, s, start, steps, int(time.Since(start)/(30*time.Second))); err != nil {
			return err
		}
		idle, err := over(ctx, s, seconds)
		if err != nil {
			return err
		}
		file := filepath.Join(filepath.Dir(s.conf), "rules-"+s.name+".yml")
		conf := strings.ReplaceAll(emptyPrometheus, "rules-*.yml", filepath.Base(file))
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(s.conf, []byte(conf), 0o600); err != nil {
			return err
		}
		if err := s.post(ctx, "/-/reload", nil, nil); err != nil && !strings.Contains(err.Error(), "200") {
			return err
		}
		if err := sleep(ctx, 7*time.Second); err != nil {
			return err
		}
		busy, err := over(ctx, s, seconds)
		if err != nil {
			return err
		}
		cost[i] = (busy - idle) / (seconds / 5)
		if err := os.Remove(file); err != nil {
			return err
		}
		if err := s.post(ctx, "/-/reload", nil, nil); err != nil {
			return err
		}
	}
	fmt.Println()
	row("1,000 alert rules, CPU s for one pass", cost[0], cost[1])
	return nil
}

func over(ctx context.Context, s *server, seconds int) (float64, error) {
	before := s.cpu()
	err := sleep(ctx, time.Duration(seconds)*time.Second)
	return s.cpu() - before, err
}
