package export

import (
	"bytes"
	"context"
	"strings"

	"github.com/vedette-sre/vedette/instrument"
)

// StatsD sends to a StatsD or DogStatsD daemon over UDP: counters as what was
// counted since the last export, everything else as gauges; tags in Datadog's
// form. A packet that is lost takes its counts with it: that is StatsD.
// https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/
type StatsD struct {
	Address string // host:port
	Prefix  string // before each name, with a dot between

	conn conn
	sent map[string]float64 // counters as they were sent last, by line head
}

func statsdRune(r rune) bool {
	return r > ' ' && r != 0x7f && !strings.ContainsRune(":|@#,", r)
}

// Export sends a snapshot.
func (d *StatsD) Export(ctx context.Context, s *instrument.Snapshot) error {
	if d.sent == nil {
		d.sent = map[string]float64{}
	}
	var b, tags bytes.Buffer
	var ends []int
	now := make(map[string]float64, len(d.sent))
	for _, m := range s.Metrics {
		for i := range m.Series {
			x := &m.Series[i]
			tags.Reset()
			for n, t := range x.Tags {
				tags.WriteString([]string{"|#", ","}[min(n, 1)])
				tags.WriteString(clean(t.Key, statsdRune))
				tags.WriteByte(':')
				tags.WriteString(clean(t.Value, func(r rune) bool { return statsdRune(r) || r == ':' }))
			}
			figures(m.Kind, x, func(figure string, v float64) {
				if !finite(v) {
					return
				}
				name := m.Name
				if figure != "" {
					name += "." + figure
				}
				if d.Prefix != "" {
					name = d.Prefix + "." + name
				}
				name = clean(name, statsdRune)
				kind := "g"
				if m.Kind == instrument.KindCounter || figure == "count" {
					key := name + tags.String()
					now[key] = v
					if v -= d.sent[key]; v <= 0 {
						return
					}
					kind = "c"
				}
				if kind == "g" && v < 0 {
					b.WriteString(name + ":0|g" + tags.String() + "\n") // a sign means a difference
				}
				b.WriteString(name + ":" + number(v) + "|" + kind + tags.String() + "\n")
				ends = append(ends, b.Len())
			})
		}
	}
	if err := packets(ctx, &d.conn, d.Address, b.Bytes(), ends); err != nil {
		return err
	}
	d.sent = now
	return nil
}
