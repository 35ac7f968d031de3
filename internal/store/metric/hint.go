package metric

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Hint names a label whose values look made by a machine, one for each request
// or user, and the relabel rule that ends it.
type Hint struct {
	Label   string   `json:"label"`
	Values  int      `json:"values"`
	Series  int      `json:"series"`
	Kind    string   `json:"kind"`    // uuid, timestamp, number or hex
	Example string   `json:"example"` // one of the values
	Metrics []string `json:"metrics"` // that have it, as far as a sample of the values tells
	Text    string   `json:"text"`    // the finding as a sentence
	Rule    string   `json:"rule"`    // YAML for metric_relabel_configs or write_relabel_configs
}

const (
	// hintFrom is how many values a label may have without being suspected.
	hintFrom = 100
	// hintSample is how many values are looked at, evenly spread.
	hintSample = 256
	// hintMetrics is how many metrics a rule names before it is for all.
	hintMetrics = 3
	keptHints   = 10
)

var kindWords = map[string]string{"uuid": "UUIDs", "timestamp": "timestamps", "number": "numbers", "hex": "hex ids"}

// hintFor suspects a label when four of five of its values are of one kind.
func hintFor(of LabelValues, values []string, metric func(value string) string) (Hint, bool) {
	if of.Values < hintFrom || of.Name == labels.BucketLabel || of.Name == "quantile" {
		return Hint{}, false
	}
	kinds, looked := map[string]int{}, 0
	example := map[string]string{}
	var sample []string
	for i, step := 0, max(len(values)/hintSample, 1); i < len(values) && looked < hintSample; i += step {
		k := kindOf(values[i])
		kinds[k]++
		example[k] = values[i]
		sample = append(sample, values[i])
		looked++
	}
	kind, most := "", 0
	for k, n := range kinds {
		if k != "" && n > most {
			kind, most = k, n
		}
	}
	if most*5 < looked*4 {
		return Hint{}, false
	}
	with := map[string]bool{}
	for _, v := range sample {
		if m := metric(v); m != "" {
			with[m] = true
		}
	}
	h := Hint{Label: strings.Clone(of.Name), Values: of.Values, Series: of.Series, Kind: kind, Example: strings.Clone(example[kind]), Metrics: []string{}}
	for m := range with {
		h.Metrics = append(h.Metrics, strings.Clone(m))
	}
	slices.Sort(h.Metrics)
	h.Text = fmt.Sprintf("label %s has %d values that look like %s", h.Label, h.Values, kindWords[kind])
	h.Rule = dropRule(h.Label, h.Metrics)
	return h, true
}

// dropRule is the relabel rule that removes a label: from the metrics that have
// it when they are few, from all otherwise.
func dropRule(label string, metrics []string) string {
	if n := len(metrics); n == 0 || n > hintMetrics {
		return fmt.Sprintf("- action: labeldrop\n  regex: %s\n", quoteYAML(regexp.QuoteMeta(label)))
	}
	quoted := make([]string, len(metrics))
	for i, m := range metrics {
		quoted[i] = regexp.QuoteMeta(m)
	}
	return fmt.Sprintf("- source_labels: [__name__]\n  regex: %s\n  target_label: %s\n  replacement: ''\n", quoteYAML(strings.Join(quoted, "|")), quoteYAML(label))
}

func quoteYAML(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// worstHints are the hints about most values.
func worstHints(hs []Hint) []Hint {
	slices.SortFunc(hs, func(a, b Hint) int {
		return cmp.Or(cmp.Compare(b.Values, a.Values), strings.Compare(a.Label, b.Label))
	})
	return append([]Hint{}, hs[:min(len(hs), keptHints)]...)
}

// kindOf tells what a value looks like; "" for words.
func kindOf(v string) string {
	hex, digits := true, true
	for i := range len(v) {
		c := v[i]
		digit := c >= '0' && c <= '9'
		digits = digits && digit
		hex = hex && (digit || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F')
	}
	switch {
	case v == "":
		return ""
	case digits:
		// Seconds, milli-, micro- and nanoseconds since 1970, of 2001 to 2286.
		if n := len(v); (n == 10 || n == 13 || n == 16 || n == 19) && v[0] >= '1' {
			return "timestamp"
		}
		return "number"
	case isUUID(v):
		return "uuid"
	case hex && len(v) >= 8 && strings.ContainsAny(v, "0123456789"):
		return "hex"
	}
	if len(v) >= len("2006-01-02T15:04:05Z") {
		if _, err := time.Parse(time.RFC3339, v); err == nil {
			return "timestamp"
		}
	}
	return ""
}

func isUUID(v string) bool {
	if len(v) != 36 {
		return false
	}
	for i := range len(v) {
		switch c := v[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F'):
			return false
		}
	}
	return true
}
