package export_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/export"
)

// shop is a registry with one of each, and with names that nobody should give.
func shop() *instrument.Registry {
	m := instrument.New(instrument.Config{Service: "shop", Node: "n 1"})
	m.Counter("orders.placed", "country", "de").Add(3)
	m.Gauge("queue.depth").Set(-2.5)
	m.Gauge("nan").Set(math.NaN())
	m.Meter("events").Mark(7)
	for i := range 100 {
		m.Timer("db.query").Record(time.Duration(i+1) * time.Millisecond)
	}
	m.Describe("orders.placed", "1", "orders, \"placed\"\nand \\kept")
	m.Describe("body.size", "bytes", "")
	m.Histogram("body.size", "le", "x").Observe(512)
	m.Histogram("both").Observe(-3)
	m.Histogram("both").Observe(0)
	m.Histogram("both").Observe(5)
	m.Counter("we ird,=:|#@\n\"é", "k,=ey ", "v,= \n\"\\", "empty", "", "__x", "1", "a.b", "1", "a_b", "2").Inc()
	m.Counter("we_ird,=:|#@\n\"é", "k", `end\`).Inc()
	return m
}

func TestPrometheusText(t *testing.T) {
	srv := httptest.NewServer(export.Prometheus(shop()))
	defer srv.Close()
	get := func(accept string) (string, []byte) {
		t.Helper()
		req, _ := http.NewRequest("GET", srv.URL, nil)
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.Get("Content-Type"), b
	}
	kind, text := get("")
	p := expfmt.NewTextParser(model.LegacyValidation)
	fs, err := p.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil || !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		t.Fatalf("%s: %v\n%s", kind, err, text)
	}
	for _, want := range []string{
		`orders_placed_total{country="de",node="n 1",service="shop"} 3`, `queue_depth{node="n 1",service="shop"} -2.5`,
		`events_total{node="n 1",service="shop"} 7`, `events_rate{node="n 1",service="shop",window="1m"} 0`,
		`db_query_seconds_bucket{node="n 1",service="shop",le="0.1"} 100`, `db_query_seconds_count{node="n 1",service="shop"} 100`,
		`db_query_seconds_sum{node="n 1",service="shop"} 5.05`, `db_query_seconds_max{node="n 1",service="shop"} 0.1`,
		`body_size_bytes_bucket{tag_le="x",node="n 1",service="shop",le="1024.0"} 1`, `both_bucket{node="n 1",service="shop",le="1.0"} 2`,
		`# HELP orders_placed_total orders, "placed"\nand \\kept`,
	} {
		if !strings.Contains(string(text), want+"\n") {
			// The order of labels is that of the tags.
			t.Errorf("missing: %s", want)
		}
	}
	if len(fs) < 10 {
		t.Errorf("%d families", len(fs))
	}

	kind, text = get("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
	parser, err := textparse.New(text, kind, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		e, err := parser.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("OpenMetrics: %v\n%s", err, text)
		}
		if e == textparse.EntrySeries {
			n++
		}
	}
	if n < 40 {
		t.Errorf("%d series in OpenMetrics", n)
	}

	kind, raw := get("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,text/plain;q=0.3")
	dec := expfmt.NewDecoder(bytes.NewReader(raw), expfmt.Format(kind))
	got := map[string]*dto.MetricFamily{}
	for {
		var f dto.MetricFamily
		err := dec.Decode(&f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[f.GetName()] = &f
	}
	h := got["db_query_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 100 || h.GetSchema() != 4 || len(h.GetPositiveSpan()) == 0 || h.GetCreatedTimestamp() == nil || len(h.GetBucket()) != 13 {
		t.Errorf("the native histogram: %v", h)
	}
	// What Prometheus makes of it.
	parser, err = textparse.New(raw, kind, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for {
		e, err := parser.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e != textparse.EntryHistogram {
			continue
		}
		_, _, ih, fh := parser.Histogram()
		if ih != nil {
			fh = ih.ToFloat(nil)
		}
		if err := fh.Validate(); err != nil {
			t.Error(err)
		}
		var ls labels.Labels
		parser.Labels(&ls)
		seen++
		if ls.Get("__name__") == "both" && (fh.ZeroCount != 1 || len(fh.NegativeBuckets) != 1 || fh.Count != 3) {
			t.Errorf("both: %v", fh)
		}
	}
	if seen != 3 {
		t.Errorf("%d native histograms, want 3", seen)
	}
}

func TestOpenTSDB(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan string, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 1<<16)
		n, _ := io.ReadAtLeast(c, b, 1000)
		got <- string(b[:n])
		io.WriteString(c, "put: illegal argument: no\n")
	}()
	e := &export.OpenTSDB{Address: ln.Addr().String(), Prefix: "app"}
	ctx := context.Background()
	if err := e.Export(ctx, shop().Snapshot()); err != nil && !strings.Contains(err.Error(), "illegal argument") {
		t.Fatal(err)
	}
	text := <-got
	for _, want := range []string{"put app.orders.placed ", " 3 country=de node=n_1 service=shop\n", "put app.db.query.p99 ", "put app.events.m1_rate ", "put app.queue.depth "} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "nan") || strings.Contains(text, "\"") {
		t.Errorf("what OpenTSDB cannot take: %s", text)
	}
	e = &export.OpenTSDB{Address: "127.0.0.1:1"}
	if err := e.Export(ctx, shop().Snapshot()); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody there: %v", err)
	}
}

// capture is an HTTP receiver.
func capture(t *testing.T, answer func(n int, w http.ResponseWriter)) (*httptest.Server, *[]*http.Request, *[][]byte) {
	var reqs []*http.Request
	var bodies [][]byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		b, _ := io.ReadAll(body)
		reqs, bodies = append(reqs, r), append(bodies, b)
		if answer != nil {
			answer(len(reqs), w)
		}
	}))
	t.Cleanup(srv.Close)
	return srv, &reqs, &bodies
}

func TestInflux(t *testing.T) {
	srv, reqs, bodies := capture(t, nil)
	ctx := context.Background()
	if err := (&export.Influx{URL: srv.URL, Bucket: "b", Org: "o", Token: "secret"}).Export(ctx, shop().Snapshot()); err != nil {
		t.Fatal(err)
	}
	if err := (&export.Influx{URL: srv.URL, Database: "d"}).Export(ctx, shop().Snapshot()); err != nil {
		t.Fatal(err)
	}
	r := (*reqs)[0]
	if r.URL.String() != "/api/v2/write?bucket=b&org=o&precision=ns" || r.Header.Get("Authorization") != "Token secret" || (*reqs)[1].URL.String() != "/write?db=d&precision=ns" {
		t.Errorf("asked for %s and %s", r.URL, (*reqs)[1].URL)
	}
	text := string((*bodies)[0])
	for _, want := range []string{`orders.placed,country=de,node=n\ 1,service=shop value=3 `, `db.query,node=n\ 1,service=shop count=100,m1_rate=0,`, `k\,\=ey\ =v\,\=\ _"\_`} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
}

func TestGraphiteAndStatsD(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan string, 2)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 1<<16)
			n, _ := io.ReadAtLeast(c, b, 500)
			got <- string(b[:n])
		}
	}()
	ctx := context.Background()
	if err := (&export.Graphite{Address: ln.Addr().String(), Prefix: "p"}).Export(ctx, shop().Snapshot()); err != nil {
		t.Fatal(err)
	}
	if text := <-got; !strings.Contains(text, "p.orders.placed;country=de;node=n_1;service=shop 3 ") {
		t.Errorf("Graphite: %s", text)
	}
	path := func(name string, tags []instrument.Tag) string { return "x." + name }
	if err := (&export.Graphite{Address: ln.Addr().String(), Path: path}).Export(ctx, shop().Snapshot()); err != nil {
		t.Fatal(err)
	}
	if text := <-got; !strings.Contains(text, "x.queue.depth -2.5 ") {
		t.Errorf("Graphite by path: %s", text)
	}

	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	m := shop()
	d := &export.StatsD{Address: pc.LocalAddr().String()}
	read := func() (all string) {
		b := make([]byte, 1<<16)
		for {
			_ = pc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			n, _, err := pc.ReadFrom(b)
			if err != nil {
				return all
			}
			if n > 1432 {
				t.Errorf("a packet of %d bytes", n)
			}
			all += string(b[:n])
		}
	}
	if err := d.Export(ctx, m.Snapshot()); err != nil {
		t.Fatal(err)
	}
	first := read()
	for _, want := range []string{"orders.placed:3|c|#country:de,node:n_1,service:shop\n", "queue.depth:0|g|#node:n_1,service:shop\nqueue.depth:-2.5|g|#node:n_1,service:shop\n", "db.query.count:100|c|#"} {
		if !strings.Contains(first, want) {
			t.Errorf("missing %q in\n%s", want, first)
		}
	}
	m.Counter("orders.placed", "country", "de").Add(2)
	if err := d.Export(ctx, m.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if second := read(); !strings.Contains(second, "orders.placed:2|c|") || strings.Contains(second, "db.query.count") {
		t.Errorf("the second: %s", second)
	}
}

func TestOTLP(t *testing.T) {
	srv, reqs, bodies := capture(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(503)
		}
	})
	m := shop()
	if err := export.Vedette(srv.URL, "t", "acme").Export(context.Background(), m.Snapshot()); err != nil {
		t.Fatal(err)
	}
	r := (*reqs)[1]
	if r.URL.Path != "/v1/metrics" || r.Header.Get("Authorization") != "Bearer t" || r.Header.Get("X-Vedette-Tenant") != "acme" {
		t.Errorf("asked for %s with %v", r.URL, r.Header)
	}
	req := pmetricotlp.NewExportRequest()
	if err := req.UnmarshalProto((*bodies)[1]); err != nil {
		t.Fatal(err)
	}
	rm := req.Metrics().ResourceMetrics().At(0)
	if v, _ := rm.Resource().Attributes().Get("service.name"); v.Str() != "shop" {
		t.Errorf("service.name is %q", v.Str())
	}
	found := 0
	ms := rm.ScopeMetrics().At(0).Metrics()
	for i := range ms.Len() {
		x := ms.At(i)
		switch x.Name() {
		case "db.query":
			dp := x.ExponentialHistogram().DataPoints().At(0)
			var sum uint64
			for _, n := range dp.Positive().BucketCounts().AsRaw() {
				sum += n
			}
			if dp.Count() != 100 || sum != 100 || dp.Min() != 0.001 || x.Unit() != "s" {
				t.Errorf("the timer: %d, %d in buckets, %s", dp.Count(), sum, x.Unit())
			}
			found++
		case "orders.placed":
			dp := x.Sum().DataPoints().At(0)
			if dp.DoubleValue() != 3 || !x.Sum().IsMonotonic() || dp.Attributes().Len() != 1 {
				t.Errorf("the counter: %v, %v", dp.DoubleValue(), dp.Attributes().AsRaw())
			}
			found++
		}
	}
	if found != 2 || ms.Len() != 10 {
		t.Errorf("%d metrics, %d of those looked for", ms.Len(), found)
	}
}

func TestReceiverRefuses(t *testing.T) {
	srv, reqs, _ := capture(t, func(_ int, w http.ResponseWriter) {
		w.WriteHeader(400)
		io.WriteString(w, "partial write: no\n")
	})
	err := (&export.Influx{URL: srv.URL}).Export(context.Background(), shop().Snapshot())
	if err == nil || !strings.Contains(err.Error(), "400") || !strings.Contains(err.Error(), "partial write: no") || len(*reqs) != 1 {
		t.Errorf("after %d requests: %v", len(*reqs), err)
	}
}

type fake struct {
	well atomic.Bool
	n    atomic.Int64
}

func (f *fake) Export(context.Context, *instrument.Snapshot) error {
	f.n.Add(1)
	if !f.well.Load() {
		return errors.New("away")
	}
	return nil
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &fake{}
		ctx, cancel := context.WithCancel(context.Background())
		m := instrument.New(instrument.Config{})
		done := make(chan struct{})
		go func() {
			export.Run(ctx, m, 10*time.Second, f, slog.New(slog.NewTextHandler(&log, nil)))
			close(done)
		}()
		time.Sleep(25 * time.Second)
		synctest.Wait()
		f.well.Store(true)
		time.Sleep(10 * time.Second)
		cancel()
		<-done
		if f.n.Load() != 4 {
			t.Errorf("%d exports, want 3 and a last one", f.n.Load())
		}
		if s := log.String(); strings.Count(s, "not exported") != 1 || strings.Count(s, "exported again") != 1 {
			t.Errorf("the log: %s", s)
		}
	})
}

func BenchmarkExport(b *testing.B) {
	m := instrument.New(instrument.Config{Service: "shop"})
	for i := range 1000 {
		m.Timer("t", "k", fmt.Sprint(i)).Record(time.Duration(i) * time.Millisecond)
	}
	s := m.Snapshot()
	f := func(name string, e export.Exporter) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := e.Export(context.Background(), s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer srv.Close()
	f("influx", &export.Influx{URL: srv.URL})
	f("otlp", export.Vedette(srv.URL, "", ""))
	h := export.Prometheus(m)
	b.Run("prometheus", func(b *testing.B) {
		for b.Loop() {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
		}
	})
}

func ExamplePrometheus() {
	m := instrument.New(instrument.Config{Service: "checkout"})
	m.Counter("orders.placed").Add(2)
	w := httptest.NewRecorder()
	export.Prometheus(m).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	io.Copy(os.Stdout, w.Body)
	// Output:
	// # TYPE orders_placed_total counter
	// orders_placed_total{service="checkout"} 2
}
