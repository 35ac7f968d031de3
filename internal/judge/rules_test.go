package judge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// bench is rules over a real store, evaluated by hand at times of the test's
// choosing.
type bench struct {
	t       *testing.T
	store   *metric.Store
	engines *query.Engines
	rules   *judge.Rules
	sent    []record.Alert // since the last look
	fail    error          // what Notify answers
	ctx     context.Context

	restored bool
}

func newBench(t *testing.T, dir, file string, resend time.Duration) *bench {
	t.Helper()
	b := &bench{t: t}
	log := slog.New(slog.DiscardHandler)
	var err error
	if b.store, err = metric.Open(dir, metric.Config{}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), log); err != nil {
		t.Fatal(err)
	}
	b.engines = query.NewEngines(query.Config{}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), log)
	u, err := url.Parse("http://vedette.example:7575")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.ctx = ctx
	b.rules = judge.NewRules(ctx, judge.Options{
		Query:  rules.EngineQueryFunc(b.engines.Rules, b.store),
		Append: b.store, Queryable: b.store, URL: u, Parser: b.engines.Parser, Registry: prometheus.NewRegistry(), Log: log, ResendDelay: resend,
		Notify: func(_ context.Context, as ...record.Alert) error {
			b.sent = append(b.sent, as...)
			return b.fail
		},
	})
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.rules.Apply(time.Minute, []string{path}, labels.FromStrings("dc", "east"), u.String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		b.engines.Close()
		b.store.Close()
	})
	return b
}

func (b *bench) put(name string, at time.Time, v float64) {
	b.t.Helper()
	app := b.store.Appender(context.Background())
	_, err := app.Append(0, labels.FromStrings(labels.MetricName, name, "job", "shop"), at.UnixMilli(), v)
	if cerr := app.Commit(); err != nil || cerr != nil {
		b.t.Fatal(err, cerr)
	}
}

// eval evaluates all groups at a time and returns what was notified, as text.
func (b *bench) eval(at time.Time) []string {
	b.t.Helper()
	b.sent = nil
	for _, g := range b.rules.Manager().RuleGroups() {
		g.Eval(context.Background(), at)
		if !b.restored { // as a running group does after its first evaluation
			g.RestoreForState(at)
		}
	}
	b.restored = true
	var out []string
	for _, a := range b.sent {
		state := "firing"
		if !a.EndsAt.After(at) {
			state = "resolved"
		}
		out = append(out, a.Labels["alertname"]+" "+state)
	}
	return out
}

func (b *bench) states() string {
	var out []string
	for _, s := range b.rules.Active() {
		out = append(out, s.Name+" "+s.State)
	}
	return strings.Join(out, ", ")
}

func (b *bench) want(what string, got []string, want ...string) {
	b.t.Helper()
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		b.t.Errorf("%s: notified %q, want %q", what, got, want)
	}
}

func TestRules(t *testing.T) {
	b := newBench(t, t.TempDir(), `
groups:
- name: shop
  interval: 1m
  rules:
  - record: job:load:sum
    expr: sum by (job) (load)
    labels: {team: till}
  - alert: Hot
    expr: job:load:sum > 10
    for: 2m
    keep_firing_for: 2m
    labels: {severity: page}
    annotations: {summary: "load {{ $value }} in {{ $labels.job }} of {{ $externalLabels.dc }}, see {{ $externalURL }}"}
  - alert: Plain
    expr: load > 10
  - record: broken
    expr: label_replace(load, "job", "$1", "job", "(")
`, time.Hour)
	t0 := time.Now().Add(-30 * time.Minute).Truncate(time.Minute)
	at := func(m int) time.Time { return t0.Add(time.Duration(m) * time.Minute) }

	b.put("load", at(0), 5)
	b.want("all is well", b.eval(at(0)))
	b.put("load", at(1), 20)
	b.want("over the threshold", b.eval(at(1)), "Plain firing")
	if got := b.states(); got != "Hot pending, Plain firing" {
		t.Errorf("got %q", got)
	}
	b.put("load", at(2), 20)
	b.eval(at(2))
	b.put("load", at(3), 20)
	b.want("`for` is over", b.eval(at(3)), "Hot firing")
	hot := b.sent[0]
	if got, want := hot.Annotations["summary"], "load 20 in shop of east, see http://vedette.example:7575"; got != want {
		t.Errorf("got annotation %q, want %q", got, want)
	}
	if hot.Labels["severity"] != "page" || hot.Labels["team"] != "till" || hot.Labels["job"] != "shop" {
		t.Errorf("got labels %v", hot.Labels)
	}
	if !strings.HasPrefix(hot.GeneratorURL, "http://vedette.example:7575/#/explore?expr=job%3Aload%3Asum") || !hot.StartsAt.Equal(at(3)) || !hot.EndsAt.After(at(4)) {
		t.Errorf("got %+v", hot)
	}
	b.put("load", at(4), 5)
	b.want("below again", b.eval(at(4)), "Plain resolved")
	if got := b.states(); !strings.Contains(got, "Hot firing") {
		t.Errorf("keep_firing_for: got %q", got)
	}
	b.put("load", at(6), 5)
	b.want("keep_firing_for is over", b.eval(at(6)), "Hot resolved")

	// What was recorded is in the store.
	q, err := b.engines.Users.NewInstantQuery(context.Background(), b.store, nil, `job:load:sum{team="till"} and on() ALERTS{alertname="Hot", alertstate="firing"} offset 2m`, at(6))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if v, err := q.Exec(context.Background()).Vector(); err != nil || len(v) != 1 || v[0].F != 5 {
		t.Errorf("got %v, %v", v, err)
	}
	h := b.rules.Health()
	if h.Groups != 1 || h.Rules != 4 || h.Failing != 1 || len(h.Failures) != 1 || h.Failures[0].Rule != "broken" || h.Failures[0].Error == "" {
		t.Errorf("got health %+v", h)
	}
}

// An alert that Notify did not take is offered again, firing and resolved.
func TestNotifyErrorLosesNothing(t *testing.T) {
	b := newBench(t, t.TempDir(), "groups: [{name: g, interval: 1m, rules: [{alert: Down, expr: 'up == 0'}]}]", 0)
	t0 := time.Now().Add(-30 * time.Minute).Truncate(time.Minute)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	b.fail = errors.New("the outbox is closed")
	b.put("up", at(0), 0)
	b.want("first", b.eval(at(0)), "Down firing")
	b.want("within the delay", b.eval(at(30)))
	b.want("after the delay", b.eval(at(61)), "Down firing")
	b.put("up", at(70), 1)
	b.want("over", b.eval(at(70)), "Down resolved")
	b.fail = nil
	b.want("again", b.eval(at(131)), "Down resolved")
}

func TestApplyKeepsRulesInForce(t *testing.T) {
	b := newBench(t, t.TempDir(), "groups: [{name: g, rules: [{alert: Down, expr: 'up == 0'}]}]", 0)
	bad := filepath.Join(t.TempDir(), "bad.yml")
	if err := os.WriteFile(bad, []byte("groups: [{name: g, rules: [{alert: Down, expr: 'sum('}]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.rules.Apply(time.Minute, []string{bad}, labels.EmptyLabels(), ""); err == nil {
		t.Error("a bad rule file was taken")
	}
	if errs := judge.CheckFiles([]string{bad}, b.engines.Parser); len(errs) == 0 {
		t.Error("CheckFiles finds nothing wrong with a bad file")
	}
	if h := b.rules.Health(); h.Rules != 1 {
		t.Errorf("got %d rules in force, want the old one", h.Rules)
	}
}

// The state of `for` comes back after a restart: what was firing fires at once,
// what was pending goes on where it was.
func TestStateSurvivesRestart(t *testing.T) {
	file := `
groups:
- name: g
  interval: 200ms
  rules:
  - {alert: Firing, expr: 'up == 0', for: 10m}
  - {alert: Pending, expr: 'up == 0', for: 2h}
`
	dir := t.TempDir()
	b := newBench(t, dir, file, 0)
	now := time.Now()
	for m := 30; m >= 2; m-- {
		at := now.Add(time.Duration(-m) * time.Minute)
		b.put("up", at, 0)
		b.eval(at)
	}
	if got := b.states(); got != "Firing firing, Pending pending" {
		t.Fatalf("before the restart: %q", got)
	}
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}

	b = newBench(t, dir, file, 0)
	b.put("up", time.Now(), 0)
	ctx, cancel := context.WithCancel(b.ctx)
	ended := make(chan error, 1)
	go func() { ended <- b.rules.Run(ctx) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	got, end := "", time.Now().Add(10*time.Second)
	for ; time.Now().Before(end) && got != "Firing firing, Pending pending"; <-tick.C {
		got = b.states()
	}
	since := map[string]time.Duration{}
	for _, s := range b.rules.Active() {
		since[s.Name] = now.Sub(s.Since).Round(time.Minute)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if got != "Firing firing, Pending pending" {
		t.Fatalf("after the restart: %q", got)
	}
	// The two minutes without evaluation do not count as time pending.
	if want := (map[string]time.Duration{"Firing": 30 * time.Minute, "Pending": 28 * time.Minute}); fmt.Sprint(since) != fmt.Sprint(want) {
		t.Errorf("active since %v, want %v", since, want)
	}
}
