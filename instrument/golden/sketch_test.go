package golden

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// What sketch promises, held against the true weights, over streams with names
// taken out and weights that fade.
func TestSketch(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		room := 1 + rnd.IntN(40)
		names := rand.NewZipf(rnd, 1.01+rnd.Float64(), 1, uint64(1+rnd.IntN(2000)))
		s, truth, total := newSketch(room), map[string]float64{}, 0.0
		for step := range 4000 {
			switch p := rnd.IntN(1000); {
			case p == 0:
				s.fade(0.5)
				for n := range truth {
					truth[n] *= 0.5
				}
				total *= 0.5
			case p < 10 && len(s.light) > 0:
				h := s.light[rnd.IntN(len(s.light))]
				want := h.least()
				if got := s.take(h.name); got != want {
					t.Fatalf("seed %d, step %d: took %v, want %v", seed, step, got, want)
				}
				total -= truth[h.name]
				delete(truth, h.name)
			default:
				n, w := fmt.Sprint(names.Uint64()), float64(1+rnd.IntN(5))
				s.add(n, w)
				truth[n] += w
				total += w
			}
			if step%50 != 0 {
				continue
			}
			if len(s.light) > room || len(s.at) != len(s.light) {
				t.Fatalf("seed %d, step %d: %d names, %d in the heap, room for %d", seed, step, len(s.at), len(s.light), room)
			}
			const eps = 1e-6 // of adding floats
			for n, w := range truth {
				h := s.at[n]
				if h == nil {
					if w > s.floor+eps {
						t.Fatalf("seed %d, step %d: %s of weight %v is missing; the floor is %v", seed, step, n, w, s.floor)
					}
					continue
				}
				if h.least() > w+eps || h.weight < w-eps {
					t.Fatalf("seed %d, step %d: %s weighs %v, want from %v to %v", seed, step, n, w, h.least(), h.weight)
				}
			}
			least := math.Inf(1)
			for _, h := range s.light {
				least = min(least, h.weight)
			}
			if s.floor > least+eps {
				t.Fatalf("seed %d, step %d: floor %v, lightest %v", seed, step, s.floor, least)
			}
		}
	}
}

// Without names taken out, the floor is at most N/m.
func TestSketchFloor(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	s := newSketch(50)
	for n := 1; n <= 100_000; n++ {
		s.add(fmt.Sprint(rnd.IntN(3000)), 1)
		if s.floor > float64(n)/50 {
			t.Fatalf("after %d: the floor is %v", n, s.floor)
		}
	}
}
