package probe

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/vedette-sre/vedette/internal/record"
)

// DNS holds the settings of checks of the kind dns. The URL names the server;
// without one the first server of /etc/resolv.conf is asked.
type DNS struct {
	Name      string `yaml:"name"`                // what is asked for
	Type      string `yaml:"type,omitempty"`      // of record; default A
	Transport string `yaml:"transport,omitempty"` // udp (default), tcp or tls
	Recursion *bool  `yaml:"recursion,omitempty"` // desired; default true
	// RCode are the codes that are good; default NOERROR.
	RCode []string `yaml:"rcode,omitempty"`
	// MinAnswers is how many records the answer must have; default 1 with the
	// code NOERROR.
	MinAnswers *int `yaml:"min_answers,omitempty"`
	// Matches are regular expressions that one of the answers, written as in a
	// zone file, must match each; NotMatches none may.
	Matches    []string `yaml:"matches,omitempty"`
	NotMatches []string `yaml:"not_matches,omitempty"`
	// Authentic wants the server to say that it has verified DNSSEC.
	Authentic bool `yaml:"authentic,omitempty"`
}

// dnsRules are the parsed expressions.
type dnsRules struct{ want, refuse []*regexp.Regexp }

var dnsKind = kind{
	schemes: []string{"dns"}, example: "dns://10.0.0.2", port: 53,
	section:     func(c *Check) bool { return c.DNS != nil },
	optionalURL: true,
	target: func(c *Check) string {
		d := c.DNS
		if d == nil {
			return c.URL
		}
		if c.URL == "" {
			return "dns:" + d.Name + "?type=" + d.Type
		}
		return c.URL + "/" + d.Name + "?type=" + d.Type
	},
	validate: validateDNS,
	prepare: func(c *Check) (any, error) {
		var rules dnsRules
		for i, x := range c.DNS.Matches {
			re, err := regexp.Compile(x)
			if err != nil {
				return nil, fmt.Errorf("dns.matches[%d]: %w", i, err)
			}
			rules.want = append(rules.want, re)
		}
		for i, x := range c.DNS.NotMatches {
			re, err := regexp.Compile(x)
			if err != nil {
				return nil, fmt.Errorf("dns.not_matches[%d]: %w", i, err)
			}
			rules.refuse = append(rules.refuse, re)
		}
		return rules, nil
	},
	run: runDNS,
}

func validateDNS(c *Check) error {
	d := c.DNS
	if d == nil {
		return errors.New("dns.name: is missing; want the name that is asked for, such as example.org")
	}
	if d.Type == "" {
		d.Type = "A"
	}
	if d.Transport == "" {
		d.Transport = "udp"
	}
	d.Type = strings.ToUpper(d.Type)
	if _, ok := dns.IsDomainName(d.Name); d.Name == "" || !ok {
		return fmt.Errorf("dns.name: %q: want a domain name such as example.org", d.Name)
	}
	if _, ok := dns.StringToType[d.Type]; !ok {
		return fmt.Errorf("dns.type: %q: want a type of record such as A, AAAA, MX or TXT", d.Type)
	}
	if !slices.Contains([]string{"udp", "tcp", "tls"}, d.Transport) {
		return fmt.Errorf("dns.transport: %q: want udp, tcp or tls", d.Transport)
	}
	for i, rc := range d.RCode {
		d.RCode[i] = strings.ToUpper(rc)
		if _, ok := dns.StringToRcode[d.RCode[i]]; !ok {
			return fmt.Errorf("dns.rcode: %q: want a code such as NOERROR or NXDOMAIN", rc)
		}
	}
	if d.MinAnswers != nil && (*d.MinAnswers < 0 || *d.MinAnswers > 1000) {
		return fmt.Errorf("dns.min_answers: %d: want from 0 to 1000", *d.MinAnswers)
	}
	for key, list := range map[string][]string{"matches": d.Matches, "not_matches": d.NotMatches} {
		for i, x := range list {
			if _, err := regexp.Compile(x); err != nil {
				return fmt.Errorf("dns.%s[%d]: %q: want a regular expression (RE2): %w", key, i, x, err)
			}
		}
	}
	if e := c.Expect; e.BodyContains != "" || e.BodyNotContains != "" || e.BodyRegex != "" || e.BodyNotRegex != "" {
		return errors.New("expect.body_regex: the answers of a name server are judged by dns.matches and dns.not_matches")
	}
	return nil
}

// server is where the question goes.
func (r *run) dnsServer() (host, port string, err error) {
	if r.URL != "" {
		host, port = r.hostPort()
		if r.DNS.Transport == "tls" && r.url.Port() == "" {
			port = "853"
		}
		return host, port, nil
	}
	conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil || len(conf.Servers) == 0 {
		return "", "", fmt.Errorf("this machine names no DNS server in /etc/resolv.conf: %v", err)
	}
	return conf.Servers[0], conf.Port, nil
}

func runDNS(r *run) {
	d := r.DNS
	host, port, err := r.dnsServer()
	if err != nil {
		r.fail(&failure{"resolve", "own_fault", err.Error()}, nil)
		return
	}
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(d.Name), dns.StringToType[d.Type])
	q.RecursionDesired = d.Recursion == nil || *d.Recursion
	q.SetEdns0(1232, d.Authentic)
	q.AuthenticatedData = d.Authentic
	transport := d.Transport
	answer, f := r.ask(q, transport, host, port)
	if f == nil && answer.Truncated && transport == "udp" {
		transport = "tcp"
		answer, f = r.ask(q, transport, host, port)
	}
	r.value("probe_dns_query_succeeded", map[bool]float64{true: 1}[f == nil])
	if f != nil {
		r.fail(f, nil)
		return
	}
	hop := &r.res.Hops[len(r.res.Hops)-1]
	r.value("probe_dns_answer_rrs", float64(len(answer.Answer)))
	r.value("probe_dns_authority_rrs", float64(len(answer.Ns)))
	r.value("probe_dns_additional_rrs", float64(len(answer.Extra)))
	total := r.res.Total()
	r.value("probe_dns_duration_seconds", total[record.Resolve].Duration.Seconds(), "phase", "resolve")
	r.value("probe_dns_duration_seconds", total[record.Connect].Duration.Seconds(), "phase", "connect")
	r.value("probe_dns_duration_seconds", total[record.Processing].Duration.Seconds(), "phase", "request")
	for _, rr := range append(slices.Clone(answer.Answer), answer.Ns...) {
		if soa, ok := rr.(*dns.SOA); ok {
			r.value("probe_dns_serial", float64(soa.Serial))
			break
		}
	}
	code := dns.RcodeToString[answer.Rcode]
	var lines []string
	for _, rr := range answer.Answer {
		lines = append(lines, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	r.fact("rcode", code)
	r.fact("answer", strings.Join(lines, "\n"))
	r.fact("transport", transport)
	hop.Bytes = int64(answer.Len())
	said := []byte(answer.String())
	if f := d.verdict(r.parsed.(dnsRules), code, answer, lines); f != nil {
		r.failSaying(f, said)
		return
	}
	if f := r.timeVerdict(time.Now()); f != nil {
		r.failSaying(f, said)
		return
	}
	r.succeed()
}

func (d *DNS) verdict(rules dnsRules, code string, answer *dns.Msg, lines []string) *failure {
	good := d.RCode
	if len(good) == 0 {
		good = []string{"NOERROR"}
	}
	least := 0
	if code == "NOERROR" {
		least = 1
	}
	if d.MinAnswers != nil {
		least = *d.MinAnswers
	}
	switch {
	case !slices.Contains(good, code):
		return &failure{"status", "status", fmt.Sprintf("the server answered %s for %s %s; want %s", code, d.Name, d.Type, strings.Join(good, ", "))}
	case d.Authentic && !answer.AuthenticatedData:
		return &failure{"assertion", "assertion", fmt.Sprintf("the server does not vouch for %s: the answer is not authentic (DNSSEC)", d.Name)}
	case len(lines) < least:
		return &failure{"body", "body", fmt.Sprintf("the answer for %s %s has %d records; want %d or more", d.Name, d.Type, len(lines), least)}
	}
	for _, re := range rules.want {
		if !slices.ContainsFunc(lines, re.MatchString) {
			return &failure{"body", "body", fmt.Sprintf("no record of the answer for %s %s matches %q", d.Name, d.Type, re)}
		}
	}
	for _, re := range rules.refuse {
		if i := slices.IndexFunc(lines, re.MatchString); i >= 0 {
			return &failure{"body", "body", fmt.Sprintf("the record %q matches %q and should not", lines[i], re)}
		}
	}
	return nil
}

// ask makes one exchange with a name server.
func (r *run) ask(q *dns.Msg, transport, host, port string) (*dns.Msg, *failure) {
	hop := r.addHop((&url.URL{Scheme: "dns", Host: net.JoinHostPort(host, port)}).String())
	hop.Proto = transport
	hop.Phases[record.TLS].State = record.Skipped
	var conn net.Conn
	var f *failure
	if transport == "udp" {
		conn, f = r.openUDP(hop, host, port)
	} else {
		conn, f = r.open(hop, host, port)
	}
	if f != nil {
		return nil, f
	}
	defer conn.Close()
	stream := conn
	if transport == "tls" {
		tc, f := r.secure(conn, hop, r.own, host)
		if f != nil {
			return nil, f
		}
		stream = tc
	}
	start := time.Now()
	co := &dns.Conn{Conn: stream, UDPSize: 1232}
	err := co.WriteMsg(q)
	var answer *dns.Msg
	for err == nil {
		if answer, err = co.ReadMsg(); err == nil && answer.Id == q.Id {
			break // another's answer is no answer
		}
		if transport == "udp" && err != nil && !timedOut(err) && answer != nil && answer.Id != q.Id {
			err = nil
		}
	}
	end(hop, record.Processing, start, err != nil)
	if err == nil && (len(answer.Question) == 0 || !strings.EqualFold(answer.Question[0].Name, q.Question[0].Name)) && answer.Rcode == dns.RcodeSuccess {
		hop.Phases[record.Processing].State = record.Failed
		return nil, &failure{"processing", "bad_reply", "the server answered another question than was asked"}
	}
	if err == nil {
		hop.Phases[record.Transfer].State = record.Skipped
		return answer, nil
	}
	var perr *dns.Error
	switch {
	case timedOut(err), r.ctx.Err() != nil:
		return nil, &failure{"processing", "no_response", fmt.Sprintf("the name server %s did not answer within %s", net.JoinHostPort(host, port), short(r.limit))}
	case wasRefused(err):
		hop.Phases[record.Connect] = record.PhaseTime{State: record.Failed, Duration: hop.Phases[record.Processing].Duration}
		hop.Phases[record.Processing] = record.PhaseTime{}
		return nil, &failure{"connect", "refused", fmt.Sprintf("%s refused the question: nothing listens there", hop.Address)}
	case wasReset(err):
		return nil, &failure{"processing", "reset", "the name server cut the connection instead of answering"}
	case atEnd(err):
		return nil, &failure{"processing", "no_response", "the name server closed the connection without an answer"}
	case errors.As(err, &perr):
		return nil, &failure{"processing", "bad_reply", fmt.Sprintf("the answer is no DNS message: %v", err)}
	}
	return nil, &failure{"processing", "bad_reply", fmt.Sprintf("the answer cannot be read: %v", err)}
}
