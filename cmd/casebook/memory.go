package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// idleFor is how long a process has to do little before it gives memory back.
	idleFor = 5 * time.Second
	// idleBytes is what it allocates in that time at most.
	idleBytes = 16 << 20
	// idleWorth is how much memory it has to hold without need.
	idleWorth = 16 << 20

	// heapLeast is up to where the heap may grow to three times what is live, see gcPercent. Beyond that it is collected when it has
	// grown to heapPerLive times what is live.
	heapLeast   = 384 << 20
	heapPerLive = 2
	// heapEvery is how often the limit follows what is live.
	heapEvery = time.Second
)

// keepMemorySmall bounds the garbage of a large heap, until ctx ends, and gives the memory of garbage back to the system whenever the
// process has become idle. Otherwise what a start or a burst has used stays with it for minutes, because an idle process has no reason
// to collect. It leaves both to an operator who has set GOMEMLIMIT.
func keepMemorySmall(ctx context.Context) error {
	if os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(heapLeast))
	idle, looked := idleWatch{}, time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(heapEvery):
		}
		now := readHeap()
		debug.SetMemoryLimit(max(heapLeast, int64(heapPerLive*now.live+now.besides)))
		if time.Since(looked) < idleFor {
			continue
		}
		looked = time.Now()
		if idle.worthIt(now) {
			debug.FreeOSMemory()
			idle.given(readHeap())
		}
	}
}

// heap is how much a process has allocated since its start, what is live or garbage of it, and what it holds free. live is what the last
// collection has found, and besides what the limit of the memory counts too: stacks, and what the runtime needs.
type heap struct{ allocated, objects, free, live, besides uint64 }

func readHeap() heap {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	h := heap{allocated: samples[0].Value.Uint64(), objects: samples[1].Value.Uint64(), free: samples[2].Value.Uint64(),
		live: samples[3].Value.Uint64()}
	h.besides = samples[4].Value.Uint64() - samples[5].Value.Uint64() - h.objects - h.free
	return h
}

// idleWatch tells when a process has become idle.
type idleWatch struct {
	// allocated is what had been allocated when it looked last, and objects what was there after the last collection that it had made.
	allocated, objects uint64
}

// worthIt says whether the process has done little since the last look, and holds memory without need.
func (w *idleWatch) worthIt(now heap) bool {
	little := w.allocated > 0 && now.allocated-w.allocated < idleBytes
	w.allocated = now.allocated
	return little && now.objects+now.free > w.objects+idleWorth
}

// given notes what is left after memory was given back.
func (w *idleWatch) given(now heap) { w.allocated, w.objects = now.allocated, now.objects }
