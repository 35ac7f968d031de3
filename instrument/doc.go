// Package instrument measures a Go service: counters, gauges, meters,
// histograms and timers with tags. It imports the standard library alone.
//
//	m := instrument.New(instrument.Config{Service: "checkout"})
//	m.Counter("orders.placed", "country", "de").Inc()
//
// # The hot path
//
// Inc, Add, Set, Mark, Observe and Record take no lock and allocate nothing, and
// so does With of a vector for tags that it has seen. Counter, Gauge and the
// like look a series up by its tags: do that once, or use a vector where the
// values of the tags come with each request:
//
//	requests := m.CounterVec("http.requests", "method", "code")
//	requests.With(r.Method, "200").Inc()
//
// # What it costs
//
// A metric has at most Config.MaxSeries series (1,000 by default). What comes
// beyond is counted in one more series, with the only tag overflow=true, so that
// sums stay right and the overflow can be seen. Every name stands for one kind
// of instrument: asked for another kind, the registry gives an instrument that
// works and is not exported, and counts it in instrument.conflicts.
//
// # Distributions
//
// A histogram keeps the full distribution, as HDR histograms do, in buckets that
// are at most 1/64 of their lower bound wide: a quantile is off by at most
// 0.79 %. Count, sum, minimum and maximum are exact. Distributions of several
// processes can be merged.
//
// The packages beside this one export what a registry holds (export), tell of
// the process's health (health) and measure HTTP and gRPC servers, queues,
// pools and pipelines (golden, goldengrpc).
package instrument
