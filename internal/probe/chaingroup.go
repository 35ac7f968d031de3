package probe

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// chainRules are the limits of a check, as configured; 0 is the kind's default.
type chainRules struct {
	Chain
	kind  string
	group string
	every time.Duration
	peers int // fewer are a warning; 0: peers do not matter
}

func newChainRules(c *Check) *chainRules {
	x := &chainRules{Chain: *c.Chain, kind: c.Kind, group: c.Chain.Group, every: c.Interval}
	if c.Chain.MinPeers != nil {
		x.peers = *c.Chain.MinPeers
	}
	return x
}

// chainLimits are the rules with everything filled in, for a block time.
type chainLimits struct {
	block                                 time.Duration
	width                                 uint64 // within which heads count as equal
	warnLag, maxLag                       int64
	warnAge, maxAge, stuck, ahead, lonely time.Duration
	warnFinal, maxFinal                   uint64
	finalStuck                            time.Duration
}

// at fills in the limits; the numbers are those of dshackle, eRPC, ethcheck,
// rippled and the health checks of Antelope's block producers.
func (x *chainRules) at(block time.Duration) chainLimits {
	l := chainLimits{block: block, width: clusterWidth(block), ahead: cmp.Or(x.MaxAhead, 5*time.Second), finalStuck: x.FinalStuckAfter}
	l.stuck = cmp.Or(x.StuckAfter, max(5*block, 30*time.Second))
	l.warnFinal, l.maxFinal = uint64(x.WarnFinalLag), uint64(x.MaxFinalLag)
	warnLag, maxLag := int(max(1, l.width-1)), int(max(6, 3*l.width))
	warnAge, maxAge := max(3*block, 5*time.Second), max(5*block, time.Minute)
	l.lonely = time.Minute
	switch x.kind {
	case "xrpl":
		warnLag, maxLag, warnAge, maxAge, l.lonely = 2, 5, 7*time.Second, 20*time.Second, 0
	case "antelope":
		warnLag, maxLag, warnAge, maxAge = 2, 10, 5*time.Second, time.Minute
		l.warnFinal, l.maxFinal = cmp.Or(l.warnFinal, 400), cmp.Or(l.maxFinal, 1000)
		l.finalStuck = cmp.Or(l.finalStuck, 3*time.Minute)
	}
	l.maxLag = int64(cmp.Or(x.MaxLag, max(maxLag, x.WarnLag)))
	l.warnLag = min(int64(cmp.Or(x.WarnLag, warnLag)), l.maxLag)
	l.maxAge = cmp.Or(x.MaxAge, max(maxAge, x.WarnAge))
	l.warnAge = min(cmp.Or(x.WarnAge, warnAge), l.maxAge)
	l.warnFinal = min(l.warnFinal, l.maxFinal)
	if l.maxFinal == 0 {
		l.warnFinal = uint64(x.WarnFinalLag)
	}
	return l
}

func clusterWidth(block time.Duration) uint64 {
	return uint64(min(max(math.Ceil(2/block.Seconds()), 2), 10))
}

var defaultBlockTime = map[string]time.Duration{"evm": 12 * time.Second, "xrpl": 4 * time.Second, "antelope": 500 * time.Millisecond}

// observation is what one run saw of a node.
type observation struct {
	hasHead  bool
	head     uint64
	hash     string
	headTime time.Time     // zero: not told
	slack    time.Duration // by which headTime may be off on the way
	peers    int           // -1: not told
	hasFinal bool
	final    uint64
	// syncKnown: the node was asked whether it is syncing, and said syncing.
	// behind is by how many blocks, in its own words.
	syncKnown, syncing bool
	behind             uint64
	syncFailed         string // what it said instead
	// fork is the block that the nodes of a group compare; hash "": not asked.
	fork  sighted
	skew  time.Duration // of the node's own clock
	calls []callOutcome
	// limited is how the node said that it wants fewer questions, "" when it did
	// not.
	limited  string
	findings []finding // of the kind
	// starting: the node began so little ago that it may lack something.
	starting     bool
	chainKnown   bool // it said that it is on the right chain
	versionAsked bool
	version      string
}

// sighted is a block at a height.
type sighted struct {
	height uint64
	hash   string
}

// sighting is a head at a time.
type sighting struct {
	at   time.Time
	head uint64
}

// nodeState is what is remembered of a node, as one location sees it. It is
// passed by value: what its slices hold is never changed.
type nodeState struct {
	every    time.Duration // between looks
	touched  time.Time     // of the last look
	seen     time.Time     // of the last answer with a head; zero: none yet
	answers  bool          // the last run got an answer
	head     uint64
	headTime time.Time
	past     []sighting    // the last heads, the newest last
	peak     uint64        // the highest head since the node fell back
	moved    time.Time     // when the peak was first seen
	top      sighting      // the highest believable head ever
	odd      int           // unbelievable heads in a row
	block    time.Duration // average time between blocks
	blocks   int           // samples behind it
	off      time.Duration // of the clock

	syncing         bool // confirmed
	saysYes, saysNo int  // in a row
	syncOK, syncBad int
	lonely          time.Time // since when it has no peer
	final           uint64
	finalMoved      time.Time
	usual           float64 // blocks between the final block and the head
	usuals          int
	forks           []sighted // the last blocks that were compared
	strikes         int       // comparisons in a row in which its block was another
	calls           []callOutcome
	chainKnown      bool
	version         string
	versionAt       time.Time
}

const (
	keptSightings = 4
	keptForks     = 4
	keptCalls     = 20
)

// chainGroup is the company in which a node is judged.
type chainGroup struct {
	name  string
	rules *chainRules
	peers []nodeState // the other nodes that answered lately
}

// finding is something that is not as it should be.
type finding struct {
	reason   string
	critical bool
	message  string
}

// verdict is what came of judging a node.
type verdict struct {
	findings  []finding     // the gravest first
	blockTime time.Duration // 0: not learned yet
	age       time.Duration
	standing  time.Duration
	syncing   bool
	nodes     int // whose heads the median is of; 0: there is none
	median    uint64
	lag       int64 // negative: ahead
}

// worst is the critical finding that names the failure, nil when there is none.
func (v verdict) worst() *finding {
	for i, f := range v.findings {
		if f.critical {
			return &v.findings[i]
		}
	}
	return nil
}

func (v verdict) texts(critical bool) string {
	var said []string
	for _, f := range v.findings {
		if f.critical == critical {
			said = append(said, f.message)
		}
	}
	return strings.Join(said, "; ")
}

// message says everything critical, the reason's first.
func (v verdict) message() string { return v.texts(true) }

func (v verdict) warnings() string { return v.texts(false) }

func (v *verdict) add(critical bool, reason, format string, args ...any) {
	v.findings = append(v.findings, finding{reason, critical, fmt.Sprintf(format, args...)})
}

// has reports whether something critical was found for a reason.
func (v *verdict) has(reasons ...string) bool {
	return slices.ContainsFunc(v.findings, func(f finding) bool { return f.critical && slices.Contains(reasons, f.reason) })
}

// gravity orders the reasons: what explains the others comes first.
var gravity = []string{"own_fault", "chain_halt", "stuck", "amendment_blocked", "bad_state", "syncing", "lagging", "fork", "stale_head", "no_peers", "overloaded", "not_final", "clock", "rate_limited", "rpc_error", "slow"}

func (v *verdict) sort() {
	rank := func(f finding) int {
		n := slices.Index(gravity, f.reason)
		if n < 0 {
			n = len(gravity)
		}
		return n
	}
	slices.SortStableFunc(v.findings, func(a, b finding) int { return rank(a) - rank(b) })
}

// among names the group in a sentence.
func (g *chainGroup) among() string {
	if g.name == "" {
		return "the group"
	}
	return "the group " + g.name
}

// blockTime is the time between blocks to reckon with: as configured, as the
// node's own blocks came, as those of the group did, or as the kind has it.
func (g *chainGroup) blockTime(s nodeState) time.Duration {
	return cmp.Or(g.knownBlockTime(s), defaultBlockTime[g.rules.kind])
}

// knownBlockTime is blockTime, 0 when it is not known but by the kind.
func (g *chainGroup) knownBlockTime(s nodeState) time.Duration {
	if g.rules.BlockTime > 0 {
		return g.rules.BlockTime
	}
	if d := s.learned(); d > 0 {
		return d
	}
	var all []time.Duration
	for _, p := range g.peers {
		if d := p.learned(); d > 0 {
			all = append(all, d)
		}
	}
	if len(all) > 0 {
		slices.Sort(all)
		return all[len(all)/2]
	}
	return 0
}

// learned is the average block time, 0 before three samples.
func (s *nodeState) learned() time.Duration {
	if s.blocks < 3 {
		return 0
	}
	return s.block
}

// judgeNode compares what a run saw of a node with what was seen of it before
// and with the other nodes of its group. It is pure: the new state and the
// verdict follow from the arguments alone.
func judgeNode(s nodeState, seen observation, g chainGroup, now time.Time) (nodeState, verdict) {
	var v verdict
	v.findings = slices.Clone(seen.findings)
	s.every = g.rules.every
	s.judgeCalls(seen, g, &v)
	s.judgeSyncing(seen, &v)
	if seen.hasHead {
		s.judgeHead(seen, g, now, &v)
	}
	if seen.starting {
		for i := range v.findings {
			v.findings[i].critical = v.findings[i].critical && v.findings[i].reason == "amendment_blocked"
		}
	}
	s.chainKnown = s.chainKnown || seen.chainKnown
	if seen.versionAsked {
		s.version, s.versionAt = seen.version, now
	}
	v.syncing = s.syncing || s.saysYes > 0
	v.blockTime = s.learned()
	v.sort()
	return s, v
}

func (s *nodeState) judgeHead(seen observation, g chainGroup, now time.Time, v *verdict) {
	first := s.seen.IsZero()
	s.believe(seen, g, now, first)
	if s.odd == 0 {
		s.learnBlock(seen, first)
	}
	lim := g.rules.at(g.blockTime(*s))
	before := s.seen
	s.follow(seen, lim, now, first)
	if !seen.headTime.IsZero() {
		const ever = 100 * 365 * 24 * time.Hour
		v.age = min(max(now.Sub(seen.headTime), -ever), ever)
	}
	v.standing = now.Sub(s.moved)

	s.judgeClock(seen, g, lim, v)
	s.judgeStanding(seen, g, lim, v)
	s.judgeOdd(seen, g, v)
	s.judgeLag(seen, g, lim, before, now, v)
	s.judgeAge(seen, lim, v)
	s.judgePeers(seen, g, lim, now, v)
	s.judgeFinal(seen, g, lim, now, v)
	s.judgeFork(seen, g, v)
}

// judgeCalls looks at how the last calls went. A limit that the node sets on
// calls is no fault of the node: a warning, until two in five calls meet it.
func (s *nodeState) judgeCalls(seen observation, g chainGroup, v *verdict) {
	s.calls = slices.Concat(s.calls, seen.calls)
	s.calls = s.calls[max(0, len(s.calls)-keptCalls):]
	n := float64(len(s.calls))
	var limited, failed float64
	for _, c := range s.calls {
		if c.limited {
			limited++
		}
		if c.failed {
			failed++
		}
	}
	switch bad := n >= 10 && limited/n > 0.4; {
	case bad:
		v.add(true, "rate_limited", "the node limits how often it may be asked: %.0f of the last %.0f calls met the limit%s", limited, n, also(seen.limited))
	case seen.limited != "":
		v.add(false, "rate_limited", "the node limits how often it may be asked: %s", seen.limited)
	}
	if n >= 10 && failed/n > 0.7 {
		v.add(true, "rpc_error", "%.0f of the last %.0f calls were answered with an error", failed, n)
	}
	if len(s.calls) < keptCalls {
		return
	}
	own := slowCalls(s.calls)
	if own > 10*time.Second {
		v.add(true, "slow", "three in ten of the last %d calls took %s or more; want less than 10 s", len(s.calls), short(own))
		return
	}
	var others []time.Duration
	for _, p := range g.peers {
		if len(p.calls) >= keptCalls {
			others = append(others, slowCalls(p.calls))
		}
	}
	if len(others) == 0 {
		return
	}
	slices.Sort(others)
	if usual := others[len(others)/2]; own > 3*time.Second && own > 3*usual {
		v.add(false, "slow", "three in ten of the last %d calls took %s or more, in %s %s", len(s.calls), short(own), g.among(), short(usual))
	}
}

func also(said string) string {
	if said == "" {
		return ""
	}
	return ", the last one now: " + said
}

// slowCalls is the 70th percentile of how long calls took.
func slowCalls(calls []callOutcome) time.Duration {
	took := make([]time.Duration, 0, len(calls))
	for _, c := range calls {
		took = append(took, c.took)
	}
	slices.Sort(took)
	return took[len(took)*7/10]
}

// judgeSyncing believes a node that says twice that it is syncing, and that it
// is done when it says so four times. A node that never could say is not asked
// to: after ten tries it does not know the method.
func (s *nodeState) judgeSyncing(seen observation, v *verdict) {
	if seen.syncFailed != "" {
		s.syncBad++
		if s.syncOK > 0 || s.syncBad < 10 {
			v.add(true, "rpc_error", "%s", seen.syncFailed)
		}
		return
	}
	if !seen.syncKnown {
		return
	}
	s.syncOK++
	if seen.syncing {
		s.saysYes, s.saysNo = s.saysYes+1, 0
		s.syncing = s.syncing || s.saysYes >= 2
		return
	}
	s.saysYes, s.saysNo = 0, s.saysNo+1
	if s.saysNo >= 4 {
		s.syncing = false
	}
}

// learnBlock keeps the average time between blocks (alpha 0.1), from the times
// of the heads.
func (s *nodeState) learnBlock(seen observation, first bool) {
	if first || seen.head <= s.head || seen.headTime.IsZero() || s.headTime.IsZero() {
		return
	}
	d := time.Duration(float64(seen.headTime.Sub(s.headTime)) / float64(seen.head-s.head))
	if d < 10*time.Millisecond || d > 2*time.Minute {
		return
	}
	if s.blocks == 0 {
		s.block = d
	} else {
		if s.blocks >= 3 {
			d = min(max(d, s.block/3), 3*s.block) // as after a halt
		}
		s.block += (d - s.block) / 10
	}
	s.blocks = min(s.blocks+1, 1000)
}

// believe counts heads that cannot be: higher than twice the pace of the chain
// allows since the last believable one. A node that falls back and catches up
// stays below that. Where at least two others are well, they decide: what they
// may have by now as well is believed, what they cannot have is not. Without
// a known block time there is no pace.
func (s *nodeState) believe(seen observation, g chainGroup, now time.Time, first bool) {
	block := g.knownBlockTime(*s)
	pace := func(since time.Duration) uint64 {
		return uint64(math.Ceil(max(since.Seconds(), 0)/max(block.Seconds(), 0.01)*2)) + 5
	}
	odd := block > 0 && !first && seen.head > s.top.head+pace(now.Sub(s.top.at))
	if others := g.sound(func(p nodeState) uint64 { return p.head + pace(now.Sub(p.seen)) }); block > 0 && len(others) > 0 {
		switch most := middle(others); {
		case seen.head <= most:
			odd = false
		case len(others) >= 2:
			odd = true
		}
	}
	if odd {
		s.odd++
		return
	}
	s.odd = 0
	if first || seen.head > s.top.head {
		s.top = sighting{now, seen.head}
	}
}

// sound gives a number of each of the other nodes that are well: they are
// believed, at work, and their heads are new.
func (g *chainGroup) sound(of func(p nodeState) uint64) (out []uint64) {
	for _, p := range g.peers {
		lim := g.rules.at(g.blockTime(p))
		if p.counts() && p.seen.Sub(p.moved) < lim.stuck && (p.headTime.IsZero() || p.seen.Sub(p.headTime) < lim.maxAge) {
			out = append(out, of(p))
		}
	}
	return out
}

// follow notes the head and since when it stands. A small step back is a
// reorganisation, or another node behind the same address, and no movement; a
// big one is a node that began anew.
func (s *nodeState) follow(seen observation, lim chainLimits, now time.Time, first bool) {
	if first || seen.head > s.peak || seen.head+2*lim.width < s.peak {
		s.peak, s.moved = seen.head, now
	}
	s.seen, s.answers, s.head, s.headTime = now, true, seen.head, seen.headTime
	s.past = slices.Concat(s.past, []sighting{{now, seen.head}})
	s.past = s.past[max(0, len(s.past)-keptSightings):]
}

// judgeClock holds the time of the head, and the node's clock where it is told,
// against this machine's.
func (s *nodeState) judgeClock(seen observation, g chainGroup, lim chainLimits, v *verdict) {
	s.off = seen.skew
	if v.age < 0 {
		s.off = -v.age
	}
	off := s.off.Abs() - seen.slack
	if off <= time.Second {
		return
	}
	same := 1
	for _, p := range g.peers {
		if (p.off - s.off).Abs() <= max(s.off.Abs()/2, 2*time.Second) {
			same++
		}
	}
	what := fmt.Sprintf("the time of its head is %s in the future: the clock of the node or of this machine is wrong", ago(s.off))
	if v.age >= 0 {
		way := "ahead of"
		if s.off < 0 {
			way = "behind"
		}
		what = fmt.Sprintf("the node's clock is %s %s the clock of this machine", ago(s.off.Abs()), way)
	}
	if n := len(g.peers) + 1; n >= 3 && off > lim.ahead && same*2 > n {
		v.add(true, "own_fault", "the clock of this machine is wrong by %s: %d of %d nodes of %s say so", ago(s.off.Abs()), same, n, g.among())
		return
	}
	v.add(off > lim.ahead, "clock", "%s", what)
}

// judgeStanding finds a head that does not move, whatever the others say; if
// most of the group stand at the same block, the chain has halted.
func (s *nodeState) judgeStanding(seen observation, g chainGroup, lim chainLimits, v *verdict) {
	stuck := v.standing >= lim.stuck
	stale := !seen.headTime.IsZero() && v.age >= lim.maxAge && v.standing >= 2*lim.block
	if !stuck && !stale {
		return
	}
	with, heads := 1, []uint64{seen.head}
	for _, p := range g.peers {
		heads = append(heads, p.head)
		// A node that was asked well after this one stopped would have shown
		// more.
		if p.seen.Sub(s.moved) >= 2*lim.block && near(p.head, seen.head, lim.width) {
			with++
		}
	}
	n := len(heads)
	slices.Sort(heads)
	how := ago(max(v.standing, v.age))
	switch {
	case n >= 2 && with*2 > n:
		v.add(true, "chain_halt", "the chain of %s has halted: %d of %d nodes stand at block %d, this one for %s", g.among(), with, n, seen.head, how)
	case !stuck:
	case n >= 2 && heads[n/2] > seen.head+lim.width:
		v.add(true, "stuck", "the head has stood at block %d for %s, while %s goes on (median %d)", seen.head, ago(v.standing), g.among(), heads[n/2])
	default:
		v.add(true, "stuck", "the head has stood at block %d for %s; want a new block within %s", seen.head, ago(v.standing), ago(lim.stuck))
	}
}

func near(a, b, width uint64) bool { return max(a, b)-min(a, b) <= width }

// judgeOdd tells of heads that cannot be.
func (s *nodeState) judgeOdd(seen observation, g chainGroup, v *verdict) {
	if s.odd == 0 {
		return
	}
	if others := g.sound(func(p nodeState) uint64 { return p.head }); len(others) >= 2 {
		v.add(s.odd >= 2, "bad_state", "the node reports block %d, which no other node of %s can have (median %d): it cannot be believed", seen.head, g.among(), middle(others))
		return
	}
	v.add(false, "bad_state", "the node reports block %d, far more than the pace of the chain allows since block %d", seen.head, s.top.head)
}

// heads are those of the other nodes that count.
func (g *chainGroup) heads() (out []uint64) {
	for _, p := range g.peers {
		if p.counts() {
			out = append(out, p.head)
		}
	}
	return out
}

// counts reports whether a node's head has a part in the median.
func (s *nodeState) counts() bool { return s.odd == 0 && !s.syncing }

// judgeLag compares the head with the median of the group. Heads are seen at
// different moments, so those of moving nodes are carried on to now by the block
// time. What is carried on is a guess: a limit counts as broken when it is also
// broken without it, by the heads as they were seen or by those at the last look
// at this node.
func (s *nodeState) judgeLag(seen observation, g chainGroup, lim chainLimits, before, now time.Time, v *verdict) {
	var raw, carried, then []uint64
	for _, p := range g.peers {
		if !p.counts() {
			continue
		}
		raw, carried = append(raw, p.head), append(carried, p.carried(lim.block, now))
		if h, ok := p.headAt(before); ok {
			then = append(then, h)
		}
	}
	if len(raw) == 0 {
		return
	}
	if s.counts() {
		raw, carried = append(raw, seen.head), append(carried, seen.head)
	}
	v.nodes = len(raw)
	rawLag := int64(middle(raw)) - int64(seen.head)
	v.lag = int64(middle(carried)) - int64(seen.head)
	if v.lag > rawLag && !seen.headTime.IsZero() {
		// A head of this age cannot be further behind.
		v.lag = max(rawLag, min(v.lag, int64(max(v.age, 0)/lim.block)))
	}
	v.median = uint64(int64(seen.head) + v.lag)
	sure := rawLag
	if n := len(s.past); n >= 2 && len(then)*2 >= len(raw) && len(then) > 0 {
		own := s.past[n-2].head
		sure = max(sure, int64(middle(append(then, own)))-int64(own))
	}
	sure = min(sure, v.lag)
	behind := fmt.Sprintf("the head is %d blocks behind %s: block %d, median %d of %d nodes", v.lag, g.among(), seen.head, v.median, v.nodes)
	tooFar := sure > lim.maxLag || g.rules.MaxLagTime > 0 && sure > 0 && time.Duration(sure)*lim.block >= g.rules.MaxLagTime
	if len(raw) == 2 && len(g.peers[0].past) < 2 {
		tooFar = false // the only other node was looked at once: it may be the one that is wrong
	}
	switch {
	case v.has("chain_halt"):
	case tooFar && (s.syncing || s.saysYes >= 2):
		v.add(true, "syncing", "the node is syncing, and %s", behind)
	case tooFar:
		v.add(true, "lagging", "%s", behind)
	case sure > lim.warnLag:
		v.add(false, "lagging", "%s", behind)
	}
}

// middle is the median of heads; of two it is the higher one.
func middle(heads []uint64) uint64 {
	h := slices.Sorted(slices.Values(heads))
	return h[len(h)/2]
}

// carried is the head that a node has by now, if it went on as it did.
func (s *nodeState) carried(block time.Duration, now time.Time) uint64 {
	since := min(now.Sub(s.seen), s.every*3/2)
	if since <= 0 || s.seen.Sub(s.moved) > 2*block {
		return s.head
	}
	return s.head + uint64(since/block)
}

// headAt is the head that a node had at a moment between two looks at it.
func (s *nodeState) headAt(at time.Time) (uint64, bool) {
	for i := len(s.past) - 1; i > 0; i-- {
		a, b := s.past[i-1], s.past[i]
		if at.Before(a.at) || at.After(b.at) || !b.at.After(a.at) {
			continue
		}
		if b.head <= a.head {
			return b.head, true
		}
		return a.head + uint64(float64(b.head-a.head)*float64(at.Sub(a.at))/float64(b.at.Sub(a.at))), true
	}
	return 0, false
}

// judgeAge looks at how old the head is.
func (s *nodeState) judgeAge(seen observation, lim chainLimits, v *verdict) {
	if s.syncing || seen.syncing {
		says := "the node says that it is syncing"
		if seen.behind > 0 {
			says += fmt.Sprintf(", %d blocks behind", seen.behind)
		} else if !seen.syncing {
			says = fmt.Sprintf("the node says since %d looks that it is synced; four make it believable", s.saysNo)
		}
		switch far := seen.behind > uint64(lim.maxLag) || v.age >= lim.maxAge; {
		case v.has("syncing", "chain_halt"):
		case far && s.syncing:
			v.add(true, "syncing", "%s; its head, block %d, is %s old", says, seen.head, ago(v.age))
		default:
			v.add(false, "syncing", "%s", says)
		}
	}
	if seen.headTime.IsZero() || v.has("chain_halt", "stuck", "syncing") {
		return
	}
	switch {
	case v.age >= lim.maxAge:
		v.add(true, "stale_head", "the head, block %d, is %s old; want less than %s", seen.head, ago(v.age), ago(lim.maxAge))
	case v.age >= lim.warnAge:
		v.add(false, "stale_head", "the head, block %d, is %s old; less than %s is usual", seen.head, ago(v.age), ago(lim.warnAge))
	}
}

func (s *nodeState) judgePeers(seen observation, g chainGroup, lim chainLimits, now time.Time, v *verdict) {
	if seen.peers > 0 || g.rules.peers == 0 {
		s.lonely = time.Time{}
	}
	if seen.peers < 0 || g.rules.peers == 0 {
		return
	}
	if seen.peers > 0 {
		if seen.peers < g.rules.peers {
			v.add(false, "few_peers", "the node has %d peers; want %d or more", seen.peers, g.rules.peers)
		}
		return
	}
	if s.lonely.IsZero() {
		s.lonely = now
	}
	since := now.Sub(s.lonely)
	said := "the node has no peers"
	if since > 0 {
		said += " since " + ago(since)
	}
	v.add(since >= lim.lonely, "no_peers", "%s", said)
}

// judgeFinal looks at how far the last final block is behind the head.
func (s *nodeState) judgeFinal(seen observation, g chainGroup, lim chainLimits, now time.Time, v *verdict) {
	if !seen.hasFinal {
		return
	}
	if seen.final > s.final || s.finalMoved.IsZero() || seen.final+2*lim.width < s.final {
		s.final, s.finalMoved = seen.final, now
	}
	lag := seen.head - min(seen.final, seen.head)
	stands := now.Sub(s.finalMoved)
	usual := s.usual
	if s.usuals < 20 {
		usual = 0
	}
	// Final blocks come in steps; it takes a long look to know what is usual,
	// and what is far from it must not become so.
	if s.usuals < 20 || float64(lag) <= 2.5*s.usual {
		s.usuals = min(s.usuals+1, 1000)
		s.usual += (float64(lag) - s.usual) / float64(s.usuals)
	}
	said := fmt.Sprintf("the last final block, %d, is %d blocks behind the head", seen.final, lag)
	switch {
	case v.has("chain_halt", "stuck"):
	case lim.maxFinal > 0 && lag > lim.maxFinal:
		v.add(true, "not_final", "%s; want at most %d", said, lim.maxFinal)
	case usual > 0 && float64(lag) > 3*usual && float64(lag) > usual+10:
		v.add(true, "not_final", "%s; usual are %.0f", said, usual)
	case lim.finalStuck > 0 && stands >= lim.finalStuck:
		v.add(true, "not_final", "no block became final for %s: the last one is %d, the head %d", ago(stands), seen.final, seen.head)
	case lim.warnFinal > 0 && lag > lim.warnFinal:
		v.add(false, "not_final", "%s; want at most %d", said, lim.warnFinal)
	default:
		s.judgeFinalAmong(seen, g, lim, v)
	}
}

// judgeFinalAmong compares the final block with the group's. They come in steps,
// on Ethereum of 32 blocks, so the scale is how far they usually are behind.
func (s *nodeState) judgeFinalAmong(seen observation, g chainGroup, lim chainLimits, v *verdict) {
	var finals, lags []uint64
	for _, p := range g.peers {
		if !p.finalMoved.IsZero() && p.counts() {
			finals, lags = append(finals, p.final), append(lags, p.head-min(p.final, p.head))
		}
	}
	if len(finals) < 2 {
		return
	}
	final := middle(finals)
	behind := final - min(seen.final, final)
	scale := max(middle(lags), lim.width)
	if behind > scale/2 && behind > 10 {
		v.add(behind > 3*scale, "not_final", "the last final block, %d, is %d blocks behind that of %s (median %d)", seen.final, behind, g.among(), final)
	}
}

// judgeFork compares the block at one height with what the others have there.
// Two comparisons in a row in which most have another block are a fork.
func (s *nodeState) judgeFork(seen observation, g chainGroup, v *verdict) {
	if seen.fork.hash == "" {
		return
	}
	s.forks = slices.DeleteFunc(slices.Clone(s.forks), func(f sighted) bool { return f.height == seen.fork.height })
	s.forks = append(s.forks, seen.fork)
	s.forks = s.forks[max(0, len(s.forks)-keptForks):]
	// The others may not have come to the last height yet: then an earlier one
	// counts.
	for i := len(s.forks) - 1; i >= 0; i-- {
		own := s.forks[i]
		other, most, all := own.vote(g.peers)
		switch {
		case len(g.peers) == 1 && all == 2:
			if most == 1 {
				v.add(false, "fork", "the two nodes of %s have different blocks at height %d; this one has %s", g.among(), own.height, shortHash(own.hash))
			}
			return
		case all < 3 || most*2 <= all:
		case other == own.hash:
			s.strikes = 0
			return
		default:
			s.strikes++
			v.add(s.strikes >= 2, "fork", "the node is on a fork: at height %d it has the block %s, while %d of %d nodes of %s have %s",
				own.height, shortHash(own.hash), most, all, g.among(), shortHash(other))
			return
		}
	}
}

// vote counts which block at a height most nodes have.
func (own sighted) vote(peers []nodeState) (hash string, most, all int) {
	votes := map[string]int{own.hash: 1}
	all = 1
	for _, p := range peers {
		for _, f := range p.forks {
			if f.height == own.height {
				votes[f.hash]++
				all++
			}
		}
	}
	for h, n := range votes {
		if n > most || n == most && h < hash {
			hash, most = h, n
		}
	}
	return hash, most, all
}

func shortHash(h string) string {
	if len(h) > 18 {
		return h[:18] + "…"
	}
	return h
}

// forkHeight is the height at which the nodes of a group compare their blocks
// now: so far back that all heads are past it, and the same for every node that
// is looked at within two intervals. ok is false when there is none yet.
func forkHeight(s nodeState, g chainGroup, head uint64) (height uint64, ok bool) {
	if len(g.peers) == 0 {
		return 0, false
	}
	block := g.blockTime(s)
	heads, every := append(g.heads(), head), g.rules.every
	for _, p := range g.peers {
		every = max(every, p.every)
	}
	step := uint64(8)
	for float64(step) < 2*every.Seconds()/block.Seconds() && step < 1<<20 {
		step *= 2
	}
	ref, back := middle(heads), 2*clusterWidth(block)
	if ref <= back {
		return 0, false
	}
	height = (ref - back) / step * step
	return height, height > 0 && height+back <= head
}

// nodeKey is one node as seen from one location. What changes the node or its
// company makes it another one.
type nodeKey struct{ kind, group, location, check, url string }

// chainGroups remembers the nodes of all groups. Safe for concurrent use.
type chainGroups struct {
	mu     sync.Mutex
	groups map[nodeKey]map[nodeKey]nodeState // by the key without check and url
}

func newChainGroups() *chainGroups {
	return &chainGroups{groups: map[nodeKey]map[nodeKey]nodeState{}}
}

// company is the key of a node's group; a node without group is alone.
func (k nodeKey) company() nodeKey {
	if k.group != "" {
		k.check, k.url = "", ""
	}
	return k
}

// forget is after how long a node that is not looked at any more is forgotten,
// in intervals, and after how many its head counts no longer.
const (
	forgetAfter = 200
	freshFor    = 3
)

// of returns a node's state and its company; c.mu is held.
func (c *chainGroups) of(k nodeKey, x *chainRules, now time.Time) (nodeState, chainGroup) {
	g := chainGroup{name: x.group, rules: x}
	nodes := c.groups[k.company()]
	for other, s := range nodes {
		switch {
		case other == k:
		case now.Sub(s.touched) > forgetAfter*max(s.every, time.Minute):
			delete(nodes, other)
		case s.answers && now.Sub(s.seen) <= freshFor*max(s.every, x.every):
			g.peers = append(g.peers, s)
		}
	}
	return nodes[k], g
}

// observe judges what was seen of a node and remembers it.
func (c *chainGroups) observe(k nodeKey, x *chainRules, seen observation, now time.Time) verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, g := c.of(k, x, now)
	s, v := judgeNode(s, seen, g, now)
	s.touched = now
	c.put(k, s)
	return v
}

// put remembers a node; c.mu is held.
func (c *chainGroups) put(k nodeKey, s nodeState) {
	if c.groups[k.company()] == nil {
		c.groups[k.company()] = map[nodeKey]nodeState{}
	}
	c.groups[k.company()][k] = s
}

// silent notes that a node gave no answer: its head does not count.
func (c *chainGroups) silent(k nodeKey, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.groups[k.company()][k]; ok {
		s.answers, s.touched = false, now
		c.put(k, s)
	}
}

// forkHeight is at which height a node's block is to be compared.
func (c *chainGroups) forkHeight(k nodeKey, x *chainRules, head uint64, now time.Time) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, g := c.of(k, x, now)
	return forkHeight(s, g, head)
}

// knownChain reports whether a node has said that it is on the right chain.
func (c *chainGroups) knownChain(k nodeKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.groups[k.company()][k].chainKnown
}

// version is the name and version of a node's program; ok is false when it is
// to be asked for.
func (c *chainGroups) version(k nodeKey, now time.Time) (said string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.groups[k.company()][k]
	return s.version, !s.versionAt.IsZero() && now.Sub(s.versionAt) < time.Hour
}
