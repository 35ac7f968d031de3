package ingest

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"unsafe"
)

// influxLine is one point of the InfluxDB line protocol, as its reference gives
// it:
//
//	measurement[,tag=value…] field=value[,field=value…] [timestamp]
//
// Its strings lie in the text that was parsed, or in scratch where they had
// escapes, so they are good until the next parse.
type influxLine struct {
	measurement string
	tags        []influxTag
	fields      []influxField
	headLen     int   // of the measurement and the tags in the text
	strings     int   // fields left out because they are text
	newlines    int   // within the text of such fields
	time        int64 // in the unit of the request
	hasTime     bool
	scratch     []byte
}

type influxTag struct{ key, value string }

type influxField struct {
	key   string
	value float64
}

// Reasons why a line does not parse. They are made once: a body of bad lines
// must not cost an allocation each.
var (
	errInfluxMeasurement = errors.New("the measurement is missing")
	errInfluxTagKey      = errors.New("a tag key is missing; is there a comma too many?")
	errInfluxTagEquals   = errors.New("a tag has no \"=\"")
	errInfluxTagValue    = errors.New("a tag has no value; leave the tag out")
	errInfluxTagTwo      = errors.New("a tag value holds \"=\"; write \\=")
	errInfluxTagName     = errors.New("the tag __name__ is taken by the name of the series; rename the tag")
	errInfluxFields      = errors.New("the fields are missing")
	errInfluxFieldKey    = errors.New("a field key is missing; is there a comma too many?")
	errInfluxFieldEquals = errors.New("a field has no \"=\"")
	errInfluxFieldValue  = errors.New("a field has no value")
	errInfluxString      = errors.New("a string does not end; close it with a double quote")
	errInfluxAfter       = errors.New("a field value is followed by something else than a comma or a space")
	errInfluxBool        = errors.New("a field value is neither a number, a boolean nor a quoted string")
	errInfluxNumber      = errors.New("a number is not written as the protocol has it")
	errInfluxFinite      = errors.New("NaN and infinity are no values of the protocol; leave the field out")
	errInfluxFloatRange  = errors.New("a float is beyond the range of 64 bits")
	errInfluxIntRange    = errors.New("an integer is beyond the range of 64 bits")
	errInfluxUintSign    = errors.New("an unsigned integer has a sign")
	errInfluxTime        = errors.New("the timestamp is not an integer")
	errInfluxTimeRange   = errors.New("the timestamp is out of range; is the precision right?")
	errInfluxTimeAfter   = errors.New("the timestamp is followed by something else")
)

// What ends a piece of a line.
const (
	stopComma = 1 << iota
	stopEquals
	stopSpace
	stopNewline
	stopBackslash
)

var influxStops = [256]uint8{',': stopComma, '=': stopEquals, ' ': stopSpace, '\n': stopNewline, '\\': stopBackslash}

// parse reads the line at the start of src, which is neither blank nor a
// comment, and returns where its end is: the index of its newline, or len(src).
func (l *influxLine) parse(src []byte) (end int, err error) {
	l.tags, l.fields, l.scratch = l.tags[:0], l.fields[:0], l.scratch[:0]
	l.strings, l.newlines, l.hasTime = 0, 0, false
	i, err := l.head(src)
	if err != nil {
		return 0, err
	}
	if i, err = l.values(src, i); err != nil {
		return 0, err
	}
	i = skipSpaces(src, i)
	if !atEnd(src, i) {
		if l.time, i, err = influxTime(src, i); err != nil {
			return 0, err
		}
		l.hasTime = true
		if i = skipSpaces(src, i); !atEnd(src, i) {
			return 0, errInfluxTimeAfter
		}
	}
	if i < len(src) && src[i] == '\r' {
		i++
	}
	return i, nil
}

// head reads the measurement and the tags, and returns where the fields begin.
func (l *influxLine) head(src []byte) (int, error) {
	const inName = stopComma | stopSpace
	i, escaped := influxToken(src, 0, inName)
	if i == 0 {
		return 0, errInfluxMeasurement
	}
	l.measurement = l.text(src[:i], escaped, inName)
	const inTag = stopComma | stopEquals | stopSpace
	for i < len(src) && src[i] == ',' {
		i++
		at := i
		i, escaped = influxToken(src, i, inTag)
		switch {
		case i == at:
			return 0, errInfluxTagKey
		case i == len(src) || src[i] != '=':
			return 0, errInfluxTagEquals
		}
		key := l.text(src[at:i], escaped, inTag)
		if key == "__name__" {
			return 0, errInfluxTagName
		}
		i++
		at = i
		i, escaped = influxToken(src, i, inTag)
		switch {
		case i == at:
			return 0, errInfluxTagValue
		case i < len(src) && src[i] == '=':
			return 0, errInfluxTagTwo
		}
		l.tags = append(l.tags, influxTag{key, l.text(src[at:i], escaped, inTag)})
	}
	l.headLen = i
	i = skipSpaces(src, i)
	if atEnd(src, i) {
		return 0, errInfluxFields
	}
	return i, nil
}

// values reads the fields from src[i:], and returns where they end.
func (l *influxLine) values(src []byte, i int) (int, error) {
	const inKey = stopComma | stopEquals | stopSpace
	for {
		at, escaped := i, false
		i, escaped = influxToken(src, i, inKey)
		switch {
		case i < len(src) && src[i] == '=' && i > at:
		case i == at:
			return 0, errInfluxFieldKey
		default:
			return 0, errInfluxFieldEquals
		}
		key := l.text(src[at:i], escaped, inKey)
		i++
		if i == len(src) {
			return 0, errInfluxFieldValue
		}
		var v float64
		var err error
		switch c := src[i]; c {
		case '"':
			if i, err = l.quoted(src, i); err != nil {
				return 0, err
			}
			l.strings++
		case 't', 'T', 'f', 'F':
			if v, i, err = influxBool(src, i); err != nil {
				return 0, err
			}
			l.fields = append(l.fields, influxField{key, v})
		default:
			if v, i, err = influxNumber(src, i); err != nil {
				return 0, err
			}
			l.fields = append(l.fields, influxField{key, v})
		}
		switch {
		case i < len(src) && src[i] == ',':
			i++
		case i < len(src) && src[i] == ' ' || atEnd(src, i):
			return i, nil
		default:
			return 0, errInfluxAfter
		}
	}
}

// quoted passes the string that begins at src[i]. A newline is legal in it.
func (l *influxLine) quoted(src []byte, i int) (int, error) {
	for i++; i < len(src); i++ {
		switch src[i] {
		case '"':
			return i + 1, nil
		case '\\':
			if i+1 < len(src) && (src[i+1] == '"' || src[i+1] == '\\') {
				i++
			}
		case '\n':
			l.newlines++
		}
	}
	return 0, errInfluxString
}

// influxToken passes text from src[i] to the next of stops that has no backslash
// before it, or the end of the line.
func influxToken(src []byte, i int, stops uint8) (end int, escaped bool) {
	for i < len(src) {
		switch s := influxStops[src[i]]; {
		case s&(stops|stopNewline) != 0:
			return i, escaped
		case s == stopBackslash && i+1 < len(src) && influxStops[src[i+1]]&stops != 0:
			escaped = true
			i++
		}
		i++
	}
	return i, escaped
}

// text is the token as a string, without the backslashes before one of stops.
// Other backslashes stand for themselves.
func (l *influxLine) text(token []byte, escaped bool, stops uint8) string {
	if !escaped {
		return unsafe.String(unsafe.SliceData(token), len(token))
	}
	at := len(l.scratch)
	for i := 0; i < len(token); i++ {
		if token[i] == '\\' && i+1 < len(token) && influxStops[token[i+1]]&stops != 0 {
			i++
		}
		l.scratch = append(l.scratch, token[i])
	}
	s := l.scratch[at:]
	return unsafe.String(unsafe.SliceData(s), len(s))
}

func skipSpaces(src []byte, i int) int {
	for i < len(src) && src[i] == ' ' {
		i++
	}
	return i
}

// atEnd reports whether the line ends at src[i].
func atEnd(src []byte, i int) bool {
	if i < len(src) && src[i] == '\r' {
		i++
	}
	return i >= len(src) || src[i] == '\n'
}

// valueEnd is where the value that begins at src[i] ends.
func valueEnd(src []byte, i int) int {
	for i < len(src) && src[i] != ',' && src[i] != ' ' && src[i] != '\n' && src[i] != '\r' {
		i++
	}
	return i
}

func influxBool(src []byte, i int) (float64, int, error) {
	end := valueEnd(src, i)
	switch string(src[i:end]) {
	case "t", "T", "true", "True", "TRUE":
		return 1, end, nil
	case "f", "F", "false", "False", "FALSE":
		return 0, end, nil
	}
	return 0, 0, errInfluxBool
}

// tenTo are the powers of ten that a float64 holds exactly.
var tenTo = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// influxNumber reads the number at src[i]: a float, an integer that ends in i or
// an unsigned one that ends in u.
func influxNumber(src []byte, i int) (float64, int, error) {
	at, negative := i, false
	if src[i] == '-' || src[i] == '+' {
		negative = src[i] == '-'
		i++
	}
	// The digits without the point are n; what is more than fits goes to strconv.
	var n uint64
	digits, significant, point := 0, 0, -1
	for ; i < len(src); i++ {
		if c := src[i] - '0'; c <= 9 {
			digits++
			n = n*10 + uint64(c)
			if n != 0 || significant > 0 { // n may wrap to 0
				significant++
			}
		} else if src[i] == '.' && point < 0 {
			point = digits
		} else {
			break
		}
	}
	if digits == 0 {
		return 0, 0, notNumber(src[at:valueEnd(src, at)])
	}
	if i < len(src) && (src[i] == 'i' || src[i] == 'u') {
		if point >= 0 {
			return 0, 0, errInfluxNumber
		}
		v, err := influxInteger(src[at:i], n, negative, significant, src[i] == 'u')
		return v, i + 1, err
	}
	if i < len(src) && (src[i] == 'e' || src[i] == 'E') || significant > 19 || n > 1<<53 {
		return influxFloat(src, at)
	}
	v := float64(n)
	if point >= 0 && n != 0 {
		scale := digits - point
		if scale >= len(tenTo) {
			return influxFloat(src, at)
		}
		// Both are exact, so their quotient is the float nearest to the decimal.
		v /= tenTo[scale]
	}
	if negative {
		v = -v
	}
	return v, i, nil
}

// influxInteger is the integer of text, whose digits are n if they are no more
// than 19.
func influxInteger(text []byte, n uint64, negative bool, significant int, unsigned bool) (float64, error) {
	switch {
	case unsigned && (text[0] == '-' || text[0] == '+'):
		return 0, errInfluxUintSign
	case unsigned && significant > 19:
		var err error
		if n, err = strconv.ParseUint(string(text), 10, 64); err != nil {
			return 0, errInfluxIntRange
		}
		return float64(n), nil
	case unsigned:
		return float64(n), nil
	case significant > 19 || n > 1<<63 || n == 1<<63 && !negative:
		return 0, errInfluxIntRange
	case negative:
		return float64(-int64(n)), nil
	}
	return float64(n), nil
}

// influxFloat reads a float that is not simple. strconv takes more than the
// protocol has (hexadecimals, underscores, names), so that the letters are
// looked at first.
func influxFloat(src []byte, i int) (float64, int, error) {
	end := valueEnd(src, i)
	text := src[i:end]
	for _, c := range text {
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-' {
			return 0, 0, errInfluxNumber
		}
	}
	v, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(text), len(text)), 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, 0, errInfluxFloatRange
	case err != nil:
		return 0, 0, errInfluxNumber
	}
	return v, end, nil
}

// notNumber says what is wrong with a value that has no digits at its start.
func notNumber(text []byte) error {
	bare := bytes.ToLower(bytes.TrimLeft(text[:min(len(text), 16)], "+-"))
	switch string(bare) {
	case "nan", "inf", "infinity":
		return errInfluxFinite
	case "":
		if len(text) == 0 {
			return errInfluxFieldValue
		}
		return errInfluxNumber
	}
	return errInfluxBool
}

// influxTime reads the timestamp at src[i].
func influxTime(src []byte, i int) (int64, int, error) {
	negative := src[i] == '-'
	if negative {
		i++
	}
	at := i
	var n uint64
	for ; i < len(src); i++ {
		c := src[i] - '0'
		if c > 9 {
			break
		}
		if n > math.MaxInt64/10 {
			return 0, 0, errInfluxTimeRange
		}
		n = n*10 + uint64(c)
	}
	switch {
	case i == at:
		return 0, 0, errInfluxTime
	case negative && n <= 1<<63:
		return -int64(n), i, nil
	case n <= math.MaxInt64:
		return int64(n), i, nil
	}
	return 0, 0, errInfluxTimeRange
}

// badLineEnd is where a line that does not parse ends, so that the next one can
// be read: at the first newline that is not in a string. The text of a string
// must not be taken for lines. It takes time in proportion to what it passes,
// but for a string that never ends; there is at most one of these in a body.
func badLineEnd(src []byte) int {
	i, _ := influxToken(src, 0, stopSpace)
	for ; i < len(src) && src[i] != '\n'; i++ {
		if src[i] != '"' || src[i-1] != '=' || src[i-2] == '\\' {
			continue
		}
		var l influxLine
		end, err := l.quoted(src, i)
		if err != nil { // it never ends, and so it holds nothing
			break
		}
		i = end - 1
	}
	if n := bytes.IndexByte(src[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(src)
}
