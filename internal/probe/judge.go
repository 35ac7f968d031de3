package probe

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"time"
)

// expectation is an Expect with everything parsed that does not change between
// runs.
type expectation struct {
	Expect
	bodyRE  *regexp.Regexp
	headers []headerRule // by name
}

// headerRule wants one value of a header to match.
type headerRule struct {
	name string
	re   *regexp.Regexp
}

func (e Expect) compile() (*expectation, error) {
	x := &expectation{Expect: e}
	var err error
	if e.BodyRegex != "" {
		if x.bodyRE, err = regexp.Compile(e.BodyRegex); err != nil {
			return nil, fmt.Errorf("expect.body_regex: %w", err)
		}
	}
	for _, name := range sortedKeys(e.Headers) {
		re, err := regexp.Compile("^(?:" + e.Headers[name] + ")$")
		if err != nil {
			return nil, fmt.Errorf("expect.headers: %s: %w", name, err)
		}
		x.headers = append(x.headers, headerRule{name, re})
	}
	return x, nil
}

// judge compares a whole reply with what is expected and ends the run.
func (r *run) judge(rep *reply) {
	if f := r.verdict(rep, r.expect, r.res.Start, time.Now()); f != nil {
		r.fail(f, rep)
		return
	}
	r.succeed()
}

// verdict is the first difference between a reply to a request that began at
// start and what is expected, nil when there is none.
func (r *run) verdict(rep *reply, e *expectation, start, now time.Time) *failure {
	code := rep.head.StatusCode
	if !e.Status.Has(code) {
		said := fmt.Sprintf("the reply was %d %s; want %s", code, http.StatusText(code), e.Status)
		if redirect(rep.head) != "" {
			said += "; it is a redirect, and follow_redirects is false"
		}
		return &failure{"status", "status", said}
	}
	for _, h := range e.headers {
		if f := h.verdict(rep.head.Header); f != nil {
			return f
		}
	}
	switch {
	case e.BodyContains != "" && !bytes.Contains(rep.body, []byte(e.BodyContains)):
		return &failure{"body", "body", fmt.Sprintf("the body (%d bytes) does not contain %q", len(rep.body), e.BodyContains)}
	case e.BodyNotContains != "" && bytes.Contains(rep.body, []byte(e.BodyNotContains)):
		return &failure{"body", "body", fmt.Sprintf("the body contains %q and should not", e.BodyNotContains)}
	case e.bodyRE != nil && !e.bodyRE.Match(rep.body):
		return &failure{"body", "body", fmt.Sprintf("the body (%d bytes) does not match the regular expression %q", len(rep.body), e.BodyRegex)}
	}
	if took := now.Sub(start); e.MaxSeconds > 0 && took.Seconds() > e.MaxSeconds {
		return &failure{"assertion", "slow", fmt.Sprintf("the run took %.3f s; want at most %g s", took.Seconds(), e.MaxSeconds)}
	}
	if crt := r.res.Certificate(); e.CertificateDays > 0 && crt != nil {
		if days := crt.NotAfter.Sub(now).Hours() / 24; days < float64(e.CertificateDays) {
			return &failure{"assertion", "certificate", fmt.Sprintf("the certificate ends in %.1f days, on %s; want %d days or more", days, day(crt.NotAfter), e.CertificateDays)}
		}
	}
	return nil
}

// verdict wants one of the header's values to match.
func (h headerRule) verdict(got http.Header) *failure {
	values := got.Values(h.name)
	for _, v := range values {
		if h.re.MatchString(v) {
			return nil
		}
	}
	want := h.re.String()
	want = want[len("^(?:") : len(want)-len(")$")]
	if len(values) == 0 {
		return &failure{"header", "header", fmt.Sprintf("the reply has no header %s; want one that matches %q", h.name, want)}
	}
	if sensitive(h.name) {
		return &failure{"header", "header", fmt.Sprintf("the header %s does not match %q", h.name, want)}
	}
	return &failure{"header", "header", fmt.Sprintf("the header %s is %q; want it to match %q", h.name, values[0], want)}
}
