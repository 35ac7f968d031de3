package golden_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vedette-sre/vedette/instrument/golden"
)

// Whatever many goroutines do, in whatever order tickets leave, depth and age of
// the oldest are those of a list that a test keeps.
func TestQueueIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := registry(t)
		q := golden.NewQueue(m, "orders", 100)
		var (
			mu             sync.Mutex
			waits          = map[int]time.Time{}
			taken, dropped float64
			waited         time.Duration
			wg             sync.WaitGroup
		)
		for g := range 50 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(g), 7))
				for range 40 {
					time.Sleep(time.Duration(rnd.IntN(30)) * time.Second)
					mu.Lock()
					ticket := q.Put()
					waits[g] = time.Now()
					mu.Unlock()
					time.Sleep(time.Duration(rnd.IntN(60)) * time.Second)
					mu.Lock()
					if rnd.IntN(10) == 0 {
						ticket.Drop()
						dropped++
					} else {
						ticket.Take()
						taken++
						waited += time.Since(waits[g])
					}
					ticket.Take() // a second time counts nothing
					ticket.Drop()
					delete(waits, g)
					mu.Unlock()
				}
			})
		}
		for range 1000 {
			time.Sleep(time.Second)
			synctest.Wait()
			var oldest time.Duration
			for _, since := range waits {
				oldest = max(oldest, time.Since(since))
			}
			depth, capacity, age := q.State()
			if depth != len(waits) || capacity != 100 || age != oldest {
				t.Fatalf("got %d of %d, oldest %v; want %d of 100, oldest %v", depth, capacity, age, len(waits), oldest)
			}
			for name, want := range map[string]float64{
				"queue.depth": float64(len(waits)), "queue.oldest.age": oldest.Seconds(),
				"queue.saturation": float64(len(waits)) / 100, "queue.capacity": 100,
			} {
				if got := values(m, name)["queue=orders"]; got != want {
					t.Fatalf("%s: got %v, want %v", name, got, want)
				}
			}
		}
		wg.Wait()
		q.Reject()
		for name, want := range map[string]float64{
			"queue.in": 2000, "queue.wait.duration": taken, "queue.dropped": dropped + 1, "queue.depth": 0, "queue.oldest.age": 0,
		} {
			if got := values(m, name)["queue=orders"]; got != want {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
		if d := distribution(t, m, "queue.wait.duration"); d.Sum != waited.Seconds() {
			t.Errorf("waited %v s, want %v", d.Sum, waited.Seconds())
		}
		m.Close()
	})
}

// With true concurrency the sums are right, and nothing is left over.
func TestQueueConcurrent(t *testing.T) {
	m := registry(t)
	q := golden.NewQueue(m, "jobs", 0)
	jobs := make(chan golden.Ticket, 64)
	const producers, consumers, each = 4, 4, 5000
	var in, out sync.WaitGroup
	for range producers {
		in.Go(func() {
			for range each {
				jobs <- q.Put()
			}
		})
	}
	for range consumers {
		out.Go(func() {
			for ticket := range jobs {
				ticket.Take()
			}
		})
	}
	for range 100 {
		if depth, _, age := q.State(); depth < 0 || depth > cap(jobs)+producers+consumers || age < 0 {
			t.Errorf("got %d, oldest %v", depth, age)
		}
	}
	in.Wait()
	close(jobs)
	out.Wait()
	if depth, _, age := q.State(); depth != 0 || age != 0 {
		t.Errorf("got %d, oldest %v of an empty queue", depth, age)
	}
	for _, name := range []string{"queue.in", "queue.wait.duration"} {
		if got := values(m, name)["queue=jobs"]; got != producers*each {
			t.Errorf("%s: got %v, want %d", name, got, producers*each)
		}
	}
	if _, ok := values(m, "queue.saturation")["queue=jobs"]; ok {
		t.Error("a queue without a capacity has no saturation")
	}
	golden.Ticket{}.Take() // does nothing
}

func TestQueueAllocates(t *testing.T) {
	q := golden.NewQueue(registry(t), "q", 0)
	if n := testing.AllocsPerRun(1000, func() { q.Put().Take() }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
