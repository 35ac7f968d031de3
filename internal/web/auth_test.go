package web_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/web"
)

func TestCredentials(t *testing.T) {
	b := newBed(t, someAuth(), web.Limits{})
	f := func(code int, header ...string) {
		t.Helper()
		b.want(t, code, "GET", "/api/v1/query", "", header...)
	}
	basic := func(user, pass string) string {
		r, _ := http.NewRequest("GET", "/", nil)
		r.SetBasicAuth(user, pass)
		return r.Header.Get("Authorization")
	}
	f(401)
	f(200, "Authorization", "Bearer "+readToken)
	f(401, "Authorization", "Bearer "+readToken+"x")
	f(401, "Authorization", "bearer")
	f(200, "Authorization", basic("anything", readToken)) // as Prometheus and curl -u do
	f(200, "Authorization", basic("ann", password))
	f(200, "Authorization", basic("ann", password)) // remembered
	f(401, "Authorization", basic("ann", "wrong"))
	f(401, "Authorization", basic("bob", password))
	f(401, "Authorization", basic("", ""))
	resp, body := b.ask(t, "GET", "/api/v1/query", "")
	if !strings.Contains(resp.Header.Get("WWW-Authenticate"), "Bearer") || !strings.Contains(body, `"kind":"unauthenticated"`) {
		t.Errorf("got %v %s", resp.Header, body)
	}
}

// signIn returns the cookie and the CSRF token.
func (b *bed) signIn(t *testing.T, credentials string) (cookie, csrf string) {
	t.Helper()
	resp, body := b.want(t, 204, "POST", "/api/v1/login", credentials)
	if len(resp.Cookies()) != 1 {
		t.Fatalf("got cookies %v (%s), want one", resp.Cookies(), body)
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
		t.Errorf("the cookie is %v, want HttpOnly, SameSite=Strict, Path=/", c)
	}
	cookie = c.Name + "=" + c.Value
	return cookie, b.session(t, cookie).CSRF
}

type sessionView struct {
	Auth     bool `json:"auth"`
	SignedIn bool `json:"signed_in"`
	User     string
	Role     string
	Tenant   string
	Tenants  []string
	CSRF     string
}

func (b *bed) session(t *testing.T, cookie string) (v sessionView) {
	t.Helper()
	_, body := b.want(t, 200, "GET", "/api/v1/session", "", "Cookie", cookie)
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

const annSignsIn = `{"user":"ann","password":"` + password + `"}`

func TestSession(t *testing.T) {
	b := newBed(t, someAuth(), web.Limits{})
	if v := b.session(t, ""); !v.Auth || v.SignedIn || v.User != "" || len(v.Tenants) != 0 {
		t.Errorf("before signing in: %+v", v)
	}
	cookie, csrf := b.signIn(t, annSignsIn)
	if v := b.session(t, cookie); !v.SignedIn || v.User != "ann" || v.Role != "write" || v.Tenant != "shop" || len(v.Tenants) != 1 {
		t.Errorf("after signing in: %+v", v)
	}
	b.want(t, 200, "GET", "/api/v1/query", "", "Cookie", cookie)

	// What changes something needs the header besides.
	b.want(t, 403, "POST", "/api/v2/silences", "", "Cookie", cookie)
	b.want(t, 403, "POST", "/api/v2/silences", "", "Cookie", cookie, "X-Vedette-CSRF", "wrong")
	b.want(t, 403, "DELETE", "/api/v2/silence/x", "", "Cookie", cookie)
	b.want(t, 200, "POST", "/api/v2/silences", "", "Cookie", cookie, "X-Vedette-CSRF", csrf)
	b.want(t, 403, "POST", "/api/v2/silences", "", "Cookie", cookie, "X-Vedette-CSRF", csrf, "Origin", "https://evil.example.org")
	b.want(t, 403, "POST", "/api/v1/logout", "", "Cookie", cookie)

	// Another session's token does not fit.
	_, other := b.signIn(t, `{"token":"`+readToken+`"}`)
	if other == csrf {
		t.Error("two sessions have one CSRF token")
	}
	b.want(t, 403, "POST", "/api/v2/silences", "", "Cookie", cookie, "X-Vedette-CSRF", other)

	b.want(t, 204, "POST", "/api/v1/logout", "", "Cookie", cookie, "X-Vedette-CSRF", csrf)
	b.want(t, 401, "GET", "/api/v1/query", "", "Cookie", cookie)
	if v := b.session(t, cookie); v.SignedIn {
		t.Errorf("after signing out: %+v", v)
	}

	for _, bad := range []string{"", "{", `[]`, `{"user":"ann"}`, `{"user":"ann","password":"wrong"}`, `{"token":"wrong"}`, `{}`} {
		if resp, body := b.ask(t, "POST", "/api/v1/login", bad); resp.StatusCode != 401 && resp.StatusCode != 400 || len(resp.Cookies()) > 0 {
			t.Errorf("login with %s: got %d %s", bad, resp.StatusCode, body)
		}
	}
	open := newBed(t, web.AuthConfig{}, web.Limits{})
	open.want(t, 409, "POST", "/api/v1/login", annSignsIn)
}

func TestSessionOutlivesRestart(t *testing.T) {
	dir, key := t.TempDir(), bytes.Repeat([]byte{1}, 32)
	start := func(cfg web.AuthConfig) *bed {
		t.Helper()
		auth, err := web.NewAuth(cfg, key, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := auth.KeepEnded(filepath.Join(dir, "ended")); err != nil {
			t.Fatal(err)
		}
		return bedWith(t, auth, web.Limits{})
	}
	b := start(someAuth())
	stays, _ := b.signIn(t, annSignsIn)
	ends, csrf := b.signIn(t, annSignsIn)
	byToken, _ := b.signIn(t, `{"token":"`+readToken+`"}`)
	b.want(t, 204, "POST", "/api/v1/logout", "", "Cookie", ends, "X-Vedette-CSRF", csrf)

	b = start(someAuth())
	b.want(t, 200, "GET", "/api/v1/query", "", "Cookie", stays)
	b.want(t, 200, "GET", "/api/v1/query", "", "Cookie", byToken)
	b.want(t, 401, "GET", "/api/v1/query", "", "Cookie", ends)

	// A role changed takes effect at once, a password or token changed ends the
	// sessions made with it, and so does the end of the user.
	cfg := someAuth()
	cfg.Users[0].Role = "read"
	if err := b.auth.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	if v := b.session(t, stays); v.Role != "read" {
		t.Errorf("got role %s, want read", v.Role)
	}
	h, err := bcrypt.GenerateFromPassword([]byte("another password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Users[0].PasswordHash, cfg.Tokens[0].Token = string(h), "another-token-0123456789"
	if err := b.auth.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	b.want(t, 401, "GET", "/api/v1/query", "", "Cookie", stays)
	b.want(t, 401, "GET", "/api/v1/query", "", "Cookie", byToken)
	again, _ := b.signIn(t, `{"user":"ann","password":"another password"}`)
	cfg.Users = nil
	if err := b.auth.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	b.want(t, 401, "GET", "/api/v1/query", "", "Cookie", again)
}

// TestGuessing sends guesses one after the other and then all at once.
func TestGuessing(t *testing.T) {
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	cfg := someAuth()
	cfg.Users[0].PasswordHash = string(h)
	b := newBed(t, cfg, web.Limits{})
	for range 10 {
		b.want(t, 401, "POST", "/api/v1/login", `{"user":"ann","password":"wrong"}`)
	}
	b.want(t, 429, "POST", "/api/v1/login", `{"user":"ann","password":"wrong"}`)
	b.want(t, 429, "POST", "/api/v1/login", annSignsIn) // even the right one tells nothing now
	b.want(t, 200, "GET", "/api/v1/query", "", "Authorization", "Bearer "+readToken)

	b = newBed(t, cfg, web.Limits{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for range 60 {
		wg.Go(func() {
			resp, _ := b.ask(t, "POST", "/api/v1/login", `{"user":"ann","password":"wrong"}`)
			mu.Lock()
			codes[resp.StatusCode]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if codes[401] > 12 || codes[401]+codes[429] != 60 {
		t.Errorf("60 guesses at once: got %v, want about ten of 401 and the others 429", codes)
	}
}

// TestStandInHash holds that an unknown name costs as much as a known one.
func TestStandInHash(t *testing.T) {
	got, err := bcrypt.Cost([]byte(web.StandInHash))
	if err != nil {
		t.Fatal(err)
	}
	want, err := bcrypt.Cost([]byte(makeHash()))
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("got cost %d, want %d as of HashPassword", got, want)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(web.StandInHash), []byte("")); err != bcrypt.ErrMismatchedHashAndPassword {
		t.Errorf("got %v, want a whole comparison", err)
	}
}

// FuzzSession reads arbitrary cookies, and a genuine one with a part replaced:
// only the genuine one is taken.
func FuzzSession(f *testing.F) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil { // the fuzzer's processes must not know each other's cookies
		f.Fatal(err)
	}
	auth, err := web.NewAuth(web.AuthConfig{Tokens: []web.Token{{Name: "reader", Token: readToken, Role: "read"}}}, key, false)
	if err != nil {
		f.Fatal(err)
	}
	good := auth.Cookie(record.Caller{Name: "reader"}).Value
	if _, ok := auth.BySession(good); !ok {
		f.Fatal("the genuine cookie is refused")
	}
	f.Add(strings.Replace(good, ".", "..", 1), uint(3), "")
	f.Add("a.cmVhZGVy.99999999999.c", uint(30), "9")
	f.Add("...", uint(40), ".")
	f.Add("", uint(len(good)), "=")
	f.Fuzz(func(t *testing.T, v string, at uint, with string) {
		at %= uint(len(good) + 1)
		spliced := good[:at] + with + good[min(len(good), int(at)+len(with)):]
		for _, c := range []string{v, spliced, spliced + with} {
			if _, ok := auth.BySession(c); ok != (c == good) {
				t.Errorf("the cookie %q: got %v, the genuine one is %q", c, ok, good)
			}
		}
	})
}
