package notify

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	amcommon "github.com/prometheus/alertmanager/config/common"
)

// secrets are the values of a configuration that must not be seen in logs,
// rows or answers. The zero value knows only the general patterns.
type secrets struct {
	values []string // longest first
	files  []string

	// A rotated secret is a secret too, so files are read again, but not for
	// every line of the log.
	mu     sync.Mutex
	readAt time.Time
	all    []string // values and what the files held, longest first
}

const rereadSecrets = 10 * time.Second

const hidden = "<secret>"

// secretPatterns find what looks like a credential wherever it came from.
var secretPatterns = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\bbot\d+:[A-Za-z0-9_-]+`), "bot" + hidden},
	{regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"'@]+@`), "${1}" + hidden + "@"},
	{regexp.MustCompile(`(?i)([?&](?:[a-z_]*token|[a-z_-]*key|[a-z_]*secret|password|sig|signature|auth)=)[^&\s"']+`), "${1}" + hidden},
	{regexp.MustCompile(`\b(Bearer|Basic|GenieKey)\s+[A-Za-z0-9._~+/=-]{6,}`), "${1} " + hidden},
}

// clean replaces every secret in s.
func (k *secrets) clean(s string) string {
	if s == "" {
		return s
	}
	for _, v := range k.known() {
		s = strings.ReplaceAll(s, v, hidden)
	}
	for _, p := range secretPatterns {
		s = p.re.ReplaceAllString(s, p.with)
	}
	return s
}

func (k *secrets) known() []string {
	if k == nil {
		return nil
	}
	if len(k.files) == 0 {
		return k.values
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.readAt) < rereadSecrets {
		return k.all
	}
	all := slices.Clone(k.values)
	for _, f := range k.files {
		if b, err := os.ReadFile(f); err == nil && len(b) < 1<<16 {
			all = appendSecret(all, strings.TrimSpace(string(b)))
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	k.all, k.readAt = all, time.Now()
	return all
}

// appendSecret adds v and, of a URL, the path that carries its token. Values
// shorter than four bytes would blank out half the text and are let be.
func appendSecret(to []string, v string) []string {
	if len(v) < 4 || v == hidden {
		return to
	}
	to = append(to, v)
	if u, err := url.Parse(v); err == nil && u.Host != "" {
		if p := u.RequestURI(); len(p) >= 8 {
			to = append(to, p)
		}
		if pw, ok := u.User.Password(); ok && len(pw) >= 4 {
			to = append(to, pw)
		}
	}
	return to
}

// collectSecrets walks a configuration: every value of a secret type and every
// setting whose key ends in _file.
func collectSecrets(conf any) *secrets {
	k := &secrets{}
	k.walk(reflect.ValueOf(conf), make(map[any]bool))
	slices.Sort(k.values)
	k.values = slices.Compact(k.values)
	slices.SortFunc(k.values, func(a, b string) int { return len(b) - len(a) })
	slices.Sort(k.files)
	k.files = slices.Compact(k.files)
	return k
}

func (k *secrets) walk(v reflect.Value, seen map[any]bool) {
	if !v.IsValid() {
		return
	}
	if v.CanInterface() {
		switch x := v.Interface().(type) {
		case amcommon.SecretURL:
			if x.URL != nil {
				k.values = appendSecret(k.values, x.URL.String())
			}
			return
		case url.URL:
			if pw, ok := x.User.Password(); ok && len(pw) >= 4 {
				k.values = append(k.values, pw)
			}
			return
		}
	}
	switch v.Kind() {
	case reflect.String:
		// Secret and SecretTemplateURL, of which the library has several.
		if strings.HasPrefix(v.Type().Name(), "Secret") {
			k.values = appendSecret(k.values, v.String())
		}
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if v.Kind() == reflect.Pointer && v.CanInterface() {
			if seen[v.Interface()] {
				return
			}
			seen[v.Interface()] = true
		}
		k.walk(v.Elem(), seen)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			if s, ok := v.Field(i).Interface().(string); ok && s != "" && strings.HasSuffix(f.Name, "File") &&
				f.Name != "CAFile" && f.Name != "CertFile" && f.Name != "KeyFile" {
				k.files = append(k.files, s)
				continue
			}
			k.walk(v.Field(i), seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			k.walk(v.Index(i), seen)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			k.walk(it.Value(), seen)
		}
	}
}

// errorMax bounds the text of an attempt's error: some receivers answer with a
// page.
const errorMax = 1000

// errorText is err for the eyes of the user.
func (k *secrets) errorText(err error) string {
	s := strings.ToValidUTF8(k.clean(err.Error()), "?")
	if len(s) > errorMax {
		s = strings.ToValidUTF8(s[:errorMax], "") + "..."
	}
	return s
}

// cleanHandler removes secrets from what the library logs.
type cleanHandler struct {
	next    slog.Handler
	secrets func() *secrets
}

func (h cleanHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h cleanHandler) Handle(ctx context.Context, r slog.Record) error {
	k := h.secrets()
	clean := slog.NewRecord(r.Time, r.Level, k.clean(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(cleanAttr(k, a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

func (h cleanHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	k := h.secrets()
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = cleanAttr(k, a)
	}
	return cleanHandler{h.next.WithAttrs(clean), h.secrets}
}

func (h cleanHandler) WithGroup(name string) slog.Handler {
	return cleanHandler{h.next.WithGroup(name), h.secrets}
}

func cleanAttr(k *secrets, a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(k.clean(v.String()))
	case slog.KindGroup:
		var g []slog.Attr
		for _, sub := range v.Group() {
			g = append(g, cleanAttr(k, sub))
		}
		a.Value = slog.GroupValue(g...)
	case slog.KindAny:
		a.Value = slog.StringValue(k.clean(fmt.Sprint(v.Any())))
	}
	return a
}
