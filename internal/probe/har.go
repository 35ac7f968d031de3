package probe

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"
)

// HTTP Archive 1.2, as browsers save it. Only what a flow needs.
type harFile struct {
	Log *struct {
		Entries []json.RawMessage `json:"entries"` // each a harEntry
	} `json:"log"`
}

type harEntry struct {
	Type    string  `json:"_resourceType"` // of Chromium; "" of others
	Started harTime `json:"startedDateTime"`
	Time    float64 `json:"time"` // milliseconds
	Request struct {
		Method   string    `json:"method"`
		URL      string    `json:"url"`
		Headers  []harPair `json:"headers"`
		PostData *struct {
			MimeType string    `json:"mimeType"`
			Text     string    `json:"text"`
			Params   []harPair `json:"params"`
		} `json:"postData"`
	} `json:"request"`
	Response struct {
		Status      int       `json:"status"`
		Headers     []harPair `json:"headers"`
		RedirectURL string    `json:"redirectURL"`
		Content     struct {
			MimeType string `json:"mimeType"`
		} `json:"content"`
	} `json:"response"`
}

// harTime is zero when it cannot be read: it only tells how long to wait.
type harTime struct{ time.Time }

func (t *harTime) UnmarshalJSON(b []byte) error {
	t.Time, _ = time.Parse(time.RFC3339, strings.Trim(string(b), `"`))
	return nil
}

type harPair struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	FileName string `json:"fileName"`
}

const (
	maxHAR        = 64 << 20 // bytes
	maxHARSteps   = 100
	maxHARWait    = 5 * time.Second
	maxHARBody    = 256 << 10 // bytes of what a step sends
	maxHARSecrets = 100
)

// FromHAR makes a flow of what a browser recorded: the pages and the requests of
// their scripts, in their order, without images, fonts, styles, scripts and the
// counting of visitors. What looks like a credential becomes one of
// flow.secrets, to be set in the environment. The notes say what was changed or
// left out, for the person who imports it. The check is valid.
func FromHAR(r io.Reader) (Check, []string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxHAR+1))
	if err != nil {
		return Check{}, nil, fmt.Errorf("har: want a readable file: %w", err)
	}
	if len(text) > maxHAR {
		return Check{}, nil, fmt.Errorf("har: the file has more than %d MiB; want one saved without the bodies of the replies", maxHAR>>20)
	}
	var file harFile
	if err := json.Unmarshal([]byte(strings.TrimPrefix(string(text), "\uFEFF")), &file); err != nil {
		return Check{}, nil, fmt.Errorf("har: want a HAR file (JSON, version 1.2): %w", err)
	}
	if file.Log == nil || len(file.Log.Entries) == 0 {
		return Check{}, nil, errors.New("har: the file holds no requests; want log.entries")
	}
	h := &harImport{vars: map[string]string{}, secrets: map[string]*FlowSecret{}, names: map[string]int{}}
	c, err := h.flow(&file)
	return c, h.notes, err
}

// harImport is one import under way.
type harImport struct {
	notes   []string
	base    string // scheme and host of the first request
	prefix  string // of the names of environment variables
	vars    map[string]string
	secrets map[string]*FlowSecret
	hidden  []harSecret
	names   map[string]int // of steps
	waits   time.Duration
	took    time.Duration
}

// harSecret is a credential that was found, and the variable that replaces it.
type harSecret struct{ value, name string }

func (h *harImport) note(format string, a ...any) {
	if len(h.notes) < 200 {
		h.notes = append(h.notes, fmt.Sprintf(format, a...))
	}
}

func (h *harImport) flow(file *harFile) (Check, error) {
	kept := h.choose(file.Log.Entries)
	if len(kept) == 0 {
		return Check{}, errors.New("har: no request is left after images, fonts, styles, scripts and the counting of visitors; want a recording with a page or a request of its scripts")
	}
	first, _ := url.Parse(kept[0].Request.URL) // was parsed by choose
	h.base = first.Scheme + "://" + first.Host
	host := first.Hostname()
	h.prefix = strings.ToUpper(notID.ReplaceAllString(strings.Split(strings.TrimPrefix(host, "www."), ".")[0], "_"))
	if !variableName.MatchString(h.prefix) {
		h.prefix = "FLOW"
	}
	for i := range kept {
		h.find(&kept[i])
	}
	// A long one may hold a short one.
	slices.SortStableFunc(h.hidden, func(a, b harSecret) int { return len(b.value) - len(a.value) })
	h.vars["base"] = h.base
	f := &Flow{Variables: h.vars, Secrets: h.secrets}
	var end time.Time
	for i := range kept {
		e := &kept[i]
		if i > 0 {
			if gap := e.Started.Sub(end); gap > time.Second && !end.IsZero() && !e.Started.IsZero() {
				f.Steps = append(f.Steps, FlowStep{Name: h.name("wait"), Wait: h.pause(gap)})
			}
		}
		if at := e.Started.Add(time.Duration(min(max(e.Time, 0), 600_000) * float64(time.Millisecond))); at.After(end) {
			end = at
		}
		h.took += time.Duration(min(max(e.Time, 0), 60_000) * float64(time.Millisecond))
		f.Steps = append(f.Steps, h.step(e))
	}
	if len(f.Steps) > defaultRequests/2 {
		f.MaxRequests = 5 * len(f.Steps)
	}
	c := Check{Name: "flow of " + host, Flow: f}
	if most := h.waits + 2*h.took; most > 20*time.Second {
		c.Interval, c.Timeout = 5*time.Minute, min(max(most, 30*time.Second).Round(time.Second), 4*time.Minute)
		h.note("the recording took long, so the flow may take %s, every %s", c.Timeout, c.Interval)
	}
	valid := c
	if err := valid.Validate(); err != nil {
		return Check{}, fmt.Errorf("har: the flow that was made of it cannot be used: %w", err)
	}
	return c, nil
}

func (h *harImport) pause(gap time.Duration) time.Duration {
	d := gap.Round(100 * time.Millisecond)
	if d > maxHARWait {
		h.note("a pause of %s in the recording became one of %s", gap.Round(100*time.Millisecond), maxHARWait)
		d = maxHARWait
	} else {
		h.note("a pause of %s is kept as a wait; take it out if the service does not need it", d)
	}
	h.waits += d
	return d
}

// harLeft says why requests were left out.
var harLeft = []string{"images, fonts, styles, scripts and media", "the counting of visitors and errors", "requests that the browser did not finish", "addresses that are not HTTP", "redirects, which a flow follows by itself", "websockets, pings and streams", "more than the flow takes", "entries that cannot be read"}

const (
	leftAsset = iota
	leftCount
	leftUnfinished
	leftScheme
	leftRedirect
	leftStream
	leftMany
	leftGarbled
)

// choose keeps the entries that become steps.
func (h *harImport) choose(entries []json.RawMessage) []harEntry {
	var kept []harEntry
	left := make([]int, len(harLeft))
	pending := map[string][]int{} // addresses that replies redirect to, with the entry kept for them or -1
	for i, raw := range entries {
		var e harEntry
		if err := json.Unmarshal(raw, &e); err != nil {
			left[leftGarbled]++
			continue
		}
		u, err := url.Parse(e.Request.URL)
		q := e.Request
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !ascii(u.Host):
			left[leftScheme]++
			continue
		case e.Response.Status == 0:
			left[leftUnfinished]++
			continue
		case q.Method == http.MethodOptions && pairs(q.Headers, "Access-Control-Request-Method") != "", !token.MatchString(q.Method), q.Method == http.MethodConnect:
			left[leftStream]++
			continue
		}
		u.Fragment, u.RawFragment = "", ""
		address := u.String()
		at := -1
		if from := pending[address]; len(from) > 0 {
			pending[address] = from[1:]
			left[leftRedirect]++
			if at = from[0]; at >= 0 { // the reply at the end is the one that counts
				kept[at].Response = e.Response
				kept[at].Time += e.Time
			}
		} else if why := leftOut(e, u); why >= 0 {
			left[why]++
		} else if len(kept) == maxHARSteps {
			left[leftMany]++
		} else {
			e.Request.URL = address
			at = len(kept)
			kept = append(kept, e)
		}
		if to := redirectOf(e, u); to != "" && i+1 < len(entries) {
			pending[to] = append(pending[to], at)
		}
	}
	for i, n := range left {
		if n > 0 {
			h.note("left out: %d (%s)", n, harLeft[i])
		}
	}
	return kept
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 127 || r <= ' ' })
}

// redirectOf is where a recorded reply leads, "" when nowhere.
func redirectOf(e harEntry, at *url.URL) string {
	switch e.Response.Status {
	case 301, 302, 303, 307, 308:
	default:
		return ""
	}
	to := cmp.Or(e.Response.RedirectURL, pairs(e.Response.Headers, "Location"))
	if to == "" {
		return ""
	}
	u, err := at.Parse(to)
	if err != nil {
		return ""
	}
	u.Fragment = ""
	return u.String()
}

// pairs is the value of a header, "" when it is not there.
func pairs(list []harPair, name string) string {
	for _, p := range list {
		if strings.EqualFold(p.Name, name) {
			return p.Value
		}
	}
	return ""
}

// counting are hosts that count visitors or collect errors, and telling ends of
// paths.
var counting = regexp.MustCompile(`(?i)(^|\.)(google-analytics|googletagmanager|analytics\.google|googlesyndication|googleadservices|doubleclick|segment|mixpanel|amplitude|hotjar|matomo|plausible|sentry|datadoghq-browser-agent|browser-intake-datadoghq|nr-data|newrelic|bugsnag|fullstory|clarity|intercom|hubspot|hs-analytics|facebook|bat\.bing|optimizely)\.(com|net|io|eu|cloud|ms|org)$`)

// leftOut says why an entry becomes no step, -1 when it does.
func leftOut(e harEntry, u *url.URL) int {
	if counting.MatchString(u.Hostname()) {
		return leftCount
	}
	switch strings.ToLower(e.Type) {
	case "document", "xhr", "fetch":
		if e.Type != "document" && asset(e.Response.Content.MimeType) {
			return leftAsset
		}
		return -1
	case "":
	case "ping", "beacon", "csp_report", "cspviolationreport", "websocket", "eventsource", "preflight", "signedexchange", "texttrack":
		return leftStream
	case "other":
		if asset(e.Response.Content.MimeType) {
			return leftAsset
		}
	default: // stylesheet, script, image, font, media, manifest
		return leftAsset
	}
	// No type: what came, and how it was asked for, tells.
	switch {
	case pairs(e.Request.Headers, "Upgrade") != "" || e.Response.Status == http.StatusSwitchingProtocols:
		return leftStream
	case e.Request.Method != http.MethodGet && e.Request.Method != http.MethodHead:
		return -1
	}
	switch pairs(e.Request.Headers, "Sec-Fetch-Dest") {
	case "document", "iframe":
		return -1
	case "image", "font", "style", "script", "audio", "video", "track", "manifest", "worker", "serviceworker":
		return leftAsset
	}
	if asset(e.Response.Content.MimeType) || asset(mime.TypeByExtension(path.Ext(u.Path))) {
		return leftAsset
	}
	return -1
}

// asset reports a content type that a page only shows or runs.
func asset(mimeType string) bool {
	t, _, _ := mime.ParseMediaType(mimeType)
	for _, p := range []string{"image/", "font/", "audio/", "video/", "text/css", "text/javascript", "application/javascript", "application/x-javascript", "application/ecmascript", "application/font", "application/x-font", "application/vnd.ms-fontobject", "application/wasm", "application/manifest+json"} {
		if strings.HasPrefix(t, p) {
			return true
		}
	}
	return false
}

// find looks for credentials in an entry.
func (h *harImport) find(e *harEntry) {
	u, _ := url.Parse(e.Request.URL) // was parsed by choose
	if u.User != nil {
		if pw, ok := u.User.Password(); ok {
			h.secret("password", pw, "the address of "+u.Host)
		}
	}
	for _, name := range sortedNames(u.Query()) {
		if telling(name) {
			for _, v := range u.Query()[name] {
				h.secret(name, v, "the address "+u.Host+u.Path)
			}
		}
	}
	for _, p := range e.Request.Headers {
		name := http.CanonicalHeaderKey(p.Name)
		if !telling(name) || browserNoise(name) {
			continue
		}
		value := p.Value
		if scheme, rest, ok := strings.Cut(value, " "); ok && name == "Authorization" && token.MatchString(scheme) {
			value = strings.TrimSpace(rest)
		}
		h.secret(name, value, "the header "+name)
	}
	post := e.Request.PostData
	if post == nil {
		return
	}
	form, isForm, tree, isJSON := postOf(e)
	switch {
	case isForm:
		for _, name := range sortedNames(form) {
			if telling(name) {
				for _, v := range form[name] {
					h.secret(name, v, "the form sent to "+u.Path)
				}
			}
		}
	case isJSON:
		h.findJSON("", tree, u.Path)
	}
}

func (h *harImport) findJSON(key string, v any, path string) {
	switch x := v.(type) {
	case string:
		if telling(key) {
			h.secret(key, x, "the JSON sent to "+path)
		}
	case map[string]any:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			h.findJSON(k, x[k], path)
		}
	case []any:
		for _, in := range x {
			h.findJSON(key, in, path)
		}
	}
}

func sortedNames(v url.Values) []string {
	names := make([]string, 0, len(v))
	for n := range v {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

var notVariable = regexp.MustCompile(`[^A-Za-z0-9]+`)

// secret gives a credential a variable.
func (h *harImport) secret(name, value, where string) {
	if value == "" || value == "true" || value == "false" || value == "null" {
		return
	}
	for _, s := range h.hidden {
		if s.value == value {
			return
		}
	}
	if len(h.hidden) >= maxHARSecrets { // nothing may stay behind in the flow
		h.hidden = append(h.hidden, harSecret{value, "others"})
		h.secrets["others"] = &FlowSecret{Env: h.prefix + "_OTHERS"}
		h.note("the credential from %s became ${others}, as all beyond the first %d", where, maxHARSecrets)
		return
	}
	name = strings.Trim(notVariable.ReplaceAllString(strings.ToLower(name), "_"), "_")
	if len(name) > 40 || !variableName.MatchString(name) || slices.Contains(builtIn, name) || name == "base" || name == "others" {
		name = "secret"
	}
	unique := name
	for n := 2; ; n++ {
		if _, taken := h.secrets[unique]; !taken {
			break
		}
		unique = fmt.Sprintf("%s_%d", name, n)
	}
	env := h.prefix + "_" + strings.ToUpper(unique)
	h.secrets[unique] = &FlowSecret{Env: env}
	h.hidden = append(h.hidden, harSecret{value, unique})
	said := "set it in the environment as %s"
	if tellingName.MatchString(name) || strings.Contains(name, "session") || strings.Contains(name, "token") {
		said = "if an earlier reply told it, take it from there with extract in place of the secret; else set it in the environment as %s"
	}
	h.note("${%s} is a credential from %s: "+said, unique, where, env)
}

// hide makes a template of a text: what is a secret becomes its variable.
func (h *harImport) hide(text string) string { return h.template(text).String() }

func (h *harImport) template(text string) template {
	t := template{{text: text}}
	for _, s := range h.hidden {
		var next template
		for _, p := range t {
			switch {
			case p.name != "":
				next = append(next, p)
			case len(s.value) < 4: // a short one is replaced only where it is the whole text
				if p.text == s.value {
					p = part{name: s.name}
				}
				next = append(next, p)
			default:
				for i, piece := range strings.Split(p.text, s.value) {
					if i > 0 {
						next = append(next, part{name: s.name})
					}
					if piece != "" {
						next = append(next, part{text: piece})
					}
				}
			}
		}
		t = next
	}
	return t
}

// hideEscaped makes a template of a text and escapes all of it but the
// variables as for a query.
func (h *harImport) hideEscaped(text string) (out string, secret bool) {
	t := h.template(text)
	for i, p := range t {
		if p.name != "" {
			secret = true
		}
		t[i].text = url.QueryEscape(p.text)
	}
	return t.String(), secret
}

// address is the template of a recorded address.
func (h *harImport) address(text string) string {
	u, _ := url.Parse(text) // was parsed by choose
	u.User = nil
	query := u.RawQuery
	u.RawQuery, u.ForceQuery = "", false
	out := u.String()
	if rest, ok := strings.CutPrefix(out, h.base); ok && (rest == "" || rest[0] == '/') {
		out = "${base}" + h.hide(rest)
	} else {
		out = u.Scheme + "://" + u.Host + h.hide(strings.TrimPrefix(out, u.Scheme+"://"+u.Host))
	}
	if query == "" {
		return out
	}
	// A variable in a query is escaped when it is put in, so its value is looked
	// for as it was before it was escaped.
	var parts []string
	for _, p := range strings.Split(query, "&") {
		name, value, has := strings.Cut(p, "=")
		plain, err := url.QueryUnescape(value)
		if hidden, secret := h.hideEscaped(plain); err == nil && secret {
			value = hidden
		} else {
			value = h.hide(value)
		}
		name = h.hide(name)
		if has {
			name += "=" + value
		}
		parts = append(parts, name)
	}
	return out + "?" + strings.Join(parts, "&")
}

// browserNoise reports headers that a browser adds by itself.
func browserNoise(name string) bool {
	if strings.HasPrefix(name, ":") || strings.HasPrefix(name, "Sec-") || strings.HasPrefix(name, "Proxy-") {
		return true
	}
	switch name {
	case "Cookie", "Host", "Connection", "Keep-Alive", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Upgrade-Insecure-Requests", "Expect",
		"User-Agent", "Accept-Encoding", "Accept-Language", "Referer", "Cache-Control", "Pragma", "Dnt", "Priority", "Purpose", "X-Client-Data",
		"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range", "Range", "Alt-Used", "Save-Data", "Downlink", "Rtt", "Ect", "Device-Memory",
		"Traceparent", "Tracestate", "Sentry-Trace", "Baggage":
		return true
	}
	return false
}

// step makes a step of an entry.
func (h *harImport) step(e *harEntry) FlowStep {
	u, _ := url.Parse(e.Request.URL) // was parsed by choose
	q := &FlowRequest{Method: e.Request.Method, URL: h.address(e.Request.URL), Headers: map[string]string{}}
	s := FlowStep{Request: q, Name: h.name(h.stepName(e.Request.Method, u.Path))}
	if u.User != nil && pairs(e.Request.Headers, "Authorization") == "" {
		pw, _ := u.User.Password()
		q.BasicAuth = &FlowBasicAuth{Username: h.hide(u.User.Username()), Password: h.hide(pw)}
		if q.BasicAuth.Username == "" {
			q.BasicAuth = nil
		}
	}
	for _, p := range e.Request.Headers {
		name := http.CanonicalHeaderKey(p.Name)
		switch {
		case browserNoise(name), !token.MatchString(name), ownHeaders[name] != "", q.Headers[name] != "":
		case name == "Accept" && (p.Value == "*/*" || strings.HasPrefix(p.Value, "text/html")):
		case name == "Origin" && (e.Request.Method == http.MethodGet || e.Request.Method == http.MethodHead):
		case strings.ContainsFunc(p.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 127 }), !utf8.ValidString(p.Value):
			h.note("step %s: the header %s holds control characters and was left out", s.Name, name)
		case name == "Origin" && p.Value == h.base:
			q.Headers[name] = "${base}"
		default:
			q.Headers[name] = h.hide(p.Value)
		}
	}
	h.post(e, q, s.Name)
	if len(q.Headers) == 0 {
		q.Headers = nil
	}
	if code := e.Response.Status; code/100 != 2 && code != http.StatusNotModified && code >= 100 && code <= 599 && code/100 != 3 {
		s.Expect.Status = Statuses{fmt.Sprint(code)}
		h.note("step %s: the recorded reply was %d, so that is expected", s.Name, code)
	} else if code/100 == 3 && code != http.StatusNotModified {
		no := false
		q.FollowRedirects = &no
		s.Expect.Status = Statuses{"3xx"}
		h.note("step %s: the browser did not follow the redirect %d, so the flow does not either", s.Name, code)
	}
	return s
}

// post puts in what the entry sent.
func (h *harImport) post(e *harEntry, q *FlowRequest, step string) {
	post := e.Request.PostData
	if post == nil || post.Text == "" && len(post.Params) == 0 {
		return
	}
	form, isForm, tree, isJSON := postOf(e)
	size := len(post.Text)
	for _, p := range post.Params {
		size += len(p.Name) + len(p.Value)
	}
	switch {
	case size > maxHARBody:
		h.note("step %s: what it sent has %d bytes and was left out; want at most %d", step, size, maxHARBody)
		return
	case isForm && once(form):
		q.Form = map[string]string{}
		for name, v := range form {
			q.Form[name] = h.hide(v[0])
		}
	case isForm:
		var parts []string
		for _, name := range sortedNames(form) {
			for _, v := range form[name] {
				value, secret := h.hideEscaped(v)
				if secret {
					h.note("step %s: the credential of the field %s is put in as it is; write it as it stands in an address (%%26 for &)", step, name)
				}
				parts = append(parts, url.QueryEscape(name)+"="+value)
			}
		}
		q.Body = strings.Join(parts, "&")
	case isJSON:
		q.JSON = h.hideJSON(tree)
	case post.Text == "" || !utf8.ValidString(post.Text):
		h.note("step %s: it sent a file or data that the recording does not hold; the step sends nothing", step)
		return
	default:
		q.Body = h.hide(post.Text)
		if strings.HasPrefix(post.MimeType, "multipart/") {
			h.note("step %s: it sent a form in parts, which is kept as it was recorded; browsers leave files out of recordings", step)
		}
		h.note("step %s: look for credentials in the body that it sends; it is no form and no JSON, so none were looked for", step)
	}
	if q.Headers["Content-Type"] == "" && ascii(post.MimeType) {
		q.Headers["Content-Type"] = h.hide(post.MimeType)
	}
	switch kind := q.Headers["Content-Type"]; {
	case kind == "", q.Form != nil && strings.HasPrefix(kind, "application/x-www-form-urlencoded"), q.JSON != nil && kind == "application/json":
		delete(q.Headers, "Content-Type") // follows from the body
	}
}

// once reports a form that has each name one time.
func once(form url.Values) bool {
	for _, v := range form {
		if len(v) != 1 {
			return false
		}
	}
	return true
}

// postOf reads what was sent as a form or as JSON.
func postOf(e *harEntry) (form url.Values, isForm bool, tree any, isJSON bool) {
	post := e.Request.PostData
	kind, _, _ := mime.ParseMediaType(cmp.Or(post.MimeType, pairs(e.Request.Headers, "Content-Type")))
	switch {
	case kind == "application/x-www-form-urlencoded":
		if post.Text != "" {
			if form, err := url.ParseQuery(post.Text); err == nil && len(form) > 0 {
				return form, true, nil, false
			}
			return nil, false, nil, false
		}
		form = url.Values{}
		for _, p := range post.Params {
			if p.FileName != "" {
				return nil, false, nil, false
			}
			// Chromium leaves them escaped, Firefox does not.
			name, value := unescaped(p.Name), unescaped(p.Value)
			form[name] = append(form[name], value)
		}
		return form, len(form) > 0, nil, false
	case kind == "application/json", strings.HasSuffix(kind, "+json"), kind == "text/plain" && strings.HasPrefix(strings.TrimSpace(post.Text), "{"):
		tree, err := decodeJSON([]byte(post.Text))
		return nil, false, tree, err == nil && tree != nil && depthOf(tree) < 50
	}
	return nil, false, nil, false
}

func unescaped(s string) string {
	if u, err := url.QueryUnescape(s); err == nil && strings.Contains(s, "%") {
		return u
	}
	return s
}

func depthOf(v any) int {
	most := 0
	switch x := v.(type) {
	case map[string]any:
		for _, in := range x {
			most = max(most, depthOf(in))
		}
	case []any:
		for _, in := range x {
			most = max(most, depthOf(in))
		}
	}
	return most + 1
}

func (h *harImport) hideJSON(v any) any {
	switch x := v.(type) {
	case string:
		return h.hide(x)
	case map[string]any:
		for k, in := range x {
			x[k] = h.hideJSON(in)
		}
	case []any:
		for i, in := range x {
			x[i] = h.hideJSON(in)
		}
	}
	return v
}

// stepName is a method and a path, without secrets.
func (h *harImport) stepName(method, path string) string {
	for _, s := range h.hidden {
		if len(s.value) >= 4 {
			path = strings.ReplaceAll(path, s.value, "…")
		}
	}
	path = strings.ReplaceAll(strings.ToValidUTF8(path, "?"), "${", "$ {")
	path = strings.Map(func(r rune) rune {
		if r < ' ' || r == 127 || r >= 0x80 && r <= 0x9f {
			return '?'
		}
		return r
	}, path)
	return shorten(method+" "+cmp.Or(path, "/"), maxStepName-10)
}

// name makes the name of a step unlike all before it.
func (h *harImport) name(s string) string {
	h.names[s]++
	if n := h.names[s]; n > 1 {
		return h.name(fmt.Sprintf("%s (%d)", s, n))
	}
	return s
}
