package groups

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"casebook/embedded/node/store"
)

// parkDelay is how long to wait before parking is tried again after the store refused it.
const parkDelay = 250 * time.Millisecond

// park puts a message aside: a link to it is appended to the parked stream. The message stays unsettled until the link
// is durable, so that it is in one place or the other whatever happens.
func (g *group) park(m *message, reason string) {
	target := m.event
	if m.parked < 0 && m.link != nil {
		target = m.link // a replay resolves it again
	}
	// A message that is parked once more gets a new link, which says why this time.
	metadata, err := json.Marshal(map[string]any{"added": g.store.Now().UTC(), "reason": reason, "retries": m.retries})
	if err != nil {
		metadata = nil // three plain values always encode
	}
	data := fmt.Appendf(nil, "%d@%s", target.Revision, target.Stream())
	link := store.Propose(g.def.parkedStream(), store.NewID(), store.LinkType, false, metadata, data)
	g.append(&store.Append{Stream: g.def.parkedStream(), Expected: store.Any, Events: []store.Proposed{link}, Size: len(data) + len(metadata)}, func() {
		g.logger.Warn("an event was parked", "event", string(data), "type", string(target.Type()), "reason", reason)
		g.settle(m)
	})
}

// append submits until the store takes it, and then calls done on the group's goroutine.
func (g *group) append(a *store.Append, done func()) {
	again := func() {
		g.parkAgain = append(g.parkAgain, func() { g.append(a, done) })
		g.parkAt = time.Now().Add(parkDelay)
	}
	a.Done = func(r store.Result) {
		g.post(func() {
			switch {
			case r.Err == nil:
				done()
			case errors.Is(r.Err, store.ErrStopped), errors.Is(r.Err, store.ErrClosed):
				g.logger.Error("the group's own stream cannot be written", "stream", a.Stream, "error", r.Err)
			default:
				g.logger.Warn("the group's own stream could not be written, trying again", "stream", a.Stream, "error", r.Err)
				again()
			}
		})
	}
	if err := g.store.Submit(a); err != nil {
		if !errors.Is(err, store.ErrClosed) {
			again()
		}
	}
}

// replay is the part of the parked stream that is being delivered again.
type replay struct {
	// read is the revision below which everything was taken up, by this replay or one before; end is where to stop.
	read, end uint64
	// truncateTo is the revision below which everything is settled; truncated is what the stream's metadata says.
	truncateTo, truncated uint64
}

func (r *replay) active() bool { return r.read < r.end }

// replayParked begins to deliver parked events again. One that is under way goes on, and further if need be.
func (g *group) replayParked(limit int64) error {
	var failed error
	err := g.do(func() {
		st, err := g.store.Stream(g.def.parkedStream())
		if err != nil || st.ID == 0 || st.Deleted {
			failed = err
			return
		}
		g.replay.read = max(g.replay.read, uint64(st.First))
		end := uint64(st.Last + 1)
		if limit > 0 && end > g.replay.read && uint64(limit) < end-g.replay.read {
			end = g.replay.read + uint64(limit)
		}
		g.replay.end = max(g.replay.end, end)
	})
	return cmp.Or(err, failed)
}

// fillFromParked reads the next events of a replay; they are delivered before fresh ones.
func (g *group) fillFromParked(room int) error {
	st, err := g.store.Stream(g.def.parkedStream())
	if err != nil {
		return err
	}
	room = int(min(uint64(room), g.replay.end-g.replay.read))
	links, err := g.store.ReadStreamForward(st.ID, g.replay.read, nil, store.Page{Events: room, Bytes: maxPageBytes})
	if err != nil {
		return err
	}
	if len(links) == 0 {
		g.replay.end = g.replay.read
	}
	for _, link := range links {
		event, err := g.store.Resolve(link, g.store.Now())
		if err == nil && g.def.Settings.ResolveLinks && event != nil && string(event.Type()) == store.LinkType {
			event, err = g.store.Resolve(event, g.store.Now())
		}
		if err != nil {
			return err
		}
		m := &message{parked: int64(link.Revision), link: link, event: event}
		m.unsettled = g.replaying.PushBack(m)
		g.replay.read = link.Revision + 1
		if event == nil {
			g.settle(m) // what was parked has been deleted since
			continue
		}
		g.giveBack(m)
	}
	return nil
}

// replaySettled takes a replayed message off the list of those that are not.
func (g *group) replaySettled(m *message) {
	g.replaying.Remove(m.unsettled)
	g.replay.truncateTo = g.replay.read
	if e := g.replaying.Front(); e != nil {
		g.replay.truncateTo = uint64(e.Value.(*message).parked)
	}
}

// truncateEvery bounds how often the parked stream's metadata is written in the course of a replay.
const truncateEvery = 100

// truncateParked lets the parked stream begin behind what has been settled. After a crash in between some events are
// still parked that need not be.
func (g *group) truncateParked(now bool) {
	r := &g.replay
	if r.truncateTo <= r.truncated || !now && g.replaying.Len() > 0 && r.truncateTo < r.truncated+truncateEvery {
		return
	}
	r.truncated = r.truncateTo
	stream := store.Metastream(g.def.parkedStream())
	data := fmt.Appendf(nil, `{"$tb":%d}`, r.truncateTo)
	meta := store.Propose(stream, store.NewID(), store.MetadataType, true, nil, data)
	g.append(&store.Append{Stream: stream, Expected: store.Any, Events: []store.Proposed{meta}, Size: len(data)}, func() {})
}

// parkedCount is how many events are parked, those included that are being replayed.
func (g *group) parkedCount() (int64, error) {
	st, err := g.store.Stream(g.def.parkedStream())
	if err != nil || st.ID == 0 || st.Deleted || st.Tombstoned {
		return 0, err
	}
	return max(0, st.Last+1-max(st.First, int64(g.replay.truncateTo))), nil
}

// forgetParked deletes the parked stream of a group that has ended.
func (g *group) forgetParked() error {
	st, err := g.store.Stream(g.def.parkedStream())
	if err != nil || st.ID == 0 || st.Deleted || st.Tombstoned {
		return err
	}
	done := make(chan error, 1)
	a := &store.Append{Stream: g.def.parkedStream(), Expected: store.Any, Kind: store.Delete, Done: func(r store.Result) { done <- r.Err }}
	if err := g.store.Submit(a); err != nil {
		return fmt.Errorf("delete the parked events of a group: %w", err)
	}
	return <-done
}
