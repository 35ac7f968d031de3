package golden_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every block of Go in the guide compiles: a program is built, and any other block
// stands, line by line, in an example, which is run.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/instrument.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples strings.Builder
	for _, name := range []string{"example_test.go", "../goldengrpc/example_test.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		examples.WriteString(plain(string(b)))
	}
	blocks := 0
	for i, part := range strings.Split(string(guide), "```go\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks++
		if strings.HasPrefix(block, "package main") {
			file := filepath.Join(t.TempDir(), fmt.Sprintf("main%d.go", i))
			if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
				t.Errorf("block %d: %v\n%s", i+1, err, out)
			}
			continue
		}
		if !strings.Contains(examples.String(), plain(block)) {
			t.Errorf("block %d is in no example:\n%s", i+1, block)
		}
	}
	if blocks < 12 {
		t.Errorf("found %d blocks of Go, which are too few", blocks)
	}
}

// plain is text without indentation and alignment.
func plain(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if f := strings.Fields(line); len(f) > 0 {
			b.WriteString(strings.Join(f, " "))
			b.WriteByte('\n')
		}
	}
	return b.String()
}
