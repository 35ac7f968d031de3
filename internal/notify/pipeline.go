package notify

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/common/model"
)

// pipeline is what a reload replaces: routes, groups, inhibition and the way of
// a decision into the outbox.
type pipeline struct {
	inhibitor  *inhibit.Inhibitor
	dispatcher *dispatch.Dispatcher
	running    sync.WaitGroup
}

// newPipeline builds the pipeline of the current configuration. The caller
// holds n.mu.
func (n *Notifier) newPipeline() *pipeline {
	conf := n.Config().conf
	p := &pipeline{inhibitor: inhibit.NewInhibitor(n.book, conf.InhibitRules, n.log, eventrecorder.Recorder{})}

	intervals := make(map[string][]timeinterval.TimeInterval)
	for _, ti := range conf.MuteTimeIntervals {
		intervals[ti.Name] = ti.TimeIntervals
	}
	for _, ti := range conf.TimeIntervals {
		intervals[ti.Name] = ti.TimeIntervals
	}
	receivers := make(map[string][]notify.Integration, len(n.current.order))
	for name, lanes := range n.current.order {
		receivers[name] = nil
		for _, l := range lanes {
			in := n.current.real[l]
			receivers[name] = append(receivers[name], notify.NewIntegration(deciding{n.out, l}, in, in.name, in.index, name))
		}
	}
	stage := n.builder.New(receivers, func() time.Duration { return 0 }, p.inhibitor, n.silencer,
		timeinterval.NewIntervener(intervals), n.marker, n.sent, nil)
	p.dispatcher = dispatch.NewDispatcher(n.book, dispatch.NewRoute(conf.Route, nil), stage, n.marker,
		func(d time.Duration) time.Duration { return max(d, notify.MinTimeout) },
		30*time.Second, nil, n.log, eventrecorder.Recorder{}, n.dispatchM, n.current.tmpl)
	return p
}

// start returns when all known alerts have passed the inhibitor and are in their
// groups. The inhibitor comes first, or a restart would tell of alerts that are
// inhibited.
func (p *pipeline) start() {
	p.running.Go(p.inhibitor.Run)
	p.inhibitor.WaitForLoading()
	p.running.Go(func() { p.dispatcher.Run(time.Now()) })
	p.dispatcher.WaitForLoading()
}

// stop ends the pipeline. A group that is being flushed may still write its
// decision; its successor recognises it in the outbox.
func (p *pipeline) stop() {
	p.dispatcher.Stop()
	p.inhibitor.Stop()
	p.running.Wait()
}

// deciding takes the place of an integration in the pipeline: it writes the
// decision to the outbox and leaves the network to the workers.
type deciding struct {
	out  *outbox
	lane lane
}

// Notify implements notify.Notifier. Every error may pass, since it is the
// disk's.
func (d deciding) Notify(ctx context.Context, alerts ...*alert.Alert) (retry bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			d.out.log.Error("writing a notification to the outbox panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			retry, err = true, fmt.Errorf("writing to the outbox panicked: %v", p)
		}
	}()
	return true, d.out.decide(ctx, d.lane, alerts)
}

// mark notes on the marker in ctx what suppresses an alert with these labels.
func (n *Notifier) mark(ctx context.Context, labels model.LabelSet) {
	if line := n.line.Load(); line != nil {
		line.inhibitor.Mutes(ctx, labels)
	}
	n.silencer.Mutes(ctx, labels)
}

// groups answers the API.
func (n *Notifier) groups(ctx context.Context, route func(*dispatch.Route) bool, filter func(*alert.Alert, time.Time) bool) (
	dispatch.AlertGroups, map[model.Fingerprint][]string, error) {
	line := n.line.Load()
	if line == nil {
		return nil, nil, nil
	}
	return line.dispatcher.Groups(ctx, route, filter)
}

// longestInterval is how long an ended alert must be kept for its group to tell
// of the end after a restart.
func (c *Config) longestInterval() time.Duration {
	keep := time.Hour
	var walk func(*config.Route)
	walk = func(r *config.Route) {
		if r.GroupInterval != nil {
			keep = max(keep, 2*time.Duration(*r.GroupInterval))
		}
		for _, child := range r.Routes {
			walk(child)
		}
	}
	walk(c.conf.Route)
	return keep
}
