package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql"

	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/record"
)

type breach struct {
	// ID tells two breaches of one name apart: an alert's fingerprint.
	ID       string     `json:"id"`
	Severity string     `json:"severity"` // page, warning or unknown
	Kind     string     `json:"kind"`     // alert, check, target, rule, storage or outbox
	Name     string     `json:"name"`
	Text     string     `json:"text"`
	Since    *time.Time `json:"since"`
	Link     string     `json:"link"`
}

type spark struct {
	Times []int64    `json:"times"`
	RPS   []*float64 `json:"rps,omitempty"`
	P99   []*float64 `json:"p99,omitempty"`
	CPU   []*float64 `json:"cpu,omitempty"`
	Mem   []*float64 `json:"memory,omitempty"`
	NetRx []*float64 `json:"net_rx,omitempty"`
	NetTx []*float64 `json:"net_tx,omitempty"`
}

type serviceView struct {
	Name         string   `json:"name"`
	Kind         string   `json:"kind"` // service, exporter or self
	State        string   `json:"state"`
	TargetsUp    int      `json:"targets_up"`
	TargetsTotal int      `json:"targets_total"`
	RPS          *float64 `json:"rps"`
	ErrorRatio   *float64 `json:"error_ratio"`
	P50          *float64 `json:"p50"`
	P99          *float64 `json:"p99"`
	CPU          *float64 `json:"cpu"`
	Memory       *float64 `json:"memory"`
	Alerts       int      `json:"alerts"`
	Spark        spark    `json:"spark"`
	Note         string   `json:"note"`
}

type hostView struct {
	Name        string   `json:"name"`
	CPU         *float64 `json:"cpu"`
	Memory      *float64 `json:"memory"`
	MemoryBytes *float64 `json:"memory_bytes"`
	MemoryTotal *float64 `json:"memory_total"`
	Disk        *float64 `json:"disk"`
	DiskFree    *float64 `json:"disk_free"`
	NetRx       *float64 `json:"net_rx"`
	NetTx       *float64 `json:"net_tx"`
	Load1       *float64 `json:"load1"`
	Uptime      *float64 `json:"uptime_seconds"`
	Spark       spark    `json:"spark"`
}

type nowView struct {
	At       time.Time        `json:"at"`
	State    string           `json:"state"`
	Sentence string           `json:"sentence"`
	Breaches []breach         `json:"breaches"`
	Services []serviceView    `json:"services"`
	Checks   map[string]int   `json:"checks"`
	Host     *hostView        `json:"host"`
	Self     selfView         `json:"self"`
	Arrived  map[string]int64 `json:"arrived"`
}

type selfView struct {
	CPU              *float64 `json:"cpu"`
	Memory           int64    `json:"memory"`
	Goroutines       int      `json:"goroutines"`
	Series           uint64   `json:"series"`
	SamplesPerSecond *float64 `json:"samples_per_second"`
	Uptime           float64  `json:"uptime_seconds"`
}

// The request histograms that services expose under their usual names. A job
// with several of them is shown by the first that has data.
var (
	requestHistograms = []string{
		"http_server_request_duration_seconds", "http_request_duration_seconds",
		"grpc_server_handling_seconds", "rpc_server_duration_seconds", "prometheus_http_request_duration_seconds",
		"vedette_http_request_duration_seconds", "request_duration_seconds",
	}
	requestCounters = []string{"http_requests_total", "grpc_server_handled_total"}
)

func (s *Server) now(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	now := time.Now()
	q := &asker{ctx: r.Context(), t: t, now: now}
	v := nowView{At: now.UTC(), Breaches: []breach{}, Services: []serviceView{}, Checks: map[string]int{}, Arrived: map[string]int64{}}
	s.alertBreaches(r.Context(), t, &v)
	s.checkBreaches(t, &v)
	s.targetBreaches(t, now, &v)
	s.ruleBreaches(r.Context(), t, &v)
	s.outboxBreaches(r.Context(), t, &v)
	s.storageBreaches(t, &v)
	v.Services = services(q, t, v.Breaches)
	if t.Watches {
		v.Host = host(q)
	}
	v.Self = s.self(q, t, now)
	for _, p := range t.Counts.Snapshot() {
		name := strings.TrimSuffix(strings.TrimSuffix(p.Protocol, "_v1"), "_v2")
		v.Arrived[name] += p.Samples
	}
	slices.SortStableFunc(v.Breaches, func(a, b breach) int {
		if c := cmp.Compare(rank(a.Severity), rank(b.Severity)); c != 0 {
			return c
		}
		// The oldest first: a cause begins before what follows from it.
		return sinceOf(a).Compare(sinceOf(b))
	})
	v.State, v.Sentence = sentence(v)
	if q.err != nil && len(v.Breaches) == 0 {
		v.State, v.Sentence = "unknown", "Some figures could not be computed: "+q.err.Error()
	}
	writeJSON(w, v)
	return nil
}

func rank(severity string) int {
	return slices.Index([]string{"page", "warning", "unknown"}, severity)
}

// sinceOf orders breaches; one whose beginning is not known comes last.
func sinceOf(b breach) time.Time {
	if b.Since == nil {
		return time.Unix(math.MaxInt32, 0)
	}
	return *b.Since
}

// severityOf maps the label that rules usually carry to our three states.
func severityOf(labels map[string]string) string {
	switch strings.ToLower(labels["severity"]) {
	case "", "page", "critical", "fatal", "emergency", "error", "high":
		return "page"
	}
	return "warning"
}

// alertBreaches lists the alerts that people are told of, from whatever sent
// them; those that are silenced or inhibited are nobody's concern now.
func (s *Server) alertBreaches(ctx context.Context, t *Tenant, v *nowView) {
	for _, a := range t.Notifier.Alerts(ctx) {
		if n := a.Labels["alertname"]; a.Suppressed() || n == judge.AlertDown || n == judge.AlertFlapping {
			continue // the check itself is a breach
		}
		text := cmp.Or(a.Annotations["summary"], a.Annotations["description"], a.Annotations["message"])
		since, name := a.StartsAt.UTC(), a.Labels["alertname"]
		v.Breaches = append(v.Breaches, breach{a.Fingerprint, severityOf(a.Labels), "alert", name, text, &since,
			"#/alerts?alert=" + url.QueryEscape(name)})
	}
}

func (s *Server) checkBreaches(t *Tenant, v *nowView) {
	for _, c := range t.Book.Checks() {
		st, ok := t.Verdicts.Verdict(c.ID)
		if !ok {
			continue
		}
		v.Checks["total"]++
		v.Checks[string(st.State)]++
		sev := ""
		switch st.State {
		case record.StateDown, record.StateFlapping:
			if sev = "page"; c.Alert.Severity != "page" {
				sev = "warning"
			}
		case record.StateDegraded:
			sev = "warning"
		default: // what hangs on another is that one's breach
			continue
		}
		text := st.Text
		if n := len(st.Children); n > 0 {
			text += fmt.Sprintf("; %s on it", plural(n, "check depends", "checks depend"))
		}
		since := st.Since.UTC()
		v.Breaches = append(v.Breaches, breach{"check " + c.ID, sev, "check", c.Name, text, &since, "#/checks/" + url.PathEscape(c.ID)})
	}
	for _, k := range []string{"total", "up", "down", "unknown"} {
		v.Checks[k] += 0
	}
}

func (s *Server) targetBreaches(t *Tenant, now time.Time, v *nowView) {
	type down struct {
		n, total int
		err      string
	}
	jobs := map[string]*down{}
	for pool, ts := range t.Scrape.TargetsActive() {
		d := &down{}
		jobs[pool] = d
		for _, tg := range ts {
			d.total++
			if tg.LastError() != nil {
				d.n++
				d.err = tg.LastError().Error()
			}
		}
	}
	for job, d := range jobs {
		if d.n == 0 {
			continue
		}
		sev := "warning"
		if d.n == d.total {
			sev = "page"
		}
		v.Breaches = append(v.Breaches, breach{"target " + job, sev, "target", job,
			fmt.Sprintf("%d of %d targets cannot be scraped: %s", d.n, d.total, d.err), nil, "#/itself?section=targets"})
	}
}

func (s *Server) ruleBreaches(ctx context.Context, t *Tenant, v *nowView) {
	for _, f := range t.Rules.Health().Failures {
		v.Breaches = append(v.Breaches, breach{"rule " + f.Group + " " + f.Rule, "warning", "rule", f.Rule, "the rule cannot be evaluated: " + f.Error, nil, "#/itself?section=rules"})
	}
	if c := s.o.Config(); !c.OK {
		// The reason quotes the file, with the sections of other tenants.
		if caller, _ := record.CallerFrom(ctx); !ofInstallation(caller) {
			c = ownConfig(c, t.Name)
		}
		v.Breaches = append(v.Breaches, breach{"configuration", "warning", "rule", "configuration", "the new configuration was refused and the old one is in force: " + firstLine(c.Error), nil, "#/itself?section=config"})
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (s *Server) outboxBreaches(ctx context.Context, t *Tenant, v *nowView) {
	st, err := t.Notifier.OutboxStats(ctx)
	if err != nil {
		v.Breaches = append(v.Breaches, breach{"outbox", "warning", "outbox", "outbox", "cannot be read: " + err.Error(), nil, "#/alerts?tab=outbox"})
		return
	}
	if st.Failed > 0 {
		// One that was given up long ago is history; the outbox still lists it.
		page, err := t.Notifier.Outbox(ctx, notify.OutboxFilter{Status: "failed", Limit: 200})
		n := 0
		for _, f := range page.Notifications {
			if f.FinishedAt != nil && time.Since(*f.FinishedAt) < 24*time.Hour {
				n++
			}
		}
		if err == nil && n > 0 {
			v.Breaches = append(v.Breaches, breach{"outbox failed", "page", "outbox", "notifications", plural(n, "notification", "notifications") + " could not be delivered and were given up within the last day", nil, "#/alerts?tab=outbox"})
		}
	}
	if st.OldestPending > 2*time.Minute {
		since := time.Now().Add(-st.OldestPending).UTC()
		v.Breaches = append(v.Breaches, breach{"outbox waiting", "page", "outbox", "notifications", fmt.Sprintf("%d notifications wait for a receiver that does not take them", st.Pending), &since, "#/alerts?tab=outbox"})
	}
}

func (s *Server) storageBreaches(t *Tenant, v *nowView) {
	if t.Store.Broken() {
		v.Breaches = append(v.Breaches, breach{"log", "page", "storage", "log", "a write to the metric store's log has failed; nothing is stored until there is room on the disk again", nil, "#/itself?section=storage"})
	}
	d := disk(t.Dir)
	if d.total > 0 && float64(d.free) < 0.05*float64(d.total) {
		v.Breaches = append(v.Breaches, breach{"disk", "page", "storage", "disk", fmt.Sprintf("the disk of the data has %.1f GB of %.1f GB left", float64(d.free)/1e9, float64(d.total)/1e9), nil, "#/itself?section=storage"})
	}
}

// sentence says in words how things stand.
func sentence(v nowView) (state, text string) {
	if len(v.Breaches) == 0 {
		var parts []string
		if n := len(v.Services); n > 0 {
			parts = append(parts, plural(n, "service", "services"))
		}
		if n := v.Checks["total"]; n > 0 {
			up := v.Checks["up"]
			if up == n {
				parts = append(parts, plural(n, "check", "checks")+" up")
			} else {
				parts = append(parts, fmt.Sprintf("%d of %s up, %d not run yet", up, plural(n, "check", "checks"), v.Checks["unknown"]))
			}
		}
		if len(parts) == 0 {
			return "ok", "Nothing is wrong, and nothing reports yet."
		}
		return "ok", "Nothing is wrong: " + strings.Join(parts, ", ") + "."
	}
	n := map[string]int{}
	for _, b := range v.Breaches {
		n[b.Severity]++
	}
	first := v.Breaches[0]
	state = first.Severity
	broken := 0
	for _, s := range v.Services {
		if s.State != "ok" {
			broken++
		}
	}
	head := plural(len(v.Breaches), "thing is wrong", "things are wrong")
	if broken > 0 {
		verb := "are"
		if broken == 1 {
			verb = "is"
		}
		head += fmt.Sprintf(", %d of %s %s affected", broken, plural(len(v.Services), "service", "services"), verb)
	}
	text = head + ": " + first.Name
	if first.Text != "" {
		text += ", " + strings.TrimSuffix(first.Text, ".")
	}
	if first.Since != nil {
		text += " (for " + since(v.At.Sub(*first.Since)) + ")"
	}
	return state, text + "."
}

// since rounds a duration to what a person would say.
func since(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// services lists the jobs that report, breaches first.
func services(q *asker, t *Tenant, breaches []breach) []serviceView {
	byJob := map[string]*serviceView{}
	// These two stand elsewhere on the screen.
	elsewhere := map[string]bool{"vedette-host": true, "vedette-checks": true}
	get := func(job string) *serviceView {
		v := byJob[job]
		if v == nil {
			v = &serviceView{Name: job, Kind: "exporter", State: "ok"}
			byJob[job] = v
		}
		return v
	}
	q.by("job", `count by (job) (up)`, func(job string, f float64) {
		if !elsewhere[job] {
			get(job).TargetsTotal = int(f)
		}
	})
	q.by("job", `count by (job) (up == 1)`, func(job string, f float64) {
		if !elsewhere[job] {
			get(job).TargetsUp = int(f)
		}
	})
	names := `{__name__=~"(` + strings.Join(requestHistograms, "|") + `)_count"}`
	rate := `sum by (job) (rate(` + names + `[2m]))`
	fallback := `sum by (job) (rate({__name__=~"` + strings.Join(requestCounters, "|") + `"}[2m]))`
	set := func(expr string, put func(v *serviceView, f float64)) {
		q.by("job", expr, func(job string, f float64) {
			if v := byJob[job]; v != nil {
				put(v, f)
			}
		})
	}
	set(fallback, func(v *serviceView, f float64) { v.RPS, v.Kind = num(f), "service" })
	set(rate, func(v *serviceView, f float64) { v.RPS, v.Kind = num(f), "service" })
	counted := "(" + strings.Join(requestHistograms, "|") + ")_count|" + strings.Join(requestCounters, "|")
	for _, label := range []string{"code", "status", "status_code", "http_response_status_code"} {
		all := `sum by (job) (rate({__name__=~"` + counted + `",` + label + `!=""}[2m]))`
		bad := `sum by (job) (rate({__name__=~"` + counted + `",` + label + `=~"5..|5xx"}[2m]))`
		// A service that tells codes and had no bad one has the ratio 0.
		set(`(`+bad+` or `+all+` * 0) / (`+all+` > 0)`, func(v *serviceView, f float64) { v.ErrorRatio = num(f) })
	}
	buckets := `{__name__=~"(` + strings.Join(requestHistograms, "|") + `)_bucket"}`
	for p, put := range map[string]func(*serviceView, float64){
		"0.5":  func(v *serviceView, f float64) { v.P50 = num(f) },
		"0.99": func(v *serviceView, f float64) { v.P99 = num(f) },
	} {
		set(`histogram_quantile(`+p+`, sum by (job, le) (rate(`+buckets+`[2m])))`, put)
	}
	set(`sum by (job) (rate(process_cpu_seconds_total[2m]))`, func(v *serviceView, f float64) { v.CPU = num(f) })
	set(`sum by (job) (process_resident_memory_bytes)`, func(v *serviceView, f float64) { v.Memory = num(f) })
	start, step := q.now.Add(-time.Hour), time.Minute
	q.series("job", rate+" or "+fallback, start, step, func(job string, ts []int64, vs []*float64) {
		if v := byJob[job]; v != nil {
			v.Spark.Times, v.Spark.RPS = ts, vs
		}
	})
	q.series("job", `histogram_quantile(0.99, sum by (job, le) (rate(`+buckets+`[2m])))`, start, step, func(job string, ts []int64, vs []*float64) {
		if v := byJob[job]; v != nil {
			v.Spark.Times, v.Spark.P99 = ts, vs
		}
	})
	if v := byJob["vedette"]; v != nil {
		v.Kind = "self"
	}
	alertsByJob := map[string]map[string]int{}
	for _, a := range t.Rules.Active() {
		if a.State != "firing" {
			continue
		}
		// An alert on a check or a recorded ratio names its service in a label.
		job := a.Labels["service"]
		if byJob[job] == nil {
			job = a.Labels["job"]
		}
		if alertsByJob[job] == nil {
			alertsByJob[job] = map[string]int{}
		}
		alertsByJob[job][severityOf(a.Labels)]++
	}
	out := make([]serviceView, 0, len(byJob))
	for _, v := range byJob {
		al := alertsByJob[v.Name]
		v.Alerts = al["page"] + al["warning"]
		switch {
		case al["page"] > 0 || v.TargetsTotal > 0 && v.TargetsUp == 0:
			v.State = "page"
		case al["warning"] > 0 || v.TargetsUp < v.TargetsTotal:
			v.State = "warning"
		}
		if v.TargetsUp < v.TargetsTotal {
			v.Note = fmt.Sprintf("%d of %d targets down", v.TargetsTotal-v.TargetsUp, v.TargetsTotal)
		}
		out = append(out, *v)
	}
	stateRank := map[string]int{"page": 0, "warning": 1, "unknown": 2, "ok": 3}
	kindRank := map[string]int{"service": 0, "exporter": 1, "self": 2}
	slices.SortFunc(out, func(a, b serviceView) int {
		return cmp.Or(cmp.Compare(stateRank[a.State], stateRank[b.State]), cmp.Compare(kindRank[a.Kind], kindRank[b.Kind]), strings.Compare(a.Name, b.Name))
	})
	return out
}

func num(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

func host(q *asker) *hostView {
	h := &hostView{}
	q.each(`node_uname_info{job="vedette-host"}`, func(l map[string]string, _ float64) { h.Name = l["nodename"] })
	one := func(expr string) *float64 {
		var out *float64
		q.each(expr, func(_ map[string]string, f float64) { out = num(f) })
		return out
	}
	const sel = `{job="vedette-host"}`
	cpu := `1 - avg(rate(node_cpu_seconds_total{job="vedette-host",mode="idle"}[1m]))`
	mem := `1 - sum(node_memory_MemAvailable_bytes` + sel + `) / sum(node_memory_MemTotal_bytes` + sel + `)`
	rx := `sum(rate(node_network_receive_bytes_total{job="vedette-host",device!="lo"}[1m]))`
	tx := `sum(rate(node_network_transmit_bytes_total{job="vedette-host",device!="lo"}[1m]))`
	h.CPU, h.Memory, h.NetRx, h.NetTx = one(cpu), one(mem), one(rx), one(tx)
	h.MemoryTotal = one(`sum(node_memory_MemTotal_bytes` + sel + `)`)
	h.MemoryBytes = one(`sum(node_memory_MemTotal_bytes` + sel + `) - sum(node_memory_MemAvailable_bytes` + sel + `)`)
	h.Disk = one(`max(1 - node_filesystem_avail_bytes` + sel + ` / (node_filesystem_size_bytes` + sel + ` > 0))`)
	h.DiskFree = one(`min(node_filesystem_avail_bytes` + sel + `)`)
	h.Load1 = one(`max(node_load1` + sel + `)`)
	h.Uptime = one(`time() - max(node_boot_time_seconds` + sel + `)`)
	start, step := q.now.Add(-time.Hour), time.Minute
	q.series("", cpu, start, step, func(_ string, ts []int64, vs []*float64) { h.Spark.Times, h.Spark.CPU = ts, vs })
	q.series("", mem, start, step, func(_ string, ts []int64, vs []*float64) { h.Spark.Times, h.Spark.Mem = ts, vs })
	q.series("", rx, start, step, func(_ string, ts []int64, vs []*float64) { h.Spark.Times, h.Spark.NetRx = ts, vs })
	q.series("", tx, start, step, func(_ string, ts []int64, vs []*float64) { h.Spark.Times, h.Spark.NetTx = ts, vs })
	return h
}

func (s *Server) self(q *asker, t *Tenant, now time.Time) selfView {
	p := processUsage()
	v := selfView{Memory: p.rss, Goroutines: p.goroutines, Series: t.Store.Usage().Series, Uptime: now.Sub(s.o.Started).Seconds()}
	q.each(`sum(rate(process_cpu_seconds_total{job="vedette"}[2m]))`, func(_ map[string]string, f float64) { v.CPU = num(f) })
	q.each(`sum(rate(vedette_ingest_samples_total{job="vedette"}[2m]))`, func(_ map[string]string, f float64) { v.SamplesPerSecond = num(f) })
	return v
}

// asker runs the screen's own queries; the first error is kept.
type asker struct {
	ctx context.Context
	t   *Tenant
	now time.Time
	err error
}

func (q *asker) each(expr string, f func(labels map[string]string, v float64)) {
	qq, err := q.t.Engines.Users.NewInstantQuery(q.ctx, q.t.Queryable, nil, expr, q.now)
	if err != nil {
		q.err = cmp.Or(q.err, fmt.Errorf("%s: %w", expr, err))
		return
	}
	defer qq.Close()
	res := qq.Exec(q.ctx)
	vec, err := res.Vector()
	if err != nil {
		q.err = cmp.Or(q.err, fmt.Errorf("%s: %w", expr, err))
		return
	}
	for _, s := range vec {
		f(s.Metric.Map(), s.F)
	}
}

func (q *asker) by(label, expr string, f func(name string, v float64)) {
	q.each(expr, func(l map[string]string, v float64) {
		if l[label] != "" {
			f(l[label], v)
		}
	})
}

func (q *asker) series(label, expr string, start time.Time, step time.Duration, f func(name string, ts []int64, vs []*float64)) {
	q.ranges(expr, start, step, func(ls map[string]string, ts []int64, vs []*float64) { f(ls[label], ts, vs) })
}

// ranges hands on every series of a range query that ends now, a value or nil
// for each time.
func (q *asker) ranges(expr string, start time.Time, step time.Duration, f func(labels map[string]string, ts []int64, vs []*float64)) {
	start = start.Truncate(step)
	qq, err := q.t.Engines.Users.NewRangeQuery(q.ctx, q.t.Queryable, nil, expr, start, q.now, step)
	if err != nil {
		q.err = cmp.Or(q.err, fmt.Errorf("%s: %w", expr, err))
		return
	}
	defer qq.Close()
	m, err := qq.Exec(q.ctx).Matrix()
	if err != nil {
		q.err = cmp.Or(q.err, fmt.Errorf("%s: %w", expr, err))
		return
	}
	var ts []int64
	for at := start; !at.After(q.now); at = at.Add(step) {
		ts = append(ts, at.Unix())
	}
	for _, s := range m {
		vs := make([]*float64, len(ts))
		fill(vs, s.Floats, start, step)
		f(s.Metric.Map(), ts, vs)
	}
}

func fill(vs []*float64, ps []promql.FPoint, start time.Time, step time.Duration) {
	for _, p := range ps {
		i := (p.T - start.UnixMilli()) / step.Milliseconds()
		if i >= 0 && int(i) < len(vs) {
			vs[i] = num(p.F)
		}
	}
}
