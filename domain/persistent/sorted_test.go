package persistent_test

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	"casebook/domain/persistent"

	"pgregory.net/rapid"
)

type number int

func (n number) Compare(other number) int { return cmp.Compare(n, other) }

// TestSortedIsAMapInOrder compares every version of a Sorted with a plain map, after all changes.
func TestSortedIsAMapInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			sorted persistent.Sorted[number, int]
			plain  map[number]int
		}
		now := version{plain: map[number]int{}}
		versions := []version{now}
		for i := range rapid.IntRange(0, 300).Draw(t, "changes") {
			key := number(rapid.IntRange(0, 100).Draw(t, "key"))
			next := version{plain: maps.Clone(now.plain)}
			if rapid.Bool().Draw(t, "delete") {
				next.sorted = now.sorted.Delete(key)
				delete(next.plain, key)
			} else {
				next.sorted = now.sorted.Set(key, i)
				next.plain[key] = i
			}
			now = next
			versions = append(versions, now)
		}
		for _, v := range versions {
			keys := slices.Sorted(maps.Keys(v.plain))
			if v.sorted.Len() != len(keys) {
				t.Fatalf("%d entries, want %d", v.sorted.Len(), len(keys))
			}
			var all []number
			for key, value := range v.sorted.All() {
				all = append(all, key)
				if at, is := v.sorted.Get(key); !is || at != value || value != v.plain[key] {
					t.Fatalf("%d has %d and %d, want %d", key, value, at, v.plain[key])
				}
			}
			if !slices.Equal(all, keys) {
				t.Fatalf("the keys are %v, want %v", all, keys)
			}
			for i, key := range keys {
				if at, _, found := v.sorted.At(i); !found || at != key {
					t.Fatalf("number %d is %d, want %d", i, at, key)
				}
			}
			if _, _, found := v.sorted.At(len(keys)); found {
				t.Fatal("there is an entry behind the last one")
			}
			from := number(rapid.IntRange(-1, 101).Draw(t, "from"))
			var behind []number
			for key := range v.sorted.From(from) {
				behind = append(behind, key)
			}
			if first, _ := slices.BinarySearch(keys, from); !slices.Equal(behind, keys[first:]) {
				t.Fatalf("from %d there are %v of %v", from, behind, keys)
			}
		}
	})
}

// TestSortedStaysShallow finds the last of many entries, which were added and deleted in the worst orders, in few steps.
func TestSortedStaysShallow(t *testing.T) {
	var s persistent.Sorted[counting, int]
	const n = 1 << 16
	for i := range n {
		s = s.Set(counting{number: i}, i)
	}
	for i := range n / 2 {
		s = s.Delete(counting{number: i})
	}
	for i := n / 2; i < n; i += 997 {
		steps := 0
		if _, found := s.Get(counting{number: i, steps: &steps}); !found || steps > 40 {
			t.Fatalf("%d is found: %v, in %d steps", i, found, steps)
		}
	}
}

// counting counts how often it is compared.
type counting struct {
	number int
	steps  *int
}

func (c counting) Compare(other counting) int {
	if c.steps != nil {
		*c.steps++
	}
	return cmp.Compare(c.number, other.number)
}
