package importer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cloudprober reads its textproto.
func (im *importing) cloudprober(text []byte) error {
	if bytes.Contains(text, []byte("{{")) {
		return errors.New("the file is a template; want it filled in, as cloudprober --dumpconfig prints it")
	}
	m, err := readTextproto(text)
	if err != nil {
		return fmt.Errorf("want textproto: %w", err)
	}
	top := newObj(m)
	probes := top.subs("probe")
	if len(probes) == 0 {
		return errors.New("probe: is missing; want the configuration of cloudprober in textproto")
	}
	c := &cloudprober{im, map[string]*obj{}}
	for _, s := range top.subs("shared_targets") {
		c.shared[s.text("name")] = s.sub("targets")
	}
	for i, p := range probes {
		c.probe(fmt.Sprintf("probe[%d] (%s)", i, shown(p)), p)
	}
	im.unread("top of the file", top)
	return nil
}

type cloudprober struct {
	*importing
	shared map[string]*obj
}

// cloudTarget is one target of a probe.
type cloudTarget struct {
	name, host, url string
	port            int
	labels          map[string]string
}

func (c *cloudprober) targets(where string, t *obj) (out []cloudTarget) {
	if name := t.text("shared_targets"); name != "" {
		if t = c.shared[name]; t == nil {
			c.note(where, "there are no shared_targets "+quote(name), "")
			return nil
		}
	}
	for _, host := range strings.Split(t.text("host_names"), ",") {
		host = strings.TrimSpace(host)
		if host == "" {
			continue
		}
		x := cloudTarget{name: host, host: host}
		if h, p, err := net.SplitHostPort(host); err == nil {
			if n, err := strconv.Atoi(p); err == nil {
				x.host, x.port = h, n
			}
		}
		out = append(out, x)
	}
	for _, e := range t.subs("endpoint") {
		x := cloudTarget{name: e.text("name"), host: cmp.Or(e.text("ip"), e.text("name")), url: e.text("url"), port: e.count("port"), labels: e.pairs("labels")}
		for _, l := range e.subs("labels") { // a map is a list of key and value
			if k := l.text("key"); k != "" {
				x.labels[k] = l.text("value")
			}
		}
		delete(x.labels, "key")
		delete(x.labels, "value")
		out = append(out, x)
	}
	if len(out) == 0 && t.has("dummy_targets") {
		return []cloudTarget{{}}
	}
	for _, k := range []string{"gce_targets", "rds_targets", "file_targets", "k8s", "regex"} {
		if t.has(k) {
			c.note(where, "targets."+k+" did not convert: targets that are found are not checks", "list them, or let prometheus: scrape them")
		}
	}
	return out
}

func (c *cloudprober) probe(where string, p *obj) {
	kind := strings.ToUpper(p.text("type"))
	if n, err := strconv.Atoi(kind); err == nil {
		kind = map[int]string{0: "PING", 1: "HTTP", 2: "DNS", 3: "EXTERNAL", 4: "UDP", 5: "UDP_LISTENER", 6: "GRPC", 7: "TCP", 8: "BROWSER"}[n]
	}
	conf := map[string]string{"PING": "ping_probe", "HTTP": "http_probe", "DNS": "dns_probe", "EXTERNAL": "external_probe", "GRPC": "grpc_probe", "TCP": "tcp_probe"}[kind]
	if conf == "" {
		c.note(where, "left out: probes of the type "+quote(cmp.Or(kind, "none"))+" have no counterpart", "")
		return
	}
	if p.yes("negative_test") {
		c.note(where, "left out: a negative test wants the target to be away, which no check of Vedette does", "write a rule on probe_success")
		return
	}
	interval := c.period(where, p, "interval", 2*time.Second)
	timeout := c.period(where, p, "timeout", time.Second)
	targets := c.targets(where, p.sub("targets"))
	if len(targets) == 0 && kind == "EXTERNAL" {
		targets = []cloudTarget{{}}
	}
	if len(targets) == 0 {
		c.note(where, "left out: it names no targets", "write the checks by hand")
		return
	}
	s := p.sub(conf)
	validators := p.subs("validator")
	for _, t := range targets {
		d := &draft{where: where, group: p.text("name")}
		d.c.Name = p.text("name")
		if len(targets) > 1 {
			d.c.Name += " " + cmp.Or(t.name, t.host)
			d.where += " target " + quote(cmp.Or(t.name, t.host))
		}
		before := len(c.notes)
		c.one(d, kind, s, t, p, validators, interval, timeout)
		c.fold(before, where) // what is true of all is told once
	}
	p.get("latency_unit")
	for _, k := range []string{"latency_distribution", "latency_metric_name", "stats_export_interval_msec", "debug_options"} {
		p.get(k)
	}
	for _, k := range []string{"source_ip", "source_interface", "run_on", "schedule"} {
		if p.has(k) {
			c.note(where, k+" did not convert", map[string]string{"run_on": "set locations", "schedule": "write a maintenance window"}[k])
		}
	}
	c.unread(where, p)
	c.unread(where+": "+conf, s, "resolve_first", "keep_alive", "max_idle_conns", "interval_between_targets_msec", "latency_breakdown", "requests_interval_msec")
}

// period is name as a duration, or name_msec.
func (c *cloudprober) period(where string, p *obj, name string, common time.Duration) time.Duration {
	if d, ok := p.duration(name, time.Second); ok && d > 0 {
		return d
	}
	if d, ok := p.duration(name+"_msec", time.Millisecond); ok && d > 0 {
		return d
	}
	if p.has(name) || p.has(name+"_msec") {
		c.note(where, name+" is not a duration; "+common.String()+" is written", "")
	}
	return common
}

func (c *cloudprober) one(d *draft, kind string, s *obj, t cloudTarget, p *obj, validators []*obj, interval, timeout time.Duration) {
	for _, k := range slices.Sorted(maps.Keys(t.labels)) {
		c.label(d, k, t.labels[k])
	}
	c.label(d, "probe", p.text("name"))
	for _, l := range p.subs("additional_label") {
		if v := l.text("value"); !strings.Contains(v, "@") {
			c.label(d, l.text("key"), v)
		} else {
			c.note(d.where, "additional_label "+quote(l.text("key"))+" is made of the target's own labels and did not convert", "set it under labels")
		}
	}
	switch v := p.text("ip_version"); v {
	case "IPV4", "1":
		d.c.IPVersion = "4"
	case "IPV6", "2":
		d.c.IPVersion = "6"
	}
	port := cmp.Or(s.count("port"), t.port)
	var why string
	switch kind {
	case "HTTP":
		why = c.http(d, s, t, port)
	case "TCP":
		d.kind = "tcp"
		scheme := "tcp://"
		if s.yes("tls_handshake") {
			d.kind, scheme = "tls", "tls://"
			c.tls(d, s.sub("tls_config"))
		}
		if port == 0 {
			why = "it has no port"
		}
		c.target(d, scheme+hostPort(t.host, port))
	case "PING":
		c.icmp(d, hostPort(t.host, 0))
		d.section = "icmp"
		if n := s.count("packets_per_probe"); n > 0 {
			d.set("count", min(n, 20))
		} else {
			d.set("count", 2) // cloudprober's default
		}
		if n := s.count("payload_size"); n > 0 {
			d.set("payload_bytes", n)
		}
	case "DNS":
		if port == 53 {
			port = 0
		}
		c.dns(d, "dns://"+hostPort(t.host, port), cmp.Or(s.text("resolved_domain"), "www.google.com."), cmp.Or(s.text("query_type"), "MX"), "")
		d.set("min_answers", s.count("min_answers"))
		if proto := s.text("dns_proto"); proto != "" && proto != "UDP" {
			d.set("transport", strings.ToLower(strings.TrimPrefix(proto, "TCP_")))
		}
	case "GRPC":
		if method := s.text("method"); method != "HEALTH_CHECK" && method != "4" {
			c.note(d.where, "the health service is asked, and not the method "+quote(cmp.Or(method, "ECHO")), "")
		}
		c.tls(d, s.sub("tls_config"))
		c.grpc(d, hostPort(t.host, port), !s.yes("insecure_transport"), s.text("health_check_service"))
	case "EXTERNAL":
		why = c.external(d, s, t)
	}
	if why != "" {
		c.note(d.where, "left out: "+why, "write it by hand")
		return
	}
	if s.count("requests_per_probe") > 1 {
		c.note(d.where, "requests_per_probe did not convert: a run is one request", "set a shorter interval")
	}
	c.times(d, interval, timeout)
	c.alert(d, p)
	for i, v := range validators {
		c.validator(d, fmt.Sprintf("%s: validator[%d]", d.where, i), v)
	}
	c.add(d)
}

func (c *cloudprober) http(d *draft, s *obj, t cloudTarget, port int) string {
	d.kind = "http"
	u := &url.URL{Scheme: strings.ToLower(cmp.Or(s.text("scheme"), s.text("protocol"), "http")), Path: "/"}
	raw := t.url
	if u.Scheme == "1" {
		u.Scheme = "https"
	}
	if raw == "" {
		if t.host == "" {
			return "it has no host"
		}
		if u.Scheme == "https" && port == 443 || u.Scheme == "http" && port == 80 {
			port = 0
		}
		u.Host = hostPort(t.host, port)
		raw = u.Scheme + "://" + u.Host
	}
	if rel := s.text("relative_url"); rel != "" {
		if !strings.HasPrefix(rel, "/") {
			rel = "/" + rel
		}
		base, err := url.Parse(raw)
		if err != nil {
			return "its url cannot be read"
		}
		base.Path, base.RawQuery, base.RawPath = "", "", ""
		raw = base.String() + rel
	}
	c.target(d, raw)
	methods := map[string]string{"0": "", "1": "POST", "2": "PUT", "3": "HEAD", "4": "DELETE", "5": "PATCH", "6": "OPTIONS", "GET": ""}
	d.c.Method = s.text("method")
	if m, ok := methods[d.c.Method]; ok {
		d.c.Method = m
	}
	h := s.pairs("header")
	delete(h, "key")
	delete(h, "value")
	for _, kv := range append(s.subs("header"), s.subs("headers")...) {
		if name := cmp.Or(kv.text("key"), kv.text("name")); name != "" {
			h[name] = kv.text("value")
		}
	}
	if ua := s.text("user_agent"); ua != "" {
		h["User-Agent"] = ua
	}
	c.headers(d, h)
	bodies := s.texts("body")
	if len(bodies) > 1 {
		c.note(d.where, "only the first of its bodies is sent", "write a flow")
	}
	if len(bodies) > 0 {
		c.body(d, bodies[0])
		if d.c.Method == "" {
			c.note(d.where, "it sends a body with GET, as it did", "set method, if that was not meant")
		}
	}
	if f := s.text("body_file"); f != "" && len(bodies) == 0 {
		d.c.BodyFile = f
		c.note(d.where, "body_file "+quote(f)+" is named as it was", "copy it, and mind that the path is relative to vedette.yml")
	}
	d.c.TLS.InsecureSkipVerify = s.yes("disable_cert_validation")
	c.tls(d, s.sub("tls_config"))
	if p := s.text("proxy_url"); p != "" {
		c.proxy(d, p)
	}
	if n, ok := s.number("max_redirects"); ok {
		switch f := false; {
		case n <= 0:
			d.c.FollowRedirects = &f
		default:
			d.c.MaxRedirects = int(min(n, 100))
		}
	}
	s.get("disable_http2")
	if s.has("oauth_config") {
		c.note(d.where, "oauth_config did not convert", "set oauth2 or bearer_token_file")
	}
	// Any status is good until a validator says otherwise.
	d.setStatuses(allCodes())
	return ""
}

func (c *cloudprober) tls(d *draft, t *obj) {
	if t == nil {
		return
	}
	d.c.TLS.CAFile, d.c.TLS.CertFile, d.c.TLS.KeyFile = t.text("ca_cert_file"), t.text("tls_cert_file"), t.text("tls_key_file")
	d.c.TLS.ServerName = t.text("server_name")
	d.c.TLS.InsecureSkipVerify = d.c.TLS.InsecureSkipVerify || t.yes("disable_cert_validation")
	switch v := t.text("min_tls_version"); v {
	case "TLS_1_2", "3":
		d.c.Expect.TLSVersion = "1.2"
	case "TLS_1_3", "4":
		d.c.Expect.TLSVersion = "1.3"
	}
	if d.kind != "http" {
		d.c.Expect.TLSVersion = ""
	}
}

func (c *cloudprober) external(d *draft, s *obj, t cloudTarget) string {
	d.kind, d.section = "exec", "exec"
	command := s.text("command")
	if m := s.text("mode"); m == "SERVER" || m == "1" {
		return "a process that serves many probes has no counterpart"
	}
	if command == "" {
		return "it has no command"
	}
	if strings.Contains(command, "@") {
		port := ""
		if t.port > 0 {
			port = strconv.Itoa(t.port)
		}
		command = strings.NewReplacer("@target@", t.name, "@target.name@", t.name, "@target.ip@", t.host, "@address@", t.host, "@port@", port, "@probe@", d.group).Replace(command)
	}
	args, ok := splitCommand(command)
	if !ok || len(args) == 0 {
		return "its command cannot be split into words"
	}
	if !c.o.Secrets && secretText.MatchString(command) {
		return "its command looks as if it held a secret; import with --with-secrets copies it"
	}
	env := s.pairs("env_var")
	delete(env, "key")
	delete(env, "value")
	for _, kv := range s.subs("env_var") { // a map is a list of key and value
		if k := kv.text("key"); k != "" {
			env[k] = kv.text("value")
		}
	}
	c.command(d, args, env)
	s.get("output_as_metrics")
	return ""
}

// splitCommand splits a command line into words as a shell does, without
// anything else of a shell.
func splitCommand(s string) (words []string, ok bool) {
	var b strings.Builder
	in, quoted := false, rune(0)
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			b.WriteRune(r)
			escaped = false
		case r == '\\' && quoted != '\'':
			escaped, in = true, true
		case quoted != 0:
			if r == quoted {
				quoted = 0
			} else {
				b.WriteRune(r)
			}
		case r == '"' || r == '\'':
			quoted, in = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if in {
				words = append(words, b.String())
				b.Reset()
				in = false
			}
		default:
			b.WriteRune(r)
			in = true
		}
	}
	if in {
		words = append(words, b.String())
	}
	return words, quoted == 0 && !escaped
}

func (c *cloudprober) alert(d *draft, p *obj) {
	alerts := p.subs("alert")
	if len(alerts) == 0 {
		return
	}
	a := alerts[0]
	if len(alerts) > 1 {
		c.note(d.where, "only the first of its alerts converts", "write rules for the others")
	}
	cond := a.sub("condition")
	failures, total := cond.count("failures"), cond.count("total")
	switch {
	case failures <= 0:
		c.thresholds(d, 1, 1)
	case total > failures && total <= 100:
		d.c.Alert.FailedOf = fmt.Sprintf("%d of %d", failures, total)
	default:
		c.thresholds(d, failures, 1)
	}
	switch sev := a.text("severity"); sev {
	case "WARNING", "3", "INFO", "4":
		d.c.Alert.Severity = "warning"
	}
	if a.has("notify") {
		c.once(d.where, "notify of alerts did not convert", "write the routes into the file that alertmanager: names; see docs/notifications.md")
	}
	if link := a.text("playbook_url_template"); strings.HasPrefix(link, "http") && !strings.Contains(link, "@") {
		d.c.Alert.Runbook = link
	}
}

var headerToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (c *cloudprober) validator(d *draft, where string, v *obj) {
	v.get("name")
	if h := v.sub("http_validator"); h != nil && d.kind == "http" {
		c.httpValidator(d, where, h)
		c.unread(where, h)
	}
	if re := v.text("regex"); re != "" {
		if d.kind == "http" {
			d.wantRegex(re, false)
		} else {
			c.note(where, "regex did not convert for the kind "+d.kind, "")
		}
	}
	if j := v.sub("json_validator"); j != nil {
		if !c.jq(d, j.text("jq_filter")) {
			c.note(where, "the filter "+quote(j.text("jq_filter"))+" did not convert", "write it under expect.json or expect.cel")
		}
	}
	c.unread(where, v)
}

func (c *cloudprober) httpValidator(d *draft, where string, h *obj) {
	good := allCodes()
	set := func(key string, want bool) bool {
		in := map[int]bool{}
		for _, s := range strings.Split(h.text(key), ",") {
			if strings.TrimSpace(s) == "" {
				continue
			}
			lo, hi, ok := parseCodes(s)
			if !ok {
				c.note(where, key+" "+quote(s)+" did not convert", "")
				continue
			}
			for n := lo; n <= hi; n++ {
				in[n] = true
			}
		}
		if len(in) > 0 {
			good.keep(func(n int) bool { return in[n] == want })
		}
		return len(in) > 0
	}
	ok, bad := set("success_status_codes", true), set("failure_status_codes", false)
	if ok || bad {
		d.c.Expect.Status = nil
		d.setStatuses(good)
	}
	for key, want := range map[string]bool{"success_header": true, "failure_header": false} {
		x := h.sub(key)
		if x == nil {
			continue
		}
		name, re := x.text("name"), x.text("value_regex")
		if !want || !headerToken.MatchString(name) {
			c.note(where, key+" did not convert", "write it under expect.cel, such as !(\"x-bad\" in headers)")
			continue
		}
		if d.c.Expect.Headers == nil {
			d.c.Expect.Headers = map[string]string{}
		}
		if re == "" {
			re = ".*"
		} else {
			re = ".*(?:" + re + ").*" // it need not match the whole
		}
		d.c.Expect.Headers[name] = re
	}
}

var jqCompare = regexp.MustCompile(`^\s*\.([A-Za-z0-9_.\[\]"]+)\s*(==|!=|<=|>=|<|>)\s*("[^"\\]*"|-?[0-9.]+|true|false|null)\s*$`)

// jq converts a filter that is one comparison.
func (c *cloudprober) jq(d *draft, filter string) bool {
	m := jqCompare.FindStringSubmatch(filter)
	if m == nil || d.kind != "http" {
		return false
	}
	p, ok := parsePath(m[1])
	if !ok || len(p) == 0 {
		return false
	}
	if n, err := strconv.ParseFloat(m[3], 64); err == nil && !strings.Contains(m[3], ".") {
		if n < -1e15 || n > 1e15 {
			return false
		}
		d.cel = append(d.cel, fmt.Sprintf("%s %s %d", p.cel(), m[2], int64(n)))
		return true
	}
	d.cel = append(d.cel, fmt.Sprintf("%s %s %s", p.cel(), m[2], m[3]))
	return true
}
