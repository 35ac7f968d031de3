package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"syscall"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// UDP holds the settings of checks of the kind udp.
type UDP struct {
	Send string `yaml:"send"` // one datagram
	// Expect is a regular expression that the answer must match. Without it no
	// answer is waited for: only a host that says that nothing listens fails.
	Expect string `yaml:"expect,omitempty"`
}

var udpKind = kind{
	schemes: []string{"udp"}, example: "udp://game.example.org:27015", port: portNeeded,
	section: func(c *Check) bool { return c.UDP != nil },
	validate: func(c *Check) error {
		if c.UDP == nil || c.UDP.Send == "" {
			return errors.New("udp.send: is missing; want the text of one datagram")
		}
		if len(c.UDP.Send) > 1400 {
			return fmt.Errorf("udp.send: has %d bytes; want at most 1400", len(c.UDP.Send))
		}
		if _, err := regexp.Compile(c.UDP.Expect); err != nil {
			return fmt.Errorf("udp.expect: %q: want a regular expression (RE2): %w", c.UDP.Expect, err)
		}
		return nil
	},
	prepare: func(c *Check) (any, error) { return regexp.Compile(c.UDP.Expect) },
	run:     runUDP,
}

// quietUDP is how long a host has to say that nothing listens, when no answer is
// expected.
const quietUDP = time.Second

func runUDP(r *run) {
	host, port := r.hostPort()
	hop := r.addHop(r.URL)
	hop.Phases[record.TLS].State = record.Skipped
	conn, f := r.openUDP(hop, host, port)
	if f != nil {
		r.fail(f, nil)
		return
	}
	defer conn.Close()
	start := time.Now()
	wants := r.UDP.Expect != ""
	if !wants {
		if soon := start.Add(quietUDP); soon.Before(r.res.Start.Add(r.limit)) {
			_ = conn.SetDeadline(soon) // a UDP socket always takes one
		}
	}
	_, err := conn.Write([]byte(r.UDP.Send))
	buf := make([]byte, 64<<10)
	n := 0
	if err == nil {
		n, err = conn.Read(buf)
	}
	answer := buf[:n]
	hop.Bytes = int64(n)
	switch {
	case err == nil:
		end(hop, record.Processing, start, false)
		hop.Phases[record.Transfer].State = record.Skipped
	case wasRefused(err):
		hop.Phases[record.Connect] = record.PhaseTime{State: record.Failed, Duration: time.Since(start)}
		r.fail(&failure{"connect", "refused", fmt.Sprintf("%s refused the datagram: nothing listens there", hop.Address)}, nil)
		return
	case timedOut(err) && !wants:
		hop.Phases[record.Processing].State, hop.Phases[record.Transfer].State = record.Skipped, record.Skipped
		r.fact("answer", "none was waited for; the host did not say that nothing listens")
	case timedOut(err), r.ctx.Err() != nil:
		end(hop, record.Processing, start, true)
		r.fail(&failure{"processing", "no_response", fmt.Sprintf("no answer came from %s within %s", hop.Address, short(r.limit))}, nil)
		return
	default:
		end(hop, record.Processing, start, true)
		r.fail(&failure{"processing", "no_response", fmt.Sprintf("no answer came from %s: %v", hop.Address, err)}, nil)
		return
	}
	if re := r.parsed.(*regexp.Regexp); wants && !re.Match(answer) {
		r.failSaying(&failure{"body", "body", fmt.Sprintf("the answer (%d bytes) does not match the regular expression %q", n, r.UDP.Expect)}, answer)
		return
	}
	r.judgePlain(answer)
}

// openUDP resolves a host and makes a socket to it; there is no connection whose
// making could take time.
func (r *run) openUDP(hop *record.Hop, host, port string) (net.Conn, *failure) {
	start := time.Now()
	addrs, literal, err := r.resolve(host)
	if literal {
		hop.Phases[record.Resolve].State = record.Skipped
	} else {
		end(hop, record.Resolve, start, err != nil)
	}
	if err != nil {
		return nil, r.resolveFailure(host, err)
	}
	address := net.JoinHostPort(addrs[0].String(), port)
	conn, err := net.Dial("udp", address)
	if err != nil {
		end(hop, record.Connect, start, true)
		return nil, r.connectFailure(address, 0, err)
	}
	hop.Address = address
	hop.Phases[record.Connect].State = record.Skipped
	deadline, _ := r.ctx.Deadline()
	_ = conn.SetDeadline(deadline) // a UDP socket always takes one
	uc := conn.(*net.UDPConn)
	return watchedUDP{uc, context.AfterFunc(r.outer, func() { uc.Close() })}, nil
}

// watchedUDP is a socket that is closed when nobody wants the run's result.
type watchedUDP struct {
	*net.UDPConn
	stop func() bool
}

func (w watchedUDP) Close() error {
	w.stop()
	return w.UDPConn.Close()
}

// wasRefused recognises the word of a host that nothing listens on a port.
func wasRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
