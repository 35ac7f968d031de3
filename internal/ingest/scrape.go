package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
)

// Scraper pulls targets as prometheus.yml's scrape_configs say, with
// Prometheus's own discovery, relabelling, parsers and limits.
type Scraper struct {
	manager   *scrape.Manager
	discovery *discovery.Manager
	log       *slog.Logger
}

// NewScraper checks and wires; nothing runs before Run.
func NewScraper(ctx context.Context, app storage.AppendableV2, reg prometheus.Registerer, log *slog.Logger) (*Scraper, error) {
	sd, err := discovery.CreateAndRegisterSDMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("register discovery metrics: %w", err)
	}
	d := discovery.NewManager(ctx, log, reg, sd, discovery.Name("scrape"))
	if d == nil {
		return nil, errors.New("start discovery: its metrics are registered twice")
	}
	m, err := scrape.NewManager(&scrape.Options{
		// A target found by discovery is scraped within a second of start, not
		// after Prometheus's five.
		DiscoveryReloadInterval:  model.Duration(1e9),
		DiscoveryReloadOnStartup: true,
	}, log, nil, nil, app, reg)
	if err != nil {
		return nil, fmt.Errorf("make scrape manager: %w", err)
	}
	return &Scraper{manager: m, discovery: d, log: log}, nil
}

// Apply makes cfg's scrape configs the ones in force. Targets that stay keep
// their schedule.
func (s *Scraper) Apply(cfg *config.Config) error {
	if err := s.manager.ApplyConfig(cfg); err != nil {
		return fmt.Errorf("apply scrape configs: %w", err)
	}
	scs, err := cfg.GetScrapeConfigs()
	if err != nil {
		return fmt.Errorf("read scrape configs: %w", err)
	}
	sds := make(map[string]discovery.Configs, len(scs))
	for _, sc := range scs {
		sds[sc.JobName] = sc.ServiceDiscoveryConfigs
	}
	if err := s.discovery.ApplyConfig(sds); err != nil {
		return fmt.Errorf("apply service discovery: %w", err)
	}
	return nil
}

// Run discovers and scrapes until the context given to NewScraper ends.
func (s *Scraper) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	var derr error
	wg.Go(func() {
		if err := s.discovery.Run(); err != nil && ctx.Err() == nil {
			derr = fmt.Errorf("run discovery: %w", err)
		}
	})
	stop := context.AfterFunc(ctx, s.manager.Stop)
	defer stop()
	err := s.manager.Run(s.discovery.SyncCh())
	wg.Wait()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("run scraping: %w", err)
	}
	return derr
}

// Manager serves the targets part of the HTTP API.
func (s *Scraper) Manager() *scrape.Manager { return s.manager }
