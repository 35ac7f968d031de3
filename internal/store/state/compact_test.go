package state_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// fill gives every field of v a value of its own, so that a field that a form
// forgets is seen, also one that is added later.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
		if v.Type() == reflect.TypeOf(record.PhaseState(0)) {
			v.SetInt(int64(*n % 4))
		}
	case reflect.Float64:
		v.SetFloat(float64(*n) / 3)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(k, n)
			fill(e, n)
			v.SetMapIndex(k, e)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeOf(time.Time{}) {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 1, 12, 0, *n, 123456789, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Uint8:
		v.SetUint(uint64(*n % 256))
	default:
		panic("the test knows no " + v.Kind().String())
	}
}

func TestCompactKeepsEveryField(t *testing.T) {
	var full record.CheckResult
	fill(reflect.ValueOf(&full).Elem(), new(int))
	full.Screenshot = nil // has a column of its own
	for _, want := range []record.CheckResult{
		full,
		{Success: true, Start: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
		{Success: true, Start: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Hops: []record.Hop{}},
		{Success: true, Start: time.Date(1960, 11, 1, 0, 0, 0, 5, time.UTC), Duration: -1, Hops: []record.Hop{{TLS: &record.TLSFacts{NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}}}},
	} {
		stored, err := state.EncodeRun(want)
		if err != nil {
			t.Fatal(err)
		}
		b, ok := stored.([]byte)
		if !ok {
			t.Fatalf("a success is stored as %T", stored)
		}
		got, err := state.DecodeRun(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			t.Errorf("%v\ngot  %s\nwant %s\na field that record.CheckResult gained needs a place in compact.go", err, a, b)
		}
	}
	full.Success = false
	if stored, err := state.EncodeRun(full); err != nil || stored.(string)[0] != '{' {
		t.Errorf("a failure is stored as %v, %v, want JSON", stored, err)
	}
}

// httpsRun is a plain success as the prober makes it.
func httpsRun(i int) record.CheckResult {
	u := fmt.Sprintf("https://shop-%d.example.com/health", i)
	ms := func(n int) record.PhaseTime {
		return record.PhaseTime{State: record.Done, Duration: time.Duration(n)*time.Millisecond + 123456}
	}
	return record.CheckResult{
		Check: fmt.Sprintf("shop-%d", i), Kind: "http", Target: u, Location: "hub",
		Start: time.Date(2026, 11, 1, 12, 0, 0, i, time.UTC), Duration: 88123456, Lag: 345678, Success: true,
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
		Hops: []record.Hop{{URL: u, Address: "192.0.2.17:443", Phases: record.Phases{ms(3), ms(11), ms(24), ms(41), ms(2)}, Status: 200, Proto: "HTTP/1.1", Bytes: 1832,
			TLS: &record.TLSFacts{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", ALPN: "http/1.1", Subject: "CN=shop.example.com",
				Issuer: "CN=R11,O=Let's Encrypt,C=US", Names: []string{"shop.example.com", "www.shop.example.com"}, NotAfter: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}}},
	}
}

// TestCompactReadsOlderForms reads a run as version 1 wrote it.
func TestCompactReadsOlderForms(t *testing.T) {
	want := record.CheckResult{Check: "a", Location: "hub", Start: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Success: true,
		Hops: []record.Hop{{URL: "http://a/", Status: 200, Bytes: 5, Location: "http://b/"}}}
	stored, err := state.EncodeRun(want)
	if err != nil {
		t.Fatal(err)
	}
	// After the redirect's target come only empty fields, a zero byte each;
	// version 1 had two of them less.
	b := stored.([]byte)
	b = b[:len(b)-2]
	b[0] = 1
	if got, err := state.DecodeRun(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	b[0] = 99
	if _, err := state.DecodeRun(b); err == nil {
		t.Error("a form of the future was read")
	}
}

func TestCompactIsSmall(t *testing.T) {
	r := httpsRun(7)
	stored, err := state.EncodeRun(r)
	if err != nil {
		t.Fatal(err)
	}
	js, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(stored.([]byte)); n > 350 || n*5 > len(js)*2 {
		t.Errorf("a success takes %d bytes, as JSON %d", n, len(js))
	}
}

func FuzzDecodeRun(f *testing.F) {
	for _, r := range []record.CheckResult{httpsRun(1), {Success: true}} {
		b, err := state.EncodeRun(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b.([]byte))
	}
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := state.DecodeRun(b)
		if err != nil || len(b) > 0 && b[0] == '{' || !r.Success {
			return
		}
		again, err := state.EncodeRun(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := state.DecodeRun(again.([]byte)); err != nil || len(got.Hops) != len(r.Hops) || got.Target != r.Target {
			t.Errorf("%x came back as %+v, %v, want %+v", b, got, err, r)
		}
	})
}
