package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// token is the one that the tests' configuration knows; its role is admin.
const token = "a-token-of-the-tests"

// program is the path of the built vedette.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vedette-clients-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "vedette")
	build := exec.Command("go", "build", "-o", program, "./cmd/vedette")
	build.Dir = "../.." // the other module
	code := 1
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build vedette: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir) // of the system's temporary ones
	os.Exit(code)
}

// server is a Vedette that can be killed and started again on its data. Doors
// keep their addresses, the one port does not.
type server struct {
	dir   string
	doors map[string]string // protocol to host:port
	url   string            // of the one port, of the present life
	cmd   *exec.Cmd
	errs  bytes.Buffer // what it logged in its present life
}

// doorProtocols are those with a listener of their own in these tests.
var doorProtocols = []string{"influx", "influx_udp", "opentsdb", "graphite", "graphite_pickle", "graphite_udp", "statsd", "otlp_grpc", "otlp_http"}

// newServer makes a server that is not started. settings are further lines of
// its configuration.
func newServer(t *testing.T, settings string) *server {
	t.Helper()
	v := &server{dir: t.TempDir(), doors: map[string]string{}}
	var c strings.Builder
	fmt.Fprintf(&c, "watch: false\nauth:\n  tokens: [{name: tests, token: %s, role: admin}]\nlisteners:\n", token)
	for _, p := range doorProtocols {
		v.doors[p] = freeAddr(t)
		fmt.Fprintf(&c, "  - {protocol: %s, address: '%s'}\n", p, v.doors[p])
	}
	if err := os.WriteFile(filepath.Join(v.dir, "vedette.yml"), []byte(c.String()+settings), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.kill()
		if t.Failed() {
			t.Logf("vedette said:\n%s", v.errs.String())
		}
	})
	return v
}

// freeAddr is an address of a port that is free for TCP and UDP and below those
// that the system gives to clients, so that it is still free after a restart.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprint("127.0.0.1:", 15000+rand.IntN(15000))
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		pc, err := net.ListenPacket("udp", addr)
		_ = ln.Close()
		if err != nil {
			continue
		}
		_ = pc.Close()
		return addr
	}
	t.Fatal("no free port from 15000 to 30000")
	return ""
}

// launch starts the process; ready waits until it serves.
func (v *server) launch() (stdout *bufio.Reader, err error) {
	v.errs.Reset()
	v.cmd = exec.Command(program, "run", "--config", filepath.Join(v.dir, "vedette.yml"), "--data", filepath.Join(v.dir, "data"), "--listen", "127.0.0.1:0")
	v.cmd.Stderr = &v.errs
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return bufio.NewReader(out), v.cmd.Start()
}

func (v *server) ready(stdout *bufio.Reader) error {
	line, err := stdout.ReadString('\n')
	if err != nil {
		return fmt.Errorf("no ready line: %w\n%s", err, v.errs.String())
	}
	f := strings.Fields(line)
	v.url = f[len(f)-1]
	return nil
}

func (v *server) start(t *testing.T) {
	t.Helper()
	out, err := v.launch()
	if err == nil {
		err = v.ready(out)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// kill is SIGKILL.
func (v *server) kill() {
	if v.cmd == nil || v.cmd.Process == nil {
		return
	}
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait() // killed: always an error
	v.cmd = nil
}

// point is a sample as the API tells it.
type point struct {
	ms    int64
	value float64
}

type answer struct {
	Status, Error string
	Data          struct {
		Result []struct {
			Metric    map[string]string
			Value     [2]json.RawMessage
			Values    [][2]json.RawMessage
			Histogram []json.RawMessage
			// Of a range selector over native histograms.
			Histograms []json.RawMessage
		}
	}
}

// ask is GET /api/v1/query of a Prometheus or a Vedette at base.
func ask(base, expr string, at time.Time) (*answer, error) {
	u := base + "/api/v1/query?" + url.Values{"query": {expr}, "time": {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)}}.Encode()
	req, err := http.NewRequest(http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	a := &answer{}
	if err := json.Unmarshal(b, a); err != nil || a.Status != "success" {
		return nil, fmt.Errorf("query %s: %s: %s", expr, resp.Status, b)
	}
	return a, nil
}

func series(metric map[string]string) string {
	var ls []string
	for k, v := range metric {
		if k != "__name__" {
			ls = append(ls, fmt.Sprintf("%s=%q", k, v))
		}
	}
	slices.Sort(ls)
	return metric["__name__"] + "{" + strings.Join(ls, ", ") + "}"
}

// vector is the answer to an instant query, sorted: a line a series, such as
// `up{job="a"} 1`, or `x{} count=3 sum=5 buckets=[1 2]` for a native histogram.
func vector(base, expr string, at time.Time) ([]string, error) {
	a, err := ask(base, expr, at)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, r := range a.Data.Result {
		value := ""
		if len(r.Histogram) == 2 {
			var h struct {
				Count, Sum string
				Buckets    [][4]any // boundary rule, lower, upper, count
			}
			if err := json.Unmarshal(r.Histogram[1], &h); err != nil {
				return nil, err
			}
			counts := []any{}
			for _, b := range h.Buckets {
				counts = append(counts, b[3])
			}
			value = fmt.Sprintf("count=%s sum=%s buckets=%v", h.Count, h.Sum, counts)
		} else if err := json.Unmarshal(r.Value[1], &value); err != nil {
			return nil, err
		}
		lines = append(lines, series(r.Metric)+" "+value)
	}
	slices.Sort(lines)
	return lines, nil
}

// history is the answer to a range selector: the points of each series.
func history(base, selector string, at time.Time) (map[string][]point, error) {
	a, err := ask(base, selector, at)
	if err != nil {
		return nil, err
	}
	m := map[string][]point{}
	for _, r := range a.Data.Result {
		for _, v := range r.Values {
			var sec float64
			var text string
			if err := json.Unmarshal(v[0], &sec); err != nil {
				return nil, err
			}
			if err := json.Unmarshal(v[1], &text); err != nil {
				return nil, err
			}
			f, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, err
			}
			k := series(r.Metric)
			m[k] = append(m[k], point{int64(sec*1000 + 0.5), f})
		}
	}
	return m, nil
}

// eventually gives what half a minute; it is tried every 50 ms and says what it saw.
func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	saw := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var done bool
		if done, saw = ok(); done {
			return
		}
	}
	t.Fatalf("%s did not come within half a minute; last seen:\n%s", what, saw)
}
