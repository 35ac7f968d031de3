package probe

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/vedette-sre/vedette/internal/record"
)

// Text renders a run for a terminal: each hop with its phases as bars, the
// certificate, and what failed with the reply that came. What a server sent
// cannot move the cursor or colour the terminal.
func Text(r record.CheckResult) string {
	var b strings.Builder
	render(&b, r)
	text := strings.Map(func(c rune) rune {
		if c == '\n' || unicode.IsPrint(c) {
			return c
		}
		if c == '\t' {
			return ' '
		}
		return '\uFFFD'
	}, b.String())
	return trailing.ReplaceAllString(text, "\n")
}

var trailing = regexp.MustCompile(` +\n`)

func render(b *strings.Builder, r record.CheckResult) {
	longest := time.Millisecond
	for _, h := range r.Hops {
		for _, p := range h.Phases {
			longest = max(longest, p.Duration)
		}
	}
	for i, h := range r.Hops {
		if h.Step != "" {
			fmt.Fprintf(b, "%s: ", h.Step)
		}
		fmt.Fprintf(b, "%s", h.URL)
		if h.Address != "" {
			fmt.Fprintf(b, "  (%s)", h.Address)
		}
		b.WriteByte('\n')
		for ph, p := range h.Phases {
			bar := strings.Repeat("█", int(30*p.Duration/longest))
			switch p.State {
			case record.Done:
				fmt.Fprintf(b, "  %-10s %10s  %s\n", record.Phase(ph), ms(p.Duration), bar)
			case record.Failed:
				fmt.Fprintf(b, "  %-10s %10s  %s failed\n", record.Phase(ph), ms(p.Duration), bar)
			case record.Skipped:
				fmt.Fprintf(b, "  %-10s %10s\n", record.Phase(ph), "-")
			case record.NotReached:
				fmt.Fprintf(b, "  %-10s %10s\n", record.Phase(ph), "not reached")
			}
		}
		if h.Status != 0 {
			fmt.Fprintf(b, "  %s %d, %d bytes", h.Proto, h.Status, h.Bytes)
			if h.Location != "" {
				fmt.Fprintf(b, ", redirects to %s", h.Location)
			}
			b.WriteByte('\n')
		}
		if t := h.TLS; t != nil {
			fmt.Fprintf(b, "  %s, certificate of %s, %s\n", orWord(t.Version, "TLS"), t.Subject, ending(t.NotAfter, r.Start))
		}
		if i < len(r.Hops)-1 {
			b.WriteByte('\n')
		}
	}
	if len(r.Steps) > 0 {
		b.WriteByte('\n')
	}
	for i, st := range r.Steps {
		fmt.Fprintf(b, "%2d  %-11s %10s  %s\n", i+1, strings.ReplaceAll(st.State, "_", " "), ms(time.Duration(st.Duration)), st.Name)
	}
	if r.Success {
		fmt.Fprintf(b, "ok in %s\n", ms(r.Duration))
	} else {
		fmt.Fprintf(b, "FAILED at %s (%s) after %s: %s\n", r.Stage, r.Reason, ms(r.Duration), r.Message)
	}
	if r.Reply != "" {
		b.WriteString("the reply began:\n")
		for i, l := range strings.Split(strings.TrimRight(strings.ReplaceAll(r.Reply, "\r\n", "\n"), "\n"), "\n") {
			if i == 20 {
				b.WriteString("  | …\n")
				break
			}
			fmt.Fprintf(b, "  | %s\n", shorten(l, 200))
		}
	}
	if r.TraceID != "" {
		fmt.Fprintf(b, "trace %s\n", r.TraceID)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }

// ending says when a certificate ends, as seen at now.
func ending(at, now time.Time) string {
	days := at.Sub(now).Hours() / 24
	if days < 0 {
		return fmt.Sprintf("ended on %s (%.0f days ago)", at.UTC().Format(time.DateOnly), -days)
	}
	return fmt.Sprintf("ends on %s (in %.0f days)", at.UTC().Format(time.DateOnly), days)
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}
