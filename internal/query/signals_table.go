package query

import (
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// recogniser is one naming habit: what tells of it, which labels tell its
// entities apart, and what its series say.
type recogniser struct {
	kind   EntityKind
	source string // whose habit it is, for people
	// evidence are names of series that nothing else reports.
	evidence []string
	// identity are alternatives: the first of which every label is there counts.
	identity [][]string
	panels   []panel
	rank     int // its place in the table
}

// panel is the template of a Panel. Expressions are as writing.expr reads them.
type panel struct {
	// slot is shared by alternatives: the first of an entity that has data is shown.
	slot        string
	title, unit string
	signal      Signal
	heat        bool
	native      bool           // the series must be native histograms
	label       string         // that the series must have
	like        *regexp.Regexp // what a value of label must look like, nil for any
	lines       []line
	empty       string
}

// line is one query of a panel. It is left out where its series are not there.
type line struct {
	legend, expr string
	col          Column  // of the list, if any
	scale        float64 // to the column's unit; 0 means 1
}

// scope are labels that part things of one name; they belong to the identity
// where they are there.
var scope = []string{"namespace", "service_namespace", "cluster", "environment", "deployment_environment", "deployment_environment_name"}

// identify gives the labels that tell ls's entity apart; nil when it has none.
func (r *recogniser) identify(ls labels.Labels) []string {
next:
	for _, ids := range r.identity {
		for _, l := range ids {
			if ls.Get(l) == "" {
				continue next
			}
		}
		out := append(make([]string, 0, len(ids)+1), ids...)
		for _, l := range scope {
			if ls.Has(l) {
				out = append(out, l)
			}
		}
		return out
	}
	return nil
}

// recognisers is the table, the most telling habit of a kind first.
func recognisers() []*recogniser {
	var out []*recogniser
	for _, h := range requestHistograms {
		out = append(out, h.recogniser())
	}
	out = append(out, requestCounters(), grpcCounter(), pipeline())
	out = append(out, proxies()...)
	out = append(out, hosts()...)
	out = append(out, queues()...)
	out = append(out, databases()...)
	for i, r := range out {
		r.rank = i
	}
	return out
}

var (
	serviceID  = [][]string{{"service_name"}, {"service.name"}, {"service"}, {"job"}}
	instanceID = [][]string{{"instance"}}
)

// requestHistogram is a distribution of how long a service took to answer.
type requestHistogram struct {
	source, what, base string
	ms                 bool // milliseconds; else seconds
	noErrors           bool // it has no label that tells errors
}

// The names under which libraries tell the time of requests. Sources: OpenTelemetry
// semantic conventions 1.20 (milliseconds) and 1.23 onwards (seconds) in
// Prometheus's three translations, Micrometer's Prometheus registry, go-grpc-middleware,
// and what Prometheus's own documentation made the habit.
var requestHistograms = []requestHistogram{
	{source: "OpenTelemetry HTTP server", what: "HTTP", base: "http_server_request_duration_seconds"},
	{source: "OpenTelemetry HTTP server, UTF-8 names", what: "HTTP", base: "http.server.request.duration"},
	{source: "OpenTelemetry HTTP server, UTF-8 names", what: "HTTP", base: "http.server.request.duration_seconds"},
	{source: "OpenTelemetry HTTP server, names without unit", what: "HTTP", base: "http_server_request_duration"},
	{source: "OpenTelemetry HTTP server before 1.23", what: "HTTP", base: "http_server_duration_milliseconds", ms: true},
	{source: "OpenTelemetry HTTP server before 1.23", what: "HTTP", base: "http.server.duration", ms: true},
	{source: "Micrometer", what: "HTTP", base: "http_server_requests_seconds"},
	{source: "Micrometer by OTLP", what: "HTTP", base: "http_server_requests_milliseconds", ms: true},
	{source: "Prometheus client libraries", what: "HTTP", base: "http_request_duration_seconds"},
	{source: "Prometheus client libraries", what: "Requests", base: "request_duration_seconds"},
	{source: "OpenTelemetry RPC server", what: "RPC", base: "rpc_server_call_duration_seconds"},
	{source: "OpenTelemetry RPC server, UTF-8 names", what: "RPC", base: "rpc.server.call.duration"},
	{source: "OpenTelemetry RPC server before 1.39", what: "RPC", base: "rpc_server_duration_seconds"},
	{source: "OpenTelemetry RPC server before 1.39", what: "RPC", base: "rpc_server_duration_milliseconds", ms: true},
	{source: "OpenTelemetry RPC server before 1.39", what: "RPC", base: "rpc.server.duration", ms: true},
	{source: "gRPC middleware", what: "gRPC", base: "grpc_server_handling_seconds", noErrors: true}, // grpc_server_handled_total tells codes
	{source: "OpenTelemetry messaging", what: "Messages", base: "messaging_process_duration_seconds"},
	{source: "Prometheus", what: "HTTP", base: "prometheus_http_request_duration_seconds"},
	{source: "Vedette", what: "HTTP", base: "vedette_http_request_duration_seconds"},
}

type errorLabel struct {
	label, match string
	like         *regexp.Regexp // what its values look like, nil for any
}

// told selects the requests of which the label tells how they ended.
func (e errorLabel) told() string {
	if e.like == httpCode {
		return `=~"[1-5].."`
	}
	return `!=""`
}

// errorLabels say by which label and value a request counts as the server's
// failure: HTTP's 5xx, and of gRPC's codes those that OpenTelemetry counts as
// errors of a server.
var errorLabels = []errorLabel{
	{"http_response_status_code", `=~"5.."`, httpCode}, {"http.response.status_code", `=~"5.."`, httpCode},
	{"http_status_code", `=~"5.."`, httpCode}, {"http.status_code", `=~"5.."`, httpCode},
	{"rpc_response_status_code", grpcFailures, nil}, {"rpc.response.status_code", grpcFailures, nil},
	{"rpc_grpc_status_code", `=~"2|4|12|13|14|15"`, nil}, {"rpc.grpc.status_code", `=~"2|4|12|13|14|15"`, nil},
	{"grpc_code", grpcFailures, nil},
	{"status_code", `=~"5..|5xx"`, httpCode}, {"code", `=~"5..|5xx"`, httpCode}, {"status", `=~"5..|5xx"`, httpCode}, {"outcome", `="SERVER_ERROR"`, outcome},
	{"error_type", `!=""`, nil}, {"error.type", `!=""`, nil},
}

var (
	httpCode = regexp.MustCompile(`^[1-5](\d\d|xx)$`)
	outcome  = regexp.MustCompile(`^(SUCCESS|INFORMATIONAL|REDIRECTION|CLIENT_ERROR|SERVER_ERROR)$`)
)

const grpcFailures = `=~"(?i)unknown|deadline_?exceeded|unimplemented|internal|unavailable|data_?loss"`

// routeLabels name what was asked for, the most particular first.
var routeLabels = []string{"http_route", "http.route", "rpc_method", "rpc.method", "grpc_method", "messaging_destination_name", "route", "handler", "uri", "path", "endpoint"}

// recogniser makes the row of a histogram, in whichever of the forms it is kept:
// native, classic, a summary, or only sum and count.
func (h requestHistogram) recogniser() *recogniser {
	unit, scale := "s", 1.0
	if h.ms {
		unit, scale = "ms", 0.001
	}
	x := func(t string) string { return strings.ReplaceAll(t, "X", h.base) }
	native := heatmap(h.what+" latency", unit, scale, x(`sum(rate(<X>[$w]))`), x(`sum $by(rate(<X>[$w]))`))
	native.native = true
	ps := []panel{
		native,
		heatmap(h.what+" latency", unit, scale, x(`sum by (le) (rate(<X_bucket>[$w]))`), x(`sum by (le$,) (rate(<X_bucket>[$w]))`)),
		{slot: h.what + " latency", title: h.what + " latency", unit: unit, signal: Latency, label: "quantile", lines: []line{
			{"quantile {{quantile}}", x(`max by (quantile) (<X>)`), "", 0},
		}},
		{slot: h.what + " latency", title: h.what + " latency", unit: unit, signal: Latency, lines: []line{
			{"mean", x(`sum $by(rate(<X_sum>[$w])) / sum $by(rate(<X_count>[$w]))`), "", 0},
			{"longest", x(`max $by(<X_max>)`), "", 0},
		}},
	}
	for _, native := range []bool{true, false} {
		all := `sum $by(rate(<X_count>[$w]))`
		bad := func(m string) string { return `sum $by(rate(<X_count ` + m + `>[$w]))` }
		each := func(l string) string { return `sum by (` + l + `) (rate(<X_count>[$w]))` }
		if native {
			all = `histogram_count(sum $by(rate(<X>[$w])))`
			bad = func(m string) string { return `histogram_count(sum $by(rate(<X ` + m + `>[$w])))` }
			each = func(l string) string { return `histogram_count(sum by (` + l + `) (rate(<X>[$w])))` }
		}
		ps = append(ps, panel{slot: h.what + " traffic", title: h.what + " requests", unit: "/s", signal: Traffic, native: native,
			lines: []line{{"requests", x(all), ColRate, 0}}})
		for _, e := range errorLabels {
			if h.noErrors {
				break
			}
			ps = append(ps, panel{slot: h.what + " errors", title: h.what + " requests that failed", unit: "ratio", signal: Errors, native: native, label: e.label, like: e.like,
				lines: []line{{"failed", x(ratio(bad(quoteName(e.label)+e.match), bad(quoteName(e.label)+e.told()), all)), ColErrors, 0}}})
		}
		for _, l := range routeLabels {
			ps = append(ps, panel{slot: h.what + " routes", title: h.what + " requests by " + l, unit: "/s", signal: Detail, native: native, label: l,
				lines: []line{{"{{" + l + "}}", x(each(quoteName(l))), "", 0}}})
			if native {
				ps = append(ps, panel{slot: h.what + " slow routes", title: h.what + " p99 by " + l, unit: unit, signal: Detail, native: true, label: l,
					lines: []line{{"{{" + l + "}}", x(`histogram_quantile(0.99, sum by (` + quoteName(l) + `) (rate(<X>[$w])))`), "", 0}}})
			} else {
				ps = append(ps, panel{slot: h.what + " slow routes", title: h.what + " p99 by " + l, unit: unit, signal: Detail, label: l,
					lines: []line{{"{{" + l + "}}", x(`histogram_quantile(0.99, sum by (le, ` + quoteName(l) + `) (rate(<X_bucket>[$w])))`), "", 0}}})
			}
		}
	}
	return &recogniser{kind: KindService, source: h.source, evidence: []string{h.base + "_count", h.base}, identity: serviceID, panels: ps}
}

// heatmap is the panel of a distribution: heat gives its buckets, sum what the
// percentiles are taken of.
func heatmap(title, unit string, scale float64, heat, sum string) panel {
	return panel{slot: title, title: title, unit: unit, signal: Latency, heat: true, lines: []line{
		{"buckets", heat, "", 0},
		{"p50", `histogram_quantile(0.5, ` + sum + `)`, "", 0},
		{"p95", `histogram_quantile(0.95, ` + sum + `)`, "", 0},
		{"p99", `histogram_quantile(0.99, ` + sum + `)`, ColP99, scale},
	}}
}

// ratio is bad / all: zero where nothing was bad among what tells, nothing where
// nothing tells or nothing came.
func ratio(bad, tells, all string) string {
	return `(` + bad + ` or 0 * ` + tells + `) / (` + all + ` > 0)`
}

// requestCounters is a service that counts requests and does not time them.
func requestCounters() *recogniser {
	r := &recogniser{kind: KindService, source: "Prometheus client libraries", evidence: []string{"http_requests_total"}, identity: serviceID}
	all := `sum $by(rate(<http_requests_total>[$w]))`
	r.panels = append(r.panels, lines("HTTP traffic", "HTTP requests", "/s", Traffic, line{"requests", all, ColRate, 0}))
	for _, e := range errorLabels {
		count := func(match string) string {
			return `sum $by(rate(<http_requests_total ` + quoteName(e.label) + match + `>[$w]))`
		}
		p := lines("HTTP errors", "HTTP requests that failed", "ratio", Errors,
			line{"failed", ratio(count(e.match), count(e.told()), all), ColErrors, 0})
		p.label, p.like = e.label, e.like
		r.panels = append(r.panels, p)
	}
	for _, l := range routeLabels {
		p := lines("HTTP routes", "HTTP requests by "+l, "/s", Detail, line{"{{" + l + "}}", `sum by (` + quoteName(l) + `) (rate(<http_requests_total>[$w]))`, "", 0})
		p.label = l
		r.panels = append(r.panels, p)
	}
	return r
}

// grpcCounter is go-grpc-middleware's count of finished calls by code.
func grpcCounter() *recogniser {
	all := `sum $by(rate(<grpc_server_handled_total>[$w]))`
	return &recogniser{kind: KindService, source: "gRPC middleware", evidence: []string{"grpc_server_handled_total"}, identity: serviceID, panels: []panel{
		lines("gRPC traffic", "gRPC calls", "/s", Traffic, line{"calls", all, ColRate, 0}),
		lines("gRPC errors", "gRPC calls that failed", "ratio", Errors, line{"failed", ratio(`sum $by(rate(<grpc_server_handled_total grpc_code`+grpcFailures+`>[$w]))`, all, all), ColErrors, 0}),
		lines("gRPC codes", "gRPC calls by code", "/s", Detail, line{"{{grpc_code}}", `sum by (grpc_code) (rate(<grpc_server_handled_total>[$w]))`, "", 0}),
		lines("gRPC methods", "gRPC calls by method", "/s", Detail, line{"{{grpc_method}}", `sum by (grpc_method) (rate(<grpc_server_handled_total>[$w]))`, "", 0}),
	}}
}

// pipeline is a service that passes messages through stages, by the names of
// instrument/golden. A counter of failures is there from the first failure on.
func pipeline() *recogniser {
	in := `sum $by(rate(<stage_in_total>[$w]))`
	native := lines("stage time", "Stages, 99 % within", "s", Latency, line{"{{stage}}", `histogram_quantile(0.99, sum by (stage$,) (rate(<stage_duration_seconds>[$w])))`, ColP99, 0})
	native.native = true
	return &recogniser{kind: KindService, source: "instrument/golden", evidence: []string{"stage_out_total"}, identity: serviceID, panels: []panel{
		native,
		lines("stage time", "Stages, 99 % within", "s", Latency, line{"{{stage}}", `histogram_quantile(0.99, sum by (le, stage$,) (rate(<stage_duration_seconds_bucket>[$w])))`, ColP99, 0}),
		lines("", "Messages into stages", "/s", Traffic, line{"{{stage}}", `sum by (stage) (rate(<stage_in_total>[$w]))`, "", 0}, line{"all", in, ColRate, 0}),
		lines("stage errors", "Messages that failed", "ratio", Errors, line{"failed", ratio(`sum $by(rate(<stage_failed_total>[$w]))`, in, in), ColErrors, 0}),
		lines("stage errors", "Messages that failed", "ratio", Errors, line{"failed", `0 * ` + in, ColErrors, 0}),
		lines("", "Failures by reason", "/s", Detail, line{"{{stage}} {{reason}}", `sum by (stage, reason) (rate(<stage_failed_total>[$w]))`, "", 0}),
		lines("", "Messages under way", "", Detail, line{"{{stage}}", `sum by (stage) (<stage_active>)`, "", 0}),
		lines("", "Largest customers", "/s", Detail, line{"{{customer}}", `topk(10, sum by (customer) (rate(<stage_customer_in_total>[$w])))`, "", 0}),
		lines("", "Customers whose messages fail most", "ratio", Detail, line{"{{customer}}",
			`topk(10, sum by (customer) (rate(<stage_customer_failed_total>[$w])) / (sum by (customer) (rate(<stage_customer_in_total>[$w])) > 0))`, "", 0}),
	}}
}

// lines is a panel of lines. What shares the slot is an alternative.
func lines(slot, title, unit string, s Signal, of ...line) panel {
	return panel{slot: slot, title: title, unit: unit, signal: s, lines: of}
}

// companions are panels of series that tell of no kind by themselves, such as
// those of the process, and are shown for an entity that something else tells of.
func companions(k EntityKind) []panel {
	if k != KindService {
		return nil
	}
	return []panel{
		lines("requests under way", "Requests under way, of their limit", "ratio", Saturation, // instrument/golden's own gauge
			line{"requests", `max $by(<http_server_saturation>)`, ColSaturation, 0}),
		lines("requests under way", "Requests under way, of their limit", "ratio", Saturation,
			line{"requests", `sum $by(<http_server_active_requests>) / (sum $by(<http_server_active_requests_limit>) > 0)`, ColSaturation, 0}),
		lines("requests under way", "Requests under way", "", Saturation,
			line{"under way", `sum(<http_server_active_requests>)`, "", 0},
			line{"under way", `sum(<http.server.active_requests>)`, "", 0},
			line{"under way", `sum(<rpc_server_active_calls>)`, "", 0}),
		lines("", "Worker pools, in work and waiting of their size", "ratio", Saturation,
			line{"{{pool}}", `max by (pool$,) (<pool_saturation>)`, ColSaturation, 0}),
		lines("", "Database connections, of their limit", "ratio", Saturation,
			line{"connections", `max $by(<hikaricp_connections_active> / (<hikaricp_connections_max> > 0))`, ColSaturation, 0}),
		lines("", "Time that a CPU limit held it back", "ratio", Saturation,
			line{"held back", `sum $by(rate(<container_cpu_cfs_throttled_periods_total>[$w])) / (sum $by(rate(<container_cpu_cfs_periods_total>[$w])) > 0)`, "", 0}),
		lines("", "Open files, of their limit", "ratio", Saturation,
			line{"open files", `max $by(<process_open_fds> / (<process_max_fds> > 0))`, ColSaturation, 0}),
		lines("", "CPU", "cores", Detail,
			line{"{{instance}}", `sum by (instance) (rate(<process_cpu_seconds_total>[$w]))`, "", 0},
			line{"{{instance}}", `sum by (instance) (rate(<process_cpu_time_seconds_total>[$w]))`, "", 0}),
		lines("", "Memory", "bytes", Detail,
			line{"{{instance}}", `sum by (instance) (<process_resident_memory_bytes>)`, "", 0},
			line{"{{instance}}", `sum by (instance) (<process_memory_usage_bytes>)`, "", 0}),
		lines("", "Heap in use, of its limit", "ratio", Detail,
			line{"{{instance}}", `sum by (instance) (<jvm_memory_used_bytes area="heap">) / (sum by (instance) (<jvm_memory_max_bytes area="heap">) > 0)`, "", 0}),
		lines("", "Goroutines", "", Detail, line{"{{instance}}", `sum by (instance) (<go_goroutines>)`, "", 0}),
	}
}
