package browser_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe/browser"
)

// needBrowser skips a test where there is no Chromium, and afterwards looks for
// what a browser left behind: processes, zombies among them, and profiles.
func needBrowser(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("NOT TESTED: there is no chromium on this machine; apt-get install chromium")
	}
	dir, err := os.MkdirTemp("", "vb") // a short path: see roots
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	before := map[int]bool{}
	for _, pid := range browser.Descendants(os.Getpid()) {
		before[pid] = true
	}
	t.Cleanup(func() {
		for _, pid := range browser.Descendants(os.Getpid()) {
			if !before[pid] {
				b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat") // may be gone
				t.Errorf("process %d (state %c) was left behind: %s", pid, browser.State(pid), b)
			}
		}
		// Those that have another parent by now.
		all, err := os.ReadDir("/proc")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline") // may be gone
			if strings.Contains(string(line), dir) {
				t.Errorf("process %s was left behind: %q", e.Name(), line)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("left behind in the directory for temporary files: %q", left)
		}
	})
}

// serve is a server of pages by path.
func serve(t *testing.T, pages map[string]http.HandlerFunc) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for path, h := range pages {
		mux.HandleFunc(path, h)
	}
	mux.HandleFunc("/favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv
}

func html(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}
}

// listen answers each connection with f, which is told the connection.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); f(c) }()
		}
	}()
	return ln.Addr().String()
}

// run acts steps out in a browser of its own.
func run(t *testing.T, limit time.Duration, s *browser.Script) *browser.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if s.Width == 0 {
		s.Width, s.Height = 1000, 700
	}
	if s.MaxBytes == 0 {
		s.MaxBytes = 50 << 20
	}
	if s.Reserve == 0 {
		s.Reserve = 2 * time.Second
	}
	s.Picture = true
	var p browser.Pool
	return p.Run(ctx, s)
}

func wantFailure(t *testing.T, what string, f *browser.Failure, stage, reason, says string) {
	t.Helper()
	if f == nil {
		t.Errorf("%s: got success, want %s/%s", what, stage, reason)
		return
	}
	if f.Stage != stage || f.Reason != reason || !strings.Contains(f.Message, says) {
		t.Errorf("%s: got %+v, want %s/%s with %q", what, *f, stage, reason, says)
	}
}

// TestOpens opens what is broken in every way that a page can meet, all in one
// browser.
func TestOpens(t *testing.T) {
	needBrowser(t)
	srv := serve(t, map[string]http.HandlerFunc{
		"/ok":  html("<title>ok</title>fine"),
		"/500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"/404": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, "no such page")
		},
		"/loop": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) },
		"/to-file": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		},
		"/download": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Disposition", "attachment; filename=a.bin")
			_, _ = w.Write(make([]byte, 1000))
		},
		"/nothing": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"/hang":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"/drip": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<p>begun")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"/slowpart": html("<p>here<img src=/hang>"),
		"/busy":     html("<p>here<script>for(;;);</script>"),
		"/empty":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"/cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "<p>ten")
		},
	})
	selfSigned := httptest.NewUnstartedServer(html("secret"))
	selfSigned.Config.ErrorLog = log.New(io.Discard, "", 0)
	selfSigned.StartTLS()
	t.Cleanup(selfSigned.Close)
	old := httptest.NewUnstartedServer(html("old"))
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	t.Cleanup(old.Close)
	reset := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 10))
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	closed := listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) })
	gibberish := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()

	cases := []struct{ address, stage, reason, says string }{
		{srv.URL + "/ok", "", "", ""},
		{"http://" + ln.Addr().String(), "connect", "refused", "nothing listens"},
		{"http://no-such-host.invalid/", "resolve", "dns_nxdomain", "does not exist"},
		{"http://" + reset, "processing", "reset", "CONNECTION_RESET"},
		{"http://" + closed, "processing", "no_response", "EMPTY_RESPONSE"},
		{srv.URL + "/empty", "processing", "no_response", "EMPTY_RESPONSE"},
		{"http://" + gibberish, "processing", "bad_reply", "RESPONSE_HEADERS_MULTIPLE_CONTENT_LENGTH"},
		{selfSigned.URL, "tls", "tls_unknown_ca", "authority"},
		{old.URL, "tls", "tls_protocol", "version"},
		{"https://" + srv.Listener.Addr().String(), "tls", "tls_error", "does not speak TLS"},
		{srv.URL + "/500", "status", "status", "500 Internal Server Error"},
		{srv.URL + "/404", "status", "status", "404 Not Found"},
		{srv.URL + "/loop", "redirect", "redirect_loop", "too many"},
		{srv.URL + "/to-file", "redirect", "bad_redirect", "redirects to"},
		{srv.URL + "/download", "body", "body", "file to save"},
		{srv.URL + "/nothing", "body", "body", "no page"},
		{srv.URL + "/cut", "transfer", "cut_body", "ended early"},
		{srv.URL + "/hang", "processing", "no_response", "no reply"},
		{srv.URL + "/drip", "transfer", "slow_body", "did not end"},
		{srv.URL + "/slowpart", "transfer", "slow_body", "/hang"},
		{srv.URL + "/ok", "", "", ""}, // it is well again after all of that
		{srv.URL + "/busy", "body", "slow", "busy"},
	}
	var addresses []string
	var times []time.Duration
	for _, c := range cases {
		addresses, times = append(addresses, c.address), append(times, 30*time.Second)
		if c.reason == "slow" || c.reason == "slow_body" || strings.HasSuffix(c.address, "/hang") {
			times[len(times)-1] = 2 * time.Second
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	got, bad := browser.Opens(ctx, times, addresses)
	if bad != nil {
		t.Fatal(bad.Message)
	}
	for i, c := range cases {
		if c.stage == "" {
			if got[i] != nil {
				t.Errorf("%s: got %+v, want success", c.address, *got[i])
			}
			continue
		}
		wantFailure(t, c.address, got[i], c.stage, c.reason, c.says)
	}
}

// TestExplain is about errors that a local server cannot make: Chromium calls a
// certificate of an unknown authority that, whatever else is wrong with it.
func TestExplain(t *testing.T) {
	f := func(text string, began bool, stage, reason string) {
		t.Helper()
		if got := browser.Explain(text, began); got.Stage != stage || got.Reason != reason || !strings.Contains(got.Message, text) {
			t.Errorf("%s (%t): got %+v, want %s/%s", text, began, got, stage, reason)
		}
	}
	f("net::ERR_CERT_DATE_INVALID", false, "tls", "tls_expired")
	f("net::ERR_CERT_COMMON_NAME_INVALID", false, "tls", "tls_name")
	f("net::ERR_CERT_SOMETHING_NEW", false, "tls", "tls_error")
	f("net::ERR_SSL_SOMETHING_NEW", false, "tls", "tls_error")
	f("net::ERR_SSL_CLIENT_AUTH_CERT_NEEDED", false, "tls", "tls_client_cert")
	f("net::ERR_CONNECTION_TIMED_OUT", false, "connect", "connect_timeout")
	f("net::ERR_ADDRESS_UNREACHABLE", false, "connect", "unreachable")
	f("net::ERR_INTERNET_DISCONNECTED", false, "connect", "own_fault")
	f("net::ERR_DNS_TIMED_OUT", false, "resolve", "dns_timeout")
	f("net::ERR_CONNECTION_RESET", true, "transfer", "reset")
	f("net::ERR_TIMED_OUT", false, "processing", "no_response")
	f("net::ERR_TIMED_OUT", true, "transfer", "slow_body")
	f("net::ERR_NEVER_HEARD_OF", false, "processing", "bad_reply")
	f("", false, "processing", "bad_reply")
}

// TestHops is about a page with more requests than are kept.
func TestHops(t *testing.T) {
	hops, left := browser.Hops(1000, map[int]bool{60: true, 300: true})
	if len(hops) != 200 || left != 800 {
		t.Fatalf("got %d hops and %d left out, want 200 and 800", len(hops), left)
	}
	failed, first, order := 0, 0, true
	for i, h := range hops {
		if h.Status == 404 {
			failed++
		}
		if time.Duration(h.Offset).Seconds() < 50 {
			first++
		}
		order = order && (i == 0 || h.Offset > hops[i-1].Offset)
	}
	if last := time.Duration(hops[199].Offset).Seconds(); failed != 2 || first != 50 || !order || last != 999 {
		t.Errorf("got %d failed, %d of the first fifty, in order: %t, the last began at %g s; want 2, 50, true, 999", failed, first, order, last)
	}
}

// TestDialogs is about a page that never stops to ask.
func TestDialogs(t *testing.T) {
	needBrowser(t)
	srv := serve(t, map[string]http.HandlerFunc{"/": html(`<p>hello<script>onload = () => setTimeout(() => { for (;;) alert("buy!") }, 100)</script>`)})
	out := run(t, 20*time.Second, &browser.Script{Steps: []browser.Step{
		{Name: "open", Open: srv.URL},
		{Name: "look", Expect: &browser.Expect{Text: "never there", AtMost: -1}, Timeout: 2 * time.Second},
	}})
	if out.Failure == nil || out.Steps[0].State != "ok" || out.Steps[1].State != "failed" {
		t.Errorf("got %+v, %+v; want a failure of the second step", out.Failure, out.Steps)
	}
	if n, _ := strconv.Atoi(out.Facts["dialogs dismissed"]); n < 4 {
		t.Errorf("got facts %v, want many dialogs dismissed", out.Facts)
	}
	if len(out.Console) == 0 || !strings.Contains(out.Console[0], "buy!") {
		t.Errorf("got console %q, want the dialog in it", out.Console)
	}
}

// TestHuge is about a page that loads without end.
func TestHuge(t *testing.T) {
	needBrowser(t)
	srv := serve(t, map[string]http.HandlerFunc{
		"/": html(`<p>hello<script>fetch("/big").then(r => r.text())</script>`),
		"/big": func(w http.ResponseWriter, r *http.Request) {
			chunk := make([]byte, 64<<10)
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
	})
	out := run(t, 30*time.Second, &browser.Script{MaxBytes: 3 << 20, Steps: []browser.Step{
		{Name: "open", Open: srv.URL},
		{Name: "look", WaitFor: &browser.Element{Selector: "#never"}},
	}})
	if out.Failure == nil {
		t.Fatal("got success, want too_large")
	}
	wantFailure(t, "huge page", out.Failure, "transfer", "too_large", "browser.max_bytes")
}

// TestCrash kills the process of the page, and then the whole browser.
func TestCrash(t *testing.T) {
	needBrowser(t)
	kill := func(which string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for _, pid := range browser.Descendants(os.Getpid()) {
				line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline") // may be gone
				renderer := strings.Contains(string(line), "--type=renderer")
				if renderer && which == "renderer" || which == "browser" && strings.Contains(string(line), "--remote-debugging-pipe") && !strings.Contains(string(line), "--type=") {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	}
	srv := serve(t, map[string]http.HandlerFunc{
		"/page":          html(`<p>hello<script>onload = () => fetch("/kill-renderer")</script>`),
		"/browser":       html(`<p>hello<script>onload = () => fetch("/kill-browser")</script>`),
		"/kill-renderer": kill("renderer"),
		"/kill-browser":  kill("browser"),
	})
	for path, says := range map[string]string{"/page": "process ended", "/browser": "browser ended"} {
		out := run(t, 30*time.Second, &browser.Script{Steps: []browser.Step{
			{Name: "open", Open: srv.URL + path},
			{Name: "look", WaitFor: &browser.Element{Selector: "#never"}},
		}})
		wantFailure(t, path, out.Failure, "processing", "own_fault", says)
	}
}

// TestSteps does every step there is on a page that takes some time, opens
// popups and offers downloads.
func TestSteps(t *testing.T) {
	needBrowser(t)
	var traced = map[string]string{}
	trace := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			traced[r.URL.Path] = r.Header.Get("Traceparent")
			h(w, r)
		}
	}
	other := serve(t, map[string]http.HandlerFunc{"/there": trace(html("x")), "/moved": trace(html("y"))})
	srv := serve(t, map[string]http.HandlerFunc{
		"/": trace(html(fmt.Sprintf(`<!doctype html><title>Shop front</title>
			<style>#late { display: none }</style>
			<input id=q value="what was there"> <select id=s><option value=1>one<option value=2>two</select>
			<div style="height: 3000px"></div>
			<button id=go disabled>Go on</button> <a href=/next>Next page</a>
			<div id=late>late</div> <ul><li>a<li>b<li>c</ul> <p id=said></p>
			<img src=%s/there><img src=/redirect>
			<script>
				setTimeout(() => { go.disabled = false; late.style.display = "block" }, 300);
				q.addEventListener("keydown", e => { if (e.key === "Enter") said.textContent = "entered " + q.value + s.value });
				go.onclick = () => { window.open("/popup"); said.textContent = "gone on" };
				s.onchange = () => { said.textContent = "chose " + s.value };
			</script>`, other.URL))),
		"/redirect": trace(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/moved", http.StatusFound)
		}),
		"/popup": html("popup"),
		"/next":  trace(html("<title>Next</title><p>arrived")),
	})
	origin, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	const id = "0123456789abcdef0123456789abcdef"
	any := -1
	out := run(t, 30*time.Second, &browser.Script{Origins: []*url.URL{origin}, TraceID: id, Steps: []browser.Step{
		{Name: "open", Open: srv.URL},
		{Name: "type", Type: &browser.Typing{Into: "#q", Text: "lém"}},
		{Name: "select", Select: &browser.Choice{From: "#s", Option: "two"}},
		{Name: "chose", Expect: &browser.Expect{Selector: "#said", Text: "chose 2", AtMost: any}},
		{Name: "type again", Type: &browser.Typing{Into: "#q", Text: "x"}},
		{Name: "press", Press: "Enter"},
		{Name: "entered", Expect: &browser.Expect{Selector: "#said", Text: "entered x2", AtMost: any}},
		{Name: "late", WaitFor: &browser.Element{Selector: "#late"}},
		{Name: "click", Click: &browser.Element{Text: "Go on"}},
		{Name: "count", Expect: &browser.Expect{Title: "Shop", Text: "gone on", NotText: "sorry", Count: "li", AtLeast: 3, AtMost: 3}},
		{Name: "wait", Wait: 50 * time.Millisecond},
		{Name: "next", Click: &browser.Element{Selector: "a", Text: "Next"}},
		{Name: "evaluate", Evaluate: `Promise.resolve(document.title === "Next")`},
		{Name: "shot", Screenshot: true},
	}})
	if out.Failure != nil {
		t.Fatalf("got %+v, want success", *out.Failure)
	}
	if len(out.Screenshot) < 1000 || string(out.Screenshot[:2]) != "\xff\xd8" {
		t.Errorf("got a picture of %d bytes, want a JPEG", len(out.Screenshot))
	}
	if out.Facts["popups closed"] != "1" {
		t.Errorf("got facts %v, want one popup closed", out.Facts)
	}
	for path, want := range map[string]bool{"/": true, "/next": true, "/redirect": true, "/there": false, "/moved": false} {
		got, asked := traced[path]
		if !asked || strings.HasPrefix(got, "00-"+id+"-") != want || !want && got != "" {
			t.Errorf("%s: got traceparent %q (asked for: %t), want one: %t", path, got, asked, want)
		}
	}
	values := map[string]float64{}
	for _, v := range out.Values {
		values[v.Name] = v.Value
	}
	for _, name := range []string{"fcp_seconds", "lcp_seconds", "ttfb_seconds", "dom_content_loaded_seconds", "load_seconds", "requests", "transfer_bytes", "inp_seconds", "start_seconds"} {
		if v, ok := values["probe_browser_"+name]; !ok || v <= 0 {
			t.Errorf("%s: got %g (there: %t), want more than 0", name, v, ok)
		}
	}
	if v, ok := values["probe_browser_cls"]; !ok || v < 0 {
		t.Errorf("cls: got %g (there: %t)", v, ok)
	}
	if v := values["probe_browser_failed_requests"]; v != 0 {
		t.Errorf("failed requests: got %g, want 0", v)
	}
}

// TestPicture looks at what a page sees of the hiding of secrets: texts are
// replaced and put back, fields are dotted.
func TestPicture(t *testing.T) {
	needBrowser(t)
	const secret = "hunter2-and-more"
	srv := serve(t, map[string]http.HandlerFunc{"/": html(`<p id=p>your password is ` + secret + `</p><input id=q>
		<script>
			seen = []; dots = [];
			new MutationObserver(l => l.forEach(m => m.type === "attributes" ? dots.push(q.style.cssText) : seen.push(p.textContent)))
				.observe(document.body, {subtree: true, characterData: true, attributes: true, attributeFilter: ["style"]});
		</script>`)})
	out := run(t, 30*time.Second, &browser.Script{Secrets: []string{secret}, Steps: []browser.Step{
		{Name: "open", Open: srv.URL},
		{Name: "type", Type: &browser.Typing{Into: "#q", Text: secret}},
		{Name: "shot", Screenshot: true},
		{Name: "dotted", Evaluate: `dots[0] === "-webkit-text-security: disc !important;" && q.style.cssText === ""`},
		{Name: "put back", Evaluate: `p.textContent === "your password is ` + secret + `" && q.value === "` + secret + `" && seen.length > 0`},
	}})
	if out.Failure != nil || len(out.Screenshot) == 0 {
		t.Errorf("got %+v and a picture of %d bytes, want success with a picture", out.Failure, len(out.Screenshot))
	}
}

func TestPool(t *testing.T) {
	var p browser.Pool
	release, err := p.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Acquire(ctx); err == nil {
		t.Error("got a second browser, want one at a time")
	}
	if running, waiting := p.Stats(); running != 1 || waiting != 0 {
		t.Errorf("got %d running, %d waiting; want 1 and 0 after the wait was given up", running, waiting)
	}
	second := make(chan func())
	go func() {
		r, err := p.Acquire(context.Background())
		if err != nil {
			r = nil
		}
		second <- r
	}()
	p.Configure(browser.Config{Concurrent: 2})
	r := <-second
	if r == nil {
		t.Fatal("got no second browser, want two at a time")
	}
	release()
	r()
	if running, waiting := p.Stats(); running != 0 || waiting != 0 {
		t.Errorf("got %d running, %d waiting; want none", running, waiting)
	}
}

// TestLongTemporary is about a directory for temporary files in whose path there
// is no room for a browser's socket.
func TestLongTemporary(t *testing.T) {
	needBrowser(t)
	long := filepath.Join(t.TempDir(), strings.Repeat("long-", 20))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	// What a page says at great length is passed over, and the host of the check
	// gets the credentials.
	private := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if user, pw, _ := r.BasicAuth(); user != "robot" || pw != "right" {
				w.Header().Set("WWW-Authenticate", `Basic realm="shop"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			html(text)(w, r)
		}
	}
	srv := serve(t, map[string]http.HandlerFunc{"/": private(`hello<script>console.log("x".repeat(20 << 20)); console.log("short")</script>`)})
	origin, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := &browser.Script{Origins: []*url.URL{origin}, User: "robot", Password: "right", Steps: []browser.Step{
		{Name: "open", Open: srv.URL},
		{Name: "look", Expect: &browser.Expect{Text: "hello", AtMost: -1}},
		{Name: "look", Evaluate: "false"},
	}}
	out := run(t, 30*time.Second, s)
	wantFailure(t, "long path", out.Failure, "assertion", "assertion", "gives false")
	if got := strings.Join(out.Console, "\n"); !strings.Contains(got, "log: short") || len(got) > 10000 {
		t.Errorf("got a console of %d bytes, want the short line and not the long one", len(got))
	}
	s.Password = "wrong"
	out = run(t, 30*time.Second, s)
	wantFailure(t, "wrong password", out.Failure, "status", "status", "401")
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var p browser.Pool
	out := p.Run(t.Context(), &browser.Script{Steps: []browser.Step{{Name: "open", Open: "http://127.0.0.1:1/"}}})
	wantFailure(t, "no chromium", out.Failure, "processing", "own_fault", "install")
	// Something else under that name.
	p.Configure(browser.Config{Executable: "/bin/false"})
	out = p.Run(t.Context(), &browser.Script{Steps: []browser.Step{{Name: "open", Open: "http://127.0.0.1:1/"}}})
	wantFailure(t, "false", out.Failure, "processing", "own_fault", "ended while it started")
	p.Configure(browser.Config{Executable: "/no/such/browser"})
	out = p.Run(t.Context(), &browser.Script{Steps: []browser.Step{{Name: "open", Open: "http://127.0.0.1:1/"}}})
	wantFailure(t, "no such file", out.Failure, "processing", "own_fault", "/no/such/browser")
	if out.Steps[0].State != "not_reached" {
		t.Errorf("got step %+v, want it not reached", out.Steps[0])
	}
}
