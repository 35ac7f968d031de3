package demo

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// The zones that the shop's name server answers for.
const (
	shopZone    = "shop.internal."
	paymentName = "api.payment.example."
)

// slowAnswer is how long the name server waits while dns-slow is on.
const slowAnswer = 1500 * time.Millisecond

// answerDNS answers a question from the shop's zone: every name of a service is
// on this machine. It never returns nil and waits for nothing.
func answerDNS(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		m.SetRcode(q, dns.RcodeFormatError)
		return m
	}
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	switch {
	case name == paymentName || name == shopZone || serviceHost(name):
	case strings.HasSuffix(name, "."+shopZone):
		m.SetRcode(q, dns.RcodeNameError)
		return m
	default:
		m.SetRcode(q, dns.RcodeRefused)
		return m
	}
	m.Authoritative = true
	if question.Qclass == dns.ClassINET && question.Qtype == dns.TypeA && name != shopZone {
		m.Answer = append(m.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5},
			A:   net.ParseIP(host),
		})
	}
	return m
}

func serviceHost(name string) bool {
	first, ok := strings.CutSuffix(name, "."+shopZone)
	if !ok {
		return false
	}
	switch first {
	case "gateway", "catalogue", "pricing", "orders", "queue":
		return true
	}
	return false
}

func runDNS(ctx context.Context, sh shell) error {
	s := newService(sh, "dns", "1.1.0")
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dns_requests_total", Help: "Questions answered, by code.",
	}, []string{"rcode"})
	took := prometheus.NewHistogram(histogram("dns_request_duration_seconds", "Time to answer a question."))
	s.reg.MustRegister(requests, took)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		start := time.Now()
		m := answerDNS(q)
		if s.faults.on(DNSSlow) {
			rest(ctx, slowAnswer)
		}
		w.WriteMsg(m)
		requests.WithLabelValues(dns.RcodeToString[m.Rcode]).Inc()
		took.Observe(time.Since(start).Seconds())
	})
	addr := address(sh.ports.DNS)
	packets, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	defer packets.Close()
	streams, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer streams.Close()
	run := func(srv *dns.Server) func(context.Context) error {
		return func(ctx context.Context) error {
			ended := make(chan error, 1)
			go func() { ended <- srv.ActivateAndServe() }()
			select {
			case err := <-ended:
				return fmt.Errorf("name server on %s: %w", addr, err)
			case <-ctx.Done():
			}
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			srv.ShutdownContext(stop)
			return nil
		}
	}
	return s.serve(ctx, sh.ports.DNSMetrics,
		run(&dns.Server{PacketConn: packets, Handler: handler}),
		run(&dns.Server{Listener: streams, Handler: handler}))
}
