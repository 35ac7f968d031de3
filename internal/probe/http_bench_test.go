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
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/blackbox_exporter/prober"
	"github.com/prometheus/client_golang/prometheus"

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

// BenchmarkCold compares a run of a check with other ways to ask once, each on a
// connection of its own and with a reply of 1 KB: raw is a dial, crypto/tls and a
// literal request, net-http-trace is net/http with a trace of the phases, and
// blackbox is blackbox_exporter's prober called as a library. cpu-us/op is the
// user and system time of the client alone. To be fair each wants a process of
// its own: scripts/bench probes.
func BenchmarkCold(b *testing.B) {
	ca := newAuthority(b)
	plain, secure := serveBench(b, ca)
	// For a client that this benchmark cannot hold: scripts/bench runs it.
	if only := os.Getenv(benchForeign); only != "" {
		benchmarkForeign(b, only, ca.file, map[string]string{"http": "http://" + plain, "https": "https://" + secure})
		return
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	cfg := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}

	for _, target := range []struct{ name, addr string }{{"http", plain}, {"https", secure}} {
		url := target.name + "://" + target.addr
		b.Run(target.name+"/raw", func(b *testing.B) {
			request := []byte("GET / HTTP/1.1\r\nHost: " + target.addr + "\r\nConnection: close\r\n\r\n")
			buf := make([]byte, 4096)
			measure(b, func() {
				c, err := net.Dial("tcp", target.addr)
				if err != nil {
					b.Fatal(err)
				}
				if target.name == "https" {
					c = tls.Client(c, cfg)
				}
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				n := 0
				for {
					m, err := c.Read(buf)
					if n += m; err != nil {
						break
					}
				}
				if n < 1024 {
					b.Fatal(n)
				}
				c.Close()
			})
		})
		b.Run(target.name+"/vedette", func(b *testing.B) {
			p, err := probe.New(probe.Config{Checks: []probe.Check{{Name: "x", URL: url, TLS: probe.TLS{CAFile: caFile(target.name, ca)}}}},
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
		b.Run(target.name+"/net-http", func(b *testing.B) { benchmarkNetHTTP(b, url, pool, false) })
		b.Run(target.name+"/net-http-trace", func(b *testing.B) { benchmarkNetHTTP(b, url, pool, true) })
		b.Run(target.name+"/blackbox", func(b *testing.B) {
			m := config.Module{Prober: "http", Timeout: 10 * time.Second, HTTP: config.DefaultHTTPProbe}
			m.HTTP.IPProtocol = "ip4"
			m.HTTP.HTTPClientConfig.TLSConfig.CAFile = caFile(target.name, ca)
			measure(b, func() {
				if !prober.ProbeHTTP(b.Context(), url, m, prometheus.NewRegistry(), quiet) {
					b.Fatal("failed")
				}
			})
		})
	}
}

// caFile is the authority that https needs; plain http is not made to look for a
// file.
func caFile(scheme string, ca *authority) string {
	if scheme == "https" {
		return ca.file
	}
	return ""
}

func benchmarkNetHTTP(b *testing.B, url string, pool *x509.CertPool, traced bool) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	measure(b, func() {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			b.Fatal(err)
		}
		if traced {
			var at [6]time.Time
			req = req.WithContext(httptrace.WithClientTrace(b.Context(), &httptrace.ClientTrace{
				ConnectStart:         func(string, string) { at[0] = time.Now() },
				ConnectDone:          func(string, string, error) { at[1] = time.Now() },
				TLSHandshakeStart:    func() { at[2] = time.Now() },
				TLSHandshakeDone:     func(tls.ConnectionState, error) { at[3] = time.Now() },
				GotConn:              func(httptrace.GotConnInfo) { at[4] = time.Now() },
				GotFirstResponseByte: func() { at[5] = time.Now() },
			}))
		}
		res, err := c.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			b.Fatal(err)
		}
		res.Body.Close()
	})
}

// benchForeign names a program to be run as "program ca-file url" against the
// benchmark's server. It prints the CPU microseconds of one probe.
const benchForeign = "VEDETTE_PROBE_BENCH_FOREIGN"

func benchmarkForeign(b *testing.B, program, ca string, targets map[string]string) {
	for _, name := range []string{"http", "https"} {
		b.Run(name+"/foreign", func(b *testing.B) {
			b.StopTimer()
			cmd := exec.Command(program, ca, targets[name])
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				b.Fatal(err)
			}
			us, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(us, "cpu-us/op")
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

// BenchmarkHTTP2 is a run over h2, the server's work included.
func BenchmarkHTTP2(b *testing.B) {
	ca := newAuthority(b)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{ca.issue(b, time.Hour, "127.0.0.1")}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 1024)) })}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.ServeTLS(ln, "", "") }()
	b.Cleanup(func() { srv.Close(); <-ended })
	p, err := probe.New(probe.Config{Checks: []probe.Check{{Name: "x", URL: "https://" + ln.Addr().String(), HTTP2: true, TLS: probe.TLS{CAFile: ca.file}}}},
		func(context.Context, probe.Check, record.CheckResult) {}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	measure(b, func() {
		if r, err := p.RunNow(b.Context(), "x"); err != nil || !r.Success {
			b.Fatal(err, r.Message)
		}
	})
}
