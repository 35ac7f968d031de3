package ingest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/value"
)

// StatsDConfig bounds what StatsD holds. Zero means the default.
type StatsDConfig struct {
	// Flush is how often what was heard is written; default 10 s.
	Flush time.Duration `yaml:"flush"`
	// Expire is when a series that is not heard of ends; default 5 min.
	Expire time.Duration `yaml:"expire"`
	// MaxSeries is how many series are held; default 100,000. Their labels may
	// take 1 KiB each on the average.
	MaxSeries int `yaml:"max_series"`
	// MaxPacket is how long a packet, or a line over TCP, may be; default 64 KiB.
	MaxPacket int `yaml:"-"`
	// IdleTimeout ends a connection on which nothing comes; default 5 min.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// AbsoluteGauges takes -5 and +5 of a gauge for its value, as the agent of
	// Datadog does. Without it they change the value, as in StatsD.
	AbsoluteGauges bool `yaml:"absolute_gauges"`
}

// Validate says what is wrong with the config.
func (c StatsDConfig) Validate() error {
	switch {
	case c.Flush != 0 && c.Flush < time.Second:
		return fmt.Errorf("statsd: flush is %s; set it to 1s or more", c.Flush)
	case c.Flush%time.Millisecond != 0:
		return fmt.Errorf("statsd: flush is %s; set it to whole milliseconds", c.Flush)
	case c.Expire < 0 || c.MaxSeries < 0 || c.MaxPacket < 0 || c.IdleTimeout < 0:
		return errors.New("statsd: a limit is negative; leave it out for the default")
	}
	return nil
}

// StatsD gathers what programs send by StatsD, with the tags of Datadog and
// Influx, and writes it at each flush as a scrape would show it: counters and
// timers only grow, timers are native histograms. Safe for concurrent use.
//
// Senders get no answer: what was not flushed is lost when the process is killed.
type StatsD struct {
	sink    *Sink
	cfg     StatsDConfig
	counts  *Counts
	log     *slog.Logger
	started int64 // Unix milliseconds

	shards  [statsdShards]statsdShard
	scratch sync.Pool
	members atomic.Int64 // of all sets

	mu       sync.Mutex
	series   map[string]*statsdSeries // by their labels
	keyBytes int

	faultMu sync.Mutex
	faults  map[string]int // lines and values refused since the last flush
	first   string         // what was wrong with the first of them
	told    time.Time

	flushMu sync.Mutex
	last    int64 // time of the last flush, Unix milliseconds
}

const statsdProtocol = "statsd"

// NewStatsD makes a StatsD that writes to sink. cfg must be valid.
func NewStatsD(sink *Sink, cfg StatsDConfig, counts *Counts, log *slog.Logger) *StatsD {
	cfg.Flush = cmp.Or(cfg.Flush, 10*time.Second)
	cfg.Expire = cmp.Or(cfg.Expire, 5*time.Minute)
	cfg.MaxSeries = cmp.Or(cfg.MaxSeries, 100_000)
	cfg.MaxPacket = cmp.Or(cfg.MaxPacket, 64<<10)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 5*time.Minute)
	s := &StatsD{sink: sink, cfg: cfg, counts: counts, log: log, started: time.Now().UnixMilli(),
		series: map[string]*statsdSeries{}, faults: map[string]int{}}
	for i := range s.shards {
		s.shards[i].m = map[uint64]*statsdAlias{}
	}
	s.scratch.New = func() any {
		c := &statsdScratch{s: s}
		c.refuse = func(f *statsdFault) { s.refuse(f, c.line) }
		return c
	}
	return s
}

// statsdScratch is the memory for one line at a time.
type statsdScratch struct {
	s      *StatsD
	parsed statsdLine
	line   []byte
	alias  []byte
	values []statsdValue
	refuse func(*statsdFault)
}

// ServePacket takes the lines of one packet. p may be used again afterwards.
func (s *StatsD) ServePacket(_ context.Context, p []byte) {
	if len(p) > s.cfg.MaxPacket {
		s.refuse(statsdTooLarge, p)
		return
	}
	c := s.scratch.Get().(*statsdScratch)
	for len(p) > 0 {
		line := p
		if end := bytes.IndexByte(p, '\n'); end >= 0 {
			line, p = p[:end], p[end+1:]
		} else {
			p = nil
		}
		c.take(line)
	}
	s.scratch.Put(c)
}

// ServeConn takes lines until the peer closes, is silent for the idle timeout,
// or ctx ends; then it closes c.
func (s *StatsD) ServeConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // wakes a read
	c := s.scratch.Get().(*statsdScratch)
	defer s.scratch.Put(c)
	r := bufio.NewReaderSize(statsdConn{conn, s.cfg.IdleTimeout}, s.cfg.MaxPacket+1)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			s.refuse(statsdTooLarge, line)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.ReadSlice('\n')
			}
			line = nil
		}
		if err == nil || errors.Is(err, io.EOF) {
			c.take(bytes.TrimSuffix(line, []byte("\n")))
		}
		if err != nil {
			return // the end, silence, or half a line that a broken connection left
		}
	}
}

// statsdConn gives each read of a connection its time.
type statsdConn struct {
	net.Conn
	idle time.Duration
}

func (c statsdConn) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.idle)) // one that is closed says so in Read, after what it still holds
	return c.Conn.Read(p)
}

// take reads a line and adds it to what is held.
func (c *statsdScratch) take(line []byte) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return
	}
	c.line = line
	if bytes.HasPrefix(line, []byte("_e{")) {
		c.refuse(statsdEvent)
		return
	}
	l := &c.parsed
	if f := l.parse(line); f != nil {
		c.refuse(f)
		return
	}
	c.values = c.values[:0]
	if l.kind == statsdSet {
		if len(l.values) == 0 {
			c.refuse(statsdEmptyMember)
			return
		}
	} else if c.values = l.numbers(c.values, c.refuse); len(c.values) == 0 {
		return
	}
	c.alias = l.appendAlias(c.alias[:0])
	e, f := c.s.find(l, c.alias)
	for f == nil && !e.take(c.s, l, c.values, c.refuse) {
		e, f = c.s.look(l, c.alias)
	}
	if f != nil {
		c.refuse(f)
	}
}

// refuse counts a line or a value that is not taken.
func (s *StatsD) refuse(f *statsdFault, line []byte) {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	s.faults[f.reason]++
	if s.first == "" && !f.ours() {
		s.first = fmt.Sprintf("%.200q: %s", line, f.say)
	}
}

// Held is how many series are held.
func (s *StatsD) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.series)
}

// Run flushes at each multiple of the flush interval until ctx ends, and then
// once more. The callers of ServePacket and ServeConn should have ended by then.
func (s *StatsD) Run(ctx context.Context) error {
	every := s.cfg.Flush.Milliseconds()
	for {
		at := time.UnixMilli((time.Now().UnixMilli()/every + 1) * every)
		timer := time.NewTimer(time.Until(at))
		select {
		case <-timer.C:
			if err := s.Flush(ctx, at); err != nil && ctx.Err() == nil {
				s.log.Error("statsd could not flush; counters and timers are kept for the next flush", "err", err)
			}
		case <-ctx.Done():
			timer.Stop()
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), statsdLastFlush)
			defer cancel()
			return s.Flush(last, time.Now())
		}
	}
}

const (
	statsdLastFlush = 10 * time.Second
	// statsdChunk is how many series are written in one transaction.
	statsdChunk = 10_000
)

// Flush writes what is held with the time at. An error means that some series
// were not written: counters, timers and gauges are with the next flush; the
// members of sets and timestamped values are lost, and counted.
func (s *StatsD) Flush(ctx context.Context, at time.Time) error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	t := at.UnixMilli()
	if t == s.last {
		return nil
	}
	// A counter begins with zero one flush before its first value, but not before
	// this process: what an earlier one wrote may stand there.
	zero := t - s.cfg.Flush.Milliseconds()
	for _, floor := range []int64{s.started, s.last} {
		if floor > zero && floor < t {
			zero = floor
		}
	}
	s.mu.Lock()
	all := make([]*statsdSeries, 0, len(s.series))
	for _, e := range s.series {
		all = append(all, e)
	}
	s.mu.Unlock()
	var faults []error
	for len(all) > 0 {
		n := min(len(all), statsdChunk)
		if err := s.flush(ctx, all[:n], t, zero); err != nil {
			faults = append(faults, err)
		}
		all = all[n:]
	}
	s.last = t
	s.tell()
	return errors.Join(faults...)
}

// flush writes some series in one transaction.
func (s *StatsD) flush(ctx context.Context, series []*statsdSeries, t, zero int64) error {
	b := s.sink.Batch(statsdProtocol)
	defer b.Free()
	var silent []*statsdSeries
	for _, e := range series {
		if e.write(s, b, t, zero) {
			silent = append(silent, e)
		}
	}
	out, err := b.Commit(ctx)
	if err != nil {
		return fmt.Errorf("flush %d series: %w", len(series), err)
	}
	if out.RefusedN > 0 {
		s.log.Warn("statsd: the store refused samples", "refused", out.RefusedN, "stored", out.Stored(), "first", out.Refused[0].Err)
	}
	for _, e := range series {
		e.begun = true
	}
	s.drop(silent)
	return nil
}

// write adds the series' samples to b. It is true when the series has been
// silent for too long; its marker is among the samples then.
func (e *statsdSeries) write(s *StatsD, b *Batch, t, zero int64) (ended bool) {
	b.BeginBare()
	b.key = append(b.key, e.key...)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heard || e.silent == 0 {
		e.heard, e.silent = false, t
	}
	for _, p := range e.points {
		b.Point(0, p.t, p.v)
	}
	e.points = e.points[:0]
	if t-e.silent >= s.cfg.Expire.Milliseconds() {
		if e.kind != statsdGauge || e.set {
			// A millisecond before the flush: should the series come back at once, its
			// zero is at the time of this flush.
			b.Point(0, t-1, math.Float64frombits(value.StaleNaN))
		}
		return true
	}
	switch e.kind {
	case statsdCounter:
		if !e.begun {
			b.Point(0, zero, 0)
		}
		b.Point(0, t, e.v)
	case statsdHistogram:
		if !e.begun {
			b.Histogram(0, zero, newStatsdHist().native(), nil)
		}
		b.Histogram(0, t, e.hist.native(), nil)
	case statsdGauge:
		if e.set {
			b.Point(0, t, e.v)
		}
	case statsdSet:
		b.Point(0, t, float64(len(e.members)))
		s.members.Add(-int64(len(e.members)))
		if len(e.members) > 1024 {
			e.members = nil // one great moment must not be remembered for ever
		}
		clear(e.members)
	}
	return false
}

// drop ends the series that are still silent.
func (s *StatsD) drop(silent []*statsdSeries) {
	ended := map[*statsdSeries]bool{}
	s.mu.Lock()
	for _, e := range silent {
		e.mu.Lock()
		if !e.heard {
			e.dead = true
			ended[e] = true
			delete(s.series, e.key)
			s.keyBytes -= len(e.key)
		}
		e.mu.Unlock()
	}
	s.mu.Unlock()
	if len(ended) == 0 {
		return
	}
	for i := range s.shards {
		s.shards[i].forget(ended)
	}
}

// tell counts the lines that were refused, and once a minute shows one: their
// senders get no answer.
func (s *StatsD) tell() {
	s.faultMu.Lock()
	faults, first := s.faults, s.first
	s.faults, s.first = map[string]int{}, ""
	s.faultMu.Unlock()
	if len(faults) == 0 {
		return
	}
	s.counts.Add(statsdProtocol, 0, faults)
	if now := time.Now(); first != "" && now.Sub(s.told) >= time.Minute {
		s.told = now
		n := 0
		for k := range maps.Values(faults) {
			n += k
		}
		s.log.Warn("statsd refused lines", "lines", n, "first", first)
	}
}
