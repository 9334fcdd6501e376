package sagas

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/eventlog"
	"casebook/eventlog/pubsub"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

// studyKey is the metadata key under which a message carries its study. Parking needs it.
const studyKey = "casebook_study"

// parking sets aside what a process cannot handle: it records each message with the reason, and raises an alert. It receives the
// messages of processes that Watermill delivers, as a message.Publisher, and from what works by the clock.
type parking struct {
	handler   *commands.Handler
	logger    *slog.Logger
	now       func() time.Time
	processes []Process
}

// maxReason bounds what is recorded of an error.
const maxReason = 1000

// Publish implements message.Publisher.
func (p *parking) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		revision, err := strconv.ParseUint(m.Metadata.Get(pubsub.KeyRevision), 10, 64)
		if err != nil {
			return fmt.Errorf("park message %s: %w", m.UUID, err)
		}
		parked := process.MessageParked{Parked: process.Parked{Process: m.Metadata.Get(middleware.PoisonedTopicKey), Event: m.UUID},
			Study: studyOf(m), Stream: m.Metadata.Get(pubsub.KeyStream), Revision: revision, Type: m.Metadata.Get(pubsub.KeyType),
			Reason: m.Metadata.Get(middleware.ReasonForPoisonedKey)}
		if err := p.park(m.Context(), parked); err != nil {
			return err
		}
	}
	return nil
}

// parkEvent parks an event that a process cannot handle.
func (p *parking) parkEvent(ctx context.Context, name string, e eventlog.Recorded, why error) error {
	return p.park(ctx, process.MessageParked{Parked: process.Parked{Process: name, Event: e.ID.String()}, Study: e.Metadata.Study,
		Stream: e.Stream, Revision: e.Revision, Type: e.Type, Reason: why.Error()})
}

// park records a parked message, and raises the alert about it.
func (p *parking) park(ctx context.Context, m process.MessageParked) error {
	m.Reason = shortened(m.Reason)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
	defer cancel()
	answer, err := p.send(ctx, m.Process, "ParkMessage", process.ParkMessage{Message: m})
	if err != nil {
		// A refusal too, such as a conflict: a message that is not recorded as parked must not be acknowledged.
		return fmt.Errorf("park message %s: %w", m.Event, err)
	}
	if m.Study == "" {
		p.logger.Error("a process cannot handle an event that belongs to no study, so that no alert is raised", "process", m.Process,
			"event", m.Event, "stream", m.Stream, "revision", m.Revision, "reason", m.Reason)
		return nil
	}
	_, err = p.send(ctx, m.Process, "RaiseAlert", p.alert(m, *answer.Revision))
	if isFinalRefusal(err) {
		p.logger.Error("the alert about a parked message was refused", "process", m.Process, "event", m.Event, "error", err)
		return nil
	}
	return part("raise the alert about parked message "+m.Event, err)
}

func (p *parking) send(ctx context.Context, name, command string, body any) (commands.Answer, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return commands.Answer{}, err
	}
	return p.handler.Do(ctx, commands.Request{Name: command, Body: encoded, Principal: access.Process(name), Past: pastOf(ctx)})
}

// alert is the alert about a message that is parked at a revision of its stream. There is one each time that a message is parked.
// About what follows from alerts there is one a day for each process: otherwise the alert about an alert that cannot be sent would
// be the next that cannot be sent.
func (p *parking) alert(m process.MessageParked, revision int64) safety.RaiseAlert {
	now := p.now()
	source := fmt.Sprintf("parked/%s/%d", m.Parked, revision)
	relays := slices.ContainsFunc(p.processes, func(p Process) bool { return p.Name == m.Process && p.relay != nil })
	if relays || strings.HasPrefix(m.Stream, safety.Decider.Category+"-") {
		source = fmt.Sprintf("parked/%s/%s", m.Process, now.UTC().Format(time.DateOnly))
	}
	return safety.RaiseAlert{OfAlert: AlertFrom(m.Study, source), Study: m.Study, Kind: safety.ProcessStuck, Severity: safety.Urgent,
		Source: m.Event, OccurredAt: now,
		Summary: fmt.Sprintf("The process %s cannot handle an event (%s) and has set it aside.", m.Process, m.Type)}
}

// Close implements message.Publisher.
func (p *parking) Close() error { return nil }

// shortened cuts a reason to maxReason bytes, between characters.
func shortened(reason string) string {
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	return reason
}

// studyOf returns the study of a message, also of one whose event could not be read.
func studyOf(m *message.Message) domain.StudyID {
	if s := m.Metadata.Get(studyKey); s != "" {
		return domain.StudyID(s)
	}
	var meta struct {
		Study domain.StudyID `json:"study"`
	}
	if stored, ok := pubsub.RecordedEvent(m.Context()); ok && json.Unmarshal(stored.UserMetadata, &meta) != nil {
		return "" // another program's event
	}
	return meta.Study
}
