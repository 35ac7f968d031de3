package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// OAuth2 gets the bearer token of the requests by client credentials (RFC 6749,
// section 4.4). The token is kept until shortly before it ends; getting one is a
// hop of the run, with the step "oauth2 token".
type OAuth2 struct {
	TokenURL         string            `yaml:"token_url"`
	ClientID         string            `yaml:"client_id"`
	ClientSecret     string            `yaml:"client_secret,omitempty"`
	ClientSecretFile string            `yaml:"client_secret_file,omitempty"`
	Scopes           []string          `yaml:"scopes,omitempty"`
	Audience         string            `yaml:"audience,omitempty"`
	Params           map[string]string `yaml:"params,omitempty"` // further fields of the form
	// AuthStyle says where id and secret go: "header" (default) or "body".
	AuthStyle string `yaml:"auth_style,omitempty"`
}

const tokenStep = "oauth2 token"

// validateOAuth2 works on a copy, as validateProxy does.
func (c *Check) validateOAuth2() error {
	if c.OAuth2 == nil {
		return nil
	}
	o := *c.OAuth2
	c.OAuth2 = &o
	u, err := url.Parse(o.TokenURL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("oauth2.token_url: %q: want such as https://login.example.org/oauth2/token", hideInURLs(o.TokenURL))
	case u.User != nil:
		return fmt.Errorf("oauth2.token_url: %q: want no user in it; oauth2.client_id and client_secret are sent", hideInURLs(o.TokenURL))
	case o.ClientID == "":
		return errors.New("oauth2.client_id: is missing")
	case o.ClientSecret == "" && o.ClientSecretFile == "":
		return errors.New("oauth2.client_secret: is missing; want it or client_secret_file")
	case o.ClientSecret != "" && o.ClientSecretFile != "":
		return errors.New("oauth2.client_secret: is set beside oauth2.client_secret_file; keep one")
	case o.AuthStyle != "" && o.AuthStyle != "header" && o.AuthStyle != "body":
		return fmt.Errorf("oauth2.auth_style: %q: want header or body", o.AuthStyle)
	case c.BasicAuth.Username != "" || c.BearerToken != "" || c.BearerFile != "" || c.header("Authorization") != "":
		return errors.New("oauth2: is set beside basic_auth, bearer_token or the header Authorization; keep one")
	}
	if o.AuthStyle == "" {
		o.AuthStyle = "header"
	}
	for _, name := range sortedKeys(o.Params) {
		switch name {
		case "grant_type", "client_id", "client_secret", "scope", "audience":
			return fmt.Errorf("oauth2.params: %s is sent by itself; want other names", name)
		}
	}
	return nil
}

// oauthToken is a token and what it was got with.
type oauthToken struct {
	text  string
	until time.Time
	with  *material // another secret needs another token
}

// authorize sees to it that the run has a token. kept says that it is from an
// earlier run. The reply is that of a token endpoint that refuses.
func (r *run) authorize() (kept bool, rep *reply, f *failure) {
	r.mu.Lock()
	t := r.prepared.token
	r.mu.Unlock()
	if t != nil && t.with == r.material && time.Now().Before(t.until) {
		r.token, r.hidden = t.text, r.hidden.with(t.text)
		return true, nil, nil
	}
	t, rep, f = r.fetchToken()
	if f != nil {
		return false, rep, f
	}
	r.mu.Lock()
	r.prepared.token = t
	r.mu.Unlock()
	r.token = t.text
	return false, nil, nil
}

// forgetToken drops a token that was refused.
func (r *run) forgetToken() {
	r.mu.Lock()
	r.prepared.token = nil
	r.mu.Unlock()
}

// maxToken bounds a token: it travels in a header.
const maxToken = 64 << 10

// fetchToken asks the token endpoint.
func (r *run) fetchToken() (*oauthToken, *reply, *failure) {
	o := r.OAuth2
	u, err := url.Parse(o.TokenURL)
	if err != nil {
		return nil, nil, &failure{"processing", "own_fault", "oauth2.token_url: want a URL"} // refused before
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(o.Scopes) > 0 {
		form.Set("scope", strings.Join(o.Scopes, " "))
	}
	if o.Audience != "" {
		form.Set("audience", o.Audience)
	}
	for name, v := range o.Params {
		form.Set(name, v)
	}
	q := request{url: u, method: http.MethodPost, step: tokenStep,
		headers: map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}}
	if o.AuthStyle == "body" {
		form.Set("client_id", o.ClientID)
		form.Set("client_secret", r.client)
	} else {
		// Both are encoded as in a form first, says section 2.3.1.
		q.auth = "Basic " + basicCredentials(url.QueryEscape(o.ClientID), url.QueryEscape(r.client))
	}
	q.body = form.Encode()
	hop := r.addHop(u.String())
	hop.Step = tokenStep
	asked := time.Now()
	most := r.most
	r.most = max(most, 1<<20)
	rep, f := r.hop(hop, q)
	r.most = most
	if f != nil {
		if rep != nil && rep.head != nil && rep.head.StatusCode/100 == 2 {
			rep = nil // it may hold a token
		}
		if f.reason == "own_fault" {
			return nil, rep, f
		}
		return nil, rep, noToken(u, f.message)
	}
	var got struct {
		Token     string          `json:"access_token"`
		Type      string          `json:"token_type"`
		ExpiresIn json.RawMessage `json:"expires_in"`
		Error     string          `json:"error"`
		Words     string          `json:"error_description"`
	}
	err = json.Unmarshal(rep.body, &got)
	r.hidden = r.hidden.with(got.Token)
	switch {
	case rep.head.StatusCode/100 != 2 || got.Error != "":
		said := fmt.Sprintf("it answered %d %s", rep.head.StatusCode, http.StatusText(rep.head.StatusCode))
		if got.Error != "" {
			said += ": " + shorten(got.Error, 100)
		}
		if got.Words != "" {
			said += " (" + shorten(got.Words, 300) + ")"
		}
		return nil, rep, noToken(u, said)
	case err != nil:
		// What does not parse may hold a token: the body is not shown.
		return nil, nil, noToken(u, fmt.Sprintf("it answered %d, but %d bytes that are not the JSON of a token", rep.head.StatusCode, len(rep.body)))
	case got.Token == "":
		return nil, nil, noToken(u, "its answer has no access_token")
	case len(got.Token) > maxToken || strings.ContainsFunc(got.Token, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, nil, noToken(u, "its access_token cannot be sent in a header")
	case got.Type != "" && !strings.EqualFold(got.Type, "bearer"):
		return nil, nil, noToken(u, fmt.Sprintf("its token is of the type %q; want Bearer", shorten(got.Type, 40)))
	}
	return &oauthToken{text: got.Token, until: asked.Add(tokenLife(got.ExpiresIn)), with: r.material}, nil, nil
}

func noToken(u *url.URL, why string) *failure {
	return &failure{"processing", "oauth2", fmt.Sprintf("no token came from %s: %s", hideInURLs(u.String()), why)}
}

// tokenLife is how long a token is used: a little less than it lives, at most a
// day, and five minutes when the endpoint does not say.
func tokenLife(expires json.RawMessage) time.Duration {
	s, err := strconv.ParseFloat(strings.Trim(string(expires), `"`), 64)
	if err != nil || s != s || s < 0 {
		return 5 * time.Minute
	}
	life := time.Duration(min(s, 86400) * float64(time.Second))
	return life - min(life/5, 30*time.Second)
}

// isToken reports whether a hop got a token and is none of the target's.
func isToken(h record.Hop) bool { return h.Step == tokenStep }
