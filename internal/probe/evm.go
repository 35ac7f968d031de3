package probe

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// evmKind looks at nodes that speak Ethereum's JSON-RPC.
var evmKind = chainKind("http://10.0.4.11:8545", 0, func(r *run) { r.look().evm() })

// evm asks a node for its chain, its head, whether it is syncing, its peers, the
// last final block, and one block to compare with the group. When the node wants
// fewer questions the rest of them is left out, and counts as refused.
func (l *look) evm() {
	steps := []func() *failure{l.evmChain, l.evmHead, l.evmSyncing, l.evmPeers, l.evmFinal, l.evmFork, l.evmVersion}
	for i, step := range steps {
		f := step()
		if f != nil {
			l.quit(f)
			return
		}
		if l.wrongChain != "" {
			l.differs("chain id", l.wrongChain)
			return
		}
		if l.seen.limited != "" {
			for range len(steps) - i - 1 {
				l.seen.calls = append(l.seen.calls, callOutcome{limited: true})
			}
			break
		}
	}
	l.conclude()
}

func (l *look) evmChain() *failure {
	const method = "eth_chainId"
	raw, e, f := l.rpc(method, "[]")
	switch {
	case f != nil || l.seen.limited != "":
		return f
	case e != nil && (l.Chain.ChainID == "" || l.groups.knownChain(l.key)):
		return nil // it has said so before
	case e != nil:
		return &failure{"assertion", "rpc_error", fmt.Sprintf("%s was answered with the error %s", method, e)}
	}
	id, ok := hexNumber(raw)
	if !ok {
		return wrong(method, raw, `a number such as "0x1"`)
	}
	l.fact("chain id", fmt.Sprintf("%s (0x%x)", id, id))
	if want := l.Chain.ChainID; want != "" {
		if n, ok := new(big.Int).SetString(strings.ToLower(want), 0); ok && n.Cmp(id) != 0 {
			l.wrongChain = id.String()
			return nil
		}
		l.seen.chainKnown = true
	}
	return nil
}

// evmBlock is what is used of a block.
type evmBlock struct {
	number, stamp uint64
	hash          string
}

// block asks for a block; it is nil when the node has none.
func (l *look) block(which string) (*evmBlock, *rpcError, *failure) {
	const method = "eth_getBlockByNumber"
	raw, e, f := l.rpc(method, `["`+which+`",false]`)
	if f != nil || e != nil || l.seen.limited != "" || string(raw) == "null" {
		return nil, e, f
	}
	var b struct {
		Number    json.RawMessage `json:"number"`
		Hash      string          `json:"hash"`
		Timestamp json.RawMessage `json:"timestamp"`
	}
	if json.Unmarshal(raw, &b) != nil {
		return nil, nil, wrong(method, raw, "a block")
	}
	out := &evmBlock{hash: b.Hash}
	var ok, stamped bool
	out.number, ok = hexCount(b.Number)
	out.stamp, stamped = hexCount(b.Timestamp)
	if !ok || !stamped || !strings.HasPrefix(b.Hash, "0x") || len(b.Hash) > 200 {
		return nil, nil, wrong(method, raw, "a block with number, hash and timestamp")
	}
	return out, nil, nil
}

func (l *look) evmHead() *failure {
	b, e, f := l.block("latest")
	switch {
	case f != nil || l.seen.limited != "":
		return f
	case e != nil:
		return &failure{"assertion", "rpc_error", fmt.Sprintf("the node does not tell its head: eth_getBlockByNumber was answered with the error %s", e)}
	case b == nil:
		return &failure{"assertion", "bad_state", "the node has no head: it knows no latest block"}
	}
	l.proof = l.last
	l.seen.hasHead, l.seen.head, l.seen.hash = true, b.number, b.hash
	l.seen.headTime = time.Unix(int64(min(b.stamp, 1<<40)), 0)
	if b.number == 0 {
		l.find(true, "bad_state", "the head is block 0: the node has nothing but the first block of the chain")
	}
	return nil
}

func (l *look) evmSyncing() *failure {
	const method = "eth_syncing"
	raw, e, f := l.rpc(method, "[]")
	switch {
	case f != nil || l.seen.limited != "":
		return f
	case e != nil && e.missing():
		return nil
	case e != nil:
		l.seen.syncFailed = fmt.Sprintf("%s was answered with the error %s", method, e)
		return nil
	}
	l.seen.syncKnown = true
	if json.Unmarshal(raw, &l.seen.syncing) == nil && string(raw) != "null" {
		return nil
	}
	var at struct {
		Current json.RawMessage `json:"currentBlock"`
		Highest json.RawMessage `json:"highestBlock"`
	}
	if string(raw) == "null" || json.Unmarshal(raw, &at) != nil {
		return wrong(method, raw, "false, or an object that says how far it is")
	}
	l.seen.syncing = true
	current, ok := hexCount(at.Current)
	highest, also := hexCount(at.Highest)
	if ok && also {
		l.seen.behind = max(highest, current) - current
		l.fact("syncing", fmt.Sprintf("block %d of %d", current, highest))
	}
	return nil
}

func (l *look) evmPeers() *failure {
	const method = "net_peerCount"
	if l.rules.peers == 0 {
		return nil
	}
	raw, e, f := l.rpc(method, "[]")
	switch {
	case f != nil || l.seen.limited != "":
		return f
	case e != nil:
		return l.unsaid(method, e)
	}
	n, ok := hexCount(raw)
	if !ok {
		return wrong(method, raw, `a number such as "0x19"`)
	}
	l.seen.peers = int(min(n, 1<<31-1))
	return nil
}

// unsaid notes a question that is answered with an error and that the node can
// do without: a warning, unless it does not know the method at all.
func (l *look) unsaid(method string, e *rpcError) *failure {
	if e.missing() {
		l.fact("not told", method)
		return nil
	}
	l.find(false, "rpc_error", "%s was answered with the error %s", method, e)
	return nil
}

// evmFinal asks for the last final block. Where the node does not know the word,
// finality is not judged.
func (l *look) evmFinal() *failure {
	b, e, f := l.block("finalized")
	if f != nil || e != nil || b == nil || b.number == 0 {
		return f
	}
	l.seen.hasFinal, l.seen.final = true, b.number
	return nil
}

func (l *look) evmFork() *failure {
	if !l.seen.hasHead {
		return nil
	}
	at, ok := l.groups.forkHeight(l.key, l.rules, l.seen.head, time.Now())
	if !ok {
		return nil
	}
	b, e, f := l.block(fmt.Sprintf("0x%x", at))
	if f != nil || e != nil || b == nil || b.number != at {
		return f
	}
	l.seen.fork = sighted{at, b.hash}
	return nil
}

// evmVersion asks for the program's name and version, once an hour.
func (l *look) evmVersion() *failure {
	const method = "web3_clientVersion"
	said, fresh := l.groups.version(l.key, time.Now())
	if !fresh {
		raw, e, f := l.rpc(method, "[]")
		if f != nil || l.seen.limited != "" {
			return f
		}
		said = ""
		if e == nil && json.Unmarshal(raw, &said) != nil {
			return wrong(method, raw, "a text")
		}
		l.seen.versionAsked, l.seen.version = true, shorten(strings.ToValidUTF8(said, "\uFFFD"), 200)
	}
	l.fact("client", shorten(said, 200))
	return nil
}
