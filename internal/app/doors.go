package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/vedette-sre/vedette/instrument/health"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/web"
)

// ListenerConfig is an address beside the one port, for programs that expect a
// protocol at its well-known place.
type ListenerConfig struct {
	Protocol string `yaml:"protocol"`
	// Address is host:port, or off. Default: the protocol's port on 127.0.0.1.
	Address string `yaml:"address"`
	// Tenant gets what comes; default "default". For protocols that carry no token.
	Tenant string `yaml:"tenant"`
	// Allow are the networks that may send, such as 10.0.0.0/8, to protocols that
	// carry no token. An address beyond this machine needs it.
	Allow []string `yaml:"allow"`
}

// protocol is what stands at a listener. One of paths, conn, packet and serve is
// set, or conn and packet.
type protocol struct {
	name    string
	address string // by default; "" for not listening
	network string // tcp, udp, or "" for both
	tokens  bool   // its requests carry tokens: who may send is for auth to say
	// paths are those of the one port that are served here, too.
	paths  []string
	packet func(t *web.Tenant, ctx context.Context, p []byte)
	conn   func(t *web.Tenant, ctx context.Context, c net.Conn)
	// serve takes the listener and ends it with the context.
	serve func(d *doors, ctx context.Context, ln net.Listener) error
}

var openTSDBPaths = []string{"/api/put", "/api/version", "/api/stats"}

// protocols in the order in which they are told of.
var protocols = []protocol{
	{name: "otlp_grpc", address: "127.0.0.1:4317", network: "tcp", tokens: true, serve: (*doors).serveOTLP},
	{name: "otlp_http", address: "127.0.0.1:4318", network: "tcp", tokens: true, paths: []string{"/v1/metrics"}},
	{name: "influx", address: "127.0.0.1:8086", network: "tcp", tokens: true, paths: []string{"/write", "/api/v2/write", "/query", "/ping", "/health"}},
	{name: "influx_udp", network: "udp",
		packet: func(t *web.Tenant, ctx context.Context, p []byte) { t.Influx.ServePacket(ctx, p) }},
	{name: "opentsdb", address: "127.0.0.1:4242", network: "tcp",
		conn: func(t *web.Tenant, ctx context.Context, c net.Conn) { t.OpenTSDB.ServeConn(ctx, c) }},
	{name: "graphite", address: "127.0.0.1:2003", network: "tcp",
		conn: func(t *web.Tenant, ctx context.Context, c net.Conn) { t.Graphite.ServeConn(ctx, c) }},
	{name: "graphite_pickle", address: "127.0.0.1:2004", network: "tcp",
		conn: func(t *web.Tenant, ctx context.Context, c net.Conn) { t.Graphite.ServePickleConn(ctx, c) }},
	{name: "graphite_udp", network: "udp",
		packet: func(t *web.Tenant, ctx context.Context, p []byte) { t.Graphite.ServePacket(ctx, p) }},
	{name: "statsd", address: "127.0.0.1:8125",
		packet: func(t *web.Tenant, ctx context.Context, p []byte) { t.StatsD.ServePacket(ctx, p) },
		conn:   func(t *web.Tenant, ctx context.Context, c net.Conn) { t.StatsD.ServeConn(ctx, c) }},
	{name: "health", address: "127.0.0.1:10001", network: "tcp",
		serve: func(d *doors, ctx context.Context, ln net.Listener) error { return d.health.ServeSocket(ctx, ln) }},
}

func protocolNames() string {
	var names []string
	for _, p := range protocols {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

func (l ListenerConfig) validate(auth bool) error {
	i := slices.IndexFunc(protocols, func(p protocol) bool { return p.name == l.Protocol })
	if i < 0 {
		return &fieldError{".protocol", fmt.Errorf("%q: want one of %s", l.Protocol, protocolNames())}
	}
	p := protocols[i]
	for n, a := range l.Allow {
		if _, err := netip.ParsePrefix(a); err != nil {
			return &fieldError{fmt.Sprintf(".allow[%d]", n), fmt.Errorf("%q: want a network such as 10.0.0.0/8 or 192.168.1.7/32", a)}
		}
	}
	if l.Address == "off" {
		return nil
	}
	address := cmp.Or(l.Address, p.address)
	if address == "" {
		return &fieldError{".address", fmt.Errorf("is missing; %s has no default one; want host:port", l.Protocol)}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return &fieldError{".address", fmt.Errorf("%q is not host:port; want an address such as %s, or off", l.Address, cmp.Or(p.address, "127.0.0.1:8089"))}
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return &fieldError{".address", fmt.Errorf("port %q: want a number from 0 to 65535", port)}
	}
	switch {
	case loopback(host):
	case p.tokens && !auth:
		return &fieldError{".address", fmt.Errorf("%s is reachable from outside, but auth names no user and no token; add one, or listen on 127.0.0.1", address)}
	case !p.tokens && len(l.Allow) == 0:
		return &fieldError{".address", fmt.Errorf("%s is reachable from outside, and %s carries no password or token; name with allow the networks that may send, or listen on 127.0.0.1", address, l.Protocol)}
	}
	return nil
}

// doors are the listeners in force. Safe for concurrent use.
type doors struct {
	tenants web.Tenants
	web     *web.Server
	health  *health.Health
	log     *slog.Logger

	mu    sync.Mutex
	open  map[string]*door // by key
	views []web.Listener
}

// door is one listener.
type door struct {
	protocol
	at      string
	tenant  record.Tenant
	allow   []netip.Prefix
	ln      net.Listener
	pc      net.PacketConn
	srv     *http.Server
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	conns   atomic.Int64
	refused atomic.Int64
	d       *doors
}

// maxConns is how many connections a listener holds at once.
const maxConns = 1000

func newDoors(t web.Tenants, w *web.Server, h *health.Health, log *slog.Logger) *doors {
	return &doors{tenants: t, web: w, health: h, log: log, open: map[string]*door{}}
}

// apply opens the listeners of a configuration and closes those that it does not
// have. A default address that is taken is told of and left out; one that was
// asked for is an error, and the listeners before stay.
func (d *doors) apply(c *Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	type wish struct {
		ListenerConfig
		p     protocol
		asked bool
	}
	var wishes []wish
	for _, p := range protocols {
		named := false
		for _, l := range c.Listeners {
			if l.Protocol != p.name {
				continue
			}
			named = true
			if l.Address == "off" {
				continue
			}
			l.Address = cmp.Or(l.Address, p.address)
			wishes = append(wishes, wish{l, p, true})
		}
		if !named && p.address != "" && !c.noDefaultListeners {
			wishes = append(wishes, wish{ListenerConfig{Protocol: p.name, Address: p.address}, p, false})
		}
	}
	fresh := map[string]*door{}
	var views []web.Listener
	var errs []error
	for _, w := range wishes {
		w.Tenant = cmp.Or(w.Tenant, string(record.DefaultTenant))
		key := fmt.Sprint(w.Protocol, " ", w.Address, " ", w.Tenant, " ", w.Allow)
		x := d.open[key]
		if x == nil {
			x = &door{protocol: w.p, at: w.Address, tenant: record.Tenant(w.Tenant), d: d}
			for _, a := range w.Allow {
				x.allow = append(x.allow, netip.MustParsePrefix(a)) // validated
			}
			if err := x.listen(); err != nil {
				if w.asked {
					errs = append(errs, fmt.Errorf("listeners: %s at %s: %w", w.Protocol, w.Address, err))
					continue
				}
				d.log.Info("a default address is taken; set listeners to another one or to off", "protocol", w.Protocol, "address", w.Address, "err", err)
				views = append(views, web.Listener{Name: w.Protocol, Address: w.Address, State: "taken"})
				continue
			}
		}
		fresh[key] = x
		views = append(views, web.Listener{Name: w.Protocol, Address: x.address(), State: "listening"})
	}
	if len(errs) > 0 {
		for key, x := range fresh {
			if d.open[key] == nil {
				x.close()
			}
		}
		return errors.Join(errs...)
	}
	for key, x := range d.open {
		if fresh[key] == nil {
			x.close()
		}
	}
	for key, x := range fresh {
		if d.open[key] == nil {
			x.start()
		}
	}
	d.open, d.views = fresh, views
	return nil
}

// close ends all listeners and waits for what they are doing.
func (d *doors) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range d.open {
		x.cancel()
	}
	for _, x := range d.open {
		x.close()
	}
	d.open, d.views = map[string]*door{}, nil
}

// list tells what listens where.
func (d *doors) list() []web.Listener {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.views)
}

func (x *door) address() string {
	if x.ln != nil {
		return x.ln.Addr().String()
	}
	return x.pc.LocalAddr().String()
}

func (x *door) listen() (err error) {
	x.ctx, x.cancel = context.WithCancel(context.Background())
	at := x.at
	if x.network != "udp" {
		if x.ln, err = net.Listen("tcp", at); err != nil {
			return taken(err)
		}
		at = x.ln.Addr().String() // the same port for packets, also one that the system chose
	}
	if x.network != "tcp" {
		if x.pc, err = net.ListenPacket("udp", at); err != nil {
			if x.ln != nil {
				_ = x.ln.Close()
			}
			return taken(err)
		}
		if uc, ok := x.pc.(*net.UDPConn); ok {
			_ = uc.SetReadBuffer(4 << 20) // as much as the system allows
		}
	}
	return nil
}

func taken(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return errors.New("the address is taken by another program")
	}
	return err
}

// start takes what comes, until close.
func (x *door) start() {
	switch {
	case x.ln == nil:
	case x.paths != nil:
		x.serveHTTP()
	case x.serve != nil:
		x.running.Go(func() {
			if err := x.serve(x.d, x.ctx, allowed{x.ln, x}); err != nil && x.ctx.Err() == nil {
				x.d.log.Error("a listener ended", "protocol", x.name, "address", x.at, "err", err)
			}
		})
	default:
		x.running.Go(x.accept)
	}
	if x.pc != nil {
		x.running.Go(x.read)
	}
}

// serveHTTP lets the web answer the protocol's own paths, as on the one port.
func (x *door) serveHTTP() {
	x.srv = &http.Server{
		Handler:           only(x.paths, x.d.web),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 5 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 128 << 10,
		ErrorLog: slog.NewLogLogger(x.d.log.Handler(), slog.LevelDebug),
	}
	x.running.Go(func() {
		if err := x.srv.Serve(x.ln); !errors.Is(err, http.ErrServerClosed) {
			x.d.log.Error("a listener ended", "protocol", x.name, "address", x.at, "err", err)
		}
	})
}

// only hides every path but those.
func only(paths []string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.ContainsFunc(paths, func(p string) bool {
			return r.URL.Path == p || strings.HasSuffix(p, "/") && strings.HasPrefix(r.URL.Path, p)
		}) {
			http.Error(w, "this port takes "+strings.Join(paths, ", ")+"; the rest of Vedette stands at its own port", http.StatusNotFound)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// lets reports whether an address may send.
func (x *door) lets(a net.Addr) bool {
	if len(x.allow) == 0 {
		return true
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return false
	}
	ip := ap.Addr().Unmap()
	return slices.ContainsFunc(x.allow, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// allowed is a listener that takes no strangers.
type allowed struct {
	net.Listener
	x *door
}

func (l allowed) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || l.x.lets(c.RemoteAddr()) {
			return c, err
		}
		l.x.stranger(c.RemoteAddr())
		_ = c.Close()
	}
}

// serveOTLP serves OTLP/gRPC to who has a token, where there are tokens.
func (d *doors) serveOTLP(ctx context.Context, ln net.Listener) error {
	srv := ingest.NewOTLPServer(func(ctx context.Context, md metadata.MD) (*ingest.OTLP, func(), error) {
		h := http.Header{}
		for _, k := range []string{"authorization", "x-vedette-tenant"} {
			for _, v := range md.Get(k) {
				h.Add(k, v)
			}
		}
		remote := ""
		if p, ok := peer.FromContext(ctx); ok {
			remote = p.Addr.String()
		}
		t, release, err := d.web.Enter(ctx, h, remote, record.Write)
		if err != nil {
			return nil, nil, err
		}
		return t.OTLP, release, nil
	}, 0, d.log)
	stop := context.AfterFunc(ctx, func() {
		patience := time.AfterFunc(5*time.Second, srv.Stop)
		defer patience.Stop()
		srv.GracefulStop()
	})
	defer stop()
	return srv.Serve(ln)
}

// stranger notes a sender that may not send; the first one is told of.
func (x *door) stranger(a net.Addr) {
	if x.refused.Add(1) == 1 {
		x.d.log.Warn("a sender outside of allow is refused", "protocol", x.name, "address", x.at, "sender", a.String())
	}
}

func (x *door) accept() {
	for {
		c, err := x.ln.Accept()
		if err != nil {
			if x.ctx.Err() != nil {
				return
			}
			x.d.log.Warn("a connection cannot be taken", "protocol", x.name, "err", err)
			time.Sleep(100 * time.Millisecond) // too many files, for instance
			continue
		}
		if !x.lets(c.RemoteAddr()) {
			x.stranger(c.RemoteAddr())
			_ = c.Close()
			continue
		}
		if x.conns.Add(1) > maxConns {
			x.conns.Add(-1)
			_ = c.Close()
			continue
		}
		x.running.Go(func() {
			defer x.conns.Add(-1)
			defer c.Close()
			stop := context.AfterFunc(x.ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
			defer stop()
			t, release, err := x.d.tenants.Use(x.ctx, x.tenant)
			if err != nil {
				x.d.log.Warn("a connection finds no tenant", "protocol", x.name, "tenant", string(x.tenant), "err", err)
				return
			}
			defer release()
			x.conn(t, ingest.WithSender(x.ctx, ingest.HostOf(c.RemoteAddr())), c)
		})
	}
}

func (x *door) read() {
	buf := make([]byte, 64<<10)
	var sender net.IP // of ctx
	ctx := x.ctx
	for {
		n, from, err := x.pc.ReadFrom(buf)
		if err != nil {
			if x.ctx.Err() != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if !x.lets(from) {
			x.stranger(from)
			continue
		}
		t, release, err := x.d.tenants.Use(x.ctx, x.tenant)
		if err != nil {
			continue // the tenant has gone, or all ends
		}
		if u, ok := from.(*net.UDPAddr); ok && !u.IP.Equal(sender) {
			sender, ctx = u.IP, ingest.WithSender(x.ctx, ingest.HostOf(from))
		}
		x.packet(t, ctx, buf[:n])
		release()
	}
}

// close ends a listener and waits for its connections.
func (x *door) close() {
	x.cancel()
	if x.srv != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if x.srv.Shutdown(ctx) != nil {
			_ = x.srv.Close()
		}
	}
	if x.ln != nil {
		_ = x.ln.Close()
	}
	if x.pc != nil {
		_ = x.pc.Close()
	}
	x.running.Wait()
}
