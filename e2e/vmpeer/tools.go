//go:build tools

package vmpeer

import _ "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics"
