package pull

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// mysqlSource asks a MySQL (5.7.8 or newer) or MariaDB (10.1 or newer) server,
// under the names of mysqld_exporter.
type mysqlSource struct {
	target Target
	db     *sql.DB
	conn   *sql.Conn // the one connection of db
	maria  bool
	// version is major*10000 + minor*100 + patch.
	version int
}

func (m *mysqlSource) upName() string { return "mysql_up" }

func (t Target) mysqlConfig() (*mysql.Config, error) {
	dsn := string(t.DSN)
	if !strings.HasPrefix(dsn, "mysql://") && !strings.HasPrefix(dsn, "mariadb://") {
		cfg, err := mysql.ParseDSN(dsn)
		if err != nil || cfg.Addr == "" {
			return nil, badDSN(t.Kind)
		}
		return cfg, nil
	}
	u, err := url.Parse(dsn)
	if err != nil || u.Hostname() == "" || u.RawQuery != "" {
		return nil, badDSN(t.Kind)
	}
	cfg := mysql.NewConfig()
	cfg.User = u.User.Username()
	cfg.Passwd, _ = u.User.Password()
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "3306"))
	cfg.DBName = strings.TrimPrefix(u.Path, "/")
	return cfg, nil
}

func (t Target) mysqlEndpoint() (addr, password string, err error) {
	cfg, err := t.mysqlConfig()
	if err != nil {
		return "", "", err
	}
	return cfg.Addr, cfg.Passwd, nil
}

func (m *mysqlSource) connect(ctx context.Context) error {
	cfg, err := m.target.mysqlConfig()
	if err != nil {
		return err
	}
	secret, err := m.target.password()
	if err != nil {
		return err
	}
	if secret != "" {
		cfg.Passwd = secret
	}
	if m.target.Username != "" {
		cfg.User = m.target.Username
	}
	host, _, _ := net.SplitHostPort(cfg.Addr) // "" for a socket
	tlsConfig, err := m.target.tlsConfig(host)
	if err != nil {
		return err
	}
	if tlsConfig != nil {
		cfg.TLS = tlsConfig
	}
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = 0, 0, 0 // the context of the round ends all
	cfg.Logger = &mysql.NopLogger{}                          // its errors come to us as well
	cfg.InterpolateParams = true                             // no prepared statements
	// What a server must not be able to ask of us, whatever the DSN says.
	cfg.AllowAllFiles, cfg.AllowOldPasswords, cfg.MultiStatements = false, false, false
	cfg.AllowCleartextPasswords = cfg.AllowCleartextPasswords && cfg.TLS != nil
	cfg.ConnectionAttributes = "program_name:vedette"
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return badDSN(m.target.Kind)
	}
	m.db = sql.OpenDB(connector)
	m.db.SetMaxOpenConns(1)
	if m.conn, err = m.db.Conn(ctx); err != nil {
		var me *mysql.MySQLError
		if errors.As(err, &me) && me.Number == 1045 {
			return fmt.Errorf("sign in as %q: %s; check username, password_file and the host part of the account", cfg.User, me.Message)
		}
		return err
	}
	return m.prepare(ctx)
}

// prepare learns whom it speaks to and bounds what a session may do.
func (m *mysqlSource) prepare(ctx context.Context) error {
	var version string
	if err := m.conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return err
	}
	m.maria = strings.Contains(version, "MariaDB")
	m.version = mysqlVersion(version)
	// The server gives a statement up before the round is over: when a client goes
	// away, MySQL works on.
	limit := m.target.Timeout * 3 / 5
	set := fmt.Sprintf("SET SESSION max_execution_time = %d", limit.Milliseconds())
	if m.maria {
		set = fmt.Sprintf("SET SESSION max_statement_time = %g", limit.Seconds())
	}
	for _, stmt := range []string{set, "SET SESSION TRANSACTION READ ONLY"} {
		if _, err := m.conn.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("%s: %w", stmt, err)
		}
	}
	return nil
}

// mysqlVersion reads "8.0.36-log" and "10.11.6-MariaDB"; 0 is one it cannot read.
func mysqlVersion(s string) int {
	s, _, _ = strings.Cut(s, "-")
	n := 0
	for i, part := range strings.SplitN(s, ".", 3) {
		v, err := strconv.Atoi(part)
		if err != nil || v > 99 {
			return 0
		}
		n += v * []int{10000, 100, 1}[i]
	}
	return n
}

func (m *mysqlSource) close() {
	if m.conn != nil {
		_ = m.conn.Close() // it is gone either way
		m.conn = nil
	}
	if m.db != nil {
		_ = m.db.Close()
		m.db = nil
	}
}

func (m *mysqlSource) collect(ctx context.Context, b *batch) error {
	if m.conn == nil {
		m.close() // what was left of an attempt
		if err := m.connect(ctx); err != nil {
			return err
		}
	}
	if err := m.status(ctx, b); err != nil {
		return err
	}
	b.part(ctx, "variables", func() error { return m.variables(ctx, b) })
	b.part(ctx, "replica", func() error { return m.replica(ctx, b) })
	b.part(ctx, "transactions", func() error { return m.transactions(ctx, b) })
	b.part(ctx, "slow_queries", func() error { return m.running(ctx, b) })
	if m.target.topQueries() > 0 {
		b.part(ctx, "statements", func() error { return m.statements(ctx, b) })
	}
	return nil
}

// each calls fn for each row, as texts by the name of the column in lower case.
// NULL is not there.
func (m *mysqlSource) each(ctx context.Context, fn func(row map[string]string), query string, args ...any) error {
	rows, err := m.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err has it
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	cells, dest := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range cells {
		dest[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		row := make(map[string]string, len(names))
		for i, c := range cells {
			if c.Valid {
				row[strings.ToLower(names[i])] = c.String
			}
		}
		fn(row)
	}
	return rows.Err()
}

// mysqlNumber reads a value as mysqld_exporter does: words that mean yes are 1.
func mysqlNumber(s string) (float64, bool) {
	switch strings.ToLower(s) {
	case "yes", "on", "primary":
		return 1, true
	case "no", "off", "disabled", "connecting", "non-primary":
		return 0, true
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil
}

// metricPart is whether s can be part of a metric's name.
func metricPart(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// mysqlFamilies are status variables of one kind, told as one name with a label.
var mysqlFamilies = []struct{ prefix, name, label string }{
	{"com_", "commands_total", "command"},
	{"handler_", "handlers_total", "handler"},
	{"connection_errors_", "connection_errors_total", "error"},
	{"innodb_buffer_pool_pages_", "", "state"}, // see status
	{"innodb_rows_", "innodb_row_ops_total", "operation"},
	{"performance_schema_", "performance_schema_lost_total", "instrumentation"},
}

// mysqlUseless begin the names of status variables that no one looks at: they
// are of the X plugin and of our own connection.
var mysqlUseless = []string{"mysqlx_", "ssl_", "rsa_", "tls_", "last_query_", "compression", "ongoing_", "feature_"}

// status is SHOW GLOBAL STATUS: all that is a number, as counter or gauge, which
// the server does not say. docs/databases.md says it of those that matter.
func (m *mysqlSource) status(ctx context.Context, b *batch) error {
	return m.each(ctx, func(row map[string]string) {
		key := strings.ToLower(row["variable_name"])
		v, ok := mysqlNumber(row["value"])
		if !ok || !metricPart(key) || slices.ContainsFunc(mysqlUseless, func(p string) bool { return strings.HasPrefix(key, p) }) {
			return
		}
		for _, f := range mysqlFamilies {
			rest, ok := strings.CutPrefix(key, f.prefix)
			switch {
			case !ok:
				continue
			case f.name != "":
				b.add("mysql_global_status_"+f.name, v, f.label, rest)
			case slices.Contains([]string{"data", "dirty", "free", "misc", "total", "old"}, rest):
				b.add("mysql_global_status_buffer_pool_pages", v, f.label, rest)
			default:
				b.add("mysql_global_status_buffer_pool_page_changes_total", v, "operation", rest)
			}
			return
		}
		b.add("mysql_global_status_"+key, v)
	}, "SHOW GLOBAL STATUS")
}

// mysqlVariables are the settings that dashboards and alerts set values against.
const mysqlVariables = `'max_connections', 'max_user_connections', 'max_allowed_packet', 'innodb_buffer_pool_size', 'innodb_log_file_size',
	'innodb_redo_log_capacity', 'innodb_log_buffer_size', 'innodb_lock_wait_timeout', 'innodb_io_capacity', 'innodb_page_size',
	'key_buffer_size', 'query_cache_size', 'tmp_table_size', 'max_heap_table_size', 'table_open_cache', 'table_definition_cache',
	'open_files_limit', 'thread_cache_size', 'long_query_time', 'slow_query_log', 'performance_schema', 'read_only', 'super_read_only',
	'sync_binlog', 'innodb_flush_log_at_trx_commit', 'binlog_expire_logs_seconds', 'server_id', 'wait_timeout', 'gtid_mode', 'log_bin'`

func (m *mysqlSource) variables(ctx context.Context, b *batch) error {
	info := map[string]string{}
	err := m.each(ctx, func(row map[string]string) {
		key := strings.ToLower(row["variable_name"])
		switch key {
		case "version", "version_comment", "innodb_version":
			info[key] = row["value"]
			return
		}
		if v, ok := mysqlNumber(row["value"]); ok && metricPart(key) {
			b.add("mysql_global_variables_"+key, v)
		}
	}, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ("+mysqlVariables+", 'version', 'version_comment', 'innodb_version')")
	if err == nil {
		b.add("mysql_version_info", 1, "version", info["version"], "version_comment", info["version_comment"], "innodb_version", info["innodb_version"])
	}
	return err
}

// replica is what a replica says of each of its channels. Servers have three ways
// of asking; the columns' old names, which dashboards know, stand for the new.
func (m *mysqlSource) replica(ctx context.Context, b *batch) error {
	ask := "SHOW SLAVE STATUS"
	switch {
	case m.maria:
		ask = "SHOW ALL SLAVES STATUS"
	case m.version >= 80022:
		ask = "SHOW REPLICA STATUS"
	}
	return m.each(ctx, func(row map[string]string) { addReplica(b, row) }, ask)
}

// addReplica tells one channel. While replication is broken there is no
// seconds_behind_master, as the server then says NULL: alert on slave_sql_running
// and slave_io_running too.
func addReplica(b *batch, row map[string]string) {
	old := map[string]string{}
	for key, value := range row {
		old[strings.NewReplacer("source", "master", "replica", "slave").Replace(key)] = value
	}
	labels := []string{"master_host", old["master_host"], "master_uuid", old["master_uuid"],
		"channel_name", old["channel_name"], "connection_name", old["connection_name"]}
	for _, key := range []string{"seconds_behind_master", "slave_io_running", "slave_sql_running", "sql_delay", "relay_log_space",
		"read_master_log_pos", "exec_master_log_pos", "last_errno", "last_io_errno", "last_sql_errno", "skip_counter", "master_server_id"} {
		if v, ok := mysqlNumber(old[key]); ok {
			b.add("mysql_slave_status_"+key, v, labels...)
		}
	}
}

// transactions is who waits for row locks, and for how long. Counts since the
// start are in the status: innodb_row_lock_waits and innodb_row_lock_time.
func (m *mysqlSource) transactions(ctx context.Context, b *batch) error {
	return m.each(ctx, func(row map[string]string) {
		addColumns(b, "mysql_innodb_", row, "transactions", "transactions_oldest_seconds", "lock_waits", "lock_waits_oldest_seconds")
	}, `SELECT COUNT(*) AS transactions,
		COALESCE(MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())), 0) AS transactions_oldest_seconds,
		COALESCE(SUM(trx_state = 'LOCK WAIT'), 0) AS lock_waits,
		COALESCE(MAX(TIMESTAMPDIFF(SECOND, trx_wait_started, NOW())), 0) AS lock_waits_oldest_seconds
		FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id <> CONNECTION_ID()`)
}

// running is what runs right now for longer than slow_query.
func (m *mysqlSource) running(ctx context.Context, b *batch) error {
	return m.each(ctx, func(row map[string]string) {
		addColumns(b, "mysql_", row, "slow_queries_running", "slow_queries_running_oldest_seconds")
	}, `SELECT COALESCE(SUM(TIME >= ?), 0) AS slow_queries_running, COALESCE(MAX(TIME), 0) AS slow_queries_running_oldest_seconds
		FROM information_schema.PROCESSLIST
		WHERE COMMAND IN ('Query', 'Execute', 'Prepare', 'Fetch') AND ID <> CONNECTION_ID() AND USER NOT IN ('system user', 'event_scheduler')`,
		m.target.SlowQuery.Seconds())
}

func addColumns(b *batch, prefix string, row map[string]string, names ...string) {
	for _, name := range names {
		if v, ok := mysqlNumber(row[name]); ok {
			b.add(prefix+name, v)
		}
	}
}

// mysqlDigest are the columns of a digest that are told, and their names.
var mysqlDigest = []struct {
	column, name string
	unit         float64 // of one, in the name's unit
}{
	{"count_star", "total", 1},
	{"sum_timer_wait", "seconds_total", 1e-12}, // picoseconds
	{"sum_errors", "errors_total", 1},
	{"sum_warnings", "warnings_total", 1},
	{"sum_rows_affected", "rows_affected_total", 1},
	{"sum_rows_sent", "rows_sent_total", 1},
	{"sum_rows_examined", "rows_examined_total", 1},
	{"sum_created_tmp_disk_tables", "tmp_disk_tables_total", 1},
	{"sum_no_index_used", "no_index_used_total", 1},
}

// statements tells the statements that took the most time. With performance_schema
// off, which is MariaDB's default, the table is empty.
func (m *mysqlSource) statements(ctx context.Context, b *batch) error {
	var columns []string
	for _, d := range mysqlDigest {
		columns = append(columns, strings.ToUpper(d.column))
	}
	return m.each(ctx, func(row map[string]string) {
		labels := []string{"schema", row["schema_name"], "digest", row["digest"], "digest_text", sqlText(row["digest_text"], quotedStrings)}
		for _, d := range mysqlDigest {
			if v, ok := mysqlNumber(row[d.column]); ok {
				b.add("mysql_perf_schema_events_statements_"+d.name, v*d.unit, labels...)
			}
		}
	}, `SELECT COALESCE(SCHEMA_NAME, 'NONE') AS schema_name, DIGEST AS digest, LEFT(DIGEST_TEXT, 4000) AS digest_text, `+strings.Join(columns, ", ")+`
		FROM performance_schema.events_statements_summary_by_digest
		WHERE DIGEST IS NOT NULL AND COALESCE(SCHEMA_NAME, '') NOT IN ('mysql', 'performance_schema', 'information_schema')
		ORDER BY SUM_TIMER_WAIT DESC LIMIT ?`, m.target.topQueries())
}
