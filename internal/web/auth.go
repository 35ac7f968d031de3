package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/vedette-sre/vedette/internal/record"
)

// AuthConfig names who may come in. Empty means: whoever reaches the loopback
// address is an administrator.
type AuthConfig struct {
	Users  []User  `yaml:"users"`
	Tokens []Token `yaml:"tokens"`
	// SessionHours is how long a sign-in lasts; default 168.
	SessionHours int `yaml:"session_hours"`
}

// User signs in with a password.
type User struct {
	Name         string `yaml:"name"`
	PasswordHash string `yaml:"password_hash"` // bcrypt, made by `vedette hash-password`
	Role         string `yaml:"role"`          // read, write or admin
	// Tenant is the one tenant of this user; "*" lets the user choose. Default:
	// the tenant "default".
	Tenant string `yaml:"tenant"`
}

// Token lets a program in, as a Bearer token or as the password of basic auth.
// Exactly one of Token, TokenFile and TokenSHA256 is set.
type Token struct {
	Name        string `yaml:"name"`
	Token       string `yaml:"token"`
	TokenFile   string `yaml:"token_file"`
	TokenSHA256 string `yaml:"token_sha256"` // hex
	Role        string `yaml:"role"`
	Tenant      string `yaml:"tenant"`
}

// Enabled reports whether credentials are needed.
func (a AuthConfig) Enabled() bool { return len(a.Users)+len(a.Tokens) > 0 }

const defaultSessionHours = 168

// MinTokenLength refuses tokens that can be guessed.
const MinTokenLength = 16

// Validate checks users and tokens; path is where in the section the fault is,
// such as ".users[0].role".
func (a AuthConfig) Validate(tenants []string) (path string, err error) {
	names := map[string]bool{}
	common := func(p, name, role, tenant string) (string, error) {
		switch {
		case name == "":
			return p + ".name", fmt.Errorf("is missing; it names the caller in logs")
		case names[name]:
			return p + ".name", fmt.Errorf("%q is named twice; names of users and tokens must differ", name)
		case role == "":
			return p + ".role", fmt.Errorf("is missing; want read, write or admin")
		}
		names[name] = true
		if _, err := record.ParseRole(role); err != nil {
			return p + ".role", fmt.Errorf("%q: want read, write or admin", role)
		}
		if tenant != "" && tenant != "*" && !slices.Contains(tenants, tenant) {
			return p + ".tenant", fmt.Errorf("%q is not among the tenants %s", tenant, strings.Join(slices.Sorted(slices.Values(tenants)), ", "))
		}
		return "", nil
	}
	if a.SessionHours < 0 || a.SessionHours > 24*366 {
		return ".session_hours", fmt.Errorf("%d: want from 1 to %d (a year); leave it away for %d", a.SessionHours, 24*366, defaultSessionHours)
	}
	for i, u := range a.Users {
		p := fmt.Sprintf(".users[%d]", i)
		if p, err := common(p, u.Name, u.Role, u.Tenant); err != nil {
			return p, err
		}
		if _, err := bcrypt.Cost([]byte(u.PasswordHash)); err != nil {
			return p + ".password_hash", fmt.Errorf("not a bcrypt hash; make one with: vedette hash-password")
		}
	}
	for i, t := range a.Tokens {
		p := fmt.Sprintf(".tokens[%d]", i)
		if p, err := common(p, t.Name, t.Role, t.Tenant); err != nil {
			return p, err
		}
		set := 0
		for _, s := range []string{t.Token, t.TokenFile, t.TokenSHA256} {
			if s != "" {
				set++
			}
		}
		if set != 1 {
			return p, fmt.Errorf("want exactly one of token, token_file and token_sha256, got %d", set)
		}
		if _, err := t.sum(); err != nil {
			switch {
			case t.TokenSHA256 != "":
				p += ".token_sha256"
			case t.TokenFile != "":
				p += ".token_file"
			default:
				p += ".token"
			}
			return p, err
		}
	}
	return "", nil
}

// sum is the SHA-256 of the token.
func (t Token) sum() ([32]byte, error) {
	var s [32]byte
	secret := t.Token
	switch {
	case t.TokenSHA256 != "":
		b, err := hex.DecodeString(t.TokenSHA256)
		if err != nil || len(b) != 32 {
			return s, fmt.Errorf("has %d characters; want the 64 hex digits that sha256sum prints", len(t.TokenSHA256))
		}
		return [32]byte(b), nil
	case t.TokenFile != "":
		b, err := os.ReadFile(t.TokenFile)
		if err != nil {
			return s, fmt.Errorf("want a readable file: %w", err)
		}
		secret = strings.TrimSpace(string(b))
	}
	if len(secret) < MinTokenLength {
		return s, fmt.Errorf("the token has %d characters; want %d or more, for instance from: openssl rand -hex 24", len(secret), MinTokenLength)
	}
	return sha256.Sum256([]byte(secret)), nil
}

// HashPassword makes the hash that a user's password_hash holds.
func HashPassword(password string) (string, error) {
	if len(password) < 8 {
		return "", record.Errorf(record.Invalid, "the password has %d characters; want 8 or more", len(password))
	}
	if len(password) > 72 {
		return "", record.Errorf(record.Invalid, "the password has %d bytes; bcrypt takes 72 at most", len(password))
	}
	h, err := bcrypt.GenerateFromPassword([]byte(password), 12)
	return string(h), err
}

// Auth decides who a request is from. Safe for concurrent use.
type Auth struct {
	key    []byte // signs sessions
	secure bool   // cookies only over TLS

	mu       sync.Mutex
	cfg      AuthConfig
	tokens   []tokenEntry
	verified map[[32]byte]time.Time // passwords seen lately, so that bcrypt runs once a minute and not for each request
	failures map[string][]time.Time // by address
	revoked  map[string]time.Time   // session ids signed out, until their end
	path     string                 // of the file that keeps revoked over a restart; "" for none

	slow chan struct{} // bounds how many passwords are checked at once
}

type tokenEntry struct {
	sum    [32]byte
	caller record.Caller
}

// NewAuth makes the gate. key signs sessions and must stay the same over
// restarts; secure marks cookies for TLS only.
func NewAuth(cfg AuthConfig, key []byte, secure bool) (*Auth, error) {
	a := &Auth{key: key, secure: secure, verified: map[[32]byte]time.Time{}, failures: map[string][]time.Time{}, revoked: map[string]time.Time{},
		slow: make(chan struct{}, 2)}
	return a, a.Apply(cfg)
}

// Apply changes who may come in.
func (a *Auth) Apply(cfg AuthConfig) error {
	var entries []tokenEntry
	for _, t := range cfg.Tokens {
		sum, err := t.sum()
		if err != nil {
			return fmt.Errorf("token %s: %w", t.Name, err)
		}
		entries = append(entries, tokenEntry{sum, caller(t.Name, t.Role, t.Tenant)})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cfg, a.tokens = cfg, entries
	clear(a.verified)
	return nil
}

func (a *Auth) enabled() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg.Enabled()
}

func caller(name, role, tenant string) record.Caller {
	r, _ := record.ParseRole(role) // validated
	c := record.Caller{Name: name, Role: r, Tenant: record.Tenant(tenant)}
	if tenant == "*" {
		c.AllTenants, c.Tenant = true, record.DefaultTenant
	}
	if tenant == "" {
		c.Tenant = record.DefaultTenant
	}
	return c
}

// local is who comes in while no credentials are configured.
var local = record.Caller{Name: "local", Role: record.Admin, Tenant: record.DefaultTenant, AllTenants: true}

// session is what the cookie carries, signed.
type session struct {
	id, user string
	expires  time.Time
}

const cookieName = "vedette_session"

// identify returns the caller of a request and, when a cookie vouches for it,
// the session.
func (a *Auth) identify(r *http.Request) (record.Caller, *session, error) {
	if !a.enabled() {
		return local, nil, nil
	}
	if h := r.Header.Get("Authorization"); h != "" {
		tok, ok := strings.CutPrefix(h, "Bearer ")
		if !ok {
			tok, ok = strings.CutPrefix(h, "Token ") // as clients of InfluxDB 2 say it
		}
		if ok {
			if c, ok := a.byToken(strings.TrimSpace(tok)); ok {
				return c, nil, nil
			}
			return record.Caller{}, nil, a.refuse(r, "the token is not known")
		}
		if user, pass, ok := r.BasicAuth(); ok {
			if c, ok := a.byToken(pass); ok {
				return c, nil, nil
			}
			c, err := a.byPassword(r, user, pass)
			return c, nil, err
		}
		return record.Caller{}, nil, record.Errorf(record.Unauthenticated, "the Authorization header is neither Bearer nor Basic")
	}
	if ck, err := r.Cookie(cookieName); err == nil {
		if s, c, ok := a.bySession(ck.Value, time.Now()); ok {
			return c, s, nil
		}
		return record.Caller{}, nil, record.Errorf(record.Unauthenticated, "the session has ended; sign in again")
	}
	return record.Caller{}, nil, record.Errorf(record.Unauthenticated, "sign in, or send a token: Authorization: Bearer <token>")
}

func (a *Auth) byToken(tok string) (record.Caller, bool) {
	sum := sha256.Sum256([]byte(tok))
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.tokens {
		if subtle.ConstantTimeCompare(sum[:], e.sum[:]) == 1 {
			return e.caller, true
		}
	}
	return record.Caller{}, false
}

func (a *Auth) user(name string) (User, bool) {
	for _, u := range a.cfg.Users {
		if u.Name == name {
			return u, true
		}
	}
	return User{}, false
}

// standInHash is compared with where a name is not known. It must cost as much
// as the hashes that HashPassword makes.
const standInHash = "$2a$12$WQlP.gp9rHVke7hKIytut.oVxgDYfGf7xxx78KTXIwJwHdjkagvFq"

// byPassword checks a password; guessing is slowed down per address.
func (a *Auth) byPassword(r *http.Request, name, password string) (record.Caller, error) {
	addr := clientIP(r)
	now := time.Now()
	a.mu.Lock()
	u, known := a.user(name)
	memo := sha256.Sum256([]byte(name + "\x00" + password + "\x00" + u.PasswordHash))
	if t, ok := a.verified[memo]; ok && now.Sub(t) < time.Minute {
		a.mu.Unlock()
		return caller(u.Name, u.Role, u.Tenant), nil
	}
	if a.tooMany(addr, now) {
		a.mu.Unlock()
		return record.Caller{}, record.Errorf(record.Limited, "too many failed sign-ins from %s; wait a minute", addr)
	}
	a.mu.Unlock()

	// One after the other: bcrypt takes a quarter of a second, and guesses sent
	// all at once would all begin before the first has failed.
	select {
	case a.slow <- struct{}{}:
		defer func() { <-a.slow }()
	case <-r.Context().Done():
		return record.Caller{}, r.Context().Err()
	}
	a.mu.Lock()
	over := a.tooMany(addr, now)
	a.mu.Unlock()
	if over {
		return record.Caller{}, record.Errorf(record.Limited, "too many failed sign-ins from %s; wait a minute", addr)
	}
	hash := u.PasswordHash
	if !known {
		// Spend the same time on a name that does not exist.
		hash = standInHash
	}
	err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	if err != nil || !known {
		return record.Caller{}, a.refuse(r, "name or password is wrong")
	}
	a.mu.Lock()
	if len(a.verified) > 1000 {
		clear(a.verified)
	}
	a.verified[memo] = now
	a.mu.Unlock()
	return caller(u.Name, u.Role, u.Tenant), nil
}

// tooMany reports ten failures within a minute; a.mu is held.
func (a *Auth) tooMany(addr string, now time.Time) bool {
	recent := slices.DeleteFunc(a.failures[addr], func(t time.Time) bool { return now.Sub(t) > time.Minute })
	if len(recent) == 0 {
		delete(a.failures, addr)
	} else {
		a.failures[addr] = recent
	}
	return len(recent) >= 10
}

func (a *Auth) refuse(r *http.Request, why string) error {
	addr, now := clientIP(r), time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tooMany(addr, now) {
		return record.Errorf(record.Limited, "too many failed sign-ins from %s; wait a minute", addr)
	}
	if len(a.failures) > 10_000 {
		clear(a.failures)
	}
	a.failures[addr] = append(a.failures[addr], now)
	return record.Errorf(record.Unauthenticated, "%s", why)
}

func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// start makes a session for a caller and the cookie that carries it.
func (a *Auth) start(c record.Caller, credential string) *http.Cookie {
	a.mu.Lock()
	hours := a.cfg.SessionHours
	a.mu.Unlock()
	if hours == 0 {
		hours = defaultSessionHours
	}
	id := rand.Text()
	exp := time.Now().Add(time.Duration(hours) * time.Hour)
	body := strings.Join([]string{id, base64.RawURLEncoding.EncodeToString([]byte(c.Name)), fmt.Sprint(exp.Unix())}, ".")
	return &http.Cookie{
		Name: cookieName, Value: body + "." + a.sign("session", body, credential), Path: "/", Expires: exp,
		HttpOnly: true, Secure: a.secure, SameSite: http.SameSiteStrictMode,
	}
}

func (a *Auth) sign(parts ...string) string {
	m := hmac.New(sha256.New, a.key)
	for _, p := range parts {
		fmt.Fprintf(m, "%d:%s", len(p), p)
	}
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// credential is what a session is bound to besides its name: when the password
// or token changes, its sessions end.
func (a *Auth) credential(name string) (record.Caller, string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u, ok := a.user(name); ok {
		return caller(u.Name, u.Role, u.Tenant), u.PasswordHash, true
	}
	for _, e := range a.tokens {
		if e.caller.Name == name {
			return e.caller, hex.EncodeToString(e.sum[:]), true
		}
	}
	return record.Caller{}, "", false
}

func (a *Auth) bySession(v string, now time.Time) (*session, record.Caller, bool) {
	parts := strings.Split(v, ".")
	if len(parts) != 4 {
		return nil, record.Caller{}, false
	}
	name, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, record.Caller{}, false
	}
	c, cred, ok := a.credential(string(name))
	if !ok {
		return nil, record.Caller{}, false
	}
	want := a.sign("session", strings.Join(parts[:3], "."), cred)
	if !hmac.Equal([]byte(want), []byte(parts[3])) {
		return nil, record.Caller{}, false
	}
	unix, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return nil, record.Caller{}, false
	}
	s := &session{id: parts[0], user: string(name), expires: time.Unix(unix, 0)}
	a.mu.Lock()
	_, gone := a.revoked[s.id]
	a.mu.Unlock()
	return s, c, now.Before(s.expires) && !gone
}

// end signs a session out. After an error it has ended, but only until a
// restart.
func (a *Auth) end(s *session) error {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, t := range a.revoked {
		if now.After(t) {
			delete(a.revoked, id)
		}
	}
	a.revoked[s.id] = s.expires
	if a.path == "" {
		return nil
	}
	var b strings.Builder
	for id, t := range a.revoked {
		fmt.Fprintf(&b, "%s %d\n", id, t.Unix())
	}
	tmp := a.path + ".new"
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("keep the end of a session: %w", err)
	}
	if err := os.Rename(tmp, a.path); err != nil {
		return fmt.Errorf("keep the end of a session: %w", err)
	}
	return nil
}

// KeepEnded keeps the sessions that were signed out in a file, so that a restart
// does not bring them back.
func (a *Auth) KeepEnded(path string) error {
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read ended sessions: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.path = path
	for line := range strings.Lines(string(b)) {
		var id string
		var unix int64
		if n, _ := fmt.Sscan(line, &id, &unix); n == 2 {
			a.revoked[id] = time.Unix(unix, 0)
		}
	}
	return nil
}

// csrf is the token that requests by cookie must carry when they change
// something.
func (a *Auth) csrf(s *session) string { return a.sign("csrf", s.id) }

// Key reads the signing key at path, or makes it.
func Key(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) == 32 {
		return b, nil
	}
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read session key: %w", err)
	}
	b = make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return nil, fmt.Errorf("write session key: %w", err)
	}
	return b, nil
}
