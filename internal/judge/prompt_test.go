package judge_test

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"

	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/record"
)

// TestPromptBeatsTheInterval flips a check right after a tick of a rule group
// with an interval of 4 s: the alert must be notified when its `for` of 500 ms is
// over, not at a tick; and rules that read no checks keep to their ticks.
func TestPromptBeatsTheInterval(t *testing.T) {
	if testing.Short() {
		t.Skip("left out: takes 20 s of real time")
	}
	const interval = 4 * time.Second
	file := filepath.Join(t.TempDir(), "rules.yml")
	err := os.WriteFile(file, []byte(`groups:
- {name: checks, interval: 4s, rules: [{alert: Down, expr: 'probe_success{check="shop"} == 0', for: 500ms}]}
- {name: other, interval: 4s, rules: [{alert: Other, expr: 'vector(0) > 1'}]}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	store := promqltest.LoadedStorage(t, "")
	p := parser.NewParser(parser.Options{})
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1000, Timeout: time.Minute, Parser: p})
	var mu sync.Mutex
	var firedAt time.Time
	ctx, cancel := context.WithCancel(t.Context())
	r := judge.NewRules(ctx, judge.Options{
		Query: rules.EngineQueryFunc(engine, store), Append: store, Queryable: store,
		Notify: func(_ context.Context, as ...record.Alert) error {
			mu.Lock()
			defer mu.Unlock()
			if firedAt.IsZero() {
				firedAt = time.Now()
			}
			return nil
		},
		URL: &url.URL{}, Parser: p, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err := r.Apply(interval, []string{file}, labels.EmptyLabels(), ""); err != nil {
		t.Fatal(err)
	}
	var run sync.WaitGroup
	run.Go(func() { _ = r.Run(ctx) }) // returns nil
	defer run.Wait()
	defer cancel()

	put := func(v float64) {
		app := store.Appender(ctx)
		if _, err := app.Append(0, labels.FromStrings("__name__", "probe_success", "check", "shop"), time.Now().UnixMilli(), v); err != nil {
			t.Fatal(err)
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	group := func(name string) *rules.Group {
		for _, g := range r.Manager().RuleGroups() {
			if g.Name() == name {
				return g
			}
		}
		t.Fatalf("no group %s", name)
		return nil
	}
	put(1)
	// The state of `for` is restored after the second tick; hurry begins then.
	g, ticks := group("checks"), 0
	for last := (time.Time{}); ticks < 3; time.Sleep(10 * time.Millisecond) {
		if now := g.GetLastEvaluation(); now != last {
			last, ticks = now, ticks+1
		}
	}
	other := group("other").GetLastEvaluation()
	flip := time.Now()
	put(0)
	r.Prompt()
	for time.Since(flip) < interval {
		mu.Lock()
		at := firedAt
		mu.Unlock()
		if !at.IsZero() {
			if d := at.Sub(flip); d < 500*time.Millisecond || d > 2*time.Second {
				t.Errorf("notified %s after the flip, want 500 ms and a little", d)
			}
			if now := group("other").GetLastEvaluation(); now.Sub(other) > 0 && now.Sub(other) < interval-200*time.Millisecond {
				t.Errorf("a group without checks was evaluated %s after its tick", now.Sub(other))
			}
			// Replacing the rules must not wait for the tick.
			start := time.Now()
			if err := r.Apply(interval, nil, labels.EmptyLabels(), ""); err != nil {
				t.Error(err)
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("replacing the rules took %s", d)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("not notified before the next tick")
}
