package pull

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vedette-sre/vedette/internal/record"
)

const (
	// maxLabelRunes is where a label's value is cut. Kafka's names have at most 249.
	maxLabelRunes = 256
	// maxQueryRunes is where the text of a statement is cut.
	maxQueryRunes = 200
	// maxFaultRunes is where what a server said is cut.
	maxFaultRunes = 400
)

// batch is what one round brings in. Everything that a server says passes through
// add, which lets nothing through that the store would refuse.
type batch struct {
	at      time.Time
	base    []string        // label pairs of the target
	own     map[string]bool // their names
	max     int             // samples
	samples []record.Sample
	seen    map[string]struct{}
	dropped map[string]int   // samples that were left out, by reason
	parts   []string         // in the order they were asked
	faults  map[string]error // those that could not be told
}

func newBatch(t Target, at time.Time) *batch {
	b := &batch{at: at, base: t.labelPairs(), own: map[string]bool{}, max: t.MaxSeries,
		seen: map[string]struct{}{}, dropped: map[string]int{}, faults: map[string]error{}}
	for i := 0; i < len(b.base); i += 2 {
		b.own[b.base[i]] = true
	}
	return b
}

// add takes one sample with its labels, name and value in turn. As in a scrape, a
// label that the target has too becomes exported_….
func (b *batch) add(name string, v float64, labels ...string) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		b.dropped["not_finite"]++
		return
	}
	ls := b.base[:len(b.base):len(b.base)]
	for i := 0; i+1 < len(labels); i += 2 {
		l := labels[i]
		if b.own[l] {
			l = "exported_" + l
		}
		ls = append(ls, l, cut(strings.ToValidUTF8(labels[i+1], "\uFFFD"), maxLabelRunes))
	}
	key := name + "\xff" + strings.Join(ls[len(b.base):], "\xff")
	if _, twice := b.seen[key]; twice {
		b.dropped["duplicate"]++
		return
	}
	if len(b.samples) >= b.max {
		b.dropped["max_series"]++
		return
	}
	b.seen[key] = struct{}{}
	b.samples = append(b.samples, record.Sample{Name: name, Labels: ls, Value: v, At: b.at})
}

// part asks for one part of a round. A part that fails, for want of a right or of
// time, is told as such and does not spoil the others.
func (b *batch) part(ctx context.Context, name string, ask func() error) {
	if !slices.Contains(b.parts, name) { // a part may take two statements
		b.parts = append(b.parts, name)
	}
	err := ctx.Err()
	if err == nil {
		err = ask()
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // whatever the client made of it
	}
	if err != nil {
		b.faults[name] = err
	}
}

// cut shortens s to n runes.
func cut(s string, n int) string {
	if len(s) <= n || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
