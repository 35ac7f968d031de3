package probe_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

var begin = time.Date(2026, 11, 1, 18, 0, 0, 0, time.UTC)

// okRun is a redirect from http to https that ended well.
func okRun() record.CheckResult {
	ms := func(s record.PhaseState, n int) record.PhaseTime {
		return record.PhaseTime{State: s, Duration: time.Duration(n) * time.Millisecond}
	}
	return record.CheckResult{
		Check: "front", Kind: "http", Target: "http://shop.test/", Location: "hub", Start: begin, Duration: 250 * time.Millisecond, Lag: 2 * time.Millisecond,
		Success: true, TraceID: "0123456789abcdef0123456789abcdef",
		Hops: []record.Hop{
			{URL: "http://shop.test/", Address: "127.0.0.1:80", Status: 301, Proto: "HTTP/1.1", Location: "https://shop.test/",
				Phases: record.Phases{ms(record.Done, 10), ms(record.Done, 20), {State: record.Skipped}, ms(record.Done, 5), ms(record.Done, 1)}},
			{URL: "https://shop.test/", Address: "[::1]:443", Status: 200, Proto: "HTTP/1.1", Bytes: 4096,
				Phases: record.Phases{ms(record.Done, 4), ms(record.Done, 20), ms(record.Done, 60), ms(record.Done, 120), ms(record.Done, 10)},
				TLS:    &record.TLSFacts{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Subject: "CN=shop.test", Issuer: "CN=ca", NotAfter: begin.Add(30 * 24 * time.Hour)}},
		},
	}
}

// badRun is a handshake with an expired certificate.
func badRun() record.CheckResult {
	r := okRun()
	r.Success, r.Stage, r.Reason, r.Message = false, "tls", "tls_expired", "the certificate of CN=shop.test expired on 2026-10-30 18:00 UTC"
	r.Hops = r.Hops[1:]
	h := &r.Hops[0]
	h.Status, h.Proto, h.Bytes, h.TLS.Version, h.TLS.NotAfter = 0, "", 0, "", begin.Add(-48*time.Hour)
	h.Phases[record.TLS].State = record.Failed
	h.Phases[record.Processing], h.Phases[record.Transfer] = record.PhaseTime{}, record.PhaseTime{}
	return r
}

func lines(samples []record.Sample) []string {
	var out []string
	for _, s := range samples {
		var ls []string
		for i := 0; i < len(s.Labels); i += 2 {
			ls = append(ls, fmt.Sprintf("%s=%q", s.Labels[i], s.Labels[i+1]))
		}
		slices.Sort(ls)
		out = append(out, fmt.Sprintf("%s{%s} %v", s.Name, strings.Join(ls, ","), s.Value))
	}
	slices.Sort(out)
	return out
}

func TestSamples(t *testing.T) {
	c := probe.Check{Name: "front", URL: "http://shop.test/?token=abc", Labels: map[string]string{"team": "shop"}}
	var got []string
	for _, s := range probe.Samples(c, okRun()) {
		if base := strings.Join(s.Labels[:10], " "); base != "job vedette-checks check front instance http://shop.test/?token=(removed) location hub team shop" {
			t.Errorf("%s has labels %q", s.Name, base)
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %v %v", s.Name, s.Labels[10:], s.Value)))
	}
	slices.Sort(got)
	want := []string{
		"probe_dns_lookup_time_seconds [] 0.014",
		"probe_duration_seconds [] 0.25",
		"probe_failed_due_to_regex [] 0",
		"probe_http_content_length [] 4096",
		"probe_http_duration_seconds [phase connect] 0.04",
		"probe_http_duration_seconds [phase processing] 0.125",
		"probe_http_duration_seconds [phase resolve] 0.014",
		"probe_http_duration_seconds [phase tls] 0.06",
		"probe_http_duration_seconds [phase transfer] 0.011",
		"probe_http_redirects [] 1",
		"probe_http_ssl [] 1",
		"probe_http_status_code [] 200",
		"probe_http_uncompressed_body_length [] 4096",
		"probe_http_version [] 1.1",
		"probe_ip_protocol [] 6",
		fmt.Sprintf("probe_ssl_earliest_cert_expiry [] %v", float64(begin.Unix()+30*24*3600)),
		"probe_success [] 1",
		"probe_tls_version_info [version TLS 1.3] 1",
		"up [] 1",
		"vedette_check_lag_seconds [] 0.002",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSamplesOfFailure(t *testing.T) {
	c := probe.Check{Name: "front", URL: "http://shop.test/", Labels: map[string]string{"job": "mine"}}
	got := strings.Join(lines(probe.Samples(c, badRun())), "\n")
	for _, want := range []string{
		`probe_success{check="front",instance="http://shop.test/",job="mine",location="hub"} 0`,
		`probe_failed_stage{check="front",instance="http://shop.test/",job="mine",location="hub",stage="tls"} 1`,
		`probe_failure_info{check="front",instance="http://shop.test/",job="mine",location="hub",reason="tls_expired",stage="tls"} 1`,
		`phase="connect"} 0.02`, `phase="tls"} 0.06`, `phase="processing"} 0`, "probe_http_status_code", "probe_ssl_earliest_cert_expiry",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %s in\n%s", want, got)
		}
	}
	for _, no := range []string{"probe_http_version", "probe_tls_version_info", "vedette-checks"} {
		if strings.Contains(got, no) {
			t.Errorf("%s in\n%s", no, got)
		}
	}
	if got := lines(probe.Samples(c, record.CheckResult{Stage: "resolve", Reason: "own_fault"})); len(got) < 10 {
		t.Errorf("a run without hops: got %v", got)
	}
}

// TestText compares with testdata; UPDATE=1 writes it.
func TestText(t *testing.T) {
	bad := badRun()
	bad.Reply = "HTTP/1.1 500 Oops\r\nX: \x1b[2Jy\r\n\r\nbody\tline\nnext"
	got := probe.Text(okRun()) + "----\n" + probe.Text(bad)
	const file = "testdata/text.golden"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestTell: the scheduler tells how many runs ended, and how.
func TestTell(t *testing.T) {
	addr := closedPort(t)
	p, err := probe.New(probe.Config{Checks: []probe.Check{{Name: "x", URL: "http://" + addr}}}, func(context.Context, probe.Check, record.CheckResult) {}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.RunNow(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	m := instrument.New(instrument.Config{})
	p.Tell(m)
	got := map[string]float64{}
	for _, metric := range m.Snapshot().Metrics {
		for _, s := range metric.Series {
			got[metric.Name+"/"+s.Tag("outcome")+s.Tag("reason")] = s.Value
		}
	}
	want := map[string]float64{"vedette_check_runs/ok": 0, "vedette_check_runs/failed": 1,
		"vedette_check_runs_skipped/busy": 0, "vedette_check_runs_skipped/workers": 0, "vedette_check_runs_skipped/late": 0,
		"vedette_checks_running/": 0, "vedette_checks_waiting/": 0, "vedette_check_schedule_lag/": 0}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
