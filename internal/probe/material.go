package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// prepared is a check with everything parsed that does not change between runs.
type prepared struct {
	Check
	url      *url.URL
	resolver *net.Resolver
	expect   *expectation
	kind     kind
	parsed   any          // what the kind's prepare made
	groups   *chainGroups // of the prober; nil in a single run

	paths []string // of the files that a run may read
	shown string   // the target

	mu    sync.Mutex
	read  *material
	stamp []fileStamp // of the files behind read
	token *oauthToken // the last one; nil: none, or it was refused
}

// material is what a check needs and may keep in files: certificates, keys and
// credentials. It is never changed once made, but for what chains remembers.
type material struct {
	chains   chains
	own      *tls.Config // for the check's own host
	foreign  *tls.Config // for hosts that a redirect leads to
	password string
	bearer   string
	body     string
	proxy    string // password
	client   string // secret of oauth2
	secrets  secrets
}

// fileStamp tells whether a file was replaced.
type fileStamp struct {
	size int64
	mod  time.Time
}

func prepare(c Check) (*prepared, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	p := &prepared{Check: c, url: u, resolver: net.DefaultResolver, kind: kinds()[c.Kind], shown: c.Target()}
	if c.Resolver != "" {
		var d net.Dialer
		p.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, c.Resolver)
		}}
	}
	for _, f := range c.files() {
		if *f != "" {
			p.paths = append(p.paths, *f)
		}
	}
	if p.expect, err = c.Expect.compile(); err != nil {
		return nil, err
	}
	if p.kind.prepare != nil {
		if p.parsed, err = p.kind.prepare(&p.Check); err != nil {
			return nil, err
		}
	}
	_, err = p.material()
	return p, err
}

// material returns what the files of the check hold. It reads them again when
// one was replaced, so that renewed certificates and tokens need no reload; a
// check without files never reads anything twice.
func (p *prepared) material() (*material, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var now []fileStamp
	for _, path := range p.paths {
		var st fileStamp
		if fi, err := os.Stat(path); err == nil {
			st = fileStamp{fi.Size(), fi.ModTime()}
		}
		now = append(now, st)
	}
	if p.read != nil && slices.Equal(now, p.stamp) {
		return p.read, nil
	}
	m, err := p.Check.read()
	if err != nil {
		return nil, err
	}
	p.read, p.stamp = m, now
	return m, nil
}

// read makes the check's material from its fields and files.
func (c *Check) read() (*material, error) {
	m := &material{}
	var err error
	if m.password, err = oneOf("basic_auth.password_file", c.BasicAuth.Password, c.BasicAuth.PasswordFile); err != nil {
		return nil, err
	}
	if m.bearer, err = oneOf("bearer_token_file", c.BearerToken, c.BearerFile); err != nil {
		return nil, err
	}
	if strings.ContainsAny(m.bearer, "\r\n\x00") {
		return nil, fmt.Errorf("bearer_token: holds a line break; want one line of text")
	}
	if m.body, err = c.readBody(); err != nil {
		return nil, err
	}
	if x := c.Proxy; x != nil {
		if m.proxy, err = oneOf("proxy.password_file", x.Password, x.PasswordFile); err != nil {
			return nil, err
		}
		if m.proxy != "" {
			m.secrets = m.secrets.with(basicCredentials(x.Username, m.proxy))
		}
	}
	if o := c.OAuth2; o != nil {
		if m.client, err = oneOf("oauth2.client_secret_file", o.ClientSecret, o.ClientSecretFile); err != nil {
			return nil, err
		}
		m.secrets = m.secrets.with(basicCredentials(url.QueryEscape(o.ClientID), url.QueryEscape(m.client)))
		for name, v := range o.Params {
			if secretName.MatchString(name) {
				m.secrets = m.secrets.with(v)
			}
		}
	}
	m.secrets = m.secrets.with(m.password, m.bearer, m.proxy, m.client)
	if m.password != "" {
		m.secrets = m.secrets.with(basicCredentials(c.BasicAuth.Username, m.password))
	}
	for name, v := range c.Headers {
		if sensitive(name) {
			m.secrets = m.secrets.with(v)
		}
		if http.CanonicalHeaderKey(name) == "Cookie" {
			cookies, _ := http.ParseCookie(v) // what does not parse is hidden as a whole
			m.secrets = m.secrets.with(cookieValues(cookies)...)
		}
	}
	if m.own, m.foreign, err = c.tlsConfigs(); err != nil {
		return nil, err
	}
	return m, nil
}

// maxRequestBody bounds a body that is read from a file.
const maxRequestBody = 16 << 20

// readBody is the body of the check's request.
func (c *Check) readBody() (string, error) {
	if c.BodyFile == "" {
		return c.Body, nil
	}
	f, err := os.Open(c.BodyFile)
	if err != nil {
		return "", fmt.Errorf("body_file: want a readable file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRequestBody+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("body_file: want a readable file: %w", err)
	case len(b) > maxRequestBody:
		return "", fmt.Errorf("body_file: %s has more than %d bytes; want at most that", c.BodyFile, maxRequestBody)
	}
	return string(b), nil
}

func oneOf(key, inline, file string) (string, error) {
	if file == "" {
		return inline, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: want a readable file: %w", key, err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (c *Check) tlsConfigs() (own, foreign *tls.Config, err error) {
	// TLS 1.0 is offered so that an old server is described, not just refused:
	// a version below 1.2 fails the check with the reason tls_protocol.
	own = &tls.Config{ServerName: c.TLS.ServerName, InsecureSkipVerify: c.TLS.InsecureSkipVerify, MinVersion: tls.VersionTLS10}
	switch {
	case c.HTTP2:
		own.NextProtos = []string{"h2", "http/1.1"}
	case kinds()[c.Kind].http:
		own.NextProtos = []string{"http/1.1"}
	}
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("tls.ca_file: want a readable file: %w", err)
		}
		own.RootCAs = x509.NewCertPool()
		if !own.RootCAs.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("tls.ca_file: %s holds no certificate; want PEM", c.TLS.CAFile)
		}
	}
	foreign = own.Clone()
	foreign.ServerName = ""
	if c.TLS.CertFile != "" {
		crt, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, nil, fmt.Errorf("tls.cert_file: %s with tls.key_file %s: %w", c.TLS.CertFile, c.TLS.KeyFile, err)
		}
		own.Certificates = []tls.Certificate{crt}
	}
	if own.ServerName == "" {
		own.ServerName = hostOnly(c.header("Host"))
	}
	if u, err := url.Parse(c.URL); err == nil && own.ServerName == "" {
		own.ServerName = u.Hostname()
	}
	return own, foreign, nil
}

// hostOnly cuts the port off a Host header.
func hostOnly(h string) string {
	if host, _, err := net.SplitHostPort(h); err == nil {
		return host
	}
	return strings.Trim(h, "[]")
}
