// Package pubsub is a Publisher and a Subscriber of Watermill over EventStoreDB. It knows nothing of what the messages
// mean, and of the rest of this code base.
//
// What it promises:
//   - The messages of one Publish are one append: all of them are stored, in their order, or none. A message published
//     again under the same UUID is stored once, as far as the server remembers it (see Publisher).
//   - A topic is a persistent subscription to $all with a filter, under the name of a consumer group. Each message goes to
//     one subscriber of the group, again and again until it is acknowledged: at least once, and more than once after a
//     crash or a broken connection, or when another subscriber gets it after the server's message time-out. While a
//     message is in flight, the same Subscribe does not deliver it a second time.
//   - At most InFlight messages of a Subscribe are unanswered. With InFlight 1 and one subscriber the group's messages
//     come in the log's order, a refused one before its successors; otherwise no order is promised.
//   - A Subscribe outlives the server's restarts, and ends when its context ends or its Subscriber is closed.
//
// Where to begin: publisher.go; subscriber.go is the configuration, subscription.go what one Subscribe does, consumer.go
// one connection of it. message.go is what becomes of a message in the store, group.go how groups are made, clients.go
// how the official client is kept from its traps.
package pubsub
