package probe_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/miekg/dns"
	bbconfig "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/blackbox_exporter/prober"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"gopkg.in/yaml.v3"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

var rewrite = flag.Bool("rewrite", false, "write docs/faults.md again")

// faultRow is one planted fault: what the check must say, and the module with
// which blackbox_exporter looks at the same target.
type faultRow struct {
	kind, fault   string
	check         probe.Check
	stage, reason string
	module        string // of blackbox_exporter; "" when it has no such prober
	target        string // for it; default the check's URL
}

const faultDoc = "../../docs/faults.md"

// TestFaultTable plants faults for every kind of check, wants state, stage and
// reason right in each, looks at the same targets with blackbox_exporter, and
// holds docs/faults.md to what came out.
func TestFaultTable(t *testing.T) {
	rows := faultRows(t)
	var b strings.Builder
	b.WriteString(faultHead)
	// The rows wait for timeouts more than they work.
	lines := make([]string, len(rows))
	var all sync.WaitGroup
	turn := make(chan struct{}, 12)
	for i, row := range rows {
		all.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			lines[i] = row.line(t)
		})
	}
	all.Wait()
	last := ""
	for i, row := range rows {
		if row.kind != last {
			fmt.Fprintf(&b, "\n### %s\n\n| Fault | State | Stage | Reason | Phases kept | blackbox_exporter v0.27.0 |\n|---|---|---|---|---|---|\n", row.kind)
			last = row.kind
		}
		b.WriteString(lines[i])
	}
	b.WriteString(faultTail)
	if *rewrite {
		if err := os.WriteFile(faultDoc, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(faultDoc)
	if err != nil {
		t.Fatalf("%v; go test ./internal/probe -run FaultTable -rewrite makes it", err)
	}
	if got := strings.Split(b.String(), "\n"); string(want) != b.String() {
		for i, line := range strings.Split(string(want), "\n") {
			if i >= len(got) || got[i] != line {
				t.Fatalf("docs/faults.md, line %d:\n%s\nis not what came out:\n%s\ngo test ./internal/probe -run FaultTable -rewrite", i+1, line, strings.Join(got[min(i, len(got)-1):min(i+1, len(got))], ""))
			}
		}
		t.Fatal("docs/faults.md lacks lines; go test ./internal/probe -run FaultTable -rewrite")
	}
}

// line runs the check of a row and renders what came out.
func (row faultRow) line(t *testing.T) string {
	c := row.check
	c.Name = row.kind + " " + row.fault
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	r := probe.Once(context.Background(), c)
	if r.Stage != row.stage || r.Reason != row.reason || r.Success != (row.reason == "") {
		t.Errorf("%s, %s: got success %v, stage %q, reason %q, want %q, %q; message: %s", row.kind, row.fault, r.Success, r.Stage, r.Reason, row.stage, row.reason, r.Message)
	}
	if r.Kind != row.kind {
		t.Errorf("%s, %s: the kind is %s", row.kind, row.fault, r.Kind)
	}
	if !r.Success && r.Message == "" {
		t.Errorf("%s, %s: no message", row.kind, row.fault)
	}
	state := "up"
	if !r.Success {
		state = "down"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", row.fault, state, dash(r.Stage), dash(r.Reason), dash(kept(r)), beside(t, row))
}

const faultHead = `# Every kind of check and every fault

This table is made by a test (` + "`go test ./internal/probe -run FaultTable -rewrite`" + `), which plants each fault on a local server and fails when
state, stage or reason is not what stands here. Beside it stands what blackbox_exporter v0.27.0, run as a library on the same target, says:
whether it fails as well, and which phases its metrics still hold. It never names the stage; Vedette's own ` + "`/probe`" + ` adds
` + "`probe_failed_stage`" + ` to its answer.

"Phases kept" are those that have a duration in the result, the failed one last, in brackets. A phase that the kind or the target does not have
(resolving a literal address, tls on a plain port) does not appear.
`

const faultTail = `
The kinds that log in to databases and queues, chain nodes, flows and browsers have fault tables of their own in the tests beside their files.
`

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// kept lists the phases of the last hop that have a duration.
func kept(r record.CheckResult) string {
	if len(r.Hops) == 0 {
		return ""
	}
	var out []string
	for ph, p := range r.Total() {
		switch p.State {
		case record.Done:
			out = append(out, record.Phase(ph).String())
		case record.Failed:
			out = append(out, "("+record.Phase(ph).String()+")")
		}
	}
	return strings.Join(out, " ")
}

// beside is what blackbox_exporter says of the same target.
func beside(t *testing.T, row faultRow) string {
	t.Helper()
	if row.module == "" {
		return "no such prober"
	}
	var m bbconfig.Module
	if err := yaml.NewDecoder(strings.NewReader(row.module)).Decode(&m); err != nil {
		t.Errorf("%s, %s: module: %v", row.kind, row.fault, err)
		return ""
	}
	target := row.target
	if target == "" {
		target = row.check.URL
	}
	timeout := row.check.Timeout
	if timeout == 0 {
		timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	reg := prometheus.NewRegistry()
	ok := map[string]prober.ProbeFn{"http": prober.ProbeHTTP, "tcp": prober.ProbeTCP, "dns": prober.ProbeDNS, "icmp": prober.ProbeICMP, "grpc": prober.ProbeGRPC}[m.Prober](
		ctx, target, m, reg, slog.New(slog.DiscardHandler))
	families, err := reg.Gather()
	if err != nil {
		t.Error(err)
	}
	var phases []string
	for _, f := range families {
		for _, s := range f.Metric {
			for _, l := range s.Label {
				if l.GetName() == "phase" && s.GetGauge().GetValue() > 0 && l.GetValue() != "resolve" {
					phases = append(phases, l.GetValue())
				}
			}
		}
	}
	order := map[string]int{"connect": 1, "tls": 2, "setup": 2, "request": 3, "processing": 3, "check": 3, "rtt": 4, "transfer": 4}
	sort.Slice(phases, func(i, j int) bool { return order[phases[i]] < order[phases[j]] })
	out := "fails"
	if ok {
		out = "succeeds"
	}
	if len(phases) > 0 {
		out += "; holds " + strings.Join(phases, " ")
	}
	return out
}

// faultRows plants the faults.
func faultRows(t *testing.T) []faultRow {
	ca := newAuthority(t)
	good := ca.issue(t, 24*time.Hour, "127.0.0.1")
	cert := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	old := &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	trust := probe.TLS{CAFile: ca.file}
	resolver := serveDNS(t, map[string][]string{"up.shop.test.": {"127.0.0.1"}})
	closed, hanging, backlog := closedPort(t), serveTCP(t, hang), full(t)
	resetting := serveTCP(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)); reset(c) })
	// Later than the client's connect: a reset within it is one of connecting.
	lateReset := serveTCP(t, func(c net.Conn) { time.Sleep(50 * time.Millisecond); reset(c) })
	const short = 400 * time.Millisecond
	big := strings.Repeat("x", 5000)
	var rows []faultRow

	web := func(fault string, c probe.Check, stage, reason string, module string) {
		if module == "" {
			module = "{prober: http, http: {preferred_ip_protocol: ip4, tls_config: {ca_file: " + ca.file + "}}}"
		}
		rows = append(rows, faultRow{kind: "http", fault: fault, check: c, stage: stage, reason: reason, module: module})
	}
	web("none", probe.Check{URL: "http://" + serveTCP(t, say(ok200))}, "", "", "")
	web("none, https", probe.Check{URL: "https://" + serveTLS(t, cert(good), say(ok200)), TLS: trust}, "", "", "")
	web("name unknown", probe.Check{URL: "http://gone.shop.test/", Resolver: resolver}, "resolve", "dns_nxdomain", "")
	web("refused", probe.Check{URL: "http://" + closed}, "connect", "refused", "")
	web("connect hangs", probe.Check{URL: "http://" + backlog, Timeout: short}, "connect", "connect_timeout", "")
	web("TLS hangs", probe.Check{URL: "https://" + hanging, Timeout: short}, "tls", "tls_timeout", "")
	web("certificate expired", probe.Check{URL: "https://" + serveTLS(t, cert(ca.issue(t, -time.Hour, "127.0.0.1")), say(ok200)), TLS: trust}, "tls", "tls_expired", "")
	web("certificate for another", probe.Check{URL: "https://" + serveTLS(t, cert(ca.issue(t, time.Hour, "other.shop.test")), say(ok200)), TLS: trust}, "tls", "tls_name", "")
	web("authority unknown", probe.Check{URL: "https://" + serveTLS(t, cert(good), say(ok200))}, "tls", "tls_unknown_ca", "{prober: http, http: {preferred_ip_protocol: ip4}}")
	web("nothing newer than TLS 1.1", probe.Check{URL: "https://" + serveTLS(t, old, say(ok200)), TLS: trust}, "tls", "tls_protocol", "")
	web("no answer", probe.Check{URL: "http://" + hanging, Timeout: short}, "processing", "no_response", "")
	web("reset", probe.Check{URL: "http://" + resetting}, "processing", "reset", "")
	web("no HTTP", probe.Check{URL: "http://" + serveTCP(t, say("220 mail\r\n"))}, "processing", "bad_reply", "")
	web("body drips", probe.Check{URL: "http://" + serveTCP(t, drip), Timeout: short}, "transfer", "slow_body", "")
	web("body too large", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 200 OK\r\n\r\n"+big)), MaxBodyBytes: 4096}, "transfer", "too_large", "{prober: http, http: {preferred_ip_protocol: ip4, body_size_limit: 4096B}}")
	web("redirects in a circle", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"))}, "redirect", "redirect_loop", "")
	web("wrong status", probe.Check{URL: "http://" + serveTCP(t, say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"))}, "status", "status", "")
	web("wrong body", probe.Check{URL: "http://" + serveTCP(t, say(ok200)), Expect: probe.Expect{BodyContains: "closed"}}, "body", "body", "{prober: http, http: {preferred_ip_protocol: ip4, fail_if_body_not_matches_regexp: [closed]}}")

	tcp := func(fault string, c probe.Check, stage, reason, module string) {
		if module == "" {
			module = "{prober: tcp, tcp: {preferred_ip_protocol: ip4}}"
		}
		rows = append(rows, faultRow{kind: "tcp", fault: fault, check: c, stage: stage, reason: reason, module: module, target: strings.TrimPrefix(c.URL, "tcp://")})
	}
	greet := &probe.TCP{Steps: []probe.TCPStep{{Expect: "^220 "}, {Send: "QUIT"}, {Expect: "^221"}}}
	const greetBB = "{prober: tcp, tcp: {preferred_ip_protocol: ip4, query_response: [{expect: '^220 '}, {send: QUIT}, {expect: '^221'}]}}"
	mail := func(banner string) func(net.Conn) {
		return func(c net.Conn) {
			fmt.Fprintf(c, "%s\r\n", banner)
			_, _ = c.Read(make([]byte, 100))
			fmt.Fprint(c, "221 bye\r\n")
			_, _ = c.Read(make([]byte, 1))
		}
	}
	tcp("none", probe.Check{URL: "tcp://" + hanging}, "", "", "")
	tcp("none, conversation", probe.Check{URL: "tcp://" + serveTCP(t, mail("220 mail")), TCP: greet}, "", "", greetBB)
	tcp("name unknown", probe.Check{URL: "tcp://gone.shop.test:25", Resolver: resolver}, "resolve", "dns_nxdomain", "")
	tcp("refused", probe.Check{URL: "tcp://" + closed}, "connect", "refused", "")
	tcp("connect hangs", probe.Check{URL: "tcp://" + backlog, Timeout: short}, "connect", "connect_timeout", "")
	tcp("TLS hangs", probe.Check{URL: "tcp://" + hanging, TCP: &probe.TCP{TLS: true}, Timeout: short}, "tls", "tls_timeout", "{prober: tcp, tcp: {preferred_ip_protocol: ip4, tls: true}}")
	tcp("authority unknown", probe.Check{URL: "tcp://" + serveTLS(t, cert(good), hang), TCP: &probe.TCP{TLS: true}}, "tls", "tls_unknown_ca", "{prober: tcp, tcp: {preferred_ip_protocol: ip4, tls: true}}")
	tcp("no answer", probe.Check{URL: "tcp://" + hanging, TCP: greet, Timeout: short}, "processing", "no_response", greetBB)
	tcp("closed without an answer", probe.Check{URL: "tcp://" + serveTCP(t, func(net.Conn) {}), TCP: greet}, "processing", "no_response", greetBB)
	tcp("reset", probe.Check{URL: "tcp://" + resetting, TCP: &probe.TCP{Steps: []probe.TCPStep{{Send: "HELO"}, {Expect: "x"}}}}, "processing", "reset", "{prober: tcp, tcp: {preferred_ip_protocol: ip4, query_response: [{send: HELO}, {expect: x}]}}")
	tcp("wrong answer", probe.Check{URL: "tcp://" + serveTCP(t, func(c net.Conn) { fmt.Fprint(c, "554 go away\r\n"); hang(c) }), TCP: greet, Timeout: short}, "body", "body", greetBB)
	tcp("answer ends early", probe.Check{URL: "tcp://" + serveTCP(t, func(c net.Conn) { fmt.Fprint(c, "554 go away\r\n") }), TCP: greet}, "body", "body", greetBB)
	tcp("answer drips", probe.Check{URL: "tcp://" + serveTCP(t, drip), TCP: &probe.TCP{Steps: []probe.TCPStep{{Send: "GET / HTTP/1.0"}, {Send: "x"}, {Expect: "never"}}}, Timeout: short}, "transfer", "slow_body", "")
	tcp("answer too large", probe.Check{URL: "tcp://" + serveTCP(t, func(c net.Conn) { fmt.Fprint(c, strings.Repeat("line\r\n", 2000)); hang(c) }), TCP: greet, MaxBodyBytes: 4096}, "transfer", "too_large", "")

	tlsRow := func(fault string, c probe.Check, stage, reason string) {
		module := "{prober: tcp, tcp: {preferred_ip_protocol: ip4, tls: true, tls_config: {ca_file: " + ca.file + "}}}"
		if c.TLS.CAFile == "" {
			module = "{prober: tcp, tcp: {preferred_ip_protocol: ip4, tls: true}}"
		}
		rows = append(rows, faultRow{kind: "tls", fault: fault, check: c, stage: stage, reason: reason, module: module, target: strings.TrimPrefix(c.URL, "tls://")})
	}
	tlsRow("none", probe.Check{URL: "tls://" + serveTLS(t, cert(good), hang), TLS: trust}, "", "")
	tlsRow("refused", probe.Check{URL: "tls://" + closed}, "connect", "refused")
	tlsRow("connect hangs", probe.Check{URL: "tls://" + backlog, Timeout: short}, "connect", "connect_timeout")
	tlsRow("handshake hangs", probe.Check{URL: "tls://" + hanging, Timeout: short}, "tls", "tls_timeout")
	tlsRow("reset", probe.Check{URL: "tls://" + resetting}, "tls", "reset")
	tlsRow("plain port", probe.Check{URL: "tls://" + serveTCP(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		hang(c)
	})}, "tls", "tls_error")
	tlsRow("certificate expired", probe.Check{URL: "tls://" + serveTLS(t, cert(ca.issue(t, -time.Hour, "127.0.0.1")), hang), TLS: trust}, "tls", "tls_expired")
	tlsRow("certificate for another", probe.Check{URL: "tls://" + serveTLS(t, cert(ca.issue(t, time.Hour, "other.shop.test")), hang), TLS: trust}, "tls", "tls_name")
	tlsRow("authority unknown", probe.Check{URL: "tls://" + serveTLS(t, cert(good), hang)}, "tls", "tls_unknown_ca")
	tlsRow("nothing newer than TLS 1.1", probe.Check{URL: "tls://" + serveTLS(t, old, hang), TLS: trust}, "tls", "tls_protocol")
	tlsRow("certificate ends soon", probe.Check{URL: "tls://" + serveTLS(t, cert(good), hang), TLS: trust, Expect: probe.Expect{CertificateDays: 7}}, "assertion", "certificate")
	tlsRow("STARTTLS refused", probe.Check{URL: "tls://" + serveTCP(t, func(c net.Conn) { fmt.Fprint(c, "554 no\r\n"); hang(c) }), TCP: &probe.TCP{StartTLS: "smtp"}, Timeout: short}, "tls", "tls_error")

	udpEcho := servePacket(t, func(b []byte) []byte { return append([]byte("echo "), b...) })
	udpSilent := servePacket(t, func([]byte) []byte { return nil })
	closedUDP := closedUDPPort(t)
	udp := func(fault, addr string, u *probe.UDP, timeout time.Duration, stage, reason string) {
		rows = append(rows, faultRow{kind: "udp", fault: fault, check: probe.Check{URL: "udp://" + addr, UDP: u, Timeout: timeout}, stage: stage, reason: reason})
	}
	udp("none", udpEcho, &probe.UDP{Send: "hi", Expect: "^echo hi$"}, 0, "", "")
	udp("none, no answer expected", udpSilent, &probe.UDP{Send: "hi"}, 0, "", "")
	udp("refused", closedUDP, &probe.UDP{Send: "hi", Expect: "x"}, 0, "connect", "refused")
	udp("no answer", udpSilent, &probe.UDP{Send: "hi", Expect: "x"}, short, "processing", "no_response")
	udp("wrong answer", udpEcho, &probe.UDP{Send: "hi", Expect: "^pong$"}, 0, "body", "body")

	dnsGarbage := servePacket(t, func([]byte) []byte { return []byte("this is no DNS message at all") })
	dnsRow := func(fault, addr string, d *probe.DNS, timeout time.Duration, stage, reason string) {
		module := "{prober: dns, dns: {preferred_ip_protocol: ip4, query_name: '" + d.Name + "', query_type: A, transport_protocol: " + map[bool]string{true: "tcp", false: "udp"}[d.Transport == "tcp"] + "}}"
		rows = append(rows, faultRow{kind: "dns", fault: fault, check: probe.Check{URL: "dns://" + addr, DNS: d, Timeout: timeout}, stage: stage, reason: reason, module: module, target: addr})
	}
	dnsRow("none", resolver, &probe.DNS{Name: "up.shop.test", Matches: []string{"127.0.0.1"}}, 0, "", "")
	dnsRow("none, a code that is wanted", resolver, &probe.DNS{Name: "gone.shop.test", RCode: []string{"NXDOMAIN"}}, 0, "", "")
	dnsRow("refused", closedUDP, &probe.DNS{Name: "up.shop.test"}, 0, "connect", "refused")
	dnsRow("refused, tcp", closed, &probe.DNS{Name: "up.shop.test", Transport: "tcp"}, 0, "connect", "refused")
	dnsRow("connect hangs, tcp", backlog, &probe.DNS{Name: "up.shop.test", Transport: "tcp"}, short, "connect", "connect_timeout")
	dnsRow("TLS hangs", hanging, &probe.DNS{Name: "up.shop.test", Transport: "tls"}, short, "tls", "tls_timeout")
	dnsRow("no answer", resolver, &probe.DNS{Name: "slow.shop.test"}, short, "processing", "no_response")
	dnsRow("no DNS", dnsGarbage, &probe.DNS{Name: "up.shop.test"}, short, "processing", "no_response")
	dnsRow("wrong code", resolver, &probe.DNS{Name: "gone.shop.test"}, 0, "status", "status")
	dnsRow("server fails", resolver, &probe.DNS{Name: "broken.shop.test"}, 0, "status", "status")
	dnsRow("wrong answer", resolver, &probe.DNS{Name: "up.shop.test", Matches: []string{"10.0.0.1"}}, 0, "body", "body")
	dnsRow("no record", resolver, &probe.DNS{Name: "up.shop.test", Type: "AAAA"}, 0, "body", "body")
	dnsRow("not authentic", resolver, &probe.DNS{Name: "up.shop.test", Authentic: true}, 0, "assertion", "assertion")

	rows = append(rows,
		faultRow{kind: "icmp", fault: "none", check: probe.Check{URL: "icmp://127.0.0.1"}, module: "{prober: icmp, icmp: {preferred_ip_protocol: ip4}}", target: "127.0.0.1"},
		faultRow{kind: "icmp", fault: "name unknown", check: probe.Check{URL: "icmp://gone.shop.test", Resolver: resolver}, stage: "resolve", reason: "dns_nxdomain", module: "{prober: icmp, icmp: {preferred_ip_protocol: ip4}}", target: "gone.shop.test"},
	)

	healthy, sick, plainGRPC := serveGRPC(t, nil, true), serveGRPC(t, nil, false), serveGRPC(t, nil)
	grpcRow := func(fault string, c probe.Check, stage, reason, module string) {
		if module == "" {
			module = "{prober: grpc, grpc: {preferred_ip_protocol: ip4, service: shop}}"
		}
		rows = append(rows, faultRow{kind: "grpc", fault: fault, check: c, stage: stage, reason: reason, module: module, target: strings.TrimPrefix(strings.TrimPrefix(c.URL, "grpc://"), "grpcs://")})
	}
	shop := &probe.GRPC{Service: "shop"}
	const grpcTLS = "{prober: grpc, grpc: {preferred_ip_protocol: ip4, service: shop, tls: true}}"
	grpcRow("none", probe.Check{URL: "grpc://" + healthy, GRPC: shop}, "", "", "")
	grpcRow("none, TLS", probe.Check{URL: "grpcs://" + serveGRPC(t, &tls.Config{Certificates: []tls.Certificate{good}, NextProtos: []string{"h2"}}, true), GRPC: shop, TLS: trust}, "", "",
		"{prober: grpc, grpc: {preferred_ip_protocol: ip4, service: shop, tls: true, tls_config: {ca_file: "+ca.file+"}}}")
	grpcRow("refused", probe.Check{URL: "grpc://" + closed, GRPC: shop}, "connect", "refused", "")
	grpcRow("connect hangs", probe.Check{URL: "grpc://" + backlog, GRPC: shop, Timeout: short}, "connect", "connect_timeout", "")
	grpcRow("TLS hangs", probe.Check{URL: "grpcs://" + hanging, GRPC: shop, Timeout: short}, "tls", "tls_timeout", grpcTLS)
	grpcRow("authority unknown", probe.Check{URL: "grpcs://" + serveTLS(t, cert(good), hang), GRPC: shop}, "tls", "tls_unknown_ca", grpcTLS)
	grpcRow("no answer", probe.Check{URL: "grpc://" + hanging, GRPC: shop, Timeout: short}, "processing", "no_response", "")
	grpcRow("reset", probe.Check{URL: "grpc://" + resetting, GRPC: shop}, "processing", "reset", "")
	grpcRow("not serving", probe.Check{URL: "grpc://" + sick, GRPC: shop}, "status", "status", "")
	grpcRow("service unknown", probe.Check{URL: "grpc://" + healthy, GRPC: &probe.GRPC{Service: "bank"}}, "status", "status", "{prober: grpc, grpc: {preferred_ip_protocol: ip4, service: bank}}")
	grpcRow("no health service", probe.Check{URL: "grpc://" + plainGRPC, GRPC: shop}, "status", "status", "")

	plain := func(kind, fault string, c probe.Check, stage, reason string) {
		rows = append(rows, faultRow{kind: kind, fault: fault, check: c, stage: stage, reason: reason})
	}
	smtpd := func(greeting, extension string, upgrade *tls.Config) func(net.Conn) {
		return func(c net.Conn) {
			fmt.Fprintf(c, "%s\r\n", greeting)
			buf := make([]byte, 200)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				switch verb := strings.ToUpper(string(buf[:min(n, 4)])); verb {
				case "EHLO":
					fmt.Fprintf(c, "250-mail\r\n250 %s\r\n", extension)
				case "STAR":
					fmt.Fprint(c, "220 go\r\n")
					c = tls.Server(c, upgrade)
				default:
					fmt.Fprint(c, "221 bye\r\n")
					return
				}
			}
		}
	}
	up := &probe.SMTP{StartTLS: true}
	plain("smtp", "none", probe.Check{URL: "smtp://" + serveTCP(t, smtpd("220 mail", "SIZE 100", nil))}, "", "")
	plain("smtp", "none, STARTTLS", probe.Check{URL: "smtp://" + serveTCP(t, smtpd("220 mail", "STARTTLS", cert(good))), SMTP: up, TLS: trust}, "", "")
	plain("smtp", "none, smtps", probe.Check{URL: "smtps://" + serveTLS(t, cert(good), smtpd("220 mail", "SIZE 100", nil)), TLS: trust}, "", "")
	plain("smtp", "refused", probe.Check{URL: "smtp://" + closed}, "connect", "refused")
	plain("smtp", "connect hangs", probe.Check{URL: "smtp://" + backlog, Timeout: short}, "connect", "connect_timeout")
	plain("smtp", "no greeting", probe.Check{URL: "smtp://" + hanging, Timeout: short}, "processing", "no_response")
	plain("smtp", "reset", probe.Check{URL: "smtp://" + lateReset}, "processing", "reset")
	plain("smtp", "turned away", probe.Check{URL: "smtp://" + serveTCP(t, smtpd("554 no service", "", nil))}, "status", "status")
	plain("smtp", "no SMTP", probe.Check{URL: "smtp://" + serveTCP(t, smtpd("SSH-2.0-x", "", nil))}, "processing", "bad_reply")
	plain("smtp", "STARTTLS not offered", probe.Check{URL: "smtp://" + serveTCP(t, smtpd("220 mail", "SIZE 100", nil)), SMTP: up}, "tls", "tls_error")
	plain("smtp", "authority unknown", probe.Check{URL: "smtp://" + serveTCP(t, smtpd("220 mail", "STARTTLS", cert(good))), SMTP: up}, "tls", "tls_unknown_ca")

	sshd, fingerprint := serveSSH(t)
	plain("ssh", "none", probe.Check{URL: "ssh://" + sshd, SSH: &probe.SSH{HostKey: fingerprint}}, "", "")
	plain("ssh", "refused", probe.Check{URL: "ssh://" + closed}, "connect", "refused")
	plain("ssh", "connect hangs", probe.Check{URL: "ssh://" + backlog, Timeout: short}, "connect", "connect_timeout")
	plain("ssh", "no banner", probe.Check{URL: "ssh://" + hanging, Timeout: short}, "processing", "no_response")
	plain("ssh", "reset", probe.Check{URL: "ssh://" + lateReset}, "processing", "reset")
	plain("ssh", "no SSH", probe.Check{URL: "ssh://" + serveTCP(t, func(c net.Conn) { fmt.Fprint(c, strings.Repeat("hello\r\n", 60)); hang(c) })}, "processing", "bad_reply")
	plain("ssh", "banner differs", probe.Check{URL: "ssh://" + sshd, SSH: &probe.SSH{Banner: "OpenSSH_10"}}, "body", "body")
	plain("ssh", "another host key", probe.Check{URL: "ssh://" + sshd, SSH: &probe.SSH{HostKey: "SHA256:other"}}, "assertion", "host_key")

	ws := serveWebsocket(t)
	plain("websocket", "none, ping", probe.Check{URL: "ws://" + ws}, "", "")
	plain("websocket", "none, echo", probe.Check{URL: "ws://" + ws, Websocket: &probe.Websocket{Send: "hi", Expect: "^hi$"}}, "", "")
	plain("websocket", "refused", probe.Check{URL: "ws://" + closed}, "connect", "refused")
	plain("websocket", "connect hangs", probe.Check{URL: "ws://" + backlog, Timeout: short}, "connect", "connect_timeout")
	plain("websocket", "TLS hangs", probe.Check{URL: "wss://" + hanging, Timeout: short}, "tls", "tls_timeout")
	plain("websocket", "no answer to the upgrade", probe.Check{URL: "ws://" + hanging, Timeout: short}, "processing", "no_response")
	plain("websocket", "reset", probe.Check{URL: "ws://" + resetting}, "processing", "reset")
	plain("websocket", "no upgrade", probe.Check{URL: "ws://" + serveTCP(t, say(ok200))}, "status", "status")
	plain("websocket", "no message", probe.Check{URL: "ws://" + ws + "/silent", Websocket: &probe.Websocket{Expect: "x"}, Timeout: short}, "transfer", "no_response")
	plain("websocket", "wrong message", probe.Check{URL: "ws://" + ws, Websocket: &probe.Websocket{Send: "hi", Expect: "^pong$"}, Timeout: short}, "body", "body")
	plain("websocket", "message too large", probe.Check{URL: "ws://" + ws, Websocket: &probe.Websocket{Send: big, Expect: "x"}, MaxBodyBytes: 1024}, "transfer", "too_large")

	redis := func(answer string) string {
		return serveTCP(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			fmt.Fprint(c, answer)
			_, _ = c.Read(make([]byte, 1))
		})
	}
	plain("redis", "none", probe.Check{URL: "redis://" + redis("+PONG\r\n")}, "", "")
	plain("redis", "none, a question", probe.Check{URL: "redis://" + redis("*2\r\n$3\r\none\r\n:2\r\n"), Database: &probe.Database{Query: "LRANGE a 0 1"}, Expect: probe.Expect{BodyContains: "one"}}, "", "")
	plain("redis", "refused", probe.Check{URL: "redis://" + closed}, "connect", "refused")
	plain("redis", "connect hangs", probe.Check{URL: "redis://" + backlog, Timeout: short}, "connect", "connect_timeout")
	plain("redis", "TLS hangs", probe.Check{URL: "rediss://" + hanging, Timeout: short}, "tls", "tls_timeout")
	plain("redis", "no answer", probe.Check{URL: "redis://" + hanging, Timeout: short}, "processing", "no_response")
	plain("redis", "reset", probe.Check{URL: "redis://" + resetting}, "processing", "reset")
	plain("redis", "login wanted", probe.Check{URL: "redis://" + redis("-NOAUTH Authentication required.\r\n")}, "status", "login")
	plain("redis", "wrong password", probe.Check{URL: "redis://robot:wrong-word@" + redis("-WRONGPASS invalid username-password pair\r\n")}, "status", "login")
	plain("redis", "question refused", probe.Check{URL: "redis://" + redis("-LOADING Redis is loading the dataset in memory\r\n")}, "status", "query")
	plain("redis", "wrong answer", probe.Check{URL: "redis://" + redis("+NO\r\n")}, "body", "body")
	plain("redis", "no RESP", probe.Check{URL: "redis://" + redis("HTTP/1.1 400 Bad Request\r\n")}, "processing", "bad_reply")
	plain("redis", "answer too large", probe.Check{URL: "redis://" + redis("*9000\r\n"+strings.Repeat(":1\r\n", 9000)), MaxBodyBytes: 4096}, "transfer", "too_large")

	sh := func(fault, script string, c probe.Check, stage, reason string) {
		c.Exec = &probe.Exec{Command: []string{"/bin/sh", "-c", script}}
		rows = append(rows, faultRow{kind: "exec", fault: fault, check: c, stage: stage, reason: reason})
	}
	sh("none", "echo all well", probe.Check{Expect: probe.Expect{BodyContains: "well"}}, "", "")
	sh("wrong exit code", "echo disk full >&2; exit 2", probe.Check{}, "status", "status")
	sh("does not end", "sleep 100", probe.Check{Timeout: short}, "processing", "no_response")
	sh("its child does not end", "sleep 100 & exit 0", probe.Check{}, "", "")
	sh("killed", "kill -9 $$", probe.Check{}, "status", "status")
	sh("wrong output", "echo closed", probe.Check{Expect: probe.Expect{BodyContains: "open"}}, "body", "body")
	sh("too much output", "yes", probe.Check{MaxBodyBytes: 4096}, "transfer", "too_large")
	rows = append(rows, faultRow{kind: "exec", fault: "no such program", check: probe.Check{Exec: &probe.Exec{Command: []string{"/no/such/program"}}}, stage: "processing", reason: "own_fault"})
	return rows
}

// serveGRPC serves the health service for "shop": serving, not serving, or
// without a value no health service at all.
func serveGRPC(t *testing.T, cfg *tls.Config, serving ...bool) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if cfg != nil {
		ln = tls.NewListener(ln, cfg)
	}
	srv := grpc.NewServer()
	if len(serving) > 0 {
		h := health.NewServer()
		st := grpc_health_v1.HealthCheckResponse_NOT_SERVING
		if serving[0] {
			st = grpc_health_v1.HealthCheckResponse_SERVING
		}
		h.SetServingStatus("shop", st)
		grpc_health_v1.RegisterHealthServer(srv, h)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return addr
}

// serveSSH serves key exchanges.
func serveSSH(t *testing.T) (addr, fingerprint string) {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	conf := &ssh.ServerConfig{NoClientAuth: true, ServerVersion: "SSH-2.0-Shop_1"}
	conf.AddHostKey(signer)
	return serveTCP(t, func(c net.Conn) { _, _, _, _ = ssh.NewServerConn(c, conf) }), ssh.FingerprintSHA256(signer.PublicKey())
}

// serveWebsocket echoes messages; at /silent it says nothing.
func serveWebsocket(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, msg, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if r.URL.Path != "/silent" && c.Write(r.Context(), kind, msg) != nil {
				return
			}
		}
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return strings.TrimPrefix(srv.URL, "http://")
}

// servePacket answers datagrams; nil is no answer.
func servePacket(t *testing.T, f func([]byte) []byte) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := f(bytes.Clone(buf[:n])); answer != nil {
				_, _ = pc.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return pc.LocalAddr().String()
}

func closedUDPPort(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	return pc.LocalAddr().String()
}

// A long answer that does not fit a datagram is asked for again over TCP.
func TestDNSTruncated(t *testing.T) {
	handler := func(cut bool) dns.HandlerFunc {
		return func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg)
			m.SetReply(q)
			m.Truncated = cut
			if !cut {
				rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN TXT \"whole\"")
				m.Answer = []dns.RR{rr}
			}
			_ = w.WriteMsg(m)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		t.Skip("the port is taken: ", err)
	}
	for _, srv := range []*dns.Server{{Listener: ln, Handler: handler(false)}, {PacketConn: pc, Handler: handler(true)}} {
		up := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(up) }
		go func() { _ = srv.ActivateAndServe() }()
		<-up
		t.Cleanup(func() { _ = srv.Shutdown() })
	}
	r := probe.Once(context.Background(), probe.Check{Name: "x", URL: "dns://" + ln.Addr().String(), DNS: &probe.DNS{Name: "long.test", Type: "txt", Matches: []string{"whole"}}})
	if !r.Success || len(r.Hops) != 2 || r.Facts["transport"] != "tcp" {
		t.Errorf("got %+v", r)
	}
}

// TestExecEndsItsChildren: what a program leaves behind ends with it.
func TestExecEndsItsChildren(t *testing.T) {
	file := t.TempDir() + "/pid"
	r := probe.Once(context.Background(), probe.Check{Name: "x", Timeout: 20 * time.Second, Exec: &probe.Exec{Command: []string{"/bin/sh", "-c", "sleep 1000 & echo $! > " + file}, Env: map[string]string{"SHOP_TOKEN": "very-secret"}}})
	if !r.Success {
		t.Fatalf("%+v", r)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := os.Stat("/proc/" + strings.TrimSpace(string(b)) + "/cmdline"); err != nil {
			return
		}
		if cmd, _ := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/cmdline"); len(cmd) == 0 {
			return // ended, and not waited for by whoever inherited it
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the child of the program still runs")
}
