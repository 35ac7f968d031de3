package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// StatusSource is what the status pages of a tenant show. It is good as long as
// the tenant is open.
func (t *Tenant) StatusSource() StatusSource {
	return StatusSource{Checks: t.statusChecks, Spans: t.History.Spans, Days: t.Days.List, Windows: t.maintenanceTimes, Notes: t.statusNotes}
}

// ReportSource is what the uptime report of a tenant is made from.
func (t *Tenant) ReportSource() ReportSource {
	return ReportSource{
		Checks: func(context.Context) ([]UptimeCheck, error) {
			out := []UptimeCheck{}
			for _, c := range t.Book.Checks() {
				out = append(out, UptimeCheck{ID: c.ID, Name: c.Name, Labels: c.Labels, Interval: c.Interval})
			}
			return out, nil
		},
		Spans: t.History.Spans, Days: t.Days.List, Windows: t.maintenanceTimes,
	}
}

func (s *Server) uptimeReport(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	return t.ReportSource().ServeUptime(w, r)
}

func (t *Tenant) statusChecks(ctx context.Context) ([]StatusCheck, error) {
	silent, now := silentPlaces(allLocations(t)), time.Now()
	out := []StatusCheck{}
	for _, c := range t.Book.Checks() {
		v, _ := t.Verdicts.Verdict(c.ID)
		x := StatusCheck{ID: c.ID, Name: c.Name, Labels: c.Labels, Interval: c.Interval, State: v.State, Since: v.Since}
		if c.Paused {
			x.State = record.StatePaused
		}
		for _, l := range t.Book.Places(c.ID) {
			p := StatusPlace{Name: l, State: "unknown"}
			if !silent[l] {
				p.State = t.Board.Get(ctx, state.Place{Check: c.ID, Location: l}, now).State
			}
			x.Places = append(x.Places, p)
		}
		out = append(out, x)
	}
	return out, nil
}

// maintenanceTimes are the occurrences of the tenant's windows, with the checks
// that they cover.
func (t *Tenant) maintenanceTimes(ctx context.Context, from, to time.Time) ([]MaintenanceTime, error) {
	made, err := t.Objects.List(ctx, state.KindMaintenance)
	if err != nil {
		return nil, err
	}
	announced := map[string]time.Time{}
	for _, o := range made {
		announced[o.ID] = o.Updated
	}
	checks := t.Book.Checks()
	var out []MaintenanceTime
	for _, w := range t.Book.Windows() {
		var ids []string
		for _, c := range checks {
			if w.Covers(c.ID, c.Labels) {
				ids = append(ids, c.ID)
			}
		}
		for _, o := range Occurrences(w, from, to) {
			o.Checks, o.Announced = ids, announced[w.ID]
			out = append(out, o)
		}
	}
	return out, nil
}

// maxOccurrences bounds what is counted of one window: every hour for a year.
const maxOccurrences = 10_000

// Occurrences are the times of a window that touch the time from from to just
// before to. Those that overlap or follow at once are one.
func Occurrences(w Window, from, to time.Time) []MaintenanceTime {
	var out []MaintenanceTime
	at := from
	for range maxOccurrences {
		start, end, _, ok := w.At(at)
		if !ok || !start.Before(to) {
			break
		}
		if n := len(out); n > 0 && !start.After(out[n-1].End) {
			out[n-1].End = end
		} else if end.After(from) {
			out = append(out, MaintenanceTime{ID: w.ID, Start: start.UTC(), End: end.UTC(), Excluded: w.Excluded()})
		}
		at = end
	}
	return out
}

// statusNotes reads the notes. One that cannot be read is left out: the page
// must not go dark for it.
func (t *Tenant) statusNotes(ctx context.Context) ([]StatusNote, error) {
	all, err := t.Objects.List(ctx, state.KindNote)
	if err != nil {
		return nil, err
	}
	var out []StatusNote
	for _, o := range all {
		if n, err := ParseStatusNote(o.ID, []byte(o.Body)); err == nil {
			out = append(out, n)
		}
	}
	return out, nil
}

type noteView struct {
	ID string `json:"id"`
	StatusNote
	Who string `json:"who"`
}

// notes answers GET /api/v1/notes: what people wrote for the readers of status
// pages, newest first.
func (s *Server) notes(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	all, err := t.Objects.List(r.Context(), state.KindNote)
	if err != nil {
		return err
	}
	out := []noteView{}
	for _, o := range all {
		n, err := ParseStatusNote(o.ID, []byte(o.Body))
		if err != nil {
			return fmt.Errorf("read note %s: %w", o.ID, err)
		}
		out = append(out, noteView{o.ID, n, o.Who})
	}
	slices.SortStableFunc(out, func(a, b noteView) int { return b.At.Compare(a.At) })
	writeJSON(w, map[string]any{"notes": out})
	return nil
}

// createNote answers POST /api/v1/notes; without a time the note is of now.
func (s *Server) createNote(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	b, err := bodyOf(r)
	if err != nil {
		return err
	}
	b, err = noteOfNow(b, time.Now())
	if err != nil {
		return err
	}
	raw := make([]byte, 6)
	_, _ = rand.Read(raw) // never fails, says its documentation
	n, err := ParseStatusNote("n"+hex.EncodeToString(raw), b)
	if err != nil {
		return err
	}
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if _, err := t.Objects.Create(r.Context(), state.Object{Kind: state.KindNote, ID: n.ID, Body: string(body), Updated: time.Now(), Who: who(r)}); err != nil {
		return err
	}
	s.live.Changed(t.Name, "checks")
	writeCreated(w, map[string]any{"id": n.ID})
	return nil
}

// noteOfNow adds the time to a note that has none.
func noteOfNow(b []byte, now time.Time) ([]byte, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(b, &keys); err != nil {
		return nil, record.Errorf(record.Invalid, "the note cannot be read: %v; want such as {\"check\": \"shop\", \"text\": \"We are on it.\"}", err)
	}
	if _, ok := keys["at"]; ok || keys == nil {
		return b, nil
	}
	at, err := json.Marshal(now.UTC())
	if err != nil {
		return nil, err
	}
	keys["at"] = at
	return json.Marshal(keys)
}

func (s *Server) deleteNote(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	if err := t.Objects.Delete(r.Context(), state.KindNote, r.PathValue("id")); err != nil {
		return err
	}
	s.live.Changed(t.Name, "checks")
	w.WriteHeader(http.StatusNoContent)
	return nil
}
