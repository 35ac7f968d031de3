package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// geth starts an Ethereum node that makes blocks by itself: one each period
// seconds, with 0 one for each transaction.
func geth(t *testing.T, period int) *process {
	t.Helper()
	prog := peer(t, "chainpeer/bin/geth")
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &process{url: "http://" + addr}
	p.start(t, prog, "--dev", "--dev.period", fmt.Sprint(period), "--datadir", filepath.Join(dir, "geth"), "--ipcdisable", "--nodiscover", "--maxpeers", "0", "--port", "0", "--verbosity", "2",
		"--authrpc.port", freePort(t), "--http", "--http.addr", "127.0.0.1", "--http.port", port, "--http.api", "eth,net,web3")
	eventually(t, "geth listening", func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return p
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// rpc calls a node; the answer's result is decoded into v.
func rpc(ctx context.Context, base, method string, v any, params ...any) error {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Result json.RawMessage
		Error  json.RawMessage
	}
	if err := json.Unmarshal(b, &answer); err != nil || answer.Error != nil {
		return fmt.Errorf("%s: %s", method, b)
	}
	return json.Unmarshal(answer.Result, v)
}

// chainRun is what is read of a run.
type chainRun struct {
	Success                bool
	Stage, Reason, Message string
	Start                  time.Time
	Facts                  map[string]string
	Values                 []struct {
		Name  string
		Value float64
	}
}

func (r chainRun) value(name string) float64 {
	for _, v := range r.Values {
		if v.Name == name {
			return v.Value
		}
	}
	return -1
}

// lastRun is the last run of a check that began after a moment.
func lastRun(t *testing.T, base, id string, after time.Time) (chainRun, bool) {
	t.Helper()
	var v struct{ Runs []chainRun }
	if err := json.Unmarshal(get(t, base+"/api/v1/checks/"+id+"/runs?limit=1"), &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Runs) == 0 || !v.Runs[0].Start.After(after) {
		return chainRun{}, false
	}
	return v.Runs[0], true
}

// TestGeth watches two live Ethereum nodes: one that makes a block a second and
// is frozen for a while, and one that answers all the time while its head
// stands.
func TestGeth(t *testing.T) {
	lively, idle := geth(t, 1), geth(t, 0)
	v := vedette(t, t.TempDir(), map[string]string{"vedette.yml": fmt.Sprintf(`watch: false
checks:
  - {name: lively, kind: evm, url: '%s', interval: 1s, timeout: 900ms, chain: {chain_id: 1337, min_peers: 0, block_time: 1s, max_ahead: 1m}}
  - {name: idle, kind: evm, url: '%s', interval: 1s, timeout: 900ms, chain: {chain_id: 0x539, min_peers: 0, block_time: 1s, stuck_after: 5s, max_ahead: 1m}}
  - {name: stranger, kind: evm, url: '%s', interval: 1s, timeout: 900ms, chain: {chain_id: 1, min_peers: 0}}
`, lively.url, idle.url, lively.url)})
	becomes := func(id, what string, ok func(r chainRun) bool) (last chainRun) {
		t.Helper()
		from := time.Now()
		defer func() {
			if t.Failed() {
				t.Logf("the last run of %s: %+v", id, last)
			}
		}()
		eventually(t, id+" "+what, func() bool {
			r, fresh := lastRun(t, v.url, id, from)
			if fresh {
				last = r
			}
			return fresh && ok(r)
		})
		return last
	}
	healthy := func(r chainRun) bool { return r.Success }

	// A block a second: the head goes on.
	r := becomes("lively", "being healthy", healthy)
	if !strings.HasPrefix(r.Facts["client"], "Geth/v1.17") || r.Facts["chain id"] != "1337 (0x539)" {
		t.Errorf("the facts are %v", r.Facts)
	}
	head := r.value("probe_chain_head_block")
	r = becomes("lively", "having three more blocks", func(r chainRun) bool { return r.Success && r.value("probe_chain_head_block") >= head+3 })
	if d := r.value("probe_chain_block_time_seconds"); d >= 0 && (d < 0.9 || d > 2) {
		t.Errorf("the block time is %v, want about 1 s", d)
	}
	if r := becomes("stranger", "being on another chain", func(r chainRun) bool { return !r.Success }); r.Reason != "wrong_chain" {
		t.Errorf("got %s %s, want wrong_chain", r.Reason, r.Message)
	}

	// Frozen: it takes connections and says nothing.
	t.Cleanup(func() { _ = lively.cmd.Process.Signal(syscall.SIGCONT) }) // or it could not end
	if err := lively.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r = becomes("lively", "giving no answer", func(r chainRun) bool { return !r.Success })
	if r.Stage != "processing" || r.Reason != "no_response" {
		t.Errorf("got %s/%s %s, want processing/no_response", r.Stage, r.Reason, r.Message)
	}
	if err := lively.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	becomes("lively", "recovering", healthy)

	// The other node has a block for each transaction.
	var accounts []string
	if err := rpc(t.Context(), idle.url, "eth_accounts", &accounts); err != nil || len(accounts) == 0 {
		t.Fatalf("the node has the accounts %v: %v", accounts, err)
	}
	mine := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				var hash string
				if err := rpc(ctx, idle.url, "eth_sendTransaction", &hash, map[string]any{"from": accounts[0], "to": accounts[0], "value": "0x1"}); err != nil && ctx.Err() == nil {
					done <- err
					return
				}
				select {
				case <-ctx.Done():
					done <- nil
					return
				case <-tick.C:
				}
			}
		}()
		return func() {
			t.Helper()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("the transactions: %v", err)
			}
		}
	}
	stop := mine()
	becomes("idle", "being healthy", healthy)
	stop()
	r = becomes("idle", "being stuck", func(r chainRun) bool { return !r.Success })
	if r.Stage != "assertion" || r.Reason != "stuck" || !strings.Contains(r.Message, "the head has stood at block") {
		t.Errorf("got %s/%s %s, want assertion/stuck", r.Stage, r.Reason, r.Message)
	}
	stop = mine()
	becomes("idle", "recovering", healthy)
	stop()
	if n := number(ask(v.url, "query", map[string][]string{"query": {`max_over_time(probe_chain_head_block{check="idle"}[5m])`}})); n < 2 {
		t.Errorf("the series of the head is %v", n)
	}
}
