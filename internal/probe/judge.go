package probe

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/vedette-sre/vedette/internal/record"
)

// expectation is an Expect with everything parsed that does not change between
// runs.
type expectation struct {
	Expect
	bodyRE    *regexp.Regexp
	bodyNotRE *regexp.Regexp
	headers   []headerRule // by name
	json      []*jsonRule
	schema    *schema
	cel       *celRule
	tls       string // the oldest version of TLS, as crypto/tls names it
}

// headerRule wants one value of a header to match.
type headerRule struct {
	name string
	re   *regexp.Regexp
}

// compile checks all of it; the error begins with the key. A schema file is read
// here and not again.
func (e Expect) compile() (*expectation, error) {
	x := &expectation{Expect: e}
	if err := e.Status.validate(); err != nil {
		return nil, fmt.Errorf("expect.status: %w", err)
	}
	for _, b := range []struct {
		key, text string
		re        **regexp.Regexp
	}{{"body_regex", e.BodyRegex, &x.bodyRE}, {"body_not_regex", e.BodyNotRegex, &x.bodyNotRE}} {
		if b.text == "" {
			continue
		}
		var err error
		if *b.re, err = regexp.Compile(b.text); err != nil {
			return nil, fmt.Errorf("expect.%s: %q: want a regular expression (RE2): %w", b.key, b.text, err)
		}
	}
	for _, name := range sortedKeys(e.Headers) {
		if !token.MatchString(name) {
			return nil, fmt.Errorf("expect.headers: name %q: want letters, digits and dashes", name)
		}
		if _, err := regexp.Compile(e.Headers[name]); err != nil {
			return nil, fmt.Errorf("expect.headers: %s: %q: want a regular expression (RE2): %w", name, e.Headers[name], err)
		}
		x.headers = append(x.headers, headerRule{name, regexp.MustCompile("^(?:" + e.Headers[name] + ")$")})
	}
	if e.MaxSeconds < 0 || e.MaxSeconds != e.MaxSeconds {
		return nil, fmt.Errorf("expect.max_seconds: %g: want a number above 0", e.MaxSeconds)
	}
	if e.CertificateDays < 0 {
		return nil, fmt.Errorf("expect.certificate_days: %d: want a number of days above 0", e.CertificateDays)
	}
	if err := e.compileSize(); err != nil {
		return nil, err
	}
	if e.TLSVersion != "" {
		if e.TLSVersion != "1.2" && e.TLSVersion != "1.3" {
			return nil, fmt.Errorf("expect.tls_version: %q: want 1.2 or 1.3, the oldest that is good", e.TLSVersion)
		}
		x.tls = "TLS " + e.TLSVersion
	}
	return x, x.compileJSON()
}

func (e Expect) compileSize() error {
	switch {
	case e.MinBytes < 0:
		return fmt.Errorf("expect.min_bytes: %d: want a number of bytes above 0", e.MinBytes)
	case e.MaxBytes < 0 || e.MaxBytes > 0 && e.MaxBytes < e.MinBytes:
		return fmt.Errorf("expect.max_bytes: %d: want a number of bytes above 0 and not below min_bytes, %d", e.MaxBytes, e.MinBytes)
	}
	for name, most := range e.Phases {
		if !slices.Contains(phaseNames(), name) {
			return fmt.Errorf("expect.phases: %q: want one of %s", name, strings.Join(phaseNames(), ", "))
		}
		if !(most > 0) || math.IsInf(most, 0) {
			return fmt.Errorf("expect.phases: %s: %g: want a number of seconds above 0", name, most)
		}
	}
	switch e.Protocol {
	case "", "HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3":
		return nil
	}
	return fmt.Errorf("expect.protocol: %q: want HTTP/1.0, HTTP/1.1, HTTP/2 or HTTP/3", e.Protocol)
}

func (x *expectation) compileJSON() error {
	for i, rule := range x.JSON {
		j, err := rule.compile()
		if err != nil {
			return fmt.Errorf("expect.json[%d].%w", i, err)
		}
		x.json = append(x.json, j)
	}
	var err error
	switch {
	case x.JSONSchema != nil && x.JSONSchemaFile != "":
		return errors.New("expect.json_schema: is set beside expect.json_schema_file; keep one")
	case x.JSONSchema != nil:
		if x.schema, err = compileSchema(x.JSONSchema); err != nil {
			return fmt.Errorf("expect.json_schema: %w", err)
		}
	case x.JSONSchemaFile != "":
		if x.schema, err = readSchema(x.JSONSchemaFile); err != nil {
			return fmt.Errorf("expect.json_schema_file: %w", err)
		}
	}
	if x.CEL != "" {
		if x.cel, err = compileCEL(x.CEL); err != nil {
			return fmt.Errorf("expect.cel: %w", err)
		}
	}
	return nil
}

// wantsBody reports whether a reply without a body cannot be good.
func (e Expect) wantsBody() bool {
	return e.BodyContains != "" || e.BodyRegex != "" || len(e.JSON) > 0 || e.JSONSchema != nil || e.JSONSchemaFile != "" || e.MinBytes > 0
}

func phaseNames() []string {
	var names []string
	for p := range record.NumPhases {
		names = append(names, p.String())
	}
	return names
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
	case e.bodyNotRE != nil && e.bodyNotRE.Match(rep.body):
		return &failure{"body", "body", fmt.Sprintf("the body matches the regular expression %q and should not: %q", e.BodyNotRegex, shorten(string(e.bodyNotRE.Find(rep.body)), 200))}
	}
	if said := e.jsonVerdict(rep); said != "" {
		return &failure{"body", "body", said}
	}
	if f := r.sizeVerdict(rep, e); f != nil {
		return f
	}
	if took := now.Sub(start); e.MaxSeconds > 0 && took.Seconds() > e.MaxSeconds {
		return &failure{"assertion", "slow", fmt.Sprintf("the run took %.3f s; want at most %g s", took.Seconds(), e.MaxSeconds)}
	}
	if crt := r.res.Certificate(); e.CertificateDays > 0 && crt != nil {
		if days := crt.NotAfter.Sub(now).Hours() / 24; days < float64(e.CertificateDays) {
			return &failure{"assertion", "certificate", fmt.Sprintf("the certificate ends in %.1f days, on %s; want %d days or more", days, day(crt.NotAfter), e.CertificateDays)}
		}
	}
	if e.cel != nil {
		if said := e.cel.verdict(r.ctx, r.celVars(rep, start, now)); said != "" {
			return &failure{"assertion", "assertion", said}
		}
	}
	return nil
}

// jsonVerdict is what is wrong with the body as JSON, "" when nothing.
func (e *expectation) jsonVerdict(rep *reply) string {
	if len(e.json) == 0 && e.schema == nil {
		return ""
	}
	tree, err := rep.json()
	if err != nil {
		return fmt.Sprintf("the body (%d bytes) is not JSON: %v", len(rep.body), err)
	}
	for _, j := range e.json {
		if said := j.verdict(tree); said != "" {
			return said
		}
	}
	if e.schema != nil {
		return e.schema.verdict(tree)
	}
	return ""
}

// sizeVerdict compares the size, the phases and the protocols.
func (r *run) sizeVerdict(rep *reply, e *expectation) *failure {
	size := int64(len(rep.body))
	switch proto := shortProto(rep.head.Proto); {
	case e.MinBytes > 0 && size < e.MinBytes:
		return &failure{"assertion", "assertion", fmt.Sprintf("the body has %d bytes; want %d or more", size, e.MinBytes)}
	case e.MaxBytes > 0 && size > e.MaxBytes:
		return &failure{"assertion", "assertion", fmt.Sprintf("the body has %d bytes; want at most %d", size, e.MaxBytes)}
	case e.Protocol != "" && e.Protocol != proto:
		return &failure{"assertion", "assertion", fmt.Sprintf("the reply came over %s; want %s", proto, e.Protocol)}
	}
	if crt := r.res.Certificate(); e.tls != "" && crt != nil && crt.Version < e.tls { // "TLS 1.2" < "TLS 1.3"
		return &failure{"assertion", "assertion", fmt.Sprintf("the server speaks %s; want %s or newer", crt.Version, e.tls)}
	}
	if len(e.Phases) == 0 {
		return nil
	}
	total := r.phases(rep)
	for ph, t := range total {
		if most := e.Phases[record.Phase(ph).String()]; most > 0 && t.Duration.Seconds() > most {
			return &failure{"assertion", "slow", fmt.Sprintf("the phase %s took %.3f s; want at most %g s", record.Phase(ph), t.Duration.Seconds(), most)}
		}
	}
	return nil
}

// phases adds up the hops that led to a reply.
func (r *run) phases(rep *reply) record.Phases {
	return record.CheckResult{Hops: r.res.Hops[min(rep.first, len(r.res.Hops)):]}.Total()
}

// shortProto is the protocol as people write it: HTTP/2 for HTTP/2.0.
func shortProto(p string) string {
	if p == "HTTP/2.0" || p == "HTTP/3.0" {
		return strings.TrimSuffix(p, ".0")
	}
	return p
}

// celVars are what an expression may use of a reply.
func (r *run) celVars(rep *reply, start, now time.Time) map[string]any {
	phases := make(map[string]float64, record.NumPhases)
	for ph, t := range r.phases(rep) {
		phases[record.Phase(ph).String()] = t.Duration.Seconds()
	}
	headers := make(map[string]string, len(rep.head.Header))
	for name, vs := range rep.head.Header {
		headers[name] = strings.Join(vs, ", ")
	}
	vars := map[string]any{
		"status": int64(rep.head.StatusCode), "body": strings.ToValidUTF8(string(rep.body), "\uFFFD"), "json": lazyJSON(rep),
		"headers": headers, "phases": phases, "duration": now.Sub(start).Seconds(), "size": int64(len(rep.body)),
		"protocol":         shortProto(rep.head.Proto),
		"certificate_days": func() ref.Val { return types.NewErr("there was no certificate") },
	}
	if crt := r.res.Certificate(); crt != nil {
		vars["certificate_days"] = crt.NotAfter.Sub(now).Hours() / 24
	}
	return vars
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
