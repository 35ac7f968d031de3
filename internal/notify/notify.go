package notify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/alertmanager/alert"
	apiv2 "github.com/prometheus/alertmanager/api/v2"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/record"
)

// Options say where a notifier keeps its state and how long it tries.
type Options struct {
	// DB is the tenant's SQLite file, opened by the caller with WAL and
	// synchronous=FULL. The tables whose names start with notify_ are the
	// notifier's. The caller closes it after Run has returned.
	DB *sql.DB
	// Instruments takes what the outbox says of itself, Registerer what
	// Alertmanager's packages do; two notifiers need their own. Nil for none.
	Instruments *instrument.Registry
	Registerer  prometheus.Registerer
	Log         *slog.Logger
	// ExternalURL is where a person who gets a notification finds Vedette.
	ExternalURL *url.URL
	RetryFor    time.Duration // how long a notification is tried; 24h if 0
	RetryMin    time.Duration // wait after the first failure; 2s if 0
	RetryMax    time.Duration // longest wait; 5m if 0
	// AttemptMax is the deadline of one attempt; 30s if 0.
	AttemptMax time.Duration
	KeepFor    time.Duration // how long ended notifications are shown; 14 days if 0
	Workers    int           // attempts at the same time; 8 if 0
	// Changed is called after alerts or silences ("alerts") or the outbox
	// ("outbox") changed. It must not block. May be nil.
	Changed func(topic string)
}

// Notifier is the telling room of one tenant. Its methods are safe for
// concurrent use.
type Notifier struct {
	log         *slog.Logger
	db          *sql.DB
	led         *ledger
	externalURL *url.URL
	keepFor     time.Duration
	changed     func(string)

	book      *book
	journal   *journal
	sent      *nflog.Log
	silences  *silence.Silences
	silencer  *silence.Silencer
	marker    marker.GroupMarker
	builder   *notify.PipelineBuilder
	dispatchM *dispatch.DispatcherMetrics
	api       *apiv2.API
	out       *outbox

	// conf and line are read by the API while it holds locks of its own, so
	// they have none. line is nil until Run and never again.
	conf atomic.Pointer[Config]
	line atomic.Pointer[pipeline]

	mu      sync.Mutex // guards the rest; held while a pipeline is swapped
	state   state
	current *channels
}

type state int

const (
	opened state = iota
	running
	ended
)

const (
	// maintenanceEvery is how often what has expired is dropped.
	maintenanceEvery = 15 * time.Minute
	// forgetAlerts is how often ended alerts leave memory. Groups that have
	// not told of the end yet keep their own copy.
	forgetAlerts = time.Minute
	// logRetention is how long the notification log and expired silences are
	// kept, as in Alertmanager.
	logRetention = 120 * time.Hour
)

// Open reads the state of the last run and starts nothing. Until Apply is
// called the configuration is DefaultConfig; after Open call Apply, then Run.
func Open(o Options) (*Notifier, error) {
	prepareLibrary()
	if o.DB == nil {
		return nil, errors.New("open the notifier: no database given")
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Instruments == nil {
		o.Instruments = instrument.New(instrument.Config{})
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.ExternalURL == nil {
		// The library dereferences it in every notification.
		o.ExternalURL = &url.URL{Scheme: "http", Host: "localhost"}
	}
	if o.Changed == nil {
		o.Changed = func(string) {}
	}
	o.RetryFor = orDefault(o.RetryFor, 24*time.Hour)
	o.RetryMin = orDefault(o.RetryMin, 2*time.Second)
	o.RetryMax = orDefault(o.RetryMax, 5*time.Minute)
	o.AttemptMax = orDefault(o.AttemptMax, 30*time.Second)
	o.KeepFor = orDefault(o.KeepFor, 14*24*time.Hour)
	if o.Workers <= 0 {
		o.Workers = 8
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	led, err := openLedger(ctx, o.DB)
	if err != nil {
		return nil, err
	}
	n := &Notifier{db: o.DB, led: led, externalURL: o.ExternalURL, keepFor: o.KeepFor, changed: o.Changed, marker: marker.NewGroupMarker()}
	n.out = &outbox{led: led, metrics: newMetrics(o.Instruments), changed: func() { o.Changed("outbox") },
		retryFor: o.RetryFor, retryMin: o.RetryMin, retryMax: o.RetryMax, attemptMax: o.AttemptMax,
		graceful: 5 * time.Second, workers: o.Workers, lanes: make(map[lane]*laneQueue), wake: make(chan struct{}, 1)}
	n.log = slog.New(cleanHandler{o.Log.Handler(), n.out.knownSecrets})
	n.out.log = n.log
	tellBacklog(o.Instruments, n.out.stats, n.log)
	if err := n.wire(o.Registerer); err != nil {
		return nil, err
	}
	if err := n.load(ctx); err != nil {
		n.book.Alerts.Close()
		return nil, err
	}
	return n, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// wire makes the parts that live as long as the notifier.
func (n *Notifier) wire(reg prometheus.Registerer) error {
	var err error
	if n.sent, err = nflog.New(nflog.Options{Retention: logRetention, Logger: n.log, Metrics: reg}); err != nil {
		return fmt.Errorf("make the notification log: %w", err)
	}
	if n.silences, err = silence.New(silence.Options{Retention: logRetention, Logger: n.log, Metrics: reg}); err != nil {
		return fmt.Errorf("make the silences: %w", err)
	}
	n.silencer = silence.NewSilencer(n.silences, n.log, eventrecorder.Recorder{})
	n.builder = notify.NewPipelineBuilder(reg, featurecontrol.NoopFlags{}, eventrecorder.Recorder{})
	n.dispatchM = dispatch.NewDispatcherMetrics(false, reg, featurecontrol.NoopFlags{})
	n.journal = &journal{led: n.led, log: n.log, sent: n.sent, silences: n.silences, changed: func() { n.changed("alerts") }}
	n.book = &book{led: n.led, log: n.log, changed: func() { n.changed("alerts") }, disk: make(map[model.Fingerprint]diskAlert)}
	n.book.Alerts, err = mem.NewAlerts(context.Background(), forgetAlerts, 0, bookCallback{n.silencer, n.book.settle},
		n.log, eventrecorder.Recorder{}, reg, featurecontrol.NoopFlags{})
	if err != nil {
		return fmt.Errorf("make the memory of alerts: %w", err)
	}
	n.api, err = apiv2.NewAPI(n.book, n.groups, n.marker.Muted, n.silences, nil, n.log, reg)
	if err != nil {
		n.book.Alerts.Close()
		return fmt.Errorf("make the Alertmanager API: %w", err)
	}
	return nil
}

func (n *Notifier) load(ctx context.Context) error {
	if err := n.book.load(ctx, n.db); err != nil {
		return err
	}
	if err := n.journal.load(ctx, n.db); err != nil {
		return err
	}
	if err := n.out.load(ctx); err != nil {
		return err
	}
	return n.take(DefaultConfig())
}

// Run decides and delivers until ctx ends. Notifications of an earlier run whose
// integration the configuration does not have become failed, so Apply comes
// first.
//
// At the end alerts are refused, the pipeline stops, attempts in flight get some
// seconds to finish, and Run returns when all is on disk. It may be called once.
func (n *Notifier) Run(ctx context.Context) error {
	n.mu.Lock()
	if n.state != opened {
		n.mu.Unlock()
		return errors.New("run the notifier: it has run already")
	}
	n.state = running
	line := n.newPipeline()
	line.start()
	n.line.Store(line)
	n.mu.Unlock()
	n.changed("alerts")

	var wg sync.WaitGroup
	n.failRemoved()
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	wg.Go(func() { n.out.run(work) })
	wg.Go(func() { n.sent.Maintenance(maintenanceEvery, "", work.Done(), n.journal.compactSent) })
	wg.Go(func() { n.silences.Maintenance(maintenanceEvery, "", work.Done(), n.journal.compactSilences) })
	wg.Go(func() { n.prune(work) })

	<-ctx.Done()
	n.book.close()
	n.mu.Lock()
	n.state = ended
	n.line.Load().stop()
	n.mu.Unlock()
	stopWork()
	wg.Wait()
	n.book.Alerts.Close()
	n.led.close()
	return nil
}

// prune drops what is too old, now and then.
func (n *Notifier) prune(ctx context.Context) {
	tick := time.NewTicker(maintenanceEvery)
	defer tick.Stop()
	for {
		now := time.Now()
		keep := n.Config().longestInterval()
		if err := errors.Join(n.out.prune(now.Add(-n.keepFor)), n.book.prune(now.Add(-keep))); err != nil && !errors.Is(err, errLedgerClosed) {
			n.log.Error("old notifications and alerts cannot be dropped", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Apply makes c the configuration. Everything that can fail is done before
// anything changes; alerts, silences, the notification log and the outbox stay.
// Notifications that wait for an integration which c does not have become
// failed.
func (n *Notifier) Apply(c *Config) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state == ended {
		return errLedgerClosed
	}
	if err := n.takeLocked(c); err != nil {
		return err
	}
	if n.state != running {
		return nil
	}
	n.line.Load().stop()
	line := n.newPipeline()
	line.start()
	n.line.Store(line)
	n.changed("alerts")
	n.failRemoved()
	return nil
}

// failRemoved cannot undo the new configuration, so its error is only logged;
// the rows fail later when they are due.
func (n *Notifier) failRemoved() {
	if err := n.out.failRemoved(context.Background()); err != nil {
		n.log.Error("notifications of removed receivers cannot be ended", "error", err)
	}
}

func (n *Notifier) take(c *Config) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.takeLocked(c)
}

func (n *Notifier) takeLocked(c *Config) error {
	ch, err := c.build(n.externalURL, n.log)
	if err != nil {
		return err
	}
	n.current = ch
	n.conf.Store(c)
	n.out.swap(ch.real, collectSecrets(c.conf))
	n.api.Update(c.conf, n.mark)
	return nil
}

// Config returns the configuration in force.
func (n *Notifier) Config() *Config { return n.conf.Load() }

// Put takes alerts from the rules and returns when they are on disk. The valid
// ones are taken even if others are not; then the error has the kind Invalid. A
// zero StartsAt is now, a zero EndsAt is now plus the configuration's
// resolve_timeout.
func (n *Notifier) Put(ctx context.Context, alerts ...record.Alert) error {
	now := time.Now()
	timeout := time.Duration(n.Config().conf.Global.ResolveTimeout)
	valid := make([]*alert.Alert, 0, len(alerts))
	var invalid error
	for _, r := range alerts {
		a := &alert.Alert{UpdatedAt: now, Alert: model.Alert{
			Labels: toLabelSet(r.Labels), Annotations: toLabelSet(r.Annotations),
			StartsAt: r.StartsAt, EndsAt: r.EndsAt, GeneratorURL: r.GeneratorURL}}
		for name, value := range a.Labels {
			if value == "" {
				delete(a.Labels, name)
			}
		}
		if a.StartsAt.IsZero() {
			a.StartsAt = now
			if !a.EndsAt.IsZero() {
				a.StartsAt = a.EndsAt
			}
		}
		if a.EndsAt.IsZero() {
			a.Timeout, a.EndsAt = true, now.Add(timeout)
		}
		if err := a.Validate(); err != nil {
			invalid = errors.Join(invalid, fmt.Errorf("alert %v: %w", a.Labels, err))
			continue
		}
		valid = append(valid, a)
	}
	if err := n.book.Put(ctx, valid...); err != nil {
		return err
	}
	if invalid != nil {
		return record.Errorf(record.Invalid, "%w", invalid)
	}
	return nil
}

// Alert is an active alert and what becomes of it.
type Alert struct {
	record.Alert
	Fingerprint string
	Receivers   []string // of the routes that it takes
	SilencedBy  []string // ids of silences
	InhibitedBy []string // fingerprints of alerts
}

// Suppressed tells whether nobody is told of the alert.
func (a Alert) Suppressed() bool { return len(a.SilencedBy)+len(a.InhibitedBy) > 0 }

// Alerts lists the active alerts in no order.
func (n *Notifier) Alerts(ctx context.Context) []Alert {
	routes := dispatch.NewRoute(n.Config().conf.Route, nil)
	it := n.book.GetPending()
	defer it.Close()
	now := time.Now()
	out := []Alert{}
	for next := range it.Next() {
		a := next.Data
		if a.ResolvedAt(now) {
			continue
		}
		fp := a.Fingerprint()
		mk := marker.NewAlertMarker()
		n.mark(marker.WithContext(ctx, mk), a.Labels)
		status := mk.Status(fp)
		v := Alert{Fingerprint: fp.String(), SilencedBy: status.SilencedBy, InhibitedBy: status.InhibitedBy,
			Alert: record.Alert{Labels: fromLabelSet(a.Labels), Annotations: fromLabelSet(a.Annotations),
				StartsAt: a.StartsAt, EndsAt: a.EndsAt, GeneratorURL: a.GeneratorURL}}
		for _, r := range routes.Match(a.Labels) {
			v.Receivers = append(v.Receivers, r.RouteOpts.Receiver)
		}
		out = append(out, v)
	}
	return out
}
