package export

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/vedette-sre/vedette/instrument"
)

// OpenTSDB sends to an OpenTSDB daemon, by "put" lines over TCP when Address is
// set and by POST /api/put when URL is. Figures become metrics NAME.figure; tags
// stay tags. OpenTSDB wants one tag at least: give the registry some.
// http://opentsdb.net/docs/build/html/api_telnet/put.html
type OpenTSDB struct {
	Address string // host:port of the telnet door
	URL     string // such as http://tsd:4242
	Prefix  string // before each name, with a dot between
	Client  *http.Client
	// Batch is how many points a request of HTTP holds; default 50, the daemon's own
	// advice for requests that are not chunked.
	Batch int

	conn conn
}

func tsdbRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./", r)
}

type tsdbPoint struct {
	Metric    string            `json:"metric"`
	Timestamp int64             `json:"timestamp"`
	Value     float64           `json:"value"`
	Tags      map[string]string `json:"tags"`
}

func (o *OpenTSDB) points(s *instrument.Snapshot, f func(name string, tags []instrument.Tag, v float64)) {
	for _, m := range s.Metrics {
		base := clean(m.Name, tsdbRune)
		if o.Prefix != "" {
			base = clean(o.Prefix, tsdbRune) + "." + base
		}
		for i := range m.Series {
			x := &m.Series[i]
			figures(m.Kind, x, func(figure string, v float64) {
				if !finite(v) {
					return
				}
				name := base
				if figure != "" {
					name += "." + figure
				}
				f(name, x.Tags, v)
			})
		}
	}
}

// Export sends a snapshot. Over TCP the daemon says nothing of lines that it
// takes; what it said of earlier ones is returned as an error.
func (o *OpenTSDB) Export(ctx context.Context, s *instrument.Snapshot) error {
	if o.URL != "" {
		return o.post(ctx, s)
	}
	if err := o.conn.dial(ctx, "tcp", o.Address); err != nil {
		return err
	}
	var b bytes.Buffer
	ts := strconv.FormatInt(s.At.Unix(), 10)
	o.points(s, func(name string, tags []instrument.Tag, v float64) {
		b.WriteString("put ")
		b.WriteString(name)
		b.WriteByte(' ')
		b.WriteString(ts)
		b.WriteByte(' ')
		b.WriteString(number(v))
		for _, t := range tags {
			b.WriteByte(' ')
			b.WriteString(clean(t.Key, tsdbRune))
			b.WriteByte('=')
			b.WriteString(clean(t.Value, tsdbRune))
		}
		b.WriteByte('\n')
	})
	if err := o.conn.write(ctx, b.Bytes()); err != nil {
		return err
	}
	// A wrong line is answered; a right one is not.
	_ = o.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	said := make([]byte, 4096)
	n, err := o.conn.Read(said)
	switch {
	case n > 0:
		return fmt.Errorf("the OpenTSDB daemon at %s says: %s", o.Address, bytes.TrimSpace(said[:n]))
	case err == io.EOF:
		o.conn.drop()
	}
	return nil
}

func (o *OpenTSDB) post(ctx context.Context, s *instrument.Snapshot) error {
	var all []tsdbPoint
	o.points(s, func(name string, tags []instrument.Tag, v float64) {
		p := tsdbPoint{name, s.At.UnixMilli(), v, map[string]string{}}
		for _, t := range tags {
			p.Tags[clean(t.Key, tsdbRune)] = clean(t.Value, tsdbRune)
		}
		all = append(all, p)
	})
	batch := cmp.Or(o.Batch, 50)
	for len(all) > 0 {
		part := all[:min(batch, len(all))]
		all = all[len(part):]
		body, err := json.Marshal(part)
		if err != nil {
			return fmt.Errorf("render points for OpenTSDB: %w", err)
		}
		if err := post(ctx, o.Client, strings.TrimSuffix(o.URL, "/")+"/api/put?details", "application/json", body, nil); err != nil {
			return err
		}
	}
	return nil
}
