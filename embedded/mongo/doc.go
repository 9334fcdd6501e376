// Package mongo is a small server that speaks the MongoDB wire protocol to drivers and shells, and keeps its data in
// Pebble with real indexes. It holds read models on one machine, so that the same code and the same tools work without
// a MongoDB installation; what needs more than one machine runs on MongoDB itself.
//
// # What it provides
//
// It presents itself as a standalone server of version 7.0. Databases, collections and indexes (compound, unique,
// ascending and descending, over arrays) with the commands to make, list, rename and drop them; insert, update (by
// replacement and by operators), delete and findAndModify; find with filter, sort, skip, limit, projection and cursors;
// count, distinct, explain, and aggregation pipelines of the stages $match, $sort, $skip, $limit, $project, $unwind,
// $count, $group and $collStats. What $project and $group compute is made of fields, constants, and objects and arrays of
// these. Values of all BSON types are stored, compared and ordered as MongoDB does; strings are ordered byte by byte.
//
// # What it refuses
//
// Whatever it does not know, it refuses with the error code that MongoDB uses, and whatever MongoDB knows and it does
// not, with code 238 (NotImplemented), 115 (CommandNotSupported) or 67 (CannotCreateIndex) and a sentence; nothing is
// silently ignored. It has no authentication, no encryption in transit, no transactions, no change streams and no
// collations: bind it to the loopback address.
//
// # What holds under concurrency
//
// A statement that changes a document is atomic, and statements on one collection run one after the other. So an upsert
// whose filter is {_id: 1, position: {$lt: 7}} is a guard: of several that race, each either finds the document older
// and replaces it, or fails with a duplicate key. The statements of one command are committed together, or in a few
// pieces when they are many; a reader sees all or nothing of each piece. Readers do not wait for writers: each batch of a
// query is read from one snapshot.
//
// # Durability
//
// A write is acknowledged once it is in the write-ahead log and the log was handed to the operating system. The death of
// the process, by whatever signal, loses nothing that was acknowledged. The log is forced to disk at most
// Options.SyncEvery later, before the acknowledgement when a client asks for {j: true} or {w: "majority"} (all that wait
// share one sync), or always with Options.SyncAlways. A crash of the machine can lose the writes after the last sync. All collections share
// one log, written in order, so what is lost is the log's end: a write is never there without all that were acknowledged
// before it. A checkpoint that is written after its documents can therefore never outlive them.
//
// # Where to begin reading
//
// server.go has the life of the server and its connections, wire.go the framing, commands.go the table of commands and
// their common arguments. cmd_*.go and aggregate.go are the commands, group.go
// and unwind.go the longer stages of pipelines, expression.go what they compute, cursor.go what is left of them between batches.
// raw.go reads and writes BSON; filterparse.go, update.go, projection.go and sort.go compile what clients send, filter.go
// and updateops.go apply it. planner.go chooses an index, bounds.go says where in it to look, scan.go walks it. index.go
// makes index keys, keyenc.go the bytes that they consist of. store.go has the layout on Pebble and the views that readers
// use, catalog.go the collections, writer.go all changes of documents, readahead.go what it
// reads before; wal.go says when the log is synced.
package mongo
