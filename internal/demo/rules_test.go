package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

func writtenConfig(t *testing.T) (dir string, p ports) {
	t.Helper()
	dir, p = t.TempDir(), portsFrom(0)
	if err := writeConfig(dir, p); err != nil {
		t.Fatal(err)
	}
	return dir, p
}

// The upstream loaders take the files as they take a user's.
func TestConfigLoadsUpstream(t *testing.T) {
	dir, p := writtenConfig(t)
	prom, err := config.LoadFile(filepath.Join(dir, "prometheus.yml"), false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(prom.ScrapeConfigs), 7; got != want {
		t.Errorf("scrape configs: got %d, want %d", got, want)
	}
	if got, want := time.Duration(prom.GlobalConfig.EvaluationInterval), 5*time.Second; got != want {
		t.Errorf("evaluation interval: got %s, want %s", got, want)
	}
	am, err := amconfig.LoadFile(filepath.Join(dir, "alertmanager.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := am.Receivers[1].WebhookConfigs[0].URL, p.url(p.Receiver)+"/webhook"; string(got) != want {
		t.Errorf("webhook url: got %s, want %s", got, want)
	}

	named := map[string]bool{"CheckDown": true} // which Vedette makes of its checks
	for _, file := range ruleFiles(t, dir) {
		groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
		for _, err := range errs {
			t.Errorf("%s: %v", file, err)
		}
		for _, g := range groups.Groups {
			for _, r := range g.Rules {
				if r.Alert == "" {
					continue
				}
				named[r.Alert] = true
				for _, key := range []string{"summary", "description"} {
					if r.Annotations[key] == "" {
						t.Errorf("alert %s has no %s", r.Alert, key)
					}
				}
				if s := r.Labels["severity"]; s != "page" && s != "ticket" && s != "warning" {
					t.Errorf("alert %s: severity %q", r.Alert, s)
				}
			}
		}
	}
	for _, f := range Faults() {
		if !named[f.Alert] {
			t.Errorf("fault %s wants alert %s, which no rule makes", f.Name, f.Alert)
		}
	}
}

// Nothing of the templates is left in what a user would read.
func TestConfigIsFilledIn(t *testing.T) {
	dir, _ := writtenConfig(t)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "[[.") || strings.Contains(string(b), "<no value>") {
			t.Errorf("%s is not filled in", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func ruleFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "rules", "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("rule files: %v, %v", files, err)
	}
	return files
}

// firing loads the series, evaluates all rules every 5 s until at, and returns
// the alerts that fire then, as NAME{service="..." ...} of the chosen labels,
// and all that ever fired on the way.
func firing(t *testing.T, load string, at time.Duration, show ...string) (now, ever []string) {
	t.Helper()
	dir, _ := writtenConfig(t)
	store := promqltest.LoadedStorage(t, load)
	defer store.Close()
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, 1_000_000)
	ctx := context.Background()
	m := rules.NewManager(&rules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation, ExternalURL: &url.URL{Scheme: "http", Host: "x"},
		QueryFunc:  rules.EngineQueryFunc(engine, store),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Context:    ctx, Appendable: store, Queryable: store, Logger: slog.New(slog.DiscardHandler),
		Parser: parser.NewParser(parser.Options{}),
	})
	groups, errs := m.LoadGroups(5*time.Second, labels.EmptyLabels(), "", nil, false, ruleFiles(t, dir)...)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	order := []string{}
	for name := range groups {
		order = append(order, name)
	}
	// Recording rules first, as the files' order has them in a steady state.
	slices.SortFunc(order, func(a, b string) int { return strings.Compare(b, a) })
	for ts := time.Duration(0); ts <= at; ts += 5 * time.Second {
		now = nil
		for _, name := range order {
			groups[name].Eval(ctx, time.Unix(0, 0).Add(ts))
			for _, r := range groups[name].Rules() {
				if r.Health() == rules.HealthBad {
					t.Fatalf("rule %s at %s: %v", r.Name(), ts, r.LastError())
				}
				alerting, ok := r.(*rules.AlertingRule)
				if !ok {
					continue
				}
				for _, a := range alerting.ActiveAlerts() {
					if a.State != rules.StateFiring {
						continue
					}
					var shown []string
					for _, l := range show {
						if v := a.Labels.Get(l); v != "" {
							shown = append(shown, fmt.Sprintf("%s=%s", l, v))
						}
					}
					text := a.Labels.Get("alertname") + "{" + strings.Join(shown, ",") + "}"
					now = append(now, text)
					if !slices.Contains(ever, text) {
						ever = append(ever, text)
					}
					if s := a.Annotations.Get("summary") + a.Annotations.Get("description"); strings.Contains(s, "error expanding") || strings.Contains(s, "<no value>") {
						t.Errorf("alert %s says: %s", text, s)
					}
				}
			}
		}
	}
	slices.Sort(now)
	slices.Sort(ever)
	return now, ever
}

// Each alert on series as its fault makes them, and silence on healthy ones.
func TestAlerts(t *testing.T) {
	f := func(name, load string, at time.Duration, want ...string) {
		t.Run(name, func(t *testing.T) {
			got, _ := firing(t, load, at, "service", "check", "customer", "version", "queue", "peer")
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	f("a target is gone", `load 5s
		up{service="queue",instance="a"} 1x3 0x20
		up{service="worker",instance="b"} 1x23
	`, 60*time.Second, `TargetDown{service=queue}`)
	f("a service answers 5 % errors", `load 5s
		http_requests_total{service="catalogue",code="200"} 0+95x40
		http_requests_total{service="catalogue",code="500"} 0+5x40
	`, 60*time.Second, `ServiceErrors{service=catalogue}`)
	f("a service answers 0.5 % errors", `load 5s
		http_requests_total{service="catalogue",code="200"} 0+200x40
		http_requests_total{service="catalogue",code="500"} 0+1x40
	`, 3*time.Minute)
	f("two errors in a quiet service", `load 5s
		http_requests_total{service="queue",code="200"} 0+1x40
		http_requests_total{service="queue",code="500"} 0x10 1x10 2x20
	`, 90*time.Second)
	f("every second request takes more than 250 ms", `load 5s
		http_requests_total{service="pricing",code="200"} 0+50x40
		http_request_duration_seconds_bucket{service="pricing",le="0.1"} 0+20x40
		http_request_duration_seconds_bucket{service="pricing",le="0.25"} 0+25x40
		http_request_duration_seconds_bucket{service="pricing",le="1"} 0+50x40
		http_request_duration_seconds_bucket{service="pricing",le="+Inf"} 0+50x40
		http_request_duration_seconds_count{service="pricing"} 0+50x40
	`, 60*time.Second, `ServiceSlow{service=pricing}`)
	f("one request in thirty takes more than 250 ms", `load 5s
		http_requests_total{service="pricing",code="200"} 0+60x40
		http_request_duration_seconds_bucket{service="pricing",le="0.1"} 0+20x40
		http_request_duration_seconds_bucket{service="pricing",le="0.25"} 0+58x40
		http_request_duration_seconds_bucket{service="pricing",le="1"} 0+60x40
		http_request_duration_seconds_bucket{service="pricing",le="+Inf"} 0+60x40
		http_request_duration_seconds_count{service="pricing"} 0+60x40
	`, 60*time.Second)
	f("names resolve slowly", `load 5s
		probe_http_duration_seconds{check="a",phase="resolve"} 0.01x5 1.5x20
		probe_http_duration_seconds{check="b",phase="resolve"} 0.01x5 1.5x20
		probe_http_duration_seconds{check="b",phase="connect"} 2x25
	`, 60*time.Second, `NameResolutionSlow{service=dns}`)
	f("a certificate ends in 3 days", `load 5s
		probe_ssl_earliest_cert_expiry{check="shop-front-tls",service="gateway"} 259200x30
		probe_ssl_earliest_cert_expiry{check="other",service="gateway"} 7776000x30
	`, 60*time.Second, `CertificateExpiresSoon{service=gateway,check=shop-front-tls}`)
	f("a queue is stuck", `load 5s
		queue_oldest_message_age_seconds{queue="orders",service="queue"} 0x5 0+5x20
		queue_depth{queue="orders",service="queue"} 0x5 0+25x20
	`, 75*time.Second, `QueueStuck{service=queue,queue=orders}`)
	f("one small customer fails", `load 5s
		http_requests_total{service="gateway",customer="northwind",code="200"} 0+100x60
		http_requests_total{service="gateway",customer="lumen-tea",code="200"} 0 0 1 1 2 2 3 3 3 3 3 3x60
		http_requests_total{service="gateway",customer="lumen-tea",code="500"} 0x8 3x2 6x2 9x50
	`, 65*time.Second, `CustomerFailing{service=gateway,customer=lumen-tea}`)
	f("one request of a small customer fails, with both of its retries", `load 5s
		http_requests_total{service="gateway",customer="northwind",code="200"} 0+100x60
		http_requests_total{service="gateway",customer="lumen-tea",code="200"} 0 0 1 1 2 2 3 3 4 4 5 5 5 6 6 7 7 7 8 8 9 9x60
		http_requests_total{service="gateway",customer="lumen-tea",code="500"} 0x22 3x60
	`, 135*time.Second, `CustomerFailing{service=gateway,customer=lumen-tea}`)
	f("all customers fail", `load 5s
		http_requests_total{service="gateway",customer="northwind",code="200"} 0+100x10 1000+60x50
		http_requests_total{service="gateway",customer="northwind",code="502"} 0x10 0+40x50
		http_requests_total{service="gateway",customer="lumen-tea",code="200"} 0x60
		http_requests_total{service="gateway",customer="lumen-tea",code="502"} 0x10 3x2 6x2 9x50
	`, 120*time.Second, `ServiceErrors{service=gateway}`)
	f("a bad release", `load 5s
		build_info{service="orders",version="1.7.3"} 1x10 stale
		build_info{service="orders",version="1.8.0"} _x11 1x60
		http_requests_total{service="orders",code="200"} 0+22x10 220+19x60
		http_requests_total{service="orders",code="500"} 0x10 0+2x60
	`, 2*time.Minute, `ReleaseFailing{service=orders,version=1.8.0}`, `ServiceErrors{service=orders}`)
	f("four errors after a release", `load 5s
		build_info{service="orders",version="1.7.3"} 1x10 stale
		build_info{service="orders",version="1.8.0"} _x11 1x60
		http_requests_total{service="orders",code="200"} 0+28x70
		http_requests_total{service="orders",code="500"} 0x12 1 2 4x50
	`, 85*time.Second, `ReleaseFailing{service=orders,version=1.8.0}`)
	f("four errors without a release", `load 5s
		build_info{service="orders",version="1.7.3"} 1x70
		http_requests_total{service="orders",code="200"} 0+28x70
		http_requests_total{service="orders",code="500"} 0x12 1 2 4x50
	`, 85*time.Second)
	f("a good release", `load 5s
		build_info{service="orders",version="1.7.3"} 1x10 stale
		build_info{service="orders",version="1.8.0"} _x11 1x60
		http_requests_total{service="orders",code="200"} 0+22x70
		http_requests_total{service="orders",code="500"} 0x70
	`, 2*time.Minute)
	f("needless calls", `load 5s
		http_requests_total{service="gateway",code="200"} 0+100x40
		http_client_requests_total{service="gateway",peer="pricing",code="200"} 0+70x10 700+1200x30
		http_client_requests_total{service="gateway",peer="catalogue",code="200"} 0+70x40
	`, 100*time.Second, `NeedlessCalls{service=gateway,peer=pricing}`)
}

// A failure of all customers must not leave an alert about a small one behind,
// when it begins, while it lasts and while it fades.
func TestSmallCustomerIsNotBlamedForAll(t *testing.T) {
	_, ever := firing(t, `load 5s
		http_requests_total{service="gateway",customer="northwind",code="200"} 0+100x20 2000+60x20 3200+100x100
		http_requests_total{service="gateway",customer="northwind",code="502"} 0x20 0+40x20 800x100
		http_requests_total{service="gateway",customer="lumen-tea",code="200"} 0x60 1x20 2x60
		http_requests_total{service="gateway",customer="lumen-tea",code="502"} 0x20 3x5 6x5 9x5 12x100
	`, 10*time.Minute, "service", "customer")
	if want := []string{"ServiceErrors{service=gateway}"}; !slices.Equal(ever, want) {
		t.Errorf("got %q, want %q", ever, want)
	}
}

// Going back to the version before does not put the blame on that one, and its
// end is the end of one alert.
func TestGoingBackIsNotBlamed(t *testing.T) {
	load := `load 5s
		build_info{service="orders",version="1.7.3"} 1x20 stale _x20 1x100
		build_info{service="orders",version="1.8.0"} _x20 1x20 stale
		http_requests_total{service="orders",code="200"} 0+30x20 600+28x20 1160+30x100
		http_requests_total{service="orders",code="500"} 0x20 0+2x20 40x100
	`
	now, ever := firing(t, load, 8*time.Minute, "service", "version")
	if want := []string{"ReleaseFailing{service=orders,version=1.8.0}", "ServiceErrors{service=orders}"}; !slices.Equal(ever, want) {
		t.Errorf("ever: got %q, want %q", ever, want)
	}
	if len(now) != 0 {
		t.Errorf("at the end: got %q, want none", now)
	}
}
