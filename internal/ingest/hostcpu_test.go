package ingest

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestCPUForward(t *testing.T) {
	last := hostCPU{10, 0, 20, 1000, 5}
	if got, want := last.forward(hostCPU{11, 0, 20, 999.9, 4.5}), (hostCPU{11, 0, 20, 1000, 5}); got != want {
		t.Errorf("a little back: got %v, want %v", got, want)
	}
	anew := hostCPU{1, 0, 1, 2, 0}
	if got := last.forward(anew); got != anew {
		t.Errorf("a CPU that came back: got %v, want %v", got, anew)
	}
}

// A file system that hangs costs its limit once, and nothing until it answers.
func TestMountThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var st hostStuck
		answer := make(chan error)
		asked := 0
		ask := func(want error, took time.Duration) {
			t.Helper()
			start := time.Now()
			err := st.ask("/mnt", time.Second, func() error { asked++; return <-answer })
			if !errors.Is(err, want) || time.Since(start) != took {
				t.Errorf("got %v after %s, want %v after %s", err, time.Since(start), want, took)
			}
		}
		ask(errMountStuck, time.Second)
		ask(errMountStuck, 0)
		if err := st.ask("/other", time.Second, func() error { return syscall.EACCES }); !errors.Is(err, syscall.EACCES) {
			t.Errorf("another mount: got %v", err)
		}
		answer <- nil
		synctest.Wait()
		go func() { answer <- nil }()
		ask(nil, 0)
		if asked != 2 {
			t.Errorf("asked %d times, want 2", asked)
		}
	})
}
