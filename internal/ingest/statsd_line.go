package ingest

import (
	"bytes"
	"math"
	"strconv"
	"unsafe"
)

// statsdKind is what a series holds. Timers, histograms and distributions are
// one kind: all of them become a native histogram.
type statsdKind byte

const (
	statsdCounter   statsdKind = 'c'
	statsdGauge     statsdKind = 'g'
	statsdHistogram statsdKind = 'h'
	statsdSet       statsdKind = 's'
)

// statsdLine is one metric of a packet. Its slices lie in the packet.
type statsdLine struct {
	name   []byte // with the Influx tags behind its first comma
	values []byte // joined by colons, but for a set, whose value is one
	tags   []byte // what follows |#, joined by commas
	host   []byte // of a service check
	kind   statsdKind
	check  bool    // a service check
	rate   float64 // share of the events that were sent: 0 < rate <= 1
	time   int64   // Unix seconds; 0 for none
}

// statsdFault says why a line or a value is not taken. There is one for each
// reason, so that a flood of bad lines costs no memory.
type statsdFault struct {
	reason string // for the counters
	say    string
}

// ours reports whether the line is right, and only not kept.
func (f *statsdFault) ours() bool { return f == statsdEvent || f == statsdSetFull }

var (
	statsdNoValue      = &statsdFault{"bad_line", "no value; want name:value|type"}
	statsdNoType       = &statsdFault{"bad_line", "no type; want name:value|type"}
	statsdNoName       = &statsdFault{"bad_name", "the name is empty"}
	statsdLongName     = &statsdFault{"bad_name", "name and tags take more than 4096 bytes"}
	statsdNotUTF8      = &statsdFault{"bad_name", "name or tags are not UTF-8"}
	statsdBadType      = &statsdFault{"bad_type", "unknown type; want c, g, ms, h, d or s"}
	statsdBadValue     = &statsdFault{"bad_value", "the value is not a finite number"}
	statsdEmptyMember  = &statsdFault{"bad_value", "the member of a set is empty"}
	statsdBadRate      = &statsdFault{"bad_rate", "the sample rate is not a number above 0 and up to 1"}
	statsdBadTime      = &statsdFault{"bad_time", "the timestamp is not a number of Unix seconds"}
	statsdBadTag       = &statsdFault{"bad_tag", "a tag has no name, or an Influx tag no =; want |#tag:value or name,tag=value"}
	statsdNameTag      = &statsdFault{"bad_tag", "a tag must not be called __name__"}
	statsdBadCheck     = &statsdFault{"bad_check", "want _sc|name|status with a status of 0 to 3"}
	statsdNegative     = &statsdFault{"negative_counter", "a counter does not go down; send a gauge with a sign"}
	statsdKindDiffers  = &statsdFault{"kind_differs", "the series is held as another type; give it another name"}
	statsdTooMany      = &statsdFault{"max_series", "too many series are held; send fewer different tags or raise the limit"}
	statsdTooManyTimes = &statsdFault{"max_points", "too many timestamped values of one series between two flushes"}
	statsdTooLarge     = &statsdFault{"too_large", "the packet or line is over the limit; send smaller ones"}
	statsdOverflow     = &statsdFault{"overflow", "the sum is beyond what a float holds"}

	// Left out without a fault of the sender's.
	statsdEvent   = &statsdFault{"event", "events are not kept"}
	statsdSetFull = &statsdFault{"set_full", "the set has more members between two flushes than are counted"}
)

// maxStatsdName bounds the name and the tags of a line, which are kept.
const maxStatsdName = 4096

// parse reads one line without its end. The line is not an event.
func (l *statsdLine) parse(p []byte) *statsdFault {
	*l = statsdLine{rate: 1}
	if bytes.HasPrefix(p, []byte("_sc|")) {
		return l.parseCheck(p[len("_sc|"):])
	}
	colon := bytes.IndexByte(p, ':')
	if colon < 0 {
		return statsdNoValue
	}
	if l.name = p[:colon]; bytes.IndexByte(l.name, '|') >= 0 {
		return statsdNoValue
	}
	rest := p[colon+1:]
	bar := bytes.IndexByte(rest, '|')
	if bar < 0 {
		return statsdNoType
	}
	l.values = rest[:bar]
	kind, rest := statsdField(rest[bar+1:])
	switch {
	case len(kind) == 1:
		switch kind[0] {
		case 'c', 'g', 'h', 's':
			l.kind = statsdKind(kind[0])
		case 'd':
			l.kind = statsdHistogram
		default:
			return statsdBadType
		}
	case len(kind) == 2 && kind[0] == 'm' && kind[1] == 's':
		l.kind = statsdHistogram
	case len(kind) == 0:
		return statsdNoType
	default:
		return statsdBadType
	}
	for len(rest) > 0 {
		var f []byte
		if f, rest = statsdField(rest); len(f) == 0 {
			continue
		}
		switch f[0] {
		case '@':
			rate, ok := statsdNumber(f[1:])
			if !ok || rate < 1e-9 || rate > 1 {
				return statsdBadRate
			}
			l.rate = rate
		case '#':
			l.tags = f[1:]
		case 'T':
			sec, err := strconv.ParseInt(statsdString(f[1:]), 10, 64)
			if err != nil || sec <= 0 || sec > math.MaxInt64/1000 {
				return statsdBadTime
			}
			l.time = sec
		}
		// c:, e:, card: and what later versions bring say nothing about the value.
	}
	return l.checkName()
}

// parseCheck reads a service check: name|status|d:time|h:host|#tags|m:message.
func (l *statsdLine) parseCheck(p []byte) *statsdFault {
	l.kind, l.check = statsdGauge, true
	l.name, p = statsdField(p)
	l.values, p = statsdField(p)
	if len(l.values) != 1 || l.values[0] < '0' || l.values[0] > '3' {
		return statsdBadCheck
	}
	for len(p) > 0 {
		var f []byte
		f, p = statsdField(p)
		switch {
		case bytes.HasPrefix(f, []byte("h:")):
			l.host = f[2:]
		case bytes.HasPrefix(f, []byte("#")):
			l.tags = f[1:]
		case bytes.HasPrefix(f, []byte("m:")):
			p = nil // the message is last and may hold anything
		}
	}
	return l.checkName()
}

func (l *statsdLine) checkName() *statsdFault {
	switch {
	case len(l.name) == 0:
		return statsdNoName
	case len(l.name)+len(l.tags)+len(l.host) > maxStatsdName:
		return statsdLongName
	}
	return nil
}

// eachTag calls f with each tag of the line, in the order sent, until it says no.
func (l *statsdLine) eachTag(f func(name, value []byte) bool) *statsdFault {
	if len(l.host) > 0 && !f([]byte("host"), l.host) {
		return nil
	}
	name := l.name
	if comma := bytes.IndexByte(name, ','); comma >= 0 && !l.check {
		for tag := range bytes.SplitSeq(name[comma+1:], []byte(",")) {
			k, v, ok := bytes.Cut(tag, []byte("="))
			if !ok || len(k) == 0 {
				return statsdBadTag
			}
			if !f(k, v) {
				return nil
			}
		}
	}
	for tag := range bytes.SplitSeq(l.tags, []byte(",")) {
		if len(tag) == 0 {
			continue
		}
		k, v, ok := bytes.Cut(tag, []byte(":"))
		if len(k) == 0 {
			return statsdBadTag
		}
		if !ok {
			v = []byte("true")
		}
		if !f(k, v) {
			return nil
		}
	}
	return nil
}

// bareName is the name without Influx tags.
func (l *statsdLine) bareName() []byte {
	if l.check {
		return l.name
	}
	name, _, _ := bytes.Cut(l.name, []byte(","))
	return name
}

// statsdField cuts what stands before the next bar.
func statsdField(p []byte) (field, rest []byte) {
	if bar := bytes.IndexByte(p, '|'); bar >= 0 {
		return p[:bar], p[bar+1:]
	}
	return p, nil
}

// statsdPow10 are the powers of ten that a float64 holds exactly.
var statsdPow10 = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// statsdNumber reads a decimal number; no hex, no infinity, no NaN.
// Up to 15 digits without an exponent need one division of two exact numbers,
// whose result is the nearest float, as strconv's would be.
func statsdNumber(p []byte) (float64, bool) {
	digits, point := p, -1
	if len(p) > 0 && (p[0] == '-' || p[0] == '+') {
		digits = p[1:]
	}
	var m uint64
	n := 0
	for i, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			if n++; n > 15 {
				return statsdSlowNumber(p)
			}
			m = m*10 + uint64(c-'0')
		case c == '.' && point < 0:
			point = i
		default:
			return statsdSlowNumber(p)
		}
	}
	if n == 0 {
		return 0, false
	}
	v := float64(m)
	if point >= 0 {
		v /= statsdPow10[len(digits)-point-1]
	}
	if p[0] == '-' {
		v = -v
	}
	return v, true
}

func statsdSlowNumber(p []byte) (float64, bool) {
	for _, c := range p {
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-' {
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(statsdString(p), 64)
	return v, err == nil && !math.IsInf(v, 0)
}

// statsdString is p as a string for the time of a call that does not keep it.
func statsdString(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
