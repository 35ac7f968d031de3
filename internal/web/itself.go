package web

import (
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/record"
)

type processView struct {
	Version
	StartedAt  time.Time `json:"started_at"`
	Uptime     float64   `json:"uptime_seconds"`
	RSS        int64     `json:"rss"`
	Heap       uint64    `json:"heap"`
	CPUSeconds float64   `json:"cpu_seconds"`
	CPUPercent float64   `json:"cpu_percent"` // of one core, since the start
	Goroutines int       `json:"goroutines"`
	PID        int       `json:"pid"`
}

type storageView struct {
	Series      uint64     `json:"series"`
	Chunks      int64      `json:"chunks"`
	WALBytes    int64      `json:"wal_bytes"`
	BlocksBytes int64      `json:"blocks_bytes"`
	Blocks      int        `json:"blocks"`
	Oldest      *time.Time `json:"oldest"`
	Newest      *time.Time `json:"newest"`
	Retention   float64    `json:"retention"` // seconds
	SizeLimit   int64      `json:"size_limit"`
	DiskFree    uint64     `json:"disk_free"`
	DiskTotal   uint64     `json:"disk_total"`
	FullInDays  *float64   `json:"full_in_days"`
	HeldBy      string     `json:"held_by"`             // the setting that ends the store's growth before
	OutOfOrder  float64    `json:"out_of_order_window"` // seconds
}

type ingestionView struct {
	ingest.ProtocolCount
	SamplesPerSecond *float64 `json:"samples_per_second"`
}

type limitView struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Value int64  `json:"value"`
	Hits  int64  `json:"hits"`
}

type rulesView struct {
	Groups   int               `json:"groups"`
	Rules    int               `json:"rules"`
	Failing  int               `json:"failing"`
	LastEval float64           `json:"last_evaluation_seconds"`
	Slowest  []judge.GroupTime `json:"slowest"`
	Failures []judge.Failure   `json:"failures"`
}

type outboxView struct {
	Pending int     `json:"pending"`
	Failed  int     `json:"failed"`
	Oldest  float64 `json:"oldest_pending_seconds"`
}

type tenantView struct {
	Name   string  `json:"name"`
	Open   bool    `json:"open"`
	Series *uint64 `json:"series"`
}

type itselfView struct {
	Process   processView     `json:"process"`
	Config    ConfigState     `json:"config"`
	Storage   storageView     `json:"storage"`
	Ingestion []ingestionView `json:"ingestion"`
	Limits    []limitView     `json:"limits"`
	Rules     rulesView       `json:"rules"`
	Outbox    outboxView      `json:"outbox"`
	Listeners []Listener      `json:"listeners"`
	Tenants   []tenantView    `json:"tenants"`
	Pulls     []PullView      `json:"pulls"`
}

// PullView is a database or queue that is asked for its metrics.
type PullView struct {
	Name     string            `json:"name"`
	Kind     string            `json:"kind"`
	Instance string            `json:"instance"`
	Up       bool              `json:"up"`
	Error    string            `json:"error"`   // why there was no answer
	Since    *time.Time        `json:"since"`   // when Up last changed; null before the first round
	Last     *time.Time        `json:"last"`    // when the last round began
	Took     float64           `json:"seconds"` // of the last round
	Samples  int               `json:"samples"`
	Dropped  map[string]int    `json:"dropped"` // samples that were left out, by reason
	Faults   map[string]string `json:"faults"`  // parts that could not be told, and why
}

func (s *Server) itself(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	now := time.Now()
	q := &asker{ctx: r.Context(), t: t, now: now}
	p := processUsage()
	v := itselfView{
		Process: processView{
			Version: s.o.Version, StartedAt: s.o.Started.UTC(), Uptime: now.Sub(s.o.Started).Seconds(),
			RSS: p.rss, Heap: p.heap, CPUSeconds: p.cpu, Goroutines: p.goroutines, PID: os.Getpid(),
		},
		Config: s.o.Config(), Listeners: s.o.Listeners(), Ingestion: []ingestionView{}, Tenants: []tenantView{},
	}
	if v.Config.NotServed == nil {
		v.Config.NotServed = []NotServed{}
	}
	if c, _ := record.CallerFrom(r.Context()); !ofInstallation(c) {
		v.Config = ownConfig(v.Config, t.Name)
	}
	if v.Process.Uptime > 0 {
		v.Process.CPUPercent = 100 * p.cpu / v.Process.Uptime
	}
	u := t.Store.Usage()
	d := disk(t.Dir)
	v.Storage = storageView{
		Series: u.Series, Chunks: u.Chunks + headChunks(t.Registry), WALBytes: u.WALBytes, BlocksBytes: u.BlocksBytes, Blocks: u.Blocks,
		Retention: u.Retention.Seconds(), SizeLimit: u.MaxBytes, OutOfOrder: u.OutOfOrder.Seconds(), DiskFree: d.free, DiskTotal: d.total,
	}
	if !u.Oldest.IsZero() {
		o, n := u.Oldest.UTC(), u.Newest.UTC()
		v.Storage.Oldest, v.Storage.Newest = &o, &n
	}
	v.Pulls = []PullView{}
	if t.Pulls != nil {
		v.Pulls = t.Pulls()
	}
	f := t.DiskForecast(r.Context(), now)
	v.Storage.FullInDays, v.Storage.HeldBy = fullInDays(f), f.HeldBy

	rates := map[string]float64{}
	q.by("protocol", `sum by (protocol) (rate(vedette_ingest_samples_total[1m]))`, func(n string, f float64) { rates[n] = f })
	for _, c := range t.Counts.Snapshot() {
		iv := ingestionView{ProtocolCount: c}
		if f, ok := rates[c.Protocol]; ok {
			iv.SamplesPerSecond = num(f)
		}
		v.Ingestion = append(v.Ingestion, iv)
	}
	hits := t.Store.LimitHits()
	lim := u.Limits
	v.Limits = []limitView{
		{"limits.max_series", "series in memory; new ones above are refused", int64(lim.MaxSeries), hits["max_series"]},
		{"limits.max_series_per_metric", "series in memory of one metric; new ones above are refused", int64(lim.MaxPerMetric), hits["max_series_per_metric"]},
		{"limits.max_labels", "labels of one series", int64(lim.MaxLabels), hits["max_labels"]},
		{"limits.max_label_name_bytes", "bytes of a label's name", int64(lim.MaxLabelName), hits["max_label_name_bytes"]},
		{"limits.max_label_value_bytes", "bytes of a label's value", int64(lim.MaxLabelValue), hits["max_label_value_bytes"]},
		{"limits.max_concurrent_writes", "remote write requests at once; more are told to come again", int64(t.MaxConcurrentWrites), t.Counts.Throttled()},
		{"query.max_concurrent", "queries of users at once; more wait", int64(t.Engines.Config.MaxConcurrent), t.Engines.Waited()},
		{"query.max_samples", "samples a query may hold; more is an error", int64(t.Engines.Config.MaxSamples), t.Engines.TooMany()},
		{"query.timeout", "seconds a query may take; more is an error", int64(t.Engines.Config.Timeout.Seconds()), t.Engines.TooSlow()},
		{"http.max_body_bytes", "bytes of one request", s.o.Limits.MaxBodyBytes, int64(s.hits.With(limitBody).Value())},
		{"http.max_header_bytes", "bytes of a request's header", int64(s.o.Limits.MaxHeaderBytes), int64(s.hits.With(limitHeader).Value())},
		{"http.max_requests", "requests answered at once", int64(s.o.Limits.MaxRequests), int64(s.hits.With(limitRequests).Value())},
	}
	h := t.Rules.Health()
	v.Rules = rulesView{h.Groups, h.Rules, h.Failing, h.LastSeconds, h.Slowest, h.Failures}
	if v.Rules.Slowest == nil {
		v.Rules.Slowest = []judge.GroupTime{}
	}
	if v.Rules.Failures == nil {
		v.Rules.Failures = []judge.Failure{}
	}
	st, err := t.Notifier.OutboxStats(r.Context())
	if err != nil {
		return err
	}
	v.Outbox = outboxView{Pending: st.Pending, Failed: st.Failed, Oldest: st.OldestPending.Seconds()}
	c := t.Name
	for _, name := range s.visibleTenants(r) {
		tv := tenantView{Name: name, Open: s.o.Tenants.Open(name)}
		if name == string(c) {
			n := u.Series
			tv.Series = &n
		}
		v.Tenants = append(v.Tenants, tv)
	}
	writeJSON(w, v)
	return nil
}

// ownConfig leaves of the configuration's state what concerns one tenant: the
// path and another tenant's sections are none of its business.
func ownConfig(c ConfigState, name record.Tenant) ConfigState {
	own := ConfigState{LoadedAt: c.LoadedAt, OK: c.OK, NotServed: []NotServed{}}
	if !c.OK {
		own.Error = "the last configuration offered was refused; an administrator of all tenants can see why"
	}
	for _, n := range c.NotServed {
		of, section, found := strings.Cut(strings.TrimPrefix(n.Section, "tenants."), ".")
		if !strings.HasPrefix(n.Section, "tenants.") {
			of, section, found = string(record.DefaultTenant), n.Section, true
		}
		if found && of == string(name) {
			own.NotServed = append(own.NotServed, NotServed{section, n.Reason})
		}
	}
	return own
}

// headChunks is how many chunks the store holds in memory; its engine tells it
// only as a metric.
func headChunks(g prometheus.Gatherer) int64 {
	mfs, err := g.Gather()
	if err != nil {
		return 0
	}
	for _, mf := range mfs {
		if mf.GetName() == "prometheus_tsdb_head_chunks" && len(mf.GetMetric()) == 1 {
			return int64(mf.GetMetric()[0].GetGauge().GetValue())
		}
	}
	return 0
}

type diskSpace struct{ free, total uint64 }

func disk(dir string) diskSpace {
	free, total, err := ingest.DiskUsage(dir)
	if err != nil {
		return diskSpace{}
	}
	return diskSpace{free, total}
}

type usage struct {
	rss        int64
	heap       uint64
	cpu        float64 // seconds
	goroutines int
}

var memStats struct {
	sync.Mutex
	at   time.Time
	heap uint64
}

// processUsage measures this process; the heap is read at most each 5 s, since
// reading it stops the world.
func processUsage() usage {
	u := usage{goroutines: runtime.NumGoroutine(), rss: residentBytes()}
	memStats.Lock()
	if now := time.Now(); now.Sub(memStats.at) > 5*time.Second {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		memStats.at, memStats.heap = now, m.HeapAlloc
	}
	u.heap = memStats.heap
	memStats.Unlock()
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) == nil {
		u.cpu = float64(ru.Utime.Sec+ru.Stime.Sec) + float64(ru.Utime.Usec+ru.Stime.Usec)/1e6
	}
	return u
}
