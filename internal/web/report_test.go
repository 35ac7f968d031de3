package web_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
	"github.com/vedette-sre/vedette/internal/web"
)

// history is what a report is made from.
type history struct {
	watched
	acks map[string][]time.Time
	days func(check string, from, to time.Time) []state.Day
}

func (h *history) report(t *testing.T, from, now time.Time, c web.UptimeCheck) web.CheckUptime {
	t.Helper()
	rep, err := web.Report(context.Background(), h.source(now), []web.UptimeCheck{c}, from)
	if err != nil {
		t.Fatal(err)
	}
	return rep.Checks[0]
}

func (h *history) source(now time.Time) web.ReportSource {
	return web.ReportSource{
		Now: func() time.Time { return now },
		Spans: func(ctx context.Context, checks []string, from, to time.Time) (map[string]state.Span, error) {
			m, err := h.watched.spans(ctx, checks, from, to)
			for id, at := range h.acks {
				s := m[id]
				for _, a := range at {
					s.Acks = append(s.Acks, state.Ack{At: a, Who: "ann"})
				}
				m[id] = s
			}
			return m, err
		},
		Days: func(ctx context.Context, checks []string, from, to time.Time) (map[string][]state.Day, error) {
			if h.days == nil {
				return h.watched.days(ctx, checks, from, to)
			}
			out := map[string][]state.Day{}
			for _, id := range checks {
				out[id] = h.days(id, from, to)
			}
			return out, nil
		},
		Windows: func(context.Context, time.Time, time.Time) ([]web.MaintenanceTime, error) { return h.windows, nil },
	}
}

func near(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > 1e-9 {
		t.Errorf("%s: got %v, want %v", what, deref(got), want)
	}
}

func deref(f *float64) any {
	if f == nil {
		return "nothing"
	}
	return *f
}

var (
	november = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	december = november.AddDate(0, 1, 0)
	shopUp   = web.UptimeCheck{ID: "a", Name: "Shop", Interval: time.Minute}
)

const month30 = 30 * 24 * time.Hour

func TestReportRules(t *testing.T) {
	const up, down, part, flap, care, unknown, paused, parent = record.StateUp, record.StateDown, record.StateDegraded, record.StateFlapping, record.StateMaintenance, record.StateUnknown, record.StatePaused, record.StateUnreachable
	type step struct {
		hour int // since the month began
		to   record.State
	}
	// In hours; the month has 720.
	f := func(what string, uptime, downH, unknownH, careH float64, incidents int, steps ...step) {
		t.Helper()
		h := &history{}
		from := unknown
		for _, s := range steps {
			h.change("a", november.Add(time.Duration(s.hour)*time.Hour), from, s.to, "")
			from = s.to
		}
		c := h.report(t, november, december.Add(time.Hour), shopUp)
		near(t, what, c.Uptime, uptime)
		if c.DownSeconds != downH*3600 || c.UnknownSeconds != unknownH*3600 || c.MaintenanceSeconds != careH*3600 || c.Incidents != incidents {
			t.Errorf("%s: got down %v h, unknown %v h, maintenance %v h, %d incidents; want %v, %v, %v, %d", what,
				c.DownSeconds/3600, c.UnknownSeconds/3600, c.MaintenanceSeconds/3600, c.Incidents, downH, unknownH, careH, incidents)
		}
		if len(c.Days) != 30 || c.Days[0].Day != "2026-11-01" || c.Days[29].Day != "2026-11-30" {
			t.Errorf("%s: got days %+v", what, c.Days)
		}
		var sum float64
		for _, d := range c.Days {
			sum += d.DownSeconds
		}
		if math.Abs(sum-c.DownSeconds) > 1e-6 {
			t.Errorf("%s: the days are down %v s, the month %v", what, sum, c.DownSeconds)
		}
	}
	f("always up", 1, 0, 0, 0, 0, step{-100, up})
	f("an outage", 1-12.0/720, 12, 0, 0, 1, step{-100, up}, step{100, down}, step{112, up})
	f("over midnight", 1-48.0/720, 48, 0, 0, 1, step{-100, up}, step{20, down}, step{68, up})
	f("flapping is down, one incident", 1-3.0/720, 3, 0, 0, 1, step{-100, up}, step{100, flap}, step{101, down}, step{102, flap}, step{103, up})
	f("degraded is up", 1, 0, 0, 0, 0, step{-100, up}, step{100, part}, step{200, up})
	f("a parent's outage is down and no incident", 1-2.0/720, 2, 0, 0, 0, step{-100, up}, step{100, parent}, step{102, up})
	f("younger than the month", 1-1.0/620, 1, 100, 0, 1, step{100, up}, step{200, down}, step{201, up})
	f("unknown and paused are no time", 1, 0, 30, 0, 0, step{-100, up}, step{100, unknown}, step{110, up}, step{120, paused}, step{140, up})
	f("silence in an incident does not end it", 1-2.0/719, 2, 1, 0, 1, step{-100, up}, step{100, down}, step{101, unknown}, step{102, down}, step{103, up})
}

func TestReportMaintenance(t *testing.T) {
	h := &history{}
	h.change("a", november.Add(-time.Hour), record.StateUnknown, record.StateUp, "")
	h.change("a", november.Add(10*time.Hour), record.StateUp, record.StateMaintenance, "")
	h.change("a", november.Add(14*time.Hour), record.StateMaintenance, record.StateUp, "")
	h.change("a", november.Add(20*time.Hour), record.StateUp, record.StateDown, "")
	h.change("a", november.Add(22*time.Hour), record.StateDown, record.StateUp, "")
	h.windows = []web.MaintenanceTime{{ID: "w", Checks: []string{"a"}, Start: november.Add(10 * time.Hour), End: november.Add(14 * time.Hour), Excluded: true}}
	c := h.report(t, november, december, shopUp)
	near(t, "excluded", c.Uptime, 1-2.0/716)
	if c.MaintenanceSeconds != 4*3600 || c.DownSeconds != 2*3600 {
		t.Errorf("got %+v", c)
	}
	// Half of the runs within the window failed, and the window counts.
	h.days = func(_ string, from, to time.Time) []state.Day {
		m, _ := h.watched.days(context.Background(), []string{"a"}, from, to)
		for i := range m["a"] {
			if m["a"][i].Day.Equal(november) {
				m["a"][i].Maintained, m["a"][i].MaintainedFailed = 240, 120
			}
		}
		return m["a"]
	}
	h.windows[0].Excluded = false
	c = h.report(t, november, december, shopUp)
	near(t, "counted", c.Uptime, 1-4.0/720)
	h.windows[0].Checks = []string{"b"}
	c = h.report(t, november, december, shopUp)
	near(t, "of another check", c.Uptime, 1-2.0/716)
}

func TestReportWhileVedetteWasOff(t *testing.T) {
	h := &history{}
	h.change("a", november.Add(-time.Hour), record.StateUnknown, record.StateUp, "")
	h.days = func(_ string, from, to time.Time) []state.Day {
		m, _ := h.watched.days(context.Background(), []string{"a"}, from, to)
		for i := 3; i < 8; i++ {
			m["a"][2].Hours[i] = state.Hour{}
		}
		return m["a"]
	}
	c := h.report(t, november, december, shopUp)
	near(t, "five blind hours", c.Uptime, 1)
	if c.UnknownSeconds != 5*3600 {
		t.Errorf("got %v s unknown, want five hours", c.UnknownSeconds)
	}
	rare := shopUp
	rare.Interval = 6 * time.Hour
	if c = h.report(t, november, december, rare); c.UnknownSeconds != 0 {
		t.Errorf("a check every six hours: got %v s unknown, want none", c.UnknownSeconds)
	}
	// The present hour may just have no run yet.
	h.days = func(string, time.Time, time.Time) []state.Day { return nil }
	now := november.Add(30 * time.Minute)
	if c = h.report(t, november, now, shopUp); c.UnknownSeconds != 0 {
		t.Errorf("in the first hour: got %v s unknown, want none", c.UnknownSeconds)
	}
}

func TestReportIncidents(t *testing.T) {
	h := &history{acks: map[string][]time.Time{}}
	at := func(d time.Duration) time.Time { return november.Add(d) }
	h.change("a", at(-100*time.Hour), record.StateUnknown, record.StateUp, "")
	h.change("a", at(-time.Hour), record.StateUp, record.StateDown, "") // of October, ends in November
	h.change("a", at(time.Hour), record.StateDown, record.StateUp, "")
	h.change("a", at(100*time.Hour), record.StateUp, record.StateDown, "")
	h.change("a", at(101*time.Hour), record.StateDown, record.StateUp, "")
	h.change("a", at(200*time.Hour), record.StateUp, record.StateFlapping, "")
	h.change("a", at(201*time.Hour), record.StateFlapping, record.StateDown, "")
	h.change("a", at(203*time.Hour), record.StateDown, record.StateDegraded, "")
	h.change("a", at(204*time.Hour), record.StateDegraded, record.StateUp, "")
	h.change("a", at(month30-time.Hour), record.StateUp, record.StateDown, "") // ends in December
	h.change("a", at(month30+4*time.Hour), record.StateDown, record.StateUp, "")
	h.change("a", at(month30+10*time.Hour), record.StateUp, record.StateDown, "") // of December
	h.acks["a"] = []time.Time{at(50 * time.Hour), at(100*time.Hour + 10*time.Minute), at(100*time.Hour + 20*time.Minute), at(202 * time.Hour)}
	c := h.report(t, november, december.Add(48*time.Hour), shopUp)
	if c.Incidents != 3 {
		t.Errorf("got %d incidents, want 3", c.Incidents)
	}
	near(t, "mtta", c.MTTA, (10*60+120*60)/2)
	near(t, "mttr", c.MTTR, (1+3+5)*3600/3)
	if c.DownSeconds != (1+1+3+1)*3600 {
		t.Errorf("got %v s down, want what lies within the month", c.DownSeconds)
	}
	// In the middle of the last one.
	c = h.report(t, november, at(month30-30*time.Minute), shopUp)
	near(t, "mttr of those that ended", c.MTTR, (1+3)*3600/2)
	if c.Incidents != 3 || len(c.Days) != 30 || c.Days[29].DownSeconds != 1800 {
		t.Errorf("got %+v", c)
	}
	quiet := h.report(t, december.AddDate(0, 1, 0), december.AddDate(0, 1, 3), shopUp)
	if quiet.MTTA != nil || quiet.MTTR != nil || quiet.Incidents != 0 {
		t.Errorf("got %+v, want none", quiet)
	}
}

func TestReportNumbers(t *testing.T) {
	h := &history{}
	h.change("a", november.Add(-100*time.Hour), record.StateUnknown, record.StateUp, "")
	h.days = func(_ string, from, to time.Time) []state.Day {
		var out []state.Day
		for i, location := range []string{"eu", "us"} {
			d := state.Day{Check: "a", Location: location, Day: november.Add(24 * time.Hour), Runs: 100, Failed: 10}
			d.Hours[0], d.Hours[23] = state.Hour{Runs: 60, Failed: 10}, state.Hour{Runs: 40}
			for range 120 - 50*i {
				d.Latency.Add(time.Duration(i+1) * 100 * time.Millisecond)
			}
			for range 5 {
				d.Latency.Add(3 * time.Second)
			}
			out = append(out, d)
		}
		return out
	}
	c := h.report(t, november, december, shopUp)
	if c.Runs != 200 || c.Failed != 20 || c.Days[1].Runs != 200 || c.Days[1].Failed != 20 {
		t.Errorf("got %+v", c)
	}
	for what, x := range map[string][2]float64{"p50": {*c.P50, 0.1}, "p95": {*c.P95, 0.2}} {
		if math.Abs(x[0]/x[1]-1) > 0.05 {
			t.Errorf("%s: got %v, want %v within 5 %%", what, x[0], x[1])
		}
	}
	// In a zone, the hours belong to other days.
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	c = h.report(t, time.Date(2026, 11, 1, 0, 0, 0, 0, paris), december, shopUp)
	if c.Days[1].Runs != 120 || c.Days[2].Runs != 80 {
		t.Errorf("in Paris: got %+v", c.Days[:4])
	}
	// October 2026 in Paris has 745 hours, and a day of 25.
	h = &history{}
	h.change("a", november.Add(-1000*time.Hour), record.StateUnknown, record.StateDown, "")
	c = h.report(t, time.Date(2026, 10, 1, 0, 0, 0, 0, paris), december, shopUp)
	if c.DownSeconds != 745*3600 || len(c.Days) != 31 || c.Days[24].DownSeconds != 25*3600 {
		t.Errorf("got %v h down, %d days, the 25th %v h", c.DownSeconds/3600, len(c.Days), c.Days[24].DownSeconds/3600)
	}
	near(t, "always down", c.Uptime, 0)
}

func TestServeUptime(t *testing.T) {
	h := &history{}
	h.change("a", november.Add(-time.Hour), record.StateUnknown, record.StateUp, "")
	h.change("a", november.Add(12*time.Hour), record.StateUp, record.StateDown, "")
	src := h.source(november.Add(24 * time.Hour))
	src.Checks = func(context.Context) ([]web.UptimeCheck, error) {
		return []web.UptimeCheck{{ID: "a", Name: "=HYPERLINK(\"http://evil\")", Labels: map[string]string{"team": "shop", "a": "b"}, Interval: time.Minute},
			{ID: "b", Name: "Two, \"quoted\"\nlines", Interval: time.Minute}, {ID: "c", Name: " @c"}, {ID: "-d", Name: "plain"}}, nil
	}
	serve := func(query string) (*httptest.ResponseRecorder, error) {
		rec := httptest.NewRecorder()
		return rec, src.ServeUptime(rec, httptest.NewRequest("GET", "/api/v1/reports/uptime?"+query, nil))
	}
	rec, err := serve("")
	if err != nil {
		t.Fatal(err)
	}
	var rep struct {
		Month, From, To string
		Partial         bool
		Checks          []map[string]any
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Month != "2026-11" || rep.From != "2026-11-01T00:00:00Z" || rep.To != "2026-11-02T00:00:00Z" || !rep.Partial || len(rep.Checks) != 4 {
		t.Errorf("got %+v", rep)
	}
	if a, b := rep.Checks[0], rep.Checks[1]; a["uptime"] != 0.5 || a["down_seconds"] != 43200.0 || a["mttr_seconds"] != nil || len(a["days"].([]any)) != 1 || b["uptime"] != nil {
		t.Errorf("got %v and %v", a, b)
	}
	rec, err = serve("month=2026-10&check=a&zone=UTC&format=json")
	if err != nil || !strings.Contains(rec.Body.String(), `"partial":false`) || !strings.Contains(rec.Body.String(), `"uptime":1,`) {
		t.Errorf("got %v, %s", err, rec.Body)
	}

	rec, err = serve("format=csv&month=2026-11")
	if err != nil {
		t.Fatal(err)
	}
	if got := rec.Header(); !strings.HasPrefix(got.Get("Content-Type"), "text/csv") || got.Get("Content-Disposition") != `attachment; filename="uptime-2026-11.csv"` {
		t.Errorf("got %v", got)
	}
	if body := rec.Body.String(); !strings.HasSuffix(body, "\r\n") || !strings.HasPrefix(body, "month,id,name,labels,uptime_percent,") {
		t.Errorf("got %q", body)
	}
	lines, err := csv.NewReader(strings.NewReader(rec.Body.String())).ReadAll()
	if err != nil || len(lines) != 5 {
		t.Fatalf("got %v, %v", lines, err)
	}
	if got, want := fmt.Sprint(lines[1][1:9]), fmt.Sprint([]string{"a", `'=HYPERLINK("http://evil")`, "a=b team=shop", "50.00000", "1440", "0", "43200.000", "0.000"}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if lines[2][2] != "Two, \"quoted\"\nlines" || lines[2][4] != "" || lines[3][2] != "' @c" || lines[4][1] != "'-d" {
		t.Errorf("got %q", lines)
	}

	for query, want := range map[string]string{"month=November": "month ", "month=2026-12": "month ", "month=2026-13": "month ", "zone=Mars": "zone ", "zone=Local": "zone ", "zone=../../etc/passwd": "zone ", "format=pdf": "format "} {
		if _, err := serve(query); record.KindOf(err) != record.Invalid || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want an error about %s", query, err, want)
		}
	}
	if _, err := serve("check=none"); record.KindOf(err) != record.NotFound {
		t.Errorf("got %v, want not found", err)
	}
	src.Spans = func(context.Context, []string, time.Time, time.Time) (map[string]state.Span, error) {
		return nil, errors.New("the disk is gone")
	}
	if _, err := serve(""); err == nil {
		t.Error("no error")
	}
}

// TestReportFromTheStore reckons with the real history and days instead of the
// ones in memory.
func TestReportFromTheStore(t *testing.T) {
	ctx := context.Background()
	db, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	days, err := state.NewDays(db)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := state.NewRuns(db, state.RunsConfig{Days: days})
	if err != nil {
		t.Fatal(err)
	}
	hist, err := state.NewHistory(db)
	if err != nil {
		t.Fatal(err)
	}
	// A day with a run every ten minutes; it fails from 06:00 to 07:30.
	var batch []record.CheckResult
	down, up := november.Add(6*time.Hour), november.Add(7*time.Hour+30*time.Minute)
	for at := november; at.Before(november.Add(24 * time.Hour)); at = at.Add(10 * time.Minute) {
		ok := at.Before(down) || !at.Before(up)
		batch = append(batch, record.CheckResult{Check: "a", Location: "hub", Start: at, Success: ok, Duration: 200 * time.Millisecond})
	}
	if err := runs.AddDurably(ctx, batch); err != nil {
		t.Fatal(err)
	}
	for _, c := range []record.Change{
		{Check: "a", At: november, From: record.StateUnknown, To: record.StateUp}, {Check: "a", At: down, From: record.StateUp, To: record.StateDown, Stage: "connect"},
		{Check: "a", At: up, From: record.StateDown, To: record.StateUp},
	} {
		if err := hist.Add(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := hist.Acknowledge(ctx, "a", down.Add(5*time.Minute), "ann"); err != nil {
		t.Fatal(err)
	}
	now := november.Add(24 * time.Hour)
	src := web.ReportSource{Spans: hist.Spans, Days: days.List, Now: func() time.Time { return now }}
	rep, err := web.Report(ctx, src, []web.UptimeCheck{{ID: "a", Interval: 10 * time.Minute}}, november)
	if err != nil {
		t.Fatal(err)
	}
	c := rep.Checks[0]
	near(t, "uptime", c.Uptime, 1-1.5/24)
	near(t, "mtta", c.MTTA, 300)
	near(t, "mttr", c.MTTR, 5400)
	if c.Runs != 144 || c.Failed != 9 || c.Incidents != 1 || c.UnknownSeconds != 0 || *c.P95 < 0.19 || *c.P95 > 0.21 {
		t.Errorf("got %+v, p95 %v", c, *c.P95)
	}

	page, err := web.NewStatusPage(web.StatusPageConfig{Groups: []web.StatusGroupConfig{{Name: "G", Checks: []string{"a"}}}}, web.StatusSource{
		Checks: func(context.Context) ([]web.StatusCheck, error) {
			return []web.StatusCheck{{ID: "a", Name: "Shop", Interval: 10 * time.Minute, State: record.StateUp, Since: up}}, nil
		},
		Spans: hist.Spans, Days: days.List,
	}, web.StatusOptions{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	wantIn(t, "page", get(page, "/").Body.String(), "All systems work", "1 November 2026: down for 1 h 30 min, up 93.75 %", "Shop was down", "06:00 to 07:30 UTC (1 h 30 min) · No connection")
}
