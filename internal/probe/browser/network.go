package browser

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

const (
	maxHops     = 200
	maxRequests = 5000 // that are told apart; more are counted
	maxURL      = 2048
)

// exchange is one request of the page with its reply: a hop.
type exchange struct {
	id, url, kind, step string
	main                bool    // the document of the page itself, not of a frame in it
	sent                float64 // on the browser's clock, s
	wall                float64 // the same moment on the wall clock, s
	answered            bool
	status              int
	statusText, proto   string
	headers             map[string]string
	address             string
	reused, cached      bool
	timing              *timing
	tls                 *record.TLSFacts
	bytes, decoded      int64
	location            string
	ended               float64
	failed              string // "net::ERR_..."
	canceled            bool
}

// timing is ResourceTiming: requestTime in s on the browser's clock, the rest in
// ms after it, -1 for what did not happen.
type timing struct {
	RequestTime         float64 `json:"requestTime"`
	DNSStart            float64 `json:"dnsStart"`
	DNSEnd              float64 `json:"dnsEnd"`
	ConnectStart        float64 `json:"connectStart"`
	ConnectEnd          float64 `json:"connectEnd"`
	SSLStart            float64 `json:"sslStart"`
	SSLEnd              float64 `json:"sslEnd"`
	SendStart           float64 `json:"sendStart"`
	ReceiveHeadersStart float64 `json:"receiveHeadersStart"`
	ReceiveHeadersEnd   float64 `json:"receiveHeadersEnd"`
}

// The events, with the fields that are used. They are read leniently: a word
// that only a newer browser knows must not lose an event.
type (
	response struct {
		URL             string            `json:"url"`
		Status          int               `json:"status"`
		StatusText      string            `json:"statusText"`
		Headers         map[string]string `json:"headers"`
		Protocol        string            `json:"protocol"`
		RemoteIP        string            `json:"remoteIPAddress"`
		RemotePort      int               `json:"remotePort"`
		Reused          bool              `json:"connectionReused"`
		FromDiskCache   bool              `json:"fromDiskCache"`
		FromPrefetch    bool              `json:"fromPrefetchCache"`
		FromWorker      bool              `json:"fromServiceWorker"`
		Timing          *timing           `json:"timing"`
		SecurityDetails *struct {
			Protocol string   `json:"protocol"`
			Kx       string   `json:"keyExchange"`
			Group    string   `json:"keyExchangeGroup"`
			Cipher   string   `json:"cipher"`
			Subject  string   `json:"subjectName"`
			SANs     []string `json:"sanList"`
			Issuer   string   `json:"issuer"`
			ValidTo  float64  `json:"validTo"`
		} `json:"securityDetails"`
	}
	requestWillBeSent struct {
		RequestID string `json:"requestId"`
		LoaderID  string `json:"loaderId"`
		FrameID   string `json:"frameId"`
		Type      string `json:"type"`
		Request   struct {
			URL string `json:"url"`
		} `json:"request"`
		Timestamp        float64   `json:"timestamp"`
		WallTime         float64   `json:"wallTime"`
		RedirectResponse *response `json:"redirectResponse"`
	}
	responseReceived struct {
		RequestID string   `json:"requestId"`
		Type      string   `json:"type"`
		Timestamp float64  `json:"timestamp"`
		Response  response `json:"response"`
	}
	dataReceived struct {
		RequestID  string `json:"requestId"`
		DataLength int64  `json:"dataLength"`
		Encoded    int64  `json:"encodedDataLength"`
	}
	loadingFinished struct {
		RequestID string  `json:"requestId"`
		Timestamp float64 `json:"timestamp"`
		Encoded   float64 `json:"encodedDataLength"`
	}
	loadingFailed struct {
		RequestID     string  `json:"requestId"`
		Timestamp     float64 `json:"timestamp"`
		ErrorText     string  `json:"errorText"`
		Canceled      bool    `json:"canceled"`
		BlockedReason string  `json:"blockedReason"`
	}
)

// ledger keeps account of what the page requests. The caller holds a lock.
type ledger struct {
	own     func(*url.URL) bool // hosts of the check itself
	all     []*exchange
	open    map[string]*exchange // by request id
	count   int                  // requests, those that are not told apart included
	failed  int
	loaded  int64 // bytes after decoding
	carried int64 // bytes as they came
}

// event takes an event of the domain Network; it returns the exchange that it
// is about, nil when there is none.
func (n *ledger) event(method string, params json.RawMessage, frame, step string) *exchange {
	switch method {
	case "Network.requestWillBeSent":
		var e requestWillBeSent
		if json.Unmarshal(params, &e) != nil {
			return nil
		}
		return n.begin(&e, frame, step)
	case "Network.requestServedFromCache":
		var e loadingFinished
		if json.Unmarshal(params, &e) == nil && n.open[e.RequestID] != nil {
			n.open[e.RequestID].cached = true
		}
	case "Network.responseReceived":
		var e responseReceived
		if json.Unmarshal(params, &e) != nil {
			return nil
		}
		x := n.open[e.RequestID]
		if x == nil {
			return nil
		}
		x.answer(&e.Response, n.own)
		return x
	case "Network.dataReceived":
		var e dataReceived
		if json.Unmarshal(params, &e) != nil {
			return nil
		}
		x := n.open[e.RequestID]
		if x != nil || len(n.all) >= maxRequests { // else it is an address such as data:
			n.loaded += e.DataLength
		}
		if x != nil {
			x.bytes += e.Encoded
			x.decoded += e.DataLength
			return x
		}
	case "Network.loadingFinished":
		var e loadingFinished
		if json.Unmarshal(params, &e) != nil {
			return nil
		}
		n.carried += int64(e.Encoded)
		if x := n.close(e.RequestID, e.Timestamp); x != nil {
			if e.Encoded > 0 {
				x.bytes = int64(e.Encoded)
			}
			if x.status >= 400 {
				n.failed++
			}
			return x
		}
	case "Network.loadingFailed":
		var e loadingFailed
		if json.Unmarshal(params, &e) != nil {
			return nil
		}
		if x := n.close(e.RequestID, e.Timestamp); x != nil {
			x.failed, x.canceled = e.ErrorText, e.Canceled || e.ErrorText == "net::ERR_ABORTED"
			if !x.canceled || x.status >= 400 {
				n.failed++
			}
			n.carried += x.bytes
			return x
		}
	}
	return nil
}

func (n *ledger) begin(e *requestWillBeSent, frame, step string) *exchange {
	if x := n.open[e.RequestID]; x != nil && e.RedirectResponse != nil {
		x.answer(e.RedirectResponse, n.own)
		x.location = cut(e.Request.URL, maxURL)
		n.close(e.RequestID, e.Timestamp)
	}
	if !strings.HasPrefix(e.Request.URL, "http://") && !strings.HasPrefix(e.Request.URL, "https://") {
		return nil // data: and the like go over no network
	}
	n.count++
	if len(n.all) >= maxRequests {
		return nil
	}
	x := &exchange{id: e.RequestID, url: cut(e.Request.URL, maxURL), kind: strings.ToLower(e.Type), step: step, sent: e.Timestamp, wall: e.WallTime,
		main: e.Type == "Document" && e.FrameID == frame}
	if e.Type == "Document" && !x.main {
		x.kind = "frame"
	}
	if n.open == nil {
		n.open = map[string]*exchange{}
	}
	n.open[e.RequestID] = x
	n.all = append(n.all, x)
	return x
}

func (n *ledger) close(id string, at float64) *exchange {
	x := n.open[id]
	if x != nil {
		x.ended = at
		delete(n.open, id)
	}
	return x
}

func (x *exchange) answer(r *response, own func(*url.URL) bool) {
	x.answered = true
	x.status, x.statusText = r.Status, r.StatusText
	if x.main {
		x.headers = r.Headers // for evidence
	}
	x.proto = protocol(r.Protocol)
	x.timing, x.reused = r.Timing, r.Reused
	x.cached = x.cached || r.FromDiskCache || r.FromPrefetch
	if r.RemoteIP != "" {
		x.address = net.JoinHostPort(strings.Trim(r.RemoteIP, "[]"), strconv.Itoa(r.RemotePort))
	}
	d := r.SecurityDetails
	if d == nil {
		return
	}
	// The certificates of third parties are not what the check is about.
	if u, err := url.Parse(x.url); err != nil || !x.main && !own(u) {
		return
	}
	names := slices.Clone(d.SANs)
	x.tls = &record.TLSFacts{Version: d.Protocol, Cipher: strings.Join(slices.DeleteFunc([]string{d.Kx, d.Group, d.Cipher}, func(s string) bool { return s == "" }), " "),
		Subject: "CN=" + d.Subject, Issuer: "CN=" + d.Issuer, Names: names[:min(len(names), 20)], NotAfter: time.Unix(int64(d.ValidTo), 0).UTC()}
	if x.proto == "HTTP/2" {
		x.tls.ALPN = "h2"
	}
}

// protocol is the name of a protocol as the other checks write it.
func protocol(p string) string {
	switch p = strings.ToLower(p); p {
	case "h2":
		return "HTTP/2"
	case "h3":
		return "HTTP/3"
	}
	return strings.ToUpper(p)
}

// began reports that some of the reply came.
func (x *exchange) began() bool { return x.answered }

// hop is the exchange as a run has it. now is the present on the browser's
// clock, for what has not ended.
func (x *exchange) hop(start time.Time, now float64) record.Hop {
	h := record.Hop{URL: x.url, Step: x.step, Type: x.kind, Address: x.address, Status: x.status, Proto: x.proto, Bytes: x.bytes, Location: x.location, TLS: x.tls}
	whole := int64(math.Floor(x.wall))
	h.Offset = record.Seconds(max(0, time.Unix(whole, int64((x.wall-float64(whole))*1e9)).Sub(start)))
	ended := x.ended
	if ended == 0 {
		ended = max(now, x.sent)
	}
	took := func(from, to float64) time.Duration {
		return max(0, time.Duration(math.Round((to-from)*1e6))*time.Microsecond)
	}
	set := func(p record.Phase, s record.PhaseState, d time.Duration) {
		h.Phases[p] = record.PhaseTime{State: s, Duration: d}
	}
	set(record.TLS, record.NotReached, 0)
	if strings.HasPrefix(x.url, "http://") {
		set(record.TLS, record.Skipped, 0)
	}
	switch t := x.timing; {
	case x.answered && t == nil, x.cached:
		for p := record.Resolve; p < record.Processing; p++ {
			set(p, record.Skipped, 0)
		}
		set(record.Processing, record.Done, took(x.sent, ended))
		set(record.Transfer, record.Done, 0)
	case x.answered:
		u, err := url.Parse(x.url)
		literal := err == nil && net.ParseIP(u.Hostname()) != nil
		ms := func(from, to float64) time.Duration { return took(from/1000, to/1000) }
		for p, span := range map[record.Phase][2]float64{record.Resolve: {t.DNSStart, t.DNSEnd}, record.Connect: {t.ConnectStart, t.ConnectEnd}, record.TLS: {t.SSLStart, t.SSLEnd}} {
			if span[0] < 0 || span[1] < 0 || p == record.Resolve && literal {
				set(p, record.Skipped, 0)
				continue
			}
			if p == record.Connect && t.SSLStart >= 0 {
				span[1] = t.SSLStart
			}
			set(p, record.Done, ms(span[0], span[1]))
		}
		first := t.ReceiveHeadersStart
		if first <= 0 {
			first = t.ReceiveHeadersEnd
		}
		set(record.Processing, record.Done, ms(t.SendStart, first))
		set(record.Transfer, record.Done, took(t.RequestTime+first/1000, ended))
		if x.ended == 0 || x.failed != "" && !x.canceled {
			h.Phases[record.Transfer].State = record.Failed
		}
	case x.failed != "" && !x.canceled:
		f := explain(x.failed, false)
		if p, ok := phaseOf(f.Stage); ok {
			set(p, record.Failed, took(x.sent, ended))
		}
	default: // nothing came: how far it got is not told
		set(record.Processing, record.Failed, took(x.sent, ended))
	}
	return h
}

// hops are at most maxHops of the exchanges of a run in their order: documents and
// failures first, then the first fifty, then the longest.
func (n *ledger) hops(start time.Time, now float64) (out []record.Hop, left int) {
	pick := slices.Clone(n.all)
	if len(pick) > maxHops {
		order := make(map[*exchange]int, len(pick))
		for i, x := range pick {
			order[x] = i
		}
		rank := func(x *exchange) int {
			switch {
			case x.main:
				return 0
			case x.failed != "" && !x.canceled || x.status >= 400:
				return 1
			case order[x] < 50:
				return 2
			}
			return 3
		}
		long := func(x *exchange) float64 {
			if x.ended == 0 {
				return now - x.sent
			}
			return x.ended - x.sent
		}
		slices.SortStableFunc(pick, func(a, b *exchange) int {
			if ra, rb := rank(a), rank(b); ra != rb {
				return ra - rb
			}
			switch d := long(b) - long(a); {
			case d > 0:
				return 1
			case d < 0:
				return -1
			}
			return order[a] - order[b]
		})
		pick = pick[:maxHops]
		slices.SortFunc(pick, func(a, b *exchange) int { return order[a] - order[b] })
	}
	for _, x := range pick {
		out = append(out, x.hop(start, now))
	}
	return out, n.count - len(out)
}

// complaint is a failed request in a line, "" for one that is well.
func (x *exchange) complaint() string {
	switch {
	case x.failed != "" && !x.canceled:
		return fmt.Sprintf("request failed: %s (%s)", x.url, x.failed)
	case x.status >= 400:
		return fmt.Sprintf("request failed: %s (%d %s)", x.url, x.status, http.StatusText(x.status))
	}
	return ""
}

// pending lists the requests from a document on that have not ended, the oldest
// first.
func (n *ledger) pending(from *exchange) (out []*exchange) {
	for _, x := range n.all[max(0, slices.Index(n.all, from)):] {
		if x.ended == 0 && n.open[x.id] == x {
			out = append(out, x)
		}
	}
	return out
}

// cut shortens a text to n bytes at most.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
