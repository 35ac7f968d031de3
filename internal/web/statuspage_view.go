package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/vedette-sre/vedette/internal/record"
)

const (
	// statusDoubt is how long a check may fail from some places before the
	// public is told: most such failures are gone at the next run.
	statusDoubt = 2 * time.Minute
	// statusAhead is how long before its begin a maintenance window is announced.
	statusAhead = 14 * 24 * time.Hour
	// statusOpen is how many checks a group may have to show each with its
	// history; a larger one shows its own and folds the checks.
	statusOpen      = 12
	statusIncidents = 50 // in feeds and JSON; the page shows 20
	noteStays       = 7 * 24 * time.Hour
)

// look is how a state is shown to the public.
type look struct {
	rank  int // the worst of a group is the group's
	class string
	word  string
}

// looks by state. What a check depends on is nobody's business: unreachable is
// down.
var looks = map[record.State]look{
	record.StatePaused:      {0, "none", "Not watched"},
	record.StateUp:          {1, "up", "Works"},
	record.StateUnknown:     {2, "none", "Not known"},
	record.StateMaintenance: {3, "care", "In maintenance"},
	record.StateDegraded:    {4, "part", "Works in part"},
	record.StateFlapping:    {5, "part", "Works on and off"},
	record.StateDown:        {6, "down", "Down"},
}

// stageWords tell the public at which stage a check fails, and no more.
var stageWords = map[string]string{
	"resolve": "the name is not found", "connect": "no connection", "tls": "no secure connection", "processing": "no answer",
	"transfer": "answers break off", "redirect": "wrong answers", "status": "error answers", "header": "wrong answers",
	"body": "wrong answers", "assertion": "wrong answers",
}

// statusView is all that a page tells: nothing that is not in it leaves.
type statusView struct {
	Title, Description, Logo, Path string
	Class                          string // of the worst state
	State                          string // its word
	Sentence                       string
	Updated                        string
	Stale                          bool
	Days                           int
	Groups                         []statusGroup
	Announcements                  []statusWord
	Ongoing, Past                  []statusEntry // as the page shows them: those that began together are one
	Windows                        []statusEntry
	ShowPlaces                     bool

	at      time.Time
	entries []statusEntry // every incident by itself, newest first
	badges  map[string]statusBadge
}

type statusGroup struct {
	Name, Badge, Class, Word, Uptime string
	Bars                             []statusBar
	Folded                           bool
	Checks                           []statusRow
}

type statusRow struct {
	Name, Badge, Class, Word, Since, Uptime string
	Bars                                    []statusBar
	Places                                  []statusRowPlace

	id     string
	state  record.State
	since  time.Time
	share  *float64
	perDay []DayUptime
	care   []time.Duration // maintenance by day
}

type statusRowPlace struct{ Name, Class, Word string }

type statusBar struct {
	Class, Title string
	Old          bool // not shown on a narrow screen
}

// statusEntry is an incident or a maintenance window.
type statusEntry struct {
	Title, When, Text string
	Class             string
	Notes             []statusWord

	of, key    string // the id of the check or window, and what tells it from all others; not shown
	names      []string
	start, end time.Time
	updated    time.Time
	flapping   bool
	window     bool
}

type statusWord struct {
	When, Text string
	at         time.Time
}

// load asks the sources and makes the view.
func (p *StatusPage) load(ctx context.Context, now time.Time) (statusView, error) {
	now = now.In(p.zone)
	v := statusView{
		Title: p.cfg.Title, Description: p.cfg.Description, Logo: p.cfg.LogoURL, Path: p.cfg.Path, ShowPlaces: p.cfg.ShowLocations,
		Days: p.cfg.HistoryDays, Updated: p.moment(now, time.Time{}), at: now, badges: map[string]statusBadge{},
	}
	all, err := p.src.Checks(ctx)
	if err != nil {
		return v, fmt.Errorf("read the checks: %w", err)
	}
	chosen, ids := map[string]StatusCheck{}, []string{}
	for _, c := range all {
		if slices.ContainsFunc(p.cfg.Groups, func(g StatusGroupConfig) bool { return g.picks(c) }) {
			chosen[c.ID] = c
			ids = append(ids, c.ID)
		}
	}
	first := time.Date(now.Year(), now.Month(), now.Day()-p.cfg.HistoryDays+1, 0, 0, 0, 0, p.zone)
	spans, err := p.src.Spans(ctx, ids, first, now.Add(1))
	if err != nil {
		return v, fmt.Errorf("read the history: %w", err)
	}
	days, err := p.src.Days(ctx, ids, first.UTC().Truncate(24*time.Hour), now)
	if err != nil {
		return v, fmt.Errorf("read the days: %w", err)
	}
	var windows []MaintenanceTime
	if p.src.Windows != nil {
		if windows, err = p.src.Windows(ctx, first, now.Add(statusAhead)); err != nil {
			return v, fmt.Errorf("read the maintenance windows: %w", err)
		}
	}
	var notes []StatusNote
	if p.src.Notes != nil {
		if notes, err = p.src.Notes(ctx); err != nil {
			return v, fmt.Errorf("read the notes: %w", err)
		}
		notes = slices.Clone(notes)
		slices.SortStableFunc(notes, func(a, b StatusNote) int { return a.At.Compare(b.At) })
	}

	rows := map[string]statusRow{}
	counted, edges := countedTimes(windows), dayEdges(first, now)
	for _, c := range chosen {
		in := uptimeInput{check: UptimeCheck{ID: c.ID, Interval: c.Interval}, span: spans[c.ID], days: days[c.ID], counted: counted[c.ID], edges: edges, now: now}
		rows[c.ID] = p.row(c, in, now)
	}
	p.groups(&v, all, rows)
	v.judge(p, rows, now)

	for _, id := range ids {
		for _, x := range incidentsOf(id, spans[id]) {
			if !x.end.IsZero() && x.end.Before(first) {
				continue
			}
			v.entries = append(v.entries, p.incident(x, rows[id], now))
		}
	}
	slices.SortStableFunc(v.entries, func(a, b statusEntry) int {
		return cmp.Or(b.start.Compare(a.start), cmp.Compare(a.names[0], b.names[0]))
	})
	for _, w := range windows {
		if x, ok := p.window(w, rows, now); ok {
			v.Windows = append(v.Windows, x)
		}
	}
	slices.SortStableFunc(v.Windows, func(a, b statusEntry) int { return a.start.Compare(b.start) })
	p.notes(&v, notes, now)
	v.entries = v.entries[:min(len(v.entries), statusIncidents)]
	v.Ongoing, v.Past = p.together(v.entries, now)
	v.Past = v.Past[:min(len(v.Past), 20)]
	return v, nil
}

// row is a check as the page shows it.
func (p *StatusPage) row(c StatusCheck, in uptimeInput, now time.Time) statusRow {
	r := statusRow{id: c.ID, Name: c.Name, state: c.State, since: c.Since}
	if n := p.cfg.Names[c.ID]; n != "" {
		r.Name = n
	}
	switch {
	case r.state == record.StateUnreachable:
		r.state = record.StateDown
	case r.state == record.StateDegraded && now.Sub(c.Since) < statusDoubt:
		r.state, r.since = record.StateUp, time.Time{}
	}
	l, ok := looks[r.state]
	if !ok {
		r.state, l = record.StateUnknown, looks[record.StateUnknown]
	}
	r.Class, r.Word = l.class, l.word
	if l.rank > looks[record.StateUp].rank && !r.since.IsZero() && r.state != record.StateUnknown {
		r.Since = "since " + p.moment(r.since, now)
	}
	var sum uptimeSums
	for i, d := range in.perDay() {
		sum.add(d)
		r.perDay = append(r.perDay, DayUptime{Day: in.edges[i].Format(time.DateOnly), Uptime: d.uptime(), DownSeconds: d.down.Seconds()})
		r.care = append(r.care, d.maintenance)
	}
	r.share = sum.uptime()
	r.Uptime = percent(r.share)
	r.Bars = p.bars(in.edges, r.perDay, r.care)
	if p.cfg.ShowLocations {
		for _, pl := range c.Places {
			x := statusRowPlace{Name: pl.Name, Class: "none", Word: "not known"}
			switch pl.State {
			case "up":
				x.Class, x.Word = "up", "works"
			case "down":
				x.Class, x.Word = "down", "down"
			}
			r.Places = append(r.Places, x)
		}
	}
	return r
}

// percent never rounds up: 100 % means all of it.
func percent(share *float64) string {
	if share == nil {
		return ""
	}
	if *share >= 1 {
		return "100 %"
	}
	return fmt.Sprintf("%.2f %%", math.Floor(*share*1e4)/100)
}

func (p *StatusPage) bars(edges []time.Time, days []DayUptime, care []time.Duration) []statusBar {
	bars := make([]statusBar, len(days))
	for i, d := range days {
		b := statusBar{Old: i < len(days)-30}
		switch {
		case d.Uptime == nil:
			b.Class, b.Title = "none", "no data"
		case d.DownSeconds == 0:
			b.Class, b.Title = "up", "no downtime"
		default:
			b.Class = "part"
			if *d.Uptime < 0.95 {
				b.Class = "down"
			}
			b.Title = "down for " + howLong(time.Duration(d.DownSeconds*float64(time.Second))) + ", up " + percent(d.Uptime)
		}
		if care[i] > 0 {
			if d.Uptime == nil {
				b.Class, b.Title = "care", "maintenance"
			} else {
				b.Title += "; maintenance " + howLong(care[i])
			}
		}
		b.Title = edges[i].Format("2 January 2006") + ": " + b.Title
		bars[i] = b
	}
	return bars
}

// groups fills in the groups with their rows, and gives each a badge.
func (p *StatusPage) groups(v *statusView, all []StatusCheck, rows map[string]statusRow) {
	// Groups come first in the race for a badge's name, then the page's order.
	names := make([]string, len(p.cfg.Groups))
	for i, g := range p.cfg.Groups {
		names[i] = v.badgeName(g.Name)
	}
	badges := map[string]string{}
	for i, g := range p.cfg.Groups {
		out := statusGroup{Name: g.Name, Badge: names[i]}
		var ids []string
		for _, id := range g.Checks { // in the order that was asked for
			if _, ok := rows[id]; ok && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		for _, c := range all {
			if g.picks(c) && !slices.Contains(ids, c.ID) {
				ids = append(ids, c.ID)
			}
		}
		for _, id := range ids {
			r := rows[id]
			if badges[id] == "" {
				badges[id] = v.badgeName(r.Name)
				v.badges[badges[id]] = statusBadge{name: r.Name, class: r.Class, word: r.Word, share: r.share}
			}
			r.Badge = badges[id]
			out.Checks = append(out.Checks, r)
		}
		worst := look{rank: -1, class: "none", word: "Not known"}
		for _, r := range out.Checks {
			if l := looks[r.state]; l.rank > worst.rank {
				worst = l
			}
		}
		out.Class, out.Word = worst.class, worst.word
		days, care, share := worstDays(out.Checks)
		out.Uptime = percent(share)
		if len(out.Checks) > statusOpen {
			out.Folded = true
			edges := make([]time.Time, len(days))
			for i, d := range days {
				edges[i], _ = time.Parse(time.DateOnly, d.Day)
			}
			out.Bars = p.bars(edges, days, care)
		}
		v.badges[out.Badge] = statusBadge{name: g.Name, class: out.Class, word: out.Word, share: share}
		v.Groups = append(v.Groups, out)
	}
	// A check is also known by its id, unless it was given another name so that
	// the id stays private.
	for id, name := range badges {
		if _, taken := v.badges[id]; !taken && p.cfg.Names[id] == "" {
			v.badges[id] = v.badges[name]
		}
	}
}

// worstDays are, of each day, the numbers of the check that was down longest;
// the share is the mean of the checks'.
func worstDays(rows []statusRow) (days []DayUptime, care []time.Duration, share *float64) {
	var sum float64
	n := 0
	for _, r := range rows {
		if r.share != nil {
			sum += *r.share
			n++
		}
		if days == nil {
			days, care = slices.Clone(r.perDay), slices.Clone(r.care)
			continue
		}
		for i, d := range r.perDay {
			if days[i].Uptime == nil || d.Uptime != nil && *d.Uptime < *days[i].Uptime {
				days[i] = d
			}
			care[i] = max(care[i], r.care[i])
		}
	}
	if n > 0 {
		sum /= float64(n)
		share = &sum
	}
	return days, care, share
}

// badgeName takes a free name for a badge: what a person reads, in letters that
// an address can have.
func (v *statusView) badgeName(name string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(name) {
		switch {
		case unicode.IsLetter(c) || unicode.IsDigit(c):
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	base := strings.Trim(b.String(), "-")
	if base == "" {
		base = "check"
	}
	for i, s := 2, base; ; i++ {
		if _, taken := v.badges[s]; !taken && s != badgeOfPage {
			v.badges[s] = statusBadge{} // filled in by the caller
			return s
		}
		s = fmt.Sprint(base, "-", i)
	}
}

// judge finds the sentence that stands on top.
func (v *statusView) judge(p *StatusPage, rows map[string]statusRow, now time.Time) {
	by := map[record.State][]statusRow{}
	worst := look{rank: -1, class: "none", word: "Not known"}
	for _, r := range rows {
		by[r.state] = append(by[r.state], r)
		if l := looks[r.state]; l.rank > worst.rank {
			worst = l
		}
	}
	for _, l := range by {
		slices.SortFunc(l, func(a, b statusRow) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.Name, b.Name)) })
	}
	say := func(l []statusRow, one, many, since string) string {
		if len(l) == len(rows) && len(l) > 1 {
			return "All systems " + many
		}
		var names []string
		for _, r := range l {
			names = append(names, r.Name)
		}
		if len(l) > 1 {
			return someOf(names) + " " + many
		}
		if l[0].since.IsZero() || since == "" {
			return names[0] + " " + one
		}
		return names[0] + " " + one + " " + since + " " + p.moment(l[0].since, now)
	}
	v.Class, v.State = worst.class, worst.word
	switch down, flapping, part, care, unknown := by[record.StateDown], by[record.StateFlapping], by[record.StateDegraded], by[record.StateMaintenance], by[record.StateUnknown]; {
	case len(rows) == 0:
		v.Sentence = "Nothing is shown here yet"
	case len(down) > 0:
		v.Sentence = say(down, "is down", "are down", "since")
	case len(flapping) > 0:
		v.Sentence = say(flapping, "works on and off", "work on and off", "since")
	case len(part) > 0:
		v.Sentence = say(part, "works in part", "work in part", "since")
	case len(care) > 0:
		v.Sentence = say(care, "is in maintenance", "are in maintenance", "since")
	case len(unknown) > 0:
		if v.Sentence = "How " + say(unknown, "stands", "stand", "") + " is not known at the moment"; len(unknown) == len(rows) {
			v.Sentence = "The state is not known at the moment"
		}
	case len(by[record.StatePaused]) == len(rows):
		v.Sentence = "Nothing is watched at the moment"
	default:
		v.Sentence = "All systems work"
	}
	shares := []statusRow{}
	for _, r := range rows {
		shares = append(shares, r)
	}
	_, _, share := worstDays(shares)
	v.badges[badgeOfPage] = statusBadge{name: v.Title, class: v.Class, word: v.State, share: share}
}

// someOf lists up to three names.
func someOf(names []string) string {
	switch n := len(names); {
	case n == 0:
		return ""
	case n == 1:
		return names[0]
	case n <= 3:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	default:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:2], ", "), n-2)
	}
}

// moment writes a time as near to now as it can be understood: "14:02 UTC",
// "3 November, 14:02 UTC".
func (p *StatusPage) moment(t, now time.Time) string {
	t = t.In(p.zone)
	switch now := now.In(p.zone); {
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format("15:04 MST")
	case t.Year() == now.Year():
		return t.Format("2 January, 15:04 MST")
	}
	return t.Format("2 January 2006, 15:04 MST")
}

// stretch writes a time from start to end; end may be open.
func (p *StatusPage) stretch(start, end, now time.Time) string {
	if end.IsZero() {
		return "Since " + p.moment(start, now)
	}
	from, to := p.moment(start, time.Time{}), p.moment(end, time.Time{})
	if a, b := start.In(p.zone), end.In(p.zone); a.Format(time.DateOnly) == b.Format(time.DateOnly) {
		from, to = a.Format("2 January 2006, 15:04"), b.Format("15:04 MST")
	}
	return from + " to " + to
}

// howLong writes a duration to about two figures.
func howLong(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(1, int(d.Round(time.Second).Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	case d < 48*time.Hour:
		m := int(d.Round(time.Minute).Minutes())
		if m%60 == 0 {
			return fmt.Sprintf("%d h", m/60)
		}
		return fmt.Sprintf("%d h %d min", m/60, m%60)
	}
	return fmt.Sprintf("%d days", int(d.Round(24*time.Hour).Hours()/24))
}

func (p *StatusPage) incident(x incident, r statusRow, now time.Time) statusEntry {
	e := statusEntry{of: x.check, key: "incident " + x.check + " " + x.start.UTC().Format(time.RFC3339Nano), names: []string{r.Name}, start: x.start, end: x.end, flapping: x.flapping, updated: x.start}
	if w, ok := stageWords[x.stage]; ok {
		e.Text = strings.ToUpper(w[:1]) + w[1:]
	}
	if !x.end.IsZero() {
		e.updated = x.end
	}
	p.tell(&e, now)
	return e
}

// tell writes what an incident's entry says.
func (p *StatusPage) tell(e *statusEntry, now time.Time) {
	one := len(e.names) == 1
	verb := map[bool]string{true: "was down", false: "were down"}[one]
	switch {
	case e.flapping:
		verb = "worked on and off"
		if e.Class = "part"; e.end.IsZero() {
			verb = map[bool]string{true: "works on and off", false: "work on and off"}[one]
		}
	case e.end.IsZero():
		e.Class, verb = "down", map[bool]string{true: "is down", false: "are down"}[one]
	default:
		e.Class = "down"
	}
	e.Title = someOf(e.names) + " " + verb
	e.When = p.stretch(e.start, e.end, now)
	if !e.end.IsZero() {
		e.When += " (" + howLong(e.end.Sub(e.start)) + ")"
	}
}

// window is a maintenance window, when it covers anything that is shown and is
// not over.
func (p *StatusPage) window(w MaintenanceTime, rows map[string]statusRow, now time.Time) (statusEntry, bool) {
	var names []string
	for _, id := range w.Checks {
		if r, ok := rows[id]; ok && !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
	}
	if len(names) == 0 || !w.End.After(now) {
		return statusEntry{}, false
	}
	slices.Sort(names)
	e := statusEntry{of: w.ID, key: "window " + w.ID + " " + w.Start.UTC().Format(time.RFC3339Nano), names: names, start: w.Start, end: w.End, window: true, Class: "care", updated: w.Announced}
	if e.updated.IsZero() {
		e.updated = w.Start.Add(-noteStays)
	}
	e.updated = earlier(e.updated, now)
	of := someOf(names)
	if len(names) == len(rows) && len(names) > 1 {
		of = "all systems"
	}
	e.Title, e.When = "Maintenance of "+of, p.stretch(w.Start, w.End, now)
	if !w.Start.After(now) {
		e.Text = "Under way"
	}
	return e, true
}

// notes gives each note to what it is about; one about something that is not
// shown is not shown.
func (p *StatusPage) notes(v *statusView, notes []StatusNote, now time.Time) {
	add := func(e *statusEntry, n StatusNote) {
		e.Notes = append(e.Notes, statusWord{p.moment(n.At, now), n.Text, n.At})
		e.updated = later(e.updated, n.At)
	}
	for _, n := range notes {
		switch {
		case n.At.After(now):
		case n.Page == p.cfg.Path:
			until := n.Until
			if until.IsZero() {
				until = n.At.Add(noteStays)
			}
			if now.Before(until) {
				v.Announcements = append(v.Announcements, statusWord{p.moment(n.At, now), n.Text, n.At})
			}
		case n.Check != "":
			for i := range v.entries { // newest first
				// A person may be quicker than the quorum.
				if e := &v.entries[i]; e.of == n.Check && !e.start.After(n.At.Add(10*time.Minute)) {
					add(e, n)
					break
				}
			}
		case n.Window != "":
			for i := range v.Windows {
				if e := &v.Windows[i]; e.of == n.Window {
					add(e, n)
					break
				}
			}
		}
	}
}

// together makes one entry of incidents that began and ended together: one
// fault is rarely seen by one check alone.
func (p *StatusPage) together(entries []statusEntry, now time.Time) (ongoing, past []statusEntry) {
	near := func(a, b time.Time) bool {
		return a.IsZero() == b.IsZero() && a.Sub(b).Abs() <= 5*time.Minute
	}
	var out []statusEntry
next:
	for _, e := range entries {
		for i := range out {
			o := &out[i]
			if !near(o.start, e.start) || !near(o.end, e.end) || o.flapping != e.flapping {
				continue
			}
			if !slices.Contains(o.names, e.names[0]) {
				o.names = append(slices.Clone(o.names), e.names...)
			}
			o.Notes = append(slices.Clone(o.Notes), e.Notes...)
			slices.SortStableFunc(o.Notes, func(a, b statusWord) int { return a.at.Compare(b.at) })
			o.start, o.end = earlier(o.start, e.start), later(o.end, e.end)
			if o.Text != e.Text {
				o.Text = ""
			}
			p.tell(o, now)
			continue next
		}
		out = append(out, e)
	}
	for _, e := range out {
		if e.end.IsZero() {
			ongoing = append(ongoing, e)
		} else {
			past = append(past, e)
		}
	}
	return ongoing, past
}
