package sagas

import (
	"container/heap"
	"time"
)

// agenda holds appointments in the order of their times, one for each key.
type agenda[K comparable, V any] struct {
	order appointments[K, V]
	of    map[K]*appointment[K, V]
}

type appointment[K comparable, V any] struct {
	key   K
	value V
	at    time.Time
	index int
}

// put makes the appointment of a key, or moves it.
func (a *agenda[K, V]) put(key K, value V, at time.Time) {
	if e, ok := a.of[key]; ok {
		e.value, e.at = value, at
		heap.Fix(&a.order, e.index)
		return
	}
	if a.of == nil {
		a.of = map[K]*appointment[K, V]{}
	}
	e := &appointment[K, V]{key: key, value: value, at: at}
	a.of[key] = e
	heap.Push(&a.order, e)
}

func (a *agenda[K, V]) remove(key K) {
	if e, ok := a.of[key]; ok {
		heap.Remove(&a.order, e.index)
		delete(a.of, key)
	}
}

// get returns the value of a key, and whether it has an appointment.
func (a *agenda[K, V]) get(key K) (value V, ok bool) {
	if e, ok := a.of[key]; ok {
		return e.value, true
	}
	return value, false
}

// first returns the earliest appointment.
func (a *agenda[K, V]) first() (first appointment[K, V], ok bool) {
	if len(a.order) == 0 {
		return first, false
	}
	return *a.order[0], true
}

// due returns the earliest appointment if its time has come.
func (a *agenda[K, V]) due(now time.Time) (first appointment[K, V], ok bool) {
	first, ok = a.first()
	return first, ok && !first.at.After(now)
}

// appointments is a heap.Interface, the earliest first.
type appointments[K comparable, V any] []*appointment[K, V]

// Len implements heap.Interface.
func (h appointments[K, V]) Len() int { return len(h) }

// Less implements heap.Interface.
func (h appointments[K, V]) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

// Swap implements heap.Interface; every appointment knows its index.
func (h appointments[K, V]) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }

// Push implements heap.Interface.
func (h *appointments[K, V]) Push(x any) {
	e := x.(*appointment[K, V])
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *appointments[K, V]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
