package query

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"slices"
)

var errChunk = errors.New("a chunk of samples ends early or holds a number that is too long")

// appendXOR appends the samples of a chunk in Prometheus's XOR encoding, a
// variant of Gorilla's (Pelkonen et al., VLDB 2015; "XOR chunk data" in the
// TSDB's chunk format), to ts and vs. scratch is reused from call to call.
//
// It takes a third of the time of an iterator: it keeps all state in registers
// and reads up to 57 bits at once.
func appendXOR(chunk []byte, ts []int64, vs []float64, scratch *[]byte) ([]int64, []float64, error) {
	if len(chunk) < 2 {
		return ts, vs, errChunk
	}
	left := int(binary.BigEndian.Uint16(chunk))
	if left == 0 {
		return ts, vs, nil
	}
	// Zeros behind the end, so that a read needs no check of its own.
	ts, vs = slices.Grow(ts, left), slices.Grow(vs, left)
	*scratch = append(append((*scratch)[:0], chunk[2:]...), make([]byte, 16)...)
	b := *scratch
	end := len(chunk) - 2

	t, n := binary.Varint(b[:end])
	if n <= 0 || end < n+8 {
		return ts, vs, errChunk
	}
	v := binary.BigEndian.Uint64(b[n:])
	ts, vs = append(ts, t), append(vs, math.Float64frombits(v))
	if left--; left == 0 {
		return ts, vs, nil
	}
	n += 8
	delta, more := binary.Uvarint(b[n:end])
	if more <= 0 {
		return ts, vs, errChunk
	}
	at, last := 8*(n+more), 8*end // bits
	first := true
	trailing, size := 0, 64 // of the bits of a value that differ from the one before
	for ; left > 0; left-- {
		if at >= last {
			return ts, vs, errChunk
		}
		x := binary.BigEndian.Uint64(b[at>>3:]) << (at & 7)
		switch ones := bits.LeadingZeros64(^x); {
		case first:
			first = false
		case ones == 0:
			at++
			x <<= 1
		case ones > 3:
			at += 4
			delta += wide(b, at, 64)
			at += 64
			if at > last {
				return ts, vs, errChunk
			}
			x = binary.BigEndian.Uint64(b[at>>3:]) << (at & 7)
		default:
			// 10, 110 and 1110 go before 14, 17 and 20 bits.
			head, body := ones+1, 11+3*ones
			d := x << head >> (64 - body)
			if d > 1<<(body-1) {
				d -= 1 << body
			}
			delta += d
			at += head + body
			x = binary.BigEndian.Uint64(b[at>>3:]) << (at & 7)
		}
		t += int64(delta)
		switch {
		case x>>63 == 0:
			at++
		case x>>62 == 0b10:
			at += 2
			v ^= wide(b, at, size) << trailing
			at += size
		default:
			leading := int(x << 2 >> 59)
			size = int(x << 7 >> 58)
			if size == 0 {
				size = 64
			}
			if trailing = 64 - leading - size; trailing < 0 {
				return ts, vs, errChunk
			}
			at += 13
			v ^= wide(b, at, size) << trailing
			at += size
		}
		if at > last {
			return ts, vs, errChunk
		}
		ts, vs = append(ts, t), append(vs, math.Float64frombits(v))
	}
	return ts, vs, nil
}

// wide is the size bits of b from bit at on, 0 if they lie behind its end.
func wide(b []byte, at, size int) uint64 {
	i := at >> 3
	if i+9 > len(b) {
		return 0
	}
	x := binary.BigEndian.Uint64(b[i:])<<(at&7) | uint64(b[i+8])>>(8-at&7)
	return x >> (64 - size)
}
