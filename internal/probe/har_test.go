package probe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/vedette-sre/vedette/internal/probe"
)

// har imports a recording of testdata, made against a server at host.
func har(t testing.TB, file, host string) (probe.Check, []string) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	c, notes, err := probe.FromHAR(strings.NewReader(strings.ReplaceAll(string(b), "SHOP", host)))
	if err != nil {
		t.Fatal(err)
	}
	return c, notes
}

// harSecrets are the credentials in the recordings.
var harSecrets = []string{"cookie-secret-value", "p&ss w${rd", "p%26ss", "bearer-secret-value", "json-secret-value", "qk/secret", "qk%2Fsecret", "t/ok-secret", "t%2Fok-secret"}

func TestHARChrome(t *testing.T) {
	c, notes := har(t, "chrome.har", "shop.example.org")
	got, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/chrome.yml"
	text := string(got) + "# " + strings.Join(notes, "\n# ") + "\n"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	for _, s := range harSecrets {
		if strings.Contains(text, s) {
			t.Errorf("%q is in the flow or the notes", s)
		}
	}
	// The text is a check again.
	var back probe.Check
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&back); err != nil {
		t.Fatal(err)
	}
	if err := back.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestHARFirefox(t *testing.T) {
	c, notes := har(t, "firefox.har", "shop.example.org")
	var names []string
	for _, s := range c.Flow.Steps {
		names = append(names, s.Name)
	}
	if want := []string{"GET /login", "POST /login", "PUT /tags", "GET /orders/42"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	if want := map[string]string{"user": "robot", "password": "${password}"}; !reflect.DeepEqual(c.Flow.Steps[1].Request.Form, want) {
		t.Errorf("the form: got %q", c.Flow.Steps[1].Request.Form)
	}
	if got := c.Flow.Steps[2].Request.Body; got != "tag=a&tag=b%26&token=${token}" {
		t.Errorf("the form with a name twice: got %q", got)
	}
	all := fmt.Sprintf("%+v %q", c.Flow, notes)
	b, _ := json.Marshal(c.Flow)
	for _, s := range harSecrets {
		if strings.Contains(all+string(b), s) {
			t.Errorf("%q is in the flow or the notes", s)
		}
	}
	for _, want := range []string{"left out: 3 (images, fonts, styles, scripts and media)", "left out: 1 (the counting of visitors and errors)", "left out: 1 (redirects, which a flow follows by itself)",
		"${password} is a credential from the form sent to /login: set it in the environment as SHOP_PASSWORD"} {
		if !slices.Contains(notes, want) {
			t.Errorf("no note %q in %q", want, notes)
		}
	}
}

// TestHARReplay acts an imported flow out: the server gets what it got from the
// browser.
func TestHARReplay(t *testing.T) {
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen = append(seen, fmt.Sprintf("%s %s %s %s %s", r.Method, r.URL, r.Header.Get("Content-Type"), r.Header.Get("Authorization"), b))
		switch r.URL.Path {
		case "/login":
			if r.Method == http.MethodPost {
				http.Redirect(w, r, "/account", http.StatusFound)
			}
		case "/orders":
			w.WriteHeader(http.StatusCreated)
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	c, _ := har(t, "chrome.har", s.Listener.Addr().String())
	for name, v := range map[string]string{"password": "p&ss w${rd", "authorization": "bearer-secret-value", "api_key": "qk/secret", "client_secret": "json-secret-value"} {
		env := c.Flow.Secrets[name].Env
		if env == "" {
			t.Fatalf("no secret %s in %v", name, c.Flow.Secrets)
		}
		t.Setenv(env, v)
	}
	var quick []probe.FlowStep
	for _, st := range c.Flow.Steps {
		if st.Wait == 0 {
			quick = append(quick, st)
		}
	}
	c.Flow.Steps = quick
	r := probe.Once(context.Background(), c)
	if !r.Success {
		t.Fatalf("%s: %s", r.Reason, r.Message)
	}
	want := []string{
		"GET /login   ",
		"POST /login application/x-www-form-urlencoded  password=p%26ss+w%24%7Brd&user=robot",
		"GET /account   ",
		`POST /orders?api_key=qk%2Fsecret&lang=en application/json Bearer bearer-secret-value {"again":"has json-secret-value in it","auth":{"client_secret":"json-secret-value"},"big":9007199254740993,"book":7,"tpl":"${x} costs $5"}`,
		"GET /orders/42  Bearer bearer-secret-value ",
		"GET /missing   ",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

func TestHARBad(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, _, err := probe.FromHAR(strings.NewReader(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f("", "har: want a HAR file (JSON, version 1.2): ")
	f("<html>", "har: want a HAR file (JSON, version 1.2): ")
	f("{}", "har: the file holds no requests; want log.entries")
	f(`{"log":{"entries":[]}}`, "har: the file holds no requests; want log.entries")
	f(`{"log":{"entries":7}}`, "har: want a HAR file")
	f(`{"log":{"entries":[7, null, {}, {"request":{"method":"GET","url":"data:text/plain,x"},"response":{"status":200}}]}}`, "har: no request is left after ")
	if _, _, err := probe.FromHAR(io.MultiReader(strings.NewReader(`{"log":`), endless{})); err == nil || err.Error() != "har: the file has more than 64 MiB; want one saved without the bodies of the replies" {
		t.Errorf("a huge one: got %v", err)
	}
}

// TestHARDollars: what looks like a variable in a recording stays as it is.
func TestHARDollars(t *testing.T) {
	t.Setenv("H_PASSWORD", "hunter2$")
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = r.URL.RawQuery + " " + string(b)
	}))
	t.Cleanup(s.Close)
	const query, body = "a=$$hunter2$&b=$%7Bx&c=${d}", `{"k":"$hunter2$${x}$$","password":"hunter2$"}`
	c, _, err := probe.FromHAR(strings.NewReader(fmt.Sprintf(`{"log":{"entries":[{"request":{"method":"POST","url":%q,"postData":{"mimeType":"application/json","text":%q}},"response":{"status":200}}]}}`, s.URL+"/?"+query, body)))
	if err != nil {
		t.Fatal(err)
	}
	c.Flow.Secrets["password"] = &probe.FlowSecret{Env: "H_PASSWORD"}
	if r := probe.Once(context.Background(), c); !r.Success {
		t.Fatal(r.Message)
	}
	if want := "a=%24%24hunter2%24&b=$%7Bx&c=${d} " + body; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// TestHARMany: a long recording with more of everything than a flow takes.
func TestHARMany(t *testing.T) {
	var entries []string
	for i := range 400 {
		entries = append(entries, fmt.Sprintf(`{"_resourceType":"xhr","startedDateTime":"2026-11-01T%02d:%02d:00Z","time":10,"request":{"method":"POST","url":"http://h.test/%d","headers":[{"name":"X-Csrf-Token","value":"csrf-%d-of-page"},{"name":"X-Api-Key","value":"key-%d-of-user"}],
			"postData":{"mimeType":"text/plain","text":"%s"}},"response":{"status":200,"content":{"mimeType":"application/json"}}}`, i/60, i%60, i%7, i, i, strings.Repeat("z", i*300)))
	}
	c, notes, err := probe.FromHAR(strings.NewReader(`{"log":{"entries":[` + strings.Join(entries, ",") + `]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Flow.Steps); n != 199 || !strings.Contains(strings.Join(notes, "\n"), "left out: 300 (more than the flow takes)") {
		t.Errorf("got %d steps, notes %q", n, notes[:3])
	}
	all := fmt.Sprintf("%+v", c.Flow.Steps[198].Request.Headers)
	if strings.Contains(all, "-of-") || len(notes) > 200 {
		t.Errorf("got %s, %d notes", all, len(notes))
	}
	if c.Flow.Steps[1].Wait.Seconds() != 5 {
		t.Errorf("a pause of a minute became %s", c.Flow.Steps[1].Wait)
	}
}

func FuzzHAR(f *testing.F) {
	for _, name := range []string{"chrome.har", "firefox.har"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add(`{"log":{"entries":[{"request":{"method":"POST","url":"http://u:passw@h/${x}?token=$${a}&b=%zz","headers":[{"name":"X-${y}","value":"${"}],"postData":{"mimeType":"application/json","text":"{\"a\":\"${\",\"token\":\"$\"}"}},"response":{"status":307,"redirectURL":"http://h/%"}}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := probe.FromHAR(strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "har: ") || strings.HasPrefix(err.Error(), "har: the flow that was made") {
				t.Fatalf("got %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("the flow is not valid: %v", err)
		}
	})
}
