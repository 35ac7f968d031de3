package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// faultRace breaks a service at random moments and measures how long each side
// takes until its notification reaches a webhook: Vedette, and Prometheus with
// blackbox_exporter and Alertmanager set alike (check and evaluation at 5 s,
// for: 10s, group wait 1 s).
func faultRace(ctx context.Context, o options) error {
	var broken atomic.Bool
	target, err := serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	if err != nil {
		return err
	}
	defer target.Close()
	r := &arrivals{last: map[string]time.Time{}}
	hook, err := serve(r)
	if err != nil {
		return err
	}
	defer hook.Close()

	write := func(name, text string) (string, error) {
		p := filepath.Join(o.dir, name)
		return p, os.WriteFile(p, []byte(text), 0o600)
	}
	rule := `groups: [{name: g, interval: 5s, rules: [{alert: Broken, expr: 'probe_success{service="shop"} == 0', for: 10s}]}]`
	am := func(side string) string {
		return fmt.Sprintf("route: {receiver: r, group_wait: 1s, group_interval: 5s, repeat_interval: 4h}\nreceivers: [{name: r, webhook_configs: [{url: 'http://%s/%s'}]}]\n", hook.address(), side)
	}
	if _, err := write("rule.yml", rule); err != nil {
		return err
	}
	// Vedette.
	if _, err := write("v-prometheus.yml", "global: {evaluation_interval: 5s}\nrule_files: [rule.yml]\n"); err != nil {
		return err
	}
	if _, err := write("v-alertmanager.yml", am("vedette")); err != nil {
		return err
	}
	conf, err := write("v.yml", fmt.Sprintf("prometheus: v-prometheus.yml\nalertmanager: v-alertmanager.yml\nchecks: [{name: shop, url: 'http://%s/', interval: 5s, timeout: 4s, labels: {service: shop}}]\n", target.address()))
	if err != nil {
		return err
	}
	v, err := startVedette(ctx, o, conf)
	if err != nil {
		return err
	}
	defer v.stop()
	// The trio.
	bb, err := freePort()
	if err != nil {
		return err
	}
	ama, err := freePort()
	if err != nil {
		return err
	}
	bbConf, err := write("blackbox.yml", "modules: {http_2xx: {prober: http, timeout: 4s}}\n")
	if err != nil {
		return err
	}
	b, err := start(ctx, o, "blackbox", "http://"+bb, o.blackbox, "--config.file="+bbConf, "--web.listen-address="+bb)
	if err != nil {
		return err
	}
	defer b.stop()
	amConf, err := write("alertmanager.yml", am("trio"))
	if err != nil {
		return err
	}
	a, err := start(ctx, o, "alertmanager", "http://"+ama, o.alertmanager, "--config.file="+amConf, "--web.listen-address="+ama,
		"--storage.path="+filepath.Join(o.dir, "am"), "--cluster.listen-address=")
	if err != nil {
		return err
	}
	defer a.stop()
	pConf, err := write("p.yml", fmt.Sprintf(`global: {scrape_interval: 5s, evaluation_interval: 5s}
rule_files: [rule.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ['%s']}]}]}
scrape_configs:
- job_name: probe
  metrics_path: /probe
  params: {module: [http_2xx], target: ['http://%s/']}
  static_configs: [{targets: ['%s'], labels: {service: shop}}]
`, ama, target.address(), bb))
	if err != nil {
		return err
	}
	p, err := startPrometheus(ctx, o, pConf)
	if err != nil {
		return err
	}
	defer p.stop()
	for _, s := range []*server{v, p, a} {
		if err := s.settle(ctx); err != nil {
			return err
		}
	}
	if err := sleep(ctx, 15*time.Second); err != nil {
		return err
	}
	fmt.Printf("\nfrom fault to webhook, seconds\n%8s %10s %10s\n", "fault", "Vedette", "trio")
	took := map[string][]float64{}
	for i := range o.faults {
		if err := sleep(ctx, rand.N(5*time.Second)); err != nil {
			return err
		}
		at := time.Now()
		broken.Store(true)
		if err := r.wait(ctx, at, "firing"); err != nil {
			return err
		}
		for _, side := range []string{"vedette", "trio"} {
			took[side] = append(took[side], r.at(side, "firing").Sub(at).Seconds())
		}
		fmt.Printf("%8d %10.1f %10.1f\n", i+1, took["vedette"][i], took["trio"][i])
		at = time.Now()
		broken.Store(false)
		if err := r.wait(ctx, at, "resolved"); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		name string
		f    func([]float64) float64
	}{{"median", median}, {"slowest", slices.Max[[]float64]}} {
		fmt.Printf("%8s %10.1f %10.1f\n", s.name, s.f(took["vedette"]), s.f(took["trio"]))
	}
	return nil
}

// arrivals notes when each side's last notification of a status came.
type arrivals struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (r *arrivals) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	now := time.Now()
	var m struct{ Status string }
	b, err := io.ReadAll(req.Body)
	if err != nil || json.Unmarshal(b, &m) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.last[req.URL.Path[1:]+" "+m.Status] = now
	r.mu.Unlock()
}

func (r *arrivals) at(side, status string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[side+" "+status]
}

func (r *arrivals) wait(ctx context.Context, after time.Time, status string) error {
	for range 1200 {
		if r.at("vedette", status).After(after) && r.at("trio", status).After(after) {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("no %s notification within a minute: vedette %s, trio %s", status, r.at("vedette", status), r.at("trio", status))
}

type local struct {
	*http.Server
	ln net.Listener
}

func (l local) address() string { return l.ln.Addr().String() }

func serve(h http.Handler) (local, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return local{}, err
	}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(ln) }()
	return local{s, ln}, nil
}
