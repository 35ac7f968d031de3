package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"time"
	"unsafe"
)

// connReader reads a connection in lines, or in counted bytes. What it hands out
// lies in its buffer and is good until the next wait or need. The buffer is small
// for a slow sender and grows with a fast one, so that many of its lines can be
// stored in one transaction.
type connReader struct {
	conn    net.Conn
	idle    time.Duration
	maxLine int
	most    int // bytes of buffer that lines may take
	buf     []byte
	r, w    int  // buf[r:w] is read and not yet handed out
	long    bool // the line is too long; what comes is dropped up to its end
}

const (
	connBuffer     = 4 << 10
	connBufferMost = 256 << 10
)

func newConnReader(conn net.Conn, idle time.Duration, maxLine int) *connReader {
	return &connReader{conn: conn, idle: idle, maxLine: maxLine, most: max(connBufferMost, maxLine+1), buf: make([]byte, connBuffer)}
}

// errLongLine says that a line was dropped. The connection may be read on.
var errLongLine = errors.New("a line is too long; send shorter ones, or raise the limit")

// wait returns when next has a line, or with errLongLine, or when the connection
// has no more.
func (c *connReader) wait() error {
	from := c.r
	for {
		if i := bytes.IndexByte(c.buf[from:c.w], '\n'); i >= 0 {
			if c.long {
				c.r, c.long = from+i+1, false
				return errLongLine
			}
			return nil
		}
		if c.long = c.long || c.w-c.r > c.maxLine; c.long {
			c.r, c.w = 0, 0
		}
		seen := c.w - c.r
		if err := c.fill(c.most); err != nil {
			return err
		}
		from = c.r + seen
	}
}

// next returns the next line without its end, if it is here as a whole.
func (c *connReader) next() (line []byte, ok bool) {
	i := bytes.IndexByte(c.buf[c.r:c.w], '\n')
	if i < 0 {
		return nil, false
	}
	line = c.buf[c.r : c.r+i]
	c.r += i + 1
	return bytes.TrimSuffix(line, []byte("\r")), true
}

// rest returns what is here and was not handed out.
func (c *connReader) rest() []byte { return c.buf[c.r:c.w] }

// need returns when rest has n bytes, or when the connection has no more. Memory
// is taken as the bytes come, not as they are promised.
func (c *connReader) need(n int) error {
	for c.w-c.r < n {
		if err := c.fill(max(n, c.most)); err != nil {
			return err
		}
	}
	return nil
}

// fill reads once. The buffer must have room when it has most bytes.
func (c *connReader) fill(most int) error {
	switch {
	case c.r == c.w:
		c.r, c.w = 0, 0
	case c.r > 0:
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.buf) {
		c.grow(most)
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(c.idle)) // one that is closed says so in Read
	n, err := c.conn.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		if c.w == len(c.buf) {
			c.grow(most) // it came faster than it was read
		}
		return nil // an error comes again
	}
	return err
}

func (c *connReader) grow(most int) {
	if size := min(2*len(c.buf), most); size > len(c.buf) {
		buf := make([]byte, size)
		copy(buf, c.buf[c.r:c.w])
		c.r, c.w, c.buf = 0, c.w-c.r, buf
	}
}

// word cuts the next word off a line; words stand between spaces and tabs. It is
// empty at the end.
func word(p []byte) (w, rest []byte) {
	i := 0
	for i < len(p) && (p[i] == ' ' || p[i] == '\t') {
		i++
	}
	p = p[i:]
	for i = 0; i < len(p) && p[i] != ' ' && p[i] != '\t'; i++ {
	}
	return p[:i], p[i:]
}

// alias returns p as a string without a copy, for a call that does not keep it.
func alias(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// shown is how a refusal quotes what came.
func shown(p []byte) string {
	const most = 40
	if len(p) > most {
		return strconv.Quote(string(p[:most])) + "…"
	}
	return strconv.Quote(string(p))
}

var exactTens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// decimal reads a number as people write it: -12, 3.5, .5, 1e-9. It is false for
// anything else and for what is beyond a float64.
func decimal(p []byte) (float64, bool) {
	i, neg := 0, false
	if len(p) > 0 && (p[0] == '-' || p[0] == '+') {
		i, neg = 1, p[0] == '-'
	}
	// Up to 15 digits are exact in a float64, and so are the powers of ten that
	// they are divided by; one division then rounds as it should.
	var n uint64
	digits, point := 0, -1
	for ; i < len(p); i++ {
		if d := p[i] - '0'; d <= 9 {
			n = n*10 + uint64(d)
			if digits++; digits > 15 {
				return slowDecimal(p)
			}
		} else if p[i] == '.' && point < 0 {
			point = digits
		} else {
			return slowDecimal(p)
		}
	}
	if digits == 0 {
		return 0, false
	}
	v := float64(n)
	if point >= 0 {
		v /= exactTens[digits-point]
	}
	if neg {
		v = -v
	}
	return v, true
}

func slowDecimal(p []byte) (float64, bool) {
	for _, c := range p {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, false // strconv also takes 0x10, 1_0 and Inf
		}
	}
	v, err := strconv.ParseFloat(alias(p), 64)
	return v, err == nil
}

// millis turns Unix seconds to milliseconds.
func millis(seconds float64) (int64, error) {
	if !(seconds >= 0 && seconds <= maxSeconds) {
		return 0, fmt.Errorf("the timestamp %v is out of range; want Unix seconds", seconds)
	}
	return int64(math.Round(seconds * 1000)), nil
}

// maxSeconds keeps milliseconds exact in a float64.
const maxSeconds = 1 << 53 / 1000
