package ingest

// hostCPU is the seconds that one CPU spent in each of hostCPUModes, and then
// within virtual machines: as part of user, and as part of nice.
type hostCPU [10]float64

// hostCPUs are the CPUs by number as they were shown last.
type hostCPUs map[int64]hostCPU

// hostCPUModes are node_exporter's names.
func hostCPUModes() []string {
	return []string{"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"}
}

// forward is what to show when now was read after c was shown. The kernel's
// idle, iowait and steal time may go a little backwards, which rate() would take
// for a restart: the larger value stays. A CPU that lost more than three idle
// seconds was taken away and came back: it starts anew.
func (c hostCPU) forward(now hostCPU) hostCPU {
	const idle, restart = 3, 3.0
	if c[idle]-now[idle] >= restart {
		return now
	}
	for i := range now {
		now[i] = max(now[i], c[i])
	}
	return now
}

func hostLoad(s *hostSamples, one, five, fifteen float64) {
	s.gauge("node_load1", "1m load average.", one)
	s.gauge("node_load5", "5m load average.", five)
	s.gauge("node_load15", "15m load average.", fifteen)
}
