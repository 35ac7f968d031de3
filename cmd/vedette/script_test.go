package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript runs testdata/script: what the program does, as its user sees it.
// Besides testscript's own commands a script has
//
//	exits CODE program args...            run a program that must end with this code
//	start NAME args...                    run vedette in the background until it is ready; sets $URL and $ADDR,
//	                                      its log is $WORK/NAME.log
//	stop NAME [SIGNAL]                    end it; it must end by itself, with code 0, within two seconds
//	signal NAME SIGNAL
//	http METHOD PATH CODE [flags] [re...] ask $URL; -H 'Name: value' and -d BODY; every expression must match the
//	                                      answer's headers and body, those after ! must not; the body is in $WORK/body
//	eventually http ...                   the same, again and again for up to ten seconds
//	hold PATH                             ask $URL and leave the answer open, as a page of the UI does
//	logged NAME re...                     the log holds this, or will within ten seconds
//	write METRIC from count               remote-write count samples of 1, 2, 3, ... one a second from unix second from
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "start": start, "stop": stopIt, "signal": signalIt, "http": ask, "eventually": eventually,
			"logged": logged, "write": write, "hold": hold,
		},
		Setup: func(e *testscript.Env) error {
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/broken" {
					w.WriteHeader(http.StatusInternalServerError)
				}
				fmt.Fprintln(w, "hello")
			}))
			e.Defer(site.Close)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			e.Defer(func() { ln.Close() })
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			free.Close()
			e.Setenv("SITE", site.URL)
			e.Setenv("TAKEN", ln.Addr().String())
			e.Setenv("NOBODY", free.Addr().String())
			now := time.Now().Unix()
			e.Setenv("NOW", strconv.FormatInt(now, 10))
			e.Setenv("LATER", strconv.FormatInt(now+60, 10))
			e.Values[serversKey{}] = map[string]*server{}
			return nil
		},
	})
}

type serversKey struct{}

type server struct {
	cmd  *exec.Cmd
	log  string
	done chan error
}

func servers(ts *testscript.TestScript) map[string]*server {
	return ts.Value(serversKey{}).(map[string]*server)
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ee *exec.ExitError
		if !errors.As(err, &ee) {
			ts.Fatalf("%v", err)
		}
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("got exit code %d, want %d", got, want)
	}
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: start NAME args...")
	}
	name := args[0]
	dir, _, _ := strings.Cut(ts.Getenv("PATH"), string(os.PathListSeparator)) // where testscript put it
	path := filepath.Join(dir, "vedette")
	cmd := exec.Command(path, append([]string{"run"}, args[1:]...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "VEDETTE_TOKEN="+ts.Getenv("VEDETTE_TOKEN"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(ts.MkAbs(name + ".log"))
	ts.Check(err)
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s := &server{cmd: cmd, log: log.Name(), done: make(chan error, 1)}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() { s.done <- cmd.Wait() }()
	ts.Defer(func() { _ = cmd.Process.Kill() })
	if err != nil {
		b, _ := os.ReadFile(s.log)
		ts.Fatalf("no ready line: %v\n%s", err, b)
	}
	m := regexp.MustCompile(`^Vedette \S+ is ready after \d+ ms: (https?://(\S+))\n$`).FindStringSubmatch(line)
	if m == nil {
		ts.Fatalf("the ready line is %q", line)
	}
	servers(ts)[name] = s
	ts.Setenv("URL", m[1])
	ts.Setenv("ADDR", m[2])
}

func named(ts *testscript.TestScript, name string) *server {
	s := servers(ts)[name]
	if s == nil {
		ts.Fatalf("no server %q was started", name)
	}
	return s
}

func signalIt(ts *testscript.TestScript, neg bool, args []string) {
	sig := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}[args[1]]
	ts.Check(named(ts, args[0]).cmd.Process.Signal(sig))
}

func stopIt(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 1 {
		args = append(args, "TERM")
	}
	s := named(ts, args[0])
	signalIt(ts, false, args)
	select {
	case err := <-s.done:
		if err != nil {
			b, _ := os.ReadFile(s.log)
			ts.Fatalf("it ended with %v\n%s", err, b)
		}
	case <-time.After(2 * time.Second):
		ts.Fatalf("it did not end within two seconds")
	}
	delete(servers(ts), args[0])
}

func ask(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: http METHOD PATH CODE ...")
	}
	if err := try(ts, args); err != nil {
		ts.Fatalf("%v", err)
	}
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || args[0] != "http" {
		ts.Fatalf("usage: eventually http METHOD PATH CODE ...")
	}
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = try(ts, args[1:]); err == nil {
			return
		}
	}
	ts.Fatalf("for ten seconds: %v", err)
}

func hold(ts *testscript.TestScript, neg bool, args []string) {
	resp, err := http.Get(ts.Getenv("URL") + args[0])
	ts.Check(err)
	ts.Defer(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("%s: %s", args[0], resp.Status)
	}
}

func try(ts *testscript.TestScript, args []string) error {
	if len(args) < 3 {
		ts.Fatalf("usage: http METHOD PATH CODE [-H header] [-d body] [re...] [! re...]")
	}
	method, path, code, rest := args[0], args[1], args[2], args[3:]
	var body io.Reader
	header := http.Header{}
	var want, not []string
	for len(rest) > 0 {
		switch {
		case rest[0] == "-H" && len(rest) > 1:
			k, v, _ := strings.Cut(rest[1], ": ")
			header.Add(k, v)
			rest = rest[1:]
		case rest[0] == "-d" && len(rest) > 1:
			body = strings.NewReader(rest[1])
			rest = rest[1:]
		case rest[0] == "!":
			not = append(not, rest[1:]...)
			rest = rest[len(rest)-1:]
		default:
			want = append(want, rest[0])
		}
		rest = rest[1:]
	}
	req, err := http.NewRequest(method, ts.Getenv("URL")+path, body)
	ts.Check(err)
	req.Header = header
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	ts.Check(os.WriteFile(ts.MkAbs("body"), b, 0o600))
	var all bytes.Buffer
	_ = resp.Header.Write(&all)
	all.Write(b)
	if fmt.Sprint(resp.StatusCode) != code {
		return fmt.Errorf("%s %s: got code %d, want %s: %s", method, path, resp.StatusCode, code, all.String())
	}
	for _, re := range want {
		if !regexp.MustCompile("(?m)" + re).Match(all.Bytes()) {
			return fmt.Errorf("%s %s: nothing matches %q in: %s", method, path, re, all.String())
		}
	}
	for _, re := range not {
		if m := regexp.MustCompile("(?m)" + re).Find(all.Bytes()); m != nil {
			return fmt.Errorf("%s %s: %q is there and should not be: %s", method, path, m, all.String())
		}
	}
	return nil
}

func logged(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0] + ".log")
	for _, re := range args[1:] {
		rx := regexp.MustCompile(re)
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			b, err := os.ReadFile(path)
			ts.Check(err)
			found := rx.Match(b)
			if found && neg {
				ts.Fatalf("the log holds %q: %s", re, b)
			}
			if found || neg {
				break
			}
			if time.Now().After(end) {
				ts.Fatalf("the log has no %q: %s", re, b)
			}
		}
	}
}

func write(ts *testscript.TestScript, neg bool, args []string) {
	from, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	count, err := strconv.Atoi(args[2])
	ts.Check(err)
	series := prompb.TimeSeries{Labels: []prompb.Label{{Name: "__name__", Value: args[0]}}}
	for i := range count {
		series.Samples = append(series.Samples, prompb.Sample{Value: float64(i + 1), Timestamp: (from + int64(i)) * 1000})
	}
	req := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series}}
	b, err := req.Marshal()
	ts.Check(err)
	hr, err := http.NewRequest(http.MethodPost, ts.Getenv("URL")+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, b)))
	ts.Check(err)
	hr.Header.Set("Content-Encoding", "snappy")
	hr.Header.Set("Content-Type", "application/x-protobuf")
	hr.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	resp, err := http.DefaultClient.Do(hr)
	ts.Check(err)
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		b, _ := io.ReadAll(resp.Body)
		ts.Fatalf("remote write: %s: %s", resp.Status, b)
	}
}
