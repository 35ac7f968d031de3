package record

import (
	"encoding/json"
	"time"
)

// Phase is one part of an HTTP transaction.
type Phase int

// The phases in the order in which a transaction passes them.
const (
	Resolve    Phase = iota // before the lookup until the address is chosen
	Connect                 // first SYN until TCP is established
	TLS                     // ClientHello until the handshake is done
	Processing              // request written until the first byte of the reply
	Transfer                // first byte until the end of the body
	NumPhases
)

var phaseNames = [NumPhases]string{"resolve", "connect", "tls", "processing", "transfer"}

// String gives the name used in metrics and JSON.
func (p Phase) String() string { return phaseNames[p] }

// PhaseState tells how far a phase came.
type PhaseState int

// The states. NotReached is the zero value; Skipped is a phase that the
// transaction does not have (tls on plain http, resolve of a literal address).
const (
	NotReached PhaseState = iota
	Done
	Failed
	Skipped
)

var phaseStateNames = [...]string{"not_reached", "done", "failed", "skipped"}

// String gives the name used in JSON.
func (s PhaseState) String() string { return phaseStateNames[s] }

// PhaseTime is the time spent in one phase. A failed phase keeps the time spent
// in it.
type PhaseTime struct {
	State    PhaseState
	Duration time.Duration
}

// MarshalJSON renders {"state":"done","seconds":0.012}.
func (p PhaseTime) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		State   string  `json:"state"`
		Seconds float64 `json:"seconds"`
	}{p.State.String(), p.Duration.Seconds()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *PhaseTime) UnmarshalJSON(b []byte) error {
	var v struct {
		State   string  `json:"state"`
		Seconds float64 `json:"seconds"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	for i, n := range phaseStateNames {
		if n == v.State {
			p.State = PhaseState(i)
		}
	}
	p.Duration = time.Duration(v.Seconds * float64(time.Second))
	return nil
}

// Phases are the five phases of one hop.
type Phases [NumPhases]PhaseTime

// MarshalJSON renders an object keyed by phase name.
func (p Phases) MarshalJSON() ([]byte, error) {
	m := make(map[string]PhaseTime, NumPhases)
	for i, t := range p {
		m[Phase(i).String()] = t
	}
	return json.Marshal(m)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Phases) UnmarshalJSON(b []byte) error {
	var m map[string]PhaseTime
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for i := range p {
		p[i] = m[Phase(i).String()]
	}
	return nil
}

// Seconds is a duration that JSON writes in seconds.
type Seconds time.Duration

// MarshalJSON renders 0.012.
func (s Seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}

// Hop is one exchange of a check: the first request, one after a redirect, a
// step of a flow, a resource that a browser loaded.
type Hop struct {
	URL string `json:"url"`
	// Step is the name of the flow's step that the hop belongs to, "" outside
	// flows.
	Step string `json:"step,omitempty"`
	// Type is the kind of resource that a browser loaded ("document", "script"),
	// "" elsewhere.
	Type string `json:"type,omitempty"`
	// Offset is when the hop began, counted from the run's start.
	Offset  Seconds `json:"offset_seconds"`
	Address string  `json:"address,omitempty"` // ip:port that was dialled
	Phases  Phases  `json:"phases"`
	Status  int     `json:"status,omitempty"` // 0: no status line came
	Proto   string  `json:"proto,omitempty"`  // "HTTP/1.1"
	Bytes   int64   `json:"bytes"`            // body bytes read, as they came
	// Encoding is the content encoding that was undone ("gzip"), "" when none;
	// Decoded is the length of the body after it.
	Encoding string `json:"encoding,omitempty"`
	Decoded  int64  `json:"decoded_bytes,omitempty"`
	// Location is the redirect's target, "" when the hop was the last.
	Location string    `json:"location,omitempty"`
	TLS      *TLSFacts `json:"tls,omitempty"`
}

// Step is one step of a flow.
type Step struct {
	Name     string  `json:"name"`
	Offset   Seconds `json:"offset_seconds"`
	Duration Seconds `json:"duration_seconds"`
	// State is "ok", "failed" or "not_reached".
	State   string `json:"state"`
	Message string `json:"message,omitempty"` // why it failed
}

// Value is a number that a run measured besides its phases, under the name of
// its series.
type Value struct {
	Name   string   `json:"name"`             // such as "probe_dns_answer_rrs"
	Labels []string `json:"labels,omitempty"` // name, value pairs
	Value  float64  `json:"value"`
}

// TLSFacts are what the handshake told.
type TLSFacts struct {
	Version  string    `json:"version"`
	Cipher   string    `json:"cipher"`
	ALPN     string    `json:"alpn,omitempty"`
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	Names    []string  `json:"names,omitempty"`
	NotAfter time.Time `json:"not_after"` // the earliest of the presented chain
	// OCSP is the state that the server stapled: "good", "revoked on ...",
	// "unknown", "old" or "unreadable"; "" when it stapled none.
	OCSP string `json:"ocsp,omitempty"`
	// Chain are the certificates as presented, the server's own first, at most 10.
	Chain []CertFacts `json:"chain,omitempty"`
}

// CertFacts are what is worth knowing of one certificate.
type CertFacts struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Key       string    `json:"key"`            // "RSA 2048", "ECDSA P-256", "Ed25519"
	Signature string    `json:"signature"`      // "SHA256-RSA"
	Weak      string    `json:"weak,omitempty"` // what is unsafe about it
}

// CheckResult is one run of one check from one location.
type CheckResult struct {
	Check    string        `json:"check"` // the check's id
	Kind     string        `json:"kind"`  // "http", "dns"; see package probe
	Target   string        `json:"target"`
	Location string        `json:"location"` // "hub" for this process
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"-"`
	// Lag is how late the run started against its due time.
	Lag     time.Duration `json:"-"`
	Success bool          `json:"success"`
	// Stage is where it failed: resolve, connect, tls, processing, transfer,
	// redirect, status, header, body or assertion. "" on success.
	Stage string `json:"stage,omitempty"`
	// Reason is a word of a closed list: see package probe. "" on success.
	Reason string `json:"reason,omitempty"`
	// Message says in a sentence what failed. "" on success.
	Message string `json:"message,omitempty"`
	Hops    []Hop  `json:"hops"`
	// Reply is the head of the failed reply (status line, headers, first bytes
	// of the body), size-capped, secrets removed.
	Reply   string `json:"reply,omitempty"`
	TraceID string `json:"trace_id,omitempty"`
	// Steps are those of a flow, in order, the ones not reached included.
	Steps []Step `json:"steps,omitempty"`
	// Values are what the kind of check measured besides the phases; each is a
	// sample of a series.
	Values []Value `json:"values,omitempty"`
	// Facts are what the kind of check learned and a reader wants to see, such
	// as the answers of a name server. No secrets.
	Facts map[string]string `json:"facts,omitempty"`
	// Console holds what a browser's console said, on failure.
	Console []string `json:"console,omitempty"`
	// Screenshot is a JPEG or PNG of the page, on failure of a browser flow. It
	// is kept beside the run and not part of its JSON.
	Screenshot []byte `json:"-"`
	// HasScreenshot says that a screenshot is kept.
	HasScreenshot bool `json:"has_screenshot,omitempty"`
	// Extra marks a run outside the schedule: a confirmation or one by hand.
	Extra bool `json:"extra,omitempty"`
	// Late marks a run that reached the hub after its time; it does not vote.
	Late bool `json:"late,omitempty"`
	// Maintenance marks a run within a maintenance window.
	Maintenance bool `json:"maintenance,omitempty"`
}

// MarshalJSON adds the durations in seconds.
func (r CheckResult) MarshalJSON() ([]byte, error) {
	type plain CheckResult
	return json.Marshal(struct {
		plain
		DurationSeconds float64 `json:"duration_seconds"`
		LagSeconds      float64 `json:"lag_seconds"`
	}{plain(r), r.Duration.Seconds(), r.Lag.Seconds()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *CheckResult) UnmarshalJSON(b []byte) error {
	type plain CheckResult
	v := struct {
		*plain
		DurationSeconds float64 `json:"duration_seconds"`
		LagSeconds      float64 `json:"lag_seconds"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	r.Duration = time.Duration(v.DurationSeconds * float64(time.Second))
	r.Lag = time.Duration(v.LagSeconds * float64(time.Second))
	return nil
}

// part reports that a browser loaded the hop for a page: it ran beside others
// and is no exchange of the check itself.
func (h *Hop) part() bool { return h.Type != "" && h.Type != "document" }

// Total sums each phase over all hops but the parts of pages; the state is that
// of the last hop that has the phase.
func (r CheckResult) Total() Phases {
	var t Phases
	for _, h := range r.Hops {
		if h.part() {
			continue
		}
		for i, p := range h.Phases {
			t[i].Duration += p.Duration
			if p.State != NotReached {
				t[i].State = p.State
			}
		}
	}
	return t
}

// Status is the HTTP status of the last hop that is no part of a page, 0 when
// none came.
func (r CheckResult) Status() int {
	for i := len(r.Hops) - 1; i >= 0; i-- {
		if !r.Hops[i].part() {
			return r.Hops[i].Status
		}
	}
	return 0
}

// Certificate returns the TLS facts of the last hop that has any, or nil.
func (r CheckResult) Certificate() *TLSFacts {
	for i := len(r.Hops) - 1; i >= 0; i-- {
		if r.Hops[i].TLS != nil {
			return r.Hops[i].TLS
		}
	}
	return nil
}
