package probe

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// encodings are those that a check may ask for.
var encodings = []string{"gzip", "br", "zstd", "identity"}

// bodyRead is what came of reading a body.
type bodyRead struct {
	body     []byte // decoded, at most the limit
	bytes    int64  // as they came, before decoding
	encoding string // what was undone, "" when nothing
	tooLarge bool
	err      error // of the connection
	garbled  error // of the decoding
}

// readBody reads a body up to the limit and undoes its encodings. An encoding
// that is not known leaves the body as it is.
func readBody(r io.Reader, encoding string, limit int64) (got bodyRead) {
	return readSized(r, encoding, limit, -1)
}

// readSized is readBody for a body that says how long it is; below 0: it does
// not.
func readSized(r io.Reader, encoding string, limit, length int64) (got bodyRead) {
	raw := &countReader{r: r}
	defer func() { got.bytes = raw.n }()
	var src io.Reader = raw
	if list := contentEncodings(encoding); len(list) > 0 {
		br := bufio.NewReader(raw)
		if _, err := br.Peek(1); err != nil {
			got.err = raw.err // nil for an empty body, as of a HEAD
			return
		}
		got.encoding = strings.Join(list, ", ")
		closes, err := []func(){}, error(nil)
		defer func() {
			for _, f := range closes {
				f()
			}
		}()
		src = br
		for i := len(list) - 1; i >= 0 && err == nil; i-- { // the last was applied last
			var done func()
			if src, done, err = decoder(list[i], src); err == nil {
				closes = append(closes, done)
			}
		}
		if err != nil {
			if got.err = raw.err; got.err == nil {
				got.garbled = err
			}
			return
		}
	}
	var err error
	got.body, err = readAll(io.LimitReader(src, limit+1), length)
	switch {
	case int64(len(got.body)) > limit:
		got.body, got.tooLarge = got.body[:limit], true
	case raw.err != nil:
		got.err = raw.err
	case err != nil:
		got.garbled = err
	}
	return
}

// readAll is io.ReadAll with room for a body of the length that was announced,
// as far as that may be believed.
func readAll(r io.Reader, length int64) ([]byte, error) {
	b := make([]byte, 0, max(min(length, 64<<10)+1, 512))
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
	}
}

// contentEncodings reads the header of that name; nil when there is nothing that
// can be undone.
func contentEncodings(header string) []string {
	if header == "" {
		return nil
	}
	var list []string
	for name := range strings.SplitSeq(header, ",") {
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "", "identity":
		case "x-gzip":
			list = append(list, "gzip")
		case "gzip", "br", "zstd":
			list = append(list, name)
		default:
			return nil
		}
	}
	return list
}

// decoder undoes one encoding; done frees it.
func decoder(name string, r io.Reader) (src io.Reader, done func(), err error) {
	switch name {
	case "gzip":
		zr, err := gzip.NewReader(r)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return zr, func() {}, err
	case "br":
		return brotli.NewReader(r), func() {}, nil
	case "zstd":
		// RFC 9659: a window of at most 8 MiB.
		zr, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, nil, err
		}
		return zr, zr.Close, nil
	}
	return nil, nil, fmt.Errorf("the encoding %q is not known", name)
}
