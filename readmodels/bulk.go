package readmodels

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// bulkBytes bounds the documents of one command. A server takes commands a little larger than its largest document, of 16 MiB.
const bulkBytes = 8 << 20

// Encoded is a document as it is stored, with its header.
type Encoded struct {
	Header   Header
	Document bson.Raw
}

// Insert stores documents in a collection that does not have them yet. It returns how many are there already; those are left as they
// are. The documents are stored in any order. On another error some may be stored.
//
// The driver's own bulk writes would take each document apart and put it together again, several times.
func (s *Store) Insert(ctx context.Context, collection string, documents []Encoded) (duplicates int, err error) {
	return s.bulk(ctx, "insert", collection, "documents", documents, func(dst []byte, e *Encoded) []byte {
		return append(dst, e.Document...)
	})
}

// Replace stores documents in the place of those with the same keys, and adds the ones that are missing. It leaves a stored document
// that has seen more of the log as it is, and returns how many have. On an error some may be stored.
func (s *Store) Replace(ctx context.Context, collection string, documents []Encoded) (seenMore int, err error) {
	// A stored document that has seen more is not found, so that the upsert collides with it.
	return s.bulk(ctx, "update", collection, "updates", documents, func(dst []byte, e *Encoded) []byte {
		at, dst := bsoncore.AppendDocumentStart(dst)
		dst = append(bsoncore.AppendHeader(dst, bsoncore.TypeEmbeddedDocument, "q"), e.Header.Guard()...)
		dst = bsoncore.AppendDocumentElement(dst, "u", bsoncore.Document(e.Document))
		dst = bsoncore.AppendBooleanElement(dst, "upsert", true)
		return closed(dst, at)
	})
}

// closed ends the document that begins at an offset.
func closed(dst []byte, at int32) []byte {
	dst, err := bsoncore.AppendDocumentEnd(dst, at)
	if err != nil {
		panic(err) // only for an offset outside of dst
	}
	return dst
}

// Guard is the filter that finds the document only where what is stored has not seen more.
func (h *Header) Guard() bson.Raw {
	at, guard := bsoncore.AppendDocumentStart(make([]byte, 0, 64+len(h.ID)))
	guard = bsoncore.AppendStringElement(guard, "_id", h.ID)
	if h.Prepared == 0 { // nothing comes behind it at the same commit position
		return closed(appendCompared(guard, "_position", "$lte", h.Position), at)
	}
	either, guard := bsoncore.AppendArrayElementStart(guard, "$or")
	earlier, guard := bsoncore.AppendDocumentElementStart(guard, "0")
	guard = closed(appendCompared(guard, "_position", "$lt", h.Position), earlier)
	same, guard := bsoncore.AppendDocumentElementStart(guard, "1")
	guard = bsoncore.AppendInt64Element(guard, "_position", h.Position)
	guard = closed(appendCompared(guard, "_prepared", "$gte", h.Prepared), same)
	return closed(closed(guard, either), at)
}

func appendCompared(dst []byte, field, operator string, with int64) []byte {
	at, dst := bsoncore.AppendDocumentElementStart(dst, field)
	return closed(bsoncore.AppendInt64Element(dst, operator, with), at)
}

// bulk sends documents in as few commands as their sizes allow.
func (s *Store) bulk(ctx context.Context, command, collection, field string, documents []Encoded,
	statement func([]byte, *Encoded) []byte,
) (collisions int, err error) {
	for len(documents) > 0 {
		size, n := 0, 0
		for n < len(documents) && (n == 0 || size+len(documents[n].Document) <= bulkBytes) {
			size += len(documents[n].Document)
			n++
		}
		start, body := bsoncore.AppendDocumentStart(make([]byte, 0, size+256*n+256))
		body = bsoncore.AppendStringElement(body, command, collection)
		body = bsoncore.AppendBooleanElement(body, "ordered", false)
		if s.majority {
			at, in := bsoncore.AppendDocumentElementStart(body, "writeConcern")
			body = closed(bsoncore.AppendStringElement(in, "w", "majority"), at)
		}
		list, body := bsoncore.AppendArrayElementStart(body, field)
		for i := range documents[:n] {
			body = append(body, byte(bsoncore.TypeEmbeddedDocument)) // AppendHeader would want the number as a string
			body = append(strconv.AppendInt(body, int64(i), 10), 0)
			body = statement(body, &documents[i])
		}
		body = closed(closed(body, list), start)
		met, err := collisionsOf(s.db.RunCommand(ctx, bson.Raw(body)).Err())
		if err != nil {
			return collisions, fmt.Errorf("%s in %s: %w", command, collection, err)
		}
		collisions += met
		documents = documents[n:]
	}
	return collisions, nil
}

// collisionsOf returns how many writes of a command failed because of a document with the same key, and err where any write failed
// for another reason.
func collisionsOf(err error) (int, error) {
	var failed mongo.WriteException
	if !errors.As(err, &failed) || failed.WriteConcernError != nil {
		return 0, err
	}
	for _, e := range failed.WriteErrors {
		if !mongo.IsDuplicateKeyError(e) {
			return 0, err
		}
	}
	return len(failed.WriteErrors), nil
}
