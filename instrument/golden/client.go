package golden

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/internal/memo"
)

type client struct {
	options
	m    *instrument.Registry
	base http.RoundTripper

	inFlight atomic.Int64
	active   memo.Memo[clientKey, *instrument.Gauge]
	series   memo.Memo[clientKey, *clientSeries]
}

// clientKey is what a request is counted under; code and failure are empty of one
// that is under way.
type clientKey struct {
	method, host, port, route string
	code                      int
	failure                   string // error.type
}

type clientSeries struct {
	duration *instrument.Timer
	out      *instrument.Histogram // bodies of requests
	in       *instrument.Histogram // of responses; nil where there was none
}

// Transport measures the requests that go through base; nil is
// http.DefaultTransport:
//
//   - http.client.request.duration, a timer, until the header of the response is
//     there; http.client.request.body.size and http.client.response.body.size,
//     histograms of the bytes that were read from the bodies; by
//     http.request.method, server.address, server.port, url.template (see Route),
//     http.response.status_code and error.type;
//   - http.client.active_requests, a gauge, by method, address and port. A request
//     is active until the body of its response was read to the end or closed: so
//     long it keeps its connection. One that only grows tells of bodies that
//     nobody closes;
//   - http.client.response.body.failures, a counter: bodies that broke off.
//
// error.type is the code from 400 on. Of a request without a response it is
// "timeout", "canceled", "dns", "tls", "refused", "reset" or "other"; then there
// is no code.
//
// A redirect is a request of its own, as are the attempts that a caller makes.
// Who calls a great many hosts reaches the registry's cap (Config.MaxSeries); what
// is beyond counts in the overflow series.
func Transport(m *instrument.Registry, base http.RoundTripper, opts ...Option) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	c := &client{options: makeOptions(nil, opts), m: m, base: base}
	m.Describe("http.client.request.duration", "seconds", "Time from the request to the header of its response.")
	m.Describe("http.client.request.body.size", "bytes", "Size of the bodies of requests.")
	m.Describe("http.client.response.body.size", "bytes", "Size of the bodies of responses, as far as they were read.")
	m.Describe("http.client.active_requests", "1", "Requests whose response was not read to its end yet.")
	m.Describe("http.client.response.body.failures", "1", "Responses that broke off.")
	c.active.New = func(k clientKey) (clientKey, *instrument.Gauge) {
		k = k.clone()
		return k, m.Gauge("http.client.active_requests", c.tagsOf(k)...)
	}
	c.series.New = func(k clientKey) (clientKey, *clientSeries) {
		k = k.clone()
		tags := c.tagsOf(k)
		s := &clientSeries{
			duration: m.Timer("http.client.request.duration", tags...),
			out:      m.Histogram("http.client.request.body.size", tags...),
		}
		if k.code != 0 {
			s.in = m.Histogram("http.client.response.body.size", tags...)
		}
		return k, s
	}
	c.saturation(m, "http.client", &c.inFlight)
	return c
}

func (k clientKey) clone() clientKey {
	k.host, k.port, k.route = strings.Clone(k.host), strings.Clone(k.port), strings.Clone(k.route)
	return k
}

func (c *client) tagsOf(k clientKey) []string {
	return tagged(c.tags, "http.request.method", k.method, "server.address", k.host, "server.port", k.port,
		"url.template", k.route, "http.response.status_code", codeTag(k.code), "error.type", k.failure)
}

func (c *client) RoundTrip(r *http.Request) (*http.Response, error) {
	k := clientKey{method: methodTag(r.Method), host: r.URL.Hostname(), port: r.URL.Port()}
	if k.port == "" {
		k.port = defaultPorts[r.URL.Scheme]
	}
	x := &exchange{c: c, r: r, active: c.active.Get(k)}
	if c.route != nil {
		k.route = c.route(r)
	}
	r = x.countBody(r)
	c.inFlight.Add(1)
	x.active.Inc()
	start := time.Now()
	resp, err := c.base.RoundTrip(r)
	took := time.Since(start)
	switch {
	case err != nil:
		k.failure = failure(err)
	default:
		if k.code = resp.StatusCode; k.code >= 400 {
			k.failure = codeTag(k.code)
		}
	}
	x.key, x.series = k, c.series.Get(k)
	x.series.duration.Record(took)
	// The body of an upgraded connection is written, too, and its end says nothing
	// of the request.
	if err != nil || resp.Body == nil || resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols {
		x.end(nil)
		return resp, err
	}
	x.body, resp.Body = resp.Body, x
	return resp, nil
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// exchange is a request and its response, of which it is the body.
type exchange struct {
	c      *client
	r      *http.Request
	key    clientKey
	active *instrument.Gauge
	series *clientSeries
	body   io.ReadCloser
	sent   *atomic.Int64 // bytes of a request's body of unknown length
	read   atomic.Int64
	ended  atomic.Bool
}

// countBody returns the request with a body that is counted, when its length is
// not known. A RoundTripper must not change the request that it gets.
func (x *exchange) countBody(r *http.Request) *http.Request {
	if r.ContentLength > 0 || r.Body == nil || r.Body == http.NoBody {
		return r
	}
	counted := *r
	x.sent = new(atomic.Int64)
	counted.Body = &bodyCount{r.Body, x.sent}
	if r.GetBody != nil { // of another attempt, on another connection
		counted.GetBody = func() (io.ReadCloser, error) {
			again, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			x.sent.Store(0)
			return &bodyCount{again, x.sent}, nil
		}
	}
	return &counted
}

func (x *exchange) Read(p []byte) (int, error) {
	n, err := x.body.Read(p)
	x.read.Add(int64(n))
	if err != nil {
		x.end(err)
	}
	return n, err
}

func (x *exchange) Close() error {
	err := x.body.Close()
	x.end(nil)
	return err
}

// end counts the end of the exchange, once; err is how reading ended.
func (x *exchange) end(err error) {
	if x.ended.Swap(true) {
		return
	}
	x.c.inFlight.Add(-1)
	x.active.Dec()
	out := x.r.ContentLength
	if x.sent != nil {
		out = x.sent.Load()
	}
	x.series.out.Observe(float64(out))
	if x.series.in != nil {
		x.series.in.Observe(float64(x.read.Load()))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		k := x.key
		k.failure = failure(err)
		x.c.m.Counter("http.client.response.body.failures", x.c.tagsOf(k)...).Inc()
	}
}

// failure is the error.type of an exchange that failed.
func failure(err error) string {
	var (
		dns     *net.DNSError
		timeout interface{ Timeout() bool }
		verify  *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &dns):
		return "dns"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.As(err, &verify), errors.As(err, &record), errors.As(err, &alert):
		return "tls"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "reset"
	}
	return "other"
}
