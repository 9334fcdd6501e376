// Package bounded holds the domain's cache for values that are expensive to make and never change: compiled rules,
// compiled instruments, loaded zones. It never holds state of a patient or a study.
package bounded

import "sync"

// Cache keeps at least the size/2 most recently used values and at most size values. It is safe for concurrent use. It
// has two generations: when the young one is full, it replaces the old one. Get moves a value from the old generation
// to the young one, so values that are not used disappear. A hit costs one map look-up, and no list has to be kept in
// order.
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

// Get returns the value of key, and whether the cache has it.
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

// Add stores value under key and returns it. If the cache has a value for key already, it keeps and returns that one,
// so that two callers who made the same value at the same time continue with one of them.
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

// Len returns how many values the cache has. A value in both generations counts twice.
func (c *Cache[K, V]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.young) + len(c.old)
}
