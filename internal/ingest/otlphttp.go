package ingest

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"

	"github.com/VictoriaMetrics/easyproto"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc/codes"

	"github.com/vedette-sre/vedette/internal/record"
)

// maxOTLPObjects bounds the memory that a request in JSON takes: an object of
// two letters becomes some hundred bytes.
const maxOTLPObjects = 1 << 20

// Metrics is POST /v1/metrics of OTLP/HTTP, in protobuf or JSON; the body may be
// compressed with gzip, zstd or deflate. It answers in the encoding of the
// request: 200, with partial_success where data points were refused; 400 for a
// request that is not well-formed, of which nothing is stored, and 413 for one
// that is too large; 503, or 429, with Retry-After when it should be sent again.
// Errors are a google.rpc.Status.
func (o *OTLP) Metrics(w http.ResponseWriter, r *http.Request) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	inJSON := false
	switch media {
	case "application/x-protobuf":
	case "application/json":
		inJSON = true
	default:
		o.sink.counts.Add(otlpProtocol, 0, map[string]int{"undecodable": 1})
		http.Error(w, fmt.Sprintf("the content type %q is not taken; want application/x-protobuf or application/json", r.Header.Get("Content-Type")), http.StatusUnsupportedMediaType)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		answerOTLP(w, http.StatusMethodNotAllowed, inJSON, otlpStatus(codes.Unimplemented, "metrics are sent with POST", inJSON))
		return
	}
	bufs := bufferPool.Get().(*buffers)
	defer bufs.free()
	body, code, err := o.body(r, bufs, inJSON)
	if err != nil {
		reason := "undecodable"
		if code == http.StatusRequestEntityTooLarge {
			reason = "too_large"
		}
		o.sink.counts.Add(otlpProtocol, 0, map[string]int{reason: 1})
		answerOTLP(w, code, inJSON, otlpStatus(codes.InvalidArgument, err.Error(), inJSON))
		return
	}
	partial, err := o.Export(r.Context(), body)
	if err == nil {
		answerOTLP(w, http.StatusOK, inJSON, otlpResponse(partial, inJSON))
		return
	}
	status, code, retry := otlpCode(err)
	if retry {
		o.log.Error("a request of OTLP was not stored", "err", err)
		w.Header().Set("Retry-After", strconv.Itoa(otlpRetrySeconds))
	}
	answerOTLP(w, code, inJSON, otlpStatus(status, err.Error(), inJSON))
}

// otlpRetrySeconds is when a sender should try again after a fault of ours.
const otlpRetrySeconds = 5

// body reads the request in the protobuf encoding.
func (o *OTLP) body(r *http.Request, bufs *buffers, inJSON bool) ([]byte, int, error) {
	body, err := decompressed(r.Header.Get("Content-Encoding"), r.Body, r.ContentLength, o.cfg.MaxBytes, bufs.raw[:0])
	bufs.raw = body
	var tooLarge *http.MaxBytesError
	var bad *badRequest
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("%w; send fewer data points at once", err)
	case errors.As(err, &bad) && bad.code == http.StatusRequestEntityTooLarge:
		return nil, bad.code, fmt.Errorf("the request takes more than %d bytes decompressed; send fewer data points at once", o.cfg.MaxBytes)
	case errors.As(err, &bad):
		return nil, bad.code, err
	case err != nil:
		return nil, http.StatusBadRequest, fmt.Errorf("read the request's body: %w", err)
	}
	if !inJSON {
		return body, 0, nil
	}
	objects := 0
	for _, c := range body {
		if c == '{' {
			objects++
		}
	}
	if objects > maxOTLPObjects {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the request has more than %d objects of JSON; send fewer data points at once, or protobuf", maxOTLPObjects)
	}
	// The rare way in: by way of protobuf, so that there is one way from there.
	req := pmetricotlp.NewExportRequest()
	if err := req.UnmarshalJSON(body); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("decode the request's JSON: %w", err)
	}
	if body, err = req.MarshalProto(); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("decode the request's JSON: %w", err)
	}
	return body, 0, nil
}

// otlpCode is what an error is over gRPC and over HTTP, and whether the sender
// should try again. Clients do after 429, 502, 503 and 504 only, and drop the
// data after any other.
func otlpCode(err error) (status codes.Code, http int, retry bool) {
	switch record.KindOf(err) {
	case record.Invalid:
		return codes.InvalidArgument, 400, false
	case record.Unauthenticated:
		return codes.Unauthenticated, 401, false
	case record.Forbidden:
		return codes.PermissionDenied, 403, false
	case record.NotFound:
		return codes.NotFound, 404, false
	case record.Conflict:
		return codes.FailedPrecondition, 409, false
	case record.TooLarge:
		return codes.ResourceExhausted, 413, false
	case record.Limited:
		return codes.ResourceExhausted, 429, true
	}
	return codes.Unavailable, 503, true
}

// Fields of the answers: ExportMetricsServiceResponse, its partial success, and
// google.rpc.Status.
const (
	otlpPartialSuccess = 1
	otlpRejectedPoints = 1
	otlpErrorMessage   = 2
	rpcStatusCode      = 1
	rpcStatusMessage   = 2
)

var otlpMarshalers easyproto.MarshalerPool

// otlpResponse is an ExportMetricsServiceResponse.
func otlpResponse(p *OTLPPartial, inJSON bool) any {
	if inJSON {
		type partial struct {
			RejectedDataPoints string `json:"rejectedDataPoints"` // 64 bits are a string in the JSON of protobuf
			ErrorMessage       string `json:"errorMessage"`
		}
		var answer struct {
			PartialSuccess *partial `json:"partialSuccess,omitempty"`
		}
		if p != nil {
			answer.PartialSuccess = &partial{strconv.FormatInt(p.Rejected, 10), p.Message}
		}
		return answer
	}
	if p == nil {
		return []byte(nil)
	}
	m := otlpMarshalers.Get()
	defer otlpMarshalers.Put(m)
	mm := m.MessageMarshaler().AppendMessage(otlpPartialSuccess)
	mm.AppendInt64(otlpRejectedPoints, p.Rejected)
	mm.AppendString(otlpErrorMessage, validUTF8(p.Message))
	return m.Marshal(nil)
}

// otlpStatus is a google.rpc.Status.
func otlpStatus(code codes.Code, message string, inJSON bool) any {
	if inJSON {
		return map[string]any{"code": code, "message": message}
	}
	m := otlpMarshalers.Get()
	defer otlpMarshalers.Put(m)
	mm := m.MessageMarshaler()
	mm.AppendInt32(rpcStatusCode, int32(code))
	mm.AppendString(rpcStatusMessage, validUTF8(message))
	return m.Marshal(nil)
}

// answerOTLP writes what otlpResponse or otlpStatus made.
func answerOTLP(w http.ResponseWriter, code int, inJSON bool, answer any) {
	if inJSON {
		answerJSON(w, code, answer)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.WriteHeader(code)
	_, _ = w.Write(answer.([]byte)) // it fails when the client has gone
}
