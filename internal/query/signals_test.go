package query_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// signalsEnd is when the series of these tests end.
var signalsEnd = time.Now().Truncate(15 * time.Second)

// goes writes half an hour of a series that starts at from and grows by step
// every 15 s, up to ago before the end.
func (r *rig) goes(ls labels.Labels, from, step float64, ago time.Duration) {
	r.t.Helper()
	app := r.store.Appender(context.Background())
	const n = 120
	for i := range n {
		at := signalsEnd.Add(-ago - time.Duration(n-1-i)*15*time.Second)
		if _, err := app.Append(0, ls, at.UnixMilli(), from+step*float64(i)); err != nil {
			r.t.Fatalf("append %s: %v", ls, err)
		}
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// old writes where a series stood in the seven hours before, each five minutes.
func (r *rig) old(ls labels.Labels, from, step float64) {
	r.t.Helper()
	app := r.store.Appender(context.Background())
	for i := range 78 {
		ago := 7*time.Hour - time.Duration(i)*5*time.Minute
		if _, err := app.Append(0, ls, signalsEnd.Add(-ago).UnixMilli(), from-step*float64((ago-30*time.Minute)/(15*time.Second))); err != nil {
			r.t.Fatalf("append %s: %v", ls, err)
		}
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// native is the same for a native histogram of 10 more observations each.
func (r *rig) native(ls labels.Labels) {
	r.t.Helper()
	app := r.store.Appender(context.Background())
	const n = 120
	for i := range n {
		at := signalsEnd.Add(-time.Duration(n-1-i) * 15 * time.Second)
		c := uint64(10 * (i + 1))
		h := &histogram.Histogram{Schema: 0, Count: c, Sum: float64(c), ZeroThreshold: 1e-9,
			PositiveSpans: []histogram.Span{{Offset: 0, Length: 1}}, PositiveBuckets: []int64{int64(c)}}
		if _, err := app.AppendHistogram(0, ls, at.UnixMilli(), h, nil); err != nil {
			r.t.Fatalf("append %s: %v", ls, err)
		}
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// load writes the series of a file.
func (r *rig) load(path string) {
	r.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	p := parser.NewParser(parser.Options{})
	for sc := bufio.NewScanner(f); sc.Scan(); {
		text := sc.Text()
		if text == "" || text[0] == '#' {
			continue
		}
		cut := strings.LastIndex(text, "}") + 1
		ls, err := p.ParseMetric(text[:cut])
		if err != nil {
			r.t.Fatalf("%s: %v", text, err)
		}
		var from, step float64
		if _, err := fmt.Sscan(text[cut:], &from, &step); err != nil {
			r.t.Fatalf("%s: %v", text, err)
		}
		r.goes(ls, from, step, 0)
		if strings.Contains(ls.Get(labels.MetricName), "_filesystem_") {
			r.old(ls, from, step)
		}
	}
}

// value asks at the end of the series.
func (r *rig) value(expr string) promql.Vector {
	r.t.Helper()
	q, err := r.no.Users.NewInstantQuery(context.Background(), r.store, nil, expr, signalsEnd)
	if err != nil {
		r.t.Errorf("%s: %v", expr, err)
		return nil
	}
	defer q.Close()
	res := q.Exec(context.Background())
	if res.Err != nil {
		r.t.Errorf("%s: %v", expr, res.Err)
		return nil
	}
	for _, w := range res.Warnings.AsErrors() {
		// An exporter's counter may have another's name; more than that is a fault.
		if errors.Is(w, annotations.PromQLWarning) {
			r.t.Errorf("%s: %v", expr, w)
		}
	}
	v, _ := res.Vector()
	return v
}

func (r *rig) entities() []query.Entity {
	r.t.Helper()
	es, err := query.Entities(context.Background(), r.store, signalsEnd)
	if err != nil {
		r.t.Fatal(err)
	}
	return es
}

func (r *rig) panels(e query.Entity) []query.Panel {
	r.t.Helper()
	ps, err := e.Panels(context.Background(), r.store, signalsEnd, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return ps
}

func ls(ss ...string) labels.Labels { return labels.FromStrings(ss...) }

// TestSignalsOfExporters holds every expression of the table against what its
// exporter says: each is shown for some sender, parses and has data.
func TestSignalsOfExporters(t *testing.T) {
	r := newRig(t, metric.Config{OutOfOrder: 8 * time.Hour}, -1)
	r.load("testdata/signals.series")
	shown := map[string]bool{}
	var found []string
	es := r.entities()
	for _, e := range es {
		found = append(found, fmt.Sprintf("%s %s by %s", e.Kind, e.Name, strings.Join(e.Sources, ", ")))
		signals := map[query.Signal]bool{}
		for _, p := range r.panels(e) {
			signals[p.Signal] = true
			for _, q := range p.PromQL {
				shown[q.Expr] = true
				if len(r.value(q.Expr)) == 0 {
					t.Errorf("%s %s, %s: no data for %s", e.Kind, e.Name, p.Title, q.Expr)
				}
			}
		}
		if len(signals) < 2 {
			t.Errorf("%s %s: shows %v, want more signals than one", e.Kind, e.Name, slices.Collect(maps.Keys(signals)))
		}
	}
	want := []string{
		"service counter by Prometheus client libraries", "service dotted by Prometheus client libraries", "service full by Prometheus client libraries",
		"service ledger by gRPC middleware", "service mailer by instrument/golden", "service plain by Prometheus client libraries", "service printer by instrument/golden",
		"endpoint pricing by Envoy", "endpoint shop · shop.example.org by ingress-nginx", "endpoint shop@docker by Traefik", "endpoint web by HAProxy",
		"host 10.0.0.1:9100 by node_exporter", "host web-1 by OpenTelemetry system metrics", "host web-2 by OpenTelemetry system metrics",
		"queue letters · mailer by instrument/golden", "queue mail · / by RabbitMQ", "queue orders · billing by Kafka consumer group", "queue r:15693 by RabbitMQ", "queue sms · / by RabbitMQ",
		"database db:9187 by PostgreSQL", "database my8:9104 by MySQL", "database my:9104 by MySQL", "database old:9187 by PostgreSQL", "database r:9121 by Redis",
	}
	if !slices.Equal(found, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"))
	}
	// The same names with native histograms behind them.
	r.native(ls("__name__", "queue_wait_duration_seconds", "job", "native", "queue", "q"))
	r.native(ls("__name__", "stage_duration_seconds", "job", "native", "stage", "s"))
	r.goes(ls("__name__", "queue_oldest_age_seconds", "job", "native", "queue", "q"), 1, 0, 0)
	r.goes(ls("__name__", "stage_out_total", "job", "native", "stage", "s"), 0, 1, 0)
	for _, e := range r.entities() {
		if e.Labels["job"] != "native" {
			continue
		}
		es = append(es, e)
		for _, p := range r.panels(e) {
			for _, q := range p.PromQL {
				shown[q.Expr] = true
				if len(r.value(q.Expr)) == 0 {
					t.Errorf("%s %s, %s: no data for %s", e.Kind, e.Name, p.Title, q.Expr)
				}
			}
		}
	}
	for _, l := range query.TableLines() {
		if l.Requests || strings.HasPrefix(l.Template, "sum by (") && strings.Contains(l.Template, "<http_requests_total>") {
			continue // TestSignalsOfRequests
		}
		if l.Title == "HTTP requests that failed" {
			continue // the same
		}
		if !slices.ContainsFunc(es, func(e query.Entity) bool { return shown[query.Written(e, l.Template)] }) {
			t.Errorf("%s, %s: no sender shows %s", l.Source, l.Title, l.Template)
		}
	}
}

// TestSignalsOfRequests makes each histogram of requests in each form with each
// label that tells failures and routes.
func TestSignalsOfRequests(t *testing.T) {
	r := newRig(t, metric.Config{}, -1)
	type made struct {
		base, form, code, route string
		ms                      bool
	}
	var all []made
	job := func(m made) string { return strings.Join([]string{m.base, m.form, m.code, m.route}, " ") }
	good := func(code string) string {
		switch {
		case strings.Contains(code, "type"):
			return "" // what went well has no type of error
		case code == "outcome":
			return "SUCCESS"
		case strings.Contains(code, "grpc") && strings.Contains(code, "status"):
			return "0"
		case strings.HasPrefix(code, "grpc") || strings.HasPrefix(code, "rpc"):
			return "OK"
		}
		return "200"
	}
	bad := func(code string) string {
		switch {
		case strings.Contains(code, "type"):
			return "timeout"
		case code == "outcome":
			return "SERVER_ERROR"
		case strings.Contains(code, "grpc") && strings.Contains(code, "status"):
			return "14"
		case strings.HasPrefix(code, "grpc") || strings.HasPrefix(code, "rpc"):
			return "UNAVAILABLE"
		}
		return "503"
	}
	for i, b := range query.RequestBases() {
		codes := []string{query.ErrorLabels()[0]}
		if i == 0 {
			codes = query.ErrorLabels()
		}
		for j, code := range codes {
			route := query.RouteLabels()[min(j, len(query.RouteLabels())-1)]
			for _, form := range []string{"native", "classic", "summary", "count"} {
				m := made{b.Name, form, code, route, b.MS}
				all = append(all, m)
				for _, value := range []string{good(code), bad(code)} {
					id := []string{"job", job(m), "instance", "a", route, "/x", code, value}
					with := func(name string, more ...string) labels.Labels {
						return labels.FromStrings(append(append([]string{"__name__", name}, id...), more...)...)
					}
					if form == "native" {
						r.native(with(b.Name))
						continue
					}
					r.goes(with(b.Name+"_count"), 0, 10, 0)
					r.goes(with(b.Name+"_sum"), 0, 10, 0)
					switch form {
					case "classic":
						r.goes(with(b.Name+"_bucket", "le", "1"), 0, 10, 0)
						r.goes(with(b.Name+"_bucket", "le", "+Inf"), 0, 10, 0)
					case "summary":
						r.goes(with(b.Name, "quantile", "0.99"), 1, 0, 0)
					}
				}
			}
		}
	}
	es := r.entities()
	by := map[string]query.Entity{}
	for _, e := range es {
		by[e.Labels["job"]] = e
	}
	for _, m := range all {
		e, ok := by[job(m)]
		if !ok {
			t.Errorf("%s is not found", job(m))
			continue
		}
		got := map[query.Signal]query.Panel{}
		for _, p := range r.panels(e) {
			got[p.Signal] = p
			for _, q := range p.PromQL {
				if len(r.value(q.Expr)) == 0 {
					t.Errorf("%s: no data for %s", job(m), q.Expr)
				}
			}
		}
		want := map[string]string{"native": "heatmap", "classic": "heatmap", "summary": "lines", "count": "lines"}[m.form]
		if p := got[query.Latency]; p.Kind != want || (p.Unit == "ms") != m.ms {
			t.Errorf("%s: latency is %q in %q, want %s", job(m), p.Kind, p.Unit, want)
		}
		if _, ok := got[query.Detail]; !ok {
			t.Errorf("%s: no panel by %s", job(m), m.route)
		}
		if v := r.value(got[query.Traffic].PromQL[0].Expr); len(v) != 1 || v[0].F < 1.3 || v[0].F > 1.4 {
			t.Errorf("%s: traffic is %v, want 20 requests in 15 s", job(m), v)
		}
		if m.base == "grpc_server_handling_seconds" {
			continue // its failures are told by grpc_server_handled_total
		}
		if len(got[query.Errors].PromQL) == 0 {
			t.Errorf("%s: no errors by %s", job(m), m.code)
		} else if v := r.value(got[query.Errors].PromQL[0].Expr); len(v) != 1 || v[0].F < 0.49 || v[0].F > 0.51 {
			t.Errorf("%s: errors are %v, want a half: %s", job(m), v, got[query.Errors].PromQL[0].Expr)
		}
	}
	if len(es) != len(all) {
		t.Errorf("found %d services, want %d", len(es), len(all))
	}
}

// TestSignalsIdentity holds apart what only looks alike.
func TestSignalsIdentity(t *testing.T) {
	r := newRig(t, metric.Config{}, -1)
	const name = "http_server_request_duration_seconds_count"
	r.goes(ls("__name__", name, "job", "a", "instance", "1"), 0, 1, 0)
	r.goes(ls("__name__", name, "job", "a", "instance", "2"), 0, 1, 0)
	r.goes(ls("__name__", name, "job", "b", "service_name", "front", "namespace", "prod"), 0, 1, 0)
	r.goes(ls("__name__", name, "job", "b", "service_name", "front", "namespace", "test"), 0, 1, 0)
	r.goes(ls("__name__", name, "job", "gone"), 0, 1, 16*time.Minute)
	r.goes(ls("__name__", name, "job", "ended"), 0, 1, 15*time.Second)
	app := r.store.Appender(context.Background())
	app.Append(0, ls("__name__", name, "job", "ended"), signalsEnd.UnixMilli(), math.Float64frombits(value.StaleNaN))
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	r.goes(ls("__name__", name), 0, 1, 0) // says nothing of who it is
	r.goes(ls("__name__", "unrelated", "job", "c"), 0, 1, 0)
	var got []string
	for _, e := range r.entities() {
		got = append(got, fmt.Sprint(e.Name, e.Labels))
		if e.Interval != 15*time.Second || e.Window(0) != time.Minute || e.Window(5*time.Minute) != 5*time.Minute {
			t.Errorf("%s: interval %v, windows %v and %v; want 15s, 1m and 5m", e.Name, e.Interval, e.Window(0), e.Window(5*time.Minute))
		}
	}
	want := []string{"a" + fmt.Sprint(map[string]string{"job": "a"}),
		"front · prod" + fmt.Sprint(map[string]string{"namespace": "prod", "service_name": "front"}),
		"front · test" + fmt.Sprint(map[string]string{"namespace": "test", "service_name": "front"})}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	of := func(kind query.EntityKind, id map[string]string) (query.Entity, error) {
		return query.EntityOf(context.Background(), r.store, signalsEnd, kind, id)
	}
	if e, err := of(query.KindService, map[string]string{"service_name": "front", "namespace": "test"}); err != nil || e.Name != "front · test" {
		t.Errorf("one by its labels: got %v, %v", e.Name, err)
	}
	for _, c := range []struct {
		kind query.EntityKind
		id   map[string]string
		want record.Kind
	}{
		{query.KindService, map[string]string{"job": "gone"}, record.NotFound},
		{query.KindService, map[string]string{"service_name": "front"}, record.NotFound},
		{query.KindService, map[string]string{"colour": "red"}, record.Invalid},
		{query.KindService, nil, record.Invalid},
		{"planet", map[string]string{"job": "a"}, record.Invalid},
	} {
		if _, err := of(c.kind, c.id); record.KindOf(err) != c.want {
			t.Errorf("%s %v: got %v, want kind %v", c.kind, c.id, err, c.want)
		}
	}
}

// TestSignalsOnce shows what two habits of one service tell alike only once.
func TestSignalsOnce(t *testing.T) {
	r := newRig(t, metric.Config{}, -1)
	r.goes(ls("__name__", "http_requests_total", "job", "a", "code", "200"), 0, 15, 0)
	r.goes(ls("__name__", "http_request_duration_seconds_count", "job", "a", "code", "200"), 0, 15, 0)
	r.goes(ls("__name__", "rpc_server_duration_seconds_count", "job", "a"), 0, 15, 0)
	es := r.entities()
	if len(es) != 1 {
		t.Fatalf("found %v, want one", es)
	}
	var got []string
	for _, p := range r.panels(es[0]) {
		got = append(got, string(p.Signal)+" "+p.Title)
	}
	want := []string{"traffic HTTP requests", "traffic RPC requests", "errors HTTP requests that failed"}
	if !slices.Equal(got, want) {
		t.Errorf("shows %q, want %q", got, want)
	}
}

// TestSignalsNoGuess leaves out errors where the label that usually tells them
// holds something else.
func TestSignalsNoGuess(t *testing.T) {
	r := newRig(t, metric.Config{}, -1)
	r.goes(ls("__name__", "http_requests_total", "job", "words", "status", "failed"), 0, 15, 0)
	r.goes(ls("__name__", "http_requests_total", "job", "classes", "status", "2xx"), 0, 15, 0)
	for _, e := range r.entities() {
		has := slices.ContainsFunc(r.panels(e), func(p query.Panel) bool { return p.Signal == query.Errors })
		if want := e.Name == "classes"; has != want {
			t.Errorf("%s: shows errors is %v, want %v", e.Name, has, want)
		}
	}
	fs, err := query.Overview(context.Background(), r.store, signalsEnd, r.entities())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fs {
		for _, s := range r.value(f.Expr) {
			if s.Metric.Get("job") == "words" && f.Column == query.ColErrors {
				t.Errorf("the list guesses errors by %s", f.Expr)
			}
		}
	}
}

// TestSignalsQuoting keeps what labels hold from becoming PromQL.
func TestSignalsQuoting(t *testing.T) {
	r := newRig(t, metric.Config{}, -1)
	const evil = "a\"} or vector(1) or up{x=\"\\"
	r.goes(ls("__name__", "http_requests_total", "job", evil, "code", "500"), 0, 15, 0)
	r.goes(ls("__name__", "http.server.request.duration_count", "service.name", evil, "http.response.status_code", "500"), 0, 15, 0)
	es := r.entities()
	if len(es) != 2 {
		t.Fatalf("found %v, want two", es)
	}
	for _, e := range es {
		for _, p := range r.panels(e) {
			for _, q := range p.PromQL {
				if v := r.value(q.Expr); len(v) != 1 || v[0].F < 0.99 || v[0].F > 1.01 {
					t.Errorf("%s: got %v, want 1", q.Expr, v)
				}
			}
		}
	}
	fs, err := query.Overview(context.Background(), r.store, signalsEnd, es)
	if err != nil || len(fs) != 4 {
		t.Fatalf("the overview has %v, %v; want rate and errors of both", fs, err)
	}
	for _, f := range fs {
		if v := r.value(f.Expr); len(v) != 1 || v[0].F < 0.99 || v[0].F > 1.01 || v[0].Metric.Get(f.By[0]) != evil {
			t.Errorf("%s: got %v, want 1", f.Expr, v)
		}
	}
}

func TestSignalsOverview(t *testing.T) {
	r := newRig(t, metric.Config{OutOfOrder: 8 * time.Hour}, -1)
	r.load("testdata/signals.series")
	es := r.entities()
	fs, err := query.Overview(context.Background(), r.store, signalsEnd, es)
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string][]string{}
	for _, f := range fs {
		for _, s := range r.value(f.Expr) {
			who := make([]string, len(f.By))
			for i, l := range f.By {
				who[i] = s.Metric.Get(l)
			}
			key := fmt.Sprint(f.Kind, who)
			if !slices.Contains(columns[key], string(f.Column)) {
				columns[key] = append(columns[key], string(f.Column))
			}
		}
	}
	for _, c := range []struct{ who, want string }{
		{"service[counter]", "errors rate saturation"}, {"service[ledger]", "errors rate"}, {"endpoint[pricing]", "errors p99 rate"},
		{"host[10.0.0.1:9100]", "saturation"}, {"host[web-1]", "saturation"}, {"queue[billing orders]", "depth rate"}, {"queue[mail /]", "depth rate"},
		{"database[db:9187]", "rate saturation up"}, {"database[my:9104]", "rate saturation up"}, {"database[r:9121]", "rate saturation up"},
	} {
		got := columns[c.who]
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: columns %v, want %s", c.who, got, c.want)
		}
	}
}

func TestSignalsJudge(t *testing.T) {
	f := func(set map[query.Column]float64, want string) {
		t.Helper()
		var x query.Figures
		for c, v := range set {
			x.Set(c, v, "CPU")
		}
		if got, why := query.DefaultThresholds.Judge(x); got != want || (why == "") != (want == "ok") {
			t.Errorf("%v: got %s because %q, want %s", set, got, why, want)
		}
	}
	type m = map[query.Column]float64
	f(m{}, "ok")
	f(m{query.ColRate: 10, query.ColErrors: 0.009}, "ok")
	f(m{query.ColRate: 10, query.ColErrors: 0.01}, "warning")
	f(m{query.ColRate: 10, query.ColErrors: 0.05}, "page")
	f(m{query.ColRate: 0.01, query.ColErrors: 1}, "ok") // one request in 100 s
	f(m{query.ColErrors: 1}, "ok")
	f(m{query.ColSaturation: 0.89}, "ok")
	f(m{query.ColSaturation: 0.9}, "warning")
	f(m{query.ColSaturation: 0.99, query.ColRate: 10, query.ColErrors: 0.02}, "page")
	f(m{query.ColDepth: 5, query.ColRate: 0}, "warning")
	f(m{query.ColDepth: 0, query.ColRate: 0}, "ok")
	f(m{query.ColDepth: 5}, "ok")
	f(m{query.ColUp: 1}, "ok")
	f(m{query.ColUp: 0}, "page")
}
