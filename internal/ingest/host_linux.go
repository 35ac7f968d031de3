package ingest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/blockdevice"
	"github.com/prometheus/procfs/sysfs"
)

// sources are the parts of a Linux machine, read from /proc, /sys and two calls
// of the kernel. File systems below another root than / are not supported.
func (h *Host) sources() []hostPart {
	proc, procErr := procfs.NewDefaultFS()
	sys, sysErr := sysfs.NewDefaultFS()
	disks, disksErr := blockdevice.NewDefaultFS()
	// of joins what a part needs: one that cannot be had is the part's failure.
	of := func(err error, read func(*hostSamples) error) func(*hostSamples) error {
		if err != nil {
			return func(*hostSamples) error { return err }
		}
		return read
	}
	inProc := func(read func(procfs.FS, *hostSamples) error) func(*hostSamples) error {
		return of(procErr, func(s *hostSamples) error { return read(proc, s) })
	}
	inSys := func(read func(sysfs.FS, *hostSamples) error) func(*hostSamples) error {
		return of(sysErr, func(s *hostSamples) error { return read(sys, s) })
	}
	return []hostPart{
		{name: "stat", read: inProc(h.readStat)},
		{name: "loadavg", read: inProc(readLoad)},
		{name: "meminfo", read: readMeminfo},
		{name: "vmstat", read: readVMStat},
		{name: "pressure", optional: true, read: inProc(readPressure)},
		{name: "schedstat", optional: true, read: inProc(readSchedstat)},
		{name: "cpufreq", optional: true, read: inSys(readCPUFreq)},
		{name: "filesystem", read: inProc(h.readFilesystems)},
		{name: "diskstats", read: of(disksErr, func(s *hostSamples) error { return readDiskstats(disks, s) })},
		{name: "netdev", read: readNetdev},
		{name: "netclass", read: inSys(hostLinks{}.read)},
		{name: "netstat", read: hostNetstats{}.read},
		{name: "sockstat", read: inProc(readSockstat)},
		{name: "softnet", optional: true, read: inProc(readSoftnet)},
		{name: "udp_queues", optional: true, read: inProc(readUDPQueues)},
		{name: "arp", optional: true, read: inProc(readARP)},
		{name: "conntrack", optional: true, read: inProc(readConntrack)},
		{name: "filefd", read: readFileFD},
		{name: "entropy", optional: true, read: inProc(readEntropy)},
		{name: "kernel_hung", optional: true, read: readHung},
		{name: "time", read: inSys(readTime)},
		{name: "timex", read: readTimex},
		{name: "uname", read: readUname},
		{name: "os", optional: true, read: readOS},
		{name: "cgroup", optional: true, read: func(s *hostSamples) error { return readCgroup("/sys/fs/cgroup", s) }},
		{name: "mdadm", optional: true, read: inProc(readMD)},
		{name: "bonding", optional: true, read: func(s *hostSamples) error { return readBonds("/sys/class/net", s) }},
		{name: "hwmon", optional: true, read: readHwmon},
		{name: "thermal_zone", optional: true, read: inSys(readThermal)},
	}
}

func (h *Host) readStat(proc procfs.FS, s *hostSamples) error {
	st, err := proc.Stat()
	if err != nil {
		return err
	}
	for n, c := range st.CPU {
		cpu := strconv.FormatInt(n, 10)
		last := h.cpus[n]
		v := last.forward(hostCPU{c.User, c.Nice, c.System, c.Idle, c.Iowait, c.IRQ, c.SoftIRQ, c.Steal, c.Guest, c.GuestNice})
		h.cpus[n] = v
		for i, mode := range hostCPUModes() {
			s.counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.", v[i], "cpu", cpu, "mode", mode)
		}
		const guest = "Seconds the CPUs spent in virtual machines; part of the modes user and nice."
		s.counter("node_cpu_guest_seconds_total", guest, v[8], "cpu", cpu, "mode", "user")
		s.counter("node_cpu_guest_seconds_total", guest, v[9], "cpu", cpu, "mode", "nice")
	}
	s.counter("node_intr_total", "Interrupts served.", float64(st.IRQTotal))
	s.counter("node_context_switches_total", "Context switches.", float64(st.ContextSwitches))
	s.counter("node_forks_total", "Processes and threads made.", float64(st.ProcessCreated))
	s.gauge("node_boot_time_seconds", "When the machine started, Unix seconds.", float64(st.BootTime))
	s.gauge("node_procs_running", "Threads that run or could.", float64(st.ProcessesRunning))
	s.gauge("node_procs_blocked", "Threads that wait for I/O.", float64(st.ProcessesBlocked))
	return nil
}

func readLoad(proc procfs.FS, s *hostSamples) error {
	l, err := proc.LoadAvg()
	if err != nil {
		return err
	}
	hostLoad(s, l.Load1, l.Load5, l.Load15)
	return nil
}

// readMeminfo takes every line of /proc/meminfo, so that those of newer kernels
// are there too: "Active(anon): 12 kB" is node_memory_Active_anon_bytes.
func readMeminfo(s *hostSamples) error {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		key, rest, _ := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if len(f) == 0 {
			continue
		}
		v, err := strconv.ParseFloat(f[0], 64)
		if err != nil {
			return fmt.Errorf("/proc/meminfo: %s: %w", key, err)
		}
		name := "node_memory_" + strings.TrimSuffix(strings.ReplaceAll(key, "(", "_"), ")")
		if len(f) > 1 { // kB, the only unit
			name, v = name+"_bytes", v*1024
		}
		s.gauge(name, "Memory: "+key+" of /proc/meminfo.", v)
	}
	return nil
}

// readVMStat takes the lines of /proc/vmstat about paging and killed processes.
func readVMStat(s *hostSamples) error {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(key, "oom_kill") && !strings.HasPrefix(key, "pgpg") && !strings.HasPrefix(key, "pswp") &&
			!(strings.HasPrefix(key, "pg") && strings.Contains(key, "fault")) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("/proc/vmstat: %s: %w", key, err)
		}
		s.untyped("node_vmstat_"+key, "Virtual memory: "+key+" of /proc/vmstat.", v)
	}
	return nil
}

// readPressure tells how long work stood still for want of a resource: waiting
// is some of the work, stalled is all of it.
func readPressure(proc procfs.FS, s *hostSamples) error {
	const help = "Seconds in which work stood still for want of the resource."
	for _, r := range []struct {
		name             string
		waiting, stalled bool
	}{{"cpu", true, false}, {"io", true, true}, {"memory", true, true}, {"irq", false, true}} {
		p, err := proc.PSIStatsForResource(r.name)
		if err != nil {
			if r.name == "irq" {
				return nil // since Linux 6.1, and a choice of whoever built it
			}
			return err
		}
		if r.waiting && p.Some != nil {
			s.counter("node_pressure_"+r.name+"_waiting_seconds_total", help, float64(p.Some.Total)/1e6)
		}
		if r.stalled && p.Full != nil {
			s.counter("node_pressure_"+r.name+"_stalled_seconds_total", help, float64(p.Full.Total)/1e6)
		}
	}
	return nil
}

func readSchedstat(proc procfs.FS, s *hostSamples) error {
	st, err := proc.Schedstat()
	if err != nil {
		return err
	}
	for _, c := range st.CPUs {
		s.counter("node_schedstat_running_seconds_total", "Seconds a CPU ran processes.", float64(c.RunningNanoseconds)/1e9, "cpu", c.CPUNum)
		s.counter("node_schedstat_waiting_seconds_total", "Seconds processes waited for a CPU.", float64(c.WaitingNanoseconds)/1e9, "cpu", c.CPUNum)
		s.counter("node_schedstat_timeslices_total", "Turns that a CPU gave.", float64(c.RunTimeslices), "cpu", c.CPUNum)
	}
	return nil
}

func readCPUFreq(sys sysfs.FS, s *hostSamples) error {
	cpus, err := sys.SystemCpufreq()
	if err != nil {
		return err
	}
	for _, c := range cpus {
		one := func(name, help string, kHz *uint64) {
			if kHz != nil {
				s.gauge(name, help, float64(*kHz)*1000, "cpu", c.Name)
			}
		}
		one("node_cpu_frequency_hertz", "Frequency of a CPU as the hardware tells it.", c.CpuinfoCurrentFrequency)
		one("node_cpu_frequency_min_hertz", "Least frequency of a CPU.", c.CpuinfoMinimumFrequency)
		one("node_cpu_frequency_max_hertz", "Highest frequency of a CPU.", c.CpuinfoMaximumFrequency)
		one("node_cpu_scaling_frequency_hertz", "Frequency that the kernel chose for a CPU.", c.ScalingCurrentFrequency)
		one("node_cpu_scaling_frequency_min_hertz", "Least frequency that the kernel may choose.", c.ScalingMinimumFrequency)
		one("node_cpu_scaling_frequency_max_hertz", "Highest frequency that the kernel may choose.", c.ScalingMaximumFrequency)
		for g := range strings.FieldsSeq(c.AvailableGovernors) {
			s.gauge("node_cpu_scaling_governor", "1 for the governor in force.", truth(g == c.Governor), "cpu", c.Name, "governor", g)
		}
	}
	return nil
}

func readFileFD(s *hostSamples) error {
	b, err := os.ReadFile("/proc/sys/fs/file-nr")
	if err != nil {
		return err
	}
	var allocated, unused, most float64
	if _, err := fmt.Sscan(string(b), &allocated, &unused, &most); err != nil {
		return fmt.Errorf("/proc/sys/fs/file-nr: %w", err)
	}
	s.gauge("node_filefd_allocated", "Open files of the whole machine.", allocated)
	s.gauge("node_filefd_maximum", "How many files may be open.", most)
	return nil
}

func readEntropy(proc procfs.FS, s *hostSamples) error {
	r, err := proc.KernelRandom()
	if err != nil {
		return err
	}
	if r.EntropyAvaliable != nil {
		s.gauge("node_entropy_available_bits", "Entropy that the kernel has.", float64(*r.EntropyAvaliable))
	}
	if r.PoolSize != nil {
		s.gauge("node_entropy_pool_size_bits", "Entropy that the kernel's pool can hold.", float64(*r.PoolSize))
	}
	return nil
}

// readHung is there since Linux 6.13, if the kernel looks for such tasks.
func readHung(s *hostSamples) error {
	n, err := readNumber("/proc/sys/kernel/hung_task_detect_count")
	if err != nil {
		return err
	}
	s.counter("node_kernel_hung_tasks_total", "Tasks that hung in the kernel.", n)
	return nil
}

func readTime(sys sysfs.FS, s *hostSamples) error {
	now := time.Now()
	zone, offset := now.Zone()
	s.gauge("node_time_seconds", "The machine's clock, Unix seconds.", float64(now.UnixNano())/1e9)
	s.gauge("node_time_zone_offset_seconds", "How far the time zone is from UTC.", float64(offset), "time_zone", zone)
	sources, err := sys.ClockSources()
	if err != nil {
		return nil // not every architecture tells
	}
	for _, c := range sources {
		for _, name := range c.Available {
			s.gauge("node_time_clocksource_available_info", "A clock that the kernel could use, value 1.", 1, "device", c.Name, "clocksource", name)
		}
		s.gauge("node_time_clocksource_current_info", "The clock that the kernel uses, value 1.", 1, "device", c.Name, "clocksource", c.Current)
	}
	return nil
}

// readTimex asks the kernel how well its clock is kept; see adjtimex(2).
func readTimex(s *hostSamples) error {
	const (
		timeError = 5
		staNano   = 0x2000
		ppm16     = 65536 * 1e6 // parts per million with 16 bits behind the point
	)
	var t syscall.Timex
	state, err := syscall.Adjtimex(&t)
	if err != nil {
		return fmt.Errorf("adjtimex: %w", err)
	}
	unit := 1e6
	if t.Status&staNano != 0 {
		unit = 1e9
	}
	s.gauge("node_timex_sync_status", "Whether the clock is kept in time by a server.", truth(state != timeError))
	s.gauge("node_timex_offset_seconds", "How far the clock is from its reference.", float64(t.Offset)/unit)
	s.gauge("node_timex_frequency_adjustment_ratio", "How much faster the clock is made to run.", 1+float64(t.Freq)/ppm16)
	s.gauge("node_timex_maxerror_seconds", "How wrong the clock can be.", float64(t.Maxerror)/1e6)
	s.gauge("node_timex_estimated_error_seconds", "How wrong the clock probably is.", float64(t.Esterror)/1e6)
	s.gauge("node_timex_status", "Bits of the state of the clock.", float64(t.Status))
	s.gauge("node_timex_loop_time_constant", "Time constant of the phase-locked loop.", float64(t.Constant))
	s.gauge("node_timex_tick_seconds", "Seconds between ticks of the clock.", float64(t.Tick)/1e6)
	s.gauge("node_timex_pps_frequency_hertz", "Frequency of the pulses per second.", float64(t.Ppsfreq)/ppm16)
	s.gauge("node_timex_pps_jitter_seconds", "Jitter of the pulses per second.", float64(t.Jitter)/unit)
	s.gauge("node_timex_pps_shift_seconds", "Interval of the pulses per second.", float64(t.Shift))
	s.gauge("node_timex_pps_stability_hertz", "Stability of the pulses per second.", float64(t.Stabil)/ppm16)
	s.counter("node_timex_pps_jitter_total", "Times the jitter of the pulses was over its limit.", float64(t.Jitcnt))
	s.counter("node_timex_pps_calibration_total", "Calibrations by the pulses per second.", float64(t.Calcnt))
	s.counter("node_timex_pps_error_total", "Failed calibrations by the pulses per second.", float64(t.Errcnt))
	s.counter("node_timex_pps_stability_exceeded_total", "Times the stability of the pulses was over its limit.", float64(t.Stbcnt))
	s.gauge("node_timex_tai_offset_seconds", "How far atomic time is from UTC.", float64(t.Tai))
	return nil
}

func readUname(s *hostSamples) error {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	s.gauge("node_uname_info", "Name and system of the machine, value 1.", 1,
		"sysname", cString(u.Sysname[:]), "release", cString(u.Release[:]), "version", cString(u.Version[:]),
		"machine", cString(u.Machine[:]), "nodename", cString(u.Nodename[:]), "domainname", cString(u.Domainname[:]))
	return nil
}

// cString reads a C string, whose characters differ in sign among architectures.
func cString[T int8 | uint8](c []T) string {
	b := make([]byte, 0, len(c))
	for _, x := range c {
		if x == 0 {
			break
		}
		b = append(b, byte(x))
	}
	return string(b)
}

// readOS reads os-release(5).
func readOS(s *hostSamples) error {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		if b, err = os.ReadFile("/usr/lib/os-release"); err != nil {
			return err
		}
	}
	v := map[string]string{}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		if key, value, ok := strings.Cut(strings.TrimSpace(sc.Text()), "="); ok && !strings.HasPrefix(key, "#") {
			v[key] = shellWord(value)
		}
	}
	var labels []string
	for _, key := range []string{"BUILD_ID", "ID", "ID_LIKE", "IMAGE_ID", "IMAGE_VERSION", "NAME", "PRETTY_NAME",
		"VARIANT", "VARIANT_ID", "VERSION", "VERSION_CODENAME", "VERSION_ID"} {
		labels = append(labels, strings.ToLower(key), v[key])
	}
	s.gauge("node_os_info", "The operating system, value 1.", 1, labels...)
	// 22.04.3 is 22.04: a number has one point.
	major, rest, _ := strings.Cut(v["VERSION_ID"], ".")
	minor, _, _ := strings.Cut(rest, ".")
	if n, err := strconv.ParseFloat(strings.TrimSuffix(major+"."+minor, "."), 64); err == nil {
		s.gauge("node_os_version", "Major and minor version of the operating system.", n, "id", v["ID"], "id_like", v["ID_LIKE"], "name", v["NAME"])
	}
	if end, err := time.Parse(time.DateOnly, v["SUPPORT_END"]); err == nil {
		s.gauge("node_os_support_end_timestamp_seconds", "When support of the operating system ends, Unix seconds.", float64(end.Unix()))
	}
	return nil
}

// shellWord takes the quotes of a shell off a value.
func shellWord(v string) string {
	if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
		if v[0] == '\'' {
			return v[1 : len(v)-1]
		}
		return strings.NewReplacer(`\"`, `"`, `\$`, `$`, `\\`, `\`, "\\`", "`").Replace(v[1 : len(v)-1])
	}
	return v
}
