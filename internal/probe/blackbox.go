package probe

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/blackbox_exporter/prober"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"gopkg.in/yaml.v3"
)

// BlackboxConfig is a parsed blackbox.yml.
type BlackboxConfig struct{ c *config.Config }

// defaultModules serve /probe when no blackbox.yml is named: the module names
// that blackbox_exporter's own example uses.
const defaultModules = `
modules:
  http_2xx: {prober: http}
  http_post_2xx: {prober: http, http: {method: POST}}
  tcp_connect: {prober: tcp}
  grpc: {prober: grpc, grpc: {tls: true, preferred_ip_protocol: ip4}}
  grpc_plain: {prober: grpc, grpc: {tls: false}}
  icmp: {prober: icmp}
  # The target is a DNS server; the name servers of the root are asked of it.
  dns: {prober: dns, dns: {query_name: ".", query_type: NS, transport_protocol: udp}}
  dns_tcp: {prober: dns, dns: {query_name: ".", query_type: NS, transport_protocol: tcp}}
`

// LoadBlackbox reads a blackbox.yml and refuses what blackbox_exporter refuses;
// path "" gives the default modules.
func LoadBlackbox(path string) (*BlackboxConfig, error) {
	if path == "" {
		c := &config.Config{}
		if err := yaml.NewDecoder(strings.NewReader(defaultModules)).Decode(c); err != nil {
			return nil, fmt.Errorf("BUG: the default blackbox modules: %w", err)
		}
		return &BlackboxConfig{c}, nil
	}
	sc := config.NewSafeConfig(prometheus.NewRegistry())
	if err := sc.ReloadConfig(path, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	return &BlackboxConfig{sc.C}, nil
}

// Blackbox answers /probe as blackbox_exporter does, with all its probers, so
// that scrape configs made for it work unchanged. Safe for concurrent use.
type Blackbox struct {
	conf    atomic.Pointer[config.Config]
	unknown prometheus.Counter
	history *prober.ResultHistory
	level   *promslog.Level
	log     *slog.Logger
}

// NewBlackbox makes the handler; reg gets its counter. Each handler of a
// process needs a registerer of its own.
func NewBlackbox(c *BlackboxConfig, reg prometheus.Registerer, log *slog.Logger) (*Blackbox, error) {
	b := &Blackbox{
		unknown: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "blackbox_module_unknown_total", Help: "Requests for a module that blackbox.yml does not define."}),
		// Nothing shows the history: what matters of it is in the checks.
		history: &prober.ResultHistory{MaxResults: 1},
		level:   promslog.NewLevel(), // info: what debug=true shows
		log:     slog.New(softly{log.Handler()}),
	}
	if err := reg.Register(b.unknown); err != nil {
		return nil, fmt.Errorf("register the metrics of /probe: %w", err)
	}
	return b, b.Apply(c)
}

// Apply changes the modules.
func (b *Blackbox) Apply(c *BlackboxConfig) error {
	b.conf.Store(c.c)
	return nil
}

// ServeHTTP runs one probe. debug=true answers with its log instead of its
// metrics. To the metrics of a probe that failed it adds probe_failed_stage,
// which blackbox_exporter does not have.
func (b *Blackbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const timeoutOffset = 0.5 // seconds; blackbox_exporter's default
	conf := b.conf.Load()
	heard := &listening{next: b.log.Handler(), heard: &said{}}
	held := &heldReply{header: http.Header{}, code: http.StatusOK}
	plain := r.Clone(r.Context())
	plain.Header.Del("Accept-Encoding") // the answer gains lines
	start := time.Now()
	prober.Handler(held, plain, conf, slog.New(heard), b.history, timeoutOffset, nil, b.unknown, b.level, b.level)
	body := held.body.Bytes()
	name := r.FormValue("module")
	if name == "" {
		name = "http_2xx"
	}
	if m, ok := conf.Modules[name]; ok && held.code == http.StatusOK && r.FormValue("debug") != "true" && bytes.Contains(body, []byte("\nprobe_success 0")) {
		f := failedProbe{module: m, target: r.FormValue("target"), said: heard.heard.lines(), metrics: body, took: time.Since(start)}
		body = addStage(body, f.stage(r.Context()))
	}
	for k, v := range held.header {
		w.Header()[k] = v
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(held.code)
	_, _ = w.Write(body) // a client that left is no fault of ours
}

// softly passes a prober's log on at the level debug. It says that info is
// enabled whatever the program's level is: a prober drops its lines for
// debug=true as well when its logger does not take them.
type softly struct{ next slog.Handler }

func (s softly) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (s softly) Handle(ctx context.Context, r slog.Record) error {
	if r.Level = slog.LevelDebug; !s.next.Enabled(ctx, r.Level) {
		return nil
	}
	return s.next.Handle(ctx, r)
}

func (s softly) WithAttrs(as []slog.Attr) slog.Handler { return softly{s.next.WithAttrs(as)} }
func (s softly) WithGroup(name string) slog.Handler    { return softly{s.next.WithGroup(name)} }
