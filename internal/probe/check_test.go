package probe_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

func TestCheckYAML(t *testing.T) {
	const text = `
name: Shop front
url: https://shop.example.org/health
interval: 1m
timeout: 2500ms
method: post
headers: {X-Shop: eu}
body: ping
expect:
  status: [200, "2xx", 404]
  body_contains: open
  headers: {Content-Type: text/.*}
  max_seconds: 1.5
  certificate_days: 14
follow_redirects: false
ip_version: prefer6
resolver: "[::1]:53"
tls: {server_name: shop.example.org, insecure_skip_verify: true}
basic_auth: {username: u, password: p}
labels: {team: shop, job: front}
max_body_bytes: 4096
paused: true
http2: true
`
	var c probe.Check
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	no := false
	want := probe.Check{
		Name: "Shop front", ID: "shop-front", Kind: "http", Alert: record.Policy{Failures: 3, Recoveries: 2, Severity: "page"}, URL: "https://shop.example.org/health", Interval: time.Minute, Timeout: 2500 * time.Millisecond,
		Method: "POST", Headers: map[string]string{"X-Shop": "eu"}, Body: "ping",
		Expect: probe.Expect{Status: probe.Statuses{"200", "2xx", "404"}, BodyContains: "open", Headers: map[string]string{"Content-Type": "text/.*"},
			MaxSeconds: 1.5, CertificateDays: 14},
		FollowRedirects: &no, MaxRedirects: 10, HTTP2: true, IPVersion: "prefer6", Resolver: "[::1]:53",
		TLS:       probe.TLS{ServerName: "shop.example.org", InsecureSkipVerify: true},
		BasicAuth: probe.BasicAuth{Username: "u", Password: "p"}, Labels: map[string]string{"team": "shop", "job": "front"}, MaxBodyBytes: 4096, Paused: true,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	again := c
	if err := again.Validate(); err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("validating twice: %v, %+v", err, again)
	}

	f := func(text, says string) {
		t.Helper()
		var c probe.Check
		err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&c)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got error %v, want one with %q", text, err, says)
		}
	}
	f("nmae: x", "unknown field")
	f("interval: soon", "duration")
	f("expect: {statsu: 200}", "unknown field")

	one := probe.Check{}
	if err := yaml.Unmarshal([]byte("name: x\nurl: http://h\nexpect: {status: 204}"), &one); err != nil || !one.Expect.Status.Has(204) || one.Expect.Status.Has(200) {
		t.Errorf("one status: %v, %v", err, one.Expect.Status)
	}
}

func TestDefaults(t *testing.T) {
	c := probe.Check{Name: "Zahlung: Prüfung №7", URL: "http://h"}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	want := probe.Check{Name: c.Name, ID: "zahlung-prüfung-7", Kind: "http", URL: "http://h", Interval: 30 * time.Second,
		Alert: record.Policy{Failures: 3, Recoveries: 2, Severity: "page"}, Timeout: 10 * time.Second, Method: "GET",
		MaxRedirects: 10, IPVersion: "any", MaxBodyBytes: 1 << 20}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	short := probe.Check{Name: "x", URL: "http://h", Interval: 2 * time.Second}
	if err := short.Validate(); err != nil || short.Timeout != 2*time.Second {
		t.Errorf("got timeout %s, %v", short.Timeout, err)
	}
	if d := probe.Deadline(short); d != 1900*time.Millisecond {
		t.Errorf("a run may take %s of an interval of 2s", d)
	}

	// Credentials leave the URL, and with it the id and every label.
	c = probe.Check{Name: "http://bob:s3cret@h/x", URL: "http://bob:s3cret@h/x"}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.URL != "http://h/x" || c.Name != "http://h/x" || c.ID != "http-h-x" || c.BasicAuth != (probe.BasicAuth{Username: "bob", Password: "s3cret"}) {
		t.Errorf("got %+v", c)
	}
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(change func(*probe.Check), want string) {
		t.Helper()
		c := probe.Check{Name: "x", URL: "https://shop.test/"}
		change(&c)
		err := c.Validate()
		if err == nil {
			t.Errorf("got no error, want %s", want)
		} else if got := err.Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		} else if strings.Contains(got, "hunter2") {
			t.Errorf("the error shows a secret: %s", got)
		}
	}
	f(func(c *probe.Check) { c.Name = "" }, `name: is missing; it names the check in alerts`)
	f(func(c *probe.Check) { c.Name = strings.Repeat("x", 201) }, `name: has 201 bytes; want at most 200`)
	f(func(c *probe.Check) { c.Name = "a\xff" }, `name: "a\xff": want valid UTF-8`)
	f(func(c *probe.Check) { c.Name = "!" }, `id: cannot be made from the name "!"; set one of letters, digits and dashes`)
	f(func(c *probe.Check) { c.ID = "a/b" }, `id: "a/b": want letters, digits, '-', '_' and '.', beginning with a letter or digit, at most 200 bytes`)
	f(func(c *probe.Check) { c.URL = "" }, `url: is missing; want such as https://shop.example.org/health`)
	f(func(c *probe.Check) { c.URL = "shop.test" }, `url: "shop.test": want a URL that begins with http:// or https://`)
	f(func(c *probe.Check) { c.URL = "https:///x" }, `url: "https:///x" has no host; want such as https://shop.example.org/health`)
	f(func(c *probe.Check) { c.URL = "https://u:hunter2@h:x/" }, `url: "https://(removed)@h:x/": invalid port ":x" after host; want such as https://shop.example.org/health`)
	f(func(c *probe.Check) { c.URL = "https://u:hunter2@h:70000/" }, `url: port "70000": want a number from 1 to 65535`)
	f(func(c *probe.Check) { c.URL = "https://u:hunter2@h/"; c.BearerToken = "t" }, `url: "https://(removed)@h/" holds a user, and basic_auth or bearer_token is set too; keep one`)
	f(func(c *probe.Check) { c.URL = "https://müller.test/" }, `url: host "müller.test": want its ASCII form, which begins with xn--`)
	f(func(c *probe.Check) { c.Interval = 500 * time.Millisecond }, `interval: 500ms: want 1s or more`)
	f(func(c *probe.Check) { c.Timeout = time.Minute }, `timeout: 1m0s: want from 1ms to the interval, 30s`)
	f(func(c *probe.Check) { c.Timeout = -1 }, `timeout: -1ns: want from 1ms to the interval, 30s`)
	f(func(c *probe.Check) { c.Method = "GET IT" }, `method: "GET IT": want a word such as GET, HEAD or POST`)
	f(func(c *probe.Check) { c.Headers = map[string]string{"a b": ""} }, `headers: name "a b": want letters, digits and dashes`)
	f(func(c *probe.Check) { c.Headers = map[string]string{"Authorization": "hunter2\r\nX: y"} }, `headers: the value of Authorization holds a line break or control character; want plain text`)
	f(func(c *probe.Check) { c.Headers = map[string]string{"content-length": "1"} }, `headers: content-length cannot be set: the length of body is sent`)
	f(func(c *probe.Check) { c.Headers = map[string]string{"X-a": "1", "x-A": "2"} }, `headers: X-a and x-A are the same header; keep one`)
	f(func(c *probe.Check) { c.MaxRedirects = -1 }, `max_redirects: -1: want from 1 to 100; follow_redirects: false follows none`)
	f(func(c *probe.Check) { c.MaxBodyBytes = -1 }, `max_body_bytes: -1: want from 1 to 1073741824 (1 GiB)`)
	f(func(c *probe.Check) { c.IPVersion = "5" }, `ip_version: "5": want any, 4, 6, prefer4, prefer6 or both`)
	f(func(c *probe.Check) { c.URL, c.IPVersion = "http://127.0.0.1/", "6" }, `ip_version: "6": the url has the IPv4 address 127.0.0.1; want 4, or a name in the url`)
	f(func(c *probe.Check) { c.Resolver = "dns.test:53" }, `resolver: "dns.test:53": want the address of a DNS server, such as 10.0.0.2:53`)
	f(func(c *probe.Check) { c.TLS.CertFile = "c.pem" }, `tls.cert_file: "c.pem" and tls.key_file: "" go together; want both or none`)
	f(func(c *probe.Check) { c.TLS.CAFile = filepath.Join(dir, "none") }, `tls.ca_file: want a readable file: open `+dir+`/none: no such file or directory`)
	f(func(c *probe.Check) { c.TLS.CAFile = empty }, `tls.ca_file: `+empty+` holds no certificate; want PEM`)
	f(func(c *probe.Check) { c.BasicAuth.Password = "hunter2" }, `basic_auth.username: is missing; a password needs a user`)
	f(func(c *probe.Check) {
		c.BasicAuth = probe.BasicAuth{Username: "u", Password: "hunter2", PasswordFile: "f"}
	}, `basic_auth.password: is set beside basic_auth.password_file; keep one`)
	f(func(c *probe.Check) { c.BasicAuth.Username, c.BearerToken = "u", "hunter2" }, `bearer_token: is set beside basic_auth; a request has one Authorization header, keep one`)
	f(func(c *probe.Check) { c.BearerToken, c.BearerFile = "hunter2", "f" }, `bearer_token: is set beside bearer_token_file; keep one`)
	f(func(c *probe.Check) { c.BearerToken, c.Headers = "hunter2", map[string]string{"authorization": "x"} }, `headers: Authorization is set beside basic_auth or bearer_token; keep one`)
	f(func(c *probe.Check) { c.BearerFile = filepath.Join(dir, "none") }, `bearer_token_file: want a readable file: open `+dir+`/none: no such file or directory`)
	f(func(c *probe.Check) { c.BearerToken = "hunter2\nX" }, `bearer_token: holds a line break; want one line of text`)
	f(func(c *probe.Check) { c.Expect.Status = probe.Statuses{"200", "6xx"} }, `expect.status: "6xx": want a code from 100 to 599 or a class such as 2xx`)
	f(func(c *probe.Check) { c.Expect.BodyRegex = "(" }, "expect.body_regex: \"(\": want a regular expression (RE2): error parsing regexp: missing closing ): `(`")
	f(func(c *probe.Check) { c.Expect.Headers = map[string]string{"X": "["} }, "expect.headers: X: \"[\": want a regular expression (RE2): error parsing regexp: missing closing ]: `[`")
	f(func(c *probe.Check) { c.Expect.MaxSeconds = -1 }, `expect.max_seconds: -1: want a number above 0`)
	f(func(c *probe.Check) { c.Expect.CertificateDays = -1 }, `expect.certificate_days: -1: want a number of days above 0`)
	f(func(c *probe.Check) { c.Method, c.Expect.BodyContains = "HEAD", "x" }, `expect.body_contains, body_regex, json, json_schema and min_bytes: a HEAD reply has no body; want method GET`)
	f(func(c *probe.Check) { c.Labels = map[string]string{"a-b": ""} }, `labels: name "a-b": want letters, digits and '_', not beginning with a digit or '__'`)
	f(func(c *probe.Check) { c.Labels = map[string]string{"instance": "x"} }, `labels: "instance" is set by the check itself; want another name`)
}

func TestStatuses(t *testing.T) {
	f := func(code int, want bool, s ...string) {
		t.Helper()
		if got := probe.Statuses(s).Has(code); got != want {
			t.Errorf("%v has %d: got %v", s, code, got)
		}
	}
	f(200, true)
	f(299, true)
	f(301, false)
	f(301, true, "3xx")
	f(301, true, "200", "3XX")
	f(404, true, "200", "404")
	f(403, false, "200", "404")
}

func TestResolvePaths(t *testing.T) {
	c := probe.Check{TLS: probe.TLS{CAFile: "ca.pem", CertFile: "/abs/c.pem"}, BearerFile: "../token"}
	c.ResolvePaths("/etc/vedette")
	if c.TLS.CAFile != "/etc/vedette/ca.pem" || c.TLS.CertFile != "/abs/c.pem" || c.BearerFile != "/etc/token" || c.TLS.KeyFile != "" {
		t.Errorf("got %+v", c)
	}
}
