// Package bounded holds the cache that the domain uses for what is expensive to make and never changes once made:
// compiled rules, compiled instruments, loaded zones. It never holds state of a patient or a study.
package bounded

import "sync"

// Cache keeps at least the size/2 most recently used values and never more than size. It is safe for concurrent use.
// Eviction works in two generations: when the young one is full it becomes the old one, and what nobody asked for
// since then goes. That costs one map look-up per hit and needs no list to keep in order.
type Cache[K comparable, V any] struct {
	half  int
	mu    sync.RWMutex
	young map[K]V
	old   map[K]V
}

// New returns an empty cache for at most size values; size is at least 2.
func New[K comparable, V any](size int) *Cache[K, V] {
	return &Cache[K, V]{half: max(1, size/2), young: map[K]V{}}
}

// Get returns the value of key, if it is still there.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.RLock()
	value, ok := c.young[key]
	aged := false
	if !ok {
		value, aged = c.old[key]
	}
	c.mu.RUnlock()
	if aged {
		return c.Add(key, value), true
	}
	return value, ok
}

// Add stores value under key and returns it, or returns the value that was there before: two callers that made the same
// thing at the same time go on with one of them.
func (c *Cache[K, V]) Add(key K, value V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	if present, ok := c.young[key]; ok {
		return present
	}
	if present, ok := c.old[key]; ok {
		value = present
	}
	if len(c.young) >= c.half {
		c.old, c.young = c.young, make(map[K]V, c.half)
	}
	c.young[key] = value
	return value
}

// Len returns how many values are held; a value that moves between generations may count twice.
func (c *Cache[K, V]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.young) + len(c.old)
}
