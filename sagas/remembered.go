package sagas

import "maps"

// What an instance remembers is shared by steps that are taken again. So these functions return a changed copy, and leave their argument.

// Put returns what an instance remembers by key, with one more.
func Put[K comparable, V any](all map[K]V, key K, value V) map[K]V {
	next := make(map[K]V, len(all)+1)
	maps.Copy(next, all)
	next[key] = value
	return next
}

// Newest returns positions in the log with that of a key, unless a higher one is known.
func Newest[K comparable](at map[K]uint64, key K, position uint64) map[K]uint64 {
	if position <= at[key] {
		return at
	}
	return Put(at, key, position)
}

// Unless returns positions without that of a key, unless it is a higher one.
func Unless[K comparable](at map[K]uint64, key K, position uint64) map[K]uint64 {
	if known, has := at[key]; !has || known > position {
		return at
	}
	at = maps.Clone(at)
	delete(at, key)
	return at
}
