// Package memo keeps what was made for a key, to be read without a lock.
package memo

import (
	"maps"
	"sync"
	"sync/atomic"
)

// max is how many keys a Memo keeps. A change copies all of them, so that it
// must be bounded; a metric has seldom more series.
const max = 4096

// Memo makes a value for each key once. Get of a known key takes no lock and
// allocates nothing. Safe for concurrent use; a Memo must not be copied.
type Memo[K comparable, V any] struct {
	// New makes the value of a key, and the key to keep: one whose strings hold
	// no larger buffer alive. Beyond 4,096 keys it is called at every Get.
	New func(K) (K, V)

	table atomic.Pointer[map[K]V]
	mu    sync.Mutex // of those who change the table
}

// Get returns the value of a key.
func (m *Memo[K, V]) Get(k K) V {
	if t := m.table.Load(); t != nil {
		if v, ok := (*t)[k]; ok {
			return v
		}
	}
	return m.add(k)
}

// Each calls f with each key that is kept and its value.
func (m *Memo[K, V]) Each(f func(K, V)) {
	if t := m.table.Load(); t != nil {
		for k, v := range *t {
			f(k, v)
		}
	}
}

func (m *Memo[K, V]) add(k K) V {
	m.mu.Lock()
	defer m.mu.Unlock()
	var old map[K]V
	if t := m.table.Load(); t != nil {
		old = *t
	}
	if v, ok := old[k]; ok {
		return v
	}
	k, v := m.New(k)
	if len(old) < max {
		next := make(map[K]V, len(old)+1)
		maps.Copy(next, old)
		next[k] = v
		m.table.Store(&next)
	}
	return v
}
