package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// sentence says how a check stands: for a person who was asleep.
func (v *verdicts) sentence(st *standing, p poll) string {
	nv := st.verdict
	var b strings.Builder
	switch nv.State {
	case record.StateUp:
		b.WriteString("up from " + places(p.heard, len(st.Places)))
	case record.StateDown:
		fmt.Fprintf(&b, "down from %s since %s", places(p.failing, len(st.Places)), clock(nv.Since))
		b.WriteString(": " + st.causes(p.failing))
	case record.StateDegraded:
		word := "fails"
		if st.Role == "readiness" {
			word = "not ready"
		}
		fmt.Fprintf(&b, "%s from %s since %s", word, places(p.failing, len(st.Places)), clock(nv.Since))
		if len(st.Places) > 1 && st.Role != "readiness" {
			fmt.Fprintf(&b, ", %d needed to call it down", p.need)
		}
		b.WriteString(": " + st.causes(p.failing))
	case record.StateFlapping:
		fmt.Fprintf(&b, "flapping since %s: %.0f %% of its last %d runs changed the outcome", clock(nv.Since), 100*nv.FlapShare, flapRuns)
		if nv.Stage != "" {
			b.WriteString("; when it fails, " + st.causes(p.failing))
		} else if c := st.lastFailure(); c != "" {
			b.WriteString("; when it fails, " + c)
		}
	case record.StateUnreachable:
		on := v.names(nv.Parents) + ", which is down"
		if len(nv.Parents) == 0 {
			on = "what was down until just now"
		}
		fmt.Fprintf(&b, "unreachable since %s: it depends on %s", clock(nv.Since), on)
	case record.StateMaintenance:
		b.WriteString("in maintenance")
		if w, ok := v.window(st); ok {
			fmt.Fprintf(&b, " until %s: %s", clock(w.end), w.Name)
		}
	case record.StatePaused:
		return "paused"
	default:
		switch {
		case len(st.Places) == 0:
			return "runs nowhere: no location matches"
		case len(p.heard) == 0:
			return "not heard from " + places(p.silent, len(st.Places)) + " yet"
		}
		fmt.Fprintf(&b, "unknown: only %s of %d places is heard", places(p.heard, 0), len(st.Places))
	}
	if up := rest(p.heard, p.failing); (nv.State == record.StateDown || nv.State == record.StateDegraded) && len(up) > 0 {
		b.WriteString("; up from " + places(up, 0))
	}
	if len(p.silent) > 0 && nv.State != record.StateUnknown {
		b.WriteString("; nothing is heard from " + places(p.silent, 0))
	}
	if s := slowWords(nv.Slow, p.heard); s != "" {
		b.WriteString("; " + s)
	}
	return b.String()
}

// places lists names, and how many of all they are when there are several.
func places(names []string, of int) string {
	if len(names) == 0 {
		return "no place"
	}
	shown := names
	more := ""
	if len(names) > 6 {
		shown, more = names[:6], fmt.Sprintf(" and %d more", len(names)-6)
	}
	list := strings.Join(shown, ", ") + more
	if of > 1 {
		return fmt.Sprintf("%d of %d places (%s)", len(names), of, list)
	}
	return list
}

func rest(all, without []string) (out []string) {
	for _, n := range all {
		if !slices.Contains(without, n) {
			out = append(out, n)
		}
	}
	return out
}

// causes says at which stage it fails and why; from where, when places differ.
func (st *standing) causes(failing []string) string {
	var order []string
	from := map[string][]string{}
	for _, l := range failing {
		last := st.seats[l].last
		c := last.message
		if last.stage != "" {
			c = stageWords(last.stage) + ": " + last.message
		}
		// Two places see the same fault in words that differ by an address or
		// a duration.
		key := last.stage + " " + last.reason
		if from[key] == nil {
			order = append(order, key+"\x00"+c)
		}
		from[key] = append(from[key], l)
	}
	var parts []string
	for i, o := range order {
		key, c, _ := strings.Cut(o, "\x00")
		if len(order) > 1 {
			c = "from " + strings.Join(from[key], ", ") + " " + c
		}
		if parts = append(parts, c); i == 2 && len(order) > 3 {
			parts = append(parts, fmt.Sprintf("and %d other ways", len(order)-3))
			break
		}
	}
	return strings.Join(parts, "; ")
}

func (st *standing) lastFailure() string {
	var newest *seat
	for _, s := range st.seats {
		if s.last.stage != "" && (newest == nil || s.heard.After(newest.heard)) {
			newest = s
		}
	}
	if newest == nil {
		return ""
	}
	return stageWords(newest.last.stage) + ": " + newest.last.message
}

// stageWords names a stage as what went wrong.
func stageWords(stage string) string {
	switch stage {
	case "resolve":
		return "the name is not resolved"
	case "connect":
		return "no connection"
	case "tls":
		return "TLS fails"
	case "processing":
		return "no good answer"
	case "transfer":
		return "the answer does not arrive whole"
	case "redirect":
		return "the redirects fail"
	case "status":
		return "wrong status"
	case "header":
		return "wrong header"
	case "body":
		return "wrong content"
	}
	return "not as expected"
}

// slowWords says which phase is slow and from where, and that it is normal from
// elsewhere.
func slowWords(slow []record.Slow, heard []string) string {
	if len(slow) == 0 {
		return ""
	}
	var parts []string
	from := map[string]bool{}
	for i, s := range slow {
		from[s.Location] = true
		if i < 3 {
			parts = append(parts, fmt.Sprintf("%s slow from %s (%s, usually %s)", s.Phase, s.Location, ms(s.Now), ms(s.Usual)))
		}
	}
	if n := len(slow) - 3; n > 0 {
		parts = append(parts, fmt.Sprintf("%d more slow", n))
	}
	if normal := len(heard) - len(from); normal > 0 {
		parts = append(parts, fmt.Sprintf("normal from the %d other places", normal))
		if normal == 1 {
			parts[len(parts)-1] = "normal from the other place"
		}
	}
	return strings.Join(parts, ", ")
}

func ms(s record.Seconds) string {
	d := time.Duration(s)
	if d >= time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// names lists checks by name.
func (v *verdicts) names(ids []string) string {
	var out []string
	for i, id := range ids {
		if i == 10 {
			out = append(out, fmt.Sprintf("%d more", len(ids)-10))
			break
		}
		name := id
		if st := v.checks[id]; st != nil {
			name = st.Name
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}
