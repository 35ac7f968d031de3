package browser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// executables are the names under which a Chromium is looked for.
var executables = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// find returns the browser's executable.
func find(set string) (string, error) {
	if set != "" {
		path, err := exec.LookPath(set)
		if err != nil {
			return "", fmt.Errorf("the browser %s cannot be run: %w", set, err)
		}
		return path, nil
	}
	for _, name := range executables {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chromium on this machine; install the package chromium (apt-get install chromium)")
}

// process is a running browser with its profile.
type process struct {
	cmd     *exec.Cmd
	profile string
	in, out *os.File // our ends of the protocol's pipes
	said    tail     // on standard error
	before  func()
}

// roots are where profiles may be, the best first. Chromium puts a socket into
// its directory for temporary files, whose whole path may have 107 bytes; 74 of
// them come after the root.
func roots() []string {
	dir := os.TempDir()
	if len(dir) > 107-74 && dir != "/tmp" && isDir("/tmp") {
		return []string{"/tmp", dir}
	}
	return []string{dir}
}

const profilePrefix = "vedette-browser-"

// sandboxless reports that Chromium refuses its sandbox here.
func sandboxless() bool { return os.Geteuid() == 0 }

func arguments(s *Script, profile string) []string {
	args := []string{
		"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + profile,
		"--no-first-run", "--no-default-browser-check", "--disable-extensions", "--disable-default-apps",
		// Nothing but what the page asks for.
		"--disable-background-networking", "--disable-component-update", "--disable-domain-reliability", "--disable-sync", "--no-pings",
		"--disable-breakpad", "--disable-crash-reporter", "--metrics-recording-only", "--disable-client-side-phishing-detection",
		// The other kinds of checks go no proxy that the environment names either.
		"--no-proxy-server",
		"--password-store=basic", "--use-mock-keychain", "--mute-audio", "--hide-scrollbars", "--force-color-profile=srgb", "--disable-notifications",
		// A page that nobody looks at is as quick as one that is looked at.
		"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
		// Memory: no process for each site, which also lets the requests of frames be seen; a page's scripts get 512 MB.
		"--disable-gpu", "--disable-dev-shm-usage", "--renderer-process-limit=2", "--js-flags=--max-old-space-size=512", "--disk-cache-size=33554432",
		"--disable-site-isolation-trials",
		"--disable-features=site-per-process,IsolateOrigins,Translate,MediaRouter,OptimizationHints,AutofillServerCommunication,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,PaintHolding",
		fmt.Sprintf("--window-size=%d,%d", s.Width, s.Height),
	}
	if sandboxless() {
		args = append(args, "--no-sandbox")
	}
	return append(args, "about:blank")
}

// environment is what the browser sees of ours: nothing that could hold a
// credential.
func environment(profile string) []string {
	env := []string{"HOME=" + profile, "TMPDIR=" + profile, "XDG_CONFIG_HOME=" + profile, "XDG_CACHE_HOME=" + profile}
	for _, name := range []string{"PATH", "LANG", "LC_ALL", "TZ", "FONTCONFIG_PATH", "FONTCONFIG_FILE", "LD_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// start runs a browser; stop ends it.
func start(executable string, s *Script) (_ *process, err error) {
	p := &process{}
	if p.profile, err = os.MkdirTemp(roots()[0], fmt.Sprintf("%s%d-", profilePrefix, os.Getpid())); err != nil {
		return nil, err
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		os.RemoveAll(p.profile)
		return nil, err
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		ourOut.Close()
		os.RemoveAll(p.profile)
		return nil, err
	}
	p.in, p.out = ourIn, ourOut
	if err := p.furnish(); err != nil {
		p.in.Close()
		p.out.Close()
		theirIn.Close()
		theirOut.Close()
		os.RemoveAll(p.profile)
		return nil, err
	}
	if home, err := os.UserHomeDir(); err == nil {
		// Authorities that the user of this process added are trusted.
		if own := filepath.Join(home, ".pki"); isDir(own) {
			_ = os.Symlink(own, filepath.Join(p.profile, ".pki")) // without it they are not trusted, and the run says so
		}
	}
	p.cmd = exec.Command(executable, arguments(s, p.profile)...)
	p.cmd.Env, p.cmd.Dir = environment(p.profile), p.profile
	p.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // descriptors 3 and 4, as the protocol wants
	p.cmd.Stderr = &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = 2 * time.Second
	p.before = adopt()
	err = p.cmd.Start()
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		p.before()
		p.in.Close()
		p.out.Close()
		os.RemoveAll(p.profile)
		return nil, err
	}
	return p, nil
}

// furnish writes the settings of the profile that no argument has: connections
// are opened when they are needed and not on suspicion, so that the first
// request shows what its connection cost.
func (p *process) furnish() error {
	dir := filepath.Join(p.profile, "Default")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	const never = `{"net":{"network_prediction_options":2},"search":{"suggest_enabled":false},"safebrowsing":{"enabled":false},"credentials_enable_service":false}`
	return os.WriteFile(filepath.Join(dir, "Preferences"), []byte(never), 0o600)
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// stop kills the browser with all its children, waits until none is left and
// removes the profile. It returns what it could not do.
func (p *process) stop() error {
	group := p.cmd.Process.Pid
	strays := append(descendants(group), named(p.profile)...)
	_ = syscall.Kill(-group, syscall.SIGKILL) // gone already is well
	for _, pid := range strays {
		if g, err := syscall.Getpgid(pid); err == nil && g != group {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	p.in.Close()
	p.out.Close()
	_ = p.cmd.Wait() // "killed"
	err := reap(group, strays)
	p.before()
	// A child may write into the profile as it dies.
	for range 20 {
		if rerr := os.RemoveAll(p.profile); rerr == nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.Join(err, os.RemoveAll(p.profile))
}

// reap waits until no process of the group and no stray is left: those that
// became ours are taken from the table of processes, the others are taken by
// init.
func reap(group int, strays []int) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		for {
			pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil)
			if err == nil && pid > 0 || errors.Is(err, syscall.EINTR) {
				continue
			}
			break
		}
		left := !errors.Is(syscall.Kill(-group, 0), syscall.ESRCH)
		for _, pid := range strays {
			if parent(pid) == os.Getpid() && pid != group {
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // asked again if it was too early
			}
			left = left || parent(pid) == os.Getpid()
		}
		if !left {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the browser's process group %d did not end", group)
		}
	}
}

// parent is the parent of a process, 0 when there is no such process.
func parent(pid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name stands in brackets and may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

// descendants are the processes below one.
func descendants(of int) (out []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pp := parent(pid)
			children[pp] = append(children[pp], pid)
		}
	}
	for todo := []int{of}; len(todo) > 0; todo = todo[1:] {
		out = append(out, children[todo[0]]...)
		todo = append(todo, children[todo[0]]...)
	}
	return out
}

// named are the processes that have a profile among their arguments: some
// leave the group and their parent, such as the handler of crashes.
func named(profile string) (out []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline") // may be gone
			if bytes.Contains(line, []byte(profile)) {
				out = append(out, pid)
			}
		}
	}
	return out
}

// sweep removes profiles that a killed process left behind.
func sweep() {
	var dirs []string
	for _, root := range roots() {
		in, _ := filepath.Glob(filepath.Join(root, profilePrefix+"*"))
		dirs = append(dirs, in...)
	}
	for _, dir := range dirs {
		name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), profilePrefix), "-")
		pid, err := strconv.Atoi(name)
		fi, serr := os.Lstat(dir)
		if err != nil || serr != nil || !fi.IsDir() || time.Since(fi.ModTime()) < time.Hour {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // tried again at the next start
		}
	}
}

// tail keeps the last of what is written.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if n := len(t.b); n > 2000 {
		t.b = append(t.b[:0], t.b[n-2000:]...)
	}
	return len(b), nil
}

// last is the line that says why it ended, or the last one.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	why := ""
	for _, l := range strings.Split(strings.TrimSpace(string(t.b)), "\n") {
		if !strings.Contains(why, ":FATAL:") && (why == "" || !strings.Contains(l, "crashpad")) {
			why = l
		}
	}
	return why
}

// gone waits a moment for the process to end by itself.
func (p *process) gone(ctx context.Context) bool {
	for range 20 {
		if ctx.Err() != nil {
			return false
		}
		if state(p.cmd.Process.Pid) == 'Z' {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// state is the letter that ps shows, 0 when there is no such process.
func state(pid int) byte {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	rest := bytes.TrimSpace(b[bytes.LastIndexByte(b, ')')+1:])
	if len(rest) == 0 {
		return 0
	}
	return rest[0]
}
