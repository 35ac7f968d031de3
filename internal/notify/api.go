package notify

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// bodyMax bounds a request: Prometheus sends at most some hundred alerts at
// once.
const bodyMax = 16 << 20

const apiPrefix = "/api/v2"

// Handler serves Alertmanager's API v2, at /api/v2 or with that prefix stripped.
// POST alerts, POST silences and DELETE silence answer when their change is on
// disk.
func (n *Notifier) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if path != apiPrefix && !strings.HasPrefix(path, apiPrefix+"/") {
			r2 := r.Clone(r.Context())
			r2.URL.Path, r2.URL.RawPath = apiPrefix+"/"+strings.TrimPrefix(path, "/"), ""
			r, path = r2, r2.URL.Path
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, bodyMax)
		}
		path = strings.TrimPrefix(path, apiPrefix)
		writing := r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
		switch {
		case writing && n.book.closed():
			http.Error(w, errLedgerClosed.Error(), http.StatusServiceUnavailable)
		case writing && strings.HasPrefix(path, "/silence"):
			n.serveSilence(w, r)
		case path == "/status":
			n.serveStatus(w, r)
		default:
			n.api.Handler.ServeHTTP(w, r)
		}
	})
}

// serveSilence holds the answer back until the silence is on disk.
func (n *Notifier) serveSilence(w http.ResponseWriter, r *http.Request) {
	held := &heldAnswer{header: make(http.Header), code: http.StatusOK}
	n.api.Handler.ServeHTTP(held, r)
	if held.code < 300 {
		if err := n.journal.sync(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	held.send(w)
}

// serveStatus replaces the configuration's text by ours, from which more
// secrets are removed than the library knows of.
func (n *Notifier) serveStatus(w http.ResponseWriter, r *http.Request) {
	held := &heldAnswer{header: make(http.Header), code: http.StatusOK}
	n.api.Handler.ServeHTTP(held, r)
	var status map[string]any
	if held.code == http.StatusOK && json.Unmarshal(held.body.Bytes(), &status) == nil {
		status["config"] = map[string]string{"original": n.Config().Text()}
		if b, err := json.Marshal(status); err == nil {
			held.body.Reset()
			held.body.Write(b)
			held.header.Del("Content-Length")
		}
	}
	held.send(w)
}

// heldAnswer is an answer in memory.
type heldAnswer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (h *heldAnswer) Header() http.Header         { return h.header }
func (h *heldAnswer) WriteHeader(code int)        { h.code = code }
func (h *heldAnswer) Write(b []byte) (int, error) { return h.body.Write(b) }

func (h *heldAnswer) send(w http.ResponseWriter) {
	for k, v := range h.header {
		w.Header()[k] = v
	}
	w.WriteHeader(h.code)
	// The client may be gone; there is nobody to tell.
	_, _ = w.Write(h.body.Bytes())
}
