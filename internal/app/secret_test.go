package app_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/vedette-sre/vedette/internal/app"
)

// startIn is startServer in a directory of the caller's, with a log.
func startIn(t *testing.T, dir string, log io.Writer, files map[string]string) *app.Server {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := slog.New(slog.DiscardHandler)
	if log != nil {
		l = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := app.Start(ctx, filepath.Join(dir, "vedette.yml"), func(c *app.Config) {
		c.Listen, c.Data = "127.0.0.1:0", filepath.Join(dir, "data")
	}, l)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Wait(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s
}

type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestSecretsStayHidden configures a secret, each with a number, wherever there
// can be one, lets everything fail, and looks for them in all that can be read.
func TestSecretsStayHidden(t *testing.T) {
	dir := t.TempDir()
	var log logText
	s := startIn(t, dir, &log, map[string]string{
		"vedette.yml": `
prometheus: prometheus.yml
alertmanager: alertmanager.yml
blackbox: blackbox.yml
auth:
  users: [{name: ann, role: read, password_hash: "$2a$04$hushhushhushhushhushhuOlfEBzc9jXHVnVmqnqxyQkVx0d0CKOa"}]
  tokens: [{name: ops, token: hush00-0123456789, role: admin, tenant: "*"}]
checks:
  - {name: one, url: 'http://u:hush01@127.0.0.1:1/?token=hush02', interval: 1s}
  - {name: two, url: 'http://127.0.0.1:1/', interval: 1s, bearer_token: hush03, body: 'hush04', headers: {X-Api-Key: hush05}}
  - {name: three, url: 'http://127.0.0.1:1/', interval: 1s, basic_auth: {username: u, password: hush06}}
`,
		"prometheus.yml": `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: one
    basic_auth: {username: u, password: hush10}
    static_configs: [{targets: ['127.0.0.1:1']}]
  - job_name: two
    authorization: {credentials: hush11}
    http_headers: {X-Key: {secrets: [hush12]}}
    static_configs: [{targets: ['127.0.0.1:1']}]
  - job_name: three
    http_sd_configs: [{url: 'http://u:hush13@127.0.0.1:1/sd', refresh_interval: 1s}]
  - job_name: four
    oauth2: {client_id: c, client_secret: hush14, token_url: 'http://127.0.0.1:1/token'}
    proxy_url: 'http://u:hush15@127.0.0.1:1'
    static_configs: [{targets: ['127.0.0.1:1']}]
remote_write:
  - {url: 'http://u:hush16@127.0.0.1:1/write', queue_config: {max_backoff: 50ms}}
  - {url: 'http://127.0.0.1:1/write2', basic_auth: {username: u, password: hush17}}
`,
		"rules.yml": `groups: [{name: g, rules: [{alert: A, expr: 'vector(1)'}]}]`,
		"alertmanager.yml": `
global: {smtp_smarthost: '127.0.0.1:1', smtp_from: a@example.org, smtp_auth_username: u, smtp_auth_password: hush20, smtp_require_tls: false}
route: {receiver: all, group_wait: 1ms, group_interval: 1s}
receivers:
  - name: all
    webhook_configs:
      - {url: 'http://u:hush21@127.0.0.1:1/hush22/x'}
      - {url: 'http://127.0.0.1:1/x?token=hush23', http_config: {authorization: {credentials: hush24}}}
    slack_configs: [{api_url: 'http://127.0.0.1:1/services/hush25', channel: c}]
    pagerduty_configs: [{routing_key: hush26, url: 'http://127.0.0.1:1/pd'}]
    opsgenie_configs: [{api_key: hush27, api_url: 'http://127.0.0.1:1/'}]
    telegram_configs: [{bot_token: 'hush28', chat_id: 1, api_url: 'http://127.0.0.1:1'}]
    email_configs: [{to: b@example.org}]
`,
		"blackbox.yml": `modules: {web: {prober: http, http: {basic_auth: {username: u, password: hush30}}}}`,
	})
	ops := as{s.URL(), "hush00-0123456789"}
	eventually(t, "deliveries that failed", func() bool {
		_, ob := ops.ask(t, "GET", "/api/v1/outbox", "")
		return strings.Count(ob, `"error":"`) >= 7
	})
	eventually(t, "runs that failed", func() bool {
		_, ck := ops.ask(t, "GET", "/api/v1/checks", "")
		return strings.Count(ck, `"state":"down"`) >= 3
	})

	hush := regexp.MustCompile(`.{0,120}(hush\d\d|hushhush).{0,60}`)
	look := func(where, text string) {
		t.Helper()
		for _, m := range hush.FindAllString(text, 3) {
			t.Errorf("%s shows a secret: %s", where, m)
		}
	}
	paths := []string{
		"/api/v1/status/config", "/api/v1/status/flags", "/api/v1/status/runtimeinfo", "/api/v1/targets", "/api/v1/rules", "/api/v1/alerts", "/api/v1/scrape_pools",
		"/api/v2/status", "/api/v2/receivers", "/api/v2/alerts", "/api/v1/itself", "/api/v1/checks", "/api/v1/outbox", "/api/v1/now", "/api/v1/session",
		"/api/v1/checks/one/runs", "/api/v1/checks/two/runs", "/api/v1/checks/three/runs", "/metrics", "/api/v1/label/instance/values", "/api/v1/label/__name__/values",
		"/probe?target=127.0.0.1:1&module=web&debug=true", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=1", "/version",
		"/federate?match[]={__name__=~\".%2b\"}",
	}
	for _, p := range paths {
		_, got := ops.ask(t, "GET", p, "")
		look(p, got)
	}
	look("/api/v1/checks/one/run", ops.want(t, 200, "POST", "/api/v1/checks/one/run", ""))

	// A fault beside a secret.
	for name, text := range map[string]string{
		"vedette.yml":      "auth:\n  tokens:\n    - name: ops\n      token: hush40\n      role: owner\n",
		"prometheus.yml":   "scrape_configs:\n  - job_name: x\n    basic_auth: {username: u, password: hush41, wrong: x}\n",
		"alertmanager.yml": "route: {receiver: x}\nreceivers:\n  - name: y\n    webhook_configs: [{url: 'http://u:hush42@a/x?token=hush43'}]\n    slack_configs: [{api_url: 'ftp://hush44'}]\n",
		"blackbox.yml":     "modules:\n  web:\n    prober: http\n    http:\n      basic_auth:\n        password: hush45\n        wrong: 1\n",
	} {
		path := filepath.Join(dir, name)
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		look("reload of a bad "+name, ops.want(t, http.StatusBadRequest, "POST", "/-/reload", ""))
		look("itself after a bad "+name, ops.want(t, 200, "GET", "/api/v1/itself", ""))
		if err := os.WriteFile(path, old, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look("the log", log.String())
	if !strings.Contains(log.String(), "level=") {
		t.Error("the log is empty, so that nothing was looked at")
	}
}
