package memo_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vedette-sre/vedette/instrument/internal/memo"
)

func TestMemo(t *testing.T) {
	var made atomic.Int64
	m := &memo.Memo[int, *int]{New: func(k int) (int, *int) { made.Add(1); return k, &k }}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 300 {
				if got := *m.Get(i); got != i {
					t.Errorf("got %d, want %d", got, i)
				}
			}
		})
	}
	wg.Wait()
	if made.Load() != 300 {
		t.Errorf("%d values were made for 300 keys", made.Load())
	}
	seen := 0
	m.Each(func(k int, v *int) {
		if *v != k {
			t.Errorf("got %d of %d", *v, k)
		}
		seen++
	})
	if seen != 300 {
		t.Errorf("Each saw %d, want 300", seen)
	}
	if n := testing.AllocsPerRun(100, func() { m.Get(7) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestMemoIsBounded(t *testing.T) {
	made := 0
	m := &memo.Memo[int, int]{New: func(k int) (int, int) { made++; return k, k }}
	for range 2 {
		for i := range 4100 {
			if got := m.Get(i); got != i {
				t.Fatalf("got %d, want %d", got, i)
			}
		}
	}
	if want := 4100 + 4; made != want {
		t.Errorf("%d values were made, want %d", made, want)
	}
}
