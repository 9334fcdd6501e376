// Package groups lets several consumers share the events of a stream, or of the whole log: what the protocol calls a
// persistent subscription. The group remembers how far its consumers have come, hands each event to one of them, and
// gives it to another one if that fails.
//
// What it promises:
//   - Every event from the group's start on is settled: acknowledged, skipped by a consumer's decision, or parked. Until
//     then it stays with the group, through crashes too. A restart may repeat events, it never skips one.
//   - A consumer has at most as many unsettled events as it asked for, and the group holds at most its buffer's size
//     beyond those: a slow consumer makes nothing grow.
//   - A consumer answers by event id, so it never has two unsettled events with the same id: the second one waits, or goes
//     to another consumer. EventStoreDB skips it instead.
//   - A parked event is a link in the group's parked stream, with the reason. It counts as unsettled until the link is
//     durable, and stays parked until a replay of it is settled.
//
// Where to begin: settings.go is what a group is told, group.go is its one goroutine, which owns all its state;
// strategy.go chooses the consumer, parking.go is what happens to events that nobody could handle.
package groups
