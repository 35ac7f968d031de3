package query

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

func xorChunk(t testing.TB, ts []int64, vs []float64) *chunkenc.XORChunk {
	c := chunkenc.NewXORChunk()
	app, err := c.Appender()
	if err != nil {
		t.Fatal(err)
	}
	for i := range ts {
		app.Append(0, ts[i], vs[i])
	}
	return c
}

func TestXOR(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	steps := []int64{0, 1, 15_000, 15_000, 15_001, 14_990, 8191, 8192, -8192, 65_536, 524_288, -524_287, 1 << 40, -1 << 40}
	values := []float64{0, 1, 2, math.Pi, math.NaN(), math.Inf(1), -1, 1e300, 5e-324, math.Copysign(0, -1)}
	for range 3000 {
		n := r.IntN(130)
		ts, vs := make([]int64, n), make([]float64, n)
		at, v := r.Int64N(1<<42)-1<<41, 0.0
		for i := range n {
			at += steps[r.IntN(len(steps))]
			switch r.IntN(4) {
			case 0:
				v += float64(r.IntN(1000))
			case 1:
				v = values[r.IntN(len(values))]
			case 2:
				v = math.Float64frombits(r.Uint64())
			}
			ts[i], vs[i] = at, v
		}
		var scratch []byte
		c := xorChunk(t, ts, vs)
		gotT, gotV, err := appendXOR(c.Bytes(), nil, nil, &scratch)
		if err != nil || len(gotT) != n || len(gotV) != n {
			t.Fatalf("%d and %d samples of %d, %v", len(gotT), len(gotV), n, err)
		}
		for i := range n {
			if gotT[i] != ts[i] || math.Float64bits(gotV[i]) != math.Float64bits(vs[i]) {
				t.Fatalf("sample %d is %d %v, want %d %v", i, gotT[i], gotV[i], ts[i], vs[i])
			}
		}
	}
}

// Of any bytes, the samples are those of Prometheus's iterator, or both fail.
func FuzzXOR(f *testing.F) {
	f.Add(xorChunk(f, []int64{1, 2, 3, 1000}, []float64{1, 2, 2, math.NaN()}).Bytes())
	f.Add([]byte{0, 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var scratch []byte
		ts, vs, err := appendXOR(b, nil, nil, &scratch)
		if len(b) < 3 {
			return
		}
		c := chunkenc.NewXORChunk()
		c.Reset(b)
		it := c.Iterator(nil)
		i := 0
		for ; it.Next() != chunkenc.ValNone; i++ {
			at, v := it.At()
			if i >= len(ts) {
				if err == nil {
					t.Fatalf("%d samples and no error, the iterator has more", len(ts))
				}
				return // an encoder never leaves a gap before the significant bits that does not fit
			}
			if at != ts[i] || math.Float64bits(v) != math.Float64bits(vs[i]) {
				t.Fatalf("sample %d is %d %v, want %d %v", i, ts[i], vs[i], at, v)
			}
		}
		if it.Err() != nil && err == nil || len(ts) > i {
			t.Fatalf("%d samples, %v; the iterator has %d, %v", len(ts), err, i, it.Err())
		}
	})
}

func BenchmarkXOR(b *testing.B) {
	ts, vs := make([]int64, 120), make([]float64, 120)
	for i := range ts {
		ts[i], vs[i] = int64(i)*15_000, float64(i*37+i*i%11)
	}
	c := xorChunk(b, ts, vs)
	b.Run("append", func(b *testing.B) {
		var scratch []byte
		for b.Loop() {
			ts, vs, _ = appendXOR(c.Bytes(), ts[:0], vs[:0], &scratch)
		}
	})
	b.Run("iterator", func(b *testing.B) {
		var it chunkenc.Iterator
		for b.Loop() {
			ts, vs = ts[:0], vs[:0]
			for it = c.Iterator(it); it.Next() != chunkenc.ValNone; {
				t, v := it.At()
				ts, vs = append(ts, t), append(vs, v)
			}
		}
	})
}
