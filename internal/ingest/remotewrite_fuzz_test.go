package ingest_test

import (
	"bytes"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// fuzzBase is the time of the seeds: fixed, so that a saved input stays what it
// was.
const fuzzBase = 1_750_000_000_000

// fuzzDoor is remote write in front of a store that one fuzz worker shares among
// its inputs. Its blocks are long, so that it does not compact.
func fuzzDoor(f *testing.F) (http.Handler, *metric.Store) {
	s := openStore(f, f.TempDir(), metric.Config{BlockDuration: 20 * 365 * 24 * time.Hour, OutOfOrder: 10 * 365 * 24 * time.Hour, Limits: metric.Limits{MaxSeries: 5000}})
	return ingest.RemoteWrite(ingest.NewSink(s, ingest.SinkConfig{IsLimit: metric.IsLimit}, ingest.NewCounts(instrument.New(instrument.Config{}))), ingest.RemoteWriteConfig{}, quietLog()), s
}

func fuzzPost(t *testing.T, h http.Handler, contentType string, msg []byte) {
	t.Helper()
	body, err := compression.Encode(compression.Snappy, msg, nil)
	if err != nil {
		t.Skip(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	// 5xx would have the sender send the same again for ever.
	if w.Code != http.StatusNoContent && w.Code != http.StatusBadRequest {
		t.Errorf("got %d: %s", w.Code, w.Body)
	}
	if w.Code == http.StatusBadRequest && w.Body.Len() < 2 {
		t.Error("400 without a reason")
	}
}

// readAll reads what the store holds of the seeds' series: bad chunks show
// themselves when they are read.
func readAll(t *testing.T, s *metric.Store) {
	t.Helper()
	if err := dump(s, math.MinInt64, math.MaxInt64, func(string, int64, string) {}); err != nil {
		t.Errorf("read back: %v", err)
	}
}

func fuzzSeeds() [][]tsSeries {
	h := histogramOf("h", fuzzBase)
	neg := &histogram.Histogram{Schema: -2, Count: 9, Sum: -1, ZeroCount: 1, PositiveSpans: []histogram.Span{{Offset: -3, Length: 1}, {Offset: 2, Length: 2}}, PositiveBuckets: []int64{1, 1, -1},
		NegativeSpans: []histogram.Span{{Offset: 1, Length: 1}, {Length: 0}, {Offset: 1, Length: 1}}, NegativeBuckets: []int64{2, 0}}
	custom := &histogram.Histogram{Schema: histogram.CustomBucketsSchema, Count: 3, PositiveSpans: []histogram.Span{{Length: 2}}, PositiveBuckets: []int64{1, 1}, CustomValues: []float64{1, 2}}
	withExemplar := series("e", at(fuzzBase, 1))
	withExemplar.exemplars = []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", "1"), Value: 1, Ts: fuzzBase}}
	return [][]tsSeries{
		{series("a", at(fuzzBase, 1), at(fuzzBase-1000, 2)), series("a", at(fuzzBase, 3))},
		{series("h", tsPoint{t: fuzzBase, h: h}, tsPoint{t: fuzzBase + 1, h: neg}, tsPoint{t: fuzzBase + 2, fh: h.ToFloat(nil)})},
		{series("c", tsPoint{t: fuzzBase, h: custom}, tsPoint{t: fuzzBase - 5, fh: custom.ToFloat(nil)}, at(fuzzBase+9, 1))},
		{withExemplar},
		{tsSeries{labels: labels.FromStrings("nameless", "x"), points: []tsPoint{at(fuzzBase, 1)}}},
	}
}

func FuzzRemoteWriteV1(f *testing.F) {
	for _, s := range fuzzSeeds() {
		raw, err := proto.Marshal(bodyV1(s))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	h, s := fuzzDoor(f)
	n := 0
	f.Fuzz(func(t *testing.T, msg []byte) {
		fuzzPost(t, h, typeV1, msg)
		if n++; n%64 == 0 || n < 8 {
			readAll(t, s)
		}
	})
}

func FuzzRemoteWriteV2(f *testing.F) {
	for _, s := range fuzzSeeds() {
		raw, err := proto.Marshal(bodyV2(s))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	h, s := fuzzDoor(f)
	n := 0
	f.Fuzz(func(t *testing.T, msg []byte) {
		fuzzPost(t, h, typeV2, msg)
		if n++; n%64 == 0 || n < 8 {
			readAll(t, s)
		}
	})
}

// FuzzRemoteWriteHistograms makes a row of histograms of one series from bytes:
// the engine's chunks recode buckets when the layout changes from one to the
// next, and would take the process down where that fails.
func FuzzRemoteWriteHistograms(f *testing.F) {
	f.Add([]byte{1, 0, 2, 0, 2, 5, 1, 0xff, 1, 0, 2, 0, 3, 5, 1, 1, 0xff, 9, 1, 2, 4, 0, 0, 1})
	f.Add([]byte{3, 1, 0, 0, 0, 4, 1, 3, 1, 2, 3, 4, 200, 3, 2, 1, 0, 5, 1, 0, 7, 7, 7, 7, 7, 7})
	f.Add([]byte{53, 0, 3, 1, 2, 0, 1, 1, 2, 3, 53, 4, 3, 1, 2, 0, 1, 1, 2, 3})
	h, s := fuzzDoor(f)
	n := 0
	f.Fuzz(func(t *testing.T, b []byte) {
		n++
		take := func() byte {
			if len(b) == 0 {
				return 0
			}
			x := b[0]
			b = b[1:]
			return x
		}
		row := tsSeries{labels: labels.FromStrings(labels.MetricName, "row", "n", string(rune('a'+n%26)))}
		for ts := int64(fuzzBase); len(b) > 0 && len(row.points) < 40; ts++ {
			hs := &histogram.Histogram{Schema: int32(take()%62) - 53, CounterResetHint: histogram.CounterResetHint(take() % 4)}
			if hs.Schema > -10 && hs.Schema < 0 {
				hs.ZeroCount, hs.ZeroThreshold = uint64(take()), float64(take())/8
			}
			hs.Count = hs.ZeroCount
			side := func() (spans []histogram.Span, deltas []int64) {
				last := int64(0)
				for range take() % 4 {
					sp := histogram.Span{Offset: int32(take()), Length: uint32(take() % 5)}
					if len(spans) == 0 {
						sp.Offset -= 100
					}
					if hs.Schema == histogram.CustomBucketsSchema {
						sp.Offset = int32(take() % 3)
					}
					spans = append(spans, sp)
					for range sp.Length {
						c := int64(take())
						deltas = append(deltas, c-last)
						hs.Count += uint64(c)
						last = c
					}
				}
				return spans, deltas
			}
			hs.PositiveSpans, hs.PositiveBuckets = side()
			if hs.Schema == histogram.CustomBucketsSchema {
				for i := range 20 {
					hs.CustomValues = append(hs.CustomValues, float64(i)+float64(take()%2)/2)
				}
			} else {
				hs.NegativeSpans, hs.NegativeBuckets = side()
			}
			p := tsPoint{t: ts, h: hs}
			switch take() % 8 {
			case 0:
				p.fh, p.h = hs.ToFloat(nil), nil
			case 1:
				p.t -= 10_000 // late
			case 2:
				p = at(ts, 1)
			}
			row.points = append(row.points, p)
		}
		raw, err := proto.Marshal(bodyV2([]tsSeries{row}))
		if err != nil {
			t.Fatal(err)
		}
		fuzzPost(t, h, typeV2, raw)
		readAll(t, s)
	})
}
