package readmodels

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// History has the states of a document, each with the time in which it was the newest, so that a worklist can be shown as it was. It has
// at most maxHistory states, the newest ones.
type History[T any] []Was[T]

// Was is a state of a document, from a moment on and before another.
type Was[T any] struct {
	From  time.Time `bson:"from"`
	Until time.Time `bson:"until"`
	State T         `bson:"state"`
}

const maxHistory = 100

// forEver is the end of what holds still.
var forEver = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// Since returns the history with a state that holds from a moment on.
func (h History[T]) Since(at time.Time, state T) History[T] {
	if n := len(h); n > 0 {
		h[n-1].Until = at
	}
	return LatestOf(append(h, Was[T]{From: at, Until: forEver, State: state}), maxHistory)
}

// At returns the state at a moment; false if there was none, or it is not remembered any more.
func (h History[T]) At(moment time.Time) (state T, was bool) {
	for _, w := range h {
		if !w.From.After(moment) && w.Until.After(moment) {
			return w.State, true
		}
	}
	return state, false
}

// WasAt is the part of a filter that the history in a field has, at a moment, a state that satisfies conditions; their keys are the
// fields of the state.
func WasAt(field string, moment time.Time, conditions bson.D) bson.E {
	then := bson.D{{Key: "from", Value: bson.D{{Key: "$lte", Value: moment.UTC()}}},
		{Key: "until", Value: bson.D{{Key: "$gt", Value: moment.UTC()}}}}
	for _, c := range conditions {
		then = append(then, bson.E{Key: "state." + c.Key, Value: c.Value})
	}
	return bson.E{Key: field, Value: bson.D{{Key: "$elemMatch", Value: then}}}
}
