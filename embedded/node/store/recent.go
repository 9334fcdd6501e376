package store

// recent holds the ids of the newest events with their revisions and positions. By it repeated appends without an exact
// expected revision are recognised, and events that are not yet committed are found.
type recent struct {
	max   int
	byID  map[recentKey]recentEvent
	ring  []recentKey
	at    []uint64 // positions of the events in ring
	start int
	count int
}

type recentKey struct {
	stream uint64
	id     ID
}

type recentEvent struct {
	revision int64
	position uint64
}

func newRecent(max int) *recent {
	return &recent{max: max, byID: make(map[recentKey]recentEvent)}
}

func (r *recent) find(stream uint64, id ID) (recentEvent, bool) {
	e, ok := r.byID[recentKey{stream, id}]
	return e, ok
}

// add adds an event and drops the oldest durable ones beyond the bound.
func (r *recent) add(stream uint64, id ID, e recentEvent, durable uint64) {
	key := recentKey{stream, id}
	r.byID[key] = e
	if r.count == len(r.ring) {
		r.grow()
	}
	i := (r.start + r.count) % len(r.ring)
	r.ring[i], r.at[i] = key, e.position
	r.count++
	for r.count > r.max && r.at[r.start] < durable {
		oldest := r.ring[r.start]
		// If the same id was written again since, the newer entry stays.
		if r.byID[oldest].position == r.at[r.start] {
			delete(r.byID, oldest)
		}
		r.start = (r.start + 1) % len(r.ring)
		r.count--
	}
}

// forget drops an event that was scavenged.
func (r *recent) forget(stream uint64, id ID, position uint64) {
	key := recentKey{stream, id}
	if e, ok := r.byID[key]; ok && e.position == position {
		delete(r.byID, key) // add drops its slot in the ring later
	}
}

func (r *recent) grow() {
	size := max(1024, 2*len(r.ring))
	ring, at := make([]recentKey, size), make([]uint64, size)
	for i := range r.count {
		j := (r.start + i) % len(r.ring)
		ring[i], at[i] = r.ring[j], r.at[j]
	}
	r.ring, r.at, r.start = ring, at, 0
}
