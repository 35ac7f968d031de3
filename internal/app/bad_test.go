package app_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vedette-sre/vedette/internal/app"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files again")

// TestBadConfigs tells what a user reads when a configuration is wrong. Each
// testdata/bad/*.yml has a golden message beside it.
func TestBadConfigs(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) < 24 {
		t.Fatalf("got %d bad configurations (%v), want 24 or more", len(files), err)
	}
	position := regexp.MustCompile(`^vedette: testdata/bad/[a-z0-9./-]+\.yml(:\d+(:\d+)?)?: `)
	goWords := regexp.MustCompile(`(?i)\bstruct\b|unmarshal|interface ?\{|\bconfig\.[a-z]|\*[a-z]+\.[A-Z]|0x[0-9a-f]{6}|goroutine`)
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".yml"), func(t *testing.T) {
			var out, errs bytes.Buffer
			code := app.Main([]string{"config", "check", f}, strings.NewReader(""), &out, &errs)
			got := errs.String()
			if code != 2 {
				t.Errorf("got exit code %d, want 2; output: %s%s", code, out.String(), got)
			}
			if !position.MatchString(got) {
				t.Errorf("the message does not begin with a file of this configuration: %s", got)
			}
			if w := goWords.FindString(got); w != "" {
				t.Errorf("the message holds %q, a word of Go: %s", w, got)
			}
			for _, secret := range []string{"hunter2secret", "verysecretverysecret", "alsosecretalsosecret", "s3cr3tshort", "0123456789abcdef", "correct horse", "$2a$12"} {
				if strings.Contains(got, secret) {
					t.Errorf("the message shows the secret %q: %s", secret, got)
				}
			}
			golden := strings.TrimSuffix(f, ".yml") + ".golden"
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v; go test ./internal/app -run Bad -rewrite makes it", err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
