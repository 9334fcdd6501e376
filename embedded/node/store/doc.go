// Package store keeps an append-only log of events, grouped in streams, in one directory.
//
// What it promises:
//   - An append that was answered with success is on stable storage: it was fsynced before the answer left.
//   - The events of one append are stored together or not at all, at consecutive revisions and increasing positions.
//   - Nobody reads an event that could still be lost: reads, cursors and watchers end at the durable watermark.
//   - Every record carries the SHA-256 of its predecessor's hash, its own position and its body; [Store.Verify] walks
//     that chain and names the first record that does not fit. A record that [Store.Scavenge] removed leaves its link, and
//     an event that announces it: see stub.go for what that proves.
//   - After a failed commit the outcome of the appends in flight is unknown, so nothing further is accepted: reads go
//     on, and opening the directory again finds what was stored.
//
// Where to begin: record.go is the format, sequencer.go decides and encodes, committer.go makes durable, cursor.go
// reads. One goroutine sequences, one commits; what arrives during a commit becomes the next batch, so load alone sets
// the size of a batch.
package store
