package importer_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/vedette-sre/vedette/internal/importer"
	"github.com/vedette-sre/vedette/internal/probe"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files again")

// samples are the files of testdata and the secrets in them.
var samples = []struct {
	kind, file, prometheus string
	secrets                []string
}{
	{"gatus", "gatus.yaml", "", []string{"k3y-of-the-shop", "t0ken-of-the-shop", "oauth-s3cret", "hunter2", "abc123", "pd-0123456789", "hooks.slack", "push-token"}},
	{"uptime-kuma", "uptime-kuma.json", "", []string{"k3y", "hunter2", "letmein", "pgpass", "mypass", "cl-secret", "secretbot"}},
	{"blackbox", "blackbox.yml", "prometheus.yml", []string{"s3cret-header", "hunter2"}},
	{"cloudprober", "cloudprober.cfg", "", []string{"t0ken"}},
	{"har", "login.har", "", []string{"hunter2"}},
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	if name == "" {
		return nil
	}
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden holds what is written and noted to testdata/NAME.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile("testdata/"+name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := string(read(t, name)); got != want {
		t.Errorf("%s: got:\n%s\nwant:\n%s", name, got, want)
	}
}

func noteText(notes []importer.Note) string {
	var b strings.Builder
	for _, n := range notes {
		fmt.Fprintln(&b, n)
	}
	return b.String()
}

func TestSamples(t *testing.T) {
	for _, s := range samples {
		t.Run(s.kind, func(t *testing.T) {
			res, err := importer.Import(s.kind, read(t, s.file), importer.Options{Prometheus: read(t, s.prometheus)})
			if err != nil {
				t.Fatal(err)
			}
			notes := noteText(res.Notes)
			golden(t, s.kind+".golden.yml", string(res.YAML))
			golden(t, s.kind+".golden.txt", notes)
			for _, secret := range s.secrets {
				if strings.Contains(string(res.YAML), secret) || strings.Contains(notes, secret) {
					t.Errorf("the result holds the secret %q", secret)
				}
			}
			accepted(t, res)
		})
	}
}

// accepted holds a result to what the program itself demands of a file.
func accepted(t testing.TB, res *importer.Result) []probe.Check {
	t.Helper()
	var file struct {
		Checks      []probe.Check `yaml:"checks"`
		Maintenance []any         `yaml:"maintenance"`
	}
	if err := yaml.NewDecoder(bytes.NewReader(res.YAML), yaml.Strict()).Decode(&file); err != nil {
		t.Fatalf("%v\n%s", err, res.YAML)
	}
	if len(file.Checks) != res.Count {
		t.Errorf("got %d checks in the file, want %d", len(file.Checks), res.Count)
	}
	ids, unbuilt := map[string]string{}, 0
	for i := range file.Checks {
		c := &file.Checks[i]
		written := c.Name
		if o := c.OAuth2; o != nil && o.ClientSecretFile != "" {
			o.ClientSecret = "in the file"
		}
		for _, f := range c.Files() {
			*f = ""
		}
		if err := c.Validate(); err != nil {
			if c.Kind == "" || slices.Contains(probe.Kinds(), c.Kind) {
				if !strings.Contains(err.Error(), "no kind of check has the scheme") {
					t.Errorf("check %q is refused: %v", written, err)
				}
			}
			unbuilt++
			continue
		}
		if other, dup := ids[c.ID]; dup {
			t.Errorf("checks %q and %q have the same id %s", other, written, c.ID)
		}
		ids[c.ID] = written
	}
	if unbuilt != res.Unbuilt {
		t.Errorf("got %d checks of kinds that are not built, want %d", res.Unbuilt, unbuilt)
	}
	return file.Checks
}

func TestWithSecrets(t *testing.T) {
	for _, s := range samples[:4] {
		res, err := importer.Import(s.kind, read(t, s.file), importer.Options{Prometheus: read(t, s.prometheus), Secrets: true})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(res.YAML), "secrets/") && s.kind != "uptime-kuma" {
			t.Errorf("%s: names files for secrets that it was to copy:\n%s", s.kind, res.YAML)
		}
		copied := 0
		for _, secret := range s.secrets {
			if strings.Contains(string(res.YAML), secret) {
				copied++
			}
			if strings.Contains(noteText(res.Notes), secret) {
				t.Errorf("%s: a note holds the secret %q", s.kind, secret)
			}
		}
		if copied == 0 {
			t.Errorf("%s: copied none of its secrets", s.kind)
		}
		accepted(t, res)
	}
}

// one imports an endpoint of Gatus with the given conditions.
func one(t *testing.T, conditions ...string) (probe.Expect, string) {
	t.Helper()
	text := "endpoints:\n- name: a\n  url: https://a.example.org\n  conditions:\n"
	for _, c := range conditions {
		text += "  - " + string(must(yaml.MarshalWithOptions(c, yaml.JSON())))
	}
	res, err := importer.Import("gatus", []byte(text), importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return accepted(t, res)[0].Expect, noteText(res.Notes)
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return append(bytes.TrimSpace(b), '\n')
}

func TestConditions(t *testing.T) {
	f := func(condition, want string) {
		t.Helper()
		e, notes := one(t, "[STATUS] == 200", condition)
		e.Status = nil
		got := strings.Join(strings.Fields(string(must(yaml.MarshalWithOptions(e, yaml.JSON())))), " ")
		if got != want {
			t.Errorf("%s: got %s, want %s", condition, got, want)
		}
		if told := strings.Contains(notes, "did not convert") || strings.Contains(notes, "not a comparison"); told != (want == "{}") {
			t.Errorf("%s: notes: %s", condition, notes)
		}
	}
	f(`[RESPONSE_TIME] < 300`, `{"max_seconds": 0.3}`)
	f(`300 > [RESPONSE_TIME]`, `{"max_seconds": 0.3}`)
	f(`[RESPONSE_TIME] > 300`, `{}`)
	f(`[CERTIFICATE_EXPIRATION] > 48h`, `{"certificate_days": 2}`)
	f(`[CERTIFICATE_EXPIRATION] > 49h`, `{"certificate_days": 3}`)
	f(`[BODY] == pat(*hello*)`, `{"body_contains": "hello"}`)
	f(`[BODY] != pat(*hello*)`, `{"body_not_contains": "hello"}`)
	f(`[BODY] == pat(a?c*)`, `{"body_regex": "(?s)\\Aa.c.*\\z"}`)
	f(`[BODY] == ok`, `{"body_regex": "(?s)\\A\\s*ok\\s*\\z"}`)
	f(`[BODY].status == UP`, `{"json": [{"path": "$.status", "equals": "UP"}]}`)
	f(`[BODY].a-b[2].c == 5`, `{"json": [{"path": "$['a-b'][2].c", "matches": "^5$"}]}`)
	f(`[BODY][0].id == true`, `{"json": [{"path": "$[0].id", "matches": "^true$"}]}`)
	f(`[BODY].n > 5`, `{"json": [{"path": "$.n", "greater_than": 5.0}]}`)
	f(`[BODY].n >= 5`, `{"cel": "double(json.n) >= 5.0"}`)
	f(`[BODY].s != "x`, `{"cel": "string(json.s) != \"\\\"x\""}`)
	f(`has([BODY].errors) == false`, `{"json": [{"path": "$.errors", "exists": false}]}`)
	f(`len([BODY].data) > 0`, `{"cel": "size(json.data) > 0"}`)
	f(`[BODY].role == any(admin, owner)`, `{"json": [{"path": "$.role", "matches": "(?s)\\A(?:admin|owner)\\z"}]}`)
	f(`[BODY].in != pat(a*)`, `{"cel": "!string(json[\"in\"]).matches(\"(?s)\\\\Aa.*\\\\z\")"}`)
	f(`[BODY].a[*].b == 1`, `{}`)
	f(`[IP] == 1.2.3.4`, `{}`)
	f(`[DOMAIN_EXPIRATION] > 720h`, `{}`)
	f(`what`, `{}`)
}

func TestStatusConditions(t *testing.T) {
	f := func(want, cel string, conditions ...string) {
		t.Helper()
		e, _ := one(t, conditions...)
		if got := e.Status.String(); got != want || e.CEL != cel {
			t.Errorf("%v: got %s and %q, want %s and %q", conditions, got, e.CEL, want, cel)
		}
	}
	f("200", "", "[STATUS] == 200")
	f("200, 429", "", "[STATUS] == any(200, 429)")
	f("1xx, 2xx", "", "[STATUS] < 300")
	f("2xx", "", "[STATUS] >= 200", "[STATUS] < 300")
	f("1xx, 2xx, 3xx, 4xx, 5xx", "", "[CONNECTED] == true")
	f("1xx, 2xx, 3xx, 4xx, 5xx", "(status >= 100 && status <= 499 || status >= 501 && status <= 599)", "[STATUS] != 500")
	f("1xx, 2xx, 3xx, 4xx, 5xx", "(false)", "[STATUS] == 200", "[STATUS] == 201")
}

// TestOddTexts holds texts that a YAML writer gets wrong to what they were.
func TestOddTexts(t *testing.T) {
	for _, body := range []string{"a\tb: c", "x\n", "\n y\n  z \n", "\u2028", "- a", "yes", "0x10", "'", "\"", "# no comment", "a: |\n  b", "{", "${x}", "\u0000", " "} {
		js, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		res, err := importer.Import("uptime-kuma", []byte(`{"monitorList":[{"name":"a","type":"http","url":"https://a.example.org","method":"POST","body":`+string(js)+`}]}`), importer.Options{})
		if err != nil {
			t.Errorf("%q: %v", body, err)
			continue
		}
		if got := accepted(t, res)[0].Body; got != body {
			t.Errorf("got %q, want %q:\n%s", got, body, res.YAML)
		}
	}
}

// TestBad tells what a person reads when a file is wrong.
func TestBad(t *testing.T) {
	f := func(kind, text, want string) {
		t.Helper()
		var prom []byte
		if kind == "blackbox" && strings.Contains(text, "modules") {
			prom = []byte("scrape_configs: []")
		}
		_, err := importer.Import(kind, []byte(text), importer.Options{Prometheus: prom})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %q: got %v, want %s", kind, text, err, want)
		}
	}
	f("nagios", "", `"nagios": want one of blackbox, cloudprober, gatus, har, uptime-kuma`)
	f("gatus", "", "gatus: the file is empty")
	f("gatus", "a: [", "gatus: want YAML: ")
	f("gatus", "- a", "gatus: want a YAML mapping")
	f("gatus", "a: 1", "gatus: endpoints: is missing")
	f("gatus", "endpoints: [1, {name: a}]", "gatus: nothing in the file became a check: endpoints[1] (a): left out: it has no url")
	f("gatus", "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\nendpoints: [*f,*f,*f,*f,*f,*f,*f,*f]", "excessive aliasing")
	f("uptime-kuma", "{", "uptime-kuma: want JSON: ")
	f("uptime-kuma", "{}", "uptime-kuma: monitorList: is missing")
	f("uptime-kuma", strings.Repeat("[", 20000), "uptime-kuma: want JSON: ")
	f("blackbox", "x: 1", "blackbox: modules: is missing")
	f("blackbox", "modules: {}", "no job has metrics_path: /probe")
	f("cloudprober", "", "cloudprober: probe: is missing")
	f("cloudprober", "probe {\n name: \"a", "cloudprober: want textproto: line 2: want a closing quote")
	f("cloudprober", "probe { name }", "line 1: want a : or { after the name of a field")
	f("cloudprober", "{{ $x }}", "the file is a template")
	f("cloudprober", strings.Repeat("a {", 1000), "nested deeper than 50")
	f("har", "[]", "har: want a HAR file")
	_, err := importer.Import("blackbox", []byte("modules: {}"), importer.Options{})
	if err == nil || !strings.Contains(err.Error(), "want --prometheus") {
		t.Errorf("got %v, want a word of --prometheus", err)
	}
	_, err = importer.Import("gatus", make([]byte, importer.MaxSource+1), importer.Options{})
	if err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Errorf("got %v, want a word of the size", err)
	}
}

// TestMany imports more checks than are allowed, all of the same name.
func TestMany(t *testing.T) {
	const n = 520
	var b strings.Builder
	b.WriteString(`{"monitorList":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"name":"same","type":"http","url":"https://a%d.example.org","interval":60}`, i, i)
	}
	b.WriteString(`]}`)
	res, err := importer.Import("uptime-kuma", []byte(b.String()), importer.Options{MaxChecks: 500})
	if err != nil {
		t.Fatal(err)
	}
	if res.Count != 500 {
		t.Errorf("got %d checks, want 500", res.Count)
	}
	if !strings.Contains(noteText(res.Notes), "there are more than 500 checks") {
		t.Error("it is not told that checks were left out")
	}
}

func TestTimes(t *testing.T) {
	f := func(keys string, interval, timeout time.Duration) {
		t.Helper()
		res, err := importer.Import("gatus", []byte("endpoints: [{name: a, url: 'https://a', conditions: ['[STATUS] == 200'], "+keys+"}]"), importer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		c := accepted(t, res)[0]
		if c.Interval != interval || c.Timeout != timeout {
			t.Errorf("%s: got %s and %s, want %s and %s", keys, c.Interval, c.Timeout, interval, timeout)
		}
	}
	f("enabled: true", time.Minute, 10*time.Second)
	f("interval: 5s", 5*time.Second, 5*time.Second)
	f("interval: 1ms", time.Second, time.Second)
	f("interval: 1h, client: {timeout: 90s}", time.Hour, 90*time.Second)
	f("interval: soon", time.Minute, 10*time.Second)
	f("interval: 99999h", time.Minute, 10*time.Second)
}

func FuzzImport(f *testing.F) {
	for i, s := range samples {
		b, err := os.ReadFile("testdata/" + s.file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), b)
	}
	prom, err := os.ReadFile("testdata/prometheus.yml")
	if err != nil {
		f.Fatal(err)
	}
	// The prometheus.yml of kind 5 is the input.
	f.Add(byte(5), prom)
	bb, err := os.ReadFile("testdata/blackbox.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(byte(3), []byte(`probe{name:"\x41\101\u00e9" type:PING targets<host_names:'a','b'> interval_msec:-1e9,}`))
	f.Fuzz(func(t *testing.T, kind byte, text []byte) {
		var o importer.Options
		k := "blackbox"
		switch i := int(kind) % (len(samples) + 1); {
		case i == len(samples):
			o.Prometheus, text = text, bb
		case samples[i].kind == "blackbox":
			o.Prometheus = prom
		default:
			k = samples[i].kind
		}
		res, err := importer.Import(k, text, o)
		if err != nil {
			if msg := err.Error(); !strings.HasPrefix(msg, k+": ") || strings.Contains(msg, "BUG") {
				t.Errorf("got the error %q, want one that begins with %s", msg, k)
			}
			return
		}
		for _, n := range res.Notes {
			if strings.ContainsAny(n.String(), "\n\r") {
				t.Errorf("a note has several lines: %q", n)
			}
		}
		accepted(t, res)
	})
}

// TestHiddenTexts holds secrets in odd places to be neither written nor told.
func TestHiddenTexts(t *testing.T) {
	f := func(kind, text string) {
		t.Helper()
		for _, with := range []bool{false, true} {
			res, err := importer.Import(kind, []byte(text), importer.Options{Secrets: with})
			if err != nil {
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error holds the secret: %v", err)
				}
				continue
			}
			if notes := noteText(res.Notes); strings.Contains(notes, "hunter2") {
				t.Errorf("a note holds the secret: %s", notes)
			}
			if !with && strings.Contains(string(res.YAML), "hunter2") {
				t.Errorf("the result holds the secret: %s", res.YAML)
			}
		}
	}
	f("gatus", "endpoints: [{name: a, url: 'wss://a.example.org', body: '{\"token\": \"hunter2\"}', conditions: ['[CONNECTED] == true']}]")
	f("gatus", "endpoints: [{name: a, url: 'https://a.example.org?token=hunter2', conditions: ['[STATUS] == 200']}]")
	f("gatus", "endpoints: [{name: a, url: 'https://x:hunter2@a.example.org:x', conditions: ['[STATUS] == 200']}]")
	f("gatus", "endpoints: [{url: 'https://x:hunter2@a.example.org', conditions: ['[STATUS] == 200']}]")
	f("gatus", "endpoints: [{name: 'https://x:hunter2@a.example.org', url: 'https://x:hunter2@a.example.org', conditions: ['[STATUS] == 200']}]")
	f("gatus", "endpoints: [{name: a, url: 'https://a.example.org', headers: {Authorization: 'Basic eDpodW50ZXIy', Cookie: hunter2}, client: {proxy-url: 'http://u:hunter2@p:1'}, conditions: ['[STATUS] == 200']}]")
	f("uptime-kuma", `{"monitorList":[{"name":"a","type":"mysql","databaseConnectionString":"mysql://x:hunter2@%zz/"},{"name":"b","type":"mysql","databaseConnectionString":"Server=a;Password=hunter2"},{"name":"c","type":"http","url":"https://c.example.org"}]}`)
	f("cloudprober", `probe { name: "a" type: EXTERNAL external_probe { command: "./x --password=hunter2" } } probe { name: "b" type: PING targets { host_names: "b" } }`)
	f("cloudprober", `probe { name: "a" password: "hunter2 }`)
}
