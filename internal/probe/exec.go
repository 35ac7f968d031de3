package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Exec holds the settings of checks of the kind exec: a program of this machine,
// whose exit code is the verdict. It runs without a shell, with nothing on its
// standard input, and with a small environment.
type Exec struct {
	Command []string          `yaml:"command"`              // the program and its arguments
	Env     map[string]string `yaml:"env,omitempty"`        // beside PATH, HOME, LANG and TRACEPARENT
	Dir     string            `yaml:"dir,omitempty"`        // default the root directory
	Exit    []int             `yaml:"exit_codes,omitempty"` // that are good; default 0
}

var execKind = kind{
	example: "", section: func(c *Check) bool { return c.Exec != nil },
	target: func(c *Check) string {
		if c.Exec == nil || len(c.Exec.Command) == 0 {
			return "exec"
		}
		return "exec:" + c.Exec.Command[0]
	},
	validate: func(c *Check) error {
		x := c.Exec
		switch {
		case x == nil || len(x.Command) == 0 || x.Command[0] == "":
			return errors.New("exec.command: is missing; want a list of the program and its arguments")
		case slices.ContainsFunc(x.Command, func(a string) bool { return strings.ContainsRune(a, 0) }):
			return errors.New("exec.command: an argument holds a zero byte; want text")
		}
		for name := range x.Env {
			if name == "" || strings.ContainsAny(name, "=\x00") {
				return fmt.Errorf("exec.env: name %q: want a name without =", name)
			}
		}
		for _, code := range x.Exit {
			if code < 0 || code > 255 {
				return fmt.Errorf("exec.exit_codes: %d: want from 0 to 255", code)
			}
		}
		return nil
	},
	run: runExec,
}

// RunsCommands reports whether the check runs a program of the machine: then it
// may come from the machine's own configuration only.
func (c *Check) RunsCommands() bool { return c.Exec != nil || c.Kind == "exec" }

// limited keeps the first bytes of what is written and refuses the rest. The
// buffer is a field: embedded, its ReadFrom would know no limit.
type limited struct {
	buf  bytes.Buffer
	left int64
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		l.over = true
		l.buf.Write(p[:l.left])
		l.left = 0
		return 0, errTooLarge
	}
	l.left -= int64(len(p))
	return l.buf.Write(p)
}

func runExec(r *run) {
	x := r.Exec
	for name, v := range x.Env {
		if sensitive(name) {
			r.hidden = r.hidden.with(v)
		}
	}
	hop := r.addHop(r.Target())
	for _, ph := range []record.Phase{record.Resolve, record.Connect, record.TLS, record.Transfer} {
		hop.Phases[ph].State = record.Skipped
	}
	out, errw := &limited{left: r.MaxBodyBytes}, &limited{left: 64 << 10}
	cmd := exec.Command(x.Command[0], x.Command[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, errw, x.Dir
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LANG=C.UTF-8",
		"TRACEPARENT=00-" + r.res.TraceID + "-" + randomHex(8) + "-01", "VEDETTE_CHECK=" + r.Name}
	for name, v := range x.Env {
		cmd.Env = append(cmd.Env, name+"="+v)
	}
	// Its own group: what it started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // for those who hold its output open
	start := time.Now()
	if err := cmd.Start(); err != nil {
		end(hop, record.Processing, start, true)
		r.fail(&failure{"processing", "own_fault", fmt.Sprintf("the program %s cannot be started on this machine: %v", x.Command[0], err)}, nil)
		return
	}
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // gone already is fine
	stop := context.AfterFunc(r.ctx, kill)
	err := cmd.Wait()
	late := !stop()
	kill() // and its children
	took := time.Since(start)
	said := append(slices.Clone(out.buf.Bytes()), errw.buf.Bytes()...)
	hop.Bytes = int64(out.buf.Len())
	code := cmd.ProcessState.ExitCode()
	good := x.Exit
	if len(good) == 0 {
		good = []int{0}
	}
	hop.Phases[record.Processing] = record.PhaseTime{State: record.Done, Duration: took}
	if !late {
		r.value("probe_exec_exit_code", float64(code))
	}
	var f *failure
	switch {
	case late:
		hop.Phases[record.Processing].State = record.Failed
		f = &failure{"processing", "no_response", fmt.Sprintf("the program %s did not end within %s and was killed", x.Command[0], short(r.limit))}
	case out.over || errw.over:
		f = &failure{"transfer", "too_large", fmt.Sprintf("the program wrote more than %d bytes", r.MaxBodyBytes)}
	case code < 0:
		f = &failure{"status", "status", fmt.Sprintf("the program %s was ended by a signal: %v", x.Command[0], cmd.ProcessState)}
	case !slices.Contains(good, code):
		f = &failure{"status", "status", fmt.Sprintf("the program %s ended with the exit code %d; want %s", x.Command[0], code, strings.Trim(fmt.Sprint(good), "[]"))}
		if line := firstLine(said); line != "" {
			f.message += ": " + line
		}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		var ee *exec.ExitError
		if !errors.As(err, &ee) {
			f = &failure{"processing", "own_fault", fmt.Sprintf("the program %s could not be followed: %v", x.Command[0], err)}
		}
	}
	if f != nil {
		r.failSaying(f, said)
		return
	}
	r.judgePlain(out.buf.Bytes())
}

func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return shorten(string(line), 300)
}
