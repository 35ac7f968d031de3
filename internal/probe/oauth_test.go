package probe_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

func TestOAuth2(t *testing.T) {
	var asked []string // what the token endpoint was sent
	issued, valid := 0, ""
	login := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		id, secret, _ := r.BasicAuth()
		asked = append(asked, fmt.Sprintf("%s %s:%s %s", r.Method, id, secret, r.PostForm.Encode()))
		issued++
		valid = fmt.Sprintf("sesame-%d-hunter2", issued)
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":3600}`, valid)
	})
	revoked := false
	shop := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/in", http.StatusFound)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+valid || revoked || r.URL.Path == "/never" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, "you sent ", r.Header.Get("Authorization"))
		}
	})
	file := filepath.Join(t.TempDir(), "secret")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("client hunter2\n")
	o := &probe.OAuth2{TokenURL: login.URL + "/token", ClientID: "robot", ClientSecretFile: file, Scopes: []string{"a", "b"}, Audience: "shop", Params: map[string]string{"resource": "x"}}
	var last record.CheckResult
	p, err := probe.New(probe.Config{Checks: []probe.Check{{Name: "x", URL: shop.URL + "/away", OAuth2: o}, {Name: "never", URL: shop.URL + "/never", OAuth2: o}}},
		func(_ context.Context, _ probe.Check, r record.CheckResult) { last = r }, quiet)
	if err != nil {
		t.Fatal(err)
	}
	f := func(id, reason string, tokens int, steps ...string) {
		t.Helper()
		if _, err := p.RunNow(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range last.Hops {
			got = append(got, h.Step)
		}
		if last.Reason != reason || issued != tokens || strings.Join(got, ",") != strings.Join(steps, ",") {
			t.Errorf("got %q (%s), %d tokens, hops %q; want %q, %d, %q", last.Reason, last.Message, issued, got, reason, tokens, steps)
		}
		if strings.Contains(last.Message+last.Reply, "hunter2") {
			t.Errorf("it shows a secret: %s %s", last.Message, last.Reply)
		}
	}
	const token = "oauth2 token"
	f("x", "", 1, token, "", "")
	if got, want := asked[0], "POST robot:client+hunter2 audience=shop&grant_type=client_credentials&resource=x&scope=a+b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	f("x", "", 1, "", "") // kept
	if n := sample(t, probe.Check{Name: "x"}, last, "probe_http_redirects"); n != 1 {
		t.Errorf("got %g redirects, want 1", n)
	}
	valid = "another" // the kept one is refused: a new one within the same run
	f("x", "", 2, "", "", token, "", "")
	write("another hunter2")
	f("x", "", 3, token, "", "") // another secret, another token
	f("never", "status", 4, token, "")
	f("never", "status", 5, token, "") // one that was refused is not kept
	revoked = true
	f("x", "status", 6, "", "", token, "", "")

	o2 := *o
	o2.AuthStyle, asked = "body", nil
	if r := once(t, probe.Check{URL: shop.URL, OAuth2: &o2}); len(r.Hops) != 2 || !strings.Contains(asked[0], "client_id=robot&client_secret=another+hunter2") {
		t.Errorf("got %+v, %q", r.Hops, asked)
	}
}

// TestOAuth2Faults: what a token endpoint may do wrong.
func TestOAuth2Faults(t *testing.T) {
	shop := serveTCP(t, say(ok200))
	reply := func(status, body string) string {
		return serveTCP(t, say(fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)))
	}
	f := func(name, addr string, timeout time.Duration, says, phases string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			r := once(t, probe.Check{URL: "http://" + shop, Timeout: timeout, OAuth2: &probe.OAuth2{TokenURL: "http://" + addr, ClientID: "robot", ClientSecret: "hunter2hunter2"}})
			if r.Stage != "processing" || r.Reason != "oauth2" || !strings.Contains(r.Message, says) || states(r) != phases {
				t.Errorf("got %q, %q, %q: %s; want %q, %q", r.Stage, r.Reason, states(r), r.Message, says, phases)
			}
			if strings.Contains(r.Message+r.Reply, "hunter2") || strings.Contains(r.Message+r.Reply, "sesame") {
				t.Errorf("it shows a secret: %s %s", r.Message, r.Reply)
			}
		})
	}
	whole := 5 * time.Second
	f("refuses", closedPort(t), whole, "nothing listens", "sf---")
	f("hangs", serveTCP(t, hang), 300*time.Millisecond, "no reply came within", "sdsf-")
	f("wrong secret", reply("401 Unauthorized", `{"error":"invalid_client","error_description":"hunter2hunter2 is wrong"}`), whole, "it answered 401 Unauthorized: invalid_client ((removed) is wrong)", "sdsdd")
	f("error with 200", reply("200 OK", `{"error":"server_busy"}`), whole, "server_busy", "sdsdd")
	f("error page", reply("500 Internal Server Error", `<html>`), whole, "500 Internal Server Error", "sdsdd")
	f("garbage", reply("200 OK", `access_token=sesame123`), whole, "not the JSON of a token", "sdsdd")
	f("cut", serveTCP(t, say("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"access_token\":\"sesame123")), whole, "the body ended early", "sdsdf")
	f("empty", reply("200 OK", `{}`), whole, "no access_token", "sdsdd")
	f("line break", reply("200 OK", `{"access_token":"sesame\r\nX: y"}`), whole, "cannot be sent in a header", "sdsdd")
	f("huge", reply("200 OK", `{"access_token":"`+strings.Repeat("sesame", 20000)+`"}`), whole, "cannot be sent in a header", "sdsdd")
	f("other type", reply("200 OK", `{"access_token":"sesame123","token_type":"mac"}`), whole, `of the type "mac"`, "sdsdd")
	f("redirect", reply("302 Found\r\nLocation: http://127.0.0.1:1/", ""), whole, "302 Found", "sdsdd")
	f("endless", serveTCP(t, func(c net.Conn) {
		say("HTTP/1.1 200 OK\r\n\r\n")(c)
		for {
			if _, err := c.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}), whole, "larger than", "sdsdf")
}

func TestTokenLife(t *testing.T) {
	f := func(expires string, want time.Duration) {
		t.Helper()
		if got := probe.TokenLife(expires); got != want {
			t.Errorf("%s: got %s, want %s", expires, got, want)
		}
	}
	f(`3600`, 3570*time.Second)
	f(`"3600"`, 3570*time.Second)
	f(`10`, 8*time.Second)
	f(`0`, 0)
	f(``, 5*time.Minute)
	f(`null`, 5*time.Minute)
	f(`-5`, 5*time.Minute)
	f(`1e300`, 86370*time.Second)
	f(`"soon"`, 5*time.Minute)
}

// TestRequestRefused: what Validate says of proxies, tokens and bodies.
func TestRequestRefused(t *testing.T) {
	f := func(set func(*probe.Check), says string) {
		t.Helper()
		c := probe.Check{Name: "x", URL: "http://shop.test"}
		set(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v; want %q", err, says)
		}
	}
	px := func(x probe.Proxy) func(*probe.Check) { return func(c *probe.Check) { c.Proxy = &x } }
	f(px(probe.Proxy{URL: "proxy:3128"}), "proxy.url")
	f(px(probe.Proxy{URL: "ftp://proxy:3128"}), "want a URL that begins with http://")
	f(px(probe.Proxy{URL: "http://u:hunter2@proxy"}), "want a host and a port")
	f(px(probe.Proxy{URL: "http://proxy:3128/x"}), "nothing after the port")
	f(px(probe.Proxy{URL: "http://u:hunter2@proxy:1", Username: "v"}), "keep one")
	f(px(probe.Proxy{URL: "http://proxy:1", Password: "hunter2"}), "proxy.username: is missing")
	f(px(probe.Proxy{URL: "http://proxy:1", NoProxy: []string{"10.0.0.0/99"}}), "proxy.no_proxy")
	f(func(c *probe.Check) { c.Proxy, c.IPVersion = &probe.Proxy{URL: "http://proxy:1"}, "both" }, "ip_version: both")
	oa := func(o probe.OAuth2) func(*probe.Check) { return func(c *probe.Check) { c.OAuth2 = &o } }
	f(oa(probe.OAuth2{TokenURL: "login", ClientID: "a", ClientSecret: "hunter2"}), "oauth2.token_url")
	f(oa(probe.OAuth2{TokenURL: "http://a:hunter2@h", ClientID: "a", ClientSecret: "hunter2"}), "want no user in it")
	f(oa(probe.OAuth2{TokenURL: "http://h", ClientSecret: "hunter2"}), "oauth2.client_id")
	f(oa(probe.OAuth2{TokenURL: "http://h", ClientID: "a"}), "oauth2.client_secret: is missing")
	f(oa(probe.OAuth2{TokenURL: "http://h", ClientID: "a", ClientSecretFile: "/does/not/exist"}), "oauth2.client_secret_file: want a readable file")
	f(oa(probe.OAuth2{TokenURL: "http://h", ClientID: "a", ClientSecret: "hunter2", AuthStyle: "query"}), "oauth2.auth_style")
	f(oa(probe.OAuth2{TokenURL: "http://h", ClientID: "a", ClientSecret: "hunter2", Params: map[string]string{"scope": "x"}}), "oauth2.params")
	f(func(c *probe.Check) {
		c.BearerToken, c.OAuth2 = "hunter2", &probe.OAuth2{TokenURL: "http://h", ClientID: "a", ClientSecret: "hunter2"}
	}, "keep one")
	f(func(c *probe.Check) { c.Compression = []string{"lzma"} }, `compression: "lzma": want a list of gzip, br, zstd, identity`)
	f(func(c *probe.Check) { c.Compression = []string{"gzip", "gzip"} }, "each once")
	f(func(c *probe.Check) {
		c.Compression, c.Headers = []string{"gzip"}, map[string]string{"accept-encoding": "br"}
	}, "keep one")
	f(func(c *probe.Check) { c.Body, c.BodyFile = "a", "b" }, "body: is set beside body_file")
	f(func(c *probe.Check) { c.BodyFile = "/does/not/exist" }, "body_file: want a readable file")
	shared := &probe.Proxy{URL: "http://u:hunter2@proxy:1"}
	c := probe.Check{Name: "x", URL: "http://h", Proxy: shared}
	if err := c.Validate(); err != nil || c.Proxy.URL != "http://proxy:1" || c.Proxy.Password != "hunter2" || shared.Username != "" {
		t.Errorf("got %+v, %v", c.Proxy, err)
	}
}
