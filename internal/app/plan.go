package app

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	pconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/vedette-sre/vedette/internal/fleet"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
	"github.com/vedette-sre/vedette/internal/web"
)

// plan is a configuration with every file that it names read and checked:
// putting it in force asks no more questions. A plan that cannot be made leaves
// the one in force alone.
type plan struct {
	conf      *Config
	tenants   map[record.Tenant]*tenantPlan
	notServed []web.NotServed
	files     []string // everything that was read, to be watched
	patterns  []string // of rule files and scrape config files, to be watched for new ones
}

// tenantPlan is one tenant's part of a plan.
type tenantPlan struct {
	conf         *TenantConfig
	prometheus   *pconfig.Config
	ruleFiles    []string
	alertmanager *notify.Config
	blackbox     *probe.BlackboxConfig
	checks       []probe.Check
	builtIn      map[string]bool
	store        metric.Config
	watch        bool
}

// makePlan reads and checks all files of a configuration.
func makePlan(c *Config, log *slog.Logger) (*plan, error) {
	p := &plan{conf: c, tenants: map[record.Tenant]*tenantPlan{}}
	if c.path != "" {
		p.files = append(p.files, c.path)
	}
	if err := p.add(record.DefaultTenant, &c.TenantConfig, log); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(c.Tenants))
	for n := range c.Tenants {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		if err := p.add(record.Tenant(n), c.Tenants[n], log); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *plan) add(name record.Tenant, tc *TenantConfig, log *slog.Logger) error {
	t := &tenantPlan{conf: tc, builtIn: map[string]bool{}, watch: name == record.DefaultTenant}
	if tc.Watch != nil {
		t.watch = *tc.Watch
	}
	where := ""
	if name != record.DefaultTenant {
		where = "tenants." + string(name) + "."
	}
	unserved := func(section, reason string) {
		p.notServed = append(p.notServed, web.NotServed{Section: where + section, Reason: reason})
	}
	if tc.Prometheus != "" {
		cfg, not, err := ingest.LoadPrometheus(tc.Prometheus, log)
		if err != nil {
			return p.conf.foreign(name, "prometheus", tc.Prometheus, err)
		}
		t.prometheus = cfg
		p.files = append(p.files, tc.Prometheus)
		for _, n := range not {
			unserved("prometheus: "+n.Section, n.Reason)
		}
	} else {
		ingest.UnservedDiscoveries()
		d, err := pconfig.Load("", log)
		if err != nil {
			return fmt.Errorf("BUG: the default prometheus configuration: %w", err)
		}
		t.prometheus = d
	}
	var err error
	if t.ruleFiles, err = ingest.RuleFiles(t.prometheus); err != nil {
		return p.conf.foreign(name, "prometheus", tc.Prometheus, err)
	}
	p.files = append(p.files, t.ruleFiles...)
	p.patterns = append(p.patterns, t.prometheus.RuleFiles...)
	p.patterns = append(p.patterns, t.prometheus.ScrapeConfigFiles...)
	if errs := judge.CheckFiles(t.ruleFiles, parser.NewParser(parser.Options{})); len(errs) > 0 {
		for i, err := range errs {
			errs[i] = inRuleFile(t.ruleFiles, err)
		}
		return errors.Join(errs...)
	}

	t.alertmanager = notify.DefaultConfig()
	if tc.Alertmanager != "" {
		b, err := os.ReadFile(tc.Alertmanager)
		if err != nil {
			return p.conf.foreign(name, "alertmanager", tc.Alertmanager, err)
		}
		if t.alertmanager, err = notify.Parse(b, filepath.Dir(tc.Alertmanager)); err != nil {
			return p.conf.foreign(name, "alertmanager", tc.Alertmanager, err)
		}
		p.files = append(p.files, tc.Alertmanager)
		if err := t.alertmanager.Validate(); err != nil {
			return p.conf.foreign(name, "alertmanager", tc.Alertmanager, err)
		}
		for _, n := range t.alertmanager.NotServed() {
			unserved("alertmanager: "+n.Section, n.Reason)
		}
	}
	if t.blackbox, err = probe.LoadBlackbox(tc.Blackbox); err != nil {
		return p.conf.foreign(name, "blackbox", tc.Blackbox, err)
	}
	if tc.Blackbox != "" {
		p.files = append(p.files, tc.Blackbox)
	}

	t.checks = append(t.checks, tc.Checks...)
	t.store = metric.Config{
		Retention: time.Duration(tc.Retention.Metrics), MaxBytes: tc.maxBytes(),
		Limits: tc.Limits.Limits,
	}
	if t.store.Limits.MaxSeries == 0 {
		t.store.Limits.MaxSeries = seriesFor(ingest.Memory())
	}
	if d := tc.OutOfOrder; d != nil {
		t.store.OutOfOrder = time.Duration(*d)
		if *d == 0 {
			t.store.OutOfOrder = -1 // the store's word for none; its zero is the default
		}
	}
	if t.store.OutOfOrder == 0 && len(tc.Locations) > 0 {
		// A place that was cut off brings its results days later.
		t.store.OutOfOrder = lateResults
	}
	if db := t.prometheus.StorageConfig.TSDBConfig; db != nil && tc.Prometheus != "" {
		if tc.OutOfOrder == nil && db.OutOfOrderTimeWindow > 0 {
			t.store.OutOfOrder = time.Duration(db.OutOfOrderTimeWindow) * time.Millisecond
		}
		if r := db.Retention; r != nil {
			t.store.Retention = cmp.Or(t.store.Retention, time.Duration(r.Time))
			t.store.MaxBytes = cmp.Or(t.store.MaxBytes, int64(r.Size))
			if r.Percentage > 0 {
				unserved("prometheus: storage.tsdb.retention.percentage", "give the size itself: retention.size in vedette.yml")
			}
		}
	}
	if e := t.prometheus.StorageConfig.ExemplarsConfig; e != nil && tc.Prometheus != "" {
		t.store.MaxExemplars = e.MaxExemplars
	}
	p.tenants[name] = t
	return nil
}

// lateResults is how late the results of other places may come into the series:
// as long as an agent keeps them.
const lateResults = 7 * 24 * time.Hour

// watchItself adds the check of this server to the tenants that watch it. The
// address must be settled.
func (p *plan) watchItself() error {
	for _, t := range p.tenants {
		if !t.watch {
			continue
		}
		self, err := selfCheck(p.conf)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(t.checks, func(c probe.Check) bool { return c.ID == self.ID }) {
			t.checks = append(t.checks, *self)
			t.builtIn[self.ID] = true
		}
	}
	return nil
}

// inRuleFile tells a fault of a rule file, whose path its message begins with.
func inRuleFile(files []string, err error) error {
	for _, f := range files {
		if strings.HasPrefix(err.Error(), f+": ") {
			return inFile(f, err)
		}
	}
	return err
}

// selfCheck is the check of this server itself.
func selfCheck(c *Config) (*probe.Check, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("BUG: listen was not validated: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ck := &probe.Check{Name: "vedette itself", URL: "http://" + net.JoinHostPort(host, port) + "/-/healthy", Interval: 10 * time.Second, Timeout: 5 * time.Second,
		Locations: []string{fleet.HubLocation}}
	if c.TLS != nil {
		ck.URL = "https" + strings.TrimPrefix(ck.URL, "http")
		ck.TLS.InsecureSkipVerify = true // the name on the certificate is the outside one
	}
	if err := ck.Validate(); err != nil {
		return nil, fmt.Errorf("BUG: the check of itself: %w", err)
	}
	return ck, nil
}

// seriesFor is how many series a machine with so many bytes of memory may hold
// by default. A series takes about 3 KiB, twice that while the garbage of a burst
// is there; the rest is for queries and the page cache.
func seriesFor(memory uint64) int {
	const most, least, each = 2_000_000, 100_000, 10 << 10
	if memory == 0 {
		return most // not known
	}
	return int(min(most, max(least, memory/each)))
}
