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
		cfg.MaxConcurrent = 32
	}
	if cfg.IsLimit == nil {
		cfg.IsLimit = func(error) bool { return false }
	}
	rw := &remoteWrite{app: app, cfg: cfg, counts: counts, log: log}
	h := remoteapi.NewWriteHandler(rw, remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType},
		remoteapi.WithWriteHandlerLogger(log))
	return throttle(h, cfg.MaxConcurrent)
}

// throttle lets n requests in at once; the others wait for a second.
func throttle(next http.Handler, n int) http.Handler {
	slots := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := time.NewTimer(time.Second)
		defer t.Stop()
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		case <-t.C:
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
	labels     labels.Labels
	points     []point
	exemplars  []exemplar.Exemplar
	decodeErr  error // labels or metadata that do not decode
	emptyIsBad bool  // 2.0 refuses a series without samples
}

type point struct {
	t  int64
	v  float64
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

func (p point) isHistogram() bool { return p.h != nil || p.fh != nil }

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
		rw.counts.Add(name, 0, map[string]int{"fault": 1})
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

func decodeV1(body []byte) ([]incoming, error) {
	var req prompb.WriteRequest
	if err := proto.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	b := labels.NewScratchBuilder(16)
	out := make([]incoming, len(req.Timeseries))
	for i, ts := range req.Timeseries {
		in := &out[i]
		in.labels = ts.ToLabels(&b, nil)
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
		for _, e := range ts.Exemplars {
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
	b := labels.NewScratchBuilder(16)
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
		var err error
		if in.labels, err = ts.ToLabels(&b, req.Symbols); err != nil {
			in.decodeErr = fmt.Errorf("labels of series %d: %w", i, err)
			continue
		}
		if _, err = ts.ToMetadata(req.Symbols); err != nil {
			in.decodeErr = fmt.Errorf("metadata of series %s: %w", in.labels, err)
			continue
		}
		for _, e := range ts.Exemplars {
			ex, err := e.ToExemplar(&b, req.Symbols)
			if err != nil {
				in.decodeErr = fmt.Errorf("exemplar of series %s: %w", in.labels, err)
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
	r.byReason[reason] += max(samples, 1)
	if len(r.texts) < 10 {
		r.texts = append(r.texts, err.Error())
	}
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
	// The engine checks a sample against what is committed. Within one
	// transaction a new series has nothing yet, so that a second value for a
	// timestamp would pass Append and vanish in Commit: caught here instead.
	last := make(map[storage.SeriesRef]point, len(in))
	for i := range in {
		s := &in[i]
		if err := checkSeries(s); err != nil {
			refused.add("invalid_labels", len(s.points), err)
			continue
		}
		// In order of time, or the engine would take an early sample that
		// follows a late one for out of order.
		if !slices.IsSortedFunc(s.points, byTime) {
			slices.SortStableFunc(s.points, byTime)
		}
		var ref storage.SeriesRef
		for _, p := range s.points {
			if p.t > maxTime {
				refused.add("future", 1, fmt.Errorf("series %s: sample at %s is more than %s ahead of this clock", s.labels, time.UnixMilli(p.t).UTC().Format(time.RFC3339Nano), rw.cfg.MaxFuture))
				continue
			}
			if prev, ok := last[ref]; ok && ref != 0 && prev.t == p.t {
				if !prev.isHistogram() && !p.isHistogram() && sameBits(prev.v, p.v) {
					count(&stats, p)
					continue // the same sample twice: nothing to store
				}
				refused.add("duplicate", 1, fmt.Errorf("series %s: two values for %s", s.labels, time.UnixMilli(p.t).UTC().Format(time.RFC3339Nano)))
				continue
			}
			var aerr error
			var got storage.SeriesRef
			if p.isHistogram() {
				if aerr = fitSchema(p); aerr == nil {
					got, aerr = app.AppendHistogram(ref, s.labels, p.t, p.h, p.fh)
				}
			} else {
				got, aerr = app.Append(ref, s.labels, p.t, p.v)
			}
			if aerr == nil {
				ref = got
				last[ref] = p
				count(&stats, p)
				continue
			}
			reason, theirs := rw.reason(aerr)
			if !theirs {
				return stats, refused, fmt.Errorf("append to series %s: %w", s.labels, aerr)
			}
			refused.add(reason, 1, fmt.Errorf("series %s: sample at %s: %w", s.labels, time.UnixMilli(p.t).UTC().Format(time.RFC3339Nano), aerr))
		}
		if ref == 0 {
			continue
		}
		for _, e := range s.exemplars {
			// Exemplars are a best effort in the specification: one that does
			// not fit costs only itself.
			if e.Ts <= maxTime {
				if _, err := app.AppendExemplar(ref, s.labels, e); err == nil {
					stats.Exemplars++
				}
			}
		}
	}
	if err := app.Commit(); err != nil {
		return stats, refused, fmt.Errorf("commit: %w", err)
	}
	return stats, refused, nil
}

func byTime(a, b point) int { return cmp.Compare(a.t, b.t) }

func count(stats *remoteapi.WriteResponseStats, p point) {
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

// fitSchema lowers a histogram's resolution to what the engine keeps.
func fitSchema(p point) error {
	if p.h != nil && histogram.IsExponentialSchemaReserved(p.h.Schema) && p.h.Schema > histogram.ExponentialSchemaMax {
		return p.h.ReduceResolution(histogram.ExponentialSchemaMax)
	}
	if p.fh != nil && histogram.IsExponentialSchemaReserved(p.fh.Schema) && p.fh.Schema > histogram.ExponentialSchemaMax {
		return p.fh.ReduceResolution(histogram.ExponentialSchemaMax)
	}
	return nil
}

// reason names why the engine refused a sample; theirs is false for a fault of
// ours, which must be retried.
func (rw *remoteWrite) reason(err error) (reason string, theirs bool) {
	if rw.cfg.IsLimit(err) {
		return "limit", true
	}
	reason = appendReason(err)
	return reason, reason != "refused_by_store"
}
