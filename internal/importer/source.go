package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// obj is an object of a source, whatever its format; it knows which of its keys
// were asked for. Its methods take what a person may have written: a number as
// a text, one value where a list is meant. nil is an object without keys.
type obj struct {
	m    map[string]any
	used map[string]bool
}

func newObj(v any) *obj {
	switch m := v.(type) {
	case map[string]any:
		return &obj{m, map[string]bool{}}
	case map[any]any: // YAML with keys that are not all texts
		o := &obj{map[string]any{}, map[string]bool{}}
		for k, v := range m {
			o.m[fmt.Sprint(k)] = v
		}
		return o
	}
	return nil
}

// readYAML reads the first document of a YAML text, which must be a mapping.
func readYAML(text []byte) (*obj, error) {
	var v any
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the file is empty")
		}
		return nil, fmt.Errorf("want YAML: %s", shorten(strings.ReplaceAll(err.Error(), "\n", " ")))
	}
	o := newObj(v)
	if o == nil {
		return nil, errors.New("want a YAML mapping with keys at its top")
	}
	return o, nil
}

// readJSON reads a JSON text.
func readJSON(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("want JSON: %w", err)
	}
	return v, nil
}

func (o *obj) get(key string) any {
	if o == nil {
		return nil
	}
	o.used[key] = true
	return o.m[key]
}

func (o *obj) has(key string) bool { return o.get(key) != nil }

// text is a scalar as a text, "" when there is none.
func (o *obj) text(key string) string { return scalar(o.get(key)) }

func scalar(v any) string {
	switch x := v.(type) {
	case nil, map[string]any, map[any]any, []any:
		return ""
	case string:
		return x
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case time.Time:
		return x.Format(time.RFC3339)
	}
	return fmt.Sprint(v)
}

// number is a number, also one written as a text.
func (o *obj) number(key string) (float64, bool) {
	f, err := strconv.ParseFloat(o.text(key), 64)
	return f, err == nil && f == f
}

// count is a whole number within what makes sense, 0 when there is none.
func (o *obj) count(key string) int {
	f, ok := o.number(key)
	if !ok || f < -1e6 || f > 1e6 {
		return 0
	}
	return int(f)
}

// yes is whether a flag is set; JSON of databases has 1 for true.
func (o *obj) yes(key string) bool {
	switch strings.ToLower(o.text(key)) {
	case "true", "1", "yes", "on":
		return true
	}
	return false
}

// no is whether a flag is there and not set.
func (o *obj) no(key string) bool { return o.has(key) && !o.yes(key) }

// list is the values of a list; one value is a list of one.
func (o *obj) list(key string) []any {
	switch x := o.get(key).(type) {
	case nil:
		return nil
	case []any:
		return x
	default:
		return []any{x}
	}
}

func (o *obj) texts(key string) (out []string) {
	for _, v := range o.list(key) {
		if s := scalar(v); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (o *obj) sub(key string) *obj { return newObj(o.get(key)) }

// subs are the objects of a list.
func (o *obj) subs(key string) (out []*obj) {
	for _, v := range o.list(key) {
		if s := newObj(v); s != nil {
			out = append(out, s)
		}
	}
	return out
}

// pairs is a mapping of texts.
func (o *obj) pairs(key string) map[string]string {
	out := map[string]string{}
	if s := o.sub(key); s != nil {
		for k, v := range s.m {
			out[k] = scalar(v)
		}
	}
	return out
}

// duration is a time such as 30s or 1m30s, or as Prometheus writes it (1d); a
// bare number is in the unit. Out of bounds is as if it were not there.
func (o *obj) duration(key string, unit time.Duration) (time.Duration, bool) {
	return parseDuration(o.text(key), unit)
}

func parseDuration(s string, unit time.Duration) (time.Duration, bool) {
	const most = 365 * 24 * time.Hour
	s = strings.TrimSpace(s)
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if f < 0 || f*float64(unit) > float64(most) || f != f {
			return 0, false
		}
		return time.Duration(f * float64(unit)), true
	}
	days := time.Duration(0)
	for unit, length := range map[string]time.Duration{"w": 7 * 24 * time.Hour, "d": 24 * time.Hour} {
		if n, rest, ok := strings.Cut(s, unit); ok {
			v, err := strconv.Atoi(n)
			if err != nil || v < 0 || v > 1000 {
				continue
			}
			days += time.Duration(v) * length
			if s = rest; s == "" {
				return min(days, most), true
			}
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d+days > most {
		return 0, false
	}
	return d + days, true
}

// rest are the keys that nobody asked for and that say something.
func (o *obj) rest() (keys []string) {
	if o == nil {
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(o.m)) {
		if o.used[k] {
			continue
		}
		switch v := o.m[k].(type) {
		case nil:
			continue
		case []any:
			if len(v) == 0 {
				continue
			}
		case map[string]any:
			if len(v) == 0 {
				continue
			}
		}
		keys = append(keys, k)
	}
	return keys
}
