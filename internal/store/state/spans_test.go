package state_test

import (
	"context"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// Every check with a history, found without being named.
func TestSpansOfAllChecks(t *testing.T) {
	db, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h, err := state.NewHistory(db)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	t0 := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i, id := range []string{"b", "a", "c", "a"} {
		if err := h.Add(ctx, record.Change{Check: id, At: t0.Add(time.Duration(i) * time.Minute), From: record.StateUnknown, To: record.StateDown}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := h.Spans(ctx, nil, t0.Add(time.Hour), t0.Add(2*time.Hour))
	if err != nil || len(got) != 3 || got["a"].Last == nil || !got["a"].Since.Equal(t0.Add(3*time.Minute)) {
		t.Errorf("got %+v, %v, want a, b and c", got, err)
	}
}
