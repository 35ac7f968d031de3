package probe

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// xrplKind looks at nodes of the XRP Ledger.
var xrplKind = chainKind("http://10.0.4.21:5005", 10*time.Second, func(r *run) { r.look().xrpl() })

// xrplInfo is the answer of server_info, as far as it is used. A server that is
// no node of its own (Clio) and a public one leave some of it out.
type xrplInfo struct {
	Version          string      `json:"build_version"`
	ClioVersion      string      `json:"clio_version"`
	RippledVersion   string      `json:"rippled_version"`
	AmendmentBlocked bool        `json:"amendment_blocked"`
	Ledgers          string      `json:"complete_ledgers"`
	Latency          *float64    `json:"io_latency_ms"`
	LoadFactor       *float64    `json:"load_factor"`
	LoadServer       *float64    `json:"load_factor_server"`
	NetworkID        *uint32     `json:"network_id"`
	Peers            *int        `json:"peers"`
	State            string      `json:"server_state"`
	Time             string      `json:"time"`
	Uptime           *float64    `json:"uptime"`
	Validated        *xrplLedger `json:"validated_ledger"`
	Closed           *xrplLedger `json:"closed_ledger"`
	LastClose        *struct {
		Converge  *float64 `json:"converge_time_s"`
		Proposers *int     `json:"proposers"`
	} `json:"last_close"`
	Accounting map[string]struct {
		Micros      string          `json:"duration_us"`
		Transitions json.RawMessage `json:"transitions"`
	} `json:"state_accounting"`
}

type xrplLedger struct {
	Age  *float64 `json:"age"`
	Hash string   `json:"hash"`
	Seq  uint64   `json:"seq"`
}

func (l *look) xrpl() {
	var answer struct {
		Result *struct {
			Info    *xrplInfo `json:"info"`
			Status  string    `json:"status"`
			Error   string    `json:"error"`
			Code    int       `json:"error_code"`
			Message string    `json:"error_message"`
		} `json:"result"`
	}
	q := request{url: l.url, method: http.MethodPost, headers: l.headers, trusted: true, vouched: true, step: "server_info",
		body: `{"method":"server_info","params":[{}]}`}
	start := time.Now()
	said, f := l.ask(q, &answer)
	l.seen.slack = time.Since(start)
	switch res := answer.Result; {
	case f != nil || l.seen.limited != "":
	case res != nil && res.Error != "":
		f = l.xrplError(res.Error, res.Code, res.Message)
	case said != nil:
		f = said
	case res == nil || res.Info == nil:
		f = &failure{"body", "bad_reply", "server_info: the answer has no result.info"}
	}
	if f != nil {
		l.quit(f)
		return
	}
	if l.seen.limited != "" {
		l.conclude()
		return
	}
	info := answer.Result.Info
	if want := l.Chain.ChainID; want != "" && info.NetworkID != nil {
		if n, err := strconv.ParseUint(want, 10, 32); err == nil && uint32(n) != *info.NetworkID {
			l.differs("network id", fmt.Sprint(*info.NetworkID))
			return
		}
	}
	l.xrplSeen(info)
	l.xrplFigures(info)
	l.proof = l.last
	if l.Chain.HealthURL != "" {
		l.xrplHealth()
	}
	if info.Uptime != nil && l.Chain.StartGrace > 0 && *info.Uptime < l.Chain.StartGrace.Seconds() {
		l.seen.starting = true
	}
	l.conclude()
}

// xrplError is what an answer that is an error means. The first are the
// server's way to say that it is asked too much.
func (l *look) xrplError(name string, code int, message string) *failure {
	said := fmt.Sprintf("server_info was answered with the error %s (code %d): %s", shorten(name, 100), code, shorten(message, 300))
	switch name {
	case "slowDown":
		l.refused(said)
		return nil
	case "tooBusy":
		return &failure{"assertion", "overloaded", said}
	case "amendmentBlocked":
		return &failure{"assertion", "amendment_blocked", said + "; install a newer version of the server"}
	case "noNetwork", "noCurrent", "noClosed":
		return &failure{"assertion", "bad_state", said}
	}
	l.seen.calls[len(l.seen.calls)-1].failed = true
	return &failure{"assertion", "rpc_error", said}
}

// The states of a server that follows the network, and of one that is about to,
// in rippled's own order.
var (
	xrplWell   = []string{"full", "validating", "proposing"}
	xrplAlmost = []string{"syncing", "tracking", "connected"}
)

// xrplSeen judges what rippled judges in its own health report, with its limits
// (OverlayImpl::processHealth).
func (l *look) xrplSeen(info *xrplInfo) {
	s := &l.seen
	if v := info.Validated; v != nil && v.Seq > 0 {
		s.hasHead, s.head, s.hash = true, v.Seq, shorten(v.Hash, 100)
		if v.Age != nil && *v.Age >= 0 && *v.Age < 1e9 {
			s.headTime = time.Now().Add(-time.Duration(*v.Age * float64(time.Second)))
			l.note("probe_xrpl_ledger_age_seconds", *v.Age)
		}
	}
	if s.headTime.IsZero() {
		l.find(false, "stale_head", "the server has no validated ledger yet, or does not say how old it is")
	}
	if info.AmendmentBlocked {
		l.find(true, "amendment_blocked", "the server is blocked by an amendment that it does not know: install a newer version of it")
	}
	if info.Peers != nil {
		s.peers = max(*info.Peers, 0)
	}
	switch {
	case info.State == "" || slices.Contains(xrplWell, info.State):
	case slices.Contains(xrplAlmost, info.State):
		l.find(false, "bad_state", "the server is in the state %s; want full, validating or proposing", info.State)
	default:
		l.find(true, "bad_state", "the server is in the state %s; want full, validating or proposing", shorten(info.State, 50))
	}
	load := info.LoadServer
	if load == nil {
		load = info.LoadFactor
	}
	if load != nil {
		l.note("probe_xrpl_load_factor", *load)
		if *load > 100 {
			l.find(*load >= 1000, "overloaded", "the server is under load: transactions cost %g times the usual", *load)
		}
	}
	// 2026-Nov-22 06:01:02.123456 UTC
	if at, err := time.Parse("2006-Jan-02 15:04:05.999999999 MST", info.Time); err == nil {
		s.skew = time.Until(at)
		l.note("probe_chain_clock_skew_seconds", s.skew.Seconds())
	}
	if l.Chain.ChainID != "" && info.NetworkID == nil {
		l.fact("not told", "network_id")
	}
}

// xrplFigures notes what a reader wants to know.
func (l *look) xrplFigures(info *xrplInfo) {
	switch {
	case info.ClioVersion != "":
		l.fact("client", "clio "+shorten(info.ClioVersion, 100)+", rippled "+shorten(info.RippledVersion, 100))
	default:
		l.fact("client", shorten(info.Version, 100))
	}
	if info.NetworkID != nil {
		l.fact("chain id", fmt.Sprint(*info.NetworkID))
	}
	l.fact("server state", shorten(info.State, 50))
	l.fact("ledgers", shorten(info.Ledgers, 200))
	if info.Ledgers != "" && info.Ledgers != "empty" {
		l.note("probe_xrpl_ledger_gaps", float64(strings.Count(info.Ledgers, ",")))
	}
	if info.Latency != nil {
		l.note("probe_xrpl_io_latency_seconds", *info.Latency/1000)
	}
	if info.Uptime != nil {
		l.note("probe_xrpl_uptime_seconds", *info.Uptime)
	}
	if c := info.LastClose; c != nil {
		if c.Converge != nil {
			l.note("probe_xrpl_converge_seconds", *c.Converge)
		}
		if c.Proposers != nil {
			l.note("probe_xrpl_proposers", float64(*c.Proposers))
		}
	}
	for _, state := range []string{"connected", "disconnected", "full", "syncing", "tracking"} {
		if a, ok := info.Accounting[state]; ok {
			if us, err := strconv.ParseFloat(a.Micros, 64); err == nil {
				l.note("probe_xrpl_state_seconds_total", us/1e6, "state", state)
			}
		}
	}
}

// xrplHealth asks for the server's own report. It has nothing of the check's
// credentials, and its certificate, which the server has signed itself, is not
// verified. A peer port that does not answer is a warning.
func (l *look) xrplHealth() {
	u, err := url.Parse(l.Chain.HealthURL)
	if err != nil {
		return // Validate has parsed it
	}
	usual := l.material
	defer func() { l.material = usual }()
	open := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	l.material = &material{own: open, foreign: open, secrets: usual.secrets, proxy: usual.proxy}
	rep, f := l.transact(request{url: u, method: http.MethodGet, step: "health", stay: true}, nil)
	if f != nil {
		if l.ctx.Err() != nil {
			f.message += "; no time is left"
		}
		l.find(false, "health_port", "the peer port gave no health report: %s", f.message)
		return
	}
	var body struct {
		Info map[string]json.RawMessage `json:"info"`
	}
	code := rep.head.StatusCode
	if code != 200 && code != 503 && code != 500 || len(rep.body) > 0 && json.Unmarshal(rep.body, &body) != nil {
		l.find(false, "health_port", "the peer port gave no health report: the reply was %d %s", code, http.StatusText(code))
		return
	}
	l.fact("health", fmt.Sprintf("%d", code))
	if code == 200 {
		return
	}
	// What the check allows is well, whatever the server's own limits are: it
	// does not know of private peers and slow test networks.
	if told := len(body.Info); code == 503 {
		if l.seen.peers > 0 && l.seen.peers >= l.rules.peers {
			delete(body.Info, "peers")
		}
		if time.Since(l.seen.headTime) < l.Chain.WarnAge {
			delete(body.Info, "validated_ledger")
		}
		if told > 0 && len(body.Info) == 0 {
			return
		}
	}
	names := make([]string, 0, len(body.Info))
	for name, v := range body.Info {
		names = append(names, name+" "+shorten(string(v), 60))
	}
	slices.Sort(names)
	reason := "bad_state"
	for _, k := range []struct{ metric, reason string }{{"amendment_blocked", "amendment_blocked"}, {"server_state", "bad_state"}, {"validated_ledger", "stale_head"}, {"peers", "no_peers"}, {"load_factor", "overloaded"}} {
		if _, ok := body.Info[k.metric]; ok {
			reason = k.reason
			break
		}
	}
	l.find(code == 500, reason, "the server's own health report is %d: %s", code, orWord(shorten(strings.Join(names, ", "), 300), "without details"))
}
