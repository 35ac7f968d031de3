package app

import "testing"

func TestSeriesFor(t *testing.T) {
	for memory, want := range map[uint64]int{0: 2_000_000, 1 << 28: 100_000, 2 << 30: 209_715, 64 << 30: 2_000_000} {
		if got := seriesFor(memory); got != want {
			t.Errorf("%d bytes: got %d series, want %d", memory, got, want)
		}
	}
}
