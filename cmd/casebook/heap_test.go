package main

import (
	"runtime/metrics"
	"testing"
)

func TestTheHeapGrowsByAsMuchAsIsWorthIt(t *testing.T) {
	for live, want := range map[uint64]int{0: 200, 10 << 20: 200, 48 << 20: 200, 96 << 20: 100, 120 << 20: 80, 192 << 20: 50, 1 << 40: 50} {
		if got := gcPercentFor(live); got != want {
			t.Errorf("with %d live bytes the heap grows by %d %%, want %d", live, got, want)
		}
	}
	known := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(known); known[0].Value.Kind() != metrics.KindUint64 {
		t.Error("Go does not tell the live bytes of the heap")
	}
}
