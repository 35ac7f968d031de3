package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/fleet"
	"github.com/vedette-sre/vedette/internal/record"
)

// Limits of the HTTP server. Zero means the default.
type Limits struct {
	MaxBodyBytes   int64 `yaml:"max_body_bytes"`   // of one request; default 32 MiB
	MaxHeaderBytes int   `yaml:"max_header_bytes"` // default 64 KiB
	MaxRequests    int   `yaml:"max_requests"`     // worked on at once; default 1,000
}

func (l Limits) withDefaults() Limits {
	if l.MaxBodyBytes == 0 {
		l.MaxBodyBytes = 32 << 20
	}
	if l.MaxHeaderBytes == 0 {
		l.MaxHeaderBytes = 64 << 10
	}
	if l.MaxRequests == 0 {
		l.MaxRequests = 1000
	}
	return l
}

// Validate refuses limits below zero; the error begins with the key.
func (l Limits) Validate() error {
	for _, x := range []struct {
		key string
		v   int64
	}{{"max_body_bytes", l.MaxBodyBytes}, {"max_header_bytes", int64(l.MaxHeaderBytes)}, {"max_requests", int64(l.MaxRequests)}} {
		if x.v < 0 {
			return fmt.Errorf("%s: %d: want a number above 0; leave the key away for the default", x.key, x.v)
		}
	}
	return nil
}

// Version is what the binary knows of itself.
type Version struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	BuildTime string `json:"build_time"`
	Go        string `json:"go"`
}

// Options are what the server shows.
type Options struct {
	Tenants Tenants
	Auth    *Auth
	Limits  Limits
	Version Version
	// Process holds the metrics of the whole process, Go runtime included.
	Process *prometheus.Registry
	// Instruments takes what the server says of itself.
	Instruments *instrument.Registry
	// Reload reads the configuration again.
	Reload func(context.Context) error
	// Config tells the state of the configuration.
	Config func() ConfigState
	// Listeners tells what listens where.
	Listeners func() []Listener
	// Backup writes a tenant's backup archive to w.
	Backup func(ctx context.Context, t record.Tenant, w http.ResponseWriter) error
	// StatusPages lists the public pages in force.
	StatusPages func() []*StatusPage
	Started     time.Time
	// ExternalHost is the host name under which people reach the server.
	ExternalHost string
	Log          *slog.Logger
}

// ConfigState is the configuration in force and whether the last one offered
// was taken.
type ConfigState struct {
	Path      string      `json:"path"`
	LoadedAt  time.Time   `json:"loaded_at"`
	OK        bool        `json:"ok"`
	Error     string      `json:"error"`
	NotServed []NotServed `json:"not_served"`
}

// NotServed is a section that is accepted and has no effect, with the reason.
type NotServed struct {
	Section string `json:"section"`
	Reason  string `json:"reason"`
}

// Listener is one address of the process.
type Listener struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	State   string `json:"state"`
}

// Server is the one port.
type Server struct {
	o       Options
	ready   atomic.Bool
	slots   chan struct{}
	hits    *instrument.CounterVec
	latency *instrument.TimerVec
	live    *Live
	mux     *http.ServeMux
	table   []Route
}

// Route is one pattern of the server with the lowest role that may use it.
type Route struct {
	Pattern string
	Role    record.Role // NoRole: open to everyone
	// Process says that the route shows or changes the whole process: a tenant's
	// own administrator may not use it.
	Process bool
}

// Routes lists every route.
func (s *Server) Routes() []Route { return slices.Clone(s.table) }

// The limits' names, as in metrics and on the Itself screen.
const (
	limitBody     = "max_body_bytes"
	limitHeader   = "max_header_bytes"
	limitRequests = "max_requests"
)

// New makes the server; it answers 503 until Ready.
func New(o Options) *Server {
	o.Limits = o.Limits.withDefaults()
	s := &Server{
		o: o, slots: make(chan struct{}, o.Limits.MaxRequests), live: NewLive(),
		hits:    o.Instruments.CounterVec("vedette_http_limit_hits", "limit"),
		latency: o.Instruments.TimerVec("vedette_http_request_duration", "handler", "code"),
	}
	o.Instruments.Describe("vedette_http_limit_hits", "", "Requests refused by a limit of the HTTP server.")
	o.Instruments.Describe("vedette_http_request_duration", "seconds", "Time to answer, by handler and status class.")
	for _, l := range []string{limitBody, limitHeader, limitRequests} {
		s.hits.With(l)
	}
	s.mux = s.routes()
	return s
}

// Ready lets requests in.
func (s *Server) Ready() { s.ready.Store(true) }

// Live is where the stations say that something changed.
func (s *Server) Live() *Live { return s.live }

// HTTPServer returns a server with safe timeouts for one listener.
func (s *Server) HTTPServer(ctx context.Context) *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       5 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		// ServeHTTP refuses and counts at the limit; this is the end of patience.
		MaxHeaderBytes: 2 * s.o.Limits.MaxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
		BaseContext:    baseContext(ctx),
	}
}

// ServeHTTP guards every request: a panic is a 500, header and body are limited,
// a page of another site cannot make a browser change anything.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &statusWriter{ResponseWriter: rw, status: http.StatusOK}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.o.Log.Error("a request made a handler panic", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if w.wrote {
				panic(http.ErrAbortHandler) // cut the answer, so that nobody takes it for whole
			}
			writeError(w, record.Errorf(record.Internal, "internal error; the log of the server holds the details"))
		}
	}()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.hits.With(limitRequests).Inc()
		h.Set("Retry-After", "1")
		writeError(w, record.Errorf(record.Unavailable, "%d requests are being answered already; retry, or raise http.max_requests", s.o.Limits.MaxRequests))
		return
	}
	if n := headerSize(r); n > s.o.Limits.MaxHeaderBytes {
		s.hits.With(limitHeader).Inc()
		writeCode(w, http.StatusRequestHeaderFieldsTooLarge, "too_large", fmt.Errorf("a header of %d bytes is over the limit http.max_header_bytes = %d", n, s.o.Limits.MaxHeaderBytes))
		return
	}
	// The routes decide by segments of the path and the stations by the whole:
	// a slash in disguise would be a way past the roles.
	if strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
		writeError(w, record.Errorf(record.Invalid, "the path %q holds %%2F; no name here has a slash", r.URL.RawPath))
		return
	}
	if r.ContentLength > s.o.Limits.MaxBodyBytes {
		s.hits.With(limitBody).Inc()
		writeError(w, record.Errorf(record.TooLarge, "a body of %d bytes is over the limit http.max_body_bytes = %d", r.ContentLength, s.o.Limits.MaxBodyBytes))
		return
	}
	r.Body = &countedBody{ReadCloser: http.MaxBytesReader(w, r.Body, s.o.Limits.MaxBodyBytes), over: func() { s.hits.With(limitBody).Inc() }}
	if err := s.crossSite(r); err != nil {
		writeError(w, err)
		return
	}
	influxLogin(r)
	s.mux.ServeHTTP(w, r)
}

// headerSize is about what the request's line and header took on the wire.
func headerSize(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for k, vs := range r.Header {
		for _, v := range vs {
			n += len(k) + len(v) + 4
		}
	}
	return n
}

// crossSite refuses what a browser sends on behalf of another site: writes, and,
// where no sign-in protects the loopback address, anything under a foreign name
// for it (DNS rebinding).
func (s *Server) crossSite(r *http.Request) error {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return record.Errorf(record.Forbidden, "a page of another site may not send %s requests here", r.Method)
	}
	if s.o.Auth.enabled() || r.URL.Path == "/status" || strings.HasPrefix(r.URL.Path, "/status/") {
		return nil // a status page is public
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if ip := net.ParseIP(host); host == "" || host == "localhost" || host == s.o.ExternalHost || ip != nil && ip.IsLoopback() {
		return nil
	}
	return record.Errorf(record.Forbidden, "the name %q is not this server's; set external_url, or configure auth", host)
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	plain := func(pattern string, h http.HandlerFunc) {
		s.table = append(s.table, Route{Pattern: pattern})
		mux.HandleFunc(pattern, s.timed(pattern, h))
	}

	plain("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "Vedette is healthy.") })
	plain("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "Vedette is starting.")
			return
		}
		fmt.Fprintln(w, "Vedette is ready.")
	})
	plain("GET /version", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.o.Version) })

	plain("GET /api/v1/session", s.getSession)
	plain("POST /api/v1/login", s.login)
	plain("POST /api/v1/logout", s.logout)

	// What concerns the whole process is for the administrators of the
	// installation: a profile shows the memory of every tenant.
	admin := func(pattern string, h http.HandlerFunc) {
		s.table = append(s.table, Route{pattern, record.Admin, true})
		mux.HandleFunc(pattern, s.timed(pattern, s.allow(record.Admin, func(w http.ResponseWriter, r *http.Request) {
			if c, _ := record.CallerFrom(r.Context()); !ofInstallation(c) {
				writeError(w, record.Errorf(record.Forbidden, "%s is an administrator of the tenant %s; this needs one of the installation (tenant default or *)", c.Name, c.Tenant))
				return
			}
			h(w, r)
		})))
	}
	admin("POST /-/reload", s.reload)
	admin("PUT /-/reload", s.reload)
	admin("GET /debug/pprof/", pprof.Index)
	admin("GET /debug/pprof/cmdline", pprof.Cmdline)
	admin("GET /debug/pprof/profile", pprof.Profile)
	admin("GET /debug/pprof/symbol", pprof.Symbol)
	admin("GET /debug/pprof/trace", pprof.Trace)

	t := func(pattern string, role record.Role, h tenantHandler) {
		s.table = append(s.table, Route{pattern, role, false})
		mux.HandleFunc(pattern, s.timed(pattern, s.tenant(role, h)))
	}
	t("GET /metrics", record.Read, s.metrics)
	t("GET /federate", record.Read, func(w http.ResponseWriter, r *http.Request, t *Tenant) error { t.Federate.ServeHTTP(w, r); return nil })
	t("GET /probe", record.Write, func(w http.ResponseWriter, r *http.Request, t *Tenant) error {
		if c, _ := record.CallerFrom(r.Context()); r.FormValue("debug") == "true" && c.Role < record.Admin {
			return record.Errorf(record.Forbidden, "debug=true shows the module with its headers; this needs admin")
		}
		t.Blackbox.ServeHTTP(w, r)
		return nil
	})
	t("POST /api/v1/write", record.Write, func(w http.ResponseWriter, r *http.Request, t *Tenant) error {
		t.Throttle.Wrap(t.RemoteWrite).ServeHTTP(w, r)
		return nil
	})
	s.influx(plain, t)
	s.pushgateway(t)
	s.opentsdb(plain, t)
	s.otlp(t)
	for _, m := range []string{"POST", "PUT"} {
		t(m+" /api/v1/admin/tsdb/", record.Admin, prometheusAPI)
	}
	t("GET /api/v1/status/config", record.Admin, statusConfig)
	t("/api/v1/", record.Read, prometheusAPI)
	t("GET /api/v2/", record.Read, alertmanagerAPI)
	t("/api/v2/", record.Write, alertmanagerAPI)

	t("GET /api/v1/now", record.Read, s.now)
	t("GET /api/v1/signals", record.Read, s.signals)
	t("GET /api/v1/signals/{kind}", record.Read, s.signalsOf)
	t("GET /api/v1/checks", record.Read, s.checks)
	t("POST /api/v1/checks", record.Write, s.createCheck)
	t("POST /api/v1/checks/try", record.Write, s.tryCheck)
	t("GET /api/v1/checks/{id}", record.Read, s.check)
	t("PUT /api/v1/checks/{id}", record.Write, s.updateCheck)
	t("DELETE /api/v1/checks/{id}", record.Write, s.deleteCheck)
	t("GET /api/v1/checks/{id}/history", record.Read, s.checkHistory)
	t("POST /api/v1/checks/{id}/acknowledge", record.Write, s.acknowledge)
	t("GET /api/v1/checks/{id}/runs/{location}/{start}/screenshot", record.Read, s.screenshot)
	t("GET /api/v1/locations", record.Read, s.locations)
	t("GET /api/v1/maintenance", record.Read, s.windows)
	t("POST /api/v1/maintenance", record.Write, s.putWindow)
	t("PUT /api/v1/maintenance/{id}", record.Write, s.putWindow)
	t("DELETE /api/v1/maintenance/{id}", record.Write, s.deleteWindow)
	t("GET /api/v1/markers", record.Read, s.markers)
	t("POST /api/v1/markers", record.Write, s.createMarker)
	t("DELETE /api/v1/markers/{id}", record.Write, s.deleteMarker)
	t("GET /api/v1/reports/uptime", record.Read, s.uptimeReport)
	t("GET /api/v1/notes", record.Read, s.notes)
	t("POST /api/v1/notes", record.Write, s.createNote)
	t("DELETE /api/v1/notes/{id}", record.Write, s.deleteNote)
	status := StatusHandler(s.o.StatusPages)
	plain("GET /status", status.ServeHTTP)
	plain("GET /status/", status.ServeHTTP)
	// Agents of other places come with the token of their location.
	s.agents(mux, "GET "+fleet.StreamPath, func(h *fleet.Hub) agentHandler { return h.Stream })
	s.agents(mux, "POST "+fleet.ResultsPath, func(h *fleet.Hub) agentHandler { return h.Results })
	t("GET /api/v1/checks/{id}/runs", record.Read, s.checkRuns)
	t("POST /api/v1/checks/{id}/run", record.Write, s.runCheck)
	t("GET /api/v1/outbox", record.Read, s.outbox)
	t("POST /api/v1/outbox/{id}/retry", record.Write, s.retryNotification)
	t("GET /api/v1/itself", record.Read, s.itself)
	t("GET /api/v1/cardinality", record.Read, s.cardinality)
	t("GET "+livePath, record.Read, s.serveLive)
	t("POST /api/v1/admin/backup", record.Admin, s.backup)

	ui := uiHandler()
	plain("/-/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/-/reload" {
			w.Header().Set("Allow", "POST, PUT")
			w.WriteHeader(http.StatusMethodNotAllowed)
			fmt.Fprintln(w, "Reload with POST.")
			return
		}
		writeError(w, record.Errorf(record.NotFound, "nothing stands at %s", r.URL.Path))
	})
	plain("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			writeError(w, record.Errorf(record.NotFound, "nothing takes %s %s here", r.Method, r.URL.Path))
			return
		}
		ui.ServeHTTP(w, r)
	})
	return mux
}

func prometheusAPI(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	t.Prometheus.ServeHTTP(w, r)
	return nil
}

var loginInURL = regexp.MustCompile(`(://)[^/\s"'@\\]+@`)

// statusConfig answers with the Prometheus configuration. The library hides
// secrets where it knows of them, and not in the plain URLs of discoveries.
func statusConfig(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	r.Header.Del("Accept-Encoding")
	held := &heldWriter{header: w.Header(), code: http.StatusOK}
	t.Prometheus.ServeHTTP(held, r)
	w.Header().Del("Content-Length")
	w.WriteHeader(held.code)
	_, _ = w.Write(loginInURL.ReplaceAll(held.body.Bytes(), []byte("${1}<secret>@"))) // a client that left is no fault of ours
	return nil
}

// heldWriter holds an answer back.
type heldWriter struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (w *heldWriter) Header() http.Header         { return w.header }
func (w *heldWriter) WriteHeader(code int)        { w.code = code }
func (w *heldWriter) Write(b []byte) (int, error) { return w.body.Write(b) }

func alertmanagerAPI(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	t.Alertmanager.ServeHTTP(w, r)
	return nil
}

// timed measures a route.
func (s *Server) timed(pattern string, h http.HandlerFunc) http.HandlerFunc {
	_, path, ok := strings.Cut(pattern, " ")
	if !ok {
		path = pattern
	}
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		sw := w.(*statusWriter) // made by ServeHTTP
		h(sw, r)
		if path != livePath && path != fleet.StreamPath { // they last as long as somebody listens
			s.latency.With(path, strconv.Itoa(sw.status/100)+"xx").Since(start)
		}
	}
}

// allow authenticates and checks the role.
func (s *Server) allow(role record.Role, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, sess, err := s.o.Auth.identify(r)
		if err == nil && c.Role < role {
			err = record.Errorf(record.Forbidden, "%s has the role %s; this needs %s", c.Name, c.Role, role)
		}
		if err == nil && sess != nil && r.Method != http.MethodGet && r.Method != http.MethodHead &&
			r.Header.Get("X-Vedette-CSRF") != s.o.Auth.csrf(sess) {
			err = record.Errorf(record.Forbidden, "the header X-Vedette-CSRF is missing or old; reload the page")
		}
		if err != nil {
			if record.KindOf(err) == record.Unauthenticated {
				w.Header().Set("WWW-Authenticate", `Bearer realm="vedette"`)
			}
			writeError(w, err)
			return
		}
		h(w, r.WithContext(record.WithCaller(r.Context(), c)))
	}
}

// ofInstallation tells callers who belong to the installation from those of one
// further tenant.
func ofInstallation(c record.Caller) bool { return c.AllTenants || c.Tenant == record.DefaultTenant }

type agentHandler func(w http.ResponseWriter, r *http.Request) error

// agents serves a pattern to the agents of other places, whom the hub of their
// tenant knows by the token of their location.
func (s *Server) agents(mux *http.ServeMux, pattern string, of func(*fleet.Hub) agentHandler) {
	s.table = append(s.table, Route{Pattern: pattern})
	mux.HandleFunc(pattern, s.timed(pattern, func(w http.ResponseWriter, r *http.Request) {
		err := func() error {
			if !s.ready.Load() {
				return record.Errorf(record.Unavailable, "Vedette is starting; retry in a second")
			}
			name := record.Tenant(r.Header.Get("X-Vedette-Tenant"))
			if name == "" {
				name = record.DefaultTenant
			}
			t, release, err := s.o.Tenants.Use(r.Context(), name)
			if record.KindOf(err) == record.NotFound {
				// As for a wrong token: who guesses learns nothing.
				return record.Errorf(record.Unauthenticated, "the location %q with this token is not known here", r.URL.Query().Get("location"))
			}
			if err != nil {
				return err
			}
			if r.URL.Path == fleet.StreamPath {
				// An open link keeps no tenant open; the hub ends it.
				release()
			} else {
				defer release()
			}
			return of(t.Hub)(w, r)
		}()
		if err != nil {
			writeError(w, err)
		}
	}))
}

type tenantHandler func(w http.ResponseWriter, r *http.Request, t *Tenant) error

// tenant authenticates, opens the caller's tenant for the time of the request,
// and turns the handler's error into an answer.
func (s *Server) tenant(role record.Role, h tenantHandler) http.HandlerFunc {
	return s.allow(role, func(w http.ResponseWriter, r *http.Request) {
		if !s.ready.Load() {
			w.Header().Set("Retry-After", "1")
			writeError(w, record.Errorf(record.Unavailable, "Vedette is starting; retry in a second"))
			return
		}
		name, err := tenantOf(r)
		if err != nil {
			writeError(w, err)
			return
		}
		t, release, err := s.o.Tenants.Use(r.Context(), name)
		if err != nil {
			writeError(w, err)
			return
		}
		if r.URL.Path == livePath {
			// An open page needs only the name: it keeps no tenant open.
			release()
		} else {
			defer release()
		}
		if err := h(w, r, t); err != nil {
			writeError(w, err)
		}
	})
}

// tenantOf is the tenant a request is for: the caller's, or, for a caller who
// may choose, the one named by X-Vedette-Tenant or the parameter vedette_tenant
// (an event stream of a browser cannot set headers).
func tenantOf(r *http.Request) (record.Tenant, error) {
	c, ok := record.CallerFrom(r.Context())
	if !ok {
		return "", record.Errorf(record.Unauthenticated, "no caller")
	}
	want := r.Header.Get("X-Vedette-Tenant")
	if want == "" {
		want = r.URL.Query().Get("vedette_tenant")
	}
	if want == "" || want == string(c.Tenant) {
		return c.Tenant, nil
	}
	if !c.AllTenants {
		return "", record.Errorf(record.Forbidden, "%s belongs to the tenant %s and may not choose another", c.Name, c.Tenant)
	}
	return record.Tenant(want), nil
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if err := s.o.Reload(r.Context()); err != nil {
		writeError(w, record.Errorf(record.Invalid, "the configuration in force stays: %w", err))
		return
	}
	w.WriteHeader(http.StatusOK)
}

// metrics shows the tenant's registry, and the process's to callers who may see
// all tenants.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	g := prometheus.Gatherers{t.Registry}
	if c, _ := record.CallerFrom(r.Context()); ofInstallation(c) {
		g = append(g, s.o.Process)
	}
	promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
	return nil
}

func (s *Server) backup(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	return s.o.Backup(r.Context(), t.Name, w)
}

// kindCodes maps the kinds of errors to HTTP, here and nowhere else.
var kindCodes = map[record.Kind]struct {
	code int
	name string
}{
	record.Internal: {500, "internal"}, record.Invalid: {400, "invalid"}, record.NotFound: {404, "not_found"},
	record.Limited: {429, "limited"}, record.Unavailable: {503, "unavailable"}, record.Unauthenticated: {401, "unauthenticated"},
	record.Forbidden: {403, "forbidden"}, record.Conflict: {409, "conflict"}, record.TooLarge: {413, "too_large"},
}

func writeError(w http.ResponseWriter, err error) {
	k := record.KindOf(err)
	var mbe *http.MaxBytesError
	if errors.As(err, &mbe) {
		k = record.TooLarge
	}
	kc := kindCodes[k]
	writeCode(w, kc.code, kc.name, err)
}

func writeCode(w http.ResponseWriter, code int, kind string, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // read by people in terminals
	// A client that left is no fault of ours.
	_ = enc.Encode(map[string]string{"status": "error", "error": err.Error(), "kind": kind, "errorType": kind})
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		writeError(w, fmt.Errorf("encode the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(b, '\n')) // a client that left is no fault of ours
}

func writeCreated(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		writeError(w, fmt.Errorf("encode the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(append(b, '\n')) // a client that left is no fault of ours
}

// statusWriter remembers the status for the measurement, and whether the answer
// has begun.
type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (w *statusWriter) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) WriteHeader(code int) {
	w.status, w.wrote = code, true
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush serves handlers that still ask for http.Flusher.
func (w *statusWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }
