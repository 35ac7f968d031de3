package export

import (
	"encoding/binary"
	"math"
)

// wire writes protocol buffers: it appends fields to itself.
// https://protobuf.dev/programming-guides/encoding/
type wire []byte

func (w *wire) tag(field, kind int) { *w = binary.AppendUvarint(*w, uint64(field<<3|kind)) }

func (w *wire) uint(field int, v uint64) {
	w.tag(field, 0)
	*w = binary.AppendUvarint(*w, v)
}

// sint writes a zigzag integer.
func (w *wire) sint(field int, v int64) { w.uint(field, uint64(v<<1)^uint64(v>>63)) }

func (w *wire) fixed(field int, v uint64) {
	w.tag(field, 1)
	*w = binary.LittleEndian.AppendUint64(*w, v)
}

func (w *wire) double(field int, v float64) { w.fixed(field, math.Float64bits(v)) }

func (w *wire) text(field int, s string) {
	w.tag(field, 2)
	*w = binary.AppendUvarint(*w, uint64(len(s)))
	*w = append(*w, s...)
}

// message writes what f appends as a message.
func (w *wire) message(field int, f func(*wire)) {
	var in wire
	f(&in)
	w.text(field, string(in))
}

// packed writes unsigned integers in one field.
func (w *wire) packed(field int, vs []uint64) {
	var in wire
	for _, v := range vs {
		in = binary.AppendUvarint(in, v)
	}
	w.text(field, string(in))
}
