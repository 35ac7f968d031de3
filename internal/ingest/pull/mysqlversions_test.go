package pull

import (
	"slices"
	"testing"
	"time"
)

// The columns of SHOW REPLICA STATUS of MySQL 8.0.22 and newer, and those of SHOW
// SLAVE STATUS, are told under the same names.
func TestReplicaColumns(t *testing.T) {
	newer := map[string]string{"source_host": "db1", "source_uuid": "u", "channel_name": "", "seconds_behind_source": "17", "replica_io_running": "Yes",
		"replica_sql_running": "No", "read_source_log_pos": "10", "exec_source_log_pos": "4", "last_sql_errno": "1062", "source_server_id": "1", "relay_log_space": "99"}
	older := map[string]string{"master_host": "db1", "master_uuid": "u", "channel_name": "", "seconds_behind_master": "17", "slave_io_running": "Yes",
		"slave_sql_running": "No", "read_master_log_pos": "10", "exec_master_log_pos": "4", "last_sql_errno": "1062", "master_server_id": "1", "relay_log_space": "99"}
	tell := func(row map[string]string) *batch {
		b := newBatch(Target{Kind: MySQL, DSN: "u@tcp(h)/"}.withDefaults(), time.Unix(1, 0))
		addReplica(b, row)
		return b
	}
	got, want := tell(newer), tell(older)
	if len(want.samples) != 8 {
		t.Fatalf("%d samples: %v", len(want.samples), want.samples)
	}
	for i, s := range got.samples {
		if w := want.samples[i]; s.Name != w.Name || s.Value != w.Value || !slices.Equal(s.Labels, w.Labels) {
			t.Errorf("%+v; want %+v", s, w)
		}
	}
	if s := got.samples[0]; s.Name != "mysql_slave_status_seconds_behind_master" || s.Value != 17 || labelOf(s.Labels, "master_host") != "db1" {
		t.Errorf("%+v", s)
	}
	// Broken replication has no lag: the server says NULL, which is no key.
	delete(newer, "seconds_behind_source")
	if s := tell(newer).samples[0]; s.Name == "mysql_slave_status_seconds_behind_master" {
		t.Errorf("%+v", s)
	}
}

func TestMySQLVersion(t *testing.T) {
	for in, want := range map[string]int{"8.0.36": 80036, "8.0.22-log": 80022, "5.7.44-0ubuntu0": 50744, "10.11.6-MariaDB-1": 101106, "8.4": 80400, "x": 0, "": 0, "8.0.x": 0} {
		if got := mysqlVersion(in); got != want {
			t.Errorf("%q: %d; want %d", in, got, want)
		}
	}
}

func TestExtensionVersion(t *testing.T) {
	for in, want := range map[string][2]int{"1.10": {1, 10}, "1.8": {1, 8}, "": {0, 0}, "2": {2, 0}} {
		if a, b := extensionVersion(in); a != want[0] || b != want[1] {
			t.Errorf("%q: %d, %d", in, a, b)
		}
	}
}
