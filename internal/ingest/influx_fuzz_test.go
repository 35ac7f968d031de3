package ingest_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/vedette-sre/vedette/internal/ingest"
)

// FuzzInflux: nothing panics; a request is refused only with a reason; and what
// is stored, written as lines again, is stored as the same.
func FuzzInflux(f *testing.F) {
	f.Add("cpu,host=a,dc=x idle=1.5,user=2i,up=t,name=\"x\" 1700000000000")
	f.Add("# comment\r\n\r\n a v=1u \n\n")
	f.Add(`a\,b\ c,k\=\ =v\,\\ f\=\ =-1e-3,s="\"\\` + "\n" + `" -5`)
	f.Add("m s=\"x\nm v=1 1\n")
	f.Add("m v=NaN\nm v=99999999999999999999i\nm v=0x1\nm v=.5,w=5.,x=-.5e+7 9223372036854775808")
	f.Add("_ _=1,__=2 3\n___ _=4 5")
	f.Add("m,db=1,__name__=2 v=1")
	f.Add("m,a=\\ v=1\nm a\\=\"=1,b=\"\n\"x\nn v=1")
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > 1<<16 {
			return
		}
		d := newInflux(ingest.InfluxConfig{MaxLine: 1 << 10})
		first, w := d.take("precision=ms&db=d", body)
		switch w.Code {
		case http.StatusNoContent:
		case http.StatusBadRequest:
			if !strings.Contains(w.Body.String(), "line ") {
				t.Errorf("%q was refused without a line: %s", body, w.Body)
			}
		default:
			t.Errorf("%q: got code %d", body, w.Code)
		}
		var again strings.Builder
		for _, s := range d.kept.got {
			writeInfluxLine(&again, s)
		}
		// Rendered, a line may be longer: an order of labels and a time are added.
		second, w := newInflux(ingest.InfluxConfig{}).take("precision=ms&db=other", again.String())
		if w.Code != http.StatusNoContent {
			t.Errorf("%q, stored of %q, was refused: %s", again.String(), body, w.Body)
		}
		if !slices.Equal(first, second) {
			t.Errorf("%q was stored as\n%q; and that, written as\n%q, as\n%q", body, first, again.String(), second)
		}
	})
}

var influxEscapes = strings.NewReplacer(",", `\,`, " ", `\ `, "=", `\=`)

// writeInfluxLine writes a sample as a line. Any underscore in the name may be
// the one that joins a measurement and a field, unless a backslash before it
// would be the last letter of the measurement.
func writeInfluxLine(b *strings.Builder, s keptSample) {
	name := s.labels.Get(labels.MetricName)
	for i := 1; i < len(name)-1; i++ {
		if name[i] != '_' || name[i-1] == '\\' {
			continue
		}
		b.WriteString(strings.NewReplacer(",", `\,`, " ", `\ `).Replace(name[:i]))
		s.labels.Range(func(l labels.Label) {
			if l.Name != labels.MetricName {
				b.WriteString("," + influxEscapes.Replace(l.Name) + "=" + influxEscapes.Replace(l.Value))
			}
		})
		fmt.Fprintf(b, " %s=%s %d\n", influxEscapes.Replace(name[i+1:]), strconv.FormatFloat(s.v, 'g', -1, 64), s.t)
		return
	}
}

// TestInfluxFloats: every way to write a float gives the one nearest to it, as
// strconv does.
func TestInfluxFloats(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var texts []string
	for range 5000 {
		v := math.Float64frombits(rnd.Uint64())
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		texts = append(texts, strconv.FormatFloat(v, 'g', -1, 64), strconv.FormatFloat(v, 'e', rnd.IntN(25), 64))
		v = (rnd.Float64() - 0.5) * math.Pow10(rnd.IntN(20))
		texts = append(texts, strconv.FormatFloat(v, 'f', rnd.IntN(25), 64), strconv.FormatFloat(v, 'f', -1, 64))
		texts = append(texts, strconv.FormatUint(rnd.Uint64()>>rnd.IntN(64), 10)+"."+strconv.FormatUint(rnd.Uint64()>>rnd.IntN(64), 10))
	}
	d := newInflux(ingest.InfluxConfig{})
	var body strings.Builder
	for i, s := range texts {
		fmt.Fprintf(&body, "m v=%s %d\n", s, i)
	}
	if _, w := d.take("precision=ms", body.String()); w.Code != http.StatusNoContent {
		t.Fatal(w.Code, w.Body)
	}
	for _, s := range d.kept.got {
		want, err := strconv.ParseFloat(texts[s.t], 64)
		if err != nil || math.Float64bits(want) != math.Float64bits(s.v) {
			t.Errorf("%s: got %v, want %v (%v)", texts[s.t], s.v, want, err)
		}
	}
}
