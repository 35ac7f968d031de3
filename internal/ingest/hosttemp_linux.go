package ingest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/prometheus/procfs/sysfs"
)

// hwmonFile is a file of a temperature sensor, a fan or a voltage, such as temp1_crit.
var (
	hwmonFile = regexp.MustCompile(`^(temp|fan|in)(\d+)_(input|max|min|crit|lcrit|emergency|max_hyst|crit_hyst|crit_alarm|max_alarm|min_alarm|alarm|fault|target|label)$`)
	notName   = regexp.MustCompile(`[^a-z0-9:_]`)
)

// readHwmon shows the temperatures, fans and voltages of /sys/class/hwmon; see
// Documentation/hwmon/sysfs-interface.rst of the kernel.
func readHwmon(s *hostSamples) error {
	chips, err := os.ReadDir("/sys/class/hwmon")
	if err != nil {
		return err
	}
	type found struct{ dir, name, says string }
	var all []found
	named, twins := map[string]int{}, map[string]int{}
	for _, c := range chips {
		dir, err := filepath.EvalSymlinks(filepath.Join("/sys/class/hwmon", c.Name()))
		if err != nil {
			continue // went while we read
		}
		b, _ := os.ReadFile(filepath.Join(dir, "name")) // none is no name
		f := found{dir, hwmonChip(dir), metricWord(string(b))}
		all = append(all, f)
		named[f.name]++
		twins[f.name+" "+f.says]++
	}
	for _, f := range all {
		chip := f.name
		// Chips of one device differ in what they say, or else in their number.
		switch {
		case named[chip] > 1 && (f.says == "" || twins[chip+" "+f.says] > 1):
			chip += "_" + metricWord(filepath.Base(f.dir))
		case named[chip] > 1:
			chip += "_" + f.says
		}
		if f.says != "" {
			s.gauge("node_hwmon_chip_names", "What a chip calls itself, value 1.", 1, "chip", chip, "chip_name", f.says)
		}
		readChip(s, chip, f.dir)
	}
	return nil
}

// readChip shows what is in a chip's directory or, with old drivers, in that of
// its device.
func readChip(s *hostSamples, chip, dir string) {
	seen := map[string]bool{}
	for _, d := range []string{dir, filepath.Join(dir, "device")} {
		files, _ := os.ReadDir(d) // nothing there is nothing to show
		for _, f := range files {
			if !seen[f.Name()] {
				seen[f.Name()] = true
				readSensor(s, chip, d, f.Name())
			}
		}
	}
}

func readSensor(s *hostSamples, chip, dir, file string) {
	m := hwmonFile.FindStringSubmatch(file)
	if m == nil {
		return
	}
	kind, sensor, what := m[1], m[1]+m[2], m[3]
	path := filepath.Join(dir, file)
	if what == "label" {
		if b, err := os.ReadFile(path); err == nil {
			s.gauge("node_hwmon_sensor_label", "What a chip calls a sensor, value 1.", 1, "chip", chip, "sensor", sensor,
				"label", strings.ToValidUTF8(strings.TrimSpace(string(b)), "\uFFFD"))
		}
		return
	}
	v, err := readNumber(path)
	if err != nil {
		return // a sensor that is not plugged in says EIO or nothing
	}
	ls := []string{"chip", chip, "sensor", sensor}
	middle := "_" + what
	if what == "input" {
		middle = ""
	}
	switch {
	case what == "alarm", what == "fault":
		s.gauge("node_hwmon_"+kind+middle, "Hardware: "+what+" of a sensor.", v, ls...)
	case kind == "temp": // crit_alarm too, a thousandth: dashboards have it from node_exporter
		s.gauge("node_hwmon_temp"+middle+"_celsius", "Hardware: "+what+" of a temperature.", v/1000, ls...)
	case kind == "fan":
		s.gauge("node_hwmon_fan"+middle+"_rpm", "Hardware: "+what+" of a fan.", v, ls...)
	default:
		s.gauge("node_hwmon_in"+middle+"_volts", "Hardware: "+what+" of a voltage.", v/1000, ls...)
	}
}

// hwmonChip names a chip by the device that it sits on, which stays the same over
// restarts, unlike its number: platform_coretemp_0.
func hwmonChip(dir string) string {
	if device, err := filepath.EvalSymlinks(filepath.Join(dir, "device")); err == nil {
		kind, name := metricWord(filepath.Base(filepath.Dir(device))), metricWord(filepath.Base(device))
		if name != "" {
			return strings.TrimPrefix(kind+"_"+name, "_")
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "name")); err == nil && metricWord(string(b)) != "" {
		return metricWord(string(b))
	}
	return metricWord(filepath.Base(dir))
}

func metricWord(s string) string {
	return strings.Trim(notName.ReplaceAllLiteralString(strings.ToLower(strings.TrimSpace(s)), "_"), "_")
}

func readThermal(sys sysfs.FS, s *hostSamples) error {
	zones, err := sys.ClassThermalZoneStats()
	if err != nil {
		return err
	}
	for _, z := range zones {
		if z.ReadErrors == nil {
			s.gauge("node_thermal_zone_temp", "Temperature of a zone, degrees Celsius.", float64(z.Temp)/1000, "zone", z.Name, "type", z.Type)
		}
	}
	devices, err := sys.ClassCoolingDeviceStats()
	if err != nil {
		return err
	}
	for _, d := range devices {
		s.gauge("node_cooling_device_cur_state", "How hard a device cools.", float64(d.CurState), "name", d.Name, "type", d.Type)
		s.gauge("node_cooling_device_max_state", "How hard a device can cool.", float64(d.MaxState), "name", d.Name, "type", d.Type)
	}
	return nil
}
