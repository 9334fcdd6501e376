// Package notify carries messages about a trial's alerts to the outside: to a broker's topic, to a webhook, by e-mail.
//
// It knows nothing of trials. A process manager writes the Message and decides when to send it again; this package
// gets it to the receiver, or says why not. Begin reading at Open.
//
// # Exactly once
//
// Nobody can deliver exactly once over a network: an answer that is lost looks like a message that is lost, so the
// message is sent again. What can be had is an effect that happens once, where the receiver drops what it has seen. All
// that a sender can add is an ID that stays the same, and Message.ID does, over every try, every send and every restart:
//
//   - NATS JetStream drops repeats itself: the ID travels as Nats-Msg-Id, and the server remembers it for the stream's
//     duplicate window (NATSConfig.Duplicates). After that window a repeat is a second message.
//   - Kafka's idempotent producer drops repeats of one producer's own tries. A second Send, or one after a restart, is a
//     second record with the same key and the same id in its header; the consumer drops it.
//   - In the same process, a subscriber gets every Send as one message, whose UUID is the ID; the subscriber drops
//     repeats. What nobody subscribes to is gone.
//   - A webhook's receiver gets the ID as webhook-id and drops repeats by it, as Standard Webhooks asks of receivers.
//   - An e-mail's Message-ID is made of the ID. Many mail servers and clients show repeats of one Message-ID once, but
//     none has to. One process does not repeat a mail to a recipient whose server took it lately.
package notify
