package ingest

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/procfs"
)

// What is there twice so that one may fail: disks of software RAID and lines of
// bonded interfaces.

// readMD shows the arrays of /proc/mdstat. Disks that are active are fewer than
// those required while an array is degraded.
func readMD(proc procfs.FS, s *hostSamples) error {
	arrays, err := proc.MDStat()
	if err != nil {
		return err
	}
	for _, a := range arrays {
		s.gauge("node_md_disks_required", "Disks that an array should have.", float64(a.DisksTotal), "device", a.Name)
		for _, d := range []struct {
			state string
			n     int64
		}{{"active", a.DisksActive}, {"failed", a.DisksFailed}, {"spare", a.DisksSpare}} {
			s.gauge("node_md_disks", "Disks of an array by state.", float64(d.n), "device", a.Name, "state", d.state)
		}
		for _, st := range []struct{ state, kernel string }{
			{"active", "active"}, {"inactive", "inactive"}, {"recovering", "recovering"}, {"resync", "resyncing"}, {"check", "checking"},
		} {
			s.gauge("node_md_state", "1 for the state of an array.", truth(a.ActivityState == st.kernel), "device", a.Name, "state", st.state)
		}
		s.gauge("node_md_blocks", "Blocks of an array.", float64(a.BlocksTotal), "device", a.Name)
		s.gauge("node_md_blocks_synced", "Blocks of an array that are the same on all its disks.", float64(a.BlocksSynced), "device", a.Name)
	}
	return nil
}

// readBonds shows bonded interfaces; dir is /sys/class/net.
func readBonds(dir string, s *hostSamples) error {
	bonds, err := os.ReadFile(filepath.Join(dir, "bonding_masters"))
	if err != nil {
		return err
	}
	for bond := range strings.FieldsSeq(string(bonds)) {
		b, err := os.ReadFile(filepath.Join(dir, bond, "bonding", "slaves"))
		if err != nil {
			return err
		}
		lines, up := strings.Fields(string(b)), 0
		for _, line := range lines {
			status, err := os.ReadFile(filepath.Join(dir, bond, "lower_"+line, "bonding_slave", "mii_status"))
			if err == nil && strings.TrimSpace(string(status)) == "up" { // a line that left meanwhile is not up
				up++
			}
		}
		s.gauge("node_bonding_slaves", "Lines of a bonded interface.", float64(len(lines)), "master", bond)
		s.gauge("node_bonding_active", "Lines of a bonded interface that work.", float64(up), "master", bond)
	}
	return nil
}
