package golden_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/export"
	"github.com/vedette-sre/vedette/instrument/golden"
	"github.com/vedette-sre/vedette/instrument/health"
)

// docs/instrument.md shows parts of these functions; TestGuide holds it to that.

func Example_instruments() {
	m := instrument.New(instrument.Config{Service: "checkout", Version: "1.4.2"})
	defer m.Close()

	orders := m.Counter("orders.placed")    // only grows
	carts := m.Gauge("carts.open")          // goes up and down
	logins := m.Meter("logins")             // grows, and has rates over 1, 5 and 15 minutes
	sizes := m.Histogram("order.items")     // how values are spread
	payments := m.Timer("payment.duration") // how durations are spread, with rates

	orders.Inc()
	carts.Set(17)
	logins.Mark(3)
	sizes.Observe(4)
	stopwatch := payments.Start()
	pay()
	stopwatch.Stop()

	m.GaugeFunc("sessions.open", func() float64 { return float64(sessions()) }) // asked at each export
	m.Describe("order.items", "1", "Items of an order.")

	fmt.Println(orders.Value(), carts.Value(), logins.Count(), payments.Count())
	// Output: 1 17 3 1
}

func pay()          {}
func sessions() int { return 2 }

func Example_tags() {
	m := instrument.New(instrument.Config{Service: "checkout", MaxSeries: 2})
	defer m.Close()

	m.Counter("orders.placed", "country", "de").Inc() // the tags are known here

	failed := m.CounterVec("orders.failed", "country", "reason") // or come with each event
	for _, country := range []string{"de", "fr", "at", "ch"} {
		failed.With(country, "declined").Inc()
	}

	for _, metric := range m.Snapshot().Metrics {
		for _, s := range metric.Series {
			fmt.Println(metric.Name, s.Value, s.Tags)
		}
	}
	// Output:
	// orders.failed 1 [{country de} {reason declined} {service checkout}]
	// orders.failed 1 [{country fr} {reason declined} {service checkout}]
	// orders.failed 2 [{overflow true} {service checkout}]
	// orders.placed 1 [{country de} {service checkout}]
}

func Example_health() {
	m := instrument.New(instrument.Config{})
	defer m.Close()
	jobs := golden.NewQueue(m, "jobs", 100)
	ping := func(context.Context) error { return errors.New("no route to host") }

	h := health.New(health.Config{Name: "checkout", Registry: m})
	cache := h.Component("cache")                                             // says itself how it is
	h.Check("database", 10*time.Second, time.Second, ping, health.Critical()) // is asked
	h.Queue("jobs", jobs.State)
	cache.Degraded("2 of 3 nodes")
	h.Started() // from here on it is ready

	r := h.Report()
	fmt.Println(r.State, r.Components[0].Name, r.Components[0].Text)
	// Output: DEGRADED cache 2 of 3 nodes
}

func Example_probes() {
	m := instrument.New(instrument.Config{})
	defer m.Close()
	h := health.New(health.Config{Name: "checkout"})
	admin := func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer s3cret" }

	mux := http.NewServeMux()
	mux.Handle("GET /startupz", h.Startup())
	mux.Handle("GET /readyz", h.Readiness())
	mux.Handle("GET /livez", h.Liveness())
	mux.Handle("GET /debug/", h.Debug(admin)) // profiles and the build, for whom admin lets in
	mux.Handle("GET /metrics", export.Prometheus(m))

	code := func(path string) int {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code
	}
	fmt.Println(code("/readyz"), code("/livez"), code("/debug/pprof/"))
	h.Started()
	fmt.Println(code("/readyz"))
	// Output:
	// 503 200 403
	// 200
}

func Example_exporters() {
	m := instrument.New(instrument.Config{Service: "checkout"})
	defer m.Close()
	mux := http.NewServeMux()

	mux.Handle("/metrics", export.Prometheus(m))                                                  // Prometheus scrapes it
	vedette := export.Vedette("https://vedette:8428", "token", "")                                // OTLP to a Vedette
	otlp := &export.OTLP{URL: "http://collector:4318"}                                            // to any OpenTelemetry receiver
	opentsdb := &export.OpenTSDB{Address: "tsd:4242"}                                             // telnet; URL for HTTP
	graphite := &export.Graphite{Address: "graphite:2003", Prefix: "prod"}                        // plaintext
	influx1 := &export.Influx{URL: "http://influx:8086", Database: "app"}                         // InfluxDB 1.x
	influx2 := &export.Influx{URL: "http://influx:8086", Org: "o", Bucket: "app", Token: "token"} // 2.x
	statsd := &export.StatsD{Address: "127.0.0.1:8125"}                                           // with Datadog's tags

	for _, e := range []export.Exporter{vedette, otlp, opentsdb, graphite, influx1, influx2, statsd} {
		fmt.Printf("%T\n", e)
	}
	// Output:
	// *export.OTLP
	// *export.OTLP
	// *export.OpenTSDB
	// *export.Graphite
	// *export.Influx
	// *export.Influx
	// *export.StatsD
}

func ExampleHandler() {
	m := instrument.New(instrument.Config{})
	defer m.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.PathValue("id")) })

	handler := golden.Handler(m, mux, golden.MaxInFlight(200))

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/orders/17", nil))
	for _, x := range m.Snapshot().Metrics {
		if x.Name == "http.server.request.duration" {
			fmt.Println(x.Series[0].Value, x.Series[0].Tag("http.route"), x.Series[0].Tag("http.response.status_code"))
		}
	}
	// Output: 1 /orders/{id} 200
}

func ExampleTransport() {
	m := instrument.New(instrument.Config{})
	defer m.Close()
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()

	client := &http.Client{Transport: golden.Transport(m, nil)}

	resp, err := client.Get(srv.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	for _, x := range m.Snapshot().Metrics {
		if x.Name == "http.client.request.duration" {
			fmt.Println(x.Series[0].Value, x.Series[0].Tag("server.address"), x.Series[0].Tag("error.type"))
		}
	}
	// Output: 1 127.0.0.1 404
}

func ExampleQueue() {
	m := instrument.New(instrument.Config{})
	defer m.Close()
	orders := []string{"a", "b", "c"}
	work := func(string) {}

	type item struct {
		order  string
		ticket golden.Ticket
	}
	queue := make(chan item, 2)
	q := golden.NewQueue(m, "orders", cap(queue))
	for _, order := range orders {
		it := item{order, q.Put()}
		select {
		case queue <- it:
		default: // no room
			it.ticket.Drop()
		}
	}
	depth, capacity, _ := q.State()
	fmt.Println(depth, "of", capacity)

	for range depth {
		it := <-queue
		it.ticket.Take()
		work(it.order)
	}
	fmt.Println(m.Counter("queue.dropped", "queue", "orders").Value(), m.Timer("queue.wait.duration", "queue", "orders").Count())
	// Output:
	// 2 of 2
	// 1 2
}

func ExamplePool() {
	ctx := context.Background()
	m := instrument.New(instrument.Config{})
	defer m.Close()
	resize := func(context.Context, string) error { return context.DeadlineExceeded }

	p := golden.NewPool(m, "thumbnails", 8)
	err := p.Do(ctx, func(ctx context.Context) error { return resize(ctx, "cat.png") })

	fmt.Println(err, m.Counter("pool.errors", "pool", "thumbnails", "error.type", "timeout").Value())
	// Output: context deadline exceeded 1
}

// A pool of another kind tells when a task waits, is in work and is done.
func ExamplePool_Wait() {
	m := instrument.New(instrument.Config{})
	defer m.Close()
	work := func() error { return nil }

	p := golden.NewPool(m, "mails", 2)
	tasks := make(chan golden.Task, 10)
	done := make(chan struct{})
	go func() { // a worker
		defer close(done)
		for t := range tasks {
			t = t.Work()
			t.Done(work())
		}
	}()
	tasks <- p.Wait()
	close(tasks)
	<-done

	fmt.Println(m.Timer("pool.work.duration", "pool", "mails").Count())
	// Output: 1
}

func ExampleStage() {
	m := instrument.New(instrument.Config{})
	defer m.Close()
	type message struct{ Customer, Body string }
	messages := []message{{"acme", "{}"}, {"acme", "{}"}, {"tiny", "!"}}
	parse := func(msg message) error {
		if msg.Body == "!" {
			return errors.New("bad")
		}
		return nil
	}

	stage := golden.NewStage(m, "parse", 20)
	for _, msg := range messages {
		pass := stage.In(msg.Customer)
		if err := parse(msg); err != nil {
			pass.Fail("syntax")
			continue
		}
		pass.Out()
	}

	for _, x := range m.Snapshot().Metrics {
		if x.Name == "stage.customer.out" || x.Name == "stage.customer.failed" {
			for _, s := range x.Series {
				fmt.Println(x.Name, s.Tag("customer"), s.Value)
			}
		}
	}
	// Output:
	// stage.customer.failed tiny 1
	// stage.customer.out acme 2
	// stage.customer.out other 0
	// stage.customer.out tiny 0
}
