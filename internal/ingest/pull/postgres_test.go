package pull_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/vedette-sre/vedette/internal/ingest/pull"
)

const pgBin = "/usr/lib/postgresql/*/bin"

// newPostgres starts a server whose superuser is root, with the database shop, the
// role vedette as docs/databases.md makes it, and pg_stat_statements.
func newPostgres(t *testing.T) *server {
	t.Helper()
	initdb, err := filepath.EvalSymlinks(binary(t, "postgresql", "initdb", pgBin))
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Dir(initdb)
	s := newServer(t, "postgres")
	pw := filepath.Join(s.dir, "pw")
	if err := os.WriteFile(pw, []byte("superpass\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(s.dir, "data")
	s.do(bin+"/initdb", "-D", data, "-U", "super", "--auth=scram-sha-256", "--pwfile="+pw, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
	s.argv = postgresArgs(bin, data, s)
	s.start(func() error { return tryPostgres(s, "postgres") })
	s.sql("postgres", `CREATE DATABASE shop`)
	s.sql("shop", `CREATE ROLE vedette LOGIN PASSWORD 'pgsecret'`, `GRANT pg_monitor TO vedette`, `CREATE EXTENSION pg_stat_statements`,
		`CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) i`, `DELETE FROM orders WHERE id > 900`)
	return s
}

func postgresArgs(bin, data string, s *server) []string {
	return []string{bin + "/postgres", "-D", data, "-p", fmt.Sprint(s.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" + s.dir,
		"-c", "shared_preload_libraries=pg_stat_statements", "-c", "fsync=off", "-c", "wal_receiver_status_interval=1s", "-c", "wal_retrieve_retry_interval=200ms"}
}

func (s *server) pgURL(db string) string {
	return fmt.Sprintf("postgres://super:superpass@%s/%s?sslmode=disable", s.addr(), db)
}

func tryPostgres(s *server, db string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.pgURL(db))
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

// open opens a connection for the test.
func (s *server) open(db string) *pgx.Conn {
	s.t.Helper()
	c, err := pgx.Connect(context.Background(), s.pgURL(db))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func (s *server) sql(db string, stmts ...string) {
	s.t.Helper()
	c := s.open(db)
	for _, stmt := range stmts {
		if _, err := c.Exec(context.Background(), stmt); err != nil {
			s.t.Fatalf("%s: %v", stmt, err)
		}
	}
	_ = c.Close(context.Background()) // its counts are told when it ends
}

func (s *server) pgTarget() pull.Target {
	return pull.Target{Kind: pull.Postgres, DSN: pull.Secret("postgres://vedette@" + s.addr() + "/shop"), Password: "pgsecret",
		Interval: time.Second, Timeout: time.Second, Labels: map[string]string{"team": "shop"}}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	s := newPostgres(t)
	s.sql("shop", `SELECT count(*) FROM orders WHERE id = 4711`, `ALTER ROLE vedette PASSWORD 'pgsecret'`, `SELECT 'hunter2', 'it''s', $$dollar$$`,
		`SELECT pg_create_physical_replication_slot('gone', true)`, `CREATE TABLE small (id int PRIMARY KEY)`, `VACUUM small`)
	s.sql("postgres", "CREATE DATABASE \"we\"\"ird\\\nname\"")
	p := run(t, s.pgTarget())
	r := p.until("the counts of the sessions before", func(r round) bool {
		v, err := r.value("pg_stat_user_tables_n_dead_tup", "relname", "orders")
		return err == nil && v == 100
	})
	p.whole()
	all := []string{"job", "postgres", "instance", s.addr(), "team", "shop"}
	for _, sample := range r.samples {
		if !contains(sample.Labels, all) {
			t.Fatalf("%+v lacks the target's labels", sample)
		}
	}
	shop := []string{"datname", "shop"}
	is := func(ok func(float64) bool, name string, labels ...string) { t.Helper(); p.is(r, ok, name, labels...) }
	is(equal(1), "up")
	is(equal(1), "pg_up")
	is(above(0), "scrape_duration_seconds")
	is(equal(1), "pg_static")
	is(equal(100), "pg_settings_max_connections")
	is(equal(128<<20), "pg_settings_shared_buffers_bytes")
	is(equal(300), "pg_settings_checkpoint_timeout_seconds")
	is(func(v float64) bool { return time.Since(time.Unix(int64(v), 0)) < 5*time.Minute }, "pg_postmaster_start_time_seconds")
	is(above(3), "pg_stat_database_xact_commit", shop...)
	is(above(999), "pg_stat_database_tup_inserted", shop...)
	is(equal(0), "pg_stat_database_deadlocks", shop...)
	is(above(1<<20), "pg_database_size_bytes", shop...)
	is(equal(0), "pg_stat_activity_count", "datname", "shop", "state", "idle in transaction")
	is(equal(0), "pg_locks_count", "datname", "shop", "mode", "exclusivelock")
	is(equal(0), "pg_replication_is_replica")
	is(equal(0), "pg_replication_lag_seconds")
	is(equal(0), "pg_long_running_transactions_count", "threshold", "60")
	is(equal(0), "pg_stat_archiver_failed_count")
	is(above(-1), "pg_stat_bgwriter_buffers_alloc_total")
	is(above(-1), "pg_database_wraparound_age_datfrozenxid_seconds", shop...)
	is(equal(100), "pg_stat_user_tables_n_dead_tup", "relname", "orders", "schemaname", "public", "datname", "shop")
	is(equal(0), "pg_stat_user_tables_idx_scan", "relname", "small")
	is(func(v float64) bool { return time.Since(time.Unix(int64(v), 0)) < time.Minute }, "pg_stat_user_tables_last_vacuum_any", "relname", "small")
	is(equal(0), "pg_replication_slots_active", "slot_name", "gone", "slot_type", "physical")
	is(above(-1), "pg_replication_slots_pg_wal_lsn_diff", "slot_name", "gone")
	is(above(1<<20), "pg_database_size_bytes", "datname", "we\"ird\\\nname")
	is(equal(1), "vedette_pull_part_success", "part", "statements")
	is(equal(0), "vedette_pull_dropped_samples", "reason", "max_series")

	var texts []string
	for _, sample := range r.samples {
		if sample.Name == "pg_stat_statements_query_id" {
			texts = append(texts, sample.Labels[len(sample.Labels)-1])
			id := sample.Labels[len(sample.Labels)-3]
			if strings.Contains(texts[len(texts)-1], "orders WHERE id = $1") && strings.HasPrefix(texts[len(texts)-1], "SELECT") {
				is(equal(1), "pg_stat_statements_calls_total", "queryid", id, "datname", "shop", "user", "super")
				is(equal(1), "pg_stat_statements_rows_total", "queryid", id)
				is(above(0), "pg_stat_statements_seconds_total", "queryid", id)
			}
		}
	}
	if all := strings.Join(texts, "\n"); !strings.Contains(all, "SELECT count(*) FROM orders WHERE id = $1") || !strings.Contains(all, "ALTER ROLE vedette PASSWORD ?") ||
		strings.Contains(all, "hunter2") || strings.Contains(all, "pgsecret") || strings.Contains(all, "dollar") {
		t.Errorf("texts of statements:\n%s", all)
	}
	p.hides("pgsecret")
}

func TestPostgresSlowAndBlocked(t *testing.T) {
	t.Parallel()
	s := newPostgres(t)
	holder, waiter := s.open("shop"), s.open("shop")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	if _, err := holder.Exec(ctx, `BEGIN; LOCK TABLE orders`); err != nil {
		t.Fatal(err)
	}
	go func() { _, err := waiter.Exec(ctx, `DELETE FROM orders`); done <- err }()
	defer func() { cancel(); <-done }()

	tg := s.pgTarget()
	tg.SlowQuery = 100 * time.Millisecond
	p := run(t, tg)
	r := p.until("a blocked query is slow", func(r round) bool {
		v, _ := r.value("pg_slow_queries", "datname", "shop")
		return v == 1
	})
	p.is(r, equal(1), "pg_blocked_queries", "datname", "shop")
	p.is(r, above(0.1), "pg_slow_queries_oldest_seconds", "datname", "shop")
	p.is(r, above(0.1), "pg_blocked_queries_oldest_seconds", "datname", "shop")
	p.is(r, equal(0), "pg_slow_queries", "datname", "postgres")
	p.is(r, above(0.1), "pg_long_running_transactions_oldest_timestamp_seconds")
	p.is(r, equal(1), "pg_stat_activity_count", "datname", "shop", "state", "idle in transaction")
	p.is(r, above(0.1), "pg_stat_activity_max_tx_duration", "datname", "shop", "state", "idle in transaction")
	p.is(r, above(0), "pg_locks_count", "datname", "shop", "mode", "accessexclusivelock")
}

func TestPostgresReplica(t *testing.T) {
	t.Parallel()
	s := newPostgres(t)
	bin := filepath.Dir(s.argv[0])
	hba := filepath.Join(s.dir, "data", "pg_hba.conf")
	if b, err := os.ReadFile(hba); err != nil || !strings.Contains(string(b), "replication") {
		t.Fatalf("pg_hba.conf: %v", err)
	}
	r := newServer(t, "postgres")
	data := filepath.Join(r.dir, "data")
	r.do(bin+"/pg_basebackup", "-d", fmt.Sprintf("postgres://super:superpass@%s/?application_name=second", s.addr()), "-D", data, "-R", "--checkpoint=fast", "--no-sync")
	r.argv = postgresArgs(bin, data, r)
	r.start(func() error { return tryPostgres(r, "shop") })

	primary := run(t, s.pgTarget())
	second := primary.until("the replica streams", func(r round) bool {
		v, err := r.value("pg_stat_replication_pg_wal_lsn_diff", "state", "streaming")
		return err == nil && v == 0
	})
	primary.is(second, above(0), "pg_stat_replication_pg_current_wal_lsn_bytes", "application_name", "second", "client_addr", "127.0.0.1")
	primary.whole()

	// Lag is told by the commit that was replayed last: before the first there is none.
	s.sql("shop", `INSERT INTO orders VALUES (1001)`)
	replica := run(t, r.pgTarget())
	first := replica.until("it follows", func(r round) bool {
		v, err := r.value("pg_replication_lag_seconds")
		return err == nil && v == 0
	})
	replica.whole()
	replica.is(first, equal(1), "pg_replication_is_replica")
	replica.is(first, equal(1), "pg_replication_receiver_streaming")
	replica.is(first, equal(0), "pg_replication_replay_behind_bytes")

	r.sql("shop", `SELECT pg_wal_replay_pause()`)
	s.sql("shop", `INSERT INTO orders SELECT generate_series(1, 1000)`)
	behind := replica.until("it falls behind", func(r round) bool {
		v, _ := r.value("pg_replication_lag_seconds")
		return v > 1
	})
	replica.is(behind, above(10_000), "pg_replication_replay_behind_bytes")
	r.sql("shop", `SELECT pg_wal_replay_resume()`)
	replica.until("it catches up", func(r round) bool {
		v, err := r.value("pg_replication_lag_seconds")
		return err == nil && v == 0
	})
	// All that came is replayed, but nothing comes: that is lag, not zero.
	s.stop(syscall.SIGINT)
	cut := replica.until("the stream ends", func(r round) bool {
		v, err := r.value("pg_replication_receiver_streaming")
		return err == nil && v == 0
	})
	replica.is(cut, above(0), "pg_replication_lag_seconds")
}

func TestPostgresComesBack(t *testing.T) {
	t.Parallel()
	s := newPostgres(t)
	p := run(t, s.pgTarget())
	up := func(want float64) func(round) bool {
		return func(r round) bool { v, err := r.value("pg_up"); return err == nil && v == want }
	}
	p.until("up", up(1))
	// A restart between two rounds is not an outage: the dead connection is noticed
	// and made anew within the round.
	s.stop(syscall.SIGINT)
	down := p.until("down", up(0))
	p.is(down, equal(0), "up")
	if n := len(down.samples); n > 10 {
		t.Errorf("%d samples of a server that is down", n)
	}
	eventually(t, "the status", func() error {
		if st := p.Targets()[0]; st.Up || !strings.Contains(st.Error, "connection refused") {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	p.until("still down", up(0))
	p.until("still down", up(0))
	s.start(func() error { return tryPostgres(s, "shop") })
	p.until("up again", up(1))
	p.until("up again", up(1))
	if n := strings.Count(p.log.String(), "gives no answer"); n != 1 {
		t.Errorf("an outage was logged %d times:\n%s", n, p.log)
	}
	var conns int
	if err := s.open("shop").QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vedette'`).Scan(&conns); err != nil || conns != 1 {
		t.Errorf("%d connections, %v; want 1", conns, err)
	}
}

func TestPostgresReconnectsWithinARound(t *testing.T) {
	t.Parallel()
	s := newPostgres(t)
	p := run(t, s.pgTarget())
	p.next()
	for range 3 {
		s.sql("shop", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vedette'`)
		p.is(p.next(), equal(1), "up")
	}
}

// A part that is too slow is ended on the server; the others are told, over the
// same connection.
func TestPostgresSlowPart(t *testing.T) {
	t.Parallel()
	s := newPostgres(t)
	var args string
	if err := s.open("shop").QueryRow(context.Background(), `SELECT pg_get_function_arguments('pg_stat_statements(bool)'::regprocedure)`).Scan(&args); err != nil {
		t.Fatal(err)
	}
	s.sql("shop", `CREATE OR REPLACE FUNCTION pg_stat_statements(`+args+`) RETURNS SETOF record LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); END'`)
	p := run(t, s.pgTarget())
	var backend string
	for range 3 {
		r := p.next()
		p.is(r, equal(1), "up")
		p.is(r, equal(0), "vedette_pull_part_success", "part", "statements")
		p.is(r, equal(1), "vedette_pull_part_success", "part", "database_size")
		p.is(r, func(v float64) bool { return v > 0.5 && v < 1 }, "scrape_duration_seconds")
		var now string
		if err := s.open("shop").QueryRow(context.Background(), `SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE application_name = 'vedette'`).Scan(&now); err != nil {
			t.Fatal(err)
		}
		if backend != "" && now != backend {
			t.Errorf("connections %s, then %s", backend, now)
		}
		backend = now
	}
	if f := p.Targets()[0].Faults["statements"]; !strings.Contains(f, "statement timeout") {
		t.Errorf("%q", f)
	}
}

func TestPostgresRights(t *testing.T) {
	t.Parallel()
	s := newPostgres(t)
	s.sql("shop", `REVOKE pg_monitor FROM vedette`)
	file := filepath.Join(t.TempDir(), "pg")
	if err := os.WriteFile(file, []byte("wrongsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tg := s.pgTarget()
	tg.Password, tg.PasswordFile = "", file
	p := run(t, tg)
	p.is(p.next(), equal(0), "up")
	eventually(t, "the wrong password is named", func() error {
		if st := p.Targets()[0]; !strings.Contains(st.Error, `sign in as "vedette": password authentication failed`) || !strings.Contains(st.Error, "password_file") {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	p.hides("wrongsecret")

	// The file is read anew at each connect.
	if err := os.WriteFile(file, []byte("pgsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := p.until("signed in", func(r round) bool { v, _ := r.value("up"); return v == 1 })
	p.is(r, equal(0), "vedette_pull_part_success", "part", "privileges")
	p.is(r, equal(1), "vedette_pull_part_success", "part", "activity")
	p.is(r, equal(100), "pg_settings_max_connections")
	eventually(t, "the missing grant is named", func() error {
		if f := p.Targets()[0].Faults["privileges"]; !strings.Contains(f, `GRANT pg_monitor TO "vedette"`) {
			return fmt.Errorf("%q", f)
		}
		return nil
	})
	p.hides("pgsecret")
}
