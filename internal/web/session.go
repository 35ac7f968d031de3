package web

import (
	"encoding/json"
	"net/http"

	"github.com/vedette-sre/vedette/internal/record"
)

type sessionView struct {
	Auth     bool     `json:"auth"`
	SignedIn bool     `json:"signed_in"`
	User     string   `json:"user"`
	Role     string   `json:"role"`
	Tenant   string   `json:"tenant"`
	Tenants  []string `json:"tenants"`
	CSRF     string   `json:"csrf"`
	Version  string   `json:"version"`
	Zone     string   `json:"zone"`
}

func (s *Server) getSession(w http.ResponseWriter, r *http.Request) {
	v := sessionView{Auth: s.o.Auth.enabled(), Tenants: []string{}, Zone: "UTC"}
	c, sess, err := s.o.Auth.identify(r)
	if err != nil {
		writeJSON(w, v)
		return
	}
	v.SignedIn, v.User, v.Role, v.Tenant, v.Version = true, c.Name, c.Role.String(), string(c.Tenant), s.o.Version.Version
	v.Tenants = []string{string(c.Tenant)}
	if c.AllTenants {
		v.Tenants = s.o.Tenants.Names()
	}
	if sess != nil {
		v.CSRF = s.o.Auth.csrf(sess)
	}
	writeJSON(w, v)
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if !s.o.Auth.enabled() {
		writeError(w, record.Errorf(record.Conflict, "sign-in is not needed: no user or token is configured"))
		return
	}
	var in struct{ User, Password, Token string }
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
	if err := dec.Decode(&in); err != nil {
		writeError(w, record.Errorf(record.Invalid, `want JSON such as {"user":"…","password":"…"} or {"token":"…"}: %w`, err))
		return
	}
	var c record.Caller
	if in.Token != "" {
		var ok bool
		if c, ok = s.o.Auth.byToken(in.Token); !ok {
			writeError(w, s.o.Auth.refuse(r, "the token is not known"))
			return
		}
	} else {
		var err error
		if c, err = s.o.Auth.byPassword(r, in.User, in.Password); err != nil {
			writeError(w, err)
			return
		}
	}
	_, cred, ok := s.o.Auth.credential(c.Name)
	if !ok {
		writeError(w, record.Errorf(record.Unauthenticated, "%s was removed from the configuration", c.Name))
		return
	}
	http.SetCookie(w, s.o.Auth.start(c, cred))
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	_, sess, err := s.o.Auth.identify(r)
	if err == nil && sess != nil {
		if r.Header.Get("X-Vedette-CSRF") != s.o.Auth.csrf(sess) {
			writeError(w, record.Errorf(record.Forbidden, "the header X-Vedette-CSRF is missing or old; reload the page"))
			return
		}
		if err := s.o.Auth.end(sess); err != nil {
			s.o.Log.Error("a sign-out will not outlive a restart", "err", err)
		}
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, Secure: s.o.Auth.secure, SameSite: http.SameSiteStrictMode})
	w.WriteHeader(http.StatusNoContent)
}
