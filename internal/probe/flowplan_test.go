package probe_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
)

func TestFlowDefaults(t *testing.T) {
	c := flowCheck(t, "http://h.test", `
  variables: {base: "$BASE", token: abc}
  steps:
    - {request: {url: "${base}/a?token=${token}&r=${random}"}}
    - {wait: 1s}
    - {request: {url: /b, json: {}}}
    - {name: poll, loop: {until: {status: 200}}, request: {url: /c, method: put}}
`)
	before := c
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Kind != "flow" || c.ID != "buy-a-book" || c.Interval != time.Minute || c.Timeout != 30*time.Second || c.Flow.MaxRequests != 100 {
		t.Errorf("got %+v", c)
	}
	if got := c.Target(); got != "http://h.test/a?token=(removed)&r=${random}" {
		t.Errorf("the target: got %q", got)
	}
	s := c.Flow.Steps
	if s[0].Name != "step 1" || s[1].Name != "step 2" || s[0].Request.Method != "GET" || s[2].Request.Method != "POST" || s[3].Request.Method != "PUT" || s[3].Loop.Times != 10 || s[3].Loop.Every != time.Second {
		t.Errorf("got %+v", s)
	}
	if before.Flow.MaxRequests != 0 || before.Flow.Steps[0].Name != "" || before.Flow.Steps[3].Loop.Times != 0 {
		t.Error("Validate changed a flow that a run may be reading")
	}
	again := c
	if err := again.Validate(); err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("validating twice: %v\n%+v\n%+v", err, again.Flow, c.Flow)
	}
	c = flowCheck(t, "http://h.test", "  steps: [{request: {url: $BASE/}}]\ninterval: 10s")
	if err := c.Validate(); err != nil || c.Timeout != 10*time.Second {
		t.Errorf("the timeout of a short interval: got %s, %v", c.Timeout, err)
	}
	dir := t.TempDir()
	c = flowCheck(t, "http://h.test", "  secrets: {a: {file: a.txt}, b: {file: /b.txt}, c: {env: C}}\n  steps: [{request: {url: $BASE/}}]")
	c.ResolvePaths(dir)
	if got := c.Flow.Secrets; got["a"].File != dir+"/a.txt" || got["b"].File != "/b.txt" || got["c"].File != "" || len(c.Files()) != 2 || !slices.Equal(c.Environment(), []string{"C"}) {
		t.Errorf("got %v", got)
	}
	(&probe.Check{}).ResolvePaths(dir)
	if got := (probe.Check{Kind: "flow"}).Target(); got != "" {
		t.Errorf("no flow has the target %q", got)
	}
}

func TestFlowValidate(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		c := flowCheck(t, "http://h.test", text)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	const ok = "{request: {url: $BASE/}}"
	f("  steps: []", "flow.steps: is missing; want at least one step with a request")
	f("  steps: [{wait: 1s}]", "flow.steps: holds no request; want at least one step with a request")
	f("  steps: ["+ok+"]\nmethod: POST", `method: "POST": the requests of a flow have theirs: flow.steps[].request.method`)
	f("  steps: ["+ok+"]\nbody: x", `body: the requests of a flow have theirs`)
	f("  steps: ["+ok+"]\nexpect: {status: 200}", `expect: the replies of a flow are judged one by one: flow.steps[].expect; only max_seconds and certificate_days are for the flow as a whole`)
	f("  steps: ["+ok+"]\nheaders: {Host: x}", `headers: Host is for one request`)
	f("  steps: ["+ok+"]\nkind: flow\nurl: http://h.test", `url: "http://h.test": a check of the kind flow has no url`)
	f("  hosts: [http://h.test]\n  steps: ["+ok+"]", `flow.hosts[0]: "http://h.test": want a host such as api.example.org or api.example.org:8443, in lower case`)
	f("  max_requests: 1001\n  steps: ["+ok+"]", `flow.max_requests: 1001: want from 1 to 1000`)
	f("  variables: {uuid: x}\n  steps: ["+ok+"]", "flow.variables.uuid: ${uuid} is there already, in every flow; want another name")
	f("  variables: {a b: x}\n  steps: ["+ok+"]", `flow.variables.a b: the name "a b": want letters, digits, '_' and '-'`)
	f("  variables: {a: x, b: '${a}'}\n  steps: ["+ok+"]", "flow.variables.b: there is no variable ${a}; known here are check, location, now, random, uuid")
	f("  variables: {a: x}\n  secrets: {a: {env: A}}\n  steps: ["+ok+"]", "flow.secrets.a: a is one of flow.variables as well; keep one")
	f("  secrets: {a: {env: A, file: b}}\n  steps: ["+ok+"]", "flow.secrets.a: want one of env, the name of an environment variable, file, the path of a file, and value")
	f("  secrets: {a: {}}\n  steps: ["+ok+"]", "flow.secrets.a: want one of env")
	step := func(text, want string) {
		t.Helper()
		f("  steps: [{name: first, request: {url: $BASE/}, extract: [{name: one, header: X}]}, "+text+"]", want)
	}
	step("{name: '${one}', wait: 1s}", "flow.steps[1].name: \"${one}\": want a name that is the same in every run")
	step("{name: first, wait: 1s}", `flow.steps[1].name: "first" is the name of flow.steps[0] as well; want names that differ`)
	step("{name: a}", "flow.steps[1]: want one of request, wait and, in a loop, steps")
	step("{name: a, wait: 1s, request: {url: /}}", "flow.steps[1]: want one of request, wait and, in a loop, steps")
	step("{name: a, wait: 30s}", "flow.steps[1].wait: 30s: want less than the flow may take in all, 30s")
	step("{name: a, wait: 1s, expect: {status: 200}}", "flow.steps[1].expect: needs a request in the same step")
	step("{name: a, wait: 1s, extract: [{name: x, header: X}]}", "flow.steps[1].extract: needs a request in the same step")
	step("{name: a, wait: 1s, loop: {times: 3}}", "flow.steps[1].loop: is for a request or steps, not for a wait")
	step("{name: a, steps: [{wait: 1s}]}", "flow.steps[1].loop: is missing; steps within a step are for loops")
	step("{name: a, loop: {}, request: {url: /}}", "flow.steps[1].loop: want one of until")
	step("{name: a, loop: {over: one, times: 3}, request: {url: /}}", "flow.steps[1].loop: want one of until")
	step("{name: a, loop: {over: none}, request: {url: /}}", "flow.steps[1].loop.over: there is no variable ${none}; known here are check, location, now, one, random, uuid")
	step("{name: a, loop: {over: one, as: uuid}, request: {url: /}}", "flow.steps[1].loop.as: ${uuid} is there already")
	step("{name: a, loop: {over: one, as: one}, request: {url: /}}", `flow.steps[1].loop.as: "one" is a secret or is extracted; want another name`)
	step("{name: a, loop: {times: 2, as: x}, request: {url: /}}", `flow.steps[1].loop.as: "x": goes with over`)
	step("{name: a, loop: {over: one}, request: {url: /}}, {name: b, request: {url: '/${item}'}}", "flow.steps[2].request.url: there is no variable ${item}; known here are")
	step("{name: a, loop: {times: 1001}, request: {url: /}}", "flow.steps[1].loop.times: 1001: want from 1 to 1000")
	step("{name: a, loop: {times: 2, every: 1m}, request: {url: /}}", "flow.steps[1].loop.every: 1m0s: want less than the flow may take in all, 30s")
	step("{name: a, loop: {until: {status: 200}}, steps: [{wait: 1s}]}", "flow.steps[1].loop.until: is for one request, whose reply is looked at; not for steps")
	step("{name: a, loop: {until: {status: 99}}, request: {url: /}}", `flow.steps[1].loop.until.status: "99": want a code from 100 to 599`)
	step("{name: a, loop: {times: 2}, steps: [{name: b, loop: {times: 2}, request: {url: /}}]}", "flow.steps[1].steps[0].loop: a step of a loop has no loop of its own")
	step("{name: a, loop: {times: 2}, steps: [{name: b, always: true, request: {url: /}}]}", "flow.steps[1].steps[0].always: is for the steps of the flow")
	step("{name: a, request: {url: ''}}", "flow.steps[1].request.url: is missing; want such as")
	step("{name: a, request: {url: 'ftp://h.test/'}}", `flow.steps[1].request.url: "ftp://h.test/": want a URL that begins with http:// or https://`)
	step("{name: a, request: {url: 'http:///x'}}", `flow.steps[1].request.url: "http:///x" has no host`)
	step("{name: a, request: {url: 'http://u:secret@h.test/'}}", `flow.steps[1].request.url: "http://(removed)@h.test/" holds a user; want request.basic_auth with the password in flow.secrets`)
	step("{name: a, request: {url: orders}}", `flow.steps[1].request.url: "orders": want such as https://shop.example.org/login, or after the first request a path such as /orders`)
	f("  steps: [{request: {url: /x}}]", `flow.steps[0].request.url: "/x": want such as`)
	step("{name: a, request: {url: '/${two}'}}, {name: b, request: {url: /}, extract: [{name: two, header: X}]}", "flow.steps[1].request.url: ${two} is extracted only by the step \"b\"; want a variable that has its value before")
	step("{name: a, request: {url: '/${one'}}", "flow.steps[1].request.url: at byte 2: want ${name} or ${name.field}")
	step("{name: a, request: {url: '/${{one}}'}}", "flow.steps[1].request.url: at byte 2: want ${name} or ${name.field}")
	step("{name: a, request: {url: /, method: 'G T'}}", `flow.steps[1].request.method: "G T": want a word such as GET, HEAD or POST`)
	step("{name: a, request: {url: /, headers: {Content-Length: 3}}}", "flow.steps[1].request.headers: Content-Length cannot be set: ")
	step("{name: a, request: {url: /, headers: {X: '${x}'}}}", "flow.steps[1].request.headers.X: there is no variable ${x}")
	step("{name: a, request: {url: /, body: x, json: 3}}", "flow.steps[1].request.body: want one of form, json and body")
	step("{name: a, request: {url: /, json: {a: [1, '${x}']}}}", "flow.steps[1].request.json.a[1]: there is no variable ${x}")
	step("{name: a, request: {url: /, json: {a: .inf}}}", "flow.steps[1].request.json: want what can be written as JSON")
	step("{name: a, request: {url: /, form: {a: '${x}'}}}", "flow.steps[1].request.form.a: there is no variable ${x}")
	step("{name: a, request: {url: /, basic_auth: {username: '', password: x}}}", "flow.steps[1].request.basic_auth: want a username")
	step("{name: a, request: {url: /, basic_auth: {username: u}, headers: {authorization: x}}}", "flow.steps[1].request.basic_auth: want a username, and no header Authorization beside it")
	step("{name: a, request: {url: /}, expect: {body_regex: '('}}", `flow.steps[1].expect.body_regex: "(": want a regular expression (RE2)`)
	step("{name: a, request: {url: /}, expect: {body_regex: '${one}('}}", `flow.steps[1].expect.body_regex: "x(": want a regular expression (RE2)`)
	step("{name: a, request: {url: /}, expect: {body_contains: '${x}'}}", "flow.steps[1].expect.body_contains: there is no variable ${x}")
	step("{name: a, request: {url: /, method: HEAD}, expect: {body_contains: x}}", "flow.steps[1].expect.body_contains")
	step("{name: a, request: {url: /}, extract: [{name: 'a b', header: X}]}", `flow.steps[1].extract[0].name: the name "a b": want letters`)
	step("{name: a, request: {url: /}, extract: [{name: x}]}", "flow.steps[1].extract[0]: x: want one of jsonpath, header, cookie and regex")
	step("{name: a, request: {url: /}, extract: [{name: x, jsonpath: token}]}", `flow.steps[1].extract[0].jsonpath: "token": want a JSONPath that begins with $`)
	step("{name: a, request: {url: /}, extract: [{name: x, jsonpath: '$['}]}", `flow.steps[1].extract[0].jsonpath: "$[": want a JSONPath such as $.token`)
	step("{name: a, request: {url: /}, extract: [{name: x, jsonpath: '$..a..b'}]}", `flow.steps[1].extract[0].jsonpath: "$..a..b": want at most one search`)
	step("{name: a, request: {url: /}, extract: [{name: x, regex: '('}]}", `flow.steps[1].extract[0].regex: "(": want a regular expression (RE2)`)
	step("{name: a, request: {url: /, method: HEAD}, extract: [{name: x, regex: x}]}", "flow.steps[1].extract[0]: x: a HEAD reply has no body; want method GET")
	step("{name: a, request: {url: /, body: '"+strings.Repeat("${one}", 1001)+"'}}", "flow.steps[1].request.body: the step has more than 1000 places for variables")
	var many []string
	for range 201 {
		many = append(many, ok)
	}
	f("  steps: ["+strings.Join(many, ", ")+"]", "flow.steps: there are more than 200; want at most that")
	c := probe.Check{Name: "x", Kind: "flow"}
	if err := c.Validate(); err == nil || err.Error() != "flow: is missing; a check of the kind flow needs flow.steps" {
		t.Errorf("got %v", err)
	}
	c = probe.Check{Name: "x", URL: "http://h.test", Flow: &probe.Flow{}}
	if err := c.Validate(); err == nil || err.Error() != "flow: this section is for checks of the kind flow; this one is of the kind http" {
		t.Errorf("got %v", err)
	}
}

func TestExpand(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got, err := probe.Expand(text, map[string]any{"a": "x", "n": int64(7), "f": 1.5, "b": true, "z": nil, "o": map[string]any{"k": []any{"u", map[string]any{"v": "<w>"}}}}); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
	f("", "")
	f("plain $ and $$ and {a} and $a and 5$", "plain $ and $$ and {a} and $a and 5$")
	f("${a}${a}-${n}-${f}-${b}-${z}", "xx-7-1.5-true-null")
	f("$${a} $$${a} $$$${a} ${a}", "${a} $x $${a} x")
	f("${o.k.0} ${o.k.1.v} ${o}", `u <w> {"k":["u",{"v":"<w>"}]}`)
	for _, bad := range []string{"${", "${}", "${ a}", "${a.}", "${{a}}", "${1}", "${a..b}", "${a", "${none}", "${o.x}", "${o.k.2}", "${o.k.-1}", "${o.k.x}", "${a.b}"} {
		if got, err := probe.Expand(bad, map[string]any{"a": "x", "o": map[string]any{"k": []any{"u"}}}); err == nil {
			t.Errorf("%s: got %q, want an error", bad, got)
		}
	}
}

// FuzzExpand: any text ends in a value or an error; one made plain comes out as
// it went in.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "${a}", "$${", "$$${a}", "${o.k.0}", "${", "a${a}b$", "${a.b.c.d}"} {
		f.Add(s, "x")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		vars := map[string]any{"a": value, "o": map[string]any{"k": []any{value}}}
		if got, err := probe.Expand(text, vars); err == nil && !strings.Contains(text, "${") && got != text {
			t.Errorf("%q became %q", text, got)
		}
		if got, err := probe.Expand(probe.EscapeTemplate(text), vars); err != nil || got != text {
			t.Errorf("%q made plain became %q, %v", text, got, err)
		}
		if got, err := probe.Expand(probe.EscapeTemplate(text)+"|${a}", vars); err != nil || got != text+"|"+value {
			t.Errorf("%q with a value behind became %q, %v", text, got, err)
		}
	})
}
