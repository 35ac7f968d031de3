// Package golden measures the four golden signals, latency, traffic, errors and
// saturation, of HTTP servers and clients, queues, pools and the stages of
// pipelines. It imports the standard library and instrument alone.
//
//	m := instrument.New(instrument.Config{Service: "checkout"})
//	http.ListenAndServe(":8080", golden.Handler(m, mux))
//	client := &http.Client{Transport: golden.Transport(m, nil)}
//
// The HTTP metrics have the names and tags of the OpenTelemetry semantic
// conventions (https://opentelemetry.io/docs/specs/semconv/http/http-metrics/),
// where those have one. The values of all tags are bounded: a route is the
// pattern that matched and never the path, a method that is not known is
// "_OTHER", and of the customers of a Stage only the largest and those that fail
// most have series.
//
// A tag without a value is left out of the series.
package golden
