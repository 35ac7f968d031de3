package browser

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

const (
	// DefaultConcurrent is how many browsers run at once; each takes about 380 MB.
	DefaultConcurrent = 1
	maxPicture        = 300 << 10
	maxReply          = 16 << 10
)

// Config is what a Pool is told. Zero means the default.
type Config struct {
	// Executable is the browser's path; default: the Chromium or Chrome that is
	// found on PATH.
	Executable string `yaml:"executable,omitempty"`
	Concurrent int    `yaml:"concurrent,omitempty"` // default 1
}

// Validate refuses what cannot work.
func (c Config) Validate() error {
	if c.Concurrent < 0 || c.Concurrent > 64 {
		return fmt.Errorf("concurrent: %d: want from 1 to 64; each browser takes about 380 MB of memory", c.Concurrent)
	}
	return nil
}

// Pool bounds how many browsers run at once in this process. The zero value has
// the defaults. Safe for concurrent use.
type Pool struct {
	mu      sync.Mutex
	cfg     Config
	running int
	waiting []chan struct{} // the longest waiting first
	swept   bool
}

// Configure changes the settings; it holds for the runs that begin from then on.
func (p *Pool) Configure(cfg Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg = cfg
	p.grant()
}

// Stats tells how many runs have a browser and how many wait for one.
func (p *Pool) Stats() (running, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running, len(p.waiting)
}

// grant lets those begin for whom there is room; p.mu is held.
func (p *Pool) grant() {
	most := p.cfg.Concurrent
	if most == 0 {
		most = DefaultConcurrent
	}
	for len(p.waiting) > 0 && p.running < most {
		p.running++
		close(p.waiting[0])
		p.waiting = p.waiting[1:]
	}
}

// Acquire waits until a browser may run, in the order of asking; release gives
// the place back. The error is the context's.
func (p *Pool) Acquire(ctx context.Context) (release func(), err error) {
	granted := make(chan struct{})
	p.mu.Lock()
	p.waiting = append(p.waiting, granted)
	p.grant()
	p.mu.Unlock()
	release = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running--
		p.grant()
	}
	select {
	case <-granted:
		return release, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	for i, ch := range p.waiting {
		if ch == granted {
			p.waiting = append(p.waiting[:i:i], p.waiting[i+1:]...)
			p.mu.Unlock()
			return nil, ctx.Err()
		}
	}
	p.mu.Unlock()
	release() // granted in the meantime
	return nil, ctx.Err()
}

// Run acts a script out in a browser of its own. The caller holds a place of the
// pool. It returns when the browser has ended with all its processes and its
// profile is gone, at the latest some seconds after the context's deadline.
func (p *Pool) Run(ctx context.Context, s *Script) (out *Outcome) {
	out = &Outcome{Facts: map[string]string{}}
	for _, st := range s.Steps {
		out.Steps = append(out.Steps, record.Step{Name: st.Name, State: "not_reached"})
	}
	p.mu.Lock()
	executable := p.cfg.Executable
	if !p.swept {
		p.swept = true
		sweep()
	}
	p.mu.Unlock()
	path, err := find(executable)
	if err != nil {
		out.Failure = ownFault(err.Error())
		return out
	}
	proc, err := start(path, s)
	if err != nil {
		out.Failure = ownFault(fmt.Sprintf("the browser %s did not start: %v", path, err))
		return out
	}
	if sandboxless() {
		out.Facts["sandbox"] = "off: this process runs as root, where Chromium has none"
	}
	began := time.Now()
	t := &tab{script: s, changed: make(chan struct{}), asked: map[string]bool{}}
	t.net.own = t.own
	c, wait := dial(proc.in, proc.out, t.event)
	defer func() {
		if err := proc.stop(); err != nil {
			out.Facts["cleanup"] = err.Error()
		}
		wait()
	}()
	if err := openTab(ctx, c, t); err != nil {
		out.Failure = proc.stillborn(ctx, err)
		return out
	}
	t.start = time.Now()
	out.Start = t.start
	out.Values = append(out.Values, record.Value{Name: "probe_browser_start_seconds", Value: t.start.Sub(began).Seconds()})
	t.play(ctx, out)
	t.account(ctx, out)
	return out
}

// stillborn says why a browser did not come up.
func (p *process) stillborn(ctx context.Context, err error) *Failure {
	switch {
	case ctx.Err() != nil:
		return ownFault("the browser did not start within the time of the run: " + p.said.last())
	case errors.Is(err, errLost):
		p.gone(ctx)
		return ownFault("the browser ended while it started: " + p.said.last())
	}
	return ownFault("the browser did not start: " + err.Error())
}

// play does the steps, until one fails.
func (t *tab) play(ctx context.Context, out *Outcome) {
	deadline, bounded := ctx.Deadline()
	if bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-t.script.Reserve))
		defer cancel()
	}
	for i := range t.script.Steps {
		s, res := &t.script.Steps[i], &out.Steps[i]
		t.mu.Lock()
		t.step = s.Name
		t.mu.Unlock()
		began := time.Now()
		res.Offset = record.Seconds(began.Sub(t.start))
		f := t.timed(ctx, s, began, out)
		if f == nil && i == len(t.script.Steps)-1 {
			f = t.finish(ctx, began)
		}
		res.Duration, res.State = record.Seconds(time.Since(began)), "ok"
		if f != nil {
			res.State, res.Message = "failed", f.Message
			out.Failure = &Failure{f.Stage, f.Reason, fmt.Sprintf("step %d of %d, %s: %s", i+1, len(t.script.Steps), s.Name, f.Message)}
			return
		}
	}
}

// timed does a step within its time.
func (t *tab) timed(ctx context.Context, s *Step, began time.Time, out *Outcome) *Failure {
	if ctx.Err() != nil {
		return &Failure{"assertion", "slow", "the time of the run was over before this step began"}
	}
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Timeout)
		defer cancel()
	}
	switch {
	case s.Wait > 0:
		pause, cancel := context.WithTimeout(ctx, s.Wait)
		defer cancel()
		err := t.until(pause, func() bool { return t.document() != nil })
		if errors.Is(err, errTime) && time.Since(began) >= s.Wait {
			return nil
		}
		if errors.Is(err, errTime) {
			return &Failure{"assertion", "slow", "the time of the run was over during this wait"}
		}
		return t.give(errTime, began)
	case s.Screenshot:
		if shot := t.picture(ctx); shot != nil {
			out.Screenshot = shot
		}
		return t.hopeless()
	}
	return t.act(ctx, s, began)
}

// hopeless is why nothing more can be done, nil when something can.
func (t *tab) hopeless() *Failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dead
}

// finish lets the last document be measured, and takes a last look at whether it
// is well.
func (t *tab) finish(ctx context.Context, began time.Time) *Failure {
	t.mu.Lock()
	moving := t.moving
	t.mu.Unlock()
	if moving {
		if f := t.arrive(ctx, began); f != nil {
			return f
		}
	}
	soon, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = t.evaluate(soon, true, "V.flush()", nil) // a figure that is missing is no failure
	if f := t.hopeless(); f != nil {
		return f
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.document()
}

// account writes down what was learned of the page.
func (t *tab) account(ctx context.Context, out *Outcome) {
	t.mu.Lock()
	alive, bad := t.dead == nil, out.Failure != nil
	main := t.main
	t.mu.Unlock()
	if bad && alive {
		soon, cancel := context.WithTimeout(ctx, time.Second)
		_ = t.evaluate(soon, true, "V.flush()", nil)
		cancel()
	}
	if bad && main != nil {
		t.evidence(ctx, main, out)
	}
	if bad && alive && t.script.Picture {
		if shot := t.picture(ctx); shot != nil {
			out.Screenshot = shot
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var left int
	out.Hops, left = t.net.hops(t.start, t.now())
	out.Values = append(out.Values, t.values()...)
	if left > 0 {
		out.Facts["requests"] = fmt.Sprintf("%d in all; the documents, the failed, the first and the longest of them are shown", t.net.count)
	}
	for name, n := range map[string]int{"dialogs dismissed": t.dialogs, "popups closed": t.popups, "downloads refused": t.saves} {
		if n > 0 {
			out.Facts[name] = fmt.Sprint(n)
		}
	}
	if !bad {
		return
	}
	for _, x := range t.net.all {
		if line := x.complaint(); line != "" {
			t.say(line)
		}
	}
	for _, line := range t.console {
		out.Console = append(out.Console, line)
	}
	if t.more > 0 {
		out.Console = append(out.Console, fmt.Sprintf("and %d lines more", t.more))
	}
	if f := out.Failure; f.Stage == "tls" || f.Reason == "no_response" && f.Stage == "processing" {
		address := ""
		if main != nil {
			address = main.url
		}
		if main != nil && !main.answered {
			out.Unanswered = parsed(address)
		}
	}
}

// evidence is the reply of the document that failed.
func (t *tab) evidence(ctx context.Context, x *exchange, out *Outcome) {
	t.mu.Lock()
	answered, id := x.answered, x.id
	t.mu.Unlock()
	if !answered || out.Failure.Stage != "status" {
		return
	}
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = t.until(soon, func() bool { return x.ended != 0 }) // what came is shown
	var res struct {
		Body    string `json:"body"`
		Encoded bool   `json:"base64Encoded"`
	}
	body := ""
	t.mu.Lock()
	small := x.decoded < 1<<20
	t.mu.Unlock()
	if small && t.page.Execute(soon, "Network.getResponseBody", map[string]any{"requestId": id}, &res) == nil && !res.Encoded {
		body = cut(res.Body, maxReply)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out.Reply = x.head()
	out.Reply.Body = io.NopCloser(strings.NewReader(body))
}

// picture is the page as it is seen now, a JPEG of at most maxPicture bytes, in
// which the secrets cannot be read; nil when there can be none.
func (t *tab) picture(ctx context.Context) []byte {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if len(t.script.Secrets) > 0 {
		hide, err := json.Marshal(t.script.Secrets)
		if err != nil || t.evaluate(ctx, true, "V.mask("+string(hide)+")", nil) != nil {
			return nil
		}
		defer func() { _ = t.evaluate(ctx, true, "V.unmask()", nil) }() // the page may be gone
	}
	scale := 1.0
	for _, quality := range []int{60, 40, 25, 25, 25} {
		var res struct{ Data string }
		ask := map[string]any{"format": "jpeg", "quality": quality, "optimizeForSpeed": true}
		if scale < 1 {
			var at [2]float64
			if t.evaluate(ctx, true, "[scrollX, scrollY]", &at) != nil {
				return nil
			}
			ask["clip"] = map[string]any{"x": at[0], "y": at[1], "width": t.script.Width, "height": t.script.Height, "scale": scale}
		}
		if t.page.Execute(ctx, "Page.captureScreenshot", ask, &res) != nil {
			return nil
		}
		b, err := base64.StdEncoding.DecodeString(res.Data)
		if err != nil {
			return nil
		}
		if len(b) <= maxPicture {
			return b
		}
		if quality == 25 {
			scale /= 2
		}
	}
	return nil
}

func spanID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, says its documentation
	return hex.EncodeToString(b[:])
}
