package ingest_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/gogo/protobuf/proto"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// tsSeries is a series to send by either version of the protocol.
type tsSeries struct {
	labels    labels.Labels
	points    []tsPoint
	exemplars []exemplar.Exemplar
}

type tsPoint struct {
	t  int64
	v  float64
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

func (p tsPoint) text() string {
	switch {
	case p.h != nil:
		return p.h.ToFloat(nil).String()
	case p.fh != nil:
		return p.fh.String()
	}
	return floatText(p.v)
}

func bodyV1(in []tsSeries) *prompb.WriteRequest {
	req := &prompb.WriteRequest{}
	for _, s := range in {
		ts := prompb.TimeSeries{Labels: prompb.FromLabels(s.labels, nil)}
		for _, p := range s.points {
			switch {
			case p.h != nil:
				ts.Histograms = append(ts.Histograms, prompb.FromIntHistogram(p.t, p.h))
			case p.fh != nil:
				ts.Histograms = append(ts.Histograms, prompb.FromFloatHistogram(p.t, p.fh))
			default:
				ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: p.t, Value: p.v})
			}
		}
		for _, e := range s.exemplars {
			ts.Exemplars = append(ts.Exemplars, prompb.Exemplar{Labels: prompb.FromLabels(e.Labels, nil), Timestamp: e.Ts, Value: e.Value})
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	return req
}

func bodyV2(in []tsSeries) *writev2.Request {
	sym := writev2.NewSymbolTable()
	req := &writev2.Request{}
	for _, s := range in {
		ts := writev2.TimeSeries{LabelsRefs: sym.SymbolizeLabels(s.labels, nil)}
		for _, p := range s.points {
			switch {
			case p.h != nil:
				ts.Histograms = append(ts.Histograms, writev2.FromIntHistogram(p.t, p.h))
			case p.fh != nil:
				ts.Histograms = append(ts.Histograms, writev2.FromFloatHistogram(p.t, p.fh))
			default:
				ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: p.t, Value: p.v})
			}
		}
		for _, e := range s.exemplars {
			ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{LabelsRefs: sym.SymbolizeLabels(e.Labels, nil), Timestamp: e.Ts, Value: e.Value})
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	req.Symbols = sym.Symbols()
	return req
}

const (
	typeV1 = "application/x-protobuf"
	typeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

// send posts series as a Prometheus server would.
func send(url string, v2 bool, in []tsSeries) (code int, body string, err error) {
	var msg proto.Message = bodyV1(in)
	ct, version := typeV1, "0.1.0"
	if v2 {
		msg, ct, version = bodyV2(in), typeV2, "2.0.0"
	}
	raw, err := proto.Marshal(msg)
	if err != nil {
		return 0, "", err
	}
	packed, err := compression.Encode(compression.Snappy, raw, nil)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(packed))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", ct)
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("X-Prometheus-Remote-Write-Version", version)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openStore(t testing.TB, dir string, cfg metric.Config) *metric.Store {
	t.Helper()
	s, err := metric.Open(dir, cfg, instrument.New(instrument.Config{}), prometheus.NewRegistry(), quietLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}
