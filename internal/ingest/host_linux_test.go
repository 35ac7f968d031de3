package ingest

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs"
)

// One part that fails is told once, shown, and does not stop the others; one that
// the machine has not is only shown.
func TestHostPartFails(t *testing.T) {
	var told []string
	h := NewHost(HostConfig{}, t.TempDir(), func(part string, err error) { told = append(told, part) })
	broken := errors.New("broken")
	h.parts = []hostPart{
		{name: "bad", read: func(s *hostSamples) error { s.gauge("half", "", 1); return broken }},
		{name: "gone", read: func(*hostSamples) error { return fs.ErrNotExist }},
		{name: "absent", optional: true, read: func(*hostSamples) error { return &os.PathError{Err: syscall.ENOENT} }},
		{name: "off", optional: true, read: func(*hostSamples) error { return &os.PathError{Err: syscall.EOPNOTSUPP} }},
		{name: "refused", optional: true, read: func(*hostSamples) error { return fs.ErrPermission }},
		{name: "good", read: func(s *hostSamples) error { s.gauge("whole", "", 1); return nil }},
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(h)
	for range 2 {
		mfs, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, mf := range mfs {
			for _, m := range mf.Metric {
				name := mf.GetName()
				if len(m.Label) > 0 {
					name += " " + m.Label[0].GetValue()
				}
				got[name] = m.Gauge.GetValue()
			}
		}
		for name, want := range map[string]float64{"half": 1, "whole": 1, "node_scrape_collector_success bad": 0,
			"node_scrape_collector_success absent": 0, "node_scrape_collector_success good": 1} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
			}
		}
	}
	if want := []string{"bad", "gone", "refused"}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
}

func TestHostWords(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(shellWord(`"Debian GNU/Linux"`), "Debian GNU/Linux")
	f(shellWord(`'a\"b'`), `a\"b`)
	f(shellWord(`"a\"b\\n"`), `a"b\n`)
	f(shellWord(`12`), "12")
	f(shellWord(`"`), `"`)
	f(unescapeMount(`/a\040b\134\011`), "/a b\\\t")
	f(unescapeMount("/plain"), "/plain")
	f(metricWord(" Core Temp-1. \n"), "core_temp_1")
	f(cString([]int8{'a', 'b', 0, 'c'}), "ab")
	for _, c := range []struct {
		path, dir string
		want      bool
	}{{"/a/b", "/a", true}, {"/a", "/a", true}, {"/ab", "/a", false}, {"/a", "/", true}, {"/", "/a", false}} {
		if got := under(c.path, c.dir); got != c.want {
			t.Errorf("under(%s, %s) = %v", c.path, c.dir, got)
		}
	}
	for name, want := range map[string]bool{"sda": false, "sda1": true, "nvme0n1": false, "nvme0n1p2": true, "loop3": true, "zram0": true, "dm-0": false, "md127": false, "vdb": false} {
		if hostDisk.MatchString(name) != want {
			t.Errorf("%s is left out: %v", name, !want)
		}
	}
}

// A chip of the kernel's shape: a temperature with its limits, a fan, a sensor
// that is not plugged in.
func TestHwmonChip(t *testing.T) {
	dir := t.TempDir()
	device := filepath.Join(dir, "platform", "coretemp.0")
	chip := filepath.Join(device, "hwmon", "hwmon3")
	for name, text := range map[string]string{
		"name": "coretemp\n", "temp1_input": "45500\n", "temp1_label": "Package id 0\n", "temp1_crit": "100000\n", "temp1_crit_alarm": "0\n",
		"temp2_input": "nothing\n", "fan1_input": "1200\n", "in0_input": "1100\n", "uevent": "",
	} {
		if err := os.MkdirAll(chip, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(chip, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../..", filepath.Join(chip, "device")); err != nil {
		t.Fatal(err)
	}
	if got := hwmonChip(chip); got != "platform_coretemp_0" {
		t.Errorf("the chip is called %q", got)
	}
	var s hostSamples
	readChip(&s, "c", chip)
	got := map[string]float64{}
	for _, x := range s.all {
		got[x.name+" "+x.label("sensor")+x.label("label")] = x.value
	}
	want := map[string]float64{"node_hwmon_temp_celsius temp1": 45.5, "node_hwmon_temp_crit_celsius temp1": 100, "node_hwmon_temp_crit_alarm_celsius temp1": 0,
		"node_hwmon_sensor_label temp1Package id 0": 1, "node_hwmon_fan_rpm fan1": 1200, "node_hwmon_in_volts in0": 1.1}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %v, want %v", k, got[k], v)
		}
	}
}

// A pipe is no text file, and does not keep the collection waiting.
func TestTextfilePipe(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a.prom")
	if err := syscall.Mkfifo(p, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readTextfile(p, 1000); err == nil {
		t.Error("a pipe was read")
	}
}

// A degraded array that is being rebuilt, and a bond of which one line is down.
func TestRedundant(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("mdstat", `Personalities : [raid1]
md0 : active raid1 sdc1[2] sdb1[1](F) sda1[0]
      1000 blocks super 1.2 [2/1] [U_]
      [=>...................]  recovery =  5.0% (50/1000) finish=1.0min speed=100K/sec

unused devices: <none>
`)
	write("bonding_masters", "bond0\n")
	write("bond0/bonding/slaves", "eth0 eth1 eth2\n")
	write("bond0/lower_eth0/bonding_slave/mii_status", "up\n")
	write("bond0/lower_eth1/bonding_slave/mii_status", "down\n")
	proc, err := procfs.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s hostSamples
	if err := readMD(proc, &s); err != nil {
		t.Fatal(err)
	}
	if err := readBonds(dir, &s); err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, x := range s.all {
		got[strings.Join(append([]string{x.name}, x.labels...), " ")] = x.value
	}
	want := map[string]float64{
		"node_md_disks_required device md0": 2, "node_md_disks device md0 state active": 1, "node_md_disks device md0 state failed": 1, "node_md_disks device md0 state spare": 0,
		"node_md_state device md0 state active": 0, "node_md_state device md0 state inactive": 0, "node_md_state device md0 state recovering": 1,
		"node_md_state device md0 state resync": 0, "node_md_state device md0 state check": 0,
		"node_md_blocks device md0": 1000, "node_md_blocks_synced device md0": 50,
		"node_bonding_slaves master bond0": 3, "node_bonding_active master bond0": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if err := readBonds(t.TempDir(), &s); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without bonds: got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestCgroup(t *testing.T) {
	dir := t.TempDir()
	read := func(files map[string]string) (map[string]float64, error) {
		t.Helper()
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var s hostSamples
		err := readCgroup(dir, &s)
		got := map[string]float64{}
		for _, x := range s.all {
			got[x.name] = x.value
		}
		return got, err
	}
	if _, err := read(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("outside a container: got %v, want %v", err, fs.ErrNotExist)
	}
	got, err := read(map[string]string{
		"memory.max": "1000\n", "memory.current": "600\n", "memory.stat": "anon 300\nfile 250\ninactive_file 100\n", "memory.events": "low 0\noom_kill 2\n",
		"cpu.max": "50000 100000\n", "cpu.stat": "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 500000\n",
		"cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=7000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"container_spec_memory_limit_bytes": 1000, "container_memory_usage_bytes": 600, "container_memory_working_set_bytes": 500,
		"container_memory_rss": 300, "container_memory_cache": 250, "container_oom_events_total": 2,
		"container_cpu_usage_seconds_total": 3, "container_cpu_user_seconds_total": 2, "container_cpu_system_seconds_total": 1,
		"container_spec_cpu_period": 100000, "container_spec_cpu_quota": 50000,
		"container_cpu_cfs_periods_total": 10, "container_cpu_cfs_throttled_periods_total": 4, "container_cpu_cfs_throttled_seconds_total": 0.5,
		"container_pressure_cpu_waiting_seconds_total": 7, "container_pressure_cpu_stalled_seconds_total": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	got, err = read(map[string]string{"memory.max": "max\n", "cpu.max": "max 100000\n"})
	if _, quota := got["container_spec_cpu_quota"]; err != nil || quota || got["container_spec_memory_limit_bytes"] != 0 {
		t.Errorf("without limits: got %v, %v", got, err)
	}
	if _, err = read(map[string]string{"cpu.pressure": "some nothing\n"}); err == nil {
		t.Error("a pressure that is not known is no error")
	}
}

// BenchmarkHost is what a collection costs, every 5 s: cpu-ns is the time of the
// CPUs in and outside the kernel.
func BenchmarkHost(b *testing.B) {
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for _, names := range [][]string{{hostNode}, {hostOTel}, {hostNode, hostOTel}} {
		b.Run(strings.Join(names, "+"), func(b *testing.B) {
			reg := prometheus.NewRegistry()
			reg.MustRegister(NewHost(HostConfig{Names: names}, b.TempDir(), func(part string, err error) { b.Log(part, err) }))
			n, start := 0, cpu()
			for b.Loop() {
				mfs, err := reg.Gather()
				if err != nil {
					b.Fatal(err)
				}
				n = len(Families(mfs, nil))
			}
			b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(n), "series")
		})
	}
}
