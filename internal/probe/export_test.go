package probe

import (
	"context"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// SetAct replaces the run of a check, so that tests schedule without a network.
func (p *Prober) SetAct(act func(ctx context.Context, c Check) record.CheckResult) {
	p.act = func(pc *prepared, ctx context.Context, location string) record.CheckResult {
		res := act(ctx, pc.Check)
		res.Check, res.Location = pc.ID, location
		return res
	}
}

// Phase is a check's place in its interval.
var Phase = phase

// NextDue is the first instant of a phase.
var NextDue = nextDue

// ReadBody reads and decodes a body.
func ReadBody(text, encoding string, limit int64) (body []byte, n int64, tooLarge bool, err error) {
	got := readBody(strings.NewReader(text), encoding, limit)
	if err = got.err; err == nil {
		err = got.garbled
	}
	return got.body, got.bytes, got.tooLarge, err
}

// Clean removes secrets from a text.
func Clean(text string, hide ...string) string { return secrets(nil).with(hide...).clean(text) }

// Deadline is how long a run of a valid check may take.
func Deadline(c Check) time.Duration { return c.deadline() }
