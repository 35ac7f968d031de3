package web

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/internal/fleet"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// Tenants opens tenants.
type Tenants interface {
	// Use opens the tenant, or finds it open, and keeps it open until release
	// is called. An unknown tenant is record.NotFound.
	Use(ctx context.Context, name record.Tenant) (t *Tenant, release func(), err error)
	// Names lists the tenants that exist.
	Names() []string
	// Open reports whether a tenant is open.
	Open(name string) bool
}

// Tenant is one tenant's stations, as the web shows them.
type Tenant struct {
	Name record.Tenant

	// The doors of foreign protocols.
	Prometheus, Federate, RemoteWrite, Alertmanager, Blackbox http.Handler

	// Throttle bounds the writing of all of them.
	Throttle *ingest.Throttle
	Influx   *ingest.Influx
	OpenTSDB *ingest.OpenTSDB
	Graphite *ingest.Graphite
	OTLP     *ingest.OTLP
	StatsD   *ingest.StatsD
	Push     *ingest.Push

	Engines   *query.Engines
	Queryable storage.Queryable
	Store     *metric.Store
	Counts    *ingest.Counts
	Scrape    *scrape.Manager
	Rules     *judge.Rules
	Notifier  *notify.Notifier
	Prober    *probe.Prober
	Board     *state.Board
	Runs      *state.Runs
	Book      CheckBook
	Verdicts  *judge.Checks
	Hub       *fleet.Hub
	History   *state.History
	Days      *state.Days
	Objects   *state.Objects
	Registry  *prometheus.Registry
	// Pulls tells how the databases and queues fare that are asked; may be nil.
	Pulls func() []PullView
	// Watches says that this tenant stores the metrics of the process and host.
	Watches bool
	// MaxConcurrentWrites is the limit in force.
	MaxConcurrentWrites int
	// Dir is the tenant's directory.
	Dir string

	forecast forecast
}
