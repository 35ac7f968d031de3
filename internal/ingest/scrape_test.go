package ingest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// exporters serves one exposition format at each path.
func exporters(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	say := func(path, contentType, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			fmt.Fprint(w, body)
		})
	}
	say("/text", "text/plain; version=0.0.4", "# TYPE t counter\nt{job=\"own\",drop=\"me\",keep=\"1\"} 5\nt_noise 1\n")
	say("/om", "application/openmetrics-text; version=1.0.0", "# TYPE om counter\nom_total{a=\"b\"} 7 # {trace_id=\"abc\"} 0.5\n# TYPE state stateset\nstate{state=\"on\"} 1\n# EOF\n")
	say("/big", "text/plain; version=0.0.4", "x1 1\nx2 1\nx3 1\nx4 1\n")
	say("/broken", "text/plain; version=0.0.4", "ok 1\nthis is {no exposition\n")
	mux.HandleFunc("/sd", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `[{"targets": [%q], "labels": {"found": "http"}}]`, r.Host)
	})
	reg := prometheus.NewRegistry()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "native", NativeHistogramBucketFactor: 1.1, Buckets: []float64{1}})
	h.Observe(0.5)
	h.Observe(2)
	reg.MustRegister(h)
	mux.Handle("/native", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// scrapeUntil runs a Scraper by a prometheus.yml until done says so, and returns
// it stopped, and a function that asks the store.
func scrapeUntil(t *testing.T, yml string, done func(ask func(string) promql.Vector) bool) (*metric.Store, *ingest.Scraper, func(string) promql.Vector) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(path, []byte(yml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, notServed, err := ingest.LoadPrometheus(path, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	if len(notServed) > 0 {
		t.Errorf("not served: %v", notServed)
	}
	store := openStore(t, t.TempDir(), metric.Config{})
	engines := query.NewEngines(query.Config{}, instrument.New(instrument.Config{}), prometheus.NewRegistry(), quietLog())
	t.Cleanup(engines.Close)
	ctx, cancel := context.WithCancel(context.Background())
	sc, err := ingest.NewScraper(ctx, store, prometheus.NewRegistry(), quietLog())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- sc.Run(ctx) }()
	if err := sc.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	ask := func(expr string) promql.Vector {
		t.Helper()
		q, err := engines.Users.NewInstantQuery(context.Background(), store, nil, expr, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		res := q.Exec(context.Background())
		v, err := res.Vector()
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		return slices.Clone(v)
	}
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for !done(ask) {
		select {
		case <-tick.C:
		case <-end:
			t.Errorf("not scraped within 20 s; up is %v", ask("up"))
			end = nil
		}
		if end == nil {
			break
		}
	}
	stop := func() {
		if cancel != nil {
			cancel()
			cancel = nil
			if err := <-ended; err != nil {
				t.Errorf("scraper: %v", err)
			}
		}
	}
	t.Cleanup(stop) // before the store's closing: later cleanups run first
	return store, sc, ask
}

func TestScrape(t *testing.T) {
	host := exporters(t)
	sd := filepath.Join(t.TempDir(), "targets.json")
	if err := os.WriteFile(sd, fmt.Appendf(nil, `[{"targets": [%q], "labels": {"found": "file"}}]`, host), 0o600); err != nil {
		t.Fatal(err)
	}
	static := fmt.Sprintf("static_configs: [{targets: [%q]}]", host)
	store, sc, ask := scrapeUntil(t, `
global: {scrape_interval: 250ms, scrape_timeout: 250ms}
scrape_configs:
- job_name: honoured
  metrics_path: /text
  honor_labels: true
  `+static+`
- job_name: plain
  metrics_path: /text
  `+static+`
  metric_relabel_configs:
  - {action: drop, source_labels: [__name__], regex: t_noise}
  - {action: labeldrop, regex: drop}
  relabel_configs:
  - {target_label: added, replacement: by relabelling}
- job_name: om
  metrics_path: /om
  `+static+`
- job_name: native
  metrics_path: /native
  scrape_native_histograms: true
  always_scrape_classic_histograms: true
  `+static+`
- job_name: big
  metrics_path: /big
  sample_limit: 3
  `+static+`
- job_name: broken
  metrics_path: /broken
  `+static+`
- job_name: dead
  static_configs: [{targets: ["127.0.0.1:1"]}]
- job_name: by_file
  metrics_path: /text
  file_sd_configs: [{files: [`+sd+`]}]
- job_name: by_http
  metrics_path: /text
  http_sd_configs: [{url: "http://`+host+`/sd", refresh_interval: 1s}]
`, func(ask func(string) promql.Vector) bool { return len(ask("up")) == 9 })

	value := func(expr string, want float64) {
		t.Helper()
		v := ask(expr)
		if len(v) != 1 || v[0].F != want {
			t.Errorf("%s: got %v, want %v", expr, v, want)
		}
	}
	value(`t{job="own", drop="me"}`, 5) // honour_labels
	value(`t{job="plain", exported_job="own", keep="1", added="by relabelling", drop=""}`, 5)
	value(`count(t_noise{job="honoured"})`, 1)
	if v := ask(`t_noise{job="plain"}`); len(v) != 0 {
		t.Errorf("dropped by relabelling, and stored: %v", v)
	}
	value(`om_total{job="om", a="b"}`, 7)
	value(`state{state="on"}`, 1)
	value(`histogram_count(native{job="native"})`, 2)
	value(`native_bucket{job="native", le="1.0"}`, 1)
	value(`up{job="big"}`, 0)
	value(`count(up == 0)`, 3) // big, broken, dead
	for job, found := range map[string]string{"by_file": "file", "by_http": "http"} {
		value(fmt.Sprintf(`t{job=%q, exported_job="own", found=%q}`, job, found), 5)
	}
	if v := ask(`x1`); len(v) != 0 {
		t.Errorf("over the sample limit, and stored: %v", v)
	}
	q, err := store.ExemplarQuerier(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ex, err := q.Select(0, time.Now().UnixMilli()+1000, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, "om_total")})
	if err != nil || len(ex) != 1 || ex[0].Exemplars[0].Labels.Get("trace_id") != "abc" {
		t.Errorf("got exemplars %v, %v", ex, err)
	}
	reasons := map[string]string{"big": "sample limit", "broken": "invalid syntax", "dead": "refused"}
	for job, ts := range sc.Manager().TargetsActive() {
		for _, target := range ts {
			err := fmt.Sprint(target.LastError())
			if want := reasons[job]; want == "" && target.LastError() != nil || !strings.Contains(err, want) {
				t.Errorf("target of %s: got error %q, want %q", job, err, want)
			}
		}
	}
}

func TestNotServedIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(path, []byte(`
global: {query_log_file: q.log, scrape_failure_log_file: f.log}
runtime: {gogc: 60}
tracing: {endpoint: "localhost:4317"}
alerting: {alertmanagers: [{static_configs: [{targets: ["localhost:9093"]}]}]}
scrape_configs:
- job_name: pods
  kubernetes_sd_configs: [{role: pod}]
  static_configs: [{targets: ["localhost:1"]}]
- job_name: machines
  ec2_sd_configs: [{region: eu-west-1}]
  hetzner_sd_configs: [{role: hcloud}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, notServed, err := ingest.LoadPrometheus(path, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range notServed {
		got = append(got, n.Section)
		if len(n.Reason) < 20 {
			t.Errorf("%s: the reason %q says little", n.Section, n.Reason)
		}
	}
	want := []string{"scrape_configs[pods].kubernetes_sd_configs", "scrape_configs[machines].ec2_sd_configs", "scrape_configs[machines].hetzner_sd_configs",
		"alerting.alertmanagers", "tracing", "global.query_log_file", "global.scrape_failure_log_file", "runtime.gogc"}
	if len(ingest.UnservedDiscoveries()) == 0 { // built with -tags allsd
		want = want[3:]
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	scs, err := cfg.GetScrapeConfigs()
	if err != nil || len(scs) != 2 || len(scs[0].ServiceDiscoveryConfigs) == 0 {
		t.Errorf("the served part of the file is lost: %v, %v", scs, err)
	}
}
