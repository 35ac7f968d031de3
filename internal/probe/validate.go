package probe

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	notID        = regexp.MustCompile(`[^\p{L}\p{N}]+`)
	idForm       = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N}._-]*$`)
	token        = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	labelName    = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	locationName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

// ownHeaders are written by the prober itself.
var ownHeaders = map[string]string{
	"Content-Length":    "the length of body is sent",
	"Transfer-Encoding": "the body is sent with its length",
	"Connection":        "each run uses a connection of its own",
	"Traceparent":       "each run sends its own trace id",
}

// ownLabels are on the check's series already.
var ownLabels = map[string]bool{
	"check": true, "instance": true, "location": true, "phase": true, "stage": true, "reason": true, "version": true,
}

// Validate fills in the defaults and refuses what cannot work. The error begins
// with the key, gives the value and says what was expected; it holds no secret.
// Validating twice changes nothing.
func (c *Check) Validate() error {
	parts := []func() error{c.validateIdentity, c.validateTimes, c.validateRequest, c.validateNetwork, c.validateExpect, c.validateRole, c.validateLabels, c.Alert.Validate, c.validatePlaces, c.validateKind}
	for _, part := range parts {
		if err := part(); err != nil {
			return err
		}
	}
	// The files are read here as well, so that a missing one is told at once.
	_, err := c.read()
	return err
}

func (c *Check) validateIdentity() error {
	switch {
	case c.Name == "":
		return errors.New("name: is missing; it names the check in alerts")
	case len(c.Name) > 200:
		return fmt.Errorf("name: has %d bytes; want at most 200", len(c.Name))
	case !utf8.ValidString(c.Name):
		return fmt.Errorf("name: %q: want valid UTF-8", c.Name)
	}
	sameName := c.Name == c.URL
	if err := c.setKind(); err != nil {
		return err
	}
	if err := c.validateURL(); err != nil {
		return err
	}
	if sameName {
		c.Name = c.URL // a URL given as name as well lost its password too
	}
	if c.ID == "" {
		c.ID = strings.Trim(notID.ReplaceAllString(strings.ToLower(c.Name), "-"), "-")
	}
	switch {
	case c.ID == "":
		return fmt.Errorf("id: cannot be made from the name %q; set one of letters, digits and dashes", c.Name)
	case !idForm.MatchString(c.ID) || len(c.ID) > 200:
		return fmt.Errorf("id: %q: want letters, digits, '-', '_' and '.', beginning with a letter or digit, at most 200 bytes", c.ID)
	}
	return nil
}

// validateURL checks the URL and moves credentials out of it.
func (c *Check) validateURL() error {
	k := kinds()[c.Kind]
	if c.URL == "" {
		if len(k.schemes) == 0 || k.optionalURL {
			return nil // the kind has its target elsewhere
		}
		return fmt.Errorf("url: is missing; want such as %s", k.example)
	}
	shown := hideInURLs(c.URL)
	u, err := url.Parse(c.URL)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL, which may hold a password
		}
		return fmt.Errorf("url: %q: %v; want such as %s", shown, err, k.example)
	}
	port, perr := strconv.Atoi(u.Port())
	switch {
	case len(k.schemes) == 0:
		return fmt.Errorf("url: %q: a check of the kind %s has no url", shown, c.Kind)
	case !slices.Contains(k.schemes, u.Scheme):
		return fmt.Errorf("url: %q: want a URL that begins with %s://", shown, strings.Join(k.schemes, ":// or "))
	case u.Hostname() == "":
		return fmt.Errorf("url: %q has no host; want such as %s", shown, k.example)
	case strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r > 127 }):
		return fmt.Errorf("url: host %q: want its ASCII form, which begins with xn--", u.Hostname())
	case u.Port() != "" && (perr != nil || port < 1 || port > 65535):
		return fmt.Errorf("url: port %q: want a number from 1 to 65535", u.Port())
	case u.Port() == "" && k.port == portNeeded:
		return fmt.Errorf("url: %q has no port; want such as %s", shown, k.example)
	}
	if u.User != nil {
		if c.BasicAuth.Username != "" || c.BearerToken != "" || c.BearerFile != "" {
			return fmt.Errorf("url: %q holds a user, and basic_auth or bearer_token is set too; keep one", shown)
		}
		c.BasicAuth.Username = u.User.Username()
		c.BasicAuth.Password, _ = u.User.Password()
		u.User = nil
		c.URL = u.String()
	}
	return nil
}

func (c *Check) validateTimes() error {
	k := kinds()[c.Kind]
	if c.Interval == 0 {
		c.Interval = cmp.Or(k.interval, 30*time.Second)
	}
	if c.Interval < time.Second {
		return fmt.Errorf("interval: %s: want 1s or more", c.Interval)
	}
	if c.Timeout == 0 {
		c.Timeout = min(cmp.Or(k.timeout, 10*time.Second), c.Interval)
	}
	if c.Timeout < time.Millisecond || c.Timeout > c.Interval {
		return fmt.Errorf("timeout: %s: want from 1ms to the interval, %s", c.Timeout, c.Interval)
	}
	return nil
}

func (c *Check) validateRequest() error {
	if !kinds()[c.Kind].http {
		return c.refuseHTTP()
	}
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	c.Method = strings.ToUpper(c.Method)
	if !token.MatchString(c.Method) || c.Method == http.MethodConnect {
		return fmt.Errorf("method: %q: want a word such as GET, HEAD or POST", c.Method)
	}
	seen := map[string]string{}
	for _, name := range sortedKeys(c.Headers) {
		key := http.CanonicalHeaderKey(name)
		switch why, own := ownHeaders[key], seen[key]; {
		case !token.MatchString(name):
			return fmt.Errorf("headers: name %q: want letters, digits and dashes", name)
		case strings.ContainsFunc(c.Headers[name], func(r rune) bool { return r < ' ' && r != '\t' || r == 127 }):
			return fmt.Errorf("headers: the value of %s holds a line break or control character; want plain text", name)
		case why != "":
			return fmt.Errorf("headers: %s cannot be set: %s", name, why)
		case own != "":
			return fmt.Errorf("headers: %s and %s are the same header; keep one", own, name)
		}
		seen[key] = name
	}
	if c.MaxRedirects == 0 {
		c.MaxRedirects = 10
	}
	if c.MaxRedirects < 0 || c.MaxRedirects > 100 {
		return fmt.Errorf("max_redirects: %d: want from 1 to 100; follow_redirects: false follows none", c.MaxRedirects)
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = 1 << 20
	}
	if c.MaxBodyBytes < 0 || c.MaxBodyBytes > 1<<30 {
		return fmt.Errorf("max_body_bytes: %d: want from 1 to 1073741824 (1 GiB)", c.MaxBodyBytes)
	}
	if err := c.validateBody(); err != nil {
		return err
	}
	b := c.BasicAuth
	switch {
	case b.Username == "" && (b.Password != "" || b.PasswordFile != ""):
		return errors.New("basic_auth.username: is missing; a password needs a user")
	case b.Password != "" && b.PasswordFile != "":
		return errors.New("basic_auth.password: is set beside basic_auth.password_file; keep one")
	case c.BearerToken != "" && c.BearerFile != "":
		return errors.New("bearer_token: is set beside bearer_token_file; keep one")
	case b.Username != "" && (c.BearerToken != "" || c.BearerFile != ""):
		return errors.New("bearer_token: is set beside basic_auth; a request has one Authorization header, keep one")
	case c.header("Authorization") != "" && (b.Username != "" || c.BearerToken != "" || c.BearerFile != ""):
		return errors.New("headers: Authorization is set beside basic_auth or bearer_token; keep one")
	}
	if err := c.validateProxy(); err != nil {
		return err
	}
	return c.validateOAuth2()
}

// validateBody is about the bodies that go and come.
func (c *Check) validateBody() error {
	if c.Body != "" && c.BodyFile != "" {
		return errors.New("body: is set beside body_file; keep one")
	}
	if len(c.Compression) > 0 && c.header("Accept-Encoding") != "" {
		return errors.New("compression: is set beside the header Accept-Encoding; keep one")
	}
	for i, name := range c.Compression {
		if !slices.Contains(encodings, name) || slices.Contains(c.Compression[:i], name) {
			return fmt.Errorf("compression: %q: want a list of %s, each once", name, strings.Join(encodings, ", "))
		}
	}
	return nil
}

func (c *Check) validateNetwork() error {
	if c.IPVersion == "" {
		c.IPVersion = "any"
	}
	if _, known := ipNetworks[c.IPVersion]; !known {
		return fmt.Errorf("ip_version: %q: want any, 4, 6, prefer4, prefer6 or both", c.IPVersion)
	}
	if c.IPVersion == "both" && c.Kind != "http" {
		return fmt.Errorf("ip_version: %q: is for checks of the kind http; this one is of the kind %s", c.IPVersion, c.Kind)
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		if v := map[bool]string{true: "4", false: "6"}[a.Unmap().Is4()]; (c.IPVersion == "4" || c.IPVersion == "6" || c.IPVersion == "both") && c.IPVersion != v {
			return fmt.Errorf("ip_version: %q: the url has the IPv%s address %s; want %s, or a name in the url", c.IPVersion, v, a, v)
		}
	}
	if c.Resolver != "" {
		host, port, err := net.SplitHostPort(c.Resolver)
		n, perr := strconv.Atoi(port)
		if _, aerr := netip.ParseAddr(host); err != nil || aerr != nil || perr != nil || n < 1 || n > 65535 {
			return fmt.Errorf("resolver: %q: want the address of a DNS server, such as 10.0.0.2:53", c.Resolver)
		}
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return fmt.Errorf("tls.cert_file: %q and tls.key_file: %q go together; want both or none", c.TLS.CertFile, c.TLS.KeyFile)
	}
	return nil
}

func (c *Check) validateExpect() error {
	if _, err := c.Expect.compile(); err != nil {
		return err
	}
	if c.Method == http.MethodHead && c.Expect.wantsBody() {
		return errors.New("expect.body_contains, body_regex, json, json_schema and min_bytes: a HEAD reply has no body; want method GET")
	}
	return nil
}

// httpOnly adds the settings that only replies over HTTP can be held to.
func (c *Check) httpOnly(set map[string]bool) map[string]bool {
	e := c.Expect
	set["body_file"] = c.BodyFile != ""
	set["compression"] = len(c.Compression) > 0
	set["proxy"] = c.Proxy != nil
	set["oauth2"] = c.OAuth2 != nil
	set["expect.json"] = len(e.JSON) > 0
	set["expect.json_schema"] = e.JSONSchema != nil
	set["expect.json_schema_file"] = e.JSONSchemaFile != ""
	set["expect.cel"] = e.CEL != ""
	set["expect.min_bytes"] = e.MinBytes != 0
	set["expect.max_bytes"] = e.MaxBytes != 0
	set["expect.phases"] = len(e.Phases) > 0
	set["expect.protocol"] = e.Protocol != ""
	set["expect.body_not_regex"] = e.BodyNotRegex != ""
	set["expect.tls_version"] = e.TLSVersion != ""
	return set
}

func (c *Check) validateRole() error {
	switch {
	case !slices.Contains([]string{"", "startup", "readiness", "liveness"}, c.Role):
		return fmt.Errorf("role: %q: want startup, readiness or liveness", c.Role)
	case c.StartupSeconds != 0 && c.Role != "startup":
		return fmt.Errorf("startup_seconds: %d: is for checks with role: startup", c.StartupSeconds)
	case c.StartupSeconds < 0:
		return fmt.Errorf("startup_seconds: %d: want a number of seconds above 0", c.StartupSeconds)
	case c.Role == "startup" && c.StartupSeconds == 0:
		c.StartupSeconds = 300
	}
	return nil
}

func (c *Check) validateLabels() error {
	for _, name := range sortedKeys(c.Labels) {
		switch {
		case !labelName.MatchString(name) || strings.HasPrefix(name, "__"):
			return fmt.Errorf("labels: name %q: want letters, digits and '_', not beginning with a digit or '__'", name)
		case ownLabels[name]:
			return fmt.Errorf("labels: %q is set by the check itself; want another name", name)
		case !utf8.ValidString(c.Labels[name]):
			return fmt.Errorf("labels: %s: %q: want valid UTF-8", name, c.Labels[name])
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
