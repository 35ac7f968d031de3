package pull_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/vedette-sre/vedette/internal/ingest/pull"
)

func newRedis(t *testing.T, args ...string) *server {
	t.Helper()
	s := newServer(t, "")
	s.argv = append([]string{binary(t, "redis-server", "redis-server", "/usr/bin"), "--port", fmt.Sprint(s.port), "--bind", "127.0.0.1",
		"--dir", s.dir, "--save", "", "--requirepass", "redissecret", "--masterauth", "redissecret"}, args...)
	s.startRedis()
	return s
}

func (s *server) startRedis() {
	s.t.Helper()
	s.start(func() error {
		c := s.redis()
		defer func() { _ = c.Close() }()
		return c.Ping(context.Background()).Err()
	})
}

func (s *server) redis() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.addr(), Password: "redissecret", DisableIdentity: true, MaxRetries: -1, DialerRetries: 1})
}

func (s *server) redisTarget() pull.Target {
	return pull.Target{Kind: pull.Redis, DSN: pull.Secret(s.addr()), Password: "redissecret", Interval: time.Second, Timeout: time.Second}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	s := newRedis(t, "--slowlog-log-slower-than", "0", "--maxmemory", "50mb")
	replica := newRedis(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(s.port))
	c := s.redis()
	defer func() { _ = c.Close() }()
	ctx := context.Background()
	for i := range 10 {
		c.Set(ctx, fmt.Sprint("k", i), "v", time.Duration(i%2)*time.Hour)
	}
	c.Get(ctx, "k1")
	c.Get(ctx, "absent")
	c.Do(ctx, "NOSUCHCOMMAND")

	p := run(t, s.redisTarget())
	r := p.until("the replica reports", func(r round) bool {
		v, err := r.value("redis_connected_slave_lag_seconds", "slave_state", "online")
		return err == nil && v <= 1
	})
	p.whole()
	is := func(ok func(float64) bool, name string, labels ...string) { t.Helper(); p.is(r, ok, name, labels...) }
	is(equal(1), "up", "job", "redis", "instance", s.addr())
	is(equal(1), "redis_up")
	is(above(1), "redis_connected_clients")
	is(above(100_000), "redis_memory_used_bytes")
	is(equal(50<<20), "redis_memory_max_bytes")
	is(above(12), "redis_commands_processed_total")
	is(equal(10), "redis_commands_total", "cmd", "set")
	is(func(v float64) bool { return v > 0 && v < 1 }, "redis_commands_duration_seconds_total", "cmd", "set")
	is(equal(1), "redis_keyspace_hits_total")
	is(equal(1), "redis_keyspace_misses_total")
	is(equal(10), "redis_db_keys", "db", "db0")
	is(equal(5), "redis_db_keys_expiring", "db", "db0")
	is(func(v float64) bool { return v > 3000 && v < 3601 }, "redis_db_avg_ttl_seconds", "db", "db0")
	is(equal(0), "redis_evicted_keys_total")
	is(above(0), "redis_errors_total", "err", "ERR")
	is(equal(1), "redis_connected_slaves")
	is(above(0), "redis_connected_slave_offset_bytes", "slave_port", fmt.Sprint(replica.port))
	is(above(10), "redis_slowlog_length")
	is(above(10), "redis_slowlog_last_id")
	is(equal(1), "redis_rdb_last_bgsave_status")
	is(equal(1), "redis_instance_info", "role", "master", "maxmemory_policy", "noeviction")
	is(func(v float64) bool { return time.Since(time.Unix(int64(v), 0)) < time.Minute }, "redis_start_time_seconds")

	q := run(t, replica.redisTarget())
	rr := q.next()
	master := []string{"master_host", "127.0.0.1", "master_port", fmt.Sprint(s.port)}
	q.is(rr, equal(1), "redis_master_link_up", master...)
	q.is(rr, above(0), "redis_slave_repl_offset", master...)
	s.stop(syscall.SIGKILL)
	q.until("the link is down", func(r round) bool {
		v, err := r.value("redis_master_link_up", master...)
		return err == nil && v == 0
	})
	p.until("down", func(r round) bool { v, err := r.value("redis_up"); return err == nil && v == 0 })
	s.startRedis()
	p.until("up again", func(r round) bool { v, err := r.value("redis_up"); return err == nil && v == 1 })
	p.hides("redissecret")
}

// The user of docs/databases.md is enough.
func TestRedisLeastPrivilege(t *testing.T) {
	t.Parallel()
	s := newRedis(t)
	c := s.redis()
	defer func() { _ = c.Close() }()
	if err := c.Do(context.Background(), "ACL", "SETUSER", "vedette", "on", ">aclsecret", "-@all", "+info", "+slowlog|len", "+slowlog|get").Err(); err != nil {
		t.Fatal(err)
	}
	p := run(t, pull.Target{Kind: pull.Redis, DSN: pull.Secret("redis://vedette@" + s.addr()), Password: "aclsecret", Interval: time.Second})
	p.is(p.next(), equal(1), "redis_up")
	p.whole()
	denied, err := c.Do(context.Background(), "ACL", "LOG").Slice()
	if err != nil || len(denied) > 0 {
		t.Errorf("the server refused something: %v, %v", denied, err)
	}
}

func TestRedisWrongPassword(t *testing.T) {
	t.Parallel()
	s := newRedis(t)
	tg := s.redisTarget()
	tg.DSN, tg.Password = pull.Secret("redis://:wrong%2Fsecret@"+s.addr()+"/0"), ""
	p := run(t, tg)
	p.is(p.next(), equal(0), "redis_up")
	eventually(t, "the wrong password is named", func() error {
		if st := p.Targets()[0]; !strings.Contains(st.Error, "WRONGPASS") || !strings.Contains(st.Error, "password_file") {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	p.hides("wrong/secret")
	p.hides("wrong%2Fsecret")
}

// fakeRedis answers INFO with info and every other command with an error.
func fakeRedis(t *testing.T, info string) string {
	return listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if !strings.HasPrefix(line, "*") {
				continue
			}
			_, _ = in.ReadString('\n')
			cmd, _ := in.ReadString('\n')
			if strings.EqualFold(strings.TrimSpace(cmd), "info") {
				_, _ = fmt.Fprintf(c, "$%d\r\n%s\r\n", len(info), info)
			} else {
				_, _ = fmt.Fprint(c, "-ERR no\x01\xff such\r\n")
			}
		}
	})
}

func TestRedisHostileInfo(t *testing.T) {
	t.Parallel()
	var info strings.Builder
	info.WriteString("# Server\r\nredis_version:\xff\xfe\r\nused_memory:NaN\r\nmaxmemory:+Inf\r\nconnected_clients:7\r\nconnected_clients:8\r\nuptime_in_seconds:-\r\n")
	info.WriteString("role:slave\r\nmaster_host:" + strings.Repeat("h", 10_000) + "\r\ndbx:keys=1\r\ndb0:keys=1,keys,=,\r\nslave0:\r\ncmdstat_:calls\r\n:\r\n\x00:1\r\n")
	info.WriteString("cmdstat_a\"b\\c\n\xff:calls=1,usec=2\r\ncmdstat_bad\xff:calls=5\r\n")
	for i := range 5000 {
		fmt.Fprintf(&info, "cmdstat_x%d:calls=1,usec=1\r\n", i)
	}
	tg := pull.Target{Kind: pull.Redis, DSN: pull.Secret(fakeRedis(t, info.String())), Interval: time.Second, Labels: map[string]string{"db": "mine"}, MaxSeries: 1000}
	p := run(t, tg)
	r := p.next()
	p.is(r, equal(1), "redis_up")
	p.is(r, equal(7), "redis_connected_clients")
	p.is(r, equal(1), "redis_db_keys", "db", "mine", "exported_db", "db0")
	p.is(r, equal(5), "redis_commands_total", "cmd", "bad\uFFFD")
	p.is(r, above(9000-2), "vedette_pull_dropped_samples", "reason", "max_series")
	p.is(r, equal(2), "vedette_pull_dropped_samples", "reason", "not_finite")
	p.is(r, equal(1), "vedette_pull_dropped_samples", "reason", "duplicate")
	p.is(r, equal(0), "vedette_pull_part_success", "part", "slowlog")
	if n := len(r.samples); n > 1000+20 {
		t.Errorf("%d samples over a limit of 1000", n)
	}
	eventually(t, "the status has it", func() error {
		if st := p.Targets()[0]; st.Dropped["max_series"] == 0 || !strings.Contains(st.Faults["slowlog"], "ERR no") || strings.Contains(st.Faults["slowlog"], "\xff") {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}
