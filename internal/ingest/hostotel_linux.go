package ingest

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/prometheus/procfs"
)

// otelSystem adds what node_exporter has no default name for: swap by device and
// processes by status.
func otelSystem(s *hostSamples) error {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return err
	}
	swaps, err := proc.Swaps()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, w := range swaps {
		const help, share = "Swap in each state.", "Share of the swap in each state."
		size, used := float64(w.Size)*1024, float64(w.Used)*1024
		if size == 0 {
			continue
		}
		for _, v := range []struct {
			state string
			bytes float64
		}{{"used", used}, {"free", size - used}} {
			s.gauge("system_paging_usage_bytes", help, v.bytes, "device", w.Filename, "state", v.state)
			s.gauge("system_paging_utilization_ratio", share, v.bytes/size, "device", w.Filename, "state", v.state)
		}
	}
	all, err := proc.AllProcs()
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, p := range all {
		if st, err := p.Stat(); err == nil { // else it has ended
			count[processStatus(st.State)]++
		}
	}
	for status, n := range count {
		s.gauge("system_processes_count", "Processes by status.", float64(n), "status", status)
	}
	return nil
}

// processStatus is OpenTelemetry's word for a state of proc_pid_stat(5).
func processStatus(state string) string {
	switch strings.ToUpper(state) {
	case "R":
		return "running"
	case "S":
		return "sleeping"
	case "D":
		return "blocked"
	case "I":
		return "idle"
	case "T":
		return "stopped"
	case "Z":
		return "zombies"
	}
	return "unknown"
}
