package demo

import (
	"context"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// totalRate is the requests per second of all customers together.
const totalRate = 20.0

// retries is how often a customer's client tries again after an error.
const retries = 2

// visit is one kind of request and its share of a customer's requests.
type visit struct {
	method, path string
	share        float64
}

func visits() []visit {
	return []visit{
		{"GET", "/products", 0.34},
		{"GET", "/products/LAMP-01", 0.18},
		{"GET", "/products/TEA-250", 0.14},
		{"POST", "/orders?sku=LAMP-01", 0.30},
		{"GET", "/orders", 0.04},
	}
}

// pick chooses a visit by its share; u is uniform in [0, 1).
func pick(list []visit, u float64) visit {
	for _, v := range list {
		if u < v.share {
			return v
		}
		u -= v.share
	}
	return list[len(list)-1]
}

// pause is the time until the customer's next request.
func (c customer) pause() time.Duration {
	mean := float64(time.Second) / (totalRate * c.share)
	if c.steady {
		return time.Duration(mean * (0.9 + 0.2*mathrand.Float64()))
	}
	return time.Duration(mean * mathrand.ExpFloat64())
}

// tally counts the answers that customers got: customer -> code -> number.
type tally struct {
	mu   sync.Mutex
	seen map[string]map[string]int64
}

func (t *tally) add(customer string, code int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[customer] == nil {
		t.seen[customer] = map[string]int64{}
	}
	t.seen[customer][strconv.Itoa(code)]++
}

// runTraffic is all customers at once. Requests start when they are due,
// whether earlier ones are answered or not, as those of many people do.
func runTraffic(ctx context.Context, sh shell) error {
	counts := tally{seen: map[string]map[string]int64{}}
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 128, IdleConnTimeout: time.Minute},
	}
	// Above this many open requests new ones are left out: the shop is down.
	open := make(chan struct{}, 256)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, c := range customers() {
		wg.Go(func() {
			list := visits()
			for ctx.Err() == nil {
				rest(ctx, c.pause())
				select {
				case open <- struct{}{}:
				default:
					continue
				}
				v := pick(list, mathrand.Float64())
				wg.Go(func() {
					defer func() { <-open }()
					trace := newTrace()
					for try := 0; try <= retries && ctx.Err() == nil; try++ {
						code := call(ctx, client, sh.ports.url(sh.ports.Gateway)+v.path, v.method, c.name, trace)
						counts.add(c.name, code)
						if code > 0 && code < 500 {
							return
						}
						rest(ctx, 300*time.Millisecond)
					}
				})
			}
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, 200, map[string]string{"status": "ok"}) })
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, r *http.Request) {
		counts.mu.Lock()
		defer counts.mu.Unlock()
		writeJSON(w, 200, counts.seen)
	})
	err := serveHTTP(ctx, address(sh.ports.Traffic), mux)
	cancel()
	wg.Wait()
	return err
}

// call makes one request as a customer and returns the status code, 0 when no
// answer came.
func call(ctx context.Context, client *http.Client, url, method, customer, trace string) int {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0
	}
	req.Header.Set("X-Customer", customer)
	req.Header.Set("Traceparent", trace)
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode
}
