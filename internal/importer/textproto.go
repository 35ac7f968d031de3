package importer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const maxDepth = 50

// readTextproto reads the text format of protocol buffers without its schema:
// a message is a map, a field that comes again a list, an enum its word. See
// https://protobuf.dev/reference/protobuf/textformat-spec/.
func readTextproto(text []byte) (map[string]any, error) {
	p := &textproto{s: string(text), line: 1}
	if !utf8.ValidString(p.s) {
		return nil, errors.New("want UTF-8")
	}
	m, err := p.message("", 0)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", p.line, err)
	}
	return m, nil
}

type textproto struct {
	s    string
	i    int
	line int
}

// space skips white space and comments.
func (p *textproto) space() {
	for p.i < len(p.s) {
		switch c := p.s[p.i]; c {
		case '\n':
			p.line++
			p.i++
		case ' ', '\t', '\r', '\v', '\f':
			p.i++
		case '#':
			for p.i < len(p.s) && p.s[p.i] != '\n' {
				p.i++
			}
		default:
			return
		}
	}
}

// peek is the next byte that says something, 0 at the end.
func (p *textproto) peek() byte {
	p.space()
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *textproto) took(c byte) bool {
	if p.peek() == c && c != 0 {
		p.i++
		return true
	}
	return false
}

// near is what stands at the place of an error, without what is quoted there,
// which may be a secret.
func (p *textproto) near() string {
	switch c := p.peek(); {
	case c == 0:
		return "the end of the file"
	case c == '"' || c == '\'':
		return "a quoted text"
	}
	r, _ := utf8.DecodeRuneInString(p.s[p.i:])
	return strconv.QuoteRune(r)
}

// message reads fields up to the closing sign, which is "" for the end of the
// file.
func (p *textproto) message(end string, depth int) (map[string]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("messages are nested deeper than %d", maxDepth)
	}
	m := map[string]any{}
	again := map[string]bool{} // fields that are lists by now
	for {
		c := p.peek()
		if c == 0 && end == "" {
			return m, nil
		}
		if end != "" && p.took(end[0]) {
			return m, nil
		}
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		v, err := p.field(depth)
		if err != nil {
			return nil, err
		}
		switch old, there := m[name]; {
		case !there:
			m[name] = v
			_, again[name] = v.([]any)
		default:
			list, ok := old.([]any)
			if !ok || !again[name] {
				list = []any{old}
			}
			again[name] = true
			if vs, ok := v.([]any); ok {
				m[name] = append(list, vs...)
			} else {
				m[name] = append(list, v)
			}
		}
		if !p.took(',') {
			p.took(';')
		}
	}
}

// name is that of a field, or [the.name] of an extension.
func (p *textproto) name() (string, error) {
	p.space()
	start := p.i
	if p.took('[') {
		n := strings.IndexByte(p.s[p.i:], ']')
		if n < 0 || n > 500 {
			return "", errors.New("want a ] after the name of an extension")
		}
		p.i += n + 1
		return p.s[start:p.i], nil
	}
	for p.i < len(p.s) && wordByte(p.s[p.i]) {
		p.i++
	}
	if p.i == start {
		return "", fmt.Errorf("want the name of a field, got %s", p.near())
	}
	return p.s[start:p.i], nil
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *textproto) field(depth int) (any, error) {
	colon := p.took(':')
	if p.peek() == '[' {
		p.i++
		list := []any{}
		for !p.took(']') {
			v, err := p.value(depth, true)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
			if !p.took(',') && p.peek() != ']' {
				return nil, fmt.Errorf("want a comma or ] in a list, got %s", p.near())
			}
		}
		return list, nil
	}
	return p.value(depth, colon)
}

func (p *textproto) value(depth int, scalar bool) (any, error) {
	switch c := p.peek(); {
	case c == '{':
		p.i++
		return p.message("}", depth+1)
	case c == '<':
		p.i++
		return p.message(">", depth+1)
	case !scalar:
		return nil, fmt.Errorf("want a : or { after the name of a field, got %s", p.near())
	case c == '"' || c == '\'':
		var b strings.Builder
		for p.peek() == '"' || p.peek() == '\'' { // texts beside each other are one
			if err := p.quoted(&b); err != nil {
				return nil, err
			}
		}
		return strings.ToValidUTF8(b.String(), "\uFFFD"), nil
	}
	start := p.i
	if p.took('-') {
		p.space()
	}
	word := p.i
	for p.i < len(p.s) && (wordByte(p.s[p.i]) || p.s[p.i] == '.' || (p.s[p.i] == '+' || p.s[p.i] == '-') && p.i > word && (p.s[p.i-1] == 'e' || p.s[p.i-1] == 'E')) {
		p.i++
	}
	if p.i == word {
		return nil, fmt.Errorf("want a value, got %s", p.near())
	}
	s := p.s[word:p.i]
	if p.s[start] == '-' {
		s = "-" + s
	}
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return strconv.FormatInt(n, 10), nil
	}
	return s, nil
}

func (p *textproto) quoted(b *strings.Builder) error {
	quote := p.s[p.i]
	p.i++
	for p.i < len(p.s) {
		switch c := p.s[p.i]; c {
		case quote:
			p.i++
			return nil
		case '\n':
			return errors.New("want a closing quote before the end of the line")
		case '\\':
			if err := p.escape(b); err != nil {
				return err
			}
		default:
			b.WriteByte(c)
			p.i++
		}
	}
	return errors.New("want a closing quote before the end of the file")
}

// escape reads one escape sequence.
func (p *textproto) escape(b *strings.Builder) error {
	if p.i++; p.i >= len(p.s) {
		return errors.New("want a character after \\")
	}
	c := p.s[p.i]
	p.i++
	digits := func(most, base int) (n uint64, ok bool) {
		start := p.i
		for p.i < len(p.s) && p.i-start < most && strings.IndexByte("0123456789abcdef"[:base], p.s[p.i]|lower(p.s[p.i])) >= 0 {
			p.i++
		}
		n, err := strconv.ParseUint(p.s[start:p.i], base, 64)
		return n, err == nil
	}
	switch c {
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'a':
		b.WriteByte('\a')
	case 'b':
		b.WriteByte('\b')
	case 'f':
		b.WriteByte('\f')
	case 'v':
		b.WriteByte('\v')
	case '\\', '\'', '"', '?':
		b.WriteByte(c)
	case 'x', 'X':
		n, ok := digits(2, 16)
		if !ok {
			return errors.New("want two hexadecimal digits after \\x")
		}
		b.WriteByte(byte(n))
	case 'u', 'U':
		n, ok := digits(map[byte]int{'u': 4, 'U': 8}[c], 16)
		if !ok || n > utf8.MaxRune {
			return errors.New("want a character's number after \\u")
		}
		b.WriteRune(rune(n))
	default:
		if c < '0' || c > '7' {
			return errors.New("want a known character after \\")
		}
		p.i--
		n, _ := digits(3, 8)
		b.WriteByte(byte(n))
	}
	return nil
}

// lower is the bit that makes a letter small.
func lower(c byte) byte {
	if c >= 'A' && c <= 'F' {
		return 0x20
	}
	return 0
}
