package notify_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/record"
)

// rig is a notifier on a database file, and what it changed.
type rig struct {
	*notify.Notifier
	t    testing.TB
	own  *instrument.Registry
	reg  *prometheus.Registry
	log  *lockedBuffer
	stop func() // ends Run and waits
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func openDB(t testing.TB, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func quick(o *notify.Options) {
	o.RetryMin, o.RetryMax = 5*time.Millisecond, 20*time.Millisecond
}

// open makes a notifier on the file with the configuration, not yet running.
func open(t testing.TB, file, config string, more ...func(*notify.Options)) *rig {
	t.Helper()
	r := &rig{t: t, own: instrument.New(instrument.Config{}), reg: prometheus.NewRegistry(), log: &lockedBuffer{}}
	o := notify.Options{DB: openDB(t, file), Instruments: r.own, Registerer: r.reg, Log: slog.New(slog.NewTextHandler(r.log, nil))}
	quick(&o)
	for _, f := range more {
		f(&o)
	}
	var err error
	if r.Notifier, err = notify.Open(o); err != nil {
		t.Fatal(err)
	}
	if config != "" {
		r.apply(config)
	}
	return r
}

func (r *rig) apply(config string) {
	r.t.Helper()
	c, err := notify.Parse([]byte(config), r.t.TempDir())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Apply(c); err != nil {
		r.t.Fatal(err)
	}
}

// run starts the notifier; the test's end stops it.
func (r *rig) run() *rig {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(r.stop)
	return r
}

func start(t *testing.T, config string, more ...func(*notify.Options)) *rig {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "state.db"), config, more...).run()
}

func (r *rig) put(alerts ...record.Alert) {
	r.t.Helper()
	if err := r.Put(context.Background(), alerts...); err != nil {
		r.t.Fatal(err)
	}
}

func firing(labels ...string) record.Alert {
	m := map[string]string{}
	for i := 0; i < len(labels); i += 2 {
		m[labels[i]] = labels[i+1]
	}
	return record.Alert{Labels: m, Annotations: map[string]string{"summary": m["alertname"] + " is wrong"},
		StartsAt: time.Now().Add(-time.Minute), EndsAt: time.Now().Add(time.Minute), GeneratorURL: "http://localhost/graph"}
}

func resolved(a record.Alert) record.Alert {
	a.EndsAt = time.Now()
	return a
}

// request is what a fake receiver got.
type request struct {
	method, path string
	header       http.Header
	body         []byte
}

func (r request) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(r.body, &m); err != nil {
		t.Fatalf("%s %s: %v: %s", r.method, r.path, err, r.body)
	}
	return m
}

// fake is a receiver on loopback.
type fake struct {
	*httptest.Server
	got chan request
	mu  sync.Mutex
	// answer may be changed while the server runs.
	answer func(w http.ResponseWriter, r request)
}

func newFake(t *testing.T) *fake {
	f := &fake{got: make(chan request, 10000)}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender was killed
		}
		req := request{r.Method, r.URL.RequestURI(), r.Header, body}
		f.mu.Lock()
		answer := f.answer
		f.mu.Unlock()
		if answer != nil {
			answer(w, req)
		}
		f.got <- req
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) answers(a func(w http.ResponseWriter, r request)) {
	f.mu.Lock()
	f.answer = a
	f.mu.Unlock()
}

func code(c int) func(http.ResponseWriter, request) {
	return func(w http.ResponseWriter, _ request) { w.WriteHeader(c) }
}

const patience = 10 * time.Second

func (f *fake) next(t testing.TB) request {
	t.Helper()
	select {
	case r := <-f.got:
		return r
	case <-time.After(patience):
		t.Fatal("nothing arrived at the receiver")
		return request{}
	}
}

// quiet asserts that nothing more has arrived.
func (f *fake) quiet(t *testing.T) {
	t.Helper()
	select {
	case r := <-f.got:
		t.Errorf("unexpected %s %s: %s", r.method, r.path, r.body)
	default:
	}
}

// settled waits until there are rows and none is pending, and returns them.
func (r *rig) settled() []notify.Notification {
	r.t.Helper()
	var list []notify.Notification
	r.until("the outbox settles", func() bool {
		list = r.outbox().Notifications
		for _, n := range list {
			if n.Status == notify.Pending || n.Status == notify.Sending {
				return false
			}
		}
		return len(list) > 0
	})
	return list
}

func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never: %s\n%s", what, r.log)
		}
	}
}

func (r *rig) outbox() notify.OutboxPage {
	r.t.Helper()
	p, err := r.Outbox(context.Background(), notify.OutboxFilter{})
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func webhookConfig(url string) string {
	return fmt.Sprintf(`
route: {receiver: hook, group_by: [alertname], group_wait: 10ms, group_interval: 20ms, repeat_interval: 1h}
receivers: [{name: hook, webhook_configs: [{url: '%s/hook', send_resolved: true}]}]
`, url)
}

func TestWebhookFiresAndResolves(t *testing.T) {
	hook := newFake(t)
	r := start(t, webhookConfig(hook.URL))
	a := firing("alertname", "Down", "job", "shop")
	r.put(a)
	first := hook.next(t)
	m := first.json(t)
	if got, want := fmt.Sprint(m["status"], m["version"], m["receiver"]), "firing4hook"; strings.ReplaceAll(got, " ", "") != want {
		t.Errorf("status, version, receiver: got %s want %s", got, want)
	}
	if first.header.Get("Idempotency-Key") == "" || first.header.Get("X-Vedette-Notification-Id") == "" {
		t.Errorf("no idempotency headers: %v", first.header)
	}
	r.put(resolved(a))
	second := hook.next(t)
	if got := second.json(t)["status"]; got != "resolved" {
		t.Errorf("status: got %v want resolved", got)
	}
	if first.header.Get("Idempotency-Key") == second.header.Get("Idempotency-Key") {
		t.Error("two notifications have one idempotency key")
	}
	list := r.settled()
	if len(list) != 2 || list[0].Status != notify.Delivered || list[0].Resolved != 1 || list[1].Firing != 1 {
		t.Errorf("outbox: %+v", list)
	}
	hook.quiet(t)
}

// metric sums the series of a metric that have the tag, "" for all.
func (r *rig) metric(name, tag, value string) float64 {
	r.t.Helper()
	var sum float64
	for _, m := range r.own.Snapshot().Metrics {
		for _, s := range m.Series {
			if m.Name == name && (tag == "" || s.Tag(tag) == value) {
				sum += s.Value
			}
		}
	}
	return sum
}

// alertmanager sums a counter of Alertmanager's packages.
func (r *rig) alertmanager(name, label, value string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == label && l.GetValue() == value {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// What is valid is taken even if its neighbour is not.
func TestPut(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "state.db"), "")
	before := time.Now()
	err := r.Put(context.Background(),
		record.Alert{Labels: map[string]string{"alertname": "Good", "empty": ""}},
		record.Alert{Labels: map[string]string{"": "no name"}},
		record.Alert{Labels: map[string]string{"empty": ""}},
		record.Alert{Labels: map[string]string{"alertname": "Backwards"}, StartsAt: before, EndsAt: before.Add(-time.Hour)})
	if record.KindOf(err) != record.Invalid || !strings.Contains(err.Error(), "Backwards") {
		t.Errorf("got %v, want an Invalid error that names the alert", err)
	}
	alerts := r.Alerts(t.Context())
	if len(alerts) != 1 || len(alerts[0].Labels) != 1 || alerts[0].Receivers[0] != "nobody" {
		t.Fatalf("alerts: %+v", alerts)
	}
	if end := alerts[0].EndsAt.Sub(before); end < 5*time.Minute || end > 6*time.Minute {
		t.Errorf("end of an alert without one: in %v, want resolve_timeout", end)
	}
}

func TestChanged(t *testing.T) {
	hook := newFake(t)
	topics := make(chan string, 1000)
	r := start(t, webhookConfig(hook.URL), func(o *notify.Options) { o.Changed = func(topic string) { topics <- topic } })
	seen := func(want string) {
		t.Helper()
		for end := time.After(patience); ; {
			select {
			case got := <-topics:
				if got == want {
					return
				}
			case <-end:
				t.Fatalf("no change of %s is told", want)
			}
		}
	}
	r.put(firing("alertname", "Down"))
	seen("alerts")
	seen("outbox")
	hook.next(t)
	r.settled()
	for len(topics) > 0 {
		<-topics
	}
	r.silence("Other")
	seen("alerts")
}

func TestOpenWantsADurableDatabase(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "state.db"))
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA synchronous = normal"); err != nil {
		t.Fatal(err)
	}
	if _, err := notify.Open(notify.Options{DB: db}); err == nil || !strings.Contains(err.Error(), "synchronous") {
		t.Errorf("got %v, want a refusal of synchronous=normal", err)
	}
	if _, err := notify.Open(notify.Options{}); err == nil {
		t.Error("no database: no error")
	}
}

// The screens are built on these names.
func TestOutboxJSON(t *testing.T) {
	hook := newFake(t)
	r := start(t, webhookConfig(hook.URL))
	r.put(firing("alertname", "Down"))
	hook.next(t)
	r.settled()
	b, err := json.Marshal(r.outbox())
	if err != nil {
		t.Fatal(err)
	}
	var page struct {
		Notifications []map[string]any
		Counts        map[string]int
	}
	if err := json.Unmarshal(b, &page); err != nil {
		t.Fatal(err)
	}
	keys := func(m any) string { return strings.Join(slices.Sorted(maps.Keys(m.(map[string]any))), " ") }
	f := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %s want %s", what, got, want)
		}
	}
	n := page.Notifications[0]
	f("notification", keys(n), "alerts attempts decided_at dedup_key finished_at firing group_key group_labels id integration next_attempt_at reason receiver resolved status")
	f("alert", keys(n["alerts"].([]any)[0]), "annotations ends_at labels starts_at status")
	f("attempt", keys(n["attempts"].([]any)[0]), "at error seconds")
	f("counts", fmt.Sprint(page.Counts), "map[delivered:1 failed:0 pending:0 sending:0 superseded:0]")
	f("id, integration, status", fmt.Sprintf("%q %v %v", n["id"], n["integration"], n["status"]), `"1" webhook[0] delivered`)
}
