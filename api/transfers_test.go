package api

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// sent is a transfer of a test, with what a plain model knows of it.
type sent struct {
	transfer
	user, network string
	ended, gone   bool // gone once it has arrived or is ended
	held          int64
}

// TestTransfersStayWithinTheirBounds, whatever begins, grows, arrives and ends in whatever order: the oldest is ended, and at
// the end nothing is counted any more.
func TestTransfersStayWithinTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := transferBounds{count: [3]int{2, 4, 6}, bytes: [3]int64{20, 40, 60}}
		r := newTransfers(bounds)
		var live []*sent // in the order in which they began, until over
		of := func(level int, user, network string) (l []*sent) {
			for _, s := range live {
				if level == ofAll || s.network == network && (level == ofNetwork || s.user == user) {
					l = append(l, s)
				}
			}
			return l
		}
		pick := func(t *rapid.T) *sent {
			if len(live) == 0 {
				t.Skip("none")
			}
			return rapid.SampledFrom(live).Draw(t, "which")
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				n := rapid.IntRange(0, 2).Draw(t, "network")
				s := &sent{user: fmt.Sprint("user", n, rapid.IntRange(0, 2).Draw(t, "user")), network: fmt.Sprint("network", n)}
				goesOn := map[*sent]bool{}
				for _, l := range live {
					goesOn[l] = !l.gone
				}
				r.begin(&s.transfer, s.user, s.network, func() { s.ended, s.gone, s.held = true, true, 0 })
				for i, l := range live { // of those on the same shelves, no older one outlives one that is ended
					if !goesOn[l] || !l.ended {
						continue
					}
					oldest := false
					for level := range 3 {
						first := true
						for _, other := range of(level, l.user, l.network) {
							first = first && (other == l || !goesOn[other] || other.ended || indexOf(live, other) > i)
						}
						oldest = oldest || first
					}
					if !oldest {
						t.Fatal("one is ended that is not the oldest")
					}
				}
				live = append(live, s)
			},
			"grow": func(t *rapid.T) {
				s := pick(t)
				if s.gone {
					t.Skip("does not grow any more")
				}
				n := rapid.Int64Range(1, 25).Draw(t, "bytes")
				if r.grow(&s.transfer, n) {
					s.held += n
				}
			},
			"arrive": func(t *rapid.T) {
				s := pick(t)
				if arrived := r.arrived(&s.transfer); arrived == s.ended {
					t.Fatalf("arrived: %t, ended: %t", arrived, s.ended)
				}
				s.gone = true
			},
			"over": func(t *rapid.T) {
				s := pick(t)
				r.over(&s.transfer)
				live = append(live[:indexOf(live, s):indexOf(live, s)], live[indexOf(live, s)+1:]...)
			},
			"": func(t *rapid.T) {
				for level := range 3 {
					for _, s := range append(live, &sent{}) {
						count, bytes := 0, int64(0)
						for _, other := range of(level, s.user, s.network) {
							if bytes += other.held; !other.gone {
								count++
							}
						}
						if count > bounds.count[level] || bytes > bounds.bytes[level] {
							t.Fatalf("level %d has %d transfers of %d bytes", level, count, bytes)
						}
						if c, b, _ := r.figures(); level == ofAll && (c != count || b != bytes) {
							t.Fatalf("counted are %d of %d bytes, not %d of %d", c, b, count, bytes)
						}
					}
				}
			},
		})
		for _, s := range live {
			r.over(&s.transfer)
			r.over(&s.transfer) // twice does no harm
		}
		if count, bytes, _ := r.figures(); count != 0 || bytes != 0 || len(r.shelves) != 0 || r.all.calls != 0 {
			t.Fatalf("left are %d of %d bytes, on %d shelves", count, bytes, len(r.shelves))
		}
	})
}

func indexOf(list []*sent, s *sent) int {
	for i, l := range list {
		if l == s {
			return i
		}
	}
	return -1
}

// TestTransfersMayEndWhileTheyGrow has calls of several users send at the same time, some of which are ended by others.
func TestTransfersMayEndWhileTheyGrow(t *testing.T) {
	r := newTransfers(transferBounds{count: [3]int{3, 6, 10}, bytes: [3]int64{100, 200, 300}})
	var all sync.WaitGroup
	var ended atomic.Int64
	for i := range 24 {
		all.Go(func() {
			for range 200 {
				var one transfer
				r.begin(&one, fmt.Sprint("user", i%6), fmt.Sprint("network", i%3), func() { ended.Add(1) })
				for range 3 {
					if !r.grow(&one, 20) {
						break
					}
				}
				r.arrived(&one)
				r.over(&one)
			}
		})
	}
	all.Wait()
	count, bytes, cut := r.figures()
	if count != 0 || bytes != 0 || len(r.shelves) != 0 {
		t.Errorf("left are %d of %d bytes, on %d shelves", count, bytes, len(r.shelves))
	}
	if cut != ended.Load() {
		t.Errorf("%d are counted as ended, %d were told", cut, ended.Load())
	}
}
