// Package demo is a small shop of real processes on loopback, with customers,
// traffic and faults that can be switched on, so that Vedette can be seen at
// work on something alive. It hides how the processes are started, kept alive
// and wired together: the one binary runs again and again, each time in another
// role (see Serve), and the files that Start writes are such as a user would
// have written for a system of his own.
package demo
