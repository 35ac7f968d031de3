package probe

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/vedette-sre/vedette/internal/record"
)

// ICMP holds the settings of checks of the kind icmp.
type ICMP struct {
	Count        int     `yaml:"count,omitempty"`         // echo requests; default 1, at most 20
	PayloadBytes int     `yaml:"payload_bytes,omitempty"` // default 32
	TTL          int     `yaml:"ttl,omitempty"`           // default the system's
	MaxLoss      float64 `yaml:"max_loss,omitempty"`      // share of requests that may stay unanswered; default 0
}

var icmpKind = kind{
	schemes: []string{"icmp", "ping"}, example: "icmp://gateway.example.org",
	section: func(c *Check) bool { return c.ICMP != nil },
	validate: func(c *Check) error {
		if c.ICMP == nil {
			c.ICMP = &ICMP{}
		}
		i := c.ICMP
		if i.Count == 0 {
			i.Count = 1
		}
		if i.PayloadBytes == 0 {
			i.PayloadBytes = 32
		}
		switch {
		case i.Count < 1 || i.Count > 20:
			return fmt.Errorf("icmp.count: %d: want from 1 to 20", i.Count)
		case i.PayloadBytes < 16 || i.PayloadBytes > 8000:
			return fmt.Errorf("icmp.payload_bytes: %d: want from 16 to 8000", i.PayloadBytes)
		case i.TTL < 0 || i.TTL > 255:
			return fmt.Errorf("icmp.ttl: %d: want from 1 to 255", i.TTL)
		case !(i.MaxLoss >= 0 && i.MaxLoss < 1):
			return fmt.Errorf("icmp.max_loss: %g: want a share from 0 to 0.99", i.MaxLoss)
		}
		if e := c.Expect; e.BodyContains != "" || e.BodyNotContains != "" || e.BodyRegex != "" || e.BodyNotRegex != "" {
			return errors.New("expect.body_regex: an echo has no body")
		}
		return nil
	},
	run: runICMP,
}

func runICMP(r *run) {
	host := r.url.Hostname()
	hop := r.addHop(r.URL)
	hop.Phases[record.Connect].State, hop.Phases[record.TLS].State, hop.Phases[record.Transfer].State = record.Skipped, record.Skipped, record.Skipped
	start := time.Now()
	addrs, literal, err := r.resolve(host)
	if literal {
		hop.Phases[record.Resolve].State = record.Skipped
	} else {
		end(hop, record.Resolve, start, err != nil)
	}
	if err != nil {
		r.fail(r.resolveFailure(host, err), nil)
		return
	}
	hop.Address = addrs[0].String()
	setup := time.Now()
	e, err := newEcho(addrs[0], r.ICMP.TTL)
	if err != nil {
		r.fail(&failure{"connect", "own_fault", fmt.Sprintf("this machine may not send echo requests: %v; allow it with sysctl net.ipv4.ping_group_range=\"0 2147483647\", or give the program cap_net_raw", err)}, nil)
		return
	}
	defer e.conn.Close()
	r.value("probe_icmp_duration_seconds", hop.Phases[record.Resolve].Duration.Seconds(), "phase", "resolve")
	r.value("probe_icmp_duration_seconds", time.Since(setup).Seconds(), "phase", "setup")
	deadline, _ := r.ctx.Deadline()
	begun := time.Now()
	var got int
	var sum, low, high time.Duration
	low = math.MaxInt64
	var last error
	for seq := range r.ICMP.Count {
		// Each request gets its share of the time.
		until := time.Now().Add(time.Until(deadline) / time.Duration(r.ICMP.Count-seq))
		rtt, hops, err := e.exchange(seq, r.ICMP.PayloadBytes, until)
		if err != nil {
			last = err
			if r.ctx.Err() != nil {
				break
			}
			continue
		}
		got++
		sum += rtt
		low, high = min(low, rtt), max(high, rtt)
		if hops > 0 {
			r.value("probe_icmp_reply_hop_limit", float64(hops))
		}
	}
	loss := 1 - float64(got)/float64(r.ICMP.Count)
	hop.Phases[record.Processing] = record.PhaseTime{State: record.Done, Duration: time.Since(begun)}
	r.value("probe_icmp_loss_ratio", loss)
	if got > 0 {
		hop.Phases[record.Processing].Duration = sum / time.Duration(got)
		r.value("probe_icmp_duration_seconds", (sum / time.Duration(got)).Seconds(), "phase", "rtt")
		r.fact("round trip", fmt.Sprintf("%s on average, from %s to %s, %d of %d answered", short(sum/time.Duration(got)), short(low), short(high), got, r.ICMP.Count))
	}
	if loss > r.ICMP.MaxLoss {
		hop.Phases[record.Processing].State = record.Failed
		var un *unreachable
		switch {
		case errors.As(last, &un):
			hop.Phases[record.Connect] = record.PhaseTime{State: record.Failed, Duration: time.Since(begun)}
			hop.Phases[record.Processing] = record.PhaseTime{}
			r.fail(&failure{"connect", "unreachable", fmt.Sprintf("%s says about %s: %s", un.from, hop.Address, un.why)}, nil)
		case errors.Is(last, syscall.ENETUNREACH), errors.Is(last, syscall.EHOSTUNREACH):
			hop.Phases[record.Connect] = record.PhaseTime{State: record.Failed, Duration: time.Since(begun)}
			hop.Phases[record.Processing] = record.PhaseTime{}
			r.fail(&failure{"connect", "unreachable", fmt.Sprintf("there is no route to %s", hop.Address)}, nil)
		case got == 0 && last != nil && !timedOut(last):
			r.fail(&failure{"processing", "no_response", fmt.Sprintf("no echo came from %s: %v", hop.Address, last)}, nil)
		case got == 0:
			r.fail(&failure{"processing", "no_response", fmt.Sprintf("%s answers no echo request within %s: the host is down, or a firewall drops them", hop.Address, short(r.limit))}, nil)
		default:
			r.fail(&failure{"assertion", "loss", fmt.Sprintf("%d of %d echo requests to %s stayed unanswered; want at most %.0f %%", r.ICMP.Count-got, r.ICMP.Count, hop.Address, 100*r.ICMP.MaxLoss)}, nil)
		}
		return
	}
	if f := r.timeVerdict(time.Now()); f != nil {
		r.fail(f, nil)
		return
	}
	r.succeed()
}

// unreachable is what a router said.
type unreachable struct{ from, why string }

func (u *unreachable) Error() string { return u.from + ": " + u.why }

// echo is a socket for echo requests (RFC 792, RFC 4443) to one address.
type echo struct {
	conn  *icmp.PacketConn
	to    netip.Addr
	raw   bool
	id    int
	token [8]byte
}

// newEcho takes the socket that needs no right, else a raw one.
func newEcho(to netip.Addr, ttl int) (*echo, error) {
	e := &echo{to: to, id: os.Getpid() & 0xffff}
	copy(e.token[:], randomHex(4))
	unprivileged, raw, any := "udp4", "ip4:icmp", "0.0.0.0"
	if !to.Is4() {
		unprivileged, raw, any = "udp6", "ip6:ipv6-icmp", "::"
	}
	var err error
	if e.conn, err = icmp.ListenPacket(unprivileged, any); err != nil {
		if e.conn, err = icmp.ListenPacket(raw, any); err != nil {
			return nil, err
		}
		e.raw = true
	}
	if p := e.conn.IPv4PacketConn(); p != nil {
		_ = p.SetControlMessage(ipv4.FlagTTL, true) // without it the hops stay unknown
		if ttl > 0 {
			err = p.SetTTL(ttl)
		}
	} else if p := e.conn.IPv6PacketConn(); p != nil {
		_ = p.SetControlMessage(ipv6.FlagHopLimit, true)
		if ttl > 0 {
			err = p.SetHopLimit(ttl)
		}
	}
	if err != nil {
		e.conn.Close()
		return nil, err
	}
	return e, nil
}

// exchange sends one request and waits for its echo. hops is what the reply's
// TTL was, 0 when unknown.
func (e *echo) exchange(seq, size int, until time.Time) (rtt time.Duration, hops int, err error) {
	payload := make([]byte, size)
	copy(payload, e.token[:])
	payload[8], payload[9] = byte(seq>>8), byte(seq)
	var kind icmp.Type = ipv4.ICMPTypeEcho
	proto := 1
	if !e.to.Is4() {
		kind, proto = ipv6.ICMPTypeEchoRequest, 58
	}
	b, err := (&icmp.Message{Type: kind, Body: &icmp.Echo{ID: e.id, Seq: seq + 1, Data: payload}}).Marshal(nil)
	if err != nil {
		return 0, 0, err
	}
	var dst net.Addr = &net.UDPAddr{IP: e.to.AsSlice(), Zone: e.to.Zone()}
	if e.raw {
		dst = &net.IPAddr{IP: e.to.AsSlice(), Zone: e.to.Zone()}
	}
	if err := e.conn.SetDeadline(until); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if _, err := e.conn.WriteTo(b, dst); err != nil {
		return 0, 0, err
	}
	buf := make([]byte, 9000)
	for {
		n, ttl, from, err := e.read(buf)
		if err != nil {
			return 0, 0, err
		}
		m, err := icmp.ParseMessage(proto, buf[:n])
		if err != nil {
			continue // not for us
		}
		switch body := m.Body.(type) {
		case *icmp.Echo:
			reply := m.Type == ipv4.ICMPTypeEchoReply || m.Type == ipv6.ICMPTypeEchoReply
			if reply && len(body.Data) >= 10 && string(body.Data[:10]) == string(payload[:10]) {
				return time.Since(start), ttl, nil
			}
		case *icmp.DstUnreach:
			if holds(body.Data, payload) {
				return 0, 0, &unreachable{from, "destination unreachable" + codeWords(m)}
			}
		case *icmp.TimeExceeded:
			if holds(body.Data, payload) {
				return 0, 0, &unreachable{from, "the TTL ran out on the way"}
			}
		}
	}
}

func (e *echo) read(buf []byte) (n, ttl int, from string, err error) {
	var peer net.Addr
	if p := e.conn.IPv4PacketConn(); p != nil {
		var cm *ipv4.ControlMessage
		if n, cm, peer, err = p.ReadFrom(buf); cm != nil {
			ttl = cm.TTL
		}
	} else {
		var cm *ipv6.ControlMessage
		if n, cm, peer, err = e.conn.IPv6PacketConn().ReadFrom(buf); cm != nil {
			ttl = cm.HopLimit
		}
	}
	if peer != nil {
		from, _, _ = net.SplitHostPort(peer.String())
		if from == "" {
			from = peer.String()
		}
	}
	return n, ttl, from, err
}

// holds reports whether the quoted packet of an error is our request.
func holds(quoted, payload []byte) bool {
	return len(quoted) >= 10 && len(payload) >= 10 && (bytes.Contains(quoted, payload[:10]) || len(quoted) <= 28)
}

func codeWords(m *icmp.Message) string {
	if _, ok := m.Type.(ipv4.ICMPType); !ok {
		return ""
	}
	switch m.Code {
	case 0:
		return ": no route to its network"
	case 1:
		return ": the host does not answer its router"
	case 2, 3:
		return ": it does not take this protocol"
	case 4:
		return ": the packet is too large for the way"
	case 9, 10, 13:
		return ": forbidden by a firewall"
	}
	return ""
}
