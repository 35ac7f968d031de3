package web

import (
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// The rules by which uptime is reckoned, in the report and on status pages:
//
//   - uptime = 1 - down / (time - unknown - maintenance that is excluded).
//   - Down is the time in the states down, flapping and unreachable, from the
//     history of changes. A flapping check can be relied on as little as one that
//     is down; one whose parent is down fails all the same.
//   - Unknown is the time in unknown and paused, before the first change, and
//     every whole hour in which no run was made (Vedette itself was off), unless
//     the check runs more rarely than every 30 minutes.
//   - Time in the state maintenance is excluded, unless the window says that it
//     counts: then the share of that day's runs in maintenance that failed counts
//     as down.
//   - An incident is the time from down or flapping to up or degraded; unknown,
//     maintenance, paused and unreachable in between do not end it.
//   - Months and days are those of the zone, UTC by default. Runs and the
//     durations of runs are kept by hours and days of UTC and belong to the day in
//     which their hour begins.

// UptimeCheck is a check as a report sees it.
type UptimeCheck struct {
	ID, Name string
	Labels   map[string]string
	Interval time.Duration
}

// MaintenanceTime is one occurrence of a maintenance window.
type MaintenanceTime struct {
	ID         string   // of the window
	Checks     []string // ids of all that it covers, labels resolved
	Start, End time.Time
	// Announced is when the window was made; zero: seven days before it begins.
	Announced time.Time
	// Excluded times do not count in uptime.
	Excluded bool
}

// ReportSource is where a report comes from.
type ReportSource struct {
	Checks func(context.Context) ([]UptimeCheck, error)
	// Spans and Days are those of state.History and state.Days.
	Spans func(ctx context.Context, checks []string, from, to time.Time) (map[string]state.Span, error)
	Days  func(ctx context.Context, checks []string, from, to time.Time) (map[string][]state.Day, error)
	// Windows are the maintenance windows that touch the time, each occurrence
	// of a recurring one by itself; not those that are for some locations only.
	// nil: there are none.
	Windows func(ctx context.Context, from, to time.Time) ([]MaintenanceTime, error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (s ReportSource) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// UptimeReport is the uptime of checks in a month.
type UptimeReport struct {
	Month   string        `json:"month"` // "2026-11"
	From    time.Time     `json:"from"`
	To      time.Time     `json:"to"` // the end of the month, or now
	Partial bool          `json:"partial"`
	Checks  []CheckUptime `json:"checks"`
}

// CheckUptime is the uptime of one check. A nil number means that nothing is
// known.
type CheckUptime struct {
	ID                 string            `json:"id"`
	Name               string            `json:"name"`
	Labels             map[string]string `json:"labels"`
	Uptime             *float64          `json:"uptime"` // 0 to 1
	Runs               int               `json:"runs"`   // that were due, outside maintenance
	Failed             int               `json:"failed"`
	DownSeconds        float64           `json:"down_seconds"`
	UnknownSeconds     float64           `json:"unknown_seconds"`
	MaintenanceSeconds float64           `json:"maintenance_seconds"`
	// Incidents are those that began within the time. MTTA is the mean time from
	// down to the first acknowledgement or silence, over those that had one; MTTR
	// that from down to the end, over those that ended.
	Incidents int         `json:"incidents"`
	MTTA      *float64    `json:"mtta_seconds"`
	MTTR      *float64    `json:"mttr_seconds"`
	P50       *float64    `json:"p50_seconds"` // of runs that succeeded, within 5 %
	P95       *float64    `json:"p95_seconds"`
	Days      []DayUptime `json:"days"`
}

// DayUptime is the uptime of one day.
type DayUptime struct {
	Day         string   `json:"day"` // "2026-11-01"
	Uptime      *float64 `json:"uptime"`
	Runs        int      `json:"runs"`
	Failed      int      `json:"failed"`
	DownSeconds float64  `json:"down_seconds"`
}

// followUp is how long after the time of a report the end of its incidents is
// looked for.
const followUp = 31 * 24 * time.Hour

// Report reckons the uptime of the checks in the month that begins at from, in
// from's zone.
func Report(ctx context.Context, src ReportSource, checks []UptimeCheck, from time.Time) (UptimeReport, error) {
	now, end := src.now(), from.AddDate(0, 1, 0)
	to := end
	if now.Before(end) {
		to = now.In(from.Location())
	}
	out := UptimeReport{Month: from.Format("2006-01"), From: from, To: to, Partial: to.Before(end), Checks: []CheckUptime{}}
	ids := make([]string, len(checks))
	for i, c := range checks {
		ids[i] = c.ID
	}
	// One more instant: what happens at now is part of it.
	until := end.Add(followUp)
	if now.Before(until) {
		until = now.Add(1)
	}
	spans, err := src.Spans(ctx, ids, from, until)
	if err != nil {
		return out, err
	}
	days, err := src.Days(ctx, ids, from.UTC().Truncate(24*time.Hour), to)
	if err != nil {
		return out, err
	}
	var windows []MaintenanceTime
	if src.Windows != nil {
		if windows, err = src.Windows(ctx, from, to); err != nil {
			return out, err
		}
	}
	counted, edges := countedTimes(windows), dayEdges(from, to)
	for _, c := range checks {
		in := uptimeInput{check: c, span: spans[c.ID], days: days[c.ID], edges: edges, now: now, counted: counted[c.ID]}
		out.Checks = append(out.Checks, in.report())
	}
	return out, nil
}

// countedTimes are the times in maintenance that are not excluded, by check.
func countedTimes(windows []MaintenanceTime) map[string][]MaintenanceTime {
	out := map[string][]MaintenanceTime{}
	for _, w := range windows {
		if w.Excluded {
			continue
		}
		for _, id := range w.Checks {
			out[id] = append(out[id], w)
		}
	}
	return out
}

// dayEdges are the beginnings of the days from from, and to as the last.
func dayEdges(from, to time.Time) []time.Time {
	edges := []time.Time{from}
	for day := 1; ; day++ {
		// By the calendar: a day may have 23 or 25 hours.
		at := time.Date(from.Year(), from.Month(), from.Day()+day, 0, 0, 0, 0, from.Location())
		if !at.Before(to) {
			return append(edges, to)
		}
		edges = append(edges, at)
	}
}

// uptimeInput is all that the uptime of one check follows from.
type uptimeInput struct {
	check   UptimeCheck
	span    state.Span // from edges[0] on
	days    []state.Day
	counted []MaintenanceTime // those that are not excluded
	edges   []time.Time       // of days, the end of the last included; none after now
	now     time.Time
}

// uptimeSums add up one day or all.
type uptimeSums struct {
	total, down, unknown, maintenance, excluded time.Duration
	runs, failed                                int
}

func (s *uptimeSums) add(o uptimeSums) {
	s.total += o.total
	s.down += o.down
	s.unknown += o.unknown
	s.maintenance += o.maintenance
	s.excluded += o.excluded
	s.runs += o.runs
	s.failed += o.failed
}

// uptime is nil when nothing is known.
func (s uptimeSums) uptime() *float64 {
	known := s.total - s.unknown - s.excluded
	if known <= 0 {
		return nil
	}
	u := 1 - float64(s.down)/float64(known)
	return &u
}

// failing tells the states that are an incident.
func failing(s record.State) bool { return s == record.StateDown || s == record.StateFlapping }

func working(s record.State) bool { return s == record.StateUp || s == record.StateDegraded }

// perDay reckons each day.
func (in uptimeInput) perDay() []uptimeSums {
	out := make([]uptimeSums, len(in.edges)-1)
	end := in.edges[len(in.edges)-1]
	for i := range out {
		out[i].total = in.edges[i+1].Sub(in.edges[i])
	}
	// each calls f with every day that a time touches, and that part of the time.
	each := func(from, to time.Time, f func(day int, from, to time.Time)) {
		for i := range out {
			a, b := later(from, in.edges[i]), earlier(to, in.edges[i+1])
			if a.Before(b) {
				f(i, a, b)
			}
		}
	}
	hours, maintained := map[int64]bool{}, make([]state.Hour, len(out))
	for _, d := range in.days {
		for h, n := range d.Hours {
			if n.Runs == 0 {
				continue
			}
			at := d.Day.Add(time.Duration(h) * time.Hour)
			hours[at.Unix()] = true
			if i := in.dayOf(at); i >= 0 {
				out[i].runs += n.Runs
				out[i].failed += n.Failed
			}
		}
		each(d.Day, d.Day.Add(24*time.Hour), func(i int, _, _ time.Time) {
			maintained[i].Runs += d.Maintained
			maintained[i].Failed += d.MaintainedFailed
		})
	}
	blind := func(from, to time.Time) time.Duration {
		if in.check.Interval > 30*time.Minute {
			return 0
		}
		var sum time.Duration
		for h := from.Truncate(time.Hour); h.Before(to) && !h.Add(time.Hour).After(in.now); h = h.Add(time.Hour) {
			if !hours[h.Unix()] {
				sum += earlier(to, h.Add(time.Hour)).Sub(later(from, h))
			}
		}
		return sum
	}
	at, is := in.edges[0], in.span.State
	until := func(next time.Time) {
		each(at, earlier(next, end), func(i int, from, to time.Time) {
			d, took := &out[i], to.Sub(from)
			switch {
			case working(is), failing(is), is == record.StateUnreachable:
				unseen := blind(from, to)
				d.unknown += unseen
				if !working(is) {
					d.down += took - unseen
				}
			case is == record.StateMaintenance:
				d.maintenance += took
				var counts time.Duration
				for _, c := range in.counted {
					counts += max(0, earlier(to, c.End).Sub(later(from, c.Start)))
				}
				counts = min(counts, took)
				d.excluded += took - counts
				if m := maintained[i]; m.Runs > 0 {
					d.down += time.Duration(float64(counts) * float64(m.Failed) / float64(m.Runs))
				}
			default:
				d.unknown += took
			}
		})
	}
	for _, c := range in.span.Changes {
		until(c.At)
		at, is = later(c.At, at), c.To
	}
	until(end)
	return out
}

// dayOf is the day that an instant is part of, -1 for none.
func (in uptimeInput) dayOf(at time.Time) int {
	i := sort.Search(len(in.edges), func(i int) bool { return in.edges[i].After(at) })
	if i == len(in.edges) {
		return -1
	}
	return i - 1
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// incident is a time in which a check was down.
type incident struct {
	check      string
	start, end time.Time // end is zero while it lasts
	stage      string
	flapping   bool // never more than that
	acked      time.Time
}

// incidentsOf are the incidents of a check, oldest first.
func incidentsOf(check string, s state.Span) []incident {
	var out []incident
	var open *incident
	var left time.Time // when an open incident went to a state that does not end it
	begin := func(c record.Change) {
		open, left = &incident{check: check, start: c.At, stage: c.Stage, flapping: true}, time.Time{}
	}
	see := func(c record.Change) {
		switch {
		case failing(c.To):
			if open == nil {
				begin(c)
			}
			left = time.Time{}
			if open.stage == "" {
				open.stage = c.Stage
			}
			open.flapping = open.flapping && c.To == record.StateFlapping
		case open == nil:
		case working(c.To):
			if open.end = c.At; !left.IsZero() {
				open.end = left
			}
			out, open = append(out, *open), nil
		case left.IsZero():
			left = c.At
		}
	}
	if s.Last != nil {
		see(*s.Last)
	} else if failing(s.State) && len(s.Changes) > 0 {
		see(record.Change{To: s.State, At: s.Changes[0].At}) // since when is not known
	}
	for _, c := range s.Changes {
		see(c)
	}
	if open != nil {
		open.end = left // zero when it lasts
		out = append(out, *open)
	}
	for i := range out {
		x := &out[i]
		for _, a := range s.Acks {
			if !a.At.Before(x.start) && (x.end.IsZero() || !a.At.After(x.end)) {
				x.acked = a.At
				break
			}
		}
	}
	return out
}

func (in uptimeInput) report() CheckUptime {
	c := CheckUptime{ID: in.check.ID, Name: in.check.Name, Labels: in.check.Labels, Days: []DayUptime{}}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	var all uptimeSums
	for i, d := range in.perDay() {
		all.add(d)
		c.Days = append(c.Days, DayUptime{Day: in.edges[i].Format(time.DateOnly), Uptime: d.uptime(), Runs: d.runs, Failed: d.failed, DownSeconds: d.down.Seconds()})
	}
	c.Uptime, c.Runs, c.Failed = all.uptime(), all.runs, all.failed
	c.DownSeconds, c.UnknownSeconds, c.MaintenanceSeconds = all.down.Seconds(), all.unknown.Seconds(), all.maintenance.Seconds()
	var acks, repairs mean
	for _, x := range incidentsOf(c.ID, in.span) {
		if x.start.Before(in.edges[0]) || !x.start.Before(in.edges[len(in.edges)-1]) {
			continue // of another month
		}
		c.Incidents++
		if !x.acked.IsZero() {
			acks.add(x.acked.Sub(x.start))
		}
		if !x.end.IsZero() {
			repairs.add(x.end.Sub(x.start))
		}
	}
	c.MTTA, c.MTTR = acks.seconds(), repairs.seconds()
	var latency state.Histogram
	for _, d := range in.days {
		latency.Merge(d.Latency)
	}
	if latency.Count() > 0 {
		p50, p95 := latency.Quantile(0.5).Seconds(), latency.Quantile(0.95).Seconds()
		c.P50, c.P95 = &p50, &p95
	}
	return c
}

type mean struct {
	sum time.Duration
	n   int
}

func (m *mean) add(d time.Duration) { m.sum += d; m.n++ }

func (m *mean) seconds() *float64 {
	if m.n == 0 {
		return nil
	}
	s := m.sum.Seconds() / float64(m.n)
	return &s
}

// ServeUptime answers GET /api/v1/reports/uptime?month=2026-11, with
// check=id for one check, zone=Europe/Paris for days of that zone and format=csv
// for a table. Without a month it is the present one.
func (s ReportSource) ServeUptime(w http.ResponseWriter, r *http.Request) error {
	zone, err := reportZone(r.FormValue("zone"))
	if err != nil {
		return err
	}
	now := s.now().In(zone)
	from := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, zone)
	if v := r.FormValue("month"); v != "" {
		if from, err = time.ParseInLocation("2006-01", v, zone); err != nil {
			return record.Errorf(record.Invalid, "month %q: want such as 2026-11", v)
		}
		if from.After(now) {
			return record.Errorf(record.Invalid, "month %q: has not begun; want a month up to %s", v, now.Format("2006-01"))
		}
	}
	format := r.FormValue("format")
	if format != "" && format != "json" && format != "csv" {
		return record.Errorf(record.Invalid, "format %q: want json or csv", format)
	}
	checks, err := s.Checks(r.Context())
	if err != nil {
		return err
	}
	if id := r.FormValue("check"); id != "" {
		checks = slices.DeleteFunc(slices.Clone(checks), func(c UptimeCheck) bool { return c.ID != id })
		if len(checks) == 0 {
			return record.Errorf(record.NotFound, "there is no check %q; GET /api/v1/checks lists them", id)
		}
	}
	rep, err := Report(r.Context(), s, checks, from)
	if err != nil {
		return err
	}
	if format == "csv" {
		h := w.Header()
		h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
		h.Set("Content-Disposition", `attachment; filename="uptime-`+rep.Month+`.csv"`)
		h.Set("Cache-Control", "no-store")
		rep.writeCSV(w)
		return nil
	}
	writeJSON(w, rep)
	return nil
}

func reportZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, record.Errorf(record.Invalid, "zone %q: want a name such as Europe/Paris or UTC", name)
	}
	return zone, nil
}

// writeCSV writes a line a check (RFC 4180). A client that left is no fault of
// ours.
func (r UptimeReport) writeCSV(w http.ResponseWriter) {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	defer c.Flush()
	_ = c.Write([]string{"month", "id", "name", "labels", "uptime_percent", "runs", "failed", "down_seconds", "unknown_seconds",
		"maintenance_seconds", "incidents", "mtta_seconds", "mttr_seconds", "p50_seconds", "p95_seconds"})
	num := func(v *float64, scale float64, digits int) string {
		if v == nil {
			return ""
		}
		return strconv.FormatFloat(*v*scale, 'f', digits, 64)
	}
	for _, x := range r.Checks {
		labels := []string{}
		for _, k := range slices.Sorted(maps.Keys(x.Labels)) {
			labels = append(labels, k+"="+x.Labels[k])
		}
		_ = c.Write([]string{r.Month, inertCell(x.ID), inertCell(x.Name), inertCell(strings.Join(labels, " ")), num(x.Uptime, 100, 5),
			fmt.Sprint(x.Runs), fmt.Sprint(x.Failed), num(&x.DownSeconds, 1, 3), num(&x.UnknownSeconds, 1, 3), num(&x.MaintenanceSeconds, 1, 3),
			fmt.Sprint(x.Incidents), num(x.MTTA, 1, 3), num(x.MTTR, 1, 3), num(x.P50, 1, 4), num(x.P95, 1, 4)})
	}
}

// inertCell keeps a spreadsheet from taking a text for a formula, which may send
// data elsewhere: such a text begins with an apostrophe instead.
func inertCell(s string) string {
	if strings.ContainsAny(firstRune(strings.TrimLeft(s, " \u00a0\ufeff")), "=+-@\t\r\n|%＝＋－＠") {
		return "'" + s
	}
	return s
}

func firstRune(s string) string {
	for _, c := range s {
		return string(c)
	}
	return ""
}
