package pull_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/vedette-sre/vedette/internal/ingest/pull"
	"github.com/vedette-sre/vedette/internal/record"
)

// listen serves connections until the test ends.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Add(1)
			go func() { defer wg.Done(); defer func() { _ = c.Close() }(); serve(c) }()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// dsn is the address as each kind wants it.
func dsn(kind, addr string) pull.Secret {
	switch kind {
	case pull.Postgres:
		return pull.Secret("postgres://u:s3cret@" + addr + "/d?sslmode=disable")
	case pull.MySQL:
		return pull.Secret("mysql://u:s3cret@" + addr + "/")
	case pull.Redis:
		return pull.Secret("redis://u:s3cret@" + addr)
	}
	return pull.Secret("u:s3cret@" + addr)
}

var kinds = []string{pull.Postgres, pull.MySQL, pull.Redis, pull.Kafka}

// A server that takes connections and says nothing costs its own rounds, one
// connection at a time, and nobody else.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	var open, most atomic.Int64
	addr := map[string]string{}
	var targets []pull.Target
	for _, kind := range kinds {
		addr[kind] = listen(t, func(c net.Conn) {
			if n := open.Add(1); n > most.Load() {
				most.Store(n)
			}
			_, _ = io.Copy(io.Discard, c)
			open.Add(-1)
		})
		targets = append(targets, pull.Target{Kind: kind, DSN: dsn(kind, addr[kind]), Interval: time.Second, Timeout: 500 * time.Millisecond})
	}
	good := fakeRedis(t, "connected_clients:1\r\n")
	targets = append(targets, pull.Target{Kind: pull.Redis, DSN: pull.Secret(good), Interval: time.Second})
	p := run(t, targets...)
	rounds, fine := map[string]int{}, 0
	for min(rounds[pull.Postgres], rounds[pull.MySQL], rounds[pull.Redis], rounds[pull.Kafka], fine) < 3 {
		r := p.next()
		v, err := r.value("up")
		if err != nil {
			t.Fatal(err)
		}
		took, _ := r.value("scrape_duration_seconds")
		switch string(r.target.DSN) {
		case good:
			fine++
			if v != 1 {
				t.Error("the good server is not up")
			}
		default:
			rounds[r.target.Kind]++
			if v != 0 || took < 0.4 || took > 3 {
				t.Errorf("%s: up %v after %v s; want 0 after its timeout, 0.5", r.target.Kind, v, took)
			}
		}
	}
	if n := most.Load(); n > 8 {
		t.Errorf("%d connections to 4 servers at once", n)
	}
	for _, s := range p.Targets() {
		if s.Instance != good && !strings.Contains(s.Error, "no answer within 500ms") {
			t.Errorf("%s: %q", s.Kind, s.Error)
		}
	}
	if n := strings.Count(p.log.String(), "gives no answer"); n != len(kinds) {
		t.Errorf("logged %d times; want once each:\n%s", n, p.log)
	}
	p.hides("s3cret")
}

// Bytes that no server would send end a round, not the program.
func TestGarbage(t *testing.T) {
	t.Parallel()
	for _, garbage := range []string{
		strings.Repeat("\xff", 1<<16), "\x00\x00\x00\x00\x00\x00\x00\x00", "$9223372036854775806\r\n", "$99999999999\r\nx", "*2147483647\r\n",
		"HTTP/1.1 400 Bad Request\r\n\r\n", "E\x7f\xff\xff\xff", "R\x00\x00\x00\x04", "\xff\xff\xff\x00\x0a", "\x7f\xff\xff\xff\x00\x00\x00\x01", "",
	} {
		var targets []pull.Target
		for _, kind := range kinds {
			addr := listen(t, func(c net.Conn) {
				_, _ = io.WriteString(c, garbage)
				_, _ = c.Read(make([]byte, 1<<16))
				_, _ = io.WriteString(c, garbage)
			})
			targets = append(targets, pull.Target{Kind: kind, DSN: dsn(kind, addr), Interval: time.Second, Timeout: 300 * time.Millisecond})
		}
		p := run(t, targets...)
		for range kinds {
			r := p.next()
			if v, err := r.value("up"); err != nil || v != 0 {
				t.Errorf("%s after %.20q: up %v, %v", r.target.Kind, garbage, v, err)
			}
		}
		p.hides("s3cret")
	}
}

func TestValidate(t *testing.T) {
	f := func(want string, tg pull.Target) {
		t.Helper()
		err := tg.Validate()
		switch {
		case want == "" && err != nil:
			t.Errorf("%v", err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%v; want %q", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("shows the secret: %v", err)
		}
	}
	redis := func(change func(*pull.Target)) pull.Target {
		tg := pull.Target{Kind: pull.Redis, DSN: "127.0.0.1:6379"}
		change(&tg)
		return tg
	}
	for _, kind := range kinds {
		f("", pull.Target{Kind: kind, DSN: dsn(kind, "127.0.0.1:1234")})
		f("dsn of the "+kind+" target is missing", pull.Target{Kind: kind})
		f("and the password in password_file", pull.Target{Kind: kind, DSN: dsn(kind, "127.0.0.1:s3cret")})
	}
	f("", pull.Target{Kind: pull.MySQL, DSN: "u:s3cret@tcp(db:3306)/shop"})
	f("", pull.Target{Kind: pull.Postgres, DSN: "host=db user=u password=s3cret dbname=shop"})
	f("", pull.Target{Kind: pull.Kafka, DSN: "kafka://a,b:9093,[::1]:9094"})
	f("cannot be read", pull.Target{Kind: pull.MySQL, DSN: "u:s3cret@db:3306"})
	f("cannot be read", pull.Target{Kind: pull.Redis, DSN: "redis://u:s3cret/@db"})
	f("cannot be read", pull.Target{Kind: pull.Redis, DSN: "http://u:s3cret@db"})
	f("cannot be read", pull.Target{Kind: pull.Kafka, DSN: "a,,b"})
	for _, dsn := range []pull.Secret{"postgres://u:12#s3cret@db/x", "redis://u:12/s3cret@db", "mysql://u:12?s3cret@db/", "kafka://u:12/s3cret@db"} {
		kind, _, _ := strings.Cut(string(dsn), ":")
		f("cannot be read", pull.Target{Kind: kind, DSN: dsn})
	}
	f("cannot be read", pull.Target{Kind: pull.Kafka, DSN: "u:12/s3cret@db"})
	f("kind is missing", pull.Target{DSN: "x"})
	f(`kind "oracle" is not known`, pull.Target{Kind: "oracle", DSN: "x"})
	f("keep one", redis(func(t *pull.Target) { t.Password, t.PasswordFile = "s3cret", "f" }))
	f("below 1s", redis(func(t *pull.Target) { t.Interval = time.Millisecond }))
	f("at most the interval", redis(func(t *pull.Target) { t.Interval, t.Timeout = time.Second, time.Minute }))
	f("", redis(func(t *pull.Target) { t.Interval = time.Second })) // the timeout's default gives way
	f("cannot name a label", redis(func(t *pull.Target) { t.Labels = map[string]string{"a-b": "c"} }))
	f("cannot name a label", redis(func(t *pull.Target) { t.Labels = map[string]string{"__name__": "c"} }))
	f("not UTF-8", redis(func(t *pull.Target) { t.Labels = map[string]string{"a": "\xff"} }))
	f("sasl is for kafka", redis(func(t *pull.Target) { t.SASL = "plain" }))
	f("set username", pull.Target{Kind: pull.Kafka, DSN: "a", SASL: "plain"})
	f("scram-sha-512", pull.Target{Kind: pull.Kafka, DSN: "u@a", SASL: "gssapi"})
	f("not a regular expression", pull.Target{Kind: pull.Kafka, DSN: "a", Topics: "("})
	f("go together", redis(func(t *pull.Target) { t.TLS = &pull.TLS{CertFile: "x"} }))
	f("between 1 and 1000", redis(func(t *pull.Target) { t.TopQueries = 5000 }))

	two := pull.Config{Targets: []pull.Target{redis(func(*pull.Target) {}), redis(func(t *pull.Target) { t.DSN += "/1" })}}
	if err := two.Validate(); err == nil || !strings.Contains(err.Error(), "same series") {
		t.Errorf("two targets of the same series: %v", err)
	}
	two.Targets[1].Labels = map[string]string{"db": "1"}
	if err := two.Validate(); err != nil {
		t.Error(err)
	}
}

// The YAML of docs/databases.md is what the configuration takes.
func TestDocumentedYAML(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/databases.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "    pull:\n")
	block, _, _ := strings.Cut(rest, "\n\n")
	f := func(text string) []pull.Target {
		t.Helper()
		var cfg pull.Config
		if err := yaml.UnmarshalWithOptions([]byte(text), &cfg, yaml.Strict()); err != nil {
			t.Fatal(err)
		}
		if err := cfg.Validate(); err != nil {
			t.Error(err)
		}
		return cfg.Targets
	}
	got := f("pull:\n" + block)
	if len(got) != 4 || got[0].Kind != pull.Postgres || got[0].DSN != "postgres://vedette@127.0.0.1:5432/shop" || got[0].PasswordFile != "/etc/vedette/pg" {
		t.Errorf("%#v", got)
	}
	got = f(`pull:
  - {kind: kafka, dsn: "a:1", username: u, password: s3cret, sasl: plain, interval: 1m, timeout: 2500ms, tls: {}, labels: {team: shop},
     slow_query: 3s, top_queries: -1, topics: "a.*", groups: b, max_series: 7, name: n}`)
	if tg := got[0]; tg.Password != "s3cret" || tg.Interval != time.Minute || tg.Timeout != 2500*time.Millisecond || tg.TLS == nil || tg.Labels["team"] != "shop" || tg.TopQueries != -1 {
		t.Errorf("%#v", tg)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	tg := pull.Target{Kind: pull.Redis, DSN: "redis://u:s3cret@h", Password: "s3cret"}
	j, err := json.Marshal(tg)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "target", tg, "dsn", tg.DSN)
	for _, s := range []string{string(j), log.String(), fmt.Sprintf("%v %+v %#v %s %q", tg, tg, tg, tg.DSN, tg.Password)} {
		if strings.Contains(s, "s3cret") {
			t.Errorf("shows the secret: %s", s)
		}
	}
}

// A target that stays keeps its connection; one that goes has its series ended.
func TestApply(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	info := "connected_clients:1\r\n"
	stays, goes := fakeRedis(t, info), fakeRedis(t, info)
	counted := listen(t, func(c net.Conn) {
		conns.Add(1)
		d, err := net.Dial("tcp", stays)
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(d, c); _ = d.Close() }()
		_, _ = io.Copy(c, d)
	})
	target := func(addr string) pull.Target {
		return pull.Target{Kind: pull.Redis, DSN: pull.Secret(addr), Interval: time.Second}
	}
	p := run(t, target(counted), target(goes))
	p.next()
	p.next()
	if err := p.Apply([]pull.Target{{Kind: "x"}}); err == nil {
		t.Error("a bad plan was put in force")
	}
	if err := p.Apply([]pull.Target{target(counted)}); err != nil {
		t.Fatal(err)
	}
	p.until("the end of its series", func(r round) bool { return len(r.samples) == 0 && string(r.target.DSN) == goes })
	for range 3 {
		if r := p.next(); string(r.target.DSN) != counted {
			t.Errorf("a round of a target that is gone: %+v", r)
		}
	}
	if n := len(p.Targets()); n != 1 {
		t.Errorf("%d targets in the status", n)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections of a target that did not change", n)
	}
}

func TestSinkError(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	sink := func(context.Context, pull.Target, time.Time, []record.Sample) error {
		return errors.New("the disk is full")
	}
	p, err := pull.New(pull.Config{Targets: []pull.Target{{Kind: pull.Redis, DSN: pull.Secret(fakeRedis(t, "a:1\r\n"))}}}, sink, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	eventually(t, "the status", func() error {
		if s := p.Targets(); len(s) != 1 || s[0].SinkError != "the disk is full" || !s[0].Up {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "the disk is full") {
		t.Errorf("log: %s", log)
	}
}
