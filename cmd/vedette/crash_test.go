package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestDecidedNotificationSurvivesKill kills the whole program between the
// decision to notify and the delivery: the receiver is down, the outbox holds
// the notification, the process gets SIGKILL. After a restart the receiver gets
// it, once.
func TestDecidedNotificationSurvivesKill(t *testing.T) {
	if testing.Short() {
		t.Skip("left out: takes half a minute")
	}
	dir := t.TempDir()
	target := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })}
	tl := listen(t)
	go target.Serve(tl)
	defer target.Close()
	hookAddr := "127.0.0.1:" + port(t)

	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rules.yml", `groups: [{name: g, interval: 1s, rules: [{alert: ShopDown, expr: 'probe_success{check="shop"} == 0', for: 2s}]}]`)
	write("prometheus.yml", "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n")
	write("alertmanager.yml", fmt.Sprintf("route: {receiver: r, group_wait: 1s, group_interval: 2s, repeat_interval: 4h}\nreceivers: [{name: r, webhook_configs: [{url: 'http://%s/hook'}]}]\n", hookAddr))
	write("vedette.yml", fmt.Sprintf("prometheus: prometheus.yml\nalertmanager: alertmanager.yml\nchecks: [{name: shop, url: 'http://%s/', interval: 1s, alert: {severity: none}}]\n", tl.Addr()))

	prog := build(t, dir)
	v := launch(t, prog, dir)
	v.eventually(t, 30*time.Second, "a pending notification", func() bool { return v.outbox(t, "pending")+v.outbox(t, "sending") == 1 })
	if err := v.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = v.cmd.Wait() // killed: always an error

	var mu sync.Mutex
	keys := map[string]int{}
	hook := http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if strings.Contains(string(b), `"status":"firing"`) {
			mu.Lock()
			keys[r.Header.Get("Idempotency-Key")]++
			mu.Unlock()
		}
	})}
	hl, err := net.Listen("tcp", hookAddr)
	if err != nil {
		t.Fatal(err)
	}
	go hook.Serve(hl)
	defer hook.Close()

	v = launch(t, prog, dir)
	v.eventually(t, 30*time.Second, "the delivery", func() bool { return v.outbox(t, "delivered") == 1 })
	// Several group intervals later it is still the one.
	time.Sleep(6 * time.Second)
	mu.Lock()
	defer mu.Unlock()
	if len(keys) != 1 {
		t.Fatalf("the receiver got %d different notifications, want 1: %v", len(keys), keys)
	}
	for k, n := range keys {
		if n != 1 || k == "" {
			t.Errorf("the notification with key %q came %d times, want once", k, n)
		}
	}
}

type running struct {
	cmd *exec.Cmd
	url string
}

// launch starts the program and waits until it answers.
func launch(t *testing.T, prog, dir string) *running {
	t.Helper()
	cmd := exec.Command(prog, "run", "--config", filepath.Join(dir, "vedette.yml"), "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("no ready line: %v\n%s", err, errs.String())
	}
	f := strings.Fields(line)
	return &running{cmd, f[len(f)-1]}
}

func (v *running) outbox(t *testing.T, status string) int {
	t.Helper()
	resp, err := http.Get(v.url + "/api/v1/outbox")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	var page struct{ Counts map[string]int }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	return page.Counts[status]
}

func (v *running) eventually(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s did not come within %s", what, d)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func port(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	_, p, _ := net.SplitHostPort(ln.Addr().String())
	return p
}

// build makes the program in dir: the go command's cache makes it cheap.
func build(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "vedette")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}
