package metric_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/vedette-sre/vedette/internal/store/metric"
)

// A range that ends within a chunk of a series with several deleted intervals is
// read, and nothing beyond it.
func TestRangeWithDeletions(t *testing.T) {
	s := open(t, t.TempDir(), metric.Config{})
	app := s.Appender(context.Background())
	for i := range int64(100) {
		if _, err := app.Append(0, labels.FromStrings("__name__", "m"), i*1000, float64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	name := labels.MustNewMatcher(labels.MatchEqual, "__name__", "m")
	for _, d := range [][2]int64{{10, 12}, {20, 22}, {40, 42}} {
		if err := s.Delete(context.Background(), d[0]*1000, d[1]*1000, name); err != nil {
			t.Fatal(err)
		}
	}
	f := func(from, to int64, want string) {
		t.Helper()
		q, err := s.Querier(from*1000, to*1000)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		set := q.Select(context.Background(), false, nil, name)
		var got []int64
		for set.Next() {
			it := set.At().Iterator(nil)
			for it.Next() != chunkenc.ValNone {
				got = append(got, it.AtT()/1000)
			}
			if set.At().Iterator(it).Seek((to+1)*1000) != chunkenc.ValNone {
				t.Errorf("something stands beyond %d", to)
			}
		}
		if set.Err() != nil || fmt.Sprint(got) != want {
			t.Errorf("from %d to %d: %v, %v; want %s", from, to, got, set.Err(), want)
		}
	}
	f(8, 25, "[8 9 13 14 15 16 17 18 19 23 24 25]")
	f(21, 24, "[23 24]")
	f(39, 45, "[39 43 44 45]")
	f(97, 200, "[97 98 99]")
	f(-5, 1, "[0 1]")
}
