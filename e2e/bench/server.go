package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is one process under test.
type server struct {
	name string
	url  string
	cmd  *exec.Cmd
	log  *os.File
	conf string // its configuration file, "" for none
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

func startVedette(ctx context.Context, o options, conf string) (*server, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(o.dir, "vedette")
	prom := filepath.Join(o.dir, "vedette-prometheus.yml")
	if conf == "" {
		conf = filepath.Join(o.dir, "vedette.yml")
		if err := os.WriteFile(prom, []byte(emptyPrometheus), 0o600); err != nil {
			return nil, err
		}
		// Neither watches itself: the load begins hours ago, and samples of now
		// would make it late.
		text := "watch: false\nprometheus: " + prom + "\n"
		if o.forget {
			text += "query: {memory_bytes: -1}\n"
		}
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	s, err := start(ctx, o, "vedette", "http://"+addr, o.vedette, "run", "--config", conf, "--data", dir, "--listen", addr)
	if s != nil {
		s.conf = prom
	}
	return s, err
}

const emptyPrometheus = "global: {evaluation_interval: 5s}\nrule_files: [rules-*.yml]\n"

func startPrometheus(ctx context.Context, o options, conf string) (*server, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	if conf == "" {
		conf = filepath.Join(o.dir, "prometheus.yml")
		if err := os.WriteFile(conf, []byte(emptyPrometheus), 0o600); err != nil {
			return nil, err
		}
	}
	s, err := start(ctx, o, "prometheus", "http://"+addr, o.prometheus, "--config.file="+conf, "--web.listen-address="+addr,
		"--storage.tsdb.path="+filepath.Join(o.dir, "prometheus"), "--web.enable-remote-write-receiver", "--web.enable-lifecycle", "--log.level=warn")
	if s != nil {
		s.conf = conf
	}
	return s, err
}

func startVictoriaMetrics(ctx context.Context, o options) (*server, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	return start(ctx, o, "victoriametrics", "http://"+addr, o.victoriametrics, "-httpListenAddr="+addr,
		"-storageDataPath="+filepath.Join(o.dir, "victoriametrics"), "-retentionPeriod=1y", "-loggerLevel=WARN", "-search.latencyOffset=0s")
}

func start(ctx context.Context, o options, name, url, prog string, args ...string) (*server, error) {
	log, err := os.Create(filepath.Join(o.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, prog, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w (make bench builds what it needs)", prog, err)
	}
	return &server{name: name, url: url, cmd: cmd, log: log}, nil
}

// settle waits until the server answers.
func (s *server) settle(ctx context.Context) error {
	for range 300 {
		ready := "/-/ready"
		if s.name == "victoriametrics" {
			ready = "/health"
		}
		resp, err := http.Get(s.url + ready)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	b, _ := os.ReadFile(s.log.Name())
	return fmt.Errorf("%s is not ready after 30 s; it said:\n%s", s.name, b)
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		_ = s.cmd.Process.Kill()
		<-done
	}
	s.log.Close()
}

// cpu is the user and system time of the process, seconds (proc(5), fields 14
// and 15 of stat, in ticks of 10 ms).
func (s *server) cpu() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	u, _ := strconv.ParseFloat(f[11], 64)
	k, _ := strconv.ParseFloat(f[12], 64)
	return (u + k) / 100
}

func (s *server) status(key string) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kb * 1024
		}
	}
	return 0
}

func (s *server) rss() float64  { return s.status("VmRSS") }
func (s *server) peak() float64 { return s.status("VmHWM") }

func (s *server) post(ctx context.Context, path string, body []byte, header map[string]string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s to %s: %s", s.name, resp.Status, path, b)
	}
	return err
}

func (s *server) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(s.name + " answered " + resp.Status + ": " + string(b))
	}
	return b, err
}
