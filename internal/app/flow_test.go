package app_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestFlowReadsNoEnvironment: who may write checks over the API gets no secret
// of this process sent to a host of their choice.
func TestFlowReadsNoEnvironment(t *testing.T) {
	s := startIn(t, t.TempDir(), nil, map[string]string{"vedette.yml": "checks: []\n"})
	post := func(secret string) (int, string) {
		t.Helper()
		body := `{"name": "leak", "paused": true, "flow": {"secrets": {"x": ` + secret + `}, "steps": [{"request": {"url": "http://127.0.0.1:1/${x}"}}]}}`
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr()+"/api/v1/checks", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Vedette-CSRF", "1")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	for _, secret := range []string{`{"env": "PATH"}`, `{"file": "/etc/hostname"}`} {
		if code, body := post(secret); code != http.StatusForbidden || !strings.Contains(body, "vedette.yml") {
			t.Errorf("%s: got %d %s, want 403", secret, code, body)
		}
	}
	if code, body := post(`{"value": "hunter2-hunter2"}`); code != http.StatusCreated {
		t.Errorf("a value: got %d %s, want 201", code, body)
	}
	res, err := http.Get("http://" + s.Addr() + "/api/v1/checks/leak")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); strings.Contains(string(b), "hunter2") || !strings.Contains(string(b), "(removed)") {
		t.Errorf("the object shows the secret: %s", b)
	}
}
