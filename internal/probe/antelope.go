package probe

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// antelopeKind looks at nodeos and what speaks as it does.
var antelopeKind = chainKind("http://10.0.4.31:8888", 10*time.Second, func(r *run) { r.look().antelope() })

// antelopeInfo is the answer of /v1/chain/get_info, as far as it is used.
type antelopeInfo struct {
	ChainID      *string `json:"chain_id"`
	Head         *uint64 `json:"head_block_num"`
	HeadTime     string  `json:"head_block_time"`
	HeadID       string  `json:"head_block_id"`
	Producer     string  `json:"head_block_producer"`
	Irreversible *uint64 `json:"last_irreversible_block_num"`
	Version      string  `json:"server_version_string"`
	ForkDBHead   *uint64 `json:"fork_db_head_block_num"`

	// An answer that is an error.
	Error *struct {
		Code    int    `json:"code"`
		Name    string `json:"name"`
		What    string `json:"what"`
		Details []struct {
			Message string `json:"message"`
		} `json:"details"`
	} `json:"error"`
}

const antelopePath = "/v1/chain/get_info"

func (l *look) antelope() {
	u := *l.url
	if !strings.HasSuffix(u.Path, antelopePath) {
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+antelopePath, ""
	}
	var info antelopeInfo
	said, f := l.ask(request{url: &u, method: http.MethodGet, headers: l.headers, trusted: true, vouched: true, step: "get_info"}, &info)
	switch e := info.Error; {
	case f != nil:
	case l.seen.limited != "":
	case e != nil:
		what := e.What
		if len(e.Details) > 0 {
			what += ": " + e.Details[0].Message
		}
		l.seen.calls[len(l.seen.calls)-1].failed = true
		f = &failure{"assertion", "rpc_error", fmt.Sprintf("get_info was answered with the error %s (code %d): %s", shorten(e.Name, 100), e.Code, shorten(what, 300))}
	case said != nil:
		f = said
	case info.Head == nil || info.ChainID == nil || info.Irreversible == nil:
		f = &failure{"body", "bad_reply", "get_info: the answer lacks chain_id, head_block_num or last_irreversible_block_num"}
	case *info.Head > 1<<62:
		f = &failure{"body", "bad_reply", fmt.Sprintf("get_info: head_block_num is %d; want the number of a block", *info.Head)}
	}
	if f != nil {
		l.quit(f)
		return
	}
	if l.seen.limited == "" && !l.antelopeSeen(info) {
		return
	}
	l.conclude()
}

// antelopeSeen notes an answer; ok is false when the run has ended.
func (l *look) antelopeSeen(info antelopeInfo) (ok bool) {
	// It is UTC, without a letter that says so.
	at, err := time.Parse("2006-01-02T15:04:05.999", strings.TrimSuffix(info.HeadTime, "Z"))
	if err != nil {
		said, _ := json.Marshal(shorten(info.HeadTime, 100))
		l.quit(&failure{"body", "bad_reply", fmt.Sprintf("get_info: head_block_time is %s; want such as 2026-11-22T06:01:02.500", said)})
		return false
	}
	l.fact("client", shorten(info.Version, 200))
	l.fact("chain id", shorten(*info.ChainID, 100))
	l.fact("producer of the head", shorten(info.Producer, 100))
	if want := l.Chain.ChainID; want != "" && !strings.HasPrefix(strings.ToLower(*info.ChainID), strings.ToLower(want)) {
		l.differs("chain id", shorten(*info.ChainID, 100))
		return false
	}
	s := &l.seen
	s.hasHead, s.head, s.hash, s.headTime = true, *info.Head, shorten(info.HeadID, 100), at
	s.hasFinal, s.final = true, *info.Irreversible
	l.note("probe_antelope_irreversible_lag_blocks", float64(s.head-min(s.head, s.final)))
	if fork := info.ForkDBHead; fork != nil {
		lag := *fork - min(*fork, s.head)
		l.note("probe_antelope_fork_db_lag_blocks", float64(lag))
		if lag > 10 {
			l.find(lag > 100, "lagging", "the node knows of %d blocks more than it has taken into its head, block %d", lag, s.head)
		}
	}
	return true
}
