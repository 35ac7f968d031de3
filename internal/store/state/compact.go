package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Nearly every run is a success, and as JSON it takes a kilobyte and 20 µs.
// Successes are therefore kept in a form of their own, about a tenth of that:
// fields in a fixed order, whole nanoseconds, and a text that came before in the
// same run (its URL, mostly) as a number. Failures stay JSON: they are rare, and
// somebody may want to read them with a plain SQLite shell.
//
// The first byte tells the forms apart: '{' is JSON, else it is the version of
// this one. A field that record.CheckResult gains is written after the others of
// its struct, under the next version, and read from that version on.
//
//	2: Hop.Encoding and Hop.Decoded, TLSFacts.OCSP and TLSFacts.Chain
const compactVersion = 2

const (
	flagSuccess = 1 << iota
	flagExtra
	flagLate
	flagMaintenance
	flagScreenshot
	flagHops // hops is not nil
)

// encodeRun gives the form in which a run is stored: a string for JSON, so that
// SQLite keeps it as text, or bytes.
func encodeRun(r record.CheckResult) (any, error) {
	if !r.Success {
		js, err := json.Marshal(r)
		return string(js), err
	}
	return appendCompact(make([]byte, 0, 256), r), nil
}

// decodeRun reads either form.
func decodeRun(b []byte) (record.CheckResult, error) {
	var r record.CheckResult
	if len(b) > 0 && b[0] == '{' {
		err := json.Unmarshal(b, &r)
		return r, err
	}
	u := unpacker{b: b}
	r = u.run()
	return r, u.err
}

type packer struct {
	b     []byte
	texts []string
}

func (p *packer) uint(v uint64) { p.b = binary.AppendUvarint(p.b, v) }
func (p *packer) int(v int64)   { p.b = binary.AppendVarint(p.b, v) }

// text writes 0 for "", 1 and the text when it is new, else its number and 2.
func (p *packer) text(s string) {
	if s == "" {
		p.b = append(p.b, 0)
		return
	}
	if i := slices.Index(p.texts, s); i >= 0 {
		p.uint(uint64(i) + 2)
		return
	}
	p.texts = append(p.texts, s)
	p.b = append(p.b, 1)
	p.uint(uint64(len(s)))
	p.b = append(p.b, s...)
}

func (p *packer) list(l []string) {
	p.uint(uint64(len(l)))
	for _, s := range l {
		p.text(s)
	}
}

func (p *packer) time(t time.Time) {
	p.int(t.Unix())
	p.uint(uint64(t.Nanosecond()))
}

func appendCompact(dst []byte, r record.CheckResult) []byte {
	p := packer{b: dst, texts: make([]string, 0, 16)}
	var flags byte
	for _, f := range []struct {
		on  bool
		bit byte
	}{{r.Success, flagSuccess}, {r.Extra, flagExtra}, {r.Late, flagLate}, {r.Maintenance, flagMaintenance}, {r.HasScreenshot, flagScreenshot}, {r.Hops != nil, flagHops}} {
		if f.on {
			flags |= f.bit
		}
	}
	p.b = append(p.b, compactVersion, flags)
	p.text(r.Check)
	p.text(r.Location)
	p.text(r.Kind)
	p.text(r.Target)
	p.time(r.Start)
	p.int(int64(r.Duration))
	p.int(int64(r.Lag))
	for _, s := range []string{r.Stage, r.Reason, r.Message, r.Reply, r.TraceID} {
		p.text(s)
	}
	p.uint(uint64(len(r.Hops)))
	for _, h := range r.Hops {
		p.hop(h)
	}
	p.uint(uint64(len(r.Steps)))
	for _, s := range r.Steps {
		p.text(s.Name)
		p.int(int64(s.Offset))
		p.int(int64(s.Duration))
		p.text(s.State)
		p.text(s.Message)
	}
	p.uint(uint64(len(r.Values)))
	for _, v := range r.Values {
		p.text(v.Name)
		p.list(v.Labels)
		p.b = binary.LittleEndian.AppendUint64(p.b, math.Float64bits(v.Value))
	}
	p.uint(uint64(len(r.Facts)))
	for _, k := range slices.Sorted(maps.Keys(r.Facts)) {
		p.text(k)
		p.text(r.Facts[k])
	}
	p.list(r.Console)
	return p.b
}

func (p *packer) hop(h record.Hop) {
	p.text(h.URL)
	p.text(h.Step)
	p.text(h.Type)
	p.int(int64(h.Offset))
	p.text(h.Address)
	for _, ph := range h.Phases {
		p.b = append(p.b, byte(ph.State))
		p.int(int64(ph.Duration))
	}
	p.int(int64(h.Status))
	p.text(h.Proto)
	p.int(h.Bytes)
	p.text(h.Location)
	p.text(h.Encoding)
	p.int(h.Decoded)
	if h.TLS == nil {
		p.b = append(p.b, 0)
		return
	}
	p.b = append(p.b, 1)
	for _, s := range []string{h.TLS.Version, h.TLS.Cipher, h.TLS.ALPN, h.TLS.Subject, h.TLS.Issuer} {
		p.text(s)
	}
	p.list(h.TLS.Names)
	p.time(h.TLS.NotAfter)
	p.text(h.TLS.OCSP)
	p.uint(uint64(len(h.TLS.Chain)))
	for _, c := range h.TLS.Chain {
		p.text(c.Subject)
		p.text(c.Issuer)
		p.time(c.NotBefore)
		p.time(c.NotAfter)
		p.text(c.Key)
		p.text(c.Signature)
		p.text(c.Weak)
	}
}

// unpacker reads what packer wrote. The first error stays, and everything read
// after it is empty.
type unpacker struct {
	b       []byte
	version byte
	texts   []string
	err     error
}

var errCut = errors.New("a stored run is cut or damaged")

func (u *unpacker) fail() {
	if u.err == nil {
		u.err = errCut
	}
	u.b = nil
}

func (u *unpacker) byte() byte {
	if len(u.b) == 0 {
		u.fail()
		return 0
	}
	c := u.b[0]
	u.b = u.b[1:]
	return c
}

func (u *unpacker) uint() uint64 {
	v, n := binary.Uvarint(u.b)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpacker) int() int64 {
	v, n := binary.Varint(u.b)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.b = u.b[n:]
	return v
}

// count reads a length; each thing counted takes at least a byte.
func (u *unpacker) count() int {
	n := u.uint()
	if n > uint64(len(u.b)) {
		u.fail()
		return 0
	}
	return int(n)
}

func (u *unpacker) text() string {
	switch k := u.uint(); {
	case k == 0:
		return ""
	case k == 1:
		n := u.count()
		if u.err != nil {
			return ""
		}
		s := string(u.b[:n])
		u.b = u.b[n:]
		u.texts = append(u.texts, s)
		return s
	case k-2 < uint64(len(u.texts)):
		return u.texts[k-2]
	}
	u.fail()
	return ""
}

func (u *unpacker) list() []string {
	n := u.count()
	if n == 0 {
		return nil
	}
	l := make([]string, n)
	for i := range l {
		l[i] = u.text()
	}
	return l
}

func (u *unpacker) time() time.Time {
	sec := u.int()
	nano := u.uint()
	if nano >= 1e9 {
		u.fail()
		return time.Time{}
	}
	return time.Unix(sec, int64(nano)).UTC()
}

func (u *unpacker) run() record.CheckResult {
	var r record.CheckResult
	if u.version = u.byte(); u.version < 1 || u.version > compactVersion {
		u.err = fmt.Errorf("a stored run has the form %d, this version knows 1 to %d", u.version, compactVersion)
		return r
	}
	flags := u.byte()
	r.Success, r.Extra, r.Late = flags&flagSuccess != 0, flags&flagExtra != 0, flags&flagLate != 0
	r.Maintenance, r.HasScreenshot = flags&flagMaintenance != 0, flags&flagScreenshot != 0
	r.Check, r.Location, r.Kind, r.Target = u.text(), u.text(), u.text(), u.text()
	r.Start = u.time()
	r.Duration, r.Lag = time.Duration(u.int()), time.Duration(u.int())
	r.Stage, r.Reason, r.Message, r.Reply, r.TraceID = u.text(), u.text(), u.text(), u.text(), u.text()
	n := u.count()
	if flags&flagHops != 0 {
		r.Hops = make([]record.Hop, 0, min(n, 64))
	}
	for range n {
		if u.err != nil {
			return r
		}
		r.Hops = append(r.Hops, u.hop())
	}
	for range u.count() {
		r.Steps = append(r.Steps, record.Step{Name: u.text(), Offset: record.Seconds(u.int()), Duration: record.Seconds(u.int()), State: u.text(), Message: u.text()})
	}
	for range u.count() {
		v := record.Value{Name: u.text(), Labels: u.list()}
		if len(u.b) < 8 {
			u.fail()
			return r
		}
		v.Value = math.Float64frombits(binary.LittleEndian.Uint64(u.b))
		u.b = u.b[8:]
		r.Values = append(r.Values, v)
	}
	if n := u.count(); n > 0 {
		r.Facts = make(map[string]string, n)
		for range n {
			k := u.text()
			r.Facts[k] = u.text()
		}
	}
	r.Console = u.list()
	return r
}

func (u *unpacker) hop() record.Hop {
	h := record.Hop{URL: u.text(), Step: u.text(), Type: u.text(), Offset: record.Seconds(u.int()), Address: u.text()}
	for i := range h.Phases {
		s := record.PhaseState(u.byte())
		if s > record.Skipped {
			u.fail()
			return h
		}
		h.Phases[i] = record.PhaseTime{State: s, Duration: time.Duration(u.int())}
	}
	h.Status, h.Proto, h.Bytes, h.Location = int(u.int()), u.text(), u.int(), u.text()
	if u.version >= 2 {
		h.Encoding, h.Decoded = u.text(), u.int()
	}
	if u.byte() == 1 {
		h.TLS = &record.TLSFacts{Version: u.text(), Cipher: u.text(), ALPN: u.text(), Subject: u.text(), Issuer: u.text(), Names: u.list(), NotAfter: u.time()}
		if u.version >= 2 {
			h.TLS.OCSP = u.text()
			for range u.count() {
				h.TLS.Chain = append(h.TLS.Chain, record.CertFacts{Subject: u.text(), Issuer: u.text(), NotBefore: u.time(), NotAfter: u.time(), Key: u.text(), Signature: u.text(), Weak: u.text()})
			}
		}
	}
	return h
}
