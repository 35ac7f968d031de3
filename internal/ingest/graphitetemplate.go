package ingest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// graphiteTemplate says how the parts of a path become a name and labels, in the
// form that the Graphite inputs of InfluxDB and Telegraf have: "filter template
// tags", of which filter and tags may be left out.
type graphiteTemplate struct {
	filter []string // "*" is any part; nil is any path
	parts  []string // "" leaves a part of the path out
	tags   []graphiteTag
}

type graphiteTag struct{ key, value string }

const (
	templateName       = "measurement"
	templateNameRest   = "measurement*"
	templateField      = "field"
	templateFieldRest  = "field*"
	templateAny        = "*"
	maxGraphiteTags    = 256
	graphiteFieldJoint = "_"
)

// parseGraphiteTemplates reads templates and puts the most specific filter first.
func parseGraphiteTemplates(lines []string) ([]graphiteTemplate, error) {
	out := make([]graphiteTemplate, 0, len(lines))
	for i, line := range lines {
		t, err := parseGraphiteTemplate(line)
		if err != nil {
			return nil, fmt.Errorf("graphite: template %d (%q): %w", i+1, line, err)
		}
		for k := range out {
			if slices.Equal(out[k].filter, t.filter) {
				return nil, fmt.Errorf("graphite: template %d (%q): another one has the same filter; leave one of them out", i+1, line)
			}
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b graphiteTemplate) int { return moreSpecific(a.filter, b.filter) })
	return out, nil
}

func parseGraphiteTemplate(line string) (t graphiteTemplate, err error) {
	fields := strings.Fields(line)
	if n := len(fields); n > 1 && strings.Contains(fields[n-1], "=") {
		for pair := range strings.SplitSeq(fields[n-1], ",") {
			key, value, ok := strings.Cut(pair, "=")
			switch {
			case !ok || key == "" || value == "":
				return t, fmt.Errorf("the tag %q is not key=value", pair)
			case key == labels.MetricName:
				return t, fmt.Errorf("the tag %s is taken by the name of the series; rename the tag", key)
			case slices.ContainsFunc(t.tags, func(g graphiteTag) bool { return g.key == key }):
				return t, fmt.Errorf("the tag %q is there twice", key)
			}
			t.tags = append(t.tags, graphiteTag{key, value})
		}
		fields = fields[:n-1]
	}
	switch len(fields) {
	case 1:
		t.parts = strings.Split(fields[0], ".")
	case 2:
		t.filter, t.parts = strings.Split(fields[0], "."), strings.Split(fields[1], ".")
	default:
		return t, fmt.Errorf(`want "template", "filter template" or "filter template key=value,key=value"`)
	}
	for _, f := range t.filter {
		if f == "" || f != templateAny && strings.Contains(f, "*") {
			return t, fmt.Errorf(`the filter has the part %q; want a word, or "*" for any`, f)
		}
	}
	named := false
	for i, p := range t.parts {
		switch {
		case p == templateName || p == templateNameRest:
			named = true
		case p == labels.MetricName:
			return t, fmt.Errorf("%s is the name of the series; write %s", p, templateName)
		case p != templateFieldRest && strings.Contains(p, "*"):
			return t, fmt.Errorf(`the part %q has a "*"; only %s and %s take one`, p, templateNameRest, templateFieldRest)
		}
		if strings.HasSuffix(p, "*") && i < len(t.parts)-1 {
			return t, fmt.Errorf("%q takes the rest of the path; nothing can follow it", p)
		}
	}
	if !named {
		return t, fmt.Errorf("no part is %s, so that a series would have no name", templateName)
	}
	return t, nil
}

// moreSpecific orders filters: a word before "*", part by part, and the longer
// before the shorter.
func moreSpecific(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if anyA, anyB := a[i] == templateAny, b[i] == templateAny; anyA != anyB {
			if anyB {
				return -1
			}
			return 1
		}
	}
	return cmp.Compare(len(b), len(a))
}

// matches reports whether the filter stands at the beginning of the path.
func (t *graphiteTemplate) matches(path []string) bool {
	if len(t.filter) > len(path) {
		return false
	}
	for i, f := range t.filter {
		if f != templateAny && f != path[i] {
			return false
		}
	}
	return true
}

// apply returns the name and the tags of a path. The name is empty when the path
// is too short to have one.
func (t *graphiteTemplate) apply(path []string, separator string) (name string, tags []graphiteTag) {
	var names, fields []string
	for i, p := range t.parts {
		if i >= len(path) {
			break
		}
		switch p {
		case "":
		case templateName:
			names = append(names, path[i])
		case templateNameRest:
			names = append(names, path[i:]...)
		case templateField:
			fields = append(fields, path[i])
		case templateFieldRest:
			fields = append(fields, path[i:]...)
		default:
			if k := slices.IndexFunc(tags, func(g graphiteTag) bool { return g.key == p }); k >= 0 {
				tags[k].value += separator + path[i]
			} else {
				tags = append(tags, graphiteTag{p, path[i]})
			}
		}
	}
	for _, own := range t.tags {
		if !slices.ContainsFunc(tags, func(g graphiteTag) bool { return g.key == own.key }) {
			tags = append(tags, own)
		}
	}
	name = strings.Join(names, separator)
	if field := strings.Join(fields, separator); name != "" && field != "" {
		name += graphiteFieldJoint + field
	}
	return name, tags
}
