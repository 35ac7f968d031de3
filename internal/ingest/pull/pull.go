package pull

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/vedette-sre/vedette/internal/record"
)

// Config is what a Puller is made of.
type Config struct {
	Targets []Target `yaml:"pull"`
}

// Validate says all that is wrong with the targets.
func (c Config) Validate() error { return validateAll(c.Targets) }

// Sink takes the samples of one round of one target, which has its defaults
// filled in. All samples are of the time at, the start of the round. A target that
// was taken away or changed gets a last call with no samples: its series end.
type Sink func(ctx context.Context, t Target, at time.Time, samples []record.Sample) error

// Status is what is known of a target.
type Status struct {
	Name, Kind, Instance string
	Labels               map[string]string
	// Up is whether the last round had an answer, Error why it had none.
	Up    bool
	Error string
	// Since is when Up last changed, Last when the last round began: zero before the
	// first has ended.
	Since, Last time.Time
	Took        time.Duration
	Samples     int
	// Dropped counts samples of the last round that were left out, by reason:
	// max_series, not_finite, duplicate.
	Dropped map[string]int
	// Faults are the parts that the last round could not tell, and why.
	Faults map[string]string
	// SinkError is why the last round was not stored.
	SinkError string
}

// Puller asks targets. Safe for concurrent use.
type Puller struct {
	sink Sink
	log  *slog.Logger
	wake chan struct{} // holds one: the plan has changed

	mu      sync.Mutex
	want    map[string]Target // by id
	workers map[string]*worker
}

// New makes a Puller that asks nothing before Run. The error is that of
// cfg.Validate.
func New(cfg Config, sink Sink, log *slog.Logger) (*Puller, error) {
	p := &Puller{sink: sink, log: log, wake: make(chan struct{}, 1), workers: map[string]*worker{}}
	if err := p.Apply(cfg.Targets); err != nil {
		return nil, err
	}
	return p, nil
}

// Apply puts other targets in the place of those before. One that did not change
// keeps its connection and its interval. With an error nothing has changed.
func (p *Puller) Apply(targets []Target) error {
	if err := validateAll(targets); err != nil {
		return err
	}
	want := map[string]Target{}
	for _, t := range targets {
		t = t.withDefaults()
		want[t.ID()] = t
	}
	p.mu.Lock()
	p.want = want
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // Run has yet to look, and will see this plan
	}
	return nil
}

// Run asks until ctx ends; then it closes all connections and returns nil.
func (p *Puller) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			p.want = nil
			p.mu.Unlock()
			p.reconcile(ctx)
			return nil
		case <-p.wake:
			p.reconcile(ctx)
		}
	}
}

// reconcile ends the workers whose target is gone or changed, waits for them, and
// starts the new ones.
func (p *Puller) reconcile(ctx context.Context) {
	p.mu.Lock()
	want := p.want
	var gone []*worker
	for id, w := range p.workers {
		if t, ok := want[id]; !ok || !reflect.DeepEqual(t, w.target) {
			w.cancel()
			gone = append(gone, w)
			delete(p.workers, id)
		}
	}
	p.mu.Unlock()
	for _, w := range gone {
		<-w.done
		// At the end of the program the series stay: a restart goes on with them.
		if ctx.Err() == nil {
			w.store(ctx, time.Now(), nil)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, t := range want {
		if p.workers[id] == nil {
			w := newWorker(t, p.sink, p.log)
			p.workers[id] = w
			wctx, cancel := context.WithCancel(ctx)
			w.cancel = cancel
			go w.run(wctx)
		}
	}
}

// Targets is the status of every target, sorted by name.
func (p *Puller) Targets() []Status {
	p.mu.Lock()
	ws := slices.Collect(maps.Values(p.workers))
	p.mu.Unlock()
	out := make([]Status, 0, len(ws))
	for _, w := range ws {
		out = append(out, w.state())
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Name+"\xff"+a.Instance, b.Name+"\xff"+b.Instance) })
	return out
}

// source is one server of a kind. It is used by one goroutine.
type source interface {
	// collect fills b. It connects first when there is no connection. An error means
	// that the server gave no answer at all; what else went wrong is a part of b.
	collect(ctx context.Context, b *batch) error
	// close drops the connection. The next collect makes a new one.
	close()
	// upName is the kind's own name of up, "" for none.
	upName() string
}

func newSource(t Target) source {
	switch t.Kind {
	case Postgres:
		return &postgres{target: t}
	case MySQL:
		return &mysqlSource{target: t}
	case Redis:
		return &redisSource{target: t}
	case Kafka:
		return newKafka(t)
	}
	panic("BUG: no source for a target that was validated")
}

// closeTimeout is how long a server is given to take our leave.
const closeTimeout = time.Second

// worker asks one target, one round at a time, over one connection.
type worker struct {
	target Target
	source source
	sink   Sink
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	status Status
	said   string // what the log was last told
}

func newWorker(t Target, sink Sink, log *slog.Logger) *worker {
	return &worker{target: t, source: newSource(t), sink: sink, log: log, done: make(chan struct{}),
		status: Status{Name: t.Name, Kind: t.Kind, Instance: t.instance(), Labels: t.Labels}}
}

func (w *worker) state() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	defer w.source.close()
	w.round(ctx, time.Now()) // at once: who starts a program wants to see something
	for {
		now := time.Now()
		next := now.Truncate(w.target.Interval).Add(w.target.phase())
		if !next.After(now) {
			next = next.Add(w.target.Interval)
		}
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case now := <-timer.C:
			w.round(ctx, now)
		}
	}
}

// round asks once and stores the answer.
func (w *worker) round(ctx context.Context, now time.Time) {
	start := time.Now()
	b, err := w.ask(ctx, now)
	took := time.Since(start)
	if ctx.Err() != nil {
		return // the program or the target ends: no verdict on the server
	}
	s := Status{Up: err == nil, Last: now, Took: took, Dropped: b.dropped, Faults: map[string]string{}}
	if err != nil {
		s.Error = w.explain(err)
	}
	for part, err := range b.faults {
		s.Faults[part] = w.explain(err)
	}

	b.max += 2*len(b.parts) + 16 // what says how it went is never left out
	b.add("up", flag(s.Up))
	b.add("scrape_duration_seconds", took.Seconds())
	if name := w.source.upName(); name != "" {
		b.add(name, flag(s.Up))
	}
	for _, part := range b.parts {
		b.add("vedette_pull_part_success", flag(b.faults[part] == nil), "part", part)
	}
	for _, reason := range []string{"max_series", "not_finite", "duplicate"} {
		b.add("vedette_pull_dropped_samples", float64(b.dropped[reason]), "reason", reason)
	}
	s.Samples = len(b.samples)
	if err := w.store(ctx, now, b.samples); err != nil && ctx.Err() == nil {
		s.SinkError = w.explain(err)
	}
	w.tell(s)
}

// ask makes the batch of a round. With an error the batch is empty. A connection
// that was good in the round before may have died since, with its server; then it
// is made anew within the round.
func (w *worker) ask(ctx context.Context, now time.Time) (*batch, error) {
	ctx, cancel := context.WithTimeout(ctx, w.target.Timeout)
	defer cancel()
	before := w.state().Up
	for {
		b := newBatch(w.target, now)
		err := w.collect(ctx, b)
		if err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			err = ctx.Err() // whatever the client made of it
		}
		w.source.close()
		if !before || ctx.Err() != nil {
			return newBatch(w.target, now), err
		}
		before = false
	}
}

// collect turns a panic into an error: the clients decode what a server sends,
// and one server must not end the program.
func (w *worker) collect(ctx context.Context, b *batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the client could not stand what the server sent: %v", p)
		}
	}()
	return w.source.collect(ctx, b)
}

func (w *worker) store(ctx context.Context, at time.Time, samples []record.Sample) error {
	ctx, cancel := context.WithTimeout(ctx, w.target.Interval)
	defer cancel()
	return w.sink(ctx, w.target, at, samples)
}

// tell keeps the status, and logs it when it says something new.
func (w *worker) tell(s Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := w.status.Last.IsZero()
	s.Name, s.Kind, s.Instance, s.Labels = w.status.Name, w.status.Kind, w.status.Instance, w.status.Labels
	s.Since = w.status.Since
	if first || s.Up != w.status.Up {
		s.Since = s.Last
	}
	w.status = s

	said := []string{s.Error, s.SinkError}
	for _, part := range slices.Sorted(maps.Keys(s.Faults)) {
		said = append(said, part, s.Faults[part])
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Dropped)) {
		said = append(said, reason)
	}
	now := strings.Join(said, "\xff")
	if now == w.said || first && now == "\xff" {
		w.said = now
		return
	}
	w.said = now
	log := w.log.With("target", s.Name, "kind", s.Kind, "instance", s.Instance)
	switch {
	case s.Error != "":
		log.Warn("a pulled target gives no answer", "err", s.Error)
	case s.SinkError != "":
		log.Error("what a pulled target said was not stored", "err", s.SinkError)
	case len(s.Faults) > 0 || len(s.Dropped) > 0:
		log.Warn("a pulled target is told in part", "faults", s.Faults, "dropped", s.Dropped)
	default:
		log.Info("a pulled target is told in full again")
	}
}

// localPort is the changing part of what package net says of a connection.
var localPort = regexp.MustCompile(`\S+:\d+->`)

// explain is err for people: in one line, without secrets, and the same for the
// same cause, so that the log can tell a change.
func (w *worker) explain(err error) string {
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		return fmt.Sprintf("no answer within %v; see whether the server is overloaded or out of reach, or raise timeout", w.target.Timeout)
	}
	s := localPort.ReplaceAllString(err.Error(), "")
	for _, secret := range w.target.secrets() {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, hidden)
		}
	}
	printable := func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}
	return cut(strings.Join(strings.Fields(strings.Map(printable, strings.ToValidUTF8(s, "\uFFFD"))), " "), maxFaultRunes)
}
