package probe_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vedette-sre/vedette/internal/probe"
)

// sameRequest compares what two renderings of a request say to a server.
func sameRequest(t *testing.T, method, address, body, name, value string, proxied bool) {
	t.Helper()
	ours, theirs, err := probe.Wire(method, address, body, map[string]string{name: value}, proxied)
	if err != nil {
		return // neither is sent
	}
	var said [2]string
	for i, text := range []string{ours, theirs} {
		br := bufio.NewReader(strings.NewReader(text))
		req, err := http.ReadRequest(br)
		if err != nil {
			said[i] = "unreadable" // a method or name that is no token
			continue
		}
		b, _ := io.ReadAll(req.Body)
		rest, _ := io.ReadAll(br)
		said[i] = fmt.Sprintf("%s %s %s %v close %v %q %q", req.Method, req.RequestURI, req.Host, req.Header, req.Close, b, rest)
	}
	if said[0] != said[1] {
		t.Errorf("got  %s\nwant %s\nfrom %q", said[0], said[1], ours)
	}
}

func TestWire(t *testing.T) {
	f := func(method, address, body, name, value string) {
		t.Helper()
		sameRequest(t, method, address, body, name, value, false)
		sameRequest(t, method, address, body, name, value, true)
	}
	f("GET", "http://shop.test", "", "X-A", "1")
	f("GET", "http://shop.test:8080/a%20b?c=d#e", "", "Accept", "text/html")
	f("GET", "http://[::1]:80/", "", "User-Agent", "")
	f("POST", "http://shop.test/", "a=b", "Content-Type", "text/plain")
	f("POST", "http://shop.test/", "", "X", "1")
	f("DELETE", "http://shop.test/", "", "X", "1")
	f("DELETE", "http://shop.test/", "x", "X", "1")
	f("GET", "http://shop.test/", "", "X", "ü")
	f("GET", "http://shop.test/", "", "X", " padded ")
	f("GET", "http://shop.test/", "", "X", "a\r\nY: b") // a variable of a flow
	f("GET", "http://shop.test/", "x", "Content-Length", "5")
	f("GET", "http://shop.test/", "", "Connection", "keep-alive")
	f("GET", "http://shop.test/", "", "Trailer", "X")
	f("GET", "http://shop.test/ü?q=ü", "", "X", "1")
}

func FuzzWire(f *testing.F) {
	f.Add("GET", "http://shop.test/a?b", "body", "X", "v", true)
	f.Add("PUT", "http://shop.test", "", "Transfer-Encoding", "chunked", false)
	f.Fuzz(func(t *testing.T, method, address, body, name, value string, proxied bool) {
		if strings.HasPrefix(address, "http") {
			sameRequest(t, method, address, body, name, value, proxied)
		}
	})
}
