package probe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

func browserCheck(t *testing.T, text string) probe.Check {
	t.Helper()
	var c probe.Check
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return c
}

// needChromium skips a test where there is none, and looks for profiles that are
// left behind; package browser looks for processes.
func needChromium(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("NOT TESTED: there is no chromium on this machine; apt-get install chromium")
	}
	t.Cleanup(func() {
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), fmt.Sprintf("vedette-browser-%d-*", os.Getpid()))); len(left) > 0 {
			t.Errorf("left behind in the directory for temporary files: %q", left)
		}
	})
}

func TestBrowserYAML(t *testing.T) {
	const text = `
name: buy a book
browser:
  viewport: {mobile: true}
  variables: {book: lem}
  secrets: {password: {env: SHOP_PASSWORD}, pin: {file: pin.txt}}
  steps:
    - {name: open the shop, open: "https://shop.example.org/?q=${book}"}
    - {type: {into: "#q", text: "${password}"}}
    - {click: "button[type=submit]"}
    - {click: {text: Buy}}
    - {press: Enter}
    - {select: {from: "#size", option: large}}
    - {expect: {text: results, selector: "#list", title: Shop, url: "^https:", count: {selector: li, at_least: 2}}}
    - {wait: 500ms}
    - {wait_for: "#done", timeout: 3s}
    - {screenshot: true}
    - {evaluate: "document.title === 'Shop'"}
`
	c := browserCheck(t, text)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Kind != "browser" || c.Interval != 5*time.Minute || c.Timeout != time.Minute || c.Target() != "https://shop.example.org/?q=lem" {
		t.Errorf("got kind %s, interval %s, timeout %s, target %s; want browser, 5m, 1m and the first address", c.Kind, c.Interval, c.Timeout, c.Target())
	}
	b := c.Browser
	if b.Viewport != (probe.BrowserViewport{Width: 390, Height: 844, Mobile: true}) || b.StepTimeout != 15*time.Second || b.MaxBytes != 50<<20 || b.Steps[1].Name != "step 2" {
		t.Errorf("got defaults %+v", b)
	}
	if *b.Steps[2].Click != (probe.BrowserElement{Selector: "button[type=submit]"}) || *b.Steps[3].Click != (probe.BrowserElement{Text: "Buy"}) {
		t.Errorf("got clicks %+v and %+v", b.Steps[2].Click, b.Steps[3].Click)
	}
	if got := c.Environment(); !reflect.DeepEqual(got, []string{"SHOP_PASSWORD"}) {
		t.Errorf("got environment %q, want SHOP_PASSWORD", got)
	}
	if got := c.Files(); len(got) != 1 || *got[0] != "pin.txt" {
		t.Errorf("got %d files, want pin.txt", len(got))
	}
	again := c
	if err := again.Validate(); err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("validating twice: %v, %+v", err, again)
	}
	written, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if back := browserCheck(t, string(written)); !reflect.DeepEqual(back, c) {
		t.Errorf("written and read again: got\n%+v\nwant\n%+v", back.Browser, c.Browser)
	}

	f := func(browser, says string) {
		t.Helper()
		c := browserCheck(t, "name: b\n"+browser)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got error %v, want one with %q", browser, err, says)
		}
	}
	open := "{open: \"http://h/\"}"
	f("browser: {}", "browser.steps: is missing")
	f("kind: browser", "browser: is missing")
	f("url: http://h/\nkind: browser\nbrowser: {steps: ["+open+"]}", "has no url")
	f("browser: {steps: [{click: a}]}", "browser.steps[0].open")
	f("browser: {steps: [{open: \"file:///etc/passwd\"}]}", "browser.steps[0].open: \"file")
	f("browser: {steps: [{open: \"chrome://crash\"}]}", "https://shop")
	f("browser: {variables: {x: y}, steps: [{open: \"file:///${x}\"}]}", "https://shop")
	f("browser: {steps: [{open: \"http://u:p@h/\"}]}", "basic_auth")
	f("browser: {steps: [{open: \"http://h/${nope}\"}]}", "no variable ${nope}")
	f("browser: {steps: ["+open+", {name: x}]}", "browser.steps[1]: has 0 of them")
	f("browser: {steps: ["+open+", {press: Enter, wait: 1s}]}", "has 2 of them")
	f("browser: {steps: ["+open+", {press: Return}]}", "want one character or one of")
	f("browser: {steps: ["+open+", {wait: 2m}]}", "want less than the run may take")
	f("browser: {steps: ["+open+", {expect: {url: \"(\"}}]}", "regular expression")
	f("browser: {steps: ["+open+", {expect: {}}]}", "is empty")
	f("browser: {steps: ["+open+", {expect: {count: {selector: a}}}]}", "want at_least")
	f("browser: {steps: ["+open+", {name: step 1, wait: 1s}]}", "name of another step")
	f("browser: {secrets: {p: {}}, steps: ["+open+"]}", "browser.secrets.p: want one of env")
	f("browser: {viewport: {width: 9}, steps: ["+open+"]}", "browser.viewport: 9 x 800")
	f("browser: {max_bytes: -1, steps: ["+open+"]}", "browser.max_bytes: -1")
	f("expect: {body_contains: x}\nbrowser: {steps: ["+open+"]}", "browser.steps[].expect")
	f("resolver: 10.0.0.1:53\nbrowser: {steps: ["+open+"]}", "resolver")
	f("tls: {ca_file: x.pem}\nbrowser: {steps: ["+open+"]}", "tls:")
	f("method: POST\nbrowser: {steps: ["+open+"]}", "method")
	if err := probe.ConfigureBrowsers(probe.BrowserConfig{Concurrent: -1}); err == nil || !strings.Contains(err.Error(), "browser.concurrent: -1") {
		t.Errorf("got error %v, want one about browser.concurrent", err)
	}
}

// TestBrowserPool runs two checks at once where one browser may run.
func TestBrowserPool(t *testing.T) {
	needChromium(t)
	waits := make(chan struct{})
	var once sync.Once
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		once.Do(func() { <-waits }) // the first page comes when the second check waits
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<title>Shop</title><h1>Hello</h1>")
	}))
	defer srv.Close()
	c := browserCheck(t, `
name: shop
expect: {max_seconds: 25}
browser:
  steps:
    - {name: open, open: "`+srv.URL+`/"}
    - {name: look, expect: {text: Hello}}
`)
	var results [2]record.CheckResult
	var all sync.WaitGroup
	begin := time.Now()
	for i := range results {
		all.Go(func() { results[i] = probe.Once(context.Background(), c) })
	}
	for {
		running, waiting := probe.BrowserStats()
		if running == 1 && waiting == 1 {
			break
		}
		if running > 1 || time.Since(begin) > 20*time.Second {
			t.Errorf("got %d running and %d waiting, want 1 and 1", running, waiting)
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	close(waits)
	all.Wait()
	if running, waiting := probe.BrowserStats(); running != 0 || waiting != 0 {
		t.Errorf("got %d running and %d waiting afterwards, want none", running, waiting)
	}
	first, second := results[0], results[1]
	if second.Start.Before(first.Start) {
		first, second = second, first
	}
	if end := first.Start.Add(first.Duration); second.Start.Before(end) {
		t.Errorf("the second run began at %s, want it after the end of the first, %s: waiting is no time of its own", second.Start, end)
	}
	for _, r := range results {
		if !r.Success || len(r.Steps) != 2 || r.Steps[1].State != "ok" || len(r.Hops) == 0 || r.Status() != 200 {
			t.Errorf("got %t, %s %s %s, steps %+v, %d hops, status %d; want success with two steps", r.Success, r.Stage, r.Reason, r.Message, r.Steps, len(r.Hops), r.Status())
		}
		if r.HasScreenshot || len(r.Console) > 0 {
			t.Errorf("got a picture (%t) or a console %q of a good run, want none", r.HasScreenshot, r.Console)
		}
		if len(r.Hops) == 0 {
			continue
		}
		if h := r.Hops[0]; h.Type != "document" || h.Step != "open" || h.Address != srv.Listener.Addr().String() || h.Phases[record.Connect].State != record.Done || h.Phases[record.Resolve].State != record.Skipped || h.Proto != "HTTP/1.1" {
			t.Errorf("got first hop %+v", h)
		}
		series := map[string]bool{}
		for _, s := range probe.Samples(c, r) {
			series[s.Name] = true
		}
		for _, name := range []string{"probe_success", "probe_step_duration_seconds", "probe_browser_ttfb_seconds", "probe_browser_requests", "probe_phase_duration_seconds"} {
			if !series[name] {
				t.Errorf("got no series %s", name)
			}
		}
	}
}

// TestBrowserWaitsTooLong is about a check that gets no browser.
func TestBrowserWaitsTooLong(t *testing.T) {
	release, err := probe.HoldBrowser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	r := probe.Once(t.Context(), browserCheck(t, "name: b\ninterval: 1s\ntimeout: 500ms\nbrowser: {steps: [{open: \"http://127.0.0.1:1/\"}]}"))
	if r.Success || r.Reason != "own_fault" || !strings.Contains(r.Message, "no browser came free: 1 run") || !strings.Contains(r.Message, "browser.concurrent") {
		t.Errorf("got %t %s: %s; want own_fault that says why", r.Success, r.Reason, r.Message)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := probe.Once(ctx, browserCheck(t, "name: b\nbrowser: {steps: [{open: \"http://127.0.0.1:1/\"}]}")); r.Success || r.Reason != "own_fault" {
		t.Errorf("got %t %s: %s; want own_fault of a run that was given up", r.Success, r.Reason, r.Message)
	}
}

// TestBrowserFailure fails on a page that tells the secret in every way, and
// looks for it in the result.
func TestBrowserFailure(t *testing.T) {
	needChromium(t)
	const secret = `pa55-"word"-9`
	t.Setenv("VEDETTE_TEST_SHOP_PASSWORD", secret)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: "cookie-value-77"})
			_, _ = io.WriteString(w, `<title>Login</title><form action=/in><input name=p id=p><button>In</button></form>
				<img src=/broken.png><script>
				p.oninput = () => { console.error("typed", p.value, {deep: p.value}) };
				setTimeout(() => { null.boom }, 0);
				</script>`)
		case "/in":
			w.Header().Set("Set-Cookie", "sid=cookie-value-88")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, "wrong password: %s", r.FormValue("p"))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	r := probe.Once(t.Context(), browserCheck(t, `
name: login
browser:
  secrets: {password: {env: VEDETTE_TEST_SHOP_PASSWORD}}
  steps:
    - {name: open, open: "`+srv.URL+`/"}
    - {name: type, type: {into: "#p", text: "${password}"}}
    - {name: in, click: {text: In}}
    - {name: never, expect: {text: Welcome}}
`))
	if r.Success || r.Stage != "status" || r.Reason != "status" || !strings.HasPrefix(r.Message, "step 3 of 4, in: ") || !strings.Contains(r.Message, "500 Internal Server Error") {
		t.Errorf("got %s/%s: %s; want status/status in step 3", r.Stage, r.Reason, r.Message)
	}
	var states []string
	for _, s := range r.Steps {
		states = append(states, s.State)
	}
	if want := []string{"ok", "ok", "failed", "not_reached"}; !reflect.DeepEqual(states, want) {
		t.Errorf("got steps %q, want %q", states, want)
	}
	console := strings.Join(r.Console, "\n")
	for _, want := range []string{"error: typed (removed)", "uncaught: TypeError: Cannot read properties of null", "/broken.png (404 Not Found)", "(500 Internal Server Error)"} {
		if !strings.Contains(console, want) {
			t.Errorf("got console\n%s\nwant %q in it", console, want)
		}
	}
	if !strings.Contains(r.Reply, "500 Internal Server Error") || !strings.Contains(r.Reply, "wrong password: (removed)") {
		t.Errorf("got reply %q, want its head and what it said", r.Reply)
	}
	if !r.HasScreenshot || len(r.Screenshot) < 1000 || len(r.Screenshot) > 300<<10 {
		t.Errorf("got a picture of %d bytes (%t)", len(r.Screenshot), r.HasScreenshot)
	}
	if r.Status() != 500 {
		t.Errorf("got status %d, want that of the last document, 500", r.Status())
	}
	for _, s := range texts(t, r) {
		for _, sec := range []string{secret, "cookie-value-88"} {
			if strings.Contains(s, sec) {
				t.Errorf("%q is in the result: %s", sec, s)
			}
		}
	}
	if b, err := json.Marshal(r); err != nil || len(b) > 200<<10 {
		t.Errorf("got %d bytes of JSON, %v", len(b), err)
	}
}

// TestBrowserLooksAgain is about what a browser does not tell: which certificate
// it refused, and in which phase a server hangs.
func TestBrowserLooksAgain(t *testing.T) {
	needChromium(t)
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	f := func(address, timeout, stage, reason, says string) record.CheckResult {
		t.Helper()
		r := probe.Once(t.Context(), browserCheck(t, "name: b\ntimeout: "+timeout+"\nbrowser: {steps: [{name: open, open: \""+address+"\"}]}"))
		if r.Success || r.Stage != stage || r.Reason != reason || !strings.Contains(r.Message, says) {
			t.Errorf("%s: got %s/%s: %s; want %s/%s with %q", address, r.Stage, r.Reason, r.Message, stage, reason, says)
		}
		if len(r.Hops) == 0 {
			t.Fatalf("%s: got no hop", address)
		}
		return r
	}
	r := f(srv.URL, "30s", "tls", "tls_unknown_ca", "authority")
	if crt := r.Certificate(); crt == nil || crt.NotAfter.IsZero() || r.Hops[0].Phases[record.TLS].State != record.Failed || r.Hops[0].Phases[record.Connect].State != record.Done {
		t.Errorf("got certificate %+v and phases %+v, want the one that was refused in the phase tls", crt, r.Hops[0].Phases)
	}
	silent := serveTCP(t, func(c net.Conn) { hang(c) })
	r = f("https://"+silent, "8s", "tls", "tls_timeout", "handshake")
	if ph := r.Hops[0].Phases; ph[record.Connect].State != record.Done || ph[record.TLS].State != record.Failed || ph[record.Processing].State != record.NotReached {
		t.Errorf("got phases %+v, want tls failed", ph)
	}
	r = f("http://"+silent, "8s", "processing", "no_response", "no reply")
	if ph := r.Hops[0].Phases; ph[record.Connect].State != record.Done || ph[record.Processing].State != record.Failed {
		t.Errorf("got phases %+v, want processing failed", ph)
	}
}
