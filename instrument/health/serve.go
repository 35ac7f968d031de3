package health

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync"
	"time"
)

// The HTTP endpoints answer 200 or 503, with the components as Kubernetes lists
// its own when ?verbose is asked for or something is wrong, and with JSON when
// ?format=json or an Accept header asks for it. ?exclude=NAME leaves a component
// out of the judgement.

// Startup is the startup probe: it passes once Started was called.
func (h *Health) Startup() http.Handler {
	return h.probe("startup", func(r Report, _ []string) (bool, string) { return r.Started, r.Why })
}

// Readiness is the readiness probe: it passes while the process has started, does
// not stop, and no critical component is BAD.
func (h *Health) Readiness() http.Handler {
	return h.probe("readiness", func(r Report, exclude []string) (bool, string) {
		if !r.Ready && r.Why != "" && !fromComponent(r) {
			return false, r.Why
		}
		for _, c := range r.Components {
			if c.Critical && c.State == Bad && !slices.Contains(exclude, c.Name) {
				return false, c.Name + ": " + c.Text
			}
		}
		return true, ""
	})
}

// fromComponent reports whether a component is why the process is not ready.
func fromComponent(r Report) bool {
	return slices.ContainsFunc(r.Components, func(c Part) bool { return r.Why == c.Name+": "+c.Text })
}

// Liveness is the liveness probe. It fails for components with the option Live
// alone: a dependency that is down is no reason to restart.
func (h *Health) Liveness() http.Handler {
	return h.probe("liveness", func(r Report, exclude []string) (bool, string) {
		for _, c := range r.Components {
			if c.live && c.State == Bad && !slices.Contains(exclude, c.Name) {
				return false, c.Name + ": " + c.Text
			}
		}
		return true, ""
	})
}

func (h *Health) probe(name string, passes func(r Report, exclude []string) (bool, string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		q := req.URL.Query()
		r := h.Report()
		exclude := q["exclude"]
		ok, why := passes(r, exclude)
		code := http.StatusOK
		if !ok {
			code = http.StatusServiceUnavailable
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if q.Get("format") == "json" || strings.Contains(req.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(r) // a client that left is no fault
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		if ok && !q.Has("verbose") {
			fmt.Fprintln(w, "ok")
			return
		}
		for _, c := range r.Components {
			switch {
			case slices.Contains(exclude, c.Name):
				fmt.Fprintf(w, "[+]%s excluded: ok\n", c.Name)
			case c.State == Bad:
				fmt.Fprintf(w, "[-]%s failed: %s\n", c.Name, c.Text)
			case c.State == Degraded:
				fmt.Fprintf(w, "[!]%s degraded: %s\n", c.Name, c.Text)
			default:
				fmt.Fprintf(w, "[+]%s ok\n", c.Name)
			}
		}
		if ok {
			fmt.Fprintf(w, "%s check passed\n", name)
		} else {
			fmt.Fprintf(w, "%s check failed: %s\n", name, why)
		}
	})
}

// Handler serves all over HTTP: /startupz, /readyz, /livez, /healthz (the same as
// /readyz), /health (the report), and below /debug/ the profiles of net/http/pprof
// and the build. Nothing is registered with http.DefaultServeMux.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /startupz", h.Startup())
	mux.Handle("GET /readyz", h.Readiness())
	mux.Handle("GET /healthz", h.Readiness())
	mux.Handle("GET /livez", h.Liveness())
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		rep := h.Report()
		if r.URL.Query().Get("format") == "json" || strings.Contains(r.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(rep)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, rep.Text())
	})
	mux.Handle("/debug/", h.Debug(nil))
	return mux
}

// Debug serves the profiles (/debug/pprof/) and the build (/debug/build) to
// requests that allow lets through; nil lets all through.
func (h *Health) Debug(allow func(*http.Request) bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/build", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(h.build)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if allow != nil && !allow(r) {
			http.Error(w, "profiles are not open to this request", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// silence is how long a client may say nothing before it gets the text.
const silence = 100 * time.Millisecond

// ListenAndServe serves address until ctx ends. A client that speaks HTTP gets
// Handler; one that says nothing, as nc does, gets the text; one that says "json"
// gets JSON. An address beyond this machine is refused unless AllowRemote is set.
func (h *Health) ListenAndServe(ctx context.Context, address string) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for health at %s: %w", address, err)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && !h.cfg.AllowRemote {
		_ = ln.Close()
		return fmt.Errorf("health at %s would be open to other machines without a password; listen on 127.0.0.1, or set AllowRemote behind a firewall", address)
	}
	return h.ServeSocket(ctx, ln)
}

// ServeSocket is ListenAndServe on a listener, which it closes. It returns when
// all clients have been served.
func (h *Health) ServeSocket(ctx context.Context, ln net.Listener) error {
	var clients sync.WaitGroup
	defer clients.Wait()
	web := &http.Server{Handler: h.Handler(), ReadHeaderTimeout: 5 * time.Second}
	conns := &handed{addr: ln.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})}
	clients.Go(func() { _ = web.Serve(conns) }) // ends with an error that says that it was closed
	stop := context.AfterFunc(ctx, func() {
		_ = ln.Close()
		_ = web.Close()
	})
	defer stop()
	defer func() {
		_ = ln.Close()
		_ = web.Close()
	}()
	slots := make(chan struct{}, h.cfg.MaxClients)
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			return fmt.Errorf("accept a client of health: %w", err)
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = c.Close() // too many at once; they ask again
			continue
		}
		clients.Go(func() {
			defer func() { <-slots }()
			h.client(c, conns)
		})
	}
}

// client serves one connection.
func (h *Health) client(c net.Conn, conns *handed) {
	br := bufio.NewReader(c)
	_ = c.SetReadDeadline(time.Now().Add(silence))
	first, _ := br.Peek(4)
	_ = c.SetReadDeadline(time.Time{})
	if isHTTP(first) {
		conns.hand(&peeked{c, br})
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	r := h.Report()
	if string(first) == "json" {
		_ = json.NewEncoder(c).Encode(r)
	} else {
		_, _ = io.WriteString(c, r.Text())
	}
}

func isHTTP(first []byte) bool {
	return slices.Contains([]string{"GET ", "HEAD", "POST", "PUT ", "OPTI", "DELE", "PRI "}, string(first))
}

// peeked is a connection whose first bytes were looked at.
type peeked struct {
	net.Conn
	r io.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// handed is a listener of connections that another one accepted.
type handed struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *handed) hand(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

func (l *handed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *handed) Close() error { l.once.Do(func() { close(l.closed) }); return nil }

func (l *handed) Addr() net.Addr { return l.addr }

// Query asks the socket at address how its process is.
func Query(ctx context.Context, address string) (Report, error) {
	var r Report
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return r, fmt.Errorf("ask %s for its health: %w", address, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(c, "json\n"); err != nil {
		return r, fmt.Errorf("ask %s for its health: %w", address, err)
	}
	if err := json.NewDecoder(io.LimitReader(c, 1<<20)).Decode(&r); err != nil {
		return r, fmt.Errorf("read the health of %s: %w", address, err)
	}
	return r, nil
}
