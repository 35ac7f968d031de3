package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Once runs a check one time, from this process. A check that Validate refuses
// gives a result with the reason own_fault.
func Once(ctx context.Context, c Check) record.CheckResult {
	err := c.Validate()
	var p *prepared
	if err == nil {
		p, err = prepare(c)
	}
	if err != nil {
		return record.CheckResult{Check: c.ID, Kind: c.Kind, Target: c.Target(), Location: defaultLocation, Start: time.Now(),
			Stage: record.Resolve.String(), Reason: "own_fault", Message: "the check cannot be run: " + err.Error()}
	}
	return p.run(ctx, defaultLocation)
}

// run is one run of a check: the result, filled as far as the run comes, and
// what the hops share.
type run struct {
	*prepared
	*material
	res    record.CheckResult
	outer  context.Context // ends when nobody wants the result any more
	ctx    context.Context // ends at the deadline as well
	limit  time.Duration
	hidden secrets // the check's, and the cookies that came
	asked  bool    // the server of this hop wants a client certificate and none is set
	family string  // what stands for ip_version in this exchange
	token  string  // of oauth2
	most   int64   // bytes of a body
}

// run acts the check out: one hop, and one more for each redirect.
func (p *prepared) run(ctx context.Context, location string) (res record.CheckResult) {
	r := &run{prepared: p, outer: ctx, limit: p.deadline(), family: p.IPVersion, most: p.MaxBodyBytes}
	start := time.Now()
	r.res = record.CheckResult{Check: p.ID, Kind: p.Kind, Target: p.shown, Location: location, Start: start, TraceID: randomHex(16)}
	var cancel context.CancelFunc
	r.ctx, cancel = context.WithDeadline(ctx, start.Add(r.limit))
	defer cancel()
	defer func() {
		if what := recover(); what != nil {
			// One reply that trips the prober must not end all checks.
			r.fail(&failure{"processing", "own_fault", fmt.Sprintf("the prober itself failed; please report it: %v", what)}, nil)
		}
		r.res.Duration = time.Since(r.res.Start) // a kind may begin later than it was started
		res = r.res
	}()
	var err error
	if r.material, err = p.material(); err != nil {
		r.fail(&failure{"resolve", "own_fault", "the check cannot be run: " + err.Error()}, nil)
		return
	}
	r.hidden = r.secrets
	p.kind.run(r)
	return
}

// walk is the run of an HTTP check: its request, the redirects, the judgement.
func (r *run) walk() {
	q := request{url: r.url, method: r.Method, body: r.material.body, headers: r.Headers, trusted: true, vouched: true}
	if r.IPVersion == "both" {
		r.walkBoth(q)
		return
	}
	rep, f := r.transact(q, nil)
	if f != nil {
		r.fail(f, rep)
		return
	}
	r.judge(rep)
}

// walkBoth makes the exchange over IPv4 and over IPv6; each must be good. The
// first one gets at most half of the time.
func (r *run) walkBoth(q request) {
	ctx, limit := r.ctx, r.limit
	defer func() { r.ctx, r.limit, r.family = ctx, limit, r.IPVersion }()
	var failed []*failure
	var evidence *reply
	for i, family := range []string{"4", "6"} {
		start := time.Now()
		deadline, _ := ctx.Deadline()
		r.limit = time.Until(deadline) / time.Duration(2-i)
		var cancel context.CancelFunc
		r.ctx, cancel = context.WithTimeout(ctx, r.limit)
		r.family, q.step = family, "IPv"+family
		rep, f := r.transact(q, nil)
		if f == nil {
			f = r.verdict(rep, r.expect, start, time.Now())
		}
		cancel()
		switch {
		case f == nil:
		case f.reason == "own_fault":
			r.fail(f, rep)
			return
		default:
			f.message = "over IPv" + family + ": " + f.message
			if failed = append(failed, f); len(failed) == 1 {
				evidence = rep
			}
		}
	}
	switch {
	case len(failed) == 0:
		r.succeed()
		return
	case len(failed) == 2:
		failed[0].message += "; " + failed[1].message
	case strings.HasPrefix(failed[0].message, "over IPv4"):
		failed[0].message += "; IPv6 is well"
	default:
		failed[0].message += "; IPv4 is well"
	}
	r.fail(failed[0], evidence)
}

// transact makes hop after hop until a reply is no redirect, and returns that
// reply. Without a jar one is made at the first redirect. With oauth2 a token is
// there first; one from an earlier run that is refused is asked for anew, once.
func (r *run) transact(at request, jar http.CookieJar) (*reply, *failure) {
	if r.OAuth2 == nil || !at.trusted {
		return r.chase(at, jar)
	}
	kept, rep, f := r.authorize()
	if f != nil {
		return rep, f
	}
	rep, f = r.chase(at, jar)
	if f != nil || rep.head.StatusCode != http.StatusUnauthorized {
		return rep, f
	}
	r.forgetToken()
	if !kept {
		return rep, nil
	}
	if _, rep, f = r.authorize(); f != nil {
		return rep, f
	}
	return r.chase(at, jar)
}

// chase is transact without the token.
func (r *run) chase(at request, jar http.CookieJar) (*reply, *failure) {
	first := len(r.res.Hops)
	if at.scope == nil {
		at.scope = &scope{own: []*url.URL{at.url}, origin: at.url}
	}
	visited := make(map[string]bool, 1)
	for {
		address := at.url.String()
		visited[address] = true
		hop := r.addHop(address)
		hop.Step = at.step
		rep, f := r.hop(hop, at)
		if rep != nil {
			rep.first = first
		}
		if rep != nil && rep.head != nil {
			if cookies := rep.head.Cookies(); len(cookies) > 0 {
				r.hidden = r.hidden.with(cookieValues(cookies)...)
			}
		}
		if f != nil {
			return rep, f
		}
		if jar != nil {
			jar.SetCookies(at.url, rep.head.Cookies())
		}
		to := redirect(rep.head)
		if to != "" {
			hop.Location = shorten(r.hidden.clean(to), 2048)
		}
		if to == "" || !r.follow() || at.stay {
			return rep, nil
		}
		next, err := at.url.Parse(to)
		if err != nil || (next.Scheme != "http" && next.Scheme != "https") || next.Hostname() == "" {
			return rep, &failure{"redirect", "bad_redirect", fmt.Sprintf("the reply %d redirects to %q, which is not an HTTP address", rep.head.StatusCode, hop.Location)}
		}
		if len(r.res.Hops)-first > r.MaxRedirects {
			said := fmt.Sprintf("the server redirects more than %d times, the last time to %s", r.MaxRedirects, hop.Location)
			if visited[next.String()] {
				said = fmt.Sprintf("the redirects go round in a circle: after %d of them %s comes again", r.MaxRedirects, hop.Location)
			}
			return rep, &failure{"redirect", "redirect_loop", said}
		}
		if jar == nil {
			jar, _ = cookiejar.New(nil) // New only fails on options
			jar.SetCookies(at.url, rep.head.Cookies())
		}
		at = at.redirected(rep.head.StatusCode, next)
		if at.secretBody && at.body != "" && !at.vouched {
			return rep, &failure{"redirect", "bad_redirect", fmt.Sprintf("the reply %d would have the body of the request, which holds a secret, sent to another host: %s", rep.head.StatusCode, hop.Location)}
		}
		at.cookies = jar.Cookies(next)
	}
}

// redirect returns where a reply sends its reader, "" when nowhere.
func redirect(head *http.Response) string {
	switch head.StatusCode {
	case 301, 302, 303, 307, 308:
		return head.Header.Get("Location")
	}
	return ""
}

// request is what one hop sends.
type request struct {
	url     *url.URL
	method  string
	body    string
	headers map[string]string
	step    string // of a flow
	hadBody bool   // before a redirect
	trusted bool   // goes to the check's own host: credentials may be sent
	vouched bool   // goes where its own telling headers may be sent
	cookies []*http.Cookie
	auth    string // the Authorization header, in place of the check's
	proxied bool   // the request itself goes to an HTTP proxy

	scope      *scope          // says so after a redirect; nil: the first host alone
	private    map[string]bool // headers that are telling whatever their name
	secretBody bool
	stay       bool // follow no redirect
}

// redirected is the request after a redirect.
func (q request) redirected(code int, to *url.URL) request {
	n := q
	n.url, n.hadBody, n.cookies, n.auth, n.proxied = to, q.hadBody || q.body != "", nil, "", false
	n.trusted, n.vouched = q.scope.owns(to), q.scope.vouches(to)
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		n.body = ""
		if n.method != http.MethodHead {
			n.method = http.MethodGet
		}
	}
	return n
}

// sameHost reports whether what may be sent to origin may be sent to u: the same
// scheme, host and port, or the same host on https instead of http.
func sameHost(u, origin *url.URL) bool {
	if !strings.EqualFold(u.Hostname(), origin.Hostname()) {
		return false
	}
	if u.Scheme == origin.Scheme {
		return portOf(u) == portOf(origin)
	}
	return u.Scheme == "https" && portOf(u) == "443" && portOf(origin) == "80"
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// reply is what came back. The body is decoded and cut at the limit.
type reply struct {
	head *http.Response
	body []byte
	raw  []byte // the first bytes of what is no HTTP; head is nil

	first   int // the run's hop with which the exchange began
	decoded bool
	tree    any // the body as JSON, once decoded
	jsonErr error
}

// end notes how a phase that began at start ended.
func end(hop *record.Hop, ph record.Phase, start time.Time, failed bool) {
	s := record.Done
	if failed {
		s = record.Failed
	}
	hop.Phases[ph] = record.PhaseTime{State: s, Duration: time.Since(start)}
}

// hop makes one HTTP transaction and fills in the phases as far as it comes.
func (r *run) hop(hop *record.Hop, q request) (*reply, *failure) {
	conn, rep, f := r.reach(hop, q)
	if f != nil {
		return rep, f
	}
	defer conn.Close()
	if q.url.Scheme != "https" {
		hop.Phases[record.TLS].State = record.Skipped
		if q.proxied = r.throughHTTP(q.url); q.proxied {
			rep, f = r.exchange(conn, hop, q)
			if f == nil && rep.head.StatusCode == http.StatusProxyAuthRequired {
				f = r.proxyRefusal(rep.head, q.url.String())
			}
			return rep, f
		}
		return r.exchange(conn, hop, q)
	}
	tc, f := r.handshake(conn, hop, q)
	if f != nil {
		return nil, f
	}
	if tc.ConnectionState().NegotiatedProtocol == "h2" {
		return r.exchangeHTTP2(tc, hop, q)
	}
	return r.exchange(tc, hop, q)
}

// addHop begins a hop; the pointer is good until the next one begins.
func (r *run) addHop(url string) *record.Hop {
	r.res.Hops = append(r.res.Hops, record.Hop{URL: r.hidden.clean(url), Offset: record.Seconds(time.Since(r.res.Start))})
	return &r.res.Hops[len(r.res.Hops)-1]
}

// open resolves a host and connects to it over TCP: the first two phases. The
// connection ends with the run's deadline, and at once when nobody wants the
// result any more; the caller closes it.
func (r *run) open(hop *record.Hop, host, port string) (net.Conn, *failure) {
	start := time.Now()
	addrs, literal, err := r.resolve(host)
	if literal {
		hop.Phases[record.Resolve].State = record.Skipped
	} else {
		end(hop, record.Resolve, start, err != nil)
	}
	if err != nil {
		return nil, r.resolveFailure(host, err)
	}
	conn, f := r.connect(hop, addrs, port)
	if f != nil {
		return nil, f
	}
	deadline, _ := r.ctx.Deadline()
	_ = conn.SetDeadline(deadline) // a TCP connection always takes one
	return watched{conn, context.AfterFunc(r.outer, func() { conn.Close() })}, nil
}

// watched is a connection that is closed when nobody wants the run's result.
type watched struct {
	net.Conn
	stop func() bool
}

func (w watched) Close() error {
	w.stop()
	return w.Conn.Close()
}

// ipNetworks are what the resolver is asked for.
var ipNetworks = map[string]string{"any": "ip", "prefer4": "ip", "prefer6": "ip", "both": "ip", "4": "ip4", "6": "ip6"}

// resolve finds the addresses to dial, at most one of each family, the
// preferred first.
func (r *run) resolve(host string) (addrs []netip.Addr, literal bool, err error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, true, nil
	}
	if r.Resolver != "" && strings.Contains(host, ".") && !strings.HasSuffix(host, ".") {
		host += "." // the search list of this machine is no business of that server
	}
	all, err := r.resolver.LookupNetIP(r.ctx, ipNetworks[r.family], host)
	if err != nil {
		return nil, false, err
	}
	var families [2][]netip.Addr
	for _, a := range all {
		a = a.Unmap()
		i := 1
		if a.Is4() != (r.family == "prefer6") {
			i = 0
		}
		families[i] = append(families[i], a)
	}
	for _, f := range families {
		if len(f) > 0 {
			addrs = append(addrs, f[0])
		}
	}
	if len(addrs) == 0 {
		return nil, false, &net.DNSError{Err: "no address in the answer", Name: host, IsNotFound: true}
	}
	return addrs, false, nil
}

// connect dials the addresses in turn; each gets its share of the time left.
func (r *run) connect(hop *record.Hop, addrs []netip.Addr, port string) (net.Conn, *failure) {
	// No keep-alive probes: they cost three system calls on a connection that
	// lives for one reply.
	d := net.Dialer{KeepAlive: -1}
	deadline, _ := r.ctx.Deadline()
	start := time.Now()
	var first *failure
	for i, a := range addrs {
		now := time.Now()
		if i < len(addrs)-1 { // the last one has what is left
			d.Deadline = now.Add(deadline.Sub(now) / time.Duration(len(addrs)-i))
		} else {
			d.Deadline = time.Time{}
		}
		address := net.JoinHostPort(a.String(), port)
		conn, err := d.DialContext(r.ctx, "tcp", address)
		if err == nil {
			hop.Address = address
			end(hop, record.Connect, start, false)
			return conn, nil
		}
		f := r.connectFailure(address, time.Since(now), err)
		if first == nil {
			first, hop.Address = f, address
		} else {
			first.message += "; the other address fails as well: " + f.message
		}
		if r.ctx.Err() != nil {
			break
		}
	}
	end(hop, record.Connect, start, true)
	return nil, first
}

// handshake makes the TLS session and notes its facts, also when it fails after
// the server has shown its certificate.
func (r *run) handshake(conn net.Conn, hop *record.Hop, q request) (*tls.Conn, *failure) {
	cfg := r.own
	if !q.trusted {
		cfg = r.foreign
	}
	return r.secure(conn, hop, cfg, q.url.Hostname())
}

// secure makes a TLS session over a connection; host is asked for and verified
// when cfg names no other. See handshake.
func (r *run) secure(conn net.Conn, hop *record.Hop, cfg *tls.Config, host string) (*tls.Conn, *failure) {
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	if !cfg.InsecureSkipVerify {
		cfg.InsecureSkipVerify = true // by crypto/tls: it is done here
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			return r.chains.verify(cfg.ServerName, cs.PeerCertificates, cfg.RootCAs, time.Now())
		}
	}
	r.asked = false
	if len(cfg.Certificates) == 0 {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			r.asked = true
			return &tls.Certificate{}, nil
		}
	}
	start := time.Now()
	tc := tls.Client(conn, cfg)
	err := tc.Handshake() // the connection's deadline bounds it
	cs := tc.ConnectionState()
	if len(cs.PeerCertificates) > 0 {
		hop.TLS = r.chains.facts(cfg.ServerName, cs, cfg.RootCAs)
	}
	if err == nil && cs.Version < tls.VersionTLS12 {
		err = errOldTLS
	}
	end(hop, record.TLS, start, err != nil)
	if err != nil {
		return nil, r.tlsFailure(cfg.ServerName, cs.Version, err)
	}
	return tc, nil
}

const (
	maxHead    = 256 << 10 // bytes of a reply before its body
	maxInterim = 10        // 1xx replies before the final one
)

// replyReaders are buffers that exchanges lend; half of the garbage of a run
// was one.
var replyReaders = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// exchange writes the request and reads the reply, in HTTP/1.1.
func (r *run) exchange(conn net.Conn, hop *record.Hop, q request) (*reply, *failure) {
	req := r.build(q)
	out, err := wire(req, q)
	// From here, and not from the end of the write: on a fast path the reply is
	// there before the write returns, and that time would be in no phase. This
	// is also where blackbox_exporter begins.
	start := time.Now()
	if err == nil {
		_, err = conn.Write(out)
	}
	// A server may answer and close before it has read everything: what it said
	// counts, the write error only when it said nothing.
	wrote := err
	in := &countReader{r: conn}
	bounded := &io.LimitedReader{R: in, N: maxHead}
	br := replyReaders.Get().(*bufio.Reader)
	br.Reset(bounded)
	defer func() {
		br.Reset(nil)
		replyReaders.Put(br)
	}()
	var first time.Time // first byte of the final reply, 1xx not counted
	var seen [512]byte
	var head *http.Response
	for n := 0; ; n++ {
		if _, err = br.Peek(1); err != nil {
			end(hop, record.Processing, start, true)
			if wrote != nil {
				err = wrote
			}
			return nil, r.silenceFailure(hop, err)
		}
		first = time.Now()
		said, _ := br.Peek(min(br.Buffered(), len(seen))) // buffered already: no error
		raw := seen[:copy(seen[:], said)]
		if head, err = http.ReadResponse(br, req); err != nil {
			// A line that breaks off is malformed to the parser: the reason is
			// that of the connection.
			switch {
			case in.err != nil:
				err = in.err
			case in.ended:
				err = io.ErrUnexpectedEOF
			}
			return r.headFailure(hop, start, first, raw, bounded.N <= 0, err)
		}
		if head.StatusCode >= 200 || head.StatusCode == http.StatusSwitchingProtocols {
			break
		}
		if n == maxInterim {
			return r.headFailure(hop, start, first, raw, false, fmt.Errorf("more than %d interim replies (1xx)", maxInterim))
		}
	}
	bounded.N = math.MaxInt64
	hop.Phases[record.Processing] = record.PhaseTime{State: record.Done, Duration: first.Sub(start)}
	return r.take(hop, head, first)
}

// take reads the body of a reply whose first byte came at first.
func (r *run) take(hop *record.Hop, head *http.Response, first time.Time) (*reply, *failure) {
	hop.Status, hop.Proto = head.StatusCode, head.Proto
	rep := &reply{head: head}
	got := readSized(head.Body, strings.Join(head.Header.Values("Content-Encoding"), ","), r.most, head.ContentLength)
	head.Body = http.NoBody // the buffer behind it goes to the next exchange
	rep.body, hop.Bytes = got.body, got.bytes
	if hop.Encoding = got.encoding; got.encoding != "" {
		hop.Decoded = int64(len(got.body))
	}
	end(hop, record.Transfer, first, got.err != nil || got.tooLarge)
	switch {
	case got.tooLarge:
		return rep, &failure{"transfer", "too_large", fmt.Sprintf("the body is larger than the %d bytes that max_body_bytes allows", r.most)}
	case got.err != nil:
		return rep, r.bodyFailure(hop.Bytes, head.ContentLength, got.err)
	case got.garbled != nil:
		return rep, &failure{"body", "bad_reply", fmt.Sprintf("the body says that it is %s and cannot be unpacked: %v", got.encoding, got.garbled)}
	}
	return rep, nil
}

// countReader counts bytes and remembers how reading ended.
type countReader struct {
	r     io.Reader
	n     int64
	ended bool  // with io.EOF
	err   error // any other
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	switch err {
	case nil:
	case io.EOF:
		c.ended = true
	default:
		c.err = err
	}
	return n, err
}

// wire renders a request in HTTP/1.1. What is plain is written here, which takes
// a third of the time of net/http; the rest is left to it.
func wire(req *http.Request, q request) ([]byte, error) {
	uri := req.URL.RequestURI()
	if q.proxied {
		uri = req.URL.Scheme + "://" + req.URL.Host + uri
	}
	plain := plainName(req.Method) && req.URL.Host != "" && req.Host != "" && printable(uri) && !strings.Contains(uri, " ") && printable(req.Host) && !strings.ContainsAny(req.Host+req.URL.Host, " /%") && req.URL.Opaque == ""
	names := make([]string, 0, 16)
	for name, vs := range req.Header {
		names = append(names, name)
		switch name {
		case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Trailer":
			plain = false
		}
		plain = plain && plainName(name)
		for _, v := range vs {
			plain = plain && v != "" && printable(v) && v == strings.TrimSpace(v)
		}
	}
	if !plain {
		var b bytes.Buffer
		write := req.Write
		if q.proxied {
			write = req.WriteProxy
		}
		err := write(&b)
		return b.Bytes(), err
	}
	slices.Sort(names)
	b := make([]byte, 0, 512+len(q.body))
	b = append(b, req.Method+" "+uri+" HTTP/1.1\r\nHost: "+req.Host+"\r\n"...)
	for _, name := range names {
		for _, v := range req.Header[name] {
			b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
		}
	}
	if q.body != "" || req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch {
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(len(q.body)), 10), "\r\n"...)
	}
	b = append(b, "Connection: close\r\n\r\n"...)
	return append(b, q.body...), nil
}

// plainName reports whether a header's name has letters, digits and dashes only.
func plainName(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' {
			return false
		}
	}
	return s != ""
}

// printable reports whether a text is visible ASCII and spaces.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func (r *run) build(q request) *http.Request {
	h := make(http.Header, 8)
	req := &http.Request{Method: q.method, URL: q.url, Host: q.url.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Close: true}
	if q.body != "" {
		req.Body = io.NopCloser(strings.NewReader(q.body))
		req.ContentLength = int64(len(q.body))
	}
	h["User-Agent"] = []string{"Vedette"}
	h["Accept"] = []string{"*/*"}
	if len(r.Compression) > 0 {
		h["Accept-Encoding"] = []string{strings.Join(r.Compression, ", ")}
	}
	h["Traceparent"] = []string{"00-" + r.res.TraceID + "-" + randomHex(8) + "-01"} // W3C Trace Context
	for name, v := range q.headers {
		switch {
		case !q.vouched && (strings.EqualFold(name, "Host") || sensitive(name) || q.private[name]):
		case q.hadBody && q.body == "" && strings.HasPrefix(http.CanonicalHeaderKey(name), "Content-"):
		case strings.EqualFold(name, "Host"):
			if !q.proxied { // a proxy goes by the address, which must be the same
				req.Host = v
			}
		default:
			h.Set(name, v)
		}
	}
	switch {
	case q.auth != "":
		h.Set("Authorization", q.auth)
	case q.trusted && (q.step == "" || h.Get("Authorization") == ""):
		switch u := q.url.User; {
		case r.token != "":
			h.Set("Authorization", "Bearer "+r.token)
		case r.BasicAuth.Username != "":
			req.SetBasicAuth(r.BasicAuth.Username, r.password)
		case r.bearer != "":
			h.Set("Authorization", "Bearer "+r.bearer)
		case u != nil && h.Get("Authorization") == "":
			pw, _ := u.Password()
			req.SetBasicAuth(u.Username(), pw)
		}
	}
	for _, c := range q.cookies {
		req.AddCookie(c)
	}
	if q.proxied && r.Proxy.Username != "" {
		h.Set("Proxy-Authorization", "Basic "+basicCredentials(r.Proxy.Username, r.proxy))
	}
	return req
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says its documentation
	return hex.EncodeToString(b)
}
