package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
)

// countedBody reports a body that passes the limit while it is read.
type countedBody struct {
	io.ReadCloser
	over func()
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var mbe *http.MaxBytesError
	if b.over != nil && errors.As(err, &mbe) {
		b.over()
		b.over = nil
	}
	return n, err
}

func baseContext(ctx context.Context) func(net.Listener) context.Context {
	return func(net.Listener) context.Context { return ctx }
}
