package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/otlptranslator"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

type otlpDoor struct {
	t      *testing.T
	store  *metric.Store
	counts *ingest.Counts
	otlp   *ingest.OTLP
	now    time.Time
}

func newOTLPDoor(t *testing.T, cfg ingest.OTLPConfig) *otlpDoor {
	t.Helper()
	d := &otlpDoor{t: t, store: openStore(t, t.TempDir(), metric.Config{}), counts: ingest.NewCounts(instrument.New(instrument.Config{})), now: time.Now().Truncate(time.Second)}
	if cfg.Names == nil {
		cfg.Names = func() config.OTLPConfig { return config.DefaultOTLPConfig }
	}
	d.otlp = ingest.NewOTLP(ingest.NewSink(d.store, ingest.SinkConfig{IsLimit: metric.IsLimit}, d.counts), cfg, quietLog())
	return d
}

// values renders the stored samples of series whose name begins with prefix.
func (d *otlpDoor) values(prefix string) string {
	d.t.Helper()
	var out []string
	if err := dump(d.store, math.MinInt64, math.MaxInt64, func(series string, ts int64, v string) {
		if strings.Contains(series, `__name__="`+prefix) {
			var bits uint64
			if n, _ := fmt.Sscanf(v, "%016x", &bits); n == 1 && len(v) == 16 {
				v = fmt.Sprint(math.Float64frombits(bits))
			}
			out = append(out, fmt.Sprintf("%s@%d=%s", series, (ts-d.now.UnixMilli())/1000, v))
		}
	}); err != nil {
		d.t.Fatal(err)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// request is one metric of one resource.
func request(f func(m pmetric.Metric)) pmetricotlp.ExportRequest {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "shop")
	rm.Resource().Attributes().PutStr("service.instance.id", "a")
	f(rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty())
	return pmetricotlp.NewExportRequestFromMetrics(md)
}

func (d *otlpDoor) stamp(seconds int) pcommon.Timestamp {
	return pcommon.NewTimestampFromTime(d.now.Add(time.Duration(seconds) * time.Second))
}

func deltaSum(d *otlpDoor, at int, v int64) pmetricotlp.ExportRequest {
	return request(func(m pmetric.Metric) {
		m.SetName("orders")
		s := m.SetEmptySum()
		s.SetIsMonotonic(true)
		s.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		p := s.DataPoints().AppendEmpty()
		p.SetStartTimestamp(d.stamp(at - 10))
		p.SetTimestamp(d.stamp(at))
		p.SetIntValue(v)
	})
}

// export hands a request over and gives the answer in the words of the protocol.
func export(t *testing.T, o *ingest.OTLP, req pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	t.Helper()
	body, err := req.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	resp := pmetricotlp.NewExportResponse()
	part, err := o.Export(context.Background(), body)
	if part != nil {
		resp.PartialSuccess().SetRejectedDataPoints(part.Rejected)
		resp.PartialSuccess().SetErrorMessage(part.Message)
	}
	return resp, err
}

func TestOTLPDelta(t *testing.T) {
	d := newOTLPDoor(t, ingest.OTLPConfig{MaxDeltaSeries: 3})
	send := func(req pmetricotlp.ExportRequest) pmetricotlp.ExportResponse {
		t.Helper()
		resp, err := export(t, d.otlp, req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for i, v := range []int64{5, 3, 0, 2} {
		if n := send(deltaSum(d, -100+10*i, v)).PartialSuccess().RejectedDataPoints(); n != 0 {
			t.Errorf("point %d: %d rejected", i, n)
		}
	}
	late := send(deltaSum(d, -90, 7))
	if late.PartialSuccess().RejectedDataPoints() != 1 || !strings.Contains(late.PartialSuccess().ErrorMessage(), "a delta cannot be added late") {
		t.Errorf("a late delta: %v %q", late.PartialSuccess().RejectedDataPoints(), late.PartialSuccess().ErrorMessage())
	}
	head := `{__name__="orders_total", instance="a", job="shop"}`
	want := head + "@-100=5\n" + head + "@-70=10\n" + head + "@-80=8\n" + head + "@-90=8"
	if got := d.values("orders"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	hist := func(at int, bounds []float64, counts ...uint64) pmetricotlp.ExportRequest {
		return request(func(m pmetric.Metric) {
			m.SetName("lat")
			h := m.SetEmptyHistogram()
			h.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
			p := h.DataPoints().AppendEmpty()
			p.SetTimestamp(d.stamp(at))
			p.ExplicitBounds().FromRaw(bounds)
			p.BucketCounts().FromRaw(counts)
			p.SetCount(counts[0] + counts[1])
			p.SetSum(float64(counts[0]))
		})
	}
	send(hist(-50, []float64{1}, 2, 1))
	send(hist(-40, []float64{1}, 3, 4))
	if got := d.values("lat_count"); !strings.HasSuffix(got, "@-50=3") || !strings.Contains(got, "@-40=10\n") {
		t.Errorf("a histogram: %s", got)
	}
	send(hist(-30, []float64{2}, 1, 1)) // other buckets begin anew
	if got := d.values("lat_count"); !strings.Contains(got, "@-30=2") {
		t.Errorf("other buckets: %s", got)
	}

	exp := func(at int, scale, offset int32, counts ...uint64) pmetricotlp.ExportRequest {
		return request(func(m pmetric.Metric) {
			m.SetName("exp")
			h := m.SetEmptyExponentialHistogram()
			h.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
			p := h.DataPoints().AppendEmpty()
			p.SetTimestamp(d.stamp(at))
			p.SetScale(scale)
			p.Positive().SetOffset(offset)
			p.Positive().BucketCounts().FromRaw(counts)
			var n uint64
			for _, c := range counts {
				n += c
			}
			p.SetCount(n)
		})
	}
	send(exp(-50, 3, 0, 1, 2, 3))
	send(exp(-40, 2, -1, 4, 5)) // coarser
	send(exp(-30, 2, 900, 1))   // far away
	got := d.values("exp")
	for _, want := range []string{"@-50={count:6", "@-40={count:15", "@-30={count:16"} {
		if !strings.Contains(got, want) {
			t.Errorf("exponential: no %s in\n%s", want, got)
		}
	}
	bad := send(exp(-20, 2, math.MaxInt32, 1, 1))
	if bad.PartialSuccess().RejectedDataPoints() != 1 {
		t.Error("a bucket beyond all is taken")
	}
	fourth := send(request(func(m pmetric.Metric) {
		m.SetName("fourth")
		s := m.SetEmptySum()
		s.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		s.DataPoints().AppendEmpty().SetTimestamp(d.stamp(0))
	}))
	if !strings.Contains(fourth.PartialSuccess().ErrorMessage(), "3 series of delta") {
		t.Errorf("over the limit: %q", fourth.PartialSuccess().ErrorMessage())
	}
}

// A request that was not stored does not count, or its retry would count twice.
func TestOTLPDeltaRetry(t *testing.T) {
	d := newOTLPDoor(t, ingest.OTLPConfig{})
	f := &faulty{Appendable: d.store, commitErr: fmt.Errorf("disk full")}
	o := ingest.NewOTLP(ingest.NewSink(f, ingest.SinkConfig{}, d.counts), ingest.OTLPConfig{Names: func() config.OTLPConfig { return config.DefaultOTLPConfig }}, quietLog())
	if _, err := export(t, o, deltaSum(d, -20, 5)); err == nil {
		t.Fatal("no error")
	}
	f.commitErr = nil
	if resp, err := export(t, o, deltaSum(d, -20, 5)); err != nil || resp.PartialSuccess().RejectedDataPoints() != 0 {
		t.Fatal(err, resp.PartialSuccess().ErrorMessage())
	}
	if got := d.values("orders"); !strings.HasSuffix(got, "@-20=5") {
		t.Errorf("got %s", got)
	}
}

// randomMetrics makes cumulative metrics of every kind.
func randomMetrics(r *rand.Rand, at time.Time) pmetricotlp.ExportRequest {
	md := pmetric.NewMetrics()
	ts := pcommon.NewTimestampFromTime(at)
	for i := range 1 + r.IntN(3) {
		rm := md.ResourceMetrics().AppendEmpty()
		rm.Resource().Attributes().PutStr("service.name", fmt.Sprint("s", i))
		rm.Resource().Attributes().PutStr("k8s.pod.name", fmt.Sprint("pod-", i))
		sm := rm.ScopeMetrics().AppendEmpty()
		sm.Scope().SetName("scope")
		for j := range 6 {
			m := sm.Metrics().AppendEmpty()
			m.SetName([]string{"http.requests", "mem.used", "lat.ency", "exp.hist", "quant", "up-down"}[j])
			m.SetUnit([]string{"1", "By", "ms", "s", "", "{items}"}[j])
			attrs := func(a pcommon.Map, k int) {
				a.PutStr("http.method", fmt.Sprint("m", k))
				a.PutInt("code", int64(200+k))
				if r.IntN(2) == 0 {
					a.PutBool("ok", true)
				}
			}
			for k := range 3 {
				switch j {
				case 0, 5:
					if k == 0 {
						m.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
						m.Sum().SetIsMonotonic(j == 0)
					}
					p := m.Sum().DataPoints().AppendEmpty()
					attrs(p.Attributes(), k)
					p.SetTimestamp(ts)
					p.SetIntValue(r.Int64N(1000))
				case 1:
					if k == 0 {
						m.SetEmptyGauge()
					}
					p := m.Gauge().DataPoints().AppendEmpty()
					attrs(p.Attributes(), k)
					p.SetTimestamp(ts)
					if p.SetDoubleValue(r.NormFloat64()); r.IntN(5) == 0 {
						p.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
					}
				case 2:
					if k == 0 {
						m.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
					}
					p := m.Histogram().DataPoints().AppendEmpty()
					attrs(p.Attributes(), k)
					p.SetTimestamp(ts)
					p.ExplicitBounds().FromRaw([]float64{1, 5, 10})
					p.BucketCounts().FromRaw([]uint64{1, 2, uint64(r.IntN(9)), 4})
					p.SetCount(20)
					p.SetSum(r.Float64())
					e := p.Exemplars().AppendEmpty()
					e.SetTimestamp(ts)
					e.SetDoubleValue(3)
					e.SetTraceID([16]byte{1, byte(k)})
				case 3:
					if k == 0 {
						m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
					}
					p := m.ExponentialHistogram().DataPoints().AppendEmpty()
					attrs(p.Attributes(), k)
					p.SetTimestamp(ts)
					p.SetScale(int32(r.IntN(12)))
					p.Positive().SetOffset(int32(r.IntN(20) - 10))
					p.Positive().BucketCounts().FromRaw([]uint64{1, 0, 2})
					p.SetCount(3)
					p.SetSum(1)
				case 4:
					if k == 0 {
						m.SetEmptySummary()
					}
					p := m.Summary().DataPoints().AppendEmpty()
					attrs(p.Attributes(), k)
					p.SetTimestamp(ts)
					p.SetCount(3)
					p.SetSum(5)
					q := p.QuantileValues().AppendEmpty()
					q.SetQuantile(0.5)
					q.SetValue(2)
				}
			}
		}
	}
	return pmetricotlp.NewExportRequestFromMetrics(md)
}

// What is stored is what Prometheus's own OTLP endpoint stores.
func TestOTLPBesidePrometheus(t *testing.T) {
	for _, strategy := range []otlptranslator.TranslationStrategyOption{otlptranslator.UnderscoreEscapingWithSuffixes, otlptranslator.NoUTF8EscapingWithSuffixes, otlptranslator.NoTranslation} {
		t.Run(string(strategy), func(t *testing.T) {
			c := config.DefaultOTLPConfig
			c.TranslationStrategy = strategy
			d := newOTLPDoor(t, ingest.OTLPConfig{Names: func() config.OTLPConfig { return c }})
			theirs := openStore(t, t.TempDir(), metric.Config{})
			h := remote.NewOTLPWriteHandler(quietLog(), prometheus.NewRegistry(), theirs, func() config.Config { return config.Config{OTLPConfig: c} }, remote.OTLPOptions{LookbackDelta: 5 * time.Minute})
			r := rand.New(rand.NewPCG(5, 5))
			for i := range 20 {
				req := randomMetrics(r, d.now.Add(time.Duration(i-30)*time.Second))
				body, err := req.MarshalProto()
				if err != nil {
					t.Fatal(err)
				}
				kind := "application/x-protobuf"
				if i%3 == 2 {
					kind = "application/json"
					if body, err = req.MarshalJSON(); err != nil {
						t.Fatal(err)
					}
				}
				post := func(h http.Handler, zipped bool) int {
					b := body
					if zipped {
						var z bytes.Buffer
						zw := gzip.NewWriter(&z)
						zw.Write(body)
						zw.Close()
						b = z.Bytes()
					}
					hr := httptest.NewRequest("POST", "/v1/metrics", bytes.NewReader(b))
					hr.Header.Set("Content-Type", kind)
					if zipped {
						hr.Header.Set("Content-Encoding", "gzip")
					}
					w := httptest.NewRecorder()
					h.ServeHTTP(w, hr)
					if w.Code != 200 {
						t.Fatalf("%d %s", w.Code, w.Body)
					}
					return w.Code
				}
				post(h, false)
				post(http.HandlerFunc(d.otlp.Metrics), i%2 == 0)
			}
			all := func(s *metric.Store) (out []string) {
				if err := dump(s, math.MinInt64, math.MaxInt64, func(series string, ts int64, v string) { out = append(out, fmt.Sprint(series, ts, v)) }); err != nil {
					t.Fatal(err)
				}
				slices.Sort(out)
				return out
			}
			got, want := all(d.store), all(theirs)
			if len(got) < 500 || !slices.Equal(got, want) {
				for i := range min(len(got), len(want)) {
					if got[i] != want[i] {
						t.Errorf("got  %s\nwant %s", got[i], want[i])
						break
					}
				}
				t.Errorf("%d samples, Prometheus has %d", len(got), len(want))
			}
		})
	}
}

func TestOTLPAnswers(t *testing.T) {
	d := newOTLPDoor(t, ingest.OTLPConfig{MaxBytes: 2000})
	f := func(kind, encoding, body string, want int, says string) {
		t.Helper()
		r := httptest.NewRequest("POST", "/v1/metrics", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Content-Encoding", encoding)
		w := httptest.NewRecorder()
		d.otlp.Metrics(w, r)
		if w.Code != want || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s %s: %d %s, want %d %s", kind, encoding, w.Code, w.Body, want, says)
		}
	}
	f("application/x-protobuf", "", "", 200, "")
	f("application/json", "", "{}", 200, "{")
	f("application/json; charset=utf-8", "", "{}", 200, "{")
	f("text/plain", "", "", 415, "application/json")
	f("", "", "", 415, "")
	f("application/x-protobuf", "", "\xff\xff", 400, "decode the request")
	f("application/json", "", "{", 400, `"message"`)
	f("application/x-protobuf", "br", "x", 415, "br")
	f("application/x-protobuf", "gzip", "x", 400, "gzip")
	f("application/json", "", strings.Repeat(" ", 3000), 413, "2000")
}

func TestOTLPgRPC(t *testing.T) {
	d := newOTLPDoor(t, ingest.OTLPConfig{})
	srv := ingest.NewOTLPServer(func(_ context.Context, md metadata.MD) (*ingest.OTLP, func(), error) {
		if a := md.Get("authorization"); len(a) == 0 || a[0] != "Bearer secret" {
			return nil, nil, record.Errorf(record.Unauthenticated, "no token")
		}
		return d.otlp, func() {}, nil
	}, 0, quietLog())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Stop()
	cc, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	c := pmetricotlp.NewGRPCClient(cc)
	req := deltaSum(d, -10, 4)
	if _, err := c.Export(context.Background(), req); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer secret")
	if _, err := c.Export(ctx, req, grpc.UseCompressor("gzip")); err != nil {
		t.Fatal(err)
	}
	if got := d.values("orders"); !strings.HasSuffix(got, "@-10=4") {
		t.Errorf("got %s", got)
	}
	zc, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithCompressor(zstdSender{})) //nolint:staticcheck // of this client alone
	if err != nil {
		t.Fatal(err)
	}
	defer zc.Close()
	for i, v := range []int64{3, 5} {
		if _, err := pmetricotlp.NewGRPCClient(zc).Export(ctx, deltaSum(d, 10*i, v)); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.values("orders"); !strings.Contains(got, "@10=12") {
		t.Errorf("after zstd got %s", got)
	}
	// 65 MiB of zeros are some kilobytes: refused by their size, not taken in.
	if err := zc.Invoke(ctx, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", pmetricBomb(), new(emptypb.Empty)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a bomb: %v", err)
	}
}

// zstdSender compresses what a client sends.
type zstdSender struct{}

func (zstdSender) Type() string { return "zstd" }

func (zstdSender) Do(w io.Writer, p []byte) error {
	e, err := zstd.NewWriter(w)
	if err != nil {
		return err
	}
	if _, err := e.Write(p); err != nil {
		return err
	}
	return e.Close()
}

func pmetricBomb() *wrapperspb.BytesValue { return wrapperspb.Bytes(make([]byte, 65<<20)) }

func FuzzOTLP(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 3 {
		b, err := randomMetrics(r, time.Unix(1790000000, 0)).MarshalProto()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := openStore(f, f.TempDir(), metric.Config{})
	o := ingest.NewOTLP(ingest.NewSink(s, ingest.SinkConfig{IsLimit: metric.IsLimit}, ingest.NewCounts(instrument.New(instrument.Config{}))),
		ingest.OTLPConfig{MaxDeltaSeries: 100, Names: func() config.OTLPConfig { return config.DefaultOTLPConfig }}, quietLog())
	f.Fuzz(func(t *testing.T, b []byte) {
		hr := httptest.NewRequest("POST", "/v1/metrics", bytes.NewReader(b))
		hr.Header.Set("Content-Type", "application/x-protobuf")
		w := httptest.NewRecorder()
		o.Metrics(w, hr)
		if w.Code == 503 {
			t.Fatalf("a fault of ours: %s", w.Body)
		}
	})
}

// BenchmarkOTLP stores a request of 1,000 series over and over: by the door, and
// by Prometheus's handler.
func BenchmarkOTLP(b *testing.B) {
	body := func(at time.Time) []byte {
		md := pmetric.NewMetrics()
		rm := md.ResourceMetrics().AppendEmpty()
		rm.Resource().Attributes().PutStr("service.name", "shop")
		ms := rm.ScopeMetrics().AppendEmpty().Metrics()
		for m := range 20 {
			x := ms.AppendEmpty()
			x.SetName(fmt.Sprint("shop.orders.", m))
			s := x.SetEmptySum()
			s.SetIsMonotonic(true)
			s.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			for i := range 50 {
				p := s.DataPoints().AppendEmpty()
				p.SetTimestamp(pcommon.NewTimestampFromTime(at))
				p.SetIntValue(at.Unix())
				p.Attributes().PutStr("http.route", fmt.Sprint("/api/v1/orders/", i%10))
				p.Attributes().PutStr("region", fmt.Sprint("eu-", i/10))
				p.Attributes().PutInt("code", 200)
			}
		}
		out, err := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
		if err != nil {
			b.Fatal(err)
		}
		return out
	}
	run := func(b *testing.B, h http.Handler) {
		b.ReportAllocs()
		at := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
		for b.Loop() {
			b.StopTimer()
			req := body(at)
			at = at.Add(15 * time.Second)
			b.StartTimer()
			r := httptest.NewRequest("POST", "/v1/metrics", bytes.NewReader(req))
			r.Header.Set("Content-Type", "application/x-protobuf")
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusOK {
				b.Fatal(w.Code, w.Body)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/sample")
	}
	b.Run("vedette", func(b *testing.B) {
		o := ingest.NewOTLP(ingest.NewSink(openStore(b, b.TempDir(), metric.Config{}), ingest.SinkConfig{MaxFuture: 1e6 * time.Hour}, ingest.NewCounts(instrument.New(instrument.Config{}))), ingest.OTLPConfig{}, quietLog())
		run(b, http.HandlerFunc(o.Metrics))
	})
	b.Run("prometheus", func(b *testing.B) {
		run(b, remote.NewOTLPWriteHandler(quietLog(), prometheus.NewRegistry(), openStore(b, b.TempDir(), metric.Config{}), func() config.Config { return config.Config{OTLPConfig: config.DefaultOTLPConfig} }, remote.OTLPOptions{}))
	})
}
