package pull

import (
	"slices"
	"time"
)

// headLog remembers how the head of a partition, its end offset, moved, so that an
// offset can be turned into the time when it was the head. Times and offsets never
// fall. It keeps at most headPoints: what is older is thinner, and so is less
// exact, but it reaches back as far as the partition was watched.
type headLog []headPoint

type headPoint struct {
	at     time.Time
	offset int64
}

// headPoints is 1 KiB of memory a partition.
const headPoints = 64

// see notes that the head was at offset. A head that falls is another topic of the
// same name: the log begins anew.
func (h headLog) see(at time.Time, offset int64) headLog {
	n := len(h)
	switch {
	case n > 0 && offset < h[n-1].offset:
		h = h[:0]
	case n > 0 && at.Before(h[n-1].at):
		return h // the clock was set back
	case n > 1 && offset == h[n-1].offset && offset == h[n-2].offset:
		h[n-1].at = at // a head that stands still takes two points: when it came and when it was last there
		return h
	}
	h = append(h, headPoint{at, offset})
	if len(h) > headPoints {
		h = h.thin()
	}
	return h
}

// thin drops every other point of the older half, but the first.
func (h headLog) thin() headLog {
	half := len(h) / 2
	i := -1
	return slices.DeleteFunc(h, func(headPoint) bool { i++; return i < half && i%2 == 1 })
}

// behind is how long ago offset was the head, at the time now: 0 when it is still
// the head. Between two points the records are taken to have come evenly. It is
// not known (false) before a log has anything on the offset; for one that is older
// than the log it is the age of the log, which is less than the truth.
func (h headLog) behind(offset int64, now time.Time) (time.Duration, bool) {
	n := len(h)
	if n == 0 {
		return 0, false
	}
	if offset >= h[n-1].offset {
		return 0, true
	}
	// The first point that is beyond the offset; the one before is the last at or
	// below it.
	i, _ := slices.BinarySearchFunc(h, offset, func(p headPoint, o int64) int {
		if p.offset > o {
			return 1
		}
		return -1
	})
	if i == 0 {
		return max(0, now.Sub(h[0].at)), n > 1
	}
	a, b := h[i-1], h[i]
	part := float64(offset-a.offset) / float64(b.offset-a.offset)
	left := a.at.Add(time.Duration(part * float64(b.at.Sub(a.at))))
	return max(0, now.Sub(left)), true
}
