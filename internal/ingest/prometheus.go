package ingest

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
)

// NotServed is a section of a foreign file that is accepted and has no effect.
type NotServed struct {
	Section string `json:"section"`
	Reason  string `json:"reason"`
}

// LoadPrometheus reads a prometheus.yml, and refuses what Prometheus refuses.
// What is accepted and not served is listed, never ignored in silence.
func LoadPrometheus(path string, log *slog.Logger) (*config.Config, []NotServed, error) {
	kinds := UnservedDiscoveries()
	cfg, err := config.LoadFile(path, false, log)
	if err != nil {
		return nil, nil, err
	}
	scs, err := cfg.GetScrapeConfigs()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	var out []NotServed
	add := func(section, format string, a ...any) {
		out = append(out, NotServed{section, fmt.Sprintf(format, a...)})
	}
	for _, sc := range scs {
		sc.ServiceDiscoveryConfigs = slices.DeleteFunc(sc.ServiceDiscoveryConfigs, func(c discovery.Config) bool {
			if !slices.Contains(kinds, c.Name()) {
				return false
			}
			add(fmt.Sprintf("scrape_configs[%s].%s_sd_configs", sc.JobName, c.Name()),
				"this build does not hold this discovery; build with -tags allsd, or list the targets with file_sd_configs or http_sd_configs")
			return true
		})
	}
	if len(cfg.AlertingConfig.AlertmanagerConfigs) > 0 {
		add("alerting.alertmanagers", "Vedette routes and sends alerts itself; name your routes with the key alertmanager in vedette.yml")
	}
	if cfg.TracingConfig.Endpoint != "" {
		add("tracing", "Vedette does not send traces of itself yet")
	}
	if cfg.GlobalConfig.QueryLogFile != "" {
		add("global.query_log_file", "there is no query log file yet")
	}
	if cfg.GlobalConfig.ScrapeFailureLogFile != "" {
		add("global.scrape_failure_log_file", "a target's last error stands on the Itself screen and in /api/v1/targets")
	}
	if cfg.Runtime.GoGC != 0 && cfg.Runtime.GoGC != 75 {
		add("runtime.gogc", "set the environment variable GOGC instead: the process serves more than this file")
	}
	return cfg, out, nil
}

// RuleFiles expands cfg's rule_files to the paths that exist.
func RuleFiles(cfg *config.Config) ([]string, error) {
	var files []string
	for _, pat := range cfg.RuleFiles {
		fs, err := filepath.Glob(pat)
		if err != nil {
			return nil, fmt.Errorf("rule_files: pattern %q: %w", pat, err)
		}
		files = append(files, fs...)
	}
	return files, nil
}
