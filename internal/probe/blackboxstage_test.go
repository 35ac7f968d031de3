package probe_test

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vedette-sre/vedette/internal/probe"
)

// TestProbeNamesTheStage: /probe says where a probe failed, in both formats.
func TestProbeNamesTheStage(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue(t, time.Hour, "127.0.0.1")
	cert := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	file := t.TempDir() + "/blackbox.yml"
	if err := os.WriteFile(file, []byte(`modules:
  http: {prober: http, timeout: 1s, http: {preferred_ip_protocol: ip4, tls_config: {ca_file: `+ca.file+`}}}
  http_stranger: {prober: http, timeout: 1s, http: {preferred_ip_protocol: ip4}}
  http_body: {prober: http, timeout: 1s, http: {preferred_ip_protocol: ip4, fail_if_body_not_matches_regexp: [closed]}}
  http_header: {prober: http, timeout: 1s, http: {preferred_ip_protocol: ip4, fail_if_header_not_matches: [{header: X-Shop, regexp: eu}]}}
  http_ssl: {prober: http, timeout: 1s, http: {preferred_ip_protocol: ip4, fail_if_not_ssl: true}}
  tcp: {prober: tcp, timeout: 1s, tcp: {preferred_ip_protocol: ip4}}
  tcp_tls: {prober: tcp, timeout: 1s, tcp: {preferred_ip_protocol: ip4, tls: true}}
  tcp_banner: {prober: tcp, timeout: 1s, tcp: {preferred_ip_protocol: ip4, query_response: [{expect: "^220 "}]}}
  dns: {prober: dns, timeout: 1s, dns: {preferred_ip_protocol: ip4, query_name: gone.shop.test, query_type: A}}
  grpc: {prober: grpc, timeout: 1s, grpc: {preferred_ip_protocol: ip4, service: shop}}
  icmp: {prober: icmp, timeout: 1s, icmp: {preferred_ip_protocol: ip4}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	conf, err := probe.LoadBlackbox(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := probe.NewBlackbox(conf, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(module, target string, header ...string) string {
		r := httptest.NewRequest("GET", "/probe?module="+module+"&target="+url.QueryEscape(target), nil)
		r.Header.Set("Accept-Encoding", "gzip")
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		return w.Body.String()
	}
	f := func(module, target, stage string) {
		t.Helper()
		got := ask(module, target)
		want := fmt.Sprintf("probe_failed_stage{stage=%q} 1\n", stage)
		if stage == "" {
			if strings.Contains(got, "probe_failed_stage") || !strings.Contains(got, "probe_success 1") {
				t.Errorf("%s of %s: got %s", module, target, got)
			}
			return
		}
		if !strings.Contains(got, want) || strings.Count(got, "probe_failed_stage{") != 1 {
			i := max(0, strings.Index(got, "probe_failed_stage{"))
			t.Errorf("%s of %s: want %sgot %.200s", module, target, want, got[i:])
		}
	}
	hanging, closed, backlog := serveTCP(t, hang), closedPort(t), full(t)
	f("http", "http://"+serveTCP(t, say(ok200)), "")
	f("http", "http://name.invalid/", "resolve")
	f("http", "http://"+closed, "connect")
	f("http", "http://"+backlog, "connect")
	f("http", "https://"+backlog, "connect")
	f("http", "https://"+hanging, "tls")
	f("http_stranger", "https://"+serveTLS(t, cert(good), say(ok200)), "tls")
	f("http", "https://"+serveTLS(t, cert(ca.issue(t, -time.Hour, "127.0.0.1")), say(ok200)), "tls")
	f("http", "http://"+hanging, "processing")
	f("http", "https://"+serveTLS(t, cert(good), hang), "processing")
	f("http", "http://"+serveTCP(t, func(net.Conn) {}), "processing")
	f("http", "http://"+serveTCP(t, drip), "transfer")
	f("http", "http://"+serveTCP(t, say("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")), "redirect")
	f("http", "http://"+serveTCP(t, say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")), "status")
	f("http_body", "http://"+serveTCP(t, say(ok200)), "body")
	f("http_header", "http://"+serveTCP(t, say(ok200)), "header")
	f("http_ssl", "http://"+serveTCP(t, say(ok200)), "assertion")
	f("tcp", closed, "connect")
	f("tcp", backlog, "connect")
	f("tcp_tls", hanging, "tls")
	f("tcp_banner", hanging, "processing")
	f("dns", serveDNS(t, nil), "status")
	f("dns", closedUDPPort(t), "connect")
	f("grpc", serveGRPC(t, nil, true), "")
	f("grpc", closed, "connect")
	f("grpc", serveGRPC(t, nil, false), "status")
	f("icmp", "name.invalid", "resolve")

	open := ask("tcp", closed, "Accept", "application/openmetrics-text; version=1.0.0")
	if !strings.HasSuffix(open, "probe_failed_stage{stage=\"connect\"} 1\n# EOF\n") && !strings.HasSuffix(open, "probe_failed_stage{stage=\"connect\"} 1\n") {
		t.Errorf("the answer ends with %q", open[max(0, len(open)-200):])
	}
	if debug := ask("tcp&debug=true", closed); strings.Contains(debug, "# TYPE probe_failed_stage") {
		t.Errorf("debug output: %s", debug)
	}
}
