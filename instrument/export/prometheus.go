package export

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/vedette-sre/vedette/instrument"
)

// Prometheus is the handler of /metrics. It answers in the form that the scraper
// prefers: protocol buffers, which carry native histograms, OpenMetrics 1.0, or
// the classic text format 0.0.4.
//
// Names keep letters, digits, underscores and colons, all else becomes an
// underscore; the unit and, for counters and meters, "_total" are added. A meter
// gives NAME_total and NAME_rate{window="1m"}, a histogram or timer its buckets
// and the gauges NAME_min and NAME_max. Two names that become one are told apart
// by a number.
// https://prometheus.io/docs/instrumenting/exposition_formats/
func Prometheus(sources ...Source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accept := r.Header.Get("Accept")
		var fs []family
		for _, s := range sources {
			fs = append(fs, families(s.Snapshot())...)
		}
		fs = distinct(fs)
		var b bytes.Buffer
		var kind string
		switch {
		case prefers(accept, "application/vnd.google.protobuf"):
			kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
			writeProto(&b, fs)
		case prefers(accept, "application/openmetrics-text"):
			kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
			writeText(&b, fs, true)
		default:
			kind = "text/plain; version=0.0.4; charset=utf-8"
			writeText(&b, fs, false)
		}
		w.Header().Set("Content-Type", kind)
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(b.Bytes()) // a scraper that left is no fault
			_ = z.Close()
			return
		}
		_, _ = w.Write(b.Bytes())
	})
}

// prefers reports whether media is what an Accept header likes best of the three
// that are given out.
func prefers(accept, media string) bool {
	best, found := -1.0, ""
	for part := range strings.SplitSeq(accept, ",") {
		fields := strings.Split(part, ";")
		m := strings.TrimSpace(fields[0])
		q := 1.0
		skip := false
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
			switch k {
			case "q":
				if x, err := strconv.ParseFloat(v, 64); err == nil {
					q = x
				}
			case "proto":
				skip = v != "io.prometheus.client.MetricFamily"
			case "encoding":
				skip = skip || v != "delimited"
			}
		}
		if skip || q <= best || !slices.Contains([]string{"application/vnd.google.protobuf", "application/openmetrics-text", "text/plain"}, m) {
			continue
		}
		best, found = q, m
	}
	return found == media
}

// family is one metric as Prometheus sees it.
type family struct {
	name, help, unit string
	kind             string // "counter", "gauge", "histogram"
	bounds           []float64
	rows             []row
	begun            float64
}

type row struct {
	labels []instrument.Tag
	v      float64
	d      *instrument.Distribution
}

// Bounds of classic buckets: of seconds, and of everything else.
var (
	secondBounds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	otherBounds  = []float64{1, 4, 16, 64, 256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28, 1 << 30}
)

func promName(s string) string {
	s = clean(s, func(r rune) bool {
		return r == '_' || r == ':' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	})
	if s[0] >= '0' && s[0] <= '9' {
		s = "_" + s
	}
	return s
}

func promLabels(tags []instrument.Tag) []instrument.Tag {
	out := make([]instrument.Tag, 0, len(tags)+1)
	for _, t := range tags {
		k := strings.ReplaceAll(promName(t.Key), ":", "_")
		if strings.HasPrefix(k, "__") {
			k = "tag" + k // two underscores are Prometheus's own
		}
		if k == "le" || k == "quantile" || k == "window" {
			k = "tag_" + k // these say which part of a metric a line is
		}
		v := strings.ToValidUTF8(t.Value, "\uFFFD")
		if i := slices.IndexFunc(out, func(o instrument.Tag) bool { return o.Key == k }); i >= 0 {
			out[i].Value += ";" + v
			continue
		}
		out = append(out, instrument.Tag{Key: k, Value: v})
	}
	return out
}

func families(s *instrument.Snapshot) []family {
	var out []family
	begun := float64(s.Begun.UnixMilli()) / 1000
	for _, m := range s.Metrics {
		base := promName(m.Name)
		unit := promName(m.Unit)
		if m.Unit == "" || m.Unit == "1" {
			unit = ""
		} else if !strings.HasSuffix(base, "_"+unit) {
			base += "_" + unit
		}
		f := family{name: base, help: m.Help, unit: unit, begun: begun}
		switch m.Kind {
		case instrument.KindCounter, instrument.KindMeter:
			f.kind = "counter"
			f.name = strings.TrimSuffix(base, "_total") + "_total"
		case instrument.KindGauge:
			f.kind = "gauge"
		default:
			f.kind = "histogram"
			f.bounds = otherBounds
			if unit == "seconds" {
				f.bounds = secondBounds
			}
		}
		rate := family{name: base + "_rate", help: m.Help, kind: "gauge"}
		low, high := family{name: base + "_min", kind: "gauge"}, family{name: base + "_max", kind: "gauge"}
		for _, x := range m.Series {
			ls := promLabels(x.Tags)
			f.rows = append(f.rows, row{ls, x.Value, x.Distribution})
			if m.Kind == instrument.KindMeter {
				for _, r := range windows(x.Rates) {
					rate.rows = append(rate.rows, row{append(slices.Clip(slices.Clone(ls)), instrument.Tag{Key: "window", Value: r.window}), r.v, nil})
				}
			}
			if d := x.Distribution; d != nil && d.Count > 0 {
				low.rows, high.rows = append(low.rows, row{ls, d.Min, nil}), append(high.rows, row{ls, d.Max, nil})
			}
		}
		for _, f := range []family{f, rate, low, high} {
			if len(f.rows) > 0 {
				out = append(out, f)
			}
		}
	}
	return out
}

// distinct gives each family names that no other has, and each row of a family
// labels that no other row has.
func distinct(fs []family) []family {
	taken := map[string]bool{}
	names := func(f *family, name string) []string {
		switch f.kind {
		case "histogram":
			return []string{name, name + "_bucket", name + "_sum", name + "_count", name + "_created"}
		case "counter":
			base := strings.TrimSuffix(name, "_total")
			return []string{base, name, base + "_created"}
		}
		return []string{name}
	}
	for i := range fs {
		f := &fs[i]
		name := f.name
		for n := 2; slices.ContainsFunc(names(f, name), func(s string) bool { return taken[s] }); n++ {
			if name = fmt.Sprintf("%s_%d", f.name, n); f.kind == "counter" {
				name = fmt.Sprintf("%s_%d_total", strings.TrimSuffix(f.name, "_total"), n)
			}
		}
		f.name = name
		for _, s := range names(f, name) {
			taken[s] = true
		}
		seen := map[string]bool{}
		f.rows = slices.DeleteFunc(f.rows, func(r row) bool {
			k := fmt.Sprintf("%q", r.labels)
			dup := seen[k]
			seen[k] = true
			return dup // sources that hold the same series: the first is told
		})
	}
	return fs
}

func promFloat(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

var labelEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
var helpEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

func writeText(b *bytes.Buffer, fs []family, open bool) {
	line := func(name string, ls []instrument.Tag, le string, v string) {
		b.WriteString(name)
		sep := byte('{')
		for _, l := range ls {
			b.WriteByte(sep)
			sep = ','
			b.WriteString(l.Key + `="`)
			_, _ = labelEscaper.WriteString(b, l.Value) // a buffer takes all
			b.WriteByte('"')
		}
		if le != "" {
			b.WriteByte(sep)
			sep = ','
			b.WriteString(`le="` + le + `"`)
		}
		if sep == ',' {
			b.WriteByte('}')
		}
		b.WriteString(" " + v + "\n")
	}
	for i := range fs {
		f := &fs[i]
		name := f.name
		if open && f.kind == "counter" {
			name = strings.TrimSuffix(name, "_total")
		}
		if f.help != "" {
			help := helpEscaper
			if open {
				help = labelEscaper
			}
			b.WriteString("# HELP " + name + " " + help.Replace(strings.ToValidUTF8(f.help, "\uFFFD")) + "\n")
		}
		b.WriteString("# TYPE " + name + " " + f.kind + "\n")
		if open && f.unit != "" && strings.HasSuffix(name, "_"+f.unit) {
			b.WriteString("# UNIT " + name + " " + f.unit + "\n")
		}
		for _, r := range f.rows {
			if r.d == nil {
				line(f.name, r.labels, "", promFloat(r.v))
				continue
			}
			for i, n := range r.d.AtMost(f.bounds) {
				line(f.name+"_bucket", r.labels, openFloat(f.bounds[i]), strconv.FormatUint(n, 10))
			}
			count := strconv.FormatUint(r.d.Count, 10)
			line(f.name+"_bucket", r.labels, "+Inf", count)
			line(f.name+"_sum", r.labels, "", promFloat(r.d.Sum))
			line(f.name+"_count", r.labels, "", count)
		}
	}
	if open {
		b.WriteString("# EOF\n")
	}
}

// openFloat renders a bound as OpenMetrics wants it, so that both texts give the
// same series: 1 is "1.0".
func openFloat(v float64) string {
	s := promFloat(v)
	if !strings.ContainsAny(s, ".eI") {
		s += ".0"
	}
	return s
}

// nativeScale is the resolution of native histograms: buckets of 4.4 %.
const nativeScale = 4

// writeProto writes io.prometheus.client.MetricFamily messages, each after its
// length.
func writeProto(b *bytes.Buffer, fs []family) {
	kinds := map[string]uint64{"counter": 0, "gauge": 1, "histogram": 4}
	for i := range fs {
		f := &fs[i]
		var w wire
		w.text(1, f.name)
		if f.help != "" {
			w.text(2, strings.ToValidUTF8(f.help, "\uFFFD"))
		}
		w.uint(3, kinds[f.kind])
		for _, r := range f.rows {
			w.message(4, func(w *wire) {
				for _, l := range r.labels {
					w.message(1, func(w *wire) {
						w.text(1, l.Key)
						w.text(2, l.Value)
					})
				}
				created := func(w *wire, field int) {
					w.message(field, func(w *wire) {
						w.uint(1, uint64(f.begun))
						w.uint(2, uint64((f.begun-math.Floor(f.begun))*1e9))
					})
				}
				switch f.kind {
				case "gauge":
					w.message(2, func(w *wire) { w.double(1, r.v) })
				case "counter":
					w.message(3, func(w *wire) {
						w.double(1, r.v)
						created(w, 3)
					})
				default:
					w.message(7, func(w *wire) {
						histogram(w, r.d, f.bounds)
						created(w, 15)
					})
				}
			})
		}
		if f.unit != "" {
			w.text(5, f.unit)
		}
		b.Write(binary.AppendUvarint(b.AvailableBuffer(), uint64(len(w))))
		b.Write(w)
	}
}

// histogram writes classic and native buckets.
func histogram(w *wire, d *instrument.Distribution, bounds []float64) {
	w.uint(1, d.Count)
	w.double(2, d.Sum)
	for i, n := range d.AtMost(bounds) {
		w.message(3, func(w *wire) {
			w.uint(1, n)
			w.double(2, bounds[i])
		})
	}
	zero, pos, neg := d.Exponential(nativeScale)
	w.sint(5, nativeScale)
	w.double(6, math.Ldexp(1, -40)) // nearer to zero counts as zero
	w.uint(7, zero)
	side := func(e instrument.Exponential, spans, deltas int) {
		var last int64
		end, any := int32(0), false // one past the bucket written last
		for i := 0; i < len(e.Counts); {
			if e.Counts[i] == 0 {
				i++
				continue
			}
			n := i
			for n < len(e.Counts) && e.Counts[n] > 0 {
				n++
			}
			// Prometheus numbers a bucket by its upper bound, OpenTelemetry by the lower.
			first := e.Offset + int32(i) + 1
			w.message(spans, func(w *wire) {
				w.sint(1, int64(first-end))
				w.uint(2, uint64(n-i))
			})
			for _, c := range e.Counts[i:n] {
				w.sint(deltas, int64(c)-last)
				last = int64(c)
			}
			end, any = first+int32(n-i), true
			i = n
		}
		if !any && spans == 12 {
			// An empty span marks the histogram as native when it has no buckets.
			w.message(spans, func(w *wire) { w.sint(1, 0); w.uint(2, 0) })
		}
	}
	side(neg, 9, 10)
	side(pos, 12, 13)
}
