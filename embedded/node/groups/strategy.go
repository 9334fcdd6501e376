package groups

import (
	"encoding/json"
	"hash/maphash"
	"slices"
	"strings"

	"casebook/embedded/node/store"
)

// pins reports whether a strategy ties events to consumers. Then a consumer without room need not delay the others.
func pins(strategy string) bool { return strategy == Pinned || strategy == PinnedByCorrelation }

// choose returns the consumer for a message, nil if no consumer may take it now.
func (g *group) choose(m *message) *Consumer {
	switch g.def.Settings.Strategy {
	case DispatchToSingle:
		for _, c := range g.consumers {
			if c.canTake(m) {
				return c
			}
		}
	case Pinned, PinnedByCorrelation:
		return g.choosePinned(m)
	default:
		for range g.consumers {
			c := g.consumers[g.turn%len(g.consumers)]
			g.turn = (g.turn + 1) % len(g.consumers)
			if c.canTake(m) {
				return c
			}
		}
	}
	return nil
}

var seed = maphash.MakeSeed()

// choosePinned chooses the consumer with the highest hash of message and consumer (rendezvous hashing): when a consumer
// connects or leaves, only its own share moves. While a consumer holds events of a stream, the stream's other events
// wait for it, so that two consumers never work on the same stream at once.
func (g *group) choosePinned(m *message) *Consumer {
	if !m.pinned {
		m.pin, m.pinned = maphash.String(seed, g.pinOf(m)), true
	}
	var best *Consumer
	var highest uint64
	for _, c := range g.consumers {
		if c.holds(m.pin) {
			best = c
			break
		}
		if h := maphash.Comparable(seed, [2]uint64{m.pin, c.number}); best == nil || h > highest {
			best, highest = c, h
		}
	}
	if best == nil || !best.canTake(m) {
		return nil
	}
	return best
}

// holds reports whether the consumer holds an event with the same pin.
func (c *Consumer) holds(pin uint64) bool { return c.pins[pin] > 0 }

// pinOf returns the text that pins a message: its correlation id, or the stream that the event was written to, not the
// stream that links to it.
func (g *group) pinOf(m *message) string {
	if g.def.Settings.Strategy == PinnedByCorrelation && m.event != nil {
		var metadata struct {
			Correlation string `json:"$correlationId"`
		}
		if json.Unmarshal(m.event.CustomMetadata(), &metadata) == nil && metadata.Correlation != "" {
			return "c" + metadata.Correlation
		}
	}
	if m.event == nil {
		_, stream, _ := strings.Cut(string(m.link.Data()), "@")
		return "s" + stream
	}
	if m.link == nil && string(m.event.Type()) == store.LinkType {
		if _, stream, ok := strings.Cut(string(m.event.Data()), "@"); ok {
			return "s" + stream
		}
	}
	return "s" + string(m.event.Stream())
}

// observed holds the times that a consumer took for its latest events.
type observed struct {
	window []int64 // milliseconds, a ring
	next   int
}

const observedWindow = 1000

func newObserved() observed { return observed{window: make([]int64, 0, observedWindow)} }

func (o *observed) on() bool { return o.window != nil }

func (o *observed) record(ms int64) {
	if len(o.window) < cap(o.window) {
		o.window = append(o.window, ms)
		return
	}
	o.window[o.next] = ms
	o.next = (o.next + 1) % len(o.window)
}

// measurements returns mean and quantiles over the window, in milliseconds.
func (o *observed) measurements() []Measurement {
	n := len(o.window)
	if n == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(o.window))
	sum := int64(0)
	for _, v := range sorted {
		sum += v
	}
	at := func(q float64) int64 { return sorted[min(n-1, int(q*float64(n)))] }
	return []Measurement{
		{"Mean", sum / int64(n)}, {"Median", at(0.5)}, {"Fastest", sorted[0]},
		{"Quintile 1", at(0.2)}, {"Quintile 2", at(0.4)}, {"Quintile 3", at(0.6)}, {"Quintile 4", at(0.8)}, {"Quintile 5", at(1)},
		{"90%", at(0.9)}, {"95%", at(0.95)}, {"99%", at(0.99)}, {"99.5%", at(0.995)}, {"99.9%", at(0.999)},
		{"Highest", sorted[n-1]},
	}
}
