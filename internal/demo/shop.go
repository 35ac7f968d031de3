package demo

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The releases that run while nothing is wrong, and the bad one.
const (
	goodVersion = "1.7.3"
	badVersion  = "1.8.0"
)

// product is one thing that the shop sells.
type product struct {
	SKU  string `json:"sku"`
	Name string `json:"name"`
}

func products() []product {
	return []product{
		{"LAMP-01", "desk lamp"}, {"CHAIR-07", "oak chair"}, {"KETTLE-3", "kettle"}, {"TEA-250", "green tea, 250 g"},
		{"BOOK-19", "field guide to birds"}, {"CLOCK-2", "wall clock"}, {"ROPE-20", "rope, 20 m"}, {"ANVIL-XS", "anvil, extra small"},
	}
}

// price is in cents, made from the SKU so that every process agrees.
func price(sku string) int {
	cents := 499
	for _, c := range sku {
		cents += int(c) * 7 % 900
	}
	return cents
}

// The shop front: it asks catalogue and pricing for pages, and orders for
// orders.
func runGateway(ctx context.Context, sh shell) error {
	s := newService(sh, "gateway", goodVersion)
	own := lag{1500 * time.Microsecond, 5 * time.Millisecond}
	codes := []int{200, 500, 502}
	ask := func(r *http.Request, peer, method string, port int, path string, in, out any) error {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		if err := s.call(ctx, r, peer, method, s.ports.url(port)+path, in, out); err != nil {
			return &fail{http.StatusBadGateway, err}
		}
		return nil
	}
	// enter is what each request passes first.
	enter := func(r *http.Request) error {
		if s.faults.on(SmallCustomerFailing) && r.Header.Get("X-Customer") == failingCustomer {
			return failf(http.StatusInternalServerError, "customer %s: no price group 0x1f", failingCustomer)
		}
		work(r.Context(), own)
		return nil
	}
	s.route("GET /{$}", []int{200}, func(r *http.Request) (any, error) {
		return map[string]string{"shop": "open"}, nil
	})
	s.route("GET /products", codes, func(r *http.Request) (any, error) {
		if err := enter(r); err != nil {
			return nil, err
		}
		var list []product
		if err := ask(r, "catalogue", "GET", s.ports.Catalogue, "/products", nil, &list); err != nil {
			return nil, err
		}
		times := 1
		if s.faults.on(NeedlessPolling) {
			times = 30
		}
		var prices map[string]int
		for range times {
			if err := ask(r, "pricing", "GET", s.ports.Pricing, "/pricelist", nil, &prices); err != nil {
				return nil, err
			}
		}
		return map[string]any{"products": list, "prices": prices}, nil
	})
	s.route("GET /products/{sku}", codes, func(r *http.Request) (any, error) {
		if err := enter(r); err != nil {
			return nil, err
		}
		var one product
		if err := ask(r, "catalogue", "GET", s.ports.Catalogue, "/products/"+r.PathValue("sku"), nil, &one); err != nil {
			return nil, err
		}
		var cents int
		if err := ask(r, "pricing", "GET", s.ports.Pricing, "/prices/"+one.SKU, nil, &cents); err != nil {
			return nil, err
		}
		return map[string]any{"product": one, "cents": cents}, nil
	})
	s.route("POST /orders", codes, func(r *http.Request) (any, error) {
		if err := enter(r); err != nil {
			return nil, err
		}
		var o order
		if err := ask(r, "orders", "POST", s.ports.Orders, "/orders", map[string]string{"sku": r.URL.Query().Get("sku")}, &o); err != nil {
			return nil, err
		}
		return o, nil
	})
	s.route("GET /orders", codes, func(r *http.Request) (any, error) {
		if err := enter(r); err != nil {
			return nil, err
		}
		var o any
		if err := ask(r, "orders", "GET", s.ports.Orders, "/orders", nil, &o); err != nil {
			return nil, err
		}
		return o, nil
	})
	secure, err := gatewayTLS(sh.dir, s.faults)
	if err != nil {
		return err
	}
	return s.serve(ctx, sh.ports.Gateway, func(ctx context.Context) error {
		return serveTLS(ctx, address(sh.ports.GatewayTLS), secure, s.mux)
	})
}

// The list of products.
func runCatalogue(ctx context.Context, sh shell) error {
	s := newService(sh, "catalogue", "2.3.0")
	own := lag{3 * time.Millisecond, 10 * time.Millisecond}
	s.healthy = func() error {
		if s.faults.on(FailingService) {
			return errors.New("no connection to the product database: too many clients")
		}
		return nil
	}
	var turn atomic.Uint64
	enter := func(r *http.Request) error {
		work(r.Context(), own)
		if s.faults.on(FailingService) && turn.Add(1)%2 == 0 {
			return failf(http.StatusServiceUnavailable, "no connection to the product database: too many clients")
		}
		if chance(0.0005) {
			return failf(http.StatusInternalServerError, "read products: connection reset")
		}
		return nil
	}
	codes := []int{200, 500, 503}
	s.route("GET /products", codes, func(r *http.Request) (any, error) {
		if err := enter(r); err != nil {
			return nil, err
		}
		return products(), nil
	})
	s.route("GET /products/{sku}", append(codes, 404), func(r *http.Request) (any, error) {
		if err := enter(r); err != nil {
			return nil, err
		}
		for _, p := range products() {
			if p.SKU == r.PathValue("sku") {
				return p, nil
			}
		}
		return nil, failf(http.StatusNotFound, "no product %q", r.PathValue("sku"))
	})
	return s.serve(ctx, sh.ports.Catalogue)
}

// What products cost.
func runPricing(ctx context.Context, sh shell) error {
	s := newService(sh, "pricing", "4.0.1")
	enter := func(r *http.Request, own lag) error {
		if s.faults.on(SlowDependency) {
			own = lag{250 * time.Millisecond, 800 * time.Millisecond}
		}
		work(r.Context(), own)
		if chance(0.0005) {
			return failf(http.StatusInternalServerError, "price table is being reloaded")
		}
		return nil
	}
	s.route("GET /pricelist", []int{200, 500}, func(r *http.Request) (any, error) {
		// The list lies ready in memory: asking for it is cheap.
		own := lag{300 * time.Microsecond, 900 * time.Microsecond}
		if s.faults.on(NeedlessPolling) && !s.faults.on(SlowDependency) {
			own = lag{}
		}
		if err := enter(r, own); err != nil {
			return nil, err
		}
		prices := make(map[string]int)
		for _, p := range products() {
			prices[p.SKU] = price(p.SKU)
		}
		return prices, nil
	})
	s.route("GET /prices/{sku}", []int{200, 500}, func(r *http.Request) (any, error) {
		if err := enter(r, lag{2 * time.Millisecond, 8 * time.Millisecond}); err != nil {
			return nil, err
		}
		return price(r.PathValue("sku")), nil
	})
	return s.serve(ctx, sh.ports.Pricing)
}

// order is one accepted order.
type order struct {
	ID    int64  `json:"id"`
	SKU   string `json:"sku"`
	Cents int    `json:"cents"`
}

// Orders are charged, and their confirmation is put into the queue.
func runOrders(ctx context.Context, sh shell) error {
	s := newService(sh, "orders", goodVersion)
	running := goodVersion
	s.switched = func() {
		want := goodVersion
		if s.faults.on(BadRelease) {
			want = badVersion
		}
		if want == running {
			return
		}
		s.build.Reset()
		s.build.WithLabelValues(want).Set(1)
		s.log.Info("release", "from", running, "to", want)
		running = want
	}
	accepted := prometheus.NewCounter(prometheus.CounterOpts{Name: "orders_accepted_total", Help: "Orders charged and queued."})
	s.reg.MustRegister(accepted)
	var last atomic.Int64
	last.Store(time.Now().Unix())
	codes := []int{200, 500, 502, 503}
	s.route("POST /orders", codes, func(r *http.Request) (any, error) {
		own := lag{4 * time.Millisecond, 12 * time.Millisecond}
		wrong := 0.0005
		if s.faults.on(BadRelease) {
			own = lag{25 * time.Millisecond, 150 * time.Millisecond}
			wrong = 0.05
		}
		work(r.Context(), own)
		if chance(wrong) {
			return nil, failf(http.StatusInternalServerError, "order total: nil discount")
		}
		o := order{ID: last.Add(1), SKU: "LAMP-01"}
		o.Cents = price(o.SKU)
		pay, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := s.call(pay, r, "payment", "POST", s.ports.url(s.ports.Payment)+"/v1/charges", map[string]int{"cents": o.Cents}, nil); err != nil {
			return nil, &fail{http.StatusBadGateway, err}
		}
		if err := s.call(r.Context(), r, "queue", "POST", s.ports.url(s.ports.Queue)+"/messages", o, nil); err != nil {
			return nil, &fail{http.StatusServiceUnavailable, err}
		}
		accepted.Inc()
		return o, nil
	})
	s.route("GET /orders", codes, func(r *http.Request) (any, error) {
		work(r.Context(), lag{3 * time.Millisecond, 9 * time.Millisecond})
		return map[string]int64{"last": last.Load()}, nil
	})
	return s.serve(ctx, sh.ports.Orders)
}

// The payment provider is someone else's: it has a status page and an API, and
// shows nothing of its inside.
func runPayment(ctx context.Context, sh shell) error {
	mux := http.NewServeMux()
	status := func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, 200, map[string]string{"status": "operational"})
	}
	mux.HandleFunc("GET /status", status)
	mux.HandleFunc("GET /healthz", status)
	mux.HandleFunc("POST /v1/charges", func(w http.ResponseWriter, r *http.Request) {
		work(r.Context(), lag{35 * time.Millisecond, 90 * time.Millisecond})
		if chance(0.0005) {
			writeJSON(w, http.StatusBadGateway, map[string]string{"error": "issuer not reached"})
			return
		}
		writeJSON(w, http.StatusCreated, map[string]string{"state": "captured"})
	})
	return serveHTTP(ctx, address(sh.ports.Payment), mux)
}
