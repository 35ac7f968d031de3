package notify_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/notify"
)

func (r *rig) do(method, path string, body any) (int, []byte) {
	r.t.Helper()
	var buf bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&buf).Encode(body); err != nil {
			r.t.Fatal(err)
		}
	}
	req := httptest.NewRequest(method, path, &buf)
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, req)
	return rec.Code, rec.Body.Bytes()
}

func getJSON[T any](t testing.TB, r *rig, path string) T {
	t.Helper()
	var v T
	code, body := r.do(http.MethodGet, path, nil)
	if code != 200 {
		t.Fatalf("GET %s: %d %s", path, code, body)
	}
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("GET %s: %v: %s", path, err, body)
	}
	return v
}

func silenceOf(name string) map[string]any {
	now := time.Now()
	return map[string]any{
		"matchers":  []map[string]any{{"name": "alertname", "value": name, "isRegex": false, "isEqual": true}},
		"startsAt":  now.Add(-time.Second).Format(time.RFC3339Nano),
		"endsAt":    now.Add(time.Hour).Format(time.RFC3339Nano),
		"createdBy": "test", "comment": "quiet",
	}
}

func (r *rig) silence(name string) string {
	r.t.Helper()
	code, body := r.do(http.MethodPost, "/api/v2/silences", silenceOf(name))
	var v struct{ SilenceID string }
	if err := json.Unmarshal(body, &v); code != 200 || err != nil {
		r.t.Fatalf("POST silences: %d %s", code, body)
	}
	return v.SilenceID
}

// The calls of amtool and of a foreign Prometheus.
func TestAPI(t *testing.T) {
	hook := newFake(t)
	file := filepath.Join(t.TempDir(), "state.db")
	config := strings.Replace(webhookConfig(hook.URL), "url: '", "url: 'http://user:hunter2@", 1)
	config = strings.Replace(config, "hunter2@http://", "hunter2@", 1)
	r := open(t, file, config).run()

	code, body := r.do(http.MethodPost, "/api/v2/alerts", []map[string]any{
		{"labels": map[string]string{"alertname": "Foreign", "job": "x"}, "annotations": map[string]string{"a": "b"}, "generatorURL": "http://prometheus/graph"},
	})
	if code != 200 {
		t.Fatalf("POST alerts: %d %s", code, body)
	}
	hook.next(t)
	code, body = r.do(http.MethodPost, "/alerts", []map[string]any{{"labels": map[string]string{"alertname": "NoPrefix"}}})
	if code != 200 {
		t.Errorf("POST without the prefix: %d %s", code, body)
	}
	hook.next(t)
	if code, _ := r.do(http.MethodPost, "/api/v2/alerts", []map[string]any{{"labels": map[string]string{}}}); code != 400 {
		t.Errorf("POST of an alert without labels: got %d want 400", code)
	}
	alerts := getJSON[[]map[string]any](t, r, "/api/v2/alerts?filter="+`alertname%3D%22Foreign%22`)
	if len(alerts) != 1 || alerts[0]["status"].(map[string]any)["state"] != "active" {
		t.Errorf("alerts: %v", alerts)
	}
	if groups := getJSON[[]map[string]any](t, r, "/api/v2/alerts/groups"); len(groups) != 2 {
		t.Errorf("groups: got %d want 2: %v", len(groups), groups)
	}
	if got := getJSON[[]map[string]any](t, r, "/api/v2/receivers"); len(got) != 1 || got[0]["name"] != "hook" {
		t.Errorf("receivers: %v", got)
	}
	status := getJSON[map[string]any](t, r, "/api/v2/status")
	if text := fmt.Sprint(status["config"]); strings.Contains(text, "hunter2") || !strings.Contains(text, "receiver: hook") {
		t.Errorf("status shows the configuration as %s", text)
	}

	id := r.silence("Foreign")
	alerts = getJSON[[]map[string]any](t, r, "/api/v2/alerts?filter="+`alertname%3D%22Foreign%22`)
	if alerts[0]["status"].(map[string]any)["state"] != "suppressed" {
		t.Errorf("silenced alert: %v", alerts[0]["status"])
	}
	for _, a := range r.Alerts(t.Context()) {
		if got, want := a.Suppressed(), a.Labels["alertname"] == "Foreign"; got != want {
			t.Errorf("%v suppressed: got %t want %t", a.Labels, got, want)
		}
	}
	bad := silenceOf("x")
	bad["endsAt"] = bad["startsAt"]
	if code, _ := r.do(http.MethodPost, "/api/v2/silences", bad); code != 400 {
		t.Errorf("silence without length: got %d want 400", code)
	}

	// The silence survives kill -9, and so does its end.
	r.settled()
	r.crash()
	r = open(t, file, config).run()
	if got := getJSON[map[string]any](t, r, "/api/v2/silence/"+id); got["status"].(map[string]any)["state"] != "active" {
		t.Errorf("silence after the crash: %v", got)
	}
	if code, body := r.do(http.MethodDelete, "/api/v2/silence/"+id, nil); code != 200 {
		t.Errorf("DELETE silence: %d %s", code, body)
	}
	if err := r.Compact(); err != nil {
		t.Error(err)
	}
	r.crash()
	r = open(t, file, config).run()
	if got := getJSON[[]map[string]any](t, r, "/api/v2/silences"); len(got) != 1 || got[0]["status"].(map[string]any)["state"] != "expired" {
		t.Errorf("silences after the second crash: %v", got)
	}
	r.stop()
	if code, _ := r.do(http.MethodPost, "/api/v2/silences", silenceOf("late")); code != 503 {
		t.Errorf("silence after the end: got %d want 503", code)
	}
	if code, _ := r.do(http.MethodPost, "/api/v2/alerts", []map[string]any{{"labels": map[string]string{"alertname": "late"}}}); code != 503 {
		t.Errorf("alert after the end: got %d want 503", code)
	}
	hook.quiet(t)
}

// Two tenants in one process see nothing of each other.
func TestTwoNotifiers(t *testing.T) {
	hookA, hookB := newFake(t), newFake(t)
	// The second allows itself one connection, which must not lock it up.
	one := func(o *notify.Options) { o.DB.SetMaxOpenConns(1) }
	a, b := start(t, webhookConfig(hookA.URL)), start(t, webhookConfig(hookB.URL), one)
	a.silence("Quiet")
	a.put(firing("alertname", "OnlyA"))
	hookA.next(t)
	b.put(firing("alertname", "Quiet"))
	hookB.next(t)
	if got := len(b.Alerts(t.Context())); got != 1 {
		t.Errorf("alerts of b: got %d want 1", got)
	}
	if got := getJSON[[]any](t, b, "/api/v2/silences"); len(got) != 0 {
		t.Errorf("silences of b: %v", got)
	}
	a.settled()
	if got := len(b.settled()); got != 1 {
		t.Errorf("outbox of b: got %d want 1", got)
	}
	hookA.quiet(t)
	hookB.quiet(t)
}

func TestDefaultConfigTellsNobody(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "state.db"), "").run()
	r.put(firing("alertname", "Down"))
	r.until("the alert is in its group", func() bool { return groupCount(t, r) == 1 })
	if got := r.outbox(); len(got.Notifications) != 0 || len(got.Counts) != 5 {
		t.Errorf("outbox: %+v", got)
	}
	if got := r.Config().Receivers(); len(got) != 1 || len(got[0].Integrations) != 0 || !got[0].Routed {
		t.Errorf("receivers: %+v", got)
	}
	if _, err := r.Outbox(t.Context(), notify.OutboxFilter{Status: "odd"}); err == nil {
		t.Error("an odd status is taken")
	}
}
