package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/value"

	"github.com/vedette-sre/vedette/internal/record"
)

// PushStore keeps groups over a restart. A blob that Put returned for is there
// after a crash. Safe for concurrent use.
type PushStore interface {
	Put(ctx context.Context, key string, blob []byte) error
	Delete(ctx context.Context, key string) error // of an unknown key: nil
	All(ctx context.Context, f func(key string, blob []byte) error) error
}

// PushConfig bounds what a Push holds. Zero means the default.
type PushConfig struct {
	// Interval is how often the groups are written again; default 15 s.
	Interval time.Duration `yaml:"interval"`
	// MaxGroups is how many groups are held; default 10,000.
	MaxGroups int `yaml:"max_groups"`
	// MaxSeries is how many series all groups hold; default 1,000,000. They may
	// take 2 KiB each on the average: their labels, and what was pushed.
	MaxSeries int `yaml:"max_series"`
	// MaxBytes is how long the metrics of one push may be, decompressed; default
	// 16 MiB. Decoded they may take fifty times that.
	MaxBytes int64 `yaml:"max_bytes"`
	// MaxAge ends a group to which nothing was pushed for so long; 0 keeps it until
	// it is deleted, as the Pushgateway of Prometheus does.
	MaxAge time.Duration `yaml:"max_age"`
}

// Validate says what is wrong with the config.
func (c PushConfig) Validate() error {
	switch {
	case c.Interval != 0 && c.Interval < time.Second:
		return fmt.Errorf("pushgateway: interval is %s; set it to 1s or more", c.Interval)
	case c.MaxGroups < 0 || c.MaxSeries < 0 || c.MaxBytes < 0 || c.MaxAge < 0:
		return errors.New("pushgateway: a limit is negative; leave it out for the default")
	}
	return nil
}

// Push takes what batch jobs push in the way of the Prometheus Pushgateway,
// keeps it by group, and writes it again and again as a scrape of that gateway
// would. Safe for concurrent use.
type Push struct {
	sink   *Sink
	store  PushStore
	cfg    PushConfig
	counts *Counts
	log    *slog.Logger

	// write is held while groups change or are written: a push and a round must
	// not cross. It is taken before mu.
	write  sync.Mutex
	marked int64 // time of the last marker, Unix milliseconds: its series may come back at once

	mu     sync.RWMutex // for readers; only the holder of write changes what follows
	groups map[string]*pushGroup
	types  map[string]pushType   // of the families in all groups
	owners map[string]*pushGroup // of each series
	bytes  int                   // of all groups; see pushGroup.size
}

type pushType struct {
	of     dto.MetricType
	groups int
}

// pushGroup is what was pushed under one grouping key.
type pushGroup struct {
	key      string // see pushKey
	labels   []pushLabel
	families map[string]pushFamily
	pushed   time.Time // the last push that was taken; zero for none
	failed   time.Time // the last that was inconsistent; zero for none
	series   []pushSeries
	size     int // bytes of the series' labels and of the families

	gone bool // deleted, and some markers are owed

	// Of the holder of Push.write alone.
	owed []string // series that it had and has no more, and whose markers are not written
	last int64    // time of the last samples, Unix milliseconds
}

type pushFamily struct {
	mf     *dto.MetricFamily
	pushed time.Time
}

const (
	pushProtocol = "pushgateway"
	pushTime     = "push_time_seconds"
	pushFailure  = "push_failure_time_seconds"
	// pushChunk is how many series of several groups are written in one transaction.
	pushChunk = 10_000
	// pushSeriesBytes is what a series may take on the average.
	pushSeriesBytes = 2048
)

// NewPush makes a Push with the groups that store has. cfg must be valid.
func NewPush(sink *Sink, store PushStore, cfg PushConfig, counts *Counts, log *slog.Logger) (*Push, error) {
	cfg.Interval = cmp.Or(cfg.Interval, 15*time.Second)
	cfg.MaxGroups = cmp.Or(cfg.MaxGroups, 10_000)
	cfg.MaxSeries = cmp.Or(cfg.MaxSeries, 1_000_000)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 16<<20)
	p := &Push{sink: sink, store: store, cfg: cfg, counts: counts, log: log,
		groups: map[string]*pushGroup{}, types: map[string]pushType{}, owners: map[string]*pushGroup{}}
	err := store.All(context.Background(), func(key string, blob []byte) error {
		g, err := decodePushGroup(blob)
		if err == nil {
			err = p.build(g)
		}
		if err != nil {
			// One that cannot be read must not keep all others from being served.
			log.Error("a pushed group cannot be read and is left out; push or delete it again", "group", key, "err", err)
			return nil
		}
		p.swap(g)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the pushed groups: %w", err)
	}
	return p, nil
}

// ServeHTTP takes PUT, POST and DELETE below /metrics/job/.
func (p *Push) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	code := http.StatusOK
	switch r.Method {
	case http.MethodPut, http.MethodPost:
		err = p.push(r)
	case http.MethodDelete:
		code = http.StatusAccepted
		err = p.delete(r)
	default:
		w.Header().Set("Allow", "PUT, POST, DELETE")
		http.Error(w, "a group is pushed with PUT or POST and removed with DELETE", http.StatusMethodNotAllowed)
		return
	}
	if err == nil {
		w.WriteHeader(code)
		return
	}
	switch record.KindOf(err) {
	case record.Invalid:
		code = http.StatusBadRequest
	case record.NotFound:
		code = http.StatusNotFound
	case record.TooLarge:
		code = http.StatusRequestEntityTooLarge
	case record.Limited:
		code = http.StatusTooManyRequests
	default:
		code = http.StatusInternalServerError
		p.log.Error("a push was not stored", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	http.Error(w, err.Error(), code)
}

// refuse counts a push that is not taken.
func (p *Push) refuse(reason string, err error) error {
	p.counts.Add(pushProtocol, 0, map[string]int{reason: 1})
	return err
}

func (p *Push) push(r *http.Request) error {
	group, err := pushPath(r.URL.EscapedPath())
	if err != nil {
		return p.refuse("bad_path", err)
	}
	families, err := pushBody(r, p.cfg.MaxBytes)
	if err != nil {
		if record.KindOf(err) == record.TooLarge {
			return p.refuse("too_large", err)
		}
		return p.refuse("undecodable", err)
	}
	p.write.Lock()
	defer p.write.Unlock()
	now := time.Now()
	before := p.groups[pushKey(group)]
	if before == nil && len(p.groups) >= p.cfg.MaxGroups {
		return p.refuse("max_groups", record.Errorf(record.Limited, "%d groups are held; delete those that are not needed any more, or raise max_groups", len(p.groups)))
	}
	next := &pushGroup{key: pushKey(group), labels: group, families: map[string]pushFamily{}, pushed: now}
	if before != nil {
		next.failed = before.failed
		if r.Method == http.MethodPost {
			for name, f := range before.families {
				next.families[name] = f
			}
		}
	}
	for name, mf := range families {
		if len(mf.GetMetric()) == 0 {
			delete(next.families, name) // a family of nothing replaces what it was
			continue
		}
		next.families[name] = pushFamily{mf, now}
	}
	for _, own := range []string{pushTime, pushFailure} {
		delete(next.families, own) // made here; what a copied exposition says of them is old
	}
	if err := p.build(next); err != nil {
		if errors.Is(err, errPushRoom) {
			return p.refuse("max_series", record.Errorf(record.Limited, "the groups would hold more than %d series, or take more than %d bytes; delete groups that are not needed any more, or raise max_series", p.cfg.MaxSeries, p.cfg.MaxSeries*pushSeriesBytes))
		}
		p.fail(r.Context(), before, group, now)
		return p.refuse("inconsistent", record.Errorf(record.Invalid, "pushed metrics are invalid or inconsistent with existing metrics: %w", err))
	}
	if err := p.store.Put(r.Context(), pushStoreKey(group), next.encode()); err != nil {
		return p.refuse("fault", fmt.Errorf("keep the group: %w", err))
	}
	p.swap(next)
	out, err := p.samples(r.Context(), []*pushGroup{next}, now)
	switch {
	case err != nil:
		return fmt.Errorf("write the group: %w", err) // it is kept, and the next round writes it
	case out.RefusedN > 0:
		return record.Errorf(record.Invalid, "the group is kept, and of its %d series %d were refused:\n%s", len(next.series), out.RefusedN, out.Error())
	}
	return nil
}

// fail notes a push that was inconsistent: the group's metrics stay as they are.
func (p *Push) fail(ctx context.Context, before *pushGroup, group []pushLabel, now time.Time) {
	next := &pushGroup{key: pushKey(group), labels: group, families: map[string]pushFamily{}}
	if before != nil && !before.gone {
		next.labels, next.families, next.pushed = before.labels, before.families, before.pushed
	}
	next.failed = now
	err := p.build(next)
	if err == nil {
		err = p.store.Put(ctx, pushStoreKey(next.labels), next.encode())
	}
	if err == nil {
		p.swap(next)
		_, err = p.samples(ctx, []*pushGroup{next}, now)
	}
	if err != nil { // the sender is told of its own error
		p.log.Warn("a failed push could not be noted", "group", pushStoreKey(group), "err", err)
	}
}

func (p *Push) delete(r *http.Request) error {
	group, err := pushPath(r.URL.EscapedPath())
	if err != nil {
		return p.refuse("bad_path", err)
	}
	p.write.Lock()
	defer p.write.Unlock()
	g := p.groups[pushKey(group)]
	if g == nil {
		return nil
	}
	return p.end(r.Context(), g)
}

// end removes a group and writes its markers. The caller holds write.
func (p *Push) end(ctx context.Context, g *pushGroup) error {
	if err := p.store.Delete(ctx, pushStoreKey(g.labels)); err != nil {
		return fmt.Errorf("delete the group: %w", err)
	}
	p.swap(&pushGroup{key: g.key, labels: g.labels, gone: true})
	if _, err := p.samples(ctx, []*pushGroup{p.groups[g.key]}, time.Now()); err != nil {
		return fmt.Errorf("end the group's series: %w", err) // the next round tries again
	}
	return nil
}

// build makes the series of a group and checks them against all other groups.
// The caller holds write.
func (p *Push) build(g *pushGroup) error {
	old := p.groups[g.key]
	b := &pushBuilder{group: g.labels, seen: map[string]bool{}, room: p.cfg.MaxSeries - len(p.owners), bytes: p.cfg.MaxSeries*pushSeriesBytes - p.bytes}
	if old != nil {
		b.room += len(old.series)
		b.bytes += old.size
	}
	room := b.bytes
	names := make([]string, 0, len(g.families))
	for name := range g.families {
		names = append(names, name)
	}
	slices.Sort(names) // that the same push gets the same answer
	for _, name := range names {
		mf := g.families[name].mf
		others := p.types[name]
		if old != nil && old.families[name].mf != nil {
			others.groups--
		}
		if others.groups > 0 && others.of != mf.GetType() {
			return record.Errorf(record.Invalid, "metric %q is of type %s here and %s in other groups", name, strings.ToLower(mf.GetType().String()), strings.ToLower(others.of.String()))
		}
		if err := b.family(mf); err != nil {
			return err
		}
	}
	b.pairs = append(b.pairs[:0], g.labels...)
	for name, at := range map[string]time.Time{pushTime: g.pushed, pushFailure: g.failed} {
		if err := b.add(pushSeries{v: unixSeconds(at)}, name); err != nil {
			return err
		}
	}
	for _, s := range b.series {
		if o := p.owners[s.key]; o != nil && o != old {
			return record.Errorf(record.Invalid, "series %s is in the group %s already", pushText(s.key), pushStoreKey(o.labels))
		}
	}
	g.series, g.size = b.series, room-b.bytes
	return nil
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

// swap puts g in the place of the group with its key. The caller holds write.
func (p *Push) swap(g *pushGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.groups[g.key]
	if old != nil {
		g.last = old.last
		for name := range old.families {
			if t := p.types[name]; t.groups > 1 {
				p.types[name] = pushType{t.of, t.groups - 1}
			} else {
				delete(p.types, name)
			}
		}
		for _, s := range old.series {
			delete(p.owners, s.key)
		}
		p.bytes -= old.size
	}
	for name, f := range g.families {
		p.types[name] = pushType{f.mf.GetType(), p.types[name].groups + 1}
	}
	for _, s := range g.series {
		p.owners[s.key] = g
	}
	if old != nil {
		for _, key := range old.owed {
			if p.owners[key] != g {
				g.owed = append(g.owed, key)
			}
		}
		for _, s := range old.series {
			if p.owners[s.key] != g {
				g.owed = append(g.owed, s.key)
			}
		}
		if len(g.owed) > p.cfg.MaxSeries {
			g.owed = g.owed[:p.cfg.MaxSeries] // without a marker a series ends five minutes later
		}
	}
	p.bytes += g.size
	p.groups[g.key] = g
}

// samples writes groups as they are at a time, and markers for the series that
// they have no more. The caller holds write.
func (p *Push) samples(ctx context.Context, groups []*pushGroup, at time.Time) (Outcome, error) {
	b := p.sink.Batch(pushProtocol)
	defer b.Free()
	floor := p.marked + 1
	for _, g := range groups {
		t := max(at.UnixMilli(), g.last+1, floor) // two pushes of one millisecond are two samples
		g.last = t
		for _, s := range g.series {
			b.BeginBare()
			b.key = append(b.key, s.key...)
			switch {
			case s.h != nil:
				b.Histogram(0, t, s.h.Copy(), nil)
			case s.fh != nil:
				b.Histogram(0, t, nil, s.fh.Copy())
			default:
				b.Point(0, t, s.v)
			}
		}
		for _, key := range g.owed {
			if p.owners[key] != nil {
				continue // another group has it now
			}
			b.BeginBare()
			b.key = append(b.key, key...)
			b.Point(0, t, math.Float64frombits(value.StaleNaN))
			p.marked = max(p.marked, t)
		}
	}
	out, err := b.Commit(ctx)
	if err != nil {
		return out, err
	}
	for _, g := range groups {
		g.owed = nil
		if g.gone {
			p.mu.Lock()
			delete(p.groups, g.key)
			p.mu.Unlock()
		}
	}
	return out, nil
}

// Run writes all groups at each interval until ctx ends.
func (p *Push) Run(ctx context.Context) error {
	tick := time.NewTicker(p.cfg.Interval)
	defer tick.Stop()
	for {
		if err := p.round(ctx); err != nil && ctx.Err() == nil {
			p.log.Error("pushed groups could not be written; the next round tries again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round writes all groups once. Pushes may come between its transactions.
func (p *Push) round(ctx context.Context) error {
	p.mu.RLock()
	keys := make([]string, 0, len(p.groups))
	for key := range p.groups {
		keys = append(keys, key)
	}
	p.mu.RUnlock()
	slices.Sort(keys)
	var faults []error
	for len(keys) > 0 {
		n, err := p.chunk(ctx, keys)
		if err != nil {
			faults = append(faults, err)
		}
		keys = keys[n:]
	}
	return errors.Join(faults...)
}

// chunk writes the first groups of keys, and says how many they were.
func (p *Push) chunk(ctx context.Context, keys []string) (n int, err error) {
	p.write.Lock()
	defer p.write.Unlock()
	at := time.Now()
	var groups []*pushGroup
	for size := 0; n < len(keys) && size < pushChunk; n++ {
		g := p.groups[keys[n]]
		if g == nil {
			continue // deleted meanwhile
		}
		if p.cfg.MaxAge > 0 && !g.gone && at.Sub(g.newest()) > p.cfg.MaxAge {
			if e := p.end(ctx, g); e != nil {
				err = errors.Join(err, e)
			}
			continue
		}
		groups = append(groups, g)
		size += len(g.series)
	}
	if len(groups) == 0 {
		return n, err
	}
	out, e := p.samples(ctx, groups, at)
	if e != nil {
		return n, errors.Join(err, fmt.Errorf("write %d groups: %w", len(groups), e))
	}
	if out.RefusedN > 0 {
		p.log.Debug("the store refused pushed samples", "refused", out.RefusedN, "stored", out.Stored(), "first", out.Refused[0].Err)
	}
	return n, err
}

// newest is when something was last pushed, taken or not.
func (g *pushGroup) newest() time.Time {
	if g.failed.After(g.pushed) {
		return g.failed
	}
	return g.pushed
}
