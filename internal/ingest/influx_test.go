package ingest_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

// influxDoor is the line protocol in front of a store that keeps what it is told.
type influxDoor struct {
	*ingest.Influx
	kept   *keptSamples
	counts *ingest.Counts
}

// keptSamples is a store for tests of decoders.
type keptSamples struct {
	discard bool // keep nothing
	fail    error
	got     []keptSample
}

type keptSample struct {
	labels labels.Labels
	t      int64
	v      float64
}

func (s keptSample) String() string {
	return fmt.Sprintf("%s %d %s", s.labels, s.t, strconv.FormatFloat(s.v, 'g', -1, 64))
}

type keptAppender struct {
	storage.Appender // what is not needed panics
	to               *keptSamples
	got              []keptSample
}

func (k *keptSamples) Appender(context.Context) storage.Appender { return &keptAppender{to: k} }

func (a *keptAppender) Append(ref storage.SeriesRef, ls labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	if !a.to.discard {
		a.got = append(a.got, keptSample{ls, t, v})
	}
	return max(ref, 1), nil
}

func (a *keptAppender) Commit() error {
	if a.to.fail != nil {
		return a.to.fail
	}
	a.to.got = append(a.to.got, a.got...)
	return nil
}

func (a *keptAppender) Rollback() error { return nil }

func newInflux(cfg ingest.InfluxConfig) *influxDoor {
	kept, counts := &keptSamples{}, ingest.NewCounts(instrument.New(instrument.Config{}))
	sink := ingest.NewSink(kept, ingest.SinkConfig{MaxFuture: 1e6 * time.Hour}, counts)
	return &influxDoor{ingest.NewInflux(sink, cfg, quietLog()), kept, counts}
}

func influxRequest(h http.HandlerFunc, method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w
}

// take returns what is stored of a body, sorted, and the answer.
func (d *influxDoor) take(query, body string) (stored []string, w *httptest.ResponseRecorder) {
	d.kept.got = nil
	w = influxRequest(d.Write, http.MethodPost, "/write?"+query, body)
	for _, s := range d.kept.got {
		stored = append(stored, s.String())
	}
	slices.Sort(stored)
	return stored, w
}

func TestInfluxLines(t *testing.T) {
	f := func(body string, want ...string) {
		t.Helper()
		got, w := newInflux(ingest.InfluxConfig{}).take("precision=ms", body)
		if w.Code != http.StatusNoContent {
			t.Errorf("%q: got %d %s", body, w.Code, w.Body)
		}
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("%q:\n got %s\nwant %s", body, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
	f(``)
	f("cpu v=1 5", `{__name__="cpu_v"} 5 1`)
	f("cpu value=1 5", `{__name__="cpu_value"} 5 1`)
	f("cpu,host=a,dc=x v=1,w=2.5 5\nmem free=3 6\n", `{__name__="cpu_v", dc="x", host="a"} 5 1`, `{__name__="cpu_w", dc="x", host="a"} 5 2.5`, `{__name__="mem_free"} 6 3`)
	f("cpu a=1,bb=2,c=3,dddd=4,e=5 1", `{__name__="cpu_a"} 1 1`, `{__name__="cpu_bb"} 1 2`, `{__name__="cpu_c"} 1 3`, `{__name__="cpu_dddd"} 1 4`, `{__name__="cpu_e"} 1 5`)
	f("disk.used-bytes v=1 5", `{__name__="disk.used-bytes_v"} 5 1`)

	// Blank lines, comments, ends of lines, spaces.
	f("# a comment, x=1 2\n\n  \r\n#\n  # another\ncpu v=1 5\r\ncpu w=2 5\r\n", `{__name__="cpu_v"} 5 1`, `{__name__="cpu_w"} 5 2`)
	f("cpu v=1 5  \n \tcpu   w=2   6", `{__name__="cpu_v"} 5 1`, `{__name__="cpu_w"} 6 2`)
	f("cpu v=1 5\r", `{__name__="cpu_v"} 5 1`)
	f("#cpu v=1 5")

	// Kinds of values.
	f("m a=1i,b=-9223372036854775808i,c=9223372036854775807i,d=18446744073709551615u,e=0i,f=+7i 1",
		`{__name__="m_a"} 1 1`, `{__name__="m_b"} 1 -9.223372036854776e+18`, `{__name__="m_c"} 1 9.223372036854776e+18`, `{__name__="m_d"} 1 1.8446744073709552e+19`, `{__name__="m_e"} 1 0`, `{__name__="m_f"} 1 7`)
	f("m a=t,b=T,c=true,d=True,e=TRUE,f=f,g=F,h=false,i=False,j=FALSE 1",
		`{__name__="m_a"} 1 1`, `{__name__="m_b"} 1 1`, `{__name__="m_c"} 1 1`, `{__name__="m_d"} 1 1`, `{__name__="m_e"} 1 1`,
		`{__name__="m_f"} 1 0`, `{__name__="m_g"} 1 0`, `{__name__="m_h"} 1 0`, `{__name__="m_i"} 1 0`, `{__name__="m_j"} 1 0`)
	f("m a=1e3,b=1.5E-3,c=.5,d=5.,e=-1.,f=+2,g=1e+2 1",
		`{__name__="m_a"} 1 1000`, `{__name__="m_b"} 1 0.0015`, `{__name__="m_c"} 1 0.5`, `{__name__="m_d"} 1 5`, `{__name__="m_e"} 1 -1`, `{__name__="m_f"} 1 2`, `{__name__="m_g"} 1 100`)
	f("m a=18446744073709551616,b=18446744073709551615.5,c=0.1,d=3.141592653589793,e=99.74949899799599,f=9007199254740993,g=0.30000000000000004,h=0.00000000000000000000000001,i=123456789012345.678 1",
		`{__name__="m_a"} 1 1.8446744073709552e+19`, `{__name__="m_b"} 1 1.8446744073709552e+19`, `{__name__="m_c"} 1 0.1`, `{__name__="m_d"} 1 3.141592653589793`, `{__name__="m_e"} 1 99.74949899799599`,
		`{__name__="m_f"} 1 9.007199254740992e+15`, `{__name__="m_g"} 1 0.30000000000000004`, `{__name__="m_h"} 1 1e-26`, `{__name__="m_i"} 1 1.2345678901234567e+14`)
	f("m a=00000000000000000000000000001i,b=-0 1", `{__name__="m_a"} 1 1`, `{__name__="m_b"} 1 -0`)

	// Text is left out, whatever it holds.
	f(`m s="text",v=1 5`, `{__name__="m_v"} 5 1`)
	f(`m v=1,s="a, b=c \"quoted\" and \\" 5`, `{__name__="m_v"} 5 1`)
	f("m s=\"two\nlines v=1 2\n\",v=1 5\nn v=2 5", `{__name__="m_v"} 5 1`, `{__name__="n_v"} 5 2`)
	f(`m s="" 5`)
	f(`m s="C:\dir\\",v=1 5`, `{__name__="m_v"} 5 1`)

	// Escapes: comma and space in a measurement; these and equals elsewhere; any
	// other backslash is itself.
	f(`a\,b\ c v=1 5`, `{__name__="a,b c_v"} 5 1`)
	f(`a\=b v=1 5`, `{__name__="a\\=b_v"} 5 1`)
	f(`a=b v=1 5`, `{__name__="a=b_v"} 5 1`)
	f(`m,k\,\ \==v\,\ \= f\,\ \==1 5`, `{__name__="m_f, =", "k, ="="v, ="} 5 1`)
	f(`m,path=C:\dir,unc=\\srv\x v=1 5`, `{__name__="m_v", path="C:\\dir", unc="\\\\srv\\x"} 5 1`)
	f(`m,k=a\\,b v=1 5`, `{__name__="m_v", k="a\\,b"} 5 1`)
	f(`m,k=a\\ b v=1 5`, `{__name__="m_v", k="a\\ b"} 5 1`)
	f("m,k=a\\\tb v=1 5", "{__name__=\"m_v\", k=\"a\\\\\\tb\"} 5 1")
	f(`m,k="quoted" "f"=1 5`, `{__name__="m_\"f\"", k="\"quoted\""} 5 1`)
	f("wetter,ort=Köln größe=1 5", `{__name__="wetter_größe", ort="Köln"} 5 1`)

	// Times before 1970.
	f("m v=1 -5", `{__name__="m_v"} -5 1`)
	f("m v=1 -9223372036854775808", `{__name__="m_v"} -9223372036854775808 1`)
}

func TestInfluxRefusals(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		got, w := newInflux(ingest.InfluxConfig{}).take("precision=ms", body)
		if len(got) > 0 || w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q: got %d %s, stored %s; want 400 and %q", body, w.Code, w.Body, got, want)
		}
	}
	f("cpu", "the fields are missing")
	f("cpu,host=a", "the fields are missing")
	f("cpu,host=a ", "the fields are missing")
	f(",host=a v=1", "the measurement is missing")
	f("cpu, v=1", "a tag key is missing")
	f("cpu,host=a, v=1", "a tag key is missing")
	f("cpu,=a v=1", "a tag key is missing")
	f("cpu,host v=1", `a tag has no \"=\"`)
	f("cpu,host,dc=a v=1", `a tag has no \"=\"`)
	f("cpu,host", `a tag has no \"=\"`)
	f("cpu,host= v=1", "a tag has no value")
	f("cpu,host=,dc=a v=1", "a tag has no value")
	f("cpu,host=a=b v=1", `a tag value holds \"=\"`)
	f("cpu,__name__=x v=1", "the tag __name__ is taken")
	f("cpu,host=a,host=b v=1", `has the label \"host\" twice`)
	f("cpu,host=a\xff v=1", "not UTF-8")
	f("cpu v", `a field has no \"=\"`)
	f("cpu v 5", `a field has no \"=\"`)
	f("cpu v=1,w 5", `a field has no \"=\"`)
	f("cpu =1 5", "a field key is missing")
	f("cpu v=1, 5", "a field key is missing")
	f("cpu v=1,,w=2 5", "a field key is missing")
	f("cpu v= 5", "a field has no value")
	f("cpu v=", "a field has no value")
	f("cpu v=,w=1", "a field has no value")
	f("cpu v=\n", "a field has no value")
	f("cpu v=NaN 5", "NaN and infinity")
	f("cpu v=nan", "NaN and infinity")
	f("cpu v=-Inf 5", "NaN and infinity")
	f("cpu v=+infinity 5", "NaN and infinity")
	f("cpu v=1e999 5", "beyond the range")
	f("cpu v=9223372036854775808i", "beyond the range")
	f("cpu v=-9223372036854775809i", "beyond the range")
	f("cpu v=99999999999999999999999i", "beyond the range")
	f("cpu v=18446744073709551616u", "beyond the range")
	f("cpu v=184467440737095516160000000000000000000i", "beyond the range")
	f("cpu v=-1u", "has a sign")
	f("cpu v=1.5i", "not written as")
	f("cpu v=- 5", "not written as")
	f("cpu v=. 5", "neither a number")
	f("cpu v=1e 5", "not written as")
	f("cpu v=1e1x 5", "not written as")
	f("cpu v=1_0 5", "followed by something else")
	f("cpu v=0x10 5", "followed by something else")
	f("cpu v=1.2.3 5", "followed by something else")
	f("cpu v=1ii 5", "followed by something else")
	f("cpu v=truth 5", "neither a number")
	f("cpu v=abc 5", "neither a number")
	f(`cpu v="abc 5`, "a string does not end")
	f(`cpu v="abc\" 5`, "a string does not end")
	f(`cpu v="abc"x 5`, "followed by something else")
	f("cpu v=1 5x", "followed by something else")
	f("cpu v=1 5 6", "followed by something else")
	f("cpu v=1 x", "the timestamp is not an integer")
	f("cpu v=1 1.5", "the timestamp is followed")
	f("cpu v=1 -", "the timestamp is not an integer")
	f("cpu v=1 9223372036854775808", "the timestamp is out of range")
	f("cpu v=1 -9223372036854775809", "the timestamp is out of range")
	f("cpu v=1 99999999999999999999", "the timestamp is out of range")
}

// TestInfluxRightLinesAreKept names the lines that are not, and keeps the others.
func TestInfluxRightLinesAreKept(t *testing.T) {
	f := func(body string, stored []string, want string) {
		t.Helper()
		d := newInflux(ingest.InfluxConfig{})
		got, w := d.take("precision=ms", body)
		for i := range got {
			got[i], _, _ = strings.Cut(got[i], "_v\"}")
			got[i] = strings.TrimPrefix(got[i], `{__name__="`)
		}
		if !slices.Equal(got, stored) {
			t.Errorf("%q: got %q, want %q", body, got, stored)
		}
		if g := strings.TrimSpace(w.Body.String()); w.Code != http.StatusBadRequest || g != want {
			t.Errorf("%q: got %d\n%s\nwant\n%s", body, w.Code, g, want)
		}
	}
	f("a v=1 1\nb v 1\nc v=1 1\n", []string{"a", "c"},
		`{"error":"partial write: unable to parse 'b v 1': line 2: a field has no \"=\" dropped=1"}`)
	f("b v 1", nil, `{"error":"unable to parse 'b v 1': line 1: a field has no \"=\""}`)
	f("#\n\n\r\nb v=x\r\n \nb v=NaN 7\na v=1 1", []string{"a"},
		`{"error":"partial write: unable to parse 'b v=x': line 4: a field value is neither a number, a boolean nor a quoted string\nunable to parse 'b v=NaN 7': line 6: NaN and infinity are no values of the protocol; leave the field out dropped=2"}`)
	// A line is refused as a whole.
	f("a v=1,w=2,x=? 1\nc v=1 1", []string{"c"},
		`{"error":"partial write: unable to parse 'a v=1,w=2,x=? 1': line 1: a field value is neither a number, a boolean nor a quoted string dropped=1"}`)
	// Lines are counted through strings, and what stands in one is no line.
	f("a s=\"x\ny\",v=1 1\nb v=1 x\nc v=1 1", []string{"a", "c"},
		`{"error":"partial write: unable to parse 'b v=1 x': line 3: the timestamp is not an integer dropped=1"}`)
	f("a x=?,s=\"\nevil v=1 1\n\"\nb v=1 x\nc v=1 1", []string{"c"},
		`{"error":"partial write: unable to parse 'a x=?,s=\"`+`\nevil v=1 1\n\"': line 1: a field value is neither a number, a boolean nor a quoted string\nunable to parse 'b v=1 x': line 4: the timestamp is not an integer dropped=2"}`)
	// A string that does not end takes its own line with it only.
	f("a s=\"x\nc v=1 1", []string{"c"},
		`{"error":"partial write: unable to parse 'a s=\"x': line 1: a string does not end; close it with a double quote dropped=1"}`)
	f("a,host=\"x v 1\nc v=1 1", []string{"c"},
		`{"error":"partial write: unable to parse 'a,host=\"x v 1': line 1: a field has no \"=\" dropped=1"}`)

	// Refused by the sink, not by the parser.
	f("a v=1 1\na v=2 1", []string{"a"},
		`{"error":"partial write: line 2: series {__name__=\"a_v\"}: two values for 1970-01-01T00:00:00.001Z dropped=1"}`)
	f("a v=1 5000000000000000", nil,
		`{"error":"partial write: line 1: series {__name__=\"a_v\"}: sample at 160413-09-10T08:53:20Z is more than 1000000h0m0s ahead of this clock dropped=1"}`)

	d := newInflux(ingest.InfluxConfig{})
	_, w := d.take("", strings.Repeat("bad line\n", 12)+"a v=1")
	if !strings.HasSuffix(w.Body.String(), "line 10: a field has no \\\"=\\\"\\n... and 2 more dropped=12\"}\n") {
		t.Errorf("got %s, want ten refusals and the number of the others", w.Body)
	}
	if got := w.Header().Get("X-Influxdb-Error"); !strings.HasPrefix(got, "partial write: unable to parse 'bad line'") || strings.Contains(got, "\n") {
		t.Errorf("got X-Influxdb-Error %q, want the message in a line", got)
	}
	for _, p := range d.counts.Snapshot() {
		if p.Samples != 1 || len(p.Rejected) != 1 || p.Rejected[0].Count != 12 {
			t.Errorf("counted %+v, want 1 stored and 12 undecodable", p)
		}
	}
}

func TestInfluxPrecision(t *testing.T) {
	f := func(precision, stamp string, want int64) {
		t.Helper()
		got, w := newInflux(ingest.InfluxConfig{}).take("precision="+url.QueryEscape(precision), "m v=1 "+stamp)
		if want := []string{fmt.Sprintf(`{__name__="m_v"} %d 1`, want)}; w.Code != http.StatusNoContent || !slices.Equal(got, want) {
			t.Errorf("%s %s: got %d %s, want %s", precision, stamp, w.Code, got, want)
		}
	}
	f("", "1700000000123456789", 1700000000123)
	f("n", "1999999", 1)
	f("ns", "-1", -1)
	f("ns", "-1000000", -1)
	f("ns", "-1000001", -2)
	f("ns", "-9223372036854775808", -9223372036855)
	f("u", "1999", 1)
	f("us", "-1", -1)
	f("µ", "2000", 2)
	f("μ", "2000", 2)
	f("ms", "3", 3)
	f("s", "3", 3000)
	f("m", "3", 180000)
	f("h", "-3", -10800000)
	f("s", "-9223372036854775", -9223372036854775000)

	for _, q := range []string{"precision=s", "precision=m", "precision=h"} {
		if got, w := newInflux(ingest.InfluxConfig{}).take(q, "m v=1 9223372036854776"); len(got) > 0 || w.Code != http.StatusBadRequest {
			t.Errorf("%s: got %d %s, want the time refused", q, w.Code, got)
		}
	}
	if _, w := newInflux(ingest.InfluxConfig{}).take("precision=d", "m v=1 1"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `invalid precision \"d\"; want n, u, ms, s, m or h`) {
		t.Errorf("got %d %s, want the precision refused", w.Code, w.Body)
	}
}

// TestInfluxNoTime gives the lines without a time that of the request, to all the
// same.
func TestInfluxNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UnixMilli()
		got, _ := newInflux(ingest.InfluxConfig{}).take("", "a v=1\nb v=2,w=3  \nc v=4 0")
		want := []string{fmt.Sprintf(`{__name__="a_v"} %d 1`, now), fmt.Sprintf(`{__name__="b_v"} %d 2`, now), fmt.Sprintf(`{__name__="b_w"} %d 3`, now), `{__name__="c_v"} 0 4`}
		if !slices.Equal(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestInfluxDatabase(t *testing.T) {
	f := func(h func(*influxDoor) http.HandlerFunc, target, body, want string) {
		t.Helper()
		d := newInflux(ingest.InfluxConfig{})
		w := influxRequest(h(d), http.MethodPost, target, body)
		if w.Code != http.StatusNoContent || len(d.kept.got) != 1 || d.kept.got[0].String() != want {
			t.Errorf("%s %s: got %d %s %s, want %s", target, body, w.Code, w.Body, d.kept.got, want)
		}
	}
	v1 := func(d *influxDoor) http.HandlerFunc { return d.Write }
	v2 := func(d *influxDoor) http.HandlerFunc { return d.WriteV2 }
	f(v1, "/write?db=telegraf&rp=autogen&consistency=one", "m v=1 0", `{__name__="m_v", db="telegraf"} 0 1`)
	f(v1, "/write?db=telegraf", "m,a=1,z=2 v=1 0", `{__name__="m_v", a="1", db="telegraf", z="2"} 0 1`)
	f(v1, "/write?db=telegraf", "m,z=2,db=mine v=1 0", `{__name__="m_v", db="mine", z="2"} 0 1`)
	f(v1, "/write?db=telegraf", "m,db=mine v=1 0", `{__name__="m_v", db="mine"} 0 1`)
	f(v1, "/write?db=", "m v=1 0", `{__name__="m_v"} 0 1`)
	f(v2, "/api/v2/write?org=o&bucket=b&precision=s", "m v=1 2", `{__name__="m_v", db="b"} 2000 1`)
	f(v2, "/api/v2/write", "m v=1 2000000", `{__name__="m_v"} 2 1`)
}

func TestInfluxEncodings(t *testing.T) {
	const body = "m v=1 1000000\n"
	pack := func(w io.WriteCloser, to *bytes.Buffer) string {
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return to.String()
	}
	var g, z, s bytes.Buffer
	zw, err := zstd.NewWriter(&s)
	if err != nil {
		t.Fatal(err)
	}
	gz := pack(gzip.NewWriter(&g), &g)
	d := newInflux(ingest.InfluxConfig{MaxBytes: int64(len(body))})
	f := func(encoding, body string, code int, want string) {
		t.Helper()
		for range 2 { // the second with a reader used before
			d.kept.got = nil
			r := httptest.NewRequest(http.MethodPost, "/write", strings.NewReader(body))
			r.Header.Set("Content-Encoding", encoding)
			w := httptest.NewRecorder()
			d.Write(w, r)
			if w.Code != code || !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: got %d %s, want %d %s", encoding, w.Code, w.Body, code, want)
			}
			if n := len(d.kept.got); (n == 1) != (code == http.StatusNoContent) {
				t.Errorf("%s: stored %d", encoding, n)
			}
		}
	}
	f("", body, http.StatusNoContent, "")
	f("identity", body, http.StatusNoContent, "")
	f("gzip", gz, http.StatusNoContent, "")
	f("deflate", pack(zlib.NewWriter(&z), &z), http.StatusNoContent, "")
	f("zstd", pack(zw, &s), http.StatusNoContent, "")
	f("br", body, http.StatusUnsupportedMediaType, `the encoding \"br\" is not taken`)
	f("gzip", body, http.StatusBadRequest, "decompress gzip")
	f("gzip", gz[:len(gz)-4], http.StatusBadRequest, "decompress gzip")
	f("deflate", gz, http.StatusBadRequest, "decompress deflate")
	f("zstd", gz, http.StatusBadRequest, "decompress zstd")
	f("", body+"\n", http.StatusRequestEntityTooLarge, "more than 14 bytes")
	f("gzip", gz+gz, http.StatusRequestEntityTooLarge, "more than 14 bytes")

	// The web server's own limit.
	r := httptest.NewRequest(http.MethodPost, "/api/v2/write", nil)
	w := httptest.NewRecorder()
	r.Body = http.MaxBytesReader(w, io.NopCloser(strings.NewReader(body)), 5)
	d.WriteV2(w, r)
	if w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), `"code":"request too large"`) {
		t.Errorf("got %d %s, want 413", w.Code, w.Body)
	}
}

func TestInfluxLimits(t *testing.T) {
	d := newInflux(ingest.InfluxConfig{})
	long := "a v=1 1\nm,host=" + strings.Repeat("x", 1<<20) + " v=1 1\nb v=1 1\nm s=\"" + strings.Repeat("\n", 1<<20) + "\" 1\nc v=1 1"
	got, w := d.take("", long)
	if len(got) != 3 || w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "line 2: the line has more than 1048576 bytes") || !strings.Contains(w.Body.String(), "line 4: the line has more than") || !strings.HasSuffix(w.Body.String(), "dropped=2\"}\n") {
		t.Errorf("got %d lines, %d %.300s, want the lines 2 and 4 refused", len(got), w.Code, w.Body)
	}
	if w.Body.Len() > 1000 {
		t.Errorf("the answer has %d bytes; it must not repeat a long line", w.Body.Len())
	}

	for line, stored := range map[string]bool{"m v=1 1": true, "m v=1 12": false} {
		d := newInflux(ingest.InfluxConfig{MaxLine: len("m v=1 1")})
		got, _ := d.take("precision=ms", line+"\na b=1 1")
		if want := map[bool]int{true: 2, false: 1}[stored]; len(got) != want {
			t.Errorf("%q: stored %s, want %d lines", line, got, want)
		}
	}

	// A line of ten thousand fields.
	var b strings.Builder
	b.WriteString("m,host=a ")
	for i := range 10_000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "f%d=%di", i, i)
	}
	got, w = d.take("precision=ms", b.String()+" 7")
	if w.Code != http.StatusNoContent || len(got) != 10_000 || !slices.Contains(got, `{__name__="m_f9999", host="a"} 7 9999`) {
		t.Errorf("got %d %s and %d samples, want 10000", w.Code, w.Body, len(got))
	}

	// A field whose series would be too large does not touch the others.
	d = newInflux(ingest.InfluxConfig{MaxLine: 4 << 20})
	got, w = d.take("precision=ms", "m,host=a x=1,"+strings.Repeat("y", 1<<20)+"=2,z=3 7")
	if want := []string{`{__name__="m_x", host="a"} 7 1`, `{__name__="m_z", host="a"} 7 3`}; w.Code != http.StatusBadRequest || !slices.Equal(got, want) {
		t.Errorf("got %d %.200s, want %s", w.Code, w.Body, want)
	}
	got, _ = d.take("precision=ms", strings.Repeat("y", 1<<20)+" x=1,z=3 7\nm v=1 1")
	if len(got) != 1 {
		t.Errorf("stored %.200s, want only the second line", got)
	}
	// Names about the sizes at which their encoding changes.
	for _, n := range []int{252, 253, 254, 255, 256, 257} {
		name := strings.Repeat("y", n)
		got, _ := d.take("precision=ms", "m,host=a a="+"1,"+name+"=2,b=3 1")
		want := []string{`{__name__="m_a", host="a"} 1 1`, `{__name__="m_b", host="a"} 1 3`, `{__name__="m_` + name + `", host="a"} 1 2`}
		if !slices.Equal(got, want) {
			t.Errorf("%d: got %s", n, got)
		}
	}
}

// TestInfluxFault answers so that the sender comes again.
func TestInfluxFault(t *testing.T) {
	f := func(fail error, v2 bool, code int, want string) {
		t.Helper()
		d := newInflux(ingest.InfluxConfig{})
		d.kept.fail = fail
		h := d.Write
		if v2 {
			h = d.WriteV2
		}
		w := influxRequest(h, http.MethodPost, "/", "m v=1")
		if got := strings.TrimSpace(w.Body.String()); w.Code != code || got != want || w.Header().Get("Retry-After") == "" {
			t.Errorf("got %d %s %v, want %d %s and Retry-After", w.Code, got, w.Header(), code, want)
		}
	}
	f(errors.New("disk full"), false, 500, `{"error":"commit: disk full"}`)
	f(errors.New("disk full"), true, 500, `{"code":"internal error","message":"commit: disk full"}`)
	f(record.Errorf(record.Unavailable, "closing"), false, 503, `{"error":"commit: closing"}`)
	f(record.Errorf(record.Unavailable, "closing"), true, 503, `{"code":"unavailable","message":"commit: closing"}`)
}

func TestInfluxV2Refusals(t *testing.T) {
	f := func(method, query, body string, code int, want string) {
		t.Helper()
		w := influxRequest(newInflux(ingest.InfluxConfig{}).WriteV2, method, "/api/v2/write?"+query, body)
		if got := strings.TrimSpace(w.Body.String()); w.Code != code || got != want {
			t.Errorf("%s %s %q: got %d %s, want %d %s", method, query, body, w.Code, got, code, want)
		}
	}
	f("POST", "", "a v=1\nb v", 400, `{"code":"invalid","message":"partial write: unable to parse 'b v': line 2: a field has no \"=\" dropped=1"}`)
	f("POST", "", "b v", 400, `{"code":"invalid","message":"unable to parse 'b v': line 1: a field has no \"=\""}`)
	f("POST", "precision=h", "b v=1", 400, `{"code":"invalid","message":"invalid precision \"h\"; want ns, us, ms or s"}`)
	f("GET", "", "", 405, `{"code":"method not allowed","message":"lines are written with POST"}`)
}

// TestInfluxForm takes the body that curl calls a form.
func TestInfluxForm(t *testing.T) {
	d := newInflux(ingest.InfluxConfig{})
	r := httptest.NewRequest(http.MethodPost, "/write?precision=ms", strings.NewReader("m,a=b v=1 1"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	d.Write(w, r)
	if w.Code != http.StatusNoContent || len(d.kept.got) != 1 {
		t.Errorf("got %d %s, want it stored", w.Code, w.Body)
	}
}

func TestInfluxQueries(t *testing.T) {
	f := func(q string, code int, want string) {
		t.Helper()
		i := newInflux(ingest.InfluxConfig{})
		form := url.Values{"q": {q}}.Encode()
		post := httptest.NewRequest(http.MethodPost, "/query", strings.NewReader(form))
		post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, r := range []*http.Request{httptest.NewRequest(http.MethodGet, "/query?"+form, nil), post} {
			w := httptest.NewRecorder()
			i.Query(w, r)
			if got := strings.TrimSpace(w.Body.String()); w.Code != code || got != want {
				t.Errorf("%s %s: got %d %s, want %d %s", r.Method, q, w.Code, got, code, want)
			}
			if w.Header().Get("X-Influxdb-Version") != "1.8.10" {
				t.Errorf("got header %v, want a version", w.Header())
			}
		}
	}
	const usePromQL = `{"error":"InfluxQL is not spoken here, but for CREATE DATABASE, SHOW DATABASES and SHOW RETENTION POLICIES; ask in PromQL at /api/v1/query"}`
	f(`CREATE DATABASE telegraf`, 200, `{"results":[{"statement_id":0}]}`)
	f(`create database "a;b" WITH DURATION 3d;`, 200, `{"results":[{"statement_id":0}]}`)
	f(`CREATE DATABASE a; CREATE DATABASE b`, 200, `{"results":[{"statement_id":0},{"statement_id":1}]}`)
	f(`SHOW DATABASES`, 200, `{"results":[{"statement_id":0,"series":[{"name":"databases","columns":["name"]}]}]}`)
	f(`SHOW RETENTION POLICIES ON "telegraf"`, 200, `{"results":[{"statement_id":0,"series":[{"columns":["name","duration","shardGroupDuration","replicaN","default"]}]}]}`)
	f(`SELECT * FROM cpu`, 400, usePromQL)
	f(`CREATE DATABASE a; DROP DATABASE b`, 400, usePromQL)
	f(`CREATE DATABASE`, 400, usePromQL)
	f(``, 400, `{"error":"missing required parameter \"q\""}`)
	f(` ; `, 400, `{"error":"missing required parameter \"q\""}`)

	i := newInflux(ingest.InfluxConfig{})
	if w := influxRequest(i.Query, http.MethodDelete, "/query?q=x", ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("got %d for DELETE, want 405", w.Code)
	}
	r := httptest.NewRequest(http.MethodPost, "/query", strings.NewReader("q="+strings.Repeat("x", 1<<20)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if i.Query(w, r); w.Code != http.StatusBadRequest {
		t.Errorf("got %d for a large query, want 400", w.Code)
	}
}

func TestInfluxPing(t *testing.T) {
	i := newInflux(ingest.InfluxConfig{Version: "1.8.11"})
	f := func(h http.HandlerFunc, target string, code int, want string) {
		t.Helper()
		w := influxRequest(h, http.MethodGet, target, "")
		if got := strings.TrimSpace(w.Body.String()); w.Code != code || got != want || w.Header().Get("X-Influxdb-Version") != "1.8.11" {
			t.Errorf("%s: got %d %s %v, want %d %s", target, w.Code, got, w.Header(), code, want)
		}
	}
	f(i.Ping, "/ping", 204, "")
	f(i.Ping, "/ping?verbose=true", 200, `{"version":"1.8.11"}`)
	f(i.Health, "/health", 200, `{"name":"influxdb","message":"ready for queries and writes","status":"pass","checks":[],"version":"1.8.11"}`)
}

func TestInfluxPacket(t *testing.T) {
	d := newInflux(ingest.InfluxConfig{})
	d.ServePacket(t.Context(), []byte("m,a=b v=1,s=\"x\" 2000000\nbad\nn v=2 3000000"))
	if got := fmt.Sprint(d.kept.got); got != `[{__name__="m_v", a="b"} 2 1 {__name__="n_v"} 3 2]` {
		t.Errorf("got %s", got)
	}
	got := fmt.Sprint(d.counts.Snapshot())
	for _, want := range []string{"influx_udp", "{string_field 1}", "{undecodable 1}"} {
		if !strings.Contains(got, want) {
			t.Errorf("counted %s, want %s", got, want)
		}
	}
}

// TestInfluxKnownSeries writes the same series several times, as a sender does,
// into a real store, in two orders of its tags.
func TestInfluxKnownSeries(t *testing.T) {
	s := openStore(t, t.TempDir(), metric.Config{})
	i := ingest.NewInflux(ingest.NewSink(s, ingest.SinkConfig{IsLimit: metric.IsLimit}, ingest.NewCounts(instrument.New(instrument.Config{}))), ingest.InfluxConfig{}, quietLog())
	base := time.Now().UnixMilli() - 10_000
	for n := range 5 {
		tags := []string{"a=1,b=2", "b=2,a=1"}[n%2]
		w := influxRequest(i.Write, http.MethodPost, "/write?precision=ms&db=x", fmt.Sprintf("m,%s v=%d,w=%d %d\n", tags, n, 10*n, base+int64(n)))
		if w.Code != http.StatusNoContent {
			t.Fatal(w.Code, w.Body)
		}
	}
	got := map[string]int{}
	if err := dump(s, math.MinInt64, math.MaxInt64, func(series string, ts int64, v string) { got[series]++ }); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{`{__name__="m_v", a="1", b="2", db="x"}`: 5, `{__name__="m_w", a="1", b="2", db="x"}`: 5}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
