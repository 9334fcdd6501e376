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

// ErrTooLarge means that the messages of one Publish are too large for one append. Publish them in smaller parts; a single
// message that is too large must keep its payload elsewhere.
var ErrTooLarge = errors.New("the messages are too large for one append")

// ErrPartlyStored means that some of the messages of one Publish had been stored before and others had not, so they cannot
// be stored together. Publish the same messages as the first time, or each by itself.
var ErrPartlyStored = errors.New("some of the messages were stored before, and others not")

// PublisherConfig configures a Publisher. Only URL must be set.
type PublisherConfig struct {
	// URL is the connection string, such as esdb://127.0.0.1:2113?tls=false.
	URL string
	// Stream names the stream that a topic's messages are appended to. By default it has the topic's name.
	Stream func(topic string) string
	// Type returns the event type that a message is stored with. By default it is the message's metadata under KeyType,
	// or else "message".
	Type func(topic string, msg *message.Message) string
	// ContentType says whether the payload is JSON. By default the payload is parsed to find out.
	ContentType func(msg *message.Message) esdb.ContentType
	// Timeout bounds each Publish, and how long Close waits; 10 seconds when 0.
	Timeout time.Duration
	// Connections is how many appends may be under way at once; 4 when 0. Further ones wait.
	Connections int
	// MaxAppendBytes bounds the size of the messages of one Publish: payload, metadata and event types. When 0 it is
	// somewhat below 1 MiB, which is a server's usual limit and includes what the server adds.
	MaxAppendBytes int
}

// defaultMaxAppendBytes keeps an append below the server's usual limit of 1 MiB.
const defaultMaxAppendBytes = 1<<20 - 16<<10

// Publisher appends messages to streams. It is safe for concurrent use.
//
// An event's id follows from its message's UUID (see EventID), and the server does not store an event again whose id it
// remembers from the same stream. It remembers the ids of recent events only, and forgets them when it restarts. So a
// message can be stored twice if it is published again much later, or after a restart that prevented the answer.
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
		return nil, errors.New("a publisher's time-out, connections and append size cannot be negative; leave them 0 for the defaults")
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

// Publish appends the messages to the topic's stream in one append, all or none, and returns when they are stored. They may
// be delivered before it returns. It gives up when the context of one of the messages ends, or after the Timeout. It fails
// with ErrTooLarge, ErrPartlyStored, ErrClosed, or an error of the client. After an error of the connection it is not known
// whether the messages are stored; they can be published again.
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
		if err := msg.Context().Err(); err != nil { // AfterFunc cancels a moment later, and the server's answer may come before
			return err
		}
		defer context.AfterFunc(msg.Context(), cancel)()
	}
	err := p.append(ctx, stream, events)
	if codeOf(err) == esdb.ErrorCodeNotLeader {
		err = p.append(ctx, stream, events) // the client has learned which node is the leader
	}
	if codeOf(err) == esdb.ErrorCodeWrongExpectedVersion {
		return fmt.Errorf("%w; publish them as they were, or one by one: %w", ErrPartlyStored, err)
	}
	return err
}

// append expects any revision of the stream. The server then recognises events that it has stored before.
func (p *Publisher) append(ctx context.Context, stream string, events []esdb.EventData) error {
	options := esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}, Deadline: &p.config.Timeout}
	_, err := call(ctx, p.clients, func(client *esdb.Client) (*esdb.WriteResult, error) {
		return client.AppendToStream(ctx, stream, options, events...)
	})
	return err
}

// Close waits for each Publish under way, for the Timeout at most, and closes the connections. It may be called more than
// once.
func (p *Publisher) Close() error {
	if err := p.clients.close(p.config.Timeout); err != nil {
		return fmt.Errorf("close the publisher: %w", err)
	}
	return nil
}
