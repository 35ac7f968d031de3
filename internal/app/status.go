package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
	"github.com/vedette-sre/vedette/internal/web"
)

// statusPages are the public pages of all tenants and the listeners of those
// that have one of their own. Safe for concurrent use.
type statusPages struct {
	house *house
	log   *slog.Logger
	pages atomic.Pointer[[]*web.StatusPage]

	mu        sync.Mutex
	listeners map[string]*statusListener
}

type statusListener struct {
	srv  *http.Server
	page atomic.Pointer[web.StatusPage]
	done chan struct{}
}

func newStatusPages(h *house, log *slog.Logger) *statusPages {
	return &statusPages{house: h, log: log, listeners: map[string]*statusListener{}}
}

// all lists the pages in force.
func (s *statusPages) all() []*web.StatusPage {
	if p := s.pages.Load(); p != nil {
		return *p
	}
	return nil
}

// apply puts the pages of a plan in force. A listener that cannot be had is an
// error and the pages before stay.
func (s *statusPages) apply(p *plan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(p.tenants))
	for n := range p.tenants {
		names = append(names, string(n))
	}
	sort.Strings(names)
	var pages []*web.StatusPage
	for _, n := range names {
		tenant := record.Tenant(n)
		for _, c := range p.tenants[tenant].conf.StatusPages {
			page, err := web.NewStatusPage(c, s.source(tenant), web.StatusOptions{
				URL: strings.TrimSuffix(p.conf.ExternalURL, "/") + "/status/" + c.Path, Log: s.log,
			})
			if err != nil {
				return fmt.Errorf("status page %s: %w", c.Path, err)
			}
			pages = append(pages, page)
		}
	}
	fresh := map[string]*statusListener{}
	for _, page := range pages {
		at := page.Listen()
		if at == "" {
			continue
		}
		l := s.listeners[at]
		if l == nil {
			var err error
			if l, err = s.listen(at); err != nil {
				for a, x := range fresh {
					if s.listeners[a] == nil {
						x.close()
					}
				}
				return err
			}
		}
		l.page.Store(page)
		fresh[at] = l
	}
	for at, l := range s.listeners {
		if fresh[at] == nil {
			l.close()
		}
	}
	s.listeners = fresh
	s.pages.Store(&pages)
	return nil
}

func (s *statusPages) listen(at string) (*statusListener, error) {
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("status_pages: listen on %s: %w", at, err)
	}
	l := &statusListener{done: make(chan struct{})}
	l.srv = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.page.Load().ServeHTTP(w, r) }),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(l.done)
		if err := l.srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("a listener of a status page ended", "address", at, "err", err)
		}
	}()
	return l, nil
}

func (l *statusListener) close() {
	l.srv.Close()
	<-l.done
}

func (s *statusPages) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		l.close()
	}
	s.listeners = map[string]*statusListener{}
}

// views lists the listeners for the screen that shows them.
func (s *statusPages) views() (out []web.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.listeners {
		out = append(out, web.Listener{Name: "status page", Address: at, State: "listening"})
	}
	return out
}

// source is where the pages of a tenant come from. The tenant is opened when it
// is not.
func (s *statusPages) source(name record.Tenant) web.StatusSource {
	return web.StatusSource{
		Checks: func(ctx context.Context) ([]web.StatusCheck, error) {
			return with(ctx, s.house, name, func(src web.StatusSource) ([]web.StatusCheck, error) { return src.Checks(ctx) })
		},
		Spans: func(ctx context.Context, checks []string, from, to time.Time) (map[string]state.Span, error) {
			return with(ctx, s.house, name, func(src web.StatusSource) (map[string]state.Span, error) { return src.Spans(ctx, checks, from, to) })
		},
		Days: func(ctx context.Context, checks []string, from, to time.Time) (map[string][]state.Day, error) {
			return with(ctx, s.house, name, func(src web.StatusSource) (map[string][]state.Day, error) { return src.Days(ctx, checks, from, to) })
		},
		Windows: func(ctx context.Context, from, to time.Time) ([]web.MaintenanceTime, error) {
			return with(ctx, s.house, name, func(src web.StatusSource) ([]web.MaintenanceTime, error) { return src.Windows(ctx, from, to) })
		},
		Notes: func(ctx context.Context) ([]web.StatusNote, error) {
			return with(ctx, s.house, name, func(src web.StatusSource) ([]web.StatusNote, error) { return src.Notes(ctx) })
		},
	}
}

// with asks a tenant's own source while the tenant is open.
func with[T any](ctx context.Context, h *house, name record.Tenant, ask func(web.StatusSource) (T, error)) (T, error) {
	t, release, err := h.Use(ctx, name)
	if err != nil {
		var none T
		return none, err
	}
	defer release()
	return ask(t.StatusSource())
}
