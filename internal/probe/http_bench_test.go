package probe_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

// benchServer is set in the process that serves the benchmark.
const benchServer = "VEDETTE_PROBE_BENCH_SERVER"

// TestMain serves the benchmark's pages when the benchmark started this binary
// for that: in a process of its own, so that its work is not counted as the
// client's.
func TestMain(m *testing.M) {
	if os.Getenv(benchServer) == "" {
		os.Exit(m.Run())
	}
	page := "HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nConnection: close\r\n\r\n" + strings.Repeat("x", 1024)
	answer := func(c net.Conn) {
		var buf [2048]byte
		if n, _ := c.Read(buf[:]); n > 0 {
			_, _ = c.Write([]byte(page))
		}
		c.Close()
	}
	crt, err := tls.LoadX509KeyPair(os.Getenv(benchServer)+"/crt.pem", os.Getenv(benchServer)+"/key.pem")
	if err != nil {
		panic(err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{crt}}
	for _, secure := range []bool{false, true} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		fmt.Println(ln.Addr())
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				if secure {
					c = tls.Server(c, cfg)
				}
				go answer(c)
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the benchmark
}

// serveBench starts the server and returns its addresses, plain and TLS.
func serveBench(b *testing.B, ca *authority) (plain, secure string) {
	b.Helper()
	crt := ca.issue(b, time.Hour, "127.0.0.1")
	key, err := x509.MarshalECPrivateKey(crt.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: crt.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: crt.Certificate[1]})...)
	for name, text := range map[string][]byte{"crt.pem": chain, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), benchServer+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	if _, err := fmt.Fscan(out, &plain, &secure); err != nil {
		b.Fatal(err)
	}
	return plain, secure
}

// BenchmarkCold compares a run of a check with a raw request of net/http, each
// on a connection of its own and with a reply of 1 KB. cpu-us/op is the user and
// system time of the client alone.
func BenchmarkCold(b *testing.B) {
	ca := newAuthority(b)
	plain, secure := serveBench(b, ca)
	targets := []struct{ name, url string }{{"http", "http://" + plain}, {"https", "https://" + secure}}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)

	for _, target := range targets {
		b.Run(target.name+"/vedette", func(b *testing.B) {
			p, err := probe.New(probe.Config{Checks: []probe.Check{{Name: "x", URL: target.url, TLS: probe.TLS{CAFile: ca.file}}}},
				func(context.Context, probe.Check, record.CheckResult) {}, quiet)
			if err != nil {
				b.Fatal(err)
			}
			measure(b, func() {
				if r, err := p.RunNow(b.Context(), "x"); err != nil || !r.Success {
					b.Fatal(err, r.Message)
				}
			})
		})
		b.Run(target.name+"/net-http", func(b *testing.B) {
			c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
			measure(b, func() {
				res, err := c.Get(target.url)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					b.Fatal(err)
				}
				res.Body.Close()
			})
		})
	}
}

func measure(b *testing.B, f func()) {
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkApply is the cost of loading 10,000 checks.
func BenchmarkApply(b *testing.B) {
	checks := many(10_000, time.Hour)
	for b.Loop() {
		if _, err := probe.New(probe.Config{Checks: checks}, func(context.Context, probe.Check, record.CheckResult) {}, quiet); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/10_000, "us/check")
}
