package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// perRequest is how many samples a request of a writer holds.
const perRequest = 5

// sender sends points of the series kill_<protocol>{writer="<writer>"}, by names
// that the protocol can have, and returns nil when all are acknowledged.
type sender func(ctx context.Context, base, name, writer string, ps []point) error

// TestAcknowledgedSurvivesKill writes numbered values by every protocol that
// acknowledges, with several writers each, and kills the server at random
// moments, also while it starts. What was acknowledged is there at the end, with
// its value and its time; what was not may be, but nothing else.
func TestAcknowledgedSurvivesKill(t *testing.T) {
	kills := 8
	if s := os.Getenv("VEDETTE_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("VEDETTE_KILLS is %q; want a number above 0", s)
		}
		kills = n
	}
	v := newServer(t, "pushgateway: {interval: 1s}\n")
	v.start(t)
	var base atomic.Value
	base.Store(v.url)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer func() { stop(); running.Wait() }()

	var writers []*writer
	for _, p := range []struct {
		protocol string
		make     func() sender
	}{
		{"rw1", func() sender { return remoteWrite1 }},
		{"rw2", func() sender { return remoteWrite2 }},
		{"influx_v1", func() sender { return influx("/write?db=d&precision=ms") }},
		{"influx_v2", func() sender { return influx("/api/v2/write?org=o&bucket=d&precision=ms") }},
		{"opentsdb_sync", func() sender { return openTSDB(v.doors["opentsdb"], "sync") }},
		{"opentsdb_details", func() sender { return openTSDB(v.doors["opentsdb"], "details") }},
		{"otlp_http", func() sender { return otlpHTTP(v.doors["otlp_http"]) }},
		{"otlp_grpc", func() sender { return otlpGRPC(t, v.doors["otlp_grpc"]) }},
	} {
		for i := range 2 {
			w := &writer{name: "kill_" + p.protocol, id: strconv.Itoa(i), send: p.make(), from: time.Now().Add(-10 * time.Minute).UnixMilli()}
			writers = append(writers, w)
			running.Go(func() { w.run(ctx, &base) })
		}
	}
	var pushers []*pusher
	for i := range 2 {
		p := &pusher{id: strconv.Itoa(i)}
		pushers = append(pushers, p)
		running.Go(func() { p.run(ctx, &base) })
	}

	for k := range kills {
		for _, w := range writers {
			w.lives = append(w.lives, w.count.Load())
		}
		time.Sleep(100*time.Millisecond + rand.N(900*time.Millisecond))
		v.kill()
		if k%4 == 3 { // and again while it reads the log
			if _, err := v.launch(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(rand.N(400 * time.Millisecond))
			v.kill()
		}
		v.start(t)
		base.Store(v.url)
	}
	time.Sleep(500 * time.Millisecond) // the last life writes too
	stop()
	running.Wait()
	v.kill()
	v.start(t)

	for _, w := range writers {
		w.check(t, v.url)
	}
	for _, p := range pushers {
		p.check(t, v.url)
	}
}

// writer sends 1, 2, 3, ... at from+1 ms, from+2 ms, ...
type writer struct {
	name, id string
	send     sender
	from     int64 // Unix ms

	count atomic.Int64 // acknowledged
	lives []int64      // count at the beginning of each life
	acked []point
	sent  int64 // the last number that was sent
}

func (w *writer) run(ctx context.Context, base *atomic.Value) {
	for ctx.Err() == nil {
		var ps []point
		for range perRequest {
			w.sent++
			ps = append(ps, point{w.from + w.sent, float64(w.sent)})
		}
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := w.send(try, base.Load().(string), w.name, w.id, ps)
		cancel()
		if err != nil {
			sleep(ctx, 20*time.Millisecond)
			continue // on to other numbers: those may be stored or not
		}
		w.acked = append(w.acked, ps...)
		w.count.Add(int64(len(ps)))
		sleep(ctx, 2*time.Millisecond)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (w *writer) check(t *testing.T, base string) {
	t.Helper()
	idle := 0
	for i := 1; i < len(w.lives); i++ {
		if w.lives[i] == w.lives[i-1] {
			idle++
		}
	}
	if len(w.acked) == 0 || idle > len(w.lives)/2 {
		t.Errorf("%s, writer %s: %d samples acknowledged, none in %d of %d lives: too little was tried", w.name, w.id, len(w.acked), idle, len(w.lives)-1)
	}
	all, err := history(base, fmt.Sprintf(`{__name__=~"%s(_v)?", writer="%s"}[1h]`, w.name, w.id), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) > 1 {
		t.Errorf("%s, writer %s: %d series: %v", w.name, w.id, len(all), slices.Collect(maps.Keys(all)))
	}
	stored := map[int64]float64{}
	for s, ps := range all {
		for _, p := range ps {
			stored[p.ms] = p.value
			if n := p.ms - w.from; n < 1 || n > w.sent || float64(n) != p.value {
				t.Errorf("%s: %v at %d was never sent", s, p.value, p.ms)
			}
		}
	}
	lost := 0
	for _, p := range w.acked {
		if got, ok := stored[p.ms]; !ok || got != p.value {
			if lost++; lost <= 3 {
				t.Errorf("%s, writer %s: %v at %d was acknowledged and is not there (found %v, %v)", w.name, w.id, p.value, p.ms, got, ok)
			}
		}
	}
	if lost > 0 {
		t.Errorf("%s, writer %s: %d of %d acknowledged samples are lost", w.name, w.id, lost, len(w.acked))
	}
	t.Logf("%s, writer %s: %d sent, %d acknowledged, %d stored, %d lost", w.name, w.id, w.sent, len(w.acked), len(stored), lost)
}

// pusher pushes 1, 2, 3, ... to a group of its own. A push has no time: its
// sample is between the request and the answer.
type pusher struct {
	id    string
	acked []pushed
	sent  int
}

type pushed struct {
	value       float64
	begin, done int64 // Unix ms
}

func (p *pusher) run(ctx context.Context, base *atomic.Value) {
	for ctx.Err() == nil {
		p.sent++
		one := pushed{value: float64(p.sent), begin: time.Now().UnixMilli()}
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := post(try, fmt.Sprintf("%s/metrics/job/kill/writer/%s", base.Load(), p.id), fmt.Appendf(nil, "kill_push %d\n", p.sent), nil)
		cancel()
		if err != nil {
			sleep(ctx, 20*time.Millisecond)
			continue
		}
		one.done = time.Now().UnixMilli()
		p.acked = append(p.acked, one)
		sleep(ctx, 5*time.Millisecond) // two pushes in one millisecond would be one sample
	}
}

func (p *pusher) check(t *testing.T, base string) {
	t.Helper()
	all, err := history(base, fmt.Sprintf(`kill_push{writer="%s"}[1h]`, p.id), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || len(p.acked) == 0 {
		t.Fatalf("kill_push, writer %s: %d series, %d pushes acknowledged; want 1 series and some pushes", p.id, len(all), len(p.acked))
	}
	first := map[float64]int64{}
	last := 0.0
	for _, ps := range all {
		for _, s := range ps {
			if _, ok := first[s.value]; !ok {
				first[s.value] = s.ms
			}
			if s.value < 1 || s.value > float64(p.sent) || s.value < last {
				t.Errorf("kill_push, writer %s: %v after %v; %d were sent", p.id, s.value, last, p.sent)
			}
			last = s.value
		}
	}
	lost := 0
	for _, a := range p.acked {
		if ms, ok := first[a.value]; !ok || ms < a.begin || ms > a.done {
			if lost++; lost <= 3 {
				t.Errorf("kill_push, writer %s: the push of %v, from %d to %d, was acknowledged and is not there (found %d, %v)", p.id, a.value, a.begin, a.done, ms, ok)
			}
		}
	}
	// The group is kept, too: it is still written.
	if want := p.acked[len(p.acked)-1].value; last < want {
		t.Errorf("kill_push, writer %s: the group has %v; the last push acknowledged was %v", p.id, last, want)
	}
	t.Logf("kill_push, writer %s: %d sent, %d acknowledged, %d lost", p.id, p.sent, len(p.acked), lost)
}

// post is a POST with the token; any answer but 2xx is an error. read, if any,
// gets the answer.
func post(ctx context.Context, url string, body []byte, header map[string]string, read ...func(*http.Response, []byte) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", resp.Status, b)
	}
	for _, f := range read {
		if err := f(resp, b); err != nil {
			return err
		}
	}
	return nil
}

func remoteWrite1(ctx context.Context, base, name, writer string, ps []point) error {
	ts := prompb.TimeSeries{Labels: []prompb.Label{{Name: "__name__", Value: name}, {Name: "writer", Value: writer}}}
	for _, p := range ps {
		ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: p.ms, Value: p.value})
	}
	b, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{ts}}).Marshal()
	if err != nil {
		return err
	}
	return post(ctx, base+"/api/v1/write", snappy.Encode(nil, b), map[string]string{
		"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"})
}

func remoteWrite2(ctx context.Context, base, name, writer string, ps []point) error {
	ts := writev2.TimeSeries{LabelsRefs: []uint32{1, 2, 3, 4}}
	for _, p := range ps {
		ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: p.ms, Value: p.value})
	}
	b, err := (&writev2.Request{Symbols: []string{"", "__name__", name, "writer", writer}, Timeseries: []writev2.TimeSeries{ts}}).Marshal()
	if err != nil {
		return err
	}
	return post(ctx, base+"/api/v1/write", snappy.Encode(nil, b), map[string]string{
		"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "2.0.0"},
		func(r *http.Response, _ []byte) error {
			if got := r.Header.Get("X-Prometheus-Remote-Write-Samples-Written"); got != strconv.Itoa(len(ps)) {
				return fmt.Errorf("%s samples written, want %d", got, len(ps))
			}
			return nil
		})
}

// influx sends the field v, so that the series ends in _v.
func influx(path string) sender {
	return func(ctx context.Context, base, name, writer string, ps []point) error {
		var b bytes.Buffer
		for _, p := range ps {
			fmt.Fprintf(&b, "%s,writer=%s v=%v %d\n", name, writer, int64(p.value), p.ms)
		}
		return post(ctx, base+path, b.Bytes(), nil)
	}
}

func openTSDB(door, parameter string) sender {
	return func(ctx context.Context, _, name, writer string, ps []point) error {
		type dot struct {
			Metric    string            `json:"metric"`
			Timestamp int64             `json:"timestamp"`
			Value     float64           `json:"value"`
			Tags      map[string]string `json:"tags"`
		}
		var dots []dot
		for _, p := range ps {
			dots = append(dots, dot{name, p.ms, p.value, map[string]string{"writer": writer}})
		}
		b, err := json.Marshal(dots)
		if err != nil {
			return err
		}
		return post(ctx, "http://"+door+"/api/put?"+parameter, b, nil, func(_ *http.Response, b []byte) error {
			if parameter == "details" && !strings.Contains(string(b), fmt.Sprintf(`"success":%d`, len(ps))) {
				return fmt.Errorf("answer: %s", b)
			}
			return nil
		})
	}
}

func otlpRequest(name, writer string, ps []point) *collector.ExportMetricsServiceRequest {
	g := &otlp.Gauge{}
	for _, p := range ps {
		g.DataPoints = append(g.DataPoints, &otlp.NumberDataPoint{
			TimeUnixNano: uint64(p.ms) * 1e6,
			Attributes:   []*common.KeyValue{{Key: "writer", Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: writer}}}},
			Value:        &otlp.NumberDataPoint_AsDouble{AsDouble: p.value},
		})
	}
	return &collector.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{ScopeMetrics: []*otlp.ScopeMetrics{{
		Metrics: []*otlp.Metric{{Name: name, Data: &otlp.Metric_Gauge{Gauge: g}}}}}}}}
}

func accepted(r *collector.ExportMetricsServiceResponse) error {
	if n := r.GetPartialSuccess().GetRejectedDataPoints(); n > 0 {
		return fmt.Errorf("%d points refused: %s", n, r.GetPartialSuccess().GetErrorMessage())
	}
	return nil
}

func otlpHTTP(door string) sender {
	return func(ctx context.Context, _, name, writer string, ps []point) error {
		b, err := proto.Marshal(otlpRequest(name, writer, ps))
		if err != nil {
			return err
		}
		return post(ctx, "http://"+door+"/v1/metrics", b, map[string]string{"Content-Type": "application/x-protobuf"}, func(_ *http.Response, b []byte) error {
			var r collector.ExportMetricsServiceResponse
			if err := proto.Unmarshal(b, &r); err != nil {
				return err
			}
			return accepted(&r)
		})
	}
}

// otlpGRPC dials at the first request and anew after an error: a
// connection that waits for its next attempt would sit out a life of the server.
func otlpGRPC(t *testing.T, door string) sender {
	var conn *grpc.ClientConn
	t.Cleanup(func() {
		if conn != nil {
			_ = conn.Close()
		}
	})
	return func(ctx context.Context, _, name, writer string, ps []point) (err error) {
		if conn == nil {
			if conn, err = grpc.NewClient(door, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
				return err
			}
		}
		r, err := collector.NewMetricsServiceClient(conn).Export(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), otlpRequest(name, writer, ps))
		if err != nil {
			_ = conn.Close()
			conn = nil
			return err
		}
		return accepted(r)
	}
}
