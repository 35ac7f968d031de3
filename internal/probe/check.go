package probe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Check is one HTTP check as config, API and UI write it.
type Check struct {
	Name string `yaml:"name" json:"name"`
	// ID is what runs are kept under; default: the name in lower case with
	// dashes.
	ID       string            `yaml:"id" json:"id"`
	URL      string            `yaml:"url" json:"url"`
	Interval time.Duration     `yaml:"interval" json:"-"` // default 30s
	Timeout  time.Duration     `yaml:"timeout" json:"-"`  // default 10s, at most the interval
	Method   string            `yaml:"method" json:"method"`
	Headers  map[string]string `yaml:"headers" json:"-"`
	Body     string            `yaml:"body" json:"-"`
	Expect   Expect            `yaml:"expect" json:"-"`
	Labels   map[string]string `yaml:"labels" json:"labels"`
	Paused   bool              `yaml:"paused" json:"paused"`

	FollowRedirects *bool `yaml:"follow_redirects" json:"-"` // default true
	MaxRedirects    int   `yaml:"max_redirects" json:"-"`    // default 10
	// IPVersion is "any" (IPv4 first, then IPv6), "4" or "6".
	IPVersion string `yaml:"ip_version" json:"-"`
	// Resolver is the ip:port of a DNS server to ask instead of the system's.
	Resolver     string    `yaml:"resolver" json:"-"`
	TLS          TLS       `yaml:"tls" json:"-"`
	BasicAuth    BasicAuth `yaml:"basic_auth" json:"-"`
	BearerToken  string    `yaml:"bearer_token" json:"-"`
	BearerFile   string    `yaml:"bearer_token_file" json:"-"`
	MaxBodyBytes int64     `yaml:"max_body_bytes" json:"-"` // default 1 MiB
}

// Expect is what a good reply looks like. An empty field expects nothing.
type Expect struct {
	Status          Statuses          `yaml:"status"` // codes and classes, such as 200 or 2xx; default 2xx
	BodyContains    string            `yaml:"body_contains"`
	BodyNotContains string            `yaml:"body_not_contains"`
	BodyRegex       string            `yaml:"body_regex"`
	Headers         map[string]string `yaml:"headers"` // name -> regular expression of the whole value
	MaxSeconds      float64           `yaml:"max_seconds"`
	CertificateDays int               `yaml:"certificate_days"` // fail when the certificate ends sooner
}

// Statuses are codes and classes of codes.
type Statuses []string

// UnmarshalYAML takes one value or a list, numbers or texts.
func (s *Statuses) UnmarshalYAML(unmarshal func(any) error) error {
	var list []any
	if err := unmarshal(&list); err != nil {
		var one any
		if err := unmarshal(&one); err != nil {
			return err
		}
		list = []any{one}
	}
	for _, v := range list {
		*s = append(*s, fmt.Sprint(v))
	}
	return nil
}

// Has reports whether a code is expected.
func (s Statuses) Has(code int) bool {
	if len(s) == 0 {
		return code/100 == 2
	}
	t := strconv.Itoa(code)
	for _, w := range s {
		if w == t || len(w) == 3 && strings.HasSuffix(strings.ToLower(w), "xx") && w[0] == t[0] {
			return true
		}
	}
	return false
}

func (s Statuses) validate() error {
	for _, w := range s {
		n, err := strconv.Atoi(w)
		class := len(w) == 3 && w[0] >= '1' && w[0] <= '5' && strings.EqualFold(w[1:], "xx")
		if !class && (err != nil || n < 100 || n > 599) {
			return fmt.Errorf("%q: want a code from 100 to 599 or a class such as 2xx", w)
		}
	}
	return nil
}

// TLS is how the handshake is made and judged.
type TLS struct {
	CAFile             string `yaml:"ca_file"`
	CertFile           string `yaml:"cert_file"`
	KeyFile            string `yaml:"key_file"`
	ServerName         string `yaml:"server_name"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
}

// BasicAuth is a user with a password or the file that holds it.
type BasicAuth struct {
	Username     string `yaml:"username"`
	Password     string `yaml:"password"`
	PasswordFile string `yaml:"password_file"`
}

var notID = regexp.MustCompile(`[^a-z0-9]+`)

// Validate fills in the defaults and refuses what cannot work. The error begins
// with the key.
func (c *Check) Validate() error {
	if c.Name == "" {
		return errors.New("name: is missing; it names the check in alerts")
	}
	if len(c.Name) > 200 {
		return fmt.Errorf("name: has %d bytes; want at most 200", len(c.Name))
	}
	if c.ID == "" {
		c.ID = strings.Trim(notID.ReplaceAllString(strings.ToLower(c.Name), "-"), "-")
	}
	if c.ID == "" {
		return fmt.Errorf("id: cannot be made from the name %q; set one of a-z, 0-9 and dashes", c.Name)
	}
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		return errors.New("url: is missing; want such as https://shop.example.org/health")
	case err != nil:
		return fmt.Errorf("url: %q: %w", c.URL, err)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("url: %q: want a URL that begins with http:// or https://", c.URL)
	case u.Hostname() == "":
		return fmt.Errorf("url: %q has no host", c.URL)
	}
	if c.Interval == 0 {
		c.Interval = 30 * time.Second
	}
	if c.Interval < time.Second {
		return fmt.Errorf("interval: %s is shorter than 1s", c.Interval)
	}
	if c.Timeout == 0 {
		c.Timeout = min(10*time.Second, c.Interval)
	}
	if c.Timeout < 0 || c.Timeout > c.Interval {
		return fmt.Errorf("timeout: %s: want more than 0 and at most the interval %s", c.Timeout, c.Interval)
	}
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	c.Method = strings.ToUpper(c.Method)
	if !token.MatchString(c.Method) {
		return fmt.Errorf("method: %q: want a word such as GET or POST", c.Method)
	}
	for name, v := range c.Headers {
		if !token.MatchString(name) || strings.ContainsAny(v, "\r\n\x00") {
			return fmt.Errorf("headers: %q is not a valid header", name)
		}
	}
	if c.MaxRedirects == 0 {
		c.MaxRedirects = 10
	}
	if c.MaxRedirects < 0 {
		return fmt.Errorf("max_redirects: %d is negative; set follow_redirects: false to follow none", c.MaxRedirects)
	}
	switch c.IPVersion {
	case "":
		c.IPVersion = "any"
	case "any", "4", "6":
	default:
		return fmt.Errorf("ip_version: %q: want any, 4 or 6", c.IPVersion)
	}
	if c.Resolver != "" {
		if host, _, err := net.SplitHostPort(c.Resolver); err != nil || net.ParseIP(host) == nil {
			return fmt.Errorf("resolver: %q: want the address of a DNS server, such as 10.0.0.2:53", c.Resolver)
		}
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = 1 << 20
	}
	if c.MaxBodyBytes < 0 {
		return fmt.Errorf("max_body_bytes: %d is negative", c.MaxBodyBytes)
	}
	if err := c.Expect.Status.validate(); err != nil {
		return fmt.Errorf("expect.status: %w", err)
	}
	if _, err := regexp.Compile(c.Expect.BodyRegex); err != nil {
		return fmt.Errorf("expect.body_regex: %w", err)
	}
	for name, re := range c.Expect.Headers {
		if _, err := regexp.Compile(re); err != nil {
			return fmt.Errorf("expect.headers: %s: %w", name, err)
		}
	}
	if c.Expect.MaxSeconds < 0 || c.Expect.CertificateDays < 0 {
		return errors.New("expect: max_seconds and certificate_days must not be negative")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return errors.New("tls: cert_file and key_file go together")
	}
	if _, err := c.tlsConfig(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	if _, _, err := c.secrets(); err != nil {
		return err
	}
	for name := range c.Labels {
		if !labelName.MatchString(name) || strings.HasPrefix(name, "__") {
			return fmt.Errorf("labels: %q is not a label name; want letters, digits and _", name)
		}
	}
	return nil
}

var (
	token     = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// ResolvePaths makes the files named by the check relative to dir.
func (c *Check) ResolvePaths(dir string) {
	for _, p := range []*string{&c.TLS.CAFile, &c.TLS.CertFile, &c.TLS.KeyFile, &c.BasicAuth.PasswordFile, &c.BearerFile} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

func (c *Check) follow() bool { return c.FollowRedirects == nil || *c.FollowRedirects }

func (c *Check) tlsConfig() (*tls.Config, error) {
	// TLS 1.0 is offered so that an old server is described, not just refused:
	// a version below 1.2 fails the check with the reason tls_protocol.
	cfg := &tls.Config{ServerName: c.TLS.ServerName, InsecureSkipVerify: c.TLS.InsecureSkipVerify, MinVersion: tls.VersionTLS10, NextProtos: []string{"http/1.1"}}
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", c.TLS.CAFile)
		}
	}
	if c.TLS.CertFile != "" {
		crt, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{crt}
	}
	return cfg, nil
}

// secrets returns the password and the bearer token, read from their files.
func (c *Check) secrets() (password, bearer string, err error) {
	read := func(key, inline, file string) (string, error) {
		if file == "" {
			return inline, nil
		}
		if inline != "" {
			return "", fmt.Errorf("%s and %s_file are both set; keep one", key, key)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("%s_file: %w", key, err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	if password, err = read("basic_auth.password", c.BasicAuth.Password, c.BasicAuth.PasswordFile); err != nil {
		return "", "", err
	}
	bearer, err = read("bearer_token", c.BearerToken, c.BearerFile)
	return password, bearer, err
}

// labelPairs are the labels of every series of the check.
func (c *Check) labelPairs(location string) []string {
	out := []string{"job", "vedette-checks", "check", c.Name, "instance", c.URL, "location", location}
	names := make([]string, 0, len(c.Labels))
	for n := range c.Labels {
		names = append(names, n)
	}
	sort.Strings(names)
next:
	for _, n := range names {
		for i := 0; i < len(out); i += 2 {
			if out[i] == n {
				out[i+1] = c.Labels[n]
				continue next
			}
		}
		out = append(out, n, c.Labels[n])
	}
	return out
}
