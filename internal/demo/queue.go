package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// queue is an in-memory queue with at-least-once delivery. A taken message that
// is neither done nor failed within its lease is given out again.
type queue struct {
	lease time.Duration
	limit int

	mu      sync.Mutex
	lastID  int64
	waiting []message
	taken   map[int64]lent
	arrived chan struct{} // closed and replaced when a message comes
	in, out, failed,
	again int64
}

type message struct {
	ID   int64           `json:"id"`
	Body json.RawMessage `json:"body"`
	// Put is when it came.
	Put time.Time `json:"put"`
}

type lent struct {
	message
	until time.Time
}

var errQueueFull = errors.New("queue is full")

func newQueue(lease time.Duration, limit int) *queue {
	return &queue{lease: lease, limit: limit, taken: map[int64]lent{}, arrived: make(chan struct{})}
}

func (q *queue) put(body json.RawMessage, now time.Time) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting)+len(q.taken) >= q.limit {
		return 0, errQueueFull
	}
	q.lastID++
	q.in++
	q.waiting = append(q.waiting, message{ID: q.lastID, Body: body, Put: now})
	close(q.arrived)
	q.arrived = make(chan struct{})
	return q.lastID, nil
}

// take gives out at most n messages; none means that there are none, and the
// channel is closed when one comes.
func (q *queue) take(n int, now time.Time) ([]message, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, l := range q.taken {
		if now.After(l.until) {
			delete(q.taken, id)
			q.waiting = append([]message{l.message}, q.waiting...)
			q.again++
		}
	}
	n = min(n, len(q.waiting))
	out := append([]message(nil), q.waiting[:n]...)
	q.waiting = q.waiting[n:]
	for _, m := range out {
		q.taken[m.ID] = lent{m, now.Add(q.lease)}
	}
	return out, q.arrived
}

// settle ends the lease of messages: done ones are gone, failed ones are
// counted and gone as well.
func (q *queue) settle(done, failed []int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range done {
		if _, ok := q.taken[id]; ok {
			delete(q.taken, id)
			q.out++
		}
	}
	for _, id := range failed {
		if _, ok := q.taken[id]; ok {
			delete(q.taken, id)
			q.failed++
		}
	}
}

// queueStats is one look at the queue.
type queueStats struct {
	Depth, Taken           int
	OldestAge              time.Duration // of a message not yet settled, 0 when none
	In, Out, Failed, Again int64
}

func (q *queue) stats(now time.Time) queueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	st := queueStats{Depth: len(q.waiting), Taken: len(q.taken), In: q.in, Out: q.out, Failed: q.failed, Again: q.again}
	oldest := now
	if len(q.waiting) > 0 {
		oldest = q.waiting[0].Put
	}
	for _, l := range q.taken {
		if l.Put.Before(oldest) {
			oldest = l.Put
		}
	}
	st.OldestAge = now.Sub(oldest)
	return st
}

// queueName is the only queue.
const queueName = "orders"

// queueCollector shows a queue's state at the moment of the scrape.
type queueCollector struct{ q *queue }

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, nil, prometheus.Labels{"queue": queueName})
}

// Describe sends nothing: an unchecked collector.
func (queueCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c queueCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.q.stats(time.Now())
	send := func(kind prometheus.ValueType, name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(desc(name, help), kind, v)
	}
	send(prometheus.GaugeValue, "queue_depth", "Messages waiting to be taken.", float64(st.Depth))
	send(prometheus.GaugeValue, "queue_in_flight", "Messages taken and not yet settled.", float64(st.Taken))
	send(prometheus.GaugeValue, "queue_oldest_message_age_seconds", "Age of the oldest message not yet settled, 0 when there is none.", st.OldestAge.Seconds())
	send(prometheus.CounterValue, "queue_messages_in_total", "Messages accepted.", float64(st.In))
	send(prometheus.CounterValue, "queue_messages_out_total", "Messages done.", float64(st.Out))
	send(prometheus.CounterValue, "queue_messages_failed_total", "Messages given up by a worker.", float64(st.Failed))
	send(prometheus.CounterValue, "queue_messages_redelivered_total", "Messages given out again because their lease ended.", float64(st.Again))
}

// takeRequest settles what was taken before and asks for more.
type takeRequest struct {
	Done   []int64 `json:"done"`
	Failed []int64 `json:"failed"`
	Max    int     `json:"max"`
}

// takeWait is how long a take waits for a message.
const takeWait = 5 * time.Second

func runQueue(ctx context.Context, sh shell) error {
	s := newService(sh, "queue", "0.9.4")
	q := newQueue(30*time.Second, 200_000)
	s.reg.MustRegister(queueCollector{q})
	s.route("POST /messages", []int{200, 503}, func(r *http.Request) (any, error) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		if err != nil || !json.Valid(body) {
			return nil, failf(http.StatusBadRequest, "a message is a JSON value of at most 64 KiB")
		}
		id, err := q.put(body, time.Now())
		if err != nil {
			return nil, &fail{http.StatusServiceUnavailable, err}
		}
		return map[string]int64{"id": id}, nil
	})
	// Not a counted route: it waits, and would spoil the latencies.
	s.mux.HandleFunc("POST /take", func(w http.ResponseWriter, r *http.Request) {
		var t takeRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&t); err != nil {
			http.Error(w, "take: "+err.Error(), http.StatusBadRequest)
			return
		}
		q.settle(t.Done, t.Failed)
		limit, cancel := context.WithTimeout(r.Context(), takeWait)
		defer cancel()
		for t.Max > 0 {
			got, arrived := q.take(min(t.Max, 100), time.Now())
			if len(got) > 0 {
				writeJSON(w, http.StatusOK, got)
				return
			}
			select {
			case <-arrived:
				continue
			case <-limit.Done():
			case <-ctx.Done():
			}
			break
		}
		writeJSON(w, http.StatusOK, []message{})
	})
	return s.serve(ctx, sh.ports.Queue)
}

// runWorker takes orders from the queue and confirms them.
func runWorker(n int) func(context.Context, shell) error {
	return func(ctx context.Context, sh shell) error {
		s := newService(sh, "worker", goodVersion)
		done := prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_messages_total", Help: "Messages worked on, by result (done, failed).",
		}, []string{"result"})
		for _, result := range []string{"done", "failed"} {
			done.WithLabelValues(result)
		}
		took := prometheus.NewHistogram(histogram("worker_message_duration_seconds", "Time to work on one message."))
		through := prometheus.NewHistogram(histogram("worker_message_latency_seconds", "Time from the acceptance of a message to its end."))
		s.reg.MustRegister(done, took, through)
		// A resumed worker must not wait until its last take has ended.
		resumed := make(chan struct{}, 1)
		s.switched = func() {
			select {
			case resumed <- struct{}{}:
			default:
			}
		}
		port := sh.ports.Worker1
		if n == 2 {
			port = sh.ports.Worker2
		}
		return s.serve(ctx, port, func(ctx context.Context) error {
			var next takeRequest
			for ctx.Err() == nil {
				next.Max = 10
				if s.faults.on(QueueStuck) {
					next.Max = 0
				}
				var got []message
				if next.Max > 0 || len(next.Done)+len(next.Failed) > 0 {
					var err error
					if got, err = s.takeMessages(ctx, next); err != nil {
						rest(ctx, 500*time.Millisecond)
						continue
					}
				}
				next = takeRequest{}
				if len(got) == 0 && s.faults.on(QueueStuck) {
					select {
					case <-resumed:
					case <-ctx.Done():
					}
					continue
				}
				for _, m := range got {
					start := time.Now()
					work(ctx, lag{12 * time.Millisecond, 60 * time.Millisecond})
					result := "done"
					if chance(0.001) {
						result = "failed"
						next.Failed = append(next.Failed, m.ID)
					} else {
						next.Done = append(next.Done, m.ID)
					}
					done.WithLabelValues(result).Inc()
					took.Observe(time.Since(start).Seconds())
					through.Observe(time.Since(m.Put).Seconds())
				}
			}
			return nil
		})
	}
}

// takeMessages is counted, but not timed: it waits for messages on purpose.
func (s *service) takeMessages(ctx context.Context, t takeRequest) ([]message, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*takeWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", s.ports.url(s.ports.Queue)+"/take", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var got []message
	code, err := exchange(s.client, req, &got)
	s.calls.WithLabelValues("queue", strconv.Itoa(code)).Inc()
	return got, err
}
