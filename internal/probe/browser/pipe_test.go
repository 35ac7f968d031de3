package browser_test

import (
	"strings"
	"testing"

	"github.com/vedette-sre/vedette/internal/probe/browser"
)

// say are messages as a browser sends them.
func say(events ...string) []byte {
	var b strings.Builder
	for _, e := range events {
		method, params, _ := strings.Cut(e, " ")
		b.WriteString(`{"method":"` + method + `","sessionId":"s","params":` + params + "}\x00")
	}
	return []byte(b.String())
}

// a page with a redirect, a picture that fails and a script from a newer
// browser, with words that nobody knows yet.
var story = []string{
	`Network.requestWillBeSent {"requestId":"1","frameId":"t","type":"Document","timestamp":1,"wallTime":1700000000,"request":{"url":"http://h/"}}`,
	`Network.requestWillBeSent {"requestId":"1","frameId":"t","type":"Document","timestamp":1.5,"wallTime":1700000000.5,"request":{"url":"https://h/x"},"redirectResponse":{"status":301,"protocol":"http/1.1"}}`,
	`Network.responseReceived {"requestId":"1","type":"Document","response":{"status":200,"protocol":"h2","remoteIPAddress":"[::1]","remotePort":443,"timing":{"requestTime":1.5,"dnsStart":0,"dnsEnd":10,"connectStart":10,"connectEnd":60,"sslStart":20,"sslEnd":60,"sendStart":61,"receiveHeadersStart":161},"securityDetails":{"protocol":"TLS 1.3","cipher":"AES_128_GCM","subjectName":"h","issuer":"ca","sanList":["h"],"validTo":1800000000}}}`,
	`Network.loadingFinished {"requestId":"1","timestamp":2,"encodedDataLength":500}`,
	`Network.requestWillBeSent {"requestId":"2","frameId":"t","type":"Image","timestamp":2,"wallTime":1700000001,"request":{"url":"http://other/x.png"}}`,
	`Network.loadingFailed {"requestId":"2","timestamp":2.1,"errorText":"net::ERR_CONNECTION_REFUSED"}`,
	`Network.requestWillBeSent {"requestId":"3","frameId":"t","type":"TelepathicScript","timestamp":2,"wallTime":1700000001,"request":{"url":"http://h/new.js","priority":"Astounding"}}`,
	`Network.requestWillBeSent {"requestId":"4","frameId":"t","type":"Image","timestamp":2,"wallTime":1700000001,"request":{"url":"data:image/png;base64,xxxx"}}`,
	`Runtime.consoleAPICalled {"type":"shout","args":[{"type":"string","value":"hey"},{"type":"bigint","unserializableValue":"1n"},{"type":"dream","description":"a dream"}]}`,
}

func TestHear(t *testing.T) {
	out := browser.Hear(say(story...))
	if len(out.Hops) != 4 {
		t.Fatalf("got %d hops, want 4: data: is none", len(out.Hops))
	}
	first, second, third, fourth := out.Hops[0], out.Hops[1], out.Hops[2], out.Hops[3]
	if first.Status != 301 || first.Location != "https://h/x" || first.Proto != "HTTP/1.1" {
		t.Errorf("got %+v, want the redirect", first)
	}
	want := `{"connect":{"state":"done","seconds":0.01},"processing":{"state":"done","seconds":0.1},"resolve":{"state":"done","seconds":0.01},"tls":{"state":"done","seconds":0.04},"transfer":{"state":"done","seconds":0.339}}`
	if b, err := second.Phases.MarshalJSON(); err != nil || string(b) != want {
		t.Errorf("got phases %s, want %s", b, want)
	}
	if second.Address != "[::1]:443" || second.Proto != "HTTP/2" || second.Bytes != 500 || second.TLS == nil || second.TLS.Version != "TLS 1.3" || second.TLS.ALPN != "h2" {
		t.Errorf("got %+v (%+v), want the document", second, second.TLS)
	}
	if third.Type != "image" || third.Phases[1].State.String() != "failed" || third.Status != 0 {
		t.Errorf("got %+v, want a connect that failed", third)
	}
	if fourth.Type != "telepathicscript" {
		t.Errorf("got %+v, want the request of a kind that is not known", fourth)
	}
	if got := strings.Join(out.Console, "\n"); !strings.Contains(got, "shout: hey 1n a dream") || !strings.Contains(got, "http://other/x.png (net::ERR_CONNECTION_REFUSED)") {
		t.Errorf("got console %q", got)
	}
}

func FuzzHear(f *testing.F) {
	f.Add(say(story...))
	for _, e := range append(story,
		`Page.javascriptDialogOpening {"type":"alert","message":"x"}`,
		`Fetch.requestPaused {"requestId":"1","request":{"url":"http://h/","headers":{"a":"b"}}}`,
		`Fetch.authRequired {"requestId":"1","authChallenge":{"origin":"http://h"}}`,
		`Runtime.bindingCalled {"name":"__vedette","payload":"{\"id\":1,\"lcp\":2}"}`,
		`Runtime.exceptionThrown {"exceptionDetails":{"text":"x","exception":{"description":"y"}}}`,
		`Log.entryAdded {"entry":{"source":"security","level":"error","text":"x"}}`,
		`Runtime.executionContextCreated {"context":{"id":1,"name":"vedette","auxData":{"frameId":"t"}}}`,
		`Inspector.targetCrashed {}`,
	) {
		f.Add(say(e))
	}
	f.Add([]byte(`{"id":1,"result":{}}` + "\x00" + `{"method":"Target.targetCreated","params":{"targetInfo":{"type":"page","targetId":"p"}}}` + "\x00"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if out := browser.Hear(sent); len(out.Hops) > 200 || len(out.Console) > 60 {
			t.Errorf("got %d hops and %d lines of console", len(out.Hops), len(out.Console))
		}
	})
}
