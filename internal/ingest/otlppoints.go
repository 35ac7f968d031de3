package ingest

import (
	"math"
	"strconv"

	"github.com/VictoriaMetrics/easyproto"
	"github.com/prometheus/prometheus/model/value"
)

// otlpBound is a bound of a bucket, or a quantile, as a label has it.
func otlpBound(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

var staleNaN = math.Float64frombits(value.StaleNaN)

// number adds a NumberDataPoint of a gauge or a sum.
func (w *otlpWork) number(src []byte) (err error) {
	var fc easyproto.FieldContext
	var start, t, flags uint64
	var v float64
	for len(src) > 0 {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		ok := true
		switch fc.FieldNum {
		case otlpNumberStart:
			start, ok = fc.Fixed64()
		case otlpNumberTime:
			t, ok = fc.Fixed64()
		case otlpNumberDouble:
			v, ok = fc.Double()
		case otlpNumberInt:
			var i int64
			i, ok = fc.Sfixed64()
			v = float64(i)
		case otlpNumberAttributes:
			ok = w.attribute(&fc)
		case otlpNumberExemplars:
			ok = w.exemplar(&fc)
		case otlpNumberFlags:
			flags, ok = fc.Uint64()
		}
		if !ok {
			return errWire
		}
	}
	if bad := w.check(t); bad != nil {
		return bad
	}
	if err := w.begin(otlpWhole, 0); err != nil {
		return err
	}
	ms, stale := otlpMillis(t), flags&otlpNoRecordedValue != 0
	if w.adding {
		if v, err = w.addNumber(start, t, v, stale); err != nil {
			return err
		}
	}
	if stale {
		w.b.Point(0, ms, staleNaN)
		return nil
	}
	w.b.Point(0, ms, v)
	if w.metric.kind == otlpSum { // a gauge's exemplars are not kept
		for _, p := range w.exemplars {
			if err := w.addExemplar(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// add adds a sample to a series of the data point.
func (w *otlpWork) add(part otlpPart, bound float64, ms int64, v float64) error {
	err := w.begin(part, bound)
	if err == nil {
		w.b.Point(0, ms, v)
	}
	return err
}

// summary adds a SummaryDataPoint.
func (w *otlpWork) summary(src []byte) (err error) {
	var fc easyproto.FieldContext
	var t, count, flags uint64
	var sum float64
	quantiles := 0
	msg := src
	for len(src) > 0 {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		ok := true
		switch fc.FieldNum {
		case otlpSummaryTime:
			t, ok = fc.Fixed64()
		case otlpSummaryCount:
			count, ok = fc.Fixed64()
		case otlpSummarySum:
			sum, ok = fc.Double()
		case otlpSummaryAttributes:
			ok = w.attribute(&fc)
		case otlpSummaryFlags:
			flags, ok = fc.Uint64()
		case otlpSummaryQuantiles:
			quantiles++
			var p []byte
			if p, ok = fc.MessageData(); ok {
				if _, _, err := otlpQuantileOfSummary(p); err != nil {
					return err
				}
			}
		}
		if !ok {
			return errWire
		}
	}
	bad := w.check(t)
	if bad == nil && quantiles > w.o.cfg.MaxBuckets {
		bad = refuseOTLP("too_many_buckets", "a summary has %d quantiles; at most %d are taken", quantiles, w.o.cfg.MaxBuckets)
	}
	if bad != nil {
		return bad
	}
	ms, stale := otlpMillis(t), flags&otlpNoRecordedValue != 0
	whole := float64(count)
	if stale {
		sum, whole = staleNaN, staleNaN
	}
	if err := w.add(otlpSumOf, 0, ms, sum); err != nil {
		return err
	}
	if err := w.add(otlpCountOf, 0, ms, whole); err != nil {
		return err
	}
	for src := msg; len(src) > 0; {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		if fc.FieldNum != otlpSummaryQuantiles {
			continue
		}
		p, _ := fc.MessageData()
		q, v, err := otlpQuantileOfSummary(p)
		if err != nil {
			return err
		}
		if stale {
			v = staleNaN
		}
		if err := w.add(otlpQuantileOf, q, ms, v); err != nil {
			return err
		}
	}
	return nil
}

// otlpQuantileOfSummary reads a ValueAtQuantile.
func otlpQuantileOfSummary(src []byte) (q, v float64, err error) {
	var fc easyproto.FieldContext
	for len(src) > 0 {
		if src, err = otlpNext(&fc, src); err != nil {
			return 0, 0, err
		}
		ok := true
		switch fc.FieldNum {
		case otlpQuantile:
			q, ok = fc.Double()
		case otlpQuantileValue:
			v, ok = fc.Double()
		}
		if !ok {
			return 0, 0, errWire
		}
	}
	return q, v, nil
}
