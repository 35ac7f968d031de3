package notify

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/prometheus/alertmanager/template"
)

//go:embed words.tmpl
var words string

// templates are Alertmanager's defaults, ours over them, and those of the
// configuration over both.
func templates(paths []string) (*template.Template, error) {
	t, err := template.FromGlobs(nil)
	if err != nil {
		return nil, err
	}
	if err := t.Parse(strings.NewReader(words)); err != nil {
		return nil, fmt.Errorf("BUG: the default words of notifications: %w", err)
	}
	for _, p := range paths {
		if err := t.FromGlob(p); err != nil {
			return nil, err
		}
	}
	return t, nil
}
