// Package e2e tests Vedette as a whole process beside the programs that its
// users have: Prometheus, promtool, amtool. A test whose peer is not installed
// says so and is left out.
package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// peer finds a program that the user of Vedette has, or leaves the test out.
func peer(t *testing.T, names ...string) string {
	t.Helper()
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			abs, err := filepath.Abs(p)
			if err != nil {
				t.Fatal(err)
			}
			return abs
		}
	}
	t.Skipf("left out: %s is not installed", strings.Join(names, " or "))
	return ""
}

type process struct {
	url string
	cmd *exec.Cmd
}

func (p *process) start(t *testing.T, prog string, args ...string) *bufio.Reader {
	t.Helper()
	p.cmd = exec.Command(prog, args...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errs bytes.Buffer
	p.cmd.Stderr = &errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		_ = p.cmd.Wait() // the exit status of a stopped peer tells nothing
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(prog), errs.String())
		}
	})
	return bufio.NewReader(out)
}

// vedette builds and starts the program with the files in dir.
func vedette(t *testing.T, dir string, files map[string]string) *process {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	prog := filepath.Join(dir, "vedette")
	build := exec.Command("go", "build", "-o", prog, "../cmd/vedette")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p := &process{}
	out := p.start(t, prog, "run", "--config", filepath.Join(dir, "vedette.yml"), "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0")
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("no ready line: %v", err)
	}
	f := strings.Fields(line)
	p.url = f[len(f)-1]
	return p
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s did not happen within 40 s", what)
}

func get(t *testing.T, u string) []byte {
	t.Helper()
	resp, err := http.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v: %s", u, resp.Status, err, b)
	}
	return b
}

// app is a service with every kind of metric.
func app(t *testing.T) string {
	reg := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total", Help: "h"}, []string{"code"})
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "http_request_duration_seconds", Help: "h",
		Buckets: prometheus.DefBuckets, NativeHistogramBucketFactor: 1.1})
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "job_seconds", Help: "h", Objectives: map[float64]float64{0.5: 0.05, 0.99: 0.001}})
	depth := prometheus.NewGauge(prometheus.GaugeOpts{Name: "queue_depth", Help: "h"})
	reg.MustRegister(requests, latency, summary, depth)
	n := 0
	h := promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 7 {
			n++
			requests.WithLabelValues(strconv.Itoa(200 + 100*(n%4))).Inc()
			latency.Observe(0.001 * float64(n%500))
			summary.Observe(float64(n % 13))
		}
		depth.Set(float64(n % 17))
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// TestPrometheusRemoteWrites has a real Prometheus scrape a service and write on
// to Vedette; both must then answer alike.
func TestPrometheusRemoteWrites(t *testing.T) {
	for _, c := range []struct{ name, message, prog string }{
		{"1.0", "", peer(t, "peer/bin/prometheus", "prometheus")},
		{"2.0", "protobuf_message: io.prometheus.write.v2.Request", "peer/bin/prometheus"},
	} {
		t.Run(c.name, func(t *testing.T) {
			prog := peer(t, c.prog)
			dir := t.TempDir()
			v := vedette(t, dir, map[string]string{"vedette.yml": "watch: false\n"})
			native := ""
			args := []string{}
			if strings.Contains(prog, "peer") {
				native = "scrape_native_histograms: true, "
				args = append(args, "--enable-feature=native-histograms")
			}
			addr := freeAddr(t)
			conf := filepath.Join(dir, "p.yml")
			text := fmt.Sprintf(`global: {scrape_interval: 1s}
scrape_configs: [{job_name: app, %sstatic_configs: [{targets: ['%s']}]}]
remote_write: [{url: '%s/api/v1/write', send_native_histograms: true, %s}]
`, native, app(t), v.url, c.message)
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p := &process{url: "http://" + addr}
			p.start(t, prog, append(args, "--config.file="+conf, "--web.listen-address="+addr, "--storage.tsdb.path="+filepath.Join(dir, "p"), "--log.level=warn")...)
			eventually(t, "a dozen scrapes arriving", func() bool {
				return number(ask(v.url, "query", url.Values{"query": {`count_over_time(up{job="app"}[5m])`}})) >= 12
			})
			// A few seconds back, everything has arrived on both sides.
			end := time.Now().Add(-4 * time.Second).Truncate(time.Second)
			for _, q := range []string{
				`up{job="app"}`, `http_requests_total`, `sum by (code) (rate(http_requests_total[5s]))`, `queue_depth`,
				`histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5s])))`,
				`histogram_quantile(0.9, rate(http_request_duration_seconds[5s]))`, `histogram_count(http_request_duration_seconds)`,
				`job_seconds`, `topk(2, http_requests_total)`, `count({job="app"})`, `changes(queue_depth[5s])`,
				`label_replace(up{job="app"}, "x", "$1", "instance", "(.*):.*")`, `absent(nothing)`,
			} {
				for _, kind := range []struct {
					path string
					form url.Values
				}{
					{"query", url.Values{"query": {q}, "time": {strconv.FormatInt(end.Unix(), 10)}}},
					{"query_range", url.Values{"query": {q}, "start": {strconv.FormatInt(end.Unix()-6, 10)}, "end": {strconv.FormatInt(end.Unix(), 10)}, "step": {"1"}}},
				} {
					got, want := ask(v.url, kind.path, kind.form), ask(p.url, kind.path, kind.form)
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%s %s:\n got %v\nwant %v", kind.path, q, got, want)
					}
				}
			}
			if native != "" && c.message != "" {
				if n := number(ask(v.url, "query", url.Values{"query": {`histogram_count(http_request_duration_seconds)`}})); n <= 0 {
					t.Errorf("no native histogram has come through: histogram_count is %v", n)
				}
			}
		})
	}
}

// ask returns the data of an API answer, nil when there is none.
func ask(base, path string, form url.Values) any {
	resp, err := http.Get(base + "/api/v1/" + path + "?" + form.Encode())
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var v struct{ Data any }
	if json.NewDecoder(resp.Body).Decode(&v) != nil {
		return nil
	}
	return v.Data
}

// number reads the first value of an instant vector, -1 when there is none.
func number(data any) float64 {
	m, _ := data.(map[string]any)
	res, _ := m["result"].([]any)
	if len(res) == 0 {
		return -1
	}
	val, _ := res[0].(map[string]any)["value"].([]any)
	if len(val) != 2 {
		return -1
	}
	f, err := strconv.ParseFloat(val[1].(string), 64)
	if err != nil {
		return -1
	}
	return f
}

func tool(t *testing.T, prog string, args ...string) string {
	t.Helper()
	cmd := exec.Command(prog, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(prog), strings.Join(args, " "), err, out, errs.String())
	}
	return string(out)
}

// TestPromtool asks Vedette with Prometheus's own tool.
func TestPromtool(t *testing.T) {
	promtool := peer(t, "peer/bin/promtool", "promtool")
	v := vedette(t, t.TempDir(), map[string]string{"vedette.yml": "\n"})
	eventually(t, "own metrics", func() bool {
		return strings.Contains(string(get(t, v.url+"/api/v1/query?query=up")), "vedette-host")
	})
	f := func(want string, args ...string) {
		t.Helper()
		if got := tool(t, promtool, args...); !strings.Contains(got, want) {
			t.Errorf("promtool %s: got %q, want something with %q", strings.Join(args, " "), got, want)
		}
	}
	now := strconv.FormatInt(time.Now().Unix()+1, 10) // the first samples may be of this second
	f(`up{instance=`, "query", "instant", v.url, `up{job="vedette"}`)
	f(`=> 1 @[`, "query", "instant", v.url, `up{job="vedette"}`)
	f(`up{`, "query", "range", "--step=1s", "--start="+strconv.FormatInt(time.Now().Unix()-5, 10), "--end="+now, v.url, `up`)
	f(`node_cpu_seconds_total`, "query", "series", "--match=node_cpu_seconds_total", v.url)
	f(`vedette-host`, "query", "labels", v.url, "job")
	if help, _ := exec.Command(promtool, "check", "--help").CombinedOutput(); strings.Contains(string(help), "check healthy") {
		f(``, "check", "healthy", "--url="+v.url)
		f(``, "check", "ready", "--url="+v.url)
	}
}

// TestAmtool drives alerts and silences with Alertmanager's own tool.
func TestAmtool(t *testing.T) {
	amtool := peer(t, "amtool")
	v := vedette(t, t.TempDir(), map[string]string{"vedette.yml": "\n"})
	at := "--alertmanager.url=" + v.url
	f := func(want string, args ...string) string {
		t.Helper()
		got := tool(t, amtool, append([]string{at}, args...)...)
		if !strings.Contains(got, want) {
			t.Errorf("amtool %s: got %q, want something with %q", strings.Join(args, " "), got, want)
		}
		return got
	}
	f("", "alert", "add", "Fire", "severity=page", "service=shop", "--annotation=summary=it burns")
	eventually(t, "the alert", func() bool { return strings.Contains(tool(t, amtool, at, "alert", "query"), "Fire") })
	f("it burns", "alert", "query", "-o", "extended", "alertname=Fire")
	id := strings.TrimSpace(f("-", "silence", "add", "service=shop", "--comment=deploy", "--author=me", "--duration=1h"))
	f(id, "silence", "query", "-o", "extended")
	eventually(t, "the silence to hold", func() bool {
		return !strings.Contains(tool(t, amtool, at, "alert", "query"), "Fire") && strings.Contains(tool(t, amtool, at, "alert", "query", "--silenced"), "Fire")
	})
	f("", "silence", "expire", id)
	eventually(t, "the alert again", func() bool { return strings.Contains(tool(t, amtool, at, "alert", "query"), "Fire") })
	f("receiver", "config", "show")
}
