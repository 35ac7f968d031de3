package browser

import (
	"strings"

	"github.com/vedette-sre/vedette/internal/record"
)

// netError is what one of Chromium's network errors means in the words of
// checks.
type netError struct{ stage, reason, said string }

// netErrors are the errors of net/base/net_error_list.h that a page can meet,
// without "net::ERR_".
var netErrors = map[string]netError{
	"NAME_NOT_RESOLVED":              {"resolve", "dns_nxdomain", "the name does not exist"},
	"NAME_RESOLUTION_FAILED":         {"resolve", "dns_error", "the name could not be resolved"},
	"DNS_TIMED_OUT":                  {"resolve", "dns_timeout", "the DNS server did not answer in time"},
	"DNS_SERVER_FAILED":              {"resolve", "dns_error", "the DNS server could not answer"},
	"DNS_MALFORMED_RESPONSE":         {"resolve", "dns_error", "the DNS server's answer cannot be read"},
	"DNS_NO_MATCHING_SUPPORTED_ALPN": {"resolve", "dns_error", "the name offers no protocol that the browser speaks"},
	"ICANN_NAME_COLLISION":           {"resolve", "dns_error", "the name collides with a new top-level domain"},

	"CONNECTION_REFUSED":     {"connect", "refused", "the server refused the connection: nothing listens there"},
	"CONNECTION_TIMED_OUT":   {"connect", "connect_timeout", "the server did not take the connection in time"},
	"ADDRESS_UNREACHABLE":    {"connect", "unreachable", "there is no route to the server"},
	"INTERNET_DISCONNECTED":  {"connect", "own_fault", "this machine has no network"},
	"NETWORK_ACCESS_DENIED":  {"connect", "unreachable", "a firewall of this machine forbids the connection"},
	"ADDRESS_INVALID":        {"connect", "unreachable", "the address is none that can be connected to"},
	"CONNECTION_FAILED":      {"connect", "unreachable", "the connection could not be made"},
	"NETWORK_CHANGED":        {"connect", "own_fault", "the network of this machine changed"},
	"INSUFFICIENT_RESOURCES": {"connect", "own_fault", "this machine ran out of sockets or memory"},

	"CERT_DATE_INVALID":              {"tls", "tls_expired", "the certificate has expired or is not valid yet"},
	"CERT_COMMON_NAME_INVALID":       {"tls", "tls_name", "the certificate is for another name"},
	"CERT_AUTHORITY_INVALID":         {"tls", "tls_unknown_ca", "the certificate is signed by an authority that is not trusted here"},
	"CERT_SYMANTEC_LEGACY":           {"tls", "tls_unknown_ca", "the certificate is signed by an authority that is no longer trusted"},
	"SSL_PROTOCOL_ERROR":             {"tls", "tls_error", "the TLS handshake failed, or the server does not speak TLS on this port"},
	"SSL_VERSION_OR_CIPHER_MISMATCH": {"tls", "tls_protocol", "the server and the browser share no version or cipher of TLS"},
	"SSL_OBSOLETE_CIPHER":            {"tls", "tls_protocol", "the server wants a cipher that is not safe"},
	"SSL_CLIENT_AUTH_CERT_NEEDED":    {"tls", "tls_client_cert", "the server wants a certificate of the browser"},
	"BAD_SSL_CLIENT_AUTH_CERT":       {"tls", "tls_client_cert", "the server does not take the browser's certificate"},

	"EMPTY_RESPONSE":              {"processing", "no_response", "the server closed the connection without an answer"},
	"INVALID_HTTP_RESPONSE":       {"processing", "bad_reply", "the reply is not HTTP"},
	"INVALID_RESPONSE":            {"processing", "bad_reply", "the reply is not valid"},
	"HTTP2_PROTOCOL_ERROR":        {"processing", "bad_reply", "the server broke the rules of HTTP/2"},
	"QUIC_PROTOCOL_ERROR":         {"processing", "bad_reply", "the server broke the rules of QUIC"},
	"RESPONSE_HEADERS_TOO_BIG":    {"transfer", "too_large", "the headers of the reply are too large"},
	"RESPONSE_HEADERS_TRUNCATED":  {"transfer", "cut_body", "the headers of the reply broke off"},
	"CONTENT_LENGTH_MISMATCH":     {"transfer", "cut_body", "the body ended early"},
	"INCOMPLETE_CHUNKED_ENCODING": {"transfer", "cut_body", "the body ended early"},
	"INVALID_CHUNKED_ENCODING":    {"transfer", "bad_reply", "the body is not encoded as its headers say"},
	"CONTENT_DECODING_FAILED":     {"transfer", "bad_reply", "the body is not encoded as its headers say"},
	"TOO_MANY_REDIRECTS":          {"redirect", "redirect_loop", "the server redirects too many times"},
	"INVALID_REDIRECT":            {"redirect", "bad_redirect", "the reply redirects to what is no address"},
	"UNSAFE_REDIRECT":             {"redirect", "bad_redirect", "the reply redirects to where a browser does not go"},
	"UNKNOWN_URL_SCHEME":          {"redirect", "bad_redirect", "the reply redirects to an address that is not HTTP"},
	"DISALLOWED_URL_SCHEME":       {"redirect", "bad_redirect", "the reply redirects to an address that is not HTTP"},
	"INVALID_AUTH_CREDENTIALS":    {"status", "status", "the server does not take the credentials"},
	"BLOCKED_BY_RESPONSE":         {"header", "header", "the headers of the reply forbid the browser to show it"},
	"BLOCKED_BY_CLIENT":           {"processing", "own_fault", "the browser does not load it"},
	"UNSAFE_PORT":                 {"connect", "own_fault", "a browser refuses to connect to this port"},
	"OUT_OF_MEMORY":               {"processing", "own_fault", "the browser ran out of memory"},
}

// explain puts a network error of a document into the words of checks. began
// says that some of the reply was there already.
func explain(text string, began bool) Failure {
	name := strings.TrimPrefix(text, "net::ERR_")
	e, known := netErrors[name]
	switch {
	case known:
	case strings.HasPrefix(name, "CERT_") || strings.HasPrefix(name, "SSL_"):
		e = netError{"tls", "tls_error", "the TLS handshake failed"}
	case strings.HasPrefix(name, "DNS_"):
		e = netError{"resolve", "dns_error", "the name could not be resolved"}
	case strings.HasPrefix(name, "HTTP2_") || strings.HasPrefix(name, "QUIC_"):
		e = netError{"processing", "bad_reply", "the server broke the rules of its protocol"}
	case name == "CONNECTION_RESET" || name == "CONNECTION_CLOSED" || name == "CONNECTION_ABORTED" || name == "SOCKET_NOT_CONNECTED":
		e = netError{"processing", "reset", "the server cut the connection instead of answering"}
		if began {
			e = netError{"transfer", "reset", "the server cut the connection in the middle of the reply"}
		}
	case name == "TIMED_OUT":
		e = netError{"processing", "no_response", "no reply came in time"}
		if began {
			e = netError{"transfer", "slow_body", "the reply began, but did not end in time"}
		}
	default:
		e = netError{"processing", "bad_reply", "the page could not be loaded"}
	}
	return Failure{e.stage, e.reason, e.said + " (" + text + ")"}
}

// phaseOf is the phase of a hop in which a stage fails; ok is false for stages
// after the reply.
func phaseOf(stage string) (record.Phase, bool) {
	for p := record.Resolve; p < record.NumPhases; p++ {
		if p.String() == stage {
			return p, true
		}
	}
	return 0, false
}
