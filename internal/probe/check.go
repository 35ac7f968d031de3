package probe

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Check is one check as config, API and UI write it: one object, the same keys
// everywhere.
type Check struct {
	Name string `yaml:"name"`
	// ID is what runs are kept under; default: the name in lower case with
	// dashes.
	ID string `yaml:"id,omitempty"`
	// Kind is how the target is looked at; default: what the scheme of the URL
	// says. See kinds.
	Kind string `yaml:"kind,omitempty"`
	// URL is the target. It holds no credentials once Validate has passed: those
	// written in it are moved to BasicAuth.
	URL      string            `yaml:"url,omitempty"`
	Interval time.Duration     `yaml:"interval,omitempty"` // default 30s
	Timeout  time.Duration     `yaml:"timeout,omitempty"`  // default 10s, at most the interval
	Labels   map[string]string `yaml:"labels,omitempty"`
	// Paused keeps the check out of the schedule; it can still be run by hand.
	Paused bool `yaml:"paused,omitempty"`
	// Locations are the places that run the check: names, and label=value for
	// all places with that label. Default: every place that is not private.
	Locations []string `yaml:"locations,omitempty"`
	// Alert says when the check as a whole is down and who is told.
	Alert record.Policy `yaml:"alert,omitempty"`
	// DependsOn are ids of checks whose failure explains this one's.
	DependsOn []string `yaml:"depends_on,omitempty"`
	// Role gives the check of a service's own endpoint the meaning that
	// Kubernetes gives its probes: "startup" (failures do not count until it
	// succeeded once or StartupSeconds passed), "readiness" (a failure is a
	// warning: not ready is not down) or "liveness" (a failure is down). Judging
	// it is done where states are.
	Role string `yaml:"role,omitempty"`
	// StartupSeconds is how long a check of the role startup may fail from the
	// begin of this process on; default 300.
	StartupSeconds int `yaml:"startup_seconds,omitempty"`

	// What the exchange over HTTP looks like: kinds http and those built on it.
	Method          string            `yaml:"method,omitempty"`
	Headers         map[string]string `yaml:"headers,omitempty"`
	Body            string            `yaml:"body,omitempty"`
	BodyFile        string            `yaml:"body_file,omitempty"`        // sent instead of Body; read again when it changes
	FollowRedirects *bool             `yaml:"follow_redirects,omitempty"` // default true
	MaxRedirects    int               `yaml:"max_redirects,omitempty"`    // default 10
	// HTTP2 offers h2 in the TLS handshake; a server that does not take it is
	// spoken to in HTTP/1.1, as is every server without it.
	HTTP2 bool `yaml:"http2,omitempty"`
	// Compression lists the encodings asked for: gzip, br, zstd, identity. What a
	// server sends in one of them is undone, asked for or not.
	Compression  []string  `yaml:"compression,omitempty"`
	Proxy        *Proxy    `yaml:"proxy,omitempty"`
	OAuth2       *OAuth2   `yaml:"oauth2,omitempty"`
	BasicAuth    BasicAuth `yaml:"basic_auth,omitempty"`
	BearerToken  string    `yaml:"bearer_token,omitempty"`
	BearerFile   string    `yaml:"bearer_token_file,omitempty"`
	MaxBodyBytes int64     `yaml:"max_body_bytes,omitempty"` // after decoding; default 1 MiB; a longer body fails the check

	// IPVersion is "any" or "prefer4" (IPv4, then IPv6), "prefer6", "4" or "6", and
	// for the kind http "both": the target must answer over each of them.
	IPVersion string `yaml:"ip_version,omitempty"`
	// Resolver is the ip:port of a DNS server to ask instead of the system's.
	// Names in the hosts file stay known.
	Resolver string `yaml:"resolver,omitempty"`
	TLS      TLS    `yaml:"tls,omitempty"`
	Expect   Expect `yaml:"expect,omitempty"`

	// The section of the check's own kind; the others stay empty.
	TCP       *TCP       `yaml:"tcp,omitempty"`
	UDP       *UDP       `yaml:"udp,omitempty"`
	DNS       *DNS       `yaml:"dns,omitempty"`
	ICMP      *ICMP      `yaml:"icmp,omitempty"`
	GRPC      *GRPC      `yaml:"grpc,omitempty"`
	Exec      *Exec      `yaml:"exec,omitempty"`
	Websocket *Websocket `yaml:"websocket,omitempty"`
	SSH       *SSH       `yaml:"ssh,omitempty"`
	SMTP      *SMTP      `yaml:"smtp,omitempty"`
	Database  *Database  `yaml:"database,omitempty"`
	Chain     *Chain     `yaml:"chain,omitempty"`
	Flow      *Flow      `yaml:"flow,omitempty"`
	Browser   *Browser   `yaml:"browser,omitempty"`
}

// Expect is what a good reply looks like. An empty field expects nothing.
type Expect struct {
	Status          Statuses          `yaml:"status,omitempty"` // codes and classes, such as 200 or 2xx; default 2xx
	BodyContains    string            `yaml:"body_contains,omitempty"`
	BodyNotContains string            `yaml:"body_not_contains,omitempty"`
	BodyRegex       string            `yaml:"body_regex,omitempty"`
	BodyNotRegex    string            `yaml:"body_not_regex,omitempty"`
	Headers         map[string]string `yaml:"headers,omitempty"` // name -> regular expression of the whole value
	MaxSeconds      float64           `yaml:"max_seconds,omitempty"`
	CertificateDays int               `yaml:"certificate_days,omitempty"` // fail when the certificate ends sooner

	// The body as JSON: rules for what paths find, and a schema, which is a
	// mapping as the schema is written in JSON, or its text.
	JSON           []JSONRule `yaml:"json,omitempty"`
	JSONSchema     any        `yaml:"json_schema,omitempty"`
	JSONSchemaFile string     `yaml:"json_schema_file,omitempty"`
	// CEL is an expression that must be true; see celVariables.
	CEL      string             `yaml:"cel,omitempty"`
	MinBytes int64              `yaml:"min_bytes,omitempty"` // of the decoded body
	MaxBytes int64              `yaml:"max_bytes,omitempty"`
	Phases   map[string]float64 `yaml:"phases,omitempty"`   // name -> most seconds, redirects added up
	Protocol string             `yaml:"protocol,omitempty"` // HTTP/1.0, HTTP/1.1, HTTP/2 or HTTP/3
	// TLSVersion is the oldest version of TLS that is good: 1.2 or 1.3.
	TLSVersion string `yaml:"tls_version,omitempty"`
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
	*s = nil
	for _, v := range list {
		*s = append(*s, fmt.Sprint(v))
	}
	return nil
}

// Has reports whether a code is expected. No statuses expect 2xx.
func (s Statuses) Has(code int) bool {
	if len(s) == 0 {
		return code/100 == 2
	}
	for _, w := range s {
		if lo, hi, ok := statusRange(w); ok && lo <= code && code <= hi {
			return true
		}
	}
	return false
}

// String lists what is expected.
func (s Statuses) String() string {
	if len(s) == 0 {
		return "2xx"
	}
	return strings.Join(s, ", ")
}

func (s Statuses) validate() error {
	for _, w := range s {
		if _, _, ok := statusRange(w); !ok {
			return fmt.Errorf("%q: want a code from 100 to 599 or a class such as 2xx", w)
		}
	}
	return nil
}

// statusRange reads a code or a class.
func statusRange(w string) (lo, hi int, ok bool) {
	if len(w) != 3 || w[0] < '1' || w[0] > '5' {
		return 0, 0, false
	}
	if strings.EqualFold(w[1:], "xx") {
		lo = int(w[0]-'0') * 100
		return lo, lo + 99, true
	}
	n, err := strconv.Atoi(w)
	return n, n, err == nil
}

// TLS is how the handshake is made and judged. The server name and the client
// certificate are for the check's own host; a redirect to another host gets
// neither.
type TLS struct {
	CAFile   string `yaml:"ca_file,omitempty"`
	CertFile string `yaml:"cert_file,omitempty"`
	KeyFile  string `yaml:"key_file,omitempty"`
	// ServerName is asked for and verified; default: the Host header of the
	// check, else the URL's host.
	ServerName         string `yaml:"server_name,omitempty"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify,omitempty"`
}

// BasicAuth is a user with a password or the file that holds it.
type BasicAuth struct {
	Username     string `yaml:"username,omitempty"`
	Password     string `yaml:"password,omitempty"`
	PasswordFile string `yaml:"password_file,omitempty"`
}

// Files are the paths of files that the check names, to be read and changed.
func (c *Check) Files() []*string {
	var out []*string
	for _, p := range slices.Concat(c.files(), []*string{&c.Expect.JSONSchemaFile}, c.Flow.files(), c.Browser.files()) {
		if *p != "" {
			out = append(out, p)
		}
	}
	return out
}

// ResolvePaths makes the files named by the check relative to dir.
func (c *Check) ResolvePaths(dir string) {
	for _, p := range c.Files() {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// files are the paths of the files that a run may read.
func (c *Check) files() []*string {
	fs := []*string{&c.TLS.CAFile, &c.TLS.CertFile, &c.TLS.KeyFile, &c.BasicAuth.PasswordFile, &c.BearerFile, &c.BodyFile}
	if c.Proxy != nil {
		fs = append(fs, &c.Proxy.PasswordFile)
	}
	if c.OAuth2 != nil {
		fs = append(fs, &c.OAuth2.ClientSecretFile)
	}
	return fs
}

// Target is what is looked at as it may be shown: the URL without values of the
// query that look like credentials, or what the kind has in its place.
func (c Check) Target() string {
	if k, ok := kinds()[c.Kind]; ok && k.target != nil {
		return hideInURLs(k.target(&c))
	}
	return hideInURLs(c.URL)
}

func (c *Check) follow() bool { return c.FollowRedirects == nil || *c.FollowRedirects }

// deadline is how long a run may take: the timeout, and always a little less
// than the interval, so that a run has ended when the next one is due.
func (c *Check) deadline() time.Duration {
	return min(c.Timeout, c.Interval-min(c.Interval/20, 500*time.Millisecond))
}

// header returns one of the check's own headers, "" when it is not set.
func (c *Check) header(name string) string {
	for n, v := range c.Headers {
		if http.CanonicalHeaderKey(n) == name {
			return v
		}
	}
	return ""
}

// labelPairs are the labels of every series of the check. Of the check's own
// labels only job can replace one of ours: Validate refuses the others.
func (c *Check) labelPairs(location string) []string {
	out := []string{"job", "vedette-checks", "check", c.Name, "instance", c.Target(), "location", location}
	names := make([]string, 0, len(c.Labels))
	for n := range c.Labels {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		if n == "job" {
			out[1] = c.Labels[n]
			continue
		}
		out = append(out, n, c.Labels[n])
	}
	return out
}
