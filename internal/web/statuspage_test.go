package web_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
	"github.com/vedette-sre/vedette/internal/web"
)

// noon is when the tests read the page.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// watched is a tenant of checks as the stations know them, in memory.
type watched struct {
	checks  []web.StatusCheck
	changes map[string][]record.Change
	windows []web.MaintenanceTime
	notes   []web.StatusNote
	blind   map[string]bool // checks whose runs are not counted

	mu     sync.Mutex
	asked  int
	broken error
	now    time.Time
}

func (w *watched) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now.IsZero() {
		return noon
	}
	return w.now
}

func (w *watched) set(now time.Time, broken error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now, w.broken = now, broken
}

func (w *watched) change(check string, at time.Time, from, to record.State, stage string) {
	if w.changes == nil {
		w.changes = map[string][]record.Change{}
	}
	w.changes[check] = append(w.changes[check], record.Change{Check: check, At: at, From: from, To: to, Stage: stage,
		Reason: "secret-reason", Text: "secret-text https://10.0.0.7/private", Locations: []string{"secret-place"}})
}

func (w *watched) spans(_ context.Context, checks []string, from, to time.Time) (map[string]state.Span, error) {
	out := map[string]state.Span{}
	for id, cs := range w.changes {
		if checks != nil && !slices.Contains(checks, id) {
			continue
		}
		s := state.Span{State: record.StateUnknown}
		for _, c := range cs {
			switch {
			case !c.At.After(from):
				s.State, s.Since, s.Last = c.To, c.At, &c
			case c.At.Before(to):
				s.Changes = append(s.Changes, c)
			}
		}
		out[id] = s
	}
	return out, nil
}

// days has a run a minute in every hour.
func (w *watched) days(_ context.Context, checks []string, from, to time.Time) (map[string][]state.Day, error) {
	out := map[string][]state.Day{}
	for _, id := range checks {
		for at := from.UTC().Truncate(24 * time.Hour); at.Before(to) && !w.blind[id]; at = at.Add(24 * time.Hour) {
			d := state.Day{Check: id, Location: "secret-place", Day: at, Runs: 1440}
			for i := range d.Hours {
				d.Hours[i].Runs = 60
			}
			out[id] = append(out[id], d)
		}
	}
	return out, nil
}

func (w *watched) source() web.StatusSource {
	return web.StatusSource{
		Checks: func(context.Context) ([]web.StatusCheck, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.asked++
			return w.checks, w.broken
		},
		Spans: w.spans, Days: w.days,
		Windows: func(_ context.Context, from, to time.Time) ([]web.MaintenanceTime, error) { return w.windows, nil },
		Notes:   func(context.Context) ([]web.StatusNote, error) { return w.notes, nil },
	}
}

func check(id, name string, s record.State, since time.Time) web.StatusCheck {
	return web.StatusCheck{ID: id, Name: name, Labels: map[string]string{"team": "secret-team"}, Interval: time.Minute, State: s, Since: since,
		Places: []web.StatusPlace{{"secret-place", "up"}, {"secret-place-2", "silent"}}}
}

func shopConfig() web.StatusPageConfig {
	return web.StatusPageConfig{
		Path: "shop", Title: "Shop & Co", Description: "How the shop <stands>", URL: "https://status.example.com/",
		Groups: []web.StatusGroupConfig{{Name: "Shop", Checks: []string{"checkout", "db-prod-3"}}, {Name: "Mail", Labels: map[string]string{"public": "mail"}}},
		Names:  map[string]string{"db-prod-3": "Orders"},
	}
}

// shop has a check that is down, one that was, one by label and two that the
// page does not show.
func shop() *watched {
	w := &watched{}
	mail := check("mail", "Mail", record.StateUp, noon.Add(-50*24*time.Hour))
	mail.Labels["public"] = "mail"
	w.checks = []web.StatusCheck{
		check("checkout", "Shop checkout", record.StateDown, noon.Add(-58*time.Minute)),
		check("db-prod-3", "secret-db-name", record.StateUp, noon.Add(-2*time.Hour)),
		mail,
		check("secret-id", "secret-name", record.StateDown, noon.Add(-time.Hour)),
		check("secret-id-2", "secret-name-2", record.StateUp, noon.Add(-time.Hour)),
	}
	for _, c := range w.checks {
		w.change(c.ID, noon.Add(-60*24*time.Hour), record.StateUnknown, record.StateUp, "")
	}
	w.change("checkout", noon.Add(-58*time.Minute), record.StateUp, record.StateDown, "tls")
	w.change("db-prod-3", noon.Add(-50*time.Hour), record.StateUp, record.StateDown, "connect")
	w.change("db-prod-3", noon.Add(-49*time.Hour), record.StateDown, record.StateUp, "")
	w.change("secret-id", noon.Add(-time.Hour), record.StateUp, record.StateDown, "tls")
	w.windows = []web.MaintenanceTime{
		{ID: "secret-window", Checks: []string{"mail", "secret-id"}, Start: noon.Add(34 * time.Hour), End: noon.Add(36 * time.Hour), Announced: noon.Add(-time.Hour), Excluded: true},
		{ID: "secret-window-2", Checks: []string{"secret-id"}, Start: noon.Add(-time.Hour), End: noon.Add(36 * time.Hour), Excluded: true},
		{ID: "old", Checks: []string{"mail"}, Start: noon.Add(-36 * time.Hour), End: noon.Add(-35 * time.Hour), Excluded: true},
	}
	w.notes = []web.StatusNote{
		{ID: "1", Check: "checkout", At: noon.Add(-30 * time.Minute), Text: "We are <b>on</b> it & know why."},
		{ID: "2", Check: "secret-id", At: noon.Add(-30 * time.Minute), Text: "secret-note"},
		{ID: "3", Window: "secret-window", At: noon.Add(-30 * time.Minute), Text: "A new mail server."},
		{ID: "4", Window: "secret-window-2", At: noon.Add(-30 * time.Minute), Text: "secret-note"},
		{ID: "5", Page: "other", At: noon.Add(-30 * time.Minute), Text: "secret-note"},
		{ID: "6", Page: "shop", At: noon.Add(-30 * time.Minute), Text: "Closed on Sunday."},
		{ID: "7", Page: "shop", At: noon.Add(-30 * 24 * time.Hour), Text: "secret-old-note"},
		{ID: "8", Check: "db-prod-3", At: noon.Add(-49*time.Hour - 30*time.Minute), Text: "A disk was full."},
	}
	return w
}

func page(t *testing.T, w *watched, cfg web.StatusPageConfig) *web.StatusPage {
	t.Helper()
	p, err := web.NewStatusPage(cfg, w.source(), web.StatusOptions{Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func under(p ...*web.StatusPage) http.Handler {
	return web.StatusHandler(func() []*web.StatusPage { return p })
}

func wantIn(t *testing.T, what, body string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(body, want) {
			t.Errorf("%s: no %q in\n%s", what, want, body)
		}
	}
}

var statusFiles = []string{"", "feed.atom", "feed.rss", "status.json", "badge/all.svg", "badge/shop.svg", "badge/checkout.svg", "badge/orders.svg?show=uptime"}

func TestStatusPageTells(t *testing.T) {
	h := under(page(t, shop(), shopConfig()))
	rec := get(h, "/status/shop")
	body := rec.Body.String()
	if rec.Code != 200 {
		t.Fatalf("got %d %s", rec.Code, body)
	}
	wantIn(t, "page", body, "<p>Shop checkout is down since 11:02 UTC</p>", "Shop &amp; Co", "How the shop &lt;stands&gt;", "Orders was down",
		"18 November 2026, 10:00 to 11:00 UTC (1 h) · No connection", "Since 11:02 UTC · No secure connection", "We are &lt;b&gt;on&lt;/b&gt; it &amp; know why.", "A disk was full.",
		"Maintenance of Mail", "21 November 2026, 22:00 UTC to 22 November 2026, 00:00 UTC", "A new mail server.", "Closed on Sunday.",
		`title="18 November 2026: down for 1 h, up 95.83 %"`, `title="19 November 2026: no downtime"`, `title="1 September 2026: no data"`, "99.93 % up", "100 % up",
		`href="shop/feed.atom"`, "As of 20 November 2026, 12:00 UTC")
	if n := strings.Count(body, "<i class="); n != 3*90 {
		t.Errorf("got %d bars, want 90 for each of 3 checks", n)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'", "Cache-Control": "public, max-age=10", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Content-Type": "text/html",
	} {
		if got := rec.Header().Get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if strings.Contains(body, "<script") || strings.Contains(body, " style=") || strings.Contains(body, "javascript:") {
		t.Error("the page holds a script or a style that its policy forbids")
	}
	// A listener of its own has the page at the top.
	own := get(page(t, shop(), shopConfig()), "/")
	wantIn(t, "own listener", own.Body.String(), `href="feed.atom"`, "Shop checkout is down")
}

// TestStatusPageKeepsSilent greps everything that is served for what the public
// must not learn.
func TestStatusPageKeepsSilent(t *testing.T) {
	w := shop()
	for _, places := range []bool{false, true} {
		cfg := shopConfig()
		cfg.ShowLocations = places
		h := page(t, w, cfg)
		secrets := []string{"secret-id", "secret-name", "secret-db", "db-prod-3", "secret-team", "secret-reason", "secret-text", "10.0.0.7", "secret-window", "secret-note", "secret-old"}
		if !places {
			secrets = append(secrets, "secret-place")
		}
		for _, f := range statusFiles {
			rec := get(h, "/"+f)
			if rec.Code != 200 {
				t.Errorf("%s: got %d", f, rec.Code)
			}
			all := fmt.Sprint(rec.Header(), rec.Body)
			for _, s := range secrets {
				if strings.Contains(all, s) {
					t.Errorf("%s tells %q", f, s)
				}
			}
		}
		if places {
			wantIn(t, "with locations", get(h, "/").Body.String(), "secret-place: works", "secret-place-2: not known")
		}
	}
	// What is not shown and what does not exist answer alike.
	h := under(page(t, w, shopConfig()))
	want := get(h, "/status/shop/badge/nothing.svg")
	if want.Code != 404 {
		t.Fatalf("got %d, want 404", want.Code)
	}
	for _, f := range []string{"/status/shop/badge/secret-id.svg", "/status/shop/badge/secret-name.svg", "/status/shop/badge/db-prod-3.svg", "/status/shop/badge/secret-db-name.svg",
		"/status/shop/badge/", "/status/shop/badge/checkout", "/status/shop/page", "/status/shop/page below", "/status/other", "/status/shop/x/y", "/status/other/feed.atom", "/statusx"} {
		got := get(h, strings.ReplaceAll(f, " ", "%20"))
		if got.Code != 404 || got.Body.String() != want.Body.String() || fmt.Sprint(got.Header()) != fmt.Sprint(want.Header()) {
			t.Errorf("%s: got %d %v %s, want what an unknown name gets", f, got.Code, got.Header(), got.Body)
		}
	}
}

func TestStatusSentence(t *testing.T) {
	since := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	f := func(want, class string, states ...record.State) {
		t.Helper()
		w := &watched{}
		cfg := web.StatusPageConfig{Groups: []web.StatusGroupConfig{{Name: "All"}}}
		for i, s := range states {
			id := string(rune('a' + i))
			w.checks = append(w.checks, check(id, strings.ToUpper(id), s, since.Add(time.Duration(i)*time.Minute)))
			cfg.Groups[0].Checks = append(cfg.Groups[0].Checks, id)
		}
		cfg.Groups[0].Checks = append(cfg.Groups[0].Checks, "gone")
		var got struct{ Text, State string }
		if err := json.Unmarshal(get(page(t, w, cfg), "/status.json").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Text != want || got.State != class {
			t.Errorf("%v: got %q (%s), want %q (%s)", states, got.Text, got.State, want, class)
		}
	}
	const up, down, part, flap, care, unknown, paused, parent = record.StateUp, record.StateDown, record.StateDegraded, record.StateFlapping, record.StateMaintenance, record.StateUnknown, record.StatePaused, record.StateUnreachable
	f("Nothing is shown here yet", "none")
	f("All systems work", "up", up, up)
	f("All systems work", "up", up, paused)
	f("A is down since 09:30 UTC", "down", down)
	f("B is down since 09:31 UTC", "down", up, down, flap)
	f("A is down since 09:30 UTC", "down", parent, up) // what it depends on is not told
	f("A and B are down", "down", down, down, up)
	f("A, B and 2 more are down", "down", down, down, down, down, up)
	f("All systems are down", "down", down, down)
	f("A works on and off since 09:30 UTC", "part", flap, part, up)
	f("B works in part since 09:31 UTC", "part", up, part)
	f("B is in maintenance since 09:31 UTC", "care", up, care)
	f("How B stands is not known at the moment", "none", up, unknown)
	f("The state is not known at the moment", "none", unknown, unknown)
	f("Nothing is watched at the moment", "none", paused)
	f("The state is not known at the moment", "none", "nonsense")

	// A failure from one place is told when it stays.
	since = noon.Add(-time.Minute)
	f("All systems work", "up", part, up)
}

// TestStatusFeeds parses the feeds and looks for what RFC 4287 and RSS 2.0 want.
func TestStatusFeeds(t *testing.T) {
	w := shop()
	h := page(t, w, shopConfig())
	type link struct {
		Rel  string `xml:"rel,attr"`
		Href string `xml:"href,attr"`
	}
	type feed struct {
		XMLName xml.Name
		Title   string `xml:"title"`
		ID      string `xml:"id"`
		Updated string `xml:"updated"`
		Author  string `xml:"author>name"`
		Link    []link `xml:"link"`
		Entry   []struct {
			Title     string `xml:"title"`
			ID        string `xml:"id"`
			Updated   string `xml:"updated"`
			Published string `xml:"published"`
			Content   string `xml:"content"`
		} `xml:"entry"`
	}
	read := func() (f feed) {
		t.Helper()
		rec := get(h, "/feed.atom")
		if got := rec.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/atom+xml") {
			t.Errorf("got type %q", got)
		}
		if err := xml.Unmarshal(rec.Body.Bytes(), &f); err != nil {
			t.Fatalf("%v in %s", err, rec.Body)
		}
		return f
	}
	uuid := regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	f := read()
	if f.XMLName != (xml.Name{Space: "http://www.w3.org/2005/Atom", Local: "feed"}) || f.Title != "Shop & Co" || !uuid.MatchString(f.ID) || f.Author == "" {
		t.Errorf("got %+v", f)
	}
	if len(f.Link) != 2 || f.Link[0].Rel != "self" || f.Link[0].Href != "https://status.example.com/feed.atom" || f.Link[1].Href != "https://status.example.com" {
		t.Errorf("got links %+v", f.Link)
	}
	if len(f.Entry) != 3 {
		t.Fatalf("got %d entries, want two incidents and a window: %+v", len(f.Entry), f.Entry)
	}
	ids := map[string]string{}
	for _, e := range f.Entry {
		if !uuid.MatchString(e.ID) || e.Content == "" || ids[e.ID] != "" {
			t.Errorf("got entry %+v", e)
		}
		ids[e.ID] = e.Title
		for _, at := range []string{e.Updated, e.Published} {
			if when, err := time.Parse(time.RFC3339, at); err != nil || when.After(noon) {
				t.Errorf("%s: got time %q, %v", e.Title, at, err)
			}
		}
	}
	if e := f.Entry[0]; f.Updated != e.Updated || e.Updated != "2026-11-20T11:30:00Z" { // the notes
		t.Errorf("got updated %s, first entry %+v", f.Updated, e)
	}
	if e := f.Entry[2]; e.Title != "Orders was down" || e.Updated != "2026-11-18T11:00:00Z" || !strings.Contains(e.Content, "No connection.") || !strings.Contains(e.Content, "A disk was full.") {
		t.Errorf("got last entry %+v", e)
	}

	// The end of an incident is the same entry, updated.
	w.change("checkout", noon.Add(-10*time.Minute), record.StateDown, record.StateUp, "")
	w.checks[0].State = record.StateUp
	w.set(noon.Add(time.Minute), nil)
	again := read()
	same := 0
	for _, e := range again.Entry {
		if was := ids[e.ID]; was == "Shop checkout is down" && e.Title == "Shop checkout was down" && e.Updated == "2026-11-20T11:50:00Z" {
			same++
		}
	}
	if same != 1 || len(again.Entry) != 3 {
		t.Errorf("got %+v", again.Entry)
	}

	var rss struct {
		XMLName xml.Name `xml:"rss"`
		Version string   `xml:"version,attr"`
		Channel struct {
			Title       string `xml:"title"`
			Description string `xml:"description"`
			Links       []struct {
				XMLName xml.Name
				Href    string `xml:"href,attr"`
				Text    string `xml:",chardata"`
			} `xml:"link"`
			Items []struct {
				Title       string `xml:"title"`
				Description string `xml:"description"`
				Date        string `xml:"pubDate"`
				GUID        struct {
					PermaLink string `xml:"isPermaLink,attr"`
					ID        string `xml:",chardata"`
				} `xml:"guid"`
			} `xml:"item"`
		} `xml:"channel"`
	}
	rec := get(h, "/feed.rss")
	if err := xml.Unmarshal(rec.Body.Bytes(), &rss); err != nil {
		t.Fatalf("%v in %s", err, rec.Body)
	}
	c := rss.Channel
	if rss.Version != "2.0" || c.Title == "" || c.Description == "" || len(c.Items) != 3 || len(c.Links) != 2 || c.Links[0].Text != "https://status.example.com" || c.Links[1].XMLName.Space != "http://www.w3.org/2005/Atom" {
		t.Errorf("got %+v", rss)
	}
	for _, i := range c.Items {
		if _, err := time.Parse(time.RFC1123Z, i.Date); err != nil || i.GUID.PermaLink != "false" || !uuid.MatchString(i.GUID.ID) || i.Title == "" || i.Description == "" {
			t.Errorf("got item %+v, %v", i, err)
		}
	}

	// A page without news is still a whole feed; a name that XML cannot hold
	// does not break it.
	quiet := &watched{checks: []web.StatusCheck{check("a", "A\x00\x08\ufffe", record.StateUp, noon)}}
	quiet.change("a", noon.Add(-time.Hour), record.StateUp, record.StateDown, "body")
	h = page(t, quiet, web.StatusPageConfig{Groups: []web.StatusGroupConfig{{Name: "G", Checks: []string{"a"}}}, Title: "\x01"})
	if f := read(); f.Updated == "" || len(f.Entry) != 1 {
		t.Errorf("got %+v", f)
	}
	for _, f := range []string{"feed.rss", "badge/a.svg", "badge/all.svg"} {
		var v struct{}
		if err := xml.Unmarshal(get(h, "/"+f).Body.Bytes(), &v); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestStatusJSON(t *testing.T) {
	rec := get(page(t, shop(), shopConfig()), "/status.json")
	var got struct {
		State  string
		Groups []struct {
			Name, State string
			Checks      []struct {
				Name, Badge, State string
				Since              *time.Time
				Uptime             *float64
				Days               []struct {
					Day         string
					Uptime      *float64
					DownSeconds float64 `json:"down_seconds"`
				}
			}
		}
		Incidents, Maintenance []struct {
			Title  string
			Checks []string
			End    *time.Time
			Notes  []struct{ Text string }
		}
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.State != "down" || len(got.Groups) != 2 || got.Groups[0].State != "down" || got.Groups[1].State != "up" || len(got.Groups[0].Checks) != 2 {
		t.Fatalf("got %+v", got)
	}
	c, db := got.Groups[0].Checks[0], got.Groups[0].Checks[1]
	if c.Badge != "shop-checkout" || c.Since == nil || !c.Since.Equal(noon.Add(-58*time.Minute)) || len(c.Days) != 90 || c.Days[89].Day != "2026-11-20" || c.Days[89].DownSeconds != 58*60 || c.Days[0].Uptime != nil {
		t.Errorf("checkout: %+v", c)
	}
	// 60 days less an hour of 60 days.
	if want := 1 - 1.0/(60*24); db.Name != "Orders" || db.Since != nil || db.Uptime == nil || *db.Uptime < want-1e-9 || *db.Uptime > want+1e-9 {
		t.Errorf("orders: %+v", db)
	}
	if len(got.Incidents) != 2 || got.Incidents[0].End != nil || len(got.Incidents[0].Notes) != 1 || len(got.Maintenance) != 1 || got.Maintenance[0].Checks[0] != "Mail" {
		t.Errorf("got %+v", got)
	}
	if rec.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Error("pages of other sites may not read it")
	}
}

func TestStatusBadges(t *testing.T) {
	h := under(page(t, shop(), shopConfig()))
	f := func(path, want string) {
		t.Helper()
		rec := get(h, "/status/shop/badge/"+path)
		var svg struct {
			XMLName xml.Name
			Label   string   `xml:"aria-label,attr"`
			Texts   []string `xml:"g>text"`
		}
		if err := xml.Unmarshal(rec.Body.Bytes(), &svg); err != nil || svg.XMLName != (xml.Name{Space: "http://www.w3.org/2000/svg", Local: "svg"}) || rec.Header().Get("Content-Type") != "image/svg+xml" {
			t.Fatalf("%s: got %d %s, %v", path, rec.Code, rec.Body, err)
		}
		if svg.Label != want || strings.Join(svg.Texts, ": ") != want {
			t.Errorf("%s: got %q, want %q", path, svg.Label, want)
		}
	}
	f("all.svg", "Shop & Co: down")
	f("shop.svg", "Shop: down")
	f("checkout.svg", "Shop checkout: down") // by id
	f("shop-checkout.svg", "Shop checkout: down")
	f("orders.svg", "Orders: works")
	f("orders.svg?show=uptime", "Orders, 90 days: 99.93 %")
	f("mail.svg?show=uptime", "Mail, 90 days: 100 %")
}

// TestStatusPageIsRenderedOnce has many readers at once, and a store that breaks.
func TestStatusPageIsRenderedOnce(t *testing.T) {
	w := shop()
	p := page(t, w, shopConfig())
	crowd := func() {
		t.Helper()
		var wg sync.WaitGroup
		var bad atomic.Int64
		for range 32 {
			wg.Go(func() {
				for range 50 {
					if get(p, "/").Code != 200 {
						bad.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := bad.Load(); n > 0 {
			t.Errorf("%d readers got no page", n)
		}
	}
	asked := func(want int) {
		t.Helper()
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.asked != want {
			t.Errorf("the store was asked %d times, want %d", w.asked, want)
		}
	}
	crowd()
	asked(1)
	first := get(p, "/")
	w.set(noon.Add(9*time.Second), nil)
	if rec := get(p, "/", "If-None-Match", first.Header().Get("ETag")); rec.Code != 304 || rec.Body.Len() != 0 || rec.Header().Get("ETag") == "" {
		t.Errorf("got %d with %d bytes, want 304", rec.Code, rec.Body.Len())
	}
	crowd()
	asked(1)
	w.set(noon.Add(11*time.Second), nil)
	crowd()
	asked(2)
	first = get(p, "/")

	// The store breaks: the last copy is served, and the store is left in peace.
	w.set(noon.Add(25*time.Second), errors.New("the disk is gone"))
	crowd()
	asked(3)
	if got := get(p, "/").Body.String(); got != first.Body.String() {
		t.Error("not the last copy")
	}
	w.set(noon.Add(26*time.Second), errors.New("the disk is gone"))
	crowd()
	asked(3)
	// After a while the page says how old it is.
	w.set(noon.Add(10*time.Minute), errors.New("the disk is gone"))
	wantIn(t, "old copy", get(p, "/").Body.String(), "could not be brought up to date since 20 November 2026, 12:00 UTC", "Shop checkout is down")
	wantIn(t, "old copy", get(p, "/status.json").Body.String(), `"stale":true`)
	w.set(noon.Add(20*time.Minute), nil)
	if got := get(p, "/").Body.String(); strings.Contains(got, "could not be") {
		t.Error("still says that it is old")
	}
}

func TestStatusPageWithoutAnyCopy(t *testing.T) {
	w := shop()
	p := page(t, w, shopConfig())
	w.set(noon, errors.New("secret-error"))
	for range 3 {
		rec := get(p, "/")
		if rec.Code != 503 || rec.Header().Get("Retry-After") == "" || strings.Contains(rec.Body.String(), "secret") || rec.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("got %d %v %s", rec.Code, rec.Header(), rec.Body)
		}
	}
	if w.asked != 1 {
		t.Errorf("the store was asked %d times, want once", w.asked)
	}
	w.set(noon.Add(time.Minute), nil)
	if rec := get(p, "/"); rec.Code != 200 {
		t.Errorf("got %d, want 200", rec.Code)
	}
	// A reader who leaves takes nobody's page away.
	q := page(t, w, shopConfig())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	rec := httptest.NewRecorder()
	q.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, "GET", "/", nil))
	if rec.Code != 200 {
		t.Errorf("got %d, want 200", rec.Code)
	}
}

func TestStatusPageHTTP(t *testing.T) {
	p := page(t, shop(), shopConfig())
	h := under(p)
	f := func(path string, code int, location string) {
		t.Helper()
		if rec := get(h, path); rec.Code != code || rec.Header().Get("Location") != location {
			t.Errorf("%s: got %d to %q, want %d to %q", path, rec.Code, rec.Header().Get("Location"), code, location)
		}
	}
	f("/status", 302, "status/shop")
	f("/status/", 302, "shop")
	f("/status/shop", 200, "")
	f("/status/shop/", 301, "../shop")
	for _, path := range []string{"/status", "/status/", "/status/shop"} {
		if rec := get(under(), path); rec.Code != 404 {
			t.Errorf("%s without pages: got %d, want 404", path, rec.Code)
		}
	}
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, httptest.NewRequest("POST", "/", nil))
	if rec.Code != 405 || rec.Header().Get("Allow") == "" {
		t.Errorf("POST: got %d", rec.Code)
	}
	rec = httptest.NewRecorder()
	p.ServeHTTP(rec, httptest.NewRequest("HEAD", "/", nil))
	if rec.Code != 200 || rec.Body.Len() != 0 || rec.Header().Get("Content-Length") == "0" {
		t.Errorf("HEAD: got %d, %d bytes", rec.Code, rec.Body.Len())
	}
	z, err := gzip.NewReader(get(p, "/", "Accept-Encoding", "gzip").Body)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil || !bytes.Equal(plain, get(p, "/").Body.Bytes()) {
		t.Errorf("compressed: %v, %d bytes", err, len(plain))
	}
}

// TestStatusIncidentsTogether has forty checks fail at one fault.
func TestStatusIncidentsTogether(t *testing.T) {
	w := &watched{}
	cfg := web.StatusPageConfig{Groups: []web.StatusGroupConfig{{Name: "All", Labels: map[string]string{"team": "secret-team"}}}}
	for i := range 40 {
		id := fmt.Sprintf("c%02d", i)
		w.checks = append(w.checks, check(id, "Check "+id, record.StateUp, noon.Add(-time.Hour)))
		w.change(id, noon.Add(-48*time.Hour), record.StateUnknown, record.StateUp, "")
		w.change(id, noon.Add(-3*time.Hour+time.Duration(i)*time.Second), record.StateUp, record.StateDown, "connect")
		w.change(id, noon.Add(-2*time.Hour-time.Duration(i)*time.Second), record.StateDown, record.StateUp, "")
	}
	w.change("c07", noon.Add(-time.Hour), record.StateUp, record.StateFlapping, "status")
	w.change("c07", noon.Add(-30*time.Minute), record.StateFlapping, record.StateUp, "")
	body := get(page(t, w, cfg), "/").Body.String()
	wantIn(t, "page", body, "and 38 more were down", "Check c07 worked on and off", "40 systems", "<details>")
	if n := strings.Count(body, `<div class="entry`); n != 2 {
		t.Errorf("got %d incidents, want 2", n)
	}
	if n := strings.Count(body, "<i class="); n != 90 {
		t.Errorf("got %d bars, want those of the group", n)
	}
}

func TestStatusPageZone(t *testing.T) {
	w := shop()
	cfg := shopConfig()
	cfg.Zone, cfg.HistoryDays = "Asia/Kolkata", 5
	body := get(page(t, w, cfg), "/").Body.String()
	wantIn(t, "page", body, "Shop checkout is down since 16:32 IST", "16 November 2026: no downtime", "5 days ago")
	if strings.Contains(body, "15 November 2026:") {
		t.Error("more than five days")
	}
}

func TestStatusPageConfig(t *testing.T) {
	ok := shopConfig()
	if err := ok.Validate(); err != nil || ok.HistoryDays != 90 {
		t.Errorf("got %v, %+v", err, ok)
	}
	var least = web.StatusPageConfig{Groups: []web.StatusGroupConfig{{Name: "G", Checks: []string{"a"}}}}
	if err := least.Validate(); err != nil || least.Path != "status" || least.Title != "Status" {
		t.Errorf("got %v, %+v", err, least)
	}
	f := func(want string, change func(*web.StatusPageConfig)) {
		t.Helper()
		c := shopConfig()
		c.Groups = slices.Clone(c.Groups)
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want an error that begins with %s", err, want)
		}
	}
	f("path: ", func(c *web.StatusPageConfig) { c.Path = "a/b" })
	f("path: ", func(c *web.StatusPageConfig) { c.Path = "Shop" })
	f("history_days: ", func(c *web.StatusPageConfig) { c.HistoryDays = 1000 })
	f("history_days: ", func(c *web.StatusPageConfig) { c.HistoryDays = -1 })
	f("zone: ", func(c *web.StatusPageConfig) { c.Zone = "Mars/Base" })
	f("zone: ", func(c *web.StatusPageConfig) { c.Zone = "Local" })
	f("logo_url: ", func(c *web.StatusPageConfig) { c.LogoURL = "javascript:alert(1)" })
	f("logo_url: ", func(c *web.StatusPageConfig) { c.LogoURL = "https://a.example; script-src *" })
	f("url: ", func(c *web.StatusPageConfig) { c.URL = "/status" })
	f("url: ", func(c *web.StatusPageConfig) { c.Listen, c.URL = ":8080", "" })
	f("listen: ", func(c *web.StatusPageConfig) { c.Listen = "8080" })
	f("groups: ", func(c *web.StatusPageConfig) { c.Groups = nil })
	f("groups[1].name: ", func(c *web.StatusPageConfig) { c.Groups[1].Name = "Shop" })
	f("groups[0].name: ", func(c *web.StatusPageConfig) { c.Groups[0].Name = " " })
	f("groups[1].checks: ", func(c *web.StatusPageConfig) { c.Groups[1].Labels = nil })
	f("names.a: ", func(c *web.StatusPageConfig) { c.Names = map[string]string{"a": ""} })
	err := web.ValidateStatusPages([]web.StatusPageConfig{ok, least, ok})
	if err == nil || !strings.HasPrefix(err.Error(), "[2].path: ") {
		t.Errorf("got %v", err)
	}
	if err := web.ValidateStatusPages([]web.StatusPageConfig{ok, {}}); err == nil || !strings.HasPrefix(err.Error(), "[1].groups: ") {
		t.Errorf("got %v", err)
	}
}

func TestParseStatusNote(t *testing.T) {
	n, err := web.ParseStatusNote("7", []byte(`{"check":"shop","at":"2026-11-01T12:00:00Z","text":" We know. "}`))
	if err != nil || n.ID != "7" || n.Text != "We know." || n.Check != "shop" {
		t.Errorf("got %+v, %v", n, err)
	}
	for _, bad := range []string{``, `[]`, `{}`, `{"check":"a","page":"b","at":"2026-11-01T12:00:00Z","text":"x"}`, `{"check":"a","text":"x"}`,
		`{"check":"a","at":"2026-11-01T12:00:00Z","text":" "}`, `{"check":"a","at":"2026-11-01T12:00:00Z","text":"x","more":1}`,
		`{"check":"a","at":"2026-11-01T12:00:00Z","text":"` + strings.Repeat("x", 4001) + `"}`} {
		if _, err := web.ParseStatusNote("7", []byte(bad)); record.KindOf(err) != record.Invalid || err == nil {
			t.Errorf("%.60s: got %v, want invalid", bad, err)
		}
	}
}
