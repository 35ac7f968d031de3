package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/fleet"
	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
	"github.com/vedette-sre/vedette/internal/web"
)

func window(t *testing.T, w judge.Window) web.Window {
	t.Helper()
	w.Name = "work"
	if err := w.Validate(); err != nil {
		t.Fatal(err)
	}
	return web.Window{Window: w, Source: "api"}
}

func TestOccurrences(t *testing.T) {
	f := func(w judge.Window, want string) {
		t.Helper()
		var got []string
		for _, o := range web.Occurrences(window(t, w), noon, noon.Add(48*time.Hour)) {
			got = append(got, o.Start.Format("2T15:04")+"-"+o.End.Format("2T15:04"))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%+v: got %q, want %q", w, got, want)
		}
	}
	at := func(h int) time.Time { return noon.Add(time.Duration(h) * time.Hour) }
	f(judge.Window{Start: at(1), End: at(2)}, "20T13:00-20T14:00")
	f(judge.Window{Start: at(-1), End: at(2)}, "20T11:00-20T14:00")
	f(judge.Window{Start: at(47), End: at(50)}, "22T11:00-22T14:00")
	f(judge.Window{Start: at(-2), End: at(-1)}, "")
	f(judge.Window{Start: at(48), End: at(49)}, "")
	f(judge.Window{Cron: "0 3 * * *", Duration: time.Hour}, "21T03:00-21T04:00 22T03:00-22T04:00")
	f(judge.Window{Cron: "30 11 * * *", Duration: time.Hour}, "20T11:30-20T12:30 21T11:30-21T12:30 22T11:30-22T12:30")
	f(judge.Window{Cron: "0 3 * * *", Duration: time.Hour, Zone: "Asia/Tokyo"}, "20T18:00-20T19:00 21T18:00-21T19:00")
	// One that overlaps itself is one.
	f(judge.Window{Cron: "0 * 21 * *", Duration: 90 * time.Minute}, "21T00:00-22T00:30")
	f(judge.Window{Cron: "0 * 21 * *", Duration: time.Hour}, "21T00:00-22T00:00")
}

// book is a tenant's checks, all else left out.
type book struct {
	web.CheckBook
	checks  []probe.Check
	windows []web.Window
}

func (b book) Checks() []probe.Check  { return b.checks }
func (b book) Windows() []web.Window  { return b.windows }
func (b book) Places(string) []string { return []string{"hub"} }

// tenantOf has two checks, of which one has failed for an hour, in a real store.
func tenantOf(t *testing.T, now time.Time) *web.Tenant {
	t.Helper()
	db, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	x := &web.Tenant{Verdicts: judge.NewChecks(judge.ChecksOptions{}), Hub: fleet.NewHub(fleet.HubOptions{})}
	for _, make := range []func() error{
		func() (err error) { x.Days, err = state.NewDays(db); return },
		func() (err error) { x.Runs, err = state.NewRuns(db, state.RunsConfig{Days: x.Days}); return },
		func() (err error) { x.History, err = state.NewHistory(db); return },
		func() (err error) { x.Objects, err = state.NewObjects(db); return },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
	}
	x.Board = state.NewBoard(x.Runs, x.Days)
	x.Book = book{
		checks: []probe.Check{{ID: "shop", Name: "Shop", URL: "https://10.0.0.7/private", Interval: time.Minute, Labels: map[string]string{"team": "shop"}}, {ID: "mail", Name: "Mail", Interval: time.Minute, Paused: true}},
		windows: []web.Window{window(t, judge.Window{ID: "w", Labels: map[string]string{"team": "shop"}, Start: now.Add(time.Hour), End: now.Add(2 * time.Hour)}),
			window(t, judge.Window{ID: "all", Start: now.Add(-3 * time.Hour), End: now.Add(-2 * time.Hour)})},
	}
	ctx := context.Background()
	for i, s := range []record.State{record.StateUp, record.StateDown} {
		if err := x.History.Add(ctx, record.Change{Check: "shop", At: now.Add(time.Duration(i-2) * time.Hour), From: record.StateUnknown, To: s, Stage: "tls"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := x.Objects.Create(ctx, state.Object{Kind: state.KindMaintenance, ID: "w", Body: "{}", Updated: now.Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestTenantSources(t *testing.T) {
	now := time.Now().UTC()
	x := tenantOf(t, now)
	src, ctx := x.StatusSource(), context.Background()
	checks, err := src.Checks(ctx)
	if err != nil || len(checks) != 2 || checks[0].ID != "shop" || checks[0].Interval != time.Minute || checks[1].State != record.StatePaused || fmt.Sprint(checks[0].Places) != "[{hub unknown}]" {
		t.Errorf("got %+v, %v", checks, err)
	}
	windows, err := src.Windows(ctx, now.Add(-4*time.Hour), now.Add(24*time.Hour))
	if err != nil || len(windows) != 2 || fmt.Sprint(windows[0].Checks, windows[1].Checks) != "[shop] [shop mail]" || !windows[0].Announced.Equal(now.Add(-time.Hour).Truncate(0)) || !windows[0].Excluded {
		t.Errorf("got %+v, %v", windows, err)
	}

	rec := get(web.Desk(x), "/reports/uptime?check=shop")
	var rep web.UptimeReport
	if err := json.Unmarshal(rec.Body.Bytes(), &rep); err != nil || len(rep.Checks) != 1 || rep.Checks[0].Name != "Shop" || !rep.Partial {
		t.Errorf("got %s, %v", rec.Body, err)
	}
}

func TestNotes(t *testing.T) {
	now := time.Now().UTC()
	x := tenantOf(t, now)
	desk := web.Desk(x)
	do := func(method, path, body string, want int) string {
		t.Helper()
		rec := httptest.NewRecorder()
		desk.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
		if rec.Code != want {
			t.Errorf("%s %s: got %d %s, want %d", method, body, rec.Code, rec.Body, want)
		}
		return rec.Body.String()
	}
	for _, bad := range []string{``, `null`, `{}`, `{"text":"x"}`, `{"check":"shop"}`, `{"check":"shop","text":"x","at":"noon"}`} {
		do(http.MethodPost, "/notes", bad, 400)
	}
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(do(http.MethodPost, "/notes", `{"check":"shop","text":"We are on it."}`, 201)), &made); err != nil || made.ID == "" {
		t.Errorf("got %+v, %v", made, err)
	}
	if list := do(http.MethodGet, "/notes", "", 200); !strings.Contains(list, `"text":"We are on it."`) || !strings.Contains(list, `"id":"`+made.ID+`"`) {
		t.Errorf("got %s", list)
	}
	p, err := web.NewStatusPage(web.StatusPageConfig{Groups: []web.StatusGroupConfig{{Name: "All", Checks: []string{"shop"}}}}, x.StatusSource(), web.StatusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantIn(t, "page", get(p, "/").Body.String(), "Shop is down", "We are on it.", "Maintenance of Shop")
	do(http.MethodDelete, "/notes/"+made.ID, "", 204)
	do(http.MethodDelete, "/notes/"+made.ID, "", 404)
	// A note that cannot be read does not take the page away.
	if _, err := x.Objects.Create(context.Background(), state.Object{Kind: state.KindNote, ID: "x", Body: "nonsense"}); err != nil {
		t.Fatal(err)
	}
	if n, err := x.StatusSource().Notes(context.Background()); err != nil || len(n) != 0 {
		t.Errorf("got %+v, %v", n, err)
	}
}
