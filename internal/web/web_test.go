package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/web"
)

// house is tenants whose stations only say whose they are.
type house []string

func (h house) Use(_ context.Context, name record.Tenant) (*web.Tenant, func(), error) {
	for _, n := range h {
		if n == string(name) {
			say := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/api/v1/panic":
					panic("a fault of ours")
				case "/api/v1/panic-late":
					fmt.Fprint(w, "half")
					panic("a fault of ours")
				case "/api/v1/read":
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						http.Error(w, err.Error(), http.StatusBadRequest)
						return
					}
				}
				fmt.Fprint(w, name)
			})
			return &web.Tenant{Name: name, Prometheus: say, Alertmanager: say, Federate: say, RemoteWrite: say, Blackbox: say,
				Registry: prometheus.NewRegistry()}, func() {}, nil
		}
	}
	return nil, nil, record.Errorf(record.NotFound, "there is no tenant %q", string(name))
}

func (h house) Names() []string  { return h }
func (h house) Open(string) bool { return true }

const (
	readToken  = "read-token-0123456789"
	writeToken = "write-token-0123456789"
	adminToken = "admin-token-0123456789"
	shopToken  = "shop-token-0123456789"
	allToken   = "all-token-0123456789"
	password   = "correct horse battery"
)

var makeHash = sync.OnceValue(func() string {
	h, err := web.HashPassword(password)
	if err != nil {
		panic(err)
	}
	return h
})

func someAuth() web.AuthConfig {
	return web.AuthConfig{
		Users: []web.User{{Name: "ann", PasswordHash: makeHash(), Role: "write", Tenant: "shop"}},
		Tokens: []web.Token{
			{Name: "reader", Token: readToken, Role: "read"}, {Name: "writer", Token: writeToken, Role: "write"},
			{Name: "admin", Token: adminToken, Role: "admin"}, {Name: "shop-admin", Token: shopToken, Role: "admin", Tenant: "shop"},
			{Name: "all", Token: allToken, Role: "admin", Tenant: "*"},
		},
	}
}

type bed struct {
	*httptest.Server
	web  *web.Server
	auth *web.Auth
	log  *safeLog
}

// safeLog is a log that a test reads while the server writes.
type safeLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newBed(t *testing.T, cfg web.AuthConfig, lim web.Limits) *bed {
	t.Helper()
	auth, err := web.NewAuth(cfg, bytes.Repeat([]byte{7}, 32), false)
	if err != nil {
		t.Fatal(err)
	}
	return bedWith(t, auth, lim)
}

func bedWith(t *testing.T, auth *web.Auth, lim web.Limits) *bed {
	t.Helper()
	b := &bed{auth: auth, log: &safeLog{}}
	reg, own := prometheus.NewRegistry(), instrument.New(instrument.Config{})
	reg.MustRegister(ingest.Instruments{Registry: own})
	b.web = web.New(web.Options{
		Tenants: house{"default", "shop"}, Auth: auth, Limits: lim, Process: reg, Instruments: own, Started: time.Now(),
		Reload:       func(context.Context) error { return errors.New("no") },
		Config:       func() web.ConfigState { return web.ConfigState{OK: true} },
		Listeners:    func() []web.Listener { return nil },
		Backup:       func(_ context.Context, n record.Tenant, w http.ResponseWriter) error { fmt.Fprint(w, n); return nil },
		ExternalHost: "vedette.example.org", Log: slog.New(slog.NewTextHandler(b.log, nil)),
	})
	b.web.Ready()
	b.Server = httptest.NewUnstartedServer(b.web)
	b.Config.MaxHeaderBytes = b.web.HTTPServer(context.Background()).MaxHeaderBytes
	b.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	b.Start()
	t.Cleanup(b.Close)
	return b
}

// ask sends a request; header holds names and values in turn.
func (b *bed) ask(t *testing.T, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, b.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		got = append(got, "(cut)"...)
	}
	return resp, string(got)
}

func (b *bed) want(t *testing.T, code int, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	resp, got := b.ask(t, method, path, body, header...)
	if resp.StatusCode != code {
		t.Errorf("%s %s %v: got code %d, want %d: %s", method, path, header, resp.StatusCode, code, got)
	}
	return resp, got
}

func bearer(tok string) (string, string) { return "Authorization", "Bearer " + tok }

func TestGuards(t *testing.T) {
	b := newBed(t, web.AuthConfig{}, web.Limits{MaxBodyBytes: 1000, MaxHeaderBytes: 4000})

	resp, _ := b.want(t, 200, "GET", "/api/v1/query", "")
	for k, v := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"} {
		if got := resp.Header.Get(k); got != v {
			t.Errorf("header %s: got %q, want %q", k, got, v)
		}
	}

	// A panic is an answer, is logged, and the next request is served.
	_, got := b.want(t, 500, "GET", "/api/v1/panic", "")
	if !strings.Contains(got, `"kind":"internal"`) || strings.Contains(got, "fault of ours") {
		t.Errorf("panic: got %s, want kind internal without details", got)
	}
	if !strings.Contains(b.log.String(), "a fault of ours") {
		t.Errorf("the panic is not in the log: %s", b.log)
	}
	if resp, err := http.Get(b.URL + "/api/v1/panic-late"); err == nil {
		if body, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("an answer with a panic in its middle: got %q, want it cut", body)
		}
		resp.Body.Close()
	}
	b.want(t, 200, "GET", "/api/v1/query", "")

	// Limits, whether the size is told or not.
	b.want(t, 200, "POST", "/api/v1/read", strings.Repeat("x", 1000))
	b.want(t, 413, "POST", "/api/v1/read", strings.Repeat("x", 1001))
	req, _ := http.NewRequest("POST", b.URL+"/api/v1/read", io.MultiReader(strings.NewReader(strings.Repeat("x", 2000))))
	r2, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	r2.Body.Close()
	if r2.StatusCode != 400 { // as the handler decides
		t.Errorf("a long body of unknown size: got %d, want the reader to fail", r2.StatusCode)
	}
	b.want(t, 431, "GET", "/api/v1/query", "", "X-Long", strings.Repeat("x", 4000))
	b.want(t, 413, "POST", "/api/v1/login", strings.Repeat("x", 1001))
	_, metrics := b.want(t, 200, "GET", "/metrics", "")
	for _, want := range []string{`vedette_http_limit_hits_total{limit="max_body_bytes"} 3`, `vedette_http_limit_hits_total{limit="max_header_bytes"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}

	// A slash in disguise is no way past the table of routes.
	b.want(t, 400, "GET", "/api/v1/status%2Fconfig", "")
	b.want(t, 400, "POST", "/api/v1/admin/tsdb%2fdelete_series", "")

	// Other sites, and other names for the loopback address.
	b.want(t, 403, "POST", "/api/v1/query", "", "Origin", "https://evil.example.org")
	b.want(t, 403, "POST", "/api/v1/query", "", "Sec-Fetch-Site", "cross-site")
	b.want(t, 200, "POST", "/api/v1/query", "", "Sec-Fetch-Site", "same-origin")
	b.want(t, 403, "GET", "/api/v1/query", "", "Host", "evil.example.org")
	b.want(t, 403, "GET", "/", "", "Host", "evil.example.org:7575")
	for _, h := range []string{"localhost", "localhost:7575", "127.0.0.1:80", "[::1]:7575", "vedette.example.org", "vedette.example.org:443"} {
		b.want(t, 200, "GET", "/api/v1/query", "", "Host", h)
	}
}

func TestRequestsAtOnce(t *testing.T) {
	b := newBed(t, web.AuthConfig{}, web.Limits{MaxRequests: 1})
	pr, pw := io.Pipe()
	began := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		req, _ := http.NewRequest("POST", b.URL+"/api/v1/read", io.MultiReader(readFunc(func([]byte) (int, error) { close(began); return 0, io.EOF }), pr))
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	<-began
	code := 0
	for range 1000 { // the first request is on its way
		resp, _ := b.ask(t, "GET", "/api/v1/query", "")
		if code = resp.StatusCode; code == 503 {
			if resp.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			break
		}
	}
	if code != 503 {
		t.Errorf("a second request: got %d, want 503", code)
	}
	pw.Close()
	<-done
	for range 1000 {
		if resp, _ := b.ask(t, "GET", "/api/v1/query", ""); resp.StatusCode == 200 {
			return
		}
	}
	t.Error("the slot was not given back")
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestUI(t *testing.T) {
	b := newBed(t, someAuth(), web.Limits{})
	resp, body := b.want(t, 200, "GET", "/", "", "Accept-Encoding", "identity")
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/html") || !strings.Contains(body, "<html") {
		t.Errorf("got %s: %.80s", ct, body)
	}
	csp := resp.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("Content-Security-Policy %q has no %q", csp, want)
		}
	}
	if strings.Contains(csp, "script-src") && strings.Contains(csp, "unsafe-eval") {
		t.Errorf("Content-Security-Policy allows eval: %s", csp)
	}
	tag := resp.Header.Get("ETag")
	for header, code := range map[string]int{tag: 304, "W/" + tag: 304, `"other", ` + tag: 304, "*": 304, `"other"`: 200, "": 200} {
		b.want(t, code, "GET", "/", "", "If-None-Match", header)
	}
	resp, _ = b.want(t, 200, "GET", "/app.js", "", "Accept-Encoding", "br, gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" || resp.Header.Get("Vary") != "Accept-Encoding" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript") {
		t.Errorf("app.js: got headers %v, want gzip javascript", resp.Header)
	}
	resp, _ = b.want(t, 200, "GET", "/app.js", "", "Accept-Encoding", "gzip;q=0")
	if resp.Header.Get("Content-Encoding") != "" {
		t.Error("gzip;q=0 got gzip")
	}
	resp, body = b.want(t, 200, "HEAD", "/", "")
	if body != "" || resp.Header.Get("ETag") != tag {
		t.Errorf("HEAD: got %q, tag %s", body, resp.Header.Get("ETag"))
	}
	for _, p := range []string{"/nothing.js", "/app.js.gz.gz", "/dist/app.js", "/%2e%2e/%2e%2e/etc/passwd", "/..%5c..%5cetc/passwd", "//etc/passwd", "/.git/config"} {
		if resp, body := b.ask(t, "GET", p, ""); resp.StatusCode == 200 || strings.Contains(body, "root:") {
			t.Errorf("%s: got %d: %.80s", p, resp.StatusCode, body)
		}
	}
	b.want(t, 404, "POST", "/", "")
	b.want(t, 404, "DELETE", "/app.js", "")
}

// TestOutside tells what is open to everyone: nothing but health, version and
// the way in.
func TestOutside(t *testing.T) {
	b := newBed(t, someAuth(), web.Limits{})
	open := map[string]bool{
		"GET /-/healthy": true, "GET /-/ready": true, "GET /version": true, "GET /api/v1/session": true,
		"POST /api/v1/login": true, "POST /api/v1/logout": true, "/-/": true, "/": true,
		"GET /status": true, "GET /status/": true, // pages that were configured to be public
		// The hub of the tenant knows agents by the token of their location.
		"GET /api/v1/fleet/stream": true, "POST /api/v1/fleet/results": true,
		// Clients ask whether a server is there, and its version, before they show
		// who they are.
		"GET /ping": true, "GET /health": true, "GET /api/version": true,
	}
	n := 0
	for _, r := range b.web.Routes() {
		n++
		if (r.Role == record.NoRole) != open[r.Pattern] {
			t.Errorf("%s: open to everyone is %v, want %v", r.Pattern, r.Role == record.NoRole, open[r.Pattern])
		}
		method, path, ok := strings.Cut(r.Pattern, " ")
		if !ok {
			method, path = "GET", r.Pattern
		}
		path = strings.NewReplacer("{id}", "x", "{kind}", "service", "{location}", "hub", "{start}", "1").Replace(path)
		if r.Role == record.NoRole {
			continue
		}
		for _, h := range [][]string{{}, {"Authorization", "Bearer wrong-token"}, {"Authorization", "Digest x"}, {"Cookie", "vedette_session=a.b.1.c"}} {
			resp, body := b.ask(t, method, path, "", h...)
			if resp.StatusCode != 401 && resp.StatusCode != 429 || !strings.Contains(body, `"error":`) {
				t.Errorf("%s %s with %v: got %d %s, want 401", method, path, h, resp.StatusCode, body)
			}
		}
	}
	if n < 30 {
		t.Errorf("the table has %d routes, want all of them", n)
	}
}

// TestRoles walks every route with every role.
func TestRoles(t *testing.T) {
	b := newBed(t, someAuth(), web.Limits{})
	want := map[string]record.Role{
		"GET /metrics": record.Read, "GET /federate": record.Read, "GET /probe": record.Write,
		"POST /api/v1/write": record.Write, "POST /api/v1/otlp/v1/metrics": record.Write,
		"POST /api/v1/admin/tsdb/": record.Admin, "PUT /api/v1/admin/tsdb/": record.Admin, "GET /api/v1/status/config": record.Admin,
		"/api/v1/": record.Read, "GET /api/v2/": record.Read, "/api/v2/": record.Write,
		"GET /api/v1/signals": record.Read, "GET /api/v1/signals/{kind}": record.Read,
		"GET /api/v1/now": record.Read, "GET /api/v1/checks": record.Read, "GET /api/v1/checks/{id}/runs": record.Read,
		"POST /api/v1/checks/{id}/run": record.Write, "GET /api/v1/outbox": record.Read, "POST /api/v1/outbox/{id}/retry": record.Write,
		"GET /api/v1/itself": record.Read, "GET /api/v1/cardinality": record.Read, "GET /api/v1/live": record.Read, "POST /api/v1/admin/backup": record.Admin,
		"POST /api/v1/checks":                                        record.Write,
		"POST /api/v1/checks/try":                                    record.Write,
		"GET /api/v1/checks/{id}":                                    record.Read,
		"PUT /api/v1/checks/{id}":                                    record.Write,
		"DELETE /api/v1/checks/{id}":                                 record.Write,
		"GET /api/v1/checks/{id}/history":                            record.Read,
		"POST /api/v1/checks/{id}/acknowledge":                       record.Write,
		"GET /api/v1/checks/{id}/runs/{location}/{start}/screenshot": record.Read,
		"GET /api/v1/locations":                                      record.Read,
		"GET /api/v1/maintenance":                                    record.Read,
		"POST /api/v1/maintenance":                                   record.Write,
		"PUT /api/v1/maintenance/{id}":                               record.Write,
		"DELETE /api/v1/maintenance/{id}":                            record.Write,
		"GET /api/v1/markers":                                        record.Read,
		"POST /api/v1/markers":                                       record.Write,
		"DELETE /api/v1/markers/{id}":                                record.Write,
		"GET /api/v1/reports/uptime":                                 record.Read, "GET /api/v1/notes": record.Read, "POST /api/v1/notes": record.Write, "DELETE /api/v1/notes/{id}": record.Write,
		"POST /write": record.Write, "POST /api/v2/write": record.Write, "GET /query": record.Write, "POST /query": record.Write,
		"PUT /metrics/": record.Write, "POST /metrics/": record.Write, "DELETE /metrics/": record.Write, "GET /api/v1/metrics": record.Read,
		"POST /api/put": record.Write, "PUT /api/put": record.Write, "GET /api/stats": record.Read, "POST /v1/metrics": record.Write,
		"POST /-/reload": record.Admin, "PUT /-/reload": record.Admin, "GET /debug/pprof/": record.Admin, "GET /debug/pprof/cmdline": record.Admin,
		"GET /debug/pprof/profile": record.Admin, "GET /debug/pprof/symbol": record.Admin, "GET /debug/pprof/trace": record.Admin,
	}
	// Those that last, or that need real stations behind them: that they let in
	// is told by the table and by the tests of the whole program.
	unserved := map[string]bool{
		"GET /api/v1/live": true, "GET /debug/pprof/profile": true, "GET /debug/pprof/trace": true, "GET /api/v1/now": true,
		"GET /api/v1/signals": true, "GET /api/v1/signals/{kind}": true,
		"GET /api/v1/checks": true, "GET /api/v1/checks/{id}/runs": true, "POST /api/v1/checks/{id}/run": true, "GET /api/v1/outbox": true,
		"POST /api/v1/outbox/{id}/retry": true, "GET /api/v1/itself": true, "GET /api/v1/cardinality": true,
		"POST /write": true, "POST /api/v2/write": true, "GET /query": true, "POST /query": true, "PUT /metrics/": true, "POST /metrics/": true,
		"DELETE /metrics/": true, "GET /api/v1/metrics": true, "POST /api/put": true, "PUT /api/put": true, "GET /api/stats": true,
		"POST /v1/metrics": true, "POST /api/v1/otlp/v1/metrics": true,
		"GET /api/v1/reports/uptime":                                 true,
		"GET /api/v1/notes":                                          true,
		"POST /api/v1/notes":                                         true,
		"DELETE /api/v1/notes/{id}":                                  true,
		"POST /api/v1/checks":                                        true,
		"POST /api/v1/checks/try":                                    true,
		"GET /api/v1/checks/{id}":                                    true,
		"PUT /api/v1/checks/{id}":                                    true,
		"DELETE /api/v1/checks/{id}":                                 true,
		"GET /api/v1/checks/{id}/history":                            true,
		"POST /api/v1/checks/{id}/acknowledge":                       true,
		"GET /api/v1/checks/{id}/runs/{location}/{start}/screenshot": true,
		"GET /api/v1/locations":                                      true,
		"GET /api/v1/maintenance":                                    true,
		"POST /api/v1/maintenance":                                   true,
		"PUT /api/v1/maintenance/{id}":                               true,
		"DELETE /api/v1/maintenance/{id}":                            true,
		"GET /api/v1/markers":                                        true,
		"POST /api/v1/markers":                                       true,
		"DELETE /api/v1/markers/{id}":                                true,
	}
	for _, r := range b.web.Routes() {
		if r.Role == record.NoRole {
			continue
		}
		if w, ok := want[r.Pattern]; !ok || w != r.Role {
			t.Errorf("%s needs %v, want %v", r.Pattern, r.Role, w)
		}
		delete(want, r.Pattern)
		method, path, ok := strings.Cut(r.Pattern, " ")
		if !ok {
			method, path = "DELETE", r.Pattern
		}
		path = strings.NewReplacer("{id}", "x", "{kind}", "service", "{location}", "hub", "{start}", "1").Replace(path)
		for _, by := range []struct {
			token string
			role  record.Role
			shop  bool
		}{{readToken, record.Read, false}, {writeToken, record.Write, false}, {adminToken, record.Admin, false}, {shopToken, record.Admin, true}, {allToken, record.Admin, false}} {
			allowed := by.role >= r.Role && !(r.Process && by.shop)
			if allowed && unserved[r.Pattern] {
				continue
			}
			k, v := bearer(by.token)
			resp, body := b.ask(t, method, path, "", k, v)
			if got := resp.StatusCode != 403; got != allowed || resp.StatusCode == 401 {
				t.Errorf("%s %s by %s: got %d %s, want allowed=%v", method, path, by.token, resp.StatusCode, body, allowed)
			}
		}
	}
	for p := range want {
		t.Errorf("%s is no route", p)
	}
}

// TestProbeDebug holds the headers of a blackbox module, which may be secret,
// back from those who may only probe.
func TestProbeDebug(t *testing.T) {
	b := newBed(t, someAuth(), web.Limits{})
	k, v := bearer(writeToken)
	b.want(t, 200, "GET", "/probe?target=x", "", k, v)
	b.want(t, 403, "GET", "/probe?target=x&debug=true", "", k, v)
	k, v = bearer(adminToken)
	b.want(t, 200, "GET", "/probe?target=x&debug=true", "", k, v)
}

func TestTenantChoice(t *testing.T) {
	b := newBed(t, someAuth(), web.Limits{})
	f := func(tok, header, param, want string, code int) {
		t.Helper()
		k, v := bearer(tok)
		h := []string{k, v}
		if header != "" {
			h = append(h, "X-Vedette-Tenant", header)
		}
		path := "/api/v1/query"
		if param != "" {
			path += "?vedette_tenant=" + param
		}
		_, got := b.want(t, code, "GET", path, "", h...)
		if want != "" && got != want {
			t.Errorf("%s choosing %q%q got the tenant %q, want %q", tok, header, param, got, want)
		}
	}
	f(readToken, "", "", "default", 200)
	f(shopToken, "", "", "shop", 200)
	f(shopToken, "shop", "", "shop", 200)
	f(shopToken, "default", "", "", 403)
	f(shopToken, "", "default", "", 403)
	f(readToken, "shop", "", "", 403)
	f(adminToken, "shop", "", "", 403)
	f(allToken, "", "", "default", 200)
	f(allToken, "shop", "", "shop", 200)
	f(allToken, "", "shop", "shop", 200)
	f(allToken, "nobody", "", "", 404)
	f(allToken, "../shop", "", "", 404)
}
