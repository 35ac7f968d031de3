package app

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// excerpt shows a line of a file with the one before and the one after it, and
// a mark under the column; "" when the line is unknown. What may be a secret is
// hidden: the text goes to the log and to the screens.
func excerpt(content []byte, line, column int, hidden []string) string {
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	var b strings.Builder
	for n := max(1, line-1); n <= min(len(lines), line+1); n++ {
		mark := " "
		if n == line {
			mark = ">"
		}
		fmt.Fprintf(&b, "%s %4d | %s\n", mark, n, shownLine(lines[n-1], hidden))
		if n == line && column > 0 {
			fmt.Fprintf(&b, "       | %s^\n", strings.Repeat(" ", column-1))
		}
	}
	return b.String()
}

const (
	hiddenText = "<hidden>"
	maxShown   = 160 // characters of a line
)

var (
	secretLine = regexp.MustCompile(`(?i)(["']?[a-z0-9_-]*(?:password|passwd|secret|token|authorization|credential|cookie|bearer|hash|api_?url|(?:^|[_-])key|apikey)[a-z0-9_-]*["']?\s*:\s+)(\S.*)`)
	pathKey    = regexp.MustCompile(`(?i)_file["']?\s*:\s+$`)
	inURL      = regexp.MustCompile(`(://)[^/\s"'@]+(@)`)
	inURLQuery = regexp.MustCompile(`(?i)([?&][a-z_-]*(?:token|key|secret|password|sig|signature|auth)=)[^&\s"']+`)
	webhookURL = regexp.MustCompile(`(?i)(https?://(?:hooks\.slack\.com|discord(?:app)?\.com/api|[a-z0-9.-]*webhook[a-z0-9.-]*)/)[^\s"']+`)
)

// shownLine hides in a line of YAML the known secrets and what looks like one.
func shownLine(line string, hidden []string) string {
	for _, h := range hidden {
		if strings.Contains(line, h) && !strings.HasSuffix(strings.TrimSpace(strings.Split(line, h)[0]), "_file:") {
			line = strings.ReplaceAll(line, h, hiddenText)
		}
	}
	line = secretLine.ReplaceAllStringFunc(line, func(s string) string {
		m := secretLine.FindStringSubmatch(s)
		if pathKey.MatchString(m[1]) {
			return s
		}
		return m[1] + hiddenText
	})
	line = inURL.ReplaceAllString(line, "${1}"+hiddenText+"${2}")
	line = webhookURL.ReplaceAllString(line, "${1}"+hiddenText)
	line = inURLQuery.ReplaceAllString(line, "${1}"+hiddenText)
	line = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 127 {
			return '?'
		}
		return r
	}, line)
	if r := []rune(line); len(r) > maxShown {
		line = string(r[:maxShown]) + "…"
	}
	return line
}

// entry is one key or value of a file of another program.
type entry struct {
	path, text   string
	line, column int
	key          bool
}

// listing is a file as its keys and values in their order.
type listing []entry

// scan lists a file; it is empty when the file is no YAML.
func scan(content []byte) listing {
	f, err := parser.ParseBytes(content, 0)
	if err != nil {
		return nil
	}
	var l listing
	for _, d := range f.Docs {
		l.add(d.Body, "", 0)
	}
	return l
}

func (l *listing) add(n ast.Node, path string, depth int) {
	if n == nil || depth > 100 {
		return
	}
	switch x := n.(type) {
	case *ast.AnchorNode:
		l.add(x.Value, path, depth+1)
	case *ast.TagNode:
		l.add(x.Value, path, depth+1)
	case *ast.MappingNode:
		for _, m := range x.Values {
			l.add(m, path, depth+1)
		}
	case *ast.MappingValueNode:
		tk := x.Key.GetToken()
		p := tk.Value
		if path != "" {
			p = path + "." + p
		}
		*l = append(*l, entry{p, tk.Value, tk.Position.Line, tk.Position.Column, true})
		l.add(x.Value, p, depth+1)
	case *ast.SequenceNode:
		for i, v := range x.Values {
			l.add(v, fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
	case ast.ScalarNode:
		tk := x.GetToken()
		*l = append(*l, entry{path, tk.Value, tk.Position.Line, tk.Position.Column, false})
	}
}

// keyOn is the path of the key at a place: the last one up to the column, or,
// where the column is 0, the first one of the line, or the last one above it.
func (l listing) keyOn(line, column int) string {
	path := ""
	for _, e := range l {
		if e.line > line || e.line == line && column > 0 && e.column > column {
			break
		}
		if e.key && e.line == line && column == 0 {
			return e.path
		}
		path = e.path
	}
	return path
}

// quoted finds what a message quotes: each quoted text after the one before it,
// so that group "shop", rule "Down" leads to that rule of that group. A message
// about a repetition means the last of its kind. It is nil when nothing is
// found.
func (l listing) quoted(msg string) *entry {
	var at *entry
	from := 0
	for _, m := range inQuotes.FindAllStringSubmatch(msg, -1) {
		var value, key int = -1, -1
		for i := from; i < len(l); i++ {
			switch e := l[i]; {
			case e.text != m[1]:
			case !e.key && (value < 0 || duplicate.MatchString(msg)):
				value = i
			case e.key && key < 0:
				key = i
			}
		}
		i := value
		if i < 0 && at != nil {
			i = key // names of keys are quoted after their section
		}
		if i >= 0 {
			at, from = &l[i], i+1
		}
	}
	return at
}
