package demo

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// freeBase finds a run of free ports.
func freeBase(t *testing.T) int {
	t.Helper()
	for range 50 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		base := ln.Addr().(*net.TCPAddr).Port
		ln.Close()
		// Above the ephemeral ports' start others may come in between; the
		// next try finds other ones.
		if portsFrom(base).free() == nil {
			return base
		}
	}
	t.Fatal("no free run of ports")
	return 0
}

// eventually waits until cond gives no error.
func eventually(t *testing.T, what string, limit time.Duration, cond func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := cond()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s, after %s: %v", what, limit, err)
		}
		rest(ctx, 30*time.Millisecond)
	}
}

func get(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// sample sums the samples of /metrics whose line matches the pattern.
func sample(t *testing.T, base, pattern string) float64 {
	t.Helper()
	_, text := get(t, base+"/metrics")
	var sum float64
	for _, m := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllStringSubmatch(text, -1) {
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}

func TestShop(t *testing.T) {
	if testing.Short() {
		t.Skip("starts twelve processes")
	}
	dir := t.TempDir()
	s, err := Start(t.Context(), Options{Dir: dir, BasePort: freeBase(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	p := s.ports

	t.Run("traffic flows", func(t *testing.T) {
		eventually(t, "orders pass through the queue", 20*time.Second, func() error {
			if n := sample(t, p.url(p.Queue), `queue_messages_out_total.*`); n < 2 {
				return fmt.Errorf("%v messages done", n)
			}
			return nil
		})
		eventually(t, "the largest customer gets answers", 20*time.Second, func() error {
			_, body := get(t, p.url(p.Traffic)+"/counts")
			var counts map[string]map[string]int64
			if err := json.Unmarshal([]byte(body), &counts); err != nil {
				return err
			}
			if counts["northwind"]["200"] == 0 {
				return fmt.Errorf("counts are %s", body)
			}
			return nil
		})
		for _, c := range []struct {
			port   int
			series string
		}{
			{p.Gateway, `http_requests_total\{code="200",customer="northwind",method="GET",route="/products"\}`},
			{p.Gateway, `http_client_requests_total\{code="200",peer="pricing"\}`},
			{p.Catalogue, `http_requests_total\{.*customer="northwind".*\}`},
			{p.Orders, `http_client_request_duration_seconds_count\{peer="payment"\}`},
			{p.Orders, `build_info\{version="1.7.3"\}`},
			{p.DNSMetrics, `dns_requests_total\{rcode="NOERROR"\}`},
			{p.Pricing, `process_resident_memory_bytes`},
		} {
			eventually(t, c.series, 20*time.Second, func() error {
				if v := sample(t, p.url(c.port), c.series); v <= 0 {
					return fmt.Errorf("port %d: got %v, want more than 0", c.port, v)
				}
				return nil
			})
		}
		// The series of errors are there before the first error.
		if _, text := get(t, p.url(p.Gateway)+"/metrics"); !strings.Contains(text, `http_requests_total{code="500",customer="tiny-anvil",method="POST",route="/orders"} 0`) {
			t.Error("no zero series of a customer's errors")
		}
	})

	t.Run("faults", func(t *testing.T) {
		ca := x509.NewCertPool()
		pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
		if err != nil || !ca.AppendCertsFromPEM(pem) {
			t.Fatalf("read ca.pem: %v", err)
		}
		timed := func(f func() error) (time.Duration, error) {
			start := time.Now()
			err := f()
			return time.Since(start), err
		}
		want := func(ok bool, format string, a ...any) error {
			if ok {
				return nil
			}
			return fmt.Errorf(format, a...)
		}
		// seen tells, with the fault on or off, what is not as it should be.
		seen := map[string]func(on bool) error{
			SlowDependency: func(on bool) error {
				var took []time.Duration
				for range 5 {
					d, err := timed(func() error { code, body := get(t, p.url(p.Pricing)+"/prices/X"); return want(code == 200, "%s", body) })
					if err != nil {
						return err
					}
					took = append(took, d)
				}
				slices.Sort(took)
				return want((took[2] > 120*time.Millisecond) == on, "pricing takes %s", took[2])
			},
			FailingService: func(on bool) error {
				health, _ := get(t, p.url(p.Catalogue)+"/healthz")
				bad := 0
				for range 10 {
					if code, _ := get(t, p.url(p.Catalogue)+"/products"); code == 503 {
						bad++
					}
				}
				if on {
					return want(health == 503 && bad > 0 && bad < 10, "health %d, %d of 10 answers 503", health, bad)
				}
				return want(health == 200 && bad == 0, "health %d, %d of 10 answers 503", health, bad)
			},
			TLSExpiring: func(on bool) error {
				c, err := tls.Dial("tcp", address(p.GatewayTLS), &tls.Config{RootCAs: ca, ServerName: gatewayHost})
				if err != nil {
					return err
				}
				defer c.Close()
				left := time.Until(c.ConnectionState().PeerCertificates[0].NotAfter)
				return want((left < 4*24*time.Hour) == on && left > 2*24*time.Hour, "certificate ends in %s", left)
			},
			DNSSlow: func(on bool) error {
				q := new(dns.Msg)
				q.SetQuestion(gatewayHost+".", dns.TypeA)
				for _, network := range []string{"udp", "tcp"} {
					_, took, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(q, address(p.DNS))
					if err != nil {
						return err
					}
					if err := want((took >= slowAnswer) == on, "%s answer after %s", network, took); err != nil {
						return err
					}
				}
				return nil
			},
			QueueStuck: func(on bool) error {
				age := sample(t, p.url(p.Queue), `queue_oldest_message_age_seconds.*`)
				return want((age > 1) == on, "oldest message %v s old", age)
			},
			SmallCustomerFailing: func(on bool) error {
				small, _ := get(t, p.url(p.Gateway)+"/orders", "X-Customer", failingCustomer)
				other, _ := get(t, p.url(p.Gateway)+"/orders", "X-Customer", "globex")
				return want((small == 500) == on && other == 200, "%s gets %d, another %d", failingCustomer, small, other)
			},
			BadRelease: func(on bool) error {
				good := sample(t, p.url(p.Orders), `build_info\{version="1.7.3"\}`)
				bad := sample(t, p.url(p.Orders), `build_info\{version="1.8.0"\}`)
				return want((bad == 1) == on && (good == 1) == !on, "1.7.3: %v, 1.8.0: %v", good, bad)
			},
			NeedlessPolling: func(on bool) error {
				series := `http_client_requests_total\{code="200",peer="pricing"\}`
				before := sample(t, p.url(p.Gateway), series)
				code, _ := get(t, p.url(p.Gateway)+"/products")
				calls := sample(t, p.url(p.Gateway), series) - before
				return want(code == 200 && (calls >= 30) == on, "status %d, %v calls", code, calls)
			},
		}
		for _, f := range Faults() {
			check, ok := seen[f.Name]
			if !ok {
				t.Errorf("fault %s has no test", f.Name)
				continue
			}
			eventually(t, f.Name+" is not there yet", 10*time.Second, func() error { return check(false) })
			out, err := Fault(t.Context(), p.Control, "on", f.Name)
			if err != nil || !strings.Contains(out, f.Alert) {
				t.Errorf("fault on %s: got %q, %v", f.Name, out, err)
			}
			eventually(t, f.Name+" on", 10*time.Second, func() error { return check(true) })
			list, err := Fault(t.Context(), p.Control, "list", "")
			if err != nil || strings.Count(list, "on since") != 1 {
				t.Errorf("fault list: got %s, %v", list, err)
			}
			if _, err := Fault(t.Context(), p.Control, "off", f.Name); err != nil {
				t.Error(err)
			}
			eventually(t, f.Name+" off", 15*time.Second, func() error { return check(false) })
		}
		if _, err := Fault(t.Context(), p.Control, "on", "no-coffee"); err == nil || !strings.Contains(err.Error(), QueueStuck) {
			t.Errorf("an unknown fault: got %v, want the list of names", err)
		}
		if _, err := Fault(t.Context(), p.Control, "toggle", QueueStuck); err == nil {
			t.Error("an unknown action was taken")
		}
	})

	t.Run("the receiver measures from the switch", func(t *testing.T) {
		if _, err := Fault(t.Context(), p.Control, "on", DNSSlow); err != nil {
			t.Fatal(err)
		}
		body := `{"version":"4","status":"firing","groupKey":"g","alerts":[{"status":"firing","labels":{"alertname":"NameResolutionSlow","service":"dns"}}]}`
		eventually(t, "the receiver knows the switch", 5*time.Second, func() error {
			post(t, s.ReceiverURL()+"/webhook", body)
			_, text := get(t, s.ReceiverURL()+"/api/received?limit=1")
			if !strings.Contains(text, `"fault":"dns-slow"`) || !strings.Contains(text, `"seconds_since_on":`) {
				return fmt.Errorf("got %s", text)
			}
			return nil
		})
		// The page's own switch goes through the receiver.
		resp := post(t, s.ReceiverURL()+"/api/faults/all/off", "", demoHeader, "1")
		if resp.StatusCode != 200 {
			t.Errorf("all off: status %d", resp.StatusCode)
		}
		if code, page := get(t, s.ReceiverURL()+"/"); code != 200 || !strings.Contains(page, "Receiver of the shop") {
			t.Errorf("page: status %d", code)
		}
	})

	t.Run("a crashed process comes back", func(t *testing.T) {
		c := s.children[slices.IndexFunc(s.children, func(c *child) bool { return c.role == "catalogue" })]
		old := c.pid.Load()
		if err := syscall.Kill(int(old), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "catalogue is back", 10*time.Second, func() error {
			code, body := get(t, p.url(p.Catalogue)+"/healthz")
			if pid := c.pid.Load(); code != 200 || pid == old || pid == 0 {
				return fmt.Errorf("pid %d (was %d), status %d, %s", pid, old, code, body)
			}
			return nil
		})
	})

	t.Run("a second shop on the same ports is refused", func(t *testing.T) {
		_, err := Start(t.Context(), Options{Dir: t.TempDir(), BasePort: p.Control})
		if err == nil || !strings.Contains(err.Error(), "is taken") {
			t.Errorf("got %v", err)
		}
	})

	s.Stop()
	if err := p.free(); err != nil {
		t.Errorf("after Stop: %v", err)
	}
	for _, r := range roles() {
		log, err := os.ReadFile(filepath.Join(dir, "logs", r.name+".log"))
		if err != nil {
			t.Error(err)
		}
		for _, bad := range []string{"DATA RACE", "panic"} {
			if strings.Contains(string(log), bad) {
				t.Errorf("log of %s: %s\n%s", r.name, bad, log)
			}
		}
	}
}

// A keeper that is killed takes the shop with it.
func TestShopEndsWithItsKeeper(t *testing.T) {
	if testing.Short() {
		t.Skip("starts twelve processes")
	}
	base := freeBase(t)
	cmd := exec.Command(os.Args[0], "keep", t.TempDir(), strconv.Itoa(base))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "up\n" {
		t.Errorf("keeper said %q, %v", line, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "all ports are free", 5*time.Second, func() error { return portsFrom(base).free() })
}
