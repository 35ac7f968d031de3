package web

import (
	"fmt"
	"html"
	"strings"
)

// badgeOfPage is the name of the badge of the whole page.
const badgeOfPage = "all"

// statusBadge is what a badge tells of a check, a group or the page.
type statusBadge struct {
	name, class, word string
	share             *float64
}

// The colours hold white text at a contrast of 4.5 and more.
var badgeColours = map[string]string{"up": "#1a7f37", "part": "#9a6700", "down": "#cf222e", "care": "#0969da", "none": "#57606a"}

func (b statusBadge) state() string {
	return badgeSVG(b.name, strings.ToLower(b.word), badgeColours[b.class])
}

func (b statusBadge) uptime(days int) string {
	value, class := percent(b.share), "up"
	switch {
	case b.share == nil:
		value, class = "not known", "none"
	case *b.share < 0.95:
		class = "down"
	case *b.share < 0.999:
		class = "part"
	}
	return badgeSVG(fmt.Sprintf("%s, %d days", b.name, days), value, badgeColours[class])
}

// badgeSVG draws a badge. How wide a text runs depends on the reader's fonts:
// textLength makes it fit.
func badgeSVG(label, value, colour string) string {
	if r := []rune(label); len(r) > 60 {
		label = string(r[:59]) + "…"
	}
	width := func(s string) int {
		w := 0.0
		for _, c := range s {
			switch {
			case strings.ContainsRune("iljtf.,:;|!'()[] ", c):
				w += 3.8
			case c >= 'A' && c <= 'Z' || c == 'm' || c == 'w' || c == '%':
				w += 8.2
			case c > 0x2e80: // as wide as high
				w += 11
			default:
				w += 6.6
			}
		}
		return int(w + 0.5)
	}
	lw, vw := width(label), width(value)
	left, all := lw+14, lw+vw+28
	l, v := escapeXML(label), escapeXML(value)
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="20" role="img" aria-label="%s: %s"><title>%s: %s</title>`+
		`<rect width="%d" height="20" rx="3" fill="#3a3f45"/><path fill="%s" d="M%d 0h%da3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-%dz"/>`+
		`<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"><text x="7" y="14" textLength="%d">%s</text><text x="%d" y="14" textLength="%d">%s</text></g></svg>`,
		all, l, v, l, v, all, colour, left, all-left-3, all-left-3, lw, l, left+7, vw, v)
}

// escapeXML also drops what XML cannot hold.
func escapeXML(s string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0xfffe || r == 0xffff {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd")))
}
