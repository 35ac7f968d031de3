package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is Vedette, built once.
var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	log.SetOutput(io.Discard) // go-metrics logs there, for as long as the tests run
	dir, err := os.MkdirTemp("", "vedette-clients-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "vedette")
	build := exec.Command("go", "build", "-o", program, "./cmd/vedette")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build Vedette: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// token is what every client of the test must send.
const token = "a-token-of-the-test"

// server is a running Vedette whose protocols have addresses of their own, which
// stay when it is started again.
type server struct {
	t    *testing.T
	dir  string
	url  string            // of the one port
	at   map[string]string // protocol to host:port
	cmd  *exec.Cmd
	said *bytes.Buffer
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), at: map[string]string{}, said: &bytes.Buffer{}}
	var conf strings.Builder
	fmt.Fprintf(&conf, "watch: false\nauth:\n  tokens:\n    - {name: test, token: %s, role: admin, tenant: default}\nstatsd: {flush: 1s}\nlisteners:\n", token)
	for _, p := range []string{"otlp_grpc", "otlp_http", "influx", "influx_udp", "opentsdb", "graphite", "graphite_pickle", "graphite_udp", "statsd", "health"} {
		s.at[p] = freeAddr(t)
		fmt.Fprintf(&conf, "  - {protocol: %s, address: '%s'}\n", p, s.at[p])
	}
	if err := os.WriteFile(filepath.Join(s.dir, "vedette.yml"), []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + freeAddr(t)
	s.start()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("Vedette said:\n%s", s.said)
		}
	})
	return s
}

// start starts the program on what is in its directory and waits until it is
// ready.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(program, "run", "--config", filepath.Join(s.dir, "vedette.yml"), "--data", filepath.Join(s.dir, "data"), "--listen", strings.TrimPrefix(s.url, "http://"))
	s.cmd.Stderr, s.cmd.Stdout = s.said, s.said
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(s.url + "/-/ready")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	s.kill()
	s.t.Fatalf("Vedette is not ready after 30 s; it said:\n%s", s.said)
}

// kill ends the process at once, as SIGKILL does.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // that it was killed is known
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// ask gets a path of the HTTP API and decodes the answer's data.
func (s *server) ask(path string, q url.Values, data any) error {
	req, err := http.NewRequest(http.MethodGet, s.url+path+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, b)
	}
	return json.Unmarshal(b, &struct{ Data any }{data})
}

// value is the newest value of the one series that expr finds in the last hour;
// ok is false for none.
func (s *server) value(expr string) (v float64, ok bool) {
	s.t.Helper()
	var data struct {
		Result []struct{ Value [2]any }
	}
	if err := s.ask("/api/v1/query", url.Values{"query": {"last_over_time(" + expr + "[1h])"}}, &data); err != nil {
		s.t.Fatalf("%s: %v", expr, err)
	}
	if len(data.Result) == 0 {
		return 0, false
	}
	if len(data.Result) > 1 {
		s.t.Fatalf("%s finds %d series", expr, len(data.Result))
	}
	v, err := strconv.ParseFloat(data.Result[0].Value[1].(string), 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return v, true
}

// want waits until each selector has its value.
func (s *server) want(values map[string]float64) {
	s.t.Helper()
	for expr, want := range values {
		var got float64
		ok := false
		for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if got, ok = s.value(expr); ok && got == want {
				break
			}
		}
		if !ok {
			s.t.Errorf("%s: nothing, want %v", expr, want)
		} else if got != want {
			s.t.Errorf("%s: got %v, want %v", expr, got, want)
		}
	}
}
