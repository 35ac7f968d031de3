// Package notify is the room that tells people. It hides Alertmanager's
// packages (routes, grouping, inhibition, silences, time intervals, templates,
// eighteen integrations, the v2 API) and what they lack: memory that survives
// kill -9.
//
// Three things are on disk before anybody is told that they are accepted. An
// alert is stored before Put returns or POST /api/v2/alerts answers; a silence
// before its POST or DELETE answers; and a notification that the pipeline
// decided is a row of the outbox before the pipeline may note that it was sent.
// Only the outbox's workers touch the network. They deliver at least once,
// with a key that stays the same over all attempts, and try for hours, across
// restarts.
//
// The pipeline is Alertmanager's own. Each integration in it is replaced by one
// that writes a row; the real integrations are called by the workers with the
// context rebuilt from the row.
package notify
