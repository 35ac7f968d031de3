package fleet

import (
	"encoding/json"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// The two requests of an agent. Both carry "Authorization: Bearer <token of the
// location>"; the location is in the query. StreamPath is a GET whose answer
// never ends: one order a line. ResultsPath is a POST of a report, gzip allowed.
const (
	StreamPath  = "/api/v1/fleet/stream"
	ResultsPath = "/api/v1/fleet/results"
)

// Heartbeat is how often each side says something at least. An agent that says
// nothing for two of them is silent.
const Heartbeat = 5 * time.Second

// order is what the hub tells an agent: one JSON object a line.
type order struct {
	// Type is "hello", "checks", "run", "try" or "ping".
	Type string    `json:"type"`
	Now  time.Time `json:"now"`
	// Checks are all checks of the place, with "checks".
	Checks []Assignment `json:"checks,omitempty"`
	// Call names a run that is wanted now, with "run" and "try".
	Call   string      `json:"call,omitempty"`
	Check  string      `json:"check,omitempty"` // id, with "run"
	Object *Assignment `json:"object,omitempty"`
}

// Assignment is a check as a place gets it.
type Assignment struct {
	ID     string          `json:"id"`
	Object json.RawMessage `json:"object"` // the check's object
	// Files are the contents of the files that the object names, by path.
	Files map[string][]byte `json:"files,omitempty"`
}

// report is what an agent brings: results in the order of their numbers. An
// empty one is a sign of life.
type report struct {
	Spool   string    `json:"spool"`   // names the agent's spool; numbers count within it
	SentAt  time.Time `json:"sent_at"` // by the agent's clock
	Version string    `json:"version"`
	// Waiting is how many results are in the spool beside these, Dropped how
	// many it had no room for since it began.
	Waiting int        `json:"waiting"`
	Dropped int64      `json:"dropped"`
	Results []Delivery `json:"results,omitempty"`
}

// Delivery is one result with its number.
type Delivery struct {
	Seq        uint64             `json:"seq"`
	Call       string             `json:"call,omitempty"` // the call that it answers
	Result     record.CheckResult `json:"result"`
	Screenshot []byte             `json:"screenshot,omitempty"`
}

// receipt answers a report: everything up to Ack is durable at the hub.
type receipt struct {
	Ack uint64    `json:"ack"`
	Now time.Time `json:"now"`
}
