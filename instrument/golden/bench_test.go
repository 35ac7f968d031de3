package golden_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/vedette-sre/vedette/instrument/golden"
)

// nowhere is a response writer that costs next to nothing, so that what Handler
// adds can be seen.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header         { return n.h }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}
func (n nowhere) Flush()                      {}

func BenchmarkHandler(b *testing.B) {
	mux := http.NewServeMux()
	body := []byte("ok")
	mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	for name, h := range map[string]http.Handler{"bare": mux, "measured": golden.Handler(registry(b), mux)} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/users/17", nil)
			w := nowhere{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}

type answer struct{}

func (answer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Request: r, Body: http.NoBody}, nil
}

func BenchmarkTransport(b *testing.B) {
	for name, rt := range map[string]http.RoundTripper{"bare": answer{}, "measured": golden.Transport(registry(b), answer{})} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "http://127.0.0.1:1/users/17", nil)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = rt.RoundTrip(r)
			}
		})
	}
}

// One operation is Put and Take. In "deep", 100,000 wait.
func BenchmarkQueue(b *testing.B) {
	for name, depth := range map[string]int{"empty": 0, "deep": 100_000} {
		q := golden.NewQueue(registry(b), "q", 0)
		for range depth {
			q.Put()
		}
		b.Run(name+"/one", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				q.Put().Take()
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					q.Put().Take()
				}
			})
		})
	}
}

// A channel between four producers and four consumers, with the queue and without.
func BenchmarkQueueChannel(b *testing.B) {
	run := func(b *testing.B, put func() golden.Ticket) {
		ch := make(chan golden.Ticket, 128)
		var in, out sync.WaitGroup
		for range 4 {
			in.Go(func() {
				for range b.N / 4 {
					ch <- put()
				}
			})
			out.Go(func() {
				for t := range ch {
					t.Take()
				}
			})
		}
		in.Wait()
		close(ch)
		out.Wait()
	}
	b.Run("bare", func(b *testing.B) { run(b, func() golden.Ticket { return golden.Ticket{} }) })
	b.Run("measured", func(b *testing.B) { run(b, golden.NewQueue(registry(b), "q", 128).Put) })
}

func BenchmarkPool(b *testing.B) {
	p := golden.NewPool(registry(b), "p", 4)
	b.ReportAllocs()
	for b.Loop() {
		p.Wait().Work().Done(nil)
	}
}

// One operation is In and Out.
func BenchmarkStage(b *testing.B) {
	s := golden.NewStage(registry(b), "s", 20)
	names := make([]string, 5000)
	for i := range names {
		names[i] = fmt.Sprint("customer-", i)
		s.In(names[i]).Out()
	}
	for what, some := range map[string][]string{"with series": names[:20], "without": names[4900:4950], "new each": names[100:]} {
		b.Run(what+"/one", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.In(some[i%len(some)]).Out()
			}
		})
		b.Run(what+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					s.In(some[i%len(some)]).Out()
				}
			})
		})
	}
	b.Run("fail", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.In(names[0]).Fail("schema")
		}
	})
}
