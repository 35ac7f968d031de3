package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	"google.golang.org/protobuf/encoding/protowire"
)

// TestKill has a writer for each protocol that acknowledges write numbered values
// while the program is killed and started again: what was acknowledged is there at
// the end. VEDETTE_KILLS is how often it is killed.
func TestKill(t *testing.T) {
	kills := 8
	if v := os.Getenv("VEDETTE_KILLS"); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	s := newServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var ws []*killWriter
	for name, send := range acknowledging(t, s) {
		w := &killWriter{name: name, send: send}
		ws = append(ws, w)
		all.Go(func() { w.run(ctx) })
	}
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range kills {
		time.Sleep(time.Duration(200+r.IntN(1500)) * time.Millisecond)
		s.kill()
		s.start()
	}
	time.Sleep(500 * time.Millisecond)
	cancel()
	all.Wait()
	s.kill()
	s.start()
	for _, w := range ws {
		got := s.stored(w.series())
		missing := 0
		for _, at := range w.acknowledged {
			if v, ok := got[at.t]; !ok || v != at.v {
				missing++
			}
		}
		if w.name == "pushgateway" && len(w.acknowledged) > 0 {
			// A push has the server's time, and the next one takes its place: what was
			// acknowledged last, or a later one that was not, must be there.
			missing = 0
			if last := w.acknowledged[len(w.acknowledged)-1].v; slices.Max(append(slices.Collect(maps.Values(got)), 0)) < last {
				missing = 1
			}
		}
		if len(w.acknowledged) < 10*kills {
			t.Errorf("%s: only %d values were acknowledged", w.name, len(w.acknowledged))
		}
		if missing > 0 {
			t.Errorf("%s: of %d values that were acknowledged %d are not there", w.name, len(w.acknowledged), missing)
		}
		t.Logf("%s: %d values acknowledged, %d attempts failed", w.name, len(w.acknowledged), w.failed)
	}
}

// sent is a value at a time, Unix milliseconds.
type sent struct {
	t int64
	v float64
}

type killWriter struct {
	name         string
	send         func(ctx context.Context, name string, x sent) error
	acknowledged []sent
	failed       int
}

func (w *killWriter) series() string { return "kill_" + w.name }

// run sends until ctx ends, each value once; an attempt under way is finished.
func (w *killWriter) run(ctx context.Context) {
	last := int64(0)
	for n := 1; ctx.Err() == nil; n++ {
		x := sent{max(time.Now().UnixMilli(), last+1), float64(n)}
		last = x.t
		attempt, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := w.send(attempt, w.series(), x)
		cancel()
		if err == nil {
			w.acknowledged = append(w.acknowledged, x)
			time.Sleep(time.Millisecond)
		} else {
			w.failed++
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// stored is every sample of the series whose name is given, or is that with a
// suffix.
func (s *server) stored(name string) map[int64]float64 {
	s.t.Helper()
	var data struct {
		Result []struct{ Values [][2]any }
	}
	if err := s.ask("/api/v1/query", url.Values{"query": {fmt.Sprintf(`{__name__=~"%s(_v|_total)?"}[1h]`, name)}}, &data); err != nil {
		s.t.Fatal(err)
	}
	out := map[int64]float64{}
	for _, r := range data.Result {
		for _, v := range r.Values {
			f, err := strconv.ParseFloat(v[1].(string), 64)
			if err != nil {
				s.t.Fatal(err)
			}
			out[int64(math.Round(v[0].(float64)*1000))] = f
		}
	}
	return out
}

// acknowledging are the writers of all protocols that say what they stored.
func acknowledging(t *testing.T, s *server) map[string]func(context.Context, string, sent) error {
	post := func(ctx context.Context, u, kind string, body []byte, more ...string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", kind)
		for i := 0; i < len(more); i += 2 {
			req.Header.Set(more[i], more[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode/100 != 2 {
			err = fmt.Errorf("%s: %s", resp.Status, b)
		}
		return err
	}
	grpc, err := otlpmetricgrpc.New(context.Background(), otlpmetricgrpc.WithEndpoint(s.at["otlp_grpc"]), otlpmetricgrpc.WithInsecure(),
		otlpmetricgrpc.WithRetry(otlpmetricgrpc.RetryConfig{}), otlpmetricgrpc.WithHeaders(map[string]string{"authorization": "Bearer " + token}))
	if err != nil {
		t.Fatal(err)
	}
	http1, err := otlpmetrichttp.New(context.Background(), otlpmetrichttp.WithEndpoint(s.at["otlp_http"]), otlpmetrichttp.WithInsecure(),
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{}), otlpmetrichttp.WithHeaders(map[string]string{"authorization": "Bearer " + token}))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]func(context.Context, string, sent) error{
		"remote_write_1": func(ctx context.Context, name string, x sent) error {
			return post(ctx, s.url+"/api/v1/write", "application/x-protobuf", snappy.Encode(nil, remoteWrite1(name, x)), "Content-Encoding", "snappy", "X-Prometheus-Remote-Write-Version", "0.1.0")
		},
		"remote_write_2": func(ctx context.Context, name string, x sent) error {
			return post(ctx, s.url+"/api/v1/write", "application/x-protobuf;proto=io.prometheus.write.v2.Request", snappy.Encode(nil, remoteWrite2(name, x)), "Content-Encoding", "snappy", "X-Prometheus-Remote-Write-Version", "2.0.0")
		},
		"influx_1": func(ctx context.Context, name string, x sent) error {
			return post(ctx, "http://"+s.at["influx"]+"/write?db=x&precision=ms", "text/plain", fmt.Appendf(nil, "%s v=%v %d\n", name, x.v, x.t))
		},
		"influx_2": func(ctx context.Context, name string, x sent) error {
			return post(ctx, s.url+"/api/v2/write?bucket=x&org=o&precision=ms", "text/plain", fmt.Appendf(nil, "%s v=%v %d\n", name, x.v, x.t))
		},
		"opentsdb": func(ctx context.Context, name string, x sent) error {
			body, err := json.Marshal([]map[string]any{{"metric": name, "timestamp": x.t, "value": x.v, "tags": map[string]string{"host": "a"}}})
			if err != nil {
				return err
			}
			return post(ctx, "http://"+s.at["opentsdb"]+"/api/put?sync&details", "application/json", body)
		},
		"pushgateway": func(ctx context.Context, name string, x sent) error {
			return post(ctx, s.url+"/metrics/job/kill", "text/plain", fmt.Appendf(nil, "# TYPE %s gauge\n%s %v\n", name, name, x.v))
		},
		"otlp_grpc": func(ctx context.Context, name string, x sent) error { return grpc.Export(ctx, otlpGauge(name, x)) },
		"otlp_http": func(ctx context.Context, name string, x sent) error { return http1.Export(ctx, otlpGauge(name, x)) },
	}
}

func otlpGauge(name string, x sent) *metricdata.ResourceMetrics {
	return &metricdata.ResourceMetrics{
		Resource: resource.NewSchemaless(attribute.String("service.name", "kill")),
		ScopeMetrics: []metricdata.ScopeMetrics{{Metrics: []metricdata.Metrics{{Name: name, Data: metricdata.Gauge[float64]{
			DataPoints: []metricdata.DataPoint[float64]{{Time: time.UnixMilli(x.t), Value: x.v}}}}}}},
	}
}

// bytesField and the like append fields of protocol buffers.
func bytesField(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func sample(x sent) []byte {
	b := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(x.v))
	return protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(x.t))
}

// remoteWrite1 is a prometheus.WriteRequest of one sample.
func remoteWrite1(name string, x sent) []byte {
	label := bytesField(bytesField(nil, 1, []byte("__name__")), 2, []byte(name))
	return bytesField(nil, 1, bytesField(bytesField(nil, 1, label), 2, sample(x)))
}

// remoteWrite2 is an io.prometheus.write.v2.Request of one sample.
func remoteWrite2(name string, x sent) []byte {
	var b []byte
	for _, symbol := range []string{"", "__name__", name} {
		b = bytesField(b, 4, []byte(symbol))
	}
	refs := protowire.AppendVarint(protowire.AppendVarint(nil, 1), 2)
	return bytesField(b, 5, bytesField(bytesField(nil, 1, refs), 2, sample(x)))
}
