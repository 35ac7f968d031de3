package probe

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// prepared is a check with everything parsed once that does not change between
// runs.
type prepared struct {
	Check
	tls      *tls.Config
	resolver *net.Resolver
	bodyRE   *regexp.Regexp
	headerRE map[string]*regexp.Regexp
	password string
	bearer   string
	secrets  []string // never shown
}

func prepare(c Check) (*prepared, error) {
	p := &prepared{Check: c, resolver: net.DefaultResolver, headerRE: map[string]*regexp.Regexp{}}
	var err error
	if p.tls, err = c.tlsConfig(); err != nil {
		return nil, err
	}
	if p.password, p.bearer, err = c.secrets(); err != nil {
		return nil, err
	}
	if c.Resolver != "" {
		var d net.Dialer
		p.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, c.Resolver)
		}}
	}
	if c.Expect.BodyRegex != "" {
		if p.bodyRE, err = regexp.Compile(c.Expect.BodyRegex); err != nil {
			return nil, err
		}
	}
	for name, re := range c.Expect.Headers {
		if p.headerRE[name], err = regexp.Compile("^(?:" + re + ")$"); err != nil {
			return nil, err
		}
	}
	for name, v := range c.Headers {
		if sensitive[strings.ToLower(name)] {
			p.secrets = append(p.secrets, v)
		}
	}
	p.secrets = append(p.secrets, p.password, p.bearer)
	return p, nil
}

// Once runs a valid check one time, from this process.
func Once(ctx context.Context, c Check) record.CheckResult {
	p, err := prepare(c)
	if err != nil {
		return record.CheckResult{Check: c.ID, Kind: "http", Target: c.URL, Location: "hub", Start: time.Now(),
			Stage: "resolve", Reason: "own_fault", Message: "the check cannot be run: " + err.Error()}
	}
	return p.run(ctx, "hub")
}

// failure is why a run ended badly.
type failure struct {
	stage, reason, message string
}

// run acts the check out: one hop, and one more for each redirect.
func (p *prepared) run(ctx context.Context, location string) (res record.CheckResult) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	res = record.CheckResult{Check: p.ID, Kind: "http", Target: p.URL, Location: location, Start: time.Now(), TraceID: randomHex(16)}
	defer func() { res.Duration = time.Since(res.Start) }()

	u, err := url.Parse(p.URL)
	if err != nil {
		p.fail(&res, failure{"resolve", "own_fault", "the URL cannot be parsed: " + err.Error()}, nil)
		return res
	}
	method, body, origin := p.Method, p.Body, u.Host
	var jar *cookiejar.Jar
	for n := 0; ; n++ {
		hop := record.Hop{URL: p.clean(u.String())}
		var cookies []*http.Cookie
		if jar != nil {
			cookies = jar.Cookies(u)
		}
		rep, f := p.hop(ctx, &hop, request{u, method, body, u.Host == origin, cookies, res.TraceID})
		if f != nil {
			res.Hops = append(res.Hops, hop)
			p.fail(&res, *f, rep)
			return res
		}
		next, redirected := redirect(rep.head)
		if !redirected || !p.follow() {
			res.Hops = append(res.Hops, hop)
			p.judge(&res, rep)
			return res
		}
		hop.Location = p.clean(next)
		res.Hops = append(res.Hops, hop)
		target, err := u.Parse(next)
		if err != nil || (target.Scheme != "http" && target.Scheme != "https") || target.Hostname() == "" {
			p.fail(&res, failure{"redirect", "bad_redirect", fmt.Sprintf("the reply %d redirects to %q, which is not an HTTP address", rep.head.StatusCode, p.clean(next))}, rep)
			return res
		}
		if n >= p.MaxRedirects {
			p.fail(&res, failure{"redirect", "redirect_loop", fmt.Sprintf("more than %d redirects, the last to %s", p.MaxRedirects, p.clean(target.String()))}, rep)
			return res
		}
		if jar == nil {
			jar, _ = cookiejar.New(nil) // New only fails on options
		}
		jar.SetCookies(u, rep.head.Cookies())
		switch rep.head.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
			if method != http.MethodHead {
				method, body = http.MethodGet, ""
			}
		}
		u = target
	}
}

func redirect(r *http.Response) (to string, ok bool) {
	switch r.StatusCode {
	case 301, 302, 303, 307, 308:
		to = r.Header.Get("Location")
		return to, to != ""
	}
	return "", false
}

// request is what one hop sends.
type request struct {
	url     *url.URL
	method  string
	body    string
	trusted bool // the host of the check itself: credentials may be sent
	cookies []*http.Cookie
	traceID string
}

// reply is what came back; body is cut at the limit.
type reply struct {
	head *http.Response
	body []byte
}

// hop makes one HTTP transaction and fills in the phases as far as it comes.
func (p *prepared) hop(ctx context.Context, hop *record.Hop, rq request) (*reply, *failure) {
	phase := func(ph record.Phase, start time.Time, err error) {
		s := record.Done
		if err != nil {
			s = record.Failed
		}
		hop.Phases[ph] = record.PhaseTime{State: s, Duration: time.Since(start)}
	}
	start := time.Now()
	addrs, literal, err := p.resolve(ctx, rq.url.Hostname())
	if literal {
		hop.Phases[record.Resolve].State = record.Skipped
	} else {
		phase(record.Resolve, start, err)
	}
	if err != nil {
		return nil, p.resolveFailure(ctx, rq.url.Hostname(), err)
	}

	port := rq.url.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[rq.url.Scheme]
	}
	start = time.Now()
	var conn net.Conn
	var d net.Dialer
	for _, a := range addrs {
		hop.Address = net.JoinHostPort(a.String(), port)
		if conn, err = d.DialContext(ctx, "tcp", hop.Address); err == nil {
			break
		}
	}
	phase(record.Connect, start, err)
	if err != nil {
		return nil, connectFailure(ctx, hop.Address, err)
	}
	defer conn.Close()
	if dl, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(dl) // a TCP connection always takes one
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	if rq.url.Scheme == "https" {
		cfg := p.tls
		if cfg.ServerName == "" {
			cfg = cfg.Clone()
			cfg.ServerName = rq.url.Hostname()
		}
		start = time.Now()
		tc := tls.Client(conn, cfg)
		err = tc.HandshakeContext(ctx)
		cs := tc.ConnectionState()
		if len(cs.PeerCertificates) > 0 {
			hop.TLS = facts(cs)
		} else if ce := (*tls.CertificateVerificationError)(nil); errors.As(err, &ce) && len(ce.UnverifiedCertificates) > 0 {
			cs.PeerCertificates = ce.UnverifiedCertificates
			hop.TLS = facts(cs)
		}
		if err == nil && cs.Version < tls.VersionTLS12 {
			err = errOldTLS
		}
		phase(record.TLS, start, err)
		if err != nil {
			return nil, tlsFailure(ctx, cfg.ServerName, hop, err)
		}
		conn = tc
	} else {
		hop.Phases[record.TLS].State = record.Skipped
	}
	return p.exchange(ctx, conn, hop, rq, phase)
}

// exchange writes the request and reads the reply.
func (p *prepared) exchange(ctx context.Context, conn net.Conn, hop *record.Hop, rq request, phase func(record.Phase, time.Time, error)) (*reply, *failure) {
	req := p.build(rq)
	start := time.Now()
	var out bytes.Buffer
	err := req.Write(&out)
	if err == nil {
		_, err = conn.Write(out.Bytes())
	}
	// A server may answer and close before it has read everything: what it said
	// counts, the write error only when it said nothing.
	werr := err
	br := bufio.NewReaderSize(conn, 4096)
	if werr == nil {
		start = time.Now()
	}
	var head *http.Response
	for {
		if _, err = br.Peek(1); err != nil {
			break
		}
		phase(record.Processing, start, nil)
		if head, err = http.ReadResponse(br, req); err != nil || head.StatusCode >= 200 || head.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	if err != nil {
		if werr != nil {
			err = werr
		}
		phase(record.Processing, start, err)
		return nil, replyFailure(ctx, p.Timeout, err)
	}
	hop.Status, hop.Proto = head.StatusCode, head.Proto
	start = time.Now()
	rep := &reply{head: head}
	var tooLarge bool
	rep.body, hop.Bytes, tooLarge, err = readBody(head, p.MaxBodyBytes)
	phase(record.Transfer, start, err)
	switch {
	case tooLarge:
		hop.Phases[record.Transfer].State = record.Failed
		return rep, &failure{"transfer", "too_large", fmt.Sprintf("the body is larger than max_body_bytes = %d", p.MaxBodyBytes)}
	case err != nil:
		return rep, bodyFailure(ctx, p.Timeout, hop.Bytes, err)
	}
	return rep, nil
}

// readBody reads the body up to the limit and undoes gzip.
func readBody(head *http.Response, limit int64) (body []byte, n int64, tooLarge bool, err error) {
	raw := &countReader{r: head.Body}
	var r io.Reader = raw
	if strings.EqualFold(head.Header.Get("Content-Encoding"), "gzip") {
		zr, err := gzip.NewReader(raw)
		if errors.Is(err, io.EOF) {
			return nil, raw.n, false, nil // an empty body, as of a HEAD
		}
		if err != nil {
			return nil, raw.n, false, fmt.Errorf("undo gzip: %w", err)
		}
		r = zr
	}
	body, err = io.ReadAll(io.LimitReader(r, limit+1))
	if int64(len(body)) > limit {
		return body[:limit], raw.n, true, nil
	}
	return body, raw.n, false, err
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (p *prepared) build(rq request) *http.Request {
	req := &http.Request{Method: rq.method, URL: rq.url, Host: rq.url.Host, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Close: true}
	if rq.body != "" {
		req.Body = io.NopCloser(strings.NewReader(rq.body))
		req.ContentLength = int64(len(rq.body))
	}
	h := req.Header
	h.Set("User-Agent", "Vedette")
	h.Set("Accept", "*/*")
	h.Set("Accept-Encoding", "gzip")
	h.Set("Traceparent", "00-"+rq.traceID+"-"+randomHex(8)+"-01") // W3C Trace Context
	for name, v := range p.Headers {
		if !rq.trusted && sensitive[strings.ToLower(name)] {
			continue
		}
		if strings.EqualFold(name, "Host") {
			req.Host = v
			continue
		}
		h.Set(name, v)
	}
	if rq.trusted {
		if p.BasicAuth.Username != "" {
			req.SetBasicAuth(p.BasicAuth.Username, p.password)
		}
		if p.bearer != "" {
			h.Set("Authorization", "Bearer "+p.bearer)
		}
		if u := rq.url.User; u != nil && h.Get("Authorization") == "" {
			pw, _ := u.Password()
			req.SetBasicAuth(u.Username(), pw)
		}
	}
	for _, c := range rq.cookies {
		req.AddCookie(c)
	}
	return req
}

// resolve finds the addresses to dial, the preferred first.
func (p *prepared) resolve(ctx context.Context, host string) (addrs []netip.Addr, literal bool, err error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, true, nil
	}
	network := map[string]string{"any": "ip", "4": "ip4", "6": "ip6"}[p.IPVersion]
	all, err := p.resolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return nil, false, err
	}
	var v4, v6 []netip.Addr
	for _, a := range all {
		if a = a.Unmap(); a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	if len(v4) > 0 {
		addrs = append(addrs, v4[0])
	}
	if len(v6) > 0 {
		addrs = append(addrs, v6[0])
	}
	return addrs, false, nil
}

var errOldTLS = errors.New("the server speaks nothing newer than TLS 1.1")

func facts(cs tls.ConnectionState) *record.TLSFacts {
	leaf := cs.PeerCertificates[0]
	f := &record.TLSFacts{Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(), Names: leaf.DNSNames, NotAfter: leaf.NotAfter, ALPN: cs.NegotiatedProtocol}
	if cs.Version != 0 {
		f.Version, f.Cipher = tls.VersionName(cs.Version), tls.CipherSuiteName(cs.CipherSuite)
	}
	for _, c := range cs.PeerCertificates[1:] {
		if c.NotAfter.Before(f.NotAfter) {
			f.NotAfter = c.NotAfter
		}
	}
	if len(f.Names) > 20 {
		f.Names = f.Names[:20]
	}
	return f
}

func timedOut(ctx context.Context, err error) bool {
	var ne net.Error
	return ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

func wasReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (p *prepared) resolveFailure(ctx context.Context, host string, err error) *failure {
	var de *net.DNSError
	server := "the system's DNS servers"
	if p.Resolver != "" {
		server = "the DNS server " + p.Resolver
	}
	switch {
	case errors.As(err, &de) && de.IsNotFound:
		return &failure{"resolve", "dns_nxdomain", fmt.Sprintf("the name %s does not exist, says %s", host, server)}
	case timedOut(ctx, err):
		return &failure{"resolve", "dns_timeout", fmt.Sprintf("no answer for the name %s from %s within %s", host, server, p.Timeout)}
	}
	return &failure{"resolve", "dns_error", fmt.Sprintf("the name %s cannot be resolved by %s: %v", host, server, err)}
}

func connectFailure(ctx context.Context, addr string, err error) *failure {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &failure{"connect", "refused", fmt.Sprintf("%s refused the connection: nothing listens there", addr)}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return &failure{"connect", "unreachable", fmt.Sprintf("there is no route to %s", addr)}
	case wasReset(err):
		return &failure{"connect", "reset", fmt.Sprintf("%s cut the connection while it was made", addr)}
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL):
		return &failure{"connect", "own_fault", fmt.Sprintf("this machine could not open a connection: %v", err)}
	case timedOut(ctx, err):
		return &failure{"connect", "connect_timeout", fmt.Sprintf("%s did not answer the connection attempt in time", addr)}
	}
	return &failure{"connect", "unreachable", fmt.Sprintf("connecting to %s: %v", addr, err)}
}

func tlsFailure(ctx context.Context, name string, hop *record.Hop, err error) *failure {
	var ce x509.CertificateInvalidError
	var he x509.HostnameError
	var ua x509.UnknownAuthorityError
	var alert tls.AlertError
	switch {
	case errors.Is(err, errOldTLS):
		return &failure{"tls", "tls_protocol", fmt.Sprintf("the server speaks %s; want TLS 1.2 or newer", hop.TLS.Version)}
	case errors.As(err, &ce) && ce.Reason == x509.Expired:
		now := time.Now()
		if ce.Cert != nil && now.Before(ce.Cert.NotBefore) {
			return &failure{"tls", "tls_expired", fmt.Sprintf("the certificate is not valid before %s", ce.Cert.NotBefore.UTC().Format(time.RFC3339))}
		}
		return &failure{"tls", "tls_expired", fmt.Sprintf("the certificate expired on %s", ce.Cert.NotAfter.UTC().Format(time.RFC3339))}
	case errors.As(err, &he):
		return &failure{"tls", "tls_name", fmt.Sprintf("the certificate is not for %s but for %s", name, strings.Join(he.Certificate.DNSNames, ", "))}
	case errors.As(err, &ua):
		return &failure{"tls", "tls_unknown_ca", "the certificate is signed by an authority that is not trusted here"}
	case timedOut(ctx, err):
		return &failure{"tls", "tls_timeout", "the TLS handshake did not end in time"}
	case wasReset(err), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &failure{"tls", "reset", "the server cut the connection during the TLS handshake"}
	case errors.As(err, &alert) && strings.Contains(err.Error(), "protocol version"):
		return &failure{"tls", "tls_protocol", "the server and this client share no version of TLS"}
	}
	return &failure{"tls", "tls_error", "the TLS handshake failed: " + strings.TrimPrefix(err.Error(), "tls: ")}
}

func replyFailure(ctx context.Context, timeout time.Duration, err error) *failure {
	switch {
	case timedOut(ctx, err):
		return &failure{"processing", "no_response", fmt.Sprintf("connected, but no reply came within %s", timeout)}
	case wasReset(err):
		return &failure{"processing", "reset", "the server cut the connection before it replied"}
	case errors.Is(err, io.EOF):
		return &failure{"processing", "no_response", "the server closed the connection without a reply"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &failure{"processing", "bad_reply", "the server closed the connection in the middle of the reply's head"}
	}
	return &failure{"processing", "bad_reply", "the reply is not HTTP: " + err.Error()}
}

func bodyFailure(ctx context.Context, timeout time.Duration, n int64, err error) *failure {
	if timedOut(ctx, err) {
		return &failure{"transfer", "slow_body", fmt.Sprintf("the body did not end within %s; %d bytes came", timeout, n)}
	}
	if wasReset(err) {
		return &failure{"transfer", "reset", fmt.Sprintf("the server cut the connection after %d bytes of the body", n)}
	}
	return &failure{"transfer", "cut_body", fmt.Sprintf("the body ended early after %d bytes: %v", n, err)}
}

// judge compares a whole reply with what is expected.
func (p *prepared) judge(res *record.CheckResult, rep *reply) {
	e := p.Expect
	code := rep.head.StatusCode
	if !e.Status.Has(code) {
		want := "2xx"
		if len(e.Status) > 0 {
			want = strings.Join(e.Status, ", ")
		}
		p.fail(res, failure{"status", "status", fmt.Sprintf("the reply was %d %s; want %s", code, http.StatusText(code), want)}, rep)
		return
	}
	for name, re := range p.headerRE {
		if v := rep.head.Header.Get(name); !re.MatchString(v) {
			p.fail(res, failure{"header", "header", fmt.Sprintf("the header %s is %q; want it to match %q", name, p.clean(v), e.Headers[name])}, rep)
			return
		}
	}
	switch {
	case e.BodyContains != "" && !bytes.Contains(rep.body, []byte(e.BodyContains)):
		p.fail(res, failure{"body", "body", fmt.Sprintf("the body does not contain %q", e.BodyContains)}, rep)
	case e.BodyNotContains != "" && bytes.Contains(rep.body, []byte(e.BodyNotContains)):
		p.fail(res, failure{"body", "body", fmt.Sprintf("the body contains %q", e.BodyNotContains)}, rep)
	case p.bodyRE != nil && !p.bodyRE.Match(rep.body):
		p.fail(res, failure{"body", "body", fmt.Sprintf("the body does not match %q", e.BodyRegex)}, rep)
	case e.MaxSeconds > 0 && time.Since(res.Start).Seconds() > e.MaxSeconds:
		p.fail(res, failure{"assertion", "slow", fmt.Sprintf("the run took %.3f s; want at most %g s", time.Since(res.Start).Seconds(), e.MaxSeconds)}, rep)
	case e.CertificateDays > 0 && res.Certificate() != nil && time.Until(res.Certificate().NotAfter) < time.Duration(e.CertificateDays)*24*time.Hour:
		na := res.Certificate().NotAfter
		p.fail(res, failure{"assertion", "certificate", fmt.Sprintf("the certificate ends in %.1f days, on %s; want %d days or more", time.Until(na).Hours()/24, na.UTC().Format(time.DateOnly), e.CertificateDays)}, rep)
	default:
		res.Success = true
	}
}

func (p *prepared) fail(res *record.CheckResult, f failure, rep *reply) {
	res.Success, res.Stage, res.Reason, res.Message = false, f.stage, f.reason, p.clean(f.message)
	if rep != nil {
		res.Reply = p.clean(replyHead(rep))
	}
}

// sensitive headers carry credentials.
var sensitive = map[string]bool{
	"authorization": true, "cookie": true, "set-cookie": true, "proxy-authorization": true, "x-api-key": true, "api-key": true, "x-auth-token": true,
}

// maxReply is how much of a failed reply is kept.
const maxReply = 4096

// replyHead renders the head of a reply without credentials.
func replyHead(rep *reply) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\r\n", rep.head.Proto, rep.head.Status)
	for name := range rep.head.Header {
		if sensitive[strings.ToLower(name)] {
			rep.head.Header[name] = []string{"(removed)"}
		}
	}
	_ = rep.head.Header.Write(&b) // a strings.Builder takes everything
	b.WriteString("\r\n")
	b.Write(rep.body[:min(len(rep.body), maxReply)])
	s := strings.ToValidUTF8(b.String(), "\uFFFD")
	if len(s) > maxReply {
		s = strings.ToValidUTF8(s[:maxReply], "") + "…"
	}
	return s
}

var userinfo = regexp.MustCompile(`://[^/@\s]+@`)

// clean removes the check's secrets from a text.
func (p *prepared) clean(s string) string {
	for _, sec := range p.secrets {
		if len(sec) >= 4 {
			s = strings.ReplaceAll(s, sec, "(removed)")
		}
	}
	return userinfo.ReplaceAllString(s, "://(removed)@")
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says its documentation
	return hex.EncodeToString(b)
}
