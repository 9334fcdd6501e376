package sagas

import (
	"errors"
	"maps"
	"sync"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/eventlog"
)

// Waiting is what waits for people: how many instances of each process are stuck, how many messages of each are parked, and how many
// events each leaves out because only a newer program can read them.
type Waiting struct {
	Stuck, Parked, Unreadable map[string]int
}

// Total returns how many instances are stuck, messages parked and events left out in all processes together.
func (w Waiting) Total() (stuck, parked, unreadable int) {
	sum := func(counts map[string]int) (total int) {
		for _, n := range counts {
			total += n
		}
		return total
	}
	return sum(w.Stuck), sum(w.Parked), sum(w.Unreadable)
}

// waiting counts from the log what waits for people. It is safe for concurrent use.
type waiting struct {
	mu         sync.Mutex
	stuck      map[process.Instance]bool
	parked     map[process.Parked]bool
	unreadable map[string]map[string]bool // the events' ids by process
}

// take takes an event of a process, or of a parked message.
func (w *waiting) take(e eventlog.Recorded) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch event := e.Event.(type) {
	case process.StepTaken:
		w.stuck = having(w.stuck, event.Instance, event.Outcome == process.Stuck)
	case process.MessageParked:
		w.parked = having(w.parked, event.Parked, true)
	case process.ParkedMessageRetried:
		w.parked = having(w.parked, event.Parked, false)
	case process.ParkedMessageAbandoned:
		w.parked = having(w.parked, event.Parked, false)
	case eventlog.Unreadable:
		w.leaveOut(processOf(e.Stream), e, event)
	}
}

// reset forgets what was taken: the log has another past.
func (w *waiting) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck, w.parked = nil, nil
}

// resetUnreadable forgets the events that a process cannot read: the log has another past.
func (w *waiting) resetUnreadable(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.unreadable, name)
}

// takeUnreadable takes an event that a process cannot read.
func (w *waiting) takeUnreadable(name string, e eventlog.Recorded) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if unreadable, is := e.Event.(eventlog.Unreadable); is {
		w.leaveOut(name, e, unreadable)
	}
}

// leaveOut counts an event of a newer program; others are parked. It is called with w.mu held.
func (w *waiting) leaveOut(name string, e eventlog.Recorded, why eventlog.Unreadable) {
	if !errors.Is(why.Err, domain.ErrUnknownVersion) {
		return
	}
	if w.unreadable == nil {
		w.unreadable = map[string]map[string]bool{}
	}
	w.unreadable[name] = having(w.unreadable[name], e.ID.String(), true)
}

// count counts what waits now.
func (w *waiting) count() Waiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := Waiting{Stuck: map[string]int{}, Parked: map[string]int{}, Unreadable: map[string]int{}}
	for i := range maps.Keys(w.stuck) {
		all.Stuck[i.Process]++
	}
	for p := range maps.Keys(w.parked) {
		all.Parked[p.Process]++
	}
	for name, events := range w.unreadable {
		all.Unreadable[name] = len(events)
	}
	return all
}

// having returns a set with a key, or without it.
func having[K comparable](set map[K]bool, key K, has bool) map[K]bool {
	switch {
	case !has:
		delete(set, key)
	case set == nil:
		return map[K]bool{key: true}
	default:
		set[key] = true
	}
	return set
}
