package probe

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/vedette-sre/vedette/internal/record"
)

// SSH holds the settings of checks of the kind ssh: the server's banner and its
// host key. Nobody logs in.
type SSH struct {
	Banner  string `yaml:"banner,omitempty"`   // regular expression of the identification string
	HostKey string `yaml:"host_key,omitempty"` // fingerprint, such as SHA256:...; default any
}

var sshKind = kind{
	schemes: []string{"ssh"}, example: "ssh://bastion.example.org", port: 22,
	section: func(c *Check) bool { return c.SSH != nil },
	validate: func(c *Check) error {
		if c.SSH == nil {
			c.SSH = &SSH{}
		}
		if _, err := regexp.Compile(c.SSH.Banner); err != nil {
			return fmt.Errorf("ssh.banner: %q: want a regular expression (RE2): %w", c.SSH.Banner, err)
		}
		if k := c.SSH.HostKey; k != "" && !strings.HasPrefix(k, "SHA256:") {
			return fmt.Errorf("ssh.host_key: %q: want a fingerprint such as SHA256:... (ssh-keygen -lf)", k)
		}
		return nil
	},
	prepare: func(c *Check) (any, error) { return regexp.Compile(c.SSH.Banner) },
	run:     runSSH,
}

// errSeen ends a key exchange once the key is known.
var errSeen = errors.New("the key is known")

func runSSH(r *run) {
	host, port := r.hostPort()
	hop := r.addHop(r.URL)
	hop.Phases[record.TLS].State = record.Skipped
	conn, f := r.open(hop, host, port)
	if f != nil {
		r.fail(f, nil)
		return
	}
	defer conn.Close()
	k := r.talkOver(conn, hop)
	// RFC 4253, section 4.2: lines may come before the identification string.
	banner := ""
	for range 50 {
		if banner, f = k.line(); f != nil {
			r.failSaying(f, k.said.Bytes())
			return
		}
		if strings.HasPrefix(banner, "SSH-") {
			break
		}
	}
	if !strings.HasPrefix(banner, "SSH-") {
		hop.Phases[record.Processing].State = record.Failed
		r.failSaying(&failure{"processing", "bad_reply", "the server does not speak SSH"}, k.said.Bytes())
		return
	}
	r.fact("banner", banner)
	if !r.parsed.(*regexp.Regexp).MatchString(banner) {
		r.failSaying(&failure{"body", "body", fmt.Sprintf("the server says %q; want it to match %q", shorten(banner, 200), r.SSH.Banner)}, k.said.Bytes())
		return
	}
	k.done()
	// The key is asked for in a session of its own: the first has been read.
	if f := r.hostKey(host, port); f != nil {
		r.failSaying(f, k.said.Bytes())
		return
	}
	r.judgePlain(k.said.Bytes())
}

// hostKey makes a key exchange and compares the key; the login that follows is
// not tried.
func (r *run) hostKey(host, port string) *failure {
	hop := r.addHop(r.URL)
	hop.Phases[record.TLS].State = record.Skipped
	conn, f := r.open(hop, host, port)
	if f != nil {
		return f
	}
	defer conn.Close()
	start := time.Now()
	fingerprint := ""
	_, _, _, err := ssh.NewClientConn(conn, host, &ssh.ClientConfig{
		User: "vedette", HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			fingerprint = ssh.FingerprintSHA256(key)
			r.fact("host key", key.Type()+" "+fingerprint)
			return errSeen
		},
	})
	end(hop, record.Processing, start, fingerprint == "")
	hop.Phases[record.Transfer].State = record.Skipped
	switch {
	case fingerprint == "" && (timedOut(err) || r.ctx.Err() != nil):
		return &failure{"processing", "no_response", fmt.Sprintf("the server did not finish the key exchange within %s", short(r.limit))}
	case fingerprint == "":
		return &failure{"processing", "bad_reply", fmt.Sprintf("the key exchange failed: %v", err)}
	case r.SSH.HostKey != "" && r.SSH.HostKey != fingerprint:
		return &failure{"assertion", "host_key", fmt.Sprintf("the host key is %s; want %s: another machine answers, or the key was changed", fingerprint, r.SSH.HostKey)}
	}
	return nil
}
