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

// Desk serves the report and the notes of a tenant without a server around it.
func Desk(t *Tenant) http.Handler {
	s, mux := &Server{live: NewLive()}, http.NewServeMux()
	for pattern, h := range map[string]tenantHandler{
		"GET /reports/uptime": s.uptimeReport, "GET /notes": s.notes, "POST /notes": s.createNote, "DELETE /notes/{id}": s.deleteNote,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r, t); err != nil {
				writeError(w, err)
			}
		})
	}
	return mux
}
