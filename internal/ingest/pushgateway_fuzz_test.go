package ingest_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
)

func fuzzGate(t *testing.T) *gate {
	g := &gate{t: t, pushed: &pushStore{blobs: map[string][]byte{}}, counts: ingest.NewCounts(instrument.New(instrument.Config{}))}
	g.sink = ingest.NewSink(&samples{}, ingest.SinkConfig{}, g.counts)
	g.start(ingest.PushConfig{MaxSeries: 1000})
	return g
}

// FuzzPushPath checks that a path that is taken says the same when it is written
// again in base64, and that one that is not is the sender's error.
func FuzzPushPath(f *testing.F) {
	for _, seed := range []string{"job/a", "job/a/", "job@base64/YQ==/x/1", "job/a/x@base64/=", "job/a%2Fb/x/%", "job/a//", "/", "job/a/__x/1", "job/a/@base64/b", "x/1/job/a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u := &url.URL{Path: "/metrics/" + path}
		if plain, err := url.PathUnescape(u.Path); err == nil {
			u.Path, u.RawPath = plain, u.Path
		}
		g := fuzzGate(t)
		put := func(u *url.URL) int {
			w := httptest.NewRecorder()
			g.p.ServeHTTP(w, &http.Request{Method: http.MethodPut, URL: u, Body: http.NoBody})
			return w.Code
		}
		code := put(u)
		groups := g.p.Groups()
		if code != http.StatusOK {
			if code != http.StatusBadRequest && code != http.StatusNotFound || len(groups) > 0 {
				t.Errorf("got code %d and %d groups", code, len(groups))
			}
			return
		}
		ls := groups[0].Labels
		again := "/metrics/job@base64/" + base64.URLEncoding.EncodeToString([]byte(ls["job"]))
		for name, v := range ls {
			if !utf8.ValidString(name) || !utf8.ValidString(v) {
				t.Errorf("label %q=%q is not UTF-8", name, v)
			}
			if name != "job" {
				again += "/" + url.PathEscape(name) + "@base64/" + base64.RawURLEncoding.EncodeToString([]byte(v)) + "="
			}
		}
		v, err := url.Parse(again)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > 4096 {
			return
		}
		if code := put(v); code != http.StatusOK {
			t.Errorf("%s: got code %d", again, code)
		}
		if got := g.p.Groups(); len(got) != 1 || fmt.Sprint(got[0].Labels) != fmt.Sprint(ls) {
			t.Errorf("%s: got %v, want %v", again, got, ls)
		}
	})
}

// FuzzPushBody checks that a body that is taken is stored whole, and that it is
// the same group after a restart.
func FuzzPushBody(f *testing.F) {
	f.Add(false, []byte("# HELP a b\n# TYPE a counter\na{x=\"1\"} 1\n"))
	f.Add(false, []byte("# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\n"))
	f.Add(false, []byte("{\"a.b\",\"c d\"=\"e\"} NaN\n"))
	f.Add(false, []byte("# TYPE a histogram\n{}"))
	for _, h := range []*dto.Histogram{
		{SampleCount: proto.Uint64(3), Schema: proto.Int32(2), ZeroCount: proto.Uint64(1), ZeroThreshold: proto.Float64(0.1),
			PositiveSpan: []*dto.BucketSpan{{Offset: proto.Int32(-3), Length: proto.Uint32(2)}}, PositiveDelta: []int64{1, 0}},
		{SampleCountFloat: proto.Float64(3), Schema: proto.Int32(40), NegativeSpan: []*dto.BucketSpan{{Offset: proto.Int32(1 << 30), Length: proto.Uint32(1)}}, NegativeCount: []float64{3}},
		{SampleCount: proto.Uint64(3), Bucket: []*dto.Bucket{{UpperBound: proto.Float64(1), CumulativeCount: proto.Uint64(1)}}},
	} {
		var b bytes.Buffer
		mf := &dto.MetricFamily{Name: proto.String("h"), Type: dto.MetricType_HISTOGRAM.Enum(), Metric: []*dto.Metric{{Histogram: h}}}
		if _, err := protodelim.MarshalTo(&b, mf); err != nil {
			f.Fatal(err)
		}
		f.Add(true, b.Bytes())
	}
	f.Fuzz(func(t *testing.T, protobuf bool, body []byte) {
		g := fuzzGate(t)
		format := expfmt.NewFormat(expfmt.TypeTextPlain)
		if protobuf {
			format = expfmt.NewFormat(expfmt.TypeProtoDelim)
		}
		w := g.do("PUT", "/metrics/job/a", string(body), "Content-Type", string(format))
		if w.Code != 200 {
			if w.Code != 400 && w.Code != 429 || strings.Contains(w.Body.String(), "the group is kept") {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			return
		}
		before := g.p.Groups()
		g.start(ingest.PushConfig{MaxSeries: 1000})
		after := g.p.Groups()
		if len(after) != 1 || after[0].Series != before[0].Series {
			t.Errorf("after a restart: got %+v, want %+v", after, before)
		}
		api := httptest.NewRecorder()
		if g.p.API(api, httptest.NewRequest("GET", "/", nil)); api.Code != 200 {
			t.Errorf("the API: got %d %s", api.Code, api.Body)
		}
	})
}
