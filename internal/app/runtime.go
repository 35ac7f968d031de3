package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/scrape"
	api "github.com/prometheus/prometheus/web/api/v1"

	"github.com/vedette-sre/vedette/internal/web"
)

// release is the version in the making; the binary adds its revision.
const release = "0.1.0-dev"

// buildInfo reads what the Go linker put into the binary.
func buildInfo() web.Version {
	v := web.Version{Version: release, Go: runtime.Version()}
	if bi, ok := debug.ReadBuildInfo(); ok {
		if m := bi.Main.Version; m != "" && m != "(devel)" {
			v.Version = m
		}
		dirty := false
		for _, s := range bi.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Revision = s.Value
			case "vcs.time":
				v.BuildTime = s.Value
			case "vcs.modified":
				dirty = s.Value == "true"
			}
		}
		if dirty {
			v.Revision += "-dirty"
		}
	}
	return v
}

// processRegistry holds the metrics of the whole process.
func processRegistry(v web.Version) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "vedette_build_info", Help: "What is running, value 1.",
		ConstLabels: prometheus.Labels{"version": v.Version, "revision": v.Revision, "goversion": v.Go},
	})
	info.Set(1)
	reg.MustRegister(info)
	return reg
}

// prometheusBuild answers /api/v1/status/buildinfo. Grafana and others read the
// Prometheus version there to learn which calls they may make, so it names the
// version whose API this is, with ours behind the plus.
func prometheusBuild(v web.Version) api.PrometheusVersion {
	return api.PrometheusVersion{Version: "3.12.0+vedette." + v.Version, Revision: v.Revision, Branch: "vedette", BuildDate: v.BuildTime, GoVersion: v.Go}
}

// flagsMap is what /api/v1/status/flags shows: the settings that correspond to
// Prometheus's flags.
func flagsMap(p *tenantPlan) map[string]string {
	return map[string]string{
		"config.file":                      p.conf.Prometheus,
		"query.lookback-delta":             durationOr(p.conf.Query.Lookback, 5*time.Minute),
		"query.max-concurrency":            intOr(p.conf.Query.MaxConcurrent, 20),
		"query.max-samples":                intOr(p.conf.Query.MaxSamples, 50_000_000),
		"query.timeout":                    durationOr(p.conf.Query.Timeout, 2*time.Minute),
		"storage.tsdb.retention.time":      durationOr(p.store.Retention, 15*24*time.Hour),
		"storage.tsdb.retention.size":      strconv.FormatInt(p.store.MaxBytes, 10),
		"web.enable-admin-api":             "true",
		"web.enable-remote-write-receiver": "true",
		"web.enable-otlp-receiver":         "true",
	}
}

func durationOr(d, def time.Duration) string {
	if d == 0 {
		d = def
	}
	return model.Duration(d).String()
}

func intOr(n, def int) string {
	if n == 0 {
		n = def
	}
	return strconv.Itoa(n)
}

func runtimeInfo(t *tenant, env surroundings) func() (api.RuntimeInfo, error) {
	return func() (api.RuntimeInfo, error) {
		host, err := os.Hostname()
		if err != nil {
			return api.RuntimeInfo{}, err
		}
		cwd, err := os.Getwd()
		if err != nil {
			return api.RuntimeInfo{}, err
		}
		u := t.store.Usage()
		return api.RuntimeInfo{
			StartTime: env.started, CWD: cwd, Hostname: host, ServerTime: time.Now().UTC(),
			ReloadConfigSuccess: env.configOK(), LastConfigTime: env.configAt(),
			GoroutineCount: runtime.NumGoroutine(), GOMAXPROCS: runtime.GOMAXPROCS(0), GOMEMLIMIT: debug.SetMemoryLimit(-1),
			GOGC: os.Getenv("GOGC"), GODEBUG: os.Getenv("GODEBUG"),
			StorageRetention: model.Duration(u.Retention).String(),
		}, nil
	}
}

// Get serves remote write's metadata sender.
func (r readyScraper) Get() (*scrape.Manager, error) { return r.s.Manager(), nil }

// quieter lowers the library's chatter: what it calls information is for
// debugging here, while an operator reads warnings.
func quieter(l *slog.Logger) *slog.Logger { return slog.New(lowered{l.Handler()}) }

type lowered struct{ slog.Handler }

func (h lowered) Enabled(ctx context.Context, l slog.Level) bool {
	if l == slog.LevelInfo {
		l = slog.LevelDebug
	}
	return h.Handler.Enabled(ctx, l)
}

func (h lowered) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelInfo {
		r.Level = slog.LevelDebug
	}
	return h.Handler.Handle(ctx, r)
}

func (h lowered) WithAttrs(as []slog.Attr) slog.Handler { return lowered{h.Handler.WithAttrs(as)} }
func (h lowered) WithGroup(n string) slog.Handler       { return lowered{h.Handler.WithGroup(n)} }

// hiding cuts user and password out of URLs in the log: libraries log the
// addresses that they talk to as they stand in the configuration.
type hiding struct{ slog.Handler }

func (h hiding) Handle(ctx context.Context, r slog.Record) error {
	n := slog.NewRecord(r.Time, r.Level, hideLogin(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		n.AddAttrs(hideAttr(a))
		return true
	})
	return h.Handler.Handle(ctx, n)
}

func (h hiding) WithAttrs(as []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(as))
	for i, a := range as {
		out[i] = hideAttr(a)
	}
	return hiding{h.Handler.WithAttrs(out)}
}

func (h hiding) WithGroup(n string) slog.Handler { return hiding{h.Handler.WithGroup(n)} }

func hideAttr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, hideLogin(v.String()))
	case slog.KindGroup:
		var as []slog.Attr
		for _, g := range v.Group() {
			as = append(as, hideAttr(g))
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(as...)}
	case slog.KindAny:
		// Errors and URLs; anything else stays as it is for the JSON handler.
		switch x := v.Any().(type) {
		case error:
			return slog.String(a.Key, hideLogin(x.Error()))
		case fmt.Stringer:
			return slog.String(a.Key, hideLogin(x.String()))
		}
	}
	return slog.Attr{Key: a.Key, Value: v}
}

func hideLogin(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	return inURL.ReplaceAllString(s, "${1}"+hiddenText+"${2}")
}
