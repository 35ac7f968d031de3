package probe

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vedette-sre/vedette/internal/record"
)

// redisKind connects, logs in when the URL or basic_auth names a user or a
// password, and asks PING or one other question, in RESP2.
var redisKind = kind{
	schemes: []string{"redis", "rediss"}, example: "redis://cache.example.org", port: 6379,
	section: func(c *Check) bool { return c.Database != nil },
	validate: func(c *Check) error {
		if c.Database == nil {
			c.Database = &Database{}
		}
		if c.Database.Query == "" {
			c.Database.Query = "PING"
		}
		if strings.ContainsAny(c.Database.Query, "\r\n\x00") {
			return errors.New("database.query: holds a line break; want one command")
		}
		return nil
	},
	run: runRedis,
}

func runRedis(r *run) {
	host, port := r.hostPort()
	hop := r.addHop(r.URL)
	hop.Phases[record.TLS].State = record.Skipped
	conn, f := r.open(hop, host, port)
	if f != nil {
		r.fail(f, nil)
		return
	}
	defer conn.Close()
	stream := conn
	if r.url.Scheme == "rediss" {
		tc, f := r.secure(conn, hop, r.own, host)
		if f != nil {
			r.fail(f, nil)
			return
		}
		stream = tc
	}
	k := r.talkOver(stream, hop)
	ask := func(args ...string) (string, bool) {
		var b strings.Builder
		fmt.Fprintf(&b, "*%d\r\n", len(args))
		for _, a := range args {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
		}
		if f := k.send([]byte(b.String())); f != nil {
			r.failSaying(f, k.said.Bytes())
			return "", false
		}
		answer, f := k.resp(0)
		if f != nil {
			r.failSaying(f, k.said.Bytes())
			return "", false
		}
		return answer, true
	}
	refused := func(answer, what string) bool {
		word, ok := strings.CutPrefix(answer, "-")
		if !ok {
			return false
		}
		reason := "query"
		if strings.HasPrefix(word, "NOAUTH") || strings.HasPrefix(word, "WRONGPASS") || strings.HasPrefix(word, "ERR invalid password") || what == "AUTH" {
			reason = "login"
		}
		r.failSaying(&failure{"status", reason, fmt.Sprintf("the server refuses %s: %s", what, shorten(word, 200))}, k.said.Bytes())
		return true
	}
	if r.password != "" {
		args := []string{"AUTH"}
		if u := r.BasicAuth.Username; u != "" && u != "default" {
			args = append(args, u)
		}
		answer, ok := ask(append(args, r.password)...)
		if !ok || refused(answer, "AUTH") {
			return
		}
	}
	answer, ok := ask(strings.Fields(r.Database.Query)...)
	if !ok || refused(answer, r.Database.Query) {
		return
	}
	answer = strings.TrimPrefix(answer, "+")
	if r.Database.Query == "PING" && answer != "PONG" {
		r.failSaying(&failure{"body", "body", fmt.Sprintf("PING was answered with %q; want PONG", shorten(answer, 200))}, k.said.Bytes())
		return
	}
	r.fact("answer", answer)
	k.done()
	r.judgePlain([]byte(answer))
}

// maxNesting bounds arrays in arrays.
const maxNesting = 8

// resp reads one value of the Redis serialization protocol and renders it: an
// error keeps its dash, an array has a line for each of its values.
func (t *talk) resp(depth int) (string, *failure) {
	bad := func(line string) *failure {
		t.hop.Phases[record.Processing].State = record.Failed
		return &failure{"processing", "bad_reply", fmt.Sprintf("the answer %q is no RESP", shorten(line, 100))}
	}
	line, f := t.line()
	if f != nil {
		return "", f
	}
	if line == "" {
		return "", bad(line)
	}
	switch rest := line[1:]; line[0] {
	case '+', '-':
		return line, nil
	case ':':
		return rest, nil
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < -1 || int64(n) > t.limit {
			return "", bad(line)
		}
		if n == -1 {
			return "", nil
		}
		text := make([]byte, 0, min(n, 4096))
		for len(text) < n+2 {
			b, err := t.br.ReadByte()
			if err != nil {
				return "", t.failure(err)
			}
			text = append(text, b)
		}
		return string(text[:n]), nil
	case '*':
		n, err := strconv.Atoi(rest)
		if err != nil || n < -1 || n > 10_000 || depth == maxNesting {
			return "", bad(line)
		}
		var all []string
		for range n {
			v, f := t.resp(depth + 1)
			if f != nil {
				return "", f
			}
			all = append(all, v)
		}
		return strings.Join(all, "\n"), nil
	}
	return "", bad(line)
}
