package clients

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"
	cactus "github.com/cactus/go-statsd-client/v5/statsd"
	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	influx1 "github.com/influxdata/influxdb1-client/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/push"
	"github.com/rcrowley/go-metrics"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/export"
)

// TestClients has real clients send, each by its own protocol, and reads the same
// numbers back: at once, and after kill -9.
func TestClients(t *testing.T) {
	s := newServer(t)
	all := map[string]float64{}
	for _, c := range []struct {
		name string
		send func(t *testing.T, s *server) map[string]float64
	}{
		{"go-metrics to OpenTSDB", goMetricsOpenTSDB},
		{"go-metrics to Graphite", goMetricsGraphite},
		{"influxdb-client-go v2", influxV2},
		{"influxdb1-client, HTTP and UDP", influxV1},
		{"cactus StatsD", cactusStatsD},
		{"datadog-go", datadog},
		{"OpenTelemetry SDK, gRPC", otelGRPC},
		{"OpenTelemetry SDK, HTTP, delta", otelHTTP},
		{"client_golang to the Pushgateway's API", pushed},
		{"Prometheus, remote write", prometheusServer},
		{"collectd", collectd},
		{"instrument, every exporter", instruments},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			want := c.send(t, s)
			s.want(want)
			maps.Copy(all, want)
		})
	}
	s.t = t
	if t.Failed() {
		return
	}
	s.kill()
	s.start()
	s.want(all)
}

func tcpAddr(t *testing.T, s string) *net.TCPAddr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func goMetricsRegistry() metrics.Registry {
	r := metrics.NewRegistry()
	metrics.GetOrRegisterCounter("orders", r).Inc(42)
	metrics.GetOrRegisterGaugeFloat64("load", r).Update(0.75)
	h := metrics.GetOrRegisterHistogram("size", r, metrics.NewUniformSample(100))
	for i := range 10 {
		h.Update(int64(i))
	}
	return r
}

func goMetricsOpenTSDB(t *testing.T, s *server) map[string]float64 {
	// The exporter never ends; it goes on to write the same until the test ends.
	go metrics.OpenTSDBWithConfig(metrics.OpenTSDBConfig{Addr: tcpAddr(t, s.at["opentsdb"]), Registry: goMetricsRegistry(), FlushInterval: 300 * time.Millisecond, DurationUnit: time.Nanosecond, Prefix: "gm"})
	return map[string]float64{`{"gm.orders.count"}`: 42, `{"gm.load.value"}`: 0.75, `{"gm.size.count"}`: 10, `{"gm.size.max"}`: 9, `{"gm.size.mean"}`: 4.5, `{"gm.size.50-percentile"}`: 4.5}
}

func goMetricsGraphite(t *testing.T, s *server) map[string]float64 {
	go metrics.GraphiteWithConfig(metrics.GraphiteConfig{Addr: tcpAddr(t, s.at["graphite"]), Registry: goMetricsRegistry(), FlushInterval: 300 * time.Millisecond, DurationUnit: time.Nanosecond, Prefix: "gmg", Percentiles: []float64{0.5}})
	return map[string]float64{`{"gmg.orders.count"}`: 42, `{"gmg.load.value"}`: 0.75, `{"gmg.size.max"}`: 9}
}

func influxV2(t *testing.T, s *server) map[string]float64 {
	c := influxdb2.NewClientWithOptions("http://"+s.at["influx"], token, influxdb2.DefaultOptions().SetUseGZip(true).SetPrecision(time.Millisecond))
	defer c.Close()
	w := c.WriteAPIBlocking("org", "shop")
	p := influxdb2.NewPoint("v2", map[string]string{"host": "web 1", "region": "eu,west"}, map[string]any{"f": 1.25, "i": int64(-7), "u": uint64(7), "b": true}, time.Now())
	if err := w.WritePoint(context.Background(), p); err != nil {
		t.Error(err)
	}
	if ok, err := c.Ping(context.Background()); err != nil || !ok {
		t.Errorf("ping: %v %v", ok, err)
	}
	if h, err := c.Health(context.Background()); err != nil || h.Status != "pass" {
		t.Errorf("health: %+v %v", h, err)
	}
	bad := influxdb2.NewClient("http://"+s.at["influx"], "another")
	defer bad.Close()
	if err := bad.WriteAPIBlocking("org", "shop").WritePoint(context.Background(), p); err == nil {
		t.Error("a wrong token is taken")
	}
	of := `{host="web 1", region="eu,west", db="shop"}`
	return map[string]float64{"v2_f" + of: 1.25, "v2_i" + of: -7, "v2_u" + of: 7, "v2_b" + of: 1}
}

func influxV1(t *testing.T, s *server) map[string]float64 {
	point := func(name string) influx1.BatchPoints {
		bp, err := influx1.NewBatchPoints(influx1.BatchPointsConfig{Database: "shop", Precision: "ms"})
		if err != nil {
			t.Fatal(err)
		}
		p, err := influx1.NewPoint(name, map[string]string{"k": "a=b"}, map[string]any{"v": 2.5}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		bp.AddPoint(p)
		return bp
	}
	h, err := influx1.NewHTTPClient(influx1.HTTPConfig{Addr: "http://" + s.at["influx"], Username: "test", Password: token, WriteEncoding: influx1.GzipEncoding})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, _, err := h.Ping(time.Second); err != nil {
		t.Error(err)
	}
	if err := h.Write(point("v1_http")); err != nil {
		t.Error(err)
	}
	if r, err := h.Query(influx1.NewQuery("CREATE DATABASE shop", "", "")); err != nil || r.Error() != nil {
		t.Errorf("create database: %v", err)
	}
	u, err := influx1.NewUDPClient(influx1.UDPConfig{Addr: s.at["influx_udp"]})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if err := u.Write(point("v1_udp")); err != nil {
		t.Error(err)
	}
	return map[string]float64{`v1_http_v{k="a=b", db="shop"}`: 2.5, `v1_udp_v{k="a=b"}`: 2.5}
}

func cactusStatsD(t *testing.T, s *server) map[string]float64 {
	c, err := cactus.NewClientWithConfig(&cactus.ClientConfig{Address: s.at["statsd"], Prefix: "cactus"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if err := c.Inc("hits", 2, 1); err != nil {
			t.Error(err)
		}
	}
	for _, err := range []error{c.Gauge("depth", 12, 1), c.GaugeDelta("depth", -2, 1), c.SetInt("users", 5, 1), c.SetInt("users", 6, 1), c.TimingDuration("took", 250*time.Millisecond, 1)} {
		if err != nil {
			t.Error(err)
		}
	}
	return map[string]float64{`{"cactus.hits"}`: 6, `{"cactus.depth"}`: 10}
}

func datadog(t *testing.T, s *server) map[string]float64 {
	c, err := statsd.New(s.at["statsd"], statsd.WithNamespace("dd."), statsd.WithTags([]string{"env:prod"}), statsd.WithoutTelemetry(), statsd.WithoutClientSideAggregation(), statsd.WithoutOriginDetection())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 4 {
		_ = c.Count("jobs", 5, []string{"queue:mail"}, 1)
	}
	_ = c.Gauge("free", 3.5, []string{"disk:sda"}, 1)
	for i := range 5 {
		_ = c.Histogram("latency", float64(i), nil, 1)
		_ = c.Distribution("dist", float64(i), nil, 1)
	}
	if err := c.Flush(); err != nil {
		t.Error(err)
	}
	return map[string]float64{`{"dd.jobs", env="prod", queue="mail"}`: 20, `{"dd.free", env="prod", disk="sda"}`: 3.5}
}

// otelInstruments makes what the SDK has, under a prefix.
func otelInstruments(t *testing.T, prefix string, e sdk.Exporter, views ...sdk.View) {
	ctx := context.Background()
	res := resource.NewSchemaless(attribute.String("service.name", prefix), attribute.String("service.instance.id", "1"))
	p := sdk.NewMeterProvider(sdk.WithReader(sdk.NewPeriodicReader(e, sdk.WithInterval(time.Hour))), sdk.WithResource(res), sdk.WithView(views...))
	m := p.Meter("test")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := m.Int64Counter(prefix + ".orders")
	must(err)
	u, err := m.Float64UpDownCounter(prefix + ".queue")
	must(err)
	h, err := m.Float64Histogram(prefix+".took", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(0.1, 1, 10))
	must(err)
	x, err := m.Float64Histogram(prefix + ".size")
	must(err)
	for range 2 { // two exports: with delta temporality both count
		c.Add(ctx, 5, metric.WithAttributes(attribute.String("country", "de")))
		u.Add(ctx, 1.5)
		for _, v := range []float64{0.05, 0.5, 5, 50} {
			h.Record(ctx, v)
			x.Record(ctx, v)
		}
		must(p.ForceFlush(ctx))
		time.Sleep(20 * time.Millisecond) // another millisecond
	}
	must(p.Shutdown(ctx))
}

func otelGRPC(t *testing.T, s *server) map[string]float64 {
	e, err := otlpmetricgrpc.New(context.Background(), otlpmetricgrpc.WithEndpoint(s.at["otlp_grpc"]), otlpmetricgrpc.WithInsecure(), otlpmetricgrpc.WithCompressor("gzip"),
		otlpmetricgrpc.WithHeaders(map[string]string{"authorization": "Bearer " + token}))
	if err != nil {
		t.Fatal(err)
	}
	exponential := sdk.NewView(sdk.Instrument{Name: "*.size"}, sdk.Stream{Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}})
	otelInstruments(t, "otg", e, exponential)
	return map[string]float64{`otg_orders_total{job="otg", instance="1", country="de"}`: 10, `otg_queue`: 3, `otg_took_seconds_bucket{le="1"}`: 4, `otg_took_seconds_count`: 8, `otg_took_seconds_sum`: 111.1}
}

func otelHTTP(t *testing.T, s *server) map[string]float64 {
	e, err := otlpmetrichttp.New(context.Background(), otlpmetrichttp.WithEndpoint(s.at["otlp_http"]), otlpmetrichttp.WithInsecure(), otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression),
		otlpmetrichttp.WithHeaders(map[string]string{"Authorization": "Bearer " + token}),
		otlpmetrichttp.WithTemporalitySelector(func(sdk.InstrumentKind) metricdata.Temporality { return metricdata.DeltaTemporality }))
	if err != nil {
		t.Fatal(err)
	}
	otelInstruments(t, "oth", e)
	return map[string]float64{`oth_orders_total{job="oth", country="de"}`: 10, `oth_took_seconds_bucket{le="1"}`: 4, `oth_took_seconds_count`: 8, `oth_took_seconds_sum`: 111.1}
}

func pushed(t *testing.T, s *server) map[string]float64 {
	done := prometheus.NewGauge(prometheus.GaugeOpts{Name: "push_done", Help: "x"})
	done.Set(17)
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "push_took_seconds", Help: "x", Buckets: []float64{1, 2}})
	h.Observe(1.5)
	p := func(job string) *push.Pusher {
		return push.New(s.url, job).BasicAuth("test", token).Grouping("path", "/var/lib").Collector(done)
	}
	if err := p("batch").Collector(h).Push(); err != nil {
		t.Error(err)
	}
	if err := p("gone").Add(); err != nil {
		t.Error(err)
	}
	if err := p("gone").Delete(); err != nil {
		t.Error(err)
	}
	var data struct{ Result []any }
	if err := s.ask("/api/v1/query", map[string][]string{"query": {`push_done{job="gone"}`}}, &data); err != nil || len(data.Result) != 0 {
		t.Errorf("a deleted group is still there: %v %v", data.Result, err)
	}
	return map[string]float64{`push_done{job="batch", path="/var/lib"}`: 17, `push_took_seconds_bucket{job="batch", le="2.0"}`: 1, `push_took_seconds_sum{job="batch"}`: 1.5}
}

// prometheusServer scrapes a target and writes what it finds to Vedette.
func prometheusServer(t *testing.T, s *server) map[string]float64 {
	prog, err := filepath.Abs("../peer/bin/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(prog); err != nil {
		if prog, err = exec.LookPath("prometheus"); err != nil {
			t.Skip("left out: prometheus is not installed, and e2e/peer was not built")
		}
	}
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shop_orders_total", Help: "x"}, []string{"code"})
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "shop_took_seconds", Help: "x", Buckets: []float64{0.1, 1}})
	reg.MustRegister(c, h)
	c.WithLabelValues("200").Add(12345.5)
	c.WithLabelValues("500").Add(3)
	for range 7 {
		h.Observe(0.5)
	}
	target := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	t.Cleanup(target.Close)
	dir := t.TempDir()
	conf := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: shop\n  static_configs: [{targets: ['%s'], labels: {zone: a}}]\nremote_write:\n- url: %s/api/v1/write\n  authorization: {credentials: %s}\n",
		strings.TrimPrefix(target.URL, "http://"), s.url, token)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(prog, "--config.file="+conf, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+freeAddr(t), "--log.level=warn")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	want := map[string]float64{`shop_orders_total{job="shop", zone="a", code="200"}`: 12345.5, `shop_orders_total{job="shop", code="500"}`: 3, `shop_took_seconds_bucket{job="shop", le="1.0"}`: 7, `shop_took_seconds_sum{job="shop"}`: 3.5, `up{job="shop"}`: 1}
	s.want(want) // while it runs: at its end it marks the series stale
	return want
}

// collectd sends what it finds by its plugin write_graphite.
func collectd(t *testing.T, s *server) map[string]float64 {
	prog, err := exec.LookPath("collectd")
	if err != nil {
		t.Skip("left out: collectd is not installed")
	}
	host, port, err := net.SplitHostPort(s.at["graphite"])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "collectd.conf")
	text := fmt.Sprintf(`Hostname "web-1"
BaseDir %q
PIDFile %q
Interval 1
LoadPlugin uptime
LoadPlugin memory
LoadPlugin write_graphite
<Plugin write_graphite>
  <Node "vedette">
    Host %q
    Port %q
    Protocol "tcp"
    Prefix "collectd."
    EscapeCharacter "_"
    SeparateInstances true
    StoreRates false
  </Node>
</Plugin>
`, dir, filepath.Join(dir, "pid"), host, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(prog, "-f", "-C", conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	// What the machine has is not known beforehand: the parts of its memory must
	// add up to what the kernel says.
	var total float64
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Skip("left out: this machine has no /proc/meminfo")
	}
	if _, err := fmt.Sscanf(string(b), "MemTotal: %f kB", &total); err != nil {
		t.Fatal(err)
	}
	sum := `sum(last_over_time({__name__=~"collectd\\.web-1\\.memory\\.memory\\..*"}[1m]))`
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var data struct {
			Result []struct{ Value [2]any }
		}
		if err := s.ask("/api/v1/query", map[string][]string{"query": {sum}}, &data); err != nil {
			t.Fatal(err)
		}
		if len(data.Result) == 1 {
			var got float64
			fmt.Sscan(data.Result[0].Value[1].(string), &got)
			if got == total*1024 {
				return nil
			}
		}
	}
	t.Errorf("the memory that collectd tells does not add up to %v", total*1024)
	return nil
}

// instruments sends by every exporter of our own library.
func instruments(t *testing.T, s *server) map[string]float64 {
	want := map[string]float64{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	one := func(service string, e export.Exporter, series map[string]float64) {
		m := instrument.New(instrument.Config{Service: service, Node: "n1"})
		t.Cleanup(m.Close)
		m.Counter(service+".orders", "country", "de").Add(9)
		m.Gauge(service + ".depth").Set(2.5)
		took := m.Timer(service + ".took")
		for range 4 {
			took.Record(250 * time.Millisecond)
		}
		go export.Run(ctx, m, 200*time.Millisecond, e, slog.New(slog.DiscardHandler))
		maps.Copy(want, series)
	}
	one("xo", &export.OpenTSDB{Address: s.at["opentsdb"]}, map[string]float64{`{"xo.orders", country="de", node="n1"}`: 9, `{"xo.depth"}`: 2.5, `{"xo.took.count"}`: 4})
	one("xg", &export.Graphite{Address: s.at["graphite"]}, map[string]float64{`{"xg.orders", country="de"}`: 9, `{"xg.depth"}`: 2.5})
	one("xi", &export.Influx{URL: "http://" + s.at["influx"], Database: "x", Token: token}, map[string]float64{`{"xi.orders_value", country="de", db="x"}`: 9, `{"xi.took_count"}`: 4})
	one("x2", &export.Influx{URL: s.url, Org: "o", Bucket: "x", Token: token}, map[string]float64{`{"x2.orders_value", country="de", db="x"}`: 9})
	one("xu", &export.Influx{Address: s.at["influx_udp"]}, map[string]float64{`{"xu.orders_value", country="de"}`: 9})
	one("xs", &export.StatsD{Address: s.at["statsd"]}, map[string]float64{`{"xs.orders", country="de"}`: 9, `{"xs.depth"}`: 2.5})
	one("xv", export.Vedette(s.url, token, ""), map[string]float64{`xv_orders_total{country="de"}`: 9, `xv_depth`: 2.5})
	s.want(want) // before their end
	return want
}
