package demo

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"time"
)

// child is one process of the shop under its keeper.
type child struct {
	role    string
	exe     string
	args    []string
	env     []string // beside this process's own
	logFile string
	log     *slog.Logger
	crashes atomic.Int32
	pid     atomic.Int32 // 0 while it does not run
}

// stopLimit is how long a process may take to end after it was asked to.
const stopLimit = 3 * time.Second

// keepRunning starts the process, and again whenever it ends by itself, until
// ctx ends; then it ends the process and returns.
func (c *child) keepRunning(ctx context.Context) {
	// The kernel ends a process with the thread that made it (see setParts), so
	// this goroutine keeps its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		start := time.Now()
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		c.crashes.Add(1)
		if time.Since(start) > time.Minute {
			pause = 100 * time.Millisecond
		}
		c.log.Warn("a process of the shop ended and is started again", "role", c.role, "error", err, "after", pause, "log", c.logFile)
		rest(ctx, pause)
		pause = min(2*pause, 5*time.Second)
	}
}

func (c *child) once(ctx context.Context) error {
	out, err := os.OpenFile(c.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, c.exe, c.args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(append(os.Environ(), "GOMAXPROCS=1"), c.env...)
	cmd.WaitDelay = stopLimit
	setParts(cmd)
	cmd.Cancel = func() error { return askToEnd(cmd) }
	if err := cmd.Start(); err != nil {
		return err
	}
	c.pid.Store(int32(cmd.Process.Pid))
	defer c.pid.Store(0)
	return cmd.Wait()
}
