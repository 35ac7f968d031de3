package ingest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"
)

// HostConfig says what of the machine is collected and under which names. The
// zero value is node_exporter's names with node_exporter's exclusions.
type HostConfig struct {
	// Names are "node" for node_exporter's, "otel" for OpenTelemetry's; default
	// node alone. Both store every value twice.
	Names []string `yaml:"names"`
	// TextfileDirectory holds *.prom files in Prometheus's text format, whose
	// metrics are added; default none.
	TextfileDirectory string `yaml:"textfile_directory"`
	// MaxTextfile is how many bytes one such file may have; default 1 MiB.
	MaxTextfile int64 `yaml:"max_textfile_bytes"`
	// MountsExclude and TypesExclude match mount points and types of file systems
	// that are not shown. That of the data directory always is.
	MountsExclude string `yaml:"mounts_exclude"`
	TypesExclude  string `yaml:"fs_types_exclude"`
	// MountTimeout is how long a file system may take to answer; default 3 s. One
	// that does not is shown as an error and not asked again until it did.
	MountTimeout time.Duration `yaml:"mount_timeout"`
}

const (
	hostNode = "node"
	hostOTel = "otel"

	// What node_exporter 1.12 leaves out by default, and the files that engines
	// mount into containers.
	hostMounts = `^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+|etc/(hosts|hostname|resolv\.conf))($|/)`
	hostTypes  = `^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$`
)

// Validate says what is wrong with the config.
func (c HostConfig) Validate() error {
	for _, n := range c.Names {
		if n != hostNode && n != hostOTel {
			return fmt.Errorf("host.names: %q is not known; want node, otel or both", n)
		}
	}
	if _, err := regexp.Compile(c.MountsExclude); err != nil {
		return fmt.Errorf("host.mounts_exclude: %w", err)
	}
	if _, err := regexp.Compile(c.TypesExclude); err != nil {
		return fmt.Errorf("host.fs_types_exclude: %w", err)
	}
	if c.MaxTextfile < 0 || c.MountTimeout < 0 {
		return errors.New("host: a limit is negative; leave it out for the default")
	}
	return nil
}

func (c HostConfig) withDefaults() HostConfig {
	if len(c.Names) == 0 {
		c.Names = []string{hostNode}
	}
	if c.MaxTextfile == 0 {
		c.MaxTextfile = 1 << 20
	}
	if c.MountsExclude == "" {
		c.MountsExclude = hostMounts
	}
	if c.TypesExclude == "" {
		c.TypesExclude = hostTypes
	}
	if c.MountTimeout == 0 {
		c.MountTimeout = 3 * time.Second
	}
	return c
}

// Host is a prometheus.Collector of the machine: CPU, memory, disks, network and
// kernel. Its parts have the names of node_exporter's collectors; OpenTelemetry's
// metrics are made of what the parts read, so both always agree. Safe for
// concurrent use; collections run one after the other.
type Host struct {
	cfg     HostConfig
	dataDir string // the directory whose file system is always shown
	onError func(part string, err error)
	mounts  *regexp.Regexp
	types   *regexp.Regexp
	parts   []hostPart

	mu   sync.Mutex
	told map[string]bool // parts whose failure was told
	// textFaults are the faults of text files at the last collection, by path.
	textFaults map[string]string
	descs      map[string]*prometheus.Desc // by name and names of labels
	cpus       hostCPUs
	stuck      hostStuck
	otel       hostUtilization
}

// hostPart is one source. read adds what it found and returns the error that
// ended it. An optional part that says fs.ErrNotExist is not on this machine.
type hostPart struct {
	name     string
	optional bool
	read     func(*hostSamples) error
}

// NewHost makes the collector with a cfg that Validate takes. onError is called
// once for each part that cannot be read, and for each new fault of a text file.
func NewHost(cfg HostConfig, dataDir string, onError func(part string, err error)) *Host {
	cfg = cfg.withDefaults()
	h := &Host{
		cfg: cfg, dataDir: dataDir, onError: onError,
		mounts: regexp.MustCompile(cfg.MountsExclude), types: regexp.MustCompile(cfg.TypesExclude),
		told: map[string]bool{}, descs: map[string]*prometheus.Desc{}, cpus: hostCPUs{},
	}
	h.parts = h.sources()
	return h
}

// hostSample is one value. The names of labels stand in one order per name.
type hostSample struct {
	name, help string
	typ        prometheus.ValueType
	value      float64
	labels     []string // name, value pairs
}

// label is the value of a label, "" for none.
func (s hostSample) label(name string) string {
	for i := 0; i < len(s.labels); i += 2 {
		if s.labels[i] == name {
			return s.labels[i+1]
		}
	}
	return ""
}

// hostSamples is what one collection read.
type hostSamples struct{ all []hostSample }

func (s *hostSamples) gauge(name, help string, v float64, labels ...string) {
	s.all = append(s.all, hostSample{name, help, prometheus.GaugeValue, v, labels})
}

func (s *hostSamples) counter(name, help string, v float64, labels ...string) {
	s.all = append(s.all, hostSample{name, help, prometheus.CounterValue, v, labels})
}

func (s *hostSamples) untyped(name, help string, v float64, labels ...string) {
	s.all = append(s.all, hostSample{name, help, prometheus.UntypedValue, v, labels})
}

// Describe is empty: what a machine has is known only when it is read.
func (*Host) Describe(chan<- *prometheus.Desc) {}

// Collect reads the machine.
func (h *Host) Collect(ch chan<- prometheus.Metric) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var s hostSamples
	for _, p := range h.parts {
		start := time.Now()
		read := h.ok(p, p.read(&s))
		s.gauge("node_scrape_collector_duration_seconds", "How long reading a part of the host took.", time.Since(start).Seconds(), "collector", p.name)
		s.gauge("node_scrape_collector_success", "Whether a part of the host could be read.", truth(read), "collector", p.name)
	}
	var otel []hostSample
	if slices.Contains(h.cfg.Names, hostOTel) {
		otel = h.otelNames(s.all, time.Now())
	}
	if h.cfg.TextfileDirectory != "" {
		h.textfiles(&s, otel, ch)
	}
	if !slices.Contains(h.cfg.Names, hostNode) {
		s.all = slices.DeleteFunc(s.all, func(n hostSample) bool { return !strings.HasPrefix(n.name, "node_textfile_") })
	}
	for _, n := range append(s.all, otel...) {
		ch <- h.metric(n)
	}
}

// metric makes what a registry takes. Descriptions are kept for the next time.
func (h *Host) metric(s hostSample) prometheus.Metric {
	key := s.name
	names := make([]string, 0, len(s.labels)/2)
	values := make([]string, 0, len(s.labels)/2)
	for i := 0; i < len(s.labels); i += 2 {
		names, values = append(names, s.labels[i]), append(values, strings.ToValidUTF8(s.labels[i+1], "\uFFFD"))
		key += "," + s.labels[i]
	}
	d := h.descs[key]
	if d == nil {
		d = prometheus.NewDesc(s.name, s.help, names, nil)
		h.descs[key] = d
	}
	return prometheus.MustNewConstMetric(d, s.typ, s.value, values...)
}

// ok reports whether a part could be read and tells of its first failure. What
// an optional part does not find, or the kernel was told not to keep, is no failure.
func (h *Host) ok(p hostPart, err error) bool {
	switch {
	case err == nil:
		return true
	case p.optional && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTSUP)):
	case !h.told[p.name]:
		h.told[p.name] = true
		h.onError(p.name, err)
	}
	return false
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// hostStuck are the mounts that are being asked.
type hostStuck struct {
	mu    sync.Mutex
	asked map[string]bool
}

var errMountStuck = errors.New("the file system does not answer")

// ask runs f, which may hang for as long as a server is away, for at most the
// limit. While a mount hangs it is not asked again.
func (st *hostStuck) ask(mount string, limit time.Duration, f func() error) error {
	st.mu.Lock()
	if st.asked == nil {
		st.asked = map[string]bool{}
	}
	hangs := st.asked[mount]
	st.asked[mount] = true
	st.mu.Unlock()
	if hangs {
		return errMountStuck
	}
	// The kernel cannot be made to give up: the goroutine ends with its call.
	done := make(chan error, 1)
	go func() {
		err := f()
		st.mu.Lock()
		delete(st.asked, mount)
		st.mu.Unlock()
		done <- err
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errMountStuck
	}
}

// DiskUsage is the space of the file system that holds dir.
func DiskUsage(dir string) (free, total uint64, err error) {
	u, err := disk.Usage(dir)
	if err != nil {
		return 0, 0, err
	}
	return u.Free, u.Total, nil
}

// rawMetric is a metric as it was read from a file.
type rawMetric struct {
	desc *prometheus.Desc
	m    *dto.Metric
}

func (r rawMetric) Desc() *prometheus.Desc { return r.desc }

func (r rawMetric) Write(m *dto.Metric) error {
	m.Reset()
	m.Label, m.Gauge, m.Counter, m.Summary, m.Untyped, m.Histogram = r.m.Label, r.m.Gauge, r.m.Counter, r.m.Summary, r.m.Untyped, r.m.Histogram
	return nil
}

// Memory is what this process may use: the machine's, or its container's (control
// groups, version 2) if that is less. 0 when it is not known.
func Memory() uint64 {
	v, err := mem.VirtualMemory()
	if err != nil {
		return 0
	}
	if b, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 {
			return min(n, v.Total)
		}
	}
	return v.Total
}
