package web

import (
	"net/http"
	"strconv"

	"github.com/vedette-sre/vedette/internal/notify"
	"github.com/vedette-sre/vedette/internal/record"
)

func (s *Server) outbox(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	f := notify.OutboxFilter{Status: notify.Status(r.FormValue("status")), Before: r.FormValue("before"), Limit: 200}
	if v := r.FormValue("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1000 {
			return record.Errorf(record.Invalid, "limit %q: want a number from 1 to 1000", v)
		}
		f.Limit = n
	}
	page, err := t.Notifier.Outbox(r.Context(), f)
	if err != nil {
		return err
	}
	writeJSON(w, page)
	return nil
}

func (s *Server) retryNotification(w http.ResponseWriter, r *http.Request, t *Tenant) error {
	if err := t.Notifier.Retry(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
