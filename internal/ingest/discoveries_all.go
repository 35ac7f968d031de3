//go:build allsd

package ingest

import _ "github.com/prometheus/prometheus/plugins" // every discovery that Prometheus has

func standIns() {}
