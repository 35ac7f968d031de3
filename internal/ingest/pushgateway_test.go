package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// pushStore is a PushStore in memory.
type pushStore struct {
	mu    sync.Mutex
	blobs map[string][]byte
	fail  bool
}

func (s *pushStore) Put(_ context.Context, key string, blob []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return errors.New("the disk is full")
	}
	s.blobs[key] = bytes.Clone(blob)
	return nil
}

func (s *pushStore) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return errors.New("the disk is full")
	}
	delete(s.blobs, key)
	return nil
}

func (s *pushStore) All(_ context.Context, f func(string, []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(s.blobs)) {
		if err := f(key, s.blobs[key]); err != nil {
			return err
		}
	}
	return nil
}

// gate is a Push in front of a store, in a bubble of time that the test moves.
type gate struct {
	t      *testing.T
	p      *ingest.Push
	sink   *ingest.Sink
	store  *metric.Store
	pushed *pushStore
	counts *ingest.Counts
	base   int64
}

// gated runs a test with a gate of its own; times are seconds after its start.
func gated(t *testing.T, cfg ingest.PushConfig, f func(t *testing.T, g *gate)) {
	t.Helper()
	store := openStore(t, t.TempDir(), metric.Config{})
	synctest.Test(t, func(t *testing.T) {
		g := &gate{t: t, store: store, pushed: &pushStore{blobs: map[string][]byte{}}, counts: ingest.NewCounts(instrument.New(instrument.Config{})), base: time.Now().UnixMilli()}
		g.sink = ingest.NewSink(store, ingest.SinkConfig{IsLimit: metric.IsLimit}, g.counts)
		g.start(cfg)
		f(t, g)
	})
}

func (g *gate) start(cfg ingest.PushConfig) {
	g.t.Helper()
	p, err := ingest.NewPush(g.sink, g.pushed, cfg, g.counts, quietLog())
	if err != nil {
		g.t.Fatal(err)
	}
	g.p = p
}

func (g *gate) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	g.p.ServeHTTP(w, r)
	return w
}

// ask checks an answer: its code, and what its text says.
func (g *gate) ask(method, path, body string, code int, says string) {
	g.t.Helper()
	if w := g.do(method, path, body); w.Code != code || !strings.Contains(w.Body.String(), says) || says == "" && w.Body.Len() > 0 {
		g.t.Errorf("%s %s: got %d %q, want %d %q", method, path, w.Code, w.Body, code, says)
	}
}

// series lists what is stored but for the two times that each group has.
func (g *gate) want(want ...string) {
	g.t.Helper()
	got := slices.DeleteFunc(readable(g.t, g.store, g.base), func(s string) bool {
		return strings.Contains(s, `"push_time_seconds"`) || strings.Contains(s, `"push_failure_time_seconds"`)
	})
	slices.Sort(want)
	if !slices.Equal(got, want) {
		g.t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPush(t *testing.T) {
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		g.ask("PUT", "/metrics/job/backup", "a 1\n# TYPE b counter\nb{x=\"1\",job=\"other\"} 2\n", 200, "")
		time.Sleep(time.Second)
		g.ask("POST", "/metrics/job/backup", "a 3\n", 200, "")
		time.Sleep(time.Second)
		g.ask("PUT", "/metrics/job/backup", "c 4\n", 200, "")
		time.Sleep(time.Second)
		g.ask("DELETE", "/metrics/job/backup", "", 202, "")
		g.ask("DELETE", "/metrics/job/backup", "", 202, "")
		g.want(`{__name__="a", job="backup"}: 0=1 1=3 2=stale`,
			`{__name__="b", job="backup", x="1"}: 0=2 1=2 2=stale`,
			`{__name__="c", job="backup"}: 2=4 3=stale`)
		if len(g.pushed.blobs) != 0 || len(g.p.Groups()) != 0 {
			t.Errorf("%d groups are kept and %d held, want none", len(g.pushed.blobs), len(g.p.Groups()))
		}
	})
}

func TestPushTimes(t *testing.T) {
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		g.ask("PUT", "/metrics/job/a", "a 1\n", 200, "")
		time.Sleep(time.Second)
		g.ask("PUT", "/metrics/job/a", "a 1 1234\n", 400, `metric "a" has a timestamp; pushed metrics must not have timestamps`)
		g.ask("PUT", "/metrics/job/b", "a{\n", 400, "line 1")
		g.ask("PUT", "/metrics/job/c", "a 1 1234\n", 400, "timestamps")
		got := readable(t, g.store, g.base)
		at := float64(g.base) / 1000
		want := []string{
			`{__name__="a", job="a"}: 0=1 1=1`,
			fmt.Sprintf(`{__name__="push_failure_time_seconds", job="a"}: 0=0 1=%v`, at+1),
			fmt.Sprintf(`{__name__="push_failure_time_seconds", job="c"}: 1=%v`, at+1),
			fmt.Sprintf(`{__name__="push_time_seconds", job="a"}: 0=%v 1=%v`, at, at),
			`{__name__="push_time_seconds", job="c"}: 1=0`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		groups := g.p.Groups()
		if len(groups) != 2 || groups[0].OK || groups[0].Series != 3 || !groups[0].Failed.Equal(groups[0].Pushed.Add(time.Second)) || groups[1].Labels["job"] != "c" || !groups[1].Pushed.IsZero() {
			t.Errorf("got groups %+v", groups)
		}
	})
}

func TestPushPath(t *testing.T) {
	b64 := func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }
	raw := base64.RawURLEncoding.EncodeToString
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		f := func(path, want string) {
			t.Helper()
			g.ask("PUT", path, "m 1\n", 200, "")
			groups := g.p.Groups()
			if len(groups) != 1 {
				t.Fatalf("%s: %d groups", path, len(groups))
			}
			if got := fmt.Sprint(groups[0].Labels); got != want {
				t.Errorf("%s: got %s, want %s", path, got, want)
			}
			g.ask("DELETE", path, "", 202, "")
		}
		f("/metrics/job/a", "map[job:a]")
		f("/metrics/job/a/", "map[job:a]")
		f("/metrics/job/a/instance/b/path/x", "map[instance:b job:a path:x]")
		f("/metrics/job@base64/"+b64("/var/tmp"), "map[job:/var/tmp]")
		f("/metrics/job@base64/"+raw([]byte("/var/tmp?"))+"/x/1", "map[job:/var/tmp? x:1]")
		f("/metrics/job/a/x@base64/"+b64("ü/ö"), "map[job:a x:ü/ö]")
		f("/metrics/job/a/x@base64/=", "map[job:a x:]")
		f("/metrics/job/a/x@base64/", "map[job:a x:]")
		f("/metrics/job/a%20b/x/c%2Fd", "map[job:a b x:c/d]")
		f("/metrics/job/a+b", "map[job:a+b]")
		bad := func(path string, code int, says string) {
			t.Helper()
			g.ask("PUT", path, "m 1\n", code, says)
			g.ask("DELETE", path, "", code, says)
		}
		bad("/metrics/job", 400, "without a value")
		bad("/metrics/job/", 400, "job name is required")
		bad("/metrics/job@base64/=", 400, "job name is required")
		bad("/metrics/job@base64/$$", 400, "not base64")
		bad("/metrics/job/a/b", 400, "without a value")
		bad("/metrics/job/a/__x/1", 400, "improper label name")
		bad("/metrics/job/a/@base64/1", 400, "improper label name")
		bad("/metrics/job/a/x/1/x/2", 400, "twice")
		bad("/metrics/job/a/job/b", 400, "twice")
		bad("/metrics/job/a/x@base64/_w", 400, "not UTF-8")
		bad("/metrics/job/a/x/"+strings.Repeat("x", 4096), 400, "at most 4096")
		bad("/metrics/instance/a", 404, "want /metrics/job/JOB first")
		bad("/other/job/a", 404, "not below /metrics/job/")
	})
}

func TestPushEmptyGroupingLabel(t *testing.T) {
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		g.ask("PUT", "/metrics/job/a/instance@base64/=", "m{instance=\"b\"} 1\n", 200, "")
		time.Sleep(time.Second)
		g.ask("POST", "/metrics/job/a", "n{instance=\"b\"} 1\n", 200, "") // the same group
		g.want(`{__name__="m", job="a"}: 0=1 1=stale`, `{__name__="m", instance="b", job="a"}: 1=1`, `{__name__="n", instance="b", job="a"}: 1=1`)
	})
}

func TestPushRefused(t *testing.T) {
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		g.ask("PUT", "/metrics/job/other", "# TYPE taken counter\ntaken 1\nshared{x=\"1\"} 1\n", 200, "")
		f := func(body, says string) {
			t.Helper()
			g.ask("PUT", "/metrics/job/a", body, 400, says)
		}
		f("a\n", "line 1")
		f("a 1", "unexpected end")
		f("ok 1\n\na{x=1} 1\n", "line 3")
		f("# TYPE a counter\n# TYPE a gauge\n", "second TYPE line")
		f("# HELP a x\n# HELP a y\n", "second HELP line")
		f("taken 1\n", `metric "taken" is of type untyped here and counter in other groups`)
		f("a 1\na 2\n", "collected before with the same name and label values")
		f("a{x=\"1\",job=\"b\"} 1\na{x=\"1\",job=\"c\"} 2\n", "collected before")
		f("a_sum 1\n# TYPE a summary\na_sum 2\na_count 1\n", "collected before")
		f("a{x=\"\xff\"} 1\n", "line 1")
		f("# TYPE a histogram\n{} 1\n", "has a metric name")
		g.ask("PUT", "/metrics/job/a/le/1", "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n", 400, `the label "le", which its type gives`)
		g.ask("PUT", "/metrics/job/other/x/1", "shared 1\n", 400, `series {__name__="shared", job="other", x="1"} is in the group {job="other"} already`)
		g.ask("PATCH", "/metrics/job/a", "", 405, "PUT or POST")
		wantCounts(t, g.counts, "pushgateway", 4+6*2, "inconsistent 6", "undecodable 7")
	})
}

func TestPushReplacesType(t *testing.T) {
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		g.ask("PUT", "/metrics/job/a", "# TYPE a counter\na 1\n", 200, "")
		time.Sleep(time.Second)
		g.ask("PUT", "/metrics/job/a", "# TYPE a gauge\na 2\n", 200, "")
		time.Sleep(time.Second)
		g.ask("PUT", "/metrics/job/b", "# TYPE a gauge\na 3\n", 200, "")
		g.ask("POST", "/metrics/job/b", "# TYPE a counter\na 3\n", 400, "gauge in other groups")
		g.ask("DELETE", "/metrics/job/a", "", 202, "")
		time.Sleep(time.Second)
		g.ask("POST", "/metrics/job/b", "# TYPE a counter\na 3\n", 200, "")
	})
}

// TestPushAtOnce moves a series between groups within one millisecond.
func TestPushAtOnce(t *testing.T) {
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		g.ask("PUT", "/metrics/job/a", "m{x=\"1\"} 1\n", 200, "")
		g.ask("DELETE", "/metrics/job/a", "", 202, "")
		g.ask("PUT", "/metrics/job/a", "m{x=\"1\"} 2\n", 200, "")
		g.ask("PUT", "/metrics/job/a/x/1", "", 200, "")
		g.ask("PUT", "/metrics/job/a", "", 200, "")
		g.ask("POST", "/metrics/job/a/x/1", "m 3\n", 200, "")
		g.want(`{__name__="m", job="a", x="1"}: 0=1 0.001=stale 0.002=2 0.003=stale 0.004=3`)
	})
}

func TestPushEmptyBody(t *testing.T) {
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		g.ask("PUT", "/metrics/job/a", "a 1\n", 200, "")
		time.Sleep(time.Second)
		g.ask("POST", "/metrics/job/a", "", 200, "")
		time.Sleep(time.Second)
		g.ask("PUT", "/metrics/job/a", "", 200, "")
		g.want(`{__name__="a", job="a"}: 0=1 1=1 2=stale`)
		if groups := g.p.Groups(); len(groups) != 1 || groups[0].Series != 2 {
			t.Errorf("got groups %+v", groups)
		}
	})
}

// TestPushKinds pushes what a registry of every type gathers, in each format.
func TestPushKinds(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "c_total", Help: "C."}, []string{"x"})
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"})
	s := prometheus.NewSummary(prometheus.SummaryOpts{Name: "s", Objectives: map[float64]float64{0.5: 0.1}})
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Buckets: []float64{1, 2.5}})
	u := prometheus.NewUntypedFunc(prometheus.UntypedOpts{Name: "u"}, func() float64 { return 5 })
	reg.MustRegister(c, gauge, s, h, u)
	c.WithLabelValues("1").Add(3)
	gauge.Set(math.Inf(-1))
	s.Observe(7)
	h.Observe(2)
	h.Observe(9)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []expfmt.Format{expfmt.NewFormat(expfmt.TypeTextPlain), expfmt.NewFormat(expfmt.TypeProtoDelim)} {
		var body bytes.Buffer
		enc := expfmt.NewEncoder(&body, format)
		for _, mf := range families {
			if err := enc.Encode(mf); err != nil {
				t.Fatal(err)
			}
		}
		gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
			if w := g.do("PUT", "/metrics/job/k", body.String(), "Content-Type", string(format)); w.Code != 200 {
				t.Fatalf("%s: %d %s", format, w.Code, w.Body)
			}
			g.want(`{__name__="c_total", job="k", x="1"}: 0=3`, `{__name__="g", job="k"}: 0=-Inf`, `{__name__="u", job="k"}: 0=5`,
				`{__name__="s", job="k", quantile="0.5"}: 0=7`, `{__name__="s_count", job="k"}: 0=1`, `{__name__="s_sum", job="k"}: 0=7`,
				`{__name__="h_bucket", job="k", le="1.0"}: 0=0`, `{__name__="h_bucket", job="k", le="2.5"}: 0=1`, `{__name__="h_bucket", job="k", le="+Inf"}: 0=2`,
				`{__name__="h_count", job="k"}: 0=2`, `{__name__="h_sum", job="k"}: 0=11`)
		})
	}
}

func TestPushNative(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", NativeHistogramBucketFactor: 2, Buckets: []float64{1}})
	empty := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "e", NativeHistogramBucketFactor: 2})
	reg.MustRegister(h, empty)
	for _, v := range []float64{0, 1, 1, 3, -5} {
		h.Observe(v)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	float := &dto.MetricFamily{Name: proto.String("f"), Type: dto.MetricType_GAUGE_HISTOGRAM.Enum(), Metric: []*dto.Metric{{Histogram: &dto.Histogram{
		SampleCountFloat: proto.Float64(2.5), SampleSum: proto.Float64(3), Schema: proto.Int32(0), ZeroThreshold: proto.Float64(0.1),
		PositiveSpan: []*dto.BucketSpan{{Offset: proto.Int32(1), Length: proto.Uint32(1)}}, PositiveCount: []float64{2.5}}}}}
	bad := proto.Clone(float).(*dto.MetricFamily)
	bad.Metric[0].Histogram.PositiveSpan[0].Length = proto.Uint32(1 << 31)
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		put := func(families ...*dto.MetricFamily) *httptest.ResponseRecorder {
			var body bytes.Buffer
			for _, mf := range families {
				if _, err := protodelim.MarshalTo(&body, mf); err != nil {
					t.Fatal(err)
				}
			}
			return g.do("PUT", "/metrics/job/k", body.String(), "Content-Type", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
		}
		if w := put(append(families, float)...); w.Code != 200 {
			t.Fatal(w.Code, w.Body)
		}
		g.want(`{__name__="h", job="k"}: 0={count:5, sum:0, [-8,-4):1, [-2.938735877055719e-39,2.938735877055719e-39]:1, (0.5,1]:2, (2,4]:1}`,
			`{__name__="e", job="k"}: 0={count:0, sum:0}`,
			`{__name__="f", job="k"}: 0={count:2.5, sum:3, (1,2]:2.5}`)
		if w := put(bad); w.Code != 400 || !strings.Contains(w.Body.String(), `metric "f"`) {
			t.Errorf("a span without buckets: got %d %s", w.Code, w.Body)
		}
		if w := put(float, float); w.Code != 400 || !strings.Contains(w.Body.String(), `metric family 2: "f" came before`) {
			t.Errorf("a family twice: got %d %s", w.Code, w.Body)
		}
		time.Sleep(time.Second)
		if w := put(); w.Code != 200 {
			t.Errorf("nothing: got %d %s", w.Code, w.Body)
		}
		if got := strings.Join(readable(t, g.store, g.base), "\n"); strings.Count(got, " 1=stale") != 3 {
			t.Errorf("want three markers, got\n%s", got)
		}
	})
}

func TestPushBodies(t *testing.T) {
	pack := func(body string) (gz, sn string) {
		var a, b bytes.Buffer
		w := gzip.NewWriter(&a)
		_, _ = w.Write([]byte(body))
		w.Close()
		s := snappy.NewBufferedWriter(&b)
		_, _ = s.Write([]byte(body))
		s.Close()
		return a.String(), b.String()
	}
	gz, sn := pack("a 1\n")
	bomb, bombSn := pack(strings.Repeat("#\n", 100_000))
	gated(t, ingest.PushConfig{MaxBytes: 1000}, func(t *testing.T, g *gate) {
		f := func(encoding, contentType, body string, code int, says string) {
			t.Helper()
			time.Sleep(time.Second)
			if w := g.do("PUT", "/metrics/job/a", body, "Content-Encoding", encoding, "Content-Type", contentType); w.Code != code || !strings.Contains(w.Body.String(), says) {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, code, says)
			}
		}
		protobuf := string(expfmt.NewFormat(expfmt.TypeProtoDelim))
		f("gzip", "", gz, 200, "")
		f("snappy", "text/plain", sn, 200, "")
		f("identity", "whatever", "a 1\n", 200, "")
		f("zstd", "", "a 1\n", 400, `the encoding "zstd" is not taken`)
		f("gzip", "", "a 1\n", 400, "read the metrics")
		f("gzip", "", gz[:len(gz)-4], 400, "read the metrics")
		f("gzip", "", bomb, 413, "more than 1000 bytes")
		f("snappy", "", bombSn, 413, "more than 1000 bytes")
		f("", protobuf, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 400, "metric family 1")
		f("", protobuf, "\x05\x0a\x01a", 400, "metric family 1")
		f("", protobuf, "\x03\x0a\x05a", 400, "metric family 1")
		f("", protobuf, "\x00", 200, "") // a family of nothing
		r := httptest.NewRequest("PUT", "/metrics/job/a", strings.NewReader("a 1\n"))
		w := httptest.NewRecorder()
		r.Body = http.MaxBytesReader(w, r.Body, 2)
		if g.p.ServeHTTP(w, r); w.Code != 413 {
			t.Errorf("over the server's limit: got %d, want 413", w.Code)
		}
	})
}

func TestPushLimits(t *testing.T) {
	gated(t, ingest.PushConfig{MaxGroups: 2, MaxSeries: 8}, func(t *testing.T, g *gate) {
		g.ask("PUT", "/metrics/job/a", "a 1\nb 1\n", 200, "")
		g.ask("PUT", "/metrics/job/b", "a 1\nb 1\nc 1\n", 429, "more than 8 series")
		g.ask("PUT", "/metrics/job/b", "# HELP a "+strings.Repeat("x", 20_000)+"\na 1\n", 429, "more than 16384 bytes")
		g.ask("PUT", "/metrics/job/b", "a 1\nb 1\n", 200, "")
		g.ask("PUT", "/metrics/job/c", "", 429, "2 groups are held")
		time.Sleep(time.Second)
		g.ask("PUT", "/metrics/job/b", "a 1\nc 1\n", 200, "") // room for what it replaces
		g.ask("DELETE", "/metrics/job/a", "", 202, "")
		g.ask("PUT", "/metrics/job/c", "", 200, "")
	})
}

func TestPushRun(t *testing.T) {
	gated(t, ingest.PushConfig{Interval: 10 * time.Second, MaxAge: 25 * time.Second}, func(t *testing.T, g *gate) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.p.Run(ctx) }()
		time.Sleep(5 * time.Second)
		g.ask("PUT", "/metrics/job/a", "a 1\n", 200, "")
		time.Sleep(10 * time.Second)
		g.ask("PUT", "/metrics/job/b", "b 1\n", 200, "")
		time.Sleep(27 * time.Second)
		g.want(`{__name__="a", job="a"}: 5=1 10=1 20=1 30=1 40=stale`, `{__name__="b", job="b"}: 15=1 20=1 30=1 40.001=1`) // a millisecond behind the markers of a
		if len(g.pushed.blobs) != 1 {
			t.Errorf("%d groups are kept, want one", len(g.pushed.blobs))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestPushRestart(t *testing.T) {
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		g.ask("PUT", "/metrics/job/a/x@base64/=", "# HELP a A.\n# TYPE a counter\na{x=\"1\",y=\"2\"} 1\n", 200, "")
		g.ask("PUT", "/metrics/job/b", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 2\n", 200, "")
		g.ask("POST", "/metrics/job/b", "a 1\n", 400, "other groups")
		g.pushed.blobs["broken"] = []byte("{}")
		g.pushed.blobs["later"] = []byte("{\"v\":2}\n")
		before := g.p.Groups()
		g.start(ingest.PushConfig{})
		after := g.p.Groups()
		if len(after) != 2 {
			t.Fatalf("%d groups, want 2", len(after))
		}
		for i := range before {
			if got, want := fmt.Sprint(after[i].Labels, after[i].Series, after[i].OK), fmt.Sprint(before[i].Labels, before[i].Series, before[i].OK); got != want || !after[i].Pushed.Equal(before[i].Pushed) {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		time.Sleep(time.Second)
		g.ask("POST", "/metrics/job/b", "a 1\n", 400, "other groups") // types are known again
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.p.Run(ctx) }()
		time.Sleep(time.Second)
		cancel()
		<-ended
		g.want(`{__name__="a", job="a", y="2"}: 0=1 1=1`,
			`{__name__="h_bucket", job="b", le="1.0"}: 0=1 0.001=1 1=1 1.001=1`, `{__name__="h_bucket", job="b", le="+Inf"}: 0=2 0.001=2 1=2 1.001=2`,
			`{__name__="h_sum", job="b"}: 0=1 0.001=1 1=1 1.001=1`, `{__name__="h_count", job="b"}: 0=2 0.001=2 1=2 1.001=2`)
	})
}

func TestPushFaults(t *testing.T) {
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		store := &failing{g.store, false}
		g.sink = ingest.NewSink(store, ingest.SinkConfig{}, g.counts)
		g.start(ingest.PushConfig{})
		g.ask("PUT", "/metrics/job/a", "a 1\n", 200, "")
		time.Sleep(time.Second)
		g.pushed.fail = true
		g.ask("PUT", "/metrics/job/a", "b 1\n", 500, "the disk is full")
		g.ask("DELETE", "/metrics/job/a", "", 500, "the disk is full")
		g.pushed.fail, store.fail = false, true
		g.ask("PUT", "/metrics/job/a", "c 1\n", 500, "the disk is full")
		time.Sleep(time.Second)
		g.ask("DELETE", "/metrics/job/a", "", 500, "the disk is full")
		store.fail = false
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.p.Run(ctx) }()
		time.Sleep(time.Second)
		cancel()
		<-ended
		if got := strings.Join(readable(t, g.store, g.base), "\n"); !strings.Contains(got, `{__name__="a", job="a"}: 0=1 3=stale`) {
			t.Errorf("the marker is owed and not written; got\n%s", got)
		}
		if got := len(g.p.Groups()); got != 0 {
			t.Errorf("%d groups, want none", got)
		}
	})
}

// TestPushClient pushes with the client library of Prometheus.
func TestPushClient(t *testing.T) {
	store, counts := openStore(t, t.TempDir(), metric.Config{}), ingest.NewCounts(instrument.New(instrument.Config{}))
	g := &gate{t: t, store: store, pushed: &pushStore{blobs: map[string][]byte{}}, counts: counts, sink: ingest.NewSink(store, ingest.SinkConfig{}, counts)}
	g.start(ingest.PushConfig{})
	srv := httptest.NewServer(g.p)
	defer srv.Close()
	done := prometheus.NewGauge(prometheus.GaugeOpts{Name: "backup_last_success", Help: "Last."})
	done.Set(42)
	for _, format := range []expfmt.Format{expfmt.NewFormat(expfmt.TypeProtoDelim), expfmt.NewFormat(expfmt.TypeTextPlain)} {
		p := push.New(srv.URL, "back/up").Grouping("instance", "").Grouping("path", "/a/b").Collector(done).Format(format)
		if err := p.Push(); err != nil {
			t.Error(err)
		}
		if err := p.Add(); err != nil {
			t.Error(err)
		}
		if groups := g.p.Groups(); len(groups) != 1 || groups[0].Labels["job"] != "back/up" || groups[0].Labels["path"] != "/a/b" || groups[0].Series != 3 {
			t.Errorf("got %+v", groups)
		}
		if err := p.Delete(); err != nil {
			t.Error(err)
		}
		if groups := g.p.Groups(); len(groups) != 0 {
			t.Errorf("after delete: got %+v", groups)
		}
	}
}

func TestPushAPI(t *testing.T) {
	gated(t, ingest.PushConfig{}, func(t *testing.T, g *gate) {
		g.ask("PUT", "/metrics/job/a", "# HELP c C.\n# TYPE c counter\nc{x=\"1\"} NaN\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n# TYPE s summary\ns{quantile=\"0.5\"} 3\ns_sum 3\ns_count 1\n", 200, "")
		w := httptest.NewRecorder()
		g.p.API(w, httptest.NewRequest("GET", "/api/v1/metrics", nil))
		var got struct {
			Status string
			Data   []map[string]json.RawMessage
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Status != "success" || len(got.Data) != 1 {
			t.Fatalf("got %s, %v", w.Body, err)
		}
		want := map[string]string{
			"labels":               `{"job":"a"}`,
			"last_push_successful": `true`,
			"c":                    `{"help":"C.","metrics":[{"labels":{"instance":"","job":"a","x":"1"},"value":"NaN"}],"time_stamp":"2000-01-01T00:00:00Z","type":"COUNTER"}`,
			"h":                    `{"metrics":[{"buckets":{"+Inf":"2"},"count":"2","labels":{"instance":"","job":"a"},"sum":"1"}],"time_stamp":"2000-01-01T00:00:00Z","type":"HISTOGRAM"}`,
			"s":                    `{"metrics":[{"count":"1","labels":{"instance":"","job":"a"},"quantiles":{"0.5":"3"},"sum":"3"}],"time_stamp":"2000-01-01T00:00:00Z","type":"SUMMARY"}`,
		}
		for name, v := range want {
			if s := string(got.Data[0][name]); strings.ReplaceAll(s, time.Unix(946684800, 0).Format(time.RFC3339), "2000-01-01T00:00:00Z") != v {
				t.Errorf("%s: got %s, want %s", name, s, v)
			}
		}
		if s := string(got.Data[0]["push_time_seconds"]); !strings.Contains(s, `"value":"9.466848e+08"`) {
			t.Errorf("push_time_seconds: got %s", s)
		}
		w = httptest.NewRecorder()
		if g.p.API(w, httptest.NewRequest("POST", "/api/v1/metrics", nil)); w.Code != 405 {
			t.Errorf("POST: got %d, want 405", w.Code)
		}
	})
}

func TestPushConfig(t *testing.T) {
	f := func(cfg ingest.PushConfig, want string) {
		t.Helper()
		if err := cfg.Validate(); fmt.Sprint(err) != want && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(ingest.PushConfig{}, "<nil>")
	f(ingest.PushConfig{Interval: time.Millisecond}, "1s or more")
	f(ingest.PushConfig{MaxAge: -1}, "negative")
}
