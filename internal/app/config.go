package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"

	"github.com/vedette-sre/vedette/internal/fleet"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/ingest/pull"
	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/query"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
	"github.com/vedette-sre/vedette/internal/web"
)

// Config is vedette.yml. Every field has a default; an empty file is the same as
// none.
type Config struct {
	// Listen is the address of the one port; default 127.0.0.1:7575. Anything
	// but the loopback needs auth.
	Listen string `yaml:"listen"`
	// Data is the directory of everything kept; default ./data.
	Data string `yaml:"data"`
	// ExternalURL is how people reach this server; links in notifications
	// begin with it. Default http(s)://<listen>.
	ExternalURL string         `yaml:"external_url"`
	TLS         *TLSFiles      `yaml:"tls"`
	Auth        web.AuthConfig `yaml:"auth"`
	// Browser is how checks in a browser run, for all tenants together.
	Browser probe.BrowserConfig `yaml:"browser"`
	// Limits of the HTTP server, for all tenants together.
	HTTP web.Limits `yaml:"http"`
	// Listeners are the addresses beside Listen. A protocol that is not named
	// listens at its default address.
	Listeners []ListenerConfig `yaml:"listeners"`

	TenantConfig `yaml:",inline"`
	// Tenants are further tenants, each with the same sections as the top
	// level, which is the tenant "default".
	Tenants map[string]*TenantConfig `yaml:"tenants"`

	path       string  // "" for none
	content    []byte  // of the file
	schema     *schema // where its keys stand
	derivedURL bool    // ExternalURL was made of Listen

	noDefaultListeners bool // Listen left its port to the system
}

// TLSFiles name a certificate and its key.
type TLSFiles struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// TenantConfig is what a tenant is told.
type TenantConfig struct {
	Prometheus   string        `yaml:"prometheus"`   // path of a prometheus.yml
	Alertmanager string        `yaml:"alertmanager"` // path of an alertmanager.yml
	Blackbox     string        `yaml:"blackbox"`     // path of a blackbox.yml
	Checks       []probe.Check `yaml:"checks"`
	// Locations are the other places from which checks run; see vedette agent.
	// One named hub gives this process labels or makes it private.
	Locations []fleet.Location `yaml:"locations"`
	// Maintenance windows: what fails in them is expected.
	Maintenance []judge.Window `yaml:"maintenance"`
	// StatusPages are public pages that tell how chosen checks stand.
	StatusPages []web.StatusPageConfig `yaml:"status_pages"`
	Retention   Retention              `yaml:"retention"`
	// OutOfOrder is how late a sample may come; default 30m, 0s for not at all.
	OutOfOrder *model.Duration `yaml:"out_of_order"`
	Limits     TenantLimits    `yaml:"limits"`
	Query      query.Config    `yaml:"query"`
	Outbox     OutboxConfig    `yaml:"outbox"`
	// StatsD and Pushgateway are how those protocols are taken.
	StatsD      ingest.StatsDConfig   `yaml:"statsd"`
	Pushgateway ingest.PushConfig     `yaml:"pushgateway"`
	Graphite    ingest.GraphiteConfig `yaml:"graphite"`
	// Pull are databases and queues that are asked for their metrics.
	Pull []pull.Target `yaml:"pull"`
	// Host is what a tenant that watches stores of this machine.
	Host ingest.HostConfig `yaml:"host"`
	// Watch says whether the tenant stores the metrics of this process and
	// host; default true for the tenant "default" and false for others.
	Watch *bool `yaml:"watch"`

	written []probe.Check // the checks before defaults were filled in
}

// Retention bounds what is kept by age and by size.
type Retention struct {
	Metrics model.Duration `yaml:"metrics"` // default 15d
	Size    string         `yaml:"size"`    // of all metric blocks, such as 50GB; default no limit
	// ChecksOK and ChecksFailed are how long runs of checks are kept.
	ChecksOK     model.Duration `yaml:"checks_ok"`     // default 1d
	ChecksFailed model.Duration `yaml:"checks_failed"` // default 30d
}

// TenantLimits bound what a tenant may send.
type TenantLimits struct {
	metric.Limits       `yaml:",inline"`
	MaxConcurrentWrites int `yaml:"max_concurrent_writes"` // default 32
	// MaxDecompressedBytes is how large a request may become; default 64 MiB.
	MaxDecompressedBytes int64 `yaml:"max_decompressed_bytes"`
	// MaxNewSeries is how many series not written lately a request may name.
	MaxNewSeries int `yaml:"max_series_per_request"` // default 500,000
	MaxLineBytes int `yaml:"max_line_bytes"`         // of a line protocol; default 1 MiB for Influx, 64 KiB for others
	MaxChecks    int `yaml:"max_checks"`             // default 20,000
	CheckWorkers int `yaml:"check_workers"`          // runs of checks at once; default 64
}

// OutboxConfig tells how stubbornly notifications are sent.
type OutboxConfig struct {
	RetryFor model.Duration `yaml:"retry_for"` // default 1d
	KeepFor  model.Duration `yaml:"keep_for"`  // default 14d
}

// Default values of the top level.
const (
	DefaultListen = "127.0.0.1:7575"
	DefaultData   = "./data"

	defaultMaxChecks = 20_000
)

func (c *Config) setDefaults() {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.Data == "" {
		c.Data = DefaultData
	}
	if c.ExternalURL == "" {
		scheme := "http"
		if c.TLS != nil {
			scheme = "https"
		}
		host, port, err := net.SplitHostPort(c.Listen)
		if err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
			if name, err := os.Hostname(); err == nil {
				host = name
			}
		}
		c.ExternalURL = scheme + "://" + net.JoinHostPort(host, port)
	}
}

// fieldError is a wrong value at a path of the file, such as $.checks[0].url.
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string { return strings.TrimPrefix(e.path, "$.") + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

func at(path string, format string, a ...any) error {
	return &fieldError{path, fmt.Errorf(format, a...)}
}

// validate checks what the YAML types cannot, the first fault found.
func (c *Config) validate() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return at("$.listen", "%q is not host:port; want an address such as %s", c.Listen, DefaultListen)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return at("$.listen", "port %q: want a number from 0 to 65535", port)
	}
	if !loopback(host) && !c.Auth.Enabled() {
		return at("$.listen", "%s is reachable from outside, but auth names no user and no token; add one (vedette hash-password makes the hash), or listen on 127.0.0.1", c.Listen)
	}
	u, err := url.Parse(c.ExternalURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return at("$.external_url", "%q: want a URL such as https://vedette.example.org", c.ExternalURL)
	}
	if c.TLS != nil {
		files := []struct{ key, path string }{{"cert_file", c.TLS.CertFile}, {"key_file", c.TLS.KeyFile}}
		for _, f := range files {
			if f.path == "" {
				return at("$.tls."+f.key, "is missing; tls needs cert_file and key_file")
			}
		}
		for _, f := range files {
			if _, err := os.ReadFile(f.path); err != nil {
				return at("$.tls."+f.key, "%s: %s", f.path, unreadable(err, "a PEM file"))
			}
		}
		if _, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile); err != nil {
			return at("$.tls", "cert_file and key_file are no pair that can be used: %w", err)
		}
	}
	if err := c.HTTP.Validate(); err != nil {
		return &fieldError{"$.http", err}
	}
	for i, l := range c.Listeners {
		p := fmt.Sprintf("$.listeners[%d]", i)
		var fe *fieldError
		if err := l.validate(c.Auth.Enabled()); errors.As(err, &fe) {
			return &fieldError{p + fe.path, fe.err}
		}
		if _, known := c.Tenants[l.Tenant]; l.Tenant != "" && l.Tenant != string(record.DefaultTenant) && !known {
			return at(p+".tenant", "%q is not a tenant; tenants: names them", l.Tenant)
		}
	}
	if err := c.Browser.Validate(); err != nil {
		return &fieldError{"$.browser", err}
	}
	names := []string{string(record.DefaultTenant)}
	for name := range c.Tenants {
		names = append(names, name)
	}
	if path, err := c.Auth.Validate(names); err != nil {
		return &fieldError{"$.auth" + path, err}
	}
	if err := c.TenantConfig.validate("$"); err != nil {
		return err
	}
	slices.Sort(names)
	paths := map[string]string{}
	for _, name := range names {
		t, p := c.Tenants[name], "$.tenants."+name
		if name == string(record.DefaultTenant) {
			t, p = &c.TenantConfig, "$"
		}
		if t == nil {
			continue
		}
		for i, page := range t.StatusPages {
			if other, dup := paths[page.Path]; dup {
				return at(fmt.Sprintf("%s.status_pages[%d].path", p, i), "%q is the path of a page of the tenant %s as well; want paths that differ", page.Path, other)
			}
			paths[page.Path] = name
		}
	}
	for _, name := range names {
		t := c.Tenants[name]
		if err := record.Tenant(name).Validate(); err != nil {
			return at("$.tenants."+name, "want 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit: it names a directory")
		}
		if t == nil {
			if name != string(record.DefaultTenant) {
				c.Tenants[name] = &TenantConfig{}
			}
			continue
		}
		if name == string(record.DefaultTenant) {
			return at("$.tenants.default", "the tenant default is the top level of the file; move its sections there")
		}
		if err := t.validate("$.tenants." + name); err != nil {
			return err
		}
	}
	return nil
}

func (t *TenantConfig) validate(path string) error {
	if t.Retention.Size != "" {
		if n, err := units.ParseBase2Bytes(t.Retention.Size); err != nil || n <= 0 {
			return at(path+".retention.size", "%q: want a size such as 500MB or 50GB", t.Retention.Size)
		}
	}
	// Durations are never negative: their syntax has no sign.
	for _, l := range []struct {
		key string
		v   int
	}{
		{"limits.max_series", t.Limits.MaxSeries}, {"limits.max_series_per_metric", t.Limits.MaxPerMetric}, {"limits.max_labels", t.Limits.MaxLabels},
		{"limits.max_label_name_bytes", t.Limits.MaxLabelName}, {"limits.max_label_value_bytes", t.Limits.MaxLabelValue},
		{"limits.max_concurrent_writes", t.Limits.MaxConcurrentWrites}, {"limits.max_checks", t.Limits.MaxChecks},
		{"limits.check_workers", t.Limits.CheckWorkers}, {"limits.max_decompressed_bytes", int(t.Limits.MaxDecompressedBytes)},
		{"limits.max_line_bytes", t.Limits.MaxLineBytes}, {"limits.max_series_per_request", t.Limits.MaxNewSeries},
		{"query.max_samples", t.Query.MaxSamples}, {"query.max_concurrent", t.Query.MaxConcurrent},
	} {
		if l.v < 0 {
			return at(path+"."+l.key, "%d: want a number above 0; leave the key away for the default", l.v)
		}
	}
	for _, err := range []error{t.StatsD.Validate(), t.Pushgateway.Validate(), t.Graphite.Validate(), t.Host.Validate()} {
		if err != nil {
			section, rest, _ := strings.Cut(err.Error(), ": ")
			return at(path+"."+section, "%s", rest)
		}
	}
	if err := (pull.Config{Targets: t.Pull}).Validate(); err != nil {
		return at(path+".pull", "%s", strings.TrimPrefix(err.Error(), "pull: "))
	}
	if n := time.Duration(t.Retention.Metrics); n != 0 && n < 2*time.Hour {
		return at(path+".retention.metrics", "%s is shorter than a block of 2h; want 2h or more", t.Retention.Metrics)
	}
	limit := t.Limits.MaxChecks
	if limit == 0 {
		limit = defaultMaxChecks
	}
	if len(t.Checks) > limit {
		return at(path+".checks", "%d checks are over the limit; remove some or raise limits.max_checks = %d", len(t.Checks), limit)
	}
	if err := t.validatePlaces(path); err != nil {
		return err
	}
	if err := web.ValidateStatusPages(t.StatusPages); err != nil {
		return statusPageError(path, err)
	}
	t.written = slices.Clone(t.Checks)
	ids := map[string]int{}
	for i := range t.Checks {
		ck := &t.Checks[i]
		p := fmt.Sprintf("%s.checks[%d]", path, i)
		if err := ck.Validate(); err != nil {
			return &fieldError{p, err}
		}
		if j, dup := ids[ck.ID]; dup {
			return at(p+".name", "checks[%d] has the same name (id %q); names must differ, or set id", j, ck.ID)
		}
		ids[ck.ID] = i
		if err := knownPlaces(ck.Locations, t.Locations); err != nil {
			return &fieldError{p, err}
		}
	}
	if id, err := probe.CheckGraph(t.Checks); err != nil {
		return &fieldError{fmt.Sprintf("%s.checks[%d]", path, ids[id]), err}
	}
	return nil
}

// statusPageError finds the page that an error names as "[2].key: ...".
func statusPageError(path string, err error) error {
	index, rest, ok := strings.Cut(err.Error(), "].")
	if !ok {
		return &fieldError{path + ".status_pages", err}
	}
	return &fieldError{path + ".status_pages" + index + "]", errors.New(rest)}
}

// validatePlaces checks locations and maintenance windows.
func (t *TenantConfig) validatePlaces(path string) error {
	names := map[string]int{}
	for i, l := range t.Locations {
		p := fmt.Sprintf("%s.locations[%d]", path, i)
		if err := l.Validate(); err != nil {
			return &fieldError{p, err}
		}
		if j, dup := names[l.Name]; dup {
			return at(p+".name", "locations[%d] has the same name %q; want names that differ", j, l.Name)
		}
		names[l.Name] = i
	}
	ids := map[string]bool{}
	for i := range t.Maintenance {
		w := &t.Maintenance[i]
		p := fmt.Sprintf("%s.maintenance[%d]", path, i)
		if err := w.Validate(); err != nil {
			return &fieldError{p, err}
		}
		if w.ID == "" {
			w.ID = fmt.Sprint("config-", i+1)
		}
		if ids[w.ID] {
			return at(p+".id", "%q is the id of another window; want ids that differ", w.ID)
		}
		ids[w.ID] = true
	}
	return nil
}

// maxBytes is the size limit of metrics, 0 for none.
func (t *TenantConfig) maxBytes() int64 {
	if t.Retention.Size == "" {
		return 0
	}
	n, err := units.ParseBase2Bytes(t.Retention.Size)
	if err != nil {
		panic("BUG: size was not validated: " + err.Error())
	}
	return int64(n)
}

// resolve makes the paths in the file relative to the file's own directory.
func (c *Config) resolve() {
	dir := filepath.Dir(c.path)
	rel := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	if c.path == "" {
		dir = "."
	}
	rel(&c.Data)
	if c.TLS != nil {
		rel(&c.TLS.CertFile)
		rel(&c.TLS.KeyFile)
	}
	for i := range c.Auth.Tokens {
		rel(&c.Auth.Tokens[i].TokenFile)
	}
	all := []*TenantConfig{&c.TenantConfig}
	for _, t := range c.Tenants {
		if t != nil {
			all = append(all, t)
		}
	}
	for _, t := range all {
		rel(&t.Prometheus)
		rel(&t.Alertmanager)
		rel(&t.Blackbox)
		rel(&t.Host.TextfileDirectory)
		for i := range t.Checks {
			t.Checks[i].ResolvePaths(dir)
		}
		for i := range t.Locations {
			rel(&t.Locations[i].TokenFile)
		}
		for i := range t.Pull {
			p := &t.Pull[i]
			rel(&p.PasswordFile)
			if p.TLS != nil {
				rel(&p.TLS.CAFile)
				rel(&p.TLS.CertFile)
				rel(&p.TLS.KeyFile)
			}
		}
	}
}

// restartNeeded names the first setting that differs from the running one and
// that a reload cannot change: better refused than ignored in silence.
func (c *Config) restartNeeded(was *Config) error {
	changed := func(key string, a, b any) error {
		return at("$."+key, "changed from %v to %v, which needs a restart", a, b)
	}
	switch {
	case c.Listen != was.Listen:
		return changed("listen", was.Listen, c.Listen)
	case c.Data != was.Data:
		return changed("data", was.Data, c.Data)
	case c.ExternalURL != was.ExternalURL:
		return changed("external_url", was.ExternalURL, c.ExternalURL)
	case (c.TLS == nil) != (was.TLS == nil):
		return at("$.tls", "switching TLS on or off needs a restart")
	case c.HTTP != was.HTTP:
		return at("$.http", "a changed limit of the HTTP server needs a restart")
	}
	tenants := func(c *Config) map[string]*TenantConfig {
		out := maps.Clone(c.Tenants)
		if out == nil {
			out = map[string]*TenantConfig{}
		}
		out[string(record.DefaultTenant)] = &c.TenantConfig
		return out
	}
	old := tenants(was)
	for name, t := range tenants(c) {
		o := old[name]
		if o == nil {
			continue // a new tenant begins with what it is told
		}
		key := ""
		switch {
		case t.Query != o.Query:
			key = "query"
		case t.Outbox != o.Outbox:
			key = "outbox"
		case t.Retention.ChecksOK != o.Retention.ChecksOK:
			key = "retention.checks_ok"
		case t.Retention.ChecksFailed != o.Retention.ChecksFailed:
			key = "retention.checks_failed"
		case t.Limits.MaxConcurrentWrites != o.Limits.MaxConcurrentWrites:
			key = "limits.max_concurrent_writes"
		case t.Limits.MaxDecompressedBytes != o.Limits.MaxDecompressedBytes:
			key = "limits.max_decompressed_bytes"
		case t.Limits.MaxNewSeries != o.Limits.MaxNewSeries:
			key = "limits.max_series_per_request"
		case t.Limits.MaxLineBytes != o.Limits.MaxLineBytes:
			key = "limits.max_line_bytes"
		case t.StatsD != o.StatsD:
			key = "statsd"
		case !reflect.DeepEqual(t.Graphite, o.Graphite):
			key = "graphite"
		case t.Pushgateway != o.Pushgateway:
			key = "pushgateway"
		case !reflect.DeepEqual(t.Host, o.Host):
			key = "host"
		case t.Limits.CheckWorkers != o.Limits.CheckWorkers:
			key = "limits.check_workers"
		case (t.Watch == nil) != (o.Watch == nil) || t.Watch != nil && *t.Watch != *o.Watch:
			key = "watch"
		default:
			continue
		}
		if name != string(record.DefaultTenant) {
			key = "tenants." + name + "." + key
		}
		return at("$."+key, "changed, which needs a restart")
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
