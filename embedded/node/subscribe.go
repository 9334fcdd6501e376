package node

import (
	"fmt"
	"math"

	"casebook/embedded/node/groups"
	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
)

// A subscription is a cursor that pulls: it reads the existing events, then sleeps until it is woken. gRPC's flow
// control slows it down. No hand-over from disk to memory can lose or repeat an event, because both are read by
// position.

func (r *reader) confirm() *failure {
	return r.sendMessage(&streams.ReadResp{Content: &streams.ReadResp_Confirmation{
		Confirmation: &streams.ReadResp_SubscriptionConfirmation{SubscriptionId: uuid.NewString()},
	}})
}

func (r *reader) caughtUp() *failure {
	return r.sendMessage(&streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: &streams.ReadResp_CaughtUp{}}})
}

func (r *reader) checkpoint(position uint64) *failure {
	return r.sendMessage(&streams.ReadResp{Content: &streams.ReadResp_Checkpoint_{
		Checkpoint: &streams.ReadResp_Checkpoint{CommitPosition: position, PreparePosition: position},
	}})
}

// sleep waits until the watcher fires, and returns a failure if the call or the node ends first.
func (r *reader) sleep(w *store.Watcher) *failure {
	select {
	case <-w.C:
		return nil
	case <-r.ctx.Done():
		return storeFailure(r.ctx.Err())
	case <-r.node.stopping:
		return errClosing
	}
}

// ended returns a failure if the call or the node has ended.
func (r *reader) ended() *failure {
	select {
	case <-r.ctx.Done():
		return storeFailure(r.ctx.Err())
	case <-r.node.stopping:
		return errClosing
	default:
		return nil
	}
}

func (r *reader) subscribeAll() *failure {
	at, f := r.allPosition()
	if f != nil {
		return f
	}
	watcher := r.store.WatchAll()
	defer watcher.Close()
	end := r.store.End()
	next := uint64(0)
	switch _, fromPosition := r.options.GetAll().GetAllOption().(*streams.ReadReq_Options_AllOptions_Position); {
	case at == math.MaxUint64:
		next = end
	case !fromPosition:
	case at >= end && at > 0:
		return badRequest(fmt.Sprintf("the position %d lies beyond the log's end, at %d: the checkpoint belongs to another log, "+
			"or to one that was restored; read from the start again", at, end))
	default:
		next = at + 1 // the client has already seen the event at the position
	}
	if f := r.confirm(); f != nil {
		return f
	}
	if next, f = r.sendTypes(next); f != nil {
		return f
	}

	var (
		live       bool   // CaughtUp was sent, and all events since were read from memory
		considered uint64 // events since the last checkpoint, delivered or not
		skipped    uint64 // position of the last event that was not delivered; 0 after a message with a position
	)
	for {
		if f := r.ended(); f != nil {
			return f
		}
		var fromMemory bool
		var err error
		if r.records, fromMemory, err = r.store.ReadForward(next, r.records[:0], page); err != nil {
			return storeFailure(err)
		}
		live = live && fromMemory
		for _, e := range r.records {
			next = e.Next()
			if groups.Internal(e) {
				// A read of $all does not show this event. A checkpoint at it would lie beyond the end that readers are told.
				continue
			}
			considered++
			if r.selects(e) {
				skipped = 0
				if f := r.send(e); f != nil {
					return f
				}
			} else {
				skipped = e.Position
			}
			if r.filter != nil && considered >= r.filter.interval {
				considered, skipped = 0, 0
				if f := r.checkpoint(e.Position); f != nil {
					return f
				}
			}
		}
		if len(r.records) > 0 {
			continue
		}
		if !live {
			live = true
			if skipped != 0 {
				// A client that waits for rare events can save this position.
				if f := r.checkpoint(skipped); f != nil {
					return f
				}
				considered, skipped = 0, 0
			}
			if f := r.caughtUp(); f != nil {
				return f
			}
		}
		if f := r.sleep(watcher); f != nil {
			return f
		}
	}
}

// sendTypes sends the events from a position on to a client that asks for few types of events, by the indexes of these types, until it
// has come near the log's end. It returns the position from which the log has to be read.
func (r *reader) sendTypes(next uint64) (uint64, *failure) {
	for r.filter != nil && r.filter.byType {
		if f := r.ended(); f != nil {
			return next, f
		}
		var ok bool
		var err error
		if r.records, next, ok, err = r.store.ReadTypes(next, r.filter.selects, r.records[:0], page); err != nil {
			return next, storeFailure(err)
		}
		if !ok {
			break
		}
		for _, e := range r.records {
			if groups.Internal(e) || !r.selects(e) {
				continue
			}
			if f := r.send(e); f != nil {
				return next, f
			}
		}
	}
	return next, nil
}

func (r *reader) subscribeStream() *failure {
	at, f := r.streamRevision()
	if f != nil {
		return f
	}
	watcher := r.store.WatchStream(r.stream)
	defer watcher.Close()
	st, err := r.store.Stream(r.stream)
	switch {
	case err != nil:
		return storeFailure(err)
	case st.Tombstoned:
		return streamDeleted(r.stream)
	}
	next := uint64(0)
	fromEnd := at == math.MaxUint64
	switch _, fromRevision := r.options.GetStream().GetRevisionOption().(*streams.ReadReq_Options_StreamOptions_Revision); {
	case fromEnd:
		next = uint64(st.Last + 1)
	case fromRevision:
		next = at + 1 // the client has already seen the event at the revision
	}
	if f := r.confirm(); f != nil {
		return f
	}
	caughtUp := false
	for {
		if f := r.ended(); f != nil {
			return f
		}
		// The stream may have been created, truncated or revived since the last round.
		if st, err = r.store.Stream(r.stream); err != nil {
			return storeFailure(err)
		}
		if next < uint64(st.First) && !st.Deleted {
			next = uint64(st.First)
		}
		r.records = r.records[:0]
		if st.ID != 0 {
			if r.records, err = r.store.ReadStreamForward(st.ID, next, r.records, page); err != nil {
				return storeFailure(err)
			}
		}
		now := r.store.Now()
		for _, e := range r.records {
			if e.IsTombstone() {
				if f := r.send(e); f != nil {
					return f
				}
				return streamDeleted(r.stream)
			}
			next = e.Revision + 1
			if st.Hides(e, now) {
				continue
			}
			if f := r.send(e); f != nil {
				return f
			}
		}
		if len(r.records) > 0 {
			continue
		}
		// As long as the stream does not exist, only a subscription from the end has caught up.
		if exists := st.Last >= 0 && !st.Deleted; !caughtUp && (fromEnd || exists) {
			caughtUp = true
			if f := r.caughtUp(); f != nil {
				return f
			}
		}
		if f := r.sleep(watcher); f != nil {
			return f
		}
	}
}
