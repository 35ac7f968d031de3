// Package fleet is the other places from which Vedette looks: agents that dial
// the hub, get their checks, and bring results home in order, those that were
// made while the hub could not be reached included. It knows nothing of how a
// check is made: checks are opaque texts to it, results record.CheckResult.
package fleet
