// Package groups lets several consumers share the events of a stream or of the whole log. The protocol calls such a
// group a persistent subscription. The group stores how far its consumers have come, delivers each event to one of
// them, and delivers it to another one if the first does not handle it.
//
// Guarantees:
//   - Every event from the group's start on is settled: acknowledged, skipped by a consumer's decision, or parked.
//     Until then the group keeps it, also through crashes. A restart may repeat events but never skips one.
//   - A consumer has at most as many unsettled events as it asked for, and the group holds at most its buffer's size
//     beyond those: a slow consumer does not make memory grow.
//   - A consumer answers by event id, so it never has two unsettled events with the same id: the second one waits, or goes
//     to another consumer. EventStoreDB skips it instead.
//   - A parked event is a link in the group's parked stream, with the reason. It counts as unsettled until the link is
//     durable, and stays parked until a replay of it is settled.
//
// Start reading at settings.go, which defines a group, and group.go, whose one goroutine owns all state of a group;
// strategy.go chooses the consumer, parking.go handles the events that no consumer could process.
package groups
