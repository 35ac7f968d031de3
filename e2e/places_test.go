package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPlaces runs a hub and two agents in network namespaces of their own: one
// is cut off for a while, a fault is seen from one place, then from two, and the
// hub and an agent are killed.
//
// The test runs again in a namespace of its own: links that come and go would
// disturb whatever else looks at the network of this machine.
func TestPlaces(t *testing.T) {
	ip := peer(t, "ip", "/usr/sbin/ip", "/sbin/ip")
	prog := os.Getenv("VEDETTE_TEST_PLACES")
	if prog == "" {
		outside(t, ip)
		return
	}
	const net24 = "10.77.13."
	sh := func(args ...string) error {
		out, err := exec.Command(ip, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	must := func(args ...string) {
		t.Helper()
		if err := sh(args...); err != nil {
			t.Fatal(err)
		}
	}
	places := []string{"hub", "eu", "ap"} // .2, .3, .4; the target is at .1
	clean := func() {
		for _, p := range places {
			_ = sh("netns", "del", "vedette-test-"+p) // may not be there
			_ = sh("link", "del", "vt-"+p)
		}
		_ = sh("link", "del", "vt-bridge")
	}
	clean()
	t.Cleanup(clean)
	must("link", "add", "vt-bridge", "type", "bridge")
	must("addr", "add", net24+"1/24", "dev", "vt-bridge")
	must("link", "set", "vt-bridge", "up")
	for i, p := range places {
		ns := "vedette-test-" + p
		must("netns", "add", ns)
		must("link", "add", "vt-"+p, "type", "veth", "peer", "name", "eth0", "netns", ns)
		must("link", "set", "vt-"+p, "master", "vt-bridge")
		must("link", "set", "vt-"+p, "up")
		must("-n", ns, "addr", "add", fmt.Sprint(net24, i+2, "/24"), "dev", "eth0")
		must("-n", ns, "link", "set", "eth0", "up")
		must("-n", ns, "link", "set", "lo", "up")
	}
	ln, err := net.Listen("tcp", net24+"1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "open") })}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })

	dir := t.TempDir()
	config := filepath.Join(dir, "vedette.yml")
	if err := os.WriteFile(config, []byte(`
listen: `+net24+`2:7575
watch: false
auth: {tokens: [{name: test, token: a-token-of-the-test, role: admin}]}
locations:
  - {name: eu, token: the-token-of-eu-0001}
  - {name: ap, token: the-token-of-ap-0001}
checks:
  - {name: shop, url: "http://`+ln.Addr().String()+`/", interval: 2s, timeout: 1s, alert: {quorum: 2 of 3}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(place string, env []string, args ...string) *process {
		p := &process{url: "http://" + net24 + "2:7575"}
		args = append([]string{"netns", "exec", "vedette-test-" + place, "env"}, append(env, append([]string{prog}, args...)...)...)
		p.start(t, ip, args...)
		return p
	}
	hub := run("hub", nil, "run", "--config", config, "--data", filepath.Join(dir, "data"))
	agent := func(place string) *process {
		return run(place, []string{"VEDETTE_TOKEN=the-token-of-" + place + "-0001"}, "agent", "--hub", hub.url, "--location", place, "--data", filepath.Join(dir, place))
	}
	agent("eu")
	ap := agent("ap")

	client := &http.Client{Timeout: 5 * time.Second}
	ask := func(path string, v any) error {
		req, err := http.NewRequest("GET", hub.url+path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer a-token-of-the-test")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			return fmt.Errorf("%s: %s %s", path, resp.Status, b)
		}
		return json.Unmarshal(b, v)
	}
	type placed struct{ Location, State string }
	type check struct {
		State, Text string
		Places      []placed
	}
	look := func() (c check) {
		var v struct{ Checks []check }
		if err := ask("/api/v1/checks", &v); err == nil && len(v.Checks) > 0 {
			return v.Checks[0]
		}
		return check{}
	}
	alerts := func() (names []string) {
		var v []struct{ Labels map[string]string }
		if err := ask("/api/v2/alerts", &v); err != nil {
			t.Fatal(err)
		}
		for _, a := range v {
			names = append(names, a.Labels["alertname"])
		}
		return names
	}
	isAt := func(place, state string) bool {
		return slices.Contains(look().Places, placed{place, state})
	}
	eventually(t, "up from three places", func() bool { return isAt("hub", "up") && isAt("eu", "up") && isAt("ap", "up") })

	// Cut off: noticed soon, nobody is paged, and the runs come home afterwards.
	cut := time.Now()
	must("link", "set", "vt-ap", "down")
	eventually(t, "the hub noticing the silence", func() bool { return isAt("ap", "silent") })
	if d := time.Since(cut); d > 14*time.Second {
		t.Errorf("a silent agent was noticed after %s", d)
	}
	for time.Since(cut) < 35*time.Second {
		if slices.Contains(alerts(), "CheckDown") {
			t.Fatal("paged because a place was cut off")
		}
		if s := look().State; s != "up" && s != "degraded" {
			t.Errorf("the check is %s while one place is cut off", s)
		}
		time.Sleep(time.Second)
	}
	must("link", "set", "vt-ap", "up")
	eventually(t, "ap being up again", func() bool { return isAt("ap", "up") && look().State == "up" })
	type oneRun struct {
		Start         time.Time
		Success, Late bool
		Extra         bool
	}
	runsOf := func(place string) (scheduled []oneRun, late int) {
		var v struct{ Runs []oneRun }
		if err := ask("/api/v1/checks/shop/runs?limit=1000&location="+place, &v); err != nil {
			t.Fatal(err)
		}
		for _, r := range v.Runs {
			if r.Late {
				late++
			}
			if !r.Extra {
				scheduled = append(scheduled, r)
			}
		}
		return scheduled, late
	}
	gapless := func(place string) {
		t.Helper()
		rs, _ := runsOf(place)
		seen := map[time.Time]bool{}
		for i, r := range rs {
			if seen[r.Start] {
				t.Errorf("%s: the run of %s is there twice", place, r.Start)
			}
			seen[r.Start] = true
			// Every two seconds; a busy machine may skip one run, and says so.
			if i > 0 && rs[i-1].Start.Sub(r.Start) > 4500*time.Millisecond {
				t.Errorf("%s: nothing between %s and %s", place, r.Start, rs[i-1].Start)
			}
		}
	}
	if _, late := runsOf("ap"); late < 5 {
		t.Errorf("%d late runs came home, want those of the time without a link", late)
	}
	gapless("ap")
	var series struct {
		Data struct{ Result []struct{ Values [][2]any } }
	}
	if err := ask(fmt.Sprintf("/api/v1/query_range?query=probe_success{location=%%22ap%%22}&start=%d&end=%d&step=2", cut.Add(10*time.Second).Unix(), cut.Add(25*time.Second).Unix()), &series); err != nil {
		t.Fatal(err)
	}
	if len(series.Data.Result) == 0 || len(series.Data.Result[0].Values) < 5 || series.Data.Result[0].Values[3][1] != "0" {
		t.Errorf("the series of the time without a link: %+v", series.Data.Result)
	}

	// A fault that one place sees is shown and not paged; from two it is.
	target := net24 + "1/32"
	must("-n", "vedette-test-ap", "route", "add", "unreachable", target)
	eventually(t, "ap seeing it down", func() bool { return isAt("ap", "down") })
	time.Sleep(5 * time.Second) // what would be paged is paged by then
	if c := look(); c.State != "degraded" || !strings.Contains(c.Text, "1 of 3 places (ap)") || !strings.Contains(c.Text, "no connection") || slices.Contains(alerts(), "CheckDown") {
		t.Errorf("a fault from one place: %+v, alerts %v", c, alerts())
	}
	must("-n", "vedette-test-eu", "route", "add", "unreachable", target)
	eventually(t, "being down from two places", func() bool { return look().State == "down" && slices.Contains(alerts(), "CheckDown") })
	must("-n", "vedette-test-eu", "route", "del", "unreachable", target)
	must("-n", "vedette-test-ap", "route", "del", "unreachable", target)
	eventually(t, "being up again", func() bool { return look().State == "up" })

	// Killed: nothing that was taken is lost, nothing comes twice.
	before, _ := runsOf("eu")
	for _, p := range []*process{hub, ap} {
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * time.Second)
	run("hub", nil, "run", "--config", config, "--data", filepath.Join(dir, "data"))
	agent("ap")
	eventually(t, "three places after the restart", func() bool { return look().State == "up" && isAt("eu", "up") && isAt("ap", "up") })
	after, _ := runsOf("eu")
	if len(after) < len(before) {
		t.Errorf("eu had %d runs before the hub was killed and has %d after", len(before), len(after))
	}
	gapless("eu")
}

// outside builds the program and runs the test in a new network namespace.
func outside(t *testing.T, ip string) {
	const ns = "vedette-test-net"
	_ = exec.Command(ip, "netns", "del", ns).Run() // of a run that was cut off
	if out, err := exec.Command(ip, "netns", "add", ns).CombinedOutput(); err != nil {
		t.Skipf("left out: network namespaces cannot be made here: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command(ip, "netns", "del", ns).Run() })
	prog := filepath.Join(t.TempDir(), "vedette")
	if out, err := exec.Command("go", "build", "-o", prog, "../cmd/vedette").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if out, err := exec.Command(ip, "-n", ns, "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	again := exec.Command(ip, "netns", "exec", ns, os.Args[0], "-test.run", "^TestPlaces$", "-test.v")
	again.Env = append(os.Environ(), "VEDETTE_TEST_PLACES="+prog)
	again.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := again.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
