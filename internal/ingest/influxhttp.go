package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// influxAPI is what differs between the generations of the HTTP API.
type influxAPI struct {
	database   string // the parameter that says where to write
	precisions map[string]influxPrecision
	wanted     string // the precisions, for those who ask for another
	refuse     func(w http.ResponseWriter, code int, message string)
}

var (
	influxV1 = influxAPI{
		database: "db",
		precisions: map[string]influxPrecision{
			"": influxNanoseconds, "n": influxNanoseconds, "ns": influxNanoseconds,
			// The sign for micro, and the Greek letter.
			"u": {1, 1e3}, "us": {1, 1e3}, "\u00b5": {1, 1e3}, "\u03bc": {1, 1e3},
			"ms": {1, 1}, "s": {1e3, 1}, "m": {60e3, 1}, "h": {3600e3, 1},
		},
		wanted: "n, u, ms, s, m or h",
		refuse: refuseInfluxV1,
	}
	influxV2 = influxAPI{
		database: "bucket",
		precisions: map[string]influxPrecision{
			"": influxNanoseconds, "ns": influxNanoseconds, "us": {1, 1e3}, "ms": {1, 1}, "s": {1e3, 1},
		},
		wanted: "ns, us, ms or s",
		refuse: refuseInfluxV2,
	}
)

// Write is POST /write of InfluxDB 1.x, with db and precision. The consistency
// and the retention policy mean nothing here. The body may be compressed with
// gzip, zstd or deflate. 204 says that every line is stored; 400 that the lines
// it names are not, and the others are; 5xx that none is.
func (i *Influx) Write(w http.ResponseWriter, r *http.Request) { i.write(w, r, &influxV1) }

// WriteV2 is POST /api/v2/write of InfluxDB 2.x, with bucket and precision. The
// organisation means nothing here. It answers as Write does.
func (i *Influx) WriteV2(w http.ResponseWriter, r *http.Request) { i.write(w, r, &influxV2) }

func (i *Influx) write(w http.ResponseWriter, r *http.Request, api *influxAPI) {
	i.header(w)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		api.refuse(w, http.StatusMethodNotAllowed, "lines are written with POST")
		return
	}
	// Not FormValue: curl says of any body that it is a form.
	query := r.URL.Query()
	precision, ok := api.precisions[query.Get("precision")]
	if !ok {
		api.refuse(w, http.StatusBadRequest, fmt.Sprintf("invalid precision %q; want %s", query.Get("precision"), api.wanted))
		return
	}
	to := influxTarget{db: query.Get(api.database), precision: precision, now: time.Now().UnixMilli()}
	work := i.work.Get().(*influxWork)
	defer i.free(work)
	b := i.sink.Batch("influx")
	defer b.Free()
	body, err := i.body(r, &work.buf)
	if err != nil {
		reason := "undecodable"
		if err.code == http.StatusRequestEntityTooLarge {
			reason = "too_large"
		}
		i.sink.counts.Add("influx", 0, map[string]int{reason: 1})
		api.refuse(w, err.code, err.Error())
		return
	}
	i.take(b, work, body, to)
	i.answer(w, r, b, api)
}

// answer stores what b holds and tells the sender.
func (i *Influx) answer(w http.ResponseWriter, r *http.Request, b *Batch, api *influxAPI) {
	out, err := b.Commit(r.Context())
	switch {
	case err != nil:
		i.log.Error("a request of the InfluxDB line protocol was not stored", "err", err)
		code := http.StatusInternalServerError
		if record.KindOf(err) == record.Unavailable {
			code = http.StatusServiceUnavailable
		}
		w.Header().Set("Retry-After", "5")
		api.refuse(w, code, err.Error())
	case out.RefusedN == 0:
		w.WriteHeader(http.StatusNoContent)
	default:
		i.log.Debug("lines of the InfluxDB line protocol were refused", "refused", out.RefusedN, "stored", out.Stored(), "first", out.Refused[0].Err)
		message := influxRefusals(&out)
		// Clients look for these words. Without them, no line was right.
		if bad := out.ByReason[influxUndecodable] + out.ByReason[influxTooLong]; out.Stored() > 0 || bad < out.RefusedN {
			message = fmt.Sprintf("partial write: %s dropped=%d", message, out.RefusedN)
		}
		api.refuse(w, http.StatusBadRequest, message)
	}
}

// influxRefusals lists the first refusals. A line that does not parse is told in
// the words of InfluxDB, which some clients look for.
func influxRefusals(out *Outcome) string {
	var s strings.Builder
	for i, r := range out.Refused {
		if i > 0 {
			s.WriteByte('\n')
		}
		if bad, is := errors.AsType[*influxLineError](r.Err); is {
			fmt.Fprintf(&s, "unable to parse '%s': line %d: %s", bad.excerpt, r.Line, bad.err)
		} else {
			fmt.Fprintf(&s, "line %d: %s", r.Line, r.Err)
		}
	}
	if more := out.RefusedN - len(out.Refused); more > 0 {
		fmt.Fprintf(&s, "\n... and %d more", more)
	}
	return s.String()
}

func (i *Influx) header(w http.ResponseWriter) {
	w.Header().Set("X-Influxdb-Version", i.cfg.Version)
	w.Header().Set("X-Influxdb-Build", "OSS")
}

func refuseInfluxV1(w http.ResponseWriter, code int, message string) {
	w.Header().Set("X-Influxdb-Error", inHeader(message))
	answerJSON(w, code, map[string]string{"error": message})
}

func refuseInfluxV2(w http.ResponseWriter, code int, message string) {
	kind := "internal error"
	switch code {
	case http.StatusBadRequest, http.StatusUnsupportedMediaType:
		kind = "invalid"
	case http.StatusMethodNotAllowed:
		kind = "method not allowed"
	case http.StatusRequestEntityTooLarge:
		kind = "request too large"
	case http.StatusServiceUnavailable:
		kind = "unavailable"
	}
	w.Header().Set("X-Platform-Error-Code", kind)
	answerJSON(w, code, map[string]string{"code": kind, "message": message})
}

// inHeader is the beginning of a message in the letters that a header may have.
func inHeader(message string) string {
	const most = 512
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return ' '
		}
		return c
	}, message[:min(len(message), most)])
}

func answerJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // it fails when the client has gone
}

// body reads the request's body into buf and decompresses it.
func (i *Influx) body(r *http.Request, buf *[]byte) ([]byte, *badRequest) {
	plain, err := decompressed(r.Header.Get("Content-Encoding"), r.Body, r.ContentLength, i.cfg.MaxBytes, (*buf)[:0])
	*buf = plain
	var tooLarge *http.MaxBytesError
	var bad *badRequest
	switch {
	case err == nil:
		return plain, nil
	case errors.As(err, &tooLarge):
		return nil, &badRequest{http.StatusRequestEntityTooLarge, fmt.Errorf("%w; send fewer lines at once", err)}
	case errors.As(err, &bad):
		return nil, bad
	}
	return nil, &badRequest{http.StatusBadRequest, fmt.Errorf("read the request's body: %w", err)}
}
