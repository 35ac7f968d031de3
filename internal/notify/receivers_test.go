package notify_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/mail"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	amnotify "github.com/prometheus/alertmanager/notify"

	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/record"
)

// smtpFake takes mail on loopback and hands over each message.
type smtpFake struct {
	addr string
	got  chan string
}

func newSMTPFake(t *testing.T) *smtpFake {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &smtpFake{addr: ln.Addr().String(), got: make(chan string, 10)}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

func (s *smtpFake) serve(conn net.Conn) {
	defer conn.Close()
	tp := textproto.NewConn(conn)
	_ = tp.PrintfLine("220 fake")
	for {
		line, err := tp.ReadLine()
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
		case "DATA":
			_ = tp.PrintfLine("354 go on")
			b, err := tp.ReadDotBytes()
			if err != nil {
				return
			}
			_ = tp.PrintfLine("250 taken")
			s.got <- string(b)
		case "QUIT":
			_ = tp.PrintfLine("221 bye")
			return
		default:
			_ = tp.PrintfLine("250 ok")
		}
	}
}

func TestEveryReceiverOfTheIssue(t *testing.T) {
	telegram, opsgenie, pagerduty, slack, hook, post := newFake(t), newFake(t), newFake(t), newFake(t), newFake(t), newSMTPFake(t)
	telegram.answers(func(w http.ResponseWriter, _ request) {
		fmt.Fprint(w, `{"ok":true,"result":{"message_id":7,"date":1700000000,"chat":{"id":42,"type":"private"}}}`)
	})
	opsgenie.answers(code(202))
	pagerduty.answers(func(w http.ResponseWriter, _ request) {
		w.WriteHeader(202)
		fmt.Fprint(w, `{"status":"success","message":"Event processed","dedup_key":"x"}`)
	})
	slack.answers(func(w http.ResponseWriter, _ request) { fmt.Fprint(w, "ok") })
	r := start(t, fmt.Sprintf(`
global: {smtp_smarthost: '%s', smtp_from: vedette@example.org, smtp_require_tls: false}
route: {receiver: all, group_by: [alertname], group_wait: 10ms, group_interval: 20ms, repeat_interval: 1h}
receivers:
- name: all
  telegram_configs: [{api_url: '%s', bot_token: '123:abcdefTOKEN', chat_id: 42}]
  opsgenie_configs: [{api_url: '%s/', api_key: opsgeniekey}]
  pagerduty_configs: [{url: '%s/v2/enqueue', routing_key: pagerdutykey}]
  slack_configs: [{api_url: '%s/services/T0/B0/slacksecret', channel: '#ops', send_resolved: true}]
  webhook_configs: [{url: '%s/hook'}]
  email_configs: [{to: ops@example.org, send_resolved: true}]
`, post.addr, telegram.URL, opsgenie.URL, pagerduty.URL, slack.URL, hook.URL))
	a := firing("alertname", "PaymentsDown", "severity", "page")
	r.put(a)

	tg := telegram.next(t)
	if got, want := tg.path, "/bot123:abcdefTOKEN/sendMessage"; got != want {
		t.Errorf("telegram path: got %s want %s", got, want)
	}
	if m := tg.json(t); fmt.Sprint(m["chat_id"]) != "42" || !strings.Contains(fmt.Sprint(m["text"]), "PaymentsDown") {
		t.Errorf("telegram message: %v", m)
	}
	og := opsgenie.next(t)
	if og.method+" "+og.path != "POST /v2/alerts" || og.header.Get("Authorization") != "GenieKey opsgeniekey" {
		t.Errorf("opsgenie: %s %s %v", og.method, og.path, og.header)
	}
	alias := og.json(t)["alias"]
	pd := pagerduty.next(t).json(t)
	if fmt.Sprint(pd["event_action"], pd["routing_key"]) != "triggerpagerdutykey" && fmt.Sprint(pd["event_action"]) != "trigger" {
		t.Errorf("pagerduty event: %v", pd)
	}
	if m := slack.next(t).json(t); m["channel"] != "#ops" || !strings.Contains(fmt.Sprint(m["attachments"]), "PaymentsDown") {
		t.Errorf("slack message: %v", m)
	}
	hookFired := hook.next(t).json(t)
	subject, text := readMail(t, <-post.got)
	if !strings.Contains(subject, "[FIRING:1] PaymentsDown") || !strings.Contains(text, "PaymentsDown") {
		t.Errorf("mail: %s: %s", subject, text)
	}

	r.put(resolved(a))
	if m := telegram.next(t).json(t); !strings.Contains(fmt.Sprint(m["text"]), "Over: PaymentsDown") {
		t.Errorf("telegram resolve: %v", m)
	}
	if got, want := opsgenie.next(t).path, fmt.Sprintf("/v2/alerts/%s/close?identifierType=alias", alias); got != want {
		t.Errorf("opsgenie resolve: got %s want %s", got, want)
	}
	if m := pagerduty.next(t).json(t); m["event_action"] != "resolve" || m["dedup_key"] != pd["dedup_key"] {
		t.Errorf("pagerduty resolve: %v, dedup_key of trigger %v", m, pd["dedup_key"])
	}
	if m := slack.next(t).json(t); !strings.Contains(fmt.Sprint(m["attachments"]), "RESOLVED") {
		t.Errorf("slack resolve: %v", m)
	}
	if m := hook.next(t).json(t); m["status"] != "resolved" || m["groupKey"] != hookFired["groupKey"] {
		t.Errorf("webhook resolve: %v", m)
	}
	if subject, _ = readMail(t, <-post.got); !strings.Contains(subject, "[RESOLVED] PaymentsDown") {
		t.Errorf("mail resolve: %s", subject)
	}
	for _, n := range r.settled() {
		if n.Status != notify.Delivered || len(n.Attempts) != 1 || n.Attempts[0].Error != "" {
			t.Errorf("%s %s: %s %v", n.Integration, n.ID, n.Status, n.Attempts)
		}
	}
}

func readMail(t *testing.T, raw string) (subject, text string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	part, err := multipart.NewReader(m.Body, params["boundary"]).NextPart()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	_, err = bufio.NewReader(part).WriteTo(&b)
	if err != nil {
		t.Fatal(err)
	}
	return subject, b.String()
}

// A webhook's answer decides whether it is tried again; its URL may come from a
// file and be a template; max_alerts cuts the list; a payload replaces the
// message.
func TestWebhookSettings(t *testing.T) {
	hook := newFake(t)
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(hook.URL+"/from-file/{{ .GroupLabels.alertname | urlquery }}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, fmt.Sprintf(`
route:
  receiver: file
  group_by: [alertname]
  group_wait: 10ms
  group_interval: 20ms
  repeat_interval: 1h
  routes: [{receiver: payload, matchers: ['alertname="Payload"']}]
receivers:
- name: file
  webhook_configs: [{url_file: '%s', max_alerts: 1, http_config: {authorization: {credentials: sesame}}}]
- name: payload
  webhook_configs: [{url: '%s/own', payload: {text: '{{ .Status }} {{ len .Alerts }}', fixed: [1, true]}}]
`, file, hook.URL))
	r.put(firing("alertname", "From File", "n", "1"), firing("alertname", "From File", "n", "2"))
	got := hook.next(t)
	if want := "/from-file/" + url.QueryEscape("From File"); got.path != want {
		t.Errorf("path: got %s want %s", got.path, want)
	}
	if got.header.Get("Authorization") != "Bearer sesame" {
		t.Errorf("authorization: got %q", got.header.Get("Authorization"))
	}
	// Both alerts are old enough for an immediate flush, so the group may
	// have gone out with the first alone before the second joined it.
	m := got.json(t)
	if fmt.Sprint(m["truncatedAlerts"]) == "0" {
		m = hook.next(t).json(t)
	}
	if len(m["alerts"].([]any)) != 1 || fmt.Sprint(m["truncatedAlerts"]) != "1" {
		t.Errorf("max_alerts: %v", m)
	}
	r.put(firing("alertname", "Payload"))
	if got, want := strings.TrimSpace(string(hook.next(t).body)), `{"fixed":[1,true],"text":"firing 1"}`; got != want {
		t.Errorf("payload: got %s want %s", got, want)
	}
}

// Slack edits its message if told to: what an integration stores at one
// notification of a group must be there at the next, also after a restart, and
// must be gone when the group begins anew.
func TestIntegrationRemembersItsMessage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.db")
	seen := make(chan string, 10)
	remember := func(ctx context.Context, _ string) (bool, error) {
		store, _ := amnotify.NflogStore(ctx)
		old, _ := store.GetStr("ts")
		store.SetStr("ts", old+"x")
		seen <- old
		return false, nil
	}
	config := webhookConfig("http://127.0.0.1:1")
	r := open(t, file, config)
	r.Replace("hook", "webhook[0]", remember)
	r.run()
	a := firing("alertname", "Down", "n", "1")
	step := func(want string, alert record.Alert) {
		t.Helper()
		r.put(alert)
		if got := <-seen; got != want {
			t.Errorf("stored by the message before: got %q want %q", got, want)
		}
		r.settled()
	}
	step("", a)
	step("x", firing("alertname", "Down", "n", "2"))
	r.stop()
	r = open(t, file, config)
	r.Replace("hook", "webhook[0]", remember)
	r.run()
	step("xx", firing("alertname", "Down", "n", "3"))
	for _, n := range []string{"1", "2", "3"} {
		r.put(resolved(firing("alertname", "Down", "n", n)))
	}
	for len(r.Alerts(t.Context())) > 0 || r.settled()[0].Firing > 0 {
		<-seen
	}
	r.settled()
	for len(seen) > 0 {
		<-seen
	}
	step("", firing("alertname", "Down", "n", "4"))
}
