package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// talk is a conversation over a connection that stands: what is said, what is
// answered, and when. The phase processing lasts until the first byte of the
// first answer, transfer from then to the end of the last.
type talk struct {
	r     *run
	hop   *record.Hop
	conn  net.Conn
	br    *bufio.Reader
	began time.Time
	first time.Time // of the first answer
	said  bytes.Buffer
	limit int64
	err   error // of the connection
}

// maxLine bounds one line of a conversation.
const maxLine = 64 << 10

var errTooLarge = errors.New("the answer is larger than max_body_bytes allows")

// talkOver begins a conversation.
func (r *run) talkOver(conn net.Conn, hop *record.Hop) *talk {
	t := &talk{r: r, hop: hop, conn: conn, began: time.Now(), limit: r.MaxBodyBytes}
	t.br = bufio.NewReaderSize((*talkReader)(t), 4096)
	return t
}

// over goes on over TLS; what was read ahead belongs to the old conversation.
func (t *talk) over(conn net.Conn) {
	t.conn = conn
	t.br.Reset((*talkReader)(t))
}

// talkReader notes what comes, and when it began.
type talkReader talk

func (t *talkReader) Read(p []byte) (int, error) {
	if int64(t.said.Len()) >= t.limit {
		return 0, errTooLarge
	}
	n, err := t.conn.Read(p)
	if n > 0 {
		if t.first.IsZero() {
			t.first = time.Now()
			t.hop.Phases[record.Processing] = record.PhaseTime{State: record.Done, Duration: t.first.Sub(t.began)}
		}
		t.said.Write(p[:n])
		t.hop.Bytes += int64(n)
	}
	if err != nil {
		t.err = err
	}
	return n, err
}

func (t *talk) send(b []byte) *failure {
	if _, err := t.conn.Write(b); err != nil {
		// What the server said before it closed explains more than the write.
		if t.said.Len() == 0 {
			if n, rerr := t.br.Peek(1); len(n) == 0 && rerr != nil {
				return t.failure(err)
			}
		}
		return t.failure(err)
	}
	return nil
}

// line reads a line without its end.
func (t *talk) line() (string, *failure) {
	var out []byte
	for {
		part, err := t.br.ReadSlice('\n')
		out = append(out, part...)
		switch {
		case err == nil:
			return strings.TrimRight(string(out), "\r\n"), nil
		case errors.Is(err, bufio.ErrBufferFull) && len(out) < maxLine:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return "", &failure{"transfer", "too_large", fmt.Sprintf("a line of more than %d bytes came", maxLine)}
		}
		return string(out), t.failure(err)
	}
}

// failure says how a conversation broke off.
func (t *talk) failure(err error) *failure {
	if errors.Is(err, errTooLarge) {
		end(t.hop, record.Transfer, t.first, true)
		return &failure{"transfer", "too_large", fmt.Sprintf("the answer is larger than the %d bytes that max_body_bytes allows", t.limit)}
	}
	if t.first.IsZero() {
		end(t.hop, record.Processing, t.began, true)
		switch {
		case timedOut(err), t.r.ctx.Err() != nil:
			return &failure{"processing", "no_response", fmt.Sprintf("the connection stands, but no answer came within %s", short(t.r.limit))}
		case wasReset(err):
			return &failure{"processing", "reset", "the server cut the connection instead of answering"}
		case atEnd(err):
			return &failure{"processing", "no_response", "the server closed the connection without an answer"}
		}
		return &failure{"processing", "no_response", fmt.Sprintf("no answer came: %v", err)}
	}
	end(t.hop, record.Transfer, t.first, true)
	switch {
	case timedOut(err), t.r.ctx.Err() != nil:
		return &failure{"transfer", "slow_body", fmt.Sprintf("the answer began, but did not end within %s; %d bytes came", short(t.r.limit), t.said.Len())}
	case wasReset(err):
		return &failure{"transfer", "reset", fmt.Sprintf("the server cut the connection after %d bytes of its answer", t.said.Len())}
	}
	return &failure{"transfer", "cut_body", fmt.Sprintf("the server closed the connection after %d bytes of its answer", t.said.Len())}
}

// done ends the phases of a conversation that went well.
func (t *talk) done() {
	if t.first.IsZero() {
		t.hop.Phases[record.Processing].State = record.Skipped
		t.hop.Phases[record.Transfer].State = record.Skipped
		return
	}
	end(t.hop, record.Transfer, t.first, false)
}

// failSaying ends a run badly with what the server said as evidence.
func (r *run) failSaying(f *failure, said []byte) {
	r.fail(f, nil)
	if len(said) > 0 && r.res.Reason != "own_fault" {
		r.res.Reply = r.hidden.show(legible(said))
	}
}

// legible keeps a binary answer readable.
func legible(b []byte) string {
	b = b[:min(len(b), 2*maxReply)]
	if bytes.IndexByte(b, 0) < 0 {
		return string(b)
	}
	return fmt.Sprintf("%q", b)
}

// judgePlain compares an answer that is no HTTP with what is expected, and ends
// the run.
func (r *run) judgePlain(answer []byte) {
	if f := r.plainVerdict(answer, time.Now()); f != nil {
		r.failSaying(f, answer)
		return
	}
	r.succeed()
}

func (r *run) plainVerdict(answer []byte, now time.Time) *failure {
	e := r.expect
	switch {
	case e.BodyContains != "" && !bytes.Contains(answer, []byte(e.BodyContains)):
		return &failure{"body", "body", fmt.Sprintf("the answer (%d bytes) does not contain %q", len(answer), e.BodyContains)}
	case e.BodyNotContains != "" && bytes.Contains(answer, []byte(e.BodyNotContains)):
		return &failure{"body", "body", fmt.Sprintf("the answer contains %q and should not", e.BodyNotContains)}
	case e.bodyRE != nil && !e.bodyRE.Match(answer):
		return &failure{"body", "body", fmt.Sprintf("the answer (%d bytes) does not match the regular expression %q", len(answer), e.BodyRegex)}
	case e.bodyNotRE != nil && e.bodyNotRE.Match(answer):
		return &failure{"body", "body", fmt.Sprintf("the answer matches the regular expression %q and should not", e.BodyNotRegex)}
	}
	return r.timeVerdict(now)
}

// timeVerdict judges what every kind has: how long the run took, its phases and
// its certificate.
func (r *run) timeVerdict(now time.Time) *failure {
	e := r.expect
	if took := now.Sub(r.res.Start); e.MaxSeconds > 0 && took.Seconds() > e.MaxSeconds {
		return &failure{"assertion", "slow", fmt.Sprintf("the run took %.3f s; want at most %g s", took.Seconds(), e.MaxSeconds)}
	}
	if crt := r.res.Certificate(); e.tls != "" && crt != nil && crt.Version < e.tls { // "TLS 1.2" < "TLS 1.3"
		return &failure{"assertion", "assertion", fmt.Sprintf("the server speaks %s; want %s or newer", crt.Version, e.tls)}
	}
	total := r.res.Total()
	for ph := record.Resolve; ph < record.NumPhases; ph++ {
		if most, ok := e.Phases[ph.String()]; ok && total[ph].Duration.Seconds() > most {
			return &failure{"assertion", "slow", fmt.Sprintf("the phase %s took %.3f s; want at most %g s", ph, total[ph].Duration.Seconds(), most)}
		}
	}
	if crt := r.res.Certificate(); e.CertificateDays > 0 && crt != nil {
		if days := crt.NotAfter.Sub(now).Hours() / 24; days < float64(e.CertificateDays) {
			return &failure{"assertion", "certificate", fmt.Sprintf("the certificate ends in %.1f days, on %s; want %d days or more", days, day(crt.NotAfter), e.CertificateDays)}
		}
	}
	return nil
}
