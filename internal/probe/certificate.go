package probe

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/vedette-sre/vedette/internal/record"
)

// chains remembers what the last handshake with each server showed. A chain that
// is byte for byte the one that was verified needs no second look within
// maxVerified: verifying depends on the certificates, the roots, the name asked
// for and the time, and the first three are the same and the time is still
// within every certificate. That the server has the key is proved in each
// handshake by crypto/tls. It is a quarter of the time of an https run.
type chains struct {
	mu   sync.Mutex
	seen map[string]*chain // by the name asked for
}

const (
	maxVerified = time.Hour
	maxChains   = 16 // names of one check: redirects and flows have others
)

// chain is one that a server showed.
type chain struct {
	sum      [sha256.Size]byte // of its certificates
	roots    *x509.CertPool
	verified time.Time // zero: it was not
	from, to time.Time // when all certificates of the verified chain are valid
	facts    record.TLSFacts
	stapled  [sha256.Size]byte
}

// sumOf identifies a chain. The length before each certificate keeps two chains
// with the same bytes apart.
func sumOf(certs []*x509.Certificate) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range certs {
		n := len(c.Raw)
		h.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		h.Write(c.Raw)
	}
	h.Sum(sum[:0])
	return sum
}

// of returns what is known of the chain of a handshake.
func (m *chains) of(name string, certs []*x509.Certificate, roots *x509.CertPool) *chain {
	sum := sumOf(certs)
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.seen[name]; c != nil && c.sum == sum && c.roots == roots {
		return c
	}
	c := &chain{sum: sum, roots: roots, facts: certificateFacts(certs)}
	if m.seen == nil || len(m.seen) >= maxChains {
		m.seen = make(map[string]*chain, 1)
	}
	m.seen[name] = c
	return c
}

// verify does what crypto/tls does without InsecureSkipVerify, unless it was
// done for this very chain.
func (m *chains) verify(name string, certs []*x509.Certificate, roots *x509.CertPool, now time.Time) error {
	c := m.of(name, certs, roots)
	m.mu.Lock()
	fresh := !c.verified.IsZero() && now.Sub(c.verified).Abs() < maxVerified && !now.Before(c.from) && !now.After(c.to)
	m.mu.Unlock()
	if fresh {
		return nil
	}
	opts := x509.VerifyOptions{Roots: roots, CurrentTime: now, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, crt := range certs[1:] {
		opts.Intermediates.AddCert(crt)
	}
	good, err := certs[0].Verify(opts)
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: certs, Err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.verified, c.from, c.to = now, good[0][0].NotBefore, good[0][0].NotAfter
	for _, crt := range good[0] {
		if crt.NotBefore.After(c.from) {
			c.from = crt.NotBefore
		}
		if crt.NotAfter.Before(c.to) {
			c.to = crt.NotAfter
		}
	}
	return nil
}

// facts are what a handshake told.
func (m *chains) facts(name string, cs tls.ConnectionState, roots *x509.CertPool) *record.TLSFacts {
	c := m.of(name, cs.PeerCertificates, roots)
	m.mu.Lock()
	defer m.mu.Unlock()
	if sum := sha256.Sum256(cs.OCSPResponse); len(cs.OCSPResponse) == 0 {
		c.facts.OCSP = ""
	} else if sum != c.stapled || c.facts.OCSP == "" {
		c.stapled, c.facts.OCSP = sum, stapled(cs.OCSPResponse, cs.PeerCertificates)
	}
	f := c.facts // its lists are never changed
	f.ALPN = cs.NegotiatedProtocol
	if cs.Version != 0 {
		f.Version = tls.VersionName(cs.Version)
	}
	if cs.CipherSuite != 0 {
		f.Cipher = tls.CipherSuiteName(cs.CipherSuite)
	}
	return &f
}

// certificateFacts are those that the certificates tell alone.
func certificateFacts(certs []*x509.Certificate) record.TLSFacts {
	leaf := certs[0]
	f := record.TLSFacts{Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(), Names: certNames(leaf), NotAfter: leaf.NotAfter}
	for i, c := range certs {
		if c.NotAfter.Before(f.NotAfter) {
			f.NotAfter = c.NotAfter
		}
		if i == 10 {
			continue // no honest chain is as long
		}
		key, weak := keyFacts(c)
		f.Chain = append(f.Chain, record.CertFacts{Subject: shorten(c.Subject.String(), 300), Issuer: shorten(c.Issuer.String(), 300),
			NotBefore: c.NotBefore, NotAfter: c.NotAfter, Key: key, Signature: c.SignatureAlgorithm.String(), Weak: weak})
	}
	return f
}

// keyFacts names a certificate's key and what is weak about the certificate, ""
// when nothing. Nobody relies on how a root is signed.
func keyFacts(c *x509.Certificate) (key, weak string) {
	key = c.PublicKeyAlgorithm.String()
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		if key = fmt.Sprintf("RSA %d", bits); bits < 2048 {
			weak = fmt.Sprintf("the RSA key has %d bits; 2048 is the least that is safe", bits)
		}
	case *ecdsa.PublicKey:
		key = "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		key = "Ed25519"
	}
	switch c.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1, x509.MD5WithRSA, x509.MD2WithRSA:
		if c.Subject.String() != c.Issuer.String() {
			if weak != "" {
				weak += "; "
			}
			weak += "it is signed with " + c.SignatureAlgorithm.String() + ", which can be forged"
		}
	}
	return key, weak
}

// stapled is the word of the OCSP response that came with the handshake: good,
// revoked or unknown, old when its time is over, unreadable.
func stapled(der []byte, certs []*x509.Certificate) string {
	var issuer *x509.Certificate
	if len(certs) > 1 {
		issuer = certs[1]
	}
	res, err := ocsp.ParseResponseForCert(der, certs[0], issuer)
	switch {
	case err != nil:
		return "unreadable"
	case !res.NextUpdate.IsZero() && time.Now().After(res.NextUpdate):
		return "old"
	case res.Status == ocsp.Good:
		return "good"
	case res.Status == ocsp.Revoked:
		return "revoked on " + day(res.RevokedAt)
	}
	return "unknown"
}
