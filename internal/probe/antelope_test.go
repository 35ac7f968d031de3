package probe_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
)

// antelopeAnswer is the answer of get_info as nodeos gives it.
const antelopeAnswer = `{"server_version":"2dd5d1de","chain_id":"aca376f206b8fc25a6ed44dbdc66547c36c6c33e3a119ffbeaef943642f0e906",
 "head_block_num":411200310,"last_irreversible_block_num":411200307,"last_irreversible_block_id":"18826cb35e3e2e4f0a0b8cf3d1bb7a1fd1d1b3b0d6a7ce1a4c6e0dbd3ea0bdb1",
 "head_block_id":"18826cb6f9e2dd8b5f0b2dbd8c1e5a4e1b6a7b7d2f2d1c9e6e3a2c4d5b6a7f80","head_block_time":"TIME","head_block_producer":"eosnationftw",
 "virtual_block_cpu_limit":200000000,"virtual_block_net_limit":1048576000,"block_cpu_limit":200000,"block_net_limit":1048576,
 "server_version_string":"v1.2.2","fork_db_head_block_num":411200310,"fork_db_head_block_id":"18826cb6f9e2dd8b5f0b2dbd8c1e5a4e1b6a7b7d2f2d1c9e6e3a2c4d5b6a7f80",
 "server_full_version_string":"v1.2.2-2dd5d1deab6","total_cpu_weight":"383092","total_net_weight":"96092","earliest_available_block_num":410000000,
 "last_irreversible_block_time":"TIME"}`

func TestAntelope(t *testing.T) {
	change := map[string]any{}
	age := time.Duration(0)
	status := 200
	body := ""
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/chain/get_info" {
			http.Error(w, "no", http.StatusNotFound)
			return
		}
		w.WriteHeader(status)
		if body != "" {
			_, _ = io.WriteString(w, body)
			return
		}
		at := time.Now().Add(-age).UTC().Truncate(500 * time.Millisecond).Format("2006-01-02T15:04:05.000")
		var info map[string]any
		if err := json.Unmarshal([]byte(strings.ReplaceAll(antelopeAnswer, "TIME", at)), &info); err != nil {
			panic(err)
		}
		for k, v := range change {
			if v == nil {
				delete(info, k)
			} else {
				info[k] = v
			}
		}
		_ = json.NewEncoder(w).Encode(info)
	})
	r := once(t, probe.Check{Kind: "antelope", URL: s.URL, Chain: &probe.Chain{Group: "vaulta", ChainID: "ACA376f206b8fc25"}})
	if !r.Success || r.Facts["warnings"] != "" {
		t.Fatal(r.Reason, r.Message, r.Facts)
	}
	got := values(r)
	for name, want := range map[string]float64{"probe_chain_head_block": 411200310, "probe_chain_finalized_block": 411200307, "probe_antelope_irreversible_lag_blocks": 3, "probe_antelope_fork_db_lag_blocks": 0} {
		if v, ok := got[name+"[group vaulta]"]; !ok || v != want {
			t.Errorf("%s is %v, want %v; all: %v", name, v, want, got)
		}
	}
	if r.Facts["client"] != "v1.2.2" || !strings.HasPrefix(r.Facts["chain id"], "aca376f2") || r.Facts["producer of the head"] != "eosnationftw" {
		t.Errorf("got the facts %v", r.Facts)
	}

	f := func(stage, reason, message string) {
		t.Helper()
		// A URL that names the call already is as good.
		r := once(t, probe.Check{Kind: "antelope", URL: s.URL + "/v1/chain/get_info", Chain: &probe.Chain{ChainID: "aca376f2"}})
		if r.Stage != stage || r.Reason != reason || !strings.Contains(r.Message+r.Facts["warnings"], message) || message == "" && r.Facts["warnings"] != "" {
			t.Errorf("got %s/%s %q, warnings %q, want %s/%s with %q", r.Stage, r.Reason, r.Message, r.Facts["warnings"], stage, reason, message)
		}
		change, age, status, body = map[string]any{}, 0, 200, ""
	}
	f("", "", "")
	change["chain_id"] = "73e4385a2708e6d7048834fbc1079f2fabb17b3c125b146af438971e90716c4d"
	f("assertion", "wrong_chain", "its chain id is 73e4385a")
	age = 8 * time.Second
	f("", "", "old; less than 5.0 s is usual")
	age = 30 * time.Second
	f("", "", "old; less than 5.0 s is usual")
	age = 70 * time.Second
	f("assertion", "stale_head", "want less than 60 s")
	age = -time.Minute
	f("assertion", "clock", "in the future")
	age = -4500 * time.Millisecond
	f("", "", "in the future")
	change["last_irreversible_block_num"] = 411200310 - 330 // before instant finality
	f("", "", "")
	change["last_irreversible_block_num"] = 411200310 - 401
	f("", "", "401 blocks behind the head; want at most 400")
	change["last_irreversible_block_num"] = 411200310 - 1001
	f("assertion", "not_final", "1001 blocks behind the head; want at most 1000")
	change["fork_db_head_block_num"] = 411200310 + 11
	f("", "", "knows of 11 blocks more")
	change["fork_db_head_block_num"] = 411200310 + 101
	f("assertion", "lagging", "knows of 101 blocks more")
	change["fork_db_head_block_num"] = nil // an old version
	f("", "", "")
	change["head_block_time"] = "yesterday"
	f("body", "bad_reply", `head_block_time is "yesterday"`)
	change["head_block_num"] = nil
	f("body", "bad_reply", "lacks chain_id, head_block_num")
	change["head_block_num"] = "411200310"
	f("body", "bad_reply", "head_block_num is a string")
	change["head_block_num"] = -1
	f("body", "bad_reply", "head_block_num is a number -1")
	status, body = 500, `{"code":500,"message":"Internal Service Error","error":{"code":3100002,"name":"unknown_block_exception","what":"Unknown block","details":[{"message":"Could not find block: 1","file":"x","line_number":1,"method":"y"}]}}`
	f("assertion", "rpc_error", "unknown_block_exception (code 3100002): Unknown block: Could not find block: 1")
	status, body = 404, `{"code":404,"message":"Not Found","error":{"code":0,"name":"exception","what":"unspecified","details":[{"message":"Unknown Endpoint","file":"","line_number":0,"method":""}]}}`
	f("assertion", "rpc_error", "Unknown Endpoint")
	status, body = 502, "<html>Bad Gateway</html>"
	f("status", "status", "502 Bad Gateway; want 2xx")
	status, body = 429, "{}"
	f("", "", "429 Too Many Requests")
	body = "EOS"
	f("body", "bad_reply", "not the JSON")
}
