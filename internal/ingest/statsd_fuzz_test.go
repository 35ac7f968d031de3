package ingest_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
)

// FuzzStatsD checks that no packet breaks the parser, that what it makes of one
// is what it makes of its lines, and that limits hold.
func FuzzStatsD(f *testing.F) {
	for _, seed := range []string{
		"a:1|c", "a:1:2|c|@0.1|#x:1,y", "a,x=1:1|g", "g:-1|g|T1656581400", "h:1e300:-1|h|@0.3", "s:m:n|s", "_sc|a|1|h:b|#x:1|m:c|d",
		"_e{1,1}:a|b", "a:1|c\nb:2|ms\n", ":|", "a:|c|", "|:|", "a:.|c", "a:1|c|#:,", ",:1|c",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		run := func(split bool) ([]string, []ingest.ProtocolCount) {
			store := &samples{}
			counts := ingest.NewCounts(instrument.New(instrument.Config{}))
			s := ingest.NewStatsD(ingest.NewSink(store, ingest.SinkConfig{MaxFuture: 1e18}, counts), ingest.StatsDConfig{MaxSeries: 5}, counts, quietLog())
			if split {
				for line := range bytes.SplitSeq(p, []byte("\n")) {
					s.ServePacket(t.Context(), line)
				}
			} else {
				s.ServePacket(t.Context(), p)
			}
			if s.Held() > 5 {
				t.Errorf("%d series are held, want 5 at most", s.Held())
			}
			if err := s.Flush(t.Context(), time.UnixMilli(10_000)); err != nil {
				t.Fatal(err)
			}
			return store.sorted(), counts.Snapshot()
		}
		one, countsOne := run(false)
		two, countsTwo := run(true)
		if got, want := join(one), join(two); got != want && len(p) <= 64<<10 {
			t.Errorf("as one packet\n%s\nline by line\n%s", got, want)
		}
		for _, c := range append(countsOne, countsTwo...) {
			for _, r := range c.Rejected {
				if r.Reason == "invalid_labels" || r.Reason == "invalid_histogram" || r.Reason == "duplicate" && !bytes.Contains(p, []byte("|T")) {
					t.Errorf("the sink had to refuse %d: %s", r.Count, r.Reason)
				}
			}
		}
	})
}
