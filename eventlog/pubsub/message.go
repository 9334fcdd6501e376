package pubsub

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// Every received message has this metadata beside the event's own. Publishers do not store it, so a message can be
// published as it was received. They read the event's type from KeyType.
const (
	// KeyStream is the name of the stream that holds the event.
	KeyStream = "esdb_stream"
	// KeyRevision is the event's number in its stream, from 0, in decimal.
	KeyRevision = "esdb_revision"
	// KeyType is the event's type.
	KeyType = "esdb_type"
	// KeyCommitPosition is the event's commit position in the log, in decimal.
	KeyCommitPosition = "esdb_commit_position"
	// KeyPreparePosition is the event's prepare position in the log, in decimal.
	KeyPreparePosition = "esdb_prepare_position"
	// KeyCreated is the time when the server stored the event, as RFC 3339 with nanoseconds, in UTC.
	KeyCreated = "esdb_created"
	// KeyRetryCount says how often the server has delivered the event before, in decimal.
	KeyRetryCount = "esdb_retry_count"
)

// KeyUUID is the metadata that keeps a message's UUID if it is not a UUID, such as a ULID. The id of an event must be one.
const KeyUUID = "esdb_message_uuid"

var reserved = map[string]bool{KeyStream: true, KeyRevision: true, KeyType: true, KeyCommitPosition: true,
	KeyPreparePosition: true, KeyCreated: true, KeyRetryCount: true, KeyUUID: true}

// defaultType is the event type of a message that names none.
const defaultType = "message"

// idSpace is the name space of the ids of messages whose UUID is not one. It must never change: stored ids depend on it.
var idSpace = uuid.MustParse("5d9e1b0c-5f0e-4c3b-9a3e-7f6f1c1c2a54")

// EventID returns the id of the event that a message is stored as. It is the message's UUID. If that is not a UUID, the id
// is derived from it and always the same. If it is empty, the id is random, so that two such messages stay two.
func EventID(messageUUID string) uuid.UUID {
	if messageUUID == "" {
		return uuid.New()
	}
	// The client replaces the zero id by a random one, so a repeated message would be stored twice.
	if id, err := uuid.Parse(messageUUID); err == nil && id != uuid.Nil {
		return id
	}
	return uuid.NewSHA1(idSpace, []byte(messageUUID))
}

// newEvent returns the event that a message is stored as.
func newEvent(msg *message.Message, eventType string, contentType esdb.ContentType) (esdb.EventData, error) {
	event := esdb.EventData{EventID: EventID(msg.UUID), EventType: eventType, ContentType: contentType, Data: msg.Payload}
	metadata := make(map[string]string, len(msg.Metadata))
	for key, value := range msg.Metadata {
		if !reserved[key] {
			metadata[key] = value
		}
	}
	if msg.UUID != "" && msg.UUID != event.EventID.String() {
		metadata[KeyUUID] = msg.UUID
	}
	var err error
	if event.Metadata, err = json.Marshal(metadata); err != nil {
		return esdb.EventData{}, fmt.Errorf("encode the metadata of message %s: %w", msg.UUID, err)
	}
	return event, nil
}

// newMessage returns the message that an event is delivered as, with or without the event's own metadata.
func newMessage(ctx context.Context, event *esdb.RecordedEvent, retries int, own bool) (*message.Message, context.CancelFunc) {
	msg := message.NewMessage(event.EventID.String(), event.Data)
	if own {
		msg.Metadata = simpleMetadata(event.UserMetadata)
	}
	msg.Metadata[KeyStream] = event.StreamID
	msg.Metadata[KeyRevision] = strconv.FormatUint(event.EventNumber, 10)
	msg.Metadata[KeyType] = event.EventType
	msg.Metadata[KeyCommitPosition] = strconv.FormatUint(event.Position.Commit, 10)
	msg.Metadata[KeyPreparePosition] = strconv.FormatUint(event.Position.Prepare, 10)
	msg.Metadata[KeyCreated] = event.CreatedDate.UTC().Format(time.RFC3339Nano)
	msg.Metadata[KeyRetryCount] = strconv.Itoa(retries)
	ctx, cancel := context.WithCancel(context.WithValue(ctx, recordedEventKey{}, event))
	msg.SetContext(ctx)
	return msg, cancel
}

// simpleMetadata returns the fields of an event's metadata that are a text, a number or a boolean. Other programs may write
// anything there; the rest of it is available from the RecordedEvent.
func simpleMetadata(raw []byte) message.Metadata {
	var fields map[string]json.RawMessage
	metadata := message.Metadata{}
	if json.Unmarshal(raw, &fields) != nil {
		return metadata
	}
	for key, value := range fields {
		var text string
		switch value = bytes.TrimSpace(value); {
		case value[0] == '"':
			if json.Unmarshal(value, &text) != nil {
				continue
			}
		case strings.IndexByte("{[n", value[0]) >= 0:
			continue // objects, arrays and null
		default:
			text = string(value)
		}
		metadata[key] = text
	}
	return metadata
}

type recordedEventKey struct{}

// RecordedEvent returns the event that a message was made from. ctx is the message's context. The event must not be changed.
func RecordedEvent(ctx context.Context) (*esdb.RecordedEvent, bool) {
	event, ok := ctx.Value(recordedEventKey{}).(*esdb.RecordedEvent)
	return event, ok
}
