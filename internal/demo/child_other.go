//go:build !linux

package demo

import (
	"context"
	"os"
	"os/exec"
	"time"
)

func setParts(*exec.Cmd) {}

func askToEnd(cmd *exec.Cmd) error { return cmd.Process.Kill() }

// watchParent ends the context when this process's keeper is gone.
func watchParent(ctx context.Context) (context.Context, context.CancelFunc) {
	parent := os.Getppid()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for ctx.Err() == nil && os.Getppid() == parent {
			rest(ctx, time.Second)
		}
		cancel()
	}()
	return ctx, cancel
}
