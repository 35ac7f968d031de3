package pull

import "strings"

// sqlText makes the text of a statement fit to be shown: comments and literals
// are taken out (a ? stands for each), spaces are one, and it is cut to
// maxQueryRunes. Servers normalise most statements themselves, but not all: DDL
// such as ALTER ROLE … PASSWORD keeps its literals. Quoted says what double quotes
// hold: names (PostgreSQL) or strings (MySQL).
//
// It is not a parser. In doubt it takes out too much: what follows an open quote is
// taken for a literal to its end.
func sqlText(s string, quoted quoteStyle) string {
	var out strings.Builder
	space := false
	put := func(t string) {
		if space && out.Len() > 0 {
			out.WriteByte(' ')
		}
		space = false
		out.WriteString(t)
	}
	for i := 0; i < len(s) && out.Len() < 8*maxQueryRunes; {
		c := s[i]
		switch {
		case c <= ' ':
			space = true
			i++
		case strings.HasPrefix(s[i:], "--"), c == '#' && quoted == quotedStrings:
			i += until(s[i:], "\n")
			space = true
		case strings.HasPrefix(s[i:], "/*"):
			i += 2 + until(s[i+2:], "*/")
			space = true
		case c == '\'' || c == '"' && quoted == quotedStrings:
			// In PostgreSQL a backslash is a plain one but in E'…'.
			escapes := quoted == quotedStrings || i > 0 && (s[i-1] == 'E' || s[i-1] == 'e')
			i += quotedEnd(s[i:], c, escapes)
			put("?")
		case c == '"' || c == '`':
			n := quotedEnd(s[i:], c, false)
			put(s[i : i+n])
			i += n
		case c == '$' && dollarTag(s[i:]) != "":
			tag := dollarTag(s[i:])
			i += len(tag) + until(s[i+len(tag):], tag)
			put("?")
		case c == '$' && i+1 < len(s) && digit(s[i+1]):
			n := 1 + wordEnd(s[i+1:])
			put(s[i : i+n])
			i += n
		case digit(c):
			n := wordEnd(s[i:])
			put("?")
			i += n
		case wordByte(c):
			n := wordEnd(s[i:])
			put(s[i : i+n])
			i += n
		default:
			put(string(c))
			i++
		}
	}
	return cut(strings.ToValidUTF8(out.String(), "\uFFFD"), maxQueryRunes)
}

type quoteStyle bool

const (
	quotedNames   quoteStyle = false
	quotedStrings quoteStyle = true
)

// until is the length of s up to and with the end mark, or all of it.
func until(s, mark string) int {
	if n := strings.Index(s, mark); n >= 0 {
		return n + len(mark)
	}
	return len(s)
}

// quotedEnd is the length of the quoted text that s begins with. A doubled quote
// does not end it, nor one after a backslash when that escapes.
func quotedEnd(s string, quote byte, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && escapes:
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

// dollarTag is the $tag$ that s begins with, "" when it begins with a parameter
// such as $1 or with nothing of the kind.
func dollarTag(s string) string {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '$':
			return s[:i+1]
		case !wordByte(s[i]) || i == 1 && digit(s[i]):
			return ""
		}
	}
	return ""
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// wordByte is true for what names are made of; the bytes of other scripts count.
func wordByte(c byte) bool {
	return c == '_' || digit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

func wordEnd(s string) int {
	i := 0
	for i < len(s) && (wordByte(s[i]) || s[i] == '.' && digit(s[0])) {
		i++
	}
	return i
}
