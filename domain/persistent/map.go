// Package persistent holds a map that keeps its old versions: folded states are shared between requests, so a state that
// holds thousands of things must change without touching the one before and without being copied whole.
package persistent

import (
	"iter"
	"maps"
	"math"
)

// foldEvery is how many changes are kept as links before the map behind them is made anew.
const foldEvery = 64

// Map is a map whose changes return a new one and leave the old as it was. The zero Map is empty and ready. A change costs
// a link, and now and then a copy; a look passes a few links. It is a chain of changes over a plain map.
type Map[K comparable, V any] struct {
	link *link[K, V]
	size int
}

type link[K comparable, V any] struct {
	base   map[K]V
	before *link[K, V]
	depth  int
	key    K
	value  V
	gone   bool
}

// Get returns the value of a key, and whether there is one.
func (m Map[K, V]) Get(key K) (V, bool) {
	var none V
	for l := m.link; l != nil; l = l.before {
		if l.base != nil {
			v, ok := l.base[key]
			return v, ok
		}
		if l.key == key {
			if l.gone {
				return none, false
			}
			return l.value, true
		}
	}
	return none, false
}

// Len returns how many keys have a value.
func (m Map[K, V]) Len() int { return m.size }

// Set returns the map with this value.
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
	return m.with(&link[K, V]{key: key, gone: true}, m.size-1)
}

func (m Map[K, V]) with(l *link[K, V], size int) Map[K, V] {
	l.before, l.depth = m.link, 1
	if m.link != nil {
		l.depth = m.link.depth + 1
	}
	next := Map[K, V]{link: l, size: size}
	// A larger map is copied more rarely, so that the copies of a long fold cost little together.
	if l.depth >= max(foldEvery, int(math.Sqrt(float64(size)))) {
		next.link = &link[K, V]{base: next.Plain()}
	}
	return next
}

// Plain returns the present version as a map of its own.
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
		if links[i].gone {
			delete(all, links[i].key)
		} else {
			all[links[i].key] = links[i].value
		}
	}
	return all
}

// All iterates over the present version, in no order.
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
			if !l.gone && !yield(l.key, l.value) {
				return
			}
		}
	}
}
