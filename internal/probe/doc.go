// Package probe looks outward: it runs checks on an interval and turns each run
// into one record.CheckResult. It hides the prober and the scheduler.
//
// A failed run names the stage where it failed, keeps every phase that it passed
// and says the reason as a word of this closed list:
//
//	dns_nxdomain dns_timeout dns_error        resolve
//	refused unreachable connect_timeout       connect
//	reset                                     connect, tls, processing or transfer
//	tls_expired tls_name tls_unknown_ca       tls
//	tls_protocol tls_timeout tls_error        tls
//	no_response bad_reply                     processing
//	slow_body cut_body too_large              transfer
//	redirect_loop bad_redirect                redirect
//	status                                    status
//	header                                    header
//	body                                      body
//	slow certificate                          assertion
//	own_fault                                 any: this machine could not run it
package probe
