CREATE TABLE check_runs (
	id INTEGER PRIMARY KEY,
	check_id TEXT NOT NULL,
	location TEXT NOT NULL,
	started INTEGER NOT NULL, -- Unix nanoseconds
	ok INTEGER NOT NULL,
	result TEXT NOT NULL      -- JSON of record.CheckResult
);
CREATE INDEX check_runs_by_check ON check_runs (check_id, started);
CREATE INDEX check_runs_failed ON check_runs (check_id, started) WHERE ok = 0;
CREATE INDEX check_runs_by_age ON check_runs (ok, started);
