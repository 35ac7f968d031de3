package importer

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/vedette-sre/vedette/internal/probe"
)

var (
	secretName = regexp.MustCompile(`(?i)auth|token|secret|passw|pwd|cookie|session|credential|signature|api-?_?key|^key$|[-_]key$`)
	secretText = regexp.MustCompile(`(?i)(token|secret|passw(or)?d|passwd|pwd|api[-_]?key|credential)["']?\s*[:=>]`)
	userinfo   = regexp.MustCompile(`://[^/?#@\s"']*@`)
	queryValue = regexp.MustCompile(`(?i)([?&;][^=&;#\s"']*(?:auth|token|passw|secret|signature|credential|api_?-?key|session)[^=&;#\s"']*=)[^&;#\s"']+`)
	notFile    = regexp.MustCompile(`[^a-z0-9]+`)
)

// hideURL removes what looks like credentials from the URLs in a text.
func hideURL(s string) string {
	s = userinfo.ReplaceAllString(s, "://(removed)@")
	return queryValue.ReplaceAllString(s, "${1}(removed)")
}

// secretFile names the file that is to hold a secret of a check, relative to
// vedette.yml, and notes that it must be made.
func (im *importing) secretFile(d *draft, what string) string {
	name := strings.Trim(notFile.ReplaceAllString(strings.ToLower(hideURL(d.c.Name)), "-"), "-")
	if len(name) > 80 {
		name = name[:80]
	}
	if name == "" {
		name = "check"
	}
	base := "secrets/" + name + "-" + what
	path := base
	for n := 2; im.files[path]; n++ {
		path = fmt.Sprintf("%s-%d", base, n)
	}
	if im.files == nil {
		im.files = map[string]bool{}
	}
	im.files[path] = true
	im.note(d.where, "the "+what+" is not copied; the check reads it from "+path, "write it into that file, beside vedette.yml, or import with --with-secrets")
	return path
}

// basicAuth sets a user and a password.
func (im *importing) basicAuth(d *draft, user, password string) {
	if user == "" {
		if password != "" {
			im.note(d.where, "a password without a user did not convert", "set basic_auth by hand")
		}
		return
	}
	b := probe.BasicAuth{Username: user}
	switch {
	case password == "":
	case im.o.Secrets:
		b.Password = password
	default:
		b.PasswordFile = im.secretFile(d, "password")
	}
	d.c.BasicAuth = b
}

func (im *importing) bearer(d *draft, token string) {
	if im.o.Secrets {
		d.c.BearerToken = token
	} else {
		d.c.BearerFile = im.secretFile(d, "token")
	}
}

// target sets the URL without the credentials in it.
func (im *importing) target(d *draft, raw string) {
	raw = strings.TrimSpace(raw)
	d.c.URL = raw
	u, err := url.Parse(raw)
	if err != nil {
		d.c.URL = hideURL(raw) // refused, and told so
		return
	}
	if u.User != nil {
		password, _ := u.User.Password()
		im.basicAuth(d, u.User.Username(), password)
		u.User = nil
		d.c.URL = u.String()
	}
	if hidden := hideURL(d.c.URL); hidden != d.c.URL && !im.o.Secrets {
		d.c.URL = queryValue.ReplaceAllString(d.c.URL, "${1}REMOVED")
		im.note(d.where, "a value in the url that looks like a secret is not copied; REMOVED stands in its place", "put it in, or import with --with-secrets")
	}
}

// headers sets the request headers; those that carry credentials become files
// where there is a key for one.
func (im *importing) headers(d *draft, h map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		v := strings.TrimSpace(h[name])
		scheme, cred, _ := strings.Cut(v, " ")
		cred = strings.TrimSpace(cred)
		set := d.c.BasicAuth.Username != "" || d.c.BearerToken != "" || d.c.BearerFile != ""
		switch {
		case strings.EqualFold(name, "Authorization") && set:
			im.note(d.where, "the header Authorization is left out: the check has other credentials as well", "keep one")
			continue
		case strings.EqualFold(name, "Authorization") && strings.EqualFold(scheme, "Bearer") && cred != "":
			im.bearer(d, cred)
			continue
		case strings.EqualFold(name, "Authorization") && strings.EqualFold(scheme, "Basic"):
			if b, err := base64.StdEncoding.DecodeString(cred); err == nil {
				if user, password, ok := strings.Cut(string(b), ":"); ok && user != "" {
					im.basicAuth(d, user, password)
					continue
				}
			}
		case strings.EqualFold(name, "Content-Length"), strings.EqualFold(name, "Transfer-Encoding"), strings.EqualFold(name, "Connection"),
			strings.EqualFold(name, "Traceparent"):
			im.note(d.where, "the header "+quote(name)+" is left out: each run writes its own", "")
			continue
		}
		if secretName.MatchString(name) && v != "" && !im.o.Secrets {
			im.note(d.where, "the header "+quote(name)+" looks like a secret and is left out", "add it to headers, or import with --with-secrets")
			continue
		}
		if d.c.Headers == nil {
			d.c.Headers = map[string]string{}
		}
		d.c.Headers[name] = v
	}
}

// body sets what is sent.
func (im *importing) body(d *draft, body string) {
	if body == "" {
		return
	}
	if !im.o.Secrets && secretText.MatchString(body) {
		d.c.BodyFile = im.secretFile(d, "body")
		return
	}
	d.c.Body = body
}
