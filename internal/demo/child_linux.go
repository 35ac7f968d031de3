package demo

import (
	"context"
	"os/exec"
	"syscall"
)

// setParts gives the process a group of its own, so that Ctrl-C in a terminal
// reaches it through its keeper only, and lets the kernel end it with its
// keeper's thread, also when the keeper is killed.
func setParts(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func askToEnd(cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) }

// watchParent has nothing to do where the kernel watches.
func watchParent(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}
