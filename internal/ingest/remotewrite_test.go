package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// door is remote write in front of a store.
type door struct {
	t      *testing.T
	store  *metric.Store
	counts *ingest.Counts
	h      http.Handler
	v2     bool
}

func newDoor(t *testing.T, v2 bool, cfg metric.Config) *door {
	t.Helper()
	d := &door{t: t, store: openStore(t, t.TempDir(), cfg), counts: ingest.NewCounts(instrument.New(instrument.Config{})), v2: v2}
	d.h = ingest.RemoteWrite(ingest.NewSink(d.store, ingest.SinkConfig{IsLimit: metric.IsLimit}, d.counts), ingest.RemoteWriteConfig{}, quietLog())
	return d
}

// both runs a test for each version of the protocol, with a store of its own.
func both(t *testing.T, f func(t *testing.T, d *door)) {
	for name, v2 := range map[string]bool{"v1": false, "v2": true} {
		t.Run(name, func(t *testing.T) { f(t, newDoor(t, v2, metric.Config{})) })
	}
}

func pack(t testing.TB, msg proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(msg)
	if err != nil {
		t.Fatal(err)
	}
	out, err := compression.Encode(compression.Snappy, raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (d *door) raw(contentType, encoding string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	return w
}

func (d *door) send(in ...tsSeries) *httptest.ResponseRecorder {
	d.t.Helper()
	if d.v2 {
		return d.raw(typeV2, "snappy", pack(d.t, bodyV2(in)))
	}
	return d.raw(typeV1, "snappy", pack(d.t, bodyV1(in)))
}

// want checks the answer: its code, what is written by kind (told in 2.0 only),
// and that each reason stands in the body.
func (d *door) want(w *httptest.ResponseRecorder, code, samples, histograms, exemplars int, reasons ...string) {
	d.t.Helper()
	if w.Code != code {
		d.t.Errorf("got code %d (%s), want %d", w.Code, strings.TrimSpace(w.Body.String()), code)
	}
	for kind, n := range map[string]int{"Samples": samples, "Histograms": histograms, "Exemplars": exemplars} {
		name := "X-Prometheus-Remote-Write-" + kind + "-Written"
		want := ""
		if d.v2 {
			want = fmt.Sprint(n)
		}
		if got := w.Header().Get(name); got != want {
			d.t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
	for _, r := range reasons {
		if !strings.Contains(w.Body.String(), r) {
			d.t.Errorf("the answer %q does not say %q", w.Body.String(), r)
		}
	}
}

// stored checks all that the store holds: "series time value" a line, times
// relative to base.
func (d *door) stored(base int64, want ...string) {
	d.t.Helper()
	var got []string
	if err := dump(d.store, math.MinInt64, math.MaxInt64, func(series string, ts int64, v string) {
		got = append(got, fmt.Sprintf("%s %d %s", series, ts-base, v))
	}); err != nil {
		d.t.Fatal(err)
	}
	left := map[string]int{}
	for _, g := range got {
		left[g]++
	}
	for _, w := range want {
		if left[w]--; left[w] < 0 {
			d.t.Errorf("not stored: %s\nstored: %s", w, strings.Join(got, "\n"))
			return
		}
	}
	if len(got) != len(want) {
		d.t.Errorf("stored %d samples, want %d: %s", len(got), len(want), strings.Join(got, "\n"))
	}
}

// counted checks accepted = stored + rejected, and the reasons.
func (d *door) counted(stored int64, rejected map[string]int64) {
	d.t.Helper()
	name := "remote_write_v1"
	if d.v2 {
		name = "remote_write_v2"
	}
	for _, p := range d.counts.Snapshot() {
		if p.Protocol != name {
			continue
		}
		if p.Samples != stored {
			d.t.Errorf("counted %d stored, want %d", p.Samples, stored)
		}
		got := map[string]int64{}
		for _, r := range p.Rejected {
			got[r.Reason] = r.Count
		}
		if fmt.Sprint(got) != fmt.Sprint(rejected) {
			d.t.Errorf("counted as rejected %v, want %v", got, rejected)
		}
		return
	}
	d.t.Errorf("nothing was counted for %s", name)
}

func series(name string, points ...tsPoint) tsSeries {
	return tsSeries{labels: labels.FromStrings(labels.MetricName, name), points: points}
}

func at(ts int64, v float64) tsPoint { return tsPoint{t: ts, v: v} }

func line(name string, ts int64, v float64) string {
	return fmt.Sprintf("%s %d %s", labels.FromStrings(labels.MetricName, name), ts, floatText(v))
}

func TestRemoteWriteContentTypes(t *testing.T) {
	d := newDoor(t, false, metric.Config{})
	now := time.Now().UnixMilli()
	one, two := pack(t, bodyV1([]tsSeries{series("a", at(now, 1))})), pack(t, bodyV2([]tsSeries{series("a", at(now, 1))}))
	f := func(contentType, encoding string, body []byte, want int) {
		t.Helper()
		w := d.raw(contentType, encoding, body)
		if w.Code != want {
			t.Errorf("type %q, encoding %q: got %d (%s), want %d", contentType, encoding, w.Code, strings.TrimSpace(w.Body.String()), want)
		}
	}
	f("application/x-protobuf", "snappy", one, 204)
	f("application/x-protobuf;proto=prometheus.WriteRequest", "snappy", one, 204)
	f("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", two, 204)
	f("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy", two, 415)
	f("application/x-protobuf;proto", "snappy", two, 415)
	f("application/json", "snappy", one, 415)
	f("text/plain", "snappy", one, 415)
	f("application/x-protobuf", "zstd", one, 415)
	f("application/x-protobuf", "gzip", one, 415)
	f("application/x-protobuf", "snappy", []byte("no snappy at all"), 400)
	f("application/x-protobuf", "snappy", nil, 400)
	nonsense, err := compression.Encode(compression.Snappy, []byte{0xff, 0xff, 0xff}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f("application/x-protobuf", "snappy", nonsense, 400)
	f(typeV2, "snappy", nonsense, 400)
	bad := bodyV2([]tsSeries{series("a", at(now, 1))})
	bad.Symbols[0] = "x"
	f(typeV2, "snappy", pack(t, bad), 400)

	r := httptest.NewRequest(http.MethodGet, "/api/v1/write", nil)
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: got %d, want 405", w.Code)
	}
}

func TestRemoteWritePartial(t *testing.T) {
	both(t, func(t *testing.T, d *door) {
		now := time.Now().UnixMilli()
		d.want(d.send(series("old", at(now, 1))), 204, 1, 0, 0)
		w := d.send(
			series("good", at(now-10, 1), at(now, 2)),
			series("old", at(now, 7), at(now+1, 2)), // two values for one time
			series("ancient", at(now-2*3600_000, 1)),
			series("soon", at(now+3600_000, 1)),
			tsSeries{labels: labels.FromStrings("job", "nameless"), points: []tsPoint{at(now, 1), at(now+1, 1)}},
			tsSeries{labels: labels.FromStrings(labels.MetricName, "utf8", "l", "a\xc5z"), points: []tsPoint{at(now, 1)}},
			tsSeries{labels: labels.FromStrings(labels.MetricName, "", "l", "a"), points: []tsPoint{at(now, 1)}},
			series("good2", at(now, 3)),
		)
		d.want(w, 400, 4, 0, 0, `"old"`, "duplicate", `"ancient"`, "too old", `"soon"`, "ahead of this clock", "nameless", "no metric name", "utf8")
		d.stored(now, line("old", 0, 1), line("old", 1, 2), line("good", -10, 1), line("good", 0, 2), line("good2", 0, 3))
		d.counted(5, map[string]int64{"duplicate": 1, "too_old": 1, "future": 1, "invalid_labels": 4})
	})
}

func TestRemoteWriteOrder(t *testing.T) {
	both(t, func(t *testing.T, d *door) {
		now := time.Now().UnixMilli()
		// A new series: out of order within the request, and in two parts.
		d.want(d.send(series("a", at(now, 3), at(now-3600_000+60_000, 1)), series("b", at(now, 1)), series("a", at(now-1000, 2))), 204, 4, 0, 0)
		// Out of order against what is stored.
		d.want(d.send(series("a", at(now-2000, 5), at(now-60_000, 6))), 204, 2, 0, 0)
		d.stored(now, line("a", -3540_000, 1), line("a", -60_000, 6), line("a", -2000, 5), line("a", -1000, 2), line("a", 0, 3), line("b", 0, 1))
	})
}

func TestRemoteWriteIdempotent(t *testing.T) {
	both(t, func(t *testing.T, d *door) {
		now := time.Now().UnixMilli()
		h := histogramOf("h", now)
		req := []tsSeries{series("a", at(now-5, 1), at(now, math.NaN())), series("h", tsPoint{t: now, h: h}), series("fh", tsPoint{t: now, fh: h.ToFloat(nil)}),
			series("late", at(now, 1)), series("late", at(now-60_000, 2))}
		stored := []string{line("a", -5, 1), line("a", 0, math.NaN()), line("late", 0, 1), line("late", -60_000, 2),
			`{__name__="h"} 0 ` + h.ToFloat(nil).String(), `{__name__="fh"} 0 ` + h.ToFloat(nil).String()}
		for range 3 {
			d.want(d.send(req...), 204, 4, 2, 0)
			d.stored(now, stored...)
		}
		// The same twice within one request of new series.
		d.want(d.send(series("b", at(now, 1), at(now, 1)), series("g", tsPoint{t: now, h: h}), series("g", tsPoint{t: now, h: h.Copy()})), 204, 2, 2, 0)
		// Two values for one time, of new series, in one part and in two.
		other := h.Copy()
		other.Sum++
		w := d.send(series("c", at(now, 1), at(now, 2)), series("d", at(now, 1)), series("d", at(now, 2)), series("i", tsPoint{t: now, h: h}, tsPoint{t: now, h: other}),
			series("j", at(now, 1), tsPoint{t: now, h: h}))
		d.want(w, 400, 3, 1, 0, "two values")
		d.stored(now, append(stored, line("b", 0, 1), line("c", 0, 1), line("d", 0, 1), line("j", 0, 1),
			`{__name__="g"} 0 `+h.ToFloat(nil).String(), `{__name__="i"} 0 `+h.ToFloat(nil).String())...)
		d.counted(26, map[string]int64{"duplicate": 4})
	})
}

func TestRemoteWriteLabels(t *testing.T) {
	now := time.Now().UnixMilli()
	t.Run("v1", func(t *testing.T) {
		d := newDoor(t, false, metric.Config{})
		one := func(ls ...string) prompb.TimeSeries {
			ts := prompb.TimeSeries{Samples: []prompb.Sample{{Timestamp: now, Value: 1}}}
			for i := 0; i < len(ls); i += 2 {
				ts.Labels = append(ts.Labels, prompb.Label{Name: ls[i], Value: ls[i+1]})
			}
			return ts
		}
		w := d.raw(typeV1, "snappy", pack(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
			one("z", "1", "__name__", "unsorted", "a", "2"),
			one("__name__", "twice", "a", "1", "a", "1"),
			one("__name__", "empty", "a", ""),
			one(),
			one("__name__", "huge", "a", strings.Repeat("x", 17<<20)),
		}}))
		d.want(w, 400, 0, 0, 0, "twice", "no metric name", "label")
		d.stored(now, `{__name__="unsorted", a="2", z="1"} 0 3ff0000000000000`, line("empty", 0, 1))
		d.counted(2, map[string]int64{"invalid_labels": 3})
	})
	t.Run("v2", func(t *testing.T) {
		d := newDoor(t, true, metric.Config{})
		one := func(refs ...uint32) writev2.TimeSeries {
			return writev2.TimeSeries{LabelsRefs: refs, Samples: []writev2.Sample{{Timestamp: now, Value: 1}}}
		}
		many := make([]uint32, 0, 200_002) // 100,000 labels of 10 KB would be 1 GB
		for range 100_001 {
			many = append(many, 3, 4)
		}
		req := &writev2.Request{
			Symbols: []string{"", "__name__", "m", "a", strings.Repeat("x", 10_000)},
			Timeseries: []writev2.TimeSeries{
				one(1, 2), one(1), one(1, 99), one(3, 2, 1, 2, 3, 2), one(many...), one(0, 0),
				{LabelsRefs: []uint32{1, 3}},
				{LabelsRefs: []uint32{1, 2, 3, 2}, Samples: []writev2.Sample{{Timestamp: now}}, Metadata: writev2.Metadata{HelpRef: 77}},
				{LabelsRefs: []uint32{1, 3}, Samples: []writev2.Sample{{Timestamp: now, Value: 2}}, Exemplars: []writev2.Exemplar{{LabelsRefs: []uint32{8, 9}}}},
			},
		}
		w := d.raw(typeV2, "snappy", pack(t, req))
		d.want(w, 400, 2, 0, 0, "labels of series 1", "outside of symbols", "bytes", "neither samples nor histograms", "metadata", "exemplar")
		d.stored(now, line("m", 0, 1), line("a", 0, 2))
		d.counted(2, map[string]int64{"invalid_labels": 7, "invalid_exemplar": 1})
	})
}

func TestRemoteWriteExemplars(t *testing.T) {
	both(t, func(t *testing.T, d *door) {
		now := time.Now().UnixMilli()
		s := series("a", at(now, 1))
		ex := func(ts int64, id string) exemplar.Exemplar {
			return exemplar.Exemplar{Labels: labels.FromStrings("trace_id", id), Value: 1, Ts: ts, HasTs: true}
		}
		s.exemplars = []exemplar.Exemplar{ex(now, "2"), ex(now-5, "1"), ex(now+3600_000, "future"), ex(now+1, strings.Repeat("x", 200)), ex(now+1, "\xff")}
		d.want(d.send(s), 204, 1, 0, 2)
		d.counted(1, map[string]int64{"exemplar": 3})
		q, err := d.store.ExemplarQuerier(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		got, err := q.Select(now-1000, now+1000, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, "a")})
		if err != nil || len(got) != 1 || len(got[0].Exemplars) != 2 || got[0].Exemplars[0].Labels.Get("trace_id") != "1" {
			t.Errorf("got exemplars %v, %v", got, err)
		}
	})
}

func TestRemoteWriteHistograms(t *testing.T) {
	both(t, func(t *testing.T, d *door) {
		now := time.Now().UnixMilli()
		ok := histogramOf("h", now)
		mod := func(f func(h *histogram.Histogram)) *histogram.Histogram {
			h := ok.Copy()
			f(h)
			return h
		}
		i := func(h *histogram.Histogram) tsPoint { return tsPoint{t: now, h: h} }
		fl := func(h *histogram.Histogram) tsPoint { return tsPoint{t: now, fh: h.ToFloat(nil)} }
		custom := &histogram.Histogram{Schema: histogram.CustomBucketsSchema, Count: 3, Sum: 2, PositiveSpans: []histogram.Span{{Length: 2}}, PositiveBuckets: []int64{1, 1}, CustomValues: []float64{1, 2}}
		fine := mod(func(h *histogram.Histogram) { h.Schema = 20 })
		stale := &histogram.Histogram{Sum: math.Float64frombits(value.StaleNaN)}
		d.want(d.send(series("int", i(ok)), series("float", fl(ok)), series("custom", i(custom)), series("fine", i(fine)), series("finef", fl(fine)), series("stale", i(stale)),
			series("s", at(now, math.Float64frombits(value.StaleNaN)))), 204, 1, 6, 0)

		span := func(off int32, n uint32) []histogram.Span { return []histogram.Span{{Offset: off, Length: n}} }
		bad := map[string]*histogram.Histogram{
			"few":      mod(func(h *histogram.Histogram) { h.PositiveSpans = span(0, 7) }),
			"many":     mod(func(h *histogram.Histogram) { h.PositiveSpans = nil }),
			"huge":     mod(func(h *histogram.Histogram) { h.PositiveSpans = span(0, math.MaxUint32) }),
			"far":      mod(func(h *histogram.Histogram) { h.PositiveSpans = span(math.MaxInt32, 2) }),
			"backward": mod(func(h *histogram.Histogram) { h.PositiveSpans = []histogram.Span{{Length: 1}, {Offset: -9, Length: 1}} }),
			"count":    mod(func(h *histogram.Histogram) { h.Count++ }),
			"negative": mod(func(h *histogram.Histogram) { h.PositiveBuckets[0] = -5 }),
			"schema":   mod(func(h *histogram.Histogram) { h.Schema = 90 }),
			"schema2":  mod(func(h *histogram.Histogram) { h.Schema = -30 }),
			"bounds":   {Schema: histogram.CustomBucketsSchema, Count: 3, PositiveSpans: span(0, 2), PositiveBuckets: []int64{1, 1}, CustomValues: []float64{2, 1}},
			"beyond":   {Schema: histogram.CustomBucketsSchema, Count: 3, PositiveSpans: span(9, 2), PositiveBuckets: []int64{1, 1}, CustomValues: []float64{1, 2}},
			"fine few": mod(func(h *histogram.Histogram) { h.Schema = 20; h.PositiveSpans = span(0, 7) }),
		}
		n := int64(0)
		for name, h := range bad {
			w := d.send(series("good", at(now+n, 1)), series(name, i(h)))
			d.want(w, 400, 1, 0, 0, name)
			n++
		}
		fbad := ok.ToFloat(nil)
		fbad.PositiveBuckets[0] = -1
		d.want(d.send(series("fnegative", tsPoint{t: now, fh: fbad})), 400, 0, 0, 0, "negative")
		d.counted(7+n, map[string]int64{"invalid_histogram": n + 1})
	})
}

func TestRemoteWriteLimit(t *testing.T) {
	for name, v2 := range map[string]bool{"v1": false, "v2": true} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t, v2, metric.Config{Limits: metric.Limits{MaxSeries: 2}})
			now := time.Now().UnixMilli()
			d.want(d.send(series("a", at(now, 1)), series("b", at(now, 1))), 204, 2, 0, 0)
			d.want(d.send(series("a", at(now+1, 1)), series("c", at(now, 1), at(now+1, 2)), series("b", at(now+1, 1))), 400, 2, 0, 0, "max_series", `"c"`)
			d.counted(4, map[string]int64{"limit": 2})
		})
	}
}

// faulty is a store with a fault: append or commit fails.
type faulty struct {
	storage.Appendable
	appendErr, commitErr error
	rolledBack           int
}

type faultyAppender struct {
	storage.Appender
	f *faulty
}

func (f *faulty) Appender(ctx context.Context) storage.Appender {
	return &faultyAppender{f.Appendable.Appender(ctx), f}
}

func (a *faultyAppender) Append(ref storage.SeriesRef, ls labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	if ls.Get(labels.MetricName) == "bad" && a.f.appendErr != nil {
		return 0, a.f.appendErr
	}
	return a.Appender.Append(ref, ls, t, v)
}

func (a *faultyAppender) Commit() error {
	if a.f.commitErr != nil {
		return errors.Join(a.f.commitErr, a.Appender.Rollback())
	}
	return a.Appender.Commit()
}

func (a *faultyAppender) Rollback() error {
	a.f.rolledBack++
	if a.f.commitErr != nil {
		return nil
	}
	return a.Appender.Rollback()
}

func TestRemoteWriteFault(t *testing.T) {
	both(t, func(t *testing.T, d *door) {
		now := time.Now().UnixMilli()
		f := &faulty{Appendable: d.store, appendErr: errors.New("the disk is gone")}
		d.h = ingest.RemoteWrite(ingest.NewSink(f, ingest.SinkConfig{}, d.counts), ingest.RemoteWriteConfig{}, quietLog())
		req := []tsSeries{series("good", at(now, 1), at(now+1, 1)), series("bad", at(now, 1))}
		d.want(d.send(req...), 500, 0, 0, 0, "the disk is gone")
		d.stored(now)
		f.appendErr, f.commitErr = nil, errors.New("no space left")
		d.want(d.send(req...), 500, 0, 0, 0, "no space left")
		d.stored(now)
		d.counted(0, map[string]int64{"fault": 6})
		f.commitErr = nil
		d.want(d.send(req...), 204, 3, 0, 0)
		d.counted(3, map[string]int64{"fault": 6})
	})
}

// slow holds every transaction until told.
type slow struct {
	storage.Appendable
	in, out chan struct{}
}

func (s *slow) Appender(ctx context.Context) storage.Appender {
	s.in <- struct{}{}
	<-s.out
	return s.Appendable.Appender(ctx)
}

func TestRemoteWriteThrottle(t *testing.T) {
	d := newDoor(t, true, metric.Config{})
	body := pack(t, bodyV2([]tsSeries{series("a", at(time.Now().UnixMilli(), 1))}))
	synctest.Test(t, func(t *testing.T) {
		s := &slow{d.store, make(chan struct{}), make(chan struct{})}
		d.h = ingest.NewThrottle(1, d.counts).Wrap(ingest.RemoteWrite(ingest.NewSink(s, ingest.SinkConfig{MaxFuture: 100 * 365 * 24 * time.Hour}, d.counts), ingest.RemoteWriteConfig{}, quietLog()))
		first := make(chan *httptest.ResponseRecorder)
		go func() { first <- d.raw(typeV2, "snappy", body) }()
		<-s.in
		w := d.raw(typeV2, "snappy", body)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("over the limit: got %d, Retry-After %q, want 503 and a time", w.Code, w.Header().Get("Retry-After"))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body)).WithContext(ctx)
		w = httptest.NewRecorder()
		d.h.ServeHTTP(w, r)
		if w.Code/100 == 2 {
			t.Errorf("a request that ended in the queue: got %d, want no 2xx", w.Code)
		}
		close(s.out)
		if w := <-first; w.Code != http.StatusNoContent {
			t.Errorf("the first: got %d, want 204", w.Code)
		}
	})
}

// brokenBody fails while it is read.
type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestRemoteWriteBrokenBody(t *testing.T) {
	both(t, func(t *testing.T, d *door) {
		r := httptest.NewRequest(http.MethodPost, "/", brokenBody{})
		r.Header.Set("Content-Type", typeV1)
		w := httptest.NewRecorder()
		d.h.ServeHTTP(w, r)
		if w.Code/100 == 2 {
			t.Errorf("got %d for half a body", w.Code)
		}
	})
}
