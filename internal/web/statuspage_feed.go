package web

import (
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What machines read of a status page: Atom (RFC 4287), RSS 2.0 and JSON.

type atomFeed struct {
	XMLName  xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	Title    string      `xml:"title"`
	Subtitle string      `xml:"subtitle,omitempty"`
	ID       string      `xml:"id"`
	Updated  string      `xml:"updated"`
	Author   string      `xml:"author>name"`
	Links    []atomLink  `xml:"link"`
	Entries  []atomEntry `xml:"entry"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	Title     string     `xml:"title"`
	ID        string     `xml:"id"`
	Published string     `xml:"published"`
	Updated   string     `xml:"updated"`
	Links     []atomLink `xml:"link"`
	Content   atomText   `xml:"content"`
}

type atomText struct {
	Type string `xml:"type,attr"`
	Text string `xml:",chardata"`
}

type rssFeed struct {
	XMLName xml.Name  `xml:"rss"`
	Version string    `xml:"version,attr"`
	Atom    string    `xml:"xmlns:atom,attr"`
	Title   string    `xml:"channel>title"`
	Link    string    `xml:"channel>link"`
	About   string    `xml:"channel>description"`
	Self    rssSelf   `xml:"channel>atom:link"`
	Built   string    `xml:"channel>lastBuildDate"`
	TTL     int       `xml:"channel>ttl"` // minutes
	Items   []rssItem `xml:"channel>item"`
}

type rssSelf struct {
	Href string `xml:"href,attr"`
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
}

type rssItem struct {
	Title string  `xml:"title"`
	Link  string  `xml:"link"`
	Text  string  `xml:"description"`
	GUID  rssGUID `xml:"guid"`
	Date  string  `xml:"pubDate"`
}

type rssGUID struct {
	PermaLink bool   `xml:"isPermaLink,attr"`
	ID        string `xml:",chardata"`
}

// id is the entry's name for all time. It tells nothing of what it is made of.
func (e statusEntry) id(page string) string { return nameFor(page + " " + e.key) }

func nameFor(s string) string {
	h := sha256.Sum256([]byte("vedette status " + s))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // a version 8 UUID (RFC 9562)
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// body is what a feed says of an entry.
func (e statusEntry) body() string {
	lines := []string{e.When + "."}
	if e.Text != "" {
		lines = append(lines, e.Text+".")
	}
	for _, n := range e.Notes {
		lines = append(lines, n.When+": "+n.Text)
	}
	return strings.Join(lines, "\n")
}

// news are the entries of a feed, newest first.
func (v statusView) news() []statusEntry {
	out := slices.Clone(v.entries)
	for _, w := range v.Windows {
		if w.start.Sub(v.at) <= noteStays || !w.updated.Equal(v.at) {
			out = append(out, w)
		}
	}
	slices.SortStableFunc(out, func(a, b statusEntry) int { return b.updated.Compare(a.updated) })
	return out
}

// changed is when the newest entry changed; without entries, the beginning of
// the day.
func (v statusView) changed() time.Time {
	if l := v.news(); len(l) > 0 {
		return l[0].updated
	}
	return v.at.UTC().Truncate(24 * time.Hour)
}

func (v statusView) atom(url string) ([]byte, error) {
	f := atomFeed{
		Title: v.Title, Subtitle: v.Description, ID: nameFor(v.Path), Updated: v.changed().UTC().Format(time.RFC3339), Author: v.Title,
		Links: []atomLink{{"self", "application/atom+xml", url + "/feed.atom"}, {"alternate", "text/html", url}},
	}
	for _, e := range v.news() {
		f.Entries = append(f.Entries, atomEntry{
			Title: e.Title, ID: e.id(v.Path), Published: earlier(e.start, e.updated).UTC().Format(time.RFC3339), Updated: e.updated.UTC().Format(time.RFC3339),
			Links: []atomLink{{"alternate", "text/html", url}}, Content: atomText{"text", e.body()},
		})
	}
	return marshalXML(f)
}

func (v statusView) rss(url string) ([]byte, error) {
	about := v.Description
	if about == "" {
		about = v.Title
	}
	f := rssFeed{
		Version: "2.0", Atom: "http://www.w3.org/2005/Atom", Title: v.Title, Link: url, About: about,
		Self: rssSelf{url + "/feed.rss", "self", "application/rss+xml"}, Built: v.changed().UTC().Format(time.RFC1123Z), TTL: 1,
	}
	for _, e := range v.news() {
		// A reader shows what changed as new only under a name of its own; the
		// end of an incident is worth it, each note is not.
		f.Items = append(f.Items, rssItem{Title: e.Title, Link: url, Text: e.body(), GUID: rssGUID{ID: e.id(v.Path)}, Date: e.updated.UTC().Format(time.RFC1123Z)})
	}
	return marshalXML(f)
}

func marshalXML(v any) ([]byte, error) {
	b, err := xml.MarshalIndent(v, "", " ")
	return append([]byte(xml.Header), append(b, '\n')...), err
}

type statusJSON struct {
	Title       string            `json:"title"`
	URL         string            `json:"url"`
	Updated     time.Time         `json:"updated"`
	Stale       bool              `json:"stale"` // the page could not be brought up to date for some time
	State       string            `json:"state"` // up, part, down, care (maintenance) or none (not known)
	Text        string            `json:"text"`
	HistoryDays int               `json:"history_days"`
	Groups      []statusGroupJSON `json:"groups"`
	Incidents   []statusEntryJSON `json:"incidents"`
	Maintenance []statusEntryJSON `json:"maintenance"`
	Notes       []statusNoteJSON  `json:"announcements"`
}

type statusGroupJSON struct {
	Name   string            `json:"name"`
	Badge  string            `json:"badge"`
	State  string            `json:"state"`
	Checks []statusCheckJSON `json:"checks"`
}

type statusCheckJSON struct {
	Name   string            `json:"name"`
	Badge  string            `json:"badge"`
	State  string            `json:"state"`
	Text   string            `json:"text"`
	Since  *time.Time        `json:"since"`
	Uptime *float64          `json:"uptime"`
	Days   []statusDayJSON   `json:"days"`
	Places map[string]string `json:"places,omitempty"`
}

type statusDayJSON struct {
	Day         string   `json:"day"`
	Uptime      *float64 `json:"uptime"`
	DownSeconds float64  `json:"down_seconds"`
}

type statusEntryJSON struct {
	ID     string           `json:"id"`
	Title  string           `json:"title"`
	Checks []string         `json:"checks"` // names
	Start  time.Time        `json:"start"`
	End    *time.Time       `json:"end"`
	Text   string           `json:"text"`
	Notes  []statusNoteJSON `json:"notes"`
}

type statusNoteJSON struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// some is nil for the zero time.
func some(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (v statusView) json(url string) statusJSON {
	notes := func(ws []statusWord) []statusNoteJSON {
		out := []statusNoteJSON{}
		for _, w := range ws {
			out = append(out, statusNoteJSON{w.at.UTC(), w.Text})
		}
		return out
	}
	entries := func(es []statusEntry) []statusEntryJSON {
		out := []statusEntryJSON{}
		for _, e := range es {
			out = append(out, statusEntryJSON{ID: e.id(v.Path), Title: e.Title, Checks: e.names, Start: e.start.UTC(), End: some(e.end), Text: e.Text, Notes: notes(e.Notes)})
		}
		return out
	}
	out := statusJSON{
		Title: v.Title, URL: url, Updated: v.at.UTC().Truncate(time.Second), Stale: v.Stale, State: v.Class, Text: v.Sentence, HistoryDays: v.Days,
		Groups: []statusGroupJSON{}, Incidents: entries(v.entries), Maintenance: entries(v.Windows), Notes: notes(v.Announcements),
	}
	for _, g := range v.Groups {
		gj := statusGroupJSON{Name: g.Name, Badge: g.Badge, State: g.Class, Checks: []statusCheckJSON{}}
		for _, r := range g.Checks {
			c := statusCheckJSON{Name: r.Name, Badge: r.Badge, State: r.Class, Text: r.Word, Uptime: r.share, Days: []statusDayJSON{}}
			if r.Since != "" {
				c.Since = some(r.since)
			}
			for _, d := range r.perDay {
				c.Days = append(c.Days, statusDayJSON{d.Day, d.Uptime, d.DownSeconds})
			}
			for _, p := range r.Places {
				if c.Places == nil {
					c.Places = map[string]string{}
				}
				c.Places[p.Name] = p.Class
			}
			gj.Checks = append(gj.Checks, c)
		}
		out.Groups = append(out.Groups, gj)
	}
	return out
}
