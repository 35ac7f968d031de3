package ingest_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// Lines whose series are known are stored as those of a stranger: one door gets
// all requests, the other a new sink for each.
func TestInfluxKnownLines(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	a, b := openStore(t, t.TempDir(), metric.Config{}), openStore(t, t.TempDir(), metric.Config{})
	door := func(s *metric.Store) *ingest.Influx {
		return ingest.NewInflux(ingest.NewSink(s, ingest.SinkConfig{IsLimit: metric.IsLimit}, ingest.NewCounts(instrument.New(instrument.Config{}))), ingest.InfluxConfig{}, quietLog())
	}
	one := door(a)
	shapes := []string{
		"cpu,host=a,db=x user=%d,sys=%di %d\n", "cpu,host=a user=%d,sys=%d %d\n", "cpu,host=ab user=%du %d\r\n", "cpu,host=b user=%d,sys=%d,idle=%d %d\n",
		"mem free=%d %d\n", "mem free=%d,text=\"a=1,b\" %d\n", "mem  free=%d %d\n", "mem free=%d  %d \n", "we\\ ird,t\\,ag=v\\=1 f\\ 1=%d %d\n",
		"mem free=%d.5,on=t %d\n", "mem free=%d,free2=%dx %d\n", "mem free=%d,%d\n", "mem free=%d %dq\n", "\n", "# comment\n", "disk,p=1 a=%d,b=%d,a=%d %d\n", "disk,p=1 b=%d,a=%d %d\n", "mem free=-%d %d",
	}
	base := time.Now().Add(-10 * time.Minute).UnixNano()
	for n := range 120 {
		var body strings.Builder
		start := r.IntN(len(shapes))
		for k := range 1 + r.IntN(12) {
			s := shapes[(start+k)%len(shapes)] // mostly in the same order
			if r.IntN(6) == 0 {
				s = shapes[r.IntN(len(shapes))]
			}
			var args []any
			for range strings.Count(s, "%d") - 1 {
				args = append(args, r.IntN(50))
			}
			if strings.Count(s, "%d") > 0 {
				args = append(args, base+int64(n*100+k)*1e6)
			}
			fmt.Fprintf(&body, s, args...)
		}
		db := []string{"", "x", "y"}[r.IntN(3)]
		post := func(i *ingest.Influx) string {
			w := httptest.NewRecorder()
			i.Write(w, httptest.NewRequest("POST", "/write?db="+db, strings.NewReader(body.String())))
			return fmt.Sprint(w.Code, w.Body)
		}
		if got, want := post(one), post(door(b)); got != want {
			t.Fatalf("request %d\n%s\nanswered %s, want %s", n, body.String(), got, want)
		}
	}
	all := func(s *metric.Store) (out []string) {
		if err := dump(s, math.MinInt64, math.MaxInt64, func(series string, ts int64, v string) {
			if ts < time.Now().Add(-time.Minute).UnixMilli() { // not those without a time
				out = append(out, fmt.Sprint(series, ts, v))
			}
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(out)
		return out
	}
	got, want := all(a), all(b)
	if len(got) < 300 || !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Errorf("got %s, want %s", got[i], want[i])
				break
			}
		}
		t.Errorf("%d samples, want %d", len(got), len(want))
	}
}
