package probe

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Chain holds the settings of checks of blockchain nodes: the kinds evm, xrpl and
// antelope. What is 0 has the default of the kind, which may follow the block
// time.
//
// A node is judged by what it says of itself and, within a group, by the heads
// of the others. A warning keeps the run good and is a sample of
// probe_chain_warning; what is critical fails it.
type Chain struct {
	// Group names the nodes that are compared with each other: those of one
	// chain. They are compared as one location sees them. Default: none, the node
	// is judged alone.
	Group string `yaml:"group,omitempty"`
	// ChainID is what the node must say: evm a number (1 or 0x1), xrpl the
	// network id (0), antelope 8 to 64 hexadecimal digits, the first of the id.
	ChainID string `yaml:"chain_id,omitempty"`
	// BlockTime is the time between blocks. Default: learned, and until then 12s,
	// 4s and 500ms.
	BlockTime time.Duration `yaml:"block_time,omitempty"`
	// MinPeers is how many peers are well; fewer are a warning, none is critical
	// (evm: after a minute). 0: peers do not matter. evm default 1, xrpl 8: set
	// the number of your own where peers are private.
	MinPeers *int `yaml:"min_peers,omitempty"`
	// WarnLag and MaxLag are how many blocks behind the group are well, and how
	// many are no failure. Defaults: evm 1 and 6, more where blocks come faster
	// than one a second; xrpl 2 and 5; antelope 2 and 10.
	WarnLag int `yaml:"warn_lag,omitempty"`
	MaxLag  int `yaml:"max_lag,omitempty"`
	// MaxLagTime is the same limit as MaxLag in time; 0: there is none.
	MaxLagTime time.Duration `yaml:"max_lag_time,omitempty"`
	// WarnAge and MaxAge are from which age on a head is a warning and a failure.
	// Defaults: evm 3 block times but 5s at least, and 5 but 1m at least; xrpl 7s
	// and 20s; antelope 5s and 1m.
	WarnAge time.Duration `yaml:"warn_age,omitempty"`
	MaxAge  time.Duration `yaml:"max_age,omitempty"`
	// StuckAfter is how long a head may stand. Default: 5 block times, 30s at
	// least.
	StuckAfter time.Duration `yaml:"stuck_after,omitempty"`
	// MaxAhead is how far in the future the time of a head may be, and how far the
	// node's own clock may be off where it is told. Default 5s; more than 1s is a
	// warning.
	MaxAhead time.Duration `yaml:"max_ahead,omitempty"`
	// WarnFinalLag and MaxFinalLag are how many blocks the last final one may be
	// behind the head. Defaults: antelope 400 and 1000; evm none. A lag of 3 times
	// the usual, once that is learned, is a failure in any case.
	WarnFinalLag int `yaml:"warn_final_lag,omitempty"`
	MaxFinalLag  int `yaml:"max_final_lag,omitempty"`
	// FinalStuckAfter is how long the final block may stand. Default: antelope 3m;
	// evm does not look.
	FinalStuckAfter time.Duration `yaml:"final_stuck_after,omitempty"`
	// HealthURL is the address of an xrpl node's own health report on its peer
	// port, https://host:51235/health. Its certificate is not verified, it is
	// signed by itself, and no credentials are sent there.
	HealthURL string `yaml:"health_url,omitempty"`
	// StartGrace is how long after its start what an xrpl node lacks is only a
	// warning. Default 0: it must be well.
	StartGrace time.Duration `yaml:"start_grace,omitempty"`
}

func chainKind(example string, interval time.Duration, run func(r *run)) kind {
	return kind{
		schemes: []string{"http", "https"}, example: example, http: true, interval: interval,
		section:  func(c *Check) bool { return c.Chain != nil },
		validate: (*Check).validateChain,
		prepare:  func(c *Check) (any, error) { return newChainRules(c), nil },
		run:      run,
	}
}

var (
	evmChainID      = regexp.MustCompile(`^(0x[0-9a-fA-F]{1,64}|[0-9]{1,78})$`)
	xrplNetworkID   = regexp.MustCompile(`^[0-9]{1,10}$`)
	antelopeChainID = regexp.MustCompile(`^[0-9a-fA-F]{8,64}$`)
)

func (c *Check) validateChain() error {
	ch := Chain{}
	if c.Chain != nil {
		ch = *c.Chain // the caller's is left as it was
	}
	c.Chain = &ch
	if c.Kind != "antelope" && ch.MinPeers == nil {
		ch.MinPeers = new(int)
		*ch.MinPeers = map[string]int{"evm": 1, "xrpl": 8}[c.Kind]
	}
	form, want := evmChainID, "a number such as 1 or 0x1"
	switch c.Kind {
	case "xrpl":
		form, want = xrplNetworkID, "the number of a network, such as 0"
	case "antelope":
		form, want = antelopeChainID, "8 to 64 hexadecimal digits, the first ones of the chain's id"
	}
	switch {
	case len(ch.Group) > 100 || !utf8.ValidString(ch.Group) || strings.ContainsFunc(ch.Group, func(r rune) bool { return r < ' ' || r == 127 }):
		return fmt.Errorf("chain.group: %q: want a name of at most 100 bytes, such as eth-mainnet", shorten(strings.ToValidUTF8(ch.Group, "\uFFFD"), 120))
	case ch.ChainID != "" && !form.MatchString(ch.ChainID):
		return fmt.Errorf("chain.chain_id: %q: want %s", shorten(strings.ToValidUTF8(ch.ChainID, "\uFFFD"), 120), want)
	case ch.MinPeers != nil && c.Kind == "antelope":
		return errors.New("chain.min_peers: a node of the kind antelope does not say how many peers it has; leave it out")
	case ch.MinPeers != nil && (*ch.MinPeers < 0 || *ch.MinPeers > 10000):
		return fmt.Errorf("chain.min_peers: %d: want from 0 to 10000; 0: peers do not matter", *ch.MinPeers)
	case ch.HealthURL != "" && c.Kind != "xrpl":
		return fmt.Errorf("chain.health_url: is for checks of the kind xrpl; this one is of the kind %s", c.Kind)
	case ch.StartGrace != 0 && c.Kind != "xrpl":
		return fmt.Errorf("chain.start_grace: is for checks of the kind xrpl; this one is of the kind %s", c.Kind)
	case c.Kind == "xrpl" && (ch.WarnFinalLag != 0 || ch.MaxFinalLag != 0 || ch.FinalStuckAfter != 0):
		return errors.New("chain.max_final_lag: the head of an xrpl node is its last validated ledger, which is final; leave the limits of finality out")
	}
	if ch.HealthURL != "" {
		u, err := url.Parse(ch.HealthURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
			return fmt.Errorf("chain.health_url: %q: want such as https://xrpl-1.example.org:51235/health, without a user", hideInURLs(ch.HealthURL))
		}
	}
	if err := ch.validateLimits(); err != nil {
		return err
	}
	return c.refuseForChain()
}

func (ch *Chain) validateLimits() error {
	for _, d := range []struct {
		key      string
		v        time.Duration
		low, top time.Duration
	}{
		{"block_time", ch.BlockTime, 10 * time.Millisecond, time.Hour},
		{"max_lag_time", ch.MaxLagTime, time.Second, 240 * time.Hour},
		{"warn_age", ch.WarnAge, time.Second, 240 * time.Hour},
		{"max_age", ch.MaxAge, time.Second, 240 * time.Hour},
		{"stuck_after", ch.StuckAfter, time.Second, 240 * time.Hour},
		{"max_ahead", ch.MaxAhead, time.Second, 240 * time.Hour},
		{"final_stuck_after", ch.FinalStuckAfter, time.Second, 240 * time.Hour},
		{"start_grace", ch.StartGrace, time.Second, 240 * time.Hour},
	} {
		if d.v != 0 && (d.v < d.low || d.v > d.top) {
			return fmt.Errorf("chain.%s: %s: want from %s to %s", d.key, d.v, d.low, d.top)
		}
	}
	for _, n := range []struct {
		key string
		v   int
	}{{"warn_lag", ch.WarnLag}, {"max_lag", ch.MaxLag}, {"warn_final_lag", ch.WarnFinalLag}, {"max_final_lag", ch.MaxFinalLag}} {
		if n.v < 0 || n.v > 100_000_000 {
			return fmt.Errorf("chain.%s: %d: want a number of blocks from 1 to 100000000", n.key, n.v)
		}
	}
	switch {
	case ch.MaxLag != 0 && ch.WarnLag > ch.MaxLag:
		return fmt.Errorf("chain.warn_lag: %d: want at most chain.max_lag, %d", ch.WarnLag, ch.MaxLag)
	case ch.MaxAge != 0 && ch.WarnAge > ch.MaxAge:
		return fmt.Errorf("chain.warn_age: %s: want at most chain.max_age, %s", ch.WarnAge, ch.MaxAge)
	case ch.MaxFinalLag != 0 && ch.WarnFinalLag > ch.MaxFinalLag:
		return fmt.Errorf("chain.warn_final_lag: %d: want at most chain.max_final_lag, %d", ch.WarnFinalLag, ch.MaxFinalLag)
	}
	return nil
}

// refuseForChain refuses what the kind decides by itself.
func (c *Check) refuseForChain() error {
	e := c.Expect
	for _, x := range []struct {
		key string
		set bool
	}{
		{"method", c.Method != http.MethodGet && c.Method != http.MethodPost},
		{"body", c.Body != ""}, {"body_file", c.BodyFile != ""},
		{"expect.status", len(e.Status) > 0}, {"expect.headers", len(e.Headers) > 0}, {"expect.body_contains", e.BodyContains != ""},
		{"expect.body_not_contains", e.BodyNotContains != ""}, {"expect.body_regex", e.BodyRegex != ""}, {"expect.body_not_regex", e.BodyNotRegex != ""},
		{"expect.json", len(e.JSON) > 0}, {"expect.json_schema", e.JSONSchema != nil}, {"expect.json_schema_file", e.JSONSchemaFile != ""},
		{"expect.cel", e.CEL != ""}, {"expect.min_bytes", e.MinBytes != 0}, {"expect.max_bytes", e.MaxBytes != 0},
	} {
		if x.set {
			return fmt.Errorf("%s: a check of the kind %s asks and judges by itself; want limits under chain, or a check of the kind http", x.key, c.Kind)
		}
	}
	return nil
}

// callOutcome is how one question to a node went.
type callOutcome struct {
	limited bool // it answered that there were too many
	failed  bool // it answered with an error of its own
	took    time.Duration
}

// look is one run of a check of a node.
type look struct {
	*run
	rules   *chainRules
	groups  *chainGroups
	key     nodeKey
	headers map[string]string
	seen    observation
	last    *reply
	proof   *reply // evidence of what is found; nil: the last one

	wrongChain string
}

func (r *run) look() *look {
	l := &look{run: r, rules: r.parsed.(*chainRules), groups: r.groups, headers: maps.Clone(r.Headers)}
	if r.header("Content-Type") == "" {
		if l.headers == nil {
			l.headers = map[string]string{}
		}
		l.headers["Content-Type"] = "application/json"
	}
	if l.groups == nil {
		l.groups = newChainGroups() // a single run remembers nothing
	}
	l.key = nodeKey{kind: r.Kind, group: l.rules.group, location: r.res.Location, check: r.ID, url: r.URL}
	l.seen.peers = -1
	return l
}

// rpcError is what a node says instead of an answer.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) missing() bool { return e.Code == -32601 }
func (e *rpcError) limited() bool { return e.Code == -32005 || e.Code == http.StatusTooManyRequests }

func (e *rpcError) String() string {
	return fmt.Sprintf("%q (code %d)", shorten(e.Message, 300), e.Code)
}

// ask makes one exchange and decodes the reply as JSON into v. Of a reply that
// is an HTTP error v is filled in as far as it can be; said is then what the
// failure would be.
func (l *look) ask(q request, v any) (said, f *failure) {
	start := time.Now()
	rep, f := l.transact(q, nil)
	l.last = rep
	if f != nil {
		return nil, f
	}
	l.seen.calls = append(l.seen.calls, callOutcome{took: time.Since(start)})
	code := rep.head.StatusCode
	if code == http.StatusTooManyRequests {
		l.refused("the reply was 429 Too Many Requests")
		return nil, nil
	}
	err := json.Unmarshal(rep.body, v)
	if code/100 != 2 {
		return &failure{"status", "status", fmt.Sprintf("%s: the reply was %d %s; want 2xx", q.step, code, http.StatusText(code))}, nil
	}
	if err != nil {
		return nil, &failure{"body", "bad_reply", fmt.Sprintf("%s: the answer (%d bytes) is not the JSON that was expected: %s", q.step, len(rep.body), jsonFault(err))}
	}
	return nil, nil
}

// jsonFault is what is wrong with a JSON text, without our own type names.
func jsonFault(err error) string {
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		return fmt.Sprintf("%s is a %s", orWord(te.Field, "the whole"), te.Value)
	}
	return err.Error()
}

// find notes something that is not as it should be.
func (l *look) find(critical bool, reason, format string, args ...any) {
	l.seen.findings = append(l.seen.findings, finding{reason, critical, fmt.Sprintf(format, args...)})
}

// refused notes that the node wants fewer questions.
func (l *look) refused(said string) {
	l.seen.limited = said
	if n := len(l.seen.calls); n > 0 {
		l.seen.calls[n-1].limited = true
	}
}

// rpc asks by JSON-RPC 2.0. With a nil failure there is either a result, an
// error of the node, or the node wants fewer questions (l.seen.limited).
func (l *look) rpc(method, params string) (json.RawMessage, *rpcError, *failure) {
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	q := request{url: l.url, method: http.MethodPost, headers: l.headers, trusted: true, vouched: true, step: method,
		body: `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`}
	said, f := l.ask(q, &answer)
	if f != nil || l.seen.limited != "" {
		return nil, nil, f
	}
	if len(answer.Error) > 0 && string(answer.Error) != "null" {
		e := &rpcError{}
		if json.Unmarshal(answer.Error, e) != nil {
			e.Message = string(answer.Error)
		}
		if e.limited() {
			l.refused(fmt.Sprintf("%s was answered with the error %s", method, e))
			return nil, nil, nil
		}
		if !e.missing() {
			l.seen.calls[len(l.seen.calls)-1].failed = true
		}
		return nil, e, nil
	}
	switch {
	case said != nil:
		return nil, nil, said
	case len(answer.Result) == 0:
		return nil, nil, &failure{"body", "bad_reply", fmt.Sprintf("%s: the answer has neither a result nor an error; want JSON-RPC 2.0", method)}
	}
	return answer.Result, nil, nil
}

// wrong is a failure for a result of another type than the method has.
func wrong(method string, got json.RawMessage, want string) *failure {
	return &failure{"body", "bad_reply", fmt.Sprintf("%s answered %s; want %s", method, shorten(string(got), 200), want)}
}

// note adds a number under the label of the group.
func (l *look) note(name string, v float64, labels ...string) {
	if l.rules.group != "" && l.Labels["group"] == "" {
		labels = append([]string{"group", l.rules.group}, labels...)
	}
	l.value(name, v, labels...)
}

// quit ends a run in which the node did not get as far as to be judged.
func (l *look) quit(f *failure) {
	l.groups.silent(l.key, time.Now())
	l.fail(f, l.last)
}

// differs ends a run of a node on another chain than the check's.
func (l *look) differs(what, got string) {
	l.groups.silent(l.key, time.Now())
	l.fail(&failure{"assertion", "wrong_chain", fmt.Sprintf("the node is on another chain: its %s is %s; want %s", what, got, l.Chain.ChainID)}, l.last)
}

// conclude judges what was seen, among the group, and ends the run.
func (l *look) conclude() {
	now := time.Now()
	v := l.groups.observe(l.key, l.rules, l.seen, now)
	l.publish(v)
	if w := v.worst(); w != nil {
		stage := "assertion"
		if w.reason == "own_fault" {
			stage = "processing"
		}
		l.fail(&failure{stage, w.reason, v.message()}, cmp.Or(l.proof, l.last))
		return
	}
	if l.last != nil && l.last.head != nil && l.seen.limited == "" {
		if f := l.verdict(l.last, l.expect, l.res.Start, now); f != nil {
			l.fail(f, l.last)
			return
		}
	}
	l.succeed()
}

// publish turns a verdict into values and facts.
func (l *look) publish(v verdict) {
	told := map[string]bool{}
	for _, f := range v.findings {
		if !f.critical && !told[f.reason] {
			told[f.reason] = true
			l.note("probe_chain_warning", 1, "reason", f.reason)
		}
	}
	if said := v.warnings(); said != "" {
		l.fact("warnings", said)
	}
	if v.blockTime > 0 {
		l.note("probe_chain_block_time_seconds", v.blockTime.Seconds())
	}
	s := l.seen
	if !s.hasHead {
		return
	}
	l.note("probe_chain_head_block", float64(s.head))
	head := fmt.Sprint(s.head)
	if !s.headTime.IsZero() {
		l.note("probe_chain_head_age_seconds", v.age.Seconds())
		head += ", " + ago(v.age) + " old"
	}
	l.fact("head", head)
	l.fact("head hash", s.hash)
	l.note("probe_chain_head_standing_seconds", v.standing.Seconds())
	if s.peers >= 0 {
		l.note("probe_chain_peers", float64(s.peers))
	}
	if s.hasFinal {
		l.note("probe_chain_finalized_block", float64(s.final))
	}
	if s.syncKnown {
		n := 0.0
		if v.syncing {
			n = 1
		}
		l.note("probe_chain_syncing", n)
	}
	if v.nodes > 0 {
		l.note("probe_chain_group_median", float64(v.median))
		l.note("probe_chain_group_nodes", float64(v.nodes))
		l.note("probe_chain_lag_blocks", float64(v.lag))
		l.fact("median of the group", fmt.Sprintf("%d, from %d nodes", v.median, v.nodes))
	}
}

// ago renders an age as people say it.
func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + ago(-d)
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 3*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 3*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 72*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

// hexNumber reads a number as Ethereum writes it, "0x1b4".
func hexNumber(raw json.RawMessage) (*big.Int, bool) {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil, false
	}
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || digits == "" || len(digits) > 64 || strings.ContainsAny(digits, "+-_") {
		return nil, false
	}
	return new(big.Int).SetString(digits, 16)
}

// hexCount is a hexNumber that fits what is counted.
func hexCount(raw json.RawMessage) (uint64, bool) {
	n, ok := hexNumber(raw)
	if !ok || n.BitLen() > 62 {
		return 0, false
	}
	return n.Uint64(), true
}
