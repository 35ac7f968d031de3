package ingest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
)

// OpenTSDBConfig says how OpenTSDB is taken. Zero means the default.
type OpenTSDBConfig struct {
	// MaxBytes is how large an HTTP body may be decompressed; default 64 MiB.
	MaxBytes int64
	// MaxLine is how many bytes a line of telnet may have; default 64 KiB.
	MaxLine int
	// IdleTimeout ends a connection on which nothing comes; default 5 min.
	IdleTimeout time.Duration
	// Version and Revision are what clients are told. Some choose by the version
	// what they send; default 2.4.0, whose put is what is taken here.
	Version, Revision string
	// HTTP serves connections that begin with an HTTP request, as OpenTSDB has
	// telnet and HTTP on one port. Without it they are answered 404.
	HTTP http.Handler
}

// Validate says what is wrong with the config.
func (c OpenTSDBConfig) Validate() error {
	if c.MaxBytes < 0 || c.MaxLine < 0 || c.IdleTimeout < 0 {
		return errors.New("opentsdb: a limit is negative; leave it out for the default")
	}
	if c.MaxLine > openTSDBMostLine {
		return fmt.Errorf("opentsdb: a line may have at most %d bytes; set a lower limit", openTSDBMostLine)
	}
	return nil
}

const (
	openTSDBMostLine = 64 << 20
	maxOpenTSDBTags  = 256
	// openTSDBAnswer is how long a client may take to read an answer.
	openTSDBAnswer = 2 * time.Second

	openTSDBProtocol     = "opentsdb"
	openTSDBHTTPProtocol = "opentsdb_http"
)

// OpenTSDB takes what programs send to OpenTSDB 2: put over telnet and over HTTP.
// Safe for concurrent use.
type OpenTSDB struct {
	sink   *Sink
	cfg    OpenTSDBConfig
	log    *slog.Logger
	host   string
	open   atomic.Int64 // connections
	faults onceAMinute
	tags   sync.Pool // *[]openTSDBTag
}

// NewOpenTSDB makes an OpenTSDB that writes to sink. cfg must be valid.
func NewOpenTSDB(sink *Sink, cfg OpenTSDBConfig, log *slog.Logger) *OpenTSDB {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	cfg.MaxLine = cmp.Or(cfg.MaxLine, 64<<10)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 5*time.Minute)
	cfg.Version = cmp.Or(cfg.Version, "2.4.0")
	o := &OpenTSDB{sink: sink, cfg: cfg, log: log, host: "localhost"}
	if name, err := os.Hostname(); err == nil {
		o.host = name
	}
	o.tags.New = func() any { return new([]openTSDBTag) }
	return o
}

// openTSDBFault says why a point is not taken, in the words of OpenTSDB where it
// has some.
type openTSDBFault struct {
	reason string // of the counter
	class  string // of the telnet answer
	text   string
}

func (f *openTSDBFault) Error() string { return f.text }

func openTSDBArgument(reason, format string, a ...any) *openTSDBFault {
	return &openTSDBFault{reason, "illegal argument", fmt.Sprintf(format, a...)}
}

func openTSDBValue(reason, format string, a ...any) *openTSDBFault {
	return &openTSDBFault{reason, "invalid value", fmt.Sprintf(format, a...)}
}

// Those that two bytes of JSON can bring about are made once.
var (
	openTSDBNoName   = openTSDBArgument("invalid_name", "empty metric name")
	openTSDBNoObject = openTSDBArgument("malformed", "the data point is not an object")
)

type openTSDBTag struct{ key, value []byte }

// openTSDBPoint is a point as it is sent. Its bytes lie in the request.
type openTSDBPoint struct {
	metric, time, value []byte
	tags                []openTSDBTag
}

// add checks a point and adds it to b.
func (p *openTSDBPoint) add(b *Batch, line int) *openTSDBFault {
	if len(p.metric) == 0 {
		return openTSDBNoName
	}
	if f := openTSDBName("metric name", p.metric); f != nil {
		return f
	}
	t, f := openTSDBTime(p.time)
	if f != nil {
		return f
	}
	if len(p.value) == 0 {
		return openTSDBArgument("invalid_value", "empty value")
	}
	v, ok := decimal(p.value)
	if !ok {
		return openTSDBValue("invalid_value", "%s is not a number", shown(p.value))
	}
	b.Begin(alias(p.metric))
	for i := range p.tags {
		tag := &p.tags[i]
		again, f := p.check(i)
		if f != nil {
			return f
		}
		if !again {
			b.Label(alias(tag.key), alias(tag.value))
		}
	}
	b.Point(line, t, v)
	return nil
}

// check says whether tag i is one that was there before.
func (p *openTSDBPoint) check(i int) (again bool, f *openTSDBFault) {
	tag := &p.tags[i]
	if len(tag.key) == 0 || len(tag.value) == 0 {
		return false, openTSDBArgument("invalid_tag", "invalid tag: %s=%s", clipped(tag.key), clipped(tag.value))
	}
	if f := openTSDBName("tag name", tag.key); f != nil {
		return false, f
	}
	if f := openTSDBName("tag value", tag.value); f != nil {
		return false, f
	}
	if string(tag.key) == labels.MetricName {
		return false, openTSDBArgument("invalid_tag", "the tag %s is taken by the metric name; rename the tag", tag.key)
	}
	for k := range p.tags[:i] {
		if string(p.tags[k].key) == string(tag.key) {
			if string(p.tags[k].value) != string(tag.value) {
				return false, openTSDBArgument("invalid_tag", "duplicate tag: %s=%s", clipped(tag.key), clipped(tag.value))
			}
			return true, nil
		}
	}
	return false, nil
}

// clipped is as much of p as an answer quotes.
func clipped(p []byte) []byte { return p[:min(len(p), 200)] }

// openTSDBLetters are the ASCII characters of names and tags.
var openTSDBLetters = func() (is [256]bool) {
	for c := range is {
		is[c] = c < utf8.RuneSelf && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '_' || c == '.' || c == '/')
	}
	return is
}()

// openTSDBName checks the characters of a metric, a tag or its value: letters and
// digits of any script, and - _ . /
func openTSDBName(what string, p []byte) *openTSDBFault {
	for i := 0; i < len(p); i++ {
		if openTSDBLetters[p[i]] {
			continue
		}
		c, size := utf8.DecodeRune(p[i:])
		if c < utf8.RuneSelf || !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return openTSDBArgument("invalid_name", "invalid %s (%s): illegal character: %q", what, shown(p), c)
		}
		i += size - 1
	}
	return nil
}

// openTSDBTime reads a timestamp: Unix seconds up to 2^32, milliseconds above, or
// seconds with a fraction.
func openTSDBTime(p []byte) (int64, *openTSDBFault) {
	if len(p) == 0 {
		return 0, openTSDBArgument("invalid_timestamp", "empty timestamp")
	}
	v, ok := decimal(p)
	switch {
	case !ok:
		return 0, openTSDBValue("invalid_timestamp", "%s is not a timestamp", shown(p))
	case v <= 0 || v > 9_999_999_999_999:
		return 0, openTSDBArgument("invalid_timestamp", "invalid timestamp: %s", clipped(p))
	case v > math.MaxUint32:
		return int64(v), nil
	}
	return int64(math.Round(v * 1000)), nil
}

// ServeConn speaks telnet until the peer closes or says exit, is silent for the
// idle timeout, or ctx ends; then it closes conn. Points that are right get no
// answer, the others one line each; they are stored in groups, so that the
// answers to a fast sender come together. A connection that begins with a capital
// letter, as HTTP does, is served by the handler of the config.
func (o *OpenTSDB) ServeConn(ctx context.Context, conn net.Conn) {
	o.open.Add(1)
	defer o.open.Add(-1)
	r := newConnReader(conn, o.cfg.IdleTimeout, o.cfg.MaxLine)
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() }) // wakes a read
	defer conn.Close()
	defer unhook()
	if r.need(1) != nil {
		return
	}
	if c := r.rest()[0]; c >= 'A' && c <= 'Z' {
		// Never telnet: a web page could make a browser send lines in a body.
		switch {
		case o.cfg.HTTP == nil:
			_ = conn.SetWriteDeadline(time.Now().Add(openTSDBAnswer))
			_, _ = conn.Write([]byte("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
		case unhook():
			o.serveHTTP(ctx, conn, r)
		}
		return
	}
	t := &openTSDBTelnet{o: o, conn: conn, r: r}
	t.serve(context.WithoutCancel(ctx)) // what was read is stored
	linger(conn)
}

// linger lets the peer take the last answers before conn is closed: one that is
// closed with bytes unread is reset, and the reset may overtake them.
func linger(conn net.Conn) {
	c, ok := conn.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // that long at most
	_, _ = io.Copy(io.Discard, io.LimitReader(conn, 1<<20))
}

// openTSDBTelnet is one connection.
type openTSDBTelnet struct {
	o     *OpenTSDB
	conn  net.Conn
	r     *connReader
	b     *Batch // of the points that wait; nil for none
	lines int    // in b
	tags  []openTSDBTag
	out   []byte // answers
	deaf  bool   // the peer does not read them
}

func (t *openTSDBTelnet) serve(ctx context.Context) {
	defer func() {
		t.flush(ctx)
		t.answer()
	}()
	for {
		switch err := t.r.wait(); {
		case errors.Is(err, errLongLine):
			t.refuse(openTSDBArgument("line_too_long", "the line has more than %d bytes", t.o.cfg.MaxLine))
		case err != nil:
			if len(t.r.rest()) > 0 || t.r.long {
				t.refuse(openTSDBArgument("cut_off", "the connection ended within a line"))
			}
			return
		}
		for {
			line, ok := t.r.next()
			if !ok {
				break
			}
			if !t.line(ctx, line) {
				return
			}
		}
		t.flush(ctx)
		t.answer()
	}
}

// batch returns the batch for one line more.
func (t *openTSDBTelnet) batch() *Batch {
	if t.b == nil {
		t.b, t.lines = t.o.sink.Batch(openTSDBProtocol), 0
	}
	t.lines++
	return t.b
}

func (t *openTSDBTelnet) refuse(f *openTSDBFault) { t.batch().Refuse(t.lines, f.reason, f) }

// flush stores the points that wait, and says which were refused.
func (t *openTSDBTelnet) flush(ctx context.Context) {
	if t.b == nil {
		return
	}
	defer func() {
		t.b.Free()
		t.b = nil
	}()
	out, err := t.b.Commit(ctx)
	if err != nil {
		if t.o.faults.now() {
			t.o.log.Error("points of OpenTSDB were not stored", "err", err)
		}
		t.say("put: storage error: the last %d points were not stored, send them again: %s", t.lines, oneLine(err))
		return
	}
	for _, r := range out.Refused {
		class := "illegal argument"
		var f *openTSDBFault
		if errors.As(r.Err, &f) {
			class = f.class
		}
		if class == "" {
			t.say("%s", oneLine(r.Err))
		} else {
			t.say("put: %s: %s", class, oneLine(r.Err))
		}
	}
	if more := out.RefusedN - len(out.Refused); more > 0 {
		t.say("put: illegal argument: %d points more were refused", more)
	}
}

// oneLine is what an answer says of an error.
func oneLine(err error) string {
	const most = 1 << 10
	text := err.Error()
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

func (t *openTSDBTelnet) say(format string, a ...any) {
	t.out = append(fmt.Appendf(t.out, format, a...), '\n')
}

// answer sends what was said. Many senders never read; they are not waited for
// twice, and their points are still taken.
func (t *openTSDBTelnet) answer() {
	if len(t.out) > 0 && !t.deaf {
		_ = t.conn.SetWriteDeadline(time.Now().Add(openTSDBAnswer)) // one that is closed says so in Write
		_, err := t.conn.Write(t.out)
		t.deaf = err != nil
	}
	t.out = t.out[:0]
}

// line does one command. It is false for the last one.
func (t *openTSDBTelnet) line(ctx context.Context, line []byte) bool {
	command, rest := word(line)
	if string(command) == "put" {
		if len(line) > t.o.cfg.MaxLine {
			t.refuse(openTSDBArgument("line_too_long", "the line has more than %d bytes", t.o.cfg.MaxLine))
		} else if f := t.put(rest); f != nil {
			t.b.Refuse(t.lines, f.reason, f)
		}
		if t.lines >= groupedPoints {
			t.flush(ctx)
			t.answer()
		}
		return true
	}
	if len(command) == 0 {
		return true
	}
	t.flush(ctx) // so that the answers keep the order of what was sent
	switch string(command) {
	case "version":
		t.say("net.opentsdb %s built at revision %s", t.o.cfg.Version, cmp.Or(t.o.cfg.Revision, "unknown"))
	case "stats":
		now := time.Now().Unix()
		for _, s := range t.o.stats() {
			t.say("%s %d %d %s host=%s", s.metric, now, s.value, s.tag(), t.o.host)
		}
	case "help":
		t.say("available commands: put stats dropcaches version exit quit help")
	case "dropcaches":
		t.say("Caches dropped.") // there are none
	case "diediedie":
		t.say("diediedie: refused; stop the server where it runs")
	case "exit", "quit":
		return false
	default:
		t.refuse(&openTSDBFault{reason: "unknown_command", text: fmt.Sprintf("unknown command: %s. Try `help'.", printable(command))})
	}
	if len(t.out) > connBuffer {
		t.flush(ctx)
		t.answer()
	}
	return true
}

// printable is what an answer repeats of a word.
func printable(p []byte) string {
	q := strconv.Quote(string(p[:min(len(p), 40)]))
	return q[1 : len(q)-1]
}

// put reads "metric timestamp value tag=value tag=value".
func (t *openTSDBTelnet) put(rest []byte) *openTSDBFault {
	b := t.batch()
	var p openTSDBPoint
	p.metric, rest = word(rest)
	p.time, rest = word(rest)
	p.value, rest = word(rest)
	if len(p.value) == 0 {
		n := 0
		for _, w := range [][]byte{p.metric, p.time} {
			if len(w) > 0 {
				n++
			}
		}
		return openTSDBArgument("malformed", "not enough arguments (need least 3, got %d)", n)
	}
	p.tags = t.tags[:0]
	for {
		var tag []byte
		if tag, rest = word(rest); len(tag) == 0 {
			break
		}
		key, value, ok := bytes.Cut(tag, []byte("="))
		if !ok || bytes.IndexByte(value, '=') >= 0 {
			return openTSDBArgument("invalid_tag", "invalid tag: %s", clipped(tag))
		}
		if len(p.tags) == maxOpenTSDBTags {
			return openTSDBArgument("invalid_tag", "too many tags: at most %d are taken", maxOpenTSDBTags)
		}
		p.tags = append(p.tags, openTSDBTag{key, value})
	}
	t.tags = p.tags
	return p.add(b, t.lines)
}

// openTSDBStat is a number that stats tells.
type openTSDBStat struct {
	metric, key, label string
	value              int64
}

func (s openTSDBStat) tag() string { return s.key + "=" + s.label }

// stats lists what was taken since the start, under the names of OpenTSDB.
func (o *OpenTSDB) stats() []openTSDBStat {
	out := []openTSDBStat{{"tsd.connectionmgr.connections", "type", "open", o.open.Load()}}
	for _, p := range o.sink.counts.Snapshot() {
		via := ""
		switch p.Protocol {
		case openTSDBProtocol:
			via = "telnet"
		case openTSDBHTTPProtocol:
			via = "http"
		default:
			continue
		}
		out = append(out,
			openTSDBStat{"tsd.rpc.received", "type", "put_" + via, p.Requests},
			openTSDBStat{"tsd.datapoints.added", "type", via, p.Samples})
		for _, r := range p.Rejected {
			out = append(out, openTSDBStat{"tsd.rpc.errors", "type", via + "_" + r.Reason, r.Count})
		}
	}
	return out
}
