package probe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
)

// evmNode answers JSON-RPC as an Ethereum node does.
type evmNode struct {
	mu      sync.Mutex
	answers map[string]string // method -> what stands behind the id: `"result":...` or `"error":...`
	status  map[string]int
	raw     map[string]string // method -> the whole reply
	asked   []string
	head    int
	at      time.Time // of the head
	headers http.Header
}

func newEVM(t *testing.T) (*evmNode, string) {
	n := &evmNode{answers: map[string]string{
		"eth_chainId":        `"result":"0x1"`,
		"eth_syncing":        `"result":false`,
		"net_peerCount":      `"result":"0x19"`,
		"web3_clientVersion": `"result":"Geth/v1.17.8-stable/linux-amd64/go1.26.8"`,
	}, status: map[string]int{}, raw: map[string]string{}, head: 21_884_012, at: time.Now()}
	s := serveHTTP(t, n.serve)
	return n, s.URL
}

func (n *evmNode) serve(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.headers = r.Header
	var q struct {
		Version string `json:"jsonrpc"`
		ID      int    `json:"id"`
		Method  string `json:"method"`
		Params  []any  `json:"params"`
	}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &q); err != nil || q.Version != "2.0" || q.Params == nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "invalid request", http.StatusBadRequest)
		return
	}
	name := q.Method
	if name == "eth_getBlockByNumber" {
		name = fmt.Sprint(q.Params[0])
	}
	n.asked = append(n.asked, name)
	if code := n.status[name]; code != 0 {
		w.WriteHeader(code)
	}
	if raw, ok := n.raw[name]; ok {
		_, _ = io.WriteString(w, raw)
		return
	}
	answer, ok := n.answers[name]
	if !ok && q.Method == "eth_getBlockByNumber" {
		number, at := n.head, n.at
		switch name {
		case "latest":
		case "finalized":
			number -= 70
		default:
			_, _ = fmt.Sscanf(name, "0x%x", &number)
		}
		answer, ok = fmt.Sprintf(`"result":{"number":"0x%x","hash":"0x%064x","timestamp":"0x%x","transactions":[]}`, number, number, at.Unix()), true
	}
	if !ok {
		answer = `"error":{"code":-32601,"message":"the method ` + name + ` does not exist/is not available"}`
	}
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%d,%s}`, q.ID, answer)
}

func (n *evmNode) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// values of a run, by name with labels.
func values(r record.CheckResult) map[string]float64 {
	out := map[string]float64{}
	for _, v := range r.Values {
		name := v.Name
		if len(v.Labels) > 0 {
			name += fmt.Sprint(v.Labels)
		}
		out[name] = v.Value
	}
	return out
}

func TestEVM(t *testing.T) {
	n, url := newEVM(t)
	r := once(t, probe.Check{Kind: "evm", URL: url, Chain: &probe.Chain{Group: "eth-mainnet", ChainID: "1"}, Headers: map[string]string{"X-Api-Key": "sesame-open"}})
	if !r.Success {
		t.Fatal(r.Stage, r.Reason, r.Message)
	}
	var steps []string
	for _, h := range r.Hops {
		steps = append(steps, h.Step)
		if h.Phases[record.Processing].State != record.Done || h.Status != 200 {
			t.Errorf("hop %+v", h)
		}
	}
	if want := []string{"eth_chainId", "eth_getBlockByNumber", "eth_syncing", "net_peerCount", "eth_getBlockByNumber", "web3_clientVersion"}; !slices.Equal(steps, want) {
		t.Errorf("got the steps %v, want %v", steps, want)
	}
	if n.headers.Get("X-Api-Key") != "sesame-open" {
		t.Errorf("got the headers %v", n.headers)
	}
	got := values(r)
	for name, want := range map[string]float64{"probe_chain_head_block": 21_884_012, "probe_chain_peers": 25, "probe_chain_syncing": 0, "probe_chain_finalized_block": 21_883_942} {
		if v, ok := got[name+"[group eth-mainnet]"]; !ok || v != want {
			t.Errorf("%s is %v, want %v; all: %v", name, v, want, got)
		}
	}
	if age, ok := got["probe_chain_head_age_seconds[group eth-mainnet]"]; !ok || age < 0 || age > 60 {
		t.Errorf("the age is %v", age)
	}
	if r.Facts["client"] != "Geth/v1.17.8-stable/linux-amd64/go1.26.8" || r.Facts["chain id"] != "1 (0x1)" || !strings.HasPrefix(r.Facts["head hash"], "0x0000") {
		t.Errorf("got the facts %v", r.Facts)
	}
	// A check that has the label itself does not get it twice.
	r = once(t, probe.Check{Kind: "evm", URL: url, Chain: &probe.Chain{Group: "eth-mainnet"}, Labels: map[string]string{"group": "mine"}})
	if got := values(r); got["probe_chain_head_block"] != 21_884_012 {
		t.Errorf("got %v", got)
	}
}

// What a node may answer, and what is told of it.
func TestEVMAnswers(t *testing.T) {
	f := func(change func(n *evmNode), chain probe.Chain, stage, reason, message string) {
		t.Helper()
		n, url := newEVM(t)
		change(n)
		r := once(t, probe.Check{Kind: "evm", URL: url, Chain: &chain, MaxBodyBytes: 4000})
		if r.Stage != stage || r.Reason != reason || !strings.Contains(r.Message+r.Facts["warnings"], message) {
			t.Errorf("got %s/%s %q, warnings %q, want %s/%s with %q", r.Stage, r.Reason, r.Message, r.Facts["warnings"], stage, reason, message)
		}
		if message != "" && r.Success {
			warned := slices.ContainsFunc(r.Values, func(v record.Value) bool { return v.Name == "probe_chain_warning" && v.Value == 1 })
			if !warned {
				t.Errorf("no sample says %q: %v", message, r.Values)
			}
		}
	}
	answer := func(method, text string) func(n *evmNode) {
		return func(n *evmNode) { n.answers[method] = text }
	}
	raw := func(method string, status int, text string) func(n *evmNode) {
		return func(n *evmNode) { n.raw[method], n.status[method] = text, status }
	}
	block := func(number, hash, stamp string) string {
		return `"result":{"number":` + number + `,"hash":` + hash + `,"timestamp":` + stamp + `}`
	}
	none := probe.Chain{}

	// The chain.
	f(answer("eth_chainId", `"result":"0x89"`), probe.Chain{ChainID: "1"}, "assertion", "wrong_chain", "its chain id is 137; want 1")
	f(answer("eth_chainId", `"result":"0x89"`), probe.Chain{ChainID: "0x89"}, "", "", "")
	f(answer("eth_chainId", `"result":"0x89"`), none, "", "", "")
	f(answer("eth_chainId", `"error":{"code":-32000,"message":"no"}`), probe.Chain{ChainID: "1"}, "assertion", "rpc_error", `"no" (code -32000)`)
	f(answer("eth_chainId", `"error":{"code":-32601,"message":"no"}`), none, "", "", "")

	// Wrong types and forms.
	f(answer("eth_chainId", `"result":5`), none, "body", "bad_reply", "eth_chainId answered 5; want a number")
	f(answer("eth_chainId", `"result":"0x"`), none, "body", "bad_reply", "eth_chainId answered")
	f(answer("eth_chainId", `"result":"0x-1"`), none, "body", "bad_reply", "eth_chainId answered")
	f(answer("eth_chainId", `"result":null`), none, "body", "bad_reply", "eth_chainId answered null")
	f(raw("eth_chainId", 200, `{"jsonrpc":"2.0","id":1}`), none, "body", "bad_reply", "neither a result nor an error")
	f(raw("eth_chainId", 200, `<html>hello</html>`), none, "body", "bad_reply", "not the JSON that was expected")
	f(raw("eth_chainId", 200, `[]`), none, "body", "bad_reply", "the whole is a array")
	f(raw("eth_chainId", 200, ``), none, "body", "bad_reply", "(0 bytes)")
	f(raw("eth_chainId", 200, strings.Repeat("[", 3900)), none, "body", "bad_reply", "not the JSON")
	f(raw("eth_chainId", 200, `{"result":"`+strings.Repeat("x", 5000)+`"}`), none, "transfer", "too_large", "larger than the 4000 bytes")
	f(raw("eth_chainId", 503, `upstream is gone`), none, "status", "status", "the reply was 503 Service Unavailable; want 2xx")
	f(raw("eth_chainId", 401, `{"message":"who are you"}`), none, "status", "status", "401")
	f(raw("latest", 500, `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"internal"}}`), none, "assertion", "rpc_error", `does not tell its head`)
	f(answer("latest", `"error":"just a text"`), none, "assertion", "rpc_error", "just a text")
	f(answer("latest", `"result":null`), none, "assertion", "bad_state", "knows no latest block")
	f(answer("latest", `"result":"0x1"`), none, "body", "bad_reply", "want a block")
	f(answer("latest", block(`12`, `"0xabc"`, `"0x5"`)), none, "body", "bad_reply", "want a block with number")
	f(answer("latest", block(`"0x12"`, `null`, `"0x5"`)), none, "body", "bad_reply", "want a block with number")
	f(answer("latest", block(`"0x12"`, `"0xabc"`, `"0xffffffffffffffffffff"`)), none, "body", "bad_reply", "want a block with number")
	f(answer("eth_syncing", `"result":"maybe"`), none, "body", "bad_reply", "eth_syncing answered")
	f(answer("eth_syncing", `"result":null`), none, "body", "bad_reply", "eth_syncing answered null")
	f(answer("net_peerCount", `"result":25`), none, "body", "bad_reply", "net_peerCount answered 25")
	f(answer("web3_clientVersion", `"result":{}`), none, "body", "bad_reply", "web3_clientVersion answered")

	// The head.
	f(func(n *evmNode) { n.head, n.answers["finalized"] = 0, `"result":null` }, none, "assertion", "bad_state", "the head is block 0")
	f(func(n *evmNode) { n.at = time.Now().Add(-40 * time.Second) }, none, "", "", " s old; less than 36 s is usual")
	f(func(n *evmNode) { n.at = time.Now().Add(-90 * time.Second) }, none, "assertion", "stale_head", "s old; want less than 60 s")
	f(func(n *evmNode) { n.at = time.Now().Add(-90 * time.Second) }, probe.Chain{WarnAge: 3 * time.Minute, MaxAge: 5 * time.Minute}, "", "", "")
	f(func(n *evmNode) { n.at = time.Now().Add(30 * time.Second) }, none, "assertion", "clock", "in the future")

	// What a node can do without.
	f(answer("eth_syncing", `"error":{"code":-32601,"message":"no"}`), none, "", "", "")
	f(answer("eth_syncing", `"error":{"code":-32000,"message":"boom"}`), none, "assertion", "rpc_error", "boom")
	f(answer("eth_syncing", `"result":true`), none, "", "", "syncing")
	f(answer("eth_syncing", `"result":{"currentBlock":"0x10","highestBlock":"0x20","startingBlock":"0x0"}`), none, "", "", "16 blocks behind")
	f(answer("net_peerCount", `"error":{"code":-32000,"message":"boom"}`), none, "", "", "net_peerCount was answered with the error")
	f(answer("net_peerCount", `"error":{"code":-32601,"message":"no"}`), none, "", "", "")
	f(answer("net_peerCount", `"result":"0x0"`), none, "", "", "has no peers")
	few := 30
	f(func(*evmNode) {}, probe.Chain{MinPeers: &few}, "", "", "has 25 peers; want 30 or more")
	f(answer("finalized", `"error":{"code":-39001,"message":"Unknown block"}`), none, "", "", "")
	f(answer("finalized", `"result":null`), none, "", "", "")
	f(func(*evmNode) {}, probe.Chain{MaxFinalLag: 50}, "assertion", "not_final", "is 70 blocks behind the head; want at most 50")

	// Too many questions are not the node's fault.
	f(raw("eth_chainId", 429, `slow down`), none, "", "", "the reply was 429 Too Many Requests")
	f(answer("latest", `"error":{"code":-32005,"message":"daily request count exceeded"}`), none, "", "", "daily request count exceeded")
}

// The rest of the questions is left out once the node wants fewer, and a limit
// that stays becomes a failure.
func TestEVMRateLimit(t *testing.T) {
	n, url := newEVM(t)
	p := chainProber(t, probe.Check{Name: "a", Kind: "evm", URL: url})
	for range 3 {
		if r := runNow(t, p, "a"); !r.Success {
			t.Fatal(r.Message)
		}
	}
	n.set(func() { n.status["latest"], n.asked = 429, nil })
	r := runNow(t, p, "a")
	if !r.Success || values(r)["probe_chain_warning[reason rate_limited]"] != 1 || len(n.asked) != 2 {
		t.Errorf("got %v %s, asked %v", r.Success, r.Message, n.asked)
	}
	r = runNow(t, p, "a")
	if r.Reason != "rate_limited" || !strings.Contains(r.Message, "met the limit") {
		t.Errorf("got %s %q, want rate_limited", r.Reason, r.Message)
	}
	n.set(func() { n.status["latest"] = 0 })
	runNow(t, p, "a")
	runNow(t, p, "a")
	if r = runNow(t, p, "a"); !r.Success {
		t.Errorf("got %s %q when the limit is gone", r.Reason, r.Message)
	}
}

func chainProber(t *testing.T, checks ...probe.Check) *probe.Prober {
	t.Helper()
	for i := range checks {
		checks[i].Paused = true // runs come by hand
	}
	p, err := probe.New(probe.Config{Checks: checks}, func(context.Context, probe.Check, record.CheckResult) {}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func runNow(t *testing.T, p *probe.Prober, id string) record.CheckResult {
	t.Helper()
	r, err := p.RunNow(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Five nodes of a group over HTTP: all agree, one lags, one lies, one is on
// another fork; a check of another group knows nothing of them.
func TestEVMGroup(t *testing.T) {
	var nodes []*evmNode
	var checks []probe.Check
	for i := range 6 {
		n, url := newEVM(t)
		nodes = append(nodes, n)
		c := probe.Check{Name: fmt.Sprint("node", i), Kind: "evm", URL: url, Interval: time.Minute, Chain: &probe.Chain{Group: "eth-mainnet", ChainID: "1", BlockTime: 12 * time.Second}}
		if i == 5 {
			c.Chain.Group = "other"
		}
		checks = append(checks, c)
	}
	p := chainProber(t, checks...)
	round := func() (out []record.CheckResult) {
		for i := range nodes {
			out = append(out, runNow(t, p, fmt.Sprint("node", i)))
		}
		return out
	}
	round()
	for i, r := range round() {
		if !r.Success || r.Facts["warnings"] != "" {
			t.Errorf("node %d: %s %s %s", i, r.Reason, r.Message, r.Facts["warnings"])
		}
	}
	nodes[1].set(func() { nodes[1].head -= 40 })
	nodes[2].set(func() { nodes[2].head += 4000 })
	nodes[3].set(func() {
		for h := nodes[3].head/8*8 - 64; h < nodes[3].head; h += 8 {
			nodes[3].answers[fmt.Sprintf("0x%x", h)] = fmt.Sprintf(`"result":{"number":"0x%x","hash":"0xf04c","timestamp":"0x5"}`, h)
		}
	})
	round()
	rs := round()
	for i, want := range []string{"", "lagging", "bad_state", "fork", "", ""} {
		if rs[i].Reason != want {
			t.Errorf("node %d: got %q (%s), want %q", i, rs[i].Reason, rs[i].Message, want)
		}
	}
	if got := values(rs[1])["probe_chain_lag_blocks[group eth-mainnet]"]; got != 40 {
		t.Errorf("the lag is %v, want 40", got)
	}
	if got := values(rs[0])["probe_chain_group_median[group eth-mainnet]"]; got != 21_884_012 {
		t.Errorf("the median is %v", got)
	}
	if got := rs[5].Facts["median of the group"]; got != "" {
		t.Errorf("the node of the other group was compared: %s", got)
	}
	if !strings.Contains(rs[1].Message, "the head is 40 blocks behind the group eth-mainnet: block 21883972, median 21884012 of") {
		t.Errorf("got %q", rs[1].Message)
	}
}
