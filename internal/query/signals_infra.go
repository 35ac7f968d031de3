package query

import "strings"

// proxies are what stands before services. Names: Envoy's /stats/prometheus,
// ingress-nginx, Traefik 2 and 3, HAProxy's own exporter.
func proxies() []*recogniser {
	envoyAll := `sum $by(rate(<envoy_cluster_upstream_rq_total>[$w]))`
	envoyBad := `sum $by(rate(<envoy_cluster_upstream_rq_xx envoy_response_code_class="5">[$w]))`
	haAll := `sum $by(rate(<haproxy_backend_http_responses_total>[$w]))`
	one := func(source, base, code string, id [][]string, more ...panel) *recogniser {
		all := `sum $by(rate(<` + base + `_count>[$w]))`
		return &recogniser{kind: KindEndpoint, source: source, evidence: []string{base + "_count"}, identity: id, panels: append([]panel{
			heatmap("Latency", "s", 1, `sum by (le) (rate(<`+base+`_bucket>[$w]))`, `sum by (le$,) (rate(<`+base+`_bucket>[$w]))`),
			lines("", "Requests", "/s", Traffic, line{"requests", all, ColRate, 0}),
			lines("", "Requests that failed", "ratio", Errors, line{"5xx", ratio(`sum $by(rate(<`+base+`_count `+code+`=~"5..">[$w]))`, all, all), ColErrors, 0}),
			lines("", "Requests by code", "/s", Detail, line{"{{" + code + "}}", `sum by (` + code + `) (rate(<` + base + `_count>[$w]))`, "", 0}),
		}, more...)}
	}
	return []*recogniser{
		one("ingress-nginx", "nginx_ingress_controller_request_duration_seconds", "status", [][]string{{"ingress", "host"}, {"ingress"}, {"host"}}),
		one("Traefik", "traefik_service_request_duration_seconds", "code", [][]string{{"service"}},
			lines("", "Open connections", "", Saturation, line{"open", `sum(<traefik_service_open_connections>)`, "", 0})),
		{kind: KindEndpoint, source: "Envoy", evidence: []string{"envoy_cluster_upstream_rq_total"}, identity: [][]string{{"envoy_cluster_name"}}, panels: []panel{
			heatmap("Latency", "ms", 0.001, `sum by (le) (rate(<envoy_cluster_upstream_rq_time_bucket>[$w]))`, `sum by (le$,) (rate(<envoy_cluster_upstream_rq_time_bucket>[$w]))`),
			lines("", "Requests", "/s", Traffic, line{"requests", envoyAll, ColRate, 0}),
			lines("", "Requests that failed", "ratio", Errors, line{"5xx", ratio(envoyBad, envoyAll, envoyAll), ColErrors, 0}),
			lines("", "Requests under way and waiting", "", Saturation,
				line{"under way", `sum(<envoy_cluster_upstream_rq_active>)`, "", 0}, line{"waiting", `sum(<envoy_cluster_upstream_rq_pending_active>)`, "", 0}),
			lines("", "Members that take requests", "", Detail,
				line{"healthy", `min(<envoy_cluster_membership_healthy>)`, "", 0}, line{"all", `max(<envoy_cluster_membership_total>)`, "", 0}),
			lines("", "Retries", "/s", Detail, line{"retries", `sum(rate(<envoy_cluster_upstream_rq_retry>[$w]))`, "", 0}),
		}},
		{kind: KindEndpoint, source: "HAProxy", evidence: []string{"haproxy_backend_http_responses_total"}, identity: [][]string{{"proxy"}, {"backend"}}, panels: []panel{
			lines("", "Mean latency of the last 1,024 requests", "s", Latency, line{"response", `max(<haproxy_backend_response_time_average_seconds>)`, "", 0},
				line{"in all", `max(<haproxy_backend_total_time_average_seconds>)`, "", 0}),
			lines("", "Requests", "/s", Traffic, line{"requests", haAll, ColRate, 0}),
			lines("", "Requests that failed", "ratio", Errors, line{"5xx", ratio(`sum $by(rate(<haproxy_backend_http_responses_total code="5xx">[$w]))`, haAll, haAll), ColErrors, 0}),
			lines("", "Sessions, of their limit", "ratio", Saturation,
				line{"sessions", `sum $by(<haproxy_backend_current_sessions>) / (sum $by(<haproxy_backend_limit_sessions>) > 0)`, ColSaturation, 0}),
			lines("", "Requests that wait for a server", "", Saturation, line{"waiting", `sum(<haproxy_backend_current_queue>)`, "", 0}),
			lines("", "Servers that are up", "", Detail, line{"up", `max(<haproxy_backend_active_servers>)`, "", 0}),
		}},
	}
}

// Disks whose fullness says nothing.
const noDisk = `fstype!~"(dev)?tmpfs|ramfs|squashfs|iso9660|efivarfs"`

// hosts are machines, by node_exporter's names and by those of OpenTelemetry's
// system metrics, as the collector's hostmetrics receiver writes them.
func hosts() []*recogniser {
	// A pace of less than three hours is none.
	left := func(avail string) string {
		return `(` + avail + ` / (0 - (deriv(` + avail + `[6h]) < 0)) / 86400 < 365) and ` + avail + ` offset 3h`
	}
	daysLeft := func(avail string) panel {
		p := lines("", "Days until a disk is full", "days", Detail, line{"{{mountpoint}}", left(avail), "", 0})
		p.empty = "At the pace of the last 6 hours no disk fills within a year, or it is watched for less than 3 hours."
		return p
	}
	node := &recogniser{kind: KindHost, source: "node_exporter", evidence: []string{"node_cpu_seconds_total"}, identity: instanceID, panels: []panel{
		lines("", "Time of one disk operation", "s", Latency,
			line{"{{device}} read", `sum by (device) (rate(<node_disk_read_time_seconds_total>[$w])) / (sum by (device) (rate(<node_disk_reads_completed_total>[$w])) > 0)`, "", 0},
			line{"{{device}} write", `sum by (device) (rate(<node_disk_write_time_seconds_total>[$w])) / (sum by (device) (rate(<node_disk_writes_completed_total>[$w])) > 0)`, "", 0}),
		lines("", "Network", "bytes/s", Traffic,
			line{"received", `sum $by(rate(<node_network_receive_bytes_total device!="lo">[$w]))`, "", 0},
			line{"sent", `sum $by(rate(<node_network_transmit_bytes_total device!="lo">[$w]))`, "", 0}),
		lines("", "Packets lost or broken", "/s", Errors,
			line{"receive errors", `sum(rate(<node_network_receive_errs_total device!="lo">[$w]))`, "", 0},
			line{"send errors", `sum(rate(<node_network_transmit_errs_total device!="lo">[$w]))`, "", 0},
			line{"receive drops", `sum(rate(<node_network_receive_drop_total device!="lo">[$w]))`, "", 0},
			line{"send drops", `sum(rate(<node_network_transmit_drop_total device!="lo">[$w]))`, "", 0}),
		lines("", "CPU, memory and disk in use", "ratio", Saturation,
			line{"CPU", `1 - avg $by(rate(<node_cpu_seconds_total mode="idle">[$w]))`, ColSaturation, 0},
			line{"memory", `1 - sum $by(<node_memory_MemAvailable_bytes>) / sum $by(<node_memory_MemTotal_bytes>)`, ColSaturation, 0},
			line{"fullest disk", `max $by(1 - <node_filesystem_avail_bytes ` + noDisk + `> / (<node_filesystem_size_bytes ` + noDisk + `> > 0))`, ColSaturation, 0}),
		lines("", "CPU by mode", "ratio", Detail,
			line{"{{mode}}", `sum by (mode) (rate(<node_cpu_seconds_total mode!="idle">[$w])) / scalar(sum(rate(<node_cpu_seconds_total>[$w])))`, "", 0}),
		lines("", "Load for each CPU", "", Detail,
			line{"1 min", `max(<node_load1>) / scalar(count(<node_cpu_seconds_total mode="idle">))`, "", 0},
			line{"5 min", `max(<node_load5>) / scalar(count(<node_cpu_seconds_total mode="idle">))`, "", 0}),
		lines("", "Share of time that work waited", "ratio", Detail,
			line{"for CPU", `sum(rate(<node_pressure_cpu_waiting_seconds_total>[$w]))`, "", 0},
			line{"for memory", `sum(rate(<node_pressure_memory_waiting_seconds_total>[$w]))`, "", 0},
			line{"for disk", `sum(rate(<node_pressure_io_waiting_seconds_total>[$w]))`, "", 0}),
		lines("", "Memory", "bytes", Detail,
			line{"in use", `sum(<node_memory_MemTotal_bytes>) - sum(<node_memory_MemAvailable_bytes>)`, "", 0},
			line{"page cache", `sum(<node_memory_Cached_bytes>)`, "", 0},
			line{"total", `sum(<node_memory_MemTotal_bytes>)`, "", 0},
			line{"swap in use", `sum(<node_memory_SwapTotal_bytes>) - sum(<node_memory_SwapFree_bytes>)`, "", 0}),
		lines("", "Disks, full", "ratio", Detail,
			line{"{{mountpoint}}", `max by (mountpoint) (1 - <node_filesystem_avail_bytes ` + noDisk + `> / (<node_filesystem_size_bytes ` + noDisk + `> > 0))`, "", 0}),
		daysLeft(`<node_filesystem_avail_bytes ` + noDisk + `>`),
		lines("", "Disk transfer", "bytes/s", Detail,
			line{"{{device}} read", `sum by (device) (rate(<node_disk_read_bytes_total>[$w]))`, "", 0},
			line{"{{device}} written", `sum by (device) (rate(<node_disk_written_bytes_total>[$w]))`, "", 0}),
		lines("", "Disks, busy", "ratio", Detail, line{"{{device}}", `sum by (device) (rate(<node_disk_io_time_seconds_total>[$w]))`, "", 0}),
		lines("", "Network by device", "bytes/s", Detail,
			line{"{{device}} received", `sum by (device) (rate(<node_network_receive_bytes_total device!="lo">[$w]))`, "", 0},
			line{"{{device}} sent", `sum by (device) (rate(<node_network_transmit_bytes_total device!="lo">[$w]))`, "", 0}),
		lines("", "Processes killed for want of memory", "/s", Detail, line{"killed", `sum(rate(<node_vmstat_oom_kill>[$w]))`, "", 0}),
	}}
	otel := &recogniser{kind: KindHost, source: "OpenTelemetry system metrics", evidence: []string{"system_cpu_time_seconds_total"},
		identity: [][]string{{"host_name"}, {"host"}, {"instance"}, {"job"}}}
	// The collector's labels, then those of the semantic conventions since.
	for _, n := range []struct{ cpu, mem, fs, disk, net string }{
		{"state", "state", "state", "direction", "direction"},
		{"cpu_mode", "system_memory_state", "system_filesystem_state", "disk_io_direction", "network_io_direction"},
	} {
		by := func(slot, title, unit string, s Signal, label string, of ...line) {
			p := lines(slot, title, unit, s, of...)
			p.label = label
			otel.panels = append(otel.panels, p)
		}
		fsFree := `<system_filesystem_usage_bytes ` + n.fs + `="free", type!~"(dev)?tmpfs|squashfs">`
		fsAll := `<system_filesystem_usage_bytes type!~"(dev)?tmpfs|squashfs">`
		by("disk time", "Time of one disk operation", "s", Latency, n.disk, line{"{{device}} {{" + n.disk + "}}",
			`sum by (device, ` + n.disk + `) (rate(<system_disk_operation_time_seconds_total>[$w])) / (sum by (device, ` + n.disk + `) (rate(<system_disk_operations_total>[$w])) > 0)`, "", 0})
		by("network", "Network", "bytes/s", Traffic, n.net, line{"{{" + n.net + "}}", `sum by (` + n.net + `) (rate(<system_network_io_bytes_total device!="lo">[$w]))`, "", 0})
		by("lost", "Packets lost or broken", "/s", Errors, n.net,
			line{"{{" + n.net + "}} errors", `sum by (` + n.net + `) (rate(<system_network_errors_total device!="lo">[$w]))`, "", 0},
			line{"{{" + n.net + "}} drops", `sum by (` + n.net + `) (rate(<system_network_dropped_total device!="lo">[$w]))`, "", 0})
		by("cpu in use", "CPU in use", "ratio", Saturation, n.cpu,
			line{"CPU", `1 - sum $by(rate(<system_cpu_time_seconds_total ` + n.cpu + `="idle">[$w])) / sum $by(rate(<system_cpu_time_seconds_total>[$w]))`, ColSaturation, 0})
		by("memory in use", "Memory in use", "ratio", Saturation, n.mem,
			line{"memory", `sum $by(<system_memory_usage_bytes ` + n.mem + `="used">) / sum $by(<system_memory_usage_bytes>)`, "", 0})
		by("cpu", "CPU by mode", "ratio", Detail, n.cpu,
			line{"{{" + n.cpu + "}}", `sum by (` + n.cpu + `) (rate(<system_cpu_time_seconds_total ` + n.cpu + `!="idle">[$w])) / scalar(sum(rate(<system_cpu_time_seconds_total>[$w])))`, "", 0})
		by("memory", "Memory", "bytes", Detail, n.mem, line{"{{" + n.mem + "}}", `sum by (` + n.mem + `) (<system_memory_usage_bytes>)`, "", 0})
		by("disks", "Disks, full", "ratio", Detail, n.fs,
			line{"{{mountpoint}}", `1 - sum by (mountpoint) (` + fsFree + `) / sum by (mountpoint) (` + fsAll + `)`, "", 0})
		p := daysLeft(fsFree)
		p.slot, p.label = "days left", n.fs
		otel.panels = append(otel.panels, p)
		by("transfer", "Disk transfer", "bytes/s", Detail, n.disk, line{"{{device}} {{" + n.disk + "}}", `sum by (device, ` + n.disk + `) (rate(<system_disk_io_bytes_total>[$w]))`, "", 0})
	}
	otel.panels = append(otel.panels, lines("", "Load", "", Detail, line{"1 min", `max(<system_cpu_load_average_1m>)`, "", 0}, line{"5 min", `max(<system_cpu_load_average_5m>)`, "", 0}))
	return []*recogniser{node, otel}
}

// queues are Kafka's consumer groups by kafka_exporter's names, and RabbitMQ's
// queues by those of its own plugin and of the exporter before it.
func queues() []*recogniser {
	rabbit := func(base string) *recogniser {
		x := func(t string) string { return strings.ReplaceAll(t, "X", base) }
		return &recogniser{kind: KindQueue, source: "RabbitMQ", evidence: []string{base}, identity: [][]string{{"queue", "vhost"}, {"queue"}, {"instance"}}, panels: []panel{
			lines("age", "Age of the oldest message", "s", Latency, line{"oldest", `time() - min(<rabbitmq_queue_head_message_timestamp> > 0)`, "", 0}),
			lines("rates", "Messages", "/s", Traffic,
				line{"delivered", `sum $by(rate(<rabbitmq_queue_messages_delivered_total>[$w]))`, ColRate, 0},
				line{"published", `sum(rate(<rabbitmq_queue_messages_published_total>[$w]))`, "", 0}),
			lines("redelivered", "Messages delivered again", "/s", Errors,
				line{"again", `sum(rate(<rabbitmq_queue_messages_redelivered_total>[$w]))`, "", 0}),
			lines("depth", "Depth", "", Saturation,
				line{"in all", x(`sum $by(<X>)`), ColDepth, 0},
				line{"ready", x(`sum(<X_ready>)`), "", 0},
				line{"not acknowledged", x(`sum(<X_unacked>)`), "", 0},
				line{"not acknowledged", `sum(<rabbitmq_queue_messages_unacknowledged>)`, "", 0}),
			lines("growth", "Growth", "/s", Detail, line{"growth", x(`sum(deriv(<X>[10m]))`), "", 0}),
			lines("consumers", "Consumers", "", Detail, line{"consumers", `sum(<rabbitmq_queue_consumers>)`, "", 0}, line{"consumers", `sum(<rabbitmq_detailed_queue_consumers>)`, "", 0}),
			lines("memory", "Memory", "bytes", Detail, line{"memory", `sum(<rabbitmq_queue_process_memory_bytes>)`, "", 0}),
		}}
	}
	return []*recogniser{
		{kind: KindQueue, source: "Kafka consumer group", evidence: []string{"kafka_consumergroup_lag"}, identity: [][]string{{"topic", "consumergroup"}}, panels: []panel{
			lines("age", "Age of the oldest message not taken", "s", Latency, line{"oldest", `max $by(<kafka_consumergroup_lag_seconds>)`, "", 0}),
			lines("rates", "Messages", "/s", Traffic,
				line{"taken", `sum $by(rate(<kafka_consumergroup_current_offset>[$w]))`, ColRate, 0},
				line{"produced", `sum(rate(<kafka_topic_partition_current_offset@topic,cluster,namespace,environment>[$w]))`, "", 0}),
			lines("replicas", "Partitions with too few replicas", "", Errors, line{"partitions", `sum(<kafka_topic_partition_under_replicated_partition@topic,cluster,namespace,environment>)`, "", 0}),
			lines("depth", "Lag", "", Saturation, line{"messages", `sum $by(<kafka_consumergroup_lag> >= 0)`, ColDepth, 0}),
			lines("partitions", "Lag by partition", "", Detail, line{"{{partition}}", `sum by (partition) (<kafka_consumergroup_lag>)`, "", 0}),
			lines("ages", "Age by partition", "s", Detail, line{"{{partition}}", `max by (partition) (<kafka_consumergroup_lag_seconds>)`, "", 0}),
			lines("members", "Members of the group", "", Detail, line{"members", `max(<kafka_consumergroup_members@consumergroup,cluster,namespace,environment>)`, "", 0}),
			lines("growth", "Growth of the lag", "/s", Detail, line{"growth", `sum(deriv(<kafka_consumergroup_lag>[10m]))`, "", 0}),
		}},
		ownQueue(),
		rabbit("rabbitmq_queue_messages"),
		rabbit("rabbitmq_detailed_queue_messages"),
	}
}

// ownQueue is a queue within a process, by the names of instrument/golden.
func ownQueue() *recogniser {
	const wait = "queue_wait_duration_seconds"
	native := heatmap("Time in the queue", "s", 1, `sum(rate(<`+wait+`>[$w]))`, `sum $by(rate(<`+wait+`>[$w]))`)
	native.native = true
	taken := lines("taken", "Taken", "/s", Traffic, line{"taken", `histogram_count(sum $by(rate(<` + wait + `>[$w])))`, ColRate, 0})
	taken.native = true
	return &recogniser{kind: KindQueue, source: "instrument/golden", evidence: []string{"queue_oldest_age_seconds"},
		identity: [][]string{{"queue", "service_name"}, {"queue", "service"}, {"queue", "job"}}, panels: []panel{
			native,
			heatmap("Time in the queue", "s", 1, `sum by (le) (rate(<`+wait+`_bucket>[$w]))`, `sum by (le$,) (rate(<`+wait+`_bucket>[$w]))`),
			lines("", "Age of the oldest", "s", Latency, line{"oldest", `max(<queue_oldest_age_seconds>)`, "", 0}),
			taken,
			lines("taken", "Taken", "/s", Traffic, line{"taken", `sum $by(rate(<` + wait + `_count>[$w]))`, ColRate, 0}),
			lines("", "Put in", "/s", Traffic, line{"put in", `sum(rate(<queue_in_total>[$w]))`, "", 0}),
			lines("", "Dropped or not let in", "/s", Errors, line{"dropped", `sum(rate(<queue_dropped_total>[$w]))`, "", 0}),
			lines("", "Full", "ratio", Saturation, line{"queue", `max $by(<queue_saturation>)`, ColSaturation, 0}),
			lines("", "Depth", "", Saturation, line{"depth", `sum $by(<queue_depth>)`, ColDepth, 0}, line{"capacity", `sum(<queue_capacity>)`, "", 0}),
		}}
}

// databases go by the names of postgres_exporter, mysqld_exporter and
// redis_exporter.
func databases() []*recogniser {
	return []*recogniser{
		{kind: KindDatabase, source: "PostgreSQL", evidence: []string{"pg_up"}, identity: instanceID, panels: []panel{
			lines("latency", "Mean time of a statement", "s", Latency,
				line{"mean", `sum $by(rate(<pg_stat_statements_seconds_total>[$w])) / (sum $by(rate(<pg_stat_statements_calls_total>[$w])) > 0)`, "", 0}),
			lines("latency", "Longest transaction under way", "s", Latency, line{"longest", `max $by(<pg_stat_activity_max_tx_duration>)`, "", 0}),
			lines("", "Transactions", "/s", Traffic,
				line{"committed", `sum $by(rate(<pg_stat_database_xact_commit>[$w]))`, ColRate, 0},
				line{"rolled back", `sum(rate(<pg_stat_database_xact_rollback>[$w]))`, "", 0}),
			lines("", "Transactions rolled back", "ratio", Errors,
				line{"rolled back", `sum $by(rate(<pg_stat_database_xact_rollback>[$w])) / (sum $by(rate(<pg_stat_database_xact_commit>[$w])) + sum $by(rate(<pg_stat_database_xact_rollback>[$w])) > 0)`, "", 0}),
			lines("connections", "Connections, of their limit", "ratio", Saturation,
				line{"connections", `sum $by(<pg_stat_activity_count>) / (max $by(<pg_settings_max_connections>) > 0)`, ColSaturation, 0}),
			lines("connections", "Connections, of their limit", "ratio", Saturation,
				line{"connections", `sum $by(<pg_stat_database_numbackends>) / (max $by(<pg_settings_max_connections>) > 0)`, ColSaturation, 0}),
			lines("", "Connections by state", "", Detail, line{"{{state}}", `sum by (state) (<pg_stat_activity_count>)`, "", 0}),
			lines("", "Slowest statements by share of time", "s/s", Detail, line{"{{queryid}}", `topk(10, sum by (queryid) (rate(<pg_stat_statements_seconds_total>[$w])))`, "", 0}),
			lines("", "Statements that are slow or blocked now", "", Detail,
				line{"slow", `sum(<pg_slow_queries>)`, "", 0}, line{"blocked", `sum(<pg_blocked_queries>)`, "", 0}),
			lines("replica lag", "Replica lag", "s", Detail, line{"lag", `max(<pg_replication_lag_seconds>)`, "", 0}),
			lines("replica lag", "Replica lag", "s", Detail, line{"lag", `max(<pg_replication_lag>)`, "", 0}),
			lines("", "Replicas behind", "bytes", Detail, line{"{{application_name}}", `max by (application_name) (<pg_stat_replication_pg_wal_lsn_diff>)`, "", 0}),
			lines("", "Locks by mode", "", Detail, line{"{{mode}}", `sum by (mode) (<pg_locks_count>)`, "", 0}),
			lines("", "Deadlocks", "/s", Detail, line{"deadlocks", `sum(rate(<pg_stat_database_deadlocks>[$w]))`, "", 0}),
			lines("", "Blocks found in memory", "ratio", Detail,
				line{"found", `sum(rate(<pg_stat_database_blks_hit>[$w])) / (sum(rate(<pg_stat_database_blks_hit>[$w])) + sum(rate(<pg_stat_database_blks_read>[$w])) > 0)`, "", 0}),
			lines("", "Size", "bytes", Detail, line{"{{datname}}", `max by (datname) (<pg_database_size_bytes>)`, "", 0}),
			lines("", "Answers", "", Detail, line{"up", `min $by(<pg_up>)`, ColUp, 0}),
		}},
		{kind: KindDatabase, source: "MySQL", evidence: []string{"mysql_up"}, identity: instanceID, panels: []panel{
			lines("", "Mean time of a statement", "s", Latency,
				line{"mean", `sum(rate(<mysql_perf_schema_events_statements_seconds_total>[$w])) / (sum(rate(<mysql_perf_schema_events_statements_total>[$w])) > 0)`, "", 0}),
			lines("traffic", "Statements", "/s", Traffic, line{"statements", `sum $by(rate(<mysql_global_status_questions>[$w]))`, ColRate, 0}),
			lines("traffic", "Statements", "/s", Traffic, line{"statements", `sum $by(rate(<mysql_global_status_queries>[$w]))`, ColRate, 0}),
			lines("", "Connections that failed", "/s", Errors,
				line{"refused", `sum(rate(<mysql_global_status_aborted_connects>[$w]))`, "", 0},
				line{"broken off", `sum(rate(<mysql_global_status_aborted_clients>[$w]))`, "", 0},
				line{"{{error}}", `sum by (error) (rate(<mysql_global_status_connection_errors_total>[$w]))`, "", 0}),
			lines("", "Connections, of their limit", "ratio", Saturation,
				line{"connections", `max $by(<mysql_global_status_threads_connected>) / (max $by(<mysql_global_variables_max_connections>) > 0)`, ColSaturation, 0}),
			lines("", "Connections", "", Detail, line{"open", `max(<mysql_global_status_threads_connected>)`, "", 0}, line{"at work", `max(<mysql_global_status_threads_running>)`, "", 0}),
			lines("", "Statements that are slow now", "", Detail, line{"slow", `sum(<mysql_slow_queries_running>)`, "", 0}),
			lines("", "Slow statements", "/s", Detail, line{"slow", `sum(rate(<mysql_global_status_slow_queries>[$w]))`, "", 0}),
			lines("", "Slowest statements by share of time", "s/s", Detail,
				line{"{{digest}}", `topk(10, sum by (digest) (rate(<mysql_perf_schema_events_statements_seconds_total>[$w])))`, "", 0}),
			lines("replica lag", "Replica lag", "s", Detail, line{"lag", `max(<mysql_slave_status_seconds_behind_master>)`, "", 0}),
			lines("replica lag", "Replica lag", "s", Detail, line{"lag", `max(<mysql_slave_status_seconds_behind_source>)`, "", 0}),
			lines("", "Row locks", "/s", Detail, line{"waits", `sum(rate(<mysql_global_status_innodb_row_lock_waits>[$w]))`, "", 0}),
			lines("", "Answers", "", Detail, line{"up", `min $by(<mysql_up>)`, ColUp, 0}),
		}},
		{kind: KindDatabase, source: "Redis", evidence: []string{"redis_up"}, identity: instanceID, panels: []panel{
			lines("", "Mean time of a command", "s", Latency,
				line{"mean", `sum $by(rate(<redis_commands_duration_seconds_total>[$w])) / (sum $by(rate(<redis_commands_total>[$w])) > 0)`, "", 0}),
			lines("", "Commands", "/s", Traffic, line{"commands", `sum $by(rate(<redis_commands_processed_total>[$w]))`, ColRate, 0}),
			lines("", "Refused and failed", "/s", Errors,
				line{"connections refused", `sum(rate(<redis_rejected_connections_total>[$w]))`, "", 0},
				line{"commands failed", `sum(rate(<redis_commands_failed_calls_total>[$w]))`, "", 0},
				line{"{{err}}", `sum by (err) (rate(<redis_errors_total>[$w]))`, "", 0}),
			lines("", "In use, of the limit", "ratio", Saturation,
				line{"memory", `max $by(<redis_memory_used_bytes>) / (max $by(<redis_memory_max_bytes>) > 0)`, ColSaturation, 0},
				line{"clients", `max $by(<redis_connected_clients>) / (max $by(<redis_config_maxclients>) > 0)`, ColSaturation, 0}),
			lines("", "Clients", "", Detail, line{"connected", `max(<redis_connected_clients>)`, "", 0}, line{"blocked", `max(<redis_blocked_clients>)`, "", 0}),
			lines("", "Time of commands by share", "s/s", Detail, line{"{{cmd}}", `topk(10, sum by (cmd) (rate(<redis_commands_duration_seconds_total>[$w])))`, "", 0}),
			lines("", "Entries of the slow log", "", Detail, line{"entries", `max(<redis_slowlog_length>)`, "", 0}),
			lines("", "Replica lag", "s", Detail, line{"{{slave_ip}}", `max by (slave_ip) (<redis_connected_slave_lag_seconds>)`, "", 0}),
			lines("", "Memory", "bytes", Detail, line{"in use", `max(<redis_memory_used_bytes>)`, "", 0}),
			lines("", "Keys found", "ratio", Detail,
				line{"found", `sum(rate(<redis_keyspace_hits_total>[$w])) / (sum(rate(<redis_keyspace_hits_total>[$w])) + sum(rate(<redis_keyspace_misses_total>[$w])) > 0)`, "", 0}),
			lines("", "Keys evicted", "/s", Detail, line{"evicted", `sum(rate(<redis_evicted_keys_total>[$w]))`, "", 0}),
			lines("", "Keys", "", Detail, line{"{{db}}", `sum by (db) (<redis_db_keys>)`, "", 0}),
			lines("", "Answers", "", Detail, line{"up", `min $by(<redis_up>)`, ColUp, 0}),
		}},
	}
}
