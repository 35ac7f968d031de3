package ingest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// taken is a store that tells what was committed: "series value@milliseconds".
type taken struct {
	mu      sync.Mutex
	points  []string
	commits int
	broken  bool // commits fail
	quiet   bool // points are not noted
}

func (s *taken) Appender(context.Context) storage.Appender { return &takenAppender{s: s} }

type takenAppender struct {
	storage.Appender
	s      *taken
	points []string
}

func (a *takenAppender) Append(_ storage.SeriesRef, ls labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	if a.s.quiet {
		return 1, nil
	}
	if ls.Get("refused") != "" {
		return 0, storage.ErrOutOfOrderSample
	}
	name := ls.Get(labels.MetricName)
	rest := labels.NewBuilder(ls).Del(labels.MetricName).Labels()
	a.points = append(a.points, fmt.Sprintf("%s%s %v@%d", name, strings.ReplaceAll(rest.String(), `"`, ""), v, t))
	return 1, nil
}

func (a *takenAppender) Commit() error {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if a.s.broken {
		return errors.New("the disk is full")
	}
	a.s.points = append(a.s.points, a.points...)
	a.s.commits++
	return nil
}

func (a *takenAppender) Rollback() error { return nil }

// want checks all points since the last time, in any order.
func (s *taken) want(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	got := slices.Clone(s.points)
	s.points = nil
	s.mu.Unlock()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// refusals lists what a protocol refused, as "reason=n", and how much it stored.
func refusals(c *ingest.Counts, protocol string) (stored int64, refused string) {
	var out []string
	for _, p := range c.Snapshot() {
		if p.Protocol != protocol {
			continue
		}
		stored = p.Samples
		for _, r := range p.Rejected {
			out = append(out, fmt.Sprintf("%s=%d", r.Reason, r.Count))
		}
	}
	slices.Sort(out)
	return stored, strings.Join(out, " ")
}

type graphite struct {
	*ingest.Graphite
	store  *taken
	counts *ingest.Counts
	log    *bytes.Buffer
}

func newGraphite(t testing.TB, cfg ingest.GraphiteConfig) graphite {
	t.Helper()
	g := graphite{store: &taken{}, counts: ingest.NewCounts(instrument.New(instrument.Config{})), log: &bytes.Buffer{}}
	var err error
	g.Graphite, err = ingest.NewGraphite(ingest.NewSink(g.store, ingest.SinkConfig{}, g.counts), cfg, slog.New(slog.NewTextHandler(g.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// sent serves a connection on which in comes, in pieces of size bytes, and then
// its end.
func sent(serve func(context.Context, net.Conn), in string, size int) {
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(context.Background(), ours)
	}()
	for len(in) > 0 {
		n := min(size, len(in))
		if _, err := theirs.Write([]byte(in[:n])); err != nil {
			break
		}
		in = in[n:]
	}
	_ = theirs.Close()
	<-done
}

func TestGraphiteLines(t *testing.T) {
	f := func(line string, want ...string) {
		t.Helper()
		g := newGraphite(t, ingest.GraphiteConfig{})
		g.ServePacket(t.Context(), []byte(line))
		g.store.want(t, want...)
	}
	// As Telegraf's serializer, collectd's write_graphite and statsd send them.
	f("localhost.cpu0.us-west-2.cpu.usage_idle 91.5 1455320690\n", "localhost.cpu0.us-west-2.cpu.usage_idle{} 91.5@1455320690000")
	f("cpu.usage_idle;cpu=cpu0;host=localhost 91.5 1455320690\n", "cpu.usage_idle{cpu=cpu0, host=localhost} 91.5@1455320690000")
	f("collectd.web1.cpu-0.cpu-idle 98.500000 1456000000\r\n", "collectd.web1.cpu-0.cpu-idle{} 98.5@1456000000000")
	f("collectd.web1.df-root.percent_bytes-used nan 1456000000\r\n")
	f("stats.counters.a.rate 0.1 1456000000\nstats.counters.a.count 1 1456000000", "stats.counters.a.rate{} 0.1@1456000000000", "stats.counters.a.count{} 1@1456000000000")
	// Numbers.
	f("a 1e3 1", "a{} 1000@1000")
	f("a -1.5e-3 1", "a{} -0.0015@1000")
	f("a +.5 1", "a{} 0.5@1000")
	f("a 5. 1", "a{} 5@1000")
	f("a 0.1234567890123456789 1", "a{} 0.12345678901234568@1000")
	f("a 18446744073709551615 1", "a{} 1.8446744073709552e+19@1000")
	f("a -inf 1", "a{} -Inf@1000")
	f("a Infinity 1", "a{} +Inf@1000")
	f("a 1 1455320690.123", "a{} 1@1455320690123")
	f("a 1 1.455320690e9", "a{} 1@1455320690000")
	f("a 1 0", "a{} 1@0")
	// Space.
	f("  a\t 1  \t1 ", "a{} 1@1000")
	f("\n\r\n \n")
	// Paths.
	f("größe.{x}:y/z-1 1 1", "größe.{x}:y/z-1{} 1@1000")
	f("a;t=x=y 1 1", "a{t=x=y} 1@1000")
}

func TestGraphiteNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraphite(t, ingest.GraphiteConfig{})
		now := time.Now().UnixMilli()
		g.ServePacket(t.Context(), []byte("a 1 -1\nb 2 N\nc 3\nd 4 -1.0"))
		g.store.want(t, fmt.Sprintf("a{} 1@%d", now), fmt.Sprintf("b{} 2@%d", now), fmt.Sprintf("c{} 3@%d", now), fmt.Sprintf("d{} 4@%d", now))
	})
}

func TestGraphiteRefuses(t *testing.T) {
	f := func(line, reason, says string) {
		t.Helper()
		g := newGraphite(t, ingest.GraphiteConfig{MaxLine: 100})
		g.ServePacket(t.Context(), []byte("good 1 1\n"+line+"\nfine 2 2\n"))
		g.store.want(t, "good{} 1@1000", "fine{} 2@2000")
		if stored, got := refusals(g.counts, "graphite"); got != reason+"=1" || stored != 2 {
			t.Errorf("%q: got %d stored, %s; want 2, %s", line, stored, got, reason)
		}
		if !strings.Contains(g.log.String(), says) {
			t.Errorf("%q: the log %q does not say %q", line, g.log, says)
		}
	}
	f("a", "malformed", "path value timestamp")
	f("a 1 2 3", "malformed", "path value timestamp")
	f("a x 1", "invalid_value", "not a number")
	f("a 0x10 1", "invalid_value", "not a number")
	f("a 1_0 1", "invalid_value", "not a number")
	f("a . 1", "invalid_value", "not a number")
	f("a - 1", "invalid_value", "not a number")
	f("a 1e999 1", "invalid_value", "not a number")
	f("a 1 x", "invalid_timestamp", "not a number")
	f("a 1 nan", "invalid_timestamp", "not a number")
	f("a 1 -2", "invalid_timestamp", "want Unix seconds")
	f("a 1 1e18", "invalid_timestamp", "want Unix seconds")
	f("a 1 1455320690000", "future", "ahead of this clock")
	f(";a=b 1 1", "invalid_name", "has no name")
	f("a;b 1 1", "invalid_tag", "name=value")
	f("a; 1 1", "invalid_tag", "name=value")
	f("a;=c 1 1", "invalid_tag", "name=value")
	f("a;b= 1 1", "invalid_tag", "name=value")
	f("a;__name__=c 1 1", "invalid_tag", "rename")
	f("a;b=1;b=2 1 1", "invalid_labels", "twice")
	f("a\xff 1 1", "invalid_labels", "UTF-8")
	f(strings.Repeat("a", 100)+" 1 1", "line_too_long", "too long")
	f("a;refused=1 1 1", "out_of_order", "out of order")
}

func TestGraphiteTags(t *testing.T) {
	g := newGraphite(t, ingest.GraphiteConfig{MaxLine: 1 << 20})
	var tags strings.Builder
	for i := range 257 {
		fmt.Fprintf(&tags, ";t%d=v", i)
	}
	g.ServePacket(t.Context(), []byte("a"+tags.String()+" 1 1"))
	g.store.want(t)
	if _, got := refusals(g.counts, "graphite"); got != "invalid_tag=1" {
		t.Errorf("got %s, want invalid_tag=1", got)
	}
}

func TestGraphiteTemplates(t *testing.T) {
	var cfg ingest.GraphiteConfig
	f := func(path string, want string) {
		t.Helper()
		g := newGraphite(t, cfg)
		// Twice in a packet and once more: the second is found by the first.
		g.ServePacket(t.Context(), []byte(path+" 1 1\n"+path+" 2 2\n"))
		g.ServePacket(t.Context(), []byte(path+" 3 3"))
		g.store.want(t, want+" 1@1000", want+" 2@2000", want+" 3@3000")
	}
	f("a.b.c", "a.b.c{}")
	cfg.Templates = []string{
		"*.app env.service.resource.measurement",
		"stats.* .host.measurement* region=us,agent=sensu",
		"stats.web.* .host.measurement.field",
		"stats2.* .host.measurement.field*",
		"region.region.host.* region.region..measurement.measurement.field.field",
		"own.* measurement.region region=us",
		"measurement*",
	}
	f("prod.app.cpu.load", "load{env=prod, resource=cpu, service=app}")
	f("prod.app", "prod.app{env=prod, service=app}") // too short for a name
	f("stats.db.disk.used.bytes", "disk.used.bytes{agent=sensu, host=db, region=us}")
	f("stats.web.disk.used.bytes", "disk_used{host=web}")
	f("stats2.web.disk.used.bytes", "disk_used.bytes{host=web}")
	f("region.region.host.a.b.c.d", "a.b_c.d{region=region.region}")
	f("stats.app", "stats.app{agent=sensu, host=app, region=us}") // a word wins over "*" at the first part
	f("own.eu", "own{region=eu}")
	f("other.path", "other.path{}")
	f("other", "other{}")
	f("prod.app.cpu.load;env=test;x=y", "load{env=test, resource=cpu, service=app, x=y}")
	f("stats.web.a..b", "a{host=web}")
	f("stats.web..c", "stats.web..c{host=web}")
	cfg.Separator = "_"
	f("stats.db.disk.used.bytes", "disk_used_bytes{agent=sensu, host=db, region=us}")
	f("region.region.host.a.b.c.d", "a_b_c_d{region=region_region}")
	cfg.Templates = []string{"*.*.* region.region.measurement", "*.*.*.* region.region.host.measurement"}
	f("us.west.cpu", "cpu{region=us_west}")
	f("us.west.web1.cpu", "cpu{host=web1, region=us_west}")
	f("us.west", "us.west{}")
	cfg.Templates = []string{"host.measurement* dc=1"}
	f("web.cpu.idle", "cpu_idle{dc=1, host=web}")
}

func TestGraphiteTemplatesOfTwo(t *testing.T) {
	store := &taken{}
	sink := ingest.NewSink(store, ingest.SinkConfig{}, ingest.NewCounts(instrument.New(instrument.Config{})))
	for _, template := range []string{"host.measurement", "measurement.host"} {
		g, err := ingest.NewGraphite(sink, ingest.GraphiteConfig{Templates: []string{template}}, quietLog())
		if err != nil {
			t.Fatal(err)
		}
		g.ServePacket(t.Context(), []byte("a.b 1 1"))
	}
	store.want(t, "b{host=a} 1@1000", "a{host=b} 1@1000")
}

func TestGraphiteConfig(t *testing.T) {
	f := func(cfg ingest.GraphiteConfig, says string) {
		t.Helper()
		err := cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want %q", cfg, err, says)
		}
		if _, err := ingest.NewGraphite(nil, cfg, nil); err == nil {
			t.Errorf("%+v: got a Graphite", cfg)
		}
	}
	template := func(lines ...string) ingest.GraphiteConfig { return ingest.GraphiteConfig{Templates: lines} }
	f(ingest.GraphiteConfig{MaxLine: -1}, "negative")
	f(ingest.GraphiteConfig{IdleTimeout: -1}, "negative")
	f(ingest.GraphiteConfig{MaxPickle: 1 << 40}, "at most")
	f(template(""), "want")
	f(template("a b c d"), "want")
	f(template("a b c"), "want")
	f(template("host.cpu"), "no part is measurement")
	f(template("measurement*.host"), "nothing can follow")
	f(template("measurement.ho*st"), `has a "*"`)
	f(template("measurement.__name__"), "write measurement")
	f(template("a..b measurement"), "the filter has the part")
	f(template("a.b* measurement"), "the filter has the part")
	f(template("a.b measurement x"), "want")
	f(template("a.b measurement x=,y=1"), "not key=value")
	f(template("a.b measurement x=1,x=2"), "twice")
	f(template("a.b measurement __name__=2"), "rename")
	f(template("a.b measurement", "c measurement", "a.b host.measurement"), "template 3")
	f(template("measurement", "host.measurement"), "the same filter")
	if err := template("*.app env.service.resource.measurement", "measurement*").Validate(); err != nil {
		t.Error(err)
	}
}

func TestGraphiteConn(t *testing.T) {
	var in strings.Builder
	var want []string
	for i := range 3000 {
		fmt.Fprintf(&in, "servers.web%d.load;dc=fra %d.5 %d\r\n", i%100, i, i)
		want = append(want, fmt.Sprintf("servers.web%d.load{dc=fra} %d.5@%d", i%100, i, i*1000))
	}
	for _, size := range []int{1, 7, 4095, 4096, 1 << 20} {
		g := newGraphite(t, ingest.GraphiteConfig{})
		sent(g.ServeConn, in.String(), size)
		g.store.want(t, want...)
		if size == 1<<20 && g.store.commits > 100 {
			t.Errorf("%d lines of a fast sender cost %d transactions", len(want), g.store.commits)
		}
	}
}

func TestGraphiteConnEnds(t *testing.T) {
	f := func(in string, want string, points ...string) {
		t.Helper()
		for _, size := range []int{1, 1 << 20} {
			g := newGraphite(t, ingest.GraphiteConfig{MaxLine: 5000})
			sent(g.ServeConn, in, size)
			g.store.want(t, points...)
			if _, got := refusals(g.counts, "graphite"); got != want {
				t.Errorf("in pieces of %d: got %q, want %q", size, got, want)
			}
		}
	}
	long := strings.Repeat("x", 5001)
	f("", "")
	f("a 1 1\n", "", "a{} 1@1000")
	f("a 1 1\nb 2 2", "cut_off=1", "a{} 1@1000")
	f(long+" 1 1\nb 2 2\n", "line_too_long=1", "b{} 2@2000")
	f("a 1 1\n"+long+long+" 1 1\nb 2 2\n", "line_too_long=1", "a{} 1@1000", "b{} 2@2000")
	f(long, "cut_off=1")
	f(long+"\n", "line_too_long=1")
}

func TestGraphiteConnIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGraphite(t, ingest.GraphiteConfig{IdleTimeout: time.Minute})
		ours, theirs := net.Pipe()
		begin := time.Now()
		go func() {
			for range 3 {
				_, _ = theirs.Write([]byte("a 1 1\n"))
				time.Sleep(50 * time.Second)
			}
		}()
		g.ServeConn(t.Context(), ours)
		if got := time.Since(begin); got != 160*time.Second {
			t.Errorf("the connection ended after %s, want 2m40s", got)
		}
		g.store.want(t, "a{} 1@1000", "a{} 1@1000", "a{} 1@1000")
	})
}

func TestGraphiteConnStops(t *testing.T) {
	g := newGraphite(t, ingest.GraphiteConfig{})
	for _, serve := range []func(context.Context, net.Conn){g.ServeConn, g.ServePickleConn} {
		ctx, cancel := context.WithCancel(t.Context())
		ours, _ := net.Pipe()
		cancel()
		serve(ctx, ours) // returns
	}
}

func TestGraphiteFault(t *testing.T) {
	g := newGraphite(t, ingest.GraphiteConfig{})
	g.store.broken = true
	ours, theirs := net.Pipe()
	go func() { _, _ = theirs.Write([]byte("a 1 1\n")) }()
	g.ServeConn(t.Context(), ours)
	if _, err := theirs.Write([]byte("b 1 1\n")); err == nil {
		t.Error("the connection stayed open")
	}
	if _, got := refusals(g.counts, "graphite"); got != "fault=1" {
		t.Errorf("got %s, want fault=1", got)
	}
	if !strings.Contains(g.log.String(), "the disk is full") {
		t.Errorf("the log does not say why: %s", g.log)
	}
}

// framed puts the length before a pickle.
func framed(pickles ...string) string {
	var b []byte
	for _, p := range pickles {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return string(b)
}

// What Python makes of [("a.b",(1656581400,1.5)),("c.d;host=w1",(1656581400.25,7))].
var pickles = []string{
	"(lp0\n(Va.b\np1\n(I1656581400\nF1.5\ntp2\ntp3\na(Vc.d;host=w1\np4\n(F1656581400.25\nI7\ntp5\ntp6\na.",
	"]q\x00((X\x03\x00\x00\x00a.bq\x01(J\x18m\xbdbG?\xf8\x00\x00\x00\x00\x00\x00tq\x02tq\x03(X\x0b\x00\x00\x00c.d;host=w1q\x04(GA\xd8\xaf[F\x10\x00\x00K\x07tq\x05tq\x06e.",
	"\x80\x02]q\x00(X\x03\x00\x00\x00a.bq\x01J\x18m\xbdbG?\xf8\x00\x00\x00\x00\x00\x00\x86q\x02\x86q\x03X\x0b\x00\x00\x00c.d;host=w1q\x04GA\xd8\xaf[F\x10\x00\x00K\x07\x86q\x05\x86q\x06e.",
	"\x80\x03]q\x00(X\x03\x00\x00\x00a.bq\x01J\x18m\xbdbG?\xf8\x00\x00\x00\x00\x00\x00\x86q\x02\x86q\x03X\x0b\x00\x00\x00c.d;host=w1q\x04GA\xd8\xaf[F\x10\x00\x00K\x07\x86q\x05\x86q\x06e.",
	"\x80\x04\x95:\x00\x00\x00\x00\x00\x00\x00]\x94(\x8c\x03a.b\x94J\x18m\xbdbG?\xf8\x00\x00\x00\x00\x00\x00\x86\x94\x86\x94\x8c\x0bc.d;host=w1\x94GA\xd8\xaf[F\x10\x00\x00K\x07\x86\x94\x86\x94e.",
	"\x80\x05\x95:\x00\x00\x00\x00\x00\x00\x00]\x94(\x8c\x03a.b\x94J\x18m\xbdbG?\xf8\x00\x00\x00\x00\x00\x00\x86\x94\x86\x94\x8c\x0bc.d;host=w1\x94GA\xd8\xaf[F\x10\x00\x00K\x07\x86\x94\x86\x94e.",
	// Python 2, as carbon-relay sends: its texts are bytes.
	"\x80\x02]q\x01(U\x03a.bq\x02J\x18m\xbdbG?\xf8\x00\x00\x00\x00\x00\x00\x86q\x03\x86q\x04U\x0bc.d;host=w1q\x05GA\xd8\xaf[F\x10\x00\x00K\x07\x86q\x06\x86q\x07e.",
	"(lp1\n(S'a.b'\np2\n(I1656581400\nF1.5\ntp3\ntp4\na(S'c.d;host=w1'\np5\n(F1656581400.25\nI7\ntp6\ntp7\na.",
}

func TestGraphitePickles(t *testing.T) {
	for _, size := range []int{1, 5, 1 << 20} {
		g := newGraphite(t, ingest.GraphiteConfig{})
		sent(g.ServePickleConn, framed(pickles...), size)
		var want []string
		for range pickles {
			want = append(want, "a.b{} 1.5@1656581400000", "c.d{host=w1} 7@1656581400250")
		}
		if size == 1<<20 { // in one transaction a sample that is there already is not written again
			want = want[:2]
		}
		g.store.want(t, want...)
		if stored, got := refusals(g.counts, "graphite_pickle"); got != "" || stored != int64(2*len(pickles)) {
			t.Errorf("got %d stored, %q", stored, got)
		}
	}
}

func TestGraphitePickledValues(t *testing.T) {
	g := newGraphite(t, ingest.GraphiteConfig{})
	// A list for a tuple, an integer below zero, a text for a number, True, 2^70,
	// -2^63-1, bytes and infinity, None, NaN, one item that is a number.
	sent(g.ServePickleConn, framed(
		"\x80\x04\x95u\x00\x00\x00\x00\x00\x00\x00]\x94(\x8c\x03m\xc3\xa9\x94]\x94(J\x18m\xbdb\x8a\x05\x00\x0e\xfa\xd5\xfee\x86\x94\x8c\x01t\x94K\x01\x88\x86\x94\x86\x94\x8c\x01n\x94K\x01N\x86\x94\x86\x94\x8c\x03big\x94K\x01\x8a\t\x00\x00\x00\x00\x00\x00\x00\x00@\x86\x94\x86\x94\x8c\x03neg\x94K\x01\x8a\t\xff\xff\xff\xff\xff\xff\xff\x7f\xff\x86\x94\x86\x94C\x02by\x94K\x01G\x7f\xf0\x00\x00\x00\x00\x00\x00\x86\x94\x86\x94e.",
		"](U\x01sK\x01U\x04 1.5\x86\x86U\x01nK\x01G\x7f\xf8\x00\x00\x00\x00\x00\x00\x86\x86K\x05e.",
		"(lp0\n(lp1\nVm\xe9.\\u005cn'q\np2\na(lp3\nI1656581400\naL-5000000000L\naaa.",
		"((S\"it's \\x41\\n\\\\\"\n(I1\nI2\ntttt."), 1<<20)
	g.store.want(t, "mé{} -5e+09@1656581400000", "t{} 1@1000", "big{} 1.1805916207174113e+21@1000", "neg{} -9.223372036854776e+18@1000", "by{} +Inf@1000",
		"s{} 1.5@1000", `mé.\n'q{} -5e+09@1656581400000`)
	if _, got := refusals(g.counts, "graphite_pickle"); got != "invalid_pickle=1 invalid_value=1 malformed=1 nan=1" {
		t.Errorf("got %s", got)
	}
}

func TestGraphitePickleRefuses(t *testing.T) {
	f := func(pickle, reason, says string) {
		t.Helper()
		g := newGraphite(t, ingest.GraphiteConfig{})
		sent(g.ServePickleConn, framed(pickle, pickles[2]), 1<<20)
		g.store.want(t, "a.b{} 1.5@1656581400000", "c.d{host=w1} 7@1656581400250")
		if _, got := refusals(g.counts, "graphite_pickle"); got != reason+"=1" {
			t.Errorf("%q: got %s, want %s", pickle, got, reason)
		}
		if !strings.Contains(g.log.String(), says) {
			t.Errorf("%q: the log %q does not say %q", pickle, g.log, says)
		}
	}
	f("\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.", "invalid_pickle", "opcode 0x63")
	f("(S'true'\niposix\nsystem\n.", "invalid_pickle", "opcode 0x69")
	f("\x80\x04\x8c\x05posix\x8c\x06system\x93.", "invalid_pickle", "opcode 0x93")
	f("(Va\nI1\nd.", "invalid_pickle", "opcode 0x64")
	f("", "invalid_pickle", "ends too early")
	f(".", "invalid_pickle", "from the stack")
	f("]", "invalid_pickle", "ends too early")
	f("K\x01.", "invalid_pickle", "want a list")
	f("(.", "invalid_pickle", "from the stack")
	f("K\x01(0.", "invalid_pickle", "want a list") // POP of a mark
	f("K\x01(a.", "invalid_pickle", "from the stack")
	f("K\x01K\x02a.", "invalid_pickle", "no list")
	f("e.", "invalid_pickle", "from the stack")
	f("h\x00.", "invalid_pickle", "not stored")
	f("]q\x05h\x04.", "invalid_pickle", "not stored")
	f("]r\xff\xff\xff\xff.", "invalid_pickle", "cannot have so many")
	f("]p-1\n.", "invalid_pickle", "number of something")
	f("X\xff\xff\xff\xff.", "invalid_pickle", "ends too early")
	f("\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "invalid_pickle", "ends too early")
	f("\x8a\xff"+strings.Repeat("x", 255)+".", "invalid_pickle", "an integer of 255 bytes")
	f("\x80\x06].", "invalid_pickle", "protocol 6")
	f("Ix\n.", "invalid_pickle", "not a number")
	f("Sx\n.", "invalid_pickle", "not in quotes")
	f("]q\x00h\x00a.", "malformed", "item 1 is not") // it holds itself
	f("](U\x01aK\x01\x85\x86e.", "malformed", "item 1 is not")
	f("](U\x00K\x01K\x01\x86\x86e.", "malformed", "item 1 is not")
	f("](U\x01aNK\x01\x86\x86e.", "invalid_timestamp", "not a number")
	f("](U\x01aU\x01xK\x01\x86\x86e.", "invalid_timestamp", "not a number")
}

func TestGraphitePickleFrames(t *testing.T) {
	f := func(in, want string, points ...string) {
		t.Helper()
		g := newGraphite(t, ingest.GraphiteConfig{MaxPickle: 200})
		sent(g.ServePickleConn, in, 1<<20)
		g.store.want(t, points...)
		if _, got := refusals(g.counts, "graphite_pickle"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	both := []string{"a.b{} 1.5@1656581400000", "c.d{host=w1} 7@1656581400250"}
	f("", "")
	f("\x00\x00", "cut_off=1")
	f(framed(pickles[2])+framed(pickles[2])[:50], "cut_off=1", both...)
	f(framed(pickles[2], strings.Repeat("N", 201), pickles[2]), "too_large=1", both...)
	f("GET / HTTP/1.1\r\n\r\n", "too_large=1")
	f(framed("].", pickles[2]), "", both...)
}

func TestGraphiteInRealStore(t *testing.T) {
	s := openStore(t, t.TempDir(), metric.Config{})
	counts := ingest.NewCounts(instrument.New(instrument.Config{}))
	g, err := ingest.NewGraphite(ingest.NewSink(s, ingest.SinkConfig{}, counts), ingest.GraphiteConfig{Templates: []string{"host.measurement*"}}, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	sent(g.ServeConn, fmt.Sprintf("web.load 1 %d\nweb.load 2 %d\nweb.load 3 %d\n", now, now+1, now+1), 1<<20)
	var got []string
	if err := dump(s, math.MinInt64, math.MaxInt64, func(series string, ts int64, v string) {
		got = append(got, fmt.Sprintf("%s %d %s", series, ts-now*1000, v))
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{`{__name__="load", host="web"} 0 ` + floatText(1), `{__name__="load", host="web"} 1000 ` + floatText(2)}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, got := refusals(counts, "graphite"); got != "duplicate=1" {
		t.Errorf("got %s, want duplicate=1", got)
	}
}
