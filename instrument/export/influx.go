package export

import (
	"bytes"
	"context"
	"net/url"
	"strconv"
	"strings"

	"net/http"

	"github.com/vedette-sre/vedette/instrument"
)

// Influx sends InfluxDB line protocol: one line a series, with the field value
// for what has one, and a field for each figure otherwise. It goes to /write
// (InfluxDB 1.x, with Database) or to /api/v2/write (2.x, with Org and Bucket) of
// URL, or as packets to a UDP Address.
// https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
type Influx struct {
	URL      string // such as http://influx:8086
	Database string // of 1.x
	Org      string // of 2.x
	Bucket   string // of 2.x
	Token    string // goes as "Authorization: Token ..."
	Address  string // host:port of a UDP listener, instead of URL
	Client   *http.Client

	conn conn
}

// escape puts a backslash before the runes of special and takes line ends away.
func escape(b *bytes.Buffer, s, special string) {
	if s == "" {
		b.WriteByte('_') // the protocol has no empty names or values
	}
	for _, r := range s {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte('_')
			continue
		case strings.ContainsRune(special, r):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	if strings.HasSuffix(s, `\`) {
		b.WriteByte('_') // a backslash would escape what follows
	}
}

func influxLine(b *bytes.Buffer, m *instrument.Metric, x *instrument.Series, nanos string) {
	begun := b.Len()
	escape(b, m.Name, ", ")
	for _, t := range x.Tags {
		if t.Value == "" {
			continue
		}
		b.WriteByte(',')
		escape(b, t.Key, ",= ")
		b.WriteByte('=')
		escape(b, t.Value, ",= ")
	}
	sep := byte(' ')
	figures(m.Kind, x, func(figure string, v float64) {
		if !finite(v) {
			return
		}
		b.WriteByte(sep)
		sep = ','
		if figure == "" {
			figure = "value"
		}
		b.WriteString(figure)
		b.WriteByte('=')
		b.Write(strconv.AppendFloat(b.AvailableBuffer(), v, 'g', -1, 64))
	})
	if sep == ' ' {
		b.Truncate(begun) // no figure that the protocol can carry
		return
	}
	b.WriteByte(' ')
	b.WriteString(nanos)
	b.WriteByte('\n')
}

// maxPacket is what fits into one packet of a network with frames of 1,500 bytes.
const maxPacket = 1432

// Export sends a snapshot.
func (f *Influx) Export(ctx context.Context, s *instrument.Snapshot) error {
	nanos := strconv.FormatInt(s.At.UnixNano(), 10)
	var b bytes.Buffer
	var lines []int // where each ends
	for i := range s.Metrics {
		for k := range s.Metrics[i].Series {
			influxLine(&b, &s.Metrics[i], &s.Metrics[i].Series[k], nanos)
			lines = append(lines, b.Len())
		}
	}
	if f.Address != "" {
		return packets(ctx, &f.conn, f.Address, b.Bytes(), lines)
	}
	target, q := "/write", url.Values{"precision": {"ns"}}
	if f.Bucket != "" {
		target = "/api/v2/write"
		q.Set("bucket", f.Bucket)
		q.Set("org", f.Org)
	} else if f.Database != "" {
		q.Set("db", f.Database)
	}
	h := http.Header{}
	if f.Token != "" {
		h.Set("Authorization", "Token "+f.Token)
	}
	return post(ctx, f.Client, strings.TrimSuffix(f.URL, "/")+target+"?"+q.Encode(), "text/plain; charset=utf-8", b.Bytes(), h)
}

// packets sends whole lines in UDP packets.
func packets(ctx context.Context, c *conn, address string, b []byte, ends []int) error {
	if err := c.dial(ctx, "udp", address); err != nil {
		return err
	}
	from, last := 0, 0
	for _, end := range ends {
		if end-from > maxPacket && last > from {
			if err := c.write(ctx, b[from:last]); err != nil {
				return err
			}
			from = last
		}
		last = end
	}
	if last > from {
		return c.write(ctx, b[from:last])
	}
	return nil
}
