package ingest

import (
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// decompressor is a reader of one encoding that can be used again.
type decompressor interface {
	io.Reader
	reset(r io.Reader) error
}

type gunzip struct{ gzip.Reader }

func (g *gunzip) reset(r io.Reader) error { return g.Reader.Reset(r) }

type inflate struct{ io.Reader }

func (f *inflate) reset(r io.Reader) (err error) {
	if old, ok := f.Reader.(zlib.Resetter); ok {
		return old.Reset(r, nil)
	}
	f.Reader, err = zlib.NewReader(r)
	return err
}

type unzstd struct{ *zstd.Decoder }

func (z unzstd) reset(r io.Reader) error { return z.Reset(r) }

// maxZstdWindow is what a decoder of zstd may keep; RFC 8878 wants 8 MiB of all.
const maxZstdWindow = 8 << 20

// decompressors are the encodings of HTTP bodies (RFC 9110, 8.4.1, and RFC 8878).
// "deflate" is zlib there.
var decompressors = map[string]*sync.Pool{
	"gzip":    {New: func() any { return new(gunzip) }},
	"deflate": {New: func() any { return new(inflate) }},
	"zstd": {New: func() any {
		// One goroutine: the reader's. So none is left behind by the pool.
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			panic("BUG: options of the zstd decoder: " + err.Error())
		}
		return unzstd{d}
	}},
}

// decompressed reads a body of the content encoding to its end, appending to
// buf. length is the body's, or negative. A body that takes more than most bytes,
// and one that cannot be read as what it is called, is a *badRequest.
func decompressed(encoding string, body io.Reader, length, most int64, buf []byte) ([]byte, error) {
	src := body
	if encoding != "" && encoding != "identity" {
		pool := decompressors[encoding]
		if pool == nil {
			return buf, &badRequest{http.StatusUnsupportedMediaType, fmt.Errorf("the encoding %q is not taken; send gzip, zstd, deflate or none", encoding)}
		}
		d := pool.Get().(decompressor)
		defer pool.Put(d)
		if err := d.reset(body); err != nil {
			return buf, fmt.Errorf("decompress %s: %w", encoding, err)
		}
		src, length = d, -1
	}
	buf, err := readAll(buf, io.LimitReader(src, most+1), length)
	switch {
	case err != nil && length < 0 && encoding != "":
		return buf, fmt.Errorf("decompress %s: %w", encoding, err)
	case err != nil:
		return buf, err
	case int64(len(buf)) > most:
		return buf, &badRequest{http.StatusRequestEntityTooLarge, fmt.Errorf("the request takes more than %d bytes decompressed; send fewer lines at once", most)}
	}
	return buf, nil
}
