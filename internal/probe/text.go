package probe

import (
	"fmt"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Text renders a run for a terminal: each hop with its phases as bars, the
// certificate, and what failed.
func Text(r record.CheckResult) string {
	var b strings.Builder
	longest := time.Millisecond
	for _, h := range r.Hops {
		for _, p := range h.Phases {
			longest = max(longest, p.Duration)
		}
	}
	for i, h := range r.Hops {
		fmt.Fprintf(&b, "%s", h.URL)
		if h.Address != "" {
			fmt.Fprintf(&b, "  (%s)", h.Address)
		}
		b.WriteByte('\n')
		for ph, p := range h.Phases {
			bar := strings.Repeat("█", int(30*p.Duration/longest))
			switch p.State {
			case record.Done:
				fmt.Fprintf(&b, "  %-10s %10s  %s\n", record.Phase(ph), ms(p.Duration), bar)
			case record.Failed:
				fmt.Fprintf(&b, "  %-10s %10s  %s failed\n", record.Phase(ph), ms(p.Duration), bar)
			case record.Skipped:
				fmt.Fprintf(&b, "  %-10s %10s\n", record.Phase(ph), "-")
			case record.NotReached:
				fmt.Fprintf(&b, "  %-10s %10s\n", record.Phase(ph), "not reached")
			}
		}
		if h.Status != 0 {
			fmt.Fprintf(&b, "  %s %d, %d bytes", h.Proto, h.Status, h.Bytes)
			if h.Location != "" {
				fmt.Fprintf(&b, ", redirects to %s", h.Location)
			}
			b.WriteByte('\n')
		}
		if t := h.TLS; t != nil {
			fmt.Fprintf(&b, "  %s, certificate of %s, ends %s (%.0f days)\n", orWord(t.Version, "TLS"), t.Subject,
				t.NotAfter.UTC().Format(time.DateOnly), time.Until(t.NotAfter).Hours()/24)
		}
		if i < len(r.Hops)-1 {
			b.WriteByte('\n')
		}
	}
	if r.Success {
		fmt.Fprintf(&b, "ok in %s\n", ms(r.Duration))
	} else {
		fmt.Fprintf(&b, "FAILED at %s (%s) after %s: %s\n", r.Stage, r.Reason, ms(r.Duration), r.Message)
	}
	return b.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}
