package ingest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// InfluxConfig bounds the InfluxDB line protocol. Zero means the default.
type InfluxConfig struct {
	// MaxBytes is how large a request may be decompressed; default 64 MiB.
	MaxBytes int64
	// MaxLine is how many bytes a line may have; default 1 MiB.
	MaxLine int
	// Version is the version of InfluxDB that clients are told, some of which look
	// at it; default 1.8.10.
	Version string
}

// Influx takes the InfluxDB line protocol, as its reference gives it, over the
// HTTP APIs of InfluxDB 1.x and 2.x and over UDP. A field becomes the series
// measurement_field, tags become labels, and the database or bucket becomes the
// label db. Text is not stored.
//
// The right lines of a request are stored even when others are refused; the
// answer is then 400 with the reasons. A fault of ours stores nothing of the
// request and answers 5xx, so that a retry is safe. Safe for concurrent use.
type Influx struct {
	sink *Sink
	cfg  InfluxConfig
	log  *slog.Logger
	work sync.Pool
}

// NewInflux makes the doors of the line protocol; it starts nothing.
func NewInflux(sink *Sink, cfg InfluxConfig, log *slog.Logger) *Influx {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	cfg.MaxLine = cmp.Or(cfg.MaxLine, 1<<20)
	cfg.Version = cmp.Or(cfg.Version, "1.8.10")
	return &Influx{sink: sink, cfg: cfg, log: log, work: sync.Pool{New: func() any { return new(influxWork) }}}
}

// influxWork is what a request needs and the next one can use again.
type influxWork struct {
	buf  []byte // the body
	line influxLine
	name []byte // of a series
	raw  []byte // what a series is known by: the line up to a field's "="
	// found and values are of a line whose series are known.
	found  []*sinkSeries
	values []float64
}

// free gives w back, unless it is large.
func (i *Influx) free(w *influxWork) {
	if cap(w.buf)+cap(w.line.scratch)+cap(w.name) > keptBuffer || cap(w.line.fields)+cap(w.line.tags)+cap(w.found) > 1<<14 {
		return
	}
	l := &w.line
	clear(l.tags[:cap(l.tags)])
	clear(l.fields[:cap(l.fields)])
	l.measurement = ""
	clear(w.found[:cap(w.found)])
	i.work.Put(w)
}

// influxPrecision is the unit of timestamps, as the milliseconds of one, or as
// how many make one.
type influxPrecision struct{ times, per int64 }

var influxNanoseconds = influxPrecision{1, 1e6}

// millis converts a timestamp, towards minus infinity.
func (p influxPrecision) millis(t int64) (int64, error) {
	if p.per > 1 {
		ms := t / p.per
		if t%p.per < 0 {
			ms--
		}
		return ms, nil
	}
	if t > math.MaxInt64/p.times || t < math.MinInt64/p.times {
		return 0, errInfluxTimeRange
	}
	return t * p.times, nil
}

// influxTarget says how a request's lines are to be read.
type influxTarget struct {
	db        string
	precision influxPrecision
	now       int64 // the time of lines that have none, in Unix milliseconds
}

// take hands the lines of body to b.
func (i *Influx) take(b *Batch, w *influxWork, body []byte, to influxTarget) {
	l := &w.line
	line := 1
	space := influxSpace(to.db)
	for at := 0; at < len(body); {
		switch body[at] {
		case '\n':
			line++
			at++
			continue
		case ' ', '\t', '\r':
			at++
			continue
		case '#':
			if n := bytes.IndexByte(body[at:], '\n'); n >= 0 {
				at += n
				continue
			}
			return
		}
		src := body[at:]
		if end := i.known(b, w, src, line, space, to); end > 0 {
			at += end
			continue
		}
		end, err := l.parse(src[:min(len(src), i.cfg.MaxLine+1)])
		newlines := l.newlines
		reason := influxUndecodable
		if long := end > i.cfg.MaxLine; long || err != nil {
			end = badLineEnd(src)
			newlines = bytes.Count(src[:end], []byte{'\n'})
			if long || end > i.cfg.MaxLine {
				reason, err = influxTooLong, fmt.Errorf("the line has more than %d bytes", i.cfg.MaxLine)
			}
		} else {
			err = i.points(b, w, src, line, space, to)
		}
		if err != nil {
			// Only the first are told, so that only they need a text of their own.
			if len(b.out.Refused) < keptRefusals {
				err = &influxLineError{excerpt(src[:end]), err}
			}
			b.Refuse(line, reason, err)
		}
		at += end
		line += newlines
	}
}

// points adds the fields of the line that was parsed. An error means that none
// was added.
func (i *Influx) points(b *Batch, w *influxWork, src []byte, line int, space uint64, to influxTarget) error {
	l := &w.line
	t := to.now
	if l.hasTime {
		var err error
		if t, err = to.precision.millis(l.time); err != nil {
			return err
		}
	}
	for range l.strings {
		b.Skip("string_field")
	}
	w.name = append(append(w.name[:0], l.measurement...), '_')
	head := len(w.name)
	begun := false
	// Lines without escapes are known by their bytes the next time.
	plain := len(l.scratch) == 0
	w.raw = append(w.raw[:0], src[:l.headLen]...)
	w.raw = append(w.raw, ' ')
	for _, f := range l.fields {
		if plain {
			w.raw = append(append(w.raw[:l.headLen+1], f.key...), '=')
			if b.beginRaw(space, w.raw) {
				b.Point(line, t, f.value)
				begun = false
				continue
			}
		}
		w.name = append(w.name[:head], f.key...)
		name := unsafe.String(unsafe.SliceData(w.name), len(w.name))
		if begun && b.tooBig == 0 {
			b.Rename(name)
		} else {
			b.Begin(name)
			w.labels(b, to.db)
			begun = true
		}
		if plain {
			b.knownAs(space, w.raw, l.headLen+1)
		}
		b.Point(line, t, f.value)
	}
	return nil
}

// influxSpace is that of lines for a database.
func influxSpace(db string) uint64 { return xxhash.Sum64String(db)<<2 | 2 }

// known adds the points of a line whose series came in this order before, and
// returns where it ends; 0 if it is another line, or one to be looked at closely.
func (i *Influx) known(b *Batch, w *influxWork, src []byte, line int, space uint64, to influxTarget) int {
	e := after(b.prev, space)
	if e == nil || len(src) < len(e.key) || string(src[:len(e.key)]) != e.key {
		return 0
	}
	head := e.head
	w.found, w.values = w.found[:0], w.values[:0]
	at := len(e.key)
	for {
		if at >= len(src) {
			return 0
		}
		v, end, err := influxNumber(src, at)
		if err != nil {
			return 0
		}
		w.found, w.values, at = append(w.found, e), append(w.values, v), end
		if at >= len(src) || src[at] != ',' {
			break
		}
		at++
		if e = after(e, space); e == nil || e.head != head || e.key[:head] != string(src[:head]) {
			return 0
		}
		field := e.key[head:]
		if len(src)-at < len(field) || string(src[at:at+len(field)]) != field {
			return 0
		}
		at += len(field)
	}
	t := to.now
	if at < len(src) && src[at] == ' ' {
		at = skipSpaces(src, at)
		if !atEnd(src, at) {
			n, end, err := influxTime(src, at)
			if err != nil {
				return 0
			}
			if t, err = to.precision.millis(n); err != nil {
				return 0
			}
			at = skipSpaces(src, end)
		}
	}
	if !atEnd(src, at) || at > i.cfg.MaxLine {
		return 0
	}
	for k, e := range w.found {
		b.use(e)
		b.Point(line, t, w.values[k])
	}
	if at < len(src) && src[at] == '\r' {
		at++
	}
	return at
}

// labels adds the tags to the series begun, and db where it is in order: senders
// sort their tags, and a series whose labels are in order is remembered once.
func (w *influxWork) labels(b *Batch, db string) {
	for _, tag := range w.line.tags {
		if db != "" && tag.key >= "db" {
			if !w.has("db") {
				b.Label("db", db)
			}
			db = ""
		}
		b.Label(tag.key, tag.value)
	}
	if db != "" {
		b.Label("db", db)
	}
}

func (w *influxWork) has(tag string) bool {
	for _, t := range w.line.tags {
		if t.key == tag {
			return true
		}
	}
	return false
}

// influxLineError is why a line does not parse.
type influxLineError struct {
	excerpt string
	err     error
}

func (e *influxLineError) Error() string { return fmt.Sprintf("%s: '%s'", e.err, e.excerpt) }

func (e *influxLineError) Unwrap() error { return e.err }

// Reasons of lines that do not parse.
const (
	influxUndecodable = "undecodable"
	influxTooLong     = "line_too_long"
)

// excerpt is the beginning of a line, to be shown.
func excerpt(line []byte) string {
	const most = 80
	line = bytes.TrimRight(line, "\r")
	if len(line) > most {
		return strings.ToValidUTF8(string(line[:most]), "") + "…"
	}
	return strings.ToValidUTF8(string(line), "�")
}

// ServePacket takes a datagram of lines, with timestamps in nanoseconds. There
// is nobody to answer: what is refused is counted.
func (i *Influx) ServePacket(ctx context.Context, p []byte) {
	work := i.work.Get().(*influxWork)
	defer i.free(work)
	b := i.sink.Batch("influx_udp")
	defer b.Free()
	i.take(b, work, p, influxTarget{precision: influxNanoseconds, now: time.Now().UnixMilli()})
	out, err := b.Commit(ctx)
	if err != nil {
		i.log.Error("a datagram of the InfluxDB line protocol was not stored", "err", err)
	} else if out.RefusedN > 0 {
		i.log.Debug("lines of an InfluxDB datagram were refused", "refused", out.RefusedN, "stored", out.Stored(), "first", out.Refused[0].Err)
	}
}
