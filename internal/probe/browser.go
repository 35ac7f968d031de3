package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vedette-sre/vedette/internal/probe/browser"
	"github.com/vedette-sre/vedette/internal/record"
)

// Browser holds the settings of checks of the kind browser: what a visitor does
// and looks for, acted out in a Chromium that is started for the run alone, with
// an empty profile.
type Browser struct {
	// Viewport is the size of the window; default 1280 x 800.
	Viewport BrowserViewport `yaml:"viewport,omitempty"`
	// UserAgent is sent in place of the browser's own.
	UserAgent string `yaml:"user_agent,omitempty"`
	// Variables and Secrets are put into the steps for ${name}, as in flows.
	Variables map[string]string      `yaml:"variables,omitempty"`
	Secrets   map[string]*FlowSecret `yaml:"secrets,omitempty"`
	// StepTimeout is how long a step that does not open a page waits for what it
	// needs; default 15s.
	StepTimeout time.Duration `yaml:"step_timeout,omitempty"`
	// MaxBytes is what the page may load in all, after decoding; default 50 MiB.
	MaxBytes int64         `yaml:"max_bytes,omitempty"`
	Steps    []BrowserStep `yaml:"steps"`
}

// BrowserViewport is the size of a window in CSS pixels.
type BrowserViewport struct {
	Width  int  `yaml:"width,omitempty"`
	Height int  `yaml:"height,omitempty"`
	Mobile bool `yaml:"mobile,omitempty"` // a telephone with a touch screen; default then 390 x 844
}

// BrowserStep is one step: exactly one of the keys after Timeout.
type BrowserStep struct {
	Name    string        `yaml:"name,omitempty"` // as a label of its series; default "step 3"
	Timeout time.Duration `yaml:"timeout,omitempty"`

	Open       string          `yaml:"open,omitempty"`  // an address; waits until the page is loaded
	Click      *BrowserElement `yaml:"click,omitempty"` // waits until it can be clicked
	Type       *BrowserTyping  `yaml:"type,omitempty"`
	Press      string          `yaml:"press,omitempty"` // a key: Enter, Tab, ArrowDown, a
	Select     *BrowserChoice  `yaml:"select,omitempty"`
	Expect     *BrowserExpect  `yaml:"expect,omitempty"` // waits until the page is so
	Wait       time.Duration   `yaml:"wait,omitempty"`
	WaitFor    *BrowserElement `yaml:"wait_for,omitempty"` // until it is visible
	Screenshot bool            `yaml:"screenshot,omitempty"`
	Evaluate   string          `yaml:"evaluate,omitempty"` // JavaScript that must give true; a promise is awaited
}

// BrowserElement names an element by a CSS selector, by its text, or by both;
// written as one text it is a selector.
type BrowserElement struct {
	Selector string `yaml:"selector,omitempty"`
	Text     string `yaml:"text,omitempty"`
}

// UnmarshalYAML takes a selector or a mapping.
func (e *BrowserElement) UnmarshalYAML(unmarshal func(any) error) error {
	var selector string
	if unmarshal(&selector) == nil {
		*e = BrowserElement{Selector: selector}
		return nil
	}
	type plain BrowserElement
	return unmarshal((*plain)(e))
}

// BrowserTyping puts a text into a field in place of what it holds.
type BrowserTyping struct {
	Into string `yaml:"into"` // a CSS selector
	Text string `yaml:"text"`
}

// BrowserChoice picks an option of a list (select) by its value or its text.
type BrowserChoice struct {
	From   string `yaml:"from"` // a CSS selector
	Option string `yaml:"option"`
}

// BrowserExpect is what the page must look like; what is not set is not looked
// at.
type BrowserExpect struct {
	Selector string        `yaml:"selector,omitempty"` // must be there, and is where the texts are looked for
	Text     string        `yaml:"text,omitempty"`
	NotText  string        `yaml:"not_text,omitempty"`
	Title    string        `yaml:"title,omitempty"` // is contained in it
	URL      string        `yaml:"url,omitempty"`   // regular expression
	Count    *BrowserCount `yaml:"count,omitempty"`
}

// BrowserCount is how many elements there must be.
type BrowserCount struct {
	Selector string `yaml:"selector"`
	AtLeast  int    `yaml:"at_least,omitempty"`
	AtMost   *int   `yaml:"at_most,omitempty"`
}

const (
	maxBrowserSteps   = 100
	defaultPageBytes  = 50 << 20
	defaultStepWait   = 15 * time.Second
	maxPageBytes      = 1 << 30
	maxBrowserConsole = 500 // bytes of a line
)

var browserKind = kind{
	interval: 5 * time.Minute, timeout: time.Minute,
	section:  func(c *Check) bool { return c.Browser != nil },
	validate: (*Check).validateBrowser,
	prepare:  func(c *Check) (any, error) { return newBrowserPlan(c) },
	target:   (*Check).browserTarget,
	run:      (*run).browse,
}

// browsers bounds the browsers of this process, whatever prober or tenant they
// run for: what it bounds is the memory of the machine.
var browsers browser.Pool

// BrowserConfig is where the browser is and how many run at once.
type BrowserConfig = browser.Config

// ConfigureBrowsers changes the settings for all checks of this process; it
// holds for the runs that begin from then on.
func ConfigureBrowsers(cfg BrowserConfig) error {
	if err := cfg.Validate(); err != nil {
		return record.Errorf(record.Invalid, "browser.%w", err)
	}
	browsers.Configure(cfg)
	return nil
}

// BrowserStats tells how many runs of this process have a browser and how many
// wait for one.
func BrowserStats() (running, waiting int) { return browsers.Stats() }

// validateBrowser fills in defaults in a copy: runs may be reading this one.
func (c *Check) validateBrowser() error {
	if c.Browser == nil {
		return errors.New("browser: is missing; a check of the kind browser needs browser.steps")
	}
	e := c.Expect
	e.MaxSeconds, e.CertificateDays = 0, 0
	switch {
	case !e.isZero():
		return errors.New("expect: what a page must look like is said by steps: browser.steps[].expect; only max_seconds and certificate_days are for the run as a whole")
	case c.TLS.CAFile != "" || c.TLS.CertFile != "" || c.TLS.ServerName != "":
		return errors.New("tls: a browser trusts the authorities of this machine and has no certificate of its own; only insecure_skip_verify is for it")
	case c.Resolver != "":
		return fmt.Errorf("resolver: %q: a browser asks the system's resolver", c.Resolver)
	case c.IPVersion != "any":
		return fmt.Errorf("ip_version: %q: a browser takes the address that answers first; want any", c.IPVersion)
	}
	b := *c.Browser
	v := &b.Viewport
	width, height := 1280, 800
	if v.Mobile {
		width, height = 390, 844
	}
	if v.Width == 0 {
		v.Width = width
	}
	if v.Height == 0 {
		v.Height = height
	}
	if v.Width < 100 || v.Width > 3840 || v.Height < 100 || v.Height > 3840 {
		return fmt.Errorf("browser.viewport: %d x %d: want each side from 100 to 3840", v.Width, v.Height)
	}
	if b.StepTimeout == 0 {
		b.StepTimeout = defaultStepWait
	}
	if b.StepTimeout < 0 {
		return fmt.Errorf("browser.step_timeout: %s: want more than 0s", b.StepTimeout)
	}
	if b.MaxBytes == 0 {
		b.MaxBytes = defaultPageBytes
	}
	if b.MaxBytes < 0 || b.MaxBytes > maxPageBytes {
		return fmt.Errorf("browser.max_bytes: %d: want from 1 to %d (1 GiB)", b.MaxBytes, maxPageBytes)
	}
	if strings.ContainsFunc(b.UserAgent, unicode.IsControl) || len(b.UserAgent) > 500 {
		return errors.New("browser.user_agent: want one line of at most 500 bytes")
	}
	b.Steps = slices.Clone(b.Steps)
	for i := range b.Steps {
		if b.Steps[i].Name == "" {
			b.Steps[i].Name = fmt.Sprintf("step %d", i+1)
		}
	}
	c.Browser = &b
	_, err := newBrowserPlan(c)
	return err
}

// files are the paths of the files that the section may name.
func (b *Browser) files() (out []*string) {
	if b == nil {
		return nil
	}
	for _, s := range b.Secrets {
		if s != nil {
			out = append(out, &s.File)
		}
	}
	return out
}

// browserTarget is the first address as far as it is known before the run.
func (c *Check) browserTarget() string {
	if c.Browser == nil {
		return ""
	}
	for _, s := range c.Browser.Steps {
		if s.Open == "" {
			continue
		}
		t, err := parseTemplate(s.Open)
		if err != nil {
			return ""
		}
		var b strings.Builder
		for _, p := range t {
			v, plain := c.Browser.Variables[p.name]
			switch {
			case p.name == "":
				b.WriteString(p.text)
			case plain && !telling(p.name):
				b.WriteString(v)
			default:
				b.WriteString(p.String())
			}
		}
		return shorten(b.String(), 500)
	}
	return ""
}

// browserPlan is the section with everything parsed that does not change between
// runs.
type browserPlan struct {
	flow      *Flow // holds the variables and secrets
	variables *flowPlan
	steps     []browserStep
}

// browserStep is a step whose texts are templates.
type browserStep struct {
	BrowserStep
	open, typed, option, find, text, notText, title, evaluate template
	url                                                       *regexp.Regexp
}

// newBrowserPlan checks the whole section. The error begins with the key.
func newBrowserPlan(c *Check) (*browserPlan, error) {
	b := c.Browser
	p := &browserPlan{flow: &Flow{Variables: b.Variables, Secrets: b.Secrets}}
	shadow := *c
	shadow.Flow = p.flow
	names := &planner{c: &shadow, plan: &flowPlan{variables: map[string]template{}}, known: map[string]bool{}, later: map[string]string{}}
	if err := names.variables(); err != nil {
		return nil, errors.New(strings.Replace(err.Error(), "flow.", "browser.", 1))
	}
	p.variables = names.plan
	switch n := len(b.Steps); {
	case n == 0:
		return nil, errors.New("browser.steps: is missing; want at least one step with open")
	case n > maxBrowserSteps:
		return nil, fmt.Errorf("browser.steps: there are %d; want at most %d", n, maxBrowserSteps)
	case b.Steps[0].Open == "":
		return nil, errors.New("browser.steps[0].open: is missing; the first step opens an address such as https://shop.example.org/")
	}
	labels := map[string]bool{}
	for i, s := range b.Steps {
		key := fmt.Sprintf("browser.steps[%d]", i)
		if labels[s.Name] {
			return nil, fmt.Errorf("%s.name: %q is the name of another step as well; want names that differ", key, s.Name)
		}
		labels[s.Name] = true
		names.uses = 0
		st, err := newBrowserStep(c, names, key, s)
		if err != nil {
			return nil, err
		}
		p.steps = append(p.steps, *st)
	}
	return p, nil
}

func newBrowserStep(c *Check, names *planner, key string, s BrowserStep) (*browserStep, error) {
	n := 0
	for _, has := range []bool{s.Open != "", s.Click != nil, s.Type != nil, s.Press != "", s.Select != nil, s.Expect != nil, s.Wait != 0, s.WaitFor != nil, s.Screenshot, s.Evaluate != ""} {
		if has {
			n++
		}
	}
	limit := c.deadline()
	switch {
	case len(s.Name) > maxStepName || !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, unicode.IsControl) || strings.Contains(s.Name, "${"):
		return nil, fmt.Errorf("%s.name: %q: want plain text of at most %d bytes without variables", key, s.Name, maxStepName)
	case n != 1:
		return nil, fmt.Errorf("%s: has %d of them; want exactly one of open, click, type, press, select, expect, wait, wait_for, screenshot and evaluate", key, n)
	case s.Timeout < 0 || s.Timeout > limit:
		return nil, fmt.Errorf("%s.timeout: %s: want at most what the run may take in all, %s", key, s.Timeout, short(limit))
	case s.Wait < 0 || s.Wait >= limit:
		return nil, fmt.Errorf("%s.wait: %s: want less than the run may take in all, %s", key, s.Wait, short(limit))
	case s.Click != nil && s.Click.Selector == "" && s.Click.Text == "":
		return nil, fmt.Errorf("%s.click: want a CSS selector, or text: what the element says", key)
	case s.WaitFor != nil && s.WaitFor.Selector == "" && s.WaitFor.Text == "":
		return nil, fmt.Errorf("%s.wait_for: want a CSS selector, or text: what the element says", key)
	case s.Type != nil && s.Type.Into == "":
		return nil, fmt.Errorf("%s.type.into: is missing; want the CSS selector of a field", key)
	case s.Select != nil && s.Select.From == "":
		return nil, fmt.Errorf("%s.select.from: is missing; want the CSS selector of a list", key)
	case s.Select != nil && s.Select.Option == "":
		return nil, fmt.Errorf("%s.select.option: is missing; want the value or the text of an option", key)
	case s.Press != "" && browser.Keys[s.Press] == "" && utf8.RuneCountInString(s.Press) != 1:
		known := make([]string, 0, len(browser.Keys))
		for k := range browser.Keys {
			known = append(known, k)
		}
		slices.Sort(known)
		return nil, fmt.Errorf("%s.press: %q: want one character or one of %s", key, s.Press, strings.Join(known, ", "))
	}
	st := &browserStep{BrowserStep: s}
	var err error
	parse := func(to *template, sub, text string) {
		if err == nil {
			*to, err = names.text(key+sub, text)
		}
	}
	parse(&st.open, ".open", s.Open)
	parse(&st.evaluate, ".evaluate", s.Evaluate)
	if s.Type != nil {
		parse(&st.typed, ".type.text", s.Type.Text)
	}
	if s.Select != nil {
		parse(&st.option, ".select.option", s.Select.Option)
	}
	for _, e := range []*BrowserElement{s.Click, s.WaitFor} {
		if e != nil {
			parse(&st.find, ".text", e.Text)
		}
	}
	if e := s.Expect; e != nil {
		parse(&st.text, ".expect.text", e.Text)
		parse(&st.notText, ".expect.not_text", e.NotText)
		parse(&st.title, ".expect.title", e.Title)
		if err == nil {
			err = st.expectation(key+".expect", e)
		}
	}
	if err == nil && s.Open != "" {
		if _, plain := st.open.plain(); plain {
			text, _ := st.open.plain()
			_, err = pageAddress(text)
		} else if scheme, _, ok := strings.Cut(s.Open, "://"); ok && scheme != "http" && scheme != "https" && !strings.Contains(scheme, "${") {
			_, err = pageAddress(scheme + "://x")
		}
		if err != nil {
			err = fmt.Errorf("%s.open: %w", key, err)
		}
	}
	return st, err
}

func (st *browserStep) expectation(key string, e *BrowserExpect) (err error) {
	if e.URL != "" {
		if st.url, err = regexp.Compile(e.URL); err != nil {
			return fmt.Errorf("%s.url: %q: want a regular expression (RE2): %w", key, e.URL, err)
		}
	}
	if n := e.Count; n != nil {
		switch {
		case n.Selector == "":
			return fmt.Errorf("%s.count.selector: is missing; want the CSS selector of what is counted", key)
		case n.AtLeast < 0:
			return fmt.Errorf("%s.count.at_least: %d: want 0 or more", key, n.AtLeast)
		case n.AtLeast == 0 && n.AtMost == nil:
			return fmt.Errorf("%s.count: want at_least, at_most or both", key)
		case n.AtMost != nil && (*n.AtMost < 0 || *n.AtMost < n.AtLeast):
			return fmt.Errorf("%s.count.at_most: %d: want at_least (%d) or more", key, *n.AtMost, n.AtLeast)
		}
	}
	if *e == (BrowserExpect{}) {
		return fmt.Errorf("%s: is empty; want text, selector, title, url, count or not_text", key)
	}
	return nil
}

// pageAddress reads an address that a page may be opened at.
func pageAddress(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the address
		}
		return nil, fmt.Errorf("%q: %w; want such as https://shop.example.org/", hideInURLs(text), err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", strings.ContainsAny(u.Host, "*?"):
		return nil, fmt.Errorf("%q: want an address such as https://shop.example.org/", hideInURLs(text))
	case u.User != nil:
		return nil, fmt.Errorf("%q: want an address without a user; basic_auth is for that", hideInURLs(text))
	}
	return u, nil
}

// browse acts the steps out in a browser.
func (r *run) browse() {
	plan := r.parsed.(*browserPlan)
	release, err := r.awaitBrowser()
	if err != nil {
		if r.outer.Err() == nil {
			running, waiting := browsers.Stats()
			err = fmt.Errorf("no browser came free: %d run and %d more checks wait; let more run at once (browser.concurrent) or check less often", running, waiting)
		}
		r.fail(&failure{"processing", "own_fault", err.Error()}, nil)
		return
	}
	defer release()
	// The run begins now, and once more when the browser is ready: waiting for it
	// is lag and no time of the page.
	r.res.Start = time.Now()
	var cancel context.CancelFunc
	r.ctx, cancel = context.WithDeadline(r.outer, r.res.Start.Add(r.limit))
	defer cancel()
	script, f := r.browserScript(plan)
	if f != nil {
		r.fail(f, nil)
		return
	}
	out := browsers.Run(r.ctx, script)
	if !out.Start.IsZero() {
		r.res.Start = out.Start
	}
	r.keep(out)
	bad := out.Failure
	if bad == nil {
		f := (&flowRun{run: r}).whole()
		if f == nil {
			r.succeed()
			return
		}
		f.message = strings.Replace(f.message, "the flow took", "the steps took", 1)
		r.fail(f, nil)
		return
	}
	f = &failure{bad.Stage, bad.Reason, bad.Message}
	if out.Unanswered != nil {
		r.lookAgain(out, f)
	}
	var rep *reply
	if out.Reply != nil {
		rep = &reply{head: out.Reply}
		rep.body, _ = io.ReadAll(out.Reply.Body) // is in memory
		r.hidden = r.hidden.with(cookieValues(out.Reply.Cookies())...)
	}
	r.fail(f, rep)
}

// awaitBrowser waits for a place, at most as long as the next run of the check
// leaves time.
func (r *run) awaitBrowser() (release func(), err error) {
	ctx, cancel := context.WithTimeout(r.outer, max(r.Interval-r.limit, r.limit))
	defer cancel()
	return browsers.Acquire(ctx)
}

// browserScript puts the variables into the steps.
func (r *run) browserScript(plan *browserPlan) (*browser.Script, *failure) {
	// The values are those of a flow with the same variables.
	like := &run{prepared: &prepared{Check: Check{ID: r.ID, Flow: plan.flow}}, res: r.res, hidden: r.hidden}
	vars, err := plan.variables.begin(like)
	r.hidden = like.hidden
	f := &flowRun{run: r, vars: vars}
	if err != nil {
		return nil, &failure{"resolve", "own_fault", "the check cannot be run: " + strings.Replace(err.Error(), "flow.", "browser.", 1)}
	}
	b := r.Browser
	s := &browser.Script{Width: b.Viewport.Width, Height: b.Viewport.Height, Mobile: b.Viewport.Mobile, UserAgent: b.UserAgent, TraceID: r.res.TraceID,
		User: r.BasicAuth.Username, Password: r.password, IgnoreCerts: r.TLS.InsecureSkipVerify, MaxBytes: b.MaxBytes,
		Reserve: min(r.limit/5, 5*time.Second), Picture: true}
	for i := range plan.steps {
		st, fail := f.browserStep(&plan.steps[i], s)
		if fail != nil {
			return nil, fail
		}
		if st.Open == "" && st.Timeout == 0 && st.Wait == 0 {
			st.Timeout = b.StepTimeout
		}
		s.Steps = append(s.Steps, st)
	}
	for _, v := range f.vars {
		if text := strings.TrimSpace(textOf(v.v)); v.secret && text != "" {
			s.Secrets = append(s.Secrets, text)
		}
	}
	if r.password != "" {
		s.Secrets = append(s.Secrets, r.password)
	}
	slices.SortFunc(s.Secrets, func(a, b string) int { return len(b) - len(a) })
	return s, nil
}

func (f *flowRun) browserStep(p *browserStep, s *browser.Script) (out browser.Step, fail *failure) {
	out = browser.Step{Name: p.Name, Timeout: p.Timeout, Press: p.Press, Wait: p.Wait, Screenshot: p.Screenshot}
	text := func(t template, alter func(string, string, *flowValue) string) string {
		if fail != nil {
			return ""
		}
		var x expansion
		x, fail = f.expand(t, maxSent, alter)
		return x.text
	}
	if p.Open != "" {
		out.Open = text(p.open, func(before, text string, _ *flowValue) string {
			if strings.Contains(before, "?") {
				return url.QueryEscape(text)
			}
			return text
		})
		if fail != nil {
			return out, fail
		}
		u, err := pageAddress(out.Open)
		if err != nil {
			return out, &failure{"assertion", "variable", "step " + p.Name + ": " + err.Error()}
		}
		s.Origins = append(s.Origins, &url.URL{Scheme: u.Scheme, Host: u.Host})
	}
	out.Evaluate = text(p.evaluate, nil)
	if p.Click != nil {
		out.Click = &browser.Element{Selector: p.Click.Selector, Text: text(p.find, nil)}
	}
	if p.WaitFor != nil {
		out.WaitFor = &browser.Element{Selector: p.WaitFor.Selector, Text: text(p.find, nil)}
	}
	if p.Type != nil {
		out.Type = &browser.Typing{Into: p.Type.Into, Text: text(p.typed, nil)}
	}
	if p.Select != nil {
		out.Select = &browser.Choice{From: p.Select.From, Option: text(p.option, nil)}
	}
	if e := p.Expect; e != nil {
		x := &browser.Expect{Selector: e.Selector, Text: text(p.text, nil), NotText: text(p.notText, nil), Title: text(p.title, nil), URL: p.url, AtMost: -1}
		if n := e.Count; n != nil {
			x.Count, x.AtLeast = n.Selector, n.AtLeast
			if n.AtMost != nil {
				x.AtMost = *n.AtMost
			}
		}
		out.Expect = x
	}
	return out, fail
}

// keep takes over what the browser told, without secrets.
func (r *run) keep(out *browser.Outcome) {
	clean := func(s string, n int) string {
		return shorten(strings.ToValidUTF8(r.hidden.show(s), "\uFFFD"), n)
	}
	for i := range out.Hops {
		h := &out.Hops[i]
		h.URL, h.Location = r.hidden.cleanURL(h.URL), r.hidden.cleanURL(h.Location)
	}
	for i := range out.Steps {
		out.Steps[i].Message = clean(out.Steps[i].Message, 1000)
	}
	for i := range out.Console {
		out.Console[i] = clean(out.Console[i], maxBrowserConsole)
	}
	r.res.Hops, r.res.Steps, r.res.Console = out.Hops, out.Steps, out.Console
	r.res.Values = append(r.res.Values, out.Values...)
	for name, v := range out.Facts {
		r.fact(name, v)
	}
	r.res.Screenshot, r.res.HasScreenshot = out.Screenshot, len(out.Screenshot) > 0
}

// lookAgain opens a connection to a host whose document did not come, because
// the browser does not tell how far it got or which certificate it refused: it
// names the stage better and adds the certificate. The hop keeps its times.
func (r *run) lookAgain(out *browser.Outcome, f *failure) {
	i := len(r.res.Hops) - 1
	for ; i >= 0 && (r.res.Hops[i].Type != "document" || r.res.Hops[i].Status != 0); i-- {
	}
	if i < 0 || f.reason == "own_fault" || r.outer.Err() != nil {
		return
	}
	var cancel context.CancelFunc
	limit := r.limit
	r.limit = 2 * time.Second
	r.ctx, cancel = context.WithTimeout(r.outer, r.limit)
	defer func() { cancel(); r.limit = limit }()
	var hop record.Hop
	u := out.Unanswered
	conn, second := r.open(&hop, u.Hostname(), portOf(u))
	if second == nil {
		defer conn.Close()
		if u.Scheme == "https" {
			_, second = r.secure(conn, &hop, r.foreign, u.Hostname())
		}
	}
	h := &r.res.Hops[i]
	h.Address, h.TLS = hop.Address, hop.TLS
	switch {
	case second == nil && f.reason == "no_response":
		for p := record.Resolve; p < record.Processing; p++ {
			h.Phases[p] = hop.Phases[p]
		}
		if u.Scheme == "http" {
			h.Phases[record.TLS].State = record.Skipped
		}
		return
	case second == nil || second.reason == "own_fault":
		return
	case f.reason == "no_response": // it hung before the request
		f.stage, f.reason = second.stage, second.reason
		h.Phases = hop.Phases
	case second.stage == f.stage:
		for p := record.Resolve; p < record.TLS; p++ {
			h.Phases[p] = hop.Phases[p]
		}
	default:
		return
	}
	f.message += "; looked at again: " + second.message
}
