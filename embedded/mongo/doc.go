// Package mongo is a small server that speaks the MongoDB wire protocol and keeps its data in Pebble, with real
// indexes. It holds read models on one machine, so that the same code, drivers and tools work without a MongoDB
// installation. Installations on several machines use MongoDB itself.
//
// # Supported functions
//
// It presents itself as a standalone server of version 7.0. It has databases, collections and indexes (compound,
// unique, ascending and descending, over arrays) with the commands to create, list, rename and drop them; insert,
// update (by replacement and by operators), delete and findAndModify; find with filter, sort, skip, limit, projection
// and cursors; count, distinct, explain, and aggregation pipelines of the stages $match, $sort, $skip, $limit,
// $project, $unwind, $count, $group and $collStats. The expressions of $project and $group consist of fields,
// constants, and objects and arrays of these. Values of all BSON types are stored, compared and ordered as in MongoDB;
// strings are ordered byte by byte.
//
// # Refusals
//
// A request that MongoDB refuses is refused with the same error code. A request that MongoDB supports and this server
// does not is refused with code 238 (NotImplemented), 115 (CommandNotSupported) or 67 (CannotCreateIndex) and a
// sentence. Nothing is silently ignored. There are no transactions, no
// change streams and no collations.
//
// # Access
//
// With Options.Users a client proves one of them with SCRAM-SHA-256 before it can do anything; each may read everything,
// or change everything. Without users everybody may do everything. An address that other machines can reach is refused
// without users and encryption.
//
// # Concurrency
//
// A statement that changes a document is atomic, and statements on one collection run one after the other. Therefore an
// upsert with the filter {_id: 1, position: {$lt: 7}} is a guard: when several race, each either finds an older
// document and replaces it, or fails with a duplicate key. The statements of one command are committed together, or in
// a few parts if they are many; a reader sees all or nothing of each part. Readers do not wait for writers: each batch
// of a query is read from one snapshot.
//
// # Durability
//
// A write is acknowledged when it is in the write-ahead log and the log was written to the operating system. If the
// process is killed, no acknowledged write is lost. The log is synced to disk at most Options.SyncEvery later. It is
// synced before the acknowledgement if a client asks for {j: true} or {w: "majority"} (all waiting clients share one
// sync), or always with Options.SyncAlways. A crash of the machine can lose the writes after the last sync. All
// collections share one log, which is written in order, so only the end of the log is lost: a write survives only
// together with all writes acknowledged before it. Therefore a checkpoint that is written after its documents never
// survives without them.
//
// # Files
//
// Start reading at server.go, the server and its connections; wire.go has the framing, commands.go the table of
// commands and their common arguments, access.go the users, inprocess.go
// the way for clients in the same process. cmd_*.go and aggregate.go are the commands, group.go and unwind.go the longer
// stages of pipelines, expression.go their expressions, cursor.go their state between batches. raw.go reads and writes
// BSON. filterparse.go, update.go, projection.go and sort.go compile the requests, filter.go and updateops.go apply
// them. planner.go chooses an index, bounds.go computes the ranges to read, scan.go reads them. index.go builds index
// keys, keyenc.go encodes their values. store.go has the layout on Pebble and the views for readers, catalog.go the
// collections, writer.go all changes of documents, readahead.go the reads before them, wal.go the syncing of the log.
package mongo
