package importer

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/vedette-sre/vedette/internal/probe"
)

// path is where a value stands in JSON: keys (string) and indexes (int).
type path []any

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// celWords cannot be names in an expression.
var celWords = map[string]bool{"in": true, "true": true, "false": true, "null": true, "as": true, "break": true, "const": true, "continue": true,
	"else": true, "for": true, "function": true, "if": true, "import": true, "let": true, "loop": true, "package": true, "namespace": true,
	"return": true, "var": true, "void": true, "while": true}

// parsePath reads data[0].name; a leading $ is the body itself.
func parsePath(s string) (path, bool) {
	var p path
	s = strings.TrimPrefix(strings.TrimPrefix(s, "$"), ".")
	if len(s) > 1000 {
		return nil, false
	}
	for s != "" {
		if s[0] == '[' {
			in, rest, ok := strings.Cut(s[1:], "]")
			in = strings.Trim(in, `"'`)
			if !ok || in == "" {
				return nil, false
			}
			if n, err := strconv.Atoi(in); err == nil && n >= 0 {
				p = append(p, n)
			} else if strings.ContainsAny(in, "*?:,$@()") || err == nil {
				return nil, false
			} else {
				p = append(p, in)
			}
			s = strings.TrimPrefix(rest, ".")
			continue
		}
		end := strings.IndexAny(s, ".[")
		if end < 0 {
			end = len(s)
		}
		key := s[:end]
		if key == "" || strings.ContainsAny(key, "*?()$@&|+/ \"'`\\") {
			return nil, false
		}
		p = append(p, key)
		s = strings.TrimPrefix(s[end:], ".")
	}
	return p, true
}

func (p path) jsonPath() string {
	out := "$"
	for _, e := range p {
		switch x := e.(type) {
		case int:
			out += fmt.Sprintf("[%d]", x)
		case string:
			if plainKey.MatchString(x) {
				out += "." + x
			} else {
				out += "['" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(x) + "']"
			}
		}
	}
	return out
}

func (p path) cel() string {
	out := "json"
	for _, e := range p {
		switch x := e.(type) {
		case int:
			out += fmt.Sprintf("[%d]", x)
		case string:
			if plainKey.MatchString(x) && !celWords[x] {
				out += "." + x
			} else {
				out += "[" + celText(x) + "]"
			}
		}
	}
	return out
}

// celText is a text within an expression.
func celText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 127:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func celNumber(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// wantJSON adds a comparison of what stands at a path. The sources compare texts
// and do not tell 5 from "5". false: it has no counterpart.
func (d *draft) wantJSON(p path, op, want string) bool {
	if len(p) == 0 && op == "==" {
		return false
	}
	rule := probe.JSONRule{Path: p.jsonPath()}
	number, err := strconv.ParseFloat(want, 64)
	isNumber := err == nil && !math.IsInf(number, 0) && number == number
	switch op {
	case "==":
		if isNumber || want == "true" || want == "false" || want == "null" || want == "" {
			rule.Matches = "^" + regexp.QuoteMeta(want) + "$"
		} else {
			rule.Equals = want
		}
	case "matches": // want is a regular expression
		rule.Matches = want
	case ">", "<":
		if !isNumber {
			return false
		}
		if op == ">" {
			rule.GreaterThan = &number
		} else {
			rule.LessThan = &number
		}
	case ">=", "<=":
		if !isNumber {
			return false
		}
		d.cel = append(d.cel, fmt.Sprintf("double(%s) %s %s", p.cel(), op, celNumber(number)))
		return true
	case "!=":
		d.cel = append(d.cel, fmt.Sprintf("string(%s) != %s", p.cel(), celText(want)))
		return true
	default:
		return false
	}
	d.c.Expect.JSON = append(d.c.Expect.JSON, rule)
	return true
}

// wantBody adds a text that the body must hold, or must not.
func (d *draft) wantBody(text string, not bool) {
	slot, expr := &d.c.Expect.BodyContains, "body.contains("+celText(text)+")"
	if not {
		slot, expr = &d.c.Expect.BodyNotContains, "!"+expr
	}
	if *slot == "" || *slot == text {
		*slot = text
	} else {
		d.cel = append(d.cel, expr)
	}
}

// wantRegex adds an expression that the body must match, or must not.
func (d *draft) wantRegex(re string, not bool) {
	slot, expr := &d.c.Expect.BodyRegex, "body.matches("+celText(re)+")"
	if not {
		slot, expr = &d.c.Expect.BodyNotRegex, "!"+expr
	}
	if *slot == "" || *slot == re {
		*slot = re
	} else {
		d.cel = append(d.cel, expr)
	}
}

// codes is a set of status codes, 100 to 599.
type codes [600]bool

func allCodes() *codes {
	var c codes
	for i := 100; i < 600; i++ {
		c[i] = true
	}
	return &c
}

// keep removes the codes that are not good.
func (c *codes) keep(good func(int) bool) {
	for i := 100; i < 600; i++ {
		c[i] = c[i] && good(i)
	}
}

// statuses are the codes in Vedette's words: classes where all of one are good,
// else each code. nil: too many to list, or none.
func (c *codes) statuses() probe.Statuses {
	var out probe.Statuses
	for class := 1; class <= 5; class++ {
		n := 0
		for i := class * 100; i < class*100+100; i++ {
			if c[i] {
				n++
			}
		}
		if n == 100 {
			out = append(out, fmt.Sprintf("%dxx", class))
			continue
		}
		if n > 50 {
			return nil
		}
		for i := class * 100; i < class*100+100; i++ {
			if c[i] {
				out = append(out, strconv.Itoa(i))
			}
		}
	}
	return out
}

// setStatuses writes the good codes; those that cannot be listed become an
// expression of their ranges.
func (d *draft) setStatuses(c *codes) {
	if s := c.statuses(); s != nil {
		if len(s) == 1 && s[0] == "2xx" {
			return // the default
		}
		d.c.Expect.Status = s
		return
	}
	d.c.Expect.Status = probe.Statuses{"1xx", "2xx", "3xx", "4xx", "5xx"}
	var terms []string
	for i := 100; i < 600; i++ {
		if !c[i] {
			continue
		}
		j := i
		for j < 599 && c[j+1] {
			j++
		}
		terms = append(terms, fmt.Sprintf("status >= %d && status <= %d", i, j))
		i = j
	}
	if len(terms) == 0 {
		terms = []string{"false"}
	}
	d.cel = append(d.cel, "("+strings.Join(terms, " || ")+")")
}

// parseCodes reads 200, 200-299, 2xx.
func parseCodes(s string) (lo, hi int, ok bool) {
	s = strings.TrimSpace(s)
	if len(s) == 3 && strings.EqualFold(s[1:], "xx") && s[0] >= '1' && s[0] <= '5' {
		lo = int(s[0]-'0') * 100
		return lo, lo + 99, true
	}
	a, b, ranged := strings.Cut(s, "-")
	lo, err := strconv.Atoi(strings.TrimSpace(a))
	if hi = lo; ranged && err == nil {
		hi, err = strconv.Atoi(strings.TrimSpace(b))
	}
	return lo, hi, err == nil && lo >= 100 && hi <= 599 && lo <= hi
}
