package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// statsd is StatsD in front of a store. Its time begins an hour ago, at a
// multiple of ten seconds.
type statsd struct {
	t      *testing.T
	s      *ingest.StatsD
	store  *metric.Store
	counts *ingest.Counts
	base   int64
}

func newStatsD(t *testing.T, cfg ingest.StatsDConfig) *statsd {
	t.Helper()
	store, counts := openStore(t, t.TempDir(), metric.Config{}), ingest.NewCounts(instrument.New(instrument.Config{}))
	sink := ingest.NewSink(store, ingest.SinkConfig{IsLimit: metric.IsLimit}, counts)
	return &statsd{t: t, s: ingest.NewStatsD(sink, cfg, counts, quietLog()), store: store, counts: counts,
		base: time.Now().Add(-time.Hour).Truncate(10 * time.Second).UnixMilli()}
}

func (d *statsd) send(lines ...string) {
	d.s.ServePacket(d.t.Context(), []byte(strings.Join(lines, "\n")))
}

// flush flushes at a number of seconds after base.
func (d *statsd) flush(sec int) {
	d.t.Helper()
	if err := d.s.Flush(d.t.Context(), time.UnixMilli(d.base+int64(sec)*1000)); err != nil {
		d.t.Fatal(err)
	}
}

// readable lists what a store holds: "series: time=value ...", times in seconds
// after base.
func readable(t *testing.T, s *metric.Store, base int64) []string {
	t.Helper()
	q, err := s.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+"))
	var out []string
	for set.Next() {
		var b strings.Builder
		b.WriteString(set.At().Labels().String() + ":")
		it := set.At().Iterator(nil)
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			fmt.Fprintf(&b, " %v=", float64(it.AtT()-base)/1000)
			switch vt {
			case chunkenc.ValFloat:
				if _, v := it.At(); value.IsStaleNaN(v) {
					b.WriteString("stale")
				} else {
					fmt.Fprint(&b, v)
				}
			case chunkenc.ValHistogram, chunkenc.ValFloatHistogram:
				if _, h := it.AtFloatHistogram(nil); value.IsStaleNaN(h.Sum) {
					b.WriteString("stale")
				} else {
					b.WriteString(h.String())
				}
			}
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
		out = append(out, b.String())
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	sort.Strings(out)
	return out
}

func (d *statsd) want(want ...string) {
	d.t.Helper()
	sort.Strings(want)
	if got := readable(d.t, d.store, d.base); !slices.Equal(got, want) {
		d.t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// counted checks how many samples were stored, and the reasons of the others.
func (d *statsd) counted(stored int64, rejected ...string) {
	d.t.Helper()
	wantCounts(d.t, d.counts, "statsd", stored, rejected...)
}

func wantCounts(t *testing.T, counts *ingest.Counts, protocol string, stored int64, rejected ...string) {
	t.Helper()
	for _, c := range counts.Snapshot() {
		if c.Protocol != protocol {
			continue
		}
		got := []string{}
		for _, r := range c.Rejected {
			got = append(got, fmt.Sprintf("%s %d", r.Reason, r.Count))
		}
		sort.Strings(got)
		sort.Strings(rejected)
		if c.Samples != stored || !slices.Equal(got, rejected) && len(got)+len(rejected) > 0 {
			t.Errorf("counted %d stored and %v refused, want %d and %v", c.Samples, got, stored, rejected)
		}
		return
	}
	t.Errorf("nothing is counted for %s", protocol)
}

func TestStatsDLines(t *testing.T) {
	f := func(lines string, want ...string) {
		t.Helper()
		d := newStatsD(t, ingest.StatsDConfig{})
		d.send(lines)
		d.flush(10)
		d.want(want...)
	}
	f("a:1|c", `{__name__="a"}: 0=0 10=1`)
	f("a.b-c:1|c\r\na.b-c:2.5|c\n\n", `{__name__="a.b-c"}: 0=0 10=3.5`)
	f("a:3|c|@0.1", `{__name__="a"}: 0=0 10=30`)
	f("a:+3|c", `{__name__="a"}: 0=0 10=3`)
	f("a:1:2:3|c|@0.5", `{__name__="a"}: 0=0 10=12`)
	f("a:0|c", `{__name__="a"}: 0=0 10=0`)
	f("a:1|c|#x:1,y:http://h:80/,bare,,z:", `{__name__="a", bare="true", x="1", y="http://h:80/"}: 0=0 10=1`)
	f("a:1|c|#y:1,x:2\na:1|c|#x:2,y:1\na,x=2:1|c|#y:1\na,y=1,x=2:1|c", `{__name__="a", x="2", y="1"}: 0=0 10=4`)
	f("a:1|c|#x:1,x:2", `{__name__="a", x="2"}: 0=0 10=1`)
	f("a:1|c|@0.5|#x:1|c:in-1234|e:it|card:low|T1656581400", `{__name__="a", x="1"}: 0=0 10=2`)
	f("a:1|c|#A:1,_z:2", `{A="1", __name__="a", _z="2"}: 0=0 10=1`)
	f("g:1.5|g", `{__name__="g"}: 10=1.5`)
	f("g:5|g\ng:-2|g\ng:+0.5|g", `{__name__="g"}: 10=3.5`)
	f("g:-2|g", `{__name__="g"}: 10=-2`)
	f("g:1e3|g", `{__name__="g"}: 10=1000`)
	f("g:1234567890123456789|g", `{__name__="g"}: 10=1.2345678901234568e+18`)
	f("g:.5|g\nh:5.|g", `{__name__="g"}: 10=0.5`, `{__name__="h"}: 10=5`)
	f("s:x|s\ns:y|s\ns:x|s", `{__name__="s"}: 10=2`)
	f("s:2001:db8::1|s\ns:2001:db8::2|s", `{__name__="s"}: 10=2`)
	f("m:0.75|ms", `{__name__="m"}: 0={count:0, sum:0} 10={count:1, sum:0.75, (0.7071067811865475,0.7711054127039704]:1}`)
	f("m:1|h\nm:0|d\nm:-1|ms|@0.5", `{__name__="m"}: 0={count:0, sum:0} 10={count:4, sum:-1, [-1,-0.9170040432046711):2, [-2.938735877055719e-39,2.938735877055719e-39]:1, (0.9170040432046711,1]:1}`)
	f("_sc|db.up|2|d:1656581400|h:web1|#x:1|m:it|#y:2", `{__name__="db.up", host="web1", x="1"}: 10=2`)
	f("_sc|db,up|0", `{__name__="db,up"}: 10=0`)
	f("ü:1|g|#straße:ä", `{__name__="ü", "straße"="ä"}: 10=1`)
}

func TestStatsDRefused(t *testing.T) {
	f := func(lines string, reasons ...string) {
		t.Helper()
		d := newStatsD(t, ingest.StatsDConfig{MaxPacket: 9000})
		d.send(lines)
		d.flush(10)
		d.counted(0, reasons...)
		d.want()
	}
	f("a", "bad_line 1")
	f("a:1", "bad_line 1")
	f("a:1|", "bad_line 1")
	f("a|c|#x:1|c", "bad_line 1")
	f(":1|c", "bad_name 1")
	f(",x=1:1|c", "bad_name 1")
	f("\xff:1|c\na:1|c|#x:\xff", "bad_name 2")
	f(strings.Repeat("x", 4097)+":1|c", "bad_name 1")
	f("a:1|x\na:1|m\na:1|mss", "bad_type 3")
	f("a:|c\na:x|c\na:NaN|g\na:inf|g\na:0x1p4|g\na:1_0|g\na:1e999|g\na:.|g\na:-|g\na:|s", "bad_value 10")
	f("a:1|c|@0\na:1|c|@1.5\na:1|c|@x\na:1|c|@-1\na:1|c|@", "bad_rate 5")
	f("a:1|g|Tx\na:1|g|T0\na:1|g|T9223372036854775807", "bad_time 3")
	f("a:1|c|#:v\na,x:1|c\na,=1:1|c", "bad_tag 3")
	f("a:1|c|#__name__:v\na,__name__=v:1|c", "bad_tag 2")
	f("a:-1|c", "negative_counter 1")
	f("_sc|a\n_sc|a|4\n_sc|a|ok\n_sc||1", "bad_check 3", "bad_name 1")
	f("_e{1,1}:a|b", "event 1")
	f(strings.Repeat("x", 9001), "too_large 1")
}

func TestStatsDKeepsTheRight(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{})
	d.send("a:1:x:2|c", "bad", "b:1|g", "b:1|c")
	d.flush(10)
	d.want(`{__name__="a"}: 0=0 10=3`, `{__name__="b"}: 10=1`)
	d.counted(3, "bad_value 1", "bad_line 1", "kind_differs 1")
}

func TestStatsDOverflow(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{})
	d.send("c:1e308:1e308|c", "g:1e308|g", "g:+1e308|g", "h:1e308:1e308|h", "c:1e308|c|@0.001")
	d.flush(10)
	d.counted(5, "overflow 4") // counter and histogram with their zeros
}

func TestStatsDOverTime(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{Expire: 20 * time.Second})
	d.send("c:1|c", "g:1|g", "s:x|s", "h:1|h")
	d.flush(10)
	d.send("c:2|c", "g:+1|g", "s:x|s", "s:y|s", "h:1|h")
	d.flush(20)
	d.flush(20) // the same time again: nothing
	d.flush(30)
	d.send("late:1|c")
	d.flush(40)
	if got := d.s.Held(); got != 1 {
		t.Errorf("%d series are held, want 1", got)
	}
	d.send("c:7|c", "h:1|h") // at once again: a new counter, from zero
	d.flush(50)
	one := "(0.9170040432046711,1]"
	d.want(`{__name__="c"}: 0=0 10=1 20=3 30=3 39.999=stale 40=0 50=7`,
		`{__name__="g"}: 10=1 20=2 30=2 39.999=stale`,
		`{__name__="s"}: 10=1 20=2 30=0 39.999=stale`,
		`{__name__="h"}: 0={count:0, sum:0} 10={count:1, sum:1, `+one+`:1} 20={count:2, sum:2, `+one+`:2} 30={count:2, sum:2, `+one+`:2} 39.999=stale 40={count:0, sum:0} 50={count:1, sum:1, `+one+`:1}`,
		`{__name__="late"}: 30=0 40=1 50=1`)
}

func TestStatsDTimestamps(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{Expire: 10 * time.Second})
	sec := d.base / 1000
	d.send(fmt.Sprintf("g:1|g|T%d", sec+1), fmt.Sprintf("g:-2|g|T%d", sec+3), fmt.Sprintf("g:9|g|T%d", sec+2))
	d.flush(10)
	d.flush(20)
	d.send(fmt.Sprintf("g:5|g|T%d", sec+21))
	d.flush(30)
	d.want(`{__name__="g"}: 1=1 2=9 3=-2 21=5`)
	for range 1001 {
		d.send(fmt.Sprintf("g:5|g|T%d", sec+22))
	}
	d.flush(40)
	d.counted(4+1000, "max_points 1")
}

func TestStatsDAbsoluteGauges(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{AbsoluteGauges: true})
	d.send("g:5|g", "g:-2|g")
	d.flush(10)
	d.want(`{__name__="g"}: 10=-2`)
}

func TestStatsDMaxSeries(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{MaxSeries: 2, Expire: 10 * time.Second})
	d.send("a:1|c", "b:1|c", "c:1|c", "a:1|c", "d:1|g")
	d.flush(10)
	d.want(`{__name__="a"}: 0=0 10=2`, `{__name__="b"}: 0=0 10=1`)
	d.counted(4, "max_series 2")
	d.flush(20)
	d.send("c:1|c") // there is room again
	d.flush(30)
	if got := d.s.Held(); got != 1 {
		t.Errorf("%d series are held, want 1", got)
	}
}

// TestStatsDManyNames sends one series under more names than are remembered.
func TestStatsDManyNames(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{MaxSeries: 1})
	for i := range 5000 {
		d.send(fmt.Sprintf("a:1|c|#x:%d,x:1", i))
	}
	d.flush(10)
	d.want(`{__name__="a", x="1"}: 0=0 10=5000`)
}

func TestStatsDSetIsBounded(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{})
	for i := range 100_010 {
		d.s.ServePacket(t.Context(), fmt.Appendf(nil, "s:%d|s", i))
	}
	d.flush(10)
	d.send("s:1|s")
	d.flush(20)
	d.want(`{__name__="s"}: 10=100000 20=1`)
	d.counted(2, "set_full 10")
}

// TestStatsDHistogram checks buckets against a count of the values themselves.
func TestStatsDHistogram(t *testing.T) {
	f := func(name string, n int, next func(r *rand.Rand) float64) {
		t.Helper()
		d := newStatsD(t, ingest.StatsDConfig{})
		r := rand.New(rand.NewPCG(1, 2))
		var values []float64
		for range n {
			v := next(r)
			values = append(values, v)
			d.send(fmt.Sprintf("h:%v|h", v))
		}
		d.flush(10)
		q, err := d.store.Querier(math.MinInt64, math.MaxInt64)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, "h"))
		if !set.Next() {
			t.Fatalf("%s: nothing is stored", name)
		}
		it := set.At().Iterator(nil)
		var h *histogram.FloatHistogram
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			_, h = it.AtFloatHistogram(nil)
		}
		if err := h.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := len(h.PositiveBuckets) + len(h.NegativeBuckets); got > 3*160 {
			t.Errorf("%s: %d buckets", name, got)
		}
		var total float64
		for b := h.AllBucketIterator(); b.Next(); {
			got, want := b.At().Count, 0.0
			for _, v := range values {
				if at := b.At(); (v > at.Lower || v == at.Lower && at.LowerInclusive) && (v < at.Upper || v == at.Upper && at.UpperInclusive) {
					want++
				}
			}
			if got != want {
				t.Errorf("%s: bucket %s: want %v", name, b.At().String(), want)
			}
			total += got
		}
		if total != float64(n) || h.Count != float64(n) {
			t.Errorf("%s: counted %v, in buckets %v, want %d", name, h.Count, total, n)
		}
	}
	f("milliseconds", 2000, func(r *rand.Rand) float64 { return math.Round(r.ExpFloat64() * 100) })
	f("both sides", 2000, func(r *rand.Rand) float64 { return math.Round(r.NormFloat64()*1e6) / 1e3 })
	f("every magnitude", 3000, func(r *rand.Rand) float64 { return math.Ldexp(r.Float64()-0.5, r.IntN(1800)-900) })
}

func TestStatsDSampleRateCountsWhole(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{})
	for range 300 {
		d.send("h:1|ms|@0.3", "k:1|ms|@0.1")
	}
	d.flush(10)
	one := "(0.9170040432046711,1]"
	d.want(`{__name__="h"}: 0={count:0, sum:0} 10={count:1000, sum:1000, `+one+`:1000}`,
		`{__name__="k"}: 0={count:0, sum:0} 10={count:3000, sum:3000, `+one+`:3000}`)
}

// failing is a store whose commits fail while told so.
type failing struct {
	storage.Appendable
	fail bool
}

func (f *failing) Appender(ctx context.Context) storage.Appender {
	return failingAppender{f.Appendable.Appender(ctx), f}
}

type failingAppender struct {
	storage.Appender
	f *failing
}

func (a failingAppender) Commit() error {
	if a.f.fail {
		_ = a.Rollback()
		return errors.New("the disk is full")
	}
	return a.Appender.Commit()
}

func TestStatsDFlushFails(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{Expire: 20 * time.Second})
	store := &failing{d.store, true}
	d.s = ingest.NewStatsD(ingest.NewSink(store, ingest.SinkConfig{}, d.counts), ingest.StatsDConfig{Expire: 20 * time.Second}, d.counts, quietLog())
	d.send("a:1|c", "bad")
	if err := d.s.Flush(t.Context(), time.UnixMilli(d.base+10_000)); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("got %v, want the store's error", err)
	}
	store.fail = false
	d.send("a:1|c")
	d.flush(20)
	store.fail = true
	_ = d.s.Flush(t.Context(), time.UnixMilli(d.base+40_000)) // its marker is owed
	store.fail = false
	d.flush(50)
	d.want(`{__name__="a"}: 10=0 20=2 49.999=stale`)
	d.counted(3, "bad_line 1", "fault 3")
}

func TestStatsDRun(t *testing.T) {
	store := openStore(t, t.TempDir(), metric.Config{})
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(7500 * time.Millisecond)
		base := time.Now().Add(-7500 * time.Millisecond).UnixMilli()
		counts := ingest.NewCounts(instrument.New(instrument.Config{}))
		s := ingest.NewStatsD(ingest.NewSink(store, ingest.SinkConfig{}, counts), ingest.StatsDConfig{}, counts, quietLog())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		s.ServePacket(ctx, []byte("a:1|c"))
		time.Sleep(5 * time.Second) // one flush, at 10
		s.ServePacket(ctx, []byte("b:1|c"))
		time.Sleep(10 * time.Second) // at 20
		s.ServePacket(ctx, []byte("a:1|c"))
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		got := strings.Join(readable(t, store, base), "\n")
		// The zero of a is not before the process.
		want := `{__name__="a"}: 7.5=0 10=1 20=1 22.5=2` + "\n" + `{__name__="b"}: 10=0 20=1 22.5=1`
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestStatsDConn(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{MaxPacket: 20, IdleTimeout: time.Minute})
	synctest.Test(t, func(t *testing.T) {
		serve := func(ctx context.Context) (peer net.Conn, ended chan struct{}) {
			peer, here := net.Pipe()
			ended = make(chan struct{})
			go func() {
				defer close(ended)
				d.s.ServeConn(ctx, here)
			}()
			return peer, ended
		}
		peer, ended := serve(t.Context())
		for _, p := range []string{"a:1|c\na:", "2|c\r\n", strings.Repeat("x", 100), "\n1234567890123456:1|c\n", "b:1|g"} {
			if _, err := peer.Write([]byte(p)); err != nil {
				t.Fatal(err)
			}
		}
		peer.Close() // the last line needs no end
		<-ended

		peer, ended = serve(t.Context())
		fmt.Fprint(peer, "c:1|g\nc:1")
		<-ended // silence
		if _, err := peer.Write([]byte("x")); err == nil {
			t.Error("the connection is open after its idle timeout")
		}

		ctx, cancel := context.WithCancel(t.Context())
		_, ended = serve(ctx)
		cancel()
		<-ended
	})
	d.flush(10)
	d.want(`{__name__="a"}: 0=0 10=3`, `{__name__="b"}: 10=1`, `{__name__="c"}: 10=1`, `{__name__="1234567890123456"}: 0=0 10=1`)
	d.counted(6, "too_large 1")
}

func TestStatsDTells(t *testing.T) {
	var out bytes.Buffer
	counts := ingest.NewCounts(instrument.New(instrument.Config{}))
	s := ingest.NewStatsD(ingest.NewSink(&recording{}, ingest.SinkConfig{}, counts), ingest.StatsDConfig{}, counts, slog.New(slog.NewTextHandler(&out, nil)))
	s.ServePacket(t.Context(), []byte("_e{1,1}:a|b\nhits:1|x\nbad"))
	for i := range 2 {
		_ = s.Flush(t.Context(), time.UnixMilli(int64(1+i)*1000))
		s.ServePacket(t.Context(), []byte("bad"))
	}
	if got := out.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "hits:1|x") || !strings.Contains(got, "want c, g, ms, h, d or s") {
		t.Errorf("got %q, want one line with the first fault", got)
	}
}

func TestStatsDConfig(t *testing.T) {
	f := func(cfg ingest.StatsDConfig, want string) {
		t.Helper()
		if err := cfg.Validate(); fmt.Sprint(err) != want && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(ingest.StatsDConfig{}, "<nil>")
	f(ingest.StatsDConfig{Flush: time.Millisecond}, "1s or more")
	f(ingest.StatsDConfig{Flush: time.Second + 1}, "whole milliseconds")
	f(ingest.StatsDConfig{MaxSeries: -1}, "negative")
}

// TestStatsDParallel sends from several goroutines while series end and come
// back: no event may be lost.
func TestStatsDParallel(t *testing.T) {
	d := newStatsD(t, ingest.StatsDConfig{Expire: 2 * time.Millisecond})
	const senders, each = 4, 5000
	done := make(chan struct{})
	for range senders {
		go func() {
			for i := range each {
				d.s.ServePacket(context.Background(), fmt.Appendf(nil, "c%d:1|c\nc%d:1|c|#x:%d", i%7, i%5, i%3))
			}
			done <- struct{}{}
		}()
	}
	at := time.UnixMilli(d.base)
	flush := func() {
		at = at.Add(3 * time.Millisecond)
		if err := d.s.Flush(t.Context(), at); err != nil {
			t.Error(err)
		}
	}
	for left := senders; left > 0; {
		select {
		case <-done:
			left--
		default:
			flush()
		}
	}
	flush()
	total := 0.0
	q, err := d.store.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+"))
	for set.Next() {
		last := 0.0
		it := set.At().Iterator(nil)
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			_, v := it.At()
			switch {
			case value.IsStaleNaN(v):
			case v < last: // began again
				total += v
				last = v
			default:
				total += v - last
				last = v
			}
		}
	}
	if want := float64(2 * senders * each); total != want {
		t.Errorf("counted %v, want %v", total, want)
	}
}
