package export

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// post sends a body, gzipped when it is worth it. A receiver that asks for
// patience (429, 502, 503, 504) is asked once more; any other answer than 2xx is
// an error that holds what it said.
func post(ctx context.Context, client *http.Client, url, contentType string, body []byte, header http.Header) error {
	zipped := false
	if len(body) > 1024 {
		var z bytes.Buffer
		zw := gzip.NewWriter(&z)
		_, err := zw.Write(body)
		if err := cmp.Or(err, zw.Close()); err != nil {
			return fmt.Errorf("compress what is exported: %w", err)
		}
		body, zipped = z.Bytes(), true
	}
	for try := range 2 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("export metrics: %w", err)
		}
		maps.Copy(req.Header, header)
		req.Header.Set("Content-Type", contentType)
		if zipped {
			req.Header.Set("Content-Encoding", "gzip")
		}
		resp, err := cmp.Or(client, &http.Client{Timeout: 10 * time.Second}).Do(req)
		if err != nil {
			return fmt.Errorf("export metrics: %w", err)
		}
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // a cut answer says enough
		_ = resp.Body.Close()
		switch {
		case resp.StatusCode/100 == 2:
			return nil
		case try == 0 && (resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 502 && resp.StatusCode <= 504):
			wait := time.Second
			if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
				wait = min(time.Duration(s)*time.Second, 30*time.Second)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("export metrics: %s asks to wait: %w", req.URL.Redacted(), ctx.Err())
			case <-time.After(wait):
			}
		default:
			return fmt.Errorf("export metrics: %s answered %s: %s", req.URL.Redacted(), resp.Status, strings.TrimSpace(string(said)))
		}
	}
	panic("BUG: the second try returns")
}
