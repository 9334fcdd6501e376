// Package notify sends messages about a trial's alerts to other systems: to a topic of a broker, to a webhook, and by
// e-mail.
//
// It knows nothing of trials. A process manager writes the Message and decides when to send it again. This package
// delivers it to the receiver, or returns why it could not. Begin reading at Open.
//
// # Exactly once
//
// No network delivers a message exactly once: if no answer comes, the sender cannot know whether the message or the
// answer was lost, and has to send the message again. The receiver can drop such repeats, if they have the same ID.
// Message.ID therefore stays the same for every attempt, every Send and every restart:
//
//   - NATS JetStream drops repeats itself. The ID is sent as Nats-Msg-Id, and the server remembers it for the stream's
//     duplicate window (NATSConfig.Duplicates). After that window a repeat is a second message.
//   - Kafka drops repeats of one producer's own attempts. A second Send, also after a restart, makes a second record
//     with the same key and the same id in its header; the consumer has to drop it.
//   - In the same process, every Send delivers one message, whose UUID is the ID; the subscriber has to drop repeats.
//     A message without subscribers is lost.
//   - The receiver of a webhook gets the ID as webhook-id, and has to drop repeats, as Standard Webhooks requires.
//   - An e-mail's Message-ID is made from the ID. Many mail servers and clients show repeats of a Message-ID once, but
//     they need not. A process does not repeat a mail to a recipient whose server has recently accepted it.
package notify
