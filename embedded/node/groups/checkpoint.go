package groups

import (
	"errors"
	"fmt"

	"casebook/embedded/node/store"
)

// The group's own checkpoint is its note in the store. Clients of other servers look for it in a stream.
const (
	checkpointType     = "SubscriptionCheckpoint"
	checkpointMetadata = `{"$maxCount":2}`
)

// publish appends the checkpoint to the group's checkpoint stream. It does not wait, and a failure is only logged: the
// note is what the group starts from, and the next checkpoint follows.
func (g *group) publish(at checkpoint) {
	if !at.AnySettled {
		return
	}
	stream := g.def.checkpointStream()
	if !g.published {
		st, err := g.store.Stream(stream)
		if err == nil && (st.ID == 0 || st.Deleted) {
			err = g.submit(store.Metastream(stream), store.MetadataType, checkpointMetadata)
		}
		if err != nil {
			g.logger.Warn("the checkpoint stream could not be prepared", "stream", stream, "error", err)
			return
		}
		g.published = true
	}
	data := fmt.Sprintf(`"%d"`, at.LastSettled)
	if g.def.Source == All {
		data = fmt.Sprintf(`"C:%d/P:%d"`, at.LastSettled, at.LastSettled)
	}
	if err := g.submit(stream, checkpointType, data); err != nil && !errors.Is(err, store.ErrClosed) {
		g.logger.Warn("the checkpoint could not be appended to its stream", "stream", stream, "error", err)
	}
}

// submit queues one event that the group does not wait for.
func (g *group) submit(stream, eventType, data string) error {
	event := store.Propose(stream, store.NewID(), eventType, true, nil, []byte(data))
	return g.store.Submit(&store.Append{
		Stream: stream, Expected: store.Any, Events: []store.Proposed{event}, Size: len(data), Done: func(store.Result) {},
	})
}
