package golden

import (
	"net/http"
	"strconv"
)

// other is what the conventions call a method or an error without a name of its
// own.
const other = "_OTHER"

// methods are the methods that get a tag of their own: those of RFC 9110, RFC
// 5789 (PATCH) and RFC 10008 (QUERY), as the conventions list them.
var methods = [...]string{
	http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead,
	http.MethodPatch, http.MethodOptions, http.MethodConnect, http.MethodTrace, "QUERY",
}

// methodTag is the tag of a request's method. Methods are case-sensitive.
func methodTag(method string) string {
	if method == "" { // of a client's request: GET
		return http.MethodGet
	}
	for _, m := range methods {
		if m == method {
			return m
		}
	}
	return other
}

// codeTag is the tag of a status code, "" of none.
func codeTag(code int) string {
	if code == 0 {
		return ""
	}
	return strconv.Itoa(code)
}

// tagged appends the tags that have a value to those of base.
func tagged(base []string, kv ...string) []string {
	out := append(make([]string, 0, len(base)+len(kv)), base...)
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			out = append(out, kv[i], kv[i+1])
		}
	}
	return out
}
