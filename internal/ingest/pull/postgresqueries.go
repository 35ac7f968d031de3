package pull

// postgresQuery is one part of what a PostgreSQL server is asked.
type postgresQuery struct {
	part        string
	from, below int // server_version_num; 0 is open
	on          postgresRole
	arg         postgresArg
	prefix, sql string // see postgres.ask
}

type postgresRole int

const (
	onBoth postgresRole = iota
	onPrimary
	onReplica
)

type postgresArg int

const (
	argNone postgresArg = iota
	argSlow             // $1 is slow_query in seconds
	argTop              // $1 is top_queries
)

// postgresQueries are asked in this order, what is cheap and matters most first.
var postgresQueries = []postgresQuery{
	{part: "postmaster", prefix: "pg_postmaster_", sql: `SELECT extract(epoch FROM pg_postmaster_start_time())::float8 AS start_time_seconds`},

	{part: "settings", prefix: "pg_settings_", sql: `
SELECT current_setting('max_connections')::float8 AS max_connections,
       current_setting('superuser_reserved_connections')::float8 AS superuser_reserved_connections,
       current_setting('max_worker_processes')::float8 AS max_worker_processes,
       current_setting('max_wal_senders')::float8 AS max_wal_senders,
       current_setting('autovacuum_max_workers')::float8 AS autovacuum_max_workers,
       current_setting('autovacuum_freeze_max_age')::float8 AS autovacuum_freeze_max_age,
       current_setting('random_page_cost')::float8 AS random_page_cost,
       (current_setting('autovacuum') = 'on')::int::float8 AS autovacuum,
       (current_setting('track_io_timing') = 'on')::int::float8 AS track_io_timing,
       pg_size_bytes(current_setting('shared_buffers'))::float8 AS shared_buffers_bytes,
       pg_size_bytes(current_setting('effective_cache_size'))::float8 AS effective_cache_size_bytes,
       pg_size_bytes(current_setting('work_mem'))::float8 AS work_mem_bytes,
       pg_size_bytes(current_setting('maintenance_work_mem'))::float8 AS maintenance_work_mem_bytes,
       pg_size_bytes(current_setting('max_wal_size'))::float8 AS max_wal_size_bytes,
       extract(epoch FROM current_setting('checkpoint_timeout')::interval)::float8 AS checkpoint_timeout_seconds`},

	{part: "replication", prefix: "pg_replication_", sql: `
SELECT pg_is_in_recovery()::int::float8 AS is_replica,
       CASE WHEN NOT pg_is_in_recovery() THEN 0
            -- all that a living stream brought is replayed: an idle primary is no lag
            WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
                 AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') THEN 0
            WHEN pg_last_xact_replay_timestamp() IS NULL THEN NULL -- nothing to tell it by
            ELSE greatest(0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))::float8 END AS lag_seconds`},

	{part: "replication_receiver", on: onReplica, prefix: "pg_replication_", sql: `
SELECT (EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'))::int::float8 AS receiver_streaming,
       pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::float8 AS replay_behind_bytes,
       extract(epoch FROM pg_last_xact_replay_timestamp())::float8 AS last_replay_timestamp_seconds`},

	// Two receivers may have one name: the one that is further behind is told.
	{part: "stat_replication", prefix: "pg_stat_replication_", sql: `
SELECT application_name::text AS application_name, coalesce(host(client_addr), '')::text AS client_addr, state::text AS state,
       max(pg_wal_lsn_diff(here.lsn, '0/0'))::float8 AS pg_current_wal_lsn_bytes,
       max(pg_wal_lsn_diff(here.lsn, replay_lsn))::float8 AS pg_wal_lsn_diff,
       max(extract(epoch FROM write_lag))::float8 AS write_lag_seconds,
       max(extract(epoch FROM flush_lag))::float8 AS flush_lag_seconds,
       max(extract(epoch FROM replay_lag))::float8 AS replay_lag_seconds
FROM pg_stat_replication, (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END AS lsn) here
GROUP BY 1, 2, 3`},

	{part: "replication_slots", prefix: "pg_replication_slots_", sql: `
SELECT slot_name::text AS slot_name, coalesce(database, '')::text AS database, slot_type::text AS slot_type,
       active::int::float8 AS active,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::float8 AS pg_wal_lsn_diff
FROM pg_replication_slots`},

	{part: "activity", prefix: "pg_stat_activity_", sql: `
SELECT d.datname::text AS datname, s.state AS state, coalesce(a.count, 0)::float8 AS count, coalesce(a.max_tx_duration, 0)::float8 AS max_tx_duration
FROM pg_database d
CROSS JOIN (VALUES ('active'), ('idle'), ('idle in transaction'), ('idle in transaction (aborted)'), ('fastpath function call'), ('disabled')) s(state)
LEFT JOIN (SELECT datname, state, count(*) AS count, max(extract(epoch FROM clock_timestamp() - xact_start)) AS max_tx_duration
           FROM pg_stat_activity WHERE pid <> pg_backend_pid() GROUP BY 1, 2) a ON a.datname = d.datname AND a.state = s.state
WHERE d.datallowconn`},

	// A backend that waits for a lock runs its query too: blocked is a part of slow.
	{part: "slow_queries", arg: argSlow, prefix: "pg_", sql: `
SELECT d.datname::text AS datname,
       count(*) FILTER (WHERE a.age >= $1::float8)::float8 AS slow_queries,
       coalesce(max(a.age), 0)::float8 AS slow_queries_oldest_seconds,
       count(*) FILTER (WHERE a.wait_event_type = 'Lock')::float8 AS blocked_queries,
       coalesce(max(a.age) FILTER (WHERE a.wait_event_type = 'Lock'), 0)::float8 AS blocked_queries_oldest_seconds
FROM pg_database d
LEFT JOIN (SELECT datname, wait_event_type, extract(epoch FROM clock_timestamp() - query_start) AS age FROM pg_stat_activity
           WHERE state = 'active' AND backend_type IN ('client backend', 'parallel worker') AND pid <> pg_backend_pid()) a ON a.datname = d.datname
WHERE d.datallowconn GROUP BY 1`},

	{part: "long_running_transactions", prefix: "pg_long_running_transactions_", sql: `
SELECT t.threshold::text AS threshold, count(a.age)::float8 AS count
FROM (VALUES (60), (300), (600), (1800)) t(threshold)
LEFT JOIN (SELECT extract(epoch FROM clock_timestamp() - xact_start) AS age FROM pg_stat_activity
           WHERE state IS DISTINCT FROM 'idle' AND query NOT LIKE 'autovacuum:%' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()) a ON a.age >= t.threshold
GROUP BY 1`},
	{part: "long_running_transactions", prefix: "pg_long_running_transactions_", sql: `
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 AS oldest_timestamp_seconds FROM pg_stat_activity
WHERE state IS DISTINCT FROM 'idle' AND query NOT LIKE 'autovacuum:%' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()`},

	{part: "locks", prefix: "pg_locks_", sql: `
SELECT d.datname::text AS datname, m.mode AS mode, coalesce(l.count, 0)::float8 AS count
FROM pg_database d
CROSS JOIN (VALUES ('accesssharelock'), ('rowsharelock'), ('rowexclusivelock'), ('shareupdateexclusivelock'), ('sharelock'),
                   ('sharerowexclusivelock'), ('exclusivelock'), ('accessexclusivelock'), ('sireadlock')) m(mode)
LEFT JOIN (SELECT database, lower(mode) AS mode, count(*) AS count FROM pg_locks WHERE database IS NOT NULL GROUP BY 1, 2) l
       ON l.database = d.oid AND l.mode = m.mode
WHERE d.datallowconn`},

	{part: "database", prefix: "pg_stat_database_", sql: `
SELECT datid::text AS datid, datname::text AS datname, numbackends::float8 AS numbackends,
       xact_commit::float8 AS xact_commit, xact_rollback::float8 AS xact_rollback, blks_read::float8 AS blks_read, blks_hit::float8 AS blks_hit,
       tup_returned::float8 AS tup_returned, tup_fetched::float8 AS tup_fetched, tup_inserted::float8 AS tup_inserted,
       tup_updated::float8 AS tup_updated, tup_deleted::float8 AS tup_deleted, conflicts::float8 AS conflicts,
       temp_files::float8 AS temp_files, temp_bytes::float8 AS temp_bytes, deadlocks::float8 AS deadlocks,
       blk_read_time AS blk_read_time, blk_write_time AS blk_write_time, extract(epoch FROM stats_reset)::float8 AS stats_reset
FROM pg_stat_database WHERE datname IS NOT NULL`},
	{part: "database", from: 140000, prefix: "pg_stat_database_", sql: `
SELECT datid::text AS datid, datname::text AS datname, active_time/1000 AS active_time_seconds_total,
       sessions::float8 AS sessions_total, sessions_abandoned::float8 AS sessions_abandoned_total,
       sessions_fatal::float8 AS sessions_fatal_total, sessions_killed::float8 AS sessions_killed_total
FROM pg_stat_database WHERE datname IS NOT NULL`},

	{part: "wraparound", prefix: "pg_database_wraparound_", sql: `
SELECT datname::text AS datname, age(datfrozenxid)::float8 AS age_datfrozenxid_seconds, mxid_age(datminmxid)::float8 AS age_datminmxid_seconds
FROM pg_database WHERE datallowconn`},

	{part: "bgwriter", below: 170000, prefix: "pg_stat_bgwriter_", sql: `
SELECT checkpoints_timed::float8 AS checkpoints_timed_total, checkpoints_req::float8 AS checkpoints_req_total,
       checkpoint_write_time AS checkpoint_write_time_total, checkpoint_sync_time AS checkpoint_sync_time_total,
       buffers_checkpoint::float8 AS buffers_checkpoint_total, buffers_backend::float8 AS buffers_backend_total,
       buffers_backend_fsync::float8 AS buffers_backend_fsync_total
FROM pg_stat_bgwriter`},
	{part: "bgwriter", prefix: "pg_stat_bgwriter_", sql: `
SELECT buffers_clean::float8 AS buffers_clean_total, maxwritten_clean::float8 AS maxwritten_clean_total,
       buffers_alloc::float8 AS buffers_alloc_total, extract(epoch FROM stats_reset)::float8 AS stats_reset_total
FROM pg_stat_bgwriter`},
	{part: "checkpointer", from: 170000, prefix: "pg_stat_checkpointer_", sql: `
SELECT num_timed::float8 AS num_timed_total, num_requested::float8 AS num_requested_total, restartpoints_timed::float8 AS restartpoints_timed_total,
       restartpoints_req::float8 AS restartpoints_req_total, restartpoints_done::float8 AS restartpoints_done_total,
       write_time AS write_time_total, sync_time AS sync_time_total, buffers_written::float8 AS buffers_written_total
FROM pg_stat_checkpointer`},

	{part: "archiver", prefix: "pg_stat_archiver_", sql: `
SELECT archived_count::float8 AS archived_count, failed_count::float8 AS failed_count,
       extract(epoch FROM now() - last_archived_time)::float8 AS last_archive_age
FROM pg_stat_archiver`},

	{part: "user_tables", arg: argTop, prefix: "pg_stat_user_tables_", sql: `
SELECT current_database()::text AS datname, schemaname::text AS schemaname, relname::text AS relname,
       seq_scan::float8 AS seq_scan, idx_scan::float8 AS idx_scan, n_live_tup::float8 AS n_live_tup, n_dead_tup::float8 AS n_dead_tup,
       extract(epoch FROM greatest(last_vacuum, last_autovacuum))::float8 AS last_vacuum_any
FROM pg_stat_user_tables ORDER BY n_dead_tup DESC, seq_scan DESC LIMIT $1::bigint`},

	// Reads the directories of each database: the slowest, so the last.
	{part: "database_size", prefix: "pg_database_", sql: `
SELECT datname::text AS datname, pg_database_size(oid)::float8 AS size_bytes FROM pg_database
WHERE datallowconn AND (has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE'))`},
}
