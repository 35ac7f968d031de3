package pull

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// postgres asks a PostgreSQL server, 10 or newer, under the names of
// postgres_exporter. All but the tables and the statements is of the whole server,
// whichever database the DSN names.
type postgres struct {
	target  Target
	conn    *pgx.Conn
	version int               // server_version_num, such as 150004
	texts   map[string]string // of the statements that were told last, by queryid
}

func (p *postgres) upName() string { return "pg_up" }

func (t Target) postgresConfig() (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(string(t.DSN))
	if err != nil || cfg.Host == "" {
		return nil, badDSN(t.Kind)
	}
	return cfg, nil
}

func (t Target) postgresEndpoint() (addr, password string, err error) {
	cfg, err := t.postgresConfig()
	if err != nil {
		return "", "", err
	}
	return net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), cfg.Password, nil
}

func (p *postgres) connect(ctx context.Context) error {
	cfg, err := p.target.postgresConfig()
	if err != nil {
		return err
	}
	secret, err := p.target.password()
	if err != nil {
		return err
	}
	if secret != "" {
		cfg.Password = secret
	}
	if p.target.Username != "" {
		cfg.User = p.target.Username
	}
	tlsConfig, err := p.target.tlsConfig(cfg.Host)
	if err != nil {
		return err
	}
	if tlsConfig != nil {
		// Fallbacks are other hosts, and this host without TLS.
		cfg.TLSConfig, cfg.Fallbacks = tlsConfig, nil
	}
	// A statement ends before the round does, so that one which is slow costs its
	// own part and not the connection; and the server gives it up when we do.
	limit := strconv.FormatInt(p.target.Timeout.Milliseconds()*3/5, 10)
	for name, value := range map[string]string{
		"application_name": "vedette", "default_transaction_read_only": "on",
		"statement_timeout": limit, "lock_timeout": limit,
	} {
		if _, set := cfg.RuntimeParams[name]; !set {
			cfg.RuntimeParams[name] = value
		}
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec // no prepared statements: they would be kept on the server
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return postgresFault(cfg.User, err)
	}
	p.conn = conn
	return nil
}

// postgresFault says in the server's words why it was not to be had.
func postgresFault(user string, err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return err
	}
	switch pe.Code {
	case "28P01", "28000":
		return fmt.Errorf("sign in as %q: %s; check username, password_file and pg_hba.conf", user, pe.Message)
	case "53300":
		return fmt.Errorf("sign in as %q: %s; raise max_connections, or keep some for the role with reserved_connections", user, pe.Message)
	}
	return fmt.Errorf("sign in as %q: %s (%s)", user, pe.Message, pe.Code)
}

func (p *postgres) close() {
	if p.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = p.conn.Close(ctx) // it is gone either way
		p.conn = nil
	}
}

func (p *postgres) collect(ctx context.Context, b *batch) error {
	if p.conn == nil || p.conn.IsClosed() {
		if err := p.connect(ctx); err != nil {
			return err
		}
	}
	var version, short string
	var replica, mayRead bool
	err := p.conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
		pg_is_in_recovery(), pg_has_role('pg_read_all_stats', 'USAGE'), version()`).Scan(&p.version, &short, &replica, &mayRead, &version)
	if err != nil {
		return err
	}
	b.add("pg_static", 1, "short_version", short, "version", version)
	b.part(ctx, "privileges", func() error {
		if !mayRead {
			return fmt.Errorf("the role does not see what other roles do; run GRANT pg_monitor TO %s", pgx.Identifier{p.conn.Config().User}.Sanitize())
		}
		return nil
	})
	for _, q := range postgresQueries {
		if p.version < q.from || q.below != 0 && p.version >= q.below || q.on == onPrimary && replica || q.on == onReplica && !replica {
			continue
		}
		b.part(ctx, q.part, func() error {
			var args []any
			switch q.arg {
			case argSlow:
				args = []any{p.target.SlowQuery.Seconds()}
			case argTop:
				args = []any{p.target.topQueries()}
			}
			return p.ask(ctx, b, q.prefix, q.sql, args...)
		})
	}
	if p.target.topQueries() > 0 {
		b.part(ctx, "statements", func() error { return p.statements(ctx, b) })
	}
	return nil
}

// ask makes samples of rows. A column of type float8 is a value, named by the
// prefix and the column; NULL is none. Any other is a label, with NULL empty.
func (p *postgres) ask(ctx context.Context, b *batch, prefix, sql string, args ...any) error {
	rows, err := p.conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	fields := rows.FieldDescriptions()
	for rows.Next() {
		var labels []string
		values := map[string]float64{}
		dest := make([]any, len(fields))
		for i, f := range fields {
			if f.DataTypeOID == pgtype.Float8OID {
				dest[i] = new(*float64)
			} else {
				dest[i] = new(*string)
			}
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		for i, d := range dest {
			switch d := d.(type) {
			case **float64:
				if *d != nil {
					values[fields[i].Name] = **d
				}
			case **string:
				value := ""
				if *d != nil {
					value = **d
				}
				labels = append(labels, fields[i].Name, value)
			}
		}
		for _, f := range fields { // in the order of the columns
			if v, ok := values[f.Name]; ok {
				b.add(prefix+f.Name, v, labels...)
			}
		}
	}
	return rows.Err()
}

// statements tells the statements that took the most time, when the extension
// pg_stat_statements is in the database of the DSN. Texts are asked for once a
// statement: for them the server reads a file of megabytes.
func (p *postgres) statements(ctx context.Context, b *batch) error {
	var schema, version string
	err := p.conn.QueryRow(ctx, `SELECT quote_ident(n.nspname), e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
		WHERE e.extname = 'pg_stat_statements'`).Scan(&schema, &version)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	total, read, write := "total_exec_time", "blk_read_time", "blk_write_time"
	switch major, minor := extensionVersion(version); {
	case major == 1 && minor < 8: // before PostgreSQL 13
		total = "total_time"
	case major > 1 || minor >= 11: // PostgreSQL 17
		read, write = "shared_blk_read_time", "shared_blk_write_time"
	}
	// One queryid may have rows for the top level and for functions.
	top := fmt.Sprintf(`SELECT pg_get_userbyid(s.userid)::text AS "user", d.datname::text AS datname, s.queryid::text AS queryid,
		sum(s.calls)::float8 AS calls_total, sum(s.%[2]s)::float8/1000 AS seconds_total, sum(s.rows)::float8 AS rows_total,
		sum(s.%[3]s)::float8/1000 AS block_read_seconds_total, sum(s.%[4]s)::float8/1000 AS block_write_seconds_total
		FROM %[1]s.pg_stat_statements(false) s JOIN pg_database d ON d.oid = s.dbid
		WHERE s.queryid IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 5 DESC LIMIT $1`, schema, total, read, write)
	from := len(b.samples)
	if err := p.ask(ctx, b, "pg_stat_statements_", top, p.target.topQueries()); err != nil {
		return err
	}
	texts, unknown := map[string]string{}, []string{}
	for _, s := range b.samples[from:] {
		id := labelOf(s.Labels, "queryid")
		if text, ok := p.texts[id]; ok {
			texts[id] = text
		} else if _, ok := texts[id]; !ok {
			texts[id] = ""
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		rows, err := p.conn.Query(ctx, `SELECT DISTINCT ON (queryid) queryid::text, left(query, 4000) FROM `+schema+`.pg_stat_statements
			WHERE queryid::text = ANY($1)`, unknown)
		if err != nil {
			return err
		}
		var id string
		var text *string
		if _, err := pgx.ForEachRow(rows, []any{&id, &text}, func() error {
			if text != nil {
				texts[id] = sqlText(*text, quotedNames)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	p.texts = texts
	for id, text := range texts {
		if text != "" {
			b.add("pg_stat_statements_query_id", 1, "queryid", id, "query", text)
		}
	}
	return nil
}

// extensionVersion splits "1.10".
func extensionVersion(s string) (major, minor int) {
	a, b, _ := strings.Cut(s, ".")
	major, _ = strconv.Atoi(a) // 0 is an old one
	minor, _ = strconv.Atoi(b)
	return major, minor
}

// labelOf is the value of a label among name, value pairs.
func labelOf(pairs []string, name string) string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == name {
			return pairs[i+1]
		}
	}
	return ""
}
