package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

const token = "a-long-enough-token"

// home is a hub with its memory.
type home struct {
	*Hub
	srv *httptest.Server

	mu       sync.Mutex
	accepted []record.CheckResult
	seqs     map[string]uint64
	silences []string
	fail     error
	changed  chan struct{}
}

func newHome(t *testing.T, locations ...Location) *home {
	t.Helper()
	h := &home{seqs: map[string]uint64{}, changed: make(chan struct{}, 1000)}
	h.Hub = NewHub(HubOptions{
		Checks: func(l Location) []Assignment {
			return []Assignment{{ID: "shop", Object: json.RawMessage(`{"name":"shop"}`), Files: map[string][]byte{"/ca.pem": []byte(l.Name)}}}
		},
		Accept: func(_ context.Context, _ string, rs []record.CheckResult) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.fail != nil {
				return h.fail
			}
			h.accepted = append(h.accepted, rs...)
			h.changed <- struct{}{}
			return nil
		},
		Seen: func(_ context.Context, l, s string) (uint64, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.seqs[l+s], nil
		},
		Saw: func(_ context.Context, l, s string, n uint64) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.seqs[l+s] = n
			return nil
		},
		Silent: func(l string, silent bool) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.silences = append(h.silences, fmt.Sprint(l, " ", silent))
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err := h.Apply(locations); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	answer := func(f func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				code := map[record.Kind]int{record.Unauthenticated: 401, record.Invalid: 400, record.Unavailable: 503}[record.KindOf(err)]
				if code == 0 {
					code = 500
				}
				w.WriteHeader(code)
				json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
			}
		}
	}
	mux.HandleFunc("GET "+StreamPath, answer(h.Stream))
	mux.HandleFunc("POST "+ResultsPath, answer(h.Results))
	h.srv = httptest.NewServer(mux)
	t.Cleanup(func() { h.srv.CloseClientConnections(); h.srv.Close() })
	return h
}

func (h *home) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, r := range h.accepted {
		late := ""
		if r.Late {
			late = " late"
		}
		out = append(out, r.Location+" "+r.Message+late)
	}
	return out
}

// await waits until the hub has accepted n results.
func (h *home) await(t *testing.T, n int) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for len(h.got()) < n {
		select {
		case <-h.changed:
		case <-limit:
			t.Fatalf("the hub has %v, want %d results", h.got(), n)
		}
	}
}

type work struct {
	applied chan []Assignment
}

func startAgent(t *testing.T, url, location, tok, dir string) (*Agent, work, func()) {
	t.Helper()
	a, err := NewAgent(AgentConfig{Hub: url, Location: location, Token: tok, Spool: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := work{applied: make(chan []Assignment, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx, AgentWork{
			Apply: func(as []Assignment) map[string]error { w.applied <- as; return nil },
			Run: func(_ context.Context, check string) (record.CheckResult, error) {
				return record.CheckResult{Check: check, Start: time.Now(), Success: true, Message: "by hand"}, nil
			},
			Try: func(_ context.Context, a Assignment) (record.CheckResult, error) {
				return record.CheckResult{Check: a.ID, Start: time.Now(), Success: true, Message: "tried " + string(a.Object), Screenshot: []byte{1, 2}}, nil
			},
		}); err != nil {
			t.Error(err)
		}
	}()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return a, w, stop
}

func TestAgentBringsResultsAndObeys(t *testing.T) {
	h := newHome(t, Location{Name: "eu", Token: token})
	a, w, _ := startAgent(t, h.srv.URL, "eu", token, t.TempDir())
	as := <-w.applied
	if len(as) != 1 || as[0].ID != "shop" || string(as[0].Files["/ca.pem"]) != "eu" {
		t.Errorf("got checks %+v", as)
	}
	a.Deliver(record.CheckResult{Check: "shop", Start: time.Now(), Message: "one"})
	a.Deliver(record.CheckResult{Check: "shop", Start: time.Now(), Message: "two", Location: "elsewhere"})
	h.await(t, 2)
	if got := strings.Join(h.got(), ","); got != "eu one,eu two" {
		t.Errorf("the hub has %s", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := h.RunNow(ctx, "eu", "shop")
	if err != nil || r.Message != "by hand" || r.Location != "eu" || !r.Extra {
		t.Errorf("run now: %+v, %v", r, err)
	}
	r, err = h.Try(ctx, "eu", Assignment{ID: "x", Object: json.RawMessage(`{}`)})
	if err != nil || r.Message != "tried {}" || len(r.Screenshot) != 2 {
		t.Errorf("try: %+v, %v", r, err)
	}
	if _, err := h.RunNow(ctx, "mars", "shop"); record.KindOf(err) != record.NotFound {
		t.Errorf("an unknown place: %v", err)
	}
	if err := h.Apply([]Location{{Name: "eu", Token: token}}); err != nil {
		t.Fatal(err)
	}
	<-w.applied // changed checks are sent again
	st := h.Locations()
	if len(st) != 1 || st[0].State != "up" || st[0].Checks != 1 {
		t.Errorf("locations %+v", st)
	}
}

// The hub goes away: results wait, through a restart of the agent as well, and
// come in order with their own times.
func TestResultsWaitForTheHub(t *testing.T) {
	h := newHome(t, Location{Name: "eu", Token: token})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	dir := t.TempDir()
	a, _, stop := startAgent(t, "http://"+address, "eu", token, dir)
	old := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	for n := range 1200 {
		a.Deliver(record.CheckResult{Check: "shop", Start: old.Add(time.Duration(n) * time.Second), Message: fmt.Sprint(n)})
	}
	stop()
	a, _, _ = startAgent(t, "http://"+address, "eu", token, dir)
	if a.Waiting() != 1200 {
		t.Fatalf("%d results wait after a restart, want 1200", a.Waiting())
	}
	ln, err = net.Listen("tcp", address)
	if err != nil {
		t.Skip("the port was taken meanwhile: ", err)
	}
	srv := &http.Server{Handler: h.srv.Config.Handler}
	go srv.Serve(ln)
	defer srv.Close()
	h.await(t, 1200)
	h.mu.Lock()
	defer h.mu.Unlock()
	for n, r := range h.accepted {
		if r.Message != fmt.Sprint(n) || !r.Start.Equal(old.Add(time.Duration(n)*time.Second)) || !r.Late {
			t.Fatalf("result %d is %s of %s, late %v", n, r.Message, r.Start, r.Late)
		}
	}
}

func TestTheHubKnowsWhatItHas(t *testing.T) {
	h := newHome(t, Location{Name: "eu", Token: token})
	p := h.places["eu"]
	rep := report{Spool: strings.Repeat("a", 32), SentAt: time.Now()}
	for n := range 3 {
		d := result("shop", n)
		d.Seq = uint64(n + 1)
		rep.Results = append(rep.Results, d)
	}
	for range 2 { // the receipt was lost on the way, and it is sent again
		if ack, err := h.accept(context.Background(), p, rep, 0); err != nil || ack != 3 {
			t.Fatalf("ack %d, %v", ack, err)
		}
	}
	if got := len(h.got()); got != 3 {
		t.Errorf("the hub has %d results, want 3", got)
	}
	h.fail = fmt.Errorf("the disk is full")
	rep.Results = append(rep.Results, Delivery{Seq: 4, Result: record.CheckResult{Check: "shop"}})
	if _, err := h.accept(context.Background(), p, rep, 0); err == nil {
		t.Error("a result that is not durable was acknowledged")
	}
	h.fail = nil
	if ack, err := h.accept(context.Background(), p, rep, 0); err != nil || ack != 4 || len(h.got()) != 4 {
		t.Errorf("ack %d, %v, %d results", ack, err, len(h.got()))
	}
}

func TestSilence(t *testing.T) {
	h := newHome(t, Location{Name: "eu", Token: token}, Location{Name: "never", Token: token})
	h.heard(h.places["eu"])
	now := time.Now()
	h.places["eu"].seen, h.places["never"].started = now, now
	h.listenFor(now.Add(2 * Heartbeat))
	if len(h.silences) != 0 {
		t.Errorf("silent too early: %v", h.silences)
	}
	h.listenFor(now.Add(2*Heartbeat + time.Second))
	if len(h.silences) != 2 {
		t.Errorf("after two heartbeats silent: %v, want both", h.silences)
	}
	h.heard(h.places["eu"])
	if got := h.silences[len(h.silences)-1]; got != "eu false" {
		t.Errorf("heard again: %v", h.silences)
	}
	states := map[string]string{}
	for _, l := range h.Locations() {
		states[l.Name] = l.State
	}
	if states["eu"] != "up" || states["never"] != "never" {
		t.Errorf("states %v", states)
	}
}

func TestStrangersStayOutside(t *testing.T) {
	h := newHome(t, Location{Name: "eu", Token: token})
	f := func(location, tok string) {
		t.Helper()
		req, _ := http.NewRequest("GET", h.srv.URL+StreamPath+"?location="+location, nil)
		if tok != "" {
			req.Header.Set("Authorization", "Bearer "+tok)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("location %q, token %q: %s", location, tok, resp.Status)
		}
	}
	f("eu", "")
	f("eu", "wrong")
	f("eu", token+"x")
	f("mars", token)
	f("mars", "")
	f("", "")
	req, _ := http.NewRequest("POST", h.srv.URL+ResultsPath+"?location=eu", strings.NewReader("{"))
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("half a report: %s", resp.Status)
	}
}

func TestANewerAgentTakesThePlace(t *testing.T) {
	h := newHome(t, Location{Name: "eu", Token: token})
	_, w1, _ := startAgent(t, h.srv.URL, "eu", token, t.TempDir())
	<-w1.applied
	_, w2, _ := startAgent(t, h.srv.URL, "eu", token, t.TempDir())
	<-w2.applied
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if r, err := h.RunNow(ctx, "eu", "shop"); err != nil || r.Message != "by hand" {
		t.Errorf("%+v, %v", r, err)
	}
	// A place that is taken away sends its agent away too.
	if err := h.Apply(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := h.RunNow(ctx, "eu", "shop"); record.KindOf(err) != record.NotFound {
		t.Errorf("a removed place: %v", err)
	}
}

func TestLocationValidate(t *testing.T) {
	f := func(l Location, says string) {
		t.Helper()
		err := l.Validate()
		if says == "" && err != nil || says != "" && (err == nil || !strings.HasPrefix(err.Error(), says)) {
			t.Errorf("%+v: %v, want %q", l, err, says)
		}
	}
	f(Location{Name: "hub"}, "")
	f(Location{Name: "eu-west.1", Token: token}, "")
	f(Location{Name: "hub", Token: token}, "token: the location hub")
	f(Location{Name: "eu west", Token: token}, "name: ")
	f(Location{Name: "eu"}, "token_file: is missing")
	f(Location{Name: "eu", Token: "short"}, "token: is shorter")
	f(Location{Name: "eu", Token: token, TokenSHA256: strings.Repeat("a", 64)}, "token: is set beside")
	f(Location{Name: "eu", TokenSHA256: "xyz"}, "token_sha256: want 64")
	f(Location{Name: "eu", TokenFile: "/no/such/file"}, "token_file: want a readable")
}

// A report that lay in a dead link for half a minute says nothing of the clock.
func TestHeldBackReport(t *testing.T) {
	h := newHome(t, Location{Name: "eu", Token: token})
	report := func(sent time.Time, seq uint64, start time.Time) {
		t.Helper()
		rep := report{Spool: strings.Repeat("ab", 16), SentAt: sent, Results: []Delivery{{Seq: seq, Result: record.CheckResult{Check: "shop", Start: start, Message: fmt.Sprint(seq)}}}}
		b, err := json.Marshal(rep)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest("POST", h.srv.URL+ResultsPath+"?location=eu", strings.NewReader(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	now := time.Now()
	report(now, 1, now.Add(-time.Second))
	report(now.Add(-33*time.Second), 2, now.Add(-34*time.Second))
	if got, want := fmt.Sprint(h.got()), "[eu 1 eu 2 late]"; got != want {
		t.Errorf("accepted %s, want %s", got, want)
	}
	if d := now.Sub(h.accepted[1].Start); d < 33*time.Second || d > 36*time.Second {
		t.Errorf("the run of 34 s ago is said to be of %s ago", d)
	}
	if s := h.Locations()[0].SkewSeconds; s > 2 {
		t.Errorf("the clock is said to be %v s behind", s)
	}
}
