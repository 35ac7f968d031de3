package web

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// marker is a moment with which charts compare before and after.
type marker struct {
	ID     string            `json:"id"`
	At     time.Time         `json:"at"`
	Text   string            `json:"text"`
	Kind   string            `json:"kind"` // "release", "change" or "note"
	Labels map[string]string `json:"labels"`
	Source string            `json:"source"`
	Who    string            `json:"who"`
}

func (s *Server) markers(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	from, to := time.Time{}, time.Now().Add(24*time.Hour)
	for name, at := range map[string]*time.Time{"from": &from, "to": &to} {
		if v := r.FormValue(name); v != "" {
			var err error
			if *at, err = time.Parse(time.RFC3339Nano, v); err != nil {
				return record.Errorf(record.Invalid, "%s %q: want a time such as 2026-11-01T18:04:00Z", name, v)
			}
		}
	}
	os, err := t.Objects.List(r.Context(), state.KindMarker)
	if err != nil {
		return err
	}
	out := []marker{}
	for _, o := range os {
		var m marker
		if err := json.Unmarshal([]byte(o.Body), &m); err != nil {
			return fmt.Errorf("read marker %s: %w", o.ID, err)
		}
		m.ID, m.Source, m.Who = o.ID, "api", o.Who
		if !m.At.Before(from) && m.At.Before(to) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b marker) int { return b.At.Compare(a.At) })
	writeJSON(w, map[string]any{"markers": out})
	return nil
}

func (s *Server) createMarker(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	b, err := bodyOf(r)
	if err != nil {
		return err
	}
	m := marker{Kind: "note", Labels: map[string]string{}}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return record.Errorf(record.Invalid, "the marker cannot be read: %v; want such as {\"text\": \"release 1.4\", \"kind\": \"release\"}", err)
	}
	switch {
	case m.Text == "" || len(m.Text) > 500:
		return record.Errorf(record.Invalid, "text: has %d bytes; want from 1 to 500", len(m.Text))
	case !slices.Contains([]string{"release", "change", "note"}, m.Kind):
		return record.Errorf(record.Invalid, "kind: %q: want release, change or note", m.Kind)
	}
	if m.At.IsZero() {
		m.At = time.Now()
	}
	raw := make([]byte, 6)
	_, _ = rand.Read(raw) // never fails, says its documentation
	m.ID = "m" + hex.EncodeToString(raw)
	m.At = m.At.UTC()
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := t.Objects.Create(r.Context(), state.Object{Kind: state.KindMarker, ID: m.ID, Body: string(body), Updated: time.Now(), Who: who(r)}); err != nil {
		return err
	}
	s.live.Changed(t.Name, "checks")
	writeCreated(w, map[string]any{"id": m.ID})
	return nil
}

func (s *Server) deleteMarker(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	if err := t.Objects.Delete(r.Context(), state.KindMarker, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// silence keeps alerts with these labels quiet, through the door that
// Alertmanager's clients use.
func silence(t *Tenant, labels map[string]string, from, to time.Time, by, why string) (id string, err error) {
	type matcher struct {
		Name    string `json:"name"`
		Value   string `json:"value"`
		IsRegex bool   `json:"isRegex"`
		IsEqual bool   `json:"isEqual"`
	}
	ms := []matcher{}
	for n, v := range labels {
		ms = append(ms, matcher{n, v, false, true})
	}
	body, err := json.Marshal(map[string]any{"matchers": ms, "startsAt": from.UTC(), "endsAt": to.UTC(), "createdBy": by, "comment": why})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequest(http.MethodPost, "/api/v2/silences", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	held := &heldWriter{header: http.Header{}, code: http.StatusOK}
	t.Alertmanager.ServeHTTP(held, req)
	if held.code != http.StatusOK {
		return "", record.Errorf(record.Internal, "the silence was not taken: %s", held.body.String())
	}
	var answer struct {
		SilenceID string `json:"silenceID"`
	}
	if err := json.Unmarshal(held.body.Bytes(), &answer); err != nil {
		return "", fmt.Errorf("the answer to the silence: %w", err)
	}
	return answer.SilenceID, nil
}
