package ingest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// GraphiteConfig says how Graphite is taken. Zero means the default.
type GraphiteConfig struct {
	// Templates turn parts of a path into labels: "filter template tags", where
	// filter and tags may be left out, such as "stats.* .host.measurement* region=us".
	// The most specific filter wins. Without one the whole path is the name.
	Templates []string `yaml:"templates"`
	// Separator joins the parts of a name or a label; default ".".
	Separator string `yaml:"separator"`
	// MaxLine is how many bytes a line may have; default 64 KiB.
	MaxLine int `yaml:"-"`
	// MaxPickle is how many bytes a pickle may have; default 1 MiB, as carbon has it.
	MaxPickle int64 `yaml:"max_pickle_bytes"`
	// IdleTimeout ends a connection on which nothing comes; default 5 min.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
}

// Validate says what is wrong with the config.
func (c GraphiteConfig) Validate() error {
	switch {
	case c.MaxLine < 0 || c.MaxPickle < 0 || c.IdleTimeout < 0:
		return errors.New("graphite: a limit is negative; leave it out for the default")
	case c.MaxLine > graphiteMost || c.MaxPickle > graphiteMost:
		return fmt.Errorf("graphite: a line or a pickle may have at most %d bytes; set a lower limit", graphiteMost)
	}
	_, err := parseGraphiteTemplates(c.Templates)
	return err
}

const (
	graphiteMost = 64 << 20
	// groupedPoints is how many points of a connection are stored in one
	// transaction when they come faster than they are stored.
	groupedPoints = 5_000

	graphiteProtocol       = "graphite"
	graphitePickleProtocol = "graphite_pickle"
)

// Graphite takes the protocols of carbon: lines over TCP and UDP, and pickles
// over TCP. Senders get no answer in any of them; what was refused is counted, and
// shown in the log once a minute. Safe for concurrent use.
type Graphite struct {
	sink      *Sink
	cfg       GraphiteConfig
	log       *slog.Logger
	templates []graphiteTemplate
	mark      []byte // begins the names by which the sink knows our paths
	scratch   sync.Pool
	refusals  onceAMinute
	faults    onceAMinute
}

// NewGraphite makes a Graphite that writes to sink. The error is that of
// cfg.Validate.
func NewGraphite(sink *Sink, cfg GraphiteConfig, log *slog.Logger) (*Graphite, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Separator = cmp.Or(cfg.Separator, ".")
	cfg.MaxLine = cmp.Or(cfg.MaxLine, 64<<10)
	cfg.MaxPickle = cmp.Or(cfg.MaxPickle, 1<<20)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 5*time.Minute)
	templates, err := parseGraphiteTemplates(cfg.Templates)
	if err != nil {
		return nil, err
	}
	g := &Graphite{sink: sink, cfg: cfg, log: log, templates: templates}
	// Another Graphite of the same sink may have other templates: its paths are
	// other series.
	h := xxhash.New()
	for _, t := range append(cfg.Templates, cfg.Separator) {
		_, _ = h.WriteString(t + "\n") // never fails
	}
	g.mark = h.Sum([]byte("\x00graphite"))
	g.scratch.New = func() any { return new(graphiteScratch) }
	return g, nil
}

// graphiteScratch is the memory for one batch.
type graphiteScratch struct {
	raw    []byte // the mark and a path
	tags   []graphiteTag
	pickle pickleMachine
}

// ServeConn takes lines until the peer closes, is silent for the idle timeout,
// or ctx ends; then it closes conn. A last line without its end is not taken: it
// may be half of one. A fault of the store closes the connection, so that a relay
// holds back what it has.
func (g *Graphite) ServeConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // wakes a read
	ctx = context.WithoutCancel(ctx)                            // what was read is stored
	r := newConnReader(conn, g.cfg.IdleTimeout, g.cfg.MaxLine)
	for {
		switch err := r.wait(); {
		case errors.Is(err, errLongLine):
			g.refuse(graphiteProtocol, "line_too_long", err)
			continue
		case err != nil:
			if len(r.rest()) > 0 || r.long {
				g.refuse(graphiteProtocol, "cut_off", fmt.Errorf("the connection ended within a line: %w", err))
			}
			return
		}
		if !g.take(ctx, r.next) {
			return
		}
	}
}

// ServePacket takes the lines of one datagram. p may be used again afterwards.
func (g *Graphite) ServePacket(ctx context.Context, p []byte) {
	next := func() (line []byte, ok bool) {
		if len(p) == 0 {
			return nil, false
		}
		line, p, _ = bytes.Cut(p, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), true
	}
	for len(p) > 0 && g.take(ctx, next) {
	}
}

// take stores the lines that are here. It is false for a fault of ours.
func (g *Graphite) take(ctx context.Context, next func() ([]byte, bool)) bool {
	s := g.scratch.Get().(*graphiteScratch)
	defer g.scratch.Put(s)
	b := g.sink.Batch(graphiteProtocol)
	defer b.Free()
	for n := 1; n <= groupedPoints; n++ {
		line, ok := next()
		if !ok {
			break
		}
		if len(line) > g.cfg.MaxLine {
			b.Refuse(n, "line_too_long", errLongLine)
			continue
		}
		g.line(b, s, n, line)
	}
	return g.commit(ctx, b)
}

// line reads "path value timestamp". A timestamp that is missing, "N" or -1 is
// now.
func (g *Graphite) line(b *Batch, s *graphiteScratch, n int, line []byte) {
	path, rest := word(line)
	if len(path) == 0 {
		return // a blank line
	}
	value, rest := word(rest)
	stamp, rest := word(rest)
	if more, _ := word(rest); len(value) == 0 || len(more) > 0 {
		b.Refuse(n, "malformed", fmt.Errorf(`%s is not "path value timestamp"`, shown(line)))
		return
	}
	v, ok := graphiteValue(value)
	if !ok {
		b.Refuse(n, "invalid_value", fmt.Errorf("%s: the value %s is not a number", shown(path), shown(value)))
		return
	}
	t := b.now.UnixMilli()
	if len(stamp) > 0 && string(stamp) != "N" {
		seconds, ok := decimal(stamp)
		if !ok {
			b.Refuse(n, "invalid_timestamp", fmt.Errorf("%s: the timestamp %s is not a number", shown(path), shown(stamp)))
			return
		}
		if t, ok = g.time(b, n, seconds); !ok {
			return
		}
	}
	g.point(b, s, n, path, t, v)
}

// graphiteValue reads a value; carbon takes NaN and infinity, too, as Python
// writes them.
func graphiteValue(p []byte) (float64, bool) {
	if v, ok := decimal(p); ok {
		return v, true
	}
	if len(p) > len("-infinity") {
		return 0, false
	}
	switch strings.ToLower(strings.TrimPrefix(string(p), "+")) {
	case "nan", "-nan":
		return math.NaN(), true
	case "inf", "infinity":
		return math.Inf(1), true
	case "-inf", "-infinity":
		return math.Inf(-1), true
	}
	return 0, false
}

// time turns Unix seconds to milliseconds; -1 is now. It refuses what is no time.
func (g *Graphite) time(b *Batch, n int, seconds float64) (int64, bool) {
	if seconds == -1 {
		return b.now.UnixMilli(), true
	}
	t, err := millis(seconds)
	if err != nil {
		b.Refuse(n, "invalid_timestamp", err)
	}
	return t, err == nil
}

// graphiteSpace is that of paths with tags or templates.
const graphiteSpace = 5

// point adds a point of a path. NaN says that there is none, and is left out as
// carbon does.
func (g *Graphite) point(b *Batch, s *graphiteScratch, n int, path []byte, t int64, v float64) {
	if v != v {
		b.Skip("nan")
		return
	}
	// A path that is also the name is found as fast by that, with one entry less.
	parted := len(g.templates) > 0 || bytes.IndexByte(path, ';') >= 0
	if parted {
		s.raw = append(append(s.raw[:0], g.mark...), path...)
		if e := after(b.prev, graphiteSpace); e != nil && e.key == string(s.raw) {
			b.use(e)
			b.Point(n, t, v)
			return
		}
		if b.beginRaw(graphiteSpace, s.raw) {
			b.Point(n, t, v)
			return
		}
	}
	if reason, err := g.begin(b, s, path); err != nil {
		b.Refuse(n, reason, err)
		return
	}
	if parted {
		b.knownAs(graphiteSpace, s.raw, 0)
	}
	b.Point(n, t, v)
}

// begin begins the series of "path;tag=value;tag=value".
func (g *Graphite) begin(b *Batch, s *graphiteScratch, whole []byte) (reason string, err error) {
	path, rest, tagged := bytes.Cut(whole, []byte(";"))
	if len(path) == 0 {
		return "invalid_name", fmt.Errorf("the path %s has no name", shown(whole))
	}
	s.tags = s.tags[:0]
	for tagged {
		var tag []byte
		tag, rest, tagged = bytes.Cut(rest, []byte(";"))
		key, value, ok := bytes.Cut(tag, []byte("="))
		switch {
		case !ok || len(key) == 0 || len(value) == 0:
			return "invalid_tag", fmt.Errorf("the path %s has the tag %s; want name=value", shown(whole), shown(tag))
		case string(key) == labels.MetricName:
			return "invalid_tag", fmt.Errorf("the path %s has a tag %s, which is the name of the series; rename the tag", shown(whole), key)
		case len(s.tags) == maxGraphiteTags:
			return "invalid_tag", fmt.Errorf("the path %s has more than %d tags", shown(whole), maxGraphiteTags)
		}
		s.tags = append(s.tags, graphiteTag{alias(key), alias(value)})
	}
	name, own := alias(path), []graphiteTag(nil)
	if len(g.templates) > 0 {
		name, own = g.apply(name)
	}
	b.Begin(name)
	for _, t := range s.tags {
		b.Label(t.key, t.value)
	}
	for _, t := range own {
		if !hasTag(s.tags, t.key) { // what was sent as a tag wins
			b.Label(t.key, t.value)
		}
	}
	return "", nil
}

func hasTag(tags []graphiteTag, key string) bool {
	for i := range tags {
		if tags[i].key == key {
			return true
		}
	}
	return false
}

// apply finds the template of a path and applies it. A path that gets no name by
// it keeps its own.
func (g *Graphite) apply(path string) (name string, tags []graphiteTag) {
	parts := strings.Split(path, ".")
	for i := range g.templates {
		if t := &g.templates[i]; t.matches(parts) {
			name, tags = t.apply(parts, g.cfg.Separator)
			return cmp.Or(name, path), tags
		}
	}
	return path, nil
}

// ServePickleConn takes pickles, each after its length in four bytes, big-endian:
// lists of (path, (timestamp, value)), of any pickle protocol. It ends as
// ServeConn does, and at a pickle above the limit. A pickle that cannot be read is
// refused as a whole; it never runs anything.
func (g *Graphite) ServePickleConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	ctx = context.WithoutCancel(ctx)
	r := newConnReader(conn, g.cfg.IdleTimeout, 0)
	for {
		err := r.need(pickleHead)
		if err == nil {
			size := int64(binary.BigEndian.Uint32(r.rest()))
			if size > g.cfg.MaxPickle {
				g.refuse(graphitePickleProtocol, "too_large", fmt.Errorf("a pickle has %d bytes, over the limit of %d; send smaller ones, or lines to the port for lines", size, g.cfg.MaxPickle))
				return
			}
			err = r.need(pickleHead + int(size))
		}
		if err != nil {
			if len(r.rest()) > 0 {
				g.refuse(graphitePickleProtocol, "cut_off", fmt.Errorf("the connection ended within a pickle: %w", err))
			}
			return
		}
		if !g.takePickles(ctx, r) {
			return
		}
	}
}

// pickleHead is how many bytes the length of a pickle takes.
const pickleHead = 4

// takePickles stores the pickles that are here as a whole.
func (g *Graphite) takePickles(ctx context.Context, r *connReader) bool {
	s := g.scratch.Get().(*graphiteScratch)
	defer g.scratch.Put(s)
	b := g.sink.Batch(graphitePickleProtocol)
	defer b.Free()
	for n := 0; n < groupedPoints; {
		frame := r.rest()
		if len(frame) < pickleHead {
			break
		}
		size := int64(binary.BigEndian.Uint32(frame))
		if size > g.cfg.MaxPickle || int64(len(frame)-pickleHead) < size {
			break // the caller says so, or waits for the rest
		}
		frame = frame[pickleHead : pickleHead+size]
		r.r += pickleHead + int(size)
		n += g.takePickle(b, s, n, frame)
	}
	return g.commit(ctx, b)
}

// takePickle adds the points of a pickle, the first of which is the one after n,
// and returns how many there are.
func (g *Graphite) takePickle(b *Batch, s *graphiteScratch, n int, p []byte) int {
	m := &s.pickle
	defer m.release()
	top, err := m.run(p)
	if err == nil && top.kind != pickleList && top.kind != pickleTuple {
		err = errors.New("want a list of (path, (timestamp, value))")
	}
	if err != nil {
		b.Refuse(n+1, "invalid_pickle", fmt.Errorf("read a pickle of %d bytes: %w", len(p), err))
		return 1
	}
	items := m.items(top)
	for i, item := range items {
		g.pickled(b, s, n+i+1, item)
	}
	return max(1, len(items))
}

// pickled adds the point of one item.
func (g *Graphite) pickled(b *Batch, s *graphiteScratch, n int, item pickleValue) {
	m := &s.pickle
	pair := m.items(item)
	var path []byte
	var point []pickleValue
	if len(pair) == 2 {
		path, _ = m.text(pair[0])
		point = m.items(pair[1])
	}
	if len(path) == 0 || len(point) != 2 {
		b.Refuse(n, "malformed", fmt.Errorf("item %d is not (path, (timestamp, value))", n))
		return
	}
	seconds, ok := m.number(point[0])
	if !ok {
		b.Refuse(n, "invalid_timestamp", fmt.Errorf("%s: the timestamp is not a number", shown(path)))
		return
	}
	v, ok := m.number(point[1])
	if !ok {
		b.Refuse(n, "invalid_value", fmt.Errorf("%s: the value is not a number", shown(path)))
		return
	}
	if t, ok := g.time(b, n, seconds); ok {
		g.point(b, s, n, path, t, v)
	}
}

// commit stores a batch, and is false for a fault of ours.
func (g *Graphite) commit(ctx context.Context, b *Batch) bool {
	out, err := b.Commit(ctx)
	if err != nil {
		if g.faults.now() {
			g.log.Error("points of Graphite were not stored", "err", err)
		}
		return false
	}
	if out.RefusedN > 0 {
		g.tell(out.RefusedN, out.Refused[0].Err)
	}
	return true
}

// refuse counts what is not taken as a whole.
func (g *Graphite) refuse(protocol, reason string, err error) {
	if reason == "cut_off" && !errors.Is(err, io.EOF) {
		reason = "connection_lost"
	}
	g.sink.counts.Add(protocol, 0, map[string]int{reason: 1})
	g.tell(1, err)
}

// tell shows a refusal once a minute: its sender gets no answer.
func (g *Graphite) tell(n int, err error) {
	if g.refusals.now() {
		g.log.Warn("graphite refused points", "refused", n, "first", err)
	}
}

// onceAMinute keeps a sender from filling the log.
type onceAMinute struct{ last atomic.Int64 } // Unix seconds

func (o *onceAMinute) now() bool {
	now, last := time.Now().Unix(), o.last.Load()
	return now-last >= 60 && o.last.CompareAndSwap(last, now)
}
