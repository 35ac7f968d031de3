package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/fleet"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

// newID makes an id that nobody has.
func newID(prefix string) string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails, says its documentation
	return prefix + hex.EncodeToString(b)
}

// agent is a place: `vedette agent`.
type agent struct {
	*fleet.Agent
	prober *probe.Prober
	data   string
	log    *slog.Logger
	own    *instrument.Registry
	// commands allows checks that run commands.
	commands bool
}

// runAgent watches from here for a hub until ctx ends.
func runAgent(ctx context.Context, cfg fleet.AgentConfig, data, listen string, commands bool, workers int, log *slog.Logger) error {
	cfg.Spool, cfg.Version = filepath.Join(data, "spool"), buildInfo().Version
	if err := cfg.Validate(); err != nil {
		return &usageError{err.Error()}
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("make the agent's directory: %w", err)
	}
	lock, err := lockData(data)
	if err != nil {
		return err
	}
	defer lock.Close()
	a := &agent{data: data, log: log, commands: commands, own: instrument.New(instrument.Config{})}
	if a.Agent, err = fleet.NewAgent(cfg, log.With("station", "fleet")); err != nil {
		return err
	}
	a.prober, err = probe.New(probe.Config{Location: cfg.Location, Workers: workers}, func(_ context.Context, _ probe.Check, r record.CheckResult) {
		if !r.Extra { // those are handed over by the one who asked
			a.Deliver(r)
		}
	}, log.With("station", "probe"))
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	if listen != "" {
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", listen, err)
		}
		srv := &http.Server{Handler: a.handler(), ReadHeaderTimeout: 10 * time.Second}
		all.Go(func() {
			if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				log.Error("the agent's own page ended", "err", err)
			}
		})
		context.AfterFunc(ctx, func() { srv.Close() })
	}
	all.Go(func() { _ = a.prober.Run(ctx) }) // ends without an error
	return a.Run(ctx, fleet.AgentWork{Apply: a.apply, Run: a.prober.RunNow, Try: a.try})
}

// handler shows the agent itself: health, metrics, profiles. It is for
// localhost.
func (a *agent) handler() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), ingest.Instruments{Registry: a.own})
	a.prober.Tell(a.own)
	a.own.Describe("vedette_agent_linked", "", "Whether the hub is reached.")
	a.own.GaugeFunc("vedette_agent_linked", func() float64 {
		if a.Linked() {
			return 1
		}
		return 0
	})
	a.own.Describe("vedette_agent_waiting_results", "", "Results that the hub does not have yet.")
	a.own.GaugeFunc("vedette_agent_waiting_results", func() float64 { return float64(a.Waiting()) })
	tellBrowsers(a.own)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "The agent is healthy.") })
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if !a.Linked() {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, "The hub is not reached; %d results wait.\n", a.Waiting())
			return
		}
		fmt.Fprintln(w, "The agent is linked to its hub.")
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// check unpacks an assignment.
func (a *agent) check(as fleet.Assignment) (*probe.Check, error) {
	var c probe.Check
	if err := decodeObject(as.Object, &c); err != nil {
		return nil, err
	}
	for _, p := range c.Files() {
		content, ok := as.Files[*p]
		if !ok {
			return nil, fmt.Errorf("the hub did not send the file %s", *p)
		}
		sum := sha256.Sum256(content)
		path := filepath.Join(a.data, "files", hex.EncodeToString(sum[:]))
		if _, err := os.Stat(path); err != nil {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return nil, err
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				return nil, err
			}
		}
		*p = path
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.RunsCommands() && !a.commands {
		return nil, errors.New("it runs a program, which this place allows with --allow-exec only")
	}
	c.ID = as.ID
	return &c, nil
}

// apply takes the checks that the hub sent.
func (a *agent) apply(as []fleet.Assignment) map[string]error {
	refused := map[string]error{}
	checks := make([]probe.Check, 0, len(as))
	for _, x := range as {
		c, err := a.check(x)
		if err != nil {
			refused[x.ID] = err
			continue
		}
		checks = append(checks, *c)
	}
	if err := a.prober.Apply(checks); err != nil {
		refused["(all)"] = err
	}
	return refused
}

// try runs an object once.
func (a *agent) try(ctx context.Context, as fleet.Assignment) (record.CheckResult, error) {
	c, err := a.check(as)
	if err != nil {
		return record.CheckResult{}, err
	}
	return probe.Once(ctx, *c), nil
}

func cmdAgent(ctx context.Context, args []string, st streams) error {
	var c common
	var cfg fleet.AgentConfig
	var data, listen string
	var commands bool
	var workers int
	fs := flags("agent", st)
	c.addLog(fs)
	fs.StringVar(&cfg.Hub, "hub", os.Getenv("VEDETTE_HUB"), "URL of the hub")
	fs.StringVar(&cfg.Location, "location", os.Getenv("VEDETTE_LOCATION"), "name of this place, as locations: in the hub's vedette.yml has it")
	fs.StringVar(&cfg.TokenFile, "token-file", "", "file that holds the location's token; or set VEDETTE_TOKEN")
	fs.StringVar(&cfg.Tenant, "tenant", "", "tenant of the hub; default: default")
	fs.StringVar(&cfg.CAFile, "ca-file", "", "PEM file of the authority that signed the hub's certificate")
	fs.StringVar(&data, "data", "./agent", "directory of results that the hub does not have yet")
	fs.Int64Var(&cfg.MaxSpoolBytes, "spool-bytes", 256<<20, "most bytes of such results; beyond, the oldest go")
	fs.DurationVar(&cfg.MaxSpoolAge, "spool-age", 7*24*time.Hour, "longest age of such results")
	fs.StringVar(&listen, "listen", "", "address of the agent's own /metrics, /-/ready and profiles, such as 127.0.0.1:7576; default none")
	fs.BoolVar(&commands, "allow-exec", false, "run checks of the kind exec: whoever writes the hub's vedette.yml then runs commands here")
	fs.IntVar(&workers, "workers", 64, "runs at once")
	var browsers probe.BrowserConfig
	fs.StringVar(&browsers.Executable, "browser", "", "path of chromium; default the one on PATH")
	fs.IntVar(&browsers.Concurrent, "browsers", 0, "browsers at once; default 1, each takes about 400 MB")
	if _, err := parse(fs, args, st); err != nil {
		return err
	}
	if cfg.TokenFile == "" {
		cfg.Token = os.Getenv("VEDETTE_TOKEN")
	}
	if host, _, err := net.SplitHostPort(listen); listen != "" && (err != nil || !loopback(host)) {
		return &usageError{fmt.Sprintf("--listen: %q: want an address of this machine alone, such as 127.0.0.1:7576: the page asks for no password", listen)}
	}
	if err := probe.ConfigureBrowsers(browsers); err != nil {
		return &usageError{"--" + err.Error()}
	}
	log, err := c.logger(st.err)
	if err != nil {
		return err
	}
	return runAgent(ctx, cfg, data, listen, commands, workers, slog.New(hiding{log.Handler()}))
}
