package pull

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// redisSource asks a Redis or Valkey server, under the names of redis_exporter.
type redisSource struct {
	target Target
	client *redis.Client
}

func (r *redisSource) upName() string { return "redis_up" }

func (t Target) redisOptions() (*redis.Options, error) {
	dsn := string(t.DSN)
	if !strings.Contains(dsn, "://") {
		dsn = "redis://" + dsn
	}
	o, err := redis.ParseURL(dsn)
	if err != nil || o.Addr == "" {
		return nil, badDSN(t.Kind)
	}
	return o, nil
}

func (t Target) redisEndpoint() (addr, password string, err error) {
	o, err := t.redisOptions()
	if err != nil {
		return "", "", err
	}
	return o.Addr, o.Password, nil
}

func (r *redisSource) connect() error {
	o, err := r.target.redisOptions()
	if err != nil {
		return err
	}
	secret, err := r.target.password()
	if err != nil {
		return err
	}
	o.Password = cmp.Or(secret, o.Password)
	o.Username = cmp.Or(r.target.Username, o.Username)
	host, _, _ := net.SplitHostPort(o.Addr) // "" for a socket
	tlsConfig, err := r.target.tlsConfig(host)
	if err != nil {
		return err
	}
	if tlsConfig != nil {
		o.TLSConfig = tlsConfig
	}
	// Nothing is sent but the sign-in and what collect asks: the user of the docs may
	// do no more.
	o.ClientName = ""
	o.PoolSize, o.MinIdleConns, o.MaxActiveConns = 1, 0, 1
	o.MaxRetries, o.DialerRetries = -1, 1 // a round is tried again as a whole
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = r.target.Timeout, r.target.Timeout, r.target.Timeout
	o.Protocol, o.DisableIdentity = 2, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	redis.SetLogger(noRedisLog{}) // of the whole program, and safe at any time
	r.client = redis.NewClient(o)
	return nil
}

// noRedisLog keeps the client from writing to stderr what it returns to us as
// well.
type noRedisLog struct{}

func (noRedisLog) Printf(context.Context, string, ...any) {}

func (r *redisSource) close() {
	if r.client != nil {
		_ = r.client.Close() // it is gone either way
		r.client = nil
	}
}

func (r *redisSource) collect(ctx context.Context, b *batch) error {
	if r.client == nil {
		if err := r.connect(); err != nil {
			return err
		}
	}
	info, err := r.client.Info(ctx, "all").Result()
	if err != nil {
		return redisFault(err)
	}
	addRedisInfo(b, info)
	b.part(ctx, "slowlog", func() error { return r.slowlog(ctx, b) })
	return nil
}

// redisFault adds what to do to a refusal.
func redisFault(err error) error {
	for _, code := range []string{"WRONGPASS", "NOAUTH", "NOPERM"} {
		if strings.Contains(err.Error(), code) {
			return fmt.Errorf("%w; check username and password_file, and that the user may run INFO", err)
		}
	}
	return err
}

// slowlog tells how many entries there are, and the newest one's number and time.
// Their arguments are data and stay on the server.
func (r *redisSource) slowlog(ctx context.Context, b *batch) error {
	n, err := r.client.Do(ctx, "SLOWLOG", "LEN").Int64()
	if err != nil {
		return redisFault(err)
	}
	b.add("redis_slowlog_length", float64(n))
	last, err := r.client.SlowLogGet(ctx, 1).Result()
	if err != nil {
		return redisFault(err)
	}
	id, took := int64(0), time.Duration(0)
	if len(last) > 0 {
		id, took = last[0].ID, last[0].Duration
	}
	b.add("redis_slowlog_last_id", float64(id))
	b.add("redis_last_slow_execution_duration_seconds", took.Seconds())
	return nil
}

// addRedisInfo tells an answer to INFO: lines of key:value under # sections.
// A key that is not known is left out.
func addRedisInfo(b *batch, info string) {
	values := map[string]string{}
	for line := range strings.Lines(info) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		values[key] = value
		switch cmd, isCmd := strings.CutPrefix(key, "cmdstat_"); {
		case isCmd:
			addRedisCommand(b, cmd, redisFields(value))
		case strings.HasPrefix(key, "errorstat_"):
			addNumber(b, "redis_errors_total", redisFields(value)["count"], 1, "err", strings.TrimPrefix(key, "errorstat_"))
		case numbered(key, "db"):
			f := redisFields(value)
			addNumber(b, "redis_db_keys", f["keys"], 1, "db", key)
			addNumber(b, "redis_db_keys_expiring", f["expires"], 1, "db", key)
			addNumber(b, "redis_db_avg_ttl_seconds", f["avg_ttl"], 1e-3, "db", key)
		case numbered(key, "slave"):
			f := redisFields(value)
			labels := []string{"slave_ip", f["ip"], "slave_port", f["port"], "slave_state", f["state"]}
			addNumber(b, "redis_connected_slave_offset_bytes", f["offset"], 1, labels...)
			if f["lag"] != "-1" { // a replica that has yet to report
				addNumber(b, "redis_connected_slave_lag_seconds", f["lag"], 1, labels...)
			}
		default:
			if m, known := redisNames[key]; known {
				addNumber(b, "redis_"+m.name, value, cmp.Or(m.unit, 1))
			}
		}
	}
	addRedisState(b, values)
}

// addRedisState tells what more than one line of INFO makes.
func addRedisState(b *batch, v map[string]string) {
	b.add("redis_instance_info", 1, "role", v["role"], "redis_version", cmp.Or(v["valkey_version"], v["redis_version"]), "redis_build_id", v["redis_build_id"],
		"redis_mode", cmp.Or(v["redis_mode"], v["server_mode"]), "os", v["os"], "maxmemory_policy", v["maxmemory_policy"],
		"tcp_port", v["tcp_port"], "run_id", v["run_id"], "process_id", v["process_id"])
	if up, err := strconv.ParseInt(v["uptime_in_seconds"], 10, 64); err == nil {
		b.add("redis_start_time_seconds", float64(b.at.Unix()-up))
	}
	if v["role"] != "slave" {
		return
	}
	master := []string{"master_host", v["master_host"], "master_port", v["master_port"]}
	b.add("redis_master_link_up", flag(v["master_link_status"] == "up"), master...)
	b.add("redis_slave_info", 1, append(master, "read_only", v["slave_read_only"])...)
	addNumber(b, "redis_master_sync_in_progress", v["master_sync_in_progress"], 1, master...)
	addNumber(b, "redis_slave_repl_offset", v["slave_repl_offset"], 1, master...)
	for _, key := range []string{"master_last_io_seconds_ago", "master_link_down_since_seconds"} {
		if v[key] != "-1" { // never
			addNumber(b, "redis_"+key, v[key], 1, master...)
		}
	}
}

func addRedisCommand(b *batch, cmd string, f map[string]string) {
	addNumber(b, "redis_commands_total", f["calls"], 1, "cmd", cmd)
	addNumber(b, "redis_commands_duration_seconds_total", f["usec"], 1e-6, "cmd", cmd)
	addNumber(b, "redis_commands_rejected_calls_total", f["rejected_calls"], 1, "cmd", cmd)
	addNumber(b, "redis_commands_failed_calls_total", f["failed_calls"], 1, "cmd", cmd)
}

// redisFields reads "calls=5,usec=17".
func redisFields(s string) map[string]string {
	out := map[string]string{}
	for f := range strings.SplitSeq(s, ",") {
		if k, v, ok := strings.Cut(f, "="); ok {
			out[k] = v
		}
	}
	return out
}

// numbered is true for the prefix with a number, such as db0.
func numbered(s, prefix string) bool {
	n, ok := strings.CutPrefix(s, prefix)
	return ok && n != "" && strings.Trim(n, "0123456789") == ""
}

// addNumber adds a text that holds a number, or ok and err; nothing otherwise.
func addNumber(b *batch, name, value string, unit float64, labels ...string) {
	switch value {
	case "ok":
		b.add(name, 1, labels...)
		return
	case "err", "fail":
		b.add(name, 0, labels...)
		return
	}
	if v, err := strconv.ParseFloat(strings.TrimSuffix(value, "%"), 64); err == nil {
		b.add(name, v*unit, labels...)
	}
}
