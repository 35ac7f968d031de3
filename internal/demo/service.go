package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// service is what the instrumented processes of the shop have in common: their
// metrics, their health, and calls to one another.
type service struct {
	name string
	shell
	faults *switches

	mux    *http.ServeMux
	reg    *prometheus.Registry
	client *http.Client
	// healthy says why the service is not, nil when it is. Read at each health
	// check.
	healthy func() error
	// switched, when not nil, is called after each change of the switches.
	switched func()

	requests     *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	calls        *prometheus.CounterVec
	callDuration *prometheus.HistogramVec
	build        *prometheus.GaugeVec
}

var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

func newService(sh shell, name, version string) *service {
	s := &service{
		name: name, shell: sh, faults: &switches{},
		mux: http.NewServeMux(), reg: prometheus.NewRegistry(),
		client: &http.Client{
			Timeout:   2 * takeWait,
			Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute},
		},
		healthy: func() error { return nil },
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Requests answered, by method, route, status code and customer.",
		}, []string{"method", "route", "code", "customer"}),
		duration: prometheus.NewHistogramVec(histogram("http_request_duration_seconds",
			"Time to answer a request, by method, route and status code."), []string{"method", "route", "code"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_client_requests_total", Help: "Requests made to other services, by service and status code (0: no answer).",
		}, []string{"peer", "code"}),
		callDuration: prometheus.NewHistogramVec(histogram("http_client_request_duration_seconds",
			"Time until another service's answer was read."), []string{"peer"}),
		build: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "build_info", Help: "1, labelled with the version that runs.",
		}, []string{"version"}),
	}
	s.reg.MustRegister(s.requests, s.duration, s.calls, s.callDuration, s.build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.build.WithLabelValues(version).Set(1)
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(s.reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	s.mux.HandleFunc("GET /healthz", s.health)
	s.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	s.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	s.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return s
}

// histogram has the classic buckets for those who scrape text and native ones
// for those who scrape protobuf.
func histogram(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: seconds,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
}

func (s *service) health(w http.ResponseWriter, r *http.Request) {
	if err := s.healthy(); err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "failing", "service": s.name, "reason": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "service": s.name})
}

// fail is an error with the status code to answer.
type fail struct {
	code int
	err  error
}

func (f *fail) Error() string { return f.err.Error() }

func failf(code int, format string, a ...any) error { return &fail{code, fmt.Errorf(format, a...)} }

// route serves pattern ("GET /products/{id}") by h, counted and timed. The
// series of the codes that the route may answer exist from the start: a counter
// that appears with its first error has no increase to be seen.
func (s *service) route(pattern string, codes []int, h func(r *http.Request) (any, error)) {
	method, path, _ := strings.Cut(pattern, " ")
	label := strings.TrimSuffix(path, "{$}")
	for _, code := range codes {
		text := strconv.Itoa(code)
		s.requests.WithLabelValues(method, label, text, noCustomer)
		for _, c := range customers() {
			s.requests.WithLabelValues(method, label, text, c.name)
		}
	}
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		body, err := h(r)
		code := http.StatusOK
		if err != nil {
			code = http.StatusInternalServerError
			var f *fail
			if errors.As(err, &f) {
				code = f.code
			}
			body = map[string]string{"error": err.Error()}
			s.log.Warn("request failed", "method", method, "route", label, "code", code,
				"customer", boundCustomer(r.Header.Get("X-Customer")), "trace_id", traceID(r), "error", err)
		}
		writeJSON(w, code, body)
		text := strconv.Itoa(code)
		s.requests.WithLabelValues(method, label, text, boundCustomer(r.Header.Get("X-Customer"))).Inc()
		o := s.duration.WithLabelValues(method, label, text)
		took := time.Since(start).Seconds()
		if id := traceID(r); id != "" {
			o.(prometheus.ExemplarObserver).ObserveWithExemplar(took, prometheus.Labels{"trace_id": id})
			return
		}
		o.Observe(took)
	})
}

// call asks another service on behalf of the request r, passing on who asks
// and the trace, and decodes its answer into out unless that is nil.
func (s *service) call(ctx context.Context, r *http.Request, peer, method, url string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	if r != nil {
		for _, h := range []string{"X-Customer", "Traceparent"} {
			if v := r.Header.Get(h); v != "" {
				req.Header.Set(h, v)
			}
		}
	}
	start := time.Now()
	code, err := exchange(s.client, req, out)
	s.calls.WithLabelValues(peer, strconv.Itoa(code)).Inc()
	s.callDuration.WithLabelValues(peer).Observe(time.Since(start).Seconds())
	if err != nil {
		return fmt.Errorf("call %s: %w", peer, err)
	}
	return nil
}

// exchange sends req and decodes a 2xx answer into out unless that is nil. The
// code is 0 when no answer came.
func exchange(client *http.Client, req *http.Request, out any) (int, error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return resp.StatusCode, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return resp.StatusCode, fmt.Errorf("status %d", resp.StatusCode)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			return resp.StatusCode, fmt.Errorf("decode the answer: %w", err)
		}
	}
	return resp.StatusCode, nil
}

// serve follows the switches and answers on port until ctx ends. The functions
// beside run meanwhile; when one fails, all end.
func (s *service) serve(ctx context.Context, port int, beside ...func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { s.faults.follow(ctx, s.ports, s.switched); return nil })
	g.Go(func() error { return serveHTTP(ctx, address(port), s.mux) })
	for _, f := range beside {
		g.Go(func() error { return f(ctx) })
	}
	return g.Wait()
}

func serveHTTP(ctx context.Context, addr string, h http.Handler) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return serveOn(ctx, ln, h)
}

// serveOn answers on ln until ctx ends, then lets running requests finish for a
// moment.
func serveOn(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if srv.Shutdown(stop) != nil {
		srv.Close()
	}
	<-ended
	return nil
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v)
}

// lag is a log-normal time: median, and how many times the median p99 is.
type lag struct {
	median time.Duration
	p99    time.Duration
}

// draw takes one time from the distribution; the zero lag is always 0.
func (l lag) draw() time.Duration {
	if l.median <= 0 {
		return 0
	}
	const z99 = 2.326
	sigma := math.Log(float64(l.p99)/float64(l.median)) / z99
	return time.Duration(float64(l.median) * math.Exp(sigma*mathrand.NormFloat64()))
}

// work spends a time drawn from l, as if something were computed or fetched.
func work(ctx context.Context, l lag) { rest(ctx, l.draw()) }

// chance is true with probability p.
func chance(p float64) bool { return mathrand.Float64() < p }

// newTrace makes the value of a traceparent header.
func newTrace() string {
	var b [24]byte
	rand.Read(b[:])
	return "00-" + hex.EncodeToString(b[:16]) + "-" + hex.EncodeToString(b[16:]) + "-01"
}

// traceID is the trace that the request belongs to, or "".
func traceID(r *http.Request) string {
	parts := strings.Split(r.Header.Get("Traceparent"), "-")
	if len(parts) != 4 || len(parts[1]) != 32 {
		return ""
	}
	if _, err := hex.DecodeString(parts[1]); err != nil {
		return ""
	}
	return parts[1]
}
