package probe

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const removed = "(removed)"

var (
	userinfo    = regexp.MustCompile(`://[^/?#@\s"']+@`)
	secretName  = regexp.MustCompile(`(?i)auth|token|secret|passw|cookie|session|credential|signature|api-?key|^key$|-key$`)
	secretQuery = regexp.MustCompile(`(?i)([?&;][^=&;#\s"']*(?:token|passw|secret|signature|credential|api_?key)[^=&;#\s"']*=)[^&;#\s"']+`)
)

// sensitive reports whether a header of this name carries credentials, by its
// name: they are sent to the check's own host only and never shown.
func sensitive(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Www-Authenticate", "Proxy-Authenticate", "Authentication-Info", "Idempotency-Key":
		return false // they ask for credentials or name a request
	}
	return secretName.MatchString(name)
}

// hideInURLs removes users, passwords and the values of tell-tale query keys.
func hideInURLs(s string) string {
	if strings.Contains(s, "@") {
		s = userinfo.ReplaceAllString(s, "://"+removed+"@")
	}
	if strings.Contains(s, "=") {
		s = secretQuery.ReplaceAllString(s, "${1}"+removed)
	}
	return s
}

// secrets are texts that must not be shown, the longest first.
type secrets []string

// with adds texts and the forms in which they travel.
func (s secrets) with(texts ...string) secrets {
	out := slices.Clone(s)
	for _, t := range texts {
		t = strings.TrimSpace(t)
		if t == "" {
			continue
		}
		out = append(out, t, url.QueryEscape(t), url.PathEscape(t))
		if scheme, rest, ok := strings.Cut(t, " "); ok && token.MatchString(scheme) && rest != "" {
			out = append(out, strings.TrimSpace(rest)) // "Bearer abc": abc alone as well
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	slices.SortStableFunc(out, func(a, b string) int { return len(b) - len(a) })
	return out
}

// clean removes the secrets from a text.
func (s secrets) clean(text string) string {
	for _, sec := range s {
		if len(sec) < 4 {
			text = replaceWord(text, sec)
			continue
		}
		text = strings.ReplaceAll(text, sec, removed)
	}
	return hideInURLs(text)
}

// replaceWord removes a very short secret where it stands alone; inside words
// it would make every text unreadable and hide nothing.
func replaceWord(text, sec string) string {
	var b strings.Builder
	for rest := text; ; {
		i := strings.Index(rest, sec)
		if i < 0 {
			b.WriteString(rest)
			return b.String()
		}
		before, _ := utf8.DecodeLastRuneInString(text[:len(text)-len(rest)+i])
		after, _ := utf8.DecodeRuneInString(rest[i+len(sec):])
		b.WriteString(rest[:i])
		if inWord(before) || inWord(after) {
			b.WriteString(sec)
		} else {
			b.WriteString(removed)
		}
		rest = rest[i+len(sec):]
	}
}

func inWord(r rune) bool {
	return r != utf8.RuneError && (r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r))
}

func basicCredentials(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// cookieValues are the values worth hiding: a short one is a flag and not a
// credential, and hiding it would garble texts.
func cookieValues(cookies []*http.Cookie) []string {
	var out []string
	for _, c := range cookies {
		if len(c.Value) >= 6 {
			out = append(out, c.Value)
		}
	}
	return out
}

// maxReply is how much of a failed reply is kept.
const maxReply = 4096

// showReply renders the head of a reply and the first of its body: at most
// maxReply bytes of valid UTF-8 without credentials.
func showReply(head *http.Response, body []byte, s secrets) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\r\n", head.Proto, head.Status)
	h := head.Header.Clone()
	for name := range h {
		if sensitive(name) {
			h[name] = []string{removed}
		}
	}
	_ = h.Write(&b) // a strings.Builder takes everything
	b.WriteString("\r\n")
	b.Write(body[:min(len(body), 4*maxReply)]) // what is removed makes it shorter
	return s.show(b.String())
}

var headerLine = regexp.MustCompile(`(?m)^([!#$%&'*+.^_|~0-9A-Za-z-]+):[^\r\n]*`)

// hideHeaders removes the values of telling headers from a head that was not
// parsed.
func hideHeaders(raw string) string {
	return headerLine.ReplaceAllStringFunc(raw, func(line string) string {
		if name, _, _ := strings.Cut(line, ":"); sensitive(name) {
			return name + ": " + removed
		}
		return line
	})
}

// show makes a text from outside, cut off anywhere, fit to be kept: at most
// maxReply bytes of valid UTF-8 without secrets.
func (s secrets) show(text string) string {
	text = s.clean(text)
	for _, sec := range s {
		for k := len(sec) - 1; k >= 4; k-- {
			if strings.HasSuffix(text, sec[:k]) {
				text = text[:len(text)-k] // the cut went through a secret
				break
			}
		}
	}
	return shorten(strings.ToValidUTF8(text, "\uFFFD"), maxReply)
}

// shorten cuts a text to n bytes at most, "…" included.
func shorten(s string, n int) string {
	const ellipsis = "…"
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(ellipsis)], "") + ellipsis
}
