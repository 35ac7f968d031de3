package probe

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// chainSim lets a group of nodes be looked at, each at its own moment of the
// interval, without network or clock.
type chainSim struct {
	t      *testing.T
	kind   string
	chain  Chain
	every  time.Duration
	block  time.Duration // of the world's chain
	nodes  int
	world  func(node int, at time.Duration) *observation // nil: no answer
	groups *chainGroups
	now    time.Duration
	last   []verdict
	// told counts the runs in which a node failed for a reason, or was warned of
	// one ("~reason").
	told []map[string]int
}

var simStart = time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)

func newChainSim(t *testing.T, kind string, nodes int, every, block time.Duration) *chainSim {
	s := &chainSim{t: t, kind: kind, nodes: nodes, every: every, block: block, groups: newChainGroups(), last: make([]verdict, nodes)}
	if nodes > 1 {
		s.chain.Group = "eth-mainnet"
	}
	s.world = func(_ int, at time.Duration) *observation { return s.at(at) }
	s.forget()
	return s
}

func (s *chainSim) forget() {
	s.told = make([]map[string]int, s.nodes)
	for i := range s.told {
		s.told[i] = map[string]int{}
	}
}

// at is what a good node says at a moment: a block each block time, the first
// one a million.
func (s *chainSim) at(at time.Duration) *observation {
	n := uint64(at / s.block)
	return s.block1(1_000_000 + n)
}

// block1 is what a node says whose head is a block.
func (s *chainSim) block1(head uint64) *observation {
	return &observation{hasHead: true, head: head, hash: fmt.Sprintf("0x%x", head), peers: -1,
		headTime: simStart.Add(time.Duration(head-1_000_000) * s.block)}
}

// pass lets time go on.
func (s *chainSim) pass(d time.Duration) {
	s.t.Helper()
	rules := &chainRules{Chain: s.chain, kind: s.kind, group: s.chain.Group, every: s.every, peers: 1}
	const step = 100 * time.Millisecond
	for end := s.now + d; s.now < end; s.now += step {
		for i := range s.nodes {
			phase := s.every / time.Duration(s.nodes) * time.Duration(i) / step * step
			if (s.now-phase)%s.every != 0 || s.now < phase {
				continue
			}
			k := nodeKey{kind: s.kind, group: s.chain.Group, location: "hub", check: fmt.Sprint("node", i)}
			seen := s.world(i, s.now)
			if seen == nil {
				s.groups.silent(k, simStart.Add(s.now))
				s.told[i]["silent"]++
				continue
			}
			now := simStart.Add(s.now)
			if seen.hasHead && seen.fork.height == 0 {
				if h, ok := s.groups.forkHeight(k, rules, seen.head, now); ok {
					seen.fork = sighted{h, fmt.Sprintf("0x%x%s", h, seen.fork.hash)}
				}
			}
			v := s.groups.observe(k, rules, *seen, now)
			s.last[i] = v
			if w := v.worst(); w != nil {
				s.told[i][w.reason]++
			} else {
				s.told[i]["ok"]++
			}
			for _, f := range v.findings {
				if !f.critical {
					s.told[i]["~"+f.reason]++
				}
			}
		}
	}
}

// wants refuses anything told of a node but the reasons, and wants each of them.
func (s *chainSim) wants(node int, reasons ...string) {
	s.t.Helper()
	for _, r := range reasons {
		if s.told[node][r] == 0 {
			s.t.Errorf("node %d: was told %v, want %s", node, s.told[node], r)
		}
	}
	for r, n := range s.told[node] {
		if !strings.Contains(" "+strings.Join(reasons, " ")+" ", " "+r+" ") {
			s.t.Errorf("node %d: was told %s %d times, want nothing but %v; the last message %q", node, r, n, reasons, s.last[node].message()+s.last[node].warnings())
		}
	}
}

var simChains = []struct {
	kind         string
	every, block time.Duration
}{
	{"evm", 30 * time.Second, 12 * time.Second},
	{"evm", 5 * time.Second, 12 * time.Second},
	{"evm", 30 * time.Second, 2 * time.Second},
	{"evm", 10 * time.Second, 250 * time.Millisecond},
	{"xrpl", 10 * time.Second, 4 * time.Second},
	{"antelope", 10 * time.Second, 500 * time.Millisecond},
	{"antelope", 30 * time.Second, 500 * time.Millisecond},
}

// Good nodes are well, at every pace of the chain and of the checks, in groups
// of every size.
func TestChainHealthy(t *testing.T) {
	for _, c := range simChains {
		for _, nodes := range []int{1, 2, 3, 5} {
			s := newChainSim(t, c.kind, nodes, c.every, c.block)
			s.pass(20 * time.Minute)
			for i := range nodes {
				s.wants(i, "ok")
				if lag := s.last[i].lag; lag < -1 || lag > 1 {
					t.Errorf("%+v, %d nodes: node %d is behind by %d", c, nodes, i, lag)
				}
			}
		}
	}
}

// One node of five lies about its head, one lags; the median stays true.
func TestChainLiarAndLaggard(t *testing.T) {
	for _, c := range simChains {
		s := newChainSim(t, c.kind, 5, c.every, c.block)
		behind := max(40*time.Second, 12*c.block)
		s.world = func(node int, at time.Duration) *observation {
			switch {
			case node == 1 && at > 5*time.Minute:
				o := s.at(at)
				o.head += 5000
				o.hash = "0xbad"
				return o
			case node == 3 && at > 5*time.Minute:
				return s.at(max(at-behind, 5*time.Minute-c.block))
			}
			return s.at(at)
		}
		s.pass(5 * time.Minute)
		for i := range 5 {
			s.wants(i, "ok")
		}
		s.forget()
		s.pass(10 * time.Minute)
		for _, i := range []int{0, 2, 4} {
			s.wants(i, "ok")
		}
		if s.told[1]["bad_state"] == 0 || s.told[1]["ok"] > 1 {
			t.Errorf("%+v: of the liar was told %v, want bad_state from the second time on", c, s.told[1])
		}
		if s.told[3]["lagging"] == 0 {
			t.Errorf("%+v: of the laggard was told %v, want lagging", c, s.told[3])
		}
		want := 1_000_000 + uint64(s.now/c.block)
		if got := s.last[0].median; got+2 < want-uint64(c.every/c.block) || got > want+1 {
			t.Errorf("%+v: the median is %d, want about %d", c, got, want)
		}
		if m := s.last[3].message(); !strings.Contains(m, "blocks behind the group eth-mainnet") {
			t.Errorf("got %q", m)
		}
	}
}

// A liar that was there first is not believed either.
func TestChainLiarFromTheStart(t *testing.T) {
	s := newChainSim(t, "evm", 5, 30*time.Second, 12*time.Second)
	s.world = func(node int, at time.Duration) *observation {
		o := s.at(at)
		if node == 0 {
			o.head += 1 << 40
		}
		return o
	}
	s.pass(30 * time.Second)
	for i := 1; i < 5; i++ {
		if s.told[i]["ok"] != 1 { // the second one has but the liar to go by, and is warned
			t.Errorf("node %d: told %v", i, s.told[i])
		}
	}
	s.pass(5 * time.Minute)
	s.forget()
	s.pass(5 * time.Minute)
	for i := 1; i < 5; i++ {
		s.wants(i, "ok")
	}
	if s.told[0]["bad_state"] == 0 {
		t.Errorf("told %v, want bad_state", s.told[0])
	}
}

// All stop at once: each says that the chain has halted, none is called lagging
// or stuck. They go on, and all is well.
func TestChainHalt(t *testing.T) {
	for _, c := range simChains {
		for _, nodes := range []int{2, 3, 5} {
			s := newChainSim(t, c.kind, nodes, c.every, c.block)
			const from, to = 5*time.Minute + 7*time.Second, 15 * time.Minute
			s.world = func(_ int, at time.Duration) *observation {
				switch {
				case at > to:
					// The chain goes on with blocks of its time then.
					n := s.at(at)
					n.head -= uint64((to - from) / c.block)
					n.hash = fmt.Sprint(n.head)
					return n
				case at > from:
					return s.at(from)
				}
				return s.at(at)
			}
			s.pass(to)
			for i := range nodes {
				if s.told[i]["chain_halt"] == 0 || s.told[i]["lagging"]+s.told[i]["bad_state"]+s.told[i]["fork"] > 0 {
					t.Errorf("%+v, %d nodes: told %v, want chain_halt", c, nodes, s.told[i])
				}
				// Until the others were looked at as well a node may be stuck or
				// its head old.
				if n := s.told[i]["stuck"] + s.told[i]["stale_head"]; n > 2 && n > s.told[i]["chain_halt"]/4 {
					t.Errorf("%+v, %d nodes: told %v, want chain_halt soon", c, nodes, s.told[i])
				}
			}
			if m := s.last[0].message(); !strings.Contains(m, "the chain of the group eth-mainnet has halted") {
				t.Errorf("got %q", m)
			}
			s.pass(2 * max(c.every, c.block*2))
			s.forget()
			s.pass(5 * time.Minute)
			for i := range nodes {
				s.wants(i, "ok")
			}
		}
	}
}

// One stands, the others go on.
func TestChainStuck(t *testing.T) {
	for _, c := range simChains {
		for _, nodes := range []int{1, 2, 3, 5} {
			s := newChainSim(t, c.kind, nodes, c.every, c.block)
			s.world = func(node int, at time.Duration) *observation {
				if node == 0 && at > 5*time.Minute {
					return s.at(5 * time.Minute)
				}
				return s.at(at)
			}
			s.pass(12 * time.Minute)
			if s.told[0]["stuck"] == 0 || s.told[0]["chain_halt"] > 0 {
				t.Errorf("%+v, %d nodes: told %v, want stuck", c, nodes, s.told[0])
			}
			for i := 1; i < nodes; i++ {
				s.wants(i, "ok")
			}
			want := "the head has stood at block"
			if m := s.last[0].message(); !strings.Contains(m, want) || nodes > 2 && !strings.Contains(m, "while the group eth-mainnet goes on (median") {
				t.Errorf("got %q", m)
			}
		}
	}
}

// A node alone is judged by the age and movement of its head, and its group may
// not be named.
func TestChainAlone(t *testing.T) {
	s := newChainSim(t, "evm", 1, 10*time.Second, 12*time.Second)
	s.world = func(_ int, at time.Duration) *observation {
		return s.at(max(at-45*time.Second, 0)) // always 45 s behind the time
	}
	s.pass(10 * time.Minute)
	s.forget()
	s.pass(10 * time.Minute)
	s.wants(0, "ok", "~stale_head")
	if s.last[0].nodes != 0 {
		t.Errorf("it was compared with %d nodes", s.last[0].nodes)
	}
	s.world = func(_ int, at time.Duration) *observation { return s.at(at - 2*time.Minute) }
	s.pass(time.Minute)
	if s.told[0]["stale_head"] == 0 {
		t.Errorf("told %v, want stale_head", s.told[0])
	}
}

// A node that comes back with a lower head, because it begins anew, is lagging
// and neither a liar nor stuck, and well when it has caught up.
func TestChainResync(t *testing.T) {
	for _, says := range []bool{true, false} {
		s := newChainSim(t, "evm", 4, 30*time.Second, 12*time.Second)
		s.world = func(node int, at time.Duration) *observation {
			if node != 2 || at < 10*time.Minute {
				return s.at(at)
			}
			// From 30 minutes back it catches up at six times the pace.
			then := min(10*time.Minute-30*time.Minute+(at-10*time.Minute)*6, at)
			o := s.block1(uint64(int64(1_000_000) + int64(then/s.block)))
			o.syncKnown, o.syncing = true, says && then < at
			o.behind = uint64((at - then) / s.block)
			return o
		}
		s.pass(10 * time.Minute)
		s.forget()
		s.pass(4 * time.Minute)
		want := "lagging"
		if says {
			want = "syncing"
		}
		if s.told[2][want] < 4 || s.told[2]["bad_state"]+s.told[2]["stuck"]+s.told[2]["ok"] > 0 {
			t.Errorf("says %v: told %v, want %s", says, s.told[2], want)
		}
		s.pass(6 * time.Minute)
		s.forget()
		s.pass(5 * time.Minute)
		for i := range 4 {
			s.wants(i, "ok")
		}
	}
}

// Syncing is believed when it was said twice, and its end when it was said four
// times.
func TestChainSyncingIsConfirmed(t *testing.T) {
	s := newChainSim(t, "evm", 1, 30*time.Second, 12*time.Second)
	syncing := false
	s.world = func(_ int, at time.Duration) *observation {
		o := s.at(at)
		o.syncKnown, o.syncing, o.behind = true, syncing, 500
		return o
	}
	s.pass(2 * time.Minute)
	s.wants(0, "ok")
	syncing = true
	s.pass(30 * time.Second)
	s.wants(0, "ok", "~syncing")
	s.pass(30 * time.Second)
	s.wants(0, "ok", "~syncing", "syncing")
	syncing = false
	s.forget()
	s.world = func(_ int, at time.Duration) *observation {
		o := s.at(at)
		o.syncKnown = true
		return o
	}
	s.pass(90 * time.Second)
	if s.told[0]["ok"] != 3 || s.told[0]["~syncing"] != 3 {
		t.Errorf("told %v, want three warnings", s.told[0])
	}
	s.forget()
	s.pass(2 * time.Minute)
	s.wants(0, "ok")
}

// A method that never could be answered is not asked to be.
func TestChainSyncingUnsupported(t *testing.T) {
	s := newChainSim(t, "evm", 1, 30*time.Second, 12*time.Second)
	s.world = func(_ int, at time.Duration) *observation {
		o := s.at(at)
		o.syncFailed = "eth_syncing was answered with an error"
		return o
	}
	s.pass(270 * time.Second)
	s.wants(0, "rpc_error")
	s.forget()
	s.pass(5 * time.Minute)
	s.wants(0, "ok")
}

// The clock: one node's, and this machine's.
func TestChainClock(t *testing.T) {
	ahead := map[int]time.Duration{1: 20 * time.Second}
	s := newChainSim(t, "evm", 4, 30*time.Second, 12*time.Second)
	s.world = func(node int, at time.Duration) *observation {
		o := s.at(at)
		if d := ahead[node]; d != 0 {
			o.headTime = simStart.Add(at + d)
		}
		return o
	}
	s.pass(3 * time.Minute)
	for _, i := range []int{0, 2, 3} {
		s.wants(i, "ok")
	}
	s.wants(1, "clock")
	if m := s.last[1].message(); !strings.Contains(m, "20 s in the future") {
		t.Errorf("got %q", m)
	}
	ahead = map[int]time.Duration{1: 2 * time.Second}
	s.pass(30 * time.Second)
	s.forget()
	s.pass(3 * time.Minute)
	s.wants(1, "ok", "~clock")

	// Most heads are in the future: it is this machine that is wrong, and its
	// runs do not vote.
	ahead = map[int]time.Duration{0: 30 * time.Second, 1: 31 * time.Second, 2: 29 * time.Second, 3: 30 * time.Second}
	s.pass(time.Minute)
	s.forget()
	s.pass(3 * time.Minute)
	for i := range 4 {
		s.wants(i, "own_fault")
	}
}

// A fork is told at the second look; until then it is a warning.
func TestChainFork(t *testing.T) {
	s := newChainSim(t, "evm", 4, 30*time.Second, 12*time.Second)
	forked := -1
	s.world = func(node int, at time.Duration) *observation {
		o := s.at(at)
		if node == forked {
			o.fork.hash = "f0" // the harness adds it to the block's
		}
		return o
	}
	s.pass(10 * time.Minute)
	forked = 2
	s.forget()
	s.pass(10 * time.Minute)
	for _, i := range []int{0, 1, 3} {
		s.wants(i, "ok")
	}
	s.wants(2, "ok", "~fork", "fork")
	if s.told[2]["~fork"] != 1 {
		t.Errorf("told %v, want one warning before", s.told[2])
	}
	if m := s.last[2].message(); !strings.Contains(m, "on a fork: at height") || !strings.Contains(m, "3 of 4 nodes") {
		t.Errorf("got %q", m)
	}
	forked = -1
	s.pass(5 * time.Minute)
	s.forget()
	s.pass(5 * time.Minute)
	s.wants(2, "ok")
}

func TestChainPeers(t *testing.T) {
	s := newChainSim(t, "evm", 1, 30*time.Second, 12*time.Second)
	peers := 0
	s.world = func(_ int, at time.Duration) *observation {
		o := s.at(at)
		o.peers = peers
		return o
	}
	s.pass(time.Minute)
	s.wants(0, "ok", "~no_peers")
	s.forget()
	s.pass(time.Minute)
	s.wants(0, "no_peers")
	peers = 1
	s.forget()
	s.pass(time.Minute)
	s.wants(0, "ok")
}

// A limit on calls is a warning until two in five calls meet it.
func TestChainRateLimit(t *testing.T) {
	s := newChainSim(t, "evm", 1, 30*time.Second, 12*time.Second)
	s.world = func(_ int, at time.Duration) *observation {
		o := s.at(at)
		o.calls = make([]callOutcome, 5)
		if at > 5*time.Minute {
			o = &observation{peers: -1, limited: "the reply was 429", calls: []callOutcome{{limited: true}, {limited: true}, {limited: true}, {limited: true}, {limited: true}}}
		}
		return o
	}
	s.pass(5 * time.Minute)
	s.wants(0, "ok")
	s.pass(30 * time.Second)
	s.forget()
	s.pass(30 * time.Second)
	s.wants(0, "ok", "~rate_limited")
	s.forget()
	s.pass(2 * time.Minute)
	s.wants(0, "rate_limited")
}

func TestChainFinality(t *testing.T) {
	f := func(kind string, block time.Duration, final func(head uint64, at time.Duration) uint64, after time.Duration, want ...string) {
		t.Helper()
		s := newChainSim(t, kind, 1, 30*time.Second, block)
		s.world = func(_ int, at time.Duration) *observation {
			o := s.at(at)
			o.hasFinal, o.final = true, final(o.head, at)
			return o
		}
		s.pass(after)
		s.forget()
		s.pass(2 * time.Minute)
		s.wants(0, want...)
	}
	const eth, eos = 12 * time.Second, 500 * time.Millisecond
	epochs := func(head uint64, _ time.Duration) uint64 { return head/32*32 - 64 }
	f("evm", eth, epochs, time.Hour, "ok")
	// Finality stops after two hours: told when it is three times the usual.
	stops := func(head uint64, at time.Duration) uint64 {
		return epochs(min(head, 1_000_000+uint64(2*time.Hour/eth)), at)
	}
	f("evm", eth, stops, 2*time.Hour+10*time.Minute, "ok")
	f("evm", eth, stops, 3*time.Hour+10*time.Minute, "not_final")
	// A chain with nothing final grows its lag from the first block on.
	f("evm", eth, func(uint64, time.Duration) uint64 { return 999_999 }, 6*time.Hour, "ok")

	rounds := func(head uint64, _ time.Duration) uint64 { return head/12*12 - 325 }
	f("antelope", eos, rounds, time.Hour, "ok")
	f("antelope", eos, func(head uint64, _ time.Duration) uint64 { return head - 450 }, time.Hour, "ok", "~not_final")
	f("antelope", eos, func(head uint64, _ time.Duration) uint64 { return head - 1200 }, time.Minute, "not_final")
	f("antelope", eos, func(head uint64, at time.Duration) uint64 {
		return rounds(min(head, 1_000_000+uint64(time.Hour/eos)), at)
	}, time.Hour+4*time.Minute, "not_final")
	// Instant finality: three times the usual, and ten blocks more than it.
	f("antelope", eos, func(head uint64, at time.Duration) uint64 {
		if at > time.Hour {
			return head - 30
		}
		return head - 3
	}, time.Hour+time.Minute, "not_final")
}

// A node behind a balancer with another one goes a block back and forth: no
// movement, and no fault while there is some.
func TestChainTwoBehindOneAddress(t *testing.T) {
	s := newChainSim(t, "evm", 1, 5*time.Second, 12*time.Second)
	n := 0
	s.world = func(_ int, at time.Duration) *observation {
		n++
		o := s.at(min(at, 10*time.Minute))
		o.head -= uint64(n % 2)
		return o
	}
	s.pass(10 * time.Minute)
	s.wants(0, "ok")
	s.pass(2 * time.Minute)
	if s.told[0]["stuck"] == 0 {
		t.Errorf("told %v, want stuck", s.told[0])
	}
}

// A node that does not answer has no vote, and one that was taken out of the
// configuration is forgotten.
func TestChainSilent(t *testing.T) {
	s := newChainSim(t, "evm", 3, 30*time.Second, 12*time.Second)
	s.world = func(node int, at time.Duration) *observation {
		if node == 0 && at > 5*time.Minute {
			return nil
		}
		return s.at(at)
	}
	s.pass(10 * time.Minute)
	if got := s.last[1].nodes; got != 2 {
		t.Errorf("the median is of %d nodes, want 2", got)
	}
	s.wants(1, "ok")
	s.pass(3 * time.Hour)
	s.nodes = 2
	s.pass(4 * time.Hour)
	n := 0
	for _, g := range s.groups.groups {
		n += len(g)
	}
	if n != 2 {
		t.Errorf("%d nodes are remembered, want 2", n)
	}
}

// Whatever nodes say, judging does not panic, and a node that is not alone and
// well is not called so by the others.
func TestChainNonsense(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		s := newChainSim(t, []string{"evm", "xrpl", "antelope"}[rnd.IntN(3)], 1+rnd.IntN(5), time.Duration(1+rnd.IntN(40))*time.Second, time.Duration(1+rnd.IntN(20))*time.Second)
		s.world = func(_ int, at time.Duration) *observation {
			if rnd.IntN(9) == 0 {
				return nil
			}
			o := &observation{hasHead: rnd.IntN(9) > 0, head: rnd.Uint64() >> (2 + rnd.IntN(62)), peers: rnd.IntN(5) - 1, hasFinal: rnd.IntN(2) == 0, final: rnd.Uint64() >> (2 + rnd.IntN(62)),
				syncKnown: rnd.IntN(2) == 0, syncing: rnd.IntN(2) == 0, behind: rnd.Uint64() >> rnd.IntN(64), calls: make([]callOutcome, rnd.IntN(9))}
			if rnd.IntN(3) > 0 {
				o.headTime = time.Unix(rnd.Int64()>>(20+rnd.IntN(40)), 0)
			}
			return o
		}
		s.pass(10 * time.Minute)
	}
}

// A chain as it is: slots are missed, blocks reach the nodes at different times.
// Nobody is called for it in a week, and warnings are rare.
func TestChainJitter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	const slot = 12 * time.Second
	type minted struct {
		at     time.Duration
		number uint64
	}
	var blocks []minted
	const long = 7 * 24 * time.Hour
	for at := time.Duration(0); at < long; at += slot {
		if rnd.Float64() < 0.05 && at > 0 {
			continue
		}
		blocks = append(blocks, minted{at, 1_000_000 + uint64(len(blocks))})
	}
	s := newChainSim(t, "evm", 5, 30*time.Second, slot)
	next := make([]int, s.nodes)
	s.world = func(node int, at time.Duration) *observation {
		delay := time.Duration(rnd.Int64N(int64(3 * time.Second)))
		for next[node]+1 < len(blocks) && blocks[next[node]+1].at+delay <= at {
			next[node]++
		}
		b := blocks[next[node]]
		return &observation{hasHead: true, head: b.number, peers: -1, headTime: simStart.Add(b.at)}
	}
	s.pass(long)
	for i := range s.nodes {
		warned := 0
		for r, n := range s.told[i] {
			if strings.HasPrefix(r, "~") {
				warned += n
			} else if r != "ok" {
				t.Errorf("node %d failed %d times for %s", i, n, r)
			}
		}
		if share := float64(warned) / float64(s.told[i]["ok"]); share > 0.03 {
			t.Errorf("node %d: a share of %.3f of the runs were warned of: %v", i, share, s.told[i])
		}
	}
}
