package app

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
	"github.com/prometheus/common/model"
)

// place is where one key of the file stands.
type place struct {
	line, column int
	typ          reflect.Type // what the file may hold there
}

// schema walks a parsed vedette.yml beside the Go types that it is decoded
// into. It finds unknown keys and values of a wrong type in words that a reader
// of YAML knows, and remembers where every key stands, for the faults that are
// found later.
type schema struct {
	places  map[string]place // by path, such as checks[0].url
	anchors map[string]ast.Node
	// hidden are the values of passwords, tokens and headers, which no message
	// may show.
	hidden []string
	fault  *ConfigError // the first found
	budget int          // nodes that may still be visited: aliases multiply them
}

// maxNodes bounds the walk; a file of 20,000 checks has half a million.
const maxNodes = 5_000_000

// newSchema compares a file with the type that it is decoded into.
func newSchema(f *ast.File, t reflect.Type) *schema {
	s := &schema{places: map[string]place{}, anchors: map[string]ast.Node{}, budget: maxNodes}
	for _, d := range f.Docs {
		ast.Walk(s, d)
	}
	for i, d := range f.Docs {
		if d.Body == nil {
			continue
		}
		if i > 0 {
			s.fail(first(d.Body), "", "a second document begins here; want one document")
			return s
		}
		s.walk(d.Body, t, "", false)
	}
	return s
}

// Visit collects anchors.
func (s *schema) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		s.anchors[a.Name.GetToken().Value] = a.Value
	}
	return s
}

func (s *schema) fail(tk *token.Token, path, format string, a ...any) {
	if s.fault == nil {
		s.fault = &ConfigError{Line: tk.Position.Line, Column: tk.Position.Column, Key: path, Message: fmt.Sprintf(format, a...)}
	}
}

var (
	durationType  = reflect.TypeFor[time.Duration]()
	timeType      = reflect.TypeFor[time.Time]()
	mDurationType = reflect.TypeFor[model.Duration]()
)

// walk compares a node with the type t; secret says that its texts are not to
// be shown.
func (s *schema) walk(n ast.Node, t reflect.Type, path string, secret bool) {
	if s.budget--; s.budget < 0 || s.fault != nil {
		return
	}
	for range 16 { // an alias of an alias of ...; a circle is the decoder's to refuse
		switch x := n.(type) {
		case *ast.AnchorNode:
			n = x.Value
			continue
		case *ast.TagNode:
			n = x.Value
			continue
		case *ast.AliasNode:
			to := s.anchors[x.Value.GetToken().Value]
			if to == nil {
				s.fail(x.GetToken(), path, "the alias *%s has no anchor &%s above it", x.Value.GetToken().Value, x.Value.GetToken().Value)
				return
			}
			n = to
			continue
		}
		break
	}
	if n == nil || n.Type() == ast.NullType {
		return // as if the key were not there
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, scalar := n.(ast.ScalarNode); scalar && secret {
		s.hide(n.GetToken().Value)
	}
	own := reflect.PointerTo(t).Implements(reflect.TypeFor[interface{ UnmarshalYAML(func(any) error) error }]())
	switch {
	case t == durationType || t == mDurationType:
		s.duration(n, t, path)
	case t == timeType:
		if _, err := time.Parse(time.RFC3339, n.GetToken().Value); err != nil {
			s.fail(n.GetToken(), path, "%q is not a time; want such as 2026-11-01T02:00:00Z", n.GetToken().Value)
		}
	case t.Kind() == reflect.Interface: // anything
	case own: // it takes several forms and says itself what is wrong
	case t.Kind() == reflect.Struct:
		s.mapping(n, t, path, secret)
	case t.Kind() == reflect.Map:
		s.mapping(n, t, path, secret)
	case t.Kind() == reflect.Slice:
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			s.fail(n.GetToken(), path, "want a list, got %s", s.shown(n))
			return
		}
		for i, v := range seq.Values {
			p := fmt.Sprintf("%s[%d]", path, i)
			s.put(p, first(v), t.Elem())
			s.walk(v, t.Elem(), p, secret)
		}
	default:
		if want := wanted(n, t); want != "" {
			s.fail(n.GetToken(), path, "want %s, got %s", want, s.shown(n))
		}
	}
}

func (s *schema) put(path string, tk *token.Token, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s.places[path] = place{tk.Position.Line, tk.Position.Column, t}
}

func (s *schema) hide(v string) {
	for _, line := range strings.Split(v, "\n") {
		if line = strings.TrimSpace(line); len(line) >= 3 {
			s.hidden = append(s.hidden, line)
		}
	}
}

// secretKey tells keys whose values nobody may see. A path of a file is not
// secret, and what the file holds is never read here.
func secretKey(name string) bool {
	return secretWord.MatchString(name) && !strings.HasSuffix(name, "_file") && name != "tokens"
}

var secretWord = regexp.MustCompile(`(?i)password|passwd|secret|token|authorization|credential|cookie|bearer|hash|(?:^|[_-])key|apikey|^headers$|^body$`)

func (s *schema) mapping(n ast.Node, t reflect.Type, path string, secret bool) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		s.fail(n.GetToken(), path, "want a mapping (keys with values), got %s", s.shown(n))
		return
	}
	var known map[string]reflect.Type
	if t.Kind() == reflect.Struct {
		known = fields(t)
	}
	for _, v := range values {
		tk := v.Key.GetToken()
		if v.Key.Type() == ast.MergeKeyType {
			s.walk(v.Value, t, path, secret)
			continue
		}
		p := tk.Value
		if path != "" {
			p = path + "." + p
		}
		vt := known[tk.Value]
		if known == nil {
			vt = t.Elem()
		}
		if vt == nil {
			s.fail(tk, path, "unknown key %q; %s", tk.Value, suggest(tk.Value, known))
			return
		}
		at := tk
		if _, scalar := v.Value.(ast.ScalarNode); scalar && v.Value.GetToken().Value != "" {
			at = v.Value.GetToken()
		}
		s.put(p, at, vt)
		s.walk(v.Value, vt, p, secret || secretKey(tk.Value))
	}
}

// first is the token by which a reader finds a node.
func first(n ast.Node) *token.Token {
	switch m := n.(type) {
	case *ast.MappingNode:
		if len(m.Values) > 0 {
			return m.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return m.Key.GetToken()
	}
	return n.GetToken()
}

func (s *schema) duration(n ast.Node, t reflect.Type, path string) {
	examples := "such as 500ms, 30s or 5m"
	if t == mDurationType {
		examples = "such as 30s, 12h or 15d"
	}
	if _, ok := n.(ast.ScalarNode); !ok {
		s.fail(n.GetToken(), path, "want a duration %s, got %s", examples, s.shown(n))
		return
	}
	v := n.GetToken().Value
	var err error
	if t == mDurationType {
		_, err = model.ParseDuration(v)
	} else {
		var d time.Duration
		if d, err = time.ParseDuration(v); err == nil && d < 0 {
			err = fmt.Errorf("negative")
		}
	}
	if err != nil {
		s.fail(n.GetToken(), path, "%q is not a duration; want a number with its unit, %s", v, examples)
	}
}

// wanted names what the type t takes when the node n is not that.
func wanted(n ast.Node, t reflect.Type) string {
	_, scalar := n.(ast.ScalarNode)
	switch t.Kind() {
	case reflect.String:
		if !scalar {
			return "a text"
		}
	case reflect.Bool:
		if n.Type() != ast.BoolType {
			return "true or false"
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n.Type() != ast.IntegerType {
			return "a whole number"
		}
	case reflect.Float32, reflect.Float64:
		if n.Type() != ast.IntegerType && n.Type() != ast.FloatType {
			return "a number"
		}
	}
	return ""
}

// shown names what a node is, with its text where that may be shown.
func (s *schema) shown(n ast.Node) string {
	switch n.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	}
	v := n.GetToken().Value
	if len(v) > 40 || slices.Contains(s.hidden, strings.TrimSpace(v)) {
		return "a text"
	}
	return fmt.Sprintf("%q", v)
}

// fields are the keys of a struct, those of inlined structs among them.
func fields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case strings.Contains(opts, "inline"):
			maps.Copy(out, fields(f.Type))
		default:
			out[cmp.Or(name, strings.ToLower(f.Name))] = f.Type
		}
	}
	return out
}

// suggest says what an unknown key may have meant: the key of this section with
// the fewest changed letters, the section where a key of this name exists, or
// all keys of the section.
func suggest(name string, known map[string]reflect.Type) string {
	keys := slices.Sorted(maps.Keys(known))
	best, bestN := "", 1+len(name)/3
	for _, k := range keys {
		if n := distance(strings.ToLower(name), k); n < bestN || n == bestN && best == "" {
			best, bestN = k, n
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	if p := elsewhere(reflect.TypeFor[Config](), name, "", 0); p != "" {
		return fmt.Sprintf("%s is known; want one of %s here", p, strings.Join(keys, ", "))
	}
	return "want one of " + strings.Join(keys, ", ")
}

// elsewhere is the path of a key of this name in the file, "" when there is
// none.
func elsewhere(t reflect.Type, name, path string, depth int) string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || depth > 4 {
		return ""
	}
	known := fields(t)
	if _, ok := known[name]; ok && depth > 0 {
		return path + name
	}
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if p := elsewhere(known[k], name, path+k+".", depth+1); p != "" {
			return p
		}
	}
	return ""
}

// distance is Levenshtein's.
func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur := make([]int, len(b)+1)
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j]+cost, prev[j+1]+1, cur[j]+1)
		}
		prev = cur
	}
	return prev[len(b)]
}
