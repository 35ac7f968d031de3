package web

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/fleet"
	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// CheckBook is the checks and maintenance windows of a tenant, wherever they
// were written.
type CheckBook interface {
	Checks() []probe.Check
	Check(id string) (probe.Check, bool)
	// Source is "config", "api" or "builtin", Places are the locations that run
	// a check.
	Source(id string) string
	Places(id string) []string
	// Object is a check as it was written, without its secrets.
	Object(id string) (js json.RawMessage, yaml string, err error)
	// Create, Update and Try take an object in JSON or YAML. id is that of a
	// check whose secrets the object leaves as they are, "" for none.
	Create(ctx context.Context, body []byte, who string) (id string, err error)
	Update(ctx context.Context, id string, body []byte, who string) error
	Delete(ctx context.Context, id string) error
	Try(ctx context.Context, body []byte, id string) ([]record.CheckResult, error)
	Run(ctx context.Context, id, location string) (record.CheckResult, error)

	Windows() []Window
	PutWindow(ctx context.Context, id string, body []byte, who string) (string, error)
	DeleteWindow(ctx context.Context, id string) error
}

// Window is a maintenance window and where it was written.
type Window struct {
	judge.Window
	Source string
}

type placeView struct {
	Location    string              `json:"location"`
	State       string              `json:"state"`
	Since       *time.Time          `json:"since"`
	Consecutive int                 `json:"consecutive"`
	Uptime24h   *float64            `json:"uptime_24h"`
	Runs24h     int                 `json:"runs_24h"`
	Last        *record.CheckResult `json:"last"`
	Recent      []state.Brief       `json:"recent"`
}

type checkView struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`
	Target      string            `json:"target"`
	Interval    float64           `json:"interval_seconds"`
	Labels      map[string]string `json:"labels"`
	Source      string            `json:"source"`
	Paused      bool              `json:"paused"`
	State       record.State      `json:"state"`
	Since       *time.Time        `json:"since"`
	Text        string            `json:"text"`
	Stage       string            `json:"stage"`
	Reason      string            `json:"reason"`
	Uptime24h   *float64          `json:"uptime_24h"`
	Runs24h     int               `json:"runs_24h"`
	Failing     []string          `json:"failing"`
	Silent      []string          `json:"silent"`
	Need        int               `json:"need"`
	FlapShare   float64           `json:"flap_share"`
	Slow        []record.Slow     `json:"slow"`
	DependsOn   []string          `json:"depends_on"`
	Parents     []string          `json:"parents"`
	Children    []string          `json:"children"`
	Window      string            `json:"window"`
	Severity    string            `json:"severity"`
	Runbook     string            `json:"runbook"`
	Certificate *time.Time        `json:"certificate_not_after"`
	Places      []placeView       `json:"places"`

	// Of the first place, for those who read the form of one place.
	Location    string              `json:"location"`
	Consecutive int                 `json:"consecutive"`
	Last        *record.CheckResult `json:"last"`
	Recent      []state.Brief       `json:"recent"`
}

func (s *Server) viewCheck(ctx context.Context, t *Tenant, c probe.Check, silent map[string]bool, now time.Time) checkView {
	v := checkView{
		ID: c.ID, Name: c.Name, Kind: c.Kind, Target: c.Target(), Interval: c.Interval.Seconds(), Labels: c.Labels,
		Source: t.Book.Source(c.ID), Paused: c.Paused, Severity: c.Alert.Severity, Runbook: c.Alert.Runbook,
		DependsOn: orEmpty(c.DependsOn), Places: []placeView{}, Recent: []state.Brief{},
	}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	verdict, _ := t.Verdicts.Verdict(c.ID)
	v.State, v.Text, v.Stage, v.Reason, v.Need, v.FlapShare, v.Window = verdict.State, verdict.Text, verdict.Stage, verdict.Reason, verdict.Need, verdict.FlapShare, verdict.Window
	v.Failing, v.Silent, v.Parents, v.Children = orEmpty(verdict.Failing), orEmpty(verdict.Silent), orEmpty(verdict.Parents), orEmpty(verdict.Children)
	if v.Slow = verdict.Slow; v.Slow == nil {
		v.Slow = []record.Slow{}
	}
	if !verdict.Since.IsZero() {
		since := verdict.Since.UTC()
		v.Since = &since
	}
	good := 0.0
	for i, l := range t.Book.Places(c.ID) {
		st := t.Board.Get(ctx, state.Place{Check: c.ID, Location: l}, now)
		p := placeView{Location: l, State: st.State, Consecutive: st.Consecutive, Last: st.Last, Recent: st.Recent, Runs24h: st.Runs24h}
		switch {
		case silent[l]:
			p.State = "silent"
		case st.State == "down" && !slices.Contains(verdict.Failing, l):
			p.State = "failing" // does not count, such as a fault of the place
		}
		if !st.Since.IsZero() {
			since := st.Since.UTC()
			p.Since = &since
		}
		if st.Runs24h > 0 {
			p.Uptime24h = &st.Uptime24h
			v.Runs24h += st.Runs24h
			good += st.Uptime24h * float64(st.Runs24h)
		}
		if st.Last != nil {
			if crt := st.Last.Certificate(); crt != nil && (v.Certificate == nil || crt.NotAfter.Before(*v.Certificate)) {
				v.Certificate = &crt.NotAfter
			}
		}
		if i == 0 {
			v.Location, v.Consecutive, v.Last, v.Recent = l, st.Consecutive, st.Last, st.Recent
		}
		v.Places = append(v.Places, p)
	}
	if v.Runs24h > 0 {
		share := good / float64(v.Runs24h)
		v.Uptime24h = &share
	}
	return v
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// allLocations lists the hub and the other places.
func allLocations(t *Tenant) []fleet.Status {
	n := 0
	for _, c := range t.Book.Checks() {
		if slices.Contains(t.Book.Places(c.ID), fleet.HubLocation) {
			n++
		}
	}
	hub := fleet.Status{Name: fleet.HubLocation, State: "up", Labels: map[string]string{}, Checks: n}
	return append([]fleet.Status{hub}, t.Hub.Locations()...)
}

func silentPlaces(ls []fleet.Status) map[string]bool {
	out := map[string]bool{}
	for _, l := range ls {
		out[l.Name] = l.State != "up"
	}
	return out
}

// manyChecks is from how many checks on the list carries fewer runs of each,
// unless it is asked for more: 60 runs of 10,000 checks are 80 MB.
const (
	manyChecks = 500
	fewRuns    = 8
)

// checks lists all checks. recent bounds the runs of each place; hops=0 leaves
// the hops of the last run away.
func (s *Server) checks(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	out := []checkView{}
	now, locations := time.Now(), allLocations(t)
	silent := silentPlaces(locations)
	all := t.Book.Checks()
	recent := state.BoardRuns
	if len(all) > manyChecks {
		recent = fewRuns
	}
	if v := r.FormValue("recent"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return record.Errorf(record.Invalid, "recent %q: want a number of runs from 0 to %d", v, state.BoardRuns)
		}
		recent = min(n, recent)
	}
	for _, c := range all {
		v := s.viewCheck(r.Context(), t, c, silent, now)
		v.Recent = v.Recent[max(0, len(v.Recent)-recent):]
		for i := range v.Places {
			p := &v.Places[i]
			p.Recent = p.Recent[max(0, len(p.Recent)-recent):]
			if r.FormValue("hops") == "0" && p.Last != nil {
				last := *p.Last
				last.Hops = []record.Hop{}
				p.Last = &last
			}
		}
		if r.FormValue("hops") == "0" && len(v.Places) > 0 {
			v.Last = v.Places[0].Last
		}
		out = append(out, v)
	}
	writeJSON(w, map[string]any{"checks": out, "locations": locations})
	return nil
}

func (s *Server) locations(w http.ResponseWriter, _ *http.Request, t *Tenant) error {
	writeJSON(w, map[string]any{"locations": allLocations(t)})
	return nil
}

// known finds the check that a path names.
func known(r *http.Request, t *Tenant) (probe.Check, error) {
	id := r.PathValue("id")
	c, ok := t.Book.Check(id)
	if !ok {
		return c, record.Errorf(record.NotFound, "there is no check %q; GET /api/v1/checks lists them", id)
	}
	return c, nil
}

func (s *Server) check(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	c, err := known(r, t)
	if err != nil {
		return err
	}
	history, err := t.History.List(r.Context(), state.HistoryFilter{Check: c.ID, Limit: 50})
	if err != nil {
		return err
	}
	js, text, err := t.Book.Object(c.ID)
	if err != nil {
		return err
	}
	if history == nil {
		history = []record.Change{}
	}
	writeJSON(w, map[string]any{
		"check": s.viewCheck(r.Context(), t, c, silentPlaces(allLocations(t)), time.Now()), "object": js, "yaml": text, "history": history,
	})
	return nil
}

func (s *Server) checkHistory(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	c, err := known(r, t)
	if err != nil {
		return err
	}
	f := state.HistoryFilter{Check: c.ID}
	if f.Limit, err = limitOf(r); err != nil {
		return err
	}
	if f.Before, err = beforeOf(r); err != nil {
		return err
	}
	history, err := t.History.List(r.Context(), f)
	if err != nil {
		return err
	}
	if history == nil {
		history = []record.Change{}
	}
	writeJSON(w, map[string]any{"history": history})
	return nil
}

func limitOf(r *http.Request) (int, error) {
	v := r.FormValue("limit")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 1000 {
		return 0, record.Errorf(record.Invalid, "limit %q: want a number from 1 to 1000", v)
	}
	return n, nil
}

func beforeOf(r *http.Request) (time.Time, error) {
	v := r.FormValue("before")
	if v == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return time.Time{}, record.Errorf(record.Invalid, "before %q: want a time such as 2026-11-01T18:04:00Z", v)
	}
	return at, nil
}

func (s *Server) checkRuns(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	c, err := known(r, t)
	if err != nil {
		return err
	}
	f := state.RunsFilter{Check: c.ID, Location: r.FormValue("location"), Failed: r.FormValue("failed") == "1" || r.FormValue("failed") == "true"}
	if f.Limit, err = limitOf(r); err != nil {
		return err
	}
	if f.Before, err = beforeOf(r); err != nil {
		return err
	}
	runs, err := t.Runs.List(r.Context(), f)
	if err != nil {
		return err
	}
	writeJSON(w, map[string]any{"runs": runs})
	return nil
}

func (s *Server) screenshot(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	c, err := known(r, t)
	if err != nil {
		return err
	}
	at, err := strconv.ParseInt(r.PathValue("start"), 10, 64)
	if err != nil {
		return record.Errorf(record.Invalid, "start %q: want the run's start in Unix nanoseconds", r.PathValue("start"))
	}
	b, err := t.Runs.Screenshot(r.Context(), c.ID, r.PathValue("location"), at)
	if err != nil {
		return err
	}
	kind := http.DetectContentType(b)
	if kind != "image/jpeg" && kind != "image/png" {
		return record.Errorf(record.Internal, "the screenshot is kept as %s", kind)
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "private, max-age=86400, immutable")
	_, _ = w.Write(b) // a client that left is no fault of ours
	return nil
}

// runCheck runs a check once: from its first place, or from those that the
// query names.
func (s *Server) runCheck(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	c, err := known(r, t)
	if err != nil {
		return err
	}
	places := t.Book.Places(c.ID)
	where := r.FormValue("locations")
	if len(places) == 0 {
		return record.Errorf(record.Conflict, "the check %q runs nowhere: no location matches its locations", c.ID)
	}
	if where == "" {
		res, err := t.Book.Run(r.Context(), c.ID, places[0])
		if err != nil {
			return err
		}
		writeJSON(w, res)
		return nil
	}
	if where != "all" {
		places = []string{where}
	}
	ctx, cancel := context.WithTimeout(r.Context(), c.Timeout*2+15*time.Second)
	defer cancel()
	results := make([]record.CheckResult, len(places))
	errs := make([]error, len(places))
	var wg sync.WaitGroup
	for i, l := range places {
		wg.Go(func() {
			if results[i], errs[i] = t.Book.Run(ctx, c.ID, l); errs[i] != nil {
				results[i] = record.CheckResult{Check: c.ID, Kind: c.Kind, Target: c.Target(), Location: l, Start: time.Now(), Stage: "resolve", Reason: "own_fault",
					Message: "the run could not be had: " + errs[i].Error(), Extra: true}
			}
		})
	}
	wg.Wait()
	if len(places) == 1 && errs[0] != nil {
		return errs[0]
	}
	writeJSON(w, map[string]any{"results": results})
	return nil
}

const maxObject = 1 << 20 // bytes of one object

func bodyOf(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxObject+1))
	switch {
	case err != nil:
		return nil, record.Errorf(record.Invalid, "the body cannot be read: %v", err)
	case len(b) > maxObject:
		return nil, record.Errorf(record.TooLarge, "an object of more than %d bytes", maxObject)
	}
	return b, nil
}

func who(r *http.Request) string {
	c, _ := record.CallerFrom(r.Context())
	return c.Name
}

func (s *Server) createCheck(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	b, err := bodyOf(r)
	if err != nil {
		return err
	}
	id, err := t.Book.Create(r.Context(), b, who(r))
	if err != nil {
		return err
	}
	s.live.Changed(t.Name, "checks")
	w.Header().Set("Location", "/api/v1/checks/"+url.PathEscape(id))
	writeCreated(w, map[string]any{"id": id})
	return nil
}

func (s *Server) updateCheck(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	b, err := bodyOf(r)
	if err != nil {
		return err
	}
	if err := t.Book.Update(r.Context(), r.PathValue("id"), b, who(r)); err != nil {
		return err
	}
	s.live.Changed(t.Name, "checks")
	writeJSON(w, map[string]any{"id": r.PathValue("id")})
	return nil
}

func (s *Server) deleteCheck(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	if err := t.Book.Delete(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	s.live.Changed(t.Name, "checks")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// tryCheck runs an object once from all its places without keeping it; the query
// may name the check that it is to replace, for the secrets.
func (s *Server) tryCheck(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	b, err := bodyOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Minute)
	defer cancel()
	results, err := t.Book.Try(ctx, b, r.URL.Query().Get("check"))
	if err != nil {
		return err
	}
	writeJSON(w, map[string]any{"results": results})
	return nil
}
