package main

import "testing"

// TestMemoryIsGivenBackWhenIdle: a process that allocates little, and holds what it does not need, gives it back once. One that is busy
// does not, and neither does one that holds only what it needs.
func TestMemoryIsGivenBackWhenIdle(t *testing.T) {
	const mb = 1 << 20
	w := idleWatch{}
	for _, look := range []struct {
		what string
		now  heap
		want bool
	}{
		{"after the start", heap{allocated: 200 * mb, objects: 90 * mb}, false},
		{"busy", heap{allocated: 300 * mb, objects: 90 * mb}, false},
		{"idle, with garbage", heap{allocated: 301 * mb, objects: 90 * mb}, true},
		{"idle, and nothing to give back", heap{allocated: 302 * mb, objects: 41 * mb, free: 2 * mb}, false},
		{"idle, with free memory", heap{allocated: 303 * mb, objects: 41 * mb, free: 40 * mb}, true},
		{"busy again", heap{allocated: 400 * mb, objects: 90 * mb}, false},
	} {
		got := w.worthIt(look.now)
		if got != look.want {
			t.Errorf("%s: memory is given back: %v", look.what, got)
		}
		if got {
			w.given(heap{allocated: look.now.allocated, objects: 40 * mb})
		}
	}
}
