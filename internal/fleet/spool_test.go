package fleet

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

func result(check string, n int) Delivery {
	return Delivery{Result: record.CheckResult{Check: check, Start: time.Unix(int64(1000+n), 0).UTC(), Message: fmt.Sprint("run ", n)}}
}

func open(t *testing.T, dir string, maxBytes int64) *spool {
	t.Helper()
	s, err := openSpool(dir, maxBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s
}

func put(t *testing.T, s *spool, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := s.put(result("shop", n)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantBatch(t *testing.T, s *spool, n int, from, to int) {
	t.Helper()
	got, err := s.batch(n, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != to-from {
		t.Fatalf("a batch of %d, want %d", len(got), to-from)
	}
	for i, d := range got {
		if want := result("shop", from+i); d.Result.Message != want.Result.Message || !d.Result.Start.Equal(want.Result.Start) {
			t.Fatalf("result %d is %s, want %s", i, d.Result.Message, want.Result.Message)
		}
		if i > 0 && d.Seq <= got[i-1].Seq {
			t.Fatalf("number %d after %d", d.Seq, got[i-1].Seq)
		}
	}
}

func TestSpoolKeepsOrderOverRestarts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	id := s.id
	put(t, s, 0, 10)
	wantBatch(t, s, 4, 0, 4)
	if err := s.ack(4); err != nil {
		t.Fatal(err)
	}
	// A crash: nothing is closed.
	s = open(t, dir, 0)
	if s.id != id {
		t.Errorf("the spool is %s after a restart, want %s", s.id, id)
	}
	wantBatch(t, s, 100, 4, 10)
	put(t, s, 10, 12)
	wantBatch(t, s, 100, 4, 12)
	if got := s.waiting(); got != 8 {
		t.Errorf("%d wait, want 8", got)
	}
	if err := s.ack(12); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 0)
	wantBatch(t, s, 100, 0, 0)
	put(t, s, 12, 13)
	got, _ := s.batch(10, 1<<30)
	if len(got) != 1 || got[0].Seq != 13 {
		t.Errorf("after a restart the next number is %v, want 13", got)
	}
}

func TestSpoolCutsATornTail(t *testing.T) {
	for cut := 1; cut < 60; cut += 7 {
		dir := t.TempDir()
		s := open(t, dir, 0)
		put(t, s, 0, 5)
		s.close()
		files, _ := filepath.Glob(filepath.Join(dir, "*.spool"))
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(files[0], b[:len(b)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, 0)
		wantBatch(t, s, 100, 0, 4)
		put(t, s, 4, 6)
		wantBatch(t, s, 100, 0, 6)
	}
}

func TestSpoolDropsTheOldestAndCounts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 2*segmentBytes)
	s.maxBytes = 2 * segmentBytes
	big := result("shop", 0)
	big.Result.Reply = strings.Repeat("x", 1<<20)
	for n := range 16 {
		big.Result.Message = fmt.Sprint("run ", n)
		if err := s.put(big); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.batch(100, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if len(got)+int(s.lost()) != 16 || s.lost() == 0 || got[len(got)-1].Result.Message != "run 15" {
		t.Errorf("%d are there and %d counted as lost of 16; the last is %s", len(got), s.lost(), got[len(got)-1].Result.Message)
	}
	var size int64
	files, _ := filepath.Glob(filepath.Join(dir, "*.spool"))
	for _, f := range files {
		fi, _ := os.Stat(f)
		size += fi.Size()
	}
	if size > 3*segmentBytes+2<<20 {
		t.Errorf("the spool takes %d bytes", size)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 'x'})
	f.Add(bytes.Repeat([]byte{0xff}, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := readFrame(bytes.NewReader(b)); err == nil && len(p) > len(b) {
			t.Error("more than there was")
		}
	})
}
