package web

import (
	"net/http"
	"net/url"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

type windowView struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Source    string            `json:"source"`
	Checks    []string          `json:"checks"`
	Labels    map[string]string `json:"labels"`
	Start     *time.Time        `json:"start"`
	End       *time.Time        `json:"end"`
	Cron      string            `json:"cron"`
	Duration  float64           `json:"duration_seconds"`
	Zone      string            `json:"zone"`
	Exclude   bool              `json:"exclude_from_slo"`
	Active    bool              `json:"active"`
	NextStart *time.Time        `json:"next_start"`
	NextEnd   *time.Time        `json:"next_end"`
}

func viewWindow(w Window, now time.Time) windowView {
	v := windowView{ID: w.ID, Name: w.Name, Source: w.Source, Checks: orEmpty(w.Checks), Labels: w.Labels, Cron: w.Cron,
		Duration: w.Duration.Seconds(), Zone: w.Zone, Exclude: w.Excluded()}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	if w.Cron == "" {
		v.Start, v.End = &w.Start, &w.End
	}
	start, end, active, ok := w.At(now)
	if v.Active = active; ok {
		start, end = start.UTC(), end.UTC()
		v.NextStart, v.NextEnd = &start, &end
	}
	return v
}

func (s *Server) windows(w http.ResponseWriter, _ *http.Request, t *Tenant) error {
	out := []windowView{}
	now := time.Now()
	for _, x := range t.Book.Windows() {
		out = append(out, viewWindow(x, now))
	}
	writeJSON(w, map[string]any{"windows": out})
	return nil
}

func (s *Server) putWindow(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	b, err := bodyOf(r)
	if err != nil {
		return err
	}
	old := r.PathValue("id")
	id, err := t.Book.PutWindow(r.Context(), old, b, who(r))
	if err != nil {
		return err
	}
	s.live.Changed(t.Name, "checks")
	if old == "" {
		w.Header().Set("Location", "/api/v1/maintenance/"+url.PathEscape(id))
		writeCreated(w, map[string]any{"id": id})
		return nil
	}
	writeJSON(w, map[string]any{"id": id})
	return nil
}

func (s *Server) deleteWindow(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	if err := t.Book.DeleteWindow(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	s.live.Changed(t.Name, "checks")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// defaultAck is how long an acknowledged check stays quiet.
const defaultAck = 4 * time.Hour

// acknowledge notes that somebody takes care of a failing check, and silences
// its alerts meanwhile.
func (s *Server) acknowledge(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	c, err := known(r, t)
	if err != nil {
		return err
	}
	quiet := defaultAck
	if v := r.FormValue("for"); v != "" {
		if quiet, err = time.ParseDuration(v); err != nil || quiet < 0 || quiet > 7*24*time.Hour {
			return record.Errorf(record.Invalid, "for %q: want how long to be quiet, such as 4h, at most 168h; 0s does not silence", v)
		}
	}
	by := who(r)
	if by == "" {
		by = "somebody"
	}
	now := time.Now()
	if err := t.History.Acknowledge(r.Context(), c.ID, now, by); err != nil {
		return err
	}
	id := ""
	if quiet > 0 {
		if id, err = silence(t, map[string]string{"check": c.Name}, now, now.Add(quiet), by, "acknowledged on the page of the check"); err != nil {
			return err
		}
	}
	s.live.Changed(t.Name, "alerts")
	writeJSON(w, map[string]any{"silence": id, "by": by, "at": now.UTC()})
	return nil
}
