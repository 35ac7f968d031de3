package probe

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Samples turns a run into series under blackbox_exporter's names, so that
// existing dashboards and rules work, and a few of ours. Each has the labels
// job, check, instance, location and the check's own.
//
// Not every run has every series; the caller marks those stale that a run no
// longer has:
//   - probe_failed_stage and probe_failure_info exist only on failure;
//   - probe_http_version only when a status line came;
//   - probe_ip_protocol only when an address was dialled;
//   - probe_ssl_earliest_cert_expiry only when a certificate was shown, an
//     expired one too, and probe_tls_version_info when a handshake was done.
//
// The families probe_http_* are those of http checks; other kinds have their
// phases in probe_phase_duration_seconds, what they measured (r.Values) and, for
// flows, their steps.
//
// Phases that a run did not reach are 0, as blackbox_exporter has them. The
// length series are of the last hop: probe_http_content_length counts the body's
// bytes as they came, probe_http_uncompressed_body_length those after decoding,
// at most max_body_bytes. A hop that got an OAuth2 token is in none of them but
// probe_duration_seconds.
func Samples(c Check, r record.CheckResult) []record.Sample {
	base := c.labelPairs(r.Location)
	base = base[:len(base):len(base)]
	out := make([]record.Sample, 0, 26)
	add := func(name string, v float64, ls ...string) {
		out = append(out, record.Sample{Name: name, Labels: append(base, ls...), Value: v})
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	// Getting a token is a matter of now and then and of another server.
	seen := r
	if slices.ContainsFunc(r.Hops, isToken) {
		seen.Hops = slices.DeleteFunc(slices.Clone(r.Hops), isToken)
	}
	total := seen.Total()
	add("probe_success", flag(r.Success))
	add("up", 1)
	add("probe_duration_seconds", r.Duration.Seconds())
	family := "probe_phase_duration_seconds"
	if r.Kind == "http" {
		family = "probe_http_duration_seconds"
	}
	for ph := record.Resolve; ph < record.NumPhases; ph++ {
		add(family, total[ph].Duration.Seconds(), "phase", ph.String())
	}
	add("probe_dns_lookup_time_seconds", total[record.Resolve].Duration.Seconds())
	add("vedette_check_lag_seconds", r.Lag.Seconds())

	var last record.Hop
	if n := len(seen.Hops); n > 0 {
		last = seen.Hops[n-1]
	}
	if r.Kind == "http" {
		add("probe_http_status_code", float64(seen.Status()))
		add("probe_failed_due_to_regex", flag(r.Stage == "body" || r.Stage == "header"))
		add("probe_http_redirects", float64(redirects(seen.Hops)))
		add("probe_http_content_length", float64(last.Bytes))
		add("probe_http_uncompressed_body_length", float64(decodedLength(last)))
		add("probe_http_ssl", flag(last.Phases[record.TLS].State == record.Done))
		if v, ok := httpVersion(last.Proto); ok {
			add("probe_http_version", v)
		}
	}
	for _, v := range r.Values {
		add(v.Name, v.Value, v.Labels...)
	}
	for _, st := range r.Steps {
		if st.State != "not_reached" {
			add("probe_step_success", flag(st.State == "ok"), "step", st.Name)
			add("probe_step_duration_seconds", time.Duration(st.Duration).Seconds(), "step", st.Name)
		}
	}
	if ap, err := netip.ParseAddrPort(last.Address); err == nil {
		add("probe_ip_protocol", map[bool]float64{true: 4, false: 6}[ap.Addr().Unmap().Is4()])
	}
	if t := seen.Certificate(); t != nil {
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

// redirects counts those that were followed. Each exchange of a run, over IPv4
// and over IPv6, has a step of its own.
func redirects(hops []record.Hop) int {
	n := 0
	for i := 1; i < len(hops); i++ {
		if hops[i].Step == hops[i-1].Step && hops[i-1].Location != "" {
			n++
		}
	}
	return n
}

func decodedLength(h record.Hop) int64 {
	if h.Encoding != "" {
		return h.Decoded
	}
	return h.Bytes
}

func httpVersion(proto string) (float64, bool) {
	v, ok := strings.CutPrefix(proto, "HTTP/")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseFloat(v, 64)
	return n, err == nil
}
