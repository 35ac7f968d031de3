package probe_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/vedette-sre/vedette/internal/probe"
)

func TestChainValidate(t *testing.T) {
	f := func(kind string, ch probe.Chain, want string, more ...func(c *probe.Check)) {
		t.Helper()
		c := probe.Check{Name: "x", Kind: kind, URL: "http://node.test:8545", Chain: &ch}
		for _, m := range more {
			m(&c)
		}
		err := c.Validate()
		switch {
		case want == "" && err != nil:
			t.Errorf("got %v, want none", err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("got %v, want %s", err, want)
		}
	}
	n := func(i int) *int { return &i }
	f("evm", probe.Chain{}, "")
	f("evm", probe.Chain{Group: "g", ChainID: "0x1", BlockTime: time.Second, MinPeers: n(0), WarnLag: 1, MaxLag: 1, MaxLagTime: time.Minute, WarnAge: time.Second, MaxAge: time.Minute,
		StuckAfter: time.Minute, MaxAhead: time.Second, WarnFinalLag: 5, MaxFinalLag: 6, FinalStuckAfter: time.Minute}, "")
	f("xrpl", probe.Chain{ChainID: "0", HealthURL: "https://node.test:51235/health", StartGrace: time.Minute}, "")
	f("antelope", probe.Chain{ChainID: "aca376f2"}, "")
	f("http", probe.Chain{}, "chain: this section is for checks of the kind")
	f("evm", probe.Chain{Group: strings.Repeat("g", 101)}, `chain.group: "ggg`)
	f("evm", probe.Chain{Group: "a\nb"}, `chain.group: "a\nb": want`)
	f("evm", probe.Chain{ChainID: "mainnet"}, `chain.chain_id: "mainnet": want a number such as 1 or 0x1`)
	f("xrpl", probe.Chain{ChainID: "0x1"}, `chain.chain_id: "0x1": want the number of a network`)
	f("antelope", probe.Chain{ChainID: "eos"}, `chain.chain_id: "eos": want 8 to 64`)
	f("antelope", probe.Chain{MinPeers: n(1)}, "chain.min_peers: a node of the kind antelope does not say")
	f("evm", probe.Chain{MinPeers: n(-1)}, "chain.min_peers: -1: want from 0")
	f("evm", probe.Chain{HealthURL: "https://node.test:51235/health"}, "chain.health_url: is for checks of the kind xrpl")
	f("xrpl", probe.Chain{HealthURL: "ftp://x"}, `chain.health_url: "ftp://x": want`)
	f("xrpl", probe.Chain{HealthURL: "https://u:sesame@x/"}, `chain.health_url: "https://(removed)@x/": want`)
	f("evm", probe.Chain{StartGrace: time.Minute}, "chain.start_grace: is for")
	f("xrpl", probe.Chain{MaxFinalLag: 5}, "chain.max_final_lag: ")
	f("evm", probe.Chain{BlockTime: time.Millisecond}, "chain.block_time: 1ms: want from 10ms")
	f("evm", probe.Chain{StuckAfter: -time.Minute}, "chain.stuck_after: -1m0s: want")
	f("evm", probe.Chain{MaxLag: -1}, "chain.max_lag: -1: want")
	f("evm", probe.Chain{WarnLag: 7, MaxLag: 6}, "chain.warn_lag: 7: want at most chain.max_lag, 6")
	f("evm", probe.Chain{WarnAge: time.Hour, MaxAge: time.Minute}, "chain.warn_age: 1h0m0s: want at most chain.max_age, 1m0s")
	f("evm", probe.Chain{WarnFinalLag: 7, MaxFinalLag: 6}, "chain.warn_final_lag: 7: want")
	f("evm", probe.Chain{}, "body: a check of the kind evm asks and judges by itself", func(c *probe.Check) { c.Body = "x" })
	f("evm", probe.Chain{}, "method: ", func(c *probe.Check) { c.Method = "PUT" })
	f("evm", probe.Chain{}, "expect.body_contains: ", func(c *probe.Check) { c.Expect.BodyContains = "x" })
	f("evm", probe.Chain{}, "expect.status: ", func(c *probe.Check) { c.Expect.Status = probe.Statuses{"200"} })
	f("evm", probe.Chain{}, "", func(c *probe.Check) { c.Expect.MaxSeconds = 3 })
	f("evm", probe.Chain{}, `url: "redis://x": want a URL that begins with http:// or https://`, func(c *probe.Check) { c.URL = "redis://x" })

	// The caller's own object stays as it was, and twice changes nothing.
	own := probe.Chain{Group: "g"}
	c := probe.Check{Name: "x", Kind: "evm", URL: "http://node.test:8545", Chain: &own}
	if err := c.Validate(); err != nil || own.MinPeers != nil || *c.Chain.MinPeers != 1 {
		t.Errorf("%v, %+v, %+v", err, own, c.Chain)
	}
	if err := c.Validate(); err != nil || *c.Chain.MinPeers != 1 {
		t.Errorf("%v, %+v", err, c.Chain)
	}
	// Without a section, and by default still a check of HTTP.
	c = probe.Check{Name: "x", Kind: "xrpl", URL: "http://node.test:5005"}
	if err := c.Validate(); err != nil || *c.Chain.MinPeers != 8 || c.Interval != 10*time.Second {
		t.Errorf("%v, %+v", err, c)
	}
	c = probe.Check{Name: "x", URL: "http://node.test:5005"}
	if err := c.Validate(); err != nil || c.Kind != "http" {
		t.Errorf("%v, %+v", err, c)
	}
}

// FuzzChain: whatever a node answers, the run ends with a verdict and the prober
// does not fail itself.
func FuzzChain(f *testing.F) {
	at := time.Now().UTC()
	f.Add("evm", `{"jsonrpc":"2.0","id":1,"result":"0x1"}`, 200)
	f.Add("evm", `{"jsonrpc":"2.0","id":1,"result":{"number":"0x1","hash":"0x2","timestamp":"0x3"}}`, 200)
	f.Add("evm", `{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"limit"}}`, 429)
	f.Add("xrpl", strings.ReplaceAll(xrplAnswer, "TIME", at.Format("2006-Jan-02 15:04:05.000000 UTC")), 200)
	f.Add("xrpl", `{"result":{"error":"slowDown","status":"error"}}`, 503)
	f.Add("antelope", strings.ReplaceAll(antelopeAnswer, "TIME", at.Format("2006-01-02T15:04:05.000")), 200)
	f.Add("antelope", `{"code":500,"error":{"code":1,"name":"x","what":"y","details":[{}]}}`, 500)
	f.Fuzz(func(t *testing.T, kind, body string, status int) {
		if kind != "evm" && kind != "xrpl" && kind != "antelope" || status < 200 || status > 599 {
			return
		}
		s := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
		r := once(t, probe.Check{Kind: kind, URL: s.URL, Chain: &probe.Chain{Group: "g"}})
		if r.Reason == "own_fault" || r.Success != (r.Reason == "") || !utf8.ValidString(r.Message) {
			t.Errorf("got %v %s/%s %q", r.Success, r.Stage, r.Reason, r.Message)
		}
	})
}
