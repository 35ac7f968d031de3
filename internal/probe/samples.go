package probe

import (
	"strings"

	"github.com/vedette-sre/vedette/internal/record"
)

// Samples turns a run into series under blackbox_exporter's names, so that
// existing dashboards and rules work, and a few of ours. Each has the labels
// job, check, instance, location and the check's own. probe_failed_stage and
// probe_failure_info exist only while the check fails; the others that a run
// could not tell (a certificate on plain http) are absent. The caller marks
// series stale that a run no longer has.
func Samples(c Check, r record.CheckResult) []record.Sample {
	base := c.labelPairs(r.Location)
	base = base[:len(base):len(base)]
	out := make([]record.Sample, 0, 24)
	add := func(name string, v float64, ls ...string) {
		out = append(out, record.Sample{Name: name, Labels: append(base, ls...), Value: v})
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	total := r.Total()
	add("probe_success", flag(r.Success))
	add("up", 1)
	add("probe_duration_seconds", r.Duration.Seconds())
	for ph := record.Resolve; ph < record.NumPhases; ph++ {
		add("probe_http_duration_seconds", total[ph].Duration.Seconds(), "phase", ph.String())
	}
	add("probe_dns_lookup_time_seconds", total[record.Resolve].Duration.Seconds())
	add("probe_http_status_code", float64(r.Status()))
	add("vedette_check_lag_seconds", r.Lag.Seconds())
	if n := len(r.Hops); n > 0 {
		last := r.Hops[n-1]
		add("probe_http_redirects", float64(n-1))
		add("probe_http_content_length", float64(last.Bytes))
		add("probe_http_uncompressed_body_length", float64(last.Bytes))
		if v, ok := strings.CutPrefix(last.Proto, "HTTP/"); ok {
			add("probe_http_version", map[string]float64{"1.0": 1, "1.1": 1.1, "2.0": 2}[v])
		}
		add("probe_http_ssl", flag(last.TLS != nil && last.Phases[record.TLS].State == record.Done))
		if last.Address != "" {
			ip := 4.0
			if strings.HasPrefix(last.Address, "[") {
				ip = 6
			}
			add("probe_ip_protocol", ip)
		}
	}
	if t := r.Certificate(); t != nil {
		add("probe_ssl_earliest_cert_expiry", float64(t.NotAfter.Unix()))
		if t.Version != "" {
			add("probe_tls_version_info", 1, "version", t.Version)
		}
	}
	if !r.Success {
		add("probe_failed_stage", 1, "stage", r.Stage)
		add("probe_failure_info", 1, "stage", r.Stage, "reason", r.Reason)
	}
	return out
}
