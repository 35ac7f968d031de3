package demo

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Received is one notification as the receiver shows it at /api/received.
type Received struct {
	ID   int       `json:"id"`
	At   time.Time `json:"at"`
	Form string    `json:"form"` // webhook, telegram, opsgenie, pagerduty or slack
	note
	// IdempotencyKey is equal for all attempts at one notification, "" when
	// the sender gave none. Duplicate says that it came before.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	Duplicate      bool   `json:"duplicate"`
	// Fault is the fault of the shop whose alert is among Alerts, "" when it
	// is about something else; then the seconds are absent.
	Fault           string   `json:"fault,omitempty"`
	SecondsSinceOn  *float64 `json:"seconds_since_on,omitempty"`
	SecondsSinceOff *float64 `json:"seconds_since_off,omitempty"`
	// Body is the head of what was sent, only in /api/received/ID.
	Body string `json:"body,omitempty"`
}

// receiver stands for the people who are told: it takes the calls that
// Telegram, Opsgenie, PagerDuty, Slack and a webhook would take.
type receiver struct {
	faults *switches
	log    *slog.Logger

	mu      sync.Mutex
	lastID  int
	list    []Received             // oldest first
	keys    map[string]bool        // form and idempotency key
	open    map[string][]noteAlert // dedup key of an incident -> its alerts
	trouble trouble
}

// trouble makes the receiver ill for a while, to see how a sender bears it.
type trouble struct {
	Status int       `json:"status"` // answered instead of the right one, 0 for none
	Delay  float64   `json:"delay"`  // seconds before each answer
	Until  time.Time `json:"until"`
}

const (
	maxReceived = 1000
	maxBody     = 1 << 20
	maxKeptBody = 16 << 10
)

func newReceiver(faults *switches, log *slog.Logger) *receiver {
	return &receiver{faults: faults, log: log, keys: map[string]bool{}, open: map[string][]noteAlert{}}
}

func runReceiver(ctx context.Context, sh shell) error {
	rc := newReceiver(&switches{}, sh.log)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { rc.faults.follow(ctx, sh.ports, nil) })
	return serveHTTP(ctx, address(sh.ports.Receiver), rc.handler(sh.ports))
}

//go:embed receiver.html
var receiverPage []byte

func (rc *receiver) handler(p ports) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'")
		w.Write(receiverPage)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, 200, map[string]string{"status": "ok"}) })
	mux.HandleFunc("GET /api/received", rc.serveList)
	mux.HandleFunc("GET /api/received/{id}", rc.serveOne)
	mux.HandleFunc("POST /api/clear", rc.guarded(func(w http.ResponseWriter, r *http.Request) {
		rc.clear()
		w.WriteHeader(http.StatusNoContent)
	}))
	mux.HandleFunc("POST /api/trouble", rc.guarded(rc.serveTrouble))
	mux.HandleFunc("GET /api/faults", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, 200, rc.faults.all()) })
	mux.HandleFunc("POST /api/faults/{name}/{action}", rc.guarded(func(w http.ResponseWriter, r *http.Request) {
		states, err := switchFault(r.Context(), p, r.PathValue("action"), r.PathValue("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		writeJSON(w, 200, states)
	}))

	mux.HandleFunc("POST /webhook", rc.take("webhook", func(r *http.Request, body []byte) (note, error) {
		return decodeWebhook(body)
	}, func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusOK)
	}))
	// The bot's token is part of the path's first element: /botTOKEN/sendMessage.
	mux.HandleFunc("POST /telegram/{bot}/sendMessage", rc.take("telegram", func(r *http.Request, body []byte) (note, error) {
		return decodeTelegram(r.Header.Get("Content-Type"), body)
	}, func(w http.ResponseWriter, err error) {
		if err != nil {
			writeJSON(w, 400, map[string]any{"ok": false, "error_code": 400, "description": "Bad Request: " + err.Error()})
			return
		}
		writeJSON(w, 200, map[string]any{"ok": true, "result": map[string]any{
			"message_id": 1, "date": time.Now().Unix(), "chat": map[string]any{"id": 1, "type": "private"}, "text": "",
		}})
	}))
	opsgenie := func(w http.ResponseWriter, err error) {
		if err != nil {
			writeJSON(w, 422, map[string]any{"message": err.Error(), "took": 0.001, "requestId": "demo"})
			return
		}
		writeJSON(w, 202, map[string]any{"result": "Request will be processed", "took": 0.001, "requestId": "demo"})
	}
	mux.HandleFunc("POST /opsgenie/v2/alerts", rc.take("opsgenie", func(r *http.Request, body []byte) (note, error) {
		return decodeOpsgenie("", "", body)
	}, opsgenie))
	change := rc.take("opsgenie", func(r *http.Request, body []byte) (note, error) {
		return decodeOpsgenie(r.PathValue("action"), r.PathValue("alias"), body)
	}, opsgenie)
	mux.HandleFunc("POST /opsgenie/v2/alerts/{alias}/{action}", change)
	mux.HandleFunc("PUT /opsgenie/v2/alerts/{alias}/{action}", change)
	mux.HandleFunc("POST /pagerduty/v2/enqueue", rc.take("pagerduty", func(r *http.Request, body []byte) (note, error) {
		return decodePagerDuty(body)
	}, func(w http.ResponseWriter, err error) {
		if err != nil {
			writeJSON(w, 400, map[string]any{"status": "invalid event", "message": err.Error(), "errors": []string{err.Error()}})
			return
		}
		writeJSON(w, 202, map[string]any{"status": "success", "message": "Event processed", "dedup_key": "demo"})
	}))
	mux.HandleFunc("POST /slack", rc.take("slack", func(r *http.Request, body []byte) (note, error) {
		return decodeSlack(body)
	}, func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		io.WriteString(w, "ok")
	}))
	mux.HandleFunc("POST /slack/api/chat.postMessage", rc.take("slack", func(r *http.Request, body []byte) (note, error) {
		return decodeSlack(body)
	}, func(w http.ResponseWriter, err error) {
		if err != nil {
			writeJSON(w, 200, map[string]any{"ok": false, "error": err.Error()})
			return
		}
		writeJSON(w, 200, map[string]any{"ok": true, "channel": "C1", "ts": strconv.FormatInt(time.Now().UnixMicro(), 10)})
	}))
	return mux
}

// guarded lets only requests through that a foreign web page cannot make.
func (rc *receiver) guarded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(demoHeader) == "" {
			http.Error(w, "want the header "+demoHeader, http.StatusForbidden)
			return
		}
		h(w, r)
	}
}

// take reads a call, keeps what it says and lets answer write the form's own
// answer.
func (rc *receiver) take(form string, decode func(*http.Request, []byte) (note, error), answer func(http.ResponseWriter, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			answer(w, err)
			return
		}
		if tr := rc.ill(time.Now()); tr != (trouble{}) {
			rest(r.Context(), time.Duration(tr.Delay*float64(time.Second)))
			if tr.Status != 0 {
				http.Error(w, "the receiver was told to answer this", tr.Status)
				return
			}
		}
		n, err := decode(r, body)
		if err != nil {
			rc.log.Warn("notification refused", "form", form, "error", err)
			answer(w, err)
			return
		}
		got := rc.keep(form, r.Header.Get("Idempotency-Key"), n, body, time.Now())
		rc.log.Info("notification", "form", form, "status", got.Status, "summary", got.Summary, "duplicate", got.Duplicate, "fault", got.Fault)
		answer(w, nil)
	}
}

func (rc *receiver) keep(form, key string, n note, body []byte, now time.Time) Received {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if n.DedupKey != "" {
		incident := form + " " + n.DedupKey
		// The end of an incident may name it by its key alone.
		if len(n.Alerts) == 0 {
			for _, a := range rc.open[incident] {
				a.Status = n.Status
				n.Alerts = append(n.Alerts, a)
			}
		}
		if n.Status == "resolved" {
			delete(rc.open, incident)
		} else if len(rc.open) < maxReceived {
			rc.open[incident] = n.Alerts
		}
	}
	rc.lastID++
	got := Received{ID: rc.lastID, At: now.UTC(), Form: form, note: n, IdempotencyKey: key, Body: string(body[:min(len(body), maxKeptBody)])}
	if key != "" {
		got.Duplicate = rc.keys[form+" "+key]
		rc.keys[form+" "+key] = true
	}
	got.measure(rc.faults.all())
	rc.list = append(rc.list, got)
	if len(rc.list) > maxReceived {
		old := rc.list[0]
		delete(rc.keys, old.Form+" "+old.IdempotencyKey)
		rc.list = slices.Delete(rc.list, 0, 1)
	}
	return got
}

// measure finds the fault that the notification is about and how long ago it
// was switched.
func (r *Received) measure(faults []FaultState) {
	for _, f := range faults {
		if f.OnAt.IsZero() || !slices.ContainsFunc(r.Alerts, f.causes) {
			continue
		}
		r.Fault = f.Name
		on := r.At.Sub(f.OnAt).Seconds()
		r.SecondsSinceOn = &on
		if !f.On && !f.OffAt.IsZero() {
			off := r.At.Sub(f.OffAt).Seconds()
			r.SecondsSinceOff = &off
		}
		return
	}
}

// causes reports whether a is the alert that the fault must raise. Labels that
// the form did not tell are taken as right.
func (f FaultInfo) causes(a noteAlert) bool {
	if a.Name != f.Alert {
		return false
	}
	for k, v := range f.Labels {
		if len(a.Labels) > 0 && a.Labels[k] != v {
			return false
		}
	}
	return true
}

func (rc *receiver) ill(now time.Time) trouble {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if now.After(rc.trouble.Until) {
		rc.trouble = trouble{}
	}
	return rc.trouble
}

// serveTrouble reads status, delay and for (both durations) from the query.
func (rc *receiver) serveTrouble(w http.ResponseWriter, r *http.Request) {
	tr, err := parseTrouble(r.URL.Query().Get, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rc.mu.Lock()
	rc.trouble = tr
	rc.mu.Unlock()
	writeJSON(w, 200, tr)
}

func parseTrouble(get func(string) string, now time.Time) (trouble, error) {
	var tr trouble
	length := time.Minute
	if v := get("status"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 400 || n > 599 {
			return tr, fmt.Errorf("status %q: want 400 to 599", v)
		}
		tr.Status = n
	}
	if v := get("delay"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 || d > time.Minute {
			return tr, fmt.Errorf("delay %q: want a duration of at most 1m", v)
		}
		tr.Delay = d.Seconds()
	}
	if v := get("for"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 || d > 24*time.Hour {
			return tr, fmt.Errorf("for %q: want a duration of at most 24h", v)
		}
		length = d
	}
	if tr.Status == 0 && tr.Delay == 0 {
		return tr, nil
	}
	if length == 0 {
		return tr, errors.New("for is 0")
	}
	tr.Until = now.Add(length)
	return tr, nil
}

func (rc *receiver) clear() {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.list = nil
	rc.keys = map[string]bool{}
	rc.open = map[string][]noteAlert{}
}

// serveList answers the newest first, without their bodies; ?after=ID leaves
// out older ones, ?limit=N bounds the number (default 200).
func (rc *receiver) serveList(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit <= 0 {
		limit = 200
	}
	writeJSON(w, http.StatusOK, map[string]any{"received": rc.newest(after, limit)})
}

func (rc *receiver) newest(after, limit int) []Received {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	out := []Received{}
	for _, g := range slices.Backward(rc.list) {
		if g.ID <= after || len(out) == limit {
			break
		}
		g.Body = ""
		out = append(out, g)
	}
	return out
}

func (rc *receiver) serveOne(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.Atoi(r.PathValue("id"))
	rc.mu.Lock()
	i := slices.IndexFunc(rc.list, func(g Received) bool { return g.ID == id })
	var got Received
	if i >= 0 {
		got = rc.list[i]
	}
	rc.mu.Unlock()
	if i < 0 {
		http.Error(w, "no such notification", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(got)
}
