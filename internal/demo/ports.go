package demo

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
)

// DefaultBasePort is the first of the shop's ports.
const DefaultBasePort = 7580

// host is where the whole shop listens.
const host = "127.0.0.1"

// ports are the shop's ports, all derived from the first.
type ports struct {
	Control     int
	Gateway     int // http
	GatewayTLS  int // https
	Catalogue   int
	Pricing     int
	Orders      int
	Queue       int
	Worker1     int
	Worker2     int
	Payment     int
	Traffic     int
	Receiver    int
	DNS         int // udp and tcp
	DNSMetrics  int
	numPorts    int
	VedettePort int // where Vedette itself listens; not derived
}

func portsFrom(base int) ports {
	if base == 0 {
		base = DefaultBasePort
	}
	return ports{
		Control:     base,
		Gateway:     base + 1,
		GatewayTLS:  base + 2,
		Catalogue:   base + 3,
		Pricing:     base + 4,
		Orders:      base + 5,
		Queue:       base + 6,
		Worker1:     base + 7,
		Worker2:     base + 8,
		Payment:     base + 9,
		Traffic:     base + 10,
		Receiver:    base + 11,
		DNS:         base + 12,
		DNSMetrics:  base + 13,
		numPorts:    14,
		VedettePort: 7575,
	}
}

func (p ports) url(port int) string { return "http://" + address(port) }

func address(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// free reports the first port that something else holds.
func (p ports) free() error {
	if p.Control < 1024 || p.Control+p.numPorts > 65536 {
		return fmt.Errorf("base port %d: want 1024 to %d", p.Control, 65536-p.numPorts)
	}
	for port := p.Control; port < p.Control+p.numPorts; port++ {
		ln, err := net.Listen("tcp", address(port))
		if err != nil {
			return fmt.Errorf("the shop needs ports %d to %d, and %d is taken (another `vedette demo`? give a different base port): %w",
				p.Control, p.Control+p.numPorts-1, port, err)
		}
		ln.Close()
	}
	packets, err := net.ListenPacket("udp", address(p.DNS))
	if err != nil {
		return fmt.Errorf("the shop's name server needs udp port %d: %w", p.DNS, err)
	}
	packets.Close()
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
