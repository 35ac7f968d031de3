package notify_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/record"
)

func groupLabel(t *testing.T, r request) string {
	t.Helper()
	return fmt.Sprint(r.json(t)["groupLabels"].(map[string]any)["alertname"])
}

func TestInhibition(t *testing.T) {
	hook := newFake(t)
	config := webhookConfig(hook.URL) + `
inhibit_rules: [{source_matchers: ['severity="page"'], target_matchers: ['severity="warning"'], equal: [job]}]
`
	file := filepath.Join(t.TempDir(), "state.db")
	r := open(t, file, config).run()
	page := firing("alertname", "Down", "severity", "page", "job", "shop")
	r.put(page)
	if got := groupLabel(t, hook.next(t)); got != "Down" {
		t.Errorf("got %s want Down", got)
	}
	r.until("the inhibitor knows the page", func() bool { return groupCount(t, r) == 1 })
	r.put(firing("alertname", "Slow", "severity", "warning", "job", "shop"))
	r.witness(hook, "Witness")
	hook.quiet(t)
	for _, a := range r.Alerts(t.Context()) {
		if got, want := a.Suppressed(), a.Labels["alertname"] == "Slow"; got != want {
			t.Errorf("%v suppressed: got %t want %t", a.Labels, got, want)
		}
	}
	// Neither a restart nor a reload lets it out.
	r.settled()
	r.crash()
	r = open(t, file, config).run()
	r.witness(hook, "After the restart")
	r.apply(config)
	r.witness(hook, "After the reload")
	hook.quiet(t)

	r.put(resolved(page))
	got := map[string]bool{groupLabel(t, hook.next(t)): true, groupLabel(t, hook.next(t)): true}
	if !got["Down"] || !got["Slow"] {
		t.Errorf("after the page's end: got %v want Down resolved and Slow", got)
	}
}

func TestSilence(t *testing.T) {
	hook := newFake(t)
	r := start(t, webhookConfig(hook.URL))
	id := r.silence("Noisy")
	r.put(firing("alertname", "Noisy"))
	r.witness(hook, "Witness")
	hook.quiet(t)
	if code, body := r.do("DELETE", "/api/v2/silence/"+id, nil); code != 200 {
		t.Fatalf("DELETE silence: %d %s", code, body)
	}
	if got := groupLabel(t, hook.next(t)); got != "Noisy" {
		t.Errorf("after the silence: got %s want Noisy", got)
	}
}

func TestGrouping(t *testing.T) {
	hook := newFake(t)
	r := start(t, webhookConfig(hook.URL))
	now := time.Now()
	var alerts []record.Alert
	for i := range 5 {
		a := firing("alertname", "Down", "instance", fmt.Sprint(i))
		a.StartsAt = now.Add(time.Second) // not old: the group waits
		alerts = append(alerts, a)
	}
	r.put(alerts...)
	if got := len(hook.next(t).json(t)["alerts"].([]any)); got != 5 {
		t.Errorf("alerts in the notification: got %d want 5", got)
	}
	list := r.settled()
	if len(list) != 1 || list[0].Firing != 5 || len(list[0].Alerts) != 5 || list[0].GroupLabels["alertname"] != "Down" || list[0].Reason != "first notification" {
		t.Errorf("outbox: %+v", list)
	}
}

func TestMuteTimeInterval(t *testing.T) {
	hook := newFake(t)
	r := start(t, fmt.Sprintf(`
route:
  receiver: hook
  group_by: [alertname]
  group_wait: 10ms
  group_interval: 20ms
  repeat_interval: 1h
  routes: [{matchers: ['alertname="Night"'], mute_time_intervals: [always]}]
time_intervals: [{name: always, time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}]
receivers: [{name: hook, webhook_configs: [{url: '%s'}]}]
`, hook.URL))
	r.put(firing("alertname", "Night"))
	r.witness(hook, "Witness")
	hook.quiet(t)
	r.until("the group is muted", func() bool {
		for _, g := range getJSON[[]map[string]any](t, r, "/api/v2/alerts/groups?muted=true") {
			for _, a := range g["alerts"].([]any) {
				if by, ok := a.(map[string]any)["status"].(map[string]any)["mutedBy"].([]any); ok && len(by) == 1 && by[0] == "always" {
					return true
				}
			}
		}
		return false
	})
	for _, n := range r.outbox().Notifications {
		if n.GroupLabels["alertname"] == "Night" {
			t.Errorf("muted alert is in the outbox: %+v", n)
		}
	}
}

func TestReloadKeepsWhatIsKnown(t *testing.T) {
	first, second := newFake(t), newFake(t)
	r := start(t, webhookConfig(first.URL))
	a := firing("alertname", "Down")
	r.put(a)
	first.next(t)
	r.settled()
	id := r.silence("Other")

	// A refused configuration changes nothing.
	for _, bad := range []string{
		"templates: ['*.tmpl']\nroute: {receiver: x}\nreceivers: [{name: x, webhook_configs: [{url: 'http://x', http_config: {tls_config: {ca_file: /does/not/exist}}}]}]",
	} {
		c, err := notify.Parse([]byte(bad), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Apply(c); err == nil || record.KindOf(err) != record.Invalid {
			t.Errorf("Apply of a bad configuration: %v", err)
		}
		if err := c.Validate(); err == nil {
			t.Error("Validate of a bad configuration: no error")
		}
	}

	// The same receiver elsewhere: the group was told of, so only the end goes there.
	r.apply(webhookConfig(second.URL))
	r.witness(second, "Witness")
	r.put(resolved(a))
	if m := second.next(t).json(t); m["status"] != "resolved" {
		t.Errorf("after the reload: %v", m)
	}
	if got := getJSON[map[string]any](t, r, "/api/v2/silence/"+id); got["id"] != id {
		t.Errorf("silence after the reload: %v", got)
	}
	first.quiet(t)
	second.quiet(t)
}

func TestReloadWithoutReceiver(t *testing.T) {
	hook, elsewhere := newFake(t), newFake(t)
	hook.answers(code(503))
	slow := func(o *notify.Options) { o.RetryMin, o.RetryMax = time.Hour, time.Hour }
	config := webhookConfig(hook.URL)
	r := start(t, config, slow)
	r.put(firing("alertname", "Down"))
	hook.next(t)
	r.until("it waits for the next attempt", func() bool { return r.outbox().Counts[notify.Pending] == 1 })
	r.apply(strings.ReplaceAll(webhookConfig(elsewhere.URL), "hook,", "other,"))
	elsewhere.next(t) // a new receiver hears of what is firing
	list := r.outbox().Notifications
	row := list[len(list)-1]
	if row.Status != notify.Failed || !strings.Contains(row.Attempts[1].Error, `webhook[0] of receiver "hook" is no longer in the configuration`) {
		t.Errorf("row of the removed receiver: %+v", row)
	}
	// It can be sent by hand when the receiver is back.
	hook.answers(nil)
	r.apply(config)
	if err := r.Retry(t.Context(), row.ID); err != nil {
		t.Fatal(err)
	}
	if got := hook.next(t).header.Get("Idempotency-Key"); got != row.DedupKey {
		t.Errorf("key: got %s want %s", got, row.DedupKey)
	}
}
