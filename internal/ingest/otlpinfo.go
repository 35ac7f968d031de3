package ingest

import (
	"slices"
	"time"
)

// Attributes that say which target a resource is. They become job and instance.
var otlpIdentifying = []string{"service.namespace", "service.name", "service.instance.id"}

// maxOTLPInfo is how long a time before its last data point a resource is
// described for.
const maxOTLPInfo = 24 * time.Hour

// targetInfo adds samples of target_info, which has the attributes of a resource
// that do not become labels of its series: from its first data point to the last
// one, near enough to each other to be found by a query of any time between. msg
// is the Resource.
func (w *otlpWork) targetInfo(msg []byte) error {
	others := len(w.resource)
	for _, key := range otlpIdentifying {
		if slices.ContainsFunc(w.resource, func(a otlpAttr) bool { return a.key == key }) {
			others--
		}
	}
	if others == 0 {
		return nil
	}
	// As with the series of data points, one that was seen is known by its bytes.
	raw := append(append(w.infoRaw[:0], w.names.flags), msg...)
	w.infoRaw = raw
	const most = 16 << 10
	if len(raw) > most || !w.info.beginRaw(otlpInfoSpace, raw) {
		if known, err := w.beginInfo(); err != nil || !known {
			return err
		}
		if len(raw) <= most {
			w.info.knownAs(otlpInfoSpace, raw, 0)
		}
	}
	first, last := time.Unix(0, int64(w.first)), time.Unix(0, int64(w.last))
	if first.Before(last.Add(-maxOTLPInfo)) {
		first = last.Add(-maxOTLPInfo)
	}
	for t := first; t.Before(last); t = t.Add(w.o.cfg.Lookback / 2) {
		w.info.Point(0, t.UnixMilli(), 1)
	}
	w.info.Point(0, last.UnixMilli(), 1)
	return nil
}

// beginInfo begins the series target_info of the resource; known is false for
// one that nothing could be joined with.
func (w *otlpWork) beginInfo() (known bool, err error) {
	ignore := otlpIdentifying
	if w.names.cfg.KeepIdentifyingResourceAttributes {
		ignore = nil
	}
	var context []otlpLabel
	if w.instance != "" {
		context = append(context, otlpLabel{"instance", w.instance, true})
	}
	if w.job != "" {
		context = append(context, otlpLabel{"job", w.job, true})
	}
	if err := w.build(w.info, w.resource, ignore, context, "target_info", otlpLabel{}); err != nil {
		if r, is := err.(*otlpRefusal); is {
			w.info.Refuse(0, r.reason, r.err)
			return false, nil
		}
		return false, err
	}
	identified := len(context) > 0
	for _, l := range w.labels {
		identified = identified || l.value != "" && (l.name == "job" || l.name == "instance")
	}
	return identified, nil
}
