package storetest

import (
	"context"
	"errors"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

// Forge appends an event with the official client, as somebody does who gets at the event store without the program. It
// returns the event's log position.
func Forge(ctx context.Context, url, stream, eventType string, data, metadata []byte) (position uint64, err error) {
	return ForgeAs(ctx, url, stream, uuid.New(), eventType, data, metadata)
}

// ForgeAs is Forge with an event id.
func ForgeAs(ctx context.Context, url, stream string, id uuid.UUID, eventType string, data, metadata []byte) (position uint64, err error) {
	settings, err := esdb.ParseConnectionString(url)
	if err != nil {
		return 0, err
	}
	settings.Logger = esdb.NoopLogging()
	client, err := esdb.NewClient(settings)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	out, err := client.AppendToStream(ctx, stream, esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}},
		esdb.EventData{EventID: id, EventType: eventType, ContentType: esdb.ContentTypeJson, Data: data, Metadata: metadata})
	if err != nil {
		return 0, err
	}
	return out.CommitPosition, nil
}
