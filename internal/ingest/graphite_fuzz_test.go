package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/vedette-sre/vedette/internal/ingest"
)

// accounted fails when a protocol did not store or refuse each of n.
func accounted(t *testing.T, stored int64, refused string, n int) {
	t.Helper()
	sum := int(stored)
	for r := range strings.FieldsSeq(refused) {
		_, count, _ := strings.Cut(r, "=")
		k, err := strconv.Atoi(count)
		if err != nil {
			t.Fatal(err)
		}
		sum += k
	}
	if sum != n {
		t.Errorf("%d stored, %s; want %d in all", stored, refused, n)
	}
}

// FuzzGraphite checks that each line is stored or refused, and that a connection
// takes the same as a packet, however it is cut.
func FuzzGraphite(f *testing.F) {
	f.Add("localhost.cpu.usage_idle 91.5 1455320690\n", 3)
	f.Add("a;b=c;d=e 1 1\r\na.b.c 2 2.5\nx nan 1\n", 1)
	f.Add("a.b.c.d -1e-3 1\n\n \na 1\nb 1 N\n;a=b 1 1\na;b 1 1\na 1 1 1\n", 1000)
	f.Add("stats.x. 1 1\nstats.x.y.z 1e400 1\n\xff 1 1\na 0000000000000000000000001 1\n", 7)
	cfg := ingest.GraphiteConfig{Templates: []string{"stats.* .host.measurement.field*", "*.b host.measurement*", "measurement.tag"}, MaxLine: 200}
	f.Fuzz(func(t *testing.T, in string, size int) {
		if size < 1 {
			size = 1
		}
		if len(in)/size > 1000 {
			size = len(in)/1000 + 1
		}
		if end := strings.LastIndexByte(in, '\n'); end >= 0 {
			in = in[:end+1]
		} else {
			in += "\n"
		}
		lines := 0
		for line := range strings.Lines(in) {
			if line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"); strings.Trim(line, " \t") != "" || len(line) > 200 {
				lines++
			}
		}
		packet := newGraphite(t, cfg)
		packet.ServePacket(t.Context(), []byte(in))
		stored, refused := refusals(packet.counts, "graphite")
		accounted(t, stored, refused, lines)
		conn := newGraphite(t, cfg)
		sent(conn.ServeConn, in, size)
		// A second value for a time is refused within a transaction only, and a line
		// may be a byte longer where its end has two.
		if again, _ := refusals(conn.counts, "graphite"); again < stored && !strings.Contains(in, "\r") {
			t.Errorf("the packet stored %d, the connection %d", stored, again)
		}
	})
}

// FuzzGraphiteNumber checks numbers against strconv.
func FuzzGraphiteNumber(f *testing.F) {
	for _, s := range []string{"1", "-1.5", "+.5", "5.", "1e9", "123456789012345", "1234567890123456", "0.000000000000001", "9007199254740993", ".", "-", "1e", "4.9e-324", "1.7976931348623159e308"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Trim(s, "0123456789+-.eE") != "" || s == "" || len(s) > 1000 {
			return
		}
		g := newGraphite(t, ingest.GraphiteConfig{})
		g.ServePacket(t.Context(), []byte("a "+s+" 1"))
		want, err := strconv.ParseFloat(s, 64)
		if err != nil {
			g.store.want(t)
			return
		}
		g.store.want(t, "a{} "+fmt.Sprint(want)+"@1000")
	})
}

// FuzzGraphiteTemplate checks that a template which is valid takes any path.
func FuzzGraphiteTemplate(f *testing.F) {
	f.Add("*.app env.service.resource.measurement", "a.app.b.c")
	f.Add("stats.* .host.measurement* region=us,x=y", "stats.a.b.c;x=z")
	f.Add("a.b.measurement.field*", "1..3...")
	f.Fuzz(func(t *testing.T, template, path string) {
		cfg := ingest.GraphiteConfig{Templates: []string{template}}
		if cfg.Validate() != nil || path == "" || len(path) > 1000 || strings.ContainsAny(path, " \t\r\n") {
			return
		}
		g := newGraphite(t, cfg)
		g.ServePacket(t.Context(), []byte(path+" 1 1"))
		stored, refused := refusals(g.counts, "graphite")
		accounted(t, stored, refused, 1)
	})
}

// FuzzGraphitePickle checks that no pickle does harm: the one after it is taken.
func FuzzGraphitePickle(f *testing.F) {
	for _, p := range pickles {
		f.Add([]byte(p))
	}
	f.Add([]byte("\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03."))
	f.Add([]byte("](U\x01sK\x01U\x04 1.5\x86\x86U\x01nK\x01G\x7f\xf8\x00\x00\x00\x00\x00\x00\x86\x86K\x05e."))
	f.Add([]byte("(lp0\n(lp1\nVm\xe9.\\u005cn'q\\U0001f600\np2\na(lp3\nI1656581400\naL-5000000000L\naaa."))
	f.Add([]byte("((S\"it's \\x41\\n\\\\\"\n(I1\nI2\ntttt."))
	f.Add([]byte("]q\x00h\x00ah\x00h\x00\x8721(1(l0]\x94(h\x01h\x01e."))
	f.Add([]byte("\x80\x04\x8b\x09\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\x7f\xff\x8a\x20\x00\x8a\x00N\x88\x89)]."))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 1<<16 {
			return
		}
		g := newGraphite(t, ingest.GraphiteConfig{})
		sent(g.ServePickleConn, framed(string(p), pickles[4]), 1<<20)
		if !strings.Contains(strings.Join(g.store.points, "\n"), "a.b{} ") {
			t.Errorf("the pickle after it was not taken")
		}
	})
}

// FuzzOpenTSDB checks that each line is stored or refused.
func FuzzOpenTSDB(f *testing.F) {
	f.Add("put a 1 1 b=c\nput a.b/c-d_e 1456000000123 -1.5e3 b=c d=e\nversion\n")
	f.Add("put x\nput a 1 1 b=c=d\n\nstats\nhelp\nput a 1 1 b=c b=c b=d\nnope\n")
	f.Add("GET / HTTP/1.1\r\n\r\n")
	f.Add("put größe 1.5 1 b=\xff\nput a 99999999999999 1\nexit\nput a 1 1\n")
	f.Fuzz(func(t *testing.T, in string) {
		o := newOpenTSDB(ingest.OpenTSDBConfig{MaxLine: 200})
		out := telnetInMemory(o, in)
		puts := 0
		for line := range strings.Lines(in) {
			w := strings.FieldsFunc(strings.TrimRight(line, "\r\n"), func(c rune) bool { return c == ' ' || c == '\t' })
			if len(w) > 0 && (w[0] == "exit" || w[0] == "quit") {
				break
			}
			if len(w) > 0 && w[0] == "put" {
				puts++
			}
		}
		stored, refused := refusals(o.counts, "opentsdb")
		if c := append([]byte(in), 0)[0]; c >= 'A' && c <= 'Z' {
			if stored != 0 || refused != "" {
				t.Errorf("HTTP became telnet: %s", out)
			}
			return
		}
		if int(stored) > puts {
			t.Errorf("%d puts, but %d stored", puts, stored)
		}
		if refused != "" && out == "" {
			t.Errorf("refused without a word: %s", refused)
		}
	})
}

func telnetInMemory(o openTSDB, in string) string {
	c := &memoryConn{Reader: strings.NewReader(in)}
	o.ServeConn(context.Background(), c)
	return c.out.String()
}

// FuzzOpenTSDBPut checks the walk over JSON against encoding/json.
func FuzzOpenTSDBPut(f *testing.F) {
	f.Add([]byte(`{"metric":"a","timestamp":1,"value":1,"tags":{"b":"c"}}`))
	f.Add([]byte(`[{"metric":"\u0061","timestamp":"1","value":"1.5","x":[{"y":"]"}],"tags":{"b":1}},{},[],5,"x",null]`))
	f.Add([]byte(` [ { "tags" : { } , "value" : -1e-5 } , [ [ ] , { } ] ] `))
	f.Fuzz(func(t *testing.T, body []byte) {
		o := newOpenTSDB(ingest.OpenTSDBConfig{})
		w := put(o, "?details", string(body))
		var all []json.RawMessage
		var one map[string]json.RawMessage
		n := 0
		switch {
		case json.Unmarshal(body, &all) == nil && len(all) > 0:
			n = len(all)
		case json.Unmarshal(body, &one) == nil && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")):
			n = 1
		default:
			if w.Code != 400 {
				t.Errorf("%q: got %d", body, w.Code)
			}
			return
		}
		var answer struct {
			Errors          []struct{ Datapoint json.RawMessage }
			Failed, Success int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Failed+answer.Success != n {
			t.Fatalf("%q: %d points, got %v, %s", body, n, err, w.Body)
		}
		if len(answer.Errors) != min(10, answer.Failed) {
			t.Errorf("%q: %d failed, %d shown", body, answer.Failed, len(answer.Errors))
		}
		stored, refused := refusals(o.counts, "opentsdb_http")
		accounted(t, stored, refused, n)
	})
}
