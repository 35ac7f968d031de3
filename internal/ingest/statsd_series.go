package ingest

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// statsdSeries is what is held of one series between flushes.
type statsdSeries struct {
	key  string // its labels, sorted, as Batch.key has them
	kind statsdKind

	// Of the flush alone.
	begun  bool  // a counter or histogram has its zero in the store
	silent int64 // the last flush before which something was heard

	mu      sync.Mutex
	dead    bool // ended and dropped: look it up again
	heard   bool // since the last flush
	set     bool // a gauge has a value of the present
	v       float64
	hist    *statsdHist
	members map[uint64]struct{} // of a set, by their hash
	points  []statsdPoint       // a gauge's values that came with their own time
}

type statsdPoint struct {
	t int64 // Unix milliseconds
	v float64
}

// statsdValue is one value of a line; signed, it may be a change of a gauge.
type statsdValue struct {
	v      float64
	signed bool
}

const (
	statsdShards = 64
	// maxStatsdMembers bounds one set between two flushes; twenty such fit in all.
	maxStatsdMembers    = 100_000
	maxStatsdAllMembers = 20 * maxStatsdMembers
	// maxStatsdPoints bounds the timestamped values of one series between two flushes.
	maxStatsdPoints = 1000
)

// statsdShard finds series by the bytes in which a sender names them. It is a
// memory of names alone: dropping one costs a look-up.
type statsdShard struct {
	mu sync.RWMutex
	m  map[uint64]*statsdAlias
}

type statsdAlias struct {
	key    string
	series *statsdSeries
	next   *statsdAlias
}

func (sh *statsdShard) find(hash uint64, key []byte) *statsdSeries {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for a := sh.m[hash]; a != nil; a = a.next {
		if a.key == string(key) {
			return a.series
		}
	}
	return nil
}

// remember keeps a name; room is how many a shard may have.
func (sh *statsdShard) remember(hash uint64, key []byte, to *statsdSeries, room int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for a := sh.m[hash]; a != nil; a = a.next {
		if a.key == string(key) {
			a.series = to // the one before has ended
			return
		}
	}
	if len(sh.m) >= room {
		clear(sh.m)
	}
	sh.m[hash] = &statsdAlias{string(key), to, sh.m[hash]}
}

// forget drops the names of series that have ended.
func (sh *statsdShard) forget(ended map[*statsdSeries]bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for h, a := range sh.m {
		var kept *statsdAlias
		for ; a != nil; a = a.next {
			if !ended[a.series] {
				kept = &statsdAlias{a.key, a.series, kept}
			}
		}
		if kept == nil {
			delete(sh.m, h)
		} else {
			sh.m[h] = kept
		}
	}
}

// appendAlias is the name of the line's series as sent. No part can hold a bar.
func (l *statsdLine) appendAlias(dst []byte) []byte {
	dst = append(dst, byte(l.kind))
	if l.check {
		dst = append(append(dst, '|'), l.host...)
		dst = append(dst, '|')
	}
	dst = append(dst, l.name...)
	dst = append(dst, '|')
	return append(dst, l.tags...)
}

// labelKey is the line's labels, sorted, each name once: the last value counts.
func (l *statsdLine) labelKey() (string, *statsdFault) {
	type pair struct{ name, value string }
	name := string(l.bareName())
	if name == "" {
		return "", statsdNoName
	}
	pairs := []pair{{labels.MetricName, name}}
	reserved := false
	if f := l.eachTag(func(k, v []byte) bool {
		if string(k) == labels.MetricName {
			reserved = true
			return false
		}
		pairs = append(pairs, pair{string(k), string(v)})
		return true
	}); f != nil {
		return "", f
	}
	if reserved {
		return "", statsdNameTag
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	var key []byte
	for i, p := range pairs {
		if i+1 < len(pairs) && pairs[i+1].name == p.name || p.value == "" {
			continue
		}
		if !utf8.ValidString(p.name) || !utf8.ValidString(p.value) {
			return "", statsdNotUTF8
		}
		key = appendSized(appendSized(key, p.name), p.value)
	}
	return string(key), nil
}

// find returns the line's series, which is made when there is none. alias is
// its name as sent.
func (s *StatsD) find(l *statsdLine, alias []byte) (*statsdSeries, *statsdFault) {
	hash := xxhash.Sum64(alias)
	sh := &s.shards[hash%statsdShards]
	if e := sh.find(hash, alias); e != nil {
		return e, nil
	}
	return s.look(l, alias)
}

// look finds a series by its labels and remembers the name it was sent under.
func (s *StatsD) look(l *statsdLine, alias []byte) (*statsdSeries, *statsdFault) {
	key, f := l.labelKey()
	if f != nil {
		return nil, f
	}
	s.mu.Lock()
	e := s.series[key]
	switch {
	case e != nil && e.kind != l.kind:
		f = statsdKindDiffers
	case e == nil && (len(s.series) >= s.cfg.MaxSeries || s.keyBytes+len(key) > s.cfg.MaxSeries*statsdKeyBytes):
		f = statsdTooMany
	case e == nil:
		e = &statsdSeries{key: key, kind: l.kind}
		if l.kind == statsdHistogram {
			e.hist = newStatsdHist()
		}
		s.series[key] = e
		s.keyBytes += len(key)
	}
	s.mu.Unlock()
	if f != nil {
		return nil, f
	}
	hash := xxhash.Sum64(alias)
	s.shards[hash%statsdShards].remember(hash, alias, e, max(2*s.cfg.MaxSeries/statsdShards, 16))
	return e, nil
}

// statsdKeyBytes is how long the labels of a series may be on the average, that
// MaxSeries bounds memory too.
const statsdKeyBytes = 1024

// take adds the values of a line to the series. It is false when the series has
// ended and must be looked up again. faults are told of each value that does not
// fit.
func (e *statsdSeries) take(s *StatsD, l *statsdLine, values []statsdValue, faults func(*statsdFault)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dead {
		return false
	}
	e.heard = true
	if l.kind == statsdSet {
		e.member(s, l.values, faults)
		return true
	}
	for _, x := range values {
		switch l.kind {
		case statsdCounter:
			if v := e.v + x.v/l.rate; math.IsInf(v, 0) {
				faults(statsdOverflow)
			} else {
				e.v = v
			}
		case statsdHistogram:
			if f := e.hist.add(x.v, l.rate); f != nil {
				faults(f)
			}
		case statsdGauge:
			switch {
			case l.time != 0 && len(e.points) >= maxStatsdPoints:
				faults(statsdTooManyTimes)
			case l.time != 0:
				e.points = append(e.points, statsdPoint{l.time * 1000, x.v})
			case !x.signed || s.cfg.AbsoluteGauges:
				e.v, e.set = x.v, true
			case math.IsInf(e.v+x.v, 0):
				faults(statsdOverflow)
			default:
				e.v, e.set = e.v+x.v, true
			}
		}
	}
	return true
}

// member adds one to a set.
func (e *statsdSeries) member(s *StatsD, name []byte, faults func(*statsdFault)) {
	hash := xxhash.Sum64(name)
	if _, ok := e.members[hash]; ok {
		return
	}
	if len(e.members) >= maxStatsdMembers || s.members.Load() >= maxStatsdAllMembers {
		faults(statsdSetFull)
		return
	}
	if e.members == nil {
		e.members = map[uint64]struct{}{}
	}
	e.members[hash] = struct{}{}
	s.members.Add(1)
}

// numbers reads the numbers of a line into dst.
func (l *statsdLine) numbers(dst []statsdValue, faults func(*statsdFault)) []statsdValue {
	for rest, more := l.values, true; more; {
		var p []byte
		p, rest, more = bytes.Cut(rest, []byte(":"))
		v, ok := statsdNumber(p)
		switch {
		case !ok:
			faults(statsdBadValue)
		case l.kind == statsdCounter && v < 0:
			faults(statsdNegative)
		default:
			dst = append(dst, statsdValue{v, p[0] == '+' || p[0] == '-'})
		}
	}
	return dst
}
