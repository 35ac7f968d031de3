//go:build !linux

package ingest

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"
)

// sources are the parts that every system can tell of.
func (h *Host) sources() []hostPart {
	limited := func(read func(context.Context, *hostSamples) error) func(*hostSamples) error {
		return func(s *hostSamples) error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return read(ctx, s)
		}
	}
	return []hostPart{
		{name: "cpu", read: limited(h.readCPU)},
		{name: "loadavg", read: limited(readLoad)},
		{name: "meminfo", read: limited(readMemory)},
		{name: "boottime", read: limited(readBoot)},
		{name: "uname", read: limited(readUname)},
		{name: "filesystem", read: limited(h.readFilesystems)},
		{name: "diskstats", read: limited(readDisks)},
		{name: "netdev", read: limited(readNet)},
	}
}

func (h *Host) readCPU(ctx context.Context, s *hostSamples) error {
	ts, err := cpu.TimesWithContext(ctx, true)
	if err != nil {
		return err
	}
	for i, t := range ts {
		n, err := strconv.ParseInt(strings.TrimPrefix(t.CPU, "cpu"), 10, 64)
		if err != nil {
			n = int64(i)
		}
		last := h.cpus[n]
		v := last.forward(hostCPU{t.User, t.Nice, t.System, t.Idle, t.Iowait, t.Irq, t.Softirq, t.Steal})
		h.cpus[n] = v
		for i, mode := range hostCPUModes() {
			s.counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.", v[i], "cpu", strconv.FormatInt(n, 10), "mode", mode)
		}
	}
	return nil
}

func readLoad(ctx context.Context, s *hostSamples) error {
	l, err := load.AvgWithContext(ctx)
	if err != nil {
		return err
	}
	hostLoad(s, l.Load1, l.Load5, l.Load15)
	return nil
}

func readMemory(ctx context.Context, s *hostSamples) error {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return err
	}
	for _, v := range []struct {
		name  string
		bytes uint64
	}{
		{"MemTotal", m.Total}, {"MemFree", m.Free}, {"MemAvailable", m.Available}, {"Cached", m.Cached},
		{"Buffers", m.Buffers}, {"SwapTotal", m.SwapTotal}, {"SwapFree", m.SwapFree},
	} {
		s.gauge("node_memory_"+v.name+"_bytes", "Memory: "+v.name+".", float64(v.bytes))
	}
	return nil
}

func readBoot(ctx context.Context, s *hostSamples) error {
	t, err := host.BootTimeWithContext(ctx)
	if err != nil {
		return err
	}
	s.gauge("node_boot_time_seconds", "When the machine started, Unix seconds.", float64(t))
	return nil
}

func readUname(ctx context.Context, s *hostSamples) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	release, _ := host.KernelVersionWithContext(ctx) // "" is shown as unknown
	s.gauge("node_uname_info", "Name and system of the machine, value 1.", 1,
		"sysname", runtime.GOOS, "release", release, "machine", runtime.GOARCH, "nodename", name)
	return nil
}

func (h *Host) readFilesystems(ctx context.Context, s *hostSamples) error {
	one := func(device, fstype, mount string) {
		var u *disk.UsageStat
		err := h.stuck.ask(mount, h.cfg.MountTimeout, func() error {
			got, err := disk.UsageWithContext(ctx, mount)
			if err == nil {
				u = got
			}
			return err
		})
		if err != nil {
			return // a mount that this user may not look at
		}
		ls := []string{"device", device, "fstype", fstype, "mountpoint", mount}
		s.gauge("node_filesystem_size_bytes", "Size of the file system.", float64(u.Total), ls...)
		s.gauge("node_filesystem_free_bytes", "Free space.", float64(u.Total-u.Used), ls...)
		s.gauge("node_filesystem_avail_bytes", "Free space for ordinary users.", float64(u.Free), ls...)
		s.gauge("node_filesystem_files", "Inodes of the file system.", float64(u.InodesTotal), ls...)
		s.gauge("node_filesystem_files_free", "Free inodes.", float64(u.InodesFree), ls...)
	}
	ps, err := disk.PartitionsWithContext(ctx, false)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, p := range ps {
		if !seen[p.Mountpoint] && !h.mounts.MatchString(p.Mountpoint) && !h.types.MatchString(p.Fstype) {
			seen[p.Mountpoint] = true
			one(p.Device, p.Fstype, p.Mountpoint)
		}
	}
	if len(seen) == 0 {
		one("data", "", h.dataDir)
	}
	return nil
}

func readDisks(ctx context.Context, s *hostSamples) error {
	cs, err := disk.IOCountersWithContext(ctx)
	if err != nil {
		return err
	}
	for name, c := range cs {
		s.counter("node_disk_read_bytes_total", "Bytes read.", float64(c.ReadBytes), "device", name)
		s.counter("node_disk_written_bytes_total", "Bytes written.", float64(c.WriteBytes), "device", name)
		s.counter("node_disk_reads_completed_total", "Reads completed.", float64(c.ReadCount), "device", name)
		s.counter("node_disk_writes_completed_total", "Writes completed.", float64(c.WriteCount), "device", name)
		s.counter("node_disk_io_time_seconds_total", "Seconds in which the disk worked.", float64(c.IoTime)/1000, "device", name)
	}
	return nil
}

func readNet(ctx context.Context, s *hostSamples) error {
	ns, err := net.IOCountersWithContext(ctx, true)
	if err != nil {
		return err
	}
	for _, n := range ns {
		for _, v := range []struct {
			name  string
			value uint64
		}{
			{"receive_bytes", n.BytesRecv}, {"transmit_bytes", n.BytesSent}, {"receive_packets", n.PacketsRecv}, {"transmit_packets", n.PacketsSent},
			{"receive_errs", n.Errin}, {"transmit_errs", n.Errout}, {"receive_drop", n.Dropin}, {"transmit_drop", n.Dropout},
		} {
			s.counter("node_network_"+v.name+"_total", "Network: "+v.name+".", float64(v.value), "device", n.Name)
		}
	}
	return nil
}

// otelSystem adds nothing: the processes of other systems are dear to count.
func otelSystem(*hostSamples) error { return nil }
