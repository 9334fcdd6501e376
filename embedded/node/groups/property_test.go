package groups

import (
	"fmt"
	"slices"
	"testing"

	"casebook/embedded/node/store"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// TestNoEventIsSkipped connects consumers, has them answer at random and leave, and stops and crashes nodes in between.
// In the end every event must be settled, and no consumer may ever have held more events than it asked for. Events of
// different streams may have the same id.
func TestNoEventIsSkipped(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := &script{t: t, dir: "log", fs: vfs.NewMem(), names: map[store.ID]string{}}
		s.open()
		defer func() { s.close(true) }()
		settings, _, _ := s.options(nil)
		settings.MinCheckpointCount, settings.MaxCheckpointCount = 1, rapid.IntRange(1, 5).Draw(r, "max")
		settings.ReadBatchSize = rapid.IntRange(1, 5).Draw(r, "batch")
		settings.HistoryBufferSize = settings.ReadBatchSize + 1
		settings.LiveBufferSize = rapid.IntRange(1, 5).Draw(r, "live")
		settings.MaxRetryCount = rapid.IntRange(0, 2).Draw(r, "retries")
		settings.Strategy = rapid.SampledFrom([]string{RoundRobin, DispatchToSingle, Pinned, PinnedByCorrelation}).Draw(r, "strategy")
		s.must(s.groups.Create(All, "g", Start{}, settings, &Filter{Prefixes: []string{"s"}}))

		appended := 0
		settled := map[string]bool{}
		var events []string                     // by stream and revision
		idsOf := map[string]map[store.ID]bool{} // by stream
		held := map[*Consumer][]*store.Record{} // delivered and not answered
		var consumers []*Consumer
		forget := func() { held, consumers = map[*Consumer][]*store.Record{}, nil }
		receive := func() {
			s.settle()
			for _, c := range consumers {
				for len(c.C) > 0 {
					d := <-c.C
					held[c] = append(held[c], d.Event)
					if len(held[c]) > c.buffer {
						r.Fatalf("a consumer holds %d events and asked for %d", len(held[c]), c.buffer)
					}
				}
			}
		}
		busy := func(r *rapid.T) (*Consumer, *store.Record) {
			var choice []*Consumer
			for _, c := range consumers {
				if len(held[c]) > 0 {
					choice = append(choice, c)
				}
			}
			if len(choice) == 0 {
				r.Skip("no consumer holds an event")
			}
			c := rapid.SampledFrom(choice).Draw(r, "consumer")
			i := rapid.IntRange(0, len(held[c])-1).Draw(r, "event")
			event := held[c][i]
			held[c] = slices.Delete(held[c], i, i+1)
			return c, event
		}
		r.Repeat(map[string]func(*rapid.T){
			"append": func(r *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(r, "events") {
					stream := rapid.SampledFrom([]string{"s1", "s2", "s3", "other"}).Draw(r, "stream")
					id := s.id(fmt.Sprint("e", rapid.IntRange(0, appended).Draw(r, "id")))
					if idsOf[stream][id] {
						id = s.id(fmt.Sprint(stream, appended)) // in one stream it would be the same event
					}
					appended++
					if idsOf[stream] == nil {
						idsOf[stream] = map[store.ID]bool{}
					}
					event := fmt.Sprintf("%d@%s", len(idsOf[stream]), stream)
					idsOf[stream][id] = true
					events = append(events, event)
					if stream == "other" {
						settled[event] = true
					}
					s.append(stream, []store.Proposed{store.Propose(stream, id, "T", false, nil, nil)})
				}
			},
			"connect": func(r *rapid.T) {
				c, err := s.groups.Connect(All, "g", rapid.IntRange(1, 4).Draw(r, "buffer"), Identity{})
				s.must(err)
				consumers = append(consumers, c)
			},
			"ack": func(r *rapid.T) {
				c, event := busy(r)
				s.must(c.Ack(event.ID))
				settled[nameOf(event)] = true
			},
			"park": func(r *rapid.T) {
				c, event := busy(r)
				s.must(c.Nack(Park, "", event.ID))
				s.settle()
				settled[nameOf(event)] = true
			},
			"retry": func(r *rapid.T) {
				c, event := busy(r)
				s.must(c.Nack(Retry, "", event.ID))
			},
			"leave": func(r *rapid.T) {
				if len(consumers) == 0 {
					r.Skip("no consumer is connected")
				}
				i := rapid.IntRange(0, len(consumers)-1).Draw(r, "consumer")
				consumers[i].Close()
				delete(held, consumers[i])
				consumers = slices.Delete(consumers, i, i+1)
			},
			"restart": func(r *rapid.T) {
				s.close(rapid.Bool().Draw(r, "in order"))
				s.open()
				forget()
			},
			"": func(*rapid.T) { receive() },
		})
		// A last consumer gets the remaining events.
		for _, c := range consumers {
			c.Close()
		}
		last, err := s.groups.Connect(All, "g", 100, Identity{})
		s.must(err)
		for quiet := 0; quiet < 2; {
			s.settle()
			if len(last.C) == 0 {
				quiet++
				continue
			}
			quiet = 0
			d := <-last.C
			settled[nameOf(d.Event)] = true
			s.must(last.Ack(d.Event.ID))
		}
		parked := parkedEvents(s)
		for i, event := range events {
			if !settled[event] && !parked[event] {
				r.Errorf("event %d of %d, %s, was skipped", i, len(events), event)
			}
		}
		info, err := s.groups.Info(All, "g")
		s.must(err)
		if info.Outstanding != 0 || info.InFlight != 0 || info.Buffered != 0 || info.Retrying != 0 {
			r.Errorf("events are left: %+v", info)
		}
	})
}

// nameOf says where an event is stored.
func nameOf(r *store.Record) string { return fmt.Sprintf("%d@%s", r.Revision, r.Stream()) }

func parkedEvents(s *script) map[string]bool {
	d := definition{Source: All, Name: "g"}
	st, err := s.store.Stream(d.parkedStream())
	s.must(err)
	events := map[string]bool{}
	links, err := s.store.ReadStreamForward(st.ID, 0, nil, store.Page{Events: 10000, Bytes: 1 << 24})
	s.must(err)
	for _, l := range links {
		e, err := s.store.Resolve(l, s.store.Now())
		s.must(err)
		events[nameOf(e)] = true
	}
	return events
}

// TestLargeEventsAreBounded delivers many large events to a consumer that takes one at a time.
func TestLargeEventsAreBounded(t *testing.T) {
	s := &script{t: t, dir: "log", fs: vfs.NewMem(), names: map[store.ID]string{}}
	s.open()
	defer s.close(true)
	const count = 30
	for i := range count {
		s.append("s", []store.Proposed{store.Propose("s", s.id(fmt.Sprint(i)), "T", false, nil, make([]byte, 1<<20))})
	}
	settings, _, _ := s.options(nil)
	s.must(s.groups.Create("s", "g", Start{}, settings, nil))
	c, err := s.groups.Connect("s", "g", 1, Identity{})
	s.must(err)
	for i := range count {
		d := <-c.C
		if d.Event.Revision != uint64(i) {
			t.Fatalf("revision %d was delivered instead of %d", d.Event.Revision, i)
		}
		s.must(c.group.do(func() {
			for c.group.fill() {
			}
			if ready := c.group.readyBytes(); ready > maxReadyBytes+2*maxPageBytes || i == 0 && ready < maxReadyBytes {
				t.Errorf("%d MiB are buffered", ready>>20)
			}
		}))
		s.must(c.Ack(d.Event.ID))
	}
}
