package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// notOurs are the metrics of node_exporter that Vedette has not, by prefix;
// docs/hosts.md says so too.
var notOurs = []string{
	"go_", "process_", "promhttp_", // the exporter's own process
	"node_exporter_build_info", "node_scrape_collector_",
	"node_selinux_", "node_dmi_", "node_edac_", "node_md_raid_disks", "node_md_degraded", "node_systemd_", "node_nfs", "node_xfs_", "node_btrfs_",
	"node_zfs_", "node_bcache_", "node_ipvs_", "node_infiniband_", "node_fibrechannel_", "node_nvme_",
	"node_power_supply_", "node_rapl_", "node_tape_", "node_cpu_core_throttles_total", "node_cpu_package_throttles_total",
	"node_disk_device_mapper_info", "node_disk_filesystem_info", "node_disk_ata_", "node_filesystem_purgeable_bytes",
	"node_arp_states", "node_cpu_online", "node_cpu_isolated", "node_watchdog_",
}

// hostLevels are the metrics that are neither a constant nor a counter, however
// node_exporter types them: two readings a moment apart may differ.
var hostLevels = []string{
	"node_memory_", "node_load", "node_procs_", "node_filefd_allocated", "node_filesystem_avail_bytes", "node_filesystem_free_bytes",
	"node_filesystem_files_free", "node_disk_io_now", "node_sockstat_", "node_netstat_Tcp_CurrEstab", "node_udp_queues", "node_entropy_available_bits",
	"node_arp_entries", "node_nf_conntrack_entries", "node_hwmon_", "node_thermal_", "node_cooling_", "node_md_", "node_bonding_active", "node_cpu_scaling_", "node_cpu_frequency_hertz",
	"node_softnet_backlog_len", "node_timex_",
}

// hostStatic must be equal to the last bit, whatever their prefix says above.
var hostStatic = []string{
	"node_memory_MemTotal_bytes", "node_memory_SwapTotal_bytes", "node_memory_Hugepagesize_bytes", "node_filesystem_size_bytes", "node_filesystem_files",
	"node_filesystem_readonly", "node_filesystem_device_error", "node_boot_time_seconds", "node_uname_info", "node_os_info", "node_os_version",
	"node_filefd_maximum", "node_network_mtu_bytes", "node_network_up", "node_network_info", "node_disk_info", "node_timex_tick_seconds",
	"node_entropy_pool_size_bits", "node_nf_conntrack_entries_limit", "node_textfile_mtime_seconds", "node_textfile_scrape_error",
}

// TestBesideNodeExporter has a node_exporter and Vedette look at the same machine:
// each series of the one must be there in the other, with the same labels and
// the same value, or one between two readings of a counter.
func TestBesideNodeExporter(t *testing.T) {
	prog := peer(t, "prometheus-node-exporter", "node_exporter")
	dir := t.TempDir()
	texts := t.TempDir()
	if err := os.WriteFile(texts+"/a.prom", []byte("# TYPE backup_done_timestamp_seconds gauge\nbackup_done_timestamp_seconds{job=\"nightly\",disk=\"a b\"} 1.75e9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Exclusions are given to both: Debian has its own defaults.
	const mounts, types = `^/(dev|proc|sys|run)($|/)`, `^(autofs|bpf|cgroup2?|debugfs|devpts|devtmpfs|mqueue|overlay|proc|securityfs|sysfs|tracefs|tmpfs)$`
	addr := freeAddr(t)
	(&process{}).start(t, prog, "--log.level=error", "--web.listen-address="+addr, "--collector.textfile.directory="+texts, "--collector.netdev.device-exclude=^$",
		"--collector.filesystem.mount-points-exclude="+mounts, "--collector.filesystem.fs-types-exclude="+types,
		`--collector.diskstats.device-exclude=^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`)
	eventually(t, "node_exporter listens", func() bool {
		resp, err := http.Get("http://" + addr)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
	v := vedette(t, dir, map[string]string{"vedette.yml": fmt.Sprintf("host: {names: [node, otel], textfile_directory: %q, mounts_exclude: %q, fs_types_exclude: %q}\n", texts, mounts, types)})

	ours := func() map[string]float64 {
		data, _ := ask(v.url, "query", url.Values{"query": {`{job="vedette-host",__name__!="up"}`}}).(map[string]any)
		res, _ := data["result"].([]any)
		out := map[string]float64{}
		for _, r := range res {
			ls := map[string]string{}
			for k, x := range r.(map[string]any)["metric"].(map[string]any) {
				ls[k] = x.(string)
			}
			value, err := strconv.ParseFloat(r.(map[string]any)["value"].([]any)[1].(string), 64)
			if err != nil {
				t.Fatal(err)
			}
			out[hostSeries(ls)] = value
		}
		return out
	}
	before, _ := hostScrape(t, addr)
	start := float64(time.Now().UnixNano()) / 1e9
	var got map[string]float64
	eventually(t, "a collection after node_exporter's", func() bool {
		got = ours()
		return got["node_time_seconds{}"] > start
	})
	after, types2 := hostScrape(t, addr)

	is := func(prefixes []string, name string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	compared, gap := 0, map[string]bool{}
	for _, s := range slices.Sorted(maps.Keys(after)) {
		name, _, _ := strings.Cut(s, "{")
		if is(notOurs, name) {
			gap[name] = true
			continue
		}
		was, ok := before[s]
		if !ok {
			continue // came between the two readings
		}
		now := after[s]
		if name == "node_network_speed_bytes" && now < 0 {
			continue // a driver that does not know; we show nothing
		}
		g, ok := got[s]
		if !ok {
			t.Errorf("not ours: %s", s)
			continue
		}
		compared++
		lo, hi := min(was, now), max(was, now)
		switch {
		case slices.Contains(hostStatic, name):
		case is(hostLevels, name):
			// They may have been anywhere meanwhile. An error of unit, a wrong
			// column or another row are further away than this.
			slack := 0.5*math.Abs(hi) + 64<<20
			if !strings.HasSuffix(name, "_bytes") {
				slack = 0.5*math.Abs(hi) + 200
			}
			lo, hi = lo-slack, hi+slack
		case types2[name] == dto.MetricType_GAUGE && name != "node_time_seconds" && was != now:
			t.Errorf("%s changed from %v to %v and is not in hostLevels", s, was, now)
		default: // the two programs may sum up floats in another order
			lo, hi = lo-1e-6*math.Abs(lo), hi+1e-6*math.Abs(hi)
		}
		if g < lo || g > hi {
			t.Errorf("%s is %v, node_exporter says %v and then %v", s, g, was, now)
		}
	}
	extra := map[string]bool{}
	for s := range got {
		name, _, _ := strings.Cut(s, "{")
		if _, ok := types2[name]; !ok && strings.HasPrefix(name, "node_") {
			extra[name] = true
		}
	}
	for _, own := range []string{"go_", "process_", "promhttp_"} {
		maps.DeleteFunc(gap, func(name string, _ bool) bool { return strings.HasPrefix(name, own) })
	}
	t.Logf("%d series compared; %d of ours in all; it has beside: %v; we have beside: %v", compared, len(got), slices.Sorted(maps.Keys(gap)), slices.Sorted(maps.Keys(extra)))
	if compared < 200 {
		t.Errorf("%d series were compared, want at least 200", compared)
	}
	for _, s := range []string{"backup_done_timestamp_seconds{disk=a b,exported_job=nightly}", "system_cpu_time_seconds_total{cpu=cpu0,state=idle}"} {
		if _, ok := got[s]; !ok {
			t.Errorf("%s is missing", s)
		}
	}
}

// hostSeries is a series as text, without what a scrape adds and the labels that
// only newer versions of node_exporter have.
func hostSeries(ls map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(ls)) {
		switch {
		case k == "__name__" || k == "job" || k == "instance" || k == "adminstate" || ls[k] == "":
		case ls["__name__"] == "node_disk_info" && k == "rotational":
		default:
			parts = append(parts, k+"="+ls[k])
		}
	}
	return ls["__name__"] + "{" + strings.Join(parts, ",") + "}"
}

// hostScrape reads what node_exporter shows, without the text file's own metrics,
// whose labels a scrape renames.
func hostScrape(t *testing.T, addr string) (map[string]float64, map[string]dto.MetricType) {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	mfs, err := p.TextToMetricFamilies(bytes.NewReader(get(t, "http://"+addr+"/metrics")))
	if err != nil {
		t.Fatal(err)
	}
	series, types := map[string]float64{}, map[string]dto.MetricType{}
	for name, mf := range mfs {
		types[name] = mf.GetType()
		for _, m := range mf.Metric {
			ls := map[string]string{"__name__": name}
			renamed := false
			for _, l := range m.Label {
				ls[l.GetName()] = l.GetValue()
				renamed = renamed || l.GetName() == "job"
			}
			if !renamed && (m.Gauge != nil || m.Counter != nil || m.Untyped != nil) {
				series[hostSeries(ls)] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
			}
		}
	}
	return series, types
}
