package probe

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/blackbox_exporter/config"
)

// failedProbe is what blackbox_exporter's prober left behind when it failed:
// from its words and its figures the stage is told.
type failedProbe struct {
	module  config.Module
	target  string
	said    []string // its errors and remarks, with their causes
	metrics []byte
	took    time.Duration
}

// words lead from what a prober says to the stage, the first that fits. Those of
// "dial" and "request" say that something was tried; the cause decides.
var words = []struct{ begins, stage string }{
	{"Error resolving address", "resolve"}, {"Resolution with IP protocol failed", "resolve"},
	{"Invalid HTTP response status code", "status"},
	{"Body matched", "body"}, {"Body did not match", "body"}, {"CEL evaluation", "body"}, {"Error evaluating CEL", "body"}, {"Error unmarshalling HTTP body", "body"},
	{"Missing required header", "header"}, {"Header matched", "header"}, {"Header did not match", "header"},
	{"Failed to read HTTP response body", "transfer"}, {"Error reading HTTP body", "transfer"}, {"Failed to get decompressor", "body"},
	{"Invalid HTTP version", "assertion"}, {"Error parsing version number", "processing"},
	{"Final request was over SSL", "assertion"}, {"Final request was not over SSL", "assertion"},
	{"Regexp did not match", "body"}, {"Error reading from connection", "processing"}, {"Failed to send", "processing"},
	{"TLS Handshake (client) failed", "tls"},
	{"Rcode is not one", "status"}, {"Answer RRs validation failed", "body"}, {"Authority RRs validation failed", "body"}, {"Additional RRs validation failed", "body"},
	{"Timeout reading from socket", "processing"}, {"Error reading from socket", "processing"},
	{"Error writing to socket", "connect"}, {"Error listening to socket", "connect"}, {"Error creating raw connection", "connect"},
}

// stage is one of resolve, connect, tls, processing, transfer, redirect, status,
// header, body and assertion. Where the words leave it open (a timeout says
// nothing of where), the figures decide, and where those are lost too, as after
// a TLS handshake that hangs, one short look at the port does.
func (f failedProbe) stage(ctx context.Context) string {
	if f.module.HTTP.HTTPClientConfig.FollowRedirects && slices.Contains(f.said, "Not following redirect") {
		return "redirect" // more than ten; the status of the last one is told as well
	}
	for _, line := range f.said {
		for _, w := range words {
			if strings.HasPrefix(line, w.begins) {
				return w.stage
			}
		}
	}
	all := strings.Join(f.said, "\n")
	has := func(texts ...string) bool {
		for _, t := range texts {
			if strings.Contains(all, t) {
				return true
			}
		}
		return false
	}
	switch {
	case has("no such host", "server misbehaving", "lookup "):
		return "resolve"
	case has("x509:", "tls:", "TLS handshake", "first record does not look like", "handshake failed", "certificate"):
		return "tls"
	case has("connection refused", "no route to host", "network is unreachable", "host is unreachable", "dial tcp", "dial udp"):
		return "connect"
	}
	switch f.module.Prober {
	case "http":
		switch {
		case f.phase("transfer") > 0:
			return "transfer"
		case f.phase("processing") > 0, f.phase("connect") > 0:
			return "processing"
		}
	case "grpc":
		if f.figure("probe_grpc_status_code") > 0 || f.phase("check") > 0 && !has("Unavailable", "DeadlineExceeded", "deadline") {
			return "status"
		}
	case "icmp", "dns":
		return "processing"
	}
	return f.look(ctx)
}

// look tells a port that does not take connections from one that does and then
// is silent.
func (f failedProbe) look(ctx context.Context) string {
	host, secure := f.target, false
	switch f.module.Prober {
	case "http":
		if !strings.Contains(host, "://") {
			host = "http://" + host
		}
		u, err := url.Parse(host)
		if err != nil {
			return "resolve"
		}
		host, secure = net.JoinHostPort(u.Hostname(), portOf(u)), u.Scheme == "https"
	case "tcp":
		secure = f.module.TCP.TLS
	case "grpc":
		secure = f.module.GRPC.TLS
	}
	d := net.Dialer{Timeout: min(time.Second, max(f.took/2, 100*time.Millisecond))}
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return "connect"
	}
	conn.Close()
	if secure {
		return "tls"
	}
	return "processing"
}

// phase is the duration of a phase in the metrics, 0 when it is lost.
func (f failedProbe) phase(name string) float64 {
	m := regexp.MustCompile(`(?m)^probe_\w+_duration_seconds\{phase="` + name + `"\} (\S+)$`).FindSubmatch(f.metrics)
	if m == nil {
		return 0
	}
	v, _ := strconv.ParseFloat(string(m[1]), 64) // 0 is as good as lost
	return v
}

func (f failedProbe) figure(name string) float64 {
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(f.metrics)
	if m == nil {
		return 0
	}
	v, _ := strconv.ParseFloat(string(m[1]), 64) // 0 is as good as none
	return v
}

// addStage adds the series to an answer in the text or the OpenMetrics format.
func addStage(body []byte, stage string) []byte {
	lines := fmt.Sprintf("# HELP probe_failed_stage The stage at which the probe failed\n# TYPE probe_failed_stage gauge\nprobe_failed_stage{stage=%q} 1\n", stage)
	if rest, ok := bytes.CutSuffix(body, []byte("# EOF\n")); ok {
		return append(append(bytes.Clone(rest), lines...), "# EOF\n"...)
	}
	return append(bytes.Clone(body), lines...)
}

// said collects what a prober says.
type said struct {
	mu  sync.Mutex
	all []string
}

func (s *said) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// listening passes records on and keeps those that may tell of a failure.
type listening struct {
	next  slog.Handler
	heard *said
}

func (l *listening) Enabled(ctx context.Context, lv slog.Level) bool { return l.next.Enabled(ctx, lv) }

func (l *listening) Handle(ctx context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" || a.Key == "error" {
			line += ": " + a.Value.String()
		}
		return true
	})
	l.heard.mu.Lock()
	if len(l.heard.all) < 200 {
		l.heard.all = append(l.heard.all, line)
	}
	l.heard.mu.Unlock()
	return l.next.Handle(ctx, r)
}

func (l *listening) WithAttrs(as []slog.Attr) slog.Handler {
	return &listening{l.next.WithAttrs(as), l.heard}
}

func (l *listening) WithGroup(name string) slog.Handler {
	return &listening{l.next.WithGroup(name), l.heard}
}

// heldReply holds an answer back.
type heldReply struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (h *heldReply) Header() http.Header         { return h.header }
func (h *heldReply) WriteHeader(code int)        { h.code = code }
func (h *heldReply) Write(b []byte) (int, error) { return h.body.Write(b) }
