package probe

import (
	"fmt"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// SMTP holds the settings of checks of the kind smtp: greeting, EHLO, STARTTLS
// and QUIT (RFC 5321, RFC 3207). No mail is sent.
type SMTP struct {
	StartTLS bool   `yaml:"starttls,omitempty"` // go over to TLS, and fail when the server does not
	Hello    string `yaml:"hello,omitempty"`    // name in EHLO; default vedette.invalid
}

var smtpKind = kind{
	schemes: []string{"smtp", "smtps"}, example: "smtp://mail.example.org",
	section: func(c *Check) bool { return c.SMTP != nil },
	validate: func(c *Check) error {
		if c.SMTP == nil {
			c.SMTP = &SMTP{}
		}
		if c.SMTP.Hello == "" {
			c.SMTP.Hello = "vedette.invalid"
		}
		switch {
		case strings.ContainsAny(c.SMTP.Hello, " \r\n\t"):
			return fmt.Errorf("smtp.hello: %q: want a host name", c.SMTP.Hello)
		case c.SMTP.StartTLS && strings.HasPrefix(c.URL, "smtps:"):
			return fmt.Errorf("smtp.starttls: a server at smtps:// speaks TLS from the beginning; want smtp://")
		}
		return nil
	},
	run: runSMTP,
}

func runSMTP(r *run) {
	host, port := r.hostPort()
	hop := r.addHop(r.URL)
	secure := r.url.Scheme == "smtps"
	if port == "" {
		port = map[bool]string{true: "465", false: "25"}[secure]
	}
	conn, f := r.open(hop, host, port)
	if f != nil {
		r.fail(f, nil)
		return
	}
	defer conn.Close()
	hop.Phases[record.TLS].State = record.Skipped
	stream := conn
	if secure {
		tc, f := r.secure(conn, hop, r.own, host)
		if f != nil {
			r.fail(f, nil)
			return
		}
		stream = tc
	}
	k := r.talkOver(stream, hop)
	// want reads a reply and compares its code.
	want := func(after, code string) ([]string, bool) {
		var lines []string
		for len(lines) < 100 {
			line, f := k.line()
			if f != nil {
				r.failSaying(f, k.said.Bytes())
				return nil, false
			}
			lines = append(lines, line)
			if len(line) < 4 || line[3] != '-' || strings.Trim(line[:3], "0123456789") != "" {
				break
			}
		}
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, code) {
			if len(last) < 3 || strings.Trim(last[:3], "0123456789") != "" {
				hop.Phases[record.Processing].State = record.Failed
				r.failSaying(&failure{"processing", "bad_reply", "the server does not speak SMTP"}, k.said.Bytes())
				return nil, false
			}
			r.failSaying(&failure{"status", "status", fmt.Sprintf("%s the server said %q; want %s", after, shorten(last, 200), code)}, k.said.Bytes())
			return nil, false
		}
		return lines, true
	}
	say := func(line string) bool {
		if f := k.send([]byte(line + "\r\n")); f != nil {
			r.failSaying(f, k.said.Bytes())
			return false
		}
		return true
	}
	lines, ok := want("as its greeting", "220")
	if !ok || !say("EHLO "+r.SMTP.Hello) {
		return
	}
	r.fact("greeting", lines[len(lines)-1])
	if lines, ok = want("after EHLO", "250"); !ok {
		return
	}
	if r.SMTP.StartTLS {
		offered := false
		for _, l := range lines {
			offered = offered || len(l) > 4 && strings.EqualFold(strings.TrimSpace(l[4:]), "STARTTLS")
		}
		if !offered {
			r.failSaying(&failure{"tls", "tls_error", "the server does not offer STARTTLS"}, k.said.Bytes())
			return
		}
		if !say("STARTTLS") {
			return
		}
		if _, ok = want("after STARTTLS", "220"); !ok {
			return
		}
		tc, f := r.secure(k.conn, hop, r.own, host)
		if f != nil {
			r.failSaying(f, k.said.Bytes())
			return
		}
		k.over(tc)
		if !say("EHLO " + r.SMTP.Hello) {
			return
		}
		if lines, ok = want("after EHLO over TLS", "250"); !ok {
			return
		}
	}
	var able []string
	for _, l := range lines[1:] {
		if len(l) > 4 {
			able = append(able, l[4:])
		}
	}
	r.fact("extensions", strings.Join(able, ", "))
	_ = k.conn.SetDeadline(time.Now().Add(time.Second)) // the answer to QUIT is a courtesy
	_, _ = k.conn.Write([]byte("QUIT\r\n"))             // and so is QUIT
	k.done()
	r.judgePlain(k.said.Bytes())
}
