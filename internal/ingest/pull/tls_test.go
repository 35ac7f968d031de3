package pull_test

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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/vedette-sre/vedette/internal/ingest/pull"
)

// certificate writes a certificate of 127.0.0.1 that signs itself.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "db"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// Of each kind: with the authority's file the server is known, without it is not,
// and never is TLS left out.
func TestTLS(t *testing.T) {
	t.Parallel()
	f := func(kind string, serve func(t *testing.T, cert, key string) pull.Target) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			cert, key := certificate(t, t.TempDir())
			tg := serve(t, cert, key)
			tg.TLS = &pull.TLS{CAFile: cert}
			p := run(t, tg)
			p.is(p.next(), equal(1), "up")

			tg.TLS = &pull.TLS{}
			p = run(t, tg)
			p.is(p.next(), equal(0), "up")
			eventually(t, "the reason is told", func() error {
				if s := p.Targets()[0]; !strings.Contains(s.Error, "certificate") {
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
		})
	}
	f(pull.Kafka, func(t *testing.T, cert, key string) pull.Target {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return newCluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}})).target()
	})
	f(pull.Redis, func(t *testing.T, cert, key string) pull.Target {
		port := freePort(t)
		newRedis(t, "--tls-port", fmt.Sprint(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
		return pull.Target{Kind: pull.Redis, DSN: pull.Secret(fmt.Sprintf("127.0.0.1:%d", port)), Password: "redissecret", Interval: time.Second}
	})
	f(pull.Postgres, func(t *testing.T, cert, key string) pull.Target {
		s := newPostgres(t)
		for from, to := range map[string]string{cert: "server.crt", key: "server.key"} {
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(s.dir, "data", to)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if c := s.as.Credential; c != nil {
				if err := os.Chown(path, int(c.Uid), int(c.Gid)); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.sql("postgres", "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
		c := s.open("postgres")
		eventually(t, "TLS is on", func() error {
			var on string
			if err := c.QueryRow(context.Background(), "SHOW ssl").Scan(&on); err != nil || on != "on" {
				return fmt.Errorf("ssl is %q, %v", on, err)
			}
			return nil
		})
		return s.pgTarget()
	})
}
