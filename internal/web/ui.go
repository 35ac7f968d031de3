package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed all:dist
var dist embed.FS

type asset struct {
	body, gz []byte
	etag     string
	mime     string
}

// uiHandler serves the built UI from memory, compressed when the client takes
// it. Names are stable, so an ETag decides what is new.
func uiHandler() http.Handler {
	assets := map[string]*asset{}
	root, err := fs.Sub(dist, "dist")
	if err != nil {
		panic("BUG: no dist: " + err.Error())
	}
	err = fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, p)
		if err != nil {
			return err
		}
		name, gz := strings.CutSuffix(p, ".gz")
		a := assets[name]
		if a == nil {
			a = &asset{mime: mimeType(name)}
			assets[name] = a
		}
		if gz {
			a.gz = b
		} else {
			a.body = b
			sum := sha256.Sum256(b)
			a.etag = `"` + hex.EncodeToString(sum[:12]) + `"`
		}
		return nil
	})
	if err != nil {
		panic("BUG: dist is unreadable: " + err.Error())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
		if name == "" {
			name = "index.html"
		}
		a := assets[name]
		if a == nil || a.body == nil {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
		h.Set("Content-Type", a.mime)
		h.Set("ETag", a.etag)
		h.Set("Cache-Control", "no-cache")
		h.Set("Vary", "Accept-Encoding")
		if sameTag(r.Header.Get("If-None-Match"), a.etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		body := a.body
		if a.gz != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			body = a.gz
		}
		_, _ = w.Write(body) // a client that left is no fault of ours
	})
}

// sameTag reports whether If-None-Match names the tag; a proxy may have made it
// weak.
func sameTag(header, tag string) bool {
	for v := range strings.SplitSeq(header, ",") {
		if v = strings.TrimPrefix(strings.TrimSpace(v), "W/"); v == tag || v == "*" {
			return true
		}
	}
	return false
}

// takesGzip reads Accept-Encoding; "gzip;q=0" is a no.
func takesGzip(header string) bool {
	for v := range strings.SplitSeq(header, ",") {
		name, q, _ := strings.Cut(strings.ReplaceAll(v, " ", ""), ";")
		if strings.EqualFold(name, "gzip") {
			return strings.Trim(strings.TrimPrefix(q, "q="), "0.") != "" || q == ""
		}
	}
	return false
}

func mimeType(name string) string {
	switch path.Ext(name) {
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case "":
		return "text/plain; charset=utf-8"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}
