package ingest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// PushGroup tells of one group that is held.
type PushGroup struct {
	Labels map[string]string `json:"labels"`
	Series int               `json:"series"` // with its two times
	// Pushed is the last push that was taken, Failed the last that was not; zero
	// for never.
	Pushed time.Time `json:"pushed"`
	Failed time.Time `json:"failed"`
	OK     bool      `json:"last_push_successful"`
}

// Groups lists the groups by their labels.
func (p *Push) Groups() []PushGroup {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := []PushGroup{}
	for _, g := range p.sorted() {
		out = append(out, PushGroup{Labels: g.labelMap(), Series: len(g.series), Pushed: g.pushed, Failed: g.failed, OK: g.ok()})
	}
	return out
}

// sorted are the groups by key. The caller holds mu.
func (p *Push) sorted() []*pushGroup {
	var out []*pushGroup
	for _, g := range p.groups {
		if !g.gone {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *pushGroup) int { return strings.Compare(a.key, b.key) })
	return out
}

func (g *pushGroup) ok() bool { return g.pushed.After(g.failed) }

func (g *pushGroup) labelMap() map[string]string {
	m := make(map[string]string, len(g.labels))
	for _, l := range g.labels {
		m[l.name] = l.value
	}
	return m
}

// API answers GET /api/v1/metrics as the Pushgateway does: the groups with their
// families by name.
func (p *Push) API(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the groups are read with GET", http.StatusMethodNotAllowed)
		return
	}
	p.mu.RLock()
	groups := p.sorted() // a group in the map is never changed, but for what only writing uses
	p.mu.RUnlock()
	data := []map[string]any{}
	for _, g := range groups {
		one := map[string]any{}
		for name, f := range g.families {
			one[name] = f.shown(g)
		}
		for name, at := range map[string]time.Time{pushTime: g.pushed, pushFailure: g.failed} {
			v := unixSeconds(at)
			mf := &dto.MetricFamily{Name: &name, Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: &v}}}}
			mf.Help = proto.String(pushHelp[name])
			one[name] = pushFamily{mf, at}.shown(g)
		}
		one["labels"] = g.labelMap()
		one["last_push_successful"] = g.ok()
		data = append(data, one)
	}
	body, err := json.Marshal(map[string]any{"status": "success", "data": data})
	if err != nil {
		http.Error(w, fmt.Sprintf("write the groups as JSON: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // a reader that has gone cannot be told
}

var pushHelp = map[string]string{
	pushTime:    "Unix time of the last push to this group that was taken.",
	pushFailure: "Unix time of the last push to this group that was not taken.",
}

// shown is a family as the API has it. Numbers are strings there: JSON has no
// NaN.
func (f pushFamily) shown(g *pushGroup) map[string]any {
	metrics := make([]map[string]any, 0, len(f.mf.GetMetric()))
	for _, m := range f.mf.GetMetric() {
		metrics = append(metrics, pushShown(m, g))
	}
	out := map[string]any{"time_stamp": f.pushed, "type": f.mf.GetType().String(), "metrics": metrics}
	if help := f.mf.GetHelp(); help != "" {
		out["help"] = help
	}
	return out
}

func pushShown(m *dto.Metric, g *pushGroup) map[string]any {
	ls := map[string]string{"instance": ""} // as the real one: a scrape must not put its own there
	for _, l := range m.GetLabel() {
		ls[l.GetName()] = l.GetValue()
	}
	for _, l := range g.labels {
		ls[l.name] = l.value
	}
	out := map[string]any{"labels": ls}
	switch {
	case m.Counter != nil:
		out["value"] = fmt.Sprint(m.Counter.GetValue())
	case m.Gauge != nil:
		out["value"] = fmt.Sprint(m.Gauge.GetValue())
	case m.Untyped != nil:
		out["value"] = fmt.Sprint(m.Untyped.GetValue())
	case m.Summary != nil:
		quantiles := map[string]string{}
		for _, q := range m.Summary.GetQuantile() {
			quantiles[fmt.Sprint(q.GetQuantile())] = fmt.Sprint(q.GetValue())
		}
		out["quantiles"] = quantiles
		out["count"], out["sum"] = fmt.Sprint(m.Summary.GetSampleCount()), fmt.Sprint(m.Summary.GetSampleSum())
	case m.Histogram != nil:
		pushShowHistogram(out, m.Histogram)
	}
	return out
}

func pushShowHistogram(out map[string]any, h *dto.Histogram) {
	count := float64(h.GetSampleCount())
	if h.GetSampleCountFloat() > 0 {
		count = h.GetSampleCountFloat()
	}
	out["count"], out["sum"] = fmt.Sprint(count), fmt.Sprint(h.GetSampleSum())
	if s, err := pushNative(h, false); err == nil && isPushNative(h) {
		fh := s.fh
		if s.h != nil {
			fh = s.h.ToFloat(nil)
		}
		buckets := [][4]any{}
		for it := fh.AllBucketIterator(); it.Next(); {
			b := it.At()
			if b.Count == 0 {
				continue
			}
			rule := 0 // which bounds are inside: 0 the upper, 1 the lower, 2 none, 3 both
			switch {
			case b.LowerInclusive && b.UpperInclusive:
				rule = 3
			case b.LowerInclusive:
				rule = 1
			case !b.UpperInclusive:
				rule = 2
			}
			buckets = append(buckets, [4]any{rule, fmt.Sprint(b.Lower), fmt.Sprint(b.Upper), fmt.Sprint(b.Count)})
		}
		out["buckets"] = buckets
		return
	}
	buckets := map[string]string{}
	for _, k := range h.GetBucket() {
		n := cmp.Or(k.GetCumulativeCountFloat(), float64(k.GetCumulativeCount()))
		buckets[fmt.Sprint(k.GetUpperBound())] = fmt.Sprint(n)
	}
	out["buckets"] = buckets
}

// pushText shows a series by its key.
func pushText(key string) string {
	b := labels.NewScratchBuilder(8)
	eachSized([]byte(key), b.Add)
	return b.Labels().String()
}

// pushStoreKey names a group in the store, readable and the same for groups
// that differ in empty labels alone.
func pushStoreKey(group []pushLabel) string { return pushText(pushKey(group)) }

// pushHeader begins a group's blob: one line of JSON, then its families in
// protobuf, each with its length before it.
type pushHeader struct {
	Version int               `json:"v"`
	Labels  map[string]string `json:"labels"`
	Pushed  time.Time         `json:"pushed"`
	Failed  time.Time         `json:"failed"`
	// Times are the pushes of the families by name.
	Times map[string]time.Time `json:"times"`
}

const pushVersion = 1

// encode writes the group for the store.
func (g *pushGroup) encode() []byte {
	head := pushHeader{pushVersion, g.labelMap(), g.pushed, g.failed, map[string]time.Time{}}
	for name, f := range g.families {
		head.Times[name] = f.pushed
	}
	out, err := json.Marshal(head)
	if err != nil {
		panic(fmt.Sprintf("BUG: the header of a group: %v", err))
	}
	out = append(out, '\n')
	for _, f := range g.families {
		out = protowire.AppendVarint(out, uint64(proto.Size(f.mf)))
		if out, err = (proto.MarshalOptions{}).MarshalAppend(out, f.mf); err != nil {
			panic(fmt.Sprintf("BUG: a family that was read cannot be written: %v", err))
		}
	}
	return out
}

// decodePushGroup reads what encode wrote; its series are not built.
func decodePushGroup(blob []byte) (*pushGroup, error) {
	line, rest, ok := bytes.Cut(blob, []byte("\n"))
	if !ok {
		return nil, fmt.Errorf("the blob of %d bytes has no header", len(blob))
	}
	var head pushHeader
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	if head.Version != pushVersion {
		return nil, fmt.Errorf("the version is %d; this program reads %d", head.Version, pushVersion)
	}
	families, err := pushProtobuf(rest)
	if err != nil {
		return nil, err
	}
	g := &pushGroup{families: map[string]pushFamily{}, pushed: head.Pushed, failed: head.Failed}
	for name, value := range head.Labels {
		g.labels = append(g.labels, pushLabel{name, value})
	}
	slices.SortFunc(g.labels, func(a, b pushLabel) int { return strings.Compare(a.name, b.name) })
	g.key = pushKey(g.labels)
	for name, mf := range families {
		g.families[name] = pushFamily{mf, head.Times[name]}
	}
	return g, nil
}
