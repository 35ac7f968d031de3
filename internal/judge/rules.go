// Package judge decides: rules over metrics today, other detectors later. It
// hides the rule engine (Prometheus's own) and hands out alerts in the project's
// own words.
package judge

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/internal/record"
)

// Options are what the rules need of the other rooms.
type Options struct {
	Query     rules.QueryFunc
	Append    storage.Appendable
	Queryable storage.Queryable // the state of `for` is read back from ALERTS_FOR_STATE
	// Notify hands over alerts that changed or must be sent again. An error
	// means that they are not safe yet; they are sent again after ResendDelay.
	Notify   func(ctx context.Context, alerts ...record.Alert) error
	URL      *url.URL
	Parser   parser.Parser
	Registry prometheus.Registerer
	Log      *slog.Logger
	// ResendDelay is how often a firing alert is repeated; default 1 min.
	ResendDelay time.Duration
}

// Rules evaluates rule files on their intervals.
type Rules struct {
	manager *rules.Manager
	prompt  *prompter
}

// NewRules wires the rules; nothing is evaluated before Run.
func NewRules(ctx context.Context, o Options) *Rules {
	if o.ResendDelay == 0 {
		o.ResendDelay = time.Minute
	}
	return &Rules{prompt: newPrompter(), manager: rules.NewManager(&rules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation,
		ExternalURL:          o.URL,
		QueryFunc:            o.Query,
		NotifyFunc:           notify(o),
		Context:              ctx,
		Appendable:           o.Append,
		Queryable:            o.Queryable,
		Logger:               o.Log,
		Registerer:           o.Registry,
		OutageTolerance:      time.Hour,
		ForGracePeriod:       time.Minute,
		ResendDelay:          o.ResendDelay,
		RestoreNewRuleGroups: true,
		Parser:               o.Parser,
	})}
}

// notify turns the engine's alerts into ours.
func notify(o Options) rules.NotifyFunc {
	return func(ctx context.Context, expr string, alerts ...*rules.Alert) {
		if len(alerts) == 0 {
			return
		}
		out := make([]record.Alert, 0, len(alerts))
		link := o.URL.JoinPath("/").String() + "#/explore?expr=" + url.QueryEscape(expr)
		for _, a := range alerts {
			ra := record.Alert{
				Labels: a.Labels.Map(), Annotations: a.Annotations.Map(),
				StartsAt: a.FiredAt, GeneratorURL: link, EndsAt: a.ValidUntil,
			}
			if !a.ResolvedAt.IsZero() {
				ra.EndsAt = a.ResolvedAt
			}
			out = append(out, ra)
		}
		if err := o.Notify(ctx, out...); err != nil && ctx.Err() == nil {
			o.Log.Error("alerts were not taken and will be sent again", "alerts", len(out), "err", err)
		}
	}
}

// Apply loads the rule files; on an error the rules in force stay.
func (r *Rules) Apply(interval time.Duration, files []string, external labels.Labels, externalURL string) error {
	defer r.prompt.hold()()
	if err := r.manager.Update(interval, files, external, externalURL, r.prompt.iterate); err != nil {
		return fmt.Errorf("load rule files: %w", err)
	}
	return nil
}

// CheckFiles reads rule files without putting them in force.
func CheckFiles(files []string, p parser.Parser) []error {
	m := rules.NewManager(&rules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation, ExternalURL: &url.URL{}, Context: context.Background(),
		Logger: slog.New(slog.DiscardHandler), Parser: p,
	})
	_, errs := m.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, files...)
	return errs
}

// Run evaluates until ctx ends; it waits for the evaluation under way.
func (r *Rules) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, r.manager.Stop)
	defer stop()
	r.manager.Run()
	return nil
}

// Prompt has the rules that look at checks evaluated at once: a check has
// changed its state. It does not wait.
func (r *Rules) Prompt() { r.prompt.flip() }

// Manager serves the rules part of the HTTP API.
func (r *Rules) Manager() *rules.Manager { return r.manager }

// Health sums up how the rules fare.
type Health struct {
	Groups, Rules, Failing int
	// LastSeconds is how long the last evaluations of all groups took together.
	LastSeconds float64
	Failures    []Failure
	Slowest     []GroupTime // slowest first, at most ten
}

// Failure is a rule whose last evaluation failed.
type Failure struct{ Group, Rule, Error string }

// GroupTime is the last evaluation of one group.
type GroupTime struct {
	Group   string  `json:"group"`
	File    string  `json:"file"`
	Seconds float64 `json:"seconds"`
}

// Health looks at all groups.
func (r *Rules) Health() Health {
	var h Health
	for _, g := range r.manager.RuleGroups() {
		h.Groups++
		sec := g.GetEvaluationTime().Seconds()
		h.LastSeconds += sec
		h.Slowest = append(h.Slowest, GroupTime{g.Name(), g.File(), sec})
		for _, ru := range g.Rules() {
			h.Rules++
			if ru.Health() == rules.HealthBad {
				h.Failing++
				h.Failures = append(h.Failures, Failure{g.Name(), ru.Name(), fmt.Sprint(ru.LastError())})
			}
		}
	}
	sortSlowest(h.Slowest)
	h.Slowest = h.Slowest[:min(len(h.Slowest), 10)]
	return h
}

func sortSlowest(gs []GroupTime) {
	slices.SortStableFunc(gs, func(a, b GroupTime) int { return cmp.Compare(b.Seconds, a.Seconds) })
}

// State is one alert as the rules see it.
type State struct {
	Name        string
	State       string // "pending" or "firing"
	Labels      map[string]string
	Annotations map[string]string
	Since       time.Time // when the condition began to hold
}

// Active lists pending and firing alerts.
func (r *Rules) Active() []State {
	var out []State
	for _, ar := range r.manager.AlertingRules() {
		for _, a := range ar.ActiveAlerts() {
			out = append(out, State{
				Name: ar.Name(), State: a.State.String(),
				Labels: a.Labels.Map(), Annotations: a.Annotations.Map(), Since: a.ActiveAt,
			})
		}
	}
	return out
}
