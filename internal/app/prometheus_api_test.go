package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/vedette-sre/vedette/internal/app"
)

// startServer runs a Vedette with the files in dir, of which vedette.yml is the
// configuration, until the test ends.
func startServer(t *testing.T, files map[string]string) *app.Server {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := app.Start(ctx, filepath.Join(dir, "vedette.yml"), func(c *app.Config) {
		c.Listen, c.Data = "127.0.0.1:0", filepath.Join(dir, "data")
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Wait(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s
}

// eventually asks until the answer is yes: scrapes and rules have clocks of
// their own.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
		if yes() {
			return
		}
	}
	t.Fatalf("%s: not within 20 s", what)
}

// exporter is a small program to scrape.
func exporter(t *testing.T) *httptest.Server {
	t.Helper()
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shop_orders_total", Help: "Orders taken."}, []string{"kind"})
	c.WithLabelValues("web").(prometheus.ExemplarAdder).AddWithExemplar(3, prometheus.Labels{"trace_id": "abc"})
	c.WithLabelValues("phone").Add(4)
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "shop_seconds", Help: "Time taken.", NativeHistogramBucketFactor: 1.1})
	for _, v := range []float64{0.1, 0.2, 0.4, -1} {
		h.Observe(v)
	}
	reg.MustRegister(c, h)
	srv := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	t.Cleanup(srv.Close)
	return srv
}

const apiRules = `
groups:
- name: shop
  interval: 200ms
  rules:
  - record: job:orders:sum
    expr: sum by (job) (shop_orders_total)
    labels: {team: till}
  - alert: Busy
    expr: job:orders:sum > 6
    labels: {severity: page}
    annotations: {summary: "{{ $value }} orders in {{ $labels.job }}"}
  - alert: Slow
    expr: vector(1)
    for: 1h
  - record: broken
    expr: label_replace(shop_orders_total, "kind", "same", "", "")
`

func TestPrometheusAPI(t *testing.T) {
	shop := exporter(t)
	host := strings.TrimPrefix(shop.URL, "http://")
	s := startServer(t, map[string]string{
		"vedette.yml": "prometheus: prometheus.yml\nwatch: false\n",
		"rules.yml":   apiRules,
		"prometheus.yml": fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms, external_labels: {dc: east}}
rule_files: [rules.yml]
scrape_configs:
- job_name: shop
  scrape_native_histograms: true
  static_configs: [{targets: [%q], labels: {env: test}}]
- job_name: dead
  static_configs: [{targets: ["127.0.0.1:1"]}]
- job_name: dropped
  static_configs: [{targets: ["127.0.0.1:2"]}]
  relabel_configs: [{action: drop, regex: ".*", source_labels: [__address__]}]
`, host),
	})
	client, err := api.NewClient(api.Config{Address: "http://" + s.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	p := v1.NewAPI(client)
	ctx := context.Background()
	query := func(expr string) model.Value {
		t.Helper()
		v, _, err := p.Query(ctx, expr, time.Now())
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		return v
	}
	eventually(t, "scrape and rules", func() bool {
		v, _, err := p.Query(ctx, `count(job:orders:sum) + count(up == 1) + count(up == 0) + count(ALERTS{alertname="Busy", alertstate="firing"})`, time.Now())
		vec, ok := v.(model.Vector)
		return err == nil && ok && len(vec) == 1
	})
	now := time.Now()

	t.Run("query", func(t *testing.T) {
		if v, ok := query(`sum(shop_orders_total)`).(model.Vector); !ok || len(v) != 1 || v[0].Value != 7 {
			t.Errorf("got %v, want 7", v)
		}
		if v, ok := query(`3 + 4`).(*model.Scalar); !ok || v.Value != 7 {
			t.Errorf("got %v, want a scalar", v)
		}
		if v, ok := query(`shop_orders_total[1m]`).(model.Matrix); !ok || len(v) != 2 || len(v[0].Values) == 0 {
			t.Errorf("got %v, want a matrix", v)
		}
		if v, ok := query(`shop_seconds`).(model.Vector); !ok || len(v) != 1 || v[0].Histogram == nil || v[0].Histogram.Count != 4 {
			t.Errorf("got %v, want a native histogram", v)
		}
		if v, ok := query(`1/0`).(*model.Scalar); !ok || !math.IsInf(float64(v.Value), 1) {
			t.Errorf("got %v, want +Inf", v)
		}
		_, warn, err := p.Query(ctx, `quantile(2, up)`, now)
		if err != nil || len(warn) == 0 {
			t.Errorf("got warnings %v, %v, want one of the quantile", warn, err)
		}
		v, _, err := p.Query(ctx, `shop_orders_total`, now, v1.WithLimit(1), v1.WithTimeout(time.Minute), v1.WithLookbackDelta(time.Minute), v1.WithStats(v1.AllStatsValue))
		if err != nil || len(v.(model.Vector)) != 1 {
			t.Errorf("with options: got %v, %v", v, err)
		}
	})
	t.Run("query_range", func(t *testing.T) {
		v, _, err := p.QueryRange(ctx, `vector(1)`, v1.Range{Start: now.Add(-time.Minute), End: now, Step: 15 * time.Second})
		if m, ok := v.(model.Matrix); err != nil || !ok || len(m) != 1 || len(m[0].Values) != 5 {
			t.Errorf("got %v, %v", v, err)
		}
	})
	t.Run("errors", func(t *testing.T) {
		f := func(expr string, r v1.Range, want v1.ErrorType) {
			t.Helper()
			_, _, err := p.QueryRange(ctx, expr, r)
			var e *v1.Error
			if !errors.As(err, &e) || e.Type != want {
				t.Errorf("%s: got %v, want %s", expr, err, want)
			}
		}
		ok := v1.Range{Start: now.Add(-time.Minute), End: now, Step: time.Second}
		f(`sum(`, ok, v1.ErrBadData)
		f(`up`, v1.Range{Start: now, End: now.Add(-time.Hour), Step: time.Second}, v1.ErrBadData)
		f(`up`, v1.Range{Start: now.Add(-24 * time.Hour), End: now, Step: time.Millisecond}, v1.ErrBadData) // 11,000 points
		f(`up`, v1.Range{Start: now, End: now}, v1.ErrBadData)
		f(`label_join(shop_orders_total, "kind", "", "job")`, ok, v1.ErrExec)
	})
	t.Run("labels", func(t *testing.T) {
		names, _, err := p.LabelNames(ctx, []string{"shop_orders_total"}, now.Add(-time.Hour), now)
		if want := (model.LabelNames{"__name__", "env", "instance", "job", "kind"}); err != nil || !slices.Equal(names, want) {
			t.Errorf("got %v, %v, want %v", names, err, want)
		}
		vals, _, err := p.LabelValues(ctx, "kind", nil, now.Add(-time.Hour), now)
		if err != nil || !slices.Equal(vals, model.LabelValues{"phone", "web"}) {
			t.Errorf("got %v, %v", vals, err)
		}
		vals, _, err = p.LabelValues(ctx, "kind", []string{`{kind=~"w.*"}`}, now.Add(-time.Hour), now, v1.WithLimit(1))
		if err != nil || !slices.Equal(vals, model.LabelValues{"web"}) {
			t.Errorf("got %v, %v", vals, err)
		}
		sets, _, err := p.Series(ctx, []string{`shop_orders_total{kind="web"}`, `{__name__="shop_seconds"}`}, now.Add(-time.Hour), now)
		if err != nil || len(sets) != 2 {
			t.Errorf("got %v, %v, want two series", sets, err)
		}
		if _, _, err := p.Series(ctx, []string{`{}`}, now.Add(-time.Hour), now); err == nil {
			t.Error("a selector of everything was taken")
		}
	})
	t.Run("exemplars", func(t *testing.T) {
		ex, err := p.QueryExemplars(ctx, `rate(shop_orders_total[1m])`, now.Add(-time.Hour), now.Add(time.Hour))
		if err != nil || len(ex) != 1 || ex[0].SeriesLabels["kind"] != "web" || ex[0].Exemplars[0].Labels["trace_id"] != "abc" {
			t.Errorf("got %v, %v", ex, err)
		}
	})
	t.Run("targets", func(t *testing.T) {
		tg, err := p.Targets(ctx)
		if err != nil || len(tg.Active) != 2 || len(tg.Dropped) != 1 {
			t.Fatalf("got %+v, %v, want 2 active and 1 dropped", tg, err)
		}
		for _, a := range tg.Active {
			switch a.Labels["job"] {
			case "shop":
				if a.Health != v1.HealthGood || a.Labels["env"] != "test" || a.LastError != "" {
					t.Errorf("got %+v", a)
				}
			case "dead":
				if a.Health != v1.HealthBad || !strings.Contains(a.LastError, "refused") {
					t.Errorf("got %+v", a)
				}
			}
		}
		tm, err := p.TargetsMetadata(ctx, `{job="shop"}`, "shop_orders_total", "")
		if err != nil || len(tm) != 1 || tm[0].Type != v1.MetricTypeCounter || tm[0].Help != "Orders taken." {
			t.Errorf("got %+v, %v", tm, err)
		}
		md, err := p.Metadata(ctx, "shop_seconds", "1")
		if err != nil || len(md["shop_seconds"]) != 1 || md["shop_seconds"][0].Type != v1.MetricTypeHistogram {
			t.Errorf("got %+v, %v", md, err)
		}
	})
	t.Run("rules", func(t *testing.T) {
		rs, err := p.Rules(ctx, nil)
		if err != nil || len(rs.Groups) != 1 || len(rs.Groups[0].Rules) != 4 {
			t.Fatalf("got %+v, %v", rs, err)
		}
		busy, ok := rs.Groups[0].Rules[1].(v1.AlertingRule)
		if !ok || busy.State != "firing" || len(busy.Alerts) != 1 || busy.Alerts[0].Annotations["summary"] != "7 orders in shop" || busy.Health != v1.RuleHealthGood {
			t.Errorf("got %+v", rs.Groups[0].Rules[1])
		}
		if broken, ok := rs.Groups[0].Rules[3].(v1.RecordingRule); !ok || broken.Health != v1.RuleHealthBad || broken.LastError == "" {
			t.Errorf("got %+v", rs.Groups[0].Rules[3])
		}
		as, err := p.Alerts(ctx)
		states := map[model.LabelValue]v1.AlertState{}
		for _, a := range as.Alerts {
			states[a.Labels["alertname"]] = a.State
		}
		if err != nil || states["Busy"] != v1.AlertStateFiring || states["Slow"] != v1.AlertStatePending {
			t.Errorf("got %v, %v", states, err)
		}
		if am, err := p.AlertManagers(ctx); err != nil || len(am.Active) != 1 {
			t.Errorf("got %+v, %v", am, err)
		}
	})
	t.Run("status", func(t *testing.T) {
		if c, err := p.Config(ctx); err != nil || !strings.Contains(c.YAML, "job_name: shop") {
			t.Errorf("config: got %+v, %v", c, err)
		}
		if f, err := p.Flags(ctx); err != nil || len(f) == 0 {
			t.Errorf("flags: got %v, %v", f, err)
		}
		if b, err := p.Buildinfo(ctx); err != nil || b.Version == "" || b.GoVersion == "" {
			t.Errorf("build: got %+v, %v", b, err)
		}
		if r, err := p.Runtimeinfo(ctx); err != nil || !r.ReloadConfigSuccess || r.GoroutineCount == 0 || r.StartTime.IsZero() || r.StorageRetention == "" {
			t.Errorf("runtime: got %+v, %v", r, err)
		}
		if ts, err := p.TSDB(ctx); err != nil || ts.HeadStats.NumSeries == 0 || len(ts.SeriesCountByMetricName) == 0 {
			t.Errorf("tsdb: got %+v, %v", ts, err)
		}
		if _, err := p.TSDBBlocks(ctx); err != nil {
			t.Errorf("blocks: %v", err)
		}
		if w, err := p.WalReplay(ctx); err != nil || w.Current != w.Max {
			t.Errorf("replay: got %+v, %v", w, err)
		}
		if q, err := p.FormatQuery(ctx, `sum(rate(a[5m]))by(b)`); err != nil || strings.Trim(q, `"`) != "sum by (b) (rate(a[5m]))" { // the client leaves the JSON quotes
			t.Errorf("format: got %q, %v", q, err)
		}
	})
	t.Run("federate", func(t *testing.T) { federate(t, s.Addr()) })
	t.Run("remote read", func(t *testing.T) { remoteRead(t, s.Addr()) })
	t.Run("admin", func(t *testing.T) {
		sn, err := p.Snapshot(ctx, false)
		if err != nil || sn.Name == "" {
			t.Errorf("snapshot: got %+v, %v", sn, err)
		}
		if err := p.DeleteSeries(ctx, []string{`{__name__=~"federated_.+"}`}, time.Time{}, time.Time{}); err != nil {
			t.Errorf("delete: %v", err)
		}
		if v, ok := query(`{__name__=~"federated_.+"}`).(model.Vector); !ok || len(v) != 0 {
			t.Errorf("deleted series answer: %v", v)
		}
		if err := p.CleanTombstones(ctx); err != nil {
			t.Errorf("clean tombstones: %v", err)
		}
	})
}

func remoteWrite(t *testing.T, addr string, series ...prompb.TimeSeries) {
	t.Helper()
	resp := postProto(t, "http://"+addr+"/api/v1/write", &prompb.WriteRequest{Timeseries: series})
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("remote write: got %s: %s", resp.Status, b)
	}
}

func postProto(t *testing.T, to string, msg proto.Message) *http.Response {
	t.Helper()
	raw, err := proto.Marshal(msg)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := compression.Encode(compression.Snappy, raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, to, bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "snappy")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func wireLabels(ls ...string) (out []prompb.Label) {
	for i := 0; i < len(ls); i += 2 {
		out = append(out, prompb.Label{Name: ls[i], Value: ls[i+1]})
	}
	return out
}

// federate asks for what was stored: the newest samples with the external
// labels, and native histograms where the format holds them.
func federate(t *testing.T, addr string) {
	now := time.Now().UnixMilli()
	h := &histogram.Histogram{Schema: 2, ZeroThreshold: 0.01, ZeroCount: 1, Count: 7, Sum: 3.5,
		PositiveSpans: []histogram.Span{{Offset: -2, Length: 2}}, PositiveBuckets: []int64{2, 1}, NegativeSpans: []histogram.Span{{Offset: 1, Length: 1}}, NegativeBuckets: []int64{1}}
	remoteWrite(t, addr,
		prompb.TimeSeries{Labels: wireLabels("__name__", "federated_a", "instance", "i", "dc", "own"), Samples: []prompb.Sample{{Timestamp: now - 1000, Value: 1}, {Timestamp: now, Value: 2}}},
		prompb.TimeSeries{Labels: wireLabels("__name__", "federated_a", "x", "1"), Samples: []prompb.Sample{{Timestamp: now, Value: 3}}},
		prompb.TimeSeries{Labels: wireLabels("__name__", "federated_h", "job", "j"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(now, h)}},
	)
	get := func(accept string) map[string]*dto.MetricFamily {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/federate?"+url.Values{"match[]": {`{__name__=~"federated_.+"}`}}.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("got %s", resp.Status)
		}
		dec := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header))
		out := map[string]*dto.MetricFamily{}
		for {
			var mf dto.MetricFamily
			if err := dec.Decode(&mf); err == io.EOF {
				return out
			} else if err != nil {
				t.Fatal(err)
			}
			out[mf.GetName()] = &mf
		}
	}
	floats := func(mfs map[string]*dto.MetricFamily) {
		t.Helper()
		var got []string
		for _, m := range mfs["federated_a"].GetMetric() {
			var ls []string
			for _, l := range m.Label {
				ls = append(ls, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(ls)
			got = append(got, fmt.Sprintf("%s %v %d", strings.Join(ls, ","), m.GetUntyped().GetValue(), m.GetTimestampMs()-now))
		}
		slices.Sort(got)
		want := []string{"dc=east,instance=,x=1 3 0", "dc=own,instance=i 2 0"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	text := get("text/plain;version=0.0.4")
	floats(text)
	if text["federated_h"] != nil {
		t.Errorf("the text format cannot hold a native histogram, got %v", text["federated_h"])
	}
	pb := get("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	floats(pb)
	if pb["federated_h"] == nil {
		t.Fatalf("no native histogram in %v", pb)
	}
	m := pb["federated_h"].GetMetric()[0].GetHistogram()
	if m.GetSchema() != 2 || m.GetSampleCountFloat() != 7 || m.GetSampleSum() != 3.5 || m.GetZeroCountFloat() != 1 ||
		fmt.Sprint(m.GetPositiveCount()) != "[2 3]" || m.GetPositiveSpan()[0].GetOffset() != -2 || fmt.Sprint(m.GetNegativeCount()) != "[1]" {
		t.Errorf("got %v", m)
	}
	resp, err := http.Get("http://" + addr + "/federate?match[]=" + url.QueryEscape("sum("))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a bad selector: got %s, want 400", resp.Status)
	}
}

// remoteRead asks by the protocol with which another Prometheus reads from us.
func remoteRead(t *testing.T, addr string) {
	now := time.Now().UnixMilli()
	resp := postProto(t, "http://"+addr+"/api/v1/read", &prompb.ReadRequest{Queries: []*prompb.Query{{
		StartTimestampMs: now - 3600_000, EndTimestampMs: now,
		Matchers: []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_EQ, Name: "__name__", Value: "shop_orders_total"}, {Type: prompb.LabelMatcher_EQ, Name: "dc", Value: "east"}},
	}}})
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %s, %v: %s", resp.Status, err, body)
	}
	raw, err := compression.Decode(compression.Snappy, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out prompb.ReadResponse
	if err := proto.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	if len(out.Results) != 1 || len(out.Results[0].Timeseries) != 2 || len(out.Results[0].Timeseries[0].Samples) == 0 {
		t.Errorf("got %v, want two series", &out)
	}
}
