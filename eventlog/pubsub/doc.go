// Package pubsub is a Publisher and a Subscriber of Watermill over EventStoreDB. It does not know what the messages mean,
// and depends on nothing else of this code base than the package that finds the leader of a cluster.
//
// It promises:
//   - Publish appends its messages in one append: all of them are stored in their order, or none is. A message that is
//     published again under the same UUID is stored once, as far as the server remembers it (see Publisher).
//   - A topic is a persistent subscription to $all with a filter, and its name is the consumer group's. Each message goes
//     to one subscriber of the group and is delivered again until it is acknowledged. So it arrives at least once, and
//     more than once after a crash, after a broken connection, or when the server's message time-out passes and another
//     subscriber gets it. A Subscribe does not deliver a message again while it waits for the answer to it.
//   - At most InFlight messages of a Subscribe are unanswered. With InFlight 1 and one subscriber, the group's messages
//     come in the order of the log, and a refused message comes again before its successors. Otherwise there is no order.
//   - A Subscribe continues after the server has restarted. It ends when its context ends or its Subscriber is closed.
//
// It does not promise:
//   - A message may arrive before its Publish returns. A Publish that fails may have stored its messages.
//   - A consumer group tells events apart by their ids. EventStoreDB skips an event while another event of the group with
//     the same id is unanswered. Do not publish one UUID to two streams that the same group consumes.
//
// Where to begin: publisher.go publishes. subscriber.go holds the configuration of subscribers, subscription.go does the
// work of one Subscribe, and consumer.go is one connection of it. message.go converts messages to events and back.
// group.go makes consumer groups. clients.go works around the traps of the official client.
package pubsub
