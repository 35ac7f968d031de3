package probe

// Database holds the settings of checks of databases.
type Database struct {
	// Query is the one question asked; default the kind's own trivial one.
	Query string `yaml:"query,omitempty"`
}

// Not built.
var postgresqlKind, mysqlKind, kafkaKind kind
