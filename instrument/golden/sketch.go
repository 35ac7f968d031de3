package golden

import (
	"container/heap"
	"strings"
)

// sketch finds the heaviest of a stream of names in bounded space: Space-Saving
// (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k
// Elements in Data Streams", 2005). With room for m names and a total weight of N:
//
//   - of a name in it, least() <= its true weight <= weight, and the two are at
//     most N/m apart;
//   - a name that is not in it weighs no more than floor, which is at most N/m.
//
// This holds also when names were removed.
//
// Not safe for concurrent use.
type sketch struct {
	room  int
	at    map[string]*heavy
	light lightest
	floor float64 // the heaviest that had to go
}

// heavy is a name in a sketch.
type heavy struct {
	name   string
	weight float64
	over   float64 // what the weight may be too much
	i      int     // in the heap
}

func (h *heavy) least() float64 { return h.weight - h.over }

func newSketch(room int) *sketch { return &sketch{room: room, at: make(map[string]*heavy, room)} }

// add adds to the weight of a name. When there is no room, the lightest goes.
func (s *sketch) add(name string, weight float64) {
	h := s.at[name]
	switch {
	case h != nil:
		h.weight += weight
		heap.Fix(&s.light, h.i)
	case len(s.light) < s.room:
		h = &heavy{name: strings.Clone(name), weight: s.floor + weight, over: s.floor}
		s.at[h.name] = h
		heap.Push(&s.light, h)
	default:
		h = s.light[0]
		delete(s.at, h.name)
		s.floor = h.weight // no less than before: it was the lightest
		h.name, h.over = strings.Clone(name), h.weight
		h.weight += weight
		s.at[h.name] = h
		heap.Fix(&s.light, 0)
	}
}

// take takes a name out and returns the least that it weighs.
func (s *sketch) take(name string) float64 {
	h := s.at[name]
	if h == nil {
		return 0
	}
	delete(s.at, name)
	heap.Remove(&s.light, h.i)
	return h.least()
}

// fade multiplies all weights; their order stays.
func (s *sketch) fade(by float64) {
	s.floor *= by
	for _, h := range s.light {
		h.weight *= by
		h.over *= by
	}
}

// lightest is a heap: the lightest is at 0.
type lightest []*heavy

func (l lightest) Len() int           { return len(l) }
func (l lightest) Less(i, j int) bool { return l[i].weight < l[j].weight }
func (l lightest) Swap(i, j int)      { l[i], l[j] = l[j], l[i]; l[i].i, l[j].i = i, j }
func (l *lightest) Push(x any)        { h := x.(*heavy); h.i = len(*l); *l = append(*l, h) }
func (l *lightest) Pop() any {
	old := *l
	h := old[len(old)-1]
	old[len(old)-1] = nil
	*l = old[:len(old)-1]
	return h
}
