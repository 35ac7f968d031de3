package ingest

import (
	"net/http"
	"strings"
)

// Ping is GET or HEAD /ping: 204, or with verbose=true 200 and the version.
func (i *Influx) Ping(w http.ResponseWriter, r *http.Request) {
	i.header(w)
	if v := r.URL.Query().Get("verbose"); v == "" || v == "0" || v == "false" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answerJSON(w, http.StatusOK, map[string]string{"version": i.cfg.Version})
}

// Health is GET /health, which clients of the second API ask first.
func (i *Influx) Health(w http.ResponseWriter, _ *http.Request) {
	i.header(w)
	answerJSON(w, http.StatusOK, struct {
		Name    string   `json:"name"`
		Message string   `json:"message"`
		Status  string   `json:"status"`
		Checks  []string `json:"checks"`
		Version string   `json:"version"`
	}{"influxdb", "ready for queries and writes", "pass", []string{}, i.cfg.Version})
}

// maxInfluxQuery bounds the body of a query.
const maxInfluxQuery = 64 << 10

type influxResult struct {
	Statement int            `json:"statement_id"`
	Series    []influxSeries `json:"series,omitempty"`
}

type influxSeries struct {
	Name    string   `json:"name,omitempty"`
	Columns []string `json:"columns"`
}

// Query is GET or POST /query: what clients send before they write. A database
// need not be made, so that CREATE DATABASE always succeeds; none is listed, as
// there are none. Anything else is told to ask in PromQL.
func (i *Influx) Query(w http.ResponseWriter, r *http.Request) {
	i.header(w)
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		refuseInfluxV1(w, http.StatusMethodNotAllowed, "a query is sent with GET or POST")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxInfluxQuery)
	if err := r.ParseForm(); err != nil {
		refuseInfluxV1(w, http.StatusBadRequest, "read the query: "+err.Error())
		return
	}
	var results []influxResult
	for _, q := range influxStatements(r.Form.Get("q")) {
		res, ok := influxStatement(q)
		if !ok {
			refuseInfluxV1(w, http.StatusBadRequest, "InfluxQL is not spoken here, but for CREATE DATABASE, SHOW DATABASES and SHOW RETENTION POLICIES; ask in PromQL at /api/v1/query")
			return
		}
		res.Statement = len(results)
		results = append(results, res)
	}
	if results == nil {
		refuseInfluxV1(w, http.StatusBadRequest, `missing required parameter "q"`)
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"results": results})
}

// influxStatement answers a statement, of which only the first words matter.
func influxStatement(q string) (influxResult, bool) {
	words := strings.Fields(strings.ToUpper(q))
	is := func(want ...string) bool {
		for i, w := range want {
			if i >= len(words) || words[i] != w {
				return false
			}
		}
		return true
	}
	switch {
	case is("CREATE", "DATABASE") && len(words) > 2:
		return influxResult{}, true
	case is("SHOW", "DATABASES") && len(words) == 2:
		return influxResult{Series: []influxSeries{{"databases", []string{"name"}}}}, true
	case is("SHOW", "RETENTION", "POLICIES"):
		return influxResult{Series: []influxSeries{{"", []string{"name", "duration", "shardGroupDuration", "replicaN", "default"}}}}, true
	}
	return influxResult{}, false
}

// influxStatements splits a query at the semicolons that are not quoted.
func influxStatements(q string) []string {
	var out []string
	var quote byte
	at := 0
	keep := func(s string) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	for i := 0; i < len(q); i++ {
		switch c := q[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && c == ';':
			keep(q[at:i])
			at = i + 1
		}
	}
	keep(q[at:])
	return out
}
