// Package node is an event store for one machine that speaks the EventStoreDB gRPC protocol, so that the official
// clients of that database work with it as they are.
//
// What it promises:
//   - An append that was answered with success is fsynced. The events of one append are stored together or not at all.
//   - Of many writers with the same exact expected revision, one wins. A repeated append with an exact revision is
//     recognised by its event ids for ever; with any or stream_exists as long as memory holds the ids.
//   - Nobody reads or is sent an event that could still be lost.
//   - A subscription delivers every event once and in order, from disk and then live. It pulls at its reader's pace: a
//     slow reader neither delays writers nor makes memory grow.
//   - A group of consumers settles every event from its start on, or parks it; see package groups.
//   - Every record is linked to its predecessor by SHA-256; Verify names the first damaged one. A log that has lost what
//     was durable is not opened.
//   - A backup is taken while the node works, and is restored only if every record of it is sound.
//   - On a disk that is almost full appends are refused with ResourceExhausted, until there is room. On one that fails,
//     fills up or turns read-only they are refused until the node is opened again. Reads go on, and nothing that was
//     acknowledged is lost.
//   - Queues, caches and requests are bounded. Beyond the bounds a request is refused with Unavailable or
//     InvalidArgument, with nothing written.
//
// Its memory is bounded by about 400 MB and 1 MB for each reader that is being served: 64 MiB of blocks, 128 MiB that wait
// to be written out, 64 MiB of appends that wait, 32 MiB of the newest events, 80 MB for the heads of 262,144 streams and
// some for the ids of 65,536 events. A group of consumers holds the events of its buffers besides.
//
// What it speaks: ServerFeatures.GetSupportedMethods, Gossip.Read; of Streams: Read (streams and $all, forwards,
// backwards, filters, links, catch-up subscriptions with checkpoints), Append, BatchAppend, Delete and Tombstone; all of
// PersistentSubscriptions. The streams by category ($ce-), by type ($et-) and of all streams ($streams) can be read and
// subscribed to. What it does not speak answers Unimplemented, and is not announced. On the same port, over HTTP/1:
// /health/live, /health/ready, /info, /stats, /metrics and /admin/backup.
//
// Where it differs from the original on purpose:
//   - Regular expressions are RE2, so look-around and back-references are refused with InvalidArgument.
//   - A subscription to $all from a position beyond the log's end is refused with InvalidArgument: such a checkpoint
//     belongs to another log or to one that was restored, and waiting would skip events.
//   - The links of $ce-, $et- and $streams are made up as they are read, and have their events' positions. $all does not
//     show them, they cannot be written, and they are never behind.
//   - A group's place is kept beside the log, not in a stream. Parked events that are replayed stay parked until they are
//     settled.
//   - Users are given when the node is opened, and cannot be changed by calls. Without any, credentials are accepted and
//     not looked at: then listen on a loopback address.
//   - An access list, or settings, that cannot be parsed close a stream to all but administrators; links are resolved
//     only to what the reader may read.
//   - Nothing is scavenged unless Scavenge is called: $all keeps what stream metadata hides from stream reads. It leaves
//     alone the streams that its caller names, keeps the chain of hashes, announces in $scavenges what it removed, and
//     removes a stream's last event too. Nobody else writes to $scavenges.
//
// Where to begin: node.go owns everything that runs, wire.go reads requests, the rest is one file per method; the log
// itself is package store, groups of consumers are package groups.
package node
