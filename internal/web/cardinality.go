package web

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// cardinalityView is the answer of GET /api/v1/cardinality. What is measured from
// the tenant's own series is null where they do not reach back.
type cardinalityView struct {
	*metric.Cardinality
	// Metrics are those of metric.Cardinality with their growth.
	Metrics          []metricView         `json:"metrics"`
	MaxSeries        int                  `json:"max_series"`            // 0 and below: no limit
	MaxPerMetric     int                  `json:"max_series_per_metric"` // as above
	SamplesPerSecond *float64             `json:"samples_per_second"`
	BytesPerSample   *float64             `json:"bytes_per_sample"`
	BytesPerDay      *float64             `json:"bytes_per_day"`
	CreatedPerHour   *float64             `json:"created_per_hour"` // series made in the last hour
	RemovedPerHour   *float64             `json:"removed_per_hour"` // series that went in the last hour
	Disk             diskView             `json:"disk"`
	Senders          []ingest.SenderCount `json:"senders"`
	Refusals         []metric.Refusal     `json:"refusals"`
}

// metricView has a metric's series now and before; null when it was not among
// those with most series then.
type metricView struct {
	metric.MetricSeries
	Hour *float64 `json:"ago_1h"`
	Day  *float64 `json:"ago_24h"`
	Week *float64 `json:"ago_7d"`
}

type diskView struct {
	Free       uint64   `json:"free"`
	Total      uint64   `json:"total"`
	FullInDays *float64 `json:"full_in_days"`
	HeldBy     string   `json:"held_by"` // the setting that ends the store's growth before
}

func (s *Server) cardinality(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	q := metric.CardinalityQuery{Focus: r.FormValue("focus")}
	if n := r.FormValue("topN"); n != "" {
		var err error
		if q.TopN, err = strconv.Atoi(n); err != nil || q.TopN < 1 {
			return record.Errorf(record.Invalid, "topN = %q; want a number of 1 to 1000", n)
		}
	}
	if ms := r.Form["match[]"]; len(ms) > 0 {
		var err error
		if q.Match, err = t.Engines.Parser.ParseMetricSelectors(ms); err != nil {
			return record.Errorf(record.Invalid, "match[]: %v; want selectors such as http_requests_total{job=\"shop\"}", err)
		}
	}
	c, err := t.Store.Cardinality(r.Context(), q)
	if err != nil {
		return err
	}
	now := time.Now()
	u, g := t.Store.Usage(), t.Store.Growth()
	v := cardinalityView{
		Cardinality: c, Metrics: make([]metricView, len(c.Metrics)), MaxSeries: u.Limits.MaxSeries, MaxPerMetric: u.Limits.MaxPerMetric,
		Senders: t.Counts.Senders(now), Refusals: t.Store.Refusals(),
	}
	if g.BytesPerSample > 0 {
		v.BytesPerSample, v.BytesPerDay = num(g.BytesPerSample), num(g.BytesPerDay)
	}
	d, f := disk(t.Dir), t.DiskForecast(r.Context(), now)
	v.Disk = diskView{d.free, d.total, fullInDays(f), f.HeldBy}
	a := &asker{ctx: r.Context(), t: t, now: now}
	one := func(expr string) (out *float64) {
		a.each(expr, func(_ map[string]string, f float64) { out = num(f) })
		return out
	}
	v.SamplesPerSecond = one(`rate(vedette_store_samples_appended_total{job="vedette"}[2m])`)
	// Of less than most of an hour, a rate would be stretched to a number that nobody
	// has seen; the samples are 5 s apart.
	churn := func(of string) *float64 {
		of += `{job="vedette"}[1h]`
		return one(`increase(` + of + `) and count_over_time(` + of + `) > 600`)
	}
	v.CreatedPerHour, v.RemovedPerHour = churn("prometheus_tsdb_head_series_created_total"), churn("prometheus_tsdb_head_series_removed_total")
	at := map[string]int{}
	for i, m := range c.Metrics {
		v.Metrics[i].MetricSeries = m
		at[m.Name] = i
	}
	if len(q.Match) == 0 { // the history is of whole metrics
		ago := func(offset string, of func(*metricView) **float64) {
			a.by("metric", `vedette_metric_series{job="vedette"} offset `+offset, func(name string, f float64) {
				if i, ok := at[name]; ok {
					*of(&v.Metrics[i]) = num(f)
				}
			})
		}
		ago("1h", func(m *metricView) **float64 { return &m.Hour })
		ago("24h", func(m *metricView) **float64 { return &m.Day })
		ago("7d", func(m *metricView) **float64 { return &m.Week })
	}
	if a.err != nil {
		return a.err
	}
	writeJSON(w, v)
	return nil
}

// forecast is the last answer of DiskForecast.
type forecast struct {
	mu sync.Mutex
	at time.Time
	of metric.DiskForecast
}

// forecastAge is how long a forecast serves: it moves by days.
const forecastAge = time.Minute

// DiskForecast tells when the disk under the tenant's directory is full, from the
// growth of its blocks and the free space of the last six hours. The answer may
// be a minute old.
func (t *Tenant) DiskForecast(ctx context.Context, now time.Time) metric.DiskForecast {
	t.forecast.mu.Lock()
	defer t.forecast.mu.Unlock()
	if now.Sub(t.forecast.at) < forecastAge {
		return t.forecast.of
	}
	u := t.Store.Usage()
	st := metric.DiskState{
		Free: int64(disk(t.Dir).free), BlocksBytes: u.BlocksBytes, OwnPerDay: t.Store.Growth().BytesPerDay, Retention: u.Retention, MaxBytes: u.MaxBytes,
	}
	// An hour of samples, each 5 s, is the least that a slope is read from.
	q := &asker{ctx: ctx, t: t, now: now}
	q.each(`min(deriv(node_filesystem_avail_bytes{job="vedette-host"}[6h])) and min(count_over_time(node_filesystem_avail_bytes{job="vedette-host"}[6h])) > 700`,
		func(_ map[string]string, f float64) { st.TrendPerDay = -f * 86400 })
	f := metric.ForecastDisk(st)
	if q.err == nil { // a question cut short is asked again
		t.forecast.at, t.forecast.of = now, f
	}
	return f
}

// DiskFullSeconds is DiskForecast as a metric; +Inf for a disk that does not fill.
func (t *Tenant) DiskFullSeconds() float64 {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	f := t.DiskForecast(ctx, time.Now())
	if f.FullIn == metric.Never {
		return math.Inf(1)
	}
	return f.FullIn.Seconds()
}

// fullInDays is a forecast in days to one place; nil for never.
func fullInDays(f metric.DiskForecast) *float64 {
	if f.FullIn == metric.Never {
		return nil
	}
	return num(math.Round(f.FullIn.Hours()/24*10) / 10)
}
