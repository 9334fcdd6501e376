package mongo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// TestRefusalsHaveMongoDBCodes checks the error code of each refusal.
func TestRefusalsHaveMongoDBCodes(t *testing.T) {
	ctx := context.Background()
	db := connect(t, startServer(t)).Database("test")
	_, err := db.Collection("c").InsertOne(ctx, fromJSON(`{"_id": 1, "s": "text", "a": [1], "n": 9223372036854775807}`))
	must(t, err)
	for _, tc := range []struct {
		command string
		code    errCode
	}{
		{`{"noSuchCommand": 1}`, codeCommandNotFound},
		{`{"mapReduce": "c"}`, codeCommandNotSupported},
		{`{"saslStart": 1}`, codeCommandNotSupported},
		{`{"find": "c", "filter": {"a": {"$near": [0, 0]}}}`, codeNotImplemented},
		{`{"find": "c", "filter": {"$where": "1"}}`, codeNotImplemented},
		{`{"find": "c", "filter": {"$what": 1}}`, codeBadValue},
		{`{"find": "c", "filter": {"a": {"$what": 1}}}`, codeBadValue},
		{`{"find": "c", "filter": {"a": {"$in": 1}}}`, codeBadValue},
		{`{"find": "c", "filter": {"a": {"$in": [{"$gt": 1}]}}}`, codeBadValue},
		{`{"find": "c", "filter": {"$or": []}}`, codeBadValue},
		{`{"find": "c", "filter": {"a": {"$gt": 1, "b": 2}}}`, codeBadValue},
		{`{"find": "c", "filter": {"a": {"$regex": "("}}}`, codeBadRegex},
		{`{"find": "c", "filter": {"a": {"$regex": "a", "$options": "q"}}}`, codeBadRegex},
		{`{"find": "c", "filter": {"a": {"$size": -1}}}`, codeFailedToParse},
		{`{"find": "c", "filter": 1}`, codeTypeMismatch},
		{`{"find": "c", "sort": {"a": 2}}`, codeBadValue},
		{`{"find": "c", "sort": {"a": {"$meta": "textScore"}}}`, codeNotImplemented},
		{`{"find": "c", "projection": {"a": 1, "b": 0}}`, codeProjectionMixExclude},
		{`{"find": "c", "projection": {"a": 0, "b": 1}}`, codeProjectionMixInclude},
		{`{"find": "c", "projection": {"a": 1, "a.b": 1}}`, codeProjectionPathCollision},
		{`{"find": "c", "projection": {"a": {"$slice": 1}}}`, codeNotImplemented},
		{`{"find": "c", "skip": -1}`, codeBadValue},
		{`{"find": "c", "tailable": true}`, codeNotImplemented},
		{`{"find": "c", "collation": {"locale": "de"}}`, codeNotImplemented},
		{`{"find": "c", "noSuchOption": 1}`, codeUnknownField},
		{`{"find": "c", "readConcern": {"level": "snapshot"}}`, 123},
		{`{"find": ""}`, codeInvalidNamespace},
		{`{"find": 1}`, codeInvalidNamespace},
		{`{"find": "c", "txnNumber": 1}`, codeIllegalOperation},
		{`{"find": "c", "txnNumber": 1, "startTransaction": true, "autocommit": false}`, codeOpNotInTransaction},
		{`{"getMore": {"$numberLong": "77"}, "collection": "c"}`, codeCursorNotFound},
		{`{"insert": "c", "documents": []}`, codeInvalidOptions},
		{`{"insert": "c"}`, codeMissingField},
		{`{"insert": "a$b", "documents": [{}]}`, codeInvalidNamespace},
		{`{"insert": "system.users", "documents": [{}]}`, codeInvalidNamespace},
		{`{"insert": "c", "documents": [{}], "writeConcern": {"w": 3}}`, codeBadValue},
		{`{"create": "c"}`, codeNamespaceExists},
		{`{"create": "d", "capped": true, "size": 100}`, codeNotImplemented},
		{`{"create": "d", "viewOn": "c"}`, codeNotImplemented},
		{`{"listIndexes": "none"}`, codeNamespaceNotFound},
		{`{"dropIndexes": "none", "index": "*"}`, codeNamespaceNotFound},
		{`{"dropIndexes": "c", "index": "none"}`, codeIndexNotFound},
		{`{"dropIndexes": "c", "index": "_id_"}`, codeInvalidOptions},
		{`{"createIndexes": "c", "indexes": [{"key": {"a": "text"}, "name": "t"}]}`, codeCannotCreateIndex},
		{`{"createIndexes": "c", "indexes": [{"key": {"a": 0}, "name": "t"}]}`, codeCannotCreateIndex},
		{`{"createIndexes": "c", "indexes": [{"key": {}, "name": "t"}]}`, codeCannotCreateIndex},
		{`{"createIndexes": "c", "indexes": [{"key": {"a": 1}, "name": "t", "sparse": true}]}`, codeCannotCreateIndex},
		{`{"createIndexes": "c", "indexes": [{"key": {"a": 1}, "name": "t", "what": true}]}`, codeInvalidIndexSpec},
		{`{"createIndexes": "c", "indexes": [{"key": {"a": 1}}]}`, codeFailedToParse},
		{`{"aggregate": "c", "pipeline": [{"$lookup": {}}], "cursor": {}}`, codeNotImplemented},
		{`{"aggregate": "c", "pipeline": [{"$what": {}}], "cursor": {}}`, codeUnknownPipelineStage},
		{`{"aggregate": "c", "pipeline": [{"$group": {"n": {"$sum": 1}}}], "cursor": {}}`, codeGroupNeedsID},
		{`{"aggregate": "c", "pipeline": [{"$limit": 0}], "cursor": {}}`, codeLimitNotPositive},
		{`{"aggregate": "c", "pipeline": [{"$group": {"_id": {"$year": "$at"}}}], "cursor": {}}`, codeNotImplemented},
		{`{"aggregate": "c", "pipeline": [{"$group": {"_id": {"$what": "$at"}}}], "cursor": {}}`, codeInvalidPipelineOperator},
		{`{"aggregate": "c", "pipeline": [{"$group": {"_id": "$$what"}}], "cursor": {}}`, 17276},
		{`{"aggregate": "c", "pipeline": [{"$group": {"_id": "$$NOW"}}], "cursor": {}}`, codeNotImplemented},
		{`{"aggregate": "c", "pipeline": [{"$group": {"_id": {"a.b": 1}}}], "cursor": {}}`, 16412},
		{`{"aggregate": "c", "pipeline": [{"$group": {"_id": 1, "_id": 2}}], "cursor": {}}`, 15948},
		{`{"aggregate": "c", "pipeline": [{"$group": {"_id": 1, "n": {"$what": 1}}}], "cursor": {}}`, codeUnknownAccumulator},
		{`{"aggregate": "c", "pipeline": [{"$group": {"_id": 1, "n": {"$top": 1}}}], "cursor": {}}`, codeNotImplemented},
		{`{"aggregate": "c", "pipeline": [{"$group": {"_id": 1, "n": {"$sum": ["$a"]}}}], "cursor": {}}`, 40237},
		{`{"aggregate": "c", "pipeline": [{"$group": {"_id": 1, "n": {"$count": 1}}}], "cursor": {}}`, codeTypeMismatch},
		{`{"aggregate": "c", "pipeline": [{"$project": {"a": 0, "b": "$c"}}], "cursor": {}}`, 31310},
		{`{"aggregate": "c", "pipeline": [{"$project": {"b": "$c", "a": 0}}], "cursor": {}}`, codeProjectionMixExclude},
		{`{"aggregate": "c", "pipeline": [{"$project": {"a": {}}}], "cursor": {}}`, 51270},
		{`{"aggregate": "c", "pipeline": [{"$project": {"a": 1, "a": "$b"}}], "cursor": {}}`, codeProjectionPathCollision},
		{`{"aggregate": "none", "pipeline": [{"$collStats": {"count": {}}}], "cursor": {}}`, codeNamespaceNotFound},
		{`{"aggregate": "c", "pipeline": [{"$match": {}}, {"$collStats": {}}], "cursor": {}}`, 40602},
		{`{"aggregate": "c", "pipeline": [{"$collStats": {"latencyStats": {}}}], "cursor": {}}`, codeNotImplemented},
		{`{"collStats": "c", "scale": 0}`, codeBadValue},
		{`{"usersInfo": 1}`, codeCommandNotSupported},
		{`{"aggregate": "c", "pipeline": [{"$unwind": 1}], "cursor": {}}`, 15981},
		{`{"aggregate": "c", "pipeline": [{"$unwind": {}}], "cursor": {}}`, 28812},
		{`{"aggregate": "c", "pipeline": [{"$unwind": {"path": 1}}], "cursor": {}}`, 28808},
		{`{"aggregate": "c", "pipeline": [{"$unwind": "a"}], "cursor": {}}`, 28818},
		{`{"aggregate": "c", "pipeline": [{"$unwind": {"path": "$a", "preserveNullAndEmptyArrays": 1}}], "cursor": {}}`, 28809},
		{`{"aggregate": "c", "pipeline": [{"$unwind": {"path": "$a", "includeArrayIndex": ""}}], "cursor": {}}`, 28810},
		{`{"aggregate": "c", "pipeline": [{"$unwind": {"path": "$a", "includeArrayIndex": "$i"}}], "cursor": {}}`, 28822},
		{`{"aggregate": "c", "pipeline": [{"$unwind": {"path": "$a", "what": 1}}], "cursor": {}}`, 28811},
		{`{"find": "c", "sort": {"` + strings.Repeat("a.", 200) + `b": 1}}`, codeOverflow},
		{`{"aggregate": "c", "pipeline": [` + strings.Repeat(`{"$skip": 0}, `, maxStages) + `{"$skip": 0}], "cursor": {}}`, 7749501},
		{`{"findAndModify": "c", "query": {}}`, codeFailedToParse},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"$set": {"_id": 2}}}`, codeImmutableField},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"$inc": {"s": 1}}}`, codeTypeMismatch},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"$inc": {"n": 1}}}`, codeBadValue},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"$push": {"s": 1}}}`, codeBadValue},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"$set": {"s.x": 1}}}`, codePathNotViable},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"$set": {"x": 1, "x.y": 1}}}`, codeConflictingUpdate},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"$set": {"x": 1}, "$inc": {"x": 1}}}`, codeConflictingUpdate},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"$what": {"x": 1}}}`, codeFailedToParse},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"$set": 1}}`, codeFailedToParse},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"$set": {"a.$": 1}}}`, codeNotImplemented},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": [{"$set": {"x": 1}}]}`, codeNotImplemented},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"x": 1, "$set": {"y": 1}}}`, codeDollarPrefixedFieldName},
		{`{"findAndModify": "c", "query": {"_id": 1}, "update": {"_id": 2, "x": 1}}`, codeImmutableField},
		{`{"explain": {"insert": "c"}}`, codeNotImplemented},
		{`{"count": "c", "query": {"a": {"$gt": 1, "$what": 1}}}`, codeBadValue},
		{`{"distinct": "c"}`, codeMissingField},
	} {
		err := db.RunCommand(ctx, fromJSON(tc.command)).Err()
		if !hasCode(err, tc.code) {
			t.Errorf("%s: got %v, want code %d", tc.command, err, tc.code)
		}
	}
	wantCode(t, rename(ctx, db, "none", "d", false), codeNamespaceNotFound)
	_, err = db.Collection("c").InsertOne(ctx, D("_id", A(1)))
	wantCode(t, err, codeInvalidIDField)
	_, err = db.Collection("c").UpdateOne(ctx, D("_id", 1), D("$set", D("pad", strings.Repeat("x", maxDocSize))))
	wantCode(t, err, codeBSONObjectTooLarge)
	_, err = db.Collection("c").UpdateOne(ctx, bson.D{}, D("$set", D("a.x", 1)))
	wantCode(t, err, codePathNotViable)
}

// TestUpdateOperators checks each update operator with a document before and after an update.
func TestUpdateOperators(t *testing.T) {
	for _, tc := range []struct{ before, update, after string }{
		{`{"_id": 1}`, `{"$set": {"c": 1, "a": 2, "b.x.y": 3}}`, `{"_id": 1, "a": 2, "b": {"x": {"y": 3}}, "c": 1}`},
		{`{"_id": 1, "a": [1, 2]}`, `{"$set": {"a.1": 9, "a.3": 8}}`, `{"_id": 1, "a": [1, 9, null, 8]}`},
		{`{"_id": 1, "a": {"b": 1, "c": 2}, "d": [1, 2]}`, `{"$unset": {"a.b": "", "d.0": "", "x.y": ""}}`,
			`{"_id": 1, "a": {"c": 2}, "d": [null, 2]}`},
		{`{"_id": 1, "i": 2147483647, "d": 1.5}`, `{"$inc": {"i": 1, "d": 1, "new": 5}}`, `{"_id": 1, "i": 2147483648, "d": 2.5, "new": 5}`},
		{`{"_id": 1, "i": 3}`, `{"$mul": {"i": -2, "new": 5}}`, `{"_id": 1, "i": -6, "new": 0}`},
		{`{"_id": 1, "a": 5, "b": 5, "c": "x"}`, `{"$max": {"a": 7, "b": 3, "c": 9, "n": 1}}`, `{"_id": 1, "a": 7, "b": 5, "c": "x", "n": 1}`},
		{`{"_id": 1, "a": 5, "b": 5}`, `{"$min": {"a": 7, "b": 3.0}}`, `{"_id": 1, "a": 5, "b": 3.0}`},
		{`{"_id": 1, "a": [1]}`, `{"$push": {"a": 2, "b": {"x": 1}}}`, `{"_id": 1, "a": [1, 2], "b": [{"x": 1}]}`},
		{`{"_id": 1, "a": [1]}`, `{"$push": {"a": {"$each": [5, 3], "$sort": 1, "$slice": -2}}}`, `{"_id": 1, "a": [3, 5]}`},
		{`{"_id": 1, "a": [{"n": 2}, {"n": 1}]}`, `{"$push": {"a": {"$each": [{"n": 3}], "$sort": {"n": -1}}}}`,
			`{"_id": 1, "a": [{"n": 3}, {"n": 2}, {"n": 1}]}`},
		{`{"_id": 1, "a": [1, 4]}`, `{"$push": {"a": {"$each": [2, 3], "$position": 1}}}`, `{"_id": 1, "a": [1, 2, 3, 4]}`},
		{`{"_id": 1, "a": [1, 2]}`, `{"$addToSet": {"a": {"$each": [2.0, 3, 3]}}}`, `{"_id": 1, "a": [1, 2, 3]}`},
		{`{"_id": 1, "a": [1, 2, 3]}`, `{"$pop": {"a": -1}}`, `{"_id": 1, "a": [2, 3]}`},
		{`{"_id": 1, "a": [1, 5, 8, [6]], "b": [{"x": 1, "y": 1}, {"x": 2}, 1]}`, `{"$pull": {"a": {"$gte": 5}, "b": {"x": 1}}}`,
			`{"_id": 1, "a": [1], "b": [{"x": 2}, 1]}`},
		{`{"_id": 1, "a": [1, 2, 1, 3]}`, `{"$pullAll": {"a": [1, 3]}}`, `{"_id": 1, "a": [2]}`},
		{`{"_id": 1, "a": {"x": 1}, "b": 2}`, `{"$rename": {"a.x": "c.d", "b": "a.y", "none": "z"}}`, `{"_id": 1, "a": {"y": 2}, "c": {"d": 1}}`},
		{`{"_id": 1}`, `{"$setOnInsert": {"x": 1}}`, `{"_id": 1}`},
		{`{"_id": 1, "x": 1, "y": 2}`, `{"z": 3}`, `{"_id": 1, "z": 3}`},
		{`{"_id": 1, "x": 1}`, `{"z": 3, "_id": 1}`, `{"_id": 1, "z": 3}`},
	} {
		u, err := parseUpdate(value{tDocument, rawJSON(tc.update)})
		must(t, err)
		got, err := u.apply(rawJSON(tc.before), false)
		must(t, err)
		if _, err := validate(got); err != nil {
			t.Errorf("%s: %v", tc.update, err)
		}
		want := rawJSON(tc.after)
		if compareFields(got, want, true) != 0 {
			t.Errorf("%s on %s\n got %s\nwant %s", tc.update, tc.before, shellText(got), tc.after)
		}
	}
}

func TestUpserts(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	for i, tc := range []struct{ filter, update, want string }{
		{`{"_id": 1, "a": {"$gt": 5}, "b.c": 3}`, `{"$set": {"x": 1}, "$setOnInsert": {"y": 2}}`, `{"_id": 1, "b": {"c": 3}, "x": 1, "y": 2}`},
		{`{"_id": {"$in": [2]}, "$and": [{"a": {"$eq": 7}}]}`, `{"$inc": {"a": 1}}`, `{"_id": 2, "a": 8}`},
		{`{"_id": 3, "a": 1}`, `{"b": 2}`, `{"_id": 3, "b": 2}`},
		{`{"a": "none"}`, `{"_id": 4, "b": 2}`, `{"_id": 4, "b": 2}`},
	} {
		u := fromJSON(tc.update)
		var res *driver.UpdateResult
		var err error
		if strings.HasPrefix(tc.update, `{"$`) {
			res, err = c.UpdateOne(ctx, fromJSON(tc.filter), u, options.UpdateOne().SetUpsert(true))
		} else {
			res, err = c.ReplaceOne(ctx, fromJSON(tc.filter), u, options.Replace().SetUpsert(true))
		}
		must(t, err)
		if res.UpsertedCount != 1 || res.MatchedCount != 0 || res.UpsertedID != int32(i+1) {
			t.Errorf("%s: %+v", tc.filter, res)
		}
		if got := find(t, c, D("_id", i+1)); len(got) != 1 || compareFields(raw(got[0]), rawJSON(tc.want), true) != 0 {
			t.Errorf("%s: got %v, want %s", tc.filter, got, tc.want)
		}
	}
	res, err := c.UpdateOne(ctx, D("free", true), D("$set", D("x", 1)), options.UpdateOne().SetUpsert(true))
	must(t, err)
	if _, ok := res.UpsertedID.(bson.ObjectID); !ok {
		t.Errorf("the generated _id is %v", res.UpsertedID)
	}
	// An update that changes nothing matches and does not modify.
	res, err = c.UpdateOne(ctx, D("_id", 3), D("$set", D("b", 2)))
	must(t, err)
	if res.MatchedCount != 1 || res.ModifiedCount != 0 {
		t.Errorf("%+v", res)
	}
}

func TestBulkWritesReportDuplicateKeys(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("code", 1), Options: options.Index().SetUnique(true)})
	must(t, err)
	docs := []any{D("_id", 1, "code", "a"), D("_id", 2, "code", "a"), D("_id", 1, "code", "b"), D("_id", 3, "code", "c")}
	for _, ordered := range []bool{true, false} {
		must(t, c.Drop(ctx))
		_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("code", 1), Options: options.Index().SetUnique(true)})
		must(t, err)
		_, err = c.InsertMany(ctx, docs, options.InsertMany().SetOrdered(ordered))
		var bwe driver.BulkWriteException
		if !errors.As(err, &bwe) {
			t.Fatal(err)
		}
		wantErrors, wantDocs := 1, 1
		if !ordered {
			wantErrors, wantDocs = 2, 2
		}
		if len(bwe.WriteErrors) != wantErrors || bwe.WriteErrors[0].Index != 1 || bwe.WriteErrors[0].Code != 11000 {
			t.Errorf("ordered %t: %+v", ordered, bwe.WriteErrors)
		}
		e := raw(bwe.WriteErrors[0].Raw)
		if compareFields(e.lookup("keyPattern").doc(), raw(D("code", 1)), true) != 0 ||
			compareFields(e.lookup("keyValue").doc(), raw(D("code", "a")), true) != 0 {
			t.Errorf("the error is %s", shellText(e))
		}
		if got := find(t, c, bson.D{}); len(got) != wantDocs {
			t.Errorf("ordered %t: %v", ordered, got)
		}
	}
	// A replacement may keep its unique key, but not take that of another document. A refused one changes nothing.
	_, err = c.ReplaceOne(ctx, D("_id", 1), D("code", "a", "more", 1))
	must(t, err)
	_, err = c.ReplaceOne(ctx, D("_id", 1), D("code", "c"))
	wantCode(t, err, codeDuplicateKey)
	if !strings.Contains(err.Error(), `E11000 duplicate key error collection: test.c index: code_1 dup key: { code: "c" }`) {
		t.Error(err)
	}
	if got := find(t, c, D("code", "a")); len(got) != 1 || len(got[0]) != 3 {
		t.Errorf("the documents are %v", got)
	}
	// In one command, a later statement can use a key that an earlier one has freed.
	_, err = c.BulkWrite(ctx, []driver.WriteModel{
		driver.NewUpdateOneModel().SetFilter(D("_id", 3)).SetUpdate(D("$set", D("code", "z"))),
		driver.NewUpdateOneModel().SetFilter(D("_id", 1)).SetUpdate(D("$set", D("code", "c"))),
		driver.NewDeleteOneModel().SetFilter(D("code", "z")),
		driver.NewInsertOneModel().SetDocument(D("_id", 4, "code", "z")),
	})
	must(t, err)
	// A unique index cannot be built over duplicates, and a failed build leaves no index.
	_, err = c.InsertMany(ctx, []any{D("_id", 10, "code", 10, "k", 1), D("_id", 11, "code", 11, "k", 1)})
	must(t, err)
	_, err = c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("k", 1), Options: options.Index().SetUnique(true)})
	wantCode(t, err, codeDuplicateKey)
	specs, err := c.Indexes().ListSpecifications(ctx)
	must(t, err)
	if len(specs) != 2 {
		t.Errorf("%d indexes are left", len(specs))
	}
}

func TestCatalogCommands(t *testing.T) {
	ctx := context.Background()
	s := startServer(t)
	client := connect(t, s)
	db := client.Database("one")
	must(t, db.CreateCollection(ctx, "empty"))
	_, err := db.Collection("full").InsertMany(ctx, []any{D("_id", 1, "a", 1), D("_id", 2, "a", 2)})
	must(t, err)
	_, err = client.Database("two").Collection("x").InsertOne(ctx, D("_id", 1))
	must(t, err)
	names, err := client.ListDatabaseNames(ctx, bson.D{})
	must(t, err)
	if fmt.Sprint(names) != "[one two]" {
		t.Errorf("databases %v", names)
	}
	names, err = db.ListCollectionNames(ctx, D("name", D("$regex", "^f")))
	must(t, err)
	if fmt.Sprint(names) != "[full]" {
		t.Errorf("collections %v", names)
	}
	full := db.Collection("full")
	keys := []driver.IndexModel{{Keys: D("a", 1)}, {Keys: D("a", -1, "b", 1)}, {Keys: D("_id", 1)}}
	created, err := full.Indexes().CreateMany(ctx, keys)
	must(t, err)
	if fmt.Sprint(created) != "[a_1 a_-1_b_1 _id_1]" {
		t.Errorf("indexes %v", created)
	}
	_, err = full.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("a", 1)}) // it exists already, which is no error
	must(t, err)
	_, err = full.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("b", 1), Options: options.Index().SetName("a_1")})
	wantCode(t, err, codeIndexKeySpecsConflict)
	_, err = full.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("a", 1), Options: options.Index().SetName("x")})
	wantCode(t, err, codeIndexOptionsConflict)
	specs, err := full.Indexes().ListSpecifications(ctx)
	must(t, err)
	if len(specs) != 3 || specs[0].Name != "_id_" || specs[2].Name != "a_-1_b_1" {
		t.Errorf("%+v", specs)
	}
	must(t, full.Indexes().DropOne(ctx, "a_1"))
	must(t, full.Indexes().DropAll(ctx))

	// Renaming over an existing collection replaces it, with its documents and indexes.
	_, err = db.Collection("next").InsertOne(ctx, D("_id", 9, "a", 9))
	must(t, err)
	_, err = db.Collection("next").Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("a", 1)})
	must(t, err)
	wantCode(t, rename(ctx, db, "next", "full", false), codeNamespaceExists)
	cur, err := full.Find(ctx, bson.D{}, options.Find().SetBatchSize(1))
	must(t, err)
	must(t, rename(ctx, db, "next", "full", true))
	for cur.Next(ctx) {
	}
	wantCode(t, cur.Err(), codeQueryPlanKilled)
	if got := find(t, full, D("a", 9)); len(got) != 1 {
		t.Errorf("after renaming: %v", got)
	}
	if stages, _, _ := explained(t, full, "filter", D("a", 9)); stages != "FETCH IXSCAN(a_1 forward)" {
		t.Error(stages)
	}
	checkStore(t, s.store)
	must(t, full.Drop(ctx))
	must(t, full.Drop(ctx)) // it does not exist any more, which is no error
	must(t, db.Drop(ctx))
	if st := s.Stats(); st.Collections != 1 || st.Documents != 1 {
		t.Errorf("%+v", st)
	}
	for _, space := range []byte{spaceDocs, spaceIndex, spaceCount} {
		each(t, s.store, []byte{space}, func(k, _ []byte) {
			if space == spaceDocs && len(k) > 5 && k[4] == byte(s.store.lookup(namespace{"two", "x"}).id) ||
				space == spaceCount {
				return
			}
			t.Errorf("key %x is left", k)
		})
	}
}

func TestCursors(t *testing.T) {
	ctx := context.Background()
	s := startServer(t, func(o *Options) { o.MaxCursorsPerConn = 3 })
	db := connect(t, s).Database("test")
	c := db.Collection("c")
	var docs []any
	for i := range 250 {
		docs = append(docs, D("_id", i, "n", i%50))
	}
	_, err := c.InsertMany(ctx, docs)
	must(t, err)
	_, err = c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("n", 1)})
	must(t, err)
	for _, o := range []*options.FindOptionsBuilder{
		options.Find(), options.Find().SetBatchSize(7), options.Find().SetBatchSize(1),
		options.Find().SetSort(D("n", -1)).SetBatchSize(20), options.Find().SetSort(D("_id", -1)).SetBatchSize(9),
		options.Find().SetSort(D("n", 1, "_id", -1)).SetBatchSize(30),
		options.Find().SetProjection(D("n", 1)).SetBatchSize(250), options.Find().SetLimit(250).SetBatchSize(100),
	} {
		if got := find(t, c, D("n", D("$gte", 0)), o); len(got) != 250 {
			t.Errorf("%d documents", len(got))
		}
	}
	if n := s.cursors.len(); n != 0 {
		t.Errorf("%d cursors are left", n)
	}
	// Changes between two batches do not affect other documents.
	cur, err := c.Find(ctx, bson.D{}, options.Find().SetSort(D("_id", 1)).SetBatchSize(10))
	must(t, err)
	seen := 0
	for cur.Next(ctx) {
		if seen++; seen == 10 {
			_, err := c.DeleteMany(ctx, D("_id", D("$gte", 5, "$lt", 15)))
			must(t, err)
			_, err = c.InsertOne(ctx, D("_id", 1000))
			must(t, err)
		}
	}
	must(t, cur.Err())
	if seen < 246 || seen > 251 {
		t.Errorf("%d documents", seen)
	}
	// A batch of size 0 only opens the cursor; killCursors closes it.
	var res struct {
		Cursor struct {
			ID         int64
			FirstBatch []bson.D `bson:"firstBatch"`
		}
	}
	must(t, db.RunCommand(ctx, D("find", "c", "batchSize", 0)).Decode(&res))
	if res.Cursor.ID == 0 || len(res.Cursor.FirstBatch) != 0 {
		t.Errorf("%+v", res)
	}
	wantCode(t, db.RunCommand(ctx, D("getMore", res.Cursor.ID, "collection", "d")).Err(), 13)
	must(t, db.RunCommand(ctx, D("killCursors", "c", "cursors", A(res.Cursor.ID, int64(5)))).Err())
	wantCode(t, db.RunCommand(ctx, D("getMore", res.Cursor.ID, "collection", "c")).Err(), codeCursorNotFound)
	// A single batch leaves no cursor.
	must(t, db.RunCommand(ctx, D("find", "c", "batchSize", 2, "singleBatch", true)).Decode(&res))
	if res.Cursor.ID != 0 || len(res.Cursor.FirstBatch) != 2 {
		t.Errorf("%+v", res)
	}
	// The number of cursors is bounded. Idle cursors are closed; the test sets the time.
	for range 3 {
		must(t, db.RunCommand(ctx, D("find", "c", "batchSize", 1)).Err())
	}
	wantCode(t, db.RunCommand(ctx, D("find", "c", "batchSize", 1)).Err(), codeExceededMemoryLimit)
	s.cursors.expire(time.Now().Add(s.opts.CursorTimeout - time.Minute))
	if n := s.cursors.len(); n != 3 {
		t.Errorf("%d cursors are left", n)
	}
	s.cursors.expire(time.Now().Add(s.opts.CursorTimeout + time.Minute))
	if n := s.cursors.len(); n != 0 {
		t.Errorf("%d cursors are left", n)
	}
	// The memory for sorting without an index is bounded. Sorting by an index, or with a limit, needs none.
	s.opts.SortBytes = 1000
	_, err = c.Find(ctx, bson.D{}, options.Find().SetSort(D("x", 1)))
	wantCode(t, err, codeSortMemoryExceeded)
	find(t, c, bson.D{}, options.Find().SetSort(D("n", 1)))
	find(t, c, bson.D{}, options.Find().SetSort(D("x", 1)).SetLimit(3))
}

func TestAggregate(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	for i := range 20 {
		_, err := c.InsertOne(ctx, D("_id", i, "site", fmt.Sprint("s", i%3), "v", i, "tags", A(D("k", i%2))))
		must(t, err)
	}
	for _, tc := range []struct{ pipeline, want string }{
		{`[{"$match": {"v": {"$lt": 3}}}, {"$project": {"v": 1, "_id": 0}}]`, `[{"v": 0}, {"v": 1}, {"v": 2}]`},
		{`[{"$sort": {"v": -1}}, {"$skip": 1}, {"$limit": 2}, {"$project": {"_id": 1}}]`, `[{"_id": 18}, {"_id": 17}]`},
		{`[{"$limit": 5}, {"$sort": {"v": -1}}, {"$limit": 1}, {"$project": {"v": 1}}]`, `[{"_id": 4, "v": 4}]`},
		{`[{"$limit": 5}, {"$match": {"v": {"$gt": 2}}}, {"$count": "n"}]`, `[{"n": 2}]`},
		{`[{"$match": {"v": -1}}, {"$count": "n"}]`, `[]`},
		{`[{"$group": {"_id": "$site", "n": {"$sum": 1}, "v": {"$sum": "$v"}, "min": {"$min": "$v"}, "max": {"$max": "$v"},
			"avg": {"$avg": "$v"}, "first": {"$first": "$v"}, "last": {"$last": "$v"}}}, {"$sort": {"_id": 1}}, {"$limit": 1}]`,
			`[{"_id": "s0", "n": 7, "v": 63, "min": 0, "max": 18, "avg": 9.0, "first": 0, "last": 18}]`},
		{`[{"$group": {"_id": null, "n": {"$sum": 1.5}}}]`, `[{"_id": null, "n": 30.0}]`},
		{`[{"$group": {"_id": "$tags.k", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]`, `[{"_id": [0], "n": 10}, {"_id": [1], "n": 10}]`},
		{`[{"$group": {"_id": {"s": "$site", "k": "$none"}, "n": {"$count": {}}}}, {"$sort": {"_id": -1}}, {"$limit": 1}]`,
			`[{"_id": {"s": "s2"}, "n": 6}]`},
		{`[{"$match": {"v": {"$lt": 5}}},
			{"$group": {"_id": null, "all": {"$push": "$site"}, "set": {"$addToSet": "$tags.k"}, "none": {"$push": "$none"},
				"docs": {"$push": {"s": "$site", "v": "$v", "x": "$none", "a": ["$v", "$none"]}}}},
			{"$project": {"_id": 0, "all": 1, "set": 1, "none": 1, "third": "$docs.v", "a": "$docs.a"}}]`,
			`[{"all": ["s0", "s1", "s2", "s0", "s1"], "set": [[0], [1]], "none": [], "third": [0, 1, 2, 3, 4],
				"a": [[0, null], [1, null], [2, null], [3, null], [4, null]]}]`},
		{`[{"$group": {"_id": "$none", "n": {"$sum": 1}, "min": {"$min": "$none"}, "avg": {"$avg": "$site"},
			"first": {"$first": "$none"}}}]`,
			`[{"_id": null, "n": 20, "min": null, "avg": null, "first": null}]`},
		{`[{"$group": {"_id": null, "sum": {"$sum": {"$literal": 0.1}}, "long": {"$sum": {"$numberLong": "5"}},
			"avg": {"$avg": 0.1}, "big": {"$sum": {"$numberLong": "9000000000000000000"}}}}]`,
			`[{"_id": null, "sum": 2.0, "long": {"$numberLong": "100"}, "avg": 0.1, "big": 1.8e20}]`},
		{`[{"$limit": 1}, {"$project": {"_id": "$site", "w": "$v", "tags": {"k": 1}, "t": "text", "root": "$$ROOT.v",
			"gone": "$$REMOVE", "o": {"$literal": {"$v": 1}}}}]`,
			`[{"_id": "s0", "tags": [{"k": 0}], "w": 0, "t": "text", "root": 0, "o": {"$v": 1}}]`},
		{`[{"$limit": 1}, {"$project": {"v": 0, "tags": {"k": 0}}}]`, `[{"_id": 0, "site": "s0", "tags": [{}]}]`},
		{`[{"$limit": 2}, {"$unwind": "$tags"}, {"$project": {"tags": 1}}]`, `[{"_id": 0, "tags": {"k": 0}}, {"_id": 1, "tags": {"k": 1}}]`},
		{`[{"$limit": 1}, {"$unwind": "$none"}]`, `[]`},
		{`[{"$limit": 1}, {"$unwind": {"path": "$none", "preserveNullAndEmptyArrays": true, "includeArrayIndex": "i.n"}},
			{"$project": {"i": 1}}]`,
			`[{"_id": 0, "i": {"n": null}}]`},
		{`[{"$group": {"_id": null, "none": {"$push": "$none"}}}, {"$unwind": "$none"}]`, `[]`},
		{`[{"$group": {"_id": null, "none": {"$push": "$none"}}},
			{"$unwind": {"path": "$none", "preserveNullAndEmptyArrays": true, "includeArrayIndex": "i"}}]`,
			`[{"_id": null, "i": null}]`},
		{`[{"$group": {"_id": null, "all": {"$push": "$v"}}}, {"$unwind": {"path": "$all", "includeArrayIndex": "_id"}}, {"$skip": 18}]`,
			`[{"_id": {"$numberLong": "18"}, "all": 18}, {"_id": {"$numberLong": "19"}, "all": 19}]`},
	} {
		cur, err := c.Aggregate(ctx, fromJSON(`{"p": ` + tc.pipeline + `}`)[0].Value)
		must(t, err)
		var got []bson.D
		must(t, cur.All(ctx, &got))
		want := rawJSON(`{"v": ` + tc.want + `}`).lookup("v")
		if len(got) == 0 && want.doc().isEmpty() {
			continue
		}
		if !sameValue(rawValue(got), want) {
			t.Errorf("%s\n got %v\nwant %s", tc.pipeline, got, tc.want)
		}
	}
	_, err := c.Aggregate(ctx, A(D("$group", D("_id", nil, "n", D("$sum", decimalFrom("1"))))))
	wantCode(t, err, codeNotImplemented)
	deeper := bson.A{}
	for range maxBSONDepth - 1 { // the documents already have two levels
		deeper = append(deeper, D("$project", D("in", "$$ROOT")))
	}
	_, err = c.Aggregate(ctx, deeper[1:])
	must(t, err)
	_, err = c.Aggregate(ctx, deeper)
	wantCode(t, err, codeOverflow)
	var values []string
	must(t, c.Distinct(ctx, "site", D("v", D("$gt", 3))).Decode(&values))
	if len(values) != 3 {
		t.Errorf("distinct: %v", values)
	}
}

// TestServerDescribesItself checks the commands that describe the server to drivers and shells.
func TestServerDescribesItself(t *testing.T) {
	ctx := context.Background()
	client := connect(t, startServer(t))
	_, err := client.Database("test").Collection("c").InsertOne(ctx, D("_id", 1))
	must(t, err)
	for _, tc := range []struct{ db, command, field, want string }{
		{"admin", `{"hello": 1}`, "maxWireVersion", "21"},
		{"admin", `{"isMaster": 1}`, "ismaster", "true"},
		{"admin", `{"buildInfo": 1}`, "version", `"7.0.0"`},
		{"admin", `{"getParameter": 1, "featureCompatibilityVersion": 1}`, "featureCompatibilityVersion", `{ version: "7.0" }`},
		{"admin", `{"getCmdLineOpts": 1}`, "argv", "[ ]"},
		{"admin", `{"connectionStatus": 1}`, "authInfo", "{ authenticatedUsers: [ ], authenticatedUserRoles: [ ] }"},
		{"admin", `{"whatsmyuri": 1}`, "ok", "1"},
		{"admin", `{"getLog": "startupWarnings"}`, "log", "[ ]"},
		{"admin", `{"hostInfo": 1}`, "ok", "1"},
		{"admin", `{"serverStatus": 1}`, "process", `"casebook"`},
		{"admin", `{"listCommands": 1}`, "ok", "1"},
		{"admin", `{"startSession": 1}`, "timeoutMinutes", "30"},
		{"admin", `{"endSessions": [{"id": 1}]}`, "ok", "1"},
		{"admin", `{"listDatabases": 1, "nameOnly": true}`, "databases", `[ { name: "test" } ]`},
		{"test", `{"dbStats": 1}`, "objects", "1"},
		{"test", `{"collStats": "c", "scale": 1024}`, "count", "1"},
		{"test", `{"collStats": "c"}`, "nindexes", "1"},
		{"test", `{"collStats": "none"}`, "nindexes", "0"},
		{"test", `{"aggregate": "c", "pipeline": [{"$collStats": {"count": {}, "storageStats": {"scale": 2}}},
			{"$project": {"_id": 0, "count": 1, "storageStats.count": 1, "storageStats.scaleFactor": 1}}], "cursor": {}}`,
			"cursor", `{ firstBatch: [ { count: 1, storageStats: { count: 1, scaleFactor: 2 } } ], id: 0, ns: "test.c" }`},
		{"test", `{"ping": 1, "apiVersion": "1", "comment": "x", "maxTimeMS": 5000}`, "ok", "1"},
	} {
		var res bson.Raw
		must(t, client.Database(tc.db).RunCommand(ctx, fromJSON(tc.command)).Decode(&res))
		if got := shellValue(doc(res).lookup(tc.field)); got != tc.want {
			t.Errorf("%s: %s is %s, want %s", tc.command, tc.field, got, tc.want)
		}
	}
}

// TestInterruptedCommands: a command whose time is over, or whose server stops, fails with the right code.
func TestInterruptedCommands(t *testing.T) {
	s := startServer(t)
	c := connect(t, s).Database("test").Collection("c")
	var docs []any
	for i := range 500 {
		docs = append(docs, D("_id", i))
	}
	_, err := c.InsertMany(context.Background(), docs)
	must(t, err)
	expired, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	stopped, stop := context.WithCancel(context.Background())
	stop()
	for ctx, code := range map[context.Context]errCode{expired: codeMaxTimeMSExpired, stopped: codeInterruptedAtShutdown} {
		r := &request{ctx: ctx, s: s, c: &conn{}, name: "count", db: "test", body: raw(D("count", "c", "query", D("x", 1)))}
		first, _ := r.body.first()
		r.arg = first.value
		if _, err := r.count(); asCommandError(err).code != code {
			t.Errorf("got %v, want code %d", err, code)
		}
	}
}

func TestOpenAndClose(t *testing.T) {
	ctx := context.Background()
	s := startServer(t)
	_, err := Open(ctx, Options{Dir: "other", FS: vfs.NewMem(), Listen: s.Addr()})
	if !errors.Is(err, ErrListen) {
		t.Errorf("a port in use: %v", err)
	}
	if _, err := Open(ctx, Options{}); err == nil {
		t.Error("a server without a directory was opened")
	}
	fs := vfs.NewMem()
	s2 := startServer(t, func(o *Options) { o.FS = fs })
	if _, err := Open(ctx, Options{Dir: "data", FS: fs}); err == nil {
		t.Error("two servers share a store")
	}
	// An idle connection, and one in the middle of a message, do not delay Close.
	for _, sent := range []string{"", "\x20\x00\x00\x00"} {
		nc, err := net.Dial("tcp", s2.Addr())
		must(t, err)
		defer nc.Close()
		_, err = nc.Write([]byte(sent))
		must(t, err)
	}
	c := connect(t, s2).Database("test").Collection("c")
	_, err = c.InsertOne(ctx, D("_id", 1))
	must(t, err)
	if st := s2.Stats(); st.Connections < 3 || st.Documents != 1 || st.Commands == 0 {
		t.Errorf("%+v", st)
	}
	stop(t, s2)
	must(t, s2.Close()) // closing it again is no error
}

func TestConnectionsAreBounded(t *testing.T) {
	s := startServer(t, func(o *Options) { o.MaxConns = 2 })
	var held []net.Conn
	for range 2 {
		nc, err := net.Dial("tcp", s.Addr())
		must(t, err)
		defer nc.Close()
		held = append(held, nc)
		ping(t, nc)
	}
	nc, err := net.Dial("tcp", s.Addr())
	must(t, err)
	defer nc.Close()
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("a third connection is served")
	}
	ping(t, held[0])
}
