package pull

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSQLText(t *testing.T) {
	f := func(quoted quoteStyle, in, want string) {
		t.Helper()
		if got := sqlText(in, quoted); got != want {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
	pg := func(in, want string) { t.Helper(); f(quotedNames, in, want) }
	pg("SELECT  *\n\tFROM t WHERE id = $1 AND n = 42", "SELECT * FROM t WHERE id = $1 AND n = ?")
	pg("ALTER ROLE app PASSWORD 'hunter2'", "ALTER ROLE app PASSWORD ?")
	pg("SELECT 'it''s', E'a\\'b', $$c'd$$, $tag$e$$f$tag$, U&'\\0041'", "SELECT ?, E?, ?, ?, U&?")
	pg(`SELECT 'back\', "Name 'x' 1", 'slash'`, `SELECT ?, "Name 'x' 1", ?`)
	pg("SELECT 1.5e10, 0xFF, -3, t1.c2 -- secret\n, 2 /* secret */ FROM x", "SELECT ?, ?, -?, t1.c2 , ? FROM x")
	pg("SELECT 'open", "SELECT ?")
	pg("SELECT $a", "SELECT $a")
	pg("SELECT 'a' /* open secret", "SELECT ?")
	pg("SELECT größe FROM straße WHERE x='ü'", "SELECT größe FROM straße WHERE x=?")
	pg("SELECT \xff\x00", "SELECT \uFFFD")
	my := func(in, want string) { t.Helper(); f(quotedStrings, in, want) }
	my("SELECT \"se\\\"cret\", 'a\\'b' # secret\n FROM `t 1`", "SELECT ?, ? FROM `t 1`")
	my("SELECT * FROM `orders` WHERE `id` = ? ", "SELECT * FROM `orders` WHERE `id` = ?")

	long := sqlText("SELECT "+strings.Repeat("ä, ", 10_000), quotedNames)
	if n := utf8.RuneCountInString(long); n != maxQueryRunes {
		t.Errorf("%d runes", n)
	}
}

func FuzzSQLText(f *testing.F) {
	f.Add("SELECT 'a', E'\\'', $$b$$, $1, \"c\" -- d", true)
	f.Add("/* ' */ 0x'", false)
	f.Fuzz(func(t *testing.T, s string, quoted bool) {
		got := sqlText(s, quoteStyle(quoted))
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > maxQueryRunes {
			t.Errorf("%q: not fit to be shown: %q", s, got)
		}
		// A literal is taken out wherever it stands on its own.
		with := sqlText("SELECT 'se"+strings.Map(func(r rune) rune {
			if r == '\'' || r == '\\' {
				return '.'
			}
			return r
		}, s)+"cret' FROM t", quoteStyle(quoted))
		if with != "SELECT ? FROM t" {
			t.Errorf("%q: a literal is told as %q", s, with)
		}
	})
}
