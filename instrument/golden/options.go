package golden

import (
	"net/http"
	"sync/atomic"

	"github.com/vedette-sre/vedette/instrument"
)

// Option is a property of a Handler or of a Transport.
type Option func(*options)

type options struct {
	route func(*http.Request) string
	tags  []string
	limit int
}

func makeOptions(route func(*http.Request) string, opts []Option) options {
	o := options{route: route}
	for _, set := range opts {
		set(&o)
	}
	return o
}

// MaxInFlight tells how many requests can be under way at once: what the server
// can bear, or the connections that a client may have. The gauges
// active_requests.limit and saturation (requests under way, divided by the limit)
// are then exported. It refuses nothing.
func MaxInFlight(n int) Option { return func(o *options) { o.limit = n } }

// Route has f name the route of a request: of a Handler under a router other than
// ServeMux, where it is called once, when the request has been served or when its
// session begins; or of a Transport, where the tag is url.template. What f returns
// must come from a bounded set: a template such as "/users/{id}", never the path.
// "" leaves the tag out.
func Route(f func(*http.Request) string) Option { return func(o *options) { o.route = f } }

// Tags are further tags of all series, keys and values in turn. Two handlers with
// MaxInFlight on one registry need them to be told apart.
func Tags(kv ...string) Option { return func(o *options) { o.tags = append(o.tags, kv...) } }

// saturation exports the limit below prefix, when there is one.
func (o *options) saturation(m *instrument.Registry, prefix string, inFlight *atomic.Int64) {
	if o.limit <= 0 {
		return
	}
	limit := float64(o.limit)
	m.Describe(prefix+".active_requests.limit", "1", "Requests that can be under way at once.")
	m.Describe(prefix+".saturation", "1", "Requests under way as a part of the limit.")
	m.Gauge(prefix+".active_requests.limit", o.tags...).Set(limit)
	m.GaugeFunc(prefix+".saturation", func() float64 { return float64(inFlight.Load()) / limit }, o.tags...)
}
