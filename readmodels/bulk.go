package readmodels

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

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
		return appendReplacement(dst, e.Header.appendGuard, e.Document)
	})
}

// appendReplacement appends the statement that puts a document in the place of the one that a filter finds, and adds it where there is
// none.
func appendReplacement(dst []byte, appendFilter func(dst []byte) []byte, document bson.Raw) []byte {
	at, dst := bsoncore.AppendDocumentStart(dst)
	dst = appendFilter(bsoncore.AppendHeader(dst, bsoncore.TypeEmbeddedDocument, "q"))
	dst = bsoncore.AppendDocumentElement(dst, "u", bsoncore.Document(document))
	dst = bsoncore.AppendBooleanElement(dst, "upsert", true)
	return closed(dst, at)
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
func (h *Header) Guard() bson.Raw { return h.appendGuard(nil) }

func (h *Header) appendGuard(dst []byte) []byte {
	at, guard := bsoncore.AppendDocumentStart(dst)
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
		met, err := s.send(ctx, command, collection, field, n, size, func(dst []byte, i int) []byte {
			return statement(dst, &documents[i])
		})
		collisions += met
		if err != nil {
			return collisions, err
		}
		documents = documents[n:]
	}
	return collisions, nil
}

// commandBuffers hold the bytes of commands that have been answered.
var commandBuffers = sync.Pool{New: func() any { return new([]byte) }}

// send sends a command with n statements, whose documents have so many bytes together. It returns how many of them have not been done
// because of a document with the same key.
func (s *Store) send(ctx context.Context, command, collection, field string, n, size int, statement func(dst []byte, i int) []byte,
) (collisions int, err error) {
	buffer := commandBuffers.Get().(*[]byte)
	start, body := bsoncore.AppendDocumentStart(slices.Grow((*buffer)[:0], size+256*n+256))
	body = bsoncore.AppendStringElement(body, command, collection)
	body = bsoncore.AppendBooleanElement(body, "ordered", false)
	if s.majority {
		at, in := bsoncore.AppendDocumentElementStart(body, "writeConcern")
		body = closed(bsoncore.AppendStringElement(in, "w", "majority"), at)
	}
	list, body := bsoncore.AppendArrayElementStart(body, field)
	for i := range n {
		body = append(body, byte(bsoncore.TypeEmbeddedDocument)) // AppendHeader would want the number as a string
		body = append(strconv.AppendInt(body, int64(i), 10), 0)
		body = statement(body, i)
	}
	body = closed(closed(body, list), start)
	collisions, err = collisionsOf(s.run(ctx, body))
	if err != nil {
		return collisions, fmt.Errorf("%s in %s: %w", command, collection, err) // a server may still read the buffer
	}
	*buffer = body
	commandBuffers.Put(buffer)
	return collisions, nil
}

// run runs a command that writes documents.
func (s *Store) run(ctx context.Context, command []byte) error {
	if s.write == nil {
		return s.db.RunCommand(ctx, bson.Raw(command)).Err()
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	answer, err := s.write(ctx, s.db.Name(), command)
	if err != nil {
		return err
	}
	return failureOf(answer)
}

// failureOf returns what the answer to a command that writes says of errors, as the driver would return it.
func failureOf(answer bson.Raw) error {
	var failed struct {
		OK     float64 `bson:"ok"`
		Code   int32   `bson:"code"`
		Name   string  `bson:"codeName"`
		Reason string  `bson:"errmsg"`
		Writes []struct {
			Index  int    `bson:"index"`
			Code   int    `bson:"code"`
			Reason string `bson:"errmsg"`
		} `bson:"writeErrors"`
	}
	if answer.Lookup("ok").Equal(one) && answer.Lookup("writeErrors").IsZero() {
		return nil
	}
	if err := bson.Unmarshal(answer, &failed); err != nil {
		return fmt.Errorf("read the answer of the store: %w", err)
	}
	if failed.OK != 1 {
		return mongo.CommandError{Code: failed.Code, Name: failed.Name, Message: failed.Reason, Raw: answer}
	}
	all := mongo.WriteException{Raw: answer}
	for _, w := range failed.Writes {
		all.WriteErrors = append(all.WriteErrors, mongo.WriteError{Index: w.Index, Code: w.Code, Message: w.Reason})
	}
	return all
}

// one is how a server says that it has run a command.
var one = bson.RawValue{Type: bson.TypeDouble, Value: bsoncore.AppendDouble(nil, 1)}

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
