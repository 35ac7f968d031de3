package probe_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/vedette-sre/vedette/internal/probe"
)

// TestExpect holds one reply against each assertion, written as in YAML; the
// stage and a part of the message are what is wanted, "" for a good reply.
func TestExpect(t *testing.T) {
	const body = `{"status":"ok","n":3,"big":9007199254740993,"half":0.5,"token":"hunter2hunter2","none":null,"nodes":[{"name":"a","up":true},{"name":"b","up":false}],"list":[1,2,3]}`
	addr := serveTCP(t, say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Two: 1\r\nX-Two: 2\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body))
	text := serveTCP(t, say(ok200))
	empty := serveTCP(t, say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	f := func(addr, expect, stage, says string) {
		t.Helper()
		c := probe.Check{Name: "x", URL: "http://" + addr, Timeout: 20 * time.Second}
		if err := yaml.Unmarshal([]byte(expect), &c.Expect); err != nil {
			t.Fatal(err)
		}
		r := probe.Once(t.Context(), c)
		if r.Stage != stage || !strings.Contains(r.Message, says) || r.Success != (stage == "") {
			t.Errorf("%s: got stage %q, %q; want %q, %q", expect, r.Stage, r.Message, stage, says)
		}
		if strings.Contains(r.Message, "hunter2") {
			t.Errorf("%s: the message shows a secret: %s", expect, r.Message)
		}
	}
	f(addr, `json: [{path: $.status, equals: ok}]`, "", "")
	f(addr, `json: [{path: $.status, equals: down}]`, "body", `$.status in the body is "ok"; want "down"`)
	f(addr, `json: [{path: $.n, equals: 3}, {path: $.n, equals: 3.0}, {path: $.half, equals: 0.5}]`, "", "")
	f(addr, `json: [{path: $.n, equals: "3"}]`, "body", `is 3; want "3"`)
	f(addr, `json: [{path: $.big, equals: 9007199254740993}]`, "", "")
	f(addr, `json: [{path: $.big, equals: 9007199254740992}]`, "body", "is 9007199254740993")
	f(addr, `json: [{path: "$.nodes[0]", equals: {up: true, name: a}}, {path: $.list, equals: [1, 2, 3]}]`, "", "")
	f(addr, `json: [{path: $.list, equals: [1, 2]}]`, "body", "[1,2,3]")
	f(addr, `json: [{path: $.gone, equals: 1}]`, "body", "nothing at $.gone")
	f(addr, `json: [{path: $.gone, exists: true}]`, "body", "nothing at $.gone")
	f(addr, `json: [{path: $.gone, exists: false}, {path: $.none, exists: true}, {path: $.none, matches: ^null$}]`, "", "")
	f(addr, `json: [{path: $.n, exists: false}]`, "body", "should not")
	f(addr, `json: [{path: "$.nodes[*].up", equals: true}]`, "body", "is false; want true")
	f(addr, `json: [{path: "$.nodes[*].name", matches: "^[ab]$"}, {path: "$.nodes[*]", count: 2}, {path: "$.nodes[?(@.up == true)]", count: 1}, {path: $..name, count: 2}]`, "", "")
	f(addr, `json: [{path: "$.nodes[*]", count: 3}]`, "body", "2 values at $.nodes[*]; want 3")
	f(addr, `json: [{path: $.n, greater_than: 2, less_than: 4}]`, "", "")
	f(addr, `json: [{path: $.n, greater_than: 3}]`, "body", "more than 3")
	f(addr, `json: [{path: $.n, less_than: 3}]`, "body", "less than 3")
	f(addr, `json: [{path: $.status, less_than: 3}]`, "body", "a number")
	f(addr, `json: [{path: $.token, equals: x}]`, "body", "(removed)")
	f(text, `json: [{path: $.a, exists: false}]`, "body", "is not JSON")
	f(empty, `json: [{path: $.a, exists: false}]`, "body", "it is empty")

	f(addr, `json_schema: {type: object, required: [status, n], properties: {n: {type: integer, maximum: 3}}}`, "", "")
	f(addr, `json_schema: {type: object, required: [version], properties: {n: {maximum: 2}, half: {type: string}, list: {items: {type: string}}}}`, "body", "at /half: got number, want string; at /list/0: got number")
	f(addr, `json_schema: '{"type": "array"}'`, "body", "want array")
	f(addr, `json_schema: {$defs: {node: {required: [port]}}, properties: {nodes: {items: {$ref: "#/$defs/node"}}}}`, "body", "/nodes/0")
	f(text, `json_schema: true`, "body", "is not JSON")
	// References that multiply must end.
	wide := `{"$ref":"#/$defs/a0","$defs":{"a40":{"type":"object"}`
	for i := range 40 {
		n, m := itoa(i), itoa(i+1)
		wide += `,"a` + n + `":{"allOf":[{"$ref":"#/$defs/a` + m + `"},{"$ref":"#/$defs/a` + m + `"}]}`
	}
	f(addr, `json_schema: '`+wide+`}}'`, "body", "takes too long")

	f(addr, `cel: status == 200 && json.n == 3 && json.nodes.exists(x, x.up) && headers["X-Two"] == "1, 2" && size > 100 && duration < 20 && protocol == "HTTP/1.1"`, "", "")
	f(addr, `cel: phases.processing < 20 && phases["tls"] == 0.0 && body.contains("ok") && !(body.startsWith("x"))`, "", "")
	f(addr, `cel: json.half > 0 && json.n > 2.5`, "", "")
	f(addr, `cel: status == 201 || size < 10`, "assertion", "is not true: status is 200, size is "+itoa(len(body)))
	f(addr, `cel: json.gone == 1`, "assertion", "no such key: gone")
	f(addr, `cel: certificate_days > 7`, "assertion", "no certificate")
	f(addr, `cel: json.n`, "assertion", "want true")
	f(text, `cel: json.n == 1`, "assertion", "not JSON")
	f(text, `cel: status == 200`, "", "")
	f(addr, `cel: json.list.all(a, json.list.all(b, json.list.all(c, json.list.all(d, a + b + c + d > 0))))`, "", "")

	f(addr, `min_bytes: 10`, "", "")
	f(addr, `min_bytes: 10000`, "assertion", "want 10000 or more")
	f(addr, `max_bytes: 10`, "assertion", "want at most 10")
	f(addr, `phases: {processing: 10, resolve: 1}`, "", "")
	f(addr, `phases: {connect: 0.000000001}`, "assertion", "the phase connect took")
	f(addr, `protocol: HTTP/1.1`, "", "")
	f(addr, `protocol: HTTP/2`, "assertion", "over HTTP/1.1; want HTTP/2")
	f(addr, `body_not_regex: '"none":\s*1'`, "", "")
	f(addr, `body_not_regex: '"none":\s*null'`, "body", `should not: "\"none\":null"`)
	f(addr, `tls_version: 1.3`, "", "") // plain http has none
}

// TestExpectTLS: the version and the days of a certificate, from the handshake.
func TestExpectTLS(t *testing.T) {
	ca := newAuthority(t)
	old := serveTLS(t, serverTLS(ca.issue(t, 48*time.Hour, "127.0.0.1"), 0x0303), say(ok200))
	f := func(e probe.Expect, stage string) {
		t.Helper()
		r := once(t, probe.Check{URL: "https://" + old, TLS: probe.TLS{CAFile: ca.file}, Expect: e})
		if r.Stage != stage {
			t.Errorf("%+v: got %q, %s; want %q", e, r.Stage, r.Message, stage)
		}
	}
	f(probe.Expect{TLSVersion: "1.2"}, "")
	f(probe.Expect{TLSVersion: "1.3"}, "assertion")
	f(probe.Expect{CEL: "certificate_days > 1.5 && certificate_days < 2.5"}, "")
}

// TestExpectRefused: what Validate says of expectations that cannot work.
func TestExpectRefused(t *testing.T) {
	f := func(expect, says string) {
		t.Helper()
		c := probe.Check{Name: "x", URL: "http://h"}
		if err := yaml.Unmarshal([]byte(expect), &c.Expect); err != nil {
			t.Fatal(err)
		}
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v; want %q", expect, err, says)
		}
	}
	f(`json: [{path: status}]`, `expect.json[0].path: "status": want a JSONPath that begins with $`)
	f(`json: [{path: "$.a["}]`, `expect.json[0].path: "$.a["`)
	f(`json: [{path: $.a, matches: "("}]`, "expect.json[0].matches")
	f(`json: [{path: $..a..b}]`, "at most one search")
	f(`json: [{path: "$[*][?($.a == @.b)]"}]`, "looks at @ alone")
	f(`json: [{path: "$[0,0][0,0][0,0][0,0][0,0][0,0][0,0][0,0][0,0]"}]`, "commas")
	f(`json: [{path: $.a, exists: false, equals: 1}]`, "no other condition")
	f(`json: [{path: $.a, count: -1}]`, "count: -1")
	f(`json_schema: {type: thing}`, "expect.json_schema: want a JSON schema")
	f(`json_schema: [1]`, "which is an object")
	f(`json_schema: {$ref: "http://127.0.0.1:1/schema.json"}`, "refers to http://127.0.0.1:1/schema.json")
	f(`json_schema: {$ref: "file:///etc/passwd"}`, "refers to file:///etc/passwd")
	f(`json_schema: {$ref: "other.json"}`, "refers to other.json")
	f(`json_schema_file: /does/not/exist`, "expect.json_schema_file: want a readable file")
	f(`cel: status ==`, "line 1, column")
	f(`cel: code == 200`, "'code' is not known; want one of status, body")
	f(`cel: "status + 1"`, "gives a value of the type int")
	f(`cel: status == "200"`, "no matching overload")
	f(`cel: "[1].all(a,[1].all(b,[1].all(c,[1].all(d,[1].all(e,true)))))"`, "at most 4")
	f(`cel: "[[1]].map(y,[y,y,y,y,y,y,y,y,y]).map(y,[y,y]) == []"`, "at most")
	f(`max_bytes: -1`, "expect.max_bytes")
	f(`{min_bytes: 5, max_bytes: 4}`, "not below min_bytes")
	f(`phases: {dns: 1}`, `expect.phases: "dns": want one of resolve`)
	f(`phases: {tls: 0}`, "expect.phases: tls: 0")
	f(`protocol: h2`, "expect.protocol")
	f(`tls_version: "1.1"`, "expect.tls_version")
	f(`body_not_regex: "("`, "expect.body_not_regex")
	c := probe.Check{Name: "x", URL: "http://h", Method: "HEAD", Expect: probe.Expect{JSON: []probe.JSONRule{{Path: "$.a"}}}}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "HEAD") {
		t.Errorf("HEAD: got %v", err)
	}
}

func TestSchemaFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.json")
	if err := os.WriteFile(file, []byte(`{"required":["a"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := serveTCP(t, say("HTTP/1.1 200 OK\r\n\r\n{}"))
	if r := once(t, probe.Check{URL: "http://" + addr, Expect: probe.Expect{JSONSchemaFile: file}}); r.Stage != "body" || !strings.Contains(r.Message, "'a'") {
		t.Errorf("got %q: %s", r.Stage, r.Message)
	}
}

// TestCELBounds: expressions that would not end are cut off.
func TestCELBounds(t *testing.T) {
	long := "[" + strings.TrimSuffix(strings.Repeat("1,", 50000), ",") + "]"
	addr := serveTCP(t, say("HTTP/1.1 200 OK\r\n\r\n"+long))
	r := once(t, probe.Check{URL: "http://" + addr, Timeout: 30 * time.Second, Expect: probe.Expect{CEL: "json.all(a, json.all(b, json.all(c, a + b + c > 0)))"}})
	if r.Stage != "assertion" || !strings.Contains(r.Message, "takes too long") {
		t.Errorf("got %q: %s", r.Stage, r.Message)
	}
}

func TestRole(t *testing.T) {
	c := probe.Check{Name: "x", URL: "http://h", Role: "startup"}
	if err := c.Validate(); err != nil || c.StartupSeconds != 300 {
		t.Errorf("got %d, %v", c.StartupSeconds, err)
	}
	for _, c := range []probe.Check{{Role: "ready"}, {Role: "liveness", StartupSeconds: 5}, {Role: "startup", StartupSeconds: -1}} {
		c.Name, c.URL = "x", "http://h"
		if err := c.Validate(); err == nil {
			t.Errorf("%q, %d: got no error", c.Role, c.StartupSeconds)
		}
	}
}

func FuzzJSONRule(f *testing.F) {
	f.Add("$.a[*].b", `{"a":[{"b":1}]}`)
	f.Add("$..a", `[[[[{"a":1e999}]]]]`)
	f.Add("$[?(@.x =~ /a/)]", `[{"x":"a"}]`)
	f.Add("$[1:-1:2]['a','b']", `[]`)
	f.Fuzz(func(t *testing.T, path, body string) {
		said, err := probe.JudgeJSON(probe.JSONRule{Path: path, Matches: "x"}, body)
		if err == nil && len(said) > 2*len(path)+1000 {
			t.Errorf("says %d bytes", len(said))
		}
	})
}

func FuzzCEL(f *testing.F) {
	f.Add("status == 200", "{}")
	f.Add("json.a.all(x, x > 1)", `{"a":[1,2]}`)
	f.Add("body.matches('(a*)*b')", "aaaa")
	f.Fuzz(func(_ *testing.T, expr, body string) { _, _ = probe.JudgeCEL(expr, body) })
}
