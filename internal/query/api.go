package query

import (
	"context"
	"github.com/grafana/regexp"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/features"
	"github.com/prometheus/prometheus/util/notifications"
	api "github.com/prometheus/prometheus/web/api/v1"
)

// Store is what the HTTP API reads and administers.
type Store interface {
	storage.ExemplarQueryable
	api.TSDBAdminStats
	Dir() string
}

// APIOptions are what the Prometheus HTTP API shows. Every field must be set.
type APIOptions struct {
	Engines   *Engines
	Queryable storage.SampleAndChunkQueryable
	OTLP      storage.AppendableV2 // takes /otlp/v1/metrics
	Append    storage.Appendable
	Store     Store
	Scrape    *scrape.Manager
	Rules     *rules.Manager
	Config    func() config.Config
	Flags     map[string]string
	Runtime   func() (api.RuntimeInfo, error)
	Build     api.PrometheusVersion
	Registry  *prometheus.Registry
	URL       *url.URL // where users reach this server
	Log       *slog.Logger
}

// NewAPI returns the Prometheus HTTP API v1 below prefix ("/api/v1"), the very
// handlers of Prometheus, so that its clients meet every habit they know. The
// caller authorises requests; /write is the caller's to replace.
func NewAPI(prefix string, o APIOptions) http.Handler {
	noNotes := func() []notifications.Notification { return []notifications.Notification{} }
	noSub := func() (<-chan notifications.Notification, func(), bool) { return nil, nil, false }
	a := api.NewAPI(
		o.Engines.Users, o.Queryable, o.Append, o.OTLP, o.Store,
		func(context.Context) api.ScrapePoolsRetriever { return o.Scrape },
		func(context.Context) api.TargetRetriever { return o.Scrape },
		func(context.Context) api.AlertmanagerRetriever { return noAlertmanagers{o.URL} },
		o.Config, o.Flags,
		api.GlobalURLOptions{ListenAddress: o.URL.Host, Host: o.URL.Host, Scheme: o.URL.Scheme},
		func(h http.HandlerFunc) http.HandlerFunc { return h },
		o.Store, o.Store.Dir(), true, o.Log,
		func(context.Context) api.RulesRetriever { return o.Rules },
		5e7, 10, 1<<20, // Prometheus's own defaults of remote read
		false, regexp.MustCompile(`^$`), // no cross-origin requests
		o.Runtime, &o.Build, noNotes, noSub,
		o.Registry, o.Registry, nil,
		false, nil, // remote write is Vedette's own
		true, false, false, false,
		o.Engines.Config.Lookback, false, false, nil,
		features.NewRegistry(),
		api.OpenAPIOptions{ExternalURL: o.URL.String(), Version: o.Build.Version},
		o.Engines.Parser,
	)
	a.ClearCodecs()
	a.InstallCodec(matrixCodec{})
	r := route.New().WithPrefix(prefix)
	a.Register(r)
	return r
}

// noAlertmanagers names this server itself: alerts are routed inside.
type noAlertmanagers struct{ self *url.URL }

func (n noAlertmanagers) Alertmanagers() []*url.URL {
	return []*url.URL{n.self.JoinPath("/api/v2/alerts")}
}

func (n noAlertmanagers) DroppedAlertmanagers() []*url.URL { return nil }
