package notify_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/notify"
)

// crash ends the notifier as kill -9 would, as far as the disk can tell.
func (r *rig) crash() {
	r.Crash()
	r.stop()
}

// witness fires another alert and waits for it to arrive: by then every group
// that had something to tell has told it.
func (r *rig) witness(hook *fake, name string) {
	r.t.Helper()
	r.put(firing("alertname", name))
	if got := hook.next(r.t).json(r.t)["groupLabels"].(map[string]any)["alertname"]; got != name {
		r.t.Errorf("got a notification of %v, want only %s", got, name)
	}
}

func TestCrashBetweenDecisionAndDelivery(t *testing.T) {
	hook := newFake(t)
	file := filepath.Join(t.TempDir(), "state.db")
	r := open(t, file, webhookConfig(hook.URL))
	r.Hold("hook", "webhook[0]")
	r.run()
	a := firing("alertname", "Down")
	r.put(a)
	r.until("decided", func() bool { return r.outbox().Counts[notify.Pending] == 1 })
	r.crash()
	hook.quiet(t)

	r = open(t, file, webhookConfig(hook.URL)).run()
	if got := hook.next(t).json(t)["status"]; got != "firing" {
		t.Errorf("status: got %v want firing", got)
	}
	r.witness(hook, "Witness")
	if got := len(r.settled()); got != 2 {
		t.Errorf("rows: got %d want 2", got)
	}
	hook.quiet(t)

	// The next life neither repeats what was delivered nor forgets to say
	// that it is over.
	r.crash()
	r = open(t, file, webhookConfig(hook.URL)).run()
	r.witness(hook, "Second witness")
	r.put(resolved(a))
	if m := hook.next(t).json(t); m["status"] != "resolved" {
		t.Errorf("after the restart: %v", m)
	}
	r.settled()
	hook.quiet(t)
}

// The process dies after the row is written and before the notification log is:
// the next process decides the same again.
func TestCrashBetweenRowAndLog(t *testing.T) {
	hook := newFake(t)
	file := filepath.Join(t.TempDir(), "state.db")
	r := startOn(t, file, hook)
	r.put(firing("alertname", "Down"))
	hook.next(t)
	r.settled()
	r.crash()
	db := openDB(t, file)
	if _, err := db.Exec("DELETE FROM notify_log; UPDATE notify_outbox SET logged = 0"); err != nil {
		t.Fatal(err)
	}
	r = startOn(t, file, hook)
	r.witness(hook, "Witness")
	if got := len(r.settled()); got != 2 {
		t.Errorf("rows: got %d want 2", got)
	}
	hook.quiet(t)
}

func startOn(t *testing.T, file string, hook *fake) *rig {
	t.Helper()
	return open(t, file, webhookConfig(hook.URL)).run()
}

// A receiver without send_resolved hears of each firing, though the sets of the
// second are those of the first.
func TestFiresAgainWithoutSendResolved(t *testing.T) {
	hook := newFake(t)
	r := start(t, strings.Replace(webhookConfig(hook.URL), "send_resolved: true", "send_resolved: false", 1))
	a := firing("alertname", "Down")
	r.put(a)
	hook.next(t)
	r.put(resolved(a))
	// The end passes the pipeline without a message.
	r.until("the end is decided", func() bool { return r.alertmanager("alertmanager_notifications_total", "integration", "webhook") == 2 })
	r.put(firing("alertname", "Down"))
	if got := hook.next(t).json(t)["status"]; got != "firing" {
		t.Errorf("status: got %v want firing", got)
	}
	if got := len(r.settled()); got != 2 {
		t.Errorf("rows: got %d want 2", got)
	}
}

// What was being sent when the process died is sent again with the same key.
func TestCrashDuringAttempt(t *testing.T) {
	hook := newFake(t)
	keys := make(chan string, 10)
	release := make(chan struct{})
	hook.answers(func(w http.ResponseWriter, r request) {
		keys <- r.header.Get("Idempotency-Key")
		<-release
	})
	file := filepath.Join(t.TempDir(), "state.db")
	r := startOn(t, file, hook)
	r.put(firing("alertname", "Down"))
	first := <-keys
	r.Crash()
	close(release)
	r.stop()
	r = startOn(t, file, hook)
	if second := <-keys; second != first {
		t.Errorf("key of the second attempt: got %s want %s", second, first)
	}
	row := r.settled()[0]
	if len(row.Attempts) != 2 || !strings.Contains(row.Attempts[0].Error, "process ended") || row.Attempts[1].Error != "" {
		t.Errorf("attempts: %+v", row.Attempts)
	}
}

// A restart after the end of a firing alert has passed is not a recovery; an
// alert that timed out before is not fired again.
func TestRestartIsNoRecovery(t *testing.T) {
	hook := newFake(t)
	file := filepath.Join(t.TempDir(), "state.db")
	r := startOn(t, file, hook)
	a := firing("alertname", "Down")
	a.EndsAt = time.Now().Add(300 * time.Millisecond)
	r.put(a)
	hook.next(t)
	r.settled()
	r.crash()
	time.Sleep(time.Until(a.EndsAt)) // the process is away; there is no clock to turn

	r = startOn(t, file, hook)
	if got := len(r.Alerts(t.Context())); got != 1 {
		t.Errorf("alerts after the restart: got %d want 1", got)
	}
	// Nobody sends it again, so in the end it is over, once.
	if got := hook.next(t).json(t)["status"]; got != "resolved" {
		t.Errorf("status: got %v want resolved", got)
	}
	r.settled()
	r.crash()
	r = startOn(t, file, hook)
	if got := len(r.Alerts(t.Context())); got != 0 {
		t.Errorf("alerts after the second restart: got %d want 0", got)
	}
	r.witness(hook, "Witness")
	hook.quiet(t)
}

// helperEnv makes the test binary a process to be killed.
const helperEnv = "VEDETTE_NOTIFY_TEST_DB"

// TestHelperProcess is the process that TestKill kills. It prints the name of
// each alert after Put has returned.
func TestHelperProcess(t *testing.T) {
	file := os.Getenv(helperEnv)
	if file == "" {
		t.Skip("only as a child of TestKill")
	}
	r := open(t, file, os.Getenv("VEDETTE_NOTIFY_TEST_CONFIG")).run()
	for i := 0; ; i++ {
		name := fmt.Sprintf("Alert%d_%d", os.Getpid(), i)
		a := firing("alertname", name)
		a.EndsAt = time.Now().Add(time.Hour)
		if err := r.Put(context.Background(), a); err != nil {
			t.Fatal(err)
		}
		fmt.Println("took", name)
		time.Sleep(2 * time.Millisecond)
	}
}

// Nothing that Put took is lost by kill -9, and a repeat has the key of its
// first.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for seconds")
	}
	hook := newFake(t)
	file := filepath.Join(t.TempDir(), "state.db")
	// Hundreds of groups that flush each 20ms leave no time to deliver.
	config := strings.Replace(webhookConfig(hook.URL), "group_interval: 20ms", "group_interval: 1m", 1)
	var took []string
	for round := range 6 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$", "-test.v")
		cmd.Env = append(os.Environ(), helperEnv+"="+file, "VEDETTE_NOTIFY_TEST_CONFIG="+config)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); {
			if name, ok := strings.CutPrefix(lines.Text(), "took "); ok {
				took = append(took, name)
				if n++; n == 5+17*round {
					if err := cmd.Process.Kill(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		_ = cmd.Wait() // killed
	}
	r := open(t, file, config).run()
	told := make(map[string]map[string]bool) // keys by alert
	repeats := 0
	note := func(req request) {
		m := req.json(t)
		name := fmt.Sprint(m["groupLabels"].(map[string]any)["alertname"])
		if told[name] == nil {
			told[name] = map[string]bool{}
		} else {
			repeats++
		}
		told[name][req.header.Get("Idempotency-Key")] = true
	}
	missing := func() (out []string) {
		for len(hook.got) > 0 {
			note(<-hook.got)
		}
		for _, name := range took {
			if told[name] == nil {
				out = append(out, name)
			}
		}
		return out
	}
	for end := time.Now().Add(patience); len(missing()) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not told of %d of %d alerts: %v; outbox %v", len(missing()), len(took), missing(), r.outbox().Counts)
		}
	}
	r.settled()
	for len(hook.got) > 0 {
		note(<-hook.got)
	}
	for name, keys := range told {
		if len(keys) != 1 {
			t.Errorf("%s was told under %d keys", name, len(keys))
		}
	}
	t.Logf("%d alerts taken, %d told, %d repeats with the same key", len(took), len(told), repeats)
	if repeats > 6*8 {
		t.Errorf("%d repeats, want at most one for each attempt in flight at a kill", repeats)
	}
}

func groupCount(t *testing.T, r *rig) int {
	t.Helper()
	return len(getJSON[[]any](t, r, "/api/v2/alerts/groups"))
}
