package bounded_test

import (
	"sync"
	"testing"

	"casebook/domain/rule/bounded"

	"pgregory.net/rapid"
)

func TestCacheIsBoundedAndReturnsItsValues(t *testing.T) {
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
				t.Fatalf("%d is missing right after it was added", key)
			}
			if cache.Len() > size {
				t.Fatalf("the cache has %d values, more than %d", cache.Len(), size)
			}
		}
	})
}

// A value that is used stays in the cache, regardless of how many others are added.
func TestCacheKeepsUsedValues(t *testing.T) {
	cache := bounded.New[int, string](8)
	cache.Add(-1, "used")
	for key := range 1000 {
		cache.Add(key, "not used")
		if got, ok := cache.Get(-1); !ok || got != "used" {
			t.Fatalf("the used value is missing after %d others", key)
		}
	}
	if _, ok := cache.Get(0); ok {
		t.Error("the cache still has a value that was not used")
	}
}

func TestCacheKeepsTheFirstValueOfAKey(t *testing.T) {
	cache := bounded.New[string, *int](8)
	results := make([]*int, 16)
	var all sync.WaitGroup
	for n := range results {
		all.Go(func() { results[n] = cache.Add("key", &n) })
	}
	all.Wait()
	for _, r := range results {
		if r != results[0] {
			t.Fatal("two callers got different values")
		}
	}
}
