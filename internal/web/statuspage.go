package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// StatusSource is where a status page comes from. The functions end with their
// context.
type StatusSource struct {
	// Checks are all checks of the tenant; the page chooses.
	Checks func(context.Context) ([]StatusCheck, error)
	// Spans and Days are those of state.History and state.Days.
	Spans func(ctx context.Context, checks []string, from, to time.Time) (map[string]state.Span, error)
	Days  func(ctx context.Context, checks []string, from, to time.Time) (map[string][]state.Day, error)
	// Windows is that of ReportSource.
	Windows func(ctx context.Context, from, to time.Time) ([]MaintenanceTime, error)
	// Notes are what people wrote for the readers. nil: there are none.
	Notes func(context.Context) ([]StatusNote, error)
}

// StatusCheck is a check as a status page may see it.
type StatusCheck struct {
	ID, Name string
	Labels   map[string]string
	Interval time.Duration
	State    record.State
	Since    time.Time
	Places   []StatusPlace
}

// StatusPlace is how one location sees a check.
type StatusPlace struct {
	Name  string
	State string // "up", "down"; all else is shown as not known
}

// StatusNote is a word to the readers of a status page: about the failure of a
// check, a maintenance window or the page itself. It is shown as it stands.
type StatusNote struct {
	ID     string    `json:"-"`
	Check  string    `json:"check,omitempty"`  // id; the note belongs to the incident that lasted, or was the last, at At
	Window string    `json:"window,omitempty"` // id of a maintenance window
	Page   string    `json:"page,omitempty"`   // path of a page: an announcement
	At     time.Time `json:"at"`
	Until  time.Time `json:"until,omitzero"` // end of an announcement; default a week after At
	Text   string    `json:"text"`
}

// maxNote bounds the text of a note, in bytes.
const maxNote = 4000

// ParseStatusNote reads the body of an object of the kind incident-note.
func ParseStatusNote(id string, body []byte) (StatusNote, error) {
	var n StatusNote
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&n); err != nil {
		return n, record.Errorf(record.Invalid, "note: %w", err)
	}
	about := 0
	for _, s := range []string{n.Check, n.Window, n.Page} {
		if s != "" {
			about++
		}
	}
	switch n.Text, n.ID = strings.TrimSpace(n.Text), id; {
	case about != 1:
		return n, record.Errorf(record.Invalid, "check: %q: want one of check, window and page", n.Check)
	case n.Text == "" || len(n.Text) > maxNote:
		return n, record.Errorf(record.Invalid, "text: %d bytes: want from 1 to %d", len(n.Text), maxNote)
	case n.At.IsZero():
		return n, record.Errorf(record.Invalid, `at: "": want a time such as 2026-11-01T18:04:00Z`)
	}
	return n, nil
}

// StatusOptions are what a page needs besides its configuration.
type StatusOptions struct {
	// URL is the page's public address when the configuration gives none, such
	// as https://vedette.example.com/status/shop.
	URL string
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

const (
	statusFresh   = 10 * time.Second // how long a copy is served
	statusTimeout = 10 * time.Second // for one rendering
	// statusStale is how old a copy may become before the page itself says so.
	statusStale = 5 * time.Minute
)

// StatusPage is one public page with its feeds and badges. As a handler it
// serves them at /; StatusHandler puts pages under /status. What it serves is
// rendered at most once in ten seconds, however many read it, and while the
// store does not answer the last copy stays. Safe for concurrent use.
type StatusPage struct {
	cfg  StatusPageConfig
	src  StatusSource
	o    StatusOptions
	zone *time.Location
	url  string
	csp  string

	last      atomic.Pointer[statusCopy]
	rendering sync.Mutex
	// Under rendering: the error of the first attempts and when the next is due.
	err   error
	retry time.Time
}

// statusCopy is a page as it was rendered.
type statusCopy struct {
	view  statusView
	next  time.Time // when it is to be rendered anew
	files map[string]*statusFile
}

type statusFile struct {
	mime, etag string
	body, gz   []byte
}

// NewStatusPage makes a page from a validated configuration.
func NewStatusPage(cfg StatusPageConfig, src StatusSource, o StatusOptions) (*StatusPage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(cfg.Zone)
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &StatusPage{cfg: cfg, src: src, o: o, zone: zone, url: strings.TrimSuffix(cfg.URL, "/")}
	if p.url == "" {
		p.url = strings.TrimSuffix(o.URL, "/")
	}
	sum := sha256.Sum256([]byte(statusStyle))
	images := ""
	if u, err := url.Parse(cfg.LogoURL); err == nil && u.Host != "" {
		images = "; img-src " + u.Scheme + "://" + u.Host
	}
	p.csp = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'" + images + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return p, nil
}

// Path is the page's path below /status.
func (p *StatusPage) Path() string { return p.cfg.Path }

// Listen is the address of the page's own listener, "" for none.
func (p *StatusPage) Listen() string { return p.cfg.Listen }

// ServeHTTP serves the page and nothing else, for a listener of its own.
func (p *StatusPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.serve(w, r, "", strings.TrimPrefix(r.URL.Path, "/"))
}

// StatusHandler serves the pages under /status/PATH, and leads from /status to
// the first. pages is asked with every request.
func StatusHandler(pages func() []*StatusPage) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all := pages()
		rest := strings.TrimPrefix(r.URL.Path, "/status")
		if rest == "" || rest == "/" {
			if len(all) == 0 {
				statusNotFound(w)
				return
			}
			// Relative: a proxy may have taken off a part of the path.
			to := all[0].cfg.Path
			if rest == "" {
				to = "status/" + to
			}
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		name, file, slash := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
		for _, p := range all {
			if p.cfg.Path != name {
				continue
			}
			if slash && file == "" {
				w.Header().Set("Location", "../"+name)
				w.WriteHeader(http.StatusMovedPermanently)
				return
			}
			p.serve(w, r, name+"/", file)
			return
		}
		statusNotFound(w)
	})
}

// statusNotFound is the one answer to everything that is not shown, whether it
// exists or not.
func statusNotFound(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=10")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	statusHeaders(h)
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprintln(w, "There is nothing here.")
}

func statusHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
}

// serve answers for a file of the page; links on the page begin with prefix.
func (p *StatusPage) serve(w http.ResponseWriter, r *http.Request, prefix, file string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	h := w.Header()
	statusHeaders(h)
	c, err := p.copy(r.Context())
	if err != nil {
		h.Set("Retry-After", "10")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "The status is not known at the moment. Try again in a minute.")
		return
	}
	var f *statusFile
	csp := "default-src 'none'; frame-ancestors 'none'"
	name, isBadge := strings.CutPrefix(file, "badge/")
	switch {
	case file == "":
		csp = p.csp
		if f = c.files["page"]; prefix != "" {
			f = c.files["page below"]
		}
	case isBadge:
		if b, ok := c.view.badges[strings.TrimSuffix(name, ".svg")]; ok && path.Ext(name) == ".svg" {
			svg := b.state()
			if r.URL.Query().Get("show") == "uptime" {
				svg = b.uptime(p.cfg.HistoryDays)
			}
			f = newStatusFile("image/svg+xml", []byte(svg), false)
			csp += "; style-src 'unsafe-inline'; sandbox"
			h.Set("Access-Control-Allow-Origin", "*")
		}
	case file == "feed.atom" || file == "feed.rss" || file == "status.json":
		f = c.files[file]
		h.Set("Access-Control-Allow-Origin", "*")
	}
	if f == nil {
		statusNotFound(w)
		return
	}
	h.Set("Content-Security-Policy", csp)
	h.Set("Content-Type", f.mime)
	h.Set("Cache-Control", "public, max-age=10")
	h.Set("ETag", f.etag)
	h.Set("Vary", "Accept-Encoding")
	if sameTag(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.body
	if f.gz != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		body = f.gz
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that left is no fault of ours
	}
}

// copy returns the page, rendered anew when it is due. One request renders;
// the others get the copy from before, or wait when there is none.
func (p *StatusPage) copy(ctx context.Context) (*statusCopy, error) {
	c := p.last.Load()
	if c != nil && p.o.Now().Before(c.next) {
		return c, nil
	}
	if c == nil {
		p.rendering.Lock()
	} else if !p.rendering.TryLock() {
		return c, nil
	}
	defer p.rendering.Unlock()
	start := p.o.Now()
	c = p.last.Load()
	if c != nil && start.Before(c.next) {
		return c, nil
	}
	if c == nil && start.Before(p.retry) {
		return nil, p.err
	}
	// The copy is for many: it must not fail because this reader left.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTimeout)
	defer cancel()
	v, err := p.load(ctx, start)
	fresh := &statusCopy{view: v}
	if err == nil {
		fresh.files, err = p.render(v)
	}
	// A page that is dear to render takes at most a twentieth of a core.
	next := p.o.Now().Add(max(statusFresh, 20*p.o.Now().Sub(start)))
	if err == nil {
		if p.err != nil {
			p.o.Log.Info("a status page can be rendered again", "page", p.cfg.Path)
		}
		fresh.next, p.err = next, nil
		p.last.Store(fresh)
		return fresh, nil
	}
	if p.err == nil {
		p.o.Log.Error("a status page was not rendered; readers get the last copy", "page", p.cfg.Path, "err", err)
	}
	p.err, p.retry = err, next
	if c == nil {
		return nil, err
	}
	old := *c
	old.next = next
	if !old.view.Stale && start.Sub(old.view.at) > statusStale {
		old.view.Stale = true
		if files, err := p.render(old.view); err == nil {
			old.files = files
		}
	}
	p.last.Store(&old)
	return &old, nil
}

//go:embed statuspage/style.css
var statusStyle string

//go:embed statuspage/page.html
var statusHTML string

var statusTemplate = template.Must(template.New("page").Parse(statusHTML))

// render makes the files of a page.
func (p *StatusPage) render(v statusView) (map[string]*statusFile, error) {
	files := map[string]*statusFile{}
	for name, prefix := range map[string]string{"page": "", "page below": p.cfg.Path + "/"} {
		var b bytes.Buffer
		err := statusTemplate.Execute(&b, struct {
			statusView
			Style  template.CSS
			Prefix string
		}{v, template.CSS(statusStyle), prefix})
		if err != nil {
			return nil, err
		}
		files[name] = newStatusFile("text/html; charset=utf-8", b.Bytes(), true)
	}
	js, err := json.Marshal(v.json(p.url))
	if err != nil {
		return nil, err
	}
	atom, err := v.atom(p.url)
	if err != nil {
		return nil, err
	}
	rss, err := v.rss(p.url)
	if err != nil {
		return nil, err
	}
	files["status.json"] = newStatusFile("application/json", append(js, '\n'), true)
	files["feed.atom"] = newStatusFile("application/atom+xml; charset=utf-8", atom, true)
	files["feed.rss"] = newStatusFile("application/rss+xml; charset=utf-8", rss, true)
	return files, nil
}

func newStatusFile(mime string, body []byte, compress bool) *statusFile {
	sum := sha256.Sum256(body)
	f := &statusFile{mime: mime, body: body, etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
	if compress {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body) // a buffer takes all
		_ = z.Close()
		f.gz = b.Bytes()
	}
	return f
}
