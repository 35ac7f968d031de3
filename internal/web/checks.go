package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

type checkView struct {
	ID          string              `json:"id"`
	Name        string              `json:"name"`
	Kind        string              `json:"kind"`
	Target      string              `json:"target"`
	Location    string              `json:"location"`
	Interval    float64             `json:"interval_seconds"`
	Labels      map[string]string   `json:"labels"`
	Source      string              `json:"source"`
	State       string              `json:"state"`
	Since       *time.Time          `json:"since"`
	Consecutive int                 `json:"consecutive"`
	Uptime24h   *float64            `json:"uptime_24h"`
	Runs24h     int                 `json:"runs_24h"`
	Last        *record.CheckResult `json:"last"`
	Recent      []state.Brief       `json:"recent"`
}

func (s *Server) checks(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	out := []checkView{}
	now := time.Now()
	for _, c := range t.Prober.Checks() {
		st := t.Board.Get(r.Context(), c.ID, now)
		v := checkView{
			ID: c.ID, Name: c.Name, Kind: "http", Target: c.Target(), Location: "hub", Interval: c.Interval.Seconds(),
			Labels: c.Labels, Source: "config", State: st.State, Consecutive: st.Consecutive, Last: st.Last, Recent: st.Recent, Runs24h: st.Runs24h,
		}
		if v.Labels == nil {
			v.Labels = map[string]string{}
		}
		if t.BuiltIn[c.ID] {
			v.Source = "builtin"
		}
		if !st.Since.IsZero() {
			v.Since = &st.Since
		}
		if st.Runs24h > 0 {
			v.Uptime24h = &st.Uptime24h
		}
		out = append(out, v)
	}
	writeJSON(w, map[string]any{"checks": out})
	return nil
}

func (s *Server) checkRuns(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	f := state.RunsFilter{Check: r.PathValue("id"), Failed: r.FormValue("failed") == "1" || r.FormValue("failed") == "true"}
	known := false
	for _, c := range t.Prober.Checks() {
		known = known || c.ID == f.Check
	}
	if !known {
		return record.Errorf(record.NotFound, "there is no check %q; GET /api/v1/checks lists them", f.Check)
	}
	if v := r.FormValue("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1000 {
			return record.Errorf(record.Invalid, "limit %q: want a number from 1 to 1000", v)
		}
		f.Limit = n
	}
	if v := r.FormValue("before"); v != "" {
		at, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return record.Errorf(record.Invalid, "before %q: want a time such as 2026-11-01T18:04:00Z", v)
		}
		f.Before = at
	}
	runs, err := t.Runs.List(r.Context(), f)
	if err != nil {
		return err
	}
	writeJSON(w, map[string]any{"runs": runs})
	return nil
}

func (s *Server) runCheck(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	res, err := t.Prober.RunNow(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, res)
	return nil
}
