package demo

import (
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func TestCustomersSumToOne(t *testing.T) {
	var sum float64
	for _, c := range customers() {
		sum += c.share
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("customers' shares sum to %v, want 1", sum)
	}
	sum = 0
	for _, v := range visits() {
		sum += v.share
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("visits' shares sum to %v, want 1", sum)
	}
	if got := pick(visits(), 0.9999999).path; got != "/orders" {
		t.Errorf("the last visit: got %s", got)
	}
	f := func(name, want string) {
		t.Helper()
		if got := boundCustomer(name); got != want {
			t.Errorf("boundCustomer(%q): got %s, want %s", name, got, want)
		}
	}
	f("globex", "globex")
	f("", noCustomer)
	f("someone-else", "other")
}

func TestLag(t *testing.T) {
	l := lag{10 * time.Millisecond, 40 * time.Millisecond}
	var got []time.Duration
	for range 20_000 {
		got = append(got, l.draw())
	}
	slices.Sort(got)
	if m := got[10_000]; m < 9*time.Millisecond || m > 11*time.Millisecond {
		t.Errorf("median: got %s, want about 10ms", m)
	}
	if p := got[19_800]; p < 34*time.Millisecond || p > 47*time.Millisecond {
		t.Errorf("p99: got %s, want about 40ms", p)
	}
	if d := (lag{}).draw(); d != 0 {
		t.Errorf("the zero lag: got %s", d)
	}
}

func TestQueue(t *testing.T) {
	start := time.Unix(1000, 0)
	q := newQueue(30*time.Second, 3)
	for i := range 3 {
		if _, err := q.put(json.RawMessage(`1`), start.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.put(json.RawMessage(`1`), start); err != errQueueFull {
		t.Errorf("a fourth message: got %v, want %v", err, errQueueFull)
	}
	got, _ := q.take(2, start.Add(5*time.Second))
	if len(got) != 2 || got[0].ID != 1 || got[1].ID != 2 {
		t.Fatalf("take: got %+v", got)
	}
	q.settle([]int64{1, 99}, nil)
	if st := q.stats(start.Add(10 * time.Second)); st.Depth != 1 || st.Taken != 1 || st.Out != 1 || st.OldestAge != 9*time.Second {
		t.Errorf("stats: got %+v", st)
	}
	// The lease of the second ends: it is the first to be given out again.
	got, _ = q.take(10, start.Add(40*time.Second))
	if len(got) != 2 || got[0].ID != 2 || got[1].ID != 3 {
		t.Errorf("take after the lease: got %+v", got)
	}
	q.settle([]int64{2}, []int64{3})
	if st := q.stats(start.Add(time.Minute)); st.Depth != 0 || st.Taken != 0 || st.Out != 2 || st.Failed != 1 || st.Again != 1 || st.OldestAge != 0 {
		t.Errorf("stats at the end: got %+v", st)
	}
}

func testControl(t *testing.T) *control {
	c := &control{path: filepath.Join(t.TempDir(), faultFile), log: slog.New(slog.DiscardHandler), changed: make(chan struct{})}
	c.load()
	return c
}

func TestControlWaitsForASwitch(t *testing.T) {
	c := testControl(t)
	synctest.Test(t, func(t *testing.T) {
		c.changed = make(chan struct{})
		version := c.list.Version
		start := time.Now()
		if l := c.wait(t.Context(), version, 20*time.Second); l.Version != version || time.Since(start) != 20*time.Second {
			t.Errorf("nothing switched: got version %d after %s", l.Version, time.Since(start))
		}
		done := make(chan faultList)
		go func() { done <- c.wait(t.Context(), version, 20*time.Second) }()
		synctest.Wait()
		if _, err := c.flip(QueueStuck, "on", time.Now()); err != nil {
			t.Fatal(err)
		}
		if l := <-done; l.Version != version+1 || !on(l.Faults, QueueStuck) {
			t.Errorf("switched: got %+v", l)
		}
	})
}

func on(states []FaultState, name string) bool {
	return slices.ContainsFunc(states, func(f FaultState) bool { return f.Name == name && f.On })
}

func TestControlKeepsItsSwitches(t *testing.T) {
	c := testControl(t)
	now := time.Unix(5000, 0)
	if _, err := c.flip("all", "on", now); err != nil {
		t.Fatal(err)
	}
	if l, err := c.flip(DNSSlow, "off", now.Add(time.Minute)); err != nil || len(l.Faults) != 1 || l.Faults[0].On {
		t.Fatalf("off: got %+v, %v", l, err)
	}
	// On again while on: the time of the first holds.
	if l, err := c.flip(QueueStuck, "on", now.Add(time.Hour)); err != nil || !l.Faults[0].OnAt.Equal(now) {
		t.Errorf("on twice: got %+v, %v", l, err)
	}
	again := &control{path: c.path, log: c.log, changed: make(chan struct{})}
	again.load()
	if !on(again.list.Faults, QueueStuck) || on(again.list.Faults, DNSSlow) {
		t.Errorf("after a crash: got %+v", again.list.Faults)
	}
	for _, bad := range [][2]string{{"nothing", "on"}, {QueueStuck, "maybe"}} {
		if _, err := c.flip(bad[0], bad[1], now); err == nil {
			t.Errorf("flip %v was taken", bad)
		}
	}
	srv := httptest.NewServer(c.handler())
	defer srv.Close()
	resp, err := http.Post(srv.URL+"/faults/all/off", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a switch without the header: status %d, want 403", resp.StatusCode)
	}
}

func TestDNSAnswers(t *testing.T) {
	f := func(name string, kind uint16, rcode, answers int) {
		t.Helper()
		q := new(dns.Msg)
		q.SetQuestion(name, kind)
		m := answerDNS(q)
		if m.Rcode != rcode || len(m.Answer) != answers {
			t.Errorf("%s %s: got %s with %d answers, want %s with %d", name, dns.TypeToString[kind],
				dns.RcodeToString[m.Rcode], len(m.Answer), dns.RcodeToString[rcode], answers)
		}
	}
	f("gateway.shop.internal.", dns.TypeA, dns.RcodeSuccess, 1)
	f("GateWay.Shop.Internal.", dns.TypeA, dns.RcodeSuccess, 1)
	f("gateway.shop.internal.", dns.TypeAAAA, dns.RcodeSuccess, 0)
	f("api.payment.example.", dns.TypeA, dns.RcodeSuccess, 1)
	f("shop.internal.", dns.TypeSOA, dns.RcodeSuccess, 0)
	f("nothing.shop.internal.", dns.TypeA, dns.RcodeNameError, 0)
	f("example.org.", dns.TypeA, dns.RcodeRefused, 0)
	if m := answerDNS(new(dns.Msg)); m.Rcode != dns.RcodeFormatError {
		t.Errorf("no question: got %s", dns.RcodeToString[m.Rcode])
	}
}

func FuzzDNS(f *testing.F) {
	q := new(dns.Msg)
	q.SetQuestion("gateway.shop.internal.", dns.TypeA)
	b, err := q.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, packet []byte) {
		q := new(dns.Msg)
		if q.Unpack(packet) != nil {
			return
		}
		m := answerDNS(q)
		if m == nil || m.Id != q.Id || !m.Response {
			t.Fatalf("answer %v to %v", m, q)
		}
	})
}

func TestServeRefuses(t *testing.T) {
	f := func(role string, args []string, want string) {
		t.Helper()
		if err := Serve(t.Context(), role, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("serve %s %v: got %v, want %q", role, args, err, want)
		}
	}
	f("gateway", nil, "want the base port and the directory")
	f("gateway", []string{"x", "."}, "base port")
	f("cook", []string{"7580", "."}, `no role "cook"`)
}
