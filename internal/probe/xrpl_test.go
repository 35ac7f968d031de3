package probe_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
)

// xrplAnswer is the answer of server_info as xrpl.org documents it, of a
// healthy server.
const xrplAnswer = `{"result":{"info":{
 "build_version":"2.6.1","complete_ledgers":"98213001-98214001","hostid":"ARMY","initial_sync_duration_us":"260654214",
 "io_latency_ms":1,"jq_trans_overflow":"0",
 "last_close":{"converge_time_s":3.001,"proposers":35},
 "load_factor":1,"network_id":0,"network_ledger":"waiting","peer_disconnects":"3194","peer_disconnects_resources":"3","peers":21,
 "ports":[{"port":"51235","protocol":["peer"]},{"port":"5005","protocol":["http"]}],
 "pubkey_node":"n9KUjqxCr5FKThSNXdzb7oqN8rYwScB2dUnNqxQxbEA17JkaWy5x","server_state":"full","server_state_duration_us":"6312344552","state_accounting":{
  "connected":{"duration_us":"254640340","transitions":"2"},"disconnected":{"duration_us":"5045128","transitions":"2"},
  "full":{"duration_us":"6312344552","transitions":"1"},"syncing":{"duration_us":"6013874","transitions":"2"},"tracking":{"duration_us":"45","transitions":"2"}},
 "time":"TIME","uptime":6573,
 "validated_ledger":{"age":3,"base_fee_xrp":0.00001,"hash":"4482DEE5362332F54A4036ED57EE1767C9F33CF7CE5A6670355C16CECE381D46","reserve_base_xrp":1,"reserve_inc_xrp":0.2,"seq":98214001},
 "validation_quorum":28,"validator_list":{"count":1,"expiration":"2027-Jan-18 00:00:00.000000000 UTC","status":"active"}},
 "status":"success"}}`

// serveXRPL answers server_info; change has the answer's info before it is sent.
func serveXRPL(t *testing.T, change func(info map[string]any)) string {
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != `{"method":"server_info","params":[{}]}` || r.Header.Get("Content-Type") != "application/json" {
			http.Error(w, "Unable to parse request: "+string(body), http.StatusBadRequest)
			return
		}
		var answer map[string]map[string]any
		text := strings.ReplaceAll(xrplAnswer, "TIME", time.Now().UTC().Format("2006-Jan-02 15:04:05.000000 UTC"))
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			panic(err)
		}
		change(answer["result"]["info"].(map[string]any))
		_ = json.NewEncoder(w).Encode(answer)
	})
	return s.URL
}

func TestXRPL(t *testing.T) {
	url := serveXRPL(t, func(map[string]any) {})
	r := once(t, probe.Check{Kind: "xrpl", URL: url, Chain: &probe.Chain{Group: "xrpl", ChainID: "0"}})
	if !r.Success || r.Facts["warnings"] != "" {
		t.Fatal(r.Stage, r.Reason, r.Message, r.Facts)
	}
	got := values(r)
	for name, want := range map[string]float64{
		"probe_chain_head_block": 98214001, "probe_chain_peers": 21, "probe_xrpl_ledger_age_seconds": 3, "probe_xrpl_load_factor": 1, "probe_xrpl_io_latency_seconds": 0.001,
		"probe_xrpl_converge_seconds": 3.001, "probe_xrpl_proposers": 35, "probe_xrpl_ledger_gaps": 0, "probe_xrpl_uptime_seconds": 6573,
	} {
		if v, ok := got[name+"[group xrpl]"]; !ok || v != want {
			t.Errorf("%s is %v, want %v; all: %v", name, v, want, got)
		}
	}
	if v := got["probe_xrpl_state_seconds_total[group xrpl state full]"]; v != 6312.344552 {
		t.Errorf("got %v", got)
	}
	if skew := got["probe_chain_clock_skew_seconds[group xrpl]"]; skew < -60 || skew > 1 {
		t.Errorf("the clock is off by %v", skew)
	}
	for name, want := range map[string]string{"client": "2.6.1", "server state": "full", "ledgers": "98213001-98214001", "chain id": "0"} {
		if r.Facts[name] != want {
			t.Errorf("%s: got %q, want %q", name, r.Facts[name], want)
		}
	}
	if len(r.Hops) != 1 || r.Hops[0].Step != "server_info" {
		t.Errorf("got the hops %+v", r.Hops)
	}
}

// The limits are those of rippled's own health report.
func TestXRPLJudged(t *testing.T) {
	f := func(change func(info map[string]any), chain probe.Chain, reason, message string) {
		t.Helper()
		r := once(t, probe.Check{Kind: "xrpl", URL: serveXRPL(t, change), Chain: &chain})
		if r.Reason != reason || !strings.Contains(r.Message+r.Facts["warnings"], message) || message == "" && r.Facts["warnings"] != "" {
			t.Errorf("got %q %q, warnings %q, want %q with %q", r.Reason, r.Message, r.Facts["warnings"], reason, message)
		}
	}
	set := func(key string, v any) func(info map[string]any) {
		return func(info map[string]any) { info[key] = v }
	}
	age := func(s float64) func(info map[string]any) {
		return func(info map[string]any) { info["validated_ledger"].(map[string]any)["age"] = s }
	}
	none := probe.Chain{}
	f(age(6), none, "", "")
	f(age(7), none, "", "less than 7.0 s is usual")
	f(age(19), none, "", "less than 7.0 s is usual")
	f(age(20), none, "stale_head", "want less than 20 s")
	f(age(15), probe.Chain{WarnAge: 20 * time.Second}, "", "") // a test network
	f(func(i map[string]any) { delete(i, "validated_ledger") }, none, "", "no validated ledger yet")
	f(set("peers", 7), none, "", "has 7 peers; want 8 or more")
	f(set("peers", 8), none, "", "")
	f(set("peers", 0), none, "no_peers", "has no peers")
	two, zero := 2, 0
	f(set("peers", 2), probe.Chain{MinPeers: &two}, "", "") // private peers
	f(set("peers", 0), probe.Chain{MinPeers: &zero}, "", "")
	f(set("amendment_blocked", true), none, "amendment_blocked", "install a newer version")
	for _, state := range []string{"validating", "proposing"} {
		f(set("server_state", state), none, "", "")
	}
	for _, state := range []string{"connected", "syncing", "tracking"} {
		f(set("server_state", state), none, "", "in the state "+state)
	}
	f(set("server_state", "disconnected"), none, "bad_state", "in the state disconnected; want full")
	f(set("load_factor", 100.5), none, "", "100.5 times")
	f(set("load_factor", 1000), none, "overloaded", "1000 times")
	// The cost of the open ledger is no load of the server.
	f(func(i map[string]any) { i["load_factor"], i["load_factor_server"] = 5000, 1 }, none, "", "")
	f(set("network_id", 1), probe.Chain{ChainID: "0"}, "wrong_chain", "its network id is 1; want 0")
	f(set("network_id", 1), none, "", "")
	f(set("time", time.Now().Add(-time.Hour).UTC().Format("2006-Jan-02 15:04:05.000000 UTC")), none, "clock", "the node's clock is 60 min behind")
	f(set("time", "tomorrow"), none, "", "")
	// While it starts.
	start := probe.Chain{StartGrace: 10 * time.Minute}
	begun := func(i map[string]any) { i["uptime"], i["server_state"], i["peers"] = 60, "disconnected", 0 }
	f(begun, start, "", "in the state disconnected")
	f(begun, none, "bad_state", "no peers")
	f(func(i map[string]any) { begun(i); i["uptime"] = 601 }, start, "bad_state", "in the state disconnected")
	// What is not told is not judged: Clio has neither peers nor a state.
	f(func(i map[string]any) {
		for _, k := range []string{"build_version", "peers", "server_state", "io_latency_ms", "last_close", "state_accounting", "uptime"} {
			delete(i, k)
		}
		i["clio_version"], i["rippled_version"] = "2.4.0", "2.6.1"
	}, none, "", "")
}

func TestXRPLErrors(t *testing.T) {
	f := func(status int, body, stage, reason, message string) {
		t.Helper()
		s := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
		r := once(t, probe.Check{Kind: "xrpl", URL: s.URL})
		if r.Stage != stage || r.Reason != reason || !strings.Contains(r.Message+r.Facts["warnings"], message) {
			t.Errorf("got %s/%s %q, want %s/%s with %q", r.Stage, r.Reason, r.Message, stage, reason, message)
		}
	}
	said := func(name string, code int, message string) string {
		return fmt.Sprintf(`{"result":{"error":%q,"error_code":%d,"error_message":%q,"request":{"command":"server_info"},"status":"error"}}`, name, code, message)
	}
	f(200, said("slowDown", 10, "You are placing too much load on the server."), "", "", "too much load")
	f(200, said("tooBusy", 9, "The server is too busy to help you now."), "assertion", "overloaded", "too busy")
	f(200, said("amendmentBlocked", 14, "Amendment blocked, need upgrade."), "assertion", "amendment_blocked", "install a newer version")
	f(200, said("noNetwork", 17, "Not synced to the network."), "assertion", "bad_state", "Not synced")
	f(200, said("unknownCmd", 32, "Unknown method."), "assertion", "rpc_error", "unknownCmd (code 32)")
	f(429, "", "", "", "429 Too Many Requests")
	f(403, "Forbidden", "status", "status", "403 Forbidden; want 2xx")
	f(503, "Server is overloaded", "status", "status", "503")
	f(200, `{"result":{"status":"success"}}`, "body", "bad_reply", "no result.info")
	f(200, `{}`, "body", "bad_reply", "no result.info")
	f(200, `{"result":{"info":{"peers":"many"}}}`, "body", "bad_reply", "result.info.peers is a string")
	f(200, `null`, "body", "bad_reply", "no result.info")
	f(200, `Unable to parse request`, "body", "bad_reply", "not the JSON")
}

// The report of the server's peer port: its certificate is not verified, and no
// credentials go there.
func TestXRPLHealth(t *testing.T) {
	f := func(status int, body string, chain probe.Chain, change func(map[string]any), reason, message string) {
		t.Helper()
		var got *http.Request
		health := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		defer health.Close()
		chain.HealthURL = health.URL + "/health"
		r := once(t, probe.Check{Kind: "xrpl", URL: serveXRPL(t, change), Chain: &chain, BearerToken: "sesame-open"})
		if r.Reason != reason || !strings.Contains(r.Message+r.Facts["warnings"], message) || message == "" && r.Facts["warnings"] != "" {
			t.Errorf("got %q %q, warnings %q, want %q with %q", r.Reason, r.Message, r.Facts["warnings"], reason, message)
		}
		if got == nil || got.Method != "GET" || got.URL.Path != "/health" || got.Header.Get("Authorization") != "" {
			t.Errorf("the peer port was asked %+v", got)
		}
		if len(r.Hops) != 2 || r.Hops[1].Step != "health" {
			t.Errorf("got the hops %+v", r.Hops)
		}
	}
	same := func(map[string]any) {}
	f(200, `{"info":{}}`, probe.Chain{}, same, "", "")
	f(503, `{"info":{"validated_ledger":{"age":9}}}`, probe.Chain{}, same, "", `health report is 503: validated_ledger {"age":9}`)
	f(500, `{"info":{"server_state":"disconnected","peers":0}}`, probe.Chain{}, same, "bad_state", `health report is 500: peers 0, server_state "disconnected"`)
	f(500, `{"info":{"amendment_blocked":true,"load_factor":5}}`, probe.Chain{}, same, "amendment_blocked", `health report is 500`)
	f(500, ``, probe.Chain{}, same, "bad_state", `without details`)
	f(404, `not here`, probe.Chain{}, same, "", "the peer port gave no health report: the reply was 404")
	// Private peers: the server's own limit is not the check's.
	two := 2
	f(503, `{"info":{"peers":3}}`, probe.Chain{MinPeers: &two}, func(i map[string]any) { i["peers"] = 3 }, "", "")

	r := once(t, probe.Check{Kind: "xrpl", URL: serveXRPL(t, same), Chain: &probe.Chain{HealthURL: "https://" + closedPort(t) + "/health"}})
	if !r.Success || !strings.Contains(r.Facts["warnings"], "the peer port gave no health report") {
		t.Errorf("got %s %s %v", r.Reason, r.Message, r.Facts)
	}
	// A verified certificate is wanted of the node itself all the same.
	node := httptest.NewTLSServer(http.NotFoundHandler())
	defer node.Close()
	if r := once(t, probe.Check{Kind: "xrpl", URL: node.URL}); r.Reason != "tls_unknown_ca" {
		t.Errorf("got %s %s", r.Reason, r.Message)
	}
}
