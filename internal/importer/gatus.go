package importer

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/probe"
)

// gatus reads the YAML of Gatus (v5).
func (im *importing) gatus(text []byte) error {
	top, err := readYAML(text)
	if err != nil {
		return err
	}
	g := &gatusImport{importing: im, alerts: map[string]*obj{}}
	if a := top.sub("alerting"); a != nil {
		im.note("alerting", "who is told is not part of a check", "write the routes into the file that alertmanager: names; see docs/notifications.md")
		for name := range a.m {
			g.alerts[name] = a.sub(name).sub("default-alert")
		}
	}
	if !top.has("endpoints") && !top.has("suites") && !top.has("external-endpoints") {
		return errors.New("endpoints: is missing; want the configuration of Gatus")
	}
	for i, v := range top.list("endpoints") {
		e, where := newObj(v), fmt.Sprintf("endpoints[%d]", i)
		if e == nil {
			im.note(where, "left out: it is not a mapping", "")
			continue
		}
		g.endpoint(where, e)
	}
	for i, s := range top.subs("external-endpoints") {
		im.note(fmt.Sprintf("external-endpoints[%d] (%s)", i, shown(s)), "left out: results that come from outside are not checks of Vedette", "write them as samples by remote write, and a rule that tells when they stop")
	}
	for i, s := range top.subs("suites") {
		im.note(fmt.Sprintf("suites[%d] (%s)", i, shown(s)), "left out: suites do not convert", "write it as a flow; see docs/checks.md")
	}
	if m := top.sub("maintenance"); m != nil {
		g.window("maintenance", "maintenance", m, nil)
	}
	for _, k := range []string{"storage", "web", "ui", "metrics", "security", "connectivity", "remote", "concurrency", "disable-monitoring-lock", "debug", "skip-invalid-config-update", "tunneling", "announcements"} {
		if top.has(k) {
			im.note(k, "is about Gatus itself and did not convert", "")
		}
	}
	im.unread("top of the file", top)
	return nil
}

func shown(o *obj) string {
	s := o.text("name")
	if g := o.text("group"); g != "" {
		s = g + "/" + s
	}
	return hideURL(shorten(s))
}

type gatusImport struct {
	*importing
	alerts map[string]*obj // default-alert by type
}

func (g *gatusImport) endpoint(where string, e *obj) {
	where += " (" + shown(e) + ")"
	d := &draft{where: where, group: e.text("group")}
	d.c.Name = e.text("name")
	if d.group != "" {
		g.label(d, "group", d.group)
	}
	labels := e.pairs("extra-labels")
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		g.label(d, k, labels[k])
	}
	d.c.Paused = e.no("enabled")
	raw := e.text("url")
	conditions := e.texts("conditions")
	if why := g.kindOf(d, e, raw); why != "" {
		g.note(where, "left out: "+why, "write it by hand")
		return
	}
	if strings.Contains(fmt.Sprint(e.m), "${") {
		g.note(where, "it holds ${...}, which Gatus takes from the environment; it stands as it is", "put the value in")
	}
	interval, ok := e.duration("interval", time.Nanosecond)
	if !ok || interval == 0 {
		if e.has("interval") {
			g.note(where, "interval "+quote(e.text("interval"))+" is not a duration; 1m is written", "")
		}
		interval = time.Minute
	}
	timeout := 10 * time.Second
	g.client(d, e.sub("client"), &timeout)
	g.times(d, interval, timeout)
	if d.kind == "http" {
		if d.c.Method = strings.ToUpper(e.text("method")); d.c.Method == "GET" {
			d.c.Method = ""
		}
		g.headers(d, e.pairs("headers"))
		body := e.text("body")
		if e.yes("graphql") {
			body = `{"query":` + strconv.Quote(body) + `}`
			if d.c.Headers["Content-Type"] == "" {
				g.headers(d, map[string]string{"Content-Type": "application/json"})
			}
		}
		if strings.Contains(body, "[ENDPOINT_") || strings.Contains(body, "[RANDOM_STRING_") {
			g.note(where, "the body holds placeholders of Gatus, which stand as they are", "replace them")
		}
		g.body(d, body)
	} else {
		for _, k := range []string{"method", "headers", "body", "graphql"} {
			if e.has(k) && !(k == "body" && slices.Contains([]string{"tcp", "tls", "udp", "websocket"}, d.kind)) {
				g.note(where, k+" is for HTTP and did not convert for the kind "+d.kind, "")
			}
		}
	}
	g.alerting(d, e)
	if !g.conditions(d, conditions) {
		return
	}
	e.get("ui")
	for _, k := range []string{"store", "always-run"} {
		if e.has(k) {
			g.note(where, k+" is for suites and did not convert", "")
		}
	}
	windows := e.subs("maintenance-windows")
	g.unread(where, e)
	if id := g.add(d); id != "" {
		for i, w := range windows {
			g.window(fmt.Sprintf("%s: maintenance-windows[%d]", where, i), d.c.Name+" maintenance", w, []string{id})
		}
	}
}

// kindOf sets the kind and its target; the text says why there is none.
func (g *gatusImport) kindOf(d *draft, e *obj, raw string) string {
	if raw == "" {
		return "it has no url"
	}
	if q := e.sub("dns"); q != nil {
		server := raw
		if !strings.Contains(server, "://") {
			if ip := net.ParseIP(server); ip != nil && strings.Contains(server, ":") {
				server = "[" + server + "]"
			}
			server = "dns://" + server
		}
		g.dns(d, server, q.text("query-name"), q.text("query-type"), "")
		g.unread(d.where+": dns", q)
		return ""
	}
	scheme, rest, _ := strings.Cut(raw, "://")
	switch scheme = strings.ToLower(scheme); scheme {
	case "http", "https":
		d.kind = "http"
		g.target(d, raw)
	case "tcp", "udp", "tls":
		d.kind = scheme
		g.target(d, raw)
		g.says(d, e.text("body"))
	case "starttls":
		g.starttls(d, rest)
	case "icmp":
		if ip := net.ParseIP(rest); ip != nil && strings.Contains(rest, ":") {
			rest = "[" + rest + "]"
		}
		g.icmp(d, rest)
	case "ws", "wss":
		d.kind = "websocket"
		g.target(d, raw)
		g.says(d, e.text("body"))
	case "grpc", "grpcs":
		u, err := url.Parse(raw)
		if err != nil {
			return "the url cannot be read"
		}
		g.grpc(d, u.Host, scheme == "grpcs", "")
	case "ssh":
		d.kind = "ssh"
		g.target(d, raw)
		if s := e.sub("ssh"); s != nil {
			s.get("username")
			g.note(d.where, "ssh: Vedette does not sign in; user, password, key and command did not convert", "")
		}
	default:
		return "no kind of check has the scheme " + quote(scheme)
	}
	return ""
}

func (g *gatusImport) client(d *draft, c *obj, timeout *time.Duration) {
	if c == nil {
		return
	}
	if t, ok := c.duration("timeout", time.Nanosecond); ok && t > 0 {
		*timeout = t
	}
	d.c.TLS.InsecureSkipVerify = c.yes("insecure")
	http := d.kind == "http"
	if c.yes("ignore-redirect") && http {
		f := false
		d.c.FollowRedirects = &f
	}
	switch network := c.text("network"); network {
	case "ip4":
		d.c.IPVersion = "4"
	case "ip6":
		d.c.IPVersion = "6"
	}
	if r := c.text("dns-resolver"); r != "" {
		proto, addr, ok := strings.Cut(r, "://")
		if host, _, err := net.SplitHostPort(addr); ok && err == nil && net.ParseIP(host) != nil {
			d.c.Resolver = addr
			if proto != "udp" {
				g.note(d.where, "client.dns-resolver is asked over UDP, and not over "+proto, "")
			}
		} else {
			g.note(d.where, "client.dns-resolver "+quote(r)+" did not convert", "set resolver: to an address such as 10.0.0.2:53")
		}
	}
	if p := c.text("proxy-url"); p != "" && http {
		g.proxy(d, p)
	}
	if o := c.sub("oauth2"); o != nil && http {
		g.oauth2(d, o.text("token-url"), o.text("client-id"), o.text("client-secret"), o.texts("scopes"))
		g.unread(d.where+": client.oauth2", o)
	}
	if t := c.sub("tls"); t != nil {
		d.c.TLS.CertFile, d.c.TLS.KeyFile = t.text("certificate-file"), t.text("private-key-file")
		t.get("renegotiation")
		g.unread(d.where+": client.tls", t)
	}
	g.unread(d.where+": client", c)
}

func (g *gatusImport) alerting(d *draft, e *obj) {
	told := false
	failures, recoveries := 0, 0
	for i, a := range e.subs("alerts") {
		kind := a.text("type")
		base := g.alerts[kind]
		if a.no("enabled") || !a.has("enabled") && base.no("enabled") {
			continue
		}
		n, s := cmpOr(a.count("failure-threshold"), base.count("failure-threshold"), 3), cmpOr(a.count("success-threshold"), base.count("success-threshold"), 2)
		if told && (n != failures || s != recoveries) {
			g.note(fmt.Sprintf("%s: alerts[%d]", d.where, i), "its thresholds differ from those of an alert before it; a check has one pair, the most eager is written", "")
			n, s = min(n, failures), min(s, recoveries)
		}
		failures, recoveries, told = n, s, true
		a.get("description")
		a.get("send-on-resolved")
		if a.has("description") {
			g.once(d.where, "descriptions of alerts did not convert", "alert.runbook takes a link")
		}
		if a.has("minimum-reminder-interval") || a.has("provider-override") {
			g.once(d.where, "minimum-reminder-interval and provider-override of alerts did not convert", "repeat_interval and routes are in the file that alertmanager: names")
		}
		g.unread(fmt.Sprintf("%s: alerts[%d]", d.where, i), a)
	}
	if !told {
		d.c.Alert.Severity = "none"
		g.once(d.where, "endpoints without alerts tell nobody in Gatus; this one and those like it are written with alert.severity none", "take that away where someone is to be told")
		return
	}
	g.thresholds(d, failures, recoveries)
}

func cmpOr(ns ...int) int {
	for _, n := range ns {
		if n > 0 {
			return n
		}
	}
	return 0
}

// window makes a maintenance window: start 23:00, duration 1h, every [Monday].
func (g *gatusImport) window(where, name string, m *obj, checks []string) {
	if m.no("enabled") {
		return
	}
	at, err := time.Parse("15:04", m.text("start"))
	length, ok := m.duration("duration", time.Nanosecond)
	if err != nil || !ok || length < time.Minute || length > 31*24*time.Hour {
		g.note(where, "left out: want a start such as 23:00 and a duration of a minute or more", "write the window by hand")
		return
	}
	zone := m.text("timezone")
	if _, err := time.LoadLocation(zone); err != nil || zone == "Local" {
		g.note(where, "the time zone "+quote(zone)+" is not known; the window is in UTC", "set zone")
		zone = ""
	}
	days := "*"
	if every := m.texts("every"); len(every) > 0 {
		var ns []string
		for d := time.Sunday; d <= time.Saturday; d++ {
			if slices.ContainsFunc(every, func(s string) bool { return strings.EqualFold(s, d.String()) }) {
				ns = append(ns, strconv.Itoa(int(d)))
			}
		}
		if len(ns) < len(every) {
			g.note(where, "not all days of every are known", "see the window's cron")
		}
		if len(ns) == 0 {
			return
		}
		days = strings.Join(ns, ",")
	}
	g.unread(where, m)
	g.windows = append(g.windows, window{Name: shortName(name), Checks: checks, Cron: fmt.Sprintf("%d %d * * %s", at.Minute(), at.Hour(), days), Duration: shortDuration(length.String()), Zone: zone})
}

func shortName(s string) string {
	if len(s) > 180 {
		s = strings.ToValidUTF8(s[:180], "")
	}
	return s
}

var (
	comparison = regexp.MustCompile(`^\s*(.*?)\s*(==|!=|<=|>=|<|>)\s*(.*?)\s*$`)
	function   = regexp.MustCompile(`^(len|has|pat|any|age)\((.*)\)$`)
)

// conditions makes expectations of conditions; false: the endpoint cannot be a
// check, which is noted.
func (g *gatusImport) conditions(d *draft, conditions []string) bool {
	good, named := allCodes(), false
	for i, text := range conditions {
		where := fmt.Sprintf("%s: conditions[%d]", d.where, i)
		m := comparison.FindStringSubmatch(text)
		if m == nil {
			g.note(where, quote(text)+" is not a comparison", "write it by hand under expect")
			continue
		}
		left, op, right := m[1], m[2], m[3]
		if !strings.Contains(left, "[") && strings.Contains(right, "[") {
			left, right = right, left
			op = map[string]string{"<": ">", ">": "<", "<=": ">=", ">=": "<="}[op] + map[string]string{"==": "==", "!=": "!="}[op]
		}
		switch {
		case left == "[CONNECTED]":
			if (op == "==") != (right == "true") {
				g.note(d.where, "left out: "+quote(text)+" wants the target to be away, which no check of Vedette does", "write a rule on probe_success")
				return false
			}
		case left == "[STATUS]" && d.kind == "http":
			if keepCodes(good, op, right) {
				named = true
			} else {
				g.note(where, quote(text)+" did not convert", "write it by hand under expect.status")
			}
		case !g.condition(d, left, op, right):
			g.note(where, quote(text)+" did not convert", "write it by hand under expect")
		}
	}
	if d.kind != "http" {
		return true
	}
	if !named {
		g.once(d.where, "no condition names [STATUS], so any status was good; it is kept so here and where it is the same", "set expect.status to 2xx where it should be")
	}
	d.setStatuses(good)
	return true
}

// keepCodes keeps the codes for which a condition holds.
func keepCodes(good *codes, op, right string) bool {
	if f := function.FindStringSubmatch(right); f != nil {
		if f[1] != "any" || op != "==" && op != "!=" {
			return false
		}
		set := map[int]bool{}
		for _, s := range strings.Split(f[2], ",") {
			n, err := strconv.Atoi(strings.TrimSpace(s))
			if err != nil {
				return false
			}
			set[n] = true
		}
		good.keep(func(c int) bool { return set[c] == (op == "==") })
		return true
	}
	n, err := strconv.Atoi(right)
	if err != nil {
		return false
	}
	holds := map[string]func(int) bool{
		"==": func(c int) bool { return c == n }, "!=": func(c int) bool { return c != n }, "<": func(c int) bool { return c < n },
		"<=": func(c int) bool { return c <= n }, ">": func(c int) bool { return c > n }, ">=": func(c int) bool { return c >= n },
	}
	good.keep(holds[op])
	return true
}

// condition makes an expectation of one condition; false: it has no counterpart.
func (g *gatusImport) condition(d *draft, left, op, right string) bool {
	e := &d.c.Expect
	switch left {
	case "[RESPONSE_TIME]":
		ms, err := strconv.ParseFloat(strings.TrimSuffix(right, "ms"), 64)
		if err != nil || op != "<" && op != "<=" || !(ms > 0) || ms > 1e9 {
			return false
		}
		if s := ms / 1000; e.MaxSeconds == 0 || s < e.MaxSeconds {
			e.MaxSeconds = s
		}
		return true
	case "[CERTIFICATE_EXPIRATION]":
		left, ok := parseDuration(right, time.Millisecond)
		if !ok || op != ">" && op != ">=" || left <= 0 {
			return false
		}
		days := int(math.Ceil(left.Hours() / 24))
		if time.Duration(days)*24*time.Hour != left {
			g.note(d.where, fmt.Sprintf("[CERTIFICATE_EXPIRATION] %s %s is written as %d days", op, right, days), "")
		}
		e.CertificateDays = max(e.CertificateDays, days)
		return true
	case "[DNS_RCODE]":
		return op == "==" && d.kind == "dns" && d.dnsRcode(right)
	case "[STATUS]":
		return d.kind == "ssh" && right == "0" && op == "==" // of the command
	}
	f := function.FindStringSubmatch(left)
	if f != nil {
		left = f[2]
	}
	rest, ok := strings.CutPrefix(left, "[BODY]")
	if !ok {
		return false
	}
	if d.kind == "dns" && rest == "" && f == nil && op == "==" {
		return d.dnsAnswer(right)
	}
	if rest == "" && f == nil && d.hears(op, right) {
		return true
	}
	if d.kind != "http" {
		return false
	}
	p, ok := parsePath(rest)
	if !ok {
		return false
	}
	switch {
	case f != nil && f[1] == "len":
		n, err := strconv.Atoi(right)
		if err == nil {
			d.cel = append(d.cel, fmt.Sprintf("size(%s) %s %d", p.cel(), op, n))
		}
		return err == nil
	case f != nil && f[1] == "has":
		if op != "==" && op != "!=" || right != "true" && right != "false" {
			return false
		}
		want := (op == "==") == (right == "true")
		e.JSON = append(e.JSON, probe.JSONRule{Path: p.jsonPath(), Exists: &want})
		return true
	case f != nil:
		return false
	}
	if r := function.FindStringSubmatch(right); r != nil {
		re := ""
		switch r[1] {
		case "pat":
			if text, plain := containsOnly(r[2]); plain && len(p) == 0 && (op == "==" || op == "!=") {
				d.wantBody(text, op == "!=")
				return true
			}
			re = globRegex(r[2])
		case "any":
			re = anyRegex(r[2])
		}
		switch {
		case re == "" || op != "==" && op != "!=":
			return false
		case len(p) == 0:
			d.wantRegex(re, op == "!=")
		case op == "==":
			return d.wantJSON(p, "matches", re)
		default:
			d.cel = append(d.cel, fmt.Sprintf("!string(%s).matches(%s)", p.cel(), celText(re)))
		}
		return true
	}
	if len(p) == 0 {
		if op != "==" && op != "!=" {
			return false
		}
		d.wantRegex(`(?s)\A\s*`+regexp.QuoteMeta(right)+`\s*\z`, op == "!=")
		return true
	}
	return d.wantJSON(p, op, right)
}

// containsOnly is the text of a pattern such as *text*.
func containsOnly(glob string) (string, bool) {
	if len(glob) < 3 || glob[0] != '*' || glob[len(glob)-1] != '*' {
		return "", false
	}
	in := glob[1 : len(glob)-1]
	return in, !strings.ContainsAny(in, `*?[\`)
}

// globRegex is a pattern as a regular expression of the whole text.
func globRegex(glob string) string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for _, r := range glob {
		switch r {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	b.WriteString(`\z`)
	return b.String()
}

// anyRegex is a list of texts and patterns as one expression; "" when it cannot
// be one.
func anyRegex(list string) string {
	var alts []string
	for _, s := range strings.Split(list, ",") {
		s = strings.TrimSpace(s)
		switch f := function.FindStringSubmatch(s); {
		case f != nil && f[1] == "pat":
			alts = append(alts, strings.TrimSuffix(strings.TrimPrefix(globRegex(f[2]), `(?s)\A`), `\z`))
		case f != nil:
			return ""
		default:
			alts = append(alts, regexp.QuoteMeta(s))
		}
	}
	return `(?s)\A(?:` + strings.Join(alts, "|") + `)\z`
}
