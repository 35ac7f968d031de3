package fleet

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// AgentConfig is what an agent is told.
type AgentConfig struct {
	Hub      string // URL of the hub
	Location string
	Token    string
	// TokenFile is read at each connection, so that a new token needs no
	// restart. It goes before Token.
	TokenFile string
	Tenant    string // default: the hub's default tenant
	CAFile    string // trusts the hub's certificate
	Spool     string // directory of results that the hub does not have
	// MaxSpoolBytes and MaxSpoolAge bound the spool; zero means 256 MiB and
	// seven days.
	MaxSpoolBytes int64
	MaxSpoolAge   time.Duration
	Version       string
}

// Validate refuses what cannot work. The error names the flag.
func (c AgentConfig) Validate() error {
	u, err := url.Parse(c.Hub)
	switch {
	case c.Hub == "":
		return errors.New("--hub: is missing; want the URL of the hub, such as https://vedette.example.org")
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return fmt.Errorf("--hub: %q: want a URL such as https://vedette.example.org", c.Hub)
	case u.User != nil:
		return errors.New("--hub: the URL holds a user; the token goes into --token-file")
	case c.Location == "":
		return errors.New("--location: is missing; want the name of a location in the hub's vedette.yml")
	case c.Token == "" && c.TokenFile == "":
		return errors.New("--token-file: is missing; want the file that holds the location's token")
	}
	return nil
}

// AgentWork is what the agent does with orders; app joins it to the prober.
type AgentWork struct {
	// Apply makes the assignments the checks that run here. It reports those
	// that cannot be run, by id; the others run.
	Apply func([]Assignment) (refused map[string]error)
	// Run makes one run of a check now, Try one of an object that is not
	// scheduled. They do not hand the result to Deliver.
	Run func(ctx context.Context, check string) (record.CheckResult, error)
	Try func(ctx context.Context, a Assignment) (record.CheckResult, error)
}

// Agent is one place: it dials the hub, has its orders carried out and brings
// the results. Safe for concurrent use.
type Agent struct {
	cfg    AgentConfig
	work   AgentWork
	log    *slog.Logger
	client *http.Client
	base   *url.URL
	spool  *spool
	fresh  chan struct{} // results wait
	calls  sync.WaitGroup
	linked atomic.Bool
	keep   string // the file of the last assignments
}

// NewAgent opens the spool; nothing is dialled before Run.
func NewAgent(cfg AgentConfig, log *slog.Logger) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	base, err := url.Parse(strings.TrimSuffix(cfg.Hub, "/"))
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 4
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: want a readable file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file: %s holds no certificate; want PEM", cfg.CAFile)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	a := &Agent{cfg: cfg, log: log, base: base, fresh: make(chan struct{}, 1)}
	a.client = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("the hub redirects; give its own address to --hub")
	}}
	if a.spool, err = openSpool(cfg.Spool, cfg.MaxSpoolBytes, cfg.MaxSpoolAge); err != nil {
		return nil, err
	}
	a.keep = cfg.Spool + "/checks.json"
	return a, nil
}

// Deliver takes a result of the schedule. It is on this machine's disk when
// Deliver returns, and on its way.
func (a *Agent) Deliver(r record.CheckResult) {
	a.deliver(Delivery{Result: r, Screenshot: r.Screenshot})
}

func (a *Agent) deliver(d Delivery) {
	if err := a.spool.put(d); err != nil {
		a.log.Error("a result is lost", "check", d.Result.Check, "err", err)
		return
	}
	select {
	case a.fresh <- struct{}{}:
	default:
	}
}

// Linked reports whether the hub is reached.
func (a *Agent) Linked() bool { return a.linked.Load() }

// Waiting is how many results the hub does not have yet.
func (a *Agent) Waiting() int { return a.spool.waiting() }

// Run works until ctx ends. With the last known checks it begins before the hub
// is reached: a place that starts without a link watches all the same.
func (a *Agent) Run(ctx context.Context, work AgentWork) error {
	a.work = work
	var all sync.WaitGroup
	a.recall()
	all.Go(func() { a.send(ctx) })
	all.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := a.spool.sync(); err != nil {
					a.log.Error("results may not survive a crash of this machine", "err", err)
				}
			}
		}
	})
	pause := time.Second
	for ctx.Err() == nil {
		began := time.Now()
		err := a.listen(ctx)
		if ctx.Err() != nil {
			break
		}
		if a.linked.Swap(false) || time.Since(began) > time.Minute {
			pause = time.Second
		}
		a.log.Warn("no link to the hub; checks go on and results wait", "hub", a.base.Host, "err", err, "retry_in", pause.String(), "waiting", a.spool.waiting())
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Second)
	}
	a.calls.Wait()
	all.Wait()
	return a.spool.close()
}

// recall begins with the checks that were in force when this process ended.
func (a *Agent) recall() {
	b, err := os.ReadFile(a.keep)
	if err != nil {
		return
	}
	var as []Assignment
	if err := json.Unmarshal(b, &as); err != nil {
		a.log.Warn("the checks of the last time cannot be read; waiting for the hub", "err", err)
		return
	}
	a.apply(as)
}

func (a *Agent) apply(as []Assignment) {
	for id, err := range a.work.Apply(as) {
		a.log.Error("a check cannot be run here", "check", id, "err", err)
	}
}

func (a *Agent) token() (string, error) {
	if a.cfg.TokenFile == "" {
		return a.cfg.Token, nil
	}
	b, err := os.ReadFile(a.cfg.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (a *Agent) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	u := *a.base
	u.Path += path
	u.RawQuery = url.Values{"location": {a.cfg.Location}}.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	token, err := a.token()
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", "Vedette-agent/"+a.cfg.Version)
	if a.cfg.Tenant != "" {
		req.Header.Set("X-Vedette-Tenant", a.cfg.Tenant)
	}
	return req, nil
}

// refused reads the reason of an answer that is not 200.
func refused(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 2048))
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(b, &e) == nil && e.Error != "" {
		return fmt.Errorf("the hub answered %s: %s", resp.Status, e.Error)
	}
	return fmt.Errorf("the hub answered %s", resp.Status)
}

const maxOrder = 256 << 20 // bytes of one order: all checks of a place

// listen carries out orders until the link breaks.
func (a *Agent) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := a.request(ctx, http.MethodGet, StreamPath, nil)
	if err != nil {
		return err
	}
	// A link that says nothing is no link.
	silence := time.AfterFunc(3*Heartbeat, cancel)
	defer silence.Stop()
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused(resp)
	}
	sc := bufio.NewReaderSize(resp.Body, 1<<16)
	for {
		line, err := readLine(sc, maxOrder)
		if err != nil {
			if ctx.Err() != nil {
				return errors.New("the hub fell silent")
			}
			return fmt.Errorf("the link to the hub broke: %w", err)
		}
		silence.Reset(3 * Heartbeat)
		var o order
		if err := json.Unmarshal(line, &o); err != nil {
			return fmt.Errorf("the hub sent what is no order: %w", err)
		}
		a.obey(ctx, o)
	}
}

func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > limit:
			return nil, fmt.Errorf("an order of more than %d bytes", limit)
		}
	}
}

func (a *Agent) obey(ctx context.Context, o order) {
	switch o.Type {
	case "hello":
		a.linked.Store(true)
		a.log.Info("linked to the hub", "hub", a.base.Host, "location", a.cfg.Location, "waiting", a.spool.waiting())
		select { // a sign of life, and what waits
		case a.fresh <- struct{}{}:
		default:
		}
	case "checks":
		a.apply(o.Checks)
		b, err := json.Marshal(o.Checks)
		if err == nil {
			err = writeFile(a.keep, string(b))
		}
		if err != nil {
			a.log.Warn("the checks could not be kept for a start without the hub", "err", err)
		}
		a.log.Info("checks from the hub", "checks", len(o.Checks))
	case "run", "try":
		a.calls.Go(func() {
			var r record.CheckResult
			var err error
			if o.Type == "run" {
				r, err = a.work.Run(ctx, o.Check)
			} else if o.Object != nil {
				r, err = a.work.Try(ctx, *o.Object)
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				r = record.CheckResult{Check: o.Check, Start: time.Now(), Stage: "resolve", Reason: "own_fault", Message: err.Error()}
			}
			r.Extra, r.Location = true, a.cfg.Location
			d := Delivery{Call: o.Call, Result: r, Screenshot: r.Screenshot}
			a.deliver(d)
		})
	}
}

const (
	batchResults = 500
	batchBytes   = 4 << 20
)

// send brings results home, and a sign of life when there are none.
func (a *Agent) send(ctx context.Context) {
	beat := time.NewTicker(Heartbeat)
	defer beat.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			// What was made until now is brought if the hub takes it at once.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			_, _ = a.post(last) // else it waits in the spool
			cancel()
			return
		case <-beat.C:
		case <-a.fresh:
			// Results of the same instant travel together.
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		for more := true; more && ctx.Err() == nil; {
			n, err := a.post(ctx)
			if err != nil {
				if !failing && ctx.Err() == nil {
					a.log.Warn("results wait for the hub", "err", err, "waiting", a.spool.waiting())
				}
				failing = true
				break
			}
			if failing {
				a.log.Info("the hub takes results again", "waiting", a.spool.waiting())
			}
			failing = false
			more = n == batchResults || n > 0 && a.spool.waiting() > 0
		}
	}
}

// post sends one report and returns how many results the hub has taken.
func (a *Agent) post(ctx context.Context) (int, error) {
	batch, err := a.spool.batch(batchResults, batchBytes)
	if err != nil {
		return 0, err
	}
	rep := report{Spool: a.spool.id, SentAt: time.Now(), Version: a.cfg.Version, Waiting: a.spool.waiting() - len(batch), Dropped: a.spool.lost(), Results: batch}
	var body bytes.Buffer
	zw := gzip.NewWriter(&body)
	if err := errors.Join(json.NewEncoder(zw).Encode(rep), zw.Close()); err != nil {
		return 0, fmt.Errorf("render a report: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := a.request(ctx, http.MethodPost, ResultsPath, &body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, refused(resp)
	}
	var rc receipt
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&rc); err != nil {
		return 0, fmt.Errorf("the hub's receipt: %w", err)
	}
	if len(batch) == 0 {
		return 0, nil
	}
	if rc.Ack < batch[len(batch)-1].Seq {
		return 0, fmt.Errorf("the hub took results up to %d of %d", rc.Ack, batch[len(batch)-1].Seq)
	}
	return len(batch), a.spool.ack(batch[len(batch)-1].Seq)
}
