package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
)

// ErrTooLarge says that the messages of one Publish are larger than the server takes in one append. They have to be
// published in smaller parts; a single message that is too large has to keep its payload elsewhere.
var ErrTooLarge = errors.New("the messages are too large for one append")

// ErrPartlyStored says that some of the messages of one Publish were stored before, and others not, so that storing them
// again together would tear them apart. They have to be published as they were the first time, or one by one.
var ErrPartlyStored = errors.New("some of the messages were stored before, and others not")

// PublisherConfig says how to publish. Only URL must be set.
type PublisherConfig struct {
	// URL is the connection string, such as esdb://127.0.0.1:2113?tls=false.
	URL string
	// Stream names the stream that a topic's messages are appended to; by default it is named as the topic.
	Stream func(topic string) string
	// Type is the type of the event that a message is stored as; by default what the message's metadata has under
	// KeyType, or else "message".
	Type func(topic string, msg *message.Message) string
	// ContentType says whether the payload is JSON; by default it is looked at.
	ContentType func(msg *message.Message) esdb.ContentType
	// Timeout bounds each Publish, and the wait of Close; 10 seconds when 0.
	Timeout time.Duration
	// Connections bounds the appends under way at once; 4 when 0. Further ones wait.
	Connections int
	// MaxAppendBytes bounds the messages of one Publish together, payload and metadata. When 0 it is what a server with
	// the usual limit of 1 MiB takes, with room for what it adds.
	MaxAppendBytes int
}

// defaultMaxAppendBytes keeps an append below the server's usual limit of 1 MiB.
const defaultMaxAppendBytes = 1<<20 - 16<<10

// Publisher appends messages to streams. It is safe for concurrent use.
//
// The id of an event follows from its message's UUID, and the server stores an event of the same id once in a stream. It
// remembers the ids of recent events only, and none over a restart: a message that is published again much later, or
// after a restart that swallowed the answer, can be stored twice.
type Publisher struct {
	config  PublisherConfig
	clients *clients
	logger  watermill.LoggerAdapter
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher returns a Publisher, or an error if its configuration is wrong. It does not connect before the first
// Publish. The logger may be nil.
func NewPublisher(config PublisherConfig, logger watermill.LoggerAdapter) (*Publisher, error) {
	connection, err := configuration(config.URL)
	if err != nil {
		return nil, err
	}
	if config.Stream == nil {
		config.Stream = func(topic string) string { return topic }
	}
	if config.Type == nil {
		config.Type = typeFromMetadata
	}
	if config.ContentType == nil {
		config.ContentType = contentTypeOfPayload
	}
	if config.Timeout == 0 {
		config.Timeout = 10 * time.Second
	}
	if config.Connections == 0 {
		config.Connections = 4
	}
	if config.MaxAppendBytes == 0 {
		config.MaxAppendBytes = defaultMaxAppendBytes
	}
	if config.Timeout < 0 || config.Connections < 0 || config.MaxAppendBytes < 0 {
		return nil, errors.New("a publisher's time-out, connections and append size cannot be negative; leave them 0 for what is usual")
	}
	if logger == nil {
		logger = watermill.NopLogger{}
	}
	return &Publisher{config: config, clients: newClients(connection, config.Connections), logger: logger}, nil
}

func typeFromMetadata(_ string, msg *message.Message) string {
	if t := msg.Metadata.Get(KeyType); t != "" {
		return t
	}
	return defaultType
}

func contentTypeOfPayload(msg *message.Message) esdb.ContentType {
	if json.Valid(msg.Payload) {
		return esdb.ContentTypeJson
	}
	return esdb.ContentTypeBinary
}

// Publish appends the messages to the topic's stream in one append, all or none, and returns when they are stored. It
// gives up when the context of one of the messages ends, or after the Timeout. It fails with ErrTooLarge, ErrPartlyStored,
// ErrClosed, or what the client says; after an error of the connection it is not known whether the messages were stored,
// and they can be published again.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	if err := p.publish(topic, messages); err != nil {
		return fmt.Errorf("publish %d messages to %q: %w", len(messages), topic, err)
	}
	p.logger.Trace("Published", watermill.LogFields{"topic": topic, "messages": len(messages)})
	return nil
}

func (p *Publisher) publish(topic string, messages []*message.Message) error {
	stream := p.config.Stream(topic)
	if stream == "" {
		return errors.New("the topic has no stream; name one")
	}
	events, size := make([]esdb.EventData, len(messages)), 0
	for i, msg := range messages {
		if msg == nil {
			return fmt.Errorf("message %d is nil; nothing was published", i)
		}
		eventType := p.config.Type(topic, msg)
		if eventType == "" {
			return fmt.Errorf("message %s has no event type; nothing was published", msg.UUID)
		}
		var err error
		if events[i], err = newEvent(msg, eventType, p.config.ContentType(msg)); err != nil {
			return err
		}
		size += len(events[i].Data) + len(events[i].Metadata) + len(eventType)
	}
	if size > p.config.MaxAppendBytes {
		return fmt.Errorf("%w: %d bytes of at most %d; publish them in smaller parts", ErrTooLarge, size, p.config.MaxAppendBytes)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(messages[0].Context()), p.config.Timeout)
	defer cancel()
	for _, msg := range messages {
		defer context.AfterFunc(msg.Context(), cancel)()
	}
	err := p.append(ctx, stream, events)
	if codeOf(err) == esdb.ErrorCodeNotLeader {
		err = p.append(ctx, stream, events) // the client knows the leader now
	}
	if codeOf(err) == esdb.ErrorCodeWrongExpectedVersion {
		return fmt.Errorf("%w; publish them as they were, or one by one: %w", ErrPartlyStored, err)
	}
	return err
}

// append does not say which revision it expects: with any, the server recognises events that it has stored already.
func (p *Publisher) append(ctx context.Context, stream string, events []esdb.EventData) error {
	_, err := call(ctx, p.clients, func(client *esdb.Client) (*esdb.WriteResult, error) {
		// The deadline is the context's.
		return client.AppendToStream(ctx, stream, esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}, Deadline: &p.config.Timeout}, events...)
	})
	return err
}

// Close waits for what is being published, at most the Timeout, and ends the connections. It may be called more than
// once.
func (p *Publisher) Close() error {
	if err := p.clients.close(p.config.Timeout); err != nil {
		return fmt.Errorf("close the publisher: %w", err)
	}
	return nil
}
