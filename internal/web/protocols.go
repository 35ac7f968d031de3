package web

import (
	"context"
	"net/http"
	"net/url"

	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/record"
)

// The doors of protocols that programs send metrics by.

type (
	plainRoute  = func(pattern string, h http.HandlerFunc)
	tenantRoute = func(pattern string, role record.Role, h tenantHandler)
)

// influx serves what clients of InfluxDB 1 and 2 ask for.
func (s *Server) influx(plain plainRoute, t tenantRoute) {
	write := func(f func(*ingest.Influx, http.ResponseWriter, *http.Request)) tenantHandler {
		return func(w http.ResponseWriter, r *http.Request, t *Tenant) error {
			t.Throttle.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(t.Influx, w, r) })).ServeHTTP(w, r)
			return nil
		}
	}
	t("POST /write", record.Write, write((*ingest.Influx).Write))
	t("POST /api/v2/write", record.Write, write((*ingest.Influx).WriteV2))
	for _, m := range []string{"GET", "POST"} {
		t(m+" /query", record.Write, func(w http.ResponseWriter, r *http.Request, t *Tenant) error { t.Influx.Query(w, r); return nil })
	}
	// Clients ask whether a server is there before they show who they are.
	nobody := ingest.NewInflux(nil, ingest.InfluxConfig{}, s.o.Log)
	plain("GET /ping", nobody.Ping)
	plain("GET /health", nobody.Health)
}

// opentsdb serves the HTTP API of OpenTSDB that takes points.
func (s *Server) opentsdb(plain plainRoute, t tenantRoute) {
	for _, m := range []string{"POST", "PUT"} {
		t(m+" /api/put", record.Write, func(w http.ResponseWriter, r *http.Request, t *Tenant) error {
			t.Throttle.Wrap(http.HandlerFunc(t.OpenTSDB.Put)).ServeHTTP(w, r)
			return nil
		})
	}
	plain("GET /api/version", ingest.NewOpenTSDB(nil, ingest.OpenTSDBConfig{}, s.o.Log).Version)
	t("GET /api/stats", record.Read, func(w http.ResponseWriter, r *http.Request, t *Tenant) error {
		t.OpenTSDB.Stats(w, r)
		return nil
	})
}

// otlp serves OTLP/HTTP at its own path and at Prometheus's.
func (s *Server) otlp(t tenantRoute) {
	for _, path := range []string{"/v1/metrics", "/api/v1/otlp/v1/metrics"} {
		t("POST "+path, record.Write, func(w http.ResponseWriter, r *http.Request, t *Tenant) error {
			t.Throttle.Wrap(http.HandlerFunc(t.OTLP.Metrics)).ServeHTTP(w, r)
			return nil
		})
	}
}

// Enter finds the tenant that a call of another protocol than HTTP is for, by the
// headers it would have had. release gives it back.
func (s *Server) Enter(ctx context.Context, h http.Header, remote string, role record.Role) (t *Tenant, release func(), err error) {
	if !s.ready.Load() {
		return nil, nil, record.Errorf(record.Unavailable, "Vedette is starting; retry in a second")
	}
	r := (&http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/"}, Header: h, RemoteAddr: remote}).WithContext(ctx)
	c, _, err := s.o.Auth.identify(r)
	if err != nil {
		return nil, nil, err
	}
	if c.Role < role {
		return nil, nil, record.Errorf(record.Forbidden, "%s has the role %s; this needs %s", c.Name, c.Role, role)
	}
	name, err := tenantOf(r.WithContext(record.WithCaller(ctx, c)))
	if err != nil {
		return nil, nil, err
	}
	return s.o.Tenants.Use(ctx, name)
}

// pushgateway serves the push API of Prometheus's Pushgateway.
func (s *Server) pushgateway(t tenantRoute) {
	push := func(w http.ResponseWriter, r *http.Request, t *Tenant) error {
		t.Throttle.Wrap(t.Push).ServeHTTP(w, r)
		return nil
	}
	for _, m := range []string{"PUT", "POST", "DELETE"} {
		t(m+" /metrics/", record.Write, push)
	}
	t("GET /api/v1/metrics", record.Read, func(w http.ResponseWriter, r *http.Request, t *Tenant) error {
		t.Push.API(w, r)
		return nil
	})
}

// influxLogin makes basic auth of the parameters u and p, which InfluxDB 1 takes.
func influxLogin(r *http.Request) {
	if q := r.URL.Query(); r.Header.Get("Authorization") == "" && q.Get("p") != "" && (r.URL.Path == "/write" || r.URL.Path == "/query") {
		r.SetBasicAuth(q.Get("u"), q.Get("p"))
	}
}
