package query

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	api "github.com/prometheus/prometheus/web/api/v1"
)

// The codec writes what Prometheus's writes, byte for byte.
func TestMatrixCodec(t *testing.T) {
	f := func(data any) {
		t.Helper()
		resp := &api.Response{Status: "success", Data: data, Warnings: []string{`"result":[]`}, Infos: []string{"x"}}
		want, err := api.JSONCodec{}.Encode(resp)
		if err != nil {
			t.Fatal(err)
		}
		got, err := matrixCodec{}.Encode(resp)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			at := 0
			for at < min(len(got), len(want)) && got[at] == want[at] {
				at++
			}
			t.Fatalf("at byte %d: %.80q, want %.80q", at, got[at:], want[at:])
		}
	}
	matrix := func(m ...promql.Series) *api.QueryData {
		return &api.QueryData{ResultType: parser.ValueTypeMatrix, Result: promql.Matrix(m)}
	}
	f(nil)
	f([]string{"a"})
	f(matrix())
	f(&api.QueryData{ResultType: parser.ValueTypeVector, Result: promql.Vector{{T: 1, F: 2}}})
	f(matrix(promql.Series{Histograms: []promql.HPoint{{T: 1, H: &histogram.FloatHistogram{}}}}, promql.Series{Floats: []promql.FPoint{{T: 1}}}))

	r := rand.New(rand.NewPCG(3, 4))
	values := []float64{0, math.Copysign(0, -1), 1, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e21, 1e20, 9007199254740993, 1 << 53, -1 << 53, 1e-6, 9e-7, 5e-324, math.MaxFloat64, 0.1, 1 << 62, 1 << 63, 123456789}
	texts := []string{"", "a", "\"", `\`, "\n\r\t\x00\x1f\x7f", "<b>&amp;", "ü€\U0001f600", "\u2028", "job-00"}
	for range 200 {
		var m []promql.Series
		for i := range r.IntN(5) {
			b := labels.NewScratchBuilder(4)
			for _, n := range []string{"__name__", "a\nb", "job", "x.y"}[:r.IntN(5)] {
				b.Add(n, texts[r.IntN(len(texts))])
			}
			s := promql.Series{Metric: b.Labels()}
			at := int64(1_790_000_000_000 + r.IntN(3))
			if i == 3 {
				at = -1500
			}
			for range r.IntN(30) {
				v := values[r.IntN(len(values))]
				if r.IntN(2) == 0 {
					v = r.NormFloat64() * math.Pow(10, float64(r.IntN(40)-20))
				}
				s.Floats = append(s.Floats, promql.FPoint{T: at, F: v})
				at += int64(1+r.IntN(3)) * 7501
			}
			m = append(m, s)
		}
		f(matrix(m...))
	}
}
