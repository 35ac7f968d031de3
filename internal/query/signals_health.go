package query

import "fmt"

// Figures are the columns of one entity; nil is not known.
type Figures struct {
	Rate       *float64 `json:"rate"`        // per second
	Errors     *float64 `json:"error_ratio"` // 0 to 1
	P99        *float64 `json:"p99"`         // seconds
	Saturation *float64 `json:"saturation"`  // 0 to 1
	// SaturationOf is what is in use: CPU, memory, connections.
	SaturationOf string   `json:"saturation_of"`
	Depth        *float64 `json:"depth"` // messages
	Up           *float64 `json:"up"`    // 1 or 0
}

// Set puts a value into a column; what names it among several.
func (f *Figures) Set(c Column, v float64, what string) {
	switch c {
	case ColRate:
		f.Rate = &v
	case ColErrors:
		f.Errors = &v
	case ColP99:
		f.P99 = &v
	case ColSaturation:
		f.Saturation, f.SaturationOf = &v, what
	case ColDepth:
		f.Depth = &v
	case ColUp:
		f.Up = &v
	}
}

// Thresholds say when a figure is a breach. Latency has none: what is slow
// depends on the service, and a rule or a check says it.
type Thresholds struct {
	ErrorsWarning, ErrorsPage         float64 // ratio of requests
	ErrorsRate                        float64 // requests per second below which a ratio says little
	SaturationWarning, SaturationPage float64 // ratio of the limit
}

// DefaultThresholds are in force where nobody set others.
var DefaultThresholds = Thresholds{ErrorsWarning: 0.01, ErrorsPage: 0.05, ErrorsRate: 0.05, SaturationWarning: 0.9, SaturationPage: 0.98}

// Judge gives the state (page, warning or ok) and, of a breach, one clause why.
func (t Thresholds) Judge(f Figures) (state, why string) {
	state = "ok"
	worse := func(s, text string) {
		if state == "ok" || state == "warning" && s == "page" {
			state, why = s, text
		}
	}
	if f.Up != nil && *f.Up == 0 {
		worse("page", "its exporter cannot reach it")
	}
	if f.Errors != nil && f.Rate != nil && *f.Rate >= t.ErrorsRate {
		text := fmt.Sprintf("%.3g %% of its requests fail", 100**f.Errors)
		switch {
		case *f.Errors >= t.ErrorsPage:
			worse("page", text)
		case *f.Errors >= t.ErrorsWarning:
			worse("warning", text)
		}
	}
	if f.Saturation != nil {
		text := fmt.Sprintf("%s: %.3g %% of the limit", f.SaturationOf, 100**f.Saturation)
		switch {
		case *f.Saturation >= t.SaturationPage:
			worse("page", text)
		case *f.Saturation >= t.SaturationWarning:
			worse("warning", text)
		}
	}
	if f.Depth != nil && *f.Depth > 0 && f.Rate != nil && *f.Rate == 0 {
		worse("warning", fmt.Sprintf("%.0f messages wait and none is taken", *f.Depth))
	}
	return state, why
}
