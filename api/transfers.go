package api

import "sync"

// transfer is a body on its way in or an answer on its way out. It belongs to one call; the registry may only end it.
type transfer struct {
	// end makes the transfer fail at once; nil once it is over.
	end func()
	// bytes are what it holds in memory.
	bytes int64
	// ended says that it had to make room for others.
	ended bool
	in    [3]*shelf
	beside
}

// beside are the neighbours of a transfer on each shelf.
type beside [3]struct{ older, newer *transfer }

// shelf holds transfers in the order in which they began, and counts the bytes of these and of those that have arrived.
type shelf struct {
	key            shelfKey
	oldest, newest *transfer
	count          int
	bytes          int64
	// calls are those whose transfers are or were on the shelf.
	calls int
}

// Each transfer is on three shelves.
const (
	ofUser = iota
	ofNetwork
	ofAll
)

type shelfKey struct {
	level int
	who   string
}

// transferBounds bound how many transfers of one user, of one network and of all there are at a time, and their bytes.
type transferBounds struct {
	count [3]int
	bytes [3]int64
}

// transfers holds the bodies that clients send, or the answers that they receive, at their own pace. If a user, a network or
// all together have too many, the oldest is ended. A transfer that a slow client prolongs becomes the oldest, so clients of
// usual speed are served beside any number of slow ones, even of the same user or address. It is safe for concurrent use.
type transfers struct {
	bounds transferBounds

	mu      sync.Mutex
	all     shelf
	shelves map[shelfKey]*shelf
	// spare are shelves to be used again.
	spare []*shelf
	// cut counts the transfers that were ended.
	cut int64
}

// maxSpare bounds the spare shelves.
const maxSpare = 256

func newTransfers(bounds transferBounds) *transfers {
	return &transfers{bounds: bounds, shelves: map[shelfKey]*shelf{}, all: shelf{key: shelfKey{level: ofAll}}}
}

// begin adds a transfer of a user, "" where nobody is proven, from a network. end has to make it fail at once. Then over has
// to be called.
func (r *transfers) begin(t *transfer, user, network string, end func()) {
	if user == "" {
		user = "\x00" + network // the strangers of a network count as one user
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	*t = transfer{end: end, in: [3]*shelf{r.shelf(ofUser, user), r.shelf(ofNetwork, network), &r.all}}
	for level, s := range t.in {
		if s.count >= r.bounds.count[level] {
			r.endOldest(s)
		}
	}
	for level, s := range t.in {
		s.calls++
		s.add(level, t)
	}
}

// grow counts bytes that a transfer comes to hold, and ends older ones until there is room. It returns false if there is
// none, or if the transfer itself is the oldest.
func (r *transfers) grow(t *transfer, bytes int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for level, s := range t.in {
		for s.bytes+bytes > r.bounds.bytes[level] {
			if s.oldest == nil || t.ended {
				return false
			}
			r.endOldest(s)
		}
	}
	if t.ended {
		return false
	}
	t.bytes += bytes
	for _, s := range t.in {
		s.bytes += bytes
	}
	return true
}

// arrived says that a body has come, so that it can no longer be ended to make room. The bytes that it holds count until
// over. arrived returns false if the transfer had been ended before.
func (r *transfers) arrived(t *transfer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.takeOff(t)
	return !t.ended
}

// over removes a transfer and what it holds. It does nothing to one that has not begun.
func (r *transfers) over(t *transfer) {
	if t.in[ofAll] == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.takeOff(t)
	r.drop(t)
	for _, s := range t.in[:ofAll] {
		if s.calls--; s.calls > 0 {
			continue
		}
		delete(r.shelves, s.key)
		if len(r.spare) < maxSpare {
			r.spare = append(r.spare, s)
		}
	}
	r.all.calls--
	t.in = [3]*shelf{}
}

// drop subtracts the bytes of a transfer.
func (*transfers) drop(t *transfer) {
	for _, s := range t.in {
		s.bytes -= t.bytes
	}
	t.bytes = 0
}

// endOldest ends the oldest transfer of a shelf. It is called with r.mu held, as are drop, takeOff, shelf, add and remove.
func (r *transfers) endOldest(s *shelf) {
	t := s.oldest
	if t == nil {
		return
	}
	t.end()
	t.ended = true
	r.cut++
	r.takeOff(t)
	r.drop(t) // its call frees it as soon as it is scheduled
}

// takeOff takes a transfer off its shelves. The shelves stay, because they count its bytes.
func (*transfers) takeOff(t *transfer) {
	if t.end == nil {
		return
	}
	t.end = nil
	for level, s := range t.in {
		s.remove(level, t)
	}
}

func (r *transfers) shelf(level int, who string) *shelf {
	key := shelfKey{level, who}
	if s := r.shelves[key]; s != nil {
		return s
	}
	s := &shelf{}
	if n := len(r.spare); n > 0 {
		s, r.spare = r.spare[n-1], r.spare[:n-1]
	}
	*s = shelf{key: key}
	r.shelves[key] = s
	return s
}

func (s *shelf) add(level int, t *transfer) {
	s.count++
	t.beside[level].older = s.newest
	if s.newest != nil {
		s.newest.beside[level].newer = t
	} else {
		s.oldest = t
	}
	s.newest = t
}

func (s *shelf) remove(level int, t *transfer) {
	s.count--
	older, newer := t.beside[level].older, t.beside[level].newer
	if older != nil {
		older.beside[level].newer = newer
	} else {
		s.oldest = newer
	}
	if newer != nil {
		newer.beside[level].older = older
	} else {
		s.newest = older
	}
}

// figures are how many transfers go on, the bytes that they and the arrived ones hold, and how many have been ended.
func (r *transfers) figures() (count int, bytes, cut int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.count, r.all.bytes, r.cut
}
