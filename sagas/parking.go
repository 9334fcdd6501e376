package sagas

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/process"
	"casebook/eventlog/pubsub"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

// studyKey is the metadata key under which a message carries its study. Parking needs it.
const studyKey = "casebook_study"

// parking receives the messages that a process cannot handle, and records each of them with the reason.
type parking struct{ handler *commands.Handler }

// maxReason bounds what is recorded of an error.
const maxReason = 1000

// Publish implements message.Publisher.
func (p *parking) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		revision, err := strconv.ParseUint(m.Metadata.Get(pubsub.KeyRevision), 10, 64)
		if err != nil {
			return fmt.Errorf("park message %s: %w", m.UUID, err)
		}
		reason := m.Metadata.Get(middleware.ReasonForPoisonedKey)
		if len(reason) > maxReason {
			reason = reason[:maxReason]
		}
		topic := m.Metadata.Get(middleware.PoisonedTopicKey)
		body, err := json.Marshal(process.ParkMessage{Message: process.MessageParked{Parked: process.Parked{Process: topic, Event: m.UUID},
			Study: studyOf(m), Stream: m.Metadata.Get(pubsub.KeyStream), Revision: revision, Type: m.Metadata.Get(pubsub.KeyType), Reason: reason}})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(m.Context()), sendTimeout)
		_, err = p.handler.Do(ctx, commands.Request{Name: "ParkMessage", Body: body, Principal: access.Process(topic),
			Past: pastOf(m.Context())})
		cancel()
		if err != nil {
			// A refusal too, such as a conflict: a message that is not recorded as parked must not be acknowledged.
			return fmt.Errorf("park message %s: %w", m.UUID, err)
		}
	}
	return nil
}

// Close implements message.Publisher.
func (p *parking) Close() error { return nil }

// studyOf returns the study of a message, also of one whose event could not be read.
func studyOf(m *message.Message) (study domain.StudyID) {
	if s := m.Metadata.Get(studyKey); s != "" {
		return domain.StudyID(s)
	}
	return domain.StudyID(m.Metadata.Get("study"))
}
