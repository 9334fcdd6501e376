package readmodels

import (
	"context"
	"errors"
	"time"

	"casebook/domain"
	"casebook/domain/process"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// turnsCollection holds when instances of processes by the clock take their next turns, one document for each process.
const turnsCollection = "turns"

// turnsDocument holds the turns in three lists, because field names in each turn would take more room than the turn.
type turnsDocument struct {
	Process string      `bson:"_id"`
	Program string      `bson:"program"`
	Through domain.Mark `bson:"through"`
	Of      []string    `bson:"of"`
	Began   []string    `bson:"began"`
	// At is in milliseconds, rounded down: a turn that is taken too early finds that nothing is due.
	At []time.Time `bson:"at"`
}

// LoadTurns returns the turns of a process that were saved; none if there are none.
func (s *Store) LoadTurns(ctx context.Context, name string) (process.Turns, error) {
	var d turnsDocument
	err := s.db.Collection(turnsCollection).FindOne(ctx, bson.D{{Key: "_id", Value: name}}).Decode(&d)
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return process.Turns{}, nil
	case err != nil:
		return process.Turns{}, err
	case len(d.Of) != len(d.At) || len(d.Of) != len(d.Began):
		return process.Turns{}, nil
	}
	turns := process.Turns{Process: d.Process, Program: d.Program, Through: d.Through}
	for i, of := range d.Of {
		turn := process.Turn{Of: of, Began: d.Began[i]}
		if at := d.At[i].UTC(); at.UnixMilli() != 0 {
			turn.At = at
		}
		turns.Next = append(turns.Next, turn)
	}
	return turns, nil
}

// SaveTurns saves the turns of a process in place of those that were saved before.
func (s *Store) SaveTurns(ctx context.Context, t process.Turns) error {
	d := turnsDocument{Process: t.Process, Program: t.Program, Through: t.Through}
	for _, turn := range t.Next {
		at := time.UnixMilli(0) // the instance has ended
		if !turn.At.IsZero() {
			at = turn.At
		}
		d.Of, d.Began, d.At = append(d.Of, turn.Of), append(d.Began, turn.Began), append(d.At, at)
	}
	_, err := s.db.Collection(turnsCollection).ReplaceOne(ctx, bson.D{{Key: "_id", Value: t.Process}}, d, options.Replace().SetUpsert(true))
	return err
}
