package app

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/fleet"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/ingest/pull"
	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
	"github.com/vedette-sre/vedette/internal/store/state"
	"github.com/vedette-sre/vedette/internal/web"
)

// tenant is one tenant's open stations. It is made by openTenant, which starts
// everything, and ended by close, which closes the doors first and the stores
// last.
type tenant struct {
	name record.Tenant
	dir  string
	log  *slog.Logger
	url  string // how people reach the server
	view *web.Tenant

	db       *sql.DB
	store    *metric.Store
	storage  storage.Storage // the store, and remote storage beside it
	remote   *remote.Storage
	engines  *query.Engines
	scraper  *ingest.Scraper
	rules    *judge.Rules
	notifier *notify.Notifier
	prober   *probe.Prober
	blackbox *probe.Blackbox
	runs     *state.Runs
	days     *state.Days
	history  *state.History
	seen     *state.Seen
	board    *state.Board
	checks   *judge.Checks
	hub      *fleet.Hub
	book     *book
	writer   *ingest.Writer
	counts   *ingest.Counts
	sink     *ingest.Sink
	statsd   *ingest.StatsD
	push     *ingest.Push
	puller   *pull.Puller
	cfg      atomic.Pointer[pconfig.Config]

	cancel  context.CancelFunc
	stopped sync.WaitGroup

	users    int       // requests that hold it open; guarded by house.mu
	lastUsed time.Time // guarded by house.mu
}

// surroundings are what all tenants share.
type surroundings struct {
	data    string
	url     *url.URL
	version web.Version
	started time.Time
	process *prometheus.Registry
	live    *web.Live
	http    http.Handler // the one port
	log     *slog.Logger
	// configOK and configAt tell of the last configuration offered.
	configOK func() bool
	configAt func() time.Time
}

// openTenant opens the directory of a tenant and starts its stations.
func openTenant(name record.Tenant, plan *tenantPlan, env surroundings) (_ *tenant, err error) {
	t := &tenant{name: name, dir: filepath.Join(env.data, string(name)), log: env.log.With("tenant", string(name)), url: env.url.String(), lastUsed: time.Now()}
	reg, own := prometheus.NewRegistry(), instrument.New(instrument.Config{})
	reg.MustRegister(ingest.Instruments{Registry: own})
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.db, err = state.Open(t.dir); err != nil {
		return nil, err
	}
	quiet := quieter(t.log)
	if t.store, err = metric.Open(filepath.Join(t.dir, "metrics"), plan.store, own, reg, quiet.With("station", "store")); err != nil {
		return nil, explainLock(err)
	}
	t.counts = ingest.NewCounts(own)
	t.engines = query.NewEngines(plan.conf.Query, own, reg, t.log.With("station", "query"))
	if t.days, err = state.NewDays(t.db); err != nil {
		return nil, err
	}
	if t.history, err = state.NewHistory(t.db); err != nil {
		return nil, err
	}
	if t.seen, err = state.NewSeen(t.db); err != nil {
		return nil, err
	}
	objects, err := state.NewObjects(t.db)
	if err != nil {
		return nil, err
	}
	if t.runs, err = state.NewRuns(t.db, state.RunsConfig{
		Days:        t.days,
		KeepSuccess: time.Duration(plan.conf.Retention.ChecksOK), KeepFailure: time.Duration(plan.conf.Retention.ChecksFailed),
	}); err != nil {
		return nil, err
	}
	t.board = state.NewBoard(t.runs, t.days)
	t.writer = ingest.NewWriter(t.store, t.counts)

	if t.scraper, err = ingest.NewScraper(ctx, ingest.CountedV2(t.storageV2(), "scrape", t.counts), reg, quiet.With("station", "scrape")); err != nil {
		return nil, err
	}
	t.remote = remote.NewStorage(t.log.With("station", "remote"), reg, t.store.StartTime, t.store.Dir(), flushRemote, readyScraper{t.scraper}, false)
	t.storage = storage.NewFanout(t.log, t.store, t.remote)
	t.store.SetWriteNotified(t.remote)
	t.sink = ingest.NewSink(t.storage, ingest.SinkConfig{IsLimit: metric.IsLimit, MaxNewSeries: plan.conf.Limits.MaxNewSeries}, t.counts)

	t.notifier, err = notify.Open(notify.Options{
		DB: t.db, Instruments: own, Registerer: reg, Log: t.log.With("station", "notify"), ExternalURL: env.url,
		RetryFor: time.Duration(plan.conf.Outbox.RetryFor), KeepFor: time.Duration(plan.conf.Outbox.KeepFor),
		Changed: func(topic string) { env.live.Changed(name, topic) },
	})
	if err != nil {
		return nil, err
	}
	t.rules = judge.NewRules(ctx, judge.Options{
		Query:  rules.EngineQueryFunc(t.engines.Rules, t.storage),
		Append: t.storage, Queryable: t.store,
		Notify: func(ctx context.Context, as ...record.Alert) error {
			env.live.Changed(name, "alerts")
			return t.notifier.Put(ctx, as...)
		},
		URL: env.url, Parser: t.engines.Parser, Registry: reg, Log: t.log.With("station", "judge"),
	})
	if t.prober, err = probe.New(probe.Config{Location: fleet.HubLocation, Workers: plan.conf.Limits.CheckWorkers}, t.ran(env), t.log.With("station", "probe")); err != nil {
		return nil, err
	}
	t.checks = judge.NewChecks(judge.ChecksOptions{
		Ask:     func(ctx context.Context, check, location string) { t.book.ask(ctx, check, location) },
		Notify:  t.notifier.Put,
		Changed: t.changed(env),
		URL:     strings.TrimSuffix(env.url.String(), "/"), Log: t.log.With("station", "judge"),
	})
	t.hub = fleet.NewHub(fleet.HubOptions{
		Checks: func(l fleet.Location) []fleet.Assignment { return t.book.assignments(l) },
		Accept: t.accept(env), Seen: t.seen.Get, Saw: t.seen.Set,
		Silent: func(location string, silent bool) {
			t.checks.Location(location, silent)
			env.live.Changed(name, "checks")
		},
		Version: env.version.Version, Log: t.log.With("station", "fleet"),
	})
	t.book = &book{objects: objects, prober: t.prober, hub: t.hub, judge: t.checks, board: t.board, log: t.log.With("station", "probe")}
	if err = reg.Register(t.checks); err != nil {
		return nil, fmt.Errorf("register the metrics of verdicts: %w", err)
	}
	t.prober.Tell(own)
	if t.blackbox, err = probe.NewBlackbox(plan.blackbox, reg, t.log.With("station", "probe")); err != nil {
		return nil, err
	}

	ingestLog := t.log.With("station", "ingest")
	statsdConf := plan.conf.StatsD
	statsdConf.MaxPacket = plan.conf.Limits.MaxLineBytes
	if t.puller, err = pull.New(pull.Config{}, t.pulled, t.log.With("station", "ingest")); err != nil {
		return nil, err
	}
	t.statsd = ingest.NewStatsD(t.sink, statsdConf, t.counts, ingestLog)
	graphiteConf := plan.conf.Graphite
	graphiteConf.MaxLine = plan.conf.Limits.MaxLineBytes
	graphite, err := ingest.NewGraphite(t.sink, graphiteConf, ingestLog)
	if err != nil {
		return nil, fmt.Errorf("graphite: %w", err)
	}
	pushes, err := state.NewPushes(t.db)
	if err != nil {
		return nil, err
	}
	if t.push, err = ingest.NewPush(t.sink, pushes, plan.conf.Pushgateway, t.counts, ingestLog); err != nil {
		return nil, err
	}
	build := prometheusBuild(env.version)
	t.cfg.Store(plan.prometheus)
	promAPI := query.NewAPI("/api/v1", query.APIOptions{
		Engines: t.engines, Queryable: t.storage, Append: t.store, OTLP: ingest.CountedV2(t.storage, "otlp", t.counts),
		Store: t.store, Scrape: t.scraper.Manager(), Rules: t.rules.Manager(),
		Config: func() pconfig.Config { return *t.cfg.Load() }, Flags: flagsMap(plan),
		Runtime: runtimeInfo(t, env), Build: build, Registry: reg, URL: env.url, Log: t.log.With("station", "query"),
	})
	t.view = &web.Tenant{
		Name: name, Prometheus: promAPI,
		Federate:    query.Federate(t.store, t.engines.Parser, t.engines.Config.Lookback, func() pconfig.Config { return *t.cfg.Load() }, t.log),
		RemoteWrite: ingest.RemoteWrite(t.sink, ingest.RemoteWriteConfig{MaxBytes: plan.conf.Limits.MaxDecompressedBytes}, ingestLog),
		Throttle:    ingest.NewThrottle(plan.conf.Limits.MaxConcurrentWrites, t.counts),
		Influx:      ingest.NewInflux(t.sink, ingest.InfluxConfig{MaxBytes: plan.conf.Limits.MaxDecompressedBytes, MaxLine: plan.conf.Limits.MaxLineBytes}, ingestLog),
		OpenTSDB:    ingest.NewOpenTSDB(t.sink, ingest.OpenTSDBConfig{MaxBytes: plan.conf.Limits.MaxDecompressedBytes, MaxLine: plan.conf.Limits.MaxLineBytes, HTTP: only(openTSDBPaths, env.http)}, ingestLog),
		Graphite:    graphite, StatsD: t.statsd, Push: t.push,
		OTLP: ingest.NewOTLP(t.sink, ingest.OTLPConfig{
			MaxBytes: plan.conf.Limits.MaxDecompressedBytes, Lookback: t.engines.Config.Lookback,
			Names: func() ingest.OTLPNames { return t.cfg.Load().OTLPConfig },
		}, ingestLog),
		Pulls:        t.pulls,
		Alertmanager: t.notifier.Handler(), Blackbox: t.blackbox,
		Engines: t.engines, Queryable: t.storage, Store: t.store, Counts: t.counts, Scrape: t.scraper.Manager(),
		Rules: t.rules, Notifier: t.notifier, Prober: t.prober, Board: t.board, Runs: t.runs, Registry: reg,
		Book: t.book, Verdicts: t.checks, Hub: t.hub, History: t.history, Days: t.days, Objects: objects,
		MaxConcurrentWrites: cmp.Or(plan.conf.Limits.MaxConcurrentWrites, ingest.DefaultConcurrentWrites),
		Watches:             plan.watch, Dir: t.dir,
	}
	own.Describe("vedette_disk_full", "seconds", "Time until the disk under the data directory is full, if all goes on as it does; +Inf for never.")
	own.GaugeFunc("vedette_disk_full", t.view.DiskFullSeconds)
	if err := t.apply(plan); err != nil {
		return nil, err
	}
	if err := t.restore(ctx); err != nil {
		return nil, err
	}
	t.start(ctx, plan, env, reg)
	return t, nil
}

// start runs the stations; each ends with ctx.
func (t *tenant) start(ctx context.Context, plan *tenantPlan, env surroundings, reg *prometheus.Registry) {
	run := func(name string, f func(context.Context) error) {
		t.stopped.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				t.log.Error("a station ended", "station", name, "err", err)
			}
		})
	}
	run("notify", t.notifier.Run)
	run("statsd", t.statsd.Run)
	run("push", t.push.Run)
	run("pull", t.puller.Run)
	run("scrape", t.scraper.Run)
	run("judge", t.rules.Run)
	run("checks", t.checks.Run)
	run("fleet", t.hub.Run)
	run("probe", t.prober.Run)
	run("runs", func(ctx context.Context) error {
		t.runs.Run(ctx, func(err error) { t.log.Error("check runs wait in memory", "err", err) })
		return nil
	})
	run("history", func(ctx context.Context) error {
		tick := time.NewTicker(time.Hour)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case now := <-tick.C:
				if err := t.history.Prune(ctx, now); err != nil && ctx.Err() == nil {
					t.log.Error("old changes of checks stay", "err", err)
				}
			}
		}
	})
	instance := env.url.Host
	collect := func(g prometheus.Gatherer, job string) {
		run(job, func(ctx context.Context) error {
			ingest.Collect(ctx, t.writer, g, job, []string{"job", job, "instance", instance}, selfInterval, t.log)
			return nil
		})
	}
	if !plan.watch {
		// The store then holds what is sent to it and nothing else.
		return
	}
	collect(prometheus.Gatherers{env.process, reg}, "vedette")
	hostReg := prometheus.NewRegistry()
	hostReg.MustRegister(ingest.NewHost(plan.conf.Host, env.data, func(part string, err error) {
		t.log.Warn("a part of the host cannot be read", "part", part, "err", err)
	}))
	collect(hostReg, "vedette-host")
}

// flushRemote is how long a stop waits for a remote_write receiver that does not
// take the last samples.
const flushRemote = 5 * time.Second

// selfInterval is how often the process and the host are measured.
const selfInterval = 5 * time.Second

// apply puts a plan in force. Everything that a file could be wrong in was
// checked when the plan was made.
func (t *tenant) apply(plan *tenantPlan) error {
	if err := t.store.Apply(plan.store); err != nil {
		return err
	}
	if err := t.remote.ApplyConfig(plan.prometheus); err != nil {
		return fmt.Errorf("apply remote_write and remote_read: %w", err)
	}
	if len(plan.prometheus.RemoteReadConfigs) == 0 {
		t.engines.Remember(t.store)
	} else {
		t.engines.Remember(nil) // nobody tells when samples elsewhere change
	}
	if err := t.notifier.Apply(plan.alertmanager); err != nil {
		return err
	}
	if err := t.blackbox.Apply(plan.blackbox); err != nil {
		return err
	}
	if err := t.scraper.Apply(plan.prometheus); err != nil {
		return err
	}
	if err := t.rules.Apply(time.Duration(plan.prometheus.GlobalConfig.EvaluationInterval), plan.ruleFiles,
		plan.prometheus.GlobalConfig.ExternalLabels, t.url); err != nil {
		return err
	}
	if err := t.book.apply(context.Background(), plan); err != nil {
		return err
	}
	if err := t.puller.Apply(plan.conf.Pull); err != nil {
		return err
	}
	t.cfg.Store(plan.prometheus)
	return nil
}

// pulled stores a round of a database or queue.
func (t *tenant) pulled(ctx context.Context, of pull.Target, at time.Time, samples []record.Sample) error {
	return t.writer.Put(ctx, "pull", "pull "+of.ID(), at, samples)
}

// pulls tells how the databases and queues fare.
func (t *tenant) pulls() []web.PullView {
	out := []web.PullView{}
	for _, s := range t.puller.Targets() {
		v := web.PullView{Name: s.Name, Kind: s.Kind, Instance: s.Instance, Up: s.Up, Error: cmp.Or(s.Error, s.SinkError),
			Took: s.Took.Seconds(), Samples: s.Samples, Dropped: s.Dropped, Faults: s.Faults}
		if !s.Last.IsZero() {
			v.Since, v.Last = &s.Since, &s.Last
		}
		out = append(out, v)
	}
	return out
}

// ran takes a run of the hub's own prober.
func (t *tenant) ran(env surroundings) func(context.Context, probe.Check, record.CheckResult) {
	return func(ctx context.Context, c probe.Check, r record.CheckResult) {
		r.Maintenance = t.checks.InMaintenance(c.ID)
		t.runs.Add(r)
		t.take(ctx, env, c, r)
	}
}

// accept takes what another place brings. It is durable when accept returns.
func (t *tenant) accept(env surroundings) func(context.Context, string, []record.CheckResult) error {
	return func(ctx context.Context, location string, rs []record.CheckResult) error {
		if t.store.Broken() {
			return record.Errorf(record.Unavailable, "the hub cannot store now; keep the results and retry")
		}
		known := rs[:0]
		checks := make([]probe.Check, 0, len(rs))
		for _, r := range rs {
			c, ok := t.book.Check(r.Check)
			if !ok {
				continue // tried once, or gone meanwhile
			}
			r.Kind, r.Target = c.Kind, c.Target()
			r.Maintenance = t.checks.InMaintenance(c.ID)
			known, checks = append(known, r), append(checks, c)
		}
		if len(known) == 0 {
			return nil
		}
		if err := t.runs.AddDurably(ctx, known); err != nil {
			return err
		}
		for i, r := range known {
			t.take(ctx, env, checks[i], r)
		}
		return nil
	}
}

// take shows, stores and judges a run.
func (t *tenant) take(ctx context.Context, env surroundings, c probe.Check, r record.CheckResult) {
	flipped := t.board.Add(r)
	if err := t.writer.Put(ctx, "checks", "check "+c.ID+" "+r.Location, r.Start.Add(r.Duration), probe.Samples(c, r)); err != nil && ctx.Err() == nil {
		t.log.Error("a check's samples were not stored", "check", c.Name, "err", err)
	}
	t.checks.Observe(r)
	if flipped {
		t.rules.Prompt()
		env.live.Changed(t.name, "now")
	}
	env.live.Changed(t.name, "checks")
}

// changed keeps a change of a check's state.
func (t *tenant) changed(env surroundings) func(record.Change) {
	return func(c record.Change) {
		if err := t.history.Add(context.Background(), c); err != nil {
			t.log.Error("a change of a check's state was not kept", "check", c.Check, "err", err)
		}
		env.live.Changed(t.name, "now")
		env.live.Changed(t.name, "checks")
	}
}

// restore brings the board and the verdicts to where they were.
func (t *tenant) restore(ctx context.Context) error {
	runs, err := t.board.Restore(ctx, t.book.statePlaces())
	if err != nil {
		return err
	}
	spans, err := t.history.Spans(ctx, nil, time.Now(), time.Now())
	if err != nil {
		return err
	}
	var last []record.Change
	for _, s := range spans {
		if s.Last != nil {
			last = append(last, *s.Last)
		}
	}
	t.checks.Restore(last, runs)
	return nil
}

// close ends the stations and then the stores. It may be called on a tenant
// that opened only in part.
func (t *tenant) close() error {
	t.cancel()
	t.stopped.Wait()
	var errs []error
	if t.engines != nil {
		t.engines.Close()
	}
	if t.remote != nil {
		errs = append(errs, t.remote.Close())
	}
	if t.store != nil {
		errs = append(errs, t.store.Close())
	}
	if t.db != nil {
		errs = append(errs, t.db.Close())
	}
	return errors.Join(errs...)
}

// storageV2 is the fan-out that is made after the scraper, which it needs.
func (t *tenant) storageV2() storage.AppendableV2 { return lateV2{t} }

type lateV2 struct{ t *tenant }

func (l lateV2) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return l.t.storage.AppenderV2(ctx)
}

type readyScraper struct{ s *ingest.Scraper }

// explainLock says what a locked directory means.
func explainLock(err error) error {
	if strings.Contains(err.Error(), "lock DB directory") {
		return fmt.Errorf("another process uses this data directory; stop it, or choose another with --data: %w", err)
	}
	return err
}
