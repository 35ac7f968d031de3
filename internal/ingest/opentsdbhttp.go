package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Put takes POST and PUT of /api/put, as OpenTSDB 2.4 has it: a data point or a
// list of them in JSON, maybe compressed. The points that are right are stored when
// the answer comes; then it is 204, or 400 when others were not. With the
// parameter details or summary the answer is JSON that counts them; details has
// the first ten faults, too. JSON that cannot be read stores nothing.
func (o *OpenTSDB) Put(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		w.Header().Set("Allow", "POST, PUT")
		openTSDBError(w, http.StatusMethodNotAllowed, "Method not allowed", "The HTTP method ["+r.Method+"] is not permitted for this endpoint; use POST")
		return
	}
	bufs := bufferPool.Get().(*buffers)
	defer bufs.free()
	b := o.sink.Batch(openTSDBHTTPProtocol)
	defer b.Free()
	body, n, bad := o.decode(r, b, bufs)
	if bad != nil {
		reason := "undecodable"
		if bad.code == http.StatusRequestEntityTooLarge {
			reason = "too_large"
		}
		o.sink.counts.Add(openTSDBHTTPProtocol, 0, map[string]int{reason: 1})
		openTSDBError(w, bad.code, bad.Error(), "")
		return
	}
	out, err := b.Commit(r.Context())
	if err != nil {
		if o.faults.now() {
			o.log.Error("points of OpenTSDB were not stored", "err", err)
		}
		openTSDBError(w, http.StatusInternalServerError, "The data points were not stored; send them again", err.Error())
		return
	}
	q := r.URL.Query()
	switch {
	case q.Has("details"):
		openTSDBAnswerPut(w, out, n, openTSDBDetails(body, &out))
	case q.Has("summary"):
		openTSDBAnswerPut(w, out, n, nil)
	case out.RefusedN > 0:
		openTSDBError(w, http.StatusBadRequest, "One or more data points had errors", `Please see the TSD logs or append "details" to the put request`)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

type openTSDBDetail struct {
	Datapoint json.RawMessage `json:"datapoint"`
	Error     string          `json:"error"`
}

func openTSDBAnswerPut(w http.ResponseWriter, out Outcome, n int, details []openTSDBDetail) {
	code := http.StatusOK
	if out.RefusedN > 0 {
		code = http.StatusBadRequest
	}
	answer := struct {
		Errors  *[]openTSDBDetail `json:"errors,omitempty"`
		Failed  int               `json:"failed"`
		Success int               `json:"success"`
	}{nil, out.RefusedN, n - out.RefusedN}
	if details != nil {
		answer.Errors = &details
	}
	openTSDBJSON(w, code, answer)
}

// openTSDBDetails names the faults with their points, which are found by their
// number: the body is walked again, so that a body without a fault costs nothing.
func openTSDBDetails(body []byte, out *Outcome) []openTSDBDetail {
	details := []openTSDBDetail{}
	refused, line := out.Refused, 0
	j := jsonWalk{p: body}
	j.list(func() {
		line++
		at := j.at
		j.skip()
		for len(refused) > 0 && refused[0].Line == line {
			details = append(details, openTSDBDetail{bytes.Clone(body[at:j.at]), refused[0].Err.Error()})
			refused = refused[1:]
		}
	})
	return details
}

// decode reads the body of a request, which lies in bufs, and adds its n points
// to b.
func (o *OpenTSDB) decode(r *http.Request, b *Batch, bufs *buffers) (body []byte, n int, bad *badRequest) {
	body, err := decompressed(r.Header.Get("Content-Encoding"), r.Body, r.ContentLength, o.cfg.MaxBytes, bufs.plain[:0])
	bufs.plain = body
	if err == nil && !json.Valid(body) {
		err = fmt.Errorf("unable to parse the given JSON: %w", jsonFault(body))
	}
	if err == nil {
		n, err = o.points(b, body)
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return body, n, nil
	case errors.As(err, &tooLarge):
		return nil, 0, &badRequest{http.StatusRequestEntityTooLarge, err}
	case errors.As(err, &bad):
		return nil, 0, bad
	}
	return nil, 0, &badRequest{http.StatusBadRequest, err}
}

// jsonFault says where JSON is wrong.
func jsonFault(body []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(body, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("byte %d: %w", syntax.Offset, err)
	}
	return err
}

// points adds the data points of a body, which is valid JSON, and returns how
// many there are.
func (o *OpenTSDB) points(b *Batch, body []byte) (n int, err error) {
	tags := o.tags.Get().(*[]openTSDBTag)
	defer func() {
		clear((*tags)[:cap(*tags)]) // they lie in the body
		o.tags.Put(tags)
	}()
	j := jsonWalk{p: body}
	j.space()
	if c := body[j.at]; c != '[' && c != '{' {
		return 0, errors.New("the JSON is neither a data point nor a list of them")
	}
	j.list(func() {
		n++
		if body[j.at] != '{' {
			j.skip()
			b.Refuse(n, openTSDBNoObject.reason, openTSDBNoObject)
			return
		}
		p := openTSDBPoint{tags: (*tags)[:0]}
		f := p.read(&j)
		*tags = p.tags
		if f == nil {
			f = p.add(b, n)
		}
		if f != nil {
			b.Refuse(n, f.reason, f)
		}
	})
	if n == 0 {
		return 0, errors.New("no datapoints found in content")
	}
	return n, nil
}

// read reads the object at j, to its end whatever is in it. What is not known is
// left out.
func (p *openTSDBPoint) read(j *jsonWalk) (f *openTSDBFault) {
	j.object(func(key []byte) {
		switch string(key) {
		case "metric":
			if j.p[j.at] != '"' {
				f = openTSDBArgument("invalid_name", "the metric is not a text")
				j.skip()
				return
			}
			p.metric = j.scalar()
		case "timestamp":
			p.time = j.scalar()
		case "value":
			p.value = j.scalar()
		case "tags":
			if c := j.p[j.at]; c != '{' {
				if c != 'n' { // null
					f = openTSDBArgument("invalid_tag", "the tags are not an object")
				}
				j.skip()
				return
			}
			p.tags = p.tags[:0]
			j.object(func(key []byte) {
				if len(p.tags) == maxOpenTSDBTags {
					f = openTSDBArgument("invalid_tag", "too many tags: at most %d are taken", maxOpenTSDBTags)
					j.skip()
					return
				}
				p.tags = append(p.tags, openTSDBTag{key, j.scalar()})
			})
		default:
			j.skip()
		}
	})
	return f
}

// jsonWalk goes through text that json.Valid has passed, and so needs no checks
// of its own. Between its calls at is where a value begins.
type jsonWalk struct {
	p  []byte
	at int
}

func (j *jsonWalk) space() {
	for j.at < len(j.p) && (j.p[j.at] == ' ' || j.p[j.at] == '\n' || j.p[j.at] == '\t' || j.p[j.at] == '\r') {
		j.at++
	}
}

// list calls f at each item of a list, or once at a value that is no list. f
// must go to the end of its value.
func (j *jsonWalk) list(f func()) {
	j.space()
	if j.p[j.at] != '[' {
		f()
		return
	}
	j.at++
	for {
		j.space()
		switch j.p[j.at] {
		case ']':
			j.at++
			return
		case ',':
			j.at++
		default:
			f()
		}
	}
}

// object calls f with each key, at its value. f must go to the end of the value.
func (j *jsonWalk) object(f func(key []byte)) {
	j.at++
	for {
		j.space()
		switch j.p[j.at] {
		case '}':
			j.at++
			return
		case ',':
			j.at++
		default:
			key := j.scalar()
			j.space()
			j.at++ // the colon
			j.space()
			f(key)
		}
	}
}

// scalar returns the text at hand, or a number, true or false as it is written;
// nothing for null, and for an object or a list their JSON. It goes to its end.
func (j *jsonWalk) scalar() []byte {
	from := j.at
	j.skip()
	p := j.p[from:j.at]
	switch {
	case p[0] == 'n':
		return nil
	case p[0] != '"':
		return p
	case bytes.IndexByte(p, '\\') < 0:
		return p[1 : len(p)-1]
	}
	var s string
	if err := json.Unmarshal(p, &s); err != nil {
		return p // not reached: it is valid
	}
	return []byte(s)
}

// skip goes over the value at hand.
func (j *jsonWalk) skip() {
	depth := 0
	for {
		switch j.p[j.at] {
		case '"':
			for j.at++; j.p[j.at] != '"'; j.at++ {
				if j.p[j.at] == '\\' {
					j.at++
				}
			}
			j.at++
		case '{', '[':
			depth++
			j.at++
		case '}', ']':
			depth--
			j.at++
		default:
			from := j.at
			for j.at < len(j.p) && !jsonEnds(j.p[j.at]) {
				j.at++
			}
			if j.at == from {
				j.at++ // a comma, a colon or a space
			}
		}
		if depth == 0 {
			return
		}
	}
}

func jsonEnds(c byte) bool {
	switch c {
	case ',', ':', '}', ']', ' ', '\n', '\t', '\r', '"':
		return true
	}
	return false
}

// openTSDBError answers in the form of OpenTSDB.
func openTSDBError(w http.ResponseWriter, code int, message, details string) {
	type fault struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Details string `json:"details,omitempty"`
	}
	openTSDBJSON(w, code, map[string]fault{"error": {code, message, details}})
}

func openTSDBJSON(w http.ResponseWriter, code int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	_, _ = w.Write(text) // a client that is gone
}

// Version answers /api/version.
func (o *OpenTSDB) Version(w http.ResponseWriter, _ *http.Request) {
	short := o.cfg.Revision
	openTSDBJSON(w, http.StatusOK, map[string]string{
		"version": o.cfg.Version, "full_revision": o.cfg.Revision, "short_revision": short[:min(len(short), 7)],
		"repo": "", "repo_status": "", "user": "", "host": o.host, "timestamp": strconv.FormatInt(time.Now().Unix(), 10),
	})
}

// Stats answers /api/stats with the counters that the command stats tells.
func (o *OpenTSDB) Stats(w http.ResponseWriter, _ *http.Request) {
	type stat struct {
		Metric    string            `json:"metric"`
		Timestamp int64             `json:"timestamp"`
		Value     int64             `json:"value"`
		Tags      map[string]string `json:"tags"`
	}
	now := time.Now().Unix()
	out := []stat{}
	for _, s := range o.stats() {
		out = append(out, stat{s.metric, now, s.value, map[string]string{s.key: s.label, "host": o.host}})
	}
	openTSDBJSON(w, http.StatusOK, out)
}

// serveHTTP serves a connection of which r has read the beginning, and returns
// when its last request has been answered.
func (o *OpenTSDB) serveHTTP(ctx context.Context, conn net.Conn, r *connReader) {
	_ = conn.SetReadDeadline(time.Time{}) // the server sets its own
	l := &oneConn{conn: &begunConn{Conn: conn, begun: r.rest()}, ended: make(chan struct{}), closed: make(chan struct{})}
	srv := &http.Server{
		Handler:           o.cfg.HTTP,
		ReadHeaderTimeout: min(o.cfg.IdleTimeout, 10*time.Second),
		IdleTimeout:       o.cfg.IdleTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(o.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed || s == http.StateHijacked {
				l.end()
			}
		},
	}
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTSDBLast)
		defer cancel()
		if srv.Shutdown(last) != nil {
			_ = srv.Close() // the connection is closed below in any case
		}
	})
	_ = srv.Serve(l) // it ends with the connection, or with ctx
	if l.conn == nil {
		<-l.ended // the last request
	} // else ctx had ended before
	if !unhook() {
		<-stopped
	}
}

// openTSDBLast is how long a request may go on when the server stops.
const openTSDBLast = 10 * time.Second

// begunConn is a connection of which the beginning was read already.
type begunConn struct {
	net.Conn
	begun []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.begun) > 0 {
		n := copy(p, c.begun)
		c.begun = c.begun[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// oneConn is a listener to which one connection comes, and no other.
type oneConn struct {
	conn          net.Conn
	ended, closed chan struct{} // the connection; the listener
	once, onceEnd sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	select {
	case <-l.ended:
	case <-l.closed:
	}
	return nil, net.ErrClosed
}

func (l *oneConn) end() { l.onceEnd.Do(func() { close(l.ended) }) }

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return openTSDBAddr{} }

type openTSDBAddr struct{}

func (openTSDBAddr) Network() string { return "tcp" }
func (openTSDBAddr) String() string  { return "opentsdb" }
