package ingest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// readCgroup shows the limits, use and pressure of the container that we run in,
// under cAdvisor's names, from version 2 of control groups. dir is where they are
// mounted; only a container sees a memory.max there: the machine's own root has
// none.
func readCgroup(dir string, s *hostSamples) error {
	most, err := os.ReadFile(filepath.Join(dir, "memory.max"))
	if err != nil {
		return err
	}
	gauge := func(name, help string, v float64) { s.gauge(name, help, v, "id", "/") }
	counter := func(name, help string, v float64) { s.counter(name, help, v, "id", "/") }

	limit := 0.0 // cAdvisor's word for none
	if strings.TrimSpace(string(most)) != "max" {
		if limit, err = strconv.ParseFloat(strings.TrimSpace(string(most)), 64); err != nil {
			return fmt.Errorf("%s/memory.max: %w", dir, err)
		}
	}
	used, err := readNumber(filepath.Join(dir, "memory.current"))
	if err != nil {
		return err
	}
	stat, err := readCgroupTable(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return err
	}
	gauge("container_spec_memory_limit_bytes", "Memory that the container may have, 0 for no limit.", limit)
	gauge("container_memory_usage_bytes", "Memory of the container with its page cache.", used)
	gauge("container_memory_working_set_bytes", "Memory of the container without what can be dropped at once.", max(used-stat["inactive_file"], 0))
	gauge("container_memory_rss", "Memory of the container's processes, bytes.", stat["anon"])
	gauge("container_memory_cache", "Page cache of the container, bytes.", stat["file"])
	if events, err := readCgroupTable(filepath.Join(dir, "memory.events")); err == nil {
		counter("container_oom_events_total", "Processes killed for want of memory.", events["oom_kill"])
	}

	cpu, err := readCgroupTable(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return err
	}
	s.counter("container_cpu_usage_seconds_total", "CPU time of the container.", cpu["usage_usec"]/1e6, "id", "/", "cpu", "total")
	counter("container_cpu_user_seconds_total", "CPU time of the container outside the kernel.", cpu["user_usec"]/1e6)
	counter("container_cpu_system_seconds_total", "CPU time of the container in the kernel.", cpu["system_usec"]/1e6)
	if b, err := os.ReadFile(filepath.Join(dir, "cpu.max")); err == nil {
		quota, period, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
		p, err := strconv.ParseFloat(period, 64)
		if err != nil {
			return fmt.Errorf("%s/cpu.max: %w", dir, err)
		}
		gauge("container_spec_cpu_period", "Microseconds of a period of the CPU limit.", p)
		if quota != "max" {
			q, err := strconv.ParseFloat(quota, 64)
			if err != nil {
				return fmt.Errorf("%s/cpu.max: %w", dir, err)
			}
			gauge("container_spec_cpu_quota", "Microseconds of CPU time that the container may have in a period.", q)
			counter("container_cpu_cfs_periods_total", "Periods in which the container wanted to run.", cpu["nr_periods"])
			counter("container_cpu_cfs_throttled_periods_total", "Periods in which the container was held back.", cpu["nr_throttled"])
			counter("container_cpu_cfs_throttled_seconds_total", "Seconds for which the container was held back.", cpu["throttled_usec"]/1e6)
		}
	}

	for _, r := range []string{"cpu", "io", "memory"} {
		b, err := os.ReadFile(filepath.Join(dir, r+".pressure"))
		if err != nil {
			continue // a kernel without, or one told not to
		}
		for line := range strings.Lines(string(b)) {
			kind, rest, _ := strings.Cut(line, " ")
			_, total, ok := strings.Cut(rest, "total=")
			v, err := strconv.ParseFloat(strings.TrimSpace(total), 64)
			if !ok || err != nil {
				return fmt.Errorf("%s/%s.pressure: %q is not known", dir, r, line)
			}
			const help = "Seconds in which the container stood still for want of the resource."
			switch kind {
			case "some":
				counter("container_pressure_"+r+"_waiting_seconds_total", help, v/1e6)
			case "full":
				counter("container_pressure_"+r+"_stalled_seconds_total", help, v/1e6)
			}
		}
	}
	return nil
}

// readCgroupTable reads lines of a name and a number.
func readCgroupTable(path string) (map[string]float64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, name, err)
		}
		out[name] = v
	}
	return out, nil
}
