package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/sysfs"
)

// readNetdev reads /proc/net/dev. Its columns are the kernel's sums, such as all
// kinds of broken frames in one.
func readNetdev(s *hostSamples) error {
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return err
	}
	columns := []struct{ name, help string }{
		{"receive_bytes", "Bytes received."},
		{"receive_packets", "Packets received."},
		{"receive_errs", "Receive errors."},
		{"receive_drop", "Packets dropped while receiving."},
		{"receive_fifo", "Packets lost to a full buffer while receiving."},
		{"receive_frame", "Frames received broken."},
		{"receive_compressed", "Compressed packets received."},
		{"receive_multicast", "Multicast packets received."},
		{"transmit_bytes", "Bytes sent."},
		{"transmit_packets", "Packets sent."},
		{"transmit_errs", "Transmit errors."},
		{"transmit_drop", "Packets dropped while sending."},
		{"transmit_fifo", "Packets lost to a full buffer while sending."},
		{"transmit_colls", "Collisions."},
		{"transmit_carrier", "Carrier losses while sending."},
		{"transmit_compressed", "Compressed packets sent."},
	}
	for line := range strings.Lines(string(b)) {
		device, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue // the two lines of heads
		}
		device = strings.TrimSpace(device)
		fields := strings.Fields(rest)
		if len(fields) < len(columns) {
			return fmt.Errorf("/proc/net/dev: %d numbers of %s, want %d", len(fields), device, len(columns))
		}
		for i, c := range columns {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("/proc/net/dev: %s of %s: %w", c.name, device, err)
			}
			s.counter("node_network_"+c.name+"_total", c.help, v, "device", device)
		}
		// The one that /proc/net/dev has not.
		if n, err := readNumber("/sys/class/net/" + device + "/statistics/rx_nohandler"); err == nil {
			s.counter("node_network_receive_nohandler_total", "Packets that no protocol wanted.", n, "device", device)
		}
	}
	return nil
}

// readNumber reads a file that holds one number.
func readNumber(path string) (float64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(string(bytes.TrimSpace(b)), 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// hostLinks are the interfaces by name as they were read last.
type hostLinks map[string]hostLink

// hostLink is what some 25 files say of an interface. While its state is the same
// they are read once a minute: opening them is the dearest thing a collection
// does, and a node of containers has hundreds of interfaces.
type hostLink struct {
	at      time.Time
	state   string // operstate, and how often the line came and went
	samples []hostSample
}

const linkAge = time.Minute

func (links hostLinks) read(sys sysfs.FS, s *hostSamples) error {
	devices, err := sys.NetClassDevices()
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(devices))
	for _, device := range devices {
		seen[device] = true
		state := ""
		for _, f := range []string{"operstate", "carrier_changes"} {
			b, _ := os.ReadFile("/sys/class/net/" + device + "/" + f) // none is a state too
			state += string(b)
		}
		now := time.Now()
		l, ok := links[device]
		if !ok || l.state != state || now.Sub(l.at) >= linkAge {
			var read hostSamples
			if err := readLink(sys, device, &read); errors.Is(err, fs.ErrNotExist) {
				continue // went while we read
			} else if err != nil {
				return err
			}
			l = hostLink{now, state, read.all}
			links[device] = l
		}
		s.all = append(s.all, l.samples...)
	}
	maps.DeleteFunc(links, func(device string, _ hostLink) bool { return !seen[device] })
	return nil
}

func readLink(sys sysfs.FS, device string, s *hostSamples) error {
	d, err := sys.NetClassByIface(device)
	if err != nil {
		return err
	}
	const running = 0x1 // IFF_UP, what the administrator wants
	admin := "unknown"
	if d.Flags != nil {
		admin = "down"
		if *d.Flags&running != 0 {
			admin = "up"
		}
	}
	s.gauge("node_network_up", "Whether an interface works.", truth(d.OperState == "up"), "device", device)
	s.gauge("node_network_info", "An interface, value 1.", 1, "device", device, "address", d.Address, "adminstate", admin,
		"broadcast", d.Broadcast, "duplex", d.Duplex, "ifalias", d.IfAlias, "operstate", d.OperState)
	gauge := func(name, help string, v *int64, unit float64) {
		if v != nil {
			s.gauge("node_network_"+name, help, float64(*v)*unit, "device", device)
		}
	}
	counter := func(name, help string, v *int64) {
		if v != nil {
			s.counter("node_network_"+name, help, float64(*v), "device", device)
		}
	}
	gauge("address_assign_type", "How an interface got its address.", d.AddrAssignType, 1)
	gauge("carrier", "Whether the line is there.", d.Carrier, 1)
	counter("carrier_changes_total", "Times the line came or went.", d.CarrierChanges)
	counter("carrier_up_changes_total", "Times the line came.", d.CarrierUpCount)
	counter("carrier_down_changes_total", "Times the line went.", d.CarrierDownCount)
	gauge("device_id", "Number that tells devices at one address apart.", d.DevID, 1)
	gauge("dormant", "Whether an interface waits for something outside.", d.Dormant, 1)
	gauge("flags", "Bits of the state of an interface.", d.Flags, 1)
	gauge("iface_id", "Number of an interface.", d.IfIndex, 1)
	gauge("iface_link", "Number of the interface below.", d.IfLink, 1)
	gauge("iface_link_mode", "Policy of the state of an interface.", d.LinkMode, 1)
	gauge("mtu_bytes", "Largest packet of an interface.", d.MTU, 1)
	gauge("name_assign_type", "How an interface got its name.", d.NameAssignType, 1)
	gauge("net_dev_group", "Group of an interface.", d.NetDevGroup, 1)
	gauge("protocol_type", "Protocol of an interface, a number of the kernel's.", d.Type, 1)
	gauge("transmit_queue_length", "Packets that may wait to be sent.", d.TxQueueLen, 1)
	if d.Speed != nil && *d.Speed >= 0 { // -1: the driver does not know
		gauge("speed_bytes", "Bytes per second that an interface can carry.", d.Speed, 1e6/8)
	}
	return nil
}

// hostNetstats remembers which of the names hostNetstat chooses.
type hostNetstats map[string]bool

// hostNetstat chooses among some 400 counters of the protocols those that
// node_exporter chooses, the names before and after its version 1.6 together.
var hostNetstat = regexp.MustCompile(`^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|` +
	`TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|` +
	`Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|` +
	`Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$`)

// read reads the counters of the protocols from /proc/net: pairs of lines
// with names and numbers for IPv4, a line a counter for IPv6.
func (chosen hostNetstats) read(s *hostSamples) error {
	add := func(name, value string) error {
		take, known := chosen[name]
		if !known {
			take = hostNetstat.MatchString(name)
			chosen[name] = take
		}
		if !take {
			return nil
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.untyped("node_netstat_"+name, "Protocols: "+strings.Replace(name, "_", " ", 1)+" of /proc/net.", v)
		return nil
	}
	for _, path := range []string{"/proc/net/netstat", "/proc/net/snmp"} {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		for i := 0; i+1 < len(lines); i += 2 {
			names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
			if len(names) == 0 || len(names) != len(values) || names[0] != values[0] {
				return fmt.Errorf("%s: lines %d and %d are no pair", path, i+1, i+2)
			}
			for j := 1; j < len(names); j++ {
				if err := add(strings.TrimSuffix(names[0], ":")+"_"+names[j], values[j]); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
		}
	}
	b, err := os.ReadFile("/proc/net/snmp6")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6
	} else if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		// Ip6InOctets is Ip6_InOctets.
		six := strings.IndexByte(f[0], '6')
		if six < 0 {
			continue
		}
		if err := add(f[0][:six+1]+"_"+f[0][six+1:], f[1]); err != nil {
			return fmt.Errorf("/proc/net/snmp6: %w", err)
		}
	}
	return nil
}

func readSockstat(proc procfs.FS, s *hostSamples) error {
	four, err := proc.NetSockstat()
	if err != nil {
		return err
	}
	six, err := proc.NetSockstat6()
	if errors.Is(err, fs.ErrNotExist) {
		six = &procfs.NetSockstat{} // a kernel without IPv6
	} else if err != nil {
		return err
	}
	if four.Used != nil {
		s.gauge("node_sockstat_sockets_used", "Sockets of all protocols.", float64(*four.Used))
	}
	for _, p := range append(four.Protocols, six.Protocols...) {
		gauge := func(what, help string, v *int, unit int) {
			if v != nil {
				s.gauge("node_sockstat_"+p.Protocol+"_"+what, help, float64(*v*unit))
			}
		}
		gauge("inuse", "Sockets in use.", &p.InUse, 1)
		gauge("orphan", "Sockets that no process holds any more.", p.Orphan, 1)
		gauge("tw", "Sockets in the state TIME_WAIT.", p.TW, 1)
		gauge("alloc", "Sockets allocated.", p.Alloc, 1)
		gauge("mem", "Pages of memory that sockets hold.", p.Mem, 1)
		gauge("mem_bytes", "Memory that sockets hold.", p.Mem, os.Getpagesize())
		gauge("memory", "Memory that fragments hold, bytes.", p.Memory, 1)
	}
	return nil
}

func readSoftnet(proc procfs.FS, s *hostSamples) error {
	cpus, err := proc.NetSoftnetStat()
	if err != nil {
		return err
	}
	for _, c := range cpus {
		cpu := strconv.FormatUint(uint64(c.Index), 10)
		s.counter("node_softnet_processed_total", "Packets processed.", float64(c.Processed), "cpu", cpu)
		s.counter("node_softnet_dropped_total", "Packets dropped from the queue of a CPU.", float64(c.Dropped), "cpu", cpu)
		s.counter("node_softnet_times_squeezed_total", "Times work was left when a CPU's turn ended.", float64(c.TimeSqueezed), "cpu", cpu)
		s.counter("node_softnet_cpu_collision_total", "Times two CPUs wanted to send at one device.", float64(c.CPUCollision), "cpu", cpu)
		s.counter("node_softnet_received_rps_total", "Times another CPU handed over packets.", float64(c.ReceivedRps), "cpu", cpu)
		s.counter("node_softnet_flow_limit_count_total", "Times the limit of a flow was reached.", float64(c.FlowLimitCount), "cpu", cpu)
		s.gauge("node_softnet_backlog_len", "Packets that wait for a CPU.", float64(c.SoftnetBacklogLen), "cpu", cpu)
	}
	return nil
}

func readUDPQueues(proc procfs.FS, s *hostSamples) error {
	for _, v := range []struct {
		ip   string
		read func() (*procfs.NetUDPSummary, error)
	}{{"v4", proc.NetUDPSummary}, {"v6", proc.NetUDP6Summary}} {
		u, err := v.read()
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without that IP
		} else if err != nil {
			return err
		}
		const help = "Bytes that wait in the queues of UDP."
		s.gauge("node_udp_queues", help, float64(u.TxQueueLength), "queue", "tx", "ip", v.ip)
		s.gauge("node_udp_queues", help, float64(u.RxQueueLength), "queue", "rx", "ip", v.ip)
	}
	return nil
}

func readARP(proc procfs.FS, s *hostSamples) error {
	entries, err := proc.GatherARPEntries()
	if err != nil {
		return err
	}
	n := map[string]int{}
	for _, e := range entries {
		n[e.Device]++
	}
	for device, entries := range n {
		s.gauge("node_arp_entries", "Neighbours in the ARP table.", float64(entries), "device", device)
	}
	return nil
}

func readConntrack(proc procfs.FS, s *hostSamples) error {
	entries, err := readNumber("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return err
	}
	most, err := readNumber("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		return err
	}
	s.gauge("node_nf_conntrack_entries", "Connections that the kernel follows.", entries)
	s.gauge("node_nf_conntrack_entries_limit", "How many connections the kernel can follow.", most)
	cpus, err := proc.ConntrackStat()
	if err != nil {
		return err
	}
	var all procfs.ConntrackStatEntry
	for _, c := range cpus {
		all.Found += c.Found
		all.Invalid += c.Invalid
		all.Ignore += c.Ignore
		all.Insert += c.Insert
		all.InsertFailed += c.InsertFailed
		all.Drop += c.Drop
		all.EarlyDrop += c.EarlyDrop
		all.SearchRestart += c.SearchRestart
	}
	// Gauges, as node_exporter has them.
	s.gauge("node_nf_conntrack_stat_found", "Packets of connections that were known.", float64(all.Found))
	s.gauge("node_nf_conntrack_stat_invalid", "Packets of no connection.", float64(all.Invalid))
	s.gauge("node_nf_conntrack_stat_ignore", "Packets that are not followed.", float64(all.Ignore))
	s.gauge("node_nf_conntrack_stat_insert", "Connections entered.", float64(all.Insert))
	s.gauge("node_nf_conntrack_stat_insert_failed", "Connections that could not be entered.", float64(all.InsertFailed))
	s.gauge("node_nf_conntrack_stat_drop", "Packets dropped because a connection could not be entered.", float64(all.Drop))
	s.gauge("node_nf_conntrack_stat_early_drop", "Connections given up for others when the table was full.", float64(all.EarlyDrop))
	s.gauge("node_nf_conntrack_stat_search_restart", "Searches begun again because the table grew.", float64(all.SearchRestart))
	return nil
}
