package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/gogo/protobuf/proto"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// DefaultConcurrentWrites is how many requests are written at once.
const DefaultConcurrentWrites = 32

// RemoteWrite takes Prometheus remote write 1.0 and 2.0 (specifications of the
// same names). Valid samples are stored even when others of the request are
// refused; the answer is then 400 with the reasons, and for 2.0 the
// X-Prometheus-Remote-Write-*-Written headers tell what was stored. At most
// maxConcurrent requests are worked on at once (0 for the default); more wait a
// second and are then told 503 with Retry-After. A fault of
// ours stores nothing of the request and answers 5xx, so that a retry is safe.
func RemoteWrite(sink *Sink, maxConcurrent int, log *slog.Logger) http.Handler {
	rw := &remoteWrite{sink: sink, counts: sink.counts, log: log}
	h := remoteapi.NewWriteHandler(rw, remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType},
		remoteapi.WithWriteHandlerLogger(log))
	return postOnly(throttle(h, cmp.Or(maxConcurrent, DefaultConcurrentWrites), sink.counts))
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
	sink   *Sink
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
	b := rw.sink.Batch(name)
	defer b.Free()
	for i := range in {
		in[i].to(b)
	}
	out, err := b.Commit(r.Context())
	if err != nil {
		resp.SetStatusCode(http.StatusInternalServerError)
		return resp, err
	}
	resp.Add(remoteapi.WriteResponseStats{Samples: out.Samples, Histograms: out.Histograms, Exemplars: out.Exemplars})
	if out.RefusedN == 0 {
		return resp, nil
	}
	rw.log.Debug("remote write refused samples", "protocol", name, "refused", out.RefusedN, "stored", out.Stored(), "first", out.Refused[0].Err)
	resp.SetStatusCode(http.StatusBadRequest)
	return resp, &out
}

// to hands a series to a batch.
func (s *incoming) to(b *Batch) {
	if s.decodeErr != nil {
		for range max(len(s.points), 1) {
			b.Refuse(0, "invalid_labels", s.decodeErr)
		}
		return
	}
	b.BeginBare()
	s.labels.Range(func(l labels.Label) { b.Label(l.Name, l.Value) })
	if len(s.points) == 0 {
		if err := b.Check(); err != nil {
			b.Refuse(0, "invalid_labels", err)
		} else if s.emptyIsBad {
			b.Refuse(0, "invalid_labels", fmt.Errorf("series %s has neither samples nor histograms", s.labels))
		}
	}
	for i := range s.points {
		p := &s.points[i]
		if p.h != nil || p.fh != nil {
			b.Histogram(0, p.t, p.h, p.fh)
		} else {
			b.Point(0, p.t, p.v)
		}
	}
	if s.exemplarErr != nil {
		b.Refuse(0, "invalid_exemplar", s.exemplarErr)
	}
	for _, e := range s.exemplars {
		b.Exemplar(e)
	}
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
