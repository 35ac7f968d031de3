package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/instrument/health"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/web"
)

// Server is one running Vedette: `vedette run`.
type Server struct {
	log     *slog.Logger
	path    string
	over    func(*Config) // command-line flags over the file
	version web.Version
	started time.Time

	house   *house
	status  *statusPages
	doors   *doors
	health  *health.Health
	web     *web.Server
	auth    *web.Auth
	addr    string
	cert    certificate
	http    *http.Server
	done    chan error
	lock    *os.File // of the data directory
	asked   string   // the address that the configuration asked for; its port may be 0
	running *Config  // what the process started with; a reload cannot change all of it

	reloadMu sync.Mutex // one reload at a time
	mu       sync.Mutex // guards what follows
	state    web.ConfigState
	files    []string
	patterns []string

	reloads  *instrument.Counter
	reloadOK *instrument.Gauge
}

// Start reads the configuration, opens what must be open and listens. The
// returned server answers requests; Wait runs it until ctx ends.
func Start(ctx context.Context, path string, over func(*Config), log *slog.Logger) (_ *Server, err error) {
	log = slog.New(hiding{log.Handler()})
	s := &Server{log: log, path: path, over: over, version: buildInfo(), started: time.Now()}
	p, err := s.load()
	if err != nil {
		return nil, err
	}
	c := p.conf
	if err := os.MkdirAll(c.Data, 0o750); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if s.lock, err = lockData(c.Data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	// A crash during a backup leaves its copy behind; no tenant's name begins
	// with a dot.
	if left, err := filepath.Glob(filepath.Join(c.Data, ".backup-*")); err == nil {
		for _, dir := range left {
			if err := os.RemoveAll(dir); err != nil {
				log.Warn("the copy of a backup that was cut short cannot be removed", "dir", dir, "err", err)
			}
		}
	}
	key, err := web.Key(filepath.Join(c.Data, "session.key"))
	if err != nil {
		return nil, err
	}
	if s.auth, err = web.NewAuth(c.Auth, key, c.TLS != nil); err != nil {
		return nil, err
	}
	if err := s.auth.KeepEnded(filepath.Join(c.Data, "session.ended")); err != nil {
		return nil, err
	}
	ln, err := listen(c)
	if err != nil {
		return nil, err
	}
	// A port chosen by the system is known only now.
	s.asked, s.addr = c.Listen, ln.Addr().String()
	s.settle(c)
	s.running = c
	if err := p.watchItself(); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	u, err := url.Parse(c.ExternalURL)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("external_url: %w", err), ln.Close())
	}
	reg := processRegistry(s.version)
	own := instrument.New(instrument.Config{})
	reg.MustRegister(ingest.Instruments{Registry: own})
	own.Describe("vedette_config_reloads", "", "Attempts to reload the configuration.")
	own.Describe("vedette_config_last_reload_successful", "", "Whether the last configuration offered is in force.")
	s.reloads, s.reloadOK = own.Counter("vedette_config_reloads"), own.Gauge("vedette_config_last_reload_successful")
	s.reloadOK.Set(1)
	tellBrowsers(own)
	if err := probe.ConfigureBrowsers(c.Browser); err != nil {
		return nil, errors.Join(err, ln.Close())
	}

	env := surroundings{
		data: c.Data, url: u, version: s.version, started: s.started, process: reg, log: log,
		configOK: func() bool { return s.configState().OK }, configAt: func() time.Time { return s.configState().LoadedAt },
	}
	h := &lateHouse{}
	s.web = web.New(web.Options{
		Tenants: h, Auth: s.auth, Limits: c.HTTP, Version: s.version, Process: reg, Instruments: own,
		StatusPages: func() []*web.StatusPage { return s.status.all() },
		Reload:      s.Reload, Config: s.configState, Listeners: s.listeners, Backup: s.backup,
		Started: s.started, ExternalHost: u.Hostname(), Log: log.With("station", "web"),
	})
	env.live, env.http = s.web.Live(), s.web
	s.health = newHealth(s)
	s.house = newHouse(env, p)
	h.house = s.house
	s.status = newStatusPages(s.house, log.With("station", "web"))
	s.accepted(p)
	if err := s.house.openWorking(ctx); err != nil {
		ln.Close()
		return nil, errors.Join(err, s.house.close())
	}
	if err := s.status.apply(p); err != nil {
		ln.Close()
		return nil, errors.Join(err, s.house.close())
	}
	s.doors = newDoors(s.house, s.web, s.health, log.With("station", "ingest"))
	if err := s.doors.apply(c); err != nil {
		ln.Close()
		s.status.close()
		return nil, errors.Join(err, s.house.close())
	}
	s.web.Ready()
	s.health.Started()
	s.serve(ctx, ln, c.TLS)
	for _, n := range p.notServed {
		log.Warn("a section is accepted and not served", "section", n.Section, "reason", n.Reason)
	}
	return s, nil
}

// tellBrowsers tells how many browsers run for checks.
func tellBrowsers(m *instrument.Registry) {
	m.Describe("vedette_browsers_running", "", "Browsers that run for checks now.")
	m.GaugeFunc("vedette_browsers_running", func() float64 {
		n, _ := probe.BrowserStats()
		return float64(n)
	})
	m.Describe("vedette_browsers_waiting", "", "Runs of checks that wait for a browser.")
	m.GaugeFunc("vedette_browsers_waiting", func() float64 {
		_, n := probe.BrowserStats()
		return float64(n)
	})
}

// lateHouse breaks the circle between the web, which shows tenants, and the
// tenants, which tell the web of changes.
type lateHouse struct{ *house }

// load reads the configuration and everything it names.
func (s *Server) load() (*plan, error) {
	c, err := LoadConfig(s.path)
	if err != nil {
		return nil, err
	}
	if s.over != nil {
		s.over(c)
		if err := c.validate(); err != nil {
			return nil, c.locate(err)
		}
	}
	return makePlan(c, s.log)
}

// settle puts the address in force in the place of the one asked for, whose port
// may have been left to the system.
func (s *Server) settle(c *Config) {
	if _, port, _ := net.SplitHostPort(c.Listen); port != "0" || c.Listen != s.asked {
		return
	}
	c.Listen = s.addr
	c.noDefaultListeners = true // a throwaway server takes no well-known ports
	if c.derivedURL {
		c.ExternalURL = ""
		c.setDefaults()
	}
}

func listen(c *Config) (net.Listener, error) {
	ln, err := net.Listen("tcp", c.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken by another program; stop it, or choose another address with --listen", c.Listen)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	return ln, nil
}

// serve answers until ctx ends; Wait collects the end.
func (s *Server) serve(ctx context.Context, ln net.Listener, files *TLSFiles) {
	srv := s.web.HTTPServer(context.WithoutCancel(ctx))
	srv.RegisterOnShutdown(s.web.Live().Close)
	s.cert.files = files
	if files != nil {
		ln = tls.NewListener(ln, &tls.Config{GetCertificate: s.cert.get, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12})
	}
	s.done = make(chan error, 1)
	s.http = srv
	go func() {
		err := srv.Serve(ln)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		s.done <- err
	}()
}

// Wait runs the server until ctx ends or it fails, then closes: the doors
// first, the stores last.
func (s *Server) Wait(ctx context.Context) error {
	bg, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.house.closeIdle(bg) })
	wg.Go(func() { s.house.heal(bg) })
	wg.Go(func() { s.watchFiles(bg) })
	wg.Go(func() { s.watchHealth(bg) })
	var err error
	select {
	case err = <-s.done:
		if err != nil {
			err = fmt.Errorf("serve %s: %w", s.addr, err)
		}
	case <-ctx.Done():
	}
	s.health.Stopping()
	cancel()
	stopCtx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	if serr := s.http.Shutdown(stopCtx); serr != nil {
		s.http.Close() // slow clients are cut after ten seconds
	}
	s.doors.close()
	wg.Wait()
	s.status.close()
	return errors.Join(err, s.house.close(), s.lock.Close())
}

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return s.addr }

// URL is how people reach the server.
func (s *Server) URL() string { return s.house.env.url.String() }

func (s *Server) configState() web.ConfigState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *Server) accepted(p *plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = web.ConfigState{Path: s.path, LoadedAt: time.Now().UTC(), OK: true, NotServed: p.notServed}
	s.files, s.patterns = p.files, p.patterns
}

// Reload reads the configuration again. A fault leaves the one in force alone
// and is shown until a reload succeeds.
func (s *Server) Reload(ctx context.Context) error {
	s.reloadMu.Lock()
	defer s.reloadMu.Unlock()
	s.reloads.Inc()
	err := s.reload(ctx)
	if err != nil {
		s.reloadOK.Set(0)
		s.mu.Lock()
		s.state.OK, s.state.Error = false, err.Error()
		s.mu.Unlock()
		s.log.Error("the new configuration was refused and the old one stays in force", "err", err)
		return err
	}
	s.reloadOK.Set(1)
	s.log.Info("configuration reloaded", "path", s.path)
	return nil
}

func (s *Server) reload(ctx context.Context) error {
	p, err := s.load()
	if err != nil {
		return err
	}
	s.settle(p.conf)
	if err := p.conf.restartNeeded(s.running); err != nil {
		return p.conf.locate(err)
	}
	if err := p.watchItself(); err != nil {
		return err
	}
	if err := probe.ConfigureBrowsers(p.conf.Browser); err != nil {
		return err
	}
	if err := s.house.apply(context.WithoutCancel(ctx), p); err != nil {
		return err
	}
	if err := s.status.apply(p); err != nil {
		return err
	}
	if err := s.doors.apply(p.conf); err != nil {
		return err
	}
	if err := s.auth.Apply(p.conf.Auth); err != nil {
		return err
	}
	s.cert.set(p.conf.TLS)
	s.running = p.conf
	s.accepted(p)
	return nil
}

func (s *Server) listeners() []web.Listener {
	return slices.Concat([]web.Listener{{Name: "http", Address: s.addr, State: "listening"}}, s.doors.list(), s.status.views())
}

// certificate reads the TLS files again when they change.
type certificate struct {
	mu    sync.Mutex
	files *TLSFiles
	read  time.Time
	cert  *tls.Certificate
}

func (c *certificate) set(f *TLSFiles) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files, c.cert = f, nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert != nil && time.Since(c.read) < time.Minute {
		return c.cert, nil
	}
	crt, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		if c.cert != nil {
			return c.cert, nil // half-written files: the old pair serves on
		}
		return nil, err
	}
	c.cert, c.read = &crt, time.Now()
	return c.cert, nil
}
