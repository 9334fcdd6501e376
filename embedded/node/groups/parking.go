package groups

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"casebook/embedded/node/store"
)

// parkDelay is the time between attempts to append to the group's own streams after the store refused it.
const parkDelay = 250 * time.Millisecond

// park appends a link to the message's event to the parked stream. The message stays unsettled until the link is
// durable, so that a crash cannot lose it.
func (g *group) park(m *message, reason string) {
	target := m.event
	if target == nil || m.parked < 0 && m.link != nil {
		target = m.link // a replay resolves the link again
	}
	// A message that is parked again gets a new link with the new reason.
	metadata, err := json.Marshal(map[string]any{"added": g.store.Now().UTC(), "reason": reason, "retries": m.retries})
	if err != nil {
		metadata = nil // three plain values always encode
	}
	data := fmt.Appendf(nil, "%d@%s", target.Revision, target.Stream())
	if m.parked >= 0 && m.event == nil {
		data = m.link.Data() // the parked link itself will be truncated
	}
	link := store.Propose(g.def.parkedStream(), store.NewID(), store.LinkType, false, metadata, data)
	a := &store.Append{
		Stream: g.def.parkedStream(), Expected: store.Any, Events: []store.Proposed{link}, Size: len(data) + len(metadata),
	}
	g.append(a, func() {
		g.logger.Warn("an event was parked", "event", string(data), "type", string(target.Type()), "reason", reason)
		g.settle(m)
	})
}

// append submits an append again and again until it succeeds, then calls done on the group's goroutine. It gives up if
// the store is closed or takes no more appends.
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

// replay is the part of the parked stream that is being delivered again, in revisions of that stream.
type replay struct {
	// read is the next revision to read; end is the one behind the last to read.
	read, end uint64
	// truncateTo is the revision below which everything is settled; truncated is the one in the stream's metadata.
	truncateTo, truncated uint64
}

func (r *replay) active() bool { return r.read < r.end }

// replayParked begins to deliver parked events again, at most limit of them if it is above zero. A replay that is
// already running goes on and is extended if necessary.
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
		deleted := event == nil
		if err == nil && g.def.Settings.ResolveLinks && event != nil && store.IsLink(event) {
			event, err = g.store.Resolve(event, g.store.Now())
		}
		if err != nil {
			return err
		}
		m := &message{parked: int64(link.Revision), link: link, event: event}
		m.unsettled = g.replaying.PushBack(m)
		g.replay.read = link.Revision + 1
		if deleted {
			g.settle(m) // the parked event has been deleted since
			continue
		}
		g.giveBack(m)
	}
	return nil
}

// replaySettled removes a settled message from the list of those being replayed.
func (g *group) replaySettled(m *message) {
	g.replaying.Remove(m.unsettled)
	g.replay.truncateTo = g.replay.read
	if e := g.replaying.Front(); e != nil {
		g.replay.truncateTo = uint64(e.Value.(*message).parked)
	}
}

// truncateEvery is how many events of a replay are settled before the parked stream's metadata is written again.
const truncateEvery = 100

// truncateParked makes the parked stream begin behind the settled events, now or when enough have been settled. After a
// crash before that, some settled events are still parked.
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

// parkedCount returns the number of parked events, including those that are being replayed.
func (g *group) parkedCount() (int64, error) {
	st, err := g.store.Stream(g.def.parkedStream())
	if err != nil || st.ID == 0 || st.Deleted || st.Tombstoned {
		return 0, err
	}
	return max(0, st.Last+1-max(st.First, int64(g.replay.truncateTo))), nil
}

// deleteStreams deletes the streams of a group that has ended.
func (g *group) deleteStreams() error {
	for _, stream := range []string{g.def.parkedStream(), g.def.checkpointStream()} {
		// What the group submitted before it ended may still be queued, so that a look at the stream could miss it. Deleting a
		// stream that does not exist is refused.
		done := make(chan error, 1)
		a := &store.Append{Stream: stream, Expected: store.Any, Kind: store.Delete, Done: func(r store.Result) { done <- r.Err }}
		if err := g.store.Submit(a); err != nil {
			return fmt.Errorf("delete the stream %q of a group: %w", stream, err)
		}
		err := <-done
		if err != nil && !errors.Is(err, store.ErrWrongRevision) && !errors.Is(err, store.ErrStreamDeleted) {
			return fmt.Errorf("delete the stream %q of a group: %w", stream, err)
		}
	}
	return nil
}
