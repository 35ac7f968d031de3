package ingest

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/VictoriaMetrics/easyproto"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// DefaultMaxBytes is how large a request may be once it is decompressed.
const DefaultMaxBytes = 64 << 20

// RemoteWriteConfig bounds remote write. Zero means the default.
type RemoteWriteConfig struct {
	// MaxBytes is how large a request may be decompressed; default 64 MiB.
	MaxBytes int64
}

// RemoteWrite takes Prometheus remote write 1.0 and 2.0 (specifications of the
// same names). Valid samples are stored even when others of the request are
// refused; the answer is then 400 with the reasons, and for 2.0 the
// X-Prometheus-Remote-Write-*-Written headers tell what was stored. A fault of
// ours stores nothing of the request and answers 5xx, so that a retry is safe.
//
// The request is walked where it lies, without a structure of its own: most of
// what remote write costs elsewhere is making and collecting those.
func RemoteWrite(sink *Sink, cfg RemoteWriteConfig, log *slog.Logger) http.Handler {
	rw := &remoteWrite{sink: sink, maxBytes: cmp.Or(cfg.MaxBytes, DefaultMaxBytes), log: log}
	return postOnly(rw)
}

func postOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "remote write is sent with POST", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

type remoteWrite struct {
	sink     *Sink
	maxBytes int64
	log      *slog.Logger
}

// buffers are what a request is read into and decompressed to.
type buffers struct{ raw, plain []byte }

var bufferPool = sync.Pool{New: func() any { return new(buffers) }}

// keptBuffer bounds what the pool holds on to.
const keptBuffer = 4 << 20

func (b *buffers) free() {
	if cap(b.raw)+cap(b.plain) <= keptBuffer {
		bufferPool.Put(b)
	}
}

func (rw *remoteWrite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v2, err := writeVersion(r.Header.Get("Content-Type"))
	if enc := r.Header.Get("Content-Encoding"); err == nil && enc != "" && enc != "snappy" {
		err = fmt.Errorf("the encoding %q is not taken; remote write is sent with snappy", enc)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
		return
	}
	name := "remote_write_v1"
	if v2 {
		name = "remote_write_v2"
	}
	bufs := bufferPool.Get().(*buffers)
	defer bufs.free()
	b := rw.sink.Batch(name)
	defer b.Free()
	out, err := rw.store(r, b, bufs, v2)
	if v2 {
		h := w.Header()
		h.Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(out.Samples))
		h.Set("X-Prometheus-Remote-Write-Histograms-Written", strconv.Itoa(out.Histograms))
		h.Set("X-Prometheus-Remote-Write-Exemplars-Written", strconv.Itoa(out.Exemplars))
	}
	var tooLarge *http.MaxBytesError
	var bad *badRequest
	switch {
	case errors.As(err, &tooLarge) || errors.As(err, &bad) && bad.code == http.StatusRequestEntityTooLarge:
		rw.sink.counts.Add(name, 0, map[string]int{"too_large": 1})
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	case errors.As(err, &bad):
		rw.sink.counts.Add(name, 0, map[string]int{"undecodable": 1})
		http.Error(w, err.Error(), bad.code)
	case err != nil:
		rw.log.Error("a remote write request was not stored", "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case out.RefusedN > 0:
		rw.log.Debug("remote write refused samples", "protocol", name, "refused", out.RefusedN, "stored", out.Stored(), "first", out.Refused[0].Err)
		http.Error(w, out.Error(), http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// badRequest is a request that cannot be read.
type badRequest struct {
	code int
	err  error
}

func (b *badRequest) Error() string { return b.err.Error() }

func (rw *remoteWrite) store(r *http.Request, b *Batch, bufs *buffers, v2 bool) (Outcome, error) {
	var err error
	if bufs.raw, err = readAll(bufs.raw[:0], r.Body, r.ContentLength); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return Outcome{}, err
		}
		return Outcome{}, &badRequest{http.StatusBadRequest, fmt.Errorf("read the request's body: %w", err)}
	}
	n, err := snappy.DecodedLen(bufs.raw)
	switch {
	case err != nil:
		return Outcome{}, &badRequest{http.StatusBadRequest, fmt.Errorf("the body is not snappy: %w", err)}
	case int64(n) > rw.maxBytes:
		return Outcome{}, &badRequest{http.StatusRequestEntityTooLarge, fmt.Errorf("the request takes %d bytes decompressed, over the limit of %d; send smaller ones", n, rw.maxBytes)}
	}
	if bufs.plain, err = snappy.Decode(bufs.plain[:cap(bufs.plain)], bufs.raw); err != nil {
		return Outcome{}, &badRequest{http.StatusBadRequest, fmt.Errorf("the body is not snappy: %w", err)}
	}
	if v2 {
		err = walkV2(b, bufs.plain)
	} else {
		err = walkV1(b, bufs.plain)
	}
	if err != nil {
		return Outcome{}, &badRequest{http.StatusBadRequest, fmt.Errorf("decode the request: %w", err)}
	}
	return b.Commit(r.Context())
}

// readAll reads to the end into buf, which may be too small.
func readAll(buf []byte, r io.Reader, length int64) ([]byte, error) {
	if length > 0 && length < keptBuffer && int64(cap(buf)) <= length {
		buf = make([]byte, 0, length+1) // one more, or the end is seen by growing
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// writeVersion tells from the content type which message is in the body.
func writeVersion(contentType string) (v2 bool, err error) {
	media, params, _ := strings.Cut(contentType, ";")
	if media = strings.TrimSpace(media); media != "" && media != "application/x-protobuf" {
		return false, fmt.Errorf("the content type %q is not taken; want application/x-protobuf", contentType)
	}
	for p := range strings.SplitSeq(params, ";") {
		k, v, ok := strings.Cut(strings.TrimSpace(p), "=")
		switch {
		case k == "":
		case !ok:
			return false, fmt.Errorf("the content type %q has the parameter %q without a value", contentType, p)
		case k == "proto" && v == "io.prometheus.write.v2.Request":
			return true, nil
		case k == "proto" && v != "prometheus.WriteRequest":
			return false, fmt.Errorf("the message %q is not taken; want prometheus.WriteRequest or io.prometheus.write.v2.Request", v)
		}
	}
	return false, nil
}

var errWire = errors.New("a field has not the type that the protocol gives it")

// Fields of prometheus.WriteRequest and io.prometheus.write.v2.Request.
const (
	v1Series = 1

	v1SeriesLabels     = 1
	v1SeriesSamples    = 2
	v1SeriesExemplars  = 3
	v1SeriesHistograms = 4

	v2Symbols = 4
	v2Series  = 5

	v2SeriesLabels     = 1
	v2SeriesSamples    = 2
	v2SeriesHistograms = 3
	v2SeriesExemplars  = 4
	v2SeriesMetadata   = 5
)

// walkV1 hands the samples of a prometheus.WriteRequest to b.
func walkV1(b *Batch, body []byte) (err error) {
	var fc easyproto.FieldContext
	for n := 0; len(body) > 0; {
		if body, err = fc.NextField(body); err != nil {
			return err
		}
		if fc.FieldNum != v1Series {
			continue
		}
		ts, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		if err := seriesV1(b, ts); err != nil {
			return fmt.Errorf("series %d: %w", n, err)
		}
		n++
	}
	return nil
}

// remoteWriteSpace is that of the labels of a series as 1.0 encodes them.
const remoteWriteSpace = 1

// seriesV1 reads the labels first, wherever they stand. A sender's bytes for the
// labels of a series stay the same, so that a known one is not decoded.
func seriesV1(b *Batch, ts []byte) (err error) {
	var fc easyproto.FieldContext
	if e := after(b.prev, remoteWriteSpace); e != nil && len(ts) >= len(e.key) && string(ts[:len(e.key)]) == e.key && onlyOneSample(ts[len(e.key):]) {
		t, v, err := sampleOf(ts[len(e.key)+2:])
		if err != nil {
			return err
		}
		b.use(e)
		b.Point(0, t, v)
		return nil
	}
	rest, samples, sorted := ts, 0, true
	others := false
	for src := ts; len(src) > 0; {
		before := src
		if src, err = fc.NextField(src); err != nil {
			return err
		}
		if fc.FieldNum == v1SeriesLabels {
			sorted = sorted && !others
			continue
		}
		if !others {
			rest, others = before, true
		}
		if fc.FieldNum == v1SeriesSamples || fc.FieldNum == v1SeriesHistograms {
			samples++
		}
	}
	raw := ts[:len(ts)-len(rest)]
	if !others {
		raw = ts
		rest = nil
	}
	if !sorted || !b.beginRaw(remoteWriteSpace, raw) {
		b.BeginBare()
		for src := ts; len(src) > 0; {
			if src, err = fc.NextField(src); err != nil {
				return err
			}
			if fc.FieldNum != v1SeriesLabels {
				continue
			}
			l, ok := fc.MessageData()
			if !ok {
				return errWire
			}
			name, value, err := labelV1(l)
			if err != nil {
				return err
			}
			b.Label(name, value)
		}
		if sorted {
			b.knownAs(remoteWriteSpace, raw, 0)
		}
	}
	if samples == 0 {
		if err := b.Check(); err != nil {
			b.Refuse(0, "invalid_labels", err)
		}
	}
	for src := rest; len(src) > 0; {
		if src, err = fc.NextField(src); err != nil {
			return err
		}
		if fc.FieldNum < v1SeriesSamples || fc.FieldNum > v1SeriesHistograms {
			continue
		}
		msg, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		switch fc.FieldNum {
		case v1SeriesSamples:
			t, v, err := sampleOf(msg)
			if err != nil {
				return err
			}
			b.Point(0, t, v)
		case v1SeriesHistograms:
			var h prompb.Histogram
			if err := h.Unmarshal(msg); err != nil {
				return err
			}
			if h.IsFloatHistogram() {
				b.Histogram(0, h.Timestamp, nil, h.ToFloatHistogram())
			} else {
				b.Histogram(0, h.Timestamp, h.ToIntHistogram(), nil)
			}
		case v1SeriesExemplars:
			var e prompb.Exemplar
			if err := e.Unmarshal(msg); err != nil {
				return err
			}
			lb := labels.NewScratchBuilder(len(e.Labels))
			for _, l := range e.Labels {
				lb.Add(l.Name, l.Value)
			}
			lb.Sort()
			b.Exemplar(exemplar.Exemplar{Labels: lb.Labels(), Value: e.Value, Ts: e.Timestamp, HasTs: true})
		}
	}
	return nil
}

// onlyOneSample reports whether what follows the labels is one sample of less
// than 128 bytes: what most requests hold.
func onlyOneSample(src []byte) bool {
	return len(src) >= 2 && src[0] == v1SeriesSamples<<3|2 && src[1] < 128 && int(src[1]) == len(src)-2
}

// labelV1 reads a label: field 1 is its name, 2 its value.
func labelV1(src []byte) (name, value string, err error) {
	var fc easyproto.FieldContext
	for len(src) > 0 {
		if src, err = fc.NextField(src); err != nil {
			return "", "", err
		}
		ok := true
		switch fc.FieldNum {
		case 1:
			name, ok = fc.String()
		case 2:
			value, ok = fc.String()
		}
		if !ok {
			return "", "", errWire
		}
	}
	return name, value, nil
}

// sampleOf reads a sample of either version: field 1 is its value, 2 its time.
func sampleOf(src []byte) (t int64, v float64, err error) {
	if len(src) > 10 && src[0] == 1<<3|1 && src[9] == 2<<3 {
		if u, n := binary.Uvarint(src[10:]); n == len(src)-10 {
			return int64(u), math.Float64frombits(binary.LittleEndian.Uint64(src[1:])), nil
		}
	}
	var fc easyproto.FieldContext
	for len(src) > 0 {
		if src, err = fc.NextField(src); err != nil {
			return 0, 0, err
		}
		ok := true
		switch fc.FieldNum {
		case 1:
			v, ok = fc.Double()
		case 2:
			t, ok = fc.Int64()
		}
		if !ok {
			return 0, 0, errWire
		}
	}
	return t, v, nil
}

// walkV2 hands the samples of an io.prometheus.write.v2.Request to b.
func walkV2(b *Batch, body []byte) (err error) {
	var fc easyproto.FieldContext
	d := decoderV2{b: b}
	var all [][]byte
	for src := body; len(src) > 0; {
		if src, err = fc.NextField(src); err != nil {
			return err
		}
		switch fc.FieldNum {
		case v2Symbols:
			s, ok := fc.String()
			if !ok {
				return errWire
			}
			d.symbols = append(d.symbols, s)
		case v2Series:
			ts, ok := fc.MessageData()
			if !ok {
				return errWire
			}
			all = append(all, ts) // symbols may come after the series
		}
	}
	if len(d.symbols) > 0 && d.symbols[0] != "" {
		return errors.New("the first symbol must be the empty string")
	}
	for i, ts := range all {
		if err := d.series(i, ts); err != nil {
			return fmt.Errorf("series %d: %w", i, err)
		}
	}
	return nil
}

type decoderV2 struct {
	b       *Batch
	symbols []string
	refs    []uint32
}

func (d *decoderV2) series(n int, ts []byte) (err error) {
	var fc easyproto.FieldContext
	rest, samples := ts, 0
	d.refs = d.refs[:0]
	var bad error
	for src, others := ts, false; len(src) > 0; {
		before := src
		if src, err = fc.NextField(src); err != nil {
			return err
		}
		if !others && fc.FieldNum != v2SeriesLabels {
			rest, others = before, true
		}
		ok := true
		switch fc.FieldNum {
		case v2SeriesLabels:
			d.refs, ok = fc.UnpackUint32s(d.refs)
		case v2SeriesSamples, v2SeriesHistograms:
			samples++
		case v2SeriesMetadata:
			var msg []byte
			if msg, ok = fc.MessageData(); ok {
				var m writev2.Metadata
				if err := m.Unmarshal(msg); err != nil {
					return err
				}
				if max(int(m.HelpRef), int(m.UnitRef)) >= max(len(d.symbols), 1) {
					bad = fmt.Errorf("metadata of series %d names a symbol outside of symbols", n)
				}
			}
		}
		if !ok {
			return errWire
		}
	}
	d.b.BeginBare()
	if err := d.pairs(d.refs, d.b.Label); err != nil {
		bad = fmt.Errorf("labels of series %d: %w", n, err)
	}
	if bad != nil {
		for range max(samples, 1) {
			d.b.Refuse(0, "invalid_labels", bad)
		}
		return nil
	}
	if samples == 0 {
		err := d.b.Check()
		if err == nil {
			err = fmt.Errorf("series %d has neither samples nor histograms", n)
		}
		d.b.Refuse(0, "invalid_labels", err)
	}
	badExemplar := false
	for src := rest; len(src) > 0; {
		if src, err = fc.NextField(src); err != nil {
			return err
		}
		if fc.FieldNum < v2SeriesSamples || fc.FieldNum > v2SeriesExemplars {
			continue
		}
		msg, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		switch fc.FieldNum {
		case v2SeriesSamples:
			t, v, err := sampleOf(msg)
			if err != nil {
				return err
			}
			d.b.Point(0, t, v)
		case v2SeriesHistograms:
			var h writev2.Histogram
			if err := h.Unmarshal(msg); err != nil {
				return err
			}
			if h.IsFloatHistogram() {
				d.b.Histogram(0, h.Timestamp, nil, h.ToFloatHistogram())
			} else {
				d.b.Histogram(0, h.Timestamp, h.ToIntHistogram(), nil)
			}
		case v2SeriesExemplars:
			var e writev2.Exemplar
			if err := e.Unmarshal(msg); err != nil {
				return err
			}
			lb := labels.NewScratchBuilder(len(e.LabelsRefs) / 2)
			if err := d.pairs(e.LabelsRefs, lb.Add); err != nil {
				if !badExemplar {
					d.b.Refuse(0, "invalid_exemplar", fmt.Errorf("exemplar of series %d: %w", n, err))
				}
				badExemplar = true
				continue
			}
			lb.Sort()
			d.b.Exemplar(exemplar.Exemplar{Labels: lb.Labels(), Value: e.Value, Ts: e.Timestamp, HasTs: true})
		}
	}
	return nil
}

// pairs hands the names and values that refs stand for to add.
func (d *decoderV2) pairs(refs []uint32, add func(name, value string)) error {
	if len(refs)%2 != 0 {
		return fmt.Errorf("%d references; names and values come in pairs", len(refs))
	}
	total := 0
	for i := 0; i < len(refs); i += 2 {
		if n := uint32(len(d.symbols)); refs[i] >= n || refs[i+1] >= n {
			return fmt.Errorf("the references %d and %d are outside of symbols (size %d)", refs[i], refs[i+1], n)
		}
		name, value := d.symbols[refs[i]], d.symbols[refs[i+1]]
		if total += len(name) + len(value); total > maxSeriesLabelBytes {
			return fmt.Errorf("its labels take more than %d bytes", maxSeriesLabelBytes)
		}
		add(name, value)
	}
	return nil
}
