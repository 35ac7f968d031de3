package ingest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/vedette-sre/vedette/internal/record"
)

// OTLPConfig is how OTLP is taken. Zero means the default.
type OTLPConfig struct {
	// MaxBytes is how large a request may be decompressed; default 64 MiB.
	MaxBytes int64
	// MaxDeltaSeries is how many series of delta temporality are summed up; default
	// 200,000.
	MaxDeltaSeries int
	// Settings are the otlp section of the prometheus.yml in force.
	Settings func() config.OTLPConfig
	// Lookback is that of queries; target_info is repeated by it.
	Lookback time.Duration
}

// OTLP takes metrics of the OpenTelemetry protocol (OTLP 1.x), over HTTP and
// gRPC. Names and labels are made as Prometheus makes them, by its own
// translation; delta temporality is summed up to cumulative here, because rate()
// and increase() want that. Safe for concurrent use.
type OTLP struct {
	sink  *Sink
	cfg   OTLPConfig
	log   *slog.Logger
	delta *deltas
}

// NewOTLP makes the doors of OTLP to sink.
func NewOTLP(sink *Sink, cfg OTLPConfig, log *slog.Logger) *OTLP {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	cfg.Lookback = cmp.Or(cfg.Lookback, 5*time.Minute)
	return &OTLP{sink: sink, cfg: cfg, log: log, delta: newDeltas(cmp.Or(cfg.MaxDeltaSeries, 200_000))}
}

// Export stores the metrics of a request, which it may change. What the store
// refuses is told in the answer; an error is of the kind record.Invalid for a
// request that cannot be translated, or a fault of ours after which nothing is
// stored.
func (o *OTLP) Export(ctx context.Context, protocol string, req pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	resp := pmetricotlp.NewExportResponse()
	b := o.sink.Batch(protocol)
	defer b.Free()
	md := req.Metrics()
	var sums *deltaRound
	if hasDelta(md) {
		sums = o.delta.begin(b) // one request with deltas at a time
		defer sums.end()
		sums.sum(md)
	}
	c := o.cfg.Settings()
	conv := prometheusremotewrite.NewPrometheusConverter(&batchAppender{b: b})
	notes, err := conv.FromMetrics(ctx, md, prometheusremotewrite.Settings{
		AddMetricSuffixes:                    c.TranslationStrategy.ShouldAddSuffixes(),
		AllowUTF8:                            !c.TranslationStrategy.ShouldEscape(),
		PromoteResourceAttributes:            prometheusremotewrite.NewPromoteResourceAttributes(c),
		KeepIdentifyingResourceAttributes:    c.KeepIdentifyingResourceAttributes,
		ConvertHistogramsToNHCB:              c.ConvertHistogramsToNHCB,
		PromoteScopeMetadata:                 c.PromoteScopeMetadata,
		LabelNameUnderscoreSanitization:      c.LabelNameUnderscoreSanitization,
		LabelNamePreserveMultipleUnderscores: c.LabelNamePreserveMultipleUnderscores,
		LookbackDelta:                        o.cfg.Lookback,
	})
	if ctx.Err() != nil {
		return resp, ctx.Err()
	}
	if err != nil {
		// Some metrics cannot be translated; the others were.
		b.Refuse(0, "untranslatable", err)
	}
	if ws, _ := notes.AsStrings("", 0, 0); len(ws) > 0 {
		o.log.Debug("metrics of OTLP were translated with warnings", "warnings", ws)
	}
	out, err := b.Commit(ctx)
	if err != nil {
		return resp, fmt.Errorf("store metrics of OTLP: %w", err)
	}
	if sums != nil {
		sums.commit()
	}
	if out.RefusedN > 0 {
		resp.PartialSuccess().SetRejectedDataPoints(int64(out.RefusedN))
		resp.PartialSuccess().SetErrorMessage(out.Error())
	}
	return resp, nil
}

// Metrics is POST /v1/metrics of OTLP/HTTP, with protobuf or JSON.
func (o *OTLP) Metrics(w http.ResponseWriter, r *http.Request) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	asJSON := media == "application/json"
	if err != nil || !asJSON && media != "application/x-protobuf" {
		answerOTLP(w, false, http.StatusUnsupportedMediaType, fmt.Errorf("the content type %q is not taken; send application/x-protobuf or application/json", r.Header.Get("Content-Type")))
		return
	}
	protocol := "otlp_http"
	bufs := bufferPool.Get().(*buffers)
	defer bufs.free()
	bufs.raw, err = decompressed(r.Header.Get("Content-Encoding"), r.Body, r.ContentLength, o.cfg.MaxBytes, bufs.raw[:0])
	req := pmetricotlp.NewExportRequest()
	if err == nil {
		if asJSON {
			err = req.UnmarshalJSON(bufs.raw)
		} else {
			err = req.UnmarshalProto(bufs.raw)
		}
	}
	if err != nil {
		var tooLarge *http.MaxBytesError
		var bad *badRequest
		code, reason := http.StatusBadRequest, "undecodable"
		switch {
		case errors.As(err, &tooLarge):
			code, reason = http.StatusRequestEntityTooLarge, "too_large"
		case errors.As(err, &bad):
			code = bad.code
			if code == http.StatusRequestEntityTooLarge {
				reason = "too_large"
			}
		}
		o.sink.counts.Add(protocol, 0, map[string]int{reason: 1})
		answerOTLP(w, asJSON, code, fmt.Errorf("read the request: %w", err))
		return
	}
	resp, err := o.Export(r.Context(), protocol, req)
	if err != nil {
		o.log.Error("metrics of OTLP were not stored", "err", err)
		w.Header().Set("Retry-After", "5") // with 503 a client tries again, with 500 it does not
		answerOTLP(w, asJSON, http.StatusServiceUnavailable, err)
		return
	}
	var body []byte
	if asJSON {
		w.Header().Set("Content-Type", "application/json")
		body, err = resp.MarshalJSON()
	} else {
		w.Header().Set("Content-Type", "application/x-protobuf")
		body, err = resp.MarshalProto()
	}
	if err != nil {
		answerOTLP(w, asJSON, http.StatusInternalServerError, err)
		return
	}
	_, _ = w.Write(body) // a client that left is no fault
}

// answerOTLP answers with a google.rpc.Status, as OTLP/HTTP wants it.
func answerOTLP(w http.ResponseWriter, asJSON bool, code int, err error) {
	c := codes.InvalidArgument
	if code >= 500 {
		c = codes.Unavailable
	}
	var body []byte
	if asJSON {
		w.Header().Set("Content-Type", "application/json")
		body, _ = json.Marshal(map[string]any{"code": int(c), "message": err.Error()}) // of two plain values
	} else {
		w.Header().Set("Content-Type", "application/x-protobuf")
		body, _ = proto.Marshal(status.New(c, err.Error()).Proto())
	}
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// batchAppender hands what the translation makes to a batch.
type batchAppender struct{ b *Batch }

func (a *batchAppender) Append(_ storage.SeriesRef, ls labels.Labels, _, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AOptions) (storage.SeriesRef, error) {
	a.b.BeginBare()
	ls.Range(func(l labels.Label) { a.b.Label(l.Name, l.Value) })
	if h != nil || fh != nil {
		if h != nil {
			h = h.Copy()
		} else {
			fh = fh.Copy()
		}
		a.b.Histogram(0, t, h, fh)
	} else {
		a.b.Point(0, t, v)
	}
	for _, e := range o.Exemplars {
		a.b.Exemplar(e)
	}
	return 0, nil
}

func (a *batchAppender) Commit() error   { return nil }
func (a *batchAppender) Rollback() error { return nil }

// hasDelta reports whether any metric has delta temporality.
func hasDelta(md pmetric.Metrics) bool {
	found := false
	eachMetric(md, func(_ string, m pmetric.Metric) {
		found = found || temporality(m) == pmetric.AggregationTemporalityDelta
	})
	return found
}

func temporality(m pmetric.Metric) pmetric.AggregationTemporality {
	switch m.Type() {
	case pmetric.MetricTypeSum:
		return m.Sum().AggregationTemporality()
	case pmetric.MetricTypeHistogram:
		return m.Histogram().AggregationTemporality()
	case pmetric.MetricTypeExponentialHistogram:
		return m.ExponentialHistogram().AggregationTemporality()
	}
	return pmetric.AggregationTemporalityUnspecified
}

// kindOfOTLP makes a gRPC code of an error.
func kindOfOTLP(err error) codes.Code {
	switch record.KindOf(err) {
	case record.Unauthenticated:
		return codes.Unauthenticated
	case record.Forbidden:
		return codes.PermissionDenied
	case record.NotFound:
		return codes.NotFound
	case record.Invalid:
		return codes.InvalidArgument
	case record.TooLarge:
		return codes.ResourceExhausted
	}
	return codes.Unavailable
}
