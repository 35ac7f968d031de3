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

	"github.com/vedette-sre/vedette/internal/fleet"
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

// source is where the pages of a tenant come from.
func (s *statusPages) source(name record.Tenant) web.StatusSource {
	use := func(ctx context.Context, f func(*web.Tenant) error) error {
		t, release, err := s.house.Use(ctx, name)
		if err != nil {
			return err
		}
		defer release()
		return f(t)
	}
	return web.StatusSource{
		Checks: func(ctx context.Context) (out []web.StatusCheck, err error) {
			err = use(ctx, func(t *web.Tenant) error {
				silent := map[string]bool{}
				for _, l := range t.Hub.Locations() {
					silent[l.Name] = l.State != "up"
				}
				now := time.Now()
				for _, c := range t.Book.Checks() {
					v, _ := t.Verdicts.Verdict(c.ID)
					sc := web.StatusCheck{ID: c.ID, Name: c.Name, Labels: c.Labels, Interval: c.Interval, State: v.State, Since: v.Since}
					for _, l := range t.Book.Places(c.ID) {
						st := "unknown"
						if l == fleet.HubLocation || !silent[l] {
							st = t.Board.Get(ctx, state.Place{Check: c.ID, Location: l}, now).State
						}
						sc.Places = append(sc.Places, web.StatusPlace{Name: l, State: st})
					}
					out = append(out, sc)
				}
				return nil
			})
			return out, err
		},
		Spans: func(ctx context.Context, checks []string, from, to time.Time) (m map[string]state.Span, err error) {
			err = use(ctx, func(t *web.Tenant) error { m, err = t.History.Spans(ctx, checks, from, to); return err })
			return m, err
		},
		Days: func(ctx context.Context, checks []string, from, to time.Time) (m map[string][]state.Day, err error) {
			err = use(ctx, func(t *web.Tenant) error { m, err = t.Days.List(ctx, checks, from, to); return err })
			return m, err
		},
		Windows: func(ctx context.Context, from, to time.Time) (out []web.MaintenanceTime, err error) {
			err = use(ctx, func(t *web.Tenant) error { out = occurrences(t.Book, from, to); return nil })
			return out, err
		},
		Notes: func(ctx context.Context) (out []web.StatusNote, err error) {
			err = use(ctx, func(t *web.Tenant) error {
				os, err := t.Objects.List(ctx, state.KindNote)
				for _, o := range os {
					if n, err := web.ParseStatusNote(o.ID, []byte(o.Body)); err == nil {
						out = append(out, n)
					}
				}
				return err
			})
			return out, err
		},
	}
}

// maxOccurrences bounds how many times of one recurring window are looked at.
const maxOccurrences = 2000

// occurrences lists the maintenance times that touch a span.
func occurrences(b web.CheckBook, from, to time.Time) (out []web.MaintenanceTime) {
	for _, w := range b.Windows() {
		var ids []string
		for _, c := range b.Checks() {
			if w.Covers(c.ID, c.Labels) {
				ids = append(ids, c.ID)
			}
		}
		at := from
		for range maxOccurrences {
			start, end, _, ok := w.At(at)
			if !ok || !start.Before(to) {
				break
			}
			out = append(out, web.MaintenanceTime{ID: w.ID, Checks: ids, Start: start, End: end, Excluded: w.Excluded()})
			if at = end; w.Cron == "" {
				break
			}
		}
	}
	return out
}

// report is where the uptime report of a tenant comes from.
func (t *tenant) report() web.ReportSource {
	return web.ReportSource{
		Checks: func(context.Context) ([]web.UptimeCheck, error) {
			var out []web.UptimeCheck
			for _, c := range t.book.Checks() {
				out = append(out, web.UptimeCheck{ID: c.ID, Name: c.Name, Labels: c.Labels, Interval: c.Interval})
			}
			return out, nil
		},
		Spans: t.history.Spans, Days: t.days.List,
		Windows: func(_ context.Context, from, to time.Time) ([]web.MaintenanceTime, error) {
			return occurrences(t.book, from, to), nil
		},
	}
}
