package ingest

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/blockdevice"
)

// readFilesystems shows what is mounted. The mounts are those of the first
// process, if this one may look: those of a service may be fewer.
func (h *Host) readFilesystems(proc procfs.FS, s *hostSamples) error {
	mounts, err := proc.GetProcMounts(1)
	if err != nil || len(mounts) == 0 {
		if mounts, err = proc.GetMounts(); err != nil {
			return err
		}
	}
	// The last of the mounts at the longest path above the data is where it is.
	data, _ := filepath.Abs(h.dataDir)
	if p, err := filepath.EvalSymlinks(data); err == nil {
		data = p
	}
	home := -1
	for i, m := range mounts {
		m.MountPoint, m.Source = unescapeMount(m.MountPoint), unescapeMount(m.Source)
		if under(data, m.MountPoint) && (home < 0 || len(m.MountPoint) >= len(mounts[home].MountPoint)) {
			home = i
		}
	}
	// By device and place: what is mounted over itself is shown once.
	seen := map[[2]string]bool{}
	var shown []*procfs.MountInfo
	for i, m := range mounts {
		key := [2]string{m.Source, m.MountPoint}
		if seen[key] || i != home && (h.mounts.MatchString(m.MountPoint) || h.types.MatchString(m.FSType)) {
			continue
		}
		seen[key] = true
		shown = append(shown, m)
	}
	// All at once: ten mounts of a server that is away cost one timeout.
	stats, errs := make([]*syscall.Statfs_t, len(shown)), make([]error, len(shown))
	var asked sync.WaitGroup
	for i, m := range shown {
		stats[i] = new(syscall.Statfs_t)
		asked.Go(func() {
			// The call has the value to itself, which it may write long after we left.
			st := stats[i]
			errs[i] = h.stuck.ask(m.Source+" "+m.MountPoint, h.cfg.MountTimeout, func() error { return syscall.Statfs(m.MountPoint, st) })
		})
	}
	asked.Wait()
	for i, m := range shown {
		showFilesystem(s, m, stats[i], errs[i])
	}
	return nil
}

func showFilesystem(s *hostSamples, m *procfs.MountInfo, st *syscall.Statfs_t, err error) {
	ls := []string{"device", m.Source, "fstype", m.FSType, "mountpoint", m.MountPoint}
	_, ro := m.Options["ro"]
	_, superRO := m.SuperOptions["ro"]
	major, minor, _ := strings.Cut(m.MajorMinorVer, ":")
	s.gauge("node_filesystem_mount_info", "What is mounted where, value 1.", 1, "device", m.Source, "major", major, "minor", minor, "mountpoint", m.MountPoint)
	s.gauge("node_filesystem_readonly", "Whether the file system is mounted read-only.", truth(ro || superRO), ls...)
	const help = "Whether the file system could not be asked."
	if err != nil {
		s.gauge("node_filesystem_device_error", help, 1, append(ls, "device_error", err.Error())...)
		return
	}
	s.gauge("node_filesystem_device_error", help, 0, append(ls, "device_error", "")...)
	block := float64(st.Bsize)
	s.gauge("node_filesystem_size_bytes", "Size of the file system.", float64(st.Blocks)*block, ls...)
	s.gauge("node_filesystem_free_bytes", "Free space.", float64(st.Bfree)*block, ls...)
	s.gauge("node_filesystem_avail_bytes", "Free space for ordinary users.", float64(st.Bavail)*block, ls...)
	s.gauge("node_filesystem_files", "Inodes of the file system.", float64(st.Files), ls...)
	s.gauge("node_filesystem_files_free", "Free inodes.", float64(st.Ffree), ls...)
}

// under reports whether path is dir or below it.
func under(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(dir, "/"))
}

// unescapeMount reads what the kernel writes for blanks in a path.
func unescapeMount(p string) string {
	if !strings.Contains(p, `\`) {
		return p
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#").Replace(p)
}

// hostDisk matches what is no disk of its own: partitions, loops, memory. It is
// node_exporter's default.
var hostDisk = regexp.MustCompile(`^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`)

func readDiskstats(disks blockdevice.FS, s *hostSamples) error {
	all, err := disks.ProcDiskstats()
	if err != nil {
		return err
	}
	const (
		sector      = 512 // bytes, whatever the disk's own
		millisecond = 1e-3
	)
	for _, d := range all {
		name := d.DeviceName
		if hostDisk.MatchString(name) {
			continue
		}
		count := func(metric, help string, v uint64, unit float64) {
			s.counter(metric, help, float64(v)*unit, "device", name)
		}
		readDiskInfo(d.Info, s)
		count("node_disk_reads_completed_total", "Reads completed.", d.ReadIOs, 1)
		count("node_disk_reads_merged_total", "Reads merged with another.", d.ReadMerges, 1)
		count("node_disk_read_bytes_total", "Bytes read.", d.ReadSectors, sector)
		count("node_disk_read_time_seconds_total", "Seconds spent by all reads together.", d.ReadTicks, millisecond)
		count("node_disk_writes_completed_total", "Writes completed.", d.WriteIOs, 1)
		count("node_disk_writes_merged_total", "Writes merged with another.", d.WriteMerges, 1)
		count("node_disk_written_bytes_total", "Bytes written.", d.WriteSectors, sector)
		count("node_disk_write_time_seconds_total", "Seconds spent by all writes together.", d.WriteTicks, millisecond)
		s.gauge("node_disk_io_now", "Reads and writes under way.", float64(d.IOsInProgress), "device", name)
		count("node_disk_io_time_seconds_total", "Seconds in which the disk worked.", d.IOsTotalTicks, millisecond)
		count("node_disk_io_time_weighted_seconds_total", "Seconds in which the disk worked, times what was under way.", d.WeightedIOTicks, millisecond)
		if d.IoStatsCount >= 18 { // since Linux 4.18
			count("node_disk_discards_completed_total", "Discards completed.", d.DiscardIOs, 1)
			count("node_disk_discards_merged_total", "Discards merged with another.", d.DiscardMerges, 1)
			count("node_disk_discarded_sectors_total", "Sectors discarded.", d.DiscardSectors, 1)
			count("node_disk_discard_time_seconds_total", "Seconds spent by all discards together.", d.DiscardTicks, millisecond)
		}
		if d.IoStatsCount >= 20 { // since Linux 5.5
			count("node_disk_flush_requests_total", "Flushes completed.", d.FlushRequestsCompleted, 1)
			count("node_disk_flush_requests_time_seconds_total", "Seconds spent by all flushes together.", d.TimeSpentFlushing, millisecond)
		}
	}
	return nil
}

// readDiskInfo shows what udev knows of a disk, if udev is there.
func readDiskInfo(d blockdevice.Info, s *hostSamples) {
	udev := map[string]string{}
	if f, err := os.Open(fmt.Sprintf("/run/udev/data/b%d:%d", d.MajorNumber, d.MinorNumber)); err == nil {
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if kv, ok := strings.CutPrefix(sc.Text(), "E:"); ok {
				key, value, _ := strings.Cut(kv, "=")
				udev[key] = value
			}
		}
		f.Close()
	}
	serial := udev["SCSI_IDENT_SERIAL"]
	if serial == "" {
		serial = udev["ID_SERIAL_SHORT"]
	}
	s.gauge("node_disk_info", "A disk and what udev knows of it, value 1.", 1, "device", d.DeviceName,
		"major", fmt.Sprint(d.MajorNumber), "minor", fmt.Sprint(d.MinorNumber),
		"path", udev["ID_PATH"], "wwn", udev["ID_WWN"], "model", udev["ID_MODEL"], "serial", serial, "revision", udev["ID_REVISION"])
}
