package ingest_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// A request may not bring any number of new series: the first are kept and the
// others refused, and the series that are known do not count.
func TestNewSeriesOfARequest(t *testing.T) {
	counts := ingest.NewCounts(instrument.New(instrument.Config{}))
	sink := ingest.NewSink(openStore(t, t.TempDir(), metric.Config{}), ingest.SinkConfig{IsLimit: metric.IsLimit, MaxNewSeries: 3}, counts)
	i := ingest.NewInflux(sink, ingest.InfluxConfig{}, quietLog())
	f := func(lines string, code int, says string) {
		t.Helper()
		w := httptest.NewRecorder()
		i.Write(w, httptest.NewRequest("POST", "/write?precision=ms", strings.NewReader(lines)))
		if w.Code != code || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%q: %d %s, want %d %s", lines, w.Code, w.Body, code, says)
		}
	}
	f("a v=1\nb v=1\nc v=1\nd v=1\ne v=1\n", 400, "line 4: this request names more than limits.max_series_per_request = 3 series")
	later := fmt.Sprint(" ", time.Now().Add(time.Second).UnixMilli(), "\n")
	f("a v=2"+later+"b v=2"+later+"c v=2"+later+"d v=2\ne v=2\nf v=2", 204, "")
	for _, c := range counts.Snapshot() {
		if c.Samples != 9 || len(c.Rejected) != 1 || c.Rejected[0] != (ingest.RejectedCount{Reason: "max_series_per_request", Count: 2}) {
			t.Errorf("%+v", c)
		}
	}
}
