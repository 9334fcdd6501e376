// Package persistent holds a map that keeps its old versions. Requests share states, so a state with thousands of
// entries must change without changing the state before it, and without a copy of all entries.
package persistent

import (
	"iter"
	"maps"
	"math"
)

// minLinks is how many links a map has at least before they are merged into a new plain map.
const minLinks = 64

// Map is an immutable map: Set and Delete return a new map and leave the old one unchanged. The zero Map is empty and
// ready to use. A map is a chain of links, one per change, that ends at a plain map. A change adds a link, and
// sometimes copies the plain map; Get follows the links.
type Map[K comparable, V any] struct {
	link *link[K, V]
	size int
}

// link is either a plain map (base) or one change to the map that the links before it describe.
type link[K comparable, V any] struct {
	base    map[K]V
	before  *link[K, V]
	depth   int
	key     K
	value   V
	deleted bool
}

// Get returns the value of a key, and whether the key has one.
func (m Map[K, V]) Get(key K) (V, bool) {
	var none V
	for l := m.link; l != nil; l = l.before {
		if l.base != nil {
			v, ok := l.base[key]
			return v, ok
		}
		if l.key == key {
			if l.deleted {
				return none, false
			}
			return l.value, true
		}
	}
	return none, false
}

// Len returns how many keys have a value.
func (m Map[K, V]) Len() int { return m.size }

// Set returns the map with this value for the key.
func (m Map[K, V]) Set(key K, value V) Map[K, V] {
	size := m.size
	if _, had := m.Get(key); !had {
		size++
	}
	return m.with(&link[K, V]{key: key, value: value}, size)
}

// Delete returns the map without the key.
func (m Map[K, V]) Delete(key K) Map[K, V] {
	if _, had := m.Get(key); !had {
		return m
	}
	return m.with(&link[K, V]{key: key, deleted: true}, m.size-1)
}

func (m Map[K, V]) with(l *link[K, V], size int) Map[K, V] {
	l.before, l.depth = m.link, 1
	if m.link != nil {
		l.depth = m.link.depth + 1
	}
	next := Map[K, V]{link: l, size: size}
	// A larger map is copied more rarely, so that all copies together cost little during a long fold.
	if l.depth >= max(minLinks, int(math.Sqrt(float64(size)))) {
		next.link = &link[K, V]{base: next.Plain()}
	}
	return next
}

// Plain returns the entries as a new plain map.
func (m Map[K, V]) Plain() map[K]V {
	var links []*link[K, V]
	l := m.link
	for ; l != nil && l.base == nil; l = l.before {
		links = append(links, l)
	}
	all := make(map[K]V, m.size)
	if l != nil {
		maps.Copy(all, l.base)
	}
	for i := len(links) - 1; i >= 0; i-- {
		if links[i].deleted {
			delete(all, links[i].key)
		} else {
			all[links[i].key] = links[i].value
		}
	}
	return all
}

// All iterates over the entries, in no particular order.
func (m Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		changed := map[K]bool{}
		for l := m.link; l != nil; l = l.before {
			if l.base != nil {
				for key, value := range l.base {
					if !changed[key] && !yield(key, value) {
						return
					}
				}
				return
			}
			if changed[l.key] {
				continue
			}
			changed[l.key] = true
			if !l.deleted && !yield(l.key, l.value) {
				return
			}
		}
	}
}
