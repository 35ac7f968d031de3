package ingest

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/config"

	"github.com/vedette-sre/vedette/internal/record"
)

// OTLPNames says how names and attributes become series. It is the section
// "otlp" of prometheus.yml.
type OTLPNames = config.OTLPConfig

// OTLPConfig bounds OTLP metrics. Zero means the default.
type OTLPConfig struct {
	// MaxBytes is how large a request may be decompressed; default 64 MiB.
	MaxBytes int64
	// MaxDepth is how deep lists and maps in the value of an attribute may be
	// nested; default 16.
	MaxDepth int
	// MaxAttributes is how many attributes a data point, a resource or a scope may
	// have; default 1,024.
	MaxAttributes int
	// MaxAttributeBytes is how many bytes an attribute may take, its key and its
	// value together, as they are sent; default 64 KiB.
	MaxAttributeBytes int
	// MaxBuckets is how many buckets or quantiles a data point may have; default
	// 10,000.
	MaxBuckets int
	// MaxDeltaSeries is how many series of delta temporality are added up at once;
	// default 200,000. One is forgotten an hour after its last data point.
	MaxDeltaSeries int
	// Lookback is the lookback of PromQL, for the distance of the samples of
	// target_info; default 5 min.
	Lookback time.Duration
	// Names returns the settings in force, once for each request. nil means those
	// of a prometheus.yml without the section.
	Names func() OTLPNames
}

// OTLP takes metrics of the OpenTelemetry protocol (OTLP 1.x,
// ExportMetricsServiceRequest), over HTTP and, by NewOTLPServer, over gRPC. What
// it stores is what the OTLP endpoint of Prometheus would; delta temporality is
// added up to cumulative.
//
// A request that is not well-formed is refused whole. Of any other, the right
// data points are stored and the others refused with a reason. A fault of ours
// stores nothing of the request and asks for a retry. Safe for concurrent use.
type OTLP struct {
	sink  *Sink
	cfg   OTLPConfig
	log   *slog.Logger
	delta otlpDeltas
	names atomic.Pointer[otlpNames]
	work  sync.Pool
}

// NewOTLP makes the door for OTLP metrics to sink; it starts nothing.
func NewOTLP(sink *Sink, cfg OTLPConfig, log *slog.Logger) *OTLP {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	cfg.MaxDepth = cmp.Or(cfg.MaxDepth, 16)
	cfg.MaxAttributes = cmp.Or(cfg.MaxAttributes, 1024)
	cfg.MaxAttributeBytes = cmp.Or(cfg.MaxAttributeBytes, 64<<10)
	cfg.MaxBuckets = cmp.Or(cfg.MaxBuckets, 10_000)
	cfg.MaxDeltaSeries = cmp.Or(cfg.MaxDeltaSeries, 200_000)
	cfg.Lookback = cmp.Or(cfg.Lookback, 5*time.Minute)
	if cfg.Names == nil {
		cfg.Names = func() OTLPNames { return config.DefaultOTLPConfig }
	}
	return &OTLP{sink: sink, cfg: cfg, log: log, work: sync.Pool{New: func() any { return new(otlpWork) }}}
}

// OTLPPartial says that a part of a request was not stored. Sending it again
// does not help.
type OTLPPartial struct {
	// Rejected is how many data points were refused. One that becomes several
	// samples may count as several.
	Rejected int64
	// Message lists the first reasons.
	Message string
}

// Protocols, as they show in counters.
const (
	otlpProtocol     = "otlp"
	otlpInfoProtocol = "otlp_target_info"
)

// Export stores an ExportMetricsServiceRequest in the protobuf encoding; body
// may be used again afterwards. partial is nil when all of it was stored. An
// error of the kind record.Invalid means a request that will never be taken;
// any other is a fault of ours, nothing was stored, and the sender should try
// again.
func (o *OTLP) Export(ctx context.Context, body []byte) (partial *OTLPPartial, err error) {
	w := o.work.Get().(*otlpWork)
	defer o.free(w)
	w.o, w.names, w.now = o, o.settings(), time.Now()
	w.b, w.info = o.sink.Batch(otlpProtocol), o.sink.Batch(otlpInfoProtocol)
	defer w.b.Free()
	defer w.info.Free()
	if err := w.request(body); err != nil {
		o.sink.counts.Add(otlpProtocol, 0, map[string]int{"undecodable": 1})
		return nil, record.Errorf(record.Invalid, "decode the request: %w", err)
	}
	if len(w.deferred) > 0 {
		// The states stay locked until it is known whether they advance.
		defer o.delta.lock(w.shards, w.now)()
		if err := w.addDeltas(); err != nil {
			o.sink.counts.Add(otlpProtocol, 0, map[string]int{"undecodable": 1})
			return nil, record.Errorf(record.Invalid, "decode the request: %w", err)
		}
	}
	// What is said of the resource goes first and apart: it is no data point of
	// the sender, so that its refusal is not told; and without the data points it
	// does no harm.
	if len(w.info.points)+w.info.out.RefusedN > 0 {
		if _, err := w.info.Commit(ctx); err != nil {
			return nil, otlpFault(err)
		}
	}
	out, err := w.b.Commit(ctx)
	if err != nil {
		return nil, otlpFault(err)
	}
	w.settle()
	if out.RefusedN == 0 {
		return nil, nil
	}
	o.log.Debug("data points of OTLP were refused", "refused", out.RefusedN, "stored", out.Stored(), "first", out.Refused[0].Err)
	return &OTLPPartial{Rejected: int64(min(out.RefusedN, w.points)), Message: out.Error()}, nil
}

// otlpFault is the error for a request that could not be stored.
func otlpFault(err error) error {
	kind := record.KindOf(err)
	if kind == record.Internal {
		kind = record.Unavailable
	}
	return record.Errorf(kind, "store the request: %w", err)
}

// otlpRefusal is why a data point is not taken.
type otlpRefusal struct {
	reason string
	err    error
}

func (r *otlpRefusal) Error() string { return r.err.Error() }

func refuseOTLP(reason, format string, a ...any) *otlpRefusal {
	return &otlpRefusal{reason, fmt.Errorf(format, a...)}
}

// free gives w back, unless it is large.
func (o *OTLP) free(w *otlpWork) {
	if cap(w.raw)+cap(w.infoRaw) > keptBuffer || cap(w.labels)+cap(w.attrs)+cap(w.resource)+cap(w.hist.counts)+cap(w.hist.bounds) > 1<<16 || cap(w.deferred) > 1<<12 {
		return
	}
	// Nothing may hold on to the body, or to what became of it.
	clear(w.attrs[:cap(w.attrs)])
	clear(w.exemplars[:cap(w.exemplars)])
	clear(w.resource[:cap(w.resource)])
	clear(w.labels[:cap(w.labels)])
	clear(w.context[:cap(w.context)])
	clear(w.merged[:cap(w.merged)])
	clear(w.deferred)
	clear(w.pending)
	*w = otlpWork{
		raw: w.raw[:0], infoRaw: w.infoRaw[:0], attrs: w.attrs[:0], exemplars: w.exemplars[:0], resource: w.resource[:0],
		labels: w.labels[:0], context: w.context[:0], merged: w.merged[:0], deferred: w.deferred[:0], pending: w.pending,
		hist: otlpHist{counts: w.hist.counts[:0], bounds: w.hist.bounds[:0]},
		exp:  otlpExp{positive: otlpSide{counts: w.exp.positive.counts[:0]}, negative: otlpSide{counts: w.exp.negative.counts[:0]}},
	}
	o.work.Put(w)
}
