package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/cdproto/target"
)

// world is where our own scripts run: they see the page, the page does not see
// them.
const world = "vedette"

const (
	maxConsole     = 50
	maxConsoleLine = 2000 // before it is cleaned
)

// tab is the one page of a run with what was learned of it.
type tab struct {
	script  *Script
	browser session
	page    session // set once, before its events come
	target  string
	start   time.Time // of the first step; set before it

	mu      sync.Mutex
	changed chan struct{} // closed when any of the rest changed
	step    string        // the one that is done now
	net     ledger
	main    *exchange // the last document of the page itself
	moving  bool      // a navigation has begun and not ended
	loaded  bool      // the load event came since the last navigation began
	ours    int64     // the execution context of our scripts in the page, 0: none
	dead    *Failure  // nothing more can be done
	console []string
	more    int // console lines that were left out
	dialogs int
	popups  int
	saves   int // downloads
	vitals  []*vitals
	asked   map[string]bool // requests that were given the credentials
}

// openTab makes the page ready for the first step.
func openTab(ctx context.Context, c *conn, t *tab) error {
	t.mu.Lock()
	t.browser = session{conn: c}
	t.mu.Unlock()
	ctx = cdp.WithExecutor(ctx, t.browser)
	targets, err := target.GetTargets().Do(ctx)
	if err != nil {
		return err
	}
	for _, info := range targets {
		if info.Type == "page" {
			t.target = string(info.TargetID)
			break
		}
	}
	if t.target == "" {
		id, err := target.CreateTarget("about:blank").Do(ctx)
		if err != nil {
			return err
		}
		t.target = string(id)
	}
	id, err := target.AttachToTarget(target.ID(t.target)).WithFlatten(true).Do(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.page = session{conn: c, id: string(id)}
	t.mu.Unlock()
	if err := target.SetDiscoverTargets(true).Do(ctx); err != nil { // popups
		return err
	}
	if err := browser.SetDownloadBehavior(browser.SetDownloadBehaviorBehaviorDeny).WithEventsEnabled(true).Do(ctx); err != nil {
		return err
	}
	ctx = cdp.WithExecutor(ctx, t.page)
	s := t.script
	todo := []interface{ Do(context.Context) error }{
		inspector.Enable(), page.Enable(), runtime.Enable(), network.Enable(), log.Enable(),
		runtime.AddBinding(binding).WithExecutionContextName(world),
		emulation.SetDeviceMetricsOverride(int64(s.Width), int64(s.Height), 1, s.Mobile),
	}
	if s.Mobile {
		todo = append(todo, emulation.SetTouchEmulationEnabled(true))
	}
	if s.UserAgent != "" {
		todo = append(todo, emulation.SetUserAgentOverride(s.UserAgent))
	}
	if s.IgnoreCerts {
		todo = append(todo, security.SetIgnoreCertificateErrors(true))
	}
	if patterns := t.patterns(); len(patterns) > 0 {
		todo = append(todo, fetch.Enable().WithPatterns(patterns).WithHandleAuthRequests(s.User != ""))
	}
	for _, do := range todo {
		if err := do.Do(ctx); err != nil {
			return err
		}
	}
	_, err = page.AddScriptToEvaluateOnNewDocument(watch).WithWorldName(world).Do(ctx)
	return err
}

// patterns are the requests that are held to give them our headers: those to
// the check's own hosts, and no others.
func (t *tab) patterns() (out []*fetch.RequestPattern) {
	if t.script.TraceID == "" && t.script.User == "" {
		return nil
	}
	for _, u := range t.script.Origins {
		// A host has neither * nor ?, the only characters that mean more here.
		out = append(out, &fetch.RequestPattern{URLPattern: u.Scheme + "://" + u.Host + "/*"})
	}
	return out
}

// own reports whether a host is the check's own.
func (t *tab) own(u *url.URL) bool {
	for _, o := range t.script.Origins {
		if u.Scheme == o.Scheme && strings.EqualFold(u.Host, o.Host) {
			return true
		}
	}
	return false
}

// tell wakes those who wait for a change; t.mu is held.
func (t *tab) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// die notes why nothing more can be done; t.mu is held. The first cause stays.
func (t *tab) die(f *Failure) {
	if t.dead == nil {
		t.dead = f
	}
}

// event takes an event. It is called by the reader of the connection: it must
// not wait for an answer.
func (t *tab) event(sessionID, method string, params json.RawMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sessionID == "" {
		t.browserEvent(method, params)
		return
	}
	if sessionID != t.page.id {
		return
	}
	defer t.tell()
	domain, _, _ := strings.Cut(method, ".")
	if domain == "Network" {
		x := t.net.event(method, params, t.target, t.step)
		if x != nil && method == "Network.requestWillBeSent" && x.main {
			t.main, t.moving, t.loaded = x, true, false
		}
		if x != nil && x == t.main && method == "Network.loadingFailed" {
			t.moving = false
		}
		if t.net.loaded > t.script.MaxBytes {
			t.die(&Failure{"transfer", "too_large", fmt.Sprintf("the page loads more than the %d bytes that browser.max_bytes allows", t.script.MaxBytes)})
		}
		return
	}
	switch method {
	case "Page.loadEventFired":
		t.moving, t.loaded = false, true
	case "Page.javascriptDialogOpening":
		var e struct{ Type, Message string }
		_ = json.Unmarshal(params, &e) // an empty one is dismissed as well
		t.dialogs++
		if t.dialogs <= 3 {
			t.say(fmt.Sprintf("%s dialog, dismissed: %s", e.Type, e.Message))
		}
		// A page that asks whether it may be left may.
		t.post("Page.handleJavaScriptDialog", map[string]any{"accept": e.Type == "beforeunload"})
	case "Runtime.executionContextCreated":
		var e struct {
			Context struct {
				ID      int64
				Name    string
				AuxData struct{ FrameID string }
			}
		}
		if json.Unmarshal(params, &e) == nil && e.Context.Name == world && e.Context.AuxData.FrameID == t.target {
			t.ours = e.Context.ID
		}
	case "Runtime.executionContextDestroyed":
		var e struct{ ExecutionContextID int64 }
		if json.Unmarshal(params, &e) == nil && e.ExecutionContextID == t.ours {
			t.ours = 0
		}
	case "Runtime.executionContextsCleared":
		t.ours = 0
	case "Runtime.bindingCalled":
		var e struct{ Name, Payload string }
		if json.Unmarshal(params, &e) == nil && e.Name == binding && len(e.Payload) < 4096 {
			t.learn(e.Payload)
		}
	case "Runtime.consoleAPICalled":
		t.sayAll(params)
	case "Runtime.exceptionThrown":
		var e struct{ ExceptionDetails exception }
		if json.Unmarshal(params, &e) == nil {
			t.say("uncaught: " + e.ExceptionDetails.String())
		}
	case "Log.entryAdded":
		var e struct {
			Entry struct{ Source, Level, Text, URL string }
		}
		if json.Unmarshal(params, &e) == nil && e.Entry.Source != "network" && e.Entry.Level != "verbose" {
			t.say(strings.TrimSpace(e.Entry.Level + ": " + e.Entry.Text + " " + e.Entry.URL))
		}
	case "Fetch.requestPaused":
		t.release(params)
	case "Fetch.authRequired":
		t.authorize(params)
	case "Inspector.targetCrashed":
		t.die(ownFault("the page's process ended: it crashed, or this machine killed it for its memory"))
	case "Inspector.detached":
		t.die(ownFault("the page went away from the browser"))
	}
}

func (t *tab) browserEvent(method string, params json.RawMessage) {
	switch method {
	case "Target.targetCreated":
		var e struct {
			TargetInfo struct{ TargetID, Type string }
		}
		if json.Unmarshal(params, &e) == nil && e.TargetInfo.Type == "page" && e.TargetInfo.TargetID != t.target {
			t.popups++
			_, _ = t.browser.post("Target.closeTarget", map[string]any{"targetId": e.TargetInfo.TargetID}, nil) // it is lost with the browser
		}
	case "Browser.downloadWillBegin":
		t.saves++
		if t.main != nil && t.main.ended == 0 {
			t.moving = false
		}
		t.tell()
	}
}

// post sends a command to the page without waiting.
func (t *tab) post(method string, params any) {
	_, _ = t.page.post(method, params, nil) // who waits for the page learns that it is gone
}

// release lets a held request go on with the traceparent.
func (t *tab) release(params json.RawMessage) {
	var e struct {
		RequestID string `json:"requestId"`
		Request   struct {
			URL     string            `json:"url"`
			Headers map[string]string `json:"headers"`
		} `json:"request"`
	}
	if json.Unmarshal(params, &e) != nil {
		return
	}
	type entry struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	answer := map[string]any{"requestId": e.RequestID}
	if u, err := url.Parse(e.Request.URL); err == nil && t.own(u) && t.script.TraceID != "" {
		var headers []entry
		for name, v := range e.Request.Headers {
			if !strings.EqualFold(name, "traceparent") {
				headers = append(headers, entry{name, v})
			}
		}
		answer["headers"] = append(headers, entry{"traceparent", "00-" + t.script.TraceID + "-" + spanID() + "-01"})
	}
	t.post("Fetch.continueRequest", answer)
}

// authorize answers a host of the check that asks for credentials; others and
// proxies get none, and credentials that were refused are not tried again.
func (t *tab) authorize(params json.RawMessage) {
	var e struct {
		RequestID     string `json:"requestId"`
		Request       struct{ URL string }
		AuthChallenge struct{ Source, Origin string }
	}
	if json.Unmarshal(params, &e) != nil {
		return
	}
	answer := map[string]any{"response": "CancelAuth"}
	u, err := url.Parse(e.AuthChallenge.Origin)
	if err == nil && t.own(u) && !strings.EqualFold(e.AuthChallenge.Source, "proxy") && !t.asked[e.RequestID] {
		answer = map[string]any{"response": "ProvideCredentials", "username": t.script.User, "password": t.script.Password}
		t.asked[e.RequestID] = true
	}
	t.post("Fetch.continueWithAuth", map[string]any{"requestId": e.RequestID, "authChallengeResponse": answer})
}

// say keeps a line of the console; t.mu is held.
func (t *tab) say(line string) {
	if len(t.console) >= maxConsole {
		t.more++
		return
	}
	t.console = append(t.console, cut(line, maxConsoleLine))
}

// sayAll keeps what a script wrote to the console.
func (t *tab) sayAll(params json.RawMessage) {
	var e struct {
		Type string   `json:"type"`
		Args []remote `json:"args"`
	}
	if json.Unmarshal(params, &e) != nil {
		return
	}
	words := []string{e.Type + ":"}
	for _, a := range e.Args[:min(len(e.Args), 20)] {
		words = append(words, a.String())
	}
	t.say(strings.Join(words, " "))
}

// remote is a JavaScript value.
type remote struct {
	Type        string          `json:"type"`
	Subtype     string          `json:"subtype"`
	Value       json.RawMessage `json:"value"`
	Description string          `json:"description"`
	Unserial    string          `json:"unserializableValue"`
	Preview     *struct {
		Properties []struct{ Name, Value string } `json:"properties"`
	} `json:"preview"`
}

func (r remote) String() string {
	var text string
	switch {
	case r.Type == "undefined":
		return "undefined"
	case json.Unmarshal(r.Value, &text) == nil && r.Type == "string":
		return text
	case len(r.Value) > 0:
		return string(r.Value)
	case r.Preview != nil && r.Subtype != "error":
		var fields []string
		for _, p := range r.Preview.Properties[:min(len(r.Preview.Properties), 20)] {
			fields = append(fields, p.Name+": "+p.Value)
		}
		return r.Description + " {" + strings.Join(fields, ", ") + "}"
	case r.Description != "":
		return r.Description
	}
	return r.Unserial
}

// exception is one that no script caught.
type exception struct {
	Text      string  `json:"text"`
	URL       string  `json:"url"`
	Line      int     `json:"lineNumber"`
	Exception *remote `json:"exception"`
}

func (e exception) String() string {
	text := e.Text
	if e.Exception != nil {
		first, _, _ := strings.Cut(e.Exception.String(), "\n")
		text = first
	}
	if e.URL != "" {
		text += fmt.Sprintf(" (%s:%d)", e.URL, e.Line+1)
	}
	return text
}

// errTime is that a step's time is over.
var errTime = errors.New("the time is over")

// until waits until a condition, asked with t.mu held, is true. The error is
// errTime, or a Failure's cause when nothing more can be done.
func (t *tab) until(ctx context.Context, cond func() bool) error {
	for {
		t.mu.Lock()
		ok, dead, changed := cond(), t.dead, t.changed
		t.mu.Unlock()
		switch {
		case dead != nil:
			return errLost
		case ok:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errTime
		case <-t.page.lost:
			return errLost
		}
	}
}

// evaluate runs JavaScript and decodes what it gives; in our own world, or in
// the page's. Exceptions are errors of the type thrown.
func (t *tab) evaluate(ctx context.Context, ours bool, expression string, to any) error {
	params := map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}
	if ours {
		if err := t.until(ctx, func() bool { return t.ours != 0 }); err != nil {
			return err
		}
		t.mu.Lock()
		params["contextId"] = t.ours
		t.mu.Unlock()
	}
	var res struct {
		Result    remote     `json:"result"`
		Exception *exception `json:"exceptionDetails"`
	}
	if err := t.page.Execute(ctx, "Runtime.evaluate", params, &res); err != nil {
		if ctx.Err() != nil {
			return errTime
		}
		return err
	}
	if res.Exception != nil {
		return thrown{res.Exception.String()}
	}
	switch to := to.(type) {
	case nil:
		return nil
	case *remote:
		*to = res.Result
		return nil
	}
	return json.Unmarshal(res.Result.Value, to)
}

type thrown struct{ text string }

func (t thrown) Error() string { return t.text }

// now is the present on the browser's clock; t.mu is held.
func (t *tab) now() float64 {
	if len(t.net.all) == 0 {
		return 0
	}
	x := t.net.all[0]
	return float64(time.Now().UnixNano())/1e9 - x.wall + x.sent
}
