package readmodels

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"casebook/domain"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// verifiedCollection holds how far the log has been verified, in one document, and one document per damaged stream, per
// resolved damage and per step of the clock. The names of the keys begin with what they are.
const (
	verifiedCollection = "verified"
	throughKey         = "through"
	damageKey          = "damage:"
	resolvedKey        = "resolved:"
	stepKey            = "step:"
)

// verifiedDocument is a document of any of the three kinds.
type verifiedDocument struct {
	ID       string          `bson:"_id"`
	Position domain.Position `bson:"position"`
	// Latest and Last are set in the document of how far the log has been verified.
	Latest time.Time    `bson:"latest,omitempty"`
	Last   *domain.Mark `bson:"last,omitempty"`
	// Stream and what follows are set in the document of a damaged stream.
	Stream   string    `bson:"stream,omitempty"`
	Revision int64     `bson:"revision,omitempty"`
	Type     string    `bson:"type,omitempty"`
	Reason   string    `bson:"reason,omitempty"`
	FoundAt  time.Time `bson:"foundAt,omitempty"`
	// From and To are set in the document of a step of the clock.
	From time.Time `bson:"from,omitempty"`
	To   time.Time `bson:"to,omitempty"`
	// Resolution is set in the document of a damage that is resolved.
	Resolution *domain.Resolution `bson:"resolution,omitempty"`
}

// LoadVerified returns how far the log has been verified, and what was found. The times are in UTC, in milliseconds.
func (s *Store) LoadVerified(ctx context.Context) (v domain.Verified, err error) {
	found, err := s.db.Collection(verifiedCollection).Find(ctx, bson.D{}, options.Find().SetSort(bson.D{{Key: "position.commit", Value: 1}}))
	if err != nil {
		return v, err
	}
	defer func() { _ = found.Close(ctx) }()
	for found.Next(ctx) {
		var d verifiedDocument
		if err := found.Decode(&d); err != nil {
			return v, err
		}
		switch {
		case d.ID == throughKey:
			if v.Through, v.Latest = d.Position, d.Latest.UTC(); d.Last != nil {
				v.Last = *d.Last
			}
		case strings.HasPrefix(d.ID, damageKey), strings.HasPrefix(d.ID, resolvedKey):
			v.Damages = append(v.Damages, d.damage())
		case strings.HasPrefix(d.ID, stepKey):
			v.Steps = append(v.Steps, domain.ClockStep{Position: d.Position, From: d.From.UTC(), To: d.To.UTC()})
		}
	}
	v.Damages = withoutResolved(v.Damages)
	return v, found.Err()
}

// withoutResolved leaves out the damages that are also there as resolved: a program that lags behind may have saved them again.
func withoutResolved(all []domain.Damage) []domain.Damage {
	return slices.DeleteFunc(all, func(d domain.Damage) bool {
		return d.Resolution == nil && slices.ContainsFunc(all, func(other domain.Damage) bool {
			return other.Stream == d.Stream && other.Revision == d.Revision && other.Resolution != nil
		})
	})
}

func (d verifiedDocument) damage() domain.Damage {
	return domain.Damage{Stream: d.Stream, Revision: uint64(d.Revision), Position: d.Position, Type: d.Type, Reason: d.Reason,
		FoundAt: d.FoundAt.UTC(), Resolution: d.Resolution}
}

// SaveDamage saves that a stream is damaged, unless it is known to be damaged from an earlier event on, or that a damage is
// resolved.
func (s *Store) SaveDamage(ctx context.Context, d domain.Damage) error {
	key, revision := damageKey+d.Stream, int64(d.Revision)
	document := verifiedDocument{ID: key, Position: d.Position, Stream: d.Stream, Revision: revision, Type: d.Type, Reason: d.Reason,
		FoundAt: d.FoundAt, Resolution: d.Resolution}
	if d.Resolution != nil {
		document.ID = fmt.Sprintf("%s%s@%d", resolvedKey, d.Stream, revision)
		if err := s.saveVerified(ctx, document); err != nil {
			return err
		}
		same := bson.D{{Key: "_id", Value: key}, {Key: "revision", Value: revision}}
		if revision == 0 { // a zero is not stored
			same = bson.D{{Key: "_id", Value: key}, {Key: "revision", Value: bson.D{{Key: "$exists", Value: false}}}}
		}
		_, err := s.db.Collection(verifiedCollection).DeleteOne(ctx, same)
		return err
	}
	later := bson.D{{Key: "_id", Value: key}, {Key: "revision", Value: bson.D{{Key: "$gt", Value: revision}}}}
	_, err := s.db.Collection(verifiedCollection).ReplaceOne(ctx, later, document, options.Replace().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) {
		return nil
	}
	return err
}

// SaveClockStep saves a step of the clock.
func (s *Store) SaveClockStep(ctx context.Context, step domain.ClockStep) error {
	key := fmt.Sprintf("%s%016x", stepKey, step.Position.Commit)
	return s.saveVerified(ctx, verifiedDocument{ID: key, Position: step.Position, From: step.From, To: step.To})
}

// SaveVerified saves how far the log has been verified, unless it is known to be verified further.
func (s *Store) SaveVerified(ctx context.Context, through domain.Position, last domain.Mark, latest time.Time) error {
	further := bson.D{{Key: "_id", Value: throughKey}, {Key: "position.commit", Value: bson.D{{Key: "$lte", Value: int64(through.Commit)}}}}
	_, err := s.db.Collection(verifiedCollection).ReplaceOne(ctx, further,
		verifiedDocument{ID: throughKey, Position: through, Last: known(last), Latest: latest}, options.Replace().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) {
		return nil
	}
	return err
}

// known returns a mark as it is stored; nil for none.
func known(m domain.Mark) *domain.Mark {
	if m.IsZero() {
		return nil
	}
	return &m
}

func (s *Store) saveVerified(ctx context.Context, d verifiedDocument) error {
	_, err := s.db.Collection(verifiedCollection).ReplaceOne(ctx, bson.D{{Key: "_id", Value: d.ID}}, d, options.Replace().SetUpsert(true))
	return err
}

// ForgetVerified drops all that was saved of the log's verification.
func (s *Store) ForgetVerified(ctx context.Context) error {
	_, err := s.db.Collection(verifiedCollection).DeleteMany(ctx, bson.D{})
	return err
}

// DamagedRecord is a damaged stream, as it is shown to people.
type DamagedRecord struct {
	Stream   string    `json:"stream" doc:"The stream"`
	Revision uint64    `json:"revision" doc:"Number of the first event that does not belong to the record"`
	Position uint64    `json:"position" doc:"Its log position"`
	Reason   string    `json:"reason" doc:"What is wrong with it"`
	FoundAt  time.Time `json:"foundAt" doc:"When it was noticed"`
	// Resolution is left out while the damage is not resolved.
	Resolution *DamageResolution `json:"resolution,omitempty" doc:"That two people have decided to disregard the damaged events; the stream goes on behind them"`
}

// DamageResolution is how a damage was resolved, as it is shown to people.
type DamageResolution struct {
	Position    uint64        `json:"position" doc:"Log position of the resolution; damaged events before it are disregarded"`
	ProposedBy  domain.UserID `json:"proposedBy" doc:"Who proposed it"`
	ConfirmedBy domain.UserID `json:"confirmedBy" doc:"Who confirmed it"`
	Reason      string        `json:"reason" doc:"What was found out, and what was done"`
	At          time.Time     `json:"at" doc:"When it was confirmed"`
}

// Damaged returns a damage as it is shown.
func Damaged(d domain.Damage) DamagedRecord {
	shown := DamagedRecord{Stream: d.Stream, Revision: d.Revision, Position: d.Position.Commit, Reason: d.Reason, FoundAt: d.FoundAt}
	if r := d.Resolution; r != nil {
		shown.Resolution = &DamageResolution{Position: r.Position.Commit, ProposedBy: r.ProposedBy, ConfirmedBy: r.ConfirmedBy,
			Reason: r.Reason, At: r.At.UTC()}
	}
	return shown
}

// DamagedRecords returns those of some streams that are damaged, as far as the log has been verified. Those whose damage is
// resolved are not among them.
func (s *Store) DamagedRecords(ctx context.Context, streams ...string) ([]DamagedRecord, error) {
	found, err := s.db.Collection(verifiedCollection).Find(ctx, bson.D{{Key: "stream", Value: bson.D{{Key: "$in", Value: streams}}}})
	if err != nil {
		return nil, err
	}
	var documents []verifiedDocument
	if err := found.All(ctx, &documents); err != nil {
		return nil, err
	}
	var of domain.Verified
	for _, d := range documents {
		of.Damages = append(of.Damages, d.damage())
	}
	of.Damages = withoutResolved(of.Damages)
	var damaged []DamagedRecord
	for _, d := range of.Unresolved() {
		damaged = append(damaged, Damaged(d))
	}
	return damaged, nil
}
