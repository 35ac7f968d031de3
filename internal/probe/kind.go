package probe

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// kind is one way to look at a target. Each kind is a file of this package.
type kind struct {
	// schemes are those of its URLs; none when the kind has no URL. The first
	// kind that names a scheme is the default for it.
	schemes []string
	example string // of a URL, for messages
	port    int    // default; portNeeded: the URL must name one; 0: it needs none
	// optionalURL: the kind knows what to look at without one too.
	optionalURL bool
	http        bool // built on HTTP: method, headers, body and the like are allowed
	// interval and timeout are the defaults; 0: 30s and 10s.
	interval, timeout time.Duration
	// section returns whether the check has the kind's own section.
	section func(c *Check) bool
	// validate fills in the defaults of the kind's own section and refuses what
	// cannot work; the error begins with the key. nil: nothing of its own.
	validate func(c *Check) error
	// prepare parses once what all runs use; r.parsed is what it returned.
	prepare func(c *Check) (any, error)
	// target names what is looked at when there is no URL.
	target func(c *Check) string
	// run acts the check out: it adds hops, fills in phases, values and facts,
	// and either sets r.res.Success or calls r.fail, once.
	run func(r *run)
}

const portNeeded = -1

// kinds are all kinds by name. A function and not a variable: a kind's functions
// use the table.
func kinds() map[string]kind { return allKinds }

var allKinds map[string]kind

func init() {
	allKinds = map[string]kind{
		"http":       httpKind,
		"tcp":        tcpKind,
		"tls":        tlsKind,
		"udp":        udpKind,
		"dns":        dnsKind,
		"icmp":       icmpKind,
		"grpc":       grpcKind,
		"exec":       execKind,
		"websocket":  websocketKind,
		"ssh":        sshKind,
		"smtp":       smtpKind,
		"postgresql": postgresqlKind,
		"mysql":      mysqlKind,
		"redis":      redisKind,
		"kafka":      kafkaKind,
		"evm":        evmKind,
		"xrpl":       xrplKind,
		"antelope":   antelopeKind,
		"flow":       flowKind,
		"browser":    browserKind,
	}
	for name, k := range allKinds {
		if k.run == nil {
			delete(allKinds, name) // not built
		}
	}
}

// Kinds lists the kinds of checks that there are.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds())) }

var httpKind = kind{
	schemes: []string{"http", "https"}, example: "https://shop.example.org/health", http: true,
	run: (*run).walk,
}

// setKind decides the kind: as given, or by the scheme of the URL.
func (c *Check) setKind() error {
	if c.Kind != "" {
		if _, ok := kinds()[c.Kind]; !ok {
			return fmt.Errorf("kind: %q: want one of %s", c.Kind, strings.Join(Kinds(), ", "))
		}
		return nil
	}
	if c.URL == "" {
		for _, name := range Kinds() {
			if k := kinds()[name]; (len(k.schemes) == 0 || k.optionalURL) && k.section != nil && k.section(c) {
				c.Kind = name
				return nil
			}
		}
		return errors.New("url: is missing; want such as " + httpKind.example)
	}
	scheme, _, ok := strings.Cut(c.URL, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case !ok, scheme == "http", scheme == "https":
		c.Kind = "http" // whose validation says what is wrong
		return nil
	}
	for _, name := range Kinds() {
		if slices.Contains(kinds()[name].schemes, scheme) {
			c.Kind = name
			return nil
		}
	}
	var known []string
	for _, k := range kinds() {
		known = append(known, k.schemes...)
	}
	sort.Strings(known)
	return fmt.Errorf("url: %q: no kind of check has the scheme %s; want one of %s", hideInURLs(c.URL), scheme, strings.Join(slices.Compact(known), ", "))
}

// validateKind refuses sections of other kinds and lets the kind look at its
// own.
func (c *Check) validateKind() error {
	for _, name := range Kinds() {
		if k := kinds()[name]; k.section != nil && k.section(c) && !sharesSection(name, c.Kind) {
			whose := name
			if sectionKey(name) == "chain" {
				whose = "evm, xrpl or antelope, which kind: names"
			}
			return fmt.Errorf("%s: this section is for checks of the kind %s; this one is of the kind %s", sectionKey(name), whose, c.Kind)
		}
	}
	if v := kinds()[c.Kind].validate; v != nil {
		return v(c)
	}
	return nil
}

// sectionKey is the key under which a kind has its settings.
func sectionKey(kind string) string {
	switch kind {
	case "evm", "xrpl", "antelope":
		return "chain"
	case "postgresql", "mysql", "redis", "kafka":
		return "database"
	case "tls":
		return "tcp"
	}
	return kind
}

func sharesSection(a, b string) bool { return sectionKey(a) == sectionKey(b) }

// refuseHTTP refuses settings of HTTP on a check that does not speak it.
func (c *Check) refuseHTTP() error {
	for key, set := range c.httpOnly(map[string]bool{
		"method": c.Method != "", "headers": len(c.Headers) > 0, "body": c.Body != "", "follow_redirects": c.FollowRedirects != nil,
		"max_redirects": c.MaxRedirects != 0, "http2": c.HTTP2, "bearer_token": c.BearerToken != "", "bearer_token_file": c.BearerFile != "",
		"expect.status": len(c.Expect.Status) > 0, "expect.headers": len(c.Expect.Headers) > 0,
		"expect.json": len(c.Expect.JSON) > 0, "expect.json_schema": c.Expect.JSONSchema != nil, "expect.json_schema_file": c.Expect.JSONSchemaFile != "",
		"expect.cel": c.Expect.CEL != "", "expect.min_bytes": c.Expect.MinBytes != 0, "expect.max_bytes": c.Expect.MaxBytes != 0,
		"expect.protocol": c.Expect.Protocol != "",
	}) {
		if set {
			return fmt.Errorf("%s: is for checks over HTTP; this one is of the kind %s", key, c.Kind)
		}
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = 1 << 20
	}
	if c.MaxBodyBytes < 0 || c.MaxBodyBytes > 1<<30 {
		return fmt.Errorf("max_body_bytes: %d: want from 1 to 1073741824 (1 GiB)", c.MaxBodyBytes)
	}
	return nil
}

// hostPort is the host and port of the check's URL, the kind's default port
// where it names none.
func (p *prepared) hostPort() (host, port string) {
	port = p.url.Port()
	if port == "" && p.kind.port > 0 {
		port = fmt.Sprint(p.kind.port)
	}
	return p.url.Hostname(), port
}

// succeed ends a run well, unless nobody wants its result.
func (r *run) succeed() {
	if r.outer.Err() != nil {
		r.fail(&failure{"transfer", "own_fault", ""}, nil)
		return
	}
	r.res.Success = true
}

// value notes a number that the run measured; labels are name, value pairs.
func (r *run) value(name string, v float64, labels ...string) {
	r.res.Values = append(r.res.Values, record.Value{Name: name, Labels: labels, Value: v})
}

// fact notes something for the reader of the run.
func (r *run) fact(name, v string) {
	if v == "" {
		return
	}
	if r.res.Facts == nil {
		r.res.Facts = map[string]string{}
	}
	r.res.Facts[name] = shorten(strings.ToValidUTF8(r.hidden.clean(v), "\uFFFD"), 1000)
}
