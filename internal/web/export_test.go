package web

import (
	"net/http"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// StandInHash is the hash that a password of an unknown name is compared with.
const StandInHash = standInHash

// BySession reads a session cookie.
func (a *Auth) BySession(v string) (record.Caller, bool) {
	_, c, ok := a.bySession(v, time.Now())
	return c, ok
}

// Cookie makes the session cookie of a caller.
func (a *Auth) Cookie(c record.Caller) *http.Cookie {
	_, cred, _ := a.credential(c.Name)
	return a.start(c, cred)
}
