package notify_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/alertmanager/config"

	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/record"
)

// upstreamConfigs are all configurations that the alertmanager module carries.
func upstreamConfigs(t testing.TB) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/alertmanager").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(string(out))
	var files []string
	for _, glob := range []string{"config/testdata/*.yml", "doc/examples/*.yml", "examples/*/*.yml", "test/**/testdata/*.yml"} {
		found, err := filepath.Glob(filepath.Join(dir, glob))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 40 {
		t.Fatalf("found %d configurations below %s, want at least 40", len(files), dir)
	}
	return files
}

// Every configuration of the module is taken or refused as upstream does.
func TestUpstreamConfigs(t *testing.T) {
	taken, refused := 0, 0
	for _, file := range upstreamConfigs(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, got := notify.Parse(content, filepath.Dir(file))
		_, want := config.LoadFile(file)
		name := filepath.Base(file)
		switch {
		case (got == nil) != (want == nil):
			t.Errorf("%s: got %v, upstream %v", name, got, want)
		case want != nil:
			refused++
			if !strings.Contains(got.Error(), want.Error()) || record.KindOf(got) != record.Invalid {
				t.Errorf("%s: got %v, upstream %v", name, got, want)
			}
		default:
			taken++
			if len(c.Receivers()) == 0 || c.Text() == "" {
				t.Errorf("%s: receivers %v, text %q", name, c.Receivers(), c.Text())
			}
			if err := c.Validate(); err != nil && !strings.Contains(err.Error(), "no such file") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	t.Logf("%d taken, %d refused", taken, refused)
}

func TestParseRelativeFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "own.tmpl"), []byte(`{{ define "own" }}x{{ end }}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := notify.Parse([]byte(`
templates: ['*.tmpl']
route: {receiver: x}
receivers: [{name: x, webhook_configs: [{url: 'http://localhost/', http_config: {tls_config: {ca_file: ca.pem}}}]}]
`), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{filepath.Join(dir, "*.tmpl"), filepath.Join(dir, "ca.pem")} {
		if !strings.Contains(c.Text(), want) {
			t.Errorf("%s is not in %s", want, c.Text())
		}
	}
}

func TestParseKeepsUTF8(t *testing.T) {
	if _, err := notify.Parse([]byte("route: {receiver: x, routes: [{receiver: x, matchers: ['\"service.name\"=\"a\"']}]}\nreceivers: [{name: x}]"), "."); err != nil {
		t.Error(err)
	}
}

func TestNotServed(t *testing.T) {
	c, err := notify.Parse([]byte(`
route: {receiver: x}
receivers: [{name: x}]
tracing: {endpoint: 'localhost:4317', client_type: grpc}
event_recorder: {file_outputs: [{path: /tmp/events}]}
`), ".")
	if err != nil {
		t.Fatal(err)
	}
	got := c.NotServed()
	if len(got) != 2 || got[0].Section != "tracing" || got[1].Section != "event_recorder" || got[1].Reason == "" {
		t.Errorf("not served: %+v", got)
	}
	if got := notify.DefaultConfig().NotServed(); len(got) != 0 {
		t.Errorf("default configuration: %+v", got)
	}
}

func TestReceiversList(t *testing.T) {
	c, err := notify.Parse([]byte(`
global: {opsgenie_api_key: k}
route: {receiver: x, routes: [{matchers: ['a="b"']}]}
receivers:
- {name: x, webhook_configs: [{url: 'http://localhost/'}, {url: 'http://localhost/2'}], opsgenie_configs: [{}]}
- {name: idle}
`), ".")
	if err != nil {
		t.Fatal(err)
	}
	got := c.Receivers()
	if len(got) != 2 || strings.Join(got[0].Integrations, " ") != "opsgenie[0] webhook[0] webhook[1]" && strings.Join(got[0].Integrations, " ") != "webhook[0] webhook[1] opsgenie[0]" ||
		!got[0].Routed || got[1].Routed {
		t.Errorf("receivers: %+v", got)
	}
}

func TestCleanKeepsTheRest(t *testing.T) {
	c := notify.DefaultConfig()
	f := func(in, want string) {
		t.Helper()
		if got := c.Clean(in); got != want {
			t.Errorf("clean %q: got %q want %q", in, got, want)
		}
	}
	f("dial tcp 127.0.0.1:1: connect: connection refused", "dial tcp 127.0.0.1:1: connect: connection refused")
	f("Post https://u:p@h/x?token=abc&y=1: EOF", "Post https://<secret>@h/x?token=<secret>&y=1: EOF")
	f("POST /bot123:aB_c-9/sendMessage", "POST /bot<secret>/sendMessage")
	f("Authorization: Bearer abcdef.123", "Authorization: Bearer <secret>")
	f("basic information", "basic information")
}

func FuzzParse(f *testing.F) {
	for _, file := range upstreamConfigs(f) {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		c, err := notify.Parse(content, ".")
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and %v", c, err)
		}
		if err != nil && record.KindOf(err) != record.Invalid {
			t.Fatalf("kind of %v: got %v want Invalid", err, record.KindOf(err))
		}
		if c != nil {
			c.Text()
			c.Receivers()
			c.NotServed()
		}
	})
}

func FuzzOutboxRow(f *testing.F) {
	f.Add([]byte(`{"group_labels":{"alertname":"x"},"repeat_interval":3600000000000,"now":"2026-01-02T03:04:05Z","reason":"first notification","firing":[18446744073709551615],"alerts":[{"labels":{"alertname":"x"},"starts_at":"2026-01-02T03:04:05Z","ends_at":"0001-01-01T00:00:00Z","updated_at":"2026-01-02T03:04:05Z"}]}`))
	f.Add([]byte(`{"alerts":[{}]}`))
	f.Add([]byte(`{"alerts":[]}`))
	f.Add([]byte("\x05hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		notify.DecodeStored(b)
		once, err := notify.DecodeRow(b)
		if err != nil {
			return
		}
		twice, err := notify.DecodeRow(once)
		if err != nil || string(once) != string(twice) {
			t.Fatalf("%s is written as %s: %v", once, twice, err)
		}
	})
}
