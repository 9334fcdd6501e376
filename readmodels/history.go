package readmodels

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
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

// At returns the state at a moment, the newest one for the zero time; false if there was none, or it is not remembered any more.
func (h History[T]) At(moment time.Time) (state T, was bool) {
	if n := len(h); n > 0 && moment.IsZero() {
		return h[n-1].State, true
	}
	for _, w := range h {
		if !w.From.After(moment) && w.Until.After(moment) {
			return w.State, true
		}
	}
	return state, false
}

// Then is the part of a filter that is true of the element of a history that held at a moment.
func Then(moment time.Time) bson.D {
	return bson.D{{Key: "from", Value: bson.D{{Key: "$lte", Value: moment.UTC()}}},
		{Key: "until", Value: bson.D{{Key: "$gt", Value: moment.UTC()}}}}
}

// WasAt is the part of a filter that the history in a field has an element that held at a moment, and satisfies conditions.
func WasAt(field string, moment time.Time, conditions ...bson.E) bson.E {
	return bson.E{Key: field, Value: bson.D{{Key: "$elemMatch", Value: append(Then(moment), conditions...)}}}
}

// ForgottenAt is the part of a filter that a history in a field may have had a state at a moment that it does not remember any more: it is
// full, and begins later. The conditions are about the first state that it remembers.
func ForgottenAt(field string, moment time.Time, conditions ...bson.E) bson.D {
	filter := bson.D{{Key: fmt.Sprintf("%s.%d", field, maxHistory-1), Value: bson.D{{Key: "$exists", Value: true}}},
		{Key: field + ".0.from", Value: bson.D{{Key: "$gt", Value: moment.UTC()}}}}
	for _, condition := range conditions {
		filter = append(filter, bson.E{Key: field + ".0." + condition.Key, Value: condition.Value})
	}
	return filter
}

// Forgetful is a state that says of itself that it is not known.
type Forgetful[S any] interface {
	// Forgotten returns what is shown in place of the state at a moment that is not remembered any more. It is asked of the present state.
	Forgotten() S
}

// ListedAsOf is Listed for documents that have a history in the field "past": those that had, at a moment, a state that satisfies
// conditions, whose keys are the fields of the state. They are shown in that state, in the order of the present. state returns the
// history of a document, and where its state is. Where the states are Forgetful, a document whose state at the moment is not remembered any
// more is listed as well if the conditions hold of the first state that is: it is not said to be nowhere.
func ListedAsOf[T, S any](ctx context.Context, c *mongo.Collection, page Page, filter bson.D, orders []Order[T], moment time.Time,
	conditions bson.D, state func(*T) (History[S], *S),
) (List[T], error) {
	var of bson.D
	for _, condition := range conditions {
		of = append(of, bson.E{Key: "state." + condition.Key, Value: condition.Value})
	}
	then := bson.D{WasAt("past", moment, of...)}
	var none S
	if _, forgets := any(none).(Forgetful[S]); forgets {
		then = bson.D{{Key: "$or", Value: bson.A{then, ForgottenAt("past", moment, of...)}}}
	}
	list, err := Listed(ctx, c, page, append(filter, then...), orders)
	for i := range list.Items {
		past, present := state(&list.Items[i])
		if was, known := past.At(moment); known {
			*present = was
		} else if is, forgets := any(*present).(Forgetful[S]); forgets {
			*present = is.Forgotten()
		}
	}
	return list, err
}
