package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestCardinality sends more series than one metric may have, as a client would,
// and reads what became of them.
func TestCardinality(t *testing.T) {
	s := startServer(t, map[string]string{"vedette.yml": "limits: {max_series_per_metric: 120}\n"})
	base := "http://" + s.Addr()
	ask := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	var lines strings.Builder
	for i := range 150 {
		fmt.Fprintf(&lines, "orders,shop=s%d,customer=%d value=1\n", i%2, 1000+i)
	}
	resp, err := http.Post(base+"/write?db=x", "text/plain", strings.NewReader(lines.String()))
	if err != nil {
		t.Fatal(err)
	}
	told, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 400 || !strings.Contains(string(told), "beside 120 of metric orders_value: over the limit max_series_per_metric = 120; send less or raise limits.max_series_per_metric") {
		t.Errorf("the sender was told %d %.400s", resp.StatusCode, told)
	}

	code, body := ask("/api/v1/cardinality?topN=3&focus=shop&match[]=" + url.QueryEscape(`{__name__="orders_value"}`))
	var c struct {
		Series, Matched, Names int
		MaxPerMetric           int `json:"max_series_per_metric"`
		Metrics                []struct {
			Name   string
			Series int
		}
		Focus    struct{ Values, Series int }
		Hints    []struct{ Label, Kind, Rule string }
		Senders  []struct{ Protocol, Sender string }
		Refusals []struct {
			Limit, Metric string
			Count         int
		}
	}
	if err := json.Unmarshal([]byte(body), &c); err != nil || code != 200 {
		t.Fatalf("got %d %s: %v", code, body, err)
	}
	if c.Matched != 120 || c.Names != 1 || c.MaxPerMetric != 120 || len(c.Metrics) != 1 || c.Metrics[0].Series != 120 || c.Series < 120 {
		t.Errorf("got %+v, want 120 series of one metric", c)
	}
	if c.Focus.Values != 2 || c.Focus.Series != 120 {
		t.Errorf("got focus %+v, want 2 values of 120 series", c.Focus)
	}
	if len(c.Hints) != 1 || c.Hints[0].Label != "customer" || c.Hints[0].Kind != "number" {
		t.Errorf("got hints %+v, want one of customer", c.Hints)
	}
	// Metrics of our own may meet the low limit, too.
	if len(c.Refusals) == 0 || c.Refusals[0].Limit != "max_series_per_metric" || c.Refusals[0].Metric != "orders_value" || c.Refusals[0].Count != 30 {
		t.Errorf("got refusals %+v, want 30 of orders_value", c.Refusals)
	}
	if len(c.Senders) == 0 || c.Senders[0].Protocol != "influx" || !strings.Contains(c.Senders[0].Sender, "127.0.0.1") {
		t.Errorf("got senders %+v, want influx from 127.0.0.1", c.Senders)
	}
	for _, bad := range []string{"topN=0", "topN=x", "topN=1001", "match[]=" + url.QueryEscape("{x")} {
		if code, body := ask("/api/v1/cardinality?" + bad); code != 400 {
			t.Errorf("%s: got %d %s, want 400", bad, code, body)
		}
	}
	if _, body := ask("/metrics"); !strings.Contains(body, `vedette_metric_series{metric="orders_value"} 120`) || !strings.Contains(body, "vedette_disk_full_seconds ") {
		t.Error("the metrics of cardinality and of the disk are not there")
	}
	// Prometheus's own answer stays as it is.
	if code, body := ask("/api/v1/status/tsdb"); code != 200 || !strings.Contains(body, `"seriesCountByMetricName":[`) {
		t.Errorf("status/tsdb: got %d %.300s", code, body)
	}
}
