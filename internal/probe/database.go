package probe

// Database holds the settings of checks of databases and queues.
type Database struct{}

var postgresqlKind, mysqlKind, redisKind, kafkaKind kind
