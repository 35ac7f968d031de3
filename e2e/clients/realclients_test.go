package clients

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	datadog "github.com/DataDog/datadog-go/v5/statsd"
	cactus "github.com/cactus/go-statsd-client/v5/statsd"
	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	influxdb1 "github.com/influxdata/influxdb1-client/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/push"
	gometrics "github.com/rcrowley/go-metrics"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/export"
)

// TestRealClients lets the clients that services have send known numbers, and
// reads the same numbers by PromQL: names, labels and values of every series, no
// more and no less. After a kill -9 and a restart the same questions, at the same
// times, have the same answers.
func TestRealClients(t *testing.T) {
	f := &fleet{server: newServer(t, "statsd: {flush: 1s}\npushgateway: {interval: 1s}\n")}
	f.start(t)
	for _, c := range []struct {
		name string
		send func(*testing.T, *fleet)
	}{
		{"go-metrics OpenTSDB", goMetricsOpenTSDB},
		{"go-metrics Graphite", goMetricsGraphite},
		{"influxdb-client-go v2", influxClient2},
		{"influxdb1-client", influxClient1},
		{"influxdb1-client UDP", influxClient1UDP},
		{"collectd", collectd},
		{"cactus StatsD", cactusStatsD},
		{"Datadog StatsD", datadogStatsD},
		{"OTLP gRPC", otlpSDKgRPC},
		{"OTLP HTTP", otlpSDKHTTP},
		{"Pushgateway", pushgateway},
		{"Prometheus", prometheusServer},
		{"instrument/export", ownExporters},
	} {
		t.Run(c.name, func(t *testing.T) { c.send(t, f) })
	}
	f.kill()
	f.start(t)
	for _, q := range f.asked {
		got, err := vector(f.url, q.expr, q.at)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, q.want) {
			t.Errorf("after kill -9, %s is\n%s\nwant\n%s", q.expr, strings.Join(got, "\n"), strings.Join(q.want, "\n"))
		}
	}
	t.Logf("%d questions asked again after kill -9", len(f.asked))
}

// fleet is the server with what was asked of it.
type fleet struct {
	*server
	asked []question
}

type question struct {
	expr string
	at   time.Time
	want []string
}

// expect waits until expr has the answer want, in the form of vector, and keeps
// the question for after the restart.
func (f *fleet) expect(t *testing.T, expr string, want ...string) {
	t.Helper()
	want = slices.Sorted(slices.Values(want)) // the caller's own may change
	var at time.Time
	eventually(t, expr+"\n"+strings.Join(want, "\n"), func() (bool, string) {
		at = time.Now()
		got, err := vector(f.url, expr, at)
		if err != nil {
			return false, err.Error()
		}
		return slices.Equal(got, want), strings.Join(got, "\n")
	})
	f.asked = append(f.asked, question{expr, at, want})
	time.Sleep(5 * time.Millisecond) // what is sent next is later than at, to the millisecond
}

func (f *fleet) tcp(t *testing.T, protocol string) *net.TCPAddr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", f.doors[protocol])
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// goMetrics is a registry with numbers that its exporters can tell exactly. Of
// GaugeFloat64 they send six digits, of means and percentiles two.
func goMetrics() gometrics.Registry {
	r := gometrics.NewRegistry()
	gometrics.GetOrRegisterCounter("orders", r).Inc(42)
	gometrics.GetOrRegisterGauge("queue", r).Update(-7)
	gometrics.GetOrRegisterGaugeFloat64("load", r).Update(1.23456789)
	h := gometrics.GetOrRegisterHistogram("size", r, gometrics.NewUniformSample(100))
	for _, n := range []int64{1, 2, 4} {
		h.Update(n)
	}
	return r
}

// goMetricsSeries is what goMetrics becomes: 7/3 to two digits, and percentiles
// by its own interpolation.
func goMetricsSeries(prefix, labels string) []string {
	var lines []string
	for _, l := range []string{"orders.count 42", "queue.value -7", "load.value 1.234568", "size.count 3", "size.min 1", "size.max 4", "size.mean 2.33",
		"size.std-dev 1.25", "size.50-percentile 2", "size.75-percentile 4", "size.95-percentile 4", "size.99-percentile 4", "size.999-percentile 4"} {
		name, value, _ := strings.Cut(l, " ")
		lines = append(lines, prefix+"."+name+"{"+labels+"} "+value)
	}
	return lines
}

// goMetricsOpenTSDB is the exporter that never ends: it goes on to send the same
// numbers until the test binary ends.
func goMetricsOpenTSDB(t *testing.T, f *fleet) {
	go gometrics.OpenTSDBWithConfig(gometrics.OpenTSDBConfig{Addr: f.tcp(t, "opentsdb"), Registry: goMetrics(), FlushInterval: 300 * time.Millisecond,
		DurationUnit: time.Nanosecond, Prefix: "gmo"})
	host, err := os.Hostname()
	check(t, err)
	host, _, _ = strings.Cut(host, ".")
	f.expect(t, `{__name__=~"gmo[.].*"}`, goMetricsSeries("gmo", fmt.Sprintf("host=%q", host))...)
}

func goMetricsGraphite(t *testing.T, f *fleet) {
	check(t, gometrics.GraphiteOnce(gometrics.GraphiteConfig{Addr: f.tcp(t, "graphite"), Registry: goMetrics(), FlushInterval: time.Second,
		DurationUnit: time.Nanosecond, Prefix: "gmg", Percentiles: []float64{0.5, 0.75, 0.95, 0.99, 0.999}}))
	f.expect(t, `{__name__=~"gmg[.].*"}`, goMetricsSeries("gmg", "")...)
}

var influxFields = map[string]any{"f": 0.1, "i": int64(-9007199254740991), "b": true, "text": "left, out"}

func influxSeries(measurement, labels string) []string {
	return []string{measurement + "_f{" + labels + "} 0.1", measurement + "_i{" + labels + "} -9007199254740991", measurement + "_b{" + labels + "} 1"}
}

func influxClient2(t *testing.T, f *fleet) {
	for _, gzip := range []bool{false, true} {
		c := influxdb2.NewClientWithOptions("http://"+f.doors["influx"], token, influxdb2.DefaultOptions().SetUseGZip(gzip).SetPrecision(time.Millisecond))
		defer c.Close()
		name := fmt.Sprint("ic2_", gzip)
		p := influxdb2.NewPoint(name, map[string]string{"host": "web 1,=", "path": `C:\x`}, influxFields, time.Now())
		check(t, c.WriteAPIBlocking("org", "bucket").WritePoint(t.Context(), p))
		f.expect(t, `{__name__=~"`+name+`_.*"}`, influxSeries(name, `db="bucket", host="web 1,=", path="C:\\x"`)...)

		all := c.WriteAPI("org", "bucket") // the one that gathers points
		for i := range 10 {
			all.WritePoint(influxdb2.NewPoint(name+"many", map[string]string{"n": fmt.Sprint(i)}, map[string]any{"v": uint64(i)}, time.Now()))
		}
		all.Flush()
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprintf(`%smany_v{db="bucket", n="%d"} %d`, name, i, i))
		}
		f.expect(t, name+"many_v", want...)
	}
	c := influxdb2.NewClient("http://"+f.doors["influx"], "another-token-than-ours")
	defer c.Close()
	if err := c.WriteAPIBlocking("org", "bucket").WriteRecord(t.Context(), "ic2_stranger v=1"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a wrong token: %v, want 401", err)
	}
	h, err := c.Health(t.Context())
	if err != nil || h.Status != "pass" {
		t.Errorf("health: %+v, %v; want pass", h, err)
	}
}

func influxBatch(t *testing.T, name, db string, fields map[string]any) influxdb1.BatchPoints {
	t.Helper()
	bp, err := influxdb1.NewBatchPoints(influxdb1.BatchPointsConfig{Database: db, Precision: "ms"})
	check(t, err)
	p, err := influxdb1.NewPoint(name, map[string]string{"host": "web 1,="}, fields, time.Now())
	check(t, err)
	bp.AddPoint(p)
	return bp
}

func influxClient1(t *testing.T, f *fleet) {
	for _, enc := range []influxdb1.ContentEncoding{influxdb1.DefaultEncoding, influxdb1.GzipEncoding} {
		c, err := influxdb1.NewHTTPClient(influxdb1.HTTPConfig{Addr: "http://" + f.doors["influx"], Username: "anyone", Password: token, WriteEncoding: enc})
		check(t, err)
		defer c.Close()
		if _, version, err := c.Ping(time.Second); err != nil || !strings.HasPrefix(version, "1.8") {
			t.Errorf("ping: version %q, %v; want 1.8.x", version, err)
		}
		r, err := c.Query(influxdb1.NewQuery("CREATE DATABASE shop", "", ""))
		if err == nil {
			err = r.Error()
		}
		check(t, err)
		name := "ic1" + string(enc)
		check(t, c.Write(influxBatch(t, name, "shop", influxFields)))
		f.expect(t, `{__name__=~"`+name+`_.*"}`, influxSeries(name, `db="shop", host="web 1,="`)...)
	}
}

// influxClient1UDP sends nanoseconds, as the protocol wants it.
func influxClient1UDP(t *testing.T, f *fleet) {
	c, err := influxdb1.NewUDPClient(influxdb1.UDPConfig{Addr: f.doors["influx_udp"]})
	check(t, err)
	defer c.Close()
	bp := influxBatch(t, "ic1udp", "", influxFields)
	check(t, bp.SetPrecision("ns"))
	check(t, c.Write(bp))
	f.expect(t, `{__name__=~"ic1udp_.*"}`, influxSeries("ic1udp", `host="web 1,="`)...)
}

// collectd is told numbers by its socket and hands them to three of its writers.
func collectd(t *testing.T, f *fleet) {
	prog := look(t, "collectd", "/usr/sbin/collectd")
	dir := t.TempDir()
	host := func(door string) (string, string) {
		h, p, err := net.SplitHostPort(f.doors[door])
		check(t, err)
		return h, p
	}
	gh, gp := host("graphite")
	oh, op := host("opentsdb")
	socket := filepath.Join(dir, "s")
	conf := fmt.Sprintf(`Hostname "web"
FQDNLookup false
BaseDir %q
PIDFile %q
TypesDB "/usr/share/collectd/types.db"
Interval 1
LoadPlugin logfile
<Plugin logfile>
  File stderr
</Plugin>
LoadPlugin unixsock
<Plugin unixsock>
  SocketFile %q
</Plugin>
LoadPlugin write_graphite
<Plugin write_graphite>
  <Node "v">
    Host %q
    Port %q
    Protocol "tcp"
    Prefix "cg."
    StoreRates false
    EscapeCharacter "_"
  </Node>
</Plugin>
LoadPlugin write_tsdb
<Plugin write_tsdb>
  <Node "v">
    Host %q
    Port %q
    StoreRates false
    AlwaysAppendDS true
  </Node>
</Plugin>
`, dir, filepath.Join(dir, "pid"), socket, gh, gp, oh, op)
	path := filepath.Join(dir, "collectd.conf")
	check(t, os.WriteFile(path, []byte(conf), 0o600))
	run(t, prog, "-f", "-C", path)
	var conn net.Conn
	eventually(t, "collectd's socket", func() (ok bool, saw string) {
		c, err := net.Dial("unix", socket)
		conn = c
		return err == nil, fmt.Sprint(err)
	})
	defer conn.Close()
	answer := make([]byte, 4096)
	tell := func(line string) {
		t.Helper()
		_, err := fmt.Fprintln(conn, line)
		check(t, err)
		n, err := conn.Read(answer)
		if err != nil || !strings.HasPrefix(string(answer[:n]), "0 ") {
			t.Fatalf("%s: %s, %v", line, answer[:n], err)
		}
	}
	tell(fmt.Sprintf("PUTVAL web/shop/gauge-orders interval=10 %d:42.5", time.Now().Unix()))
	tell(fmt.Sprintf("PUTVAL web/shop/counter-sales interval=10 %d:123456", time.Now().Unix()))
	// Its writers gather what its threads hand them, and send when they are told.
	eventually(t, "four series of collectd", func() (bool, string) {
		tell("FLUSH")
		got, err := vector(f.url, `{__name__=~"(cg[.].*|shop[.].*)"}`, time.Now())
		return len(got) == 4, fmt.Sprint(got, err)
	})
	f.expect(t, `{__name__=~"cg[.].*"}`, `cg.web.shop.gauge-orders{} 42.5`, `cg.web.shop.counter-sales{} 123456`)
	f.expect(t, `{__name__=~"shop.*", fqdn="web"}`, `shop.gauge.orders.value{fqdn="web"} 42.5`, `shop.counter.sales.value{fqdn="web"} 123456`)
}

// look finds a program of the system, or leaves the test out.
func look(t *testing.T, names ...string) string {
	t.Helper()
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			p, err = filepath.Abs(p)
			check(t, err)
			return p
		}
	}
	t.Skipf("left out: %s is not installed", strings.Join(names, " or "))
	return ""
}

// run starts a program that is ended with the test, and tells what it said if
// the test failed.
func run(t *testing.T, prog string, args ...string) {
	t.Helper()
	cmd := exec.Command(prog, args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // the exit status of a stopped program tells nothing
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(prog), said.String())
		}
	})
}

// cactusStatsD sends tags in the name, as Influx has them, and at the end, as
// Datadog has them.
func cactusStatsD(t *testing.T, f *fleet) {
	for _, form := range []struct {
		name   string
		format cactus.TagFormat
	}{{"infix", cactus.InfixComma}, {"suffix", cactus.SuffixOctothorpe}} {
		c, err := cactus.NewClientWithConfig(&cactus.ClientConfig{Address: f.doors["statsd"], Prefix: "cactus." + form.name, UseBuffered: true,
			FlushInterval: 10 * time.Millisecond, TagFormat: form.format})
		check(t, err)
		shop := cactus.Tag{"shop", "eu"}
		for _, err := range []error{
			c.Inc("orders", 40, 1, shop), c.Inc("orders", 2, 1, shop), c.Gauge("queue", 10, 1), c.GaugeDelta("queue", -3, 1), c.(*cactus.Client).GaugeFloat("load", 0.1, 1),
			c.Set("users", "ann", 1), c.Set("users", "bob", 1), c.Set("users", "ann", 1),
			c.Timing("wait", 1, 1), c.Timing("wait", 2, 1), c.Timing("wait", 2, 1), c.Timing("wait", 8, 1),
		} {
			check(t, err)
		}
		check(t, c.Close())
		p := "cactus." + form.name + "."
		f.expect(t, `{__name__=~"cactus[.]`+form.name+`[.](orders|queue|load|wait)"}`,
			p+`orders{shop="eu"} 42`, p+`queue{} 7`, p+`load{} 0.1`, p+`wait{} count=4 sum=13 buckets=[1 2 1]`)
		f.expect(t, `max_over_time({"`+p+`users"}[1m])`, `{} 2`)
	}
}

func datadogStatsD(t *testing.T, f *fleet) {
	// The client adds up counters, gauges and sets itself; extended, the values of
	// distributions go in one line.
	for _, mode := range []struct {
		name string
		opt  datadog.Option
	}{{"simple", datadog.WithoutClientSideAggregation()}, {"sums", datadog.WithClientSideAggregation()}, {"extended", datadog.WithExtendedClientSideAggregation()}} {
		c, err := datadog.New(f.doors["statsd"], datadog.WithNamespace("dd."+mode.name), datadog.WithTags([]string{"env:test", "canary"}),
			datadog.WithoutTelemetry(), datadog.WithoutOriginDetection(), mode.opt)
		check(t, err)
		errs := []error{c.Count("orders", 40, []string{"shop:eu"}, 1), c.Incr("orders", []string{"shop:eu"}, 1), c.Incr("orders", []string{"shop:eu"}, 1),
			c.Gauge("queue", 6.5, nil, 1), c.Set("users", "ann", nil, 1), c.Set("users", "bob", nil, 1),
			c.ServiceCheck(&datadog.ServiceCheck{Name: "dd." + mode.name + ".check", Status: datadog.Critical, Hostname: "web"})}
		for _, v := range []float64{1, 2, 2, 8} {
			errs = append(errs, c.Histogram("size", v, nil, 1), c.Distribution("bytes", v, nil, 1), c.Timing("wait", time.Duration(v)*time.Millisecond, nil, 1))
		}
		for _, err := range errs {
			check(t, err)
		}
		check(t, c.Close())
		p, tags := "dd."+mode.name+".", `{canary="true", env="test"} `
		dist := tags + `count=4 sum=13 buckets=[1 2 1]`
		f.expect(t, `{__name__=~"dd[.]`+mode.name+`[.](orders|queue|size|bytes|wait|check)"}`,
			p+`orders{canary="true", env="test", shop="eu"} 42`, p+"queue"+tags+"6.5", p+"size"+dist, p+"bytes"+dist, p+"wait"+dist,
			p+`check{canary="true", env="test", host="web"} 2`)
		f.expect(t, `max_over_time({"`+p+`users"}[1m])`, strings.TrimSuffix(tags, " ")+` 2`)
	}
}

func otlpSDKgRPC(t *testing.T, f *fleet) {
	f.otlp(t, "grpc", func(s sdkmetric.TemporalitySelector) (sdkmetric.Exporter, error) {
		return otlpmetricgrpc.New(t.Context(), otlpmetricgrpc.WithInsecure(), otlpmetricgrpc.WithEndpoint(f.doors["otlp_grpc"]), otlpmetricgrpc.WithCompressor("gzip"),
			otlpmetricgrpc.WithHeaders(map[string]string{"authorization": "Bearer " + token}), otlpmetricgrpc.WithTemporalitySelector(s))
	})
}

func otlpSDKHTTP(t *testing.T, f *fleet) {
	f.otlp(t, "http", func(s sdkmetric.TemporalitySelector) (sdkmetric.Exporter, error) {
		return otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithInsecure(), otlpmetrichttp.WithEndpoint(f.doors["otlp_http"]), otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression),
			otlpmetrichttp.WithHeaders(map[string]string{"authorization": "Bearer " + token}), otlpmetrichttp.WithTemporalitySelector(s))
	})
}

// otlp sends two rounds of each instrument, in both temporalities: what is stored
// is the sum either way.
func (f *fleet) otlp(t *testing.T, door string, make func(sdkmetric.TemporalitySelector) (sdkmetric.Exporter, error)) {
	for _, temporality := range []struct {
		name string
		of   sdkmetric.TemporalitySelector
	}{
		{"cumulative", sdkmetric.CumulativeTemporalitySelector},
		{"delta", func(k sdkmetric.InstrumentKind) metricdata.Temporality {
			if k == sdkmetric.InstrumentKindUpDownCounter {
				return metricdata.CumulativeTemporality // as OTLP wants it of a sum that goes down
			}
			return metricdata.DeltaTemporality
		}},
	} {
		exp, err := make(temporality.of)
		check(t, err)
		p := "otel_" + door + "_" + temporality.name
		mp := sdkmetric.NewMeterProvider(
			sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exp, sdkmetric.WithInterval(time.Hour))),
			sdkmetric.WithResource(resource.NewSchemaless(attribute.String("service.name", p), attribute.String("service.instance.id", "web-1"))),
			sdkmetric.WithView(sdkmetric.NewView(sdkmetric.Instrument{Name: p + ".exponential"},
				sdkmetric.Stream{Aggregation: sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 3}})))
		m := mp.Meter("clients")
		ctx, with := t.Context(), metric.WithAttributes(attribute.String("shop", "eu"))
		orders := must(m.Int64Counter(p + ".orders"))
		queue := must(m.Float64UpDownCounter(p + ".queue"))
		wait := must(m.Float64Histogram(p+".wait", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(1, 5)))
		exponential := must(m.Float64Histogram(p + ".exponential"))
		for round := range 2 {
			orders.Add(ctx, 21, with)
			queue.Add(ctx, []float64{10, -2.5}[round], with)
			for _, v := range [][]float64{{0.5, 2}, {2, 8}}[round] {
				wait.Record(ctx, v, with)
				exponential.Record(ctx, v, with)
			}
			check(t, mp.ForceFlush(ctx))
			time.Sleep(5 * time.Millisecond) // two exports have two times: samples are to the millisecond
		}
		l := fmt.Sprintf(`instance="web-1", job=%q`, p)
		e := func(s string) string { return s + "{" + l + `, shop="eu"} ` }
		bucket := func(le string) string {
			return fmt.Sprintf(`%s_wait_seconds_bucket{%s, le=%q, shop="eu"} `, p, l, le)
		}
		f.expect(t, `{__name__=~"`+p+`_.*"}`, e(p+"_orders_total")+"42", e(p+"_queue")+"7.5",
			bucket("1")+"1", bucket("5")+"3", bucket("+Inf")+"4", e(p+"_wait_seconds_count")+"4", e(p+"_wait_seconds_sum")+"12.5",
			e(p+"_exponential")+"count=4 sum=12.5 buckets=[1 2 1]")
		check(t, mp.Shutdown(context.Background()))
	}
}

func pushgateway(t *testing.T, f *fleet) {
	orders := prometheus.NewCounter(prometheus.CounterOpts{Name: "pgw_orders_total", Help: "h"})
	orders.Add(42)
	queue := prometheus.NewGauge(prometheus.GaugeOpts{Name: "pgw_queue", Help: "h"})
	queue.Set(0.1)
	wait := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pgw_wait", Help: "h", Buckets: []float64{1, 5}})
	wait.Observe(0.5)
	wait.Observe(8)
	to := func() *push.Pusher {
		return push.New(f.url, "batch").Grouping("path", "/var/lib").Grouping("empty", "").BasicAuth("anyone", token)
	}
	l := `job="batch", path="/var/lib"`
	all := []string{"pgw_orders_total{" + l + "} 42", "pgw_queue{" + l + "} 0.1", "pgw_wait_sum{" + l + "} 8.5", "pgw_wait_count{" + l + "} 2",
		`pgw_wait_bucket{job="batch", le="1.0", path="/var/lib"} 1`, `pgw_wait_bucket{job="batch", le="5.0", path="/var/lib"} 1`, `pgw_wait_bucket{job="batch", le="+Inf", path="/var/lib"} 2`}
	check(t, to().Collector(orders).Collector(queue).Collector(wait).Push())
	f.expect(t, `{__name__=~"pgw_.*"}`, all...)
	queue.Set(7)
	check(t, to().Collector(queue).Add()) // the others stay
	all[1] = "pgw_queue{" + l + "} 7"
	f.expect(t, `{__name__=~"pgw_.*"}`, all...)
	check(t, to().Collector(queue).Push()) // the others end
	f.expect(t, `{__name__=~"pgw_.*"}`, all[1])
	check(t, to().Delete())
	f.expect(t, `{__name__=~"pgw_.*"}`)
}

// prometheusServer compares what a Prometheus scraped with what it wrote to us,
// sample by sample.
func prometheusServer(t *testing.T, f *fleet) {
	prog := look(t, "../peer/bin/prometheus", "/usr/bin/prometheus")
	reg := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shop_requests_total", Help: "h"}, []string{"code"})
	wait := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "shop_wait_seconds", Help: "h", Buckets: prometheus.DefBuckets})
	calls := 0.0
	scrapes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shop_scrapes", Help: "h"}, func() float64 { calls += 0.1; return calls })
	reg.MustRegister(requests, wait, scrapes)
	requests.WithLabelValues("200").Add(41.7)
	requests.WithLabelValues("500").Inc()
	for i := range 100 {
		wait.Observe(float64(i) / 37)
	}
	shop := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	defer shop.Close()
	dir := t.TempDir()
	addr := freeAddr(t)
	check(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), fmt.Appendf(nil, `global: {scrape_interval: 500ms, scrape_timeout: 500ms, external_labels: {region: eu}}
scrape_configs: [{job_name: shop, static_configs: [{targets: ['%s']}]}]
remote_write: [{url: '%s/api/v1/write', authorization: {credentials: %s}, queue_config: {batch_send_deadline: 100ms}}]
`, strings.TrimPrefix(shop.URL, "http://"), f.url, token), 0o600))
	run(t, prog, "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", addr, "--log.level=warn")

	// Samples up to a time that has passed, on both sides, over at least five scrapes.
	const selector = `{job="shop"}[1m]`
	var theirs map[string][]point
	var at time.Time
	eventually(t, "five scrapes of Prometheus", func() (bool, string) {
		at = time.Now().Add(-time.Second)
		m, err := history("http://"+addr, selector, at)
		theirs = map[string][]point{}
		most := 0
		for s, ps := range m {
			most = max(most, len(ps))
			theirs[strings.Replace(s, `job="shop"`, `job="shop", region="eu"`, 1)] = ps // what it adds when it writes
		}
		return most >= 5, fmt.Sprint(most, " scrapes, ", err)
	})
	samples := 0
	eventually(t, "what Prometheus has", func() (bool, string) {
		ours, err := history(f.url, selector, at)
		if err != nil {
			return false, err.Error()
		}
		samples = 0
		for s, ps := range theirs {
			if samples += len(ps); !slices.Equal(ours[sorted(s)], ps) {
				return false, fmt.Sprintf("%s is %v, want %v", sorted(s), ours[sorted(s)], ps)
			}
		}
		return len(ours) == len(theirs), fmt.Sprintf("%d series, want %d", len(ours), len(theirs))
	})
	t.Logf("%d samples of %d series are the same", samples, len(theirs))
	want, err := vector(f.url, `{job="shop"}`, at)
	check(t, err)
	f.asked = append(f.asked, question{`{job="shop"}`, at, want})
}

// sorted is a series with its labels in the order of series.
func sorted(s string) string {
	name, ls, _ := strings.Cut(strings.TrimSuffix(s, "}"), "{")
	all := strings.Split(ls, ", ") // no value here holds a comma
	slices.Sort(all)
	return name + "{" + strings.Join(all, ", ") + "}"
}

// ownExporters sends one registry by every exporter of instrument/export.
func ownExporters(t *testing.T, f *fleet) {
	type way struct {
		name, labels string // labels that the way adds, before the registry's own
		exporter     export.Exporter
		series       func(name, figure string) string
	}
	dotted := func(name, figure string) string { return strings.TrimSuffix(name+"."+figure, ".") }
	influx := func(name, figure string) string {
		if figure == "" {
			figure = "value"
		}
		return name + "_" + figure
	}
	auth := &http.Client{Transport: bearer{}}
	for _, w := range []way{
		{"tsdbtelnet", "", &export.OpenTSDB{Address: f.doors["opentsdb"]}, dotted},
		{"tsdbhttp", "", &export.OpenTSDB{URL: "http://" + f.doors["opentsdb"], Client: auth}, dotted},
		{"graphite", "", &export.Graphite{Address: f.doors["graphite"]}, dotted},
		{"influx1", `db="d", `, &export.Influx{URL: "http://" + f.doors["influx"], Database: "d", Token: token}, influx},
		{"influx2", `db="b", `, &export.Influx{URL: "http://" + f.doors["influx"], Org: "o", Bucket: "b", Token: token}, influx},
		{"influxudp", "", &export.Influx{Address: f.doors["influx_udp"]}, influx},
		{"statsd", "", &export.StatsD{Address: f.doors["statsd"]}, dotted},
	} {
		r := instrument.New(instrument.Config{Tags: map[string]string{"host": "web"}})
		defer r.Close()
		ours(r, "own."+w.name)
		check(t, w.exporter.Export(t.Context(), r.Snapshot()))
		var want []string
		for _, x := range []struct{ name, figure, value string }{{"orders", "", "42"}, {"queue", "", "-0.5"}, {"size", "count", "3"}, {"size", "sum", "7"},
			{"size", "min", "1"}, {"size", "max", "4"}} {
			want = append(want, w.series("own."+w.name+"."+x.name, x.figure)+"{"+w.labels+`host="web"} `+x.value)
		}
		f.expect(t, `{__name__=~"own[.]`+w.name+`[.](orders|queue)([._]value)?|own[.]`+w.name+`[.]size[._](count|sum|min|max)"}`, want...)
	}

	r := instrument.New(instrument.Config{Service: "own", Node: "web", Version: "1"})
	defer r.Close()
	ours(r, "ownotlp")
	check(t, export.Vedette("http://"+f.doors["otlp_http"], token, "").Export(t.Context(), r.Snapshot()))
	l := `{instance="web", job="own"} `
	f.expect(t, `{__name__=~"ownotlp_(orders.*|queue|size)"}`, "ownotlp_orders_total"+l+"42", "ownotlp_queue"+l+"-0.5", "ownotlp_size"+l+"count=3 sum=7 buckets=[1 1 1]")

	// What is scraped goes the way of a push here: the same text.
	page := httptest.NewRecorder()
	r = instrument.New(instrument.Config{})
	defer r.Close()
	ours(r, "ownprom")
	export.Prometheus(r).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(page.Result().Body)
	check(t, err)
	check(t, post(t.Context(), f.url+"/metrics/job/own", body, nil))
	f.expect(t, `{__name__=~"ownprom_(orders_total|queue|size_count|size_sum)"}`, `ownprom_orders_total{job="own"} 42`, `ownprom_queue{job="own"} -0.5`,
		`ownprom_size_count{job="own"} 3`, `ownprom_size_sum{job="own"} 7`)

	// Run exports once more when it ends.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r = instrument.New(instrument.Config{})
	defer r.Close()
	ours(r, "ownrun")
	export.Run(ctx, r, time.Hour, export.Vedette("http://"+f.doors["otlp_http"], token, ""), slog.New(slog.DiscardHandler))
	f.expect(t, `{__name__="ownrun_orders_total"}`, `ownrun_orders_total{} 42`)
}

func ours(r *instrument.Registry, prefix string) {
	r.Counter(prefix + ".orders").Add(42)
	r.Gauge(prefix + ".queue").Set(-0.5)
	h := r.Histogram(prefix + ".size")
	for _, v := range []float64{1, 2, 4} {
		h.Observe(v)
	}
}

// bearer adds the token of the tests to requests.
type bearer struct{}

func (bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return http.DefaultTransport.RoundTrip(r)
}
