package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// failure is why a run ended badly.
type failure struct {
	stage, reason, message string
}

// fail writes a failure into the result. A run that was given up from outside
// says nothing about its target.
func (r *run) fail(f *failure, rep *reply) {
	if err := r.outer.Err(); err != nil && f.reason != "own_fault" {
		f = &failure{f.stage, "own_fault", "the run was given up before it ended: " + err.Error()}
	}
	r.res.Success, r.res.Stage, r.res.Reason = false, f.stage, f.reason
	r.res.Message = shorten(strings.ToValidUTF8(r.hidden.clean(f.message), "\uFFFD"), 1000)
	switch {
	case rep == nil:
	case rep.head != nil:
		r.res.Reply = showReply(rep.head, rep.body, r.hidden)
	default:
		r.res.Reply = r.hidden.show(hideHeaders(string(rep.raw)))
	}
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

func wasReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED)
}

func atEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// outOf reports that this machine lacks something that a run needs: descriptors,
// memory or local ports.
func outOf(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	// The resolver keeps only the text.
	var de *net.DNSError
	return errors.As(err, &de) && strings.Contains(de.Err, syscall.EMFILE.Error())
}

func (r *run) resolveFailure(host string, err error) *failure {
	server := "the system's resolver"
	if r.Resolver != "" {
		server = "the DNS server " + r.Resolver
	}
	var de *net.DNSError
	var ae *net.AddrError
	switch {
	case outOf(err):
		return &failure{"resolve", "own_fault", fmt.Sprintf("this machine could not look a name up: %v", err)}
	case errors.As(err, &de) && de.IsNotFound, errors.As(err, &ae):
		if r.family == "4" || r.family == "6" {
			return &failure{"resolve", "dns_nxdomain", fmt.Sprintf("%s knows no IPv%s address of %s", server, r.family, host)}
		}
		return &failure{"resolve", "dns_nxdomain", fmt.Sprintf("%s says that the name %s does not exist", server, host)}
	case timedOut(err), r.ctx.Err() != nil:
		return &failure{"resolve", "dns_timeout", fmt.Sprintf("%s did not answer for the name %s in time", server, host)}
	case errors.As(err, &de):
		return &failure{"resolve", "dns_error", fmt.Sprintf("%s could not resolve the name %s: %s", server, host, de.Err)}
	}
	return &failure{"resolve", "dns_error", fmt.Sprintf("%s could not resolve the name %s: %v", server, host, err)}
}

func (r *run) connectFailure(addr string, waited time.Duration, err error) *failure {
	switch {
	case outOf(err):
		return &failure{"connect", "own_fault", fmt.Sprintf("this machine could not open a connection: %v", err)}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &failure{"connect", "refused", fmt.Sprintf("%s refused the connection: nothing listens there", addr)}
	case (timedOut(err) || r.ctx.Err() != nil) && waited < r.Timeout/10:
		return &failure{"connect", "connect_timeout", fmt.Sprintf("no time was left to connect to %s: finding its address took %s of the %s that a run may take", addr, short(r.Timeout-waited), r.Timeout)}
	case timedOut(err), r.ctx.Err() != nil, errors.Is(err, syscall.ETIMEDOUT):
		return &failure{"connect", "connect_timeout", fmt.Sprintf("%s did not take the connection within %s: the host is down, overloaded, or a firewall drops the packets", addr, short(waited))}
	case wasReset(err):
		return &failure{"connect", "reset", fmt.Sprintf("%s cut the connection while it was made", addr)}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return &failure{"connect", "unreachable", fmt.Sprintf("there is no route to %s", addr)}
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return &failure{"connect", "unreachable", fmt.Sprintf("a firewall of this machine forbids the connection to %s", addr)}
	}
	return &failure{"connect", "unreachable", fmt.Sprintf("%s cannot be reached: %v", addr, err)}
}

var errOldTLS = errors.New("the server speaks nothing newer than TLS 1.1")

func (r *run) tlsFailure(name string, version uint16, err error) *failure {
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	text := strings.TrimPrefix(err.Error(), "tls: ")
	switch {
	case errors.Is(err, errOldTLS):
		return &failure{"tls", "tls_protocol", fmt.Sprintf("the server speaks %s; want TLS 1.2 or newer", tls.VersionName(version))}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		c := invalid.Cert
		if time.Now().Before(c.NotBefore) {
			return &failure{"tls", "tls_expired", fmt.Sprintf("the certificate of %s is not valid before %s", c.Subject, day(c.NotBefore))}
		}
		return &failure{"tls", "tls_expired", fmt.Sprintf("the certificate of %s expired on %s", c.Subject, day(c.NotAfter))}
	case errors.As(err, &host):
		names := "no name at all"
		if host.Certificate != nil {
			if ns := certNames(host.Certificate); len(ns) > 0 {
				names = strings.Join(ns, ", ")
			}
		}
		return &failure{"tls", "tls_name", fmt.Sprintf("the certificate is not for %s but for %s", name, names)}
	case errors.As(err, &authority):
		said := "the certificate is signed by an authority that is not trusted here"
		if c := authority.Cert; c != nil {
			said += ": " + c.Issuer.String()
			if c.Issuer.String() == c.Subject.String() {
				said = fmt.Sprintf("the certificate of %s is signed by itself, by no authority that is trusted here", c.Subject)
			}
		}
		return &failure{"tls", "tls_unknown_ca", said}
	case timedOut(err):
		return &failure{"tls", "tls_timeout", fmt.Sprintf("the connection stands, but the TLS handshake did not end within %s", short(r.limit))}
	case strings.Contains(text, "protocol version"):
		return &failure{"tls", "tls_protocol", "the server and this client share no version of TLS: " + text}
	case r.wantsCertificate(err):
		return clientCertificateFailure(text)
	case wasReset(err), atEnd(err):
		return &failure{"tls", "reset", "the server cut the connection during the TLS handshake"}
	case errors.As(err, &record):
		return &failure{"tls", "tls_error", "the server does not speak TLS on this port"}
	}
	return &failure{"tls", "tls_error", "the TLS handshake failed: " + text}
}

// wantsCertificate recognises the alerts by which a server refuses this client's
// certificate or the lack of one. With TLS 1.3 they come when the handshake is
// over here.
func (r *run) wantsCertificate(err error) bool {
	var oe *net.OpError
	if !errors.As(err, &oe) || oe.Op != "remote error" {
		return false
	}
	text := oe.Err.Error()
	return r.asked || strings.Contains(text, "certificate") || strings.Contains(text, "access denied")
}

func clientCertificateFailure(text string) *failure {
	return &failure{"tls", "tls_client_cert", "the server wants a certificate of this client (tls.cert_file) and was given none that it takes: " + strings.TrimPrefix(text, "remote error: tls: ")}
}

// silenceFailure is for a request that got not one byte of a final reply.
func (r *run) silenceFailure(hop *record.Hop, err error) *failure {
	switch {
	case r.wantsCertificate(err):
		// The handshake was refused after all: the time belongs to it.
		ph := &hop.Phases
		ph[record.TLS] = record.PhaseTime{State: record.Failed, Duration: ph[record.TLS].Duration + ph[record.Processing].Duration}
		ph[record.Processing] = record.PhaseTime{}
		return clientCertificateFailure(err.Error())
	case timedOut(err):
		return &failure{"processing", "no_response", fmt.Sprintf("the request was sent, but no reply came within %s", short(r.limit))}
	case wasReset(err):
		return &failure{"processing", "reset", "the server cut the connection instead of answering"}
	case atEnd(err):
		return &failure{"processing", "no_response", "the server closed the connection without an answer"}
	}
	return &failure{"processing", "no_response", fmt.Sprintf("no reply came: %v", err)}
}

// headFailure is for a reply that began and whose head cannot be had. What is
// no HTTP has no status line, so it failed in processing; a head that breaks
// off failed in transfer.
func (r *run) headFailure(hop *record.Hop, start, first time.Time, raw []byte, full bool, err error) (*reply, *failure) {
	hop.Phases[record.Processing] = record.PhaseTime{State: record.Done, Duration: first.Sub(start)}
	rep := &reply{raw: append([]byte(nil), raw...)}
	const http = "HTTP/"
	n := min(len(raw), len(http))
	broken := timedOut(err) || wasReset(err) || atEnd(err) || full
	if string(raw[:n]) != http[:n] || !broken {
		hop.Phases[record.Processing].State = record.Failed
		return rep, &failure{"processing", "bad_reply", fmt.Sprintf("the reply is not HTTP: %v", err)}
	}
	end(hop, record.Transfer, first, true)
	switch {
	case full:
		return rep, &failure{"transfer", "too_large", fmt.Sprintf("the headers of the reply are larger than %d bytes", maxHead)}
	case timedOut(err):
		return rep, &failure{"transfer", "slow_body", fmt.Sprintf("the reply began, but its headers did not end within %s", short(r.limit))}
	case wasReset(err):
		return rep, &failure{"transfer", "reset", "the server cut the connection in the middle of the reply's headers"}
	}
	return rep, &failure{"transfer", "cut_body", "the server closed the connection in the middle of the reply's headers"}
}

func (r *run) bodyFailure(n, want int64, err error) *failure {
	of := ""
	if want > 0 {
		of = fmt.Sprintf(" of %d", want)
	}
	switch {
	case timedOut(err):
		return &failure{"transfer", "slow_body", fmt.Sprintf("the body did not end within %s; %d%s bytes came", short(r.limit), n, of)}
	case wasReset(err):
		return &failure{"transfer", "reset", fmt.Sprintf("the server cut the connection after %d%s bytes of the body", n, of)}
	case atEnd(err):
		return &failure{"transfer", "cut_body", fmt.Sprintf("the body ended early: %d%s bytes came", n, of)}
	}
	return &failure{"transfer", "cut_body", fmt.Sprintf("the body broke off after %d%s bytes: %v", n, of, err)}
}

// certNames are the names and addresses that a certificate is for, at most 20.
func certNames(c *x509.Certificate) []string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names[:min(len(names), 20)]
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// short renders a duration as people say it.
func short(d time.Duration) string {
	if d >= time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
