package importer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/vedette-sre/vedette/internal/probe"
)

// blackbox reads a blackbox.yml and the scrape jobs of a prometheus.yml that use
// its modules: one check per target.
func (im *importing) blackbox(text []byte) error {
	top, err := readYAML(text)
	if err != nil {
		return fmt.Errorf("blackbox.yml: %w", err)
	}
	modules := top.sub("modules")
	if modules == nil {
		return errors.New("modules: is missing; want a blackbox.yml")
	}
	if len(im.o.Prometheus) == 0 {
		return errors.New("a blackbox.yml names no targets; want --prometheus with the prometheus.yml whose jobs use it")
	}
	prom, err := readYAML(im.o.Prometheus)
	if err != nil {
		return fmt.Errorf("prometheus.yml: %w", err)
	}
	b := &blackbox{im, modules, prom.sub("global")}
	jobs, found := prom.subs("scrape_configs"), false
	used := map[string]bool{}
	for i, job := range jobs {
		params := job.sub("params")
		if job.text("metrics_path") != "/probe" && !params.has("module") {
			continue
		}
		found = true
		b.job(fmt.Sprintf("prometheus.yml scrape_configs[%d] (%s)", i, shorten(job.text("job_name"))), job, used)
	}
	if !found {
		return errors.New("prometheus.yml: no job has metrics_path: /probe; want the file whose jobs use this blackbox.yml")
	}
	if prom.has("scrape_config_files") {
		im.note("prometheus.yml scrape_config_files", "these files were not read", "import them as --prometheus as well")
	}
	for _, name := range slices.Sorted(maps.Keys(modules.m)) {
		if !used[name] {
			im.note("blackbox.yml modules."+name, "no target uses it; it made no check", "")
		}
	}
	im.once("prometheus.yml rule_files", "checks alert by themselves; rules on probe_success would tell a second time", "set alert.severity to none, or take those rules out")
	return nil
}

type blackbox struct {
	*importing
	modules *obj
	global  *obj
}

func (b *blackbox) job(where string, job *obj, used map[string]bool) {
	params := job.sub("params")
	names := params.texts("module")
	if len(names) == 0 {
		names = []string{"http_2xx"} // as blackbox_exporter has it
	}
	if len(names) > 1 {
		b.note(where, "only the first of its modules is used, as blackbox_exporter does", "")
	}
	used[names[0]] = true
	module := b.modules.sub(names[0])
	if module == nil {
		b.note(where, "left out: blackbox.yml has no module "+quote(names[0]), "")
		return
	}
	interval, ok := job.duration("scrape_interval", time.Second)
	if !ok || interval == 0 {
		if interval, ok = b.global.duration("scrape_interval", time.Second); !ok || interval == 0 {
			interval = time.Minute
		}
	}
	timeout, ok := job.duration("scrape_timeout", time.Second)
	if !ok || timeout == 0 {
		if timeout, ok = b.global.duration("scrape_timeout", time.Second); !ok || timeout == 0 {
			timeout = 10 * time.Second
		}
	}
	if t, ok := module.duration("timeout", time.Second); ok && t > 0 {
		timeout = min(timeout, t)
	}
	timeout = min(timeout, interval)
	host := b.relabels(where, job)
	host = cmp.Or(params.text("hostname"), host)
	made, name := 0, job.text("job_name")
	one := func(at, target string, labels map[string]string) {
		made++
		d := &draft{where: at + " " + quote(target), group: name}
		d.c.Name = strings.TrimSpace(name + " " + hideURL(target))
		if name != "" {
			b.label(d, "job", name)
		}
		for _, k := range slices.Sorted(maps.Keys(labels)) {
			if !strings.HasPrefix(k, "__") {
				b.label(d, k, labels[k])
			}
		}
		b.times(d, interval, timeout)
		before := len(b.notes)
		defer b.fold(before, where) // what is true of all targets is told once
		b.module(d, names[0], module, target, host)
	}
	for i, s := range job.subs("static_configs") {
		labels := s.pairs("labels")
		for _, t := range s.texts("targets") {
			one(fmt.Sprintf("%s: static_configs[%d]", where, i), t, labels)
		}
	}
	if made == 0 {
		for _, t := range params.texts("target") {
			one(where+": params.target", t, nil)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(job.m)) {
		if strings.HasSuffix(k, "_sd_configs") {
			made++
			b.note(where, k+" did not convert: targets that are found are not checks", "list them, or keep the job: /probe serves it, see docs/migrating.md")
		}
	}
	if made == 0 {
		b.note(where, "left out: it names no targets", "")
	}
	for _, k := range []string{"basic_auth", "authorization", "tls_config", "scheme", "proxy_url"} {
		if job.has(k) {
			b.note(where, k+" of the job is for the way to blackbox_exporter and was not used", "")
		}
	}
	if job.has("metric_relabel_configs") {
		b.note(where, "metric_relabel_configs did not convert", "")
	}
}

// relabels notes what is more than the usual three; a fixed hostname is returned.
func (b *blackbox) relabels(where string, job *obj) (host string) {
	for i, r := range job.subs("relabel_configs") {
		target, from := r.text("target_label"), strings.Join(r.texts("source_labels"), ",")
		switch {
		case target == "__param_target" && from == "__address__" && !r.has("replacement") && !r.has("regex"),
			target == "instance" && (from == "__param_target" || from == "__address__") && !r.has("regex"),
			target == "__address__" && from == "":
		case target == "__param_hostname" && from == "" && r.has("replacement"):
			host = r.text("replacement")
		default:
			b.note(where, fmt.Sprintf("relabel_configs[%d] (target_label %s) did not convert", i, quote(target)), "see whether names and labels are as they should be")
		}
	}
	return host
}

func (b *blackbox) module(d *draft, name string, m *obj, target, host string) {
	prober := m.text("prober")
	if target == "" {
		b.note(d.where, "left out: it has no target", "")
		return
	}
	s := m.sub(prober)
	var why string
	switch prober {
	case "http":
		why = b.http(d, s, target, host)
	case "tcp":
		d.kind, d.section = "tcp", "tcp"
		scheme := "tcp://"
		if s.yes("tls") {
			d.kind, scheme = "tls", "tls://"
		}
		if _, port, err := net.SplitHostPort(target); err != nil || port == "" {
			why = "want a target with a port"
			break
		}
		b.target(d, scheme+target)
		if !b.dialogue(d, s.subs("query_response"), d.kind == "tls") {
			b.note(d.where, "expect_bytes and labels of query_response did not convert", "")
		}
		if s.has("tls_config") {
			b.tls(d, s.sub("tls_config"))
		}
	case "icmp":
		b.icmp(d, hostPort(target, 0))
		d.section = "icmp"
		for from, to := range map[string]string{"payload_size": "payload_bytes", "ttl": "ttl"} {
			if n := s.count(from); n > 0 {
				d.set(to, n)
			}
		}
		slices.SortFunc(d.settings, func(x, y yaml.MapItem) int { return cmp.Compare(fmt.Sprint(x.Key), fmt.Sprint(y.Key)) })
	case "dns":
		h, port, err := net.SplitHostPort(target)
		if err != nil {
			h, port = strings.Trim(target, "[]"), ""
		}
		server := "dns://" + hostPort(h, 0)
		if port != "" && port != "53" {
			server += ":" + port
		}
		b.dns(d, server, s.text("query_name"), cmp.Or(s.text("query_type"), "ANY"), "")
		b.dnsRules(d, name, s)
	case "grpc":
		b.grpc(d, target, s.yes("tls"), s.text("service"))
		if s.has("tls_config") {
			b.tls(d, s.sub("tls_config"))
		}
	default:
		why = "module " + name + " has the prober " + quote(prober) + ", which has no counterpart"
	}
	if why != "" {
		b.note(d.where, "left out: "+why, "write it by hand")
		return
	}
	b.ipVersion(d, s)
	before := len(b.notes)
	b.unread("blackbox.yml modules."+name+": "+prober, s)
	b.fold(before, "module "+name) // told once for all jobs
	b.add(d)
}

// dnsRules are what a module wants of an answer.
func (b *blackbox) dnsRules(d *draft, name string, s *obj) {
	if p := s.text("transport_protocol"); s.yes("dns_over_tls") {
		d.set("transport", "tls")
	} else if p == "tcp" {
		d.set("transport", "tcp")
	}
	if s.no("recursion_desired") {
		d.set("recursion", false)
	}
	if r := s.texts("valid_rcodes"); len(r) > 0 {
		d.set("rcode", r)
	}
	d.set("min_answers", 0) // an empty answer is good
	a := s.sub("validate_answer_rrs")
	want := a.texts("fail_if_none_matches_regexp")
	if not := a.texts("fail_if_not_matches_regexp"); len(not) > 0 {
		b.note(d.where, "module "+name+": fail_if_not_matches_regexp wants every answer to match; the check wants one that does", "see dns.matches and dns.not_matches")
		want = append(want, not...)
	}
	if len(want) > 0 {
		d.set("matches", want)
	}
	if bad := a.texts("fail_if_matches_regexp"); len(bad) > 0 {
		d.set("not_matches", bad)
	}
	b.unread("blackbox.yml modules."+name+": dns.validate_answer_rrs", a)
}

func (b *blackbox) ipVersion(d *draft, s *obj) {
	prefer := s.text("preferred_ip_protocol")
	if prefer == "" {
		s.get("ip_protocol_fallback")
		return
	}
	n := strings.TrimPrefix(prefer, "ip")
	if n != "4" && n != "6" {
		return
	}
	d.c.IPVersion = "prefer" + n
	if s.no("ip_protocol_fallback") {
		d.c.IPVersion = n
	}
	if u, err := url.Parse(d.c.URL); err == nil && net.ParseIP(u.Hostname()) != nil {
		d.c.IPVersion = "" // a literal address is of its own version
	}
}

func (b *blackbox) http(d *draft, s *obj, target, host string) string {
	d.kind = "http"
	if !strings.HasPrefix(target, "http://") && !strings.HasPrefix(target, "https://") {
		target = "http://" + target
	}
	b.target(d, target)
	if d.c.Method = strings.ToUpper(s.text("method")); d.c.Method == "GET" {
		d.c.Method = ""
	}
	secure := strings.HasPrefix(d.c.URL, "https://")
	if s.yes("fail_if_ssl") || s.yes("fail_if_not_ssl") {
		switch {
		case s.yes("fail_if_not_ssl") && secure && s.no("follow_redirects"):
		case s.yes("fail_if_not_ssl"):
			b.note(d.where, "fail_if_not_ssl did not convert", "begin the url with https://")
		default:
			b.note(d.where, "fail_if_ssl did not convert", "")
		}
	}
	if a := s.sub("basic_auth"); a != nil {
		if f := a.text("password_file"); f != "" {
			d.c.BasicAuth = probe.BasicAuth{Username: a.text("username"), PasswordFile: f}
			b.path(d, "basic_auth.password_file", f)
		} else {
			b.basicAuth(d, a.text("username"), a.text("password"))
		}
		b.unread(d.where+": basic_auth", a)
	}
	b.authorization(d, s)
	h := s.pairs("headers")
	if host != "" && d.header("Host") == "" {
		h["Host"] = host
	}
	b.headers(d, h)
	b.body(d, s.text("body"))
	if f := s.text("body_file"); f != "" && d.c.Body == "" && d.c.BodyFile == "" {
		d.c.BodyFile = f
		b.path(d, "body_file", f)
	}
	if s.no("follow_redirects") || s.yes("no_follow_redirects") {
		f := false
		d.c.FollowRedirects = &f
	}
	good := &codes{}
	for _, t := range s.texts("valid_status_codes") {
		if lo, hi, ok := parseCodes(t); ok {
			for c := lo; c <= hi; c++ {
				good[c] = true
			}
		} else {
			b.note(d.where, "valid_status_codes: "+quote(t)+" did not convert", "")
		}
	}
	if *good != (codes{}) {
		d.setStatuses(good)
	}
	switch v := s.texts("valid_http_versions"); {
	case len(v) == 1:
		d.c.Expect.Protocol = strings.TrimSuffix(strings.Replace(v[0], "HTTP/2.0", "HTTP/2", 1), "")
		d.c.HTTP2 = d.c.Expect.Protocol == "HTTP/2"
	case len(v) > 1:
		var terms []string
		for _, p := range v {
			terms = append(terms, "protocol == "+celText(strings.Replace(p, "HTTP/2.0", "HTTP/2", 1)))
		}
		d.cel = append(d.cel, "("+strings.Join(terms, " || ")+")")
		d.c.HTTP2 = slices.Contains(v, "HTTP/2.0")
	}
	for _, re := range append(s.texts("fail_if_body_not_matches_regexp"), s.texts("fail_if_body_not_matches_regex")...) {
		d.wantRegex(re, false)
	}
	for _, re := range append(s.texts("fail_if_body_matches_regexp"), s.texts("fail_if_body_matches_regex")...) {
		d.wantRegex(re, true)
	}
	if x := s.text("fail_if_body_json_matches_cel"); x != "" {
		b.note(d.where, "fail_if_body_json_matches_cel did not convert: its variable body is json here", "write it under expect.cel")
	}
	if x := s.text("fail_if_body_json_not_matches_cel"); x != "" {
		b.note(d.where, "fail_if_body_json_not_matches_cel did not convert: its variable body is json here", "write it under expect.cel")
	}
	for _, r := range s.subs("fail_if_header_not_matches") {
		if name := r.text("header"); name != "" && !r.yes("allow_missing") {
			if d.c.Expect.Headers == nil {
				d.c.Expect.Headers = map[string]string{}
			}
			d.c.Expect.Headers[name] = ".*(?:" + r.text("regexp") + ").*"
		} else {
			b.note(d.where, "fail_if_header_not_matches of "+quote(name)+" did not convert", "write it under expect.headers or expect.cel")
		}
	}
	for _, r := range s.subs("fail_if_header_matches") {
		b.note(d.where, "fail_if_header_matches of "+quote(r.text("header"))+" did not convert", "write it under expect.cel")
	}
	if z := s.text("compression"); z != "" {
		switch z {
		case "gzip", "br", "zstd", "identity":
			d.c.Compression = []string{z}
		default:
			b.note(d.where, "compression "+quote(z)+" did not convert", "")
		}
	}
	if p := s.text("proxy_url"); p != "" {
		b.proxy(d, p)
	}
	if o := s.sub("oauth2"); o != nil {
		x := b.oauth2(d, o.text("token_url"), o.text("client_id"), o.text("client_secret"), o.texts("scopes"))
		if f := o.text("client_secret_file"); f != "" {
			x.ClientSecretFile = f
			b.path(d, "oauth2.client_secret_file", f)
		}
		if e := o.pairs("endpoint_params"); len(e) > 0 {
			x.Params = map[string]string{}
			for k, v := range e {
				if secretName.MatchString(k) && !b.o.Secrets {
					b.note(d.where, "oauth2.endpoint_params "+quote(k)+" looks like a secret and is left out", "")
					continue
				}
				x.Params[k] = v
			}
		}
		b.unread(d.where+": oauth2", o)
	}
	s.get("enable_http2")
	s.get("skip_resolve_phase_with_proxy")
	if n := s.text("body_size_limit"); n != "" && n != "0" {
		b.note(d.where, "body_size_limit "+quote(n)+" did not convert", "set max_body_bytes")
	}
	b.tls(d, s.sub("tls_config"))
	return ""
}

// path notes a file of the source that a check names.
func (b *blackbox) path(d *draft, key, file string) {
	b.once(d.where, key+" "+quote(file)+" is named as it was", "copy the file, and mind that paths are relative to vedette.yml")
}

func (b *blackbox) authorization(d *draft, s *obj) {
	if f := s.text("bearer_token_file"); f != "" {
		d.c.BearerFile = f
		b.path(d, "bearer_token_file", f)
	} else if t := s.text("bearer_token"); t != "" {
		b.bearer(d, t)
	}
	a := s.sub("authorization")
	if a == nil {
		return
	}
	switch kind, f := cmp.Or(a.text("type"), "Bearer"), a.text("credentials_file"); {
	case !strings.EqualFold(kind, "Bearer"):
		b.note(d.where, "authorization of the type "+quote(kind)+" did not convert", "set headers")
	case f != "":
		d.c.BearerFile = f
		b.path(d, "bearer_token_file", f)
	case a.text("credentials") != "":
		b.bearer(d, a.text("credentials"))
	}
}

func (b *blackbox) tls(d *draft, t *obj) {
	if t == nil {
		return
	}
	d.c.TLS = probe.TLS{CAFile: t.text("ca_file"), CertFile: t.text("cert_file"), KeyFile: t.text("key_file"), ServerName: t.text("server_name"),
		InsecureSkipVerify: t.yes("insecure_skip_verify")}
	for _, f := range []string{d.c.TLS.CAFile, d.c.TLS.CertFile, d.c.TLS.KeyFile} {
		if f != "" {
			b.path(d, "tls_config", f)
		}
	}
	if v := t.text("min_version"); d.kind == "http" {
		switch v {
		case "TLS12":
			d.c.Expect.TLSVersion = "1.2"
		case "TLS13":
			d.c.Expect.TLSVersion = "1.3"
		}
	}
	t.get("max_version")
	b.unread(d.where+": tls_config", t)
}
