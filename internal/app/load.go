package app

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/vedette-sre/vedette/internal/record"
)

// ConfigError is a fault in a configuration file: where, what, and the lines
// around it. It shows no secret.
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
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Line > 0 && e.Column > 0 {
		fmt.Fprintf(&b, ":%d", e.Column)
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
// files it names are read when a plan is made of it.
func LoadConfig(path string) (*Config, error) {
	c := &Config{path: path}
	if path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, &ConfigError{File: path, Message: unreadable(err, "a vedette.yml, or leave --config away")}
		}
		if err := c.decode(content); err != nil {
			return nil, err
		}
	}
	c.resolve()
	c.derivedURL = c.ExternalURL == ""
	c.setDefaults()
	if err := c.validate(); err != nil {
		return nil, c.locate(err)
	}
	return c, nil
}

// unreadable says why a file cannot be read; want is what should stand there.
func unreadable(err error, want string) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "no such file; want the path of " + want
	case errors.Is(err, os.ErrPermission):
		return "permission denied; this process runs as user id " + fmt.Sprint(os.Getuid())
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		return fmt.Sprintf("%v; want the path of %s", pe.Err, want)
	}
	return err.Error()
}

func (c *Config) decode(content []byte) error {
	path := c.path
	c.content = content
	f, err := parser.ParseBytes(content, 0)
	if err != nil {
		return syntaxError(path, content, err)
	}
	c.schema = newSchema(f, reflect.TypeFor[Config]())
	if e := c.schema.fault; e != nil {
		e.File, e.Source = path, excerpt(content, e.Line, e.Column, c.schema.hidden)
		return e
	}
	err = yaml.NewDecoder(bytes.NewReader(content), yaml.Strict()).Decode(c)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	// Only what the schema let pass comes here: anchors in a circle, numbers
	// out of range.
	return syntaxError(path, content, err)
}

var (
	twice     = regexp.MustCompile(`mapping key "([^"]*)" already defined at \[(\d+):`)
	goMessage = regexp.MustCompile(`into Go (?:struct field \S+|value) of type \S+( \( .* \))?`)
)

// syntaxError tells a fault that the parser or the decoder found.
func syntaxError(path string, content []byte, err error) error {
	ce := &ConfigError{File: path, Message: err.Error()}
	var ye yaml.Error
	if errors.As(err, &ye) {
		ce.Message = ye.GetMessage()
		if tk := ye.GetToken(); tk != nil {
			ce.Line, ce.Column = tk.Position.Line, tk.Position.Column
		}
	}
	msg := ce.Message
	switch m := twice.FindStringSubmatch(msg); {
	case m != nil:
		ce.Key, ce.Message = m[1], fmt.Sprintf("the key is set twice; the first is on line %s", m[2])
	case strings.Contains(msg, "found character '\t'") || strings.Contains(msg, "tab character"):
		ce.Message = "a tab cannot indent YAML; want spaces"
	case strings.HasPrefix(msg, "mapping value is not allowed in this context"):
		ce.Message = "a key cannot begin here; want keys of one section under each other, check the indentation of this line and the next"
	case goMessage.MatchString(msg):
		ce.Message = strings.TrimSpace(goMessage.ReplaceAllString(msg, "here"))
	}
	ce.Source = excerpt(content, ce.Line, ce.Column, nil)
	return ce
}

// locate finds the place of a fieldError in the file.
func (c *Config) locate(err error) error {
	var ce *ConfigError
	if errors.As(err, &ce) {
		return err
	}
	ce = &ConfigError{File: cmp.Or(c.path, "(command line)"), Message: err.Error()}
	var fe *fieldError
	if !errors.As(err, &fe) {
		return ce
	}
	ce.Key, ce.Message = strings.TrimPrefix(fe.path, "$."), fe.err.Error()
	if c.schema == nil {
		return ce
	}
	// The message of a station begins with its own key where it knows one.
	if key, rest, ok := strings.Cut(ce.Message, ": "); ok && keyWord.MatchString(key) && c.schema.has(ce.Key, key) {
		ce.Key, ce.Message = ce.Key+"."+key, rest
	}
	for p := ce.Key; p != ""; p = parent(p) {
		if at, ok := c.schema.places[p]; ok {
			ce.Line, ce.Column = at.line, at.column
			break
		}
	}
	ce.Source = excerpt(c.content, ce.Line, ce.Column, c.schema.hidden)
	return ce
}

var keyWord = regexp.MustCompile(`^[a-z_0-9.]+$`)

// has reports whether the section at path may hold the key.
func (s *schema) has(path, key string) bool {
	key, _, _ = strings.Cut(key, ".")
	at, ok := s.places[path]
	if !ok || at.typ.Kind().String() != "struct" {
		return false
	}
	_, ok = fields(at.typ)[key]
	return ok
}

// parent cuts the last key or index off a path.
func parent(p string) string {
	return p[:max(0, strings.LastIndexAny(p, ".["))]
}

// foreignKinds are the words for the files of other programs.
var foreignKinds = map[string]string{"prometheus": "a prometheus.yml", "alertmanager": "an alertmanager.yml", "blackbox": "a blackbox.yml"}

// foreign tells a fault in a file of another program. tenant is whose, key the
// key of vedette.yml that names the file.
func (c *Config) foreign(tenant record.Tenant, key, path string, err error) error {
	at := "$."
	if tenant != record.DefaultTenant {
		at = "$.tenants." + string(tenant) + "."
	}
	// A file that cannot be read is a fault of the one that names it.
	if fi, serr := os.Stat(path); serr != nil || fi.IsDir() {
		if serr == nil {
			serr = &os.PathError{Op: "read", Path: path, Err: errors.New("it is a directory")}
		}
		return c.locate(&fieldError{at + key, fmt.Errorf("%s: %s", path, unreadable(serr, foreignKinds[key]))})
	}
	return inFile(path, err)
}

var (
	atLine    = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?(?:line )?(\d+):(?:(\d+):)? `)
	notFound  = regexp.MustCompile(`field (\S+) (?:not found|already set) in type \S+`)
	cannot    = regexp.MustCompile("cannot unmarshal !!(\\w+)(?: `([^`]*)`)? into (\\S+)")
	duplicate = regexp.MustCompile(`not unique|more than once|duplicate|multiple|already|repeated|twice`)
	inQuotes  = regexp.MustCompile(`"((?:[^"\\]|\\.)+)"`)
)

// noise begins the messages of the libraries and repeats what the line says.
var noise = []string{"alertmanager config: ", "error parsing config file: ", "error reading config file: ", "parsing YAML file "}

// inFile gives an error of another program's parser the form of ours: the line,
// no words about Go.
func inFile(path string, err error) error {
	msg := err.Error()
	for range 2 {
		for _, n := range noise {
			msg = strings.TrimPrefix(msg, n)
		}
		msg = strings.TrimPrefix(msg, path+": ")
	}
	ce := &ConfigError{File: path}
	content, rerr := os.ReadFile(path)
	if rerr != nil {
		content = nil
	}
	l := scan(content)
	if m := atLine.FindStringSubmatch(msg); m != nil {
		fmt.Sscan(m[1], &ce.Line)
		fmt.Sscan(cmp.Or(m[2], "0"), &ce.Column)
		msg = msg[len(m[0]):]
		ce.Key = l.keyOn(ce.Line, ce.Column)
		if notFound.MatchString(msg) {
			ce.Key = parent(ce.Key)
		}
	} else {
		msg = strings.TrimPrefix(msg, "yaml: ")
		if e := l.quoted(msg); e != nil {
			ce.Line, ce.Column, ce.Key = e.line, e.column, e.path
		}
	}
	if strings.Contains(msg, "tab character") {
		msg = "a tab cannot indent YAML; want spaces"
	}
	ce.Message = inYAML(msg)
	ce.Source = excerpt(content, ce.Line, ce.Column, nil)
	return ce
}

// inYAML turns words about Go types into words about YAML.
func inYAML(msg string) string {
	msg = notFound.ReplaceAllStringFunc(msg, func(s string) string {
		name := notFound.FindStringSubmatch(s)[1]
		if strings.Contains(s, "already set") {
			return fmt.Sprintf("the key %q is set twice", name)
		}
		return fmt.Sprintf("unknown key %q", name)
	})
	return cannot.ReplaceAllStringFunc(msg, func(s string) string {
		m := cannot.FindStringSubmatch(s)
		got := map[string]string{"map": "a mapping", "seq": "a list"}[m[1]]
		if got == "" {
			got = fmt.Sprintf("%q", m[2])
		}
		want := "a mapping (keys with values)"
		switch t := strings.TrimLeft(m[3], "*"); {
		case strings.HasPrefix(t, "[]"):
			want = "a list"
		case t == "string":
			want = "a text"
		case t == "bool":
			want = "true or false"
		case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
			want = "a whole number"
		case strings.HasPrefix(t, "float"):
			want = "a number"
		}
		return fmt.Sprintf("want %s, got %s", want, got)
	})
}
