package admission

import "sync"

// Tally counts what each of many holds at a time, within a bound for each of them and one for all together. It is safe for
// concurrent use.
type Tally struct {
	each, all int

	mu    sync.Mutex
	held  map[string]int
	total int
}

// NewTally returns a Tally with these bounds.
func NewTally(each, all int) *Tally { return &Tally{each: each, all: all, held: map[string]int{}} }

// Take counts one more for somebody, unless that exceeds a bound. After it has returned true, Give has to be called.
func (t *Tally) Take(who string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.held[who]
	if n >= t.each || t.total >= t.all {
		return false
	}
	t.held[who] = n + 1
	t.total++
	return true
}

// Give takes back what Take has counted.
func (t *Tally) Give(who string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total--
	if n := t.held[who]; n > 1 {
		t.held[who] = n - 1
		return
	}
	delete(t.held, who)
}

// Total is how many are counted for all together.
func (t *Tally) Total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}
