package probe_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/vedette-sre/vedette/internal/probe"
)

func newBlackbox(t *testing.T, path string, log *slog.Logger) (*probe.Blackbox, *prometheus.Registry) {
	t.Helper()
	c, err := probe.LoadBlackbox(path)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	b, err := probe.NewBlackbox(c, reg, log)
	if err != nil {
		t.Fatal(err)
	}
	return b, reg
}

// ask probes and returns code and text.
func ask(b http.Handler, query ...string) (int, string) {
	q := url.Values{}
	for i := 0; i < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest("GET", "/probe?"+q.Encode(), nil))
	return w.Code, w.Body.String()
}

func TestBlackbox(t *testing.T) {
	s := serveHTTP(t, func(http.ResponseWriter, *http.Request) {})
	b, reg := newBlackbox(t, "", quiet)
	f := func(code int, says string, query ...string) {
		t.Helper()
		got, text := ask(b, query...)
		if got != code || !strings.Contains(text, says) {
			t.Errorf("%v: got %d %s, want %d with %q", query, got, text, code, says)
		}
	}
	f(200, "probe_success 1", "target", s.URL)
	f(200, `probe_http_duration_seconds{phase="connect"}`, "target", s.URL, "module", "http_2xx")
	f(200, "probe_success 0", "target", "http://"+closedPort(t))
	f(200, "probe_success 1", "target", s.Listener.Addr().String(), "module", "tcp_connect")
	f(200, "probe_dns_query_succeeded 1", "target", serveDNS(t, map[string][]string{".": nil}), "module", "dns")
	f(200, "Beginning probe", "target", s.URL, "debug", "true")
	f(200, "Probe succeeded", "target", s.URL, "debug", "true")
	f(200, "Module configuration", "target", s.URL, "debug", "true")
	f(400, "Target parameter is missing")
	f(400, "Unknown module", "target", s.URL, "module", "nope")
	if n, err := testutil.GatherAndCount(reg, "blackbox_module_unknown_total"); n != 1 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}

	// A second instance with a file of its own in the same process.
	file := filepath.Join(t.TempDir(), "blackbox.yml")
	if err := os.WriteFile(file, []byte("modules: {only_404: {prober: http, http: {valid_status_codes: [404]}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	two, _ := newBlackbox(t, file, quiet)
	if code, text := ask(two, "target", s.URL, "module", "only_404"); code != 200 || !strings.Contains(text, "probe_success 0") {
		t.Errorf("got %d %s", code, text)
	}
	if code, _ := ask(two, "target", s.URL); code != 400 {
		t.Errorf("a file replaces the default modules: got %d", code)
	}
	c, err := probe.LoadBlackbox("")
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Apply(c); err != nil {
		t.Fatal(err)
	}
	f(200, "probe_success 1", "target", s.URL)
	if _, err := probe.NewBlackbox(c, reg, quiet); err == nil {
		t.Error("two instances on one registerer: got no error")
	}
}

// TestBlackboxLog: a probe's lines are for debug=true and for a log at debug,
// not for the program's usual one.
func TestBlackboxLog(t *testing.T) {
	var out strings.Builder
	b, _ := newBlackbox(t, "", slog.New(slog.NewTextHandler(&out, nil)))
	if _, text := ask(b, "target", "http://"+closedPort(t), "debug", "true"); !strings.Contains(text, "connection refused") {
		t.Errorf("debug=true does not tell the reason: %s", text)
	}
	if out.Len() > 0 {
		t.Errorf("logged: %s", out.String())
	}
	b, _ = newBlackbox(t, "", slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	ask(b, "target", "http://"+closedPort(t))
	if !strings.Contains(out.String(), "level=DEBUG") || strings.Contains(out.String(), "level=ERROR") {
		t.Errorf("a log at debug: got %s", out.String())
	}
}

// TestBlackboxFiles: every file that blackbox_exporter carries loads, or is
// refused in its own words.
func TestBlackboxFiles(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/blackbox_exporter").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	dir := strings.TrimSpace(string(out))
	files, _ := filepath.Glob(dir + "/config/testdata/*.yml") // the pattern is well formed
	files = append(files, dir+"/blackbox.yml", dir+"/example.yml", dir+"/config/testdata/none.yml")
	good := 0
	for _, f := range files {
		want := config.NewSafeConfig(prometheus.NewRegistry()).ReloadConfig(f, quiet)
		_, got := probe.LoadBlackbox(f)
		switch {
		case (got == nil) != (want == nil):
			t.Errorf("%s: got error %v, want %v", filepath.Base(f), got, want)
		case got == nil:
			good++
		case got.Error() != want.Error():
			t.Errorf("%s: got %q, want %q", filepath.Base(f), got, want)
		}
	}
	if good < 3 || len(files) < 15 {
		t.Errorf("%d of %d files are good: the module changed its tree", good, len(files))
	}
	if _, err := probe.LoadBlackbox(dir + "/none.yml"); err == nil {
		t.Error("a missing file: got no error")
	}
}
