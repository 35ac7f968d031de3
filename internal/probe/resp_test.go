package probe_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
)

// Whatever a server says, the check ends with a verdict.
func FuzzRedisAnswer(f *testing.F) {
	for _, s := range []string{"+PONG\r\n", "$-1\r\n", "$3\r\nab", "*2\r\n:1\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "-ERR\r\n", "\r\n", "$999999999999\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		addr := serveTCP(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 100))
			_, _ = c.Write(answer)
		})
		r := probe.Once(context.Background(), probe.Check{Name: "x", URL: "redis://" + addr, Timeout: 3 * time.Second, MaxBodyBytes: 4096})
		if r.Success != (r.Reason == "") || !r.Success && r.Message == "" {
			t.Errorf("%q: %+v", answer, r)
		}
	})
}
