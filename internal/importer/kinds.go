package importer

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/vedette-sre/vedette/internal/probe"
)

// sectionKeys are the keys of a kind's own section in this build.
func sectionKeys(section string) map[string]bool {
	keys := map[string]bool{}
	t := reflect.TypeFor[probe.Check]()
	for i := range t.NumField() {
		f := t.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != section || f.Type.Kind() != reflect.Pointer {
			continue
		}
		for j := range f.Type.Elem().NumField() {
			name, _, _ := strings.Cut(f.Type.Elem().Field(j).Tag.Get("yaml"), ",")
			keys[name] = true
		}
	}
	return keys
}

// section keeps those settings of a draft that this build has keys for and notes
// the others.
func (im *importing) section(d *draft) {
	keys, kept := sectionKeys(d.section), d.settings[:0]
	for _, it := range d.settings {
		if keys[fmt.Sprint(it.Key)] {
			kept = append(kept, it)
			continue
		}
		value := fmt.Sprint(it.Value)
		if secretText.MatchString(value) {
			value = "(removed)"
		}
		im.note(d.where, fmt.Sprintf("this build has no key %s.%v; %s did not convert", d.section, it.Key, quote(value)), "see the kind "+d.kind+" in docs/checks.md")
	}
	d.settings = kept
}

func hostPort(host string, port int) string {
	host = strings.Trim(strings.TrimSpace(host), "[]")
	if port > 0 {
		return net.JoinHostPort(host, strconv.Itoa(port))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// dns asks a server, given as dns://host:port, for a name.
func (im *importing) dns(d *draft, server, name, kind, rcode string) {
	d.kind, d.section = "dns", "dns"
	im.target(d, server)
	if name != "" {
		d.set("name", name)
	}
	if kind != "" {
		d.set("type", strings.ToUpper(kind))
	}
	if rcode != "" {
		d.dnsRcode(rcode)
	}
}

// dnsRcode wants a result code; NOERROR is what a check wants anyway.
func (d *draft) dnsRcode(rcode string) bool {
	if !strings.EqualFold(rcode, "NOERROR") {
		d.set("rcode", []string{strings.ToUpper(rcode)})
	}
	return true
}

func (im *importing) icmp(d *draft, host string) {
	d.kind = "icmp"
	im.target(d, "icmp://"+host)
}

// grpc asks the health service; service "" is the server as a whole.
func (im *importing) grpc(d *draft, hostPort string, secure bool, service string) {
	d.kind, d.section = "grpc", "grpc"
	scheme := "grpc://"
	if secure {
		scheme = "grpcs://"
	}
	im.target(d, scheme+hostPort)
	if service != "" {
		d.set("service", service)
	}
}

// proxy sends requests through a proxy, whose password may stand in its URL.
func (im *importing) proxy(d *draft, raw string) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		im.note(d.where, "the proxy "+quote(raw)+" did not convert", "set proxy by hand")
		return
	}
	p := &probe.Proxy{}
	if u.User != nil {
		p.Username = u.User.Username()
		if password, ok := u.User.Password(); ok && im.o.Secrets {
			p.Password = password
		} else if ok {
			p.PasswordFile = im.secretFile(d, "proxy-password")
		}
		u.User = nil
	}
	p.URL = u.String()
	d.c.Proxy = p
}

func (im *importing) oauth2(d *draft, tokenURL, id, secret string, scopes []string) *probe.OAuth2 {
	o := &probe.OAuth2{TokenURL: tokenURL, ClientID: id, Scopes: scopes}
	if im.o.Secrets {
		o.ClientSecret = secret
	} else if secret != "" {
		o.ClientSecretFile = im.secretFile(d, "client-secret")
	}
	d.c.OAuth2 = o
	return o
}

// starttls is TLS after a word of a plain protocol, which the port names.
func (im *importing) starttls(d *draft, rest string) {
	_, port, _ := net.SplitHostPort(rest)
	protocol := map[string]string{"143": "imap", "110": "pop3", "21": "ftp", "389": "ldap", "5432": "postgres"}[port]
	if protocol == "" {
		protocol = "smtp" // all that Gatus speaks
	}
	d.kind, d.section = "tls", "tcp"
	im.target(d, "tls://"+rest)
	d.set("starttls", protocol)
}

// says notes what is sent, unless it may be a secret.
func (im *importing) says(d *draft, message string) {
	if message != "" && !im.o.Secrets && secretText.MatchString(message) {
		im.note(d.where, "the message that is sent looks as if it held a secret and is left out", "write it by hand, or import with --with-secrets")
		return
	}
	d.said = message
}

// hears wants an answer; false: the comparison has no counterpart.
func (d *draft) hears(op, right string) bool {
	re := matching(right)
	if op != "==" || d.heard != "" || re == "" {
		return false
	}
	switch d.kind {
	case "tcp", "tls", "udp", "websocket":
		d.heard = "^\\s*" + re + "\\s*$"
		return true
	}
	return false
}

// matching is what the right side of a comparison with == wants, as an
// expression without anchors; "" when it cannot be one.
func matching(right string) string {
	f := function.FindStringSubmatch(right)
	re := ""
	switch {
	case f == nil:
		return regexp.QuoteMeta(right)
	case f[1] == "pat":
		re = globRegex(f[2])
	case f[1] == "any":
		re = anyRegex(f[2])
	}
	return strings.TrimSuffix(strings.TrimPrefix(re, `(?s)\A`), `\z`)
}

// converse writes what is said and heard under the keys of the kind.
func (im *importing) converse(d *draft) {
	if d.said == "" && d.heard == "" {
		return
	}
	switch d.kind {
	case "tcp", "tls":
		if d.kind == "tls" { // which does not speak
			d.kind, d.c.URL = "tcp", "tcp"+strings.TrimPrefix(d.c.URL, "tls")
			d.set("tls", true)
		}
		d.section = "tcp"
		var steps []yaml.MapSlice
		if d.said != "" {
			steps = append(steps, yaml.MapSlice{{Key: "send", Value: d.said}})
		}
		if d.heard != "" {
			steps = append(steps, yaml.MapSlice{{Key: "expect", Value: d.heard}})
		}
		d.set("steps", steps)
	default:
		d.section = d.kind
		if d.said != "" {
			d.set("send", d.said)
		}
		if d.heard != "" {
			d.set("expect", d.heard)
		}
	}
}

// dnsAnswer wants an address or text at the end of one of the answers.
func (d *draft) dnsAnswer(right string) bool {
	re := matching(right)
	if re == "" {
		return false
	}
	d.set("matches", []string{`[\s"]` + re + `[."]?$`})
	return true
}

func (im *importing) smtpSecurity(d *draft, how string) {
	d.section = "smtp"
	switch how {
	case "starttls":
		d.set("starttls", true)
	case "secure":
		d.c.URL = strings.Replace(d.c.URL, "smtp://", "smtps://", 1)
	}
}

// command is the program of a check of the kind exec, and its arguments.
func (im *importing) command(d *draft, args []string, env map[string]string) {
	d.section = "exec"
	d.set("command", args)
	kept := yaml.MapSlice{}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if secretName.MatchString(name) && !im.o.Secrets {
			im.note(d.where, "the variable "+quote(name)+" looks like a secret and is left out", "add it to exec.env, or import with --with-secrets")
			continue
		}
		kept = append(kept, yaml.MapItem{Key: name, Value: env[name]})
	}
	if len(kept) > 0 {
		d.set("env", kept)
	}
	if !strings.HasPrefix(args[0], "/") {
		im.note(d.where, "the program "+quote(args[0])+" has no full path", "write the path, or set exec.dir")
	}
}

// dialogue is what is said and heard over TCP, in blackbox_exporter's words,
// which are Vedette's as well. false: not all of it has a counterpart.
func (im *importing) dialogue(d *draft, list []*obj, secure bool) bool {
	whole := true
	var steps []yaml.MapSlice
	for _, s := range list {
		var step yaml.MapSlice
		if e := s.text("expect"); e != "" {
			step = append(step, yaml.MapItem{Key: "expect", Value: e})
		}
		if t := s.text("send"); t != "" {
			if !im.o.Secrets && secretText.MatchString(t) {
				im.note(d.where, "a line of query_response looks as if it held a secret and is left out", "write it by hand, or import with --with-secrets")
			} else {
				step = append(step, yaml.MapItem{Key: "send", Value: t})
			}
		}
		if s.yes("starttls") {
			step = append(step, yaml.MapItem{Key: "starttls", Value: true})
		}
		if s.has("expect_bytes") || s.has("labels") {
			whole = false
		}
		if len(step) > 0 {
			steps = append(steps, step)
		}
	}
	if len(steps) == 0 {
		return whole
	}
	d.section = "tcp"
	if secure {
		d.kind, d.c.URL = "tcp", "tcp"+strings.TrimPrefix(d.c.URL, "tls")
		d.set("tls", true)
	}
	d.set("steps", steps)
	return whole
}
