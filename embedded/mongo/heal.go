package mongo

import "time"

// A disk that fails or fills up under a write leaves the engine with writes that it believes in and the disk does not
// have. The store takes no more writes then, reads go on, and the server opens the store again when the disk has room.

const (
	// healEvery is the time between two looks at the disk.
	healEvery = time.Second
	// healPause is the time between two attempts to open the store.
	healPause = 5 * time.Second
)

// Failure returns why the server takes no writes at the moment, or nil.
func (s *Server) Failure() error {
	s.opening.RLock()
	defer s.opening.RUnlock()
	return s.unwritable()
}

// unwritable is Failure for a caller that holds opening.
func (s *Server) unwritable() error {
	if s.shut != nil {
		return s.shut
	}
	return s.store.unwritable()
}

// storeStats returns the statistics of the store, zero while there is none. The caller holds opening.
func (s *Server) storeStats() Stats {
	if s.shut != nil {
		return Stats{}
	}
	return s.store.stats()
}

// heal opens the store again after it failed, until the server closes.
func (s *Server) heal() {
	for {
		select {
		case <-s.store.broken:
		case <-s.life.Done():
			return
		}
		pause := healEvery
		for {
			if !s.sleep(pause) {
				return
			}
			if s.store.diskSpace() != nil {
				continue
			}
			if s.reopen() {
				break
			}
			pause = healPause
		}
	}
}

// sleep waits; it reports false if the server closes meanwhile.
func (s *Server) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.life.Done():
		return false
	}
}

// reopen replaces the failed store by one that is read from the disk again. It waits for the commands that run. Open
// cursors end, because their store is gone.
func (s *Server) reopen() bool {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.life.Err() != nil {
		return false
	}
	s.cursors.clear()
	if s.shut == nil {
		if err := s.store.close(); err != nil { // it could not write out the rest, which was never acknowledged
			s.log.Warn("closing the failed read model store", "error", err)
		}
	}
	st, err := openStore(&s.opts)
	if err != nil {
		s.shut = refuse(codeOutOfDiskSpace, "the database could not be opened again: %v; the server tries again by itself", err)
		s.log.Error("opening the read model store again failed", "error", err)
		return false
	}
	s.store, s.shut = st, nil
	s.log.Info("the read model store takes writes again")
	return true
}

// clear closes all cursors.
func (t *cursorTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.byID {
		t.forget(c)
	}
}
