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
)

// giveMemoryBack gives the memory of garbage back to the system whenever the process has become idle, until ctx ends. Otherwise what a
// start or a burst has used stays with it for minutes, because an idle process has no reason to collect. It does nothing if
// GOMEMLIMIT is set.
func giveMemoryBack(ctx context.Context) error {
	if os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	idle := idleWatch{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(idleFor):
		}
		if idle.worthIt(readHeap()) {
			debug.FreeOSMemory()
			idle.given(readHeap())
		}
	}
}

// heap is how much a process has allocated since its start, what is live or garbage of it, and what it holds free.
type heap struct{ allocated, objects, free uint64 }

func readHeap() heap {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(samples)
	return heap{allocated: samples[0].Value.Uint64(), objects: samples[1].Value.Uint64(), free: samples[2].Value.Uint64()}
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
