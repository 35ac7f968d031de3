package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/vedette-sre/vedette/internal/record"
)

// decodeObject reads one object of the API, YAML or JSON, into v: with the same
// keys and the same refusals as in vedette.yml. An error is record.Invalid and
// begins with the key.
func decodeObject(body []byte, v any) error {
	f, err := parser.ParseBytes(body, 0)
	if err == nil {
		if s := newSchema(f, reflect.TypeOf(v)); s.fault != nil {
			e := s.fault
			if e.Key == "" {
				return record.Errorf(record.Invalid, "line %d: %s", e.Line, e.Message)
			}
			return record.Errorf(record.Invalid, "%s: %s", e.Key, e.Message)
		}
		err = yaml.NewDecoder(bytes.NewReader(body), yaml.Strict()).Decode(v)
	}
	if errors.Is(err, io.EOF) {
		return record.Errorf(record.Invalid, "the body is empty; want an object in JSON or YAML")
	}
	var ce *ConfigError
	if err != nil && errors.As(syntaxError("", body, err), &ce) {
		if ce.Line > 0 {
			return record.Errorf(record.Invalid, "line %d: %s", ce.Line, ce.Message)
		}
		return record.Errorf(record.Invalid, "%s", ce.Message)
	}
	return err
}

// encodeObject renders an object as JSON under its YAML keys.
func encodeObject(v any) ([]byte, error) {
	b, err := yaml.MarshalWithOptions(v, yaml.JSON())
	if err != nil {
		return nil, fmt.Errorf("render an object: %w", err)
	}
	return bytes.TrimSpace(b), nil
}

// hiddenValue stands for a secret in what the API shows. Given back, it means
// the secret that is kept.
const hiddenValue = "(removed)"

var userInURL = regexp.MustCompile(`://[^/?#@\s"']+@`)

// shownObject renders an object for the API without its secrets: as JSON and as
// YAML, with its keys in the order in which they were written.
func shownObject(body []byte) (js json.RawMessage, text string, err error) {
	var tree any
	if err := yaml.UnmarshalWithOptions(body, &tree, yaml.UseOrderedMap()); err != nil {
		return nil, "", err
	}
	tree = withoutSecrets(tree, false)
	y, err := yaml.MarshalWithOptions(tree, yaml.IndentSequence(true))
	if err != nil {
		return nil, "", err
	}
	if js, err = yaml.YAMLToJSON(y); err != nil {
		return nil, "", err
	}
	return json.RawMessage(bytes.TrimSpace(js)), string(y), nil
}

func withoutSecrets(v any, secret bool) any {
	switch x := v.(type) {
	case yaml.MapSlice:
		out := make(yaml.MapSlice, 0, len(x))
		for _, it := range x {
			out = append(out, yaml.MapItem{Key: it.Key, Value: withoutSecrets(it.Value, secret || secretKey(fmt.Sprint(it.Key)))})
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = withoutSecrets(x[i], secret)
		}
		return out
	case string:
		if secret && x != "" && !strings.Contains(x, "${") {
			return hiddenValue
		}
		return userInURL.ReplaceAllString(x, "://"+hiddenValue+"@")
	case nil, bool:
		return x
	}
	if secret {
		return hiddenValue
	}
	return v
}

// mergeSecrets puts the secrets of an old object where a new one holds what was
// shown in their place.
func mergeSecrets(fresh, old []byte) ([]byte, error) {
	if !bytes.Contains(fresh, []byte(hiddenValue)) {
		return fresh, nil
	}
	var n, o any
	if err := yaml.UnmarshalWithOptions(fresh, &n, yaml.UseOrderedMap()); err != nil {
		return fresh, nil // the decoder says what is wrong
	}
	if err := yaml.UnmarshalWithOptions(old, &o, yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("read the object as it was: %w", err)
	}
	n = mergeTree(n, o)
	return yaml.Marshal(n)
}

func mergeTree(n, o any) any {
	switch x := n.(type) {
	case yaml.MapSlice:
		was, _ := o.(yaml.MapSlice)
		for i, it := range x {
			for _, w := range was {
				if fmt.Sprint(w.Key) == fmt.Sprint(it.Key) {
					x[i].Value = mergeTree(it.Value, w.Value)
				}
			}
		}
		return x
	case []any:
		was, _ := o.([]any)
		for i := range x {
			if i < len(was) {
				x[i] = mergeTree(x[i], was[i])
			}
		}
		return x
	case string:
		if strings.Contains(x, hiddenValue) {
			if s, ok := o.(string); ok && (x == hiddenValue || x == userInURL.ReplaceAllString(s, "://"+hiddenValue+"@")) {
				return s
			}
			if x == hiddenValue && o != nil {
				return o
			}
		}
	}
	return n
}
