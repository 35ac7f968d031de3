package query

// TableLine is one expression of the table of recognisers, written for a label
// named who.
type TableLine struct {
	Source, Title, Template string
	// Requests says that it is of a histogram of requests.
	Requests bool
}

// TableLines lists every expression of the table.
func TableLines() []TableLine {
	var out []TableLine
	for _, r := range recognisers() {
		for _, p := range r.panels {
			for _, l := range p.lines {
				out = append(out, TableLine{r.source, p.title, l.expr, r.rank < len(requestHistograms)})
			}
		}
	}
	for _, k := range EntityKinds {
		for _, p := range companions(k) {
			for _, l := range p.lines {
				out = append(out, TableLine{"companion", p.title, l.expr, false})
			}
		}
	}
	return out
}

// Written is a template as the panels of e show it.
func Written(e Entity, template string) string {
	return writing{of: e.Labels, window: e.Window(0)}.expr(template)
}

// RequestBase is one histogram of requests.
type RequestBase struct {
	Name string
	MS   bool
}

// RequestBases lists the names of histograms of requests.
func RequestBases() []RequestBase {
	var out []RequestBase
	for _, h := range requestHistograms {
		out = append(out, RequestBase{h.base, h.ms})
	}
	return out
}

// ErrorLabels lists the labels that tell failures.
func ErrorLabels() []string {
	var out []string
	for _, e := range errorLabels {
		out = append(out, e.label)
	}
	return out
}

// RouteLabels lists the labels that tell what was asked for.
func RouteLabels() []string { return routeLabels }
