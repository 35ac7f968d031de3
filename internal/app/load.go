package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ConfigError is a fault in a configuration file: where, what, and the lines
// around it.
type ConfigError struct {
	File         string
	Line, Column int // 0 when unknown
	Key          string
	Message      string
	Source       string // the lines around it, with a mark; "" when unknown
}

func (e *ConfigError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Message)
	if e.Source != "" {
		b.WriteString("\n" + strings.TrimRight(e.Source, "\n"))
	}
	return b.String()
}

// LoadConfig reads and validates a vedette.yml; path "" gives the defaults. The
// files it names are read by Prepare.
func LoadConfig(path string) (*Config, error) {
	c := &Config{path: path}
	var content []byte
	if path != "" {
		var err error
		if content, err = os.ReadFile(path); err != nil {
			return nil, &ConfigError{File: path, Message: hint(err)}
		}
		if err := decode(path, content, c); err != nil {
			return nil, err
		}
	}
	c.path = path
	c.resolve()
	c.setDefaults()
	if err := c.validate(); err != nil {
		return nil, locate(path, content, err)
	}
	return c, nil
}

func hint(err error) string {
	if errors.Is(err, os.ErrNotExist) {
		return "no such file; give the path of a vedette.yml, or leave --config away"
	}
	return err.Error()
}

func decode(path string, content []byte, c *Config) error {
	err := yaml.NewDecoder(bytes.NewReader(content), yaml.Strict()).Decode(c)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	var ye yaml.Error
	if !errors.As(err, &ye) {
		// A value's own parser knows no position: find the value.
		return locateValue(path, content, err)
	}
	ce := &ConfigError{File: path, Message: plain(ye.GetMessage())}
	if tk := ye.GetToken(); tk != nil {
		ce.Line, ce.Column = tk.Position.Line, tk.Position.Column
		ce.Source = stripHead(yaml.FormatError(err, false, true))
		ce.Key = keyAt(content, ce.Line, ce.Column)
	}
	if name, ok := strings.CutPrefix(ye.GetMessage(), "unknown field "); ok {
		ce.Key = ""
		ce.Message = "unknown key " + name + "; " + nearest(strings.Trim(name, `"`))
	}
	return ce
}

var goType = regexp.MustCompile(`cannot unmarshal (\S+(?: \{\})?) into Go (?:struct field \S+|value) of type (\S+)`)

// plain turns the decoder's words about Go types into words about YAML.
func plain(msg string) string {
	m := goType.FindStringSubmatch(msg)
	if m == nil {
		return msg
	}
	yamlType := func(t string) string {
		switch {
		case t == "map[string]interface {}" || strings.HasPrefix(t, "map") || strings.Contains(t, "Config"):
			return "a mapping"
		case strings.HasPrefix(t, "[]"):
			return "a list"
		case t == "string":
			return "a text"
		case t == "bool":
			return "true or false"
		case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
			return "a whole number"
		case strings.HasPrefix(t, "float"):
			return "a number"
		case strings.HasSuffix(t, "Duration"):
			return "a duration such as 30s"
		}
		return "a mapping"
	}
	return fmt.Sprintf("want %s, got %s", yamlType(m[2]), yamlType(m[1]))
}

// stripHead drops the first line of a formatted error, which repeats position
// and message.
func stripHead(s string) string {
	_, rest, _ := strings.Cut(s, "\n")
	return rest
}

// locate finds the place of a fieldError in the file.
func locate(path string, content []byte, err error) error {
	var fe *fieldError
	if path == "" || !errors.As(err, &fe) {
		if path == "" {
			path = "(command line)"
		}
		return &ConfigError{File: path, Message: err.Error()}
	}
	ce := &ConfigError{File: path, Key: strings.TrimPrefix(fe.path, "$."), Message: fe.err.Error()}
	f, perr := parser.ParseBytes(content, 0)
	if perr != nil {
		return ce
	}
	// The message of a station begins with its own key where it knows one.
	try := []string{fe.path}
	if key, rest, ok := strings.Cut(ce.Message, ":"); ok && keyWord.MatchString(key) {
		if n := find(f, fe.path+"."+key); n != nil {
			ce.Key, ce.Message = ce.Key+"."+key, strings.TrimSpace(rest)
			try = []string{fe.path + "." + key}
		}
	}
	for p := try[0]; strings.Contains(p, "."); p = p[:strings.LastIndexByte(p, '.')] {
		if n := find(f, p); n != nil {
			mark(ce, n)
			break
		}
	}
	return ce
}

var keyWord = regexp.MustCompile(`^[a-z_0-9.\[\]]+$`)

func find(f *ast.File, path string) ast.Node {
	p, err := yaml.PathString(path)
	if err != nil {
		return nil
	}
	n, err := p.FilterFile(f)
	if err != nil {
		return nil
	}
	return n
}

func mark(ce *ConfigError, n ast.Node) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		n = m.Values[0]
	}
	if v, ok := n.(*ast.MappingValueNode); ok {
		n = v.Key
	}
	tk := n.GetToken()
	ce.Line, ce.Column = tk.Position.Line, tk.Position.Column
	ce.Source = stripHead((&yaml.SyntaxError{Message: ce.Message, Token: tk}).FormatError(false, true))
}

var quoted = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)

// locateValue finds the scalar that an error's text quotes.
func locateValue(path string, content []byte, err error) error {
	ce := &ConfigError{File: path, Message: strings.TrimPrefix(err.Error(), "time: ")}
	if strings.Contains(ce.Message, "invalid duration") || strings.Contains(ce.Message, "in duration") {
		ce.Message += "; want a duration such as 500ms, 30s or 5m"
	}
	f, perr := parser.ParseBytes(content, 0)
	if perr != nil {
		return ce
	}
	for _, m := range quoted.FindAllStringSubmatch(ce.Message, -1) {
		v := &valueFinder{want: m[1]}
		for _, d := range f.Docs {
			ast.Walk(v, d)
		}
		if v.found != nil {
			ce.Key = strings.TrimPrefix(v.found.GetPath(), "$.")
			mark(ce, v.found)
			return ce
		}
	}
	return ce
}

type valueFinder struct {
	want  string
	found ast.Node
}

func (v *valueFinder) Visit(n ast.Node) ast.Visitor {
	if s, ok := n.(ast.ScalarNode); ok && v.found == nil && s.GetToken().Value == v.want {
		v.found = n
	}
	return v
}

// keyAt gives the path of the node at a position, "" when there is none.
func keyAt(content []byte, line, column int) string {
	f, err := parser.ParseBytes(content, 0)
	if err != nil {
		return ""
	}
	v := &posFinder{line: line, column: column}
	for _, d := range f.Docs {
		ast.Walk(v, d)
	}
	return strings.TrimPrefix(v.path, "$.")
}

type posFinder struct {
	line, column int
	path         string
}

func (v *posFinder) Visit(n ast.Node) ast.Visitor {
	if p := n.GetToken().Position; p.Line == v.line && p.Column == v.column && n.GetPath() != "$" {
		v.path = n.GetPath()
	}
	return v
}

// relPath shortens a path for messages when it lies below the working
// directory.
func relPath(p string) string {
	wd, err := os.Getwd()
	if err != nil {
		return p
	}
	if r, err := filepath.Rel(wd, p); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return p
}
