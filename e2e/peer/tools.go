//go:build tools

// Package peer pins the Prometheus server that Vedette is compared with. It is a
// module of its own, so that the product's go.mod does not see it.
package peer

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
