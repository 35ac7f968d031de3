package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp/kb"
)

// Keys are those that a step may press besides single characters.
var Keys = map[string]string{
	"Enter": kb.Enter, "Tab": kb.Tab, "Escape": kb.Escape, "Backspace": kb.Backspace, "Delete": kb.Delete, "Space": " ",
	"ArrowUp": kb.ArrowUp, "ArrowDown": kb.ArrowDown, "ArrowLeft": kb.ArrowLeft, "ArrowRight": kb.ArrowRight,
	"Home": kb.Home, "End": kb.End, "PageUp": kb.PageUp, "PageDown": kb.PageDown,
}

const (
	// begin is how long after a click a navigation may take to begin.
	begin = 150 * time.Millisecond
	// typed is the longest text that is typed key by key; a longer one is put in
	// at once.
	typed = 200
)

// act does one step.
func (t *tab) act(ctx context.Context, s *Step, began time.Time) *Failure {
	switch {
	case s.Open != "":
		return t.open(ctx, s.Open, began)
	case s.Click != nil:
		return t.click(ctx, s.Click, began)
	case s.Type != nil:
		return t.fill(ctx, s.Type, began)
	case s.Press != "":
		if err := t.keys(ctx, keyOf(s.Press)); err != nil {
			return t.give(err, began)
		}
		return t.settle(ctx, began)
	case s.Select != nil:
		return t.choose(ctx, s.Select, began)
	case s.Expect != nil:
		return t.expect(ctx, s.Expect, began)
	case s.WaitFor != nil:
		_, f := t.find(ctx, s.WaitFor, false, began)
		return f
	case s.Evaluate != "":
		return t.assert(ctx, s.Evaluate, began)
	}
	return nil
}

// open goes to an address and waits until the page is loaded.
func (t *tab) open(ctx context.Context, address string, began time.Time) *Failure {
	t.mu.Lock()
	t.main, t.moving, t.loaded = nil, true, false
	saves := t.saves
	t.mu.Unlock()
	var res struct {
		LoaderID  string `json:"loaderId"`
		ErrorText string `json:"errorText"`
		Download  bool   `json:"isDownload"`
	}
	err := t.page.Execute(ctx, "Page.navigate", map[string]any{"url": address}, &res)
	if err != nil {
		if ctx.Err() != nil {
			err = errTime
		}
		return t.give(err, began)
	}
	if res.ErrorText == "net::ERR_ABORTED" && !res.Download {
		soon, cancel := context.WithTimeout(ctx, begin) // the news of a download may come after
		_ = t.until(soon, func() bool { return t.saves > saves })
		cancel()
	}
	if res.ErrorText != "" {
		t.mu.Lock()
		defer t.mu.Unlock()
		switch {
		case t.dead != nil:
			return t.dead
		case t.main != nil && t.main.answered && t.main.status >= 400:
			return t.document()
		case res.Download || t.saves > saves:
			return &Failure{"body", "body", "the address gives a file to save, which a check does not take, and no page"}
		case res.ErrorText == "net::ERR_ABORTED":
			return &Failure{"body", "body", "the address gives no page: the browser gave the navigation up (net::ERR_ABORTED)"}
		}
		f := explain(res.ErrorText, t.main != nil && t.main.answered)
		return &f
	}
	if res.LoaderID == "" { // another place of the same page
		t.mu.Lock()
		t.moving, t.loaded = false, true
		t.mu.Unlock()
		return nil
	}
	return t.arrive(ctx, began)
}

// arrive waits until the navigation under way has ended.
func (t *tab) arrive(ctx context.Context, began time.Time) *Failure {
	var f *Failure
	err := t.until(ctx, func() bool {
		f = t.document()
		return f != nil || t.loaded || !t.moving
	})
	if f != nil {
		return f
	}
	if err != nil {
		return t.give(err, began)
	}
	return nil
}

// settle waits for a navigation that an action may have begun.
func (t *tab) settle(ctx context.Context, began time.Time) *Failure {
	soon, cancel := context.WithTimeout(ctx, begin)
	defer cancel()
	err := t.until(soon, func() bool { return t.moving })
	if errors.Is(err, errTime) && ctx.Err() == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.document()
	}
	if err != nil {
		return t.give(err, began)
	}
	return t.arrive(ctx, began)
}

// document is what is wrong with the last document of the page, nil when it is
// well so far; t.mu is held.
func (t *tab) document() *Failure {
	x := t.main
	switch {
	case x == nil:
		return nil
	case x.answered && x.status >= 400:
		return &Failure{"status", "status", fmt.Sprintf("the reply of %s was %d %s; want one below 400", x.url, x.status, http.StatusText(x.status))}
	case x.failed != "" && !x.canceled:
		f := explain(x.failed, x.answered)
		f.Message = x.url + ": " + f.Message
		return &f
	}
	return nil
}

// give turns what stopped a step into a failure.
func (t *tab) give(err error, began time.Time) *Failure {
	late := errors.Is(err, errTime) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	busy := late && t.busy()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.dead != nil:
		return t.dead
	case errors.Is(err, errLost):
		return ownFault("the browser ended in the middle of the run")
	case late:
		return t.slow(began, busy)
	}
	return ownFault(fmt.Sprintf("the browser refused a command: %v", err))
}

// busy reports that the page does not answer, because a script holds it: then
// the browser hears nothing of what it loads either.
func (t *tab) busy() bool {
	t.mu.Lock()
	there := t.dead == nil && (t.main == nil || t.main.answered)
	t.mu.Unlock()
	if !there {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // the step's own time is over
	defer cancel()
	return errors.Is(t.evaluate(ctx, false, "0", nil), errTime)
}

// slow says what a step that ran out of time was waiting for; t.mu is held.
func (t *tab) slow(began time.Time, busy bool) *Failure {
	if f := t.document(); f != nil {
		return f
	}
	took := time.Since(began).Round(10 * time.Millisecond)
	if busy {
		said := fmt.Sprintf("the page does not react (for %s): its scripts keep it busy", took)
		if t.dialogs > 3 {
			said += fmt.Sprintf("; it opened %d dialogs", t.dialogs)
		}
		return &Failure{"body", "slow", said}
	}
	if t.moving && (t.main == nil || !t.main.answered) {
		return &Failure{"processing", "no_response", fmt.Sprintf("no reply came within %s", took)}
	}
	if pending := t.net.pending(t.main); len(pending) > 0 && t.moving {
		if pending[0] == t.main {
			return &Failure{"transfer", "slow_body", fmt.Sprintf("the document began, but did not end within %s", took)}
		}
		return &Failure{"transfer", "slow_body", fmt.Sprintf("the page did not finish loading within %s; %d of its requests have not ended, the oldest is %s", took, len(pending), pending[0].url)}
	}
	return &Failure{"assertion", "slow", fmt.Sprintf("the step did not end within %s", took)}
}

// place is where an element is and whether it can be used.
type place struct {
	State string  `json:"state"`
	By    string  `json:"by"`
	X     float64 `json:"x"`
	Y     float64 `json:"y"`
}

// poll asks until the answer is the last one. It returns what stopped it before;
// a document that went away in between is asked again when the next is there.
func (t *tab) poll(ctx context.Context, ask func() (bool, error)) error {
	for pause := 50 * time.Millisecond; ; pause = min(pause*3/2, 500*time.Millisecond) {
		done, err := ask()
		var bad thrown
		switch {
		case err == nil && done:
			return nil
		case errors.As(err, &bad), errors.Is(err, errTime), errors.Is(err, errLost):
			return err
		}
		t.mu.Lock()
		broken := t.dead != nil || t.document() != nil
		t.mu.Unlock()
		if broken {
			return errTime // give finds the cause
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errTime
		case <-t.page.lost:
			timer.Stop()
			return errLost
		}
	}
}

// find waits until an element is visible; for one that is to be used also until
// it is enabled, uncovered and still.
func (t *tab) find(ctx context.Context, e *Element, use bool, began time.Time) (place, *Failure) {
	var at, last place
	ask := fmt.Sprintf("V.find(%s, %s, %t)", quote(e.Selector), quote(e.Text), use)
	err := t.poll(ctx, func() (bool, error) {
		last = at
		at = place{}
		if err := t.evaluate(ctx, true, ask, &at); err != nil {
			if errors.Is(err, errTime) {
				at = last // the page hangs now; what was seen before counts
			}
			return false, err
		}
		if !use {
			return at.State == "ok" || at.State == "disabled" || at.State == "covered", nil
		}
		return at.State == "ok" && at == last, nil
	})
	if err == nil {
		return at, nil
	}
	if f := t.refuse(err, e.describe(), at.State, at.By, began); f != nil {
		return at, f
	}
	return at, t.give(err, began)
}

// refuse says what is wrong with an element, nil when that is not what stopped
// the step.
func (t *tab) refuse(err error, what, state, by string, began time.Time) *Failure {
	var bad thrown
	if errors.As(err, &bad) {
		return &Failure{"assertion", "assertion", fmt.Sprintf("%s cannot be looked for: %s", what, bad.text)}
	}
	if !errors.Is(err, errTime) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead != nil || t.document() != nil {
		return nil
	}
	took := time.Since(began).Round(10 * time.Millisecond)
	body := func(said string) *Failure {
		return &Failure{"body", "body", fmt.Sprintf("%s %s after %s", what, said, took)}
	}
	switch state {
	case "missing":
		return body("is not on the page")
	case "hidden":
		return body("is there, but not visible")
	case "disabled":
		return body("is there, but disabled")
	case "covered":
		return body("is covered by " + by)
	case "unknown":
		return body("has no such option")
	case "ok":
		return body("does not stand still")
	}
	return nil
}

func (e *Element) describe() string {
	switch {
	case e.Selector == "":
		return fmt.Sprintf("an element with the text %q", e.Text)
	case e.Text == "":
		return fmt.Sprintf("the element %q", e.Selector)
	}
	return fmt.Sprintf("an element %q with the text %q", e.Selector, e.Text)
}

func (t *tab) click(ctx context.Context, e *Element, began time.Time) *Failure {
	at, f := t.find(ctx, e, true, began)
	if f != nil {
		return f
	}
	ctx = cdp.WithExecutor(ctx, t.page)
	for _, do := range []*input.DispatchMouseEventParams{
		input.DispatchMouseEvent(input.MouseMoved, at.X, at.Y),
		input.DispatchMouseEvent(input.MousePressed, at.X, at.Y).WithButton(input.Left).WithButtons(1).WithClickCount(1),
		input.DispatchMouseEvent(input.MouseReleased, at.X, at.Y).WithButton(input.Left).WithClickCount(1),
	} {
		if err := do.Do(ctx); err != nil {
			return t.give(err, began)
		}
	}
	return t.settle(ctx, began)
}

func (t *tab) fill(ctx context.Context, y *Typing, began time.Time) *Failure {
	e := &Element{Selector: y.Into}
	if _, f := t.find(ctx, e, true, began); f != nil {
		return f
	}
	var how string
	if err := t.evaluate(ctx, true, fmt.Sprintf("V.focus(%s, %s)", quote(y.Into), quote(y.Text)), &how); err != nil {
		return t.give(err, began)
	}
	var err error
	switch {
	case how == "none" || how == "readonly":
		return &Failure{"body", "body", fmt.Sprintf("%s takes no text", e.describe())}
	case how == "filled":
	case y.Text == "":
		err = t.keys(ctx, kb.Delete)
	case len(y.Text) > typed:
		err = input.InsertText(y.Text).Do(cdp.WithExecutor(ctx, t.page))
	default:
		err = t.keys(ctx, y.Text)
	}
	if err != nil {
		return t.give(err, began)
	}
	return nil
}

// keys presses one key after the other.
func (t *tab) keys(ctx context.Context, text string) error {
	ctx = cdp.WithExecutor(ctx, t.page)
	for _, r := range text {
		for _, key := range kb.Encode(r) {
			if err := key.Do(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func keyOf(name string) string {
	if k, ok := Keys[name]; ok {
		return k
	}
	return name
}

func (t *tab) choose(ctx context.Context, c *Choice, began time.Time) *Failure {
	state := ""
	ask := fmt.Sprintf("V.choose(%s, %s)", quote(c.From), quote(c.Option))
	err := t.poll(ctx, func() (bool, error) {
		err := t.evaluate(ctx, true, ask, &state)
		return state == "ok" || state == "none", err
	})
	what := fmt.Sprintf("the element %q", c.From)
	switch {
	case err == nil && state == "none":
		return &Failure{"body", "body", what + " is no list of options (select)"}
	case err == nil:
		return t.settle(ctx, began)
	}
	if state == "unknown" {
		what = fmt.Sprintf("the list %q (wanted %q)", c.From, c.Option)
	}
	if f := t.refuse(err, what, state, "", began); f != nil {
		return f
	}
	return t.give(err, began)
}

// view is what a page looks like in the eyes of an expectation.
type view struct {
	URL      string `json:"url"`
	Title    string `json:"title"`
	Elements int    `json:"elements"`
	Text     bool   `json:"text"`
	NotText  bool   `json:"notText"`
	Said     string `json:"said"`
	Count    int    `json:"count"`
}

// expect waits until the page is as wanted.
func (t *tab) expect(ctx context.Context, e *Expect, began time.Time) *Failure {
	q, err := json.Marshal(map[string]string{"selector": e.Selector, "text": e.Text, "notText": e.NotText, "count": e.Count})
	if err != nil {
		return ownFault(err.Error())
	}
	var v view
	missing := ""
	err = t.poll(ctx, func() (bool, error) {
		v = view{}
		if err := t.evaluate(ctx, true, "V.look("+string(q)+")", &v); err != nil {
			return false, err
		}
		missing = e.missing(&v)
		return missing == "", nil
	})
	if err == nil {
		return nil
	}
	var bad thrown
	if errors.As(err, &bad) {
		return &Failure{"assertion", "assertion", "the page cannot be looked at: " + bad.text}
	}
	t.mu.Lock()
	fine := t.dead == nil && t.document() == nil && errors.Is(err, errTime)
	t.mu.Unlock()
	if fine && missing != "" {
		return &Failure{"body", "body", fmt.Sprintf("%s (after %s)", missing, time.Since(began).Round(10*time.Millisecond))}
	}
	return t.give(err, began)
}

// missing is the first thing that is not as wanted, "" when all is.
func (e *Expect) missing(v *view) string {
	where := "the page"
	if e.Selector != "" {
		where = fmt.Sprintf("the element %q", e.Selector)
	}
	says := ""
	if v.Said != "" {
		says = fmt.Sprintf("; it begins %q", v.Said)
	}
	switch {
	case e.URL != nil && !e.URL.MatchString(v.URL):
		return fmt.Sprintf("the address is %s; want one that matches %q", v.URL, e.URL)
	case e.Title != "" && !strings.Contains(v.Title, e.Title):
		return fmt.Sprintf("the title is %q; want %q in it", v.Title, e.Title)
	case e.Selector != "" && v.Elements == 0:
		return where + " is not on the page"
	case !v.Text:
		return fmt.Sprintf("%s does not have the text %q%s", where, e.Text, says)
	case !v.NotText:
		return fmt.Sprintf("%s has the text %q and should not", where, e.NotText)
	case e.Count != "" && v.Count < e.AtLeast:
		return fmt.Sprintf("there are %d elements %q; want at least %d", v.Count, e.Count, e.AtLeast)
	case e.Count != "" && e.AtMost >= 0 && v.Count > e.AtMost:
		return fmt.Sprintf("there are %d elements %q; want at most %d", v.Count, e.Count, e.AtMost)
	}
	return ""
}

// assert runs the check's own JavaScript in the page.
func (t *tab) assert(ctx context.Context, expression string, began time.Time) *Failure {
	var got remote
	err := t.evaluate(ctx, false, expression, &got)
	var bad thrown
	switch {
	case errors.As(err, &bad):
		return &Failure{"assertion", "assertion", "the expression failed: " + bad.text}
	case err != nil:
		return t.give(err, began)
	case got.Type != "boolean" || got.String() != "true":
		return &Failure{"assertion", "assertion", fmt.Sprintf("the expression gives %s; want true", cut(got.String(), 200))}
	}
	return nil
}

// quote is a text as JavaScript has it.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

// head is a document's reply as far as it is known, for evidence.
func (x *exchange) head() *http.Response {
	h := &http.Response{StatusCode: x.status, Status: fmt.Sprintf("%d %s", x.status, http.StatusText(x.status)), Proto: x.proto, Header: http.Header{}}
	if x.statusText != "" {
		h.Status = fmt.Sprintf("%d %s", x.status, x.statusText)
	}
	for name, v := range x.headers {
		for _, line := range strings.Split(v, "\n") {
			h.Header.Add(name, line)
		}
	}
	return h
}

func parsed(address string) *url.URL {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	return u
}
