package persistent

import "iter"

// Key is a key of a Sorted: Compare returns a negative number if it comes before the other, 0 if they are equal, and a positive
// number otherwise.
type Key[K any] interface{ Compare(other K) int }

// Sorted is an immutable map whose keys are in order: Set and Delete return a new one and leave the old one unchanged. Each
// operation takes time in proportion to the logarithm of the size. The zero Sorted is empty and ready to use.
type Sorted[K Key[K], V any] struct{ root *branch[K, V] }

// branch is a node of a weight-balanced tree (Adams 1993): neither side has more than balance times the weight of the other.
type branch[K Key[K], V any] struct {
	key         K
	value       V
	size        int
	left, right *branch[K, V]
}

// balance and single are the parameters of Hirai and Yamamoto (2011), for which insertion and deletion keep the balance.
const (
	balance = 3
	single  = 2
)

func (b *branch[K, V]) len() int {
	if b == nil {
		return 0
	}
	return b.size
}

// weight is what the balance is about.
func (b *branch[K, V]) weight() int { return b.len() + 1 }

// with returns a node with the entry of b between two sides that may be of any balance that one change leads to.
func (b *branch[K, V]) with(left, right *branch[K, V]) *branch[K, V] {
	switch {
	case right.weight() > balance*left.weight():
		if right.left.weight() >= single*right.right.weight() {
			right = right.left.node(right.left.left, right.node(right.left.right, right.right))
		}
		return right.node(b.node(left, right.left), right.right)
	case left.weight() > balance*right.weight():
		if left.right.weight() >= single*left.left.weight() {
			left = left.right.node(left.node(left.left, left.right.left), left.right.right)
		}
		return left.node(left.left, b.node(left.right, right))
	}
	return b.node(left, right)
}

// node returns a node with the entry of b between two sides that are in balance.
func (b *branch[K, V]) node(left, right *branch[K, V]) *branch[K, V] {
	return &branch[K, V]{key: b.key, value: b.value, size: left.len() + right.len() + 1, left: left, right: right}
}

func (b *branch[K, V]) set(key K, value V) *branch[K, V] {
	if b == nil {
		return &branch[K, V]{key: key, value: value, size: 1}
	}
	switch order := key.Compare(b.key); {
	case order < 0:
		return b.with(b.left.set(key, value), b.right)
	case order > 0:
		return b.with(b.left, b.right.set(key, value))
	}
	return &branch[K, V]{key: key, value: value, size: b.size, left: b.left, right: b.right}
}

func (b *branch[K, V]) delete(key K) *branch[K, V] {
	if b == nil {
		return nil
	}
	switch order := key.Compare(b.key); {
	case order < 0:
		return b.with(b.left.delete(key), b.right)
	case order > 0:
		return b.with(b.left, b.right.delete(key))
	case b.left == nil:
		return b.right
	case b.right == nil:
		return b.left
	}
	next := b.right
	for next.left != nil {
		next = next.left
	}
	return next.with(b.left, b.right.delete(next.key))
}

// each calls yield for the entries from a key on, in order, until it returns false.
func (b *branch[K, V]) each(from *K, yield func(K, V) bool) bool {
	if b == nil {
		return true
	}
	if from != nil {
		switch order := (*from).Compare(b.key); {
		case order > 0:
			return b.right.each(from, yield)
		case order < 0 && !b.left.each(from, yield):
			return false
		}
	} else if !b.left.each(nil, yield) {
		return false
	}
	return yield(b.key, b.value) && b.right.each(nil, yield)
}

// Len returns how many entries there are.
func (s Sorted[K, V]) Len() int { return s.root.len() }

// Get returns the value of a key, and whether the key has one.
func (s Sorted[K, V]) Get(key K) (V, bool) {
	for b := s.root; b != nil; {
		switch order := key.Compare(b.key); {
		case order < 0:
			b = b.left
		case order > 0:
			b = b.right
		default:
			return b.value, true
		}
	}
	var none V
	return none, false
}

// At returns the entry with a place in the order, from 0; false if there is none.
func (s Sorted[K, V]) At(i int) (key K, value V, found bool) {
	for b := s.root; b != nil && i >= 0; {
		switch before := b.left.len(); {
		case i < before:
			b = b.left
		case i > before:
			i, b = i-before-1, b.right
		default:
			return b.key, b.value, true
		}
	}
	return key, value, false
}

// Set returns the entries with this value for the key.
func (s Sorted[K, V]) Set(key K, value V) Sorted[K, V] { return Sorted[K, V]{s.root.set(key, value)} }

// Delete returns the entries without the key.
func (s Sorted[K, V]) Delete(key K) Sorted[K, V] {
	if _, has := s.Get(key); !has {
		return s
	}
	return Sorted[K, V]{s.root.delete(key)}
}

// All iterates over the entries in their order.
func (s Sorted[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { s.root.each(nil, yield) }
}

// From iterates over the entries that do not come before a key, in their order.
func (s Sorted[K, V]) From(key K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { s.root.each(&key, yield) }
}
