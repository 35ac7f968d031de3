package app_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/vedette-sre/vedette/internal/app"
	"github.com/vedette-sre/vedette/internal/probe"
)

// keyPaths lists every key that a type takes from YAML, as docs/config.md
// writes it: retention.metrics, checks[].expect.status.
func keyPaths(t reflect.Type, prefix string, keys map[string]bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && strings.HasSuffix(prefix, ".steps[].steps"):
		return // steps within a step have the keys of steps
	case t.Kind() == reflect.Slice:
		keyPaths(t.Elem(), prefix+"[]", keys)
		return
	case t.Kind() != reflect.Struct: // a map's keys are the user's
		return
	case strings.Count(prefix, ".steps[]") > 1: // a loop's own steps are steps again
		return
	case strings.Contains(prefix, ".flow.") && t == reflect.TypeFor[probe.Expect](): // told at the check itself
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case rest == "inline":
			keyPaths(f.Type, prefix, keys)
			continue
		case name == "" || name == "-":
			continue
		case prefix != "":
			name = prefix + "." + name
		}
		keys[name] = true
		keyPaths(f.Type, name, keys)
	}
}

var tableKey = regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]]+)` \\|")

// TestDocsConfig holds docs/config.md to the keys that the program takes: none
// missing, none invented.
func TestDocsConfig(t *testing.T) {
	told := map[string]bool{}
	for _, name := range []string{"config.md", "checks.md"} { // a check's further keys have a page of theirs
		doc, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range tableKey.FindAllSubmatch(doc, -1) {
			k := string(m[1])
			if name == "checks.md" && !strings.HasPrefix(k, "checks[].") {
				continue // a table of series
			}
			if told[k] {
				t.Errorf("docs/%s has a second row for %s", name, k)
			}
			told[k] = true
		}
	}
	keys := map[string]bool{}
	keyPaths(reflect.TypeFor[app.Config](), "", keys)
	for k := range keys {
		if !told[k] {
			t.Errorf("docs/config.md has no row for the key %s", k)
		}
	}
	for k := range told {
		if !keys[k] {
			t.Errorf("docs/config.md has a row for %s, which is not a key", k)
		}
	}
}

// TestDocsExample has the full example of docs/config.md checked as a user
// would, with files of the least content where it names some.
func TestDocsExample(t *testing.T) {
	b, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	_, after, ok := strings.Cut(doc, "<!-- full example -->\n```yaml\n")
	example, _, end := strings.Cut(after, "\n```")
	if !ok || !end {
		t.Fatal("docs/config.md has no full example")
	}
	dir := t.TempDir()
	cert, key := pair(t)
	for name, content := range map[string]string{
		"vedette.yml":               example,
		"prometheus.yml":            "scrape_configs: [{job_name: a, static_configs: [{targets: ['127.0.0.1:1']}]}]",
		"acme/prometheus.yml":       "scrape_configs: []",
		"alertmanager.yml":          "route: {receiver: a}\nreceivers: [{name: a}]",
		"blackbox.yml":              "modules: {http_2xx: {prober: http}}",
		"tls/vedette.crt":           cert,
		"tls/vedette.key":           key,
		"tls/office-ca.pem":         cert,
		"secrets/prometheus.token":  "0123456789abcdef",
		"secrets/orders.token":      "0123456789abcdef",
		"secrets/intranet.password": "correct horse",
		"secrets/eu-west.token":     "0123456789abcdef0123",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errw bytes.Buffer
	code := app.Main([]string{"config", "check", filepath.Join(dir, "vedette.yml")}, strings.NewReader(""), &out, &errw)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errw.String())
	}
	if want := "2 tenants, 5 checks"; !strings.Contains(out.String(), want) {
		t.Errorf("got %q, want %q in it", out.String(), want)
	}
	keys := map[string]bool{}
	keyPaths(reflect.TypeFor[app.Config](), "", keys)
	for k := range keys {
		last := strings.TrimSuffix(k[strings.LastIndexByte(k, '.')+1:], "[]")
		if strings.HasPrefix(k, "checks[].") && !strings.Contains(doc, "| `"+k+"` |") {
			continue // docs/checks.md shows it
		}
		if !regexp.MustCompile(`\b`+last+`:`).MatchString(example) && !leftOut[k] {
			t.Errorf("the example does not show %s", k)
		}
	}
}

// TestDocsChecks holds the examples of docs/checks.md to what the program takes.
func TestDocsChecks(t *testing.T) {
	b, err := os.ReadFile("../../docs/checks.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, block := range strings.Split(string(b), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "\n```")
		switch {
		case strings.HasPrefix(text, "checks:"), strings.HasPrefix(text, "locations:"):
		case strings.HasPrefix(text, "  - name:"):
			text = "checks:\n" + text
		default:
			continue
		}
		n++
		dir := t.TempDir()
		for name, content := range map[string]string{"vedette.yml": text, "cache.password": "x", "eu-west.token": "0123456789abcdef0123", "office.token": "0123456789abcdef0123"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out, errw bytes.Buffer
		if code := app.Main([]string{"config", "check", filepath.Join(dir, "vedette.yml")}, strings.NewReader(""), &out, &errw); code != 0 {
			t.Errorf("%s\n%s", text, errw.String())
		}
	}
	if n < 5 {
		t.Errorf("docs/checks.md has %d examples, want them all", n)
	}
}

// leftOut are the keys that exclude one which the example shows, or that nobody
// should copy.
var leftOut = map[string]bool{
	"auth.tokens[].token": true, "checks[].bearer_token": true, "checks[].basic_auth.password": true,
	"checks[].tls.insecure_skip_verify": true, "checks[].tls.cert_file": true, "checks[].tls.key_file": true,
	"locations[].token": true, "locations[].token_sha256": true,
}

// pair makes the PEM of a certificate and its key: those of the server that
// httptest starts.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	c := srv.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
