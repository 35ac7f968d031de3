package importer

import (
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strconv"
	"strings"

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
		d.set("rcode", strings.ToUpper(rcode))
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

// starttls is TLS after a word of a plain protocol, mostly SMTP.
func (im *importing) starttls(d *draft, rest string) {
	_, port, _ := net.SplitHostPort(rest)
	if port == "" || port == "25" || port == "587" {
		d.kind, d.section = "smtp", "smtp"
		im.target(d, "smtp://"+rest)
		d.set("starttls", true)
		return
	}
	d.kind = "tcp"
	im.target(d, "tcp://"+rest)
	im.note(d.where, "STARTTLS of a port that is not of SMTP did not convert; the check connects only", "write what is sent and expected by hand")
}

// websocket sends a message after the handshake.
func (im *importing) websocket(d *draft, message string) {
	d.section = "websocket"
	if message != "" && !im.o.Secrets && secretText.MatchString(message) {
		im.note(d.where, "the message that is sent looks as if it held a secret and is left out", "write it by hand, or import with --with-secrets")
	} else if message != "" {
		d.set("send", message)
	}
}

func (d *draft) websocketReply(op, right string) bool { return false }

// dnsAnswer wants an address or text among the answers.
func (d *draft) dnsAnswer(right string) bool { return false }

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
func (im *importing) command(d *draft, args []string) {
	d.section = "exec"
	d.set("command", args)
}

// dialogue is what is said and heard over TCP, in blackbox_exporter's words.
func (d *draft) dialogue(steps []*obj) bool { return false }
