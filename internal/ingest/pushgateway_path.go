package ingest

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"

	"github.com/vedette-sre/vedette/internal/record"
)

// pushLabel is a label of a grouping key. Its value may be empty: such a label
// takes the label of that name away from what is pushed.
type pushLabel struct{ name, value string }

const (
	pushPrefix = "/metrics/"
	pushBase64 = "@base64"
	// maxPushPath bounds the grouping labels, which stand at each series pushed.
	maxPushPath = 4096
)

// pushPath reads a grouping key from an escaped path,
// /metrics/job/JOB/NAME/VALUE…, where NAME@base64 says that the value is in
// base64 with the alphabet for URLs (RFC 4648, section 5), padded or not. The
// labels come sorted by name; one of them is job.
func pushPath(escaped string) ([]pushLabel, error) {
	rest, ok := strings.CutPrefix(escaped, pushPrefix)
	if !ok {
		return nil, record.Errorf(record.NotFound, "the path is not below /metrics/job/; want /metrics/job/JOB and then /NAME/VALUE for each grouping label")
	}
	if len(rest) > maxPushPath {
		return nil, record.Errorf(record.Invalid, "the grouping labels take %d bytes; at most %d are taken", len(rest), maxPushPath)
	}
	parts := strings.Split(rest, "/")
	if len(parts) == 3 && parts[2] == "" {
		parts = parts[:2] // a slash behind the job
	}
	if len(parts)%2 != 0 {
		return nil, record.Errorf(record.Invalid, "the path has a label without a value; want /NAME/VALUE for each, and an empty value as /NAME@base64/=")
	}
	out := make([]pushLabel, 0, len(parts)/2)
	for i := 0; i < len(parts); i += 2 {
		l, err := pushPart(parts[i], parts[i+1])
		if err != nil {
			return nil, err
		}
		if i == 0 && l.name != "job" {
			return nil, record.Errorf(record.NotFound, "the path begins with %q; want /metrics/job/JOB first", l.name)
		}
		if slices.ContainsFunc(out, func(o pushLabel) bool { return o.name == l.name }) {
			return nil, record.Errorf(record.Invalid, "the path has the label %q twice", l.name)
		}
		out = append(out, l)
	}
	if out[0].value == "" {
		return nil, record.Errorf(record.Invalid, "job name is required; want /metrics/job/JOB")
	}
	slices.SortFunc(out, func(a, b pushLabel) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// pushPart reads one name and its value.
func pushPart(name, value string) (l pushLabel, err error) {
	if name, err = url.PathUnescape(name); err == nil {
		value, err = url.PathUnescape(value)
	}
	if err != nil {
		return l, record.Errorf(record.Invalid, "the path is not escaped well: %w", err)
	}
	l.name, l.value = strings.TrimSuffix(name, pushBase64), value
	if !model.UTF8Validation.IsValidLabelName(l.name) || strings.HasPrefix(l.name, model.ReservedLabelPrefix) {
		return l, record.Errorf(record.Invalid, "improper label name %q", l.name)
	}
	if l.name != name {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(value, "="))
		if err != nil {
			return l, record.Errorf(record.Invalid, "the value %q of label %q is not base64 with the alphabet for URLs: %w", value, l.name, err)
		}
		l.value = string(raw)
	}
	if !utf8.ValidString(l.value) {
		return l, record.Errorf(record.Invalid, "the value of label %q is not UTF-8", l.name)
	}
	return l, nil
}

// pushKey names a group: its labels that are not empty, in the order of the
// names. Groups that differ in empty labels alone would write the same series.
func pushKey(labels []pushLabel) string {
	var key []byte
	for _, l := range labels {
		if l.value != "" {
			key = appendSized(appendSized(key, l.name), l.value)
		}
	}
	return string(key)
}
