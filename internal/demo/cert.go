package demo

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// The shop's name in its own name server.
const gatewayHost = "gateway.shop.internal"

// writeCertificates makes a new authority (ca.pem) and two certificates for the
// gateway: one that lasts, and one that ends in three days.
func writeCertificates(dir string, now time.Time) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the authority's key: %w", err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "Shop internal CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return fmt.Errorf("make the authority's certificate: %w", err)
	}
	if err := writePEM(filepath.Join(dir, "ca.pem"), "CERTIFICATE", der); err != nil {
		return err
	}
	for name, end := range map[string]time.Time{"gateway": now.AddDate(0, 0, 90), "gateway-ending": now.Add(72 * time.Hour)} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return fmt.Errorf("make the key of %s: %w", name, err)
		}
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(end.UnixNano()), Subject: pkix.Name{CommonName: gatewayHost},
			DNSNames: []string{gatewayHost, "localhost"}, IPAddresses: []net.IP{net.ParseIP(host)},
			NotBefore: now.Add(-time.Hour), NotAfter: end,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
		if err != nil {
			return fmt.Errorf("make the certificate of %s: %w", name, err)
		}
		if err := writePEM(filepath.Join(dir, name+".pem"), "CERTIFICATE", der); err != nil {
			return err
		}
		b, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return fmt.Errorf("encode the key of %s: %w", name, err)
		}
		if err := writePEM(filepath.Join(dir, name+".key"), "PRIVATE KEY", b); err != nil {
			return err
		}
	}
	return nil
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// gatewayTLS presents the certificate that the switches ask for, at each new
// handshake. Sessions are not resumed: a resumed one would show the old
// certificate.
func gatewayTLS(dir string, faults *switches) (*tls.Config, error) {
	load := func(name string) (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		if err != nil {
			return nil, fmt.Errorf("load the certificate of %s: %w", name, err)
		}
		return &c, nil
	}
	lasting, err := load("gateway")
	if err != nil {
		return nil, err
	}
	ending, err := load("gateway-ending")
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if faults.on(TLSExpiring) {
				return ending, nil
			}
			return lasting, nil
		},
	}, nil
}

func serveTLS(ctx context.Context, addr string, conf *tls.Config, h http.Handler) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return serveOn(ctx, tls.NewListener(ln, conf), h)
}
