package judge

import (
	"fmt"
	"maps"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// The alerts that checks raise. Severity is the check's own for the first
// three; the others are warnings.
const (
	AlertDown     = "CheckDown"
	AlertFlapping = "CheckFlapping"
	AlertHalt     = "ChainHalt" // one for all nodes of a chain that stands
	AlertPartial  = "CheckFailsFromSomePlaces"
	AlertNotReady = "CheckNotReady"
	AlertSlow     = "CheckSlow"
	AlertSilent   = "LocationSilent"
	AlertPlace    = "LocationProblem" // one place fails where all others succeed
)

// partialAfter is how long some places may see a check down, too few for the
// quorum, before a warning says so.
const partialAfter = 10 * time.Minute

// silentAfter is how long nothing may be heard from a location before a warning
// says so; it does not vote from the beginning.
const silentAfter = 20 * time.Second

// alert notes what people are to be told of a check.
func (st *standing) alert(out *outcome) {
	was := st.alerting
	switch st.verdict.State {
	case record.StateDown, record.StateFlapping:
		st.alerting = st.verdict.State
	case record.StateUp, record.StatePaused, record.StateMaintenance, record.StateUnreachable:
		st.alerting = ""
	case record.StateDegraded:
		// On the way up some places still fail: over when too few see it down.
		if st.Role != "readiness" {
			st.alerting = ""
		}
	}
	if st.alerting != was {
		st.alertAt = st.verdict.Since
		out.alerts = true
	}
}

// alerts lists what people are to be told now, sorted by what they are about.
// base is where this server is reached.
func (v *verdicts) alerts(base string, now time.Time) (out []record.Alert) {
	merged := map[string]int{} // a halted chain is one alert
	for _, id := range v.order {
		st := v.checks[id]
		if st.Policy.Severity == "none" {
			continue
		}
		nv := st.verdict
		words := func() string { return upper(v.sentence(st, v.poll(st, now))) }
		add := func(name, severity string, since time.Time, summary, text string) *record.Alert {
			a := st.newAlert(name, severity, base)
			a.StartsAt = since
			a.Annotations["summary"] = summary
			a.Annotations["description"] = text
			out = append(out, a)
			return &out[len(out)-1]
		}
		switch {
		case st.alerting == record.StateDown && nv.Reason == "chain_halt":
			group := st.group()
			if i, ok := merged[group]; ok {
				a := &out[i]
				a.Annotations["checks"] += ", " + st.Name
				if st.alertAt.Before(a.StartsAt) {
					a.StartsAt = st.alertAt
				}
				continue
			}
			a := add(AlertHalt, st.Policy.Severity, st.alertAt, "the chain "+group+" stands still", words())
			a.Labels = map[string]string{"alertname": AlertHalt, "severity": st.Policy.Severity, "group": group, "kind": st.Kind}
			a.Annotations["checks"] = st.Name
			merged[group] = len(out) - 1
		case st.alerting == record.StateDown:
			a := add(AlertDown, st.Policy.Severity, st.alertAt, st.Name+" is down"+stageOf(nv), words())
			if kids := v.explained(st); len(kids) > 0 {
				a.Annotations["explains"] = fmt.Sprintf("%d that depend on it: %s", len(kids), v.names(kids))
			}
		case st.alerting == record.StateFlapping:
			add(AlertFlapping, st.Policy.Severity, st.alertAt, st.Name+" is flapping", words())
		case st.Role == "readiness" && v.poll(st, now).state(len(st.Places)) == record.StateDown && nv.State == record.StateDegraded:
			add(AlertNotReady, "warning", nv.Since, st.Name+" is not ready"+stageOf(nv), words())
		case !st.partial.IsZero() && now.Sub(st.partial) >= partialAfter && st.Role != "readiness":
			add(AlertPartial, "warning", st.partial, st.Name+" fails from "+places(nv.Failing, len(st.Places)), words())
		}
		if len(nv.Slow) > 0 && (nv.State == record.StateUp || nv.State == record.StateDegraded) {
			since := nv.Slow[0].Since
			for _, s := range nv.Slow {
				if s.Since.Before(since) {
					since = s.Since
				}
			}
			add(AlertSlow, "warning", since, st.Name+" is slow: "+slowWords(nv.Slow, nv.Heard), words())
		}
	}
	for l, since := range v.silent {
		if now.Sub(since) < silentAfter {
			continue
		}
		n := 0
		for _, st := range v.checks {
			for _, p := range st.Places {
				if p == l && !st.Paused {
					n++
				}
			}
		}
		out = append(out, record.Alert{
			Labels:   map[string]string{"alertname": AlertSilent, "severity": "warning", "location": l},
			StartsAt: since,
			Annotations: map[string]string{
				"summary":     "nothing is heard from the location " + l,
				"description": fmt.Sprintf("Nothing is heard from the location %s since %s. Its %d checks are judged by the other places. Its runs are kept there and come later, unless the machine is off.", l, clock(since), n),
				"link":        base + "/#/checks?tab=places",
			},
			GeneratorURL: base + "/#/checks?tab=places",
		})
	}
	out = append(out, v.placeProblems(base, now)...)
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i].Labels, out[j].Labels
		return a["alertname"]+a["check"]+a["location"]+a["group"] < b["alertname"]+b["check"]+b["location"]+b["group"]
	})
	return out
}

// placeProblems finds locations that alone see several checks down.
func (v *verdicts) placeProblems(base string, now time.Time) (out []record.Alert) {
	type tally struct {
		alone, all int
		since      time.Time
		names      []string
	}
	tallies := map[string]*tally{}
	for _, id := range v.order {
		st := v.checks[id]
		if len(st.Places) < 2 || st.Paused {
			continue
		}
		p := v.poll(st, now)
		if len(p.heard) < 2 {
			continue
		}
		for _, l := range p.heard {
			t := tallies[l]
			if t == nil {
				t = &tally{}
				tallies[l] = t
			}
			t.all++
			if s := st.seats[l]; s.down && len(p.failing) == 1 {
				t.alone++
				t.since = maxTime(t.since, s.since)
				t.names = append(t.names, st.Name)
			}
		}
	}
	for l, t := range tallies {
		if t.alone < 2 || 2*t.alone < t.all || now.Sub(t.since) < partialAfter {
			continue
		}
		text := fmt.Sprintf("%d of the %d checks that run from %s and elsewhere fail from there alone: %s. The fault is most likely with that place or its network.", t.alone, t.all, l, strings.Join(t.names[:min(len(t.names), 10)], ", "))
		out = append(out, record.Alert{
			Labels: map[string]string{"alertname": AlertPlace, "severity": "warning", "location": l}, StartsAt: t.since,
			Annotations:  map[string]string{"summary": "the location " + l + " sees faults that no other place sees", "description": text, "link": base + "/#/checks?tab=places"},
			GeneratorURL: base + "/#/checks?tab=places",
		})
	}
	return out
}

// explained lists what hangs on a check that is down, at any depth: also what has
// not failed three times yet.
func (v *verdicts) explained(st *standing) (out []string) {
	seen := map[string]bool{}
	var visit func(st *standing)
	visit = func(st *standing) {
		for _, id := range st.children {
			if !seen[id] {
				seen[id] = true
				out = append(out, id)
				visit(v.checks[id])
			}
		}
	}
	visit(st)
	return out
}

func (st *standing) group() string {
	if st.Group != "" {
		return st.Group
	}
	return st.Name
}

func (st *standing) newAlert(name, severity, base string) record.Alert {
	labels := maps.Clone(st.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels["alertname"], labels["severity"], labels["check"], labels["instance"], labels["kind"] = name, severity, st.Name, st.Target, st.Kind
	link := base + "/#/checks/" + url.PathEscape(st.ID)
	ann := map[string]string{"link": link, "acknowledge": link + "?acknowledge=1"}
	if st.Policy.Runbook != "" {
		ann["runbook_url"] = st.Policy.Runbook
	}
	nv := st.verdict
	if nv.Stage != "" {
		ann["stage"], ann["reason"] = nv.Stage, nv.Reason
	}
	if len(nv.Failing) > 0 {
		ann["from"] = places(nv.Failing, len(st.Places))
	}
	return record.Alert{Labels: labels, Annotations: ann, GeneratorURL: link}
}

func stageOf(nv record.Verdict) string {
	if nv.Stage == "" {
		return ""
	}
	return ": " + stageWords(nv.Stage)
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
