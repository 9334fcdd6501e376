package projections

import (
	"context"
	"encoding/base64"
	"errors"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/eventlog"
	"casebook/readmodels"
)

// Record returns how queries read the log beyond the views. The log needs no keys of its own; keys open texts, and may be nil.
func Record(log *eventlog.Log, keys personal.Keys) readmodels.Record {
	return readmodels.Record{Keys: keys,
		Events: func(ctx context.Context, of domain.StreamType, id string) (found []readmodels.Recorded, err error) {
			for r, err := range log.ReadSound(ctx, of.Category+"-"+id) {
				if undecodable := (*eventlog.UndecodableError)(nil); errors.As(err, &undecodable) {
					continue
				}
				if err != nil {
					return nil, err
				}
				found = append(found, readmodels.Recorded{Event: r.Event, Position: r.Position.Commit, RecordedAt: r.Metadata.RecordedAt,
					Actor: r.Metadata.Actor, Zone: r.Metadata.CapturedZone, Stored: readmodels.Stored{ID: r.ID.String(), Type: r.Type,
						Data: base64.StdEncoding.EncodeToString(r.Data), Metadata: base64.StdEncoding.EncodeToString(r.RawMetadata),
						Hash: eventlog.Hash(r.ID, r.Type, r.Data, r.RawMetadata)}})
			}
			return found, nil
		}}
}
