package export

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"unicode"

	"github.com/vedette-sre/vedette/instrument"
)

// Graphite sends plaintext lines over TCP ("path value timestamp"). By default
// tags stand behind the path, as Graphite 1.1 takes them (path;tag=value); with
// Path, the path is what the function makes of name and tags.
// https://graphite.readthedocs.io/en/latest/tags.html
type Graphite struct {
	Address string // host:port
	Prefix  string // before each path, with a dot between
	Path    func(name string, tags []instrument.Tag) string

	conn conn
}

func graphiteRune(r rune) bool {
	return r > ' ' && r != 0x7f && !unicode.IsSpace(r) && !strings.ContainsRune(";~!^=", r)
}

// Export sends a snapshot.
func (g *Graphite) Export(ctx context.Context, s *instrument.Snapshot) error {
	if err := g.conn.dial(ctx, "tcp", g.Address); err != nil {
		return err
	}
	var b bytes.Buffer
	ts := strconv.FormatInt(s.At.Unix(), 10)
	for _, m := range s.Metrics {
		for i := range m.Series {
			x := &m.Series[i]
			figures(m.Kind, x, func(figure string, v float64) {
				if !finite(v) {
					return
				}
				name := m.Name
				if figure != "" {
					name += "." + figure
				}
				if g.Prefix != "" {
					name = g.Prefix + "." + name
				}
				if g.Path != nil {
					b.WriteString(clean(g.Path(name, x.Tags), graphiteRune))
				} else {
					b.WriteString(clean(name, graphiteRune))
					for _, t := range x.Tags {
						b.WriteByte(';')
						b.WriteString(clean(t.Key, graphiteRune))
						b.WriteByte('=')
						b.WriteString(clean(t.Value, func(r rune) bool { return graphiteRune(r) || r == '=' }))
					}
				}
				b.WriteByte(' ')
				b.WriteString(number(v))
				b.WriteByte(' ')
				b.WriteString(ts)
				b.WriteByte('\n')
			})
		}
	}
	return g.conn.write(ctx, b.Bytes())
}
