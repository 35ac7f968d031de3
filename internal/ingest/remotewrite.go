package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gogo/protobuf/proto"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"
)

// DefaultConcurrentWrites is how many requests are written at once.
const DefaultConcurrentWrites = 32

// RemoteWriteConfig bounds remote write. Zero means the default.
type RemoteWriteConfig struct {
	// MaxFuture is how far ahead of this clock a sample may be; default 10 min.
	MaxFuture time.Duration
	// MaxConcurrent is how many requests are worked on at once; default 32. More
	// wait a second and are then told 503 with Retry-After.
	MaxConcurrent int
	// IsLimit says whether an append was refused by a limit of the store, which
	// is the sender's to mend (400), not a fault of ours (500).
	IsLimit func(error) bool
}

// RemoteWrite takes Prometheus remote write 1.0 and 2.0 (specifications of the
// same names). Valid samples are stored even when others of the request are
// refused; the answer is then 400 with the reasons, and for 2.0 the
// X-Prometheus-Remote-Write-*-Written headers tell what was stored. A fault of
// ours stores nothing of the request and answers 5xx, so that a retry is safe.
func RemoteWrite(app storage.Appendable, cfg RemoteWriteConfig, counts *Counts, log *slog.Logger) http.Handler {
	if cfg.MaxFuture == 0 {
		cfg.MaxFuture = 10 * time.Minute
	}
	if cfg.MaxConcurrent == 0 {
		cfg.MaxConcurrent = DefaultConcurrentWrites
	}
	if cfg.IsLimit == nil {
		cfg.IsLimit = func(error) bool { return false }
	}
	rw := &remoteWrite{app: app, cfg: cfg, counts: counts, log: log}
	h := remoteapi.NewWriteHandler(rw, remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType},
		remoteapi.WithWriteHandlerLogger(log))
	return postOnly(throttle(h, cfg.MaxConcurrent, counts))
}

func postOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "remote write is sent with POST", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// throttle lets n requests in at once; the others wait for a second.
func throttle(next http.Handler, n int, counts *Counts) http.Handler {
	slots := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := time.NewTimer(time.Second)
		defer t.Stop()
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			// Nobody may be there to read it; an empty answer would be a 200.
			http.Error(w, "the request ended before its turn", http.StatusServiceUnavailable)
		case <-t.C:
			counts.throttle()
			w.Header().Set("Retry-After", "1")
			http.Error(w, fmt.Sprintf("%d requests are being written already; retry, or raise limits.max_concurrent_writes", n), http.StatusServiceUnavailable)
		}
	})
}

type remoteWrite struct {
	app    storage.Appendable
	cfg    RemoteWriteConfig
	counts *Counts
	log    *slog.Logger
}

// incoming is one series of a request in either version of the protocol.
type incoming struct {
	labels      labels.Labels
	points      []point
	exemplars   []exemplar.Exemplar
	decodeErr   error // labels or metadata that do not decode
	exemplarErr error // exemplars that do not decode; the samples may be good
	emptyIsBad  bool  // 2.0 refuses a series without samples
}

type point struct {
	t  int64
	v  float64
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

func (p *point) isHistogram() bool { return p.h != nil || p.fh != nil }

// Store implements the storage behind remoteapi.NewWriteHandler.
func (rw *remoteWrite) Store(r *http.Request, msg remoteapi.WriteMessageType) (*remoteapi.WriteResponse, error) {
	resp := remoteapi.NewWriteResponse()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		resp.SetStatusCode(http.StatusBadRequest)
		return resp, fmt.Errorf("read the request's body: %w", err)
	}
	var in []incoming
	name := "remote_write_v1"
	if msg == remoteapi.WriteV1MessageType {
		in, err = decodeV1(body)
	} else {
		name = "remote_write_v2"
		in, err = decodeV2(body)
	}
	if err != nil {
		rw.counts.Add(name, 0, map[string]int{"undecodable": 1})
		resp.SetStatusCode(http.StatusBadRequest)
		return resp, fmt.Errorf("decode %s: %w", msg, err)
	}
	stats, refused, err := rw.write(r.Context(), in)
	if err != nil {
		n := 0
		for i := range in {
			n += len(in[i].points)
		}
		rw.counts.Add(name, 0, map[string]int{"fault": n})
		resp.SetStatusCode(http.StatusInternalServerError)
		return resp, err
	}
	resp.Add(stats)
	rw.counts.Add(name, stats.AllSamples(), refused.byReason)
	if refused.n == 0 {
		return resp, nil
	}
	rw.log.Debug("remote write refused samples", "protocol", name, "refused", refused.n, "stored", stats.AllSamples(), "first", refused.texts[0])
	resp.SetStatusCode(http.StatusBadRequest)
	return resp, refused
}

// The labels of one series, and of all series of a request, may take this many
// bytes. A request of 2.0 names a label by a number, so that a small one could
// ask for any amount of memory; and the engine panics on a label of 16 MiB.
const (
	maxSeriesLabelBytes  = 1 << 20
	maxRequestLabelBytes = 128 << 20
)

// labelBudget is what is left of a request's label bytes.
type labelBudget int

func (b *labelBudget) take(n int) error {
	if n > maxSeriesLabelBytes {
		return fmt.Errorf("its labels take %d bytes; at most %d are taken", n, maxSeriesLabelBytes)
	}
	if *b -= labelBudget(n); *b < 0 {
		return fmt.Errorf("the labels of this request take more than %d bytes; send fewer series at once", maxRequestLabelBytes)
	}
	return nil
}

func (b *labelBudget) takeLabels(ls []prompb.Label) error {
	n := 0
	for _, l := range ls {
		n += len(l.Name) + len(l.Value)
	}
	return b.take(n)
}

func (b *labelBudget) takeRefs(refs []uint32, symbols []string) error {
	n := 0
	for _, r := range refs {
		if int64(r) < int64(len(symbols)) { // else ToLabels says so
			n += len(symbols[r])
		}
	}
	return b.take(n)
}

func decodeV1(body []byte) ([]incoming, error) {
	var req prompb.WriteRequest
	if err := proto.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	b, budget := labels.NewScratchBuilder(16), labelBudget(maxRequestLabelBytes)
	out := make([]incoming, len(req.Timeseries))
	for i, ts := range req.Timeseries {
		in := &out[i]
		in.points = make([]point, 0, len(ts.Samples)+len(ts.Histograms))
		for _, s := range ts.Samples {
			in.points = append(in.points, point{t: s.Timestamp, v: s.Value})
		}
		for _, h := range ts.Histograms {
			p := point{t: h.Timestamp}
			if h.IsFloatHistogram() {
				p.fh = h.ToFloatHistogram()
			} else {
				p.h = h.ToIntHistogram()
			}
			in.points = append(in.points, p)
		}
		if err := budget.takeLabels(ts.Labels); err != nil {
			in.decodeErr = fmt.Errorf("series %d: %w", i, err)
			continue
		}
		in.labels = ts.ToLabels(&b, nil)
		for _, e := range ts.Exemplars {
			if err := budget.takeLabels(e.Labels); err != nil {
				in.exemplarErr = fmt.Errorf("exemplar of series %s: %w", in.labels, err)
				break
			}
			in.exemplars = append(in.exemplars, e.ToExemplar(&b, nil))
		}
	}
	return out, nil
}

func decodeV2(body []byte) ([]incoming, error) {
	var req writev2.Request
	if err := proto.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	if len(req.Symbols) > 0 && req.Symbols[0] != "" {
		return nil, errors.New("the first symbol must be the empty string")
	}
	b, budget := labels.NewScratchBuilder(16), labelBudget(maxRequestLabelBytes)
	out := make([]incoming, len(req.Timeseries))
	for i, ts := range req.Timeseries {
		in := &out[i]
		in.emptyIsBad = true
		in.points = make([]point, 0, len(ts.Samples)+len(ts.Histograms))
		for _, s := range ts.Samples {
			in.points = append(in.points, point{t: s.Timestamp, v: s.Value})
		}
		for _, h := range ts.Histograms {
			p := point{t: h.Timestamp}
			if h.IsFloatHistogram() {
				p.fh = h.ToFloatHistogram()
			} else {
				p.h = h.ToIntHistogram()
			}
			in.points = append(in.points, p)
		}
		err := budget.takeRefs(ts.LabelsRefs, req.Symbols)
		if err == nil {
			in.labels, err = ts.ToLabels(&b, req.Symbols)
		}
		if err != nil {
			in.decodeErr = fmt.Errorf("labels of series %d: %w", i, err)
			continue
		}
		if _, err = ts.ToMetadata(req.Symbols); err != nil {
			in.decodeErr = fmt.Errorf("metadata of series %s: %w", in.labels, err)
			continue
		}
		for _, e := range ts.Exemplars {
			var ex exemplar.Exemplar
			if err = budget.takeRefs(e.LabelsRefs, req.Symbols); err == nil {
				ex, err = e.ToExemplar(&b, req.Symbols)
			}
			if err != nil {
				in.exemplarErr = fmt.Errorf("exemplar of series %s: %w", in.labels, err)
				break
			}
			in.exemplars = append(in.exemplars, ex)
		}
	}
	return out, nil
}

// refusal collects the reasons why samples were not stored.
type refusal struct {
	n        int
	byReason map[string]int
	texts    []string // the first ten
}

func (r *refusal) add(reason string, samples int, err error) {
	if r.byReason == nil {
		r.byReason = map[string]int{}
	}
	r.n++
	r.byReason[reason] += max(samples, 1) // a series without samples counts too
	if len(r.texts) < 10 {
		r.texts = append(r.texts, err.Error())
	}
}

// countOnly counts what is refused without making the request a bad one.
func (r *refusal) countOnly(reason string) {
	if r.byReason == nil {
		r.byReason = map[string]int{}
	}
	r.byReason[reason]++
}

// Error lists the first reasons.
func (r *refusal) Error() string {
	s := strings.Join(r.texts, "\n")
	if more := r.n - len(r.texts); more > 0 {
		s += fmt.Sprintf("\n… and %d more", more)
	}
	return s
}

// write stores what can be stored, in one transaction.
func (rw *remoteWrite) write(ctx context.Context, in []incoming) (stats remoteapi.WriteResponseStats, refused *refusal, err error) {
	refused = &refusal{}
	app := rw.app.Appender(ctx)
	defer func() {
		if err != nil {
			stats = remoteapi.WriteResponseStats{}
			_ = app.Rollback() // the error that led here is the one to tell
		}
	}()
	maxTime := time.Now().Add(rw.cfg.MaxFuture).UnixMilli()
	for _, s := range gather(in, refused) {
		// In order of time, or the engine would take an early sample that
		// follows a late one for out of order.
		if !slices.IsSortedFunc(s.points, byTime) {
			slices.SortStableFunc(s.points, byTime)
		}
		var ref storage.SeriesRef
		var prev *point // the last one appended
		for i := range s.points {
			p := &s.points[i]
			if p.t > maxTime {
				refused.add("future", 1, fmt.Errorf("series %s: sample at %s is more than %s ahead of this clock", s.labels, clock(p.t), rw.cfg.MaxFuture))
				continue
			}
			// The engine checks a sample against what is committed. Within one
			// transaction a new series has nothing yet, so that a second value
			// for a timestamp would pass Append and vanish in Commit: caught
			// here instead.
			if prev != nil && prev.t == p.t {
				if prev.same(p) {
					count(&stats, p)
					continue // the same sample twice: nothing to store
				}
				refused.add("duplicate", 1, fmt.Errorf("series %s: two values for %s", s.labels, clock(p.t)))
				continue
			}
			var aerr error
			var got storage.SeriesRef
			if p.isHistogram() {
				if aerr = fit(p); aerr == nil {
					got, aerr = app.AppendHistogram(ref, s.labels, p.t, p.h, p.fh)
				}
			} else {
				got, aerr = app.Append(ref, s.labels, p.t, p.v)
			}
			if aerr == nil {
				ref, prev = got, p
				count(&stats, p)
				continue
			}
			reason, theirs := rw.reason(aerr)
			if !theirs {
				return stats, refused, fmt.Errorf("append to series %s: %w", s.labels, aerr)
			}
			refused.add(reason, 1, fmt.Errorf("series %s: sample at %s: %w", s.labels, clock(p.t), aerr))
		}
		if s.exemplarErr != nil {
			refused.add("invalid_exemplar", 1, s.exemplarErr)
		}
		slices.SortStableFunc(s.exemplars, func(a, b exemplar.Exemplar) int { return cmp.Compare(a.Ts, b.Ts) })
		for _, e := range s.exemplars {
			// Exemplars are a best effort in the specification: one that does
			// not fit costs only itself, and is counted.
			if ref != 0 && e.Ts <= maxTime && e.Labels.IsValid(model.UTF8Validation) {
				if _, err := app.AppendExemplar(ref, s.labels, e); err == nil {
					stats.Exemplars++
					continue
				}
			}
			refused.countOnly("exemplar")
		}
	}
	if err := app.Commit(); err != nil {
		return stats, refused, fmt.Errorf("commit: %w", err)
	}
	return stats, refused, nil
}

// gather drops what is not a series and joins the parts of a series that comes
// more than once, so that what is true of a series within a request can be seen.
func gather(in []incoming, refused *refusal) []*incoming {
	out := make([]*incoming, 0, len(in))
	first := make(map[uint64]*incoming, len(in))
	for i := range in {
		s := &in[i]
		if err := checkSeries(s); err != nil {
			refused.add("invalid_labels", len(s.points), err)
			continue
		}
		s.labels = s.labels.WithoutEmpty() // as the engine will
		h := s.labels.Hash()
		f := first[h]
		switch {
		case f == nil:
			first[h] = s
		case labels.Equal(f.labels, s.labels):
			f.points = append(f.points, s.points...)
			f.exemplars = append(f.exemplars, s.exemplars...)
			f.exemplarErr = cmp.Or(f.exemplarErr, s.exemplarErr)
			continue
		}
		out = append(out, s)
	}
	return out
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }

// same reports whether two points of a series at one time say the same.
func (p *point) same(q *point) bool {
	switch {
	case p.h != nil && q.h != nil:
		return p.h.Equals(q.h)
	case p.fh != nil && q.fh != nil:
		return p.fh.Equals(q.fh)
	}
	return !p.isHistogram() && !q.isHistogram() && sameBits(p.v, q.v)
}

func byTime(a, b point) int { return cmp.Compare(a.t, b.t) }

func count(stats *remoteapi.WriteResponseStats, p *point) {
	if p.isHistogram() {
		stats.Histograms++
	} else {
		stats.Samples++
	}
}

func checkSeries(s *incoming) error {
	switch {
	case s.decodeErr != nil:
		return s.decodeErr
	case !s.labels.Has(labels.MetricName):
		return fmt.Errorf("series %s has no metric name", s.labels)
	case !s.labels.IsValid(model.UTF8Validation):
		return fmt.Errorf("series %s has an invalid metric or label name, or a label value that is not UTF-8", s.labels)
	}
	if name, dup := s.labels.HasDuplicateLabelNames(); dup {
		return fmt.Errorf("series %s has the label %q twice", s.labels, name)
	}
	if s.emptyIsBad && len(s.points) == 0 {
		return fmt.Errorf("series %s has neither samples nor histograms", s.labels)
	}
	return nil
}

// fit lowers a histogram's resolution to what the engine keeps, and refuses
// bucket indexes that its arithmetic does not hold; the rest it checks itself.
func fit(p *point) error {
	var schema int32
	var sides [2][]histogram.Span
	if p.h != nil {
		schema, sides = p.h.Schema, [2][]histogram.Span{p.h.PositiveSpans, p.h.NegativeSpans}
	} else {
		schema, sides = p.fh.Schema, [2][]histogram.Span{p.fh.PositiveSpans, p.fh.NegativeSpans}
	}
	for _, spans := range sides {
		var at int64
		for _, s := range spans {
			at += int64(s.Offset)
			if at < -maxBucket || at+int64(s.Length) > maxBucket {
				return errBucketIndex
			}
			at += int64(s.Length)
		}
	}
	if !histogram.IsExponentialSchemaReserved(schema) || schema <= histogram.ExponentialSchemaMax {
		return nil
	}
	if p.h != nil {
		return p.h.ReduceResolution(histogram.ExponentialSchemaMax)
	}
	return p.fh.ReduceResolution(histogram.ExponentialSchemaMax)
}

// maxBucket keeps the distance of two buckets within an int32. At the finest
// schema that the engine keeps, a float64 has no bucket beyond 2^18.
const maxBucket = 1<<30 - 1

var errBucketIndex = fmt.Errorf("a bucket's index is beyond %d: %w", maxBucket, histogram.ErrHistogramSpansBucketsMismatch)

// reason names why the engine refused a sample; theirs is false for a fault of
// ours, which must be retried.
func (rw *remoteWrite) reason(err error) (reason string, theirs bool) {
	if rw.cfg.IsLimit(err) {
		return "limit", true
	}
	reason = appendReason(err)
	return reason, reason != "refused_by_store"
}
