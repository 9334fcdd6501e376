// Package node is an event store for one machine that speaks the EventStoreDB gRPC protocol, so that the official
// clients of that database work with it as they are.
//
// Guarantees:
//   - A successful append was fsynced before the answer. The events of one append are stored together or not at all.
//   - If many writers append with the same exact expected revision, exactly one succeeds. A repeated append with an
//     exact revision is always recognised by its event ids. With any or stream_exists it is recognised as long as the
//     ids are in memory.
//   - No reader or subscriber receives an event that could still be lost.
//   - A subscription delivers every event once and in order, first from disk and then live. It pulls at its reader's
//     pace: a slow reader neither delays writers nor makes memory grow.
//   - A group of consumers settles or parks every event from its start on; see package groups.
//   - Every record is linked to its predecessor by SHA-256, and Verify names the first damaged one. A log that has lost
//     durable events is not opened.
//   - A backup is taken while the node works. It is restored only if each of its records is sound.
//   - While the disk is almost full, appends are refused with ResourceExhausted. After a disk failed, filled up or
//     turned read-only, appends are refused until the node is opened again. Reads go on, and no acknowledged event is
//     lost.
//   - Queues, caches and requests are bounded. A request beyond the bounds is refused with Unavailable or
//     InvalidArgument, and nothing is written.
//
// Memory is bounded by about 400 MB, and 1 MB for each active reader: 64 MiB of cached blocks, 128 MiB of tables not
// yet written out, 64 MiB of waiting appends, 32 MiB of the newest events, 80 MB for the heads of 262,144 streams, and
// the ids of 65,536 events. The buffers of the groups of consumers come on top.
//
// Protocol: ServerFeatures.GetSupportedMethods and Gossip.Read; of Streams the methods Read (streams and $all,
// forwards, backwards, filters, links, catch-up subscriptions with checkpoints), Append, BatchAppend, Delete and
// Tombstone; all of PersistentSubscriptions; of Operations what a node that is alone has, that is all but Shutdown. The
// streams by category ($ce-), by type ($et-) and of all streams ($streams) can be read and subscribed to. Other methods
// answer Unimplemented and are not announced. The same port serves, over HTTP/1, /health/live,
// /health/ready, /info, /stats, /metrics and /admin/backup.
//
// Intended differences from EventStoreDB:
//   - Regular expressions are RE2, so look-around and back-references are refused with InvalidArgument.
//   - A subscription to $all from a position beyond the log's end is refused with InvalidArgument: such a checkpoint
//     belongs to another log or to a restored one, and waiting would skip events.
//   - The links of $ce-, $et- and $streams are generated when they are read and have the positions of their events.
//     They are not in $all, cannot be written, and are always up to date.
//   - A group starts from a checkpoint beside the log. The checkpoint stream, which clients may read, is written after it.
//     Replayed events stay parked until they are settled.
//   - The users are given when the node is opened and cannot be changed by calls. Without users, credentials are
//     accepted unchecked. An address that other machines can reach is refused without users and encryption.
//   - An append without events answers with the position of the log's last event, and writes nothing.
//   - Members of $readers may read every stream, and nobody else's access list gives them more.
//   - Streams whose names begin with one of Options.Protected cannot be deleted or truncated, and their metadata cannot be
//     written, by anybody.
//   - If an access list or the settings cannot be parsed, only administrators have access. A link is resolved only if
//     the reader may read its target.
//   - Events are removed only by Scavenge; until then $all keeps the events that stream metadata hide from stream
//     reads. Scavenge leaves out the streams that its caller names, keeps the chain of hashes, announces in $scavenges
//     what it removed, and removes a stream's last event too. Only Scavenge writes to $scavenges.
//
// Start reading at node.go, which owns everything that runs; wire.go decodes requests, and each method has a file of
// its own. The log itself is in package store, groups of consumers are in package groups.
package node
