package browser

import (
	"sync"
	"syscall"
)

// adoption makes this process the parent of orphans among its descendants, as
// long as a browser runs: where process 1 is no init that waits for them, those
// that a browser leaves would stay in the table of processes forever.
var adoption struct {
	sync.Mutex
	users int
}

func adopt() (done func()) {
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER, prctl(2)
	change := func(by int, value uintptr, when int) {
		adoption.Lock()
		defer adoption.Unlock()
		adoption.users += by
		if adoption.users == when {
			_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, value, 0) // cannot fail since Linux 3.4
		}
	}
	change(1, 1, 1)
	return func() { change(-1, 0, 0) }
}
