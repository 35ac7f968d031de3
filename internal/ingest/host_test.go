package ingest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/otlptranslator"

	"github.com/vedette-sre/vedette/internal/ingest"
)

// host gathers once what a config shows: series as their text, and what could not
// be read.
func host(t testing.TB, cfg ingest.HostConfig) (series map[string]float64, types map[string]dto.MetricType, faults []string) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(ingest.NewHost(cfg, t.TempDir(), func(part string, err error) { faults = append(faults, part+": "+err.Error()) }))
	series, types = gatherHost(t, reg)
	return series, types, faults
}

func gatherHost(t testing.TB, reg *prometheus.Registry) (map[string]float64, map[string]dto.MetricType) {
	t.Helper()
	mfs, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	types, series := map[string]dto.MetricType{}, map[string]float64{}
	for _, mf := range mfs {
		types[mf.GetName()] = mf.GetType()
	}
	for _, s := range ingest.Families(mfs, nil) {
		var ls []string
		for i := 0; i < len(s.Labels); i += 2 {
			ls = append(ls, s.Labels[i]+"="+s.Labels[i+1])
		}
		series[s.Name+"{"+strings.Join(ls, ",")+"}"] = s.Value
	}
	return series, types
}

func onLinux(t testing.TB) {
	if runtime.GOOS != "linux" {
		t.Skip("left out: the families of Linux")
	}
}

func TestHost(t *testing.T) {
	onLinux(t)
	series, _, faults := host(t, ingest.HostConfig{})
	if len(faults) > 0 {
		t.Errorf("could not be read: %q", faults)
	}
	have := map[string]float64{}
	for s, v := range series {
		name, _, _ := strings.Cut(s, "{")
		have[name] += v
		if strings.HasPrefix(name, "system_") {
			t.Errorf("%s was not asked for", s)
		}
	}
	for _, name := range []string{
		"node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes", "node_boot_time_seconds",
		"node_filesystem_size_bytes", "node_uname_info", "node_intr_total", "node_vmstat_pgfault", "node_filefd_maximum",
		"node_network_mtu_bytes", "node_sockstat_sockets_used", "node_netstat_Tcp_PassiveOpens", "node_time_seconds", "node_timex_tick_seconds",
	} {
		if have[name] <= 0 {
			t.Errorf("%s is %v, want more", name, have[name])
		}
	}
	for _, name := range []string{"node_load1", "node_network_receive_bytes_total", "node_netstat_Tcp_CurrEstab", "node_cpu_guest_seconds_total"} {
		if _, ok := have[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for _, part := range []string{"stat", "filesystem", "netstat"} {
		if series["node_scrape_collector_success{collector="+part+"}"] != 1 {
			t.Errorf("the part %s could not be read", part)
		}
	}
	if free, total, err := ingest.DiskUsage(t.TempDir()); err != nil || free > total || total == 0 {
		t.Errorf("got %d of %d bytes free, %v", free, total, err)
	}
}

// The file system of the data directory is shown even when all are left out.
func TestHostDataDirectory(t *testing.T) {
	onLinux(t)
	series, _, _ := host(t, ingest.HostConfig{MountsExclude: ".*", TypesExclude: ".*"})
	n := 0
	for s := range series {
		if strings.HasPrefix(s, "node_filesystem_size_bytes{") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d file systems are shown, want that of the data directory", n)
	}
}

// Both names come from one reading, so what they say of one moment is the same.
func TestHostNamesAgree(t *testing.T) {
	onLinux(t)
	var faults []string
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(ingest.NewHost(ingest.HostConfig{Names: []string{"node", "otel"}}, t.TempDir(), func(part string, err error) { faults = append(faults, part+": "+err.Error()) }))
	first, _ := gatherHost(t, reg)
	series, types := gatherHost(t, reg)
	if len(faults) > 0 {
		t.Errorf("could not be read: %q", faults)
	}
	same := func(node, otel string) {
		t.Helper()
		a, ok := series[node]
		b, ok2 := series[otel]
		if !ok || !ok2 || a != b {
			t.Errorf("%s is %v (%v), %s is %v (%v)", node, a, ok, otel, b, ok2)
		}
	}
	same("node_cpu_seconds_total{cpu=0,mode=user}", "system_cpu_time_seconds_total{cpu=cpu0,state=user}")
	same("node_cpu_seconds_total{cpu=0,mode=iowait}", "system_cpu_time_seconds_total{cpu=cpu0,state=wait}")
	same("node_cpu_seconds_total{cpu=0,mode=irq}", "system_cpu_time_seconds_total{cpu=cpu0,state=interrupt}")
	same("node_memory_MemFree_bytes{}", "system_memory_usage_bytes{state=free}")
	same("node_memory_MemAvailable_bytes{}", "system_linux_memory_available_bytes{}")
	same("node_network_receive_bytes_total{device=lo}", "system_network_io_bytes_total{device=lo,direction=receive}")
	same("node_network_transmit_drop_total{device=lo}", "system_network_dropped_total{device=lo,direction=transmit}")
	same("node_load5{}", "system_cpu_load_average_5m{}")
	same("node_vmstat_pgmajfault{}", "system_paging_faults_total{type=major}")
	disks := 0
	for s, v := range series {
		if device, ok := strings.CutPrefix(s, "node_disk_written_bytes_total{device="); ok {
			disks++
			same(s, "system_disk_io_bytes_total{device="+strings.TrimSuffix(device, "}")+",direction=write}")
		}
		if strings.HasSuffix(strings.SplitN(s, "{", 2)[0], "_ratio") && (v < 0 || v > 1) && !strings.HasPrefix(s, "node_") {
			t.Errorf("%s is %v, want a share of 1", s, v)
		}
	}
	if used, total := series["system_memory_usage_bytes{state=used}"], series["node_memory_MemTotal_bytes{}"]; used <= 0 || used != total-series["node_memory_MemAvailable_bytes{}"] {
		t.Errorf("%v of %v bytes are used", used, total)
	}
	if up := series["system_uptime_seconds{}"]; up < 1 || up > float64(time.Now().Unix()) {
		t.Errorf("up for %v s", up)
	}
	if _, ok := first["system_cpu_utilization_ratio{cpu=cpu0,state=idle}"]; ok {
		t.Error("a share of the time since the last collection is there at the first")
	}
	if _, ok := series["system_cpu_utilization_ratio{cpu=cpu0,state=idle}"]; !ok {
		t.Error("no share of the time since the last collection")
	}
	if _, ok := series["system_processes_count{status=sleeping}"]; !ok {
		t.Error("no process sleeps")
	}

	// The names are what the OTLP door makes of the Collector's: those of its
	// metadata, with unit and kind.
	namer := otlptranslator.NewMetricNamer("", otlptranslator.UnderscoreEscapingWithSuffixes)
	want := map[string]dto.MetricType{"target_info": dto.MetricType_GAUGE}
	must := map[string]bool{}
	for _, m := range []struct {
		name, unit string
		kind       otlptranslator.MetricType
		optional   bool // not on every machine
	}{
		{"system.cpu.time", "s", otlptranslator.MetricTypeMonotonicCounter, false},
		{"system.cpu.utilization", "1", otlptranslator.MetricTypeGauge, false},
		{"system.cpu.logical.count", "{cpu}", otlptranslator.MetricTypeNonMonotonicCounter, false},
		{"system.cpu.load_average.1m", "{thread}", otlptranslator.MetricTypeGauge, false},
		{"system.cpu.load_average.5m", "{thread}", otlptranslator.MetricTypeGauge, false},
		{"system.cpu.load_average.15m", "{thread}", otlptranslator.MetricTypeGauge, false},
		{"system.memory.usage", "By", otlptranslator.MetricTypeNonMonotonicCounter, false},
		{"system.memory.utilization", "1", otlptranslator.MetricTypeGauge, false},
		{"system.memory.limit", "By", otlptranslator.MetricTypeNonMonotonicCounter, false},
		{"system.linux.memory.available", "By", otlptranslator.MetricTypeNonMonotonicCounter, false},
		{"system.disk.io", "By", otlptranslator.MetricTypeMonotonicCounter, true},
		{"system.disk.operations", "{operations}", otlptranslator.MetricTypeMonotonicCounter, true},
		{"system.disk.operation_time", "s", otlptranslator.MetricTypeMonotonicCounter, true},
		{"system.disk.io_time", "s", otlptranslator.MetricTypeMonotonicCounter, true},
		{"system.disk.weighted_io_time", "s", otlptranslator.MetricTypeMonotonicCounter, true},
		{"system.disk.merged", "{operations}", otlptranslator.MetricTypeMonotonicCounter, true},
		{"system.disk.pending_operations", "{operations}", otlptranslator.MetricTypeNonMonotonicCounter, true},
		{"system.filesystem.usage", "By", otlptranslator.MetricTypeNonMonotonicCounter, false},
		{"system.filesystem.inodes.usage", "{inodes}", otlptranslator.MetricTypeNonMonotonicCounter, false},
		{"system.filesystem.utilization", "1", otlptranslator.MetricTypeGauge, false},
		{"system.network.io", "By", otlptranslator.MetricTypeMonotonicCounter, false},
		{"system.network.packets", "{packets}", otlptranslator.MetricTypeMonotonicCounter, false},
		{"system.network.errors", "{errors}", otlptranslator.MetricTypeMonotonicCounter, false},
		{"system.network.dropped", "{packets}", otlptranslator.MetricTypeMonotonicCounter, false},
		{"system.network.conntrack.count", "{entries}", otlptranslator.MetricTypeNonMonotonicCounter, true},
		{"system.network.conntrack.max", "{entries}", otlptranslator.MetricTypeNonMonotonicCounter, true},
		{"system.paging.usage", "By", otlptranslator.MetricTypeNonMonotonicCounter, true},
		{"system.paging.utilization", "1", otlptranslator.MetricTypeGauge, true},
		{"system.paging.operations", "{operations}", otlptranslator.MetricTypeMonotonicCounter, false},
		{"system.paging.faults", "{faults}", otlptranslator.MetricTypeMonotonicCounter, false},
		{"system.processes.count", "{processes}", otlptranslator.MetricTypeNonMonotonicCounter, false},
		{"system.processes.created", "{processes}", otlptranslator.MetricTypeMonotonicCounter, false},
		{"system.uptime", "s", otlptranslator.MetricTypeGauge, false},
	} {
		name, err := namer.Build(otlptranslator.Metric{Name: m.name, Unit: m.unit, Type: m.kind})
		if err != nil {
			t.Fatal(err)
		}
		want[name] = dto.MetricType_GAUGE
		if m.kind == otlptranslator.MetricTypeMonotonicCounter {
			want[name] = dto.MetricType_COUNTER
		}
		must[name] = !m.optional
	}
	for name, kind := range types {
		if strings.HasPrefix(name, "node_") {
			continue
		}
		if w, ok := want[name]; !ok || w != kind {
			t.Errorf("%s (%v) is not what the OTLP door would store (%v)", name, kind, w)
		}
		delete(must, name)
	}
	for name, wanted := range must {
		if wanted {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestHostTextfiles(t *testing.T) {
	onLinux(t)
	dir := t.TempDir()
	var faults []string
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(ingest.NewHost(ingest.HostConfig{Names: []string{"node", "otel"}, TextfileDirectory: dir, MaxTextfile: 1000}, dir, func(part string, err error) { faults = append(faults, part+": "+err.Error()) }))
	gather := func() map[string]float64 {
		t.Helper()
		series, _ := gatherHost(t, reg)
		for s := range series {
			if (strings.HasPrefix(s, "node_") || strings.HasPrefix(s, "system_") || strings.HasPrefix(s, "target_info")) && !strings.HasPrefix(s, "node_textfile_") {
				delete(series, s)
			}
		}
		return series
	}
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1_750_000_000, 500_000_000)
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, want map[string]float64) {
		t.Helper()
		if got := gather(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got\n%v\nwant\n%v", what, got, want)
		}
	}
	mtime := func(name string) string {
		return "node_textfile_mtime_seconds{file=" + filepath.Join(dir, name) + "}"
	}
	expect("no file", map[string]float64{"node_textfile_scrape_error{}": 0})

	write("backup.prom", `# HELP backup_seconds How long.
# TYPE backup_seconds histogram
backup_seconds_bucket{le="1"} 2
backup_seconds_bucket{le="+Inf"} 3
backup_seconds_sum 7
backup_seconds_count 3
bare 4
of{job="x",instance="y",k="ä \"q\""} 5
`)
	write("backup.prom.tmp", "not read at all")
	good := map[string]float64{
		"node_textfile_scrape_error{}": 0, mtime("backup.prom"): 1_750_000_000,
		"backup_seconds_bucket{le=1.0}": 2, "backup_seconds_bucket{le=+Inf}": 3, "backup_seconds_sum{}": 7, "backup_seconds_count{}": 3,
		"bare{}": 4, `of{exported_instance=y,exported_job=x,k=ä "q"}`: 5,
	}
	expect("all kinds", good)
	if len(faults) > 0 {
		t.Errorf("faults of good files: %q", faults)
	}

	// A bad file is left out as a whole, and the others are there.
	good["node_textfile_scrape_error{}"] = 1
	for _, c := range []struct{ name, text, want string }{
		{"syntax.prom", "a 1\nb{ 2\n", "text format parsing error"},
		{"time.prom", "a 1\nb 2 1750000000000\n", "b has a timestamp"},
		{"twice.prom", "a 1\na 2\n", "a is there twice"},
		{"twice2.prom", "c 1\nbare 2\n", "bare is there twice"},
		{"kind.prom", "# TYPE bare gauge\nbare{x=\"1\"} 2\n", "bare has another type"},
		{"own.prom", "a 1\nnode_load1 2\n", "node_load1 is a metric of the host itself"},
		{"own3.prom", "system_uptime_seconds 1\n", "is a metric of the host itself"},
		{"own2.prom", "node_textfile_scrape_error 0\n", "is a metric of the host itself"},
		{"long.prom", "a 1\n" + strings.Repeat("# a comment\n", 100), "raise host.max_textfile_bytes"},
	} {
		faults = nil
		write(c.name, c.text)
		expect(c.name, good)
		expect(c.name, good)
		if len(faults) != 1 || !strings.Contains(faults[0], c.want) || !strings.Contains(faults[0], c.name) {
			t.Errorf("%s: told %q, want %q once", c.name, faults, c.want)
		}
		if err := os.Remove(filepath.Join(dir, c.name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "dir.prom"), 0o700); err != nil {
		t.Fatal(err)
	}
	expect("a directory", good)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	faults = nil
	expect("no directory", map[string]float64{"node_textfile_scrape_error{}": 1})
	if len(faults) != 1 {
		t.Errorf("a missing directory is told %d times", len(faults))
	}
}

func TestHostConfig(t *testing.T) {
	f := func(c ingest.HostConfig, want string) {
		t.Helper()
		if err := c.Validate(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: got %v, want %q", c, err, want)
		}
	}
	f(ingest.HostConfig{}, "")
	f(ingest.HostConfig{Names: []string{"otel", "node"}, MountsExclude: "^/x", TypesExclude: "tmpfs"}, "")
	f(ingest.HostConfig{Names: []string{"influx"}}, `"influx" is not known; want node, otel`)
	f(ingest.HostConfig{MountsExclude: "("}, "host.mounts_exclude")
	f(ingest.HostConfig{TypesExclude: "("}, "host.fs_types_exclude")
	f(ingest.HostConfig{MaxTextfile: -1}, "negative")
	f(ingest.HostConfig{MountTimeout: -1}, "negative")
}
