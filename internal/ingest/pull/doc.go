// Package pull asks databases and queues for their metrics through their own
// clients: PostgreSQL, MySQL and MariaDB, Redis, Kafka. It hides the clients, the
// statements, the differences between versions, and when a connection is made
// anew. Names and labels are those of the exporters that the field knows, so that
// dashboards made for them work; docs/databases.md has the table.
//
// A kind is a file. It fills a batch with what its server says; everything else
// (interval, timeout, limits, up, faults, log) is here once for all kinds.
package pull
