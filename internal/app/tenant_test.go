package app_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/vedette-sre/vedette/internal/app"
)

// as asks a server with a token.
type as struct {
	base, token string
}

func (a as) ask(t *testing.T, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, a.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	if strings.HasPrefix(body, "{") || strings.HasPrefix(body, "[") {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(b)
}

func (a as) want(t *testing.T, code int, method, path, body string, header ...string) string {
	t.Helper()
	got, text := a.ask(t, method, path, body, header...)
	if got != code {
		t.Errorf("%s %s: got code %d, want %d: %s", method, path, got, code, text)
	}
	return text
}

func (a as) write(t *testing.T, series ...prompb.TimeSeries) {
	t.Helper()
	req := &prompb.WriteRequest{Timeseries: series, Metadata: []prompb.MetricMetadata{
		{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: series[0].Labels[0].Value, Help: "Help of " + series[0].Labels[0].Value}}}
	b, err := req.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	enc, err := compression.Encode(compression.Snappy, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	a.want(t, http.StatusNoContent, "POST", "/api/v1/write", string(enc), "Content-Encoding", "snappy", "Content-Type", "application/x-protobuf")
}

const (
	tokenA    = "token-of-a-0123456789"
	tokenB    = "token-of-b-0123456789"
	tokenRoot = "token-of-root-0123456789"
)

// twoTenants has a tenant a with everything, each part named marker-a or so, and
// a tenant b with nothing.
func twoTenants(t *testing.T) (s *app.Server, a, b, root as) {
	t.Helper()
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	s = startServer(t, map[string]string{
		"vedette.yml": `
auth:
  tokens:
    - {name: of-a, token: ` + tokenA + `, role: admin, tenant: a}
    - {name: of-b, token: ` + tokenB + `, role: admin, tenant: b}
    - {name: root, token: ` + tokenRoot + `, role: admin, tenant: "*"}
watch: false
tenants:
  a:
    prometheus: marker-a.yml
    alertmanager: marker-a-am.yml
    checks: [{name: marker-a check, url: '` + down.URL + `/marker-a', interval: 1s}]
  b: {}
`,
		"marker-a.yml": `
global: {scrape_interval: 1s, evaluation_interval: 1s, external_labels: {owner: marker-a}}
rule_files: [marker-a-rules.yml]
tracing: {endpoint: marker-a.example.org}
scrape_configs: [{job_name: marker-a, static_configs: [{targets: ['` + strings.TrimPrefix(down.URL, "http://") + `']}]}]
`,
		"marker-a-rules.yml": `groups: [{name: marker-a, rules: [{alert: marker-a-alert, expr: 'vector(1)', labels: {team: marker-a}}]}]`,
		"marker-a-am.yml": `
route: {receiver: marker-a, group_wait: 1ms, group_interval: 1s}
receivers: [{name: marker-a, webhook_configs: [{url: '` + down.URL + `/hook'}]}]
`,
	})
	base := s.URL()
	return s, as{base, tokenA}, as{base, tokenB}, as{base, tokenRoot}
}

// TestTwoTenants asks as b for all that a has, in every way that there is.
func TestTwoTenants(t *testing.T) {
	s, a, b, root := twoTenants(t)
	now := time.Now()
	a.write(t, prompb.TimeSeries{
		Labels:    wireLabels("__name__", "marker_a_total", "owner", "marker-a"),
		Samples:   []prompb.Sample{{Value: 1, Timestamp: now.UnixMilli()}},
		Exemplars: []prompb.Exemplar{{Labels: wireLabels("trace_id", "marker-a"), Value: 1, Timestamp: now.UnixMilli()}},
	})
	b.write(t, prompb.TimeSeries{Labels: wireLabels("__name__", "of_b_total"), Samples: []prompb.Sample{{Value: 7, Timestamp: now.UnixMilli()}}})

	silence := a.want(t, 200, "POST", "/api/v2/silences", `{"matchers":[{"name":"alertname","value":"other","isRegex":false,"isEqual":true}],
		"startsAt":"2026-01-01T00:00:00Z","endsAt":"2099-01-01T00:00:00Z","createdBy":"marker-a","comment":"marker-a"}`)
	var id struct{ SilenceID string }
	if err := json.Unmarshal([]byte(silence), &id); err != nil {
		t.Fatal(err)
	}
	a.want(t, 200, "POST", "/api/v2/alerts", `[{"labels":{"alertname":"posted-marker-a"}}]`)
	eventually(t, "a notification, a check run, a scrape", func() bool {
		_, ob := a.ask(t, "GET", "/api/v1/outbox", "")
		_, ck := a.ask(t, "GET", "/api/v1/checks/marker-a-check/runs", "")
		_, tg := a.ask(t, "GET", "/api/v1/targets", "")
		return strings.Contains(ob, "marker-a-alert") && strings.Contains(ck, "connect") && strings.Contains(tg, `"health":"down"`)
	})

	all := url.QueryEscape(`{__name__=~".+"}`)
	span := fmt.Sprintf("&start=%d&end=%d&step=1", now.Unix()-300, now.Unix()+60)
	paths := map[string]bool{ // whether a sees its marker there, so that the question has a point
		"/api/v1/query?query=" + all: true, "/api/v1/query_range?query=" + all + span: true, "/api/v1/series?match[]=" + all: true,
		"/api/v1/labels": false, "/api/v1/label/owner/values": true, "/api/v1/label/__name__/values": true, "/api/v1/metadata": false,
		"/api/v1/query_exemplars?query=marker_a_total" + span: true, "/api/v1/targets": true, "/api/v1/targets/metadata": false, "/api/v1/rules": true,
		"/api/v1/alerts": true, "/api/v1/alertmanagers": false, "/api/v1/scrape_pools": true, "/api/v1/status/tsdb": true, "/api/v1/status/config": true,
		"/api/v1/status/flags": true, "/api/v1/status/runtimeinfo": false, "/api/v1/status/buildinfo": false, "/api/v1/status/walreplay": false,
		"/api/v2/status": true, "/api/v2/silences": true, "/api/v2/silence/" + id.SilenceID: true, "/api/v2/alerts": true, "/api/v2/alerts/groups": true,
		"/api/v2/receivers": true, "/federate?match[]=" + all: true, "/metrics": true, "/api/v1/now": true, "/api/v1/checks": true,
		"/api/v1/checks/marker-a-check/runs": true, "/api/v1/outbox": true, "/api/v1/itself": true, "/api/v1/cardinality?topN=1000": true, "/api/v1/session": false,
	}
	for p, sees := range paths {
		if _, got := a.ask(t, "GET", p, ""); sees && !strings.Contains(got, "marker") {
			t.Errorf("a asks %s: got %.300s, want something of its own", p, got)
		}
		code, got := b.ask(t, "GET", p, "")
		got = strings.NewReplacer(`\"marker-a-check\"`, "", "marker_a_total", "").Replace(got) // what b asked for, said back
		if strings.Contains(got, "marker") && code != 404 {
			t.Errorf("b asks %s and sees a: %d %.400s", p, code, got)
		}
	}
	if got := b.want(t, 200, "GET", "/api/v1/label/__name__/values", ""); got != `{"status":"success","data":["of_b_total"]}` {
		t.Errorf("b has the metrics %s, want its own only", got)
	}
	if got := b.want(t, 200, "GET", "/metrics", ""); strings.Contains(got, "go_goroutines") {
		t.Error("b sees the metrics of the process")
	}

	// b changes nothing of a.
	b.want(t, 404, "GET", "/api/v2/silence/"+id.SilenceID, "")
	if code, got := b.ask(t, "DELETE", "/api/v2/silence/"+id.SilenceID, ""); code/100 == 2 {
		t.Errorf("b ends a silence of a: %d %s", code, got)
	}
	if got := a.want(t, 200, "GET", "/api/v2/silence/"+id.SilenceID, ""); !strings.Contains(got, `"active"`) {
		t.Errorf("a's silence is %s, want it active", got)
	}
	b.want(t, 404, "POST", "/api/v1/checks/marker-a-check/run", "")
	var page struct{ Notifications []struct{ ID string } }
	if err := json.Unmarshal([]byte(a.want(t, 200, "GET", "/api/v1/outbox", "")), &page); err != nil || len(page.Notifications) == 0 {
		t.Fatalf("the outbox of a: %v, %d notifications", err, len(page.Notifications))
	}
	b.want(t, 404, "POST", "/api/v1/outbox/"+page.Notifications[0].ID+"/retry", "")
	b.want(t, 204, "POST", "/api/v1/admin/tsdb/delete_series?match[]="+all, "")
	if got := a.want(t, 200, "GET", "/api/v1/query?query=marker_a_total", ""); !strings.Contains(got, "marker_a_total") {
		t.Errorf("b deleted series of a: %s", got)
	}

	// Nobody but root chooses.
	for _, who := range []as{a, b} {
		for _, other := range []string{"a", "b", "default"} {
			if code, _ := who.ask(t, "GET", "/api/v1/checks", "", "X-Vedette-Tenant", other); (code == 200) != (who.token == "token-of-"+other+"-0123456789") {
				t.Errorf("%s chooses %s: got %d", who.token, other, code)
			}
		}
		who.want(t, 403, "POST", "/-/reload", "")
		who.want(t, 403, "GET", "/debug/pprof/goroutine", "")
	}
	if got := root.want(t, 200, "GET", "/api/v1/checks", "", "X-Vedette-Tenant", "a"); !strings.Contains(got, "marker-a") {
		t.Errorf("root chooses a: got %s", got)
	}
	if got := root.want(t, 200, "GET", "/api/v1/checks", ""); strings.Contains(got, "marker-a") {
		t.Errorf("root without a choice sees a: %s", got)
	}
	root.want(t, 404, "GET", "/api/v1/checks", "", "X-Vedette-Tenant", "../a")
	if got := root.want(t, 200, "GET", "/api/v1/session", ""); !strings.Contains(got, `"tenants":["a","b","default"]`) {
		t.Errorf("root sees %s, want all tenants", got)
	}

	t.Run("live", func(t *testing.T) { live(t, a, b) })
	t.Run("backup", func(t *testing.T) {
		if got := archive(t, a); !strings.Contains(got, "marker-a") {
			t.Error("the backup of a holds nothing of a")
		}
		if got := archive(t, b); strings.Contains(got, "marker") {
			t.Error("the backup of b holds something of a")
		}
	})
	t.Run("idle", func(t *testing.T) { idle(t, s, b, root) })
}

// live listens as both: a's check runs each second, b has none.
func live(t *testing.T, a, b as) {
	ctx, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond)
	defer cancel()
	listen := func(who as) chan string {
		out := make(chan string, 1)
		go func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", who.base+"/api/v1/live", nil)
			req.Header.Set("Authorization", "Bearer "+who.token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				out <- err.Error()
				return
			}
			defer resp.Body.Close()
			got, _ := io.ReadAll(resp.Body) // ends with ctx
			out <- string(got)
		}()
		return out
	}
	ca, cb := listen(a), listen(b)
	if got := <-ca; !strings.Contains(got, `"checks"`) {
		t.Errorf("a heard %q, want its checks", got)
	}
	if got := <-cb; strings.Contains(got, `"checks"`) || strings.Contains(got, `"outbox"`) || !strings.Contains(got, "hello") {
		t.Errorf("b heard %q, want nothing of a", got)
	}
}

// archive is the text of a backup, unpacked.
func archive(t *testing.T, who as) string {
	t.Helper()
	zr, err := gzip.NewReader(strings.NewReader(who.want(t, 200, "POST", "/api/v1/admin/backup", "")))
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	tr := tar.NewReader(zr)
	for {
		hd, err := tr.Next()
		if err == io.EOF {
			return all.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(hd.Name)
		if _, err := io.Copy(&all, tr); err != nil {
			t.Fatal(err)
		}
	}
}

// idle closes b, which has no work of its own; a request opens it again with all
// that it kept.
func idle(t *testing.T, s *app.Server, b, root as) {
	b.write(t, prompb.TimeSeries{Labels: wireLabels("__name__", "kept"), Samples: []prompb.Sample{{Value: 3, Timestamp: time.Now().UnixMilli()}}})
	open := func() map[string]bool {
		t.Helper()
		var v struct {
			Tenants []struct {
				Name string
				Open bool
			}
		}
		if err := json.Unmarshal([]byte(root.want(t, 200, "GET", "/api/v1/itself", "")), &v); err != nil {
			t.Fatal(err)
		}
		m := map[string]bool{}
		for _, x := range v.Tenants {
			m[x.Name] = x.Open
		}
		return m
	}
	if got := open(); !got["a"] || !got["b"] {
		t.Fatalf("open are %v, want a and b", got)
	}
	s.CloseIdle(time.Now().Add(time.Hour))
	if got := open(); !got["a"] || got["b"] {
		t.Errorf("after an idle hour open are %v, want a, which has work, and not b", got)
	}
	if got := b.want(t, 200, "GET", "/api/v1/query?query=kept", ""); !strings.Contains(got, `"3"`) {
		t.Errorf("b asks for what it kept: got %s", got)
	}
	if got := open(); !got["b"] {
		t.Errorf("after a request open are %v, want b too", got)
	}
	// Requests and the closing of what is idle, all at once.
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			s.CloseIdle(time.Now().Add(time.Hour))
		}
	}()
	for range 20 {
		b.want(t, 200, "GET", "/api/v1/query?query=kept", "")
	}
	<-done
}

// TestTenantDirectories tells that a tenant is a directory, and no more.
func TestTenantDirectories(t *testing.T) {
	dir := t.TempDir()
	s := startIn(t, dir, nil, map[string]string{"vedette.yml": "watch: false\ntenants: {a: {}, b: {}}\n"})
	if got, err := filepath.Glob(filepath.Join(dir, "data", "*", "metrics")); err != nil || len(got) != 0 {
		t.Errorf("before a request: %v %v, want no tenant opened", got, err)
	}
	root := as{base: s.URL()}
	root.want(t, 200, "GET", "/api/v1/checks", "", "X-Vedette-Tenant", "b")
	got, err := filepath.Glob(filepath.Join(dir, "data", "*", "metrics"))
	if err != nil || len(got) != 1 || got[0] != filepath.Join(dir, "data", "b", "metrics") {
		t.Errorf("after a request for b: %v %v, want only data/b", got, err)
	}
}
