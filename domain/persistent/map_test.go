package persistent_test

import (
	"fmt"
	"maps"
	"testing"

	"casebook/domain/persistent"

	"pgregory.net/rapid"
)

// compare fails the test if a method of the map returns something else than the plain map holds.
func compare(t *rapid.T, m persistent.Map[int, string], want map[int]string, keys int) {
	t.Helper()
	if m.Len() != len(want) {
		t.Fatalf("it has %d keys, not %d", m.Len(), len(want))
	}
	for k := range keys {
		if got, ok := m.Get(k); got != want[k] || ok != has(want, k) {
			t.Fatalf("%d is %q, %v, not %q", k, got, ok, want[k])
		}
	}
	if got := m.Plain(); !maps.Equal(got, want) {
		t.Fatalf("it is %v, not %v", got, want)
	}
	seen := map[int]string{}
	for k, v := range m.All() {
		if _, twice := seen[k]; twice {
			t.Fatalf("%d is seen twice", k)
		}
		seen[k] = v
	}
	if !maps.Equal(seen, want) {
		t.Fatalf("All yields %v, not %v", seen, want)
	}
}

func has(m map[int]string, k int) bool {
	_, ok := m[k]
	return ok
}

// Every version agrees with a plain map after all later changes, also a version that was made from an old one.
func TestEveryVersionAgreesWithAPlainMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			m    persistent.Map[int, string]
			want map[int]string
		}
		keys := rapid.SampledFrom([]int{1, 3, 20, 200}).Draw(t, "keys")
		versions := []version{{want: map[int]string{}}}
		// Begin with an empty map, and with maps just before, at and just after the changes at which a map copies itself.
		start := versions[0]
		for i := range rapid.SampledFrom([]int{0, 62, 63, 64, 65, 127, 128, 129, 200}).Draw(t, "before") {
			start.want = maps.Clone(start.want)
			if i%5 == 4 {
				start.m = start.m.Delete(i % keys)
				delete(start.want, i%keys)
			} else {
				start.m = start.m.Set(i%keys, fmt.Sprint("s", i))
				start.want[i%keys] = fmt.Sprint("s", i)
			}
		}
		versions = append(versions, start)
		for i := range rapid.IntRange(1, 80).Draw(t, "changes") {
			from := versions[len(versions)-1]
			if rapid.IntRange(0, 9).Draw(t, "branch") == 0 {
				from = rapid.SampledFrom(versions).Draw(t, "version")
			}
			k, next := rapid.IntRange(0, keys-1).Draw(t, "key"), version{want: maps.Clone(from.want)}
			if rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				next.m = from.m.Delete(k)
				delete(next.want, k)
			} else {
				next.m = from.m.Set(k, fmt.Sprint(i))
				next.want[k] = fmt.Sprint(i)
			}
			versions = append(versions, next)
			compare(t, next.m, next.want, keys)
		}
		for _, v := range versions {
			compare(t, v.m, v.want, keys)
		}
	})
}

// A map copies itself many times during thousands of changes. Neither the later changes nor a change of Plain's result
// affects an earlier version.
func TestManyChangesKeepOldVersions(t *testing.T) {
	var m persistent.Map[int, int]
	versions := []persistent.Map[int, int]{}
	const n = 10_000
	for i := range n {
		m = m.Set(i, i)
		if i%1000 == 999 {
			m = m.Delete(i)
			versions = append(versions, m)
		}
	}
	clear(m.Plain())
	for i, v := range versions {
		if want := (i + 1) * 999; v.Len() != want || len(v.Plain()) != want {
			t.Errorf("version %d has %d keys, and %d as a plain map, not %d", i, v.Len(), len(v.Plain()), want)
		}
		if _, ok := v.Get((i + 1) * 1000); ok {
			t.Errorf("version %d has a key that was set later", i)
		}
		if _, ok := v.Get(i*1000 + 999); ok {
			t.Errorf("version %d has a key that was deleted", i)
		}
		if got, ok := v.Get(i * 1000); !ok || got != i*1000 {
			t.Errorf("version %d has %d, %v", i, got, ok)
		}
	}
}

func TestAllStopsWhenTheLoopBreaks(t *testing.T) {
	for _, n := range []int{3, 64, 70} { // links only, a base only, both
		var m persistent.Map[int, int]
		for i := range n {
			m = m.Set(i, i)
		}
		for stop := 1; stop <= n; stop++ {
			seen := 0
			for range m.All() {
				if seen++; seen == stop {
					break
				}
			}
			if seen != stop {
				t.Errorf("a loop over %d keys saw %d before it stopped, not %d", n, seen, stop)
			}
		}
	}
}

func TestZeroMapIsEmptyAndUsable(t *testing.T) {
	var m persistent.Map[string, int]
	if _, ok := m.Get("x"); ok || m.Len() != 0 || len(m.Plain()) != 0 || m.Delete("x").Len() != 0 {
		t.Error("an empty map holds something")
	}
	for range m.All() {
		t.Error("an empty map holds something")
	}
	m = m.Set("x", 0)
	if v, ok := m.Get("x"); !ok || v != 0 || m.Len() != 1 {
		t.Error("a key with a zero value has no value")
	}
}
