package ingest

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/VictoriaMetrics/easyproto"
	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/otlptranslator"
)

// otlpWork walks one request and hands its data points to a batch. The fields of
// a message may come in any order, so that each message is read twice: for what
// its data points have in common, and for them. Its slices are used again by the
// next request.
type otlpWork struct {
	o       *OTLP
	names   *otlpNames
	now     time.Time
	b       *Batch
	info    *Batch // target_info
	points  int    // data points seen
	written int    // bytes of series' keys

	// The resource.
	resource    []otlpAttr
	resourceBad *otlpRefusal
	shard       uint8 // of its delta states
	job         string
	instance    string
	first, last uint64 // the times of its data points, in Unix nanoseconds

	// The labels that resource and scope give to each series: as they were added,
	// of which the first are the resource's, and as they count.
	context     []otlpLabel
	resourceLen int
	merged      []otlpLabel
	scopeBad    *otlpRefusal

	metric    otlpMetric
	metricBad *otlpRefusal

	// The data point.
	attrs     [][]byte // KeyValues
	nAttrs    int
	exemplars [][]byte
	pointBad  *otlpRefusal
	hist      otlpHist
	exp       otlpExp

	// raw is what a series is known by: of the context, the metric, the data point,
	// and which of its series. See begin.
	raw                             []byte
	contextLen, metricLen, pointLen int
	labels                          []otlpLabel
	infoRaw                         []byte

	// Metrics of delta temporality wait for the locks of their states.
	deferred []otlpDeferred
	shards   uint64 // a bit for each
	adding   bool   // this is the second walk, of those
	pending  map[otlpDeltaKey]*otlpDelta
	fresh    int // states that the request makes
}

// otlpMetric is what the data points of a metric have in common.
type otlpMetric struct {
	name, unit  string
	kind        uint32 // the field of its data; 0 for none
	data        []byte
	temporality uint64
	monotonic   bool
	series      string // the name in the store
}

// request walks an ExportMetricsServiceRequest. An error means that it is not
// well-formed.
func (w *otlpWork) request(src []byte) (err error) {
	var fc easyproto.FieldContext
	for len(src) > 0 {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		if fc.FieldNum != otlpResourceMetrics {
			continue
		}
		p, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		if err := w.resourceMetrics(p); err != nil {
			return err
		}
	}
	return nil
}

func (w *otlpWork) resourceMetrics(msg []byte) (err error) {
	var fc easyproto.FieldContext
	var resource otlpMessage
	for src := msg; len(src) > 0; {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		if fc.FieldNum == otlpResource && !resource.add(&fc) {
			return errWire
		}
	}
	if err := w.beginResource(resource.data); err != nil {
		return err
	}
	w.first, w.last = math.MaxUint64, 0
	for src := msg; len(src) > 0; {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		if fc.FieldNum != otlpScopeMetrics {
			continue
		}
		p, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		if err := w.scopeMetrics(resource.data, p); err != nil {
			return err
		}
	}
	if w.first == math.MaxUint64 || w.resourceBad != nil {
		return nil
	}
	return w.targetInfo(resource.data)
}

// beginResource makes msg, a Resource, the one of what follows.
func (w *otlpWork) beginResource(msg []byte) (err error) {
	w.resource, w.context, w.resourceBad, w.job, w.instance = w.resource[:0], w.context[:0], nil, "", ""
	defer func() {
		w.resourceLen = len(w.context)
		w.shard = uint8(xxhash.Sum64String(w.job)^xxhash.Sum64String(w.instance)) % otlpDeltaShards
	}()
	w.resource, w.resourceBad, err = w.attributesOf(w.resource, msg, otlpResourceAttributes, "resource")
	if err != nil || w.resourceBad != nil {
		return err
	}
	for _, a := range w.resource {
		if !w.names.promotes(a.key) {
			continue
		}
		text, err := otlpText(a.value, w.o.cfg.MaxDepth)
		if err == nil {
			err = w.addContext(a.key, text, false)
		}
		if err != nil {
			return w.keepRefusal(&w.resourceBad, err)
		}
	}
	service, hasService := w.resourceText("service.name")
	if namespace, ok := w.resourceText("service.namespace"); ok && hasService {
		service = namespace + "/" + service
	}
	w.job = service
	w.instance, _ = w.resourceText("service.instance.id")
	return nil
}

// keepRefusal keeps err when it is about a part of the request, and returns it
// when the request is not well-formed.
func (w *otlpWork) keepRefusal(to **otlpRefusal, err error) error {
	r, is := err.(*otlpRefusal)
	if !is {
		return err
	}
	*to = r
	return nil
}

// resourceText is the value of a resource's attribute: of the first, should
// there be more.
func (w *otlpWork) resourceText(key string) (string, bool) {
	for _, a := range w.resource {
		if a.key == key {
			text, err := otlpText(a.value, w.o.cfg.MaxDepth)
			if err != nil && w.resourceBad == nil {
				w.resourceBad = refuseOTLP("invalid_attribute", "the resource's attribute %q: %w", key, err)
			}
			return text, true
		}
	}
	return "", false
}

// attributesOf appends the attributes in a field of msg to list. bad says that
// there are more than we take.
func (w *otlpWork) attributesOf(list []otlpAttr, msg []byte, field uint32, of string) (_ []otlpAttr, bad *otlpRefusal, err error) {
	var fc easyproto.FieldContext
	for len(msg) > 0 {
		if msg, err = otlpNext(&fc, msg); err != nil {
			return list, nil, err
		}
		if fc.FieldNum != field {
			continue
		}
		p, ok := fc.MessageData()
		if !ok {
			return list, nil, errWire
		}
		if bad == nil {
			bad = w.tooMuch(len(list)+1, len(p), of)
		}
		if bad != nil {
			continue
		}
		a, err := parseOTLPAttr(p)
		if err != nil {
			return list, nil, err
		}
		list = append(list, a)
	}
	return list, bad, nil
}

// tooMuch says that an attribute is one too many, or too large.
func (w *otlpWork) tooMuch(n, size int, of string) *otlpRefusal {
	switch cfg := &w.o.cfg; {
	case n > cfg.MaxAttributes:
		return refuseOTLP("too_many_attributes", "the %s has more than %d attributes", of, cfg.MaxAttributes)
	case size > cfg.MaxAttributeBytes:
		return refuseOTLP("attribute_too_large", "the %s has an attribute of %d bytes; at most %d are taken", of, size, cfg.MaxAttributeBytes)
	}
	return nil
}

func (w *otlpWork) scopeMetrics(resource, msg []byte) (err error) {
	var fc easyproto.FieldContext
	var scope otlpMessage
	var schemaURL string
	for src := msg; len(src) > 0; {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		ok := true
		switch fc.FieldNum {
		case otlpScope:
			ok = scope.add(&fc)
		case otlpScopeSchemaURL:
			schemaURL, ok = fc.String()
		}
		if !ok {
			return errWire
		}
	}
	if err := w.beginScope(scope.data, schemaURL); err != nil {
		return err
	}
	for src := msg; len(src) > 0; {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		if fc.FieldNum != otlpMetrics {
			continue
		}
		p, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		if err := w.oneMetric(p); err != nil {
			return err
		}
		if w.metric.data != nil && w.isDelta() {
			w.deferred = append(w.deferred, otlpDeferred{resource, scope.data, schemaURL, w.metric})
			w.shards |= 1 << w.shard
		}
	}
	return nil
}

// beginScope makes msg, an InstrumentationScope, the one of what follows.
func (w *otlpWork) beginScope(msg []byte, schemaURL string) (err error) {
	w.context, w.scopeBad = w.context[:w.resourceLen], nil
	if w.job != "" {
		w.context = append(w.context, otlpLabel{"job", w.job, true})
	}
	if w.instance != "" {
		w.context = append(w.context, otlpLabel{"instance", w.instance, true})
	}
	defer w.mergeContext()
	if !w.names.cfg.PromoteScopeMetadata {
		return nil
	}
	var fc easyproto.FieldContext
	var name, version string
	for src := msg; len(src) > 0; {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		ok := true
		switch fc.FieldNum {
		case otlpScopeName:
			name, ok = fc.String()
		case otlpScopeVersion:
			version, ok = fc.String()
		}
		if !ok {
			return errWire
		}
	}
	if name == "" {
		return nil
	}
	attrs, bad, err := w.attributesOf(nil, msg, otlpScopeAttributes, "scope")
	if err != nil || bad != nil {
		w.scopeBad = bad
		return err
	}
	for _, a := range attrs {
		text, err := otlpText(a.value, w.o.cfg.MaxDepth)
		if err == nil {
			err = w.addContext("otel_scope_"+a.key, text, true)
		}
		if err != nil {
			return w.keepRefusal(&w.scopeBad, err)
		}
	}
	w.context = append(w.context,
		otlpLabel{"otel_scope_name", validUTF8(name), true},
		otlpLabel{"otel_scope_version", validUTF8(version), true},
		otlpLabel{"otel_scope_schema_url", validUTF8(schemaURL), true})
	return nil
}

// oneMetric reads a Metric and adds its data points, unless they are to wait for
// their states.
func (w *otlpWork) oneMetric(msg []byte) (err error) {
	w.metric, w.metricBad = otlpMetric{}, nil
	m := &w.metric
	var fc easyproto.FieldContext
	var data otlpMessage
	for src := msg; len(src) > 0; {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		ok := true
		switch fc.FieldNum {
		case otlpMetricName:
			m.name, ok = fc.String()
		case otlpMetricUnit:
			m.unit, ok = fc.String()
		case otlpGauge, otlpSum, otlpHistogram, otlpExpHistogram, otlpSummary:
			if fc.FieldNum != m.kind { // of several kinds, the last one counts
				m.kind, data = fc.FieldNum, otlpMessage{}
			}
			ok = data.add(&fc)
		}
		if !ok {
			return errWire
		}
	}
	if m.data = data.data; len(m.data) == 0 {
		w.b.Skip("no_data")
		return nil
	}
	if err := m.aggregation(); err != nil {
		return err
	}
	w.metricBad = w.nameMetric()
	if w.isDelta() {
		return w.times(m.data)
	}
	return w.dataPoints()
}

// aggregation reads what stands beside the data points.
func (m *otlpMetric) aggregation() (err error) {
	if m.kind == otlpGauge || m.kind == otlpSummary {
		m.temporality = otlpTemporalityCumulative
		return nil
	}
	var fc easyproto.FieldContext
	for src := m.data; len(src) > 0; {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		ok := true
		switch {
		case fc.FieldNum == otlpTemporality:
			m.temporality, ok = fc.Uint64()
		case fc.FieldNum == otlpIsMonotonic && m.kind == otlpSum:
			var u uint64
			u, ok = fc.Uint64()
			m.monotonic = u != 0
		}
		if !ok {
			return errWire
		}
	}
	return nil
}

// isDelta reports whether the metric is to wait for the locks of its states.
func (w *otlpWork) isDelta() bool {
	return w.metric.temporality == otlpTemporalityDelta && w.metricBad == nil && w.scopeBad == nil && w.resourceBad == nil
}

// nameMetric gives the metric its name in the store.
func (w *otlpWork) nameMetric() *otlpRefusal {
	m := &w.metric
	if m.temporality != otlpTemporalityDelta && m.temporality != otlpTemporalityCumulative {
		return refuseOTLP("invalid_temporality", "the metric has neither cumulative nor delta temporality")
	}
	t := otlptranslator.Metric{Name: m.name, Unit: m.unit}
	switch m.kind {
	case otlpGauge:
		t.Type = otlptranslator.MetricTypeGauge
	case otlpSum:
		t.Type = otlptranslator.MetricTypeNonMonotonicCounter
		if m.monotonic {
			t.Type = otlptranslator.MetricTypeMonotonicCounter
		}
	case otlpHistogram:
		t.Type = otlptranslator.MetricTypeHistogram
	case otlpExpHistogram:
		t.Type = otlptranslator.MetricTypeExponentialHistogram
	case otlpSummary:
		t.Type = otlptranslator.MetricTypeSummary
	}
	name, err := w.names.metric(t)
	if err != nil {
		return refuseOTLP("invalid_name", "%w", err)
	}
	m.series = name
	return nil
}

// dataPoints adds the data points of the metric.
func (w *otlpWork) dataPoints() (err error) {
	w.raw = appendSized(w.raw[:w.contextLen], w.metric.series)
	w.metricLen = len(w.raw)
	var fc easyproto.FieldContext
	for src := w.metric.data; len(src) > 0; {
		if src, err = otlpNext(&fc, src); err != nil {
			return err
		}
		if fc.FieldNum != otlpPoints {
			continue
		}
		p, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		w.points++
		w.raw = w.raw[:w.metricLen]
		w.attrs, w.nAttrs, w.exemplars, w.pointBad = w.attrs[:0], 0, w.exemplars[:0], nil
		switch w.metric.kind {
		case otlpGauge, otlpSum:
			err = w.number(p)
		case otlpHistogram:
			err = w.histogram(p)
		case otlpExpHistogram:
			err = w.exponential(p)
		case otlpSummary:
			err = w.summary(p)
		}
		if r, is := err.(*otlpRefusal); is {
			w.refuse(r)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// times notes the times of data points that wait.
func (w *otlpWork) times(data []byte) (err error) {
	var fc, point easyproto.FieldContext
	for len(data) > 0 {
		if data, err = otlpNext(&fc, data); err != nil {
			return err
		}
		if fc.FieldNum != otlpPoints {
			continue
		}
		p, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		for len(p) > 0 {
			if p, err = otlpNext(&point, p); err != nil {
				return err
			}
			if point.FieldNum != otlpPointTime {
				continue
			}
			t, ok := point.Fixed64()
			if !ok {
				return errWire
			}
			w.timed(t)
		}
	}
	return nil
}

// timed notes the time of a data point.
func (w *otlpWork) timed(t uint64) {
	if t != 0 {
		w.first, w.last = min(w.first, t), max(w.last, t)
	}
}

// refuse refuses a data point.
func (w *otlpWork) refuse(r *otlpRefusal) {
	err := r.err
	if len(w.b.out.Refused) < keptRefusals { // only these are told
		err = fmt.Errorf("metric %.100q: %w", validUTF8(w.metric.name), err)
	}
	w.b.Refuse(0, r.reason, err)
}

// attribute takes the KeyValue in fc for the data point.
func (w *otlpWork) attribute(fc *easyproto.FieldContext) bool {
	p, ok := fc.MessageData()
	if !ok {
		return false
	}
	w.nAttrs++
	if w.pointBad == nil {
		w.pointBad = w.tooMuch(w.nAttrs, len(p), "data point")
	}
	if w.pointBad == nil {
		w.raw = append(binary.AppendUvarint(w.raw, uint64(len(p))), p...)
		w.attrs = append(w.attrs, p)
	}
	return true
}

// exemplar takes the Exemplar in fc for the data point.
func (w *otlpWork) exemplar(fc *easyproto.FieldContext) bool {
	p, ok := fc.MessageData()
	if !ok {
		return false
	}
	if len(w.exemplars) < maxOTLPExemplars {
		w.exemplars = append(w.exemplars, p)
	} else {
		w.b.Skip("exemplar")
	}
	return true
}

// maxOTLPExemplars is how many exemplars of a data point are looked at.
const maxOTLPExemplars = 1000

// check ends the reading of a data point, and says why it is not taken.
func (w *otlpWork) check(t uint64) *otlpRefusal {
	w.pointLen = len(w.raw)
	if !w.adding {
		w.timed(t)
	}
	switch {
	case w.resourceBad != nil:
		return w.resourceBad
	case w.scopeBad != nil:
		return w.scopeBad
	case w.metricBad != nil:
		return w.metricBad
	case w.pointBad != nil:
		return w.pointBad
	case t == 0:
		return errOTLPNoTime
	}
	return nil
}

var errOTLPNoTime = refuseOTLP("no_time", "a data point has no time; set time_unix_nano")

// otlpMillis converts a time, as Prometheus does.
func otlpMillis(nanos uint64) int64 { return int64(nanos) / 1e6 }

// otlpSpace is that of data points, otlpInfoSpace that of resources.
const (
	otlpSpace     = 7
	otlpInfoSpace = 11
)

// otlpPart is which series of a data point.
type otlpPart byte

const (
	otlpWhole otlpPart = iota
	otlpSumOf
	otlpCountOf
	otlpBucketOf // with its upper bound
	otlpQuantileOf
)

// maxOTLPWritten bounds the bytes of series' keys that a request may ask for.
// The attributes of a histogram stand in each of its buckets.
const maxOTLPWritten = 1 << 30

// begin begins a series of the data point; bound is its bucket or quantile. One
// that was seen before is found by the bytes that name it in the request, in the
// order in which they stand there, without a look at its labels.
func (w *otlpWork) begin(part otlpPart, bound float64) error {
	raw := binary.LittleEndian.AppendUint64(append(w.raw[:w.pointLen], byte(part)), math.Float64bits(bound))
	w.raw = raw
	if w.written += len(raw); w.written > maxOTLPWritten {
		return errOTLPWritten
	}
	if e := after(w.b.prev, otlpSpace); e != nil && e.key == string(raw) {
		w.b.use(e)
		return nil
	}
	if w.b.beginRaw(otlpSpace, raw) {
		return nil
	}
	name, extra := w.metric.series, otlpLabel{}
	switch part {
	case otlpSumOf:
		name += "_sum"
	case otlpCountOf:
		name += "_count"
	case otlpBucketOf:
		name += "_bucket"
		extra = otlpLabel{name: "le", value: otlpBound(bound)}
	case otlpQuantileOf:
		extra = otlpLabel{name: "quantile", value: otlpBound(bound)}
	}
	attrs := make([]otlpAttr, 0, len(w.attrs))
	for _, p := range w.attrs {
		a, err := parseOTLPAttr(p)
		if err != nil {
			return err
		}
		attrs = append(attrs, a)
	}
	if err := w.build(w.b, attrs, otlpReserved, w.merged, name, extra); err != nil {
		return err
	}
	w.b.knownAs(otlpSpace, raw, 0)
	return nil
}

var errOTLPWritten = refuseOTLP("too_many_labels", "the request asks for more than %d bytes of labels; send fewer data points at once", maxOTLPWritten)

// otlpReserved are attributes that no data point may set.
var otlpReserved = []string{"__name__"}
