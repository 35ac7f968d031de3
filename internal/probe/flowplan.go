package probe

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// flowPlan is a flow with everything parsed that does not change between runs.
type flowPlan struct {
	variables map[string]template
	own       []string // flow.hosts
	steps     []*flowStep
	all       []*flowStep // with those within loops, in the order of their results
	always    bool
}

// flowStep is a FlowStep with everything parsed.
type flowStep struct {
	FlowStep
	index       int    // of its result
	label       string // its name, after that of the loop around it
	url         template
	headers     []namedTemplate // by name
	user        template        // nil: no credentials of its own
	password    template
	form        []namedTemplate // by name
	json        any             // texts are templates; nil: none
	body        template
	contentType string
	expect      *flowExpect
	until       *flowExpect // nil: not repeated for a reply
	extracts    []extraction
	nested      []*flowStep
}

// flowExpect is an Expect in which variables may stand.
type flowExpect struct {
	empty   bool // expects only the default
	fixed   *expectation
	raw     Expect
	changes []func(*flowRun, *Expect) *failure // put the variables in; none: fixed is used
}

// planner builds a plan; the errors of its methods begin with the key.
type planner struct {
	c      *Check
	plan   *flowPlan
	known  map[string]bool   // variables that may be used here
	later  map[string]string // extracted, by the label of the first step that does
	labels map[string]string // of steps, with their keys
	uses   int               // places for variables in this step
}

// newFlowPlan checks a whole flow. The error begins with the key.
func newFlowPlan(c *Check) (*flowPlan, error) {
	b := &planner{c: c, plan: &flowPlan{variables: map[string]template{}, own: c.Flow.Hosts}, known: map[string]bool{}, later: map[string]string{}, labels: map[string]string{}}
	if err := b.refuse(); err != nil {
		return nil, err
	}
	if err := b.variables(); err != nil {
		return nil, err
	}
	for i, h := range c.Flow.Hosts {
		u, err := url.Parse("https://" + h)
		if err != nil || u.Host != h || u.Hostname() == "" || h != strings.ToLower(h) {
			return nil, fmt.Errorf("flow.hosts[%d]: %q: want a host such as api.example.org or api.example.org:8443, in lower case", i, h)
		}
	}
	if n := c.Flow.MaxRequests; n < 0 || n > maxRequests {
		return nil, fmt.Errorf("flow.max_requests: %d: want from 1 to %d", n, maxRequests)
	}
	if len(c.Flow.Steps) == 0 {
		return nil, errors.New("flow.steps: is missing; want at least one step with a request")
	}
	b.foresee(c.Flow.Steps, "")
	var err error
	if b.plan.steps, err = b.steps("flow.steps", "", c.Flow.Steps); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(b.plan.all, func(s *flowStep) bool { return s.Request != nil }) {
		return nil, errors.New("flow.steps: holds no request; want at least one step with a request")
	}
	return b.plan, nil
}

// refuse tells settings of the check that a flow has in its steps.
func (b *planner) refuse() error {
	c := b.c
	e := c.Expect
	e.MaxSeconds, e.CertificateDays = 0, 0
	switch {
	case c.Method != "" && c.Method != "GET":
		return fmt.Errorf("method: %q: the requests of a flow have theirs: flow.steps[].request.method", c.Method)
	case c.Body != "" || c.BodyFile != "":
		return errors.New("body: the requests of a flow have theirs: flow.steps[].request.body")
	case c.header("Host") != "":
		return errors.New("headers: Host is for one request: flow.steps[].request.headers")
	case !e.isZero():
		return errors.New("expect: the replies of a flow are judged one by one: flow.steps[].expect; only max_seconds and certificate_days are for the flow as a whole")
	}
	return nil
}

func (b *planner) variables() error {
	f := b.c.Flow
	if n := len(f.Variables) + len(f.Secrets); n > 200 {
		return fmt.Errorf("flow.variables: there are %d with the secrets; want at most 200", n)
	}
	for _, name := range builtIn {
		b.known[name] = true
	}
	for _, name := range sortedKeys(f.Variables) {
		key := "flow.variables." + name
		if err := b.name(key, name); err != nil {
			return err
		}
		t, err := b.text(key, f.Variables[name])
		if err != nil {
			return err
		}
		b.plan.variables[name] = t
	}
	names := make([]string, 0, len(f.Secrets))
	for name := range f.Secrets {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		key := "flow.secrets." + name
		if err := b.name(key, name); err != nil {
			return err
		}
		if _, dup := f.Variables[name]; dup {
			return fmt.Errorf("%s: %s is one of flow.variables as well; keep one", key, name)
		}
		n := 0
		if s := f.Secrets[name]; s != nil {
			for _, from := range []string{s.Env, s.File, s.Value} {
				if from != "" {
					n++
				}
			}
		}
		if n != 1 {
			return fmt.Errorf("%s: want one of env, the name of an environment variable, file, the path of a file, and value", key)
		}
		if v := f.Secrets[name].Value; len(v) > maxValue {
			return fmt.Errorf("%s.value: has %d bytes; want at most %d", key, len(v), maxValue)
		}
		b.known[name] = true
	}
	for name := range f.Variables {
		b.known[name] = true
	}
	return nil
}

// name refuses what cannot be the name of a variable.
func (b *planner) name(key, name string) error {
	switch {
	case !variableName.MatchString(name):
		return fmt.Errorf("%s: the name %q: want letters, digits, '_' and '-', not beginning with a digit or '-', at most 64", key, name)
	case slices.Contains(builtIn, name):
		return fmt.Errorf("%s: ${%s} is there already, in every flow; want another name", key, name)
	}
	return nil
}

// foresee notes what steps extract, for messages.
func (b *planner) foresee(steps []FlowStep, before string) {
	for _, s := range steps {
		for _, e := range s.Extract {
			if b.later[e.Name] == "" {
				b.later[e.Name] = before + s.Name
			}
		}
		b.foresee(s.Steps, before+s.Name+" / ")
	}
}

// text parses a text with variables and refuses those that are not known yet.
func (b *planner) text(key, s string) (template, error) {
	t, err := parseTemplate(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	for _, p := range t {
		if p.name != "" {
			b.uses++
		}
		if b.uses > maxPlaces {
			return nil, fmt.Errorf("%s: the step has more than %d places for variables; want at most that", key, maxPlaces)
		}
		if p.name == "" || b.known[p.name] {
			continue
		}
		if step := b.later[p.name]; step != "" {
			return nil, fmt.Errorf("%s: ${%s} is extracted only by the step %q; want a variable that has its value before", key, p.name, step)
		}
		names := make([]string, 0, len(b.known))
		for n := range b.known {
			names = append(names, n)
		}
		sort.Strings(names)
		return nil, fmt.Errorf("%s: there is no variable ${%s}; known here are %s", key, p.name, strings.Join(names, ", "))
	}
	return t, nil
}

func (b *planner) steps(key, before string, steps []FlowStep) ([]*flowStep, error) {
	var out []*flowStep
	for i, fs := range steps {
		if len(b.plan.all) >= maxFlowSteps {
			return nil, fmt.Errorf("flow.steps: there are more than %d; want at most that", maxFlowSteps)
		}
		s := &flowStep{FlowStep: fs, index: len(b.plan.all), label: before + fs.Name}
		b.plan.all = append(b.plan.all, s)
		if err := b.step(fmt.Sprintf("%s[%d]", key, i), s, before != ""); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (b *planner) step(key string, s *flowStep, nested bool) error {
	switch {
	case len(s.Name) > maxStepName || !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, unicode.IsControl):
		return fmt.Errorf("%s.name: %q: want plain text of at most %d bytes", key, s.Name, maxStepName)
	case strings.Contains(s.Name, "${"):
		return fmt.Errorf("%s.name: %q: want a name that is the same in every run, without variables", key, s.Name)
	case b.labels[s.label] != "":
		return fmt.Errorf("%s.name: %q is the name of %s as well; want names that differ", key, s.Name, b.labels[s.label])
	case nested && (s.Loop != nil || len(s.Steps) > 0):
		return fmt.Errorf("%s.loop: a step of a loop has no loop of its own", key)
	case nested && s.Always:
		return fmt.Errorf("%s.always: is for the steps of the flow, not for those of a loop", key)
	}
	b.labels[s.label] = key
	b.uses = 0
	kinds := 0
	for _, has := range []bool{s.Request != nil, s.Wait != 0, len(s.Steps) > 0} {
		if has {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return fmt.Errorf("%s: want one of request, wait and, in a loop, steps", key)
	case s.Wait < 0 || s.Wait >= b.c.deadline():
		return fmt.Errorf("%s.wait: %s: want less than the flow may take in all, %s", key, s.Wait, short(b.c.deadline()))
	case s.Wait > 0 && s.Loop != nil:
		return fmt.Errorf("%s.loop: is for a request or steps, not for a wait; loop.every is the pause between rounds", key)
	case len(s.Steps) > 0 && s.Loop == nil:
		return fmt.Errorf("%s.loop: is missing; steps within a step are for loops", key)
	case s.Request == nil && !s.Expect.isZero():
		return fmt.Errorf("%s.expect: needs a request in the same step", key)
	case s.Request == nil && len(s.Extract) > 0:
		return fmt.Errorf("%s.extract: needs a request in the same step", key)
	}
	b.plan.always = b.plan.always || s.Always
	if s.Loop != nil {
		if err := b.loop(key+".loop", s); err != nil {
			return err
		}
	}
	if s.Request != nil {
		if err := b.request(key+".request", s); err != nil {
			return err
		}
	}
	var err error
	if s.expect, err = b.expect(key+".expect", s, s.Expect); err != nil {
		return err
	}
	if s.Loop != nil && s.Loop.Until != nil {
		if s.until, err = b.expect(key+".loop.until", s, *s.Loop.Until); err != nil {
			return err
		}
	}
	if len(s.Steps) > 0 {
		if s.nested, err = b.steps(key+".steps", s.label+" / ", s.Steps); err != nil {
			return err
		}
	}
	if s.Loop != nil && s.Loop.Over != "" && !b.c.Flow.defines(s.Loop.As) {
		delete(b.known, s.Loop.As) // it is known within the loop alone
	}
	return b.extract(key+".extract", s)
}

// defines reports whether a variable is there from the start.
func (f *Flow) defines(name string) bool {
	_, ok := f.Variables[name]
	return ok
}

func (b *planner) loop(key string, s *flowStep) error {
	l := s.Loop
	forms := 0
	for _, has := range []bool{l.Until != nil, l.Over != "", l.Times != 0 && l.Until == nil} {
		if has {
			forms++
		}
	}
	switch {
	case forms != 1:
		return fmt.Errorf("%s: want one of until (with times, the most tries), over, and times alone", key)
	case l.Times < 0 || l.Times > maxRequests:
		return fmt.Errorf("%s.times: %d: want from 1 to %d", key, l.Times, maxRequests)
	case l.Every < 0 || l.Every >= b.c.deadline():
		return fmt.Errorf("%s.every: %s: want less than the flow may take in all, %s", key, l.Every, short(b.c.deadline()))
	case l.Until != nil && s.Request == nil:
		return fmt.Errorf("%s.until: is for one request, whose reply is looked at; not for steps", key)
	case l.Over == "" && l.As != "":
		return fmt.Errorf("%s.as: %q: goes with over", key, l.As)
	case l.Over == "":
		return nil
	}
	if _, err := b.text(key+".over", "${"+l.Over+"}"); err != nil {
		return err
	}
	if err := b.name(key+".as", l.As); err != nil {
		return err
	}
	if _, secret := b.c.Flow.Secrets[l.As]; secret || b.later[l.As] != "" {
		return fmt.Errorf("%s.as: %q is a secret or is extracted; want another name", key, l.As)
	}
	b.known[l.As] = true
	return nil
}

func (b *planner) request(key string, s *flowStep) error {
	q := s.Request
	if !token.MatchString(q.Method) || q.Method == "CONNECT" {
		return fmt.Errorf("%s.method: %q: want a word such as GET, HEAD or POST", key, q.Method)
	}
	if err := b.address(key+".url", s); err != nil {
		return err
	}
	headers := Check{Kind: b.c.Kind, Headers: q.Headers}
	if err := headers.validateRequest(); err != nil {
		return fmt.Errorf("%s.%w", key, err)
	}
	for _, name := range sortedKeys(q.Headers) {
		t, err := b.text(key+".headers."+name, q.Headers[name])
		if err != nil {
			return err
		}
		s.headers = append(s.headers, namedTemplate{canonical(name), t})
	}
	if a := q.BasicAuth; a != nil {
		if a.Username == "" || headers.header("Authorization") != "" {
			return fmt.Errorf("%s.basic_auth: want a username, and no header Authorization beside it", key)
		}
		var err error
		if s.user, err = b.text(key+".basic_auth.username", a.Username); err != nil {
			return err
		}
		if s.password, err = b.text(key+".basic_auth.password", a.Password); err != nil {
			return err
		}
	}
	return b.body(key, s)
}

// address parses a step's URL and looks at as much of it as is known.
func (b *planner) address(key string, s *flowStep) error {
	t, err := b.text(key, s.Request.URL)
	if err != nil {
		return err
	}
	s.url = t
	const example = "https://shop.example.org/login"
	if len(t) == 0 {
		return fmt.Errorf("%s: is missing; want such as %s or ${base}/login", key, example)
	}
	// What is fixed is put in; where anything else begins, the rest is unknown.
	var sure strings.Builder
	whole := true
	for _, p := range t {
		text := p.text
		if p.name != "" {
			v, plain := b.plan.variables[p.name].plain()
			if _, is := b.plan.variables[p.name]; !is || !plain || b.later[p.name] != "" || len(p.path) > 0 {
				whole = false
				break
			}
			text = v
		}
		sure.WriteString(text)
	}
	at := sure.String()
	shown := hideInURLs(at)
	scheme, rest, has := strings.Cut(at, "://")
	switch {
	case has && scheme != "http" && scheme != "https":
		return fmt.Errorf("%s: %q: want a URL that begins with http:// or https://", key, shown)
	case has && strings.ContainsAny(rest, "/?#") || has && whole:
		u, err := url.Parse(at)
		if err != nil && whole {
			return fmt.Errorf("%s: %q: want such as %s", key, shown, example)
		}
		if err == nil && u.Hostname() == "" {
			return fmt.Errorf("%s: %q has no host; want such as %s", key, shown, example)
		}
		if err == nil && u.User != nil {
			return fmt.Errorf("%s: %q holds a user; want request.basic_auth with the password in flow.secrets", key, shown)
		}
	case !has && whole && (s.index == 0 || !strings.HasPrefix(at, "/") || strings.HasPrefix(at, "//")):
		return fmt.Errorf("%s: %q: want such as %s, or after the first request a path such as /orders", key, shown, example)
	}
	return nil
}

func (b *planner) body(key string, s *flowStep) error {
	q := s.Request
	n := 0
	for _, has := range []bool{len(q.Form) > 0, q.JSON != nil, q.Body != ""} {
		if has {
			n++
		}
	}
	if n > 1 {
		return fmt.Errorf("%s.body: want one of form, json and body", key)
	}
	var err error
	switch {
	case len(q.Form) > 0:
		s.contentType = "application/x-www-form-urlencoded"
		for _, name := range sortedKeys(q.Form) {
			t, err := b.text(key+".form."+name, q.Form[name])
			if err != nil {
				return err
			}
			s.form = append(s.form, namedTemplate{name, t})
		}
	case q.JSON != nil:
		s.contentType = "application/json"
		if s.json, err = b.tree(key+".json", q.JSON, 0); err != nil {
			return err
		}
		// What has no form in JSON is told now.
		if _, err := marshalPlain(q.JSON); err != nil {
			return fmt.Errorf("%s.json: want what can be written as JSON: %w", key, err)
		}
	default:
		s.body, err = b.text(key+".body", q.Body)
	}
	return err
}

// tree makes templates of the texts in a JSON value.
func (b *planner) tree(key string, v any, depth int) (any, error) {
	if depth > 100 {
		return nil, fmt.Errorf("%s: is nested more than 100 deep; want less", key)
	}
	switch x := v.(type) {
	case string:
		return b.text(key, x)
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, in := range x {
			w, err := b.tree(key+"."+k, in, depth+1)
			if err != nil {
				return nil, err
			}
			m[k] = w
		}
		return m, nil
	case map[any]any:
		m := make(map[string]any, len(x))
		for k, in := range x {
			m[fmt.Sprint(k)] = in
		}
		return b.tree(key, m, depth)
	case []any:
		l := make([]any, len(x))
		for i, in := range x {
			w, err := b.tree(fmt.Sprintf("%s[%d]", key, i), in, depth+1)
			if err != nil {
				return nil, err
			}
			l[i] = w
		}
		return l, nil
	}
	return v, nil
}

func (b *planner) extract(key string, s *flowStep) error {
	for i, e := range s.Extract {
		at := fmt.Sprintf("%s[%d]", key, i)
		if err := b.name(at+".name", e.Name); err != nil {
			return err
		}
		if _, is := b.c.Flow.Secrets[e.Name]; is {
			return fmt.Errorf("%s.name: %q is one of flow.secrets; want another name", at, e.Name)
		}
		n := 0
		for _, from := range []string{e.JSONPath, e.Header, e.Cookie, e.Regex} {
			if from != "" {
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("%s: %s: want one of jsonpath, header, cookie and regex", at, e.Name)
		}
		x := extraction{FlowExtract: e}
		var err error
		switch {
		case e.JSONPath != "":
			if x.path, err = parsePath(e.JSONPath); err != nil {
				return fmt.Errorf("%s.jsonpath: %w", at, err)
			}
		case e.Regex != "":
			if x.re, err = regexp.Compile(e.Regex); err != nil {
				return fmt.Errorf("%s.regex: %q: want a regular expression (RE2): %w", at, e.Regex, err)
			}
		case !token.MatchString(e.Header + e.Cookie):
			return fmt.Errorf("%s: %q: want the name of a header or cookie", at, e.Header+e.Cookie)
		}
		if s.Request.Method == "HEAD" && (x.path != nil || x.re != nil) {
			return fmt.Errorf("%s: %s: a HEAD reply has no body; want method GET", at, e.Name)
		}
		s.extracts = append(s.extracts, x)
		b.known[e.Name] = true
	}
	return nil
}

// expect checks an Expect and finds the variables in it: in the texts for the
// body, the headers, and equals and matches of json. In a regular expression a
// variable stands for its text.
func (b *planner) expect(key string, s *flowStep, e Expect) (*flowExpect, error) {
	x := &flowExpect{raw: e.clone(), empty: e.isZero()}
	if s.Request == nil {
		return x, nil
	}
	sample := e.clone() // with a letter for each variable, to see that it is valid
	for _, p := range e.places() {
		t, err := b.text(key+"."+p.name, p.text)
		if err != nil {
			return nil, err
		}
		if text, ok := t.plain(); ok {
			p.set(&sample, text)
			p.set(&x.raw, text)
			continue
		}
		shape := make(template, len(t))
		for i, q := range t {
			if shape[i] = q; q.name != "" {
				shape[i] = part{text: "x"}
			}
		}
		p.set(&sample, shape.text())
		x.changes = append(x.changes, func(f *flowRun, e *Expect) *failure {
			if p.value != nil && len(t) == 1 {
				v, fail := f.lookup(t[0])
				if fail == nil {
					p.value(e, v.v)
				}
				return fail
			}
			out, fail := f.expand(t, maxSent, func(_, text string, _ *flowValue) string {
				if p.regex {
					return regexp.QuoteMeta(text)
				}
				return text
			})
			if fail == nil {
				p.set(e, out.text)
			}
			return fail
		})
	}
	valid := Check{Kind: b.c.Kind, Method: s.Request.Method, Expect: sample}
	err := valid.validateExpect()
	if err == nil && len(x.changes) == 0 {
		x.fixed, err = x.raw.compile()
	}
	if err != nil {
		return nil, fmt.Errorf("%s.%s", key, strings.ReplaceAll(err.Error(), "expect.", ""))
	}
	return x, nil
}

// text is a template that has no variables.
func (t template) text() string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.text)
	}
	return b.String()
}

// clone copies an Expect as far as variables are put into it.
func (e Expect) clone() Expect {
	e.Headers, e.JSON = maps.Clone(e.Headers), slices.Clone(e.JSON)
	return e
}

// expectPlace is a text of an Expect in which variables may stand.
type expectPlace struct {
	name  string
	regex bool
	text  string
	set   func(*Expect, string)
	value func(*Expect, any) // where a variable alone keeps its type
}

func (e Expect) places() []expectPlace {
	var out []expectPlace
	add := func(name, text string, regex bool, set func(*Expect, string)) {
		if text != "" {
			out = append(out, expectPlace{name: name, regex: regex, text: text, set: set})
		}
	}
	add("body_contains", e.BodyContains, false, func(e *Expect, s string) { e.BodyContains = s })
	add("body_not_contains", e.BodyNotContains, false, func(e *Expect, s string) { e.BodyNotContains = s })
	add("body_regex", e.BodyRegex, true, func(e *Expect, s string) { e.BodyRegex = s })
	add("body_not_regex", e.BodyNotRegex, true, func(e *Expect, s string) { e.BodyNotRegex = s })
	for _, name := range sortedKeys(e.Headers) {
		add("headers."+name, e.Headers[name], true, func(e *Expect, s string) { e.Headers[name] = s })
	}
	for i, rule := range e.JSON {
		add(fmt.Sprintf("json[%d].matches", i), rule.Matches, true, func(e *Expect, s string) { e.JSON[i].Matches = s })
		if text, ok := rule.Equals.(string); ok && text != "" {
			add(fmt.Sprintf("json[%d].equals", i), text, false, func(e *Expect, s string) { e.JSON[i].Equals = s })
			out[len(out)-1].value = func(e *Expect, v any) { e.JSON[i].Equals = v }
		}
	}
	return out
}

// expectation is what is expected once the variables are put in.
func (f *flowRun) expectation(e *flowExpect) (*expectation, *failure) {
	if len(e.changes) == 0 {
		return e.fixed, nil
	}
	now := e.raw.clone()
	for _, change := range e.changes {
		if fail := change(f, &now); fail != nil {
			return nil, fail
		}
	}
	x, err := now.compile()
	if err != nil {
		return nil, &failure{"assertion", "variable", fmt.Sprintf("with its variables the step's expectation cannot be used: %v", err)}
	}
	return x, nil
}
