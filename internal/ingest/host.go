package ingest

import (
	"context"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"
)

// Host collects the machine's CPU, memory, disks and network under
// node_exporter's names, which existing dashboards and rules know.
type Host struct {
	log  func(part string, err error)
	path string // the directory whose file system is always shown

	mu       sync.Mutex
	reported map[string]bool
}

// NewHost makes the collector. dataDir's file system is shown whatever its
// type. onError is called once for each part that cannot be read.
func NewHost(dataDir string, onError func(part string, err error)) *Host {
	return &Host{log: onError, path: dataDir, reported: map[string]bool{}}
}

func desc(name, help string, ls ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, ls, nil)
}

var (
	cpuSeconds  = desc("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.", "cpu", "mode")
	load1       = desc("node_load1", "1m load average.")
	load5       = desc("node_load5", "5m load average.")
	load15      = desc("node_load15", "15m load average.")
	memTotal    = desc("node_memory_MemTotal_bytes", "Memory of the machine.")
	memFree     = desc("node_memory_MemFree_bytes", "Memory that nothing uses.")
	memAvail    = desc("node_memory_MemAvailable_bytes", "Memory available to new work without swapping.")
	memCached   = desc("node_memory_Cached_bytes", "Page cache.")
	memBuffers  = desc("node_memory_Buffers_bytes", "Block buffers.")
	swapTotal   = desc("node_memory_SwapTotal_bytes", "Swap space.")
	swapFree    = desc("node_memory_SwapFree_bytes", "Swap space that nothing uses.")
	bootTime    = desc("node_boot_time_seconds", "When the machine started, Unix seconds.")
	fsSize      = desc("node_filesystem_size_bytes", "Size of the file system.", "device", "fstype", "mountpoint")
	fsFree      = desc("node_filesystem_free_bytes", "Free space.", "device", "fstype", "mountpoint")
	fsAvail     = desc("node_filesystem_avail_bytes", "Free space for ordinary users.", "device", "fstype", "mountpoint")
	fsFiles     = desc("node_filesystem_files", "Inodes of the file system.", "device", "fstype", "mountpoint")
	fsFilesFree = desc("node_filesystem_files_free", "Free inodes.", "device", "fstype", "mountpoint")
	diskRead    = desc("node_disk_read_bytes_total", "Bytes read.", "device")
	diskWritten = desc("node_disk_written_bytes_total", "Bytes written.", "device")
	diskReads   = desc("node_disk_reads_completed_total", "Reads completed.", "device")
	diskWrites  = desc("node_disk_writes_completed_total", "Writes completed.", "device")
	diskIOTime  = desc("node_disk_io_time_seconds_total", "Seconds spent doing I/O.", "device")
	netRx       = desc("node_network_receive_bytes_total", "Bytes received.", "device")
	netTx       = desc("node_network_transmit_bytes_total", "Bytes sent.", "device")
	netRxErrs   = desc("node_network_receive_errs_total", "Receive errors.", "device")
	netTxErrs   = desc("node_network_transmit_errs_total", "Transmit errors.", "device")
	netRxDrop   = desc("node_network_receive_drop_total", "Packets dropped while receiving.", "device")
	netTxDrop   = desc("node_network_transmit_drop_total", "Packets dropped while sending.", "device")
	uname       = desc("node_uname_info", "Name and system of the machine, value 1.", "nodename", "sysname", "release", "machine")
)

// Describe is empty: the parts that a machine has are known only when read.
func (*Host) Describe(chan<- *prometheus.Desc) {}

// Collect reads the machine.
func (h *Host) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, ls ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, ls...)
	}
	counter := func(d *prometheus.Desc, v float64, ls ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, ls...)
	}

	if ts, err := cpu.TimesWithContext(ctx, true); h.ok("cpu", err) {
		for _, t := range ts {
			n := strings.TrimPrefix(t.CPU, "cpu")
			for _, m := range []struct {
				mode string
				v    float64
			}{
				{"user", t.User}, {"system", t.System}, {"idle", t.Idle}, {"nice", t.Nice},
				{"iowait", t.Iowait}, {"irq", t.Irq}, {"softirq", t.Softirq}, {"steal", t.Steal},
			} {
				counter(cpuSeconds, m.v, n, m.mode)
			}
		}
	}
	if l, err := load.AvgWithContext(ctx); h.ok("load", err) {
		gauge(load1, l.Load1)
		gauge(load5, l.Load5)
		gauge(load15, l.Load15)
	}
	if m, err := mem.VirtualMemoryWithContext(ctx); h.ok("memory", err) {
		gauge(memTotal, float64(m.Total))
		gauge(memFree, float64(m.Free))
		gauge(memAvail, float64(m.Available))
		gauge(memCached, float64(m.Cached))
		gauge(memBuffers, float64(m.Buffers))
		gauge(swapTotal, float64(m.SwapTotal))
		gauge(swapFree, float64(m.SwapFree))
	}
	if t, err := host.BootTimeWithContext(ctx); h.ok("boot time", err) {
		gauge(bootTime, float64(t))
	}
	if name, err := os.Hostname(); h.ok("host name", err) {
		release, _ := host.KernelVersionWithContext(ctx) // "" is shown as unknown
		gauge(uname, 1, name, runtime.GOOS, release, runtime.GOARCH)
	}
	h.disks(ctx, gauge, counter)
	if ns, err := net.IOCountersWithContext(ctx, true); h.ok("network", err) {
		for _, n := range ns {
			counter(netRx, float64(n.BytesRecv), n.Name)
			counter(netTx, float64(n.BytesSent), n.Name)
			counter(netRxErrs, float64(n.Errin), n.Name)
			counter(netTxErrs, float64(n.Errout), n.Name)
			counter(netRxDrop, float64(n.Dropin), n.Name)
			counter(netTxDrop, float64(n.Dropout), n.Name)
		}
	}
}

func (h *Host) disks(ctx context.Context, gauge, counter func(*prometheus.Desc, float64, ...string)) {
	seen := map[string]bool{}
	one := func(device, fstype, mount string) {
		if seen[mount] {
			return
		}
		seen[mount] = true
		u, err := disk.UsageWithContext(ctx, mount)
		if err != nil {
			return // a mount that this user may not look at
		}
		ls := []string{device, fstype, mount}
		gauge(fsSize, float64(u.Total), ls...)
		gauge(fsFree, float64(u.Total-u.Used), ls...)
		gauge(fsAvail, float64(u.Free), ls...)
		gauge(fsFiles, float64(u.InodesTotal), ls...)
		gauge(fsFilesFree, float64(u.InodesFree), ls...)
	}
	if ps, err := disk.PartitionsWithContext(ctx, false); h.ok("partitions", err) {
		for _, p := range ps {
			if !strings.HasPrefix(p.Mountpoint, "/etc/") { // files bound into containers
				one(p.Device, p.Fstype, p.Mountpoint)
			}
		}
	}
	if u, err := disk.UsageWithContext(ctx, h.path); err == nil && len(seen) == 0 {
		one("data", u.Fstype, h.path)
	}
	if cs, err := disk.IOCountersWithContext(ctx); h.ok("disk I/O", err) {
		for name, c := range cs {
			if strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") {
				continue
			}
			counter(diskRead, float64(c.ReadBytes), name)
			counter(diskWritten, float64(c.WriteBytes), name)
			counter(diskReads, float64(c.ReadCount), name)
			counter(diskWrites, float64(c.WriteCount), name)
			counter(diskIOTime, float64(c.IoTime)/1000, name)
		}
	}
}

// ok reports whether a part could be read and tells of the first failure.
func (h *Host) ok(part string, err error) bool {
	if err == nil {
		return true
	}
	h.mu.Lock()
	first := !h.reported[part]
	h.reported[part] = true
	h.mu.Unlock()
	if first {
		h.log(part, err)
	}
	return false
}

// DiskUsage is the space of the file system that holds dir.
func DiskUsage(dir string) (free, total uint64, err error) {
	u, err := disk.Usage(dir)
	if err != nil {
		return 0, 0, err
	}
	return u.Free, u.Total, nil
}
