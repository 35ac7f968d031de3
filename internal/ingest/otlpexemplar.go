package ingest

import (
	"encoding/hex"
	"unicode/utf8"

	"github.com/VictoriaMetrics/easyproto"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
)

// maxExemplarRunes is how long the labels of an exemplar may be in OpenMetrics
// 1.0. What is beyond ids is left out when it does not fit.
const maxExemplarRunes = 128

// addExemplar adds an Exemplar to the series begun.
func (w *otlpWork) addExemplar(src []byte) error {
	e, ok, err := w.parseExemplar(src)
	if err != nil {
		return err
	}
	if !ok {
		w.b.Skip("exemplar")
		return nil
	}
	w.b.Exemplar(e)
	return nil
}

// parseExemplar reads an Exemplar; ok is false for one without a value.
func (w *otlpWork) parseExemplar(src []byte) (e exemplar.Exemplar, ok bool, err error) {
	var fc easyproto.FieldContext
	var t uint64
	var span, trace []byte
	var attrs []otlpAttr
	for len(src) > 0 {
		if src, err = otlpNext(&fc, src); err != nil {
			return e, false, err
		}
		right := true
		switch fc.FieldNum {
		case otlpExemplarTime:
			t, right = fc.Fixed64()
		case otlpExemplarDouble:
			e.Value, right = fc.Double()
			ok = true
		case otlpExemplarInt:
			var i int64
			i, right = fc.Sfixed64()
			e.Value, ok = float64(i), true
		case otlpExemplarSpanID:
			span, right = fc.Bytes()
		case otlpExemplarTraceID:
			trace, right = fc.Bytes()
		case otlpExemplarAttributes:
			var p []byte
			if p, right = fc.MessageData(); right && len(attrs) <= maxExemplarRunes {
				a, err := parseOTLPAttr(p)
				if err != nil {
					return e, false, err
				}
				attrs = append(attrs, a)
			}
		}
		if !right {
			return e, false, errWire
		}
	}
	lb := labels.NewScratchBuilder(2 + len(attrs))
	runes := 0
	add := func(name, value string) {
		lb.Add(name, value)
		runes += utf8.RuneCountInString(name) + utf8.RuneCountInString(value)
	}
	if otlpID(trace, 16) {
		add("trace_id", hex.EncodeToString(trace))
	}
	if otlpID(span, 8) {
		add("span_id", hex.EncodeToString(span))
	}
	for i, a := range attrs {
		if len(a.key)+len(a.value) > w.o.cfg.MaxAttributeBytes {
			attrs = nil
			break
		}
		text, err := otlpText(a.value, w.o.cfg.MaxDepth)
		if _, refused := err.(*otlpRefusal); refused {
			attrs = nil
			break
		} else if err != nil {
			return e, false, err
		}
		runes += utf8.RuneCountInString(a.key) + utf8.RuneCountInString(text)
		attrs[i].value = []byte(text)
	}
	if runes <= maxExemplarRunes {
		for _, a := range attrs {
			lb.Add(validUTF8(a.key), string(a.value))
		}
	}
	lb.Sort()
	e.Labels = lb.Labels()
	e.Ts = otlpMillis(t)
	e.HasTs = e.Ts != 0
	return e, ok, nil
}

// otlpID reports whether an id is one: of the length that it has, and not zero.
func otlpID(id []byte, size int) bool {
	for _, c := range id {
		if c != 0 {
			return len(id) == size
		}
	}
	return false
}
