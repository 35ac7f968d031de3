// Package metric keeps time series. It hides the engine, an embedded Prometheus
// TSDB: acknowledged samples are in its write-ahead log, old blocks go by age
// and size, and limits refuse new series with a reason instead of growing until
// the process dies. One Store is one tenant's directory.
package metric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/vedette-sre/vedette/instrument"
)

// Config is what a Store may be told. The zero value of a field means its
// default.
type Config struct {
	Retention    time.Duration // age at which a block goes; default 15 days
	MaxBytes     int64         // size of all blocks; 0 means no limit
	OutOfOrder   time.Duration // how late a sample may be; default 30 min, negative means none
	MaxExemplars int64         // default 20,000
	Limits       Limits
	// BlockDuration is the time range of the youngest blocks; default 2 h.
	// Tests shorten it.
	BlockDuration time.Duration
	// StartTimes keeps the start time that a counter's samples may carry, in an
	// encoding that Prometheus has behind a feature flag and older versions of it
	// do not read.
	StartTimes bool
}

func (c Config) withDefaults() Config {
	if c.Retention == 0 {
		c.Retention = 15 * 24 * time.Hour
	}
	if c.OutOfOrder == 0 {
		c.OutOfOrder = 30 * time.Minute
	}
	c.OutOfOrder = max(c.OutOfOrder, 0)
	if c.MaxExemplars == 0 {
		c.MaxExemplars = 20_000
	}
	if c.BlockDuration == 0 {
		c.BlockDuration = 2 * time.Hour
	}
	c.Limits = c.Limits.withDefaults()
	return c
}

// Store is an open directory of series. It implements Prometheus's
// storage.Storage, storage.ExemplarQueryable and the admin interface of its HTTP
// API. Safe for concurrent use.
type Store struct {
	db     *tsdb.DB
	logs   *logWatch
	limits atomic.Pointer[Limits]
	cfg    atomic.Pointer[Config]
	hits   *instrument.CounterVec
	// appended counts samples that passed the limits, whoever sent them.
	appended *instrument.Counter
	count    atomic.Int64
	changes  changes
	census   *census
	counted  counted
	refusals refusals
}

// Open opens or creates the series in dir and replays the write-ahead log; a
// torn tail is repaired and logged. m gets what the store says of itself, reg what
// the engine says.
func Open(dir string, cfg Config, m *instrument.Registry, reg prometheus.Registerer, log *slog.Logger) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make directory of series: %w", err)
	}
	o := tsdb.DefaultOptions()
	o.RetentionDuration = cfg.Retention.Milliseconds()
	o.MaxBytes = cfg.MaxBytes
	o.OutOfOrderTimeWindow = cfg.OutOfOrder.Milliseconds()
	o.EnableExemplarStorage, o.MaxExemplars = true, cfg.MaxExemplars
	o.WALCompression = compression.Snappy
	o.EnableSTStorage, o.EnableXOR2Encoding = cfg.StartTimes, cfg.StartTimes
	o.MinBlockDuration = cfg.BlockDuration.Milliseconds()
	o.MaxBlockDuration = max(min(cfg.Retention/10, 31*24*time.Hour), cfg.BlockDuration).Milliseconds()
	// A quarter of the engine's defaults: what a small tenant costs while idle.
	o.StripeSize = tsdb.DefaultStripeSize / 4
	o.HeadChunksWriteBufferSize = 1 << 20
	// The engine allocates a whole segment before it writes a block: 512 MB by
	// default, which a small disk does not have.
	o.MaxBlockChunkSegmentSize = 64 << 20
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	logs := &logWatch{Registerer: reg}
	census := newCensus()
	o.SeriesLifecycleCallback = census

	var late lateSamples
	var names map[chunks.HeadSeriesRef]labels.Labels
	if uncleanEnd(dir) {
		var err error
		if late, names, err = readLate(dir, log); err != nil {
			// The engine has not seen the directory yet and may mend what stopped us.
			log.Warn("late samples of before the crash could not be checked", "dir", dir, "err", err)
		}
	}
	db, err := tsdb.Open(dir, log, logs, o, nil)
	if err != nil {
		return nil, fmt.Errorf("open series in %s: %w", dir, err)
	}
	s := &Store{
		db: db, logs: logs, census: census,
		hits: m.CounterVec("vedette_store_limit_hits", "limit"), appended: m.Counter("vedette_store_samples_appended"),
	}
	m.Describe("vedette_store_limit_hits", "", "Samples refused by a limit of the metric store, by limit.")
	m.Describe("vedette_store_samples_appended", "", "Samples handed to the metric store within its limits.")
	for _, l := range limitNames {
		s.hits.With(l)
	}
	s.limits.Store(&cfg.Limits)
	s.cfg.Store(&cfg)
	m.Describe("vedette_store_max_series", "", "How many series may be in memory: limits.max_series.")
	m.GaugeFunc("vedette_store_max_series", func() float64 { return float64(s.limits.Load().MaxSeries) })
	reg.MustRegister(census)
	if n, err := s.restoreLate(cfg, late, names); err != nil {
		return nil, errors.Join(fmt.Errorf("restore late samples of before the crash in %s: %w", dir, err), db.Close())
	} else if n > 0 {
		log.Info("late samples of before the crash restored", "samples", n)
	}
	admit := s.admit
	census.admit.Store(&admit) // from here on: the replay brings back everything
	return s, nil
}

// Apply changes retention, out-of-order window and limits of an open store.
func (s *Store) Apply(cfg Config) error {
	cfg = cfg.withDefaults()
	if err := s.apply(cfg); err != nil {
		return err
	}
	s.limits.Store(&cfg.Limits)
	s.cfg.Store(&cfg)
	return nil
}

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// apply puts the engine's part of cfg in force.
func (s *Store) apply(cfg Config) error {
	c := &config.Config{StorageConfig: config.StorageConfig{
		TSDBConfig: &config.TSDBConfig{
			OutOfOrderTimeWindow: cfg.OutOfOrder.Milliseconds(),
			Retention: &config.TSDBRetentionConfig{
				Time: model.Duration(cfg.Retention),
				Size: units.Base2Bytes(cfg.MaxBytes),
			},
		},
		ExemplarsConfig: &config.ExemplarsConfig{MaxExemplars: cfg.MaxExemplars},
	}}
	if err := s.db.ApplyConfig(c); err != nil {
		return fmt.Errorf("change settings of the metric store: %w", err)
	}
	return nil
}

// SetWriteNotified has w told at each write, so that remote write sends at once
// and does not wait for its next look at the log.
func (s *Store) SetWriteNotified(w wlog.WriteNotified) { s.db.SetWriteNotified(w) }

// Close writes what must be written and releases the directory.
func (s *Store) Close() error { return s.db.Close() }

// Dir is the directory of the series.
func (s *Store) Dir() string { return s.db.Dir() }

// Querier reads samples between mint and maxt, Unix milliseconds, inclusive.
func (s *Store) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := s.db.Querier(mint, maxt)
	if err != nil || !s.hasDeletions() {
		return q, err
	}
	return untrimmed{q, mint, maxt}, nil
}

// ChunkQuerier reads compressed chunks; remote read uses it.
func (s *Store) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	q, err := s.db.ChunkQuerier(mint, maxt)
	if err != nil || !s.hasDeletions() {
		return q, err
	}
	return untrimmedChunks{q, mint, maxt}, nil
}

// ExemplarQuerier reads exemplars.
func (s *Store) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	return s.db.ExemplarQuerier(ctx)
}

// StartTime is the time of the oldest sample, Unix milliseconds.
func (s *Store) StartTime() (int64, error) { return s.db.StartTime() }

// CleanTombstones, Delete, Snapshot, Stats, WALReplayStatus and BlockMetas serve
// the admin part of Prometheus's HTTP API.
func (s *Store) CleanTombstones() error { return s.db.CleanTombstones() }

// Delete marks the matching samples between mint and maxt as deleted.
func (s *Store) Delete(ctx context.Context, mint, maxt int64, ms ...*labels.Matcher) error {
	defer s.changes.note(mint) // also of half a deletion
	return s.db.Delete(ctx, mint, maxt, ms...)
}

// Snapshot writes blocks holding everything to dir. Late samples in memory are
// compacted first, because the engine's snapshot of its head leaves them out.
func (s *Store) Snapshot(dir string, withHead bool) error {
	if withHead {
		if err := s.db.CompactOOOHead(context.Background()); err != nil {
			return fmt.Errorf("compact late samples: %w", err)
		}
	}
	return s.db.Snapshot(dir, withHead)
}

// Stats describes the series in memory.
func (s *Store) Stats(statsByLabelName string, limit int) (*tsdb.Stats, error) {
	return s.db.Head().Stats(statsByLabelName, limit), nil
}

// WALReplayStatus is always "done": Open returns after the replay.
func (s *Store) WALReplayStatus() (tsdb.WALReplayStatus, error) { return tsdb.WALReplayStatus{}, nil }

// BlockMetas lists the blocks on disk.
func (s *Store) BlockMetas() ([]tsdb.BlockMeta, error) { return s.db.BlockMetas(), nil }

// Usage says what a store holds and costs on disk.
type Usage struct {
	Series         uint64
	Chunks         int64
	Blocks         int
	BlocksBytes    int64
	WALBytes       int64
	Oldest, Newest time.Time // zero when empty
	Appended       int64     // samples since Open
	Retention      time.Duration
	MaxBytes       int64
	OutOfOrder     time.Duration
	Limits         Limits
}

// Usage measures the store; it walks the log's directory.
func (s *Store) Usage() Usage {
	h, cfg := s.db.Head(), s.cfg.Load()
	u := Usage{
		Series: h.NumSeries(), Appended: s.count.Load(),
		Retention: cfg.Retention, MaxBytes: cfg.MaxBytes, OutOfOrder: cfg.OutOfOrder, Limits: *s.limits.Load(),
	}
	if t, err := s.db.StartTime(); err == nil && t > 0 && h.MaxTime() > 0 {
		u.Oldest, u.Newest = time.UnixMilli(t), time.UnixMilli(h.MaxTime())
	}
	for _, b := range s.db.Blocks() {
		u.Blocks++
		u.BlocksBytes += b.Size()
		u.Chunks += int64(b.Meta().Stats.NumChunks)
	}
	for _, sub := range []string{"wal", "wbl", "chunks_head"} {
		u.WALBytes += dirSize(filepath.Join(s.db.Dir(), sub))
	}
	return u
}

// LimitHits returns how many samples each limit has refused since Open.
func (s *Store) LimitHits() map[string]int64 {
	out := make(map[string]int64, len(limitNames))
	for _, l := range limitNames {
		out[l] = int64(s.hits.With(l).Value())
	}
	return out
}

// MaxTime is the newest sample's time in Unix milliseconds, or math.MinInt64.
func (s *Store) MaxTime() int64 { return s.db.Head().MaxTime() }

// dirSize adds up the files directly in dir and one level below; a file that
// goes meanwhile counts as nothing.
func dirSize(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if !d.IsDir() {
			if fi, err := d.Info(); err == nil {
				n += fi.Size()
			}
		}
		return nil
	})
	return n
}
