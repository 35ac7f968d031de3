package pull

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Whatever a server says, what is handed on is what the store takes.
func FuzzRedisInfo(f *testing.F) {
	f.Add("# Server\r\nredis_version:7.0\r\nrole:slave\r\nmaster_host:h\r\ndb0:keys=1,expires=0,avg_ttl=5\r\nslave0:ip=1,port=2,state=online,offset=3,lag=0\r\n")
	f.Add("cmdstat_get:calls=1,usec=2,usec_per_call=2.00\r\nerrorstat_ERR:count=1\r\nused_memory:NaN\r\nmaxmemory:inf\r\nrdb_last_bgsave_status:ok\r\n")
	target := Target{Kind: Redis, DSN: "h", MaxSeries: 50, Labels: map[string]string{"db": "x"}}.withDefaults()
	f.Fuzz(func(t *testing.T, info string) {
		b := newBatch(target, time.Unix(1, 0))
		addRedisInfo(b, info)
		if len(b.samples) > 50 {
			t.Errorf("%d samples over a limit of 50", len(b.samples))
		}
		seen := map[string]bool{}
		for _, s := range b.samples {
			key := s.Name + "\xff" + strings.Join(s.Labels, "\xff")
			if seen[key] || !metricPart(s.Name) || s.Value-s.Value != 0 {
				t.Errorf("twice, or not well formed: %+v", s)
			}
			seen[key] = true
			for i, l := range s.Labels {
				if !utf8.ValidString(l) || i%2 == 0 && !labelName.MatchString(l) || utf8.RuneCountInString(l) > maxLabelRunes {
					t.Errorf("a label that is not well formed: %+v", s)
				}
			}
		}
	})
}

// No DSN makes a panic, and no refusal shows any of it.
func FuzzDSN(f *testing.F) {
	for _, dsn := range []string{"postgres://u:p@h:1/d", "host=h password=p", "mysql://u:p@h/", "u:p@tcp(h:1)/", "redis://u:p@h", "u:p@a,b:1", "[::1]:9", "://", "%"} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		for _, kind := range []string{Postgres, MySQL, Redis, Kafka} {
			tg := Target{Kind: kind, DSN: Secret(dsn)}
			if err := tg.Validate(); err != nil {
				if want := "pull: " + badDSN(kind).Error(); dsn != "" && err.Error() != want {
					t.Errorf("%q: %v", dsn, err)
				}
				continue
			}
			d := tg.withDefaults()
			if d.ID() == "" || d.instance() == "" || d.phase() < 0 || d.phase() >= d.Interval {
				t.Errorf("%s %q: %q, %v", kind, dsn, d.instance(), d.phase())
			}
		}
	})
}
