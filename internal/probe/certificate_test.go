package probe_test

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

func TestCertificateFacts(t *testing.T) {
	ca := newAuthority(t)
	crt := ca.issue(t, 48*time.Hour, "127.0.0.1")
	leaf, err := x509.ParseCertificate(crt.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	staple := func(status int, next time.Time) []byte {
		der, err := ocsp.CreateResponse(ca.cert, ca.cert, ocsp.Response{Status: status, SerialNumber: leaf.SerialNumber, ThisUpdate: time.Now().Add(-2 * time.Hour),
			NextUpdate: next, RevokedAt: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}, ca.key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	soon := time.Now().Add(time.Hour)
	f := func(response []byte, want string) {
		t.Helper()
		crt.OCSPStaple = response
		r := once(t, probe.Check{URL: "https://" + serveTLS(t, &tls.Config{Certificates: []tls.Certificate{crt}}, say(ok200)), TLS: probe.TLS{CAFile: ca.file}})
		if !r.Success {
			t.Fatal(r.Message)
		}
		facts := r.Hops[0].TLS
		if facts.OCSP != want {
			t.Errorf("OCSP: got %q, want %q", facts.OCSP, want)
		}
		if len(facts.Chain) != 2 || facts.Chain[0].Subject != "CN=shop" || facts.Chain[0].Issuer != "CN=test authority" || facts.Chain[0].Key != "ECDSA P-256" ||
			facts.Chain[0].Signature != "ECDSA-SHA256" || facts.Chain[0].Weak != "" || !facts.Chain[1].NotAfter.Equal(ca.cert.NotAfter) || !facts.NotAfter.Equal(leaf.NotAfter) {
			t.Errorf("got %+v", facts)
		}
	}
	f(nil, "")
	f(staple(ocsp.Good, soon), "good")
	f(staple(ocsp.Revoked, soon), "revoked on 2026-05-01 00:00 UTC")
	f(staple(ocsp.Unknown, soon), "unknown")
	f(staple(ocsp.Good, time.Now().Add(-time.Hour)), "old")
	f([]byte("no OCSP"), "unreadable")
}

func TestWeakCertificates(t *testing.T) {
	f := func(c x509.Certificate, key, weak string) {
		t.Helper()
		gotKey, gotWeak := probe.KeyFacts(&c)
		if gotKey != key || !strings.Contains(gotWeak, weak) || (weak == "") != (gotWeak == "") {
			t.Errorf("got %q, %q; want %q, %q", gotKey, gotWeak, key, weak)
		}
	}
	short := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	long := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}
	name, other := pkix.Name{CommonName: "a"}, pkix.Name{CommonName: "b"}
	f(x509.Certificate{PublicKey: short, SignatureAlgorithm: x509.SHA256WithRSA}, "RSA 1024", "1024 bits")
	f(x509.Certificate{PublicKey: long, SignatureAlgorithm: x509.SHA256WithRSA}, "RSA 2048", "")
	f(x509.Certificate{PublicKey: long, SignatureAlgorithm: x509.SHA1WithRSA, Subject: name, Issuer: other}, "RSA 2048", "signed with SHA1-RSA")
	f(x509.Certificate{PublicKey: long, SignatureAlgorithm: x509.SHA1WithRSA, Subject: name, Issuer: name}, "RSA 2048", "") // a root
	f(x509.Certificate{PublicKey: short, SignatureAlgorithm: x509.MD5WithRSA, Subject: name, Issuer: other}, "RSA 1024", "; it is signed with MD5-RSA")
}

// TestRememberedChain: a chain that was verified is taken again for the same
// name, roots and time only.
func TestRememberedChain(t *testing.T) {
	ca := newAuthority(t)
	pool := func(a *authority) *x509.CertPool {
		p := x509.NewCertPool()
		p.AddCert(a.cert)
		return p
	}
	parse := func(c tls.Certificate) (certs []*x509.Certificate) {
		for _, der := range c.Certificate {
			crt, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			certs = append(certs, crt)
		}
		return certs
	}
	certs := parse(ca.issue(t, 30*time.Minute, "shop.test"))
	trusted := pool(ca)
	verify := probe.NewChains()
	now := time.Now()
	f := func(what, name string, certs []*x509.Certificate, roots *x509.CertPool, at time.Duration, good, full bool) {
		t.Helper()
		took, err := verify(name, certs, roots, now.Add(at))
		if (err == nil) != good || took != full {
			t.Errorf("%s: got %v, verified in full %v; want good %v, in full %v", what, err, took, good, full)
		}
	}
	f("first", "shop.test", certs, trusted, 0, true, true)
	f("again", "shop.test", certs, trusted, time.Minute, true, false)
	f("without the rest of the chain", "shop.test", certs[:1], trusted, time.Minute, true, true)
	f("whole again", "shop.test", certs, trusted, time.Minute, true, true)
	f("other name", "other.test", certs, trusted, time.Minute, false, true)
	f("other roots", "shop.test", certs, pool(newAuthority(t)), time.Minute, false, true)
	f("first once more", "shop.test", certs, trusted, time.Minute, true, true)
	f("ended", "shop.test", certs, trusted, 31*time.Minute, false, true)
	f("not begun", "shop.test", certs, trusted, -3*time.Hour, false, true)
	f("other certificate of that name", "shop.test", parse(newAuthority(t).issue(t, time.Hour, "shop.test")), trusted, time.Minute, false, true)
	long := parse(ca.issue(t, 10*time.Hour, "shop.test"))
	f("long", "shop.test", long, trusted, 0, true, true)
	f("after an hour", "shop.test", long, trusted, 61*time.Minute, true, true)
}

// TestStolenChain: whoever shows a certificate without its key is found out in
// every handshake, also when the chain is known; and a bad chain is told on the
// run in which it comes.
func TestStolenChain(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue(t, time.Hour, "127.0.0.1")
	stolen := good
	stolen.PrivateKey = newKey(t)
	foreign := newAuthority(t).issue(t, time.Hour, "127.0.0.1")
	var now atomic.Pointer[tls.Certificate]
	addr := serveTCP(t, func(c net.Conn) {
		tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*now.Load()}, SessionTicketsDisabled: true})
		if tc.Handshake() == nil {
			say(ok200)(tc)
			tc.Close()
		}
	})
	var last record.CheckResult
	p, err := probe.New(probe.Config{Checks: []probe.Check{{Name: "x", URL: "https://" + addr, TLS: probe.TLS{CAFile: ca.file}}}},
		func(_ context.Context, _ probe.Check, r record.CheckResult) { last = r }, quiet)
	if err != nil {
		t.Fatal(err)
	}
	f := func(c tls.Certificate, reason string) {
		t.Helper()
		now.Store(&c)
		if _, err := p.RunNow(t.Context(), "x"); err != nil || last.Reason != reason {
			t.Errorf("got %q (%s), %v; want %q", last.Reason, last.Message, err, reason)
		}
	}
	f(good, "")
	f(good, "")
	f(stolen, "tls_error")
	f(foreign, "tls_unknown_ca")
	f(good, "")
}
