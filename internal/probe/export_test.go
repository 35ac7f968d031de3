package probe

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// SetAct replaces the run of a check, so that tests schedule without a network.
func (p *Prober) SetAct(act func(ctx context.Context, c Check) record.CheckResult) {
	p.act = func(pc *prepared, ctx context.Context, location string) record.CheckResult {
		res := act(ctx, pc.Check)
		res.Check, res.Location = pc.ID, location
		return res
	}
}

// Phase is a check's place in its interval.
var Phase = phase

// NextDue is the first instant of a phase.
var NextDue = nextDue

// ReadBody reads and decodes a body.
func ReadBody(text, encoding string, limit int64) (body []byte, n int64, tooLarge bool, err error) {
	got := readBody(strings.NewReader(text), encoding, limit)
	if err = got.err; err == nil {
		err = got.garbled
	}
	return got.body, got.bytes, got.tooLarge, err
}

// Clean removes secrets from a text.
func Clean(text string, hide ...string) string { return secrets(nil).with(hide...).clean(text) }

// Deadline is how long a run of a valid check may take.
func Deadline(c Check) time.Duration { return c.deadline() }

// JudgeJSON applies a rule to a body.
func JudgeJSON(rule JSONRule, body string) (string, error) {
	j, err := rule.compile()
	if err != nil {
		return "", err
	}
	tree, err := decodeJSON([]byte(body))
	if err != nil {
		return "", err
	}
	return j.verdict(tree), nil
}

// JudgeCEL applies an expression to a body.
func JudgeCEL(expr, body string) (string, error) {
	c, err := compileCEL(expr)
	if err != nil {
		return "", err
	}
	rep := &reply{head: &http.Response{StatusCode: 200, Proto: "HTTP/1.1"}, body: []byte(body)}
	r := &run{}
	return c.verdict(context.Background(), r.celVars(rep, time.Now(), time.Now())), nil
}

// Bypasses reports whether a no_proxy list covers a target.
func Bypasses(list []string, host, port string) bool {
	return (&Proxy{NoProxy: list}).bypasses(host, port)
}

// TokenLife is how long a token with this expires_in is used.
func TokenLife(expires string) time.Duration { return tokenLife(json.RawMessage(expires)) }

// KeyFacts tells a certificate's key and what is weak about it.
var KeyFacts = keyFacts

// NewChains remembers chains: full says that a chain was verified in full.
func NewChains() func(name string, certs []*x509.Certificate, roots *x509.CertPool, now time.Time) (full bool, err error) {
	var m chains
	return func(name string, certs []*x509.Certificate, roots *x509.CertPool, now time.Time) (bool, error) {
		before := m.of(name, certs, roots).verified
		err := m.verify(name, certs, roots, now)
		return err != nil || m.of(name, certs, roots).verified != before, err
	}
}

// Wire renders a request as it is sent, and as net/http would send it.
func Wire(method, address, body string, headers map[string]string, proxied bool) (ours, theirs string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", err
	}
	r := &run{prepared: &prepared{Check: Check{Proxy: &Proxy{}}}, material: &material{}}
	q := request{url: u, method: method, body: body, headers: headers, trusted: true, proxied: proxied}
	req := r.build(q)
	b, err := wire(req, q)
	if err != nil {
		return "", "", err
	}
	var out bytes.Buffer
	if proxied {
		err = req.WriteProxy(&out)
	} else {
		err = req.Write(&out)
	}
	return string(b), out.String(), err
}
