// Package store keeps an append-only log of events, grouped in streams, in one directory.
//
// Guarantees:
//   - A successful append is on stable storage: it was fsynced before the answer.
//   - The events of one append are stored together or not at all, at consecutive revisions and increasing positions.
//   - No reader sees an event that could still be lost: reads and watchers end at the durable watermark.
//   - Every record holds the SHA-256 of its predecessor's hash, its own position and its body. [Store.Verify] checks
//     that chain and names the first record that does not fit. A record that [Store.Scavenge] removed leaves its hash
//     in a stub, and an event announces the removal: stub.go explains what that proves.
//   - After a failed commit the outcome of the appends in flight is unknown, so no more appends are accepted. Reads go
//     on. Opening the directory again finds the events that were stored.
//
// Start reading at record.go, which defines the format; sequencer.go decides on appends and encodes them, committer.go
// makes them durable, cursor.go reads. One goroutine sequences and one commits. The appends that arrive during a commit
// become the next batch, so the load determines the size of a batch.
package store
