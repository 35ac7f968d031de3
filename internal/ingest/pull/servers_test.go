package pull_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/vedette-sre/vedette/internal/ingest/pull"
	"github.com/vedette-sre/vedette/internal/record"
)

// round is one call of the sink.
type round struct {
	target  pull.Target
	at      time.Time
	samples []record.Sample
}

// pulled is a Puller that runs, with what it brings in and what it logs.
type pulled struct {
	*pull.Puller
	t      *testing.T
	rounds chan round
	log    *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// run starts a Puller for the test.
func run(t *testing.T, targets ...pull.Target) *pulled {
	t.Helper()
	p := &pulled{t: t, rounds: make(chan round, 1000), log: &syncBuffer{}}
	sink := func(_ context.Context, tg pull.Target, at time.Time, ss []record.Sample) error {
		p.rounds <- round{tg, at, ss}
		return nil
	}
	var err error
	if p.Puller, err = pull.New(pull.Config{Targets: targets}, sink, slog.New(slog.NewTextHandler(p.log, nil))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

// next is the next round.
func (p *pulled) next() round {
	p.t.Helper()
	select {
	case r := <-p.rounds:
		wellFormed(p.t, r)
		return r
	case <-time.After(30 * time.Second):
		p.t.Fatalf("no round within 30 s; log:\n%s", p.log)
		panic("unreachable")
	}
}

// until is the first round for which ok is true.
func (p *pulled) until(what string, ok func(round) bool) round {
	p.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for time.Now().Before(end) {
		if r := p.next(); ok(r) {
			return r
		}
	}
	p.t.Fatalf("not within 30 s: %s; status %+v; log:\n%s", what, p.Targets(), p.log)
	panic("unreachable")
}

var metricName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// wellFormed is what the store asks of every sample.
func wellFormed(t *testing.T, r round) {
	t.Helper()
	seen := map[string]bool{}
	for _, s := range r.samples {
		key := s.Name + fmt.Sprint(s.Labels)
		if seen[key] {
			t.Errorf("twice in a round: %s", key)
		}
		seen[key] = true
		if !metricName.MatchString(s.Name) || len(s.Labels)%2 != 0 || s.Value-s.Value != 0 || !s.At.Equal(r.at) {
			t.Errorf("not well formed: %+v", s)
		}
		var names []string
		for i := 0; i < len(s.Labels); i += 2 {
			names = append(names, s.Labels[i])
			if !utf8.ValidString(s.Labels[i+1]) {
				t.Errorf("not UTF-8: %+v", s)
			}
		}
		slices.Sort(names)
		if len(slices.Compact(names)) != len(s.Labels)/2 {
			t.Errorf("a label twice: %+v", s)
		}
	}
}

// value is that of the one series with the name and the labels among its own.
func (r round) value(name string, labels ...string) (float64, error) {
	var got []record.Sample
	for _, s := range r.samples {
		if s.Name == name && contains(s.Labels, labels) {
			got = append(got, s)
		}
	}
	if len(got) != 1 {
		return 0, fmt.Errorf("%d series %s%v", len(got), name, labels)
	}
	return got[0].Value, nil
}

func contains(have, want []string) bool {
	for i := 0; i+1 < len(want); i += 2 {
		found := false
		for j := 0; j+1 < len(have); j += 2 {
			found = found || have[j] == want[i] && have[j+1] == want[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// is fails the test unless the series is there with a value that satisfies ok.
func (p *pulled) is(r round, ok func(float64) bool, name string, labels ...string) {
	p.t.Helper()
	v, err := r.value(name, labels...)
	if err != nil {
		p.t.Errorf("%v; faults %v", err, p.Targets()[0].Faults)
	} else if !ok(v) {
		p.t.Errorf("%s%v = %v", name, labels, v)
	}
}

func equal(want float64) func(float64) bool { return func(v float64) bool { return v == want } }
func above(limit float64) func(float64) bool {
	return func(v float64) bool { return v > limit }
}

// whole fails the test unless the only target was told in full.
func (p *pulled) whole() {
	p.t.Helper()
	end := time.Now().Add(10 * time.Second) // the status follows the sink
	for p.Targets()[0].Last.IsZero() && time.Now().Before(end) {
		time.Sleep(time.Millisecond)
	}
	if s := p.Targets()[0]; !s.Up || len(s.Faults) > 0 || len(s.Dropped) > 0 || s.SinkError != "" {
		p.t.Errorf("not told in full: %+v", s)
	}
}

// server is a process on 127.0.0.1.
type server struct {
	t    *testing.T
	dir  string
	port int
	argv []string
	as   *syscall.SysProcAttr
	cmd  *exec.Cmd
}

func (s *server) addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// newServer makes a directory and a port. As is the user that the server must run
// as when the test is root's.
func newServer(t *testing.T, as string) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "pull") // short, for sockets; open to the other user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &server{t: t, dir: dir, port: freePort(t), as: &syscall.SysProcAttr{}}
	if as != "" && os.Getuid() == 0 {
		u, err := user.Lookup(as)
		if err != nil {
			t.Skipf("left out: there is no user %s to run the server as", as)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// do runs a command to its end.
func (s *server) do(argv ...string) {
	s.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.as
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// start starts the server and waits until it answers ready.
func (s *server) start(ready func() error) {
	s.t.Helper()
	out, err := os.Create(filepath.Join(s.dir, fmt.Sprintf("out%d.log", time.Now().UnixNano())))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = s.dir, s.as, out, out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = cmd
	s.t.Cleanup(func() { s.stop(syscall.SIGKILL) })
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := ready()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(out.Name())
			s.t.Fatalf("%s did not start: %v\n%s", s.argv[0], err, log)
		}
	}
}

// stop ends the server and waits for its end.
func (s *server) stop(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// binary finds a program, or leaves the test out.
func binary(t *testing.T, pkg, name string, dirs ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range dirs {
		found, _ := filepath.Glob(filepath.Join(dir, name))
		if len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Skipf("left out: %s is not installed (Debian package %s)", name, pkg)
	return ""
}

// eventually waits for something outside of the program.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	err := errors.New("not asked")
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// hides fails the test when the secret can be seen anywhere.
func (p *pulled) hides(secret string) {
	p.t.Helper()
	for _, text := range []string{p.log.String(), fmt.Sprintf("%+v", p.Targets())} {
		if strings.Contains(text, secret) {
			p.t.Errorf("shows the secret: %s", text)
		}
	}
}
