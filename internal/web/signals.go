package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/record"
)

type entityView struct {
	Kind    query.EntityKind  `json:"kind"`
	Name    string            `json:"name"`
	Labels  map[string]string `json:"labels"`
	Sources []string          `json:"sources"`
	State   string            `json:"state"` // page, warning or ok
	Text    string            `json:"text"`  // why it is not ok
	query.Figures
	// Spark is the rate of the last hour at the list's times.
	Spark []*float64 `json:"spark,omitempty"`
}

type signalsView struct {
	At time.Time `json:"at"`
	// PresentSeconds is how recent a sample must be for its sender to be listed.
	PresentSeconds float64      `json:"present_seconds"`
	Times          []int64      `json:"times"`
	Entities       []entityView `json:"entities"`
	// Error tells that some figures could not be computed.
	Error string `json:"error,omitempty"`
}

// signals lists what reports, with its main figures.
func (s *Server) signals(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	now := time.Now()
	es, err := query.Entities(r.Context(), t.Queryable, now)
	if err != nil {
		return err
	}
	figures, err := query.Overview(r.Context(), t.Queryable, now, es)
	if err != nil {
		return err
	}
	q := &asker{ctx: r.Context(), t: t, now: now}
	v := signalsView{At: now.UTC(), PresentSeconds: query.Present.Seconds(), Times: []int64{}, Entities: make([]entityView, len(es))}
	at := make(map[string]*entityView, len(es))
	for i, e := range es {
		v.Entities[i] = entityView{Kind: e.Kind, Name: e.Name, Labels: e.Labels, Sources: e.Sources}
		at[entityKey(e.Kind, nil, e.Labels)] = &v.Entities[i]
	}
	of := func(f query.Figure, ls map[string]string) *entityView { return at[entityKey(f.Kind, f.By, ls)] }
	measure(q, figures, func(f query.Figure, ls map[string]string) *query.Figures {
		if e := of(f, ls); e != nil {
			return &e.Figures
		}
		return nil
	})
	sparks(q, figures, &v, of)
	names := readHostNames(q)
	for i := range v.Entities {
		e := &v.Entities[i]
		e.State, e.Text = query.DefaultThresholds.Judge(e.Figures)
		if e.Kind == query.KindHost {
			e.Name = names.of(e.Labels, e.Name)
		}
	}
	if q.err != nil {
		v.Error = q.err.Error()
	}
	writeJSON(w, v)
	return nil
}

// measure asks for the figures and puts each where of says. What an alternative
// of lower rank said stands; of several of one rank the largest does.
func measure(q *asker, figures []query.Figure, of func(query.Figure, map[string]string) *query.Figures) {
	type cell struct {
		of     *query.Figures
		column query.Column
	}
	type said struct {
		rank int
		v    float64
	}
	cells := map[cell]said{}
	for _, f := range figures {
		q.each(f.Expr, func(ls map[string]string, x float64) {
			x *= f.Scale
			e := of(f, ls)
			if e == nil || num(x) == nil {
				return
			}
			c := cell{e, f.Column}
			if was, ok := cells[c]; !ok || was.rank == f.Rank && x > was.v {
				cells[c] = said{f.Rank, x}
				e.Set(f.Column, x, f.What)
			}
		})
	}
}

// sparks fills in the rates of the last hour.
func sparks(q *asker, figures []query.Figure, v *signalsView, of func(query.Figure, map[string]string) *entityView) {
	start, step := q.now.Add(-time.Hour), time.Minute
	for _, f := range figures {
		if f.Column != query.ColRate {
			continue
		}
		q.ranges(f.Expr, start, step, func(ls map[string]string, ts []int64, vs []*float64) {
			v.Times = ts
			if e := of(f, ls); e != nil && len(e.Spark) == 0 {
				e.Spark = vs
			}
		})
	}
}

// entityKey is the kind and the identity, of the labels by or of all.
func entityKey(k query.EntityKind, by []string, ls map[string]string) string {
	if by == nil {
		for l := range ls {
			by = append(by, l)
		}
		slices.Sort(by)
	}
	var b strings.Builder
	b.WriteString(string(k))
	for _, l := range by {
		b.WriteString("\x00" + l + "\x00" + ls[l])
	}
	return b.String()
}

// hostNames are the names that machines have, by instance.
type hostNames map[string]string

func readHostNames(q *asker) hostNames {
	names := hostNames{}
	q.each(`node_uname_info`, func(ls map[string]string, _ float64) { names[ls["instance"]] = ls["nodename"] })
	return names
}

// of is the name of the machine with the labels, or other if it is not known. One
// that several report by is told with the instance.
func (n hostNames) of(labels map[string]string, other string) string {
	name := n[labels["instance"]]
	if name == "" {
		return other
	}
	for i, x := range n {
		if x == name && i != labels["instance"] {
			return name + " · " + other
		}
	}
	return name
}

type entityPanels struct {
	entityView
	// WindowSeconds is the range that rates are taken over.
	WindowSeconds float64       `json:"window_seconds"`
	Panels        []query.Panel `json:"panels"`
}

// signalsOf gives the panels of one entity as of now or of the parameter time. All
// parameters but time and step are labels of its identity.
func (s *Server) signalsOf(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	id := map[string]string{}
	var step time.Duration
	now := time.Now()
	for k, vs := range r.URL.Query() {
		switch {
		case len(vs) != 1:
			return record.Errorf(record.Invalid, "%s: given %d times; want once", k, len(vs))
		case k == "step":
			d, err := time.ParseDuration(vs[0])
			if err != nil || d <= 0 || d > 31*24*time.Hour {
				return record.Errorf(record.Invalid, "step: %q; want a duration such as 15s, at most 744h", vs[0])
			}
			step = d
		case k == "time":
			sec, err := strconv.ParseInt(vs[0], 10, 64)
			if err != nil || sec <= 0 || sec > now.Unix()+60 {
				return record.Errorf(record.Invalid, "time: %q; want Unix seconds of the past", vs[0])
			}
			now = time.Unix(sec, 0)
		case k != "vedette_tenant":
			id[k] = vs[0]
		}
	}
	e, err := query.EntityOf(r.Context(), t.Queryable, now, query.EntityKind(r.PathValue("kind")), id)
	if err != nil {
		return err
	}
	ps, err := e.Panels(r.Context(), t.Queryable, now, step)
	if err != nil {
		return err
	}
	figures, err := e.Figures(r.Context(), t.Queryable, now)
	if err != nil {
		return err
	}
	q := &asker{ctx: r.Context(), t: t, now: now}
	v := entityPanels{entityView{Kind: e.Kind, Name: e.Name, Labels: e.Labels, Sources: e.Sources}, e.Window(step).Seconds(), ps}
	measure(q, figures, func(query.Figure, map[string]string) *query.Figures { return &v.Figures })
	v.State, v.Text = query.DefaultThresholds.Judge(v.Figures)
	if e.Kind == query.KindHost {
		v.Name = readHostNames(q).of(e.Labels, v.Name)
	}
	if q.err != nil {
		return q.err
	}
	writeJSON(w, v)
	return nil
}
