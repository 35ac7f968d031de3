package ingest

import (
	"os"
	"runtime"
	"strings"
	"time"
)

// OpenTelemetry's names are those of the Collector's hostmetrics receiver, which
// keeps the attributes of the semantic conventions 1.9 (cpu and state, not
// cpu.logical_number and cpu.mode), after the translation to Prometheus that our
// OTLP door makes by default: system.cpu.time is system_cpu_time_seconds_total.

// otelNode is a metric of OpenTelemetry that has a node_exporter metric's values.
type otelNode struct {
	to, help string
	counter  bool
	from     []string // labels as they are called there, and what they are called here
	more     []string // labels beside
}

// otelSame are the metrics that differ in nothing but names, by node_exporter's.
func otelSame() map[string]otelNode {
	const (
		diskIO   = "Bytes read and written."
		diskOps  = "Reads and writes completed."
		diskTime = "Seconds spent by all reads or writes together."
		merged   = "Reads and writes merged with another."
		netIO    = "Bytes received and sent."
		packets  = "Packets received and sent."
		errs     = "Errors while receiving and sending."
		dropped  = "Packets dropped while receiving and sending."
		paging   = "Pages read from and written to swap (major), KiB to and from all disks (minor)."
	)
	device := []string{"device", "device"}
	dir := func(d string) []string { return []string{"direction", d} }
	return map[string]otelNode{
		"node_load1":  {"system_cpu_load_average_1m", "Average load of 1 minute.", false, nil, nil},
		"node_load5":  {"system_cpu_load_average_5m", "Average load of 5 minutes.", false, nil, nil},
		"node_load15": {"system_cpu_load_average_15m", "Average load of 15 minutes.", false, nil, nil},

		"node_memory_MemAvailable_bytes": {"system_linux_memory_available_bytes", "Memory available to new work without swapping.", false, nil, nil},

		"node_disk_read_bytes_total":               {"system_disk_io_bytes_total", diskIO, true, device, dir("read")},
		"node_disk_written_bytes_total":            {"system_disk_io_bytes_total", diskIO, true, device, dir("write")},
		"node_disk_reads_completed_total":          {"system_disk_operations_total", diskOps, true, device, dir("read")},
		"node_disk_writes_completed_total":         {"system_disk_operations_total", diskOps, true, device, dir("write")},
		"node_disk_read_time_seconds_total":        {"system_disk_operation_time_seconds_total", diskTime, true, device, dir("read")},
		"node_disk_write_time_seconds_total":       {"system_disk_operation_time_seconds_total", diskTime, true, device, dir("write")},
		"node_disk_reads_merged_total":             {"system_disk_merged_total", merged, true, device, dir("read")},
		"node_disk_writes_merged_total":            {"system_disk_merged_total", merged, true, device, dir("write")},
		"node_disk_io_time_seconds_total":          {"system_disk_io_time_seconds_total", "Seconds in which the disk worked.", true, device, nil},
		"node_disk_io_time_weighted_seconds_total": {"system_disk_weighted_io_time_seconds_total", "Seconds in which the disk worked, times what was under way.", true, device, nil},
		"node_disk_io_now":                         {"system_disk_pending_operations", "Reads and writes under way.", false, device, nil},

		"node_network_receive_bytes_total":    {"system_network_io_bytes_total", netIO, true, device, dir("receive")},
		"node_network_transmit_bytes_total":   {"system_network_io_bytes_total", netIO, true, device, dir("transmit")},
		"node_network_receive_packets_total":  {"system_network_packets_total", packets, true, device, dir("receive")},
		"node_network_transmit_packets_total": {"system_network_packets_total", packets, true, device, dir("transmit")},
		"node_network_receive_errs_total":     {"system_network_errors_total", errs, true, device, dir("receive")},
		"node_network_transmit_errs_total":    {"system_network_errors_total", errs, true, device, dir("transmit")},
		"node_network_receive_drop_total":     {"system_network_dropped_total", dropped, true, device, dir("receive")},
		"node_network_transmit_drop_total":    {"system_network_dropped_total", dropped, true, device, dir("transmit")},
		"node_nf_conntrack_entries":           {"system_network_conntrack_count", "Connections that the kernel follows.", false, nil, nil},
		"node_nf_conntrack_entries_limit":     {"system_network_conntrack_max", "How many connections the kernel can follow.", false, nil, nil},

		"node_vmstat_pswpin":  {"system_paging_operations_total", paging, true, nil, []string{"direction", "page_in", "type", "major"}},
		"node_vmstat_pswpout": {"system_paging_operations_total", paging, true, nil, []string{"direction", "page_out", "type", "major"}},
		"node_vmstat_pgpgin":  {"system_paging_operations_total", paging, true, nil, []string{"direction", "page_in", "type", "minor"}},
		"node_vmstat_pgpgout": {"system_paging_operations_total", paging, true, nil, []string{"direction", "page_out", "type", "minor"}},

		"node_forks_total": {"system_processes_created_total", "Processes made.", true, nil, nil},
	}
}

// hostUtilization is what shares of time are reckoned from: the CPUs' seconds
// when they were read last.
type hostUtilization struct {
	at   time.Time
	cpus map[[2]string]float64 // by CPU and state
}

// otelNames makes OpenTelemetry's metrics of what was read at now.
func (h *Host) otelNames(node []hostSample, now time.Time) []hostSample {
	var s hostSamples
	same := otelSame()
	cpus := map[[2]string]float64{}
	mem := map[string]float64{}
	vm := map[string]float64{}
	type mount struct{ size, free, avail, files, filesFree, readonly float64 }
	mounts := map[[3]string]*mount{}
	var order [][3]string
	for _, n := range node {
		if o, ok := same[n.name]; ok {
			ls := make([]string, 0, len(o.from)+len(o.more))
			for i := 0; i < len(o.from); i += 2 {
				ls = append(ls, o.from[i+1], n.label(o.from[i]))
			}
			ls = append(ls, o.more...)
			if o.counter {
				s.counter(o.to, o.help, n.value, ls...)
			} else {
				s.gauge(o.to, o.help, n.value, ls...)
			}
		}
		switch key, found := strings.CutPrefix(n.name, "node_filesystem_"); {
		case n.name == "node_cpu_seconds_total":
			cpus[[2]string{"cpu" + n.label("cpu"), otelState(n.label("mode"))}] = n.value
		case n.name == "node_boot_time_seconds":
			s.gauge("system_uptime_seconds", "How long the machine has been running.", float64(now.UnixNano())/1e9-n.value)
		case strings.HasPrefix(n.name, "node_memory_"):
			mem[strings.TrimPrefix(n.name, "node_memory_")] = n.value
		case strings.HasPrefix(n.name, "node_vmstat_"):
			vm[strings.TrimPrefix(n.name, "node_vmstat_")] = n.value
		case found:
			id := [3]string{n.label("device"), n.label("fstype"), n.label("mountpoint")}
			m := mounts[id]
			if m == nil {
				m = &mount{}
				mounts[id] = m
				order = append(order, id)
			}
			for name, v := range map[string]*float64{"size_bytes": &m.size, "free_bytes": &m.free, "avail_bytes": &m.avail,
				"files": &m.files, "files_free": &m.filesFree, "readonly": &m.readonly} {
				if key == name {
					*v = n.value
				}
			}
		}
	}

	h.otelCPU(&s, cpus, now)
	otelMemory(&s, mem)
	if faults, ok := vm["pgfault"]; ok {
		const help = "Page faults, major ones read from a disk."
		s.counter("system_paging_faults_total", help, vm["pgmajfault"], "type", "major")
		s.counter("system_paging_faults_total", help, faults-vm["pgmajfault"], "type", "minor")
	}
	for _, id := range order {
		m := mounts[id]
		if m.size == 0 {
			continue // it does not answer, or holds nothing
		}
		mode := "rw"
		if m.readonly == 1 {
			mode = "ro"
		}
		ls := func(more ...string) []string {
			return append([]string{"device", id[0], "mode", mode, "mountpoint", id[2], "type", id[1]}, more...)
		}
		const help, inodes = "Space of the file system.", "Inodes of the file system."
		used := m.size - m.free
		s.gauge("system_filesystem_usage_bytes", help, used, ls("state", "used")...)
		s.gauge("system_filesystem_usage_bytes", help, m.avail, ls("state", "free")...)
		s.gauge("system_filesystem_usage_bytes", help, m.free-m.avail, ls("state", "reserved")...)
		if used+m.avail > 0 {
			s.gauge("system_filesystem_utilization_ratio", "Share of the space for ordinary users that is used.", used/(used+m.avail), ls()...)
		}
		s.gauge("system_filesystem_inodes_usage", inodes, m.files-m.filesFree, ls("state", "used")...)
		s.gauge("system_filesystem_inodes_usage", inodes, m.filesFree, ls("state", "free")...)
	}
	if err := otelSystem(&s); err != nil {
		h.ok(hostPart{name: "otel"}, err)
	}
	if name, err := os.Hostname(); err == nil {
		s.gauge("target_info", "Who is measured, value 1.", 1, "host_name", name, "os_type", runtime.GOOS, "host_arch", runtime.GOARCH)
	}
	return s.all
}

// otelState is what OpenTelemetry calls a mode of a CPU.
func otelState(mode string) string {
	switch mode {
	case "iowait":
		return "wait"
	case "irq":
		return "interrupt"
	}
	return mode
}

// otelCPU shows the CPUs' seconds and, from the second time on, their shares of
// the time since the last.
func (h *Host) otelCPU(s *hostSamples, cpus map[[2]string]float64, now time.Time) {
	elapsed := now.Sub(h.otel.at).Seconds()
	logical := map[string]bool{}
	for id, v := range cpus {
		logical[id[0]] = true
		s.counter("system_cpu_time_seconds_total", "Seconds the CPUs spent in each state.", v, "cpu", id[0], "state", id[1])
		if last, ok := h.otel.cpus[id]; ok && elapsed > 0 {
			// A tick of the kernel's clock may fall into this time or the next.
			share := min(max(v-last, 0)/elapsed, 1)
			s.gauge("system_cpu_utilization_ratio", "Share of the time that the CPUs spent in each state.", share, "cpu", id[0], "state", id[1])
		}
	}
	if len(logical) > 0 {
		s.gauge("system_cpu_logical_count", "CPUs that programs see.", float64(len(logical)))
	}
	h.otel = hostUtilization{now, cpus}
}

// otelMemory shows how memory is used. The page cache has the reclaimable slabs
// within, used is all that is not available.
func otelMemory(s *hostSamples, mem map[string]float64) {
	total := mem["MemTotal_bytes"]
	if total == 0 {
		return
	}
	for _, m := range []struct {
		state string
		bytes float64
		there bool
	}{
		{"used", total - mem["MemAvailable_bytes"], true},
		{"free", mem["MemFree_bytes"], true},
		{"buffered", mem["Buffers_bytes"], true},
		{"cached", mem["Cached_bytes"] + mem["SReclaimable_bytes"], true},
		{"slab_reclaimable", mem["SReclaimable_bytes"], mem["Slab_bytes"] > 0},
		{"slab_unreclaimable", mem["SUnreclaim_bytes"], mem["Slab_bytes"] > 0},
	} {
		if m.there {
			s.gauge("system_memory_usage_bytes", "Memory in each state.", m.bytes, "state", m.state)
			s.gauge("system_memory_utilization_ratio", "Share of the memory in each state.", m.bytes/total, "state", m.state)
		}
	}
	s.gauge("system_memory_limit_bytes", "Memory of the machine.", total)
}
