package probe_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

// texts are all texts in the JSON of a result, as a reader sees them, and what
// they are once unescaped.
func texts(t *testing.T, r record.CheckResult) []string {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	out := []string{string(b)}
	var walk func(any)
	walk = func(v any) {
		switch x := v.(type) {
		case string:
			out = append(out, x, html.UnescapeString(x))
			if u, err := url.QueryUnescape(x); err == nil {
				out = append(out, u)
			}
			if u, err := url.PathUnescape(x); err == nil {
				out = append(out, u)
			}
			out = append(out, strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(x))
		case map[string]any:
			for k, in := range x {
				walk(k)
				walk(in)
			}
		case []any:
			for _, in := range x {
				walk(in)
			}
		}
	}
	walk(tree)
	return out
}

// TestFlowSecrets sends secrets everywhere to a server that gives them back in
// every form, fails at each step, and looks for them in the result.
func TestFlowSecrets(t *testing.T) {
	const (
		fromFile  = "file-secret-91"
		apiToken  = "extracted-token-12"
		cookie    = "cookie-value-34"
		marked    = "marked-value-56"
		literal   = "literal-header-78"
		inForm    = "literal-password-90"
		nested    = "nested-jwt-value"
		redirects = "late-code-value"
	)
	t.Setenv("VEDETTE_TEST_SHOP_PASSWORD", shopPassword)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(fromFile+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := []string{shopPassword, fromFile, apiToken, cookie, marked, literal, inForm, nested, redirects,
		base64.StdEncoding.EncodeToString([]byte("robot:" + shopPassword))}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/begin":
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: cookie})
			http.Redirect(w, r, "/begun?x="+redirects+"&y="+strings.ToLower(url.QueryEscape(shopPassword)), http.StatusFound)
			return
		case "/begun":
			fmt.Fprintf(w, `{"api_token":%q,"plain":%q,"user":{"jwt":%q},"seen":%q}`, apiToken, marked, nested, r.URL.Query().Get("x"))
			return
		}
		w.Header().Set("X-Echo", url.PathEscape(shopPassword)+" "+url.QueryEscape(shopPassword)+" "+fromFile)
		w.WriteHeader(http.StatusTeapot)
		j, _ := json.Marshal(shopPassword)
		fmt.Fprintf(w, "%s\n%q\n%s\n%s\n%s\n%s\n%s\n%s %s", shopPassword, shopPassword, html.EscapeString(shopPassword), j, b, r.URL, r.Header, fromFile, r.Header.Get("Authorization"))
	}))
	t.Cleanup(s.Close)
	const first = `
  secrets: {password: {env: VEDETTE_TEST_SHOP_PASSWORD}, key: {file: $FILE}}
  variables: {base: $BASE}
  steps:
    - name: begin
      request: {url: "${base}/begin?p=${password}", headers: {X-Api-Key: literal-header-78}}
      extract:
        - {name: api_token, jsonpath: $.api_token}
        - {name: kept, cookie: sid}
        - {name: plain, jsonpath: $.plain, secret: true}
        - {name: user, jsonpath: $.user}
        - {name: code, regex: '"seen":"(.*)"', secret: true}
`
	const send = `
    - name: send
      request:
        method: POST
        url: "${base}/p/${key}?t=${api_token}&c=${kept}&p=${password}"
        headers: {X-One: "${plain}", X-Two: "${user.jwt}", X-Api-Key: literal-header-78}
`
	f := func(steps, wantMessage string) {
		t.Helper()
		r := runFlow(t, s.URL, strings.ReplaceAll(first+steps, "$FILE", file))
		if r.Success || !strings.HasPrefix(r.Message, wantMessage) {
			t.Fatalf("got %v: %s", r.Success, r.Message)
		}
		for _, text := range texts(t, r) {
			for _, secret := range all {
				if strings.Contains(text, secret) {
					t.Errorf("%q is in the result: %s", secret, text)
				}
			}
		}
		if text := probe.Text(r); strings.Contains(text, shopPassword) || strings.Contains(text, apiToken) {
			t.Errorf("in the text:\n%s", text)
		}
	}
	f(send+`        basic_auth: {username: robot, password: "${password}"}`, "step 2 of 2, send: the reply was 418")
	f(send+`        form: {a: "${key}", password: literal-password-90}`, "step 2 of 2, send: the reply was 418")
	f(send+`        json: {a: "${key} ${password}", password: literal-password-90, in: {token: ["${plain}"]}}`, "step 2 of 2, send: the reply was 418")
	f(send+`        body: "${key} ${password}"`, "step 2 of 2, send: the reply was 418")
	f(send+`      expect: {status: 418, body_contains: "no ${password} ${api_token}"}`, "step 2 of 2, send: the body (")
	f(send+`      expect: {status: 418, body_regex: "no${password}"}`, "step 2 of 2, send: the body (")
	f(send+`      expect: {status: 418, headers: {X-Echo: "${password}${key}"}}`, `step 2 of 2, send: the header X-Echo is "`)
	f(send+`      expect: {status: 418}
      extract: [{name: n, jsonpath: $.n}]`, "step 2 of 2, send: no value for n: ")
	f(`
    - name: bad address
      request: {url: "${key}://${password}"}`, "step 2 of 2, bad address: the address of the request is ")
	f(`
    - name: no host
      request: {url: "http://${key}.invalid/${password}"}`, "step 2 of 2, no host: ")
	f(`
    - name: optional
      optional: true
      request: {url: "${base}/${password}"}
    - name: list
      loop: {over: user, as: token}
      request: {url: "${base}/"}`, "step 3 of 3, list: the variable user holds no list")
}

// TestFlowSecretMissing: a secret that this process cannot have is its own
// fault, and the message names where it was looked for.
func TestFlowSecretMissing(t *testing.T) {
	f := func(secret, want string) {
		t.Helper()
		r := runFlow(t, "http://127.0.0.1:1", "  secrets: {x: {"+secret+"}}\n  steps: [{name: a, request: {url: $BASE/}}]")
		if r.Reason != "own_fault" || !strings.HasPrefix(r.Message, want) || len(r.Hops) != 0 || stepStates(r) != "a=not_reached" {
			t.Errorf("got %s %q, want %q", r.Reason, r.Message, want)
		}
	}
	f("env: VEDETTE_TEST_NONE", "the flow cannot be run: flow.secrets.x.env: the environment of this process has no VEDETTE_TEST_NONE; want the secret there")
	f("file: /none/secret", "the flow cannot be run: flow.secrets.x.file: want a readable file: ")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f("file: "+empty, "the flow cannot be run: flow.secrets.x.file: "+empty+" is empty")
}

// TestFlowCredentials: the check's credentials reach its own host and no other,
// and a secret goes to no host that a server chose.
func TestFlowCredentials(t *testing.T) {
	t.Setenv("VEDETTE_TEST_SHOP_PASSWORD", "sesame-open")
	var foreignSeen []string
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		foreignSeen = append(foreignSeen, fmt.Sprintf("%s %s auth=%q key=%q own=%q host=%v body=%q", r.Method, r.URL, r.Header.Get("Authorization"), r.Header.Get("X-Api-Key"), r.Header.Get("X-Own"), r.Host == "shop.test", b))
	}))
	t.Cleanup(foreign.Close)
	var ownSeen []string
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ownSeen = append(ownSeen, fmt.Sprintf("%s %s auth=%q key=%q", r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("X-Api-Key")))
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, foreign.URL+"/landed", http.StatusFound)
		case "/away307":
			http.Redirect(w, r, foreign.URL+"/landed", http.StatusTemporaryRedirect)
		case "/next":
			w.Header().Set("Next", foreign.URL+"/next")
			w.Header().Set("Path", "/path")
		}
	}))
	t.Cleanup(own.Close)
	basic := `Basic cm9ib3Q6c2VzYW1l` // robot:sesame
	f := func(steps, more string, wantMessage string, wantOwn, wantForeign []string) {
		t.Helper()
		ownSeen, foreignSeen = nil, nil
		steps = strings.ReplaceAll(steps, "$FOREIGN", foreign.URL)
		r := runFlow(t, own.URL, "  secrets: {pw: {env: VEDETTE_TEST_SHOP_PASSWORD}}\n"+steps+"\nbasic_auth: {username: robot, password: sesame}\nheaders: {X-Api-Key: key-of-check}"+more)
		if msg := strings.ReplaceAll(r.Message, foreign.Listener.Addr().String(), "FOREIGN"); msg != wantMessage {
			t.Errorf("got %q, want %q", msg, wantMessage)
		}
		if fmt.Sprint(ownSeen) != fmt.Sprint(wantOwn) {
			t.Errorf("own: got  %q\nwant %q", ownSeen, wantOwn)
		}
		if fmt.Sprint(foreignSeen) != fmt.Sprint(wantForeign) {
			t.Errorf("foreign: got  %q\nwant %q", foreignSeen, wantForeign)
		}
	}
	line := func(path string) string { return fmt.Sprintf("GET %s auth=%q key=%q", path, basic, "key-of-check") }
	// Another host that the check names gets what its step says, and nothing of the check.
	f("  steps: [{name: a, request: {url: $BASE/}}, {name: b, request: {url: $FOREIGN/x, headers: {X-Own: '${pw}', X-Api-Key: mine}}}]", "", "",
		[]string{line("/")}, []string{`GET /x auth="" key="mine" own="sesame-open" host=false body=""`})
	// A redirect away takes nothing along.
	f("  steps: [{name: a, request: {url: $BASE/away, headers: {X-Own: 'pw ${pw}', Host: shop.test}}}]", "", "",
		[]string{line("/away")}, []string{`GET /landed auth="" key="" own="" host=false body=""`})
	f("  steps: [{name: a, request: {url: $BASE/away307, body: 'hello'}}]", "", "",
		[]string{strings.Replace(line("/away307"), "GET", "POST", 1)}, []string{`POST /landed auth="" key="" own="" host=false body="hello"`})
	f("  steps: [{name: a, request: {url: $BASE/away307, form: {pass: '${pw}'}}}]", "",
		"step 1 of 1, a: the reply 307 would have the body of the request, which holds a secret, sent to another host: http://FOREIGN/landed",
		[]string{strings.Replace(line("/away307"), "GET", "POST", 1)}, nil)
	next := "{name: a, request: {url: $BASE/next}, extract: [{name: next, header: Next}, {name: path, header: Path}]}"
	// An address that came with a reply.
	f("  steps: ["+next+", {name: b, request: {url: '${next}'}}]", "", "", []string{line("/next")}, []string{`GET /next auth="" key="" own="" host=false body=""`})
	f("  steps: ["+next+", {name: b, request: {url: $BASE/path, headers: {X-Own: '${pw}'}}}, {name: c, request: {url: '${path}', headers: {X-Own: '${pw}'}}}]", "", "", []string{line("/next"), line("/path"), line("/path")}, nil)
	refused := "step 2 of 2, b: the request would send a secret to FOREIGN, an address that came with a reply; list the host in flow.hosts if that is right"
	for _, q := range []string{"headers: {X-Own: '${pw}'}", "headers: {Authorization: Bearer literal}", "form: {a: '${pw}'}", "form: {password: literal}", "json: {a: ['${pw}']}", "body: '${pw}'", "basic_auth: {username: u, password: pw}"} {
		f("  steps: ["+next+", {name: b, request: {url: '${next}', "+q+"}}]", "", refused, []string{line("/next")}, nil)
	}
	f("  steps: ["+next+", {name: b, request: {url: '${next}?p=${pw}'}}]", "", refused, []string{line("/next")}, nil)
	f("  steps: ["+next+", {name: b, request: {url: '${next}/${pw}'}}]", "", refused, []string{line("/next")}, nil)
	// A listed host gets all, and the first one, which is not listed, nothing.
	host := foreign.Listener.Addr().String()
	f("  hosts: ['"+host+"']\n  steps: ["+next+", {name: b, request: {url: '${next}', body: '${pw}'}}]", "", "",
		[]string{`GET /next auth="" key=""`}, []string{fmt.Sprintf(`POST /next auth=%q key="key-of-check" own="" host=false body="sesame-open"`, basic)})
	// A step's own credentials replace the check's.
	f("  steps: [{name: a, request: {url: $BASE/, basic_auth: {username: u, password: '${pw}'}}}, {name: b, request: {url: $BASE/, headers: {Authorization: Bearer abc, X-Api-Key: mine}}}]", "", "",
		[]string{`GET / auth="Basic dTpzZXNhbWUtb3Blbg==" key="key-of-check"`, `GET / auth="Bearer abc" key="mine"`}, nil)
	// No redirect is followed where the step says so.
	f("  steps: [{name: a, request: {url: $BASE/away, follow_redirects: false}, expect: {status: 302}, extract: [{name: to, header: Location}]}]", "", "", []string{line("/away")}, nil)
}
