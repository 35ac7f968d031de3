package pull_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"github.com/vedette-sre/vedette/internal/ingest/pull"
)

// newMySQL starts a MariaDB with the database shop, the user vedette as
// docs/databases.md makes it, and the digests of performance_schema.
func newMySQL(t *testing.T, id int) *server {
	t.Helper()
	install := binary(t, "mariadb-server", "mariadb-install-db", "/usr/bin")
	daemon := binary(t, "mariadb-server", "mariadbd", "/usr/sbin")
	s := newServer(t, "mysql")
	data := filepath.Join(s.dir, "data")
	s.do(install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	s.argv = []string{daemon, "--no-defaults", "--datadir=" + data, "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", s.port),
		"--socket=" + filepath.Join(s.dir, "s"), "--pid-file=" + filepath.Join(s.dir, "pid"), "--skip-name-resolve",
		"--performance-schema=ON", "--performance-schema-consumer-statements-digest=ON", "--log-bin=bin", fmt.Sprintf("--server-id=%d", id), "--innodb-flush-log-at-trx-commit=0"}
	s.start(func() error { db := s.mysql(); defer db.Close(); return db.Ping() })
	s.exec(`CREATE USER vedette@'127.0.0.1' IDENTIFIED BY 'mysecret' WITH MAX_USER_CONNECTIONS 3`,
		`GRANT PROCESS, REPLICATION CLIENT ON *.* TO vedette@'127.0.0.1'`, `GRANT SELECT ON performance_schema.* TO vedette@'127.0.0.1'`,
		`GRANT SLAVE MONITOR ON *.* TO vedette@'127.0.0.1'`)
	return s
}

// mysql is a connection of root.
func (s *server) mysql() *sql.DB {
	s.t.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf("root@unix(%s)/", filepath.Join(s.dir, "s")))
	if err != nil {
		s.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

func (s *server) exec(stmts ...string) {
	s.t.Helper()
	db := s.mysql()
	defer func() { _ = db.Close() }()
	for _, stmt := range stmts {
		if _, err := db.Exec(stmt); err != nil {
			s.t.Fatalf("%s: %v", stmt, err)
		}
	}
}

func (s *server) mysqlTarget() pull.Target {
	return pull.Target{Kind: pull.MySQL, DSN: pull.Secret("mysql://vedette@" + s.addr() + "/"), Password: "mysecret",
		Interval: time.Second, Timeout: time.Second, SlowQuery: time.Second}
}

func TestMySQL(t *testing.T) {
	t.Parallel()
	s := newMySQL(t, 1)
	s.exec(`CREATE DATABASE shop`, `CREATE TABLE shop.orders (id INT PRIMARY KEY) ENGINE=InnoDB`, `INSERT INTO shop.orders VALUES (1), (2)`,
		`USE shop`, `SELECT * FROM orders WHERE id = 4711`, `SELECT 'hunter2'`)
	p := run(t, s.mysqlTarget())
	r := p.next()
	p.whole()
	is := func(ok func(float64) bool, name string, labels ...string) { t.Helper(); p.is(r, ok, name, labels...) }
	is(equal(1), "up", "job", "mysql", "instance", s.addr())
	is(equal(1), "mysql_up")
	is(equal(1), "mysql_version_info")
	is(above(-1), "mysql_global_status_uptime")
	is(above(0), "mysql_global_status_queries")
	is(above(0), "mysql_global_status_threads_connected")
	is(equal(0), "mysql_global_status_slow_queries")
	is(equal(0), "mysql_global_status_innodb_row_lock_waits")
	is(equal(1), "mysql_global_status_commands_total", "command", "insert")
	is(above(-1), "mysql_global_status_handlers_total", "handler", "read_key")
	is(equal(0), "mysql_global_status_connection_errors_total", "error", "max_connections")
	is(above(0), "mysql_global_status_buffer_pool_pages", "state", "data")
	is(equal(151), "mysql_global_variables_max_connections")
	is(equal(128<<20), "mysql_global_variables_innodb_buffer_pool_size")
	is(equal(0), "mysql_global_variables_read_only")
	is(equal(0), "mysql_innodb_lock_waits")
	is(equal(0), "mysql_slow_queries_running")
	digests := 0
	for _, sample := range r.samples {
		if sample.Name != "mysql_perf_schema_events_statements_total" {
			continue
		}
		text := sample.Labels[len(sample.Labels)-1]
		if strings.Contains(text, "hunter2") || strings.Contains(text, "4711") {
			t.Errorf("a literal in %q", text)
		}
		if strings.Contains(text, "orders") && strings.HasPrefix(text, "SELECT") {
			digests++
			is(equal(1), "mysql_perf_schema_events_statements_total", "schema", "shop", "digest_text", text)
			is(func(v float64) bool { return v > 0 && v < 1 }, "mysql_perf_schema_events_statements_seconds_total", "schema", "shop", "digest_text", text)
			is(equal(0), "mysql_perf_schema_events_statements_errors_total", "schema", "shop", "digest_text", text)
		}
	}
	if digests != 1 {
		t.Errorf("%d digests of the one SELECT", digests)
	}

	// One holds a row, another waits for it.
	holder, waiter := s.mysql(), s.mysql()
	defer func() { _ = holder.Close(); _ = waiter.Close() }()
	tx, err := holder.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`UPDATE shop.orders SET id = 3 WHERE id = 2`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { _, err := waiter.ExecContext(ctx, `DELETE FROM shop.orders WHERE id = 2`); done <- err }()
	defer func() { cancel(); <-done; _ = tx.Rollback() }()
	r = p.until("the waiting one is seen", func(r round) bool {
		waits, _ := r.value("mysql_innodb_lock_waits")
		slow, _ := r.value("mysql_slow_queries_running")
		return waits == 1 && slow == 1
	})
	p.is(r, equal(2), "mysql_innodb_transactions")
	p.is(r, equal(1), "mysql_global_status_innodb_row_lock_current_waits")
	p.is(r, above(0.9), "mysql_slow_queries_running_oldest_seconds")
	p.hides("mysecret")
}

func TestMySQLReplica(t *testing.T) {
	t.Parallel()
	source, replica := newMySQL(t, 1), newMySQL(t, 2)
	source.exec(`CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'r'`, `GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'`, `RESET MASTER`)
	replica.exec(fmt.Sprintf(`CHANGE MASTER TO master_host='127.0.0.1', master_port=%d, master_user='repl', master_password='r'`, source.port), `START SLAVE`)
	p := run(t, replica.mysqlTarget())
	r := p.until("it follows", func(r round) bool {
		v, err := r.value("mysql_slave_status_seconds_behind_master", "master_host", "127.0.0.1")
		return err == nil && v == 0
	})
	p.whole()
	p.is(r, equal(1), "mysql_slave_status_slave_io_running")
	p.is(r, equal(1), "mysql_slave_status_slave_sql_running")
	p.is(r, equal(1), "mysql_slave_status_master_server_id")

	replica.exec(`STOP SLAVE SQL_THREAD`)
	r = p.until("replication is broken", func(r round) bool {
		v, err := r.value("mysql_slave_status_slave_sql_running")
		return err == nil && v == 0
	})
	if v, err := r.value("mysql_slave_status_seconds_behind_master"); err == nil {
		t.Errorf("%v s behind while the server says NULL", v)
	}
}

func TestMySQLComesBack(t *testing.T) {
	t.Parallel()
	s := newMySQL(t, 1)
	tg := s.mysqlTarget()
	p := run(t, tg)
	up := func(want float64) func(round) bool {
		return func(r round) bool { v, err := r.value("mysql_up"); return err == nil && v == want }
	}
	p.until("up", up(1))
	s.stop(syscall.SIGKILL)
	p.until("down", up(0))
	p.until("still down", up(0))
	s.start(func() error { db := s.mysql(); defer func() { _ = db.Close() }(); return db.Ping() })
	p.until("up again", up(1))
	if n := strings.Count(p.log.String(), "gives no answer"); n != 1 {
		t.Errorf("an outage was logged %d times:\n%s", n, p.log)
	}
	db := s.mysql()
	defer func() { _ = db.Close() }()
	var conns int
	if err := db.QueryRow(`SELECT count(*) FROM information_schema.processlist WHERE user = 'vedette'`).Scan(&conns); err != nil || conns != 1 {
		t.Errorf("%d connections, %v; want 1", conns, err)
	}

	// A changed target in place of the one before; its password is wrong.
	tg.Password = "wrongsecret"
	if err := p.Apply([]pull.Target{tg}); err != nil {
		t.Fatal(err)
	}
	p.until("refused", up(0))
	eventually(t, "the wrong password is named", func() error {
		if st := p.Targets()[0]; !strings.Contains(st.Error, `sign in as "vedette": Access denied`) {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	p.hides("wrongsecret")
}
