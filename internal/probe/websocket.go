package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/vedette-sre/vedette/internal/record"
)

// Websocket holds the settings of checks of the kind websocket (RFC 6455). With
// nothing to send, a ping must be answered.
type Websocket struct {
	Send         string            `yaml:"send,omitempty"`   // one text message
	Expect       string            `yaml:"expect,omitempty"` // regular expression of a message; others are passed over
	Subprotocols []string          `yaml:"subprotocols,omitempty"`
	Headers      map[string]string `yaml:"headers,omitempty"` // of the upgrade, such as Origin
}

var websocketKind = kind{
	schemes: []string{"ws", "wss"}, example: "wss://feed.example.org/live",
	section: func(c *Check) bool { return c.Websocket != nil },
	validate: func(c *Check) error {
		if c.Websocket == nil {
			c.Websocket = &Websocket{}
		}
		w := c.Websocket
		if _, err := regexp.Compile(w.Expect); err != nil {
			return fmt.Errorf("websocket.expect: %q: want a regular expression (RE2): %w", w.Expect, err)
		}
		for name, v := range w.Headers {
			if !token.MatchString(name) || strings.ContainsAny(v, "\r\n\x00") {
				return fmt.Errorf("websocket.headers: name %q: want letters, digits and dashes, and a value of one line", name)
			}
		}
		return nil
	},
	prepare: func(c *Check) (any, error) { return regexp.Compile(c.Websocket.Expect) },
	run:     runWebsocket,
}

func runWebsocket(r *run) {
	w := r.Websocket
	hop := r.addHop(r.URL)
	host, port := r.hostPort()
	secure := r.url.Scheme == "wss"
	if port == "" {
		port = map[bool]string{true: "443", false: "80"}[secure]
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
		cfg := r.own.Clone()
		cfg.NextProtos = []string{"http/1.1"}
		tc, f := r.secure(conn, hop, cfg, host)
		if f != nil {
			r.fail(f, nil)
			return
		}
		stream = tc
	}
	header := http.Header{"User-Agent": {"Vedette"}, "Traceparent": {"00-" + r.res.TraceID + "-" + randomHex(8) + "-01"}}
	for name, v := range w.Headers {
		header.Set(name, v)
		if sensitive(name) {
			r.hidden = r.hidden.with(v)
		}
	}
	if r.BasicAuth.Username != "" {
		header.Set("Authorization", "Basic "+basicCredentials(r.BasicAuth.Username, r.password))
	}
	used := false
	client := &http.Client{
		Transport: &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: maxHead, DialContext: func(context.Context, string, string) (net.Conn, error) {
			if used {
				return nil, errors.New("the server closed the connection before the upgrade")
			}
			used = true
			return stream, nil
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	// The library is given a plain URL: the TLS session is ours.
	to := url.URL{Scheme: "ws", Host: r.url.Host, Path: r.url.Path, RawQuery: r.url.RawQuery}
	start := time.Now()
	ws, reply, err := websocket.Dial(r.ctx, to.String(), &websocket.DialOptions{HTTPClient: client, HTTPHeader: header, Subprotocols: w.Subprotocols, CompressionMode: websocket.CompressionDisabled})
	end(hop, record.Processing, start, err != nil && reply == nil)
	if reply != nil {
		hop.Status, hop.Proto = reply.StatusCode, reply.Proto
	}
	if err != nil {
		switch {
		case reply != nil && reply.StatusCode != http.StatusSwitchingProtocols:
			r.fail(&failure{"status", "status", fmt.Sprintf("the upgrade was answered with %d %s; want 101", reply.StatusCode, http.StatusText(reply.StatusCode))}, nil)
		case reply != nil:
			r.fail(&failure{"header", "header", fmt.Sprintf("the upgrade is not whole: %v", err)}, nil)
		case timedOut(err), r.ctx.Err() != nil:
			r.fail(&failure{"processing", "no_response", fmt.Sprintf("no answer to the upgrade came within %s", short(r.limit))}, nil)
		case wasReset(err):
			r.fail(&failure{"processing", "reset", "the server cut the connection instead of answering the upgrade"}, nil)
		case atEnd(err), strings.Contains(err.Error(), "EOF"):
			r.fail(&failure{"processing", "no_response", "the server closed the connection without an answer"}, nil)
		default:
			r.fail(&failure{"processing", "bad_reply", fmt.Sprintf("the upgrade failed: %v", err)}, nil)
		}
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(r.MaxBodyBytes)
	begun := time.Now()
	said, f := r.converse(ws)
	hop.Bytes = int64(len(said))
	end(hop, record.Transfer, begun, f != nil && f.stage == "transfer")
	if f != nil {
		r.failSaying(f, said)
		return
	}
	_ = ws.Close(websocket.StatusNormalClosure, "") // a courtesy
	r.judgePlain(said)
}

// converse says and hears what the check asks for.
func (r *run) converse(ws *websocket.Conn) (said []byte, f *failure) {
	w := r.Websocket
	broken := func(err error) *failure {
		var ce websocket.CloseError
		switch {
		case errors.As(err, &ce):
			return &failure{"transfer", "cut_body", fmt.Sprintf("the server closed the session: %d %s", ce.Code, ce.Reason)}
		case r.ctx.Err() != nil, timedOut(err):
			return &failure{"transfer", "no_response", fmt.Sprintf("the session stands, but nothing came within %s that was wanted", short(r.limit))}
		case strings.Contains(err.Error(), "read limited"):
			return &failure{"transfer", "too_large", fmt.Sprintf("a message is larger than the %d bytes that max_body_bytes allows", r.MaxBodyBytes)}
		}
		return &failure{"transfer", "cut_body", fmt.Sprintf("the session broke off: %v", err)}
	}
	if w.Send != "" {
		if err := ws.Write(r.ctx, websocket.MessageText, []byte(w.Send)); err != nil {
			return nil, broken(err)
		}
	}
	if w.Send == "" && w.Expect == "" {
		// Pings are answered while somebody reads.
		ctx, cancel := context.WithCancel(r.ctx)
		defer cancel()
		ctx = ws.CloseRead(ctx)
		if err := ws.Ping(ctx); err != nil {
			return nil, broken(err)
		}
		return nil, nil
	}
	var heard bytes.Buffer
	for range 1000 {
		_, msg, err := ws.Read(r.ctx)
		if err != nil {
			if heard.Len() > 0 && (r.ctx.Err() != nil || timedOut(err)) {
				return heard.Bytes(), &failure{"body", "body", fmt.Sprintf("messages came, and none that matches %q", w.Expect)}
			}
			return heard.Bytes(), broken(err)
		}
		if heard.Len() < maxReply {
			heard.Write(msg)
			heard.WriteByte('\n')
		}
		if r.parsed.(*regexp.Regexp).Match(msg) {
			return msg, nil
		}
	}
	return heard.Bytes(), &failure{"body", "body", fmt.Sprintf("1000 messages came, and none that matches %q", w.Expect)}
}
