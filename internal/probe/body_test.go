package probe_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/vedette-sre/vedette/internal/probe"
)

// pack applies an encoding.
func pack(t testing.TB, name string, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch name {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		var err error
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func serveBody(t testing.TB, encoding string, body []byte) string {
	t.Helper()
	return serveTCP(t, say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s", encoding, len(body), body)))
}

func TestCompression(t *testing.T) {
	text := []byte(strings.Repeat("the shop is open; ", 1000))
	f := func(encoding string, body []byte) {
		t.Helper()
		c := probe.Check{URL: "http://" + serveBody(t, encoding, body), Expect: probe.Expect{BodyRegex: `^(the shop is open; ){1000}$`}}
		r := once(t, c)
		if !r.Success {
			t.Fatalf("%s: %s", encoding, r.Message)
		}
		h := r.Hops[0]
		if h.Bytes != int64(len(body)) || h.Decoded != int64(len(text)) || h.Encoding == "" {
			t.Errorf("%s: got %d bytes, %d decoded, %q; want %d, %d", encoding, h.Bytes, h.Decoded, h.Encoding, len(body), len(text))
		}
		if raw, whole := sample(t, c, r, "probe_http_content_length"), sample(t, c, r, "probe_http_uncompressed_body_length"); raw != float64(len(body)) || whole != float64(len(text)) {
			t.Errorf("%s: got the lengths %g, %g", encoding, raw, whole)
		}
	}
	f("gzip", pack(t, "gzip", text))
	f("X-Gzip", pack(t, "gzip", text))
	f("br", pack(t, "br", text))
	f("zstd", pack(t, "zstd", text))
	f("gzip, identity, br", pack(t, "br", pack(t, "gzip", text)))

	var asked string
	s := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) { asked = r.Header.Get("Accept-Encoding") })
	if r := once(t, probe.Check{URL: s.URL, Compression: []string{"br", "gzip"}}); !r.Success || asked != "br, gzip" {
		t.Errorf("got %q, %s", asked, r.Message)
	}
	// The body of an unknown encoding is judged as it came.
	if r := once(t, probe.Check{URL: "http://" + serveBody(t, "compress", []byte("raw")), Expect: probe.Expect{BodyRegex: "^raw$"}}); !r.Success || r.Hops[0].Encoding != "" {
		t.Errorf("got %+v: %s", r.Hops[0], r.Message)
	}
}

func TestCompressionFaults(t *testing.T) {
	f := func(name, encoding string, body []byte, stage, reason, says string) {
		t.Helper()
		c := probe.Check{URL: "http://" + serveBody(t, encoding, body), MaxBodyBytes: 1 << 16, Timeout: 20 * time.Second}
		r := once(t, c)
		if r.Stage != stage || r.Reason != reason || !strings.Contains(r.Message, says) {
			t.Errorf("%s, %s: got %q, %q: %s; want %q, %q, %q", name, encoding, r.Stage, r.Reason, r.Message, stage, reason, says)
		}
		if h := r.Hops[0]; h.Decoded > 1<<16 {
			t.Errorf("%s, %s: it took %d bytes", name, encoding, h.Decoded)
		}
	}
	zeros := make([]byte, 1<<22)
	for _, e := range []string{"gzip", "br", "zstd"} {
		whole := pack(t, e, []byte(strings.Repeat("open", 100)))
		f("bomb", e, pack(t, e, zeros), "transfer", "too_large", "65536")
		f("none", e, []byte("open open open open"), "body", "bad_reply", "says that it is "+e)
		f("short", e, whole[:len(whole)-3], "body", "bad_reply", "cannot be unpacked")
		f("empty", e, nil, "", "", "")
	}
	f("wrong outer", "br, gzip", pack(t, "br", zeros[:10]), "body", "bad_reply", "br, gzip")
	// A cut connection is told as that, whatever the decoder makes of it.
	cut := serveTCP(t, say("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 100\r\n\r\n\x1f\x8b\x08"))
	if r := once(t, probe.Check{URL: "http://" + cut}); r.Reason != "cut_body" {
		t.Errorf("cut: got %q: %s", r.Reason, r.Message)
	}
}

// TestBomb: a gzip stream of 1 GB of nothing is left at max_body_bytes.
func TestBomb(t *testing.T) {
	sent := make(chan int64, 1)
	addr := serveTCP(t, func(c net.Conn) {
		say("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")(c)
		block := pack(t, "gzip", make([]byte, 1<<20))
		var n int64
		for range 1024 { // gzip streams may follow each other
			m, err := c.Write(block)
			n += int64(m)
			if err != nil {
				break
			}
		}
		sent <- n
	})
	r := once(t, probe.Check{URL: "http://" + addr, MaxBodyBytes: 1 << 20, Timeout: 20 * time.Second})
	if r.Reason != "too_large" || r.Hops[0].Decoded != 1<<20 || r.Hops[0].Bytes > 1<<16 {
		t.Errorf("got %q, %d bytes, %d decoded", r.Reason, r.Hops[0].Bytes, r.Hops[0].Decoded)
	}
	<-sent
}

func TestBodyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("{\"a\": 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got string
	s := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = string(b)
	})
	if r := once(t, probe.Check{URL: s.URL, Method: "POST", BodyFile: file}); !r.Success || got != "{\"a\": 1}\n" {
		t.Errorf("got %q, %s", got, r.Message)
	}
}
