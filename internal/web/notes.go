package web

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// notes lists the words to the readers of status pages.
func (s *Server) notes(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	os, err := t.Objects.List(r.Context(), state.KindNote)
	if err != nil {
		return err
	}
	type view struct {
		ID  string `json:"id"`
		Who string `json:"who"`
		StatusNote
	}
	out := []view{}
	for _, o := range os {
		if n, err := ParseStatusNote(o.ID, []byte(o.Body)); err == nil {
			out = append(out, view{o.ID, o.Who, n})
		}
	}
	writeJSON(w, map[string]any{"notes": out})
	return nil
}

// createNote adds one: about the failure of a check, a maintenance window or a
// page itself.
func (s *Server) createNote(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	b, err := bodyOf(r)
	if err != nil {
		return err
	}
	raw := make([]byte, 6)
	_, _ = rand.Read(raw) // never fails, says its documentation
	id := "n" + hex.EncodeToString(raw)
	n, err := ParseStatusNote(id, b)
	if err != nil {
		return err
	}
	if _, ok := t.Book.Check(n.Check); n.Check != "" && !ok {
		return record.Errorf(record.NotFound, "check: there is no check %q", n.Check)
	}
	if _, err := t.Objects.Create(r.Context(), state.Object{Kind: state.KindNote, ID: id, Body: string(b), Updated: time.Now(), Who: who(r)}); err != nil {
		return err
	}
	writeCreated(w, map[string]any{"id": id})
	return nil
}

func (s *Server) deleteNote(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	if err := t.Objects.Delete(r.Context(), state.KindNote, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) uptime(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	return t.Report.ServeUptime(w, r)
}
