// Package probe looks outward: it runs checks on an interval and turns each run
// into one record.CheckResult. It hides the prober, the scheduler and
// blackbox_exporter, which answers /probe.
//
// A failed run names the stage where it failed, keeps every phase that it passed
// and says the reason as a word of this closed list:
//
//	dns_nxdomain dns_timeout dns_error          resolve
//	refused unreachable connect_timeout         connect
//	reset                                       connect, tls, processing or transfer
//	tls_expired tls_name tls_unknown_ca         tls
//	tls_protocol tls_timeout tls_client_cert    tls
//	tls_error                                   tls
//	no_response                                 processing
//	bad_reply                                   processing: no HTTP; body: gzip that is none
//	slow_body cut_body too_large                transfer
//	redirect_loop bad_redirect                  redirect
//	status                                      status
//	header                                      header
//	body                                        body
//	slow certificate variable                   assertion; variable: of a flow
//	wrong_chain chain_halt stuck lagging        assertion: of a chain's node
//	syncing stale_head fork not_final           assertion
//	no_peers amendment_blocked bad_state        assertion
//	overloaded clock rate_limited rpc_error     assertion
//	own_fault                                   any: this machine could not run it
//
// The phases resolve, connect, tls, processing and transfer follow one another
// in each hop. A phase that failed keeps the time spent in it; those after it
// are not reached. Processing ends, and transfer begins, with the first byte of
// the final reply: a head that breaks off failed in transfer.
package probe
