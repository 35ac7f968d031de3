package ingest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vedette-sre/vedette/instrument"
	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/store/metric"
)

type openTSDB struct {
	*ingest.OpenTSDB
	store  *taken
	counts *ingest.Counts
}

func newOpenTSDB(cfg ingest.OpenTSDBConfig) openTSDB {
	o := openTSDB{store: &taken{}, counts: ingest.NewCounts(instrument.New(instrument.Config{}))}
	o.OpenTSDB = ingest.NewOpenTSDB(ingest.NewSink(o.store, ingest.SinkConfig{}, o.counts), cfg, quietLog())
	return o
}

// telnet sends in over a connection, in pieces of size bytes, and returns what is
// answered until it ends.
func telnet(t testing.TB, serve func(context.Context, net.Conn), in string, size int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		serve(context.Background(), c)
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for len(in) > 0 {
		n := min(size, len(in))
		if _, err := io.WriteString(c, in[:n]); err != nil {
			break
		}
		in = in[n:]
	}
	_ = c.(*net.TCPConn).CloseWrite()
	out, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	_ = c.Close()
	<-done
	return string(out)
}

func TestOpenTSDBPut(t *testing.T) {
	f := func(line string, want string) {
		t.Helper()
		o := newOpenTSDB(ingest.OpenTSDBConfig{})
		if got := telnet(t, o.ServeConn, line+"\n", 1<<20); got != "" {
			t.Errorf("%q: got the answer %q", line, got)
		}
		o.store.want(t, want)
	}
	// As tcollector, Telegraf, collectd's write_tsdb and scripts send them.
	f("put proc.loadavg.1min 1456000000 0.36 host=web1", "proc.loadavg.1min{host=web1} 0.36@1456000000000")
	f("put nine.telegraf.system_load1 1441910356 0.430000 dc=homeoffice host=irimame scope=green", "nine.telegraf.system_load1{dc=homeoffice, host=irimame, scope=green} 0.43@1441910356000")
	f("put cpu.0.idle 1456000000 98 fqdn=web1.example.com\r", "cpu.0.idle{fqdn=web1.example.com} 98@1456000000000")
	f("put sys.if.bytes.out 1479496100 1.3E3 host=web01 interface=eth0 ", "sys.if.bytes.out{host=web01, interface=eth0} 1300@1479496100000")
	f("put  a\t1 \t2   b=c", "a{b=c} 2@1000")
	// Times.
	f("put a 1479496100123 1 b=c", "a{b=c} 1@1479496100123")
	f("put a 1479496100.123 1 b=c", "a{b=c} 1@1479496100123")
	f("put a 4294967296 1 b=c", "a{b=c} 1@4294967296")
	// Values.
	f("put a 1 -9223372036854775808 b=c", "a{b=c} -9.223372036854776e+18@1000")
	f("put a 1 +1 b=c", "a{b=c} 1@1000")
	// Names and tags.
	f("put a 1 1", "a{} 1@1000")
	f("put größe/x-y_z.1 1 1 straße=дом", "größe/x-y_z.1{straße=дом} 1@1000")
	f("put a 1 1 b=c b=c", "a{b=c} 1@1000")
}

func TestOpenTSDBPutRefuses(t *testing.T) {
	f := func(line, answer, reason string) {
		t.Helper()
		o := newOpenTSDB(ingest.OpenTSDBConfig{MaxLine: 10_000})
		if got := telnet(t, o.ServeConn, "put good 1 1 a=b\n"+line+"\nput fine 2 2 a=b\n", 1<<20); !strings.HasPrefix(got, answer) || strings.Count(got, "\n") != 1 {
			t.Errorf("%q: got %q, want %q", line, got, answer)
		}
		o.store.want(t, "good{a=b} 1@1000", "fine{a=b} 2@2000")
		if stored, got := refusals(o.counts, "opentsdb"); stored != 2 || got != reason+"=1" {
			t.Errorf("%q: got %d stored, %s; want 2, %s=1", line, stored, got, reason)
		}
	}
	f("put", "put: illegal argument: not enough arguments (need least 3, got 0)\n", "malformed")
	f("put a 1", "put: illegal argument: not enough arguments (need least 3, got 2)\n", "malformed")
	f("put a 1456000000  dc=x", "put: invalid value: \"dc=x\" is not a number\n", "invalid_value")
	f("put a 1 NaN b=c", "put: invalid value: \"NaN\" is not a number\n", "invalid_value")
	f("put a 1 1f b=c", "put: invalid value: ", "invalid_value")
	f("put a x 1 b=c", "put: invalid value: \"x\" is not a timestamp\n", "invalid_timestamp")
	f("put a 0 1 b=c", "put: illegal argument: invalid timestamp: 0\n", "invalid_timestamp")
	f("put a -1 1 b=c", "put: illegal argument: invalid timestamp: -1\n", "invalid_timestamp")
	f("put a 14794961001234 1 b=c", "put: illegal argument: invalid timestamp: 14794961001234\n", "invalid_timestamp")
	f("put a$ 1 1 b=c", "put: illegal argument: invalid metric name (\"a$\"): illegal character: '$'\n", "invalid_name")
	f("put a\xff 1 1 b=c", "put: illegal argument: invalid metric name (\"a\\xff\"): illegal character: ", "invalid_name")
	f("put a 1 1 b", "put: illegal argument: invalid tag: b\n", "invalid_tag")
	f("put a 1 1 b=", "put: illegal argument: invalid tag: b=\n", "invalid_tag")
	f("put a 1 1 =c", "put: illegal argument: invalid tag: =c\n", "invalid_tag")
	f("put a 1 1 b=c=d", "put: illegal argument: invalid tag: b=c=d\n", "invalid_tag")
	f("put a 1 1 b=c b=d", "put: illegal argument: duplicate tag: b=d\n", "invalid_tag")
	f("put a 1 1 b=c:d", "put: illegal argument: invalid tag value (\"c:d\"): illegal character: ':'\n", "invalid_name")
	f("put a 1 1 b,=c", "put: illegal argument: invalid tag name (\"b,\"): illegal character: ','\n", "invalid_name")
	f("put a 1 1 __name__=c", "put: illegal argument: the tag __name__ is taken", "invalid_tag")
	f("put a 1 1"+strings.Repeat(" b=c", 257), "put: illegal argument: too many tags", "invalid_tag")
	f("put a 1 1 refused=1", "put: illegal argument: series {__name__=\"a\", refused=\"1\"}: sample at 1970-01-01T00:00:01Z: out of order", "out_of_order")
	f("put a 4294967295 1 b=c", "put: illegal argument: series {__name__=\"a\", b=\"c\"}: sample at 2106-02-07T06:28:15Z is more than 10m0s ahead", "future")
	f("put a 9999999999999 1 b=c", "put: illegal argument: series", "future")
	f("put "+strings.Repeat("a", 10_000), "put: illegal argument: the line has more than 10000 bytes\n", "line_too_long")
	f("rollup 1h-sum a 1 1 b=c", "unknown command: rollup. Try `help'.\n", "unknown_command")
	f("\x1b[A\"", "unknown command: \\x1b[A\\\". Try `help'.\n", "unknown_command")
}

func TestOpenTSDBCommands(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		for _, size := range []int{1, 1 << 20} {
			o := newOpenTSDB(ingest.OpenTSDBConfig{Version: "2.4.0", Revision: "abc"})
			if got := telnet(t, o.ServeConn, in, size); got != want {
				t.Errorf("%q in pieces of %d: got %q, want %q", in, size, got, want)
			}
		}
	}
	f("", "")
	f("version\n", "net.opentsdb 2.4.0 built at revision abc\n")
	f("help\r\n", "available commands: put stats dropcaches version exit quit help\n")
	f("dropcaches\n", "Caches dropped.\n")
	f("diediedie\nversion\n", "diediedie: refused; stop the server where it runs\nnet.opentsdb 2.4.0 built at revision abc\n")
	f("exit\nversion\n", "")
	f("quit\n", "")
	f("\n\nput x\nversion\nput y\nPut\nnope\nhelp", "put: illegal argument: not enough arguments (need least 3, got 1)\nnet.opentsdb 2.4.0 built at revision abc\n"+
		"put: illegal argument: not enough arguments (need least 3, got 1)\nunknown command: Put. Try `help'.\nunknown command: nope. Try `help'.\n"+
		"put: illegal argument: the connection ended within a line\n")
}

func TestOpenTSDBStats(t *testing.T) {
	o := newOpenTSDB(ingest.OpenTSDBConfig{})
	got := telnet(t, o.ServeConn, "put a 1 1 b=c\nput a 1\nstats\n", 1<<20)
	for _, want := range []string{"tsd.connectionmgr.connections ", " 1 type=open host=", "tsd.datapoints.added ", " 1 type=telnet host=", " 1 type=telnet_malformed host="} {
		if !strings.Contains(got, want) {
			t.Errorf("stats do not have %q: %s", want, got)
		}
	}
	w := httptest.NewRecorder()
	o.Stats(w, httptest.NewRequest("GET", "/api/stats", nil))
	var stats []struct {
		Metric string
		Value  int
		Tags   map[string]string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &stats); err != nil || len(stats) != 4 || stats[3].Metric != "tsd.rpc.errors" || stats[3].Value != 1 || stats[3].Tags["type"] != "telnet_malformed" {
		t.Errorf("got %v, %s", err, w.Body)
	}
	w = httptest.NewRecorder()
	o.Version(w, httptest.NewRequest("GET", "/api/version", nil))
	var version map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &version); err != nil || version["version"] != "2.4.0" {
		t.Errorf("got %v, %s", err, w.Body)
	}
}

func TestOpenTSDBGroups(t *testing.T) {
	o := newOpenTSDB(ingest.OpenTSDBConfig{})
	var in strings.Builder
	const lines = 20_000
	for i := range lines {
		fmt.Fprintf(&in, "put a.b.c %d %d host=web%d\n", i+1, i, i%100)
	}
	if got := telnet(t, o.ServeConn, in.String(), 1<<20); got != "" {
		t.Errorf("got the answer %q", got)
	}
	if stored, _ := refusals(o.counts, "opentsdb"); stored != lines {
		t.Errorf("stored %d, want %d", stored, lines)
	}
	if o.store.commits > lines/20 {
		t.Errorf("%d points cost %d transactions", lines, o.store.commits)
	}
	// More faults than are told one by one.
	got := telnet(t, o.ServeConn, strings.Repeat("put x\n", 25), 1<<20)
	if !strings.HasSuffix(got, "put: illegal argument: 15 points more were refused\n") && strings.Count(got, "\n") < 11 {
		t.Errorf("got the answer %q", got)
	}
}

func TestOpenTSDBFault(t *testing.T) {
	o := newOpenTSDB(ingest.OpenTSDBConfig{})
	o.store.broken = true
	got := telnet(t, o.ServeConn, "put a 1 1 b=c\nversion\n", 1<<20)
	if want := "put: storage error: the last 1 points were not stored, send them again: commit: the disk is full\nnet.opentsdb "; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w := httptest.NewRecorder()
	o.Put(w, httptest.NewRequest("POST", "/api/put", strings.NewReader(`{"metric":"a","timestamp":1,"value":1}`)))
	if w.Code != 500 || !strings.Contains(w.Body.String(), "the disk is full") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestOpenTSDBDeafClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOpenTSDB(ingest.OpenTSDBConfig{})
		ours, theirs := net.Pipe() // nothing is buffered: an answer waits for a reader
		done := make(chan struct{})
		go func() {
			defer close(done)
			o.ServeConn(t.Context(), ours)
		}()
		begin := time.Now()
		for i := range 100 {
			if _, err := fmt.Fprintf(theirs, "put bad\nput a %d 1 b=c\n", i+1); err != nil {
				t.Fatal(err)
			}
		}
		_ = theirs.Close()
		<-done
		if stored, _ := refusals(o.counts, "opentsdb"); stored != 100 {
			t.Errorf("stored %d, want 100", stored)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestOpenTSDBInRealStore(t *testing.T) {
	s := openStore(t, t.TempDir(), metric.Config{})
	o := ingest.NewOpenTSDB(ingest.NewSink(s, ingest.SinkConfig{}, ingest.NewCounts(instrument.New(instrument.Config{}))), ingest.OpenTSDBConfig{}, quietLog())
	now := time.Now().Unix()
	got := telnet(t, o.ServeConn, fmt.Sprintf("put a %d 1 b=c\nput a %d 2 b=c\nversion\nput a %d 3 b=c\n", now, now, now), 1<<20)
	lines := strings.Split(got, "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], "two values") || !strings.HasPrefix(lines[1], "net.opentsdb") || !strings.HasPrefix(lines[2], "put: illegal argument: series") {
		t.Errorf("got %q", got)
	}
}

func put(o openTSDB, query, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	o.Put(w, httptest.NewRequest("POST", "/api/put"+query, strings.NewReader(body)))
	return w
}

func TestOpenTSDBHTTP(t *testing.T) {
	f := func(body string, want ...string) {
		t.Helper()
		o := newOpenTSDB(ingest.OpenTSDBConfig{})
		if w := put(o, "?sync", body); w.Code != 204 || w.Body.Len() != 0 {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		}
		o.store.want(t, want...)
	}
	f(`{"metric":"sys.cpu.nice","timestamp":1346846400,"value":18,"tags":{"host":"web01","dc":"lga"}}`, "sys.cpu.nice{dc=lga, host=web01} 18@1346846400000")
	f(`[
    {
        "metric": "sys.cpu.nice",
        "timestamp": 1346846400,
        "value": 18,
        "tags": {
           "host": "web01",
           "dc": "lga"
        }
    },
    {
        "metric": "sys.cpu.nice",
        "timestamp": 1346846400,
        "value": 9,
        "tags": {
           "host": "web02",
           "dc": "lga"
        }
    }
]
`, "sys.cpu.nice{dc=lga, host=web01} 18@1346846400000", "sys.cpu.nice{dc=lga, host=web02} 9@1346846400000")
	f(`{"value":"1.5e1","tags":{"a":1,"b":true},"x":{"y":[1,"]}",{"\"":"\\"}],"z":null},"timestamp":"1346846400123","metric":"m"}`, "m{a=1, b=true} 15@1346846400123")
	f(`{"metric":"\u0061\/b","timestamp":1346846400.5,"value":-0.5,"tags":{"\u0061":"\u00e9"}}`, "a/b{a=é} -0.5@1346846400500")
	f(`{"metric":"a","timestamp":1,"value":1,"tags":{}}`, "a{} 1@1000")
	f(`{"metric":"a","timestamp":1,"value":1,"tags":null}`, "a{} 1@1000")
	f(`{"metric":"a","timestamp":1,"value":1}`, "a{} 1@1000")
}

func TestOpenTSDBHTTPRefuses(t *testing.T) {
	f := func(point, says, reason string) {
		t.Helper()
		o := newOpenTSDB(ingest.OpenTSDBConfig{})
		body := `[{"metric":"good","timestamp":1,"value":1}, ` + point + ` ,{"metric":"fine","timestamp":2,"value":2}]`
		w := put(o, "?details", body)
		var answer struct {
			Errors []struct {
				Datapoint json.RawMessage
				Error     string
			}
			Failed, Success int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 400 || answer.Failed != 1 || answer.Success != 2 || len(answer.Errors) != 1 {
			t.Errorf("%s: got %v, %d %s", point, err, w.Code, w.Body)
			return
		}
		if e := answer.Errors[0]; !strings.Contains(e.Error, says) || !sameJSON(e.Datapoint, point) {
			t.Errorf("got %s for %s; want %q, %s", e.Error, e.Datapoint, says, point)
		}
		o.store.want(t, "good{} 1@1000", "fine{} 2@2000")
		if stored, got := refusals(o.counts, "opentsdb_http"); stored != 2 || got != reason+"=1" {
			t.Errorf("%s: got %d stored, %s; want 2, %s=1", point, stored, got, reason)
		}
	}
	f(`5`, "not an object", "malformed")
	f(`[{"metric":"a"}]`, "not an object", "malformed")
	f(`{}`, "empty metric name", "invalid_name")
	f(`{"metric":null,"timestamp":1,"value":1}`, "not a text", "invalid_name")
	f(`{"metric":5,"timestamp":1,"value":1}`, "not a text", "invalid_name")
	f(`{"metric":"a b","timestamp":1,"value":1}`, "illegal character", "invalid_name")
	f(`{"metric":"a","value":1}`, "empty timestamp", "invalid_timestamp")
	f(`{"metric":"a","timestamp":{"a":[1]},"value":1}`, "not a timestamp", "invalid_timestamp")
	f(`{"metric":"a","timestamp":1}`, "empty value", "invalid_value")
	f(`{"metric":"a","timestamp":1,"value":null}`, "empty value", "invalid_value")
	f(`{"metric":"a","timestamp":1,"value":true}`, "not a number", "invalid_value")
	f(`{"metric":"a","timestamp":1,"value":"NaN"}`, "not a number", "invalid_value")
	f(`{"metric":"a","timestamp":1,"value":1,"tags":["b"]}`, "not an object", "invalid_tag")
	f(`{"metric":"a","timestamp":1,"value":1,"tags":{"b":""}}`, "invalid tag", "invalid_tag")
	f(`{"metric":"a","timestamp":1,"value":1,"tags":{"b":{"c":1}}}`, "illegal character", "invalid_name")
	f(`{"metric":"a","timestamp":1,"value":1,"tags":{"b":"1","b":"2"}}`, "duplicate tag", "invalid_tag")
	f(`{"metric":"a","timestamp":1,"value":1,"tags":{"refused":"1"}}`, "out of order", "out_of_order")
	var tags []string
	for i := range 257 {
		tags = append(tags, fmt.Sprintf(`"t%d":"v"`, i))
	}
	f(`{"metric":"a","timestamp":1,"value":1,"tags":{`+strings.Join(tags, ",")+`}}`, "too many tags", "invalid_tag")
}

// sameJSON compares without the spaces.
func sameJSON(a json.RawMessage, b string) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, []byte(b)) == nil && x.String() == y.String()
}

func TestOpenTSDBHTTPAnswers(t *testing.T) {
	f := func(query, body string, code int, want string) {
		t.Helper()
		o := newOpenTSDB(ingest.OpenTSDBConfig{MaxBytes: 200})
		w := put(o, query, body)
		if got := w.Body.String(); w.Code != code || got != want && (want == "" || !strings.Contains(got, want)) {
			t.Errorf("%s %s: got %d %s, want %d %s", query, body, w.Code, got, code, want)
		}
		if w.Body.Len() > 0 && (!json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Type") != "application/json; charset=UTF-8") {
			t.Errorf("%s %s: not JSON: %s", query, body, w.Body)
		}
	}
	const good, bad = `{"metric":"a","timestamp":1,"value":1}`, `{"metric":"a","timestamp":1,"value":"x"}`
	f("", good, 204, "")
	f("?details", good, 200, `{"errors":[],"failed":0,"success":1}`)
	f("?summary", good, 200, `{"failed":0,"success":1}`)
	f("?summary&details", bad, 400, `{"errors":[{"datapoint":`+bad+`,"error":"\"x\" is not a number"}],"failed":1,"success":0}`)
	f("?summary", "["+good+","+bad+"]", 400, `{"failed":1,"success":1}`)
	f("?sync&sync_timeout=1", "["+good+","+bad+"]", 400, `{"error":{"code":400,"message":"One or more data points had errors","details":"Please see the TSD logs or append \"details\" to the put request"}}`)
	f("", "[]", 400, "no datapoints found")
	f("", "", 400, "unable to parse")
	f("", "["+good, 400, "unable to parse the given JSON: byte 39")
	f("", good+good, 400, "unable to parse")
	f("", `"put"`, 400, "neither a data point nor a list")
	f("", "["+good+strings.Repeat(" ", 200)+"]", 413, "more than 200 bytes")
	f("", strings.Repeat("[", 199), 400, "unable to parse")
	f("", strings.Repeat("[", 50)+strings.Repeat("]", 50), 400, "One or more")
}

func TestOpenTSDBHTTPRequest(t *testing.T) {
	const good = `{"metric":"a","timestamp":1,"value":1}`
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(good))
	_ = z.Close()
	var bomb bytes.Buffer
	z = gzip.NewWriter(&bomb)
	_, _ = z.Write(bytes.Repeat([]byte(" "), 10_000_000))
	_ = z.Close()
	f := func(method, encoding, body string, code int, reason string) {
		t.Helper()
		o := newOpenTSDB(ingest.OpenTSDBConfig{MaxBytes: 1_000_000})
		r := httptest.NewRequest(method, "/api/put", strings.NewReader(body))
		r.Header.Set("Content-Encoding", encoding)
		w := httptest.NewRecorder()
		r.Body = http.MaxBytesReader(w, r.Body, 100_000)
		o.Put(w, r)
		if w.Code != code {
			t.Errorf("%s %s: got %d %s, want %d", method, encoding, w.Code, w.Body, code)
		}
		if _, got := refusals(o.counts, "opentsdb_http"); got != reason {
			t.Errorf("%s %s: counted %q, want %q", method, encoding, got, reason)
		}
	}
	f("POST", "", good, 204, "")
	f("PUT", "", good, 204, "")
	f("GET", "", "", 405, "")
	f("POST", "gzip", zipped.String(), 204, "")
	f("POST", "gzip", zipped.String(), 204, "") // the reader is used again
	f("POST", "gzip", good, 400, "undecodable=1")
	f("POST", "gzip", zipped.String()[:zipped.Len()-6], 400, "undecodable=1")
	f("POST", "gzip", "", 400, "undecodable=1")
	f("POST", "br", good, 415, "undecodable=1")
	f("POST", "gzip", bomb.String(), 413, "too_large=1")
	f("POST", "", strings.Repeat(" ", 100_001), 413, "too_large=1")
}

func TestOpenTSDBOnePort(t *testing.T) {
	var o openTSDB
	mux := http.NewServeMux()
	mux.HandleFunc("/api/put", func(w http.ResponseWriter, r *http.Request) { o.Put(w, r) })
	mux.HandleFunc("/api/version", func(w http.ResponseWriter, r *http.Request) { o.Version(w, r) })
	o = newOpenTSDB(ingest.OpenTSDBConfig{HTTP: mux})
	const body = `{"metric":"a","timestamp":1,"value":1}`
	in := fmt.Sprintf("GET /api/version HTTP/1.1\r\nHost: x\r\n\r\nPOST /api/put HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for _, size := range []int{1, 1 << 20} {
		got := telnet(t, o.ServeConn, in, size)
		if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.Contains(got, "HTTP/1.1 204 No Content\r\n") {
			t.Errorf("got %q", got)
		}
		o.store.want(t, "a{} 1@1000")
	}
	// A request that a web page makes a browser send never becomes telnet.
	o = newOpenTSDB(ingest.OpenTSDBConfig{})
	if got := telnet(t, o.ServeConn, "POST / HTTP/1.1\r\n\r\nput a 1 1 b=c\n", 20); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
		t.Errorf("got %q", got)
	}
	o.store.want(t)
}

func TestOpenTSDBOnePortStops(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	o := newOpenTSDB(ingest.OpenTSDBConfig{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-finish
		if r.Context().Err() != nil {
			t.Error("the request was not left to end")
		}
	})})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		o.ServeConn(ctx, c)
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	cancel()
	close(finish)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || line != "HTTP/1.1 200 OK\r\n" {
		t.Errorf("got %q, %v", line, err)
	}
	<-done
	// One that has ended before it began.
	ours, theirs := net.Pipe()
	defer theirs.Close()
	o.ServeConn(ctx, ours)
}

func TestOpenTSDBConfig(t *testing.T) {
	for _, cfg := range []ingest.OpenTSDBConfig{{MaxBytes: -1}, {MaxLine: -1}, {IdleTimeout: -1}, {MaxLine: 1 << 30}} {
		if cfg.Validate() == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
	if err := (ingest.OpenTSDBConfig{}).Validate(); err != nil {
		t.Error(err)
	}
}
