package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"unicode/utf8"
)

// pickleMachine reads pickles of Python, protocols 0 to 5, that hold nothing but
// lists, tuples, texts, numbers, booleans and None. Opcodes that name, make or
// call anything are errors: a pickle is a program, and this machine cannot run
// the rest of it.
//
// No opcode adds more than one value and every opcode is a byte at least, so that
// memory and time are bounded by the size of the pickle. Values may hold each
// other in a circle: readers must look into them to a fixed depth.
type pickleMachine struct {
	src   []byte
	at    int
	stack []pickleValue
	marks []int // heights of the stack
	memo  []pickleValue
	texts []byte          // texts that had escapes
	inner []pickleValue   // what tuples hold
	lists [][]pickleValue // what lists hold
}

// pickleValue is a value of a pickleMachine.
type pickleValue struct {
	kind pickleKind
	// from and size are where a text lies in src, a text with escapes in texts, or
	// the content of a tuple in inner; from is the number of a list.
	from, size int32
	number     float64
}

type pickleKind uint8

const (
	pickleNothing pickleKind = iota // of the memo: not set
	pickleNone
	pickleNumber
	pickleText
	pickleEscaped
	pickleTuple
	pickleList
)

var (
	errPickleEnd   = errors.New("it ends too early")
	errPickleStack = errors.New("it takes more from the stack than is there")
	errPickleMemo  = errors.New("it asks for something that it has not stored")
	errPickleList  = errors.New("it appends to something that is no list")
)

// run reads p, and returns the value that it stands for. The value and what is
// in it are good until the next run or release, while p is not changed.
func (m *pickleMachine) run(p []byte) (pickleValue, error) {
	m.release()
	if len(p) > math.MaxInt32 {
		return pickleValue{}, fmt.Errorf("it has %d bytes", len(p))
	}
	m.src, m.at = p, 0
	for {
		at := m.at
		op, err := m.take(1)
		if err != nil {
			return pickleValue{}, err
		}
		if op[0] == '.' {
			return m.pop()
		}
		if err := m.step(op[0]); err != nil {
			return pickleValue{}, fmt.Errorf("byte %d: %w", at, err)
		}
	}
}

// release forgets the pickle that was read, and memory that only a large one
// needs.
func (m *pickleMachine) release() {
	const keep = 64 << 10
	if cap(m.stack)+cap(m.memo)+cap(m.inner)+cap(m.texts)+cap(m.marks)+cap(m.lists) > keep {
		*m = pickleMachine{}
		return
	}
	clear(m.memo)
	clear(m.lists)
	m.src, m.stack, m.marks, m.memo, m.texts, m.inner, m.lists = nil, m.stack[:0], m.marks[:0], m.memo[:0], m.texts[:0], m.inner[:0], m.lists[:0]
}

// items returns what a list or a tuple holds; nothing for any other value.
func (m *pickleMachine) items(v pickleValue) []pickleValue {
	switch v.kind {
	case pickleTuple:
		return m.inner[v.from : v.from+v.size]
	case pickleList:
		return m.lists[v.from]
	}
	return nil
}

// text returns the bytes of a text.
func (m *pickleMachine) text(v pickleValue) ([]byte, bool) {
	switch v.kind {
	case pickleText:
		return m.src[v.from : v.from+v.size], true
	case pickleEscaped:
		return m.texts[v.from : v.from+v.size], true
	}
	return nil, false
}

// number returns a number, or a text as the number that it is.
func (m *pickleMachine) number(v pickleValue) (float64, bool) {
	if v.kind == pickleNumber {
		return v.number, true
	}
	p, ok := m.text(v)
	if !ok {
		return 0, false
	}
	return graphiteValue(bytes.TrimSpace(p))
}

// step does one opcode. They are those of the module pickletools of Python.
func (m *pickleMachine) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		v, err := m.take(1)
		if err == nil && v[0] > 5 {
			err = fmt.Errorf("it is of protocol %d; 0 to 5 are taken", v[0])
		}
		return err
	case 0x95: // FRAME
		_, err := m.take(8)
		return err

	case '(': // MARK
		m.marks = append(m.marks, len(m.stack))
	case '0': // POP
		if n := len(m.marks); n > 0 && m.marks[n-1] == len(m.stack) {
			m.marks = m.marks[:n-1]
			return nil
		}
		_, err := m.pop()
		return err
	case '1': // POP_MARK
		_, err := m.above()
		return err
	case '2': // DUP
		v, err := m.pop()
		if err != nil {
			return err
		}
		m.push(v)
		m.push(v)

	case 'N': // NONE
		m.push(pickleValue{kind: pickleNone})
	case 0x88: // NEWTRUE
		m.pushNumber(1)
	case 0x89: // NEWFALSE
		m.pushNumber(0)
	case 'K': // BININT1
		return m.fixed(1, func(p []byte) float64 { return float64(p[0]) })
	case 'M': // BININT2
		return m.fixed(2, func(p []byte) float64 { return float64(binary.LittleEndian.Uint16(p)) })
	case 'J': // BININT
		return m.fixed(4, func(p []byte) float64 { return float64(int32(binary.LittleEndian.Uint32(p))) })
	case 'G': // BINFLOAT
		return m.fixed(8, func(p []byte) float64 { return math.Float64frombits(binary.BigEndian.Uint64(p)) })
	case 'I', 'L', 'F': // INT, LONG, FLOAT
		p, err := m.line()
		if err != nil {
			return err
		}
		if op == 'L' {
			p = bytes.TrimSuffix(p, []byte("L"))
		}
		v, ok := graphiteValue(p)
		if !ok {
			return fmt.Errorf("%s is not a number", shown(p))
		}
		m.pushNumber(v)
	case 0x8a, 0x8b: // LONG1, LONG4
		p, err := m.counted(map[byte]int{0x8a: 1, 0x8b: 4}[op])
		if err != nil {
			return err
		}
		return m.long(p)

	case 'U', 'C', 0x8c: // SHORT_BINSTRING, SHORT_BINBYTES, SHORT_BINUNICODE
		return m.counting(1)
	case 'T', 'B', 'X': // BINSTRING, BINBYTES, BINUNICODE
		return m.counting(4)
	case 0x8d, 0x8e, 0x96: // BINUNICODE8, BINBYTES8, BYTEARRAY8
		return m.counting(8)
	case 'S': // STRING
		return m.quoted()
	case 'V': // UNICODE
		p, err := m.line()
		if err != nil {
			return err
		}
		from := len(m.texts)
		m.texts = unescapeUnicode(m.texts, p)
		m.push(pickleValue{kind: pickleEscaped, from: int32(from), size: int32(len(m.texts) - from)})

	case ']': // EMPTY_LIST
		m.pushList(nil)
	case 'l': // LIST
		items, err := m.above()
		if err != nil {
			return err
		}
		m.pushList(slices.Clone(items))
	case 'a': // APPEND
		v, err := m.pop()
		if err != nil {
			return err
		}
		return m.extend(v)
	case 'e': // APPENDS
		items, err := m.above()
		if err != nil {
			return err
		}
		return m.extend(items...)

	case ')': // EMPTY_TUPLE
		m.pushTuple(nil)
	case 't': // TUPLE
		items, err := m.above()
		if err != nil {
			return err
		}
		m.pushTuple(items)
	case 0x85, 0x86, 0x87: // TUPLE1, TUPLE2, TUPLE3
		items, err := m.cut(int(op) - 0x84)
		if err != nil {
			return err
		}
		m.pushTuple(items)

	case 'p': // PUT
		return m.remember(m.index(0))
	case 'q': // BINPUT
		return m.remember(m.index(1))
	case 'r': // LONG_BINPUT
		return m.remember(m.index(4))
	case 0x94: // MEMOIZE
		return m.remember(len(m.memo), nil)
	case 'g': // GET
		return m.recall(m.index(0))
	case 'h': // BINGET
		return m.recall(m.index(1))
	case 'j': // LONG_BINGET
		return m.recall(m.index(4))

	default:
		return fmt.Errorf("opcode %#02x is not taken: only lists, tuples, texts and numbers are", op)
	}
	return nil
}

// take returns the next n bytes.
func (m *pickleMachine) take(n int) ([]byte, error) {
	if n < 0 || n > len(m.src)-m.at {
		return nil, errPickleEnd
	}
	m.at += n
	return m.src[m.at-n : m.at : m.at], nil
}

// line returns what stands before the next newline.
func (m *pickleMachine) line() ([]byte, error) {
	i := bytes.IndexByte(m.src[m.at:], '\n')
	if i < 0 {
		return nil, errPickleEnd
	}
	p := m.src[m.at : m.at+i]
	m.at += i + 1
	return bytes.TrimSuffix(p, []byte("\r")), nil
}

// counted returns the bytes that follow their number, itself of width bytes.
func (m *pickleMachine) counted(width int) ([]byte, error) {
	p, err := m.take(width)
	if err != nil {
		return nil, err
	}
	n := littleEndian(p)
	if n > math.MaxInt32 {
		return nil, errPickleEnd
	}
	return m.take(int(n))
}

func littleEndian(p []byte) (n uint64) {
	for i, c := range p {
		n |= uint64(c) << (8 * i)
	}
	return n
}

func (m *pickleMachine) push(v pickleValue) { m.stack = append(m.stack, v) }

func (m *pickleMachine) pushNumber(v float64) { m.push(pickleValue{kind: pickleNumber, number: v}) }

func (m *pickleMachine) fixed(n int, f func([]byte) float64) error {
	p, err := m.take(n)
	if err != nil {
		return err
	}
	m.pushNumber(f(p))
	return nil
}

func (m *pickleMachine) counting(width int) error {
	p, err := m.counted(width)
	if err != nil {
		return err
	}
	m.push(pickleValue{kind: pickleText, from: int32(m.at - len(p)), size: int32(len(p))})
	return nil
}

// long reads an integer in two's complement, little-endian.
func (m *pickleMachine) long(p []byte) error {
	const most = 32 // more is far beyond any counter, and cubic to convert
	switch {
	case len(p) > most:
		return fmt.Errorf("an integer of %d bytes; at most %d are taken", len(p), most)
	case len(p) == 0:
		m.pushNumber(0)
	case len(p) <= 8:
		shift := 64 - 8*len(p)
		m.pushNumber(float64(int64(littleEndian(p)<<shift) >> shift))
	default:
		b := slices.Clone(p)
		slices.Reverse(b)
		n := new(big.Int).SetBytes(b)
		if b[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
		f, _ := new(big.Float).SetInt(n).Float64()
		m.pushNumber(f)
	}
	return nil
}

// quoted reads a text in the form of Python's repr.
func (m *pickleMachine) quoted() error {
	p, err := m.line()
	if err != nil {
		return err
	}
	n := len(p)
	if n < 2 || p[0] != p[n-1] || p[0] != '\'' && p[0] != '"' {
		return fmt.Errorf("%s is not in quotes", shown(p))
	}
	from := len(m.texts)
	m.texts = unescapeString(m.texts, p[1:n-1])
	m.push(pickleValue{kind: pickleEscaped, from: int32(from), size: int32(len(m.texts) - from)})
	return nil
}

// unescapeString appends p without the escapes that Python's repr of bytes has.
func unescapeString(dst, p []byte) []byte {
	for i := 0; i < len(p); i++ {
		if p[i] != '\\' || i+1 == len(p) {
			dst = append(dst, p[i])
			continue
		}
		i++
		switch p[i] {
		case 'n':
			dst = append(dst, '\n')
		case 't':
			dst = append(dst, '\t')
		case 'r':
			dst = append(dst, '\r')
		case '\\', '\'', '"':
			dst = append(dst, p[i])
		case 'x':
			if c, ok := hexDigits(p, i+1, 2); ok {
				dst = append(dst, byte(c))
				i += 2
				continue
			}
			dst = append(dst, '\\', 'x')
		default:
			dst = append(dst, '\\', p[i])
		}
	}
	return dst
}

// unescapeUnicode appends p in UTF-8, which is in Python's raw-unicode-escape:
// Latin-1 with \u and \U.
func unescapeUnicode(dst, p []byte) []byte {
	for i := 0; i < len(p); i++ {
		if p[i] == '\\' && i+1 < len(p) && (p[i+1] == 'u' || p[i+1] == 'U') {
			n := 4
			if p[i+1] == 'U' {
				n = 8
			}
			if c, ok := hexDigits(p, i+2, n); ok {
				dst = utf8.AppendRune(dst, rune(c))
				i += 1 + n
				continue
			}
		}
		dst = utf8.AppendRune(dst, rune(p[i]))
	}
	return dst
}

// hexDigits reads n digits from p[at:].
func hexDigits(p []byte, at, n int) (uint64, bool) {
	if at+n > len(p) {
		return 0, false
	}
	c, err := strconv.ParseUint(string(p[at:at+n]), 16, 31)
	return c, err == nil
}

// floor is how far the stack may be taken from: what is below a mark is out of
// reach until the mark is gone.
func (m *pickleMachine) floor() int {
	if n := len(m.marks); n > 0 {
		return m.marks[n-1]
	}
	return 0
}

// cut takes n values from the stack. They are good until the next push.
func (m *pickleMachine) cut(n int) ([]pickleValue, error) {
	at := len(m.stack) - n
	if at < m.floor() {
		return nil, errPickleStack
	}
	items := m.stack[at:]
	m.stack = m.stack[:at]
	return items, nil
}

func (m *pickleMachine) pop() (pickleValue, error) {
	v, err := m.cut(1)
	if err != nil {
		return pickleValue{}, err
	}
	return v[0], nil
}

// above takes what is above the last mark, and the mark. The values are good
// until the next push.
func (m *pickleMachine) above() ([]pickleValue, error) {
	if len(m.marks) == 0 {
		return nil, errPickleStack
	}
	items, err := m.cut(len(m.stack) - m.floor())
	m.marks = m.marks[:len(m.marks)-1]
	return items, err
}

func (m *pickleMachine) pushTuple(items []pickleValue) {
	from := len(m.inner)
	m.inner = append(m.inner, items...)
	m.push(pickleValue{kind: pickleTuple, from: int32(from), size: int32(len(items))})
}

func (m *pickleMachine) pushList(items []pickleValue) {
	m.lists = append(m.lists, items)
	m.push(pickleValue{kind: pickleList, from: int32(len(m.lists) - 1)})
}

// extend appends to the list on top of the stack.
func (m *pickleMachine) extend(items ...pickleValue) error {
	n := len(m.stack)
	if n <= m.floor() {
		return errPickleStack
	}
	list := m.stack[n-1]
	if list.kind != pickleList {
		return errPickleList
	}
	m.lists[list.from] = append(m.lists[list.from], items...)
	return nil
}

// index reads the number of something in the memo: a line, or width bytes.
func (m *pickleMachine) index(width int) (int, error) {
	if width == 0 {
		p, err := m.line()
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseUint(string(p), 10, 31)
		if err != nil {
			return 0, fmt.Errorf("%s is not the number of something stored", shown(p))
		}
		return int(n), nil
	}
	p, err := m.take(width)
	return int(littleEndian(p)), err
}

// remember stores the top of the stack.
func (m *pickleMachine) remember(i int, err error) error {
	switch n := len(m.stack); {
	case err != nil:
		return err
	case n <= m.floor():
		return errPickleStack
	case i > len(m.src):
		// Python counts from 0, so that there cannot be as many.
		return fmt.Errorf("it stores number %d; a pickle of its size cannot have so many", i)
	default:
		if i >= len(m.memo) {
			m.memo = slices.Grow(m.memo, i+1-len(m.memo))[:i+1]
		}
		m.memo[i] = m.stack[n-1]
		return nil
	}
}

func (m *pickleMachine) recall(i int, err error) error {
	if err != nil {
		return err
	}
	if i >= len(m.memo) || m.memo[i].kind == pickleNothing {
		return errPickleMemo
	}
	m.push(m.memo[i])
	return nil
}
