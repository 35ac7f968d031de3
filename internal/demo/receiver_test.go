package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	amreceiver "github.com/prometheus/alertmanager/config/receiver"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"
)

func testReceiver(t *testing.T, states ...FaultState) (*receiver, *httptest.Server) {
	t.Helper()
	faults := &switches{}
	faults.set(states)
	rc := newReceiver(faults, slog.New(slog.DiscardHandler))
	srv := httptest.NewServer(rc.handler(portsFrom(0)))
	t.Cleanup(srv.Close)
	return rc, srv
}

func faultState(t *testing.T, name string) FaultState {
	t.Helper()
	for _, f := range Faults() {
		if f.Name == name {
			return FaultState{FaultInfo: f}
		}
	}
	t.Fatalf("no fault %q", name)
	return FaultState{}
}

// Alertmanager's own notifiers are content with each form's answers, and what
// they send is understood: firing, then resolved.
func TestReceiverTakesAllForms(t *testing.T) {
	on := faultState(t, QueueStuck)
	on.On, on.OnAt = true, time.Now().Add(-20*time.Second)
	rc, srv := testReceiver(t, on)
	conf, err := amconfig.Load(strings.ReplaceAll(`
route: {receiver: all}
receivers:
  - name: all
    webhook_configs: [{url: URL/webhook}]
    telegram_configs: [{api_url: URL/telegram, bot_token: '1:x', chat_id: 7, parse_mode: ''}]
    opsgenie_configs: [{api_url: URL/opsgenie, api_key: k, update_alerts: true}]
    pagerduty_configs: [{url: URL/pagerduty/v2/enqueue, routing_key: k, send_resolved: true}]
    slack_configs: [{api_url: URL/slack, channel: c, send_resolved: true}]
`, "URL", srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := template.FromGlobs(nil)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.ExternalURL = &url.URL{Scheme: "http", Host: "vedette"}
	integrations, err := amreceiver.BuildReceiverIntegrations(conf.Receivers[0], tmpl, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	group := model.LabelSet{"alertname": "QueueStuck", "service": "queue"}
	a := &alert.Alert{Alert: model.Alert{
		Labels:      model.LabelSet{"alertname": "QueueStuck", "service": "queue", "queue": "orders", "severity": "page"},
		Annotations: model.LabelSet{"summary": "The oldest message is 20s old"},
		StartsAt:    time.Now().Add(-time.Minute),
	}}
	ctx := notify.WithGroupKey(context.Background(), "{}:{alertname=\"QueueStuck\"}")
	ctx = notify.WithGroupLabels(ctx, group)
	ctx = notify.WithReceiverName(ctx, "all")
	for _, want := range []string{"firing", "resolved"} {
		if want == "resolved" {
			a.EndsAt = time.Now().Add(-time.Second)
		}
		for _, in := range integrations {
			if _, err := in.Notify(ctx, a); err != nil {
				t.Errorf("%s, %s: %v", in.Name(), want, err)
			}
			got := rc.newest(0, 1)[0]
			if in.Name() == "opsgenie" && want == "firing" {
				// Its last call is the update of the description.
				got = rc.newest(0, 3)[2]
			}
			if got.Form != in.Name() || got.Status != want {
				t.Errorf("%s: got form %s, status %s, want status %s", in.Name(), got.Form, got.Status, want)
			}
			if len(got.Alerts) != 1 || got.Alerts[0].Name != "QueueStuck" || got.Alerts[0].Status != want {
				t.Errorf("%s, %s: got alerts %+v", in.Name(), want, got.Alerts)
			}
			if got.Fault != QueueStuck || got.SecondsSinceOn == nil || *got.SecondsSinceOn < 20 || *got.SecondsSinceOn > 40 {
				t.Errorf("%s, %s: got fault %q, seconds %v", in.Name(), want, got.Fault, got.SecondsSinceOn)
			}
		}
	}
}

func post(t *testing.T, url, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp
}

const oneAlert = `{"version":"4","status":"firing","groupKey":"g","alerts":[{"status":"firing","labels":{"alertname":"A"},"annotations":{"summary":"s"}}]}`

func TestReceiverMarksDuplicates(t *testing.T) {
	rc, srv := testReceiver(t)
	for _, key := range []string{"k1", "k2", "k1", "", ""} {
		if resp := post(t, srv.URL+"/webhook", oneAlert, "Idempotency-Key", key); resp.StatusCode != 200 {
			t.Fatalf("key %q: status %d", key, resp.StatusCode)
		}
	}
	// The same key in another form is another message.
	post(t, srv.URL+"/slack", `{"text":"hello"}`, "Idempotency-Key", "k1")
	var got []bool
	for _, r := range rc.newest(0, 10) {
		got = append(got, r.Duplicate)
	}
	if want := []bool{false, false, false, true, false, false}; len(got) != len(want) || got[3] != true || got[0] || got[1] || got[2] || got[4] || got[5] {
		t.Errorf("newest first: got %v, want %v", got, want)
	}
}

func TestReceiverListsAndForgets(t *testing.T) {
	rc, srv := testReceiver(t)
	for range maxReceived + 5 {
		rc.keep("webhook", "", note{Status: "firing"}, []byte("body"), time.Now())
	}
	if got := len(rc.newest(0, 2*maxReceived)); got != maxReceived {
		t.Errorf("kept %d, want %d", got, maxReceived)
	}
	resp, err := http.Get(srv.URL + "/api/received?after=1003&limit=50")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct{ Received []Received }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if len(list.Received) != 2 || list.Received[0].ID != 1005 || list.Received[0].Body != "" {
		t.Errorf("after 1003: got %+v", list.Received)
	}
	one, err := http.Get(srv.URL + "/api/received/1005")
	if err != nil {
		t.Fatal(err)
	}
	defer one.Body.Close()
	var r Received
	if err := json.NewDecoder(one.Body).Decode(&r); err != nil || r.Body != "body" {
		t.Errorf("one: got %+v, %v", r, err)
	}
	if resp := post(t, srv.URL+"/api/clear", ""); resp.StatusCode != http.StatusForbidden {
		t.Errorf("clear without the header: status %d, want 403", resp.StatusCode)
	}
	if resp := post(t, srv.URL+"/api/clear", "", demoHeader, "1"); resp.StatusCode != http.StatusNoContent {
		t.Errorf("clear: status %d, want 204", resp.StatusCode)
	}
	if got := rc.newest(0, 10); len(got) != 0 {
		t.Errorf("after clear: got %d", len(got))
	}
}

// A receiver in trouble answers so and keeps nothing.
func TestReceiverTrouble(t *testing.T) {
	rc, srv := testReceiver(t)
	if resp := post(t, srv.URL+"/api/trouble?status=503&for=1h", "", demoHeader, "1"); resp.StatusCode != 200 {
		t.Fatalf("trouble: status %d", resp.StatusCode)
	}
	if resp := post(t, srv.URL+"/webhook", oneAlert); resp.StatusCode != 503 {
		t.Errorf("in trouble: status %d, want 503", resp.StatusCode)
	}
	post(t, srv.URL+"/api/trouble", "", demoHeader, "1")
	if resp := post(t, srv.URL+"/webhook", oneAlert); resp.StatusCode != 200 {
		t.Errorf("after it: status %d, want 200", resp.StatusCode)
	}
	if got := len(rc.newest(0, 10)); got != 1 {
		t.Errorf("kept %d, want 1", got)
	}
	for _, bad := range []string{"status=200", "status=x", "delay=-1s", "delay=2h", "status=500&for=0s", "status=500&for=x"} {
		q, _ := url.ParseQuery(bad)
		if _, err := parseTrouble(q.Get, time.Now()); err == nil {
			t.Errorf("trouble %q was taken", bad)
		}
	}
}

func TestReceiverRefuses(t *testing.T) {
	_, srv := testReceiver(t)
	f := func(path, body string, want int) {
		t.Helper()
		if resp := post(t, srv.URL+path, body); resp.StatusCode != want {
			t.Errorf("POST %s %s: status %d, want %d", path, body, resp.StatusCode, want)
		}
	}
	f("/webhook", `{`, 400)
	f("/webhook", `{"alerts":[]}`, 400)
	f("/telegram/bot1:x/sendMessage", `{"text":"x"}`, 400)
	f("/opsgenie/v2/alerts", `{}`, 422)
	f("/pagerduty/v2/enqueue", `{"event_action":"trigger"}`, 400)
	f("/pagerduty/v2/enqueue", `{"routing_key":"k","event_action":"dance"}`, 400)
	f("/slack", `{}`, 400)
	f("/webhook", strings.Repeat("x", maxBody+1), 400)
}

func TestTelegramForm(t *testing.T) {
	n, err := decodeTelegram("application/x-www-form-urlencoded; charset=utf-8", []byte("chat_id=1&text=%0AAlerts+Resolved%3A%0ALabels%3A%0A+-+alertname+%3D+X%0A"))
	if err != nil || n.Status != "resolved" || len(n.Alerts) != 1 || n.Alerts[0].Name != "X" {
		t.Errorf("got %+v, %v", n, err)
	}
}

func FuzzReceiver(f *testing.F) {
	seeds := []string{
		oneAlert,
		`{"chat_id":"1","text":"Alerts Firing:\nLabels:\n - alertname = A\nAnnotations:\n - summary = s\n"}`,
		`{"alias":"a","message":"m","description":"d","details":{"alertname":"A"}}`,
		`{"routing_key":"k","event_action":"trigger","dedup_key":"d","payload":{"summary":"s","custom_details":{"firing":"Labels:\n - alertname = A\n","resolved":[{"labels":{"alertname":"B"}}]}}}`,
		`{"text":"t","attachments":[{"title":"[FIRING:1] A","text":"x"}]}`,
	}
	for i := range 6 {
		for _, s := range seeds {
			f.Add(i, s)
		}
	}
	f.Add(1, "chat_id=1&text=%zz")
	f.Fuzz(func(t *testing.T, form int, body string) {
		b := []byte(body)
		var n note
		var err error
		switch form {
		case 0:
			n, err = decodeWebhook(b)
		case 1:
			n, err = decodeTelegram("application/json", b)
		case 2:
			n, err = decodeTelegram("application/x-www-form-urlencoded", b)
		case 3:
			n, err = decodeOpsgenie("", "", b)
		case 4:
			n, err = decodePagerDuty(b)
		case 5:
			n, err = decodeSlack(b)
		default:
			n, err = decodeOpsgenie("close", "a", b)
		}
		if err != nil {
			return
		}
		if n.Status == "" && form != 0 {
			t.Errorf("form %d: a note without a status: %+v", form, n)
		}
		rc := newReceiver(&switches{}, slog.New(slog.DiscardHandler))
		rc.keep("x", "k", n, b, time.Now())
		if _, err := json.Marshal(rc.newest(0, 1)); err != nil {
			t.Errorf("not to be shown: %v", err)
		}
	})
}

func FuzzTraceID(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("00--")
	f.Fuzz(func(t *testing.T, header string) {
		id := traceID(&http.Request{Header: http.Header{"Traceparent": {header}}})
		if id != "" && (len(id) != 32 || strings.ContainsAny(id, "-\" \n")) {
			t.Errorf("%q gave %q", header, id)
		}
	})
}
