package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ohler55/ojg/jp"
)

// Bounds of what a flow keeps and sends, in bytes where nothing else is said.
const (
	maxValue  = 64 << 10 // of an extracted value
	maxList   = 1000     // values of a list
	maxAddr   = 16 << 10 // of an address with its variables
	maxHeader = 16 << 10
	maxSent   = 1 << 20 // of a body with its variables
	maxPlaces = 1000    // places for variables in one step
)

// template is a text with variables in it. ${name} stands for the value of a
// variable, ${name.field} for a field of a JSON object or a place in a list,
// $${ for a plain ${ and $$${name} for a $ before the value.
type template []part

// part is a literal text, or a variable when name is set.
type part struct {
	text string
	name string
	path []string
}

// String is the reference as it was written.
func (p part) String() string {
	return "${" + strings.Join(append([]string{p.name}, p.path...), ".") + "}"
}

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)
	reference    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}(\.[A-Za-z0-9_-]{1,64}){0,8}$`)
)

func parseTemplate(s string) (template, error) {
	var t template
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			t = append(t, part{text: lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); {
		rest := s[i:]
		dollar := strings.IndexByte(rest, '$')
		if dollar < 0 {
			lit.WriteString(rest)
			break
		}
		lit.WriteString(rest[:dollar])
		rest = rest[dollar:]
		n := len(rest) - len(strings.TrimLeft(rest, "$"))
		i += dollar + n
		if !strings.HasPrefix(rest[n:], "{") {
			lit.WriteString(rest[:n])
			continue
		}
		lit.WriteString(rest[:n/2])
		if n%2 == 0 {
			continue // the brace is plain
		}
		end := strings.IndexByte(rest, '}')
		if end < 0 || !reference.MatchString(rest[n+1:end]) {
			// What stands there may be anything, so it is not shown.
			return nil, fmt.Errorf("at byte %d: want ${name} or ${name.field} with letters, digits, '_' and '-'; $${ stands for a plain ${", i)
		}
		flush()
		name, path, _ := strings.Cut(rest[n+1:end], ".")
		p := part{name: name}
		if path != "" {
			p.path = strings.Split(path, ".")
		}
		t = append(t, p)
		i += end - n + 1
	}
	flush()
	return t, nil
}

var dollars = regexp.MustCompile(`\$+\{`)

// escapeTemplate makes a text that parseTemplate takes for a plain one.
func escapeTemplate(s string) string {
	return dollars.ReplaceAllStringFunc(s, func(d string) string { return d[:len(d)-1] + d })
}

// String is the template as it is written.
func (t template) String() string {
	var b strings.Builder
	for i, p := range t {
		if p.name != "" {
			b.WriteString(p.String())
			continue
		}
		text := escapeTemplate(p.text)
		if i+1 < len(t) {
			text += text[len(strings.TrimRight(text, "$")):] // a $ before a variable
		}
		b.WriteString(text)
	}
	return b.String()
}

// plain is the text of a template without variables.
func (t template) plain() (string, bool) {
	switch {
	case len(t) == 0:
		return "", true
	case len(t) == 1 && t[0].name == "":
		return t[0].text, true
	}
	return "", false
}

// flowValue is the value of a variable.
type flowValue struct {
	v       any   // as decodeJSON gives it
	list    []any // what a loop goes over; nil: it cannot
	secret  bool  // is not shown
	replied bool  // came with a reply, so a server chose it
}

// flowVars are the variables of one run.
type flowVars map[string]*flowValue

// builtIn names the variables that every flow has; their values stay the same
// throughout a run.
var builtIn = []string{"uuid", "now", "random", "location", "check"}

// begin makes the variables with which a run starts, and hides the secrets.
func (p *flowPlan) begin(r *run) (flowVars, error) {
	vars := flowVars{
		"uuid":     {v: uuid()},
		"now":      {v: r.res.Start.UTC().Format(time.RFC3339)},
		"random":   {v: strconv.Itoa(100_000_000 + rand.IntN(900_000_000))},
		"location": {v: r.res.Location},
		"check":    {v: r.ID},
	}
	f := &flowRun{run: r, vars: vars}
	for _, name := range sortedKeys(r.Flow.Variables) {
		x, fail := f.expand(p.variables[name], maxValue, nil)
		if fail != nil {
			return nil, errors.New(fail.message)
		}
		secret := telling(name)
		if secret {
			f.hideGuessed(x.text)
		}
		vars[name] = &flowValue{v: x.text, secret: secret}
	}
	for name, s := range r.Flow.Secrets {
		text, err := s.read()
		if err != nil {
			return nil, fmt.Errorf("flow.secrets.%s.%w", name, err)
		}
		f.hide(text)
		vars[name] = &flowValue{v: text, secret: true}
	}
	return vars, nil
}

// uuid is a random one (RFC 9562, version 4).
func uuid() string {
	h := []byte(randomHex(16))
	h[12], h[16] = '4', "89ab"[rand.IntN(4)]
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// read fetches the secret; the error begins with the key.
func (s FlowSecret) read() (string, error) {
	if s.Value != "" {
		return s.Value, nil
	}
	if s.Env != "" {
		v := os.Getenv(s.Env)
		if v == "" {
			return "", fmt.Errorf("env: the environment of this process has no %s; want the secret there", s.Env)
		}
		if len(v) > maxValue {
			return "", fmt.Errorf("env: %s has %d bytes; want at most %d", s.Env, len(v), maxValue)
		}
		return v, nil
	}
	file, err := os.Open(s.File)
	if err != nil {
		return "", fmt.Errorf("file: want a readable file: %w", err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxValue+1))
	text := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		return "", fmt.Errorf("file: want a readable file: %w", err)
	case len(b) > maxValue:
		return "", fmt.Errorf("file: %s has more than %d bytes; want at most that", s.File, maxValue)
	case text == "":
		return "", fmt.Errorf("file: %s is empty; want the secret in it", s.File)
	}
	return text, nil
}

var tellingName = regexp.MustCompile(`(?i)csrf|xsrf|jwt|^sid$|_sid$|^otp$`)

// telling reports whether a value of this name looks like a credential.
func telling(name string) bool {
	return sensitive(strings.ReplaceAll(name, "_", "-")) || tellingName.MatchString(name)
}

// hide makes texts disappear from all that the run shows, in the forms that
// addresses, JSON, HTML and messages give them.
func (f *flowRun) hide(texts ...string) {
	var forms []string
	for _, t := range texts {
		if t = strings.TrimSpace(t); t == "" {
			continue
		}
		forms = append(forms, t)
		quoted := strconv.Quote(t)
		inJSON, _ := json.Marshal(t) // a text always has a form
		plainJSON, _ := marshalPlain(t)
		for _, form := range []string{quoted[1 : len(quoted)-1], string(inJSON[1 : len(inJSON)-1]), plainJSON[1 : len(plainJSON)-1], html.EscapeString(t), (&url.URL{Path: t}).EscapedPath()} {
			if form != t {
				forms = append(forms, form)
			}
		}
	}
	f.hidden = f.hidden.with(forms...)
}

// hideGuessed hides what only looks like a credential by its name: not flags,
// whose removal would garble every text.
func (f *flowRun) hideGuessed(texts ...string) {
	for _, t := range texts {
		switch t = strings.TrimSpace(t); {
		case len(t) < 4, t == "true", t == "false", t == "null":
		default:
			f.hide(t)
		}
	}
}

// expansion is a template with its variables put in.
type expansion struct {
	text   string
	secret bool     // a secret is in it
	parts  []string // the values that were put in
}

// expand puts the variables into a text of at most limit bytes. alter, if any,
// makes the text that is put in; it is told what stands before it.
func (f *flowRun) expand(t template, limit int, alter func(before, text string, v *flowValue) string) (expansion, *failure) {
	if text, ok := t.plain(); ok {
		return expansion{text: text}, nil
	}
	var x expansion
	var b strings.Builder
	for _, p := range t {
		text := p.text
		if p.name != "" {
			v, fail := f.lookup(p)
			if fail != nil {
				return x, fail
			}
			text = textOf(v.v)
			x.secret = x.secret || v.secret
			x.parts = append(x.parts, text)
			if alter != nil {
				text = alter(b.String(), text, v)
			}
		}
		if b.Len()+len(text) > limit {
			return x, &failure{"assertion", "variable", fmt.Sprintf("with its variables a text of the request has more than %d bytes, the most that is sent", limit)}
		}
		b.WriteString(text)
	}
	x.text = b.String()
	return x, nil
}

func noValue(name string) *failure {
	return &failure{"assertion", "variable", fmt.Sprintf("the variable %s has no value: no step that was done has extracted it", name)}
}

// lookup finds the value that a part stands for.
func (f *flowRun) lookup(p part) (*flowValue, *failure) {
	v := f.vars[p.name]
	if v == nil {
		return nil, noValue(p.name)
	}
	if len(p.path) == 0 {
		return v, nil
	}
	at, last := v.v, p.name
	for _, field := range p.path {
		var ok bool
		switch x := at.(type) {
		case map[string]any:
			at, ok = x[field]
		case []any:
			if n, err := strconv.Atoi(field); err == nil && 0 <= n && n < len(x) {
				at, ok = x[n], true
			}
		}
		if !ok {
			return nil, &failure{"assertion", "variable", fmt.Sprintf("%s has no value: there is no %q in %s", p, field, last)}
		}
		last = field
	}
	out := &flowValue{v: at, secret: v.secret, replied: v.replied}
	if telling(last) {
		out.secret = true
		f.hideGuessed(textOf(at))
	}
	return out, nil
}

// textOf is a value as it is put into a text: JSON for all but texts.
func textOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	text, err := marshalPlain(v)
	if err != nil {
		return ""
	}
	return text
}

// marshalPlain is JSON that keeps <, > and &.
func marshalPlain(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// flowAddress is where a request goes.
type flowAddress struct {
	url     *url.URL
	secret  bool // a secret is in it
	steered bool // its scheme, host or port came with a reply
}

// address puts the variables into a step's URL.
func (f *flowRun) address(s *flowStep) (a flowAddress, fail *failure) {
	x, fail := f.expand(s.url, maxAddr, func(before, text string, v *flowValue) string {
		switch {
		case strings.Contains(before, "?"):
			text = url.QueryEscape(text)
		case v.replied && !pastHost(before):
			a.steered = true
			return text // its own secret goes to its own host
		}
		a.secret = a.secret || v.secret
		return text
	})
	if fail != nil {
		return a, fail
	}
	bad := func(said string) (flowAddress, *failure) {
		return a, &failure{"assertion", "variable", fmt.Sprintf("the address of the request is %q: %s", f.hidden.cleanURL(shorten(x.text, 300)), said)}
	}
	u, err := url.Parse(x.text)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the address
		}
		return bad(err.Error())
	}
	if !u.IsAbs() && f.last != nil {
		u = f.last.ResolveReference(u)
	}
	port, perr := strconv.Atoi(u.Port())
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return bad("want one such as https://shop.example.org/login")
	case u.Port() != "" && (perr != nil || port < 1 || port > 65535):
		return bad("its port is not a number from 1 to 65535")
	case strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r > 127 || r <= ' ' }):
		return bad("want the host in its ASCII form")
	}
	u.Fragment, u.RawFragment = "", ""
	u.RawQuery = strings.ReplaceAll(u.RawQuery, " ", "%20")
	if u.User != nil {
		pw, _ := u.User.Password()
		f.hideGuessed(pw, basicCredentials(u.User.Username(), pw))
		a.secret = true
	}
	if u.RawQuery != "" {
		for name, values := range u.Query() {
			if telling(name) {
				f.hideGuessed(values...)
			}
		}
	}
	a.url = u
	return a, nil
}

// pastHost reports whether the beginning of an address holds all of its host.
func pastHost(s string) bool {
	if strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") || strings.HasPrefix(s, "?") {
		return true // relative
	}
	i := strings.Index(s, "//")
	return i >= 0 && strings.ContainsAny(s[i+2:], "/?#")
}

// body puts the variables into what a step sends.
func (f *flowRun) body(s *flowStep) (text string, secret bool, fail *failure) {
	switch {
	case len(s.form) > 0:
		form := make(url.Values, len(s.form))
		for _, p := range s.form {
			x, fail := f.expand(p.value, maxSent, nil)
			if fail != nil {
				return "", false, fail
			}
			if telling(p.name) {
				f.hideGuessed(x.text)
				secret = true
			}
			secret = secret || x.secret
			form.Set(p.name, x.text)
		}
		text = form.Encode()
	case s.json != nil:
		tree, carries, fail := f.tree(s.json, "")
		if fail != nil {
			return "", false, fail
		}
		var err error
		if text, err = marshalPlain(tree); err != nil {
			return "", false, &failure{"assertion", "variable", fmt.Sprintf("the JSON to send cannot be made: %v", err)}
		}
		secret = carries
	default:
		x, fail := f.expand(s.body, maxSent, nil)
		return x.text, x.secret, fail
	}
	if len(text) > maxSent {
		return "", false, &failure{"assertion", "variable", fmt.Sprintf("the body to send has %d bytes; want at most %d", len(text), maxSent)}
	}
	return text, secret, nil
}

// tree puts the variables into the texts of a JSON value; key is the name under
// which it stands. A text that is one variable and nothing else becomes its
// value, a number a number.
func (f *flowRun) tree(v any, key string) (out any, secret bool, fail *failure) {
	switch x := v.(type) {
	case template:
		if len(x) == 1 && x[0].name != "" {
			val, fail := f.lookup(x[0])
			if fail != nil {
				return nil, false, fail
			}
			if telling(key) {
				f.hideGuessed(textOf(val.v))
			}
			return val.v, val.secret || telling(key), nil
		}
		e, fail := f.expand(x, maxSent, nil)
		if telling(key) {
			f.hideGuessed(e.text)
		}
		return e.text, e.secret || telling(key), fail
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, in := range x {
			w, s, fail := f.tree(in, k)
			if fail != nil {
				return nil, false, fail
			}
			m[k], secret = w, secret || s
		}
		return m, secret, nil
	case []any:
		l := make([]any, len(x))
		for i, in := range x {
			w, s, fail := f.tree(in, key)
			if fail != nil {
				return nil, false, fail
			}
			l[i], secret = w, secret || s
		}
		return l, secret, nil
	}
	return v, false, nil
}

// extract takes the values that a step wants out of its reply.
func (f *flowRun) extract(s *flowStep, rep *reply) *failure {
	for _, e := range s.extracts {
		v := &flowValue{replied: true, secret: e.Secret || e.Cookie != "" || telling(e.Name)}
		var found bool
		where := ""
		switch {
		case e.path != nil:
			tree, bad := rep.json()
			where = fmt.Sprintf("nothing at %s in the body (%d bytes)", e.JSONPath, len(rep.body))
			if bad != nil {
				where = fmt.Sprintf("the body (%d bytes) is not JSON: %v", len(rep.body), bad)
				break
			}
			v.v, v.list, found = pick(e.path, tree)
		case e.re != nil:
			where = fmt.Sprintf("the body (%d bytes) does not match %q", len(rep.body), e.Regex)
			if m := e.re.FindSubmatch(rep.body); m != nil {
				v.v, found = string(m[min(1, len(m)-1)]), true
			}
		case e.Header != "":
			where = fmt.Sprintf("the reply has no header %s", e.Header)
			if values := rep.head.Header.Values(e.Header); len(values) > 0 {
				v.v, found = values[0], true
				v.secret = v.secret || sensitive(e.Header)
			}
		case e.Cookie != "":
			where = fmt.Sprintf("no cookie of the name %s was set", e.Cookie)
			v.v, found = f.cookie(rep, e.Cookie)
		}
		if !found {
			if e.Default == nil {
				return &failure{"assertion", "variable", fmt.Sprintf("no value for %s: %s", e.Name, where)}
			}
			// What a check says itself was chosen by no server.
			v.v, v.replied = *e.Default, false
		}
		text := strings.ToValidUTF8(textOf(v.v), "\uFFFD")
		if n := len(text); n > maxValue {
			return &failure{"assertion", "variable", fmt.Sprintf("the value for %s has %d bytes; want at most %d", e.Name, n, maxValue)}
		}
		if n := len(v.list); n > maxList {
			return &failure{"assertion", "variable", fmt.Sprintf("the list for %s has %d values; want at most %d", e.Name, n, maxList)}
		}
		if _, isText := v.v.(string); isText {
			v.v = text
		}
		switch {
		case !v.secret:
		case e.Secret || e.Cookie != "":
			f.hide(text)
		default:
			f.hideGuessed(text)
		}
		if v.secret {
			for _, in := range v.list {
				f.hideGuessed(textOf(in))
			}
		}
		f.vars[e.Name] = v
	}
	return nil
}

// cookie is the value of a cookie that the reply set, or an earlier one of its
// exchange or flow.
func (f *flowRun) cookie(rep *reply, name string) (any, bool) {
	set := rep.head.Cookies()
	if f.last != nil {
		set = append(set, f.jar.Cookies(f.last)...)
	}
	for _, c := range set {
		if c.Name == name {
			return c.Value, true
		}
	}
	return nil, false
}

// pick applies a path. A path that can find several values gives the first, and
// all of them as the list; one that finds a list gives its values.
func pick(path jp.Expr, tree any) (v any, list []any, found bool) {
	if path.Normal() {
		if v, found = path.FirstFound(tree); !found {
			return nil, nil, false
		}
		list, _ = v.([]any)
		return v, list, true
	}
	all := path.Get(tree)
	if len(all) == 0 {
		return nil, nil, false
	}
	return all[0], all, true
}

// parsePath reads a JSONPath that can be applied to any body in a time that
// grows with the body's size.
func parsePath(text string) (jp.Expr, error) {
	if err := pathBounds(text); err != nil {
		return nil, fmt.Errorf("%q: %w", shorten(text, 100), err)
	}
	x, err := jp.ParseString(text)
	if err != nil {
		return nil, fmt.Errorf("%q: want a JSONPath such as $.token: %w", text, err)
	}
	return x, nil
}

// scope says which hosts a flow's request may tell what.
type scope struct {
	own     []*url.URL // get the check's credentials
	origin  *url.URL   // where the step's request goes
	steered bool       // a server chose the origin
}

// owns reports whether the check's credentials may be sent there.
func (s *scope) owns(to *url.URL) bool {
	for _, o := range s.own {
		if sameHost(to, o) {
			return true
		}
	}
	return false
}

// vouches reports whether the telling headers of the request may be sent there:
// to the host that the step names, and among the check's own hosts.
func (s *scope) vouches(to *url.URL) bool {
	return !s.steered && sameHost(to, s.origin) || s.owns(to) && s.owns(s.origin)
}

// hosts are the check's own, when the first request goes to first.
func (p *flowPlan) hosts(first *url.URL) []*url.URL {
	if len(p.own) == 0 {
		return []*url.URL{first}
	}
	var out []*url.URL
	for _, h := range p.own {
		out = append(out, &url.URL{Scheme: first.Scheme, Host: h})
		if first.Scheme == "http" {
			out = append(out, &url.URL{Scheme: "https", Host: h})
		}
	}
	return out
}

// namedTemplate is a header or form value of a step's request.
type namedTemplate struct {
	name  string
	value template
}

// extraction is a FlowExtract with its expressions parsed.
type extraction struct {
	FlowExtract
	path jp.Expr
	re   *regexp.Regexp
}

func canonical(name string) string { return http.CanonicalHeaderKey(name) }
