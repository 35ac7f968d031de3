package probe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

// flowCheck reads the flow section of a check; $BASE in it is the server.
func flowCheck(t testing.TB, base, text string) probe.Check {
	t.Helper()
	text = "name: buy a book\nflow:\n" + strings.ReplaceAll(text, "$BASE", base)
	var c probe.Check
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return c
}

func runFlow(t testing.TB, base, text string) record.CheckResult {
	t.Helper()
	return probe.Once(context.Background(), flowCheck(t, base, text))
}

// stepStates are those of the steps, with their names.
func stepStates(r record.CheckResult) string {
	var out []string
	for _, s := range r.Steps {
		out = append(out, s.Name+"="+s.State)
	}
	return strings.Join(out, " ")
}

// shopServer is a shop with a form to sign in, an API and orders that are
// shipped after some questions.
type shopServer struct {
	*httptest.Server
	mu      sync.Mutex
	seen    []*http.Request
	bodies  []string
	polls   map[string]int
	shipped int // questions until an order is shipped
	signed  int // sessions that were ended
}

const shopPassword = `pa"ss\w<o>rd & co/+`

func newShop(t testing.TB) *shopServer {
	t.Helper()
	s := &shopServer{polls: map[string]int{}, shipped: 3}
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	session := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if c, err := r.Cookie("session"); err != nil || c.Value != "session-of-robot" {
				http.Error(w, "sign in first", http.StatusUnauthorized)
				return
			}
			h(w, r)
		}
	}
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "pre", Value: "visitor-7"})
		fmt.Fprint(w, `<form><input name="csrf" value="c5rf-value&#43;x"></form>`)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		pre, err := r.Cookie("pre")
		if err != nil || pre.Value != "visitor-7" || r.FormValue("csrf") != "c5rf-value&#43;x" || r.FormValue("user") != "robot" || r.FormValue("password") != shopPassword {
			http.Error(w, "wrong: "+r.FormValue("password"), http.StatusForbidden)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "session-of-robot", Path: "/"})
		http.Redirect(w, r, "/account", http.StatusFound)
	})
	mux.HandleFunc("GET /account", session(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "welcome robot") }))
	mux.HandleFunc("POST /orders", session(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Book int    `json:"book"`
			Note string `json:"note"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Book != 7 {
			http.Error(w, "bad order", http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Order", "o-42")
		w.WriteHeader(http.StatusCreated)
		say(w, map[string]any{"id": 42, "api_token": "tok-0123456789", "items": []any{map[string]any{"id": 1, "kind": "a"}, map[string]any{"id": 2, "kind": "b"}, map[string]any{"id": 3, "kind": "a"}}, "note": in.Note})
	}))
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer tok-0123456789" {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		s.mu.Lock()
		s.polls[r.PathValue("id")]++
		n := s.polls[r.PathValue("id")]
		s.mu.Unlock()
		state := "packing"
		if n >= s.shipped {
			state = "shipped"
		}
		say(w, map[string]any{"state": state})
	})
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) { say(w, map[string]any{"id": r.PathValue("id")}) })
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		s.signed++
		s.mu.Unlock()
		fmt.Fprint(w, "bye")
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		for name, vs := range r.URL.Query() {
			fmt.Fprintf(w, "query %s=%s\n", name, vs)
		}
		fmt.Fprintf(w, "method %s\nhost %s\ntype %s\nx %s\nbody %s\n", r.Method, r.Host, r.Header.Get("Content-Type"), r.Header.Get("X-Own"), b)
	})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		s.mu.Lock()
		s.seen = append(s.seen, r.Clone(context.Background()))
		s.bodies = append(s.bodies, string(b))
		s.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *shopServer) requests() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.seen {
		list = append(list, r.Method+" "+r.URL.RequestURI())
	}
	return list
}

const buyABook = `
  variables: {base: $BASE, user: robot}
  secrets: {password: {env: VEDETTE_TEST_SHOP_PASSWORD}}
  steps:
    - name: form
      request: {url: "${base}/login"}
      extract:
        - {name: csrf, regex: 'name="csrf" value="([^"]+)"'}
        - {name: visitor, cookie: pre}
    - name: sign in
      request: {method: POST, url: "${base}/login", form: {user: "${user}", password: "${password}", csrf: "${csrf}"}}
      expect: {status: 200, body_contains: "welcome ${user}"}
    - name: order
      request: {url: "${base}/orders", json: {book: 7, note: "by ${check} from ${location}: ${uuid}", more: [1, true, null, "$${x}"]}}
      expect: {status: 201, headers: {X-Order: "o-\\d+"}}
      extract:
        - {name: id, jsonpath: $.id}
        - {name: api_token, jsonpath: $.api_token}
        - {name: order, header: X-Order}
        - {name: items, jsonpath: $.items}
        - {name: a_items, jsonpath: "$.items[?(@.kind == 'a')].id"}
        - {name: absent, jsonpath: $.absent, default: none}
    - name: breathe
      wait: 5ms
    - name: poll the order
      loop: {times: 5, every: 1ms, until: {status: 200, body_contains: shipped}}
      request: {url: "${base}/orders/${id}", headers: {Authorization: "Bearer ${api_token}"}}
    - name: each
      loop: {over: items, as: item}
      steps:
        - name: look
          request: {url: "/items/${item.id}?kind=${item.kind}&absent=${absent}"}
          expect: {body_regex: '"id":"${item.id}"'}
    - name: each a
      loop: {over: a_items}
      request: {url: "${base}/items/${item}"}
    - name: sign out
      always: true
      request: {method: POST, url: "${base}/logout"}
`

func TestFlowBuysABook(t *testing.T) {
	t.Setenv("VEDETTE_TEST_SHOP_PASSWORD", shopPassword)
	s := newShop(t)
	r := runFlow(t, s.URL, buyABook)
	if !r.Success {
		t.Fatalf("got %s/%s: %s\n%s", r.Stage, r.Reason, r.Message, r.Reply)
	}
	want := "form=ok sign in=ok order=ok breathe=ok poll the order=ok each=ok each / look=ok each a=ok sign out=ok"
	if got := stepStates(r); got != want {
		t.Errorf("steps: got  %s\nwant %s", got, want)
	}
	wantSeen := []string{"GET /login", "POST /login", "GET /account", "POST /orders", "GET /orders/42", "GET /orders/42", "GET /orders/42",
		"GET /items/1?kind=a&absent=none", "GET /items/2?kind=b&absent=none", "GET /items/3?kind=a&absent=none", "GET /items/1", "GET /items/3", "POST /logout"}
	if got := s.requests(); !slices.Equal(got, wantSeen) {
		t.Errorf("requests: got  %q\nwant %q", got, wantSeen)
	}
	if r.Kind != "flow" || r.Target != s.URL+"/login" || len(r.Hops) != len(wantSeen) {
		t.Errorf("got kind %s, target %s, %d hops", r.Kind, r.Target, len(r.Hops))
	}
	if h := r.Hops[2]; h.Step != "sign in" || h.URL != s.URL+"/account" {
		t.Errorf("the hop after the redirect: got %+v", h)
	}
	if h := r.Hops[7]; h.Step != "each / look" {
		t.Errorf("the hop of a nested step: got %q", h.Step)
	}
	if st := r.Steps[3]; time.Duration(st.Duration) < 5*time.Millisecond {
		t.Errorf("the wait took %v", time.Duration(st.Duration))
	}
	if st, n := r.Steps[5], r.Steps[6]; n.Duration > st.Duration || n.Offset < st.Offset || n.Duration == 0 {
		t.Errorf("a step in a loop %+v lasts as long as the loop %+v at most", n, st)
	}
	spans := map[string]bool{}
	for _, q := range s.seen {
		tp := strings.Split(q.Header.Get("Traceparent"), "-")
		if len(tp) != 4 || tp[1] != r.TraceID || spans[tp[2]] {
			t.Errorf("traceparent: got %q with trace %s, spans so far %v", q.Header.Get("Traceparent"), r.TraceID, spans)
			continue
		}
		spans[tp[2]] = true
	}
	var sent struct {
		Book any    `json:"book"`
		Note string `json:"note"`
		More []any  `json:"more"`
	}
	if err := json.Unmarshal([]byte(s.bodies[3]), &sent); err != nil || !strings.HasPrefix(sent.Note, "by buy-a-book from hub: ") || len(sent.Note) != len("by buy-a-book from hub: ")+36 || fmt.Sprint(sent.More) != "[1 true <nil> ${x}]" {
		t.Errorf("the JSON sent: got %s, %v", s.bodies[3], err)
	}
	if text := probe.Text(r); !strings.Contains(text, "sign in: "+s.URL+"/account") || !strings.Contains(text, "\n 7  ok") {
		t.Errorf("the text does not tell the steps:\n%s", text)
	}
	var names []string
	for _, m := range probe.Samples(flowCheck(t, s.URL, buyABook), r) {
		if strings.HasPrefix(m.Name, "probe_step_") || m.Name == "probe_flow_requests" {
			names = append(names, fmt.Sprintf("%s%v", m.Name, m.Labels[8:]))
		}
	}
	if !slices.Contains(names, "probe_step_success[step each / look]") || !slices.Contains(names, "probe_flow_requests[]") || len(names) != 2*9+1 {
		t.Errorf("samples: got %q", names)
	}
}

// TestFlowFresh: no cookie and no value of one run is there in the next.
func TestFlowFresh(t *testing.T) {
	s := newShop(t)
	text := "  steps: [{name: a, request: {url: $BASE/login}}, {name: b, request: {url: '/echo?u=${uuid}&r=${random}'}}]"
	for range 2 {
		if r := runFlow(t, s.URL, text); !r.Success {
			t.Fatal(r.Message)
		}
	}
	if got := s.seen[2].Header.Get("Cookie"); got != "" {
		t.Errorf("the second run began with the cookie %q", got)
	}
	if got := s.seen[1].Header.Get("Cookie"); got != "pre=visitor-7" {
		t.Errorf("the second step was sent the cookie %q", got)
	}
	if a, b := s.seen[1].URL.RawQuery, s.seen[3].URL.RawQuery; a == b {
		t.Errorf("two runs had the same values %s", a)
	}
}

// TestFlowFails breaks each step in turn.
func TestFlowFails(t *testing.T) {
	t.Setenv("VEDETTE_TEST_SHOP_PASSWORD", shopPassword)
	s := newShop(t)
	s.shipped = 1 << 30
	closed := closedPort(t)
	f := func(steps, wantStage, wantReason, wantMessage, wantStates string) {
		t.Helper()
		s.mu.Lock()
		s.polls = map[string]int{}
		s.mu.Unlock()
		r := runFlow(t, s.URL, "  secrets: {password: {env: VEDETTE_TEST_SHOP_PASSWORD}}\n  steps:\n"+steps)
		if r.Success || r.Stage != wantStage || r.Reason != wantReason || r.Message != wantMessage {
			t.Errorf("got  %v %s/%s: %s\nwant %s/%s: %s", r.Success, r.Stage, r.Reason, r.Message, wantStage, wantReason, wantMessage)
		}
		if got := stepStates(r); got != wantStates {
			t.Errorf("got %s, want %s", got, wantStates)
		}
	}
	f(`
    - {name: first, request: {url: $BASE/account}}
    - {name: second, request: {url: $BASE/login}}`,
		"status", "status", "step 1 of 2, first: the reply was 401 Unauthorized; want 2xx", "first=failed second=not_reached")
	f(`
    - {name: form, request: {url: $BASE/login}}
    - {name: sign in, request: {url: $BASE/login, form: {user: robot, password: "${password}", csrf: wrong}}}
    - {name: account, request: {url: $BASE/account}}`,
		"status", "status", "step 2 of 3, sign in: the reply was 403 Forbidden; want 2xx", "form=ok sign in=failed account=not_reached")
	f(`
    - {name: form, request: {url: $BASE/login}}
    - {name: gone, request: {url: "http://`+closed+`/"}}`,
		"connect", "refused", "step 2 of 2, gone: "+closed+" refused the connection: nothing listens there", "form=ok gone=failed")
	f(`
    - {name: form, request: {url: $BASE/login}, expect: {body_contains: "hello ${check}"}}`,
		"body", "body", `step 1 of 1, form: the body (57 bytes) does not contain "hello buy-a-book"`, "form=failed")
	f(`
    - {name: form, request: {url: $BASE/login}, extract: [{name: id, jsonpath: $.id}]}
    - {name: use, request: {url: "$BASE/${id}"}}`,
		"assertion", "variable", `step 1 of 2, form: no value for id: the body (57 bytes) is not JSON: invalid character '<' looking for beginning of value`, "form=failed use=not_reached")
	f(`
    - {name: item, request: {url: $BASE/items/1}, extract: [{name: x, jsonpath: $.x}]}`,
		"assertion", "variable", `step 1 of 1, item: no value for x: nothing at $.x in the body (11 bytes)`, "item=failed")
	f(`
    - {name: item, request: {url: $BASE/items/1}, extract: [{name: x, header: X-None}]}`,
		"assertion", "variable", `step 1 of 1, item: no value for x: the reply has no header X-None`, "item=failed")
	f(`
    - {name: item, request: {url: $BASE/items/1}, extract: [{name: x, cookie: none}]}`,
		"assertion", "variable", `step 1 of 1, item: no value for x: no cookie of the name none was set`, "item=failed")
	f(`
    - {name: item, request: {url: $BASE/items/1}, extract: [{name: x, regex: 'id=(\d+)'}]}`,
		"assertion", "variable", `step 1 of 1, item: no value for x: the body (11 bytes) does not match "id=(\\d+)"`, "item=failed")
	f(`
    - {name: item, request: {url: $BASE/items/1}, extract: [{name: x, jsonpath: $}]}
    - {name: use, request: {url: "$BASE/items/${x.id}?y=${x.name}"}}`,
		"assertion", "variable", `step 2 of 2, use: ${x.name} has no value: there is no "name" in x`, "item=ok use=failed")
	f(`
    - {name: try, optional: true, request: {url: $BASE/account}, extract: [{name: x, regex: "(.*)"}]}
    - {name: use, request: {url: "$BASE/items/${x}"}}`,
		"assertion", "variable", "step 2 of 2, use: the variable x has no value: no step that was done has extracted it", "try=failed use=failed")
	f(`
    - {name: break, request: {url: $BASE/items/1, headers: {X-Own: "${x}"}}}`, "resolve", "own_fault",
		`the check cannot be run: flow.steps[0].request.headers.X-Own: there is no variable ${x}; known here are check, location, now, password, random, uuid`, "")
	f(`
    - {name: item, request: {url: $BASE/items/1}, extract: [{name: x, regex: '(?s)(.*)'}]}
    - {name: use, request: {url: "$BASE/items/2", headers: {X-Own: "${x}"}}}`,
		"assertion", "variable", "step 2 of 2, use: the header X-Own would hold a line break or control character, which came with a variable", "item=ok use=failed")
	f(`
    - {name: item, request: {url: $BASE/items/1}, extract: [{name: x, jsonpath: $.id}]}
    - {name: each, loop: {over: x}, request: {url: $BASE/items/2}}`,
		"assertion", "variable", "step 2 of 2, each: the variable x holds no list for the loop to go over", "item=ok each=failed")
}

// TestFlowExpects: variables in what is expected, with their type where they
// stand alone.
func TestFlowExpects(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Id", "a.b")
		fmt.Fprint(w, `{"id":7,"dot":"a.b","text":"id 7 ${x}"}`)
	}))
	t.Cleanup(s.Close)
	f := func(expect, wantMessage string) {
		t.Helper()
		r := runFlow(t, s.URL, "  variables: {odd: axb}\n  steps: [{name: a, request: {url: $BASE/}, extract: [{name: id, jsonpath: $.id}, {name: dot, jsonpath: $.dot}]}, {name: b, request: {url: /}, expect: {"+expect+"}}]")
		if r.Message != wantMessage {
			t.Errorf("%s: got %q, want %q", expect, r.Message, wantMessage)
		}
	}
	f(`json: [{path: $.id, equals: "${id}"}, {path: $.text, equals: "id ${id} $${x}"}, {path: $.dot, matches: "^${dot}$"}], body_contains: "$${x}"`, "")
	f(`json: [{path: $.text, equals: "${id}"}]`, `step 2 of 2, b: $.text in the body is "id 7 ${x}"; want 7`)
	f(`headers: {X-Id: "${dot}"}, body_regex: "id ${id}", body_not_regex: "${odd}", body_not_contains: "${odd}"`, "")
	f(`headers: {X-Id: "${odd}"}`, `step 2 of 2, b: the header X-Id is "a.b"; want it to match "axb"`)
	f(`body_regex: "\"${odd}\""`, "step 2 of 2, b: the body (39 bytes) does not match the regular expression \"\\\"axb\\\"\"")
	f(`body_not_contains: "${dot}"`, `step 2 of 2, b: the body contains "a.b" and should not`)
}

// TestFlowSlow: the time of a step, and that of the whole flow.
func TestFlowSlow(t *testing.T) {
	s := newShop(t)
	r := runFlow(t, s.URL, "  steps: [{name: a, request: {url: $BASE/items/1}, expect: {max_seconds: 0.0000001}}]")
	if r.Reason != "slow" || !strings.HasPrefix(r.Message, "step 1 of 1, a: the request took 0.") {
		t.Errorf("got %s: %s", r.Reason, r.Message)
	}
	r = runFlow(t, s.URL, "  steps: [{name: a, request: {url: $BASE/items/1}}]\nexpect: {max_seconds: 0.0000001}")
	if r.Reason != "slow" || !strings.HasPrefix(r.Message, "the flow took 0.") || stepStates(r) != "a=ok" {
		t.Errorf("got %s: %s", r.Reason, r.Message)
	}
}

// TestFlowGoesOn: optional steps, and steps that are always done.
func TestFlowGoesOn(t *testing.T) {
	s := newShop(t)
	f := func(steps string, ok bool, wantMessage, wantStates string) record.CheckResult {
		t.Helper()
		r := runFlow(t, s.URL, "  steps:\n"+steps)
		if r.Success != ok || r.Message != wantMessage || stepStates(r) != wantStates {
			t.Errorf("got  %v %s: %s\nwant %v %s: %s", r.Success, stepStates(r), r.Message, ok, wantStates, wantMessage)
		}
		return r
	}
	r := f(`
    - {name: a, optional: true, request: {url: $BASE/account}}
    - {name: b, request: {url: $BASE/login}}`, true, "", "a=failed b=ok")
	if got := r.Steps[0].Message; got != "the reply was 401 Unauthorized; want 2xx" {
		t.Errorf("the optional step says %q", got)
	}
	f(`
    - {name: a, request: {url: $BASE/account}}
    - {name: b, request: {url: $BASE/login}}
    - {name: bye, always: true, request: {method: POST, url: $BASE/logout}}`,
		false, "step 1 of 3, a: the reply was 401 Unauthorized; want 2xx", "a=failed b=not_reached bye=ok")
	if s.signed != 1 {
		t.Errorf("signed out %d times, want 1", s.signed)
	}
	f(`
    - {name: a, request: {url: $BASE/account}, extract: [{name: id, regex: .+}]}
    - {name: bye, always: true, request: {url: "$BASE/none?id=${id}"}}
    - {name: bye bye, always: true, request: {url: $BASE/none}}`,
		false, "step 1 of 3, a: the reply was 401 Unauthorized; want 2xx", "a=failed bye=not_reached bye bye=failed")
	f(`
    - {name: a, request: {url: $BASE/login}}
    - {name: bye, always: true, request: {url: $BASE/none}}`,
		false, "step 2 of 2, bye: the reply was 404 Not Found; want 2xx", "a=ok bye=failed")
	f(`
    - name: each
      loop: {times: 2}
      steps:
        - {name: a, optional: true, request: {url: $BASE/account}}
        - {name: b, request: {url: $BASE/login}}`, true, "", "each=ok each / a=failed each / b=ok")
}

// TestFlowTime: the timeout bounds the whole flow, and leaves a fifth for what is
// always done.
func TestFlowTime(t *testing.T) {
	s := newShop(t)
	hung := serveTCP(t, hang)
	f := func(steps, wantStage, wantReason, wantMessage, wantStates string) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			r := runFlow(t, s.URL, "  steps:\n"+steps+"\ntimeout: 2s\ninterval: 10s")
			if r.Stage != wantStage || r.Reason != wantReason || !strings.HasPrefix(r.Message, wantMessage) || stepStates(r) != wantStates {
				t.Errorf("got  %s %s/%s: %s\nwant %s %s/%s: %s", stepStates(r), r.Stage, r.Reason, r.Message, wantStates, wantStage, wantReason, wantMessage)
			}
		})
	}
	f(`
    - {name: a, wait: 50ms}
    - {name: b, wait: 1970ms}
    - {name: c, request: {url: $BASE/login}}`,
		"assertion", "slow", "step 2 of 3, b: the time of the flow (2s) was over during this wait", "a=ok b=failed c=not_reached")
	f(`
    - {name: a, request: {url: "http://`+hung+`/"}}
    - {name: bye, always: true, request: {method: POST, url: $BASE/logout}}`,
		"processing", "no_response", "step 1 of 2, a: the request was sent, but no reply came within ", "a=failed bye=ok")
	f(`
    - {name: a, request: {url: "http://`+hung+`/"}}`,
		"processing", "no_response", "step 1 of 1, a: the request was sent, but no reply came within ", "a=failed")
	f(`
    - {name: a, loop: {times: 1000, every: 100ms, until: {status: 500}}, request: {url: $BASE/login}}`,
		"status", "status", "step 1 of 1, a: not as wanted after ", "a=failed")
	f(`
    - {name: a, optional: true, wait: 500ms}
    - {name: b, optional: true, wait: 1900ms}
    - {name: c, request: {url: $BASE/login}}`,
		"assertion", "slow", "step 3 of 3, c: the time of the flow (2s) was over before this step began", "a=ok b=failed c=failed")
}

// TestFlowGivenUp: a run that nobody wants any more ends at once and blames
// nobody.
func TestFlowGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hung := serveTCP(t, func(c net.Conn) { cancel(); hang(c) })
	r := probe.Once(ctx, flowCheck(t, "http://"+hung, "  steps: [{name: a, request: {url: $BASE/}}, {name: b, wait: 20s}]"))
	if r.Reason != "own_fault" || r.Duration > 20*time.Second {
		t.Errorf("got %s after %s: %s", r.Reason, r.Duration, r.Message)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	r = probe.Once(ctx, flowCheck(t, "http://"+hung, "  steps: [{name: b, wait: 20s}, {name: a, request: {url: $BASE/}}]"))
	if r.Reason != "own_fault" || r.Success {
		t.Errorf("got %s after %s: %s", r.Reason, r.Duration, r.Message)
	}
}

func TestFlowLoops(t *testing.T) {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := n.Add(1)
		switch {
		case r.URL.Path == "/round":
			http.Redirect(w, r, "/done", http.StatusFound)
		case r.URL.Path == "/done":
		case r.URL.Path == "/list":
			fmt.Fprintf(w, "[%s1]", strings.Repeat("1,", 1000))
		case i == 1:
			c, _, _ := http.NewResponseController(w).Hijack()
			reset(c)
			c.Close()
		case i == 5:
			fmt.Fprint(w, "ready")
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	f := func(steps string, wantReason, wantMessage string, wantRequests int64) {
		t.Helper()
		n.Store(0)
		r := runFlow(t, s.URL, steps)
		if r.Reason != wantReason || r.Message != wantMessage || n.Load() != wantRequests {
			t.Errorf("got  %s %q after %d requests\nwant %s %q after %d", r.Reason, r.Message, n.Load(), wantReason, wantMessage, wantRequests)
		}
	}
	// A connection that is cut and a 503 are tried again.
	f("  steps: [{name: a, loop: {every: 1ms, until: {body_contains: ready}}, request: {url: $BASE/}}]", "", "", 5)
	f("  steps: [{name: a, loop: {every: 1ms, times: 3, until: {body_contains: ready}}, request: {url: $BASE/}}]",
		"status", "step 1 of 1, a: not as wanted after 3 tries: the reply was 503 Service Unavailable; want 2xx", 3)
	f("  steps: [{name: a, loop: {times: 1, until: {body_contains: ready}}, request: {url: $BASE/}}]",
		"reset", "step 1 of 1, a: not as wanted after 1 try: the server cut the connection instead of answering", 1)
	// expect beside until must hold each time.
	f("  steps: [{name: a, loop: {every: 1ms, until: {body_contains: ready}}, expect: {status: 200}, request: {url: $BASE/}}]",
		"status", "step 1 of 1, a: the reply was 503 Service Unavailable; want 200", 2)
	// Redirects count as requests.
	f("  steps: [{name: a, loop: {times: 7}, request: {url: $BASE/round}}]", "", "", 14)
	f("  max_requests: 3\n  steps: [{name: a, loop: {every: 1ms, until: {body_contains: never}, times: 50}, request: {url: $BASE/}}]",
		"status", "step 1 of 1, a: not as wanted after 3 tries, and flow.max_requests (3) allows no more: the reply was 503 Service Unavailable; want 2xx", 3)
	f("  max_requests: 3\n  steps: [{name: a, loop: {times: 5}, request: {url: $BASE/round}}]",
		"assertion", "step 1 of 1, a: round 3 of 5: the flow has made 4 requests, and flow.max_requests allows no more", 4)
	f("  max_requests: 3\n  steps:\n    - name: a\n      loop: {times: 5}\n      steps: [{name: b, request: {url: $BASE/done}}]",
		"assertion", "step 1 of 1, a: round 4 of 5, b: the flow has made 3 requests, and flow.max_requests allows no more", 3)
	f("  steps: [{name: a, request: {url: $BASE/list}, extract: [{name: l, jsonpath: '$[*]'}]}]",
		"variable", "step 1 of 1, a: the list for l has 1001 values; want at most 1000", 1)
	f("  steps: [{name: a, request: {url: $BASE/done}, extract: [{name: l, jsonpath: $, default: x}]}, {name: b, request: {url: '/list?${l}'}}]", "", "", 2)
}

// TestFlowSizes: what a server sends cannot make a request or a value grow
// without end.
func TestFlowSizes(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"big":%q,"fit":%q}`, strings.Repeat("x", 65<<10), strings.Repeat("y", 60<<10))
	}))
	t.Cleanup(s.Close)
	f := func(step, want string) {
		t.Helper()
		r := runFlow(t, s.URL, "  steps: [{name: a, request: {url: $BASE/}, extract: [{name: fit, jsonpath: $.fit}]}, "+step+"]")
		if r.Reason != "variable" || r.Message != want {
			t.Errorf("got %s %q, want %q", r.Reason, r.Message, want)
		}
	}
	f("{name: b, request: {url: $BASE/}, extract: [{name: big, jsonpath: $.big}]}", "step 2 of 2, b: the value for big has 66560 bytes; want at most 65536")
	f("{name: b, request: {url: '$BASE/${fit}'}}", "step 2 of 2, b: with its variables a text of the request has more than 16384 bytes, the most that is sent")
	f("{name: b, request: {url: $BASE/, headers: {X: '${fit}'}}}", "step 2 of 2, b: with its variables a text of the request has more than 16384 bytes, the most that is sent")
	f("{name: b, request: {url: $BASE/, body: '"+strings.Repeat("${fit}", 20)+"'}}", "step 2 of 2, b: with its variables a text of the request has more than 1048576 bytes, the most that is sent")
	f("{name: b, request: {url: $BASE/, json: ["+strings.Repeat("'${fit}', ", 20)+"]}}", "step 2 of 2, b: the body to send has 1228861 bytes; want at most 1048576")
}
