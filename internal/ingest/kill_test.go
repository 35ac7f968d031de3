package ingest_test

import (
	"bufio"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// A child of TestKill finds its directory here.
const killDir = "VEDETTE_TEST_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := serveUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// killStore makes blocks every ten minutes of data, so that compaction, block
// writing and truncation of the log happen under the kills too.
func killStore() metric.Config {
	return metric.Config{BlockDuration: 10 * time.Minute, OutOfOrder: 20 * time.Minute}
}

// serveUntilKilled is the child: a store behind remote write, and /dump, which
// tells all that the store holds in a time range.
func serveUntilKilled(dir string) error {
	reg := prometheus.NewRegistry()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	s, err := metric.Open(dir, killStore(), instrument.New(instrument.Config{}), reg, log)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/write", ingest.RemoteWrite(ingest.NewSink(s, ingest.SinkConfig{IsLimit: metric.IsLimit}, ingest.NewCounts(instrument.New(instrument.Config{}))), ingest.RemoteWriteConfig{}, log))
	mux.HandleFunc("/dump", func(w http.ResponseWriter, r *http.Request) {
		mint, _ := strconv.ParseInt(r.FormValue("mint"), 10, 64)
		b := bufio.NewWriterSize(w, 1<<16)
		if err := dump(s, mint, math.MaxInt64, func(series string, t int64, v string) {
			fmt.Fprintf(b, "%s\t%d\t%s\n", series, t, v)
		}); err != nil {
			fmt.Fprintf(b, "error\t0\t%s\n", err)
		}
		fmt.Fprintln(b, "end")
		b.Flush()
	})
	go func() {
		// The parent's end is this one's too.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(ln.Addr())
	return http.Serve(ln, mux)
}

// dump calls f with every sample between mint and maxt; values that are equal
// have equal texts.
func dump(s *metric.Store, mint, maxt int64, f func(series string, t int64, v string)) error {
	q, err := s.Querier(mint, maxt)
	if err != nil {
		return err
	}
	defer q.Close()
	set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+"))
	var it chunkenc.Iterator
	for set.Next() {
		it = set.At().Iterator(it)
		name := set.At().Labels().String()
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			if vt == chunkenc.ValFloat {
				t, v := it.At()
				f(name, t, floatText(v))
			} else {
				t, h := it.AtFloatHistogram(nil)
				f(name, t, h.String())
			}
		}
		if it.Err() != nil {
			return it.Err()
		}
	}
	return set.Err()
}

func floatText(v float64) string { return strconv.FormatUint(math.Float64bits(v), 16) }

// child is a running store.
type child struct {
	cmd   *exec.Cmd
	addr  string // empty until ready
	stdin io.Closer
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), killDir+"="+dir)
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = in
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	c.addr = "?"
	line := bufio.NewScanner(out)
	if line.Scan() {
		c.addr = line.Text()
	} else {
		t.Fatal("the child ended before it was ready")
	}
	return c
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // says "killed"
	_ = c.stdin.Close()
}

// ledger is what has been acknowledged, and the value of each.
type ledger struct {
	mu      sync.Mutex
	samples map[string]map[int64]string
	n       int
}

func (l *ledger) add(sent []tsSeries) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range sent {
		name := s.labels.String()
		m := l.samples[name]
		if m == nil {
			m = map[int64]string{}
			l.samples[name] = m
		}
		for _, p := range s.points {
			m[p.t] = p.text()
			l.n++
		}
	}
}

// missing compares the ledger from mint on with what a store holds.
func (l *ledger) missing(mint int64, found map[string]map[int64]string) (n int, first string) {
	for name, m := range l.samples {
		for ts, want := range m {
			if ts < mint {
				continue
			}
			if got := found[name][ts]; got != want {
				n++
				if first == "" {
					first = fmt.Sprintf("%s at %d: got %q, want %q", name, ts, got, want)
				}
			}
		}
	}
	return n, first
}

// missingBySeries tells of each series how many samples are missing, of how many,
// and from when to when.
func (l *ledger) missingBySeries(mint int64, found map[string]map[int64]string) []string {
	var out []string
	for name, m := range l.samples {
		n, all, from, to := 0, 0, int64(math.MaxInt64), int64(math.MinInt64)
		for ts, want := range m {
			if ts < mint {
				continue
			}
			if all++; found[name][ts] != want {
				n, from, to = n+1, min(from, ts), max(to, ts)
			}
		}
		if n > 0 && !strings.Contains(name, "fresh") {
			out = append(out, fmt.Sprintf("%s %d of %d, %d to %d", name, n, all, from, to))
		}
	}
	slices.Sort(out)
	return out
}

// valueOf is the value of a series at a time, so that a sample which was stored
// and not acknowledged can be checked too.
func valueOf(name string, t int64) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, name, t)
	return float64(h.Sum64() % 1_000_000)
}

func histogramOf(name string, t int64) *histogram.Histogram {
	n := int64(valueOf(name, t)) % 1000
	return &histogram.Histogram{
		Schema: 1, ZeroThreshold: 0.001, ZeroCount: 2, Count: uint64(2*n + 3), Sum: float64(n) / 4,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []int64{n, 1},
	}
}

// killBatch makes the next request of a sender: old series, one new, an integer
// and a float histogram, and a late sample. Each sender has series of its own.
func killBatch(sender, tick int, at int64) []tsSeries {
	var out []tsSeries
	add := func(name string, t int64, ls ...string) {
		l := labels.FromStrings(append([]string{labels.MetricName, name, "sender", strconv.Itoa(sender)}, ls...)...)
		out = append(out, tsSeries{labels: l, points: []tsPoint{{t: t, v: valueOf(l.String(), t)}}})
	}
	for i := range 20 {
		add("steady", at, "i", strconv.Itoa(i))
	}
	add("fresh", at, "tick", strconv.Itoa(tick))
	if tick%3 == 0 { // up to fifteen minutes late, at odd milliseconds
		add("steady", at-1-int64(tick*7919%900_000), "i", strconv.Itoa(tick%20))
	}
	for _, kind := range []string{"integer", "float"} {
		l := labels.FromStrings(labels.MetricName, "native", "sender", strconv.Itoa(sender), "kind", kind)
		p := tsPoint{t: at, h: histogramOf(l.String(), at)}
		if kind == "float" {
			p.fh, p.h = p.h.ToFloat(nil), nil
		}
		out = append(out, tsSeries{labels: l, points: []tsPoint{p}})
	}
	return out
}

// TestKill kills a store under remote write again and again. Whatever was
// acknowledged must be there afterwards, and whatever is there must be right.
// VEDETTE_KILL_ROUNDS sets how often.
func TestKill(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	if n, err := strconv.Atoi(os.Getenv("VEDETTE_KILL_ROUNDS")); err == nil {
		rounds = n
	}
	dir := t.TempDir()
	const senders, step = 4, 2 * time.Second
	base := time.Now().Add(-5 * 24 * time.Hour).UnixMilli()
	var tick atomic.Int64
	book := &ledger{samples: map[string]map[int64]string{}}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)

	mint := base - time.Hour.Milliseconds()
	check := func(found map[string]map[int64]string, mint int64) {
		t.Helper()
		if n, first := book.missing(mint, found); n > 0 {
			t.Fatalf("%d acknowledged samples are missing or wrong; the first: %s", n, first)
		}
		for name, m := range found {
			for ts, got := range m {
				want := floatText(valueOf(name, ts))
				if strings.Contains(name, "native") {
					want = histogramOf(name, ts).ToFloat(nil).String()
				}
				if got != want {
					t.Fatalf("%s at %d was never sent so: got %q, want %q", name, ts, got, want)
				}
			}
		}
	}
	for round := range rounds {
		c := startChild(t, dir)
		found := fetchDump(t, c.addr, mint)
		if n, _ := book.missing(mint, found); n > 0 {
			// Lost, or only not found by a query that met a compaction? And what?
			time.Sleep(2 * time.Second)
			again, _ := book.missing(mint, fetchDump(t, c.addr, mint))
			t.Errorf("round %d: %d are missing, two seconds later %d; by series: %v", round, n, again, book.missingBySeries(mint, found))
		}
		check(found, mint)
		// What the next round looks at: all that this one writes, late samples included.
		mint = base + tick.Load()*step.Milliseconds() - 20*time.Minute.Milliseconds()

		var wg sync.WaitGroup
		for i := range senders {
			wg.Go(func() {
				for {
					n := int(tick.Add(1))
					batch := killBatch(i, n, base+int64(n)*step.Milliseconds())
					v2 := n%2 == 0
					code, body, err := send("http://"+c.addr+"/write", v2, batch)
					if err != nil {
						return // killed: not acknowledged
					}
					if code/100 != 2 {
						t.Errorf("answer %d: %s", code, body)
						return
					}
					book.add(batch)
				}
			})
		}
		time.Sleep(time.Duration(20+rnd.IntN(350)) * time.Millisecond) // the load's duration is what is varied
		c.kill()
		wg.Wait()
		if t.Failed() {
			return
		}
		if round%4 == 3 { // and one that dies while it replays, or just after
			d := exec.Command(os.Args[0])
			d.Env = append(os.Environ(), killDir+"="+dir)
			if err := d.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
			_ = d.Process.Kill()
			_ = d.Wait()
		}
	}
	s := openStore(t, dir, killStore())
	found := map[string]map[int64]string{}
	if err := dump(s, math.MinInt64, math.MaxInt64, collect(found)); err != nil {
		t.Fatal(err)
	}
	check(found, math.MinInt64)
	t.Logf("%d kills, %d samples acknowledged, all found; %d blocks", rounds, book.n, s.Usage().Blocks)
	if book.n == 0 {
		t.Error("nothing was acknowledged: the test shows nothing")
	}
}

func collect(into map[string]map[int64]string) func(string, int64, string) {
	return func(series string, ts int64, v string) {
		m := into[series]
		if m == nil {
			m = map[int64]string{}
			into[series] = m
		}
		m[ts] = v
	}
}

func fetchDump(t *testing.T, addr string, mint int64) map[string]map[int64]string {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%s/dump?mint=%d", addr, mint))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	found := map[string]map[int64]string{}
	add, ended := collect(found), false
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		f := strings.Split(sc.Text(), "\t")
		if ended = f[0] == "end"; ended {
			break
		}
		ts, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || f[0] == "error" {
			t.Fatalf("dump: %s", sc.Text())
		}
		add(f[0], ts, f[2])
	}
	if !ended {
		t.Fatal("the dump was cut")
	}
	return found
}
