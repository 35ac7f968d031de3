package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Proxy is what the exchanges over HTTP go through. Its connection takes the
// place of the target's: resolve and connect are the proxy's, and the connect
// phase ends when the way to the target stands.
type Proxy struct {
	// URL is http://host:port, https://host:port or socks5://host:port. The proxy
	// resolves the target's name. Credentials written in it are moved to
	// Username and Password.
	URL          string `yaml:"url"`
	Username     string `yaml:"username,omitempty"`
	Password     string `yaml:"password,omitempty"`
	PasswordFile string `yaml:"password_file,omitempty"`
	// NoProxy lists what is asked directly: names (their subdomains too),
	// addresses, networks such as 10.0.0.0/8, each also with :port; "*" is all.
	NoProxy []string `yaml:"no_proxy,omitempty"`
}

const proxyExample = "http://proxy.example.org:3128"

// validateProxy works on a copy: a check may share its section with another.
func (c *Check) validateProxy() error {
	if c.Proxy == nil {
		return nil
	}
	x := *c.Proxy
	c.Proxy = &x
	shown := hideInURLs(x.URL)
	u, err := url.Parse(x.URL)
	if err != nil {
		return fmt.Errorf("proxy.url: %q: want such as %s", shown, proxyExample)
	}
	port, perr := strconv.Atoi(u.Port())
	switch {
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5":
		return fmt.Errorf("proxy.url: %q: want a URL that begins with http://, https:// or socks5://", shown)
	case u.Hostname() == "" || perr != nil || port < 1 || port > 65535:
		return fmt.Errorf("proxy.url: %q: want a host and a port, such as %s", shown, proxyExample)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("proxy.url: %q: want nothing after the port", shown)
	case c.IPVersion == "both":
		return errors.New("proxy: the proxy chooses the target's address; ip_version: both cannot go through one")
	}
	if u.User != nil {
		if x.Username != "" {
			return fmt.Errorf("proxy.url: %q holds a user, and proxy.username is set too; keep one", shown)
		}
		x.Username = u.User.Username()
		x.Password, _ = u.User.Password()
		u.User = nil
		x.URL = u.String()
	}
	switch {
	case x.Username == "" && (x.Password != "" || x.PasswordFile != ""):
		return errors.New("proxy.username: is missing; a password needs a user")
	case x.Password != "" && x.PasswordFile != "":
		return errors.New("proxy.password: is set beside proxy.password_file; keep one")
	case u.Scheme == "socks5" && (len(x.Username) > 255 || len(x.Password) > 255):
		return errors.New("proxy.username: SOCKS takes a user and password of at most 255 bytes each")
	}
	for _, n := range x.NoProxy {
		if strings.TrimSpace(n) == "" || strings.Contains(n, "://") {
			return fmt.Errorf("proxy.no_proxy: %q: want a name, an address or a network such as 10.0.0.0/8", n)
		}
		if strings.Contains(n, "/") {
			if _, err := netip.ParsePrefix(n); err != nil {
				return fmt.Errorf("proxy.no_proxy: %q: want a network such as 10.0.0.0/8", n)
			}
		}
	}
	return nil
}

// bypasses reports whether a target is asked directly.
func (x *Proxy) bypasses(host, port string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	addr, aerr := netip.ParseAddr(host)
	addr = addr.Unmap()
	for _, n := range x.NoProxy {
		n = strings.ToLower(strings.TrimSpace(n))
		if n == "*" {
			return true
		}
		if net, err := netip.ParsePrefix(n); err == nil {
			if aerr == nil && net.Contains(addr) {
				return true
			}
			continue
		}
		if a, err := netip.ParseAddr(strings.Trim(n, "[]")); err == nil {
			if aerr == nil && a.Unmap() == addr {
				return true
			}
			continue
		}
		if h, p, err := net.SplitHostPort(n); err == nil {
			if p != port {
				continue
			}
			n = h
		}
		n = strings.TrimPrefix(strings.TrimPrefix(n, "*"), ".")
		if host == n || aerr != nil && strings.HasSuffix(host, "."+n) {
			return true
		}
	}
	return false
}

// parsed is the proxy's URL, which Validate has checked.
func (x *Proxy) parsed() *url.URL {
	u, err := url.Parse(x.URL)
	if err != nil {
		return &url.URL{Scheme: "http"} // refused before; the dial tells
	}
	return u
}

// throughHTTP reports whether a request for u is sent to an HTTP proxy whole,
// and not to its target.
func (r *run) throughHTTP(u *url.URL) bool {
	return r.Proxy != nil && u.Scheme == "http" && !strings.HasPrefix(r.Proxy.URL, "socks5:") && !r.Proxy.bypasses(u.Hostname(), portOf(u))
}

// reach connects to the target of a request, through the check's proxy where it
// has one. See open. A reply is that of a proxy that refuses.
func (r *run) reach(hop *record.Hop, q request) (net.Conn, *reply, *failure) {
	host, port := q.url.Hostname(), portOf(q.url)
	if r.Proxy == nil || r.Proxy.bypasses(host, port) {
		conn, f := r.open(hop, host, port)
		return conn, nil, f
	}
	r.fact("proxy", r.Proxy.URL)
	u := r.Proxy.parsed()
	conn, f := r.open(hop, u.Hostname(), u.Port())
	if f != nil {
		if f.stage == "connect" && f.reason != "own_fault" {
			f.reason = "proxy"
		}
		f.message = "the proxy " + r.Proxy.URL + ": " + f.message
		return nil, nil, f
	}
	start := time.Now()
	tunnel, rep, f := r.tunnel(conn, u, q)
	ph := &hop.Phases[record.Connect]
	ph.Duration += time.Since(start)
	if f != nil {
		conn.Close()
		ph.State = record.Failed
		return nil, rep, f
	}
	return tunnel, nil, nil
}

// tunnel makes a connection to a proxy one to the target.
func (r *run) tunnel(conn net.Conn, u *url.URL, q request) (net.Conn, *reply, *failure) {
	target := net.JoinHostPort(q.url.Hostname(), portOf(q.url))
	if u.Scheme == "https" {
		cfg := r.foreign.Clone()
		cfg.NextProtos = nil
		var side record.Hop // the facts of the proxy's session are not the target's
		tc, f := r.secure(conn, &side, cfg, u.Hostname())
		if f != nil {
			return nil, nil, &failure{"connect", "proxy", "the proxy " + r.Proxy.URL + ": " + f.message}
		}
		conn = tc
	}
	switch {
	case u.Scheme == "socks5":
		if err := r.socks(conn, q.url.Hostname(), portOf(q.url)); err != nil {
			return nil, nil, r.proxySilence("the way to "+target, err)
		}
		return conn, nil, nil
	case q.url.Scheme == "http":
		return conn, nil, nil
	}
	rep, f := r.connectRequest(conn, target)
	return conn, rep, f
}

// connectRequest asks an HTTP proxy for a tunnel.
func (r *run) connectRequest(conn net.Conn, target string) (*reply, *failure) {
	ask := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\nUser-Agent: Vedette\r\n"
	if r.Proxy.Username != "" {
		ask += "Proxy-Authorization: Basic " + basicCredentials(r.Proxy.Username, r.proxy) + "\r\n"
	}
	what := "CONNECT " + target
	if _, err := io.WriteString(conn, ask+"\r\n"); err != nil {
		return nil, r.proxySilence(what, err)
	}
	bounded := &io.LimitedReader{R: conn, N: maxHead}
	br := bufio.NewReaderSize(bounded, maxReply)
	head, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		if bounded.N <= 0 {
			err = fmt.Errorf("its headers are larger than %d bytes", maxHead)
		}
		return nil, r.proxySilence(what, err)
	}
	bounded.N = math.MaxInt64
	body, _ := br.Peek(br.Buffered()) // what is there already: its words
	if head.StatusCode/100 != 2 {
		return &reply{head: head, body: body}, r.proxyRefusal(head, what)
	}
	if len(body) > 0 {
		return nil, &failure{"connect", "proxy", fmt.Sprintf("the proxy %s sent %d bytes after its answer to %s, where nothing may be", r.Proxy.URL, len(body), what)}
	}
	return nil, nil
}

// proxyRefusal is for a proxy that answers no.
func (r *run) proxyRefusal(head *http.Response, what string) *failure {
	said := fmt.Sprintf("the proxy %s answered %s to %s", r.Proxy.URL, strings.TrimSpace(head.Status), what)
	if head.StatusCode == http.StatusProxyAuthRequired {
		if r.Proxy.Username == "" {
			said += ": it wants a user and password (proxy.username)"
		} else {
			said += ": it does not take the user " + r.Proxy.Username + " with the password given"
		}
	}
	return &failure{"connect", "proxy", said}
}

// errSocks is what a SOCKS proxy said.
type errSocks string

func (e errSocks) Error() string { return string(e) }

// proxySilence is for a proxy that gave no usable answer.
func (r *run) proxySilence(what string, err error) *failure {
	said := fmt.Sprintf("the proxy %s gave no usable answer to %s: %v", r.Proxy.URL, what, err)
	var words errSocks
	switch {
	case errors.As(err, &words):
		said = fmt.Sprintf("the proxy %s refused %s: %s", r.Proxy.URL, what, words)
	case timedOut(err):
		said = fmt.Sprintf("the proxy %s took the connection, but did not answer to %s within %s", r.Proxy.URL, what, short(r.limit))
	case wasReset(err), atEnd(err):
		said = fmt.Sprintf("the proxy %s cut the connection instead of answering to %s", r.Proxy.URL, what)
	}
	return &failure{"connect", "proxy", said}
}

// socksReplies are the answers of RFC 1928, section 6.
var socksReplies = [...]string{1: "general failure", 2: "its rules forbid it", 3: "the network cannot be reached", 4: "the host cannot be reached",
	5: "the target refused the connection", 6: "the time ran out", 7: "it knows no such command", 8: "it knows no such type of address"}

// socks asks a SOCKS5 proxy for a connection (RFC 1928, RFC 1929). Names are
// resolved by the proxy.
func (r *run) socks(conn net.Conn, host, port string) error {
	hello := []byte{5, 1, 0}
	if r.Proxy.Username != "" {
		hello = []byte{5, 2, 0, 2}
	}
	var got [4]byte
	if err := ask(conn, hello, got[:2]); err != nil {
		return err
	}
	switch {
	case got[0] != 5:
		return errors.New("it does not speak SOCKS5")
	case got[1] == 2 && r.Proxy.Username != "":
		if len(r.Proxy.Username) > 255 || len(r.proxy) > 255 {
			return errSocks("a user or password of more than 255 bytes cannot be sent")
		}
		login := append([]byte{1, byte(len(r.Proxy.Username))}, r.Proxy.Username...)
		login = append(append(login, byte(len(r.proxy))), r.proxy...)
		if err := ask(conn, login, got[:2]); err != nil {
			return err
		}
		if got[1] != 0 {
			return errSocks("it does not take the user " + r.Proxy.Username + " with the password given")
		}
	case got[1] == 0xff && r.Proxy.Username == "":
		return errSocks("it wants a user and password (proxy.username)")
	case got[1] != 0:
		return errSocks("it offers no way to log in that is known here")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	want := []byte{5, 1, 0}
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap().WithZone("")
		want = append(want, map[bool]byte{true: 1, false: 4}[a.Is4()])
		want = append(want, a.AsSlice()...)
	} else {
		if len(host) > 255 {
			return errSocks("a name of more than 255 bytes cannot be asked for")
		}
		want = append(append(want, 3, byte(len(host))), host...)
	}
	if err := ask(conn, append(want, byte(n>>8), byte(n)), got[:4]); err != nil {
		return err
	}
	if code := int(got[1]); got[0] != 5 || code != 0 {
		if code < len(socksReplies) && code > 0 {
			return errSocks(socksReplies[code])
		}
		return errSocks(fmt.Sprintf("answer %d", code))
	}
	rest := map[byte]int{1: 4, 4: 16}[got[3]]
	switch got[3] {
	case 1, 4:
	case 3:
		if _, err := io.ReadFull(conn, got[:1]); err != nil {
			return err
		}
		rest = int(got[0])
	default:
		return errors.New("its answer is not SOCKS5")
	}
	_, err = io.ReadFull(conn, make([]byte, rest+2))
	return err
}

// ask writes a message and reads an answer of a known length.
func ask(conn net.Conn, message, answer []byte) error {
	if _, err := conn.Write(message); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, answer)
	return err
}
