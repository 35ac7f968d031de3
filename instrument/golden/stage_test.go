package golden_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/golden"
)

func sum(vs map[string]float64) (total float64) {
	for _, v := range vs {
		total += v
	}
	return total
}

// customer is the value of a customer's only series of a metric, and whether it
// has one.
func customer(m *instrument.Registry, name, who string) (float64, bool) {
	for tags, v := range values(m, name) {
		if strings.Contains(","+tags+",", ",customer="+who+",") {
			return v, true
		}
	}
	return 0, false
}

// Many goroutines, many customers, places that change hands: each message is
// counted once in the whole and once among the customers, and the bound holds.
func TestStageSums(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			m := registry(t)
			k := 1 + int(seed)*3
			s := golden.NewStage(m, "enrich", k)
			const workers, each = 8, 2000
			var wg sync.WaitGroup
			var mu sync.Mutex
			var out, failed float64
			for g := range uint64(workers) {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, g))
					zipf := rand.NewZipf(rnd, 1.3, 1, 500)
					var o, f float64
					for i := range each {
						// Who is large changes on the way.
						p := s.In(fmt.Sprint((zipf.Uint64() + uint64(i/200)*7) % 500))
						time.Sleep(time.Duration(rnd.IntN(80)) * time.Millisecond)
						if rnd.IntN(20) == 0 {
							p.Fail(fmt.Sprint("reason", rnd.IntN(30)))
							f++
						} else {
							p.Out()
							o++
						}
					}
					mu.Lock()
					out, failed = out+o, failed+f
					mu.Unlock()
				})
			}
			wg.Wait()
			for _, of := range []string{"stage.", "stage.customer."} {
				for name, want := range map[string]float64{"in": workers * each, "out": out, "failed": failed, "duration": workers * each} {
					if got := sum(values(m, of+name)); got != want {
						t.Errorf("k = %d: %s: got %v, want %v", k, of+name, got, want)
					}
				}
			}
			if n := len(values(m, "stage.customer.in")); n > 4*k+1 || n <= k {
				t.Errorf("k = %d: %d customers have series", k, n)
			}
			if n := len(values(m, "stage.failed")); n != 17 {
				t.Errorf("%d reasons, want 16 and _OTHER", n)
			}
			if got := values(m, "stage.active")["stage=enrich"]; got != 0 {
				t.Errorf("%v are under way", got)
			}
			m.Close()
		})
	}
}

// What a scraper adds up from one scrape to the next is right over hours too, when
// series have ended and come again.
func TestStageIncreases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := registry(t)
		const k = 3
		s := golden.NewStage(m, "enrich", k)
		rnd := rand.New(rand.NewPCG(1, 1))
		last, increase, sent, ended := map[string]float64{}, 0.0, 0, 0
		for hour := range 6 {
			for range 3600 / 15 {
				for range 40 {
					s.In(fmt.Sprintf("c%d-%d", hour, rnd.IntN(12))).Out()
					sent++
					time.Sleep(15 * time.Second / 40)
				}
				now := values(m, "stage.customer.in")
				for tags, v := range now {
					if v < last[tags] {
						increase += v // it began anew
					} else {
						increase += v - last[tags]
					}
				}
				for tags := range last {
					if _, ok := now[tags]; !ok {
						ended++
					}
				}
				last = now
				if n := len(now); n > 4*k+1 {
					t.Fatalf("%d customers have series", n)
				}
			}
		}
		if increase != float64(sent) {
			t.Errorf("a scraper counted %v, want %d", increase, sent)
		}
		if ended == 0 {
			t.Error("no series ended: the test tests nothing")
		}
		m.Close()
	})
}

// A customer with more than 1.5/k of the messages has series after the next
// review, however the others are spread and whoever came first; so has the one
// that fails, however small it is.
func TestStageShowsWhoMatters(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			m := registry(t)
			rnd := rand.New(rand.NewPCG(seed, 3))
			k := 2 + rnd.IntN(12)
			s := golden.NewStage(m, "enrich", k)
			crowd := 10 + rnd.IntN(5000)
			for i := range k { // who takes all places first, and fails a little
				s.In(fmt.Sprint("first", i)).Fail("parse")
				s.In(fmt.Sprint("small", i)).Fail("parse")
			}
			share := 1.5/float64(k) + 0.01
			for range 20_000 {
				if rnd.Float64() < share {
					s.In("large").Out()
				} else {
					s.In(fmt.Sprint(rnd.IntN(crowd))).Out()
				}
			}
			for range 10 {
				s.In("unhappy").Fail("timeout")
			}
			if _, ok := customer(m, "stage.customer.in", "large"); ok {
				t.Fatal("it has series before a review, which this test is about")
			}
			time.Sleep(11 * time.Second)
			s.In("large").Out()
			s.In("unhappy").Fail("timeout")
			if got, _ := customer(m, "stage.customer.in", "large"); got != 1 {
				t.Errorf("seed %d, k = %d: the large one has %v, want 1", seed, k, got)
			}
			if got, _ := customer(m, "stage.customer.failed", "unhappy"); got != 1 {
				t.Errorf("seed %d, k = %d: the one that fails has %v, want 1", seed, k, got)
			}
			m.Close()
		})
	}
}

// A first failure is seen at once while there are places.
func TestStageFirstFailure(t *testing.T) {
	m := registry(t)
	s := golden.NewStage(m, "enrich", 2)
	for i := range 100 {
		s.In(fmt.Sprint("c", i)).Out()
	}
	s.In("tiny").Fail("schema")
	if got, ok := customer(m, "stage.customer.failed", "tiny"); got != 1 || !ok {
		t.Errorf("got %v, want 1", got)
	}
	s.In("").Fail("schema")
	s.In("other").Fail("schema")
	if got, _ := customer(m, "stage.customer.failed", "other"); got != 2 {
		t.Errorf("got %v, want 2", got)
	}
}

func TestStageMany(t *testing.T) {
	m := registry(t)
	s := golden.NewStage(m, "split", 2)
	s.InN("a", 10).OutN(25)
	s.InN("a", 3).Fail("x")
	s.In("a").OutN(0)
	for name, want := range map[string]float64{"stage.in": 14, "stage.out": 25, "stage.failed": 3, "stage.duration": 3} {
		if got := sum(values(m, name)); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// A pass that outlives its customer's series counts to the others.
func TestStageSlowPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := registry(t)
		s := golden.NewStage(m, "enrich", 1)
		s.In("early").Fail("schema")
		slow := s.In("early")
		for range 100 {
			for range 19 {
				s.In("late").Out()
			}
			s.In("third").Fail("schema")
			time.Sleep(10 * time.Second)
		}
		if _, ok := customer(m, "stage.customer.in", "early"); ok {
			t.Fatal("early still has series")
		}
		if _, ok := customer(m, "stage.customer.failed", "early"); ok {
			t.Error("early still has a series of its failures")
		}
		slow.Out()
		if got, _ := customer(m, "stage.customer.out", "other"); got < 1 {
			t.Errorf("got %v", got)
		}
		if got := sum(values(m, "stage.customer.out")); got != 1901 {
			t.Errorf("got %v, want 1901", got)
		}
		m.Close()
	})
}

func TestStageAllocates(t *testing.T) {
	s := golden.NewStage(registry(t), "s", 5)
	f := func(what string, pass func()) {
		t.Helper()
		if n := testing.AllocsPerRun(1000, pass); n != 0 {
			t.Errorf("%s: %v allocations, want none", what, n)
		}
	}
	f("out", func() { s.In("a").Out() })
	f("fail", func() { s.In("a").Fail("x") })
	for i := range 5 {
		s.In(fmt.Sprint(i)).Fail("x")
	}
	s.In("last").Out()
	f("a customer without series", func() { s.In("last").Out() })
}
