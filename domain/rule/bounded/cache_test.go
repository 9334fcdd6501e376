package bounded_test

import (
	"sync"
	"testing"

	"casebook/domain/rule/bounded"

	"pgregory.net/rapid"
)

func TestCacheStaysBoundedAndTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(2, 20).Draw(t, "size")
		cache := bounded.New[int, int](size)
		for _, key := range rapid.SliceOf(rapid.IntRange(0, 40)).Draw(t, "keys") {
			if got, ok := cache.Get(key); ok && got != key*key {
				t.Fatalf("%d is %d", key, got)
			}
			if got := cache.Add(key, key*key); got != key*key {
				t.Fatalf("%d is %d", key, got)
			}
			if got, ok := cache.Get(key); !ok || got != key*key {
				t.Fatalf("%d is gone at once", key)
			}
			if cache.Len() > size {
				t.Fatalf("%d values, bound %d", cache.Len(), size)
			}
		}
	})
}

// What is used stays, however much else comes by.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	cache := bounded.New[int, string](8)
	cache.Add(-1, "used")
	for key := range 1000 {
		cache.Add(key, "passing by")
		if got, ok := cache.Get(-1); !ok || got != "used" {
			t.Fatalf("gone after %d others", key)
		}
	}
	if _, ok := cache.Get(0); ok {
		t.Error("what nobody uses is still there")
	}
}

func TestCacheTheFirstOneStays(t *testing.T) {
	cache := bounded.New[string, *int](8)
	results := make([]*int, 16)
	var all sync.WaitGroup
	for n := range results {
		all.Go(func() { results[n] = cache.Add("key", &n) })
	}
	all.Wait()
	for _, r := range results {
		if r != results[0] {
			t.Fatal("two callers hold different values")
		}
	}
}
