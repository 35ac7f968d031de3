package demo

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/miekg/dns"
)

// Options say where and how the shop runs.
type Options struct {
	// Exe is the program that is run again in each role; default this one.
	Exe string
	// Dir takes the config files, certificates and logs of the shop. It is made
	// when missing; files that the shop writes are overwritten.
	Dir string
	Log *slog.Logger
	// BasePort is the first of 14 ports on 127.0.0.1; default 7580.
	BasePort int
}

// Shop is the running shop.
type Shop struct {
	opt      Options
	ports    ports
	children []*child
	ctx      context.Context
	cancel   context.CancelFunc
	ended    sync.WaitGroup
}

// Start writes the config files into Dir, starts the processes and returns when
// all of them answer. Processes that crash are started again. They end with
// ctx, with Stop, or with this process however it ends.
func Start(ctx context.Context, opt Options) (*Shop, error) {
	if opt.Exe == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program's file: %w", err)
		}
		opt.Exe = exe
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.BasePort == 0 {
		opt.BasePort = DefaultBasePort
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, err
	}
	opt.Dir = dir
	s := &Shop{opt: opt, ports: portsFrom(opt.BasePort)}
	if err := s.ports.free(); err != nil {
		return nil, err
	}
	if err := s.prepare(time.Now()); err != nil {
		return nil, err
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.ctx = ctx
	all := roles()
	for _, r := range all {
		s.children = append(s.children, &child{
			role: r.name, exe: opt.Exe, log: opt.Log,
			args:    []string{"demo", "serve", r.name, strconv.Itoa(opt.BasePort), dir},
			logFile: filepath.Join(dir, "logs", r.name+".log"),
		})
	}
	run := func(c *child) { s.ended.Go(func() { c.keepRunning(ctx) }) }
	// Traffic comes last: a shop opens when everything in it stands.
	last := len(all) - 1
	for _, c := range s.children[:last] {
		run(c)
	}
	for i, r := range all {
		if i == last {
			run(s.children[last])
		}
		if err := s.await(ctx, s.children[i], s.ports.url(r.port(s.ports))+"/healthz"); err != nil {
			s.Stop()
			return nil, err
		}
	}
	if err := s.awaitDNS(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// places are where the shop is watched from besides Vedette itself, with the
// tokens that the shop's vedette.yml names.
var places = []struct{ name, token string }{
	{"eu-west", "the-shops-place-eu-west"},
	{"ap-south", "the-shops-place-ap-south"},
}

// StartPlaces starts the agents of the other places, which dial Vedette at hub.
// They end with the shop.
func (s *Shop) StartPlaces(hub string) {
	for _, p := range places {
		c := &child{
			role: "place " + p.name, exe: s.opt.Exe, log: s.opt.Log,
			args:    []string{"agent", "--hub", hub, "--location", p.name, "--data", filepath.Join(s.opt.Dir, "places", p.name), "--workers", "8"},
			env:     []string{"VEDETTE_TOKEN=" + p.token},
			logFile: filepath.Join(s.opt.Dir, "logs", p.name+".log"),
		}
		s.ended.Go(func() { c.keepRunning(s.ctx) })
	}
}

// ConfigPath is the vedette.yml that watches the shop.
func (s *Shop) ConfigPath() string { return filepath.Join(s.opt.Dir, "vedette.yml") }

// ReceiverURL is the page that shows the notifications that arrived.
func (s *Shop) ReceiverURL() string { return s.ports.url(s.ports.Receiver) }

// GatewayURL is the shop's front.
func (s *Shop) GatewayURL() string { return s.ports.url(s.ports.Gateway) }

// Stop ends all processes and waits until they are gone.
func (s *Shop) Stop() {
	s.cancel()
	s.ended.Wait()
}

// Wait blocks until all processes have ended.
func (s *Shop) Wait() { s.ended.Wait() }

// startLimit is how long a process may take until it answers.
const startLimit = 30 * time.Second

func (s *Shop) await(ctx context.Context, c *child, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		if ctx.Err() != nil || c.crashes.Load() >= 3 {
			return fmt.Errorf("%s of the shop does not answer at %s: %w\n%s", c.role, url, err, tail(c.logFile, 600))
		}
		rest(ctx, 20*time.Millisecond)
	}
}

func (s *Shop) awaitDNS(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	q := new(dns.Msg)
	q.SetQuestion(gatewayHost+".", dns.TypeA)
	for {
		_, _, err := (&dns.Client{Timeout: time.Second}).ExchangeContext(ctx, q, address(s.ports.DNS))
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the shop's name server does not answer: %w", err)
		}
		rest(ctx, 50*time.Millisecond)
	}
}

// tail returns the last n bytes of a file, from the start of a line.
func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if len(b) > n {
		b = b[len(b)-n:]
		if _, rest, ok := bytes.Cut(b, []byte("\n")); ok {
			b = rest
		}
	}
	return string(b)
}

//go:embed shop
var shopFiles embed.FS

// prepare writes all that lies in Dir before the first process starts.
func (s *Shop) prepare(now time.Time) error {
	logs := filepath.Join(s.opt.Dir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return err
	}
	// The last run's faults and logs have had their time.
	old := []string{filepath.Join(s.opt.Dir, faultFile)}
	for _, r := range roles() {
		old = append(old, filepath.Join(logs, r.name+".log"))
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := writeCertificates(s.opt.Dir, now); err != nil {
		return err
	}
	return writeConfig(s.opt.Dir, s.ports)
}

// writeConfig fills the ports into the embedded files and writes them to dir.
func writeConfig(dir string, p ports) error {
	return fs.WalkDir(shopFiles, "shop", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, "shop"))
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		b, err := shopFiles.ReadFile(path)
		if err != nil {
			return err
		}
		// Alert texts use {{ }} themselves.
		t, err := template.New(path).Delims("[[", "]]").Option("missingkey=error").Parse(string(b))
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, p); err != nil {
			return err
		}
		return os.WriteFile(to, out.Bytes(), 0o600)
	})
}
