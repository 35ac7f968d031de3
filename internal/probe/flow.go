package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Flow holds the settings of checks of the kind flow: requests that are made one
// after the other, as one visitor would, with what one reply told put into the
// next request. All requests of a run share one cookie jar; each has a
// connection of its own.
type Flow struct {
	// Variables are plain values, for ${name} in the steps. A value may use the
	// built-in variables and no others.
	Variables map[string]string `yaml:"variables,omitempty"`
	// Secrets are values that are never shown, for ${name} as well. They are read
	// by the process that makes the run, at each run.
	Secrets map[string]*FlowSecret `yaml:"secrets,omitempty"`
	// Hosts get the check's own credentials: basic_auth, bearer_token, the client
	// certificate, telling headers. host or host:port; default: the host of the
	// first request.
	Hosts []string `yaml:"hosts,omitempty"`
	// MaxRequests is how many requests a run may make, redirects included.
	// Default 100, at most 1000.
	MaxRequests int        `yaml:"max_requests,omitempty"`
	Steps       []FlowStep `yaml:"steps"`
}

// FlowSecret says where a secret is kept: in an environment variable, in a file,
// or here.
type FlowSecret struct {
	Env   string `yaml:"env,omitempty"`
	File  string `yaml:"file,omitempty"`
	Value string `yaml:"value,omitempty"`
}

// FlowStep is one step: a request, a wait, or steps in a loop.
type FlowStep struct {
	Name    string        `yaml:"name,omitempty"` // as a label of its series; default "step 3"
	Request *FlowRequest  `yaml:"request,omitempty"`
	Wait    time.Duration `yaml:"wait,omitempty"`
	Loop    *FlowLoop     `yaml:"loop,omitempty"`
	Steps   []FlowStep    `yaml:"steps,omitempty"` // only in a loop, and without loops of their own
	// Expect is held against the reply; its time is that of the step's request
	// with its redirects.
	Expect  Expect        `yaml:"expect,omitempty"`
	Extract []FlowExtract `yaml:"extract,omitempty"`
	// Optional steps may fail: it is noted, and the flow goes on.
	Optional bool `yaml:"optional,omitempty"`
	// Always steps are done also after another step failed, to leave nothing
	// behind. The last fifth of the timeout is kept for them.
	Always bool `yaml:"always,omitempty"`
}

// FlowRequest is what a step sends. At most one of Form, JSON and Body.
type FlowRequest struct {
	Method string `yaml:"method,omitempty"` // default GET; POST with form, json or body
	// URL may lack the host: it is then relative to where the last reply came
	// from. A variable after the first ? is escaped, one before it is put in as
	// it is.
	URL     string            `yaml:"url"`
	Headers map[string]string `yaml:"headers,omitempty"`
	Form    map[string]string `yaml:"form,omitempty"`
	JSON    any               `yaml:"json,omitempty"`
	Body    string            `yaml:"body,omitempty"`
	// BasicAuth replaces the check's credentials for this request.
	BasicAuth       *FlowBasicAuth `yaml:"basic_auth,omitempty"`
	FollowRedirects *bool          `yaml:"follow_redirects,omitempty"` // default: as the check
}

// FlowBasicAuth is a user with a password.
type FlowBasicAuth struct {
	Username string `yaml:"username"`
	Password string `yaml:"password,omitempty"`
}

// FlowLoop repeats a step: until a reply is as wanted, a number of times, or
// for each value of a list.
type FlowLoop struct {
	Times int           `yaml:"times,omitempty"` // at most; with until default 10
	Every time.Duration `yaml:"every,omitempty"` // pause between two rounds; with until default 1s
	Until *Expect       `yaml:"until,omitempty"`
	Over  string        `yaml:"over,omitempty"` // a variable that holds a list
	As    string        `yaml:"as,omitempty"`   // the variable for its values; default item
}

// FlowExtract takes a value out of the reply, for the steps that follow. One of
// JSONPath, Header, Cookie and Regex.
type FlowExtract struct {
	Name     string `yaml:"name"`
	JSONPath string `yaml:"jsonpath,omitempty"` // of the body
	Header   string `yaml:"header,omitempty"`
	Cookie   string `yaml:"cookie,omitempty"`
	Regex    string `yaml:"regex,omitempty"` // of the body; the first group, else all of it
	// Default is taken when the reply has no such value; without it the step
	// fails.
	Default *string `yaml:"default,omitempty"`
	// Secret hides the value everywhere; so is that of a cookie, and one whose
	// name looks like a credential.
	Secret bool `yaml:"secret,omitempty"`
}

const (
	defaultRequests = 100
	maxRequests     = 1000
	maxFlowSteps    = 200
	maxStepName     = 100
)

var flowKind = kind{
	http: true, interval: time.Minute, timeout: 30 * time.Second,
	section:  func(c *Check) bool { return c.Flow != nil },
	validate: (*Check).validateFlow,
	prepare:  func(c *Check) (any, error) { return newFlowPlan(c) },
	target:   (*Check).flowTarget,
	run:      (*run).flow,
}

// validateFlow fills in defaults in a copy: runs may be reading this one.
func (c *Check) validateFlow() error {
	if c.Flow == nil {
		return errors.New("flow: is missing; a check of the kind flow needs flow.steps")
	}
	f := *c.Flow
	if f.MaxRequests == 0 {
		f.MaxRequests = defaultRequests
	}
	n := 0
	f.Steps = withDefaults(f.Steps, &n)
	c.Flow = &f
	if _, err := newFlowPlan(c); err != nil {
		return err
	}
	return nil
}

// withDefaults copies steps and completes them; n counts them.
func withDefaults(steps []FlowStep, n *int) []FlowStep {
	steps = slices.Clone(steps)
	for i := range steps {
		s := &steps[i]
		*n++
		if *n > maxFlowSteps {
			break // is refused later
		}
		if s.Name == "" {
			s.Name = fmt.Sprintf("step %d", *n)
		}
		if s.Request != nil {
			q := *s.Request
			q.Method = strings.ToUpper(q.Method)
			if q.Method == "" {
				q.Method = http.MethodGet
				if q.Body != "" || q.JSON != nil || len(q.Form) > 0 {
					q.Method = http.MethodPost
				}
			}
			s.Request = &q
		}
		if s.Loop != nil {
			l := *s.Loop
			if l.Until != nil && l.Times == 0 {
				l.Times = 10
			}
			if l.Until != nil && l.Every == 0 {
				l.Every = time.Second
			}
			if l.Over != "" && l.As == "" {
				l.As = "item"
			}
			s.Loop = &l
		}
		if len(s.Steps) > 0 {
			s.Steps = withDefaults(s.Steps, n)
		}
	}
	return steps
}

// files are the paths of the files that the flow may name.
func (f *Flow) files() (out []*string) {
	if f == nil {
		return nil
	}
	for _, s := range f.Secrets {
		if s != nil {
			out = append(out, &s.File)
		}
	}
	var steps func([]FlowStep)
	steps = func(list []FlowStep) {
		for i := range list {
			out = append(out, &list[i].Expect.JSONSchemaFile)
			if l := list[i].Loop; l != nil && l.Until != nil {
				out = append(out, &l.Until.JSONSchemaFile)
			}
			steps(list[i].Steps)
		}
	}
	steps(f.Steps)
	return out
}

// Environment lists the environment variables that runs of the check read.
func (c *Check) Environment() []string {
	var out []string
	note := func(secrets map[string]*FlowSecret) {
		for _, s := range secrets {
			if s != nil && s.Env != "" {
				out = append(out, s.Env)
			}
		}
	}
	if c.Flow != nil {
		note(c.Flow.Secrets)
	}
	if c.Browser != nil {
		note(c.Browser.Secrets)
	}
	slices.Sort(out)
	return out
}

// flowTarget is the address of the first request, as far as it is known before
// the run.
func (c *Check) flowTarget() string {
	if c.Flow == nil {
		return ""
	}
	var first func(steps []FlowStep) *FlowRequest
	first = func(steps []FlowStep) *FlowRequest {
		for _, s := range steps {
			if s.Request != nil {
				return s.Request
			}
			if q := first(s.Steps); q != nil {
				return q
			}
		}
		return nil
	}
	q := first(c.Flow.Steps)
	if q == nil {
		return ""
	}
	t, err := parseTemplate(q.URL)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, p := range t {
		v, plain := c.Flow.Variables[p.name]
		switch {
		case p.name == "":
			b.WriteString(p.text)
		case plain && len(p.path) == 0 && !telling(p.name):
			b.WriteString(v)
		default:
			b.WriteString(p.String())
		}
	}
	return shorten(b.String(), 500)
}

// flowRun is one run of a flow.
type flowRun struct {
	*run
	plan *flowPlan
	jar  http.CookieJar
	vars flowVars
	own  []*url.URL // hosts that get the check's credentials; nil before the first request
	last *url.URL   // where the last reply came from
	time string     // that the steps may take, for messages
}

// flow acts a flow out: step after step until one fails, then those that are
// always done.
func (r *run) flow() {
	plan := r.parsed.(*flowPlan)
	f := &flowRun{run: r, plan: plan, time: short(r.limit)}
	f.jar, _ = cookiejar.New(nil) // New only fails on options
	defer f.scrub()
	for _, s := range plan.all {
		r.res.Steps = append(r.res.Steps, record.Step{Name: s.label, State: "not_reached"})
	}
	var err error
	if f.vars, err = plan.begin(r); err != nil {
		r.fail(&failure{"resolve", "own_fault", "the flow cannot be run: " + err.Error()}, nil)
		return
	}
	whole := r.ctx
	if plan.always {
		var cancel context.CancelFunc
		most := r.limit - r.limit/5
		f.time = fmt.Sprintf("%s of %s", short(most), f.time)
		r.ctx, cancel = context.WithDeadline(whole, r.res.Start.Add(most))
		defer cancel()
	}
	var bad *failure
	var seen *reply
	for i, s := range plan.steps {
		if bad != nil && !s.Always {
			continue
		}
		if s.Always {
			r.ctx, f.time = whole, short(r.deadline())
		}
		rep, fail := f.step(s)
		if bad != nil && fail != nil && fail.reason == "variable" {
			r.res.Steps[s.index].State = "not_reached" // what it needs was never extracted
		}
		if fail == nil || bad != nil || s.Optional && fail.reason != "own_fault" {
			continue
		}
		fail.message = fmt.Sprintf("step %d of %d, %s: %s", i+1, len(plan.steps), s.label, fail.message)
		bad, seen = fail, rep
	}
	r.value("probe_flow_requests", float64(len(r.res.Hops)))
	if bad == nil {
		bad = f.whole()
	}
	if bad != nil {
		r.fail(bad, seen)
		return
	}
	r.succeed()
}

// whole holds the run as a whole against the check's own expectations.
func (f *flowRun) whole() *failure {
	now := time.Now()
	if took := now.Sub(f.res.Start); f.Expect.MaxSeconds > 0 && took.Seconds() > f.Expect.MaxSeconds {
		return &failure{"assertion", "slow", fmt.Sprintf("the flow took %.3f s; want at most %g s", took.Seconds(), f.Expect.MaxSeconds)}
	}
	if f.Expect.CertificateDays == 0 {
		return nil
	}
	for _, h := range f.res.Hops {
		if h.TLS == nil {
			continue
		}
		if days := h.TLS.NotAfter.Sub(now).Hours() / 24; days < float64(f.Expect.CertificateDays) {
			return &failure{"assertion", "certificate", fmt.Sprintf("step %s: the certificate ends in %.1f days, on %s; want %d days or more", h.Step, days, day(h.TLS.NotAfter), f.Expect.CertificateDays)}
		}
	}
	return nil
}

// step does one step with all its rounds and notes how it went.
func (f *flowRun) step(s *flowStep) (rep *reply, fail *failure) {
	begin := time.Now()
	st := &f.res.Steps[s.index]
	if st.State == "not_reached" {
		st.Offset = record.Seconds(begin.Sub(f.res.Start))
	}
	failed := st.State == "failed" // in an earlier round
	defer func() {
		st.Duration += record.Seconds(time.Since(begin))
		switch {
		case fail != nil:
			st.State, st.Message = "failed", fail.message
		case !failed:
			st.State = "ok"
		}
	}()
	if f.over() {
		return nil, &failure{"assertion", "slow", fmt.Sprintf("the time of the flow (%s) was over before this step began", f.time)}
	}
	switch {
	case s.Wait > 0:
		if !f.pause(s.Wait) {
			return nil, &failure{"assertion", "slow", fmt.Sprintf("the time of the flow (%s) was over during this wait", f.time)}
		}
		return nil, nil
	case s.Loop == nil:
		return f.exchange(s)
	case s.until != nil:
		return f.poll(s)
	}
	return f.loop(s)
}

// over reports that the flow's time is over. A connection's deadline may be seen
// a moment before the context's.
func (f *flowRun) over() bool {
	deadline, _ := f.ctx.Deadline()
	return f.ctx.Err() != nil || !time.Now().Before(deadline)
}

// pause waits; false when the flow's time is over before.
func (f *flowRun) pause(d time.Duration) bool {
	if d <= 0 {
		return !f.over()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-f.ctx.Done():
		return false
	}
}

// poll repeats a request until its reply is as wanted. A reply that is not, and
// a request that fails, are tried again.
func (f *flowRun) poll(s *flowStep) (*reply, *failure) {
	var judged *failure // the last reply that was not as wanted
	var judgedReply *reply
	for n := 1; ; n++ {
		start := time.Now()
		rep, fail := f.send(s)
		switch {
		case fail == nil:
			if !s.expect.empty {
				if fail = f.held(s.expect, rep, start); fail != nil {
					return rep, fail
				}
			}
			if fail = f.held(s.until, rep, start); fail == nil {
				return rep, f.extract(s, rep)
			}
			judged, judgedReply = fail, rep
		case judged != nil && f.over() && fail.reason != "own_fault":
			fail, rep = judged, judgedReply // the last one was only cut off
		}
		switch {
		case fail.reason == "own_fault", fail.reason == "variable":
			return rep, fail
		case n == s.Loop.Times:
			fail.message = fmt.Sprintf("not as wanted after %s: %s", times(n), fail.message)
			return rep, fail
		case len(f.res.Hops) >= f.Flow.MaxRequests:
			fail.message = fmt.Sprintf("not as wanted after %s, and flow.max_requests (%d) allows no more: %s", times(n), f.Flow.MaxRequests, fail.message)
			return rep, fail
		case !f.pause(s.Loop.Every):
			fail.message = fmt.Sprintf("not as wanted after %s, and the time of the flow (%s) was over: %s", times(n), f.time, fail.message)
			return rep, fail
		}
	}
}

func times(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprintf("%d tries", n)
}

// loop does a request or steps in rounds.
func (f *flowRun) loop(s *flowStep) (rep *reply, fail *failure) {
	rounds := s.Loop.Times
	var list []any
	var from *flowValue
	if s.Loop.Over != "" {
		from = f.vars[s.Loop.Over]
		if from == nil {
			return nil, noValue(s.Loop.Over)
		}
		if from.list == nil {
			return nil, &failure{"assertion", "variable", fmt.Sprintf("the variable %s holds no list for the loop to go over", s.Loop.Over)}
		}
		list, rounds = from.list, len(from.list)
		was, had := f.vars[s.Loop.As]
		defer func() {
			if delete(f.vars, s.Loop.As); had {
				f.vars[s.Loop.As] = was
			}
		}()
	}
	for n := range rounds {
		if n > 0 && !f.pause(s.Loop.Every) {
			return rep, &failure{"assertion", "slow", fmt.Sprintf("the time of the flow (%s) was over after %d of %d rounds", f.time, n, rounds)}
		}
		if list != nil {
			f.vars[s.Loop.As] = &flowValue{v: list[n], secret: from.secret, replied: from.replied}
		}
		if s.Request != nil {
			if rep, fail = f.exchange(s); fail != nil {
				fail.message = fmt.Sprintf("round %d of %d: %s", n+1, rounds, fail.message)
				return rep, fail
			}
			continue
		}
		for _, in := range s.nested {
			if rep, fail = f.step(in); fail != nil && (!in.Optional || fail.reason == "own_fault") {
				fail.message = fmt.Sprintf("round %d of %d, %s: %s", n+1, rounds, in.Name, fail.message)
				return rep, fail
			}
		}
	}
	return rep, nil
}

// exchange makes a step's request once, judges the reply and takes values out
// of it.
func (f *flowRun) exchange(s *flowStep) (*reply, *failure) {
	start := time.Now()
	rep, fail := f.send(s)
	if fail == nil {
		fail = f.held(s.expect, rep, start)
	}
	if fail == nil {
		fail = f.extract(s, rep)
	}
	return rep, fail
}

// held judges a reply to a request that began at start.
func (f *flowRun) held(e *flowExpect, rep *reply, start time.Time) *failure {
	now := time.Now()
	x, fail := f.expectation(e)
	if fail == nil {
		fail = f.verdict(rep, x, start, now)
	}
	if fail != nil {
		fail.message = strings.Replace(fail.message, "the run took", "the request took", 1)
	}
	return fail
}

// send makes a step's request and follows its redirects.
func (f *flowRun) send(s *flowStep) (*reply, *failure) {
	if n := len(f.res.Hops); n >= f.Flow.MaxRequests {
		return nil, &failure{"assertion", "assertion", fmt.Sprintf("the flow has made %d requests, and flow.max_requests allows no more", n)}
	}
	q, fail := f.request(s)
	if fail != nil {
		return nil, fail
	}
	deadline, _ := f.ctx.Deadline()
	f.limit = time.Until(deadline) // what messages speak of
	rep, fail := f.transact(q, f.jar)
	if rep != nil && rep.head != nil && rep.head.Request != nil {
		f.last = rep.head.Request.URL
	}
	if fail != nil && f.over() {
		if fail.reason == "connect_timeout" {
			fail.message = "the connection was not made in the time that was left"
		}
		fail.message += fmt.Sprintf("; the time of the flow (%s) was over", f.time)
	}
	return rep, fail
}

// request puts the variables into a step's request.
func (f *flowRun) request(s *flowStep) (request, *failure) {
	q := request{method: s.Request.Method, step: s.label, stay: s.Request.FollowRedirects != nil && !*s.Request.FollowRedirects, headers: make(map[string]string, len(s.headers)+2)}
	at, fail := f.address(s)
	if fail != nil {
		return q, fail
	}
	if f.own == nil {
		f.own = f.plan.hosts(at.url)
	}
	q.url, q.scope = at.url, &scope{own: f.own, origin: at.url, steered: at.steered}
	q.trusted, q.vouched = q.scope.owns(at.url), q.scope.vouches(at.url)
	secret := at.secret
	for name, v := range f.Headers {
		if q.trusted || !sensitive(name) {
			q.headers[http.CanonicalHeaderKey(name)] = v
		}
	}
	for _, h := range s.headers {
		x, fail := f.expand(h.value, maxHeader, nil)
		if fail != nil {
			return q, fail
		}
		if strings.ContainsFunc(x.text, func(c rune) bool { return c < ' ' && c != '\t' || c == 127 }) {
			return q, &failure{"assertion", "variable", fmt.Sprintf("the header %s would hold a line break or control character, which came with a variable", h.name)}
		}
		if sensitive(h.name) {
			f.hideGuessed(x.text)
			f.hideGuessed(x.parts...)
			secret = true
		}
		if x.secret {
			if q.private == nil {
				q.private = map[string]bool{}
			}
			q.private[h.name], secret = true, true
		}
		q.headers[h.name] = x.text
	}
	if s.user != nil {
		user, fail := f.expand(s.user, maxHeader, nil)
		if fail != nil {
			return q, fail
		}
		password, fail := f.expand(s.password, maxHeader, nil)
		if fail != nil {
			return q, fail
		}
		both := basicCredentials(user.text, password.text)
		f.hide(password.text, both)
		q.headers["Authorization"] = "Basic " + both
		secret = true
	}
	body, carries, fail := f.body(s)
	if fail != nil {
		return q, fail
	}
	q.body, q.secretBody = body, carries
	if s.contentType != "" && q.headers["Content-Type"] == "" {
		q.headers["Content-Type"] = s.contentType
	}
	if (secret || carries) && !q.trusted && !q.vouched {
		return q, &failure{"assertion", "variable", fmt.Sprintf("the request would send a secret to %s, an address that came with a reply; list the host in flow.hosts if that is right", at.url.Host)}
	}
	q.cookies = f.jar.Cookies(at.url)
	return q, nil
}

// scrub removes from the whole result what was found to be secret only after it
// was written.
func (f *flowRun) scrub() {
	for i := range f.res.Hops {
		h := &f.res.Hops[i]
		h.URL, h.Location = f.hidden.cleanURL(h.URL), f.hidden.cleanURL(h.Location)
	}
	for i := range f.res.Steps {
		st := &f.res.Steps[i]
		st.Message = shorten(strings.ToValidUTF8(f.hidden.clean(st.Message), "\uFFFD"), 1000)
	}
}

// cleanURL removes secrets from an address, however they are escaped in it.
func (s secrets) cleanURL(text string) string {
	text = s.clean(text)
	plain, err := url.QueryUnescape(text)
	if err != nil || plain == text {
		return text
	}
	path, err := url.PathUnescape(text)
	for _, sec := range s {
		if len(sec) >= 4 && (strings.Contains(plain, sec) || err == nil && strings.Contains(path, sec)) {
			if u, err := url.Parse(text); err == nil && u.Host != "" && !strings.Contains(u.Host, "%") {
				return u.Scheme + "://" + u.Host + "/" + removed
			}
			return removed
		}
	}
	return text
}

// isZero reports an Expect that expects nothing but the default.
func (e Expect) isZero() bool { return reflect.DeepEqual(e, Expect{}) }
