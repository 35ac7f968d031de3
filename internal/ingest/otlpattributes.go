package ingest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/easyproto"
	"github.com/prometheus/prometheus/model/labels"
)

// otlpNext reads the next field of a message. Protobuf has no field 0.
func otlpNext(fc *easyproto.FieldContext, src []byte) ([]byte, error) {
	src, err := fc.NextField(src)
	if err == nil && fc.FieldNum == 0 {
		return src, errOTLPField
	}
	return src, err
}

var errOTLPField = fmt.Errorf("a field has the number 0, which protobuf does not know")

// otlpMessage is a singular message field. One that comes twice is one message,
// made of the bytes of both: so protobuf merges.
type otlpMessage struct {
	data       []byte
	set, owned bool
}

func (m *otlpMessage) add(fc *easyproto.FieldContext) bool {
	p, ok := fc.MessageData()
	if !ok {
		return false
	}
	switch {
	case !m.set:
		m.data = p
	case len(p) > 0:
		if !m.owned {
			m.data, m.owned = append(make([]byte, 0, 2*(len(m.data)+len(p))), m.data...), true
		}
		m.data = append(m.data, p...)
	}
	m.set = true
	return true
}

// otlpAttr is a KeyValue; value is an AnyValue.
type otlpAttr struct {
	key   string
	value []byte
}

func parseOTLPAttr(src []byte) (a otlpAttr, err error) {
	var fc easyproto.FieldContext
	var value otlpMessage
	for len(src) > 0 {
		if src, err = otlpNext(&fc, src); err != nil {
			return a, err
		}
		ok := true
		switch fc.FieldNum {
		case otlpKey:
			a.key, ok = fc.String()
		case otlpValue:
			ok = value.add(&fc)
		}
		if !ok {
			return a, errWire
		}
	}
	a.value = value.data
	return a, nil
}

// text is the value as a label has it: strings as they are, lists and maps as
// JSON, bytes in base64. depth is how deep it may be nested.
func otlpText(value []byte, depth int) (string, error) {
	if len(value) == 0 {
		return "", nil
	}
	if value[0] == otlpAnyString<<3|2 && len(value) > 1 && value[1] < 0x80 && int(value[1]) == len(value)-2 {
		var fc easyproto.FieldContext
		_, err := fc.NextField(value)
		s, _ := fc.String()
		return validUTF8(s), err
	}
	v, err := otlpAny(value, depth)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN", nil
		case math.IsInf(v, 1):
			return "Infinity", nil
		case math.IsInf(v, -1):
			return "-Infinity", nil
		}
	case []byte:
		return base64.StdEncoding.EncodeToString(v), nil
	}
	// JSON has no NaN, so that a list with one is no label, as with Prometheus.
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return "", nil
	}
	return strings.TrimSuffix(buf.String(), "\n"), nil
}

// otlpAny decodes an AnyValue to what encoding/json writes. Of its fields the
// last one counts.
func otlpAny(src []byte, depth int) (v any, err error) {
	if depth < 0 {
		return nil, refuseOTLP("too_deep", "the value of an attribute is nested too deeply")
	}
	var fc easyproto.FieldContext
	var nested otlpMessage
	last := uint32(0)
	for len(src) > 0 {
		if src, err = otlpNext(&fc, src); err != nil {
			return nil, err
		}
		if fc.FieldNum < otlpAnyString || fc.FieldNum > otlpAnyBytes {
			continue
		}
		ok := true
		if fc.FieldNum != last {
			nested = otlpMessage{}
		}
		last = fc.FieldNum
		switch fc.FieldNum {
		case otlpAnyString:
			var s string
			s, ok = fc.String()
			v = validUTF8(s)
		case otlpAnyBool:
			var u uint64
			u, ok = fc.Uint64()
			v = u != 0
		case otlpAnyInt:
			v, ok = fc.Int64()
		case otlpAnyDouble:
			v, ok = fc.Double()
		case otlpAnyBytes:
			v, ok = fc.Bytes()
		case otlpAnyArray, otlpAnyKVList:
			ok = nested.add(&fc)
		}
		if !ok {
			return nil, errWire
		}
	}
	switch last {
	case otlpAnyArray:
		return otlpArray(nested.data, depth-1)
	case otlpAnyKVList:
		return otlpMap(nested.data, depth-1)
	}
	return v, nil
}

func otlpArray(src []byte, depth int) (any, error) {
	list := []any{}
	var fc easyproto.FieldContext
	for len(src) > 0 {
		var err error
		if src, err = otlpNext(&fc, src); err != nil {
			return nil, err
		}
		if fc.FieldNum != otlpValues {
			continue
		}
		p, ok := fc.MessageData()
		if !ok {
			return nil, errWire
		}
		v, err := otlpAny(p, depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func otlpMap(src []byte, depth int) (any, error) {
	m := map[string]any{}
	var fc easyproto.FieldContext
	for len(src) > 0 {
		var err error
		if src, err = otlpNext(&fc, src); err != nil {
			return nil, err
		}
		if fc.FieldNum != otlpValues {
			continue
		}
		p, ok := fc.MessageData()
		if !ok {
			return nil, errWire
		}
		a, err := parseOTLPAttr(p)
		if err != nil {
			return nil, err
		}
		if m[a.key], err = otlpAny(a.value, depth); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// otlpLabel is a label on its way to a series.
type otlpLabel struct {
	name, value string
	// strong is for a label of the resource or scope that stands above an
	// attribute of the same name; others stand in for one that is missing.
	strong bool
}

func byOTLPName(a, b otlpLabel) int { return strings.Compare(a.name, b.name) }

// addContext adds a label to those of the resource and scope.
func (w *otlpWork) addContext(key, value string, strong bool) error {
	name, err := w.names.label(key)
	if err != nil {
		return refuseOTLP("invalid_attribute", "the attribute %q: %w", key, err)
	}
	w.context = append(w.context, otlpLabel{name, value, strong})
	return nil
}

// mergeContext sorts the labels of the resource and scope; of each name, the one
// added last counts.
func (w *otlpWork) mergeContext() {
	w.merged = append(w.merged[:0], w.context...)
	slices.SortStableFunc(w.merged, byOTLPName)
	kept := w.merged[:0]
	for i, l := range w.merged {
		if i+1 == len(w.merged) || w.merged[i+1].name != l.name {
			kept = append(kept, l)
		}
	}
	w.merged = kept
	// The bytes by which the series are known: see begin.
	w.raw = binary.AppendUvarint(append(w.raw[:0], w.names.flags), uint64(len(w.merged)))
	for _, l := range w.merged {
		strength := byte(0)
		if l.strong {
			strength = 1
		}
		w.raw = append(appendSized(appendSized(w.raw, l.name), l.value), strength)
	}
	w.contextLen = len(w.raw)
}

// build begins a series in b: of attrs, except those that ignore names, and the
// context. The metric name and extra stand above all.
func (w *otlpWork) build(b *Batch, attrs []otlpAttr, ignore []string, context []otlpLabel, name string, extra otlpLabel) error {
	w.labels = w.labels[:0]
	for _, a := range attrs {
		if slices.Contains(ignore, a.key) {
			continue
		}
		text, err := otlpText(a.value, w.o.cfg.MaxDepth)
		if err != nil {
			return err
		}
		w.labels = append(w.labels, otlpLabel{name: a.key, value: text})
	}
	slices.SortStableFunc(w.labels, byOTLPName)
	if w.names.labels.UTF8Allowed {
		for i := range w.labels {
			w.labels[i].name = validUTF8(w.labels[i].name)
		}
	} else if err := w.escape(); err != nil {
		return err
	}
	b.BeginBare()
	set := [2]otlpLabel{{name: labels.MetricName, value: name}, extra}
	top := set[:1]
	if extra.name != "" {
		top = set[:2]
	}
	above := 0
	// In order of names, so that the series is remembered under one order only.
	put := func(l otlpLabel) {
		for above < len(top) && top[above].name < l.name {
			b.Label(top[above].name, top[above].value)
			above++
		}
		for _, t := range top {
			if t.name == l.name {
				return
			}
		}
		if l.value != "" {
			b.Label(l.name, l.value)
		}
	}
	own := w.labels
	for len(own) > 0 || len(context) > 0 {
		switch {
		case len(context) == 0 || len(own) > 0 && own[0].name < context[0].name:
			put(own[0])
			own = own[1:]
		case len(own) == 0 || context[0].name < own[0].name:
			put(context[0])
			context = context[1:]
		case context[0].strong || own[0].value == "":
			own = own[1:]
		default:
			context = context[1:]
		}
	}
	for _, l := range top[above:] {
		b.Label(l.name, l.value)
	}
	return nil
}

// escape gives the labels the names that they have in the store. Attributes that
// get the same name are one label, with the values joined by ";".
func (w *otlpWork) escape() (err error) {
	sorted := true
	for i := range w.labels {
		l := &w.labels[i]
		key := l.name
		if l.name, err = w.names.label(key); err != nil {
			return refuseOTLP("invalid_attribute", "the attribute %q: %w", key, err)
		}
		sorted = sorted && (i == 0 || w.labels[i-1].name < l.name)
	}
	if sorted {
		return nil
	}
	slices.SortStableFunc(w.labels, byOTLPName)
	kept := w.labels[:0]
	for i := 0; i < len(w.labels); {
		l := w.labels[i]
		n := 1
		for i+n < len(w.labels) && w.labels[i+n].name == l.name {
			n++
		}
		if n > 1 {
			l.value = joinOTLP(w.labels[i : i+n])
		}
		kept = append(kept, l)
		i += n
	}
	w.labels = kept
	return nil
}

// joinOTLP joins the values of labels of one name. Nothing stands before a first
// value that is empty.
func joinOTLP(same []otlpLabel) string {
	var s strings.Builder
	for _, l := range same {
		if s.Len() > 0 {
			s.WriteByte(';')
		}
		s.WriteString(l.value)
	}
	return s.String()
}
