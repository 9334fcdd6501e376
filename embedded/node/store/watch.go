package store

import "sync"

// Watcher wakes its owner when there may be more events to read. It carries no events: the owner reads at its own pace.
type Watcher struct {
	// C receives a signal after events became durable; several commits may give one signal. Read all events, then wait: a
	// commit after that read leaves a signal.
	C chan struct{}

	stream string // empty: the whole log
	owner  *watchers
}

// Close ends the watch. C is not closed.
func (w *Watcher) Close() { w.owner.remove(w) }

type watchers struct {
	mu       sync.Mutex
	all      map[*Watcher]struct{}
	byStream map[string]map[*Watcher]struct{}
}

// WatchAll watches the whole log.
func (s *Store) WatchAll() *Watcher { return s.watchers.add("") }

// WatchStream watches one stream.
func (s *Store) WatchStream(name string) *Watcher {
	if IsIndex(name) {
		return s.WatchAll() // any event may add to it
	}
	return s.watchers.add(name)
}

func (ws *watchers) add(stream string) *Watcher {
	w := &Watcher{C: make(chan struct{}, 1), stream: stream, owner: ws}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if stream == "" {
		if ws.all == nil {
			ws.all = make(map[*Watcher]struct{})
		}
		ws.all[w] = struct{}{}
		return w
	}
	if ws.byStream == nil {
		ws.byStream = make(map[string]map[*Watcher]struct{})
	}
	if ws.byStream[stream] == nil {
		ws.byStream[stream] = make(map[*Watcher]struct{})
	}
	ws.byStream[stream][w] = struct{}{}
	return w
}

func (ws *watchers) remove(w *Watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
	if m := ws.byStream[w.stream]; m != nil {
		delete(m, w)
		if len(m) == 0 {
			delete(ws.byStream, w.stream)
		}
	}
}

func (w *Watcher) signal() {
	select {
	case w.C <- struct{}{}:
	default: // the slot is full, so the owner will read anyway
	}
}

// notify wakes the watchers of the log and of the events' streams. It never blocks.
func (ws *watchers) notify(records []Record) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		w.signal()
	}
	if len(ws.byStream) == 0 {
		return
	}
	for i := range records {
		for w := range ws.byStream[string(records[i].Stream())] {
			w.signal()
		}
	}
}
