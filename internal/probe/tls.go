package probe

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

var tlsKind = kind{
	schemes: []string{"tls"}, example: "tls://shop.example.org:443", port: 443,
	section:  func(c *Check) bool { return c.TCP != nil },
	validate: validateTCP,
	run: func(r *run) {
		host, port := r.hostPort()
		hop := r.addHop(r.URL)
		conn, f := r.open(hop, host, port)
		if f == nil {
			defer conn.Close()
			if r.TCP != nil && r.TCP.StartTLS != "" {
				f = r.upgrade(hop, conn, r.TCP.StartTLS)
			}
		}
		if f == nil {
			_, f = r.secure(conn, hop, r.own, host)
		}
		if f == nil {
			hop.Phases[record.Processing].State, hop.Phases[record.Transfer].State = record.Skipped, record.Skipped
			f = r.timeVerdict(time.Now())
		}
		if f != nil {
			r.fail(f, nil)
			return
		}
		if t := hop.TLS; t != nil {
			r.value("probe_tls_certificate_not_after", float64(t.NotAfter.Unix()))
		}
		r.succeed()
	},
}

// upgrade asks a plain session to go on over TLS. Its time counts as part of the
// phase tls when the handshake follows, and is the failure of that phase when
// the server does not take it.
func (r *run) upgrade(hop *record.Hop, conn net.Conn, protocol string) *failure {
	start := time.Now()
	if err := startTLS[protocol](conn); err != nil {
		end(hop, record.TLS, start, true)
		switch {
		case timedOut(err), r.ctx.Err() != nil:
			return &failure{"tls", "tls_timeout", fmt.Sprintf("the server did not answer the request for TLS (%s) within %s", protocol, short(r.limit))}
		case wasReset(err):
			return &failure{"tls", "reset", fmt.Sprintf("the server cut the connection before TLS could begin (%s)", protocol)}
		case atEnd(err):
			return &failure{"tls", "reset", fmt.Sprintf("the server closed the connection before TLS could begin (%s)", protocol)}
		}
		return &failure{"tls", "tls_error", fmt.Sprintf("the server does not go over to TLS (%s): %v", protocol, err)}
	}
	return nil
}

// startTLS are the words by which plain sessions go over to TLS. Each reads no
// byte further than the server's consent.
var startTLS = map[string]func(net.Conn) error{
	// RFC 3207
	"smtp": func(c net.Conn) error {
		return firstAll(readReply(c, "220"), say(c, "EHLO vedette\r\n"), readReply(c, "250"), say(c, "STARTTLS\r\n"), readReply(c, "220"))
	},
	// RFC 4217
	"ftp": func(c net.Conn) error {
		return firstAll(readReply(c, "220"), say(c, "AUTH TLS\r\n"), readReply(c, "234"))
	},
	// RFC 2595
	"imap": func(c net.Conn) error {
		return firstAll(readPrefix(c, "* OK"), say(c, "v1 STARTTLS\r\n"), readPrefix(c, "v1 OK"))
	},
	"pop3": func(c net.Conn) error {
		return firstAll(readPrefix(c, "+OK"), say(c, "STLS\r\n"), readPrefix(c, "+OK"))
	},
	// SSLRequest of the PostgreSQL frontend/backend protocol 3.0
	"postgres": func(c net.Conn) error {
		return firstAll(say(c, "\x00\x00\x00\x08\x04\xd2\x16\x2f"), func() error {
			var b [1]byte
			if _, err := io.ReadFull(c, b[:]); err != nil {
				return err
			}
			if b[0] != 'S' {
				return fmt.Errorf("it answered %q; want S", b)
			}
			return nil
		})
	},
	// RFC 4511, section 4.14: an extended request for 1.3.6.1.4.1.1466.20037
	"ldap": func(c net.Conn) error {
		request := "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
		return firstAll(say(c, request), func() error {
			var head [2]byte
			if _, err := io.ReadFull(c, head[:]); err != nil {
				return err
			}
			n := int(head[1])
			if head[1]&0x80 != 0 { // a long length
				k := int(head[1] & 0x7f)
				if k == 0 || k > 2 {
					return fmt.Errorf("it answered what is no LDAP message")
				}
				var l [8]byte
				if _, err := io.ReadFull(c, l[8-k:]); err != nil {
					return err
				}
				n = int(binary.BigEndian.Uint64(l[:]))
			}
			body := make([]byte, n)
			if _, err := io.ReadFull(c, body); err != nil {
				return err
			}
			// messageID, then ExtendedResponse (0x78) with its resultCode first
			if len(body) < 8 || body[3] != 0x78 || head[0] != 0x30 {
				return fmt.Errorf("it answered what is no LDAP message")
			}
			at := 5
			if body[4]&0x80 != 0 {
				at += int(body[4] & 0x7f)
			}
			if at+2 >= len(body) || body[at] != 0x0a || body[at+2] != 0 {
				return fmt.Errorf("it refuses")
			}
			return nil
		})
	},
}

func firstAll(steps ...func() error) error {
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

func say(c net.Conn, text string) func() error {
	return func() error {
		_, err := io.WriteString(c, text)
		return err
	}
}

// readReply reads a reply of SMTP or FTP, several lines perhaps, and wants its
// code.
func readReply(c net.Conn, code string) func() error {
	return func() error {
		for range 100 {
			line, err := plainLine(c)
			if err != nil {
				return err
			}
			if !strings.HasPrefix(line, code) {
				return fmt.Errorf("it said %q; want %s", shorten(line, 200), code)
			}
			if len(line) <= 3 || line[3] != '-' {
				return nil
			}
		}
		return fmt.Errorf("its reply has more than 100 lines")
	}
}

// readPrefix reads lines until one begins with the tag of prefix, and wants the
// rest of it too.
func readPrefix(c net.Conn, prefix string) func() error {
	tag, _, _ := strings.Cut(prefix, " ")
	return func() error {
		for range 100 {
			line, err := plainLine(c)
			if err != nil {
				return err
			}
			if strings.HasPrefix(line, prefix) {
				return nil
			}
			if strings.HasPrefix(line, tag) || !strings.HasPrefix(line, "*") {
				return fmt.Errorf("it said %q; want %s", shorten(line, 200), prefix)
			}
		}
		return fmt.Errorf("it does not come to the point")
	}
}

// plainLine reads a line byte by byte: what follows it belongs to TLS.
func plainLine(c net.Conn) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < 4096 {
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return strings.TrimRight(string(line), "\r"), nil
		}
		line = append(line, b[0])
	}
	return "", fmt.Errorf("a line of more than 4096 bytes came")
}
