package notify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/record"
)

func TestReceiverDownForAWhile(t *testing.T) {
	hook := newFake(t)
	hook.answers(code(503))
	r := start(t, webhookConfig(hook.URL))
	r.put(firing("alertname", "Down"))
	key := hook.next(t).header.Get("Idempotency-Key")
	for range 3 {
		if got := hook.next(t).header.Get("Idempotency-Key"); got != key {
			t.Errorf("key: got %s want %s", got, key)
		}
	}
	hook.answers(nil)
	row := r.settled()[0]
	last := len(row.Attempts) - 1
	if row.Status != notify.Delivered || last < 4 || row.Attempts[last].Error != "" || !strings.Contains(row.Attempts[0].Error, "503") {
		t.Errorf("row: %+v", row)
	}
	if row.FinishedAt == nil || row.NextAttemptAt != nil {
		t.Errorf("times of a delivered row: %v %v", row.FinishedAt, row.NextAttemptAt)
	}
	r.until("the delivery is counted", func() bool { return r.metric("vedette_outbox_delivery", "", "") == 1 })
	if got := r.metric("vedette_outbox_attempts", "outcome", "error"); int(got) != last {
		t.Errorf("attempts in error: got %v want %d", got, last)
	}
	for name, want := range map[string]float64{"vedette_outbox_delivered": 1, "vedette_outbox_delivery": 1, "vedette_outbox_pending": 0, "vedette_outbox_oldest_pending": 0} {
		if got := r.metric(name, "", ""); got != want {
			t.Errorf("%s: got %v want %v", name, got, want)
		}
	}
}

// "Firing" and "resolved" within an outage of the receiver are one message.
func TestNewerTakesThePlace(t *testing.T) {
	hook := newFake(t)
	var down atomic.Bool
	down.Store(true)
	hook.answers(func(w http.ResponseWriter, _ request) {
		if down.Load() {
			w.WriteHeader(500)
		}
	})
	r := start(t, webhookConfig(hook.URL))
	a := firing("alertname", "Down")
	r.put(a)
	hook.next(t)
	r.put(resolved(a))
	r.until("the older is superseded", func() bool { return r.outbox().Counts[notify.Superseded] == 1 })
	down.Store(false)
	list := r.settled()
	if len(list) != 2 || list[0].Status != notify.Delivered || list[0].Resolved != 1 || list[1].Status != notify.Superseded {
		t.Errorf("outbox: %+v", list)
	}
	r.until("it is counted", func() bool { return r.metric("vedette_outbox_superseded", "", "") == 1 })
	delivered := 0
	for len(hook.got) > 0 {
		if req := <-hook.got; req.header.Get("Idempotency-Key") == list[0].DedupKey {
			delivered++
		}
	}
	if delivered == 0 {
		t.Error("the newer never arrived")
	}
	if err := r.Retry(t.Context(), list[1].ID); record.KindOf(err) != record.Conflict {
		t.Errorf("retry of the superseded: %v", err)
	}
}

func TestPanicIsAnAttempt(t *testing.T) {
	hook := newFake(t)
	r := start(t, webhookConfig(hook.URL))
	var calls atomic.Int32
	r.Replace("hook", "webhook[0]", func(context.Context, string) (bool, error) {
		if calls.Add(1) < 3 {
			var m map[string]int
			m["x"]++ // as a bug would
		}
		return false, nil
	})
	r.put(firing("alertname", "Down"))
	row := r.settled()[0]
	if row.Status != notify.Delivered || len(row.Attempts) != 3 || !strings.Contains(row.Attempts[0].Error, "panicked: assignment to entry in nil map") {
		t.Errorf("row: %+v", row)
	}
	if !strings.Contains(r.log.String(), "integration panicked") {
		t.Error("the panic is not in the log")
	}
}

// A template that fails is an error that no repetition mends.
func TestTemplateError(t *testing.T) {
	hook := newFake(t)
	r := start(t, strings.Replace(webhookConfig(hook.URL), "/hook'", "/{{ template `no such` . }}'", 1))
	r.put(firing("alertname", "Down"))
	row := r.settled()[0]
	if row.Status != notify.Failed || len(row.Attempts) != 1 || !strings.Contains(row.Attempts[0].Error, "no such") {
		t.Errorf("row: %+v", row)
	}
}

func TestUnrecoverableThenByHand(t *testing.T) {
	hook := newFake(t)
	hook.answers(code(400))
	r := start(t, webhookConfig(hook.URL))
	a := firing("alertname", "Down")
	r.put(a)
	key := hook.next(t).header.Get("Idempotency-Key")
	row := r.settled()[0]
	if row.Status != notify.Failed || len(row.Attempts) != 1 {
		t.Errorf("row: %+v", row)
	}
	if s, err := r.OutboxStats(t.Context()); err != nil || s.Failed != 1 || s.Pending != 0 {
		t.Errorf("stats: %+v %v", s, err)
	}
	r.until("the failure is logged", func() bool { return strings.Contains(r.log.String(), "notification failed") })
	for _, id := range []string{"77", "x", ""} {
		if err := r.Retry(t.Context(), id); record.KindOf(err) != record.NotFound {
			t.Errorf("retry of %q: %v", id, err)
		}
	}
	hook.answers(nil)
	if err := r.Retry(t.Context(), row.ID); err != nil {
		t.Fatal(err)
	}
	if got := hook.next(t).header.Get("Idempotency-Key"); got != key {
		t.Errorf("key: got %s want %s", got, key)
	}
	row = r.settled()[0]
	if row.Status != notify.Delivered || len(row.Attempts) != 2 {
		t.Errorf("row: %+v", row)
	}
	if err := r.Retry(t.Context(), row.ID); record.KindOf(err) != record.Conflict {
		t.Errorf("retry of a delivered one: %v", err)
	}
}

// A failed notification is no worry any more when the next of its group arrived.
func TestFailedIsMadeOld(t *testing.T) {
	hook := newFake(t)
	hook.answers(code(400))
	r := start(t, webhookConfig(hook.URL))
	a := firing("alertname", "Down")
	r.put(a)
	hook.next(t)
	r.settled()
	hook.answers(nil)
	r.put(resolved(a))
	hook.next(t)
	r.until("the end is decided", func() bool { return len(r.outbox().Notifications) == 2 })
	list := r.settled()
	if list[0].Status != notify.Delivered || list[1].Status != notify.Superseded || !strings.Contains(list[1].Attempts[0].Error, "400") {
		t.Errorf("outbox: %+v", list)
	}
}

func TestRetryEnds(t *testing.T) {
	hook := newFake(t)
	hook.answers(code(500))
	r := start(t, webhookConfig(hook.URL), func(o *notify.Options) { o.RetryFor = 50 * time.Millisecond })
	r.put(firing("alertname", "Down"))
	row := r.settled()[0]
	if row.Status != notify.Failed || len(row.Attempts) < 2 || row.FinishedAt.Sub(row.DecidedAt) < 50*time.Millisecond {
		t.Errorf("row: %+v", row)
	}
}

// An integration that hangs without watching its context does not hold up the
// others, nor the end.
func TestHangingIntegration(t *testing.T) {
	hook := newFake(t)
	r := start(t, fmt.Sprintf(`
route: {receiver: both, group_by: [alertname], group_wait: 10ms, group_interval: 20ms, repeat_interval: 1h}
receivers: [{name: both, webhook_configs: [{url: '%[1]s/a'}, {url: '%[1]s/b'}]}]
`, hook.URL), func(o *notify.Options) { o.AttemptMax = 20 * time.Millisecond })
	hang := make(chan struct{})
	defer close(hang)
	var calls atomic.Int32
	r.Replace("both", "webhook[0]", func(context.Context, string) (bool, error) {
		if calls.Add(1) == 1 {
			<-hang
		}
		return false, nil
	})
	r.put(firing("alertname", "Down"))
	if got := hook.next(t).path; got != "/b" {
		t.Errorf("got %s want /b", got)
	}
	r.until("both are decided", func() bool { return len(r.outbox().Notifications) == 2 })
	for _, row := range r.settled() {
		want := map[string]int{"webhook[0]": 2, "webhook[1]": 1}[row.Integration]
		if row.Status != notify.Delivered || len(row.Attempts) != want {
			t.Errorf("%s: %s after %+v", row.Integration, row.Status, row.Attempts)
		}
	}
}

// One lane is in flight once at most, whatever waits in it.
func TestOneAtATime(t *testing.T) {
	hook := newFake(t)
	r := start(t, webhookConfig(hook.URL))
	var now, most, calls atomic.Int32
	r.Replace("hook", "webhook[0]", func(context.Context, string) (bool, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		if calls.Add(1)%5 == 0 {
			return true, errors.New("now and then")
		}
		return false, nil
	})
	for i := range 40 {
		r.put(firing("alertname", fmt.Sprint("Down", i)))
	}
	r.until("all are delivered", func() bool { return r.outbox().Counts[notify.Delivered] == 40 })
	if most.Load() != 1 {
		t.Errorf("in flight at once: got %d want 1", most.Load())
	}
	first, err := r.Outbox(t.Context(), notify.OutboxFilter{Limit: 15, Status: notify.Delivered})
	if err != nil || len(first.Notifications) != 15 {
		t.Fatalf("first page: %d %v", len(first.Notifications), err)
	}
	second, err := r.Outbox(t.Context(), notify.OutboxFilter{Limit: 100, Before: first.Notifications[14].ID})
	if err != nil || len(second.Notifications) != 25 {
		t.Errorf("second page: got %d want 25, %v", len(second.Notifications), err)
	}
}

// No secret of the configuration is seen in rows, logs or the database.
func TestSecretsStayHidden(t *testing.T) {
	secrets := []string{"hunter2secret", "sesame-open-wide", "123456:telegramTOKEN", "pathtoken999", "urltoken777"}
	r := start(t, `
global: {telegram_bot_token: '123456:telegramTOKEN'}
route: {receiver: all, group_by: [alertname], group_wait: 10ms, group_interval: 20ms, repeat_interval: 1h}
receivers:
- name: all
  webhook_configs:
  - {url: 'http://user:hunter2secret@127.0.0.1:1/in/pathtoken999?token=urltoken777', http_config: {authorization: {credentials: sesame-open-wide}}}
  telegram_configs: [{api_url: 'http://127.0.0.1:1', chat_id: 1}]
`, func(o *notify.Options) { o.RetryFor = 30 * time.Millisecond })
	loose := errors.New(`Post "http://user:hunter2secret@127.0.0.1:1/in/pathtoken999?token=urltoken777": refused, header Bearer sesame-open-wide, bot123456:telegramTOKEN`)
	r.Replace("all", "webhook[0]", func(context.Context, string) (bool, error) { return true, loose })
	r.put(firing("alertname", "Down"))
	r.until("both are decided", func() bool { return len(r.outbox().Notifications) == 2 })
	list := r.settled()
	seen := fmt.Sprintf("%+v\n%s\n%s", list, r.log, r.Config().Text())
	_, body := r.do(http.MethodGet, "/api/v2/status", nil)
	seen += string(body)
	for _, s := range secrets {
		if strings.Contains(seen, s) {
			t.Errorf("%s is seen in %s", s, seen)
		}
	}
	if len(list) != 2 || list[0].Status != notify.Failed || !strings.Contains(fmt.Sprint(list), "refused") {
		t.Errorf("outbox: %+v", list)
	}
}
