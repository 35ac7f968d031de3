package golden_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vedette-sre/vedette/instrument/golden"
)

func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := registry(t)
		p := golden.NewPool(m, "resize", 4)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := p.Do(t.Context(), func(context.Context) error { time.Sleep(time.Second); return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		f := func(want map[string]float64) {
			t.Helper()
			for name, v := range want {
				if got := values(m, name)["pool=resize"]; got != v {
					t.Errorf("%s: got %v, want %v", name, got, v)
				}
			}
		}
		f(map[string]float64{"pool.size": 4, "pool.active": 4, "pool.waiting": 6, "pool.saturation": 2.5})

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := p.Do(ctx, func(context.Context) error { t.Error("ran"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		wg.Wait()
		f(map[string]float64{"pool.active": 0, "pool.waiting": 0, "pool.saturation": 0, "pool.work.duration": 10, "pool.wait.duration": 11})
		if d := distribution(t, m, "pool.work.duration"); d.Sum != 10 {
			t.Errorf("worked %v s, want 10", d.Sum)
		}
		if d := distribution(t, m, "pool.wait.duration"); d.Sum != 4*1+2*2+0.001 {
			t.Errorf("waited %v s, want 8.001", d.Sum)
		}

		odd := errors.New("odd")
		if err := p.Do(t.Context(), func(context.Context) error { return fmt.Errorf("resize: %w", odd) }); !errors.Is(err, odd) {
			t.Errorf("got %v", err)
		}
		_ = p.Do(t.Context(), func(context.Context) error { return context.Canceled })
		func() {
			defer func() {
				if got := recover(); got != "meant" {
					t.Errorf("the panic became %v", got)
				}
			}()
			_ = p.Do(t.Context(), func(context.Context) error { panic("meant") })
		}()
		want := map[string]float64{
			"error.type=timeout,pool=resize": 1, "error.type=other,pool=resize": 1,
			"error.type=canceled,pool=resize": 1, "error.type=panic,pool=resize": 1,
		}
		if got := values(m, "pool.errors"); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		f(map[string]float64{"pool.active": 0, "pool.waiting": 0}) // all places are free again
		m.Close()
	})
}
