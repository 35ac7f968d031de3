package importer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kuma reads the JSON that Uptime Kuma exports: monitorList as a list, or by
// id as its socket sends it.
func (im *importing) kuma(text []byte) error {
	v, err := readJSON(text)
	if err != nil {
		return err
	}
	top := newObj(v)
	if list, ok := v.([]any); ok {
		top = &obj{map[string]any{"monitorList": list}, map[string]bool{}}
	}
	if top == nil || !top.has("monitorList") {
		return errors.New("monitorList: is missing; want the JSON that Uptime Kuma exports")
	}
	k := &kumaImport{importing: im, groups: map[string]*obj{}}
	var monitors []*obj
	if byID := top.sub("monitorList"); byID != nil {
		for _, id := range slices.SortedFunc(maps.Keys(byID.m), byNumber) {
			monitors = append(monitors, newObj(byID.m[id]))
		}
	} else {
		for _, m := range top.list("monitorList") {
			monitors = append(monitors, newObj(m))
		}
	}
	for _, m := range monitors {
		if m != nil && m.text("type") == "group" && m.text("id") != "" {
			k.groups[m.text("id")] = m
		}
	}
	for i, m := range monitors {
		where := fmt.Sprintf("monitorList[%d]", i)
		if m == nil {
			im.note(where, "left out: it is not an object", "")
			continue
		}
		k.monitor(where+" ("+shown(m)+")", m)
	}
	if len(top.list("notificationList")) > 0 {
		im.note("notificationList", "who is told is not part of a check", "write the routes into the file that alertmanager: names; see docs/notifications.md")
	}
	if len(top.list("proxyList")) > 0 {
		im.note("proxyList", "proxies did not convert", "set proxy at the checks that need one")
	}
	im.unread("top of the file", top, "version")
	return nil
}

func byNumber(a, b string) int {
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return cmp.Or(cmp.Compare(x, y), strings.Compare(a, b))
}

type kumaImport struct {
	*importing
	groups map[string]*obj
}

// group is the names of the groups that a monitor is in, the outermost first.
func (k *kumaImport) group(m *obj) string {
	var names []string
	for g := k.groups[m.text("parent")]; g != nil && len(names) < 20; g = k.groups[g.text("parent")] {
		names = append(names, g.text("name"))
	}
	slices.Reverse(names)
	return strings.Join(names, " / ")
}

// kumaNo says why a type has no counterpart and what to do instead.
var kumaNo = map[string][2]string{
	"push":                 {"what is pushed to Uptime Kuma is not a check of Vedette", "let the job send a sample by remote write, and write a rule that tells when it stops"},
	"docker":               {"containers are not looked at", "use a check of what the container serves, or of the kind exec"},
	"steam":                {"game servers have no kind of check", "use a check of the kind udp or tcp"},
	"gamedig":              {"game servers have no kind of check", "use a check of the kind udp or tcp"},
	"mqtt":                 {"MQTT has no kind of check", "use a check of the kind tcp"},
	"radius":               {"RADIUS has no kind of check", "use a check of the kind udp"},
	"sqlserver":            {"SQL Server has no kind of check", "use a check of the kind tcp"},
	"mongodb":              {"MongoDB has no kind of check", "use a check of the kind tcp"},
	"rabbitmq":             {"RabbitMQ has no kind of check", "use an HTTP check of its management API"},
	"snmp":                 {"SNMP has no kind of check", "use a check of the kind icmp or udp"},
	"manual":               {"a monitor that people set is not a check", ""},
	"real-browser":         {"a page in a browser does not convert", "see the kind browser in docs/checks.md"},
	"kafka-producer":       {"producing a message does not convert", "see the kind kafka in docs/checks.md"},
	"system-service":       {"services of the system are not looked at", "use a check of the kind exec"},
	"sip-options":          {"SIP has no kind of check", "use a check of the kind udp or tcp"},
	"globalping":           {"probes of a public network do not convert", "use vedette agent at places of your own"},
	"domain":               {"the end of a domain is not looked at", ""},
	"tailscale-ping":       {"Tailscale is not spoken", "use a check of the kind icmp"},
	"tailscale-ping-label": {"Tailscale is not spoken", "use a check of the kind icmp"},
}

func (k *kumaImport) monitor(where string, m *obj) {
	kind := m.text("type")
	if kind == "group" {
		return // its name is a label of its members
	}
	if no, known := kumaNo[kind]; known {
		k.note(where, "left out: "+no[0], no[1])
		return
	}
	if m.yes("upsideDown") {
		k.note(where, "left out: it is upside down, and no check of Vedette wants its target to be away", "write a rule on probe_success")
		return
	}
	d := &draft{where: where, group: k.group(m)}
	d.c.Name = m.text("name")
	if d.group != "" {
		k.label(d, "group", d.group)
	}
	for _, t := range m.subs("tags") {
		k.label(d, t.text("name"), cmp.Or(t.text("value"), "true"))
	}
	for _, t := range m.list("tags") {
		if s, ok := t.(string); ok {
			k.label(d, s, "true")
		}
	}
	d.c.Paused = m.no("active")
	if why := k.target(d, kind, m); why != "" {
		k.note(where, "left out: "+why, "write it by hand")
		return
	}
	interval, _ := m.duration("interval", time.Second)
	interval = max(cmp.Or(interval, time.Minute), time.Second)
	timeout, _ := m.duration("timeout", time.Second)
	if timeout <= 0 {
		timeout = interval * 8 / 10 // as Uptime Kuma does
	}
	k.times(d, interval, timeout)
	if retry, ok := m.duration("retryInterval", time.Second); ok && retry > 0 && retry != interval && m.count("maxretries") > 0 {
		k.once(where, "retryInterval did not convert: a failure is looked at again at once, from every place", "")
	}
	k.thresholds(d, m.count("maxretries")+1, 1)
	if m.count("resendInterval") > 0 {
		k.once(where, "resendInterval did not convert", "repeat_interval is in the file that alertmanager: names")
	}
	k.add(d)
}

func (k *kumaImport) target(d *draft, kind string, m *obj) string {
	host, port := strings.TrimSpace(m.text("hostname")), m.count("port")
	needHost := func() string {
		if host == "" || port < 0 || port > 65535 {
			return "it has no host, or a port that cannot be"
		}
		return ""
	}
	switch kind {
	case "http", "keyword", "json-query":
		d.kind = "http"
		k.target2(d, m)
		return k.http(d, kind, m)
	case "port":
		d.kind = "tcp"
		k.importing.target(d, "tcp://"+hostPort(host, port))
		if port == 0 {
			return "it has no port"
		}
		return needHost()
	case "ping":
		k.icmp(d, hostPort(host, 0))
		if n := m.count("packetSize"); n != 0 && n != 56 {
			k.note(d.where, fmt.Sprintf("packetSize %d did not convert", n), "")
		}
		return needHost()
	case "dns":
		servers := strings.Split(m.text("dns_resolve_server"), ",")
		if len(servers) > 1 {
			k.note(d.where, "only the first of its DNS servers is asked", "copy the check for the others")
		}
		server := strings.TrimSpace(servers[0])
		if server == "" {
			return "it names no DNS server"
		}
		if port == 53 {
			port = 0
		}
		k.dns(d, "dns://"+hostPort(server, port), host, cmp.Or(m.text("dns_resolve_type"), "A"), "")
		return needHost()
	case "postgres", "mysql", "redis":
		return k.database(d, kind, m)
	case "grpc-keyword":
		addr := strings.TrimSpace(m.text("grpcUrl"))
		if addr == "" {
			return "it has no grpcUrl"
		}
		k.grpc(d, addr, m.yes("grpcEnableTls"), "")
		k.note(d.where, fmt.Sprintf("the health service is asked, and not %s of %s for a keyword", quote(m.text("grpcMethod")), quote(m.text("grpcServiceName"))), "")
		return ""
	case "websocket-upgrade":
		d.kind = "websocket"
		k.target2(d, m)
		return ""
	case "smtp":
		d.kind = "smtp"
		k.importing.target(d, "smtp://"+hostPort(host, port))
		if s := m.text("smtpSecurity"); s != "" {
			k.smtpSecurity(d, s)
		}
		return needHost()
	}
	return "no kind of check is like the type " + quote(kind)
}

func (k *kumaImport) target2(d *draft, m *obj) { k.importing.target(d, m.text("url")) }

func (k *kumaImport) http(d *draft, kind string, m *obj) string {
	if u, err := url.Parse(d.c.URL); err != nil || u.Host == "" {
		return "its url cannot be read"
	}
	if d.c.Method = strings.ToUpper(m.text("method")); d.c.Method == "GET" {
		d.c.Method = ""
	}
	switch method := m.text("authMethod"); method {
	case "", "none", "null":
		if u := m.text("basic_auth_user"); u != "" {
			k.basicAuth(d, u, m.text("basic_auth_pass"))
		}
	case "basic":
		k.basicAuth(d, m.text("basic_auth_user"), m.text("basic_auth_pass"))
	case "oauth2-cc":
		o := k.oauth2(d, m.text("oauth_token_url"), m.text("oauth_client_id"), m.text("oauth_client_secret"), strings.Fields(m.text("oauth_scopes")))
		o.Audience = m.text("oauth_audience")
		if m.text("oauth_auth_method") == "client_secret_post" {
			o.AuthStyle = "body"
		}
	case "mtls":
		k.note(d.where, "its client certificate is not copied; tls.cert_file and tls.key_file name files that must be made", "write tlsCert and tlsKey into them, and tlsCa, when there is one, into a file for tls.ca_file")
		d.c.TLS.CertFile, d.c.TLS.KeyFile = "secrets/client.crt", "secrets/client.key"
	default:
		k.note(d.where, "the sign-in "+quote(method)+" did not convert", "")
	}
	k.kumaHeaders(d, m.text("headers"))
	if body := m.text("body"); body != "" {
		k.body(d, body)
		if d.header("Content-Type") == "" {
			types := map[string]string{"": "application/json", "json": "application/json", "xml": "text/xml; charset=utf-8", "form": "application/x-www-form-urlencoded"}
			if t := types[m.text("httpBodyEncoding")]; t != "" {
				k.headers(d, map[string]string{"Content-Type": t})
			}
		}
	}
	if n, ok := m.number("maxredirects"); ok {
		switch f := false; {
		case n <= 0:
			d.c.FollowRedirects = &f
		case n != 10:
			d.c.MaxRedirects = int(min(n, 100))
		}
	}
	d.c.TLS.InsecureSkipVerify = m.yes("ignoreTls")
	if m.count("proxyId") > 0 {
		k.note(d.where, "its proxy did not convert", "set proxy")
	}
	if m.yes("expiryNotification") {
		k.once(d.where, "telling when a certificate nears its end is not part of the verdict", "set expect.certificate_days, or write a rule on probe_ssl_earliest_cert_expiry")
	}
	good := &codes{}
	for _, s := range m.texts("accepted_statuscodes") {
		if lo, hi, ok := parseCodes(s); ok {
			for c := lo; c <= hi; c++ {
				good[c] = true
			}
		} else {
			k.note(d.where, "accepted_statuscodes: "+quote(s)+" did not convert", "")
		}
	}
	if *good != (codes{}) {
		d.setStatuses(good)
	}
	switch kind {
	case "keyword":
		if w := m.text("keyword"); w != "" {
			d.wantBody(w, m.yes("invertKeyword"))
		}
	case "json-query":
		k.jsonQuery(d, m)
	}
	return ""
}

func (d *draft) header(name string) string {
	for n, v := range d.c.Headers {
		if strings.EqualFold(n, name) {
			return v
		}
	}
	return ""
}

// kumaHeaders are a JSON object within a text.
func (k *kumaImport) kumaHeaders(d *draft, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		k.note(d.where, "headers are not a JSON object", "set headers by hand")
		return
	}
	h := map[string]string{}
	for n, v := range m {
		h[n] = scalar(v)
	}
	k.headers(d, h)
}

func (k *kumaImport) jsonQuery(d *draft, m *obj) {
	query, want, op := m.text("jsonPath"), m.text("expectedValue"), cmp.Or(m.text("jsonPathOperator"), "==")
	p, ok := parsePath(query)
	switch {
	case !ok:
	case op == "contains":
		d.cel = append(d.cel, fmt.Sprintf("string(%s).contains(%s)", p.cel(), celText(want)))
		return
	case len(p) == 0 && op == "==":
		ok = false
	case d.wantJSON(p, op, want):
		return
	}
	k.note(d.where, fmt.Sprintf("the query %s %s %s did not convert", quote(query), op, quote(want)), "write it under expect.json or expect.cel")
}

// database connects with the client of the database; a query did not convert.
func (k *kumaImport) database(d *draft, kind string, m *obj) string {
	d.kind = map[string]string{"postgres": "postgresql"}[kind]
	if d.kind == "" {
		d.kind = kind
	}
	raw := m.text("databaseConnectionString")
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "its connection string cannot be read"
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		u.Scheme = "postgresql"
	case "mysql", "mariadb":
		u.Scheme = "mysql"
	case "redis", "rediss":
	default:
		return "its connection string has the scheme " + quote(u.Scheme)
	}
	k.importing.target(d, u.String())
	if password := m.text("radiusPassword"); kind == "mysql" && password != "" && d.c.BasicAuth.Username != "" && d.c.BasicAuth.Password == "" && d.c.BasicAuth.PasswordFile == "" {
		k.basicAuth(d, d.c.BasicAuth.Username, password) // where Uptime Kuma keeps it
	}
	if q := strings.TrimSpace(m.text("databaseQuery")); q != "" && !strings.EqualFold(strings.TrimSuffix(q, ";"), "select 1") {
		k.note(d.where, "its query did not convert", "see the kind "+d.kind+" in docs/checks.md")
	}
	return ""
}
