package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// heapRoom is how much the heap may grow beyond the live data before it is collected, as far as the percentages allow it.
	heapRoom = 96 << 20
	// gcMost and gcLeast bound that growth, in percent of the live data. With little of it, collecting more often than that would cost
	// more than the memory is worth; with much of it, so would collecting for every heapRoom.
	gcMost  = 200
	gcLeast = 50
	// heapLookedAt is how often the growth is set by the live data.
	heapLookedAt = time.Second
)

// gcPercentFor returns the growth of the heap, in percent of its live bytes, that leaves heapRoom.
func gcPercentFor(live uint64) int {
	if live <= heapRoom*100/gcMost {
		return gcMost
	}
	return max(gcLeast, int(heapRoom*100/live)) // #nosec G115 -- at most gcMost
}

// boundHeap has the heap collected before it grows by more than heapRoom, until ctx ends. Requests leave little behind and the caches
// are bounded, so a growth in proportion to the live data, as Go has it, would only take memory from the stores' own caches. It does
// nothing if GOGC is set.
func boundHeap(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	now := gcMost
	debug.SetGCPercent(now)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(heapLookedAt)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		metrics.Read(live)
		next := gcPercentFor(live[0].Value.Uint64())
		if next*10 < now*9 || next*9 > now*10 { // a smaller difference is not worth stopping everything for a moment
			now = next
			debug.SetGCPercent(now)
		}
	}
}
