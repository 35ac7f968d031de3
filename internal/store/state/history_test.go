package state_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

func TestHistory(t *testing.T) {
	ctx := context.Background()
	h, err := state.NewHistory(open(t, t.TempDir()))
	must(t, err)
	add := func(check string, minute int, from, to record.State) {
		t.Helper()
		c := record.Change{Check: check, At: noon.Add(time.Duration(minute) * time.Minute), From: from, To: to, Text: fmt.Sprint(check, " is ", to)}
		if to == record.StateDown {
			c.Stage, c.Reason, c.Locations = "tls", "tls_expired", []string{"eu", "hub"}
		}
		for range 2 { // a change told twice is one
			must(t, h.Add(ctx, c))
		}
	}
	add("a", 0, record.StateUnknown, record.StateUp)
	add("a", 10, record.StateUp, record.StateDown)
	add("b", 12, record.StateUp, record.StateDown)
	add("a", 20, record.StateDown, record.StateFlapping)
	add("a", 20, record.StateFlapping, record.StateDown) // at the same instant: the order stays
	add("a", 30, record.StateDown, record.StateUp)
	must(t, h.Acknowledge(ctx, "a", noon.Add(5*time.Minute), "ann")) // before it was down
	must(t, h.Acknowledge(ctx, "a", noon.Add(13*time.Minute), "ann"))
	must(t, h.Acknowledge(ctx, "a", noon.Add(14*time.Minute), "bob"))
	must(t, h.Acknowledge(ctx, "a", noon.Add(14*time.Minute), "bob"))

	at := func(m int) time.Time { return noon.Add(time.Duration(m) * time.Minute) }
	span := func(check string, from, to int) string {
		t.Helper()
		s, err := h.Between(ctx, check, at(from), at(to))
		must(t, err)
		// All of them at once tell the same.
		all, err := h.Spans(ctx, nil, at(from), at(to))
		must(t, err)
		if other, ok := all[check]; fmt.Sprint(other.Changes, other.State, other.Since, other.Acks) != fmt.Sprint(s.Changes, s.State, s.Since, s.Acks) && ok {
			t.Errorf("%s: one says %+v, all say %+v", check, s, other)
		}
		out := string(s.State)
		for _, c := range s.Changes {
			out += fmt.Sprintf(" %d:%s", int(c.At.Sub(noon)/time.Minute), c.To)
		}
		for _, a := range s.Acks {
			out += " " + a.Who
		}
		return out
	}
	f := func(check string, from, to int, want string) {
		t.Helper()
		if got := span(check, from, to); got != want {
			t.Errorf("%s from %d to %d: got %q, want %q", check, from, to, got, want)
		}
	}
	f("a", -5, 60, "unknown 0:up 10:down 20:flapping 20:down 30:up ann ann bob")
	f("a", 0, 10, "up ann")
	f("a", 10, 30, "down 20:flapping 20:down ann bob")
	f("a", 15, 60, "down 20:flapping 20:down 30:up ann bob")
	f("a", 20, 25, "down")
	f("a", 30, 31, "up")
	f("b", 0, 60, "up 12:down")
	f("none", 0, 60, "unknown")

	got, err := h.List(ctx, state.HistoryFilter{Check: "a", Before: at(30), Limit: 2})
	must(t, err)
	if len(got) != 2 || got[0].To != record.StateDown || got[1].To != record.StateFlapping || got[0].Stage != "tls" || len(got[0].Locations) != 2 {
		t.Errorf("got %+v", got)
	}
	if got, err := h.List(ctx, state.HistoryFilter{}); err != nil || len(got) != 6 || got[0].To != record.StateUp || got[5].From != record.StateUnknown {
		t.Errorf("got %+v, %v", got, err)
	}

	// What is pruned leaves the state that was.
	must(t, h.Prune(ctx, at(25).Add(state.KeepHistory)))
	f("a", 22, 60, "down 30:up")
	f("a", 0, 60, "down 20:flapping 20:down 30:up")
}

func TestObjects(t *testing.T) {
	ctx := context.Background()
	o, err := state.NewObjects(open(t, t.TempDir()))
	must(t, err)
	rev := func(want int64) {
		t.Helper()
		if n, err := o.Revision(ctx); err != nil || n != want {
			t.Errorf("got revision %d, %v, want %d", n, err, want)
		}
	}
	kind := func(err error, want record.Kind) {
		t.Helper()
		if err == nil || record.KindOf(err) != want {
			t.Errorf("got %v, want kind %d", err, want)
		}
	}
	rev(0)
	x := state.Object{Kind: state.KindCheck, ID: "shop", Body: "name: Shop", Updated: noon, Who: "ann"}
	n, err := o.Create(ctx, x)
	must(t, err)
	if n != 1 {
		t.Errorf("got revision %d, want 1", n)
	}
	_, err = o.Create(ctx, x)
	kind(err, record.Conflict)
	rev(1)
	_, err = o.Create(ctx, state.Object{Kind: state.KindMarker, ID: "shop", Updated: noon})
	must(t, err)
	got, err := o.Get(ctx, state.KindCheck, "shop")
	must(t, err)
	if x.Revision = 1; got != x {
		t.Errorf("got %+v, want %+v", got, x)
	}
	x.Body, x.Who = "name: Shop 2", "bob"
	n, err = o.Put(ctx, x)
	must(t, err)
	_, err = o.Put(ctx, x) // still from revision 1
	kind(err, record.Conflict)
	x.Revision = 0
	_, err = o.Put(ctx, x)
	must(t, err)
	rev(4)
	if n != 3 {
		t.Errorf("got revision %d, want 3", n)
	}
	if l, err := o.List(ctx, state.KindCheck); err != nil || len(l) != 1 || l[0].Who != "bob" {
		t.Errorf("got %+v, %v", l, err)
	}
	must(t, o.Delete(ctx, state.KindCheck, "shop"))
	kind(o.Delete(ctx, state.KindCheck, "shop"), record.NotFound)
	_, err = o.Get(ctx, state.KindCheck, "shop")
	kind(err, record.NotFound)
	rev(5)
	x.Revision = 4 // deleted in the meantime
	_, err = o.Put(ctx, x)
	kind(err, record.Conflict)
	_, err = o.Put(ctx, state.Object{Kind: state.KindCheck})
	kind(err, record.Invalid)
	_, err = o.Put(ctx, state.Object{Kind: state.KindCheck, ID: "big", Body: string(make([]byte, state.MaxObjectBytes+1))})
	kind(err, record.TooLarge)
	if l, err := o.List(ctx, "none"); err != nil || l == nil || len(l) != 0 {
		t.Errorf("got %+v, %v", l, err)
	}
}
