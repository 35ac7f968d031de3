package app_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vedette-sre/vedette/internal/app"
)

// FuzzConfig reads arbitrary bytes as a vedette.yml: it is taken or refused with
// a place inside the file, and the password in it is never told.
func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{
		"", "#", "~", "---\n", "a: &a [*a]", "checks: &c\n- *c\n", "<<: {listen: x}\n", "checks: !!binary x", "retention: !t {size: 1}",
		"tenants: {? {a: b} : {}}", "listen: 0x1\nchecks:\n- name: .inf\n", "x: |\n  y\n z", "limits: {max_series: 99999999999999999999}", "\xff\xfe", "auth: {users: [~, ~]}",
		"tenants: {a: &x {checks: [{name: a, url: 'http://a'}]}, b: *x}", "checks: [{<<: {name: a}, url: 'http://b'}]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 || bytes.Contains(b, []byte("_file")) || bytes.Contains(b, []byte("tls")) {
			return // files of the machine are another test's
		}
		err := app.ParseConfig(b)
		if err == nil {
			return
		}
		var ce *app.ConfigError
		if !errors.As(err, &ce) {
			t.Fatalf("got %T %v, want a ConfigError", err, err)
		}
		if ce.Message == "" || ce.Line < 0 || ce.Line > bytes.Count(b, []byte("\n"))+bytes.Count(b, []byte("\r"))+2 {
			t.Errorf("the fault has no message or no place: %+v", ce)
		}
		if strings.Contains(err.Error(), "BUG") {
			t.Errorf("%v", err)
		}
	})
}
