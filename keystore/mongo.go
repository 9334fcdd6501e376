package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casebook/domain/personal"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// OpenMongo opens the store in a MongoDB, for processes that share it. Its database is not that of the views, whose backups are kept
// for longer than those of keys may be. The oplog of a replica set holds a destroyed key, wrapped, until it has gone round.
// It fails with ErrWrongMasterKey.
func OpenMongo(ctx context.Context, url string, master []byte) (*Store, error) {
	client, err := mongo.Connect(options.Client().ApplyURI(url).SetWriteConcern(writeconcern.Majority()).
		SetReadConcern(readconcern.Majority()).SetReadPreference(readpref.Primary()))
	if err != nil {
		return nil, fmt.Errorf("open the store of personal keys: %w", err)
	}
	m := collection{client: client, keys: client.Database("casebook_keys").Collection("personal")}
	s, err := open(ctx, m, master)
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return s, nil
}

// collection are records in a collection of MongoDB.
type collection struct {
	client *mongo.Client
	keys   *mongo.Collection
}

// document is a record. It has either a wrapped key or the moment when the key was destroyed.
type document struct {
	ID          personal.KeyID `bson:"_id"`
	Wrapped     []byte         `bson:"wrapped,omitempty"`
	DestroyedAt time.Time      `bson:"destroyedAt,omitempty"`
}

func (m collection) add(ctx context.Context, wrapped map[personal.KeyID][]byte) error {
	documents := make([]document, 0, len(wrapped))
	for id, key := range wrapped {
		documents = append(documents, document{ID: id, Wrapped: key})
	}
	_, err := m.keys.InsertMany(ctx, documents)
	return err
}

func (m collection) find(ctx context.Context, id personal.KeyID) ([]byte, error) {
	var d document
	err := m.keys.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, personal.ErrUnknownKey
	}
	return d.Wrapped, err
}

func (m collection) findAll(ctx context.Context, ids []personal.KeyID) (map[personal.KeyID][]byte, error) {
	cursor, err := m.keys.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
	if err != nil {
		return nil, err
	}
	var documents []document
	if err := cursor.All(ctx, &documents); err != nil {
		return nil, err
	}
	found := map[personal.KeyID][]byte{}
	for _, d := range documents {
		found[d.ID] = d.Wrapped
	}
	return found, nil
}

func (m collection) destroy(ctx context.Context, id personal.KeyID, at time.Time) error {
	if wrapped, err := m.find(ctx, id); err != nil || wrapped == nil {
		return err
	}
	_, err := m.keys.ReplaceOne(ctx, bson.D{{Key: "_id", Value: id}}, document{ID: id, DestroyedAt: at})
	return err
}

func (m collection) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	return m.client.Disconnect(ctx)
}
