package probe

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/vedette-sre/vedette/internal/record"
)

// TCP holds the settings of checks of the kinds tcp and tls.
type TCP struct {
	// TLS speaks TLS from the beginning; kind tcp only.
	TLS bool `yaml:"tls,omitempty"`
	// StartTLS upgrades a plain session first: smtp, imap, pop3, ftp, ldap or
	// postgres.
	StartTLS string `yaml:"starttls,omitempty"`
	// Steps are what is said and what is waited for, in order; kind tcp only.
	Steps []TCPStep `yaml:"steps,omitempty"`
}

// TCPStep is one turn of a conversation. A step with both waits first and says
// then.
type TCPStep struct {
	// Expect is a regular expression of a line; lines before it are passed over.
	Expect string `yaml:"expect,omitempty"`
	// Send is said with a line's end; ${1} is what the first group of the last
	// Expect matched.
	Send string `yaml:"send,omitempty"`
	// StartTLS goes on over TLS after this step.
	StartTLS bool `yaml:"starttls,omitempty"`
}

var tcpKind = kind{
	schemes: []string{"tcp"}, example: "tcp://db.example.org:5432", port: portNeeded,
	section:  func(c *Check) bool { return c.TCP != nil },
	validate: validateTCP,
	prepare: func(c *Check) (any, error) {
		if c.TCP == nil {
			return []*regexp.Regexp(nil), nil
		}
		res := make([]*regexp.Regexp, len(c.TCP.Steps))
		for i, s := range c.TCP.Steps {
			if s.Expect == "" {
				continue
			}
			var err error
			if res[i], err = regexp.Compile(s.Expect); err != nil {
				return nil, fmt.Errorf("tcp.steps[%d].expect: %w", i, err)
			}
		}
		return res, nil
	},
	run: runTCP,
}

func validateTCP(c *Check) error {
	t := c.TCP
	if t == nil {
		t = &TCP{}
	}
	if c.Kind == "tls" && (t.TLS || len(t.Steps) > 0) {
		return errors.New("tcp.steps: a check of the kind tls makes the handshake and no more; want tcp:// with tls: true")
	}
	if t.StartTLS != "" && startTLS[t.StartTLS] == nil {
		return fmt.Errorf("tcp.starttls: %q: want smtp, imap, pop3, ftp, ldap or postgres", t.StartTLS)
	}
	if t.TLS && t.StartTLS != "" {
		return errors.New("tcp.starttls: is set beside tcp.tls; keep one")
	}
	if len(t.Steps) > 50 {
		return fmt.Errorf("tcp.steps: has %d steps; want at most 50", len(t.Steps))
	}
	talks := false
	for i, s := range t.Steps {
		if s.Expect == "" && s.Send == "" && !s.StartTLS {
			return fmt.Errorf("tcp.steps[%d]: is empty; want expect, send or starttls", i)
		}
		if _, err := regexp.Compile(s.Expect); err != nil {
			return fmt.Errorf("tcp.steps[%d].expect: %q: want a regular expression (RE2): %w", i, s.Expect, err)
		}
		talks = talks || s.Expect != ""
	}
	e := c.Expect
	if !talks && (e.BodyContains != "" || e.BodyNotContains != "" || e.BodyRegex != "" || e.BodyNotRegex != "") {
		return errors.New("expect.body_contains, body_not_contains, body_regex and body_not_regex: nothing is read without tcp.steps that expect something")
	}
	return nil
}

func runTCP(r *run) {
	t := TCP{}
	if r.TCP != nil {
		t = *r.TCP
	}
	host, port := r.hostPort()
	hop := r.addHop(r.URL)
	conn, f := r.open(hop, host, port)
	if f != nil {
		r.fail(f, nil)
		return
	}
	defer conn.Close()
	hop.Phases[record.TLS].State = record.Skipped
	if t.StartTLS != "" {
		if f := r.upgrade(hop, conn, t.StartTLS); f != nil {
			r.fail(f, nil)
			return
		}
	}
	stream := conn
	if t.TLS || t.StartTLS != "" {
		tc, f := r.secure(conn, hop, r.own, host)
		if f != nil {
			r.fail(f, nil)
			return
		}
		stream = tc
	}
	k := r.talkOver(stream, hop)
	rules := r.parsed.([]*regexp.Regexp)
	var groups []string
	for i, s := range t.Steps {
		last := ""
		for rules[i] != nil {
			line, f := k.line()
			if f != nil && last != "" && f.reason != "too_large" {
				// It spoke, in whole lines: what it said is wrong, not how long it took.
				f = &failure{"body", "body", fmt.Sprintf("the server said %q and nothing that matches %q (step %d of %d)", shorten(last, 200), s.Expect, i+1, len(t.Steps))}
				r.failSaying(f, k.said.Bytes())
				return
			}
			if f != nil {
				f.message = fmt.Sprintf("waiting for %q (step %d of %d): %s", s.Expect, i+1, len(t.Steps), f.message)
				r.failSaying(f, k.said.Bytes())
				return
			}
			if groups = rules[i].FindStringSubmatch(line); groups != nil {
				break
			}
			last = line
		}
		if s.Send != "" {
			if f := k.send([]byte(expandGroups(s.Send, groups) + "\r\n")); f != nil {
				r.failSaying(f, k.said.Bytes())
				return
			}
		}
		if s.StartTLS {
			tc, f := r.secure(k.conn, hop, r.own, host)
			if f != nil {
				r.failSaying(f, k.said.Bytes())
				return
			}
			k.over(tc)
		}
	}
	k.done()
	r.judgePlain(k.said.Bytes())
}

// expandGroups puts what groups matched where ${n} stands.
func expandGroups(s string, groups []string) string {
	for i, g := range groups {
		s = strings.ReplaceAll(s, fmt.Sprintf("${%d}", i), g)
	}
	return s
}
