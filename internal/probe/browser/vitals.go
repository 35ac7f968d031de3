package browser

import (
	_ "embed"
	"encoding/json"

	"github.com/vedette-sre/vedette/internal/record"
)

//go:embed watch.js
var watch string

// binding is the function by which watch tells what it measured.
const binding = "__vedette"

const maxDocuments = 100

// vitals are the figures of one document in ms, cls without a unit; nil: it was
// not measured.
type vitals struct {
	ID   float64  `json:"id"` // when it began
	TTFB *float64 `json:"ttfb"`
	FCP  *float64 `json:"fcp"`
	LCP  *float64 `json:"lcp"`
	CLS  *float64 `json:"cls"`
	INP  *float64 `json:"inp"`
	DCL  *float64 `json:"dcl"`
	Load *float64 `json:"load"`
}

// learn takes what watch tells.
func (t *tab) learn(payload string) {
	var v vitals
	if json.Unmarshal([]byte(payload), &v) != nil {
		return
	}
	for i, known := range t.vitals {
		if known.ID == v.ID {
			t.vitals[i] = &v
			return
		}
	}
	if len(t.vitals) < maxDocuments {
		t.vitals = append(t.vitals, &v)
	}
}

// values are the figures of the run: times are those of the first document, the
// one that the script opens; shifts and interactions are the worst of all.
func (t *tab) values() []record.Value {
	var out []record.Value
	add := func(name string, v float64) { out = append(out, record.Value{Name: "probe_browser_" + name, Value: v}) }
	if len(t.vitals) > 0 {
		first := t.vitals[0]
		for _, f := range []struct {
			name string
			ms   *float64
		}{{"ttfb_seconds", first.TTFB}, {"fcp_seconds", first.FCP}, {"lcp_seconds", first.LCP}, {"dom_content_loaded_seconds", first.DCL}, {"load_seconds", first.Load}} {
			if f.ms != nil {
				add(f.name, *f.ms/1000)
			}
		}
		worst := func(of func(*vitals) *float64) (w *float64) {
			for _, v := range t.vitals {
				if x := of(v); x != nil && (w == nil || *x > *w) {
					w = x
				}
			}
			return w
		}
		if w := worst(func(v *vitals) *float64 { return v.CLS }); w != nil {
			add("cls", *w)
		}
		if w := worst(func(v *vitals) *float64 { return v.INP }); w != nil {
			add("inp_seconds", *w/1000)
		}
	}
	add("requests", float64(t.net.count))
	add("failed_requests", float64(t.net.failed))
	add("transfer_bytes", float64(t.net.carried))
	return out
}
